//! The reports that the words are made of: plain values, gathered by the server before it asks for
//! an answer.
//!
//! Times are milliseconds; session ids and zxids are the signed numbers of the wire and print as
//! 16-digit two's complement.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::frontend::{ConnectionReport, Latency, LatencySpread, ShardCounts, WatchReport};
use crate::quorum::{Durations, RoleFigures};

/// Everything any word may need; [`super::Needs`] says what one word reads, the rest may stay at
/// its default.
#[derive(Debug, Clone, Default)]
pub struct Reports {
    /// Whether requests are being served; when not, most words say so instead.
    pub serving: bool,
    /// `gtmk`: the trace mask as it is after any `stmk` (Apache's default is 306).
    pub trace_mask: i64,
    /// Counts and positions of the whole server.
    pub server: ServerReport,
    /// `conf`.
    pub conf: ConfReport,
    /// `dirs`, `conf`.
    pub sizes: SizeReport,
    /// `cons`, `stat`: every connection, the asking one included.
    pub connections: Vec<ConnectionReport>,
    /// `dump`: the buckets of sessions.
    pub sessions: SessionReport,
    /// `dump`: ephemeral paths by owner.
    pub ephemerals: Vec<(i64, Vec<String>)>,
    /// `dump`: when connections are given up.
    pub connection_expiry: Vec<ConnExpiry>,
    /// `wchs`, `wchc`, `wchp`: the data watches of all shards. Child watches are not in it.
    pub watches: WatchReport,
    /// `mntr`.
    pub monitor: MonitorReport,
    /// `hash`: zxid and digest of the tree at every 128th zxid, oldest first.
    pub digests: Vec<(i64, i64)>,
    /// `envi`.
    pub process: ProcessReport,
}

/// Counts and positions of the whole server.
#[derive(Debug, Clone, Default)]
pub struct ServerReport {
    /// The server's role.
    pub mode: Mode,
    /// Time from a request's arrival to its reply, since the start or the last `srst`.
    pub latency_ms: Summary,
    /// Packets received from clients, likewise; a word counts as one.
    pub packets_received: u64,
    /// Packets sent to clients, likewise.
    pub packets_sent: u64,
    /// Open client connections, the asking one included.
    pub connections: u64,
    /// Requests taken in and not yet answered.
    pub outstanding: u64,
    /// The last zxid applied.
    pub last_zxid: i64,
    /// Znodes as Apache counts them: the root counts twice (a fresh tree has 5).
    pub node_count: u64,
    /// Leader only: bytes of proposals.
    pub proposal_sizes: Option<ProposalSizes>,
}

/// A server's role, in the words that exporters look for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// On its own.
    #[default]
    Standalone,
    /// Leads an ensemble.
    Leader,
    /// Follows a leader and votes.
    Follower,
    /// Follows a leader without a vote.
    Observer,
    /// Cut off from its quorum, serving reads to clients that allow it.
    ReadOnly,
    /// Without a leader, and not read-only: most words say that it does not serve.
    Looking,
}

impl Mode {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Standalone => "standalone",
            Self::Leader => "leader",
            Self::Follower => "follower",
            Self::Observer => "observer",
            Self::ReadOnly => "read-only",
            Self::Looking => "leaderelection",
        }
    }
}

/// Bytes of the leader's proposals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProposalSizes {
    /// Of the last one; -1 before the first.
    pub last: i64,
    /// Of the smallest; -1 before the first.
    pub min: i64,
    /// Of the largest; -1 before the first.
    pub max: i64,
}

/// A measured series. All zero before the first point.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Points.
    pub count: u64,
    /// Their sum.
    pub sum: u64,
    /// The smallest.
    pub min: u64,
    /// The largest.
    pub max: u64,
    /// Half of the points are at or below it.
    pub p50: u64,
    /// 95 % are.
    pub p95: u64,
    /// 99 % are.
    pub p99: u64,
    /// 99.9 % are.
    pub p999: u64,
}

impl Summary {
    /// Before the first point.
    pub const NONE: Self =
        Self { count: 0, sum: 0, min: 0, max: 0, p50: 0, p95: 0, p99: 0, p999: 0 };

    /// Adds a point to a series whose quantiles are not shown.
    pub fn add(&mut self, value: u64) {
        self.min = if self.count == 0 { value } else { self.min.min(value) };
        self.max = self.max.max(value);
        self.sum += value;
        self.count += 1;
    }
}

/// `conf`: settings as they are in force.
#[derive(Debug, Clone, Default)]
pub struct ConfReport {
    /// The port that is bound.
    pub client_port: u16,
    /// Absolute, with `version-2`.
    pub data_dir: PathBuf,
    /// Absolute, with `version-2`.
    pub data_log_dir: PathBuf,
    /// Length of a tick.
    pub tick_ms: i64,
    /// Connections per address; 0 is no limit.
    pub max_client_cnxns: u32,
    /// Shortest session timeout.
    pub min_session_timeout_ms: i32,
    /// Longest session timeout.
    pub max_session_timeout_ms: i32,
    /// The accept queue; `None` prints as -1.
    pub listen_backlog: Option<u32>,
    /// 0 on a standalone server.
    pub server_id: i64,
    /// Of a member of an ensemble.
    pub ensemble: Option<EnsembleConf>,
}

/// The lines of `conf` that a member of an ensemble has.
#[derive(Debug, Clone, Default)]
pub struct EnsembleConf {
    /// In ticks.
    pub init_limit: i64,
    /// In ticks.
    pub sync_limit: i64,
    /// One for each address, each number once.
    pub election_ports: Vec<u16>,
    /// Likewise.
    pub quorum_ports: Vec<u16>,
    /// Whether it has no vote.
    pub is_observer: bool,
    /// The membership, as the servers tell it to each other.
    pub membership: String,
}

/// Bytes on disk.
#[derive(Debug, Clone, Copy, Default)]
pub struct SizeReport {
    /// Of the files in the snapshots' directory (logs too, if they share it).
    pub data_dir: u64,
    /// Of the files in the logs' directory.
    pub log_dir: u64,
}

/// The session tracker's buckets.
#[derive(Debug, Clone, Default)]
pub struct SessionReport {
    /// Oldest first. Apache also lists a bucket that is empty; leaving it out is allowed.
    pub buckets: Vec<SessionExpiry>,
    /// Of a learner, which does not know when sessions expire: ids and timeouts, by their ids.
    pub of_learner: Option<Vec<(i64, i32)>>,
    /// Where local sessions are enabled, their buckets.
    pub local: Option<Vec<SessionExpiry>>,
}

/// Sessions that expire together.
#[derive(Debug, Clone, Default)]
pub struct SessionExpiry {
    /// Wall clock.
    pub at_ms: i64,
    /// Their ids.
    pub sessions: Vec<i64>,
}

/// Connections that are given up together.
#[derive(Debug, Clone, Default)]
pub struct ConnExpiry {
    /// Wall clock.
    pub at_ms: i64,
    /// The client's end, and the session or 0.
    pub connections: Vec<(SocketAddr, i64)>,
}

/// The figures that `mntr` has beyond [`ServerReport`]; [`super::measures`] says which name shows
/// what.
#[derive(Debug, Clone, Default)]
pub struct MonitorReport {
    /// Ephemeral znodes.
    pub ephemerals: u64,
    /// Watches of every kind.
    pub watches: u64,
    /// Bytes of paths and data.
    pub approximate_data_size: u64,
    /// Sessions known to the whole ensemble.
    pub global_sessions: u64,
    /// Sessions known here only.
    pub local_sessions: u64,
    /// Of this process.
    pub open_files: u64,
    /// The number of files that this process may open.
    pub max_files: u64,
    /// Since the start.
    pub uptime_ms: u64,
    /// Connections refused since there were too many.
    pub connections_refused: u64,
    /// Of all shards together.
    pub shards: ShardCounts,
    /// Transactions after which the tree did not have the digest that was logged with them.
    pub digest_mismatches: u64,
    /// Flushes of the transaction log.
    pub flushes: Summary,
    /// Turns of the executors that were long.
    pub long_turns: TurnFigures,
    /// Snapshots since the start.
    pub snapshots: SnapshotFigures,
    /// The duration of the recovery at the start.
    pub recovery_ms: u64,
    /// Log records that it applied.
    pub recovered_records: u64,
    /// Of a member of an ensemble.
    pub ensemble: Option<EnsembleReport>,
}

/// The figures of a member of an ensemble.
#[derive(Debug, Clone, Default)]
pub struct EnsembleReport {
    /// What it is at: `leading - broadcast`.
    pub peer_state: String,
    /// The servers that vote.
    pub quorum_size: u64,
    /// Of an observer: whom it observes, once it is known.
    pub observer_master: Option<i64>,
    /// Of a follower that takes observers: those in sync.
    pub own_observers: Option<u64>,
    /// Of a leader.
    pub leader: Option<LeaderReport>,
    /// Of all roles since the start.
    pub roles: RoleFigures,
}

/// The figures of a leader.
#[derive(Debug, Clone, Copy, Default)]
pub struct LeaderReport {
    /// Connected, synchronized or not.
    pub learners: u64,
    /// With a vote or without.
    pub synced_followers: u64,
    /// Without.
    pub synced_non_voting_followers: u64,
    /// Observers.
    pub synced_observers: u64,
    /// Syncs that wait for an answer.
    pub pending_syncs: u64,
    /// Since it serves, in milliseconds.
    pub uptime_ms: u64,
}

/// The record of snapshots.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SnapshotFigures {
    /// The durations of those that were taken.
    pub times: Summary,
    /// Those that could not be written.
    pub failed: u64,
}

/// Turns of the executors above 5 ms. All zero before the first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TurnFigures {
    /// All of them.
    pub long: u64,
    /// Those that may have worked that long; the others waited for a processor or a lock.
    pub worked: u64,
    /// The longest.
    pub longest_us: u64,
    /// The most work in one turn.
    pub most_work_us: u64,
}

/// A series of one point; of none if it is 0, as a start that measured nothing has it.
pub fn once(value: u64) -> Summary {
    let mut summary = Summary::NONE;
    if value > 0 {
        summary.add(value);
    }
    summary
}

/// Durations as a series.
pub fn durations(of: &Durations) -> Summary {
    let Durations { count, sum, min, max } = *of;
    Summary { count, sum, min, max, ..Summary::NONE }
}

/// Latencies as a series.
pub fn spread(spread: &LatencySpread) -> Summary {
    let quantile = |per_mille| u64::from(spread.quantile(per_mille));
    let Latency { min, max, sum, count, .. } = spread.latency;
    Summary {
        count,
        sum,
        min: u64::from(min),
        max: u64::from(max),
        p50: quantile(500),
        p95: quantile(950),
        p99: quantile(990),
        p999: quantile(999),
    }
}

/// `envi`: the process and its machine. An empty text prints as `<NA>`.
#[derive(Debug, Clone, Default)]
pub struct ProcessReport {
    /// Name of the machine.
    pub host_name: String,
    /// `Linux`.
    pub os_name: String,
    /// In Java's spelling: `amd64`, `aarch64`.
    pub os_arch: String,
    /// The kernel's release.
    pub os_version: String,
    /// The user that runs the process.
    pub user_name: String,
    /// Their home directory.
    pub user_home: String,
    /// The working directory.
    pub user_dir: String,
    /// The folder of temporary files.
    pub tmp_dir: String,
    /// MiB free.
    pub memory_free_mib: u64,
    /// MiB the process may use.
    pub memory_max_mib: u64,
    /// MiB the process uses.
    pub memory_total_mib: u64,
}
