//! The changes that are prepared and not yet applied: the overlay through which prepare sees the
//! tree.
//!
//! A request is judged against the tree as it will be once everything before it is committed
//! (`outstandingChanges` in Apache's server). When nothing is outstanding a look-up costs one
//! comparison.

use std::sync::Arc;

use bytes::Bytes;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use hashbrown::hash_map::{Entry, EntryRef};

use crate::jute::data::{Acl, StatPersisted};
use crate::tree::{EPHEMERALS_MANY, Node, NodeId, Tree, node_digest};
use crate::txn::Txn;
use crate::zxid::{SessionId, Zxid};

/// A node as it will be after `zxid` (`ChangeRecord`).
#[derive(Clone, Debug)]
pub(super) struct ChangeRecord {
    /// The last transaction that changes the node.
    pub(super) zxid: Zxid,
    /// `None` once it is deleted.
    pub(super) stat: Option<StatPersisted>,
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
    node: Option<Node<'a>>,
    change: Option<&'a ChangeRecord>,
}

/// The overlay, and the digest of the tree after it.
#[derive(Debug)]
pub(super) struct Outstanding {
    by_path: HashMap<Box<str>, ChangeRecord, FixedState>,
    owners: Owners,
    digest: i64,
    digests: bool,
    open: Arc<[Acl]>,
    /// Sessions with very many ephemerals, none of them in `by_path`, that end with a transaction
    /// that is not yet applied: the nodes are gone for everyone after it.
    departing: Vec<(SessionId, Zxid)>,
    /// `digest` is not known: see [`Self::is_blind`].
    blind: bool,
    /// The records to put back if the multi being prepared fails; outside a multi nothing is noted.
    undo: Option<Undo>,
}

/// The number of nodes in the overlay that each session owns: a session that ends looks for its own
/// only if it has any, or thousands that end at once would each go through all that the others
/// leave behind.
#[derive(Debug)]
struct Owners(HashMap<i64, u32, FixedState>);

/// The records that a multi has put, in order.
#[derive(Debug)]
struct Undo {
    digest: i64,
    /// The paths, one after the other.
    paths: String,
    /// For each: where it ends in `paths`, and the record that was there before.
    records: Vec<(usize, Option<Box<ChangeRecord>>)>,
}

impl Outstanding {
    /// Nothing outstanding over `tree`. Without `digests` none are computed. Who can guess `seed`
    /// can find paths that collide.
    pub(super) fn new(tree: &Tree, digests: bool, seed: u64) -> Self {
        let by_path = HashMap::with_hasher(FixedState::with_seed(seed));
        let owners = Owners(HashMap::with_hasher(FixedState::with_seed(seed)));
        Self {
            by_path,
            owners,
            digest: tree.digest(),
            digests,
            open: Arc::from([Acl::open()]),
            departing: Vec::new(),
            blind: false,
            undo: None,
        }
    }

    /// The digest of the tree after all that is outstanding.
    pub(super) fn digest(&self) -> i64 {
        self.digest
    }

    /// The number of nodes that are outstanding.
    pub(super) fn len(&self) -> usize {
        self.by_path.len()
    }

    /// The node at `path`, if it will exist.
    pub(super) fn view<'a>(&'a self, tree: &'a Tree, path: &str) -> Option<View<'a>> {
        match self.record(path) {
            None => self.without_departing(tree, path, tree.get(path).map(View::of_node)?),
            Some(change) => {
                let stat = change.stat?;
                let node = if change.is_all_own() { None } else { tree.get(path) };
                let data = match &change.data {
                    Overlaid::Changed(data) => data.as_deref(),
                    Overlaid::Unchanged => node.and_then(|node| node.data()),
                };
                let (children, digest) = (change.children, change.digest);
                self.without_departing(
                    tree,
                    path,
                    View { stat, children, digest, data, node, change: Some(change) },
                )
            }
        }
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
        if !tree.has_many_ephemerals(session) || self.concerns(tree, session) {
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
        let outstanding = self.owners.0.get(&session.0).copied().unwrap_or(0) as usize;
        outstanding + tree.ephemerals_owned(session) >= EPHEMERALS_MANY
            && self.concerns(tree, session)
    }

    /// Whether any of the session's ephemerals is outstanding.
    fn concerns(&self, tree: &Tree, session: SessionId) -> bool {
        let is_own = |path: &str| {
            tree.get(path).is_some_and(|node| node.persisted().ephemeral_owner == session.0)
        };
        self.owners.0.contains_key(&session.0) || self.by_path.keys().any(|path| is_own(path))
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

    /// The tree has removed all that had departed: the digest is known again. Not while a multi is
    /// prepared, which may be undone: this is to be called after it.
    pub(super) fn see_again(&mut self, tree: &Tree) {
        let in_multi = self.undo.is_some();
        if !self.blind || in_multi || tree.is_reaping() || !self.departing.is_empty() {
            return;
        }
        self.blind = false;
        self.digest = tree.digest();
        for (path, change) in &self.by_path {
            let before = tree.get(path).map_or(0, |node| node.digest());
            self.digest =
                self.digest.wrapping_sub(i64::from(before)).wrapping_add(i64::from(change.digest));
        }
    }

    /// Fills in the digest of what the node at `path` becomes, which will hold `data`.
    pub(super) fn set_digest(&self, path: &str, next: &mut ChangeRecord, data: Option<&[u8]>) {
        if self.digests {
            next.digest = next.stat.as_ref().map_or(0, |stat| node_digest(path, data, stat));
        }
    }

    /// Notes what becomes of the node at `path`; `before` is its digest so far, 0 if there was
    /// none.
    pub(super) fn put(&mut self, path: &str, next: ChangeRecord, before: u32) {
        debug_assert!(next.stat.is_some() || next.children == 0, "{path} is deleted with children");
        debug_assert!(next.stat.is_some() || next.digest == 0, "{path} is gone and counted");
        self.digest =
            self.digest.wrapping_sub(i64::from(before)).wrapping_add(i64::from(next.digest));
        self.owners.enter(&next);
        let replaced = match self.by_path.entry_ref(key(path)) {
            EntryRef::Occupied(mut entry) => Some(entry.insert(next)),
            EntryRef::Vacant(entry) => {
                entry.insert_with_key(key(path).into(), next);
                None
            }
        };
        if let Some(replaced) = &replaced {
            self.owners.leave(replaced);
        }
        if let Some(undo) = &mut self.undo {
            undo.paths.push_str(key(path));
            undo.records.push((undo.paths.len(), replaced.map(Box::new)));
        }
    }

    /// A list to be kept in a record; the open one, which is nearly every list, is shared.
    pub(super) fn shared(&self, list: &[Acl]) -> Arc<[Acl]> {
        if list == &*self.open { self.open.clone() } else { list.into() }
    }

    /// The ephemerals that `session` will own: those of the tree less those to be deleted, and
    /// those to be made; sorted.
    pub(super) fn ephemerals_of(&self, tree: &Tree, session: SessionId) -> Vec<String> {
        let mut paths = tree.ephemerals_of(session);
        if !self.by_path.is_empty() {
            paths.retain(|path| self.record(path).is_none());
        }
        if mutant!(UnbornEphemeralsMissed) {
            return paths;
        }
        if self.owners.0.contains_key(&session.0) {
            let owned = |change: &ChangeRecord| change.owner() == session.0;
            paths.extend(
                self.by_path
                    .iter()
                    .filter(|(_, change)| owned(change))
                    .map(|(path, _)| path.to_string()),
            );
            paths.sort_unstable();
        }
        paths
    }

    /// A multi of this many operations begins: from here on everything can be taken back.
    pub(super) fn begin_multi(&mut self, ops: usize) {
        assert!(self.undo.is_none(), "one multi at a time");
        self.by_path.reserve(ops.min(RESERVED_MAX));
        let records = Vec::with_capacity(ops);
        self.undo = Some(Undo { digest: self.digest, paths: String::new(), records });
    }

    /// The multi stands.
    pub(super) fn keep_multi(&mut self) {
        assert!(self.undo.is_some(), "a multi was begun");
        self.undo = None;
    }

    /// The multi failed: everything since [`Self::begin_multi`] is undone, last first. What `tree`
    /// shows by now needs no record.
    pub(super) fn roll_back(&mut self, tree: &Tree) {
        let Some(undo) = self.undo.take() else { return };
        if mutant!(MultiNotRolledBack) {
            return;
        }
        self.digest = undo.digest;
        let mut records = undo.records;
        while let Some((end, record)) = records.pop() {
            let start = records.last().map_or(0, |(end, _)| *end);
            let path = undo.paths.get(start..end).unwrap_or_default();
            let undone = match record.filter(|record| record.zxid > tree.last_zxid()) {
                Some(record) => {
                    self.owners.enter(&record);
                    self.by_path.insert(path.into(), *record)
                }
                None => self.by_path.remove(path),
            };
            if let Some(undone) = undone {
                self.owners.leave(&undone);
            }
        }
    }

    /// `txn` is applied: nodes that nothing later changes are forgotten. `tree` shows it already.
    pub(super) fn applied(&mut self, tree: &Tree, zxid: Zxid, txn: &Txn, names_all_paths: bool) {
        if self.by_path.is_empty() {
            return;
        }
        if names_all_paths {
            self.forget_txn(zxid, txn);
        } else {
            for (_, change) in self.by_path.extract_if(|_, change| change.zxid == zxid) {
                self.owners.leave(&change);
            }
        }
        if self.by_path.is_empty() {
            debug_assert!(
                self.owners.0.is_empty(),
                "every node that was counted has been counted out"
            );
            self.digest = tree.digest();
        }
    }

    fn forget_txn(&mut self, zxid: Zxid, txn: &Txn) {
        match txn {
            Txn::SetData(set) | Txn::Reconfig(set) => self.forget(zxid, &set.path),
            Txn::SetAcl { path, .. } => self.forget(zxid, path),
            Txn::Create(create) => self.forget_with_parent(zxid, &create.path),
            Txn::Delete { path } | Txn::DeleteContainer { path } => {
                self.forget_with_parent(zxid, path)
            }
            Txn::CloseSession { paths } => {
                paths.iter().flatten().for_each(|path| self.forget_with_parent(zxid, path));
            }
            Txn::Multi(txns) => txns.iter().for_each(|txn| self.forget_txn(zxid, txn)),
            Txn::CreateSession { .. } | Txn::Check { .. } | Txn::Error(_) => {}
        }
    }

    fn forget_with_parent(&mut self, zxid: Zxid, path: &str) {
        self.forget(zxid, path);
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.forget(zxid, parent);
        }
    }

    fn forget(&mut self, zxid: Zxid, path: &str) {
        if let EntryRef::Occupied(entry) = self.by_path.entry_ref(key(path))
            && (entry.get().zxid == zxid || mutant!(OverlayForgottenEarly))
        {
            let change = entry.remove();
            self.owners.leave(&change);
        }
    }

    fn record(&self, path: &str) -> Option<&ChangeRecord> {
        if self.by_path.is_empty() { None } else { self.by_path.get(key(path)) }
    }
}

impl Owners {
    fn enter(&mut self, change: &ChangeRecord) {
        if change.owner() != 0 {
            *self.0.entry(change.owner()).or_default() += 1;
        }
    }

    fn leave(&mut self, change: &ChangeRecord) {
        debug_assert!(change.owner() == 0 || self.0.contains_key(&change.owner()), "{change:?}");
        if let Entry::Occupied(mut count) = self.0.entry(change.owner()) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

impl ChangeRecord {
    /// A node that is gone after `zxid`.
    pub(super) fn deleted(zxid: Zxid) -> Self {
        Self {
            zxid,
            stat: None,
            children: 0,
            digest: 0,
            counter: 0,
            acl: Overlaid::Changed(Arc::from([])),
            data: Overlaid::Changed(None),
        }
    }

    /// The stored owner, 0 for none.
    fn owner(&self) -> i64 {
        self.stat.map_or(0, |stat| stat.ephemeral_owner)
    }

    fn is_all_own(&self) -> bool {
        matches!((&self.acl, &self.data), (Overlaid::Changed(_), Overlaid::Changed(_)))
    }
}

impl<'a> View<'a> {
    fn of_node(node: Node<'a>) -> Self {
        Self {
            stat: node.persisted(),
            children: node.num_children(),
            digest: node.digest(),
            data: node.data(),
            node: Some(node),
            change: None,
        }
    }

    /// Where the tree has the node, if nothing outstanding concerns it. What is prepared now finds
    /// it there when it is applied: whatever may remove it before that is outstanding.
    pub(super) fn unchanged(&self) -> Option<NodeId> {
        self.node.filter(|_| self.change.is_none()).map(|node| node.id())
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
            stat: Some(self.stat),
            children: self.children,
            digest: self.digest,
            counter: self.counter(zxid),
            acl,
            data,
        }
    }
}

/// Records for which a multi makes room at once.
const RESERVED_MAX: usize = 1 << 15;

/// "" and "/" are one node.
fn key(path: &str) -> &str {
    if path == "/" { "" } else { path }
}
