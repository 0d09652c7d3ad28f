//! A warning that anybody can provoke: it is said once in a while, with the number of times that it
//! was not said.

use log::warn;

/// One kind of warning.
#[derive(Debug, Default)]
pub struct Warnings {
    /// Nothing is said before this time.
    next_ms: i64,
    unsaid: u64,
}

impl Warnings {
    /// Says it or counts it.
    pub fn warn(&mut self, now_ms: i64, what: impl FnOnce() -> String) {
        if let Some(more) = self.due(now_ms) {
            match more {
                0 => warn!("{}", what()),
                more => warn!("{} ({more} more since the last time that this was said)", what()),
            }
        }
    }

    /// Whether it is to be said, and how many were not said before.
    fn due(&mut self, now_ms: i64) -> Option<u64> {
        if now_ms < self.next_ms {
            self.unsaid += 1;
            return None;
        }
        self.next_ms = now_ms + INTERVAL_MS;
        Some(std::mem::take(&mut self.unsaid))
    }
}

/// The time between two warnings of a kind.
const INTERVAL_MS: i64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_one_warning_and_a_number() {
        let mut warnings = Warnings::default();
        assert_eq!(warnings.due(5), Some(0));
        assert!((6..1_000).all(|now_ms| warnings.due(now_ms).is_none()));
        assert_eq!(warnings.due(5 + INTERVAL_MS), Some(994));
    }
}
