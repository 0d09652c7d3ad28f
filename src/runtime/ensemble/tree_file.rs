//! The file that a leader's tree is stored in while it comes: a snapshot, written around the page
//! cache in pieces that are on the disk when their write has ended.
//!
//! Left to the page cache, all of it would be flushed in one go, and whoever else uses the disk
//! would wait for that. Where a file system knows no direct writes, the cache is flushed every few
//! pieces.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use crate::runtime::pages::Pages;
use crate::snapshot::{Codec, Encoder, Trailers, Writer};

/// The file. What is dropped before its end stays as it is.
pub(super) struct TreeFile {
    writer: Writer,
    encoder: Encoder,
    plain: Vec<u8>,
    packed: Vec<u8>,
    pieces: Pieces,
}

impl TreeFile {
    /// Begins the file, which takes the place of one that is there.
    pub(super) fn create(path: &Path, codec: Codec) -> io::Result<Self> {
        let (mut writer, mut plain) = (Writer::new(), Vec::new());
        writer.header(&mut plain);
        let pieces = Pieces::create(path)?;
        Ok(Self { writer, encoder: Encoder::new(codec), plain, packed: Vec::new(), pieces })
    }

    /// Adds bytes of the tree.
    pub(super) fn copy(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer.copied(&mut self.plain, bytes);
        if self.plain.len() < PACKED_AT_ONCE_BYTES {
            return Ok(());
        }
        self.encoder.write(&self.plain, &mut self.packed);
        self.plain.clear();
        self.pieces.append(&self.packed)?;
        self.packed.clear();
        Ok(())
    }

    /// Ends the file.
    pub(super) fn finish(self, trailers: &Trailers) -> io::Result<Unflushed> {
        let Self { writer, mut encoder, mut plain, mut packed, mut pieces } = self;
        writer.finish(&mut plain, trailers);
        encoder.write(&plain, &mut packed);
        encoder.finish(&mut packed);
        pieces.append(&packed)?;
        pieces.finish().map(Unflushed)
    }
}

/// The whole file, which may not be durable yet.
pub(super) struct Unflushed(File);

impl Unflushed {
    /// Makes it durable, but for its name.
    pub(super) fn flush(self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// A file that is written from its start to its end in aligned pieces.
struct Pieces {
    file: File,
    /// The writes go past the page cache.
    is_direct: bool,
    piece: Pages,
    /// Bytes in `piece`, and in the file before it.
    filled: usize,
    written: u64,
}

impl Pieces {
    fn create(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o644);
        let direct = options.clone().custom_flags(libc::O_DIRECT).open(path);
        let (file, is_direct) = match direct {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                (options.open(path)?, false)
            }
            other => (other?, true),
        };
        let piece = Pages::zeroed(PIECE_BYTES)?;
        Ok(Self { file, is_direct, piece, filled: 0, written: 0 })
    }

    fn append(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(PIECE_BYTES - self.filled));
            self.piece[self.filled..self.filled + now.len()].copy_from_slice(now);
            self.filled += now.len();
            bytes = later;
            if self.filled == PIECE_BYTES {
                self.write_piece()?;
            }
        }
        Ok(())
    }

    fn write_piece(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.piece[..PIECE_BYTES], self.written)?;
        (self.written, self.filled) = (self.written + PIECE_BYTES as u64, 0);
        if !self.is_direct && self.written.is_multiple_of(CACHED_BYTES_MAX) {
            self.file.sync_data()?;
        }
        Ok(())
    }

    /// Writes the last, partial piece, and cuts the file to what was appended.
    fn finish(mut self) -> io::Result<File> {
        let bytes = self.written + self.filled as u64;
        if self.filled > 0 {
            self.piece[self.filled..].fill(0);
            self.write_piece()?;
        }
        self.file.set_len(bytes)?;
        Ok(self.file)
    }
}

/// Bytes that are packed at once.
const PACKED_AT_ONCE_BYTES: usize = 64 << 10;
/// One write to the disk; a multiple of every block size.
const PIECE_BYTES: usize = 128 << 10;
/// Bytes in the page cache that are not flushed yet; a multiple of a piece.
const CACHED_BYTES_MAX: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    /// What was appended is what is in the file, however it was cut, with direct writes or not.
    #[test]
    fn the_file_holds_what_was_appended() {
        let dir = tempfile::tempdir().unwrap();
        for is_direct in [true, false] {
            for len in [0, 1, 4095, PIECE_BYTES, PIECE_BYTES + 1, 5 << 20] {
                let path = dir.path().join("file");
                std::fs::write(&path, vec![9; 6 << 20]).unwrap();
                let bytes: Vec<u8> = (0..len).map(|nth| (nth % 251) as u8).collect();
                let mut pieces = Pieces::create(&path).unwrap();
                if !is_direct {
                    let plain = OpenOptions::new().write(true).truncate(true).open(&path);
                    (pieces.file, pieces.is_direct) = (plain.unwrap(), false);
                }
                bytes.chunks(77_777).for_each(|chunk| pieces.append(chunk).unwrap());
                Unflushed(pieces.finish().unwrap()).flush().unwrap();
                assert!(std::fs::read(&path).unwrap() == bytes, "{len} bytes");
            }
        }
    }
}
