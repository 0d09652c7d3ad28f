//! The ends of sessions: buckets of one tick each, so that a touch rarely moves anything
//! (`ExpiryQueue`).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};

use hashbrown::HashMap;

use crate::zxid::SessionId;

/// Sessions by the time at which they expire. Times are monotonic milliseconds; memory is
/// proportional to the sessions.
#[derive(Debug)]
pub(crate) struct ExpiryQueue {
    tick_ms: i64,
    sessions: HashMap<SessionId, Due, foldhash::fast::FixedState>,
    buckets: BTreeMap<i64, BTreeSet<SessionId>>,
    /// Every session has at least its timeout from here on: see [`Self::touch_all`].
    spared_ms: i64,
}

#[derive(Clone, Copy, Debug)]
struct Due {
    timeout_ms: i32,
    bucket: i64,
}

impl ExpiryQueue {
    /// An empty queue whose buckets are `tick_ms` apart.
    pub(crate) fn new(tick_ms: i64) -> Self {
        let hasher = foldhash::fast::FixedState::with_seed(0);
        Self {
            tick_ms: tick_ms.max(1),
            sessions: HashMap::with_hasher(hasher),
            buckets: BTreeMap::new(),
            spared_ms: i64::MIN,
        }
    }

    /// Starts a session's timer at `now_ms`, or restarts it with another timeout, which may bring
    /// its end nearer.
    pub(crate) fn track(&mut self, session: SessionId, timeout_ms: i32, now_ms: i64) {
        self.remove(session);
        let bucket = self.bucket(now_ms, timeout_ms);
        self.sessions.insert(session, Due { timeout_ms, bucket });
        self.buckets.entry(bucket).or_default().insert(session);
    }

    /// The session was heard of at `at_ms`. A report older than one already known changes nothing.
    /// False if it is unknown.
    pub(crate) fn touch(&mut self, session: SessionId, at_ms: i64) -> bool {
        let tick_ms = self.tick_ms;
        let Some(due) = self.sessions.get_mut(&session) else { return false };
        // Buckets are whole ticks: it is not in a later one before this one is over.
        if at_ms.saturating_add(i64::from(due.timeout_ms)) < due.bucket {
            return true;
        }
        let bucket = bucket_of(at_ms, due.timeout_ms, tick_ms);
        if bucket > due.bucket {
            let old = std::mem::replace(&mut due.bucket, bucket);
            self.leave_bucket(session, old);
            self.buckets.entry(bucket).or_default().insert(session);
        }
        true
    }

    /// Forgets a session. False if it was unknown.
    pub(crate) fn remove(&mut self, session: SessionId) -> bool {
        let Some(due) = self.sessions.remove(&session) else { return false };
        self.leave_bucket(session, due.bucket);
        true
    }

    /// Whether [`Self::expire_one`] has something to look at.
    pub(crate) fn has_due(&self, now_ms: i64) -> bool {
        self.buckets.first_key_value().is_some_and(|(at_ms, _)| *at_ms <= now_ms)
    }

    /// Looks at the first session whose time is at or before `now_ms`, by time, then by id. Takes
    /// it out and returns it if its time is over, and puts it where it belongs if it was spared.
    pub(crate) fn expire_one(&mut self, now_ms: i64) -> Option<SessionId> {
        let mut first = self.buckets.first_entry().filter(|first| *first.key() <= now_ms)?;
        let session = first.get_mut().pop_first()?;
        if first.get().is_empty() {
            first.remove();
        }
        let due = self.sessions.get_mut(&session)?;
        let spared = bucket_of(self.spared_ms, due.timeout_ms, self.tick_ms);
        if spared > due.bucket {
            due.bucket = spared;
            self.buckets.entry(spared).or_default().insert(session);
            return None;
        }
        self.sessions.remove(&session);
        Some(session)
    }

    /// Whether the session's timer runs.
    pub(crate) fn contains(&self, session: SessionId) -> bool {
        self.sessions.contains_key(&session)
    }

    /// The timeout that the session runs with, in milliseconds.
    pub(crate) fn timeout_ms(&self, session: SessionId) -> Option<i32> {
        self.sessions.get(&session).map(|due| due.timeout_ms)
    }

    /// The number of sessions.
    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Up to `max` sessions that follow `after`: the monotonic time of expiry and the session,
    /// soonest first (`dump`). Sessions that were spared are listed with their new time once the
    /// old one is over.
    pub(crate) fn by_expiry(
        &self,
        after: Option<(i64, SessionId)>,
        max: usize,
    ) -> Vec<(i64, SessionId)> {
        let (bucket, session) = after.unwrap_or((i64::MIN, SessionId(i64::MIN)));
        let rest = self.buckets.get(&bucket).into_iter();
        let rest = rest.flat_map(|sessions| sessions.range((Excluded(session), Unbounded)));
        let later = self.buckets.range((Excluded(bucket), Unbounded));
        let later =
            later.flat_map(|(at_ms, sessions)| sessions.iter().map(|session| (*at_ms, *session)));
        rest.map(|session| (bucket, *session)).chain(later).take(max).collect()
    }

    /// Gives every session at least until `now_ms` plus its own timeout: no client could be heard
    /// while this server did not run. It takes no time itself: [`Self::expire_one`] looks at each
    /// when it is due.
    pub(crate) fn touch_all(&mut self, now_ms: i64) {
        self.spared_ms = self.spared_ms.max(now_ms);
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

/// The end of the tick in which the timeout runs out: always strictly later than the timeout
/// itself.
fn bucket_of(now_ms: i64, timeout_ms: i32, tick_ms: i64) -> i64 {
    let whole = now_ms.saturating_add(i64::from(timeout_ms)).div_euclid(tick_ms);
    whole.saturating_add(i64::from(!mutant!(ExpiryRoundedDown))).saturating_mul(tick_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SessionId = SessionId(1);
    const B: SessionId = SessionId(2);

    fn expired(queue: &mut ExpiryQueue, now_ms: i64) -> Vec<SessionId> {
        let mut all = Vec::new();
        while queue.has_due(now_ms) {
            all.extend(queue.expire_one(now_ms));
        }
        all
    }

    #[test]
    fn expiry_is_rounded_up_to_a_tick_and_never_early() {
        for now in [0, 1, 999, 1000, 1999, 2000, 123_456] {
            let mut queue = ExpiryQueue::new(2000);
            queue.track(A, 4000, now);
            let end = ((now + 4000) / 2000 + 1) * 2000;
            assert!(expired(&mut queue, now + 4000).is_empty());
            assert!(expired(&mut queue, end - 1).is_empty());
            assert_eq!(expired(&mut queue, end), [A]);
            assert_eq!(queue.len(), 0);
        }
    }

    #[test]
    fn a_touch_puts_the_end_off_and_an_old_report_does_not_bring_it_nearer() {
        let mut queue = ExpiryQueue::new(1000);
        queue.track(A, 4000, 0);
        queue.track(B, 4000, 0);
        assert!(queue.touch(A, 3500));
        assert!(queue.touch(A, 1000));
        assert_eq!(expired(&mut queue, 5000), [B]);
        assert!(expired(&mut queue, 7999).is_empty());
        assert_eq!(expired(&mut queue, 8000), [A]);
        assert!(!queue.touch(A, 9000));
    }

    #[test]
    fn a_renewal_may_shorten_the_timeout() {
        let mut queue = ExpiryQueue::new(1000);
        queue.track(A, 40_000, 0);
        queue.track(A, 4000, 500);
        assert_eq!((queue.len(), queue.timeout_ms(A)), (1, Some(4000)));
        assert_eq!(expired(&mut queue, 5000), [A]);
        assert_eq!(queue.buckets.len(), 0);
    }

    #[test]
    fn after_a_stall_everyone_gets_a_whole_timeout() {
        let mut queue = ExpiryQueue::new(1000);
        queue.track(A, 4000, 0);
        queue.touch_all(90_000);
        assert!(expired(&mut queue, 94_000).is_empty());
        assert_eq!(expired(&mut queue, 95_000), [A]);
    }

    #[test]
    fn a_session_is_known_from_its_start_to_its_end() {
        let mut queue = ExpiryQueue::new(1000);
        assert!(!queue.contains(A));
        queue.track(A, 4000, 0);
        queue.track(B, 4000, 0);
        assert_eq!((queue.len(), queue.contains(A), queue.contains(B)), (2, true, true));
        assert!(queue.remove(A));
        assert!(!queue.remove(A));
        assert_eq!((queue.len(), queue.contains(A), queue.contains(B)), (1, false, true));
    }

    /// As after a stall: a session whose own time is later than what it was spared keeps it.
    #[test]
    fn a_session_that_is_spared_for_less_than_it_has_ends_when_it_would_have() {
        let mut queue = ExpiryQueue::new(1000);
        queue.track(A, 4000, 10_000);
        queue.touch_all(10_000);
        assert_eq!(expired(&mut queue, 15_000), [A]);
    }

    #[test]
    fn emptied_buckets_do_not_stay() {
        let mut queue = ExpiryQueue::new(1000);
        for now in 0..100_000 {
            queue.track(A, if now % 2 == 0 { 4000 } else { 40_000 }, now);
        }
        assert_eq!(queue.buckets.len(), 1);
        assert!(queue.remove(A));
        assert_eq!(queue.buckets.len(), 0);
    }

    #[test]
    fn all_sessions_are_listed_piece_by_piece() {
        let mut queue = ExpiryQueue::new(1000);
        (0..10).for_each(|id| queue.track(SessionId(id), 4000 + id as i32 % 3 * 1000, 0));
        let whole = queue.by_expiry(None, usize::MAX);
        let mut pieces: Vec<(i64, SessionId)> = Vec::new();
        loop {
            let piece = queue.by_expiry(pieces.last().copied(), 3);
            if piece.is_empty() {
                break;
            }
            assert!(piece.len() <= 3);
            pieces.extend(piece);
        }
        assert_eq!((whole.len(), whole.is_sorted()), (10, true));
        assert_eq!(pieces, whole);
    }
}
