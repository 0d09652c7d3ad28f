//! `ringkeeper ensemble stop` and `kill`.

use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use super::error::EnsembleError;
use super::layout::{self, Member};
use super::process;

/// SIGTERM to every server that runs, or to one, and waits for their ends.
pub(super) fn stop(server: Option<i64>, dir: &Path) -> Result<(), EnsembleError> {
    let members = members(dir)?;
    let chosen = layout::chosen(&members, server)?;
    let mut told = Vec::new();
    for member in chosen {
        match signal(member, Signal::TERM)? {
            Some(_) => told.push(member),
            None => say!("server {} does not run", member.id),
        }
    }
    let ids = process::await_ends(&told, STOP_TIME);
    for member in told.iter().filter(|member| !ids.contains(&member.id)) {
        say!("server {} is stopped", member.id);
    }
    if ids.is_empty() {
        return Ok(());
    }
    Err(EnsembleError::StillRunning { ids, seconds: STOP_TIME.as_secs(), dir: dir.to_owned() })
}

/// SIGKILL to one server, and waits for its end.
pub(super) fn kill(server: i64, dir: &Path) -> Result<(), EnsembleError> {
    let members = members(dir)?;
    let member = layout::chosen(&members, Some(server))?[0];
    let pid = signal(member, Signal::KILL)?.ok_or(EnsembleError::NotRunning { id: server })?;
    let ids = process::await_ends(&[member], STOP_TIME);
    if !ids.is_empty() {
        let (seconds, dir) = (STOP_TIME.as_secs(), dir.to_owned());
        return Err(EnsembleError::StillRunning { ids, seconds, dir });
    }
    say!(
        "server {server} (pid {pid}) is killed; it comes back: ringkeeper ensemble start {server} {}",
        dir.display()
    );
    Ok(())
}

fn members(dir: &Path) -> Result<Vec<Member>, EnsembleError> {
    let members = layout::read(dir)?;
    match members.is_empty() {
        true => Err(EnsembleError::NoEnsemble { dir: dir.to_owned() }),
        false => Ok(members),
    }
}

/// The pid of the process that was sent the signal; none where the server does not run.
fn signal(member: &Member, signal: Signal) -> Result<Option<i32>, EnsembleError> {
    let Some(process) = process::find(member) else { return Ok(None) };
    let (id, pid) = (member.id, process.pid);
    process.signal(signal).map_err(|error| EnsembleError::Signal { id, pid, error })?;
    Ok(Some(pid))
}

/// A server finishes what is in flight, which takes seconds at most.
const STOP_TIME: Duration = Duration::from_secs(20);
