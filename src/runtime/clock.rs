//! The two clocks of the machine, read once per turn of an executor, and the time of a thread.

use std::fmt;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::zxid::Now;

/// Reads both clocks.
pub fn now() -> Now {
    Now { mono_ms: millis(ClockId::Monotonic), wall_ms: millis(ClockId::Realtime) }
}

fn millis(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec * 1000 + time.tv_nsec / 1_000_000
}

/// The figures of this thread so far. Reading them is two system calls.
pub(super) fn thread_figures() -> ThreadFigures {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let worked = Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32);
    // SAFETY: all zeros are a value of this plain structure of numbers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer leads to a whole structure of the kind that the call fills in.
    let _ = unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) };
    ThreadFigures {
        worked,
        put_off: usage.ru_nivcsw.unsigned_abs(),
        waited: usage.ru_nvcsw.unsigned_abs(),
        page_faults: (usage.ru_minflt + usage.ru_majflt).unsigned_abs(),
    }
}

/// What the kernel has counted of a thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ThreadFigures {
    /// The time that it has had a processor.
    pub(super) worked: Duration,
    /// Times that it has lost the processor to others.
    pub(super) put_off: u64,
    /// Times that it has given the processor up: for a lock, for the disk, or to sleep.
    pub(super) waited: u64,
    /// Pages that were given to it as it touched them.
    pub(super) page_faults: u64,
}

impl ThreadFigures {
    /// What was counted after `before`.
    pub(super) fn since(&self, before: &Self) -> Self {
        Self {
            worked: self.worked.saturating_sub(before.worked),
            put_off: self.put_off.saturating_sub(before.put_off),
            waited: self.waited.saturating_sub(before.waited),
            page_faults: self.page_faults.saturating_sub(before.page_faults),
        }
    }
}

impl fmt::Display for ThreadFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} us of work, {} page faults, {} times put off, {} times waiting",
            self.worked.as_micros(),
            self.page_faults,
            self.put_off,
            self.waited
        )
    }
}
