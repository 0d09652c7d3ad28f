//! One executor: a pinned thread of glommio's that drives one raw ring for a shard, for the quorum
//! core, or for both.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use glommio::{LocalExecutorBuilder, Placement};

use crate::frontend::Hold;
use crate::zxid::Now;

use super::quorum_core::QuorumCore;
use super::ring::{Ring, RingConfig, RingError, RingUnavailable, Wait, Waker, awaiting_memory};
use super::shard::Shard;
use super::turn_times::{LongTurns, Part, TurnTimes, TurnWatch};
use super::{SharedTree, clock, slice, sync};

/// Where an executor runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecutorSpec {
    /// The thread's name.
    pub name: String,
    /// The core it is pinned to; `None` leaves it to the kernel.
    pub cpu: Option<usize>,
}

/// The parts that an executor drives. Made on the executor's own thread.
pub struct Workload {
    pub shard: Option<Shard>,
    /// Written while the tree is held for reading, read by the quorum core while it holds the tree
    /// for writing.
    pub watching: Option<Arc<sync::AtomicBool>>,
    pub core: Option<QuorumCore>,
    pub tree: SharedTree,
    /// Where long turns are counted.
    pub long_turns: Arc<LongTurns>,
    /// Set when the server is to stop; the executor ends once nothing is in flight.
    pub stopping: Arc<AtomicBool>,
}

/// Why an executor ended before it was told to.
#[derive(Debug)]
pub enum ExecutorError {
    /// No ring could be set up on its thread.
    Ring(RingUnavailable),
    /// The system gave no thread to the executor of this name.
    NoThread(String, io::Error),
    /// glommio could not set up the executor of this name: its rings, its memory, or the core it is
    /// pinned to.
    SetUp(String, io::Error),
    /// The executor of this name has panicked.
    Panicked(String),
    /// The transaction log could not be written or flushed.
    Log(io::Error),
    /// The ring of a running executor failed.
    Io(io::Error),
}

impl std::fmt::Display for ExecutorError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ring(unavailable) => unavailable.fmt(f),
            Self::NoThread(name, err) => write!(
                f,
                "no thread for the executor {name}: {err}; raise the limits of threads: ulimit -u \
                 4096 (systemd: LimitNPROC=4096 and TasksMax=4096, docker: --pids-limit 4096)"
            ),
            Self::SetUp(name, err) => write!(
                f,
                "the executor {name} cannot be set up: {err}; look at the limits of open files \
                 (ulimit -n) and of locked memory (ulimit -l), and at ringkeeper.cores, whose \
                 cores this process must be allowed to use"
            ),
            Self::Panicked(name) => {
                write!(
                    f,
                    "the executor {name} has panicked: a defect of Ringkeeper; please report what \
                     it said above"
                )
            }
            Self::Log(err) => err.fmt(f),
            Self::Io(err) => write!(f, "the ring of an executor has failed: {err}"),
        }
    }
}

impl std::error::Error for ExecutorError {}

/// Starts an executor on `spec`. `load` is called on its thread with the waker of its ring; `ended`
/// when it is over.
pub fn spawn(
    spec: ExecutorSpec,
    load: impl FnOnce(Waker) -> Workload + Send + 'static,
    ended: impl FnOnce(Result<(), ExecutorError>) + Send + 'static,
) -> Result<thread::JoinHandle<()>, ExecutorError> {
    // glommio pins the thread and carries timers and files; sockets and the log are on the raw
    // ring.
    let placement = spec.cpu.map_or(Placement::Unbound, Placement::Fixed);
    let (name, no_thread) = (spec.name.clone(), spec.name.clone());
    thread::Builder::new()
        .name(spec.name)
        .spawn(move || {
            slice::shorten();
            // A server that has lost one of its threads must not go on without it: its end is told
            // in any case.
            let over = catch_unwind(AssertUnwindSafe(|| {
                let make = || {
                    let builder = LocalExecutorBuilder::new(placement.clone());
                    let made = builder.io_memory(IO_MEMORY_BYTES).ring_depth(RING_DEPTH).make();
                    made.map_err(io::Error::from)
                };
                let lacks_memory = |error: &io::Error| error.raw_os_error() == Some(libc::ENOMEM);
                match awaiting_memory(make, lacks_memory) {
                    Ok(executor) => executor.run(async move { run(load) }),
                    Err(error) => Err(cannot_set_up(name.clone(), error)),
                }
            }));
            ended(over.unwrap_or(Err(ExecutorError::Panicked(name))));
        })
        .map_err(|err| ExecutorError::NoThread(no_thread, err))
}

/// glommio's own rings lack what a ring lacks.
fn cannot_set_up(name: String, err: io::Error) -> ExecutorError {
    match err.raw_os_error() {
        Some(libc::ENOMEM) => ExecutorError::Ring(RingUnavailable::from_setup(err)),
        _ => ExecutorError::SetUp(name, err),
    }
}

fn run(load: impl FnOnce(Waker) -> Workload) -> Result<(), ExecutorError> {
    let ring = Ring::new(RingConfig::default()).map_err(ExecutorError::Ring)?;
    let load = load(ring.waker());
    let watch = TurnWatch::new(load.long_turns.clone());
    Executor { ring, load, next_tick_ms: 0, watch }.run()
}

struct Executor {
    ring: Ring,
    load: Workload,
    next_tick_ms: i64,
    watch: TurnWatch,
}

impl Executor {
    fn run(mut self) -> Result<(), ExecutorError> {
        let failed = |err: RingError| ExecutorError::Io(err.into());
        if let Some(shard) = &mut self.load.shard {
            shard.start(&mut self.ring).map_err(failed)?;
        }
        let mut now = clock::now();
        while !self.finished() {
            let mut times = self.watch.begin();
            self.ring.turn(self.wait(now)).map_err(failed)?;
            times.end(Part::Ring);
            now = clock::now();
            self.turn(now, &mut times).map_err(ExecutorError::Io)?;
            self.watch.note(&times);
            if let Some(err) = self.load.core.as_mut().and_then(QuorumCore::take_failure) {
                return Err(ExecutorError::Log(err));
            }
        }
        self.load.core.map_or(Ok(()), QuorumCore::close).map_err(ExecutorError::Log)
    }

    /// One round: completions, requests, commits, replies, sends.
    fn turn(&mut self, now: Now, times: &mut TurnTimes) -> io::Result<()> {
        let ticking = now.mono_ms >= self.next_tick_ms;
        if ticking {
            self.next_tick_ms = now.mono_ms + TICK_MS;
        }
        if let Some(core) = &mut self.load.core {
            core.begin_flush(&mut self.ring)?;
        }
        self.serve(ticking, now, times)?;
        if let Some(core) = &mut self.load.core {
            if ticking {
                core.on_tick(now);
            }
            times.core_work = Some(core.step(&mut self.ring, now)?);
            times.end(Part::Core);
            // Completions that the first time left are the next turn's.
            if self.load.shard.as_ref().is_some_and(Shard::has_work) {
                self.serve(false, now, times)?;
            }
        }
        if let Some(shard) = &mut self.load.shard {
            shard.flush(&mut self.ring, now)?;
            times.end(Part::Sends);
        }
        Ok(())
    }

    /// Handles completions and waiting requests, with the tree held for reading. Both its work and
    /// its time are bounded: the writer waits for the tree, and clients for their turn.
    fn serve(&mut self, ticking: bool, now: Now, times: &mut TurnTimes) -> io::Result<()> {
        let Self { ring, load, .. } = self;
        let Some(shard) = &mut load.shard else { return Self::serve_core(ring, &mut load.core) };
        if ticking {
            shard.on_tick(ring, now)?;
            times.end(Part::Tick);
        }
        let mut time = HoldTime::new(times.part_began(), hold_time(times.total()));
        let Workload { core, tree, watching, .. } = load;
        let time = &mut time;
        under_hold(tree, shard, watching.as_deref(), now, time, |shard, hold, time| {
            times.end(Part::Drain);
            shard.drain_controls(ring, hold, now)?;
            while !hold.is_half_used()
                && time.is_left(hold.work())
                && let Some(event) = ring.next_event()
            {
                times.completions += 1;
                let event = match core {
                    Some(core) => core.on_event(event),
                    None => Some(event),
                };
                if let Some(event) = event {
                    shard.on_event(event, ring, hold, now)?;
                }
            }
            let completed = hold.work();
            times.end_after(completed, Part::Completions);
            shard.serve_waiting(hold, |work| time.is_left(work));
            times.end_after(hold.work() - completed, Part::Requests);
            times.work += hold.work();
            Ok::<_, RingError>(())
        })
        .unwrap_or(Ok(()))?;
        shard.run_effects(ring, now)?;
        times.end(Part::Effects);
        Ok(())
    }

    /// The completions of a quorum core that has the executor to itself.
    fn serve_core(ring: &mut Ring, core: &mut Option<QuorumCore>) -> io::Result<()> {
        while let Some(event) = ring.next_event() {
            if let Some(core) = core {
                core.on_event(event);
            }
        }
        Ok(())
    }

    fn wait(&self, now: Now) -> Wait {
        let mail = self.load.shard.as_ref().is_some_and(Shard::has_work)
            || self.load.core.as_ref().is_some_and(QuorumCore::has_work);
        let waits = self.load.core.as_ref().is_some_and(QuorumCore::waits_for_reader);
        let core_at = self.load.core.as_ref().map_or(i64::MAX, QuorumCore::wakes_at);
        match self.next_tick_ms.min(core_at) - now.mono_ms {
            2.. if waits && self.load.shard.is_none() => Wait::For(STILL_WAIT),
            _ if mail => Wait::Poll,
            left @ 1.. => Wait::For(Duration::from_millis(left as u64)),
            _ => Wait::Poll,
        }
    }

    fn finished(&self) -> bool {
        self.load.stopping.load(Ordering::Acquire)
            && self.load.shard.as_ref().is_none_or(Shard::drained)
            && self.load.core.as_ref().is_none_or(QuorumCore::idle)
    }
}

/// Takes the tree for reading, empties the shard's queue and lets `serve` use what that yields; not
/// if there is more in the queue than one turn takes. What the shard watches is said before the
/// tree is given back: the next batch finds it.
pub(super) fn under_hold<R>(
    tree: &SharedTree,
    shard: &mut Shard,
    watching: Option<&sync::AtomicBool>,
    now: Now,
    time: &mut HoldTime,
    serve: impl FnOnce(&mut Shard, &mut Hold<'_>, &mut HoldTime) -> R,
) -> Option<R> {
    let mut tree = Some(tree.read());
    let hold = shard.drain(tree.as_ref()?, now, |work| time.is_left(work));
    let served = hold.map(|mut hold| serve(shard, &mut hold, time));
    if misordered!(WatchingSaidLate) {
        tree = None;
    }
    if let Some(watching) = watching {
        watching.store(shard.watching(), Ordering::Release);
    }
    drop(tree);
    served
}

/// The time of one hold on the tree: once it is over it stays over.
#[derive(Debug)]
pub(super) struct HoldTime {
    /// When the part of the turn began that the hold is in.
    began: Instant,
    lasts: Duration,
    /// Times that somebody has asked since the last look at the clock.
    asked: u32,
    /// The work that had been done then.
    looked_at: u32,
    is_over: bool,
}

impl HoldTime {
    /// A hold that began then.
    pub(super) fn new(began: Instant, lasts: Duration) -> Self {
        Self { began, lasts, asked: 0, looked_at: 0, is_over: false }
    }

    /// Whether there is time left. The clock is looked at when as much `work` has been done since
    /// the last look as takes a while, or when this has been asked a few times.
    pub(super) fn is_left(&mut self, work: u32) -> bool {
        self.asked += 1;
        let is_little = work.abs_diff(self.looked_at) < WORK_PER_CLOCK;
        let is_due = !is_little || self.asked >= EVENTS_PER_CLOCK;
        if is_due && !self.is_over {
            (self.asked, self.looked_at) = (0, work);
            self.is_over = self.began.elapsed() >= self.lasts;
        }
        !self.is_over
    }
}

/// The longest time for which the tree may be held in a turn that has taken so long already: what
/// is done in all of it has a bound.
fn hold_time(turn_so_far: Duration) -> Duration {
    TURN_TIME.saturating_sub(turn_so_far).clamp(HOLD_TIME_MIN, HOLD_TIME)
}

/// The interval between two looks at deadlines, in milliseconds.
const TICK_MS: i64 = 100;

/// The interval in which a quorum core that has an executor to itself looks whether a long read has
/// had its time; the end of the read wakes it.
const STILL_WAIT: Duration = Duration::from_millis(1);

/// The longest time for which the tree is held, but for the end of the request at hand.
const HOLD_TIME: Duration = Duration::from_millis(1);
/// The same at the end of a turn that has taken long.
const HOLD_TIME_MIN: Duration = Duration::from_micros(100);
/// The time after which a turn should end.
const TURN_TIME: Duration = Duration::from_millis(3);
/// Completions and turns of connections between two looks at the clock.
const EVENTS_PER_CLOCK: u32 = 8;
/// Units of work of the frontend between two looks at the clock, if they come first: about 50 us.
const WORK_PER_CLOCK: u32 = 2500;

/// glommio's registered memory: its files are not used on these threads.
const IO_MEMORY_BYTES: usize = 64 << 10;
/// glommio's own rings on these threads carry next to nothing.
const RING_DEPTH: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever asks once more, after it was over, is not told that there is time for a little.
    #[test]
    fn a_hold_that_is_over_stays_over() {
        let mut time = HoldTime::new(Instant::now(), Duration::ZERO);
        assert!(!time.is_left(WORK_PER_CLOCK));
        assert!(!time.is_left(WORK_PER_CLOCK) && !time.is_left(WORK_PER_CLOCK + 1));
        let mut time = HoldTime::new(Instant::now(), Duration::ZERO);
        let asked = (1..).find(|_| !time.is_left(0));
        assert_eq!(asked, Some(EVENTS_PER_CLOCK));
        let mut time = HoldTime::new(Instant::now(), Duration::MAX);
        assert!((0..100).all(|nth| time.is_left(nth * WORK_PER_CLOCK)));
    }

    #[test]
    fn the_last_hold_of_a_long_turn_is_short() {
        let times = [0, 1900, 2500, 3000, 90_000].map(Duration::from_micros).map(hold_time);
        assert_eq!(times.map(|time| time.as_micros()), [1000, 1000, 500, 100, 100]);
    }

    #[test]
    fn the_end_of_an_executor_is_told_even_if_it_panics() {
        let (sender, ended) = crossbeam::channel::bounded(1);
        let spec = ExecutorSpec { name: "doomed".into(), cpu: None };
        let thread =
            spawn(spec, |_| panic!("a test of panics"), move |end| drop(sender.send(end))).unwrap();
        assert!(matches!(ended.recv(), Ok(Err(ExecutorError::Panicked(name))) if name == "doomed"));
        thread.join().unwrap();
    }
}
