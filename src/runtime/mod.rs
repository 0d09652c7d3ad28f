//! The production shell: glommio executors, io_uring rings, the log on files. The only row with
//! `unsafe` in it.
//!
//! One executor is one pinned thread that drives one raw [`ring`]. It carries a [`shard`]
//! (connections and the frontend machine), the core of the quorum (the quorum machine and the log),
//! or both on a small machine. Between executors run the bounded lock-free [`lane`]s; the tree is
//! shared in place, written by the quorum core and read by the shards.

/// Whether a mistake of order is planted, by its name in `sync::Misorder`: `if misordered!(Name)`.
/// Only a build for loom's tests has any; in every other the question is the constant `false`.
#[cfg(not(feature = "loom"))]
macro_rules! misordered {
    ($name:ident) => {
        false
    };
}
#[cfg(feature = "loom")]
macro_rules! misordered {
    ($name:ident) => {
        $crate::runtime::sync::Misorder::$name.is_planted()
    };
}

pub mod admission;
pub mod clock;
pub mod core_work;
pub mod datadir;
pub mod ensemble;
pub mod executor;
pub mod heap;
pub mod intake;
pub mod lane;
mod local_time;
pub mod log;
#[cfg(all(test, feature = "loom"))]
mod loom_tests;
pub mod memory;
pub mod pages;
pub mod quorum_core;
pub mod ring;
pub mod shard;
mod slice;
pub mod snapshotter;
pub mod sockets;
pub mod sync;
pub mod tree_walk;
pub mod turn_times;
pub mod warnings;
pub mod worker;

pub use local_time::local_time;

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::tree::Tree;

use sync::{ShardedLock, ShardedLockReadGuard, ShardedLockWriteGuard};

/// The interval in which a reader that may wait looks whether a multi has ended, and how often.
const AMID_WAIT: Duration = Duration::from_millis(1);
const AMID_WAITS_MAX: u32 = 10_000;

/// The one tree: read in place by every shard, a batch at a time, and written by the quorum core, a
/// batch at a time.
#[derive(Clone)]
pub struct SharedTree(Arc<ShardedLock<Tree>>);

impl SharedTree {
    /// Shares `tree`.
    pub fn new(tree: Tree) -> Self {
        Self(Arc::new(ShardedLock::new(tree)))
    }

    /// Keeps the writer out for as long as the guard lives: hold it for one batch of reads.
    pub fn read(&self) -> ShardedLockReadGuard<'_, Tree> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same between two transactions: of a long multi nobody sees a part. It waits for the end
    /// of one that is under way; not for ever, as a server that stops may leave one undone.
    pub fn read_whole(&self) -> ShardedLockReadGuard<'_, Tree> {
        for _ in 0..AMID_WAITS_MAX {
            let tree = self.read();
            if !tree.is_amid() {
                return tree;
            }
            drop(tree);
            std::thread::sleep(AMID_WAIT);
        }
        self.read()
    }

    /// Keeps all readers out for as long as the guard lives: hold it for one batch of changes.
    pub fn write(&self) -> ShardedLockWriteGuard<'_, Tree> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts another tree in the place of this one, which is returned: to drop it takes long.
    /// Snapshots of it that are under way come to nothing.
    pub fn replace(&self, mut tree: Tree) -> Tree {
        let mut held = self.write();
        tree.succeed(&held);
        std::mem::replace(&mut *held, tree)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jute::data::Acl;
    use crate::tree::MultiParts;
    use crate::txn::{CreateKind, CreateTxn, Txn, TxnHeader};
    use crate::zxid::{SessionId, Zxid};

    #[test]
    fn who_may_wait_sees_no_part_of_a_multi() {
        let shared = SharedTree::new(Tree::new());
        let nodes = shared.read_whole().node_count();
        let create = |path: &str| {
            Txn::Create(CreateTxn {
                path: path.into(),
                data: None,
                acl: [Acl::open()].into(),
                kind: CreateKind::Persistent,
                with_stat: false,
                parent_cversion: -1,
            })
        };
        let header = TxnHeader { session: SessionId(1), cxid: 0, zxid: Zxid(1), time_ms: 0 };
        let (txns, mut parts) = ([create("/a"), create("/b")], MultiParts::default());
        let mut part = || {
            let all = (&txns[..], &[][..]);
            shared.write().apply_part(&header, all, &mut parts, None, |_| true).is_some()
        };
        assert!(!part() && shared.read().is_amid());
        let reader = std::thread::spawn({
            let shared = shared.clone();
            move || shared.read_whole().node_count()
        });
        // Long enough for the reader to see a part, if it does not wait.
        std::thread::sleep(10 * AMID_WAIT);
        assert!(part());
        assert_eq!(reader.join().unwrap(), nodes + 2);
    }
}
