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
    /// The same of each server, and of its connections to others.
    rough_at_us: Vec<u64>,
    /// When whole frames of a session came to a server that serves it, in monotonic milliseconds,
    /// and which: those of the last seconds.
    heard: BTreeMap<i64, VecDeque<(i64, usize)>>,
    /// The longest timeout that a client of the session has asked for.
    wanted_ms: BTreeMap<i64, i32>,
    /// The longest time from a server's hearing of a session to its leader's.
    pub(super) lag_ms: i64,
    /// Servers from this one on are observers, and what they have heard of may come to the leader by
    /// way of any other server.
    pub(super) relayed_from: Option<usize>,
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

    /// Something of one server is slow or down until then.
    pub(super) fn rough_at(&mut self, server: usize, until_us: u64) {
        self.rough_until(until_us);
        self.rough_connections(server, until_us);
    }

    /// The same at this moment.
    pub(super) fn rough_at_now(&mut self, server: usize) {
        self.rough_at(server, self.now_us);
    }

    /// A server's connections are disturbed until then. If that ends its role, it has ended so long
    /// after that.
    pub(super) fn rough_connections(&mut self, server: usize, until_us: u64) {
        if self.rough_at_us.len() <= server {
            self.rough_at_us.resize(server + 1, 0);
        }
        let until = &mut self.rough_at_us[server];
        *until = (*until).max(until_us);
    }

    /// Whether a server and its connections have been undisturbed since then.
    fn is_smooth_at(&self, server: usize, ms: i64) -> bool {
        self.rough_at_us.get(server).is_none_or(|until| (*until / 1000) as i64 <= ms)
    }

    /// Whether nothing has kept a leader from hearing what a server has heard since then.
    fn is_smooth_from(&self, server: usize, ms: i64) -> bool {
        let is_relayed = self.relayed_from.is_some_and(|first| server >= first);
        let others = 0..self.rough_at_us.len();
        self.is_smooth_at(server, ms)
            && (!is_relayed || others.into_iter().all(|other| self.is_smooth_at(other, ms)))
    }

    /// Whether nothing has disturbed the servers since then.
    pub(super) fn is_smooth_since(&self, ms: i64) -> bool {
        (self.rough_until_us / 1000) as i64 <= ms
    }

    pub(super) fn on_heard(&mut self, session: i64, server: usize, mono_ms: i64) {
        let times = self.heard.entry(session).or_default();
        if times.back() != Some(&(mono_ms, server)) {
            times.push_back((mono_ms, server));
        }
        while times.len() > 1 && times[0].0 < mono_ms - KEPT_MS {
            times.pop_front();
        }
    }

    pub(super) fn on_wanted(&mut self, session: i64, timeout_ms: i32) {
        let longest = self.wanted_ms.entry(session).or_default();
        *longest = timeout_ms.max(*longest);
    }

    /// The longest timeout that a client of the session has asked for.
    pub(super) fn wanted_ms(&self, session: i64) -> i32 {
        self.wanted_ms.get(&session).copied().unwrap_or(0)
    }

    /// A leader ends a session. It knows of what a server has heard if neither of the two has been
    /// disturbed, whatever the others are at.
    pub(super) fn judge_expiry(
        &self,
        session: i64,
        timeout_ms: i32,
        leader: usize,
        mono_ms: i64,
    ) -> Checked {
        let times = self.heard.get(&session).into_iter().flatten();
        let known = times.copied().filter(|(at, server)| {
            let since = at - i64::from(timeout_ms);
            *at <= mono_ms - self.lag_ms
                && self.is_smooth_from(*server, since)
                && self.is_smooth_at(leader, since)
        });
        let last = known.max();
        let is_early = last.is_some_and(|(at, _)| mono_ms - at < i64::from(timeout_ms));
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
            let last = self.heard.get(session).and_then(|times| times.back());
            let last = last.map(|(at, _)| *at);
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

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: i64 = 7;

    /// A leader, number 0, ends a session of 600 ms, 200 ms after server 1 has heard of it.
    fn is_noticed(disturb: impl Fn(&mut Spells)) -> bool {
        let mut spells = Spells { lag_ms: 100, ..Spells::default() };
        spells.at(4_700_000);
        disturb(&mut spells);
        spells.on_heard(SESSION, 1, 4_800);
        spells.at(5_000_000);
        spells.judge_expiry(SESSION, 600, 0, 5_000).is_err()
    }

    /// Whatever a third server is at: it has no part in it.
    #[test]
    fn a_session_may_end_early_only_where_its_server_or_leader_is_disturbed() {
        assert!(is_noticed(|_| ()));
        assert!(is_noticed(|spells| spells.rough_at_now(2)));
        assert!(is_noticed(Spells::rough_now));
        assert!(!is_noticed(|spells| spells.rough_at_now(0)));
        assert!(!is_noticed(|spells| spells.rough_at_now(1)));
        assert!(!is_noticed(|spells| spells.rough_connections(1, 4_500_000)));
    }
}
