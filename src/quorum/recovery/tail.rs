//! The latest records of a log that is replayed, for the memory of a leader.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::txnlog::Entry;
use crate::zab::{Logged, follows};
use crate::zxid::Zxid;

/// A row of records without a gap, the oldest of which go at a bound.
#[derive(Debug)]
pub(super) struct Tail {
    count_max: usize,
    bytes_max: usize,
    /// Invariant: each follows the one before; at most `count_max` of at most `bytes_max` bytes.
    latest: VecDeque<Logged>,
    bytes: usize,
    /// The zxid of the snapshot, until the log has come to it.
    base: Option<Zxid>,
}

impl Tail {
    /// An empty row of at most so many records and bytes, of a log that is read across the snapshot
    /// of `base`.
    pub(super) fn new((count_max, bytes_max): (usize, usize), base: Zxid) -> Self {
        Self { count_max, bytes_max, latest: VecDeque::new(), bytes: 0, base: Some(base) }
    }

    /// The next entry of the log.
    pub(super) fn note(&mut self, entry: &Entry<'_>) {
        if self.count_max == 0 {
            return;
        }
        let last = self.latest.back().map(|logged| logged.zxid);
        if last.is_some_and(|last| entry.zxid <= last) {
            // A copy, or Apache's repetition for what it could not decode.
            return;
        }
        // What comes before a snapshot is of its history only if it leads to the very transaction
        // that the snapshot is named after.
        let passes_it = self.base.is_some_and(|base| entry.zxid > base);
        if passes_it || last.is_some_and(|last| !follows(last, entry.zxid)) {
            self.latest.clear();
            self.bytes = 0;
        }
        self.base = self.base.filter(|base| entry.zxid < *base);
        let record = Bytes::copy_from_slice(entry.payload);
        self.bytes += record.len();
        self.latest.push_back(Logged { zxid: entry.zxid, record });
        while self.latest.len() > self.count_max || self.bytes > self.bytes_max {
            let Some(oldest) = self.latest.pop_front() else { break };
            self.bytes -= oldest.record.len();
        }
    }

    /// The row, if it ends with `last`.
    pub(super) fn take(self, last: Zxid) -> Vec<Logged> {
        let ends_there = self.latest.back().is_some_and(|logged| logged.zxid == last);
        if ends_there { self.latest.into() } else { Vec::new() }
    }
}
