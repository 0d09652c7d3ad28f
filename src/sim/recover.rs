//! The start on the simulated disk: recovery as production does it, any of its disk operations
//! being the last before a crash.

use std::fmt;

use crate::quorum::recovery::{
    Dir, Recovered, RecoveryError, RecoverySettings, Settling, Storage, recover,
};
use crate::tree::Tree;
use crate::txnlog::SPARE_PREFIX;

use super::defect::Defect;
use super::disk::{Disk, DiskError};
use super::snap::write_whole;

/// The outcome of a start.
#[derive(Debug)]
pub(crate) enum Start {
    /// It comes up with this.
    Up(Box<Recovered>),
    /// The machine stopped on the way.
    Stopped,
    /// The server refuses to start.
    Refused(RecoveryError),
}

/// Starts from what is on the disk. An empty disk gets its first snapshot, as a log alone is not
/// started from. `read_fails` makes the device fail with the so-many-th file that is read.
pub(crate) fn start(disk: &mut Disk, defect: Option<Defect>, read_fails: Option<u64>) -> Start {
    let settings = RecoverySettings { extended_types: true, ..RecoverySettings::default() };
    let files = Files { disk, defect, stopped: false, read_fails };
    start_from(files, &settings, false)
}

/// The same of a server of an ensemble. One that has lost its data takes no snapshot of nothing.
pub(crate) fn start_member(
    disk: &mut Disk,
    settings: &RecoverySettings,
    is_lost: bool,
    read_fails: Option<u64>,
) -> Start {
    start_from(Files { read_fails, ..Files::of(disk) }, settings, is_lost)
}

fn start_from(mut files: Files<'_>, settings: &RecoverySettings, is_lost: bool) -> Start {
    let recovered = recover(&mut files, settings);
    let Files { disk, stopped, .. } = files;
    match recovered {
        _ if stopped => Start::Stopped,
        Err(error) => Start::Refused(error),
        Ok(mut recovered) => {
            let is_fresh = recovered.report.snapshot.is_none() && !is_lost;
            match settle(disk, &mut recovered.tree, is_fresh) {
                Err(_) => Start::Stopped,
                Ok(()) => Start::Up(Box::new(recovered)),
            }
        }
    }
}

/// Leftovers of the run before go, and a first snapshot is made.
fn settle(disk: &mut Disk, tree: &mut Tree, is_fresh: bool) -> Result<(), DiskError> {
    for name in disk.list() {
        let is_unfinished = name.starts_with("draft.") || name.ends_with(".tmp");
        if name.starts_with(SPARE_PREFIX) || is_unfinished {
            disk.unlink(&name)?;
        }
    }
    if is_fresh { write_whole(disk, tree) } else { Ok(()) }
}

/// The simulated disk as recovery sees it: one directory for both.
pub(crate) struct Files<'a> {
    disk: &'a mut Disk,
    defect: Option<Defect>,
    /// The machine has stopped on the way.
    pub stopped: bool,
    /// Files that are still read before one is not.
    read_fails: Option<u64>,
}

/// The disk's answer, as an error.
#[derive(Debug)]
pub(crate) struct Refusal(DiskError);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the disk answers {:?}", self.0)
    }
}

impl std::error::Error for Refusal {}

impl<'a> Files<'a> {
    pub(crate) fn of(disk: &'a mut Disk) -> Self {
        Self { disk, defect: None, stopped: false, read_fails: None }
    }

    fn told<T>(&mut self, result: Result<T, DiskError>) -> Result<T, Refusal> {
        self.stopped |= matches!(result, Err(DiskError::Stopped));
        result.map_err(Refusal)
    }
}

impl Storage for Files<'_> {
    type File = Vec<u8>;
    type Error = Refusal;

    fn is_one_dir(&self) -> bool {
        true
    }

    fn list(&mut self, _: Dir) -> Result<Vec<String>, Refusal> {
        Ok(self.disk.list())
    }

    fn open(&mut self, _: Dir, name: &str) -> Result<Vec<u8>, Refusal> {
        if self.read_fails == Some(0) {
            return Err(Refusal(DiskError::Failed));
        }
        self.read_fails = self.read_fails.map(|left| left - 1);
        let bytes = self.disk.read(name).map(<[u8]>::to_vec);
        bytes.ok_or(Refusal(DiskError::Failed))
    }

    fn settle(&mut self, _: Dir, name: &str, settling: &Settling) -> Result<(), Refusal> {
        if self.defect == Some(Defect::TornTailAccepted) {
            return Ok(());
        }
        let (start, end) = (settling.anew.start as usize, settling.anew.end as usize);
        let mut settled = Ok(());
        if self.defect == Some(Defect::CutBeforeMark) && settling.cut {
            settled = self.disk.truncate(name, end).and_then(|()| self.disk.flush(name));
        }
        // After a failed flush the page cache holds entries that the disk does not, on pages that
        // count as clean: only what is written anew is flushed.
        if self.defect != Some(Defect::CachedPagesTrusted) {
            let bytes = self
                .disk
                .read(name)
                .and_then(|bytes| bytes.get(start..end))
                .unwrap_or_default()
                .to_vec();
            settled = settled.and_then(|()| self.disk.write(name, start, &bytes));
        }
        if self.defect == Some(Defect::RecoveredNotFlushed) {
            let marked = settled.and_then(|()| self.disk.write(name, end, &settling.mark));
            return self.told(marked);
        }
        // The mark says that everything before it is durable, so it must not be there before that
        // is true.
        if self.defect != Some(Defect::MarkBeforeFlush) {
            settled = settled.and_then(|()| self.disk.flush(name));
        }
        let mut marked = settled.and_then(|()| self.disk.write(name, end, &settling.mark));
        // Until the new mark is there, the old one is what proves the entries.
        marked = marked.and_then(|()| self.disk.flush(name));
        if settling.cut {
            let bytes = end + settling.mark.len();
            marked = marked.and_then(|()| self.disk.truncate(name, bytes));
            marked = marked.and_then(|()| self.disk.flush(name));
        }
        self.told(marked)
    }

    fn copy_front(
        &mut self,
        _: Dir,
        name: &str,
        to: &str,
        bytes: u64,
        mark: &[u8],
    ) -> Result<(), Refusal> {
        let front = self.disk.read(name).and_then(|file| file.get(..bytes as usize));
        let mut copy = front.unwrap_or_default().to_vec();
        copy.extend_from_slice(mark);
        let made = self.disk.create(to).and_then(|()| self.disk.write(to, 0, &copy));
        let made = made.and_then(|()| self.disk.flush(to));
        self.told(made)
    }

    fn rename(&mut self, _: Dir, from: &str, to: &str) -> Result<(), Refusal> {
        let renamed = self.disk.rename(from, to);
        self.told(renamed)
    }

    fn remove(&mut self, _: Dir, name: &str) -> Result<(), Refusal> {
        let removed = self.disk.unlink(name);
        self.told(removed)
    }

    fn sync_dir(&mut self, _: Dir) -> Result<(), Refusal> {
        let synced = self.disk.flush_dir();
        self.told(synced)
    }
}
