//! Answers that take more than one turn: what is kept of them between two turns.
//!
//! The request stays undecoded in the input and is served again in each turn. It shows one point in
//! time all the same: a stamp of all that it has read so far is compared before it goes on, and it
//! begins anew if that has changed. A slice is never longer than what the connection's turn has
//! left. A read that has begun anew asks for the tree to stay as it is for a while (`still`): so it
//! ends however fast the data changes.

use crate::codes::ErrorCode;
use crate::jute::Writer;
use crate::proto::begin_reply;
use crate::tree::NodeId;

use super::hold::Work;

/// An answer that is being put together.
#[derive(Debug, Default)]
pub(super) struct LongRead {
    /// The reply so far, its frame begun. Empty at the beginning.
    pub(super) frame: Vec<u8>,
    /// Where to go on: a node, or an offset into the request.
    pub(super) cursor: Option<usize>,
    /// The number of elements that the list of the reply has so far, or the list of the request
    /// still has.
    pub(super) count: usize,
    /// Which part of the request is at hand.
    pub(super) part: u8,
    /// The places that the elements of the reply have been read from, where one stamp does not
    /// stand for all.
    pub(super) seen: Vec<Seen>,
    /// Whether the first operation of the request is a read, once it has been looked at.
    pub(super) reads: Option<bool>,
    /// The zxid of a tree that shows all that has been read, as it was read.
    pub(super) as_of: i64,
    /// The zxid of the tree with which that is being compared.
    pub(super) compared_with: i64,
    /// How often such a comparison has begun.
    pub(super) comparisons: u32,
    /// The error of the reply, once all has been read.
    pub(super) err: Option<ErrorCode>,
    stamp: Stamp,
    restarts: u32,
}

/// Two numbers that change with what they stand for.
pub(super) type Stamp = (i64, i64);

/// What one element of a reply has been read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// A node, and the zxids of its data and of its children.
    Node(NodeId, Stamp),
    /// None that could be read, and why; the request names its path at this offset.
    Error(u32, ErrorCode),
}

impl LongRead {
    /// The number of elements that may be read in this turn, at `each` units of work.
    pub(super) fn slice(left: Work, each: Work) -> usize {
        (left / each).max(1) as usize
    }

    /// The elements that may be compared in this turn.
    pub(super) fn comparisons(left: Work) -> usize {
        left.max(COMPARED_MIN) as usize
    }

    /// Whether the data has changed under it, so that it may not end while that goes on.
    pub(super) fn wants_still(&self) -> bool {
        self.restarts > 0 || self.comparisons > 1
    }

    /// Begins anew: what has been read is no longer there.
    pub(super) fn restart(&mut self, stamp: Stamp) {
        let restarts = self.restarts.saturating_add(1);
        *self = Self { stamp, restarts, ..Self::default() };
    }

    /// Whether nothing of the reply has been written.
    pub(super) fn is_new(&self) -> bool {
        self.frame.is_empty()
    }

    /// An answer of which nothing has been read.
    pub(super) fn new(stamp: Stamp) -> Self {
        Self { stamp, ..Self::default() }
    }

    /// Begins anew if `stamp` is not what it was.
    pub(super) fn check(&mut self, stamp: Stamp) {
        if self.stamp != stamp {
            self.restart(stamp);
        }
    }

    /// Begins the reply's frame if nothing has been written.
    pub(super) fn begin(&mut self, xid: i32) {
        if self.is_new() {
            begin_reply(&mut Writer::new(&mut self.frame), xid, 0, ErrorCode::OK);
        }
    }

    /// Ends the frame, with what its header must say, and yields it.
    pub(super) fn finish(mut self, zxid: i64, err: ErrorCode) -> Vec<u8> {
        assert!(self.frame.len() >= REPLY_HEADER_BYTES, "only a frame that was begun is ended");
        self.frame[ZXID_AT..ERR_AT].copy_from_slice(&zxid.to_be_bytes());
        self.frame[ERR_AT..REPLY_HEADER_BYTES].copy_from_slice(&err.0.to_be_bytes());
        Writer::new(&mut self.frame).end_frame(0);
        self.frame
    }
}

/// Bytes of a reply's length and header.
pub(super) const REPLY_HEADER_BYTES: usize = ERR_AT + 4;
const ZXID_AT: usize = 8;
const ERR_AT: usize = 16;
/// Elements that are compared in a turn, if it has nothing left.
const COMPARED_MIN: Work = 64;
