//! From what a disk holds to the tree it means: the newest whole snapshot and every transaction
//! after it.
//!
//! It is one function over a [`Storage`], the same for real directories and for the simulated disk.
//! The rules:
//!
//! * A start loses nothing silently. A record that once was whole and no longer is, a hole in the
//!   order of zxids, a snapshot whose transactions are nowhere: each stops the start with a message
//!   that names file, offset, zxid and remedy.
//! * Only the newest log file's torn tail is cut, and only once everything else has proven right;
//!   what is cut was never acknowledged ([`crate::txnlog`] says how that is told).
//! * What is believed is made durable before it is shown to anybody: each file that was replayed is
//!   written anew from where no tail mark proves it. `settle` says why and what that costs.
//! * A name that ends in `.tmp` belongs to a file that nobody has finished: it is passed over.
//! * Within an epoch each zxid is one more than the one before; an epoch starts at counter 1.
//!   (Apache gives a write that it cannot decode the zxid of the one before: such a repetition is
//!   taken.)
//! * An older snapshot is used only if the log leads from it to where the newer one was.

mod error;
mod history_end;
mod log_part;
mod purge;
mod read_back;
mod replay;
mod settle;
mod snapshots;
mod tail;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::ops::Range;

use crate::pieces::Source;
use crate::session;
use crate::tree::Tree;
use crate::txn::{Txn, TxnHeader};
use crate::txnlog::zxid_of_name;
use crate::zab::Logged;
use crate::zxid::{SessionId, Zxid};

pub use error::{RecoveryError, Rejection};
pub use history_end::{TakingOver, Truncation};
pub use log_part::{Gap, LogPart};
pub use purge::{SnapshotFile, superseded};
pub use read_back::{ReadBack, ReadBackError, Step, reach};
pub use snapshots::{load_part, verify};

/// Which of the two `version-2` directories; they may be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dir {
    /// Below dataLogDir.
    Logs,
    /// Below dataDir.
    Snapshots,
}

/// The files of a server, as far as recovery needs them.
pub trait Storage {
    /// A file that is read in pieces.
    type File: Source;
    /// Why something could not be done; its text names the file and the remedy.
    type Error: Error + Send + Sync + 'static;

    /// Whether both directories are one.
    fn is_one_dir(&self) -> bool;
    /// The names of all files, in any order.
    fn list(&mut self, dir: Dir) -> Result<Vec<String>, Self::Error>;
    /// Opens a file for reading.
    fn open(&mut self, dir: Dir, name: &str) -> Result<Self::File, Self::Error>;
    /// Makes a file that is believed durable: writes the bytes of `anew` once more, flushes, only
    /// then puts `mark` after them, flushes, and only then cuts what follows, if that is to go, and
    /// flushes.
    fn settle(&mut self, dir: Dir, name: &str, settling: &Settling) -> Result<(), Self::Error>;
    /// Makes `to`, a file that was not there, of the first `bytes` bytes of a file and `mark` after
    /// them, flushed. After an error nothing is left of it.
    fn copy_front(
        &mut self,
        dir: Dir,
        name: &str,
        to: &str,
        bytes: u64,
        mark: &[u8],
    ) -> Result<(), Self::Error>;
    /// Gives a file another name, in place of what has it, durably once the directory is synced.
    fn rename(&mut self, dir: Dir, from: &str, to: &str) -> Result<(), Self::Error>;
    /// Removes the file, durably once the directory is synced.
    fn remove(&mut self, dir: Dir, name: &str) -> Result<(), Self::Error>;
    /// Makes what was removed and made in the directory durable.
    fn sync_dir(&mut self, dir: Dir) -> Result<(), Self::Error>;
    /// Whether the start is to be given up; asked between two pieces of work.
    fn is_stopping(&self) -> bool {
        false
    }
}

/// The way in which a file that a start believes is made durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settling {
    /// The part that nothing proves to be on the disk. It ends where the entries do.
    pub anew: Range<u64>,
    /// Whether what follows the entries goes.
    pub cut: bool,
    /// The tail mark that tells the next start that everything before it is durable.
    pub mark: Vec<u8>,
}

/// The assumptions that recovery may make.
#[derive(Clone, Copy, Debug)]
pub struct RecoverySettings {
    /// `snapshot.trust.empty`: logs without any snapshot are replayed from the empty tree (data of
    /// 3.4).
    pub trust_empty: bool,
    /// `extendedTypesEnabled`: without it, data with TTL nodes is refused, as Apache would take
    /// them for dead ephemerals.
    pub extended_types: bool,
    /// `digest.enabled`: compare the tree with the digests in log and snapshot.
    pub check_digests: bool,
    /// For the hashes of the tree; see [`Tree::with_seed`].
    pub seed: u64,
    /// The top byte of the session ids that this server gives out.
    pub server_id: u8,
    /// Whether ephemerals whose session is not in the session table are removed, without a
    /// transaction, as a standalone Apache does after every load. A member of an ensemble must not:
    /// it would change its tree beside the history that all share. There the leader ends such
    /// sessions by transactions.
    pub removes_orphans: bool,
    /// The records that are kept for [`Recovered::tail`]: their number and their bytes. None are
    /// kept for a standalone server, whose memory must not grow by them.
    pub tail: (usize, usize),
}

impl Default for RecoverySettings {
    fn default() -> Self {
        Self {
            trust_empty: false,
            extended_types: false,
            check_digests: true,
            seed: 0,
            server_id: session::SERVER_ID,
            removes_orphans: true,
            tail: (0, 0),
        }
    }
}

/// A recovered server.
#[derive(Debug)]
pub struct Recovered {
    pub tree: Tree,
    /// The last transaction; the next one gets the next zxid.
    pub last_zxid: Zxid,
    /// The highest session id of this server that the snapshot and the logs read name, whether the
    /// session lives or has ended: a start gives out higher ones.
    pub last_session: Option<SessionId>,
    /// The latest records without a gap, oldest first, up to `last_zxid`: what a leader has in
    /// memory for its learners from the beginning. Those that the snapshot holds already are among
    /// them where the log has the transaction that the snapshot is named after: only then is what
    /// comes before it known to be of the same history.
    pub tail: Vec<Logged>,
    pub report: RecoveryReport,
}

/// The findings and actions, for the start's banner and log.
#[derive(Debug, Default)]
pub struct RecoveryReport {
    /// The snapshot that was loaded; none in an empty directory, or with `snapshot.trust.empty`. A
    /// snapshot must then be made durable before the first write is acknowledged: logs without one
    /// are not started from.
    pub snapshot: Option<String>,
    /// Snapshots that are not whole, newest first, and why: normal for one that a crash has
    /// interrupted.
    pub rejected: Vec<(String, String)>,
    /// Log files that were read.
    pub log_files: usize,
    /// Records that were applied.
    pub records: u64,
    /// The torn tail that was cut.
    pub cut: Option<Cut>,
    /// Bytes of log files that were written anew because nothing proved them to be on the disk.
    pub bytes_anew: u64,
    /// Unfinished files that were passed over.
    pub passed_over: Vec<String>,
    /// Records, and snapshots, after which the tree's digest was another than the one stored with
    /// them.
    pub digest_mismatches: u64,
    /// The first of them.
    pub first_mismatch: Option<Zxid>,
    /// Ephemerals removed because their session no longer exists.
    pub orphans_removed: usize,
}

/// A torn tail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    pub file: String,
    /// The offset at which the whole records end.
    pub offset: u64,
    /// The bytes found there, in words.
    pub why: String,
    /// The file held nothing else and was removed.
    pub removed: bool,
}

/// Recovers a server from its files.
pub fn recover<S: Storage>(
    storage: &mut S,
    settings: &RecoverySettings,
) -> Result<Recovered, RecoveryError> {
    let logs = list_logs(storage)?;
    let (recovered, believed) = replay_upto(storage, &logs, Zxid::MAX, settings)?;
    let Recovered { mut report, .. } = recovered;
    settle::settle(storage, believed, &mut report)?;
    history_end::remove_leftovers(storage)?;
    Ok(Recovered { report, ..recovered })
}

/// Loads the newest whole snapshot that is not after `upto` and replays what comes after it, up to
/// `upto`. Changes nothing on the disk.
fn replay_upto<S: Storage>(
    storage: &mut S,
    logs: &[LogFile],
    upto: Zxid,
    settings: &RecoverySettings,
) -> Result<(Recovered, Vec<settle::Believed>), RecoveryError> {
    let mut report = RecoveryReport::default();
    let start = match snapshots::newest(storage, upto, settings, &mut report)? {
        Some(start) => start,
        None if !report.rejected.is_empty() => {
            return Err(RecoveryError::NoWholeSnapshot(report.rejected));
        }
        None => match logs.first() {
            Some(log) if !settings.trust_empty => {
                return Err(RecoveryError::LogsOnly { file: log.name.clone() });
            }
            _ => snapshots::Start::empty(settings.seed),
        },
    };
    let complete_at = start.complete_at;
    let mut replay = replay::Replay::new(start, upto, settings, &mut report);
    let believed = replay.run(storage, logs)?;
    let (mut tree, last_session, tail) = replay.finish()?;
    if settings.removes_orphans {
        remove_orphans(&mut tree, &mut report);
    }
    let last_zxid = tree.last_zxid();
    if let (true, Some(snapshot)) = (complete_at > upto, &report.snapshot) {
        let (snapshot, zxid, to) = (snapshot.clone(), complete_at, upto);
        return Err(RecoveryError::SnapshotBeyond { snapshot, zxid, to });
    }
    Ok((Recovered { tree, last_zxid, last_session, tail, report }, believed))
}

/// A log file's name and the zxid in it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct LogFile {
    zxid: Zxid,
    name: String,
}

/// Whether a name belongs to a file that whoever wrote it has not finished: Apache's atomic writes
/// end with a rename that takes this suffix away.
fn is_unfinished(name: &str) -> bool {
    name.ends_with(".tmp")
}

/// The log files in the order of their zxids, once neither directory holds what belongs into the
/// other.
fn list_logs<S: Storage>(storage: &mut S) -> Result<Vec<LogFile>, RecoveryError> {
    let names = storage.list(Dir::Logs).map_err(RecoveryError::storage)?;
    if !storage.is_one_dir() {
        if let Some(name) =
            names.iter().find(|name| name.starts_with("snapshot.") && !is_unfinished(name))
        {
            return Err(RecoveryError::SnapshotInLogDir { file: name.clone() });
        }
        let others = storage.list(Dir::Snapshots).map_err(RecoveryError::storage)?;
        if let Some(name) =
            others.iter().find(|name| name.starts_with("log.") && !is_unfinished(name))
        {
            return Err(RecoveryError::LogInSnapshotDir { file: name.clone() });
        }
    }
    Ok(log_files(names))
}

/// Those of the names that log files have, in the order of their zxids.
fn log_files(names: Vec<String>) -> Vec<LogFile> {
    let finished = names.into_iter().filter(|name| !is_unfinished(name));
    let with_zxid = finished.filter_map(|name| Some(LogFile { zxid: zxid_of_name(&name)?, name }));
    // A name without a number orders before all others in Apache, and no transaction is read from
    // it.
    let mut logs: Vec<_> = with_zxid.filter(|log| log.zxid >= Zxid::ZERO).collect();
    logs.sort_by(|a, b| (a.zxid, &a.name).cmp(&(b.zxid, &b.name)));
    logs
}

/// See [`RecoverySettings::removes_orphans`].
fn remove_orphans(tree: &mut Tree, report: &mut RecoveryReport) {
    let before = tree.ephemeral_count();
    let zxid = tree.last_zxid();
    for session in tree.ephemeral_owners() {
        if tree.session_timeout(session).is_none() {
            let header = TxnHeader { session, cxid: 0, zxid, time_ms: 0 };
            tree.apply(&header, &Txn::CloseSession { paths: None }, None);
        }
    }
    report.orphans_removed = before - tree.ephemeral_count();
}
