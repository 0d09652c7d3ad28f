//! The measured load: operations drawn from the mix, warmed up, counted, timed, and told about
//! while it runs.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;

use super::BenchError;
use super::args::LoadArgs;
use super::engine::{Asked, Engine, Phase, Reply, Target, Work};
use super::mix::Random;
use super::preload::Preload;
use super::process::{Machine, Usage, machine, usage, usage_of_all};
use super::report::{self, Report};
use super::wire::{self, Op, Template, Tree};

/// Preloads, loads, and prints the report.
pub(super) fn run(args: &LoadArgs) -> Result<(), BenchError> {
    check(args)?;
    pin(args.core);
    sharpen_timers();
    let tree = Tree { root: args.root.clone(), fanout: args.fanout };
    let payload = vec![b'r'; args.payload as usize];
    let spin = Duration::from_micros(args.spin);
    let (sessions, timeout_ms, one_by_one) = (args.sessions, args.timeout, args.one_by_one);
    let servers = args.server.clone();
    let target = Target { servers, sessions, timeout_ms, spin, echo: args.echo, one_by_one };
    let mut engine = Engine::connect(&target)?;
    if !args.echo {
        let nodes = args.preload.unwrap_or(args.nodes);
        Preload {
            tree: &tree,
            nodes,
            batch: args.preload_batch,
            payload: &payload,
            quiet: args.quiet,
        }
        .run(&mut engine)?;
    }
    if args.duration > 0.0 {
        let mut load = Load::new(args, tree, payload);
        engine.run(&mut load, args.outstanding, args.rate)?;
        report::print(&load.report()?, args.json);
    } else if let Some(usage) = usage_of_all(&args.pid) {
        report::print_usage(usage, args.json);
    }
    engine.close()
}

/// Runs this thread on one core.
pub(super) fn pin(core: Option<usize>) {
    if let Some(id) = core
        && !core_affinity::set_for_current(core_affinity::CoreId { id })
    {
        say_error!("ringkeeper bench: cannot run on core {id}; running on any");
    }
}

/// What says that the load is to end; set when the standard input ends, if that is to end it.
fn stop_of(until_eof: bool) -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    if until_eof {
        let of_thread = Arc::clone(&stop);
        // The process ends without this thread where the load is over before the input.
        thread::spawn(move || {
            // An input that cannot be read has ended as well.
            let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
            of_thread.store(true, Ordering::Relaxed);
        });
    }
    stop
}

fn check(args: &LoadArgs) -> Result<(), BenchError> {
    let wrong = |what: &str| Err(BenchError::Option(what.to_owned()));
    if args.nodes.div_ceil(args.fanout) > 1_000_000 {
        return wrong("--nodes / --fanout: at most 1,000,000 parents");
    }
    if !args.root.starts_with('/') || args.root.ends_with('/') {
        return wrong("--root: a path such as /ringkeeper-bench");
    }
    if args.rate.is_some_and(|rate| !(rate > 0.0 && rate <= 1e9)) {
        return wrong("--rate: requests per second, above 0");
    }
    if [args.duration, args.warmup].iter().any(|seconds| !(0.0..=86_400.0).contains(seconds)) {
        return wrong("--duration and --warmup: seconds, from 0 to 86400");
    }
    Ok(())
}

/// A schedule needs timers that fire when they are due; the default lets them be 50 us late.
fn sharpen_timers() {
    // Without it the latencies of an open loop are only a little worse.
    let _ = std::fs::write("/proc/self/timerslack_ns", "1");
}

struct Load<'a> {
    args: &'a LoadArgs,
    tree: Tree,
    payload: Vec<u8>,
    templates: Vec<Option<Template>>,
    random: Random,
    /// Serial numbers of the znodes that each session created and deleted on its own.
    own: Vec<Own>,
    stage: Stage,
    latencies: Vec<Histogram<u64>>,
    /// Operation, error code, how often.
    errors: Vec<(Op, i32, u64)>,
    measured: u64,
    measured_ns: u64,
    before: Snapshot,
    after: Snapshot,
    progress: Progress,
    /// Whether the load is to end before its time is over.
    stop: Arc<AtomicBool>,
}

#[derive(Clone, Copy, Default)]
struct Own {
    created: u64,
    deleted: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Fresh,
    Warming { until_ns: u64 },
    Measuring { since_ns: u64 },
    Done,
}

/// The CPU time that server and load generator had used at one moment.
#[derive(Clone, Copy, Default)]
struct Snapshot {
    server: Option<Usage>,
    client: Usage,
    machine: Machine,
}

/// The figures of the progress line.
#[derive(Default)]
struct Progress {
    told_ns: u64,
    replies: u64,
    slowest_ns: u64,
    second: u64,
}

impl<'a> Load<'a> {
    fn new(args: &'a LoadArgs, mut tree: Tree, payload: Vec<u8>) -> Self {
        let templates = Op::ALL.map(|op| {
            args.mix.ops().any(|used| used == op).then(|| Template::new(op, &tree, &payload))
        });
        // Paths that sessions create on their own must be new in every run; nothing else looks at
        // the clock's time.
        let run = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        tree.root = format!("{}/r{run:x}", tree.root);
        let histogram = || {
            Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3)
                .expect("bounds and digits are in range")
        };
        Load {
            args,
            tree,
            payload,
            templates: templates.into_iter().collect(),
            random: Random::new(args.seed),
            own: vec![Own::default(); args.sessions as usize],
            stage: Stage::Fresh,
            latencies: Op::ALL.iter().map(|_| histogram()).collect(),
            errors: Vec::new(),
            measured: 0,
            measured_ns: 0,
            before: Snapshot::default(),
            after: Snapshot::default(),
            progress: Progress::default(),
            stop: stop_of(args.until_eof),
        }
    }

    fn report(self) -> Result<Report, BenchError> {
        if self.measured == 0 {
            return Err(BenchError::Option(
                "nothing was measured: the run was too short".to_owned(),
            ));
        }
        let mut all = self.latencies[0].clone();
        self.latencies[1..]
            .iter()
            .for_each(|other| all.add(other).expect("all histograms have the same bounds"));
        let by_op = Op::ALL
            .into_iter()
            .zip(self.latencies)
            .filter(|(_, latencies)| !latencies.is_empty())
            .collect();
        let used = |before: Usage, after: Usage| after.cpu_us.saturating_sub(before.cpu_us);
        Ok(Report {
            sessions: self.args.sessions,
            outstanding: self.args.outstanding,
            payload: self.args.payload,
            nodes: self.args.nodes,
            rate: self.args.rate,
            ops: self.measured,
            seconds: self.measured_ns as f64 / 1e9,
            all,
            by_op,
            errors: self.errors,
            server_cpu_us: self
                .before
                .server
                .zip(self.after.server)
                .map(|(before, after)| used(before, after)),
            server: self.after.server,
            client_cpu_us: used(self.before.client, self.after.client),
            machine: Machine {
                busy_us: self.after.machine.busy_us - self.before.machine.busy_us,
                idle_us: self.after.machine.idle_us.saturating_sub(self.before.machine.idle_us),
            },
        })
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot {
            server: usage_of_all(&self.args.pid),
            client: usage(None).unwrap_or_default(),
            machine: machine().unwrap_or_default(),
        }
    }

    /// A create or delete of a znode of the session's own: deletes what it has created, creates if
    /// nothing is left.
    fn request_own(&mut self, op: Op, session: u32, xid: i32, out: &mut Vec<u8>) -> Asked {
        let own = &mut self.own[session as usize];
        if op == Op::Delete && own.deleted < own.created {
            own.deleted += 1;
            wire::append_path(out, xid, Op::Delete, &self.tree.own_path(session, own.deleted));
            return Asked { op: Op::Delete, tag: 0 };
        }
        own.created += 1;
        wire::append_create(out, xid, &self.tree.own_path(session, own.created), &self.payload);
        Asked { op: Op::Create, tag: 0 }
    }

    fn tell_progress(&mut self, now_ns: u64) {
        let progress = &mut self.progress;
        let elapsed = now_ns - progress.told_ns;
        if elapsed < 1_000_000_000 {
            return;
        }
        if !self.args.quiet {
            let stage = if matches!(self.stage, Stage::Warming { .. }) {
                "warming up"
            } else {
                "measuring"
            };
            let rate = progress.replies as f64 * 1e9 / elapsed as f64;
            let slowest = progress.slowest_ns as f64 / 1e6;
            say_error!(
                "{:4} s  {stage}  {rate:9.0} op/s  slowest {slowest:8.3} ms",
                progress.second
            );
        }
        *progress =
            Progress { told_ns: now_ns, second: progress.second + 1, ..Progress::default() };
    }
}

impl Work for Load<'_> {
    fn request(&mut self, session: u32, xid: i32, out: &mut Vec<u8>) -> Option<Asked> {
        if self.stage == Stage::Done {
            return None;
        }
        let op = self.args.mix.choose(self.random.next());
        if matches!(op, Op::Create | Op::Delete) {
            return Some(self.request_own(op, session, xid, out));
        }
        let node = self.random.below(self.args.nodes);
        self.templates[op as usize].as_ref()?.append(out, xid, node);
        Some(Asked { op, tag: 0 })
    }

    fn reply(&mut self, reply: Reply) -> Result<(), BenchError> {
        let Reply { asked: Asked { op, .. }, error, latency_ns, .. } = reply;
        self.progress.replies += 1;
        self.progress.slowest_ns = self.progress.slowest_ns.max(latency_ns);
        if matches!(self.stage, Stage::Measuring { .. }) {
            self.measured += 1;
            self.latencies[op as usize].saturating_record(latency_ns);
            if error != 0 {
                match self.errors.iter_mut().find(|(of, code, _)| (*of, *code) == (op, error)) {
                    Some((_, _, count)) => *count += 1,
                    None => self.errors.push((op, error, 1)),
                }
            }
        }
        Ok(())
    }

    fn turn(&mut self, now_ns: u64) -> Phase {
        self.tell_progress(now_ns);
        match self.stage {
            Stage::Fresh => {
                self.progress.told_ns = now_ns;
                self.stage = Stage::Warming { until_ns: now_ns + (self.args.warmup * 1e9) as u64 };
            }
            Stage::Warming { until_ns } if now_ns >= until_ns => {
                self.before = self.snapshot();
                self.stage = Stage::Measuring { since_ns: now_ns };
            }
            Stage::Measuring { since_ns } => {
                self.measured_ns = now_ns - since_ns;
                let over = self.measured_ns as f64 >= self.args.duration * 1e9
                    || self.measured >= self.args.ops
                    || self.stop.load(Ordering::Relaxed);
                if over {
                    self.after = self.snapshot();
                    self.stage = Stage::Done;
                }
            }
            _ => {}
        }
        if self.stage == Stage::Done { Phase::Drain } else { Phase::Issue }
    }
}

const LATENCY_NS_MAX: u64 = 600_000_000_000;
