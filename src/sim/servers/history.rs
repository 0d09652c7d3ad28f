//! The judge of all servers: what was proposed, what each server has logged, what is committed, and
//! what that means.
//!
//! A zxid is proposed once, by one leader, after the end of the log that this leader has. So each
//! transaction has one before it, and one state after it. A server's log is a way through them. What
//! a server shows to clients is committed from then on: it must be on the disks of a quorum, and
//! nobody may ever show anything else.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use bytes::Bytes;

use crate::codes::ErrorCode;
use crate::jute::data::Id;
use crate::tree::{EPHEMERALS_MANY, Tree};
use crate::txn::{LogRecord, Txn, TxnHeader};
use crate::zxid::Zxid;

use crate::sim::compare::{compare, records, same};
use crate::sim::coverage::Coverage;
use crate::sim::ensemble::check::Voters;
use crate::sim::judge::Serving;
use crate::sim::model::Model;
use crate::sim::op::Op;
use crate::sim::property::{Checked, Done, Property, hold};
use crate::sim::swarm::Swarm;

use super::coverage;
use super::locals::Locals;
use super::spells::Spells;
use super::visits::Visits;

/// A transaction that a leader has proposed.
#[derive(Debug)]
struct Proposal {
    done: Done,
    record: Bytes,
    /// The zxid of the transaction before it, in the log of its leader and in every other.
    before: i64,
    after: Rc<Model>,
}

/// A write that a client has sent.
#[derive(Debug)]
struct Asked {
    op: Op,
    authed: bool,
    /// The connection and its server.
    link: usize,
    server: usize,
    /// The largest zxid that anybody had been told before.
    told: i64,
    /// The zxid that it has become.
    zxid: Option<Zxid>,
}

/// What one server has.
#[derive(Debug)]
pub(super) struct OfServer {
    /// The zxids in its log, from the first transaction on.
    pub(super) log: Vec<i64>,
    /// How many of them a flush has covered.
    pub(super) durable: usize,
    /// The state that its tree shows.
    pub(super) applied: Rc<Model>,
    pub(super) serves: bool,
    /// It answers reads alone, or has done so since its start.
    pub(super) reads_alone: bool,
    /// The epoch that it leads, or led last since it looked.
    pub(super) leads: Option<u32>,
    pub(super) was_full: bool,
    /// The first of the connections of clients that came after its role had begun to serve.
    pub(super) leads_from: usize,
    /// What its clients were shown, before the present state, while the multi at hand was prepared
    /// in slices. Only kept where quotas are enforced.
    meanwhile: Vec<Rc<Model>>,
    /// The disk is giving its log this end: a crash leaves the old log, the new one, or less of the
    /// old one.
    pub(super) changes_to: Option<i64>,
    /// What it had on a disk that is lost now.
    lost: Vec<i64>,
    /// The epochs that it has said are stored.
    pub(super) accepted_epoch: u32,
    pub(super) current_epoch: u32,
}

/// See the module.
#[derive(Debug)]
pub(super) struct History {
    pub(super) user: Id,
    base: Rc<Model>,
    proposals: BTreeMap<i64, Proposal>,
    committed: Vec<i64>,
    pub(super) servers: Vec<OfServer>,
    pub(super) voters: Voters,
    asked: BTreeMap<(i64, i32), Asked>,
    /// The zxids that made the sessions that are committed, or shown to somebody.
    created: BTreeMap<i64, i64>,
    /// Sessions whose end was proposed by some leader.
    ended: BTreeMap<i64, u64>,
    /// Sessions that one server alone knows, or has known at first.
    locals: Locals,
    /// New sessions that clients want.
    wanted: usize,
    pub(super) visits: Visits,
    leaders: BTreeMap<u32, usize>,
    /// The last transaction before each epoch.
    before_epochs: BTreeMap<u32, i64>,
    /// The largest zxid that anybody was told.
    told: i64,
    pub(super) spells: Spells,
    enforce_quota: bool,
    leader_serves: bool,
    /// The last counter of an epoch.
    counter_max: u32,
    /// What has happened.
    pub(super) coverage: Coverage,
}

impl OfServer {
    pub(super) fn new() -> Self {
        Self {
            log: Vec::new(),
            durable: 0,
            applied: Rc::new(Model::at(0)),
            serves: false,
            reads_alone: false,
            leads: None,
            was_full: false,
            leads_from: 0,
            meanwhile: Vec::new(),
            changes_to: None,
            lost: Vec::new(),
            accepted_epoch: 0,
            current_epoch: 0,
        }
    }

    pub(super) fn last(&self) -> i64 {
        self.log.last().copied().unwrap_or(0)
    }

    /// Whether a transaction is on its disk, or was on one that is lost.
    fn has_durable(&self, zxid: i64) -> bool {
        let durable = &self.log[..self.durable];
        durable.binary_search(&zxid).is_ok() || self.lost.binary_search(&zxid).is_ok()
    }
}

impl History {
    pub(super) fn new(user: Id, voters: Voters, observers: usize, swarm: &Swarm) -> Self {
        let servers = (0..voters.0.len() + observers).map(|_| OfServer::new());
        Self {
            user,
            base: Rc::new(Model::at(0)),
            proposals: BTreeMap::new(),
            committed: Vec::new(),
            servers: servers.collect(),
            voters,
            asked: BTreeMap::new(),
            created: BTreeMap::new(),
            ended: BTreeMap::new(),
            locals: Locals::new(swarm.members),
            wanted: 0,
            visits: Visits::default(),
            leaders: BTreeMap::new(),
            before_epochs: BTreeMap::new(),
            told: 0,
            spells: Spells::default(),
            enforce_quota: swarm.enforce_quota,
            leader_serves: swarm.members.leader_serves,
            counter_max: swarm.members.counter_max,
            coverage: Coverage::default(),
        }
    }

    /// The largest zxid that anybody was told.
    pub(super) fn told(&self) -> i64 {
        self.told
    }

    /// Transactions that are committed.
    pub(super) fn commits(&self) -> usize {
        self.committed.len()
    }

    /// The last of them.
    pub(super) fn last_committed(&self) -> i64 {
        self.committed.last().copied().unwrap_or(0)
    }

    /// The state after a transaction.
    fn after(&self, zxid: i64) -> &Rc<Model> {
        self.proposals.get(&zxid).map_or(&self.base, |proposal| &proposal.after)
    }

    /// The state that all servers come to.
    pub(super) fn head(&self) -> &Model {
        self.after(self.last_committed())
    }

    // What clients ask.

    pub(super) fn on_asked(
        &mut self,
        session: i64,
        xid: i32,
        (op, authed): (&Op, bool),
        (link, server): (usize, usize),
    ) {
        if *op == Op::Close {
            self.locals.on_close_asked(session);
        }
        let (op, told) = (op.clone(), self.told);
        self.asked.insert((session, xid), Asked { op, authed, link, server, told, zxid: None });
    }

    /// A client connects to a server, with its session or for a new one.
    pub(super) fn on_connects(&mut self, session: i64, link: usize, server: usize) {
        match session {
            0 => self.wanted += 1,
            _ => self.visits.on_connects(session, link, server),
        }
    }

    /// A connection was told that it has the session.
    pub(super) fn on_answered(&mut self, session: i64, link: usize, server: usize) {
        let of = &self.servers[server];
        let epoch = of.current_epoch.min(Zxid(of.applied.zxid).epoch());
        self.visits.on_answered(session, link, server, epoch);
        self.visits.on_taken(link, of.current_epoch);
    }

    pub(super) fn zxid_of(&self, session: i64, xid: i32) -> Option<Zxid> {
        self.asked.get(&(session, xid)).and_then(|asked| asked.zxid)
    }

    pub(super) fn created(&self, session: i64) -> Option<i64> {
        self.created.get(&session).copied()
    }

    /// Whether some leader has wanted to end the session.
    pub(super) fn is_ending(&self, session: i64) -> bool {
        self.ended.contains_key(&session)
    }

    /// Whether the session lives after all that is committed, or has lived since then.
    pub(super) fn lived_since(&self, session: i64, since_us: u64) -> bool {
        self.head().sessions.contains_key(&session)
            || self.ended.get(&session).is_some_and(|at_us| *at_us >= since_us)
    }

    // Sessions that one server alone knows.

    /// Whether a session is becoming the ensemble's under the leader of this server, and had not
    /// ended before then.
    pub(super) fn is_beginning(&self, server: usize, session: i64, since_us: u64) -> bool {
        self.locals.is_begun(session, self.servers[server].current_epoch)
            && self.ended.get(&session).is_none_or(|at_us| *at_us >= since_us)
    }

    /// A client was told of a session that is in no log.
    pub(super) fn on_local(&mut self, server: usize, session: i64, read_only: bool) -> Checked {
        let is_known = self.locals.on_opened(server, session);
        hold!(is_known, SessionState, "session {session:x} was never logged");
        let without = !read_only || self.servers[server].reads_alone;
        hold!(without, SessionState, "server {server} answers reads alone, and has a leader");
        self.coverage.note(if read_only { coverage::READ_ONLY } else { coverage::LOCAL });
        Ok(())
    }

    /// Whether it has lived at this server since then.
    pub(super) fn local_lived_since(&self, server: usize, session: i64, since_us: u64) -> bool {
        self.locals.lived_since(server, session, since_us)
    }

    /// Whether it is in no log that is committed, and this server knows it.
    pub(super) fn is_local(&self, server: usize, session: i64) -> bool {
        self.locals.is_of(server, session) && !self.created.contains_key(&session)
    }

    /// What the client of a local session is told instead of its end.
    pub(super) fn no_ephemerals(&self, server: usize, session: i64, op: &Op) -> Option<ErrorCode> {
        let is_it = op.creates_ephemeral() && self.is_local(server, session);
        (is_it && !self.locals.upgrading()).then_some(ErrorCode::EPHEMERAL_ON_LOCAL_SESSION)
    }

    /// Whether a local session may have ended: with the role of its server, by its client, or as
    /// nothing was heard of it.
    pub(super) fn may_end_local(&self, server: usize, session: i64) -> bool {
        let mono_ms = (self.spells.now_us() / 1000) as i64;
        self.locals.has_ended(session) || self.judge_local_end(server, session, mono_ms).is_ok()
    }

    /// A server ends a local session: nothing was heard of it for long.
    pub(super) fn judge_local_end(&self, server: usize, session: i64, mono_ms: i64) -> Checked {
        let timeout_ms = self.spells.wanted_ms(session);
        self.spells.judge_expiry(session, timeout_ms, server, mono_ms)
    }

    // The history.

    pub(super) fn done(&self, server: usize, zxid: i64) -> Option<&Done> {
        self.servers[server].log.binary_search(&zxid).ok()?;
        self.proposals.get(&zxid).map(|proposal| &proposal.done)
    }

    pub(super) fn done_after(&self, server: usize, zxid: i64) -> Option<&Done> {
        let log = &self.servers[server].log;
        let next = log.get(log.partition_point(|logged| *logged <= zxid))?;
        self.proposals.get(next).map(|proposal| &proposal.done)
    }

    /// Bytes go to the end of a server's log.
    pub(super) fn on_append(
        &mut self,
        server: usize,
        bytes: &[u8],
        mono_ms: i64,
        wall_ms: i64,
    ) -> Checked {
        for (record, payload) in records(bytes)? {
            let zxid = record.header.zxid;
            let last = self.servers[server].last();
            match self.proposals.get(&zxid.0) {
                Some(known) => {
                    hold!(
                        known.record == payload,
                        ZxidOrder,
                        "server {server} logs another transaction as {zxid}"
                    );
                    hold!(
                        known.before == last,
                        ZxidOrder,
                        "server {server} logs {zxid} after {last:x}, not after {:x}",
                        known.before
                    );
                }
                None => self.on_proposal(server, record, payload, mono_ms, wall_ms)?,
            }
            self.servers[server].log.push(zxid.0);
            // The epoch has no zxid left for what comes next.
            self.servers[server].was_full |= zxid.counter() >= self.counter_max;
        }
        Ok(())
    }

    fn on_proposal(
        &mut self,
        server: usize,
        record: LogRecord,
        payload: Bytes,
        mono_ms: i64,
        wall_ms: i64,
    ) -> Checked {
        let LogRecord { header, txn, digest } = record;
        let zxid = header.zxid;
        let leads = self.servers[server].leads;
        hold!(
            leads == Some(zxid.epoch()),
            WriteUnasked,
            "server {server} logs {zxid}, which no leader has proposed; it leads {leads:?}"
        );
        let before = self.servers[server].last();
        let due = match Zxid(before).epoch() == zxid.epoch() {
            true => before + 1,
            false => Zxid::new(zxid.epoch(), 1).0,
        };
        hold!(zxid.0 == due, ZxidOrder, "zxid {zxid} where 0x{due:x} was due");
        let state = self.after(before).clone();
        self.judge(server, &state, &header, &txn, mono_ms, wall_ms)?;
        let (mut after, mut changes) = ((*state).clone(), Vec::new());
        let answer = after.apply(&header, &txn, &mut changes);
        if let Some(digest) = digest {
            let (ours, theirs) = (after.digest(), digest.tree);
            hold!(
                ours == theirs,
                WrongOutcome,
                "{zxid} {txn:?} leads to digest {theirs:x}, not {ours:x}"
            );
        }
        let done = Done { header, txn, changes, answer };
        let (record, after) = (payload, Rc::new(after));
        self.proposals.insert(zxid.0, Proposal { done, record, before, after });
        Ok(())
    }

    /// Whether a server leads and takes no clients.
    pub(super) fn leads_alone(&self, of: &OfServer) -> bool {
        of.leads.is_some() && !self.leader_serves
    }

    /// A client is told by a server that it has a session: not by a leader that only leads, if it
    /// came after that had begun to.
    pub(super) fn judge_taken(&self, server: usize, link: usize) -> Checked {
        let of = &self.servers[server];
        let takes = !self.leads_alone(of) || link < of.leads_from;
        hold!(takes, SessionState, "server {server} leads alone, and serves c{link}");
        Ok(())
    }

    /// What a server has shown while it prepared a request counts for the next one no more.
    pub(super) fn on_nothing_prepared(&mut self, server: usize) {
        self.servers[server].meanwhile.clear();
    }

    /// Its tree is about to move on while it prepares a request.
    pub(super) fn on_shown_meanwhile(&mut self, server: usize) {
        if self.enforce_quota {
            let of = &mut self.servers[server];
            of.meanwhile.push(Rc::clone(&of.applied));
        }
    }

    /// Whether this transaction may be proposed now, and is what its request must become.
    fn judge(
        &mut self,
        server: usize,
        state: &Model,
        header: &TxnHeader,
        txn: &Txn,
        mono_ms: i64,
        wall_ms: i64,
    ) -> Checked {
        let (session, zxid) = (header.session.0, header.zxid);
        match txn {
            Txn::CreateSession { .. } => return self.judge_session(server, header, mono_ms),
            Txn::DeleteContainer { path } => {
                let node = state.nodes.get(path);
                let was_due = node
                    .is_some_and(|node| node.children.is_empty() && node.stat.ephemeral_owner < 0);
                let is_due = was_due || state.is_doomed(path, wall_ms);
                hold!(is_due, WriteUnasked, "{zxid} removes {path}, which is not due");
                return Ok(());
            }
            _ => {}
        }
        let Some(asked) = self.asked.get_mut(&(session, header.cxid)) else {
            return self.judge_end(server, state, header, txn, mono_ms);
        };
        let cxid = header.cxid;
        hold!(asked.zxid.is_none(), WriteUnasked, "{zxid} does {cxid} of {session:x} again");
        // A leader that is deposed does not know what the next one has told.
        hold!(
            zxid.0 > asked.told || Zxid(asked.told).epoch() > zxid.epoch(),
            ZxidOrder,
            "{zxid} does {cxid} of {session:x}, which came after {:x} was told",
            asked.told
        );
        asked.zxid = Some(zxid);
        self.visits.judge_role(asked.link, zxid)?;
        let may_move = self.visits.may_be_elsewhere(session, asked.server);
        if may_move && *txn == Txn::Error(ErrorCode::SESSION_MOVED) {
            self.coverage.note(coverage::MOVED);
            return Ok(());
        }
        // Whoever has had a session may end it.
        let has_left = self.visits.has_left(session, asked.link, asked.server, zxid.epoch());
        // One that has ended is to the leader what one of a learner alone is; and what observers ask
        // comes to it by way of other servers.
        let is_relayed = self.spells.relayed_from.is_some();
        let is_known =
            !is_relayed && (!self.locals.is_on() || state.sessions.contains_key(&session));
        let is_late = has_left && is_known && asked.op != Op::Close;
        hold!(
            !is_late || matches!(txn, Txn::Error(_)),
            SessionState,
            "{zxid} does {cxid} of {session:x}, whose client has gone to another server"
        );
        let was_full = self.servers[server].was_full;
        let is_ending = was_full
            || state.ephemerals_of(session).len() >= EPHEMERALS_MANY
            || self.ended.contains_key(&session);
        match txn {
            Txn::Error(ErrorCode::SESSION_EXPIRED) if is_ending => return Ok(()),
            Txn::Error(ErrorCode::SYSTEM_ERROR) if was_full => return Ok(()),
            _ => {}
        }
        self.judge_outcome(server, state, header, txn)
    }

    /// Whether a transaction is what its request must become.
    fn judge_outcome(
        &mut self,
        server: usize,
        state: &Model,
        header: &TxnHeader,
        txn: &Txn,
    ) -> Checked {
        let (session, zxid) = (header.session.0, header.zxid);
        let Some(asked) = self.asked.get(&(session, header.cxid)) else { return Ok(()) };
        let ids: &[Id] = if asked.authed { std::slice::from_ref(&self.user) } else { &[] };
        let of = &self.servers[server];
        let shown: Vec<&Model> = match self.enforce_quota {
            true => of.meanwhile.iter().chain([&of.applied]).map(|state| &**state).collect(),
            false => Vec::new(),
        };
        let state = self.locals.state_for(state, session, asked.server == server);
        let due = state.decide(&asked.op, session, ids, &self.user, &shown, txn);
        if *txn == Txn::Error(ErrorCode::QUOTA_EXCEEDED) {
            self.coverage.note(coverage::QUOTA);
        }
        hold!(
            same(&due, txn),
            WrongOutcome,
            "{zxid} request {:?} became {txn:?}, not {due:?}",
            asked.op
        );
        if matches!(txn, Txn::CloseSession { .. }) {
            self.ended.insert(session, self.spells.now_us());
        }
        Ok(())
    }

    /// A new session has an id of its own, and somebody has asked for it.
    fn judge_session(&mut self, server: usize, header: &TxnHeader, mono_ms: i64) -> Checked {
        let session = header.session.0;
        let first = self.created.get(&session);
        hold!(first.is_none(), SessionState, "session {session:x} is given out twice");
        let of_it = self.asked.range((session, i32::MIN)..=(session, i32::MAX));
        let may_begin = match self.locals.is_on() {
            // It is asked for the first ephemeral.
            true => self.locals.may_upgrade(session) && of_it.into_iter().any(needs_ensemble),
            false => self.wanted > 0,
        };
        hold!(may_begin, WriteUnasked, "session {session:x} was not asked for");
        if self.locals.is_on() {
            self.coverage.note(coverage::UPGRADED);
        }
        self.locals.on_begun(session, header.zxid);
        self.spells.on_heard(session, server, mono_ms);
        Ok(())
    }

    /// Nobody has asked for it: only a session may end.
    fn judge_end(
        &mut self,
        server: usize,
        state: &Model,
        header: &TxnHeader,
        txn: &Txn,
        mono_ms: i64,
    ) -> Checked {
        let (zxid, session) = (header.zxid, header.session.0);
        let Txn::CloseSession { paths } = txn else {
            return Err(Property::WriteUnasked
                .broken(format_args!("{zxid} {header:?} {txn:?} was not asked for")));
        };
        let Some(timeout_ms) = state.sessions.get(&session) else {
            return Err(Property::SessionState
                .broken(format_args!("{zxid} ends session {session:x}, which is not")));
        };
        self.spells.judge_expiry(session, *timeout_ms, server, mono_ms)?;
        self.coverage.note(coverage::EXPIRED);
        let due = Txn::CloseSession { paths: Some(state.ephemerals_of(session)) };
        hold!(
            same(&due, txn),
            EphemeralOwner,
            "{zxid} removes {paths:?} with session {session:x}, not {due:?}"
        );
        self.ended.insert(session, self.spells.now_us());
        Ok(())
    }

    pub(super) fn on_durable(&mut self, server: usize, zxid: Zxid) {
        let of = &mut self.servers[server];
        of.durable = of.durable.max(of.log.partition_point(|logged| *logged <= zxid.0));
    }

    /// Whether a quorum of the voters has a transaction on its disks.
    fn is_on_quorum(&self, zxid: i64) -> bool {
        self.voters.is_quorum(|id| self.servers[id.0 as usize - 1].has_durable(zxid))
    }

    /// A server shows the state after `zxid` to its clients.
    fn commit(&mut self, server: usize, zxid: i64) -> Checked {
        let last = self.last_committed();
        if zxid <= last {
            let is_known = zxid == 0 || self.committed.binary_search(&zxid).is_ok();
            hold!(is_known, WriteLost, "server {server} shows {zxid:x}, which is not committed");
            return Ok(());
        }
        let mut new = Vec::new();
        let mut at = zxid;
        while at > last {
            hold!(
                self.is_on_quorum(at),
                ShownBeforeDurable,
                "server {server} shows {at:x}, and no quorum has it on its disks"
            );
            new.push(at);
            at = self.proposals[&at].before;
        }
        hold!(
            at == last,
            WriteLost,
            "server {server} shows {zxid:x}, in whose history {last:x} is missing"
        );
        for zxid in new.into_iter().rev() {
            let done = &self.proposals[&zxid].done;
            if matches!(done.txn, Txn::CreateSession { .. }) {
                self.created.insert(done.header.session.0, zxid);
                self.wanted = self.wanted.saturating_sub(1);
            }
            self.committed.push(zxid);
        }
        Ok(())
    }

    /// The tree of a server has moved on.
    pub(super) fn on_tree(&mut self, server: usize, tree: &Tree, deep: bool) -> Checked {
        let to = tree.last_zxid();
        let of = &self.servers[server];
        let from = of.applied.zxid;
        hold!(to.0 >= from, ZxidOrder, "the tree of server {server} goes back to {to}");
        let log = &of.log;
        let range = log.partition_point(|at| *at <= from)..log.partition_point(|at| *at <= to.0);
        let is_end = to.counter() == 0 || log.get(range.end.wrapping_sub(1)) == Some(&to.0);
        hold!(is_end, ZxidOrder, "server {server} shows {to}, which is not in its log");
        let new = log[range].to_vec();
        if of.serves
            && let Some(last) = new.last()
        {
            self.commit(server, *last)?;
        }
        if let Some(last) = new.last() {
            self.servers[server].applied = Rc::clone(self.after(*last));
        }
        let applied = &mut self.servers[server].applied;
        if applied.zxid != to.0 {
            Rc::make_mut(applied).zxid = to.0;
        }
        let digest = applied.digest();
        hold!(
            tree.is_reaping() || tree.digest() == digest,
            WrongOutcome,
            "server {server} at {to}: the digest is {:x}, not {digest:x}",
            tree.digest()
        );
        if deep { compare(&self.servers[server].applied, tree) } else { Ok(()) }
    }

    /// A server has another tree, and a log that ends with it: after a start, a truncation, or a
    /// leader's tree.
    pub(super) fn on_replaced(&mut self, server: usize, tree: &Tree) -> Checked {
        let to = tree.last_zxid();
        let mut log = Vec::new();
        let mut at = to.0;
        if !self.proposals.contains_key(&at) && to.counter() == 0 {
            at = self.before_epochs.get(&to.epoch()).copied().unwrap_or(0);
        }
        while at > 0 {
            let Some(proposal) = self.proposals.get(&at) else {
                return Err(Property::WriteUnasked
                    .broken(format_args!("server {server} has {at:x}, which nobody proposed")));
            };
            log.push(at);
            at = proposal.before;
        }
        log.reverse();
        let last = log.last().copied().unwrap_or(0);
        let mut applied = Rc::clone(self.after(last));
        if applied.zxid != to.0 {
            Rc::make_mut(&mut applied).zxid = to.0;
        }
        let of = &mut self.servers[server];
        (of.durable, of.log, of.applied, of.changes_to) = (log.len(), log, applied, None);
        compare(&self.servers[server].applied, tree)
    }

    /// A server has started: nothing that it had acknowledged is missing.
    pub(super) fn on_recovered(&mut self, server: usize, tree: &Tree) -> Checked {
        let before = self.servers[server].log.clone();
        let changes_to = self.servers[server].changes_to;
        let mut durable = self.servers[server].durable;
        if let Some(to) = changes_to {
            durable = durable.min(before.partition_point(|at| *at <= to));
        }
        self.on_replaced(server, tree)?;
        let of = &mut self.servers[server];
        let is_changed = changes_to == Some(tree.last_zxid().0);
        (of.serves, of.leads, of.was_full) = (false, None, false);
        if is_changed {
            return Ok(());
        }
        let is_prefix = before.starts_with(&of.log);
        let (last, count) = (of.last(), of.log.len());
        hold!(is_prefix, Recovery, "server {server} comes up with {last:x}, which it never had");
        hold!(
            count >= durable,
            WriteLost,
            "server {server} comes up with {last:x}, and had {:x} on its disk",
            before[durable.max(1) - 1]
        );
        Ok(())
    }

    /// A server is down.
    pub(super) fn on_crash(&mut self, server: usize) {
        let of = &mut self.servers[server];
        (of.serves, of.leads, of.reads_alone) = (false, None, false);
        self.locals.end_all_of(server, self.spells.now_us());
    }

    /// The disk of a server is lost.
    pub(super) fn on_wiped(&mut self, server: usize) {
        let of = &mut self.servers[server];
        let mut lost: BTreeSet<i64> = of.lost.iter().copied().collect();
        lost.extend(&of.log[..of.durable]);
        *of = OfServer { lost: lost.into_iter().collect(), ..OfServer::new() };
    }

    /// A leader has the history that its epoch goes on from.
    pub(super) fn on_history(&mut self, server: usize, epoch: u32) {
        let last = self.servers[server].last();
        self.before_epochs.insert(epoch, last);
    }

    /// A leader begins: a quorum has all that it has.
    pub(super) fn on_begin(&mut self, server: usize, epoch: u32) -> Checked {
        let first = self.leaders.insert(epoch, server);
        hold!(first.is_none(), TwoLeaders, "servers {first:?} and {server} both lead {epoch}");
        self.servers[server].leads = Some(epoch);
        let last = self.servers[server].last();
        let committed = self.last_committed();
        let has_all = committed == 0
            || self.servers[server].log.binary_search(&committed).is_ok()
            || Zxid(committed).epoch() > epoch;
        hold!(
            has_all,
            WriteLost,
            "server {server} leads {epoch} and lacks {committed:x}, which was committed"
        );
        if Zxid(committed).epoch() > epoch { Ok(()) } else { self.commit(server, last) }
    }

    pub(super) fn on_serving(
        &mut self,
        server: usize,
        serving: Option<Serving>,
        tree: &Tree,
    ) -> Checked {
        self.servers[server].serves = serving == Some(Serving::All);
        match serving {
            Some(Serving::All) => {}
            Some(Serving::Reads) => {
                self.servers[server].reads_alone = true;
                return Ok(());
            }
            None => {
                self.locals.end_all_of(server, self.spells.now_us());
                return Ok(());
            }
        }
        let applied = tree.last_zxid().0;
        let log = &self.servers[server].log;
        let shown = log[..log.partition_point(|at| *at <= applied)].last().copied();
        self.commit(server, shown.unwrap_or(0))
    }

    /// Somebody is told of a zxid by a server.
    pub(super) fn on_shown(&mut self, server: usize, zxid: i64) -> Checked {
        let applied = self.servers[server].applied.zxid;
        hold!(
            zxid <= applied,
            ShownBeforeDurable,
            "server {server} tells {zxid:x}, and its tree is at {applied:x}"
        );
        // The start of an epoch stands for nothing where nothing was ever written: there a learner
        // shows no zxid, as Apache's does.
        if self.last_committed() > 0 || Zxid(zxid).counter() > 0 {
            self.told = self.told.max(zxid);
        }
        let is_committed = Zxid(zxid).counter() == 0 || self.committed.binary_search(&zxid).is_ok();
        // A role that ends may have committed it, and its shards do not know of the end.
        if is_committed { Ok(()) } else { self.commit(server, zxid) }
    }

    /// All has come together.
    pub(super) fn judge_calm(&self, server: usize, tree: &Tree) -> Checked {
        let (shown, due) = (self.servers[server].last(), self.last_committed());
        hold!(
            shown == due,
            Recovery,
            "in calm times server {server} has {shown:x}, and {due:x} is committed"
        );
        let applied = &self.servers[server].applied;
        hold!(applied.zxid >= due, Recovery, "server {server} shows {:x}", applied.zxid);
        compare(applied, tree)
    }
}

/// Whether a request makes a session one of the ensemble.
fn needs_ensemble((_, asked): (&(i64, i32), &Asked)) -> bool {
    asked.op.creates_ephemeral()
}
