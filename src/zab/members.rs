//! The members of an ensemble: who votes, and which sets of voters are a quorum.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;

use crate::packet::Membership;
use crate::zxid::Zxid;

/// A server's id: the N of `server.N`, and what `myid` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(pub i64);

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which sets of voters are a quorum. Any two quorums of one set share a voter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuorumSet {
    /// More than half of the voters (`QuorumMaj`).
    Majority,
    /// `group.N` and `weight.N`: more than half of the groups whose weight is not 0, and of each
    /// more than half of its weight (`QuorumHierarchical`). Invariant: each voter is in one group.
    Groups { group_of: BTreeMap<ServerId, i64>, weights: BTreeMap<ServerId, u64> },
}

/// The reason why lines of a configuration are no ensemble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MembersError {
    /// No server votes.
    NoVoter,
    /// A voter stands in no group, though there are groups.
    NoGroup(ServerId),
    /// A server of a group, or with a weight, that does not vote.
    NoSuchVoter(ServerId),
    /// Groups without any weight: there can be no quorum.
    NoWeight,
}

impl fmt::Display for MembersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoVoter => f.write_str("no server votes: an ensemble needs a participant"),
            Self::NoGroup(id) => write!(f, "server {id} is in no group; add it to a group.N line"),
            Self::NoSuchVoter(id) => write!(
                f,
                "server {id} is in a group and is no participant; take it out of its group.N line"
            ),
            Self::NoWeight => f.write_str(
                "no group has a weight: there can be no quorum; take the weight.N=0 lines out",
            ),
        }
    }
}

impl std::error::Error for MembersError {}

/// The weights of servers that do not vote count for nothing.
impl TryFrom<&Membership> for Members {
    type Error = MembersError;

    fn try_from(membership: &Membership) -> Result<Self, MembersError> {
        let of = |votes| {
            let servers = membership.servers.iter().filter(move |server| server.votes == votes);
            servers.map(|server| ServerId(server.id)).collect::<BTreeSet<_>>()
        };
        let (voters, observers) = (of(true), of(false));
        let quorums = match &membership.hierarchy {
            None => QuorumSet::Majority,
            Some(hierarchy) => {
                let weights = hierarchy.weights.iter().map(|(id, weight)| (ServerId(*id), *weight));
                let groups = hierarchy.group_of.iter().map(|(id, group)| (ServerId(*id), *group));
                QuorumSet::Groups {
                    group_of: groups.collect(),
                    weights: weights.filter(|(id, _)| voters.contains(id)).collect(),
                }
            }
        };
        let text = Bytes::from(membership.to_string());
        Self::new(voters, observers, quorums, Zxid(membership.version), text)
    }
}

/// A membership of one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    /// Invariant: not empty.
    voters: BTreeSet<ServerId>,
    observers: BTreeSet<ServerId>,
    quorums: QuorumSet,
    /// The zxid of the reconfig that made it; 0 without one.
    version: Zxid,
    /// As it goes into notifications and NEWLEADER.
    text: Bytes,
}

impl Members {
    /// A membership; `text` is its lines as they go over the wire.
    pub fn new(
        voters: BTreeSet<ServerId>,
        observers: BTreeSet<ServerId>,
        quorums: QuorumSet,
        version: Zxid,
        text: Bytes,
    ) -> Result<Self, MembersError> {
        if voters.is_empty() {
            return Err(MembersError::NoVoter);
        }
        if let QuorumSet::Groups { group_of, weights } = &quorums {
            if let Some(id) = voters.iter().find(|id| !group_of.contains_key(id)) {
                return Err(MembersError::NoGroup(*id));
            }
            let mut named = group_of.keys().chain(weights.keys());
            if let Some(id) = named.find(|id| !voters.contains(id)) {
                return Err(MembersError::NoSuchVoter(*id));
            }
        }
        let members = Self { voters, observers, quorums, version, text };
        match members.is_quorum(|_| true) {
            true => Ok(members),
            false => Err(MembersError::NoWeight),
        }
    }

    /// The membership of a server that is alone.
    pub fn of_one(id: ServerId) -> Self {
        Self {
            voters: BTreeSet::from([id]),
            observers: BTreeSet::new(),
            quorums: QuorumSet::Majority,
            version: Zxid::ZERO,
            text: Bytes::new(),
        }
    }

    /// Whether it has more than one server.
    pub fn has_others(&self) -> bool {
        self.voters.len() + self.observers.len() > 1
    }

    /// The voters, in the order of their ids.
    pub fn voters(&self) -> impl Iterator<Item = ServerId> + '_ {
        self.voters.iter().copied()
    }

    /// Whether the server votes.
    pub fn is_voter(&self, id: ServerId) -> bool {
        self.voters.contains(&id)
    }

    /// Whether the server is in the membership at all.
    pub fn is_member(&self, id: ServerId) -> bool {
        self.is_voter(id) || self.observers.contains(&id)
    }

    /// Whether the server may lead: it votes, and with a weight.
    pub fn may_lead(&self, id: ServerId) -> bool {
        self.is_voter(id) && self.weight(id) > 0
    }

    /// Whether the voters that `has` names are a quorum.
    pub fn is_quorum(&self, has: impl Fn(ServerId) -> bool) -> bool {
        match &self.quorums {
            QuorumSet::Majority if mutant!(QuorumOfHalf) => {
                self.voters().filter(|id| has(*id)).count() >= self.voters.len().div_ceil(2)
            }
            QuorumSet::Majority if mutant!(ObserverCounted) => {
                let all = self.voters.union(&self.observers);
                all.filter(|id| has(**id)).count() > self.voters.len() / 2
            }
            QuorumSet::Majority => {
                self.voters().filter(|id| has(*id)).count() > self.voters.len() / 2
            }
            QuorumSet::Groups { group_of, .. } => {
                // The weight of each group, and of those of it that `has` names.
                let mut groups: BTreeMap<i64, (u64, u64)> = BTreeMap::new();
                for (id, group) in group_of {
                    let (whole, part) = groups.entry(*group).or_default();
                    *whole += self.weight(*id);
                    *part += if has(*id) { self.weight(*id) } else { 0 };
                }
                groups.retain(|_, (whole, _)| *whole > 0);
                let won = groups.values().filter(|(whole, part)| *part > whole / 2).count();
                won > groups.len() / 2
            }
        }
    }

    /// The highest of the voters' values that a quorum has reached.
    pub(super) fn reached_by_quorum<T: Ord>(&self, value: impl Fn(ServerId) -> T) -> Option<T> {
        let has = |reached: &T| self.is_quorum(|id| value(id) >= *reached);
        self.voters().map(&value).filter(has).max()
    }

    /// The zxid of the reconfig that made it; 0 without one.
    pub fn version(&self) -> Zxid {
        self.version
    }

    /// Its lines, as they go over the wire.
    pub fn text(&self) -> &Bytes {
        &self.text
    }

    fn weight(&self, id: ServerId) -> u64 {
        match &self.quorums {
            QuorumSet::Majority => 1,
            QuorumSet::Groups { weights, .. } => weights.get(&id).copied().unwrap_or(1),
        }
    }
}
