//! The znode tree: one writer, many readers, no locks of its own.
//!
//! It holds the whole replicated state: nodes, access control lists and global sessions. It changes
//! only by [`Tree::apply`], which is total: whatever a log or a leader says is applied as far as it
//! makes sense, as Apache's own tree does it, so that recovery from a fuzzy snapshot ends in the
//! same state everywhere.
//!
//! | file | holds |
//! |---|---|
//! | `slab` | the records of the nodes, and how they hang together |
//! | `index` | from path to record |
//! | `acls` | interned access control lists |
//! | `apply` | transactions |
//! | `departed` | sessions that ended with very many ephemerals |
//! | `quota` | statistics below /zookeeper/quota |
//! | `digest` | what a node adds to the tree's digest |
//! | `copying` | tables that are copied in slices while they go on changing |
//! | `walk` | point-in-time snapshots of a tree that goes on changing |
//! | `load` | a tree from a snapshot |

mod acls;
mod apply;
mod copying;
mod departed;
mod digest;
mod index;
mod load;
mod path;
mod quota;
mod slab;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use crate::codes::EventType;
use crate::jute::data::{Acl, Owner, Stat, StatPersisted, owner_kind};
use crate::zxid::{SessionId, Zxid};

use acls::{AclTable, OPEN};
pub use departed::EPHEMERALS_MANY;
use departed::{Departed, Owned};
use digest::History;
use index::Index;
use quota::QuotaRoots;
use slab::{ChildrenFigures, ROOT, Record, Slab, Slot};
use walk::Walk;

pub use apply::{Applied, MultiParts, TxnResult};
pub use digest::node_digest;
pub use load::{LoadError, Loader};
pub use path::validate_path;
pub use quota::StatsTrack;
pub use walk::{NodeSink, SnapshotHead, WalkLost};

/// All znodes, their ACLs and the global sessions.
#[derive(Debug)]
pub struct Tree {
    slab: Slab,
    index: Index,
    acls: AclTable,
    /// Stored owners of the nodes that have one; few do.
    owners: BTreeMap<Slot, i64>,
    ephemerals: BTreeMap<SessionId, Owned>,
    /// Ephemerals that have come and gone.
    ephemeral_changes: i64,
    ephemeral_count: usize,
    departed: BTreeMap<SessionId, Departed>,
    /// Nodes that are out of sight and still there: the sum over `departed`.
    departed_count: usize,
    containers: BTreeSet<Slot>,
    ttls: BTreeSet<Slot>,
    sessions: BTreeMap<SessionId, i32>,
    quotas: QuotaRoots,
    digest: i64,
    history: History,
    /// Bytes of all paths and data.
    data_size: u64,
    last_zxid: Zxid,
    /// See [`Self::set_whole_at`].
    whole_at: Zxid,
    /// The snapshots being taken: at most `walk::WALKS_MAX`.
    walks: Vec<Walk>,
    /// No walk of this tree, or of one whose place it took, has this number or a higher one.
    next_walk: u64,
    /// See [`Self::is_amid`].
    is_amid: bool,
}

/// A node of a tree, for reading.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    tree: &'a Tree,
    slot: Slot,
    record: &'a Record,
}

/// Where the tree keeps a node, as long as that is there: after it is removed another node may get
/// its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NodeId(Slot);

/// A snapshot being taken, by a number that is given out once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalkId(u64);

/// What was found out when a transaction was prepared, and what [`Tree::apply_known`] need not find
/// out again. None of it must be known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    /// The node that a setData or setACL changes, or a delete removes.
    pub node: Option<NodeId>,
    /// The parent of the node that is made or removed.
    pub parent: Option<NodeId>,
    /// What the node adds to the digest after a setData or create.
    pub digest: Option<u32>,
    /// What the parent adds to it after a create or delete.
    pub parent_digest: Option<u32>,
}

/// Where a new node is to be.
struct Place<'a> {
    parent: Slot,
    path: &'a str,
    /// The last component of the path.
    name: &'a str,
    /// Of the path.
    hash: u32,
}

/// Where [`Tree::doomed`] has got to: containers first, then TTL nodes.
#[derive(Clone, Copy, Debug, Default)]
pub struct DoomedCursor {
    ttls: bool,
    from: Slot,
}

/// A change that watches may be waiting for. Changes come in the order in which Apache triggers its
/// watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub zxid: Zxid,
    pub kind: EventType,
    /// The node that was made, removed or written, or the parent whose children changed ("/" for
    /// the root).
    pub path: Box<str>,
    /// Who may hear of it (ZOOKEEPER-4799): the new node's ACL, that of a deleted one before it
    /// went, the parent's for its children. `None` is everyone.
    pub acl: Option<Arc<[Acl]>>,
}

impl Tree {
    /// The tree of a fresh server: "/", /zookeeper, /zookeeper/quota and /zookeeper/config, all
    /// numbers 0.
    pub fn new() -> Self {
        Self::with_seed(0)
    }

    /// As [`Self::new`], with a seed for the hashes of paths and lists: one that clients cannot
    /// guess keeps them from finding paths that collide. Nothing that the tree answers depends on
    /// it.
    pub fn with_seed(seed: u64) -> Self {
        let mut tree = Self::with_root(seed);
        let zookeeper = tree.add_system_node(ROOT, "zookeeper", "/zookeeper");
        tree.add_config_node(zookeeper);
        tree.add_system_node(zookeeper, "quota", QUOTA_PATH);
        tree
    }

    /// The last transaction applied.
    pub fn last_zxid(&self) -> Zxid {
        self.last_zxid
    }

    /// Sets [`Self::last_zxid`], as a loaded snapshot or a new epoch asks.
    pub fn set_last_zxid(&mut self, zxid: Zxid) {
        self.last_zxid = zxid;
    }

    /// Says that the tree comes from a fuzzy snapshot and shows no one point in time before `zxid`
    /// has been applied. Until then its digest cannot be compared and does not enter the history.
    pub fn set_whole_at(&mut self, zxid: Zxid) {
        self.whole_at = zxid;
    }

    /// Whether the tree shows the state at [`Self::last_zxid`]: see [`Self::set_whole_at`].
    pub fn is_whole(&self) -> bool {
        self.last_zxid >= self.whole_at
    }

    /// What a node adds to the digest; 0 if it is not there any more.
    pub fn digest_at(&self, node: NodeId) -> u32 {
        self.slab.record(node.0).crc
    }

    /// The wrapping sum of all [`node_digest`]s (version 2).
    pub fn digest(&self) -> i64 {
        self.digest
    }

    /// The digests after each 128th zxid, oldest first, at most 1024.
    pub fn digest_history(&self) -> impl Iterator<Item = (Zxid, i64)> {
        self.history.iter()
    }

    /// The node at `path`; "" and "/" are the root. No other form of a path finds anything.
    pub fn get(&self, path: &str) -> Option<Node<'_>> {
        self.get_bytes(path.as_bytes())
    }

    /// The same for the bytes of a path. Bytes that are no UTF-8 find nothing.
    #[inline]
    pub fn get_bytes(&self, path: &[u8]) -> Option<Node<'_>> {
        debug_assert!(!self.is_amid, "nobody sees a part of a multi");
        let slot = self.find_bytes(path).filter(|slot| !self.has_departed(*slot))?;
        Some(self.node(slot))
    }

    /// The node with this number: the one that had it when it was given out, unless that has gone
    /// and another one, which was created later, has the number now.
    pub fn numbered(&self, id: NodeId) -> Option<Node<'_>> {
        let NodeId(slot) = id;
        let is_there =
            slot < self.slab.end() && self.slab.record(slot).is_live() && !self.has_departed(slot);
        is_there.then(|| self.node(slot))
    }

    /// Nodes as the four-letter words count them: the root twice, since Apache keeps it under ""
    /// and under "/".
    pub fn node_count(&self) -> usize {
        self.slab.len() - self.departed_count + 1
    }

    /// UTF-16 units of all paths and bytes of all data, as `approximate_data_size`.
    pub fn data_size(&self) -> u64 {
        // The root counts as "" and as "/".
        self.data_size + 1
    }

    /// About the bytes of a snapshot, or of the tree on its way to a learner, without sessions and
    /// ACLs.
    pub fn snapshot_bytes(&self) -> u64 {
        self.data_size + self.node_count() as u64 * SNAPSHOT_NODE_BYTES
    }

    /// The answer to getAllChildrenNumber: the number of nodes below `path`. Below "" that includes
    /// "/".
    pub fn count_descendants(&self, path: &str) -> Option<usize> {
        let top = self.find(path).filter(|top| !self.has_departed(*top))?;
        Some(match path {
            "" => self.slab.len() - self.departed_count,
            "/" => self.slab.len() - self.departed_count - 1,
            _ => self.slab.descendants(top) as usize - self.departed_in(top),
        })
    }

    /// Global sessions and their timeouts in milliseconds, by id.
    pub fn sessions(&self) -> impl Iterator<Item = (SessionId, i32)> {
        self.sessions.iter().map(|(session, timeout_ms)| (*session, *timeout_ms))
    }

    /// Up to `max` global sessions after `after` and their timeouts in milliseconds, by their ids.
    pub fn sessions_after(
        &self,
        after: Option<SessionId>,
        max: usize,
    ) -> impl Iterator<Item = (SessionId, i32)> {
        let from = after.map_or(Unbounded, Excluded);
        let rest = self.sessions.range((from, Unbounded));
        rest.map(|(session, timeout_ms)| (*session, *timeout_ms)).take(max)
    }

    /// The number of global sessions.
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// The timeout in milliseconds that `session` was created with; `None` if there is no such
    /// session.
    pub fn session_timeout(&self, session: SessionId) -> Option<i32> {
        self.sessions.get(&session).copied()
    }

    /// The paths of a session's ephemerals, sorted.
    pub fn ephemerals_of(&self, session: SessionId) -> Vec<String> {
        let slots = self.ephemerals.get(&session).into_iter().flat_map(|owned| &owned.slots);
        let mut paths: Vec<_> = slots.map(|&slot| self.path(slot)).collect();
        paths.sort_unstable();
        paths
    }

    /// Up to `max` ephemerals of whatever session that follow `after`: session, node and path.
    pub fn ephemerals_after(
        &self,
        after: Option<(SessionId, u32)>,
        max: usize,
    ) -> impl Iterator<Item = (SessionId, u32, String)> {
        let (session, slot) = after.unwrap_or((SessionId(i64::MIN), 0));
        let rest = self
            .ephemerals
            .get(&session)
            .map(|owned| owned.slots.range((Excluded(slot), Unbounded)));
        let rest = rest.into_iter().flatten().map(move |slot| (session, *slot));
        let later = self.ephemerals.range((Excluded(session), Unbounded));
        let later =
            later.flat_map(|(session, owned)| owned.slots.iter().map(|slot| (*session, *slot)));
        rest.chain(later).take(max).map(|(session, slot)| (session, slot, self.path(slot)))
    }

    /// The session's ephemerals from the one numbered `from` on, each with its number and path.
    pub fn ephemerals_from(
        &self,
        session: SessionId,
        from: u32,
    ) -> impl Iterator<Item = (u32, String)> {
        let slots = self.ephemerals.get(&session).into_iter();
        let slots = slots.flat_map(move |ephemerals| ephemerals.slots.range(from..));
        slots.map(|slot| (*slot, self.path(*slot)))
    }

    /// A number that changes whenever the session's ephemerals do.
    pub fn ephemerals_changed(&self, session: SessionId) -> i64 {
        self.ephemerals.get(&session).map_or(0, |ephemerals| ephemerals.changed)
    }

    /// Ephemerals of all sessions.
    pub fn ephemeral_count(&self) -> usize {
        self.ephemeral_count
    }

    /// Sessions that own ephemerals, by id. Some may not be in the session table (ZOOKEEPER-1549).
    pub fn ephemeral_owners(&self) -> Vec<SessionId> {
        self.ephemerals.keys().copied().collect()
    }

    /// Whether there are TTL nodes.
    pub fn has_ttls(&self) -> bool {
        !self.ttls.is_empty()
    }

    /// Looks at up to `max` containers and TTL nodes from `cursor` on and adds those to `doomed`
    /// that are due for deletion at wall-clock time `now_wall_ms`: empty containers that have had a
    /// child, or have had none for longer than `never_used_ms` (0: those are kept); and childless
    /// TTL nodes not written for longer than their TTL. Returns where to go on, `None` at the end.
    pub fn doomed(
        &self,
        now_wall_ms: i64,
        never_used_ms: i64,
        cursor: DoomedCursor,
        max: usize,
        doomed: &mut VecDeque<String>,
    ) -> Option<DoomedCursor> {
        let DoomedCursor { ttls, from } = cursor;
        let mut last = None;
        for &slot in if ttls { &self.ttls } else { &self.containers }.range(from..).take(max) {
            last = Some(slot);
            let age_ms = now_wall_ms.saturating_sub(self.slab.record(slot).mtime);
            let is_due = match owner_kind(self.owner(slot)) {
                Owner::Ttl(ttl_ms) => ttl_ms != 0 && age_ms > ttl_ms,
                _ => self.slab.cversion(slot) > 0 || (never_used_ms != 0 && age_ms > never_used_ms),
            };
            if is_due && self.slab.child_count(slot) == 0 {
                doomed.push_back(self.path(slot));
            }
        }
        match last {
            Some(last) => Some(DoomedCursor { ttls, from: last + 1 }),
            None if !ttls => Some(DoomedCursor { ttls: true, from: ROOT }),
            None => None,
        }
    }

    /// The deepest path at or above `path` on which a quota is kept.
    pub fn quota_root<'p>(&self, path: &'p str) -> Option<&'p str> {
        self.quotas.above(path)
    }

    fn with_root(seed: u64) -> Self {
        let mut tree = Self {
            slab: Slab::default(),
            index: Index::new(seed),
            acls: AclTable::new(seed),
            owners: BTreeMap::new(),
            ephemerals: BTreeMap::new(),
            ephemeral_changes: 0,
            ephemeral_count: 0,
            departed: BTreeMap::new(),
            departed_count: 0,
            containers: BTreeSet::new(),
            ttls: BTreeSet::new(),
            sessions: BTreeMap::new(),
            quotas: QuotaRoots::default(),
            digest: 0,
            history: History::default(),
            data_size: 0,
            last_zxid: Zxid::ZERO,
            whole_at: Zxid::ZERO,
            walks: Vec::new(),
            next_walk: 0,
            is_amid: false,
        };
        tree.slab.add_root();
        tree.refresh_digest(ROOT, "");
        tree
    }

    fn add_system_node(&mut self, parent: Slot, name: &str, path: &str) -> Slot {
        let place = Place { parent, path, name, hash: self.index.hash(path.as_bytes()) };
        let slot = self.add_node(&place, None, Some(&[]), OPEN, &StatPersisted::default());
        slot.expect("a small tree has room for three nodes")
    }

    /// /zookeeper/config: readable by everyone, writable by none (ZOOKEEPER-2014).
    fn add_config_node(&mut self, zookeeper: Slot) {
        let slot = self.add_system_node(zookeeper, "config", CONFIG_PATH);
        let read_only = Acl { perms: crate::codes::perms::READ, ..Acl::open() };
        let acl = self.acls.acquire(&[read_only]);
        let record = self.slab.record_mut(slot);
        record.acl = acl;
        record.aversion = -1;
    }

    /// /zookeeper/config shows the membership of an ensemble, which is in no transaction: every
    /// server puts its own there when it begins to serve. No digest holds the node. Data from before
    /// 3.5 does not have it.
    pub fn set_config(&mut self, text: &[u8], version: Zxid, time_ms: i64) {
        let Some(slot) = self.find(CONFIG_PATH) else { return };
        self.touch(slot);
        self.replace_data(slot, Some(text));
        let record = self.slab.record_mut(slot);
        (record.mtime, record.mzxid, record.version) = (time_ms, version.0, -1);
        self.refresh_digest(slot, CONFIG_PATH);
    }

    #[inline]
    fn find(&self, path: &str) -> Option<Slot> {
        self.find_bytes(path.as_bytes())
    }

    #[inline]
    fn find_bytes(&self, path: &[u8]) -> Option<Slot> {
        if path.is_empty() || path == b"/" {
            return Some(ROOT);
        }
        self.index.find(&self.slab, path, self.index.hash(path))
    }

    /// As [`Self::find`], for a path that is not the root's and whose hash is known.
    #[inline]
    fn find_hashed(&self, path: &str, hash: u32) -> Option<Slot> {
        self.index.find(&self.slab, path.as_bytes(), hash)
    }

    fn node(&self, slot: Slot) -> Node<'_> {
        Node { tree: self, slot, record: self.slab.record(slot) }
    }

    /// The path of a node, "" for the root.
    fn path(&self, slot: Slot) -> String {
        let mut path = String::new();
        self.slab.path_into(slot, &mut path);
        path
    }

    /// The nodes from `top` down, parents first.
    fn subtree(&self, top: Slot) -> impl Iterator<Item = Slot> {
        std::iter::successors(Some(top), move |slot| self.slab.next_in_subtree(*slot, top))
    }

    /// The stored owner.
    fn owner(&self, slot: Slot) -> i64 {
        if !self.slab.record(slot).is_owned() {
            return 0;
        }
        self.owners.get(&slot).copied().unwrap_or(0)
    }

    #[inline]
    fn persisted(&self, slot: Slot) -> StatPersisted {
        self.stored(slot, self.slab.children_figures(slot))
    }

    /// The statistics of a node whose children have these figures.
    #[inline]
    fn stored(&self, slot: Slot, children: ChildrenFigures) -> StatPersisted {
        let record = self.slab.record(slot);
        StatPersisted {
            czxid: record.czxid,
            mzxid: record.mzxid,
            ctime: record.ctime,
            mtime: record.mtime,
            version: record.version,
            cversion: children.cversion,
            aversion: record.aversion,
            ephemeral_owner: self.owner(slot),
            pzxid: children.pzxid,
        }
    }

    /// Makes a node at a place where none is and accounts for it everywhere, with its digest, if
    /// that is known; it takes over one use of the ACL. `None`: no room, or the name is impossibly
    /// long.
    fn add_node(
        &mut self,
        place: &Place<'_>,
        digest: Option<u32>,
        data: Option<&[u8]>,
        acl: u32,
        stat: &StatPersisted,
    ) -> Option<Slot> {
        let Place { parent, path, name, hash } = *place;
        let slot = self.slab.add(parent, name, data)?;
        self.note_new(slot);
        let record = self.slab.record_mut(slot);
        record.acl = acl;
        record.hash = hash;
        self.index.insert(&self.slab, slot, hash);
        self.data_size += (path::counted_len(path) + data.map_or(0, <[u8]>::len)) as u64;
        self.set_stat(slot, stat);
        let crc = digest.unwrap_or_else(|| node_digest(path, data, stat));
        self.set_digest(slot, path, crc);
        debug_assert_eq!(self.persisted(slot), *stat, "what was put in is there");
        Some(slot)
    }

    fn set_stat(&mut self, slot: Slot, stat: &StatPersisted) {
        let record = self.slab.record_mut(slot);
        record.czxid = stat.czxid;
        record.mzxid = stat.mzxid;
        record.ctime = stat.ctime;
        record.mtime = stat.mtime;
        record.version = stat.version;
        record.aversion = stat.aversion;
        record.set_owned(stat.ephemeral_owner != 0);
        self.slab.set_cversion_pzxid(slot, stat.cversion, stat.pzxid);
        if stat.ephemeral_owner != 0 {
            self.own(slot, stat.ephemeral_owner);
        }
    }

    fn own(&mut self, slot: Slot, owner: i64) {
        self.owners.insert(slot, owner);
        match owner_kind(owner) {
            Owner::None => {}
            Owner::Container => {
                self.containers.insert(slot);
            }
            Owner::Ttl(_) => {
                self.ttls.insert(slot);
            }
            Owner::Session => {
                self.ephemeral_changes += 1;
                let slab = &self.slab;
                let owned = self.ephemerals.entry(SessionId(owner)).or_default();
                owned.insert(slot, |slot| slab.record(slot).parent);
                owned.changed = self.ephemeral_changes;
                self.ephemeral_count += 1;
            }
        }
    }

    fn disown(&mut self, slot: Slot) {
        let Some(owner) = self.owners.remove(&slot) else { return };
        match owner_kind(owner) {
            Owner::None => {}
            Owner::Container => {
                self.containers.remove(&slot);
            }
            Owner::Ttl(_) => {
                self.ttls.remove(&slot);
            }
            Owner::Session => {
                self.ephemeral_changes += 1;
                let (session, parent) = (SessionId(owner), self.slab.record(slot).parent);
                match self.ephemerals.get_mut(&session).filter(|owned| owned.slots.contains(&slot))
                {
                    None => self.disown_departed(session, slot, parent),
                    Some(owned) => {
                        self.ephemeral_count -= 1;
                        owned.remove(slot, parent);
                        owned.changed = self.ephemeral_changes;
                        if owned.slots.is_empty() {
                            self.ephemerals.remove(&session);
                        }
                    }
                }
            }
        }
    }

    /// Puts a node's digest right after a change; `path` is its own.
    fn refresh_digest(&mut self, slot: Slot, path: &str) {
        self.renew_digest(slot, path, None);
    }

    /// As [`Self::refresh_digest`], where the digest may be known.
    fn renew_digest(&mut self, slot: Slot, path: &str, known: Option<u32>) {
        let crc = known.unwrap_or_else(|| self.digest_of(slot, path));
        self.set_digest(slot, path, crc);
    }

    /// The node at `path` adds so much to the digest from here on.
    fn set_digest(&mut self, slot: Slot, path: &str, crc: u32) {
        debug_assert_eq!(crc, self.digest_of(slot, path), "{path} is as it was seen");
        let record = self.slab.record_mut(slot);
        let before = std::mem::replace(&mut record.crc, crc);
        self.digest = self.digest.wrapping_sub(i64::from(before)).wrapping_add(i64::from(crc));
    }

    /// What the node adds to the digest as it is now.
    fn digest_of(&self, slot: Slot, path: &str) -> u32 {
        node_digest(path, self.slab.record(slot).data(), &self.persisted(slot))
    }
}

impl Default for Tree {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a> Node<'a> {
    /// By which [`Tree::apply_known`] finds it again.
    pub fn id(&self) -> NodeId {
        NodeId(self.slot)
    }

    /// The data; `None` is null, which is not the same as empty.
    pub fn data(&self) -> Option<&'a [u8]> {
        self.record.data()
    }

    /// The statistics as clients see them.
    #[inline]
    pub fn stat(&self) -> Stat {
        if self.tree.is_reaping() {
            return self.persisted().to_stat(self.record.data_len(), self.num_children());
        }
        let children = self.tree.slab.children_figures(self.slot);
        let stored = self.tree.stored(self.slot, children);
        stored.to_stat(self.record.data_len(), children.count)
    }

    /// The statistics as they are stored.
    #[inline]
    pub fn persisted(&self) -> StatPersisted {
        let stat = self.tree.persisted(self.slot);
        let pzxid = if self.tree.is_reaping() { self.tree.departed_at(self.slot) } else { 0 };
        StatPersisted { pzxid: stat.pzxid.max(pzxid), ..stat }
    }

    /// The access control list.
    pub fn acl(&self) -> &'a Arc<[Acl]> {
        self.tree.acls.list(self.record.acl)
    }

    /// Whether the ACL is `OPEN_ACL_UNSAFE`: everyone may do everything.
    pub fn is_open(&self) -> bool {
        self.record.acl == OPEN
    }

    /// Children there are now.
    pub fn num_children(&self) -> u32 {
        let departed = if self.tree.is_reaping() { self.tree.departed_below(self.slot) } else { 0 };
        self.tree.slab.child_count(self.slot) - departed
    }

    /// The names of the children from the one numbered `from` on, or of all, each with its number.
    ///
    /// A number is good for as long as the node's czxid and pzxid stay what they are.
    pub fn children_from(
        &self,
        from: Option<u32>,
    ) -> impl Iterator<Item = (u32, &'a str)> + use<'a> {
        let tree = self.tree;
        let first = from.filter(|from| *from < tree.slab.end());
        let all =
            tree.slab.siblings_from(first.unwrap_or_else(|| tree.slab.first_child(self.slot)));
        let seen = all.filter(|slot| !tree.has_departed(*slot));
        seen.map(|slot| (slot, tree.slab.record(slot).name()))
    }

    /// The names of the children, in no order that clients may rely on.
    pub fn children(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let tree = self.tree;
        let seen = tree.slab.children(self.slot).filter(|slot| !tree.has_departed(*slot));
        seen.map(|slot| tree.slab.record(slot).name())
    }

    /// The node's share of the tree's digest.
    pub fn digest(&self) -> u32 {
        self.record.crc
    }

    /// The path, "" for the root.
    pub fn path(&self) -> String {
        self.tree.path(self.slot)
    }
}

const CONFIG_PATH: &str = "/zookeeper/config";
const QUOTA_PATH: &str = "/zookeeper/quota";
/// Bytes of a node in a snapshot beside its path and data: their lengths, the ACL's number, the stat.
const SNAPSHOT_NODE_BYTES: u64 = 4 + 4 + 8 + 60;
