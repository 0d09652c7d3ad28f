//! Times of an executor's turns, and what the long ones did.
//!
//! A turn is long because it worked long, or because its thread did not run: others had the
//! processor, or held the tree. The thread's own processor time tells them apart. Reading it is a
//! system call, so it is read once in a while, and at the end of a turn that was long.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use log::{debug, warn};

use super::clock::{self, ThreadFigures};
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
    fn add(&self, turn: &TurnTimes, since: &ThreadFigures) -> u64 {
        let work = since.worked;
        let mut figures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        figures.count += 1;
        if work >= LONG {
            figures.worked += 1;
        }
        if turn.total() > figures.longest {
            (figures.longest, figures.longest_did) =
                (turn.total(), format!("{turn}; at most {since}"));
        }
        if work >= LONG && work > figures.most_work {
            (figures.most_work, figures.most_work_did) = (work, format!("{turn}; at most {since}"));
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
    /// When the figures of this thread were read, and what they were.
    read: (Instant, ThreadFigures),
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
    parts: [Duration; PARTS],
}

/// A part of a turn.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    /// The kernel does what was queued, and the thread sleeps.
    Ring,
    /// A tick of the shard.
    Tick,
    /// The tree is taken, and what the quorum core has sent is taken in.
    Drain,
    /// Completions, with the tree held.
    Completions,
    /// Requests that have waited, with the tree held.
    Requests,
    /// What the frontend wants done.
    Effects,
    /// The quorum core's tick and step.
    Core,
    /// Sends queued.
    Sends,
}

const PARTS: usize = Part::Sends as usize + 1;

impl TurnTimes {
    fn begin(now: Instant) -> Self {
        Self { last: now, completions: 0, work: 0, core_work: None, parts: [Duration::ZERO; PARTS] }
    }

    /// A part has ended, and the next one begins.
    pub(crate) fn end(&mut self, part: Part) {
        let now = Instant::now();
        self.parts[part as usize] += now.duration_since(self.last);
        self.last = now;
    }

    /// The same, if there were so many units of work in it that it is worth a look at the clock.
    pub(crate) fn end_after(&mut self, work: u32, part: Part) {
        if work >= WORK_TIMED {
            self.end(part);
        }
    }

    /// When the part at hand began.
    pub(crate) fn part_began(&self) -> Instant {
        self.last
    }

    /// The time for which the executor has heard of nothing new.
    pub(crate) fn total(&self) -> Duration {
        self.parts.iter().sum::<Duration>() - self.of(Part::Ring)
    }

    fn of(&self, part: Part) -> Duration {
        self.parts[part as usize]
    }
}

impl fmt::Display for TurnTimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = |part: Part| self.of(part).as_micros();
        write!(
            f,
            "{} us: tick {} us, drain {} us, {} completions {} us, requests {} us ({} units), \
             effects {} us",
            self.total().as_micros(),
            us(Part::Tick),
            us(Part::Drain),
            self.completions,
            us(Part::Completions),
            us(Part::Requests),
            self.work,
            us(Part::Effects)
        )?;
        if let Some(core_work) = &self.core_work {
            write!(f, ", quorum core {} us ({core_work})", us(Part::Core))?;
        }
        write!(f, ", sends {} us", us(Part::Sends))?;
        write!(f, ", after {} us in the ring, sleep included", us(Part::Ring))
    }
}

impl TurnWatch {
    /// A watch of the thread that calls this; what it sees goes to `long`.
    pub(crate) fn new(long: Arc<LongTurns>) -> Self {
        let now = Instant::now();
        Self { long, ended: now, read: (now, clock::thread_figures()), warned: None }
    }

    /// A turn begins, with the ring's.
    pub(crate) fn begin(&mut self) -> TurnTimes {
        let now = self.ended;
        if now.duration_since(self.read.0) >= READ_EVERY {
            self.read = (now, clock::thread_figures());
        }
        TurnTimes::begin(now)
    }

    /// A turn has ended.
    pub(crate) fn note(&mut self, turn: &TurnTimes) {
        self.ended = turn.last;
        if turn.total().max(turn.of(Part::Ring)) < LONG {
            return;
        }
        let figures = clock::thread_figures();
        // Of the time before the turn there is less than `READ_EVERY` in it.
        let since = figures.since(&self.read.1);
        self.read = (turn.last, figures);
        self.note_long(turn, &since);
    }

    /// A turn that was long, if the sleep in the ring was not all of it.
    fn note_long(&mut self, turn: &TurnTimes, since: &ThreadFigures) {
        let work = since.worked;
        if turn.total().max(work) < LONG {
            return;
        }
        let count = self.long.add(turn, since);
        debug!(
            "a turn took {turn}; at most {since}; turns above {} ms so far: {count}",
            LONG.as_millis(),
        );
        let is_quiet = self.warned.is_none_or(|at| at.elapsed() >= WARN_EVERY);
        if turn.total() >= VERY_LONG && is_quiet {
            self.warned = Some(Instant::now());
            warn!(
                "a turn took {turn}; at most {since}; clients wait that long where the machine is \
                 not overloaded"
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
/// Units of work of the frontend whose time is told by itself: about 50 us.
const WORK_TIMED: u32 = 2500;
/// The time between two looks at the processor time, if a turn begins then.
const READ_EVERY: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(parts: &[(Part, u64)]) -> TurnTimes {
        let mut turn = TurnTimes::begin(Instant::now());
        for (part, us) in parts {
            turn.parts[*part as usize] = Duration::from_micros(*us);
        }
        turn
    }

    fn worked(us: u64) -> ThreadFigures {
        ThreadFigures { worked: Duration::from_micros(us), ..ThreadFigures::default() }
    }

    #[test]
    fn long_turns_are_counted_with_what_they_did() {
        let long = Arc::new(LongTurns::default());
        let mut watch = TurnWatch::new(long.clone());
        watch.note(&turn(&[(Part::Requests, 2000), (Part::Core, 2999)]));
        assert_eq!(long.figures(), LongTurnFigures::default());
        let mut turn = turn(&[(Part::Drain, 500), (Part::Requests, 1500), (Part::Core, 3000)]);
        (turn.completions, turn.work) = (7, 300);
        let since = ThreadFigures { put_off: 1, waited: 2, page_faults: 3, ..worked(4999) };
        watch.note_long(&turn, &since);
        let without_core = "5000 us: tick 0 us, drain 500 us, 7 completions 0 us, requests 1500 us \
                            (300 units), effects 0 us, sends 0 us, after 0 us in the ring, sleep \
                            included; at most 4999 us of work, 3 page faults, 1 times put off, 2 \
                            times waiting";
        let waited = LongTurnFigures {
            count: 1,
            longest: Duration::from_millis(5),
            longest_did: without_core.to_owned(),
            ..LongTurnFigures::default()
        };
        assert_eq!(long.figures(), waited);
        turn.core_work = Some(CoreWork { requests: 9, ticked: true, ..CoreWork::default() });
        let expected = "5000 us: tick 0 us, drain 500 us, 7 completions 0 us, requests 1500 us \
                        (300 units), effects 0 us, quorum core 3000 us (a tick, 9 requests and 0 \
                        units of multis, expiry and sweep prepared in 0 us, log 0 us, 0 units \
                        committed in 0 us, 0 reports of touches, 0 inspections), sends 0 us, after \
                        0 us in the ring, sleep included; at most 5001 us of work, 0 page faults, 0 \
                        times put off, 0 times waiting";
        watch.note_long(&turn, &worked(5001));
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
        let slept = turn(&[(Part::Ring, 100_000)]);
        watch.note_long(&slept, &worked(4000));
        assert_eq!(long.figures().count, 0);
        watch.note_long(&slept, &worked(6000));
        assert_eq!((long.figures().count, long.figures().worked), (1, 1));
    }

    #[test]
    fn parts_add_up() {
        let mut turn = TurnTimes::begin(Instant::now());
        for part in [Part::Ring, Part::Drain, Part::Core, Part::Effects, Part::Sends] {
            turn.end(part);
        }
        let all: Duration = turn.parts.iter().sum();
        assert_eq!(turn.total(), all - turn.of(Part::Ring));
    }
}
