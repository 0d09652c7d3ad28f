//! The log's background thread: makes spare files, names and cuts files, moves the mapped window,
//! and looks whether the file in use is still in its place. It carries out one job after the other,
//! but makes files piece by piece in between.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};

use crate::txnlog::{Appending, FileId, TAIL_MARK_BYTES};

use super::flush::ToFlush;
use super::making::{Making, Pace};
use super::place::Place;
use super::segment::Segment;

/// The requests of the appending thread.
pub(super) enum Job {
    Make {
        file: FileId,
        name: String,
        bytes: u64,
        after_ms: u32,
    },
    Rename {
        file: FileId,
        from: String,
        to: String,
    },
    SyncDir,
    /// Nobody else has the segment but jobs before this one.
    Trim {
        segment: Arc<Segment>,
        bytes: u64,
        mark: [u8; TAIL_MARK_BYTES],
    },
    Remove {
        name: String,
    },
    Prefault(Arc<Segment>, Range<u64>),
    Release(Arc<Segment>, Range<u64>),
    /// The ring could not do it.
    Flush {
        segment: Arc<Segment>,
        flush: ToFlush,
    },
    #[cfg(test)]
    Panic,
}

/// The answers to the appending thread.
pub(super) enum Completion {
    /// After an error nothing is left of the file.
    Made {
        file: FileId,
        made: io::Result<Segment>,
    },
    Renamed {
        file: FileId,
        result: io::Result<()>,
    },
    DirSynced {
        result: io::Result<()>,
    },
    Flushed {
        flush: ToFlush,
        result: io::Result<()>,
    },
    /// A start would not find the file in use. Said once.
    Lost(io::Error),
}

/// The thread's state.
pub(super) struct Background {
    dir: PathBuf,
    appending: Appending,
    jobs: Receiver<Job>,
    /// Closed when the thread ends, by a panic too: the wake in `last` follows.
    completions: Sender<Completion>,
    pace: Arc<SharedPace>,
    next: Option<Next>,
    /// Of the file that was named last, until it is lost; and when to look again.
    place: Option<Place>,
    look_at: Instant,
    // Dropped after the sender above, so that whoever is woken finds the channel closed.
    last: WakeAtEnd,
}

/// The file that is made, from this time on.
struct Next {
    file: FileId,
    at: Instant,
    making: Making,
}

/// The pace, as the appending thread sets it.
pub(super) struct SharedPace(AtomicU8);

impl SharedPace {
    pub(super) fn new(pace: Pace) -> Self {
        Self(AtomicU8::new(pace as u8))
    }

    pub(super) fn set(&self, pace: Pace) {
        self.0.store(pace as u8, Ordering::Relaxed);
    }

    fn get(&self) -> Pace {
        let set = self.0.load(Ordering::Relaxed);
        let all = [Pace::Resting, Pace::Hurrying, Pace::AsItIs];
        all.into_iter().find(|pace| *pace as u8 == set).unwrap_or(Pace::Resting)
    }
}

/// Calls the wake function when it is dropped, as the thread's last act.
pub(super) struct WakeAtEnd(pub(super) Arc<dyn Fn() + Send + Sync>);

impl WakeAtEnd {
    /// Calls it now.
    pub(super) fn wake(&self) {
        (self.0)();
    }
}

impl Drop for WakeAtEnd {
    fn drop(&mut self) {
        (self.0)();
    }
}

impl Background {
    pub(super) fn new(
        dir: PathBuf,
        appending: Appending,
        jobs: Receiver<Job>,
        completions: Sender<Completion>,
        pace: Arc<SharedPace>,
        wake: Arc<dyn Fn() + Send + Sync>,
    ) -> Self {
        let (next, place, look_at) = (None, None, Instant::now());
        Self {
            dir,
            appending,
            jobs,
            completions,
            pace,
            next,
            place,
            look_at,
            last: WakeAtEnd(wake),
        }
    }

    /// Works until the log is dropped.
    pub(super) fn run(mut self) {
        loop {
            self.check_place();
            let pause = match (self.make_step(), self.place.is_some()) {
                (Some(pause), _) => Some(pause.min(LOOK_EVERY)),
                (None, true) => Some(LOOK_EVERY),
                (None, false) => None,
            };
            let job = match pause {
                None => self.jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(pause) => self.jobs.recv_timeout(pause),
            };
            match job {
                Ok(job) => self.run_job(job),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        if let Some(next) = self.next.take() {
            next.making.abandon();
        }
    }

    fn run_job(&mut self, job: Job) {
        match job {
            Job::Make { file, name, bytes, after_ms } => {
                let at = Instant::now() + Duration::from_millis(u64::from(after_ms));
                let path = self.dir.join(name);
                self.next = Some(Next { file, at, making: Making::new(path, bytes) });
            }
            Job::Rename { file, from, to } => {
                let result = self.rename(&from, &to);
                self.report(Completion::Renamed { file, result });
            }
            Job::SyncDir => {
                let result = sync_dir(&self.dir);
                self.report(Completion::DirSynced { result });
            }
            Job::Trim { segment, bytes, mark } => {
                let trimmed = Arc::into_inner(segment).map_or(Ok(()), |it| it.trim(bytes, mark));
                if let Err(error) = trimmed {
                    log::warn!("the padding of a finished log file stays: {error}");
                }
            }
            Job::Remove { name } => {
                if let Err(error) = std::fs::remove_file(self.dir.join(&name)) {
                    log::warn!("{name}: cannot be removed: {error}");
                }
            }
            Job::Prefault(segment, range) => warn(segment.prefault(range)),
            Job::Release(segment, range) => warn(segment.release(range)),
            Job::Flush { segment, flush } => {
                let result = flush.run(&segment, &mut None);
                self.report(Completion::Flushed { flush, result });
            }
            #[cfg(test)]
            Job::Panic => panic!("a test of panics"),
        }
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let to = self.dir.join(to);
        std::fs::rename(self.dir.join(from), &to)?;
        self.place = Some(Place::of(to)?);
        Ok(())
    }

    /// Looks from time to time whether the file in use is still where a start looks for it.
    fn check_place(&mut self) {
        let now = Instant::now();
        if now < self.look_at {
            return;
        }
        self.look_at = now + LOOK_EVERY;
        if let Some(Err(lost)) = self.place.as_ref().map(Place::check) {
            self.place = None;
            self.report(Completion::Lost(lost));
        }
    }

    /// Does a piece of the file in the making. Says how long to wait for a job before the next
    /// piece; `None` is until one comes.
    fn make_step(&mut self) -> Option<Duration> {
        let next = self.next.as_mut()?;
        let now = Instant::now();
        if next.at > now {
            return Some(next.at - now);
        }
        let pace = self.pace.get();
        match next.making.step(self.appending, pace) {
            Ok(None) => Some(pace.rest(now.elapsed())),
            Ok(Some(segment)) => self.end_making(Ok(segment)),
            Err(error) => self.end_making(Err(error)),
        }
    }

    fn end_making(&mut self, made: io::Result<Segment>) -> Option<Duration> {
        let next = self.next.take()?;
        self.report(Completion::Made { file: next.file, made });
        Some(Duration::ZERO)
    }

    fn report(&self, completion: Completion) {
        // The log is gone: nobody needs to hear it.
        let _ = self.completions.send(completion);
        self.last.wake();
    }
}

/// Makes the names in `dir` durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn warn(result: io::Result<()>) {
    if let Err(error) = result {
        log::warn!("the mapped window of the transaction log could not be moved: {error}");
    }
}

/// The interval between two looks at the place of the file in use.
const LOOK_EVERY: Duration = Duration::from_secs(1);
