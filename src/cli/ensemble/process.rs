//! The processes of a local ensemble: started from this program, found again by their pid files,
//! told to end. A pid file is believed only while the process of that number runs this program's
//! `server` with the very configuration file beside the pid file.

use std::fs::{self, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::cli::process::{Process, arguments, await_end};

use super::error::EnsembleError;
use super::layout::Member;

/// The process of `member`, if it runs.
pub(super) fn find(member: &Member) -> Option<Process> {
    let text = fs::read_to_string(member.pid_file()).ok()?;
    let pid = text.trim().parse().ok()?;
    Process::find(pid, |pid| is_server(pid, &member.config_file()))
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
    let mut ids = Vec::new();
    await_end(time, || {
        let running = members.iter().filter(|member| find(member).is_some());
        ids = running.map(|member| member.id).collect();
        ids.is_empty()
    });
    ids
}

/// Whether process `pid` is a server with this configuration file.
fn is_server(pid: i32, config_file: &Path) -> bool {
    let Some(arguments) = arguments(pid) else { return false };
    let mut arguments = arguments.split(|byte| *byte == 0).skip(1);
    arguments.next() == Some(b"server")
        && arguments.next() == Some(config_file.as_os_str().as_bytes())
}

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
