//! Transactions of a leader that this server holds in memory until it may apply them.
//!
//! A leader that proposes and never commits would have them held without end. They have a bound, over
//! all roles: what is logged stays when a role ends.

use std::collections::VecDeque;

use crate::limits::PROPOSAL_BYTES_BESIDE;
use crate::txn::Txn;
use crate::zxid::Zxid;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Unapplied {
    /// Each with its bytes. Invariant: zxids rise.
    entries: VecDeque<(Zxid, u64)>,
    /// Invariant: the sum of theirs.
    bytes: u64,
}

impl Unapplied {
    /// All up to here is applied, or nothing holds it up any more.
    pub(super) fn forget_until(&mut self, upto: Zxid) {
        while let Some((_, bytes)) = self.entries.pop_front_if(|(zxid, _)| *zxid <= upto) {
            self.bytes -= bytes;
        }
    }

    /// Nothing is held: log and tree have one end.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether another one of so many bytes may be held beside these. A single one always may.
    pub(super) fn has_room(&self, bytes: u64, bytes_max: u64) -> bool {
        self.bytes == 0 || self.bytes.saturating_add(bytes) <= bytes_max
    }

    /// Another one, of [`held_bytes`].
    pub(super) fn push(&mut self, zxid: Zxid, bytes: u64) {
        self.entries.push_back((zxid, bytes));
        self.bytes += bytes;
    }

    /// The invariants of the fields.
    pub(super) fn check(&self) {
        debug_assert_eq!(self.bytes, self.entries.iter().map(|(_, bytes)| bytes).sum::<u64>());
        debug_assert!(self.entries.iter().is_sorted_by(|(one, _), (next, _)| one < next));
    }
}

/// What a transaction takes in memory: its record, which the decoded one shares, and what is beside.
pub(super) fn held_bytes(record: &[u8], txn: &Txn) -> u64 {
    let parts = match txn {
        Txn::Multi(parts) => parts.len(),
        _ => 0,
    };
    (record.len() + PROPOSAL_BYTES_BESIDE + parts * size_of::<Txn>()) as u64
}
