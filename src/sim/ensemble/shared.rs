//! What the servers of a world share: time, chance, links.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::coverage::{self, Coverage};
use super::disk::Shown;
use super::net::{Net, Port};
use super::votes::Surroundings;
use crate::sim::rng::Rng;
use crate::sim::trace::Trace;
use crate::zab::{Election, ElectionSettings, Members, ServerId, ZabSettings};

/// See the module.
pub(super) struct Shared {
    /// Microseconds.
    pub(super) now: i64,
    pub(super) rng: Rng,
    pub(super) members: Members,
    /// Of the members, in order.
    pub(super) ids: Vec<ServerId>,
    pub(super) settings: ZabSettings,
    pub(super) net: Net,
    /// Which servers are up, and take connections to their election ports.
    pub(super) up: BTreeSet<ServerId>,
    /// Which servers lead, and take connections to their quorum ports.
    pub(super) listening: BTreeSet<ServerId>,
    /// The longest flush, in microseconds, and the server whose flushes take longer.
    pub(super) flush_max: u64,
    pub(super) slow: Option<ServerId>,
    /// Servers whose disks do nothing before a script says so.
    pub(super) held: BTreeSet<ServerId>,
    /// How much longer each piece of a tree takes, at most, in microseconds.
    pub(super) tree_delay: u64,
    /// The last counter of an epoch, and the bytes of history that a leader has in memory.
    pub(super) counter_max: u32,
    pub(super) history_bytes: usize,
    /// What has happened in this step, to be judged.
    pub(super) begun: Vec<(ServerId, u32)>,
    pub(super) commits: Vec<(ServerId, Shown)>,
    pub(super) trace: Trace,
    /// Servers killed.
    pub(super) crashes: u32,
    pub(super) coverage: Coverage,
}

impl Shared {
    pub(super) fn now_ms(&self) -> i64 {
        self.now / 1000
    }

    /// What an election port needs of it.
    pub(super) fn around(&mut self) -> Surroundings<'_> {
        let Self { now, net, rng, up, .. } = self;
        Surroundings { now_us: *now, net, rng, up }
    }

    pub(super) fn election(&self, me: ServerId) -> Election {
        Election::new(me, self.members.clone(), ElectionSettings::default())
    }

    /// When a flush or another job of a server that begins now is done.
    pub(super) fn flush_done(&mut self, of: ServerId) -> i64 {
        if self.held.contains(&of) {
            return i64::MAX;
        }
        let is_slow = self.rng.chance(20) || self.slow == Some(of);
        if is_slow {
            self.coverage.note(coverage::SLOW_FLUSH);
        }
        self.now + 100 + self.rng.below(self.flush_max * if is_slow { 20 } else { 1 }) as i64
    }

    pub(super) fn send(&mut self, conn: u64, from: ServerId, bytes: &Bytes) {
        self.net.send(conn, from, bytes, self.now, &mut self.rng);
    }

    /// The pieces of a tree come one after the other, each after a while.
    pub(super) fn send_tree(&mut self, conn: u64, from: ServerId, tree: &Bytes) {
        let mut at = self.now;
        for piece in tree.chunks(tree.len().div_ceil(4)) {
            at += self.rng.below(self.tree_delay) as i64;
            self.net.send(conn, from, &tree.slice_ref(piece), at, &mut self.rng);
        }
    }

    /// Whether a dial of a leader's quorum port gets through.
    pub(super) fn listens(&self, leader: ServerId, learner: ServerId) -> bool {
        self.listening.contains(&leader) && !self.net.is_cut(Port::Quorum, leader, learner)
    }

    /// All connections of a server to or from one kind of port are closed by it.
    pub(super) fn hang_up(&mut self, id: ServerId, port: Port) {
        for conn in self.net.at(id, port) {
            if self.net.close(conn, id, self.now, &mut self.rng) {
                self.coverage.note(coverage::HALF_OPEN);
            }
        }
    }
}

/// Server ids go from 1 to this.
pub(in crate::sim) const MEMBERS_MAX: i64 = 9;
