//! Reads a snapshot part by part, whatever the bytes are, in memory for one piece and one part.

use std::borrow::Cow;
use std::fmt;
use std::io;

use simd_adler32::Adler32;

use crate::jute;
use crate::jute::Malformed;
use crate::jute::data::{Acl, StatPersisted, read_acls};
use crate::limits;
use crate::pieces::{PIECE_BYTES, ReadError, Source, read_error};
use crate::zxid::{SessionId, Zxid};

use super::unpack::Unpacker;
use super::{Codec, DIGEST_VERSION, MAGIC, SEAL_BYTES, Trailers, ZxidDigest};

/// One piece of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// A global session and its timeout in milliseconds.
    Session(SessionId, i32),
    /// A list, under the index by which nodes name it.
    Acl(i64, Vec<Acl>),
    /// A node; the root has the path "". An ACL index of -1 is the open list; one that no list came
    /// with is possible.
    Node { path: Cow<'a, str>, data: Option<&'a [u8]>, acl_index: i64, stat: StatPersisted },
}

/// Why a snapshot cannot be used, and where.
#[derive(Debug)]
pub enum SnapshotError {
    /// Its plain bytes are not a whole snapshot; `offset` counts them from the start.
    Corrupt { offset: u64, why: Corrupt },
    /// The packed bytes are cut or damaged at or after `offset` of the file.
    Packed { codec: Codec, offset: u64 },
    /// The disk does not give the bytes; this says nothing about the snapshot.
    Read(ReadError),
}

/// The fault of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corrupt {
    /// It does not start with "ZKSN".
    Magic(i32),
    /// A field is cut, or longer than what is left.
    Malformed(Malformed),
    /// A session, list or node longer than [`limits::SNAPSHOT_PART_BYTES_MAX`].
    TooLong,
    /// A node without a path, or a first node that is not the root.
    NoRoot,
    /// A seal holds another checksum than that of the bytes before it.
    Checksum { stored: i64, computed: u32 },
    /// Bytes after the last seal that are none of the trailers known.
    Trailing(usize),
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (offset, why) = match self {
            Self::Corrupt { offset, why } => (offset, why),
            Self::Packed { codec, offset } => {
                write!(
                    f,
                    "the {codec:?} stream of the snapshot is damaged at or after offset {offset}"
                )?;
                return f.write_str(REMEDY);
            }
            Self::Read(error) => return write!(f, "the snapshot {error}"),
        };
        write!(f, "the snapshot is corrupt at offset {offset}: ")?;
        match why {
            Corrupt::Magic(magic) => {
                write!(f, "it starts with {magic:#010x} and not with \"ZKSN\"")?
            }
            Corrupt::Malformed(malformed) => malformed.fmt(f)?,
            Corrupt::TooLong => {
                write!(f, "a part of it is longer than {} bytes", limits::SNAPSHOT_PART_BYTES_MAX)?
            }
            Corrupt::NoRoot => {
                f.write_str("a node has no path, or the first one is not the root")?
            }
            Corrupt::Checksum { stored, computed } => {
                write!(f, "the seal says {stored:#x}, the bytes before it make {computed:#x}")?;
            }
            Corrupt::Trailing(len) => {
                write!(f, "the {len} bytes after the seal are no known trailer")?
            }
        }
        f.write_str(REMEDY)
    }
}

impl std::error::Error for SnapshotError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read(error) => Some(error),
            _ => None,
        }
    }
}

/// A snapshot being read. It allocates for one part at a time, and never by a count or a length
/// that the bytes do not back up.
pub struct Reader<S> {
    input: Unpacker<S>,
    codec: Codec,
    /// Plain bytes of which those from `at` on are still to be given out.
    piece: Vec<u8>,
    /// Invariant: `summed <= at <= piece.len()`.
    at: usize,
    /// Bytes of the piece that the checksum covers.
    summed: usize,
    /// Plain bytes before the piece.
    before: u64,
    /// The input has no more bytes.
    is_end: bool,
    adler: Adler32,
    stage: Stage,
}

impl<S> fmt::Debug for Reader<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reader({:?}, {:?}, at {})", self.input, self.stage, self.before + self.at as u64)
    }
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Header,
    /// This many are still to come.
    Sessions(usize),
    Acls(usize),
    Root,
    Nodes,
    Ended(Trailers),
}

/// The next item among the nodes.
enum Next {
    Node,
    End,
    NoRoot,
}

impl<S: Source> Reader<S> {
    /// Starts at the header of a snapshot file. Only its magic counts, as in Apache.
    pub fn new(codec: Codec, source: S) -> Self {
        Self {
            input: Unpacker::new(codec, source),
            codec,
            piece: Vec::new(),
            at: 0,
            summed: 0,
            before: 0,
            is_end: false,
            adler: Adler32::new(),
            stage: Stage::Header,
        }
    }

    /// The next part, or `None` once all have been read and the seals were found to be right. The
    /// parts are only to be trusted then.
    pub fn next_part(&mut self) -> Result<Option<Part<'_>>, SnapshotError> {
        loop {
            match self.stage {
                Stage::Header => self.stage = Stage::Sessions(self.header()?),
                Stage::Sessions(0) => {
                    self.stage = Stage::Acls(self.take(|reader| reader.count())?.unwrap_or(0))
                }
                Stage::Sessions(left) => {
                    self.stage = Stage::Sessions(left - 1);
                    let (id, timeout_ms) =
                        self.take(|reader| Ok((reader.i64()?, reader.i32()?)))?;
                    return Ok(Some(Part::Session(SessionId(id), timeout_ms)));
                }
                Stage::Acls(0) => self.stage = Stage::Root,
                Stage::Acls(left) => {
                    self.stage = Stage::Acls(left - 1);
                    let (index, list) =
                        self.take(|reader| Ok((reader.i64()?, read_acls(reader)?)))?;
                    return Ok(Some(Part::Acl(index, list)));
                }
                Stage::Root | Stage::Nodes => match self.next_node()? {
                    Next::Node => {
                        self.stage = Stage::Nodes;
                        return self.node().map(Some);
                    }
                    Next::End => self.stage = Stage::Ended(self.trailers_after_seal()?),
                    Next::NoRoot => return Err(self.corrupt(Corrupt::NoRoot)),
                },
                Stage::Ended(_) => return Ok(None),
            }
        }
    }

    /// The trailers after the first seal; `None` until [`Self::next_part`] has reached the end.
    pub fn trailers(&self) -> Option<Trailers> {
        match self.stage {
            Stage::Ended(trailers) => Some(trailers),
            _ => None,
        }
    }

    /// Plain bytes read so far.
    pub fn offset(&self) -> u64 {
        self.before + self.at as u64
    }

    #[cfg(test)]
    pub(super) fn piece_capacity(&self) -> usize {
        self.piece.capacity()
    }

    /// The number of sessions.
    fn header(&mut self) -> Result<usize, SnapshotError> {
        let magic = self.take(|reader| reader.i32())?;
        if magic != MAGIC {
            return Err(SnapshotError::Corrupt { offset: 0, why: Corrupt::Magic(magic) });
        }
        self.take(|reader| {
            reader.take(VERSION_AND_DBID_BYTES, "file header")?;
            Ok(reader.count()?.unwrap_or(0))
        })
    }

    /// Tells by the path, and takes the end mark.
    fn next_node(&mut self) -> Result<Next, SnapshotError> {
        let is_first = matches!(self.stage, Stage::Root);
        self.complete(|reader| reader.buffer().map(drop))?;
        let mut reader = jute::Reader::new(&self.piece[self.at..]);
        let next = match reader.buffer() {
            Ok(Some(path)) if path.is_empty() == is_first && (path != b"/" || is_first) => {
                Next::Node
            }
            Ok(Some(b"/")) if !is_first => Next::End,
            _ => Next::NoRoot,
        };
        if matches!(next, Next::End) {
            self.at = self.piece.len() - reader.rest().len();
        }
        Ok(next)
    }

    fn node(&mut self) -> Result<Part<'_>, SnapshotError> {
        let len = self.complete(|reader| {
            reader.buffer()?;
            reader.buffer()?;
            reader.take(ACL_AND_STAT_BYTES, "node").map(drop)
        })?;
        let offset = self.offset();
        let start = self.at;
        self.at += len;
        let mut reader = jute::Reader::new(&self.piece[start..self.at]);
        let mut read = || {
            let path = reader.string()?.unwrap_or_default();
            let (data, acl_index) = (reader.buffer()?, reader.i64()?);
            Ok(Part::Node { path, data, acl_index, stat: StatPersisted::read(&mut reader)? })
        };
        read().map_err(|malformed| SnapshotError::Corrupt {
            offset,
            why: Corrupt::Malformed(malformed),
        })
    }

    /// The trailers are told apart by the bytes left: neither their presence nor their order is
    /// written anywhere.
    fn trailers_after_seal(&mut self) -> Result<Trailers, SnapshotError> {
        self.seal()?;
        let mut trailers = Trailers::default();
        if !matches!(self.left()?, 0 | ZXID_AND_SEAL_BYTES) {
            trailers.digest = Some(self.digest()?);
            self.seal()?;
        }
        if self.left()? == ZXID_AND_SEAL_BYTES {
            trailers.last_zxid = Some(Zxid(self.take(|reader| reader.i64())?));
            self.seal()?;
        }
        match self.left()? {
            0 => Ok(trailers),
            left => Err(self.corrupt(Corrupt::Trailing(left))),
        }
    }

    /// A digest of version 1 is a string of hexadecimal digits.
    fn digest(&mut self) -> Result<ZxidDigest, SnapshotError> {
        self.take(|reader| {
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
        self.sum();
        let (offset, computed) = (self.offset(), self.adler.finish());
        let stored = self.take(|reader| {
            let stored = reader.i64()?;
            reader.string()?;
            Ok(stored)
        })?;
        if stored == i64::from(computed) {
            return Ok(());
        }
        Err(SnapshotError::Corrupt { offset, why: Corrupt::Checksum { stored, computed } })
    }

    /// Bytes that are left; of a longer rest some number above [`TRAILER_BYTES_MAX`].
    fn left(&mut self) -> Result<usize, SnapshotError> {
        while self.piece.len() - self.at <= TRAILER_BYTES_MAX && self.fill()? {}
        Ok(self.piece.len() - self.at)
    }

    /// Takes a field or a few.
    fn take<T>(
        &mut self,
        read: impl Fn(&mut jute::Reader<'_>) -> Result<T, Malformed>,
    ) -> Result<T, SnapshotError> {
        let len = self.complete(|reader| read(reader).map(drop))?;
        let mut reader = jute::Reader::new(&self.piece[self.at..self.at + len]);
        let taken =
            read(&mut reader).map_err(|malformed| self.corrupt(Corrupt::Malformed(malformed)))?;
        self.at += len;
        Ok(taken)
    }

    /// Brings in what `read` needs; returns how many bytes that is.
    fn complete(
        &mut self,
        read: impl Fn(&mut jute::Reader<'_>) -> Result<(), Malformed>,
    ) -> Result<usize, SnapshotError> {
        loop {
            let mut reader = jute::Reader::new(&self.piece[self.at..]);
            let malformed = match read(&mut reader) {
                Ok(()) => return Ok(self.piece.len() - self.at - reader.rest().len()),
                Err(malformed) => malformed,
            };
            match malformed {
                Malformed::Length(len) if len < 0 => {
                    return Err(self.corrupt(Corrupt::Malformed(malformed)));
                }
                Malformed::Length(len) if len as usize > limits::SNAPSHOT_PART_BYTES_MAX => {
                    return Err(self.corrupt(Corrupt::TooLong));
                }
                _ if self.piece.len() - self.at > limits::SNAPSHOT_PART_BYTES_MAX => {
                    return Err(self.corrupt(Corrupt::TooLong));
                }
                _ if self.fill()? => {}
                _ => return Err(self.corrupt(Corrupt::Malformed(malformed))),
            }
        }
    }

    /// Brings in as much again as is held, and a piece at least; false if there is no more.
    fn fill(&mut self) -> Result<bool, SnapshotError> {
        if self.is_end {
            return Ok(false);
        }
        self.sum();
        self.piece.drain(..self.at);
        self.before += self.at as u64;
        (self.at, self.summed) = (0, 0);
        let held = self.piece.len();
        if held < PIECE_BYTES && self.piece.capacity() > 4 * PIECE_BYTES {
            self.piece.shrink_to(2 * PIECE_BYTES);
        }
        let full = held + held.max(PIECE_BYTES);
        while self.piece.len() < full && !self.is_end {
            match self.input.read_onto(&mut self.piece, full) {
                Ok(0) => self.is_end = true,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.unreadable(error)),
            }
        }
        Ok(self.piece.len() > held)
    }

    fn sum(&mut self) {
        debug_assert!(self.summed <= self.at && self.at <= self.piece.len());
        self.adler.write(&self.piece[self.summed..self.at]);
        self.summed = self.at;
    }

    fn unreadable(&self, error: io::Error) -> SnapshotError {
        match read_error(error) {
            Ok(error) => SnapshotError::Read(error),
            Err(_) => SnapshotError::Packed { codec: self.codec, offset: self.input.offset() },
        }
    }

    fn corrupt(&self, why: Corrupt) -> SnapshotError {
        SnapshotError::Corrupt { offset: self.offset(), why }
    }
}

const REMEDY: &str = "; use the next older snapshot with all logs since then";
/// The rest of the file header after the magic.
const VERSION_AND_DBID_BYTES: usize = 12;
/// The bytes of a node after its path and data.
const ACL_AND_STAT_BYTES: usize = 8 + StatPersisted::BYTES;
const ZXID_AND_SEAL_BYTES: usize = 8 + SEAL_BYTES;
/// More than all trailers take up.
const TRAILER_BYTES_MAX: usize = 4 << 10;
