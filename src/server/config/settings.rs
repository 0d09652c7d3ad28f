//! The settings of a standalone server: one field per setting, in the unit its name says, checked
//! and resolved.
//!
//! Field docs name the key; where it can be read from is in [`super::keys`]. Plain data: it opens,
//! binds and allocates nothing.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::secret::Secret;
use crate::acl::DigestAlgorithm;
use crate::limits;
use crate::quorum::QuorumConfig;
use crate::runtime::log::LogMode;

/// Every setting of a standalone server. Built by [`super::load`]; [`Config::with_defaults`] holds
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
    /// `tickTime`, ms, above 0: the length of a session-expiry bucket. Default 3000, or 2000
    /// without a configuration file.
    pub tick_ms: i32,
    /// `minSessionTimeout`, ms. Default twice the tick.
    pub min_session_timeout_ms: i32,
    /// `maxSessionTimeout`, ms, not below the minimum. Default twenty ticks.
    pub max_session_timeout_ms: i32,
    /// `maxClientCnxns`: connections from one address; 0 is no limit. Default 60; 0 when started as
    /// `port datadir`.
    pub max_client_cnxns: u32,
    /// `maxCnxns`: connections in all; 0 is as many as the limit of open files leaves room for.
    /// Default 0.
    pub max_cnxns: u32,
    /// `nio.sessionlessCnxnTimeout`, ms: how long a connection may stay without a session. Default
    /// 10000.
    pub sessionless_timeout_ms: u32,
    /// `clientTcpKeepAlive`. Default false.
    pub client_tcp_keep_alive: bool,
    /// `4lw.commands.whitelist`: the four-letter words that are answered. Always `srvr`; `*` is
    /// all. Default `srvr`.
    pub words: WordList,
    /// `readonlymode.enabled`: on a standalone server it only allows the word `isro`. Default
    /// false.
    pub read_only_mode: bool,
    /// `globalOutstandingLimit`: requests being processed before connections are no longer read.
    /// Default 1000.
    pub global_outstanding_limit: u32,
    /// `jute.maxbuffer`, bytes: the longest frame a client may send. Default 1048575.
    pub jute_max_buffer: u32,
    /// `jute.maxbuffer.extrasize`, bytes, at least 1024: how much longer a buffer inside a record
    /// may be than a frame. Default as long as `jute.maxbuffer`.
    pub jute_extra_bytes: u32,
    /// `largeRequestMaxBytes`: bytes of large requests in flight together. Default 104857600.
    pub large_request_max_bytes: u32,
    /// `largeRequestThreshold`, bytes: from where on a request is large; `None` is off. Default off
    /// (-1).
    pub large_request_threshold: Option<u32>,
    /// `preAllocSize`, KiB in the file, here bytes: steps in which a log grows. Default 64 MiB.
    pub pre_alloc_bytes: u64,
    /// `txnLogSizeLimitInKb`, here bytes: a log is closed above this size; `None` is never. Default
    /// never (-1).
    pub txn_log_size_limit_bytes: Option<u64>,
    /// `forceSync`: flush the log before a write is acknowledged. Default true; only the word `no`
    /// turns it off.
    pub force_sync: bool,
    /// `ringkeeper.log`: how groups of log entries get to the disk.
    pub log_mode: LogMode,
    /// `fsync.warningthresholdms`: a flush that takes longer is reported. Default 1000.
    pub fsync_warning_ms: u64,
    /// `snapshot.compression.method`. Default none.
    pub snapshot_compression: Compression,
    /// `snapshot.trust.empty`: start from logs alone when no snapshot is there. Default false.
    pub snapshot_trust_empty: bool,
    /// `serializeLastProcessedZxid.enabled`: append the zxid to a snapshot (3.9's trailer). Default
    /// true.
    pub serialize_last_processed_zxid: bool,
    /// `digest.enabled`: keep and write the tree's digest. Default true.
    pub digest_enabled: bool,
    /// `autopurge.*`.
    pub autopurge: Autopurge,
    /// What the quorum machine runs by: `snapCount` (at least 2), `snapSizeLimitInKb`,
    /// `closeSessionTxn.enabled`, `extendedTypesEnabled`, `enforceQuota`, `reconfigEnabled`,
    /// `znode.container.*`. Each has its default there. What other parts need as well (tick,
    /// limits, digest, ACL, shards) stands in this struct and is put in at the start.
    pub quorum: QuorumConfig,
    /// `skipACL`: check no ACL at all. Default false; only the word `yes` turns it on.
    pub skip_acl: bool,
    /// `DigestAuthenticationProvider.superDigest`: `super:<hash>` that may do everything. Default
    /// none.
    pub super_digest: Option<Secret>,
    /// `DigestAuthenticationProvider.digestAlg`: the hash of that scheme. Default SHA-1.
    pub digest_algorithm: DigestAlgorithm,
    /// `DigestAuthenticationProvider.enabled`: know the scheme digest. Default true.
    pub digest_scheme_enabled: bool,
    /// `sessionRequireClientSASLAuth` and `enforce.auth.*`: schemes of which a session must have
    /// proven one before anything else is answered; empty is off. Without SASL, `sasl` in it shuts
    /// every client out.
    pub required_auth_schemes: BTreeSet<String>,
    /// Ringkeeper's own.
    pub cores: CoreSettings,
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

/// The compression of snapshots; also decides the file name's ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// `gz`.
    Gzip,
    /// `snappy`.
    Snappy,
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

impl Config {
    /// Apache's defaults for a data directory and a port; session timeouts follow the tick.
    pub fn with_defaults(data_dir: PathBuf, client_port: u16, tick_ms: i32) -> Self {
        Self {
            file: None,
            client_port,
            client_host: None,
            listen_backlog: None,
            data_log_dir: data_dir.clone(),
            data_dir,
            data_dir_autocreate: true,
            tick_ms,
            min_session_timeout_ms: tick_ms
                .saturating_mul(limits::SESSION_TIMEOUT_TICKS_MIN as i32),
            max_session_timeout_ms: tick_ms
                .saturating_mul(limits::SESSION_TIMEOUT_TICKS_MAX as i32),
            max_client_cnxns: limits::CONNECTIONS_PER_ADDRESS_MAX,
            max_cnxns: 0,
            sessionless_timeout_ms: 10_000,
            client_tcp_keep_alive: false,
            words: WordList::parse("", false),
            read_only_mode: false,
            global_outstanding_limit: limits::OUTSTANDING_REQUESTS_MAX as u32,
            jute_max_buffer: limits::FRAME_BYTES_MAX as u32,
            jute_extra_bytes: (limits::RECORD_BYTES_MAX - limits::FRAME_BYTES_MAX) as u32,
            large_request_max_bytes: 100 * 1024 * 1024,
            large_request_threshold: None,
            pre_alloc_bytes: limits::LOG_PREALLOC_BYTES,
            txn_log_size_limit_bytes: None,
            force_sync: true,
            log_mode: LogMode::DEFAULT,
            fsync_warning_ms: 1000,
            snapshot_compression: Compression::None,
            snapshot_trust_empty: false,
            serialize_last_processed_zxid: true,
            digest_enabled: true,
            autopurge: Autopurge { retain: 3, interval_s: None },
            quorum: QuorumConfig::default(),
            skip_acl: false,
            super_digest: None,
            digest_algorithm: DigestAlgorithm::Sha1,
            digest_scheme_enabled: true,
            required_auth_schemes: BTreeSet::new(),
            cores: CoreSettings { shards: 0, cores: Vec::new(), placement: PlacementPolicy::Auto },
        }
    }
}
