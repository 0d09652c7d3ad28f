//! Reading ahead around the page cache: the disk reads the next piece of a file while the one
//! before it is looked at.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::pieces::PIECE_BYTES;
use crate::runtime::pages::Pages;
use crate::runtime::worker::Worker;

/// Up to [`PIECE_BYTES`] of a file, in memory that direct reads can write to.
#[derive(Debug)]
pub(super) struct Piece {
    memory: Pages,
    /// Where it stands in the file; a multiple of [`ALIGNMENT`].
    start: u64,
    /// The number of bytes of it that were read.
    len: usize,
}

impl Piece {
    /// A piece of which nothing was read.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { memory: Pages::zeroed(PIECE_BYTES)?, start: 0, len: 0 })
    }

    /// The offset in the file after the last byte that was read.
    pub(super) fn end(&self) -> u64 {
        self.start + self.len as u64
    }

    /// The bytes that were read of the file from `offset` on.
    pub(super) fn from(&self, offset: u64) -> &[u8] {
        if offset < self.start || offset >= self.end() {
            return &[];
        }
        &self.memory[(offset - self.start) as usize..self.len]
    }

    /// Reads `len` bytes, whole blocks, from `start` on; fewer at the end of the file.
    pub(super) fn read(&mut self, file: &File, start: u64, len: usize) -> io::Result<()> {
        (self.start, self.len) = (start, 0);
        while self.len < len {
            let end = self.end();
            let read = file.read_at(&mut self.memory[self.len..len], end)?;
            self.len += read;
            if read == 0 || !read.is_multiple_of(ALIGNMENT) {
                break;
            }
        }
        Ok(())
    }
}

/// A thread that reads one piece ahead. It ends when this is dropped.
pub(super) struct Ahead {
    /// Reads the piece at an offset into the memory of one that is no longer needed.
    reader: Worker<(u64, Piece), (Piece, io::Result<()>)>,
    /// Where the piece starts that was asked for and not taken yet.
    coming: Option<u64>,
    /// Memory for the next. Invariant: it is there unless a piece is coming or the thread is lost.
    spare: Option<Piece>,
}

impl fmt::Debug for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ahead({:?})", self.coming)
    }
}

impl Ahead {
    /// Starts the thread.
    pub(super) fn start(file: Arc<File>) -> io::Result<Self> {
        let read = move |(start, mut piece): (u64, Piece)| {
            let result = piece.read(&file, start, PIECE_BYTES);
            (piece, result)
        };
        let spare = Some(Piece::new()?);
        let reader = Worker::start(THREAD, read, Arc::new(|| ()))?;
        Ok(Self { reader, coming: None, spare })
    }

    /// Puts the piece at `start` in place of `piece`, if it was asked for and could be read.
    pub(super) fn take(&mut self, start: u64, piece: &mut Piece) -> bool {
        let Some(coming) = self.coming.take() else { return false };
        let Ok((mut read, result)) = self.reader.wait() else { return false };
        let is_there = coming == start && result.is_ok() && read.end() > start;
        if is_there {
            std::mem::swap(piece, &mut read);
        }
        self.spare = Some(read);
        is_there
    }

    /// Asks for the piece at `start`.
    pub(super) fn ask(&mut self, start: u64) {
        assert!(self.coming.is_none(), "one piece at a time");
        if let Some(piece) = self.spare.take() {
            self.reader.begin((start, piece));
            self.coming = Some(start);
        }
    }
}

/// The alignment that direct reads need of memory, offset and length: no block is larger.
pub(super) const ALIGNMENT: usize = 4096;
const THREAD: &str = "read-ahead";

const _: () = assert!(PIECE_BYTES.is_multiple_of(ALIGNMENT), "a piece is whole blocks");
