//! Packed snapshots: gzip, and snappy in the framing of snappy-java's `SnappyOutputStream`.
//!
//! ```text
//! 82 "SNAPPY" 00 · int version 1 · int compatible version 1 · { int length · raw snappy block }*
//! ```

use std::fmt;
use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::Codec;

/// Why a packed snapshot can not be unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decompress {
    /// The packed bytes are cut or damaged; `offset` counts packed bytes, as far as it is known.
    Damaged { codec: Codec, offset: u64 },
    /// It would take more than this many bytes of memory.
    TooLarge { bytes_max: usize },
}

impl fmt::Display for Decompress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged { codec, offset } => {
                write!(f, "the {codec:?} stream of the snapshot is damaged at or behind offset {offset}")?;
            }
            Self::TooLarge { bytes_max } => write!(f, "the snapshot unpacks to more than {bytes_max} bytes")?,
        }
        f.write_str("; use the next older snapshot with all logs since then")
    }
}

impl std::error::Error for Decompress {}

/// Unpacks a whole file, to at most `bytes_max` bytes. Memory grows with what has really been unpacked.
pub fn decompress(codec: Codec, packed: &[u8], bytes_max: usize) -> Result<Vec<u8>, Decompress> {
    match codec {
        Codec::Plain if packed.len() > bytes_max => Err(Decompress::TooLarge { bytes_max }),
        Codec::Plain => Ok(packed.to_vec()),
        Codec::Gzip => gunzip(packed, bytes_max),
        Codec::Snappy => unsnap(packed, bytes_max),
    }
}

/// Packs a stream of bytes.
pub struct Encoder {
    packer: Packer,
}

enum Packer {
    Plain,
    Gzip(GzEncoder<Vec<u8>>),
    Snappy(Box<SnappyPacker>),
}

impl Encoder {
    pub fn new(codec: Codec) -> Self {
        let packer = match codec {
            Codec::Plain => Packer::Plain,
            Codec::Gzip => Packer::Gzip(GzEncoder::new(Vec::new(), Compression::fast())),
            Codec::Snappy => Packer::Snappy(Box::new(SnappyPacker::new())),
        };
        Self { packer }
    }

    /// Takes plain bytes; packed ones are appended to `out`, perhaps later.
    pub fn write(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        match &mut self.packer {
            Packer::Plain => out.extend_from_slice(plain),
            Packer::Gzip(encoder) => {
                encoder.write_all(plain).expect("writing to memory does not fail");
                out.append(encoder.get_mut());
            }
            Packer::Snappy(packer) => packer.write(plain, out),
        }
    }

    /// Appends what is left.
    pub fn finish(self, out: &mut Vec<u8>) {
        match self.packer {
            Packer::Plain => {}
            Packer::Gzip(encoder) => out.append(&mut encoder.finish().expect("writing to memory does not fail")),
            Packer::Snappy(mut packer) => packer.end_block(out),
        }
    }
}

struct SnappyPacker {
    encoder: snap::raw::Encoder,
    block: Vec<u8>,
    has_header: bool,
}

impl SnappyPacker {
    fn new() -> Self {
        Self { encoder: snap::raw::Encoder::new(), block: Vec::with_capacity(BLOCK_BYTES), has_header: false }
    }

    fn write(&mut self, mut plain: &[u8], out: &mut Vec<u8>) {
        while !plain.is_empty() {
            let room = BLOCK_BYTES - self.block.len();
            let (now, later) = plain.split_at(plain.len().min(room));
            self.block.extend_from_slice(now);
            plain = later;
            if self.block.len() == BLOCK_BYTES {
                self.end_block(out);
            }
        }
    }

    fn end_block(&mut self, out: &mut Vec<u8>) {
        if !self.has_header {
            self.has_header = true;
            out.extend_from_slice(&SNAPPY_MAGIC);
            out.extend_from_slice(&SNAPPY_VERSION.to_be_bytes());
            out.extend_from_slice(&SNAPPY_VERSION.to_be_bytes());
        }
        if self.block.is_empty() {
            return;
        }
        let packed = self.encoder.compress_vec(&self.block).expect("a block is far below snappy's limit");
        out.extend_from_slice(&(packed.len() as u32).to_be_bytes());
        out.extend_from_slice(&packed);
        self.block.clear();
    }
}

fn gunzip(packed: &[u8], bytes_max: usize) -> Result<Vec<u8>, Decompress> {
    let mut decoder = MultiGzDecoder::new(packed);
    let mut plain = Vec::new();
    let read = decoder.by_ref().take((bytes_max as u64).saturating_add(1)).read_to_end(&mut plain);
    if plain.len() > bytes_max {
        return Err(Decompress::TooLarge { bytes_max });
    }
    let offset = (packed.len() - decoder.get_ref().len()) as u64;
    read.map(|_| plain).map_err(|_| Decompress::Damaged { codec: Codec::Gzip, offset })
}

fn unsnap(packed: &[u8], bytes_max: usize) -> Result<Vec<u8>, Decompress> {
    let damaged =
        |rest: &[u8]| Decompress::Damaged { codec: Codec::Snappy, offset: (packed.len() - rest.len()) as u64 };
    let mut plain = Vec::new();
    let mut rest = skip_header(packed).ok_or_else(|| damaged(packed))?;
    while !rest.is_empty() {
        // Streams that were put one behind the other have a header each.
        if rest.starts_with(&SNAPPY_MAGIC) {
            rest = skip_header(rest).ok_or_else(|| damaged(rest))?;
            continue;
        }
        let (block, behind) = split_block(rest).ok_or_else(|| damaged(rest))?;
        let len = snap::raw::decompress_len(block).map_err(|_| damaged(rest))?;
        if len > block.len().saturating_mul(SNAPPY_RATIO_MAX) {
            return Err(damaged(rest));
        }
        if len > bytes_max - plain.len() {
            return Err(Decompress::TooLarge { bytes_max });
        }
        let start = plain.len();
        plain.resize(start + len, 0);
        let room = plain.split_at_mut(start).1;
        snap::raw::Decoder::new().decompress(block, room).map_err(|_| damaged(rest))?;
        rest = behind;
    }
    Ok(plain)
}

fn skip_header(bytes: &[u8]) -> Option<&[u8]> {
    bytes.strip_prefix(&SNAPPY_MAGIC)?.split_at_checked(SNAPPY_VERSIONS_BYTES).map(|(_, rest)| rest)
}

fn split_block(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u32::from_be_bytes(*len) as usize)
}

/// The first bytes of a gzip stream.
pub(super) const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// The first bytes of a snappy-java stream.
pub(super) const SNAPPY_MAGIC: [u8; 8] = *b"\x82SNAPPY\0";
const SNAPPY_VERSION: u32 = 1;
const SNAPPY_VERSIONS_BYTES: usize = 8;
/// snappy-java's block size.
const BLOCK_BYTES: usize = 32 << 10;
/// Three bytes of a raw block make 64 at most: a block that promises more is damaged.
const SNAPPY_RATIO_MAX: usize = 32;
