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
    /// A file with one number in it holds something else.
    NotANumber { path: PathBuf, text: String },
    /// The disk does not give the bytes at `offset`.
    Read { what: &'static str, path: PathBuf, offset: u64, error: io::Error },
    /// The system says no.
    Io { what: &'static str, path: PathBuf, error: io::Error },
}

impl DataDirError {
    pub(super) fn new(what: &'static str, path: &Path, error: io::Error) -> Self {
        Self::Io { what, path: path.to_owned(), error }
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
            Self::NotANumber { path, text } => {
                write!(
                    f,
                    "{} should hold one number and nothing else, not {text:?}: correct it",
                    path.display()
                )
            }
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
