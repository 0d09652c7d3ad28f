//! One connection's turn: the connection, its shard, the tree and the time.

use crate::tree::Tree;
use crate::zxid::Now;

use super::connection::Connection;
use super::state::ShardState;

/// One connection's turn: everything that serving it takes.
pub(super) struct ConnContext<'a> {
    pub(super) conn: &'a mut Connection,
    pub(super) shard: &'a mut ShardState,
    pub(super) tree: &'a Tree,
    pub(super) now: Now,
    /// Bytes of output when the turn began.
    pub(super) out_before: usize,
}

impl ConnContext<'_> {
    /// Counts what was written in this turn and tells the shell.
    #[inline]
    pub(super) fn settle(&mut self) {
        let written = self.conn.out.len() - self.out_before;
        self.shard.announce(self.conn, written);
    }

    /// Bytes that the client has still to read, those of this turn included.
    #[inline]
    pub(super) fn unsent(&self) -> usize {
        self.conn.unsent + (self.conn.out.len() - self.out_before)
    }

    /// Ends the connection behind what has been written.
    pub(super) fn close(&mut self) {
        // The turn's output counts before the shell hears of the end.
        self.settle();
        self.out_before = self.conn.out.len();
        self.shard.close(self.conn);
    }

    /// The session has been heard of.
    #[inline]
    pub(super) fn touch(&mut self) {
        self.conn.touched_ms = self.now.mono_ms;
        self.shard.touched.push(self.conn);
    }
}
