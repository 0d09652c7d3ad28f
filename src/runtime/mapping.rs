//! A whole file as memory that is stored to and never looked into: for measuring what a mapped log
//! costs at least.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use memmap2::{MmapOptions, MmapRaw};

/// A mapped file. Whoever maps it has written all of its blocks, and nobody shortens it meanwhile.
#[derive(Debug)]
pub struct MappedFile {
    file: File,
    map: MmapRaw,
}

impl MappedFile {
    /// Maps all of `file`, which must be open for reading and writing.
    pub fn new(file: File) -> io::Result<Self> {
        MmapOptions::new().map_raw(&file).map(|map| Self { file, map })
    }

    /// Copies `bytes` to `offset`. Panics where they do not fit: the caller keeps to the file's
    /// length.
    pub fn store(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset
            .checked_add(bytes.len())
            .expect("lengths in memory add up below the address space");
        assert!(end <= self.map.len(), "nothing is stored after the end of the mapping");
        // SAFETY: the range is inside the mapping by the assertion, and the mapping lives as long
        // as `self`; the exclusive borrow keeps other stores away, and no reference into the
        // mapping is ever made; `bytes` is memory of this process outside the mapping. The file has
        // its blocks and its length, as its owner promises.
        unsafe {
            self.map.as_mut_ptr().add(offset).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len())
        };
    }
}

impl AsFd for MappedFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
