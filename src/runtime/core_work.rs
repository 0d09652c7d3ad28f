//! The work of the quorum core in one turn of its executor: said when the turn was long.

use std::fmt;
use std::time::Duration;

/// The work of one turn: of the tick, if there was one, and of the step after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CoreWork {
    /// There was a tick: whoever is due was looked for.
    pub ticked: bool,
    /// Reports asked for by the four-letter words.
    pub inspections: usize,
    /// Reports of touches taken in.
    pub touch_reports: usize,
    /// Requests prepared.
    pub requests: usize,
    /// Units of work on long multis, and of what time had made due: sessions that expired,
    /// containers looked at.
    pub due_units: u64,
    /// Units of work of commits, all under one hold of the tree.
    pub commit_units: u64,
    /// The time that preparing took.
    pub preparing: Duration,
    /// The time that writing the log took.
    pub logging: Duration,
    /// The time that commits took, with the wait for the tree.
    pub committing: Duration,
}

impl fmt::Display for CoreWork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}{} requests and {} units of multis, expiry and sweep prepared in {} us, log {} us, \
             {} units committed in {} us, {} reports of touches, {} inspections",
            if self.ticked { "a tick, " } else { "" },
            self.requests,
            self.due_units,
            self.preparing.as_micros(),
            self.logging.as_micros(),
            self.commit_units,
            self.committing.as_micros(),
            self.touch_reports,
            self.inspections
        )
    }
}
