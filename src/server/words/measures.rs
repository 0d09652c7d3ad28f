//! Every measure of the server: its name, what kind it is, and where its value stands. The word
//! mntr prints it; so can any exporter.
//!
//! The names are Apache's, in the order in which a fresh standalone 3.9.5 prints them: that of its
//! hash tables, the same at every start, and exporters that diff the text rely on it. A member of an
//! ensemble has some more among them, a leader most: `golden/mntr-3.9.5-leader.txt`, `-follower` and
//! `-observer` were recorded from an ensemble of four.
//! `golden/mntr-3.9.5-fresh.txt` is the whole answer as it was recorded from a fresh standalone
//! 3.9.5 (empty data directory, one connection that sent `mntr`, 2 s ticks), and a test compares.
//! `ShardReport::merge` tells how a figure of several shards becomes one.
//!
//! A new measure takes a field in [`super::report::MonitorReport`], which the server fills, and its
//! row here.

use crate::frontend::CloseReason;

use super::report::{
    EnsembleReport, LeaderReport, ProposalSizes, Reports, Summary, durations, once, spread,
};
use super::text::average;

/// A value as it is shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// Not below 0.
    Count(u64),
    /// -1 where there is none yet.
    Signed(i64),
    /// With a fraction.
    Real(f64),
    /// A measured series.
    Series(Summary),
    /// A server of this role does not have it.
    Absent,
}

/// The kind of a measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A value of the moment.
    Gauge,
    /// A number that only grows, until the server's counts are reset.
    Counter,
    /// A series: average, ends, count and sum.
    Summary,
    /// A series with its quantiles as well.
    Quantiles,
}

/// One measure.
#[derive(Clone, Copy)]
pub struct Measure {
    /// Its name without `zk_`.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Where its value stands.
    pub value: fn(&Reports) -> Value,
}

const fn gauge(name: &'static str, value: fn(&Reports) -> Value) -> Measure {
    Measure { name, kind: Kind::Gauge, value }
}

const fn counter(name: &'static str, value: fn(&Reports) -> Value) -> Measure {
    Measure { name, kind: Kind::Counter, value }
}

const fn summary(name: &'static str, value: fn(&Reports) -> Value) -> Measure {
    Measure { name, kind: Kind::Summary, value }
}

const fn quantiles(name: &'static str, value: fn(&Reports) -> Value) -> Measure {
    Measure { name, kind: Kind::Quantiles, value }
}

/// The value of what is not measured here, or belongs to a part that is not here: as on a fresh
/// server.
const ZERO: fn(&Reports) -> Value = |_| Value::Count(0);
/// The same for a series.
const NO_POINTS: fn(&Reports) -> Value = |_| Value::Series(Summary::NONE);

/// Connections closed for this reason.
fn closed(of: &Reports, why: CloseReason) -> Value {
    Value::Count(of.monitor.shards.closed.of(why))
}

/// Of a leader alone.
fn of_leader(of: &Reports, value: fn(&LeaderReport) -> u64) -> Value {
    let leader = of.monitor.ensemble.as_ref().and_then(|ensemble| ensemble.leader.as_ref());
    leader.map_or(Value::Absent, |leader| Value::Count(value(leader)))
}

/// Of a leader, or of a follower that takes observers.
fn synced_observers(of: &Reports) -> Value {
    let own = of.monitor.ensemble.as_ref().and_then(|ensemble| ensemble.own_observers);
    own.map_or_else(|| of_leader(of, |leader| leader.synced_observers), Value::Count)
}

/// Of a leader alone.
fn proposal_size(of: &Reports, value: fn(&ProposalSizes) -> i64) -> Value {
    of.server.proposal_sizes.as_ref().map_or(Value::Absent, |sizes| Value::Signed(value(sizes)))
}

/// Of any member of an ensemble; 0 on a server of its own.
fn member_count(of: &Reports, value: fn(&EnsembleReport) -> u64) -> Value {
    Value::Count(of.monitor.ensemble.as_ref().map_or(0, value))
}

/// Of any member of an ensemble; without points on a server of its own.
fn member_times(of: &Reports, value: fn(&EnsembleReport) -> Summary) -> Value {
    Value::Series(of.monitor.ensemble.as_ref().map_or(Summary::NONE, value))
}

/// All of them.
pub const MEASURES: [Measure; 150] = [
    gauge("ephemerals_count", |of| Value::Count(of.monitor.ephemerals)),
    gauge("num_alive_connections", |of| Value::Count(of.server.connections)),
    gauge("avg_latency", |of| Value::Real(average(&of.server.latency_ms))),
    gauge("min_proposal_size", |of| proposal_size(of, |sizes| sizes.min)),
    gauge("outstanding_requests", |of| Value::Count(of.server.outstanding)),
    gauge("znode_count", |of| Value::Count(of.server.node_count)),
    gauge("global_sessions", |of| Value::Count(of.monitor.global_sessions)),
    gauge("non_mtls_remote_conn_count", ZERO),
    gauge("last_client_response_size", |of| {
        Value::Signed(of.monitor.shards.traffic.reply_sizes.last)
    }),
    gauge("packets_sent", |of| Value::Count(of.server.packets_sent)),
    gauge("packets_received", |of| Value::Count(of.server.packets_received)),
    gauge("max_proposal_size", |of| proposal_size(of, |sizes| sizes.max)),
    gauge("max_client_response_size", |of| {
        Value::Signed(of.monitor.shards.traffic.reply_sizes.max)
    }),
    gauge("synced_followers", |of| of_leader(of, |leader| leader.synced_followers)),
    gauge("connection_drop_probability", |_| Value::Real(0.0)),
    gauge("watch_count", |of| Value::Count(of.monitor.watches)),
    gauge("synced_non_voting_followers", |of| {
        of_leader(of, |leader| leader.synced_non_voting_followers)
    }),
    gauge("synced_observers", synced_observers),
    gauge("auth_failed_count", |of| closed(of, CloseReason::AuthFailed)),
    gauge("min_latency", |of| Value::Count(of.server.latency_ms.min)),
    gauge("max_file_descriptor_count", |of| Value::Count(of.monitor.max_files)),
    gauge("approximate_data_size", |of| Value::Count(of.monitor.approximate_data_size)),
    gauge("open_file_descriptor_count", |of| Value::Count(of.monitor.open_files)),
    gauge("last_proposal_size", |of| proposal_size(of, |sizes| sizes.last)),
    gauge("pending_syncs", |of| of_leader(of, |leader| leader.pending_syncs)),
    gauge("leader_uptime", |of| of_leader(of, |leader| leader.uptime_ms)),
    gauge("local_sessions", |of| Value::Count(of.monitor.local_sessions)),
    gauge("uptime", |of| Value::Count(of.monitor.uptime_ms)),
    gauge("max_latency", |of| Value::Count(of.server.latency_ms.max)),
    gauge("outstanding_tls_handshake", ZERO),
    gauge("learners", |of| of_leader(of, |leader| leader.learners)),
    gauge("min_client_response_size", |of| {
        Value::Signed(of.monitor.shards.traffic.reply_sizes.min)
    }),
    gauge("non_mtls_local_conn_count", ZERO),
    gauge("quorum_size", |of| match &of.monitor.ensemble {
        None => Value::Absent,
        Some(ensemble) => Value::Count(ensemble.quorum_size),
    }),
    counter("watch_bytes", |of| Value::Count(of.monitor.shards.traffic.event_bytes)),
    counter("stale_requests_dropped", ZERO),
    counter("throttled_ops", ZERO),
    counter("insecure_admin_count", ZERO),
    counter("connection_rejected", |of| Value::Count(of.monitor.connections_refused)),
    counter("sessionless_connections_expired", |of| closed(of, CloseReason::NoSession)),
    counter("dead_watchers_queued", ZERO),
    counter("stale_requests", ZERO),
    counter("connection_drop_count", ZERO),
    counter("response_packet_cache_hits", ZERO),
    counter("bytes_received_count", |of| Value::Count(of.monitor.shards.traffic.bytes_received)),
    counter("add_dead_watcher_stall_time", ZERO),
    counter("request_throttle_wait_count", ZERO),
    counter("requests_not_forwarded_to_commit_processor", ZERO),
    counter("response_packet_cache_misses", ZERO),
    counter("prep_processor_request_queued", ZERO),
    counter("stale_replies", ZERO),
    counter("response_bytes", |of| Value::Count(of.monitor.shards.traffic.reply_bytes)),
    counter("ensemble_auth_fail", ZERO),
    counter("diff_count", |of| member_count(of, |of| of.roles.diffs)),
    counter("connection_revalidate_count", ZERO),
    counter("quit_leading_due_to_disloyal_voter", |of| {
        member_count(of, |of| of.roles.disloyal_voters)
    }),
    counter("unrecoverable_error_count", ZERO),
    counter("unsuccessful_handshake", ZERO),
    counter("commit_count", |of| member_count(of, |of| of.roles.commits)),
    counter("outstanding_changes_queued", ZERO),
    counter("request_commit_queued", ZERO),
    counter("ensemble_auth_skip", ZERO),
    counter("skip_learner_request_to_next_processor_count", ZERO),
    counter("proposal_count", |of| member_count(of, |of| of.roles.proposals)),
    counter("large_requests_rejected", |of| closed(of, CloseReason::LargeRequests)),
    counter("outstanding_changes_removed", ZERO),
    counter("restore_error_count", ZERO),
    counter("cnxn_closed_without_zk_server_running", ZERO),
    counter("looking_count", |of| member_count(of, |of| of.roles.looking)),
    counter("snapshot_rate_limited_count", ZERO),
    counter("learner_proposal_received_count", |of| {
        member_count(of, |of| of.roles.learner_proposals)
    }),
    counter("digest_mismatches_count", |of| Value::Count(of.monitor.digest_mismatches)),
    counter("dead_watchers_cleared", ZERO),
    counter("ensemble_auth_success", ZERO),
    counter("learner_commit_received_count", |of| member_count(of, |of| of.roles.learner_commits)),
    counter("snapshot_error_count", |of| Value::Count(of.monitor.snapshots.failed)),
    counter("connection_request_count", |of| {
        Value::Count(of.monitor.shards.traffic.connect_requests)
    }),
    counter("response_packet_get_children_cache_misses", ZERO),
    counter("snap_count", |of| member_count(of, |of| of.roles.snaps)),
    counter("stale_sessions_expired", ZERO),
    counter("restore_rate_limited_count", ZERO),
    counter("response_packet_get_children_cache_hits", ZERO),
    counter("sync_processor_request_queued", ZERO),
    counter("tls_handshake_exceeded", ZERO),
    counter("revalidate_count", ZERO),
    summary("socket_closing_time", NO_POINTS),
    summary("proposal_process_time", NO_POINTS),
    summary("leader_unavailable_time", |of| {
        member_times(of, |of| durations(&of.roles.leader_unavailable))
    }),
    summary("node_created_watch_count", NO_POINTS),
    summary("session_queues_drained", NO_POINTS),
    summary("write_commit_proc_req_queued", NO_POINTS),
    summary("connection_token_deficit", NO_POINTS),
    summary("read_commit_proc_req_queued", NO_POINTS),
    summary("node_deleted_watch_count", NO_POINTS),
    summary("startup_txns_load_time", NO_POINTS),
    summary("sync_processor_queue_size", NO_POINTS),
    summary("follower_sync_time", |of| member_times(of, |of| durations(&of.roles.follower_syncs))),
    summary("prep_processor_queue_size", NO_POINTS),
    summary("fsynctime", |of| Value::Series(of.monitor.flushes)),
    summary("inflight_snap_count", NO_POINTS),
    summary("reads_issued_from_session_queue", NO_POINTS),
    summary("restore_time", NO_POINTS),
    summary("learner_request_processor_queue_size", NO_POINTS),
    summary("snapshottime", |of| Value::Series(of.monitor.snapshots.times)),
    summary("unavailable_time", |of| member_times(of, |of| durations(&of.roles.unavailable))),
    summary("startup_txns_loaded", |of| Value::Series(once(of.monitor.recovered_records))),
    summary("reads_after_write_in_session_queue", NO_POINTS),
    summary("requests_in_session_queue", NO_POINTS),
    summary("write_commit_proc_issued", NO_POINTS),
    summary("prep_process_time", NO_POINTS),
    summary("pending_session_queue_size", NO_POINTS),
    summary("time_waiting_empty_pool_in_commit_processor_read_ms", NO_POINTS),
    summary("commit_process_time", NO_POINTS),
    summary("dbinittime", |of| Value::Series(once(of.monitor.recovery_ms))),
    summary("inflight_diff_count", NO_POINTS),
    summary("netty_queued_buffer_capacity", NO_POINTS),
    summary("election_time", |of| member_times(of, |of| durations(&of.roles.elections))),
    summary("commit_commit_proc_req_queued", NO_POINTS),
    summary("sync_processor_batch_size", NO_POINTS),
    summary("node_children_watch_count", NO_POINTS),
    summary("write_batch_time_in_commit_processor", NO_POINTS),
    summary("read_commit_proc_issued", NO_POINTS),
    summary("concurrent_request_processing_in_commit_processor", NO_POINTS),
    summary("observer_sync_time", |of| member_times(of, |of| durations(&of.roles.observer_syncs))),
    summary("node_changed_watch_count", NO_POINTS),
    summary("sync_process_time", NO_POINTS),
    summary("startup_snap_load_time", NO_POINTS),
    quantiles("prep_processor_queue_time_ms", NO_POINTS),
    quantiles("jvm_pause_time_ms", NO_POINTS),
    quantiles("close_session_prep_time", NO_POINTS),
    quantiles("read_commitproc_time_ms", NO_POINTS),
    quantiles("updatelatency", |of| Value::Series(spread(&of.monitor.shards.traffic.updates))),
    quantiles("local_write_committed_time_ms", NO_POINTS),
    quantiles("request_throttle_queue_time_ms", NO_POINTS),
    quantiles("readlatency", |of| Value::Series(spread(&of.monitor.shards.traffic.reads))),
    quantiles("quorum_ack_latency", NO_POINTS),
    quantiles("om_commit_process_time_ms", NO_POINTS),
    quantiles("read_final_proc_time_ms", NO_POINTS),
    quantiles("commit_propagation_latency", NO_POINTS),
    quantiles("dead_watchers_cleaner_latency", NO_POINTS),
    quantiles("write_final_proc_time_ms", NO_POINTS),
    quantiles("proposal_ack_creation_latency", NO_POINTS),
    quantiles("proposal_latency", NO_POINTS),
    quantiles("om_proposal_process_time_ms", NO_POINTS),
    quantiles("sync_processor_queue_and_flush_time_ms", NO_POINTS),
    quantiles("propagation_latency", NO_POINTS),
    quantiles("server_write_committed_time_ms", NO_POINTS),
    quantiles("sync_processor_queue_time_ms", NO_POINTS),
    quantiles("sync_processor_queue_flush_time_ms", NO_POINTS),
    quantiles("write_commitproc_time_ms", NO_POINTS),
];
