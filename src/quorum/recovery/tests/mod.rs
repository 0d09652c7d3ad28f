//! Recovery over files in memory: what it takes, what it refuses, and what every crash leaves.

mod crash;
mod disk;
mod golden;
mod history_end;
mod read_back;
mod refusals;

use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::jute::data::Acl;
use crate::snapshot::{Trailers, Writer, ZxidDigest};
use crate::tree::SnapshotHead;
use crate::txn::{CreateTxn, SetDataTxn, TxnDigest, write_log_record};
use crate::txnlog::{
    Claim, Nonce, SECTOR_BYTES, append_entry, closing_mark, file_header, file_name, tail_mark,
};
use crate::zxid::SessionId;

pub(super) use disk::Files;

/// A server's tree with the log entries and snapshots that belong to it.
pub(super) struct Writing {
    pub(super) tree: Tree,
}

impl Writing {
    pub(super) fn new() -> Self {
        Self { tree: Tree::new() }
    }

    /// Creates `/n<zxid>` at the next zxid; returns the log entry.
    pub(super) fn next(&mut self) -> Vec<u8> {
        let zxid = self.tree.last_zxid().next();
        self.create(zxid, &format!("/n{}", zxid.0), CreateKind::Persistent, SessionId(7))
    }

    pub(super) fn create(
        &mut self,
        zxid: Zxid,
        path: &str,
        kind: CreateKind,
        session: SessionId,
    ) -> Vec<u8> {
        let txn = Txn::Create(CreateTxn {
            path: path.into(),
            data: Some(Bytes::from(vec![0x64; 60 + zxid.counter() as usize % 90])),
            acl: [Acl::open()].into(),
            kind,
            with_stat: false,
            parent_cversion: zxid.counter() as i32,
        });
        self.apply(zxid, session, &txn)
    }

    pub(super) fn apply(&mut self, zxid: Zxid, session: SessionId, txn: &Txn) -> Vec<u8> {
        let header = TxnHeader { session, cxid: 1, zxid, time_ms: 1_700_000_000_000 + zxid.0 };
        self.tree.apply(&header, txn, None);
        let digest = TxnDigest { version: 2, tree: self.tree.digest() };
        let mut payload = Vec::new();
        write_log_record(&mut payload, &header, txn, Some(digest));
        let mut entry = Vec::new();
        append_entry(&mut entry, &payload);
        entry
    }

    /// The snapshot of the tree as it is, and its name.
    pub(super) fn snapshot(&mut self) -> (String, Vec<u8>) {
        self.snapshot_with(|head| {
            let (zxid, digest) = (head.zxid, head.digest);
            let digest = Some(ZxidDigest { zxid, version: 2, digest });
            Trailers { digest, last_zxid: Some(zxid) }
        })
    }

    pub(super) fn snapshot_with(
        &mut self,
        trailers: impl FnOnce(&SnapshotHead) -> Trailers,
    ) -> (String, Vec<u8>) {
        let (walk, mut head) = self.tree.begin_snapshot().unwrap();
        while self.tree.copy_head(walk, &mut head, 100).unwrap() {}
        let mut out = Vec::new();
        let mut writer = Writer::new();
        writer.head(&mut out, &head.sessions, &head.acls);
        let mut sink = |path: &str, data: Option<&[u8]>, acl, stat: &_| {
            writer.node(&mut out, path, data, acl, stat);
        };
        while let Some(cursor) = self.tree.snapshot_batch(walk, 100, &mut sink).unwrap() {
            self.tree.advance_snapshot(walk, cursor);
        }
        self.tree.end_snapshot(walk);
        writer.finish(&mut out, &trailers(&head));
        (format!("snapshot.{:x}", head.zxid), out)
    }
}

/// The nonce of every file in these tests.
pub(super) const NONCE: Nonce = Nonce::new(0x1234_5678_9abc);

/// A log file of ours: header, entries, mark, padding.
pub(super) fn log_of(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = file_header(NONCE).to_vec();
    bytes.extend(entries.concat());
    let end = bytes.len();
    bytes.resize(end + 1024, 0);
    let mark = closing_mark(NONCE, end as u64, Claim::whole(end as u64));
    bytes[end..end + mark.len()].copy_from_slice(&mark);
    bytes
}

pub(super) fn settings() -> RecoverySettings {
    RecoverySettings { extended_types: true, ..RecoverySettings::default() }
}

/// A fresh server's snapshot and the logs 1..=5, 6..=10 in two files.
fn two_logs() -> (Files, Tree) {
    let mut writing = Writing::new();
    let mut files = Files::default();
    let (name, bytes) = writing.snapshot();
    files.put(&name, bytes);
    for first in [1, 6] {
        let entries: Vec<_> = (0..5).map(|_| writing.next()).collect();
        files.put(&file_name(Zxid(first)), log_of(&entries));
    }
    (files, writing.tree)
}

use crate::txn::CreateKind;

#[test]
fn an_empty_directory_is_a_new_server() {
    let recovered = recover(&mut Files::default(), &settings()).unwrap();
    assert_eq!((recovered.last_zxid, recovered.report.snapshot), (Zxid::ZERO, None));
    assert_eq!(recovered.tree.digest(), Tree::new().digest());
}

#[test]
fn snapshot_and_logs_make_the_tree() {
    let (mut files, tree) = two_logs();
    let recovered = recover(&mut files, &settings()).unwrap();
    assert_eq!((recovered.last_zxid, recovered.tree.digest()), (Zxid(10), tree.digest()));
    let report = recovered.report;
    assert_eq!((report.records, report.log_files, report.digest_mismatches), (10, 2, 0));
    assert_eq!((report.snapshot.as_deref(), report.cut), (Some("snapshot.0"), None));
    // The padding is gone, the mark is there, and a second start finds the same and has nothing to
    // do.
    assert!(files.get("log.1").len() < 1024 && files.get("log.6").len() < 1024);
    files.settled.clear();
    assert_eq!(recover(&mut files, &settings()).unwrap().tree.digest(), tree.digest());
    assert!(files.settled.is_empty(), "{:?}", files.settled);
}

#[test]
fn a_snapshot_in_the_middle_of_a_log_saves_the_records_before_it() {
    let mut writing = Writing::new();
    let mut entries: Vec<_> = (0..5).map(|_| writing.next()).collect();
    let (name, bytes) = writing.snapshot();
    entries.extend((0..5).map(|_| writing.next()));
    let mut files = Files::default();
    files.put(&name, bytes);
    files.put("log.1", log_of(&entries));
    let recovered = recover(&mut files, &settings()).unwrap();
    assert_eq!((recovered.last_zxid, recovered.report.records), (Zxid(10), 5));
    assert_eq!(recovered.tree.digest(), writing.tree.digest());
}

/// Living or ended, in the snapshot, in the records that it holds already and in those after it.
#[test]
fn the_highest_session_id_is_found_wherever_it_stands() {
    let id = |number: i64| SessionId(0x0100_0000_0000_0000 + number);
    let end = Txn::CloseSession { paths: None };
    // The numbers of a session that ends before the snapshot, of one that lives, of one after it.
    for (ended, lives, later) in [(9, 5, 3), (5, 9, 3), (5, 3, 9)] {
        let mut writing = Writing::new();
        let mut entries = Vec::new();
        let mut log = |writing: &mut Writing, session, txn: &Txn| {
            let zxid = writing.tree.last_zxid().next();
            entries.push(writing.apply(zxid, session, txn));
        };
        let begin = Txn::CreateSession { timeout_ms: 4000 };
        log(&mut writing, id(ended), &begin);
        log(&mut writing, id(ended), &end);
        log(&mut writing, id(lives), &begin);
        // Another server's, which is higher.
        log(&mut writing, SessionId(0x0200_0000_0000_0000), &begin);
        let (name, bytes) = writing.snapshot();
        log(&mut writing, id(later), &begin);
        log(&mut writing, id(later), &end);
        let mut files = Files::default();
        files.put(&name, bytes);
        files.put("log.1", log_of(&entries));
        let recovered = recover(&mut files, &settings()).unwrap();
        assert_eq!(recovered.last_session, Some(id(9)), "{ended} {lives} {later}");
    }
    assert_eq!(recover(&mut Files::default(), &settings()).unwrap().last_session, None);
}

#[test]
fn an_older_snapshot_is_taken_if_the_log_leads_to_the_newer_one() {
    let (mut files, tree) = two_logs();
    files.put("snapshot.6", b"ZKSN and no more".to_vec());
    let recovered = recover(&mut files, &settings()).unwrap();
    assert_eq!(recovered.tree.digest(), tree.digest());
    assert_eq!(recovered.report.rejected.len(), 1);
    assert_eq!(recovered.report.snapshot.as_deref(), Some("snapshot.0"));
}

#[test]
fn a_copy_of_a_log_changes_nothing() {
    let (mut files, tree) = two_logs();
    files.put("log.1.bak", files.get("log.1").clone());
    files.put("log.6.bak", files.get("log.6").clone());
    files.put("log.old", b"anything".to_vec());
    assert_eq!(recover(&mut files, &settings()).unwrap().tree.digest(), tree.digest());
}

#[test]
fn a_repeated_zxid_and_a_new_epoch_are_taken() {
    let mut writing = Writing::new();
    let mut files = Files::default();
    let (name, bytes) = writing.snapshot();
    files.put(&name, bytes);
    let undecodable = Txn::Error(crate::codes::ErrorCode::MARSHALLING_ERROR);
    let entries = [
        writing.next(),
        writing.apply(Zxid(1), SessionId(7), &undecodable),
        writing.next(),
        writing.create(Zxid::new(3, 1), "/epoch", CreateKind::Persistent, SessionId(7)),
    ];
    files.put("log.1", log_of(&entries));
    let recovered = recover(&mut files, &settings()).unwrap();
    assert_eq!((recovered.last_zxid, recovered.report.records), (Zxid::new(3, 1), 4));
    assert_eq!(recovered.report.digest_mismatches, 0);
}

#[test]
fn a_digest_that_does_not_match_is_counted() {
    let (mut files, _) = two_logs();
    let mut other = Writing::new();
    other.create(Zxid(1), "/other", CreateKind::Persistent, SessionId(7));
    other.tree.set_last_zxid(Zxid(5));
    let entries: Vec<_> = (0..5).map(|_| other.next()).collect();
    files.put("log.6", log_of(&entries));
    let report = recover(&mut files, &settings()).unwrap().report;
    assert_eq!((report.digest_mismatches, report.first_mismatch), (5, Some(Zxid(6))));
    let unchecked = RecoverySettings { check_digests: false, ..settings() };
    assert_eq!(recover(&mut files, &unchecked).unwrap().report.digest_mismatches, 0);
}

/// A tree that Apache's leader has sent while it changed is stored without a digest and named after
/// the moment at which the sending began.
#[test]
fn a_tree_that_came_while_it_changed_is_compared_once_it_is_whole() {
    let mut writing = Writing::new();
    (0..5).for_each(|_| drop(writing.next()));
    let (name, _) = writing.snapshot();
    let entries: Vec<_> = (0..6).map(|_| writing.next()).collect();
    let mut fuzzy = Writing::new();
    (0..8).for_each(|_| drop(fuzzy.next()));
    let (_, bytes) = fuzzy.snapshot_with(|_| Trailers::default());
    let mut files = Files::default();
    files.put(&name, bytes);
    files.put("log.6", log_of(&entries));
    let recovered = recover(&mut files.clone(), &settings()).unwrap();
    assert_eq!((recovered.last_zxid, recovered.tree.digest()), (Zxid(11), writing.tree.digest()));
    assert_eq!(recovered.report.digest_mismatches, 0);
    assert!(recovered.tree.is_whole());
    // Nor is it cut before that.
    files.put("log.6", log_of(&entries[..2]));
    let recovered = recover(&mut files.clone(), &settings()).unwrap();
    assert!(!recovered.tree.is_whole());
    let error = Truncation::prepare(&mut files, &settings(), Zxid(7)).unwrap_err();
    assert!(matches!(error, RecoveryError::SnapshotBeyond { zxid: Zxid(8), .. }), "{error}");
}

#[test]
fn ephemerals_go_with_a_session_that_is_not_there() {
    let mut writing = Writing::new();
    let mut files = Files::default();
    let (name, bytes) = writing.snapshot();
    files.put(&name, bytes);
    let entries = [
        writing.apply(Zxid(1), SessionId(0x77), &Txn::CreateSession { timeout_ms: 4000 }),
        writing.create(Zxid(2), "/alive", CreateKind::Ephemeral, SessionId(0x77)),
        writing.create(Zxid(3), "/orphan", CreateKind::Ephemeral, SessionId(0x88)),
    ];
    files.put("log.1", log_of(&entries));
    let recovered = recover(&mut files, &settings()).unwrap();
    assert_eq!(recovered.report.orphans_removed, 1);
    assert!(recovered.tree.get("/alive").is_some() && recovered.tree.get("/orphan").is_none());
    assert_eq!(recovered.last_zxid, Zxid(3));
    let _: Arc<[Acl]> = recovered.tree.get("/alive").unwrap().acl().clone();
}

#[test]
fn every_file_after_the_snapshot_is_written_anew_where_nothing_proves_it() {
    let mut writing = Writing::new();
    let mut files = Files::default();
    let (name, bytes) = writing.snapshot();
    files.put(&name, bytes);
    let apache = |bytes: &mut Vec<u8>| bytes[8..16].fill(0);
    let mut ends = Vec::new();
    for (first, is_ours, is_proven) in
        [(1, true, true), (4, false, false), (7, true, false), (10, true, false)]
    {
        let entries: Vec<_> = (0..3).map(|_| writing.next()).collect();
        let end = 16 + entries.concat().len();
        let mut bytes = log_of(&entries);
        if !is_ours {
            apache(&mut bytes);
            bytes.truncate(end);
        } else if !is_proven {
            // The mark says no more than that the first entry was flushed.
            let durable = 16 + entries[0].len() as u64;
            let claim = Claim { durable, zeros: 0 };
            bytes[end..end + 20].copy_from_slice(&closing_mark(NONCE, end as u64, claim));
        }
        files.put(&file_name(Zxid(first)), bytes);
        ends.push((end as u64, entries[0].len() as u64 + 16));
    }
    let recovered = recover(&mut files, &settings()).unwrap();
    assert_eq!(recovered.last_zxid, Zxid(12));
    let anew: Vec<_> = files
        .settled
        .iter()
        .map(|(name, settling)| (name.as_str(), settling.anew.clone()))
        .collect();
    let expected = [
        ("log.1", ends[0].0..ends[0].0),
        ("log.4", 0..ends[1].0),
        ("log.7", ends[2].1..ends[2].0),
        ("log.a", ends[3].1..ends[3].0),
    ];
    assert_eq!(anew, expected);
    let bytes: u64 = expected.iter().map(|(_, anew)| anew.end - anew.start).sum();
    assert_eq!(recovered.report.bytes_anew, bytes);
    // What was settled is proven; of the file of another server nothing ever is.
    files.settled.clear();
    recover(&mut files, &settings()).unwrap();
    assert_eq!(files.settled.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["log.4"]);
}

#[test]
fn unfinished_files_are_passed_over() {
    let (mut files, tree) = two_logs();
    let whole = files.get("snapshot.0").clone();
    files.put("snapshot.20.tmp", b"ZKSN and no more".to_vec());
    files.put("snapshot.3.tmp", whole);
    files.put("log.20.tmp", b"anything".to_vec());
    let report = recover(&mut files, &settings()).unwrap().report;
    assert_eq!((report.snapshot.as_deref(), report.rejected.len()), (Some("snapshot.0"), 0));
    assert_eq!(report.passed_over, ["log.20.tmp", "snapshot.20.tmp", "snapshot.3.tmp"]);
    assert_eq!(recover(&mut files, &settings()).unwrap().tree.digest(), tree.digest());
}

/// A client's setData holds a record that would follow it, with marks around, and the power goes
/// while it is written.
#[test]
fn a_record_inside_data_does_not_refuse_the_start_at_any_cut() {
    let mut writing = Writing::new();
    let mut files = Files::default();
    let (name, bytes) = writing.snapshot();
    files.put(&name, bytes);
    let mut entries = vec![writing.next(), writing.next()];
    let before = 16 + entries.concat().len();
    let mut other = Writing::new();
    other.tree.set_last_zxid(Zxid(3));
    let mut data = closing_mark(Nonce::new(1), 50_000, Claim::whole(50_000)).to_vec();
    data.extend(other.next());
    data.extend(closing_mark(Nonce::new(2), 60_000, Claim::whole(60_000)));
    data.extend(other.next());
    data.extend([0x64; 100]);
    let set = SetDataTxn { path: "/n1".into(), data: Some(data.into()), version: 1 };
    entries.push(writing.apply(Zxid(3), SessionId(7), &Txn::SetData(set)));
    let whole = log_of(&entries);
    let end = 16 + entries.concat().len();
    for is_ours in [true, false] {
        for cut in before..end {
            let mut torn = files.clone();
            let mut bytes = whole[..cut].to_vec();
            if !is_ours {
                bytes[8..16].fill(0);
            }
            bytes.resize(whole.len(), 0);
            torn.put("log.1", bytes);
            let recovered = recover(&mut torn, &settings())
                .unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
            assert_eq!(recovered.last_zxid, Zxid(2), "cut at {cut}");
        }
    }
}

/// A crash has lost the sector in which the last entry begins; another one, during the start, lets
/// of that start's writes only those to this sector arrive. It is a torn tail as before.
#[test]
fn a_crash_while_a_lost_sector_is_cut_leaves_it_lost() {
    let (mut tried, mut entries) = (0, Vec::new());
    let mut writing = Writing::new();
    let (name, snapshot) = writing.snapshot();
    while tried < 20 {
        entries.push(writing.next());
        let bytes = log_of(&entries);
        let end = 16 + entries.concat().len();
        let start = end - entries[entries.len() - 1].len();
        let sector_end = start.next_multiple_of(SECTOR_BYTES);
        // An entry begins with zeros.
        if !(5..=20).contains(&(sector_end - start)) {
            continue;
        }
        tried += 1;
        // The mark of the last append, as it was to be, and the sector as it was before.
        let zeros = bytes[start..sector_end].iter().rev().take_while(|byte| **byte == 0).count();
        let mark = tail_mark(NONCE, end as u64, start as u64, zeros as u64);
        let mut lost = bytes[..end].to_vec();
        mark.put(&mut lost);
        lost[start..sector_end].fill(0);
        lost.resize(bytes.len(), 0);
        let mut files = Files::default();
        files.put(&name, snapshot.clone());
        files.put("log.1", lost.clone());
        let recovered = recover(&mut files, &settings()).unwrap();
        let at = recovered.report.cut.expect("the torn entry is cut").offset;
        assert_eq!((at, recovered.last_zxid.0), (start as u64, entries.len() as i64 - 1));
        let settled = files.get("log.1").clone();
        lost[start..sector_end].copy_from_slice(&settled[start..sector_end]);
        files.put("log.1", lost);
        let again = recover(&mut files, &settings()).unwrap();
        assert_eq!(again.last_zxid, recovered.last_zxid);
        assert_eq!(files.get("log.1"), &settled);
    }
}
