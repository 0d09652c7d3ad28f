//! A hash table of numbers that is cut into many small ones once it is large, so that growing and
//! shrinking it stalls nobody.

use hashbrown::HashTable;

/// Numbers by a hash that the caller knows.
#[derive(Debug)]
pub(super) struct CutTable {
    parts: Parts,
    len: usize,
}

#[derive(Debug)]
enum Parts {
    /// Most tables are small, and there are many of them.
    One(HashTable<u32>),
    Many(Box<[HashTable<u32>]>),
}

impl Default for CutTable {
    fn default() -> Self {
        Self { parts: Parts::One(HashTable::new()), len: 0 }
    }
}

impl CutTable {
    /// The number of entries.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The entry with this hash that `is_it` recognizes.
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let table = match &self.parts {
            Parts::One(table) => table,
            Parts::Many(tables) => &tables[part_of(hash)],
        };
        table.find(hash, |number| is_it(*number)).copied()
    }

    /// Adds an entry that is not in yet. `hash_of` hashes those that are.
    pub(super) fn insert(&mut self, hash: u64, number: u32, hash_of: impl Fn(u32) -> u64) {
        if let Parts::One(table) = &self.parts
            && table.len() >= ONE_MAX
        {
            self.cut(&hash_of);
        }
        self.len += 1;
        let table = match &mut self.parts {
            Parts::One(table) => table,
            Parts::Many(tables) => &mut tables[part_of(hash)],
        };
        table.insert_unique(hash, number, |number| hash_of(*number));
    }

    fn cut(&mut self, hash_of: impl Fn(u32) -> u64) {
        let mut tables: Box<[_]> = (0..PARTS).map(|_| HashTable::new()).collect();
        if let Parts::One(table) = &self.parts {
            for number in table {
                let hash = hash_of(*number);
                tables[part_of(hash)].insert_unique(hash, *number, |number| hash_of(*number));
            }
        }
        self.parts = Parts::Many(tables);
    }

    /// Takes an entry out, if it is there. After a flood the table gives its memory back, in steps
    /// so large that they cost nothing per entry.
    pub(super) fn remove(&mut self, hash: u64, number: u32, hash_of: impl Fn(u32) -> u64) {
        let table = match &mut self.parts {
            Parts::One(table) => table,
            Parts::Many(tables) => &mut tables[part_of(hash)],
        };
        let Ok(entry) = table.find_entry(hash, |other| *other == number) else { return };
        entry.remove();
        if table.capacity() > SPARE_MIN && table.len() < table.capacity() / SPARE_FACTOR {
            table.shrink_to(2 * table.len(), |number| hash_of(*number));
        }
        self.len -= 1;
        if self.len == 0 {
            *self = Self::default();
        }
    }

    /// All entries, in tables of which each is small.
    pub(super) fn into_parts(self) -> Vec<HashTable<u32>> {
        match self.parts {
            Parts::One(table) => vec![table],
            Parts::Many(tables) => tables.into_vec(),
        }
    }

    /// Bytes on the heap, spare room included.
    pub(super) fn heap_bytes(&self) -> usize {
        match &self.parts {
            Parts::One(table) => table.allocation_size(),
            Parts::Many(tables) => {
                let all: usize = tables.iter().map(HashTable::allocation_size).sum();
                all + size_of_val(&**tables)
            }
        }
    }

    /// The most entries that are moved at once when one more is added.
    #[cfg(test)]
    pub(super) fn moved_at_most(&self) -> usize {
        match &self.parts {
            Parts::One(table) => table.len(),
            Parts::Many(tables) => tables.iter().map(HashTable::len).max().unwrap_or(0),
        }
    }
}

/// Bits of the hash that a small table makes no use of choose it.
fn part_of(hash: u64) -> usize {
    (hash >> 32) as usize % PARTS
}

/// Entries up to which there is one table: moving them takes a fraction of a millisecond.
pub(super) const ONE_MAX: usize = 4096;
/// Tables after that: with a million entries each holds as many as the one did.
const PARTS: usize = 256;
/// Entries up to which spare room is not given back.
const SPARE_MIN: usize = 32;
/// Room is given back when a table has shrunk to this fraction of its capacity.
const SPARE_FACTOR: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers spread over 64 bits.
    fn hash_of(number: u32) -> u64 {
        u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn find(table: &CutTable, number: u32) -> Option<u32> {
        table.find(hash_of(number), |other| other == number)
    }

    #[test]
    fn a_table_keeps_what_it_holds_while_it_is_cut_and_shrinks() {
        let (mut table, all) = (CutTable::default(), 3 * ONE_MAX as u32);
        for number in 0..all {
            assert_eq!(find(&table, number), None);
            table.insert(hash_of(number), number, hash_of);
        }
        assert!((0..all).all(|number| find(&table, number) == Some(number)));
        let large = table.heap_bytes();
        for number in (0..all).filter(|number| number % 100 != 0) {
            table.remove(hash_of(number), number, hash_of);
            table.remove(hash_of(number), number, hash_of);
        }
        let left: Vec<u32> = (0..all).filter(|number| find(&table, *number).is_some()).collect();
        assert_eq!(left, (0..all).step_by(100).collect::<Vec<_>>());
        assert_eq!(table.len(), left.len());
        assert!(table.heap_bytes() < large / 2, "{} of {large} bytes", table.heap_bytes());
        let mut parts: Vec<u32> = table.into_parts().into_iter().flatten().collect();
        parts.sort_unstable();
        assert_eq!(parts, left);
    }

    #[test]
    fn an_empty_table_has_no_memory() {
        let mut table = CutTable::default();
        (0..=ONE_MAX as u32).for_each(|number| table.insert(hash_of(number), number, hash_of));
        (0..=ONE_MAX as u32).for_each(|number| table.remove(hash_of(number), number, hash_of));
        assert_eq!((table.len(), table.is_empty(), table.heap_bytes()), (0, true, 0));
    }
}
