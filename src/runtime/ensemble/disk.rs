//! The disk thread: what takes long and must be durable before a role goes on. It does one job
//! after the other, in the order in which they were asked for, and says when each is done.
//!
//! A job that changes what a start would find gets the log along, which is closed first, and gives a
//! new one back, which goes on in a file of its own. So nobody appends to files that are being cut.
//! A job that fails in the middle leaves something unknown on the disk, and ends the server. An epoch
//! that finds no space on the disk leaves nothing: it is stored again and again until there is some.

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, unbounded};
use crossbeam::queue::SegQueue;

use crate::quorum::recovery::{Recovered, RecoveryError, RecoverySettings, TakingOver, Truncation};
use crate::runtime::datadir::{DataDir, DataDirError, HistoryChange};
use crate::runtime::log::{Log, LogError};
use crate::snapshot::FileName;
use crate::zab::{LearnerConn, LogReach};
use crate::zxid::Zxid;

use super::send_log::log_reach;

/// A job.
pub enum Job {
    /// Make it durable that the epoch is accepted; [`DiskEvent::AcceptedEpoch`].
    StoreAcceptedEpoch(u32),
    /// Make it durable that this server has the history of the epoch; [`DiskEvent::CurrentEpoch`].
    StoreCurrentEpoch(u32),
    /// The history ends with `to`: [`DiskEvent::Truncated`] or [`DiskEvent::CannotTruncate`]. No
    /// flush of the log is in flight.
    Truncate { to: Zxid, log: Box<Log> },
    /// The leader's tree, whole and durable in the file `from` beside the snapshots, takes the place
    /// of the history as the snapshot `file`: [`DiskEvent::TreeTaken`] or
    /// [`DiskEvent::TreeNotTaken`]. The same holds as for a truncation.
    TakeTree { from: String, file: FileName, log: Box<Log> },
    /// What does the log say about a learner's last zxid? All up to `upto` is durable; the tree
    /// would be about so many bytes.
    /// [`DiskEvent::LogReach`], of which nothing is true once [`Disk::end_reading`] was called.
    LogReach { of: LearnerConn, peer: Zxid, upto: Zxid, tree_bytes: u64 },
}

/// The end of a job.
pub enum DiskEvent {
    /// The epoch is durable.
    AcceptedEpoch(u32),
    /// The epoch is durable.
    CurrentEpoch(u32),
    /// The tree that the history leads to now, and the log that goes on after it.
    Truncated { recovered: Box<Recovered>, log: Box<Log> },
    /// The history cannot end there, and is as it was.
    CannotTruncate { to: Zxid, why: RecoveryError, log: Box<Log> },
    /// The snapshot is in its place, and the log goes on after it.
    TreeTaken { zxid: Zxid, log: Box<Log> },
    /// The history is as it was; the file of the tree is still there.
    TreeNotTaken { why: RecoveryError, log: Box<Log> },
    /// The answer.
    LogReach { of: LearnerConn, reach: LogReach },
    /// A job has failed, and no other is done any more: the server must end.
    Failed(DiskError),
}

/// The reason why the server must end.
#[derive(Debug)]
pub enum DiskError {
    /// An epoch could not be stored.
    Epoch(DataDirError),
    /// The log could not be ended.
    Closing(io::Error),
    /// The files were being changed.
    Changing(RecoveryError),
    /// No new log could be opened.
    Opening(LogError),
    /// The thread has ended unexpectedly.
    Lost,
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Epoch(error) => write!(f, "{error}. What the file holds now {AGAIN}"),
            Self::Closing(error) => {
                write!(f, "the transaction log has failed: {error}. See dmesg; a start {AGAIN}")
            }
            Self::Changing(error) => write!(
                f,
                "{error}. The history of this server was being given another end; what the files \
                 hold now {AGAIN}"
            ),
            Self::Opening(error) => error.fmt(f),
            Self::Lost => write!(f, "the server's thread {THREAD} has ended unexpectedly"),
        }
    }
}

impl std::error::Error for DiskError {}

/// The settings of the jobs.
#[derive(Clone, Debug)]
pub struct DiskSettings {
    /// For the tree after a truncation.
    pub recovery: RecoverySettings,
    /// `snapshotSizeFactor`, see [`log_reach`].
    pub log_part_max: Option<f64>,
}

/// The thread, as the quorum core sees it.
pub struct Disk {
    jobs: Option<Sender<(Job, u64)>>,
    events: Arc<SegQueue<Told>>,
    /// Jobs that were asked for and whose end was not taken yet.
    under_way: usize,
    /// Of the role that asks now: what an earlier one wanted to know nobody waits for.
    reader: Arc<AtomicU64>,
    /// The history whose new end was told last is not in its place in memory yet.
    change: Option<HistoryChange>,
    /// The server ends: what waits for space waits no longer.
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// An event, and the change of the history that is over when what it tells is in its place.
type Told = (DiskEvent, Option<HistoryChange>);

impl Disk {
    /// Starts the thread. `wake` is called when [`Self::poll`] has something.
    pub fn start(
        data: DataDir,
        settings: DiskSettings,
        wake: Arc<dyn Fn() + Send + Sync>,
    ) -> io::Result<Self> {
        let (jobs, queue) = unbounded();
        let events = Arc::new(SegQueue::new());
        let reader = Arc::new(AtomicU64::new(0));
        let is_over = Arc::new(AtomicBool::new(false));
        let worker = Worker {
            data,
            settings,
            events: events.clone(),
            reader: reader.clone(),
            is_over: is_over.clone(),
            wake,
            is_done: false,
        };
        let thread = std::thread::Builder::new().name(THREAD.into());
        let thread = Some(thread.spawn(move || worker.run(&queue))?);
        Ok(Self { jobs: Some(jobs), events, under_way: 0, reader, change: None, is_over, thread })
    }

    /// Asks for a job. The roles ask for few: of a leader at most one for each learner is under
    /// way, beside those for the epochs.
    pub fn ask(&mut self, job: Job) {
        self.under_way += 1;
        if let Some(jobs) = &self.jobs {
            // Of a thread that is lost the last event says so.
            let _ = jobs.send((job, self.reader.load(Ordering::Relaxed)));
        }
    }

    /// The role that has asked about the log is over: what is still being read for it is given up,
    /// as the next role waits until no job is under way.
    pub fn end_reading(&self) {
        self.reader.fetch_add(1, Ordering::Relaxed);
    }

    /// The end of the oldest job, if it has ended. When this is called again the tree that the event
    /// before has brought is in place of the old one: until then no snapshot is taken of a tree, as
    /// it would be of the history that has gone.
    pub fn poll(&mut self) -> Option<DiskEvent> {
        self.change = None;
        let (event, change) = self.events.pop()?;
        (self.under_way, self.change) = (self.under_way.saturating_sub(1), change);
        Some(event)
    }

    /// Whether [`Self::poll`] has something.
    pub fn has_news(&self) -> bool {
        !self.events.is_empty()
    }

    /// Whether no job is under way, and the end of each was taken.
    pub fn is_idle(&self) -> bool {
        self.under_way == 0
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.jobs = None;
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the server's thread {THREAD} has panicked");
        }
    }
}

/// The thread's state.
struct Worker {
    data: DataDir,
    settings: DiskSettings,
    events: Arc<SegQueue<Told>>,
    reader: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    wake: Arc<dyn Fn() + Send + Sync>,
    /// Nobody asks for anything any more, or the end was said.
    is_done: bool,
}

impl Worker {
    fn run(mut self, jobs: &Receiver<(Job, u64)>) {
        for (job, reader) in jobs {
            let is_change = matches!(job, Job::Truncate { .. } | Job::TakeTree { .. });
            let change = is_change.then(|| self.data.histories().change());
            let event = self.carry_out(job, reader).unwrap_or_else(DiskEvent::Failed);
            self.is_done = matches!(event, DiskEvent::Failed(_));
            self.events.push((event, change));
            (self.wake)();
            if self.is_done {
                return;
            }
        }
        self.is_done = true;
    }

    fn carry_out(&mut self, job: Job, reader: u64) -> Result<DiskEvent, DiskError> {
        match job {
            Job::StoreAcceptedEpoch(epoch) => {
                self.store(|data| data.store_accepted_epoch(epoch))?;
                Ok(DiskEvent::AcceptedEpoch(epoch))
            }
            Job::StoreCurrentEpoch(epoch) => {
                self.store(|data| data.store_current_epoch(epoch))?;
                Ok(DiskEvent::CurrentEpoch(epoch))
            }
            Job::Truncate { to, log } => self.truncate(to, log),
            Job::TakeTree { from, file, log } => self.take_tree(&from, file, log),
            Job::LogReach { of, peer, upto, tree_bytes } => {
                let is_wanted = || self.reader.load(Ordering::Relaxed) == reader;
                let part_max = self.settings.log_part_max;
                let reach = log_reach(&self.data, peer..=upto, tree_bytes, part_max, is_wanted);
                let reach = reach.unwrap_or_else(|why| {
                    log::warn!("a learner that ends with {peer} gets the whole tree: {why}");
                    None
                });
                let nowhere = LogReach { floor: None, next: None, is_too_long: false };
                Ok(DiskEvent::LogReach { of, reach: reach.unwrap_or(nowhere) })
            }
        }
    }

    /// Stores an epoch. Where there is no space nothing has been promised yet: the role waits, and
    /// the others go on without this server.
    fn store(&self, write: impl Fn(&DataDir) -> Result<(), DataDirError>) -> Result<(), DiskError> {
        let mut is_said = false;
        loop {
            match write(&self.data) {
                Err(why) if why.is_no_space() && !self.is_over.load(Ordering::Relaxed) => {
                    if !is_said {
                        log::warn!("{why}; it is tried again, and this server waits until then");
                    }
                    is_said = true;
                    std::thread::sleep(NO_SPACE_PAUSE);
                }
                done => return done.map_err(DiskError::Epoch),
            }
        }
    }

    fn truncate(&mut self, to: Zxid, mut log: Box<Log>) -> Result<DiskEvent, DiskError> {
        // What is cut is what the files hold.
        log.flush_blocking().map_err(DiskError::Closing)?;
        match Truncation::prepare(&mut self.data, &self.settings.recovery, to) {
            Ok(truncation) => {
                let closed = log.close().map_err(DiskError::Closing)?;
                let recovered =
                    truncation.carry_out(&mut self.data).map_err(DiskError::Changing)?;
                let log = Box::new(closed.open(to).map_err(DiskError::Opening)?);
                Ok(DiskEvent::Truncated { recovered: Box::new(recovered), log })
            }
            Err(why) => Ok(DiskEvent::CannotTruncate { to, why, log }),
        }
    }

    fn take_tree(
        &mut self,
        from: &str,
        file: FileName,
        mut log: Box<Log>,
    ) -> Result<DiskEvent, DiskError> {
        log.flush_blocking().map_err(DiskError::Closing)?;
        match TakingOver::prepare(&mut self.data, from, file) {
            Ok(taking) => {
                let closed = log.close().map_err(DiskError::Closing)?;
                taking.carry_out(&mut self.data).map_err(DiskError::Changing)?;
                let log = Box::new(closed.open(file.zxid).map_err(DiskError::Opening)?);
                Ok(DiskEvent::TreeTaken { zxid: file.zxid, log })
            }
            Err(why) => Ok(DiskEvent::TreeNotTaken { why, log }),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if !self.is_done {
            self.events.push((DiskEvent::Failed(DiskError::Lost), None));
            (self.wake)();
        }
    }
}

const THREAD: &str = "disk";
/// Between two attempts to store an epoch on a disk without space.
const NO_SPACE_PAUSE: Duration = Duration::from_millis(200);
/// The end of a message about files of which nothing is known.
const AGAIN: &str = "is taken as it is by the next start, which brings it in order";
