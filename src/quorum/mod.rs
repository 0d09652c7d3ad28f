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
//! | `writes` | what every role has: the order of writes |
//! | `role` | leading, learning, or neither |
//! | `gate` | which shards the role serves |
//! | `local` | sessions that only this server knows |
//! | `leader` | the role of a leader |
//! | `held` | the order of each learner's requests |
//! | `rounds` | syncs: questions to a quorum |
//! | `learner` | the role of a follower or an observer |
//! | `member` | the life of a server of an ensemble: from looking for a leader to a role, and back |
//! | `observers` | the observers of a follower |
//! | `prepare` | from request to transaction |
//! | `outstanding` | the overlay of what is prepared and not yet applied |
//! | `pipeline` | log bytes, flushes, the order of commits, when to roll and to snapshot |
//! | `commit` | apply, events, answers |
//! | `spent` | the memory of long multis |
//! | `stillness` | commits held back, so that long reads end |
//! | `read_only` | reads without a leader |
//! | `reply` | what a client is told |
//! | `sessions` | who lives, who expires |
//! | `sweep` | containers and TTL nodes |
//! | `report`, `proposal_sizes`, `role_figures` | figures |
//! | `recovery` | from files to a tree |

mod budget;
mod commit;
mod digests;
mod gate;
mod held;
mod leader;
mod learner;
mod local;
pub mod member;
mod observers;
mod outstanding;
mod pipeline;
mod prepare;
mod proposal_sizes;
mod read_only;
pub mod recovery;
mod reply;
mod report;
mod role;
mod role_figures;
mod rounds;
mod sessions;
mod spent;
mod stillness;
mod sweep;
#[cfg(test)]
mod tests;
mod unapplied;
mod writes;

use bytes::Bytes;

use crate::acl::AclConfig;
use crate::handoff::{CommitBatch, ShardId, ToQuorum, ToShard};
use crate::limits;
use crate::tree::{Change, Tree};
use crate::txnlog::{Durable, PendingFlush};
use crate::zab::{
    COUNTER_MAX, History, LeadEffect, Leading, LearnEffect, Learning, Members, ObserverMaster,
    ObserverMasterSettings, OwnHistory, ServerId, SyncLimits, ZabSettings,
};
use crate::zxid::{Now, SessionId, Zxid};

use commit::{Announcing, Applying};
use digests::DigestCheck;
use gate::Gate;
use leader::Leader;
use learner::Learner;
use outstanding::RECORDS_PER_UNIT;
use pipeline::Answer;
use role::Role;
use spent::Spent;
use writes::Writes;

pub use budget::Budget;
pub use proposal_sizes::ProposalSizes;
pub use report::{QuorumStats, RoleName, ZabState};
pub use role::PeerEvent;
pub use role_figures::{Durations, RoleFigures};
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
    /// `readonlymode.enabled`: reads are answered while there is no leader.
    pub read_only_mode: bool,
    /// `leaderServes`: a leader takes clients. Counts in an ensemble only, as the next three do.
    pub leader_serves: bool,
    /// `localSessionsEnabled`: a new session is known to the server alone that its client is
    /// connected to.
    pub local_sessions: bool,
    /// `localSessionsUpgradingEnabled`: such a session becomes one of the ensemble when it creates
    /// an ephemeral; else it may create none.
    pub local_sessions_upgrading: bool,
    /// `enableEagerACLCheck`: a member of an ensemble refuses what its own tree forbids.
    pub eager_acl_check: bool,
    /// `syncEnabled`: whether an observer logs what it applies.
    pub observer_logs: bool,
    /// How a follower serves observers, where that is wanted (`observerMasterPort`).
    pub observer_master: Option<ObserverMasterSettings>,
    /// The last counter of an epoch: less than there is only in a simulated world.
    pub counter_max: u32,
    /// `forceSnapshotSync`: a leader sends every learner its whole tree.
    pub always_snap: bool,
    /// `ringkeeper.proposalBytesMax`: bytes of a leader's transactions that a learner holds until
    /// it may apply them (B32).
    pub proposal_bytes_max: u64,
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
            read_only_mode: false,
            leader_serves: true,
            local_sessions: false,
            local_sessions_upgrading: false,
            eager_acl_check: false,
            observer_logs: true,
            observer_master: None,
            counter_max: COUNTER_MAX,
            always_snap: false,
            proposal_bytes_max: limits::PROPOSAL_BYTES_MAX,
            container_check_interval_ms: 60_000,
            container_max_per_minute: 10_000,
            container_max_never_used_ms: 0,
            acl: AclConfig::default(),
            shards: 1,
            multi_units_at_once: MULTI_UNITS_AT_ONCE,
        }
    }
}

/// A server of an ensemble, as it takes a role.
#[derive(Clone, Debug)]
pub struct EnsembleServer {
    pub me: ServerId,
    pub members: Members,
    pub zab: ZabSettings,
    /// While it leads.
    pub syncs: SyncLimits,
    /// `leader.maxTimeToWaitForEpoch`, in milliseconds.
    pub epoch_wait_ms_max: Option<i64>,
    /// What it has on its disk: see [`OwnHistory`].
    pub accepted_epoch: u32,
    pub current_epoch: u32,
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
    /// For the learners of this leader, and its disk. What concerns tree and sessions is done.
    Lead(LeadEffect),
    /// For the leader of this learner, and its disk.
    Learn(LearnEffect),
}

/// The machine. See the module.
#[derive(Debug)]
pub struct Quorum {
    writes: Writes,
    /// The role. Everything that depends on it is in there.
    role: Role,
    /// The tree shows all that the role began with. Invariant: the gate is open then, but for a
    /// leader that takes no clients.
    serves: bool,
    gate: Gate,
    /// When it began, in monotonic milliseconds.
    role_since_ms: i64,
    /// Since when it looks for a leader. Invariant: it has no role.
    looking_since_ms: Option<i64>,
    /// Of the places of snapshots, and of the hash tables of each role.
    seed: u64,
    /// Long multis that are applied, and whose memory is still to be given back.
    spent: Spent,
    /// Kept for its memory: what one transaction makes known, and what one batch means to each
    /// shard.
    changes: Vec<Change>,
    batches: Vec<CommitBatch>,
    digests: DigestCheck,
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
    /// The tree is a leader's, and no snapshot of it was asked for yet: the one on the disk may be of
    /// no single moment.
    wants_snapshot: bool,
}

impl Quorum {
    /// A standalone leader over a recovered tree; the sessions start their timers now. The same
    /// `seed` gives the same snapshots at the same places; one that clients can guess lets them
    /// find paths that collide.
    pub fn new(config: QuorumConfig, tree: &Tree, seed: u64, now: Now) -> Self {
        assert!(config.tick_ms > 0, "a tick has a length");
        let batches = (0..config.shards.max(1)).map(|_| CommitBatch::default()).collect();
        let gate = Gate::open_for_ever(config.shards);
        let writes = Writes::new(config, tree, seed, now);
        Self {
            role: Role::Leading(Box::new(Leader::standalone(&writes, tree, seed))),
            serves: true,
            gate,
            role_since_ms: now.mono_ms,
            looking_since_ms: None,
            seed,
            writes,
            spent: Spent::default(),
            changes: Vec::new(),
            batches,
            digests: DigestCheck::default(),
            applying: None,
            unobstructed: 0,
            is_obstructed: false,
            announcing: None,
            reaping: tree.is_reaping() || tree.is_counting_quotas(),
            wants_snapshot: false,
        }
    }

    /// A member of an ensemble, over a recovered tree, before it has any role: it serves nobody,
    /// and its shards hear so first.
    pub fn member(config: QuorumConfig, tree: &Tree, seed: u64, now: Now) -> Self {
        let quorum = Self { role: Role::None, serves: false, ..Self::new(config, tree, seed, now) };
        let mut writes = quorum.writes;
        let gate = Gate::closed(writes.config.shards, &mut writes.effects);
        writes.figures.on_looking(now.mono_ms);
        Self { writes, gate, ..quorum }
    }

    /// `leaderServes`: whether it takes clients while it leads.
    pub fn leads_with_clients(&self) -> bool {
        self.writes.config.leader_serves
    }

    /// This server was elected: it leads as soon as a quorum has its history. All that it has
    /// logged is durable and applied: see [`Self::adopt`].
    pub fn lead(&mut self, server: &EnsembleServer, history: History, tree: &Tree, now: Now) {
        assert!(matches!(self.role, Role::None), "one role at a time");
        assert_eq!(self.writes.pipeline.len(), 0, "all that is logged is applied");
        self.end_look();
        self.writes.now = now;
        let (own, members) = (self.own(server), server.members.clone());
        let history = history.snapping(self.writes.config.always_snap);
        let mut machine = Leading::new(server.me, members, server.zab, own, history, now.mono_ms);
        machine.end_epoch_at(self.writes.config.counter_max);
        machine.limit_syncs(server.syncs);
        machine.limit_wait_for_epochs(server.epoch_wait_ms_max);
        let leader = Leader::elected(machine, server.me, &self.writes, tree, self.seed);
        self.role = Role::Leading(Box::new(leader));
        self.role_since_ms = now.mono_ms;
        self.writes.figures.on_role(true, now.mono_ms);
        self.take_effects(tree, &mut Budget::new(u64::MAX));
    }

    /// This server has a leader, to which it has just connected. All that it has logged is durable.
    /// With `wants_tree` it says that it has nothing to begin with, and gets the whole tree.
    pub fn learn(&mut self, server: &EnsembleServer, wants_tree: bool, tree: &Tree, now: Now) {
        assert!(matches!(self.role, Role::None), "one role at a time");
        self.end_look();
        self.writes.now = now;
        let mut own = self.own(server);
        if wants_tree {
            own.last = Durable::recovered(Zxid::UNKNOWN);
        }
        let applied = self.writes.shown.min(own.last.get());
        let EnsembleServer { me, ref members, zab, .. } = *server;
        let (votes, version) = (members.is_voter(me), members.version());
        let machine = Learning::new(me, votes, zab, own, applied, version, now.mono_ms);
        let settings = self.writes.config.observer_master.filter(|_| votes);
        let observers = settings.map(|settings| {
            ObserverMaster::new(me, members.clone(), zab, settings, own.last.get(), applied)
        });
        self.role = Role::Learning(Box::new(Learner::new(machine, observers)));
        self.role_since_ms = now.mono_ms;
        self.writes.figures.on_role(votes, now.mono_ms);
        self.take_effects(tree, &mut Budget::new(u64::MAX));
    }

    fn own(&self, server: &EnsembleServer) -> OwnHistory {
        assert!(self.is_settled(), "a role begins when the log is still");
        let last = Durable::recovered(self.writes.last_zxid);
        let EnsembleServer { accepted_epoch, current_epoch, .. } = *server;
        OwnHistory { accepted_epoch, current_epoch, last }
    }

    /// The last zxid of the log.
    pub fn last_logged(&self) -> Zxid {
        self.writes.last_zxid
    }

    /// The last zxid that a flush of this server has covered.
    pub fn durable(&self) -> Zxid {
        self.writes.pipeline.durable()
    }

    /// Whether all that was logged is durable, and no multi is applied in part: then a role may
    /// begin.
    pub fn is_settled(&self) -> bool {
        self.writes.pipeline.is_settled() && !self.is_applying()
    }

    /// It looks for a leader from now on, with all that it has on its disk: log and tree stay as
    /// they are until it has one.
    pub fn look(&mut self, now: Now) {
        assert!(matches!(self.role, Role::None), "no role and a search for one");
        self.looking_since_ms = Some(now.mono_ms);
    }

    /// It has a leader, or is one: reads are no longer answered without it.
    fn end_look(&mut self) {
        self.looking_since_ms = None;
        self.writes.end_local_sessions();
        self.gate.close(&mut self.writes.effects);
    }

    /// All that is logged becomes committed, as a leader wants it of its own log; [`Self::commit`]
    /// applies it.
    pub fn adopt(&mut self) {
        self.end_look();
        assert!(matches!(self.role, Role::None), "before it leads");
        self.writes.pipeline.on_committed(self.writes.last_zxid);
    }

    /// Something from the ensemble. Never to be called while it [`Self::is_applying`].
    pub fn on_peer(&mut self, event: PeerEvent, tree: &Tree, now: Now) {
        if self.writes.pipeline.has_failed() {
            return;
        }
        self.check();
        assert!(!self.is_applying(), "a packet waits until the multi is applied");
        self.writes.now = now;
        if let PeerEvent::Truncated(last, true) | PeerEvent::Loaded(Some(last)) = event {
            self.restart_at(last, tree);
            self.wants_snapshot = matches!(event, PeerEvent::Loaded(_));
        }
        self.role.on_peer(&mut self.writes, event);
        self.take_effects(tree, &mut Budget::new(PEER_UNITS));
        self.check();
    }

    /// Another tree is in place, whose end is that of the log.
    fn restart_at(&mut self, last: Zxid, tree: &Tree) {
        assert!(!self.gate.is_open(), "no client looks at a tree that is replaced");
        assert_eq!(tree.last_zxid(), last, "the tree is in place");
        self.writes.restart_at(last);
        // What was announced of a departure is in the new tree, or did not happen.
        self.announcing = None;
        self.batches.iter_mut().for_each(|batch| batch.items.clear());
        (self.unobstructed, self.is_obstructed) = (0, false);
        self.reaping = tree.is_reaping() || tree.is_counting_quotas();
    }

    /// Whether the leader's next packet can be taken.
    pub fn wants_packets(&self) -> bool {
        match &self.role {
            Role::Learning(learner) => learner.machine.wants_packets(),
            Role::None | Role::Leading(_) => false,
        }
    }

    /// When [`PeerEvent::Time`] is wanted, in monotonic milliseconds.
    pub fn wakes_at(&self) -> i64 {
        match &self.role {
            Role::None => i64::MAX,
            Role::Leading(leader) => leader.machine.wakes_at(),
            Role::Learning(learner) => learner.wakes_at(),
        }
    }

    /// Whether it leads or learns.
    pub fn has_role(&self) -> bool {
        !matches!(self.role, Role::None)
    }

    /// Whether the role is that of a leader.
    pub fn is_leading(&self) -> bool {
        self.role.leader().is_some()
    }

    /// Whether clients are served.
    pub fn is_serving(&self) -> bool {
        self.gate.is_open()
    }

    fn take_effects(&mut self, tree: &Tree, budget: &mut Budget) {
        if self.role.take_effects(&mut self.writes, tree, budget) {
            self.end_role();
        }
        self.begin_to_serve();
    }

    /// The shards take clients once the tree shows all that the role began with. They take none
    /// where leaders are to do nothing but lead.
    fn begin_to_serve(&mut self) {
        if self.writes.serves_from.is_some_and(|from| from <= self.writes.shown) {
            self.writes.serves_from = None;
            self.serves = true;
            let takes_clients = self.writes.config.leader_serves || mutant!(LeaderServesAll);
            if takes_clients || !self.is_leading() {
                self.gate.open(false, &mut self.writes.effects);
            }
        }
    }

    /// What the role has begun ends with it, and so do the connections of all whom it served; what
    /// is logged stays.
    fn end_role(&mut self) {
        self.writes.figures.diffs += self.role.leader().map_or(0, |leader| leader.machine.diffs());
        self.role = Role::None;
        self.serves = false;
        self.role_since_ms = self.writes.now.mono_ms;
        self.writes.end_role();
        self.gate.close(&mut self.writes.effects);
        if let Some(applying) = &mut self.applying {
            applying.proposal.answer = Answer::Nobody;
        }
    }

    /// A message of a shard. A write becomes a proposal here and now, but for a long multi: that is
    /// begun, and [`Self::work`] goes on with it. To be called only while nothing
    /// [`Self::is_preparing`], or the rest of it is done first, however long it is; and never while
    /// it [`Self::is_applying`]. Returns the units of work that it was.
    pub fn on_message(&mut self, message: ToQuorum, tree: &Tree, now: Now) -> u64 {
        if self.writes.pipeline.has_failed() {
            return 0;
        }
        self.check();
        assert!(!self.is_applying(), "a message waits until the multi is applied");
        self.writes.now = now;
        if !self.lets_in(&message) {
            return 1;
        }
        let mut budget = Budget::new(u64::MAX);
        self.role.on_message(&mut self.writes, message, tree, &mut budget);
        self.take_effects(tree, &mut budget);
        budget.spend(1);
        self.check();
        u64::MAX - budget.left()
    }

    /// Whether a message is of a client of the present role. What an earlier one has not taken up
    /// is dropped: its shard has closed the connection, or is about to.
    fn lets_in(&mut self, message: &ToQuorum) -> bool {
        if let ToQuorum::Joined { shard, generation } = message {
            self.gate.join(*shard, *generation);
            return false;
        }
        self.gate.lets_in(message.shard())
    }

    /// Whether a long multi is being prepared: [`Self::work`] is wanted, and no message.
    pub fn is_preparing(&self) -> bool {
        self.role.leader().is_some_and(Leader::is_preparing)
    }

    /// Whether a long multi is being applied: [`Self::commit`] is wanted, and nothing else.
    pub fn is_applying(&self) -> bool {
        self.applying.is_some()
    }

    /// A shard reports the sessions that it has heard of. To be called before [`Self::on_tick`] for
    /// every report that waits; else sessions end whose clients are alive.
    pub fn on_touches(&mut self, report: &[(SessionId, i64)]) {
        for (session, at_ms) in report {
            if self.writes.local.touch(*session, *at_ms) {
                continue;
            }
            match &mut self.role {
                Role::Leading(leader) => drop(leader.sessions.touch(*session, *at_ms)),
                Role::Learning(learner) => learner.touch(*session),
                Role::None => {}
            }
        }
    }

    /// Time passes: what is due from here on is done by [`Self::work`]. To be called several times
    /// a tick.
    pub fn on_tick(&mut self, now: Now) {
        if self.writes.pipeline.has_failed() {
            return;
        }
        self.writes.local.on_tick(now);
        match &mut self.role {
            Role::Leading(leader) => {
                leader.sessions.on_tick(now);
                leader.sweep.on_tick(&self.writes.config, now);
            }
            Role::Learning(_) => {}
            Role::None => self.serve_without_leader(now),
        }
    }

    /// Reads are answered once no leader has been found for a while, if that is wanted.
    fn serve_without_leader(&mut self, now: Now) {
        let after_ms = read_only::LOOKING_MS.max(self.writes.config.tick_ms);
        let is_due = self.looking_since_ms.is_some_and(|since| now.mono_ms - since >= after_ms);
        if self.writes.config.read_only_mode && is_due && !self.gate.is_open() {
            self.gate.open(true, &mut self.writes.effects);
        }
    }

    /// Whether [`Self::work`] has something to do.
    pub fn has_work(&self) -> bool {
        !self.is_applying() && self.has_work_to_prepare()
    }

    fn has_work_to_prepare(&self) -> bool {
        let has_forwarded = self.role.leader().is_some_and(Leader::has_forwarded);
        self.is_preparing()
            || has_forwarded
            || self.must_clear_up()
            || self.has_due_work()
            || self.writes.local.has_due()
    }

    /// Whether something that is applied is still in the overlay or takes up memory.
    fn must_clear_up(&self) -> bool {
        let shown = self.writes.shown;
        let has_old = |leader: &Leader| leader.outstanding.can_forget(shown);
        self.role.leader().is_some_and(has_old) || !self.spent.is_empty()
    }

    /// Whether time has made something due.
    fn has_due_work(&self) -> bool {
        self.role.leader().is_some_and(|leader| leader.has_due_work(&self.writes))
    }

    /// Goes on with a long multi, forgets what earlier ones have changed, then does what time has
    /// made due, until the budget is spent: what waited for room goes on, sessions expire,
    /// containers and TTL nodes go. Where much is outstanding it waits for the commits.
    pub fn work(&mut self, tree: &Tree, now: Now, budget: &mut Budget) {
        self.check();
        if self.is_applying() {
            return;
        }
        self.writes.now = now;
        // As much is forgotten as is prepared: what waits to be forgotten has a bound.
        let part = (budget.left() / 4).max(1);
        let mut rest = Budget::new(part);
        self.clear_up(tree, &mut rest);
        budget.spend(part - rest.left());
        if let Some(leader) = self.role.leader_mut() {
            leader.go_on_preparing(&mut self.writes, tree, budget);
        }
        self.take_effects(tree, budget);
        self.clear_up(tree, budget);
        self.writes.expire_local_sessions(budget);
        while !budget.is_spent() && !self.is_preparing() && self.has_due_work() {
            budget.spend(1);
            if let Some(leader) = self.role.leader_mut() {
                leader.due_work(&mut self.writes, tree, budget);
            }
        }
        self.take_effects(tree, budget);
        self.check();
    }

    /// What is applied leaves the overlay, and its memory is given back.
    fn clear_up(&mut self, tree: &Tree, budget: &mut Budget) {
        if let Some(leader) = self.role.leader_mut() {
            while !budget.is_spent() && leader.outstanding.forget(tree, RECORDS_PER_UNIT) > 0 {
                budget.spend(1);
            }
        }
        self.spent.free(budget);
    }

    /// The number of bytes that the log still takes, those of [`Self::pending_bytes`] among them.
    /// Where the longest transaction would not fit, writes answer SYSTEM_ERROR and use up no zxid,
    /// what opens and closes sessions waits, and reads go on.
    pub fn on_log_room(&mut self, bytes: u64) {
        self.writes.pipeline.set_room(bytes.saturating_sub(self.pending_bytes()));
    }

    /// Bytes of log entries that are encoded and that the shell has not taken yet: they rest on
    /// room that was promised before, and must stay promised.
    pub fn pending_bytes(&self) -> u64 {
        let queued = self.writes.effects.iter().map(|effect| match effect {
            Effect::Append { bytes, .. } => bytes.len() as u64,
            _ => 0,
        });
        queued.sum::<u64>() + self.writes.pipeline.unappended()
    }

    /// A flush has ended well: one acknowledgement for the role, and nothing that it does not cover
    /// is shown, whatever others have acknowledged (S14).
    pub fn on_flushed(&mut self, upto: Durable<Zxid>) {
        if self.writes.pipeline.has_failed() {
            return;
        }
        self.check();
        self.writes.pipeline.on_flushed(upto);
        if self.role.on_durable(&mut self.writes, upto) {
            self.end_role();
        }
        self.begin_to_serve();
        self.check();
    }

    /// A flush has failed: the machine goes no further, and nothing that is not committed will ever
    /// be answered.
    pub fn on_flush_failed(&mut self) {
        self.writes.pipeline.fail();
        if let Some(leader) = self.role.leader_mut() {
            leader.give_up();
        }
        self.writes.effects.retain(|effect| matches!(effect, Effect::ToShard(..)));
    }

    /// Whether [`Self::commit`] has something to do.
    pub fn has_committable(&self) -> bool {
        let is_new = self.writes.must_show_epoch(self.writes.shown);
        let is_taken_over = self.wants_snapshot && self.gate.is_open();
        let is_wanted = self.reaping || is_new || is_taken_over;
        let can_commit = is_wanted && !self.writes.pipeline.has_failed();
        self.is_applying() || self.writes.pipeline.has_committable() || can_commit
    }

    /// The work that it has to do.
    pub fn committable(&self) -> usize {
        self.writes.pipeline.committable()
    }

    /// The next thing that the shell must do.
    pub fn poll(&mut self) -> Option<Effect> {
        if self.writes.effects.is_empty() {
            if let Role::Learning(learner) = &mut self.role
                && !self.writes.pipeline.has_failed()
                && let Some(sends) = learner.machine.poll_sends()
            {
                return Some(Effect::Learn(sends));
            }
            self.writes.pipeline.end_group(&mut self.writes.effects);
        }
        let effect = self.writes.effects.pop_front();
        if let Some(Effect::Append { last, bytes, .. }) = &effect {
            // Before its flush is asked for.
            if let Some(leader) = self.role.leader_mut() {
                leader.on_append(&mut self.writes, *last, bytes);
            }
        }
        effect
    }

    /// Gives back the buffer of an [`Effect::Append`] that has been written and that nobody else
    /// holds, to be used again.
    pub fn recycle(&mut self, bytes: Vec<u8>) {
        self.writes.pipeline.recycle(bytes);
    }

    /// The invariants of the fields.
    fn check(&self) {
        if self.writes.pipeline.has_failed() {
            return;
        }
        assert!(
            self.is_applying()
                || self.announcing.is_some()
                || self.batches.iter().all(|batch| batch.items.is_empty()),
            "only what a multi or a departure means waits for the rest of it"
        );
        self.writes.check();
        self.role.check(&self.writes);
        self.gate.check();
        let takes_none = self.is_leading() && !self.writes.config.leader_serves;
        assert!(!self.serves || self.gate.is_open() || takes_none, "who serves takes clients");
        assert!(
            self.announcing.is_none()
                || self.writes.pipeline.committable_proposal().is_some_and(|next| next.departs),
            "what is announced is committed next"
        );
        assert_eq!(self.batches.len(), usize::from(self.writes.config.shards.max(1)));
    }
}

/// About a tenth of a millisecond.
const MULTI_UNITS_AT_ONCE: u64 = 128;
/// Units of the requests of learners that are prepared when a packet comes: about half a
/// millisecond.
const PEER_UNITS: u64 = 512;
