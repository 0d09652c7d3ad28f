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
pub mod executor;
pub mod heap;
pub mod intake;
pub mod lane;
pub mod log;
#[cfg(all(test, feature = "loom"))]
mod loom_tests;
pub mod pages;
pub mod quorum_core;
pub mod ring;
pub mod shard;
mod slice;
pub mod snapshotter;
pub mod sockets;
pub mod sync;
pub mod turn_times;
pub mod worker;

use std::sync::{Arc, PoisonError};

use crate::tree::Tree;

use sync::{ShardedLock, ShardedLockReadGuard, ShardedLockWriteGuard};

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

    /// Keeps all readers out for as long as the guard lives: hold it for one batch of changes.
    pub fn write(&self) -> ShardedLockWriteGuard<'_, Tree> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}
