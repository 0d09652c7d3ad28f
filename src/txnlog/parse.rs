//! The item at a place of a log file: an entry, padding, a tail mark or nothing that is whole.

use std::fmt;

use simd_adler32::Adler32;

use crate::pieces::{PIECE_BYTES, ReadError, Source, Window};
use crate::zxid::Zxid;

use super::*;

/// The fault at the place where the whole entries end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The file is shorter than its header, or has only zeros there.
    NoHeader,
    /// The first four bytes are not "ZKLG".
    Magic(u32),
    /// An entry of no length, and something other than zeros after it.
    NotPadding,
    /// The entry's length is negative or reaches beyond the file.
    Length(i32),
    /// The byte after the payload is not 'B'.
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
            Self::NotPadding => {
                write!(f, "an empty record is followed by something other than zeros")
            }
            Self::Length(len) => write!(f, "the record's length {len} does not fit the file"),
            Self::EndMark => write!(f, "the record's end mark is missing"),
            Self::Checksum => write!(f, "the record's checksum is wrong"),
            Self::Short(len) => write!(f, "a record of {len} bytes cannot hold a transaction"),
        }
    }
}

/// An item of a log file.
pub(super) enum Parsed {
    /// A whole entry with a payload of `len` bytes.
    Entry {
        zxid: Zxid,
        len: usize,
    },
    /// Length 0, or fewer zeros than an entry's header to the end of the file.
    Padding,
    /// A tail mark of this file, with zeros before it or not: what it claims, and where it ends.
    Mark {
        claim: Claim,
        end: u64,
    },
    Bad(Damage),
}

/// Reads the item at `at`. Memory does not grow by a length that is not the one of a whole entry.
pub(super) fn parse<S: Source>(
    window: &mut Window<S>,
    nonce: Option<Nonce>,
    at: u64,
) -> Result<Parsed, ReadError> {
    let file_bytes = window.bytes();
    let head = window.at(at, HEAD_BYTES)?;
    let Some([c0, c1, c2, c3, c4, c5, c6, c7, l0, l1, l2, l3]) =
        head.first_chunk::<ENTRY_HEADER_BYTES>().copied()
    else {
        return Ok(if is_zero(head) { Parsed::Padding } else { Parsed::Bad(Damage::NotPadding) });
    };
    let checksum = u64::from_be_bytes([c0, c1, c2, c3, c4, c5, c6, c7]);
    let len = i32::from_be_bytes([l0, l1, l2, l3]);
    if len == 0 {
        return Ok(match nonce.and_then(|nonce| mark_after(nonce, at, head)) {
            Some((claim, end)) => Parsed::Mark { claim, end },
            None if checksum == 0 => Parsed::Padding,
            None => Parsed::Bad(Damage::NotPadding),
        });
    }
    let zxid = head.get(ENTRY_HEADER_BYTES..).and_then(payload_zxid);
    let start = at + ENTRY_HEADER_BYTES as u64;
    let end = u64::try_from(len).ok().map(|len| start + len).filter(|end| *end < file_bytes);
    let Some(end) = end else { return Ok(Parsed::Bad(Damage::Length(len))) };
    if window.peek(end)? != Some(END_MARK) {
        return Ok(Parsed::Bad(Damage::EndMark));
    }
    let len = (end - start) as usize;
    let Some(zxid) = zxid.filter(|_| len >= PAYLOAD_BYTES_MIN) else {
        return Ok(Parsed::Bad(Damage::Short(len)));
    };
    if checksum != u64::from(sum(window, start, len)?) && !mutant!(ChecksumIgnored) {
        return Ok(Parsed::Bad(Damage::Checksum));
    }
    Ok(Parsed::Entry { zxid, len })
}

/// The mark after entries that end at `end`, where `head` stands, and the offset at which it ends.
pub(super) fn mark_after(nonce: Nonce, end: u64, head: &[u8]) -> Option<(Claim, u64)> {
    [end, mark_offset(end)].into_iter().find_map(|offset| {
        let (gap, mark) = head.split_at_checked((offset - end) as usize)?;
        let claim = read_tail_mark(nonce, offset, mark).filter(|_| is_zero(gap))?;
        Some((claim, offset + TAIL_MARK_BYTES as u64))
    })
}

/// The checksum of `len` bytes from `start` on, which the file has.
pub(super) fn sum<S: Source>(
    window: &mut Window<S>,
    start: u64,
    len: usize,
) -> Result<u32, ReadError> {
    if len <= PIECE_BYTES {
        return Ok(adler32(window.at(start, len)?));
    }
    let (mut adler, mut done) = (Adler32::new(), 0);
    while done < len {
        let piece = window.at(start + done as u64, PIECE_BYTES.min(len - done))?;
        adler.write(piece);
        done += piece.len();
    }
    Ok(adler.finish())
}

pub(super) fn is_zero(bytes: &[u8]) -> bool {
    let (chunks, rest) = bytes.as_chunks::<64>();
    chunks.iter().all(|chunk| *chunk == [0; 64]) && rest.iter().all(|byte| *byte == 0)
}

/// As much of an entry as tells what it claims to be: its header and the one of its transaction. A
/// tail mark and the gap before it are shorter.
pub(super) const HEAD_BYTES: usize = ENTRY_HEADER_BYTES + PAYLOAD_BYTES_MIN;
const _: () = assert!(HEAD_BYTES >= TAIL_ROOM_BYTES);
