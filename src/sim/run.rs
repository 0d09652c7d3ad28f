//! `ringkeeper sim`: many seeds on many threads, one seed with its trace, or all defects with the
//! seeds it takes to find them.

use std::any::Any;
use std::backtrace::Backtrace;
use std::collections::BTreeMap;
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use super::coverage::{Coverage, Wanted};
use super::defect::Defect;
use super::ensemble::{self, Ensemble};
use super::property::Checked;
use super::servers::{self, Servers};
use super::trace::Trace;
use super::world::World;

/// Run the server in a simulated world and check what it promises.
#[derive(Args, Clone, Debug)]
pub struct SimArgs {
    /// Number of seeds to run; each seed is a world of its own.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// First seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Run this seed only and print its trace hash; a panic shows its place and backtrace.
    #[arg(long, conflicts_with_all = ["seeds", "from", "defects"])]
    seed: Option<u64>,
    /// Number of threads; one per core by default.
    #[arg(long)]
    threads: Option<usize>,
    /// Switch on one defect; the run is expected to find it.
    #[arg(long, value_enum)]
    defect: Option<Defect>,
    /// Switch on every defect in turn and print the seed that found it.
    #[arg(long)]
    defects: bool,
    /// Run worlds of the elections and the broadcast of several servers, with opaque transactions.
    #[arg(long, group = "several")]
    ensemble: bool,
    /// Run worlds of several whole servers with clients.
    #[arg(long, group = "several")]
    servers: bool,
    /// Fail if a kind of fault did not happen, or no crash interrupted a step of the protocol.
    #[arg(long, requires = "several", conflicts_with_all = ["seed", "defects"])]
    covered: bool,
    /// Rerun every Nth seed and compare the traces; 0 for never.
    #[arg(long, default_value_t = 50)]
    twice: u64,
    /// Lines of the trace to print for a failure, 60 by default; with --seed also where nothing
    /// fails.
    #[arg(long)]
    tail: Option<usize>,
}

/// The outcome of one seed.
#[derive(Clone, Debug)]
struct Outcome {
    seed: u64,
    hash: u64,
    txns: usize,
    crashes: u32,
    coverage: Coverage,
    /// The last lines of its trace.
    tail: Vec<String>,
    failure: Option<Failure>,
}

impl SimArgs {
    fn tail(&self) -> usize {
        self.tail.unwrap_or(TAIL_LINES)
    }
}

#[derive(Clone, Debug)]
struct Failure {
    /// The property that does not hold, or `Panic`.
    property: String,
    exit_code: u8,
    what: String,
}

/// Runs it. The exit code is 0 if all is well, 2 if a defect was not found, 3 if a trace was not
/// the same twice, 4 if a seed has no end, 9 for a panic, and from 10 on the property that does not hold.
pub fn run(args: SimArgs) -> ExitCode {
    if let Some(defect) = args.defect.filter(|defect| !is_built_in(*defect)) {
        say!(
            "{} lives inside a machine: cargo run --release --features mutants -- sim ...",
            name(defect)
        );
        return ExitCode::from(EXIT_MISSED);
    }
    // One seed is run to see where it panics; of many, only the first failure is reported.
    panic::set_hook(Box::new(|info| say_error!("{info}\n{}", Backtrace::force_capture())));
    if let Some(seed) = args.seed {
        return run_one(&args, seed);
    }
    panic::set_hook(Box::new(|_| {}));
    if args.defects {
        return run_defects(&args);
    }
    let began = Instant::now();
    let (outcomes, coverage) = run_many(&args, args.defect, args.from, args.seeds);
    let Some(first) = outcomes.iter().find(|outcome| outcome.failure.is_some()) else {
        let (txns, crashes): (usize, u32) = (
            outcomes.iter().map(|one| one.txns).sum(),
            outcomes.iter().map(|one| one.crashes).sum(),
        );
        let seconds = began.elapsed().as_secs_f64();
        say!(
            "{} seeds, {txns} transactions, {crashes} crashes in {seconds:.1} s: all is well",
            outcomes.len()
        );
        let wanted = match (args.ensemble, args.servers) {
            (true, _) => Some(ensemble::WANTED),
            (_, true) => Some(servers::WANTED),
            _ => None,
        };
        if wanted.is_some_and(|wanted| !print_coverage(&args, &coverage, wanted)) {
            return ExitCode::from(EXIT_MISSED);
        }
        return check_twice(&args, &outcomes);
    };
    print_failure(&args, first)
}

/// Prints what has happened in all worlds together; false if something has not and should have.
fn print_coverage(args: &SimArgs, coverage: &Coverage, wanted: Wanted) -> bool {
    for (what, times) in coverage.lines() {
        say!("{times:>10} {what}");
    }
    let missing = coverage.missing(wanted);
    for what in &missing {
        say!("{:>10} {what}", "never:");
    }
    missing.is_empty() || !args.covered
}

fn run_one(args: &SimArgs, seed: u64) -> ExitCode {
    let outcome = run_seed(args, seed, args.defect, args.tail());
    if outcome.failure.is_none() && args.tail.is_some() {
        print_lines(&outcome.tail);
    }
    say!(
        "seed {seed}: trace {:016x}, {} transactions, {} crashes",
        outcome.hash,
        outcome.txns,
        outcome.crashes
    );
    if outcome.failure.is_some() { print_failure(args, &outcome) } else { ExitCode::SUCCESS }
}

fn print_failure(args: &SimArgs, outcome: &Outcome) -> ExitCode {
    let Some(failure) = &outcome.failure else { return ExitCode::SUCCESS };
    print_lines(&outcome.tail);
    say!("seed {}: {}: {}", outcome.seed, failure.property, failure.what);
    let defect =
        args.defect.map(|defect| format!(" --defect {}", name(defect))).unwrap_or_default();
    let kind = match (args.ensemble, args.servers) {
        (true, _) => " --ensemble",
        (_, true) => " --servers",
        _ => "",
    };
    say!("again: ringkeeper sim{kind} --seed {}{defect} --tail 1000000", outcome.seed);
    ExitCode::from(failure.exit_code)
}

fn print_lines(lines: &[String]) {
    for line in lines {
        say!("{line}");
    }
}

/// Runs some of the seeds again: a trace must be the same to the byte.
fn check_twice(args: &SimArgs, outcomes: &[Outcome]) -> ExitCode {
    if args.twice == 0 {
        return ExitCode::SUCCESS;
    }
    let again: Vec<&Outcome> =
        outcomes.iter().step_by(usize::try_from(args.twice).unwrap_or(usize::MAX)).collect();
    for outcome in &again {
        let second = run_seed(args, outcome.seed, args.defect, 0);
        if second.hash != outcome.hash {
            say!("seed {}: trace {:016x}, then {:016x}", outcome.seed, outcome.hash, second.hash);
            return ExitCode::from(EXIT_TRACE);
        }
    }
    say!("{} of them ran twice with the same trace", again.len());
    ExitCode::SUCCESS
}

fn run_defects(args: &SimArgs) -> ExitCode {
    let mut missed = 0;
    let mut found = Vec::new();
    let wanted = |defect: &&Defect| {
        let of_world = (defect.is_of_ensemble(), defect.is_of_servers());
        is_built_in(**defect) && of_world == (args.ensemble, args.servers)
    };
    for defect in Defect::value_variants().iter().filter(wanted) {
        let (outcomes, _) = run_many(args, Some(*defect), args.from, args.seeds);
        match outcomes.iter().find_map(|outcome| Some((outcome.seed, outcome.failure.as_ref()?))) {
            Some((seed, failure)) => {
                let took = seed - args.from + 1;
                found.push(took);
                say!(
                    "{:<32} found by seed {took:>5}: {}: {}",
                    name(*defect),
                    failure.property,
                    cut(&failure.what)
                );
            }
            None => {
                say!("{:<32} NOT FOUND in {} seeds", name(*defect), args.seeds);
                missed += 1;
            }
        }
    }
    if !cfg!(feature = "mutants") {
        say!("those inside the machines need a build with them: tests/mutants/run defects");
    }
    found.sort_unstable();
    if let Some(median) = found.get(found.len() / 2) {
        say!("{} found, the median by seed {median}", found.len());
    }
    if missed > 0 { ExitCode::from(EXIT_MISSED) } else { ExitCode::SUCCESS }
}

/// Whether this build has the mistake in it.
fn is_built_in(defect: Defect) -> bool {
    cfg!(feature = "mutants") || !defect.is_mutant()
}

fn cut(what: &str) -> String {
    what.chars().take(WHAT_CHARS_SHOWN).collect()
}

fn name(defect: Defect) -> String {
    defect.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

/// Runs seeds in order of their numbers until one fails or all have run; the outcomes are sorted,
/// and none before the first failure is missing. What happened in all is added up.
fn run_many(
    args: &SimArgs,
    defect: Option<Defect>,
    from: u64,
    seeds: u64,
) -> (Vec<Outcome>, Coverage) {
    let threads = args
        .threads
        .or_else(|| std::thread::available_parallelism().ok().map(usize::from))
        .unwrap_or(1);
    let next = AtomicU64::new(from);
    let end = AtomicU64::new(from.saturating_add(seeds));
    let results = Mutex::new((Vec::new(), Coverage::default()));
    let running = Running::new(threads.max(1));
    std::thread::scope(|scope| {
        scope.spawn(|| running.watch());
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end.load(Ordering::Relaxed) {
                        break running.end_thread();
                    }
                    let mut outcome =
                        running.during(seed, || run_seed(args, seed, defect, args.tail()));
                    if outcome.failure.is_some() {
                        end.fetch_min(seed, Ordering::Relaxed);
                    } else {
                        outcome.tail = Vec::new();
                    }
                    if let Ok(mut results) = results.lock() {
                        results.1.add(&std::mem::take(&mut outcome.coverage));
                        results.0.push(outcome);
                    }
                }
            });
        }
    });
    let (mut outcomes, coverage) = results.into_inner().unwrap_or_default();
    outcomes.sort_by_key(|outcome: &Outcome| outcome.seed);
    (outcomes, coverage)
}

/// The seeds that run, since when, and the threads that are not done.
struct Running {
    state: Mutex<(BTreeMap<u64, Instant>, usize)>,
    has_ended: Condvar,
}

impl Running {
    fn new(threads: usize) -> Self {
        Self { state: Mutex::new((BTreeMap::new(), threads)), has_ended: Condvar::new() }
    }

    fn during<T>(&self, seed: u64, run: impl FnOnce() -> T) -> T {
        self.change(|(seeds, _)| {
            seeds.insert(seed, Instant::now());
        });
        let result = run();
        self.change(|(seeds, _)| {
            seeds.remove(&seed);
        });
        result
    }

    fn end_thread(&self) {
        self.change(|(_, threads)| *threads -= 1);
        self.has_ended.notify_all();
    }

    fn change(&self, change: impl FnOnce(&mut (BTreeMap<u64, Instant>, usize))) {
        if let Ok(mut state) = self.state.lock() {
            change(&mut state);
        }
    }

    /// A world counts its events. One whose machines never come back from an event is named, and
    /// ends the run.
    fn watch(&self) {
        let Ok(mut state) = self.state.lock() else { return };
        while state.1 > 0 {
            let waited = self.has_ended.wait_timeout(state, Duration::from_secs(1));
            let Ok((again, _)) = waited else { return };
            state = again;
            let endless = state.0.iter().find(|(_, since)| since.elapsed() > LONGEST);
            if let Some((seed, since)) = endless {
                let seconds = since.elapsed().as_secs();
                say_error!("seed {seed} has run for {seconds} s: it has no end");
                std::process::exit(i32::from(EXIT_ENDLESS));
            }
        }
    }
}

/// One world, from its seed to its end.
fn run_seed(args: &SimArgs, seed: u64, defect: Option<Defect>, tail: usize) -> Outcome {
    Defect::switch_on(defect);
    if args.ensemble {
        return run_ensemble(seed, tail);
    }
    if args.servers {
        let mut world = Servers::new(seed, tail);
        let failure = failure_of(|| world.run());
        let (txns, crashes) = (world.commits(), world.crashes);
        let coverage = world.coverage().clone();
        return outcome(seed, &world.trace, (txns, crashes), coverage, failure);
    }
    let mut world = World::new(seed, defect, tail);
    let failure = failure_of(|| world.run());
    let (txns, crashes) = (world.check.txns(), world.crashes);
    outcome(seed, &world.trace, (txns, crashes), Coverage::default(), failure)
}

/// How a run ends.
fn failure_of(run: impl FnOnce() -> Checked) -> Option<Failure> {
    match panic::catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(())) => None,
        Ok(Err(violation)) => Some(Failure {
            property: format!("{:?}", violation.property),
            exit_code: violation.property.exit_code(),
            what: violation.what,
        }),
        Err(panic) => Some(Failure::of_panic(&*panic)),
    }
}

fn outcome(
    seed: u64,
    trace: &Trace,
    (txns, crashes): (usize, u32),
    coverage: Coverage,
    failure: Option<Failure>,
) -> Outcome {
    let tail = trace.tail().map(str::to_owned).collect();
    Outcome { seed, hash: trace.hash(), txns, crashes, coverage, tail, failure }
}

fn run_ensemble(seed: u64, tail: usize) -> Outcome {
    let mut world = Ensemble::new(seed, tail);
    let ran = panic::catch_unwind(AssertUnwindSafe(|| world.run()));
    let failure = match ran {
        Ok(Ok(())) => None,
        Ok(Err(violation)) => Some(Failure {
            property: violation.name().to_owned(),
            exit_code: EXIT_ENSEMBLE,
            what: violation.to_string(),
        }),
        Err(panic) => Some(Failure::of_panic(&*panic)),
    };
    let (txns, crashes) = (world.commits(), world.crashes());
    outcome(seed, world.trace(), (txns, crashes), world.coverage().clone(), failure)
}

impl Failure {
    fn of_panic(panic: &(dyn Any + Send)) -> Self {
        Self { property: "Panic".to_owned(), exit_code: EXIT_PANIC, what: panic_text(panic) }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without words".to_owned())
}

const TAIL_LINES: usize = 60;
const EXIT_MISSED: u8 = 2;
const EXIT_TRACE: u8 = 3;
/// A seed has run for longer than [`LONGEST`].
const EXIT_ENDLESS: u8 = 4;
/// Some hundred times as long as the longest world takes on a quiet machine.
const LONGEST: Duration = Duration::from_secs(600);
const EXIT_PANIC: u8 = 9;
/// A property of an ensemble; those of one server have numbers from 10 on.
const EXIT_ENSEMBLE: u8 = 8;
const WHAT_CHARS_SHOWN: usize = 110;
