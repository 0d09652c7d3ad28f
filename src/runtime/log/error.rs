//! The messages about a log that cannot be opened or cannot grow, with their remedies.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, getrlimit};

/// The log cannot be opened, or has failed.
#[derive(Debug)]
pub struct LogError {
    what: &'static str,
    path: PathBuf,
    error: io::Error,
}

impl LogError {
    pub(super) fn new(what: &'static str, path: &Path, error: io::Error) -> Self {
        Self { what, path: path.to_owned(), error }
    }
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.path.display(), self.what, self.error)?;
        match Cause::of(&self.error) {
            Cause::Other => Ok(()),
            cause => write!(f, ". {}", cause.remedy(&self.path)),
        }
    }
}

impl std::error::Error for LogError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// No log file can be made ahead of need. Writes go on in the files that are there, then they are
/// refused; reads go on.
#[derive(Debug)]
pub struct NoSpare {
    dir: PathBuf,
    error: io::Error,
}

impl NoSpare {
    pub(super) fn new(dir: &Path, error: io::Error) -> Self {
        Self { dir: dir.to_owned(), error }
    }
}

impl fmt::Display for NoSpare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (dir, error) = (self.dir.display(), &self.error);
        let cause = Cause::of(error);
        match cause {
            Cause::NoSpace => {
                write!(f, "no space for the next file of the transaction log in {dir}")?
            }
            _ => write!(f, "the next file of the transaction log cannot be made in {dir}")?,
        }
        write!(
            f,
            ": {error}; writes are refused once the files that are there are full, reads go on, \
             and it is tried again every second. {}",
            cause.remedy(&self.dir)
        )
    }
}

impl std::error::Error for NoSpare {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// The thing at fault, as far as it decides on the remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    NoSpace,
    Quota,
    FileSize,
    ProcessFiles,
    SystemFiles,
    DirectoryGone,
    ReadOnly,
    Permission,
    Device,
    Other,
}

impl Cause {
    fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::ENOSPC) => Self::NoSpace,
            Some(libc::EDQUOT) => Self::Quota,
            Some(libc::EFBIG) => Self::FileSize,
            Some(libc::EMFILE) => Self::ProcessFiles,
            Some(libc::ENFILE) => Self::SystemFiles,
            Some(libc::ENOENT | libc::ENOTDIR | libc::ESTALE) => Self::DirectoryGone,
            Some(libc::EROFS) => Self::ReadOnly,
            Some(libc::EACCES | libc::EPERM) => Self::Permission,
            Some(libc::EIO) => Self::Device,
            None if error.kind() == io::ErrorKind::NotFound => Self::DirectoryGone,
            _ => Self::Other,
        }
    }

    fn remedy(self, dir: &Path) -> String {
        let dir = dir.display();
        match self {
            Self::NoSpace => "Free some space in dataLogDir or move it; autopurge.purgeInterval \
                              keeps it free"
                .into(),
            Self::Quota => "Raise the disk quota of the user that the server runs as".into(),
            Self::FileSize => {
                let limit = getrlimit(Resource::Fsize).current;
                let limit = limit.map_or(String::new(), |limit| format!(" of {limit} bytes"));
                format!(
                    "Raise the limit{limit} of file sizes (ulimit -f, LimitFSIZE=) above \
                     preAllocSize, or lower preAllocSize"
                )
            }
            Self::ProcessFiles => "Raise the limit of open files of the server (ulimit -n, \
                                   LimitNOFILE=) or lower maxCnxns"
                .into(),
            Self::SystemFiles => {
                "Raise the machine's limit of open files: sysctl fs.file-max".into()
            }
            Self::DirectoryGone => format!(
                "The directory is gone: mount it again, or bring it back from a backup, then start \
                 the server anew; what is written meanwhile is lost with {dir}"
            ),
            Self::ReadOnly => {
                "The file system is read-only, often after an error of the disk: see \
                               dmesg, mend it and mount it writable"
                    .into()
            }
            Self::Permission => {
                format!(
                    "Give the directory to the user that the server runs as: chown -R <user> {dir}"
                )
            }
            Self::Device => "The disk fails: see dmesg, and move dataLogDir to another one".into(),
            Self::Other => "See dmesg for what the kernel says of it".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_own_sentence_and_only_a_full_disk_is_no_space() {
        let errnos = [
            (libc::ENOSPC, "Free some space"),
            (libc::EDQUOT, "quota"),
            (libc::EFBIG, "ulimit -f"),
            (libc::EMFILE, "ulimit -n"),
            (libc::ENFILE, "fs.file-max"),
            (libc::ENOENT, "directory is gone"),
            (libc::EROFS, "read-only"),
            (libc::EACCES, "chown"),
            (libc::EIO, "disk fails"),
        ];
        for (errno, remedy) in errnos {
            let error = io::Error::from_raw_os_error(errno);
            let said = NoSpare::new(Path::new("/log"), error).to_string();
            assert!(said.contains(remedy), "{said}");
            assert_eq!(said.contains("no space for"), errno == libc::ENOSPC, "{said}");
        }
    }
}
