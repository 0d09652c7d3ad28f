//! Unpacks snapshots as a stream: memory is a piece of the file and a block of the codec, whatever
//! the file holds.

use std::io::{self, Read};

use flate2::bufread::MultiGzDecoder;

use crate::pieces::{Source, Stream};

use super::Codec;
use super::compress::SNAPPY_MAGIC;
use super::parts::Input;

/// The plain bytes of a snapshot file.
pub(super) enum Unpacker<S> {
    Plain(Stream<S>),
    Gzip(MultiGzDecoder<Stream<S>>),
    Snappy(SnappyUnpacker<S>),
}

impl<S: Source> Unpacker<S> {
    pub(super) fn new(codec: Codec, source: S) -> Self {
        let stream = Stream::new(source);
        match codec {
            Codec::Plain => Self::Plain(stream),
            Codec::Gzip => Self::Gzip(MultiGzDecoder::new(stream)),
            Codec::Snappy => Self::Snappy(SnappyUnpacker::new(stream)),
        }
    }

    /// Bytes of the file that were taken.
    pub(super) fn offset(&self) -> u64 {
        match self {
            Self::Plain(stream) => stream.offset(),
            Self::Gzip(decoder) => decoder.get_ref().offset(),
            Self::Snappy(unpacker) => unpacker.stream.offset(),
        }
    }
}

impl<S: Source> Input for Unpacker<S> {
    fn is_ready(&self) -> bool {
        true
    }

    /// `out` gets no longer than `full`.
    fn read_onto(&mut self, out: &mut Vec<u8>, full: usize) -> io::Result<usize> {
        let held = out.len();
        let decoder: &mut dyn Read = match self {
            Self::Plain(stream) => {
                let piece = io::BufRead::fill_buf(stream)?;
                let len = piece.len().min(full - held);
                out.extend_from_slice(&piece[..len]);
                io::BufRead::consume(stream, len);
                return Ok(len);
            }
            Self::Gzip(decoder) => decoder,
            Self::Snappy(unpacker) => unpacker,
        };
        out.resize(full.min(held + DECODED_BYTES), 0);
        let read = decoder.read(&mut out[held..]);
        out.truncate(held + read.as_ref().copied().unwrap_or(0));
        read
    }
}

/// Bytes that a decoder is asked for at a time.
const DECODED_BYTES: usize = 64 << 10;

/// Reads what [`super::Encoder`] and snappy-java's `SnappyOutputStream` write.
pub(super) struct SnappyUnpacker<S> {
    stream: Stream<S>,
    has_header: bool,
    packed: Vec<u8>,
    /// The block that is given out, from `at` on.
    block: Vec<u8>,
    at: usize,
}

impl<S: Source> SnappyUnpacker<S> {
    fn new(stream: Stream<S>) -> Self {
        Self { stream, has_header: false, packed: Vec::new(), block: Vec::new(), at: 0 }
    }

    /// Unpacks the next block; false at the end of the file.
    fn next_block(&mut self) -> io::Result<bool> {
        let mut word = [0; 4];
        if io::BufRead::fill_buf(&mut self.stream)?.is_empty() {
            return Ok(false);
        }
        self.stream.read_exact(&mut word)?;
        // Streams that were put one after the other have a header each.
        if SNAPPY_MAGIC.starts_with(&word) {
            self.skip_header()?;
            return Ok(true);
        }
        let len = u32::from_be_bytes(word) as usize;
        if !self.has_header || len > PACKED_BLOCK_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.packed.resize(len, 0);
        self.stream.read_exact(&mut self.packed)?;
        let plain = snap::raw::decompress_len(&self.packed).map_err(io::Error::other)?;
        if plain > len.saturating_mul(SNAPPY_RATIO_MAX).min(BLOCK_BYTES_MAX) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.block.resize(plain, 0);
        self.at = 0;
        snap::raw::Decoder::new()
            .decompress(&self.packed, &mut self.block)
            .map_err(io::Error::other)?;
        Ok(true)
    }

    fn skip_header(&mut self) -> io::Result<()> {
        let mut rest = [0; SNAPPY_HEADER_BYTES - 4];
        self.stream.read_exact(&mut rest)?;
        self.has_header = rest.starts_with(&SNAPPY_MAGIC[4..]);
        if self.has_header { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
    }
}

impl<S: Source> Read for SnappyUnpacker<S> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.block.len() {
            if !self.next_block()? {
                return Ok(0);
            }
        }
        let len = out.len().min(self.block.len() - self.at);
        out[..len].copy_from_slice(&self.block[self.at..self.at + len]);
        self.at += len;
        Ok(len)
    }
}

/// The magic and two versions.
const SNAPPY_HEADER_BYTES: usize = 16;
/// snappy-java's blocks have 32 KiB unless it is told otherwise.
const BLOCK_BYTES_MAX: usize = 4 << 20;
/// A block that cannot be packed is a little longer than it was.
const PACKED_BLOCK_BYTES_MAX: usize = BLOCK_BYTES_MAX + BLOCK_BYTES_MAX / 4;
/// Three bytes of a raw block make 64 at most: a block that promises more is damaged.
const SNAPPY_RATIO_MAX: usize = 32;
