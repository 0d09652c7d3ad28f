//! The judge of all transactions: it sees every byte that goes into the log, every commit and every
//! recovery, and holds them against the reference model. What it does not find out, no client would
//! either; what single connections are told is judged in `stream`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::jute::data::Id;
use crate::tree::Tree;
use crate::txn::{LogRecord, Txn, TxnHeader};
use crate::zxid::{SessionId, Zxid};

use super::compare::{compare, records, same};
use super::judge::{Judge, judge_waited};
use super::model::Model;
use super::op::Op;
use super::property::{Checked, Done, Property, hold};
use super::swarm::Swarm;

/// A request on its way.
#[derive(Clone, Debug)]
struct Asked {
    op: Op,
    authed: bool,
}

/// Everything that is known about the server's promises.
#[derive(Debug)]
pub(crate) struct Check {
    /// The id that the clients prove with `addauth`.
    pub(crate) user: Id,
    /// The state after everything that was put into the log.
    head: Model,
    /// The state that clients are shown.
    pub(crate) applied: Model,
    /// The zxid before the first.
    base: i64,
    /// All transactions since the first, by zxid.
    history: Vec<Done>,
    /// Writes sent, by session and xid; those done stay to tell a second time from a first.
    asked: BTreeMap<(i64, i32), (Asked, Option<Zxid>)>,
    /// Sessions that the last start has found, living or ended, and those since; and the zxid that
    /// made them.
    sessions: BTreeMap<i64, i64>,
    /// Connect requests for a new session that have been sent and have led to none yet.
    sessions_wanted: usize,
    /// When a whole frame of a session was last taken in: monotonic milliseconds.
    heard: BTreeMap<i64, i64>,
    /// When a session was heard of after its time was over.
    lapsed: BTreeMap<i64, i64>,
    /// When a session was last renewed, as of the last turn of the quorum core, and with which
    /// timeout: that of all renewals of this session since the last start.
    renewed: BTreeMap<i64, (i64, i32)>,
    /// The longest timeout that a client has come back with for a session.
    wanted_ms: BTreeMap<i64, i32>,
    now_ms: i64,
    /// Until then no session could be ended.
    excused_ms: i64,
    /// The bytes that a true flush has covered.
    durable: i64,
    /// The highest zxid that anyone was shown.
    shown: i64,
    /// Whether quotas are enforced.
    enforce_quota: bool,
    /// The states that clients were shown, before the present one, while the multi at hand was
    /// prepared in slices. Only kept where quotas are enforced.
    shown_meanwhile: Vec<Model>,
    /// When the closeSession of a session was put into the log, in virtual microseconds.
    ended_us: BTreeMap<i64, u64>,
    /// Sessions of hostile clients, which may end when they like.
    unjudged: BTreeSet<i64>,
    /// The place up to which the last flushes have come: entries up to the first of them are
    /// followed by a mark that says so.
    flushes: VecDeque<i64>,
    /// Virtual microseconds, and until when something was slow that no request can be blamed for.
    now_us: u64,
    slow_until_us: u64,
    /// The time that a request may wait otherwise.
    patience_us: u64,
    /// Whether the log has no room: sessions cannot be ended then.
    disk_full: bool,
    /// Whether it ever had none since the start.
    pub(crate) was_full: bool,
}

impl Check {
    /// The judge of a fresh server.
    pub(crate) fn new(user: Id, swarm: &Swarm) -> Self {
        let base = swarm.zxid_base;
        Self {
            user,
            head: Model::at(base),
            applied: Model::at(base),
            base,
            history: Vec::new(),
            asked: BTreeMap::new(),
            sessions: BTreeMap::new(),
            sessions_wanted: 0,
            heard: BTreeMap::new(),
            lapsed: BTreeMap::new(),
            renewed: BTreeMap::new(),
            wanted_ms: BTreeMap::new(),
            now_ms: 0,
            excused_ms: 0,
            durable: base,
            shown: base,
            enforce_quota: swarm.enforce_quota,
            shown_meanwhile: Vec::new(),
            ended_us: BTreeMap::new(),
            unjudged: BTreeSet::new(),
            flushes: VecDeque::new(),
            now_us: 0,
            slow_until_us: 0,
            patience_us: swarm.patience_us(),
            disk_full: false,
            was_full: false,
        }
    }

    /// A client has sent a write.
    pub(crate) fn on_asked(&mut self, session: i64, xid: i32, op: &Op, authed: bool) {
        self.asked.insert((session, xid), (Asked { op: op.clone(), authed }, None));
    }

    /// A client has asked for a new session.
    pub(crate) fn on_session_wanted(&mut self) {
        self.sessions_wanted += 1;
    }

    /// A client asks for its session again, with this timeout.
    pub(crate) fn on_renewal_wanted(&mut self, session: i64, timeout_ms: i32) {
        let longest = self.wanted_ms.entry(session).or_default();
        *longest = timeout_ms.max(*longest);
    }

    /// A whole frame of a session has been taken in.
    pub(crate) fn on_heard(&mut self, session: i64, mono_ms: i64) {
        let before = self.heard.insert(session, mono_ms);
        let timeout_ms = self.head.sessions.get(&session).copied().unwrap_or(0);
        if before.is_some_and(|before| mono_ms - before >= i64::from(timeout_ms)) {
            self.lapsed.insert(session, mono_ms);
        }
    }

    fn on_record(&mut self, record: LogRecord, mono_ms: i64, wall_ms: i64) -> Checked {
        let LogRecord { header, txn, digest } = record;
        let due = self.head.zxid + 1;
        hold!(header.zxid.0 == due, ZxidOrder, "zxid {} where 0x{due:x} was due", header.zxid);
        self.judge(&header, &txn, mono_ms, wall_ms)?;
        if matches!(txn, Txn::CloseSession { .. }) {
            self.ended_us.insert(header.session.0, self.now_us);
        }
        let mut changes = Vec::new();
        let answer = self.head.apply(&header, &txn, &mut changes);
        if let Some(digest) = digest {
            let ours = self.head.digest();
            let theirs = digest.tree;
            hold!(
                ours == theirs,
                WrongOutcome,
                "{} {txn:?} leads to digest {theirs:x}, not {ours:x}",
                header.zxid
            );
        }
        self.history.push(Done { header, txn, changes, answer });
        Ok(())
    }

    /// Whether this transaction may happen now, and is what its request must become.
    fn judge(&mut self, header: &TxnHeader, txn: &Txn, mono_ms: i64, wall_ms: i64) -> Checked {
        let session = header.session.0;
        let zxid = header.zxid;
        if let Txn::CreateSession { timeout_ms } = txn {
            hold!(
                !self.sessions.contains_key(&session),
                SessionState,
                "session {session:x} is given out twice"
            );
            hold!(
                self.sessions_wanted > 0,
                WriteUnasked,
                "session {session:x} was not asked for ({timeout_ms} ms)"
            );
            self.sessions_wanted -= 1;
            self.sessions.insert(session, zxid.0);
            self.heard.insert(session, mono_ms);
            return Ok(());
        }
        if let Txn::DeleteContainer { path } = txn {
            let doomed = self.head.is_doomed(path, wall_ms) || self.was_doomed(path);
            hold!(doomed, WriteUnasked, "{zxid} removes {path}, which is not due");
            return Ok(());
        }
        if self.unjudged.contains(&session) && matches!(txn, Txn::Error(_)) {
            return Ok(());
        }
        let Some((asked, done)) = self.asked.get_mut(&(session, header.cxid)) else {
            return self.judge_expiry(header, txn, mono_ms);
        };
        hold!(
            done.is_none(),
            WriteUnasked,
            "{zxid} does request {} of {session:x} again",
            header.cxid
        );
        *done = Some(zxid);
        let ids: &[Id] = if asked.authed { std::slice::from_ref(&self.user) } else { &[] };
        let shown: Vec<&Model> = match self.enforce_quota {
            true => self.shown_meanwhile.iter().chain([&self.applied]).collect(),
            false => Vec::new(),
        };
        let due = self.head.decide(&asked.op, session, ids, &self.user, &shown, txn);
        hold!(
            same(&due, txn),
            WrongOutcome,
            "{zxid} request {:?} became {txn:?}, not {due:?}",
            asked.op
        );
        Ok(())
    }

    /// As in Apache, the server looks for what is due in the committed tree: a write on its way may
    /// have renewed a TTL node or replaced a container. That it has children now must be seen.
    fn was_doomed(&self, path: &str) -> bool {
        self.head
            .nodes
            .get(path)
            .is_some_and(|node| node.children.is_empty() && node.stat.ephemeral_owner < 0)
    }

    fn judge_expiry(&self, header: &TxnHeader, txn: &Txn, mono_ms: i64) -> Checked {
        let (zxid, session) = (header.zxid, header.session.0);
        let Txn::CloseSession { paths } = txn else {
            return Err(Property::WriteUnasked
                .broken(format_args!("{zxid} {header:?} {txn:?} was not asked for")));
        };
        let Some(timeout_ms) = self.head.sessions.get(&session) else {
            return Err(Property::SessionState
                .broken(format_args!("{zxid} ends session {session:x}, which is not")));
        };
        let timeout_ms = &self.renewed.get(&session).map_or(*timeout_ms, |(_, longer)| *longer);
        let idle_ms = mono_ms - self.heard.get(&session).copied().unwrap_or(0);
        // Heard of again when its time was over already: the quorum core need not have heard of it
        // yet, or its closeSession may have waited for room.
        let lapsed =
            self.lapsed.get(&session).is_some_and(|at| mono_ms - at <= LAPSE_MS || self.was_full);
        let early =
            idle_ms < i64::from(*timeout_ms) && !lapsed && !self.unjudged.contains(&session);
        hold!(
            !early,
            ExpiredEarly,
            "session {session:x} of {timeout_ms} ms was heard of {idle_ms} ms ago"
        );
        let due = Txn::CloseSession { paths: Some(self.head.ephemerals_of(session)) };
        hold!(
            same(&due, txn),
            EphemeralOwner,
            "{zxid} removes {paths:?} with session {session:x}, not {due:?}"
        );
        Ok(())
    }

    /// The quorum core has been away for so long that it gives every session its time afresh.
    pub(crate) fn on_stall(&mut self, mono_ms: i64) {
        self.excused_ms = mono_ms;
    }

    /// No session may be left that nothing has been heard of for its timeout and `grace_ms`.
    pub(crate) fn on_quorum_turn(&mut self, mono_ms: i64, grace_ms: i64) -> Checked {
        self.now_ms = mono_ms;
        if self.disk_full {
            self.excused_ms = mono_ms;
            return Ok(());
        }
        for (session, timeout_ms) in &self.head.sessions {
            let idle_ms = mono_ms - self.heard.get(session).copied().unwrap_or(mono_ms);
            let renewed_ms = self.renewed.get(session).map_or(0, |(at_ms, _)| *at_ms);
            let timeout_ms = timeout_ms.max(self.wanted_ms.get(session).unwrap_or(&0));
            let idle_ms = idle_ms.min(mono_ms - renewed_ms.max(self.excused_ms));
            let late =
                idle_ms > i64::from(*timeout_ms) + grace_ms && !self.unjudged.contains(session);
            hold!(
                !late,
                ExpiredLate,
                "session {session:x} of {timeout_ms} ms: last heard of {idle_ms} ms ago"
            );
        }
        Ok(())
    }

    /// A session of a hostile client.
    pub(crate) fn unjudged(&mut self, session: i64) {
        self.unjudged.insert(session);
    }

    /// Sets the time, in virtual microseconds.
    pub(crate) fn at(&mut self, now_us: u64) {
        self.now_us = now_us;
    }

    /// Until then something is slow: a core, the disk.
    pub(crate) fn slow_until(&mut self, until_us: u64) {
        self.slow_until_us = self.slow_until_us.max(until_us);
    }

    /// Whether nothing was slow for so long.
    pub(crate) fn was_swift_for(&self, us: u64) -> bool {
        self.now_us >= self.slow_until_us + us
    }

    /// Up to here damage to the log must be seen: what follows has been flushed since, and says so.
    pub(crate) fn marked(&self) -> i64 {
        if self.flushes.len() < FLUSHES_NOTED {
            self.base
        } else {
            self.flushes.front().copied().unwrap_or(self.base)
        }
    }

    /// Whether everything that was appended has been flushed.
    pub(crate) fn is_all_durable(&self) -> bool {
        self.head.zxid == self.durable
    }

    /// The server has started again with this tree, everything in it flushed. It comes from a
    /// snapshot of `base` and the log after it.
    pub(crate) fn on_recovered(&mut self, tree: &Tree, base: Zxid, mono_ms: i64) -> Checked {
        let (zxid, shown, head) = (tree.last_zxid().0, self.shown, self.head.zxid);
        hold!(zxid >= shown, WriteLost, "recovered to {zxid:x}, but {shown:x} was shown");
        hold!(zxid <= head, WriteUnasked, "recovered to {zxid:x}, the log only reached {head:x}");
        self.history.truncate((zxid - self.base) as usize);
        self.head = Model::at(self.base);
        self.flushes.clear();
        for done in &self.history {
            self.head.apply(&done.header, &done.txn, &mut Vec::new());
        }
        self.applied = self.head.clone();
        self.asked.clear();
        self.sessions_wanted = 0;
        self.durable = zxid;
        self.disk_full = false;
        self.was_full = false;
        self.forget_sessions(base);
        self.heard = self.head.sessions.keys().map(|session| (*session, mono_ms)).collect();
        compare(&self.applied, tree)
    }

    /// Of the sessions that were, those are known that lived at `base` or have lived since: their
    /// ids must not be given out again.
    fn forget_sessions(&mut self, base: Zxid) {
        let mut known = BTreeMap::new();
        for Done { header, txn, .. } in &self.history {
            let session = header.session.0;
            match txn {
                Txn::CreateSession { .. } => drop(known.insert(session, header.zxid.0)),
                Txn::CloseSession { .. } if header.zxid <= base => drop(known.remove(&session)),
                _ => {}
            }
        }
        self.sessions = known;
        let lives = |session: &i64| self.head.sessions.contains_key(session);
        self.lapsed.retain(|session, _| lives(session));
        self.renewed.clear();
        self.wanted_ms.clear();
        self.ended_us.retain(|session, _| lives(session));
        self.unjudged.retain(lives);
    }

    /// Whether a session lives after everything that is in the log.
    pub(crate) fn lives_in_log(&self, session: i64) -> bool {
        self.head.sessions.contains_key(&session)
    }

    /// The highest zxid that anyone was shown.
    pub(crate) fn shown(&self) -> i64 {
        self.shown
    }

    /// Transactions so far.
    pub(crate) fn txns(&self) -> usize {
        self.history.len()
    }
}

impl Judge for Check {
    fn user(&self) -> &Id {
        &self.user
    }

    fn applied(&self) -> &Model {
        &self.applied
    }

    fn done(&self, zxid: i64) -> Option<&Done> {
        self.history.get(usize::try_from(zxid - self.base - 1).ok()?)
    }
    fn done_after(&self, zxid: i64) -> Option<&Done> {
        self.done(zxid.max(self.base) + 1)
    }

    fn zxid_of(&self, session: i64, xid: i32) -> Option<Zxid> {
        self.asked.get(&(session, xid)).and_then(|(_, done)| *done)
    }
    fn logged(&self) -> i64 {
        self.head.zxid
    }
    fn created(&self, session: i64) -> Option<i64> {
        self.sessions.get(&session).copied()
    }
    /// While the log has no room, a session may be ended already and its closeSession still wait.
    fn may_refuse(&self, session: i64) -> bool {
        let is_shown = self.applied.sessions.contains_key(&session);
        !(is_shown && self.lives_in_log(session)) || self.was_full
    }

    fn may_renew(&self, session: i64, since_us: u64) -> bool {
        self.applied.sessions.contains_key(&session)
            || self.lives_in_log(session)
            || self.ended_us.get(&session).is_some_and(|at_us| *at_us >= since_us)
    }

    fn may_end(&self, session: i64) -> bool {
        !self.head.sessions.contains_key(&session) || self.was_full
    }
    fn on_renewed(&mut self, session: i64, timeout_ms: i32) {
        self.renewed.insert(session, (self.now_ms, timeout_ms));
    }
    fn on_append(&mut self, bytes: &[u8], mono_ms: i64, wall_ms: i64) -> Checked {
        for (record, _) in records(bytes)? {
            self.on_record(record, mono_ms, wall_ms)?;
        }
        Ok(())
    }

    fn on_durable(&mut self, zxid: Zxid) {
        self.durable = self.durable.max(zxid.0);
        self.flushes.push_back(self.durable);
        if self.flushes.len() > FLUSHES_NOTED {
            self.flushes.pop_front();
        }
    }
    fn on_nothing_prepared(&mut self) {
        self.shown_meanwhile.clear();
    }
    fn on_commit(&mut self, tree: &Tree, preparing: bool, deep: bool) -> Checked {
        let zxid = tree.last_zxid().0;
        if preparing && self.enforce_quota {
            self.shown_meanwhile.push(self.applied.clone());
        }
        hold!(zxid >= self.applied.zxid, ZxidOrder, "the tree goes back to {zxid:x}");
        hold!(zxid <= self.head.zxid, ZxidOrder, "the tree is at {zxid:x}, which is in no log");
        while self.applied.zxid < zxid {
            let done = &self.history[(self.applied.zxid - self.base) as usize];
            self.applied.apply(&done.header, &done.txn, &mut Vec::new());
        }
        let digest = self.applied.digest();
        // Nodes of a session that has departed are in the tree's until they are removed.
        hold!(
            tree.is_reaping() || tree.digest() == digest,
            WrongOutcome,
            "at {zxid:x} the digest is {:x}, not {digest:x}",
            tree.digest()
        );
        if deep { compare(&self.applied, tree) } else { Ok(()) }
    }
    fn on_shown(&mut self, zxid: i64) -> Checked {
        let durable = self.durable;
        hold!(
            zxid <= durable,
            ShownBeforeDurable,
            "{zxid:x} is shown, the log is durable up to {durable:x}"
        );
        self.shown = self.shown.max(zxid);
        Ok(())
    }
    fn on_room(&mut self, has_room: bool) {
        self.disk_full = !has_room;
        self.was_full |= !has_room;
        if !has_room {
            self.slow_now();
        }
    }
    fn was_full(&self) -> bool {
        self.was_full
    }

    fn slow_now(&mut self) {
        self.slow_until(self.now_us);
    }
    fn judge_wait(&self, session: i64, xid: i32, came_us: u64) -> Checked {
        let waited_us = self.now_us.saturating_sub(came_us.max(self.slow_until_us));
        judge_waited(session, xid, waited_us, self.patience_us)
    }
}

/// A session's id, for the machines.
pub(crate) fn session_id(session: i64) -> SessionId {
    SessionId(session)
}

/// The time that a shard may take to tell the quorum core that it has heard of a session.
const LAPSE_MS: i64 = 100;
/// Flushes after which an entry has a mark behind it for certain.
const FLUSHES_NOTED: usize = 4;
