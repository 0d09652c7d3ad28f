//! Greedy clients that do something large once: prepared anew for each round, alone and beside the
//! probe in turn.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::super::BenchError;
use super::super::args::{GreedyArgs, Kind};
use super::super::engine::{Asked, Engine, Phase, Reply, Work};
use super::super::plain::Plain;
use super::flood::send_all;
use super::kinds::{self, NODES, target, tree};
use super::{Beside, Rates, Shared, frames};

/// One deed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Round {
    /// Closing a session with 100,000 ephemerals.
    Close,
    /// Deleting 100,000 znodes that another session watches, until it has all events.
    Delete,
}

impl Round {
    /// The deed that `kind` does once, unless it works all the time.
    pub(super) fn of(kind: Kind) -> Option<Self> {
        match kind {
            Kind::Close => Some(Round::Close),
            Kind::Delete => Some(Round::Delete),
            _ => None,
        }
    }

    /// Does it without anybody beside it.
    pub(super) fn once(self, server: SocketAddr) -> Result<f64, BenchError> {
        self.prepared(server, || {})
    }

    /// Prepares it, calls `start`, does it, and returns the seconds that it took.
    fn prepared(self, server: SocketAddr, start: impl FnOnce()) -> Result<f64, BenchError> {
        match self {
            Round::Close => close(server, start),
            Round::Delete => delete(server, start),
        }
    }
}

/// Runs two rounds of each sort.
pub(super) fn run(
    args: &GreedyArgs,
    round: Round,
    shared: &Shared,
    with: &Beside,
) -> Result<Rates, BenchError> {
    let mut rates = Rates::default();
    for turn in 0..2 * ROUNDS {
        let beside = turn % 2 == 1;
        let seconds = round.prepared(args.server, || start(with, beside))?;
        // What is still being done after the answer hurts as well.
        thread::sleep(LEAD);
        with.measure(false);
        rates.push(beside, NODES as f64 / seconds);
        shared.count(NODES);
    }
    Ok(rates)
}

/// Lets the server rest from the preparation and the probe get under way.
fn start(with: &Beside, beside: bool) {
    thread::sleep(REST);
    with.measure(beside);
    thread::sleep(LEAD);
}

/// Closes a session of 100,000 ephemerals; returns the seconds until the last of them has gone.
fn close(server: SocketAddr, start: impl FnOnce()) -> Result<f64, BenchError> {
    let mut greedy = Engine::connect(&target(server, 1))?;
    send_all(&mut greedy, 16, kinds::ephemerals("close"))?;
    start();
    let since = Instant::now();
    greedy.close()?;
    let mut look = Plain::open(server, 30_000).map_err(BenchError::io("looking"))?;
    let mut last = frames::read(EXISTS, &format!("{}-close/e{:06}", tree().root, NODES - 1), false);
    while look.ask(&mut last).map_err(BenchError::io("looking"))? == 0 {
        thread::sleep(Duration::from_millis(2));
    }
    let seconds = since.elapsed().as_secs_f64();
    look.close().map_err(BenchError::io("looking"))?;
    Ok(seconds)
}

/// Deletes 100,000 watched znodes; returns the seconds until all are gone and the watcher has all
/// events.
fn delete(server: SocketAddr, start: impl FnOnce()) -> Result<f64, BenchError> {
    let tree = kinds::tree_to_delete();
    kinds::prepare_tree(server, &tree)?;
    let mut greedy = Engine::connect(&target(server, 1))?;
    let (tell_ready, ready) = mpsc::channel();
    let watcher = thread::spawn(move || {
        let mut watcher = Engine::connect(&target(server, 1))?;
        send_all(&mut watcher, 4, kinds::watches(&kinds::tree_to_delete()))?;
        drop(tell_ready);
        listen(&mut watcher, NODES)
    });
    // It never sends: this returns when the watches are set, or when that has failed.
    let _: Result<(), _> = ready.recv();
    start();
    let since = Instant::now();
    send_all(&mut greedy, 4000, (0..NODES).map(|node| frames::delete(&tree.node_path(node))))?;
    watcher
        .join()
        .map_err(|_| BenchError::Option("the watcher's thread has panicked".to_owned()))??;
    Ok(since.elapsed().as_secs_f64())
}

/// Waits until the sessions have got this many events.
pub(super) fn listen(engine: &mut Engine, events: u64) -> Result<(), BenchError> {
    let mut listen = Listen { left: events, until: Instant::now() + EVENTS_TIME };
    engine.run(&mut listen, 1, None)?;
    match listen.left {
        0 => Ok(()),
        left => Err(BenchError::Option(format!("{left} of {events} events have not come"))),
    }
}

/// Asks nothing and counts events.
struct Listen {
    left: u64,
    until: Instant,
}

impl Work for Listen {
    fn request(&mut self, _session: u32, _xid: i32, _out: &mut Vec<u8>) -> Option<Asked> {
        None
    }

    fn reply(&mut self, _reply: Reply) -> Result<(), BenchError> {
        Ok(())
    }

    fn event(&mut self, _session: u32) {
        self.left = self.left.saturating_sub(1);
    }

    fn turn(&mut self, _now_ns: u64) -> Phase {
        if self.left == 0 || Instant::now() > self.until { Phase::Leave } else { Phase::Issue }
    }
}

const ROUNDS: u32 = 2;

/// Rest after the preparation.
const REST: Duration = Duration::from_millis(500);

/// The time for which the probe works before the deed and after it.
const LEAD: Duration = Duration::from_millis(200);

/// The time that events may take.
const EVENTS_TIME: Duration = Duration::from_secs(60);

const EXISTS: i32 = 3;
