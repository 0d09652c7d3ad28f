//! Finds the snapshot to start from.

use std::borrow::Cow;

use crate::jute::data::StatPersisted;
use crate::snapshot::{FileName, Part, Reader, Trailers, decompress, is_candidate};
use crate::tree::{Loader, Tree};
use crate::zxid::Zxid;

use super::error::Rejection;
use super::{Dir, RecoveryError, RecoveryReport, RecoverySettings, Storage};

/// Where the replay starts.
pub(super) struct Start {
    pub(super) tree: Tree,
    /// The zxid of the snapshot's name: the replay starts behind it.
    pub(super) zxid: Zxid,
    /// The digest that the tree must have at a zxid of the replay.
    pub(super) expected: Option<(Zxid, i64)>,
    /// Whether a node has a TTL.
    pub(super) has_ttl: bool,
}

impl Start {
    /// The tree of a new server.
    pub(super) fn empty(seed: u64) -> Self {
        Self { tree: Tree::with_seed(seed), zxid: Zxid::ZERO, expected: None, has_ttl: false }
    }
}

/// Loads the newest whole snapshot; those that are newer and not whole are noted in the report.
pub(super) fn newest<S: Storage>(
    storage: &mut S,
    settings: &RecoverySettings,
    report: &mut RecoveryReport,
) -> Result<Option<Start>, RecoveryError> {
    let names = storage.list(Dir::Snapshots).map_err(RecoveryError::storage)?;
    let mut files: Vec<_> = names.into_iter().filter_map(|name| Some((FileName::parse(&name)?, name))).collect();
    files.sort_by(|(a, a_name), (b, b_name)| (b.zxid, b_name).cmp(&(a.zxid, a_name)));
    for (file, name) in files.into_iter().take(TRIED_MAX) {
        let bytes = storage.read(Dir::Snapshots, &name).map_err(RecoveryError::storage)?;
        match load(file, bytes.as_ref(), settings.seed) {
            Ok(mut start) => {
                start.expected = start.expected.filter(|_| settings.check_digests);
                report.snapshot = Some(name);
                return Ok(Some(start));
            }
            Err(rejection) => report.rejected.push((name, rejection.to_string())),
        }
    }
    Ok(None)
}

/// Whether a snapshot file is whole: it is read to its last seal. The error says why not. `rest` is called every few hundred
/// nodes.
pub fn verify(name: &str, bytes: &[u8], rest: &mut dyn FnMut()) -> Result<(), Rejection> {
    let file = FileName::parse(name).ok_or(Rejection::NotACandidate)?;
    let plain = unpack(file, bytes)?;
    let mut reader = Reader::new(&plain).map_err(Rejection::Snapshot)?;
    let mut parts = 0_usize;
    while reader.next_part().map_err(Rejection::Snapshot)?.is_some() {
        parts += 1;
        if parts.is_multiple_of(PARTS_PER_REST) {
            rest();
        }
    }
    Ok(())
}

fn load(file: FileName, bytes: &[u8], seed: u64) -> Result<Start, Rejection> {
    let plain = unpack(file, bytes)?;
    let mut reader = Reader::new(&plain).map_err(Rejection::Snapshot)?;
    let mut loader = Loader::with_seed(seed);
    let mut has_ttl = false;
    while let Some(part) = reader.next_part().map_err(Rejection::Snapshot)? {
        match part {
            Part::Session(session, timeout_ms) => loader.session(session, timeout_ms),
            Part::Acl(index, list) => loader.acl(index, &list),
            Part::Node { path, data, acl_index, stat } => {
                has_ttl |= is_ttl(&stat);
                loader.node(&path, data, acl_index, &stat).map_err(Rejection::Load)?;
            }
        }
    }
    let trailers: Trailers = reader.trailers().unwrap_or_default();
    let tree = loader.finish(file.zxid);
    Ok(Start { tree, zxid: file.zxid, expected: trailers.digest_to_expect(file.zxid), has_ttl })
}

fn unpack(file: FileName, bytes: &[u8]) -> Result<Cow<'_, [u8]>, Rejection> {
    if !is_candidate(file.codec, bytes, bytes, bytes.len() as u64) {
        return Err(Rejection::NotACandidate);
    }
    if file.codec == crate::snapshot::Codec::Plain {
        return Ok(Cow::Borrowed(bytes));
    }
    // No byte of a packed snapshot can stand for more than this many.
    let bytes_max = bytes.len().saturating_mul(PACKING_MAX);
    decompress(file.codec, bytes, bytes_max).map(Cow::Owned).map_err(Rejection::Decompress)
}

/// Whether the owner is a TTL in disguise: the highest byte is 0xff (EphemeralType of 3.5.4 and later).
pub(super) fn is_ttl(stat: &StatPersisted) -> bool {
    stat.ephemeral_owner as u64 >> TTL_SHIFT == TTL_MARK
}

/// Snapshots that are tried, newest first, as in Apache.
const TRIED_MAX: usize = 100;
/// Deflate's highest ratio is 1032.
const PACKING_MAX: usize = 1100;
/// Nodes that are verified at a stretch.
const PARTS_PER_REST: usize = 256;
const TTL_SHIFT: u32 = 56;
const TTL_MARK: u64 = 0xff;
