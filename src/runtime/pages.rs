//! Memory for direct writes.

use std::io;
use std::ops::{Deref, DerefMut};

use memmap2::MmapMut;

/// Memory on page boundaries, as direct writes need it.
#[derive(Debug)]
pub struct Pages(MmapMut);

impl Pages {
    /// This many bytes of zeros, rounded up to whole pages.
    pub fn zeroed(bytes: usize) -> io::Result<Self> {
        MmapMut::map_anon(bytes).map(Pages)
    }
}

impl Deref for Pages {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Pages {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}
