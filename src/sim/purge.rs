//! The purge on the simulated disk: what a newer whole snapshot replaces is removed.

use crate::quorum::recovery::{SnapshotFile, superseded, verify};
use crate::zxid::Zxid;

use super::disk::{Disk, DiskError};

/// Removes what the newest whole snapshot replaces; all up to `committed` is never cut off.
pub(crate) fn purge(
    disk: &mut Disk,
    keep: usize,
    current: Option<&str>,
    committed: Zxid,
) -> Result<(), DiskError> {
    let names = disk.list();
    let (snapshots, logs): (Vec<String>, Vec<String>) = names
        .into_iter()
        .filter(|name| is_data(name))
        .partition(|name| name.starts_with("snapshot."));
    let files = snapshots.into_iter().map(|name| {
        let verified =
            disk.read(&name).is_some_and(|bytes| verify(&name, bytes, &mut || false).is_ok());
        SnapshotFile { name, verified }
    });
    let files: Vec<SnapshotFile> = files.collect();
    for (_, name) in superseded(&files, &logs, keep, committed) {
        if Some(name.as_str()) != current {
            disk.unlink(&name)?;
        }
    }
    Ok(())
}

fn is_data(name: &str) -> bool {
    name.starts_with("snapshot.") || name.starts_with("log.")
}
