//! One connection's turn: the connection, its shard, the tree, the time, and the work done.

use std::cell::Cell;

use crate::codes::ErrorCode;
use crate::tree::Tree;
use crate::zxid::Now;

use super::close_reason::CloseReason;
use super::connection::Connection;
use super::hold::{ANNOUNCEMENT, Hold, QUANTUM, Work};
use super::long_read::{LongRead, Stamp};
use super::state::ShardState;

/// One connection's turn: everything that serving it takes.
pub(super) struct ConnContext<'a> {
    pub(super) conn: &'a mut Connection,
    pub(super) shard: &'a mut ShardState,
    pub(super) tree: &'a Tree,
    pub(super) now: Now,
    /// Bytes of output when the turn began.
    ///
    /// Invariant: at most the bytes that there are now.
    pub(super) out_before: usize,
    /// Units of work that the connection may do under this hold.
    pub(super) quantum: Work,
    /// Units of work done in this turn.
    pub(super) work: Cell<Work>,
    /// The request at hand goes on in the connection's next turn.
    pub(super) unfinished: bool,
    /// Requests that it may still give to the quorum core.
    pub(super) may_hand_over: usize,
}

impl<'a> ConnContext<'a> {
    /// A turn under `hold`.
    pub(super) fn new(
        conn: &'a mut Connection,
        shard: &'a mut ShardState,
        hold: &Hold<'a>,
        may_hand_over: usize,
    ) -> Self {
        let out_before = conn.out.len();
        Self {
            conn,
            shard,
            tree: hold.tree,
            now: hold.now,
            out_before,
            quantum: QUANTUM,
            work: Cell::new(0),
            unfinished: false,
            may_hand_over,
        }
    }

    /// Counts what was written in this turn and tells the shell.
    #[inline]
    pub(super) fn settle(&mut self) {
        let written = self.written();
        let was_announced = self.conn.announced;
        self.shard.announce(self.conn, written);
        if self.conn.announced && !was_announced {
            self.spend(ANNOUNCEMENT);
        }
        self.out_before = self.conn.out.len();
    }

    /// Bytes that the client has still to read, those of this turn included.
    #[inline]
    pub(super) fn unsent(&self) -> usize {
        self.conn.unsent.bytes() + self.written()
    }

    /// Ends the connection after what has been written.
    pub(super) fn close(&mut self, why: CloseReason) {
        // The turn's output counts before the shell hears of the end.
        self.settle();
        self.shard.close(self.conn, why);
    }

    /// The session has been heard of.
    #[inline]
    pub(super) fn touch(&mut self) {
        self.conn.touched_ms = self.now.mono_ms;
        self.shard.touched.push(self.conn);
    }

    /// Counts work that has been done.
    #[inline]
    pub(super) fn spend(&self, work: Work) {
        self.work.set(self.work.get().saturating_add(work));
    }

    /// Units of work left of the connection's quantum.
    #[inline]
    pub(super) fn work_left(&self) -> Work {
        self.quantum.saturating_sub(self.conn.spent.saturating_add(self.work.get()))
    }

    /// Bytes written in this turn and not counted yet.
    #[inline]
    fn written(&self) -> usize {
        assert!(self.out_before <= self.conn.out.len(), "the output only grows in a turn");
        self.conn.out.len() - self.out_before
    }

    /// The answer under way, or a new one. It has begun anew if `stamp` is not what it was.
    pub(super) fn long_read(&mut self, stamp: Stamp) -> Box<LongRead> {
        match self.conn.long.take() {
            Some(mut long) => {
                long.check(stamp);
                long
            }
            None => Box::new(LongRead::new(stamp)),
        }
    }

    /// Keeps an answer for the connection's next turn.
    pub(super) fn go_on_later(&mut self, long: Box<LongRead>) {
        debug_assert!(self.conn.long.is_none(), "one answer is under way at a time");
        self.conn.long = Some(long);
        self.unfinished = true;
    }

    /// Ends an answer, with the zxid that the tree has now, and moves it to the output.
    pub(super) fn finish_long(&mut self, long: LongRead, err: ErrorCode) {
        let frame = long.finish(self.tree.last_zxid().0, err);
        if self.conn.out.is_empty() {
            self.conn.out = frame;
        } else {
            self.conn.out.extend_from_slice(&frame);
        }
    }
}
