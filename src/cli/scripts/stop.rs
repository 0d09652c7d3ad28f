//! `zkServer.sh stop` and `restart`.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use rustix::process::Signal;

use crate::cli::process::{Process, await_end};

use super::pid_file::{Named, is_server, look};
use super::service::{Server, say_begun};
use super::start::start;

/// Ends the server that the pid file names with SIGTERM, waits for it, and removes the file. A
/// process that is no server with this configuration is left alone.
pub(super) fn stop(server: &Server) -> ExitCode {
    say_begun("Stopping zookeeper ... ");
    match try_stop(server) {
        Ok(said) => {
            say!("{said}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            say!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// The exit code is that of the start.
pub(super) fn restart(server: &Server) -> ExitCode {
    match stop(server) {
        ExitCode::SUCCESS => start(server),
        failed => failed,
    }
}

fn try_stop(server: &Server) -> Result<String, String> {
    let file = match server.pid_file() {
        Ok(file) => file,
        Err(why) => return Ok(format!("no zookeeper to stop ({why})")),
    };
    let shown = file.display();
    let config = Path::new(&server.config);
    match look(&file, config).map_err(|error| format!("{shown}: {error}"))? {
        Named::NoFile => Ok(format!("no zookeeper to stop (could not find file {shown})")),
        Named::Nobody(text) => {
            say_error!("{shown} is removed: no process runs that it names ({})", cut(&text));
            remove(&file)?;
            Ok("STOPPED".into())
        }
        Named::Stranger { pid, command } => Ok(format!(
            "no zookeeper to stop (process {pid} of {shown} is no server with this configuration, \
             but {command})"
        )),
        Named::Server(process) => {
            end(&process, config)?;
            remove(&file)?;
            Ok("STOPPED".into())
        }
    }
}

fn end(process: &Process, config: &Path) -> Result<(), String> {
    let pid = process.pid;
    let signalled = process.signal(Signal::TERM);
    signalled.map_err(|error| format!("process {pid} cannot be told to end: {error}"))?;
    if await_end(STOP_TIME, || !is_server(pid, config)) {
        return Ok(());
    }
    let seconds = STOP_TIME.as_secs();
    Err(format!("process {pid} still runs after {seconds} s"))
}

fn remove(file: &Path) -> Result<(), String> {
    fs::remove_file(file).map_err(|error| format!("{}: {error}", file.display()))
}

/// What a file holds, to be shown.
fn cut(text: &str) -> String {
    let shown: String = text.chars().take(SHOWN_MAX).collect();
    shown.escape_debug().to_string()
}

/// A server finishes what is in flight, which takes seconds at most.
const STOP_TIME: Duration = Duration::from_secs(20);
const SHOWN_MAX: usize = 40;
