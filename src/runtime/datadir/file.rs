//! Files read in pieces, around the page cache where the file system can do that.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::pieces::{PIECE_BYTES, Source};

/// An open file of a data directory.
///
/// Bytes read around the page cache (`O_DIRECT`) are what the disk has; those read through it may
/// be what the disk was to have and has not got, after a write-back that failed.
#[derive(Debug)]
pub struct PieceFile {
    file: File,
    bytes: u64,
    /// The aligned piece that direct reads go to; none where the file is read through the cache.
    direct: Option<Mutex<Piece>>,
}

#[derive(Debug)]
struct Piece {
    /// One piece and the room to align it.
    buffer: Vec<u8>,
    /// Where the piece stands in the file, and how much of it was read.
    start: u64,
    len: usize,
}

impl PieceFile {
    /// Opens a file for reading through the page cache.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { file, bytes, direct: None })
    }

    /// Opens a file for reading what the disk has, as far as the file system can do that, once all
    /// that was written to it has been flushed.
    pub fn open_flushed(path: &Path) -> io::Result<Self> {
        let through_cache = Self::open(path)?;
        through_cache.file.sync_all()?;
        let direct = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(path);
        let piece = Piece { buffer: vec![0; PIECE_BYTES + ALIGNMENT], start: 0, len: 0 };
        let Ok(file) = direct else { return Ok(through_cache) };
        let around_cache =
            Self { file, bytes: through_cache.bytes, direct: Some(Mutex::new(piece)) };
        // Some file systems take the flag and refuse the read.
        let mut first = [0; 1];
        let works = through_cache.bytes > 0 && around_cache.read_at(0, &mut first).is_ok();
        Ok(if works { around_cache } else { through_cache })
    }
}

impl Source for PieceFile {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn read_at(&self, offset: u64, piece: &mut [u8]) -> io::Result<()> {
        match &self.direct {
            None => self.file.read_exact_at(piece, offset),
            Some(direct) => direct
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .read(&self.file, offset, piece),
        }
    }
}

impl Piece {
    fn read(&mut self, file: &File, mut offset: u64, mut out: &mut [u8]) -> io::Result<()> {
        while !out.is_empty() {
            if offset < self.start || offset >= self.start + self.len as u64 {
                let wanted = (offset % ALIGNMENT as u64) as usize + out.len();
                self.fill(file, offset / ALIGNMENT as u64 * ALIGNMENT as u64, wanted)?;
            }
            let held = (self.start + self.len as u64).saturating_sub(offset);
            let now = usize::try_from(held).unwrap_or(usize::MAX).min(out.len());
            if now == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let from = self.aligned() + (offset - self.start) as usize;
            let (head, rest) = out.split_at_mut(now);
            head.copy_from_slice(&self.buffer[from..from + now]);
            (out, offset) = (rest, offset + now as u64);
        }
        Ok(())
    }

    /// Reads whole blocks from `start` on: as few as hold what is wanted, so that a bad one that is
    /// not wanted does not spoil the read.
    fn fill(&mut self, file: &File, start: u64, wanted: usize) -> io::Result<()> {
        (self.start, self.len) = (start, 0);
        let len = wanted.next_multiple_of(ALIGNMENT).min(PIECE_BYTES);
        let from = self.aligned();
        while self.len < len {
            let read = file
                .read_at(&mut self.buffer[from + self.len..from + len], start + self.len as u64)?;
            self.len += read;
            if read == 0 || !read.is_multiple_of(ALIGNMENT) {
                break;
            }
        }
        Ok(())
    }

    /// Where the aligned piece starts in the buffer, which never moves.
    fn aligned(&self) -> usize {
        self.buffer.as_ptr().align_offset(ALIGNMENT)
    }
}

/// The alignment that direct reads need of memory, offset and length: no block is larger.
const ALIGNMENT: usize = 4096;
