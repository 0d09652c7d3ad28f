//! Finds the snapshot to start from.

use crate::jute::data::StatPersisted;
use crate::pieces::{ReadError, Source};
use crate::snapshot::{FileName, Part, Reader, SnapshotError, Trailers, is_candidate};
use crate::tree::{LoadError, Loader, Tree};
use crate::zxid::Zxid;

use super::error::Rejection;
use super::{Dir, RecoveryError, RecoveryReport, RecoverySettings, Storage, is_unfinished};

/// The zxid at which the replay starts.
pub(super) struct Start {
    pub(super) tree: Tree,
    /// The zxid of the snapshot's name: the replay starts after it.
    pub(super) zxid: Zxid,
    /// The last transaction of which the snapshot may hold something: Apache's are written while
    /// the tree changes.
    pub(super) complete_at: Zxid,
    /// The digest that the tree must have at a zxid of the replay.
    pub(super) expected: Option<(Zxid, i64)>,
    /// Whether a node has a TTL.
    pub(super) has_ttl: bool,
}

impl Start {
    /// The tree of a new server.
    pub(super) fn empty(seed: u64) -> Self {
        let (tree, zxid) = (Tree::with_seed(seed), Zxid::ZERO);
        Self { tree, zxid, complete_at: zxid, expected: None, has_ttl: false }
    }
}

/// Loads the newest whole snapshot that is not after `upto`; those that are newer than it and not
/// whole are noted in the report.
pub(super) fn newest<S: Storage>(
    storage: &mut S,
    upto: Zxid,
    settings: &RecoverySettings,
    report: &mut RecoveryReport,
) -> Result<Option<Start>, RecoveryError> {
    let names = storage.list(Dir::Snapshots).map_err(RecoveryError::storage)?;
    let (unfinished, names): (Vec<_>, Vec<_>) =
        names.into_iter().partition(|name| is_unfinished(name));
    let looks_like_ours =
        |name: &String| FileName::parse(name).is_some() || name.starts_with("log.");
    report.passed_over.extend(unfinished.into_iter().filter(looks_like_ours));
    let mut files: Vec<_> =
        names.into_iter().filter_map(|name| Some((FileName::parse(&name)?, name))).collect();
    files.retain(|(file, _)| file.zxid <= upto);
    files.sort_by(|(a, a_name), (b, b_name)| (b.zxid, b_name).cmp(&(a.zxid, a_name)));
    for (file, name) in files.into_iter().take(TRIED_MAX) {
        let source = storage.open(Dir::Snapshots, &name).map_err(RecoveryError::storage)?;
        match load(file, source, settings.seed, &mut || storage.is_stopping()) {
            Ok(mut start) => {
                start.expected = start.expected.filter(|_| settings.check_digests);
                report.snapshot = Some(name);
                return Ok(Some(start));
            }
            Err(Rejection::Stopped) => return Err(RecoveryError::Stopped),
            // A disk that does not answer says nothing about the snapshot: an older one in its
            // place might be one too old.
            Err(Rejection::Snapshot(SnapshotError::Read(error))) => {
                return Err(RecoveryError::read(&name, error));
            }
            Err(rejection) => report.rejected.push((name, rejection.to_string())),
        }
    }
    Ok(None)
}

/// Whether a snapshot file is whole: it is read to its last seal. The error says why not. `rest` is
/// called every few hundred nodes; true from it gives the reading up.
pub fn verify(
    name: &str,
    source: impl Source,
    rest: &mut dyn FnMut() -> bool,
) -> Result<(), Rejection> {
    let file =
        FileName::parse(name).filter(|_| !is_unfinished(name)).ok_or(Rejection::NotACandidate)?;
    read_parts(file, source, rest, |_| Ok(())).map(drop)
}

fn load(
    file: FileName,
    source: impl Source,
    seed: u64,
    is_stopping: &mut dyn FnMut() -> bool,
) -> Result<Start, Rejection> {
    let mut loader = Loader::with_seed(seed);
    let mut has_ttl = false;
    let bytes = source.bytes();
    let mut sample = Sample::default();
    let mut newest = file.zxid;
    let trailers = read_parts(file, source, is_stopping, |part| {
        if let Part::Node { path, data, stat, .. } = &part {
            has_ttl |= is_ttl(stat);
            newest = newest.max(Zxid(stat.czxid.max(stat.mzxid).max(stat.pzxid)));
            if let Some(nodes) = sample.add(path, *data, bytes) {
                loader.expect(nodes);
            }
        }
        load_part(&mut loader, part).map_err(Rejection::Load)
    })?;
    let (mut tree, zxid) = (loader.finish(file.zxid), file.zxid);
    let digested = trailers.digest.map_or(zxid, |digest| digest.zxid);
    let complete_at = newest.max(digested).max(trailers.last_zxid.unwrap_or(zxid));
    tree.set_whole_at(complete_at);
    let expected = trailers.digest_to_expect(zxid);
    Ok(Start { tree, zxid, complete_at, expected, has_ttl })
}

/// Puts a part of a snapshot, or of a leader's tree, into the tree that is made of it.
pub fn load_part(loader: &mut Loader, part: Part<'_>) -> Result<(), LoadError> {
    match part {
        Part::Session(session, timeout_ms) => loader.session(session, timeout_ms),
        Part::Acl(index, list) => loader.acl(index, &list),
        Part::Node { path, data, acl_index, stat } => {
            loader.node(&path, data, acl_index, &stat)?;
        }
    }
    Ok(())
}

/// The first nodes of a snapshot, by which the number of all is guessed.
#[derive(Debug, Default)]
struct Sample {
    nodes: u64,
    bytes: u64,
}

impl Sample {
    /// Counts a node in. Once there are enough: how many there will be if all are like them in a
    /// file of `file_bytes`. Of a packed one that is too few, which costs only time.
    fn add(&mut self, path: &str, data: Option<&[u8]>, file_bytes: u64) -> Option<usize> {
        if self.nodes == SAMPLE_NODES {
            return None;
        }
        self.nodes += 1;
        self.bytes += (path.len() + data.map_or(0, <[u8]>::len) + NODE_BYTES_BESIDE) as u64;
        let expected = file_bytes / (self.bytes / self.nodes);
        (self.nodes == SAMPLE_NODES).then_some(usize::try_from(expected).unwrap_or(usize::MAX))
    }
}

/// Reads a whole snapshot, part by part.
fn read_parts(
    file: FileName,
    source: impl Source,
    is_stopping: &mut dyn FnMut() -> bool,
    mut take: impl FnMut(Part<'_>) -> Result<(), Rejection>,
) -> Result<Trailers, Rejection> {
    let is_candidate = looks_whole(file, &source)
        .map_err(|error| Rejection::Snapshot(SnapshotError::Read(error)))?;
    if !is_candidate {
        return Err(Rejection::NotACandidate);
    }
    let mut reader = Reader::new(file.codec, source);
    let mut parts = 0_usize;
    while let Some(part) = reader.next_part().map_err(Rejection::Snapshot)? {
        take(part)?;
        parts += 1;
        if parts.is_multiple_of(PARTS_PER_REST) && is_stopping() {
            return Err(Rejection::Stopped);
        }
    }
    Ok(reader.trailers().unwrap_or_default())
}

/// Looks at the first and the last bytes.
fn looks_whole(file: FileName, source: &impl Source) -> Result<bool, ReadError> {
    let bytes = source.bytes();
    let (mut head, mut tail) = (Vec::new(), Vec::new());
    for (end, offset) in [(&mut head, 0), (&mut tail, bytes.saturating_sub(ENDS_BYTES))] {
        end.resize((bytes - offset).min(ENDS_BYTES) as usize, 0);
        source.read_at(offset, end).map_err(|error| ReadError { offset, error })?;
    }
    Ok(is_candidate(file.codec, &head, &tail, bytes))
}

/// Whether the owner is a TTL in disguise: the highest byte is 0xff (EphemeralType of 3.5.4 and
/// later).
pub(super) fn is_ttl(stat: &StatPersisted) -> bool {
    stat.ephemeral_owner as u64 >> TTL_SHIFT == TTL_MARK
}

/// Snapshots that are tried, newest first, as in Apache.
const TRIED_MAX: usize = 100;
/// Nodes that tell about all the others.
const SAMPLE_NODES: u64 = 4096;
/// Bytes of a node in a snapshot beside its path and data: two lengths, the ACL, the statistics.
const NODE_BYTES_BESIDE: usize = 16 + StatPersisted::BYTES;
/// The number of bytes at each end that [`is_candidate`] looks at.
const ENDS_BYTES: u64 = 8;
/// Nodes that are verified at a stretch.
const PARTS_PER_REST: usize = 256;
const TTL_SHIFT: u32 = 56;
const TTL_MARK: u64 = 0xff;
