//! Faults that stop a start, each with a message that says where it is and what to do.

use super::*;

/// The message of the refusal of a server on its own; nothing may have been changed.
fn refusal(files: &Files, settings: &RecoverySettings) -> String {
    let mut after = files.clone();
    let error = recover(&mut after, settings).expect_err("this must not start");
    assert_eq!(format!("{after:?}"), format!("{files:?}"), "a refused start changes nothing");
    let remedy = error.remedy(false).unwrap_or_default();
    format!("{error}. {remedy}")
}

fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{text:?} does not say {part:?}");
    }
}

#[test]
fn logs_without_a_snapshot() {
    let (mut files, tree) = two_logs();
    files.take("snapshot.0");
    assert_says(&refusal(&files, &settings()), &["log.1", "snapshot.trust.empty=true"]);
    let trusting = RecoverySettings { trust_empty: true, ..settings() };
    assert_eq!(recover(&mut files, &trusting).unwrap().tree.digest(), tree.digest());
}

#[test]
fn no_whole_snapshot() {
    let (mut files, _) = two_logs();
    files.change("snapshot.0", |bytes| bytes.truncate(bytes.len() / 2));
    let trusting = RecoverySettings { trust_empty: true, ..settings() };
    assert_says(&refusal(&files, &trusting), &["snapshot.0", "backup"]);
}

#[test]
fn a_flipped_bit_anywhere_before_the_end() {
    let (files, _) = two_logs();
    for (name, last) in [("log.1", 5), ("log.6", 10)] {
        let end = files.get(name).len() - 1024;
        for at in (16..end).step_by(7) {
            let mut flipped = files.clone();
            flipped.change(name, |bytes| bytes[at] ^= 0x10);
            let text = refusal(&flipped, &settings());
            assert_says(&text, &[name, "offset", "backup"]);
            assert!(!text.contains(&format!("after zxid 0x{last:x}:")), "{text}");
        }
    }
}

#[test]
fn a_zeroed_page_in_a_file_that_is_not_the_last() {
    let (mut files, _) = two_logs();
    files.change("log.1", |bytes| bytes[512..].fill(0));
    assert_says(&refusal(&files, &settings()), &["log.6", "0x6", "missing"]);
}

#[test]
fn a_missing_file_in_the_middle() {
    let mut writing = Writing::new();
    let mut files = Files::default();
    let (name, bytes) = writing.snapshot();
    files.put(&name, bytes);
    for first in [1, 4, 7] {
        let entries: Vec<_> = (0..3).map(|_| writing.next()).collect();
        files.put(&file_name(Zxid(first)), log_of(&entries));
    }
    files.take("log.4");
    assert_says(&refusal(&files, &settings()), &["log.7", "offset 16", "0x7", "0x3", "missing"]);
    files.change("log.7", |bytes| bytes.truncate(16));
    assert_says(&refusal(&files, &settings()), &["log.7", "0x7", "0x3", "missing"]);
}

#[test]
fn an_epoch_that_does_not_start_at_one() {
    let mut writing = Writing::new();
    let mut files = Files::default();
    let (name, bytes) = writing.snapshot();
    files.put(&name, bytes);
    let entries = [
        writing.next(),
        writing.create(Zxid::new(2, 5), "/late", CreateKind::Persistent, SessionId(7)),
    ];
    files.put("log.1", log_of(&entries));
    assert_says(&refusal(&files, &settings()), &["0x200000005", "0x1"]);
}

#[test]
fn a_smaller_zxid_in_the_same_file() {
    let mut writing = Writing::new();
    let mut files = Files::default();
    let (name, bytes) = writing.snapshot();
    files.put(&name, bytes);
    let entries = [writing.next(), writing.next(), writing.next()];
    let entries = [entries[0].clone(), entries[1].clone(), entries[2].clone(), entries[1].clone()];
    files.put("log.1", log_of(&entries));
    assert_says(&refusal(&files, &settings()), &["log.1", "0x2", "lower than 0x3"]);
}

#[test]
fn logs_that_end_before_a_snapshot_that_is_not_whole() {
    let (mut files, _) = two_logs();
    files.put("snapshot.20", b"ZKSN and no more".to_vec());
    assert_says(&refusal(&files, &settings()), &["snapshot.20", "0xa", "missing"]);
}

#[test]
fn directories_that_are_mixed_up() {
    let (mut files, _) = two_logs();
    files.snapshots = Some(Default::default());
    assert_says(&refusal(&files, &settings()), &["snapshot.0", "dataLogDir"]);
    let snapshot = files.take("snapshot.0");
    let log = files.get("log.1").clone();
    files.snapshots = Some([("snapshot.0".into(), snapshot), ("log.1".into(), log)].into());
    assert_says(&refusal(&files, &settings()), &["log.1", "dataLogDir"]);
}

#[test]
fn a_ttl_node_without_extended_types() {
    let mut writing = Writing::new();
    let mut files = Files::default();
    let (name, bytes) = writing.snapshot();
    files.put(&name, bytes);
    let entries = [writing.create(Zxid(1), "/ttl", CreateKind::Ttl { ttl_ms: 5000 }, SessionId(7))];
    files.put("log.1", log_of(&entries));
    let off = RecoverySettings::default();
    assert_says(&refusal(&files, &off), &["/ttl", "extendedTypesEnabled=true"]);
    let (name, bytes) = writing.snapshot();
    files.put(&name, bytes);
    assert_says(&refusal(&files, &off), &["/ttl", "extendedTypesEnabled=true"]);
    assert!(recover(&mut files, &settings()).is_ok());
    // Once it is gone, nothing stands in the way.
    let deleted = writing.apply(Zxid(2), SessionId(7), &Txn::Delete { path: "/ttl".into() });
    files.put("log.2", log_of(&[deleted]));
    assert!(recover(&mut files, &off).is_ok());
}

#[test]
fn a_read_error_says_where_and_changes_nothing() {
    let (files, _) = two_logs();
    for (name, at) in [("snapshot.0", 30), ("log.1", 200), ("log.6", 900)] {
        let mut failing = files.clone();
        failing.bad = Some((name.to_owned(), at));
        let text = refusal(&failing, &settings());
        assert_says(&text, &[name, "offset", "ddrescue", "Input/output error"]);
    }
}

#[test]
fn a_start_that_is_told_to_stop_changes_nothing() {
    let (mut files, _) = two_logs();
    files.stopping = true;
    assert_says(&refusal(&files, &settings()), &["told to stop", "nothing was changed"]);
}
