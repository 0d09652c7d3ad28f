//! `ringkeeper ensemble start`: makes the ensemble if it is not there, starts what does not run,
//! and waits until it serves.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

use crate::cli::ask::{Said, ask};

use super::error::EnsembleError;
use super::layout::{self, Member, Plan};
use super::{Target, ports, process, status};

/// Make an ensemble in DIR and start it; start again what does not run; or start server N again.
///
/// Waits until every server that it started serves, and says where. Clients and servers are
/// listened to on 127.0.0.1 alone.
#[derive(Args, Debug)]
#[command(override_usage = "ringkeeper ensemble start [OPTIONS] [N] DIR")]
pub(super) struct StartArgs {
    #[command(flatten)]
    target: Target,
    /// Servers that vote [default: 3]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=15))]
    servers: Option<u16>,
    /// Observers beside them, numbered after them [default: 0]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(0..=15))]
    observers: Option<u16>,
    /// The client port of server 1; its quorum port is 707 above it, its election port 1707, and
    /// each further server has the next numbers [default: 2181]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    base_port: Option<u16>,
    /// A line for each server's zoo.cfg, as tickTime=500. May be given again and again
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// How long to wait until they serve
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    wait: u64,
}

pub(super) fn start(args: &StartArgs) -> Result<(), EnsembleError> {
    let (server, dir) = args.target.resolve()?;
    let there = layout::read(&dir)?;
    if there.is_empty() {
        make(args, server, &dir)?;
    } else if args.asks_for_another_than(&there) {
        return Err(EnsembleError::Settled { servers: there.len(), dir });
    }
    let members = layout::read(&dir)?;
    let chosen = layout::chosen(&members, server)?;
    let mut stopped = chosen;
    stopped.retain(|member| process::find(member).is_none());
    let wanted: Vec<_> = stopped.iter().flat_map(|member| member.ports()).collect();
    let taken = ports::taken(&wanted);
    if !taken.is_empty() {
        return Err(EnsembleError::PortsTaken { taken });
    }
    let mut started = Vec::new();
    for member in stopped {
        let child = process::spawn(member)?;
        say!("server {}: pid {}, log {}", member.id, child.id(), member.log_file().display());
        started.push(Started { member, child });
    }
    let running = members.iter().filter(|member| member.votes() && process::find(member).is_some());
    let (running, voters) = (running.count(), members.iter().filter(|it| it.votes()).count());
    if running <= voters / 2 {
        say!("{running} of {voters} voters run: nothing is served until more than half of them do");
        return Ok(());
    }
    await_service(&mut started, &members, Duration::from_secs(args.wait))?;
    say_where(&members, &dir);
    Ok(())
}

impl StartArgs {
    /// The same command may be given again and again.
    fn asks_for_another_than(&self, members: &[Member]) -> bool {
        let voters = members.iter().filter(|member| member.votes()).count();
        let is_other =
            |asked: Option<u16>, there| asked.is_some_and(|asked| asked as usize != there);
        let port = members.first().map_or(0, |first| first.client().1);
        is_other(self.servers, voters)
            || is_other(self.observers, members.len() - voters)
            || self.base_port.is_some_and(|asked| asked != port)
            || !self.set.is_empty()
    }
}

fn make(args: &StartArgs, server: Option<i64>, dir: &Path) -> Result<(), EnsembleError> {
    if server.is_some() {
        return Err(EnsembleError::NoEnsemble { dir: dir.to_owned() });
    }
    if let Some(text) = args.set.iter().find(|text| !text.contains('=')) {
        return Err(EnsembleError::NotASetting { text: text.clone() });
    }
    let plan = Plan {
        voters: args.servers.unwrap_or(SERVERS_DEFAULT),
        observers: args.observers.unwrap_or(0),
        base_port: args.base_port.unwrap_or(BASE_PORT_DEFAULT),
        settings: &args.set,
    };
    plan.check()?;
    // Before anything is written: with another base port the same directory is as good.
    let taken = ports::taken(&plan.ports());
    if !taken.is_empty() {
        return Err(EnsembleError::PortsTaken { taken });
    }
    plan.write(dir)
}

/// A server that this command has started.
struct Started<'a> {
    member: &'a Member,
    child: Child,
}

/// Waits until each of `started` serves and some member leads, which may be all that it does.
fn await_service(
    started: &mut [Started<'_>],
    members: &[Member],
    time: Duration,
) -> Result<(), EnsembleError> {
    let deadline = Instant::now() + time;
    loop {
        for Started { member, child } in started.iter_mut() {
            if let Ok(Some(status)) = child.try_wait() {
                let (id, log) = (member.id, member.log_file());
                let said = last_lines(&log);
                return Err(EnsembleError::Ended { id, status, log, said });
            }
        }
        let silent: Vec<&Member> = started
            .iter()
            .map(|started| started.member)
            .filter(|member| !ask(&member.client()).serves())
            .collect();
        if is_in_service(&silent, members) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(overdue(&silent, time));
        }
        thread::sleep(POLL);
    }
}

/// Whether all that were started serve, and one leads. Where leaders take no clients the only member
/// that serves nobody is the leader.
fn is_in_service(silent: &[&Member], members: &[Member]) -> bool {
    let Some(one) = silent.first() else {
        return members.iter().any(|member| status::is_led(member, &ask(&member.client())));
    };
    one.may_only_lead()
        && ask(&one.client()) == Said::NotServing
        && members.len() > 1
        && members.iter().all(|other| other.id == one.id || ask(&other.client()).serves())
}

fn overdue(silent: &[&Member], time: Duration) -> EnsembleError {
    if silent.is_empty() {
        return EnsembleError::NoQuorum;
    }
    EnsembleError::NotServing {
        ids: silent.iter().map(|member| member.id).collect(),
        seconds: time.as_secs(),
        logs: silent.iter().map(|member| member.log_file()).collect(),
    }
}

fn last_lines(log: &PathBuf) -> Vec<String> {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let mut lines: Vec<String> = text.lines().rev().take(LINES_SHOWN).map(str::to_owned).collect();
    lines.reverse();
    lines
}

fn say_where(members: &[Member], dir: &Path) {
    for member in members {
        say!("{}; {}", status::line(member), member.peer_ports());
    }
    let clients = members.iter().map(|member| {
        let (host, port) = member.client();
        format!("{host}:{port}")
    });
    say!("connect string: {}", clients.collect::<Vec<_>>().join(","));
    if members.iter().any(Member::has_peers) {
        say!(
            "The quorum and election ports are not authenticated: whoever reaches them can take part."
        );
    }
    let dir = dir.display();
    say!("one crashes:    ringkeeper ensemble kill 1 {dir}");
    say!("it comes back:  ringkeeper ensemble start 1 {dir}");
    say!("what they do:   ringkeeper ensemble status {dir}");
    say!("the end:        ringkeeper ensemble stop {dir}");
}

const SERVERS_DEFAULT: u16 = 3;
const BASE_PORT_DEFAULT: u16 = 2181;
const POLL: Duration = Duration::from_millis(50);
/// Of a log whose server has ended.
const LINES_SHOWN: usize = 5;
