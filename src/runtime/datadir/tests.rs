//! Directories on a real disk.

use super::*;
use crate::pieces::Source;
use crate::quorum::recovery::{RecoverySettings, recover};
use crate::runtime::SharedTree;
use crate::runtime::snapshotter::{SnapshotterConfig, take_snapshot};
use crate::tree::Tree;
use crate::txn::{Txn, TxnHeader};
use crate::zxid::{SessionId, Zxid};
use std::cell::RefCell;

#[test]
fn a_second_server_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let first = DataDir::open(dir.path(), dir.path(), true).unwrap();
    let text = DataDir::open(dir.path(), dir.path(), true).unwrap_err().to_string();
    assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
    drop(first);
    DataDir::open(dir.path(), dir.path(), true).unwrap();
}

#[test]
fn directories_are_made_only_if_they_may_be() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("a/b");
    let text = DataDir::open(&data, &data, false).unwrap_err().to_string();
    assert!(text.contains("mkdir -p"), "{text}");
    let other = dir.path().join("log");
    let open = DataDir::open(&data, &other, true).unwrap();
    assert!(!open.is_one_dir());
    assert_eq!(
        (open.snapshots(), open.logs()),
        (&*data.join("version-2"), &*other.join("version-2"))
    );
    drop(open);
    // The same directory under two names is one.
    std::os::unix::fs::symlink(&data, dir.path().join("link")).unwrap();
    assert!(DataDir::open(&data, &dir.path().join("link"), true).unwrap().is_one_dir());
}

#[test]
fn the_marker_is_taken_once() {
    let dir = tempfile::tempdir().unwrap();
    let data = DataDir::open(dir.path(), dir.path(), true).unwrap();
    std::fs::write(dir.path().join("initialize"), "").unwrap();
    assert!(data.take_initialize().unwrap());
    assert!(!data.take_initialize().unwrap());
}

/// A directory with these epoch files.
fn with_epochs(accepted: Option<&str>, current: Option<&str>) -> (tempfile::TempDir, DataDir) {
    let dir = tempfile::tempdir().unwrap();
    let data = DataDir::open(dir.path(), dir.path(), true).unwrap();
    for (name, text) in [("acceptedEpoch", accepted), ("currentEpoch", current)] {
        text.inspect(|text| std::fs::write(data.snapshots().join(name), text).unwrap());
    }
    (dir, data)
}

fn epoch_texts(data: &DataDir) -> [Option<String>; 2] {
    ["acceptedEpoch", "currentEpoch"]
        .map(|name| std::fs::read_to_string(data.snapshots().join(name)).ok())
}

#[test]
fn epochs_that_a_crash_has_left_behind_are_those_of_the_last_zxid() {
    for (accepted, current, wanted) in [
        (Some("7"), Some("6\nrest"), (7, 6)),
        (Some("7"), Some("4"), (7, 5)),
        (Some("4"), Some("4"), (5, 5)),
        (Some("4"), None, (5, 5)),
        (Some("9"), None, (9, 5)),
        (None, Some("4"), (5, 5)),
        (None, Some("6"), (6, 6)),
    ] {
        let (_dir, data) = with_epochs(accepted, current);
        SYNCED.take();
        let epochs = data.settle_epochs(Zxid::new(5, 3), false).unwrap().expect("a member's");
        assert_eq!((epochs.accepted, epochs.current), wanted, "{accepted:?} {current:?}");
        assert_eq!(SYNCED.take(), vec![data.snapshots(); 2], "each is made durable");
        let texts = [wanted.0, wanted.1].map(|epoch| Some(epoch.to_string()));
        assert_eq!(epoch_texts(&data), texts);
        assert_eq!(data.settle_epochs(Zxid::new(5, 3), false).unwrap(), Some(epochs), "and stays");
    }
}

#[test]
fn an_unfinished_epoch_file_counts_for_nothing() {
    let (_dir, data) = with_epochs(Some("5"), Some("5"));
    std::fs::write(data.snapshots().join("currentEpoch.tmp"), "").unwrap();
    let epochs = data.settle_epochs(Zxid::new(6, 1), false).unwrap().expect("a member's");
    assert_eq!((epochs.accepted, epochs.current), (6, 6));
    assert!(!data.snapshots().join("currentEpoch.tmp").exists());
}

#[test]
fn an_epoch_that_cannot_be_written_is_said_and_changes_nothing() {
    let (_dir, data) = with_epochs(Some("5"), Some("5"));
    std::fs::create_dir(data.snapshots().join("currentEpoch.tmp")).unwrap();
    let text = data.settle_epochs(Zxid::new(6, 1), false).unwrap_err().to_string();
    assert!(text.contains("currentEpoch: the epoch cannot be made durable"), "{text}");
    assert_eq!(epoch_texts(&data), [Some("6".into()), Some("5".into())], "accepted comes first");
}

#[test]
fn a_server_that_was_in_no_ensemble_gets_no_epoch_files() {
    let (_dir, data) = with_epochs(None, None);
    assert_eq!(data.settle_epochs(Zxid::new(5, 3), false).unwrap(), None);
    assert_eq!(epoch_texts(&data), [None, None]);
    // As a member of one it makes promises from its beginning.
    let epochs = data.settle_epochs(Zxid::new(5, 3), true).unwrap();
    assert_eq!(epochs, Some(Epochs { accepted: 5, current: 5 }));
    assert_eq!(epoch_texts(&data), [Some("5".into()), Some("5".into())]);
}

#[test]
fn an_epoch_that_is_stored_is_durable() {
    let (_dir, data) = with_epochs(Some("5"), Some("4"));
    SYNCED.take();
    data.store_accepted_epoch(u32::MAX).unwrap();
    data.store_current_epoch(6).unwrap();
    assert_eq!(SYNCED.take(), vec![data.snapshots(); 2]);
    assert_eq!(epoch_texts(&data), [Some(u32::MAX.to_string()), Some("6".into())]);
    std::fs::create_dir(data.snapshots().join("acceptedEpoch.tmp")).unwrap();
    let text = data.store_accepted_epoch(7).unwrap_err().to_string();
    assert!(text.contains("acceptedEpoch: the epoch cannot be made durable"), "{text}");
}

#[test]
fn epoch_files_that_cannot_be_are_refused_with_the_remedy() {
    for (accepted, current, wanted) in [
        (Some("six"), Some("5"), "acceptedEpoch should hold one number"),
        (Some("6"), Some(""), "currentEpoch should hold one number"),
        (Some("6"), Some("-1"), "not \"-1\""),
        (Some("4294967296"), Some("1"), "0 to 4294967295"),
        (Some("6 "), Some("1"), "not \"6 \""),
        (Some(&"1".repeat(100_000)), Some("1"), "acceptedEpoch should hold one number"),
        (Some("4"), Some("5"), "acceptedEpoch 4 is below currentEpoch 5"),
    ] {
        let (_dir, data) = with_epochs(accepted, current);
        let text = data.settle_epochs(Zxid::new(5, 3), false).unwrap_err().to_string();
        assert!(text.contains(wanted) && text.contains("move version-2 away"), "{text}");
        assert_eq!(epoch_texts(&data), [accepted, current].map(|text| text.map(str::to_owned)));
    }
}

#[test]
fn a_purge_keeps_what_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut data = DataDir::open(dir.path(), dir.path(), true).unwrap();
    let config = SnapshotterConfig::default();
    for zxid in 1..=5 {
        let mut tree = Tree::new();
        tree.set_last_zxid(Zxid(zxid * 16));
        take_snapshot(data.snapshots(), &config, &SharedTree::new(tree), true).unwrap();
    }
    let path = |name: &str| data.snapshots().join(name);
    let torn = std::fs::read(path("snapshot.50")).unwrap();
    std::fs::write(path("snapshot.50"), &torn[..torn.len() - 3]).unwrap();
    for name in ["log.1", "log.11", "log.21", "log.31", "log.x"] {
        std::fs::write(path(name), "").unwrap();
    }
    let mut rests = 0;
    let mut removed = data.purge(3, &mut || rests += 1).unwrap();
    removed.sort();
    assert_eq!(removed, ["log.1", "snapshot.10"]);
    assert!(
        data.list(Dir::Snapshots).unwrap().contains(&"snapshot.50".into()),
        "newer than what is kept"
    );
    assert!(data.sizes().0 > 3 * torn.len() as u64);
}

/// What it has found whole may be gone, or be the only one that leads to the new end.
#[test]
fn a_purge_removes_nothing_once_the_history_is_another() {
    let dir = tempfile::tempdir().unwrap();
    let mut data = DataDir::open(dir.path(), dir.path(), true).unwrap();
    let config = SnapshotterConfig::default();
    for zxid in [16, 32] {
        let mut tree = Tree::new();
        // So many that a purge rests while it reads them.
        for session in 1..=2000 {
            let header =
                TxnHeader { session: SessionId(session), cxid: 0, zxid: Zxid(1), time_ms: 0 };
            tree.apply(&header, &Txn::CreateSession { timeout_ms: 4000 }, None);
        }
        tree.set_last_zxid(Zxid(zxid));
        take_snapshot(data.snapshots(), &config, &SharedTree::new(tree), true).unwrap();
    }
    std::fs::write(data.logs().join("log.1"), "").unwrap();
    std::fs::write(data.logs().join("log.11"), "").unwrap();
    let histories = data.histories();
    let mut changes = 0;
    let mut change = || {
        drop(histories.change());
        changes += 1;
    };
    assert_eq!(data.purge(1, &mut change).unwrap(), [""; 0]);
    assert!(changes > 0, "it rests");
    let under_way = data.histories().change();
    assert_eq!(data.purge(1, &mut || ()).unwrap(), [""; 0]);
    drop(under_way);
    assert_eq!(data.purge(1, &mut || ()).unwrap(), ["snapshot.10", "log.1"]);
}

/// A member that looks for a leader may have snapshots of what no quorum has.
#[test]
fn a_purge_keeps_the_newest_snapshot_of_what_is_committed() {
    let dir = tempfile::tempdir().unwrap();
    let mut data = DataDir::open(dir.path(), dir.path(), true).unwrap();
    for zxid in [16, 32, 48, 64] {
        let mut tree = Tree::new();
        tree.set_last_zxid(Zxid(zxid));
        let (config, tree) = (SnapshotterConfig::default(), SharedTree::new(tree));
        take_snapshot(data.snapshots(), &config, &tree, true).unwrap();
    }
    let histories = data.histories();
    histories.end_serving();
    assert_eq!(data.purge(1, &mut || ()).unwrap(), [""; 0]);
    histories.begin_serving(Zxid(40));
    histories.end_serving();
    assert_eq!(data.purge(1, &mut || ()).unwrap(), ["snapshot.10"]);
    histories.begin_serving(Zxid(64));
    assert_eq!(data.purge(1, &mut || ()).unwrap(), ["snapshot.20", "snapshot.30"]);
}

#[test]
fn a_torn_tail_is_cut_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let mut data = DataDir::open(dir.path(), dir.path(), true).unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/3.9.5/version-2");
    for file in std::fs::read_dir(golden).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), data.snapshots().join(file.file_name())).unwrap();
    }
    let settings = RecoverySettings { extended_types: true, ..RecoverySettings::default() };
    let whole = recover(&mut data, &settings).unwrap();
    assert_eq!(whole.report.cut, None);
    let last = data.logs().join("log.f5");
    let bytes = std::fs::read(&last).unwrap();
    let end = crate::txnlog::Scanner::new(&bytes).end().unwrap().offset() as usize;
    std::fs::write(&last, &bytes[..end - 1]).unwrap();
    let cut = recover(&mut data, &settings).unwrap();
    assert_eq!(cut.last_zxid.0, whole.last_zxid.0 - 1);
    let report = cut.report.cut.unwrap();
    assert_eq!(report.file, "log.f5");
    assert_eq!(std::fs::metadata(&last).unwrap().len(), report.offset);
}

thread_local! {
    /// The directories whose names were made durable.
    pub(super) static SYNCED: RefCell<Vec<PathBuf>> = const { RefCell::new(Vec::new()) };
}

#[test]
fn directories_made_are_durable_up_to_the_first_that_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("a/b/c");
    SYNCED.take();
    DataDir::open(&data, &data, true).unwrap();
    let expected =
        [dir.path().to_owned(), dir.path().join("a"), dir.path().join("a/b"), data.clone()];
    assert_eq!(SYNCED.take(), expected);
    DataDir::open(&data, &data, true).unwrap();
    assert!(SYNCED.take().is_empty());
}

#[test]
fn what_a_direct_read_gives_is_the_file() {
    let dir = tempfile::tempdir_in(".").unwrap();
    let path = dir.path().join("file");
    let bytes: Vec<u8> = (0..1_000_003_u32).map(|at| (at % 251) as u8).collect();
    std::fs::write(&path, &bytes).unwrap();
    for file in [PieceFile::open(&path).unwrap(), PieceFile::open_flushed(&path).unwrap()] {
        assert_eq!(file.bytes(), bytes.len() as u64);
        for (offset, len) in [(0, 10), (4095, 2), (999_990, 13), (100, 999_000), (0, 1_000_003)] {
            let mut piece = vec![0; len];
            file.read_at(offset as u64, &mut piece).unwrap();
            assert!(piece == bytes[offset..offset + len], "{len} bytes at {offset}");
        }
        assert!(file.read_at(1_000_000, &mut [0; 4]).is_err());
        // From piece to piece, which reads ahead; then back, and on again.
        let mut read = Vec::new();
        for start in (0..bytes.len()).step_by(PIECE_BYTES).chain([0, PIECE_BYTES]) {
            let mut piece = vec![0; PIECE_BYTES.min(bytes.len() - start)];
            file.read_at(start as u64, &mut piece).unwrap();
            assert!(piece == bytes[start..start + piece.len()], "a piece at {start}");
            read.push(piece.len());
        }
        assert_eq!(read.len(), 6, "{read:?}");
    }
}
