//! What a leader does with sessions: those of the ensemble begin, move and end; those that only this
//! server knows may become the ensemble's; and a learner's it does not know.

use super::{
    Asked, Asker, CLOSE_BYTES_MIN, Departure, ENTRY_BYTES_BESIDE, Leader, RECORD_BYTES_PER_UNIT,
    WAITING_MAX, Waiting,
};
use crate::codes::{ErrorCode, OpCode};
use crate::handoff::NotOpened;
use crate::quorum::Budget;
use crate::quorum::local::{self, NO_EPHEMERALS};
use crate::quorum::pipeline::{Answer, Proposal};
use crate::quorum::prepare::Closing;
use crate::quorum::writes::Writes;
use crate::session;
use crate::tree::Tree;
use crate::txn::Txn;
use crate::zab::LearnerConn;
use crate::zxid::SessionId;

impl Leader {
    /// Whether a new session is known to this server alone at first.
    pub(super) fn is_local_first(&self, writes: &Writes) -> bool {
        writes.config.local_sessions && !self.is_standalone()
    }

    /// Whether it may be of a session that one learner alone knows: whatever is asked for one that
    /// is no server's comes from there (`LeaderSessionTracker.checkSession`).
    pub(super) fn may_be_of_learner(&self, writes: &Writes, request: &Asked) -> bool {
        let Some(ensemble) = &self.ensemble else { return false };
        let is_others = session::server_of(request.session) != ensemble.me.0 as u8;
        let is_ending = self.sessions.is_closing(request.session);
        let is_learners = request.asker.learner().is_some();
        writes.config.local_sessions && is_learners && is_others && !is_ending
    }

    /// A request of a session that only this server knows.
    pub(super) fn on_local_request(
        &mut self,
        writes: &mut Writes,
        request: Asked,
        tree: &Tree,
        budget: &mut Budget,
    ) {
        let Asked { asker, session, op, ref record, .. } = request;
        budget.spend(record.len() as u64 / RECORD_BYTES_PER_UNIT);
        let mut ephemerals = Ok(());
        if op == OpCode::CLOSE_SESSION {
            writes.local.remove(session);
            return self.refuse(writes, (asker, session), op, ErrorCode::OK);
        } else if !local::creates_ephemeral(op, record) || !writes.config.local_sessions_upgrading {
            ephemerals = Err(NO_EPHEMERALS);
        } else if !self.has_room(writes, CLOSE_BYTES_MIN) {
            return self.refuse(writes, (asker, session), op, ErrorCode::SYSTEM_ERROR);
        } else if let Some(timeout_ms) = writes.local.remove(session) {
            self.move_to(session, None);
            self.begin(writes, session, timeout_ms, 0, Answer::Nobody);
        }
        self.judge(writes, Asked { ephemerals, ..request }, tree, budget);
    }

    /// Whether the session's requests come from elsewhere by now.
    pub(super) fn is_moved(&mut self, session: SessionId, from: Option<LearnerConn>) -> bool {
        let Some(ensemble) = &mut self.ensemble else { return false };
        *ensemble.owners.entry(session).or_insert(from) != from
    }

    pub(super) fn move_to(&mut self, session: SessionId, to: Option<LearnerConn>) {
        if let Some(ensemble) = &mut self.ensemble {
            ensemble.owners.insert(session, to);
        }
    }

    pub(super) fn open_or_wait(
        &mut self,
        writes: &mut Writes,
        asker: Asker,
        session: SessionId,
        timeout_ms: i32,
    ) {
        if self.has_room(writes, CLOSE_BYTES_MIN) {
            return self.open(writes, asker, session, timeout_ms);
        }
        if self.waiting.len() < WAITING_MAX {
            self.begin_wait(Some(asker));
            return self.waiting.push_back(Waiting::Open { asker, session, timeout_ms });
        }
        match asker {
            Asker::Learner { conn, .. } => self.hang_up(conn),
            // An answer all the same: its shard counts what it has asked for.
            Asker::Client(origin) => writes.send_away(origin, NotOpened::NoRoom),
        }
    }

    pub(super) fn open(
        &mut self,
        writes: &mut Writes,
        asker: Asker,
        session: SessionId,
        timeout_ms: i32,
    ) {
        let (cxid, answer) = match asker {
            Asker::Client(origin) => (0, Answer::Session { origin, timeout_ms }),
            Asker::Learner { cxid, .. } => (cxid, Answer::Nobody),
        };
        self.begin(writes, session, timeout_ms, cxid, answer);
    }

    /// The session is one of the ensemble from here on.
    fn begin(
        &mut self,
        writes: &mut Writes,
        session: SessionId,
        timeout_ms: i32,
        cxid: i32,
        answer: Answer,
    ) {
        self.sessions.track(session, timeout_ms, writes.now);
        let header = self.header(writes, session, cxid);
        self.propose(writes, header, Txn::CreateSession { timeout_ms }, answer);
    }

    /// Ephemerals whose session is in no table go by a transaction, so that they go on every server.
    pub(super) fn end_unknown_sessions(&mut self, tree: &Tree) {
        for session in tree.ephemeral_owners() {
            if tree.session_timeout(session).is_none() {
                self.sessions.set_closing(session);
                self.waiting.push_back(Waiting::Close { session, request: None });
            }
        }
    }

    /// Nobody may act for the session from here on, even while the closeSession waits: for room, or
    /// for what is outstanding of very many ephemerals, which would have to go one by one.
    pub(super) fn close_or_wait(
        &mut self,
        writes: &mut Writes,
        session: SessionId,
        request: Option<Asker>,
        tree: &Tree,
        budget: &mut Budget,
    ) {
        self.sessions.set_closing(session);
        if self.outstanding.must_wait_to_depart(tree, session) {
            self.begin_wait(request);
            let departure = Departure { session, request, after: writes.last_zxid };
            self.departures.push_back(departure);
        } else if self.has_room(writes, CLOSE_BYTES_MIN) {
            self.close(writes, session, request, tree, budget);
        } else {
            self.begin_wait(request);
            self.waiting.push_back(Waiting::Close { session, request });
        }
    }

    pub(super) fn close(
        &mut self,
        writes: &mut Writes,
        session: SessionId,
        request: Option<Asker>,
        tree: &Tree,
        budget: &mut Budget,
    ) {
        let header = self.header(writes, session, request.map_or(0, Asker::cxid));
        let room = writes.pipeline.room().saturating_sub(ENTRY_BYTES_BESIDE as u64);
        let mut prepare = self.prepare_own(&writes.config, tree, header);
        let closing = prepare.close_session(session, usize::try_from(room).unwrap_or(usize::MAX));
        budget.spend(closing.nodes);
        let answer = request.map_or(Answer::Nobody, |asker| asker.answer(OpCode::CLOSE_SESSION));
        let Closing { txn, departs, .. } = closing;
        let proposal = self.proposal(writes, header, txn, answer);
        self.propose_as(writes, Proposal { departs, ..proposal });
    }
}
