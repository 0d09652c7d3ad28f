//! Parts of real logs, some of which are being written.

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tempfile::TempDir;

use super::*;
use crate::packet::{Packet, PacketStream};
use crate::runtime::log::{Log, LogConfig};
use crate::txnlog::{Appending, Nonce, append_entry, file_header, file_name};

/// A data directory whose only snapshot is that of nothing.
fn empty() -> (TempDir, DataDir) {
    let dir = tempfile::tempdir().unwrap();
    let data = DataDir::open(dir.path(), dir.path(), true).unwrap();
    std::fs::write(data.snapshots().join("snapshot.0"), "").unwrap();
    (dir, data)
}

/// The payload of a transaction: its bytes and their number depend on the zxid.
fn payload(zxid: i64) -> Vec<u8> {
    let len = if zxid % 31 == 0 { 300_000 } else { 40 + (zxid as usize * 7) % 900 };
    let mut payload: Vec<u8> = (0..len).map(|at| (at as i64 + zxid) as u8).collect();
    payload[12..20].copy_from_slice(&zxid.to_be_bytes());
    payload
}

fn entries(zxids: RangeInclusive<i64>) -> Vec<u8> {
    let mut out = Vec::new();
    zxids.for_each(|zxid| append_entry(&mut out, &payload(zxid)));
    out
}

/// A finished file of these transactions.
fn put(dir: &Path, zxids: RangeInclusive<i64>) {
    let name = file_name(Zxid(*zxids.start()));
    let bytes = [&file_header(Nonce::new(7))[..], &entries(zxids)].concat();
    std::fs::write(dir.join(name), bytes).unwrap();
}

/// The packets are PROPOSAL and COMMIT of each of these transactions.
fn check(bytes: &[u8], zxids: impl Iterator<Item = i64>) {
    let mut stream = PacketStream::new(4 << 20);
    stream.push(bytes);
    for zxid in zxids {
        let record = payload(zxid).into();
        let zxid = Zxid(zxid);
        assert_eq!(stream.next_packet().unwrap(), Some(Packet::Proposal { zxid, record }));
        assert_eq!(stream.next_packet().unwrap(), Some(Packet::Commit { zxid }));
    }
    assert_eq!(stream.next_packet().unwrap(), None);
}

fn append_all(mut log: Log, upto: i64, durable: &AtomicI64) {
    let mut next = 1;
    for group in 0.. {
        let last = (next + group % 23).min(upto);
        let group_bytes = entries(next..=last);
        while log.room(0) < group_bytes.len() as u64 {
            log.poll();
            std::thread::yield_now();
        }
        log.append(group_bytes.into(), Zxid(last)).unwrap();
        log.flush_blocking().unwrap();
        durable.store(last, Ordering::SeqCst);
        if group % 7 == 6 {
            log.roll();
        }
        if last == upto {
            break;
        }
        next = last + 1;
    }
    log.close().unwrap();
}

#[test]
fn what_is_durable_is_sent_while_more_is_written() {
    for appending in [Appending::Direct, Appending::Mapped] {
        let (_dir, data) = empty();
        let config = LogConfig { segment_bytes: 8 << 20, appending, ..LogConfig::default() };
        let log = Log::open(data.logs().to_owned(), config, Zxid::ZERO, Arc::new(|| ())).unwrap();
        let durable = Arc::new(AtomicI64::new(0));
        let writer = std::thread::spawn({
            let durable = durable.clone();
            move || append_all(log, UPTO, &durable)
        });
        let mut sendings = 0;
        loop {
            let is_last = writer.is_finished();
            let upto = durable.load(Ordering::SeqCst);
            for after in [0, upto / 2, upto] {
                let mut out = Vec::new();
                let sent = send_log(&data, Zxid(after), Zxid(upto), &mut out).unwrap();
                check(&out, after + 1..=upto);
                assert_eq!(sent.transactions as i64, upto - after);
                assert_eq!(sent.bytes, out.len() as u64);
                let reach = log_reach(&data, Zxid(after)..=Zxid(upto), 1, Some(0.0), || true)
                    .unwrap()
                    .unwrap();
                let next = (after < upto).then_some(Zxid(after + 1));
                assert_eq!((reach.floor, reach.next), (Some(Zxid(after)), next));
                sendings += 1;
            }
            if is_last {
                break;
            }
        }
        writer.join().unwrap();
        assert!(sendings >= 3, "{sendings}");
    }
}

/// Where the learner is: it takes bytes, and something is done before it takes the first.
struct Learner<F> {
    first: Option<F>,
    bytes: Vec<u8>,
    longest: usize,
}

impl<F: FnOnce()> Learner<F> {
    fn new(first: F) -> Self {
        Self { first: Some(first), bytes: Vec::new(), longest: 0 }
    }
}

impl<F: FnOnce()> Write for Learner<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.first.take().into_iter().for_each(|first| first());
        self.longest = self.longest.max(bytes.len());
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn files_that_are_purged_and_cut_meanwhile_are_sent_whole() {
    let (_dir, data) = empty();
    for first in [1, 101, 201, 301] {
        put(data.logs(), first..=first + 99);
    }
    // The newest one is as long as it was made.
    let newest = data.logs().join(file_name(Zxid(301)));
    let file = std::fs::OpenOptions::new().write(true).open(&newest).unwrap();
    let end = file.metadata().unwrap().len();
    file.set_len(8 << 20).unwrap();
    let mut learner = Learner::new(|| {
        file.set_len(end).unwrap();
        for first in [1, 101, 201, 301] {
            std::fs::remove_file(data.logs().join(file_name(Zxid(first)))).unwrap();
        }
    });
    let sent = send_log(&data, Zxid(5), Zxid(400), &mut learner).unwrap();
    assert_eq!(sent.transactions, 395);
    assert!(learner.longest <= 5 << 20, "{} bytes at once", learner.longest);
    check(&learner.bytes, 6..=400);
}

#[test]
fn a_learner_never_gets_a_gap() {
    let (_dir, data) = empty();
    put(data.logs(), 1..=40);
    put(data.logs(), 44..=80);
    for (after, upto) in [(0, 80), (39, 80), (40, 80), (41, 80), (43, 80), (10, 44), (43, 44)] {
        let mut out = Vec::new();
        let error = send_log(&data, Zxid(after), Zxid(upto), &mut out).unwrap_err();
        assert!(matches!(error, SendLogError::Gap { .. }), "{after} {upto}: {error}");
        assert!(out.is_empty());
    }
    let mut out = Vec::new();
    assert!(send_log(&data, Zxid(60), Zxid(81), &mut out).is_err(), "it ends before that");
    std::fs::remove_file(data.snapshots().join("snapshot.0")).unwrap();
    assert!(send_log(&data, Zxid(0), Zxid(40), &mut out).is_err(), "nothing leads to its start");
    out.clear();
    send_log(&data, Zxid(1), Zxid(40), &mut out).unwrap();
    check(&out, 2..=40);
    // A tree was received between the two files.
    std::fs::write(data.snapshots().join("snapshot.100000000"), "").unwrap();
    let next = Zxid::new(1, 1).0;
    put(data.logs(), next..=next + 5);
    let mut out = Vec::new();
    assert!(send_log(&data, Zxid(80), Zxid(next + 5), &mut out).is_err() && out.is_empty());
    send_log(&data, Zxid::new(1, 0), Zxid(next + 5), &mut out).unwrap();
    check(&out, next..=next + 5);
}

#[test]
fn damage_and_a_lost_connection_are_said() {
    let (_dir, data) = empty();
    put(data.logs(), 1..=400);
    let path = data.logs().join("log.1");
    let mut bytes = std::fs::read(&path).unwrap();
    let mut full = [0; 100];
    let mut out = &mut full[..];
    let error = send_log(&data, Zxid(0), Zxid(400), &mut out).unwrap_err();
    assert!(matches!(error, SendLogError::Connection(_)), "{error}");
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let mut sent = Vec::new();
    let error = send_log(&data, Zxid(0), Zxid(400), &mut sent).unwrap_err();
    assert!(error.to_string().contains("log.1 is damaged at offset"), "{error}");
    let reach = log_reach(&data, Zxid(0)..=Zxid(400), 1, Some(0.0), || true);
    assert!(matches!(reach, Err(SendLogError::Log(ReadBackError::Damaged { .. }))));
}

#[test]
fn a_log_that_is_longer_than_its_part_of_the_tree_is_too_long() {
    let (_dir, data) = empty();
    put(data.logs(), 1..=10);
    put(data.logs(), 11..=20);
    let bytes: usize = (11..=20).map(|zxid| payload(zxid).len()).sum();
    // The only snapshot is one of the beginning, of an empty tree.
    std::fs::write(data.snapshots().join("snapshot.0"), [0; 9]).unwrap();
    let is_too_long = |part| {
        let reach = log_reach(&data, Zxid(3)..=Zxid(20), 4 * bytes as u64, part, || true);
        reach.unwrap().unwrap().is_too_long
    };
    assert!(!is_too_long(Some(0.25)) && is_too_long(Some(0.24)));
    assert!(!is_too_long(Some(0.0)) && is_too_long(None));
}

/// Transactions that are written in the test of a log in use.
const UPTO: i64 = 3000;
