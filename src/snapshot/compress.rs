//! Packs snapshots: gzip, and snappy in the framing of snappy-java's `SnappyOutputStream`.
//!
//! ```text
//! 82 "SNAPPY" 00 · int version 1 · int compatible version 1 · { int length · raw snappy block }*
//! ```

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::Codec;

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
            Packer::Gzip(encoder) => {
                out.append(&mut encoder.finish().expect("writing to memory does not fail"))
            }
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
        Self {
            encoder: snap::raw::Encoder::new(),
            block: Vec::with_capacity(BLOCK_BYTES),
            has_header: false,
        }
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
        let packed =
            self.encoder.compress_vec(&self.block).expect("a block is far below snappy's limit");
        out.extend_from_slice(&(packed.len() as u32).to_be_bytes());
        out.extend_from_slice(&packed);
        self.block.clear();
    }
}

/// The first bytes of a gzip stream.
pub(super) const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// The first bytes of a snappy-java stream.
pub(super) const SNAPPY_MAGIC: [u8; 8] = *b"\x82SNAPPY\0";
const SNAPPY_VERSION: u32 = 1;
/// snappy-java's block size.
const BLOCK_BYTES: usize = 32 << 10;
