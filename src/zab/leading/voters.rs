//! Whom a leader waits for before it serves (ZOOKEEPER-3109).
//!
//! A voter that has made this server the leader and has left it looks for a leader again, and does
//! not come back to one that no quorum follows: waiting for it would be waiting for nobody. So the
//! leader steps down when those that are connected, and those of its voters that are still to come,
//! have been no quorum for a tick. It does not look again earlier: each time it begins a new round,
//! in which those that have left it for another begin anew, too.
//!
//! A voter has left when its connection is gone, when its notifications say so, or when its election
//! port refuses; while it is connected the connection alone counts.

use std::collections::BTreeSet;

use super::{Leading, Phase, StepDown};
use crate::zab::VoterNews;
use crate::zab::members::{Members, ServerId};

/// The voters by what they have said in the election.
#[derive(Debug)]
pub(super) struct Voters {
    /// Those that have made this server the leader.
    elected_by: BTreeSet<ServerId>,
    /// Those that may still connect. Invariant: none of them has a follower's connection.
    awaited: BTreeSet<ServerId>,
    /// `leader.maxTimeToWaitForEpoch`, in milliseconds.
    wait_ms_max: Option<i64>,
    /// Since when no quorum can come.
    too_few_since: Option<i64>,
}

impl Voters {
    /// Nothing is known of the election.
    pub(super) fn all(members: &Members) -> Self {
        let all: BTreeSet<ServerId> = members.voters().collect();
        Self { elected_by: all.clone(), awaited: all, wait_ms_max: None, too_few_since: None }
    }

    /// A server has connected, and said who it is.
    pub(super) fn has_come(&mut self, id: ServerId) {
        self.awaited.remove(&id);
    }
}

impl Leading {
    /// The voters that have made this server the leader. Others are not waited for.
    pub fn elected_by(&mut self, voters: BTreeSet<ServerId>) {
        self.voters.awaited = voters.iter().copied().filter(|id| !self.is_connected(*id)).collect();
        self.voters.elected_by = voters;
    }

    /// `leader.maxTimeToWaitForEpoch`: if one of those voters is LOOKING later than that, and
    /// epochs are still awaited, the leader steps down.
    pub fn limit_wait_for_epochs(&mut self, ms: Option<i64>) {
        self.voters.wait_ms_max = ms;
    }

    /// What the election has heard of a voter.
    pub fn on_voter(&mut self, id: ServerId, news: VoterNews, now_ms: i64) {
        if self.phase == Phase::Broadcast || self.has_ended || !self.members.is_voter(id) {
            return;
        }
        match news {
            VoterNews::Supports if self.is_connected(id) => {}
            VoterNews::Supports => drop(self.voters.awaited.insert(id)),
            VoterNews::HasLeft | VoterNews::IsUnreachable => drop(self.voters.awaited.remove(&id)),
        }
        let began_ms = self.phase_ends_at - self.settings.init_ms();
        let is_late = self.voters.wait_ms_max.is_some_and(|max| now_ms - began_ms > max);
        let looks = news != VoterNews::IsUnreachable && self.voters.elected_by.contains(&id);
        if self.phase == Phase::Epochs && is_late && looks {
            self.step_down(StepDown::VoterLooks { voter: id });
        }
    }

    /// Steps down when no quorum can come, and none could for a tick.
    pub(super) fn look_for_voters(&mut self, now_ms: i64) {
        if self.phase == Phase::Broadcast || self.may_get_quorum() {
            self.voters.too_few_since = None;
            return;
        }
        let since = *self.voters.too_few_since.get_or_insert(now_ms);
        if now_ms - since >= self.settings.tick_ms && !mutant!(DiscoveryWithoutEnd) {
            self.step_down(StepDown::VotersLeft);
        }
    }

    /// When [`Self::look_for_voters`] is due, before this leader serves: at once if nobody has seen
    /// yet that no quorum can come.
    pub(super) fn voters_wake_at(&self) -> i64 {
        match self.voters.too_few_since {
            _ if self.may_get_quorum() => i64::MAX,
            Some(since) => since + self.settings.tick_ms,
            None => 0,
        }
    }

    /// Whether those that are connected, and those that may still come, are a quorum.
    pub(super) fn may_get_quorum(&self) -> bool {
        let may_come = |id| self.voters.awaited.contains(&id) || self.is_connected(id);
        self.members.is_quorum(|id| id == self.me || may_come(id))
    }

    fn is_connected(&self, id: ServerId) -> bool {
        self.learners.values().any(|learner| learner.id == Some(id) && learner.is_follower)
    }
}
