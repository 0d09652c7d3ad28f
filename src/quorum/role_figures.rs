//! What came of the roles of a member of an ensemble: how often, how much, and how long it took.

use crate::zab::StepDown;

/// A series of durations in milliseconds. All zero before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    /// Their number.
    pub count: u64,
    /// Their sum.
    pub sum: u64,
    /// The shortest.
    pub min: u64,
    /// The longest.
    pub max: u64,
}

impl Durations {
    fn add(&mut self, ms: i64) {
        let ms = u64::try_from(ms).unwrap_or(0);
        self.min = if self.count == 0 { ms } else { self.min.min(ms) };
        self.max = self.max.max(ms);
        self.sum += ms;
        self.count += 1;
    }
}

/// Counts and durations of all roles since the start, or since they were set back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoleFigures {
    /// How often it looked for a leader.
    pub looking: u64,
    /// From LOOKING to the role of a leader or a follower.
    pub elections: Durations,
    /// From a follower's connection to its service.
    pub follower_syncs: Durations,
    /// The same of an observer.
    pub observer_syncs: Durations,
    /// From LOOKING to service, whatever the role.
    pub unavailable: Durations,
    /// Those of them that led to the role of a leader.
    pub leader_unavailable: Durations,
    /// Transactions proposed as a leader.
    pub proposals: u64,
    /// Transactions committed as a leader.
    pub commits: u64,
    /// Learners that were sent the whole tree.
    pub snaps: u64,
    /// Learners that were synchronized without it.
    pub diffs: u64,
    /// How often it led no further since voters that had elected it looked for another leader.
    pub disloyal_voters: u64,
    /// Transactions that a leader has proposed to this follower.
    pub learner_proposals: u64,
    /// Transactions committed as a learner.
    pub learner_commits: u64,
    /// What goes on, in monotonic milliseconds.
    since: Since,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Since {
    looking: i64,
    role: i64,
}

impl RoleFigures {
    /// It has no leader from here on.
    pub(super) fn on_looking(&mut self, now_ms: i64) {
        self.looking += 1;
        self.since = Since { looking: now_ms, role: now_ms };
    }

    /// It has a role, in which it votes or not.
    pub(super) fn on_role(&mut self, votes: bool, now_ms: i64) {
        self.since.role = now_ms;
        if votes {
            self.elections.add(now_ms - self.since.looking);
        }
    }

    /// It serves, as the leader.
    pub(super) fn on_leader_serves(&mut self, now_ms: i64) {
        self.leader_unavailable.add(now_ms - self.since.looking);
        self.unavailable.add(now_ms - self.since.looking);
    }

    /// It serves, with a vote or without.
    pub(super) fn on_learner_serves(&mut self, votes: bool, now_ms: i64) {
        let syncs = if votes { &mut self.follower_syncs } else { &mut self.observer_syncs };
        syncs.add(now_ms - self.since.role);
        self.unavailable.add(now_ms - self.since.looking);
    }

    /// It leads no longer (`quitLeading`).
    pub(super) fn on_step_down(&mut self, why: &StepDown) {
        let is_left = matches!(why, StepDown::VotersLeft | StepDown::VoterLooks { .. });
        self.disloyal_voters += u64::from(is_left);
    }

    /// With those of a role that goes on.
    pub(super) fn with_diffs(&self, diffs: u64) -> Self {
        Self { diffs: self.diffs + diffs, ..*self }
    }

    /// Sets counts and durations back; what goes on does so.
    pub(super) fn reset(&mut self) {
        *self = Self { since: self.since, ..Self::default() };
    }
}
