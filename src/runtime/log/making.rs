//! A file of the log in the making, a piece at a time.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::txnlog::Appending;

use super::segment::{Preparation, Segment};

/// The haste with which a file is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Pace {
    /// With a rest after each piece of zeros.
    Resting,
    /// One piece after the other: somebody waits for the file.
    Hurrying,
    /// The zeros that are there will do: the file is needed, and its entries need the disk. The
    /// rest is reserved and reads as zeros; a write there costs the file system a note in its
    /// journal.
    AsItIs,
}

impl Pace {
    /// The rest after a piece that took this long.
    pub fn rest(self, took: Duration) -> Duration {
        match self {
            Self::Resting => (took * RESTS).min(REST_MAX),
            Self::Hurrying | Self::AsItIs => Duration::ZERO,
        }
    }
}

/// The file: not begun, or some of its pieces done.
#[derive(Debug)]
pub struct Making {
    path: PathBuf,
    bytes: u64,
    begun: Option<Preparation>,
}

impl Making {
    /// A file of this many bytes, of which nothing is done.
    pub fn new(path: PathBuf, bytes: u64) -> Self {
        Self { path, bytes, begun: None }
    }

    /// Leaves nothing of it.
    pub(super) fn abandon(self) {
        if let Some(begun) = self.begun {
            begun.abandon();
        }
    }

    /// Does the next piece; the file where it was the last. Nothing is left after an error.
    pub fn step(&mut self, appending: Appending, pace: Pace) -> io::Result<Option<Segment>> {
        let Some(mut begun) = self.begun.take() else {
            self.begun = Some(Preparation::begin(&self.path, self.bytes, appending)?);
            return Ok(None);
        };
        if pace == Pace::AsItIs && begun.is_reserved() {
            return begun.finish().map(Some);
        }
        match begun.step() {
            Ok(true) => begun.finish().map(Some),
            Ok(false) => {
                self.begun = Some(begun);
                Ok(None)
            }
            Err(error) => {
                begun.abandon();
                Err(error)
            }
        }
    }
}

/// The rest after a piece, in times of what it took: entries have the disk nearly to themselves.
const RESTS: u32 = 15;
/// The longest rest.
const REST_MAX: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_file_that_is_needed_is_given_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let (path, bytes) = (dir.path().join("file"), 64 << 20);
        let mut making = Making::new(path.clone(), bytes);
        for _ in 0..3 {
            assert!(making.step(Appending::Cached, Pace::Resting).unwrap().is_none());
        }
        let begun = making.begun.as_ref().unwrap();
        let is_reserved = begun.is_reserved();
        let made = making.step(Appending::Cached, Pace::AsItIs).unwrap();
        assert_eq!(made.is_some(), is_reserved, "without its space a file is zeroed to its end");
        let found = std::fs::metadata(&path).unwrap();
        assert_eq!(found.len(), bytes);
        assert!(!is_reserved || found.blocks() * 512 >= bytes, "its space is reserved");
    }
}
