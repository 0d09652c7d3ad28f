//! The jobs on a real directory.

use std::collections::BTreeMap;
use std::sync::mpsc;

use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::jute::data::Acl;
use crate::quorum::recovery::recover;
use crate::runtime::SharedTree;
use crate::runtime::log::LogConfig;
use crate::runtime::snapshotter::{SnapshotterConfig, take_snapshot};
use crate::snapshot::Codec;
use crate::tree::Tree;
use crate::txn::{CreateKind, CreateTxn, Txn, TxnDigest, TxnHeader, write_log_record};
use crate::txnlog::{Appending, append_entry};
use crate::zxid::SessionId;

struct Server {
    _dir: TempDir,
    data: DataDir,
    disk: Disk,
    wakes: mpsc::Receiver<()>,
    log: Option<Box<Log>>,
    tree: Tree,
    /// Of the tree after each transaction.
    digests: BTreeMap<Zxid, i64>,
}

impl Server {
    /// One that has logged nothing.
    fn new(appending: Appending) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(dir.path(), dir.path(), true).unwrap();
        snapshot_of(Tree::new(), data.snapshots());
        let (woken, wakes) = mpsc::channel();
        let wake = Arc::new(move || woken.send(()).unwrap_or_default());
        let settings = DiskSettings { recovery: settings(), log_part_max: Some(0.33) };
        let disk = Disk::start(data.clone(), settings, wake).unwrap();
        let config = LogConfig { segment_bytes: 8 << 20, appending, ..LogConfig::default() };
        let log = Log::open(data.logs().to_owned(), config, Zxid::ZERO, Arc::new(|| ())).unwrap();
        let (log, tree) = (Some(Box::new(log)), Tree::new());
        let digests = [(Zxid::ZERO, tree.digest())].into();
        Self { _dir: dir, data, disk, wakes, log, tree, digests }
    }

    /// Logs a transaction.
    fn append(&mut self, zxid: Zxid) {
        let txn = Txn::Create(CreateTxn {
            path: format!("/n{:x}", zxid.0),
            data: Some(Bytes::from(vec![0x64; 100])),
            acl: [Acl::open()].into(),
            kind: CreateKind::Persistent,
            with_stat: false,
            parent_cversion: -1,
        });
        let header = TxnHeader { session: SessionId(7), cxid: 1, zxid, time_ms: 5 };
        self.tree.apply(&header, &txn, None);
        let digest = TxnDigest { version: 2, tree: self.tree.digest() };
        self.digests.insert(zxid, digest.tree);
        let (mut payload, mut entry) = (Vec::new(), Vec::new());
        write_log_record(&mut payload, &header, &txn, Some(digest));
        append_entry(&mut entry, &payload);
        let log = self.log.as_mut().unwrap();
        assert!(log.room(0) >= entry.len() as u64);
        log.append(entry.into(), zxid).unwrap();
        log.flush_blocking().unwrap();
    }

    fn append_all(&mut self, epoch: u32, counters: std::ops::RangeInclusive<u32>) {
        counters.for_each(|counter| self.append(Zxid::new(epoch, counter)));
    }

    fn wait(&mut self) -> DiskEvent {
        loop {
            if let Some(event) = self.disk.poll() {
                return event;
            }
            self.wakes.recv().unwrap();
        }
    }

    fn truncate(&mut self, to: Zxid) -> DiskEvent {
        let log = self.log.take().unwrap();
        self.disk.ask(Job::Truncate { to, log });
        assert!(!self.disk.is_idle());
        self.wait()
    }

    /// The files of the server that ends here, as a start finds them.
    fn restart(mut self) -> (Recovered, Vec<String>, TempDir) {
        self.log.take().unwrap().close().unwrap();
        let recovered = recover(&mut self.data, &settings()).unwrap();
        assert_eq!(recovered.report.digest_mismatches, 0);
        let names = std::fs::read_dir(self.data.logs()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let is_data = |name: &String| !name.ends_with(".lock");
        let mut names: Vec<_> = names.filter(is_data).collect();
        names.sort();
        (recovered, names, self._dir)
    }
}

fn settings() -> RecoverySettings {
    RecoverySettings { removes_orphans: false, ..RecoverySettings::default() }
}

fn snapshot_of(tree: Tree, dir: &std::path::Path) -> String {
    let config = SnapshotterConfig::default();
    take_snapshot(dir, &config, &SharedTree::new(tree), true).unwrap().name
}

#[test]
fn a_log_is_cut_and_goes_on_in_a_new_file() {
    for appending in [Appending::Direct, Appending::Mapped] {
        let mut server = Server::new(appending);
        server.append_all(0, 1..=10);
        let to = Zxid(7);
        let DiskEvent::Truncated { recovered, log } = server.truncate(to) else {
            panic!("it can be cut");
        };
        assert!(server.disk.is_idle());
        // The tree is put in its place, and then snapshots may be taken again.
        assert_eq!(server.data.histories().current(), None);
        assert!(server.disk.poll().is_none());
        assert_eq!(server.data.histories().current(), Some(1));
        assert_eq!((recovered.last_zxid, recovered.tree.digest()), (to, server.digests[&to]));
        (server.tree, server.log) = (recovered.tree, Some(log));
        server.append_all(2, 1..=3);
        let digest = server.tree.digest();
        let (recovered, names, _dir) = server.restart();
        assert_eq!((recovered.last_zxid, recovered.tree.digest()), (Zxid::new(2, 3), digest));
        assert_eq!(names, ["log.1", "log.200000001", "snapshot.0"]);
    }
}

#[test]
fn where_nothing_can_be_cut_the_log_goes_on_as_it_was() {
    let mut server = Server::new(Appending::Direct);
    server.append_all(0, 1..=5);
    for to in [Zxid(6), Zxid::new(3, 0)] {
        let DiskEvent::CannotTruncate { to: said, why, log } = server.truncate(to) else {
            panic!("there is no {to}");
        };
        assert_eq!(said, to);
        assert!(why.to_string().contains("is 0x5"), "{why}");
        server.log = Some(log);
    }
    server.append_all(0, 6..=8);
    let digest = server.tree.digest();
    let (recovered, names, _dir) = server.restart();
    assert_eq!((recovered.last_zxid, recovered.tree.digest()), (Zxid(8), digest));
    assert_eq!(names, ["log.1", "snapshot.0"]);
}

#[test]
fn a_leaders_tree_takes_the_place_of_all_that_was_there() {
    let mut server = Server::new(Appending::Direct);
    server.append_all(1, 1..=10);
    let zxid = Zxid::new(1, 4);
    let elsewhere = tempfile::tempdir().unwrap();
    let mut leader = Tree::new();
    leader.set_last_zxid(zxid);
    let digest = leader.digest();
    let name = snapshot_of(leader, elsewhere.path());
    let from = "ringkeeper.received.0.tmp".to_owned();
    std::fs::copy(elsewhere.path().join(&name), server.data.snapshots().join(&from)).unwrap();
    let file = FileName { zxid, codec: Codec::Plain };
    let (nothing, log) = ("ringkeeper.received.1.tmp".to_owned(), server.log.take().unwrap());
    server.disk.ask(Job::TakeTree { from: nothing, file, log });
    let DiskEvent::TreeNotTaken { why, log } = server.wait() else { panic!("there is no file") };
    assert!(why.to_string().contains("ringkeeper.received.1.tmp"), "{why}");
    server.disk.ask(Job::TakeTree { from, file, log });
    let DiskEvent::TreeTaken { zxid: taken, log } = server.wait() else { panic!("it is whole") };
    assert_eq!(taken, zxid);
    server.log = Some(log);
    server.tree = recover(&mut server.data, &settings()).unwrap().tree;
    assert_eq!(server.tree.digest(), digest);
    server.append_all(1, 5..=6);
    let digest = server.tree.digest();
    let (recovered, names, _dir) = server.restart();
    assert_eq!((recovered.last_zxid, recovered.tree.digest()), (Zxid::new(1, 6), digest));
    assert_eq!(names, ["log.100000005", "snapshot.100000004"]);
}

#[test]
fn epochs_are_stored_in_order_and_a_failure_ends_everything() {
    let mut server = Server::new(Appending::Direct);
    let dir = server.data.snapshots().to_owned();
    server.disk.ask(Job::StoreAcceptedEpoch(7));
    server.disk.ask(Job::StoreCurrentEpoch(7));
    assert!(matches!(server.wait(), DiskEvent::AcceptedEpoch(7)));
    assert!(matches!(server.wait(), DiskEvent::CurrentEpoch(7)));
    let stored = server.data.settle_epochs(Zxid::ZERO, true).unwrap().unwrap();
    assert_eq!((stored.accepted, stored.current), (7, 7));
    std::fs::create_dir(dir.join("acceptedEpoch.tmp")).unwrap();
    server.disk.ask(Job::StoreAcceptedEpoch(8));
    server.disk.ask(Job::StoreCurrentEpoch(8));
    let DiskEvent::Failed(error) = server.wait() else { panic!("it cannot be stored") };
    let text = error.to_string();
    assert!(text.contains("acceptedEpoch") && text.contains("next start"), "{text}");
    drop(server.disk);
    assert_eq!(std::fs::read_to_string(dir.join("currentEpoch")).unwrap(), "7");
}

#[test]
fn what_the_log_says_is_told_and_damage_is_no_reach() {
    let mut server = Server::new(Appending::Direct);
    server.append_all(0, 1..=10);
    let reach_of = |peer| {
        let (of, upto) = (LearnerConn(3), Zxid(10));
        Job::LogReach { of, peer: Zxid(peer), upto, tree_bytes: 1 << 20 }
    };
    let ask = |server: &mut Server, peer| {
        server.disk.ask(reach_of(peer));
        let DiskEvent::LogReach { of: LearnerConn(3), reach } = server.wait() else {
            panic!("it was asked for");
        };
        reach
    };
    let reach = ask(&mut server, 4);
    assert_eq!((reach.floor, reach.next), (Some(Zxid(4)), Some(Zxid(5))));
    assert!(!reach.is_too_long);
    // Of a role that is over nobody waits for an answer.
    server.disk.jobs.as_ref().unwrap().send((reach_of(4), 0)).unwrap();
    server.disk.end_reading();
    server.disk.jobs.as_ref().unwrap().send((reach_of(4), 0)).unwrap();
    server.wait();
    let DiskEvent::LogReach { reach, .. } = server.wait() else { panic!("it was asked for") };
    assert_eq!((reach.floor, reach.next), (None, None));
    assert_eq!(ask(&mut server, 4).floor, Some(Zxid(4)), "the next role is answered");
    let path = server.data.logs().join("log.1");
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0xff; 4], 700).unwrap();
    let reach = ask(&mut server, 4);
    assert_eq!((reach.floor, reach.next), (None, None));
}
