//! Commits held back for a while, so that long reads end.
//!
//! A read that takes many turns begins anew when the data changes under it. A shard may ask for the
//! tree to stay as it is. The core grants that for as long as is asked for, and then commits for
//! three times as long before it grants it again, whichever shard asks: nobody stops the writers.

/// Whether commits are held back.
#[derive(Debug, Default)]
pub struct Stillness {
    /// The monotonic milliseconds at which it began.
    began_ms: Option<i64>,
    /// The monotonic milliseconds before which there is none.
    next_ms: i64,
    last_ms: i64,
}

impl Stillness {
    /// Whether a commit that could be done now is to wait. `wanted_ms` is the longest time, in
    /// milliseconds, for which a shard asks, 0 if none does; `now_ms` is monotonic.
    pub fn holds_back(&mut self, wanted_ms: u32, now_ms: i64) -> bool {
        let Some(began_ms) = self.began_ms else {
            let begins = wanted_ms > 0 && now_ms >= self.next_ms;
            self.began_ms = begins.then_some(now_ms);
            return begins;
        };
        let lasted_ms = now_ms.saturating_sub(began_ms);
        if lasted_ms < i64::from(wanted_ms) {
            return true;
        }
        self.began_ms = None;
        self.last_ms = lasted_ms;
        self.next_ms = now_ms.saturating_add(COMMITS_PER_STILL * lasted_ms.max(1));
        false
    }

    /// The milliseconds for which commits were held back the last time.
    pub fn last_ms(&self) -> i64 {
        self.last_ms
    }
}

/// Milliseconds of commits for each one in which there were none.
const COMMITS_PER_STILL: i64 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever shards ask for, commits are held back for a quarter of the time at most, and for
    /// as long at a time as is asked for.
    #[test]
    fn commits_are_held_back_for_a_quarter_of_the_time_at_most() {
        let mut stillness = Stillness::default();
        let (mut held, mut longest, mut run) = (0, 0, 0);
        for now_ms in 1000..11_000 {
            let is_held = stillness.holds_back(16, now_ms);
            held += u32::from(is_held);
            run = if is_held { run + 1 } else { 0 };
            longest = longest.max(run);
        }
        assert_eq!((held * 4 / 10_000, longest), (1, 16));
        assert!(held < 2600, "{held} of 10,000 ms");
    }

    #[test]
    fn it_ends_when_nobody_asks_any_more() {
        let mut stillness = Stillness::default();
        assert!(!stillness.holds_back(0, 0) && stillness.holds_back(16, 1));
        assert!(stillness.holds_back(16, 4) && !stillness.holds_back(0, 5));
        assert!(!stillness.holds_back(16, 16) && stillness.holds_back(16, 17));
    }
}
