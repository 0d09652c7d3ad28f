//! Why a server cannot start from its files. Every text names the file, where in it, the zxid and
//! what to do; what is to be done about damage depends on whether others have the data, and stands
//! apart.

use std::error::Error;
use std::fmt;
use std::io;

use crate::codes::VERSION_2;
use crate::pieces::ReadError;
use crate::tree::LoadError;
use crate::txn::TxnError;
use crate::txnlog::Damage;
use crate::zxid::Zxid;

/// Recovery has stopped; nothing on disk was changed.
#[derive(Debug)]
pub enum RecoveryError {
    /// A file or directory could not be read, cut or removed.
    Storage(Box<dyn Error + Send + Sync>),
    /// The disk does not give the bytes at `offset` of a file.
    Read { file: String, offset: u64, error: io::Error },
    /// The server was told to stop before it had started.
    Stopped,
    /// Logs, but no snapshot.
    LogsOnly { file: String },
    /// Snapshots, none of them whole: names and reasons.
    NoWholeSnapshot(Vec<(String, String)>),
    /// dataLogDir and dataDir differ and seem to be exchanged, or dataLogDir was added later.
    LogInSnapshotDir { file: String },
    /// See [`Self::LogInSnapshotDir`].
    SnapshotInLogDir { file: String },
    /// A record that was whole once is damaged.
    Corrupt { file: String, offset: u64, last: Zxid, why: Damage },
    /// A record that is whole cannot be read.
    Unreadable { file: String, offset: u64, zxid: Zxid, why: TxnError },
    /// Transactions are missing between `last` and `found`.
    Gap { file: String, offset: u64, last: Zxid, found: Zxid },
    /// A record with a smaller zxid than the one before it.
    OutOfOrder { file: String, offset: u64, last: Zxid, found: Zxid },
    /// The logs end before the zxid of a snapshot that is not whole.
    Behind { snapshot: String, why: String, last: Zxid },
    /// A node with a TTL although `extendedTypesEnabled` is off.
    TtlNode { path: String },
    /// The history has no such end: it is not what was logged here last before it.
    NoSuchEnd { to: Zxid, last: Zxid },
    /// The snapshot may hold something of a transaction after the end that is wanted.
    SnapshotBeyond { snapshot: String, zxid: Zxid, to: Zxid },
}

impl RecoveryError {
    pub(super) fn storage(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Storage(Box::new(error))
    }

    /// What to do about damage, to follow the text of it. A member must not give up what it has
    /// acknowledged: the others count on it.
    pub fn remedy(&self, is_member: bool) -> Option<String> {
        match self {
            Self::Corrupt { .. } if is_member => Some(format!(
                "Do not cut it either: the other servers count on what this one has acknowledged. \
                 Move {VERSION_2} of dataDir and dataLogDir aside and start while a quorum of the \
                 others serves: this server then takes everything from the leader"
            )),
            Self::Corrupt { file, offset, last, .. } => Some(format!(
                "Bring the file back from a backup; to give up what is after zxid {last}: \
                 ringkeeper tools cut {file} {offset}"
            )),
            _ => None,
        }
    }

    pub(super) fn read(file: &str, ReadError { offset, error }: ReadError) -> Self {
        Self::Read { file: file.to_owned(), offset, error }
    }
}

impl fmt::Display for RecoveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Storage(error) => error.fmt(f),
            Self::Read { file, offset, error } => write!(
                f,
                "{file} cannot be read at offset {offset}: {error}. The disk may be failing: see \
                 dmesg, copy the data directory to another disk (ddrescue), or bring the file \
                 back from a backup; in an ensemble, move the data directory aside and start empty"
            ),
            Self::Stopped => {
                write!(f, "told to stop before the data was recovered; nothing was changed")
            }
            Self::LogsOnly { file } => write!(
                f,
                "there is the log file {file} but no snapshot: the data directory is not \
                 complete. Bring back the snapshots; if the data was written by ZooKeeper 3.4, \
                 which may run without any, start once with snapshot.trust.empty=true"
            ),
            Self::NoWholeSnapshot(rejected) => no_whole_snapshot(f, rejected),
            Self::LogInSnapshotDir { file } => write!(
                f,
                "dataDir holds the log file {file} although dataLogDir is another directory: set \
                 dataLogDir to where the logs are, or move all log.* files into its {VERSION_2}"
            ),
            Self::SnapshotInLogDir { file } => write!(
                f,
                "dataLogDir holds the snapshot {file} although dataDir is another directory: set \
                 dataDir to where the snapshots are, or move all snapshot.* files into its \
                 {VERSION_2}"
            ),
            Self::Corrupt { file, offset, last, why } => write!(
                f,
                "{file} is corrupt at offset {offset}, after zxid {last}: {why}. Records after it \
                 were acknowledged, so it is not cut"
            ),
            Self::Unreadable { file, offset, zxid, why } => write!(
                f,
                "{file}: the record of zxid {zxid} at offset {offset} cannot be read: {why}. Its \
                 checksum is right, so another version of the software wrote it: start with that \
                 version"
            ),
            Self::Gap { file, offset, last, found } => write!(
                f,
                "{file}: the record at offset {offset} has zxid {found}, but the one before it is \
                 {last}: transactions are missing. Bring back the log files or the snapshot \
                 between the two; in an ensemble, move the data directory aside and start empty"
            ),
            Self::OutOfOrder { file, offset, last, found } => write!(
                f,
                "{file}: the record at offset {offset} has zxid {found}, lower than {last} before \
                 it: the file was put together from others. Bring it back from a backup, or move \
                 it away if it does not belong here"
            ),
            Self::Behind { .. }
            | Self::TtlNode { .. }
            | Self::NoSuchEnd { .. }
            | Self::SnapshotBeyond { .. } => self.fmt_end(f),
        }
    }
}

impl RecoveryError {
    /// The texts about the end of the history and the tree there.
    fn fmt_end(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Behind { snapshot, why, last } => write!(
                f,
                "{snapshot} is not whole ({why}) and the logs end at zxid {last}, before it: \
                 transactions are missing. Bring back the logs or the snapshot; if it never \
                 belonged here, move it away"
            ),
            Self::TtlNode { path } => write!(
                f,
                "{path:?} is a node with a TTL but extendedTypesEnabled is off: the setting is \
                 not stored with the data. Start with extendedTypesEnabled=true"
            ),
            Self::NoSuchEnd { to, last } => write!(
                f,
                "the files hold no transaction {to}: the last one that is not after it is {last}"
            ),
            Self::SnapshotBeyond { snapshot, zxid, to } => write!(
                f,
                "{snapshot} was written while the tree changed, up to zxid {zxid}: it does not \
                 lead to the tree of zxid {to}"
            ),
            _ => Ok(()),
        }
    }
}

impl Error for RecoveryError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Storage(error) => Some(&**error),
            Self::Read { error, .. } => Some(error),
            Self::Unreadable { why, .. } => Some(why),
            _ => None,
        }
    }
}

fn no_whole_snapshot(f: &mut fmt::Formatter<'_>, rejected: &[(String, String)]) -> fmt::Result {
    write!(f, "none of the snapshots is whole:")?;
    for (name, why) in rejected.iter().take(NAMED_MAX) {
        write!(f, " {name}: {why};")?;
    }
    write!(
        f,
        " {} in all. Bring one back from a backup together with the logs since then",
        rejected.len()
    )
}

/// Why one snapshot is not used.
#[derive(Debug)]
pub enum Rejection {
    /// Cut, or not a snapshot.
    NotACandidate,
    Snapshot(crate::snapshot::SnapshotError),
    Load(LoadError),
    /// The reading was given up.
    Stopped,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotACandidate => write!(f, "its beginning or end is missing"),
            Self::Snapshot(error) => error.fmt(f),
            Self::Load(error) => error.fmt(f),
            Self::Stopped => write!(f, "its reading was given up"),
        }
    }
}

/// Snapshots that a message lists.
const NAMED_MAX: usize = 5;
