//! The files of the bare loop, and the thread that writes to them as the server's does.
//!
//! Space is old or new. Old space is one file, all of which was written before; it is gone through
//! round and round. New space is file after file, each made as the log makes its own: reserved,
//! then zeroed at leisure while the one before is written, and taken as it is where it is needed
//! earlier. A file that is full is given back.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};

use crate::runtime::log::{Making, Pace, Segment};
use crate::runtime::pages::Pages;
use crate::runtime::ring::Waker;
use crate::runtime::worker::Worker;
use crate::txnlog::Appending;

use super::args::Space;

/// The file that is written, and those to come.
pub(super) struct Files {
    current: Arc<Segment>,
    /// The offset at which the next group begins.
    at: u64,
    /// There where space is new.
    maker: Option<Maker>,
}

/// The thread that makes files and gives them back.
struct Maker {
    made: Receiver<io::Result<Segment>>,
    used: Sender<Arc<Segment>>,
    /// The file in the making is needed.
    needed: Arc<AtomicBool>,
}

impl Files {
    /// Makes the first file; none keeps its name.
    pub(super) fn open(
        path: PathBuf,
        appending: Appending,
        space: Space,
        bytes: u64,
    ) -> io::Result<Self> {
        let first = made_whole(&path, bytes, appending)?;
        let maker =
            (space == Space::New).then(|| Maker::start(path, bytes, appending)).transpose()?;
        Ok(Self { current: Arc::new(first), at: START, maker })
    }

    /// The place of a group that may take this many bytes; true where it is in another file, or at
    /// the file's start again, where the last block of the group before is not written anew.
    pub(super) fn place(&mut self, bytes: usize) -> io::Result<bool> {
        let (bytes, size) = (bytes as u64, self.current.bytes());
        assert!(START + bytes <= size, "a group is smaller than a file");
        if let Some(maker) = &self.maker
            && self.at > size / 2
        {
            maker.needed.store(true, Ordering::Relaxed);
        }
        if self.at + bytes <= size {
            return Ok(false);
        }
        self.at = START;
        if let Some(maker) = &self.maker {
            let next = maker.made.recv().map_err(|_| io::Error::other(MAKER_LOST))??;
            maker.needed.store(false, Ordering::Relaxed);
            let used = std::mem::replace(&mut self.current, Arc::new(next));
            maker.used.send(used).map_err(|_| io::Error::other(MAKER_LOST))?;
        }
        Ok(true)
    }

    /// The file that groups go to.
    pub(super) fn current(&self) -> &Arc<Segment> {
        &self.current
    }

    /// The offset of the next group.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// The next group begins so many bytes later.
    pub(super) fn advance(&mut self, bytes: usize) {
        self.at += bytes as u64;
    }
}

impl Maker {
    fn start(path: PathBuf, bytes: u64, appending: Appending) -> io::Result<Self> {
        // One file is ready, the next one is in the making.
        let (make, made) = bounded(1);
        let (used, to_end) = unbounded();
        let needed = Arc::new(AtomicBool::new(false));
        let is_needed = needed.clone();
        thread::Builder::new().name("durable-files".into()).spawn(move || {
            loop {
                let next = made_at_leisure(&path, bytes, appending, &is_needed, &to_end);
                if make.send(next).is_err() {
                    break;
                }
            }
        })?;
        Ok(Self { made, used, needed })
    }
}

/// A file that is begun and has no name any more: it goes with the process.
fn begun(path: &Path, bytes: u64, appending: Appending) -> io::Result<Making> {
    let mut making = Making::new(path.to_owned(), bytes);
    let made = making.step(appending, Pace::Resting)?;
    assert!(made.is_none(), "the first piece of a file is its space");
    std::fs::remove_file(path)?;
    Ok(making)
}

/// A file all of which is written.
fn made_whole(path: &Path, bytes: u64, appending: Appending) -> io::Result<Segment> {
    let mut making = begun(path, bytes, appending)?;
    loop {
        if let Some(segment) = making.step(appending, Pace::Hurrying)? {
            segment.prefault(0..bytes)?;
            return Ok(segment);
        }
    }
}

/// A file that is zeroed with rests, and taken as it is once it is needed. Files that are used up
/// are given back in between.
fn made_at_leisure(
    path: &Path,
    bytes: u64,
    appending: Appending,
    is_needed: &AtomicBool,
    used: &Receiver<Arc<Segment>>,
) -> io::Result<Segment> {
    let mut making = begun(path, bytes, appending)?;
    loop {
        let pace = match (is_needed.load(Ordering::Relaxed), appending) {
            (false, _) => Pace::Resting,
            (true, Appending::Direct) => Pace::AsItIs,
            (true, _) => Pace::Hurrying,
        };
        let began = Instant::now();
        if let Some(segment) = making.step(appending, pace)? {
            return Ok(segment);
        }
        match used.recv_timeout(pace.rest(began.elapsed())) {
            Ok(full) => drop(full),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(io::Error::other("nobody waits")),
        }
    }
}

/// The thread that writes groups, one after the other, and wakes the loop after each.
pub(super) type Writer = Worker<Group, (Pages, io::Result<()>)>;

/// Blocks on their way into a file.
pub(super) struct Group {
    pub(super) file: Arc<Segment>,
    pub(super) at: u64,
    pub(super) pages: Pages,
    pub(super) bytes: usize,
    /// Whether the write is to be durable by itself.
    pub(super) durable: bool,
}

/// Starts the thread.
pub(super) fn start_writer(waker: Waker) -> io::Result<Writer> {
    let write = |Group { file, at, pages, bytes, durable }| {
        let written = match durable {
            true => file.write_durably(at, &pages[..bytes]),
            false => file.write(at, &pages[..bytes]),
        };
        // The file may be given back as soon as its last write has ended.
        drop(file);
        (pages, written)
    };
    Worker::start("durable-writer", write, Arc::new(move || waker.wake()))
}

/// Groups go after the block of the file's header.
const START: u64 = 4096;

const MAKER_LOST: &str = "the thread that makes files has ended";
