//! The log is read back for learners.

use super::*;
use crate::zab::LogReach;

/// Log files by the zxids of their entries, and the zxids of the snapshots.
struct Logs {
    files: Vec<(String, Vec<u8>)>,
    snapshots: Vec<String>,
}

fn logs(files: &[&[Zxid]], snapshots: &[Zxid]) -> Logs {
    let entry = |zxid: &Zxid| {
        let mut payload = vec![0x5a; 50];
        payload[12..20].copy_from_slice(&zxid.0.to_be_bytes());
        let mut out = Vec::new();
        append_entry(&mut out, &payload);
        out
    };
    let file = |zxids: &&[Zxid]| {
        let entries: Vec<_> = zxids.iter().map(entry).collect();
        (file_name(zxids[0]), log_of(&entries))
    };
    Logs {
        files: files.iter().map(file).collect(),
        snapshots: snapshots.iter().map(|zxid| format!("snapshot.{zxid:x}")).collect(),
    }
}

impl Logs {
    fn ask(&self, peer: Zxid, upto: Zxid, max: Option<u64>) -> Result<LogReach, ReadBackError> {
        let names: Vec<_> = self.files.iter().map(|(name, _)| name.clone()).collect();
        let back = ReadBack::new(names, &self.snapshots, peer);
        let names: Vec<_> = back.names().map(str::to_owned).collect();
        let found = reach(
            &back,
            peer,
            upto,
            max,
            || true,
            |nth| {
                let file = self.files.iter().find(|(name, _)| *name == names[nth]);
                Ok(file.unwrap().1.clone())
            },
        );
        found.map(|found| found.expect("it is wanted"))
    }

    fn reach(&self, peer: Zxid, upto: Zxid) -> (Option<Zxid>, Option<Zxid>) {
        let reach = self.ask(peer, upto, None).unwrap();
        assert!(!reach.is_too_long);
        (reach.floor, reach.next)
    }
}

fn z(epoch: u32, counters: std::ops::RangeInclusive<u32>) -> Vec<Zxid> {
    counters.map(|counter| Zxid::new(epoch, counter)).collect()
}

const NOWHERE: (Option<Zxid>, Option<Zxid>) = (None, None);

#[test]
fn the_log_leads_on_from_each_of_its_transactions() {
    let files = logs(&[&z(0, 1..=4), &z(0, 5..=9), &z(2, 1..=3)], &[Zxid::ZERO, Zxid(6)]);
    let all: Vec<_> = [z(0, 0..=0), z(0, 1..=9), z(2, 1..=3)].concat();
    for (nth, upto) in all.iter().enumerate() {
        for (at, peer) in all[..=nth].iter().enumerate() {
            let next = all[..=nth].get(at + 1).copied();
            assert_eq!(files.reach(*peer, *upto), (Some(*peer), next), "{peer} {upto}");
        }
    }
    // A learner that has what the leader never had.
    let upto = Zxid::new(2, 3);
    assert_eq!(files.reach(Zxid(12), upto), (Some(Zxid(9)), Some(Zxid::new(2, 1))));
    assert_eq!(files.reach(Zxid::new(1, 0), upto), (Some(Zxid(9)), Some(Zxid::new(2, 1))));
    assert_eq!(files.reach(Zxid::new(2, 7), upto), (Some(upto), None));
}

#[test]
fn it_does_not_lead_on_from_before_its_beginning_or_a_hole() {
    let files = logs(&[&z(0, 3..=4), &z(0, 7..=9)], &[Zxid(8)]);
    let upto = Zxid(9);
    for before in [0, 2, 3, 4, 6] {
        assert_eq!(files.reach(Zxid(before), upto), NOWHERE, "{before}");
    }
    assert_eq!(files.reach(Zxid(7), upto), (Some(Zxid(7)), Some(Zxid(8))));
    // A snapshot from which it goes on.
    let files = logs(&[&z(0, 3..=4), &z(0, 7..=9)], &[Zxid(2), Zxid(6)]);
    assert_eq!(files.reach(Zxid(6), upto), (Some(Zxid(6)), Some(Zxid(7))));
    assert_eq!(files.reach(Zxid(5), upto), NOWHERE);
    assert_eq!(files.reach(Zxid(2), Zxid(4)), (Some(Zxid(2)), Some(Zxid(3))));
}

/// S17: the end of another history stays in the log files under a tree that was received.
#[test]
fn it_does_not_lead_across_a_tree_that_was_received() {
    let files = logs(&[&z(2, 1..=11), &z(3, 1..=4)], &[Zxid::ZERO, Zxid::new(3, 0)]);
    let upto = Zxid::new(3, 4);
    for counter in [0, 1, 5, 11, 12] {
        assert_eq!(files.reach(Zxid::new(2, counter), upto), NOWHERE, "{counter}");
    }
    let first = Some(Zxid::new(3, 1));
    assert_eq!(files.reach(Zxid::new(3, 0), upto), (Some(Zxid::new(3, 0)), first));
    assert_eq!(files.reach(Zxid::new(3, 1), upto), (first, Some(Zxid::new(3, 2))));
    // The tree is the end of the history, and no transaction has followed.
    let files = logs(&[&z(2, 1..=11)], &[Zxid::ZERO, Zxid::new(3, 0)]);
    assert_eq!(files.reach(Zxid::new(2, 11), Zxid::new(3, 0)), NOWHERE);
    assert_eq!(files.reach(Zxid::new(3, 0), Zxid::new(3, 0)), (Some(Zxid::new(3, 0)), None));
}

#[test]
fn only_files_after_the_learners_count_as_long() {
    let files = logs(&[&z(0, 1..=50), &z(0, 51..=60), &z(0, 61..=70)], &[Zxid::ZERO]);
    let is_too_long = |peer, max| files.ask(Zxid(peer), Zxid(70), Some(max)).unwrap().is_too_long;
    assert!(!is_too_long(3, 20 * 50) && is_too_long(3, 20 * 50 - 1));
    assert!(!is_too_long(51, 10 * 50) && is_too_long(51, 10 * 50 - 1));
    assert!(!is_too_long(61, 0));
}

#[test]
fn what_comes_after_the_last_one_is_not_looked_at() {
    let mut files = logs(&[&z(0, 1..=4), &z(0, 5..=9)], &[Zxid::ZERO]);
    // The entry after 7 is being written.
    let at = files.files[1].1.len() - 1024 - 63;
    files.files[1].1[at - 20..at + 30].fill(0xff);
    assert_eq!(files.reach(Zxid(2), Zxid(7)), (Some(Zxid(2)), Some(Zxid(3))));
    let error = files.ask(Zxid(2), Zxid(9), None).unwrap_err().to_string();
    assert!(error.contains("log.5"), "{error}");
    let error = files.ask(Zxid(2), Zxid(11), None).unwrap_err().to_string();
    assert!(error.contains("log.5") || error.contains("before 0xb"), "{error}");
}

#[test]
fn a_log_that_ends_early_is_said() {
    let files = logs(&[&z(0, 1..=4)], &[Zxid::ZERO]);
    let error = files.ask(Zxid(2), Zxid(5), None).unwrap_err();
    assert!(matches!(error, ReadBackError::Ends { last: Some(Zxid(4)), .. }), "{error}");
    let error = logs(&[], &[]).ask(Zxid(2), Zxid(5), None).unwrap_err();
    assert!(matches!(error, ReadBackError::Ends { last: None, .. }), "{error}");
}

#[test]
fn what_nobody_waits_for_any_more_is_not_read_on() {
    let files = logs(&[&z(0, 1..=4), &z(0, 5..=9)], &[Zxid::ZERO]);
    let names: Vec<_> = files.files.iter().map(|(name, _)| name.clone()).collect();
    let back = ReadBack::new(names, &files.snapshots, Zxid(1));
    let (asked, opened) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    let is_wanted = || asked.replace(asked.get() + 1) < 3;
    let found = reach(&back, Zxid(1), Zxid(9), None, is_wanted, |nth| {
        opened.set(nth);
        Ok(files.files[nth].1.clone())
    });
    assert_eq!((found.unwrap(), opened.get()), (None, 0));
}

#[test]
fn copies_and_repetitions_are_passed_over() {
    let mut files = logs(&[&z(0, 1..=4), &z(0, 5..=9)], &[Zxid::ZERO]);
    let copy = files.files[0].1.clone();
    files.files.push(("log.1.bak".into(), copy));
    let undecodable: Vec<_> = [5, 5, 6, 7, 7, 8].map(Zxid).to_vec();
    files.files[1].1 = logs(&[&undecodable], &[]).files[0].1.clone();
    assert_eq!(files.reach(Zxid(3), Zxid(8)), (Some(Zxid(3)), Some(Zxid(4))));
    assert_eq!(files.reach(Zxid(5), Zxid(8)), (Some(Zxid(5)), Some(Zxid(6))));
}

#[test]
fn the_latest_records_are_kept_as_far_as_they_are_one_history() {
    let mut writing = Writing::new();
    let (name, snapshot) = writing.snapshot();
    let entries: Vec<_> = (0..10).map(|_| writing.next()).collect();
    let (later, bytes) = writing.snapshot();
    let more: Vec<_> = (0..3).map(|_| writing.next()).collect();
    let kept = |files: &Files, tail: (usize, usize)| -> Vec<i64> {
        let settings = RecoverySettings { tail, ..settings() };
        let recovered = recover(&mut files.clone(), &settings).unwrap();
        recovered.tail.iter().map(|logged| logged.zxid.0).collect()
    };
    let mut files = Files::default();
    files.put(&name, snapshot);
    files.put("log.1", log_of(&entries[..6]));
    files.put("log.7", log_of(&entries[6..]));
    files.put("log.b", log_of(&more));
    assert_eq!(kept(&files, (5, usize::MAX)), (9..=13).collect::<Vec<_>>());
    assert_eq!(kept(&files, (500, usize::MAX)), (1..=13).collect::<Vec<_>>());
    assert_eq!(kept(&files, (0, usize::MAX)), [0; 0]);
    let record = |entry: &Vec<u8>| entry.len() - 13;
    let two = record(&more[1]) + record(&more[2]);
    assert_eq!((kept(&files, (5, two)), kept(&files, (5, two - 1))), (vec![12, 13], vec![13]));
    // The records before a snapshot are there too, from its file on.
    let mut snapped = files.clone();
    snapped.put(&later, bytes.clone());
    snapped.take("log.b");
    assert_eq!(kept(&snapped, (500, usize::MAX)), (7..=10).collect::<Vec<_>>());
    // A tree that was received, at the start of an epoch: the log before it proves nothing.
    let mut received = Writing::new();
    received.tree.set_last_zxid(Zxid::new(1, 0));
    let (name, bytes) = received.snapshot();
    snapped.put(&name, bytes);
    assert_eq!(kept(&snapped, (500, usize::MAX)), [0; 0]);
    let first = received.create(Zxid::new(1, 1), "/e", CreateKind::Persistent, SessionId(7));
    snapped.put("log.100000001", log_of(&[first]));
    assert_eq!(kept(&snapped, (500, usize::MAX)), [Zxid::new(1, 1).0]);
}

#[test]
fn a_member_keeps_ephemerals_whose_session_is_gone() {
    let mut writing = Writing::new();
    let mut files = Files::default();
    let (name, bytes) = writing.snapshot();
    files.put(&name, bytes);
    let orphan = writing.create(Zxid(1), "/orphan", CreateKind::Ephemeral, SessionId(0x88));
    files.put("log.1", log_of(&[orphan]));
    let settings = RecoverySettings { removes_orphans: false, ..settings() };
    let recovered = recover(&mut files, &settings).unwrap();
    assert!(recovered.tree.get("/orphan").is_some() && recovered.report.orphans_removed == 0);
    assert_eq!(recovered.tree.digest(), writing.tree.digest());
}
