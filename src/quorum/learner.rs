//! The role of a follower or an observer: its clients' requests go to the leader, and are answered
//! when what became of them is applied here.

use std::collections::{BTreeSet, VecDeque};

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::pipeline::{Answer, KnownNodes, Proposal};
use super::unapplied::held_bytes;
use super::writes::Writes;
use super::{Effect, local, prepare, reply};
use crate::codes::{ErrorCode, OpCode};
use crate::handoff::{Origin, Request, ToQuorum, ToShard};
use crate::jute::Reader;
use crate::packet::RequestPacket;
use crate::proto::PathRequest;
use crate::tree::Tree;
use crate::txn::{LogRecord, Txn, read_shared_record};
use crate::txnlog::Durable;
use crate::zab::{LearnEffect, LearnerConn, Learning, Leave, Logged, ObserverMaster};
use crate::zxid::{SessionId, Zxid};

/// All that a server has because it follows or observes. A value of one role.
#[derive(Debug)]
pub(super) struct Learner {
    pub(super) machine: Learning,
    /// The requests of each session that are under way, in the order of the client. The leader
    /// decides those of one session in order; each but a sync becomes one transaction.
    pending: HashMap<SessionId, VecDeque<Pending>, FixedState>,
    /// Their number. The shards bound it: each is one that a client waits for.
    pending_count: usize,
    /// Whose the syncs under way are, in order. The shards bound them likewise, and those of the
    /// observers their servers.
    pub(super) syncs: VecDeque<Syncer>,
    /// The number of syncs that the leader has answered.
    synced: u64,
    /// Clients that came back, here or to an observer, whose sessions the leader is asked about, in
    /// order.
    pub(super) renewals: HashMap<SessionId, VecDeque<(Renewer, i32)>, FixedState>,
    /// Heard of since the last ping that told of them. Bounded by the sessions of this server's
    /// shards, and by those of the tree.
    pub(super) touched: BTreeSet<SessionId>,
    /// The timeouts, in milliseconds, of sessions that have come here, where the tree does not show
    /// the same: the session is new, or its client has negotiated another one. Bounded by the
    /// sessions of this server's shards, and by those of the tree.
    pub(super) arrived: HashMap<SessionId, i32, FixedState>,
    /// The observers of this server, where it takes any.
    pub(super) observers: Option<Box<ObserverMaster>>,
}

/// Who waits for a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Syncer {
    /// A client of this server, by its session.
    Client(SessionId),
    Observer(LearnerConn),
}

/// Who asks whether a session lives.
#[derive(Clone, Copy, Debug)]
pub(super) enum Renewer {
    Client(Origin),
    Observer(LearnerConn),
}

/// A request under way.
#[derive(Debug)]
enum Pending {
    Write {
        origin: Origin,
        op: OpCode,
        cxid: i32,
        /// Of a session that only this server knows: what its client is told if the leader finds
        /// that no such session may do it. Its connection goes on.
        unknown: Option<ErrorCode>,
    },
    /// A session becomes one of the ensemble.
    Upgrade,
    Open {
        origin: Origin,
        timeout_ms: i32,
    },
    /// With its number among the syncs of this role.
    Sync {
        origin: Origin,
        path: Option<Box<str>>,
        number: u64,
    },
    /// Decided here, and waits for those before it.
    Decided {
        origin: Origin,
        op: OpCode,
        err: ErrorCode,
    },
}

impl Learner {
    pub(super) fn new(machine: Learning, observers: Option<ObserverMaster>) -> Self {
        Self {
            machine,
            pending: HashMap::with_hasher(FixedState::with_seed(0)),
            pending_count: 0,
            syncs: VecDeque::new(),
            synced: 0,
            renewals: HashMap::with_hasher(FixedState::with_seed(0)),
            touched: BTreeSet::new(),
            arrived: HashMap::with_hasher(FixedState::with_seed(0)),
            observers: observers.map(Box::new),
        }
    }

    /// See [`super::Quorum::on_message`].
    pub(super) fn on_message(&mut self, writes: &mut Writes, message: ToQuorum, tree: &Tree) {
        match message {
            ToQuorum::Request(request) => self.on_request(writes, request, tree),
            ToQuorum::CreateSession { origin, session, timeout_ms } => {
                if writes.config.local_sessions {
                    return writes.open_local_session(origin, session, timeout_ms);
                }
                self.begin(session, timeout_ms, Pending::Open { origin, timeout_ms });
            }
            ToQuorum::Renew { origin, session, timeout_ms } if mutant!(RenewedLocally) => {
                let answer = ToShard::Renewed { origin, session, timeout_ms, valid: true };
                writes.effects.push_back(Effect::ToShard(origin.shard, answer));
            }
            ToQuorum::Renew { origin, session, timeout_ms } => {
                if writes.renew_local_session(origin, session, timeout_ms) {
                    return;
                }
                let renewal = (Renewer::Client(origin), timeout_ms);
                self.renewals.entry(session).or_default().push_back(renewal);
                self.machine.revalidate(session, timeout_ms);
            }
            ToQuorum::Joined { .. } => {}
        }
    }

    pub(super) fn touch(&mut self, session: SessionId) {
        self.touched.insert(session);
    }

    /// The leader is asked to make a session one of the ensemble.
    fn begin(&mut self, session: SessionId, timeout_ms: i32, pending: Pending) {
        self.touched.insert(session);
        self.arrived.insert(session, timeout_ms);
        self.push(session, pending);
        self.machine.forward(RequestPacket {
            session,
            cxid: 0,
            op: OpCode::CREATE_SESSION,
            record: timeout_ms.to_be_bytes().to_vec().into(),
            auth: None,
        });
    }

    fn on_request(&mut self, writes: &mut Writes, request: Request, tree: &Tree) {
        let Request { origin, session, op, record, auth } = request;
        let is_local = writes.local.touch(session, writes.now.mono_ms);
        if is_local && op == OpCode::CLOSE_SESSION {
            writes.local.remove(session);
            return self.decide(writes, session, origin, op, ErrorCode::OK);
        }
        if !is_local && writes.config.local_sessions && !self.knows(session, tree) {
            // The leader would take it for a local one (`MissingSessionException`).
            return self.decide(writes, session, origin, op, ErrorCode::SESSION_EXPIRED);
        }
        if !is_local {
            self.touched.insert(session);
        }
        let config = &writes.config;
        let verdict = match op {
            OpCode::CLOSE_SESSION => Ok(()),
            OpCode::SYNC => PathRequest::read(&mut Reader::new(&record))
                .map(|_| ())
                .map_err(|_| ErrorCode::MARSHALLING_ERROR),
            op => prepare::check_form(op, &record).and_then(|()| match config.eager_acl_check {
                true => prepare::check_access(config, tree, &auth, op, &record),
                false => Ok(()),
            }),
        };
        let pending = match (verdict, op) {
            (Err(err), _) => return self.decide(writes, session, origin, op, err),
            (Ok(()), OpCode::SYNC) => {
                let request = PathRequest::read(&mut Reader::new(&record));
                let path: Option<Box<str>> =
                    request.ok().and_then(|request| request.path.as_deref().map(Into::into));
                if mutant!(SyncAnsweredLocally) && !self.pending.contains_key(&session) {
                    let reply = reply::synced(origin, writes.last_zxid, path.as_deref());
                    return writes.pipeline.answer(origin.shard, reply);
                }
                self.syncs.push_back(Syncer::Client(session));
                let number = self.synced + self.syncs.len() as u64;
                Pending::Sync { origin, path, number }
            }
            (Ok(()), op) => {
                let unknown =
                    is_local.then(|| self.upgrade(writes, session, op, &record)).flatten();
                Pending::Write { origin, op, cxid: origin.xid, unknown }
            }
        };
        self.push(session, pending);
        let (cxid, auth) = (origin.xid, Some(auth));
        self.machine.forward(RequestPacket { session, cxid, op, record, auth });
    }

    /// Whether the session is one of the ensemble, or is becoming it.
    fn knows(&self, session: SessionId, tree: &Tree) -> bool {
        tree.session_timeout(session).is_some() || self.arrived.contains_key(&session)
    }

    /// A session that only this server knows becomes one of the ensemble if the request needs that
    /// and it may. Else it returns what the client is told if the leader does not know the session.
    fn upgrade(
        &mut self,
        writes: &mut Writes,
        session: SessionId,
        op: OpCode,
        record: &[u8],
    ) -> Option<ErrorCode> {
        if !local::creates_ephemeral(op, record) {
            return Some(ErrorCode::SESSION_EXPIRED);
        }
        if !writes.config.local_sessions_upgrading {
            return Some(local::NO_EPHEMERALS);
        }
        if let Some(timeout_ms) = writes.local.remove(session) {
            self.begin(session, timeout_ms, Pending::Upgrade);
        }
        None
    }

    fn push(&mut self, session: SessionId, pending: Pending) {
        self.pending.entry(session).or_default().push_back(pending);
        self.pending_count += 1;
    }

    /// An answer of this server, after those that the session waits for.
    fn decide(
        &mut self,
        writes: &mut Writes,
        session: SessionId,
        origin: Origin,
        op: OpCode,
        err: ErrorCode,
    ) {
        if self.pending.contains_key(&session) {
            return self.push(session, Pending::Decided { origin, op, err });
        }
        let reply = reply::refused(origin, op, writes.last_zxid, err);
        writes.pipeline.answer(origin.shard, reply);
    }

    /// Takes what the machines ask for. True if the role has ended.
    pub(super) fn take_effects(&mut self, writes: &mut Writes, tree: &Tree) -> bool {
        loop {
            if self.take_all(writes, tree) {
                return true;
            }
            self.inform_observers(self.machine.committed());
            if !self.take_of_observers(writes, tree) {
                return false;
            }
        }
    }

    /// What the leader's packets have brought, but for what is sent to it now: the shell takes that
    /// when it has nothing else to do, and all of it at once. True if the role has ended.
    fn take_all(&mut self, writes: &mut Writes, tree: &Tree) -> bool {
        while let Some(effect) = self.machine.poll_before_sends() {
            match effect {
                LearnEffect::Append { logged } => {
                    if let Some(observers) = &mut self.observers {
                        observers.on_proposed(logged.clone());
                    }
                    if let Err(why) = self.append(writes, logged) {
                        self.machine.leave(why);
                    }
                }
                LearnEffect::Apply { upto } => writes.pipeline.on_committed(upto),
                LearnEffect::Ping { zxid } => {
                    let touched = self.take_touched(tree);
                    self.machine.pong(zxid, touched);
                }
                LearnEffect::Synced { after } => {
                    if !self.synced(writes, after) {
                        self.machine.leave(Leave::Unasked);
                    }
                }
                LearnEffect::Revalidated { session, valid } => {
                    if !self.revalidated(writes, session, valid) {
                        self.machine.leave(Leave::Unasked);
                    }
                }
                LearnEffect::Leave { why } => {
                    writes.effects.push_back(Effect::Learn(LearnEffect::Leave { why }));
                    return true;
                }
                LearnEffect::Serve { epoch } => {
                    writes.join_epoch(epoch);
                    writes.figures.on_learner_serves(self.machine.votes(), writes.now.mono_ms);
                    if let Some(observers) = &mut self.observers {
                        observers.begin(epoch, writes.now.mono_ms);
                    }
                    writes.effects.push_back(Effect::Learn(LearnEffect::Serve { epoch }));
                }
                effect => writes.effects.push_back(Effect::Learn(effect)),
            }
        }
        false
    }

    /// The sessions that have been heard of, with their timeouts. What is too much for one packet
    /// goes with the next one.
    fn take_touched(&mut self, tree: &Tree) -> Vec<(SessionId, i32)> {
        let rest = match self.touched.iter().nth(TOUCHED_PER_PING_MAX).copied() {
            Some(next) => self.touched.split_off(&next),
            None => BTreeSet::new(),
        };
        let touched = std::mem::replace(&mut self.touched, rest).into_iter();
        let timeout = |id| self.arrived.get(&id).copied().or_else(|| tree.session_timeout(id));
        let timed = touched.filter_map(|id| Some((id, timeout(id)?))).collect();
        self.arrived.retain(|id, timeout_ms| tree.session_timeout(*id) != Some(*timeout_ms));
        timed
    }

    /// The closeSession of a session is applied.
    pub(super) fn session_closed(&mut self, session: SessionId) {
        self.arrived.remove(&session);
        self.touched.remove(&session);
    }

    /// The same after a flush, of which nothing needs the tree. True if the role has ended.
    pub(super) fn take_progress(&mut self, writes: &mut Writes) -> bool {
        while let Some(effect) = self.machine.poll_before_sends() {
            match effect {
                LearnEffect::Apply { upto } => writes.pipeline.on_committed(upto),
                effect => {
                    let has_ended = matches!(effect, LearnEffect::Leave { .. });
                    writes.effects.push_back(Effect::Learn(effect));
                    if has_ended {
                        return true;
                    }
                }
            }
        }
        false
    }

    /// Logs a transaction of the leader, as the outcome of the request that it belongs to; or says
    /// why this server leaves the leader.
    fn append(&mut self, writes: &mut Writes, logged: Logged) -> Result<(), Leave> {
        let Logged { zxid, record } = logged;
        let decoded = match read_shared_record(&record) {
            Ok(decoded) if decoded.header.zxid == zxid => decoded,
            _ => return Err(Leave::Undecodable { zxid }),
        };
        let LogRecord { header, txn, digest } = decoded;
        self.hold(writes, zxid, held_bytes(&record, &txn))?;
        let answer = self.take_answer(writes, header.session, header.cxid, &txn);
        let digest = digest.filter(|digest| digest.version == TREE_DIGEST).map(|all| all.tree);
        let known = KnownNodes::NOTHING;
        writes.last_zxid = zxid;
        // An observer is told of what is committed, and of nothing before.
        writes.figures.learner_proposals += u64::from(self.machine.votes());
        let proposal = Proposal { header, txn, known, digest, answer, departs: false };
        if self.machine.votes() || writes.config.observer_logs {
            writes.pipeline.log(proposal, &record, &mut writes.effects);
        } else {
            writes.pipeline.pass(proposal);
            self.machine.on_durable(Durable::waived(zxid), writes.now.mono_ms);
        }
        self.release(writes, header.session);
        Ok(())
    }

    /// Another transaction is held until it may be applied, if so much may be. While this server
    /// serves, what is committed is about to be applied and counts no longer.
    fn hold(&mut self, writes: &mut Writes, zxid: Zxid, bytes: u64) -> Result<(), Leave> {
        let is_serving = self.machine.is_serving();
        let committed = if is_serving { self.machine.committed() } else { Zxid::ZERO };
        writes.unapplied.forget_until(writes.shown.max(committed));
        let bytes_max = writes.config.proposal_bytes_max;
        if !writes.unapplied.has_room(bytes, bytes_max) {
            return Err(Leave::TooMuchHeld { bytes_max, is_serving });
        }
        writes.unapplied.push(zxid, bytes);
        Ok(())
    }

    /// The request that a transaction answers: the oldest write of its session, if that is it. What
    /// the session has asked before it has its place before it: a sync that the leader has not
    /// answered yet holds up what comes after it.
    fn take_answer(
        &mut self,
        writes: &mut Writes,
        session: SessionId,
        cxid: i32,
        txn: &Txn,
    ) -> Answer {
        let Some(pending) = self.pending.get_mut(&session) else { return Answer::Nobody };
        let is_write = |pending: &Pending| {
            matches!(pending, Pending::Write { .. } | Pending::Open { .. } | Pending::Upgrade)
        };
        let Some(at) = pending.iter().position(is_write) else { return Answer::Nobody };
        let is_opened = matches!(txn, Txn::CreateSession { .. });
        let answer = match pending.get(at) {
            Some(Pending::Write { origin, op, cxid: own, unknown }) if *own == cxid => {
                match (unknown, txn) {
                    (Some(err), Txn::Error(ErrorCode::SESSION_EXPIRED)) => {
                        Answer::Refused { origin: *origin, op: *op, err: *err }
                    }
                    _ => Answer::Request { origin: *origin, op: *op },
                }
            }
            Some(Pending::Open { origin, timeout_ms }) if is_opened => {
                Answer::Session { origin: *origin, timeout_ms: *timeout_ms }
            }
            Some(Pending::Upgrade) if is_opened => Answer::Nobody,
            _ => return Answer::Nobody,
        };
        for before in pending.drain(..=at) {
            match before {
                Pending::Sync { origin, path, number } => {
                    let reply = reply::synced(origin, writes.last_zxid, path.as_deref());
                    writes.pipeline.answer_in_round(number, origin.shard, reply);
                }
                Pending::Decided { origin, op, err } => {
                    let reply = reply::refused(origin, op, writes.last_zxid, err);
                    writes.pipeline.answer(origin.shard, reply);
                }
                Pending::Write { .. } | Pending::Open { .. } | Pending::Upgrade => {}
            }
        }
        self.pending_count -= at + 1;
        answer
    }

    /// What was decided here is answered once nothing is before it.
    fn release(&mut self, writes: &mut Writes, session: SessionId) {
        let Some(pending) = self.pending.get_mut(&session) else { return };
        while let Some(Pending::Decided { origin, op, err }) = pending.front() {
            let reply = reply::refused(*origin, *op, writes.last_zxid, *err);
            writes.pipeline.answer(origin.shard, reply);
            pending.pop_front();
            self.pending_count -= 1;
        }
        if pending.is_empty() {
            self.pending.remove(&session);
        }
    }

    /// The oldest sync is answered once all up to `after` is applied. False if there is none.
    fn synced(&mut self, writes: &mut Writes, after: Zxid) -> bool {
        let Some(syncer) = self.syncs.pop_front() else { return false };
        self.synced += 1;
        writes.pipeline.on_confirmed(self.synced);
        let synced = self.synced;
        let session = match syncer {
            Syncer::Client(session) => session,
            Syncer::Observer(conn) => {
                self.tell_synced(conn, after);
                return true;
            }
        };
        let Some(pending) = self.pending.get_mut(&session) else { return true };
        let is_it =
            |first: &Pending| matches!(first, Pending::Sync { number, .. } if *number == synced);
        // Else a write after it was logged first, and it has its place.
        if pending.front().is_some_and(is_it)
            && let Some(Pending::Sync { origin, path, .. }) = pending.pop_front()
        {
            self.pending_count -= 1;
            let reply = reply::synced(origin, after, path.as_deref());
            writes.pipeline.answer_after(after, origin.shard, reply);
            self.release(writes, session);
        }
        true
    }

    fn revalidated(&mut self, writes: &mut Writes, session: SessionId, valid: bool) -> bool {
        let Some(renewals) = self.renewals.get_mut(&session) else { return false };
        let renewal = renewals.pop_front();
        if renewals.is_empty() {
            self.renewals.remove(&session);
        }
        let Some((renewer, timeout_ms)) = renewal else { return false };
        if valid {
            self.arrived.insert(session, timeout_ms);
        }
        match renewer {
            Renewer::Client(origin) => {
                let answer = ToShard::Renewed { origin, session, timeout_ms, valid };
                writes.effects.push_back(Effect::ToShard(origin.shard, answer));
            }
            Renewer::Observer(conn) => self.tell_revalidated(conn, session, valid),
        }
        true
    }

    /// The number of requests under way.
    pub(super) fn pending(&self) -> usize {
        self.pending_count
    }

    /// The invariants of the fields.
    pub(super) fn check(&self) {
        debug_assert!(
            self.pending_count == self.pending.values().map(VecDeque::len).sum::<usize>()
        );
        debug_assert!(self.pending.values().all(|pending| !pending.is_empty()));
    }
}

/// Sessions that one answer to a ping tells of: fewer bytes than Apache's leader takes
/// (`jute.maxbuffer`).
pub(super) const TOUCHED_PER_PING_MAX: usize = 1 << 16;
/// The version of digests since 3.6.
const TREE_DIGEST: i32 = 2;
