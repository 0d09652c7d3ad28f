//! Types for what is on the disk: only a flush that has ended well makes a promise possible.

use crate::zxid::Zxid;

/// A value that holds for what is on the disk for good: the last zxid of the flushed log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Durable<T>(T);

impl<T: Copy> Durable<T> {
    /// The value itself, which no longer promises anything.
    pub fn get(self) -> T {
        self.0
    }
}

impl Durable<Zxid> {
    /// Entries that recovery has read back from the disk, and flushed again where it had to.
    pub fn recovered(last: Zxid) -> Self {
        Self(last)
    }

    /// What an observer applies and does not log (`syncEnabled=false`): nobody counts on its disk.
    pub fn waived(last: Zxid) -> Self {
        Self(last)
    }
}

/// A flush that was asked for and has not ended. It cannot be copied: one flush ends once.
#[must_use = "a flush that never ends leaves its requests without an answer"]
#[derive(Debug, PartialEq, Eq)]
pub struct PendingFlush {
    upto: Zxid,
}

impl PendingFlush {
    /// A flush of everything that has been appended, the last of it with zxid `upto`.
    pub(crate) fn of(upto: Zxid) -> Self {
        Self { upto }
    }

    /// The last zxid that the flush covers.
    pub fn upto(&self) -> Zxid {
        self.upto
    }

    /// The flush has ended well: the log machine alone says so.
    pub(super) fn end(self) -> Durable<Zxid> {
        Durable(self.upto)
    }

    /// The same for tests of machines that are told of flushes.
    #[cfg(test)]
    pub(crate) fn end_in_test(self) -> Durable<Zxid> {
        self.end()
    }
}
