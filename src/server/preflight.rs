//! Before the start: what the machine must have, what is on the disk, and what is said about both.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use log::{info, warn};

use crate::quorum::recovery::{Recovered, RecoveryReport, RecoverySettings, recover};
use crate::runtime::SharedTree;
use crate::runtime::datadir::DataDir;
use crate::runtime::executor::ExecutorError;
use crate::runtime::lane::WakeHandle;
use crate::runtime::log::{Log, LogConfig};
use crate::runtime::ring;
use crate::runtime::snapshotter::take_snapshot;

use super::background::snapshotter_config;
use super::config::Config;
use super::exit::Exit;
use super::{listen, words};

/// What a server starts from.
pub struct Startup {
    pub tree: SharedTree,
    pub log: Log,
    /// Wakes whoever drives the log.
    pub log_waker: Arc<WakeHandle>,
    pub data: DataDir,
    pub listener: OwnedFd,
    pub address: SocketAddr,
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

    /// The data directory can not be had.
    pub fn data_dir(err: impl fmt::Display) -> Self {
        Self { exit: Exit::UnableToAccessDatadir, text: err.to_string() }
    }

    /// A snapshot that is needed could not be written.
    pub fn snapshot(err: impl fmt::Display) -> Self {
        Self { exit: Exit::TxnlogErrorTakingSnapshot, text: err.to_string() }
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
pub fn prepare(config: &Config) -> Result<Startup, StartError> {
    let started = Instant::now();
    info!("Ringkeeper {}, compatible with ZooKeeper {}", env!("CARGO_PKG_VERSION"), words::version::COMPATIBLE_WITH);
    ring::probe().map_err(StartError::unexpected)?;
    let address = address(config)?;
    let listener = listen::reserve(address, config.client_tcp_keep_alive).map_err(StartError::unexpected)?;
    let mut data = DataDir::open(&config.data_dir, &config.data_log_dir, config.data_dir_autocreate)
        .map_err(StartError::data_dir)?;
    log_place(&data);
    let Recovered { tree, report, .. } = recovered(config, &mut data)?;
    let tree = SharedTree::new(tree);
    log_recovered(&report, &tree, started);
    if report.snapshot.is_none() {
        // Logs without a snapshot are not started from: it must be there before anything is acknowledged.
        take_snapshot(&snapshotter_config(config, &data), &tree, true).map_err(StartError::snapshot)?;
    }
    data.take_initialize().map_err(StartError::data_dir)?;
    let log_waker = Arc::new(WakeHandle::default());
    let log = open_log(config, &data, log_waker.clone())?;
    Ok(Startup { tree, log, log_waker, data, listener, address, started })
}

/// A seed for hashes of what clients choose.
pub fn unguessable() -> u64 {
    RandomState::new().hash_one(0)
}

fn recovered(config: &Config, data: &mut DataDir) -> Result<Recovered, StartError> {
    let settings = RecoverySettings {
        trust_empty: config.snapshot_trust_empty,
        extended_types: config.extended_types,
        check_digests: config.digest_enabled,
        seed: unguessable(),
    };
    recover(data, &settings).map_err(StartError::unexpected)
}

fn open_log(config: &Config, data: &DataDir, waker: Arc<WakeHandle>) -> Result<Log, StartError> {
    let log_config = LogConfig {
        segment_bytes: config.pre_alloc_bytes,
        record_bytes_max: u64::from(config.jute_max_buffer) + u64::from(config.jute_extra_bytes),
        file_bytes_max: config.txn_log_size_limit_bytes,
        force_sync: config.force_sync,
        ..LogConfig::new(data.logs().to_owned())
    };
    if !config.force_sync {
        warn!("forceSync=no: no write waits for the disk, and a power failure loses writes that were acknowledged");
    }
    Log::open(log_config, Arc::new(move || waker.wake())).map_err(StartError::data_dir)
}

fn log_place(data: &DataDir) {
    match data.snapshots() == data.logs() {
        true => info!("data: {}", data.snapshots().display()),
        false => info!("data: {}, transaction log: {}", data.snapshots().display(), data.logs().display()),
    }
    if let Ok(epochs) = data.epochs()
        && (epochs.current.is_some() || epochs.accepted.is_some())
    {
        info!("this directory was a member's of an ensemble; a standalone server leaves its epoch files as they are");
    }
}

fn log_recovered(report: &RecoveryReport, tree: &SharedTree, started: Instant) {
    for (name, why) in &report.rejected {
        warn!("{name} is passed over: {why}");
    }
    if let Some(cut) = &report.cut {
        info!("{}: a torn tail was cut at offset {}: {}", cut.file, cut.offset, cut.why);
    }
    if let Some(zxid) = report.first_mismatch {
        warn!(
            "{} digests differ from the tree's, the first at zxid {zxid}: compare with the other copies of this data \
             before you trust it",
            report.digest_mismatches
        );
    }
    if report.orphans_removed > 0 {
        info!("{} ephemerals of sessions that are gone were removed", report.orphans_removed);
    }
    let tree = tree.read();
    info!(
        "recovered {} znodes and {} sessions up to zxid {} from {} and {} log records, in {} ms",
        tree.node_count() - 1,
        tree.sessions().count(),
        tree.last_zxid(),
        report.snapshot.as_deref().unwrap_or("no snapshot"),
        report.records,
        started.elapsed().as_millis()
    );
}

fn address(config: &Config) -> Result<SocketAddr, StartError> {
    let host = config.client_host.as_deref().unwrap_or(EVERY_ADDRESS);
    let found = (host, config.client_port).to_socket_addrs().ok().and_then(|mut all| all.next());
    found.ok_or_else(|| {
        StartError::unexpected(format!("client port: {host} is no address that is known here; set clientPortAddress"))
    })
}

/// IPv6 and, through it, IPv4, as Java listens.
const EVERY_ADDRESS: &str = "::";
