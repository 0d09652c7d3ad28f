//! The thread behind the log: zeroes spare files, names and retires them, moves the mapped window. Nothing here is on the
//! path of a write except the flush that first makes a new file's name durable.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};

use super::segment::{Preparation, Segment};

/// What the appending thread asks for.
pub(super) enum Job {
    /// Make a spare file of so many bytes.
    Prepare(u64),
    /// Entries go to `fresh` from now on: flush `retired`, of which `used` bytes hold entries, then give `fresh` its name.
    Roll {
        retired: Option<(Arc<Segment>, u64)>,
        fresh: Arc<Segment>,
        name: String,
    },
    /// Flush, behind the rolls before it, and report.
    Flush(Arc<Segment>),
    Prefault(Arc<Segment>, Range<u64>),
    Release(Arc<Segment>, Range<u64>),
}

/// What the appending thread hears.
pub(super) enum Completion {
    Spare(Segment),
    Flushed(io::Result<()>),
    /// A spare file could not be made; it is tried again every second. Said once until one is made.
    NoSpare(io::Error),
}

/// The thread's state.
pub(super) struct Background {
    pub(super) dir: PathBuf,
    pub(super) force_sync: bool,
    pub(super) segment_bytes_min: u64,
    pub(super) jobs: Receiver<Job>,
    pub(super) reports: Sender<Completion>,
    pub(super) wake: Arc<dyn Fn() + Send + Sync>,
    /// The appending thread is running out of room: no pauses while zeroing.
    pub(super) urgent: Arc<AtomicBool>,
    pub(super) wanted: VecDeque<u64>,
    pub(super) preparing: Option<Preparation>,
    /// When to try again to make a spare file.
    pub(super) retry_at: Option<Instant>,
    /// Bytes to try next for the first of `wanted`.
    pub(super) attempt: Option<u64>,
    pub(super) spares_made: u64,
    /// The first failure of a flush or naming: no flush succeeds after it.
    pub(super) failed: Option<io::Error>,
    /// Retired segments that are still in use by a flush of the ring.
    pub(super) retired: Vec<(Arc<Segment>, u64)>,
}

impl Background {
    /// Works until the log is dropped.
    pub(super) fn run(mut self) {
        loop {
            let pause = self.prepare_step();
            let job = match pause {
                None => self.jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(pause) => self.jobs.recv_timeout(pause),
            };
            match job {
                Ok(job) => self.run_job(job),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.trim_retired();
        }
        if let Some(preparing) = self.preparing.take() {
            preparing.abandon();
        }
        self.trim_retired();
    }

    fn run_job(&mut self, job: Job) {
        match job {
            Job::Prepare(bytes) => self.wanted.push_back(bytes),
            Job::Roll { retired, fresh, name } => self.roll(retired, &fresh, &name),
            Job::Flush(segment) => self.flush(&segment),
            Job::Prefault(segment, range) => warn(&segment, segment.prefault(range)),
            Job::Release(segment, range) => warn(&segment, segment.release(range)),
        }
    }

    /// The order of the steps is what recovery rests on: a file that has a name has a flushed header, and all entries of the
    /// files before it are durable.
    fn roll(&mut self, retired: Option<(Arc<Segment>, u64)>, fresh: &Segment, name: &str) {
        if self.failed.is_some() {
            return;
        }
        let flushed = match &retired {
            Some((segment, _)) if self.force_sync => segment.sync(),
            _ => Ok(()),
        };
        let named = flushed.and_then(|()| std::fs::rename(&fresh.path, self.dir.join(name)));
        let durable = named.and_then(|()| if self.force_sync { sync_dir(&self.dir) } else { Ok(()) });
        match durable {
            Ok(()) => self.retired.extend(retired),
            Err(error) => self.failed = Some(error),
        }
    }

    fn flush(&mut self, segment: &Segment) {
        if self.failed.is_none() && self.force_sync {
            self.failed = segment.sync().err();
        }
        let outcome = match &self.failed {
            None => Ok(()),
            Some(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        self.report(Completion::Flushed(outcome));
    }

    /// Cuts the zeros of retired files that nobody uses any more.
    fn trim_retired(&mut self) {
        for (segment, used) in std::mem::take(&mut self.retired) {
            match Arc::try_unwrap(segment) {
                Ok(segment) => {
                    if let Err(error) = segment.trim(used) {
                        log::warn!("the padding of a finished log file stays: {error}");
                    }
                }
                Err(segment) => self.retired.push((segment, used)),
            }
        }
    }

    /// Does a piece of the spare file in the making. Says how long to wait for a job before the next piece; `None` is until
    /// one comes.
    fn prepare_step(&mut self) -> Option<Duration> {
        let wanted = *self.wanted.front()?;
        let now = Instant::now();
        if let Some(at) = self.retry_at
            && at > now
        {
            return Some(at - now);
        }
        self.retry_at = None;
        match self.prepare(wanted) {
            Ok(()) if self.urgent.load(Ordering::Relaxed) => Some(Duration::ZERO),
            Ok(()) => Some(now.elapsed().min(PAUSE_MAX)),
            Err(error) => Some(self.on_no_spare(wanted, error)),
        }
    }

    fn prepare(&mut self, wanted: u64) -> io::Result<()> {
        let Some(preparing) = &mut self.preparing else {
            let bytes = *self.attempt.get_or_insert(wanted);
            let path = self.dir.join(format!("{SPARE_PREFIX}{}", self.spares_made));
            self.preparing = Some(Preparation::begin(&path, bytes)?);
            return Ok(());
        };
        if !preparing.step()? {
            return Ok(());
        }
        let segment = self.preparing.take().expect("it was there a line ago").finish()?;
        self.spares_made += 1;
        self.wanted.pop_front();
        self.attempt = None;
        self.report(Completion::Spare(segment));
        Ok(())
    }

    /// Tries a smaller file at once, and after the smallest the whole again in a second.
    fn on_no_spare(&mut self, wanted: u64, error: io::Error) -> Duration {
        if let Some(preparing) = self.preparing.take() {
            preparing.abandon();
        }
        let tried = self.attempt.unwrap_or(wanted);
        if tried > self.segment_bytes_min {
            self.attempt = Some((tried / 4).max(self.segment_bytes_min));
            return Duration::ZERO;
        }
        self.attempt = None;
        self.retry_at = Some(Instant::now() + RETRY);
        self.report(Completion::NoSpare(error));
        RETRY
    }

    fn report(&self, report: Completion) {
        // The log is gone: nobody needs to hear it.
        let _ = self.reports.send(report);
        (self.wake)();
    }
}

/// Makes the names in `dir` durable.
pub(super) fn sync_dir(dir: &std::path::Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn warn(segment: &Segment, result: io::Result<()>) {
    if let Err(error) = result {
        log::warn!("{}: the mapped window could not be moved: {error}", segment.path.display());
    }
}

/// Spare files start with this; Apache looks at nothing but `log.` and `snapshot.`.
pub(super) const SPARE_PREFIX: &str = "ringkeeper.spare.";
/// Between two attempts to make a spare file on a full disk.
const RETRY: Duration = Duration::from_secs(1);
/// The longest rest between two pieces: zeroing takes at most half of the disk's time.
const PAUSE_MAX: Duration = Duration::from_millis(20);
