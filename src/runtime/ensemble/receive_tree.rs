//! A tree from the leader: what follows a SNAP packet becomes a tree beside the old one and, at the
//! same time, a snapshot file.
//!
//! A thread of its own does it, of bytes that the quorum core passes on. At most
//! [`PIECES_WAITING_MAX`] pieces wait for it, and about [`BYTES_WAITING_MAX`]; the core then reads
//! no further, and is woken. What the
//! tree takes up is what has come of it. When the end has been found and the file is durable, the
//! core gets the new tree. Once the disk thread has put the file in the place of the history, the
//! core swaps the tree in, and gives the old one to the thread to be dropped: that takes long.
//!
//! Whatever goes wrong, or if the core drops its end, nothing is left but the failure.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded, unbounded};
use rustix::process::setpriority_process;

use crate::quorum::recovery::load_part;
use crate::snapshot::{FileName, Part, Pieces, Trailers, WireError, WireReader, ZxidDigest};
use crate::tree::{LoadError, Loader, Tree};
use crate::zxid::Zxid;

use crate::runtime::memory::memory;
use crate::runtime::snapshotter::{
    DIGEST_VERSION, RECEIVED_PREFIX, SnapshotFailure, SnapshotterConfig, failure,
};

use super::tree_file::TreeFile;

/// How a tree is received.
#[derive(Clone, Debug)]
pub struct ReceiveConfig {
    /// The directory of snapshots.
    pub dir: PathBuf,
    /// Packing and trailers of the snapshot file; the speed is that of the leader.
    pub file: SnapshotterConfig,
    /// For the hashes of the tree; see [`Tree::with_seed`].
    pub seed: u64,
    pub memory: MemoryKept,
}

/// Memory that a leader's tree may not take, so that it ends no process (B32).
#[derive(Clone, Copy, Debug)]
pub struct MemoryKept {
    /// `ringkeeper.memoryKeptFree`: so many bytes are left to the machine; 0 is no bound.
    pub bytes: u64,
    /// How many there are now, where that is known.
    pub available: fn() -> Option<u64>,
}

impl MemoryKept {
    /// So many bytes of this machine's memory.
    pub fn of_machine(bytes: u64) -> Self {
        Self { bytes, available: || memory().map(|memory| memory.available) }
    }

    /// After so many bytes of the tree.
    fn check(&self, offset: u64) -> Result<(), ReceiveFailure> {
        let available = Some(self.bytes).filter(|kept| *kept > 0).and_then(|_| (self.available)());
        match available {
            Some(available) if available < self.bytes => {
                Err(ReceiveFailure::Memory { offset, available, kept: self.bytes })
            }
            _ => Ok(()),
        }
    }
}

/// A tree that has come whole. The snapshot of it is durable.
#[derive(Debug)]
pub struct Received {
    /// Its last zxid is that of the SNAP. Apache's leader goes on while it sends, so parts of it may
    /// be later, and nobody can tell: it is not taken to be of one moment before it is said to be
    /// ([`Tree::set_whole_at`]), when the server serves.
    pub tree: Tree,
    /// The file beside the snapshots that the tree is durable in. It is not one of them before it
    /// has its name: the log that it does not follow goes first.
    pub file: String,
    /// The name that it is to have, of the zxid of the SNAP packet.
    pub name: FileName,
    /// The digest of the nodes as they came.
    pub digest: i64,
    /// What came after the tree: packets.
    pub rest: Vec<u8>,
    pub nodes: u64,
    /// Bytes of the tree on the wire.
    pub bytes: u64,
    pub took: Duration,
}

/// Why a tree did not come whole, or was not stored.
#[derive(Debug)]
pub enum ReceiveFailure {
    /// What came is no tree, or not a whole one.
    Wire(WireError),
    /// A node of it has no place.
    Load(LoadError),
    /// The snapshot file cannot be made.
    File(SnapshotFailure),
    /// After `offset` bytes of it the machine has less memory than is kept free.
    Memory { offset: u64, available: u64, kept: u64 },
    /// The thread has panicked.
    Panicked,
}

impl fmt::Display for ReceiveFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wire(error) => error.fmt(f),
            Self::Load(error) => write!(f, "the leader's tree has no order: {error}"),
            Self::File(failure) => failure.fmt(f),
            Self::Memory { offset, available, kept } => write!(
                f,
                "the leader's tree does not fit into memory: after {offset} bytes of it {} MiB are \
                 left, and {} MiB are kept free (ringkeeper.memoryKeptFree); give this server more \
                 memory",
                available >> 20,
                kept >> 20
            ),
            Self::Panicked => f.write_str("the thread that took the leader's tree in has panicked"),
        }
    }
}

impl std::error::Error for ReceiveFailure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Wire(error) => Some(error),
            Self::Load(error) => Some(error),
            Self::File(failure) => Some(failure),
            Self::Memory { .. } | Self::Panicked => None,
        }
    }
}

/// The core's end of a tree that is being received. Dropped, it gives the tree up.
pub struct TreeReceiver {
    pieces: Sender<Vec<u8>>,
    /// Bytes that the queue has taken.
    offered: u64,
    /// The same queue, for what the thread has left in it.
    unread: Receiver<Vec<u8>>,
    /// Trees to drop, and files to remove.
    old: Sender<Old>,
    shared: Arc<Shared>,
}

/// What the thread is to be rid of: both take long.
struct Old {
    tree: Tree,
    /// Beside the snapshots.
    file: Option<String>,
}

impl Old {
    fn drop_from(self, dir: &Path) {
        // What cannot be removed is removed at the next start.
        self.file.map(|file| std::fs::remove_file(dir.join(file)));
        drop(self.tree);
    }
}

struct Shared {
    outcome: Mutex<Outcome>,
    /// Bytes that the thread has taken.
    taken: AtomicU64,
    /// The end has been found.
    is_whole: AtomicBool,
    /// The core has found the queue full.
    is_awaited: AtomicBool,
    /// Wakes the core.
    wake: Box<dyn Fn() + Send + Sync>,
}

enum Outcome {
    Working,
    Done(Box<Result<Received, ReceiveFailure>>),
    /// The core has it.
    Told,
    /// The core does not want it any more.
    Abandoned,
}

impl TreeReceiver {
    /// Starts the thread for the tree after a SNAP packet with this zxid. `wake` is called, on the
    /// thread, when a full queue has room again, when the end has been found, and when there is an
    /// outcome.
    pub fn start(
        config: ReceiveConfig,
        zxid: Zxid,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let (pieces, queue) = bounded(PIECES_WAITING_MAX);
        let (old, trees) = unbounded();
        let shared = Arc::new(Shared {
            outcome: Mutex::new(Outcome::Working),
            taken: AtomicU64::new(0),
            is_whole: AtomicBool::new(false),
            is_awaited: AtomicBool::new(false),
            wake: Box::new(wake),
        });
        let unread = queue.clone();
        let of_thread = shared.clone();
        std::thread::Builder::new()
            .name("receive tree".into())
            .spawn(move || run(&config, zxid, queue, &of_thread, &trees))?;
        Ok(Self { pieces, offered: 0, unread, old, shared })
    }

    /// Passes on what has come, in order. Gives it back if the queue is full: the core is woken, and
    /// offers it again before anything else.
    pub fn offer(&mut self, piece: Vec<u8>) -> Result<(), Vec<u8>> {
        let Err(piece) = self.try_send(piece) else { return Ok(()) };
        self.shared.is_awaited.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        // The thread may have made room before it could see that somebody waits.
        self.try_send(piece)
    }

    fn try_send(&mut self, piece: Vec<u8>) -> Result<(), Vec<u8>> {
        let len = piece.len() as u64;
        if self.offered - self.taken() >= BYTES_WAITING_MAX {
            return Err(piece);
        }
        self.pieces.try_send(piece).map_err(TrySendError::into_inner)?;
        self.offered += len;
        Ok(())
    }

    /// Bytes that the thread has taken so far: while they grow, the leader is heard of.
    pub fn taken(&self) -> u64 {
        self.shared.taken.load(Ordering::Relaxed)
    }

    /// Whether all of the tree has come. It is not yet durable.
    pub fn is_whole(&self) -> bool {
        self.shared.is_whole.load(Ordering::Acquire)
    }

    /// The outcome, once. Nothing may be offered after it.
    pub fn outcome(&self) -> Option<Result<Received, ReceiveFailure>> {
        let mut held = self.shared.lock();
        if !matches!(*held, Outcome::Done(_)) {
            return None;
        }
        let Outcome::Done(mut done) = std::mem::replace(&mut *held, Outcome::Told) else {
            return None;
        };
        if let Ok(received) = &mut *done {
            self.unread.try_iter().for_each(|piece| received.rest.extend_from_slice(&piece));
        }
        Some(*done)
    }

    /// Has a tree dropped by the thread.
    pub fn drop_tree(&self, tree: Tree) {
        // The thread is there until this is dropped; if it has panicked, the tree is dropped here.
        let _ = self.old.send(Old { tree, file: None });
    }
}

impl Drop for TreeReceiver {
    fn drop(&mut self) {
        let before = std::mem::replace(&mut *self.shared.lock(), Outcome::Abandoned);
        if let Outcome::Done(done) = before
            && let Ok(Received { tree, file, .. }) = *done
        {
            let _ = self.old.send(Old { tree, file: Some(file) });
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Outcome> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread.
fn run(
    config: &ReceiveConfig,
    zxid: Zxid,
    queue: Receiver<Vec<u8>>,
    shared: &Arc<Shared>,
    trees: &Receiver<Old>,
) {
    if let Err(error) = setpriority_process(None, NICE) {
        log::debug!("the leader's tree is taken in with the usual priority: {error}");
    }
    let pieces = Queue { queue, shared: shared.clone() };
    // Another thread may still be at a tree that was given up.
    let number = STARTED.fetch_add(1, Ordering::Relaxed);
    let temporary = format!("{RECEIVED_PREFIX}{number}.tmp");
    let receive = || receive(config, zxid, &temporary, pieces, shared);
    let outcome = catch_unwind(AssertUnwindSafe(receive)).unwrap_or(Err(ReceiveFailure::Panicked));
    if outcome.is_err() {
        // The reason is in the outcome; what cannot be removed is removed at the next start.
        let _ = std::fs::remove_file(config.dir.join(&temporary));
    }
    let mut held = shared.lock();
    let unwanted = if matches!(*held, Outcome::Abandoned) {
        Some(outcome)
    } else {
        *held = Outcome::Done(Box::new(outcome));
        None
    };
    drop(held);
    if let Some(Ok(Received { tree, file, .. })) = unwanted {
        Old { tree, file: Some(file) }.drop_from(&config.dir);
    }
    (shared.wake)();
    trees.iter().for_each(|old| old.drop_from(&config.dir));
}

/// The queue as the reader sees it.
struct Queue {
    queue: Receiver<Vec<u8>>,
    shared: Arc<Shared>,
}

impl Pieces for Queue {
    fn next_onto(&mut self, out: &mut Vec<u8>) -> bool {
        let Ok(piece) = self.queue.recv() else { return false };
        self.shared.taken.fetch_add(piece.len() as u64, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if self.shared.is_awaited.swap(false, Ordering::SeqCst) {
            (self.shared.wake)();
        }
        out.extend_from_slice(&piece);
        true
    }

    fn is_ready(&self) -> bool {
        !self.queue.is_empty()
    }
}

fn receive(
    config: &ReceiveConfig,
    zxid: Zxid,
    temporary: &str,
    pieces: Queue,
    shared: &Shared,
) -> Result<Received, ReceiveFailure> {
    let started = Instant::now();
    let codec = config.file.codec;
    let not_written = |error| ReceiveFailure::File(not_written(&config.dir, error));
    let mut file = TreeFile::create(&config.dir.join(temporary), codec).map_err(not_written)?;
    let mut loader = Loader::with_seed(config.seed);
    let (mut nodes, mut newest) = (0, zxid);
    let mut reader = WireReader::new(pieces, |bytes: &[u8]| file.copy(bytes));
    let mut checked = 0;
    config.memory.check(checked)?;
    while let Some(part) = reader.next_part().map_err(|error| wire_failure(error, config))? {
        if let Part::Node { stat, .. } = &part {
            nodes += 1;
            newest = newest.max(Zxid(stat.czxid.max(stat.mzxid).max(stat.pzxid)));
        }
        load_part(&mut loader, part).map_err(ReceiveFailure::Load)?;
        if reader.offset() - checked >= MEMORY_CHECK_BYTES {
            checked = reader.offset();
            config.memory.check(checked)?;
        }
    }
    let bytes = reader.offset();
    let rest = reader.into_rest();
    shared.is_whole.store(true, Ordering::Release);
    (shared.wake)();
    let mut tree = loader.finish(zxid);
    tree.set_whole_at(Zxid::MAX);
    let digest = tree.digest();
    // Of a tree that is seen to be fuzzy nobody knows the digest at any zxid.
    let known = ZxidDigest { zxid, version: DIGEST_VERSION, digest };
    let known = Some(known).filter(|_| config.file.digest && newest == zxid);
    let trailers = Trailers { digest: known, last_zxid: config.file.last_zxid.then_some(zxid) };
    file.finish(&trailers).map_err(not_written)?.flush().map_err(|error| {
        let what = "the leader's tree cannot be flushed";
        ReceiveFailure::File(failure(&config.dir, what, error))
    })?;
    let (file, name) = (temporary.to_owned(), FileName { zxid, codec });
    Ok(Received { tree, file, name, digest, rest, nodes, bytes, took: started.elapsed() })
}

fn wire_failure(error: WireError, config: &ReceiveConfig) -> ReceiveFailure {
    match error {
        WireError::NotKept(error) => ReceiveFailure::File(not_written(&config.dir, error)),
        other => ReceiveFailure::Wire(other),
    }
}

fn not_written(dir: &Path, error: io::Error) -> SnapshotFailure {
    failure(dir, "the leader's tree cannot be written", error)
}

/// Trees that this process has begun to receive.
static STARTED: AtomicU64 = AtomicU64::new(0);

/// Pieces that wait for the thread.
const PIECES_WAITING_MAX: usize = 64;
/// Bytes of them from which on no other piece finds room.
const BYTES_WAITING_MAX: u64 = 4 << 20;
/// Bytes of the tree after which the memory is looked at again: small against what is kept free.
const MEMORY_CHECK_BYTES: u64 = 4 << 20;
/// The thread's nice value: it serves nobody, and what else runs on the machine may serve many.
const NICE: i32 = 10;

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::runtime::SharedTree;
    use crate::runtime::ensemble::send_tree::{Haste, TreeToSend, send_tree};
    use crate::snapshot::Codec;
    use crate::txn::{CreateKind, CreateTxn, SetDataTxn, Txn, TxnHeader};
    use crate::zxid::SessionId;

    fn config(dir: &Path) -> ReceiveConfig {
        let memory = MemoryKept::of_machine(1 << 20);
        ReceiveConfig { dir: dir.to_owned(), file: SnapshotterConfig::default(), seed: 1, memory }
    }

    fn wire(tree: Tree) -> Vec<u8> {
        let mut out = Vec::new();
        let to_send = TreeToSend::begin(&SharedTree::new(tree)).unwrap();
        let haste = Haste { within: Duration::MAX, hurries: || true };
        send_tree(to_send, &mut out, haste).unwrap();
        out
    }

    /// Waits for the outcome.
    fn outcome_of(
        receiver: &TreeReceiver,
        woken: &mpsc::Receiver<()>,
    ) -> Result<Received, ReceiveFailure> {
        loop {
            match receiver.outcome() {
                Some(outcome) => return outcome,
                None => woken.recv().unwrap(),
            }
        }
    }

    fn start(config: ReceiveConfig, zxid: Zxid) -> (TreeReceiver, mpsc::Receiver<()>) {
        let (wake, woken) = mpsc::channel();
        let wake = move || {
            let _ = wake.send(());
        };
        (TreeReceiver::start(config, zxid, wake).unwrap(), woken)
    }

    fn files(dir: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(dir).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn damage_leaves_a_failure_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = wire(Tree::new());
        *bytes.last_mut().unwrap() = 0;
        let (mut receiver, woken) = start(config(dir.path()), Zxid(5));
        receiver.offer(bytes).unwrap();
        let failure = outcome_of(&receiver, &woken).unwrap_err();
        assert!(failure.to_string().contains("BenWasHere"), "{failure}");
        assert!(!receiver.is_whole() && receiver.outcome().is_none());
        assert!(files(dir.path()).is_empty());
    }

    /// B32: a tree that leaves too little memory is given up, however long it goes on.
    #[test]
    fn b32_a_tree_that_does_not_fit_into_memory_is_given_up() {
        static LEFT: AtomicU64 = AtomicU64::new(10);
        let available = || Some(LEFT.fetch_sub(1, Ordering::Relaxed));
        let mut tree = Tree::new();
        for node in 1..60 {
            let header = TxnHeader { session: SessionId(1), cxid: 0, zxid: Zxid(node), time_ms: 1 };
            let create = CreateTxn {
                path: format!("/n{node}"),
                data: Some(vec![7; 1 << 20].into()),
                acl: Vec::new().into(),
                kind: CreateKind::Persistent,
                with_stat: false,
                parent_cversion: node as i32,
            };
            tree.apply(&header, &Txn::Create(create), None);
        }
        let bytes = wire(tree);
        for (kept, fits) in [(0, true), (2, false)] {
            let dir = tempfile::tempdir().unwrap();
            let memory = MemoryKept { bytes: kept, available };
            let config = ReceiveConfig { memory, ..config(dir.path()) };
            let (mut receiver, woken) = start(config, Zxid(60));
            for piece in bytes.chunks(1 << 20) {
                let mut piece = piece.to_vec();
                while let Err(back) = receiver.offer(piece)
                    && !matches!(*receiver.shared.lock(), Outcome::Done(_))
                {
                    piece = back;
                    let _ = woken.recv_timeout(Duration::from_millis(10));
                }
            }
            let outcome = outcome_of(&receiver, &woken);
            assert_eq!(outcome.is_ok(), fits);
            let Err(failure) = outcome else { continue };
            let ReceiveFailure::Memory { offset, available: 1, kept: 2 } = failure else {
                panic!("{failure}")
            };
            assert!(offset >= 9 * MEMORY_CHECK_BYTES && offset < bytes.len() as u64, "{offset}");
            assert!(failure.to_string().contains("ringkeeper.memoryKeptFree"), "{failure}");
            assert!(files(dir.path()).is_empty());
        }
    }

    /// Nodes that come in no order, though each of them is a node.
    #[test]
    fn a_tree_without_order_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = wire(Tree::new());
        let at = bytes.windows(10).position(|name| name == b"/zookeeper").unwrap();
        bytes[at + 1] = b'y';
        let (mut receiver, woken) = start(config(dir.path()), Zxid(5));
        receiver.offer(bytes).unwrap();
        let failure = outcome_of(&receiver, &woken).unwrap_err();
        assert!(matches!(failure, ReceiveFailure::Load(LoadError::NoParent(_))), "{failure}");
        assert!(files(dir.path()).is_empty());
    }

    #[test]
    fn a_directory_that_is_gone_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let (receiver, woken) = start(config(&dir.path().join("gone")), Zxid(5));
        let failure = outcome_of(&receiver, &woken).unwrap_err();
        assert!(failure.to_string().contains("gone"), "{failure}");
    }

    /// Nor does one that had come whole.
    #[test]
    fn a_whole_tree_that_nobody_takes_leaves_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let (mut receiver, woken) = start(config(dir.path()), Zxid(5));
        receiver.offer(wire(Tree::new())).unwrap();
        while !matches!(*receiver.shared.lock(), Outcome::Done(_)) {
            woken.recv().unwrap();
        }
        assert_eq!(files(dir.path()).len(), 1);
        drop(receiver);
        while woken.recv().is_ok() {}
        assert!(files(dir.path()).is_empty());
    }

    /// Whoever gives a tree up finds no trace of it, at whatever point that is.
    #[test]
    fn a_tree_that_is_given_up_leaves_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = wire(Tree::new());
        for len in [0, 1, bytes.len() / 2, bytes.len() - 1] {
            let (mut receiver, woken) = start(config(dir.path()), Zxid(5));
            receiver.offer(bytes[..len].to_vec()).unwrap();
            drop(receiver);
            // The thread ends by dropping what wakes the core.
            while woken.recv().is_ok() {}
            assert!(files(dir.path()).is_empty(), "of {len} bytes");
        }
    }

    /// Two at once: one that was given up does not touch the file of the next one.
    #[test]
    fn each_tree_has_a_file_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = wire(Tree::new());
        let (mut first, first_woken) = start(config(dir.path()), Zxid(5));
        first.offer(bytes[..50].to_vec()).unwrap();
        let (mut second, woken) = start(config(dir.path()), Zxid(6));
        second.offer(bytes[..50].to_vec()).unwrap();
        drop(first);
        while first_woken.recv().is_ok() {}
        second.offer(bytes[50..].to_vec()).unwrap();
        let received = outcome_of(&second, &woken).unwrap();
        assert_eq!((received.name.to_string(), received.nodes), ("snapshot.6".to_owned(), 4));
        assert_eq!(files(dir.path()), [received.file]);
    }

    /// What comes after the tree waits in the queue, up to its bound, and is given back in order.
    #[test]
    fn the_queue_has_a_bound_and_gives_back_what_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let (at_end, end) = mpsc::channel();
        let (go_on, gone_on) = mpsc::channel::<()>();
        let gone_on = Mutex::new(gone_on);
        let wake = move || {
            // The first time at the end of the tree: nothing is read from there on.
            let _ = at_end.send(());
            let _ = gone_on.lock().unwrap().recv();
        };
        let mut receiver = TreeReceiver::start(config(dir.path()), Zxid(5), wake).unwrap();
        receiver.offer([wire(Tree::new()), vec![100]].concat()).unwrap();
        end.recv().unwrap();
        assert!(receiver.is_whole() && receiver.outcome().is_none());
        for piece in 0..PIECES_WAITING_MAX as u8 {
            receiver.offer(vec![piece]).unwrap();
        }
        assert_eq!(receiver.offer(vec![7]), Err(vec![7]));
        drop(go_on);
        end.recv().unwrap();
        let received = receiver.outcome().unwrap().unwrap();
        let rest: Vec<u8> = [100].into_iter().chain(0..PIECES_WAITING_MAX as u8).collect();
        assert_eq!(received.rest, rest);
    }

    /// So many bytes wait as there may be, and one piece more.
    #[test]
    fn few_long_pieces_fill_the_queue() {
        let dir = tempfile::tempdir().unwrap();
        let (at_end, end) = mpsc::channel();
        let (go_on, gone_on) = mpsc::channel::<()>();
        let gone_on = Mutex::new(gone_on);
        let wake = move || {
            let _ = at_end.send(());
            let _ = gone_on.lock().unwrap().recv();
        };
        let mut receiver = TreeReceiver::start(config(dir.path()), Zxid(5), wake).unwrap();
        receiver.offer(wire(Tree::new())).unwrap();
        end.recv().unwrap();
        let piece = || vec![7; BYTES_WAITING_MAX as usize / 2 + 1];
        receiver.offer(piece()).unwrap();
        receiver.offer(piece()).unwrap();
        assert_eq!(receiver.offer(vec![8]), Err(vec![8]));
        drop(go_on);
        end.recv().unwrap();
        let received = receiver.outcome().unwrap().unwrap();
        assert_eq!(received.rest.len(), 2 * piece().len());
    }

    /// A tree of Apache's may name transactions after the SNAP's: no digest of it is known.
    #[test]
    fn a_fuzzy_tree_is_stored_without_a_digest() {
        let mut tree = Tree::new();
        let header = TxnHeader { session: SessionId(1), cxid: 0, zxid: Zxid(9), time_ms: 1 };
        let set = SetDataTxn { path: "/".into(), data: None, version: 1 };
        tree.apply(&header, &Txn::SetData(set), None);
        let bytes = wire(tree);
        for (zxid, has_digest) in [(Zxid(9), true), (Zxid(8), false)] {
            let dir = tempfile::tempdir().unwrap();
            let (mut receiver, woken) = start(config(dir.path()), zxid);
            receiver.offer(bytes.clone()).unwrap();
            let received = outcome_of(&receiver, &woken).unwrap();
            assert_eq!((received.tree.last_zxid(), received.tree.is_whole()), (zxid, false));
            let file = std::fs::read(dir.path().join(&received.file)).unwrap();
            let mut reader = crate::snapshot::Reader::new(Codec::Plain, file);
            while reader.next_part().unwrap().is_some() {}
            let trailers = reader.trailers().unwrap();
            assert_eq!(trailers.digest.is_some(), has_digest);
            assert_eq!(trailers.last_zxid, Some(zxid));
            receiver.drop_tree(received.tree);
        }
    }
}
