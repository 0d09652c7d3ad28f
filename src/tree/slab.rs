//! Where the nodes live: fixed-size records in chunks that never move, addressed by 32-bit slots.
//!
//! A record is 88 bytes; name and data of a node share one heap allocation, and what only a node
//! that has had children needs stands aside. A node's slot is always above its parent's, so that a
//! walk in slot order meets parents first: that is the order in which snapshots are written and
//! read.

use std::collections::BTreeSet;

/// The place of a node in the slab.
pub(super) type Slot = u32;

/// One node, or a free place.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) czxid: i64,
    pub(super) mzxid: i64,
    pub(super) ctime: i64,
    pub(super) mtime: i64,
    /// Name, then data.
    content: Box<[u8]>,
    pub(super) version: i32,
    pub(super) aversion: i32,
    /// Index of the ACL table.
    pub(super) acl: u32,
    pub(super) parent: Slot,
    /// The next sibling, [`NONE`] at the last one.
    pub(super) next: Slot,
    /// The sibling before; of the first child, the last one.
    pub(super) prev: Slot,
    /// The node's share of the tree's digest.
    pub(super) crc: u32,
    /// Hash of the full path.
    pub(super) hash: u32,
    /// Length of the name in the low bits, [`LIVE`], [`OWNED`] and [`NULL_DATA`] above them.
    name_len_and_flags: u32,
    /// Its place among the [`Family`] values; [`NONE`] if it never had a child.
    family: u32,
}

/// The part of a node that concerns its children. A node without it has none and never had: its
/// cversion is 0, its pzxid its czxid.
#[derive(Debug)]
struct Family {
    pzxid: i64,
    first_child: Slot,
    child_count: u32,
    /// Nodes below it, its children among them.
    descendants: u32,
    cversion: i32,
}

/// The figures of a node that its children change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChildrenFigures {
    pub(super) pzxid: i64,
    pub(super) cversion: i32,
    pub(super) count: u32,
}

impl Record {
    /// The last component of the path; empty for the root.
    pub(super) fn name(&self) -> &str {
        std::str::from_utf8(self.content.split_at(self.name_len()).0)
            .expect("names are stored from str")
    }

    /// The bytes of [`Self::name`]: no check of UTF-8, for comparisons.
    pub(super) fn name_bytes(&self) -> &[u8] {
        self.content.split_at(self.name_len()).0
    }

    /// The data; `None` is null.
    pub(super) fn data(&self) -> Option<&[u8]> {
        let data = self.content.split_at(self.name_len()).1;
        if self.name_len_and_flags & NULL_DATA == 0 { Some(data) } else { None }
    }

    /// Bytes of data; 0 for null.
    pub(super) fn data_len(&self) -> usize {
        self.content.len() - self.name_len()
    }

    /// Replaces the data, in place when the length is the same.
    pub(super) fn set_data(&mut self, data: Option<&[u8]>) {
        let name_len = self.name_len();
        let bytes = data.unwrap_or_default();
        if self.data_len() == bytes.len() {
            self.content.split_at_mut(name_len).1.copy_from_slice(bytes);
        } else {
            self.content = content_of(self.content.split_at(name_len).0, bytes);
        }
        self.set_flag(NULL_DATA, data.is_none());
    }

    /// Whether the owner stands in the owners' table.
    pub(super) fn is_owned(&self) -> bool {
        self.name_len_and_flags & OWNED != 0
    }

    pub(super) fn set_owned(&mut self, owned: bool) {
        self.set_flag(OWNED, owned);
    }

    pub(super) fn is_live(&self) -> bool {
        self.name_len_and_flags & LIVE != 0
    }

    fn set_flag(&mut self, flag: u32, on: bool) {
        self.name_len_and_flags =
            if on { self.name_len_and_flags | flag } else { self.name_len_and_flags & !flag };
    }

    fn name_len(&self) -> usize {
        (self.name_len_and_flags & NAME_LEN_MASK) as usize
    }

    /// A live node without children or siblings, all numbers 0.
    fn live(name: &str, data: Option<&[u8]>, parent: Slot) -> Self {
        let null = if data.is_none() { NULL_DATA } else { 0 };
        Self {
            content: content_of(name.as_bytes(), data.unwrap_or_default()),
            parent,
            name_len_and_flags: name.len() as u32 | LIVE | null,
            ..Self::free()
        }
    }

    fn free() -> Self {
        Self {
            czxid: 0,
            mzxid: 0,
            ctime: 0,
            mtime: 0,
            content: Box::default(),
            version: 0,
            aversion: 0,
            acl: 0,
            parent: NONE,
            next: NONE,
            prev: NONE,
            crc: 0,
            hash: 0,
            name_len_and_flags: 0,
            family: NONE,
        }
    }
}

/// All records.
#[derive(Debug, Default)]
pub(super) struct Slab {
    records: Chunks<Record>,
    free: BTreeSet<Slot>,
    families: Chunks<Family>,
    free_families: Vec<u32>,
}

impl Slab {
    /// Slots in use or free: all are below this.
    pub(super) fn end(&self) -> Slot {
        self.records.len()
    }

    /// Live nodes.
    pub(super) fn len(&self) -> usize {
        self.end() as usize - self.free.len()
    }

    /// The record at `slot`, which must be below [`Self::end`].
    pub(super) fn record(&self, slot: Slot) -> &Record {
        self.records.get(slot)
    }

    /// See [`Self::record`].
    pub(super) fn record_mut(&mut self, slot: Slot) -> &mut Record {
        self.records.get_mut(slot)
    }

    /// The zxid of the last change among the children.
    pub(super) fn pzxid(&self, slot: Slot) -> i64 {
        self.family(slot).map_or(self.record(slot).czxid, |family| family.pzxid)
    }

    /// Children ever made, as stored.
    pub(super) fn cversion(&self, slot: Slot) -> i32 {
        self.family(slot).map_or(0, |family| family.cversion)
    }

    /// Children there are.
    pub(super) fn child_count(&self, slot: Slot) -> u32 {
        self.family(slot).map_or(0, |family| family.child_count)
    }

    /// The three figures above, with one look.
    #[inline]
    pub(super) fn children_figures(&self, slot: Slot) -> ChildrenFigures {
        match self.family(slot) {
            None => ChildrenFigures { pzxid: self.record(slot).czxid, cversion: 0, count: 0 },
            Some(Family { pzxid, cversion, child_count, .. }) => {
                ChildrenFigures { pzxid: *pzxid, cversion: *cversion, count: *child_count }
            }
        }
    }

    /// Whether `slot` is `top` or stands below it.
    pub(super) fn is_at_or_below(&self, slot: Slot, top: Slot) -> bool {
        let mut above = std::iter::successors(Some(slot), |at| {
            Some(self.record(*at).parent).filter(|at| *at != NONE)
        });
        above.any(|at| at == top)
    }

    /// Nodes below this one.
    pub(super) fn descendants(&self, slot: Slot) -> u32 {
        self.family(slot).map_or(0, |family| family.descendants)
    }

    /// The oldest child, or [`NONE`].
    pub(super) fn first_child(&self, slot: Slot) -> Slot {
        self.family(slot).map_or(NONE, |family| family.first_child)
    }

    /// Sets what the children have changed. To be called after the czxid is set.
    pub(super) fn set_cversion_pzxid(&mut self, slot: Slot, cversion: i32, pzxid: i64) {
        if self.cversion(slot) != cversion || self.pzxid(slot) != pzxid {
            let family = self.family_mut(slot);
            family.cversion = cversion;
            family.pzxid = pzxid;
        }
    }

    /// Makes the root, in slot 0.
    pub(super) fn add_root(&mut self) -> Slot {
        assert_eq!(self.end(), 0, "the root comes first");
        self.records.push(Record::live("", Some(&[]), NONE))
    }

    /// Makes a last child of `parent`. `None` when the name is too long or the slots have run out.
    pub(super) fn add(&mut self, parent: Slot, name: &str, data: Option<&[u8]>) -> Option<Slot> {
        if name.len() > NAME_LEN_MASK as usize {
            return None;
        }
        let record = Record::live(name, data, parent);
        let slot = match self.free.range(parent + 1..).next().copied() {
            Some(slot) => {
                self.free.remove(&slot);
                *self.record_mut(slot) = record;
                slot
            }
            None if self.end() == NONE => return None,
            None => self.records.push(record),
        };
        self.link(slot, parent);
        Some(slot)
    }

    /// Frees a node that has no children and is not the root.
    pub(super) fn remove(&mut self, slot: Slot) {
        assert_eq!(self.first_child(slot), NONE, "children go before their parent");
        self.unlink(slot);
        let before = std::mem::replace(self.record_mut(slot), Record::free());
        if before.family != NONE {
            self.free_families.push(before.family);
        }
        self.free.insert(slot);
    }

    /// The slots of the children, oldest first.
    pub(super) fn children(&self, slot: Slot) -> impl Iterator<Item = Slot> + use<'_> {
        self.siblings_from(self.first_child(slot))
    }

    /// The slots of the siblings from `first` on, none from [`NONE`].
    pub(super) fn siblings_from(&self, first: Slot) -> impl Iterator<Item = Slot> + use<'_> {
        let mut at = first;
        std::iter::from_fn(move || {
            let here = (at != NONE).then_some(at)?;
            at = self.record(here).next;
            Some(here)
        })
    }

    /// The node that follows `slot` in a pre-order walk of the subtree of `top`.
    pub(super) fn next_in_subtree(&self, slot: Slot, top: Slot) -> Option<Slot> {
        let first = self.first_child(slot);
        if first != NONE {
            return Some(first);
        }
        let mut at = slot;
        while at != top {
            let record = self.record(at);
            if record.next != NONE {
                return Some(record.next);
            }
            at = record.parent;
        }
        None
    }

    /// Whether `slot` is `top` or stands below it. A node's slot is above its parent's.
    pub(super) fn is_below(&self, slot: Slot, top: Slot) -> bool {
        let mut at = slot;
        while at > top {
            at = self.record(at).parent;
        }
        at == top
    }

    /// Writes the path of `slot` over what is in `out`: empty for the root.
    pub(super) fn path_into(&self, slot: Slot, out: &mut String) {
        out.clear();
        let mut names = Vec::new();
        let mut at = slot;
        while at != ROOT {
            let record = self.record(at);
            names.push(record.name());
            at = record.parent;
        }
        for name in names.into_iter().rev() {
            out.push('/');
            out.push_str(name);
        }
    }

    /// Whether `path` (empty for the root) is the path of `slot`.
    pub(super) fn has_path(&self, slot: Slot, path: &[u8]) -> bool {
        let mut rest = path;
        let mut at = slot;
        while at != ROOT {
            let record = self.record(at);
            let above =
                rest.strip_suffix(record.name_bytes()).and_then(|rest| rest.strip_suffix(b"/"));
            let Some(above) = above else { return false };
            rest = above;
            at = record.parent;
        }
        rest.is_empty()
    }

    fn family(&self, slot: Slot) -> Option<&Family> {
        let family = self.record(slot).family;
        (family != NONE).then(|| self.families.get(family))
    }

    /// The family of a node, made if it has none.
    fn family_mut(&mut self, slot: Slot) -> &mut Family {
        let record = self.records.get_mut(slot);
        if record.family == NONE {
            let new = Family {
                pzxid: record.czxid,
                first_child: NONE,
                child_count: 0,
                descendants: 0,
                cversion: 0,
            };
            record.family = match self.free_families.pop() {
                Some(family) => {
                    *self.families.get_mut(family) = new;
                    family
                }
                None => self.families.push(new),
            };
        }
        self.families.get_mut(record.family)
    }

    /// The node and all above it have one descendant more, or one less.
    fn count_descendant(&mut self, parent: Slot, change: impl Fn(u32) -> Option<u32>) {
        let mut at = parent;
        while at != NONE {
            let above = self.record(at).parent;
            let family = self.family_mut(at);
            family.descendants =
                change(family.descendants).expect("descendants are counted as they come and go");
            at = above;
        }
    }

    fn link(&mut self, slot: Slot, parent: Slot) {
        self.count_descendant(parent, |count| count.checked_add(1));
        let above = self.family_mut(parent);
        above.child_count += 1;
        let first = above.first_child;
        if first == NONE {
            above.first_child = slot;
            self.record_mut(slot).prev = slot;
            return;
        }
        let last = std::mem::replace(&mut self.record_mut(first).prev, slot);
        self.record_mut(last).next = slot;
        self.record_mut(slot).prev = last;
    }

    fn unlink(&mut self, slot: Slot) {
        let Record { parent, next, prev, .. } = *self.record(slot);
        self.count_descendant(parent, |count| count.checked_sub(1));
        let above = self.family_mut(parent);
        above.child_count -= 1;
        let first = above.first_child;
        if first == slot {
            above.first_child = next;
        } else {
            self.record_mut(prev).next = next;
        }
        // The one after it, or else the first child, looks back at what was before it.
        let looks_back = if next == NONE { first } else { next };
        if looks_back != slot {
            self.record_mut(looks_back).prev = prev;
        }
    }
}

/// Values in allocations that never move or grow: adding one never copies the others.
#[derive(Debug)]
struct Chunks<T> {
    /// Every chunk but the last is full.
    chunks: Vec<Vec<T>>,
}

impl<T> Chunks<T> {
    fn len(&self) -> u32 {
        self.chunks.last().map_or(0, |last| ((self.chunks.len() - 1) * CHUNK + last.len()) as u32)
    }

    fn get(&self, at: u32) -> &T {
        &self.chunks[at as usize / CHUNK][at as usize % CHUNK]
    }

    fn get_mut(&mut self, at: u32) -> &mut T {
        &mut self.chunks[at as usize / CHUNK][at as usize % CHUNK]
    }

    fn push(&mut self, value: T) -> u32 {
        let at = self.len();
        match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK => last.push(value),
            _ => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(value);
                self.chunks.push(chunk);
            }
        }
        at
    }
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self { chunks: Vec::new() }
    }
}

fn content_of(name: &[u8], data: &[u8]) -> Box<[u8]> {
    let mut content = Vec::with_capacity(name.len() + data.len());
    content.extend_from_slice(name);
    content.extend_from_slice(data);
    content.into_boxed_slice()
}

/// The slot of the root.
pub(super) const ROOT: Slot = 0;
/// No node.
pub(super) const NONE: Slot = Slot::MAX;
/// Values in one allocation.
const CHUNK: usize = 1 << 12;

const NULL_DATA: u32 = 1 << 31;
const OWNED: u32 = 1 << 30;
const LIVE: u32 = 1 << 29;
const NAME_LEN_MASK: u32 = LIVE - 1;

const _: () = assert!(size_of::<Record>() == 88, "memory per node is a headline figure");

#[cfg(test)]
mod tests {
    use super::*;

    fn names(slab: &Slab, parent: Slot) -> Vec<&str> {
        slab.children(parent).map(|slot| slab.record(slot).name()).collect()
    }

    #[test]
    fn children_keep_their_order_when_any_is_removed() {
        for gone in 0..3 {
            let mut slab = Slab::default();
            slab.add_root();
            let slots: Vec<_> =
                ["a", "b", "c"].iter().map(|name| slab.add(ROOT, name, None).unwrap()).collect();
            slab.remove(slots[gone]);
            slab.add(ROOT, "d", None).unwrap();
            let mut expected = vec!["a", "b", "c"];
            expected.remove(gone);
            expected.push("d");
            assert_eq!(names(&slab, ROOT), expected);
            for slot in slab.children(ROOT).collect::<Vec<_>>() {
                slab.remove(slot);
            }
            assert_eq!((slab.len(), slab.first_child(ROOT), slab.child_count(ROOT)), (1, NONE, 0));
        }
    }

    #[test]
    fn a_slot_is_used_again_only_above_the_parent() {
        let mut slab = Slab::default();
        slab.add_root();
        let low = slab.add(ROOT, "low", None).unwrap();
        let parent = slab.add(ROOT, "parent", None).unwrap();
        slab.remove(low);
        assert!(slab.add(parent, "child", None).unwrap() > parent);
        assert_eq!(slab.add(ROOT, "again", None), Some(low));
    }

    #[test]
    fn null_and_empty_data_differ_and_data_changes_in_place() {
        let mut slab = Slab::default();
        slab.add_root();
        let slot = slab.add(ROOT, "n", None).unwrap();
        let record = slab.record_mut(slot);
        assert_eq!(record.data(), None);
        record.set_data(Some(b""));
        assert_eq!(record.data(), Some(&b""[..]));
        record.set_data(Some(b"abc"));
        let at = record.content.as_ptr();
        record.set_data(Some(b"xyz"));
        assert_eq!(
            (record.data(), record.name(), record.content.as_ptr()),
            (Some(&b"xyz"[..]), "n", at)
        );
        record.set_data(None);
        assert_eq!((record.data(), record.name()), (None, "n"));
    }
}
