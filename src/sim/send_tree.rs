//! A tree on its way to a learner, piece by piece, while it goes on changing.

use crate::snapshot::WireWriter;
use crate::tree::{SnapshotHead, Tree, WalkId};

/// See the module.
#[derive(Debug)]
pub(crate) struct SendTree {
    /// Absent while nobody may begin.
    walk: Option<(WalkId, SnapshotHead)>,
    has_head: bool,
}

impl SendTree {
    /// Begins with the tree as it is now, if that may be.
    pub(crate) fn begin(tree: &mut Tree) -> Self {
        let mut sending = Self { walk: None, has_head: false };
        sending.try_begin(tree);
        sending
    }

    fn try_begin(&mut self, tree: &mut Tree) {
        if self.walk.is_none() && !tree.is_amid() && !tree.is_reaping() {
            self.walk = tree.begin_snapshot();
        }
    }

    /// The next piece.
    pub(crate) fn next(&mut self, tree: &mut Tree) -> TreePiece {
        self.try_begin(tree);
        let Some((walk, head)) = &mut self.walk else { return TreePiece::Later };
        let mut bytes = Vec::new();
        if !self.has_head {
            return match tree.copy_head(*walk, head, HEAD_SLICE) {
                Err(_) => TreePiece::Lost,
                Ok(true) => TreePiece::Piece(bytes),
                Ok(false) => {
                    self.has_head = true;
                    let mut writer = WireWriter::new(&mut bytes);
                    writer.count(head.sessions.len());
                    head.sessions.iter().for_each(|session| writer.session(session));
                    writer.count(head.acls.len());
                    head.acls.iter().for_each(|acl| writer.acl(acl));
                    TreePiece::Piece(bytes)
                }
            };
        }
        let mut writer = WireWriter::new(&mut bytes);
        let mut sink = |path: &str, data: Option<&[u8]>, acl: i64, stat: &_| {
            writer.node(path, data, acl, stat);
        };
        match tree.snapshot_batch(*walk, NODES_PER_BATCH, &mut sink) {
            Err(_) => TreePiece::Lost,
            Ok(Some(cursor)) => {
                tree.advance_snapshot(*walk, cursor);
                TreePiece::Piece(bytes)
            }
            Ok(None) => {
                WireWriter::new(&mut bytes).end();
                tree.end_snapshot(*walk);
                TreePiece::Last(bytes)
            }
        }
    }

    /// Ends it unfinished.
    pub(crate) fn give_up(self, tree: &mut Tree) {
        if let Some((walk, _)) = self.walk {
            tree.end_snapshot(walk);
        }
    }
}

/// A piece of a tree on its way out.
#[derive(Debug)]
pub(crate) enum TreePiece {
    /// Nobody may begin with the tree now.
    Later,
    Piece(Vec<u8>),
    Last(Vec<u8>),
    /// Nobody wants it any more.
    Lost,
}

const HEAD_SLICE: usize = 3;
const NODES_PER_BATCH: usize = 4;
