//! Leaders that are alone, and how a group of proposals goes to the others.

use std::iter;

use super::discovery::EPOCHS_AT_ONCE;
use super::liveness::FULL_MS;
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
        let info = LearnerInfo::new(id, 0);
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

/// A serving leader whose memory reaches back to transaction 10, and servers that come with what
/// ends with these zxids: followers below 9, observers from there on. What each gets is told.
fn coming(leading: &mut Leading, ids: &[i64], last: Zxid) -> BTreeMap<i64, Option<Packet>> {
    let mut first = BTreeMap::new();
    for &id in ids {
        let conn = LearnerConn(100 + id as u64);
        leading.on_connection(conn, 0);
        let info = LearnerInfo::new(id, 0);
        let info = if id >= 9 { Packet::ObserverInfo(info) } else { Packet::FollowerInfo(info) };
        leading.on_packet(conn, info, 0);
        effects(leading);
        leading.on_packet(conn, Packet::AckEpoch { zxid: last, current_epoch: 0 }, 0);
        let mut told = None;
        for effect in effects(leading) {
            match effect {
                LeadEffect::Send { to, bytes } if to == conn => {
                    let mut stream = PacketStream::new(1 << 20);
                    stream.push(&bytes);
                    told = told.or(stream.next_packet().unwrap());
                }
                LeadEffect::Close { conn: closed, why } => {
                    assert_eq!((closed, why), (conn, CloseLearner::TooManySyncs));
                }
                _ => {}
            }
        }
        first.insert(id, told);
    }
    first
}

/// A leader of five voters, three of them connected, that has logged something, and observers 9 to
/// 14.
fn with_observers() -> Leading {
    let ids = (1..=5).map(ServerId).collect();
    let observers = (9..=14).map(ServerId).collect();
    let majority = QuorumSet::Majority;
    let members = Members::new(ids, observers, majority, Zxid::ZERO, Bytes::new()).unwrap();
    let mut leading = serving(3);
    leading.members = members;
    leading.propose(Zxid::new(1, 2), group(1, 1..=2), 0);
    for follower in [2, 3] {
        leading.on_packet(LearnerConn(follower), Packet::Ack { zxid: Zxid::new(1, 2) }, 0);
    }
    leading.on_durable(Durable::recovered(Zxid::new(1, 2)));
    leading.on_applied(Zxid::new(1, 2));
    effects(&mut leading);
    leading.on_closed(LearnerConn(9));
    leading
}

/// `leader.maxConcurrentSnapSyncs` and `leader.maxConcurrentDiffSyncs`: an observer too much is sent
/// away until one of the others has the history; followers count, and are never sent away.
#[test]
fn an_observer_too_much_is_not_synchronized() {
    let (snap, diff) = (Zxid::new(7, 0), Zxid::ZERO);
    for (last, limits) in
        [(snap, SyncLimits { snaps: 2, diffs: 0 }), (diff, SyncLimits { snaps: 0, diffs: 2 })]
    {
        let mut leading = with_observers();
        leading.limit_syncs(limits);
        let is_begun = |packet: &Option<Packet>| match packet {
            Some(Packet::Snap { .. }) => last == snap,
            Some(Packet::Diff { .. }) => last == diff,
            Some(other) => panic!("{other:?}"),
            None => false,
        };
        let begun: Vec<bool> =
            coming(&mut leading, &[4, 9, 10, 5], last).values().map(is_begun).collect();
        assert_eq!(begun, [true, true, true, false], "4, 5, 9, 10");
        // One has its history now.
        leading.on_packet(LearnerConn(104), Packet::Ack { zxid: Zxid::new(1, 0) }, 0);
        effects(&mut leading);
        assert!(coming(&mut leading, &[11], last)[&11].is_none(), "5 and 9 are under way");
        leading.on_closed(LearnerConn(109));
        assert!(coming(&mut leading, &[12], last)[&12].is_some());
    }
}

/// A tree of gigabytes takes longer than a learner may be silent: while it takes more of it, it
/// stays. One that takes nothing is gone when its time is over.
#[test]
fn a_learner_that_takes_what_it_is_sent_is_not_silent() {
    let mut leading = with_observers();
    coming(&mut leading, &[4, 9], Zxid::new(7, 0));
    let (patience, mut now) = (SETTINGS.init_ms() + SETTINGS.sync_ms(), 0);
    for _ in 0..5 {
        now += patience - 1;
        for follower in [2, 3] {
            let ping = Packet::Pong { zxid: Zxid::ZERO, touched: Vec::new() };
            leading.on_packet(LearnerConn(follower), ping, now);
        }
        leading.on_taken(LearnerConn(104), now);
        leading.on_time(now);
    }
    assert!(leading.learners.contains_key(&LearnerConn(104)));
    assert!(!leading.learners.contains_key(&LearnerConn(109)), "it has taken nothing");
    // What was sent does not count once the learner has to answer.
    leading.on_packet(LearnerConn(104), Packet::Ack { zxid: Zxid::new(1, 0) }, now);
    let silent_at = leading.learners[&LearnerConn(104)].silent_at;
    leading.on_taken(LearnerConn(104), now + 1);
    assert_eq!(leading.learners[&LearnerConn(104)].silent_at, silent_at);
}

/// Whoever dials and says nothing costs little: of too many the first ones go.
#[test]
fn connections_that_say_nothing_are_bounded() {
    let mut leading = serving(3);
    let known = leading.learners.len();
    for conn in 100..100 + 3 * UNKNOWN_MAX as u64 {
        leading.on_connection(LearnerConn(conn), 0);
    }
    assert_eq!(leading.learners.len(), known + UNKNOWN_MAX);
    let closed: Vec<LeadEffect> = effects(&mut leading);
    let first = LeadEffect::Close { conn: LearnerConn(100), why: CloseLearner::TooMany };
    assert_eq!((closed.len(), closed.first()), (2 * UNKNOWN_MAX, Some(&first)));
    assert!(leading.is_serving() && leading.learners().synced_followers == 2);
}

/// A leader that believed in such an epoch would have none left, or begin again at 0.
#[test]
fn a_learner_after_whose_epoch_there_is_none_is_turned_away() {
    for accepted in [Zxid::EPOCH_MAX, u32::MAX - 1, u32::MAX] {
        let mut leading = serving(3);
        leading.on_connection(LearnerConn(20), 0);
        let info = LearnerInfo::new(3, accepted);
        leading.on_packet(LearnerConn(20), Packet::FollowerInfo(info), 0);
        let why = CloseLearner::NoEpochLeft { accepted };
        assert_eq!(effects(&mut leading), [LeadEffect::Close { conn: LearnerConn(20), why }]);
        assert!(leading.is_serving());
    }
}

/// A leader of `voters` that has accepted epoch 5 and waits for epochs.
fn discovering(voters: i64) -> Leading {
    let ids: BTreeSet<ServerId> = (1..=voters).map(ServerId).collect();
    let observers = BTreeSet::from([ServerId(9)]);
    let majority = QuorumSet::Majority;
    let members = Members::new(ids, observers, majority, Zxid::ZERO, Bytes::new()).unwrap();
    let last = Durable::recovered(Zxid::ZERO);
    let own = OwnHistory { accepted_epoch: 5, current_epoch: 5, last };
    let history = History::new(Zxid::ZERO, 500, 1 << 20);
    Leading::new(ServerId(1), members, SETTINGS, own, history, 0)
}

/// A server comes that has accepted this epoch.
fn comes(leading: &mut Leading, conn: u64, id: i64, accepted_epoch: u32) {
    leading.on_connection(LearnerConn(conn), 0);
    let info = LearnerInfo::new(id, accepted_epoch);
    let info = if id == 9 { Packet::ObserverInfo(info) } else { Packet::FollowerInfo(info) };
    leading.on_packet(LearnerConn(conn), info, 0);
}

const LAST_BUT_ONE: u32 = Zxid::EPOCH_MAX - 1;

/// One packet of a member that is damaged or lies takes no epoch away: the leader chooses the one
/// after those that are known of, and says whom it has turned away.
#[test]
fn one_member_alone_cannot_use_up_the_epochs() {
    for accepted in [20 + EPOCHS_AT_ONCE, 1 << 20, 1 << 30, LAST_BUT_ONE] {
        let far = |conn, known| LeadEffect::Close {
            conn: LearnerConn(conn),
            why: CloseLearner::EpochTooFar { accepted, known },
        };
        // It comes first.
        let mut leading = discovering(3);
        comes(&mut leading, 1, 2, accepted);
        comes(&mut leading, 2, 9, accepted);
        assert_eq!(effects(&mut leading), [], "somebody else may come");
        comes(&mut leading, 3, 3, 7);
        let stored = LeadEffect::StoreAcceptedEpoch { epoch: 8 };
        assert_eq!(effects(&mut leading), [far(1, 7), far(2, 7), stored]);
        // It comes late, to a leader that serves or does not.
        for mut leading in [leading, serving(3)] {
            let known = leading.epoch;
            comes(&mut leading, 20, 2, accepted);
            assert!(effects(&mut leading).contains(&far(20, known)));
            assert!(!leading.has_ended);
        }
        // There is nobody else: a small part of what is left may go at last.
        let mut leading = discovering(3);
        comes(&mut leading, 1, 2, accepted);
        leading.on_time(SETTINGS.init_ms());
        let told = match accepted {
            ..2_000_000 => vec![LeadEffect::StoreAcceptedEpoch { epoch: accepted + 1 }],
            _ => vec![far(1, 5), LeadEffect::StepDown { why: StepDown::NoQuorum }],
        };
        assert_eq!(effects(&mut leading), told);
        // Two of them know of it: they have elected without this server.
        let mut leading = discovering(5);
        for id in 2..=4 {
            comes(&mut leading, id as u64, id, accepted - (id as u32 - 2));
        }
        let told = vec![LeadEffect::StoreAcceptedEpoch { epoch: accepted + 1 }];
        assert_eq!(effects(&mut leading), told);
    }
    // What a few failed elections explain is taken as it is.
    let mut leading = discovering(3);
    comes(&mut leading, 1, 2, 5 + EPOCHS_AT_ONCE);
    let epoch = 5 + EPOCHS_AT_ONCE + 1;
    assert_eq!(effects(&mut leading), [LeadEffect::StoreAcceptedEpoch { epoch }]);
    let mut leading = serving(3);
    comes(&mut leading, 20, 2, 1 + EPOCHS_AT_ONCE);
    let why = StepDown::HigherEpoch { accepted: 1 + EPOCHS_AT_ONCE };
    assert!(effects(&mut leading).contains(&LeadEffect::StepDown { why }));
}

/// Most servers have lost their data and serve again; one comes that has its own. Stepping down
/// would get it elected, and what was acknowledged since would be gone.
#[test]
fn a_serving_leader_does_not_give_way_to_a_newer_history() {
    for (current_epoch, stays) in
        [(Some(3), true), (Some(2), true), (Some(1), false), (None, false)]
    {
        let mut leading = serving(3);
        leading.on_connection(LearnerConn(20), 0);
        let info = LearnerInfo { current_epoch, ..LearnerInfo::new(2, 3) };
        leading.on_packet(LearnerConn(20), Packet::FollowerInfo(info), 0);
        let told = effects(&mut leading);
        let stepped_down = LeadEffect::StepDown { why: StepDown::HigherEpoch { accepted: 3 } };
        assert_eq!(told.contains(&stepped_down), !stays, "{current_epoch:?}");
        let why = CloseLearner::OtherHistory { epoch: current_epoch.unwrap_or(0) };
        assert_eq!(told.contains(&LeadEffect::Close { conn: LearnerConn(20), why }), stays);
    }
}

/// A leader without space for its log gives way to followers that can go on without it, and to no
/// others; not at once, and not if it had none when it began.
#[test]
fn a_leader_with_a_full_disk_gives_way() {
    let stepped_down = |leading: &mut Leading| {
        effects(leading).contains(&LeadEffect::StepDown { why: StepDown::FullDisk })
    };
    let full = |leading: &mut Leading| {
        leading.on_full_disk(true, 1_000);
        leading.on_full_disk(true, 1_000 + FULL_MS - 1);
        assert!(leading.is_serving());
        leading.on_full_disk(true, 1_000 + FULL_MS);
        stepped_down(leading)
    };
    assert!(!full(&mut serving(3)), "it was full from the beginning");
    let mut leading = serving(3);
    leading.on_full_disk(false, 0);
    assert!(full(&mut leading));
    let mut leading = serving(3);
    leading.on_full_disk(false, 0);
    leading.on_closed(LearnerConn(2));
    assert!(!full(&mut leading), "server 3 alone is no quorum");
    let mut leading = serving(3);
    leading.on_full_disk(false, 0);
    leading.on_full_disk(true, 0);
    leading.on_full_disk(false, FULL_MS);
    leading.on_full_disk(true, FULL_MS + 1);
    assert!(!stepped_down(&mut leading), "there was space meanwhile");
}

/// A server whose log cannot be cut where it has to asks for the tree. It counts if its epoch says
/// that it has acknowledged nothing which this leader lacks, and one that has lost its data does not.
#[test]
fn who_asks_for_the_tree_counts_by_its_epoch() {
    for (current_epoch, counts) in [(0, false), (1, true), (2, false), (-1, false)] {
        let last = Durable::recovered(Zxid::new(1, 22));
        let own = OwnHistory { accepted_epoch: 2, current_epoch: 2, last };
        let history = History::new(last.get(), 500, 1 << 20);
        let voters = [1, 2, 3].map(ServerId).into();
        let majority = QuorumSet::Majority;
        let members = Members::new(voters, [].into(), majority, Zxid::ZERO, Bytes::new()).unwrap();
        let mut leading = Leading::new(ServerId(1), members, SETTINGS, own, history, 0);
        comes(&mut leading, 3, 3, 2);
        leading.on_accepted_epoch(3, 0);
        effects(&mut leading);
        let asks = Packet::AckEpoch { zxid: Zxid::UNKNOWN, current_epoch };
        leading.on_packet(LearnerConn(3), asks, 0);
        let stores = LeadEffect::StoreCurrentEpoch { epoch: 3 };
        assert_eq!(effects(&mut leading) == [stores], counts, "epoch {current_epoch}");
    }
}

/// One without a vote that comes again and again makes no later claim of its own believable.
#[test]
fn epochs_do_not_climb_by_repeated_claims() {
    let mut leading = discovering(3);
    for conn in 1..=2_000 {
        comes(&mut leading, conn, 9, 5 + conn as u32 * EPOCHS_AT_ONCE);
    }
    effects(&mut leading);
    comes(&mut leading, 3_000, 3, 5);
    let stored = |effect: &LeadEffect| match effect {
        LeadEffect::StoreAcceptedEpoch { epoch } => Some(*epoch),
        _ => None,
    };
    let epochs: Vec<u32> = effects(&mut leading).iter().filter_map(stored).collect();
    assert_eq!(epochs, [5 + EPOCHS_AT_ONCE + 1]);
}

/// What is proposed while a learner is being synchronized is acknowledged after UPTODATE: the time
/// for it begins there, however long the synchronization took.
#[test]
fn a_long_synchronization_does_not_count_as_silence() {
    let (sync_ms, init_ms) = (SETTINGS.sync_ms(), SETTINGS.init_ms());
    let mut leading = serving(3);
    comes(&mut leading, 20, 3, 1);
    let ack = Packet::AckEpoch { zxid: Zxid::ZERO, current_epoch: 1 };
    leading.on_packet(LearnerConn(20), ack, 0);
    leading.propose(Zxid::new(1, 1), group(1, 1..=1), 0);
    let heard = |leading: &mut Leading, now_ms| {
        leading.on_packet(LearnerConn(2), Packet::Ack { zxid: Zxid::new(1, 1) }, now_ms);
        leading.on_time(now_ms);
        leading.learners.contains_key(&LearnerConn(20))
    };
    assert!(heard(&mut leading, sync_ms - 1));
    leading.on_packet(LearnerConn(20), Packet::Ack { zxid: Zxid::new(1, 0) }, sync_ms + 1);
    assert!(heard(&mut leading, sync_ms + 1), "it has just read UPTODATE");
    let late = sync_ms + 1 + init_ms + sync_ms;
    let pong = || Packet::Pong { zxid: Zxid::ZERO, touched: Vec::new() };
    leading.on_packet(LearnerConn(20), pong(), late - 1);
    assert!(heard(&mut leading, late - 1));
    leading.on_packet(LearnerConn(20), pong(), late);
    assert!(!heard(&mut leading, late), "it acknowledges nothing");
}
