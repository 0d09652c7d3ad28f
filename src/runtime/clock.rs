//! The two clocks of the machine, read once per turn of an executor, and the time of a thread.

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

/// The time that this thread has had a processor. Reading it is a system call.
pub(super) fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}
