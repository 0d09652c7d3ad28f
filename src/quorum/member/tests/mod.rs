//! One member whose shell is the test: what it wants done is looked at and answered by hand.

mod ensemble;
mod known_bugs;
mod observers;
mod random;

use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;

use super::*;
use crate::packet::{LearnerInfo, Packet, PacketStream};
use crate::quorum::{Effect, QuorumConfig};
use crate::txn::{Txn, TxnHeader, write_log_record};
use crate::zab::{LogReach, Members, QuorumSet, StepDown, SyncLimits, ZabSettings};
use crate::zxid::SessionId;

struct World {
    quorum: Quorum,
    tree: Tree,
    member: Member,
    now: Now,
    /// Bytes of log entries that find room.
    room: u64,
    /// Packets that are taken in one step.
    packets_max: usize,
    effects: Vec<MemberEffect>,
    /// Snapshots that were asked for.
    snapshots: usize,
}

const INIT_MS: i64 = 20_000;
const ZAB: ZabSettings = ZabSettings { tick_ms: 2_000, init_ticks: 10, sync_ticks: 5 };
const DATA_BYTES_MAX: usize = 1 << 20;
const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 2888);

/// So many that vote; the next one observes.
fn voting(voters: usize) -> Members {
    let (voters, observer) = ((1..=voters as i64).map(ServerId), ServerId(voters as i64 + 1));
    let majority = QuorumSet::Majority;
    Members::new(voters.collect(), [observer].into(), majority, Zxid::ZERO, Bytes::new()).unwrap()
}

/// Server 1 of three that vote; 4 observes.
fn settings() -> MemberSettings {
    let members = voting(3);
    let me = ServerId(1);
    let (zab, syncs) = (ZAB, SyncLimits::default());
    let server = EnsembleServer {
        me,
        members,
        zab,
        syncs,
        epoch_wait_ms_max: None,
        accepted_epoch: 0,
        current_epoch: 0,
    };
    MemberSettings {
        server,
        history_count: 500,
        history_bytes: 1 << 20,
        tail: Vec::new(),
        is_lost: false,
        packet_bytes_max: DATA_BYTES_MAX,
    }
}

impl World {
    fn with(settings: MemberSettings) -> Self {
        let (tree, now) = (Tree::new(), Now { mono_ms: 1_000_000, wall_ms: 1_700_000_000_000 });
        let mut world = Self {
            quorum: Quorum::member(QuorumConfig::default(), &tree, 7, now),
            tree,
            member: Member::new(settings),
            now,
            room: u64::MAX,
            packets_max: usize::MAX,
            effects: Vec::new(),
            snapshots: 0,
        };
        world.run();
        world
    }

    /// It looks for a leader.
    fn looking() -> Self {
        let mut world = Self::with(settings());
        world.take();
        world
    }

    fn leading() -> Self {
        let mut world = Self::looking();
        world.on(MemberEvent::Elected { state: PeerState::Leading, leader: ServerId(1) });
        world.take();
        world
    }

    /// A leader of epoch 1 that server 2 follows.
    fn serving() -> Self {
        let mut world = Self::leading();
        world.on(MemberEvent::LearnerConnected { conn: LEARNER, address: ADDRESS });
        world.on_packets(LEARNER, &[Packet::FollowerInfo(info(2))]);
        world.on(MemberEvent::AcceptedEpoch(1));
        world.on_packets(LEARNER, &[Packet::AckEpoch { zxid: Zxid::ZERO, current_epoch: 0 }]);
        world.on(MemberEvent::CurrentEpoch(1));
        world.on_packets(LEARNER, &[Packet::Ack { zxid: Zxid::new(1, 0) }]);
        assert!(world.take().contains(&MemberEffect::Serve { epoch: 1 }));
        world
    }

    fn learning() -> Self {
        let mut world = Self::looking();
        world.learn();
        world
    }

    /// Server 3 is elected, and the dial to it gets through.
    fn learn(&mut self) {
        self.on(MemberEvent::Elected { state: PeerState::Following, leader: ServerId(3) });
        let attempt = self.member.attempt;
        self.on(MemberEvent::LeaderConnected { attempt, conn: LEADER, address: ADDRESS });
        self.take();
    }

    fn on(&mut self, event: MemberEvent) {
        self.member.on_event(event, &mut self.quorum, &self.tree, self.now);
        self.run();
    }

    fn on_bytes(&mut self, conn: PeerConn, bytes: &[u8]) {
        self.member.on_bytes(conn, bytes);
        self.run();
    }

    fn on_packets(&mut self, conn: PeerConn, packets: &[Packet]) {
        self.on_bytes(conn, &wire(packets));
    }

    fn pass(&mut self, ms: i64) {
        self.now.mono_ms += ms;
        self.run();
    }

    /// Until there is nothing to do. Flushes end at once.
    fn run(&mut self) {
        self.step();
        while self.member.has_work() || self.quorum.has_committable() {
            self.step();
        }
        // What the last commit asks for.
        self.step();
    }

    fn step(&mut self) {
        let left = std::cell::Cell::new(self.packets_max);
        let is_late = || left.replace(left.get().saturating_sub(1)) == 0;
        self.member.step(&mut self.quorum, &self.tree, self.room, is_late, self.now);
        while let Some(effect) = self.quorum.poll() {
            match effect {
                Effect::Flush(flush) => self.quorum.on_flushed(flush.end_in_test()),
                Effect::Lead(effect) => self.member.on_lead(effect, &self.quorum),
                Effect::Learn(effect) => self.member.on_learn(effect),
                Effect::TakeSnapshot => self.snapshots += 1,
                _ => {}
            }
        }
        if self.quorum.has_committable() {
            let mut budget = crate::quorum::Budget::new(u64::MAX);
            self.quorum.commit(&mut self.tree, &mut budget, &[false], &mut |_, _| {});
        }
        while let Some(effect) = self.member.poll() {
            self.effects.push(effect);
        }
    }

    fn take(&mut self) -> Vec<MemberEffect> {
        std::mem::take(&mut self.effects)
    }

    /// What was sent since the last look, and the rest of what was wanted.
    fn sent(&mut self, conn: PeerConn) -> (Vec<Packet>, Vec<MemberEffect>) {
        let mut stream = PacketStream::new(DATA_BYTES_MAX);
        let mut rest = Vec::new();
        for effect in self.take() {
            match effect {
                MemberEffect::Send { conn: to, bytes } if to == conn => stream.push(&bytes),
                effect => rest.push(effect),
            }
        }
        let packets = std::iter::from_fn(|| stream.next_packet().unwrap()).collect();
        (packets, rest)
    }
}

const LEADER: PeerConn = PeerConn(7);
const LEARNER: PeerConn = PeerConn(8);

fn wire(packets: &[Packet]) -> Vec<u8> {
    let mut bytes = Vec::new();
    packets.iter().for_each(|packet| packet.write(&mut bytes));
    bytes
}

fn info(id: i64) -> LearnerInfo {
    LearnerInfo::new(id, 0)
}

fn peer(id: Option<i64>) -> Peer {
    Peer { id: id.map(ServerId), address: ADDRESS }
}

fn look(zxid: Zxid, epoch: i64) -> MemberEffect {
    MemberEffect::Look { zxid, epoch, stands: true }
}

fn told(news: MemberNews) -> MemberEffect {
    MemberEffect::Tell(news)
}

/// The record of a transaction of the log.
fn record(zxid: Zxid) -> Bytes {
    let session = SessionId(1);
    let header = TxnHeader { session, cxid: 1, zxid, time_ms: 1 };
    let mut record = Vec::new();
    write_log_record(&mut record, &header, &Txn::CreateSession { timeout_ms: 10_000 }, None);
    record.into()
}

/// LEADERINFO, of an epoch that it has not accepted, up to the end of discovery.
fn accept_epoch(world: &mut World, epoch: u32) {
    let protocol = LearnerInfo::PROTOCOL;
    world.on_packets(LEADER, &[Packet::LeaderInfo { epoch, protocol }]);
    assert_eq!(world.take(), [MemberEffect::StoreAcceptedEpoch { epoch }]);
    world.on(MemberEvent::AcceptedEpoch(epoch));
    let (packets, rest) = world.sent(LEADER);
    assert!(matches!(packets[..], [Packet::AckEpoch { .. }]), "{packets:?}");
    assert_eq!(rest, []);
}

#[test]
fn a_start_looks_for_a_leader_with_what_the_disk_holds() {
    let mut server = settings();
    (server.server.accepted_epoch, server.server.current_epoch) = (3, 2);
    let mut world = World::with(server);
    let starts = MemberNews::Starts { last: Zxid::ZERO, epoch: 2 };
    assert_eq!(world.take(), [told(starts), look(Zxid::ZERO, 2)]);
    world.pass(INIT_MS);
    assert_eq!(world.take(), [], "it looks once");
}

#[test]
fn the_vote_of_a_server_that_has_lost_data_counts_for_nothing() {
    let mut world = World::with(MemberSettings { is_lost: true, ..settings() });
    assert_eq!(world.take()[1], look(Zxid::UNKNOWN, 0));
    world.on(MemberEvent::Elected { state: PeerState::Following, leader: ServerId(3) });
    world.on(MemberEvent::LeaderConnected { attempt: 1, conn: LEADER, address: ADDRESS });
    world.take();
    world.on_packets(LEADER, &[Packet::LeaderInfo { epoch: 1, protocol: LearnerInfo::PROTOCOL }]);
    world.on(MemberEvent::AcceptedEpoch(1));
    let (packets, _) = world.sent(LEADER);
    assert_eq!(packets, [Packet::AckEpoch { zxid: Zxid::UNKNOWN, current_epoch: 0 }]);
}

#[test]
fn a_leader_leads_from_its_election_to_the_end_of_its_quorum() {
    let mut world = World::looking();
    world.on(MemberEvent::Elected { state: PeerState::Leading, leader: ServerId(1) });
    let takes = MemberEffect::TakeLearners { is_wanted: true };
    assert_eq!(world.take(), [told(MemberNews::IsElected), takes]);
    world.on(MemberEvent::LearnerConnected { conn: LEARNER, address: ADDRESS });
    // However the bytes are split.
    for byte in wire(&[Packet::FollowerInfo(info(2))]) {
        assert_eq!(world.take(), []);
        world.on_bytes(LEARNER, &[byte]);
    }
    assert_eq!(world.take(), [MemberEffect::StoreAcceptedEpoch { epoch: 1 }]);
    world.on(MemberEvent::AcceptedEpoch(1));
    let (packets, _) = world.sent(LEARNER);
    assert!(matches!(packets[..], [Packet::LeaderInfo { epoch: 1, .. }]), "{packets:?}");
    world.on_packets(LEARNER, &[Packet::AckEpoch { zxid: Zxid::ZERO, current_epoch: 0 }]);
    assert!(world.sent(LEARNER).1.contains(&MemberEffect::StoreCurrentEpoch { epoch: 1 }));
    world.on(MemberEvent::CurrentEpoch(1));
    let (packets, _) = world.sent(LEARNER);
    assert!(matches!(packets.last(), Some(Packet::NewLeader { .. })), "{packets:?}");
    assert_eq!(world.member.server().accepted_epoch, 1);
    assert_eq!(world.member.server().current_epoch, 1);
    world.on_packets(LEARNER, &[Packet::Ack { zxid: Zxid::new(1, 0) }]);
    let (packets, rest) = world.sent(LEARNER);
    assert_eq!(packets.last(), Some(&Packet::UpToDate));
    let serves = [
        told(MemberNews::Leads { epoch: 1, takes_clients: true }),
        MemberEffect::Serve { epoch: 1 },
    ];
    assert_eq!(rest, serves);
    // The only learner goes.
    world.member.on_gone(LEARNER, "it has crashed".into());
    world.run();
    let gone = MemberNews::LearnerGone { peer: peer(Some(2)), why: "it has crashed".into() };
    let ends = [
        told(gone),
        MemberEffect::Close { conn: LEARNER },
        told(MemberNews::StepsDown { why: StepDown::LostQuorum }),
        MemberEffect::TakeLearners { is_wanted: false },
        MemberEffect::EndRole,
        look(Zxid::ZERO, 1),
    ];
    assert_eq!(world.take(), ends);
}

#[test]
fn without_a_quorum_a_leader_looks_again() {
    let mut world = World::leading();
    world.pass(INIT_MS);
    let taken = world.take();
    assert_eq!(taken.last(), Some(&look(Zxid::ZERO, 0)), "{taken:?}");
}

/// It goes back to the election at once, and what comes of that dial later is nothing to it.
#[test]
fn a_leader_that_cannot_be_reached_is_given_up() {
    let mut world = World::looking();
    let elected = MemberEvent::Elected { state: PeerState::Following, leader: ServerId(3) };
    world.on(elected);
    let leads = MemberNews::HasLeader { state: PeerState::Following, leader: ServerId(3) };
    let dial = MemberEffect::Dial { leader: ServerId(3), attempt: 1 };
    assert_eq!(world.take(), [told(leads), dial]);
    world.on(MemberEvent::LeaderUnreachable { attempt: 0, why: "another dial".into() });
    assert_eq!(world.take(), []);
    world.on(MemberEvent::LeaderUnreachable { attempt: 1, why: "refused".into() });
    let news = told(MemberNews::Unreachable { why: "refused".into() });
    assert_eq!(world.take(), [news, look(Zxid::ZERO, 0)]);
    world.on(MemberEvent::LeaderConnected { attempt: 1, conn: LEADER, address: ADDRESS });
    assert_eq!(world.take(), [MemberEffect::Close { conn: LEADER }]);
    world.on(MemberEvent::LearnerConnected { conn: LEARNER, address: ADDRESS });
    assert_eq!(world.take(), [MemberEffect::Close { conn: LEARNER }]);
}

#[test]
fn an_observer_observes() {
    let mut settings = settings();
    settings.server.me = ServerId(4);
    let mut world = World::with(settings);
    world.take();
    world.on(MemberEvent::Elected { state: PeerState::Observing, leader: ServerId(3) });
    let leads = MemberNews::HasLeader { state: PeerState::Observing, leader: ServerId(3) };
    assert_eq!(world.take()[0], told(leads));
}

/// Packets that came before the end of the connection count.
#[test]
fn a_learner_looks_again_when_its_leader_is_gone() {
    let mut world = World::looking();
    world.on(MemberEvent::Elected { state: PeerState::Following, leader: ServerId(3) });
    world.take();
    world.on(MemberEvent::LeaderConnected { attempt: 1, conn: LEADER, address: ADDRESS });
    let (packets, rest) = world.sent(LEADER);
    assert!(matches!(packets[..], [Packet::FollowerInfo(_)]), "{packets:?}");
    assert_eq!(rest, []);
    let protocol = LearnerInfo::PROTOCOL;
    world.member.on_bytes(LEADER, &wire(&[Packet::LeaderInfo { epoch: 1, protocol }]));
    world.member.on_gone(LEADER, "it has closed the connection".into());
    world.run();
    let taken = world.take();
    assert!(taken.contains(&MemberEffect::StoreAcceptedEpoch { epoch: 1 }), "{taken:?}");
    assert!(taken.contains(&MemberEffect::EndRole), "{taken:?}");
    let is_look = |effect: &MemberEffect| matches!(effect, MemberEffect::Look { .. });
    assert!(!taken.iter().any(is_look), "the disk is at work");
    world.on(MemberEvent::AcceptedEpoch(1));
    assert_eq!(world.take(), [look(Zxid::ZERO, 0)]);
    assert_eq!(world.member.server().accepted_epoch, 1, "it is promised all the same");
}

#[test]
fn bytes_that_are_no_packet_end_the_connection_of_a_learner() {
    let mut world = World::leading();
    world.on(MemberEvent::LearnerConnected { conn: LEARNER, address: ADDRESS });
    world.on_packets(LEARNER, &[Packet::FollowerInfo(info(2))]);
    world.take();
    world.on_bytes(LEARNER, &[0x7f; 64]);
    let taken = world.take();
    let [MemberEffect::Tell(MemberNews::LearnerGone { peer: gone, .. }), close] = &taken[..] else {
        panic!("{taken:?}");
    };
    assert_eq!((gone, close), (&peer(Some(2)), &MemberEffect::Close { conn: LEARNER }));
    assert_eq!(gone.to_string(), "server 2 (127.0.0.1:2888)");
    world.on_bytes(LEARNER, &[0x7f; 64]);
    assert_eq!(world.take(), []);
}

#[test]
fn a_stranger_is_closed_by_the_leader() {
    let mut world = World::leading();
    world.on(MemberEvent::LearnerConnected { conn: LEARNER, address: ADDRESS });
    world.on_packets(LEARNER, &[Packet::FollowerInfo(info(9))]);
    let taken = world.take();
    let [MemberEffect::Tell(MemberNews::LearnerClosed { peer: gone, .. }), close] = &taken[..]
    else {
        panic!("{taken:?}");
    };
    assert_eq!((gone, close), (&peer(Some(9)), &MemberEffect::Close { conn: LEARNER }));
}

/// While the disk is at work the leader's packets wait: first here, then in the connection.
#[test]
fn what_is_not_taken_pauses_the_connection() {
    let mut world = World::learning();
    let protocol = LearnerInfo::PROTOCOL;
    world.on_packets(LEADER, &[Packet::LeaderInfo { epoch: 1, protocol }]);
    assert_eq!(world.take(), [MemberEffect::StoreAcceptedEpoch { epoch: 1 }]);
    world.on_packets(LEADER, &[Packet::Diff { zxid: Zxid::ZERO }]);
    let long = Packet::Unknown { kind: 99 };
    let pings = wire(&vec![long; 1 << 12]);
    while world.effects.is_empty() {
        world.on_bytes(LEADER, &pings);
    }
    let pause = |is_paused| MemberEffect::Pause { conn: LEADER, is_paused };
    assert_eq!(world.take(), [pause(true)]);
    world.on_bytes(LEADER, &pings);
    assert_eq!(world.take(), [], "it is paused");
    world.on(MemberEvent::AcceptedEpoch(1));
    let (packets, rest) = world.sent(LEADER);
    assert!(matches!(packets[..], [Packet::AckEpoch { .. }]), "{packets:?}");
    assert_eq!(rest, [pause(false)]);
}

#[test]
fn packets_wait_for_room_in_the_log() {
    let mut world = World::learning();
    accept_epoch(&mut world, 1);
    let [first, second] = [1, 2].map(|counter| Zxid::new(1, counter));
    world.on_packets(LEADER, &[Packet::Diff { zxid: second }]);
    world.room = DATA_BYTES_MAX as u64;
    let proposal = |zxid| Packet::Proposal { zxid, record: record(zxid) };
    world.on_packets(LEADER, &[proposal(first), proposal(second)]);
    assert_eq!(world.quorum.last_logged(), Zxid::ZERO);
    assert!(!world.member.has_work(), "what it waits for is told");
    assert!(!world.member.is_due(&world.quorum, world.room, world.now));
    // For one of them.
    world.room = 2 * DATA_BYTES_MAX as u64;
    assert!(world.member.is_due(&world.quorum, world.room, world.now));
    world.run();
    assert_eq!(world.quorum.last_logged(), second);
}

/// A role lives on what brings nothing to the log: it ends by no lack of room.
#[test]
fn without_room_acknowledgements_and_answers_to_pings_are_taken() {
    let mut world = World::serving();
    world.room = 0;
    for _ in 0..20 {
        world.pass_a_tick();
        world.on_packets(LEARNER, &[Packet::Pong { zxid: Zxid::new(1, 0), touched: vec![] }]);
        let ended = world.take().into_iter().find(|effect| matches!(effect, MemberEffect::Tell(_)));
        assert_eq!(ended, None);
    }
}

/// One who sends without end does not keep the others waiting.
#[test]
fn learners_are_taken_in_turn() {
    let mut world = World::leading();
    for conn in [8, 9, 10].map(PeerConn) {
        world.on(MemberEvent::LearnerConnected { conn, address: ADDRESS });
    }
    world.take();
    world.packets_max = 4;
    let many = wire(&vec![Packet::Unknown { kind: 99 }; 64]);
    world.member.on_bytes(PeerConn(8), &wire(&[Packet::FollowerInfo(info(2))]));
    world.member.on_bytes(PeerConn(8), &many);
    world.member.on_bytes(PeerConn(10), &wire(&[Packet::FollowerInfo(info(9))]));
    world.step();
    assert!(world.member.has_work(), "time was over");
    world.step();
    let closed = MemberEffect::Close { conn: PeerConn(10) };
    assert!(world.effects.contains(&closed), "{:?}", world.effects);
}

/// What had no room is offered again before anything else, and packets after the tree are packets.
#[test]
fn a_tree_is_passed_on_in_order_and_packets_follow_it() {
    let mut world = World::with(MemberSettings { is_lost: true, ..settings() });
    world.learn();
    accept_epoch(&mut world, 1);
    let zxid = Zxid::new(0, 5);
    let mut bytes = wire(&[Packet::Snap { zxid }]);
    bytes.extend_from_slice(b"the tr");
    world.on_bytes(LEADER, &bytes);
    let comes = [told(MemberNews::TreeComes { zxid }), MemberEffect::ReceiveTree { zxid }];
    assert_eq!(world.take(), comes);
    let mut came = Vec::new();
    world.member.pass_on_tree(Err);
    world.run();
    let pause = |is_paused| MemberEffect::Pause { conn: LEADER, is_paused };
    assert_eq!(world.take(), [pause(true)]);
    let new_leader = wire(&[Packet::NewLeader { zxid: Zxid::new(1, 0), config: None }]);
    world.on_bytes(LEADER, &[b"ee", &new_leader[..3]].concat());
    let mut take = |piece: Vec<u8>| {
        came.extend(piece);
        Ok(())
    };
    world.member.pass_on_tree(&mut take);
    world.member.pass_on_tree(&mut take);
    assert_eq!(came, [b"the tree", &new_leader[..3]].concat());
    world.run();
    assert_eq!(world.take(), [pause(false)]);
    world.member.on_tree_bytes(8, true, &mut world.quorum, &world.tree, world.now);
    // One piece was offered in vain, one came after that.
    world.member.on_bytes(LEADER, &new_leader[3..5]);
    world.member.pass_on_tree(Err);
    world.member.on_bytes(LEADER, &new_leader[5..]);
    world.run();
    world.take();
    world.on(MemberEvent::TreeReceived { rest: new_leader[..3].to_vec() });
    assert_eq!(world.take(), [MemberEffect::TakeTree]);
    world.tree.set_last_zxid(zxid);
    world.tree.set_whole_at(Zxid::MAX);
    world.on(MemberEvent::TreeTaken(zxid));
    assert_eq!(world.take().last(), Some(&MemberEffect::StoreCurrentEpoch { epoch: 1 }));
    world.on(MemberEvent::CurrentEpoch(1));
    // The tree may be of no single moment, and so may the snapshot of it on the disk: as soon as
    // that is over there is to be one of its own.
    assert_eq!(world.snapshots, 0);
    world.on_packets(LEADER, &[Packet::UpToDate]);
    assert_eq!((world.snapshots, world.tree.is_whole()), (1, true));
    // Its vote counts again.
    world.member.on_gone(LEADER, String::new());
    world.run();
    assert_eq!(world.take().last(), Some(&look(zxid, 1)));
}

/// The next leader is asked for the tree as well.
#[test]
fn a_tree_that_does_not_come_whole_ends_the_role() {
    let mut world = World::learning();
    accept_epoch(&mut world, 1);
    world.on_packets(LEADER, &[Packet::Snap { zxid: Zxid::new(0, 5) }]);
    world.take();
    world.on(MemberEvent::TreeLost { why: "cut".into() });
    let taken = world.take();
    assert_eq!(taken[0], told(MemberNews::TreeLost { why: "cut".into() }));
    world.pass(1_000);
    assert_eq!(world.take().last(), Some(&look(Zxid::ZERO, 0)));
    world.on(MemberEvent::TreeLost { why: "of an earlier life".into() });
    assert_eq!(world.take(), []);
}

#[test]
fn a_tree_that_is_not_stored_ends_the_role() {
    let mut world = World::learning();
    accept_epoch(&mut world, 1);
    world.on_packets(LEADER, &[Packet::Snap { zxid: Zxid::new(0, 5) }]);
    world.on(MemberEvent::TreeReceived { rest: Vec::new() });
    assert_eq!(world.take().last(), Some(&MemberEffect::TakeTree));
    world.on(MemberEvent::TreeNotTaken { why: "no space".into() });
    world.pass(1_000);
    assert_eq!(world.take().last(), Some(&look(Zxid::ZERO, 0)));
}

/// A full disk loses each tree: the leader does not send one after the other without a pause.
#[test]
fn a_server_that_loses_trees_rests_longer_each_time() {
    let mut world = World::looking();
    for (epoch, rest) in (1..).zip([1_000, 2_000, 4_000, 8_000, 8_000]) {
        world.learn();
        accept_epoch(&mut world, epoch);
        world.on_packets(LEADER, &[Packet::Snap { zxid: Zxid::new(0, 5) }]);
        world.on(MemberEvent::TreeLost { why: "no space".into() });
        world.pass(rest - 1);
        assert!(!world.take().contains(&look(Zxid::ZERO, 0)), "looks before {rest} ms are over");
        world.pass(1);
        assert_eq!(world.take(), [look(Zxid::ZERO, 0)]);
    }
}

/// The role may be over when the disk has done it: log and tree are the new ones all the same.
#[test]
fn the_log_is_cut_even_if_the_leader_is_gone() {
    let mut world = World::learning();
    accept_epoch(&mut world, 1);
    world.on_packets(LEADER, &[Packet::Trunc { zxid: Zxid::ZERO }]);
    let cut = told(MemberNews::IsCut { to: Zxid::ZERO });
    assert_eq!(world.take(), [cut, MemberEffect::Truncate { to: Zxid::ZERO }]);
    world.member.on_gone(LEADER, "it has crashed".into());
    world.run();
    assert_eq!(world.take().last(), Some(&MemberEffect::EndRole));
    world.on(MemberEvent::Truncated(Zxid::ZERO));
    assert_eq!(world.take(), [look(Zxid::ZERO, 0)]);
}

#[test]
fn a_log_that_cannot_be_cut_wants_a_tree() {
    let mut world = World::learning();
    accept_epoch(&mut world, 1);
    world.on_packets(LEADER, &[Packet::Trunc { zxid: Zxid::ZERO }]);
    world.take();
    world.on(MemberEvent::CannotTruncate { to: Zxid::ZERO, why: "a gap".into() });
    assert_eq!(world.take().last(), Some(&look(Zxid::ZERO, 0)), "its vote counts");
    world.on(MemberEvent::Elected { state: PeerState::Following, leader: ServerId(3) });
    world.on(MemberEvent::LeaderConnected { attempt: 2, conn: PeerConn(9), address: ADDRESS });
    world.take();
    let protocol = LearnerInfo::PROTOCOL;
    world.on_packets(PeerConn(9), &[Packet::LeaderInfo { epoch: 1, protocol }]);
    let (packets, _) = world.sent(PeerConn(9));
    assert_eq!(packets, [Packet::AckEpoch { zxid: Zxid::UNKNOWN, current_epoch: -1 }]);
}

/// An answer about the log comes when the role that has asked is over.
#[test]
fn an_answer_of_the_disk_is_waited_for() {
    let mut world = World::leading();
    world
        .member
        .on_lead(LeadEffect::AskLog { of: LearnerConn(8), peer: Zxid::new(1, 1) }, &world.quorum);
    world.pass(INIT_MS);
    assert_eq!(world.take().last(), Some(&MemberEffect::EndRole));
    let reach = LogReach { floor: None, next: None, is_too_long: false };
    world.on(MemberEvent::LogReach(LearnerConn(8), reach));
    assert_eq!(world.take(), [look(Zxid::ZERO, 0)]);
}

/// Others lead if they can. It stands for election again when it can log, or where nobody else is
/// elected.
#[test]
fn a_member_with_a_full_disk_leaves_it_to_others_to_lead() {
    let full = || {
        let mut world = World::learning();
        world.member.on_disk_space(true);
        world.member.on_gone(LEADER, "it has closed the connection".into());
        world.run();
        let yields = MemberEffect::Look { zxid: Zxid::ZERO, epoch: 0, stands: false };
        assert_eq!(world.take().last(), Some(&yields));
        world
    };
    let mut world = full();
    world.pass(YIELD_MS - 1);
    assert_eq!(world.take(), []);
    world.pass(1);
    assert_eq!(world.take(), [look(Zxid::ZERO, 0)]);
    world.pass(10 * YIELD_MS);
    assert_eq!(world.take(), [], "once");
    let mut world = full();
    world.member.on_disk_space(false);
    world.run();
    assert_eq!(world.take(), [look(Zxid::ZERO, 0)]);
}
