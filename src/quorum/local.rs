//! Sessions that only this server knows (`LocalSessionTracker`): they begin and end without a
//! transaction, this server tells when their time is over, and they end with its role. A client that
//! comes back with one to another server finds it unknown.

use super::sessions::Sessions;
use crate::codes::{ErrorCode, OpCode};
use crate::jute::{Malformed, Reader};
use crate::proto::{CreateRequest, MultiOp, read_multi};
use crate::zxid::{Now, SessionId};

/// See the module.
#[derive(Debug)]
pub(super) struct LocalSessions {
    /// Invariant: none of them is closing, and at most [`LOCAL_SESSIONS_MAX`].
    sessions: Sessions,
    tick_ms: i64,
}

impl LocalSessions {
    pub(super) fn new(tick_ms: i64, now: Now) -> Self {
        Self { sessions: Sessions::none(tick_ms, now), tick_ms }
    }

    /// A new session; false if there are too many.
    pub(super) fn open(&mut self, session: SessionId, timeout_ms: i32, now: Now) -> bool {
        let has_room = self.len() < LOCAL_SESSIONS_MAX;
        if has_room {
            self.sessions.track(session, timeout_ms, now);
        }
        has_room
    }

    /// A client comes back: its session goes on with the newly negotiated timeout. False if it is
    /// none of these.
    pub(super) fn renew(&mut self, session: SessionId, timeout_ms: i32, now: Now) -> bool {
        let lives = self.sessions.is_live(session);
        if lives {
            self.sessions.track(session, timeout_ms, now);
        }
        lives
    }

    /// The session was heard of at `at_ms`. False if it is none of these.
    pub(super) fn touch(&mut self, session: SessionId, at_ms: i64) -> bool {
        self.len() > 0 && self.sessions.touch(session, at_ms)
    }

    /// The session ends, or becomes one of the ensemble: its timeout in milliseconds, if it was one
    /// of these.
    pub(super) fn remove(&mut self, session: SessionId) -> Option<i32> {
        let timeout_ms = self.sessions.timeout_ms(session)?;
        self.sessions.remove(session);
        Some(timeout_ms)
    }

    /// See [`Sessions::on_tick`].
    pub(super) fn on_tick(&mut self, now: Now) {
        self.sessions.on_tick(now);
    }

    /// Whether the time of one may be over.
    pub(super) fn has_due(&self) -> bool {
        self.sessions.has_due()
    }

    /// Looks at one whose time may be over, and ends it if it is.
    pub(super) fn expire_one(&mut self) -> Option<SessionId> {
        let session = self.sessions.next_expired()?;
        self.sessions.remove(session);
        Some(session)
    }

    /// All end.
    pub(super) fn clear(&mut self, now: Now) {
        *self = Self::new(self.tick_ms, now);
    }

    /// The number of sessions.
    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// See [`super::Quorum::local_sessions_by_expiry`].
    pub(super) fn by_expiry(
        &self,
        after: Option<(i64, SessionId)>,
        max: usize,
    ) -> Vec<(i64, SessionId)> {
        self.sessions.by_expiry(after, max)
    }

    /// The invariants of the fields.
    pub(super) fn check(&self) {
        debug_assert!(self.len() <= LOCAL_SESSIONS_MAX && self.sessions.closing() == 0);
    }
}

/// Whether a request creates an ephemeral, for which a session must be known to the whole ensemble
/// (`checkUpgradeSession`). One that cannot be read creates none.
pub(super) fn creates_ephemeral(op: OpCode, record: &[u8]) -> bool {
    let reader = &mut Reader::new(record);
    match op {
        OpCode::CREATE | OpCode::CREATE2 => {
            CreateRequest::read(reader, op).is_ok_and(|request| is_ephemeral(request.flags))
        }
        OpCode::MULTI => multi_creates_ephemeral(reader).unwrap_or(false),
        _ => false,
    }
}

/// One with an operation that cannot be read fails as a whole.
fn multi_creates_ephemeral(reader: &mut Reader<'_>) -> Result<bool, Malformed> {
    let mut is_one = false;
    while let Some(op) = read_multi(reader)? {
        is_one |= matches!(op, MultiOp::Create(_, request) if is_ephemeral(request.flags));
    }
    Ok(is_one)
}

/// Whether the flags of a create ask for an ephemeral (`CreateMode`).
pub(super) fn is_ephemeral(flags: i32) -> bool {
    matches!(flags, 1 | 3)
}

/// What a local session is told whose server may not make it one of the ensemble.
pub(super) const NO_EPHEMERALS: ErrorCode = ErrorCode::EPHEMERAL_ON_LOCAL_SESSION;
/// Local sessions of one server; one more is refused. They take up about half a gigabyte.
const LOCAL_SESSIONS_MAX: usize = 1 << 22;
