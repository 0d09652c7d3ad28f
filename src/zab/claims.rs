//! What servers that are not LOOKING say about their leader: how a server that comes late finds an
//! established ensemble (`FastLeaderElection`'s `outofelection`).

use std::collections::BTreeMap;

use super::members::{Members, ServerId};
use super::vote::Vote;
use crate::packet::{Notification, PeerState};

/// The latest notification of each voter that is FOLLOWING or LEADING. Bounded by the voters.
#[derive(Debug, Default)]
pub(super) struct Claims {
    latest: BTreeMap<ServerId, Claim>,
}

/// One of them.
#[derive(Clone, Copy, Debug)]
struct Claim {
    is_leading: bool,
    vote: Vote,
    /// 0 from servers before 3.5, whose epochs say nothing.
    version: i32,
}

impl Claims {
    pub(super) fn clear(&mut self) {
        self.latest.clear();
    }

    pub(super) fn note(&mut self, from: ServerId, said: &Notification) {
        let claim = Claim {
            is_leading: said.state == PeerState::Leading,
            vote: Vote::of(said),
            version: said.version,
        };
        self.latest.insert(from, claim);
    }

    /// A server that is LOOKING again, or cannot be reached any more, claims nothing.
    pub(super) fn forget(&mut self, from: ServerId) {
        self.latest.remove(&from);
    }

    /// Whether a quorum follows the leader that `said` names, in one epoch, and the leader itself
    /// says that it leads. Zxids and rounds may differ (ZOOKEEPER-1732, ZOOKEEPER-1805).
    pub(super) fn are_a_quorum(&self, members: &Members, said: &Notification) -> bool {
        let (vote, version) = (Vote::of(said), said.version);
        let agrees = |claim: &Claim| {
            let one_is_old = (claim.version == 0) != (version == 0);
            claim.vote.leader == vote.leader && (one_is_old || claim.vote.epoch == vote.epoch)
        };
        members.is_quorum(|id| self.latest.get(&id).is_some_and(agrees))
            && self.says_that_it_leads(vote.leader)
    }

    /// Whether a server says that it follows `leader`, or is it.
    pub(super) fn follows(&self, id: ServerId, leader: ServerId) -> bool {
        self.latest.get(&id).is_some_and(|claim| claim.vote.leader == leader)
    }

    /// Whether a server says that it leads.
    pub(super) fn says_that_it_leads(&self, id: ServerId) -> bool {
        self.latest.get(&id).is_some_and(|claim| claim.is_leading && claim.vote.leader == id)
    }
}
