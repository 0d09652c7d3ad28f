//! What a leader sends from its memory and from its log.

use super::super::coverage;
use super::*;

/// S10, ZOOKEEPER-4925: what a synchronization has brought to server 2 is in its memory when it
/// leads. An observer that comes then gets all of it.
#[test]
fn s10_what_a_synchronization_brought_is_served_by_the_next_leader() {
    directed(&[Defect::HoleInCommittedLog], |s| {
        s.serve(&[1, 2, 3, 4])?;
        s.commit(3)?;
        s.until_equal(&[1, 2, 3, 4])?;
        s.kill(2);
        s.kill(4);
        s.commit_all(3, 3)?;
        s.serve(&[2])?;
        s.commit(3)?;
        s.until_equal(&[1, 2, 3])?;
        s.kill(3);
        s.until("2 leads", |s| matches!(s.server(2).role, Role::Leading(_)))?;
        s.until_serving(&[1, 2])?;
        s.start(&[4]);
        s.until_equal(&[1, 2, 4])?;
        let is_diff = |packet: &&Packet| matches!(packet, Packet::Diff { .. });
        assert!(s.sent(2, 4).into_iter().any(|packet| is_diff(&packet)));
        s.end_well()
    });
}

/// S11, ZOOKEEPER-3104: NEWLEADER comes after the last byte of the tree, or of the DIFF. A follower
/// that has a part acknowledges nothing.
#[test]
fn s11_new_leader_comes_after_the_whole_history() {
    directed(&[], |s| {
        with_one_far_behind(s)?;
        s.start(&[2]);
        s.until_stage(2, Stage::Discovery)?;
        s.cut(3, 2);
        let before = s.sent(2, 3).len();
        s.pass_until(3, 2, "the tree begins", |s| s.stage(2) == Some(Stage::Loading))?;
        s.pass(3, 2, TREE_PIECES - 1);
        s.run(100)?;
        assert_eq!(s.stage(2), Some(Stage::Loading));
        let is_ack = |packet: &&Packet| matches!(packet, Packet::Ack { .. });
        assert!(!s.sent(2, 3)[before..].iter().any(is_ack));
        s.open(3, 2);
        s.until_equal(&[1, 2, 3])?;
        s.end_well()
    });
    directed(&[Defect::NewLeaderBeforeHistory], |s| {
        with_a_quorum_to_come(s)?;
        s.release(2);
        s.cut(3, 2);
        while s.logged(2) < s.logged(3) {
            assert!(!s.server(3).is_serving(), "2 has not got the whole DIFF");
            s.pass(3, 2, 1);
            s.run(10)?;
        }
        s.open(3, 2);
        s.until_serving(&[2, 3])?;
        s.end_well()
    });
}

/// S15, ZOOKEEPER-2099: the log of server 2 ends where a SNAP took its place, and goes on after it.
/// As leader it does not send a DIFF over the gap.
#[test]
fn s15_no_diff_goes_over_the_gap_that_a_snap_left() {
    directed(&[Defect::LogKeptUnderTree], |s| {
        s.world.shared.history_bytes = 1;
        s.serve(&[1, 2, 3, 4])?;
        s.commit(3)?;
        s.until_equal(&[1, 2, 3, 4])?;
        s.kill(4);
        s.kill(2);
        s.commit_all(3, 3)?;
        let shown = s.shown(3).zxid;
        s.server_mut(3).disk.compact(shown, 0);
        s.serve(&[2])?;
        s.commit_all(3, 2)?;
        s.until_equal(&[1, 2, 3])?;
        s.kill(3);
        s.until_serving(&[1, 2])?;
        s.serve(&[4])?;
        s.until_equal(&[1, 2, 4])?;
        let is_snap = |packet: &Packet| matches!(packet, Packet::Snap { .. });
        assert!(s.sent(2, 4).into_iter().any(is_snap), "2 leads, and sends its tree");
        s.end_well()
    });
}

/// S16, ZOOKEEPER-2418: a DIFF whose first part is read from the log and whose second one is in
/// memory has no gap between the two.
#[test]
fn s16_a_diff_from_log_and_memory_has_no_gap() {
    directed(&[Defect::GapBetweenLogAndMemory], |s| {
        with_a_short_memory(s)?;
        s.serve(&[2])?;
        assert!(s.world.shared.coverage.lines().any(|(what, _)| what == coverage::LOG_DIFF));
        let sent = s.sent(3, 2);
        let from =
            sent.iter().rposition(|packet| matches!(packet, Packet::Diff { .. })).expect("a DIFF");
        let zxids = sent[from..].iter().filter_map(|packet| match packet {
            Packet::Proposal { zxid, .. } => Some(zxid.counter()),
            _ => None,
        });
        assert_eq!(zxids.collect::<Vec<_>>(), (2..=13).collect::<Vec<_>>());
        s.until_equal(&[1, 2, 3])?;
        s.end_well()
    });
}

/// S18, ZOOKEEPER-3526, ZOOKEEPER-4352: a learner lacks more than the leader has in memory. It gets
/// all of it. All decisions over few transactions are those of `zab::history`.
#[test]
fn s18_who_lacks_more_than_the_memory_has_gets_it_all() {
    directed(&[Defect::HistoryMinWrong], |s| {
        with_a_short_memory(s)?;
        s.serve(&[2])?;
        s.until_equal(&[1, 2, 3])?;
        s.end_well()
    });
}

/// Server 2 is down and lacks twelve transactions, of which 3 has the last ones in memory.
fn with_a_short_memory(s: &mut Script) -> Outcome {
    s.world.shared.history_bytes = 400;
    s.serve(&[1, 2, 3])?;
    s.commit(3)?;
    s.until_equal(&[1, 2, 3])?;
    s.kill(2);
    s.commit_all(3, 12)
}

/// S17, ZOOKEEPER-2846: under the tree that server 2 has received there is a log with what never was
/// committed. As leader it does not send it.
#[test]
fn s17_a_log_that_a_tree_has_replaced_is_not_served() {
    directed(&[Defect::LogKeptUnderTree], |s| {
        s.world.shared.history_bytes = 1;
        s.serve(&[1, 2, 3, 4])?;
        s.commit(3)?;
        s.until_equal(&[1, 2, 3, 4])?;
        s.kill(4);
        // 2 alone logs the next one.
        s.hold(3);
        s.cut(2, 3);
        s.cut(3, 1);
        s.write(3);
        s.until("2 has logged it", |s| s.stored(2) > s.stored(3))?;
        let never = s.server(2).disk.end();
        s.heal();
        s.isolate(2);
        s.cut_power(3);
        s.release(3);
        s.serve(&[1, 3])?;
        s.commit_all(3, 2)?;
        s.heal();
        s.until_equal(&[1, 2, 3])?;
        let is_snap = |packet: &Packet| matches!(packet, Packet::Snap { .. });
        assert!(s.sent(3, 2).into_iter().any(is_snap), "3 sends its tree");
        s.commit(3)?;
        s.until_equal(&[1, 2, 3])?;
        s.kill(3);
        s.until_serving(&[1, 2])?;
        s.start(&[4]);
        s.until_equal(&[1, 2, 4])?;
        assert!(s.server(4).disk.after(Zxid::ZERO).iter().all(|entry| entry.shown != never));
        s.end_well()
    });
}

/// S23, ZOOKEEPER-1277, ZOOKEEPER-4883: the counter of the zxid comes to its end. The leader hands
/// over, and writes go on in the next epoch.
#[test]
fn s23_the_end_of_the_counter_is_the_end_of_an_epoch() {
    directed(&[Defect::RolloverIgnored], |s| {
        s.world.shared.counter_max = 5;
        s.serve(&[1, 2, 3])?;
        for _ in 0..12 {
            s.until("somebody leads", |s| s.leader().is_some())?;
            let leader = s.leader().expect("one leads");
            s.commit(leader)?;
            assert!(s.last().zxid.counter() <= 5);
        }
        assert!(s.last().zxid.epoch() >= 3);
        assert!(s.world.shared.coverage.lines().any(|(what, _)| what == coverage::COUNTER_USED_UP));
        s.end_well()
    });
}

/// A tree comes in so many pieces.
const TREE_PIECES: usize = 4;
