//! The word mntr: `zk_` + name + tab + value for everything a standalone 3.9.5 lists, in its order.
//!
//! What Ringkeeper does not measure stays at what a fresh Apache prints, so that no exporter misses a key. The lines
//! that Apache adds for each top-level name ever read or written, and never takes away, are left out: they are a leak.

use std::fmt::Write as _;

use super::monitor_keys::{COUNTERS, GAUGES, QUANTILES, SUMMARIES};
use super::report::{Reports, Summary};
use super::text::{average, double};
use super::version;

/// `mntr`.
pub fn mntr(reports: &Reports, out: &mut String) {
    line!(out, "zk_version\t{}", version::full());
    line!(out, "zk_server_state\t{}", reports.server.mode.name());
    for name in GAUGES {
        line!(out, "zk_{name}\t{}", gauge(name, reports));
    }
    let measures = &reports.monitor.measures;
    for name in COUNTERS {
        line!(out, "zk_{name}\t{}", measures.counter(name));
    }
    for name in SUMMARIES {
        summary(name, &measures.summary(name), out);
    }
    for name in QUANTILES {
        let value = measures.summary(name);
        summary(name, &value, out);
        line!(out, "zk_p50_{name}\t{}", value.p50);
        line!(out, "zk_p95_{name}\t{}", value.p95);
        line!(out, "zk_p99_{name}\t{}", value.p99);
        line!(out, "zk_p999_{name}\t{}", value.p999);
    }
}

fn summary(name: &str, value: &Summary, out: &mut String) {
    line!(out, "zk_avg_{name}\t{}", double(average(value)));
    line!(out, "zk_min_{name}\t{}", value.min);
    line!(out, "zk_max_{name}\t{}", value.max);
    line!(out, "zk_cnt_{name}\t{}", value.count);
    line!(out, "zk_sum_{name}\t{}", value.sum);
}

fn gauge(name: &str, reports: &Reports) -> String {
    let (server, monitor) = (&reports.server, &reports.monitor);
    match name {
        "avg_latency" => double(average(&server.latency_ms)),
        "connection_drop_probability" => double(monitor.connection_drop_probability),
        "last_client_response_size" => monitor.response_sizes.last.to_string(),
        "min_client_response_size" => monitor.response_sizes.min.to_string(),
        "max_client_response_size" => monitor.response_sizes.max.to_string(),
        _ => count(name, reports).to_string(),
    }
}

fn count(name: &str, reports: &Reports) -> u64 {
    let (server, monitor) = (&reports.server, &reports.monitor);
    match name {
        "ephemerals_count" => monitor.ephemerals,
        "num_alive_connections" => server.connections,
        "outstanding_requests" => server.outstanding,
        "znode_count" => server.node_count,
        "global_sessions" => monitor.global_sessions,
        "local_sessions" => monitor.local_sessions,
        "packets_sent" => server.packets_sent,
        "packets_received" => server.packets_received,
        "watch_count" => monitor.watches,
        "auth_failed_count" => monitor.auth_failed,
        "min_latency" => server.latency_ms.min,
        "max_latency" => server.latency_ms.max,
        "max_file_descriptor_count" => monitor.max_files,
        "open_file_descriptor_count" => monitor.open_files,
        "approximate_data_size" => monitor.approximate_data_size,
        "uptime" => monitor.uptime_ms,
        // TLS handshakes and connections by certificate: always 0 without TLS.
        _ => 0,
    }
}
