//! The role of a learner by single situations: rows of COMMITs, what is sent, and what it does not
//! take over from a leader that lies.

use super::*;
use crate::packet::PacketStream;

/// A learner of server 3 that has accepted epoch 1 and logged up to 0x100000005.
fn learner() -> Learning {
    let last = Durable::recovered(Zxid::new(1, 5));
    let own = OwnHistory { accepted_epoch: 1, current_epoch: 1, last };
    let settings = ZabSettings { tick_ms: 2000, init_ticks: 10, sync_ticks: 5 };
    let mut learner = Learning::new(ServerId(1), true, settings, own, last.get(), Zxid::ZERO, 0);
    while learner.poll().is_some() {}
    learner
}

/// What only a later leader can have made, or nobody, is not taken over.
#[test]
fn a_leader_has_nothing_of_a_later_epoch() {
    let after = |learner: &mut Learning, packet: Packet| {
        learner.on_packet(packet, 0);
        learner.poll()
    };
    for epoch in [Zxid::EPOCH_MAX + 1, u32::MAX] {
        let info = Packet::LeaderInfo { epoch, protocol: LearnerInfo::PROTOCOL };
        let why = Leave::NoEpoch { epoch };
        assert_eq!(after(&mut learner(), info), Some(LearnEffect::Leave { why }));
    }
    for zxid in [Zxid::new(3, 1), Zxid::MAX, Zxid(-1), Zxid(i64::MIN)] {
        let proposal = Packet::Proposal { zxid, record: Bytes::new() };
        for packet in [Packet::Snap { zxid }, Packet::Trunc { zxid }, proposal] {
            let mut learner = learner();
            let info = Packet::LeaderInfo { epoch: 2, protocol: LearnerInfo::PROTOCOL };
            after(&mut learner, info);
            learner.on_accepted_epoch(2, 0);
            learner.poll();
            let is_proposal = matches!(packet, Packet::Proposal { .. });
            if is_proposal {
                assert_eq!(after(&mut learner, Packet::Diff { zxid: Zxid::new(1, 5) }), None);
            }
            // What is older than the log's end is passed over.
            let is_taken = is_proposal && zxid < Zxid::ZERO;
            let why = Leave::LaterEpoch { epoch: 2, zxid };
            let expected = (!is_taken).then_some(LearnEffect::Leave { why });
            assert_eq!(after(&mut learner, packet), expected);
        }
    }
}

/// Who has asked for the tree takes nothing else: what would come after it does not follow its log.
#[test]
fn who_has_asked_for_the_tree_takes_nothing_else() {
    let zxid = Zxid::new(1, 3);
    for (packet, is_taken) in [
        (Packet::Diff { zxid }, false),
        (Packet::Trunc { zxid }, false),
        (Packet::Snap { zxid }, true),
    ] {
        let own = OwnHistory { last: Durable::recovered(Zxid::UNKNOWN), ..learner().own };
        let settings = learner().settings;
        let mut learner =
            Learning::new(ServerId(1), true, settings, own, Zxid::UNKNOWN, Zxid::ZERO, 0);
        learner.on_packet(Packet::LeaderInfo { epoch: 1, protocol: LearnerInfo::PROTOCOL }, 0);
        while learner.poll().is_some() {}
        learner.on_packet(packet, 0);
        let expected = match is_taken {
            true => LearnEffect::LoadTree { zxid },
            false => LearnEffect::Leave { why: Leave::NoTree },
        };
        assert_eq!(learner.poll(), Some(expected));
    }
}

/// A leader that is damaged or lies does not use up the epochs either. Who has no past takes any.
#[test]
fn a_leader_cannot_use_up_the_epochs() {
    let half = 1 + (Zxid::EPOCH_MAX - 1) / 2;
    let told = |mut learner: Learning, epoch| {
        let info = Packet::LeaderInfo { epoch, protocol: LearnerInfo::PROTOCOL };
        learner.on_packet(info, 0);
        learner.poll()
    };
    for epoch in [half + 1, Zxid::EPOCH_MAX] {
        let why = Leave::EpochTooFar { epoch, accepted: 1 };
        assert_eq!(told(learner(), epoch), Some(LearnEffect::Leave { why }));
        let mut new = learner();
        new.own.last = Durable::recovered(Zxid::UNKNOWN);
        assert_eq!(told(new, epoch), Some(LearnEffect::StoreAcceptedEpoch { epoch }));
    }
    assert_eq!(told(learner(), half), Some(LearnEffect::StoreAcceptedEpoch { epoch: half }));
}

const EPOCH: u32 = 1;

fn zxid(counter: u32) -> Zxid {
    Zxid::new(EPOCH, counter)
}

/// A follower that serves, of an empty history, and has logged this many transactions.
fn follower(logged: u32) -> Learning {
    let settings = ZabSettings { tick_ms: 2000, init_ticks: 10, sync_ticks: 5 };
    let last = Durable::recovered(Zxid::ZERO);
    let own = OwnHistory { accepted_epoch: 0, current_epoch: 0, last };
    let mut learning = Learning::new(ServerId(2), true, settings, own, Zxid::ZERO, Zxid::ZERO, 0);
    learning.on_packet(Packet::LeaderInfo { epoch: EPOCH, protocol: LearnerInfo::PROTOCOL }, 0);
    learning.on_accepted_epoch(EPOCH, 0);
    learning.on_packet(Packet::Diff { zxid: Zxid::ZERO }, 0);
    learning.on_packet(Packet::NewLeader { zxid: zxid(0), config: None }, 0);
    learning.on_current_epoch(EPOCH, 0);
    learning.on_packet(Packet::UpToDate, 0);
    for counter in 1..=logged {
        let record = Bytes::from_static(b"record");
        learning.on_packet(Packet::Proposal { zxid: zxid(counter), record }, 0);
    }
    if logged > 0 {
        learning.on_durable(Durable::recovered(zxid(logged)), 0);
    }
    learning
}

/// Every effect; those that send as the packets in them.
fn effects(learning: &mut Learning) -> (Vec<LearnEffect>, Vec<Packet>) {
    let (mut others, mut stream) = (Vec::new(), PacketStream::new(1 << 20));
    while let Some(effect) = learning.poll() {
        match effect {
            LearnEffect::Send { bytes } => stream.push(&bytes),
            other => others.push(other),
        }
    }
    (others, std::iter::from_fn(|| stream.next_packet().unwrap()).collect())
}

/// What is committed at once is applied at once, and what was committed before may be among it.
#[test]
fn a_row_of_commits_is_as_good_as_each_of_them() {
    for (committed, first) in [(0, 1), (2, 1), (2, 3)] {
        let (mut one, mut row) = (follower(5), follower(5));
        for learning in [&mut one, &mut row] {
            for counter in 1..=committed {
                learning.on_packet(Packet::Commit { zxid: zxid(counter) }, 0);
            }
            effects(learning);
        }
        row.on_commits(zxid(first), zxid(4), 0);
        for counter in first..=4 {
            one.on_packet(Packet::Commit { zxid: zxid(counter) }, 0);
        }
        let (singly, _) = effects(&mut one);
        assert_eq!(singly.last(), Some(&LearnEffect::Apply { upto: zxid(4) }));
        assert_eq!(effects(&mut row).0, [LearnEffect::Apply { upto: zxid(4) }]);
        // Both go on with what is next, and nothing else.
        for learning in [&mut one, &mut row] {
            learning.on_packet(Packet::Commit { zxid: zxid(5) }, 0);
            assert_eq!(effects(learning).0, [LearnEffect::Apply { upto: zxid(5) }]);
        }
    }
}

/// A row that leaves something out at its beginning, or goes beyond what was proposed, ends the
/// role, and nothing of it is applied.
#[test]
fn a_row_of_commits_that_is_not_next_ends_the_role() {
    let out_of_order =
        |next, zxid| LearnEffect::Leave { why: Leave::CommitOutOfOrder { next, zxid } };
    for (first, last, why) in [
        (2, 3, out_of_order(Some(zxid(1)), zxid(2))),
        (1, 4, out_of_order(None, zxid(4))),
        (1, u32::MAX, out_of_order(None, zxid(u32::MAX))),
    ] {
        let mut learning = follower(3);
        effects(&mut learning);
        learning.on_commits(zxid(first), zxid(last), 0);
        assert_eq!(effects(&mut learning).0, [why]);
    }
}

/// S57, ZOOKEEPER-2172, ZOOKEEPER-2819: an Apache leader changes the membership. The change is
/// applied when it is committed and not before, and ends the role: this server goes on with its own
/// membership only where it says so in its configuration.
#[test]
fn s57_a_reconfig_of_the_leader_is_applied_at_its_commit_and_ends_the_role() {
    let why = Leave::Reconfigured { zxid: zxid(2) };
    let expected = [LearnEffect::Apply { upto: zxid(2) }, LearnEffect::Leave { why }];
    let mut learning = follower(2);
    learning.on_packet(Packet::Commit { zxid: zxid(1) }, 0);
    let applied = effects(&mut learning).0;
    assert_eq!(applied.last(), Some(&LearnEffect::Apply { upto: zxid(1) }));
    learning.on_packet(Packet::CommitAndActivate { zxid: zxid(2), designated: 3 }, 0);
    assert_eq!(effects(&mut learning).0, expected);
    // One that is not logged here is not applied.
    let mut learning = follower(1);
    effects(&mut learning);
    learning.on_packet(Packet::CommitAndActivate { zxid: zxid(2), designated: 3 }, 0);
    let (told, _) = effects(&mut learning);
    assert!(!told.contains(&LearnEffect::Apply { upto: zxid(2) }), "{told:?}");
    assert!(matches!(told[..], [LearnEffect::Leave { .. }, ..]), "{told:?}");
}

/// What is sent goes together, but not past an effect that comes in between.
#[test]
fn packets_that_are_sent_together_are_one_send() {
    let mut learning = follower(3);
    let (_, sent) = effects(&mut learning);
    let acks: Vec<Packet> = (1..=3).map(|counter| Packet::Ack { zxid: zxid(counter) }).collect();
    assert!(sent.ends_with(&acks), "{sent:?}");
    learning.revalidate(SessionId(1), 4000);
    learning.pong(zxid(3), Vec::new());
    learning.on_packet(Packet::Commit { zxid: zxid(1) }, 0);
    assert!(matches!(learning.poll_before_sends(), Some(LearnEffect::Send { .. })));
    assert_eq!(learning.poll_before_sends(), Some(LearnEffect::Apply { upto: zxid(1) }));
    assert_eq!(learning.poll_sends(), None);
    learning.revalidate(SessionId(2), 4000);
    learning.revalidate(SessionId(3), 4000);
    assert_eq!(learning.poll_before_sends(), None);
    let (others, sent) = effects(&mut learning);
    assert_eq!((others.len(), sent.len()), (0, 2));
}
