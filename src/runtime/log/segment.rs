//! One file of the log, mapped: made of real zeros, written by one thread, never shortened while it is mapped.
//!
//! Why no store into it can end in SIGBUS: its length is fixed before it is mapped, and each of its blocks has been written
//! and flushed, so that the file system has nothing to allocate when a page is stored to.

use std::collections::hash_map::RandomState;
use std::fs::{File, OpenOptions};
use std::hash::BuildHasher;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use memmap2::{Advice, MmapOptions, MmapRaw, UncheckedAdvice};
use rustix::fs::FallocateFlags;

use crate::txnlog::{Nonce, TAIL_MARK_BYTES, file_header};

/// A mapped log file with its header in place.
#[derive(Debug)]
pub(super) struct Segment {
    file: File,
    map: MmapRaw,
    nonce: Nonce,
}

impl Segment {
    /// What the file's tail marks are sealed with.
    pub(super) fn nonce(&self) -> Nonce {
        self.nonce
    }

    /// Bytes of the file.
    pub(super) fn bytes(&self) -> u64 {
        self.map.len() as u64
    }

    /// Copies `bytes` to `offset`. Only the thread that appends calls it.
    pub(super) fn write(&self, offset: u64, bytes: &[u8]) {
        let offset = usize::try_from(offset).expect("an offset in a mapping fits the address space");
        let end = offset.checked_add(bytes.len()).expect("lengths in memory add up below the address space");
        assert!(end <= self.map.len(), "the log never writes beyond its segment");
        // SAFETY: the range is inside the mapping by the assertion; the mapping lives as long as `self`; the file has all of
        // its blocks and is not shortened while mapped, so the pages exist. No reference into the mapping is ever made, and the
        // appending thread is the only one that stores, so no access to this memory races with the copy; `bytes` is memory of
        // this process outside the mapping.
        unsafe { self.map.as_mut_ptr().add(offset).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }

    /// Brings pages in before the appending thread needs them; an unreadable disk fails here instead of in a store.
    pub(super) fn prefault(&self, range: Range<u64>) -> io::Result<()> {
        let range = self.clip(range);
        self.map.advise_range(Advice::PopulateRead, range.start, range.len())
    }

    /// Gives back the pages of a range that is written, so that the resident memory stays within a window.
    pub(super) fn release(&self, range: Range<u64>) -> io::Result<()> {
        let range = self.clip(range);
        // SAFETY: DONTNEED on a shared file mapping drops page table entries only: the bytes stay in the page cache and on
        // disk, and no reference into the mapping exists that could see anything else.
        unsafe { self.map.unchecked_advise_range(UncheckedAdvice::DontNeed, range.start, range.len()) }
    }

    /// Waits until everything written so far is on disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Unmaps the file, of which `bytes` are used, cuts what is behind them and appends the mark.
    pub(super) fn trim(self, bytes: u64, mark: Option<[u8; TAIL_MARK_BYTES]>) -> io::Result<()> {
        let Self { file, map, .. } = self;
        drop(map);
        file.set_len(bytes)?;
        match mark {
            Some(mark) => file.write_all_at(&mark, bytes),
            None => Ok(()),
        }
    }

    fn clip(&self, range: Range<u64>) -> Range<usize> {
        let end = range.end.min(self.bytes());
        range.start.min(end) as usize..end as usize
    }
}

impl AsRawFd for Segment {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

/// A segment in the making: zeroed piece by piece, so that its thread can do other things in between.
#[derive(Debug)]
pub(super) struct Preparation {
    path: PathBuf,
    file: File,
    bytes: u64,
    zeroed: u64,
}

impl Preparation {
    /// Makes the file and reserves its space.
    pub(super) fn begin(path: &Path, bytes: u64) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(true).mode(0o644).open(path)?;
        let preparation = Self { path: path.to_owned(), file, bytes, zeroed: 0 };
        match rustix::fs::fallocate(&preparation.file, FallocateFlags::empty(), 0, bytes) {
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => Ok(preparation),
            Err(errno) => {
                preparation.abandon();
                Err(errno.into())
            }
        }
    }

    /// Writes and flushes the next piece of zeros; true when all of it is there.
    ///
    /// In small writes, because one large write would make the page cache keep large folios, of which a flush writes
    /// every byte again for each entry: with writes of 1 MiB a flush of 250 bytes took 290 us instead of 85.
    pub(super) fn step(&mut self) -> io::Result<bool> {
        let end = (self.zeroed + STEP_BYTES).min(self.bytes);
        while self.zeroed < end {
            let len = (end - self.zeroed).min(ZEROS_BYTES as u64) as usize;
            self.file.write_all_at(&ZEROS[..len], self.zeroed)?;
            self.zeroed += len as u64;
        }
        self.file.sync_data()?;
        Ok(self.zeroed == self.bytes)
    }

    /// Puts the header in, makes length and blocks durable, maps. Nothing is left after an error.
    pub(super) fn finish(self) -> io::Result<Segment> {
        match self.map() {
            Ok((map, nonce)) => Ok(Segment { file: self.file, map, nonce }),
            Err(error) => {
                self.abandon();
                Err(error)
            }
        }
    }

    fn map(&self) -> io::Result<(MmapRaw, Nonce)> {
        let nonce = Nonce::new(RandomState::new().hash_one(0));
        self.file.write_all_at(&file_header(nonce), 0)?;
        self.file.sync_all()?;
        let map = MmapOptions::new().len(self.bytes as usize).map_raw(&self.file)?;
        // Readahead would bring in large folios, see `step`.
        map.advise(Advice::Random)?;
        map.advise_range(Advice::PopulateRead, 0, WINDOW_BYTES.min(self.bytes) as usize)?;
        Ok((map, nonce))
    }

    /// Gives the space back.
    pub(super) fn abandon(self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            log::warn!("{}: cannot be removed: {error}", self.path.display());
        }
    }
}

/// How much of a segment is kept in page tables ahead of the end and behind it.
pub(super) const WINDOW_BYTES: u64 = 4 << 20;
/// Zeroed between two looks at other work.
const STEP_BYTES: u64 = 1 << 20;
/// One write of zeros, and so at most one folio.
const ZEROS_BYTES: usize = 16 << 10;
static ZEROS: [u8; ZEROS_BYTES] = [0; ZEROS_BYTES];
