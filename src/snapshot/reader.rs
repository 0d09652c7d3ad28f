//! Reads a snapshot part by part, whatever the bytes are, in memory for one piece and one part.

use std::fmt;
use std::io;

use simd_adler32::Adler32;

use crate::limits;
use crate::pieces::{ReadError, Source, read_error};
use crate::zxid::Zxid;

use super::parts::{Corrupt, Fault, Hear, Kind, Part, Parts};
use super::unpack::Unpacker;
use super::{Codec, DIGEST_VERSION, MAGIC, SEAL_BYTES, Trailers, ZxidDigest};

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
        why.fmt(f)?;
        f.write_str(REMEDY)
    }
}

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic(magic) => write!(f, "it starts with {magic:#010x} and not with \"ZKSN\""),
            Self::Malformed(malformed) => malformed.fmt(f),
            Self::TooLong => {
                write!(f, "a part of it is longer than {} bytes", limits::SNAPSHOT_PART_BYTES_MAX)
            }
            Self::NoRoot => f.write_str("a node has no path, or the first one is not the root"),
            Self::Checksum { stored, computed } => {
                write!(f, "the seal says {stored:#x}, the bytes before it make {computed:#x}")
            }
            Self::Trailing(len) => {
                write!(f, "the {len} bytes after the seal are no known trailer")
            }
            Self::Signature => f.write_str("the signature \"BenWasHere\" does not follow its end"),
        }
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

/// A snapshot being read, in memory for one part at a time.
pub struct Reader<S> {
    parts: Parts<Unpacker<S>, Sum>,
    codec: Codec,
    is_header_read: bool,
    trailers: Option<Trailers>,
}

/// The checksum of all bytes read.
#[derive(Default)]
struct Sum(Adler32);

impl Hear for Sum {
    fn hear(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write(bytes);
        Ok(())
    }
}

impl<S: Source> fmt::Debug for Reader<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reader({:?}, {:?}, at {})", self.codec, self.parts.stage, self.parts.offset())
    }
}

impl<S: Source> Reader<S> {
    /// Starts at the header of a snapshot file. Only its magic counts, as in Apache.
    pub fn new(codec: Codec, source: S) -> Self {
        let parts = Parts::new(Unpacker::new(codec, source), Sum::default());
        Self { parts, codec, is_header_read: false, trailers: None }
    }

    /// The next part, or `None` once all have been read and the seals were found to be right. The
    /// parts are only to be trusted then.
    pub fn next_part(&mut self) -> Result<Option<Part<'_>>, SnapshotError> {
        let (codec, packed_at) = (self.codec, self.parts.input.offset());
        match self.find_next() {
            Ok(Some(kind)) => match self.parts.part(kind) {
                Ok(part) => Ok(Some(part)),
                Err(fault) => Err(error_of(fault, codec, packed_at)),
            },
            Ok(None) => Ok(None),
            Err(fault) => Err(error_of(fault, codec, self.parts.input.offset())),
        }
    }

    /// The trailers after the first seal; `None` until [`Self::next_part`] has reached the end.
    pub fn trailers(&self) -> Option<Trailers> {
        self.trailers
    }

    /// Plain bytes read so far.
    pub fn offset(&self) -> u64 {
        self.parts.offset()
    }

    #[cfg(test)]
    pub(super) fn piece_capacity(&self) -> usize {
        self.parts.piece_capacity()
    }

    fn find_next(&mut self) -> Result<Option<Kind>, Fault> {
        if self.trailers.is_some() {
            return Ok(None);
        }
        if !self.is_header_read {
            self.header()?;
        }
        let kind = self.parts.next_kind()?;
        if kind.is_none() {
            self.parts.take_end();
            self.trailers = Some(self.trailers_after_seal()?);
        }
        Ok(kind)
    }

    fn header(&mut self) -> Result<(), Fault> {
        let magic = self.parts.take(|reader| reader.i32())?;
        if magic != MAGIC {
            return Err(Fault::Corrupt { offset: 0, why: Corrupt::Magic(magic) });
        }
        self.is_header_read = true;
        self.parts.take(|reader| reader.take(VERSION_AND_DBID_BYTES, "file header").map(drop))
    }

    /// The trailers are told apart by the bytes left: neither their presence nor their order is
    /// written anywhere.
    fn trailers_after_seal(&mut self) -> Result<Trailers, Fault> {
        self.seal()?;
        let mut trailers = Trailers::default();
        if !matches!(self.left()?, 0 | ZXID_AND_SEAL_BYTES) {
            trailers.digest = Some(self.digest()?);
            self.seal()?;
        }
        if self.left()? == ZXID_AND_SEAL_BYTES {
            trailers.last_zxid = Some(Zxid(self.parts.take(|reader| reader.i64())?));
            self.seal()?;
        }
        match self.left()? {
            0 => Ok(trailers),
            left => Err(self.parts.corrupt(Corrupt::Trailing(left))),
        }
    }

    /// A digest of version 1 is a string of hexadecimal digits.
    fn digest(&mut self) -> Result<ZxidDigest, Fault> {
        self.parts.take(|reader| {
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

    fn seal(&mut self) -> Result<(), Fault> {
        self.parts.tell()?;
        let (offset, computed) = (self.offset(), self.parts.hearer.0.finish());
        let stored = self.parts.take(|reader| {
            let stored = reader.i64()?;
            reader.string()?;
            Ok(stored)
        })?;
        if stored == i64::from(computed) {
            return Ok(());
        }
        Err(Fault::Corrupt { offset, why: Corrupt::Checksum { stored, computed } })
    }

    /// Bytes that are left; of a longer rest some number above [`TRAILER_BYTES_MAX`].
    fn left(&mut self) -> Result<usize, Fault> {
        self.parts.left(TRAILER_BYTES_MAX)
    }
}

/// `packed_at` is the place in the file.
fn error_of(fault: Fault, codec: Codec, packed_at: u64) -> SnapshotError {
    match fault {
        Fault::Corrupt { offset, why } => SnapshotError::Corrupt { offset, why },
        Fault::Cut { offset, malformed } => {
            SnapshotError::Corrupt { offset, why: Corrupt::Malformed(malformed) }
        }
        Fault::Input(error) | Fault::Heard(error) => match read_error(error) {
            Ok(error) => SnapshotError::Read(error),
            Err(_) => SnapshotError::Packed { codec, offset: packed_at },
        },
    }
}

const REMEDY: &str = "; use the next older snapshot with all logs since then";
/// The rest of the file header after the magic.
const VERSION_AND_DBID_BYTES: usize = 12;
const ZXID_AND_SEAL_BYTES: usize = 8 + SEAL_BYTES;
/// More than all trailers take up.
const TRAILER_BYTES_MAX: usize = 4 << 10;
