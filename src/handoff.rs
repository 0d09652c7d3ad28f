//! Everything that crosses cores: two enums, one for each direction, and the values in them.
//!
//! A shard owns connections and the sessions whose id maps to it; the quorum core owns the order of
//! writes and the tree's writing side. Both sides see the other only through these messages,
//! carried by bounded queues of the shell.
//!
//! The rule that watches rest on: a [`CommitBatch`] is put into every shard's queue before the tree
//! shows its changes to readers. A shard that takes the tree for reading and then drains its queue
//! has therefore seen every event that its reads could reveal.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::codes::{ErrorCode, EventType, OpCode};
use crate::jute::data::{Acl, Id, Stat};
use crate::limits;
use crate::zxid::{SessionId, Zxid};

/// One of the cores that serve clients, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ShardId(pub u16);

impl ShardId {
    /// The shard that owns `session` when there are `shards` of them.
    pub fn of(session: SessionId, shards: u16) -> Self {
        Self((session.0 as u64 % u64::from(shards.max(1))) as u16)
    }
}

/// A connection of one shard: a slot that is used again, and which use of it this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnId {
    pub slot: u32,
    pub generation: u32,
}

/// Where an answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    pub shard: ShardId,
    pub conn: ConnId,
    pub xid: i32,
}

/// From a shard to the quorum core.
#[derive(Debug)]
pub enum ToQuorum {
    /// A write, a sync or a closeSession of a session; `record` is the request's record as it came,
    /// not yet decoded.
    Request(Request),
    /// A new session, whose id the shard has chosen; the negotiated timeout is in milliseconds.
    CreateSession { origin: Origin, session: SessionId, timeout_ms: i32 },
    /// A client came back with the right password: does its session live? The timeout is the newly
    /// negotiated one.
    Renew { origin: Origin, session: SessionId, timeout_ms: i32 },
    /// Everything after this is of clients that the role of this generation serves: the answer to
    /// [`ToShard::Serving`].
    Joined { shard: ShardId, generation: u64 },
}

impl ToQuorum {
    /// The shard that it comes from.
    pub fn shard(&self) -> ShardId {
        match self {
            Self::Request(request) => request.origin.shard,
            Self::CreateSession { origin, .. } | Self::Renew { origin, .. } => origin.shard,
            Self::Joined { shard, .. } => *shard,
        }
    }
}

/// Sessions that a shard has heard of, each with the monotonic time of the last time: at most
/// [`limits::TOUCHES_PER_REPORT`]. Reports have a queue of their own to the quorum core, which
/// takes them whatever requests wait for: no session expires because its pings wait for requests.
pub type TouchReport = Vec<(SessionId, i64)>;

/// The reports of a shard for which the queue to the quorum core had no room.
#[derive(Debug, Default)]
pub struct LateTouches {
    /// One entry per session, however often it was heard of: it grows with the sessions of the
    /// shard and not with the time for which the core takes nothing.
    latest: BTreeMap<SessionId, i64>,
}

impl LateTouches {
    /// Whether nothing is late.
    pub fn is_empty(&self) -> bool {
        self.latest.is_empty()
    }

    /// Sends a report by `push`, or keeps it for [`Self::resend`] if `push` gives it back.
    pub fn send(
        &mut self,
        report: TouchReport,
        push: impl FnOnce(TouchReport) -> Result<(), TouchReport>,
    ) {
        let refused = if self.is_empty() { push(report).err() } else { Some(report) };
        for (session, at_ms) in refused.into_iter().flatten() {
            let latest = self.latest.entry(session).or_insert(at_ms);
            *latest = at_ms.max(*latest);
        }
    }

    /// Sends what is late, until `push` gives a report back.
    pub fn resend(&mut self, mut push: impl FnMut(TouchReport) -> Result<(), TouchReport>) {
        while !self.is_empty() {
            let next = std::iter::from_fn(|| self.latest.pop_first());
            let report = next.take(limits::TOUCHES_PER_REPORT).collect();
            if let Err(refused) = push(report) {
                self.latest.extend(refused);
                break;
            }
        }
    }
}

/// One request for the quorum core.
#[derive(Clone, Debug)]
pub struct Request {
    pub origin: Origin,
    pub session: SessionId,
    pub op: OpCode,
    pub record: Bytes,
    /// The ids that the connection has proven, its `ip` among them.
    pub auth: Arc<[Id]>,
}

/// From the quorum core to one shard.
#[derive(Debug)]
pub enum ToShard {
    /// The meaning of a batch of committed transactions to this shard, in zxid order.
    Commit(CommitBatch),
    /// The answer to [`ToQuorum::Renew`].
    Renewed { origin: Origin, session: SessionId, timeout_ms: i32, valid: bool },
    /// The answer to [`ToQuorum::CreateSession`] and [`ToQuorum::Renew`] where the session can have
    /// no answer: its client is to ask another server.
    NotOpened { origin: Origin, why: NotOpened },
    /// A role has begun to serve, and the tree shows all that it began with. The shard takes
    /// clients from now on, and says so by [`ToQuorum::Joined`]; with `read_only` those that have
    /// asked for that.
    Serving { generation: u64, read_only: bool },
    /// The role has ended, or has not begun: nothing that the shard has asked for is answered. It
    /// closes all connections of clients and takes none until [`Self::Serving`].
    NotServing,
}

/// The reason why a client gets no session from a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotOpened {
    /// Too many new sessions wait for room in the log, or there are too many local ones.
    NoRoom,
    /// It would be a session of the ensemble, and this server has no leader.
    NoLeader,
}

/// One batch of committed transactions, as one shard sees it.
#[derive(Debug, Default)]
pub struct CommitBatch {
    /// The last zxid of the batch.
    pub zxid: Zxid,
    /// Events and replies in the order in which the shard must act on them: an event stands before
    /// the reply of the write that fired it.
    pub items: Vec<BatchItem>,
}

/// One thing that a committed batch asks of a shard.
#[derive(Clone, Debug)]
pub enum BatchItem {
    /// Fire the watches that this change concerns.
    Event(Arc<Event>),
    /// Answer the oldest request that the connection has with the quorum core.
    Reply(Reply),
    /// A createSession is committed: the connect answer may go out.
    SessionOpened { origin: Origin, session: SessionId, timeout_ms: i32 },
    /// The session has ended, by itself or by expiry: its connection is closed after the replies
    /// before this.
    SessionClosed { session: SessionId },
}

/// A change that watches may be waiting for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub zxid: Zxid,
    pub kind: EventType,
    pub path: Box<str>,
    /// Who may see it: the node's ACL, before the delete for a deleted node (ZOOKEEPER-4799);
    /// `None` is everyone.
    pub acl: Option<Arc<[Acl]>>,
}

/// The outcome of one request.
#[derive(Clone, Debug)]
pub struct Reply {
    pub conn: ConnId,
    pub xid: i32,
    pub op: OpCode,
    /// The zxid in the header: the transaction's own zxid for all that used one up.
    pub zxid: Zxid,
    pub err: ErrorCode,
    pub body: ReplyBody,
    /// The connection is closed after this reply.
    pub close: bool,
}

/// The record after a reply header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyBody {
    /// delete, closeSession and every failure.
    Empty,
    /// create, sync.
    Path(Box<str>),
    /// create2, createContainer, createTTL.
    PathStat(Box<str>, Stat),
    /// setData, setACL.
    Stat(Stat),
    /// multi: its encoded results.
    Bytes(Vec<u8>),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// While nothing is taken, memory grows with the sessions and not with the reports.
    #[test]
    fn late_touches_are_kept_once_per_session() {
        let mut late = LateTouches::default();
        let sessions = 3 * limits::TOUCHES_PER_REPORT as i64;
        for at_ms in 0..100 {
            let report = (0..sessions).map(|session| (SessionId(session), at_ms)).collect();
            late.send(report, Err);
        }
        assert_eq!(late.latest.len() as i64, sessions);
        late.send(vec![(SessionId(0), 50)], |_| panic!("a report overtakes those before it"));
        let mut sent = Vec::new();
        late.resend(Err);
        late.resend(|report| {
            assert!(report.len() <= limits::TOUCHES_PER_REPORT);
            sent.extend(report);
            Ok(())
        });
        assert!(late.is_empty());
        assert_eq!(sent, (0..sessions).map(|id| (SessionId(id), 99)).collect::<Vec<_>>());
    }
}
