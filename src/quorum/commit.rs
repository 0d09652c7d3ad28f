//! Commit: durable proposals are applied in order, and every shard learns what that means to it.

use std::sync::Arc;

use bytes::Bytes;

use super::pipeline::{Answer, PipelineEntry, Proposal};
use super::{Budget, Effect, Quorum, reply};
use crate::handoff::{BatchItem, CommitBatch, Event, ShardId, ToShard};
use crate::tree::{Change, Tree};
use crate::txn::Txn;
use crate::zxid::Zxid;

impl Quorum {
    /// Applies proposals and gives answers until the budget is spent. `watching` says which shards
    /// hold any watch; only they get events.
    ///
    /// Hand over, then show: `hand_over` puts what the shards must know into their queues, and it has
    /// done so when this returns, while the borrow of the tree still keeps all readers out. A shell
    /// cannot show a change before its events.
    pub fn commit(
        &mut self,
        tree: &mut Tree,
        budget: &mut Budget,
        watching: &[bool],
        hand_over: &mut dyn FnMut(ShardId, ToShard),
    ) {
        assert!(tree.last_zxid() <= self.last_zxid, "the tree shows what was proposed");
        self.hand_over_answers(hand_over);
        let wants_events = watching.contains(&true);
        while !budget.is_spent() {
            match self.pipeline.next_committable() {
                None => break,
                Some(PipelineEntry::Proposal(proposal)) => {
                    let units = self.commit_one(tree, proposal, wants_events.then_some(watching));
                    budget.spend(units);
                }
                Some(PipelineEntry::Answer { shard, reply, .. }) => {
                    budget.spend(1);
                    let zxid = reply.zxid;
                    self.push(shard, zxid, BatchItem::Reply(reply));
                }
            }
        }
        let last = tree.last_zxid();
        for (shard, batch) in (0..).zip(&mut self.batches) {
            if !batch.items.is_empty() {
                let commit = CommitBatch { zxid: last, items: std::mem::take(&mut batch.items) };
                hand_over(ShardId(shard), ToShard::Commit(commit));
            }
        }
        assert!(last <= self.pipeline.durable(), "the tree shows only what is durable");
    }

    /// Answers that wait for the shell's next look go first: a session that was found alive may end
    /// with this very commit.
    fn hand_over_answers(&mut self, hand_over: &mut dyn FnMut(ShardId, ToShard)) {
        for effect in std::mem::take(&mut self.effects) {
            match effect {
                Effect::ToShard(shard, message) => hand_over(shard, message),
                other => self.effects.push_back(other),
            }
        }
    }

    /// Returns the units of work that it was.
    fn commit_one(&mut self, tree: &mut Tree, proposal: Proposal, watching: Option<&[bool]>) -> u64 {
        let nodes_before = tree.node_count();
        let Proposal { header, txn, digest, answer, names_all_paths } = proposal;
        let events = watching.map(|_| &mut self.changes);
        let applied = tree.apply(&header, &txn, events);
        let mut units = weight(&txn) + nodes_before.abs_diff(tree.node_count()) as u64;
        if digest.is_some_and(|digest| digest != tree.digest()) {
            self.digest_mismatches += 1;
            log::error!("digest mismatch at zxid {}: the tree is not what was logged", header.zxid);
        }
        self.outstanding.applied(tree, header.zxid, &txn, names_all_paths);
        if let Some(watching) = watching {
            units += self.push_events(watching);
        }
        match answer {
            Answer::Nobody => {}
            Answer::Request { origin, op } => {
                let reply = reply::applied(origin, op, header.zxid, &txn, applied);
                self.push(origin.shard, header.zxid, BatchItem::Reply(reply));
            }
            Answer::Session { origin, timeout_ms } => {
                let opened = BatchItem::SessionOpened { origin, session: header.session, timeout_ms };
                self.push(origin.shard, header.zxid, opened);
            }
        }
        if matches!(txn, Txn::CloseSession { .. }) {
            self.sessions.remove(header.session);
            let owner = ShardId::of(header.session, self.config.shards);
            self.push(owner, header.zxid, BatchItem::SessionClosed { session: header.session });
        }
        units
    }

    /// Returns how many there were.
    fn push_events(&mut self, watching: &[bool]) -> u64 {
        let events = self.changes.len() as u64;
        for change in self.changes.drain(..) {
            let Change { zxid, kind, path, acl } = change;
            let event = Arc::new(Event { zxid, kind, path, acl });
            for (batch, _) in self.batches.iter_mut().zip(watching).filter(|(_, watching)| **watching) {
                batch.items.push(BatchItem::Event(event.clone()));
            }
        }
        events
    }

    /// A shard that does not exist is a message's mistake, and gets nothing.
    fn push(&mut self, shard: ShardId, zxid: Zxid, item: BatchItem) {
        if let Some(batch) = self.batches.get_mut(usize::from(shard.0)) {
            batch.zxid = zxid;
            batch.items.push(item);
        }
    }
}

/// Units of work of applying a transaction, nodes that come and go not counted.
fn weight(txn: &Txn) -> u64 {
    let data_units = |data: &Option<Bytes>| data.as_ref().map_or(0, |data| data.len() as u64 / UNIT_BYTES);
    match txn {
        Txn::Create(create) => 1 + data_units(&create.data),
        Txn::SetData(set) | Txn::Reconfig(set) => 1 + data_units(&set.data),
        Txn::SetAcl { acl, .. } => 1 + acl.len() as u64 / 8,
        Txn::Multi(txns) => txns.iter().map(weight).sum::<u64>() + 1,
        _ => 1,
    }
}

/// Bytes that are copied in about the time of one unit.
const UNIT_BYTES: u64 = 1 << 10;
