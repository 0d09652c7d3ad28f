//! The files of a server: the two `version-2` directories, their lock, what is read from them and
//! removed.
//!
//! Made as Apache makes them (`datadir.autocreate`), so that either server can be started on them.
//! Files that are ours alone have names that Apache looks at no more than at any other file:
//! `ringkeeper.lock`, `ringkeeper.spare.*`, `ringkeeper.cut.*`, `ringkeeper.snapshot.tmp`,
//! `ringkeeper.received.*`.

mod ahead;
mod epochs;
mod error;
mod file;
mod history;
mod lock;
#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::codes::VERSION_2;
use crate::pieces::{PIECE_BYTES, Source};
use crate::quorum::recovery::{
    Dir, Rejection, Settling, SnapshotFile, Storage, superseded, verify,
};
use crate::snapshot::{FileName, SnapshotError};
use crate::zxid::Zxid;

pub use epochs::{EpochFiles, Epochs};
pub use error::DataDirError;
pub use file::{LiveFile, PieceFile};
pub use history::{Histories, HistoryChange};

use lock::Lock;

/// The directories of one server, locked against a second one for as long as this or a clone of it
/// lives; [`DataDir::beside`] locks nothing.
#[derive(Clone, Debug)]
pub struct DataDir {
    /// `dataDir`.
    root: PathBuf,
    /// `dataLogDir`, where the initialize marker is.
    log_root: PathBuf,
    snapshots: PathBuf,
    logs: PathBuf,
    /// Set by whoever wants a start or a purge to be given up.
    stopping: Arc<AtomicBool>,
    histories: Histories,
    _locks: Arc<[Lock]>,
}

impl DataDir {
    /// Opens the directories, makes them if they are missing and may be made, and locks them.
    pub fn open(
        data_dir: &Path,
        data_log_dir: &Path,
        autocreate: bool,
    ) -> Result<Self, DataDirError> {
        let snapshots = data_dir.join(VERSION_2);
        let logs = data_log_dir.join(VERSION_2);
        for dir in [&logs, &snapshots] {
            create(dir, autocreate)?;
        }
        let mut locks = vec![Lock::take(&snapshots)?];
        let one = same_dir(&snapshots, &logs)?;
        let logs = if one { snapshots.clone() } else { logs };
        if !one {
            locks.push(Lock::take(&logs)?);
        }
        let (root, log_root) = (data_dir.to_owned(), data_log_dir.to_owned());
        let (stopping, histories) = (Arc::default(), Histories::default());
        let _locks = locks.into();
        Ok(Self { root, log_root, snapshots, logs, stopping, histories, _locks })
    }

    /// The directories of a server that runs and has them locked, for a purge from outside; all up to
    /// `committed` is committed.
    pub fn beside(
        data_dir: &Path,
        data_log_dir: &Path,
        committed: Zxid,
    ) -> Result<Self, DataDirError> {
        let snapshots = data_dir.join(VERSION_2);
        let logs = data_log_dir.join(VERSION_2);
        let logs = if same_dir(&snapshots, &logs)? { snapshots.clone() } else { logs };
        let (root, log_root) = (data_dir.to_owned(), data_log_dir.to_owned());
        let (stopping, histories) = (Arc::default(), Histories::default());
        histories.begin_serving(committed);
        histories.end_serving();
        let _locks = Arc::from(Vec::new());
        Ok(Self { root, log_root, snapshots, logs, stopping, histories, _locks })
    }

    /// The directory of log files.
    pub fn logs(&self) -> &Path {
        &self.logs
    }

    /// The directory of snapshots.
    pub fn snapshots(&self) -> &Path {
        &self.snapshots
    }

    /// Once `stopping` is set, a recovery or a purge ends between two pieces of work.
    pub fn stop_with(&mut self, stopping: Arc<AtomicBool>) {
        self.stopping = stopping;
    }

    /// The promises of a server whose last transaction is `last`. They are durable, and not behind
    /// it: a log that holds more than the files say proves that more was promised. Where there are
    /// no files, a member of an ensemble has promised what its last transaction proves, as Apache
    /// has it, and a server on its own nothing.
    pub fn settle_epochs(
        &self,
        last: Zxid,
        is_member: bool,
    ) -> Result<Option<Epochs>, DataDirError> {
        epochs::settle(&self.root, last, is_member)
    }

    /// Makes it durable that an epoch is accepted. After an error the file holds this epoch or the
    /// one before.
    pub fn store_accepted_epoch(&self, epoch: u32) -> Result<(), DataDirError> {
        epochs::store_accepted(&self.root, epoch)
    }

    /// The same of the epoch whose history this server has.
    pub fn store_current_epoch(&self, epoch: u32) -> Result<(), DataDirError> {
        epochs::store_current(&self.root, epoch)
    }

    /// The histories that the files belong to.
    pub fn histories(&self) -> Histories {
        self.histories.clone()
    }

    /// Removes the marker `initialize`, as every load does. True if it was there.
    pub fn take_initialize(&self) -> Result<bool, DataDirError> {
        let path = self.log_root.join("initialize");
        match std::fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(DataDirError::new("the marker cannot be removed", &path, error)),
        }
    }

    /// Bytes of all files directly in the directory of snapshots and in that of logs, as `conf` and
    /// `dirs` tell them.
    pub fn sizes(&self) -> (u64, u64) {
        (size_of_files(&self.snapshots), size_of_files(&self.logs))
    }

    /// Removes what the `keep` newest whole snapshots have made superfluous (`autopurge`); returns
    /// the names. The snapshots are flushed and read to their last seal before they count; `rest`
    /// is called between pieces of that work.
    ///
    /// A snapshot after what is committed may still have to go: the newest one that is not after it
    /// stays with the log since then. Whoever is reading a file
    /// that is removed has it open, and reads on.
    pub fn purge(
        &mut self,
        keep: usize,
        rest: &mut dyn FnMut(),
    ) -> Result<Vec<String>, DataDirError> {
        let Some(history) = self.histories.current() else { return Ok(Vec::new()) };
        let committed = self.histories.committed();
        let logs = self.list(Dir::Logs)?;
        let mut names: Vec<_> = self
            .list(Dir::Snapshots)?
            .into_iter()
            .filter_map(|name| Some((FileName::parse(&name)?.zxid, name)))
            .collect();
        names.sort_by(|a, b| b.cmp(a));
        let mut left = keep.max(1);
        let mut has_committed = false;
        let mut files = Vec::with_capacity(names.len());
        for (zxid, name) in names {
            let verified = (left > 0 || !has_committed) && self.is_whole(&name, rest)?;
            left -= usize::from(verified && left > 0);
            has_committed |= verified && zxid <= committed;
            files.push(SnapshotFile { name, verified });
        }
        if self.is_stopping() {
            return Ok(Vec::new());
        }
        let old = superseded(&files, &logs, keep, committed);
        let removed = self.histories().within(history, || self.remove_all(&old));
        removed.unwrap_or(Ok(Vec::new()))
    }

    fn remove_all(&mut self, old: &[(Dir, String)]) -> Result<Vec<String>, DataDirError> {
        // A power failure may undo any of the removals since the last flush of their directory. One
        // after the other they leave no hole: where an epoch is missing, nothing that is left tells.
        for (dir, name) in old {
            self.remove(*dir, name)?;
            self.sync_dir(*dir)?;
        }
        Ok(old.iter().map(|(_, name)| name.clone()).collect())
    }

    fn is_whole(&mut self, name: &str, rest: &mut dyn FnMut()) -> Result<bool, DataDirError> {
        let path = self.path(Dir::Snapshots, name);
        // What only the page cache has must not be a reason to remove anything.
        let file = PieceFile::open_flushed(&path);
        let file = file.map_err(|error| {
            DataDirError::new("the snapshot cannot be flushed and read", &path, error)
        })?;
        let stopping = self.stopping.clone();
        let mut rest = || {
            rest();
            stopping.load(Ordering::Relaxed)
        };
        match verify(name, file, &mut rest) {
            Ok(()) => Ok(true),
            Err(Rejection::Stopped) => Ok(false),
            Err(Rejection::Snapshot(SnapshotError::Read(error))) => {
                let what = "the snapshot cannot be read";
                Err(DataDirError::Read { what, path, offset: error.offset, error: error.error })
            }
            Err(why) => {
                log::warn!("{}: does not count as a snapshot: {why}", path.display());
                Ok(false)
            }
        }
    }

    fn path(&self, dir: Dir, name: &str) -> PathBuf {
        match dir {
            Dir::Logs => self.logs.join(name),
            Dir::Snapshots => self.snapshots.join(name),
        }
    }
}

impl Storage for DataDir {
    type File = PieceFile;
    type Error = DataDirError;

    fn is_one_dir(&self) -> bool {
        self.logs == self.snapshots
    }

    fn list(&mut self, dir: Dir) -> Result<Vec<String>, DataDirError> {
        let path = self.path(dir, "");
        let failed = |error| DataDirError::new("the directory cannot be listed", &path, error);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_type().map_err(failed)?.is_file() {
                names.extend(entry.file_name().into_string());
            }
        }
        Ok(names)
    }

    fn open(&mut self, dir: Dir, name: &str) -> Result<PieceFile, DataDirError> {
        let path = self.path(dir, name);
        let file = match dir {
            // Logs are written anew where nothing proves them.
            Dir::Logs => PieceFile::open(&path),
            Dir::Snapshots => PieceFile::open_flushed(&path),
        };
        file.map_err(|error| DataDirError::new("the file cannot be read", &path, error))
    }

    fn settle(&mut self, dir: Dir, name: &str, settling: &Settling) -> Result<(), DataDirError> {
        let path = self.path(dir, name);
        let settle = || -> io::Result<()> {
            let file = OpenOptions::new().read(true).write(true).open(&path)?;
            write_anew(&file, settling.anew.clone())?;
            // The mark says that everything before it is durable, so it must not be there before
            // that is true. And no mark goes before it is there: it would leave the entries without
            // a proof, should the power fail now.
            file.sync_all()?;
            if !settling.mark.is_empty() {
                file.write_all_at(&settling.mark, settling.anew.end)?;
                file.sync_all()?;
            }
            if settling.cut {
                file.set_len(settling.anew.end + settling.mark.len() as u64)?;
                file.sync_all()?;
            }
            Ok(())
        };
        settle().map_err(|error| {
            DataDirError::new("what is in the file cannot be made durable", &path, error)
        })
    }

    fn copy_front(
        &mut self,
        dir: Dir,
        name: &str,
        to: &str,
        bytes: u64,
        mark: &[u8],
    ) -> Result<(), DataDirError> {
        let (from, to) = (self.path(dir, name), self.path(dir, to));
        let copied = copy_front(&from, &to, bytes, mark);
        copied.map_err(|error| {
            // What cannot be removed is removed at the next start.
            let _ = std::fs::remove_file(&to);
            DataDirError::new("a shorter copy of the file cannot be made", &from, error)
        })
    }

    fn rename(&mut self, dir: Dir, from: &str, to: &str) -> Result<(), DataDirError> {
        let (from, to) = (self.path(dir, from), self.path(dir, to));
        std::fs::rename(&from, &to)
            .map_err(|error| DataDirError::new("the file cannot be put in its place", &to, error))
    }

    fn remove(&mut self, dir: Dir, name: &str) -> Result<(), DataDirError> {
        let path = self.path(dir, name);
        std::fs::remove_file(&path)
            .map_err(|error| DataDirError::new("the file cannot be removed", &path, error))
    }

    fn sync_dir(&mut self, dir: Dir) -> Result<(), DataDirError> {
        let path = self.path(dir, "");
        sync_path(&path)
            .map_err(|error| DataDirError::new("the directory cannot be flushed", &path, error))
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

/// Writes what a file holds once more. After a flush that failed the page cache has bytes that the
/// disk has not, on pages that count as clean: only what is written anew gets there.
fn write_anew(file: &File, range: Range<u64>) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES.min((range.end - range.start) as usize)];
    let mut at = range.start;
    while at < range.end {
        let len = PIECE_BYTES.min((range.end - at) as usize);
        file.read_exact_at(&mut piece[..len], at)?;
        file.write_all_at(&piece[..len], at)?;
        at += len as u64;
    }
    Ok(())
}

fn copy_front(from: &Path, to: &Path, bytes: u64, mark: &[u8]) -> io::Result<()> {
    let source = PieceFile::open(from)?;
    let copy = OpenOptions::new().write(true).create(true).truncate(true).open(to)?;
    let mut piece = vec![0; PIECE_BYTES.min(bytes as usize)];
    let mut at = 0;
    while at < bytes {
        let len = PIECE_BYTES.min((bytes - at) as usize);
        source.read_at(at, &mut piece[..len])?;
        copy.write_all_at(&piece[..len], at)?;
        at += len as u64;
    }
    // The mark says that everything before it is durable.
    copy.sync_all()?;
    if !mark.is_empty() {
        copy.write_all_at(mark, bytes)?;
        copy.sync_all()?;
    }
    Ok(())
}

/// Makes a directory and those above it that are missing, each durable in the one above it: a
/// directory whose name is lost takes all that was flushed in it along.
fn create(dir: &Path, autocreate: bool) -> Result<(), DataDirError> {
    let failed =
        |path: &Path, error| DataDirError::new("the directory cannot be made", path, error);
    if dir.exists() {
        return Ok(());
    }
    if !autocreate {
        return Err(DataDirError::Missing { path: dir.to_owned() });
    }
    let above =
        dir.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create(above, true)?;
    match std::fs::create_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made.map_err(|error| failed(dir, error))?,
    }
    sync_path(above).map_err(|error| failed(above, error))
}

/// Makes the names in a directory durable.
fn sync_path(dir: &Path) -> io::Result<()> {
    #[cfg(test)]
    tests::SYNCED.with_borrow_mut(|synced| synced.push(dir.to_owned()));
    File::open(dir)?.sync_all()
}

fn same_dir(a: &Path, b: &Path) -> Result<bool, DataDirError> {
    let real = |path: &Path| {
        path.canonicalize()
            .map_err(|error| DataDirError::new("the directory cannot be found", path, error))
    };
    Ok(real(a)? == real(b)?)
}

fn size_of_files(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    files
        .filter_map(|file| file.metadata().ok())
        .filter(|meta| meta.is_file())
        .map(|meta| meta.len())
        .sum()
}
