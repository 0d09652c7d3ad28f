//! `ringkeeper ensemble status`: one line for each server.

use std::path::Path;

use super::ask::{Said, ask};
use super::error::EnsembleError;
use super::layout::{self, Member};
use super::process;

pub(super) fn status(dir: &Path) -> Result<(), EnsembleError> {
    let members = layout::read(dir)?;
    if members.is_empty() {
        return Err(EnsembleError::NoEnsemble { dir: dir.to_owned() });
    }
    for member in &members {
        println!("{}", line(member));
    }
    let running = members.iter().filter(|member| process::find(member).is_some());
    match running.map(|member| ask(&member.client())).any(|said| said.leads()) {
        true => Ok(()),
        false => Err(EnsembleError::NoQuorum),
    }
}

/// A server in one line: pid, state, zxid, clients.
pub(super) fn line(member: &Member) -> String {
    let (id, (host, port)) = (member.id, member.client());
    let Some(process) = process::find(member) else {
        return format!("server {id}: not running");
    };
    let head = |state: &str| format!("server {id}: {state}, pid {}", process.pid);
    match ask(&(host.clone(), port)) {
        Said::Nothing => format!("{}; {host}:{port} does not answer", head("starting or busy")),
        Said::NotServing => format!("{}, {host}:{port}", head("not serving")),
        Said::Serving { mode, zxid, clients } => {
            let plural = if clients == 1 { "" } else { "s" };
            format!("{}, zxid {zxid}, {clients} client{plural}, {host}:{port}", head(&mode))
        }
    }
}
