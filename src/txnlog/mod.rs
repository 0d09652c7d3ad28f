//! Apache's transaction log format, over bytes.
//!
//! ```text
//! file    header entry* padding
//! header  int magic "ZKLG" · int version 2 · long dbid                                    16 bytes
//! entry   long Adler-32 of the payload · int length · payload · byte 'B'        13 bytes + payload
//! padding zeros to the preallocated length; an entry of length 0 ends the file for every reader
//! ```
//!
//! Apache's readers check the magic only. Bytes that no reader looks at are used, so that after a
//! crash what was never promised can be told from what was damaged:
//!
//! * The dbid of a file of ours is the tag "RK" and a [`Nonce`], 48 random bits of this file alone.
//!   It says that every block of the file was written with zeros before the first entry.
//! * A tail mark ([`tail_mark`]) follows the last entry of each append. The next entry overwrites
//!   it.
//!
//! ```text
//! mark    short tag 0x524b, 48 bits: the offset up to which the file was durable
//!         · int length 0, where every reader stops · long seal ^ zeros                     20 bytes
//! ```
//!
//! The seal binds the mark to the file's nonce, to the offset at which it stands and to the offset
//! that it claims ([`read_tail_mark`]). No client sees a nonce, so none can write bytes into its
//! data that count as a mark, and a mark copied from elsewhere or damaged is none.
//!
//! The disk is assumed to behave like this: a crash leaves each 512-byte sector that was not
//! flushed with a content that it had at some moment since the last flush, in any combination; a
//! flushed sector stays. So of a file of ours, a sector that was lost ends in the zeros that were
//! there before, and has more of them than it was to have. The mark counts how many zeros the
//! sectors after its claim end in. If there are more than that, a sector was lost, and what is bad
//! was torn by the crash; if there are not, everything up to the mark did arrive, and what is bad
//! was damaged since. [`Scanner`] rests on this.
//!
//! One case cannot be told: the last flushed append is damaged, and in the same crash the next one
//! got as far as to overwrite its mark, but not so far that a mark of its own arrived. Then nothing
//! says that the damaged one was whole, and it is cut as torn. The same is true of damage that
//! takes a mark along with an entry in its sector, or makes the last byte of a sector a zero.

mod durable;
mod evidence;
mod parse;
mod scanner;
#[cfg(test)]
mod tests;
mod writer;

use crate::zxid::Zxid;

pub use durable::{Durable, PendingFlush};
pub use parse::Damage;
pub use scanner::{Entry, ScanEnd, Scanner};
pub use writer::{
    Appending, BLOCK_BYTES, Failed, FileId, LogDone, LogEffect, LogEvent, LogWriter, NextFile,
    NoRoom, ROOM_RECORDS_LOW, SPARE_PREFIX, WriterSettings,
};

/// The first four bytes of a log file, "ZKLG".
pub const MAGIC: u32 = 0x5a4b_4c47;
/// The format's version; no reader looks at it.
pub const VERSION: u32 = 2;

/// Bytes of the file header.
pub const FILE_HEADER_BYTES: usize = 16;
/// Bytes of an entry before its payload: checksum and length.
pub const ENTRY_HEADER_BYTES: usize = 12;
/// Bytes that an entry takes up beside its payload.
pub const ENTRY_OVERHEAD_BYTES: usize = ENTRY_HEADER_BYTES + 1;
/// Bytes of a tail mark: fewer than those of the smallest entry, which therefore overwrites it
/// whole.
pub const TAIL_MARK_BYTES: usize = ENTRY_HEADER_BYTES + 8;
const _: () = assert!(TAIL_ROOM_BYTES <= ENTRY_OVERHEAD_BYTES + PAYLOAD_BYTES_MIN);
/// Bytes that the gap before a tail mark and the mark itself take up at most.
pub const TAIL_ROOM_BYTES: usize = 2 * TAIL_MARK_BYTES;
/// The unit that a disk writes whole or not at all. A tail mark never reaches the end of a sector:
/// an old sector then still ends in a zero.
pub const SECTOR_BYTES: usize = 512;
/// Bytes of the smallest payload: a transaction header.
pub const PAYLOAD_BYTES_MIN: usize = 32;

/// 48 random bits of one file, which its header holds and its tail marks are sealed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nonce(u64);

impl Nonce {
    /// The low 48 bits of `random`, which the shell draws for each file so that nobody can guess
    /// it.
    pub const fn new(random: u64) -> Self {
        Self(random & NONCE_BITS)
    }

    /// The nonce in a file's header; none where the file was not zeroed by us before its first
    /// entry.
    pub fn of_header(header: &[u8; FILE_HEADER_BYTES]) -> Option<Self> {
        let [.., d0, d1, d2, d3, d4, d5, d6, d7] = *header;
        let dbid = u64::from_be_bytes([d0, d1, d2, d3, d4, d5, d6, d7]);
        (dbid >> NONCE_SHIFT == DBID_TAG).then_some(Self(dbid & NONCE_BITS))
    }

    /// The seal of a tail mark at `offset` that claims `durable`.
    fn seal(self, offset: u64, durable: u64) -> u64 {
        [offset, durable].into_iter().fold(mix(self.0), |seal, word| mix(seal ^ word))
    }
}

/// The finalizer of SplitMix64: every bit of `bits` changes half of the bits of the result.
fn mix(bits: u64) -> u64 {
    let bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// The header of a file that is zeroed in full beyond it.
pub fn file_header(nonce: Nonce) -> [u8; FILE_HEADER_BYTES] {
    let mut header = [0; FILE_HEADER_BYTES];
    header[..4].copy_from_slice(&MAGIC.to_be_bytes());
    header[4..8].copy_from_slice(&VERSION.to_be_bytes());
    header[8..].copy_from_slice(&(DBID_TAG << NONCE_SHIFT | nonce.0).to_be_bytes());
    header
}

/// Appends the entry that holds `payload`.
pub fn append_entry(out: &mut Vec<u8>, payload: &[u8]) {
    let start = begin_entry(out);
    out.extend_from_slice(payload);
    end_entry(out, start);
}

/// Starts an entry whose payload the caller appends to `out`; the result goes to [`end_entry`].
pub fn begin_entry(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; ENTRY_HEADER_BYTES]);
    start
}

/// Ends the entry begun at `start`: fills in checksum and length, appends the end mark.
pub fn end_entry(out: &mut Vec<u8>, start: usize) {
    let payload = &out[start + ENTRY_HEADER_BYTES..];
    let len = i32::try_from(payload.len()).expect("a record is bounded far below 2 GiB");
    let checksum = u64::from(adler32(payload));
    out[start..start + 8].copy_from_slice(&checksum.to_be_bytes());
    out[start + 8..start + ENTRY_HEADER_BYTES].copy_from_slice(&len.to_be_bytes());
    out.push(END_MARK);
}

/// A tail mark, and how many zeros stand before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TailMark {
    pub gap: usize,
    pub bytes: [u8; TAIL_MARK_BYTES],
}

impl TailMark {
    /// Puts gap and mark after entries.
    pub fn put(&self, out: &mut Vec<u8>) {
        if mutant!(MarkLeftOut) && self.gap > 0 {
            return;
        }
        out.resize(out.len() + self.gap, 0);
        out.extend_from_slice(&self.bytes);
    }
}

/// The claim of a tail mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Everything before this offset was flushed when the mark was made.
    pub durable: u64,
    /// The zeros in which the sectors end that end between there and the mark.
    pub zeros: u64,
}

/// The tail mark written after the last entry, which ends at `end`: the file of this nonce is
/// durable up to `durable`, and the sectors of the entries after that end in `zeros` zeros.
pub fn tail_mark(nonce: Nonce, end: u64, durable: u64, zeros: u64) -> TailMark {
    debug_assert!(durable <= end, "a mark at {end} claims {durable}");
    let offset = mark_offset(end);
    // The sector in which the entries end is filled up with zeros if the mark is in the next one.
    let left = SECTOR_BYTES as u64 - end % SECTOR_BYTES as u64;
    let zeros = if offset > end { zeros + left } else { zeros };
    let bytes = sealed_mark(nonce, offset, Claim { durable, zeros });
    TailMark { gap: (offset - end) as usize, bytes }
}

/// Where the tail mark stands after entries that end at `end`: there, or at the beginning of the
/// next sector if it would reach the end of this one. Every reader finds an empty entry at `end`.
fn mark_offset(end: u64) -> u64 {
    let left = SECTOR_BYTES as u64 - end % SECTOR_BYTES as u64;
    if left > TAIL_MARK_BYTES as u64 { end } else { end + left.max(ENTRY_HEADER_BYTES as u64) }
}

/// The mark after the last entry of a file that gets no more entries. It may stand anywhere.
pub fn closing_mark(nonce: Nonce, end: u64, claim: Claim) -> [u8; TAIL_MARK_BYTES] {
    debug_assert!(claim.durable <= end, "a mark at {end} claims {claim:?}");
    sealed_mark(nonce, end, claim)
}

impl Claim {
    /// Everything before `end` is durable.
    pub fn whole(end: u64) -> Self {
        Self { durable: end, zeros: 0 }
    }
}

fn sealed_mark(nonce: Nonce, offset: u64, claim: Claim) -> [u8; TAIL_MARK_BYTES] {
    let mut mark = [0; TAIL_MARK_BYTES];
    let field = TAIL_MARK_TAG << TAIL_MARK_SHIFT | claim.durable & TAIL_MARK_OFFSET;
    let seal = nonce.seal(offset, claim.durable) ^ claim.zeros.min(TAIL_MARK_ZEROS_MAX);
    mark[..8].copy_from_slice(&field.to_be_bytes());
    mark[ENTRY_HEADER_BYTES..].copy_from_slice(&seal.to_be_bytes());
    mark
}

/// The claim of the tail mark at `offset`, if the bytes there begin with one of the file of this
/// nonce.
pub fn read_tail_mark(nonce: Nonce, offset: u64, bytes: &[u8]) -> Option<Claim> {
    let mark: &[u8; TAIL_MARK_BYTES] = bytes.first_chunk()?;
    let field = u64::from_be_bytes(*mark.first_chunk()?);
    let durable = field & TAIL_MARK_OFFSET;
    let zeros = u64::from_be_bytes(*mark.last_chunk()?) ^ nonce.seal(offset, durable);
    let claim = Claim { durable, zeros };
    let is_whole = zeros <= TAIL_MARK_ZEROS_MAX && *mark == sealed_mark(nonce, offset, claim);
    (durable <= offset && is_whole).then_some(claim)
}

/// The zeros in which sectors end that end in `bytes`, which stand at `offset`: for each, those in
/// `bytes`.
fn trailing_zeros(offset: u64, bytes: &[u8]) -> u64 {
    let first = SECTOR_BYTES - (offset % SECTOR_BYTES as u64) as usize;
    let ends = (first..=bytes.len()).step_by(SECTOR_BYTES);
    let zeros = |end: usize| {
        let sector = &bytes[end.saturating_sub(SECTOR_BYTES)..end];
        sector.iter().rev().take_while(|byte| **byte == 0).count() as u64
    };
    ends.map(zeros).sum()
}

/// The zxid in an entry's payload; none if it is too short to hold a transaction header.
pub fn payload_zxid(payload: &[u8]) -> Option<Zxid> {
    if payload.len() < PAYLOAD_BYTES_MIN {
        return None;
    }
    let bytes = payload.get(ZXID_OFFSET..)?.first_chunk()?;
    Some(Zxid(i64::from_be_bytes(*bytes)))
}

/// Length and zxid of the entry at the front of `entries`, which this server encoded itself.
pub fn first_entry(entries: &[u8]) -> Option<(usize, Zxid)> {
    let len = u32::from_be_bytes(*entries.get(8..)?.first_chunk()?) as usize;
    let (payload, _) = entries.get(ENTRY_HEADER_BYTES..)?.get(..=len)?.split_at(len);
    Some((len + ENTRY_OVERHEAD_BYTES, payload_zxid(payload)?))
}

/// The name of the log file whose first transaction is `first`.
pub fn file_name(first: Zxid) -> String {
    format!("log.{first:x}")
}

/// The zxid that `name` stands for when it is a log file's: prefix, dot, hex and, as Apache reads
/// it, any further suffix (`log.5.bak` counts as 5). Everything that starts with `log.` is a log
/// file; what has no number counts as -1.
pub fn zxid_of_name(name: &str) -> Option<Zxid> {
    let rest = name.strip_prefix("log.")?;
    let number = rest.split('.').next().unwrap_or_default();
    Some(Zxid(i64::from_str_radix(number, 16).unwrap_or(-1)))
}

/// The checksum of a payload.
pub fn adler32(bytes: &[u8]) -> u32 {
    simd_adler32::adler32(&bytes)
}

/// The byte after every payload.
const END_MARK: u8 = b'B';
/// The offset of the zxid in a payload: after client id and cxid.
const ZXID_OFFSET: usize = 12;
/// The high 16 bits of the dbid of a file of ours, "RK"; Apache writes a dbid of 0.
const DBID_TAG: u64 = 0x524b;
const NONCE_SHIFT: u32 = 48;
const NONCE_BITS: u64 = (1 << NONCE_SHIFT) - 1;
/// The high 16 bits of a tail mark's checksum field; those of an entry are 0.
const TAIL_MARK_TAG: u64 = 0x524b;
const TAIL_MARK_SHIFT: u32 = 48;
const TAIL_MARK_OFFSET: u64 = (1 << TAIL_MARK_SHIFT) - 1;
/// Of 16 MiB of zeros on, a lost sector is not looked for: what is bad counts as torn.
const TAIL_MARK_ZEROS_MAX: u64 = (1 << 24) - 1;
