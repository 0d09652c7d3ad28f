//! The server: configuration, placement, start, recovery, words, shutdown.
//!
//! [`run`] is the whole life of a standalone server, in a straight line: preflight, recovery, start, serve, drain.

mod assembly;
mod background;
pub mod config;
mod desk;
pub mod exit;
mod life;
mod listen;
mod placement;
mod preflight;
pub mod process;
mod signals;
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
    let endings = signals::endings().map_err(StartError::unexpected)?;
    let ground = preflight::prepare(&config)?;
    let running = assembly::start(config, ground)?;
    let why = running.wait(&endings);
    running.stop(why)
}
