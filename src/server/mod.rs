//! The server: configuration, placement, start, recovery, words, shutdown.
//!
//! [`run`] is the whole life of a standalone server, in a straight line: preflight, recovery, start, serve, drain.

mod background;
pub mod config;
pub mod exit;
mod listen;
mod placement;
mod preflight;
pub mod process;
mod running;
mod signals;
mod start;
mod stats;
pub mod words;

use std::process::ExitCode;

use exit::Exit;
use preflight::StartError;

/// Runs a standalone server until it is asked to stop.
pub fn run(config: config::Config) -> ExitCode {
    match serve(config) {
        Ok(()) => Exit::Finished.into(),
        Err(err) => {
            log::error!("{err}");
            err.exit.into()
        }
    }
}

fn serve(config: config::Config) -> Result<(), StartError> {
    let stop_causes = signals::stop_causes().map_err(StartError::unexpected)?;
    let startup = preflight::prepare(&config)?;
    let running = start::start(config, startup)?;
    let why = running.wait(&stop_causes);
    running.stop(why)
}
