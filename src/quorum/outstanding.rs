//! The changes that are prepared and not yet applied: the overlay through which prepare sees the
//! tree.
//!
//! A request is judged against the tree as it will be once everything before it is committed
//! (`outstandingChanges` in Apache's server). A node that the tree has is known by its place there,
//! which a look-up finds anyway; one that is still to be made, by its path.
//!
//! A record whose transaction is applied says what the tree says, as whatever changes the node next
//! puts another one in its place. So it is not looked at any more, and forgotten when there is time.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use hashbrown::hash_map::{Entry, EntryRef};

use crate::jute::data::{Acl, StatPersisted};
use crate::tree::{EPHEMERALS_MANY, Node, NodeId, Tree, node_digest};
use crate::zxid::{SessionId, Zxid};

use super::Budget;

/// A node as it will be after `zxid` (`ChangeRecord`).
#[derive(Clone, Debug)]
pub(super) struct ChangeRecord {
    /// The last transaction that changes the node.
    pub(super) zxid: Zxid,
    /// False once it is deleted.
    pub(super) exists: bool,
    /// Once it is deleted, as it was before.
    pub(super) stat: StatPersisted,
    pub(super) children: u32,
    /// Its part of the tree's digest.
    pub(super) digest: u32,
    /// The parent's number for the next sequential child within the transaction `zxid`: it wraps,
    /// which the stored cversion does not.
    pub(super) counter: i32,
    pub(super) acl: Overlaid<Arc<[Acl]>>,
    pub(super) data: Overlaid<Option<Bytes>>,
}

/// Whether a part of a node is outstanding too.
#[derive(Clone, Debug)]
pub(super) enum Overlaid<T> {
    /// As the tree has it.
    Unchanged,
    Changed(T),
}

/// A node seen through the overlay.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) stat: StatPersisted,
    pub(super) children: u32,
    pub(super) digest: u32,
    pub(super) data: Option<&'a [u8]>,
    /// Where the tree has it, unless it is still to be made. Invariant: what is prepared now finds
    /// it there when it is applied, as whatever may remove it before that is outstanding.
    pub(super) id: Option<NodeId>,
    node: Option<Node<'a>>,
    change: Option<&'a ChangeRecord>,
}

/// The overlay, and the digest of the tree after it.
#[derive(Debug)]
pub(super) struct Outstanding {
    /// Nodes that the tree has, or had when they were changed.
    by_id: HashMap<NodeId, ChangeRecord, FixedState>,
    /// Nodes that the tree had not. Invariant: if one of them is also in `by_id`, under the same
    /// path, it is deleted there, and the record here is the later one.
    by_path: HashMap<Arc<str>, ChangeRecord, FixedState>,
    /// The nodes that every transaction has put, in order; a node once per transaction.
    /// Invariant: each record is named by the entry of its own zxid.
    puts: VecDeque<Put>,
    owners: Owners,
    digest: i64,
    digests: bool,
    open: Arc<[Acl]>,
    /// Sessions with very many ephemerals, none of them outstanding, that end with a transaction
    /// that is not yet applied: the nodes are gone for everyone after it.
    departing: Vec<(SessionId, Zxid)>,
    /// `digest` is not known: see [`Self::is_blind`].
    blind: bool,
    /// The records to put back if the multi being prepared fails; outside a multi nothing is noted.
    undo: Option<Undo>,
}

/// The number of nodes in the overlay that each session owns, or owned before they were deleted: a
/// session that ends looks for its own only if it has any, or thousands that end at once would each
/// go through all that the others leave behind.
#[derive(Debug)]
struct Owners(HashMap<i64, OwnerCount, FixedState>);

/// Nodes of one owner in the overlay. Invariant: there are some.
#[derive(Clone, Copy, Debug, Default)]
struct OwnerCount {
    exist: u32,
    deleted: u32,
}

/// A record that the transaction `zxid` has put.
#[derive(Debug)]
struct Put {
    zxid: Zxid,
    key: Key,
    /// The owner, 0 for none, of a deleted node in whose place this one is. Until both are applied
    /// the tree may show it as the owner's.
    deleted_of: i64,
}

/// Where a record is kept.
#[derive(Debug)]
enum Key {
    Id(NodeId),
    Path(Arc<str>),
}

/// The entries that a multi has replaced.
#[derive(Debug)]
struct Undo {
    digest: i64,
    /// For each of the last entries of `puts`, the record that was there before.
    replaced: Vec<Option<Box<ChangeRecord>>>,
}

impl Outstanding {
    /// Nothing outstanding over `tree`. Without `digests` none are computed. Who can guess `seed`
    /// can find paths that collide.
    pub(super) fn new(tree: &Tree, digests: bool, seed: u64) -> Self {
        Self {
            by_id: HashMap::with_hasher(FixedState::with_seed(seed)),
            by_path: HashMap::with_hasher(FixedState::with_seed(seed)),
            puts: VecDeque::new(),
            owners: Owners(HashMap::with_hasher(FixedState::with_seed(seed))),
            digest: tree.digest(),
            digests,
            open: Arc::from([Acl::open()]),
            departing: Vec::new(),
            blind: digests && tree.is_reaping(),
            undo: None,
        }
    }

    /// The digest of the tree after all that is outstanding.
    pub(super) fn digest(&self) -> i64 {
        self.digest
    }

    /// The number of nodes that are outstanding.
    pub(super) fn len(&self) -> usize {
        self.by_id.len() + self.by_path.len()
    }

    /// The node at `path`, if it will exist.
    pub(super) fn view<'a>(&'a self, tree: &'a Tree, path: &str) -> Option<View<'a>> {
        let view = match self.record(tree, path) {
            Some(change) => View::of_change(change, None)?,
            None => {
                let node = tree.get(path)?;
                match self.record_of(tree, node.id()) {
                    Some(change) => View::of_change(change, Some(node))?,
                    None => View::of_node(node),
                }
            }
        };
        if self.departing.is_empty() {
            Some(view)
        } else {
            self.without_departing(tree, path, view)
        }
    }

    /// The record of a node that the tree had not when it was changed.
    fn record(&self, tree: &Tree, path: &str) -> Option<&ChangeRecord> {
        if self.by_path.is_empty() {
            return None;
        }
        self.by_path.get(path).filter(|change| change.zxid > tree.last_zxid())
    }

    /// The record of a node that the tree has.
    fn record_of(&self, tree: &Tree, id: NodeId) -> Option<&ChangeRecord> {
        if self.by_id.is_empty() {
            return None;
        }
        self.by_id.get(&id).filter(|change| change.zxid > tree.last_zxid())
    }

    /// The view after the sessions that depart: their nodes are gone, and their parents have fewer.
    fn without_departing<'a>(
        &self,
        tree: &Tree,
        path: &str,
        mut view: View<'a>,
    ) -> Option<View<'a>> {
        for (session, zxid) in &self.departing {
            // What changed after the departure counts with it.
            if view.change.is_some_and(|change| change.zxid > *zxid) {
                continue;
            }
            if view.stat.ephemeral_owner == session.0 {
                return None;
            }
            let below = tree.ephemerals_below(*session, path);
            if below > 0 {
                view.children = view.children.checked_sub(below)?;
                view.stat.pzxid = view.stat.pzxid.max(zxid.0);
            }
        }
        Some(view)
    }

    /// A closeSession `zxid` takes the whole session out of sight, if it has very many ephemerals
    /// and nothing outstanding concerns them. False if it does not: then the nodes go one by one.
    pub(super) fn depart(&mut self, tree: &Tree, session: SessionId, zxid: Zxid) -> bool {
        if !tree.has_many_ephemerals(session) || self.concerns(session) {
            return false;
        }
        let last = self.departing.last();
        assert!(last.is_none_or(|(_, last)| *last < zxid), "sessions depart in the order of zxids");
        assert!(self.undo.is_none(), "nothing departs within a multi");
        self.departing.push((session, zxid));
        self.blind = self.digests;
        true
    }

    /// Whether the session has so many ephemerals that it should depart, and cannot yet.
    pub(super) fn must_wait_to_depart(&self, tree: &Tree, session: SessionId) -> bool {
        let Some(count) = self.owners.0.get(&session.0) else { return false };
        count.exist as usize + tree.ephemerals_owned(session) >= EPHEMERALS_MANY
    }

    /// Whether any of the session's ephemerals is outstanding.
    fn concerns(&self, session: SessionId) -> bool {
        self.owners.0.contains_key(&session.0)
    }

    /// The tree shows the departure.
    pub(super) fn departed(&mut self, session: SessionId) {
        let departing = self.departing.len();
        self.departing.retain(|(departing, _)| *departing != session);
        assert_eq!(self.departing.len() + 1, departing, "{session:?} departs once");
    }

    /// Whether the digest is not known, as nodes that have departed are still counted in the
    /// tree's: until they are removed nothing is logged with a digest.
    pub(super) fn is_blind(&self) -> bool {
        self.blind
    }

    /// Whether the digests of the records are those that the nodes will have.
    pub(super) fn is_exact(&self) -> bool {
        self.digests && !self.blind
    }

    /// The tree has removed all that had departed: the digest is known again. Not while a multi is
    /// prepared, which may be undone: this is to be called after it.
    pub(super) fn see_again(&mut self, tree: &Tree) {
        let in_multi = self.undo.is_some();
        if !self.blind || in_multi || tree.is_reaping() || !self.departing.is_empty() {
            return;
        }
        let ids = self.by_id.iter().filter(|(_, change)| change.zxid > tree.last_zxid());
        let ids = ids.map(|(id, change)| (tree.digest_at(*id), change));
        let paths = self.by_path.iter().filter(|(_, change)| change.zxid > tree.last_zxid());
        let paths = paths.map(|(path, change)| {
            // A node of the tree that is deleted before this one is made counts under its id.
            let born = tree.get(path).filter(|node| self.record_of(tree, node.id()).is_none());
            (born.map_or(0, |node| node.digest()), change)
        });
        let digest = ids.chain(paths).fold(tree.digest(), |digest, (before, change)| {
            digest.wrapping_sub(i64::from(before)).wrapping_add(i64::from(change.digest))
        });
        (self.blind, self.digest) = (false, digest);
    }

    /// Fills in the digest of what the node at `path` becomes, which will hold `data`.
    pub(super) fn set_digest(&self, path: &str, next: &mut ChangeRecord, data: Option<&[u8]>) {
        if self.digests {
            next.digest = if next.exists { node_digest(path, data, &next.stat) } else { 0 };
        }
    }

    /// Notes what becomes of the node at `path`, which the tree has as `id`, if it has it; `before`
    /// is its digest so far, 0 if there was none.
    pub(super) fn put(&mut self, path: &str, id: Option<NodeId>, next: ChangeRecord, before: u32) {
        debug_assert!(next.exists || next.children == 0, "{path} is deleted with children");
        debug_assert!(next.exists || next.digest == 0, "{path} is gone and counted");
        self.digest =
            self.digest.wrapping_sub(i64::from(before)).wrapping_add(i64::from(next.digest));
        self.owners.enter(&next);
        let zxid = next.zxid;
        let (key, replaced) = match id {
            Some(id) => (Key::Id(id), self.by_id.insert(id, next)),
            None => match self.by_path.entry_ref(path) {
                EntryRef::Occupied(mut entry) => {
                    let replaced = entry.insert(next);
                    (Key::Path(entry.key().clone()), Some(replaced))
                }
                EntryRef::Vacant(entry) => {
                    let path: Arc<str> = path.into();
                    entry.insert_with_key(path.clone(), next);
                    (Key::Path(path), None)
                }
            },
        };
        let is_again = replaced.as_ref().is_some_and(|replaced| replaced.zxid == zxid);
        let deleted = replaced.as_ref().filter(|replaced| !replaced.exists && !is_again);
        let deleted_of = deleted.map_or(0, ChangeRecord::owner);
        if let Some(replaced) = replaced.as_ref().filter(|_| deleted_of == 0) {
            self.owners.leave(replaced);
        }
        if is_again {
            return;
        }
        debug_assert!(self.puts.back().is_none_or(|last| last.zxid <= zxid), "puts in order");
        self.puts.push_back(Put { zxid, key, deleted_of });
        if let Some(undo) = &mut self.undo {
            undo.replaced.push(replaced.map(Box::new));
        }
    }

    /// A list to be kept in a record; the open one, which is nearly every list, is shared.
    pub(super) fn shared(&self, list: Vec<Acl>) -> Arc<[Acl]> {
        if *list == *self.open { self.open.clone() } else { list.into() }
    }

    /// The ephemerals that `session` will own: those of the tree less those to be deleted, and
    /// those to be made; sorted.
    pub(super) fn ephemerals_of(&self, tree: &Tree, session: SessionId) -> Vec<String> {
        let mut paths = tree.ephemerals_of(session);
        if !self.concerns(session) {
            return paths;
        }
        let is_kept = |path: &String| {
            let node = tree.get(path).map(|node| self.record_of(tree, node.id()));
            self.record(tree, path).is_none() && node.flatten().is_none_or(|change| change.exists)
        };
        paths.retain(is_kept);
        if mutant!(UnbornEphemeralsMissed) {
            return paths;
        }
        let is_own = |change: &ChangeRecord| {
            change.exists && change.owner() == session.0 && change.zxid > tree.last_zxid()
        };
        let unborn = self.by_path.iter().filter(|(_, change)| is_own(change));
        paths.extend(unborn.map(|(path, _)| path.to_string()));
        paths.sort_unstable();
        paths
    }

    /// A multi begins: from here on everything can be taken back. It makes so many nodes, and
    /// changes so many.
    pub(super) fn begin_multi(&mut self, made: usize, changed: usize) {
        assert!(self.undo.is_none(), "one multi at a time");
        self.by_path.reserve(made.min(RESERVED_MAX));
        self.by_id.reserve(changed.min(RESERVED_MAX));
        self.undo = Some(Undo { digest: self.digest, replaced: Vec::new() });
    }

    /// The multi stands.
    pub(super) fn keep_multi(&mut self) {
        assert!(self.undo.is_some(), "a multi was begun");
        self.undo = None;
    }

    /// The multi failed: everything since [`Self::begin_multi`] is undone, last first, until the
    /// budget is spent. What `tree` shows by now needs no record. True once all of it is done.
    pub(super) fn roll_back(&mut self, tree: &Tree, budget: &mut Budget) -> bool {
        let Some(mut undo) = self.undo.take() else { return true };
        if mutant!(MultiNotRolledBack) {
            return true;
        }
        while !budget.is_spent() && !undo.replaced.is_empty() {
            budget.spend(1);
            for _ in 0..RECORDS_PER_UNIT {
                let Some(record) = undo.replaced.pop() else { break };
                let put = self.puts.pop_back().expect("what is put is noted in both");
                self.owners.leave_deleted(put.deleted_of);
                let record = record.filter(|record| record.zxid > tree.last_zxid());
                self.put_back(put.key, record.map(|record| *record));
            }
        }
        if undo.replaced.is_empty() {
            self.digest = undo.digest;
            return true;
        }
        self.undo = Some(undo);
        false
    }

    fn put_back(&mut self, key: Key, record: Option<ChangeRecord>) {
        if let Some(record) = &record {
            self.owners.enter(record);
        }
        let undone = match (key, record) {
            (Key::Id(id), Some(record)) => self.by_id.insert(id, record),
            (Key::Id(id), None) => self.by_id.remove(&id),
            (Key::Path(path), Some(record)) => self.by_path.insert(path, record),
            (Key::Path(path), None) => self.by_path.remove(&path),
        };
        if let Some(undone) = undone {
            self.owners.leave(&undone);
        }
    }

    /// Whether [`Self::forget`] has something to do once everything up to `shown` is applied.
    pub(super) fn can_forget(&self, shown: Zxid) -> bool {
        self.puts.front().is_some_and(|put| put.zxid <= shown)
    }

    /// Forgets up to `max` records that are applied: `tree` shows what they say. Returns their
    /// number.
    pub(super) fn forget(&mut self, tree: &Tree, max: usize) -> usize {
        let mut forgotten = 0;
        while forgotten < max && self.can_forget(tree.last_zxid()) {
            let Some(Put { zxid, key, deleted_of }) = self.puts.pop_front() else { break };
            self.owners.leave_deleted(deleted_of);
            let is_its =
                |change: &ChangeRecord| change.zxid == zxid || mutant!(OverlayForgottenEarly);
            let record = match key {
                Key::Id(id) => match self.by_id.entry(id) {
                    Entry::Occupied(entry) if is_its(entry.get()) => Some(entry.remove()),
                    _ => None,
                },
                Key::Path(path) => match self.by_path.entry(path) {
                    Entry::Occupied(entry) if is_its(entry.get()) => Some(entry.remove()),
                    _ => None,
                },
            };
            if let Some(record) = &record {
                self.owners.leave(record);
            }
            forgotten += 1;
        }
        if forgotten > 0 && self.puts.is_empty() {
            debug_assert!(self.len() == 0, "every record is named");
            debug_assert!(self.owners.0.is_empty(), "every owner is counted out");
            self.digest = tree.digest();
        }
        forgotten
    }
}

impl Owners {
    fn enter(&mut self, change: &ChangeRecord) {
        if change.owner() != 0 {
            *self.0.entry(change.owner()).or_default().of(change) += 1;
        }
    }

    fn leave(&mut self, change: &ChangeRecord) {
        self.take_away(change.owner(), |count| *count.of(change) -= 1);
    }

    fn leave_deleted(&mut self, owner: i64) {
        self.take_away(owner, |count| count.deleted -= 1);
    }

    fn take_away(&mut self, owner: i64, one: impl FnOnce(&mut OwnerCount)) {
        if owner == 0 {
            return;
        }
        debug_assert!(self.0.contains_key(&owner), "{owner:#x} is not counted");
        if let Entry::Occupied(mut count) = self.0.entry(owner) {
            one(count.get_mut());
            if count.get().exist + count.get().deleted == 0 {
                count.remove();
            }
        }
    }
}

impl OwnerCount {
    fn of(&mut self, change: &ChangeRecord) -> &mut u32 {
        if change.exists { &mut self.exist } else { &mut self.deleted }
    }
}

impl ChangeRecord {
    /// A node that was so and is gone after `zxid`.
    pub(super) fn deleted(zxid: Zxid, stat: StatPersisted) -> Self {
        Self {
            zxid,
            exists: false,
            stat,
            children: 0,
            digest: 0,
            counter: 0,
            acl: Overlaid::Unchanged,
            data: Overlaid::Unchanged,
        }
    }

    /// The stored owner, 0 for none.
    fn owner(&self) -> i64 {
        self.stat.ephemeral_owner
    }
}

impl<'a> View<'a> {
    fn of_node(node: Node<'a>) -> Self {
        Self {
            stat: node.persisted(),
            children: node.num_children(),
            digest: node.digest(),
            data: node.data(),
            id: Some(node.id()),
            node: Some(node),
            change: None,
        }
    }

    /// A node as it will be, which the tree has now if it has it; `None` if it will be gone.
    fn of_change(change: &'a ChangeRecord, node: Option<Node<'a>>) -> Option<Self> {
        change.exists.then(|| Self {
            stat: change.stat,
            children: change.children,
            digest: change.digest,
            data: match &change.data {
                Overlaid::Changed(data) => data.as_deref(),
                Overlaid::Unchanged => node.and_then(|node| node.data()),
            },
            id: node.map(|node| node.id()),
            node,
            change: Some(change),
        })
    }

    /// The ACL; `None` if everyone may do everything.
    pub(super) fn acl(&self) -> Option<&'a Arc<[Acl]>> {
        match (self.change, self.node) {
            (Some(ChangeRecord { acl: Overlaid::Changed(acl), .. }), _) => Some(acl),
            (_, Some(node)) if node.is_open() => None,
            (_, Some(node)) => Some(node.acl()),
            (_, None) => None,
        }
    }

    /// The number that a sequential child made by `zxid` gets.
    pub(super) fn counter(&self, zxid: Zxid) -> i32 {
        match self.change {
            Some(change) if change.zxid == zxid => {
                change.counter - i32::from(mutant!(SequenceNumberTwice))
            }
            _ => self.stat.cversion,
        }
    }

    /// The record that continues this node, to be changed and put.
    pub(super) fn next(&self, zxid: Zxid) -> ChangeRecord {
        let (acl, data) = match self.change {
            Some(change) => (change.acl.clone(), change.data.clone()),
            None => (Overlaid::Unchanged, Overlaid::Unchanged),
        };
        ChangeRecord {
            zxid,
            exists: true,
            stat: self.stat,
            children: self.children,
            digest: self.digest,
            counter: self.counter(zxid),
            acl,
            data,
        }
    }
}

/// Records of each kind for which a multi makes room at once.
const RESERVED_MAX: usize = 1 << 15;
/// Records that are forgotten or undone in the time of one unit of work.
pub(super) const RECORDS_PER_UNIT: usize = 4;
