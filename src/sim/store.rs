//! The server's files on the simulated disk: the log as the production shell keeps it, step by step.
//!
//! A log file is made under a name that no reader looks at, zeroed in full and flushed; its first entry decides its right
//! name. A flush is a row of steps, each of which takes time and may be the last before a crash: the old file's entries, the
//! new one's name, its entries, the directory.

use std::collections::VecDeque;

use crate::txnlog::{FILE_HEADER_BYTES, Nonce, file_header, file_name, first_entry, tail_mark};
use crate::zxid::Zxid;

use super::defect::Defect;
use super::disk::{DirFlush, Disk, DiskError, Flush};
use super::rng::Rng;

/// The log that is being written.
#[derive(Debug)]
pub struct Store {
    current: Option<LogFile>,
    /// The file before, whose entries are not all flushed yet.
    retired: Option<LogFile>,
    roll_wanted: bool,
    /// The next file, zeroed and flushed: the space that the log is sure of.
    spare: Option<String>,
    spares_made: u64,
    job: Option<Job>,
    defect: Option<Defect>,
}

#[derive(Clone, Debug)]
struct LogFile {
    /// Its name at present.
    name: String,
    /// The name that it must have before its entries count.
    wanted: String,
    end: usize,
    durable: usize,
    bytes: usize,
}

/// A flush under way.
#[derive(Debug)]
struct Job {
    upto: Zxid,
    steps: VecDeque<StoreStep>,
    begun: Option<Begun>,
    /// Which file was the current one when the flush began, by the name it must have, and where it ended.
    file: String,
    end: usize,
}

#[derive(Debug)]
enum StoreStep {
    Sync(String),
    Rename(String, String),
    SyncDir,
}

#[derive(Debug)]
enum Begun {
    Sync(Flush, String),
    SyncDir(DirFlush),
    Nothing,
}

/// How a step of a flush went.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// There are more steps.
    Goes,
    /// Everything up to the zxid is durable.
    Done(Zxid),
    Failed,
}

impl Store {
    /// A log that starts with its next entry.
    pub fn new(defect: Option<Defect>, spares_made: u64) -> Self {
        Self { current: None, retired: None, roll_wanted: false, spare: None, spares_made, job: None, defect }
    }

    /// Bytes that are certain to fit.
    pub fn room(&self) -> u64 {
        let rest = self.current.as_ref().map_or(0, |file| file.bytes - file.end);
        let fresh = if self.spare.is_some() { SEGMENT_BYTES - FILE_HEADER_BYTES } else { 0 };
        rest.max(fresh) as u64
    }

    /// Makes the next file, if there is none and the disk has the space for it.
    pub fn prepare(&mut self, disk: &mut Disk) -> Result<(), DiskError> {
        if self.spare.is_none() && disk.room() >= SEGMENT_BYTES + RESERVE_BYTES {
            self.spares_made += 1;
            let name = format!("{SPARE_PREFIX}{}", self.spares_made);
            disk.create(&name)?;
            disk.write(&name, 0, &vec![0; SEGMENT_BYTES])?;
            disk.write(&name, 0, &file_header(NONCE))?;
            disk.flush(&name)?;
            self.spare = Some(name);
        }
        Ok(())
    }

    /// The next append starts a new file.
    pub fn roll(&mut self) {
        self.roll_wanted = self.current.is_some();
    }

    /// The name of the file that is being written.
    pub fn current_name(&self) -> Option<&str> {
        self.current.as_ref().map(|file| file.name.as_str())
    }

    /// Puts whole entries at the end of the log.
    pub fn append(&mut self, disk: &mut Disk, entries: &[u8]) -> Result<(), DiskError> {
        let fits = self.current.as_ref().is_some_and(|file| file.end + entries.len() <= file.bytes);
        if (self.roll_wanted && self.retired.is_none() && self.spare.is_some()) || !fits {
            self.start_file(entries)?;
        }
        let file = self.current.as_mut().expect("a file was started");
        disk.write(&file.name, file.end, entries)?;
        file.end += entries.len();
        if let Some(mark) = tail_mark(NONCE, file.end as u64, file.durable as u64)
            && file.end + mark.len() <= file.bytes
        {
            disk.write(&file.name, file.end, &mark)?;
        }
        Ok(())
    }

    fn start_file(&mut self, entries: &[u8]) -> Result<(), DiskError> {
        let (_, first) = first_entry(entries).expect("appends are whole entries");
        let name = self.spare.take().ok_or(DiskError::Full)?;
        let wanted = file_name(first);
        let (end, bytes) = (FILE_HEADER_BYTES, SEGMENT_BYTES);
        let fresh = LogFile { name, wanted, end, durable: end, bytes };
        self.retired = self.current.replace(fresh);
        self.roll_wanted = false;
        Ok(())
    }

    /// Begins to flush everything that was appended.
    pub fn begin_flush(&mut self, upto: Zxid) {
        let mut steps = VecDeque::new();
        if let Some(old) = self.retired.take()
            && self.defect != Some(Defect::RollWithoutFlush)
        {
            steps.push_back(StoreStep::Sync(old.name));
        }
        let (mut name, mut end) = (String::new(), 0);
        if let Some(file) = &self.current {
            (name, end) = (file.wanted.clone(), file.end);
            if file.name == file.wanted {
                steps.push_back(StoreStep::Sync(file.name.clone()));
            } else {
                steps.push_back(StoreStep::Rename(file.name.clone(), file.wanted.clone()));
                steps.push_back(StoreStep::Sync(file.wanted.clone()));
                if self.defect != Some(Defect::LostDirectoryEntry) {
                    steps.push_back(StoreStep::SyncDir);
                }
            }
        }
        self.job = Some(Job { upto, steps, begun: None, file: name, end });
    }

    /// Does the next half step of the flush: begins an operation, or ends the one begun. `fails` makes the device fail.
    pub fn step(&mut self, disk: &mut Disk, fails: bool, rng: &mut Rng) -> Result<Progress, DiskError> {
        let Some(mut job) = self.job.take() else { return Ok(Progress::Goes) };
        let progress = match job.begun.take() {
            None => self.begin_step(disk, &mut job)?,
            Some(Begun::Sync(flush, name)) if fails => {
                disk.fail_flush(flush, rng);
                if self.defect != Some(Defect::FlushRetried) {
                    return Ok(Progress::Failed);
                }
                job.steps.push_front(StoreStep::Sync(name));
                Progress::Goes
            }
            Some(begun) => {
                end_step(disk, begun)?;
                Progress::Goes
            }
        };
        if job.steps.is_empty() && job.begun.is_none() {
            if let Some(file) = self.current.as_mut().filter(|file| file.wanted == job.file) {
                file.durable = file.durable.max(job.end);
            }
            return Ok(Progress::Done(job.upto));
        }
        self.job = Some(job);
        Ok(progress)
    }

    fn begin_step(&mut self, disk: &mut Disk, job: &mut Job) -> Result<Progress, DiskError> {
        job.begun = Some(match job.steps.pop_front() {
            Some(StoreStep::Sync(name)) => Begun::Sync(disk.begin_flush(&name)?, name),
            Some(StoreStep::SyncDir) => Begun::SyncDir(disk.begin_dir_flush()?),
            Some(StoreStep::Rename(from, to)) => {
                disk.rename(&from, &to)?;
                for file in self.current.iter_mut().chain(self.retired.iter_mut()).filter(|file| file.name == from) {
                    file.name.clone_from(&to);
                }
                Begun::Nothing
            }
            None => Begun::Nothing,
        });
        Ok(Progress::Goes)
    }

    /// The machine stops: a flush under way has covered nothing for certain.
    pub fn abandon(self, disk: &mut Disk) {
        if let Some(Job { begun: Some(Begun::Sync(flush, _)), .. }) = self.job {
            disk.abandon_flush(flush);
        }
    }
}

fn end_step(disk: &mut Disk, begun: Begun) -> Result<(), DiskError> {
    match begun {
        Begun::Sync(flush, _) => disk.end_flush(flush),
        Begun::SyncDir(flush) => disk.end_dir_flush(&flush),
        Begun::Nothing => Ok(()),
    }
}

/// Names that start so are no log files yet.
pub const SPARE_PREFIX: &str = "spare.";
/// The size of a log file; what the simulated clients can have under way fits it.
pub const SEGMENT_BYTES: usize = 192 << 10;
/// What snapshots may take up of a full disk.
const RESERVE_BYTES: usize = 32 << 10;
/// Nobody in the simulated world guesses at it.
const NONCE: Nonce = Nonce::new(0x5eed);
