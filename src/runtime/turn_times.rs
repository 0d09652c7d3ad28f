//! Times of an executor's turns, and what the long ones did.

use std::fmt;
use std::time::{Duration, Instant};

use log::{debug, warn};

use super::core_work::CoreWork;

/// Looks after the turns of one executor. A long one is counted and logged at debug level; a very
/// long one is a warning, of which there is one in a while.
#[derive(Debug, Default)]
pub(crate) struct TurnWatch {
    long_turns: u64,
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
    clients: Duration,
    core: Duration,
    sends: Duration,
}

/// A part of a turn.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    /// Completions and requests, with the tree held.
    Clients,
    /// The quorum core's tick and step.
    Core,
    /// Sends queued.
    Sends,
}

impl TurnTimes {
    /// A turn begins.
    pub(crate) fn begin() -> Self {
        let none = Duration::ZERO;
        Self {
            last: Instant::now(),
            completions: 0,
            work: 0,
            core_work: None,
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
            Part::Clients => self.clients += took,
            Part::Core => self.core += took,
            Part::Sends => self.sends += took,
        }
    }

    fn total(&self) -> Duration {
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
        write!(f, ", sends {} us", sends.as_micros())
    }
}

impl TurnWatch {
    /// A turn has ended.
    pub(crate) fn note(&mut self, turn: &TurnTimes) {
        if turn.total() < LONG {
            return;
        }
        self.long_turns += 1;
        debug!(
            "a turn took {turn}; turns above {} ms so far: {}",
            LONG.as_millis(),
            self.long_turns
        );
        let is_quiet = self.warned.is_none_or(|at| at.elapsed() >= WARN_EVERY);
        if turn.total() >= VERY_LONG && is_quiet {
            self.warned = Some(Instant::now());
            warn!("a turn took {turn}; clients wait that long where the machine is not overloaded");
        }
    }

    /// The number of long turns.
    #[cfg(test)]
    fn long_turns(&self) -> u64 {
        self.long_turns
    }
}

/// A turn that takes longer is counted.
const LONG: Duration = Duration::from_millis(5);
/// A turn that takes longer is a warning.
const VERY_LONG: Duration = Duration::from_millis(50);
/// The time between two warnings.
const WARN_EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_turns_are_counted_with_what_they_did() {
        let mut watch = TurnWatch::default();
        let mut turn = TurnTimes::begin();
        (turn.clients, turn.core, turn.sends) =
            (Duration::from_millis(2), Duration::from_millis(2), Duration::from_micros(999));
        watch.note(&turn);
        assert_eq!(watch.long_turns(), 0);
        turn.sends += Duration::from_micros(1);
        (turn.completions, turn.work) = (7, 300);
        watch.note(&turn);
        assert_eq!(watch.long_turns(), 1);
        let without_core = "5000 us: clients 2000 us (7 completions, 300 units), sends 1000 us";
        assert_eq!(turn.to_string(), without_core);
        turn.core_work = Some(CoreWork { requests: 9, ticked: true, ..CoreWork::default() });
        let expected = "5000 us: clients 2000 us (7 completions, 300 units), quorum core 2000 us \
                        (a tick, 9 requests prepared, 0 units committed, 0 units of multis, expiry \
                        and sweep, 0 reports of touches, 0 inspections), sends 1000 us";
        assert_eq!(turn.to_string(), expected);
    }

    #[test]
    fn parts_add_up() {
        let mut turn = TurnTimes::begin();
        for part in [Part::Clients, Part::Core, Part::Clients, Part::Sends] {
            turn.end(part);
        }
        assert_eq!(turn.total(), turn.clients + turn.core + turn.sends);
    }
}
