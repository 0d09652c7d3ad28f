//! The reasons why a command about a local ensemble is not done, each with its remedy.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus};

use crate::server::config::ConfigError;

use super::ports::Taken;

/// See the module's head.
#[derive(Debug)]
pub(super) enum EnsembleError {
    /// The first of two words is no server's number.
    NotANumber { word: String },
    /// A key of `--set` without a value.
    NotASetting { text: String },
    /// There is no ensemble in this directory.
    NoEnsemble { dir: PathBuf },
    /// There are other things in it.
    NotEmpty { dir: PathBuf },
    /// What only a new ensemble can be given, for one that is there.
    Settled { dir: PathBuf, servers: usize },
    /// The highest port would be above 65535.
    BasePort { base: u16, servers: u16 },
    /// The ensemble has no server of this number.
    NoServer { id: i64, ids: Vec<i64> },
    /// The path cannot be written into a configuration file.
    Path { path: PathBuf },
    /// A file or directory could not be made, read or written.
    File { path: PathBuf, error: io::Error },
    /// A server's configuration is not one.
    Config { path: PathBuf, error: ConfigError },
    /// `myid` is not the number of the directory that it stands in.
    WrongId { home: PathBuf, id: i64, myid: i64 },
    /// Ports that others have.
    PortsTaken { taken: Vec<Taken> },
    /// The program could not be started.
    Spawn { error: io::Error },
    /// A server has ended while it was waited for.
    Ended { id: i64, status: ExitStatus, log: PathBuf, said: Vec<String> },
    /// These servers run and do not serve.
    NotServing { ids: Vec<i64>, seconds: u64, logs: Vec<PathBuf> },
    /// No quorum serves.
    NoQuorum,
    /// The server does not run.
    NotRunning { id: i64 },
    /// The process cannot be sent a signal.
    Signal { id: i64, pid: i32, error: io::Error },
    /// These servers have been told to end and have not.
    StillRunning { ids: Vec<i64>, seconds: u64, dir: PathBuf },
}

impl EnsembleError {
    /// For `map_err`: `path` is what could not be read or written.
    pub(super) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |error| Self::File { path, error }
    }

    /// 2 for what was asked wrongly, 1 for what was not done.
    pub(super) fn exit(&self) -> ExitCode {
        match self {
            Self::NotANumber { .. }
            | Self::NotASetting { .. }
            | Self::Settled { .. }
            | Self::BasePort { .. }
            | Self::NoServer { .. } => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }
}

impl fmt::Display for EnsembleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotANumber { word } => write!(
                f,
                "{word} is no server's number; write the number first, then the directory"
            ),
            Self::NotASetting { text } => {
                write!(f, "--set {text}: write a key of zoo.cfg and its value, as tickTime=500")
            }
            Self::NoEnsemble { dir } => write!(
                f,
                "{0} holds no ensemble; make one: ringkeeper ensemble start --servers 3 {0}",
                dir.display()
            ),
            Self::NotEmpty { dir } => write!(
                f,
                "{} holds other things than an ensemble's servers; name an empty directory, or \
                 one that is not there",
                dir.display()
            ),
            Self::Settled { dir, servers } => write!(
                f,
                "{} holds another ensemble, of {servers} server{}: its zoo.cfg files say what it \
                 is, and options of a new one do not count; leave them out, or name another \
                 directory",
                dir.display(),
                if *servers == 1 { "" } else { "s" }
            ),
            Self::BasePort { base, servers } => write!(
                f,
                "--base-port {base}: the election ports of {servers} servers would end above \
                 65535; use a lower one"
            ),
            Self::NoServer { id, ids } => {
                write!(f, "there is no server {id}; there are {}", listed(ids))
            }
            Self::Path { path } => write!(
                f,
                "{} is no text of UTF-8, which a configuration file needs; name another directory",
                path.display()
            ),
            Self::File { path, error } => write!(f, "{}: {error}", path.display()),
            Self::Config { path, error } => write!(f, "{}: {error}", path.display()),
            Self::WrongId { home, id, myid } => write!(
                f,
                "{}: its data/myid says {myid}; it must say {id}, or two servers are one",
                home.display()
            ),
            Self::PortsTaken { taken } => ports_taken(f, taken),
            Self::Spawn { error } => write!(f, "the program cannot be started again: {error}"),
            Self::Ended { id, status, log, said } => {
                write!(f, "server {id} has ended ({status}); its log, {}, ends:", log.display())?;
                said.iter().try_for_each(|line| write!(f, "\n  {line}"))
            }
            Self::NotServing { ids, seconds, logs } => not_serving(f, ids, *seconds, logs),
            Self::NoQuorum => f.write_str("no server serves that leads, so nothing is served"),
            Self::NotRunning { id } => write!(f, "server {id} does not run"),
            Self::Signal { id, pid, error } => {
                write!(f, "server {id} (pid {pid}) cannot be sent a signal: {error}")
            }
            Self::StillRunning { ids, seconds, dir } => write!(
                f,
                "still running {seconds} s after the signal: {}; ringkeeper ensemble kill N {} ends \
                 one at once",
                listed(ids),
                dir.display()
            ),
        }
    }
}

fn ports_taken(f: &mut fmt::Formatter<'_>, taken: &[Taken]) -> fmt::Result {
    f.write_str("these ports cannot be had:")?;
    for port in taken {
        write!(f, "\n  {} ({}): {}", port.port.address, port.port.purpose, port.why)?;
    }
    f.write_str(
        "\n`ss -ltnp` shows who has them; a new ensemble goes elsewhere with --base-port, one that \
         is there by its zoo.cfg files",
    )
}

fn not_serving(
    f: &mut fmt::Formatter<'_>,
    ids: &[i64],
    seconds: u64,
    logs: &[PathBuf],
) -> fmt::Result {
    let (what, does) = if ids.len() == 1 { ("server", "does") } else { ("servers", "do") };
    let ids = listed(ids);
    write!(f, "{what} {ids} {does} not serve after {seconds} s; the log says why:")?;
    logs.iter().try_for_each(|log| write!(f, "\n  {}", log.display()))
}

fn listed(ids: &[i64]) -> String {
    ids.iter().map(i64::to_string).collect::<Vec<_>>().join(", ")
}
