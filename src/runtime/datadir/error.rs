//! The reasons why a data directory cannot be used, and their remedies.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A data directory, or a file in it, cannot be used.
#[derive(Debug)]
pub enum DataDirError {
    /// `datadir.autocreate=false` and it is not there.
    Missing { path: PathBuf },
    /// Another server has it; its process id, if it could be read.
    InUse { path: PathBuf, pid: Option<u32> },
    /// An epoch file holds something else.
    NotAnEpoch { path: PathBuf, text: String },
    /// The epoch files of this directory contradict each other.
    Epochs { path: PathBuf, accepted: u32, current: u32 },
    /// The disk does not give the bytes at `offset`.
    Read { what: &'static str, path: PathBuf, offset: u64, error: io::Error },
    /// The system says no.
    Io { what: &'static str, path: PathBuf, error: io::Error },
}

impl DataDirError {
    pub(super) fn new(what: &'static str, path: &Path, error: io::Error) -> Self {
        Self::Io { what, path: path.to_owned(), error }
    }

    /// Whether the disk, or the server's part of it, is full.
    pub fn is_no_space(&self) -> bool {
        let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
        matches!(self, Self::Io { error, .. } if full.contains(&error.kind()))
    }
}

impl fmt::Display for DataDirError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { path } => write!(
                f,
                "{path} is missing and datadir.autocreate is false: mkdir -p {path}, or bring the \
                 data back",
                path = path.display()
            ),
            Self::InUse { path, pid } => {
                write!(f, "{} is in use by another server", path.display())?;
                match pid {
                    Some(pid) => {
                        write!(f, " (process {pid}): stop it (kill {pid}) or set another dataDir")
                    }
                    None => f.write_str(": stop it or set another dataDir"),
                }
            }
            Self::NotAnEpoch { path, text } => write!(
                f,
                "{} should hold one number, 0 to {}, and nothing else, not {text:?}: {REJOIN}",
                path.display(),
                u32::MAX
            ),
            Self::Epochs { path, accepted, current } => write!(
                f,
                "{}: acceptedEpoch {accepted} is below currentEpoch {current}, so one of the two \
                 files is not this server's last: {REJOIN}",
                path.display()
            ),
            Self::Read { what, path, offset, error } => write!(
                f,
                "{}: {what} at offset {offset}: {error}. The disk may be failing: see dmesg, and \
                 copy the data to another one",
                path.display()
            ),
            Self::Io { what, path, error } => {
                write!(f, "{}: {what}: {error}", path.display())?;
                remedy(f, path, error.kind())
            }
        }
    }
}

impl Error for DataDirError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Io { error, .. } | Self::Read { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// The remedy where promises of a member of an ensemble are lost.
const REJOIN: &str = "take both files from a backup of the same moment, or, while a quorum of the \
                      other members runs, move version-2 away, so that this one takes everything \
                      from the leader";

fn remedy(f: &mut fmt::Formatter<'_>, path: &Path, kind: io::ErrorKind) -> fmt::Result {
    match kind {
        io::ErrorKind::PermissionDenied => {
            write!(
                f,
                ". Give it to the user that the server runs as: chown -R <user> {}",
                path.display()
            )
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            write!(f, ". See with df {} what is left, and make room", path.display())
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            write!(f, ". The file system is mounted read-only: mount -o remount,rw")
        }
        io::ErrorKind::NotADirectory => {
            write!(f, ". A file is in the way: move it, or set another dataDir")
        }
        _ => Ok(()),
    }
}
