//! How much memory this process may still have: of the machine, and of the control groups that it is
//! in (version 2).

use std::fs;
use std::path::Path;

/// In bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// All that there is for this process.
    pub total: u64,
    /// What can be had of it without ending anybody: what is free, and what the kernel would give up.
    pub available: u64,
}

/// The memory as it is now; `None` where the kernel does not say.
pub fn memory() -> Option<Memory> {
    let machine = of_machine(&fs::read_to_string("/proc/meminfo").ok()?)?;
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    Some(group_directories(&groups).filter_map(|name| of_group(&name)).fold(machine, Memory::min))
}

/// All that there is for this process, in bytes; without bound where the kernel does not say.
pub fn total_memory() -> u64 {
    memory().map_or(u64::MAX, |memory| memory.total)
}

impl Memory {
    fn min(self, other: Self) -> Self {
        Self { total: self.total.min(other.total), available: self.available.min(other.available) }
    }
}

/// Of `/proc/meminfo`.
fn of_machine(text: &str) -> Option<Memory> {
    let kib = |key: &str| -> Option<u64> {
        let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
        rest.split_whitespace().next()?.parse().ok()
    };
    let swap = kib("SwapFree:").unwrap_or(0);
    Some(Memory { total: kib("MemTotal:")? << 10, available: (kib("MemAvailable:")? + swap) << 10 })
}

/// The directories of a group and of all that it is in, by `/proc/self/cgroup`.
fn group_directories(text: &str) -> impl Iterator<Item = String> + '_ {
    let own = text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    let paths = Path::new(own).ancestors().map(|path| path.to_string_lossy());
    paths.map(|path| format!("/sys/fs/cgroup{}", path.trim_end_matches('/')))
}

/// Of a group that has a limit.
fn of_group(directory: &str) -> Option<Memory> {
    let text = |name: &str| fs::read_to_string(format!("{directory}/{name}")).ok();
    let number = |name: &str| text(name)?.trim().parse::<u64>().ok();
    let (total, used) = (number("memory.max")?, number("memory.current")?);
    let cached = text("memory.stat").and_then(|stat| {
        let line = stat.lines().find_map(|line| line.strip_prefix("inactive_file "))?;
        line.trim().parse::<u64>().ok()
    });
    let available = total.saturating_sub(used).saturating_add(cached.unwrap_or(0)).min(total);
    Some(Memory { total, available })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_memory() {
        let Memory { total, available } = memory().expect("Linux says");
        assert!(available > 1 << 20 && total > 16 << 20, "{available} of {total}");
    }

    #[test]
    fn a_machine_has_its_swap_beside() {
        let text = "MemTotal: 800 kB\nMemFree: 1 kB\nMemAvailable: 300 kB\nSwapFree: 50 kB\n";
        let wanted = Memory { total: 800 << 10, available: 350 << 10 };
        assert_eq!(of_machine(text), Some(wanted));
        assert_eq!(of_machine("MemTotal: 800 kB\n"), None);
    }

    #[test]
    fn a_group_has_what_its_limit_leaves() {
        let home = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(home.path().join(name), text).unwrap();
        let of = || of_group(home.path().to_str().unwrap());
        assert_eq!(of(), None);
        write("memory.max", "max\n");
        write("memory.current", "700\n");
        assert_eq!(of(), None, "it has no limit");
        write("memory.max", "1000\n");
        assert_eq!(of(), Some(Memory { total: 1000, available: 300 }));
        write("memory.stat", "anon 600\nactive_file 20\ninactive_file 80\n");
        assert_eq!(of(), Some(Memory { total: 1000, available: 380 }));
    }

    #[test]
    fn a_group_is_in_others() {
        let directories = |text| group_directories(text).collect::<Vec<_>>();
        let wanted = ["/sys/fs/cgroup/a/b", "/sys/fs/cgroup/a", "/sys/fs/cgroup"];
        assert_eq!(directories("1:name=x:/y\n0::/a/b\n"), wanted);
        assert_eq!(directories(""), ["/sys/fs/cgroup"]);
    }
}
