//! Trees that go from a leader to a learner: what Apache's servers send is taken in, and what is
//! sent comes in again as the tree of its moment, with a snapshot to start from.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use ringkeeper::jute::data::{Acl, Id, StatPersisted};
use ringkeeper::quorum::recovery::{RecoverySettings, recover};
use ringkeeper::runtime::SharedTree;
use ringkeeper::runtime::datadir::DataDir;
use ringkeeper::runtime::ensemble::receive_tree::{
    MemoryKept, ReceiveConfig, ReceiveFailure, Received, TreeReceiver,
};
use ringkeeper::runtime::ensemble::send_tree::{Haste, TreeToSend, send_tree};
use ringkeeper::runtime::snapshotter::{SnapshotterConfig, take_snapshot};
use ringkeeper::snapshot::{Codec, FileName, Part, Pieces, Reader, WireReader};
use ringkeeper::tree::Tree;
use ringkeeper::txn::{CreateKind, CreateTxn, SetDataTxn, Txn, TxnHeader};
use ringkeeper::zxid::{SessionId, Zxid};

#[test]
fn trees_of_apache_come_in_and_go_out_again() {
    let text = fs::read_to_string(golden().join("ensemble/trees.txt")).unwrap();
    let mut trees = 0;
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let zxid = Zxid(i64::from_str_radix(words[1], 16).unwrap());
        let received = check(line, zxid, &unhex(words[2]), None);
        assert_eq!(received.nodes, 4);
        let config = received.tree.get("/zookeeper/config").unwrap();
        assert!(config.data().unwrap().starts_with(b"server.1="));
        trees += 1;
    }
    assert_eq!(trees, 5);
}

/// Their snapshots hold the same bytes as their trees on the wire, and more than the trees that were
/// recorded: nodes of every kind, lists, sessions, quotas.
#[test]
fn trees_out_of_snapshots_of_apache_do_so_too() {
    let mut trees = 0;
    for name in ["3.4.14", "3.8.6", "3.9.5", "3.9.5-fuzzy"] {
        let directory = golden().join(name).join("version-2");
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let Some(FileName { zxid, .. }) = FileName::parse(name) else { continue };
            let file = fs::read(&path).unwrap();
            let mut reader = Reader::new(Codec::Plain, &file[..]);
            while reader.next_part().unwrap().is_some() {}
            let trailers = reader.trailers().unwrap();
            let seals = if trailers.digest.is_some() { 33 } else { 0 }
                + if trailers.last_zxid.is_some() { 21 } else { 0 };
            let mut tree = file[HEADER_BYTES..file.len() - 13 - seals].to_vec();
            tree.extend(SIGNATURE);
            let received = check(&path.display().to_string(), zxid, &tree, Some(&file));
            let digest = trailers.digest_to_expect(zxid).filter(|(at, _)| *at == zxid);
            if let Some((_, digest)) = digest {
                assert_eq!(received.digest, digest, "{}", path.display());
            }
            trees += 1;
        }
    }
    assert_eq!(trees, 12);
}

/// Takes a tree of Apache's in and sends it again. Returns what came in.
fn check(what: &str, zxid: Zxid, wire: &[u8], file: Option<&[u8]>) -> Received {
    let dir = tempfile::tempdir().unwrap();
    let mut data = DataDir::open(dir.path(), dir.path(), true).unwrap();
    let packets = b"packets that follow";
    let mut received = None;
    for piece_bytes in [1 << 20, 1000, 7] {
        let bytes = [wire, packets].concat();
        let taken = receive(data.snapshots(), zxid, &bytes, piece_bytes);
        let taken = taken.unwrap_or_else(|failure| panic!("{what}: {failure}"));
        assert_eq!((&taken.rest[..], taken.bytes), (&packets[..], wire.len() as u64), "{what}");
        received = Some(taken);
    }
    let received = received.unwrap();
    assert_eq!((received.name.zxid, received.tree.last_zxid()), (zxid, zxid), "{what}");
    // The snapshot is what Apache's is, as far as that is the tree, and a start finds it whole.
    let name = received.name.to_string();
    fs::rename(data.snapshots().join(&received.file), data.snapshots().join(&name)).unwrap();
    let made = fs::read(data.snapshots().join(&name)).unwrap();
    let tree_bytes = wire.len() - SIGNATURE.len();
    assert_eq!(made[HEADER_BYTES..][..tree_bytes], wire[..tree_bytes], "{what}");
    file.inspect(|file| assert_eq!(made[..HEADER_BYTES], file[..HEADER_BYTES], "{what}"));
    let settings = RecoverySettings { extended_types: true, ..RecoverySettings::default() };
    let recovered = recover(&mut data, &settings).unwrap();
    assert_eq!(recovered.report.snapshot.as_ref(), Some(&name), "{what}");
    assert_eq!((recovered.last_zxid, recovered.report.digest_mismatches), (zxid, 0), "{what}");
    assert_same(what, &recovered.tree, &received.tree);
    // Out again, and in again.
    let mut out = Vec::new();
    let Received { tree, file, name, digest, rest, nodes, bytes, took } = received;
    let shared = SharedTree::new(tree);
    let sent = send_tree(TreeToSend::begin(&shared).unwrap(), &mut out, hurry()).unwrap();
    assert_eq!((sent.zxid, sent.nodes, sent.bytes), (zxid, nodes, out.len() as u64), "{what}");
    let again = receive(data.snapshots(), zxid, &out, 5000).unwrap();
    assert_same(what, &again.tree, &shared.read());
    assert_eq!(again.digest, digest, "{what}");
    compare_wire(what, wire, &out);
    let tree = shared.replace(Tree::new());
    Received { tree, file, name, digest, rest, nodes, bytes, took }
}

fn assert_same(what: &str, tree: &Tree, other: &Tree) {
    assert_eq!(tree.digest(), other.digest(), "{what}");
    assert_eq!(tree.node_count(), other.node_count(), "{what}");
    assert_eq!(tree.data_size(), other.data_size(), "{what}");
    assert!(tree.sessions().eq(other.sessions()), "{what}");
    assert_eq!(tree.ephemeral_owners(), other.ephemeral_owners(), "{what}");
    let mut paths = vec![String::new()];
    while let Some(path) = paths.pop() {
        let (node, same) = (tree.get(&path).unwrap(), other.get(&path).unwrap());
        assert_eq!((node.data(), node.acl()), (same.data(), same.acl()), "{what}: {path}");
        assert_eq!(node.stat(), same.stat(), "{what}: {path}");
        paths.extend(node.children().map(|child| format!("{path}/{child}")));
    }
}

/// What Apache has sent, and what we send of the same tree. It is the same, node by node, and to the
/// byte where nothing is in it that has no order or no one form: sessions, which Apache sends in that
/// of a hash map, and the list of `OPEN_ACL_UNSAFE`, which it sends under an index like any other
/// where a client has named it, and reads as -1 as well. With that, other lists have other indexes.
fn compare_wire(what: &str, wire: &[u8], ours: &[u8]) {
    let (wire_parts, our_parts) = (Parts::of(wire), Parts::of(ours));
    assert_eq!(our_parts.sessions, wire_parts.sessions, "{what}");
    for (one, other) in our_parts.nodes.iter().zip(&wire_parts.nodes) {
        assert_eq!(one, other, "{what}");
    }
    assert_eq!(our_parts.nodes.len(), wire_parts.nodes.len(), "{what}");
    let is_of_one_form =
        !wire_parts.has_open_list && wire_parts.sessions.len() < 2 && wire_parts.lists_in_order;
    assert_eq!(is_of_one_form, ours == wire, "{what}: the bytes");
}

/// Path, data, list, statistics.
type Node = (String, Option<Vec<u8>>, Vec<Acl>, StatPersisted);

/// The parts of a tree from the wire, lists in the place of their indexes.
#[derive(Default)]
struct Parts {
    sessions: BTreeMap<SessionId, i32>,
    nodes: Vec<Node>,
    has_open_list: bool,
    /// Their indexes are 1, 2, 3 and so on.
    lists_in_order: bool,
}

impl Parts {
    fn of(wire: &[u8]) -> Self {
        let mut parts = Self { lists_in_order: true, ..Self::default() };
        let mut lists = BTreeMap::from([(-1, vec![Acl::open()])]);
        let mut reader = WireReader::new(Whole(wire.to_vec()), |_: &[u8]| Ok(()));
        while let Some(part) = reader.next_part().unwrap() {
            match part {
                Part::Session(session, timeout_ms) => {
                    parts.sessions.insert(session, timeout_ms);
                }
                Part::Acl(index, list) => {
                    parts.has_open_list |= list == [Acl::open()];
                    parts.lists_in_order &= index == lists.len() as i64;
                    lists.insert(index, list);
                }
                Part::Node { path, data, acl_index, stat } => {
                    let (data, list) = (data.map(Vec::from), lists[&acl_index].clone());
                    parts.nodes.push((path.into(), data, list, stat));
                }
            }
        }
        parts
    }
}

/// All bytes at once.
struct Whole(Vec<u8>);

impl Pieces for Whole {
    fn next_onto(&mut self, out: &mut Vec<u8>) -> bool {
        out.append(&mut self.0);
        !out.is_empty()
    }

    fn is_ready(&self) -> bool {
        false
    }
}

/// A member of an ensemble gets its tree while clients write, another one too, and the periodic
/// snapshot goes on beside: each is the tree of one moment.
#[test]
fn trees_sent_under_load_are_each_of_one_moment() {
    let shared = SharedTree::new(grown());
    let (digests, sent) = (Digests::default(), AtomicBool::new(false));
    let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    thread::scope(|scope| {
        let writer = scope.spawn(|| write_until(&shared, &digests, &sent));
        let learners: Vec<_> = dirs[..2]
            .iter()
            .map(|dir| scope.spawn(|| over_loopback(&shared, dir.path())))
            .collect();
        let config = SnapshotterConfig::default();
        let taken = take_snapshot(dirs[2].path(), &config, &shared, true).unwrap();
        for learner in learners {
            let received = learner.join().unwrap();
            assert_eq!(received.tree.digest(), digests.at(received.name.zxid));
            assert!(received.tree.sessions().eq([(SessionId(77), 4000)]));
            assert_eq!(received.tree.ephemerals_of(SessionId(77)), ["/ephemeral"]);
            assert_eq!(received.tree.quota_root("/quota/a"), Some("/quota"));
        }
        sent.store(true, Ordering::Relaxed);
        assert!(writer.join().unwrap() > 0, "the writer must not stand still");
        let file = fs::read(dirs[2].path().join(&taken.name)).unwrap();
        let mut reader = Reader::new(Codec::Plain, &file[..]);
        while reader.next_part().unwrap().is_some() {}
        let digest = reader.trailers().unwrap().digest_to_expect(taken.zxid).unwrap();
        assert_eq!(digest, (taken.zxid, digests.at(taken.zxid)));
    });
}

/// The tree's digest after each transaction.
#[derive(Default)]
struct Digests(std::sync::Mutex<BTreeMap<Zxid, i64>>);

impl Digests {
    fn note(&self, tree: &Tree) {
        self.0.lock().unwrap().insert(tree.last_zxid(), tree.digest());
    }

    fn at(&self, zxid: Zxid) -> i64 {
        self.0.lock().unwrap()[&zxid]
    }
}

/// Returns the number of writes.
fn write_until(shared: &SharedTree, digests: &Digests, is_over: &AtomicBool) -> usize {
    let mut writes = 0;
    digests.note(&shared.read());
    while !is_over.load(Ordering::Relaxed) {
        let mut tree = shared.write();
        let path = format!("/n{}", writes * 7919 % NODES);
        let set = SetDataTxn { path: path.into(), data: None, version: 1 };
        apply(&mut tree, 1, &Txn::SetData(set));
        digests.note(&tree);
        writes += 1;
    }
    writes
}

const NODES: usize = 20_000;

/// A tree with a node of every kind, a session and a quota.
fn grown() -> Tree {
    let mut tree = Tree::new();
    apply(&mut tree, 77, &Txn::CreateSession { timeout_ms: 4000 });
    for (path, kind) in [
        ("/ephemeral", CreateKind::Ephemeral),
        ("/container", CreateKind::Container),
        ("/ttl", CreateKind::Ttl { ttl_ms: 500 }),
        ("/quota", CreateKind::Persistent),
        ("/zookeeper/quota/quota", CreateKind::Persistent),
        ("/zookeeper/quota/quota/zookeeper_limits", CreateKind::Persistent),
        ("/zookeeper/quota/quota/zookeeper_stats", CreateKind::Persistent),
        ("/quota/a", CreateKind::Persistent),
    ] {
        apply(&mut tree, 77, &create(path, kind));
    }
    (0..NODES).for_each(|node| {
        apply(&mut tree, 1, &create(&format!("/n{node}"), CreateKind::Persistent));
    });
    tree
}

fn create(path: &str, kind: CreateKind) -> Txn {
    let read_only = Acl { perms: 1, id: Id::new("world", "anyone") };
    Txn::Create(CreateTxn {
        path: path.into(),
        data: Some("count=5,bytes=-1".into()),
        acl: [read_only].into(),
        kind,
        with_stat: false,
        parent_cversion: -1,
    })
}

fn apply(tree: &mut Tree, session: i64, txn: &Txn) {
    let (session, zxid) = (SessionId(session), tree.last_zxid().next());
    tree.apply(&TxnHeader { session, cxid: 0, zxid, time_ms: 9 }, txn, None);
}

/// Without rests.
fn hurry() -> Haste<fn() -> bool> {
    Haste { within: Duration::MAX, hurries: || true }
}

/// A feeder writes the tree to a socket; what comes out of it is taken in.
fn over_loopback(shared: &SharedTree, dir: &Path) -> Received {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut out = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut inward, _) = listener.accept().unwrap();
    let to_send = TreeToSend::begin(shared).unwrap();
    let zxid = to_send.zxid();
    thread::scope(|scope| {
        let feeder = scope.spawn(move || send_tree(to_send, &mut out, hurry()).unwrap());
        let mut receiving = Receiving::start(dir, zxid);
        let mut buffer = vec![0; 60_000];
        let received = loop {
            match inward.read(&mut buffer).unwrap() {
                0 => break receiving.end(),
                len => receiving.pass_on(&buffer[..len]),
            }
        };
        assert_eq!(feeder.join().unwrap().zxid, zxid);
        received.unwrap()
    })
}

/// A core that has nothing else to do.
struct Receiving {
    receiver: TreeReceiver,
    woken: mpsc::Receiver<()>,
}

impl Receiving {
    fn start(dir: &Path, zxid: Zxid) -> Self {
        let (wake, woken) = mpsc::channel();
        let memory = MemoryKept::of_machine(1 << 20);
        let config = ReceiveConfig {
            dir: dir.to_owned(),
            file: SnapshotterConfig::default(),
            seed: 7,
            memory,
        };
        let wake = move || {
            let _ = wake.send(());
        };
        Self { receiver: TreeReceiver::start(config, zxid, wake).unwrap(), woken }
    }

    /// Waits whenever the queue is full.
    fn pass_on(&mut self, bytes: &[u8]) {
        let mut piece = bytes.to_vec();
        while let Err(again) = self.receiver.offer(piece) {
            self.woken.recv().unwrap();
            piece = again;
        }
    }

    fn end(self) -> Result<Received, ReceiveFailure> {
        loop {
            if let Some(outcome) = self.receiver.outcome() {
                if outcome.is_ok() {
                    assert!(self.receiver.is_whole() && self.receiver.taken() > 0);
                }
                return outcome;
            }
            self.woken.recv().unwrap();
        }
    }
}

/// Takes in what comes in pieces of some bytes.
fn receive(
    dir: &Path,
    zxid: Zxid,
    bytes: &[u8],
    piece_bytes: usize,
) -> Result<Received, ReceiveFailure> {
    let mut receiving = Receiving::start(dir, zxid);
    bytes.chunks(piece_bytes).for_each(|piece| receiving.pass_on(piece));
    receiving.end()
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn unhex(text: &str) -> Vec<u8> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    text.as_bytes().chunks(2).map(byte).collect()
}

/// The header of a snapshot file.
const HEADER_BYTES: usize = 16;
const SIGNATURE: &[u8] = b"\0\0\0\x0aBenWasHere";
