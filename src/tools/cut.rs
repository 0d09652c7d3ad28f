//! Gives up the end of a damaged log file: what the server never does by itself, because something
//! was acknowledged there.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use crate::pieces::Stream;
use crate::runtime::datadir::PieceFile;
use crate::txnlog::Scanner;

/// The reason why nothing was cut.
#[derive(Debug)]
pub enum CutError {
    /// The file could not be read, copied or cut.
    Io { path: PathBuf, error: io::Error },
    /// The whole records end elsewhere: somebody has the wrong file or number.
    NotTheEnd { path: PathBuf, offset: u64, end: u64 },
}

impl fmt::Display for CutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, error } => write!(f, "{}: {error}; nothing was cut", path.display()),
            Self::NotTheEnd { path, offset, end } => write!(
                f,
                "{}: the whole records end at offset {end}, not at {offset}; nothing was cut. \
                 Give the offset that the server has named",
                path.display()
            ),
        }
    }
}

impl std::error::Error for CutError {}

/// Cuts the log file at `path` at `offset`, which must be where its whole records end. The file as
/// it was stays beside it under a name that no server reads, which is returned. Log files that
/// follow must be moved away by hand: what they hold does no longer follow, and the start says so.
pub fn cut_log(path: &Path, offset: u64) -> Result<PathBuf, CutError> {
    let failed = |error| CutError::Io { path: path.to_owned(), error };
    let source = PieceFile::open(path).map_err(failed)?;
    let end =
        Scanner::new(&source).end().map_err(|error| failed(io::Error::other(error)))?.offset();
    if end != offset {
        return Err(CutError::NotTheEnd { path: path.to_owned(), offset, end });
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let backup = path.with_file_name(format!("ringkeeper.uncut.{name}"));
    let cut = || -> io::Result<()> {
        let mut copy = OpenOptions::new().write(true).create_new(true).open(&backup)?;
        io::copy(&mut Stream::new(&source), &mut copy)?;
        copy.sync_all()?;
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(offset)?;
        file.sync_all()?;
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(dir)?.sync_all()
    };
    cut().map_err(failed)?;
    Ok(backup)
}
