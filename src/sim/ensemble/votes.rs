//! One server's election port: its connections and what carries their effects out.

use std::collections::BTreeSet;

use super::net::{Arrival, Port};
use super::shared::Shared;
use crate::zab::{Caller, Election, LinkEffect, Links, ServerId, VoteConn};

/// See the module. Lost when the server is killed.
pub(super) struct Votes {
    id: ServerId,
    pub(super) links: Links,
    /// The connections that the machine has been told of.
    known: BTreeSet<u64>,
    /// Dials that nobody answers, and when they fail.
    unanswered: Vec<(i64, ServerId)>,
}

impl Votes {
    pub(super) fn new(id: ServerId, shared: &Shared) -> Self {
        let links = shared.links(id);
        Self { id, links, known: BTreeSet::new(), unanswered: Vec::new() }
    }

    /// When something is to be done, in milliseconds.
    pub(super) fn wakes_at(&self) -> i64 {
        let dial = self.unanswered.iter().map(|(at, _)| (at + 999) / 1000);
        dial.chain(self.links.wakes_at()).min().unwrap_or(i64::MAX)
    }

    /// Everything that has arrived.
    pub(super) fn take_in(&mut self, election: &mut Election, shared: &mut Shared) {
        let (now, now_ms) = (shared.now, shared.now_ms());
        for (_, to) in self.unanswered.extract_if(.., |(at, _)| *at <= now) {
            self.links.on_dial_failed(to);
        }
        self.links.on_time(now_ms);
        for number in shared.net.at(self.id, Port::Election) {
            let conn = VoteConn(number);
            let Some(dialler) = shared.net.conns.get(&number).map(|entry| entry.dialler) else {
                continue;
            };
            if dialler != self.id && self.known.insert(number) {
                self.links.on_accepted(conn, Caller { members: vec![dialler] }, now_ms);
            }
            while let Some(arrival) = shared.net.next(number, self.id, now) {
                match arrival {
                    Arrival::Bytes(bytes) => self.links.on_bytes(conn, &bytes),
                    Arrival::Closed => {
                        self.links.on_closed(conn, now_ms);
                        shared.net.close(number, self.id, now, &mut shared.rng);
                    }
                }
            }
        }
        self.carry_out(election, shared);
    }

    pub(super) fn carry_out(&mut self, election: &mut Election, shared: &mut Shared) {
        let now_ms = shared.now_ms();
        while let Some(effect) = self.links.poll() {
            match effect {
                LinkEffect::Dial { to } if shared.is_cut(Port::Election, self.id, to) => {
                    self.unanswered.push((shared.now + UNANSWERED_US, to));
                }
                LinkEffect::Dial { to } if shared.up.contains(&to) => {
                    let number = shared.net.dial(self.id, to, Port::Election);
                    self.known.insert(number);
                    self.links.on_dialled(to, VoteConn(number), now_ms);
                }
                LinkEffect::Dial { to } => self.links.on_dial_failed(to),
                LinkEffect::Send { conn, bytes } => shared.send(conn.0, self.id, &bytes),
                LinkEffect::Close { conn, .. } => {
                    shared.net.close(conn.0, self.id, shared.now, &mut shared.rng);
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
