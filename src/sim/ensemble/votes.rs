//! One server's election port: its connections and what carries their effects out.

use std::collections::BTreeSet;

use super::net::{Arrival, Net, Port};
use crate::sim::rng::Rng;
use crate::zab::{Caller, Election, LinkEffect, Links, Members, ServerId, VoteConn};

/// See the module. Lost when the server is killed.
pub(in crate::sim) struct Votes {
    id: ServerId,
    pub(in crate::sim) links: Links,
    /// The connections that the machine has been told of.
    known: BTreeSet<u64>,
    /// Dials that nobody answers, and when they fail.
    unanswered: Vec<(i64, ServerId)>,
}

/// What the port needs of the world.
pub(in crate::sim) struct Surroundings<'a> {
    pub(in crate::sim) now_us: i64,
    pub(in crate::sim) net: &'a mut Net,
    pub(in crate::sim) rng: &'a mut Rng,
    /// Which servers are up.
    pub(in crate::sim) up: &'a BTreeSet<ServerId>,
}

impl Votes {
    pub(in crate::sim) fn new(id: ServerId, members: &Members) -> Self {
        let addresses = vec![format!("10.0.0.{id}:3888")];
        let links = Links::new(id, addresses, members.clone(), GREETING_MS);
        Self { id, links, known: BTreeSet::new(), unanswered: Vec::new() }
    }

    /// When something is to be done, in milliseconds.
    pub(in crate::sim) fn wakes_at(&self) -> i64 {
        let dial = self.unanswered.iter().map(|(at, _)| (at + 999) / 1000);
        dial.chain(self.links.wakes_at()).min().unwrap_or(i64::MAX)
    }

    /// Everything that has arrived.
    pub(in crate::sim) fn take_in(
        &mut self,
        election: &mut Election,
        around: &mut Surroundings<'_>,
    ) {
        let (now_us, now_ms) = (around.now_us, around.now_us / 1000);
        for (_, to) in self.unanswered.extract_if(.., |(at, _)| *at <= now_us) {
            self.links.on_dial_failed(to);
        }
        self.links.on_time(now_ms);
        for number in around.net.at(self.id, Port::Election) {
            let conn = VoteConn(number);
            let Some(dialler) = around.net.conns.get(&number).map(|entry| entry.dialler) else {
                continue;
            };
            if dialler != self.id && self.known.insert(number) {
                self.links.on_accepted(conn, Caller { members: vec![dialler] }, now_ms);
            }
            while let Some(arrival) = around.net.next(number, self.id, now_us) {
                match arrival {
                    Arrival::Bytes(bytes) => self.links.on_bytes(conn, &bytes),
                    Arrival::Closed => {
                        self.links.on_closed(conn, now_ms);
                        around.net.close(number, self.id, now_us, around.rng);
                    }
                }
            }
        }
        self.carry_out(election, around);
    }

    /// Carries out what the connections want.
    pub(in crate::sim) fn carry_out(
        &mut self,
        election: &mut Election,
        around: &mut Surroundings<'_>,
    ) {
        let (now_us, now_ms) = (around.now_us, around.now_us / 1000);
        while let Some(effect) = self.links.poll() {
            match effect {
                LinkEffect::Dial { to } if around.net.is_cut(Port::Election, self.id, to) => {
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
                    election.on_notification(from, &notification, now_ms);
                }
                LinkEffect::Peer { id, peer } => election.on_peer(id, peer, now_ms),
            }
        }
    }
}

/// After this time a dial fails that nobody answers, in microseconds.
const UNANSWERED_US: i64 = 300_000;
/// How long a caller may take to say who it is.
const GREETING_MS: i64 = 500;
