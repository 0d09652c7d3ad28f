//! Directories on a real disk.

use super::*;
use crate::pieces::Source;
use crate::quorum::recovery::{RecoverySettings, recover};
use crate::runtime::SharedTree;
use crate::runtime::snapshotter::{SnapshotterConfig, take_snapshot};
use crate::tree::Tree;
use crate::zxid::Zxid;
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
fn small_files_hold_one_number() {
    let dir = tempfile::tempdir().unwrap();
    let data = DataDir::open(dir.path(), dir.path(), true).unwrap();
    assert_eq!((data.my_id().unwrap(), data.epochs().unwrap()), (None, Epochs::default()));
    std::fs::write(dir.path().join("myid"), " 3 \nmore\n").unwrap();
    std::fs::write(data.snapshots().join("currentEpoch"), "5").unwrap();
    std::fs::write(data.snapshots().join("acceptedEpoch"), "six").unwrap();
    assert_eq!(data.my_id().unwrap(), Some(3));
    let text = data.epochs().unwrap_err().to_string();
    assert!(text.contains("acceptedEpoch") && text.contains("six"), "{text}");
    std::fs::write(dir.path().join("initialize"), "").unwrap();
    assert!(data.take_initialize().unwrap());
    assert!(!data.take_initialize().unwrap());
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
