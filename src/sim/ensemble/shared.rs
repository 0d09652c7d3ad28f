//! What the servers of a world share: time, chance, links.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::disk::Shown;
use super::net::{Net, Port};
use crate::sim::rng::Rng;
use crate::sim::trace::Trace;
use crate::zab::{Election, ElectionSettings, Links, Members, ServerId, ZabSettings};

/// See the module.
pub(super) struct Shared {
    /// Microseconds.
    pub(super) now: i64,
    pub(super) rng: Rng,
    pub(super) members: Members,
    pub(super) settings: ZabSettings,
    pub(super) net: Net,
    /// Which servers are up, and take connections to their election ports.
    pub(super) up: BTreeSet<ServerId>,
    /// Which servers lead, and take connections to their quorum ports.
    pub(super) listening: BTreeSet<ServerId>,
    /// The longest flush, in microseconds.
    pub(super) flush_max: u64,
    /// What has happened in this step, to be judged.
    pub(super) begun: Vec<(ServerId, u32)>,
    pub(super) commits: Vec<(ServerId, Shown)>,
    pub(super) trace: Trace,
}

impl Shared {
    pub(super) fn now_ms(&self) -> i64 {
        self.now / 1000
    }

    pub(super) fn ids(&self) -> Vec<ServerId> {
        (1..=MEMBERS_MAX).map(ServerId).filter(|id| self.members.is_member(*id)).collect()
    }

    /// The connections of a server's election port.
    pub(super) fn links(&self, me: ServerId) -> Links {
        Links::new(me, format!("10.0.0.{me}:3888"), self.members.clone(), GREETING_MS)
    }

    pub(super) fn election(&self, me: ServerId) -> Election {
        Election::new(me, self.members.clone(), ElectionSettings::default())
    }

    /// When a flush or another job that begins now is done.
    pub(super) fn flush_done(&mut self) -> i64 {
        let slow = if self.rng.chance(20) { 20 } else { 1 };
        self.now + 100 + self.rng.below(self.flush_max * slow) as i64
    }

    pub(super) fn send(&mut self, conn: u64, from: ServerId, bytes: &Bytes) {
        self.net.send(conn, from, bytes, self.now, &mut self.rng);
    }

    /// Whether a dial of a leader's quorum port gets through.
    pub(super) fn listens(&self, leader: ServerId, learner: ServerId) -> bool {
        self.listening.contains(&leader) && !self.is_cut(leader, learner)
    }

    /// Whether nothing gets from one server to another and back.
    pub(super) fn is_cut(&self, one: ServerId, other: ServerId) -> bool {
        self.net.cut.contains(&(one, other)) || self.net.cut.contains(&(other, one))
    }

    /// All connections of a server to or from one kind of port are closed by it.
    pub(super) fn hang_up(&mut self, id: ServerId, port: Port) {
        for conn in self.net.at(id, port) {
            self.net.close(conn, id, self.now, &mut self.rng);
        }
    }
}

/// Server ids go from 1 to this.
pub(super) const MEMBERS_MAX: i64 = 9;
/// How long a caller may take to say who it is.
const GREETING_MS: i64 = 500;
