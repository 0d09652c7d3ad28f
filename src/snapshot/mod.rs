//! Apache's snapshot format, over bytes.
//!
//! ```text
//! header   int magic "ZKSN" · int version 2 · long dbid -1
//! sessions int n · n × { long id, int timeout in ms }
//! ACLs     int n · n × { long index, vector<ACL> }
//! nodes    { ustring path, buffer data, long ACL index (-1 = open), StatPersisted }*, parents first, the root as ""
//! end      ustring "/"
//! SEAL 1   long Adler-32 · ustring "/"
//! digest   long zxid · int version 2 · long digest, then SEAL 2       (3.6 and later, unless switched off)
//! zxid     long last zxid, then SEAL 3                                (3.9 and later, unless switched off)
//! ```
//!
//! One running Adler-32 covers everything from the first byte, earlier seals included. What stands
//! after seal 1 does not describe itself; [`Reader`] tells by the number of bytes left. Apache's
//! snapshots are fuzzy: nodes are written while transactions are applied, so the log must be
//! replayed from the zxid of the file's *name*, and a node may name an ACL that is not in the file.
//! Ours show one point in time, which readers of fuzzy ones read as well.
//!
//! The tree that follows a SNAP packet has sessions, lists, nodes and their end alone, with a
//! signature after them: see [`WireReader`].
//!
//! | file | holds |
//! |---|---|
//! | `parts` | sessions, lists and nodes out of bytes |
//! | `reader` `writer` | a file |
//! | `wire` | the tree after a SNAP |
//! | `compress` `unpack` | the packing of files |

mod compress;
mod parts;
mod reader;
#[cfg(test)]
mod tests;
mod unpack;
mod wire;
mod writer;

use std::fmt;

use crate::zxid::Zxid;

pub use compress::Encoder;
pub use parts::{Corrupt, Part};
pub use reader::{Reader, SnapshotError};
pub use wire::{Pieces, WireError, WireReader, WireWriter};
pub use writer::Writer;

/// The packing of a snapshot file, by the last suffix of its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codec {
    #[default]
    Plain,
    /// `.gz`
    Gzip,
    /// `.snappy`, in the framing of snappy-java.
    Snappy,
}

/// The trailers after the first seal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trailers {
    /// The digest of the tree at some zxid; absent before 3.6.
    pub digest: Option<ZxidDigest>,
    /// The last transaction in it; absent before 3.9.
    pub last_zxid: Option<Zxid>,
}

/// The digest that a tree must have after a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZxidDigest {
    /// The last transaction applied when the nodes had been written; 0 if the writer knew none.
    pub zxid: Zxid,
    /// 2 since 3.6.0; digests of other versions cannot be compared.
    pub version: i32,
    pub digest: i64,
}

/// A snapshot file's name, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileName {
    /// The zxid that replay starts from.
    pub zxid: Zxid,
    pub codec: Codec,
}

impl Trailers {
    /// The digest to expect once the replay of a snapshot named by `file_zxid` has reached its
    /// zxid. None if the writer knew none, wrote another version, or names a zxid before the file's
    /// (ZOOKEEPER-3363: a new leader's snapshot may).
    pub fn digest_to_expect(&self, file_zxid: Zxid) -> Option<(Zxid, i64)> {
        let ZxidDigest { zxid, version, digest } = self.digest?;
        (version == DIGEST_VERSION && zxid > Zxid::ZERO && zxid >= file_zxid)
            .then_some((zxid, digest))
    }
}

impl FileName {
    /// Reads `snapshot.<hex zxid>`, with any further suffixes; the last one names the codec. `None`
    /// for other names.
    pub fn parse(name: &str) -> Option<Self> {
        let mut parts = name.split('.');
        if parts.next()? != PREFIX {
            return None;
        }
        let zxid = i64::from_str_radix(parts.next()?, 16).ok().filter(|zxid| *zxid != -1)?;
        let codec = match parts.next_back() {
            Some(suffix) if suffix.eq_ignore_ascii_case("gz") => Codec::Gzip,
            Some(suffix) if suffix.eq_ignore_ascii_case("snappy") => Codec::Snappy,
            _ => Codec::Plain,
        };
        Some(Self { zxid: Zxid(zxid), codec })
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = match self.codec {
            Codec::Plain => "",
            Codec::Gzip => ".gz",
            Codec::Snappy => ".snappy",
        };
        write!(f, "{PREFIX}.{:x}{suffix}", self.zxid)
    }
}

/// Whether a file is worth reading: `head` holds its first bytes and `tail` its last (8 and 5 are
/// enough, all of a shorter file), `len` is its length. A file torn by a crash mostly fails this; a
/// whole one may still be corrupt inside.
pub fn is_candidate(codec: Codec, head: &[u8], tail: &[u8], len: u64) -> bool {
    match codec {
        Codec::Plain => len >= PLAIN_BYTES_MIN && tail.ends_with(&END),
        Codec::Gzip => head.starts_with(&compress::GZIP_MAGIC),
        Codec::Snappy => head.starts_with(&compress::SNAPPY_MAGIC),
    }
}

const PREFIX: &str = "snapshot";
/// "ZKSN".
const MAGIC: i32 = 0x5a4b_534e;
const VERSION: i32 = 2;
const DBID: i64 = -1;
const DIGEST_VERSION: i32 = 2;
/// A ustring "/": the end of the nodes and of every seal.
const END: [u8; 5] = [0, 0, 0, 1, b'/'];
/// Adler-32 and [`END`].
const SEAL_BYTES: usize = 13;
const PLAIN_BYTES_MIN: u64 = 10;
