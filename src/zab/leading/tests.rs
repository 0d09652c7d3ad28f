//! Leaders that are alone, and how a group of proposals goes to the others.

use std::iter;

use super::*;
use crate::packet::{LearnerInfo, PacketStream};
use crate::zab::members::QuorumSet;

const SETTINGS: ZabSettings = ZabSettings { tick_ms: 100, init_ticks: 10, sync_ticks: 5 };

/// A group that nobody may look at.
fn unseen() -> impl Iterator<Item = Logged> {
    iter::from_fn(|| panic!("there is nobody to send it to"))
}

fn group(epoch: u32, counters: std::ops::RangeInclusive<u32>) -> Vec<Logged> {
    let logged = |counter| {
        let record = Bytes::from(format!("record {counter}"));
        Logged { zxid: Zxid::new(epoch, counter), record }
    };
    counters.map(logged).collect()
}

fn effects(leading: &mut Leading) -> Vec<LeadEffect> {
    iter::from_fn(|| leading.poll()).collect()
}

/// The zxids after `last` go on as a standalone Apache's: within the epoch that the data has, and
/// over the end of the counter. Its own flush commits; nothing is kept or encoded.
#[test]
fn a_standalone_server_goes_on_where_its_data_ends() {
    for last in [Zxid::ZERO, Zxid::new(3, 7), Zxid::new(3, u32::MAX - 2)] {
        let mut leading = Leading::standalone(Durable::recovered(last));
        assert!(leading.is_serving() && leading.committed() == last && leading.poll().is_none());
        let mut upto = last;
        for _ in 0..5 {
            for _ in 0..3 {
                let next = leading.zxid_after(upto).expect("there is always one");
                assert_eq!(next.0, upto.0 + 1);
                upto = next;
            }
            leading.propose(upto, unseen(), 0);
            assert!(leading.poll().is_none() && leading.committed() < upto, "nothing is durable");
            leading.on_durable(Durable::recovered(upto));
            assert_eq!(effects(&mut leading), [LeadEffect::Committed { upto }]);
            leading.on_applied(upto);
        }
        assert!(leading.is_serving() && leading.history.before() == upto);
        leading.on_time(1 << 40);
        assert!(leading.is_serving(), "it waits for nobody");
    }
}

/// An ensemble of `voters` and one observer, of which server 1 leads epoch 1 with a quorum of
/// followers; the observer is connected too. What was sent until then is gone.
fn serving(voters: i64) -> Leading {
    let ids = (1..=voters).map(ServerId).collect();
    let (observers, text) = (BTreeSet::from([ServerId(9)]), Bytes::new());
    let members = Members::new(ids, observers, QuorumSet::Majority, Zxid::ZERO, text).unwrap();
    let last = Durable::recovered(Zxid::ZERO);
    let own = OwnHistory { accepted_epoch: 0, current_epoch: 0, last };
    let history = History::new(Zxid::ZERO, 500, 1 << 20);
    let mut leading = Leading::new(ServerId(1), members, SETTINGS, own, history, 0);
    let learners = (2..=voters).chain([9]);
    for id in learners.clone() {
        leading.on_connection(LearnerConn(id as u64), 0);
        let info = LearnerInfo {
            accepted_epoch: 0,
            server_id: Some(id),
            protocol: LearnerInfo::PROTOCOL,
            config_version: Zxid::ZERO,
        };
        let info = if id == 9 { Packet::ObserverInfo(info) } else { Packet::FollowerInfo(info) };
        leading.on_packet(LearnerConn(id as u64), info, 0);
    }
    leading.on_accepted_epoch(1, 0);
    for id in learners.clone() {
        let ack = Packet::AckEpoch { zxid: Zxid::ZERO, current_epoch: 0 };
        leading.on_packet(LearnerConn(id as u64), ack, 0);
    }
    leading.on_current_epoch(1, 0);
    for id in learners {
        leading.on_packet(LearnerConn(id as u64), Packet::Ack { zxid: Zxid::new(1, 0) }, 0);
    }
    assert!(leading.is_serving());
    effects(&mut leading);
    leading
}

/// The packets that each learner is sent, and up to where all is committed.
fn told(leading: &mut Leading) -> (BTreeMap<u64, Vec<Packet>>, Option<Zxid>) {
    let (mut sent, mut committed) = (BTreeMap::<u64, Vec<Packet>>::new(), None);
    for effect in effects(leading) {
        match effect {
            LeadEffect::Send { to, bytes } => {
                let mut stream = PacketStream::new(1 << 20);
                stream.push(&bytes);
                while let Some(packet) = stream.next_packet().unwrap() {
                    sent.entry(to.0).or_default().push(packet);
                }
            }
            LeadEffect::Committed { upto } => committed = Some(upto),
            other => panic!("{other:?}"),
        }
    }
    (sent, committed)
}

/// A learner hears of its syncs in the order of what it has asked for: before anything is told that
/// was proposed later, whether a quorum has answered the question by then or not.
#[test]
fn a_sync_is_told_before_what_was_proposed_after_it() {
    let mut leading = serving(3);
    let commit = |counter| Packet::Commit { zxid: Zxid::new(1, counter) };
    leading.propose(Zxid::new(1, 2), group(1, 1..=2), 0);
    leading.await_sync(LearnerConn(2), Zxid::new(1, 2));
    leading.await_sync(LearnerConn(9), Zxid::new(1, 2));
    leading.propose(Zxid::new(1, 3), group(1, 3..=3), 0);
    leading.await_sync(LearnerConn(2), Zxid::new(1, 3));
    leading.propose(Zxid::new(1, 4), group(1, 4..=4), 0);
    leading.await_sync(LearnerConn(2), Zxid::new(1, 4));
    effects(&mut leading);

    for follower in [2, 3] {
        leading.on_packet(LearnerConn(follower), Packet::Ack { zxid: Zxid::new(1, 4) }, 0);
    }
    let (sent, _) = told(&mut leading);
    let sync = || Packet::Sync;
    assert_eq!(sent[&2], [commit(1), commit(2), sync(), commit(3), sync(), commit(4)]);
    assert_eq!(sent[&3], [1, 2, 3, 4].map(commit));
    let kinds: Vec<i32> = sent[&9].iter().map(Packet::kind).collect();
    assert_eq!(kinds, [8, 8, 7, 8, 8], "INFORM, SYNC");

    // What was told is not told again; what was not is.
    leading.sync(LearnerConn(2), Zxid::new(1, 2));
    leading.sync(LearnerConn(9), Zxid::new(1, 2));
    assert!(leading.poll().is_none());
    leading.sync(LearnerConn(2), Zxid::new(1, 4));
    assert_eq!(told(&mut leading).0, BTreeMap::from([(2, vec![Packet::Sync])]));
}

/// A group is on its way to the followers before anything is durable. The leader's own flush is one
/// acknowledgement among others: it commits nothing by itself, and is not needed where others are
/// a quorum.
#[test]
fn the_leaders_own_flush_is_one_acknowledgement_among_others() {
    let mut leading = serving(3);
    let upto = Zxid::new(1, 3);
    leading.propose(upto, group(1, 1..=3), 0);
    let proposals: Vec<Packet> = group(1, 1..=3)
        .into_iter()
        .map(|Logged { zxid, record }| Packet::Proposal { zxid, record })
        .collect();
    let to_both = BTreeMap::from([(2, proposals.clone()), (3, proposals)]);
    assert_eq!(told(&mut leading), (to_both, None));

    leading.on_durable(Durable::recovered(upto));
    assert_eq!(told(&mut leading), (BTreeMap::new(), None));
    leading.on_packet(LearnerConn(2), Packet::Ack { zxid: Zxid::new(1, 2) }, 0);
    let (sent, committed) = told(&mut leading);
    assert_eq!(committed, Some(Zxid::new(1, 2)));
    assert_eq!(sent[&3], [1, 2].map(|counter| Packet::Commit { zxid: Zxid::new(1, counter) }));

    let next = Zxid::new(1, 4);
    leading.propose(next, group(1, 4..=4), 0);
    for follower in [2, 3] {
        leading.on_packet(LearnerConn(follower), Packet::Ack { zxid: next }, 0);
    }
    assert_eq!(told(&mut leading).1, Some(next), "its own disk is slow");
}

/// The only voter of an ensemble with observers keeps what they may lack, and tells them.
#[test]
fn a_single_voter_with_observers_keeps_its_history() {
    let mut leading = serving(1);
    let upto = Zxid::new(1, 2);
    leading.propose(upto, group(1, 1..=2), 0);
    leading.on_durable(Durable::recovered(upto));
    let (sent, committed) = told(&mut leading);
    let informs = group(1, 1..=2).into_iter();
    let informs = informs.map(|Logged { zxid, record }| Packet::Inform { zxid, record });
    assert_eq!((sent, committed), (BTreeMap::from([(9, informs.collect())]), Some(upto)));
    assert!(leading.history.after(Zxid::ZERO).eq(&group(1, 1..=2)));
}

/// The epoch of an elected leader ends before its counter does.
#[test]
fn an_elected_leader_steps_down_at_the_end_of_the_counter() {
    let mut leading = serving(1);
    let end = Zxid::new(1, u32::MAX - 1);
    assert_eq!(leading.zxid_after(Zxid::new(1, u32::MAX - 2)), Some(end));
    assert_eq!(leading.zxid_after(end), None);
    leading.proposed = Zxid::new(1, u32::MAX - 2);
    leading.history.pass(leading.proposed);
    leading.propose(end, group(1, u32::MAX - 1..=u32::MAX - 1), 0);
    leading.on_durable(Durable::recovered(end));
    let stepped_down = LeadEffect::StepDown { why: StepDown::Rollover };
    assert_eq!(effects(&mut leading).pop(), Some(stepped_down));
    assert!(!leading.is_serving());
}

/// UPTODATE is acknowledged with the start of the epoch, which nobody has proposed: with the
/// leader's own flush it commits nothing.
#[test]
fn the_acknowledgement_of_up_to_date_is_that_of_no_proposal() {
    let mut leading = serving(3);
    leading.on_packet(LearnerConn(2), Packet::Ack { zxid: Zxid::new(1, 0) }, 0);
    let upto = Zxid::new(1, 1);
    leading.propose(upto, group(1, 1..=1), 0);
    leading.on_durable(Durable::recovered(upto));
    assert_eq!(told(&mut leading).1, None);
}
