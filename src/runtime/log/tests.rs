//! The mapped log against real files: what it appends is what a scanner finds.

use std::collections::BTreeMap;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::txnlog::{
    FILE_HEADER_BYTES, Nonce, ScanEnd, Scanner, TAIL_MARK_BYTES, append_entry, file_header,
    zxid_of_name,
};

/// An entry of `len` payload bytes.
fn entry(zxid: i64, len: usize) -> Vec<u8> {
    let mut payload = vec![0x5a; len.max(32)];
    payload[12..20].copy_from_slice(&zxid.to_be_bytes());
    let mut out = Vec::new();
    append_entry(&mut out, &payload);
    out
}

fn open(dir: &TempDir, change: impl FnOnce(&mut LogConfig)) -> Log {
    let mut config = LogConfig { segment_bytes: 8 << 20, ..LogConfig::default() };
    change(&mut config);
    Log::open(dir.path().to_owned(), config, Zxid::ZERO, Arc::new(|| ())).unwrap()
}

/// All log files in order: their names' zxids, their entries' zxids, whether they end cleanly.
fn read(dir: &Path) -> BTreeMap<Zxid, (Vec<i64>, bool)> {
    let names = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let logs = names
        .filter_map(|name| Some((zxid_of_name(&name)?, std::fs::read(dir.join(name)).unwrap())));
    logs.map(|(first, bytes)| {
        let mut scanner = Scanner::new(&bytes);
        let mut zxids = Vec::new();
        while let Some(entry) = scanner.next_entry().unwrap() {
            zxids.push(entry.zxid.0);
        }
        (first, (zxids, matches!(scanner.end().unwrap(), ScanEnd::Clean { .. })))
    })
    .collect()
}

/// Appends whole entries; the zxids are in them.
fn append(log: &mut Log, entries: &[u8]) -> Result<(), NoRoom> {
    let file = [&file_header(Nonce::new(0))[..], entries].concat();
    let (mut scanner, mut last) = (Scanner::new(&file), Zxid::ZERO);
    while let Some(entry) = scanner.next_entry().unwrap() {
        last = entry.zxid;
    }
    log.append(entries.to_vec().into(), last).map(drop)
}

fn wait_for_room(log: &mut Log, bytes: u64) {
    let start = std::time::Instant::now();
    while log.room(0) < bytes {
        log.collect();
        assert!(start.elapsed().as_secs() < 60, "no room of {bytes} bytes after a minute");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

/// Until a roll would not have to wait.
fn wait_for_spare(log: &mut Log) {
    let start = std::time::Instant::now();
    while log.writer.next_file() != NextFile::Ready {
        assert!(start.elapsed().as_secs() < 60, "no spare file after a minute");
        std::thread::sleep(std::time::Duration::from_millis(2));
        log.collect();
    }
}

#[test]
fn what_is_appended_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(&dir, |_| ());
    assert!(log.room(0) >= 4 << 20 >> 1, "the first segment is there when the log opens");
    assert!(read(dir.path()).is_empty(), "no log file before the first entry decides its name");
    for zxid in 1..=50 {
        append(&mut log, &entry(zxid, 100 + zxid as usize)).unwrap();
        log.flush_blocking().unwrap();
    }
    let expected = BTreeMap::from([(Zxid(1), ((1..=50).collect(), true))]);
    assert_eq!(read(dir.path()), expected);
    log.close().unwrap();
    assert_eq!(read(dir.path()), expected);
    let files: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap()).collect();
    assert_eq!(files.len(), 1, "no spare file is left");
    let entries: u64 = (1..=50).map(|zxid| 113 + zxid).sum();
    let mark = TAIL_MARK_BYTES as u64;
    assert_eq!(files[0].metadata().unwrap().len(), 16 + entries + mark);
}

/// Groups of every size, a roll in the middle of a block, the end: the same files in both ways.
#[test]
fn both_ways_leave_the_same_entries() {
    for mode in [Appending::Mapped, Appending::Direct] {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(&dir, |config| config.appending = mode);
        let mut zxid = 0;
        for group in 1..=40 {
            wait_for_room(&mut log, 1 << 20);
            let mut entries = Vec::new();
            for _ in 0..group {
                zxid += 1;
                entries.extend(entry(zxid, 30 * group));
            }
            append(&mut log, &entries).unwrap();
            log.flush_blocking().unwrap();
            if group == 20 {
                wait_for_spare(&mut log);
                log.roll();
            }
        }
        let found = read(dir.path());
        assert!(found.values().all(|(_, clean)| *clean), "{}", log.way());
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), [Zxid(1), Zxid(211)]);
        log.close().unwrap();
        let found = read(dir.path());
        assert!(found.values().all(|(_, clean)| *clean));
        let zxids: Vec<i64> = found.into_values().flat_map(|(zxids, _)| zxids).collect();
        assert_eq!(zxids, (1..=820).collect::<Vec<_>>());
    }
}

#[test]
fn a_roll_starts_a_file_and_trims_the_old_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(&dir, |_| ());
    log.roll();
    append(&mut log, &entry(7, 40)).unwrap();
    wait_for_spare(&mut log);
    append(&mut log, &entry(8, 40)).unwrap();
    log.roll();
    append(&mut log, &entry(9, 40)).unwrap();
    log.flush_blocking().unwrap();
    assert_eq!(
        read(dir.path()),
        BTreeMap::from([(Zxid(7), (vec![7, 8], true)), (Zxid(9), (vec![9], true))])
    );
    drop(log);
    assert_eq!(std::fs::metadata(dir.path().join("log.7")).unwrap().len(), 16 + 2 * 53 + 20);
    assert!(std::fs::metadata(dir.path().join("log.9")).unwrap().len() >= 8 << 20);
    // A second run removes the spares of the first and starts a file of its own.
    let mut log = open(&dir, |_| ());
    append(&mut log, &entry(10, 40)).unwrap();
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
        append(&mut log, &batch).unwrap();
    }
    log.flush_blocking().unwrap();
    let files = read(dir.path());
    assert!(files.len() > 1, "15 MB do not fit one segment of 8 MiB");
    for (first, (zxids, clean)) in &files {
        assert_eq!(zxids.first(), Some(&first.0));
        assert!(clean);
    }
    assert_eq!(
        files.into_values().flat_map(|(zxids, _)| zxids).collect::<Vec<_>>(),
        (1..=zxid).collect::<Vec<_>>()
    );
}

#[test]
fn more_than_the_room_is_refused_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(&dir, |_| ());
    append(&mut log, &entry(1, 40)).unwrap();
    let mut batch = Vec::new();
    for zxid in 2..40 {
        batch.extend(entry(zxid, 1 << 20));
    }
    assert_eq!(append(&mut log, &batch), Err(NoRoom));
    append(&mut log, &entry(2, 40)).unwrap();
    log.close().unwrap();
    assert_eq!(read(dir.path()), BTreeMap::from([(Zxid(1), (vec![1, 2], true))]));
}

#[test]
fn without_force_sync_marks_claim_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(&dir, |config| config.force_sync = false);
    for zxid in 1..=3 {
        append(&mut log, &entry(zxid, 40)).unwrap();
        log.flush(PendingFlush::of(log.writer.appended()));
        while !matches!(log.poll(), Some(LogEvent::Durable(_))) {}
        assert!(log.to_flush.is_none(), "no flush of ours reaches the disk");
    }
    log.close().unwrap();
    let file = std::fs::read(dir.path().join("log.1")).unwrap();
    let nonce = Nonce::of_header(file.first_chunk().unwrap()).unwrap();
    let end = 16 + 3 * 53;
    let header = FILE_HEADER_BYTES as u64;
    let claim = crate::txnlog::read_tail_mark(nonce, end, &file[end as usize..]);
    assert_eq!(claim.map(|claim| claim.durable), Some(header));
}

#[test]
fn after_a_failed_flush_nothing_succeeds() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(&dir, |config| config.appending = Appending::Mapped);
    append(&mut log, &entry(1, 40)).unwrap();
    log.flush_blocking().unwrap();
    append(&mut log, &entry(2, 40)).unwrap();
    log.flush(PendingFlush::of(log.writer.appended()));
    log.flushing = log.to_flush.take();
    assert!(log.flushing.is_some());
    log.on_synced(Err(io::Error::from_raw_os_error(5)));
    let events: Vec<_> = std::iter::from_fn(|| log.poll()).collect();
    assert!(
        events.iter().any(
            |it| matches!(it, LogEvent::Failed(why) if why.to_string().contains("os error 5"))
        )
    );
    assert_eq!(append(&mut log, &entry(3, 40)), Err(NoRoom));
    assert_eq!(log.room(0), 0);
    assert!(log.flush_blocking().is_err());
}

/// The kernel had no thread for it: nothing is known of the disk, and the log's own thread flushes.
#[test]
fn a_flush_that_the_kernel_did_not_begin_is_done_by_the_logs_thread() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(&dir, |config| config.appending = Appending::Mapped);
    for zxid in 1..=3 {
        append(&mut log, &entry(zxid, 40)).unwrap();
        log.flush(PendingFlush::of(log.writer.appended()));
        let ended = loop {
            if let Some(flush) = log.to_flush.take() {
                log.flushing = Some(flush);
                log.on_synced(Err(io::Error::from_raw_os_error(libc::ECANCELED)));
            }
            match log.poll() {
                Some(LogEvent::Room) => {}
                Some(ended) => break ended,
                None => std::thread::yield_now(),
            }
        };
        assert!(matches!(ended, LogEvent::Durable(_)), "{ended:?}");
    }
    log.close().unwrap();
    assert_eq!(read(dir.path()), BTreeMap::from([(Zxid(1), (vec![1, 2, 3], true))]));
}

/// Nothing is written and nothing is flushed: the loss is seen all the same.
#[test]
fn a_directory_that_is_moved_away_ends_the_log() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("version-2");
    std::fs::create_dir(&dir).unwrap();
    let (woken, wakes) = unbounded();
    let wake = Arc::new(move || woken.send(()).unwrap_or_default());
    let mut log = Log::open(dir.clone(), LogConfig::default(), Zxid::ZERO, wake).unwrap();
    append(&mut log, &entry(1, 40)).unwrap();
    log.flush_blocking().unwrap();
    std::fs::rename(&dir, home.path().join("away")).unwrap();
    let failure = loop {
        wakes.recv_timeout(std::time::Duration::from_secs(60)).expect("the loss is noticed");
        match std::iter::from_fn(|| log.poll()).find(|it| matches!(it, LogEvent::Failed(_))) {
            Some(LogEvent::Failed(why)) => break why.to_string(),
            _ => continue,
        }
    };
    assert!(failure.contains("log.1") && failure.contains("directory is gone"), "{failure}");
    assert_eq!(append(&mut log, &entry(2, 40)), Err(NoRoom));
}

#[test]
fn a_name_that_cannot_be_made_fails_the_flush() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(&dir, |_| ());
    // A directory of that name cannot be replaced by a file.
    std::fs::create_dir(dir.path().join("log.1")).unwrap();
    append(&mut log, &entry(1, 40)).unwrap();
    assert!(log.flush_blocking().is_err());
    assert_eq!(append(&mut log, &entry(2, 40)), Err(NoRoom));
}

#[test]
fn the_end_of_its_thread_ends_the_log_and_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let (woken, wakes) = unbounded();
    let wake = Arc::new(move || woken.send(()).unwrap());
    let mut log = Log::open(dir.path().to_owned(), LogConfig::default(), Zxid::ZERO, wake).unwrap();
    append(&mut log, &entry(1, 40)).unwrap();
    log.send(Job::Panic);
    let failure = loop {
        wakes.recv().expect("the thread wakes the log when it ends");
        match std::iter::from_fn(|| log.poll()).find(|it| matches!(it, LogEvent::Failed(_))) {
            Some(LogEvent::Failed(why)) => break why,
            _ => continue,
        }
    };
    assert!(failure.to_string().contains(THREAD), "{failure}");
    assert!(log.flush_blocking().is_err());
}

/// `mount -t tmpfs -o size=12m tmpfs <dir>`, then
/// `LOG_FULL_DIR=<dir> cargo test --lib a_full_disk -- --ignored`.
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
    while log.room(0) > 0 {
        zxid += 1;
        if append(&mut log, &entry(zxid, 60_000)).is_err() {
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
    assert!(
        matches!(std::iter::from_fn(|| log.poll()).last(), Some(LogEvent::NoSpare(_))),
        "it says so once"
    );
    assert!(zxid > 40 && log.room(0) < 60_013, "{zxid} {}", log.room(0));
    std::fs::remove_file(hog).unwrap();
    wait_for_room(&mut log, 1 << 20);
    append(&mut log, &entry(zxid + 1, 60_000)).unwrap();
    log.close().unwrap();
    assert_eq!(read(dir.path()).into_values().flat_map(|(zxids, _)| zxids).max(), Some(zxid + 1));
}
