//! The buffers that the kernel receives into, and who may touch them when.
//!
//! One group per ring. A buffer is the kernel's until a completion names it; then it is a
//! [`Chunk`], which the reader borrows from in place; dropping the chunk gives the buffer back. No
//! bytes are copied and nothing is allocated per receive.

use std::cell::Cell;
use std::io;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;
use memmap2::MmapMut;

/// The memory of one provided-buffer ring: the entries that the kernel reads, and the buffers they
/// name.
pub(super) struct BufferGroup {
    entries: *mut BufRingEntry,
    bytes: *mut u8,
    buffer_bytes: u32,
    mask: u16,
    tail: Cell<u16>,
    // Held for their memory alone: the pointers above point into them.
    _entries_map: MmapMut,
    _bytes_map: MmapMut,
}

impl BufferGroup {
    /// Maps `count` buffers (a power of two, at most 32,768) of `buffer_bytes` each, all of them
    /// ours still.
    pub(super) fn new(count: u16, buffer_bytes: u32) -> io::Result<Rc<Self>> {
        if !count.is_power_of_two() || count > COUNT_MAX || buffer_bytes == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "receive buffers: a power of two up to {COUNT_MAX} is needed, not {count} x \
                     {buffer_bytes} B"
                ),
            ));
        }
        let mut entries_map = MmapMut::map_anon(usize::from(count) * size_of::<BufRingEntry>())?;
        let mut bytes_map = MmapMut::map_anon(usize::from(count) * buffer_bytes as usize)?;
        Ok(Rc::new(BufferGroup {
            entries: entries_map.as_mut_ptr().cast(),
            bytes: bytes_map.as_mut_ptr(),
            buffer_bytes,
            mask: count - 1,
            tail: Cell::new(0),
            _entries_map: entries_map,
            _bytes_map: bytes_map,
        }))
    }

    /// Registers the group with a ring and hands every buffer to the kernel. The ring must hold on
    /// to the group until it has been closed.
    pub(super) fn register(&self, submitter: &Submitter<'_>) -> io::Result<()> {
        // SAFETY: the entries are page-aligned anonymous memory, `mask + 1` of them, and the caller
        // keeps the group alive for as long as the ring is open.
        unsafe {
            submitter.register_buf_ring_with_flags(
                self.entries as u64,
                self.mask + 1,
                BUFFER_GROUP,
                0,
            )?
        };
        for id in 0..=self.mask {
            self.give_back(id);
        }
        Ok(())
    }

    /// The buffer that a completion filled with `len` bytes, or `None` where the kernel names one
    /// that is not ours.
    pub(super) fn take(self: &Rc<Self>, id: u16, len: u32) -> Option<Chunk> {
        (id <= self.mask && len <= self.buffer_bytes).then(|| Chunk {
            group: Rc::clone(self),
            id,
            len,
        })
    }

    /// Makes buffer `id` the kernel's again.
    pub(super) fn give_back(&self, id: u16) {
        let tail = self.tail.get();
        // SAFETY: both indices are masked into the mapped regions; the entry at the tail is ours to
        // write until the tail is published, and the ring's tail lives in the reserved field of the
        // first entry, which `set_*` of any entry never touches. The release store makes the entry
        // visible before the tail.
        unsafe {
            let entry = &mut *self.entries.add(usize::from(tail & self.mask));
            entry.set_addr(
                self.bytes.add(usize::from(id & self.mask) * self.buffer_bytes as usize) as u64,
            );
            entry.set_len(self.buffer_bytes);
            entry.set_bid(id);
            let published = BufRingEntry::tail(self.entries).cast_mut();
            AtomicU16::from_ptr(published).store(tail.wrapping_add(1), Ordering::Release);
        }
        self.tail.set(tail.wrapping_add(1));
    }
}

/// Bytes that have arrived, read in place in a provided buffer. Dropping it gives the buffer back
/// to the kernel, so keep it no longer than decoding takes: a group that runs dry stops every
/// receive of the ring.
pub struct Chunk {
    group: Rc<BufferGroup>,
    id: u16,
    len: u32,
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let offset = usize::from(self.id) * self.group.buffer_bytes as usize;
        // SAFETY: `take` checked id and length against the mapping, which the group keeps alive;
        // the kernel does not write to the buffer before `give_back`, which only the drop of this
        // value calls.
        unsafe { std::slice::from_raw_parts(self.group.bytes.add(offset), self.len as usize) }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.group.give_back(self.id);
    }
}

impl std::fmt::Debug for Chunk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Chunk({} of {} B)", self.id, self.len)
    }
}

/// The one group of each ring.
pub(super) const BUFFER_GROUP: u16 = 0;

const COUNT_MAX: u16 = 1 << 15;
