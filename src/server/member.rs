//! From the configuration of an ensemble and recovered data to a member of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use log::{info, warn};

use crate::quorum::EnsembleServer;
use crate::quorum::member::{Member, MemberSettings, Observing};
use crate::quorum::recovery::RecoverySettings;
use crate::runtime::datadir::{DataDir, Epochs};
use crate::runtime::ensemble::disk::{Disk, DiskSettings};
use crate::runtime::ensemble::elections::{Elections, ElectionsConfig, Names, Standing};
use crate::runtime::ensemble::member::MemberShell;
use crate::runtime::ensemble::ports::{PeerAddresses, PeerListeners};
use crate::runtime::ensemble::receive_tree::{MemoryKept, ReceiveConfig};
use crate::runtime::lane::WakeHandle;
use crate::runtime::memory::total_memory;
use crate::zab::{Logged, ServerId};
use crate::zxid::Zxid;

use super::config::Config;
use super::config::ensemble::EnsembleConfig;
use super::start_error::StartError;

/// What a member has beside the parts of a server on its own, before it starts.
pub(crate) struct MemberStart {
    pub ensemble: EnsembleConfig,
    pub listeners: PeerListeners,
    pub epochs: Epochs,
    /// The latest records of the log, for learners.
    pub tail: Vec<Logged>,
    /// For the tree after a truncation.
    pub recovery: RecoverySettings,
    /// See [`MemberSettings::is_lost`].
    pub is_lost: bool,
}

impl MemberStart {
    /// A member whose log ends with `last`.
    pub(crate) fn new(
        (ensemble, listeners): (EnsembleConfig, PeerListeners),
        data: &DataDir,
        last: Zxid,
        is_lost: bool,
        tail: Vec<Logged>,
        recovery: RecoverySettings,
    ) -> Result<Self, StartError> {
        let epochs = data.settle_epochs(last, true).map_err(StartError::DataDir)?;
        let none = Epochs { accepted: 0, current: 0 };
        let epochs = epochs.unwrap_or(none);
        Ok(Self { ensemble, listeners, epochs, tail, recovery, is_lost })
    }
}

/// Binds the two ports between servers, and says so.
pub(crate) fn bind(
    ensemble: &EnsembleConfig,
) -> Result<(EnsembleConfig, PeerListeners), StartError> {
    let own = ensemble.membership.server(ensemble.me.0);
    let addresses = PeerAddresses {
        me: ensemble.me,
        own: own.map(|own| own.addresses.clone()).unwrap_or_default(),
        listen_on_all: ensemble.ports.listen_on_all,
        bind_tries: ensemble.ports.bind_tries,
        keep_alive: ensemble.ports.keep_alive,
        observer_master_port: ensemble.observer_master_port(),
    };
    let listeners = PeerListeners::bind(&addresses).map_err(StartError::PeerPort)?;
    let list = |addresses: Vec<String>| addresses.join(", ");
    info!(
        "servers: election port {}, quorum port {}",
        list(listeners.election_addresses().map(|at| at.to_string()).collect()),
        list(listeners.quorum_addresses().map(|at| at.to_string()).collect())
    );
    if ensemble.observer_master_port().is_some() {
        let addresses = listeners.observer_addresses().map(|at| at.to_string()).collect();
        info!("observers are taken at {} while this server follows", list(addresses));
    }
    warn!(
        "the ports between servers are not authenticated: whoever reaches them from the address \
         of a member can take part; keep them within a network that you trust"
    );
    Ok((ensemble.clone(), listeners))
}

/// The member, and what its elections are at. `waker` wakes the quorum core.
pub(crate) fn member(
    config: &Config,
    start: MemberStart,
    data: &DataDir,
    waker: Arc<WakeHandle>,
) -> Result<(MemberShell, Arc<Mutex<Standing>>), StartError> {
    let MemberStart { ensemble, listeners, epochs, tail, recovery, is_lost } = start;
    let ensemble = &ensemble;
    let elections = Elections::start(elections(ensemble), listeners, waker.clone())
        .map_err(StartError::Elections)?;
    let disk_settings =
        DiskSettings { recovery, log_part_max: ensemble.synchronization.log_part_max };
    let disk_waker = waker.clone();
    let disk = Disk::start(data.clone(), disk_settings, Arc::new(move || disk_waker.wake()))
        .map_err(StartError::system("no thread for the disk"))?;
    let server = EnsembleServer {
        me: ensemble.me,
        members: ensemble.members.clone(),
        zab: ensemble.zab,
        syncs: ensemble.synchronization.limits,
        epoch_wait_ms_max: ensemble.epoch_wait_ms_max.map(i64::from),
        accepted_epoch: epochs.accepted,
        current_epoch: epochs.current,
    };
    let seed = recovery.seed;
    let receiving = ReceiveConfig {
        dir: data.snapshots().to_owned(),
        file: config.snapshots.clone(),
        seed,
        memory: MemoryKept::of_machine(ensemble.of_leaders.kept_free(total_memory())),
    };
    let settings = MemberSettings {
        server,
        history_count: ensemble.synchronization.in_memory as usize,
        history_bytes: HISTORY_BYTES_MAX,
        tail,
        is_lost,
        packet_bytes_max: config.quorum.record_bytes_max,
    };
    let standing = elections.standing();
    let member = Member::new(settings);
    let member = match ensemble.members.is_voter(ensemble.me) {
        true if ensemble.observer_master_port().is_some() => member.taking_observers(),
        true => member,
        false => member.observing(observing(ensemble, seed)),
    };
    let shell = MemberShell::new(member, data.clone(), receiving, elections, disk, waker);
    Ok((shell, standing))
}

/// Whom an observer goes to.
fn observing(ensemble: &EnsembleConfig, seed: u64) -> Observing {
    let (reconnect_ms, election_ms) = ensemble.observer_waits_ms_max;
    let pause_ms_max = reconnect_ms.saturating_add(election_ms);
    Observing::new(ensemble.ports.observer_master, ensemble.members.voters(), pause_ms_max, seed)
}

fn elections(ensemble: &EnsembleConfig) -> ElectionsConfig {
    let servers = ensemble.membership.servers.iter();
    let addresses: BTreeMap<_, _> =
        servers.map(|server| (ServerId(server.id), server.addresses.clone())).collect();
    let ports = &ensemble.ports;
    ElectionsConfig {
        me: ensemble.me,
        members: ensemble.members.clone(),
        addresses,
        election: ensemble.election,
        connect_ms: u64::from(ports.connect_ms),
        greeting_ms: ports.greeting_ms,
        leader_ms: (ensemble.connect_ticks * ensemble.zab.tick_ms).unsigned_abs(),
        retry_delay_ms: u64::from(ports.retry_delay_ms),
        probe_ms: ports.probe_ms.map(u64::from),
        keep_alive: ports.keep_alive,
        names_all_addresses: ports.names_all_addresses,
        networks: ports.networks.clone(),
        names: Names::default(),
    }
}

/// Bytes of committed transactions that are kept in memory for learners.
pub(crate) const HISTORY_BYTES_MAX: usize = 64 << 20;
