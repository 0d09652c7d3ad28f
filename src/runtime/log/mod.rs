//! The mapped log: what the quorum core appends to.
//!
//! The log is a row of segments, files of Apache's format that are zeroed in full, flushed and mapped before the first entry
//! goes in. An append is a copy into memory, a flush one fdatasync that finds nothing to allocate. Segments never grow: when
//! one is full, the next one, made by a background thread, takes over. It has a name that Apache ignores until its first
//! entry decides the right one; until that name is durable, flushes go through the background thread as well, so that
//! nothing in a file is acknowledged before the directory knows of it, and the quorum core waits for no directory.
//!
//! When a segment is full or rolled, its entries are flushed, then the next gets its name, then the zeros behind the last entry
//! are cut. So of all files only the newest can end in a torn tail.
//!
//! A full disk: no segment can be made, [`Log::room`] shrinks to what is reserved, the attempt is repeated every second. A
//! failed flush is reported once and ends the log: no later flush or append succeeds.

mod background;
mod segment;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, Sender, unbounded};

use crate::txnlog::{ENTRY_OVERHEAD_BYTES, FILE_HEADER_BYTES, file_name, first_entry, tail_mark};

use background::{Background, Completion, Job, SPARE_PREFIX, sync_dir};
use segment::{Segment, WINDOW_BYTES};

/// What a log is like.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// The `version-2` directory of dataLogDir.
    pub dir: PathBuf,
    /// `preAllocSize`, in bytes: how large a segment is.
    pub segment_bytes: u64,
    /// The longest record that will be appended, in bytes.
    pub record_bytes_max: u64,
    /// `txnLogSizeLimitInKb`, in bytes: a file with more entries than that is rolled.
    pub file_bytes_max: Option<u64>,
    /// `forceSync`: without it no flush waits for the disk, and a power failure loses acknowledged writes.
    pub force_sync: bool,
}

impl LogConfig {
    /// Defaults for the log in `dir`.
    pub fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            segment_bytes: crate::limits::LOG_PREALLOC_BYTES,
            record_bytes_max: crate::limits::RECORD_BYTES_MAX as u64,
            file_bytes_max: None,
            force_sync: true,
        }
    }
}

/// The log can not be opened.
#[derive(Debug)]
pub struct LogError {
    what: &'static str,
    path: PathBuf,
    error: io::Error,
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.path.display(), self.what, self.error)?;
        match self.error.kind() {
            io::ErrorKind::PermissionDenied => {
                write!(
                    f,
                    ". Give the directory to the user that the server runs as: chown -R <user> {}",
                    self.path.display()
                )
            }
            io::ErrorKind::StorageFull => write!(f, ". Free some space there or move dataLogDir"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for LogError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// The entries were not appended, none of them: there is no reserved space for them, or the log has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

/// How the flush that [`Log::begin_flush`] started comes to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// Do an fdatasync of this descriptor, which stays open until then, and tell [`Log::on_flushed`].
    Fdatasync(RawFd),
    /// The background thread is at it: [`Log::poll`] will say [`LogEvent::Flushed`].
    Background,
    /// `forceSync=no`: it is done.
    Done,
    /// A flush failed before: this one did as well.
    Failed,
}

/// What happened behind the appending thread; each comes after a call of the wake function.
#[derive(Debug)]
pub enum LogEvent {
    /// The flush in the background has ended. On an error nothing may be acknowledged any more.
    Flushed(io::Result<()>),
    /// [`Log::room`] has changed.
    Room,
    /// The disk is full, or no file can be made for another reason: said once until one can be made again.
    NoSpace(io::Error),
}

/// The log of one server; owned by the thread that appends.
pub struct Log {
    config: LogConfig,
    current: Option<Current>,
    spares: VecDeque<Segment>,
    /// The sizes asked for of spares that are not there yet.
    coming: VecDeque<u64>,
    /// How much is kept ready behind the current file.
    ahead: u64,
    /// What [`Log::room`] said last, less what was appended since.
    promised: u64,
    /// A new file is wanted for the next append.
    roll_wanted: bool,
    in_flight: Option<InFlight>,
    failed: bool,
    full: bool,
    events: VecDeque<LogEvent>,
    jobs: Sender<Job>,
    reports: Receiver<Completion>,
    urgent: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// The file that entries go to.
struct Current {
    segment: Arc<Segment>,
    /// Where the next entry goes.
    end: u64,
    /// Everything before is on disk.
    durable: u64,
    /// Its name is durable, so that flushes need not go through the background thread.
    named: bool,
    prefaulted: u64,
    released: u64,
}

struct InFlight {
    segment: Arc<Segment>,
    end: u64,
}

impl Log {
    /// Opens the log in a directory that exists, and waits for its first, small segment. Files that are there stay as they
    /// are, but for spares that an earlier run has left. `wake` is called from the background thread when [`Log::poll`]
    /// has something. On a full disk the log opens without room.
    pub fn open(config: LogConfig, wake: Arc<dyn Fn() + Send + Sync>) -> Result<Self, LogError> {
        remove_spares(&config)?;
        let (jobs, job_queue) = unbounded();
        let (report_queue, reports) = unbounded();
        let urgent = Arc::new(AtomicBool::new(true));
        let smallest = config.segment_bytes_min();
        let coming: VecDeque<u64> = [smallest, config.segment_bytes_after(smallest)].into();
        let background = Background {
            dir: config.dir.clone(),
            force_sync: config.force_sync,
            segment_bytes_min: smallest,
            jobs: job_queue,
            reports: report_queue,
            wake,
            urgent: urgent.clone(),
            wanted: coming.clone(),
            preparing: None,
            retry_at: None,
            attempt: None,
            spares_made: 0,
            failed: None,
            retired: Vec::new(),
        };
        let thread = std::thread::Builder::new().name("log-files".into()).spawn(|| background.run());
        let thread = thread.map_err(|error| LogError::new("no thread for the log", &config, error))?;
        let mut log = Self {
            config,
            current: None,
            spares: VecDeque::new(),
            coming,
            ahead: 0,
            promised: 0,
            roll_wanted: false,
            in_flight: None,
            failed: false,
            full: false,
            events: VecDeque::new(),
            jobs,
            reports,
            urgent,
            thread: Some(thread),
        };
        if let Ok(report) = log.reports.recv() {
            log.on_completion(report);
        }
        Ok(log)
    }

    /// Bytes of entries that are certain to fit, however they are split into entries and whether or not the log is rolled
    /// in between. A promise: it holds until it is used up or asked for again.
    pub fn room(&mut self) -> u64 {
        self.collect();
        self.promised = match () {
            () if self.failed => 0,
            // The rest of the current file is about to be given up.
            () if self.roll_wanted && !self.spares.is_empty() => self.spare_room(),
            () => self.rest().max(self.spare_room()),
        };
        self.promised
    }

    /// Whether [`Log::room`] is small because the disk is full, rather than because the next segment is still being made.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// The longest record that may be appended, in bytes.
    pub fn record_bytes_max(&self) -> u64 {
        self.config.record_bytes_max
    }

    /// Appends whole entries, in zxid order.
    pub fn append(&mut self, entries: &[u8]) -> Result<(), NoRoom> {
        self.collect();
        if self.failed {
            return Err(NoRoom);
        }
        let rolls = self.roll_wanted && !self.spares.is_empty() && self.spare_room() >= self.promised;
        if !rolls && self.rest() >= entries.len() as u64 && self.current.is_some() {
            self.write(entries);
        } else {
            self.append_over_files(entries, rolls)?;
        }
        self.promised = self.promised.saturating_sub(entries.len() as u64);
        self.roll_wanted |= self.config.file_bytes_max.is_some_and(|max| self.file_bytes() > max);
        Ok(())
    }

    /// The next append starts a new file, if there is one ready that holds what was promised; else the one after it, and so on.
    pub fn roll(&mut self) {
        self.roll_wanted = self.current.is_some();
    }

    /// Bytes of the current file up to the end of its entries.
    pub fn file_bytes(&self) -> u64 {
        self.current.as_ref().map_or(0, |current| current.end)
    }

    /// Starts a flush of everything appended so far. At most one is in flight.
    pub fn begin_flush(&mut self) -> Flush {
        assert!(self.in_flight.is_none(), "at most one flush is in flight");
        let Some(current) = self.current.as_ref().filter(|_| !self.failed) else {
            return if self.failed { Flush::Failed } else { Flush::Done };
        };
        let segment = current.segment.clone();
        if current.named && !self.config.force_sync {
            return Flush::Done;
        }
        self.in_flight = Some(InFlight { segment: segment.clone(), end: current.end });
        if current.named {
            return Flush::Fdatasync(segment.as_raw_fd());
        }
        self.send(Job::Flush(segment));
        Flush::Background
    }

    /// The flush that was [`Flush::Fdatasync`] has ended so. After an error the log takes nothing more.
    pub fn on_flushed(&mut self, result: &io::Result<()>) {
        let Some(flushed) = self.in_flight.take() else { return };
        match (&mut self.current, result) {
            (_, Err(_)) => self.failed = true,
            (Some(current), Ok(())) if Arc::ptr_eq(&current.segment, &flushed.segment) => {
                current.durable = flushed.end;
                // A flush through the background thread is the one that waits for the name.
                current.named = true;
            }
            _ => {}
        }
    }

    /// The next thing that happened behind the appending thread.
    pub fn poll(&mut self) -> Option<LogEvent> {
        self.collect();
        self.events.pop_front()
    }

    /// Flushes and waits: for shutdown and tests.
    pub fn flush_blocking(&mut self) -> io::Result<()> {
        match self.begin_flush() {
            Flush::Done => Ok(()),
            Flush::Failed => Err(io::Error::other("a flush of the log failed before")),
            Flush::Fdatasync(_) => {
                let result = self.in_flight.as_ref().map_or(Ok(()), |flush| flush.segment.sync());
                self.on_flushed(&result);
                result
            }
            Flush::Background => self.wait_for_flush(),
        }
    }

    /// Ends the log: flushes, cuts the zeros behind the last entry, removes the spare files. No flush may be in flight.
    pub fn close(mut self) -> io::Result<()> {
        self.flush_blocking()?;
        let current = self.current.take();
        for spare in self.spares.drain(..) {
            std::fs::remove_file(&spare.path)?;
        }
        self.join();
        // The background thread has ended, so a spare that it made meanwhile is among the reports.
        for report in self.reports.try_iter() {
            if let Completion::Spare(spare) = report {
                std::fs::remove_file(&spare.path)?;
            }
        }
        let Some(current) = current else { return Ok(()) };
        if let Some(segment) = Arc::into_inner(current.segment) {
            segment.trim(current.end)?;
        }
        if self.config.force_sync { sync_dir(&self.config.dir) } else { Ok(()) }
    }

    fn wait_for_flush(&mut self) -> io::Result<()> {
        loop {
            let report = self.reports.recv().map_err(|_| io::Error::other("the log's thread has ended"))?;
            self.on_completion(report);
            if let Some(LogEvent::Flushed(_)) = self.events.back()
                && let Some(LogEvent::Flushed(result)) = self.events.pop_back()
            {
                return result;
            }
        }
    }

    /// Bytes left in the current file.
    fn rest(&self) -> u64 {
        self.current.as_ref().map_or(0, |current| current.segment.bytes() - current.end)
    }

    /// Bytes that are certain to fit into the spare files: at the end of each but the last, an entry may not fit any more.
    fn spare_room(&self) -> u64 {
        let all: u64 = self.spares.iter().map(Segment::capacity).sum();
        let lost = self.spares.len().saturating_sub(1) as u64 * self.config.entry_bytes_max();
        all.saturating_sub(lost)
    }

    fn append_over_files(&mut self, entries: &[u8], rolls: bool) -> Result<(), NoRoom> {
        let rest = if rolls { 0 } else { self.rest() };
        let capacities = std::iter::once(rest).chain(self.spares.iter().map(Segment::capacity));
        let parts = split(entries, capacities).ok_or(NoRoom)?;
        let mut written = 0;
        for (index, len) in parts.into_iter().enumerate() {
            let part = &entries[written..written + len];
            if index > 0 {
                self.start_file(part);
            }
            if !part.is_empty() {
                self.write(part);
            }
            written += len;
        }
        Ok(())
    }

    /// Makes the next spare file the current one, under the name that the first of `entries` gives it.
    fn start_file(&mut self, entries: &[u8]) {
        let fresh = Arc::new(self.spares.pop_front().expect("the split counted on this file"));
        let (_, first) = first_entry(entries).expect("the log gets whole entries");
        let retired = self.current.take().map(|current| (current.segment, current.end));
        self.ahead = match &retired {
            Some((_, used)) if self.roll_wanted => self.config.segment_bytes_like(*used),
            _ => self.config.segment_bytes_whole(),
        };
        self.send(Job::Roll { retired, fresh: fresh.clone(), name: file_name(first) });
        let header = FILE_HEADER_BYTES as u64;
        self.current = Some(Current {
            prefaulted: WINDOW_BYTES.min(fresh.bytes()),
            segment: fresh,
            end: header,
            durable: header,
            named: false,
            released: 0,
        });
        self.roll_wanted = false;
        self.urgent.store(self.spares.is_empty(), Ordering::Relaxed);
        self.ask_for_spares();
    }

    /// Sees to it that behind the current file there is as much room as a file is likely to take, in one segment or, while the
    /// segments still grow, in several.
    fn ask_for_spares(&mut self) {
        let Some(current) = &self.current else { return };
        let mut last = self.spares.back().map_or(current.segment.bytes(), Segment::bytes);
        last = self.coming.back().copied().unwrap_or(last);
        let ready: u64 = self.spares.iter().map(Segment::bytes).chain(self.coming.iter().copied()).sum();
        if ready < self.ahead {
            last = self.config.segment_bytes_after(last).min(self.ahead);
            self.coming.push_back(last);
            self.send(Job::Prepare(last));
        }
    }

    fn write(&mut self, entries: &[u8]) {
        let current = self.current.as_mut().expect("a file was started");
        current.segment.write(current.end, entries);
        current.end += entries.len() as u64;
        if let Some(mark) = tail_mark(current.segment.nonce(), current.end, current.durable)
            && current.end < current.segment.bytes()
        {
            current.segment.write(current.end, &mark);
        }
        self.move_window();
    }

    /// Keeps the pages around the end mapped, and no others.
    fn move_window(&mut self) {
        let Some(current) = &mut self.current else { return };
        let mut jobs = [None, None];
        if current.prefaulted < current.segment.bytes() && current.end + WINDOW_BYTES / 2 > current.prefaulted {
            let range = current.prefaulted..current.prefaulted.max(current.end) + WINDOW_BYTES;
            current.prefaulted = range.end;
            jobs[0] = Some(Job::Prefault(current.segment.clone(), range));
        }
        if current.end - current.released > 2 * WINDOW_BYTES {
            let range = current.released..(current.end / WINDOW_BYTES - 1) * WINDOW_BYTES;
            current.released = range.end;
            jobs[1] = Some(Job::Release(current.segment.clone(), range));
        }
        jobs.into_iter().flatten().for_each(|job| self.send(job));
    }

    fn send(&self, job: Job) {
        // The thread ends only when the log does, or by a panic, which the missing reports will show.
        let _ = self.jobs.send(job);
    }

    fn collect(&mut self) {
        while let Ok(report) = self.reports.try_recv() {
            self.on_completion(report);
        }
    }

    fn on_completion(&mut self, report: Completion) {
        match report {
            Completion::Spare(segment) => {
                self.spares.push_back(segment);
                self.coming.pop_front();
                self.ask_for_spares();
                self.full = false;
                self.urgent.store(false, Ordering::Relaxed);
                self.events.push_back(LogEvent::Room);
            }
            Completion::Flushed(result) => {
                self.on_flushed(&result);
                self.events.push_back(LogEvent::Flushed(result));
            }
            Completion::NoSpare(error) if !self.full => {
                self.full = true;
                self.events.push_back(LogEvent::NoSpace(error));
            }
            Completion::NoSpare(_) => {}
        }
    }

    fn join(&mut self) {
        let (closed, _) = unbounded();
        self.jobs = closed;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the log's background thread has panicked");
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.join();
    }
}

impl LogConfig {
    fn entry_bytes_max(&self) -> u64 {
        self.record_bytes_max + ENTRY_OVERHEAD_BYTES as u64
    }

    /// The smallest segment: a start should not wait for more, and two of the longest records fit.
    pub fn segment_bytes_min(&self) -> u64 {
        let two_records = 2 * self.entry_bytes_max() + FILE_HEADER_BYTES as u64;
        FIRST_SEGMENT_BYTES.max(two_records).next_multiple_of(SEGMENT_BYTES_STEP)
    }

    /// Where files are rolled before they are full, at each snapshot, the next one is as large as the last has been used:
    /// what is zeroed beyond that is cut again.
    fn segment_bytes_like(&self, used: u64) -> u64 {
        let whole = self.segment_bytes_whole();
        let least = self.segment_bytes_after(self.segment_bytes_min());
        used.next_multiple_of(SEGMENT_BYTES_STEP).clamp(least, whole)
    }

    fn segment_bytes_whole(&self) -> u64 {
        self.segment_bytes.max(self.segment_bytes_min()).next_multiple_of(SEGMENT_BYTES_STEP)
    }

    /// Segments grow from the small first one to the configured size.
    fn segment_bytes_after(&self, bytes: u64) -> u64 {
        bytes.saturating_mul(SEGMENT_GROWTH).min(self.segment_bytes_whole())
    }
}

impl LogError {
    fn new(what: &'static str, config: &LogConfig, error: io::Error) -> Self {
        Self { what, path: config.dir.clone(), error }
    }
}

/// How many bytes of `entries` go into each of the files with these capacities, at entry boundaries; none if they do not fit.
fn split(entries: &[u8], capacities: impl Iterator<Item = u64>) -> Option<Vec<usize>> {
    let mut parts = Vec::new();
    let mut rest = entries;
    for capacity in capacities {
        let mut part = 0;
        while let Some((len, _)) = first_entry(&rest[part..])
            && (part + len) as u64 <= capacity
        {
            part += len;
        }
        // The current file may be left as it is, but a new one needs an entry to be named after.
        if part == 0 && !parts.is_empty() {
            return None;
        }
        parts.push(part);
        rest = &rest[part..];
        if rest.is_empty() {
            return Some(parts);
        }
    }
    None
}

fn remove_spares(config: &LogConfig) -> Result<(), LogError> {
    let failed = |error| LogError::new("the log directory can not be used", config, error);
    for entry in std::fs::read_dir(&config.dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name().to_string_lossy().starts_with(SPARE_PREFIX) {
            std::fs::remove_file(entry.path()).map_err(failed)?;
        }
    }
    Ok(())
}

/// What a start waits for.
const FIRST_SEGMENT_BYTES: u64 = 4 << 20;
/// How much larger the next segment is until the configured size is reached.
const SEGMENT_GROWTH: u64 = 4;
/// Segments are a multiple of this.
const SEGMENT_BYTES_STEP: u64 = 1 << 20;
