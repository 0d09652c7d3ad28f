//! The room that is certain, and the splitting of entries over files.
//!
//! An entry is never split, so up to one entry less a byte is lost at the end of every file that is
//! gone beyond. What is promised counts that loss for every file, so it holds however the bytes are
//! cut into entries.

use super::spares::Spare;
use super::*;

impl LogWriter {
    /// Bytes of entries that are certain to fit, of which the caller has encoded `pending` and not
    /// yet appended. It holds however they are cut into entries, whether or not the log is rolled
    /// in between, until it is used up or asked for again; and what is pending then stays promised.
    pub fn room(&mut self, pending: u64) -> u64 {
        self.check();
        let owed = pending.min(self.promised);
        let fresh = self.spare_room();
        self.promised = if self.failed {
            0
        } else if self.roll_wanted && !self.spares.is_empty() && fresh >= owed {
            // The rest of the current file is about to be given up.
            fresh
        } else {
            self.guaranteed()
        };
        assert!(self.failed || self.promised >= owed, "{} of {owed} owed bytes", self.promised);
        self.check();
        self.promised
    }

    /// Bytes of entries that fit however they are cut, if the current file is filled first.
    pub(super) fn guaranteed(&self) -> u64 {
        match self.spares.is_empty() {
            true => self.rest(),
            false => {
                self.rest().saturating_sub(self.settings.entry_bytes_max()) + self.spare_room()
            }
        }
    }

    /// The number of bytes of `entries` that go into each file from the current one on; none where
    /// they do not fit. The current file's part may be empty.
    pub(super) fn split(&self, entries: &[u8]) -> Option<Vec<usize>> {
        let rolls =
            self.roll_wanted && !self.spares.is_empty() && self.spare_room() >= self.promised;
        let rest = if rolls { 0 } else { self.rest() };
        if entries.len() as u64 <= rest {
            return Some(vec![entries.len()]);
        }
        let mut parts = Vec::with_capacity(2);
        let mut left = entries;
        for capacity in std::iter::once(rest).chain(self.spares.iter().map(Spare::capacity)) {
            let part = whole_entries(left, capacity);
            // A file is named after its first entry.
            if part == 0 && !parts.is_empty() {
                return None;
            }
            parts.push(part);
            left = &left[part..];
            if left.is_empty() {
                return Some(parts);
            }
        }
        None
    }

    /// Bytes left for entries in the current file.
    fn rest(&self) -> u64 {
        let room = TAIL_ROOM_BYTES as u64;
        self.files.back().map_or(0, |file| file.bytes - file.end - room)
    }

    /// Bytes that are certain to fit into the spare files.
    fn spare_room(&self) -> u64 {
        let all: u64 = self.spares.iter().map(Spare::capacity).sum();
        let lost = self.spares.len().saturating_sub(1) as u64 * self.settings.entry_bytes_max();
        all.saturating_sub(lost)
    }
}

/// Bytes of the entries at the front of `entries` that fit into `capacity` together.
fn whole_entries(entries: &[u8], capacity: u64) -> usize {
    let mut part = 0;
    while let Some((len, _)) = first_entry(&entries[part..])
        && (part + len) as u64 <= capacity
    {
        part += len;
    }
    part
}
