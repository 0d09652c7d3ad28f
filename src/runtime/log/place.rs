//! Whether the log's files are still where a start looks for them, on a file system that takes
//! writes.
//!
//! A store into a map does not meet the error that a write would, and a flush of a file that was
//! removed, or that lies in a directory that was moved away, succeeds: nobody would find what was
//! acknowledged. Where a file system becomes read-only in an emergency while files are open, ext4
//! answers a flush with success and does nothing.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use rustix::fs::StatVfsMountFlags;

/// A file, and the path at which a start looks for it.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Place {
    /// Of the file that is at `path` now.
    pub(super) fn of(path: PathBuf) -> io::Result<Self> {
        let found = std::fs::metadata(&path)?;
        Ok(Self { path, device: found.dev(), inode: found.ino() })
    }

    /// An error where the path leads to no file, or to another one. That looking is not allowed is
    /// no reason: it is said when the next file cannot be made.
    pub(super) fn check(&self) -> io::Result<()> {
        let why = match std::fs::metadata(&self.path) {
            Ok(found) if self.is(&found) => return Ok(()),
            Ok(_) => "another file is in its place",
            Err(error) if is_gone(&error) => "there is no such file",
            Err(_) => return Ok(()),
        };
        let path = self.path.display();
        let text = format!(
            "{path} is being written, and {why}: it was removed, or its directory was moved, \
             removed or unmounted"
        );
        Err(io::Error::new(ErrorKind::NotFound, text))
    }

    fn is(&self, found: &Metadata) -> bool {
        (found.dev(), found.ino()) == (self.device, self.inode)
    }
}

/// An error where the file system has become read-only.
pub(super) fn check_writable(file: &File) -> io::Result<()> {
    match rustix::fs::fstatvfs(file)?.f_flag.contains(StatVfsMountFlags::RDONLY) {
        true => Err(io::Error::from_raw_os_error(libc::EROFS)),
        false => Ok(()),
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::ESTALE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_moved_removed_or_replaced_has_lost_its_place() {
        let home = tempfile::tempdir().unwrap();
        let (dir, away) = (home.path().join("log"), home.path().join("away"));
        let path = dir.join("log.1");
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(&path, b"entries").unwrap();
        let place = Place::of(path.clone()).unwrap();
        assert!(place.check().is_ok());
        std::fs::rename(&dir, &away).unwrap();
        let moved = place.check().unwrap_err().to_string();
        assert!(moved.contains("log.1") && moved.contains("no such file"), "{moved}");
        // A copy brought back from elsewhere is not the file that is written.
        std::fs::create_dir(&dir).unwrap();
        std::fs::copy(away.join("log.1"), &path).unwrap();
        assert!(place.check().unwrap_err().to_string().contains("another file"));
        std::fs::rename(away.join("log.1"), &path).unwrap();
        assert!(place.check().is_ok());
    }

    /// On a file system that root mounts and makes read-only.
    #[test]
    fn a_read_only_file_system_is_seen_through_an_open_file() {
        let mount = |options: &str, dir: &std::path::Path| {
            let mut mount = std::process::Command::new("mount");
            mount.args(["-t", "tmpfs", "-o", options, "ringkeeper-test"]).arg(dir);
            mount.output().is_ok_and(|output| output.status.success())
        };
        let dir = tempfile::tempdir().unwrap();
        if !mount("size=1m", dir.path()) {
            return eprintln!("no file system can be mounted here: it needs root");
        }
        let path = dir.path().join("log.1");
        std::fs::write(&path, b"entries").unwrap();
        let file = File::open(&path).unwrap();
        let before = check_writable(&file);
        let is_remounted = mount("remount,ro", dir.path());
        let after = check_writable(&file);
        drop(file);
        let _ = std::process::Command::new("umount").arg("-l").arg(dir.path()).status();
        assert!(before.is_ok() && is_remounted);
        assert_eq!(after.unwrap_err().raw_os_error(), Some(libc::EROFS));
    }
}
