//! One server's election port: its connections, and what carries the effects of the machines out.

use std::collections::BTreeSet;

use crate::sim::ensemble::net::{Arrival, Net, Port};
use crate::sim::rng::Rng;
use crate::zab::{
    Caller, Election, ElectionEffect, ElectionSettings, LinkEffect, Links, Members, ServerId,
    VoteConn,
};

/// See the module. Lost when the server is killed.
pub(super) struct Votes {
    id: ServerId,
    links: Links,
    pub(super) election: Election,
    /// The connections that the machine has been told of.
    known: BTreeSet<u64>,
    /// Dials that nobody answers, and when they fail.
    unanswered: Vec<(i64, ServerId)>,
}

/// What the port needs of the world.
pub(super) struct Surroundings<'a> {
    pub(super) now_us: i64,
    pub(super) net: &'a mut Net,
    pub(super) rng: &'a mut Rng,
    /// Which servers are up.
    pub(super) up: &'a BTreeSet<ServerId>,
}

impl Votes {
    pub(super) fn new(id: ServerId, members: &Members) -> Self {
        let addresses = vec![format!("10.0.0.{id}:3888")];
        Self {
            id,
            links: Links::new(id, addresses, members.clone(), GREETING_MS),
            election: Election::new(id, members.clone(), ElectionSettings::default()),
            known: BTreeSet::new(),
            unanswered: Vec::new(),
        }
    }

    /// When it has something to do without anything coming, in milliseconds.
    pub(super) fn wakes_at(&self) -> i64 {
        let unanswered = self.unanswered.iter().map(|(at, _)| at / 1000 + 1).min();
        let machines = [self.links.wakes_at(), self.election.wakes_at(), unanswered];
        machines.into_iter().flatten().min().unwrap_or(i64::MAX)
    }

    /// Everything that has come and is due. Returns what was elected.
    pub(super) fn step(&mut self, around: &mut Surroundings<'_>) -> Vec<ElectionEffect> {
        let now_ms = around.now_us / 1000;
        for (_, to) in self.unanswered.extract_if(.., |(at, _)| *at <= around.now_us) {
            self.links.on_dial_failed(to);
        }
        self.links.on_time(now_ms);
        self.election.on_time(now_ms);
        for number in around.net.at(self.id, Port::Election) {
            self.take(number, around);
        }
        self.carry_out(around)
    }

    fn take(&mut self, number: u64, around: &mut Surroundings<'_>) {
        let (now_us, conn) = (around.now_us, VoteConn(number));
        let Some(dialler) = around.net.conns.get(&number).map(|entry| entry.dialler) else {
            return;
        };
        if dialler != self.id && self.known.insert(number) {
            self.links.on_accepted(conn, Caller { members: vec![dialler] }, now_us / 1000);
        }
        while let Some(arrival) = around.net.next(number, self.id, now_us) {
            match arrival {
                Arrival::Bytes(bytes) => self.links.on_bytes(conn, &bytes),
                Arrival::Closed => {
                    self.links.on_closed(conn, now_us / 1000);
                    around.net.close(number, self.id, now_us, around.rng);
                }
            }
        }
    }

    /// Carries out what the machines want.
    pub(super) fn carry_out(&mut self, around: &mut Surroundings<'_>) -> Vec<ElectionEffect> {
        let mut elected = Vec::new();
        loop {
            if let Some(effect) = self.links.poll() {
                self.carry_out_link(effect, around);
            } else if let Some(effect) = self.election.poll() {
                match effect {
                    ElectionEffect::Send { to, notification } => self.links.send(to, &notification),
                    effect => elected.push(effect),
                }
            } else {
                return elected;
            }
        }
    }

    fn carry_out_link(&mut self, effect: LinkEffect, around: &mut Surroundings<'_>) {
        let (now_us, now_ms) = (around.now_us, around.now_us / 1000);
        match effect {
            LinkEffect::Dial { to } if is_cut(around.net, Port::Election, self.id, to) => {
                self.unanswered.push((now_us + UNANSWERED_US, to));
            }
            LinkEffect::Dial { to } if around.up.contains(&to) => {
                let number = around.net.dial(self.id, to, Port::Election);
                self.known.insert(number);
                self.links.on_dialled(to, VoteConn(number), now_ms);
            }
            LinkEffect::Dial { to } => self.links.on_dial_failed(to),
            LinkEffect::Send { conn, bytes } => {
                around.net.send(conn.0, self.id, &bytes, now_us, around.rng);
            }
            LinkEffect::Close { conn, .. } => {
                around.net.close(conn.0, self.id, now_us, around.rng);
            }
            LinkEffect::Received { from, notification } => {
                self.election.on_notification(from, &notification, now_ms);
            }
            LinkEffect::Peer { id, peer } => self.election.on_peer(id, peer, now_ms),
        }
    }
}

/// Whether nothing gets from one server to another and back.
pub(super) fn is_cut(net: &Net, port: Port, one: ServerId, other: ServerId) -> bool {
    net.cut.contains(&(port, one, other)) || net.cut.contains(&(port, other, one))
}

/// After this time a dial fails that nobody answers, in microseconds.
const UNANSWERED_US: i64 = 300_000;
/// How long a caller may take to say who it is.
const GREETING_MS: i64 = 500;
