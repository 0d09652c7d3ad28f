//! The small files: myid, the epochs of an ensemble, the initialize marker.

use std::io;
use std::path::Path;

use super::DataDirError;

/// The promises that a server has made in an ensemble; none where the file is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epochs {
    /// The epoch whose history it has taken over.
    pub current: Option<i64>,
    /// The newest epoch that it has promised to follow.
    pub accepted: Option<i64>,
}

pub(super) fn my_id(root: &Path) -> Result<Option<u64>, DataDirError> {
    number(&root.join("myid"))
}

pub(super) fn epochs(dir: &Path) -> Result<Epochs, DataDirError> {
    Ok(Epochs {
        current: number(&dir.join("currentEpoch"))?,
        accepted: number(&dir.join("acceptedEpoch"))?,
    })
}

pub(super) fn take_initialize(log_root: &Path) -> Result<bool, DataDirError> {
    let path = log_root.join("initialize");
    match std::fs::remove_file(&path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(DataDirError::new("the marker cannot be removed", &path, error)),
    }
}

/// The number in the first line.
fn number<T: std::str::FromStr>(path: &Path) -> Result<Option<T>, DataDirError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(DataDirError::new("the file cannot be read", path, error)),
    };
    let line = text.lines().next().unwrap_or_default();
    let shown = || line.chars().take(TEXT_SHOWN_MAX).collect();
    line.trim()
        .parse()
        .map(Some)
        .map_err(|_| DataDirError::NotANumber { path: path.to_owned(), text: shown() })
}

/// Characters of a wrong file that a message shows.
const TEXT_SHOWN_MAX: usize = 40;
