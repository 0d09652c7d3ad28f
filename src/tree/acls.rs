//! Interned access control lists: nodes hold a 32-bit index, equal lists are held once.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use crate::jute::data::{Acl, Id};

use super::WalkId;
use super::copying::Copying;

/// All lists that some node uses, with the number of those that do.
#[derive(Debug)]
pub(super) struct AclTable {
    entries: Vec<Entry>,
    hasher: FixedState,
    by_list: HashTable<u32>,
    free: Vec<u32>,
    /// The copying for each snapshot being taken, until it is done.
    copyings: Vec<(WalkId, ListsCopying)>,
}

/// Lists by index.
type ListsCopying = Copying<u32, Arc<[Acl]>>;

#[derive(Debug)]
struct Entry {
    list: Arc<[Acl]>,
    hash: u64,
    /// Nodes that use it; a free entry has none.
    uses: u64,
}

impl Entry {
    /// The list, if some node uses it.
    fn in_use(&self) -> Option<Arc<[Acl]>> {
        (self.uses > 0).then(|| self.list.clone())
    }
}

impl AclTable {
    /// A table that holds only [`OPEN`], which stays for ever.
    pub(super) fn new(seed: u64) -> Self {
        let open = Entry { list: Arc::from([Acl::open()]), hash: 0, uses: 1 };
        Self {
            entries: vec![open],
            hasher: FixedState::with_seed(seed),
            by_list: HashTable::new(),
            free: Vec::new(),
            copyings: Vec::new(),
        }
    }

    /// The list at an index that a node holds.
    pub(super) fn list(&self, index: u32) -> &Arc<[Acl]> {
        &self.entries[index as usize].list
    }

    /// Finds or adds a list and counts one use more.
    pub(super) fn acquire(&mut self, list: &[Acl]) -> u32 {
        self.acquire_as(list, || Arc::from(list))
    }

    /// The same of a list that need not be copied.
    pub(super) fn acquire_shared(&mut self, list: &Arc<[Acl]>) -> u32 {
        self.acquire_as(list, || list.clone())
    }

    fn acquire_as(&mut self, list: &[Acl], kept: impl FnOnce() -> Arc<[Acl]>) -> u32 {
        if is_open(list) {
            return OPEN;
        }
        let hash = self.hasher.hash_one(list);
        let entries = &self.entries;
        if let Some(&index) =
            self.by_list.find(hash, |&index| *entries[index as usize].list == *list)
        {
            self.entries[index as usize].uses += 1;
            return index;
        }
        self.touch(self.free.last().map_or(self.entries.len() as u32, |index| *index));
        let entry = Entry { list: kept(), hash, uses: 1 };
        let index = match self.free.pop() {
            Some(index) => {
                self.entries[index as usize] = entry;
                index
            }
            None => {
                self.entries.push(entry);
                (self.entries.len() - 1) as u32
            }
        };
        let entries = &self.entries;
        self.by_list.insert_unique(hash, index, |&index| entries[index as usize].hash);
        index
    }

    /// Counts one use more of a list that is in the table.
    pub(super) fn acquire_again(&mut self, index: u32) {
        if index != OPEN {
            self.entries[index as usize].uses += 1;
        }
    }

    /// Counts one use less.
    pub(super) fn release(&mut self, index: u32) {
        if index == OPEN {
            return;
        }
        if self.entries[index as usize].uses > 1 {
            self.entries[index as usize].uses -= 1;
            return;
        }
        self.touch(index);
        let entry = &mut self.entries[index as usize];
        entry.uses = 0;
        entry.list = Arc::from([]);
        if let Ok(found) = self.by_list.find_entry(entry.hash, |&other| other == index) {
            found.remove();
        }
        self.free.push(index);
    }

    /// A snapshot begins: it is to hold the lists that there are now.
    pub(super) fn begin_copying(&mut self, walk: WalkId) {
        self.copyings.push((walk, Copying::begin(Some(OPEN))));
    }

    /// Goes on with the lists of the snapshot, [`OPEN`] aside, by at most `max` places of the
    /// table.
    pub(super) fn copy(
        &mut self,
        walk: WalkId,
        max: usize,
        sink: &mut impl FnMut(u32, Arc<[Acl]>),
    ) {
        let of_walk = self.copyings.iter_mut().find(|(on, _)| *on == walk);
        let Some((_, copying)) = of_walk else { return };
        let from = copying.after().map_or(0, |after| after as usize + 1);
        let live = self.entries.iter().enumerate().skip(from);
        copying.copy(live.map(|(index, entry)| (index as u32, entry.in_use())), max, sink);
        if copying.is_done() {
            self.end_copying(walk);
        }
    }

    /// Whether lists are still to be copied for the walk.
    pub(super) fn is_copying(&self, walk: WalkId) -> bool {
        self.copyings.iter().any(|(on, _)| *on == walk)
    }

    /// The snapshot has its lists, or is given up.
    pub(super) fn end_copying(&mut self, walk: WalkId) {
        self.copyings.retain(|(on, _)| *on != walk);
    }

    /// To be called before a place of the table is filled or emptied.
    fn touch(&mut self, index: u32) {
        for (_, copying) in &mut self.copyings {
            copying.touch(index, || self.entries.get(index as usize).and_then(Entry::in_use));
        }
    }

    /// Every list but [`OPEN`], by index.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Arc<[Acl]>)> {
        let used = self.entries.iter().enumerate().skip(1).filter(|(_, entry)| entry.uses > 0);
        used.map(|(index, entry)| (index as u32, &entry.list))
    }
}

/// Whether the list is the one of `OPEN_ACL_UNSAFE`.
fn is_open(list: &[Acl]) -> bool {
    match list {
        [Acl { perms, id }] => {
            *perms == crate::codes::perms::ALL && *id.scheme == *"world" && *id.id == *"anyone"
        }
        _ => false,
    }
}

/// The list that stands in for one that a fuzzy snapshot names but does not hold: nobody may do
/// anything.
pub(super) fn nobody() -> [Acl; 1] {
    [Acl { perms: 0, id: Id::new("world", "anyone") }]
}

/// The index of `OPEN_ACL_UNSAFE`.
pub(super) const OPEN: u32 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    fn list(id: &str) -> Vec<Acl> {
        vec![Acl { perms: 31, id: Id::new("digest", id) }]
    }

    #[test]
    fn lists_are_shared_and_go_with_their_last_use() {
        let mut table = AclTable::new(0);
        assert_eq!(table.acquire(&[Acl::open()]), OPEN);
        let a = table.acquire(&list("a:x"));
        assert_eq!(table.acquire(&list("a:x")), a);
        table.release(a);
        assert_eq!(**table.list(a), *list("a:x"));
        table.release(a);
        assert_eq!(table.iter().count(), 0);
        assert_eq!(table.acquire(&list("b:x")), a, "the index is free again");
    }
    /// A list of ten thousand entries takes a millisecond to copy.
    #[test]
    fn a_list_that_is_shared_is_not_copied() {
        let (mut table, list): (_, Arc<[Acl]>) = (AclTable::new(0), list("a:x").into());
        let index = table.acquire_shared(&list);
        assert!(Arc::ptr_eq(table.list(index), &list));
        assert_eq!(table.acquire(&list), index);
    }
}
