//! The settings of the machines in a world.

use crate::frontend::FrontendConfig;
use crate::quorum::QuorumConfig;

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
        ..QuorumConfig::default()
    }
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
