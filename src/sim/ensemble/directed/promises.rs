//! What a member says about its disk: its epochs, its history, its acknowledgements.

use super::super::disk::Disk;
use super::*;

/// S01, ZOOKEEPER-2845: server 1 keeps its tree over an election. Its log holds a proposal that the
/// tree does not show, which the next leader does not have. It tells the end of its log, and the
/// proposal goes.
#[test]
fn s01_a_member_that_comes_back_tells_what_is_on_its_disk() {
    directed(&[Defect::ToldFromMemory], |s| {
        with_more_than_the_leader(s, 1)?;
        let of_old_epoch = s.stored(1);
        assert!(s.shown(1).zxid < of_old_epoch);
        s.commit(3)?;
        s.heal();
        s.until_equal(&[1, 2, 3])?;
        assert!(s.server(1).disk.after(Zxid::ZERO).iter().all(|e| e.shown.zxid != of_old_epoch));
        s.commit(3)?;
        s.end_well()
    });
}

/// S02, ZOOKEEPER-3911: the leader's log holds what nobody else has. Once a quorum has acknowledged
/// NEWLEADER, it is served, and is there after the leader is gone and its follower has lost its
/// power.
#[test]
fn s02_what_a_quorum_acknowledged_with_new_leader_survives_its_crash() {
    directed(&[Defect::DiffLoggedLate], |s| {
        s.serve(&[1, 2, 3])?;
        s.commit(3)?;
        s.cut(3, 1);
        s.cut(3, 2);
        (0..3).for_each(|_| s.write(3));
        s.until("3 has logged it", |s| s.stored(3).counter() == 4)?;
        [1, 2, 3].into_iter().for_each(|id| s.kill(id));
        s.heal();
        s.serve(&[2, 3])?;
        let served = s.shown(3);
        assert_eq!((served.zxid.counter(), s.shown(2)), (4, served));
        s.cut_power(3);
        s.cut_power(2);
        s.serve(&[1, 2])?;
        assert_eq!((s.shown(1), s.shown(2)), (served, served));
        s.end_well()
    });
}

/// S03, ZOOKEEPER-4643: the follower loses its power when NEWLEADER has come and its transactions
/// are not on the disk. It has not stored the epoch either: the server that has the transactions
/// wins the next election.
#[test]
fn s03_an_epoch_is_stored_after_the_history_that_it_stands_for() {
    directed(&[Defect::EpochBeforeHistory], |s| {
        with_a_quorum_to_come(s)?;
        s.until_new_leader(2)?;
        for _ in 0..10 {
            s.finish(2, "storing the current epoch");
            s.run(1)?;
        }
        assert!(s.stored(2) < s.logged(2), "the transactions are not flushed");
        s.kill(3);
        s.cut_power(2);
        s.release(2);
        s.serve(&[1, 2])?;
        assert_eq!(s.shown(2).zxid.counter(), 3);
        s.end_well()
    });
}

/// S04, ZOOKEEPER-4646: as long as the transactions of a DIFF are not flushed NEWLEADER is not
/// acknowledged, and nobody is served.
#[test]
fn s04_new_leader_is_acknowledged_after_the_flush() {
    directed(&[Defect::NewLeaderAckedBeforeFlush], |s| {
        with_a_quorum_to_come(s)?;
        s.until_new_leader(2)?;
        s.run(100)?;
        assert!(!s.server(3).is_serving(), "no quorum has the history");
        s.cut_power(2);
        assert_eq!(s.stored(2).counter(), 1);
        s.release(2);
        s.serve(&[2, 3])?;
        s.end_well()
    });
}

/// S05, ZOOKEEPER-4785: flush and epoch end one at a time. Only after the second one NEWLEADER is
/// acknowledged; a server that is killed between the two comes back with its transactions.
#[test]
fn s05_new_leader_is_acknowledged_after_the_flush_and_the_epoch() {
    let mistakes = [Defect::NewLeaderAckedBeforeFlush, Defect::NewLeaderAckedBeforeEpoch];
    directed(&mistakes, |s| {
        with_a_quorum_to_come(s)?;
        s.until_new_leader(2)?;
        s.run(20)?;
        assert!(!s.waits_for(2, "storing the current epoch"), "the flush comes first");
        s.flush(2)?;
        s.until_stage(2, Stage::StoringCurrent)?;
        s.run(20)?;
        assert!(!s.server(3).is_serving(), "the epoch is not stored");
        s.cut_power(2);
        assert_eq!(s.stored(2).counter(), 3);
        s.release(2);
        s.serve(&[2, 3])?;
        s.end_well()
    });
}

/// S06, ZOOKEEPER-3023: when NEWLEADER is acknowledged the follower's log is the leader's, and with
/// UPTODATE its tree shows all that is committed of it, before the first client is served.
#[test]
fn s06_with_new_leader_the_log_is_the_leaders_and_with_up_to_date_the_tree() {
    let mistakes = [Defect::DiffLoggedLate, Defect::NewLeaderBeforeHistory];
    directed(&mistakes, |s| {
        with_a_quorum_to_come(s)?;
        s.release(2);
        s.cut(3, 2);
        s.pass_until(3, 2, "2 has acknowledged", |s| s.stage(2) == Some(Stage::HasHistory))?;
        assert_eq!(s.server(2).disk.durable_end(), s.server(3).disk.durable_end());
        s.heal();
        s.until_stage(2, Stage::Serving)?;
        assert_eq!(s.shown(2), s.server(3).disk.durable_end());
        s.end_well()
    });
}

/// S14, ZOOKEEPER-4882: a quorum commits what server 1 could not write. 1 does not show it, and
/// what it says when it comes back is what its disk holds.
#[test]
fn s14_a_member_shows_nothing_that_its_disk_has_not_taken() {
    directed(&[Defect::WriteErrorKeepsMemory], |s| {
        s.serve(&[1, 2, 3])?;
        s.commit(3)?;
        s.until_equal(&[1, 2, 3])?;
        let before = s.shown(1);
        s.hold(1);
        s.commit(3)?;
        s.run(20)?;
        s.server_mut(1).disk.fails_next = true;
        s.release(1);
        s.run(5)?;
        assert_eq!(s.server(1).disk.durable_end(), before);
        s.start(&[1]);
        s.until_equal(&[1, 2, 3])?;
        s.kill(2);
        s.commit(3)?;
        s.until_equal(&[1, 3])?;
        s.end_well()
    });
}

/// S22, ZOOKEEPER-1653, ZOOKEEPER-4269: the power goes when a proposal of the new epoch is in the
/// log and the file of the epoch is not written. The server starts, and counts as one of that
/// epoch.
#[test]
fn s22_a_log_of_a_later_epoch_than_the_file_says_is_enough_to_start() {
    directed(&[Defect::EpochFileBehind], |s| {
        with_a_quorum_to_come(s)?;
        s.release(2);
        s.serve(&[1, 2, 3])?;
        // 1 gets the proposal before NEWLEADER, as it is not committed yet.
        s.kill(1);
        s.kill(3);
        s.serve(&[2, 3])?;
        let epoch = s.last().zxid.epoch().max(s.server(3).disk.current_epoch);
        s.cut(2, 3);
        s.write(3);
        s.start(&[1]);
        s.until_stage(1, Stage::Accepted)?;
        s.hold(1);
        s.until_new_leader(1)?;
        s.flush(1)?;
        s.until_stage(1, Stage::StoringCurrent)?;
        assert_eq!(s.stored(1), Zxid::new(epoch, 1));
        assert!(s.server(1).disk.current_epoch < epoch);
        s.cut_power(1);
        s.release(1);
        s.start(&[1]);
        assert!(s.server(1).is_up && s.server(1).disk.current_epoch == epoch);
        s.heal();
        s.until_equal(&[1, 2, 3])?;
        s.end_well()
    });
}

/// S77, TigerBeetle 2767: server 2 gets a new disk. With 1, which lacks what 2 had acknowledged, it
/// is no quorum; it counts again when it has the history of a leader that has one.
#[test]
fn s77_a_member_with_a_new_disk_counts_in_no_quorum() {
    directed(&[Defect::WipedServerVotes], |s| {
        s.serve(&[1, 2, 3])?;
        s.commit(3)?;
        s.kill(1);
        s.commit_all(3, 2)?;
        s.kill(2);
        s.kill(3);
        s.server_mut(2).disk = Disk::wiped();
        s.start(&[1, 2]);
        for _ in 0..3_000 {
            s.step()?;
            assert!(![1, 2].into_iter().any(|id| s.server(id).is_serving()));
        }
        s.serve(&[1, 2, 3])?;
        s.until_equal(&[1, 2, 3])?;
        s.kill(1);
        s.commit(3)?;
        s.end_well()
    });
}

/// S78, YugabyteDB 32875: a proposal comes a second time while the first is not flushed. It is not
/// acknowledged, however often it comes.
#[test]
fn s78_a_repeated_proposal_is_acknowledged_after_the_flush_of_the_first() {
    directed(&[], |s| {
        s.serve(&[1, 2, 3])?;
        s.commit(3)?;
        s.hold(2);
        s.cut(1, 3);
        s.write(3);
        s.until("2 has it in its log", |s| s.logged(2) > s.stored(2))?;
        let zxid = s.logged(2);
        let is_it =
            |packet: &&&Packet| matches!(packet, Packet::Proposal { zxid: z, .. } if *z == zxid);
        let again = s.sent(3, 2).iter().find(is_it).map(|packet| (*packet).clone());
        let again = again.expect("2 was sent it");
        let acks = |s: &Script| {
            let is_ack = |packet: &&&Packet| **packet == &Packet::Ack { zxid };
            s.sent(2, 3).iter().filter(is_ack).count()
        };
        (0..3).for_each(|_| s.inject(3, 2, &again));
        s.run(50)?;
        assert_eq!(acks(s), 0, "nothing is flushed");
        s.release(2);
        s.until("it is committed", |s| s.last().zxid == zxid)?;
        assert_eq!(acks(s), 1);
        s.inject(3, 2, &again);
        s.run(50)?;
        assert!(s.server(2).is_serving() && acks(s) == 1);
        s.end_well()
    });
}
