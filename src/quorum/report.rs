//! The figures of the quorum machine for four-letter words and metrics.

use super::Quorum;
use super::leader::Leader;
use super::role::Role;
use crate::zxid::{SessionId, Zxid};

/// A snapshot of the machine's counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuorumStats {
    /// The last zxid given out; the tree's may be behind it.
    pub proposed: Zxid,
    /// The last zxid known to be on the disk.
    pub durable: Zxid,
    /// The last zxid that the role has committed.
    pub committed: Zxid,
    /// Requests taken and not yet answered.
    pub outstanding: usize,
    /// Nodes changed by them.
    pub outstanding_nodes: usize,
    /// Sessions that live or are about to end.
    pub sessions: usize,
    /// createSessions and closeSessions that wait for room in the log.
    pub waiting_for_room: usize,
    /// Transactions after which the tree did not have the digest that was logged with them.
    pub digest_mismatches: u64,
    /// A flush has failed: nothing more is acknowledged.
    pub failed: bool,
}

impl Quorum {
    /// The counters now.
    pub fn report(&self) -> QuorumStats {
        let leader = self.role.leader();
        let pending = match &self.role {
            Role::Learning(learner) => learner.pending(),
            Role::None | Role::Leading(_) => 0,
        };
        QuorumStats {
            proposed: self.writes.last_zxid,
            durable: self.writes.pipeline.durable(),
            committed: self.writes.pipeline.committed(),
            outstanding: self.writes.pipeline.len() + usize::from(self.is_preparing()) + pending,
            outstanding_nodes: leader.map_or(0, |leader| leader.outstanding.len()),
            sessions: leader.map_or(0, |leader| leader.sessions.len()),
            waiting_for_room: leader.map_or(0, Leader::waiting),
            digest_mismatches: self.digest_mismatches,
            failed: self.writes.pipeline.has_failed(),
        }
    }

    /// The sessions and when they expire, in monotonic milliseconds, soonest first (`dump`): up to
    /// `max` sessions that follow `after`. Whoever wants them all asks again and again, so that no
    /// answer takes long.
    pub fn sessions_by_expiry(
        &self,
        after: Option<(i64, SessionId)>,
        max: usize,
    ) -> Vec<(i64, SessionId)> {
        self.role.leader().map_or_else(Vec::new, |leader| leader.sessions.by_expiry(after, max))
    }
}
