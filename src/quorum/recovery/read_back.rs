//! Reads the log back for servers that lack a part of it: its transactions in order, as far as they
//! are proven to be one history.
//!
//! Two things break the proof. One is a hole between two transactions. The other is a snapshot
//! between two that is named after neither. Such a snapshot was received from a leader, and what
//! the log has before it may be the end of another history, which never was committed: Apache's
//! servers keep their log files under a tree that they have received (ZOOKEEPER-2846). What comes
//! after a break does not lead on from what comes before it.
//!
//! The newest file may grow while it is read. Nothing after the transaction that is asked for last
//! is looked at, and all up to that one is durable.

use std::fmt;
use std::io;

use crate::pieces::{ReadError, Source};
use crate::snapshot::FileName;
use crate::txnlog::{Damage, Entry, ScanEnd, Scanner};
use crate::zab::{LogReach, follows};
use crate::zxid::Zxid;

use super::{LogFile, is_unfinished};

/// A step of the way through the history.
#[derive(Debug)]
pub enum Step<'a> {
    /// What came so far does not lead on to what comes now.
    Break,
    /// A snapshot that is the beginning of what comes now, or its end.
    Snapshot(Zxid),
    /// A transaction, in the so-many-th file.
    Entry(usize, Entry<'a>),
}

/// The history cannot be read up to where it is asked for.
#[derive(Debug)]
pub enum ReadBackError {
    /// A file cannot be opened.
    Open { file: String, error: io::Error },
    /// The disk does not give a part of a file.
    Read { file: String, error: ReadError },
    /// An entry is damaged.
    Damaged { file: String, offset: u64, why: Damage },
    /// The log ends with `last`, before what is asked for.
    Ends { last: Option<Zxid>, upto: Zxid },
}

impl fmt::Display for ReadBackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { file, error } => write!(f, "{file} cannot be opened: {error}"),
            Self::Read { file, error } => write!(f, "{file} {error}"),
            Self::Damaged { file, offset, why } => {
                write!(f, "{file} is damaged at offset {offset}: {why}")
            }
            Self::Ends { last: Some(last), upto } => {
                write!(f, "the log files end with {last}, before {upto}")
            }
            Self::Ends { last: None, upto } => write!(f, "no log file leads to {upto}"),
        }
    }
}

impl std::error::Error for ReadBackError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Open { error, .. } => Some(error),
            Self::Read { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// The files to be read.
#[derive(Debug)]
pub struct ReadBack {
    logs: Vec<LogFile>,
    /// The zxids of all snapshots, in order.
    snapshots: Vec<Zxid>,
}

impl ReadBack {
    /// From the file on in which `from` is or would be. The names are those of all log files and of
    /// all snapshots, in any order.
    pub fn new(logs: Vec<String>, snapshots: &[String], from: Zxid) -> Self {
        let mut logs = super::log_files(logs);
        let holds = logs.iter().map(|log| log.zxid).filter(|zxid| *zxid <= from).max();
        logs.retain(|log| holds.is_none_or(|holds| log.zxid >= holds));
        let names = snapshots.iter().filter(|name| !is_unfinished(name));
        let mut snapshots: Vec<_> =
            names.filter_map(|name| Some(FileName::parse(name)?.zxid)).collect();
        snapshots.sort_unstable();
        Self { logs, snapshots }
    }

    /// The names of the log files, in the order in which they are read.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.logs.iter().map(|log| log.name.as_str())
    }

    /// Goes through the history up to `upto`. `open` opens the so-many-th file. `visit` is shown
    /// each step; false from it ends the way.
    pub fn walk<F: Source>(
        &self,
        upto: Zxid,
        mut open: impl FnMut(usize) -> io::Result<F>,
        mut visit: impl FnMut(Step<'_>) -> bool,
    ) -> Result<(), ReadBackError> {
        let mut last = None;
        for (nth, log) in self.logs.iter().enumerate().take_while(|(_, log)| log.zxid <= upto) {
            let failed = |error| ReadBackError::Read { file: log.name.clone(), error };
            let file =
                open(nth).map_err(|error| ReadBackError::Open { file: log.name.clone(), error })?;
            let mut scanner = Scanner::new(file);
            while let Some(entry) = scanner.next_entry().map_err(failed)? {
                let zxid = entry.zxid;
                if zxid > upto {
                    return self.end(last, upto, &mut visit);
                }
                // A copy, or Apache's repetition of a zxid for what it could not decode.
                if last.is_some_and(|last| zxid <= last) {
                    continue;
                }
                if !self.pass(&mut last, zxid, &mut visit) || !visit(Step::Entry(nth, entry)) {
                    return Ok(());
                }
                last = Some(zxid);
                if zxid == upto {
                    return Ok(());
                }
            }
            if let ScanEnd::Corrupt { offset, why } = scanner.end().map_err(failed)? {
                return Err(ReadBackError::Damaged { file: log.name.clone(), offset, why });
            }
        }
        self.end(last, upto, &mut visit)
    }

    /// Comes from `last` to the transaction `next`. False if the way ends.
    fn pass(
        &self,
        last: &mut Option<Zxid>,
        next: Zxid,
        visit: &mut impl FnMut(Step<'_>) -> bool,
    ) -> bool {
        let snapshot = self.last_snapshot(|zxid| zxid < next);
        if !self.pass_snapshot(last, snapshot, visit) {
            return false;
        }
        last.is_none_or(|last| follows(last, next)) || visit(Step::Break)
    }

    /// There are no more transactions: the history may end with a snapshot.
    fn end(
        &self,
        mut last: Option<Zxid>,
        upto: Zxid,
        visit: &mut impl FnMut(Step<'_>) -> bool,
    ) -> Result<(), ReadBackError> {
        let snapshot = self.last_snapshot(|zxid| zxid <= upto);
        if !self.pass_snapshot(&mut last, snapshot, visit) || last == Some(upto) {
            return Ok(());
        }
        Err(ReadBackError::Ends { last, upto })
    }

    /// Comes to a snapshot, if it is after `last`.
    fn pass_snapshot(
        &self,
        last: &mut Option<Zxid>,
        snapshot: Option<Zxid>,
        visit: &mut impl FnMut(Step<'_>) -> bool,
    ) -> bool {
        let Some(snapshot) = snapshot.filter(|zxid| last.is_none_or(|last| *zxid > last)) else {
            return true;
        };
        let is_first = last.replace(snapshot).is_none();
        (is_first || visit(Step::Break)) && visit(Step::Snapshot(snapshot))
    }

    fn last_snapshot(&self, is_one: impl Fn(Zxid) -> bool) -> Option<Zxid> {
        self.snapshots.iter().rev().copied().find(|zxid| is_one(*zxid))
    }
}

/// What the log says about `peer`: whether it leads from there to `upto`, all of which is durable.
/// With more than `bytes_max` bytes of transactions in the files after the one that has `peer` it
/// is too long. Where Apache counts the lengths of files, zeros ahead of the entries included, this
/// counts entries: a file that has just been begun costs nobody anything. None if `is_wanted` says
/// no on the way.
pub fn reach<F: Source>(
    back: &ReadBack,
    peer: Zxid,
    upto: Zxid,
    bytes_max: Option<u64>,
    is_wanted: impl Fn() -> bool,
    open: impl FnMut(usize) -> io::Result<F>,
) -> Result<Option<LogReach>, ReadBackError> {
    let mut reach = LogReach { floor: None, next: None, is_too_long: false };
    let (mut file, mut bytes) = (0, 0);
    let note = |reach: &mut LogReach, zxid: Zxid| {
        match zxid <= peer {
            true => (reach.floor, reach.next) = (Some(zxid), None),
            false if reach.floor.is_some() => reach.next = reach.next.or(Some(zxid)),
            false => {}
        }
        // Once it is after the learner's, no earlier one comes any more.
        reach.floor.is_some()
    };
    let walked = back.walk(upto, open, |step| match step {
        _ if !is_wanted() => false,
        Step::Break => {
            (reach.floor, reach.next) = (None, None);
            true
        }
        Step::Snapshot(zxid) => note(&mut reach, zxid),
        Step::Entry(nth, entry) => {
            if entry.zxid <= peer {
                file = nth;
            } else if nth > file {
                bytes += entry.payload.len() as u64;
                reach.is_too_long = bytes_max.is_some_and(|max| bytes > max);
            }
            note(&mut reach, entry.zxid) && !reach.is_too_long
        }
    });
    walked.map(|()| Some(reach).filter(|_| is_wanted()))
}
