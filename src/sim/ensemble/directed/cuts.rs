//! Truncations, trees, and what is left of them after a crash.

use super::*;

/// Takes the connection of server 2 away amid the tree, of which it has a half.
fn with_half_a_tree(s: &mut Script) -> Outcome {
    with_one_far_behind(s)?;
    s.start(&[2]);
    s.until_stage(2, Stage::Discovery)?;
    s.cut(3, 2);
    s.pass_until(3, 2, "the tree begins", |s| s.stage(2) == Some(Stage::Loading))?;
    s.pass(3, 2, 2);
    s.run(5)
}

/// S12, ZOOKEEPER-3642: the connection breaks amid a SNAP. What has come of the tree is dropped: the
/// learner tells the end of its log, and gets the tree again.
#[test]
fn s12_a_part_of_a_tree_is_dropped() {
    directed(&[Defect::PartialTreeKept], |s| {
        with_half_a_tree(s)?;
        let before = s.server(2).disk.durable_end();
        s.break_off(2, 3);
        s.heal();
        s.until("2 has left", |s| s.stage(2).is_none())?;
        assert_eq!((s.shown(2), s.server(2).disk.durable_end()), (before, before));
        s.until_equal(&[1, 2, 3])?;
        s.commit(3)?;
        s.until_equal(&[1, 2, 3])?;
        s.end_well()
    });
}

/// S13, ZOOKEEPER-5094: after a TRUNC transactions come, and the connection breaks before NEWLEADER
/// is acknowledged. Nothing of them counts that the log does not hold.
#[test]
fn s13_after_a_truncation_the_log_is_told_and_not_the_tree() {
    directed(&[Defect::TruncatedMemoryAhead], |s| {
        with_more_than_the_leader(s, 2)?;
        // Its tree shows all of its log.
        s.kill(1);
        s.start(&[1]);
        // The only transaction of the new epoch is proposed and not committed: 1 gets TRUNC.
        s.cut(2, 3);
        s.write(3);
        s.heal();
        s.cut(2, 3);
        s.until_stage(1, Stage::Accepted)?;
        s.hold(1);
        s.until_stage(1, Stage::Truncating)?;
        s.finish(1, "a truncation");
        s.until_new_leader(1)?;
        assert!(s.logged(1).epoch() < s.logged(3).epoch() || s.stored(1) < s.logged(1));
        s.break_off(1, 3);
        s.heal();
        s.until("1 has left", |s| s.stage(1).is_none())?;
        s.release(1);
        s.until_equal(&[1, 2, 3])?;
        s.kill(2);
        s.commit(3)?;
        s.until_equal(&[1, 3])?;
        s.end_well()
    });
}

/// S19, ZOOKEEPER-1154, ZOOKEEPER-1156: the server with the largest zxid was absent when a leader
/// was elected. Its log is cut to the leader's end, no further, and goes on from there.
#[test]
fn s19_the_log_of_who_was_absent_is_cut_where_the_leaders_ends() {
    directed(&[Defect::TruncLeftOut], |s| {
        with_more_than_the_leader(s, 3)?;
        let common = s.server(3).disk.end();
        s.heal();
        s.until_serving(&[1, 2, 3])?;
        assert_eq!((s.server(1).disk.durable_end(), s.shown(1)), (common, common));
        assert!(s.sent(3, 1).into_iter().any(|p| *p == Packet::Trunc { zxid: common.zxid }));
        s.commit_all(3, 2)?;
        s.until_equal(&[1, 2, 3])?;
        s.cut_power(1);
        s.start(&[1]);
        assert_eq!(s.server(1).disk.end(), s.last());
        s.end_well()
    });
}

/// S20, ZOOKEEPER-3701: the log cannot be cut. The server does not follow with it, and takes the
/// whole tree.
#[test]
fn s20_a_truncation_that_fails_ends_the_role() {
    directed(&[Defect::FailedTruncIgnored], |s| {
        with_more_than_the_leader(s, 1)?;
        s.heal();
        s.until_stage(1, Stage::Accepted)?;
        s.hold(1);
        s.until_stage(1, Stage::Truncating)?;
        s.server_mut(1).disk.fails_next = true;
        s.release(1);
        s.until_serving(&[1, 2, 3])?;
        s.commit(3)?;
        s.until_equal(&[1, 2, 3])?;
        assert!(s.sent(3, 1).into_iter().any(|packet| matches!(packet, Packet::Snap { .. })));
        s.end_well()
    });
}

/// S21, ZOOKEEPER-2872: the power goes before the tree of a SNAP is flushed, and after it. Before,
/// nothing was acknowledged and the old state is there; after, the tree.
#[test]
fn s21_a_tree_counts_when_it_is_flushed() {
    directed(&[Defect::TreeNotFlushed], |s| {
        with_one_far_behind(s)?;
        let (old, tree) = (s.server(2).disk.durable_end(), s.shown(3));
        s.start(&[2]);
        s.until_stage(2, Stage::Accepted)?;
        s.hold(2);
        s.until_stage(2, Stage::StoringTree)?;
        s.run(100)?;
        assert_eq!(s.stage(2), Some(Stage::StoringTree), "nothing goes on before the flush");
        s.cut_power(2);
        assert_eq!(s.server(2).disk.durable_end(), old);
        s.release(2);
        s.serve(&[2])?;
        s.cut_power(2);
        assert_eq!(s.server(2).disk.durable_end(), tree);
        s.serve(&[2])?;
        s.end_well()
    });
}

/// S70, ClickHouse Keeper 102629: after a truncation the durable end is where the log was cut. What
/// is proposed after that is acknowledged when it is flushed, though the log once reached further.
#[test]
fn s70_a_truncation_takes_the_durable_end_back() {
    directed(&[], |s| {
        with_more_than_the_leader(s, 3)?;
        let before = s.stored(1);
        s.heal();
        s.until_serving(&[1, 2, 3])?;
        assert!(s.stored(1) < before);
        s.hold(1);
        s.cut(2, 3);
        s.write(3);
        s.until("1 has it in its log", |s| s.logged(1) > s.stored(1))?;
        let zxid = s.logged(1);
        s.run(50)?;
        assert!(!s.sent(1, 3).contains(&&Packet::Ack { zxid }), "it is not flushed");
        assert!(s.last().zxid < zxid, "nobody has it but 3");
        s.release(1);
        s.until("it is committed", |s| s.last().zxid == zxid)?;
        s.end_well()
    });
}

/// S09, ZOOKEEPER-4712, ZOOKEEPER-4541: a role ends while its log is being written. The server
/// begins no other one before that has ended, and nothing of the old role comes later.
#[test]
fn s09_a_role_ends_when_all_that_it_wrote_is_on_the_disk() {
    directed(&[Defect::OldRoleWrites], |s| {
        s.serve(&[1, 2, 3])?;
        s.commit(3)?;
        s.hold(1);
        s.cut(3, 2);
        s.hold(3);
        s.write(3);
        s.until("1 has it in its log", |s| s.logged(1) > s.stored(1))?;
        s.cut_power(3);
        s.heal();
        s.until("1 has left", |s| matches!(s.server(1).role, Role::Resting))?;
        s.run(100)?;
        assert!(matches!(s.server(1).role, Role::Resting), "its disk is at work");
        s.release(3);
        s.serve(&[2, 3])?;
        s.release(1);
        s.until_serving(&[1, 2, 3])?;
        s.run(300)?;
        let leader = s.leader().expect("one leads");
        s.commit_all(leader, 2)?;
        s.until_equal(&[1, 2, 3])?;
        s.end_well()
    });
}

/// The leader's own disk is slow: followers have made a transaction committed that its tree does not
/// show. One of them could not cut its log, and must get the tree: it gets one that shows what it
/// had acknowledged, which stays on the disks of a quorum all the time.
#[test]
fn a_tree_shows_what_the_one_who_gets_it_had_acknowledged() {
    directed(&[], |s| {
        s.serve(&[1, 2, 3])?;
        s.commit(3)?;
        s.until_equal(&[1, 2, 3])?;
        s.hold(3);
        s.commit(3)?;
        let committed = s.last().zxid;
        assert!(s.shown(3).zxid < committed);
        s.cut(1, 3);
        s.cut(2, 3);
        s.write(3);
        s.until("1 has one more", |s| s.stored(1) > committed)?;
        s.break_off(1, 3);
        s.heal();
        s.cut(2, 3);
        s.until_stage(1, Stage::Accepted)?;
        s.hold(1);
        s.until_stage(1, Stage::Truncating)?;
        s.server_mut(1).disk.fails_next = true;
        s.release(1);
        s.until_stage(1, Stage::Accepted)?;
        s.open(2, 3);
        for _ in 0..200 {
            s.step()?;
            assert!(s.stored(1) >= committed, "it is one of the two that have it");
        }
        s.release(3);
        s.until_equal(&[1, 2, 3])?;
        assert!(s.sent(3, 1).into_iter().any(|packet| matches!(packet, Packet::Snap { .. })));
        s.end_well()
    });
}
