//! Observers of a follower, from the first packet on.

use std::collections::BTreeSet;
use std::iter;

use super::*;
use crate::codes::OpCode;
use crate::packet::{PacketStream, RequestPacket};
use crate::zab::leading::UNKNOWN_MAX;
use crate::zab::members::QuorumSet;
use crate::zxid::SessionId;

const ZAB: ZabSettings = ZabSettings { tick_ms: 100, init_ticks: 10, sync_ticks: 5 };
const SETTINGS: ObserverMasterSettings =
    ObserverMasterSettings { history_bytes: 1 << 20, always_snap: false, limits: LIMITS };
const LIMITS: SyncLimits = SyncLimits { snaps: 10, diffs: 100 };
const OBSERVER: LearnerConn = LearnerConn(1);

fn z(counter: u32) -> Zxid {
    Zxid::new(3, counter)
}

fn logged(counter: u32) -> Logged {
    Logged { zxid: z(counter), record: Bytes::from(format!("record {counter}")) }
}

/// Server 2 of three voters, with two observers, 8 and 9. Its history ends with `last`, and it is in
/// sync with the leader of epoch 3.
fn master(settings: ObserverMasterSettings, last: Zxid) -> ObserverMaster {
    let voters = (1..=3).map(ServerId).collect();
    let observers = BTreeSet::from([ServerId(8), ServerId(9)]);
    let members =
        Members::new(voters, observers, QuorumSet::Majority, Zxid::ZERO, Bytes::new()).unwrap();
    let mut master = ObserverMaster::new(ServerId(2), members, ZAB, settings, last, last);
    master.begin(3, 0);
    master
}

fn info(id: i64) -> LearnerInfo {
    LearnerInfo::new(id, 3)
}

/// What was sent and asked for since the last look, sent packets one by one.
#[derive(Debug, PartialEq)]
enum Done {
    Sent(u64, Packet),
    Other(LeadEffect),
}

fn done(master: &mut ObserverMaster) -> Vec<Done> {
    let mut all = Vec::new();
    for effect in iter::from_fn(|| master.poll()) {
        match effect {
            LeadEffect::Send { to, bytes } => {
                let mut stream = PacketStream::new(1 << 20);
                stream.push(&bytes);
                while let Some(packet) = stream.next_packet().unwrap() {
                    all.push(Done::Sent(to.0, packet));
                }
            }
            other => all.push(Done::Other(other)),
        }
    }
    all
}

fn sent(packet: Packet) -> Done {
    Done::Sent(OBSERVER.0, packet)
}

fn proposal(counter: u32) -> Done {
    let Logged { zxid, record } = logged(counter);
    sent(Packet::Proposal { zxid, record })
}

fn inform(counter: u32) -> Done {
    let Logged { zxid, record } = logged(counter);
    sent(Packet::Inform { zxid, record })
}

fn new_leader() -> Done {
    sent(Packet::NewLeader { zxid: z(0), config: Some(Bytes::new()) })
}

/// Observer 9 comes with a log that ends with `last`.
fn comes(master: &mut ObserverMaster, last: Zxid) -> Vec<Done> {
    master.on_connection(OBSERVER, 0);
    master.on_packet(OBSERVER, Packet::ObserverInfo(info(9)), 0);
    let protocol = LearnerInfo::PROTOCOL;
    assert_eq!(done(master), [sent(Packet::LeaderInfo { epoch: 3, protocol })]);
    master.on_packet(OBSERVER, Packet::AckEpoch { zxid: last, current_epoch: 3 }, 0);
    done(master)
}

/// The same up to UPTODATE.
fn serves(master: &mut ObserverMaster, last: Zxid) {
    comes(master, last);
    master.on_packet(OBSERVER, Packet::Ack { zxid: z(0) }, 0);
    assert_eq!(done(master), [sent(Packet::UpToDate)]);
    assert_eq!(master.synced(), 1);
}

/// Only what is committed goes out, as INFORM, and in order with the answers to syncs.
#[test]
fn an_observer_is_told_what_is_committed() {
    let mut master = master(SETTINGS, z(2));
    (3..=5).for_each(|counter| master.on_proposed(logged(counter)));
    master.on_committed(z(3));
    let got = comes(&mut master, z(2));
    let commit = sent(Packet::Commit { zxid: z(3) });
    assert_eq!(got, [sent(Packet::Diff { zxid: z(3) }), proposal(3), commit, new_leader()]);
    master.on_packet(OBSERVER, Packet::Ack { zxid: z(0) }, 0);
    assert_eq!(done(&mut master), [sent(Packet::UpToDate)]);
    // UPTODATE is acknowledged, too.
    master.on_packet(OBSERVER, Packet::Ack { zxid: z(0) }, 0);
    master.on_committed(z(3));
    assert_eq!(done(&mut master), []);
    master.on_committed(z(5));
    master.send(OBSERVER, &Packet::Sync);
    assert_eq!(done(&mut master), [inform(4), inform(5), sent(Packet::Sync)]);
}

/// What it asks for and what it has heard of goes on.
#[test]
fn what_an_observer_asks_is_passed_on() {
    let mut master = master(SETTINGS, z(2));
    serves(&mut master, z(2));
    let (session, timeout_ms) = (SessionId(7), 4_000);
    let request = RequestPacket {
        session,
        cxid: 1,
        op: OpCode::SET_DATA,
        record: Bytes::from_static(b"r"),
        auth: None,
    };
    let touched = vec![(session, timeout_ms)];
    master.on_packet(OBSERVER, Packet::Request(request.clone()), 0);
    master.on_packet(OBSERVER, Packet::Revalidate { session, timeout_ms }, 0);
    master.on_packet(OBSERVER, Packet::Pong { zxid: z(2), touched: touched.clone() }, 0);
    assert_eq!(
        done(&mut master),
        [
            Done::Other(LeadEffect::Request { from: OBSERVER, request }),
            Done::Other(LeadEffect::Revalidate { from: OBSERVER, session, timeout_ms }),
            Done::Other(LeadEffect::Touched { sessions: touched }),
        ]
    );
}

/// It comes from the leader, or from a follower that was quicker: what it has of this epoch is
/// committed, and nothing of it is cut.
#[test]
fn an_observer_that_is_ahead_waits_for_the_follower() {
    let mut master = master(SETTINGS, z(2));
    (3..=5).for_each(|counter| master.on_proposed(logged(counter)));
    assert_eq!(comes(&mut master, z(4)), []);
    master.on_committed(z(3));
    assert_eq!(done(&mut master), []);
    master.on_committed(z(5));
    let commit = sent(Packet::Commit { zxid: z(5) });
    let wanted = [sent(Packet::Diff { zxid: z(5) }), proposal(5), commit, new_leader()];
    assert_eq!(done(&mut master), wanted);
    // Of an earlier epoch it may have what was never committed.
    let mut other = self::master(SETTINGS, z(2));
    other.on_connection(OBSERVER, 0);
    other.on_packet(OBSERVER, Packet::ObserverInfo(info(9)), 0);
    done(&mut other);
    let ack = Packet::AckEpoch { zxid: Zxid::new(2, 900), current_epoch: 2 };
    other.on_packet(OBSERVER, ack, 0);
    let ask = LeadEffect::AskLog { of: OBSERVER, peer: Zxid::new(2, 900) };
    assert_eq!(done(&mut other), [Done::Other(ask)]);
}

/// The tree is that which this server shows, and all committed after it follows, also what is not
/// durable here yet: that stays in memory, whatever bounds it.
#[test]
fn a_tree_is_followed_by_what_is_committed_after_it() {
    let settings = ObserverMasterSettings { history_bytes: 0, always_snap: true, limits: LIMITS };
    let mut master = master(settings, z(2));
    (3..=6).for_each(|counter| master.on_proposed(logged(counter)));
    master.on_durable(z(4));
    master.on_committed(z(6));
    master.on_applied(z(3));
    let got = comes(&mut master, z(6));
    let log = LeadEffect::SendLog { to: OBSERVER, after: z(3), upto: z(4) };
    let commit = |counter| sent(Packet::Commit { zxid: z(counter) });
    let wanted = [
        sent(Packet::Snap { zxid: z(3) }),
        Done::Other(LeadEffect::SendTree { to: OBSERVER }),
        Done::Other(log),
        proposal(5),
        commit(5),
        proposal(6),
        commit(6),
        new_leader(),
    ];
    assert_eq!(got, wanted);
}

#[test]
fn who_is_no_observer_of_this_ensemble_is_hung_up_on() {
    let unexpected = |packet: &Packet| CloseLearner::Unexpected { kind: packet.kind() };
    let follower = Packet::FollowerInfo(info(3));
    let newer = LearnerInfo { config_version: z(1), ..info(9) };
    let old = LearnerInfo { protocol: 1, ..info(9) };
    for (packet, why) in [
        (follower.clone(), unexpected(&follower)),
        (Packet::Sync, unexpected(&Packet::Sync)),
        (Packet::ObserverInfo(info(7)), CloseLearner::NoMember { id: Some(7) }),
        (Packet::ObserverInfo(info(2)), CloseLearner::NoMember { id: Some(2) }),
        (Packet::ObserverInfo(newer), CloseLearner::NewerConfig { version: z(1) }),
        (Packet::ObserverInfo(old), CloseLearner::OldProtocol { protocol: 1 }),
    ] {
        let mut master = master(SETTINGS, z(2));
        master.on_connection(OBSERVER, 0);
        master.on_packet(OBSERVER, packet, 0);
        let close = LeadEffect::Close { conn: OBSERVER, why };
        assert_eq!(done(&mut master), [Done::Other(close)]);
    }
    let mut master = master(SETTINGS, z(2));
    master.on_connection(OBSERVER, 0);
    master.on_packet(OBSERVER, Packet::ObserverInfo(info(9)), 0);
    done(&mut master);
    master.on_packet(OBSERVER, Packet::AckEpoch { zxid: z(2), current_epoch: 4 }, 0);
    let why = CloseLearner::NewerHistory { epoch: 4, zxid: z(2) };
    assert_eq!(done(&mut master), [Done::Other(LeadEffect::Close { conn: OBSERVER, why })]);
}

/// Each half tick it is asked; who does not answer for syncLimit goes, and who comes back takes the
/// place of its earlier connection.
#[test]
fn an_observer_that_is_silent_goes() {
    let mut master = master(SETTINGS, z(2));
    assert_eq!(master.wakes_at(), i64::MAX);
    serves(&mut master, z(2));
    assert_eq!(master.wakes_at(), 50);
    master.on_time(50);
    assert_eq!(done(&mut master), [sent(Packet::Ping { zxid: z(2) })]);
    master.on_packet(OBSERVER, Packet::Pong { zxid: z(2), touched: Vec::new() }, 60);
    master.on_time(559);
    assert_eq!(done(&mut master), [sent(Packet::Ping { zxid: z(2) })]);
    master.on_time(560);
    let close = LeadEffect::Close { conn: OBSERVER, why: CloseLearner::Silent };
    assert_eq!(done(&mut master), [Done::Other(close)]);
    serves(&mut master, z(2));
    master.on_connection(LearnerConn(2), 600);
    master.on_packet(LearnerConn(2), Packet::ObserverInfo(info(9)), 600);
    let close = LeadEffect::Close { conn: OBSERVER, why: CloseLearner::CameBack };
    assert_eq!(done(&mut master)[0], Done::Other(close));
    assert_eq!(master.synced(), 0);
}

/// As many as there may be are synchronized at a time, and silent callers have a bound.
#[test]
fn too_many_are_sent_away() {
    for always_snap in [false, true] {
        let limits = SyncLimits { snaps: 1, diffs: 1 };
        let mut master = master(ObserverMasterSettings { always_snap, limits, ..SETTINGS }, z(2));
        comes(&mut master, z(2));
        let second = |master: &mut ObserverMaster, conn| {
            master.on_connection(conn, 0);
            master.on_packet(conn, Packet::ObserverInfo(info(8)), 0);
            done(master);
            master.on_packet(conn, Packet::AckEpoch { zxid: z(2), current_epoch: 3 }, 0);
            done(master)
        };
        let conn = LearnerConn(2);
        let close = LeadEffect::Close { conn, why: CloseLearner::TooManySyncs };
        assert_eq!(second(&mut master, conn), [Done::Other(close)]);
        master.on_packet(OBSERVER, Packet::Ack { zxid: z(0) }, 0);
        done(&mut master);
        assert!(second(&mut master, LearnerConn(3)).len() > 1, "there is room again");
    }
    let mut master = master(SETTINGS, z(2));
    (1..=UNKNOWN_MAX as u64).for_each(|conn| master.on_connection(LearnerConn(conn), 0));
    assert_eq!(done(&mut master), []);
    master.on_connection(LearnerConn(1_000), 0);
    let close = LeadEffect::Close { conn: LearnerConn(1), why: CloseLearner::TooMany };
    assert_eq!(done(&mut master), [Done::Other(close)]);
}
