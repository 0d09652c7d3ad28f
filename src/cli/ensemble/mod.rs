//! `ringkeeper ensemble`: a whole ensemble on one machine, for development and for trying what
//! happens when servers die. Each server is a process of its own, with its own directory, ports and
//! log, started from this same program.

mod error;
mod layout;
mod ports;
mod process;
mod start;
mod status;
mod stop;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use error::EnsembleError;
use start::StartArgs;

/// Set up and run a local ensemble for development: start, status, kill, stop.
#[derive(Args, Debug)]
pub struct EnsembleArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    Start(StartArgs),
    /// One line for each server. Exit code 0: a quorum serves; 1: none does.
    Status {
        /// The ensemble's directory.
        dir: PathBuf,
    },
    /// End every server that runs, or server N, with SIGTERM; wait for it.
    #[command(override_usage = "ringkeeper ensemble stop [N] DIR")]
    Stop {
        #[command(flatten)]
        target: Target,
    },
    /// End server N with SIGKILL, as a crash would.
    Kill {
        /// The server's number.
        server: i64,
        /// The ensemble's directory.
        dir: PathBuf,
    },
}

/// A directory, and which of its servers is meant.
#[derive(Args, Debug)]
struct Target {
    /// The ensemble's directory, before it the number of one server.
    #[arg(num_args = 1..=2, required = true, value_name = "[N] DIR")]
    words: Vec<String>,
}

impl Target {
    fn resolve(&self) -> Result<(Option<i64>, PathBuf), EnsembleError> {
        match &self.words[..] {
            [server, dir] => {
                let number = server
                    .parse()
                    .map_err(|_| EnsembleError::NotANumber { word: server.clone() })?;
                Ok((Some(number), dir.into()))
            }
            words => Ok((None, words.concat().into())),
        }
    }
}

/// Does what was asked for. Exit code 0: done; 1: not done, and why; 2: usage.
pub fn ensemble(args: EnsembleArgs) -> ExitCode {
    let done = match args.action {
        Action::Start(args) => start::start(&args),
        Action::Status { dir } => status::status(&dir),
        Action::Stop { target } => {
            target.resolve().and_then(|(server, dir)| stop::stop(server, &dir))
        }
        Action::Kill { server, dir } => stop::kill(server, &dir),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say_error!("ringkeeper: {error}");
            error.exit()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_may_stand_before_the_directory() {
        let target = |words: &[&str]| {
            Target { words: words.iter().map(|word| (*word).to_owned()).collect() }.resolve()
        };
        assert_eq!(target(&["zk"]).expect("a directory"), (None, "zk".into()));
        assert_eq!(target(&["7"]).expect("a directory"), (None, "7".into()));
        assert_eq!(target(&["2", "zk"]).expect("both"), (Some(2), "zk".into()));
        assert!(matches!(target(&["zk", "2"]), Err(EnsembleError::NotANumber { .. })));
    }
}
