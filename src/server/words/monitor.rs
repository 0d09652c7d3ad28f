//! The word mntr: `zk_` + name + tab + value for everything that a 3.9.5 of the same role lists, in
//! its order, and then what is Ringkeeper's own.
//!
//! Figures that Ringkeeper does not measure stay at what a fresh Apache prints, so that no exporter
//! misses a key. The lines that Apache adds for each top-level name ever read or written, and never
//! takes away, are left out: they are a leak. So are a leader's lines for the queue of each learner.

use std::fmt::Write as _;

use crate::frontend::CloseReason;

use super::measures::{Kind, MEASURES, Value};
use super::report::{Reports, Summary};
use super::text::{average, double};
use super::version;

/// `mntr`.
pub(crate) fn mntr(reports: &Reports, out: &mut String) {
    line!(out, "zk_version\t{}", version::full());
    line!(out, "zk_server_state\t{}", reports.server.mode.name());
    if let Some(ensemble) = &reports.monitor.ensemble {
        line!(out, "zk_peer_state\t{}", ensemble.peer_state);
        if let Some(id) = ensemble.observer_master {
            line!(out, "zk_observer_master_id\t{id}");
        }
    }
    for measure in &MEASURES {
        match (measure.value)(reports) {
            Value::Count(value) => line!(out, "zk_{}\t{value}", measure.name),
            Value::Signed(value) => line!(out, "zk_{}\t{value}", measure.name),
            Value::Real(value) => line!(out, "zk_{}\t{}", measure.name, double(value)),
            Value::Series(value) => series(measure.name, measure.kind, &value, out),
            Value::Absent => {}
        }
    }
    // Apache has no counters of this: the prefix keeps the names apart from any that it may get.
    for why in CloseReason::ALL {
        line!(
            out,
            "zk_ringkeeper_closed_{}\t{}",
            why.name(),
            reports.monitor.shards.closed.of(why)
        );
    }
    let turns = &reports.monitor.long_turns;
    line!(out, "zk_ringkeeper_long_turns\t{}", turns.long);
    line!(out, "zk_ringkeeper_long_turns_worked\t{}", turns.worked);
    line!(out, "zk_ringkeeper_longest_turn_us\t{}", turns.longest_us);
    line!(out, "zk_ringkeeper_most_work_of_a_turn_us\t{}", turns.most_work_us);
}

fn series(name: &str, kind: Kind, value: &Summary, out: &mut String) {
    line!(out, "zk_avg_{name}\t{}", double(average(value)));
    line!(out, "zk_min_{name}\t{}", value.min);
    line!(out, "zk_max_{name}\t{}", value.max);
    line!(out, "zk_cnt_{name}\t{}", value.count);
    line!(out, "zk_sum_{name}\t{}", value.sum);
    if kind == Kind::Quantiles {
        line!(out, "zk_p50_{name}\t{}", value.p50);
        line!(out, "zk_p95_{name}\t{}", value.p95);
        line!(out, "zk_p99_{name}\t{}", value.p99);
        line!(out, "zk_p999_{name}\t{}", value.p999);
    }
}
