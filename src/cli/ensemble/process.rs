//! The processes of a local ensemble: started from this program, found again by their pid files,
//! told to end. A pid file is believed only while the process of that number runs this program's
//! `server` with the very configuration file beside the pid file.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::error::EnsembleError;
use super::layout::Member;

/// The process of a server that runs.
#[derive(Debug)]
pub(super) struct Process {
    /// Its number.
    pub(super) pid: i32,
    /// Stands for this process and for no later one of the same number.
    handle: OwnedFd,
}

/// The process of `member`, if it runs.
pub(super) fn find(member: &Member) -> Option<Process> {
    let text = fs::read_to_string(member.pid_file()).ok()?;
    let pid = text.trim().parse().ok()?;
    // The handle first: what is checked then is what it stands for.
    let handle = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
    is_server(pid, &member.config_file()).then_some(Process { pid, handle })
}

impl Process {
    /// Sends a signal.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        pidfd_send_signal(&self.handle, signal).map_err(io::Error::from)
    }
}

/// Starts a server of its own process group, so that an interrupt at the terminal does not reach
/// it. What it says goes to the end of its log file.
pub(super) fn spawn(member: &Member) -> Result<Child, EnsembleError> {
    let path = member.log_file();
    let open = OpenOptions::new().append(true).create(true).open(&path);
    let log = open.map_err(EnsembleError::file(&path))?;
    let again = log.try_clone().map_err(EnsembleError::file(&path))?;
    let program = std::env::current_exe().map_err(|error| EnsembleError::Spawn { error })?;
    let child = Command::new(program)
        .arg("server")
        .arg(member.config_file())
        .current_dir(&member.home)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(again)
        .process_group(0)
        .spawn()
        .map_err(|error| EnsembleError::Spawn { error })?;
    let path = member.pid_file();
    fs::write(&path, format!("{}\n", child.id())).map_err(EnsembleError::file(&path))?;
    Ok(child)
}

/// Waits until none of `members` runs, for `time` at most; the ids of those that still do.
pub(super) fn await_ends(members: &[&Member], time: Duration) -> Vec<i64> {
    let deadline = Instant::now() + time;
    loop {
        let running = members.iter().filter(|member| find(member).is_some());
        let ids: Vec<i64> = running.map(|member| member.id).collect();
        if ids.is_empty() || Instant::now() >= deadline {
            return ids;
        }
        thread::sleep(POLL);
    }
}

/// Whether process `pid` is a server with this configuration file.
fn is_server(pid: i32, config_file: &Path) -> bool {
    let Some(arguments) = arguments(pid) else { return false };
    let mut arguments = arguments.split(|byte| *byte == 0).skip(1);
    arguments.next() == Some(b"server")
        && arguments.next() == Some(config_file.as_os_str().as_bytes())
}

/// The arguments of a process. One that has ended has none any more, and one that has just begun has
/// none yet, for less than a millisecond.
fn arguments(pid: i32) -> Option<Vec<u8>> {
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
    fn another_process_is_not_taken_for_a_server() {
        let pid = i32::try_from(std::process::id()).expect("a pid");
        assert!(!is_server(pid, Path::new("zoo.cfg")));
        assert!(!is_server(i32::MAX, Path::new("zoo.cfg")));
    }
}
