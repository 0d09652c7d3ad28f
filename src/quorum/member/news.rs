//! What is said of a member's life, for its log.

use std::fmt;
use std::net::SocketAddr;

use crate::packet::PeerState;
use crate::zab::{CloseLearner, Leave, ServerId, StepDown};
use crate::zxid::Zxid;

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// `None` until it has said who it is.
    pub id: Option<ServerId>,
    pub address: SocketAddr,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.id {
            Some(id) => write!(f, "server {id} ({})", self.address),
            None => write!(f, "a server at {} that has not said its id", self.address),
        }
    }
}

/// What has become of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberNews {
    /// Its first election begins, with this end of its log, of this epoch.
    Starts { last: Zxid, epoch: i64 },
    /// It is elected.
    IsElected,
    /// Another server is. `state` is that in which this one learns from it.
    HasLeader { state: PeerState, leader: ServerId },
    /// Its leader cannot be reached: it looks again.
    Unreachable { why: String },
    /// A quorum has its history.
    /// `takes_clients` is `leaderServes`.
    Leads { epoch: u32, takes_clients: bool },
    /// It is in sync with its leader.
    Learns { state: PeerState, epoch: u32 },
    /// It leads no longer: it looks again.
    StepsDown { why: StepDown },
    /// It learns no longer: it looks again.
    Leaves { leader: ServerId, why: Leave },
    /// A learner's connection has ended.
    LearnerGone { peer: Peer, why: String },
    /// This leader closes a learner's connection.
    LearnerClosed { peer: Peer, why: CloseLearner },
    /// The connection to the leader has ended.
    LeaderGone { peer: Peer, why: String },
    /// The log is cut after `to`.
    IsCut { to: Zxid },
    /// The log cannot be cut.
    CannotCut { to: Zxid, why: String },
    /// The leader's tree is on its way.
    TreeComes { zxid: Zxid },
    /// It did not come whole, or was not stored.
    TreeLost { why: String },
}

impl MemberNews {
    /// Whether an operator should look at it.
    pub fn is_warning(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::CannotCut { .. }
            | Self::TreeLost { .. }
            | Self::StepsDown { why: StepDown::NoEpochLeft { .. } }
            | Self::Leaves { why: Leave::EpochTooFar { .. } | Leave::NoEpoch { .. }, .. } => true,
            Self::LearnerClosed { why, .. } => is_refused(why),
            _ => false,
        }
    }
}

impl fmt::Display for MemberNews {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starts { last, epoch } => {
                write!(f, "LOOKING: the server starts, with {last} of epoch {epoch}")
            }
            Self::IsElected => f.write_str("LEADING: this server is elected"),
            Self::HasLeader { state, leader } => write!(f, "{state}: server {leader} is elected"),
            Self::Unreachable { why } => write!(f, "LOOKING: {why}"),
            Self::Leads { epoch, takes_clients } => {
                let clients =
                    if *takes_clients { "" } else { "; it takes no clients (leaderServes=no)" };
                write!(f, "LEADING: a quorum has the history, epoch {epoch} begins{clients}")
            }
            Self::Learns { state, epoch } => write!(f, "{state}: in sync with epoch {epoch}"),
            Self::StepsDown { why } => write!(f, "LOOKING: {why}"),
            Self::Leaves { leader, why } => write!(f, "LOOKING: server {leader} is left: {why}"),
            Self::LearnerGone { peer, why } => write!(f, "{peer} learns no longer: {why}"),
            Self::LearnerClosed { peer, why } => {
                write!(f, "the connection of {peer} is closed: {}", closed(why))
            }
            Self::LeaderGone { peer, why } => write!(f, "the connection to {peer} is gone: {why}"),
            Self::IsCut { to } => {
                write!(f, "synchronization: the log is cut after {to} (TRUNC)")
            }
            Self::CannotCut { to, why } => {
                write!(f, "the log cannot be cut after {to}: {why}; the leader's tree is asked for")
            }
            Self::TreeComes { zxid } => {
                write!(f, "synchronization: the leader's tree at {zxid} is taken over (SNAP)")
            }
            Self::TreeLost { why } => write!(f, "the leader's tree is not taken over: {why}"),
        }
    }
}

/// What becomes of a member that cannot be believed.
const REPLACE: &str = "stop it, and start it again with an empty dataDir while a quorum of the \
                       others serves";

/// Whether it would come to the same end each time: somebody has to mend a configuration, a
/// version or a data directory.
fn is_refused(why: &CloseLearner) -> bool {
    match why {
        CloseLearner::Unexpected { .. }
        | CloseLearner::NoMember { .. }
        | CloseLearner::NewerConfig { .. }
        | CloseLearner::OldProtocol { .. }
        | CloseLearner::EpochTooFar { .. }
        | CloseLearner::NoEpochLeft { .. }
        | CloseLearner::NewerHistory { .. }
        | CloseLearner::OtherHistory { .. }
        | CloseLearner::AckedTooMuch { .. } => true,
        CloseLearner::TooMany
        | CloseLearner::CameBack
        | CloseLearner::Silent
        | CloseLearner::NoRoom
        | CloseLearner::TooManySyncs => false,
    }
}

fn closed(why: &CloseLearner) -> String {
    match why {
        CloseLearner::Unexpected { kind } => {
            format!("a packet of type {kind} has no place here")
        }
        CloseLearner::NoMember { id: Some(id) } => format!("no line names server {id}"),
        CloseLearner::NoMember { id: None } => "it does not say its id".to_owned(),
        CloseLearner::NewerConfig { version } => {
            format!("it knows a newer membership, of {version}")
        }
        CloseLearner::OldProtocol { protocol } => {
            format!("it speaks version {protocol:#x} of the protocol, from before 3.4")
        }
        CloseLearner::NoEpochLeft { accepted } => {
            format!(
                "it has accepted epoch {accepted}, and there is none after it: its file \
                 acceptedEpoch is damaged, or it lies; {REPLACE}"
            )
        }
        CloseLearner::EpochTooFar { accepted, known } => format!(
            "it says that it has accepted epoch {accepted}, and nobody else knows of one after \
             {known}: its file acceptedEpoch is damaged, or it lies; {REPLACE}"
        ),
        CloseLearner::TooMany => {
            "it has not said who it is, and too many like it have come since".to_owned()
        }
        CloseLearner::CameBack => {
            "the same server has come back, or another one has its number".to_owned()
        }
        CloseLearner::NewerHistory { epoch, zxid } => {
            format!("its history is newer: it ends with {zxid} of epoch {epoch}")
        }
        CloseLearner::OtherHistory { epoch } => format!(
            "its history is of epoch {epoch}, which this ensemble does not know, and has served \
             without it: most of the others have lost their data; if what has been written since \
             is to be kept: {REPLACE}"
        ),
        CloseLearner::AckedTooMuch { zxid } => {
            format!("it acknowledged {zxid}, which was never proposed")
        }
        CloseLearner::Silent => {
            "nothing was heard of it, or a proposal was not acknowledged, for too long".to_owned()
        }
        CloseLearner::NoRoom => "what it forwards finds no room in the log".to_owned(),
        CloseLearner::TooManySyncs => {
            "as many learners as there may be are being synchronized: an observer waits".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_learner_that_is_refused_for_what_it_is_is_a_warning() {
        let peer =
            Peer { id: Some(ServerId(7)), address: SocketAddr::from(([127, 0, 0, 1], 2888)) };
        let closed = |why| MemberNews::LearnerClosed { peer, why };
        assert!(closed(CloseLearner::NoMember { id: Some(7) }).is_warning());
        assert!(closed(CloseLearner::OldProtocol { protocol: 1 }).is_warning());
        assert!(!closed(CloseLearner::CameBack).is_warning());
        assert!(!closed(CloseLearner::Silent).is_warning());
    }
}
