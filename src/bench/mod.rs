//! The load generator, for any ZooKeeper server, and the two floors to hold its figures against.
//!
//! `ringkeeper bench` drives a server over a raw ring, one thread for any number of sessions.
//! `bench echo-server` is the floor of the network path: it answers the same frames with replies of
//! the same size and does nothing else. `bench durable-write` is the floor of a write: how long the
//! directory's device takes to make 4 KiB durable.
//!
//! One file per part: [`args`] what a person may ask for, [`wire`] the frames, [`mix`] which
//! operation comes next, [`engine`] sessions and their completion loop, [`load`] the measured work,
//! [`preload`] the tree it works on, [`process`] what the server's process has used, [`report`]
//! what is printed.

mod args;
mod durable;
mod durable_files;
mod durable_server;
mod echo;
mod engine;
mod greedy;
mod load;
mod mix;
mod plain;
mod preload;
mod process;
mod report;
mod serving;
#[cfg(test)]
mod tests;
mod wire;

use std::fmt;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use crate::runtime::ring::{RingConfig, RingError, RingUnavailable};

pub use args::BenchArgs;
use args::Floor;

/// Runs what the arguments ask for, prints its report to the standard output and its progress to
/// the standard error. Exit code 1 if it could not be run to its end or if nothing was measured.
pub fn run(args: BenchArgs) -> ExitCode {
    let done = match args.floor {
        Some(Floor::EchoServer(args)) => echo::serve(&args),
        Some(Floor::DurableServer(args)) => durable_server::serve(&args),
        Some(Floor::DurableWrite(args)) => durable::measure(&args),
        Some(Floor::Greedy(args)) => greedy::run(&args),
        Some(Floor::FanOut(args)) => greedy::fan_out(&args),
        None => load::run(&args.load),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say_error!("ringkeeper bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The ring of both ends, load generator and echo: small buffers, so that they stay in the cache.
fn ring_config(spin: Duration) -> RingConfig {
    RingConfig { submissions: 1024, receive_buffers: 512, receive_buffer_bytes: 8 << 10, spin }
}

/// The reason why a benchmark could not be run.
#[derive(Debug)]
enum BenchError {
    /// There is no ring to drive it with.
    Ring(RingUnavailable),
    /// The ring failed while it ran.
    RingFailed(RingError),
    /// Reaching the server, or a file, failed while doing what is named.
    Io { doing: String, error: io::Error },
    /// The server answered with something a ZooKeeper server does not say.
    Protocol { session: u32, what: &'static str },
    /// The server closed a connection, or it broke.
    Lost { session: u32, cause: String },
    /// The server refused what the work needs.
    Refused { what: String, code: i32 },
    /// Nothing was answered for this many seconds.
    Silent { seconds: u64 },
    /// An option makes no sense.
    Option(String),
}

impl BenchError {
    fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> BenchError {
        move |error| BenchError::Io { doing: doing.into(), error }
    }
}

impl fmt::Display for BenchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BenchError::Ring(error) => write!(f, "{error}"),
            BenchError::RingFailed(error) => write!(f, "{error}"),
            BenchError::Io { doing, error } => write!(f, "{doing}: {error}"),
            BenchError::Protocol { session, what } => {
                write!(f, "session {session}: the server sent {what}")
            }
            BenchError::Lost { session, cause } => {
                write!(f, "session {session} lost its connection: {cause}")
            }
            BenchError::Refused { what, code } => {
                write!(f, "the server refused {what} with error {code}")
            }
            BenchError::Silent { seconds } => {
                write!(f, "no reply for {seconds} s; is the server alive?")
            }
            BenchError::Option(what) => write!(f, "{what}"),
        }
    }
}

impl std::error::Error for BenchError {}

impl From<RingUnavailable> for BenchError {
    fn from(error: RingUnavailable) -> Self {
        BenchError::Ring(error)
    }
}

impl From<RingError> for BenchError {
    fn from(error: RingError) -> Self {
        BenchError::RingFailed(error)
    }
}
