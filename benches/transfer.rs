//! A tree of a million nodes from a leader to learners over the loopback interface, and what a writer
//! notices of it.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ringkeeper::jute::data::Acl;
use ringkeeper::runtime::SharedTree;
use ringkeeper::runtime::ensemble::receive_tree::{
    MemoryKept, ReceiveConfig, Received, TreeReceiver,
};
use ringkeeper::runtime::ensemble::send_tree::{Haste, SentTree, TreeToSend, send_tree};
use ringkeeper::runtime::snapshotter::SnapshotterConfig;
use ringkeeper::tree::Tree;
use ringkeeper::txn::{CreateKind, CreateTxn, SetDataTxn, Txn, TxnHeader};
use ringkeeper::zxid::{SessionId, Zxid};

fn main() {
    // cargo test runs every bench once.
    let nodes = if std::env::args().any(|arg| arg == "--bench") { NODES } else { 1000 };
    let shared = SharedTree::new(grown(nodes));
    println!("a tree of {nodes} nodes of 100 bytes below {PARENTS} parents");
    quietly("nothing else", &shared, || thread::sleep(ALONE));
    for learners in [1, 2] {
        quietly(&format!("{learners} learners that only read"), &shared, || {
            let sends: Vec<_> = (0..learners).map(|_| send_to_reader(&shared)).collect();
            sends.into_iter().for_each(|send| print_sent(&send.join().expect("it is sent")));
        });
    }
    let dir = tempfile::tempdir().expect("there is a temporary directory");
    print_received(&over_loopback(&shared, dir.path()));
    quietly("a learner that takes it in on this machine", &shared, || {
        print_received(&over_loopback(&shared, dir.path()));
    });
}

/// Does `work` beside a writer that changes a node every 200 us, and prints what that has noticed:
/// each write counts from the time when it was due.
fn quietly(what: &str, shared: &SharedTree, work: impl FnOnce()) {
    let is_over = Arc::new(AtomicBool::new(false));
    let writer = thread::spawn({
        let (shared, is_over) = (shared.clone(), is_over.clone());
        move || write_until(&shared, &is_over)
    });
    work();
    is_over.store(true, Ordering::Relaxed);
    let mut micros = writer.join().expect("the writer does not panic");
    micros.sort_unstable();
    let at = |part: f64| micros[((micros.len() - 1) as f64 * part) as usize];
    println!(
        "beside {what}: {} writes, p50 {} us, p99 {} us, p99.9 {} us, longest {} us",
        micros.len(),
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0)
    );
}

fn write_until(shared: &SharedTree, is_over: &AtomicBool) -> Vec<u64> {
    let nodes = shared.read().node_count() - PARENTS - 10;
    let (mut micros, mut due) = (Vec::new(), Instant::now());
    while !is_over.load(Ordering::Relaxed) {
        due += INTERVAL;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let path = path_of(micros.len() * 7919 % nodes);
        let set = SetDataTxn { path: path.into(), data: Some(DATA), version: 1 };
        apply(&mut shared.write(), &Txn::SetData(set));
        micros.push(due.elapsed().as_micros() as u64);
    }
    micros
}

/// With the rests that a learner's initLimit leaves time for.
fn calmly() -> Haste<fn() -> bool> {
    Haste { within: Duration::from_secs(20), hurries: || false }
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let out = TcpStream::connect(address).expect("somebody listens");
    (out, listener.accept().expect("somebody connects").0)
}

fn send_to_reader(shared: &SharedTree) -> JoinHandle<SentTree> {
    let (mut out, mut inward) = pair();
    let to_send = TreeToSend::begin(shared).expect("the tree is whole");
    thread::spawn(move || {
        let mut buffer = vec![0; 1 << 20];
        while inward.read(&mut buffer).is_ok_and(|len| len > 0) {}
    });
    thread::spawn(move || send_tree(to_send, &mut out, calmly()).expect("the peer reads"))
}

fn over_loopback(shared: &SharedTree, dir: &Path) -> (SentTree, Received) {
    let (mut out, mut inward) = pair();
    let to_send = TreeToSend::begin(shared).expect("the tree is whole");
    let zxid = to_send.zxid();
    let feeder =
        thread::spawn(move || send_tree(to_send, &mut out, calmly()).expect("the peer reads"));
    let (wake, woken) = mpsc::channel();
    let (file, memory) = (SnapshotterConfig::default(), MemoryKept::of_machine(32 << 20));
    let config = ReceiveConfig { dir: dir.to_owned(), file, seed: 1, memory };
    let wake = move || {
        let _ = wake.send(());
    };
    let mut receiver = TreeReceiver::start(config, zxid, wake).expect("a thread starts");
    let mut buffer = vec![0; 64 << 10];
    while let Ok(len) = inward.read(&mut buffer)
        && len > 0
    {
        let mut piece = buffer[..len].to_vec();
        while let Err(again) = receiver.offer(piece) {
            woken.recv().expect("the thread is there");
            piece = again;
        }
    }
    let received = loop {
        match receiver.outcome() {
            Some(outcome) => break outcome.expect("it comes whole"),
            None => woken.recv().expect("the thread is there"),
        }
    };
    (feeder.join().expect("it is sent"), received)
}

fn print_sent(sent: &SentTree) {
    println!(
        "sent {} nodes, {:.0} MB in {:.2} s, {:.0} MB/s; held {} us at most",
        sent.nodes,
        sent.bytes as f64 / 1e6,
        sent.took.as_secs_f64(),
        sent.bytes as f64 / 1e6 / sent.took.as_secs_f64(),
        sent.longest_hold.as_micros()
    );
}

fn print_received((sent, received): &(SentTree, Received)) {
    print_sent(sent);
    println!(
        "taken in, durable and ready in {:.2} s, {:.0} MB/s",
        received.took.as_secs_f64(),
        received.bytes as f64 / 1e6 / received.took.as_secs_f64()
    );
}

fn grown(nodes: usize) -> Tree {
    let mut tree = Tree::new();
    apply(&mut tree, &create("/bench".into()));
    (0..PARENTS).for_each(|parent| apply(&mut tree, &create(format!("/bench/d{parent:04}"))));
    (0..nodes).for_each(|node| apply(&mut tree, &create(path_of(node))));
    tree
}

fn path_of(node: usize) -> String {
    format!("/bench/d{:04}/n{node:08}", node % PARENTS)
}

fn create(path: String) -> Txn {
    Txn::Create(CreateTxn {
        path,
        data: Some(DATA),
        acl: [Acl::open()].into(),
        kind: CreateKind::Persistent,
        with_stat: false,
        parent_cversion: -1,
    })
}

fn apply(tree: &mut Tree, txn: &Txn) {
    let zxid: Zxid = tree.last_zxid().next();
    tree.apply(&TxnHeader { session: SessionId(1), cxid: 0, zxid, time_ms: 9 }, txn, None);
}

const NODES: usize = 1_000_000;
const PARENTS: usize = 1000;
const DATA: Bytes = Bytes::from_static(&[7; 100]);
/// Between two writes.
const INTERVAL: Duration = Duration::from_micros(200);
const ALONE: Duration = Duration::from_secs(2);
