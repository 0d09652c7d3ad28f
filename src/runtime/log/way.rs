//! The way that entries get into the log's files: what is asked for and what the file system
//! allows.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::io::ReadWriteFlags;

use crate::txnlog::{Appending, BLOCK_BYTES, SPARE_PREFIX};

/// The way entries get into files, and why not as was asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Way {
    pub(super) appending: Appending,
    asked: Appending,
    because: Option<String>,
    /// Whether the files are on this machine.
    pub(super) is_local: bool,
}

impl Way {
    /// The way for the log in `dir`.
    pub(super) fn choose(dir: &Path, asked: Appending, force_sync: bool) -> Self {
        let (appending, because) = match asked {
            Appending::Direct if !force_sync => {
                let because = "forceSync=no leaves the writing to the page cache";
                (map_or_cache(dir).0, Some(because.to_owned()))
            }
            Appending::Direct => match refuses_direct(dir) {
                None => (Appending::Direct, None),
                Some(error) => {
                    let because = format!("the file system refuses direct writes: {error}");
                    (map_or_cache(dir).0, Some(because))
                }
            },
            Appending::Mapped | Appending::Cached => map_or_cache(dir),
        };
        Self { appending, asked, because, is_local: !is_remote(file_system_of(dir)) }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.appending {
            Appending::Mapped => "stores into a map and one fdatasync per group",
            Appending::Direct => "one direct, durable write per group",
            Appending::Cached => "writes into the page cache and one fdatasync per group",
        })?;
        match &self.because {
            None => write!(f, " (ringkeeper.log={})", self.asked.word()),
            Some(why) => write!(f, " instead of ringkeeper.log={}: {why}", self.asked.word()),
        }
    }
}

fn map_or_cache(dir: &Path) -> (Appending, Option<String>) {
    let because = match stores_may_fail(file_system_of(dir)) {
        Some(why) => Some(why),
        None if shares_extents(dir) => Some("it copies on write where files share blocks"),
        None => None,
    };
    match because {
        None => (Appending::Mapped, None),
        Some(why) => {
            let why = format!("a store into a map can fail on this file system: {why}");
            (Appending::Cached, Some(why))
        }
    }
}

/// The kernel's number of the file system of `dir`; 0 where it does not tell.
fn file_system_of(dir: &Path) -> u64 {
    rustix::fs::statfs(dir).map_or(0, |it| it.f_type as u64)
}

/// Whether it is on another machine or in a process.
fn is_remote(file_system: u64) -> bool {
    matches!(file_system, NFS | SMB | SMB2 | CEPH | FUSE | NINE_P)
}

/// Why a store into a map can fail although each block of the file has been written; none where it
/// is known that it cannot.
fn stores_may_fail(file_system: u64) -> Option<&'static str> {
    match file_system {
        EXT4 | XFS | TMPFS => None,
        BTRFS | ZFS | BCACHEFS | F2FS => Some("it copies on write"),
        _ if is_remote(file_system) => Some("it is on another machine or in a process"),
        _ => Some("it is not known here"),
    }
}

/// Whether files can share blocks: a copy of a log file by a backup makes stores allocate.
fn shares_extents(dir: &Path) -> bool {
    let (from, to) = (Probe::make(dir, 0), Probe::make(dir, 0));
    let (Ok(from), Ok(to)) = (from, to) else { return false };
    io::Write::write_all(&mut &from.file, &[1; BLOCK_BYTES as usize]).is_ok()
        && rustix::fs::ioctl_ficlone(&to.file, &from.file).is_ok()
}

/// Why direct writes are refused. A full disk is another matter.
fn refuses_direct(dir: &Path) -> Option<io::Error> {
    let block = Box::new(Block([0; BLOCK_BYTES as usize]));
    let written = Probe::make(dir, libc::O_DIRECT).and_then(|probe| {
        let slices = [IoSlice::new(&block.0)];
        Ok(rustix::io::pwritev2(&probe.file, &slices, 0, ReadWriteFlags::DSYNC)?)
    });
    let refusals = [libc::EINVAL, libc::EOPNOTSUPP, libc::ENOSYS];
    written.err().filter(|error| error.raw_os_error().is_some_and(|it| refusals.contains(&it)))
}

/// A file that is gone again when this is dropped.
struct Probe {
    file: File,
}

impl Probe {
    fn make(dir: &Path, flags: i32) -> io::Result<Self> {
        let path = dir.join(format!("{SPARE_PREFIX}probe"));
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(true);
        let file = options.mode(0o644).custom_flags(flags).open(&path);
        // The file lives on without its name as long as it is open.
        std::fs::remove_file(&path)?;
        Ok(Self { file: file? })
    }
}

/// Memory that direct writes can read.
#[repr(align(4096))]
pub(super) struct Block(pub(super) [u8; BLOCK_BYTES as usize]);

/// ext2 to ext4.
const EXT4: u64 = 0xef53;
const XFS: u64 = 0x5846_5342;
const TMPFS: u64 = 0x0102_1994;
const BTRFS: u64 = 0x9123_683e;
const ZFS: u64 = 0x2fc1_2fc1;
const BCACHEFS: u64 = 0xca45_1a4e;
const F2FS: u64 = 0xf2f5_2010;
const NFS: u64 = 0x6969;
const SMB: u64 = 0xff53_4d42;
const SMB2: u64 = 0xfe53_4d42;
const CEPH: u64 = 0x00c3_6400;
const FUSE: u64 = 0x6573_5546;
const NINE_P: u64 = 0x0102_1997;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copy_on_write_and_the_unknown_are_not_mapped() {
        for known in [EXT4, XFS, TMPFS] {
            assert_eq!(stores_may_fail(known), None);
        }
        for other in [BTRFS, ZFS, F2FS, NFS, FUSE, 0, 1] {
            assert!(stores_may_fail(other).is_some(), "{other:x}");
        }
    }

    #[test]
    fn the_way_in_force_is_said_with_its_reason() {
        let dir = tempfile::tempdir().unwrap();
        let way = Way::choose(dir.path(), Appending::Direct, false);
        assert_ne!(way.appending, Appending::Direct);
        let said = way.to_string();
        assert!(
            said.contains("instead of ringkeeper.log=direct") && said.contains("forceSync=no"),
            "{said}"
        );
        for mode in [Appending::Mapped, Appending::Direct] {
            let way = Way::choose(dir.path(), mode, true);
            let as_asked = way.appending != Appending::Cached
                && (way.appending == Appending::Direct) == (mode == Appending::Direct);
            assert_eq!(way.because.is_none(), as_asked, "{way}");
            assert!(way.to_string().contains(mode.word()), "{way}");
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "the probes leave nothing");
    }
}
