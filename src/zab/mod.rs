//! Zab: who leads, and in which order everybody logs the same. The payload is opaque.
//!
//! | file | holds |
//! |---|---|
//! | `members` | who votes, and which of them are a quorum |
//! | `election` | fast leader election: from votes to a leader |
//! | `vote` | what a server votes for, and which of two votes wins |
//! | `links` | the connections of the election port: who dials, which one lives |
//! | `claims` | what servers that are not LOOKING say about their leader |
//! | `history` | the committed transactions in memory, and what a learner lacks of them |
//! | `leading` | the role of a leader |
//! | `learning` | the role of a follower or an observer |
//! | `observer_master` | the observers of a follower |

mod claims;
mod election;
mod history;
mod leading;
mod learning;
mod links;
mod members;
mod observer_master;
#[cfg(test)]
mod tests;
mod vote;

pub use election::{Election, ElectionEffect, ElectionSettings, Peer, VoterNews};
pub use history::{History, LogReach, Logged, SyncPlan, follows};
pub use leading::{
    COUNTER_MAX, CloseLearner, LeadEffect, Leading, LearnerConn, LearnerCounts, OwnHistory, Phase,
    StepDown, SyncLimits, ZabSettings,
};
pub use learning::{LearnEffect, Learning, Leave, Stage};
pub use links::{Caller, CloseLink, LinkEffect, Links, VoteConn};
pub use members::{Members, MembersError, QuorumSet, ServerId};
pub use observer_master::{ObserverMaster, ObserverMasterSettings};
pub use vote::Vote;
