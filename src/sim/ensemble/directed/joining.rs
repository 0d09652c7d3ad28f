//! Proposals and commits while a member joins, and what else may stand in its way.

use super::*;

/// Server 2 joins while a proposal is not committed, which only the acknowledgement of 1 or 2 can
/// commit. That of 1 does not arrive.
fn with_one_that_joins(s: &mut Script) -> Outcome {
    s.serve(&[1, 2, 3])?;
    s.commit(3)?;
    s.kill(2);
    s.commit(3)?;
    s.cut(1, 3);
    s.write(3);
    s.start(&[2]);
    s.until_stage(2, Stage::Accepted)?;
    s.hold(2);
    s.until_new_leader(2)
}

/// The kinds of packets that a leader has sent to a learner since it last said DIFF, without pings.
fn kinds(s: &Script, from: i64, to: i64) -> Vec<i32> {
    let sent = s.sent(from, to);
    let last = sent.iter().rposition(|packet| matches!(packet, Packet::Diff { .. }));
    let since = sent.into_iter().skip(last.unwrap_or(0));
    since.map(Packet::kind).filter(|kind| *kind != 5).collect()
}

/// S07, ZOOKEEPER-4685: the proposal is on the disk before the epoch is stored. The acknowledgement
/// of NEWLEADER goes first, then that of the proposal, and both count.
#[test]
fn s07_a_proposal_is_acknowledged_after_new_leader() {
    directed(&[Defect::ProposalAckedEarly], |s| {
        with_one_that_joins(s)?;
        let proposed = s.logged(2);
        let before = s.sent(2, 3).len();
        s.flush(2)?;
        s.until_stage(2, Stage::StoringCurrent)?;
        assert_eq!(s.stored(2), proposed);
        s.run(20)?;
        s.release(2);
        s.until("it is committed", |s| s.last().zxid == proposed)?;
        let is_ack = |packet: &&&Packet| matches!(packet, Packet::Ack { .. });
        let since = s.sent(2, 3).split_off(before);
        let acks: Vec<_> = since.iter().filter(is_ack).map(|packet| (*packet).clone()).collect();
        let start = Packet::Ack { zxid: Zxid::new(proposed.epoch(), 0) };
        assert_eq!(acks, [start.clone(), start, Packet::Ack { zxid: proposed }]);
        s.end_well()
    });
}

/// S08, ZOOKEEPER-4394: DIFF, P1, C1, P2, NEWLEADER, **COMMIT P2**, UPTODATE. The proposal waits in
/// the follower over NEWLEADER until its commit comes.
#[test]
fn s08_a_commit_after_new_leader_finds_the_proposal_before_it() {
    directed(&[Defect::JoinerMissesCommits], |s| {
        with_one_that_joins(s)?;
        let proposed = s.logged(2);
        s.open(1, 3);
        s.until("it is committed", |s| s.last().zxid == proposed)?;
        assert!(s.shown(2).zxid < proposed);
        s.release(2);
        s.until_stage(2, Stage::Serving)?;
        let kinds = kinds(s, 3, 2);
        assert!(kinds.starts_with(&[13, 2, 4, 2, 10, 4, 12]), "{kinds:?}");
        assert_eq!(s.shown(2), s.last());
        s.end_well()
    });
}

/// S24, the specification of Zab: what is proposed between NEWLEADER and its acknowledgement goes to
/// the follower too, and what is committed then.
#[test]
fn s24_who_joins_gets_every_proposal_from_its_sync_point_on() {
    directed(&[Defect::JoinerNotProposedTo], |s| {
        with_one_that_joins(s)?;
        s.open(1, 3);
        s.commit_all(3, 2)?;
        s.write(3);
        s.release(2);
        s.until_equal(&[1, 2, 3])?;
        s.kill(1);
        s.commit(3)?;
        s.end_well()
    });
}

/// S25, the specification of Zab: no leader sends a proposal twice over one connection, though it is
/// in the history and outstanding while a member joins; and whoever gets it twice, as from another
/// leader, logs it once.
#[test]
fn s25_a_proposal_is_sent_once_and_logged_once() {
    directed(&[], |s| {
        with_one_that_joins(s)?;
        s.write(3);
        s.open(1, 3);
        s.commit(3)?;
        s.release(2);
        s.until_equal(&[1, 2, 3])?;
        let sent = s.sent(3, 2);
        let from =
            sent.iter().rposition(|packet| matches!(packet, Packet::Diff { .. })).expect("a DIFF");
        let proposals = sent[from..].iter().filter(|p| matches!(p, Packet::Proposal { .. }));
        let proposals: Vec<Packet> = proposals.map(|packet| (*packet).clone()).collect();
        let zxids: Vec<u32> = proposals.iter().map(zxid_of).map(Zxid::counter).collect();
        assert_eq!(zxids, (2..=s.last().zxid.counter()).collect::<Vec<_>>());

        let log = s.server(2).disk.entries.len();
        proposals.iter().for_each(|again| s.inject(3, 2, again));
        s.run(20)?;
        assert_eq!(s.server(2).disk.entries.len(), log);
        s.commit(3)?;
        s.until_equal(&[1, 2, 3])?;
        s.end_well()
    });
}

fn zxid_of(packet: &Packet) -> Zxid {
    match packet {
        Packet::Proposal { zxid, .. } => *zxid,
        other => panic!("{other:?}"),
    }
}

/// S26, the specification of Zab: what is committed between NEWLEADER and its acknowledgement is
/// shown with UPTODATE, without a later commit.
#[test]
fn s26_a_commit_before_the_acknowledgement_of_new_leader_reaches_who_joins() {
    directed(&[Defect::JoinerMissesCommits], |s| {
        with_one_that_joins(s)?;
        s.write(3);
        s.open(1, 3);
        s.until("both are committed", |s| s.last().zxid == s.logged(3))?;
        let committed = s.last();
        s.release(2);
        s.until("2 shows it", |s| s.server(2).is_serving() && s.shown(2) == committed)?;
        s.end_well()
    });
}

/// S27, ZOOKEEPER-3531, ZOOKEEPER-4074: a follower reads nothing any more. The leader goes on with
/// the other one, gives it up after `syncLimit`, and it comes back with the same history.
#[test]
fn s27_a_member_that_reads_nothing_holds_nobody_up() {
    directed(&[], |s| {
        s.serve(&[1, 2, 3])?;
        s.commit(3)?;
        let now = s.world.shared.now;
        s.server_mut(2).stalled_until = now + 5_000_000;
        let closed = |s: &Script| s.story().contains("Silent");
        for _ in 0..200 {
            let began = s.world.shared.now;
            s.commit(3)?;
            assert!(s.world.shared.now - began <= 20_000, "2 is waited for");
        }
        s.until("3 gives 2 up", closed)?;
        assert!(s.server(3).is_serving() && s.server(1).is_serving());
        assert!(s.world.shared.now <= now + 1_500_000);
        s.until_equal(&[1, 2, 3])?;
        s.end_well()
    });
}
