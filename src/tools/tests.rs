//! The tools on files of a real Apache server.

use std::path::{Path, PathBuf};

use super::*;

fn golden(dir: &str, name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(dir)
        .join("version-2")
        .join(name)
}

fn text(dump: impl FnOnce(&mut Vec<u8>) -> std::io::Result<bool>) -> (bool, String) {
    let mut out = Vec::new();
    let whole = dump(&mut out).unwrap();
    (whole, String::from_utf8(out).unwrap())
}

#[test]
fn a_log_is_shown_and_judged() {
    let mut bytes = std::fs::read(golden("3.9.5", "log.c")).unwrap();
    let (whole, shown) = text(|out| dump_log("log.c", &bytes, true, out));
    assert!(whole);
    for part in [
        "zxid 0xc ",
        "create persistent \"/",
        "multi [",
        "closeSession removes",
        "digest ",
        "ends cleanly",
    ] {
        assert!(shown.contains(part), "no {part:?} in {shown}");
    }
    bytes[100] ^= 1;
    let (whole, shown) = text(|out| dump_log("log.c", &bytes, false, out));
    assert!(!whole && shown.contains("CORRUPT at offset"), "{shown}");
    assert!(shown.contains("ringkeeper tools cut log.c "), "{shown}");
}

#[test]
fn a_snapshot_is_shown_and_judged() {
    for (dir, name) in
        [("3.9.5", "snapshot.f4"), ("3.9.5-gz", "snapshot.f4.gz"), ("3.4.14", "snapshot.d7")]
    {
        let mut bytes = std::fs::read(golden(dir, name)).unwrap();
        let (whole, shown) = text(|out| dump_snapshot(name, &bytes, true, out));
        assert!(whole && shown.contains("node \"/") && shown.contains(" sessions, "), "{shown}");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        assert!(!text(|out| dump_snapshot(name, &bytes, false, out)).0);
    }
}

#[test]
fn only_the_end_of_the_whole_records_can_be_cut() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.c");
    let mut bytes = std::fs::read(golden("3.9.5", "log.c")).unwrap();
    bytes[5000] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let end = crate::txnlog::Scanner::new(&bytes).end().unwrap().offset();
    assert!(cut_log(&path, end + 1).unwrap_err().to_string().contains(&end.to_string()));
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    let backup = cut_log(&path, end).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), bytes[..end as usize]);
    assert_eq!(std::fs::read(backup).unwrap(), bytes);
}
