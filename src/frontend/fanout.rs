//! Events that many connections watch for: they go out in slices, a part of every turn.
//!
//! The watches are removed at once. Whatever else is written to a connection comes after the events
//! that it is owed, so that its order is the same as if all had gone out at once; others do not
//! wait.

use std::sync::Arc;

use crate::handoff::Event;

/// An event on its way to many connections.
#[derive(Debug)]
pub(super) struct Fanout {
    pub(super) event: Arc<Event>,
    pub(super) frame: Vec<u8>,
    /// The path that those who are told must settle with: see `WatchTable::settle`.
    pub(super) path: Option<u32>,
    /// A bit for each slot: whether its connection is owed the event.
    owed: Vec<u64>,
    /// Invariant: no bit is set in `owed` before this word.
    next: usize,
}

impl Fanout {
    /// An event for the connections in these slots, which are owed it from now on.
    pub(super) fn new(event: &Arc<Event>, frame: &[u8], path: Option<u32>, slots: &[u32]) -> Self {
        assert!(!slots.is_empty(), "an event for nobody goes nowhere");
        let words = slots.iter().max().map_or(0, |last| *last as usize / WORD_BITS + 1);
        let mut owed = vec![0; words];
        for slot in slots {
            owed[*slot as usize / WORD_BITS] |= bit(*slot);
        }
        Self { event: event.clone(), frame: frame.to_vec(), path, owed, next: 0 }
    }

    /// The slot of the next connection that is to be told, which is no longer owed the event; `None`
    /// at the end.
    pub(super) fn next(&mut self) -> Option<u32> {
        while let Some(word) = self.owed.get_mut(self.next) {
            if *word != 0 {
                let lowest = word.trailing_zeros();
                *word &= *word - 1;
                return Some((self.next * WORD_BITS) as u32 + lowest);
            }
            self.next += 1;
        }
        None
    }

    /// Whether the connection in the slot was owed the event; from here on it is not.
    pub(super) fn take(&mut self, slot: u32) -> bool {
        let Some(word) = self.owed.get_mut(slot as usize / WORD_BITS) else { return false };
        let is_owed = *word & bit(slot) != 0;
        *word &= !bit(slot);
        is_owed
    }
}

fn bit(slot: u32) -> u64 {
    1 << (slot as usize % WORD_BITS)
}

const WORD_BITS: usize = u64::BITS as usize;
/// Watchers of one event up to which all of them are told at once.
pub(super) const TOLD_AT_ONCE_MAX: usize = 64;
/// Events on their way to many at a time; the next ones wait in the queue from the quorum core.
pub(super) const FANOUTS_MAX: usize = 16;
