//! The first frame of a connection and its answer: sessions made, renewed, moved and refused.

use crate::codes::OpCode;
use crate::handoff::{ConnId, NotOpened, Origin, ShardId, ToQuorum};
use crate::jute::{Reader, Writer};
use crate::proto::{ConnectRequest, ConnectResponse};
use crate::session;
use crate::zxid::{Now, SessionId};

use super::close_reason::CloseReason;
use super::connection::{Connection, Connections, Pending, Phase, Wait};
use super::context::ConnContext;
use super::hold::{ANNOUNCEMENT, LOOKUP, REQUEST, Work};
use super::serve::Served;
use super::state::ShardState;
use super::{Effect, Frontend};

impl ConnContext<'_> {
    /// Takes up a connect request. What is wrong with it is found in Apache's order: the record,
    /// the zxid that the client has seen, then the password; only the last is answered.
    pub(super) fn connect(&mut self, frame: &[u8]) -> Served {
        self.spend(REQUEST);
        if !self.shard.service.is_on() {
            self.close(CloseReason::NotServing);
            return Served::Done;
        }
        let Ok(request) = ConnectRequest::read(&mut Reader::new(frame)) else {
            self.close(CloseReason::Malformed);
            return Served::Done;
        };
        self.shard.counts.traffic.connect_requests += 1;
        if self.shard.service.is_read_only() && request.read_only != Some(true) {
            self.close(CloseReason::WantsToWrite);
            return Served::Done;
        }
        if request.last_zxid_seen > self.tree.last_zxid().0 && !mutant!(FloorIgnored) {
            self.close(CloseReason::ClientAhead);
            return Served::Done;
        }
        let session = SessionId(request.session_id);
        let owner = ShardId::of(session, self.shard.config.shards);
        if session != SessionId::NONE && owner != self.shard.id {
            return Served::MoveTo(owner);
        }
        // Only wrong passwords for live sessions are rate-limited; the owner may share the
        // attacker's address.
        let lives = session != SessionId::NONE && self.tree.session_timeout(session).is_some();
        let address = self.conn.peer.ip();
        if self.may_hand_over == 0 || self.shard.core_is_full() {
            return Served::Wait(Wait::Core);
        }
        if lives && !self.shard.password_limiter.may_try(address, self.now.mono_ms) {
            self.close(CloseReason::PasswordLimit);
            return Served::Done;
        }
        self.shard.counts.received += 1;
        self.conn.tally.received += 1;
        self.conn.read_only = request.read_only;
        let (min, max) =
            (self.shard.config.session_timeout_ms_min, self.shard.config.session_timeout_ms_max);
        let timeout_ms = session::negotiate(request.timeout_ms, min, max);
        let origin = Origin { shard: self.shard.id, conn: self.conn.id, xid: 0 };
        let ask = if session == SessionId::NONE {
            let session = self.next_session();
            ToQuorum::CreateSession { origin, session, timeout_ms }
        } else if session::password_is(session, request.password.unwrap_or_default()) {
            ToQuorum::Renew { origin, session, timeout_ms }
        } else {
            if lives {
                self.shard.password_limiter.count(address, self.now.mono_ms);
            }
            self.refuse();
            return Served::Done;
        };
        self.conn.phase = Phase::Connecting;
        self.may_hand_over -= 1;
        let pending = Pending::new(OpCode::CREATE_SESSION, 0, 0, self.now);
        self.shard.count_pending(self.conn, pending);
        self.shard.effects.push_back(Effect::ToQuorum(ask));
        Served::Done
    }

    /// An id of this shard that no session has: after a reboot the clock that they come from may
    /// have gone back.
    fn next_session(&mut self) -> SessionId {
        loop {
            let session = SessionId(self.shard.next_session);
            self.shard.next_session =
                session.0.wrapping_add(i64::from(self.shard.config.shards.max(1)));
            let is_ours = ShardId::of(session, self.shard.config.shards) == self.shard.id;
            let lives = self.tree.session_timeout(session).is_some();
            if is_ours && session != SessionId::NONE && !lives {
                return session;
            }
        }
    }

    fn refuse(&mut self) {
        ConnectResponse::refused(self.conn.read_only).write(&mut Writer::new(&mut self.conn.out));
        self.shard.counts.sent += 1;
        self.close(CloseReason::WrongPassword);
    }
}

impl Frontend {
    /// The session exists from now on: the client is told, and what it has already sent is served.
    pub(super) fn on_session_opened(
        &mut self,
        origin: Origin,
        session: SessionId,
        timeout_ms: i32,
        now: Now,
    ) {
        let Some(connection) = connecting(&mut self.connections, &mut self.shard, origin.conn)
        else {
            return;
        };
        connection.phase = Phase::Serving;
        connection.session = session;
        connection.timeout_ms = timeout_ms;
        connection.touched_ms = now.mono_ms;
        let before = connection.out.len();
        let read_only = connection.read_only.map(|_| self.shard.service.is_read_only());
        let password = session::password(session);
        let answer = ConnectResponse { timeout_ms, session_id: session.0, password, read_only };
        answer.write(&mut Writer::new(&mut connection.out));
        connection.count_reply(OpCode::CREATE_SESSION, 0, 0, 0, now);
        self.shard.counts.sent += 1;
        self.shard.announce(connection, connection.out.len() - before);
        self.shard.make_ready(connection);
        if let Some(old) = self.shard.sessions.insert(session, origin.conn) {
            self.close_moved(old, origin.conn);
        }
    }

    /// The quorum core knows whether the session that a client came back with lives.
    pub(super) fn on_renewed(
        &mut self,
        origin: Origin,
        session: SessionId,
        timeout_ms: i32,
        valid: bool,
        now: Now,
    ) {
        if valid {
            return self.on_session_opened(origin, session, timeout_ms, now);
        }
        let Some(connection) = connecting(&mut self.connections, &mut self.shard, origin.conn)
        else {
            return;
        };
        let mut answer = Vec::new();
        ConnectResponse::refused(connection.read_only).write(&mut Writer::new(&mut answer));
        self.shard.counts.sent += 1;
        self.shard.append(connection, &answer);
        self.shard.close(connection, CloseReason::SessionEnded);
    }

    /// The connection ends, and the client may try another server with the session that it asked
    /// for.
    pub(super) fn on_not_opened(&mut self, origin: Origin, why: NotOpened) {
        if let Some(connection) = connecting(&mut self.connections, &mut self.shard, origin.conn) {
            let why = match why {
                NotOpened::NoRoom => CloseReason::NoRoom,
                NotOpened::NoLeader => CloseReason::NeedsLeader,
            };
            self.shard.close(connection, why);
        }
    }

    /// The session has ended: so does its connection, after the replies that are already written.
    pub(super) fn on_session_closed(&mut self, session: SessionId) -> Work {
        let Some(conn) = self.shard.sessions.remove(&session) else { return LOOKUP };
        if let Some(connection) = self.connections.get(conn) {
            self.shard.close(connection, CloseReason::SessionEnded);
        }
        ANNOUNCEMENT
    }

    /// The session goes on with another connection.
    fn close_moved(&mut self, old: ConnId, new: ConnId) {
        if old == new {
            return;
        }
        if let Some(connection) = self.connections.get(old) {
            drop_session(connection);
            self.shard.close(connection, CloseReason::SessionMoved);
        }
    }
}

/// The connection that the quorum core's answer about a session is for, if it still waits for it.
fn connecting<'c>(
    connections: &'c mut Connections,
    shard: &mut ShardState,
    conn: ConnId,
) -> Option<&'c mut Connection> {
    match connections.get(conn).filter(|conn| conn.phase == Phase::Connecting) {
        Some(connection) => {
            let pending = shard.take_pending(connection);
            debug_assert!(pending.is_some(), "a session that is waited for is counted");
            Some(connection)
        }
        None => {
            shard.take_forgotten(conn);
            None
        }
    }
}

/// The connection no longer acts for its session.
fn drop_session(connection: &mut Connection) {
    connection.session = SessionId::NONE;
}
