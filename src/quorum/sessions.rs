//! Which sessions live, and which of them are about to end (`SessionTrackerImpl`).

use foldhash::fast::FixedState;
use hashbrown::HashSet;

use crate::limits;
use crate::session::ExpiryQueue;
use crate::tree::Tree;
use crate::zxid::{Now, SessionId};

/// The sessions of the whole ensemble, as the leader keeps them: from the moment that their
/// createSession is prepared to the commit of their closeSession. Or those that one server alone
/// knows: see `local`.
#[derive(Debug)]
pub(super) struct Sessions {
    queue: ExpiryQueue,
    /// Their closeSession is prepared, or waits for room in the log.
    closing: HashSet<SessionId, FixedState>,
    tick_ms: i64,
    last_tick_ms: i64,
    /// Sessions whose time was over then, in monotonic milliseconds, expire now; `None` while none
    /// may.
    horizon_ms: Option<i64>,
}

impl Sessions {
    /// The sessions of a recovered tree: all timers start now.
    pub(super) fn new(tree: &Tree, tick_ms: i64, now: Now) -> Self {
        let mut sessions = Self::none(tick_ms, now);
        for (session, timeout_ms) in tree.sessions() {
            sessions.track(session, timeout_ms, now);
        }
        sessions
    }

    /// No session yet.
    pub(super) fn none(tick_ms: i64, now: Now) -> Self {
        let queue = ExpiryQueue::new(tick_ms);
        let closing = HashSet::with_hasher(FixedState::with_seed(0));
        Self { queue, closing, tick_ms, last_tick_ms: now.mono_ms, horizon_ms: None }
    }

    /// The session was heard of at `at_ms`. False if it is unknown or closing: then nobody may act
    /// for it.
    pub(super) fn touch(&mut self, session: SessionId, at_ms: i64) -> bool {
        !self.is_closing(session) && self.queue.touch(session, at_ms)
    }

    /// A new session, or a living one with a newly negotiated timeout.
    pub(super) fn track(&mut self, session: SessionId, timeout_ms: i32, now: Now) {
        self.queue.track(session, timeout_ms, now.mono_ms);
    }

    /// Whether the session lives and is not about to end.
    pub(super) fn is_live(&self, session: SessionId) -> bool {
        self.queue.contains(session) && !self.is_closing(session)
    }

    /// The timeout that the session runs with, in milliseconds.
    pub(super) fn timeout_ms(&self, session: SessionId) -> Option<i32> {
        self.queue.timeout_ms(session)
    }

    /// From here on nobody may act for it.
    pub(super) fn set_closing(&mut self, session: SessionId) {
        self.closing.insert(session);
    }

    /// Its closeSession is committed.
    pub(super) fn remove(&mut self, session: SessionId) {
        self.queue.remove(session);
        self.closing.remove(&session);
    }

    /// Sets the time up to which sessions may expire.
    ///
    /// A shard reports touches once in a quarter of a tick, so a session is given that much longer;
    /// and a report may still wait to be taken in, so it is the time of the call before this one
    /// that counts. When that is more than a tick ago this thread has not run, and no report of
    /// what happened meanwhile was taken in: then every session gets its timeout afresh.
    pub(super) fn on_tick(&mut self, now: Now) {
        assert!(now.mono_ms >= self.last_tick_ms, "the monotonic clock does not go back");
        let before_ms = std::mem::replace(&mut self.last_tick_ms, now.mono_ms);
        self.horizon_ms = if now.mono_ms - before_ms > self.tick_ms && !mutant!(StallNotForgiven) {
            self.queue.touch_all(now.mono_ms);
            None
        } else {
            Some(before_ms - self.tick_ms / limits::TOUCH_REPORTS_PER_TICK)
        };
    }

    /// Whether [`Self::next_expired`] has something to look at.
    pub(super) fn has_due(&self) -> bool {
        self.horizon_ms.is_some_and(|horizon_ms| self.queue.has_due(horizon_ms))
    }

    /// Looks at the session whose time is over first, and returns it if it must end: it is closing
    /// now. A look is short, whatever it finds.
    pub(super) fn next_expired(&mut self) -> Option<SessionId> {
        let expired = self.queue.expire_one(self.horizon_ms?)?;
        debug_assert!(!self.queue.contains(expired), "its timer has ended");
        (self.closing.insert(expired) || mutant!(ClosingSessionExpires)).then_some(expired)
    }

    /// The number of sessions, those about to end included.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// The number of those about to end, also if they are in no table.
    pub(super) fn closing(&self) -> usize {
        self.closing.len()
    }

    /// See [`super::Quorum::sessions_by_expiry`].
    pub(super) fn by_expiry(
        &self,
        after: Option<(i64, SessionId)>,
        max: usize,
    ) -> Vec<(i64, SessionId)> {
        self.queue.by_expiry(after, max)
    }

    /// Whether it is about to end.
    pub(super) fn is_closing(&self, session: SessionId) -> bool {
        !self.closing.is_empty() && self.closing.contains(&session)
    }
}
