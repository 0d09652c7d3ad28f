//! Gives a history another end: truncation where a leader wants it cut (TRUNC), and a tree of a
//! leader's in its place (SNAP).
//!
//! The order of the steps is such that a crash between any two of them leaves files that a start
//! takes, and a history that this server has had:
//!
//! * Nothing is changed before it is certain that the history with the new end can be recovered,
//!   and before all that takes room on the disk is done.
//! * Log files go from the newest to the oldest, each removal durable before the next, and the file
//!   in which the history ends is replaced by a copy of its front, by one rename. So at each moment
//!   the log ends earlier than before, and has no hole.
//! * Only then do the snapshots after the end go, also from the newest. While one is there a start
//!   begins with it: the tree is as it was at that zxid, which is a moment of the old history not
//!   before the new end. With one log file to be cut and no such snapshot, which is nearly always
//!   so, a crash leaves the old history or the new one and nothing else.
//!
//! What goes was never committed. The leader of an epoch has all that is committed, so a learner's
//! transactions that it does not have never will be: a quorum has accepted its epoch. The same
//! holds for snapshots after the end. A server that serves takes them of committed transactions
//! only; the one that it takes at its start may hold the uncommitted end of its log, and is not
//! needed, as the log that led to it is there. If no earlier snapshot leads to the end, nothing is
//! cut, and the learner asks for the whole tree.

use crate::snapshot::FileName;
use crate::txnlog::{Claim, Nonce, ScanEnd, Scanner, closing_mark};
use crate::zxid::Zxid;

use super::{Dir, LogFile, Recovered, RecoveryError, RecoverySettings, Storage, list_logs};

/// The cutting of a log, prepared: it can be carried out, and nothing is changed yet.
#[derive(Debug)]
pub struct Truncation {
    to: Zxid,
    recovered: Recovered,
    cuts: Cuts,
}

impl Truncation {
    /// Recovers the tree as it was at `to`, a logged transaction, and prepares the files. An error
    /// says why the history cannot end there; all is as it was then.
    pub fn prepare<S: Storage>(
        storage: &mut S,
        settings: &RecoverySettings,
        to: Zxid,
    ) -> Result<Self, RecoveryError> {
        remove_leftovers(storage)?;
        let logs = list_logs(storage)?;
        let (recovered, believed) = super::replay_upto(storage, &logs, to, settings)?;
        if recovered.last_zxid != to {
            return Err(RecoveryError::NoSuchEnd { to, last: recovered.last_zxid });
        }
        let mut cuts = Cuts::after(&logs, to);
        for file in believed {
            let is_torn = matches!(file.end, ScanEnd::TornTail { .. });
            if file.has_more || is_torn {
                cuts.shortened.push((file.file, file.end.offset(), file.nonce));
            }
        }
        cuts.prepare(storage)?;
        Ok(Self { to, recovered, cuts })
    }

    /// Cuts the log and removes the snapshots after the end. After an error nothing is known of
    /// the files.
    pub fn carry_out<S: Storage>(self, storage: &mut S) -> Result<Recovered, RecoveryError> {
        self.cuts.carry_out(storage)?;
        remove_snapshots(storage, |zxid, _| zxid > self.to)?;
        Ok(self.recovered)
    }
}

/// The taking over of a leader's tree in the place of the history, prepared: nothing is changed yet.
///
/// All other snapshots and all log files go. They may be of another history than the leader's, and
/// what is after its zxid in them must never be replayed over the tree, nor be sent to somebody else
/// as if it had led to it (S17). As long as a crash may bring the old history back, its log ends not
/// after the tree: the transactions after that are none of the leader's.
#[derive(Debug)]
pub struct TakingOver {
    from: String,
    file: FileName,
    cuts: Cuts,
}

impl TakingOver {
    /// The tree is whole and durable in the file `from` of the snapshots, whose name no start looks
    /// at; it is to be the snapshot `file`.
    pub fn prepare<S: Storage>(
        storage: &mut S,
        from: &str,
        file: FileName,
    ) -> Result<Self, RecoveryError> {
        remove_leftovers(storage)?;
        // Nothing is cut for a file that is not there.
        storage.open(Dir::Snapshots, from).map_err(RecoveryError::storage)?;
        let logs = list_logs(storage)?;
        let mut cuts = Cuts::after(&logs, file.zxid);
        let before = logs.len() - cuts.removed.len();
        // All files of one zxid: copies have a suffix.
        let last = before.checked_sub(1).map(|at| logs[at].zxid);
        for log in logs.iter().filter(|log| Some(log.zxid) == last) {
            cuts.look_at(storage, log, file.zxid)?;
        }
        cuts.prepare(storage)?;
        Ok(Self { from: from.to_owned(), file, cuts })
    }

    /// Puts the tree in its place. After an error nothing is known of the files.
    pub fn carry_out<S: Storage>(self, storage: &mut S) -> Result<(), RecoveryError> {
        let (zxid, name) = (self.file.zxid, self.file.to_string());
        self.cuts.carry_out(storage)?;
        storage.rename(Dir::Snapshots, &self.from, &name).map_err(RecoveryError::storage)?;
        storage.sync_dir(Dir::Snapshots).map_err(RecoveryError::storage)?;
        remove_snapshots(storage, |other, _| other > zxid)?;
        // From here on a start begins with the new tree, and takes nothing of what is left.
        for log in list_logs(storage)?.iter().rev() {
            storage.remove(Dir::Logs, &log.name).map_err(RecoveryError::storage)?;
        }
        storage.sync_dir(Dir::Logs).map_err(RecoveryError::storage)?;
        remove_snapshots(storage, |_, other| other != name)
    }
}

/// What is to be done to log files, in this order.
#[derive(Debug, Default)]
struct Cuts {
    /// Removed, newest first.
    removed: Vec<String>,
    /// Cut at an offset, with the nonce of a file of ours, oldest first.
    shortened: Vec<(String, u64, Option<Nonce>)>,
}

impl Cuts {
    /// The files that begin after `to` go.
    fn after(logs: &[LogFile], to: Zxid) -> Self {
        let after = logs.iter().rev().filter(|log| log.zxid > to);
        Self { removed: after.map(|log| log.name.clone()).collect(), shortened: Vec::new() }
    }

    /// Looks for entries after `to` in a file that begins before them. One that cannot be read up to
    /// there goes: no start takes it.
    fn look_at<S: Storage>(
        &mut self,
        storage: &mut S,
        log: &LogFile,
        to: Zxid,
    ) -> Result<(), RecoveryError> {
        let file = storage.open(Dir::Logs, &log.name).map_err(RecoveryError::storage)?;
        let mut scanner = Scanner::new(file);
        let mut is_readable = true;
        loop {
            match scanner.next_entry() {
                Ok(Some(entry)) if entry.zxid > to => {
                    let offset = entry.offset;
                    self.shortened.push((log.name.clone(), offset, scanner.nonce()));
                    return Ok(());
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => {
                    is_readable = false;
                    break;
                }
            }
            if storage.is_stopping() {
                return Err(RecoveryError::Stopped);
            }
        }
        if !is_readable || matches!(scanner.end(), Ok(ScanEnd::Corrupt { .. }) | Err(_)) {
            self.removed.push(log.name.clone());
        }
        Ok(())
    }

    /// Does what takes room: the files as they will be, beside those that they will replace.
    fn prepare<S: Storage>(&self, storage: &mut S) -> Result<(), RecoveryError> {
        for (name, offset, nonce) in &self.shortened {
            let mark = nonce.map(|nonce| closing_mark(nonce, *offset, Claim::whole(*offset)));
            let mark = mark.as_ref().map_or(&[][..], |mark| &mark[..]);
            let copied = storage.copy_front(Dir::Logs, name, &cut_name(name), *offset, mark);
            copied.map_err(RecoveryError::storage)?;
        }
        Ok(())
    }

    fn carry_out<S: Storage>(&self, storage: &mut S) -> Result<(), RecoveryError> {
        for name in &self.removed {
            storage.remove(Dir::Logs, name).map_err(RecoveryError::storage)?;
            storage.sync_dir(Dir::Logs).map_err(RecoveryError::storage)?;
        }
        for (name, ..) in self.shortened.iter().rev() {
            storage.rename(Dir::Logs, &cut_name(name), name).map_err(RecoveryError::storage)?;
            storage.sync_dir(Dir::Logs).map_err(RecoveryError::storage)?;
        }
        Ok(())
    }
}

/// Removes the snapshots that `is_one` says, by zxid and name, newest first.
fn remove_snapshots<S: Storage>(
    storage: &mut S,
    is_one: impl Fn(Zxid, &str) -> bool,
) -> Result<(), RecoveryError> {
    let names = storage.list(Dir::Snapshots).map_err(RecoveryError::storage)?;
    let mut those: Vec<_> = names
        .into_iter()
        .filter(|name| !super::is_unfinished(name))
        .filter_map(|name| Some((FileName::parse(&name)?.zxid, name)))
        .filter(|(zxid, name)| is_one(*zxid, name))
        .collect();
    those.sort_unstable_by(|a, b| b.cmp(a));
    for (_, name) in those {
        storage.remove(Dir::Snapshots, &name).map_err(RecoveryError::storage)?;
        storage.sync_dir(Dir::Snapshots).map_err(RecoveryError::storage)?;
    }
    Ok(())
}

/// Removes the copies that a crash has left, of which nobody knows.
pub(super) fn remove_leftovers<S: Storage>(storage: &mut S) -> Result<(), RecoveryError> {
    let names = storage.list(Dir::Logs).map_err(RecoveryError::storage)?;
    for name in names.iter().filter(|name| name.starts_with(CUT_PREFIX)) {
        storage.remove(Dir::Logs, name).map_err(RecoveryError::storage)?;
    }
    Ok(())
}

fn cut_name(name: &str) -> String {
    format!("{CUT_PREFIX}{name}")
}

/// A log file that is to be replaced by its front is prepared under its name with this before it;
/// no reader of logs looks at it.
const CUT_PREFIX: &str = "ringkeeper.cut.";
