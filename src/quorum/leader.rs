//! The role of a leader: what is asked for is judged, gets a zxid and is proposed.

mod sessions;
mod waits;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::held::Held;
use super::outstanding::Outstanding;
use super::pipeline::{Answer, KnownNodes, Proposal};
use super::prepare::{MultiSlices, Prepare, Prepared, Refusal};
use super::proposal_sizes::ProposalSizes;
use super::rounds::Rounds;
use super::sessions::Sessions;
use super::sweep::Sweep;
use super::writes::Writes;
use super::{Budget, Effect, QuorumConfig, prepare, reply};
use crate::acl::Verdicts;
use crate::codes::{ErrorCode, OpCode};
use crate::handoff::{Origin, Request, ToQuorum, ToShard};
use crate::jute::Reader;
use crate::jute::data::{Acl, Id};
use crate::packet::{Packet, RequestPacket};
use crate::proto::PathRequest;
use crate::tree::Tree;
use crate::txn::{Txn, TxnHeader};
use crate::txnlog::{Durable, ENTRY_HEADER_BYTES, first_entry};
use crate::zab::{LeadEffect, Leading, LearnerConn, Logged, ServerId};
use crate::zxid::{SessionId, Zxid};

/// All that a server has because it leads. A value of one role: it is dropped as a whole.
#[derive(Debug)]
pub(super) struct Leader {
    /// Gives out zxids, proposes what the pipeline logs, and says what is committed.
    pub(super) machine: Leading,
    pub(super) outstanding: Outstanding,
    pub(super) sessions: Sessions,
    pub(super) sweep: Sweep,
    /// A multi that takes more than one call. Nothing else is proposed meanwhile. Invariant: its
    /// zxid is the one after the last that was given out.
    preparing: Option<Box<Preparing>>,
    /// The operations that must not be refused while the log is full. Invariant: at most
    /// [`WAITING_MAX`] of new sessions, and one of each session, which closes once.
    waiting: VecDeque<Waiting>,
    /// Sessions with very many ephemerals that end as soon as what was outstanding when they closed
    /// is committed: then they can depart. Invariant: in the order of what they wait for.
    pub(super) departures: VecDeque<Departure>,
    pub(super) verdicts: RefCell<Verdicts>,
    /// The ids of the server itself.
    pub(super) nobody: Arc<[Id]>,
    /// Requests of learners that wait for the multi that is being prepared, in order. The learners
    /// bound them: each is one that a client of theirs waits for.
    forwarded: VecDeque<(LearnerConn, RequestPacket)>,
    held: Held,
    pub(super) rounds: Rounds,
    pub(super) proposal_sizes: ProposalSizes,
    /// Absent in a standalone server.
    ensemble: Option<InEnsemble>,
}

/// What a leader has that others follow.
#[derive(Debug)]
struct InEnsemble {
    me: ServerId,
    /// Where the requests of each session of the ensemble come from, `None` this server; who sends
    /// first is entered.
    owners: HashMap<SessionId, Option<LearnerConn>, FixedState>,
}

/// Whom the outcome of a request is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asker {
    /// A client of this server.
    Client(Origin),
    /// A learner, which answers its client when the COMMIT reaches it.
    Learner { conn: LearnerConn, cxid: i32 },
}

/// A request, wherever it comes from.
#[derive(Debug)]
struct Asked {
    asker: Asker,
    session: SessionId,
    op: OpCode,
    record: Bytes,
    auth: Arc<[Id]>,
    /// Whether it may create ephemerals, which belong to a session of the whole ensemble.
    ephemerals: Result<(), ErrorCode>,
}

impl Asker {
    fn cxid(self) -> i32 {
        match self {
            Self::Client(origin) => origin.xid,
            Self::Learner { cxid, .. } => cxid,
        }
    }

    fn learner(self) -> Option<LearnerConn> {
        match self {
            Self::Client(_) => None,
            Self::Learner { conn, .. } => Some(conn),
        }
    }

    fn answer(self, op: OpCode) -> Answer {
        match self {
            Self::Client(origin) => Answer::Request { origin, op },
            Self::Learner { .. } => Answer::Nobody,
        }
    }
}

/// A multi whose preparation is under way.
#[derive(Debug)]
struct Preparing {
    /// With the zxid that it gets.
    header: TxnHeader,
    request: Asked,
    slices: MultiSlices,
}

/// The end of a session that waits for what came before it.
#[derive(Debug)]
pub(super) struct Departure {
    session: SessionId,
    request: Option<Asker>,
    after: Zxid,
}

/// A request on which the session depends.
#[derive(Debug)]
enum Waiting {
    Open { asker: Asker, session: SessionId, timeout_ms: i32 },
    Close { session: SessionId, request: Option<Asker> },
}

impl Leader {
    /// The leader of a standalone server; the sessions of the tree start their timers now.
    pub(super) fn standalone(writes: &Writes, tree: &Tree, seed: u64) -> Self {
        let machine = Leading::standalone(Durable::recovered(writes.last_zxid));
        Self::with(machine, None, writes, tree, seed)
    }

    /// A leader that was elected.
    pub(super) fn elected(
        machine: Leading,
        me: ServerId,
        writes: &Writes,
        tree: &Tree,
        seed: u64,
    ) -> Self {
        let owners = HashMap::with_hasher(FixedState::with_seed(seed));
        Self::with(machine, Some(InEnsemble { me, owners }), writes, tree, seed)
    }

    fn with(
        machine: Leading,
        ensemble: Option<InEnsemble>,
        writes: &Writes,
        tree: &Tree,
        seed: u64,
    ) -> Self {
        let config = &writes.config;
        Self {
            machine,
            outstanding: Outstanding::new(tree, config.digest, seed),
            sessions: Sessions::new(tree, config.tick_ms, writes.now),
            sweep: Sweep::new(config, writes.now),
            preparing: None,
            waiting: VecDeque::new(),
            departures: VecDeque::new(),
            verdicts: RefCell::default(),
            nobody: Arc::from([]),
            forwarded: VecDeque::new(),
            held: Held::default(),
            rounds: Rounds::default(),
            proposal_sizes: ProposalSizes::default(),
            ensemble,
        }
    }

    /// See [`super::Quorum::on_message`].
    pub(super) fn on_message(
        &mut self,
        writes: &mut Writes,
        message: ToQuorum,
        tree: &Tree,
        budget: &mut Budget,
    ) {
        self.go_on_preparing(writes, tree, &mut Budget::new(u64::MAX));
        match message {
            ToQuorum::Request(Request { origin, session, op, record, auth }) => {
                let (asker, ephemerals) = (Asker::Client(origin), Ok(()));
                let asked = Asked { asker, session, op, record, auth, ephemerals };
                self.on_request(writes, asked, tree, budget);
            }
            ToQuorum::CreateSession { origin, session, timeout_ms }
                if self.is_local_first(writes) =>
            {
                writes.open_local_session(origin, session, timeout_ms);
            }
            ToQuorum::CreateSession { origin, session, timeout_ms } => {
                self.open_or_wait(writes, Asker::Client(origin), session, timeout_ms);
            }
            ToQuorum::Renew { origin, session, timeout_ms } => {
                if writes.renew_local_session(origin, session, timeout_ms) {
                    return;
                }
                let valid = self.sessions.is_live(session);
                if valid && !mutant!(RenewalKeepsTimer) {
                    self.sessions.track(session, timeout_ms, writes.now);
                    self.move_to(session, None);
                }
                let answer = ToShard::Renewed { origin, session, timeout_ms, valid };
                writes.effects.push_back(Effect::ToShard(origin.shard, answer));
            }
            ToQuorum::Joined { .. } => {}
        }
    }

    /// A multi is being prepared: nothing else is proposed.
    pub(super) fn is_preparing(&self) -> bool {
        self.preparing.is_some()
    }

    /// It leads an ensemble of one.
    pub(super) fn is_standalone(&self) -> bool {
        self.ensemble.is_none()
    }

    /// Whether a learner's request waits.
    pub(super) fn has_forwarded(&self) -> bool {
        !self.forwarded.is_empty()
    }

    /// A flush has failed: nothing more is prepared.
    pub(super) fn give_up(&mut self) {
        self.preparing = None;
    }

    /// The closeSession of a session is applied.
    pub(super) fn session_closed(&mut self, session: SessionId) {
        self.sessions.remove(session);
        if let Some(ensemble) = &mut self.ensemble {
            ensemble.owners.remove(&session);
        }
    }

    /// The operations that wait for room in the log.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Does one thing that time has made due; to be called if [`Self::has_due_work`].
    pub(super) fn due_work(&mut self, writes: &mut Writes, tree: &Tree, budget: &mut Budget) {
        if self.has_room(writes, CLOSE_BYTES_MIN)
            && let Some(waiting) = self.waiting.pop_front()
        {
            match waiting {
                Waiting::Open { asker, session, timeout_ms } => {
                    self.end_wait(Some(asker));
                    self.open(writes, asker, session, timeout_ms)
                }
                Waiting::Close { session, request } => {
                    self.end_wait(request);
                    self.close(writes, session, request, tree, budget)
                }
            }
        } else if self.can_depart(writes) {
            if let Some(Departure { session, request, .. }) = self.departures.pop_front() {
                self.end_wait(request);
                self.close(writes, session, request, tree, budget);
            }
        } else if self.sessions.has_due() {
            if let Some(session) = self.sessions.next_expired() {
                self.close_or_wait(writes, session, None, tree, budget);
            }
        } else if self.sweep.is_looking() {
            self.sweep.look(&writes.config, tree, budget);
        } else if let Some(path) = self.sweep.next() {
            self.delete_container(writes, &path, tree);
        }
    }

    fn on_request(
        &mut self,
        writes: &mut Writes,
        request: Asked,
        tree: &Tree,
        budget: &mut Budget,
    ) {
        let Asked { asker, session, op, .. } = request;
        // A learner counts the answers to its syncs: it gets one for each, whatever became of the
        // session (`LearnerSyncRequest`).
        if let (Asker::Learner { conn, .. }, OpCode::SYNC) = (asker, op) {
            self.sessions.touch(session, writes.now.mono_ms);
            return self.rounds.sync(conn, writes.last_zxid, &mut self.machine);
        }
        if let Some(err) = self.is_forbidden(writes, tree, &request) {
            return self.refuse(writes, (asker, session), op, err);
        }
        let is_own = asker.learner().is_none();
        if is_own && writes.local.touch(session, writes.now.mono_ms) {
            return self.on_local_request(writes, request, tree, budget);
        }
        if !self.sessions.touch(session, writes.now.mono_ms) {
            if self.may_be_of_learner(writes, &request) {
                let ephemerals = Err(ErrorCode::SESSION_EXPIRED);
                return self.judge(writes, Asked { ephemerals, ..request }, tree, budget);
            }
            // The session ended before this came: the connection is on its way out.
            return self.refuse_and_close(writes, (asker, session), op);
        }
        // Whoever has had a session may end it (`PrepRequestProcessor`).
        let may_be_moved = op != OpCode::CLOSE_SESSION && !mutant!(MovedSessionKept);
        if may_be_moved && self.is_moved(session, asker.learner()) {
            // A sync is no transaction, whatever becomes of it; without room nothing is.
            if op == OpCode::SYNC || !self.has_room(writes, CLOSE_BYTES_MIN) {
                return self.refuse(writes, (asker, session), op, ErrorCode::SESSION_MOVED);
            }
            let header = self.header(writes, session, asker.cxid());
            let moved = Err(Refusal::Failed(ErrorCode::SESSION_MOVED));
            return self.decide(writes, header, asker, op, moved, KnownNodes::NOTHING);
        }
        self.judge(writes, request, tree, budget);
    }

    /// Whether this server's own tree forbids it to a client of its own, where that is looked at.
    fn is_forbidden(&self, writes: &Writes, tree: &Tree, request: &Asked) -> Option<ErrorCode> {
        let Asked { asker, op, record, auth, .. } = request;
        let is_looked_at = writes.config.eager_acl_check && asker.learner().is_none();
        if !is_looked_at || self.is_standalone() {
            return None;
        }
        prepare::check_access(&writes.config, tree, auth, *op, record).err()
    }

    /// A request of somebody who may ask for it.
    fn judge(&mut self, writes: &mut Writes, request: Asked, tree: &Tree, budget: &mut Budget) {
        let Asked { asker, session, op, ref record, ref auth, ephemerals } = request;
        match op {
            OpCode::SYNC => return self.sync(writes, (asker, session), record),
            OpCode::CLOSE_SESSION => {
                return self.close_or_wait(writes, session, Some(asker), tree, budget);
            }
            _ if !self.has_room(writes, self.bytes_needed(record, auth)) => {
                return self.refuse(writes, (asker, session), op, ErrorCode::SYSTEM_ERROR);
            }
            _ => {}
        }
        let header = self.header(writes, session, asker.cxid());
        if op == OpCode::MULTI {
            let slices = MultiSlices::new();
            self.preparing = Some(Box::new(Preparing { header, request, slices }));
            let units = writes.config.multi_units_at_once;
            let mut at_once = Budget::new(units);
            self.go_on_preparing(writes, tree, &mut at_once);
            return budget.spend(units - at_once.left());
        }
        let mut prepare =
            Prepare::new(&writes.config, tree, &mut self.outstanding, header, auth, &self.verdicts);
        prepare.ephemerals = ephemerals;
        let prepared = prepare.request(op, record);
        let known = KnownNodes::One(prepare.known);
        budget.spend(record.len() as u64 / RECORD_BYTES_PER_UNIT);
        self.decide(writes, header, asker, op, prepared, known);
    }

    /// Goes on with the multi at hand, if there is one.
    pub(super) fn go_on_preparing(
        &mut self,
        writes: &mut Writes,
        tree: &Tree,
        budget: &mut Budget,
    ) {
        let Some(mut preparing) = self.preparing.take() else { return };
        let Preparing { header, request, slices } = &mut *preparing;
        let (auth, record) = (&request.auth, &request.record);
        if !self.has_room(writes, self.bytes_needed(record, auth)) {
            slices.give_up(Refusal::Unlogged(ErrorCode::SYSTEM_ERROR));
        }
        let mut prepare = Prepare::new(
            &writes.config,
            tree,
            &mut self.outstanding,
            *header,
            auth,
            &self.verdicts,
        );
        prepare.ephemerals = request.ephemerals;
        match prepare.multi(slices, record, budget) {
            None => self.preparing = Some(preparing),
            Some(prepared) => {
                self.outstanding.see_again(tree);
                let known = KnownNodes::Each(slices.take_known());
                self.decide(writes, *header, request.asker, OpCode::MULTI, prepared, known);
            }
        }
    }

    /// Proposes or refuses what has been prepared.
    fn decide(
        &mut self,
        writes: &mut Writes,
        header: TxnHeader,
        asker: Asker,
        op: OpCode,
        prepared: Prepared,
        known: KnownNodes,
    ) {
        let txn = match prepared {
            Ok(txn) => txn,
            Err(Refusal::Failed(err)) => Txn::Error(err),
            Err(Refusal::Unlogged(err)) => {
                return self.refuse(writes, (asker, header.session), op, err);
            }
        };
        let proposal = self.proposal(writes, header, txn, asker.answer(op));
        self.propose_as(writes, Proposal { known, ..proposal });
    }

    fn sync(&mut self, writes: &mut Writes, from: (Asker, SessionId), record: &[u8]) {
        let Asker::Client(origin) = from.0 else { return };
        match PathRequest::read(&mut Reader::new(record)) {
            Ok(request) => {
                let reply = reply::synced(origin, writes.last_zxid, request.path.as_deref());
                // Nobody else can lead in place of a standalone server.
                let round = match self.ensemble {
                    Some(_) if !mutant!(LeaderSyncsAlone) => self.rounds.join(&mut self.machine),
                    _ => 0,
                };
                writes.pipeline.answer_in_round(round, origin.shard, reply);
            }
            Err(_) => self.refuse(writes, from, OpCode::SYNC, ErrorCode::MARSHALLING_ERROR),
        }
    }

    /// Answers with an error and no transaction, in its turn. A learner waits for one: it gets a
    /// transaction all the same.
    fn refuse(
        &mut self,
        writes: &mut Writes,
        (asker, session): (Asker, SessionId),
        op: OpCode,
        err: ErrorCode,
    ) {
        match asker {
            Asker::Client(origin) => {
                let reply = reply::refused(origin, op, writes.last_zxid, err);
                writes.pipeline.answer(origin.shard, reply);
            }
            Asker::Learner { cxid, .. } if self.has_room(writes, CLOSE_BYTES_MIN) => {
                let header = self.header(writes, session, cxid);
                self.propose(writes, header, Txn::Error(err), Answer::Nobody);
            }
            // It comes again when there is room.
            Asker::Learner { conn, .. } => self.hang_up(conn),
        }
    }

    /// The session has ended.
    fn refuse_and_close(
        &mut self,
        writes: &mut Writes,
        (asker, session): (Asker, SessionId),
        op: OpCode,
    ) {
        let err = ErrorCode::SESSION_EXPIRED;
        match asker {
            Asker::Learner { .. } => self.refuse(writes, (asker, session), op, err),
            Asker::Client(origin) => {
                let reply = reply::refused(origin, op, writes.last_zxid, err);
                writes.pipeline.answer(origin.shard, reply);
            }
        }
    }

    /// A learner forwards a client's request.
    fn on_forwarded(
        &mut self,
        writes: &mut Writes,
        conn: LearnerConn,
        request: RequestPacket,
        tree: &Tree,
        budget: &mut Budget,
    ) {
        let RequestPacket { session, cxid, op, record, auth } = request;
        let asker = Asker::Learner { conn, cxid };
        if op != OpCode::CREATE_SESSION {
            let auth = auth.unwrap_or_else(|| self.nobody.clone());
            let asked = Asked { asker, session, op, record, auth, ephemerals: Ok(()) };
            return self.on_request(writes, asked, tree, budget);
        }
        match Reader::new(&record).i32() {
            Ok(timeout_ms) => {
                self.move_to(session, Some(conn));
                self.open_or_wait(writes, asker, session, timeout_ms);
            }
            Err(_) => self.refuse(writes, (asker, session), op, ErrorCode::MARSHALLING_ERROR),
        }
    }

    /// Takes what the machine asks for: what concerns this server's tree and sessions is done here,
    /// the rest is the shell's. True if the role has ended.
    pub(super) fn take_effects(
        &mut self,
        writes: &mut Writes,
        tree: &Tree,
        budget: &mut Budget,
    ) -> bool {
        loop {
            if self.take_all(writes, tree) {
                return true;
            }
            let can_go_on = self.preparing.is_none() && !budget.is_spent();
            let next = match mutant!(ForwardedReversed) {
                true => self.forwarded.pop_back_if(|_| can_go_on),
                false => self.forwarded.pop_front_if(|_| can_go_on),
            };
            let Some((from, request)) = next else {
                return false;
            };
            budget.spend(1);
            if let Some(request) = self.held.hold(from, request) {
                self.on_forwarded(writes, from, request, tree, budget);
            }
        }
    }

    /// The same but for requests of learners, which are kept.
    fn take_all(&mut self, writes: &mut Writes, tree: &Tree) -> bool {
        while let Some(effect) = self.machine.poll() {
            match effect {
                LeadEffect::Request { from, request } => {
                    self.forwarded.push_back((from, request));
                }
                LeadEffect::Touched { sessions } => {
                    for (session, _) in sessions {
                        if !mutant!(LearnerTouchesIgnored) {
                            self.sessions.touch(session, writes.now.mono_ms);
                        }
                    }
                }
                LeadEffect::Revalidate { from, session, timeout_ms } => {
                    let valid = self.sessions.is_live(session) || mutant!(RevalidatesAll);
                    if valid {
                        self.sessions.track(session, timeout_ms, writes.now);
                        self.move_to(session, Some(from));
                    }
                    self.machine.send(from, &Packet::Revalidated { session, valid });
                }
                LeadEffect::Begin { epoch } => {
                    writes.begin_epoch(epoch);
                    writes.figures.on_leader_serves(writes.now.mono_ms);
                    self.sessions = Sessions::new(tree, writes.config.tick_ms, writes.now);
                    self.end_unknown_sessions(tree);
                    writes.effects.push_back(Effect::Lead(LeadEffect::Begin { epoch }));
                }
                effect => {
                    if self.take_progress(writes, effect) {
                        return true;
                    }
                }
            }
        }
        false
    }

    /// The part of [`Self::take_effects`] that needs no tree.
    fn take_progress(&mut self, writes: &mut Writes, effect: LeadEffect) -> bool {
        match effect {
            LeadEffect::Committed { upto } => {
                writes.pipeline.on_committed(upto);
                self.rounds.release(&mut self.machine);
            }
            LeadEffect::Confirmed { upto } => {
                self.rounds.on_confirmed(upto, &mut self.machine);
                writes.pipeline.on_confirmed(self.rounds.done());
                self.rounds.release(&mut self.machine);
            }
            effect => {
                let has_ended = match &effect {
                    LeadEffect::StepDown { why } => {
                        writes.figures.on_step_down(why);
                        true
                    }
                    _ => false,
                };
                writes.figures.snaps += u64::from(matches!(effect, LeadEffect::SendTree { .. }));
                writes.effects.push_back(Effect::Lead(effect));
                return has_ended;
            }
        }
        false
    }

    /// This server's own log is durable up to here. True if the role has ended.
    pub(super) fn on_durable(&mut self, writes: &mut Writes, upto: Durable<Zxid>) -> bool {
        self.machine.on_durable(upto);
        while let Some(effect) = self.machine.poll() {
            if self.take_progress(writes, effect) {
                return true;
            }
        }
        false
    }

    /// The group goes to the log: it is on its way to the others before its flush is asked for.
    pub(super) fn on_append(&mut self, writes: &mut Writes, last: Zxid, group: &Bytes) {
        let (sizes, proposals) = (&mut self.proposal_sizes, &mut writes.figures.proposals);
        let group = logged(group).inspect(|logged| {
            sizes.add(logged.record.len());
            *proposals += 1;
        });
        self.machine.propose(last, group, writes.now.mono_ms);
        let mut at = 0;
        while let Some(effect) = self.machine.poll() {
            assert!(matches!(effect, LeadEffect::Send { .. }), "the rest is taken at once");
            writes.effects.insert(at, Effect::Lead(effect));
            at += 1;
        }
    }

    fn delete_container(&mut self, writes: &mut Writes, path: &str, tree: &Tree) {
        let header = self.header(writes, SessionId::NONE, 0);
        let mut prepare = self.prepare_own(&writes.config, tree, header);
        if let Some(txn) = prepare.delete_container(path) {
            self.propose(writes, header, txn, Answer::Nobody);
        }
    }

    /// Prepares a transaction of the server's own, which no ACL concerns.
    fn prepare_own<'a>(
        &'a mut self,
        config: &'a QuorumConfig,
        tree: &'a Tree,
        header: TxnHeader,
    ) -> Prepare<'a> {
        let Self { outstanding, nobody, verdicts, .. } = self;
        Prepare::new(config, tree, outstanding, header, nobody, verdicts)
    }

    fn propose(&mut self, writes: &mut Writes, header: TxnHeader, txn: Txn, answer: Answer) {
        let proposal = self.proposal(writes, header, txn, answer);
        self.propose_as(writes, proposal);
    }

    fn proposal(&self, writes: &Writes, header: TxnHeader, txn: Txn, answer: Answer) -> Proposal {
        let has_digest = writes.config.digest && !self.outstanding.is_blind();
        let digest = has_digest.then(|| self.outstanding.digest());
        Proposal { header, txn, known: KnownNodes::NOTHING, digest, answer, departs: false }
    }

    fn propose_as(&mut self, writes: &mut Writes, proposal: Proposal) {
        assert!(self.preparing.is_none(), "nothing is proposed while a multi is prepared");
        assert_eq!(proposal.header.zxid, self.next_zxid(writes), "no zxid is left out");
        writes.last_zxid = proposal.header.zxid;
        writes.pipeline.propose(proposal, &mut writes.effects);
    }

    /// The header of the next transaction; its zxid is used up by [`Self::propose`] only.
    pub(super) fn header(&self, writes: &Writes, session: SessionId, cxid: i32) -> TxnHeader {
        TxnHeader { session, cxid, zxid: self.next_zxid(writes), time_ms: writes.now.wall_ms }
    }

    /// The zxid of the next transaction.
    fn next_zxid(&self, writes: &Writes) -> Zxid {
        self.machine.zxid_after(writes.last_zxid).expect("there is one where there is room")
    }

    /// Whether time has made something due.
    pub(super) fn has_due_work(&self, writes: &Writes) -> bool {
        let own_may_come =
            !writes.pipeline.has_failed() && writes.pipeline.len() < OWN_WORK_OUTSTANDING_MAX;
        let can_end_waiting = !self.waiting.is_empty() && self.has_room(writes, CLOSE_BYTES_MIN);
        let can_sweep = self.sweep.is_looking()
            || (self.sweep.has_due() && self.has_room(writes, writes.config.record_bytes_max));
        let can_go =
            can_end_waiting || self.can_depart(writes) || self.sessions.has_due() || can_sweep;
        own_may_come && can_go && self.machine.is_serving()
    }

    /// Whether the first of the departures no longer waits for anything.
    fn can_depart(&self, writes: &Writes) -> bool {
        let is_next = |next: &Departure| {
            next.after <= writes.shown && !self.outstanding.can_forget(next.after)
        };
        self.departures.front().is_some_and(is_next) && self.has_room(writes, CLOSE_BYTES_MIN)
    }

    /// Whether a record of this many bytes, or the longest there is, still fits the log, and the
    /// epoch has a zxid for it.
    pub(super) fn has_room(&self, writes: &Writes, bytes: usize) -> bool {
        self.machine.zxid_after(writes.last_zxid).is_some()
            && writes
                .pipeline
                .has_room(bytes.min(writes.config.record_bytes_max) + ENTRY_BYTES_BESIDE)
    }

    /// At least what the transaction of a request takes up in the log. In a multi of the smallest
    /// operations each grows to less than twice its size; ACL entries for `auth` become all the ids
    /// that the connection has proven.
    fn bytes_needed(&self, record: &[u8], auth: &[Id]) -> usize {
        let proven = auth.iter().filter(|id| &*id.scheme != "ip");
        let expanded: usize = proven.map(|id| Acl::BYTES_MIN + id.scheme.len() + id.id.len()).sum();
        record.len().saturating_mul(2 + expanded / Acl::BYTES_MIN)
    }

    /// The invariants of the fields.
    pub(super) fn check(&self, writes: &Writes) {
        let last = writes.last_zxid;
        let preparing = self.preparing.as_ref().map(|preparing| preparing.header.zxid);
        let is_next = |zxid| Some(zxid) == self.machine.zxid_after(last);
        assert!(preparing.is_none_or(is_next), "{preparing:?} after {last}");
        let (first, latest) = (self.departures.front(), self.departures.back());
        assert!(
            first.zip(latest).is_none_or(|(first, latest)| first.after <= latest.after),
            "departures wait in order"
        );
        self.held.check();
        let (waiting, closing) = (self.waiting.len(), self.sessions.closing());
        assert!(waiting <= WAITING_MAX + closing, "{waiting} wait, {closing} of them to end");
    }
}

/// The transactions of a group of log entries, as slices of it without the framing of the log.
pub(super) fn logged(entries: &Bytes) -> impl Iterator<Item = Logged> {
    let mut rest = entries.clone();
    std::iter::from_fn(move || {
        let (len, zxid) = first_entry(&rest)?;
        let entry = rest.split_to(len);
        Some(Logged { zxid, record: entry.slice(ENTRY_HEADER_BYTES..len - 1) })
    })
}

/// New sessions that wait for room in the log; one more is refused.
pub(super) const WAITING_MAX: usize = 10_000;
/// Entries in the pipeline above which the machine proposes nothing of its own accord: a million
/// sessions that end at once go as fast as the disk, and other requests between them.
pub(super) const OWN_WORK_OUTSTANDING_MAX: usize = 2048;
/// Bytes of a record that are digested and copied in about the time of one unit.
const RECORD_BYTES_PER_UNIT: u64 = 1 << 10;
/// With so much room a session can be closed: its list of ephemerals is cut to what there is.
const CLOSE_BYTES_MIN: usize = 64 << 10;
/// The bytes of an entry beside its record, counted generously.
const ENTRY_BYTES_BESIDE: usize = 1024;
