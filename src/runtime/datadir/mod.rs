//! The files of a server: the two `version-2` directories, their lock, what is read from them and removed.
//!
//! Made as Apache makes them (`datadir.autocreate`), so that either server can be started on them. What is ours alone has
//! names that Apache looks at no more than at any other file: `ringkeeper.lock`, `ringkeeper.spare.*`,
//! `ringkeeper.snapshot.tmp`.

mod error;
mod lock;
mod marks;
#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Deref;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use memmap2::{Advice, Mmap};

use crate::quorum::recovery::{Dir, SnapshotFile, Storage, superseded, verify};
use crate::snapshot::FileName;

pub use error::DataDirError;
pub use marks::Epochs;

use lock::Lock;

/// The directories of one server, locked against a second one for as long as this lives.
#[derive(Debug)]
pub struct DataDir {
    /// `dataDir`, where myid is.
    root: PathBuf,
    /// `dataLogDir`, where the initialize marker is.
    log_root: PathBuf,
    snapshots: PathBuf,
    logs: PathBuf,
    _locks: Vec<Lock>,
}

impl DataDir {
    /// Opens the directories, makes them if they are missing and may be made, and locks them.
    pub fn open(data_dir: &Path, data_log_dir: &Path, autocreate: bool) -> Result<Self, DataDirError> {
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
        Ok(Self { root: data_dir.to_owned(), log_root: data_log_dir.to_owned(), snapshots, logs, _locks: locks })
    }

    /// The directory of log files.
    pub fn logs(&self) -> &Path {
        &self.logs
    }

    /// The directory of snapshots.
    pub fn snapshots(&self) -> &Path {
        &self.snapshots
    }

    /// The server id in `myid`; none without the file.
    pub fn my_id(&self) -> Result<Option<u64>, DataDirError> {
        marks::my_id(&self.root)
    }

    /// The epochs that a server of an ensemble has promised; a standalone server leaves them alone.
    pub fn epochs(&self) -> Result<Epochs, DataDirError> {
        marks::epochs(&self.snapshots)
    }

    /// Removes the marker `initialize`, as every load does. True if it was there.
    pub fn take_initialize(&self) -> Result<bool, DataDirError> {
        marks::take_initialize(&self.log_root)
    }

    /// Bytes of all files directly in the directory of snapshots and in that of logs, as `conf` and `dirs` tell them.
    pub fn sizes(&self) -> (u64, u64) {
        (size_of_files(&self.snapshots), size_of_files(&self.logs))
    }

    /// Removes what the `keep` newest whole snapshots have made superfluous (`autopurge`); returns the names. The snapshots are
    /// flushed and read to their last seal before they count; `rest` is called between pieces of that work.
    pub fn purge(&mut self, keep: usize, rest: &mut dyn FnMut()) -> Result<Vec<String>, DataDirError> {
        let logs = self.list(Dir::Logs)?;
        let mut names: Vec<_> = self
            .list(Dir::Snapshots)?
            .into_iter()
            .filter_map(|name| Some((FileName::parse(&name)?.zxid, name)))
            .collect();
        names.sort_by(|a, b| b.cmp(a));
        let mut left = keep.max(1);
        let mut files = Vec::with_capacity(names.len());
        for (_, name) in names {
            let verified = left > 0 && self.is_whole(&name, rest)?;
            left -= usize::from(verified);
            files.push(SnapshotFile { name, verified });
        }
        let old = superseded(&files, &logs, keep);
        for (dir, name) in &old {
            self.remove(*dir, name)?;
        }
        self.sync_dir(Dir::Snapshots)?;
        self.sync_dir(Dir::Logs)?;
        Ok(old.into_iter().map(|(_, name)| name).collect())
    }

    fn is_whole(&mut self, name: &str, rest: &mut dyn FnMut()) -> Result<bool, DataDirError> {
        let path = self.path(Dir::Snapshots, name);
        let synced = File::open(&path).and_then(|file| file.sync_all());
        synced.map_err(|error| DataDirError::new("the snapshot can not be flushed", &path, error))?;
        let bytes = self.read(Dir::Snapshots, name)?;
        match verify(name, bytes.as_ref(), rest) {
            Ok(()) => Ok(true),
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
    type Bytes = FileBytes;
    type Error = DataDirError;

    fn is_one_dir(&self) -> bool {
        self.logs == self.snapshots
    }

    fn list(&mut self, dir: Dir) -> Result<Vec<String>, DataDirError> {
        let path = self.path(dir, "");
        let failed = |error| DataDirError::new("the directory can not be listed", &path, error);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_type().map_err(failed)?.is_file() {
                names.extend(entry.file_name().into_string());
            }
        }
        Ok(names)
    }

    fn read(&mut self, dir: Dir, name: &str) -> Result<FileBytes, DataDirError> {
        let path = self.path(dir, name);
        FileBytes::read(&path).map_err(|error| DataDirError::new("the file can not be read", &path, error))
    }

    fn cut(&mut self, dir: Dir, name: &str, len: u64, tail: &[u8]) -> Result<(), DataDirError> {
        let path = self.path(dir, name);
        let cut = || -> io::Result<()> {
            let file = OpenOptions::new().read(true).write(true).open(&path)?;
            file.set_len(len)?;
            write_anew(&file, len)?;
            file.sync_all()?;
            // The tail says that everything before it is durable, so it must not be there before that is true.
            file.write_all_at(tail, len)?;
            file.sync_all()
        };
        cut().map_err(|error| DataDirError::new("the file can not be cut to its whole records", &path, error))
    }

    fn remove(&mut self, dir: Dir, name: &str) -> Result<(), DataDirError> {
        let path = self.path(dir, name);
        std::fs::remove_file(&path).map_err(|error| DataDirError::new("the file can not be removed", &path, error))
    }

    fn sync_dir(&mut self, dir: Dir) -> Result<(), DataDirError> {
        let path = self.path(dir, "");
        let synced = File::open(&path).and_then(|dir| dir.sync_all());
        synced.map_err(|error| DataDirError::new("the directory can not be flushed", &path, error))
    }
}

/// Writes what a file holds once more. After a flush that failed the page cache has bytes that the disk has not, on pages
/// that count as clean: only what is written anew gets there.
fn write_anew(file: &File, len: u64) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut at = 0;
    while at < len {
        let bytes = &mut piece[..PIECE_BYTES.min((len - at) as usize)];
        file.read_exact_at(bytes, at)?;
        file.write_all_at(bytes, at)?;
        at += bytes.len() as u64;
    }
    Ok(())
}

/// All of a file: mapped if it is large.
#[derive(Debug)]
pub enum FileBytes {
    Mapped(Mmap),
    Read(Vec<u8>),
}

impl FileBytes {
    fn read(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        if file.metadata()?.len() < MAPPED_BYTES_MIN {
            return std::fs::read(path).map(Self::Read);
        }
        // SAFETY: the slice is sound as long as nobody shortens or writes the file. The directory is locked against other
        // servers of ours, this one maps only files that it is not writing (snapshots that have their name, logs before the
        // log is opened), and drops the mapping before it cuts one.
        let map = unsafe { Mmap::map(&file)? };
        map.advise(Advice::Sequential)?;
        Ok(Self::Mapped(map))
    }
}

impl AsRef<[u8]> for FileBytes {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Read(bytes) => bytes,
        }
    }
}

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_ref()
    }
}

fn create(dir: &Path, autocreate: bool) -> Result<(), DataDirError> {
    if !dir.exists() {
        if !autocreate {
            return Err(DataDirError::Missing { path: dir.to_owned() });
        }
        std::fs::create_dir_all(dir).map_err(|error| DataDirError::new("the directory can not be made", dir, error))?;
        // The names of the new directories are as much data as what comes into them.
        for parent in dir.ancestors().skip(1).take(2) {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            if let Err(error) = File::open(parent).and_then(|parent| parent.sync_all()) {
                return Err(DataDirError::new("the directory can not be flushed", parent, error));
            }
        }
    }
    Ok(())
}

fn same_dir(a: &Path, b: &Path) -> Result<bool, DataDirError> {
    let real = |path: &Path| {
        path.canonicalize().map_err(|error| DataDirError::new("the directory can not be found", path, error))
    };
    Ok(real(a)? == real(b)?)
}

fn size_of_files(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    files.filter_map(|file| file.metadata().ok()).filter(|meta| meta.is_file()).map(|meta| meta.len()).sum()
}

/// Written anew at a time.
const PIECE_BYTES: usize = 1 << 20;
/// Below each of the configured directories.
const VERSION_2: &str = "version-2";
/// Smaller files are read, not mapped.
const MAPPED_BYTES_MIN: u64 = 1 << 20;
