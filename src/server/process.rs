//! Figures that the words tell about the process, its machine and its directories; read when asked,
//! never on a hot path.
//!
//! Nothing here fails: what cannot be read is empty or 0, since a word is answered all the same.

use std::fs;
use std::path::{Path, PathBuf};

use crate::codes::VERSION_2;
use crate::packet::ServerAddress;

use super::config::Config;
use super::config::ensemble::EnsembleConfig;
use super::words::report::{ConfReport, EnsembleConf, ProcessReport};

/// For the word envi.
pub fn process_report() -> ProcessReport {
    let uname = rustix::system::uname();
    let kib = |file: &str, key: &str| field_kib(&fs::read_to_string(file).unwrap_or_default(), key);
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    ProcessReport {
        host_name: uname.nodename().to_string_lossy().into_owned(),
        os_name: uname.sysname().to_string_lossy().into_owned(),
        os_arch: java_arch(&uname.machine().to_string_lossy()).to_owned(),
        os_version: uname.release().to_string_lossy().into_owned(),
        user_name: Some(variable("USER"))
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| variable("LOGNAME")),
        user_home: variable("HOME"),
        user_dir: std::env::current_dir().unwrap_or_default().display().to_string(),
        tmp_dir: std::env::temp_dir().display().to_string(),
        memory_free_mib: kib("/proc/meminfo", "MemAvailable:") / 1024,
        memory_max_mib: kib("/proc/meminfo", "MemTotal:") / 1024,
        memory_total_mib: kib("/proc/self/status", "VmRSS:") / 1024,
    }
}

/// For the word conf: the settings in force, with the port that was bound.
pub fn conf_report(config: &Config, bound_port: u16) -> ConfReport {
    ConfReport {
        client_port: bound_port,
        data_dir: version_directory(&config.data_dir),
        data_log_dir: version_directory(&config.data_log_dir),
        tick_ms: config.frontend.tick_ms,
        max_client_cnxns: config.max_client_cnxns,
        min_session_timeout_ms: config.frontend.session_timeout_ms_min,
        max_session_timeout_ms: config.frontend.session_timeout_ms_max,
        listen_backlog: config.listen_backlog,
        server_id: config.ensemble.as_ref().map_or(0, |ensemble| ensemble.me.0),
        ensemble: config.ensemble.as_ref().map(ensemble_conf),
    }
}

fn ensemble_conf(ensemble: &EnsembleConfig) -> EnsembleConf {
    let own = ensemble.membership.server(ensemble.me.0);
    let ports = |port: fn(&ServerAddress) -> u16| {
        let mut ports: Vec<u16> = Vec::new();
        for address in own.into_iter().flat_map(|own| &own.addresses) {
            if !ports.contains(&port(address)) {
                ports.push(port(address));
            }
        }
        ports
    };
    EnsembleConf {
        init_limit: ensemble.zab.init_ticks,
        sync_limit: ensemble.zab.sync_ticks,
        election_ports: ports(|address| address.election_port),
        quorum_ports: ports(|address| address.quorum_port),
        is_observer: !ensemble.members.is_voter(ensemble.me),
        membership: String::from_utf8_lossy(ensemble.members.text()).into_owned(),
    }
}

/// Descriptors this process has open.
pub fn open_files() -> u64 {
    fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64)
}

/// Descriptors this process may open; without a limit the largest number there is.
pub fn max_files() -> u64 {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(i64::MAX as u64)
}

/// Bytes of the files in `directory` and below, by their lengths; links are not followed.
pub fn directory_bytes(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    let bytes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => directory_bytes(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    bytes.sum()
}

fn version_directory(directory: &Path) -> PathBuf {
    let directory = directory.join(VERSION_2);
    std::path::absolute(&directory).unwrap_or(directory)
}

/// The kernel's name of a machine in Java's spelling.
fn java_arch(machine: &str) -> &str {
    match machine {
        "x86_64" => "amd64",
        other => other,
    }
}

/// A line `Key:  123 kB` of a file in /proc.
fn field_kib(text: &str, key: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_has_a_name_memory_and_descriptors() {
        let report = process_report();
        assert_eq!(report.os_name, "Linux");
        assert!(!report.os_version.is_empty() && !report.user_dir.is_empty());
        assert!(report.memory_max_mib > report.memory_total_mib && report.memory_total_mib > 0);
        assert!(open_files() > 2 && max_files() > open_files());
    }

    #[test]
    fn directories_are_summed_with_what_is_below_them() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::create_dir(directory.path().join("below")).expect("a directory below");
        fs::write(directory.path().join("a"), [0; 10]).expect("a file");
        fs::write(directory.path().join("below/b"), [0; 5]).expect("a file below");
        assert_eq!(directory_bytes(directory.path()), 15);
        assert_eq!(directory_bytes(&directory.path().join("absent")), 0);
    }

    #[test]
    fn conf_tells_absolute_directories_and_the_bound_port() {
        let config = Config::with_defaults("data".into(), 0, 2000);
        let report = conf_report(&config, 16181);
        assert!(report.data_dir.is_absolute() && report.data_dir.ends_with("data/version-2"));
        assert_eq!((report.client_port, report.max_session_timeout_ms), (16181, 40_000));
    }

    #[test]
    fn fields_of_proc() {
        let text = "MemTotal:       8137080 kB\nMemFree:  12 kB\n";
        assert_eq!(field_kib(text, "MemFree:"), 12);
        assert_eq!(field_kib(text, "MemAvailable:"), 0);
    }
}
