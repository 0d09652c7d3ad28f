//! One file of the log: made of real zeros, written by one thread, never shortened while it is in
//! use.
//!
//! Why no store into a map of it can end in SIGBUS: its length is fixed before it is mapped, and
//! each of its blocks has been written and flushed, so that the file system has nothing to allocate
//! when a page is stored to. Where that is not enough (`way`), files are not mapped.

use std::collections::hash_map::RandomState;
use std::fs::{File, OpenOptions};
use std::hash::BuildHasher;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use memmap2::{Advice, MmapOptions, MmapRaw, UncheckedAdvice};
use rustix::fs::{FallocateFlags, OFlags};
use rustix::io::{Errno, ReadWriteFlags};
use rustix::process::{Resource, getrlimit};

use crate::txnlog::{
    Appending, BLOCK_BYTES, FILE_HEADER_BYTES, Nonce, TAIL_MARK_BYTES, file_header,
};

use super::place::check_writable;
use super::way::Block;

/// A log file with its header in place.
#[derive(Debug)]
pub struct Segment {
    file: File,
    bytes: u64,
    /// None where entries are written.
    map: Option<MmapRaw>,
    nonce: Nonce,
}

impl Segment {
    /// The number that the file's tail marks are sealed with.
    pub(super) fn nonce(&self) -> Nonce {
        self.nonce
    }

    /// Bytes of the file.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether it is mapped.
    pub(super) fn is_mapped(&self) -> bool {
        self.map.is_some()
    }

    /// Puts `bytes` at `offset`, into the map or the page cache. Only the thread that appends calls
    /// it.
    pub fn store(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let Some(map) = &self.map else { return self.file.write_all_at(bytes, offset) };
        let offset =
            usize::try_from(offset).expect("an offset in a mapping fits the address space");
        let end = offset.checked_add(bytes.len()).expect("lengths in memory add up below 2^64");
        assert!(end <= map.len(), "the log never writes beyond its segment");
        // SAFETY: the range is inside the mapping by the assertion; the mapping lives as long as
        // `self`; the file has all of its blocks and is not shortened while mapped, so the pages
        // exist. No reference into the mapping is ever made, and the appending thread is the only
        // one that stores, so no access to this memory races with the copy; `bytes` is memory of
        // this process outside the mapping.
        unsafe {
            map.as_mut_ptr().add(offset).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len())
        };
        Ok(())
    }

    /// Brings pages in before the appending thread needs them; an unreadable disk fails here
    /// instead of in a store.
    pub fn prefault(&self, range: Range<u64>) -> io::Result<()> {
        let (Some(map), range) = (&self.map, self.clip(range)) else { return Ok(()) };
        map.advise_range(Advice::PopulateRead, range.start, range.len())
    }

    /// Gives back the pages of a range that is written, so that the resident memory stays within a
    /// window.
    pub(super) fn release(&self, range: Range<u64>) -> io::Result<()> {
        let (Some(map), range) = (&self.map, self.clip(range)) else { return Ok(()) };
        // SAFETY: DONTNEED on a shared file mapping drops page table entries only: the bytes stay
        // in the page cache and on disk, and no reference into the mapping exists that could see
        // anything else.
        unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, range.start, range.len()) }
    }

    /// Waits until everything stored so far is on disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// An error where its file system has become read-only, which a flush need not notice.
    pub(super) fn check_writable(&self) -> io::Result<()> {
        check_writable(&self.file)
    }

    /// Writes whole blocks, and waits until they are on disk. In direct writes the memory must be
    /// aligned as [`Pages`](crate::runtime::pages::Pages) are.
    pub fn write_durably(&self, offset: u64, blocks: &[u8]) -> io::Result<()> {
        self.write_with(ReadWriteFlags::DSYNC, offset, blocks)
    }

    /// Writes whole blocks, of which a flush is to follow: for measuring what that takes.
    pub fn write(&self, offset: u64, blocks: &[u8]) -> io::Result<()> {
        self.write_with(ReadWriteFlags::empty(), offset, blocks)
    }

    fn write_with(
        &self,
        flags: ReadWriteFlags,
        mut offset: u64,
        mut blocks: &[u8],
    ) -> io::Result<()> {
        while !blocks.is_empty() {
            let slices = [IoSlice::new(blocks)];
            let written = rustix::io::retry_on_intr(|| {
                rustix::io::pwritev2(&self.file, &slices, offset, flags)
            });
            let written = written.map_err(|errno| refusal(errno, offset + blocks.len() as u64))?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            blocks = &blocks[written..];
            offset += written as u64;
        }
        Ok(())
    }

    /// Unmaps the file, of which `bytes` are used, cuts what is after them and appends the mark.
    pub(super) fn trim(self, bytes: u64, mark: [u8; TAIL_MARK_BYTES]) -> io::Result<()> {
        let Self { file, map, .. } = self;
        drop(map);
        // The mark is no whole block.
        let flags = rustix::fs::fcntl_getfl(&file)?;
        rustix::fs::fcntl_setfl(&file, flags - OFlags::DIRECT)?;
        file.set_len(bytes)?;
        file.write_all_at(&mark, bytes)
    }

    fn clip(&self, range: Range<u64>) -> Range<usize> {
        let end = range.end.min(self.bytes());
        range.start.min(end) as usize..end as usize
    }
}

/// Why a write up to `end` was refused. A limit of file sizes cuts a write short; what is left of a
/// direct one may be no whole block, and the kernel calls that an invalid argument.
fn refusal(errno: Errno, end: u64) -> io::Error {
    let limit = getrlimit(Resource::Fsize).current;
    let is_cut = errno == Errno::INVAL && limit.is_some_and(|limit| end > limit);
    if is_cut { Errno::FBIG.into() } else { errno.into() }
}

impl AsFd for Segment {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// A segment in the making: zeroed piece by piece, so that its thread can do other things in
/// between.
#[derive(Debug)]
pub(super) struct Preparation {
    path: PathBuf,
    file: File,
    appending: Appending,
    bytes: u64,
    zeroed: u64,
    /// All of the file has its space, and reads as zeros.
    is_reserved: bool,
}

impl Preparation {
    /// Makes the file and reserves its space.
    pub(super) fn begin(path: &Path, bytes: u64, appending: Appending) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o644);
        if appending == Appending::Direct {
            options.custom_flags(libc::O_DIRECT);
        }
        let file = options.open(path)?;
        let path = path.to_owned();
        let preparation = Self { path, file, appending, bytes, zeroed: 0, is_reserved: false };
        match rustix::fs::fallocate(&preparation.file, FallocateFlags::empty(), 0, bytes) {
            Ok(()) => Ok(Self { is_reserved: true, ..preparation }),
            Err(rustix::io::Errno::OPNOTSUPP) => Ok(preparation),
            Err(errno) => {
                preparation.abandon();
                Err(errno.into())
            }
        }
    }

    /// See the field.
    pub(super) fn is_reserved(&self) -> bool {
        self.is_reserved
    }

    /// Writes the next piece of zeros; true when all of it is there. Direct ones are flushed along
    /// with entries, or at the end.
    ///
    /// Into the page cache they go in small writes, because one large write would make it keep
    /// large folios, of which a flush writes every byte again for each entry: with writes of 1 MiB
    /// a flush of 250 bytes took 290 us instead of 85.
    pub(super) fn step(&mut self) -> io::Result<bool> {
        let is_direct = self.appending == Appending::Direct;
        let (step, piece) =
            if is_direct { (ZEROS_BYTES as u64, ZEROS_BYTES) } else { (STEP_BYTES, FOLIO_BYTES) };
        let end = (self.zeroed + step).min(self.bytes);
        while self.zeroed < end {
            let len = (end - self.zeroed).min(piece as u64) as usize;
            self.file.write_all_at(&ZEROS.0[..len], self.zeroed)?;
            self.zeroed += len as u64;
        }
        if !is_direct {
            self.file.sync_data()?;
        }
        Ok(self.zeroed == self.bytes)
    }

    /// Puts the header in, makes length and blocks durable, maps. Nothing is left after an error.
    pub(super) fn finish(self) -> io::Result<Segment> {
        let nonce = Nonce::new(RandomState::new().hash_one(0));
        match self.write_header(nonce).and_then(|()| self.map()) {
            Ok(map) => Ok(Segment { file: self.file, bytes: self.bytes, map, nonce }),
            Err(error) => {
                self.abandon();
                Err(error)
            }
        }
    }

    fn write_header(&self, nonce: Nonce) -> io::Result<()> {
        let mut block = Box::new(Block([0; BLOCK_BYTES as usize]));
        block.0[..FILE_HEADER_BYTES].copy_from_slice(&file_header(nonce));
        self.file.write_all_at(&block.0, 0)?;
        self.file.sync_all()
    }

    fn map(&self) -> io::Result<Option<MmapRaw>> {
        if self.appending != Appending::Mapped {
            return Ok(None);
        }
        let map = MmapOptions::new().len(self.bytes as usize).map_raw(&self.file)?;
        // Readahead would bring in large folios, see `step`.
        map.advise(Advice::Random)?;
        map.advise_range(Advice::PopulateRead, 0, WINDOW_BYTES.min(self.bytes) as usize)?;
        Ok(Some(map))
    }

    /// Gives the space back.
    pub(super) fn abandon(self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            log::warn!("{}: cannot be removed: {error}", self.path.display());
        }
    }
}

/// The bytes of a segment that are kept in page tables ahead of the end and after it.
pub(super) const WINDOW_BYTES: u64 = 4 << 20;
/// Zeroed in the page cache between two looks at other work.
const STEP_BYTES: u64 = 1 << 20;
/// One write of zeros into the page cache, and so at most one folio.
const FOLIO_BYTES: usize = 16 << 10;
/// One direct write of zeros, between two looks at other work. Entries that are flushed meanwhile
/// wait for it.
const ZEROS_BYTES: usize = 128 << 10;

/// Memory that direct writes can read.
#[repr(align(4096))]
struct Zeros([u8; ZEROS_BYTES]);

static ZEROS: Zeros = Zeros([0; ZEROS_BYTES]);
