//! Processes that are found by their number: a handle that stands for one process and for no later
//! one of the same number, and the words it was started with.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// The process of a server that runs.
#[derive(Debug)]
pub(super) struct Process {
    /// Its number.
    pub(super) pid: i32,
    /// Stands for this process and for no later one of the same number.
    handle: OwnedFd,
}

impl Process {
    /// The process of this number if `is_it` says so of it; none where there is no such process.
    pub(super) fn find(pid: i32, is_it: impl FnOnce(i32) -> bool) -> Option<Self> {
        let number = Some(pid).filter(|pid| *pid > 0).and_then(Pid::from_raw)?;
        // The handle first: what is checked then is what it stands for.
        let handle = pidfd_open(number, PidfdFlags::empty()).ok()?;
        is_it(pid).then_some(Self { pid, handle })
    }

    /// Sends a signal.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        pidfd_send_signal(&self.handle, signal).map_err(io::Error::from)
    }
}

/// Waits until `has_ended`, for `time` at most. False if it has not.
pub(super) fn await_end(time: Duration, mut has_ended: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + time;
    loop {
        if has_ended() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(POLL);
    }
}

/// The arguments of a process, each with a zero byte after it. One that has ended has none any more,
/// and one that has just begun has none yet, for less than a millisecond.
pub(super) fn arguments(pid: i32) -> Option<Vec<u8>> {
    for _ in 0..LOOKS {
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        if !arguments.is_empty() {
            return Some(arguments);
        }
        thread::sleep(LOOK_AGAIN);
    }
    None
}

const LOOKS: u32 = 20;
const LOOK_AGAIN: Duration = Duration::from_millis(1);
const POLL: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_found_by_its_number_and_what_it_is() {
        let pid = i32::try_from(std::process::id()).expect("a pid");
        assert_eq!(Process::find(pid, |_| true).expect("it runs").pid, pid);
        assert!(Process::find(pid, |_| false).is_none());
        assert!(Process::find(i32::MAX, |_| true).is_none());
        assert!(Process::find(0, |_| true).is_none() && Process::find(-1, |_| true).is_none());
        assert!(!arguments(pid).expect("its own").is_empty());
    }
}
