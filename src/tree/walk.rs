//! Point-in-time snapshots of a tree that goes on changing.
//!
//! The nodes are given out in slot order, batch by batch, so parents come first. Before the writer
//! changes a node that the walk has not reached, it puts the node's image aside; what is given out
//! is thus the tree as it was at the start, and the writer never waits for more than a batch.
//! Sessions and access control lists, which come before the nodes, are copied in slices in the same
//! way.
//!
//! Several snapshots may be under way at once, each a walk with a cursor and images of its own. A
//! node that several have not reached is put aside once and shared. A write beside no walk looks
//! whether there is one, and no more.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use crate::jute::data::{Acl, StatPersisted};
use crate::zxid::{SessionId, Zxid};

use super::acls::OPEN;
use super::copying::Copying;
use super::load::OPEN_INDEX;
use super::slab::{ROOT, Slot};
use super::{Tree, WalkId};

/// The parts of a snapshot before and after the nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotHead {
    /// The last transaction in it.
    pub zxid: Zxid,
    /// The digest of the tree that the nodes make up.
    pub digest: i64,
    /// Global sessions and their timeouts in milliseconds, by id. [`Tree::copy_head`] fills this
    /// in.
    pub sessions: Vec<(SessionId, i32)>,
    /// Every list that a node of the snapshot names by its index, as it was at the start; -1,
    /// `OPEN_ACL_UNSAFE`, goes without saying. [`Tree::copy_head`] fills this in.
    pub acls: Vec<(i64, Arc<[Acl]>)>,
}

/// Takes the nodes of a snapshot: path ("" for the root), data, index of the ACL, statistics.
pub type NodeSink<'a> = dyn FnMut(&str, Option<&[u8]>, i64, &StatPersisted) + 'a;

/// The tree knows no such walk: it has ended, or the tree has taken the place of the one that was
/// walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalkLost;

impl fmt::Display for WalkLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("another tree has taken the place of the one that was being written")
    }
}

impl std::error::Error for WalkLost {}

/// A snapshot being taken.
#[derive(Debug)]
pub(super) struct Walk {
    id: WalkId,
    sessions: Copying<SessionId, i32>,
    /// The first slot not yet given out for good.
    cursor: Slot,
    /// The first slot that did not exist at the start.
    end: Slot,
    /// The former content of slots that have changed since: `None` if there was none.
    /// Invariant: all of them are from `cursor` on.
    images: BTreeMap<Slot, Option<Arc<Image>>>,
}

#[derive(Debug)]
struct Image {
    path: String,
    data: Option<Box<[u8]>>,
    acl: u32,
    stat: StatPersisted,
}

impl Walk {
    fn lacks(&self, slot: Slot) -> bool {
        (self.cursor..self.end).contains(&slot) && !self.images.contains_key(&slot)
    }
}

impl Tree {
    /// Starts a snapshot of the tree as it is now. Nothing is copied yet. `None` when
    /// [`WALKS_MAX`] are under way.
    pub fn begin_snapshot(&mut self) -> Option<(WalkId, SnapshotHead)> {
        assert!(!self.is_amid, "a snapshot begins between two transactions");
        if self.walks.len() == WALKS_MAX {
            return None;
        }
        // A shell that does not wait for the end of it makes everybody wait.
        self.reap(usize::MAX);
        let id = WalkId(self.next_walk);
        self.next_walk += 1;
        let sessions = Copying::begin(None);
        let (cursor, end, images) = (ROOT, self.slab.end(), BTreeMap::new());
        self.walks.push(Walk { id, sessions, cursor, end, images });
        self.acls.begin_copying(id);
        let head = SnapshotHead {
            zxid: self.last_zxid,
            digest: self.digest,
            sessions: Vec::with_capacity(self.sessions.len()),
            acls: Vec::new(),
        };
        Some((id, head))
    }

    /// Goes on with the sessions and lists of the snapshot, as they were at its start: at most
    /// `max` of them. False when `head` is complete. The nodes come after that.
    pub fn copy_head(
        &mut self,
        walk: WalkId,
        head: &mut SnapshotHead,
        max: usize,
    ) -> Result<bool, WalkLost> {
        let Walk { sessions: copying, .. } =
            self.walks.iter_mut().find(|on| on.id == walk).ok_or(WalkLost)?;
        let mut left = max.max(1);
        if !copying.is_done() {
            let from = copying.after().map_or(Unbounded, Excluded);
            let live = self.sessions.range((from, Unbounded));
            let live = live.map(|(session, timeout_ms)| (*session, Some(*timeout_ms)));
            left -= copying.copy(live, left, &mut |session, timeout_ms| {
                head.sessions.push((session, timeout_ms))
            });
        }
        if copying.is_done() {
            let mut sink = |index, list| head.acls.push((i64::from(index), list));
            self.acls.copy(walk, left, &mut sink);
        }
        Ok(!self.is_head_copied(self.walk(walk)?))
    }

    fn is_head_copied(&self, walk: &Walk) -> bool {
        walk.sessions.is_done() && !self.acls.is_copying(walk.id)
    }

    /// Gives the next nodes of the snapshot to `sink`: about `max_nodes`, fewer if they are large.
    /// Returns the cursor to give to [`Self::advance_snapshot`], or `None` when those were the last
    /// ones.
    ///
    /// Calling it again without advancing gives the same nodes again.
    pub fn snapshot_batch(
        &self,
        walk: WalkId,
        max_nodes: usize,
        sink: &mut NodeSink<'_>,
    ) -> Result<Option<u32>, WalkLost> {
        let walk = self.walk(walk)?;
        assert!(self.is_head_copied(walk), "sessions and lists come before the nodes");
        let mut batch = Batch { tree: self, path: String::new(), parent: None, bytes: 0 };
        let mut slots = walk.cursor..walk.end;
        for slot in slots.by_ref().take(max_nodes.max(1)) {
            match walk.images.get(&slot) {
                Some(None) => {}
                Some(Some(image)) => batch.give_image(image, sink),
                None => batch.give(slot, sink),
            }
            if batch.bytes >= BATCH_BYTES {
                break;
            }
        }
        Ok((!slots.is_empty()).then_some(slots.start))
    }

    /// The nodes below `cursor` have been taken; their images are dropped.
    pub fn advance_snapshot(&mut self, walk: WalkId, cursor: u32) {
        if let Some(walk) = self.walks.iter_mut().find(|on| on.id == walk)
            && cursor > walk.cursor
        {
            walk.cursor = cursor.min(walk.end);
            while walk.images.first_key_value().is_some_and(|(slot, _)| *slot < walk.cursor) {
                walk.images.pop_first();
            }
        }
    }

    /// Ends the snapshot, whether all of it has been taken or not. There may be no such walk.
    /// Returns what was put aside for it: dropping that takes time if much has changed.
    pub fn end_snapshot(&mut self, walk: WalkId) -> impl Sized + use<> {
        self.acls.end_copying(walk);
        let at = self.walks.iter().position(|on| on.id == walk);
        at.map(|at| self.walks.swap_remove(at))
    }

    /// This tree takes the place of `before`: who walks that one finds no walk here, whatever
    /// begins here later.
    pub fn succeed(&mut self, before: &Self) {
        assert!(self.walks.is_empty(), "nobody walks a tree that is not in its place");
        self.next_walk = self.next_walk.max(before.next_walk);
    }

    /// The nodes that are put aside for a walk.
    #[cfg(test)]
    pub(super) fn images_kept(&self, walk: WalkId) -> Option<usize> {
        self.walk(walk).ok().map(|walk| walk.images.len())
    }

    fn walk(&self, walk: WalkId) -> Result<&Walk, WalkLost> {
        self.walks.iter().find(|on| on.id == walk).ok_or(WalkLost)
    }

    /// A global session begins, or begins anew with another timeout.
    pub(super) fn begin_session(&mut self, session: SessionId, timeout_ms: i32) {
        self.touch_session(session);
        self.sessions.insert(session, timeout_ms);
    }

    /// A global session ends, if there is one.
    pub(super) fn end_session(&mut self, session: SessionId) {
        self.touch_session(session);
        self.sessions.remove(&session);
    }

    fn touch_session(&mut self, session: SessionId) {
        for walk in &mut self.walks {
            walk.sessions.touch(session, || self.sessions.get(&session).copied());
        }
    }

    /// To be called before anything of a node that a snapshot holds is changed, and before it is
    /// removed.
    #[inline]
    pub(super) fn touch(&mut self, slot: Slot) {
        if self.walks.iter().any(|walk| walk.lacks(slot)) {
            self.put_aside(slot);
        }
    }

    #[cold]
    fn put_aside(&mut self, slot: Slot) {
        let record = self.slab.record(slot);
        let image = Arc::new(Image {
            path: self.path(slot),
            data: record.data().map(Box::from),
            acl: record.acl,
            stat: self.persisted(slot),
        });
        for walk in self.walks.iter_mut().filter(|walk| walk.lacks(slot)) {
            walk.images.insert(slot, Some(image.clone()));
        }
    }

    /// To be called when a slot is taken by a new node.
    pub(super) fn note_new(&mut self, slot: Slot) {
        for walk in self.walks.iter_mut().filter(|walk| walk.lacks(slot)) {
            walk.images.insert(slot, None);
        }
    }
}

/// One batch; it remembers the path of the last parent, since siblings mostly stand together.
struct Batch<'a> {
    tree: &'a Tree,
    /// The parent's path and, after it, the last node's name.
    path: String,
    parent: Option<(Slot, usize)>,
    bytes: usize,
}

impl Batch<'_> {
    fn give(&mut self, slot: Slot, sink: &mut NodeSink<'_>) {
        let record = self.tree.slab.record(slot);
        if !record.is_live() {
            return;
        }
        if slot == ROOT {
            self.path.clear();
        } else {
            match self.parent {
                Some((parent, len)) if parent == record.parent => self.path.truncate(len),
                _ => {
                    self.tree.slab.path_into(record.parent, &mut self.path);
                    self.parent = Some((record.parent, self.path.len()));
                }
            }
            self.path.push('/');
            self.path.push_str(record.name());
        }
        self.bytes += self.path.len() + record.data_len();
        sink(&self.path, record.data(), written_index(record.acl), &self.tree.persisted(slot));
    }

    fn give_image(&mut self, image: &Image, sink: &mut NodeSink<'_>) {
        self.bytes += image.path.len() + image.data.as_ref().map_or(0, |data| data.len());
        sink(&image.path, image.data.as_deref(), written_index(image.acl), &image.stat);
    }
}

fn written_index(acl: u32) -> i64 {
    if acl == OPEN { OPEN_INDEX } else { i64::from(acl) }
}

/// A batch ends once it has given out this many bytes: readers and the writer wait for it.
const BATCH_BYTES: usize = 1 << 20;
/// Snapshots that may be under way at once: one to a file, and a learner or several that need the
/// whole tree.
pub(super) const WALKS_MAX: usize = 8;
