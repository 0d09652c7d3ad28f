//! The two clocks of the machine, read once per turn of an executor.

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
