//! Snapshots in the background: the tree as it was at one moment, while it goes on changing.
//!
//! A walk of the tree gives a batch of nodes at a time, which is sealed, packed and written with
//! nothing held. Between batches the thread rests, so that it takes at most a part of a core and of
//! the disk. It keeps its normal priority: the writer waits for a reader that was put off its core
//! in the middle of a batch, and a thread of low priority would stay off it for long.
//!
//! A snapshot counts at the next start for what a quorum has: a member of an ensemble asks for one
//! only while it serves, when nothing is in its tree that is not committed. A tree that another
//! takes the place of is not written to its end: its snapshot fails, and no file is left.
//!
//! The file is written on a glommio executor of its own, around the page cache: what a flush of the
//! log has to write does not grow by it. It has a name that Apache ignores until it is whole and
//! durable, so a crash leaves no torn snapshot.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};
use glommio::io::{DmaBuffer, DmaFile, OpenOptions};
use glommio::{LocalExecutorBuilder, Placement};

use crate::snapshot::{Codec, Encoder, FileName, Trailers, Writer, ZxidDigest};
use crate::tree::WalkLost;
use crate::zxid::Zxid;

use super::SharedTree;
use super::datadir::Histories;
use super::tree_walk::{NotNow, TreeWalk};

/// The settings of snapshots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotterConfig {
    /// `snapshot.compression.method`. Default none.
    pub codec: Codec,
    /// `digest.enabled`: write the trailer with the tree's digest. Default true.
    pub digest: bool,
    /// `serializeLastProcessedZxid.enabled`: write the trailer with the last zxid, 3.9's. Default
    /// true.
    pub last_zxid: bool,
    /// The highest speed at which snapshots are written, before compression.
    pub bytes_per_second: u64,
}

impl Default for SnapshotterConfig {
    fn default() -> Self {
        Self {
            codec: Codec::Plain,
            digest: true,
            last_zxid: true,
            bytes_per_second: BYTES_PER_SECOND,
        }
    }
}

/// A snapshot that is whole and durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    pub name: String,
    pub zxid: Zxid,
    /// Bytes of the file.
    pub bytes: u64,
    pub took: Duration,
    /// The longest time for which readers kept the writer out.
    pub longest_hold: Duration,
}

/// A snapshot could not be written. The server goes on, and tries again after a while.
#[derive(Debug)]
pub struct SnapshotFailure {
    what: &'static str,
    path: PathBuf,
    error: io::Error,
}

impl fmt::Display for SnapshotFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.path.display(), self.what, self.error)?;
        f.write_str(match (self.error.raw_os_error(), self.error.kind()) {
            (_, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                ". Make room: without snapshots the log cannot be purged"
            }
            (Some(libc::EMFILE), _) => {
                ". The process has no descriptor left: raise its limit (ulimit -n, LimitNOFILE=) \
                 or lower maxCnxns"
            }
            (Some(libc::ENFILE), _) => ". The machine has no descriptor left: raise fs.file-max",
            (_, io::ErrorKind::ReadOnlyFilesystem) => {
                ". The file system has become read-only: see dmesg, the disk may be failing"
            }
            (Some(libc::ENOMEM), _) => {
                ". All processes of a user may lock so much memory together: raise the limit \
                 (ulimit -l unlimited, LimitMEMLOCK=infinity)"
            }
            _ => "",
        })
    }
}

impl SnapshotFailure {
    /// Whether the next try may come to another end: nothing has come in place of the tree.
    fn may_pass(&self) -> bool {
        self.what != GIVEN_UP
    }
}

impl std::error::Error for SnapshotFailure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// The thread that takes snapshots when it is asked to.
pub struct Snapshotter {
    requests: Sender<()>,
    thread: JoinHandle<()>,
}

impl Snapshotter {
    /// Starts it for snapshots in `dir`, the `version-2` directory of dataDir. `done` hears of each
    /// snapshot, on the snapshotter's thread; a purge may be done there. One that was begun before
    /// the history got another end is given up.
    pub fn start(
        dir: PathBuf,
        config: SnapshotterConfig,
        tree: SharedTree,
        histories: Histories,
        done: impl FnMut(Result<Taken, SnapshotFailure>) + Send + 'static,
    ) -> io::Result<Self> {
        remove_leftovers(&dir);
        let (requests, queue) = bounded(1);
        let thread = std::thread::Builder::new()
            .name("snapshots".into())
            .spawn(move || run(&dir, &config, &tree, &histories, &queue, done))?;
        Ok(Self { requests, thread })
    }

    /// Each `()` sent asks for a snapshot; one that finds the queue full can be dropped, since one
    /// is due then anyway.
    pub fn requests(&self) -> Sender<()> {
        self.requests.clone()
    }

    /// Waits for the snapshot under way, if any. All other senders must be gone.
    pub fn stop(self) {
        drop(self.requests);
        if self.thread.join().is_err() {
            log::error!("the snapshot thread has panicked");
        }
    }
}

/// A crash in the middle of a snapshot leaves its file, which nobody reads and which takes up room.
fn remove_leftovers(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name != TEMPORARY && !name.starts_with(RECEIVED_PREFIX) {
            continue;
        }
        let path = entry.path();
        match std::fs::remove_file(&path) {
            Ok(()) => log::info!("{}: removed, a crash had interrupted it", path.display()),
            Err(error) => log::warn!("{}: cannot be removed: {error}", path.display()),
        }
    }
}

/// Takes a snapshot on this thread and waits until it is durable. `hurry` leaves out the rests: for
/// the first snapshot of a new server, which must be there before anything is acknowledged.
pub fn take_snapshot(
    dir: &Path,
    config: &SnapshotterConfig,
    tree: &SharedTree,
    hurry: bool,
) -> Result<Taken, SnapshotFailure> {
    take(dir, config, tree, &Histories::default(), hurry)
}

fn take(
    dir: &Path,
    config: &SnapshotterConfig,
    tree: &SharedTree,
    histories: &Histories,
    hurry: bool,
) -> Result<Taken, SnapshotFailure> {
    let (dir, config, tree) = (dir.to_owned(), config.clone(), tree.clone());
    let histories = histories.clone();
    let builder =
        LocalExecutorBuilder::new(Placement::Unbound).name("snapshot").io_memory(IO_MEMORY_BYTES);
    let executor = builder.ring_depth(RING_DEPTH).make();
    let executor =
        executor.map_err(|error| failure(&dir, "no executor for the snapshot", error.into()))?;
    executor.run(async move {
        // Before the walk begins: the tree is of this history or of a later one.
        let result = match histories.current() {
            Some(history) => {
                Job::begin(&dir, &config, &tree, hurry).await.run((&histories, history)).await
            }
            None => Err(given_up(&dir)),
        };
        if result.is_err() {
            // The reason is in the result; what cannot be removed is overwritten by the next one.
            let _ = std::fs::remove_file(dir.join(TEMPORARY));
        }
        result
    })
}

fn run(
    dir: &Path,
    config: &SnapshotterConfig,
    tree: &SharedTree,
    histories: &Histories,
    queue: &Receiver<()>,
    mut done: impl FnMut(Result<Taken, SnapshotFailure>),
) {
    // The pause before a snapshot that failed is tried again, asked for or not.
    let mut pause = None;
    loop {
        let asked = match pause {
            None => queue.recv().map_err(RecvTimeoutError::from),
            Some(pause) => queue.recv_timeout(pause),
        };
        if asked == Err(RecvTimeoutError::Disconnected) {
            return;
        }
        let taken = take(dir, config, tree, histories, false);
        // What was asked for meanwhile is younger than the tree that was just written only by a
        // little; what somebody asks for who has heard of this one is not.
        while !matches!(queue.try_recv(), Err(TryRecvError::Empty | TryRecvError::Disconnected)) {}
        pause = match &taken {
            Err(failure) if failure.may_pass() => {
                Some(pause.map_or(AGAIN_FIRST, |pause| AGAIN_MAX.min(2 * pause)))
            }
            _ => None,
        };
        done(taken);
    }
}

/// One snapshot being taken.
struct Job<'a> {
    dir: &'a Path,
    config: &'a SnapshotterConfig,
    walk: TreeWalk,
    hurry: bool,
}

impl<'a> Job<'a> {
    /// Waits until a walk may begin.
    async fn begin(
        dir: &'a Path,
        config: &'a SnapshotterConfig,
        tree: &'a SharedTree,
        hurry: bool,
    ) -> Self {
        let mut waits = 0;
        let walk = loop {
            // A session that departs is removed by the quorum core, a few nodes at a time.
            match TreeWalk::begin(tree, waits >= REAP_WAITS_MAX) {
                Ok(walk) => break walk,
                Err(NotNow::Walks) => glommio::timer::sleep(WALKS_WAIT).await,
                Err(NotNow::Amid | NotNow::Reaping) => {
                    glommio::timer::sleep(REAP_WAIT).await;
                    waits += 1;
                }
            }
        };
        Self { dir, config, walk, hurry }
    }

    /// Takes the snapshot, which is named only if the history is this one all the time.
    async fn run(
        mut self,
        (histories, history): (&Histories, u64),
    ) -> Result<Taken, SnapshotFailure> {
        let started = Instant::now();
        let mut slice = Instant::now();
        while self.walk.copy_head().map_err(|lost| self.lost(lost))? {
            self.rest(slice, 0).await;
            slice = Instant::now();
        }
        let zxid = self.walk.head().zxid;
        let name = FileName { zxid, codec: self.config.codec }.to_string();
        let path = self.dir.join(TEMPORARY);
        let failed = |error| failure(self.dir, "the snapshot cannot be written", error);
        let mut file = AlignedFile::create(&path).await.map_err(failed)?;
        self.write(&mut file).await?;
        let bytes = file
            .finish()
            .await
            .map_err(|error| failure(self.dir, "the snapshot cannot be flushed", error))?;
        let named = histories.within(history, || give_name(self.dir, &name));
        named.unwrap_or_else(|| Err(given_up(self.dir)))?;
        let longest_hold = self.walk.longest_hold();
        Ok(Taken { name, zxid, bytes, took: started.elapsed(), longest_hold })
    }

    async fn write(&mut self, file: &mut AlignedFile) -> Result<(), SnapshotFailure> {
        let (dir, config) = (self.dir, self.config);
        let failed = |error| failure(dir, "the snapshot cannot be written", error);
        let mut writer = Writer::new();
        let mut encoder = Encoder::new(config.codec);
        let (mut plain, mut packed) = (Vec::new(), Vec::new());
        let head = self.walk.head();
        writer.head(&mut plain, &head.sessions, &head.acls);
        loop {
            let started = Instant::now();
            let goes_on = self.walk.batch(&mut |path, data, acl_index, stat| {
                writer.node(&mut plain, path, data, acl_index, stat);
            });
            let goes_on = goes_on.map_err(|lost| self.lost(lost))?;
            let written = plain.len();
            encoder.write(&plain, &mut packed);
            plain.clear();
            file.append(&packed).await.map_err(failed)?;
            packed.clear();
            if !goes_on {
                break;
            }
            self.rest(started, written).await;
        }
        let head = self.walk.head();
        let digest = ZxidDigest { zxid: head.zxid, version: DIGEST_VERSION, digest: head.digest };
        let digest = config.digest.then_some(digest);
        writer.finish(
            &mut plain,
            &Trailers { digest, last_zxid: config.last_zxid.then_some(head.zxid) },
        );
        encoder.write(&plain, &mut packed);
        encoder.finish(&mut packed);
        file.append(&packed).await.map_err(failed)
    }

    /// Waits until the batch is paid for, in bytes and in time on a core.
    async fn rest(&self, started: Instant, written: usize) {
        if self.hurry {
            return;
        }
        let spent = started.elapsed();
        let by_bytes =
            Duration::from_secs_f64(written as f64 / self.config.bytes_per_second.max(1) as f64);
        let pause = by_bytes.saturating_sub(spent).max(spent);
        glommio::timer::sleep(pause).await;
    }

    fn lost(&self, lost: WalkLost) -> SnapshotFailure {
        failure(self.dir, GIVEN_UP, io::Error::other(lost))
    }
}

/// Gives a file that is written and flushed the name of a snapshot, durably.
fn give_name(dir: &Path, name: &str) -> Result<(), SnapshotFailure> {
    let named = std::fs::rename(dir.join(TEMPORARY), dir.join(name));
    let durable = named.and_then(|()| std::fs::File::open(dir)?.sync_all());
    durable.map_err(|error| failure(dir, "the snapshot cannot be given its name", error))
}

/// A file that is written from its start to its end around the page cache, in aligned pieces.
struct AlignedFile {
    file: DmaFile,
    buffer: DmaBuffer,
    filled: usize,
    written: u64,
}

impl AlignedFile {
    async fn create(path: &std::path::Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options
            .create(true)
            .truncate(true)
            .write(true)
            .read(true)
            .mode(0o644)
            .dma_open(path)
            .await?;
        let buffer = file.alloc_dma_buffer(PIECE_BYTES);
        Ok(Self { file, buffer, filled: 0, written: 0 })
    }

    async fn append(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(PIECE_BYTES - self.filled));
            self.buffer.as_bytes_mut()[self.filled..self.filled + now.len()].copy_from_slice(now);
            self.filled += now.len();
            bytes = later;
            if self.filled == PIECE_BYTES {
                self.write_piece().await?;
            }
        }
        Ok(())
    }

    /// Writes the last, partial piece, cuts the file to what was appended, and makes it durable.
    async fn finish(mut self) -> io::Result<u64> {
        let bytes = self.written + self.filled as u64;
        if self.filled > 0 {
            self.buffer.as_bytes_mut()[self.filled..].fill(0);
            self.write_piece().await?;
        }
        self.file.truncate(bytes).await?;
        self.file.fdatasync().await?;
        self.file.close().await?;
        Ok(bytes)
    }

    async fn write_piece(&mut self) -> io::Result<()> {
        let next = self.file.alloc_dma_buffer(PIECE_BYTES);
        let piece = std::mem::replace(&mut self.buffer, next);
        let len = piece.len();
        let written = self.file.write_at(piece, self.written).await?;
        if written != len {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.written += len as u64;
        self.filled = 0;
        Ok(())
    }
}

/// The tree that a snapshot was to be of is not that of the files any more.
fn given_up(dir: &Path) -> SnapshotFailure {
    failure(dir, GIVEN_UP, io::Error::other("the log was cut or a tree has come"))
}

/// A failure of what is done with a snapshot in `dir`.
pub(super) fn failure(dir: &Path, what: &'static str, error: io::Error) -> SnapshotFailure {
    SnapshotFailure { what, path: dir.to_owned(), error }
}

/// What was to be written is not there any more.
const GIVEN_UP: &str = "the snapshot is given up";
/// The pause after the first of several failures, and the longest one.
const AGAIN_FIRST: Duration = Duration::from_secs(2);
const AGAIN_MAX: Duration = Duration::from_secs(600);
/// The pause between two looks whether another snapshot has ended.
const WALKS_WAIT: Duration = Duration::from_millis(100);
/// The pause between two looks whether departed nodes are all removed.
const REAP_WAIT: Duration = Duration::from_millis(2);
/// After this many looks a snapshot removes the rest itself, and everybody waits for it.
const REAP_WAITS_MAX: usize = 5000;

/// Apache looks at nothing but `snapshot.` and `log.`.
const TEMPORARY: &str = "ringkeeper.snapshot.tmp";
/// So begin the names of snapshots that are made of a leader's tree while that comes.
pub(super) const RECEIVED_PREFIX: &str = "ringkeeper.received.";
/// Half of what a small disk writes in a second.
const BYTES_PER_SECOND: u64 = 100 << 20;
/// One write to disk; a multiple of every block size.
const PIECE_BYTES: usize = 128 << 10;
/// The least. More would be locked three times, beside what all servers of a user may lock together;
/// pieces are written from memory that is not locked.
const IO_MEMORY_BYTES: usize = 64 << 10;
const RING_DEPTH: usize = 16;
/// Digests of this version are what the tree computes.
pub(super) const DIGEST_VERSION: i32 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quorum::recovery::{RecoverySettings, recover};
    use crate::runtime::datadir::DataDir;
    use crate::tree::Tree;
    use crate::txn::{CreateKind, CreateTxn, SetDataTxn, Txn, TxnHeader};
    use crate::zxid::SessionId;

    fn header(zxid: Zxid) -> TxnHeader {
        TxnHeader { session: SessionId(1), cxid: 0, zxid, time_ms: 1 }
    }

    fn create(tree: &mut Tree, path: &str) {
        let zxid = tree.last_zxid().next();
        let txn = Txn::Create(CreateTxn {
            path: path.into(),
            data: Some(vec![7; 100].into()),
            acl: [crate::jute::data::Acl::open()].into(),
            kind: CreateKind::Persistent,
            with_stat: false,
            parent_cversion: zxid.0 as i32,
        });
        tree.apply(&header(zxid), &txn, None);
    }

    /// Takes a snapshot while the tree changes and loads it: it must be the tree as it was when it
    /// began.
    fn taken_while_writing(codec: Codec) {
        let dir = tempfile::tempdir().unwrap();
        let mut data = DataDir::open(dir.path(), dir.path(), true).unwrap();
        let mut tree = Tree::new();
        (0..20_000).for_each(|n| create(&mut tree, &format!("/n{n}")));
        let shared = SharedTree::new(tree);
        let config = SnapshotterConfig { codec, ..SnapshotterConfig::default() };
        let snapshots = data.snapshots().to_owned();
        let (sender, results) = bounded(1);
        let (of_thread, histories) = (shared.clone(), data.histories());
        let done = move |taken| drop(sender.send(taken));
        let snapshotter = Snapshotter::start(snapshots, config, of_thread, histories, done);
        let snapshotter = snapshotter.unwrap();
        let mut digests = std::collections::BTreeMap::new();
        snapshotter.requests().send(()).unwrap();
        let taken = loop {
            if let Ok(taken) = results.try_recv() {
                break taken.unwrap();
            }
            let mut tree = shared.write();
            digests.insert(tree.last_zxid(), tree.digest());
            let zxid = tree.last_zxid().next();
            let set = SetDataTxn {
                path: format!("/n{}", zxid.0 * 7919 % 20_000).into(),
                data: None,
                version: 1,
            };
            tree.apply(&header(zxid), &Txn::SetData(set), None);
        };
        snapshotter.stop();
        assert!(digests.len() > 10, "the writer must not stand still: {}", digests.len());
        let file = data.snapshots().join(&taken.name);
        assert_eq!(std::fs::metadata(file).unwrap().len(), taken.bytes);
        let settings = RecoverySettings::default();
        let recovered = recover(&mut data, &settings).unwrap();
        assert_eq!(recovered.report.snapshot.as_ref(), Some(&taken.name));
        assert_eq!((recovered.last_zxid, recovered.report.digest_mismatches), (taken.zxid, 0));
        let expected = digests.get(&taken.zxid).copied();
        assert!(expected.is_none_or(|digest| digest == recovered.tree.digest()));
    }

    #[test]
    fn a_snapshot_shows_one_moment_of_a_changing_tree() {
        taken_while_writing(Codec::Plain);
    }

    #[test]
    fn packed_snapshots_as_well() {
        taken_while_writing(Codec::Gzip);
        taken_while_writing(Codec::Snappy);
    }

    #[test]
    fn each_failure_says_what_mends_it() {
        for (errno, part) in [
            (libc::ENOSPC, "Make room"),
            (libc::EDQUOT, "Make room"),
            (libc::EMFILE, "LimitNOFILE"),
            (libc::ENFILE, "fs.file-max"),
            (libc::EROFS, "read-only"),
            (libc::ENOMEM, "LimitMEMLOCK"),
        ] {
            let dir = Path::new("/d");
            let failure =
                failure(dir, "the snapshot cannot be written", io::Error::from_raw_os_error(errno));
            assert!(failure.to_string().contains(part), "{failure}");
        }
    }

    #[test]
    fn what_a_crash_has_left_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let names = [TEMPORARY.to_owned(), format!("{RECEIVED_PREFIX}7.tmp")];
        let left = names.map(|name| dir.path().join(name));
        left.iter().for_each(|left| std::fs::write(left, "half").unwrap());
        let (at, config) = (dir.path().to_owned(), SnapshotterConfig::default());
        let (tree, histories) = (SharedTree::new(Tree::new()), Histories::default());
        Snapshotter::start(at, config, tree, histories, drop).unwrap().stop();
        assert!(!left.iter().any(|left| left.exists()));
    }

    /// Nobody may take a part of one tree, and what another one has in its place, for a snapshot.
    #[test]
    fn a_tree_that_is_replaced_leaves_no_snapshot() {
        let dir = tempfile::tempdir().unwrap();
        let mut tree = Tree::new();
        (0..5000).for_each(|n| create(&mut tree, &format!("/n{n}")));
        let shared = SharedTree::new(tree);
        // So slow that the tree is replaced long before the end, whenever that is.
        let config = SnapshotterConfig { bytes_per_second: 100_000, ..Default::default() };
        let (sender, results) = bounded(1);
        let at = dir.path().to_owned();
        let done = move |taken| drop(sender.send(taken));
        let (of_thread, histories) = (shared.clone(), Histories::default());
        let snapshotter = Snapshotter::start(at, config, of_thread, histories, done).unwrap();
        snapshotter.requests().send(()).unwrap();
        while !dir.path().join(TEMPORARY).exists() {
            std::thread::yield_now();
        }
        let before = shared.replace(Tree::new());
        assert_eq!((before.node_count(), shared.read().node_count()), (5005, 5));
        let failure = results.recv().unwrap().unwrap_err();
        assert!(failure.to_string().contains("another tree"), "{failure}");
        snapshotter.stop();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    /// The files may be cut before the tree is replaced: no snapshot of what has gone comes then.
    #[test]
    fn a_history_that_ends_elsewhere_gets_no_snapshot_of_what_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let mut tree = Tree::new();
        (0..5000).for_each(|n| create(&mut tree, &format!("/n{n}")));
        let (sender, results) = bounded(1);
        let at = dir.path().to_owned();
        let histories = Histories::default();
        let done = move |taken| drop(sender.send(taken));
        let (of_thread, config) = (SharedTree::new(tree), SnapshotterConfig::default());
        let snapshotter = Snapshotter::start(at, config, of_thread, histories.clone(), done);
        let snapshotter = snapshotter.unwrap();
        // It may be done before the history is changed: then it is taken again.
        let given_up = (0..50).find_map(|_| {
            snapshotter.requests().send(()).unwrap();
            while !dir.path().join(TEMPORARY).exists() && results.is_empty() {
                std::thread::yield_now();
            }
            let change = histories.change();
            let result = results.recv().unwrap();
            drop(change);
            let names = std::fs::read_dir(dir.path()).unwrap();
            names.for_each(|name| {
                let is_taken = result.is_ok();
                assert!(is_taken, "{name:?} is left");
                std::fs::remove_file(name.unwrap().path()).unwrap();
            });
            result.err()
        });
        assert!(given_up.unwrap().to_string().contains("the log was cut"));
        let change = histories.change();
        snapshotter.requests().send(()).unwrap();
        assert!(results.recv().unwrap().is_err(), "nothing is begun meanwhile");
        drop(change);
        snapshotter.requests().send(()).unwrap();
        results.recv().unwrap().unwrap();
        snapshotter.stop();
    }

    /// Nobody need ask for it again: after the last transaction nobody would.
    #[test]
    fn a_snapshot_that_failed_is_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("comes later");
        let (sender, results) = bounded(1);
        let done = move |taken| drop(sender.send(taken));
        let (config, histories) = (SnapshotterConfig::default(), Histories::default());
        let tree = SharedTree::new(Tree::new());
        let snapshotter = Snapshotter::start(at.clone(), config, tree, histories, done).unwrap();
        snapshotter.requests().send(()).unwrap();
        assert!(results.recv().unwrap().is_err());
        std::fs::create_dir(at).unwrap();
        assert_eq!(results.recv().unwrap().unwrap().name, "snapshot.0");
        snapshotter.stop();
    }

    #[test]
    fn a_directory_that_is_gone_is_a_failure_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let config = SnapshotterConfig::default();
        let tree = SharedTree::new(Tree::new());
        let failure = take_snapshot(&dir.path().join("gone"), &config, &tree, true).unwrap_err();
        assert!(failure.to_string().contains("gone"), "{failure}");
        assert_eq!(take_snapshot(dir.path(), &config, &tree, true).unwrap().name, "snapshot.0");
        let names: Vec<_> =
            std::fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
        assert_eq!(names, ["snapshot.0"]);
    }
}
