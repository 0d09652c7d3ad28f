//! What every role has: the order of writes, on their way to the log, the quorum and the tree.

use std::collections::VecDeque;

use super::local::LocalSessions;
use super::pipeline::Pipeline;
use super::role_figures::RoleFigures;
use super::unapplied::Unapplied;
use super::{Budget, Effect, QuorumConfig};
use crate::handoff::{BatchItem, CommitBatch, NotOpened, Origin, ShardId, ToShard};
use crate::tree::Tree;
use crate::txnlog::Durable;
use crate::zxid::{Now, SessionId, Zxid};

/// See the module. It outlives the roles: what is logged stays logged.
#[derive(Debug)]
pub(super) struct Writes {
    pub(super) config: QuorumConfig,
    pub(super) pipeline: Pipeline,
    /// All that the shell has still to do, in order. The pipeline adds its group when it is empty.
    pub(super) effects: VecDeque<Effect>,
    /// The tree's zxid after the last commit.
    pub(super) shown: Zxid,
    /// The last zxid given out. Invariant: the pipeline's last proposal has it, and `shown` is not
    /// after it.
    pub(super) last_zxid: Zxid,
    /// The start of the epoch that is served: the tree shows it once all before it is applied.
    pub(super) epoch_start: Zxid,
    /// The shards are to take clients as soon as the tree shows all up to here.
    pub(super) serves_from: Option<Zxid>,
    /// The sessions that this server alone knows. They end with the role in which they began.
    pub(super) local: LocalSessions,
    /// The time of the latest message or work.
    pub(super) now: Now,
    /// Of all roles.
    pub(super) figures: RoleFigures,
    /// Of what leaders have sent.
    pub(super) unapplied: Unapplied,
}

impl Writes {
    /// Everything that the tree shows is logged, durable and committed.
    pub(super) fn new(config: QuorumConfig, tree: &Tree, seed: u64, now: Now) -> Self {
        let last_zxid = tree.last_zxid();
        Self {
            pipeline: Pipeline::new(&config, Durable::recovered(last_zxid), seed),
            effects: VecDeque::new(),
            shown: last_zxid,
            last_zxid,
            epoch_start: Zxid::ZERO,
            serves_from: None,
            local: LocalSessions::new(config.tick_ms, now),
            now,
            config,
            figures: RoleFigures::default(),
            unapplied: Unapplied::default(),
        }
    }

    /// The tree is to show the start of the epoch now: clients have seen it at an Apache's.
    pub(super) fn must_show_epoch(&self, shown: Zxid) -> bool {
        shown < self.epoch_start && !self.pipeline.has_until(self.epoch_start)
    }

    /// A role begins to serve: it has this epoch, and the tree is to show what is committed now.
    pub(super) fn begin_epoch(&mut self, epoch: u32) {
        self.epoch_start = Zxid::new(epoch, 0);
        self.serves_from = Some(self.epoch_start.max(self.pipeline.frontier()));
    }

    /// The same of a learner. Where nobody has logged anything and the tree shows no epoch, it shows
    /// none until the first transaction, as an Apache's learner. Nobody loses by it: a client that
    /// has seen the start of the epoch at its leader has a local session there, which cannot go on
    /// here.
    pub(super) fn join_epoch(&mut self, epoch: u32) {
        self.begin_epoch(epoch);
        if self.last_zxid == Zxid::ZERO && self.shown == Zxid::ZERO {
            (self.epoch_start, self.serves_from) = (Zxid::ZERO, Some(Zxid::ZERO));
        }
    }

    /// The role has ended: what is logged stays, and nobody hears of its outcome.
    pub(super) fn end_role(&mut self) {
        self.pipeline.forget_askers();
        self.epoch_start = self.epoch_start.min(self.shown);
        self.serves_from = None;
        self.end_local_sessions();
        self.figures.on_looking(self.now.mono_ms);
    }

    /// A client wants a session: it gets one that only this server knows, unless there are too many.
    pub(super) fn open_local_session(
        &mut self,
        origin: Origin,
        session: SessionId,
        timeout_ms: i32,
    ) {
        if self.local.open(session, timeout_ms, self.now) {
            self.tell(origin.shard, BatchItem::SessionOpened { origin, session, timeout_ms });
        } else {
            self.send_away(origin, NotOpened::NoRoom);
        }
    }

    /// A client gets no session here, new or old.
    pub(super) fn send_away(&mut self, origin: Origin, why: NotOpened) {
        let answer = ToShard::NotOpened { origin, why };
        self.effects.push_back(Effect::ToShard(origin.shard, answer));
    }

    /// A client comes back. True if its session is a local one: then it is answered.
    pub(super) fn renew_local_session(
        &mut self,
        origin: Origin,
        session: SessionId,
        timeout_ms: i32,
    ) -> bool {
        let is_local = self.local.renew(session, timeout_ms, self.now);
        if is_local {
            let answer = ToShard::Renewed { origin, session, timeout_ms, valid: true };
            self.effects.push_back(Effect::ToShard(origin.shard, answer));
        }
        is_local
    }

    /// Ends the local sessions whose time is over, and their connections.
    pub(super) fn expire_local_sessions(&mut self, budget: &mut Budget) {
        while !budget.is_spent() && self.local.has_due() {
            budget.spend(1);
            if let Some(session) = self.local.expire_one() {
                let owner = ShardId::of(session, self.config.shards);
                self.tell(owner, BatchItem::SessionClosed { session });
            }
        }
    }

    /// The role ends in which they began; the shards close their connections.
    pub(super) fn end_local_sessions(&mut self) {
        self.local.clear(self.now);
    }

    /// Tells a shard of something for which no transaction stands.
    pub(super) fn tell(&mut self, shard: ShardId, item: BatchItem) {
        let commit = CommitBatch { zxid: self.shown, items: vec![item] };
        self.effects.push_back(Effect::ToShard(shard, ToShard::Commit(commit)));
    }

    /// The log and the tree end with `last`, and nothing is on its way.
    pub(super) fn restart_at(&mut self, last: Zxid) {
        self.pipeline.restart_at(Durable::recovered(last));
        (self.last_zxid, self.shown, self.epoch_start) = (last, last, Zxid::ZERO);
        self.unapplied.clear();
    }

    /// The invariants of the fields.
    pub(super) fn check(&self) {
        let (last, proposed) = (self.last_zxid, self.pipeline.proposed());
        assert_eq!(last, proposed, "the last zxid given out is that of the last proposal");
        let upto = self.pipeline.frontier().max(self.epoch_start);
        assert!(self.shown <= upto, "{} is shown too early", self.shown);
        self.local.check();
        self.unapplied.check();
    }
}
