//! The zeros at the ends of sectors, which a mark counts.

use std::collections::VecDeque;

use super::super::trailing_zeros;

/// The zeros of one file's entries.
#[derive(Debug, Default)]
pub(super) struct Zeros {
    /// Of all entries.
    all: u64,
    /// Of those that were durable when [`Self::after`] was asked last.
    durable: u64,
    /// Where each append since then ended, and `all` at that moment: as many as there are appends
    /// between two flushes, none where nothing is flushed. A flush ends where an append has ended.
    appended: VecDeque<(u64, u64)>,
}

impl Zeros {
    /// Entries have been appended at `offset`, to be flushed or not.
    pub(super) fn append(&mut self, offset: u64, entries: &[u8], is_flushed: bool) {
        self.all += trailing_zeros(offset, entries);
        if is_flushed {
            self.appended.push_back((offset + entries.len() as u64, self.all));
        }
    }

    /// Of the entries after `durable`, which is not less than it was before.
    pub(super) fn after(&mut self, durable: u64) -> u64 {
        while let Some((_, all)) = self.appended.pop_front_if(|(end, _)| *end <= durable) {
            self.durable = all;
        }
        self.all - self.durable
    }
}
