//! The mapped log against real files: what it appends is what a scanner finds.

use std::collections::BTreeMap;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::txnlog::{Nonce, ScanEnd, Scanner, append_entry, zxid_of_name};
use crate::zxid::Zxid;

/// An entry of `len` payload bytes.
fn entry(zxid: i64, len: usize) -> Vec<u8> {
    let mut payload = vec![0x5a; len.max(32)];
    payload[12..20].copy_from_slice(&zxid.to_be_bytes());
    let mut out = Vec::new();
    append_entry(&mut out, &payload);
    out
}

fn open(dir: &TempDir, change: impl FnOnce(&mut LogConfig)) -> Log {
    let mut config = LogConfig::new(dir.path().to_owned());
    config.segment_bytes = 8 << 20;
    change(&mut config);
    Log::open(config, Arc::new(|| ())).unwrap()
}

/// All log files in order: their names' zxids, their entries' zxids, whether they end cleanly.
fn read(dir: &Path) -> BTreeMap<Zxid, (Vec<i64>, bool)> {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let logs = names.filter_map(|name| Some((zxid_of_name(&name)?, std::fs::read(dir.join(name)).unwrap())));
    logs.map(|(first, bytes)| {
        let mut scanner = Scanner::new(&bytes);
        let zxids = scanner.by_ref().map(|entry| entry.zxid.0).collect();
        (first, (zxids, matches!(scanner.end(), ScanEnd::Clean { .. })))
    })
    .collect()
}

fn wait_for_room(log: &mut Log, bytes: u64) {
    let start = std::time::Instant::now();
    while log.room() < bytes {
        assert!(start.elapsed().as_secs() < 60, "no room of {bytes} bytes after a minute");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

/// Until a roll would not have to wait.
fn wait_for_spare(log: &mut Log) {
    let start = std::time::Instant::now();
    while log.spares.is_empty() {
        assert!(start.elapsed().as_secs() < 60, "no spare file after a minute");
        std::thread::sleep(std::time::Duration::from_millis(2));
        log.collect();
    }
}

#[test]
fn what_is_appended_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(&dir, |_| ());
    assert!(log.room() >= 4 << 20 >> 1, "the first segment is there when the log opens");
    assert!(read(dir.path()).is_empty(), "no log file before the first entry decides its name");
    for zxid in 1..=50 {
        log.append(&entry(zxid, 100 + zxid as usize)).unwrap();
        log.flush_blocking().unwrap();
    }
    let expected = BTreeMap::from([(Zxid(1), ((1..=50).collect(), true))]);
    assert_eq!(read(dir.path()), expected);
    log.close().unwrap();
    assert_eq!(read(dir.path()), expected);
    let files: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap()).collect();
    assert_eq!(files.len(), 1, "no spare file is left");
    let entries: u64 = (1..=50).map(|zxid| 113 + zxid).sum();
    let mark = tail_mark(Nonce::new(0), 16 + entries, 0).map_or(0, |mark| mark.len() as u64);
    assert_eq!(files[0].metadata().unwrap().len(), 16 + entries + mark);
}

#[test]
fn a_roll_starts_a_file_and_trims_the_old_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(&dir, |_| ());
    log.roll();
    log.append(&entry(7, 40)).unwrap();
    wait_for_spare(&mut log);
    log.append(&entry(8, 40)).unwrap();
    log.roll();
    log.append(&entry(9, 40)).unwrap();
    log.flush_blocking().unwrap();
    assert_eq!(read(dir.path()), BTreeMap::from([(Zxid(7), (vec![7, 8], true)), (Zxid(9), (vec![9], true))]));
    drop(log);
    assert_eq!(std::fs::metadata(dir.path().join("log.7")).unwrap().len(), 16 + 2 * 53 + 20);
    assert!(std::fs::metadata(dir.path().join("log.9")).unwrap().len() >= 8 << 20);
    // A second run removes the spares of the first and starts a file of its own.
    let mut log = open(&dir, |_| ());
    log.append(&entry(10, 40)).unwrap();
    log.close().unwrap();
    assert_eq!(read(dir.path()).keys().copied().collect::<Vec<_>>(), [Zxid(7), Zxid(9), Zxid(10)]);
}

#[test]
fn a_batch_is_split_over_files_at_an_entry() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(&dir, |_| ());
    let mut zxid = 0;
    for _ in 0..5 {
        wait_for_room(&mut log, 3 << 20);
        let mut batch = Vec::new();
        while batch.len() < 3 << 20 {
            zxid += 1;
            batch.extend(entry(zxid, 300_000));
        }
        batch.truncate(batch.len() - 300_013);
        zxid -= 1;
        log.append(&batch).unwrap();
    }
    log.flush_blocking().unwrap();
    let files = read(dir.path());
    assert!(files.len() > 1, "15 MB do not fit one segment of 8 MiB");
    for (first, (zxids, clean)) in &files {
        assert_eq!(zxids.first(), Some(&first.0));
        assert!(clean);
    }
    assert_eq!(files.into_values().flat_map(|(zxids, _)| zxids).collect::<Vec<_>>(), (1..=zxid).collect::<Vec<_>>());
}

#[test]
fn more_than_the_room_is_refused_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(&dir, |_| ());
    log.append(&entry(1, 40)).unwrap();
    let mut batch = Vec::new();
    for zxid in 2..40 {
        batch.extend(entry(zxid, 1 << 20));
    }
    assert_eq!(log.append(&batch), Err(NoRoom));
    log.append(&entry(2, 40)).unwrap();
    log.close().unwrap();
    assert_eq!(read(dir.path()), BTreeMap::from([(Zxid(1), (vec![1, 2], true))]));
}

#[test]
fn a_file_over_its_limit_is_rolled() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(&dir, |config| config.file_bytes_max = Some(1000));
    for zxid in 1..=6 {
        wait_for_spare(&mut log);
        log.append(&entry(zxid, 400)).unwrap();
        log.flush_blocking().unwrap();
    }
    assert_eq!(read(dir.path()).keys().copied().collect::<Vec<_>>(), [Zxid(1), Zxid(4)]);
}

#[test]
fn without_force_sync_a_flush_only_waits_for_the_name() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(&dir, |config| config.force_sync = false);
    log.append(&entry(1, 40)).unwrap();
    assert_eq!(log.begin_flush(), Flush::Background);
    assert!(log.wait_for_flush().is_ok());
    log.append(&entry(2, 40)).unwrap();
    assert_eq!(log.begin_flush(), Flush::Done);
    assert_eq!(read(dir.path()), BTreeMap::from([(Zxid(1), (vec![1, 2], true))]));
}

#[test]
fn after_a_failed_flush_nothing_succeeds() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(&dir, |_| ());
    log.append(&entry(1, 40)).unwrap();
    log.flush_blocking().unwrap();
    log.append(&entry(2, 40)).unwrap();
    assert!(matches!(log.begin_flush(), Flush::Fdatasync(_)));
    log.on_flushed(&Err(io::Error::from_raw_os_error(5)));
    assert_eq!(log.append(&entry(3, 40)), Err(NoRoom));
    assert_eq!(log.room(), 0);
    assert_eq!(log.begin_flush(), Flush::Failed);
}

#[test]
fn a_name_that_can_not_be_made_fails_the_flush() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(&dir, |_| ());
    // A directory of that name can not be replaced by a file.
    std::fs::create_dir(dir.path().join("log.1")).unwrap();
    log.append(&entry(1, 40)).unwrap();
    assert!(log.flush_blocking().is_err());
    assert_eq!(log.append(&entry(2, 40)), Err(NoRoom));
}

/// `mount -t tmpfs -o size=12m tmpfs <dir>`, then `LOG_FULL_DIR=<dir> cargo test --lib a_full_disk -- --ignored`.
#[test]
#[ignore = "needs LOG_FULL_DIR, an empty file system of 12 MiB"]
fn a_full_disk_takes_the_room_and_space_gives_it_back() {
    let root = std::env::var("LOG_FULL_DIR").expect("LOG_FULL_DIR names a file system of 12 MiB");
    let dir = tempfile::tempdir_in(root).unwrap();
    let hog = dir.path().join("hog");
    std::fs::write(&hog, vec![1; 5 << 20]).unwrap();
    let mut log = open(&dir, |_| ());
    let mut zxid = 0;
    // The first segment is all there is.
    while log.room() > 0 {
        zxid += 1;
        if log.append(&entry(zxid, 60_000)).is_err() {
            zxid -= 1;
            break;
        }
        log.flush_blocking().unwrap();
    }
    let start = std::time::Instant::now();
    while !log.is_full() {
        assert!(start.elapsed().as_secs() < 10);
        log.collect();
    }
    assert!(matches!(std::iter::from_fn(|| log.poll()).last(), Some(LogEvent::NoSpace(_))), "it says so once");
    assert!(zxid > 40 && log.room() < 60_013, "{zxid} {}", log.room());
    std::fs::remove_file(hog).unwrap();
    wait_for_room(&mut log, 1 << 20);
    log.append(&entry(zxid + 1, 60_000)).unwrap();
    log.close().unwrap();
    assert_eq!(read(dir.path()).into_values().flat_map(|(zxids, _)| zxids).max(), Some(zxid + 1));
}

#[test]
fn a_roll_keeps_what_was_promised() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(&dir, |_| ());
    log.append(&entry(1, 40)).unwrap();
    wait_for_spare(&mut log);
    let promised = log.room();
    // More was promised than the spare files hold: the roll has to wait until the room is asked for again.
    log.promised = log.spare_room() + 1;
    log.roll();
    log.append(&entry(2, 40)).unwrap();
    assert_eq!(read(dir.path()).len(), 1);
    assert!(log.room() <= promised.max(log.spare_room()));
    log.append(&entry(3, 40)).unwrap();
    log.flush_blocking().unwrap();
    assert_eq!(read(dir.path()), BTreeMap::from([(Zxid(1), (vec![1, 2], true)), (Zxid(3), (vec![3], true))]));
}
