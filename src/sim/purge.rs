//! The purge on the simulated disk: what a newer whole snapshot replaces is removed.

use crate::quorum::recovery::{SnapshotFile, superseded, verify};
use crate::zxid::Zxid;

use super::disk::{Disk, DiskError};

/// Removes what the newest whole snapshot replaces; all up to `committed` is never cut off. Each
/// removal is flushed before the next, but for a planted mistake that flushes nothing of the
/// directory.
pub(crate) fn purge(
    disk: &mut Disk,
    keep: usize,
    current: Option<&str>,
    committed: Zxid,
    flushes: bool,
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
            if flushes {
                disk.flush_dir()?;
            }
        }
    }
    Ok(())
}

fn is_data(name: &str) -> bool {
    name.starts_with("snapshot.") || name.starts_with("log.")
}

#[cfg(test)]
mod tests {
    use super::super::disk::Survivors;
    use super::super::rng::Rng;
    use super::super::snap::write_whole;
    use super::*;
    use crate::tree::Tree;

    /// Whatever a power failure in the middle of a purge undoes, the logs that are left have no hole
    /// between them: where all of an epoch is missing, the zxids do not tell.
    #[test]
    fn a_purge_that_is_cut_off_leaves_no_hole() {
        let mut was_cut_off = 0;
        for seed in 0..400 {
            let mut rng = Rng::new(seed);
            let mut disk = Disk::new(1 << 20);
            write_whole(&mut disk, &mut Tree::new()).expect("the disk has room");
            let logs: Vec<String> = (0..5).map(|nth| format!("log.{nth}00000001")).collect();
            for name in &logs {
                disk.create(name).and_then(|()| disk.flush(name)).expect("it has room");
            }
            disk.rename("snapshot.0", "snapshot.400000002").expect("it is there");
            disk.flush_dir().expect("it works");
            disk.set_fuse(Some(rng.below(10)));
            let done = purge(&mut disk, 1, None, Zxid::MAX, true);
            was_cut_off += usize::from(done.is_err());
            disk.set_fuse(None);
            disk.cut_power(Survivors::Random, &mut rng);
            let is_left = |name: &String| disk.read(name).is_some();
            let left = logs.iter().filter(|name| is_left(name)).count();
            assert!(logs[5 - left..].iter().all(is_left), "seed {seed}: {:?}", disk.list());
            assert!(left >= 1 && (done.is_err() || left == 1));
        }
        assert!(was_cut_off > 100, "{was_cut_off}");
    }
}
