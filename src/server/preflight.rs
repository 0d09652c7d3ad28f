//! Before the start: what the machine must have, what is on the disk, and what is said about both.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use log::{debug, info, warn};

use crate::quorum::recovery::{Recovered, RecoveryReport, RecoverySettings, recover};
use crate::runtime::SharedTree;
use crate::runtime::datadir::{DataDir, EpochFiles};
use crate::runtime::lane::WakeHandle;
use crate::runtime::log::{Log, LogConfig};
use crate::runtime::ring::{self, RingUnavailable};
use crate::runtime::snapshotter::take_snapshot;
use crate::session;
use crate::zxid::{SessionId, Zxid};

use super::config::Config;
use super::listen::{self, Listener};
use super::member::{self, HISTORY_BYTES_MAX, MemberStart};
use super::panics::panic_if_asked;
use super::placement::{self, Placement};
use super::resources::TooLittle;
use super::start_error::StartError;
use super::stats::RecoveryFigures;
use super::{resources, words};

/// The parts that a server starts from.
pub(crate) struct Startup {
    pub tree: SharedTree,
    pub log: Log,
    /// Wakes whoever drives the log.
    pub log_waker: Arc<WakeHandle>,
    pub data: DataDir,
    pub listener: Listener,
    pub placement: Placement,
    pub recovery: RecoveryFigures,
    /// The highest session id that earlier runs have given out, as far as the data names it.
    pub last_session: Option<SessionId>,
    pub started: Instant,
    /// There where the server is one of an ensemble.
    pub member: Option<MemberStart>,
}

/// The placement, with fewer shards where the limit of locked memory does not allow as many as there
/// are cores for; a number of shards that was asked for is refused.
fn within_locked_memory(placement: Placement, config: &Config) -> Result<Placement, StartError> {
    let wanted = placement.executors();
    let fit = resources::executors_within_locked_memory(wanted);
    if fit >= wanted {
        return Ok(placement);
    }
    let too_little = resources::too_little_locked_memory(wanted);
    let fewer = placement.limited(fit);
    if config.cores.shards != 0 || fewer.executors() > fit {
        return Err(StartError::Resources(too_little));
    }
    warn!("{} shards serve clients, and not more: {too_little}", fewer.shards.len());
    Ok(fewer)
}

/// Looks at the machine, takes the port and the data directory, recovers.
///
/// Gives the recovery up once `told_to_stop` is set.
pub(crate) fn prepare(
    config: &Config,
    told_to_stop: Arc<AtomicBool>,
) -> Result<Startup, StartError> {
    let started = Instant::now();
    check_epochs(config)?;
    info!(
        "Ringkeeper {}, compatible with ZooKeeper {}",
        env!("CARGO_PKG_VERSION"),
        words::version::COMPATIBLE_WITH
    );
    if let Some(before) = resources::raise_open_files() {
        debug!("the limit of open files was {before}");
    }
    resources::raise_locked_memory().map_err(StartError::Resources)?;
    let placement = within_locked_memory(placement::of(config), config)?;
    resources::check_open_files(placement.executors()).map_err(StartError::Resources)?;
    resources::probe_threads(placement.executors()).map_err(StartError::Resources)?;
    let log_config = within_limits(&config.log).map_err(StartError::Resources)?;
    ring::awaiting_memory(ring::probe, RingUnavailable::is_memory).map_err(StartError::Ring)?;
    let listener = listen::reserve(
        config.client_host.as_deref(),
        config.client_port,
        config.client_tcp_keep_alive,
    )
    .map_err(StartError::Listen)?;
    let peer_listeners = config.ensemble.as_ref().map(member::bind).transpose()?;
    let mut data =
        DataDir::open(&config.data_dir, &config.data_log_dir, config.data_dir_autocreate)
            .map_err(StartError::DataDir)?;
    data.stop_with(told_to_stop);
    log_place(&data);
    let began = Instant::now();
    let recovery = recovery_settings(config);
    let recovered = recover(&mut data, &recovery);
    let is_member = config.ensemble.is_some();
    let recovered = recovered.map_err(|error| StartError::Recovery { error, is_member })?;
    let Recovered { tree, report, last_zxid, last_session, tail } = recovered;
    let figures = RecoveryFigures { records: report.records, took: began.elapsed() };
    let tree = SharedTree::new(tree);
    log_recovered(config, &report, &tree, started);
    let is_new = data.take_initialize().map_err(StartError::DataDir)?;
    let is_lost = report.snapshot.is_none() && is_lost_if_empty(config, is_new, last_zxid);
    if report.snapshot.is_none() && !is_lost {
        // Logs without a snapshot are not started from: it must be there before anything is
        // acknowledged.
        take_snapshot(data.snapshots(), &config.snapshots, &tree, true)
            .map_err(StartError::Snapshot)?;
    }
    let member = peer_listeners
        .map(|listeners| MemberStart::new(listeners, &data, last_zxid, is_lost, tail, recovery))
        .transpose()?;
    if member.is_none() {
        settle_epochs(&data, last_zxid);
    }
    let log_waker = Arc::new(WakeHandle::default());
    let log = open_log(log_config, &data, last_zxid, log_waker.clone())?;
    Ok(Startup {
        tree,
        log,
        log_waker,
        data,
        listener,
        placement,
        recovery: figures,
        last_session,
        started,
        member,
    })
}

/// Whether a directory without data is that of a member that has lost it: the operator says with
/// `db.autocreate=false` that every new one is marked by a file `initialize`.
fn is_lost_if_empty(config: &Config, is_new: bool, last: Zxid) -> bool {
    let Some(ensemble) = &config.ensemble else { return false };
    let is_lost = last == Zxid::ZERO && !is_new && !ensemble.empty_votes;
    if is_lost {
        warn!(
            "there is no data, and db.autocreate=false: until this server has taken the data from a \
             leader that the others elect, its vote does not count. If it is new, stop it and make \
             the empty file {}",
            config.data_log_dir.join("initialize").display()
        );
    }
    is_lost
}

/// A member whose promises cannot be read says so before it waits for a port.
fn check_epochs(config: &Config) -> Result<(), StartError> {
    if config.ensemble.is_some() {
        EpochFiles::read(&config.data_dir).map_err(StartError::DataDir)?;
    }
    Ok(())
}

/// A seed for hashes of what clients choose.
pub(crate) fn unguessable() -> u64 {
    RandomState::new().hash_one(0)
}

fn recovery_settings(config: &Config) -> RecoverySettings {
    let ensemble = config.ensemble.as_ref();
    RecoverySettings {
        trust_empty: config.snapshot_trust_empty,
        // A member takes the TTL nodes of its leader: it must start with them, too.
        extended_types: config.quorum.extended_types || ensemble.is_some(),
        check_digests: config.quorum.digest,
        seed: unguessable(),
        server_id: server_byte(config),
        removes_orphans: ensemble.is_none(),
        tail: ensemble.map_or((0, 0), |ensemble| {
            (ensemble.synchronization.in_memory as usize, HISTORY_BYTES_MAX)
        }),
    }
}

/// The top byte of the session ids that this server gives out: the low one of `myid`, as Apache
/// has it.
pub(crate) fn server_byte(config: &Config) -> u8 {
    config.ensemble.as_ref().map_or(session::SERVER_ID, |ensemble| ensemble.me.0 as u8)
}

/// The log's settings, with files no longer than the process may write.
fn within_limits(asked: &LogConfig) -> Result<LogConfig, TooLittle> {
    let least = asked.segment_bytes_min();
    let segment_bytes = resources::log_file_bytes(asked.segment_bytes, least)?;
    Ok(LogConfig { segment_bytes, ..asked.clone() })
}

fn open_log(
    config: LogConfig,
    data: &DataDir,
    last: Zxid,
    waker: Arc<WakeHandle>,
) -> Result<Log, StartError> {
    if !config.force_sync {
        warn!(
            "forceSync=no: no write waits for the disk, and a power failure loses writes that \
             were acknowledged"
        );
    }
    let wake = move || {
        panic_if_asked();
        waker.wake();
    };
    let log =
        Log::open(data.logs().to_owned(), config, last, Arc::new(wake)).map_err(StartError::Log)?;
    info!("transaction log: {}", log.way());
    Ok(log)
}

/// The setting decides who may create TTL nodes, and those that there are live on. That is not so
/// on an Apache server.
fn warn_of_ttls(config: &Config, tree: &SharedTree) {
    if !config.quorum.extended_types && tree.read().has_ttls() {
        warn!(
            "there are TTL nodes, and extendedTypesEnabled is off here: set it to true on every \
             server of the ensemble, as an Apache server without it deletes them when it starts, \
             and then has other data than the rest"
        );
    }
}

fn log_place(data: &DataDir) {
    match data.snapshots() == data.logs() {
        true => info!("data: {}", data.snapshots().display()),
        false => info!(
            "data: {}, transaction log: {}",
            data.snapshots().display(),
            data.logs().display()
        ),
    }
}

/// The directory of a member of an ensemble, here with a server on its own: its epoch files keep up
/// with its log, as they must when it is a member again, and the danger is named.
fn settle_epochs(data: &DataDir, last: Zxid) {
    let dir = data.snapshots().display();
    match data.settle_epochs(last, false) {
        Ok(None) => {}
        Ok(Some(epochs)) => warn!(
            "{dir} is that of a member of an ensemble (currentEpoch {}, acceptedEpoch {}), and the \
             other members never see what is written to this server on its own: before it goes \
             back to them, move the directory away, so that it takes everything from the leader",
            epochs.current, epochs.accepted
        ),
        Err(error) => warn!("a member of an ensemble could not start here: {error}"),
    }
}

fn log_recovered(config: &Config, report: &RecoveryReport, tree: &SharedTree, started: Instant) {
    warn_of_ttls(config, tree);
    for (name, why) in &report.rejected {
        warn!("ignoring {name}: {why}");
    }
    for name in &report.passed_over {
        info!("ignoring {name}: whoever wrote it has not finished it");
    }
    if report.bytes_anew > 0 {
        info!(
            "{} KiB of the log were written anew, as nothing proved them to be on the disk",
            report.bytes_anew >> 10
        );
    }
    if let Some(cut) = &report.cut {
        info!("{}: a torn tail was cut at offset {}: {}", cut.file, cut.offset, cut.why);
    }
    if let Some(zxid) = report.first_mismatch {
        warn!(
            "{} digests differ from the tree's, the first at zxid {zxid}: compare with the other \
             copies of this data before you trust it",
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
