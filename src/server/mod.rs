//! The server: configuration, placement, start, recovery, words, shutdown.
//!
//! [`run`] is the whole life of a standalone server, in a straight line: preflight, recovery,
//! start, serve, drain.

mod background;
pub mod config;
pub mod exit;
mod listen;
pub(crate) mod logging;
mod member;
mod panics;
mod placement;
mod preflight;
pub mod process;
mod resources;
mod responder;
mod role;
mod running;
mod signals;
mod start;
mod start_error;
mod stats;
mod status;
pub mod words;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::quorum::recovery::RecoveryError;

use crate::runtime::heap;
use exit::Exit;
use start_error::StartError;

/// Runs a standalone server until it is asked to stop.
pub fn run(config: config::Config) -> ExitCode {
    match serve(config) {
        Ok(()) => Exit::Finished.into(),
        Err(StartError::Recovery { error: stopped @ RecoveryError::Stopped, .. }) => {
            log::info!("{stopped}");
            Exit::Finished.into()
        }
        Err(err) => {
            log::error!("{err}");
            err.exit().into()
        }
    }
}

fn serve(config: config::Config) -> Result<(), StartError> {
    heap::join_at_once();
    let told_to_stop = Arc::new(AtomicBool::new(false));
    let requests = signals::requests(told_to_stop.clone())
        .map_err(|_| StartError::Resources(resources::no_thread()))?;
    let panicked = panics::watch();
    let startup = preflight::prepare(&config, told_to_stop)?;
    let running = start::start(config, startup, panicked)?;
    let why = running.wait(&requests);
    running.stop(why)
}
