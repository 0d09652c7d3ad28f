//! What a server of an ensemble knows before it runs: who the members are, which of them it is, and
//! how long they wait for each other.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::limits;
use crate::packet::{Membership, QuorumServer};
use crate::quorum::QuorumConfig;
use crate::runtime::ensemble::elections::Network;
use crate::zab::{
    ElectionSettings, Members, ObserverMasterSettings, ServerId, SyncLimits, ZabSettings,
};

use super::error::ConfigError;
use super::reader::Reader;
use super::sources::Given;
use super::values::parse_int;

/// Every setting that counts in an ensemble only, checked. Field docs name the key; the default is
/// Apache's.
#[derive(Debug, Clone, PartialEq)]
pub struct EnsembleConfig {
    /// `myid`. Invariant: one of `members`.
    pub me: ServerId,
    /// The lines `server.N`, `group.N` and `weight.N`: where each server is.
    pub membership: Membership,
    /// Who votes, and which sets of voters are a quorum: made of `membership`.
    pub members: Members,
    /// `fastleader.minNotificationInterval` and `.maxNotificationInterval`. 200 and 60000.
    pub election: ElectionSettings,
    /// `tickTime`, `initLimit`, `syncLimit`. The limits have no default.
    pub zab: ZabSettings,
    /// `connectToLearnerMasterLimit`, in ticks: how long a learner tries to connect. Default
    /// `initLimit`.
    pub connect_ticks: i64,
    /// The ports between servers.
    pub ports: PeerPorts,
    /// `leaderServes`: whether a leader takes clients. Default yes.
    pub leader_serves: bool,
    /// `localSessionsEnabled`. Default false.
    pub local_sessions: bool,
    /// `localSessionsUpgradingEnabled`. Default false.
    pub local_sessions_upgrading: bool,
    /// `leader.maxTimeToWaitForEpoch`, in milliseconds: how long a leader waits for epochs once a
    /// voter has left it. Default unset (-1): no shorter than `initLimit`.
    pub epoch_wait_ms_max: Option<u32>,
    /// How learners are synchronized.
    pub synchronization: Synchronization,
    /// `observer.syncEnabled`, `syncEnabled`: whether an observer logs what it applies. One that does
    /// not has on its disk the last tree that it took from a leader, and begins with that when it
    /// starts again. Default true.
    pub observer_logs: bool,
    /// `observer.reconnectDelayMs` and `observer.election.DelayMs`: upper ends of an observer's
    /// random waits between two leaders. Default 0 and 0: Apache's 200 keeps load from voters that
    /// has little weight here.
    pub observer_waits_ms_max: (u32, u32),
    /// `db.autocreate`: whether a server with an empty directory may vote. Default true.
    pub empty_votes: bool,
    /// `enableEagerACLCheck`: whether a learner refuses what its own tree forbids. Default false.
    pub eager_acl_check: bool,
    /// What a leader may make this server hold.
    pub of_leaders: LeaderBounds,
}

/// What a leader may make a learner hold, in bytes (B32).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaderBounds {
    /// `ringkeeper.proposalBytesMax`: transactions that wait to be applied. Default: what the servers
    /// may have in process with Apache's limits, and at most half of the memory.
    pub proposal_bytes_max: Option<u64>,
    /// `ringkeeper.memoryKeptFree`: memory that a tree on its way leaves to the machine; 0 is no
    /// bound. Default: a 64th of the memory, at least 32 MiB and at most 512 MiB.
    pub memory_kept_free: Option<u64>,
}

impl LeaderBounds {
    /// What is held of `servers` servers whose records have at most so many bytes, where the memory
    /// is `total`.
    pub(crate) fn proposal_bytes(&self, servers: usize, record_bytes: usize, total: u64) -> u64 {
        let in_process = servers as u64
            * limits::APACHE_OUTSTANDING_REQUESTS as u64
            * (record_bytes + limits::PROPOSAL_BYTES_BESIDE) as u64;
        self.proposal_bytes_max.unwrap_or(in_process.min(total / 2))
    }

    /// What is kept free where the memory is `total`.
    pub(crate) fn kept_free(&self, total: u64) -> u64 {
        self.memory_kept_free.unwrap_or((total / 64).clamp(32 << 20, 512 << 20))
    }
}

/// The settings of connections between servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerPorts {
    /// `quorumListenOnAllIPs`: listen on every address and not on that of the own line. Default
    /// false.
    pub listen_on_all: bool,
    /// `electionPortBindRetry`: tries to bind the election port, a second apart; 0 is without end.
    /// Default 3.
    pub bind_tries: u32,
    /// `cnxTimeout`: how long a connection to the election port may take. Default 5000.
    pub connect_ms: u32,
    /// `quorumCnxnTimeoutMs`: how long the first message there may take. Default `syncLimit` ticks.
    pub greeting_ms: i64,
    /// `tcpKeepAlive`. Default false.
    pub keep_alive: bool,
    /// `multiAddress.enabled`: whether the first message names all addresses (version 2). Default
    /// false.
    pub names_all_addresses: bool,
    /// `multiAddress.reachabilityCheckEnabled`, `.reachabilityCheckTimeoutMs`: how long each address
    /// of a server that has several may take to answer before another one is dialled; `None` is
    /// that none is asked. Default 1000.
    pub probe_ms: Option<u32>,
    /// `leaderConnectDelayDuringRetryMs`: between two tries to connect to a leader. Default 100.
    pub retry_delay_ms: u32,
    /// `observerMasterPort`: where a follower takes observers, and where an observer looks for one.
    /// Default none: observers go to the leader.
    pub observer_master: Option<u16>,
    /// `ringkeeper.peerNetworks`: any member may call from an address of one of these, and not only
    /// from one that its line names. Default none.
    pub networks: Vec<Network>,
}

/// The settings of synchronization.
#[derive(Debug, Clone, PartialEq)]
pub struct Synchronization {
    /// `commitLogCount`: transactions that are kept in memory for it, at least 500. Default 500.
    pub in_memory: u32,
    /// `snapshotSizeFactor`: the log is read for it up to this part of a snapshot's size, 0 is
    /// without bound; `None` (below 0) is not at all. Default 0.33.
    pub log_part_max: Option<f64>,
    /// `forceSnapshotSync`: always by SNAP. Default false.
    pub always_snap: bool,
    /// `observerMaster.sizeLimit`: bytes of transactions that a follower keeps in memory for its
    /// observers. Default 32 MiB.
    pub observer_history_bytes: u32,
    /// `leader.maxConcurrentSnapSyncs` and `leader.maxConcurrentDiffSyncs`: how many learners are
    /// synchronized at a time, before an observer has to wait. 10 and 100.
    pub limits: SyncLimits,
}

impl EnsembleConfig {
    /// Reads and checks what an ensemble needs; `my_id` is the number in the file `myid_path`.
    pub(crate) fn read(
        membership: Membership,
        my_id: Option<i64>,
        myid_path: PathBuf,
        tick_ms: i32,
        reader: &mut Reader<'_>,
    ) -> Result<Self, ConfigError> {
        refuse_what_is_unsafe(reader)?;
        let zab = ZabSettings {
            tick_ms: i64::from(tick_ms),
            init_ticks: limit(reader, "initLimit")?,
            sync_ticks: limit(reader, "syncLimit")?,
        };
        let me = my_id.ok_or(ConfigError::NoMyId { path: myid_path.clone() })?;
        let own = membership.server(me).ok_or_else(|| ConfigError::NotAMember {
            id: me,
            path: myid_path,
            ids: membership.servers.iter().map(|server| server.id).collect(),
        })?;
        check_addresses(&membership, reader)?;
        note_role(own, reader);
        note_members(&membership, reader);
        let members = Members::try_from(&membership).map_err(ConfigError::Members)?;
        let connect_ticks = i64::from(reader.int("connectToLearnerMasterLimit", 0));
        Ok(Self {
            me: ServerId(me),
            members,
            membership,
            election: read_election(reader),
            zab,
            connect_ticks: if connect_ticks > 0 { connect_ticks } else { zab.init_ticks },
            ports: read_ports(&zab, reader)?,
            leader_serves: reader.word("leaderServes", "no", "only the word no turns it off")
                != "no",
            local_sessions: reader.bool("localSessionsEnabled", false),
            local_sessions_upgrading: reader.bool("localSessionsUpgradingEnabled", false),
            epoch_wait_ms_max: reader.count_or_off("leader.maxTimeToWaitForEpoch"),
            synchronization: read_synchronization(reader),
            observer_logs: {
                let of_file = reader.bool("syncEnabled", true);
                reader.bool("observer.syncEnabled", of_file)
            },
            observer_waits_ms_max: (
                reader.count("observer.reconnectDelayMs", 0),
                reader.count("observer.election.DelayMs", 0),
            ),
            empty_votes: reader.bool("db.autocreate", true),
            eager_acl_check: reader.bool("enableEagerACLCheck", false),
            of_leaders: LeaderBounds {
                proposal_bytes_max: reader
                    .size("ringkeeper.proposalBytesMax")
                    .filter(|max| *max > 0),
                memory_kept_free: reader.size("ringkeeper.memoryKeptFree"),
            },
        })
    }

    /// Sets what the quorum machine must know of these. The memory is `total`.
    pub(crate) fn set(&self, quorum: &mut QuorumConfig, total: u64) {
        let (servers, record_bytes) = (self.membership.servers.len(), quorum.record_bytes_max);
        quorum.proposal_bytes_max = self.of_leaders.proposal_bytes(servers, record_bytes, total);
        quorum.leader_serves = self.leader_serves;
        quorum.local_sessions = self.local_sessions;
        quorum.local_sessions_upgrading = self.local_sessions_upgrading;
        quorum.eager_acl_check = self.eager_acl_check;
        quorum.always_snap = self.synchronization.always_snap;
        quorum.observer_master = self.observer_master();
        quorum.observer_logs = self.observer_logs;
    }

    /// Where this server takes observers while it follows, if it does.
    pub fn observer_master_port(&self) -> Option<u16> {
        self.ports.observer_master.filter(|_| self.members.is_voter(self.me))
    }

    /// How this server serves observers while it follows, if it does.
    fn observer_master(&self) -> Option<ObserverMasterSettings> {
        let Synchronization { observer_history_bytes, always_snap, limits, .. } =
            self.synchronization;
        self.observer_master_port()?;
        let history_bytes = observer_history_bytes as usize;
        Some(ObserverMasterSettings { history_bytes, always_snap, limits })
    }

    /// The servers that vote.
    pub fn voters(&self) -> usize {
        self.members.voters().count()
    }
}

/// Whether the configuration is that of an ensemble, as Apache tells it; a server runs alone
/// otherwise.
pub(crate) fn is_ensemble(
    membership: &Membership,
    standalone_enabled: bool,
) -> Result<bool, ConfigError> {
    let voters = membership.servers.iter().filter(|server| server.votes).count();
    let observers = membership.servers.len() - voters;
    match voters {
        0 if !standalone_enabled => Err(ConfigError::NoVoters),
        0 if observers > 0 => Err(ConfigError::Observers),
        1 if observers > 0 && standalone_enabled => Err(ConfigError::Observers),
        0 => Ok(false),
        1 => Ok(!standalone_enabled),
        _ => Ok(true),
    }
}

/// Whether an address stands for all of the machine's.
pub(crate) fn is_any_address(host: &str) -> bool {
    matches!(host, "" | "0.0.0.0" | "::" | "[::]" | "0:0:0:0:0:0:0:0")
}

/// The version of the membership in a dynamic file: the hexadecimal end of its name. Without one it
/// is 0.
pub(crate) fn version_of_name(path: &Path) -> i64 {
    let name = path.to_string_lossy();
    let end = name.rsplit_once('.').map(|(_, end)| end);
    end.and_then(|end| i64::from_str_radix(end, 16).ok()).unwrap_or(0)
}

/// Refuses what would leave the servers without a protection that was asked for, or with another
/// idea of a quorum than the others have.
fn refuse_what_is_unsafe(reader: &Reader<'_>) -> Result<(), ConfigError> {
    let is_given = |key| reader.text(key).is_some_and(is_on);
    for (key, what) in
        [("sslQuorum", "TLS between servers"), ("quorum.auth.enableSasl", "SASL between servers")]
    {
        if is_given(key) {
            return Err(ConfigError::PeerSecurity { key, what });
        }
    }
    match reader.text("oraclePath") {
        Some(path) if !path.is_empty() => Err(ConfigError::Oracle),
        _ => Ok(()),
    }
}

fn limit(reader: &mut Reader<'_>, key: &'static str) -> Result<i64, ConfigError> {
    match reader.int(key, 0) {
        0 => Err(ConfigError::NoLimit { key }),
        ticks if ticks < 0 => {
            let value = i64::from(ticks);
            Err(ConfigError::OutOfRange { key, value, range: "above 0 (ticks of tickTime)" })
        }
        ticks => Ok(i64::from(ticks)),
    }
}

fn check_addresses(membership: &Membership, reader: &Reader<'_>) -> Result<(), ConfigError> {
    let allowed = reader.system_property("zookeeper.multiAddress.enabled");
    if allowed.is_some_and(|given| given.value.eq_ignore_ascii_case("true")) {
        return Ok(());
    }
    match membership.servers.iter().find(|server| server.addresses.len() > 1) {
        Some(server) => Err(ConfigError::MultiAddress { id: server.id }),
        None => Ok(()),
    }
}

/// The place where a server's line stands, for notices.
fn place<'a>(reader: &Reader<'a>, id: i64) -> Option<&'a Given> {
    reader.given("dynamicConfigFile").or_else(|| reader.given(&format!("server.{id}")))
}

/// The role of the own line counts; `peerType` must not say another one.
fn note_role(own: &QuorumServer, reader: &mut Reader<'_>) {
    let is_observer = |text: &str| text.eq_ignore_ascii_case("observer");
    match (own.votes, reader.given("peerType")) {
        (true, Some(given)) if is_observer(&given.value) => {
            let text = format!(
                "the line of server {id} says participant, which counts; write :observer at its \
                 end on every server, or take peerType out",
                id = own.id
            );
            reader.warn(given, text);
        }
        (false, None) => {
            let Some(given) = place(reader, own.id) else { return };
            let text = format!(
                "server {} is an observer by its line, which counts; write peerType=observer as \
                 well",
                own.id
            );
            reader.warn(given, text);
        }
        (false, Some(given)) if !is_observer(&given.value) => {
            let text = format!(
                "the line of server {} says observer, which counts; write peerType=observer",
                own.id
            );
            reader.warn(given, text);
        }
        _ => {}
    }
}

fn note_members(membership: &Membership, reader: &mut Reader<'_>) {
    let voters = membership.servers.iter().filter(|server| server.votes).count();
    let first = membership.servers.first().map_or(0, |server| server.id);
    if let Some(given) = place(reader, first) {
        if voters <= 2 {
            let text = "no voter may fail; an ensemble that survives one failure needs 3 of them";
            reader.warn(given, text);
        } else if voters.is_multiple_of(2) && membership.hierarchy.is_none() {
            let text = format!(
                "{voters} voters survive no more failures than {} do; use an odd number",
                voters - 1
            );
            reader.warn(given, text);
        }
    }
    note_addresses(membership, reader);
    for server in membership.servers.iter().filter(|server| !(0..=255).contains(&server.id)) {
        let Some(given) = place(reader, server.id) else { continue };
        let text = format!(
            "session ids hold the last 8 bits of a server's id, so that {} may share its ids with \
             another one; use 0 to 255",
            server.id
        );
        reader.warn(given, text);
    }
    for (id, _) in membership.hierarchy.iter().flat_map(|hierarchy| &hierarchy.weights) {
        if membership.server(*id).is_some_and(|server| server.votes) {
            continue;
        }
        let given =
            reader.given(&format!("weight.{id}")).or_else(|| reader.given("dynamicConfigFile"));
        if let Some(given) = given {
            reader.warn(given, format!("server {id} does not vote, so its weight does not count"));
        }
    }
}

fn is_on(value: &str) -> bool {
    value.eq_ignore_ascii_case("true")
}

/// Two servers cannot be reached at one address.
fn note_addresses(membership: &Membership, reader: &mut Reader<'_>) {
    let mut taken: BTreeMap<(String, u16), i64> = BTreeMap::new();
    for server in &membership.servers {
        let peers = server.addresses.iter().flat_map(|address| {
            [address.quorum_port, address.election_port].map(|port| (address.host.as_str(), port))
        });
        let client =
            server.client.iter().filter_map(|client| Some((client.host.as_deref()?, client.port)));
        for (host, port) in peers.chain(client).filter(|(host, _)| !is_any_address(host)) {
            let other = *taken.entry((host.to_ascii_lowercase(), port)).or_insert(server.id);
            if other == server.id {
                continue;
            }
            let Some(given) = place(reader, server.id) else { continue };
            let text = format!(
                "{host}:{port} of server {} is an address of server {other} as well; give each \
                 its own",
                server.id
            );
            reader.warn(given, text);
        }
    }
}

fn read_election(reader: &mut Reader<'_>) -> ElectionSettings {
    let default = ElectionSettings::default();
    let mut interval = |key, default: i64| i64::from(reader.at_least(key, default as u32, 1));
    ElectionSettings {
        interval_ms_min: interval("fastleader.minNotificationInterval", default.interval_ms_min),
        interval_ms_max: interval("fastleader.maxNotificationInterval", default.interval_ms_max),
        ..default
    }
}

fn read_ports(zab: &ZabSettings, reader: &mut Reader<'_>) -> Result<PeerPorts, ConfigError> {
    // The one property that Apache does not start with if it is no number.
    let key = "cnxTimeout";
    let connect_ms = match reader.text(key) {
        None => CONNECT_MS,
        Some(text) => parse_int(text).and_then(|ms| u32::try_from(ms).ok()).ok_or_else(|| {
            ConfigError::NotANumber { key: key.to_owned(), value: text.to_owned() }
        })?,
    };
    let greeting_ms = i64::from(reader.int("quorumCnxnTimeoutMs", -1));
    let key = "electionPortBindRetry";
    let bind_tries = u32::try_from(reader.int(key, 3)).unwrap_or_else(|_| {
        if let Some(given) = reader.given(key) {
            reader.warn(given, "must be 0 (without end) or more; 3 is used");
        }
        3
    });
    let by_property = reader.system_property("zookeeper.multiAddress.enabled");
    let by_property = by_property.is_some_and(|given| given.value.eq_ignore_ascii_case("true"));
    Ok(PeerPorts {
        listen_on_all: reader.bool("quorumListenOnAllIPs", false),
        bind_tries,
        connect_ms,
        greeting_ms: if greeting_ms > 0 { greeting_ms } else { zab.sync_ticks * zab.tick_ms },
        keep_alive: reader.bool("tcpKeepAlive", false),
        names_all_addresses: reader.bool("multiAddress.enabled", by_property),
        probe_ms: {
            let is_on = reader.bool("multiAddress.reachabilityCheckEnabled", true);
            let ms = reader.count("multiAddress.reachabilityCheckTimeoutMs", PROBE_MS);
            is_on.then_some(ms)
        },
        retry_delay_ms: reader.count("leaderConnectDelayDuringRetryMs", 100),
        observer_master: read_observer_master_port(reader)?,
        networks: read_networks(reader)?,
    })
}

fn read_observer_master_port(reader: &mut Reader<'_>) -> Result<Option<u16>, ConfigError> {
    let key = "observerMasterPort";
    match reader.int(key, 0) {
        port if port <= 0 => Ok(None),
        port => match u16::try_from(port) {
            Ok(port) => Ok(Some(port)),
            Err(_) => Err(ConfigError::OutOfRange { key, value: port.into(), range: "1 to 65535" }),
        },
    }
}

/// What is no network is refused: passed over, members might be kept out for ever.
fn read_networks(reader: &mut Reader<'_>) -> Result<Vec<Network>, ConfigError> {
    let key = "ringkeeper.peerNetworks";
    let text = reader.text(key).unwrap_or_default();
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    let networks: Result<Vec<Network>, ConfigError> = words
        .map(|word| word.parse().map_err(|_| ConfigError::NotANetwork { word: word.to_owned() }))
        .collect();
    let networks = networks?;
    if let Some(given) = reader.given(key).filter(|_| !networks.is_empty()) {
        let text = "whoever calls from these networks may take part as any member: keep them to \
                    machines that you trust";
        reader.warn(given, text);
    }
    Ok(networks)
}

fn read_synchronization(reader: &mut Reader<'_>) -> Synchronization {
    let factor = reader.double("snapshotSizeFactor", SNAPSHOT_SIZE_FACTOR);
    let factor = match reader.given("snapshotSizeFactor") {
        Some(given) if factor > 1.0 => {
            reader.warn(given, format!("must be 1 or less; {SNAPSHOT_SIZE_FACTOR} is used"));
            SNAPSHOT_SIZE_FACTOR
        }
        _ => factor,
    };
    Synchronization {
        in_memory: reader.at_least("commitLogCount", COMMIT_LOG_COUNT, COMMIT_LOG_COUNT),
        log_part_max: (factor >= 0.0).then_some(factor),
        always_snap: reader.bool("forceSnapshotSync", false),
        observer_history_bytes: reader.count("observerMaster.sizeLimit", 32 << 20),
        limits: SyncLimits {
            snaps: reader.at_least("leader.maxConcurrentSnapSyncs", SNAPS_MAX, 1) as usize,
            diffs: reader.at_least("leader.maxConcurrentDiffSyncs", DIFFS_MAX, 1) as usize,
        },
    }
}

/// In milliseconds.
const CONNECT_MS: u32 = 5000;
const PROBE_MS: u32 = 1000;
const COMMIT_LOG_COUNT: u32 = 500;
const SNAPSHOT_SIZE_FACTOR: f64 = 0.33;
const SNAPS_MAX: u32 = 10;
const DIFFS_MAX: u32 = 100;

#[cfg(test)]
mod tests;
