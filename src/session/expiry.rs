//! When sessions end: buckets of one tick each, so that a touch rarely moves anything (`ExpiryQueue`).

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;

use crate::zxid::SessionId;

/// Sessions by the time at which they expire. Times are monotonic milliseconds; memory is proportional to the sessions.
#[derive(Debug)]
pub struct ExpiryQueue {
    tick_ms: i64,
    sessions: HashMap<SessionId, Due, foldhash::fast::FixedState>,
    buckets: BTreeMap<i64, BTreeSet<SessionId>>,
}

#[derive(Clone, Copy, Debug)]
struct Due {
    timeout_ms: i32,
    bucket: i64,
}

impl ExpiryQueue {
    /// An empty queue whose buckets are `tick_ms` apart.
    pub fn new(tick_ms: i64) -> Self {
        let hasher = foldhash::fast::FixedState::with_seed(0);
        Self { tick_ms: tick_ms.max(1), sessions: HashMap::with_hasher(hasher), buckets: BTreeMap::new() }
    }

    /// Starts a session's timer at `now_ms`, or restarts it with another timeout, which may bring its end nearer.
    pub fn track(&mut self, session: SessionId, timeout_ms: i32, now_ms: i64) {
        self.remove(session);
        let bucket = self.bucket(now_ms, timeout_ms);
        self.sessions.insert(session, Due { timeout_ms, bucket });
        self.buckets.entry(bucket).or_default().insert(session);
    }

    /// The session was heard of at `at_ms`. A report older than one already known changes nothing. False if it is
    /// unknown.
    pub fn touch(&mut self, session: SessionId, at_ms: i64) -> bool {
        let tick_ms = self.tick_ms;
        let Some(due) = self.sessions.get_mut(&session) else { return false };
        let bucket = bucket_of(at_ms, due.timeout_ms, tick_ms);
        if bucket > due.bucket {
            let old = std::mem::replace(&mut due.bucket, bucket);
            self.leave_bucket(session, old);
            self.buckets.entry(bucket).or_default().insert(session);
        }
        true
    }

    /// Forgets a session. False if it was unknown.
    pub fn remove(&mut self, session: SessionId) -> bool {
        let Some(due) = self.sessions.remove(&session) else { return false };
        self.leave_bucket(session, due.bucket);
        true
    }

    /// Takes out and returns the sessions whose time is at or before `now_ms`: by time, then by id.
    pub fn expired(&mut self, now_ms: i64) -> Vec<SessionId> {
        let mut all = Vec::new();
        while let Some(first) = self.buckets.first_entry() {
            if *first.key() > now_ms {
                break;
            }
            all.extend(first.remove());
        }
        for session in &all {
            self.sessions.remove(session);
        }
        all
    }

    /// Whether the session's timer runs.
    pub fn contains(&self, session: SessionId) -> bool {
        self.sessions.contains_key(&session)
    }

    /// The timeout that the session runs with, in milliseconds.
    pub fn timeout_ms(&self, session: SessionId) -> Option<i32> {
        self.sessions.get(&session).map(|due| due.timeout_ms)
    }

    /// How many sessions there are.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// The buckets that hold sessions, soonest first: the monotonic time of expiry and who expires then (`dump`).
    pub fn buckets(&self) -> impl Iterator<Item = (i64, impl Iterator<Item = SessionId>)> {
        self.buckets.iter().map(|(&at, sessions)| (at, sessions.iter().copied()))
    }

    /// Gives every session at least until `now_ms` plus its own timeout: nobody could be heard of while we were away.
    pub fn touch_all(&mut self, now_ms: i64) {
        let mut sessions: Vec<SessionId> = self.sessions.keys().copied().collect();
        sessions.sort_unstable();
        for session in sessions {
            self.touch(session, now_ms);
        }
    }

    fn bucket(&self, now_ms: i64, timeout_ms: i32) -> i64 {
        bucket_of(now_ms, timeout_ms, self.tick_ms)
    }

    fn leave_bucket(&mut self, session: SessionId, bucket: i64) {
        let Some(sessions) = self.buckets.get_mut(&bucket) else { return };
        sessions.remove(&session);
        if sessions.is_empty() {
            self.buckets.remove(&bucket);
        }
    }
}

/// The end of the tick in which the timeout runs out: always strictly later than the timeout itself.
fn bucket_of(now_ms: i64, timeout_ms: i32, tick_ms: i64) -> i64 {
    now_ms.saturating_add(i64::from(timeout_ms)).div_euclid(tick_ms).saturating_add(1).saturating_mul(tick_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SessionId = SessionId(1);
    const B: SessionId = SessionId(2);

    #[test]
    fn expiry_is_rounded_up_to_a_tick_and_never_early() {
        for now in [0, 1, 999, 1000, 1999, 2000, 123_456] {
            let mut queue = ExpiryQueue::new(2000);
            queue.track(A, 4000, now);
            let end = ((now + 4000) / 2000 + 1) * 2000;
            assert!(queue.expired(now + 4000).is_empty());
            assert!(queue.expired(end - 1).is_empty());
            assert_eq!(queue.expired(end), [A]);
            assert!(queue.is_empty());
        }
    }

    #[test]
    fn a_touch_puts_the_end_off_and_an_old_report_does_not_bring_it_nearer() {
        let mut queue = ExpiryQueue::new(1000);
        queue.track(A, 4000, 0);
        queue.track(B, 4000, 0);
        assert!(queue.touch(A, 3500));
        assert!(queue.touch(A, 1000));
        assert_eq!(queue.expired(5000), [B]);
        assert!(queue.expired(7999).is_empty());
        assert_eq!(queue.expired(8000), [A]);
        assert!(!queue.touch(A, 9000));
    }

    #[test]
    fn a_renewal_may_shorten_the_timeout() {
        let mut queue = ExpiryQueue::new(1000);
        queue.track(A, 40_000, 0);
        queue.track(A, 4000, 500);
        assert_eq!((queue.len(), queue.timeout_ms(A)), (1, Some(4000)));
        assert_eq!(queue.expired(5000), [A]);
        assert_eq!(queue.buckets().count(), 0);
    }

    #[test]
    fn after_a_stall_everyone_gets_a_whole_timeout() {
        let mut queue = ExpiryQueue::new(1000);
        queue.track(A, 4000, 0);
        queue.touch_all(90_000);
        assert!(queue.expired(94_000).is_empty());
        assert_eq!(queue.expired(95_000), [A]);
    }

    #[test]
    fn emptied_buckets_do_not_stay() {
        let mut queue = ExpiryQueue::new(1000);
        for now in 0..100_000 {
            queue.track(A, if now % 2 == 0 { 4000 } else { 40_000 }, now);
        }
        assert_eq!(queue.buckets().count(), 1);
        assert!(queue.remove(A));
        assert_eq!(queue.buckets().count(), 0);
    }
}
