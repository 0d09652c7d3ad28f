//! The settings of a server: one field per setting, in the unit its name says, checked
//! and resolved.
//!
//! A setting of a part of the server stands in that part's own configuration, with its default;
//! the rest stands here. The few that several parts need (the tick, ACLs, the digest, the longest
//! record) are read once and written into each. At the start each part is given its own, and only
//! what the machine decides is added: how many shards there are, and the directories.
//!
//! Field docs name the key; where it can be read from is in [`super::keys`]. Plain data: it opens,
//! binds and allocates nothing.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::frontend::FrontendConfig;
use crate::limits;
use crate::quorum::QuorumConfig;
use crate::runtime::log::LogConfig;
use crate::runtime::snapshotter::SnapshotterConfig;

use super::ensemble::EnsembleConfig;

/// Every setting of a server. Built by [`super::load`]; [`Config::with_defaults`] holds
/// Apache's defaults.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The configuration file as it was given; `None` without one.
    pub file: Option<PathBuf>,
    /// `clientPort`: TCP port for clients; 0 lets the kernel choose one.
    pub client_port: u16,
    /// `clientPortAddress`: host name or address to listen on, an IPv6 address also in brackets.
    /// `0.0.0.0` is every IPv4 address, `::` every address; `None` is every address of the families
    /// that the kernel has.
    pub client_host: Option<String>,
    /// `clientPortListenBacklog`: the accept queue's length; `None` leaves it to the kernel's
    /// limit. Default unset (-1).
    pub listen_backlog: Option<u32>,
    /// `dataDir`: snapshots go to its `version-2`.
    pub data_dir: PathBuf,
    /// `dataLogDir`: logs go to its `version-2`. Default `dataDir`.
    pub data_log_dir: PathBuf,
    /// `datadir.autocreate`: make missing directories. Default true.
    pub data_dir_autocreate: bool,
    /// `maxClientCnxns`: connections from one address; 0 is no limit. Default 60; 0 when started as
    /// `port datadir`.
    pub max_client_cnxns: u32,
    /// `maxCnxns`: connections in all; 0 is as many as the limit of open files leaves room for.
    /// Default 0.
    pub max_cnxns: u32,
    /// `clientTcpKeepAlive`. Default false.
    pub client_tcp_keep_alive: bool,
    /// `4lw.commands.whitelist`: the four-letter words that are answered. Always `srvr`; `*` is
    /// all. Default `srvr`.
    pub words: WordList,
    /// `readonlymode.enabled`: on a standalone server it only allows the word `isro`. Default
    /// false.
    pub read_only_mode: bool,
    /// `fsync.warningthresholdms`: a flush that takes longer is reported. Default 1000.
    pub fsync_warning_ms: u64,
    /// `snapshot.trust.empty`: start from logs alone when no snapshot is there. Default false.
    pub snapshot_trust_empty: bool,
    /// `autopurge.*`.
    pub autopurge: Autopurge,
    /// The settings of the quorum machine.
    pub quorum: QuorumConfig,
    /// The settings of each shard's frontend.
    pub frontend: FrontendConfig,
    /// The settings of the transaction log.
    pub log: LogConfig,
    /// The settings of snapshots.
    pub snapshots: SnapshotterConfig,
    /// Ringkeeper's own.
    pub cores: CoreSettings,
    /// The settings of the log of what the server says.
    pub logging: LoggingSettings,
    /// The settings of a server of an ensemble; none of one that runs alone.
    pub ensemble: Option<EnsembleConfig>,
}

/// Which four-letter words are answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WordList {
    /// `*`.
    All,
    /// These.
    Some(BTreeSet<String>),
}

impl WordList {
    /// Reads the whitelist as Apache does: words between commas, `*` for all, `srvr` always.
    pub fn parse(list: &str, read_only_mode: bool) -> Self {
        let words = || list.split(',').map(super::properties::trim);
        if words().any(|word| word == "*") {
            return Self::All;
        }
        let mut allowed: BTreeSet<String> =
            words().filter(|word| !word.is_empty()).map(str::to_owned).collect();
        allowed.insert("srvr".to_owned());
        if read_only_mode {
            allowed.insert("isro".to_owned());
        }
        Self::Some(allowed)
    }

    /// Whether this word is answered.
    pub fn allows(&self, word: &str) -> bool {
        match self {
            Self::All => true,
            Self::Some(words) => words.contains(word),
        }
    }
}

/// `autopurge.*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Autopurge {
    /// `autopurge.snapRetainCount`, at least 3: snapshots kept, with the logs after the oldest of
    /// them. Default 3.
    pub retain: u32,
    /// `autopurge.purgeInterval`, hours in the file, here seconds (3.10's suffixes ms, s, m, h, d
    /// are understood); `None` is off. Default off (0).
    pub interval_s: Option<u64>,
}

/// Ringkeeper's own settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoreSettings {
    /// `ringkeeper.shards`: executors that own sessions; 0 chooses by the cores there are. Default
    /// 0.
    pub shards: u32,
    /// `ringkeeper.cores`: the cores to use, as `0-3,6`; empty is every core the process may run
    /// on. Default empty.
    pub cores: Vec<u32>,
    /// `ringkeeper.placement`. Default `auto`.
    pub placement: PlacementPolicy,
}

/// `ringkeeper.placement`: who shares a core with whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlacementPolicy {
    /// `auto`: `shared` on one or two cores, else `dedicated`.
    Auto,
    /// `shared`: the quorum core and one shard are on the same executor.
    Shared,
    /// `dedicated`: the quorum core has a core to itself.
    Dedicated,
    /// `unpinned`: executors are left to the kernel's scheduler.
    Unpinned,
}

/// The log of what the server says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoggingSettings {
    /// `ringkeeper.log.format`. Default `text`.
    pub format: LineFormat,
    /// `ringkeeper.log.file`: appended to, and opened again at SIGHUP. Default none: standard error.
    pub file: Option<PathBuf>,
    /// `ringkeeper.log.level`: as `info,frontend=debug`. Default empty, which is info.
    pub level: String,
}

/// `ringkeeper.log.format`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LineFormat {
    /// `text`: as Apache's.
    #[default]
    Text,
    /// `json`: one object a line.
    Json,
}

impl Config {
    /// Apache's defaults for a data directory and a port; session timeouts follow the tick.
    pub fn with_defaults(data_dir: PathBuf, client_port: u16, tick_ms: i32) -> Self {
        let ticks = |count: i64| tick_ms.saturating_mul(count as i32);
        Self {
            file: None,
            client_port,
            client_host: None,
            listen_backlog: None,
            data_log_dir: data_dir.clone(),
            data_dir,
            data_dir_autocreate: true,
            max_client_cnxns: limits::CONNECTIONS_PER_ADDRESS_MAX,
            max_cnxns: 0,
            client_tcp_keep_alive: false,
            words: WordList::parse("", false),
            read_only_mode: false,
            fsync_warning_ms: 1000,
            snapshot_trust_empty: false,
            autopurge: Autopurge { retain: 3, interval_s: None },
            quorum: QuorumConfig { tick_ms: i64::from(tick_ms), ..QuorumConfig::default() },
            frontend: FrontendConfig {
                tick_ms: i64::from(tick_ms),
                session_timeout_ms_min: ticks(limits::SESSION_TIMEOUT_TICKS_MIN),
                session_timeout_ms_max: ticks(limits::SESSION_TIMEOUT_TICKS_MAX),
                ..FrontendConfig::default()
            },
            log: LogConfig::default(),
            snapshots: SnapshotterConfig::default(),
            logging: LoggingSettings::default(),
            cores: CoreSettings { shards: 0, cores: Vec::new(), placement: PlacementPolicy::Auto },
            ensemble: None,
        }
    }
}
