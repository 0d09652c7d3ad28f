//! What happens to a member, and what it wants done.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use bytes::Bytes;

use super::news::{MemberNews, Peer};
use crate::packet::PeerState;
use crate::zab::{LearnerConn, LogReach, ServerId, VoterNews};
use crate::zxid::Zxid;

/// A connection between a leader and a learner. A number is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerConn(pub u64);

/// Something that has happened, beside what comes on connections.
#[derive(Debug)]
pub enum MemberEvent {
    /// An election has ended.
    Elected { state: PeerState, leader: ServerId },
    /// The voters that have made this server the leader: to come right after that.
    ElectedBy(BTreeSet<ServerId>),
    /// What the election has heard of a voter since.
    Voter { id: ServerId, news: VoterNews },
    /// The dial of this number has got through.
    LeaderConnected { attempt: u64, conn: PeerConn, address: SocketAddr },
    /// It has not.
    LeaderUnreachable { attempt: u64, why: String },
    /// A server has dialled the quorum port, or an observer the observer master port.
    LearnerConnected { conn: PeerConn, address: SocketAddr },
    /// The end of [`MemberEffect::StoreAcceptedEpoch`].
    AcceptedEpoch(u32),
    /// The end of [`MemberEffect::StoreCurrentEpoch`].
    CurrentEpoch(u32),
    /// A learner has taken more of what [`MemberEffect::SendLog`] and [`MemberEffect::SendTree`]
    /// send.
    Taken(PeerConn),
    /// The end of [`MemberEffect::AskLog`].
    LogReach(LearnerConn, LogReach),
    /// The end of [`MemberEffect::Truncate`]: log and tree end there.
    Truncated(Zxid),
    /// The same: they are as they were.
    CannotTruncate { to: Zxid, why: String },
    /// All of the leader's tree has come and is durable. These bytes came after it.
    TreeReceived { rest: Vec<u8> },
    /// It did not come whole, or could not be stored.
    TreeLost { why: String },
    /// The end of [`MemberEffect::TakeTree`]: the tree is in place, and the log goes on after it.
    TreeTaken(Zxid),
    /// The same: tree and log are as they were.
    TreeNotTaken { why: String },
}

/// A request of the member to its shell, to be carried out in order.
#[derive(Debug, PartialEq, Eq)]
pub enum MemberEffect {
    /// A new election, with this history. Then [`MemberEvent::Elected`].
    Look { zxid: Zxid, epoch: i64, stands: bool },
    /// Connect to the quorum port of the leader; then [`MemberEvent::LeaderConnected`] or
    /// [`MemberEvent::LeaderUnreachable`]. It ends an earlier dial.
    Dial { leader: ServerId, attempt: u64 },
    /// The same for a follower that takes observers, at its observer master port.
    DialObserverMaster { follower: ServerId, port: u16, attempt: u64 },
    /// Observers are taken until the next election begins; of each then
    /// [`MemberEvent::LearnerConnected`].
    TakeObservers,
    /// Whether learners are taken; of each then [`MemberEvent::LearnerConnected`].
    TakeLearners { is_wanted: bool },
    /// Clients are served as soon as the tree shows all that is committed: this server has the
    /// history of the epoch.
    Serve { epoch: u32 },
    /// The role has ended: all connections are closed, and what it has begun is given up, but for
    /// what the disk is at.
    EndRole,
    /// Whole packets, after what was sent there before.
    Send { conn: PeerConn, bytes: Bytes },
    /// The transactions of the log after `after` and up to `upto`, likewise.
    SendLog { conn: PeerConn, peer: Peer, after: Zxid, upto: Zxid },
    /// The tree as it is now, likewise.
    SendTree { conn: PeerConn, peer: Peer },
    /// Nothing is read from it, or again.
    Pause { conn: PeerConn, is_paused: bool },
    /// Nothing is heard of it any more.
    Close { conn: PeerConn },
    /// What does the log say about `peer`? All up to `upto` is durable.
    AskLog { of: LearnerConn, peer: Zxid, upto: Zxid },
    /// Make it durable; then [`MemberEvent::AcceptedEpoch`].
    StoreAcceptedEpoch { epoch: u32 },
    /// Make it durable; then [`MemberEvent::CurrentEpoch`].
    StoreCurrentEpoch { epoch: u32 },
    /// Log and tree end with `to`; then [`MemberEvent::Truncated`] or
    /// [`MemberEvent::CannotTruncate`].
    Truncate { to: Zxid },
    /// A tree is taken in, of what [`super::Member::pass_on_tree`] gives; then
    /// [`MemberEvent::TreeReceived`] or [`MemberEvent::TreeLost`].
    ReceiveTree { zxid: Zxid },
    /// The tree that has come takes the place of log and tree; then [`MemberEvent::TreeTaken`] or
    /// [`MemberEvent::TreeNotTaken`].
    TakeTree,
    /// For the log of the server.
    Tell(MemberNews),
}
