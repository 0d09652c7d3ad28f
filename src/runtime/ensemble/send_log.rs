//! Sends a learner what it lacks from the log on the disk (DIFF): each transaction as PROPOSAL and
//! COMMIT, observers like followers.
//!
//! All up to the last transaction that is asked for is durable. The newest file may be appended to
//! meanwhile, be rolled and cut after its last entry, and any of them may be purged: all are opened
//! first, a file that has lost its name is read on, and what is cut from one reads as zeros.

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::fmt;
use std::io::{self, Write};
use std::ops::RangeInclusive;

use crate::quorum::recovery::{Dir, Gap, LogPart, ReadBack, ReadBackError, Step, Storage, reach};
use crate::runtime::datadir::{DataDir, DataDirError, LiveFile, PieceFile};
use crate::zab::LogReach;
use crate::zxid::Zxid;

/// What was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SentLog {
    pub transactions: u64,
    /// Bytes of packets.
    pub bytes: u64,
}

/// Not all was sent: the connection must be closed, so that the learner is left without a gap.
#[derive(Debug)]
pub enum SendLogError {
    /// The directory cannot be listed.
    DataDir(DataDirError),
    /// A file does not give what it should hold.
    Log(ReadBackError),
    /// What the log has does not follow.
    Gap(Gap),
    /// The connection does not take it.
    Connection(io::Error),
}

impl fmt::Display for SendLogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DataDir(error) => error.fmt(f),
            Self::Log(error) => write!(f, "the log cannot be read back: {error}"),
            Self::Gap(gap) => gap.fmt(f),
            Self::Connection(error) => write!(f, "the learner does not take the log: {error}"),
        }
    }
}

impl std::error::Error for SendLogError {}

/// Sends the transactions after `after` and up to `upto`, which is durable. After an error a part of
/// them was sent, from the first one on and without a gap, but for the last packet, which may be
/// cut.
pub fn send_log(
    data: &DataDir,
    after: Zxid,
    upto: Zxid,
    out: &mut dyn Write,
) -> Result<SentLog, SendLogError> {
    assert!(after <= upto, "from {after} to {upto}");
    let files = Files::open(data, after)?;
    let mut sending = Sending::new(after);
    let mut failure = None;
    let walked = files.back.walk(
        upto,
        |nth| files.take(nth),
        |step| match sending.take(step, out) {
            Ok(()) => true,
            Err(error) => {
                failure = Some(error);
                false
            }
        },
    );
    match failure {
        Some(error) => return Err(error),
        None => walked.map_err(SendLogError::Log)?,
    }
    sending.part.end(upto).map_err(SendLogError::Gap)?;
    sending.flush(out)?;
    out.flush().map_err(SendLogError::Connection)?;
    Ok(sending.sent)
}

/// What the log says about a zxid of a learner's that is older than the memory. All up to `upto` is
/// durable. `part_max` is `snapshotSizeFactor`: the part of the tree's bytes up to which reading the log
/// is taken to be quicker than sending the tree, 0 for any, none for never. Apache takes the newest
/// snapshot for the tree, which may be much shorter, or packed. None if `is_wanted` says no on the
/// way.
pub fn log_reach(
    data: &DataDir,
    span: RangeInclusive<Zxid>,
    tree_bytes: u64,
    part_max: Option<f64>,
    is_wanted: impl Fn() -> bool,
) -> Result<Option<LogReach>, SendLogError> {
    let Some(part_max) = part_max else {
        return Ok(Some(LogReach { floor: None, next: None, is_too_long: true }));
    };
    let (peer, upto) = span.into_inner();
    let files = Files::open(data, peer)?;
    let bytes_max = (part_max > 0.0).then_some((tree_bytes as f64 * part_max) as u64);
    let found = reach(&files.back, peer, upto, bytes_max, is_wanted, |nth| files.take(nth));
    found.map_err(SendLogError::Log)
}

/// The files that are read back, all of them open.
struct Files {
    back: ReadBack,
    open: Vec<RefCell<Option<LiveFile>>>,
}

impl Files {
    /// Those that hold what comes after `from`.
    fn open(data: &DataDir, from: Zxid) -> Result<Self, SendLogError> {
        let mut data = data.clone();
        let logs = data.list(Dir::Logs).map_err(SendLogError::DataDir)?;
        let snapshots = data.list(Dir::Snapshots).map_err(SendLogError::DataDir)?;
        let back = ReadBack::new(logs, &snapshots, from);
        let open = back.names().map(|name| {
            let file = LiveFile::open(&data.logs().join(name));
            file.map(|file| RefCell::new(Some(file))).map_err(|error| {
                SendLogError::Log(ReadBackError::Open { file: name.to_owned(), error })
            })
        });
        let open = open.collect::<Result<_, _>>()?;
        Ok(Self { back, open })
    }

    /// The so-many-th one, which is read once.
    fn take(&self, nth: usize) -> io::Result<PieceFile> {
        let file = self.open[nth].borrow_mut().take();
        file.ok_or_else(|| io::Error::other("it was read already"))?.into_pieces()
    }
}

/// The sending under way.
struct Sending {
    part: LogPart,
    sent: SentLog,
    buffer: Vec<u8>,
}

impl Sending {
    fn new(after: Zxid) -> Self {
        Self { part: LogPart::new(after), sent: SentLog::default(), buffer: Vec::new() }
    }

    fn take(&mut self, step: Step<'_>, out: &mut dyn Write) -> Result<(), SendLogError> {
        let is_sent = self.part.take(step, &mut self.buffer).map_err(SendLogError::Gap)?;
        self.sent.transactions += u64::from(is_sent);
        if self.buffer.len() >= BUFFER_BYTES { self.flush(out) } else { Ok(()) }
    }

    fn flush(&mut self, out: &mut dyn Write) -> Result<(), SendLogError> {
        out.write_all(&self.buffer).map_err(SendLogError::Connection)?;
        self.sent.bytes += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

/// Bytes of packets that are written at a time; one transaction may exceed it.
const BUFFER_BYTES: usize = 1 << 20;
