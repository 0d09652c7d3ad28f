//! What the servers of a world share: time, chance, links.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::disk::Shown;
use super::net::Net;
use crate::sim::rng::Rng;
use crate::sim::trace::Trace;
use crate::zab::{Election, ElectionSettings, LearnerConn, Members, ServerId, ZabSettings};

/// See the module.
pub(super) struct Shared {
    /// Microseconds.
    pub(super) now: i64,
    pub(super) rng: Rng,
    pub(super) members: Members,
    pub(super) settings: ZabSettings,
    pub(super) net: Net,
    /// Which servers lead and take connections.
    pub(super) listening: BTreeSet<ServerId>,
    /// The longest flush, in microseconds.
    pub(super) flush_max: u64,
    pub(super) vote_loss: u64,
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

    pub(super) fn election(&self, me: ServerId) -> Election {
        Election::new(me, self.members.clone(), ElectionSettings::default())
    }

    /// When a flush or another job that begins now is done.
    pub(super) fn flush_done(&mut self) -> i64 {
        let slow = if self.rng.chance(20) { 20 } else { 1 };
        self.now + 100 + self.rng.below(self.flush_max * slow) as i64
    }

    pub(super) fn send(&mut self, conn: LearnerConn, from: ServerId, bytes: &Bytes) {
        self.net.send(conn, from, bytes, self.now, &mut self.rng);
    }

    pub(super) fn vote(&mut self, way: (ServerId, ServerId), message: Bytes) {
        if !self.rng.chance(self.vote_loss) {
            self.net.vote(way, message, self.now, &mut self.rng);
        }
    }

    /// Whether a dial gets through.
    pub(super) fn listens(&self, leader: ServerId, learner: ServerId) -> bool {
        let is_cut = |way| self.net.cut.contains(&way);
        self.listening.contains(&leader) && !is_cut((leader, learner)) && !is_cut((learner, leader))
    }

    /// All connections of a server are closed by it.
    pub(super) fn hang_up(&mut self, id: ServerId) {
        for conn in self.net.of(id) {
            self.net.close(conn, id, self.now, &mut self.rng);
        }
    }
}

/// Server ids go from 1 to this.
pub(super) const MEMBERS_MAX: i64 = 9;
