//! Before the start: what the machine and the disk must have, and what is on the disk.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use crate::runtime::executor::ExecutorError;
use crate::runtime::lane::Lane;
use crate::runtime::log::{Log, LogConfig};
use crate::runtime::ring;
use crate::tree::Tree;

use super::config::Config;
use super::exit::Exit;
use super::listen;

pub struct Lock;

/// What a server starts from.
pub struct Ground {
    pub tree: Tree,
    pub log: Log,
    /// Wakes whoever drives the log.
    pub log_bell: Arc<Lane<()>>,
    pub listener: OwnedFd,
    pub address: SocketAddr,
    pub lock: Lock,
    pub started: Instant,
}

/// Why a server does not start, or has ended otherwise than by a signal.
#[derive(Debug)]
pub struct StartError {
    pub exit: Exit,
    text: String,
}

impl StartError {
    /// Anything that has no exit code of its own.
    pub fn unexpected(err: impl fmt::Display) -> Self {
        Self { exit: Exit::UnexpectedError, text: err.to_string() }
    }

    /// The data directory.
    pub fn data_dir(err: impl fmt::Display) -> Self {
        Self { exit: Exit::UnableToAccessDatadir, text: err.to_string() }
    }

    /// An executor has ended by itself.
    pub fn failed(result: Result<(), ExecutorError>) -> Self {
        match result {
            Ok(()) => Self::unexpected("an executor has ended by itself"),
            Err(err) => Self::unexpected(err),
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Looks at the machine, takes the port and the data directory, recovers.
pub fn prepare(config: &Config) -> Result<Ground, StartError> {
    let started = Instant::now();
    ring::probe().map_err(StartError::unexpected)?;
    let address = address(config)?;
    let listener = listen::reserve(address, config.client_tcp_keep_alive).map_err(StartError::unexpected)?;
    let dir = config.data_log_dir.join("version-2");
    std::fs::create_dir_all(&dir).map_err(StartError::data_dir)?;
    let log_bell = Arc::new(Lane::new(1));
    let bell = log_bell.clone();
    let log = Log::open(
        LogConfig {
            segment_bytes: config.pre_alloc_bytes,
            record_bytes_max: u64::from(config.jute_max_buffer + config.jute_extra_bytes),
            file_bytes_max: config.txn_log_size_limit_bytes,
            force_sync: config.force_sync,
            ..LogConfig::new(dir)
        },
        Arc::new(move || bell.wake()),
    )
    .map_err(StartError::data_dir)?;
    Ok(Ground { tree: Tree::new(), log, log_bell, listener, address, lock: Lock, started })
}

fn address(config: &Config) -> Result<SocketAddr, StartError> {
    let host = config.client_host.as_deref().unwrap_or(EVERY_ADDRESS);
    let found = (host, config.client_port).to_socket_addrs().ok().and_then(|mut all| all.next());
    found.ok_or_else(|| StartError::unexpected(format!("client port: {host} is no address; set clientPortAddress")))
}

const EVERY_ADDRESS: &str = "::";
