//! The election by single situations, and in worlds of servers whose messages are late or lost.

mod any_packets;

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
fn a_late_server_joins_the_established_ensemble() {
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

fn notification(leader: i64) -> Notification {
    looking(leader, Zxid::ZERO, 1, 0)
}

fn link_effects(links: &mut Links) -> Vec<LinkEffect> {
    std::iter::from_fn(|| links.poll()).collect()
}

fn links(me: i64) -> Links {
    Links::new(ServerId(me), vec![format!("h{me}:3888")], members(3, 1), 1_000)
}

fn greeting(id: i64) -> Vec<u8> {
    let mut out = Vec::new();
    let addresses = vec![format!("h{id}:3888")];
    crate::packet::Greeting { server_id: id, addresses }.write(&mut out);
    out
}

fn caller(ids: &[i64]) -> Caller {
    Caller { members: ids.iter().copied().map(ServerId).collect() }
}

/// The connection of the larger id lives: the smaller one greets, hangs up, and is dialled back.
#[test]
fn the_larger_id_dials() {
    let (conn, back) = (VoteConn(1), VoteConn(2));
    let mut small = links(1);
    small.send(ServerId(2), &notification(1));
    assert_eq!(link_effects(&mut small), [LinkEffect::Dial { to: ServerId(2) }]);
    small.on_dialled(ServerId(2), conn, 0);
    let close = LinkEffect::Close { conn, why: CloseLink::Smaller };
    let greets = LinkEffect::Send { conn, bytes: greeting(1).into() };
    assert_eq!(link_effects(&mut small), [greets, close.clone()]);

    let mut large = links(2);
    large.on_accepted(conn, caller(&[1]), 0);
    large.on_bytes(conn, &greeting(1)[..7]);
    assert_eq!(link_effects(&mut large), []);
    large.on_bytes(conn, &greeting(1)[7..]);
    assert_eq!(link_effects(&mut large), [close, LinkEffect::Dial { to: ServerId(1) }]);
    large.on_dialled(ServerId(1), back, 0);

    // What was to be sent goes over the connection that came back.
    small.on_accepted(back, caller(&[2]), 0);
    small.on_bytes(back, &greeting(2));
    let sent = link_effects(&mut small);
    assert!(matches!(&sent[..], [LinkEffect::Send { conn, .. }] if *conn == back), "{sent:?}");
}

/// What was sent over a connection that is lost is said again over the next one: the sender may
/// have nothing new to say for a minute.
#[test]
fn a_lost_connection_is_dialled_again() {
    let (conn, next) = (VoteConn(1), VoteConn(2));
    let mut large = links(2);
    large.send(ServerId(1), &notification(2));
    large.on_dialled(ServerId(1), conn, 0);
    link_effects(&mut large);
    large.on_closed(conn, 5_000);
    assert_eq!(link_effects(&mut large), [LinkEffect::Dial { to: ServerId(1) }]);
    large.on_dialled(ServerId(1), next, 5_000);
    let sent = link_effects(&mut large);
    let on_next =
        |effect: &LinkEffect| matches!(effect, LinkEffect::Send { conn, .. } if *conn == next);
    assert_eq!(sent.iter().filter(|effect| on_next(effect)).count(), 2, "{sent:?}");
    // Where nobody answers it waits until there is something to say.
    large.on_closed(next, 10_000);
    large.on_dial_failed(ServerId(1));
    link_effects(&mut large);
    large.on_closed(next, 15_000);
    assert_eq!((link_effects(&mut large), large.wakes_at()), (vec![], None));
}

/// Somebody who hangs up at once, each time, is dialled once in a second in the end.
#[test]
fn connections_that_do_not_last_are_dialled_ever_more_rarely() {
    let mut large = links(2);
    large.send(ServerId(1), &notification(2));
    link_effects(&mut large);
    let (mut now_ms, mut dials) = (0, 0);
    while now_ms < 60_000 {
        dials += 1;
        let conn = VoteConn(dials);
        large.on_dialled(ServerId(1), conn, now_ms);
        large.on_closed(conn, now_ms);
        assert!(!link_effects(&mut large).contains(&LinkEffect::Dial { to: ServerId(1) }));
        // Something new to say makes it no sooner.
        large.send(ServerId(1), &notification(2));
        assert_eq!(link_effects(&mut large), []);
        now_ms = large.wakes_at().unwrap();
        large.on_time(now_ms);
        assert_eq!(link_effects(&mut large), [LinkEffect::Dial { to: ServerId(1) }]);
    }
    assert!((60..80).contains(&dials), "{dials}");
}

/// A smaller id that has lost its connection looks whether anybody is there. A Ringkeeper is
/// greeted only if it does not dial, anybody else at once (`receiveConnection` warns of who says
/// nothing).
#[test]
fn the_smaller_id_waits_to_be_dialled_again() {
    let (conn, probe, back) = (VoteConn(1), VoteConn(2), VoteConn(3));
    let lost = |is_ringkeeper| {
        let mut small = links(1);
        let mut said = notification(2);
        if is_ringkeeper {
            said.config = Notification::config_of_ringkeeper(&said.config);
        }
        let mut bytes = Vec::new();
        said.write(&mut bytes);
        small.send(ServerId(2), &notification(1));
        small.on_accepted(conn, caller(&[2]), 0);
        small.on_bytes(conn, &greeting(2));
        small.on_bytes(conn, &bytes);
        link_effects(&mut small);
        small.on_dialled(ServerId(2), VoteConn(9), 1);
        let hangs_up = LinkEffect::Close { conn: VoteConn(9), why: CloseLink::Smaller };
        assert_eq!(link_effects(&mut small), [hangs_up], "it is connected: no greeting");
        small.on_closed(conn, 5_000);
        assert_eq!(link_effects(&mut small), [LinkEffect::Dial { to: ServerId(2) }]);
        small
    };
    let mut small = lost(false);
    small.on_dialled(ServerId(2), probe, 5_000);
    assert!(matches!(link_effects(&mut small)[0], LinkEffect::Send { conn, .. } if conn == probe));
    assert_eq!(small.wakes_at(), None, "its answer is awaited");

    let mut small = lost(true);
    small.on_dialled(ServerId(2), probe, 5_000);
    let why = CloseLink::Smaller;
    assert_eq!(link_effects(&mut small), [LinkEffect::Close { conn: probe, why }]);
    small.on_time(small.wakes_at().unwrap());
    assert_eq!(link_effects(&mut small), [LinkEffect::Dial { to: ServerId(2) }]);
    small.on_dialled(ServerId(2), probe, 5_100);
    assert!(matches!(link_effects(&mut small)[0], LinkEffect::Send { conn, .. } if conn == probe));

    let mut small = lost(true);
    small.on_dialled(ServerId(2), probe, 5_000);
    small.on_accepted(back, caller(&[2]), 5_001);
    small.on_bytes(back, &greeting(2));
    link_effects(&mut small);
    small.on_time(60_000);
    assert_eq!((link_effects(&mut small), small.wakes_at()), (vec![], None));
}

/// Two servers that begin, or lose their connection, at the same time: however their dials cross,
/// they come to one connection, after a few.
#[test]
fn crossing_dials_come_to_one_connection() {
    for seed in 0..2_000 {
        let mut wire = Wire::new(seed);
        for round in 0..3 {
            wire.dials = 0;
            for me in [1, 2] {
                wire.links[me].send(ServerId(3 - me as i64), &notification(me as i64));
            }
            wire.run();
            assert!(wire.dials <= 12, "seed {seed}, round {round}: {} dials", wire.dials);
            for me in [1, 2] {
                wire.links[me].send(ServerId(3 - me as i64), &notification(me as i64));
                let sent = link_effects(&mut wire.links[me]);
                assert!(matches!(sent[..], [LinkEffect::Send { .. }]), "seed {seed}: {sent:?}");
            }
            // Whatever there is breaks, after it has lasted or before.
            wire.now_ms += [10, 10_000][round & 1];
            wire.break_all();
        }
    }
}

/// Two servers and what is on the way between them: late, and in order on each connection.
struct Wire {
    random: u64,
    now_ms: i64,
    /// By id; the first is not used.
    links: [Links; 3],
    /// When, at whom, what. Invariant: of one connection and server in order.
    on_the_way: VecDeque<(i64, usize, VoteConn, OnWire)>,
    /// Until when each connection's last arrival is at each server.
    last_ms: BTreeMap<(VoteConn, usize), i64>,
    ended: BTreeSet<(VoteConn, usize)>,
    dials: u64,
    conns: u64,
}

#[derive(Debug)]
enum OnWire {
    Dialled,
    Accepted,
    Bytes(Bytes),
    Closed,
}

impl Wire {
    fn new(seed: u64) -> Self {
        Self {
            random: seed,
            now_ms: 0,
            links: [links(3), links(1), links(2)],
            on_the_way: VecDeque::new(),
            last_ms: BTreeMap::new(),
            ended: BTreeSet::new(),
            dials: 0,
            conns: 0,
        }
    }

    fn put(&mut self, at: usize, conn: VoteConn, what: OnWire) {
        let late_ms = (splitmix::next(&mut self.random) % 8) as i64;
        let last_ms = self.last_ms.entry((conn, at)).or_default();
        *last_ms = (self.now_ms + late_ms).max(*last_ms);
        let when = *last_ms;
        let place = self.on_the_way.partition_point(|(at, ..)| *at <= when);
        self.on_the_way.insert(place, (when, at, conn, what));
    }

    /// Until nothing is on the way and nobody waits.
    fn run(&mut self) {
        loop {
            (1..=2).for_each(|me| self.carry_out(me));
            let wakes = (1..=2).filter_map(|me| self.links[me].wakes_at()).min();
            let arrives = self.on_the_way.front().map(|(when, ..)| *when);
            let Some(next_ms) = wakes.into_iter().chain(arrives).min() else { return };
            self.now_ms = self.now_ms.max(next_ms);
            if let Some((_, at, conn, what)) =
                self.on_the_way.pop_front_if(|(when, ..)| *when <= self.now_ms)
            {
                self.arrive(at, conn, what);
            }
            (1..=2).for_each(|me| self.links[me].on_time(self.now_ms));
        }
    }

    fn arrive(&mut self, at: usize, conn: VoteConn, what: OnWire) {
        if self.ended.contains(&(conn, at)) {
            return;
        }
        let other = ServerId(3 - at as i64);
        let links = &mut self.links[at];
        match what {
            OnWire::Dialled => links.on_dialled(other, conn, self.now_ms),
            OnWire::Accepted => {
                links.on_accepted(conn, Caller { members: vec![other] }, self.now_ms);
            }
            OnWire::Bytes(bytes) => links.on_bytes(conn, &bytes),
            OnWire::Closed => {
                self.ended.insert((conn, at));
                links.on_closed(conn, self.now_ms);
            }
        }
    }

    fn carry_out(&mut self, me: usize) {
        while let Some(effect) = self.links[me].poll() {
            match effect {
                LinkEffect::Dial { .. } => {
                    self.dials += 1;
                    self.conns += 1;
                    let conn = VoteConn(self.conns);
                    self.put(3 - me, conn, OnWire::Accepted);
                    self.put(me, conn, OnWire::Dialled);
                }
                LinkEffect::Send { conn, bytes } => self.put(3 - me, conn, OnWire::Bytes(bytes)),
                LinkEffect::Close { conn, .. } => {
                    self.ended.insert((conn, me));
                    self.put(3 - me, conn, OnWire::Closed);
                }
                LinkEffect::Received { .. } | LinkEffect::Peer { .. } => {}
            }
        }
    }

    fn break_all(&mut self) {
        for conn in (1..=self.conns).map(VoteConn) {
            [1, 2].into_iter().for_each(|at| self.put(at, conn, OnWire::Closed));
        }
    }
}

/// Whoever is no member, or calls itself one from elsewhere, gets nothing and takes nothing down
/// (B29).
#[test]
fn strangers_take_no_connection_down() {
    let mut large = links(2);
    let live = VoteConn(1);
    large.on_accepted(live, caller(&[3]), 0);
    large.on_bytes(live, &greeting(3));
    link_effects(&mut large);
    for (number, id, from) in
        [(2, 9, caller(&[])), (3, 3, caller(&[])), (4, 1, caller(&[3])), (5, 2, caller(&[2]))]
    {
        let conn = VoteConn(number);
        large.on_accepted(conn, from, 0);
        large.on_bytes(conn, &greeting(id));
        let why = CloseLink::Stranger { id };
        assert_eq!(link_effects(&mut large), [LinkEffect::Close { conn, why }]);
    }
    large.send(ServerId(3), &notification(3));
    let sent = link_effects(&mut large);
    assert!(matches!(&sent[..], [LinkEffect::Send { conn, .. }] if *conn == live), "{sent:?}");
}

/// Callers that say nothing are bounded in number and time; bad lengths end a connection, bad
/// messages do not (S50: ZOOKEEPER-3769).
#[test]
fn hostile_bytes_end_their_own_connection_at_most() {
    let mut links = links(2);
    for number in 0..1_000 {
        links.on_accepted(VoteConn(number), caller(&[3]), 0);
    }
    let closed = link_effects(&mut links);
    let oldest = LinkEffect::Close { conn: VoteConn(0), why: CloseLink::Silent };
    assert_eq!((closed.len(), &closed[0]), (936, &oldest));
    // A server that comes among them is heard.
    links.on_bytes(VoteConn(999), &greeting(3));
    assert_eq!(links.server_at(VoteConn(999)), Some(ServerId(3)));
    assert_eq!((links.server_at(VoteConn(998)), links.wakes_at()), (None, Some(1_000)));
    link_effects(&mut links);
    links.on_time(1_000);
    assert_eq!((link_effects(&mut links).len(), links.wakes_at()), (63, None));
    let conn = VoteConn(5_000);
    links.on_accepted(conn, caller(&[3]), 0);
    links.on_bytes(conn, &greeting(3));
    link_effects(&mut links);
    links.on_bytes(conn, &[0, 0, 0, 3, 1, 2, 3]);
    assert_eq!(link_effects(&mut links), []);
    let mut bytes = Vec::new();
    notification(3).write(&mut bytes);
    links.on_bytes(conn, &bytes);
    let got = link_effects(&mut links);
    assert!(matches!(&got[..], [LinkEffect::Received { from: ServerId(3), .. }]), "{got:?}");
    for len in [0i32, -1, (512 << 10) + 1, i32::MAX] {
        let conn = VoteConn(6_000 + i64::from(len) as u64 % 1_000);
        links.on_accepted(conn, caller(&[3]), 0);
        links.on_bytes(conn, &greeting(3));
        link_effects(&mut links);
        links.on_bytes(conn, &len.to_be_bytes());
        let why = CloseLink::Length { len };
        assert_eq!(link_effects(&mut links), [LinkEffect::Close { conn, why }]);
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
