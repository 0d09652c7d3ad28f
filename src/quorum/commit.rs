//! Commit: proposals that are committed, and durable here, are applied in order, and every shard
//! learns what that means to it.

use std::sync::Arc;

use bytes::Bytes;

use super::pipeline::{Answer, PipelineEntry, Proposal};
use super::role::Role;
use super::{Budget, Effect, Quorum, reply};
use crate::codes::ErrorCode;
use crate::handoff::{BatchItem, CommitBatch, Event, Reply, ShardId, ToShard};
use crate::tree::{Applied, Change, MultiParts, Tree, TxnResult};
use crate::txn::{Txn, TxnHeader};
use crate::zxid::Zxid;

/// The progress of the events of a departure. They are put into the batches of all shards, which
/// are not handed over before the tree shows it.
#[derive(Debug, Default)]
pub(super) struct Announcing {
    /// The last node whose events are made.
    last: Option<u32>,
    done: bool,
}

/// The progress of a long multi that is applied a part at a time. Its events wait in the batches
/// until the tree shows it.
#[derive(Debug)]
pub(super) struct Applying {
    pub(super) proposal: Proposal,
    parts: MultiParts,
}

/// The step that comes before the next entry is committed.
enum BeforeNext {
    Nothing,
    /// The part that is committed is handed over and shown first; the next call goes on.
    ShowFirst,
    /// A part of it was done; nothing is handed over yet.
    Goes,
}

impl Quorum {
    /// Applies proposals and gives answers until the budget is spent. `watching` says which shards
    /// hold any watch; only they get events.
    ///
    /// Hand over, then show: `hand_over` puts what the shards must know into their queues, and it
    /// has done so when this returns, while the borrow of the tree still keeps all readers out. A
    /// shell cannot show a change before its events.
    pub fn commit(
        &mut self,
        tree: &mut Tree,
        budget: &mut Budget,
        watching: &[bool],
        hand_over: &mut dyn FnMut(ShardId, ToShard),
    ) {
        let start = self.writes.epoch_start;
        assert!(
            tree.last_zxid() <= self.writes.last_zxid.max(start),
            "the tree shows what was proposed"
        );
        assert_eq!(watching.len(), self.batches.len(), "each shard watches, or does not");
        self.check();
        if self.serves && !tree.is_whole() {
            // Whatever the leader's tree had of later transactions, they are applied.
            tree.set_whole_at(tree.last_zxid());
        }
        // A start would take up the one that came from the leader, and count digests that differ.
        if self.gate.is_open() && std::mem::take(&mut self.wants_snapshot) {
            self.writes.effects.push_back(Effect::TakeSnapshot);
        }
        self.hand_over_answers(hand_over);
        let wants_events = watching.contains(&true);
        let watched = wants_events.then_some(watching);
        if !self.go_on_applying(tree, budget, watched) {
            return;
        }
        self.reap(tree, budget);
        while !budget.is_spent() {
            match self.step_before_next(tree, wants_events, budget) {
                BeforeNext::Nothing => {}
                BeforeNext::ShowFirst => break,
                BeforeNext::Goes => return,
            }
            match self.writes.pipeline.next_committable() {
                None => break,
                Some(PipelineEntry::Proposal(proposal)) if self.is_long(&proposal.txn) => {
                    if wants_events {
                        make_room(&mut self.batches, 2 * parts_of(&proposal.txn).len());
                    }
                    self.applying = Some(Applying { proposal, parts: MultiParts::default() });
                    if !self.go_on_applying(tree, budget, watched) {
                        return;
                    }
                }
                Some(PipelineEntry::Proposal(proposal)) => {
                    let departs = proposal.departs;
                    budget.spend(match departs {
                        true => self.commit_departure(tree, proposal),
                        false => self.commit_one(tree, proposal, watched),
                    });
                    // Its batch has no room for what comes next.
                    if departs {
                        break;
                    }
                }
                Some(PipelineEntry::Answer { shard, reply, .. }) => {
                    budget.spend(1);
                    // Clients have seen the start of an epoch that has no transaction yet.
                    let zxid = reply.zxid.max(tree.last_zxid());
                    self.push(shard, zxid, BatchItem::Reply(Reply { zxid, ..reply }));
                }
            }
        }
        self.show(tree, hand_over);
        self.check();
    }

    /// Everybody is to hear what has been committed before the tree is given back.
    fn show(&mut self, tree: &mut Tree, hand_over: &mut dyn FnMut(ShardId, ToShard)) {
        let start = self.writes.epoch_start;
        if self.writes.must_show_epoch(tree.last_zxid()) {
            tree.set_last_zxid(start);
        }
        let last = tree.last_zxid();
        self.hand_over_batches(last, hand_over);
        self.begin_to_serve();
        self.reaping = tree.is_reaping() || tree.is_counting_quotas();
        let upto = self.writes.pipeline.frontier();
        assert!(last <= upto.max(start), "the tree shows what is committed and durable");
        self.role.on_applied(last.min(upto));
        debug_assert!(
            self.batches.iter().all(|batch| batch.items.is_empty()),
            "hand over, then show"
        );
    }

    /// Answers that wait for the shell's next look go first: a session that was found alive may end
    /// with this very commit.
    fn hand_over_answers(&mut self, hand_over: &mut dyn FnMut(ShardId, ToShard)) {
        for effect in std::mem::take(&mut self.writes.effects) {
            match effect {
                Effect::ToShard(shard, message) => hand_over(shard, message),
                other => self.writes.effects.push_back(other),
            }
        }
    }

    /// Everybody is to hear what has been committed up to `last`.
    fn hand_over_batches(&mut self, last: Zxid, hand_over: &mut dyn FnMut(ShardId, ToShard)) {
        self.writes.shown = last;
        for (shard, batch) in (0..).zip(&mut self.batches) {
            if !batch.items.is_empty() {
                // The next batch is likely to be as long: it does not grow step by step.
                let next = Vec::with_capacity(batch.items.len().min(BATCH_ITEMS_RESERVED));
                let items = std::mem::replace(&mut batch.items, next);
                let commit = CommitBatch { zxid: last, items };
                hand_over(ShardId(shard), ToShard::Commit(commit));
            }
        }
    }

    /// Returns the units of work that it was.
    fn commit_one(
        &mut self,
        tree: &mut Tree,
        proposal: Proposal,
        watching: Option<&[bool]>,
    ) -> u64 {
        assert!(header_follows(&proposal, tree), "transactions are applied in order");
        let nodes_before = tree.node_count();
        let Proposal { header, txn, known, .. } = &proposal;
        let events = watching.map(|_| &mut self.changes);
        let applied = tree.apply_known(header, txn, known.all(), events);
        let mut units = weight(txn) + nodes_before.abs_diff(tree.node_count()) as u64;
        if let Some(watching) = watching {
            units += self.push_events(watching);
        }
        units + self.committed(tree, proposal, applied)
    }

    /// Goes on with the multi that is being applied. False while it is not all applied: nothing is
    /// handed over yet, and nobody may look at the tree.
    fn go_on_applying(
        &mut self,
        tree: &mut Tree,
        budget: &mut Budget,
        watching: Option<&[bool]>,
    ) -> bool {
        let Some(Applying { proposal, mut parts }) = self.applying.take() else { return true };
        assert!(header_follows(&proposal, tree), "transactions are applied in order");
        let Proposal { header, txn, known, .. } = &proposal;
        let txns = parts_of(txn);
        let events = watching.map(|_| &mut self.changes);
        let is_watched = events.is_some();
        let is_enough = |txn: &Txn| {
            budget.spend(weight(txn) + if is_watched { events_of(txn) } else { 0 });
            budget.is_spent()
        };
        let all = (txns, known.all());
        let applied = tree.apply_part(header, all, &mut parts, events, is_enough);
        if let Some(watching) = watching {
            self.push_events(watching);
        }
        match applied {
            Some(applied) => budget.spend(self.committed(tree, proposal, applied)),
            None => self.applying = Some(Applying { proposal, parts }),
        }
        !self.is_applying()
    }

    /// Whether it is applied a part at a time.
    fn is_long(&self, txn: &Txn) -> bool {
        let is_long = |txns: &[Txn]| txns.len() as u64 > self.writes.config.multi_units_at_once;
        matches!(txn, Txn::Multi(txns) if is_long(txns) && !is_failed(txns))
    }

    /// The tree shows what was proposed. Returns the units of work that it was.
    fn committed(&mut self, tree: &Tree, proposal: Proposal, applied: Applied) -> u64 {
        let Proposal { header, txn, digest, answer, .. } = proposal;
        self.unobstructed = 0;
        // Nodes that have departed are still counted, and a tree that an Apache's leader wrote down
        // while it changed shows no one point in time at first.
        if let Some(digest) = digest
            && !tree.is_reaping()
            && tree.is_whole()
            && let Some(nth) = self.digests.compared(digest == tree.digest())
        {
            log::error!(
                "digest mismatch at zxid {}, number {nth} in a row: the tree is not what was \
                 logged; a member of an ensemble gets its leader's with an empty data directory",
                header.zxid
            );
        }
        match answer {
            Answer::Nobody => {}
            Answer::Request { origin, op } => {
                let reply = reply::applied(origin, op, header.zxid, &txn, applied);
                self.push(origin.shard, header.zxid, BatchItem::Reply(reply));
            }
            Answer::Refused { origin, op, err } => {
                let reply = reply::refused(origin, op, header.zxid, err);
                let reply = Reply { close: false, ..reply };
                self.push(origin.shard, header.zxid, BatchItem::Reply(reply));
            }
            Answer::Session { origin, timeout_ms } => {
                let opened =
                    BatchItem::SessionOpened { origin, session: header.session, timeout_ms };
                self.push(origin.shard, header.zxid, opened);
            }
        }
        self.count_commit();
        let at_once = self.at_once();
        let forgotten = match self.role.leader_mut() {
            Some(leader) => leader.outstanding.forget(tree, at_once),
            None => 0,
        };
        match &txn {
            Txn::CloseSession { .. } => self.session_closed(&header),
            // Servers whose ids end in the same 8 bits may give out the same one.
            Txn::CreateSession { .. } => drop(self.writes.local.remove(header.session)),
            _ => {}
        }
        self.spent.push(txn, at_once);
        forgotten as u64 / RECORDS_PER_UNIT
    }

    fn count_commit(&mut self) {
        let figures = &mut self.writes.figures;
        match &self.role {
            Role::None => {}
            Role::Leading(_) => figures.commits += 1,
            Role::Learning(_) => figures.learner_commits += 1,
        }
    }

    fn at_once(&self) -> usize {
        usize::try_from(self.writes.config.multi_units_at_once).unwrap_or(usize::MAX)
    }

    fn session_closed(&mut self, header: &TxnHeader) {
        self.role.session_closed(header.session);
        let owner = ShardId::of(header.session, self.writes.config.shards);
        self.push(owner, header.zxid, BatchItem::SessionClosed { session: header.session });
    }

    /// Removes nodes that have departed: with a part of the budget, or with all of it if
    /// nothing else can go on.
    fn reap(&mut self, tree: &mut Tree, budget: &mut Budget) {
        if tree.is_reaping() {
            let next = self.writes.pipeline.has_committable();
            let units = if next && !self.is_obstructed {
                (budget.left() / 4).max(1)
            } else {
                budget.left()
            };
            budget.spend(tree.reap(usize::try_from(units).unwrap_or(usize::MAX)) as u64);
            if let Some(leader) = self.role.leader_mut() {
                leader.outstanding.see_again(tree);
            }
        }
        if tree.is_counting_quotas() {
            let max = usize::try_from(budget.left() / 2).unwrap_or(usize::MAX);
            budget.spend(tree.count_quotas(max) as u64);
        }
    }

    /// The step that comes before the next entry is committed.
    fn step_before_next(
        &mut self,
        tree: &Tree,
        wants_events: bool,
        budget: &mut Budget,
    ) -> BeforeNext {
        // A leader has decided it when it was prepared; of what others have prepared nothing is
        // outstanding.
        if self.role.leader().is_none() {
            self.writes.pipeline.depart_next(|session| tree.has_many_ephemerals(session));
        }
        let Some(proposal) = self.writes.pipeline.committable_proposal() else {
            return BeforeNext::Nothing;
        };
        if !proposal.departs {
            let is_first = self.batches.iter().all(|batch| batch.items.is_empty());
            // What comes before a long one does not wait for it.
            if self.is_long(&proposal.txn) && !is_first {
                return BeforeNext::ShowFirst;
            }
            let is_free = self.look_for_obstacles(tree, budget);
            return if is_free { BeforeNext::Nothing } else { BeforeNext::ShowFirst };
        }
        let (session, zxid) = (proposal.header.session, proposal.header.zxid);
        let Some(announcing) = &mut self.announcing else {
            if !wants_events {
                return BeforeNext::Nothing;
            }
            self.announcing = Some(Announcing::default());
            return BeforeNext::ShowFirst;
        };
        if announcing.done {
            return BeforeNext::Nothing;
        }
        if announcing.last.is_none() {
            make_room(&mut self.batches, 2 * tree.ephemerals_owned(session));
        }
        let max = usize::try_from(budget.left().min(ANNOUNCED_NODES_MAX)).unwrap_or(1);
        budget.spend(2 * max as u64);
        let last = tree.departure_events(session, zxid, announcing.last, max, &mut self.changes);
        announcing.done = last.is_none();
        announcing.last = last;
        // A shard may begin to watch meanwhile: all are told.
        self.push_events(&vec![true; self.batches.len()]);
        BeforeNext::Goes
    }

    /// Looks whether departed nodes are in the way of the next proposal. Of a long multi that takes
    /// several calls; true at the end, if none is.
    fn look_for_obstacles(&mut self, tree: &Tree, budget: &mut Budget) -> bool {
        self.is_obstructed = false;
        let Some(proposal) =
            self.writes.pipeline.committable_proposal().filter(|_| tree.is_reaping())
        else {
            return true;
        };
        let all = parts_of(&proposal.txn);
        for txn in all.get(self.unobstructed..).unwrap_or_default() {
            self.is_obstructed = tree.must_reap_before(txn);
            if self.is_obstructed || budget.is_spent() {
                return false;
            }
            self.unobstructed += 1;
            budget.spend(1);
        }
        true
    }

    fn commit_departure(&mut self, tree: &mut Tree, proposal: Proposal) -> u64 {
        assert!(proposal.departs && header_follows(&proposal, tree), "it departs, and in order");
        let (header, answer) = (proposal.header, proposal.answer);
        self.announcing = None;
        tree.depart(&header);
        debug_assert_eq!(tree.last_zxid(), header.zxid);
        self.reaping = true;
        if let Some(leader) = self.role.leader_mut() {
            leader.outstanding.departed(header.session);
        }
        if let Answer::Request { origin, op } = answer {
            let applied = Applied { err: ErrorCode::OK, result: TxnResult::None };
            let reply = reply::applied(origin, op, header.zxid, &proposal.txn, applied);
            self.push(origin.shard, header.zxid, BatchItem::Reply(reply));
        }
        self.session_closed(&header);
        self.spent.push(proposal.txn, self.at_once());
        1
    }

    /// Returns how many there were.
    fn push_events(&mut self, watching: &[bool]) -> u64 {
        debug_assert_eq!(watching.len(), self.batches.len(), "each shard is told, or is not");
        let events = self.changes.len() as u64;
        for change in self.changes.drain(..) {
            let Change { zxid, kind, path, acl } = change;
            let event = Arc::new(Event { zxid, kind, path, acl });
            for (batch, _) in
                self.batches.iter_mut().zip(watching).filter(|(_, watching)| **watching)
            {
                batch.items.push(BatchItem::Event(event.clone()));
            }
        }
        events
    }

    /// A shard that does not exist gets nothing: the message that names it is wrong.
    fn push(&mut self, shard: ShardId, zxid: Zxid, item: BatchItem) {
        if let Some(batch) = self.batches.get_mut(usize::from(shard.0)) {
            batch.zxid = zxid;
            batch.items.push(item);
        }
    }
}

/// Whether nothing after the proposal is applied yet.
fn header_follows(proposal: &Proposal, tree: &Tree) -> bool {
    proposal.header.zxid > tree.last_zxid()
}

/// So many events are to come, and wait in the batches until the last of them: a batch that grew
/// step by step would be copied as often. A reply and the end of a session come after them.
fn make_room(batches: &mut [CommitBatch], events: usize) {
    batches.iter_mut().for_each(|batch| batch.items.reserve_exact(events + 2));
}

/// The operations of a multi, or what is the only one.
fn parts_of(txn: &Txn) -> &[Txn] {
    match txn {
        Txn::Multi(txns) => txns,
        one => std::slice::from_ref(one),
    }
}

/// Whether nothing of a multi is applied.
fn is_failed(txns: &[Txn]) -> bool {
    matches!(txns.last(), Some(Txn::Error(_)))
}

/// The events that a transaction has, or nearly.
fn events_of(txn: &Txn) -> u64 {
    if matches!(txn, Txn::Check { .. }) { 0 } else { 2 }
}

/// Units of work of applying a transaction, nodes that come and go not counted.
fn weight(txn: &Txn) -> u64 {
    let data_units =
        |data: &Option<Bytes>| data.as_ref().map_or(0, |data| data.len() as u64 / UNIT_BYTES);
    match txn {
        Txn::Create(create) => 1 + data_units(&create.data),
        Txn::SetData(set) | Txn::Reconfig(set) => 1 + data_units(&set.data),
        Txn::SetAcl { acl, .. } => 1 + acl.len() as u64 / 8,
        Txn::Multi(txns) => txns.iter().map(weight).sum::<u64>() + 1,
        _ => 1,
    }
}

/// Records of the overlay that are forgotten in about the time of one unit.
const RECORDS_PER_UNIT: u64 = 8;
/// Items for which a batch has room at the start, at most.
const BATCH_ITEMS_RESERVED: usize = 256;
/// Nodes whose events are made in one call.
const ANNOUNCED_NODES_MAX: u64 = 256;
/// Bytes that are copied in about the time of one unit.
const UNIT_BYTES: u64 = 1 << 10;
