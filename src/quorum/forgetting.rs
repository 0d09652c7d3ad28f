//! Long multis that are applied and whose nodes are still in the overlay: they leave it a part at a
//! time.
//!
//! A record of the overlay whose transaction is applied says what the tree says, as whatever changes
//! the node next puts another one in its place. So nobody has to wait until it is gone.

use std::collections::VecDeque;

use super::Budget;
use super::outstanding::Outstanding;
use crate::tree::Tree;
use crate::txn::Txn;
use crate::zxid::Zxid;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Forgetting(VecDeque<(Zxid, Vec<Txn>)>);

impl Forgetting {
    /// `txn` is applied. True if it is a multi of more than `max` operations: its nodes are
    /// forgotten later, by [`Self::work`], and it is taken.
    pub(super) fn takes(&mut self, zxid: Zxid, txn: &mut Txn, max: u64) -> bool {
        match txn {
            Txn::Multi(txns) if txns.len() as u64 > max => {
                let last = self.0.back().map(|(last, _)| *last);
                assert!(last.is_none_or(|last| last < zxid), "{zxid} is forgotten after {last:?}");
                self.0.push_back((zxid, std::mem::take(txns)));
                true
            }
            _ => false,
        }
    }

    /// Whether [`Self::work`] has something to do.
    pub(super) fn has_work(&self) -> bool {
        !self.0.is_empty()
    }

    /// Whether nothing is left of the transactions up to `zxid`.
    pub(super) fn is_past(&self, zxid: Zxid) -> bool {
        self.0.front().is_none_or(|(first, _)| *first > zxid)
    }

    /// Goes on until the budget is spent. `tree` shows all of it.
    pub(super) fn work(&mut self, outstanding: &mut Outstanding, tree: &Tree, budget: &mut Budget) {
        while !budget.is_spent()
            && let Some((zxid, txns)) = self.0.front_mut()
        {
            assert!(*zxid <= tree.last_zxid(), "what is forgotten is applied");
            let part = txns.len().min(FORGOTTEN_PER_UNIT);
            for txn in txns.drain(txns.len() - part..) {
                outstanding.applied(tree, *zxid, &txn, true);
            }
            budget.spend(1);
            if txns.is_empty() {
                self.0.pop_front();
            }
        }
    }
}

/// Transactions whose nodes are forgotten in the time of one unit of work.
const FORGOTTEN_PER_UNIT: usize = 4;
