//! An operation that makes entries durable. The ring does it, or a thread that waits.

use std::io;

use crate::txnlog::FileId;

use crate::runtime::ring::Pages;

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

    /// Does it and waits for its end.
    pub(super) fn run(&self, segment: &Segment) -> io::Result<()> {
        match self {
            Self::Sync { .. } => segment.sync(),
            Self::Write { offset, blocks, .. } => {
                let mut pages = Pages::zeroed(blocks.len())?;
                pages[..blocks.len()].copy_from_slice(blocks);
                segment.write_durably(*offset, &pages[..blocks.len()])
            }
        }
    }
}

/// Whether the operation was never begun. The kernel says so of what needs one of its threads where
/// the limit of threads lets it start none; nothing is known of the disk then.
pub(super) fn is_canceled(result: &io::Result<()>) -> bool {
    result.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::ECANCELED))
}
