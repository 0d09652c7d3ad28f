//! The harm that a greedy client does to another: a well-behaved client reads and writes every 5 ms
//! while the greedy one works as hard as it can, and each is measured with and without the other.
//!
//! [`probe`] is the well-behaved client, [`flood`] a greedy one that sends requests without a
//! pause, [`words`] one that opens connections without a pause, [`rounds`] one that does something
//! large once, [`together`] all of them at once; [`kinds`] says which of them a kind is and what it
//! needs, [`frames`] encodes it, [`fan_out`] is a row of its own, [`flushes`] what the disk takes by
//! itself, [`turns`] what the server counts of its own turns.

mod fan_out;
mod flood;
mod flushes;
mod frames;
mod kinds;
mod probe;
mod rounds;
mod together;
mod turns;
mod words;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use hdrhistogram::Histogram;
use serde_json::json;

use super::BenchError;
use super::args::{GreedyArgs, Kind};
use super::report::{percentiles_json, percentiles_text};
use flushes::Flushes;
use probe::{Probe, ProbeReport};
use rounds::Round;
use turns::Turns;

pub(super) use fan_out::run as fan_out;

/// The state that the greedy client's thread shares with the one that measures.
#[derive(Default)]
pub(super) struct Shared {
    /// Replies, or whatever else the kind counts.
    ops: AtomicU64,
    /// Replies that held an error.
    errors: AtomicU64,
    stop: AtomicBool,
    /// All greedy clients are prepared, where there are several.
    begun: AtomicBool,
}

impl Shared {
    fn begin(&self) {
        self.begun.store(true, Ordering::Relaxed);
    }

    fn begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    fn count(&self, ops: u64) {
        self.ops.fetch_add(ops, Ordering::Relaxed);
    }
}

/// The greedy client's work per second, in each interval of one sort.
#[derive(Default)]
pub(super) struct Rates {
    alone: Vec<f64>,
    beside: Vec<f64>,
}

impl Rates {
    fn push(&mut self, beside: bool, rate: f64) {
        if beside { &mut self.beside } else { &mut self.alone }.push(rate);
    }

    /// The share of its throughput that the greedy client loses to the other, by medians.
    fn loss(&self) -> f64 {
        match median(&self.alone) {
            0.0 => 0.0,
            alone => 1.0 - median(&self.beside) / alone,
        }
    }
}

/// Runs one kind and prints its report.
pub(super) fn run(args: &GreedyArgs) -> Result<(), BenchError> {
    if !(0.01..=3600.0).contains(&args.slot_seconds) {
        return Err(BenchError::Option("--slot-seconds: from 0.01 to 3600".to_owned()));
    }
    raise_file_limit();
    kinds::prepare_tree(args.server, &kinds::tree())?;
    let turns = Turns::read(args.server)?;
    let shared = Arc::new(Shared::default());
    let flushes = args.flush_in.as_deref().map(Flushes::start).transpose()?;
    let beside = Beside { probe: Probe::start(args.server)?, flushes };
    let rates = match (args.kind, Round::of(args.kind)) {
        (Kind::All, _) => together::run(args, &shared, &beside)?,
        (_, Some(round)) => rounds::run(args, round, &shared, &beside)?,
        (_, None) => in_turn(args, &shared, &beside)?,
    };
    let report = beside.probe.finish()?;
    let flushed = beside.flushes.map(Flushes::finish).transpose()?;
    let turns = Turns::read(args.server)?.since(&turns);
    let errors = shared.errors.load(Ordering::Relaxed);
    print(args, &report, flushed.as_ref(), &rates, &turns, errors);
    Ok(())
}

/// The work beside the greedy client, in the intervals in which it is not alone.
pub(super) struct Beside {
    probe: Probe,
    flushes: Option<Flushes>,
}

impl Beside {
    /// Lets them work, or rest.
    fn measure(&self, on: bool) {
        self.probe.measure(on);
        if let Some(flushes) = &self.flushes {
            flushes.measure(on);
        }
    }
}

/// Runs a greedy client that never ends, alone and beside the probe in turn.
fn in_turn(args: &GreedyArgs, shared: &Arc<Shared>, with: &Beside) -> Result<Rates, BenchError> {
    let (tell_ready, ready) = mpsc::channel();
    let (kind, server, of_thread) = (args.kind, args.server, Arc::clone(shared));
    let greedy = thread::spawn(move || {
        kinds::run(kind, server, &of_thread, || {
            // Whoever is to be told waits for it.
            let _ = tell_ready.send(());
        })
    });
    let mut rates = Rates::default();
    // The sender goes without a word where the preparation has failed.
    if ready.recv().is_ok() {
        rates = in_slots(args, shared, with);
        shared.stop();
    }
    greedy
        .join()
        .map_err(|_| BenchError::Option("the greedy client's thread has panicked".to_owned()))??;
    Ok(rates)
}

/// Counts what the greedy client does while the probe rests and works in turn.
fn in_slots(args: &GreedyArgs, shared: &Shared, with: &Beside) -> Rates {
    let mut rates = Rates::default();
    thread::sleep(WARM);
    for slot in 0..2 * args.slots {
        let beside = slot % 2 == 1;
        with.measure(beside);
        let (before, since) = (shared.ops.load(Ordering::Relaxed), Instant::now());
        thread::sleep(Duration::from_secs_f64(args.slot_seconds));
        let done = shared.ops.load(Ordering::Relaxed) - before;
        rates.push(beside, done as f64 / since.elapsed().as_secs_f64());
    }
    with.measure(false);
    rates
}

/// Sleeps for `time`, or until `goes_on` says no.
fn wait_while(time: Duration, goes_on: impl Fn() -> bool) {
    let until = Instant::now() + time;
    while goes_on() && Instant::now() < until {
        thread::sleep(Duration::from_millis(10));
    }
}

fn print(
    args: &GreedyArgs,
    probe: &ProbeReport,
    flushed: Option<&Histogram<u64>>,
    rates: &Rates,
    turns: &Turns,
    errors: u64,
) {
    let (alone, beside) = (median(&rates.alone), median(&rates.beside));
    if args.json {
        let report = json!({
            "kind": args.kind.to_possible_value().map(|value| value.get_name().to_owned()),
            "reads": probe.reads.len(),
            "read_us": percentiles_json(&probe.reads),
            "write_us": percentiles_json(&probe.writes),
            "bare_flush_us": flushed.map(percentiles_json),
            "probe_nice": probe.nice,
            "greedy_alone_per_second": alone,
            "greedy_beside_per_second": beside,
            "greedy_loss": rates.loss(),
            "greedy_slots": json!({ "alone": rates.alone, "beside": rates.beside }),
            "greedy_errors": errors,
            "server_turns": turns.json(),
        });
        say!("{report}");
        return;
    }
    say!("reads        {} in all, us", probe.reads.len());
    say!("read         {}", percentiles_text(&probe.reads));
    say!("write        {}", percentiles_text(&probe.writes));
    if let Some(flushed) = flushed {
        say!("bare flush   {}", percentiles_text(flushed));
    }
    say!(
        "greedy       {alone:.0}/s alone, {beside:.0}/s beside, loss {:.1} %",
        rates.loss() * 100.0
    );
    say!("turns        {turns}");
    if errors > 0 {
        say!("greedy       {errors} replies held an error");
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => sorted[odd / 2],
        even => (sorted[even / 2 - 1] + sorted[even / 2]) / 2.0,
    }
}

/// Lets this process have as many files open as the system grants.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Where it fails, opening thousands of sessions says so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// The time for which the greedy client works before anything counts.
const WARM: Duration = Duration::from_secs(1);
