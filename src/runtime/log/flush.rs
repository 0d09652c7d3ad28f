//! An operation that makes entries durable. The ring does it, or a thread that waits.

use std::io;

use crate::txnlog::FileId;

use crate::runtime::pages::Pages;

use super::segment::Segment;

/// The operation.
pub(super) enum ToFlush {
    /// An fdatasync of what was stored.
    Sync { file: FileId },
    /// A direct write of whole blocks.
    Write { file: FileId, offset: u64, blocks: Vec<u8> },
}

impl ToFlush {
    pub(super) fn file(&self) -> FileId {
        match self {
            Self::Sync { file } | Self::Write { file, .. } => *file,
        }
    }

    /// Does it and waits for its end. A direct write copies the blocks to memory that it can read,
    /// and leaves that in `pages` for the next.
    pub(super) fn run(&self, segment: &Segment, pages: &mut Option<Pages>) -> io::Result<()> {
        match self {
            Self::Sync { .. } => segment.sync(),
            Self::Write { offset, blocks, .. } => {
                let len = blocks.len();
                let kept = pages.take().filter(|pages| pages.len() >= len);
                let mut memory =
                    kept.map_or_else(|| Pages::zeroed(len.max(PAGES_BYTES_MIN)), Ok)?;
                memory[..len].copy_from_slice(blocks);
                let written = segment.write_durably(*offset, &memory[..len]);
                *pages = Some(memory).filter(|memory| memory.len() <= PAGES_BYTES_MAX);
                written
            }
        }
    }
}

/// Whether the operation was never begun. The kernel says so of what needs one of its threads where
/// the limit of threads lets it start none; nothing is known of the disk then.
pub(super) fn is_canceled(result: &io::Result<()>) -> bool {
    result.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::ECANCELED))
}

/// The memory of a direct write is at least and, to be kept, at most so large.
const PAGES_BYTES_MIN: usize = 256 << 10;
const PAGES_BYTES_MAX: usize = 4 << 20;
