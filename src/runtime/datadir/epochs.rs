//! The epoch files of a member of an ensemble: `acceptedEpoch` and `currentEpoch`, decimal text
//! beside its snapshots, as Apache keeps them.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::codes::VERSION_2;
use crate::zxid::Zxid;

use super::{DataDirError, sync_path};

/// The promises of a member of an ensemble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epochs {
    /// The newest epoch that it has promised to follow.
    pub accepted: u32,
    /// The epoch whose history it has taken over. Invariant: not above `accepted`.
    pub current: u32,
}

/// The promises as the files have them; none where a file is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochFiles {
    accepted: Option<u32>,
    /// Invariant: not above `accepted`, if both are there.
    current: Option<u32>,
}

impl EpochFiles {
    /// Reads the files below a `dataDir`, which need not be there. Refuses what Apache refuses.
    pub fn read(data_dir: &Path) -> Result<Self, DataDirError> {
        let dir = data_dir.join(VERSION_2);
        let files = Self { accepted: read(&dir, ACCEPTED)?, current: read(&dir, CURRENT)? };
        match (files.accepted, files.current) {
            (Some(accepted), Some(current)) if accepted < current => {
                Err(DataDirError::Epochs { path: dir, accepted, current })
            }
            _ => Ok(files),
        }
    }

    /// The promises of a server whose last transaction is `last`; none if it has made none, unless
    /// it is a member of an ensemble now.
    ///
    /// A transaction of an epoch came after the whole history before it, from a leader whose epoch
    /// was accepted. So it proves both, whatever a crash has left in the files (S22). Apache refuses
    /// to start on such files.
    fn at(self, last: Zxid, is_member: bool) -> Option<Epochs> {
        self.accepted.or(self.current).or(is_member.then_some(0))?;
        let current = self.current.unwrap_or(0).max(last.epoch());
        Some(Epochs { accepted: self.accepted.unwrap_or(0).max(current), current })
    }
}

/// What [`DataDir::settle_epochs`](super::DataDir::settle_epochs) does. Both files are written, also
/// where they are right: what the page cache shows need not be on the disk.
pub(super) fn settle(
    data_dir: &Path,
    last: Zxid,
    is_member: bool,
) -> Result<Option<Epochs>, DataDirError> {
    let files = EpochFiles::read(data_dir)?;
    let Some(epochs) = files.at(last, is_member) else { return Ok(None) };
    assert!(last.epoch() <= epochs.current && epochs.current <= epochs.accepted);
    let dir = data_dir.join(VERSION_2);
    // In this order: the current epoch is never above the accepted one.
    write(&dir, ACCEPTED, epochs.accepted)?;
    write(&dir, CURRENT, epochs.current)?;
    Ok(Some(epochs))
}

/// Makes `acceptedEpoch` hold this epoch.
pub(super) fn store_accepted(data_dir: &Path, epoch: u32) -> Result<(), DataDirError> {
    write(&data_dir.join(VERSION_2), ACCEPTED, epoch)
}

/// Makes `currentEpoch` hold this epoch, which was accepted before.
pub(super) fn store_current(data_dir: &Path, epoch: u32) -> Result<(), DataDirError> {
    write(&data_dir.join(VERSION_2), CURRENT, epoch)
}

fn read(dir: &Path, name: &str) -> Result<Option<u32>, DataDirError> {
    let path = dir.join(name);
    let mut bytes = Vec::new();
    let head = File::open(&path).and_then(|file| file.take(BYTES_READ_MAX).read_to_end(&mut bytes));
    match head {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(DataDirError::new("the file cannot be read", &path, error)),
    }
    let text = String::from_utf8_lossy(&bytes);
    let line = text.lines().next().unwrap_or_default();
    let refused = |_| DataDirError::NotAnEpoch { path, text: line.to_owned() };
    line.parse().map(Some).map_err(refused)
}

/// Makes a file hold a number: after a crash at any moment it holds the old one or this one, and
/// once this returns it holds this one.
fn write(dir: &Path, name: &str, epoch: u32) -> Result<(), DataDirError> {
    let unfinished: PathBuf = dir.join(format!("{name}.tmp"));
    let path = dir.join(name);
    let write = || {
        let mut file = File::create(&unfinished)?;
        file.write_all(epoch.to_string().as_bytes())?;
        file.sync_all()?;
        fs::rename(&unfinished, &path)?;
        sync_path(dir)
    };
    write().map_err(|error| DataDirError::new("the epoch cannot be made durable", &path, error))
}

const ACCEPTED: &str = "acceptedEpoch";
const CURRENT: &str = "currentEpoch";
/// More than any epoch has.
const BYTES_READ_MAX: u64 = 40;
