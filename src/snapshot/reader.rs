//! Reads a snapshot out of a byte slice, part by part, whatever the bytes are.

use std::borrow::Cow;
use std::fmt;

use crate::jute;
use crate::jute::Malformed;
use crate::jute::data::{Acl, StatPersisted, read_acls};
use crate::zxid::{SessionId, Zxid};

use super::{DIGEST_VERSION, MAGIC, SEAL_BYTES, Trailers, ZxidDigest};

/// One piece of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// A global session and its timeout in milliseconds.
    Session(SessionId, i32),
    /// A list, under the index by which nodes name it.
    Acl(i64, Vec<Acl>),
    /// A node; the root has the path "". An ACL index of -1 is the open list; one that no list came with is possible.
    Node { path: Cow<'a, str>, data: Option<&'a [u8]>, acl_index: i64, stat: StatPersisted },
}

/// Why a snapshot can not be used, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotError {
    /// Bytes from the start of the (uncompressed) snapshot.
    pub offset: u64,
    pub why: Corrupt,
}

/// What is wrong with a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corrupt {
    /// It does not start with "ZKSN".
    Magic(i32),
    /// A field is cut, or longer than what is left.
    Malformed(Malformed),
    /// A node without a path, or a first node that is not the root.
    NoRoot,
    /// A seal holds another checksum than that of the bytes before it.
    Checksum { stored: i64, computed: u32 },
    /// Bytes behind the last seal that are none of the trailers known.
    Trailing(usize),
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the snapshot is corrupt at offset {}: ", self.offset)?;
        match self.why {
            Corrupt::Magic(magic) => write!(f, "it starts with {magic:#010x} and not with \"ZKSN\"")?,
            Corrupt::Malformed(malformed) => malformed.fmt(f)?,
            Corrupt::NoRoot => f.write_str("a node has no path, or the first one is not the root")?,
            Corrupt::Checksum { stored, computed } => {
                write!(f, "the seal says {stored:#x}, the bytes before it make {computed:#x}")?;
            }
            Corrupt::Trailing(len) => write!(f, "the {len} bytes behind the seal are no known trailer")?,
        }
        f.write_str("; use the next older snapshot with all logs since then")
    }
}

impl std::error::Error for SnapshotError {}

/// A snapshot being read. It allocates for one part at a time, and never by a count that the bytes do not back up.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    reader: jute::Reader<'a>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// So many are still to come.
    Sessions(usize),
    Acls(usize),
    Root,
    Nodes,
    Ended(Trailers),
}

impl<'a> Reader<'a> {
    /// Starts at the header of an uncompressed snapshot. Only its magic counts, as in Apache.
    pub fn new(bytes: &'a [u8]) -> Result<Self, SnapshotError> {
        let mut this = Self { bytes, reader: jute::Reader::new(bytes), stage: Stage::Sessions(0) };
        let (magic, count) = this.checked(|reader| {
            let magic = reader.i32()?;
            if magic != MAGIC {
                return Ok((magic, 0));
            }
            reader.take(VERSION_AND_DBID_BYTES, "file header")?;
            Ok((magic, reader.count()?.unwrap_or(0)))
        })?;
        if magic != MAGIC {
            return Err(SnapshotError { offset: 0, why: Corrupt::Magic(magic) });
        }
        this.stage = Stage::Sessions(count);
        Ok(this)
    }

    /// The next part, or `None` once all have been read and the seals were found to be right. The parts are only to be
    /// trusted then.
    pub fn next_part(&mut self) -> Result<Option<Part<'a>>, SnapshotError> {
        loop {
            match self.stage {
                Stage::Sessions(0) => {
                    let count = self.checked(|reader| reader.count())?;
                    self.stage = Stage::Acls(count.unwrap_or(0));
                }
                Stage::Sessions(left) => {
                    self.stage = Stage::Sessions(left - 1);
                    return self.checked(|reader| Ok(Part::Session(SessionId(reader.i64()?), reader.i32()?))).map(Some);
                }
                Stage::Acls(0) => self.stage = Stage::Root,
                Stage::Acls(left) => {
                    self.stage = Stage::Acls(left - 1);
                    return self.checked(|reader| Ok(Part::Acl(reader.i64()?, read_acls(reader)?))).map(Some);
                }
                Stage::Root | Stage::Nodes => match self.node()? {
                    Some(node) => return Ok(Some(node)),
                    None => self.stage = Stage::Ended(self.trailers_behind_seal()?),
                },
                Stage::Ended(_) => return Ok(None),
            }
        }
    }

    /// What stood behind the first seal; `None` until [`Self::next_part`] has reached the end.
    pub fn trailers(&self) -> Option<Trailers> {
        match self.stage {
            Stage::Ended(trailers) => Some(trailers),
            _ => None,
        }
    }

    /// Bytes read so far.
    pub fn offset(&self) -> u64 {
        (self.bytes.len() - self.reader.rest().len()) as u64
    }

    /// A node, or `None` at the end mark.
    fn node(&mut self) -> Result<Option<Part<'a>>, SnapshotError> {
        let offset = self.offset();
        let is_first = matches!(self.stage, Stage::Root);
        let path = self.checked(|reader| reader.string())?;
        match path {
            Some(path) if path.is_empty() == is_first && (path != "/" || is_first) => {
                self.stage = Stage::Nodes;
                self.checked(|reader| {
                    let data = reader.buffer()?;
                    let acl_index = reader.i64()?;
                    Ok(Some(Part::Node { path, data, acl_index, stat: StatPersisted::read(reader)? }))
                })
            }
            Some(path) if path == "/" && !is_first => Ok(None),
            _ => Err(SnapshotError { offset, why: Corrupt::NoRoot }),
        }
    }

    /// The trailers are told apart by the bytes left: neither their presence nor their order is written anywhere.
    fn trailers_behind_seal(&mut self) -> Result<Trailers, SnapshotError> {
        self.seal()?;
        let mut trailers = Trailers::default();
        if !matches!(self.reader.rest().len(), 0 | ZXID_AND_SEAL_BYTES) {
            trailers.digest = Some(self.digest()?);
            self.seal()?;
        }
        if self.reader.rest().len() == ZXID_AND_SEAL_BYTES {
            trailers.last_zxid = Some(Zxid(self.checked(|reader| reader.i64())?));
            self.seal()?;
        }
        match self.reader.rest().len() {
            0 => Ok(trailers),
            left => Err(SnapshotError { offset: self.offset(), why: Corrupt::Trailing(left) }),
        }
    }

    /// A digest of version 1 is a string of hexadecimal digits.
    fn digest(&mut self) -> Result<ZxidDigest, SnapshotError> {
        self.checked(|reader| {
            let zxid = Zxid(reader.i64()?);
            let version = reader.i32()?;
            let digest = if version < DIGEST_VERSION {
                let text = reader.string()?.unwrap_or_default();
                i64::from_str_radix(&text, 16).unwrap_or(0)
            } else {
                reader.i64()?
            };
            Ok(ZxidDigest { zxid, version, digest })
        })
    }

    fn seal(&mut self) -> Result<(), SnapshotError> {
        let offset = self.offset();
        let sealed = self.bytes.split_at(self.bytes.len() - self.reader.rest().len()).0;
        let computed = simd_adler32::adler32(&sealed);
        let stored = self.checked(|reader| {
            let stored = reader.i64()?;
            reader.string()?;
            Ok(stored)
        })?;
        if stored == i64::from(computed) {
            return Ok(());
        }
        Err(SnapshotError { offset, why: Corrupt::Checksum { stored, computed } })
    }

    /// Puts the offset of the part's first byte to what went wrong in it.
    fn checked<T>(
        &mut self,
        read: impl FnOnce(&mut jute::Reader<'a>) -> Result<T, Malformed>,
    ) -> Result<T, SnapshotError> {
        let offset = self.offset();
        read(&mut self.reader).map_err(|malformed| SnapshotError { offset, why: Corrupt::Malformed(malformed) })
    }
}

/// The rest of the file header behind the magic.
const VERSION_AND_DBID_BYTES: usize = 12;
const ZXID_AND_SEAL_BYTES: usize = 8 + SEAL_BYTES;
