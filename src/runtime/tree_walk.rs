//! A walk of the shared tree: the tree as it was at one moment, a batch at a time, while it goes on
//! changing.
//!
//! The tree is held for reading a batch at a time, about [`HOLD_TARGET`] long; what a batch gives
//! out is written with nothing held. A walk that is dropped is ended.

use std::fmt;
use std::time::{Duration, Instant};

use crate::tree::{NodeSink, SnapshotHead, WalkId, WalkLost};

use super::SharedTree;

/// A walk under way.
pub struct TreeWalk {
    tree: SharedTree,
    walk: WalkId,
    head: SnapshotHead,
    nodes: u64,
    /// Nodes in the next batch.
    batch_nodes: usize,
    longest_hold: Duration,
}

/// Why no walk begins now. It may a little later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotNow {
    /// A long multi is applied in part.
    Amid,
    /// A session with very many ephemerals has departed, and some of them are still to be removed.
    Reaping,
    /// As many walks as there may be are under way.
    Walks,
}

impl fmt::Display for NotNow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Amid => "a multi is applied in part",
            Self::Reaping => "nodes of a session that has ended are still to be removed",
            Self::Walks => "as many snapshots as there may be are under way",
        })
    }
}

impl TreeWalk {
    /// Begins with the tree as it is now, between two transactions. If `reaps`, the walk does not
    /// wait for nodes that are still to be removed, and everybody waits for their removal.
    pub fn begin(tree: &SharedTree, reaps: bool) -> Result<Self, NotNow> {
        let mut held = tree.write();
        if held.is_amid() {
            return Err(NotNow::Amid);
        }
        if held.is_reaping() && !reaps {
            return Err(NotNow::Reaping);
        }
        let (walk, head) = held.begin_snapshot().ok_or(NotNow::Walks)?;
        let nodes = held.node_count() as u64;
        drop(held);
        let (batch_nodes, longest_hold) = (BATCH_NODES_FIRST, Duration::ZERO);
        Ok(Self { tree: tree.clone(), walk, head, nodes, batch_nodes, longest_hold })
    }

    /// The last transaction of the tree that is walked, its digest, and as many of its sessions and
    /// lists as have been copied.
    pub fn head(&self) -> &SnapshotHead {
        &self.head
    }

    /// The nodes of the tree when the walk began.
    pub fn nodes(&self) -> u64 {
        self.nodes
    }

    /// The longest time for which the walk has kept the writer out.
    pub fn longest_hold(&self) -> Duration {
        self.longest_hold
    }

    /// Takes the next sessions and lists. False when those were the last ones: the nodes come after
    /// that.
    pub fn copy_head(&mut self) -> Result<bool, WalkLost> {
        let mut tree = self.tree.write();
        let started = Instant::now();
        let goes_on = tree.copy_head(self.walk, &mut self.head, HEAD_SLICE);
        drop(tree);
        self.longest_hold = self.longest_hold.max(started.elapsed());
        goes_on
    }

    /// Takes the next nodes, and as many as fit the time for which the writer may be kept out.
    /// False when those were the last ones.
    pub fn batch(&mut self, sink: &mut NodeSink<'_>) -> Result<bool, WalkLost> {
        let tree = self.tree.read();
        let started = Instant::now();
        let cursor = tree.snapshot_batch(self.walk, self.batch_nodes, sink);
        drop(tree);
        let held = started.elapsed();
        self.longest_hold = self.longest_hold.max(held);
        self.batch_nodes = match held {
            held if held > HOLD_TARGET => (self.batch_nodes / 2).max(BATCH_NODES_MIN),
            held if held < HOLD_TARGET / 2 => {
                (self.batch_nodes + self.batch_nodes / 4).min(BATCH_NODES_MAX)
            }
            _ => self.batch_nodes,
        };
        let Some(cursor) = cursor? else { return Ok(false) };
        self.tree.write().advance_snapshot(self.walk, cursor);
        Ok(true)
    }
}

impl Drop for TreeWalk {
    fn drop(&mut self) {
        let kept = self.tree.write().end_snapshot(self.walk);
        // With nobody kept out: of a walk that is given up it may be much.
        drop(kept);
    }
}

/// Sessions and lists that are copied under one hold of the tree.
const HEAD_SLICE: usize = 512;
/// For how long a batch should keep the writer out.
const HOLD_TARGET: Duration = Duration::from_micros(60);
const BATCH_NODES_FIRST: usize = 64;
const BATCH_NODES_MIN: usize = 16;
const BATCH_NODES_MAX: usize = 1024;
