//! The bytes after a bad entry, and whether they prove that the entry was whole once.
//!
//! A crash leaves a bad entry as well: the one that was being written. To take that for damage
//! refuses a start for nothing, to take damage for that loses acknowledged writes. What a client
//! writes must decide neither, and its data may hold anything that a log file holds. So:
//!
//! * A tail mark counts wherever it stands: it is sealed with a nonce that no client knows.
//! * An entry counts if its checksum is right, if its zxid may follow that of the last whole entry
//!   (no more entries fit between the two than the zxids have between them), and if it does not lie
//!   inside the bad entry, whose length says where its data ends.
//!
//! Of a file that another server has written there are no marks. There, an entry inside the bad one
//! counts all the same if the bad one's length is what is wrong with it: if its header is none that
//! may follow, or if its checksum is right for the bytes up to where the other entry starts.

#[cfg(test)]
mod tests;

use crate::pieces::{ReadError, Source, Window};
use crate::zxid::Zxid;

use super::parse::{Parsed, parse, sum};
use super::*;

/// The evidence found after a bad entry.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    /// The highest durable offset that a tail mark claims.
    pub(super) durable: u64,
    /// The last tail mark: where it stands, and what it claims.
    pub(super) mark: Option<(u64, Claim)>,
    /// An older tail mark stands before it, or where the bad entry does: the sector did not get the
    /// entries that overwrite it.
    pub(super) has_older_mark: bool,
    /// Where the first entry that counts stands.
    pub(super) entry: Option<u64>,
}

/// Looks for whole entries and tail marks anywhere after the bad entry at `offset`; `last` is the
/// entry before it.
pub(super) fn gather<S: Source>(
    window: &mut Window<S>,
    nonce: Option<Nonce>,
    last: Option<Zxid>,
    offset: u64,
) -> Result<Evidence, ReadError> {
    let bad = BadEntry::read(window, last, offset)?;
    let mut search =
        Search { window, nonce, last, bad, offset, summed: 0, found: Evidence::default() };
    let mut at = offset;
    while let Some(next) = search.look(at)? {
        at = next;
    }
    Ok(search.found)
}

/// The bad entry as its header describes it.
struct BadEntry {
    checksum: u64,
    /// Where the entry ends; beyond the end of the file if it was cut.
    end: u64,
    /// Its zxid may follow the last one.
    follows: bool,
}

impl BadEntry {
    fn read<S: Source>(
        window: &mut Window<S>,
        last: Option<Zxid>,
        offset: u64,
    ) -> Result<Self, ReadError> {
        let head = window.at(offset, ENTRY_HEADER_BYTES + PAYLOAD_BYTES_MIN)?;
        let checksum = head.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        let len = head
            .get(8..)
            .and_then(|bytes| bytes.first_chunk())
            .map_or(0, |bytes| i32::from_be_bytes(*bytes));
        let zxid = head.get(ENTRY_HEADER_BYTES..).and_then(payload_zxid);
        let is_entry = len >= PAYLOAD_BYTES_MIN as i32 && checksum <= u64::from(u32::MAX);
        let end = if is_entry { offset + len as u64 + ENTRY_OVERHEAD_BYTES as u64 } else { offset };
        Ok(Self { checksum, end, follows: zxid.is_some_and(|zxid| follows(last, zxid, 1)) })
    }
}

struct Search<'a, S> {
    window: &'a mut Window<S>,
    nonce: Option<Nonce>,
    last: Option<Zxid>,
    bad: BadEntry,
    /// Where the bad entry starts.
    offset: u64,
    /// Bytes that were checksummed.
    summed: u64,
    found: Evidence,
}

impl<S: Source> Search<'_, S> {
    /// Looks at one place; returns the next one.
    fn look(&mut self, at: u64) -> Result<Option<u64>, ReadError> {
        let some = self.window.some(at)?;
        if some.is_empty() {
            return Ok(None);
        }
        // Marks start with their tag, entries with zeros.
        let dull =
            some.iter().take_while(|byte| **byte != 0 && **byte != TAIL_MARK_FIRST_BYTE).count();
        if dull > 0 {
            return Ok(Some(at + dull as u64));
        }
        let zeros = some.iter().take_while(|byte| **byte == 0).count() as u64;
        if zeros > ZEROS_MAX {
            // An entry may start with zeros.
            return Ok(Some(at + zeros - ZEROS_MAX));
        }
        let head = self.window.at(at, TAIL_MARK_BYTES)?;
        if let Some(claim) = self.nonce.and_then(|nonce| read_tail_mark(nonce, at, head)) {
            self.found.durable = self.found.durable.max(claim.durable);
            self.found.has_older_mark |= self.found.mark.is_some() || self.is_of_last(at);
            if !self.is_of_last(at) {
                self.found.mark = Some((at, claim));
            }
            return Ok(Some(at + TAIL_MARK_BYTES as u64));
        }
        let Some(zxid) = self.candidate(at)? else { return Ok(Some(at + 1)) };
        if !follows(self.last, zxid, self.entries_between(at)) {
            return Ok(Some(at + 1));
        }
        match parse(self.window, self.nonce, at)? {
            Parsed::Entry { len, .. } if self.counts(at)? => {
                self.found.entry = Some(at);
                // Of a file without marks there is nothing more to know.
                Ok(self.nonce.map(|_| at + (len + ENTRY_OVERHEAD_BYTES) as u64))
            }
            _ => Ok(Some(at + 1)),
        }
    }

    /// The zxid of what may be an entry at `at` that counts, by its first bytes.
    fn candidate(&mut self, at: u64) -> Result<Option<Zxid>, ReadError> {
        let is_settled =
            self.found.entry.is_some() || (self.nonce.is_some() && self.summed > SUMMED_BYTES_MAX);
        if at <= self.offset || is_settled || (at < self.bad.end && self.nonce.is_some()) {
            return Ok(None);
        }
        let head = self.window.at(at, ENTRY_HEADER_BYTES + PAYLOAD_BYTES_MIN)?;
        let [0, 0, 0, 0, ..] = head else { return Ok(None) };
        let zxid = head.get(ENTRY_HEADER_BYTES..).and_then(payload_zxid);
        let len = head
            .get(8..)
            .and_then(|bytes| bytes.first_chunk())
            .map_or(0, |bytes| i32::from_be_bytes(*bytes));
        let end = u64::try_from(len).ok().map(|len| at + len + ENTRY_HEADER_BYTES as u64);
        match end {
            Some(end) if len > 0 && self.window.peek(end)? == Some(END_MARK) => {
                self.summed += len as u64;
                Ok(zxid)
            }
            _ => Ok(None),
        }
    }

    /// Whether a tail mark at `at` follows the last whole entry.
    fn is_of_last(&self, at: u64) -> bool {
        [self.offset, mark_offset(self.offset)].contains(&at)
    }

    /// Whether a whole entry at `at`, whose zxid may follow, is no data of the bad entry's.
    fn counts(&mut self, at: u64) -> Result<bool, ReadError> {
        if at >= self.bad.end || !self.bad.follows {
            return Ok(true);
        }
        if self.summed > SUMMED_BYTES_MAX {
            // No crash leaves something that looks like this many entries.
            return Ok(true);
        }
        let start = self.offset + ENTRY_HEADER_BYTES as u64;
        let Some(len) = at.checked_sub(start + 1).filter(|len| *len >= PAYLOAD_BYTES_MIN as u64)
        else {
            return Ok(false);
        };
        self.summed += len;
        let is_end = self.window.peek(at - 1)? == Some(END_MARK);
        Ok(is_end && self.bad.checksum == u64::from(sum(self.window, start, len as usize)?))
    }

    /// Entries that fit between the last whole one and `at`, and the one at `at`.
    fn entries_between(&self, at: u64) -> u64 {
        (at - self.offset) / (ENTRY_OVERHEAD_BYTES + PAYLOAD_BYTES_MIN) as u64 + 1
    }
}

/// Whether the `nth` entry after `last`, or one before it, may have this zxid: within an epoch each
/// is one more than the one before, and an epoch starts at 1.
fn follows(last: Option<Zxid>, zxid: Zxid, nth: u64) -> bool {
    let Some(last) = last else { return zxid > Zxid::ZERO };
    let counter = |zxid: Zxid| u64::from(zxid.counter());
    if zxid.epoch() == last.epoch() {
        return (counter(last) + 1..=counter(last) + nth).contains(&counter(zxid));
    }
    zxid.epoch() > last.epoch() && (1..=nth).contains(&counter(zxid))
}

/// The first byte of [`TAIL_MARK_TAG`].
const TAIL_MARK_FIRST_BYTE: u8 = (TAIL_MARK_TAG >> 8) as u8;
/// Zeros that an entry or a mark may start with.
const ZEROS_MAX: u64 = 16;
/// Bytes that a search checksums before it gives up.
const SUMMED_BYTES_MAX: u64 = 4 << 30;
