//! Files that are read piece by piece.
//!
//! Nothing above the shells holds a whole file, and nothing maps one: a bad sector is an error with
//! an offset, not a SIGBUS, and a start or a purge needs a few pieces of memory however large the
//! files are.

use std::fmt;
use std::io;

/// A file whose bytes can be read from any offset.
pub trait Source {
    /// The length of the file in bytes, which does not change while it is read.
    fn bytes(&self) -> u64;

    /// Fills `piece` from `offset` on. All of it lies inside the file.
    fn read_at(&self, offset: u64, piece: &mut [u8]) -> io::Result<()>;
}

impl<S: Source + ?Sized> Source for &S {
    fn bytes(&self) -> u64 {
        (**self).bytes()
    }

    fn read_at(&self, offset: u64, piece: &mut [u8]) -> io::Result<()> {
        (**self).read_at(offset, piece)
    }
}

impl Source for [u8] {
    fn bytes(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, piece: &mut [u8]) -> io::Result<()> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.get(offset..));
        let from =
            rest.and_then(|rest| rest.get(..piece.len())).ok_or(io::ErrorKind::UnexpectedEof)?;
        piece.copy_from_slice(from);
        Ok(())
    }
}

impl Source for Vec<u8> {
    fn bytes(&self) -> u64 {
        self.as_slice().bytes()
    }

    fn read_at(&self, offset: u64, piece: &mut [u8]) -> io::Result<()> {
        self.as_slice().read_at(offset, piece)
    }
}

/// A piece of a file could not be read.
#[derive(Debug)]
pub struct ReadError {
    /// Where the piece starts in the file.
    pub offset: u64,
    pub error: io::Error,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot be read at offset {}: {}", self.offset, self.error)
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// The piece of a file that is looked at.
///
/// It holds [`PIECE_BYTES`], or as much as was asked for at once, and no more.
#[derive(Debug)]
pub struct Window<S> {
    source: S,
    /// Where `piece` starts in the file.
    start: u64,
    /// Invariant: inside the file.
    piece: Vec<u8>,
}

impl<S: Source> Window<S> {
    /// A window that has read nothing yet.
    pub fn new(source: S) -> Self {
        Self { source, start: 0, piece: Vec::new() }
    }

    /// The length of the file in bytes.
    pub fn bytes(&self) -> u64 {
        self.source.bytes()
    }

    /// `len` bytes from `offset` on; fewer only at the end of the file.
    pub fn at(&mut self, offset: u64, len: usize) -> Result<&[u8], ReadError> {
        let len = self.clip(offset, len);
        if !self.holds(offset, len) {
            self.read(offset, len)?;
        }
        let from = if len == 0 { 0 } else { (offset - self.start) as usize };
        Ok(&self.piece[from..from + len])
    }

    /// All that is in memory from `offset` on, and at least one byte before the end of the file.
    pub fn some(&mut self, offset: u64) -> Result<&[u8], ReadError> {
        if self.at(offset, 1)?.is_empty() {
            return Ok(&[]);
        }
        Ok(&self.piece[(offset - self.start) as usize..])
    }

    /// One byte, without moving the window.
    pub fn peek(&self, offset: u64) -> Result<Option<u8>, ReadError> {
        if self.clip(offset, 1) == 0 {
            return Ok(None);
        }
        if self.holds(offset, 1) {
            return Ok(Some(self.piece[(offset - self.start) as usize]));
        }
        let mut byte = [0];
        self.source.read_at(offset, &mut byte).map_err(|error| ReadError { offset, error })?;
        Ok(Some(byte[0]))
    }

    fn clip(&self, offset: u64, len: usize) -> usize {
        let left = self.bytes().saturating_sub(offset);
        usize::try_from(left).unwrap_or(usize::MAX).min(len)
    }

    fn holds(&self, offset: u64, len: usize) -> bool {
        let end = self.start + self.piece.len() as u64;
        len == 0 || (self.start <= offset && offset + len as u64 <= end)
    }

    /// Brings in a piece from `offset` on, of which `len` bytes are needed.
    fn read(&mut self, offset: u64, needed: usize) -> Result<(), ReadError> {
        let len = self.clip(offset, needed.max(PIECE_BYTES));
        if self.piece.capacity() > needed.max(PIECE_BYTES) {
            self.piece = Vec::new();
        }
        // What is there will be written over.
        self.piece.resize(len, 0);
        self.start = offset;
        if self.source.read_at(offset, &mut self.piece).is_ok() {
            return Ok(());
        }
        // Block by block: a bad sector that is not needed yet hurts nobody, and the error says
        // where.
        let mut good = 0;
        while good < len {
            let end = len.min(good + BLOCK_BYTES);
            if let Err(error) =
                self.source.read_at(offset + good as u64, &mut self.piece[good..end])
            {
                // What could not be read must not be taken for the file's.
                self.piece.truncate(good);
                let offset = offset + good as u64;
                return if good < needed { Err(ReadError { offset, error }) } else { Ok(()) };
            }
            good = end;
        }
        Ok(())
    }
}

/// A file as a stream from its first byte to its last. A failed read is a [`ReadError`] inside the
/// [`io::Error`], so that it can be told from damage that a decoder finds.
#[derive(Debug)]
pub struct Stream<S> {
    window: Window<S>,
    at: u64,
}

impl<S: Source> Stream<S> {
    /// A stream at the first byte.
    pub fn new(source: S) -> Self {
        Self { window: Window::new(source), at: 0 }
    }

    /// Bytes that were taken.
    pub fn offset(&self) -> u64 {
        self.at
    }
}

impl<S: Source> io::Read for Stream<S> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let from = io::BufRead::fill_buf(self)?;
        let len = from.len().min(out.len());
        out[..len].copy_from_slice(&from[..len]);
        io::BufRead::consume(self, len);
        Ok(len)
    }
}

impl<S: Source> io::BufRead for Stream<S> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.window.some(self.at).map_err(|error| io::Error::new(error.error.kind(), error))
    }

    fn consume(&mut self, len: usize) {
        self.at += len as u64;
    }
}

/// The failed read inside an error of a stream's reader, if that is what it is.
pub fn read_error(error: io::Error) -> Result<ReadError, io::Error> {
    error.downcast::<ReadError>()
}

/// Bytes that are read at a time.
pub const PIECE_BYTES: usize = 256 << 10;
/// Bytes that are read at a time where a piece cannot be read whole.
const BLOCK_BYTES: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io::Read as _;

    use super::*;

    /// A file of `len` bytes, of which those from `bad` on cannot be read.
    struct Failing {
        len: u64,
        bad: u64,
        longest: Cell<usize>,
    }

    impl Source for Failing {
        fn bytes(&self) -> u64 {
            self.len
        }

        fn read_at(&self, offset: u64, piece: &mut [u8]) -> io::Result<()> {
            assert!(offset + piece.len() as u64 <= self.len, "nobody reads beyond the end");
            self.longest.set(self.longest.get().max(piece.len()));
            if offset + piece.len() as u64 > self.bad {
                return Err(io::Error::from_raw_os_error(5));
            }
            (0..).zip(piece).for_each(|(at, byte)| *byte = ((offset + at) % 251) as u8);
            Ok(())
        }
    }

    fn failing(len: u64, bad: u64) -> Failing {
        Failing { len, bad, longest: Cell::new(0) }
    }

    #[test]
    fn a_window_shows_the_file_and_ends_with_it() {
        let source = failing(1_000_000, u64::MAX);
        let mut window = Window::new(&source);
        for (offset, len, shown) in
            [(0, 10, 10), (999_990, 100, 10), (400_000, 300_000, 300_000), (1_000_000, 1, 0)]
        {
            let bytes = window.at(offset, len).unwrap();
            assert_eq!(bytes.len(), shown);
            assert!((0..).zip(bytes).all(|(at, byte)| u64::from(*byte) == (offset + at) % 251));
        }
        assert_eq!(window.peek(502).unwrap(), Some(0));
        assert_eq!(
            (window.peek(1_000_000).unwrap(), window.at(u64::MAX, 5).unwrap().len()),
            (None, 0)
        );
        assert_eq!(window.some(999_999).unwrap().len(), 1);
    }

    #[test]
    fn a_large_look_gives_its_memory_back() {
        let source = failing(64 << 20, u64::MAX);
        let mut window = Window::new(&source);
        window.at(0, 32 << 20).unwrap();
        window.at(40 << 20, 10).unwrap();
        assert!(window.piece.capacity() <= 2 * PIECE_BYTES, "{}", window.piece.capacity());
    }

    #[test]
    fn a_failed_read_says_where_and_shows_nothing() {
        let source = failing(1_000_000, 300_000);
        let mut window = Window::new(&source);
        assert_eq!(window.at(0, 10).unwrap().len(), 10);
        // What stands before the bad block can be had, although the piece cannot.
        assert_eq!(window.at(290_000, 8_000).unwrap().len(), 8_000);
        assert_eq!(window.at(290_000, 20_000).unwrap_err().offset, 290_000 + 2 * 4096);
        assert_eq!(window.at(0, 1).unwrap(), [0]);
        let mut all = Vec::new();
        let error = Stream::new(&source).read_to_end(&mut all).unwrap_err();
        let good = PIECE_BYTES + (300_000 - PIECE_BYTES) / 4096 * 4096;
        assert_eq!(all.len(), good);
        let error = read_error(error).unwrap();
        assert_eq!((error.offset, error.error.raw_os_error()), (good as u64, Some(5)));
        assert!(error.to_string().contains(&format!("offset {good}")), "{error}");
        assert_eq!(source.longest.get(), PIECE_BYTES);
    }
}
