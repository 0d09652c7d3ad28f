//! Times: when a session was heard of, and since when nothing has disturbed the servers. A session
//! of a server that is cut off from its leader may expire; one may live on while there is no leader.

use std::collections::{BTreeMap, VecDeque};

use crate::sim::judge::judge_waited;
use crate::sim::model::Model;
use crate::sim::property::{Checked, hold};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Spells {
    now_us: u64,
    /// Until then something was slow, cut or down.
    rough_until_us: u64,
    /// When whole frames of a session came to a server that serves it, in monotonic milliseconds:
    /// those of the last seconds.
    heard: BTreeMap<i64, VecDeque<i64>>,
    /// The longest timeout that a client of the session has asked for.
    wanted_ms: BTreeMap<i64, i32>,
    /// The longest time from a server's hearing of a session to its leader's.
    pub(super) lag_ms: i64,
    /// The time that a request may wait.
    pub(super) patience_us: u64,
}

impl Spells {
    pub(super) fn at(&mut self, now_us: u64) {
        self.now_us = now_us;
    }

    pub(super) fn now_us(&self) -> u64 {
        self.now_us
    }

    pub(super) fn rough_until(&mut self, until_us: u64) {
        self.rough_until_us = self.rough_until_us.max(until_us);
    }

    pub(super) fn rough_now(&mut self) {
        self.rough_until(self.now_us);
    }

    /// Whether nothing has disturbed the servers since then.
    pub(super) fn is_smooth_since(&self, ms: i64) -> bool {
        (self.rough_until_us / 1000) as i64 <= ms
    }

    pub(super) fn on_heard(&mut self, session: i64, mono_ms: i64) {
        let times = self.heard.entry(session).or_default();
        if times.back() != Some(&mono_ms) {
            times.push_back(mono_ms);
        }
        while times.len() > 1 && times[0] < mono_ms - KEPT_MS {
            times.pop_front();
        }
    }

    pub(super) fn on_wanted(&mut self, session: i64, timeout_ms: i32) {
        let longest = self.wanted_ms.entry(session).or_default();
        *longest = timeout_ms.max(*longest);
    }

    /// A leader ends a session.
    pub(super) fn judge_expiry(&self, session: i64, timeout_ms: i32, mono_ms: i64) -> Checked {
        let times = self.heard.get(&session).into_iter().flatten();
        let last = times.copied().filter(|at| *at <= mono_ms - self.lag_ms).max();
        let is_early = last.is_some_and(|at| {
            mono_ms - at < i64::from(timeout_ms) && self.is_smooth_since(at - i64::from(timeout_ms))
        });
        hold!(
            !is_early,
            ExpiredEarly,
            "session {session:x} of {timeout_ms} ms was heard of at {last:?}, it is {mono_ms}"
        );
        Ok(())
    }

    /// The sessions of a leader: none is left that nothing has been heard of for long.
    pub(super) fn judge_sessions(&self, state: &Model, mono_ms: i64, grace_ms: i64) -> Checked {
        for (session, timeout_ms) in &state.sessions {
            let timeout_ms = timeout_ms.max(self.wanted_ms.get(session).unwrap_or(&0));
            let due_ms = i64::from(*timeout_ms) + self.lag_ms + grace_ms;
            let last = self.heard.get(session).and_then(|times| times.back()).copied();
            let is_late = mono_ms - last.unwrap_or(mono_ms) > due_ms;
            hold!(
                !is_late || !self.is_smooth_since(mono_ms - due_ms),
                ExpiredLate,
                "session {session:x} of {timeout_ms} ms: heard of at {last:?}, it is {mono_ms}"
            );
        }
        Ok(())
    }

    pub(super) fn judge_wait(&self, session: i64, xid: i32, came_us: u64) -> Checked {
        let waited_us = self.now_us.saturating_sub(came_us.max(self.rough_until_us));
        judge_waited(session, xid, waited_us, self.patience_us)
    }
}

/// Longer than any session lives without being heard of.
const KEPT_MS: i64 = 5_000;
