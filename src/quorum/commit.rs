//! Commit: durable proposals are applied in order, and every shard learns what that means to it.

use std::sync::Arc;

use super::pipeline::{Answer, PipelineEntry, Proposal};
use super::{Effect, Quorum, reply};
use crate::handoff::{BatchItem, CommitBatch, Event, ShardId, ToShard};
use crate::tree::{Change, Tree};
use crate::txn::Txn;
use crate::zxid::Zxid;

impl Quorum {
    /// Applies up to `max` proposals and answers. `watching` says which shards hold any watch; only they get events.
    ///
    /// What it makes of them must be in the shards' queues before readers see the tree: the shell polls for it while
    /// it still keeps them out.
    pub fn commit(&mut self, tree: &mut Tree, max: usize, watching: &[bool]) {
        let wants_events = watching.contains(&true);
        for _ in 0..max {
            match self.pipeline.next_committable() {
                None => break,
                Some(PipelineEntry::Proposal(proposal)) => {
                    self.commit_one(tree, proposal, wants_events.then_some(watching))
                }
                Some(PipelineEntry::Answer { shard, reply, .. }) => {
                    let zxid = reply.zxid;
                    self.push(shard, zxid, BatchItem::Reply(reply));
                }
            }
        }
        let last = tree.last_zxid();
        for (shard, batch) in (0..).zip(&mut self.batches) {
            if !batch.items.is_empty() {
                let commit = CommitBatch { zxid: last, items: std::mem::take(&mut batch.items) };
                self.effects.push_back(Effect::ToShard(ShardId(shard), ToShard::Commit(commit)));
            }
        }
    }

    fn commit_one(&mut self, tree: &mut Tree, proposal: Proposal, watching: Option<&[bool]>) {
        let Proposal { header, txn, digest, answer, names_all_paths } = proposal;
        let events = watching.map(|_| &mut self.changes);
        let applied = tree.apply(&header, &txn, events);
        if digest.is_some_and(|digest| digest != tree.digest()) {
            self.digest_mismatches += 1;
            log::error!("digest mismatch at zxid {}: the tree is not what was logged", header.zxid);
        }
        self.outstanding.applied(tree, header.zxid, &txn, names_all_paths);
        if let Some(watching) = watching {
            self.push_events(watching);
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
    }

    fn push_events(&mut self, watching: &[bool]) {
        for change in self.changes.drain(..) {
            let Change { zxid, kind, path, acl } = change;
            let event = Arc::new(Event { zxid, kind, path, acl });
            for (batch, _) in self.batches.iter_mut().zip(watching).filter(|(_, watching)| **watching) {
                batch.items.push(BatchItem::Event(event.clone()));
            }
        }
    }

    /// A shard that does not exist is a message's mistake, and gets nothing.
    fn push(&mut self, shard: ShardId, zxid: Zxid, item: BatchItem) {
        if let Some(batch) = self.batches.get_mut(usize::from(shard.0)) {
            batch.zxid = zxid;
            batch.items.push(item);
        }
    }
}
