//! The server: configuration, placement, start, recovery, words, shutdown.

pub mod config;
pub mod exit;
pub mod process;
pub mod words;

use std::process::ExitCode;

/// Runs a standalone server until it is asked to stop.
pub fn run(config: config::Config) -> ExitCode {
    log::error!("{}: this build has no server to run", config.data_dir.display());
    exit::Exit::UnexpectedError.into()
}
