//! Answers that take more than one turn: what is kept of them between two turns.
//!
//! The request stays undecoded in the input and is served again in each turn. It shows one point in
//! time all the same: a stamp of all that it has read so far is compared before it goes on, and it
//! begins anew if that has changed. Each new beginning makes the slices four times as large, the last
//! one has no bound: it ends however fast the data changes.

use crate::codes::ErrorCode;
use crate::jute::Writer;
use crate::proto::begin_reply;

use super::context::ConnContext;
use super::hold::Work;

/// An answer that is being put together.
#[derive(Debug, Default)]
pub(super) struct LongRead {
    /// The reply so far, its frame begun. Empty at the beginning.
    pub(super) frame: Vec<u8>,
    /// Where to go on: a node, or an offset into the request.
    pub(super) cursor: Option<usize>,
    /// How many elements the list of the reply has so far, or the list of the request still has.
    pub(super) count: usize,
    /// Which part of the request is at hand.
    pub(super) part: u8,
    /// What the elements of the reply have been read from, where one stamp does not stand for all.
    pub(super) seen: Vec<Stamp>,
    stamp: Stamp,
    restarts: u32,
}

/// Two numbers that change with what they stand for.
pub(super) type Stamp = (i64, i64);

impl LongRead {
    /// How many elements may be read in this turn, at `each` units of work.
    pub(super) fn slice(&self, left: Work, each: Work) -> usize {
        if self.restarts >= RESTARTS_MAX {
            return usize::MAX;
        }
        ((left / each).max(1) as usize) << (2 * self.restarts)
    }

    /// Begins anew: what has been read is not there any more.
    pub(super) fn restart(&mut self, stamp: Stamp) {
        let restarts = self.restarts + 1;
        *self = Self { stamp, restarts, ..Self::default() };
    }

    /// Whether nothing of the reply has been written.
    pub(super) fn is_new(&self) -> bool {
        self.frame.is_empty()
    }
}

impl ConnContext<'_> {
    /// The answer under way, or a new one. It has begun anew if `stamp` is not what it was.
    pub(super) fn long_read(&mut self, stamp: Stamp) -> Box<LongRead> {
        match self.conn.long.take() {
            Some(mut long) => {
                if long.stamp != stamp {
                    long.restart(stamp);
                }
                long
            }
            None => Box::new(LongRead { stamp, ..LongRead::default() }),
        }
    }

    /// Keeps an answer for the connection's next turn.
    pub(super) fn go_on_later(&mut self, long: Box<LongRead>) {
        debug_assert!(self.conn.long.is_none(), "one answer is under way at a time");
        self.conn.long = Some(long);
        self.unfinished = true;
    }

    /// Begins the reply's frame if nothing has been written.
    pub(super) fn begin_long(&self, long: &mut LongRead, xid: i32) {
        if long.is_new() {
            begin_reply(&mut Writer::new(&mut long.frame), xid, 0, ErrorCode::OK);
        }
    }

    /// Ends the frame, with the zxid that the tree has now, and moves it to the output.
    pub(super) fn finish_long(&mut self, mut frame: Vec<u8>, err: ErrorCode) {
        let zxid = self.tree.last_zxid().0;
        frame[ZXID_AT..ERR_AT].copy_from_slice(&zxid.to_be_bytes());
        frame[ERR_AT..REPLY_HEADER_BYTES].copy_from_slice(&err.0.to_be_bytes());
        Writer::new(&mut frame).end_frame(0);
        if self.conn.out.is_empty() {
            self.conn.out = frame;
        } else {
            self.conn.out.extend_from_slice(&frame);
        }
    }
}

/// Bytes of a reply's length and header.
pub(super) const REPLY_HEADER_BYTES: usize = ERR_AT + 4;
const ZXID_AT: usize = 8;
const ERR_AT: usize = 16;
/// After so many new beginnings the answer is put together in one go.
const RESTARTS_MAX: u32 = 4;
