//! The election by single situations, and in worlds of servers whose messages are late or lost.

mod any_packets;
mod links;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use super::*;
use crate::packet::{Notification, PeerState};
use crate::splitmix;
use crate::zxid::Zxid;

fn ids(ids: impl IntoIterator<Item = i64>) -> BTreeSet<ServerId> {
    ids.into_iter().map(ServerId).collect()
}

fn members(voters: i64, observers: i64) -> Members {
    let observers = ids(voters + 1..=voters + observers);
    Members::new(ids(1..=voters), observers, QuorumSet::Majority, Zxid::ZERO, Bytes::new()).unwrap()
}

fn groups(of: &[(i64, i64)], weights: &[(i64, u64)]) -> Result<Members, MembersError> {
    let group_of = of.iter().map(|(id, group)| (ServerId(*id), *group)).collect();
    let weights = weights.iter().map(|(id, weight)| (ServerId(*id), *weight)).collect();
    let voters = ids(of.iter().map(|(id, _)| *id));
    let quorums = QuorumSet::Groups { group_of, weights };
    Members::new(voters, BTreeSet::new(), quorums, Zxid::ZERO, Bytes::new())
}

#[test]
fn majorities_and_groups_are_quorums() {
    let of = |members: &Members, has: &[i64]| members.is_quorum(|id| has.contains(&id.0));
    let three = members(3, 1);
    assert!(of(&three, &[1, 3]) && !of(&three, &[1]) && !of(&three, &[1, 4]));
    let four = members(4, 0);
    assert!(of(&four, &[1, 2, 3]) && !of(&four, &[1, 2]));
    let nine: Vec<(i64, i64)> = (1..=9).map(|id| (id, (id - 1) / 3)).collect();
    let nine = groups(&nine, &[]).unwrap();
    assert!(of(&nine, &[1, 2, 4, 5]) && !of(&nine, &[1, 2, 3, 4, 7]));
    // The third group has no weight: both others are needed.
    let weighted: Vec<(i64, i64)> = (1..=6).map(|id| (id, (id - 1) / 2)).collect();
    let weighted = groups(&weighted, &[(5, 0), (6, 0), (1, 3)]).unwrap();
    assert!(of(&weighted, &[1, 3, 4]) && !of(&weighted, &[2, 3, 4]) && !of(&weighted, &[1, 3]));
    assert!(!weighted.may_lead(ServerId(5)) && weighted.may_lead(ServerId(2)));
    assert_eq!(groups(&[(1, 0)], &[(1, 0)]), Err(MembersError::NoWeight));
    assert_eq!(groups(&[(1, 0)], &[(2, 0)]), Err(MembersError::NoSuchVoter(ServerId(2))));
}

/// Any two quorums share a voter: over all pairs of subsets of small ensembles.
#[test]
fn two_quorums_share_a_voter() {
    let six: Vec<(i64, i64)> = (1..=6).map(|id| (id, id % 3)).collect();
    let sets = [
        members(5, 0),
        members(6, 0),
        groups(&six, &[]).unwrap(),
        groups(&six, &[(1, 2), (2, 0), (3, 5)]).unwrap(),
    ];
    for members in sets {
        let has = |set: u32| move |id: ServerId| set >> (id.0 - 1) & 1 == 1;
        let quorums: Vec<u32> = (0..64).filter(|set| members.is_quorum(has(*set))).collect();
        assert!(!quorums.is_empty());
        for (one, other) in quorums.iter().flat_map(|one| quorums.iter().map(move |o| (one, o))) {
            let shared = one & other;
            assert!(members.voters().any(|id| has(shared)(id)), "{one:b} and {other:b}");
        }
    }
}

fn looking(leader: i64, zxid: Zxid, round: i64, epoch: i64) -> Notification {
    said(PeerState::Looking, leader, zxid, round, epoch)
}

fn said(state: PeerState, leader: i64, zxid: Zxid, round: i64, epoch: i64) -> Notification {
    Notification { state, leader, zxid, round, peer_epoch: epoch, version: 2, config: Bytes::new() }
}

fn effects(election: &mut Election) -> Vec<ElectionEffect> {
    std::iter::from_fn(|| election.poll()).collect()
}

/// Server `me` of three voters, LOOKING since time 0 with nothing logged.
fn server(me: i64) -> Election {
    let mut election = Election::new(ServerId(me), members(3, 1), ElectionSettings::default());
    election.look(Zxid::ZERO, 0, 0);
    effects(&mut election);
    election
}

#[test]
fn epoch_then_zxid_then_id_wins() {
    let mut election = server(2);
    let votes = |election: &mut Election| {
        let sent = effects(election).into_iter().filter_map(|effect| match effect {
            ElectionEffect::Send { to, notification } => Some((to.0, notification.leader)),
            ElectionEffect::Elected { .. } | ElectionEffect::Voter { .. } => None,
        });
        sent.collect::<Vec<_>>()
    };
    // A worse one is answered, a better one taken over and told to all.
    election.on_notification(ServerId(1), &looking(1, Zxid::ZERO, 1, 0), 1);
    assert_eq!(votes(&mut election), [(1, 2)]);
    election.on_notification(ServerId(3), &looking(3, Zxid::ZERO, 1, 0), 1);
    assert_eq!(votes(&mut election), [(1, 3), (3, 3)]);
    election.on_notification(ServerId(1), &looking(1, Zxid::new(0, 5), 1, 0), 1);
    assert_eq!(votes(&mut election), [(1, 1), (3, 1)]);
    election.on_notification(ServerId(3), &looking(3, Zxid::new(0, 1), 1, 1), 1);
    assert_eq!(votes(&mut election), [(1, 3), (3, 3)]);
}

/// Apache's wait for better votes holds as long as an Apache server may have one.
#[test]
fn the_wait_is_short_among_ringkeepers_alone() {
    let ours = Peer { is_ringkeeper: true, is_unreachable: false };
    let gone = Peer { is_ringkeeper: false, is_unreachable: true };
    let theirs = Peer { is_ringkeeper: false, is_unreachable: false };
    for (one, three, waits_ms) in
        [(ours, theirs, 200), (theirs, gone, 200), (ours, ours, 20), (ours, gone, 0)]
    {
        let mut election = server(2);
        election.on_peer(ServerId(1), one, 5);
        election.on_peer(ServerId(3), three, 5);
        election.on_notification(ServerId(1), &looking(2, Zxid::ZERO, 1, 0), 10);
        if waits_ms > 0 {
            assert!(election.wakes_at().is_some_and(|at| at <= 10 + waits_ms));
            election.on_time(10 + waits_ms - 1);
            assert_eq!(election.state(), PeerState::Looking);
            election.on_time(10 + waits_ms);
        }
        assert_eq!(election.state(), PeerState::Leading);
    }
}

/// Both ends of a cut network may have been silent for a minute when it is whole again.
#[test]
fn voters_that_cannot_be_reached_are_tried_each_second() {
    let mut election = server(2);
    let gone = Peer { is_ringkeeper: true, is_unreachable: true };
    election.on_peer(ServerId(1), gone, 0);
    let mut last_ms = 0;
    for _ in 0..200 {
        let at = election.wakes_at().unwrap();
        assert!(at - last_ms <= 1_000, "{last_ms} {at}");
        election.on_time(at);
        let sent = effects(&mut election);
        assert!(matches!(sent[0], ElectionEffect::Send { to: ServerId(1), .. }), "{sent:?}");
        last_ms = at;
    }
    assert!(last_ms > 60_000, "{last_ms}");
}

/// A server that comes late joins the ensemble that there is, whatever the rounds and zxids in
/// its votes (S52: ZOOKEEPER-1732, ZOOKEEPER-1805), and only if the leader itself says so.
#[test]
fn s52_a_late_server_joins_the_established_ensemble() {
    let mut election = server(3);
    let following = said(PeerState::Following, 2, Zxid::new(1, 7), 5, 4);
    let leading = said(PeerState::Leading, 2, Zxid::new(1, 9), 6, 4);
    election.on_notification(ServerId(1), &following, 1);
    assert_eq!(election.state(), PeerState::Looking);
    election.on_notification(ServerId(2), &Notification { peer_epoch: 3, ..leading.clone() }, 1);
    assert_eq!(election.state(), PeerState::Looking, "the epochs differ");
    election.on_notification(ServerId(2), &leading, 1);
    assert_eq!((election.state(), election.round()), (PeerState::Following, 6));
}

/// Both survivors still name the leader that is lost: nobody follows it.
#[test]
fn a_leader_that_does_not_say_so_is_not_followed() {
    let mut election = server(3);
    for from in [1, 2] {
        election.on_notification(ServerId(from), &said(PeerState::Following, 2, Zxid(9), 1, 1), 1);
    }
    assert_eq!(election.state(), PeerState::Looking);
}

/// An observer is answered at once, but not again and again (observed: 17 rounds in 450 ms), and
/// it hears when the election ends.
#[test]
fn an_observer_is_answered_and_told_the_end() {
    let mut election = server(2);
    let asks = said(PeerState::Looking, Notification::NOBODY, Zxid(i64::MIN), 1, i64::MIN);
    for at in 0..50 {
        election.on_notification(ServerId(4), &asks, at);
    }
    assert_eq!(effects(&mut election).len(), 1);
    election.on_notification(ServerId(1), &looking(2, Zxid::ZERO, 1, 0), 60);
    election.on_time(500);
    let last = effects(&mut election).pop();
    let Some(ElectionEffect::Send { to: ServerId(4), notification }) = last else {
        panic!("{last:?}")
    };
    assert_eq!((notification.state, notification.leader), (PeerState::Leading, 2));
}

/// A server that is not in the membership costs bounded memory, and gets no vote counted (B29).
/// A voter that lies about the round makes it the last one, or one that no server has: the others
/// go on looking all the same.
#[test]
fn rounds_of_a_liar_stop_nobody() {
    let last = Zxid::new(1, 1);
    for round in [i64::MAX, i64::MIN, -1, 0] {
        let mut election = server(1);
        election.look(last, 1, 0);
        let lie = looking(2, last, round, 1);
        election.on_notification(ServerId(2), &lie, 0);
        let leads = |state| said(state, 3, last, round, 1);
        election.on_notification(ServerId(2), &leads(PeerState::Following), 0);
        election.on_notification(ServerId(3), &leads(PeerState::Leading), 0);
        assert_eq!(election.state(), PeerState::Following, "round {round}");
        election.look(last, 1, 0);
        assert!(election.round() > 0, "round {round}");
        effects(&mut election);
        let vote = looking(3, last, election.round(), 1);
        election.on_notification(ServerId(3), &vote, 0);
        election.on_notification(ServerId(2), &vote, 0);
        election.on_time(100_000);
        assert_eq!(election.state(), PeerState::Following, "round {round}");
    }
}

/// It takes over what others vote for, and is elected by nobody.
#[test]
fn a_server_that_does_not_stand_elects_another() {
    let last = Zxid::new(1, 9);
    let mut election = server(3);
    election.stand(false);
    election.look(last, 1, 0);
    assert_eq!(election.vote(), Vote::none());
    let round = election.round();
    election.on_notification(ServerId(1), &looking(3, last, round, 1), 0);
    election.on_notification(ServerId(2), &looking(2, Zxid::new(1, 8), round, 1), 0);
    assert_eq!(election.vote().leader, ServerId(2));
    election.on_notification(ServerId(1), &looking(2, Zxid::new(1, 8), round, 1), 0);
    election.on_time(100_000);
    assert_eq!((election.state(), election.vote().leader), (PeerState::Following, ServerId(2)));
    election.stand(true);
    election.look(last, 1, 0);
    assert_eq!(election.vote().leader, ServerId(3));
}

#[test]
fn strangers_change_nothing() {
    let mut election = server(2);
    for from in 0..100_000 {
        let vote = looking(9, Zxid::new(9, 9), 77, 9);
        election.on_notification(ServerId(1000 + from), &vote, 1);
    }
    assert_eq!((election.round(), election.vote().leader), (1, ServerId(2)));
    assert!(effects(&mut election).len() <= 256);
}

/// Servers whose messages are late or lost, until faults end. What comes after an election is
/// played by its rules alone: who follows looks again if its leader does not lead, who leads does
/// if no quorum follows.
struct World {
    random: u64,
    now_ms: i64,
    servers: BTreeMap<ServerId, Server>,
    members: Members,
    /// In flight on each way: a later message never overtakes an earlier one.
    ways: BTreeMap<(ServerId, ServerId), VecDeque<(i64, Notification)>>,
    cut: BTreeSet<(ServerId, ServerId)>,
    is_calm: bool,
}

struct Server {
    election: Election,
    zxid: Zxid,
    epoch: i64,
    is_up: bool,
    since_ms: i64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = seed;
        let voters = [1, 2, 3, 3, 5, 7][splitmix::next(&mut random) as usize % 6];
        let members = members(voters, splitmix::next(&mut random) as i64 & 1);
        let mut world = Self {
            random,
            now_ms: 0,
            servers: BTreeMap::new(),
            members,
            ways: BTreeMap::new(),
            cut: BTreeSet::new(),
            is_calm: false,
        };
        for id in
            (1..=9).map(ServerId).filter(|id| world.members.is_member(*id)).collect::<Vec<_>>()
        {
            let election = Election::new(id, world.members.clone(), ElectionSettings::default());
            let (zxid, epoch) = (Zxid::new(1, world.pick(4) as u32), world.pick(3) as i64);
            let server = Server { election, zxid, epoch, is_up: false, since_ms: 0 };
            world.servers.insert(id, server);
        }
        world
    }

    fn pick(&mut self, below: u64) -> u64 {
        splitmix::next(&mut self.random) % below
    }

    fn step(&mut self) {
        self.now_ms += 5;
        let ids: Vec<ServerId> = self.servers.keys().copied().collect();
        for id in ids {
            self.disturb(id);
            self.look_again(id);
            self.deliver(id);
            let (random, calm) = (&mut self.random, self.is_calm);
            let server = self.servers.get_mut(&id).unwrap();
            if !server.is_up {
                continue;
            }
            server.election.on_time(self.now_ms);
            while let Some(effect) = server.election.poll() {
                match effect {
                    ElectionEffect::Elected { .. } => server.since_ms = self.now_ms,
                    ElectionEffect::Voter { .. } => {}
                    ElectionEffect::Send { to, notification } => {
                        let is_lost = !calm && splitmix::next(random).is_multiple_of(10);
                        let late_ms = splitmix::next(random) as i64 & if calm { 3 } else { 63 };
                        let way = self.ways.entry((id, to)).or_default();
                        let at = way.back().map_or(0, |(at, _)| *at).max(self.now_ms + late_ms);
                        if !is_lost && !self.cut.contains(&(id, to)) {
                            way.push_back((at, notification));
                        }
                    }
                }
            }
        }
    }

    /// Faults, while there are any: crashes, starts and cuts, one way or both.
    fn disturb(&mut self, id: ServerId) {
        let (dice, other) = (self.pick(400), ServerId(1 + self.pick(8) as i64));
        if self.is_calm {
            self.cut.clear();
        } else {
            match dice {
                0 => self.servers.get_mut(&id).unwrap().is_up = false,
                1 => drop(self.cut.insert((id, other))),
                2 => drop(self.cut.remove(&(id, other))),
                _ => {}
            }
        }
        let starts = self.is_calm || dice > 350;
        let server = self.servers.get_mut(&id).unwrap();
        if !server.is_up && starts {
            server.is_up = true;
            server.election = Election::new(id, self.members.clone(), ElectionSettings::default());
            server.election.look(server.zxid, server.epoch, self.now_ms);
        }
    }

    /// Discovery and its timeouts, in short.
    fn look_again(&mut self, id: ServerId) {
        let server = &self.servers[&id];
        let (state, leader) = (server.election.state(), server.election.vote().leader);
        let follows = |other: &Server| {
            other.is_up
                && other.election.state() != PeerState::Looking
                && other.election.vote().leader == id
        };
        let is_wrong = match state {
            PeerState::Looking => false,
            PeerState::Leading => {
                !self.members.is_quorum(|id| self.servers.get(&id).is_some_and(follows))
            }
            PeerState::Following | PeerState::Observing => {
                let leader = self.servers.get(&leader);
                !leader.is_some_and(|l| l.is_up && l.election.state() == PeerState::Leading)
            }
        };
        let patience_ms = if state == PeerState::Leading { 1_000 } else { 500 };
        if server.is_up && is_wrong && server.since_ms + patience_ms < self.now_ms {
            let (zxid, epoch) = (server.zxid, server.epoch);
            self.servers.get_mut(&id).unwrap().election.look(zxid, epoch, self.now_ms);
        }
    }

    fn deliver(&mut self, to: ServerId) {
        for ((from, receiver), way) in &mut self.ways {
            while *receiver == to && way.front().is_some_and(|(at, _)| *at <= self.now_ms) {
                let (_, message) = way.pop_front().unwrap();
                let server = self.servers.get_mut(&to).unwrap();
                if server.is_up {
                    server.election.on_notification(*from, &message, self.now_ms);
                }
            }
        }
    }

    /// The one leader of all, if that is what they say.
    fn leader(&self) -> Option<ServerId> {
        let leader = self.servers.values().next()?.election.vote().leader;
        let settled = self.servers.iter().all(|(id, server)| {
            let state = match () {
                _ if *id == leader => PeerState::Leading,
                _ if self.members.is_voter(*id) => PeerState::Following,
                _ => PeerState::Observing,
            };
            server.is_up
                && server.election.state() == state
                && server.election.vote().leader == leader
        });
        settled.then_some(leader)
    }
}

/// Once faults end, all servers agree on one leader and stay with it.
#[test]
fn worlds_come_to_one_leader() {
    for seed in 0..300 {
        let mut world = World::new(seed);
        (0..600).for_each(|_| world.step());
        world.is_calm = true;
        let settled = (0..4_000).find_map(|_| {
            world.step();
            world.leader()
        });
        let Some(leader) = settled else {
            let states = world.servers.iter().map(|(id, s)| {
                format!(
                    "{id}: {} {:?} round {}",
                    s.election.state(),
                    s.election.vote(),
                    s.election.round()
                )
            });
            panic!("seed {seed}: no leader; {}", states.collect::<Vec<_>>().join("; "));
        };
        (0..400).for_each(|_| world.step());
        assert_eq!(world.leader(), Some(leader), "seed {seed}: they do not stay with it");
    }
}

/// Members are told from Apache's by a comment in the membership.
#[test]
fn a_ringkeeper_says_so() {
    let mut election = server(2);
    election.on_notification(ServerId(1), &looking(1, Zxid::ZERO, 1, 0), 1);
    let sent = effects(&mut election).into_iter().find_map(|effect| match effect {
        ElectionEffect::Send { notification, .. } => Some(notification),
        ElectionEffect::Elected { .. } | ElectionEffect::Voter { .. } => None,
    });
    let sent = sent.unwrap();
    assert!(sent.is_of_ringkeeper() && sent.config.ends_with(b"\n#ringkeeper"));
    assert!(!looking(1, Zxid::ZERO, 1, 0).is_of_ringkeeper());
}
