//! The resources that a process has used, CPU time of all its threads and resident memory, and what
//! the machine has done, from `/proc`.

use std::fs;

/// CPU time and memory of a process at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// User and system time of all threads, living and gone, in microseconds; the kernel counts it
    /// in hundredths of a second.
    pub(super) cpu_us: u64,
    /// Resident memory in bytes.
    pub(super) rss_bytes: u64,
    /// The most that was ever resident, in bytes.
    pub(super) rss_peak_bytes: u64,
}

/// The usage of process `pid`, or of this one; `None` where there is no such process.
pub(super) fn usage(pid: Option<u32>) -> Option<Usage> {
    let dir = pid.map_or("/proc/self".into(), |pid| format!("/proc/{pid}"));
    let ticks = cpu_ticks(&fs::read_to_string(format!("{dir}/stat")).ok()?)?;
    let status = fs::read_to_string(format!("{dir}/status")).ok()?;
    Some(Usage {
        cpu_us: ticks * 1_000_000 / rustix::param::clock_ticks_per_second(),
        rss_bytes: status_kib(&status, "VmRSS:")? << 10,
        rss_peak_bytes: status_kib(&status, "VmHWM:")? << 10,
    })
}

/// The sums over several processes; `None` where there is none, or one of them has gone.
pub(super) fn usage_of_all(pids: &[u32]) -> Option<Usage> {
    let each = pids.iter().map(|&pid| usage(Some(pid)));
    each.reduce(|sum, one| sum.zip(one).map(|(sum, one)| sum.plus(one))).flatten()
}

impl Usage {
    fn plus(self, other: Usage) -> Usage {
        Usage {
            cpu_us: self.cpu_us + other.cpu_us,
            rss_bytes: self.rss_bytes + other.rss_bytes,
            rss_peak_bytes: self.rss_peak_bytes + other.rss_peak_bytes,
        }
    }
}

/// The times of all processors since the machine started, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Machine {
    /// At work, for processes and in the kernel.
    pub(super) busy_us: u64,
    /// Idle, or waiting for a disk.
    pub(super) idle_us: u64,
}

/// The work of the machine's processors so far.
pub(super) fn machine() -> Option<Machine> {
    let (busy, idle) = machine_ticks(&fs::read_to_string("/proc/stat").ok()?)?;
    let us = |ticks: u64| ticks * 1_000_000 / rustix::param::clock_ticks_per_second();
    Some(Machine { busy_us: us(busy), idle_us: us(idle) })
}

/// Of the line that sums all processors up: user, nice, system, idle, iowait, irq, softirq. What
/// was stolen by the host is neither.
fn machine_ticks(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let fields: Vec<u64> =
        line.split_ascii_whitespace().take(7).filter_map(|field| field.parse().ok()).collect();
    match fields[..] {
        [user, nice, system, idle, iowait, irq, softirq] => {
            Some((user + nice + system + irq + softirq, idle + iowait))
        }
        _ => None,
    }
}

/// Fields 14 and 15 of `stat`. The command's name before them may hold blanks and parentheses.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

fn status_kib(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_fields_after_a_name_with_parentheses() {
        let stat = "12 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 1 0 99";
        assert_eq!(cpu_ticks(stat), Some(300));
        assert_eq!(status_kib("VmHWM:\t  99 kB\nVmRSS:\t   4321 kB\n", "VmRSS:"), Some(4321));
    }

    #[test]
    fn what_the_machine_does_is_read_from_its_first_line() {
        let stat = "cpu  10 20 30 400 50 6 7 80 9 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        assert_eq!(machine_ticks(stat), Some((73, 450)));
        assert_eq!(machine_ticks("cpu0 1 1 1 1 1 1 1"), None);
        assert!(machine().is_some_and(|machine| machine.busy_us > 0));
    }

    #[test]
    fn this_process_has_memory() {
        let usage = usage(None).expect("/proc is there");
        assert!(usage.rss_bytes > 100_000 && usage.rss_peak_bytes >= usage.rss_bytes / 2);
        assert_eq!(super::usage(Some(u32::MAX)), None);
    }

    #[test]
    fn several_processes_are_summed_and_one_that_has_gone_is_no_sum() {
        let this = std::process::id();
        let one = usage(Some(this)).expect("it runs");
        let two = usage_of_all(&[this, this]).expect("it runs");
        assert!(two.rss_peak_bytes >= 2 * one.rss_peak_bytes, "{two:?} of {one:?}");
        assert_eq!(usage_of_all(&[this, u32::MAX]), None);
        assert_eq!(usage_of_all(&[]), None);
    }
}
