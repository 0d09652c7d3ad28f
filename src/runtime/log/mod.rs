//! The log on real files: what the quorum core appends to.
//!
//! [`LogWriter`] decides everything: which file entries go to, how it is called, what a flush does.
//! This shell carries its effects out, in the [`Way`] that is asked for and possible: entries are
//! stored into a map of the file and the ring syncs it, or they are staged and a thread of their
//! own writes them. Everything else that may take time in the kernel (making and naming files,
//! syncing the directory, cutting padding) is a background thread's, so that the quorum core waits
//! for no directory.
//!
//! | file | holds |
//! |---|---|
//! | `segment` | one file |
//! | `making` | a file in the making |
//! | `way` | how entries get into files |
//! | `flush` | an operation that makes entries durable |
//! | `place` | whether the files are still where a start looks for them, and can be written |
//! | `flusher` | the thread that writes groups directly |
//! | `background` | the thread for all else |
//! | `error` | what a person is told |

mod background;
mod error;
mod flush;
mod flusher;
mod making;
mod place;
mod segment;
#[cfg(test)]
mod tests;
mod way;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use crossbeam::channel::{Receiver, Sender, TryRecvError, unbounded};

use crate::limits;
use crate::txnlog::{
    self, Appending, Durable, Failed, FileId, LogDone, LogEffect, LogWriter, NextFile, NoRoom,
    PendingFlush, SPARE_PREFIX, WriterSettings,
};
use crate::zxid::Zxid;

use super::ring::{Ring, RingError, Token};
use super::worker::Lost;

use background::{Background, Completion, Job, SharedPace};
use flush::{ToFlush, is_canceled};
use flusher::{Ended, Flusher};
use segment::WINDOW_BYTES;

pub use error::{LogError, NoSpare};
pub use making::{Making, Pace};
pub use segment::Segment;
pub use way::Way;

/// The settings of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// `preAllocSize`, in bytes: how large a segment is. Default 64 MiB.
    pub segment_bytes: u64,
    /// The longest record that will be appended, in bytes: `jute.maxbuffer` and
    /// `jute.maxbuffer.extrasize` together.
    pub record_bytes_max: u64,
    /// `forceSync`: without it no flush waits for the disk, and a power failure loses acknowledged
    /// writes. Default true; only the word `no` turns it off.
    pub force_sync: bool,
    /// `ringkeeper.log`: how groups of entries are asked to get to the disk. Default direct, for
    /// which perf/README.md gives the figures.
    pub appending: Appending,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            segment_bytes: limits::LOG_PREALLOC_BYTES,
            record_bytes_max: limits::RECORD_BYTES_MAX as u64,
            force_sync: true,
            appending: Appending::Direct,
        }
    }
}

impl LogConfig {
    /// The smallest segment that a start can do with, in bytes.
    pub fn segment_bytes_min(&self) -> u64 {
        self.settings(Appending::Mapped).segment_bytes_min()
    }

    fn settings(&self, appending: Appending) -> WriterSettings {
        WriterSettings {
            segment_bytes: self.segment_bytes,
            first_segment_bytes: FIRST_SEGMENT_BYTES,
            segment_bytes_step: SEGMENT_BYTES_STEP,
            record_bytes_max: self.record_bytes_max,
            force_sync: self.force_sync,
            appending,
        }
    }
}

/// An event of the log; one of the background thread's follows a call of the wake function.
#[derive(Debug)]
pub enum LogEvent {
    /// The flush has ended.
    Durable(Durable<Zxid>),
    /// The log has failed: nothing more may be acknowledged.
    Failed(LogError),
    /// [`Log::room`] has grown.
    Room,
    /// No file can be made: said once until one can be made again.
    NoSpare(NoSpare),
}

/// The log of one server; owned by the thread that appends.
pub struct Log {
    /// The `version-2` directory of dataLogDir.
    dir: PathBuf,
    config: LogConfig,
    way: Way,
    writer: LogWriter,
    /// The files that entries go to or wait in; a handful.
    files: Vec<OpenSegment>,
    /// The operation that comes next, and the one that the ring has. Invariant: at most one of the
    /// two is there.
    to_flush: Option<ToFlush>,
    flushing: Option<ToFlush>,
    /// There where entries are written directly.
    flusher: Option<Flusher>,
    /// Whether it was said that the kernel has no thread for flushes.
    canceled_said: bool,
    /// Why the log has failed, until it is said; why no file could be made.
    failure: Option<io::Error>,
    no_spare: Option<io::Error>,
    /// Buffers of appends, to be used again.
    buffers: Vec<Vec<u8>>,
    jobs: Sender<Job>,
    completions: Receiver<Completion>,
    /// The haste with which the next file is made.
    pace: Arc<SharedPace>,
    /// The start is over, which waits for the first file.
    opened: bool,
    wake: Arc<dyn Fn() + Send + Sync>,
    thread: Option<JoinHandle<()>>,
}

/// A log that has ended, all of it durable: what the next one in its place is opened with.
pub struct ClosedLog {
    dir: PathBuf,
    config: LogConfig,
    wake: Arc<dyn Fn() + Send + Sync>,
}

impl ClosedLog {
    /// Opens the next log, which begins a new file with its first entry. All up to `last` is in
    /// files that are there, or in a snapshot.
    pub fn open(self, last: Zxid) -> Result<Log, LogError> {
        Log::open(self.dir, self.config, last, self.wake)
    }
}

/// A file with the window of it that is kept mapped. Invariant: `released <= prefaulted`.
struct OpenSegment {
    file: FileId,
    segment: Arc<Segment>,
    prefaulted: u64,
    released: u64,
}

impl Log {
    /// Opens the log in `dir`, which exists, and waits for its first, small segment. Files that
    /// are there stay as they are, but for spares that an earlier run has left. All up to `last` is
    /// in them. `wake` is called from the background thread when [`Log::poll`] has something. On a
    /// full disk the log opens without room.
    pub fn open(
        dir: PathBuf,
        config: LogConfig,
        last: Zxid,
        wake: Arc<dyn Fn() + Send + Sync>,
    ) -> Result<Self, LogError> {
        remove_spares(&dir)?;
        let (jobs, job_queue) = unbounded();
        let (completion_queue, completions) = unbounded();
        let pace = Arc::new(SharedPace::new(Pace::Hurrying));
        let way = Way::choose(&dir, config.appending, config.force_sync);
        let background = Background::new(
            dir.clone(),
            way.appending,
            job_queue,
            completion_queue,
            pace.clone(),
            wake.clone(),
        );
        let no_thread = |error| LogError::new("no thread can be started for the log", &dir, error);
        let thread = std::thread::Builder::new().name(THREAD.into()).spawn(|| background.run());
        let thread = thread.map_err(no_thread)?;
        let is_direct = way.appending == Appending::Direct;
        let flusher = is_direct.then(|| Flusher::start(WRITER_THREAD, wake.clone())).transpose();
        let flusher = flusher.map_err(no_thread)?;
        let mut log = Self {
            writer: LogWriter::new(config.settings(way.appending), last, 0),
            dir,
            config,
            way,
            files: Vec::new(),
            to_flush: None,
            flushing: None,
            flusher,
            canceled_said: false,
            failure: None,
            no_spare: None,
            buffers: Vec::new(),
            jobs,
            completions,
            pace,
            opened: false,
            wake,
            thread: Some(thread),
        };
        log.run_effects();
        while log.writer.next_file() != NextFile::Ready
            && !log.writer.is_full()
            && !log.writer.has_failed()
        {
            log.wait();
        }
        log.opened = true;
        Ok(log)
    }

    /// The way entries get into files.
    pub fn way(&self) -> &Way {
        &self.way
    }

    /// Bytes of entries that are certain to fit, of which `pending` are encoded and not yet
    /// appended; see [`LogWriter::room`].
    pub fn room(&mut self, pending: u64) -> u64 {
        self.writer.room(pending)
    }

    /// Whether [`Log::room`] is small because no file can be made, rather than because the next one
    /// is still being made.
    pub fn is_full(&self) -> bool {
        self.writer.is_full()
    }

    /// The longest record that may be appended, in bytes.
    pub fn record_bytes_max(&self) -> u64 {
        self.config.record_bytes_max
    }

    /// Appends whole entries, in zxid order, the last of which is `last`. Gives a buffer back that
    /// can be used again.
    pub fn append(&mut self, entries: Bytes, last: Zxid) -> Result<Vec<u8>, NoRoom> {
        let buffer = self.writer.append(entries, last)?;
        self.run_effects();
        Ok(if buffer.capacity() > 0 { buffer } else { self.buffers.pop().unwrap_or_default() })
    }

    /// The next append starts a new file, if there is one ready that holds what was promised; else
    /// the one after it, and so on.
    pub fn roll(&mut self) {
        self.writer.roll();
    }

    /// Bytes of the current file up to the end of its entries.
    pub fn file_bytes(&self) -> u64 {
        self.writer.file_bytes()
    }

    /// Starts a flush of what was appended so far, which ends in an event. At most one is under
    /// way. [`Log::submit`] must follow.
    pub fn flush(&mut self, flush: PendingFlush) {
        self.writer.flush(flush);
        self.run_effects();
    }

    /// Begins what is to be flushed, at once: the disk works while the caller goes on with what the
    /// flush before has made durable.
    pub fn submit(&mut self, ring: &mut Ring) -> Result<(), RingError> {
        let Some(flush) = self.to_flush.take() else { return Ok(()) };
        assert!(self.flushing.is_none(), "one operation at a time");
        let segment = self.segment(flush.file());
        match (&flush, &self.flusher) {
            (ToFlush::Write { .. }, Some(flusher)) => {
                flusher.begin(segment.clone(), flush);
                return Ok(());
            }
            (ToFlush::Write { .. }, None) => panic!("direct ways have the thread"),
            (ToFlush::Sync { .. }, _) => {
                let fd = segment.as_fd().as_raw_fd();
                // SAFETY: the file stays open until the operation has ended: the machine has it
                // cut, which is what closes it, only after that.
                ring.sync(FLUSH, unsafe { BorrowedFd::borrow_raw(fd) })?;
            }
        }
        self.flushing = Some(flush);
        ring.submit()
    }

    /// The sync that the ring was given has ended so. [`Log::submit`] must follow: it may be the
    /// turn of the next file.
    pub fn on_synced(&mut self, result: io::Result<()>) {
        if let Some(flush) = self.flushing.take() {
            assert!(matches!(flush, ToFlush::Sync { .. }), "the ring was given a sync");
            self.on_flush_ended(flush, result);
        }
    }

    /// An operation of the ring has ended. What was not even begun, because the kernel could start
    /// no thread for it, is done by the thread that is there.
    fn on_flush_ended(&mut self, flush: ToFlush, result: io::Result<()>) {
        if !is_canceled(&result) {
            return self.flushed(flush, result);
        }
        if !std::mem::replace(&mut self.canceled_said, true) {
            log::warn!(
                "the kernel has no thread of its own to flush the transaction log with (io_uring: \
                 operation canceled), so {THREAD} does it, more slowly; to raise the limit of \
                 threads: ulimit -u 4096 (systemd: LimitNPROC=4096 and TasksMax=4096, docker: \
                 --pids-limit 4096)"
            );
        }
        let segment = self.segment(flush.file()).clone();
        self.send(Job::Flush { segment, flush });
    }

    /// An operation has ended, whoever did it.
    fn flushed(&mut self, flush: ToFlush, result: io::Result<()>) {
        let segment = self.segment(flush.file());
        let result = match self.way.is_local {
            true => result.and_then(|()| segment.check_writable()),
            // The other machine refuses by itself, and would have to be asked each time.
            false => result,
        };
        match flush {
            ToFlush::Sync { file } => {
                self.done(result, |result| LogDone::Synced { file, result });
            }
            ToFlush::Write { file, blocks, .. } => {
                self.done(result, |result| LogDone::Written { file, blocks, result });
            }
        }
    }

    /// The next thing that happened.
    pub fn poll(&mut self) -> Option<LogEvent> {
        self.collect();
        Some(match self.writer.poll_event()? {
            txnlog::LogEvent::Durable(durable) => LogEvent::Durable(durable),
            txnlog::LogEvent::Room => LogEvent::Room,
            txnlog::LogEvent::NoSpare => {
                let error = self.no_spare.take().unwrap_or_else(|| io::Error::other("no reason"));
                LogEvent::NoSpare(NoSpare::new(&self.dir, error))
            }
            txnlog::LogEvent::Failed => {
                let error = self.failure.take();
                let error = error.unwrap_or_else(|| io::Error::other("an earlier flush failed"));
                LogEvent::Failed(LogError::new(FAILED, &self.dir, error))
            }
        })
    }

    /// Flushes and waits: for shutdown and tests.
    pub fn flush_blocking(&mut self) -> io::Result<()> {
        self.writer.flush(PendingFlush::of(self.writer.appended()));
        loop {
            self.run_effects();
            if let Some(flush) = self.to_flush.take() {
                self.flush_now(flush);
            } else if self.writer.is_flushing() {
                self.wait();
            } else {
                break;
            }
        }
        let mut events = Vec::new();
        while let Some(event) = self.writer.poll_event() {
            events.push(event);
        }
        match events.contains(&txnlog::LogEvent::Failed) {
            false => Ok(()),
            true => Err(self.failure.take().unwrap_or_else(|| io::Error::other("the log failed"))),
        }
    }

    /// Ends the log: flushes, cuts the zeros after the last entry, removes the spare files. No
    /// flush may be in flight.
    pub fn close(mut self) -> io::Result<ClosedLog> {
        self.flush_blocking()?;
        self.join();
        self.collect();
        self.writer.close();
        while let Some(effect) = self.writer.poll() {
            match effect {
                LogEffect::Trim { file, bytes, mark } => {
                    if let Some(segment) = self.take(file).and_then(Arc::into_inner) {
                        segment.trim(bytes, mark)?;
                    }
                }
                LogEffect::Remove { name, .. } => {
                    std::fs::remove_file(self.dir.join(name))?;
                }
                LogEffect::SyncDir => background::sync_dir(&self.dir)?,
                // The thread has ended, and everything is flushed.
                _ => {}
            }
        }
        let (dir, config, wake) = (self.dir.clone(), self.config.clone(), self.wake.clone());
        Ok(ClosedLog { dir, config, wake })
    }

    fn flush_now(&mut self, flush: ToFlush) {
        let result = flush.run(self.segment(flush.file()), &mut None);
        self.flushed(flush, result);
    }

    /// Carries out what the machine asks for, but for flushes, which wait for the ring.
    fn run_effects(&mut self) {
        while let Some(effect) = self.writer.poll() {
            match effect {
                LogEffect::Store { file, offset, bytes } => self.store(file, offset, bytes),
                LogEffect::Sync { file } => self.to_flush = Some(ToFlush::Sync { file }),
                LogEffect::Write { file, offset, blocks } => {
                    self.to_flush = Some(ToFlush::Write { file, offset, blocks });
                }
                LogEffect::Make { file, name, bytes, after_ms } => {
                    self.send(Job::Make { file, name, bytes, after_ms });
                }
                LogEffect::Rename { file, from, to } => self.send(Job::Rename { file, from, to }),
                LogEffect::SyncDir => self.send(Job::SyncDir),
                LogEffect::Trim { file, bytes, mark } => {
                    if let Some(segment) = self.take(file) {
                        self.send(Job::Trim { segment, bytes, mark });
                    }
                    self.writer.on_done(LogDone::Trimmed { file });
                }
                LogEffect::Remove { file, name } => {
                    self.send(Job::Remove { name });
                    self.writer.on_done(LogDone::Removed { file });
                }
            }
        }
        self.pace.set(self.next_pace());
    }

    /// Zeros beside entries would take the disk's time twice. Direct writes do without them where
    /// they are not there in time; stores into a map do not, as each flush of theirs would then
    /// write the file system's journal page by page.
    fn next_pace(&self) -> Pace {
        let is_direct = self.way.appending == Appending::Direct;
        match self.writer.next_file() {
            NextFile::Ready => Pace::Resting,
            NextFile::Wanted if is_direct && self.opened => Pace::Resting,
            NextFile::Needed if is_direct && self.opened => Pace::AsItIs,
            NextFile::Wanted | NextFile::Needed => Pace::Hurrying,
        }
    }

    fn store(&mut self, file: FileId, offset: u64, mut bytes: Vec<u8>) {
        let end = offset + bytes.len() as u64;
        let open = self.files.iter_mut().find(|open| open.file == file).expect("it was made");
        let stored = open.segment.store(offset, &bytes);
        let jobs = open.move_window(end);
        if let Err(error) = stored {
            self.on_lost(error);
        }
        jobs.into_iter().flatten().for_each(|job| self.send(job));
        if self.buffers.len() < BUFFERS_MAX {
            bytes.clear();
            self.buffers.push(bytes);
        }
    }

    fn segment(&self, file: FileId) -> &Arc<Segment> {
        let open = self.files.iter().find(|open| open.file == file);
        &open.expect("the machine names files that are there").segment
    }

    fn take(&mut self, file: FileId) -> Option<Arc<Segment>> {
        let at = self.files.iter().position(|open| open.file == file)?;
        Some(self.files.swap_remove(at).segment)
    }

    fn send(&self, job: Job) {
        // The thread ends before the log only by a panic, which `collect` sees.
        let _ = self.jobs.send(job);
    }

    /// Tells the machine how an operation went, and keeps the first reason.
    fn done(&mut self, result: io::Result<()>, done: impl FnOnce(Result<(), Failed>) -> LogDone) {
        let result = result.map_err(|error| {
            self.failure.get_or_insert(error);
            Failed
        });
        self.writer.on_done(done(result));
        self.run_effects();
    }

    fn collect(&mut self) {
        match self.flusher.as_ref().map_or(Ok(None), Flusher::poll) {
            Ok(None) => {}
            Ok(Some(Ended { flush, result })) => self.flushed(flush, result),
            Err(Lost) => self.on_thread_lost(WRITER_THREAD),
        }
        loop {
            match self.completions.try_recv() {
                Ok(completion) => self.on_completion(completion),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    if self.thread.is_some() {
                        self.on_thread_lost(THREAD);
                    }
                    break;
                }
            }
        }
    }

    fn wait(&mut self) {
        match self.completions.recv() {
            Ok(completion) => self.on_completion(completion),
            Err(_) => self.on_thread_lost(THREAD),
        }
    }

    fn on_completion(&mut self, completion: Completion) {
        match completion {
            Completion::Made { file, made: Ok(segment) } => {
                let nonce = segment.nonce();
                let prefaulted = WINDOW_BYTES.min(segment.bytes());
                let segment = Arc::new(segment);
                self.files.push(OpenSegment { file, segment, prefaulted, released: 0 });
                self.writer.on_done(LogDone::Made { file, nonce: Ok(nonce) });
            }
            Completion::Made { file, made: Err(error) } => {
                self.no_spare = Some(error);
                self.writer.on_done(LogDone::Made { file, nonce: Err(Failed) });
            }
            Completion::Renamed { file, result } => {
                self.done(result, |result| LogDone::Renamed { file, result });
            }
            Completion::DirSynced { result } => {
                self.done(result, |result| LogDone::DirSynced { result });
            }
            Completion::Flushed { flush, result } => self.flushed(flush, result),
            Completion::Lost(error) => self.on_lost(error),
        }
        self.run_effects();
    }

    /// A thread has ended although the log has not: it has panicked, and nothing more can be made,
    /// named or written.
    fn on_thread_lost(&mut self, name: &str) {
        let text = format!("the server's thread {name} has ended unexpectedly");
        self.on_lost(io::Error::other(text));
    }

    /// Nothing more can be carried out, for this reason.
    fn on_lost(&mut self, error: io::Error) {
        self.failure.get_or_insert(error);
        self.writer.on_failed();
    }

    fn join(&mut self) {
        let (closed, _) = unbounded();
        self.jobs = closed;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the server's thread {THREAD} has panicked");
        }
    }
}

impl OpenSegment {
    /// Keeps the pages around `end` mapped, and no others.
    fn move_window(&mut self, end: u64) -> [Option<Job>; 2] {
        let mut jobs = [None, None];
        if !self.segment.is_mapped() {
            return jobs;
        }
        if self.prefaulted < self.segment.bytes() && end + WINDOW_BYTES / 2 > self.prefaulted {
            let range = self.prefaulted..self.prefaulted.max(end) + WINDOW_BYTES;
            self.prefaulted = range.end;
            jobs[0] = Some(Job::Prefault(self.segment.clone(), range));
        }
        if end - self.released > 2 * WINDOW_BYTES {
            let range = self.released..(end / WINDOW_BYTES - 1) * WINDOW_BYTES;
            self.released = range.end;
            jobs[1] = Some(Job::Release(self.segment.clone(), range));
        }
        debug_assert!(self.released <= self.prefaulted, "what is written was brought in");
        jobs
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.join();
    }
}

fn remove_spares(dir: &Path) -> Result<(), LogError> {
    let failed = |error| LogError::new("the log directory cannot be used", dir, error);
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name().to_string_lossy().starts_with(SPARE_PREFIX) {
            std::fs::remove_file(entry.path()).map_err(failed)?;
        }
    }
    Ok(())
}

/// The beginning of the message about a log that has failed.
const FAILED: &str = "the transaction log has failed";
/// The background thread's name.
const THREAD: &str = "log-files";
/// That of the one that writes groups directly.
const WRITER_THREAD: &str = "log-writer";
/// The ring's name of the flush: there is at most one in flight.
const FLUSH: Token = Token::new(0, 0);
/// The work that a start waits for.
const FIRST_SEGMENT_BYTES: u64 = 4 << 20;
/// Segments are a multiple of this.
const SEGMENT_BYTES_STEP: u64 = 1 << 20;
const BUFFERS_MAX: usize = 4;
