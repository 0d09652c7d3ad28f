//! The long read for which the tree is to stay as it is.
//!
//! A read of many turns begins anew when the data changes under it. Of those to which that has
//! happened one at a time, of each shard, asks the quorum core to hold commits back for a while. The
//! core has the last word (`quorum::Stillness`): between two such whiles it commits for longer than
//! they last. While the tree stays as it is, this read comes first in each hold.

use crate::handoff::ConnId;
use crate::zxid::Zxid;

/// The long read, if there is one, and whether the tree stays as it is.
#[derive(Debug, Default)]
pub(super) struct Still {
    /// Whose it is, and the monotonic milliseconds since which it has asked.
    reader: Option<(ConnId, i64)>,
    /// The tree's zxid under the last hold.
    zxid: Zxid,
    /// It is the same under this hold and under the one before, and the reader has had no part of
    /// this one.
    is_due: bool,
}

impl Still {
    /// A hold begins.
    pub(super) fn begin_hold(&mut self, zxid: Zxid) {
        self.is_due = self.zxid == zxid;
        self.zxid = zxid;
    }

    /// Whose read it is.
    pub(super) fn reader(&self) -> Option<ConnId> {
        self.reader.map(|(conn, _)| conn)
    }

    /// The reader, once in each hold under which the tree is what it was under the one before.
    pub(super) fn take_due(&mut self) -> Option<ConnId> {
        let reader = self.reader().filter(|_| self.is_due);
        self.is_due = false;
        reader
    }

    /// A connection has had its turn.
    #[inline]
    pub(super) fn note(&mut self, conn: ConnId, wants: bool, now_ms: i64) {
        if self.reader.is_none() && wants {
            self.reader = Some((conn, now_ms));
        } else if !wants && self.reader() == Some(conn) {
            self.reader = None;
        }
    }

    /// The reader does not ask for it any more.
    pub(super) fn end(&mut self) {
        self.reader = None;
    }

    /// For how many milliseconds the tree is to stay as it is; 0 if nobody asks. Whoever has not
    /// ended in some attempts asks for more.
    pub(super) fn wanted_ms(&self, now_ms: i64) -> u32 {
        let Some((_, since_ms)) = self.reader else { return 0 };
        let a_part = now_ms.saturating_sub(since_ms) / WAITED_PER_STILL;
        a_part.clamp(STILL_MS_MIN, STILL_MS_MAX) as u32
    }
}

/// Milliseconds for which the tree is to stay as it is at first: about as long as a list of 100,000
/// children takes. Whoever writes beside it waits as long.
const STILL_MS_MIN: i64 = 10;
/// The same at most: half as long as the longest reply there may be takes.
const STILL_MS_MAX: i64 = 256;
/// Milliseconds in which a read has not ended for each one that it asks for: only what does not end
/// in several short whiles gets a longer one.
const WAITED_PER_STILL: i64 = 8;
