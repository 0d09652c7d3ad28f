//! What every role has: the order of writes, on their way to the log, the quorum and the tree.

use std::collections::VecDeque;

use super::pipeline::Pipeline;
use super::{Effect, QuorumConfig};
use crate::tree::Tree;
use crate::txnlog::Durable;
use crate::zxid::{Now, Zxid};

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
    /// The time of the latest message or work.
    pub(super) now: Now,
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
            now,
            config,
        }
    }

    /// The invariants of the fields.
    pub(super) fn check(&self) {
        let (last, proposed) = (self.last_zxid, self.pipeline.proposed());
        assert_eq!(last, proposed, "the last zxid given out is that of the last proposal");
        assert!(self.shown <= self.pipeline.frontier(), "{} is shown too early", self.shown);
    }
}
