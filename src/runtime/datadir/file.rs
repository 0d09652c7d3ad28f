//! Files read in pieces, around the page cache where the file system can do that.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::pieces::{PIECE_BYTES, Source};

use super::ahead::{ALIGNMENT, Ahead, Piece};

/// An open file of a data directory.
///
/// Bytes read around the page cache (`O_DIRECT`) are what the disk has; those read through it may
/// be what the disk was to have and has not got, after a write-back that failed.
#[derive(Debug)]
pub struct PieceFile {
    file: Arc<File>,
    bytes: u64,
    /// Where direct reads go to; none where the file is read through the cache.
    direct: Option<Mutex<Direct>>,
    /// The file may be cut while it is read; what is after its end counts as zeros.
    may_be_cut: bool,
}

/// A log file that is open, and of which nothing has been read. It may grow meanwhile, be cut after
/// its last entry, and lose its name.
#[derive(Debug)]
pub struct LiveFile {
    through_cache: File,
    /// Entries may be written around the page cache, and a page that was read while its block was
    /// written would stay as it was before.
    direct: Option<File>,
}

impl LiveFile {
    /// Opens it.
    pub fn open(path: &Path) -> io::Result<Self> {
        let through_cache = File::open(path)?;
        let direct = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(path).ok();
        Ok(Self { through_cache, direct })
    }

    /// For reading. Zeros, which end a log file for every reader, stand for what was cut.
    pub fn into_pieces(self) -> io::Result<PieceFile> {
        let bytes = self.through_cache.metadata()?.len();
        let (file, direct) = (Arc::new(self.through_cache), None);
        let through_cache = PieceFile { file, bytes, direct, may_be_cut: true };
        match self.direct {
            Some(file) => PieceFile::around_cache(through_cache, file),
            None => Ok(through_cache),
        }
    }
}

/// The piece of a file that was read last, and the one after it.
#[derive(Debug)]
struct Direct {
    piece: Piece,
    /// There once the file is read from piece to piece.
    ahead: Option<Ahead>,
}

impl PieceFile {
    /// Opens a file for reading through the page cache.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { file: Arc::new(file), bytes, direct: None, may_be_cut: false })
    }

    /// Opens a file for reading what the disk has, as far as the file system can do that, once all
    /// that was written to it has been flushed.
    pub fn open_flushed(path: &Path) -> io::Result<Self> {
        let through_cache = Self::open(path)?;
        through_cache.file.sync_all()?;
        let direct = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(path);
        match direct {
            Ok(file) => Self::around_cache(through_cache, file),
            Err(_) => Ok(through_cache),
        }
    }

    /// The same file, read through a descriptor for direct reads where that works.
    fn around_cache(through_cache: Self, file: File) -> io::Result<Self> {
        let direct = Some(Mutex::new(Direct { piece: Piece::new()?, ahead: None }));
        let around_cache = Self { file: Arc::new(file), direct, ..through_cache };
        let through_cache = Self { file: through_cache.file, direct: None, ..around_cache };
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
        let read = match &self.direct {
            None => read_at(&self.file, offset, piece)?,
            Some(direct) => {
                let mut direct = direct.lock().unwrap_or_else(PoisonError::into_inner);
                direct.read(&self.file, offset, piece)?
            }
        };
        match piece.get_mut(read..) {
            Some(rest) if self.may_be_cut => rest.fill(0),
            Some([_, ..]) => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ => {}
        }
        Ok(())
    }
}

/// Reads up to the end of the file, and says how much.
fn read_at(file: &File, offset: u64, piece: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while read < piece.len() {
        match file.read_at(&mut piece[read..], offset + read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

impl Direct {
    /// Reads up to the end of the file, and says how much.
    fn read(&mut self, file: &Arc<File>, mut offset: u64, mut out: &mut [u8]) -> io::Result<usize> {
        let wanted_in_all = out.len();
        while !out.is_empty() {
            if self.piece.from(offset).is_empty() {
                let wanted = (offset % ALIGNMENT as u64) as usize + out.len();
                self.fill(file, offset / ALIGNMENT as u64 * ALIGNMENT as u64, wanted)?;
            }
            let held = self.piece.from(offset);
            let now = held.len().min(out.len());
            if now == 0 {
                break;
            }
            let (head, rest) = out.split_at_mut(now);
            head.copy_from_slice(&held[..now]);
            (out, offset) = (rest, offset + now as u64);
        }
        Ok(wanted_in_all - out.len())
    }

    /// Brings in whole blocks from `start` on: as few as hold what is wanted, so that a bad one
    /// that is not wanted does not spoil the read.
    fn fill(&mut self, file: &Arc<File>, start: u64, wanted: usize) -> io::Result<()> {
        let goes_on = self.piece.end() == start && wanted >= PIECE_BYTES;
        let is_there = self.ahead.as_mut().is_some_and(|it| it.take(start, &mut self.piece));
        if !is_there {
            let len = wanted.next_multiple_of(ALIGNMENT).min(PIECE_BYTES);
            self.piece.read(file, start, len)?;
        }
        if goes_on && self.piece.end() == start + PIECE_BYTES as u64 {
            self.ahead = self.ahead.take().or_else(|| Ahead::start(file.clone()).ok());
            if let Some(ahead) = &mut self.ahead {
                ahead.ask(self.piece.end());
            }
        }
        Ok(())
    }
}
