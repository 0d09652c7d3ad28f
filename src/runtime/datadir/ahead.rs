//! Reading ahead around the page cache: the disk reads the next piece of a file while the one
//! before it is looked at.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, Sender, bounded};

use crate::pieces::PIECE_BYTES;

/// Up to [`PIECE_BYTES`] of a file, in memory that direct reads can write to.
#[derive(Debug)]
pub(super) struct Piece {
    /// One piece and the room to align it.
    buffer: Vec<u8>,
    /// Where it stands in the file; a multiple of [`ALIGNMENT`].
    start: u64,
    /// The number of bytes of it that were read.
    len: usize,
}

impl Piece {
    pub(super) fn new() -> Self {
        Self { buffer: vec![0; PIECE_BYTES + ALIGNMENT], start: 0, len: 0 }
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
        let at = self.aligned();
        &self.buffer[at + (offset - self.start) as usize..at + self.len]
    }

    /// Reads `len` bytes, whole blocks, from `start` on; fewer at the end of the file.
    pub(super) fn read(&mut self, file: &File, start: u64, len: usize) -> io::Result<()> {
        (self.start, self.len) = (start, 0);
        let from = self.aligned();
        while self.len < len {
            let end = self.end();
            let read = file.read_at(&mut self.buffer[from + self.len..from + len], end)?;
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

/// A thread that reads one piece ahead. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Ahead {
    /// None once it is to end.
    asked: Option<Sender<(u64, Piece)>>,
    /// Pieces that were read whole.
    read: Receiver<Option<Piece>>,
    /// Where the piece starts that was asked for and not taken yet.
    coming: Option<u64>,
    /// Memory for the next.
    spare: Option<Piece>,
    thread: Option<JoinHandle<()>>,
}

impl Ahead {
    /// Starts the thread; none where the system allows no further one.
    pub(super) fn start(file: Arc<File>) -> Option<Self> {
        let (ask, asked) = bounded::<(u64, Piece)>(1);
        let (give, read) = bounded(1);
        let run = move || {
            while let Ok((start, mut piece)) = asked.recv() {
                let is_read = piece.read(&file, start, PIECE_BYTES).is_ok();
                if give.send(is_read.then_some(piece)).is_err() {
                    break;
                }
            }
        };
        let thread = std::thread::Builder::new().name(THREAD.into()).spawn(run).ok()?;
        let spare = Some(Piece::new());
        Some(Self { asked: Some(ask), read, coming: None, spare, thread: Some(thread) })
    }

    /// Puts the piece at `start` in place of `piece`, if it was asked for and could be read.
    pub(super) fn take(&mut self, start: u64, piece: &mut Piece) -> bool {
        let Some(coming) = self.coming.take() else { return false };
        // A failed read has lost its memory; the next one gets other.
        let mut read = self.read.recv().ok().flatten().unwrap_or_else(Piece::new);
        let is_there = coming == start && read.end() > start;
        if is_there {
            std::mem::swap(piece, &mut read);
        }
        self.spare = Some(read);
        is_there
    }

    /// Asks for the piece at `start`.
    pub(super) fn ask(&mut self, start: u64) {
        assert!(self.coming.is_none(), "one piece at a time");
        if let (Some(asked), Some(piece)) = (&self.asked, self.spare.take())
            && asked.send((start, piece)).is_ok()
        {
            self.coming = Some(start);
        }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.asked = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the thread that reads ahead has panicked");
        }
    }
}

/// The alignment that direct reads need of memory, offset and length: no block is larger.
pub(super) const ALIGNMENT: usize = 4096;
const THREAD: &str = "read-ahead";

const _: () = assert!(PIECE_BYTES.is_multiple_of(ALIGNMENT), "a piece is whole blocks");
