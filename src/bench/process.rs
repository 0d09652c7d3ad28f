//! What a process has used: CPU time of all its threads and resident memory, from `/proc`.

use std::fs;

/// CPU time and memory of a process at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// User and system time of all threads, living and gone, in microseconds; the kernel counts it in hundredths
    /// of a second.
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
    fn reads_fields_behind_a_wicked_name() {
        let stat = "12 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 1 0 99";
        assert_eq!(cpu_ticks(stat), Some(300));
        assert_eq!(status_kib("VmHWM:\t  99 kB\nVmRSS:\t   4321 kB\n", "VmRSS:"), Some(4321));
    }

    #[test]
    fn this_process_has_memory() {
        let usage = usage(None).expect("/proc is there");
        assert!(usage.rss_bytes > 100_000 && usage.rss_peak_bytes >= usage.rss_bytes / 2);
        assert_eq!(super::usage(Some(u32::MAX)), None);
    }
}
