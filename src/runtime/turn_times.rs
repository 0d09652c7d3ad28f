//! Times of an executor's turns, and what the long ones did.
//!
//! A turn is long because it worked long, or because its thread did not run: others had the
//! processor, or held the tree. The thread's own processor time tells them apart. Reading it is a
//! system call, so it is read once in a while, and at the end of a turn that was long.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use log::{debug, warn};

use super::clock;
use super::core_work::CoreWork;

/// The long turns of all executors: counted, and the two worst of them in words.
#[derive(Debug, Default)]
pub struct LongTurns(Mutex<LongTurnFigures>);

/// The figures of [`LongTurns`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LongTurnFigures {
    /// Turns that took longer than [`LONG`].
    pub count: u64,
    /// Those of them that may have worked that long: the others waited for a processor or a lock.
    pub worked: u64,
    /// The longest one.
    pub longest: Duration,
    /// The work of that turn, in words.
    pub longest_did: String,
    /// The most work in one turn: the processor's time.
    pub most_work: Duration,
    /// The work of that turn, in words.
    pub most_work_did: String,
}

impl LongTurns {
    /// The figures so far.
    pub fn figures(&self) -> LongTurnFigures {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts a turn; returns how many there have been.
    fn add(&self, turn: &TurnTimes, work: Duration) -> u64 {
        let mut figures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        figures.count += 1;
        if work >= LONG {
            figures.worked += 1;
        }
        if turn.total() > figures.longest {
            (figures.longest, figures.longest_did) = (turn.total(), turn.to_string());
        }
        if work >= LONG && work > figures.most_work {
            (figures.most_work, figures.most_work_did) = (work, turn.to_string());
        }
        figures.count
    }
}

/// Looks after the turns of one executor. A long one is counted and logged at debug level; a very
/// long one is a warning, of which there is one in a while.
#[derive(Debug)]
pub(crate) struct TurnWatch {
    long: Arc<LongTurns>,
    /// When the last turn ended: the next one begins with it.
    ended: Instant,
    /// When the processor time of this thread was read, and what it was.
    read: (Instant, Duration),
    warned: Option<Instant>,
}

/// One turn, part by part.
#[derive(Debug)]
pub(crate) struct TurnTimes {
    last: Instant,
    /// Completions handled.
    pub completions: u32,
    /// Units of work done for clients: see `frontend`.
    pub work: u32,
    /// The quorum core's work, where the executor carries it.
    pub core_work: Option<CoreWork>,
    /// The turn of the ring, its sleep included.
    ring: Duration,
    clients: Duration,
    core: Duration,
    sends: Duration,
}

/// A part of a turn.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    /// The kernel does what was queued, and the thread sleeps.
    Ring,
    /// Completions and requests, with the tree held.
    Clients,
    /// The quorum core's tick and step.
    Core,
    /// Sends queued.
    Sends,
}

impl TurnTimes {
    fn begin(now: Instant) -> Self {
        let none = Duration::ZERO;
        Self {
            last: now,
            completions: 0,
            work: 0,
            core_work: None,
            ring: none,
            clients: none,
            core: none,
            sends: none,
        }
    }

    /// A part has ended, and the next one begins.
    pub(crate) fn end(&mut self, part: Part) {
        let now = Instant::now();
        let took = now.duration_since(self.last);
        self.last = now;
        match part {
            Part::Ring => self.ring += took,
            Part::Clients => self.clients += took,
            Part::Core => self.core += took,
            Part::Sends => self.sends += took,
        }
    }

    /// The time for which the executor has heard of nothing new.
    pub(crate) fn total(&self) -> Duration {
        self.clients + self.core + self.sends
    }
}

impl fmt::Display for TurnTimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { completions, work, clients, core, sends, .. } = self;
        let (total, clients) = (self.total().as_micros(), clients.as_micros());
        write!(f, "{total} us: clients {clients} us ({completions} completions, {work} units)")?;
        if let Some(core_work) = &self.core_work {
            write!(f, ", quorum core {} us ({core_work})", core.as_micros())?;
        }
        write!(f, ", sends {} us", sends.as_micros())?;
        write!(f, ", after {} us in the ring, sleep included", self.ring.as_micros())
    }
}

impl TurnWatch {
    /// A watch of the thread that calls this; what it sees goes to `long`.
    pub(crate) fn new(long: Arc<LongTurns>) -> Self {
        let now = Instant::now();
        Self { long, ended: now, read: (now, clock::thread_time()), warned: None }
    }

    /// A turn begins, with the ring's.
    pub(crate) fn begin(&mut self) -> TurnTimes {
        let now = self.ended;
        if now.duration_since(self.read.0) >= READ_EVERY {
            self.read = (now, clock::thread_time());
        }
        TurnTimes::begin(now)
    }

    /// A turn has ended.
    pub(crate) fn note(&mut self, turn: &TurnTimes) {
        self.ended = turn.last;
        if turn.total().max(turn.ring) < LONG {
            return;
        }
        let time = clock::thread_time();
        // Of the time before the turn there is less than `READ_EVERY` in it.
        let work = time.saturating_sub(self.read.1);
        self.read = (turn.last, time);
        self.note_long(turn, work);
    }

    /// A turn that was long, if the sleep in the ring was not all of it.
    fn note_long(&mut self, turn: &TurnTimes, work: Duration) {
        if turn.total().max(work) < LONG {
            return;
        }
        let count = self.long.add(turn, work);
        let work_us = work.as_micros();
        debug!(
            "a turn took {turn}; it worked for {work_us} us at most; turns above {} ms so far: \
             {count}",
            LONG.as_millis(),
        );
        let is_quiet = self.warned.is_none_or(|at| at.elapsed() >= WARN_EVERY);
        if turn.total() >= VERY_LONG && is_quiet {
            self.warned = Some(Instant::now());
            warn!(
                "a turn took {turn}; it worked for {work_us} us at most; clients wait that long \
                 where the machine is not overloaded"
            );
        }
    }
}

/// A turn that takes longer is counted.
pub const LONG: Duration = Duration::from_millis(5);
/// A turn that takes longer is a warning.
const VERY_LONG: Duration = Duration::from_millis(50);
/// The time between two warnings.
const WARN_EVERY: Duration = Duration::from_secs(60);
/// The time between two looks at the processor time, if a turn begins then.
const READ_EVERY: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(clients_us: u64, core_us: u64, sends_us: u64) -> TurnTimes {
        let mut turn = TurnTimes::begin(Instant::now());
        (turn.clients, turn.core, turn.sends) = (
            Duration::from_micros(clients_us),
            Duration::from_micros(core_us),
            Duration::from_micros(sends_us),
        );
        turn
    }

    #[test]
    fn long_turns_are_counted_with_what_they_did() {
        let long = Arc::new(LongTurns::default());
        let mut watch = TurnWatch::new(long.clone());
        watch.note(&turn(2000, 2000, 999));
        assert_eq!(long.figures(), LongTurnFigures::default());
        let mut turn = turn(2000, 2000, 1000);
        (turn.completions, turn.work) = (7, 300);
        watch.note_long(&turn, Duration::from_micros(4999));
        let without_core = "5000 us: clients 2000 us (7 completions, 300 units), sends 1000 us, \
                            after 0 us in the ring, sleep included";
        let waited = LongTurnFigures {
            count: 1,
            longest: Duration::from_millis(5),
            longest_did: without_core.to_owned(),
            ..LongTurnFigures::default()
        };
        assert_eq!(long.figures(), waited);
        turn.core_work = Some(CoreWork { requests: 9, ticked: true, ..CoreWork::default() });
        let expected = "5000 us: clients 2000 us (7 completions, 300 units), quorum core 2000 us \
                        (a tick, 9 requests prepared, 0 units committed, 0 units of multis, expiry \
                        and sweep, 0 reports of touches, 0 inspections), sends 1000 us, after 0 us \
                        in the ring, sleep included";
        watch.note_long(&turn, Duration::from_micros(5001));
        let worked = LongTurnFigures {
            count: 2,
            worked: 1,
            most_work: Duration::from_micros(5001),
            most_work_did: expected.to_owned(),
            ..waited
        };
        assert_eq!(long.figures(), worked);
    }

    /// The kernel works for the sends of a turn on this thread, and that counts.
    #[test]
    fn a_turn_of_the_ring_counts_if_the_thread_has_worked_in_it() {
        let long = Arc::new(LongTurns::default());
        let mut watch = TurnWatch::new(long.clone());
        let mut slept = turn(0, 0, 0);
        slept.ring = Duration::from_millis(100);
        watch.note_long(&slept, Duration::from_millis(4));
        assert_eq!(long.figures().count, 0);
        watch.note_long(&slept, Duration::from_millis(6));
        assert_eq!((long.figures().count, long.figures().worked), (1, 1));
    }

    #[test]
    fn parts_add_up() {
        let mut turn = TurnTimes::begin(Instant::now());
        for part in [Part::Ring, Part::Clients, Part::Core, Part::Clients, Part::Sends] {
            turn.end(part);
        }
        assert_eq!(turn.total(), turn.clients + turn.core + turn.sends);
    }
}
