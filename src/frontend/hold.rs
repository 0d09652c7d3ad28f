//! A hold on the tree: what a shard may do with the tree between taking it and giving it back.

use crate::tree::Tree;
use crate::zxid::Now;

/// The tree, held for reading, after the queue from the quorum core has been emptied.
///
/// Only `Frontend::drain` makes one, and requests can be served with nothing else: so every event
/// up to the tree's zxid has fired, or is about to be written before anything else, when a read
/// shows the data or registers a watch.
#[derive(Debug)]
pub struct Hold<'t> {
    pub(super) tree: &'t Tree,
    pub(super) now: Now,
    /// Counts the holds of this frontend.
    pub(super) number: u64,
    /// Units of work done. The request at hand is always ended: there may be more than there were
    /// to do.
    pub(super) spent: Work,
}

/// Work in units that depend on nothing but what is asked for, so that the same input always ends a
/// turn at the same place. A unit is about 20 ns on a present machine.
pub(super) type Work = u32;

impl Hold<'_> {
    /// Whether the hold's work is done: the tree is to be given back.
    pub fn is_used_up(&self) -> bool {
        self.spent >= HOLD_WORK
    }

    /// Whether what comes in anew has had its part, and what has waited is to have the rest.
    pub fn is_half_used(&self) -> bool {
        self.spent >= HOLD_WORK / 2
    }

    /// Units of work done under this hold. A unit is about 20 ns.
    pub fn work(&self) -> u32 {
        self.spent
    }

    /// Counts work that has been done.
    pub(super) fn spend(&mut self, work: Work) {
        if !mutant!(HoldNotSpent) {
            self.spent = self.spent.saturating_add(work);
        }
    }
}

/// The work of one hold: about a millisecond.
pub(super) const HOLD_WORK: Work = 50_000;
/// The work for one connection before the next one has its turn.
pub(super) const QUANTUM: Work = HOLD_WORK / 4;
/// The work of each hold for the one long read for which the tree stays as it is.
pub(super) const STILL_READER_WORK: Work = 3 * QUANTUM;
/// The work of emptying the queue from the quorum core before the shell is asked to come again.
pub(super) const DRAIN_WORK: Work = HOLD_WORK;
/// The work of each turn for events that many connections watch for.
pub(super) const FANOUT_WORK: Work = HOLD_WORK / 3;
/// A request decoded, or an answer of the quorum core passed on.
pub(super) const REQUEST: Work = 10;
/// A connection's output announced: the shell makes a system call for it.
pub(super) const ANNOUNCEMENT: Work = 150;
/// A path looked up, a watch set, spent or taken away.
pub(super) const LOOKUP: Work = 8;
/// A child listed.
pub(super) const NAME: Work = 2;
/// An ephemeral listed, with its path.
pub(super) const EPHEMERAL: Work = 12;
/// Bytes written or kept for one unit.
pub(super) const BYTES_PER_UNIT: usize = 64;

/// The work of writing this many bytes.
pub(super) fn bytes_work(bytes: usize) -> Work {
    Work::try_from(bytes / BYTES_PER_UNIT).unwrap_or(Work::MAX)
}

/// The work of judging a list with this many entries by this many ids.
pub(super) fn acl_work(entries: usize, ids: usize) -> Work {
    Work::try_from(entries + ids).unwrap_or(Work::MAX)
}

const _: () =
    assert!(QUANTUM >= REQUEST && QUANTUM < HOLD_WORK, "several connections share a hold");
