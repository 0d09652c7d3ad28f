//! The report at the end: for people, or as JSON.

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::process::{Machine, Usage};
use super::wire::Op;

/// Everything that a load has measured.
pub(super) struct Report {
    pub(super) sessions: u32,
    pub(super) outstanding: u32,
    pub(super) payload: u32,
    pub(super) nodes: u64,
    pub(super) rate: Option<f64>,
    pub(super) ops: u64,
    pub(super) seconds: f64,
    /// Latencies in nanoseconds.
    pub(super) all: Histogram<u64>,
    pub(super) by_op: Vec<(Op, Histogram<u64>)>,
    /// Operation, error code, how often.
    pub(super) errors: Vec<(Op, i32, u64)>,
    pub(super) server_cpu_us: Option<u64>,
    pub(super) server: Option<Usage>,
    pub(super) client_cpu_us: u64,
    /// The times of all processors meanwhile.
    pub(super) machine: Machine,
}

impl Report {
    /// The share of the machine's processors that had nothing to do.
    fn idle(&self) -> f64 {
        let Machine { busy_us, idle_us } = self.machine;
        idle_us as f64 / (busy_us + idle_us).max(1) as f64
    }
}

/// Prints a load's report.
pub(super) fn print(report: &Report, as_json: bool) {
    if as_json {
        say!("{}", to_json(report));
    } else {
        say!("{}", to_text(report).trim_end());
    }
}

/// Prints what the server's process has used, where nothing else was measured.
pub(super) fn print_usage(usage: Usage, as_json: bool) {
    if as_json {
        say!("{}", json!({ "server": usage_json(usage) }));
    } else {
        say!("{}", usage_text(usage));
    }
}

/// Percentiles of latencies given in nanoseconds, in microseconds.
pub(super) fn percentiles_json(latencies: &Histogram<u64>) -> Value {
    let mut object = serde_json::Map::new();
    for (name, quantile) in QUANTILES {
        object.insert(name.to_owned(), json!(us(latencies.value_at_quantile(quantile))));
    }
    object.insert("max".to_owned(), json!(us(latencies.max())));
    object.insert("mean".to_owned(), json!((latencies.mean() / 10.0).round() / 100.0));
    Value::Object(object)
}

/// The same for people.
pub(super) fn percentiles_text(latencies: &Histogram<u64>) -> String {
    let parts = QUANTILES
        .iter()
        .map(|(name, quantile)| format!("{name} {}", us(latencies.value_at_quantile(*quantile))));
    let parts: Vec<_> = parts.chain([format!("max {}", us(latencies.max()))]).collect();
    parts.join("  ")
}

fn to_json(report: &Report) -> Value {
    let per_op = |cpu_us: u64| cpu_us as f64 / report.ops as f64;
    let by_op: serde_json::Map<_, _> = report
        .by_op
        .iter()
        .map(|(op, latencies)| {
            let value =
                json!({ "ops": latencies.len(), "latency_us": percentiles_json(latencies) });
            (op.name().to_owned(), value)
        })
        .collect();
    let errors: Vec<_> = report
        .errors
        .iter()
        .map(|(op, code, count)| json!({ "op": op.name(), "code": code, "count": count }))
        .collect();
    json!({
        "sessions": report.sessions,
        "outstanding": report.outstanding,
        "payload_bytes": report.payload,
        "nodes": report.nodes,
        "rate": report.rate,
        "ops": report.ops,
        "seconds": report.seconds,
        "ops_per_second": report.ops as f64 / report.seconds,
        "latency_us": percentiles_json(&report.all),
        "by_op": by_op,
        "errors": errors,
        "server_cpu_us_per_op": report.server_cpu_us.map(per_op),
        "server": report.server.map(usage_json),
        "client_cpu_us_per_op": per_op(report.client_cpu_us),
        "machine_cpu_us_per_op": per_op(report.machine.busy_us),
        "machine_idle": report.idle(),
    })
}

fn to_text(report: &Report) -> String {
    let Report { sessions, outstanding, ops, seconds, .. } = report;
    let loop_kind = match report.rate {
        Some(rate) => format!("open loop at {rate}/s"),
        None => "closed loop".to_owned(),
    };
    let mut text = format!(
        "{sessions} sessions x {outstanding} outstanding, {loop_kind}, {} B, {} znodes\n\
         throughput   {:.0} op/s ({ops} in {seconds:.2} s)\n\
         latency us   {}\n",
        report.payload,
        report.nodes,
        *ops as f64 / seconds,
        percentiles_text(&report.all),
    );
    if report.by_op.len() > 1 {
        for (op, latencies) in &report.by_op {
            text += &format!(
                "  {:<10} {}  ({})\n",
                op.name(),
                percentiles_text(latencies),
                latencies.len()
            );
        }
    }
    if let Some(cpu_us) = report.server_cpu_us {
        text += &format!("server CPU   {:.2} us/op\n", cpu_us as f64 / *ops as f64);
    }
    if let Some(usage) = report.server {
        text += &format!("{}\n", usage_text(usage));
    }
    text += &format!("client CPU   {:.2} us/op\n", report.client_cpu_us as f64 / *ops as f64);
    let busy = report.machine.busy_us as f64 / *ops as f64;
    text += &format!("machine CPU  {busy:.2} us/op, {:.0} % idle\n", report.idle() * 100.0);
    for (op, code, count) in &report.errors {
        text += &format!("ERRORS       {} x {} answered {code}\n", count, op.name());
    }
    text
}

fn usage_text(usage: Usage) -> String {
    format!("server RSS   {} MiB, peak {} MiB", usage.rss_bytes >> 20, usage.rss_peak_bytes >> 20)
}

fn usage_json(usage: Usage) -> Value {
    json!({ "cpu_us": usage.cpu_us, "rss_bytes": usage.rss_bytes, "rss_peak_bytes": usage.rss_peak_bytes })
}

fn us(ns: u64) -> f64 {
    (ns as f64 / 10.0).round() / 100.0
}

const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_hold_the_same_figures() {
        let mut all = Histogram::new_with_bounds(1, 1_000_000_000, 3).expect("good bounds");
        (1..=1000u64).for_each(|n| all.record(n * 1000).expect("within bounds"));
        let report = Report {
            sessions: 1,
            outstanding: 2,
            payload: 3,
            nodes: 4,
            rate: None,
            ops: 1000,
            seconds: 2.0,
            by_op: vec![(Op::Get, all.clone())],
            all,
            errors: vec![(Op::Get, -101, 5)],
            server_cpu_us: Some(3000),
            server: Some(Usage { cpu_us: 1, rss_bytes: 7 << 20, rss_peak_bytes: 8 << 20 }),
            client_cpu_us: 500,
            machine: Machine { busy_us: 6000, idle_us: 2000 },
        };
        let (text, json) = (to_text(&report), to_json(&report));
        assert_eq!(json["ops_per_second"], 500.0);
        assert_eq!(json["server_cpu_us_per_op"], 3.0);
        assert_eq!(
            (&json["machine_cpu_us_per_op"], &json["machine_idle"]),
            (&json!(6.0), &json!(0.25))
        );
        assert_eq!(json["latency_us"]["p50"], 500.22);
        for part in [
            "500 op/s",
            "p50 500.22",
            "3.00 us/op",
            "7 MiB, peak 8 MiB",
            "5 x get answered -101",
            "6.00 us/op, 25 %",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
    }
}
