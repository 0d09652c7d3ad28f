//! One connection and the slab of all: what is remembered between two inputs. Idle, it is below 512
//! bytes.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::codes::{ErrorCode, OpCode};
use crate::handoff::ConnId;
use crate::jute::Writer;
use crate::jute::data::Id;
use crate::limits;
use crate::proto::begin_reply;
use crate::zxid::{Now, SessionId};

use super::hold::Work;
use super::input::Input;
use super::latency::Latency;
use super::long_read::LongRead;
use super::unsent::Unsent;

/// The stage of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its first four bytes are not there yet, or its first frame is not.
    Fresh,
    /// The quorum core has been asked for its session.
    Connecting,
    /// Requests are served.
    Serving,
    /// Its last request, closeSession or a four-letter word, is being answered: what it still sends
    /// is dropped.
    Ending,
    /// The shell has been told to close it.
    Closed,
}

/// Why the next request, though complete, cannot be taken up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// For the connection's own writes, or for its session.
    Order,
    /// For the client to read what it has asked for (B21).
    Reader,
    /// For the quorum core, which has enough to do (`globalOutstandingLimit`).
    Core,
    /// For the quorum core to have less of this very connection.
    Share,
    /// For its next turn: it has had its quantum of work, and others wait.
    Turn,
}

/// The lists that a connection may stand in, each at most once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum ListMark {
    /// Its waiting requests can be taken up.
    Ready = 1,
    /// It waits for the quorum core.
    Throttled = 2,
    /// It has more output than it may have.
    Slow = 4,
    /// Its session is to be reported as heard of.
    Touched = 8,
}

/// A set of [`ListMark`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ListMarks(u8);

impl ListMarks {
    /// Adds a mark; false if it was there.
    #[inline]
    pub(super) fn set(&mut self, mark: ListMark) -> bool {
        if self.has(mark) {
            return false;
        }
        self.0 |= mark as u8;
        true
    }

    /// Takes a mark away; false if it was not there.
    pub(super) fn take(&mut self, mark: ListMark) -> bool {
        let was_there = self.has(mark);
        self.0 &= !(mark as u8);
        was_there
    }

    /// Whether the mark is set.
    #[inline]
    pub(super) fn has(self, mark: ListMark) -> bool {
        self.0 & mark as u8 != 0
    }
}

/// A request that the quorum core has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    /// Monotonic milliseconds at which it came.
    pub(super) since_ms: i64,
    /// Its size if it counts as large, else 0.
    pub(super) large_bytes: u32,
    /// The bytes that it counts while it is in process: see
    /// [`crate::limits::CONNECTION_OUTSTANDING_BYTES_MAX`].
    pub(super) bytes: u32,
}

impl Pending {
    /// A request with a record of this many bytes.
    pub(super) fn new(op: OpCode, record_bytes: usize, large_bytes: u32, now: Now) -> Self {
        let weight = if op == OpCode::MULTI { limits::MULTI_WEIGHT } else { 1 };
        let bytes = record_bytes.saturating_mul(weight) + limits::REQUEST_BYTES_BESIDE;
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        Self { since_ms: now.mono_ms, large_bytes, bytes }
    }
}

/// The figures of one connection (`cons`).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) last_xid: i32,
    pub(super) last_op: Option<OpCode>,
    pub(super) last_zxid: i64,
    /// Monotonic milliseconds of the last reply.
    pub(super) last_reply_ms: i64,
    pub(super) latency: Latency,
}

/// One client's connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnId,
    pub(super) peer: SocketAddr,
    pub(super) phase: Phase,
    pub(super) wait: Option<Wait>,
    /// Whether the shell has been told that there is output, and has not fetched it yet.
    pub(super) announced: bool,
    /// Whether the shell has been told not to read.
    pub(super) paused: bool,
    /// The lists in which it stands; the lists alone change them.
    pub(super) marks: ListMarks,
    /// The hold under which it was served last.
    pub(super) hold: u64,
    /// Units of work done for it since its turn began.
    pub(super) spent: Work,
    /// Whether the client has read anything since the last look at slow readers.
    pub(super) drained: bool,
    /// The last byte of its connect request, if it was there.
    pub(super) read_only: Option<bool>,
    /// Milliseconds.
    pub(super) timeout_ms: i32,
    pub(super) session: SessionId,
    /// Bytes that came and are not served yet.
    pub(super) input: Input,
    /// The answer to the first request of the input, if it takes more than one turn.
    pub(super) long: Option<Box<LongRead>>,
    /// Bytes to send.
    pub(super) out: Vec<u8>,
    /// Bytes to send, those that the shell has fetched included.
    pub(super) unsent: Unsent,
    /// The requests that the quorum core has of this connection, oldest first.
    ///
    /// Invariant: all of them are counted in the shard's `outstanding`, `outstanding_bytes` and
    /// `large_bytes`.
    pub(super) pending: VecDeque<Pending>,
    /// The bytes that they count. Invariant: the sum over `pending`.
    pub(super) pending_bytes: usize,
    /// Ids proven, its `ip` among them.
    pub(super) auth: Arc<[Id]>,
    /// Monotonic milliseconds of the last complete request.
    pub(super) touched_ms: i64,
    /// Monotonic milliseconds since which a slow reader has read nothing.
    pub(super) slow_since_ms: i64,
    /// Wall-clock milliseconds of its accept.
    pub(super) established_ms: i64,
    pub(super) tally: Tally,
}

impl Connection {
    pub(super) fn new(id: ConnId, peer: SocketAddr, auth: Arc<[Id]>, now: Now) -> Self {
        Self {
            id,
            peer,
            phase: Phase::Fresh,
            wait: None,
            announced: false,
            paused: false,
            marks: ListMarks::default(),
            hold: 0,
            spent: 0,
            drained: false,
            read_only: None,
            timeout_ms: 0,
            session: SessionId::NONE,
            input: Input::default(),
            long: None,
            out: Vec::new(),
            unsent: Unsent::default(),
            pending: VecDeque::new(),
            pending_bytes: 0,
            auth,
            touched_ms: now.mono_ms,
            slow_since_ms: now.mono_ms,
            established_ms: now.wall_ms,
            tally: Tally::default(),
        }
    }

    /// Gives it a quantum of work under the hold of this number.
    pub(super) fn begin_turn(&mut self, hold: u64) {
        debug_assert!(self.hold <= hold, "holds are numbered in order");
        self.hold = hold;
        self.spent = 0;
    }

    /// Whether its answer waits for nothing but its turn, and for the data to stay as it is.
    pub(super) fn wants_still(&self) -> bool {
        let wants = self.long.as_ref().is_some_and(|long| long.wants_still());
        wants && self.wait == Some(Wait::Turn)
    }

    /// Whether the quorum core has as much of it as it may have.
    #[inline]
    pub(super) fn has_its_share(&self) -> bool {
        self.pending_bytes >= limits::CONNECTION_OUTSTANDING_BYTES_MAX
    }

    /// Whether what it sends no longer matters.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Ending | Phase::Closed)
    }

    /// Writes a reply that is a header alone.
    pub(super) fn reply_header(&mut self, xid: i32, zxid: i64, err: ErrorCode) {
        let mut writer = Writer::new(&mut self.out);
        let frame = begin_reply(&mut writer, xid, zxid, err);
        writer.end_frame(frame);
    }

    /// Counts a reply. As with Apache, a write that was refused is told as [`OpCode::ERROR`], a
    /// ping does not hide the xid before it, and replies to addauth and SASL count as sent alone.
    #[inline]
    pub(super) fn count_reply(
        &mut self,
        op: OpCode,
        xid: i32,
        zxid: i64,
        latency_ms: u32,
        now: Now,
    ) {
        let tally = &mut self.tally;
        tally.sent += 1;
        if matches!(op, OpCode::AUTH | OpCode::SASL) {
            return;
        }
        tally.last_op = Some(op);
        if xid >= 0 {
            tally.last_xid = xid;
        }
        tally.last_zxid = zxid;
        tally.last_reply_ms = now.mono_ms;
        tally.latency.add(latency_ms);
    }
}

/// All connections of a shard, by the slots that the shell gives out.
#[derive(Debug, Default)]
pub(super) struct Connections {
    slots: Vec<Option<Box<Connection>>>,
    count: usize,
}

impl Connections {
    /// Takes up a connection. One that still holds the slot is replaced: the shell says it is gone.
    pub(super) fn insert(&mut self, connection: Connection) {
        let slot = connection.id.slot as usize;
        if slot >= self.slots.len() {
            self.slots.resize_with(slot + 1, || None);
        }
        self.count += usize::from(self.slots[slot].is_none());
        self.slots[slot] = Some(Box::new(connection));
    }

    /// The connection, if it is still this use of its slot.
    #[inline]
    pub(super) fn get(&mut self, id: ConnId) -> Option<&mut Connection> {
        let connection = self.slots.get_mut(id.slot as usize)?.as_deref_mut()?;
        (connection.id == id).then_some(connection)
    }

    /// Whatever connection has the slot now.
    pub(super) fn at(&mut self, slot: u32) -> Option<&mut Connection> {
        self.slots.get_mut(slot as usize)?.as_deref_mut()
    }

    pub(super) fn remove(&mut self, id: ConnId) -> Option<Box<Connection>> {
        self.get(id)?;
        assert!(self.count > 0, "the connections there are are counted");
        self.count -= 1;
        self.slots.get_mut(id.slot as usize)?.take()
    }

    /// The connections in up to `max` slots from `from` on, and where to go on, `None` at the end.
    pub(super) fn range(
        &self,
        from: u32,
        max: u32,
    ) -> (impl Iterator<Item = &Connection>, Option<u32>) {
        let (from, next) = (from as usize, from.saturating_add(max));
        let slots = self.slots.get(from..self.slots.len().min(next as usize)).unwrap_or_default();
        let connections = slots.iter().flatten().map(|connection| &**connection);
        (connections, Some(next).filter(|next| (*next as usize) < self.slots.len()))
    }

    /// The end of the slots in use.
    pub(super) fn slots(&self) -> u32 {
        self.slots.len() as u32
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Connection> {
        self.slots.iter().flatten().map(|connection| &**connection)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Connection> {
        self.slots.iter_mut().flatten().map(|connection| &mut **connection)
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }
}

const _: () =
    assert!(size_of::<Connection>() <= 400, "thousands of idle sessions are the common case");
