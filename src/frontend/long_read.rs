//! Answers that take more than one turn: what is kept of them between two turns.
//!
//! The request stays undecoded in the input and is served again in each turn. It shows one point in
//! time all the same: a stamp of all that it has read so far is compared before it goes on, and it
//! begins anew if that has changed. Each new beginning makes the slices four times as large, the
//! last one has no bound: it ends however fast the data changes.

use crate::codes::ErrorCode;
use crate::jute::Writer;
use crate::proto::begin_reply;

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
    /// The stamps of what the elements of the reply have been read from, where one stamp does not
    /// stand for all.
    pub(super) seen: Vec<Stamp>,
    stamp: Stamp,
    restarts: u32,
}

/// Two numbers that change with what they stand for.
pub(super) type Stamp = (i64, i64);

impl LongRead {
    /// The number of elements that may be read in this turn, at `each` units of work.
    pub(super) fn slice(&self, left: Work, each: Work) -> usize {
        if self.restarts >= RESTARTS_MAX {
            return usize::MAX;
        }
        ((left / each).max(1) as usize) << (2 * self.restarts)
    }

    /// Begins anew: what has been read is no longer there.
    pub(super) fn restart(&mut self, stamp: Stamp) {
        let restarts = self.restarts + 1;
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
/// After this many new beginnings the answer is put together in one go.
const RESTARTS_MAX: u32 = 4;
