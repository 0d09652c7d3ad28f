//! The time slice of the threads that clients wait for.
//!
//! A thread that wakes up while others keep the processor busy waits until the slice of the one that
//! runs is used up, three milliseconds or more, be that of the lowest priority. Since Linux 6.12 a
//! thread may ask for a shorter slice: its share of the processor stays what it was, but it is
//! taken up at once when it wakes. Executors work a fraction of a millisecond at a time and sleep,
//! which is what short slices are for.

use log::debug;

/// Asks for short slices for this thread and those that it starts. An older system, or one that
/// refuses, leaves everything as it is.
pub(super) fn shorten() {
    let Some(mut attr) = attributes() else { return };
    attr.sched_runtime = SLICE_NS;
    // SAFETY: the pointer leads to a whole structure of the size that it names, and the call only
    // reads it.
    let set = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) };
    if set != 0 {
        debug!("the slices of a thread stay long: {}", std::io::Error::last_os_error());
    }
}

/// The scheduling of this thread. `None` but for the usual policy: what an operator has chosen
/// stays.
fn attributes() -> Option<SchedAttr> {
    let mut attr = SchedAttr::default();
    let size = size_of::<SchedAttr>();
    // SAFETY: the pointer leads to a structure of `size` bytes, which the call fills in.
    let got = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attr, size, 0) };
    (got == 0 && attr.sched_policy == libc::SCHED_OTHER as u32).then_some(attr)
}

/// `struct sched_attr` in its first version.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct SchedAttr {
    size: u32,
    sched_policy: u32,
    sched_flags: u64,
    sched_nice: i32,
    sched_priority: u32,
    sched_runtime: u64,
    sched_deadline: u64,
    sched_period: u64,
}

/// The shortest slice that the kernel grants, in nanoseconds.
const SLICE_NS: u64 = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_keeps_its_priority_with_short_slices() {
        std::thread::spawn(|| {
            let before = attributes();
            shorten();
            let after = attributes();
            assert_eq!(before.map(|attr| attr.sched_nice), after.map(|attr| attr.sched_nice));
            // Before Linux 6.12 there is nothing to see.
            assert!(after.is_none_or(|attr| [0, SLICE_NS].contains(&attr.sched_runtime)));
        })
        .join()
        .unwrap();
    }
}
