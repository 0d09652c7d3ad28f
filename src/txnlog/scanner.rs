//! Reads a log file's bytes: its entries, and how they end: cleanly, in a torn tail or in damage.

use std::fmt;

use crate::zxid::Zxid;

use super::*;

/// One entry of a log file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Where it starts in the file.
    pub offset: usize,
    pub zxid: Zxid,
    /// Transaction header, record, digest; its checksum was right.
    pub payload: &'a [u8],
}

/// How a file ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanEnd {
    /// Only padding follows `offset`.
    Clean { offset: usize },
    /// What follows `offset` was being written when the server died and was never promised to anybody: it may be cut.
    TornTail { offset: usize, why: Damage },
    /// The entry at `offset` was whole once: others that follow it are, or it was marked durable. It must not be cut.
    Corrupt { offset: usize, why: Damage },
}

impl ScanEnd {
    /// Where the whole entries end.
    pub fn offset(self) -> usize {
        match self {
            Self::Clean { offset } | Self::TornTail { offset, .. } | Self::Corrupt { offset, .. } => offset,
        }
    }
}

/// What is wrong at the place where the whole entries end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The file is shorter than its header, or has only zeros there.
    NoHeader,
    /// The first four bytes are not "ZKLG".
    Magic(u32),
    /// An entry of no length, and something other than zeros behind it.
    NotPadding,
    /// The entry's length is negative or reaches beyond the file.
    Length(i32),
    /// The byte behind the payload is not 'B'.
    EndMark,
    /// The payload's checksum is another than the one before it.
    Checksum,
    /// The payload is too short for a transaction header.
    Short(usize),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHeader => write!(f, "the file header is missing"),
            Self::Magic(magic) => write!(f, "the file starts with 0x{magic:08x}, not with ZKLG"),
            Self::NotPadding => write!(f, "an empty record is followed by something other than zeros"),
            Self::Length(len) => write!(f, "the record's length {len} does not fit the file"),
            Self::EndMark => write!(f, "the record's end mark is missing"),
            Self::Checksum => write!(f, "the record's checksum is wrong"),
            Self::Short(len) => write!(f, "a record of {len} bytes can not hold a transaction"),
        }
    }
}

/// Iterates over the entries of a file; [`Scanner::end`] says how it ended once there are no more.
#[derive(Debug)]
pub struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    last: Option<Zxid>,
    /// Of a file that was zeroed in full before use, and has tail marks.
    nonce: Option<Nonce>,
    end: Option<ScanEnd>,
}

impl<'a> Scanner<'a> {
    /// A scanner over a whole file.
    pub fn new(bytes: &'a [u8]) -> Self {
        let mut scanner = Self { bytes, at: FILE_HEADER_BYTES, last: None, nonce: None, end: None };
        match bytes.first_chunk::<FILE_HEADER_BYTES>() {
            None => scanner.end = Some(ScanEnd::TornTail { offset: 0, why: Damage::NoHeader }),
            Some(header) => scanner.read_header(*header),
        }
        scanner
    }

    /// The file's nonce, if a server of ours wrote it: what its tail marks are sealed with.
    pub fn nonce(&self) -> Option<Nonce> {
        self.nonce
    }

    /// How the file ends; the remaining entries are passed over.
    pub fn end(&mut self) -> ScanEnd {
        while self.next().is_some() {}
        self.end.expect("an iterator that is at its end knows how it ended")
    }

    fn read_header(&mut self, header: [u8; FILE_HEADER_BYTES]) {
        let magic = u32::from_be_bytes([header[0], header[1], header[2], header[3]]);
        if magic != MAGIC {
            // Zeros, or the beginning of the magic and zeros, are a header that was being written.
            let arrived = header.iter().zip(MAGIC.to_be_bytes()).take_while(|(byte, magic)| **byte == *magic).count();
            let is_unwritten = header[arrived..].iter().all(|byte| *byte == 0);
            let why = if is_unwritten { Damage::NoHeader } else { Damage::Magic(magic) };
            self.end = Some(if is_unwritten && self.resync(0).first_valid.is_none() {
                ScanEnd::TornTail { offset: 0, why }
            } else {
                ScanEnd::Corrupt { offset: 0, why }
            });
        }
        self.nonce = Nonce::of_header(&header);
    }

    fn finish(&mut self, why: Option<Damage>) {
        let offset = self.at;
        self.end = Some(match why {
            None => ScanEnd::Clean { offset },
            Some(why) if self.is_torn(offset) => ScanEnd::TornTail { offset, why },
            Some(why) => ScanEnd::Corrupt { offset, why },
        });
    }

    /// Whether the bad entry at `offset` can be a crash's doing.
    fn is_torn(&self, offset: usize) -> bool {
        let beyond = self.resync(offset);
        if self.nonce.is_some() && beyond.durable > offset as u64 && !mutant!(TailMarkIgnored) {
            return false;
        }
        match beyond.first_valid {
            None => true,
            // Entries of one flush may have arrived without those before them, but then a sector before them is missing.
            Some(_) if mutant!(LostSectorIsDamage) => false,
            Some(valid) => self.nonce.is_some() && has_lost_sector(self.bytes, offset, valid),
        }
    }

    /// Looks for whole entries and tail marks anywhere behind the bad entry at `offset`.
    fn resync(&self, offset: usize) -> Beyond {
        let mut beyond = Beyond { first_valid: None, durable: 0 };
        let mut checksummed = 0;
        let mut at = offset;
        while at + ENTRY_HEADER_BYTES <= self.bytes.len() {
            if self.bytes[at..].first_chunk() == Some(&[0; RESYNC_STEP_BYTES]) {
                at += RESYNC_STEP_BYTES / 2;
                continue;
            }
            match parse(self.bytes, at, self.nonce, |len| checksummed += len) {
                Parsed::Entry(entry) if self.last.is_none_or(|last| entry.zxid > last) => {
                    beyond.first_valid.get_or_insert(at);
                    at += entry.payload.len() + ENTRY_OVERHEAD_BYTES;
                    continue;
                }
                Parsed::Mark(durable) if durable <= at as u64 => beyond.durable = beyond.durable.max(durable),
                _ => {}
            }
            if checksummed > RESYNC_BYTES_MAX {
                // Something that looks like this many entries is no crash's doing.
                beyond.first_valid.get_or_insert(at);
                break;
            }
            at += 1;
        }
        beyond
    }
}

impl<'a> Iterator for Scanner<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        if self.end.is_some() {
            return None;
        }
        match parse(self.bytes, self.at, self.nonce, |_| {}) {
            Parsed::Entry(entry) => {
                self.at += entry.payload.len() + ENTRY_OVERHEAD_BYTES;
                self.last = Some(entry.zxid);
                return Some(entry);
            }
            Parsed::Padding if is_zero(&self.bytes[self.at..]) => self.finish(None),
            Parsed::Mark(_) if is_zero(&self.bytes[self.at + TAIL_MARK_BYTES..]) => self.finish(None),
            Parsed::Padding | Parsed::Mark(_) => self.finish(Some(Damage::NotPadding)),
            Parsed::Bad(why) => self.finish(Some(why)),
        }
        None
    }
}

/// What a resync found behind a bad entry.
struct Beyond {
    /// Where the first whole entry starts.
    first_valid: Option<usize>,
    /// The highest durable offset that a tail mark tells of.
    durable: u64,
}

enum Parsed<'a> {
    Entry(Entry<'a>),
    /// Length 0, or fewer zeros than an entry's header to the end of the file.
    Padding,
    Mark(u64),
    Bad(Damage),
}

/// What stands at `at`; `on_checksum` hears how many bytes were summed up.
fn parse<'a>(bytes: &'a [u8], at: usize, nonce: Option<Nonce>, mut on_checksum: impl FnMut(usize)) -> Parsed<'a> {
    let rest = bytes.get(at..).unwrap_or_default();
    let Some((header, body)) = rest.split_first_chunk::<ENTRY_HEADER_BYTES>() else {
        return if is_zero(rest) { Parsed::Padding } else { Parsed::Bad(Damage::NotPadding) };
    };
    let [c0, c1, c2, c3, c4, c5, c6, c7, l0, l1, l2, l3] = *header;
    let checksum = u64::from_be_bytes([c0, c1, c2, c3, c4, c5, c6, c7]);
    let len = i32::from_be_bytes([l0, l1, l2, l3]);
    if len == 0 {
        return match nonce.and_then(|nonce| read_tail_mark(nonce, at as u64, rest)) {
            Some(durable) => Parsed::Mark(durable),
            None if checksum == 0 => Parsed::Padding,
            None => Parsed::Bad(Damage::NotPadding),
        };
    }
    let split = usize::try_from(len).ok().and_then(|len| body.split_at_checked(len));
    let Some((payload, [end, ..])) = split else { return Parsed::Bad(Damage::Length(len)) };
    if *end != END_MARK {
        return Parsed::Bad(Damage::EndMark);
    }
    let Some(zxid) = payload_zxid(payload) else { return Parsed::Bad(Damage::Short(payload.len())) };
    if checksum > u64::from(u32::MAX) {
        return Parsed::Bad(Damage::Checksum);
    }
    on_checksum(payload.len());
    if checksum != u64::from(adler32(payload)) && !mutant!(ChecksumIgnored) {
        return Parsed::Bad(Damage::Checksum);
    }
    Parsed::Entry(Entry { offset: at, zxid, payload })
}

/// Whether one of the sectors from that of `from` on may have stayed as it was before the entries were written: it then ends
/// in a zero. The sector with the first byte of the entry at `valid` that is not zero did arrive.
fn has_lost_sector(bytes: &[u8], from: usize, valid: usize) -> bool {
    let zeros = bytes[valid..].iter().take_while(|byte| **byte == 0).count();
    let sectors = from / SECTOR_BYTES..(valid + zeros) / SECTOR_BYTES;
    sectors.into_iter().any(|sector| bytes.get((sector + 1) * SECTOR_BYTES - 1) == Some(&0))
}

fn is_zero(bytes: &[u8]) -> bool {
    let (chunks, rest) = bytes.as_chunks::<64>();
    chunks.iter().all(|chunk| *chunk == [0; 64]) && rest.iter().all(|byte| *byte == 0)
}

/// Zeros that a resync passes over at once; half of them, so that an entry that starts with zeros is not missed.
const RESYNC_STEP_BYTES: usize = 32;
/// Bytes that a resync checksums before it gives up.
const RESYNC_BYTES_MAX: usize = 4 << 30;
