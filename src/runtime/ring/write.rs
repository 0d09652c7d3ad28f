//! Direct write of whole pages at a place in a file. The ring owns the memory until the completion
//! hands it back.
//!
//! The file must be open with `O_DIRECT`. Where its blocks there have been written before, the
//! kernel issues the write from this thread; a write that is durable by itself needs no flush after
//! it.

use std::os::fd::{AsRawFd, BorrowedFd};

use io_uring::{opcode, types};

use super::event::Event;
use super::pages::Pages;
use super::token::{OpKind, Token, UserData};
use super::{Cqe, Ring, RingError};

impl Ring {
    /// Writes the first `bytes` bytes of `pages` to `file` at offset `at`; both are multiples of
    /// the device's block. With `durable` it completes only when data, and what is needed to read
    /// it back, are on stable storage. At most one write per slot may be in flight; a second one is
    /// refused with [`RingError::WriteInFlight`].
    pub fn write(
        &mut self,
        token: Token,
        file: BorrowedFd<'_>,
        pages: Pages,
        bytes: u32,
        at: u64,
        durable: bool,
    ) -> Result<(), RingError> {
        assert!(bytes as usize <= pages.len(), "a write ends within its pages");
        let entry = opcode::Write::new(types::Fd(file.as_raw_fd()), pages.as_ptr(), bytes)
            .offset(at)
            .rw_flags(if durable { libc::RWF_DSYNC } else { 0 })
            .build()
            .user_data(UserData::new(OpKind::Write, token).to_bits());
        if let Err(pages) = self.writes.hold(token.slot, pages) {
            return Err(RingError::WriteInFlight { token, pages });
        }
        // SAFETY: the pages are held in `writes`, untouched, until the completion of this very
        // write; the ring cancels what is left before it drops the table. The assertion above keeps
        // the kernel within them.
        let pushed = unsafe { self.push(&entry) };
        if pushed.is_err() {
            drop(self.writes.release(token.slot));
        }
        pushed
    }
}

pub(super) fn decode(token: Token, cqe: Cqe, writes: &mut WriteTable) -> Option<Event> {
    let written = cqe.result().map(|bytes| bytes as usize);
    writes.release(token.slot).map(|pages| Event::Written { token, pages, written })
}

/// The pages in flight: those of a few writes at a time.
#[derive(Default)]
pub(super) struct WriteTable {
    pages: Vec<(u32, Pages)>,
}

impl WriteTable {
    /// Takes `pages` in, or gives them back where the slot has some in flight.
    fn hold(&mut self, slot: u32, pages: Pages) -> Result<(), Pages> {
        if self.pages.iter().any(|(of, _)| *of == slot) {
            return Err(pages);
        }
        self.pages.push((slot, pages));
        Ok(())
    }

    /// The pages of a write that the kernel has let go of.
    fn release(&mut self, slot: u32) -> Option<Pages> {
        let at = self.pages.iter().position(|(of, _)| *of == slot)?;
        Some(self.pages.swap_remove(at).1)
    }

    /// Forgets all pages without unmapping them.
    pub(super) fn leak(self) {
        self.pages.into_iter().for_each(|(_, pages)| std::mem::forget(pages));
    }
}
