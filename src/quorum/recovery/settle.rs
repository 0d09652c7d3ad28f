//! Makes durable what a start believes, before anybody is shown it.
//!
//! Bytes read come from the page cache, and the page cache proves nothing about the disk. When a
//! write-back fails, Linux marks the pages clean and tells it once, to a process that may be dead;
//! from then on a reader finds bytes that the disk does not have, and a flush that succeeds because
//! it has nothing to do. A start that believes them shows clients what the next power failure takes
//! away. So every log file that was replayed is written anew, in place and flushed, oldest first:
//! only what is written again is certain to get to the disk. A crash in the middle leaves of each
//! sector what the disk had or what the page cache had, which is no worse than before.
//!
//! Not all of a file must be written anew. A tail mark of ours is written only after a flush has
//! told the server that all that the mark claims is on the disk; nobody else can write one, as it
//! is sealed with the file's nonce. Bytes before that offset are never stored to again, so that no
//! later write-back can lose them. Hence what lies before the offset is proven by the mark, no
//! matter whether the mark itself was read from the disk or from the page cache.
//!
//! The cost: of files of ours, the entries appended since the last mark, which is the last group of
//! writes before a crash, and nothing after an orderly end. Of files of an Apache server there is
//! no proof: all entries after the snapshot are read and written once, at the speed of the disk.
//! That is bounded by what Apache writes between two snapshots (`snapSizeLimitInKb`, 4 GiB) and is
//! over with the first snapshot of ours. Memory is one piece.
//!
//! A snapshot needs no rewriting: ours gets its name only after its flush has succeeded. Those of
//! an Apache server are not flushed at all, so the shell flushes the one that is taken and reads it
//! around the page cache where the file system can do that.

use crate::txnlog::{FILE_HEADER_BYTES, Nonce, ScanEnd, tail_mark};

use super::{Cut, Dir, RecoveryError, RecoveryReport, Settling, Storage};

/// A log file that was replayed, and how it ends.
pub(super) struct Believed {
    pub(super) file: String,
    pub(super) end: ScanEnd,
    /// Up to where a tail mark proves it.
    pub(super) durable: u64,
    /// Of a file of ours.
    pub(super) nonce: Option<Nonce>,
    pub(super) file_bytes: u64,
    /// It is the newest: a torn tail is cut.
    pub(super) is_last: bool,
    /// Entries follow that were not to be replayed.
    pub(super) has_more: bool,
}

/// Settles each file. Everything has been read by now, so that a start that is refused changes
/// nothing.
pub(super) fn settle<S: Storage>(
    storage: &mut S,
    believed: Vec<Believed>,
    report: &mut RecoveryReport,
) -> Result<(), RecoveryError> {
    let mut is_changed = false;
    for file in believed {
        if storage.is_stopping() {
            return Err(RecoveryError::Stopped);
        }
        is_changed |= file.settle(storage, report)?;
    }
    if is_changed {
        storage.sync_dir(Dir::Logs).map_err(RecoveryError::storage)?;
    }
    Ok(())
}

impl Believed {
    /// True if the file was changed.
    fn settle<S: Storage>(
        self,
        storage: &mut S,
        report: &mut RecoveryReport,
    ) -> Result<bool, RecoveryError> {
        let cut = match self.end {
            ScanEnd::TornTail { offset, why } if self.is_last => {
                let (file, why, removed) =
                    (self.file.clone(), why.to_string(), offset < FILE_HEADER_BYTES as u64);
                Some(Cut { file, offset, why, removed })
            }
            _ => None,
        };
        let is_removed = cut.as_ref().is_some_and(|cut| cut.removed);
        report.cut = cut.or(report.cut.take());
        if is_removed {
            storage.remove(Dir::Logs, &self.file).map_err(RecoveryError::storage)?;
            return Ok(true);
        }
        let Some(settling) = self.settling() else { return Ok(false) };
        storage.settle(Dir::Logs, &self.file, &settling).map_err(RecoveryError::storage)?;
        report.bytes_anew += settling.anew.end - settling.anew.start;
        Ok(true)
    }

    /// The work to do; none if the file is proven as it stands.
    fn settling(&self) -> Option<Settling> {
        let end = self.end.offset();
        let is_torn = matches!(self.end, ScanEnd::TornTail { .. });
        // An Apache server that dies and starts anew leaves a torn tail in an older file: it stays,
        // and so does the padding of others: a reader may come to it through a name that it keeps.
        let cut = (is_torn && self.is_last) || (!is_torn && self.nonce.is_some());
        // A sector that a crash has lost is known by the zeros in which it ends: no part of the new
        // mark may take their place while the tail that is cut is still there.
        let mut mark = Vec::new();
        if let Some(nonce) = self.nonce.filter(|_| cut) {
            tail_mark(nonce, end, end, 0).put(&mut mark);
        }
        let anew = self.durable.min(end)..end;
        // The mark of a file that was closed in order may stand at its end all the same.
        let is_closed = !is_torn && self.durable == end;
        let bytes = end + mark.len() as u64;
        let is_as_wanted = !cut || self.file_bytes == bytes || is_closed && self.file_bytes < bytes;
        (!anew.is_empty() || !is_as_wanted).then_some(Settling { anew, cut, mark })
    }
}
