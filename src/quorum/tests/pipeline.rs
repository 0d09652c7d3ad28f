//! The pipeline by itself: what it takes from the room, and what it gives to be committed.

use std::collections::VecDeque;

use super::super::pipeline::{Answer, KnownNodes, Pipeline, Proposal};
use super::*;
use crate::quorum::leader::logged;
use crate::zab::Logged;

/// Nothing is logged.
fn pipeline(config: &QuorumConfig, seed: u64) -> Pipeline {
    Pipeline::new(config, Durable::recovered(Zxid::ZERO), seed)
}

fn propose(pipeline: &mut Pipeline, zxid: i64) -> VecDeque<Effect> {
    let header = TxnHeader { session: SessionId(1), cxid: 0, zxid: Zxid(zxid), time_ms: 0 };
    let txn = Txn::CreateSession { timeout_ms: 4000 };
    let (digest, answer) = (None, Answer::Nobody);
    let proposal =
        Proposal { header, txn, digest, answer, departs: false, known: KnownNodes::NOTHING };
    let mut effects = VecDeque::new();
    pipeline.propose(proposal, &mut effects);
    effects
}

#[test]
fn a_proposal_takes_its_own_length_from_the_room() {
    let mut pipeline = pipeline(&QuorumConfig::default(), 1);
    for zxid in 1..=3 {
        let (room, unappended) = (1000, pipeline.unappended());
        pipeline.set_room(room);
        propose(&mut pipeline, zxid);
        let len = pipeline.unappended() - unappended;
        assert!(len > 0);
        assert_eq!(pipeline.room(), room - len, "entries before it have taken theirs already");
    }
}

/// Ends the group, and gives what vouches for it once its flush has ended.
fn flush(pipeline: &mut Pipeline) -> Durable<Zxid> {
    let mut effects = VecDeque::new();
    pipeline.end_group(&mut effects);
    let Some(Effect::Flush(flush)) = effects.pop_back() else { panic!("a flush begins") };
    flush.end_in_test()
}

/// The zxid that is committed next, if its turn has come.
fn next(pipeline: &Pipeline) -> Option<i64> {
    assert_eq!(pipeline.has_committable(), pipeline.committable() > 0);
    pipeline.committable_proposal().map(|next| next.header.zxid.0)
}

/// S14.
#[test]
fn what_is_not_durable_is_not_shown_though_a_quorum_has_it() {
    let mut pipeline = pipeline(&QuorumConfig::default(), 1);
    (1..=2).for_each(|zxid| drop(propose(&mut pipeline, zxid)));
    assert_eq!(next(&pipeline), None);
    let durable = flush(&mut pipeline);
    pipeline.on_committed(Zxid(1));
    assert_eq!(next(&pipeline), None, "the flush is under way");
    pipeline.on_flushed(durable);
    assert_eq!((next(&pipeline), pipeline.committable()), (Some(1), 1));
    assert_eq!(pipeline.frontier(), Zxid(1));
}

#[test]
fn what_is_not_committed_is_not_shown_though_it_is_durable_here() {
    let mut pipeline = pipeline(&QuorumConfig::default(), 1);
    (1..=2).for_each(|zxid| drop(propose(&mut pipeline, zxid)));
    let durable = flush(&mut pipeline);
    pipeline.on_flushed(durable);
    assert_eq!(next(&pipeline), None);
    pipeline.on_committed(Zxid(2));
    assert_eq!((next(&pipeline), pipeline.committable()), (Some(1), 2));
}

#[test]
#[should_panic(expected = "committed 0x2, proposed 0x1")]
fn nothing_is_committed_that_was_not_proposed() {
    let mut pipeline = pipeline(&QuorumConfig::default(), 1);
    propose(&mut pipeline, 1);
    pipeline.on_committed(Zxid(2));
}

/// What the role proposes of a group is what the log gets, without its framing and without a copy.
#[test]
fn the_transactions_of_a_group_are_slices_of_it() {
    let mut pipeline = pipeline(&QuorumConfig::default(), 1);
    (1..=3).for_each(|zxid| drop(propose(&mut pipeline, zxid)));
    let mut effects = VecDeque::new();
    pipeline.end_group(&mut effects);
    let Some(Effect::Append { bytes, .. }) = effects.pop_front() else { panic!("it is appended") };
    let (mut zxids, within) = (Vec::new(), bytes.as_ptr_range());
    for Logged { zxid, record } in logged(&bytes) {
        zxids.push(zxid.0);
        assert_eq!(read_log_record(&record).unwrap().header.zxid, zxid);
        assert!(within.contains(&record.as_ptr()) && !bytes.is_unique());
    }
    assert_eq!(zxids, [1, 2, 3]);
    assert!(bytes.is_unique());
}

/// The buffer of the next group. It has taken one proposal.
fn append(pipeline: &mut Pipeline, zxid: i64) -> Vec<u8> {
    propose(pipeline, zxid);
    let mut effects = VecDeque::new();
    pipeline.end_group(&mut effects);
    let Some(Effect::Append { bytes, .. }) = effects.pop_front() else { panic!("it is appended") };
    bytes.into()
}

/// How many of so many buffers with this capacity the next groups are written into, once they have
/// come back. A new buffer for one short entry has far less.
fn used_again(buffers: usize, capacity: usize) -> usize {
    let mut pipeline = pipeline(&QuorumConfig::default(), 1);
    (0..buffers).for_each(|_| pipeline.recycle(Vec::with_capacity(capacity)));
    let groups = (1..=10).map(|zxid| append(&mut pipeline, zxid));
    groups.filter(|bytes| bytes.capacity() >= capacity).count()
}

#[test]
fn a_buffer_that_has_come_back_takes_a_next_group_and_nothing_of_the_old_one() {
    assert_eq!(used_again(1, 4096), 1);
    let mut pipeline = pipeline(&QuorumConfig::default(), 1);
    let first = append(&mut pipeline, 1);
    let len = first.len();
    pipeline.recycle(first);
    let second = append(&mut pipeline, 2);
    assert_eq!(second.len(), len);
    let (entry, _) = first_entry(&second).expect("one whole entry");
    assert_eq!(entry, len);
    assert_eq!(read_log_record(&second[12..len - 1]).unwrap().header.zxid, Zxid(2));
}

#[test]
fn four_buffers_are_kept_and_none_that_is_large() {
    assert_eq!(used_again(6, 4096), 4);
    assert_eq!(used_again(1, 1 << 20), 1);
    assert_eq!(used_again(1, (1 << 20) + 1), 0);
}

/// What each of so many proposals of one length brings with it.
fn due(config: &QuorumConfig, seed: u64, proposals: i64) -> Vec<String> {
    let mut pipeline = pipeline(config, seed);
    let due = |effect: &Effect| match effect {
        Effect::Append { .. } => None,
        Effect::RollLog => Some("roll"),
        Effect::TakeSnapshot => Some("snapshot"),
        other => panic!("a proposal brings no {other:?}"),
    };
    let mut of_one =
        |zxid| propose(&mut pipeline, zxid).iter().filter_map(due).collect::<Vec<_>>().join(", ");
    (1..=proposals).map(&mut of_one).collect()
}

/// The length of the entry of each proposal in these tests.
fn entry_bytes() -> u64 {
    let mut pipeline = pipeline(&QuorumConfig::default(), 1);
    append(&mut pipeline, 1).len() as u64
}

/// `snapCount` is at least 2, and then leaves nothing to chance.
#[test]
fn a_snapshot_falls_due_with_the_transaction_after_half_of_snap_count() {
    for snap_count in [0, 1, 2] {
        let config = QuorumConfig { snap_count, ..QuorumConfig::default() };
        assert_eq!(due(&config, 1, 4), ["", "snapshot", "", "snapshot"], "{snap_count}");
    }
}

#[test]
fn servers_that_count_alike_do_not_take_their_snapshots_at_once() {
    let config = QuorumConfig { snap_count: 100, ..QuorumConfig::default() };
    let firsts: Vec<usize> = (0..50)
        .map(|seed| due(&config, seed, 100).iter().position(|what| *what == "snapshot").unwrap())
        .collect();
    assert!(firsts.iter().all(|before| (50..100).contains(before)), "{firsts:?}");
    let (first, last) = (firsts.iter().min().unwrap(), firsts.iter().max().unwrap());
    assert!(last - first >= 40, "{firsts:?}: they spread over the second half");
}

/// Twice an entry's length is the limit: half of it is not exceeded by the first entry, and the
/// second one exceeds whatever is added by chance.
#[test]
fn a_snapshot_falls_due_when_more_than_half_of_its_bytes_and_a_random_part_are_written() {
    let config = QuorumConfig { snap_size_bytes: 2 * entry_bytes(), ..QuorumConfig::default() };
    for seed in 0..1000 {
        assert_eq!(due(&config, seed, 4), ["", "snapshot", "", "snapshot"], "seed {seed}");
    }
    let config = QuorumConfig { snap_size_bytes: 1, ..QuorumConfig::default() };
    assert_eq!(due(&config, 1, 2), ["snapshot"; 2]);
}

#[test]
fn a_limit_of_no_bytes_is_none() {
    let config = QuorumConfig { snap_size_bytes: 0, log_file_bytes_max: 0, ..Default::default() };
    assert_eq!(due(&config, 1, 100), [""; 100]);
}

#[test]
fn a_log_file_takes_as_many_bytes_as_its_limit_and_ends_after_the_entry_that_exceeds_it() {
    let limit = 2 * entry_bytes();
    let config = QuorumConfig { log_file_bytes_max: limit, ..QuorumConfig::default() };
    assert_eq!(due(&config, 1, 6), ["", "", "roll", "", "", "roll"]);
    let config = QuorumConfig { log_file_bytes_max: limit - 1, ..QuorumConfig::default() };
    assert_eq!(due(&config, 1, 4), ["", "roll", "", "roll"]);
}

/// A snapshot begins no file, and does not put off the end of one.
#[test]
fn files_and_snapshots_fall_due_each_by_its_own_limit() {
    let config = QuorumConfig {
        snap_count: 2,
        log_file_bytes_max: 2 * entry_bytes(),
        ..QuorumConfig::default()
    };
    let expected = ["", "snapshot", "roll", "snapshot", "", "roll, snapshot"];
    assert_eq!(due(&config, 1, 6), expected);
}
