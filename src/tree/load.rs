//! A tree from a snapshot: sessions, lists and nodes come in, parents first, and a tree comes out.

use std::collections::BTreeMap;
use std::fmt;

use crate::jute::data::{Acl, StatPersisted};
use crate::zxid::{SessionId, Zxid};

use super::acls::{OPEN, nobody};
use super::path::split;
use super::slab::{ROOT, Slot};
use super::{Place, Tree};

/// Builds a tree out of the parts of a snapshot, in the order in which a snapshot holds them.
#[derive(Debug)]
pub struct Loader {
    tree: Tree,
    /// From the snapshot's index to ours. Each holds one use, given back at the end.
    lists: BTreeMap<i64, u32>,
    /// The parent of the node before: siblings mostly stand together.
    parent: (String, Slot),
}

/// The reason why a node of a snapshot does not fit into the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// Neither "" nor '/'-separated names, or one of them is empty.
    BadPath(String),
    /// The parent has not come before it.
    NoParent(String),
    /// The path has come before.
    Twice(String),
    /// 2^32 nodes, or a name of 2^29 bytes.
    NoRoom(String),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, why) = match self {
            Self::BadPath(path) => (path, "is not a path"),
            Self::NoParent(path) => (path, "comes before its parent"),
            Self::Twice(path) => (path, "comes twice"),
            Self::NoRoom(path) => (path, "does not fit into the tree"),
        };
        write!(f, "node {path:?} {why}; an older snapshot with the logs since then may be whole")
    }
}

impl std::error::Error for LoadError {}

impl Loader {
    /// Starts with nothing but a root without statistics.
    pub fn new() -> Self {
        Self::with_seed(0)
    }

    /// As [`Self::new`], for a tree as of [`Tree::with_seed`].
    pub fn with_seed(seed: u64) -> Self {
        Self { tree: Tree::with_root(seed), lists: BTreeMap::new(), parent: (String::new(), ROOT) }
    }

    /// About this many nodes will come in all. Makes room for them, or for some millions of them:
    /// the number is somebody's guess.
    pub fn expect(&mut self, nodes: usize) {
        let Tree { index, slab, .. } = &mut self.tree;
        index.reserve(slab, nodes.min(EXPECTED_MAX));
    }

    /// A global session and its timeout in milliseconds.
    pub fn session(&mut self, session: SessionId, timeout_ms: i32) {
        self.tree.begin_session(session, timeout_ms);
    }

    /// An access control list under the index by which nodes name it.
    pub fn acl(&mut self, index: i64, list: &[Acl]) {
        let ours = self.tree.acls.acquire(list);
        if let Some(before) = self.lists.insert(index, ours) {
            self.tree.acls.release(before);
        }
    }

    /// A node; the root has the path "". `acl_index` -1 is `OPEN_ACL_UNSAFE`. An index that no list
    /// came with is possible in a fuzzy snapshot: nobody may use the node until the replay has
    /// repaired it.
    pub fn node(
        &mut self,
        path: &str,
        data: Option<&[u8]>,
        acl_index: i64,
        stat: &StatPersisted,
    ) -> Result<(), LoadError> {
        let acl = self.list(acl_index);
        if path.is_empty() {
            self.root(data, acl, stat);
            return Ok(());
        }
        let (parent_path, name) = split(path).ok_or_else(|| LoadError::BadPath(path.into()))?;
        if *parent_path != *self.parent.0 {
            let slot =
                self.tree.find(parent_path).ok_or_else(|| LoadError::NoParent(path.into()))?;
            self.parent.0.clear();
            self.parent.0.push_str(parent_path);
            self.parent.1 = slot;
        }
        let hash = self.tree.index.hash(path.as_bytes());
        let place = Place { parent: self.parent.1, path, name, hash };
        if self.tree.find_hashed(path, place.hash).is_some() {
            return Err(LoadError::Twice(path.into()));
        }
        self.tree.acls.acquire_again(acl);
        let added = self.tree.add_node(&place, None, data, acl, stat);
        added.map(|_| ()).ok_or_else(|| LoadError::NoRoom(path.into()))
    }

    /// The tree as of `zxid`: quota statistics are counted afresh and lists that no node uses are
    /// dropped. As with a standalone Apache, what comes from a server older than 3.5 has no
    /// /zookeeper/config.
    pub fn finish(mut self, zxid: Zxid) -> Tree {
        for index in self.lists.into_values() {
            self.tree.acls.release(index);
        }
        self.tree.rebuild_quotas();
        self.tree.last_zxid = zxid;
        self.tree
    }

    fn list(&mut self, index: i64) -> u32 {
        if index == OPEN_INDEX {
            return OPEN;
        }
        let acls = &mut self.tree.acls;
        *self.lists.entry(index).or_insert_with(|| acls.acquire(&nobody()))
    }

    fn root(&mut self, data: Option<&[u8]>, acl: u32, stat: &StatPersisted) {
        let tree = &mut self.tree;
        tree.acls.acquire_again(acl);
        let before = std::mem::replace(&mut tree.slab.record_mut(ROOT).acl, acl);
        tree.acls.release(before);
        tree.replace_data(ROOT, data);
        // A root that belongs to a session could be deleted by it.
        tree.set_stat(ROOT, &StatPersisted { ephemeral_owner: 0, ..*stat });
        tree.refresh_digest(ROOT, "");
    }
}

impl Default for Loader {
    fn default() -> Self {
        Self::new()
    }
}

/// Nodes for which room is made before they come: 40 MB of it.
const EXPECTED_MAX: usize = 8 << 20;
/// The index of `OPEN_ACL_UNSAFE` in snapshots.
pub(super) const OPEN_INDEX: i64 = -1;
