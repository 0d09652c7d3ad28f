//! Snapshots on the simulated disk, step by step: nodes in batches while the tree goes on, then the
//! flush, the name, the directory, and only then the purge of what the snapshot replaces.

use crate::snapshot::{Codec, Encoder, FileName, Trailers, Writer, ZxidDigest};
use crate::tree::{SnapshotHead, Tree, WalkId};
use crate::zxid::Zxid;

use super::defect::Defect;
use super::disk::{DirFlush, Disk, DiskError, Flush};
use super::purge::purge;

/// A snapshot being taken.
pub(crate) struct Snap {
    walk: WalkId,
    head: SnapshotHead,
    writer: Option<Writer>,
    bytes: Vec<u8>,
    stage: Stage,
    codec: Codec,
    defect: Option<Defect>,
}

#[derive(Debug)]
enum Stage {
    Head,
    Nodes,
    Write,
    Sync(Option<Flush>),
    Rename,
    SyncDir(Option<DirFlush>),
    Purge,
}

impl std::fmt::Debug for Snap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Snap({}, {:?})", self.head.zxid, self.stage)
    }
}

impl Snap {
    /// Begins a snapshot of the tree as it is now.
    pub(crate) fn begin(tree: &mut Tree, codec: Codec, defect: Option<Defect>) -> Self {
        let begun = tree.begin_snapshot();
        let (walk, head) = begun.expect("a server takes one snapshot at a time");
        Self {
            walk,
            head,
            writer: Some(Writer::new()),
            bytes: Vec::new(),
            stage: Stage::Head,
            codec,
            defect,
        }
    }

    /// Does the next step. False when it was the last.
    pub(crate) fn step(
        &mut self,
        tree: &mut Tree,
        disk: &mut Disk,
        log: Option<&str>,
        committed: Zxid,
    ) -> Result<bool, DiskError> {
        let name = FileName { zxid: self.head.zxid, codec: self.codec }.to_string();
        let draft = format!("draft.{name}");
        self.stage = match std::mem::replace(&mut self.stage, Stage::Purge) {
            Stage::Head => self.head(tree),
            Stage::Nodes => self.nodes(tree),
            Stage::Write => {
                disk.create(&draft)?;
                disk.write(&draft, 0, &packed(self.codec, &self.bytes))?;
                if self.defect == Some(Defect::SnapshotNotFlushed) {
                    Stage::Rename
                } else {
                    Stage::Sync(None)
                }
            }
            Stage::Sync(None) => Stage::Sync(Some(disk.begin_flush(&draft)?)),
            Stage::Sync(Some(flush)) => {
                disk.end_flush(flush)?;
                Stage::Rename
            }
            Stage::Rename => {
                disk.rename(&draft, &name)?;
                match self.defect {
                    Some(Defect::SnapshotPurgeBeforeDirSync) => Stage::Purge,
                    _ => Stage::SyncDir(None),
                }
            }
            Stage::SyncDir(None) => Stage::SyncDir(Some(disk.begin_dir_flush()?)),
            Stage::SyncDir(Some(flush)) => {
                disk.end_dir_flush(&flush)?;
                Stage::Purge
            }
            Stage::Purge => {
                let flushes = self.defect != Some(Defect::SnapshotPurgeBeforeDirSync);
                purge(disk, SNAPSHOTS_KEPT, log, committed, flushes)?;
                return Ok(false);
            }
        };
        Ok(true)
    }

    /// Ends it without a snapshot.
    pub(crate) fn give_up(self, tree: &mut Tree, disk: &mut Disk) -> Result<(), DiskError> {
        tree.end_snapshot(self.walk);
        for name in disk.list().into_iter().filter(|name| name.starts_with("draft.")) {
            disk.unlink(&name)?;
        }
        Ok(())
    }

    fn head(&mut self, tree: &mut Tree) -> Stage {
        if tree.copy_head(self.walk, &mut self.head, HEAD_SLICE).expect(WALKS) {
            return Stage::Head;
        }
        if self.defect == Some(Defect::SnapshotWithoutSessions) {
            self.head.sessions.clear();
        }
        if let Some(writer) = &mut self.writer {
            writer.head(&mut self.bytes, &self.head.sessions, &self.head.acls);
        }
        Stage::Nodes
    }

    fn nodes(&mut self, tree: &mut Tree) -> Stage {
        let Some(mut writer) = self.writer.take() else { return Stage::Write };
        let bytes = &mut self.bytes;
        let mut sink = |path: &str, data: Option<&[u8]>, acl: i64, stat: &_| {
            writer.node(bytes, path, data, acl, stat)
        };
        match tree.snapshot_batch(self.walk, NODES_PER_BATCH, &mut sink).expect(WALKS) {
            Some(cursor) => {
                tree.advance_snapshot(self.walk, cursor);
                self.writer = Some(writer);
                Stage::Nodes
            }
            None => {
                tree.end_snapshot(self.walk);
                if self.defect == Some(Defect::SnapshotNotPointInTime) {
                    // The nodes are those of the begin, the zxid is that of the end.
                    self.head.zxid = tree.last_zxid();
                    self.head.digest = tree.digest();
                }
                let digest =
                    ZxidDigest { zxid: self.head.zxid, version: 2, digest: self.head.digest };
                let trailers = Trailers { digest: Some(digest), last_zxid: Some(self.head.zxid) };
                writer.finish(&mut self.bytes, &trailers);
                Stage::Write
            }
        }
    }
}

fn packed(codec: Codec, plain: &[u8]) -> Vec<u8> {
    let (mut encoder, mut out) = (Encoder::new(codec), Vec::new());
    encoder.write(plain, &mut out);
    encoder.finish(&mut out);
    out
}

/// Takes a whole snapshot at once and makes it durable.
pub(crate) fn write_whole(disk: &mut Disk, tree: &mut Tree) -> Result<(), DiskError> {
    let mut snap = Snap::begin(tree, Codec::Plain, None);
    while snap.step(tree, disk, None, Zxid::MAX)? {}
    Ok(())
}

/// The tree of a server here is never replaced.
const WALKS: &str = "a walk goes on to its end";
const HEAD_SLICE: usize = 3;
const NODES_PER_BATCH: usize = 4;
/// `autopurge.snapRetainCount`, smaller than Apache allows.
const SNAPSHOTS_KEPT: usize = 1;
