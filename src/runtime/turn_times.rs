//! How long the turns of an executor take, and what the long ones did.

use std::fmt;
use std::time::{Duration, Instant};

use log::{debug, warn};

/// Looks after the turns of one executor. A long one is counted and logged at debug level; a very long
/// one is a warning, of which there is one in a while.
#[derive(Debug, Default)]
pub struct TurnWatch {
    long_turns: u64,
    warned: Option<Instant>,
}

/// One turn, part by part.
#[derive(Debug)]
pub struct TurnTimes {
    last: Instant,
    /// Completions handled.
    pub completions: u32,
    /// Units of work done for clients: see `frontend`.
    pub work: u32,
    clients: Duration,
    core: Duration,
    sends: Duration,
}

/// A part of a turn.
#[derive(Clone, Copy, Debug)]
pub enum Part {
    /// Completions and requests, with the tree held.
    Clients,
    /// The step of the quorum core.
    Core,
    /// Sends queued.
    Sends,
}

impl TurnTimes {
    /// A turn begins.
    pub fn begin() -> Self {
        let none = Duration::ZERO;
        Self { last: Instant::now(), completions: 0, work: 0, clients: none, core: none, sends: none }
    }

    /// A part has ended, and the next one begins.
    pub fn end(&mut self, part: Part) {
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
        write!(
            f,
            "{} us: clients {} us ({completions} completions, {work} units), quorum core {} us, sends {} us",
            self.total().as_micros(),
            clients.as_micros(),
            core.as_micros(),
            sends.as_micros()
        )
    }
}

impl TurnWatch {
    /// A turn has ended. What the quorum core did in a long one, it says itself.
    pub fn note(&mut self, turn: &TurnTimes) {
        if turn.total() < LONG {
            return;
        }
        self.long_turns += 1;
        debug!("a turn took {turn}; turns above {} ms so far: {}", LONG.as_millis(), self.long_turns);
        let is_quiet = self.warned.is_none_or(|at| at.elapsed() >= WARN_EVERY);
        if turn.total() >= VERY_LONG && is_quiet {
            self.warned = Some(Instant::now());
            warn!("a turn took {turn}; clients wait that long where the machine is not overloaded");
        }
    }

    /// How many turns were long.
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
        let expected = "5000 us: clients 2000 us (7 completions, 300 units), quorum core 2000 us, sends 1000 us";
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
