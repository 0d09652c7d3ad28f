//! Point-in-time snapshots of a tree that goes on changing.
//!
//! The nodes are given out in slot order, batch by batch, so parents come first. Before the writer
//! changes a node that the walk has not reached, it puts the node's image aside; what is given out
//! is thus the tree as it was at the start, and the writer never waits for more than a batch.
//! Sessions and access control lists, which come before the nodes, are copied in slices in the same
//! way.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use crate::jute::data::{Acl, StatPersisted};
use crate::zxid::{SessionId, Zxid};

use super::Tree;
use super::acls::OPEN;
use super::copying::Copying;
use super::load::OPEN_INDEX;
use super::slab::{ROOT, Slot};

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
pub(crate) type NodeSink<'a> = dyn FnMut(&str, Option<&[u8]>, i64, &StatPersisted) + 'a;

/// A snapshot being taken.
#[derive(Debug)]
pub(super) struct Walk {
    sessions: Copying<SessionId, i32>,
    /// The first slot not yet given out for good.
    cursor: Slot,
    /// The first slot that did not exist at the start.
    end: Slot,
    /// The former content of slots that have changed since: `None` if there was none.
    images: BTreeMap<Slot, Option<Image>>,
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
    /// Starts a snapshot of the tree as it is now; one that was under way is given up. Nothing is
    /// copied yet.
    pub fn begin_snapshot(&mut self) -> SnapshotHead {
        assert!(!self.is_amid, "a snapshot begins between two transactions");
        // A shell that does not wait for the end of it makes everybody wait.
        self.reap(usize::MAX);
        let sessions = Copying::begin(None);
        self.walk =
            Some(Walk { sessions, cursor: ROOT, end: self.slab.end(), images: BTreeMap::new() });
        self.acls.begin_copying();
        SnapshotHead {
            zxid: self.last_zxid,
            digest: self.digest,
            sessions: Vec::with_capacity(self.sessions.len()),
            acls: Vec::new(),
        }
    }

    /// Goes on with the sessions and lists of the snapshot, as they were at its start: at most
    /// `max` of them. False when `head` is complete (or no snapshot is being taken). The nodes come
    /// after that.
    pub fn copy_head(&mut self, head: &mut SnapshotHead, max: usize) -> bool {
        let Some(Walk { sessions: copying, .. }) = &mut self.walk else { return false };
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
            self.acls.copy(left, &mut |index, list| head.acls.push((i64::from(index), list)));
        }
        !self.is_head_copied()
    }

    fn is_head_copied(&self) -> bool {
        self.walk.as_ref().is_none_or(|walk| walk.sessions.is_done()) && !self.acls.is_copying()
    }

    /// Gives the next nodes of the snapshot to `sink`: about `max_nodes`, fewer if they are large.
    /// Returns the cursor to give to [`Self::advance_snapshot`], or `None` when those were the last
    /// ones (or no snapshot is being taken).
    ///
    /// Calling it again without advancing gives the same nodes again.
    pub fn snapshot_batch(&self, max_nodes: usize, sink: &mut NodeSink<'_>) -> Option<u32> {
        let walk = self.walk.as_ref()?;
        assert!(self.is_head_copied(), "sessions and lists come before the nodes");
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
        (!slots.is_empty()).then_some(slots.start)
    }

    /// The nodes below `cursor` have been taken; their images are dropped.
    pub fn advance_snapshot(&mut self, cursor: u32) {
        if let Some(walk) = &mut self.walk
            && cursor > walk.cursor
        {
            walk.cursor = cursor.min(walk.end);
            walk.images = walk.images.split_off(&walk.cursor);
        }
    }

    /// Ends the snapshot, whether all of it has been taken or not.
    pub fn end_snapshot(&mut self) {
        self.walk = None;
        self.acls.end_copying();
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
        if let Some(walk) = &mut self.walk {
            walk.sessions.touch(session, || self.sessions.get(&session).copied());
        }
    }

    /// To be called before anything of a node that a snapshot holds is changed, and before it is
    /// removed.
    pub(super) fn touch(&mut self, slot: Slot) {
        if !self.walk.as_ref().is_some_and(|walk| walk.lacks(slot)) {
            return;
        }
        let record = self.slab.record(slot);
        let image = Image {
            path: self.path(slot),
            data: record.data().map(Box::from),
            acl: record.acl,
            stat: self.persisted(slot),
        };
        if let Some(walk) = &mut self.walk {
            walk.images.insert(slot, Some(image));
        }
    }

    /// To be called when a slot is taken by a new node.
    pub(super) fn note_new(&mut self, slot: Slot) {
        if let Some(walk) = &mut self.walk
            && walk.lacks(slot)
        {
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
