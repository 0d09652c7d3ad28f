//! The quorum machine: prepare, propose, commit. The only writer of the tree.
//!
//! A shard's request is judged at once against the tree and everything outstanding, becomes a log
//! entry, is proposed by the role, waits for its commit and for the flush, is applied in the order
//! of zxids and answered. The role is that of a leader; a standalone server leads an ensemble of
//! one, in which its own flush commits. It is sans-io: the shell carries out the [`Effect`]s and
//! says when a flush has ended.
//!
//! | file | holds |
//! |---|---|
//! | `budget` | how much one call may do |
//! | `prepare` | from request to transaction |
//! | `outstanding` | the overlay of what is prepared and not yet applied |
//! | `pipeline` | log bytes, flushes, the order of commits, when to roll and to snapshot |
//! | `commit` | apply, events, answers |
//! | `spent` | the memory of long multis |
//! | `stillness` | commits held back, so that long reads end |
//! | `reply` | what a client is told |
//! | `sessions` | who lives, who expires |
//! | `sweep` | containers and TTL nodes |
//! | `report` | figures |
//! | `recovery` | from files to a tree |

mod budget;
mod commit;
mod outstanding;
mod pipeline;
mod prepare;
pub mod recovery;
mod reply;
mod report;
mod sessions;
mod spent;
mod stillness;
mod sweep;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use crate::acl::{AclConfig, Verdicts};
use crate::codes::{ErrorCode, OpCode};
use crate::handoff::{CommitBatch, Origin, Request, ShardId, ToQuorum, ToShard};
use crate::jute::Reader;
use crate::jute::data::{Acl, Id};
use crate::limits;
use crate::proto::PathRequest;
use crate::tree::{Change, Tree};
use crate::txn::{Txn, TxnHeader};
use crate::txnlog::{Durable, ENTRY_HEADER_BYTES, PendingFlush, first_entry};
use crate::zab::{LeadEffect, Leading, Logged};
use crate::zxid::{Now, SessionId, Zxid};

use commit::{Announcing, Applying};
use outstanding::{Outstanding, RECORDS_PER_UNIT};
use pipeline::{Answer, KnownNodes, Pipeline, Proposal};
use prepare::{Closing, MultiSlices, Prepare, Prepared, Refusal};
use sessions::Sessions;
use spent::Spent;
use sweep::Sweep;

pub use budget::Budget;
pub use report::QuorumStats;
pub use stillness::Stillness;

/// The part of the configuration that the machine needs. Times are in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumConfig {
    /// `tickTime`: sessions expire at multiples of it.
    pub tick_ms: i64,
    /// `snapCount`, at least 2: a snapshot is due after half of it and a random half.
    pub snap_count: u64,
    /// `snapSizeLimitInKb` in bytes, likewise; 0 is no limit.
    pub snap_size_bytes: u64,
    /// `txnLogSizeLimitInKb` in bytes: a log file longer than this is followed by a new one; 0 is
    /// no limit.
    pub log_file_bytes_max: u64,
    /// `jute.maxbuffer` and `jute.maxbuffer.extrasize` together: the longest transaction that may be
    /// logged, in bytes.
    pub record_bytes_max: usize,
    /// `zookeeper.extendedTypesEnabled`: TTL nodes.
    pub extended_types: bool,
    /// `zookeeper.enforceQuota`.
    pub enforce_quota: bool,
    /// `zookeeper.digest.enabled`: a digest of the tree goes with each transaction.
    pub digest: bool,
    /// `zookeeper.closeSessionTxn.enabled`: the end of a session names the nodes that go with it.
    pub close_session_txn: bool,
    /// `reconfigEnabled`: decides between the answers to reconfig, which is refused in any case.
    pub reconfig: bool,
    /// `znode.container.checkIntervalMs`.
    pub container_check_interval_ms: i64,
    /// `znode.container.maxPerMinute`.
    pub container_max_per_minute: i64,
    /// `znode.container.maxNeverUsedIntervalMs`; 0 keeps containers that never had a child.
    pub container_max_never_used_ms: i64,
    pub acl: AclConfig,
    pub shards: u16,
    /// Units of a multi's preparation that are done when it comes; what is left of it is sliced.
    pub multi_units_at_once: u64,
}

impl Default for QuorumConfig {
    fn default() -> Self {
        Self {
            tick_ms: limits::TICK_MS,
            snap_count: limits::SNAP_COUNT,
            snap_size_bytes: 4 << 30,
            log_file_bytes_max: 0,
            record_bytes_max: limits::RECORD_BYTES_MAX,
            extended_types: false,
            enforce_quota: false,
            digest: true,
            close_session_txn: true,
            reconfig: false,
            container_check_interval_ms: 60_000,
            container_max_per_minute: 10_000,
            container_max_never_used_ms: 0,
            acl: AclConfig::default(),
            shards: 1,
            multi_units_at_once: MULTI_UNITS_AT_ONCE,
        }
    }
}

/// A request of the machine to its shell, to be carried out in order.
#[derive(Debug)]
pub enum Effect {
    /// Whole log entries, to go after those appended before.
    Append { first: Zxid, last: Zxid, bytes: Bytes },
    /// Everything appended so far must get onto the disk; then [`Quorum::on_flushed`] or
    /// [`Quorum::on_flush_failed`]. One is in flight at most.
    Flush(PendingFlush),
    /// The next Append starts a new file, named after its first zxid.
    RollLog,
    /// A snapshot of the tree as it is now is due; it is taken in the background. If one is under
    /// way already, none is needed.
    TakeSnapshot,
    /// An answer that changes nothing of the tree. What a commit means to the shards does not come
    /// this way: see [`Quorum::commit`].
    ToShard(ShardId, ToShard),
}

/// The machine. See the module.
#[derive(Debug)]
pub struct Quorum {
    config: QuorumConfig,
    outstanding: Outstanding,
    pipeline: Pipeline,
    /// The role: it gives out zxids, proposes what the pipeline logs, and says what is committed.
    leading: Leading,
    sessions: Sessions,
    sweep: Sweep,
    /// A multi that takes more than one call. Nothing else is proposed meanwhile. Invariant: its
    /// zxid is the one after `last_zxid`.
    preparing: Option<Box<Preparing>>,
    /// Long multis that are applied, and whose memory is still to be given back.
    spent: Spent,
    /// The operations that must not be refused while the log is full. Invariant: at most
    /// [`WAITING_MAX`] of new sessions, and one of each session, which closes once.
    waiting: VecDeque<Waiting>,
    /// All that the shell has still to do, in order. The pipeline adds its group when it is empty.
    effects: VecDeque<Effect>,
    /// Sessions with very many ephemerals that end as soon as what was outstanding when they closed
    /// is committed: then they can depart. Invariant: in the order of what they wait for.
    departures: VecDeque<Departure>,
    /// The tree's zxid after the last commit.
    shown: Zxid,
    /// The last zxid given out. Invariant: the pipeline's last proposal has it, and `shown` is not
    /// after it.
    last_zxid: Zxid,
    /// The time of the latest message or work, in monotonic milliseconds.
    now_ms: i64,
    verdicts: RefCell<Verdicts>,
    /// The ids of the server itself.
    nobody: Arc<[Id]>,
    /// Kept for its memory: what one transaction makes known, and what one batch means to each
    /// shard.
    changes: Vec<Change>,
    batches: Vec<CommitBatch>,
    digest_mismatches: u64,
    /// The multi that is being applied. Invariant: the tree is amid it, and nothing is prepared.
    applying: Option<Applying>,
    /// Operations of the multi that comes next which no departed node is in the way of.
    unobstructed: usize,
    /// What comes next waits for departed nodes to be removed.
    is_obstructed: bool,
    /// The departure that is being announced to the shards, before the tree shows it. Invariant: it
    /// is the next to be committed.
    announcing: Option<Announcing>,
    /// The tree has departed nodes to remove, or quotas to count.
    reaping: bool,
}

/// A multi whose preparation is under way.
#[derive(Debug)]
struct Preparing {
    /// With the zxid that it gets.
    header: TxnHeader,
    request: Request,
    slices: MultiSlices,
}

/// The end of a session that waits for what came before it.
#[derive(Debug)]
struct Departure {
    session: SessionId,
    request: Option<Origin>,
    after: Zxid,
}

/// A request on which the session depends.
#[derive(Debug)]
enum Waiting {
    Open { origin: Origin, session: SessionId, timeout_ms: i32 },
    Close { session: SessionId, request: Option<Origin> },
}

impl Quorum {
    /// A standalone leader over a recovered tree; the sessions start their timers now. The same
    /// `seed` gives the same snapshots at the same places; one that clients can guess lets them
    /// find paths that collide.
    pub fn new(config: QuorumConfig, tree: &Tree, seed: u64, now: Now) -> Self {
        assert!(config.tick_ms > 0, "a tick has a length");
        let last_zxid = tree.last_zxid();
        let durable = Durable::recovered(last_zxid);
        Self {
            outstanding: Outstanding::new(tree, config.digest, seed),
            pipeline: Pipeline::new(&config, durable, seed),
            leading: Leading::standalone(durable),
            sessions: Sessions::new(tree, config.tick_ms, now),
            sweep: Sweep::new(&config, now),
            preparing: None,
            spent: Spent::default(),
            waiting: VecDeque::new(),
            effects: VecDeque::new(),
            departures: VecDeque::new(),
            shown: last_zxid,
            last_zxid,
            now_ms: now.mono_ms,
            verdicts: RefCell::default(),
            nobody: Arc::from([]),
            changes: Vec::new(),
            batches: (0..config.shards.max(1)).map(|_| CommitBatch::default()).collect(),
            digest_mismatches: 0,
            applying: None,
            unobstructed: 0,
            is_obstructed: false,
            announcing: None,
            reaping: tree.is_reaping() || tree.is_counting_quotas(),
            config,
        }
    }

    /// A message of a shard. A write becomes a proposal here and now, but for a long multi: that is
    /// begun, and [`Self::work`] goes on with it. To be called only while nothing
    /// [`Self::is_preparing`], or the rest of it is done first, however long it is; and never while
    /// it [`Self::is_applying`]. Returns the units of work that it was.
    pub fn on_message(&mut self, message: ToQuorum, tree: &Tree, now: Now) -> u64 {
        if self.pipeline.has_failed() {
            return 0;
        }
        self.check();
        assert!(!self.is_applying(), "a message waits until the multi is applied");
        self.now_ms = now.mono_ms;
        self.go_on_preparing(tree, &mut Budget::new(u64::MAX));
        let mut budget = Budget::new(u64::MAX);
        match message {
            ToQuorum::Request(request) => self.on_request(request, tree, now, &mut budget),
            ToQuorum::CreateSession { origin, session, timeout_ms } => {
                self.open_or_wait(origin, session, timeout_ms, now);
            }
            ToQuorum::Renew { origin, session, timeout_ms } => {
                let valid = self.sessions.is_live(session);
                if valid && !mutant!(RenewalKeepsTimer) {
                    self.sessions.track(session, timeout_ms, now);
                }
                let answer = ToShard::Renewed { origin, session, timeout_ms, valid };
                self.effects.push_back(Effect::ToShard(origin.shard, answer));
            }
        }
        budget.spend(1);
        self.check();
        u64::MAX - budget.left()
    }

    /// Whether a long multi is being prepared: [`Self::work`] is wanted, and no message.
    pub fn is_preparing(&self) -> bool {
        self.preparing.is_some()
    }

    /// Whether a long multi is being applied: [`Self::commit`] is wanted, and nothing else.
    pub fn is_applying(&self) -> bool {
        self.applying.is_some()
    }

    /// A shard reports the sessions that it has heard of. To be called before [`Self::on_tick`] for
    /// every report that waits; else sessions end whose clients are alive.
    pub fn on_touches(&mut self, report: &[(SessionId, i64)]) {
        for (session, at_ms) in report {
            self.sessions.touch(*session, *at_ms);
        }
    }

    /// Time passes: what is due from here on is done by [`Self::work`]. To be called several times
    /// a tick.
    pub fn on_tick(&mut self, now: Now) {
        if !self.pipeline.has_failed() {
            self.sessions.on_tick(now);
            self.sweep.on_tick(&self.config, now);
        }
    }

    /// Whether [`Self::work`] has something to do.
    pub fn has_work(&self) -> bool {
        !self.is_applying() && self.has_work_to_prepare()
    }

    fn has_work_to_prepare(&self) -> bool {
        self.is_preparing() || self.must_clear_up() || self.has_due_work()
    }

    /// Whether something that is applied is still in the overlay or takes up memory.
    fn must_clear_up(&self) -> bool {
        self.outstanding.can_forget(self.shown) || !self.spent.is_empty()
    }

    /// Whether time has made something due.
    fn has_due_work(&self) -> bool {
        let own_may_come =
            !self.pipeline.has_failed() && self.pipeline.len() < OWN_WORK_OUTSTANDING_MAX;
        let can_end_waiting = !self.waiting.is_empty() && self.has_room(CLOSE_BYTES_MIN);
        let can_sweep = self.sweep.is_looking()
            || (self.sweep.has_due() && self.has_room(self.config.record_bytes_max));
        let can_go = can_end_waiting || self.can_depart() || self.sessions.has_due() || can_sweep;
        own_may_come && can_go
    }

    /// Whether the first of the departures no longer waits for anything.
    fn can_depart(&self) -> bool {
        let is_next =
            |next: &Departure| next.after <= self.shown && !self.outstanding.can_forget(next.after);
        self.departures.front().is_some_and(is_next) && self.has_room(CLOSE_BYTES_MIN)
    }

    /// Goes on with a long multi, forgets what earlier ones have changed, then does what time has
    /// made due, until the budget is spent: what waited for room goes on, sessions expire,
    /// containers and TTL nodes go. Where much is outstanding it waits for the commits.
    pub fn work(&mut self, tree: &Tree, now: Now, budget: &mut Budget) {
        self.check();
        if self.is_applying() {
            return;
        }
        self.now_ms = now.mono_ms;
        // As much is forgotten as is prepared: what waits to be forgotten has a bound.
        let part = (budget.left() / 4).max(1);
        let mut rest = Budget::new(part);
        self.clear_up(tree, &mut rest);
        budget.spend(part - rest.left());
        self.go_on_preparing(tree, budget);
        self.clear_up(tree, budget);
        while !budget.is_spent() && !self.is_preparing() && self.has_due_work() {
            budget.spend(1);
            if self.has_room(CLOSE_BYTES_MIN)
                && let Some(waiting) = self.waiting.pop_front()
            {
                match waiting {
                    Waiting::Open { origin, session, timeout_ms } => {
                        self.open(origin, session, timeout_ms, now)
                    }
                    Waiting::Close { session, request } => {
                        self.close(session, request, tree, now, budget)
                    }
                }
            } else if self.can_depart() {
                if let Some(Departure { session, request, .. }) = self.departures.pop_front() {
                    self.close(session, request, tree, now, budget);
                }
            } else if self.sessions.has_due() {
                if let Some(session) = self.sessions.next_expired() {
                    self.close_or_wait(session, None, tree, now, budget);
                }
            } else if self.sweep.is_looking() {
                self.sweep.look(&self.config, tree, budget);
            } else if let Some(path) = self.sweep.next() {
                self.delete_container(&path, tree, now);
            }
        }
        self.check();
    }

    /// What is applied leaves the overlay, and its memory is given back.
    fn clear_up(&mut self, tree: &Tree, budget: &mut Budget) {
        while !budget.is_spent() && self.outstanding.forget(tree, RECORDS_PER_UNIT) > 0 {
            budget.spend(1);
        }
        self.spent.free(budget);
    }

    /// Prepares a transaction of the server's own, which no ACL concerns.
    fn prepare_own<'a>(&'a mut self, tree: &'a Tree, header: TxnHeader) -> Prepare<'a> {
        let Self { config, outstanding, nobody, verdicts, .. } = self;
        Prepare::new(config, tree, outstanding, header, nobody, verdicts)
    }

    fn delete_container(&mut self, path: &str, tree: &Tree, now: Now) {
        let header = self.header(SessionId::NONE, 0, now);
        let mut prepare = self.prepare_own(tree, header);
        if let Some(txn) = prepare.delete_container(path) {
            self.propose(header, txn, Answer::Nobody);
        }
    }

    /// The number of bytes that the log still takes, those of [`Self::pending_bytes`] among them.
    /// Where the longest transaction would not fit, writes answer SYSTEM_ERROR and use up no zxid,
    /// what opens and closes sessions waits, and reads go on.
    pub fn on_log_room(&mut self, bytes: u64) {
        self.pipeline.set_room(bytes.saturating_sub(self.pending_bytes()));
    }

    /// Bytes of log entries that are encoded and that the shell has not taken yet: they rest on
    /// room that was promised before, and must stay promised.
    pub fn pending_bytes(&self) -> u64 {
        let queued = self.effects.iter().map(|effect| match effect {
            Effect::Append { bytes, .. } => bytes.len() as u64,
            _ => 0,
        });
        queued.sum::<u64>() + self.pipeline.unappended()
    }

    /// A flush has ended well: one acknowledgement for the role, and nothing that it does not cover
    /// is shown, whatever others have acknowledged (S14).
    pub fn on_flushed(&mut self, upto: Durable<Zxid>) {
        if self.pipeline.has_failed() {
            return;
        }
        self.check();
        self.pipeline.on_flushed(upto);
        self.leading.on_durable(upto);
        while let Some(effect) = self.leading.poll() {
            match effect {
                LeadEffect::Committed { upto } => self.pipeline.on_committed(upto),
                other => unreachable!("nobody is there whom {other:?} concerns"),
            }
        }
        self.check();
    }

    /// A flush has failed: the machine goes no further, and nothing that is not committed will ever
    /// be answered.
    pub fn on_flush_failed(&mut self) {
        self.pipeline.fail();
        self.preparing = None;
        self.effects.retain(|effect| matches!(effect, Effect::ToShard(..)));
    }

    /// Whether [`Self::commit`] has something to do.
    pub fn has_committable(&self) -> bool {
        let can_reap = self.reaping && !self.pipeline.has_failed();
        self.is_applying() || self.pipeline.has_committable() || can_reap
    }

    /// The work that it has to do.
    pub fn committable(&self) -> usize {
        self.pipeline.committable()
    }

    /// The next thing that the shell must do.
    pub fn poll(&mut self) -> Option<Effect> {
        if self.effects.is_empty() {
            self.pipeline.end_group(&mut self.effects);
        }
        let effect = self.effects.pop_front();
        if let Some(Effect::Append { last, bytes, .. }) = &effect {
            // Before its flush is asked for.
            self.leading.propose(*last, logged(bytes), self.now_ms);
        }
        effect
    }

    /// Gives back the buffer of an [`Effect::Append`] that has been written and that nobody else
    /// holds, to be used again.
    pub fn recycle(&mut self, bytes: Vec<u8>) {
        self.pipeline.recycle(bytes);
    }

    fn on_request(&mut self, request: Request, tree: &Tree, now: Now, budget: &mut Budget) {
        let Request { origin, session, op, ref record, ref auth } = request;
        if !self.sessions.touch(session, now.mono_ms) {
            // The session ended before this came: the connection is on its way out.
            let reply = reply::refused(origin, op, self.last_zxid, ErrorCode::SESSION_EXPIRED);
            return self
                .pipeline
                .answer(origin.shard, crate::handoff::Reply { close: true, ..reply });
        }
        match op {
            OpCode::SYNC => return self.sync(origin, record),
            OpCode::CLOSE_SESSION => {
                return self.close_or_wait(session, Some(origin), tree, now, budget);
            }
            _ if !self.has_room(self.bytes_needed(record, auth)) => {
                return self.refuse(origin, op, ErrorCode::SYSTEM_ERROR);
            }
            _ => {}
        }
        let header = self.header(session, origin.xid, now);
        if op == OpCode::MULTI {
            let slices = MultiSlices::new();
            self.preparing = Some(Box::new(Preparing { header, request, slices }));
            let units = self.config.multi_units_at_once;
            let mut at_once = Budget::new(units);
            self.go_on_preparing(tree, &mut at_once);
            return budget.spend(units - at_once.left());
        }
        let mut prepare =
            Prepare::new(&self.config, tree, &mut self.outstanding, header, auth, &self.verdicts);
        let prepared = prepare.request(op, record);
        let known = KnownNodes::One(prepare.known);
        budget.spend(record.len() as u64 / RECORD_BYTES_PER_UNIT);
        self.decide(header, origin, op, prepared, known);
    }

    /// Goes on with the multi at hand, if there is one.
    fn go_on_preparing(&mut self, tree: &Tree, budget: &mut Budget) {
        let Some(mut preparing) = self.preparing.take() else { return };
        let Preparing { header, request, slices } = &mut *preparing;
        let (auth, record) = (&request.auth, &request.record);
        if !self.has_room(self.bytes_needed(record, auth)) {
            slices.give_up(Refusal::Unlogged(ErrorCode::SYSTEM_ERROR));
        }
        let mut prepare =
            Prepare::new(&self.config, tree, &mut self.outstanding, *header, auth, &self.verdicts);
        match prepare.multi(slices, record, budget) {
            None => self.preparing = Some(preparing),
            Some(prepared) => {
                self.outstanding.see_again(tree);
                let known = KnownNodes::Each(slices.take_known());
                self.decide(*header, request.origin, OpCode::MULTI, prepared, known);
            }
        }
    }

    /// Proposes or refuses what has been prepared.
    fn decide(
        &mut self,
        header: TxnHeader,
        origin: Origin,
        op: OpCode,
        prepared: Prepared,
        known: KnownNodes,
    ) {
        let txn = match prepared {
            Ok(txn) => txn,
            Err(Refusal::Failed(err)) => Txn::Error(err),
            Err(Refusal::Unlogged(err)) => return self.refuse(origin, op, err),
        };
        let proposal = self.proposal(header, txn, Answer::Request { origin, op });
        self.propose_as(Proposal { known, ..proposal });
    }

    fn sync(&mut self, origin: Origin, record: &[u8]) {
        match PathRequest::read(&mut Reader::new(record)) {
            Ok(request) => {
                let reply = reply::synced(origin, self.last_zxid, request.path.as_deref());
                self.pipeline.answer(origin.shard, reply);
            }
            Err(_) => self.refuse(origin, OpCode::SYNC, ErrorCode::MARSHALLING_ERROR),
        }
    }

    /// Answers with an error and no transaction, in its turn.
    fn refuse(&mut self, origin: Origin, op: OpCode, err: ErrorCode) {
        let reply = reply::refused(origin, op, self.last_zxid, err);
        self.pipeline.answer(origin.shard, reply);
    }

    fn open_or_wait(&mut self, origin: Origin, session: SessionId, timeout_ms: i32, now: Now) {
        if self.has_room(CLOSE_BYTES_MIN) {
            self.open(origin, session, timeout_ms, now);
        } else if self.waiting.len() < WAITING_MAX {
            self.waiting.push_back(Waiting::Open { origin, session, timeout_ms });
        } else {
            // An answer all the same: its shard counts what it has asked for.
            let answer = ToShard::NotOpened { origin };
            self.effects.push_back(Effect::ToShard(origin.shard, answer));
        }
    }

    fn open(&mut self, origin: Origin, session: SessionId, timeout_ms: i32, now: Now) {
        self.sessions.track(session, timeout_ms, now);
        let header = self.header(session, 0, now);
        self.propose(
            header,
            Txn::CreateSession { timeout_ms },
            Answer::Session { origin, timeout_ms },
        );
    }

    /// Nobody may act for the session from here on, even while the closeSession waits: for room, or
    /// for what is outstanding of very many ephemerals, which would have to go one by one.
    fn close_or_wait(
        &mut self,
        session: SessionId,
        request: Option<Origin>,
        tree: &Tree,
        now: Now,
        budget: &mut Budget,
    ) {
        self.sessions.set_closing(session);
        if self.outstanding.must_wait_to_depart(tree, session) {
            let departure = Departure { session, request, after: self.last_zxid };
            self.departures.push_back(departure);
        } else if self.has_room(CLOSE_BYTES_MIN) {
            self.close(session, request, tree, now, budget);
        } else {
            self.waiting.push_back(Waiting::Close { session, request });
        }
    }

    fn close(
        &mut self,
        session: SessionId,
        request: Option<Origin>,
        tree: &Tree,
        now: Now,
        budget: &mut Budget,
    ) {
        let header = self.header(session, request.map_or(0, |origin| origin.xid), now);
        let room = self.pipeline.room().saturating_sub(ENTRY_BYTES_BESIDE as u64);
        let mut prepare = self.prepare_own(tree, header);
        let closing = prepare.close_session(session, usize::try_from(room).unwrap_or(usize::MAX));
        budget.spend(closing.nodes);
        let answer = match request {
            Some(origin) => Answer::Request { origin, op: OpCode::CLOSE_SESSION },
            None => Answer::Nobody,
        };
        let Closing { txn, departs, .. } = closing;
        let proposal = self.proposal(header, txn, answer);
        self.propose_as(Proposal { departs, ..proposal });
    }

    fn propose(&mut self, header: TxnHeader, txn: Txn, answer: Answer) {
        let proposal = self.proposal(header, txn, answer);
        self.propose_as(proposal);
    }

    fn proposal(&self, header: TxnHeader, txn: Txn, answer: Answer) -> Proposal {
        let has_digest = self.config.digest && !self.outstanding.is_blind();
        let digest = has_digest.then(|| self.outstanding.digest());
        Proposal { header, txn, known: KnownNodes::NOTHING, digest, answer, departs: false }
    }

    fn propose_as(&mut self, proposal: Proposal) {
        assert!(self.preparing.is_none(), "nothing is proposed while a multi is prepared");
        assert_eq!(proposal.header.zxid, self.next_zxid(), "no zxid is left out");
        self.last_zxid = proposal.header.zxid;
        self.pipeline.propose(proposal, &mut self.effects);
    }

    /// The header of the next transaction; its zxid is used up by [`Self::propose`] only.
    fn header(&self, session: SessionId, cxid: i32, now: Now) -> TxnHeader {
        TxnHeader { session, cxid, zxid: self.next_zxid(), time_ms: now.wall_ms }
    }

    /// The zxid of the next transaction.
    fn next_zxid(&self) -> Zxid {
        self.leading.zxid_after(self.last_zxid).expect("there is one where there is room")
    }

    /// The invariants of the fields.
    fn check(&self) {
        if self.pipeline.has_failed() {
            return;
        }
        assert!(
            self.is_applying()
                || self.announcing.is_some()
                || self.batches.iter().all(|batch| batch.items.is_empty()),
            "only what a multi or a departure means waits for the rest of it"
        );
        let (last, proposed) = (self.last_zxid, self.pipeline.proposed());
        assert_eq!(last, proposed, "the last zxid given out is that of the last proposal");
        assert!(self.shown <= self.pipeline.frontier(), "{} is shown too early", self.shown);
        let preparing = self.preparing.as_ref().map(|preparing| preparing.header.zxid);
        let is_next = |zxid| Some(zxid) == self.leading.zxid_after(last);
        assert!(preparing.is_none_or(is_next), "{preparing:?} after {last}");
        let (first, latest) = (self.departures.front(), self.departures.back());
        assert!(
            first.zip(latest).is_none_or(|(first, latest)| first.after <= latest.after),
            "departures wait in order"
        );
        assert!(
            self.announcing.is_none()
                || self.pipeline.committable_proposal().is_some_and(|next| next.departs),
            "what is announced is committed next"
        );
        assert_eq!(self.batches.len(), usize::from(self.config.shards.max(1)));
        let (waiting, sessions) = (self.waiting.len(), self.sessions.len());
        assert!(waiting <= WAITING_MAX + sessions, "{waiting} wait, of {sessions} sessions");
    }

    /// Whether a record of this many bytes, or the longest there is, still fits the log, and the
    /// epoch has a zxid for it.
    fn has_room(&self, bytes: usize) -> bool {
        self.leading.zxid_after(self.last_zxid).is_some()
            && self.pipeline.has_room(bytes.min(self.config.record_bytes_max) + ENTRY_BYTES_BESIDE)
    }

    /// At least what the transaction of a request takes up in the log. In a multi of the smallest
    /// operations each grows to less than twice its size; ACL entries for `auth` become all the ids
    /// that the connection has proven.
    fn bytes_needed(&self, record: &[u8], auth: &[Id]) -> usize {
        let proven = auth.iter().filter(|id| &*id.scheme != "ip");
        let expanded: usize = proven.map(|id| Acl::BYTES_MIN + id.scheme.len() + id.id.len()).sum();
        record.len().saturating_mul(2 + expanded / Acl::BYTES_MIN)
    }
}

/// The transactions of a group of log entries, as slices of it without the framing of the log.
fn logged(entries: &Bytes) -> impl Iterator<Item = Logged> {
    let mut rest = entries.clone();
    std::iter::from_fn(move || {
        let (len, zxid) = first_entry(&rest)?;
        let entry = rest.split_to(len);
        Some(Logged { zxid, record: entry.slice(ENTRY_HEADER_BYTES..len - 1) })
    })
}

/// New sessions that wait for room in the log; one more is refused.
const WAITING_MAX: usize = 10_000;
/// Entries in the pipeline above which the machine proposes nothing of its own accord: a million
/// sessions that end at once go as fast as the disk, and other requests between them.
const OWN_WORK_OUTSTANDING_MAX: usize = 2048;
/// About a tenth of a millisecond.
const MULTI_UNITS_AT_ONCE: u64 = 128;
/// Bytes of a record that are digested and copied in about the time of one unit.
const RECORD_BYTES_PER_UNIT: u64 = 1 << 10;
/// With so much room a session can be closed: its list of ephemerals is cut to what there is.
const CLOSE_BYTES_MIN: usize = 64 << 10;
/// The bytes of an entry beside its record, counted generously.
const ENTRY_BYTES_BESIDE: usize = 1024;
