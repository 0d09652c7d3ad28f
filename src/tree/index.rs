//! From path to slot: a hash table cut into many small ones, so that growing one stalls nobody.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::slab::{Slab, Slot};

/// Finds nodes by the hash of their full path.
#[derive(Debug)]
pub(super) struct Index {
    hasher: FixedState,
    tables: Box<[HashTable<Slot>]>,
}

impl Index {
    pub(super) fn new(seed: u64) -> Self {
        let tables = (0..TABLES).map(|_| HashTable::new()).collect();
        Self { hasher: FixedState::with_seed(seed), tables }
    }

    /// The hash that a node's record keeps.
    #[inline]
    pub(super) fn hash(&self, path: &[u8]) -> u32 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(path);
        let hash = hasher.finish();
        (hash ^ (hash >> 32)) as u32
    }

    /// The node with this path, which is neither empty nor "/".
    #[inline]
    pub(super) fn find(&self, slab: &Slab, path: &[u8], hash: u32) -> Option<Slot> {
        let is_it = |&slot: &Slot| slab.record(slot).hash == hash && slab.has_path(slot, path);
        self.tables[table_of(hash)].find(spread(hash), is_it).copied()
    }

    /// Adds a node that is not in yet; its record holds `hash` already.
    pub(super) fn insert(&mut self, slab: &Slab, slot: Slot, hash: u32) {
        let hash_of = |&slot: &Slot| spread(slab.record(slot).hash);
        self.tables[table_of(hash)].insert_unique(spread(hash), slot, hash_of);
    }

    /// Makes room for this many nodes in all: what comes then moves nothing.
    pub(super) fn reserve(&mut self, slab: &Slab, nodes: usize) {
        let hash_of = |&slot: &Slot| spread(slab.record(slot).hash);
        for table in &mut self.tables {
            table.reserve((nodes / TABLES).saturating_sub(table.len()), hash_of);
        }
    }

    pub(super) fn remove(&mut self, slot: Slot, hash: u32) {
        let table = &mut self.tables[table_of(hash)];
        if let Ok(entry) = table.find_entry(spread(hash), |&other| other == slot) {
            entry.remove();
        }
    }
}

/// The high bits choose the table.
fn table_of(hash: u32) -> usize {
    (hash >> (u32::BITS - TABLES.trailing_zeros())) as usize
}

/// 32 bits spread over 64: the table takes its position from the low bits and its tags from the
/// high ones.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Tables; at a million nodes one of them holds a thousand, and growing it takes some microseconds.
const TABLES: usize = 1024;

const _: () = assert!(TABLES.is_power_of_two());
