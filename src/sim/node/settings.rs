//! The settings of the machines in a world.

use crate::frontend::FrontendConfig;
use crate::quorum::QuorumConfig;
use crate::zab::{ObserverMasterSettings, SyncLimits};

use super::super::store::RECORD_BYTES_MAX;
use super::super::swarm::Swarm;

pub(super) fn quorum_config(swarm: &Swarm) -> QuorumConfig {
    QuorumConfig {
        tick_ms: swarm.tick_ms,
        snap_count: swarm.snap_count,
        log_file_bytes_max: swarm.log_file_bytes_max,
        record_bytes_max: RECORD_BYTES_MAX,
        extended_types: true,
        container_check_interval_ms: 300,
        container_max_per_minute: 1_000_000,
        enforce_quota: swarm.enforce_quota,
        shards: swarm.shards,
        // The multis of these worlds are short: all of them are sliced.
        multi_units_at_once: 1,
        local_sessions: swarm.members.local_sessions,
        local_sessions_upgrading: swarm.members.upgrading,
        read_only_mode: swarm.members.read_only,
        leader_serves: swarm.members.leader_serves,
        observer_master: swarm.members.observer_masters.then(observer_master),
        counter_max: swarm.members.counter_max,
        ..QuorumConfig::default()
    }
}

/// A follower that takes observers.
fn observer_master() -> ObserverMasterSettings {
    let limits = SyncLimits::default();
    ObserverMasterSettings { history_bytes: 1 << 16, always_snap: false, limits }
}

pub(super) fn frontend_config(swarm: &Swarm) -> FrontendConfig {
    let large = swarm.large_requests;
    FrontendConfig {
        large_request_bytes: large.map(|(longer_than, _)| longer_than),
        large_request_bytes_max: large.map_or(usize::MAX, |(_, max)| max),
        watches_per_connection_max: swarm.watches_max,
        shards: swarm.shards,
        tick_ms: swarm.tick_ms,
        session_timeout_ms_min: (2 * swarm.tick_ms) as i32,
        session_timeout_ms_max: (20 * swarm.tick_ms) as i32,
        outstanding_max: swarm.outstanding_max,
        out_bytes_max: swarm.out_bytes_max,
        sessionless_ms_max: 10 * swarm.tick_ms,
        frame_bytes_max: swarm.frame_bytes_max,
        ..FrontendConfig::default()
    }
}
