//! Long multis that are applied: their memory is given back a part at a time.

use std::collections::VecDeque;

use super::Budget;
use crate::txn::Txn;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Spent(VecDeque<Vec<Txn>>);

impl Spent {
    /// `txn` is of no use any more. If it is a multi of more than `max` operations, it is kept for
    /// [`Self::free`].
    pub(super) fn push(&mut self, txn: Txn, max: usize) {
        match txn {
            Txn::Multi(txns) if txns.len() > max => self.0.push_back(txns),
            _ => {}
        }
    }

    /// Whether [`Self::free`] has something to do.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Goes on until the budget is spent.
    pub(super) fn free(&mut self, budget: &mut Budget) {
        while !budget.is_spent()
            && let Some(txns) = self.0.front_mut()
        {
            txns.truncate(txns.len().saturating_sub(TXNS_PER_UNIT));
            budget.spend(1);
            if txns.is_empty() {
                self.0.pop_front();
            }
        }
    }
}

/// Transactions that are given back in the time of one unit of work.
const TXNS_PER_UNIT: usize = 8;
