//! Long multis that are applied, and long lists of the nodes of sessions that have ended: their
//! memory is given back a part at a time.

use std::collections::VecDeque;

use super::Budget;
use crate::txn::Txn;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Spent(VecDeque<Parts>);

#[derive(Debug)]
enum Parts {
    Multi(Vec<Txn>),
    Paths(Vec<String>),
}

impl Spent {
    /// `txn` is of no use any more. If it has more than `max` parts, it is kept for [`Self::free`].
    pub(super) fn push(&mut self, txn: Txn, max: usize) {
        match txn {
            Txn::Multi(txns) if txns.len() > max => self.0.push_back(Parts::Multi(txns)),
            Txn::CloseSession { paths: Some(paths) } if paths.len() > max => {
                self.0.push_back(Parts::Paths(paths));
            }
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
            && let Some(parts) = self.0.front_mut()
        {
            budget.spend(1);
            if parts.shorten() == 0 {
                self.0.pop_front();
            }
        }
    }
}

impl Parts {
    /// Gives back one unit's worth; returns how many are left.
    fn shorten(&mut self) -> usize {
        match self {
            Self::Multi(txns) => shorten(txns),
            Self::Paths(paths) => shorten(paths),
        }
    }
}

fn shorten<T>(parts: &mut Vec<T>) -> usize {
    parts.truncate(parts.len().saturating_sub(PARTS_PER_UNIT));
    parts.len()
}

/// Parts that are given back in the time of one unit of work.
const PARTS_PER_UNIT: usize = 8;
