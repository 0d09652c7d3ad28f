//! Reads a log file: its entries, and how they end: cleanly, in a torn tail or in damage.

use crate::pieces::{ReadError, Source, Window};
use crate::zxid::Zxid;

use super::evidence::{self, Evidence};
use super::parse::{Damage, Parsed, is_zero, parse};
use super::*;

/// One entry of a log file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The offset at which it starts in the file.
    pub offset: u64,
    pub zxid: Zxid,
    /// Transaction header, record, digest; its checksum was right.
    pub payload: &'a [u8],
}

impl Entry<'_> {
    /// Where it ends in the file.
    pub fn end(&self) -> u64 {
        self.offset + (self.payload.len() + ENTRY_OVERHEAD_BYTES) as u64
    }
}

/// The end of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanEnd {
    /// Only padding follows `offset`.
    Clean { offset: u64 },
    /// The bytes after `offset` were being written when the server died and were never promised to
    /// anybody: they may be cut.
    TornTail { offset: u64, why: Damage },
    /// The entry at `offset` was whole once: what follows it proves that. It must not be cut.
    Corrupt { offset: u64, why: Damage },
}

impl ScanEnd {
    /// The offset at which the whole entries end.
    pub fn offset(self) -> u64 {
        match self {
            Self::Clean { offset }
            | Self::TornTail { offset, .. }
            | Self::Corrupt { offset, .. } => offset,
        }
    }
}

/// Goes over the entries of a file; [`Scanner::end`] says how it ended once there are no more.
///
/// It holds a piece of the file, or the longest entry whose checksum was right, in memory.
#[derive(Debug)]
pub struct Scanner<S> {
    window: Window<S>,
    /// Where the next entry starts; 0 before the header was read.
    at: u64,
    /// The last entry.
    last: Option<Zxid>,
    /// The file's nonce: it was zeroed in full before use and has tail marks.
    nonce: Option<Nonce>,
    /// Up to where a tail mark proves the file to be durable.
    durable: u64,
    end: Option<ScanEnd>,
}

impl<S: Source> Scanner<S> {
    /// A scanner over a whole file.
    pub fn new(source: S) -> Self {
        Self { window: Window::new(source), at: 0, last: None, nonce: None, durable: 0, end: None }
    }

    /// The nonce of a file that a server of ours made; none of other files, and before the first
    /// entry was asked for.
    pub fn nonce(&self) -> Option<Nonce> {
        self.nonce
    }

    /// Up to where the file proves itself to be durable, by a tail mark: one is only written when a
    /// flush of all that it claims has succeeded. 0 without one; known at the end.
    pub fn durable(&self) -> u64 {
        self.durable
    }

    /// The length of the file in bytes.
    pub fn bytes(&self) -> u64 {
        self.window.bytes()
    }

    /// The end of the file; the remaining entries are passed over.
    pub fn end(&mut self) -> Result<ScanEnd, ReadError> {
        loop {
            if let Some(end) = self.end {
                return Ok(end);
            }
            self.next_entry()?;
        }
    }

    /// The next entry; none once the end is reached.
    pub fn next_entry(&mut self) -> Result<Option<Entry<'_>>, ReadError> {
        if self.at == 0 && self.end.is_none() {
            self.read_header()?;
        }
        if self.end.is_some() {
            return Ok(None);
        }
        let at = self.at;
        match parse(&mut self.window, self.nonce, at)? {
            Parsed::Entry { zxid, len } => {
                self.at = at + (len + ENTRY_OVERHEAD_BYTES) as u64;
                self.last = Some(zxid);
                let payload = self.window.at(at + ENTRY_HEADER_BYTES as u64, len)?;
                debug_assert_eq!(payload.len(), len, "the entry was read a moment ago");
                return Ok(Some(Entry { offset: at, zxid, payload }));
            }
            Parsed::Padding if self.is_zero(at)? => self.end = Some(ScanEnd::Clean { offset: at }),
            Parsed::Mark { claim, end } if self.is_zero(end)? => {
                self.durable = claim.durable;
                self.end = Some(ScanEnd::Clean { offset: at });
            }
            Parsed::Padding | Parsed::Mark { .. } => self.finish(Damage::NotPadding)?,
            Parsed::Bad(why) => self.finish(why)?,
        }
        Ok(None)
    }

    fn read_header(&mut self) -> Result<(), ReadError> {
        let Some(header) =
            self.window.at(0, FILE_HEADER_BYTES)?.first_chunk::<FILE_HEADER_BYTES>().copied()
        else {
            self.end = Some(ScanEnd::TornTail { offset: 0, why: Damage::NoHeader });
            return Ok(());
        };
        let [m0, m1, m2, m3, ..] = header;
        let magic = u32::from_be_bytes([m0, m1, m2, m3]);
        if magic != MAGIC {
            // Zeros, or the beginning of the magic and zeros, are a header that was being written.
            let arrived = header
                .iter()
                .zip(MAGIC.to_be_bytes())
                .take_while(|(byte, magic)| **byte == *magic)
                .count();
            let is_unwritten = header[arrived..].iter().all(|byte| *byte == 0);
            let why = if is_unwritten { Damage::NoHeader } else { Damage::Magic(magic) };
            let is_torn = is_unwritten && self.evidence(0)?.entry.is_none();
            self.end = Some(match is_torn {
                true => ScanEnd::TornTail { offset: 0, why },
                false => ScanEnd::Corrupt { offset: 0, why },
            });
            return Ok(());
        }
        self.nonce = Nonce::of_header(&header);
        self.at = FILE_HEADER_BYTES as u64;
        Ok(())
    }

    /// Decides about the bad entry at the current place.
    fn finish(&mut self, why: Damage) -> Result<(), ReadError> {
        let offset = self.at;
        let evidence = self.evidence(offset)?;
        let is_corrupt = match self.nonce {
            // Whatever a mark claims was flushed, so that no crash can have taken it away. Else
            // what follows proves the entry only if each of its sectors did arrive.
            Some(_) if evidence.durable > offset && !mutant!(TailMarkIgnored) => true,
            Some(_) => self.has_all_arrived(offset, &evidence)?,
            None => evidence.entry.is_some(),
        };
        self.end = Some(match is_corrupt {
            true => ScanEnd::Corrupt { offset, why },
            false => ScanEnd::TornTail { offset, why },
        });
        self.durable = evidence.durable.min(offset);
        Ok(())
    }

    fn evidence(&mut self, offset: u64) -> Result<Evidence, ReadError> {
        evidence::gather(&mut self.window, self.nonce, self.last, offset)
    }

    /// Whether each sector from that of the bad entry at `offset` up to a mark or an entry after it
    /// did arrive.
    fn has_all_arrived(&mut self, offset: u64, evidence: &Evidence) -> Result<bool, ReadError> {
        if evidence.has_older_mark && !mutant!(LostSectorIsDamage) {
            return Ok(false);
        }
        let arrived = match (evidence.mark.filter(|_| !mutant!(TailMarkIgnored)), evidence.entry) {
            (Some((mark, claim)), _) => {
                if mutant!(ZerosNotCounted) {
                    return Ok(!self.has_lost_sector(offset, mark)?);
                }
                self.zeros(claim.durable, mark)? <= claim.zeros
            }
            (None, Some(behind)) => !self.has_lost_sector(offset, behind)?,
            (None, None) => return Ok(false),
        };
        Ok(arrived || mutant!(LostSectorIsDamage))
    }

    /// The zeros in which the sectors end that end after `from`, not after `to`.
    fn zeros(&mut self, from: u64, to: u64) -> Result<u64, ReadError> {
        let (mut zeros, mut at) = (0, from);
        while at < to {
            let end = (at / SECTOR_BYTES as u64 + 1) * SECTOR_BYTES as u64;
            zeros += trailing_zeros(at, self.window.at(at, (end.min(to) - at) as usize)?);
            at = end;
        }
        Ok(zeros)
    }

    /// Whether one of the sectors from that of `from` on may have stayed as it was before the
    /// entries were written: it then ends in a zero. The sector with the first byte at `behind`
    /// that is not zero did arrive.
    fn has_lost_sector(&mut self, from: u64, behind: u64) -> Result<bool, ReadError> {
        let mut arrived = behind;
        while self.window.peek(arrived)? == Some(0) {
            arrived += 1;
        }
        for sector in from / SECTOR_BYTES as u64..arrived / SECTOR_BYTES as u64 {
            if self.window.peek((sector + 1) * SECTOR_BYTES as u64 - 1)? == Some(0) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether only zeros follow.
    fn is_zero(&mut self, mut at: u64) -> Result<bool, ReadError> {
        loop {
            let some = self.window.some(at)?;
            if some.is_empty() {
                return Ok(true);
            }
            if !is_zero(some) {
                return Ok(false);
            }
            at += some.len() as u64;
        }
    }
}
