//! The figures of the quorum machine for four-letter words and metrics.

use super::Quorum;
use super::leader::Leader;
use super::proposal_sizes::ProposalSizes;
use super::role::Role;
use super::role_figures::RoleFigures;
use crate::zab::{LearnerCounts, Phase, Stage};
use crate::zxid::{SessionId, Zxid};

/// What a server is at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RoleName {
    /// It has no ensemble.
    #[default]
    Standalone,
    Looking,
    /// It looks, and answers reads meanwhile.
    ReadOnly,
    Leading,
    Following,
    Observing,
}

/// How far a role has come (`QuorumPeer.ZabState`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ZabState {
    Election,
    Discovery,
    Synchronization,
    /// The state of a standalone server, too.
    #[default]
    Broadcast,
}

/// A snapshot of the machine's counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuorumStats {
    pub role: RoleName,
    pub zab_state: ZabState,
    /// Clients are served.
    pub serving: bool,
    /// The epoch of the role, once it is accepted.
    pub epoch: Option<u32>,
    /// When the role began, in monotonic milliseconds.
    pub role_since_ms: i64,
    /// A leader's learners.
    pub learners: LearnerCounts,
    /// Syncs that a leader has not answered.
    pub pending_syncs: usize,
    /// Not of a standalone server.
    pub proposal_sizes: ProposalSizes,
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
    /// Sessions that only this server knows.
    pub local_sessions: usize,
    /// createSessions and closeSessions that wait for room in the log.
    pub waiting_for_room: usize,
    /// Transactions after which the tree did not have the digest that was logged with them.
    pub digest_mismatches: u64,
    /// A flush has failed: nothing more is acknowledged.
    pub failed: bool,
    /// All roles since the start, or since [`Quorum::reset_counts`].
    pub roles: RoleFigures,
}

impl Role {
    fn describe(&self) -> (RoleName, ZabState, Option<u32>) {
        match self {
            Self::None => (RoleName::Looking, ZabState::Election, None),
            Self::Leading(leader) => {
                let name =
                    if leader.is_standalone() { RoleName::Standalone } else { RoleName::Leading };
                let state = match leader.machine.phase() {
                    Phase::Broadcast => ZabState::Broadcast,
                    Phase::NewLeader => ZabState::Synchronization,
                    _ => ZabState::Discovery,
                };
                (name, state, leader.machine.epoch())
            }
            Self::Learning(learner) => {
                let votes = learner.machine.votes();
                let name = if votes { RoleName::Following } else { RoleName::Observing };
                let state = match learner.machine.stage() {
                    Stage::Serving => ZabState::Broadcast,
                    stage if stage > Stage::Accepted => ZabState::Synchronization,
                    _ => ZabState::Discovery,
                };
                (name, state, learner.machine.epoch())
            }
        }
    }
}

impl Quorum {
    /// The counters now.
    pub fn report(&self) -> QuorumStats {
        let leader = self.role.leader();
        let (role, zab_state, epoch) = self.role.describe();
        let role = match role {
            RoleName::Looking if self.gate.is_open() => RoleName::ReadOnly,
            role => role,
        };
        let figures = &self.writes.figures;
        let pending = match &self.role {
            Role::Learning(learner) => learner.pending(),
            Role::None | Role::Leading(_) => 0,
        };
        QuorumStats {
            role,
            zab_state,
            serving: self.is_serving(),
            epoch,
            role_since_ms: self.role_since_ms,
            learners: self.role.learners(),
            pending_syncs: leader.map_or(0, |leader| leader.rounds.len()),
            proposal_sizes: leader.map(|leader| leader.proposal_sizes).unwrap_or_default(),
            proposed: self.writes.last_zxid,
            durable: self.writes.pipeline.durable(),
            committed: self.writes.pipeline.committed(),
            outstanding: self.writes.pipeline.len() + usize::from(self.is_preparing()) + pending,
            outstanding_nodes: leader.map_or(0, |leader| leader.outstanding.len()),
            sessions: leader.map_or(0, |leader| leader.sessions.len()),
            local_sessions: self.writes.local.len(),
            waiting_for_room: leader.map_or(0, Leader::waiting),
            digest_mismatches: self.digests.mismatches(),
            failed: self.writes.pipeline.has_failed(),
            roles: figures.with_diffs(leader.map_or(0, |leader| leader.machine.diffs())),
        }
    }

    /// Sets back what is counted of roles (`srst`).
    pub fn reset_counts(&mut self) {
        self.writes.figures.reset();
        if let Some(leader) = self.role.leader_mut() {
            leader.proposal_sizes = ProposalSizes::default();
            leader.machine.reset_diffs();
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

    /// The same of the sessions that only this server knows.
    pub fn local_sessions_by_expiry(
        &self,
        after: Option<(i64, SessionId)>,
        max: usize,
    ) -> Vec<(i64, SessionId)> {
        self.writes.local.by_expiry(after, max)
    }
}
