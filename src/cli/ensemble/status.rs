//! `ringkeeper ensemble status`: one line for each server.

use std::path::Path;

use crate::cli::ask::{Said, ask};

use super::error::EnsembleError;
use super::layout::{self, Member};
use super::process;

pub(super) fn status(dir: &Path) -> Result<(), EnsembleError> {
    let members = layout::read(dir)?;
    if members.is_empty() {
        return Err(EnsembleError::NoEnsemble { dir: dir.to_owned() });
    }
    let mut has_leader = false;
    for member in &members {
        let (line, said) = look(member);
        say!("{line}");
        has_leader |= is_led(member, &said);
    }
    if has_leader { Ok(()) } else { Err(EnsembleError::NoQuorum) }
}

/// Whether what a member says shows that there is a leader. One that only leads does not say so
/// itself: whoever serves follows it.
pub(super) fn is_led(member: &Member, said: &Said) -> bool {
    said.leads() || member.may_only_lead() && said.serves()
}

/// A server in one line: pid, state, zxid, clients.
pub(super) fn line(member: &Member) -> String {
    look(member).0
}

/// The line, and what it is made of.
fn look(member: &Member) -> (String, Said) {
    let (id, (host, port)) = (member.id, member.client());
    let Some(process) = process::find(member) else {
        return (format!("server {id}: not running"), Said::Nothing);
    };
    let said = ask(&(host.clone(), port));
    let head = |state: &str| format!("server {id}: {state}, pid {}", process.pid);
    let line = match &said {
        Said::Nothing => format!("{}; {host}:{port} does not answer", head("starting or busy")),
        Said::NotServing => format!("{}, {host}:{port}", head("not serving")),
        Said::Serving { mode, zxid, clients } => {
            let plural = if *clients == 1 { "" } else { "s" };
            format!("{}, zxid {zxid}, {clients} client{plural}, {host}:{port}", head(mode))
        }
    };
    (line, said)
}
