//! The file with the server's process id. It is believed only while the process of that number is a
//! server, Ringkeeper's or Apache's, with the very configuration: after a crash the number belongs
//! to somebody else.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::cli::process::{Process, arguments};

use super::site::read_file;

/// What a pid file names.
#[derive(Debug)]
pub(super) enum Named {
    /// There is no such file.
    NoFile,
    /// No process that runs, or nothing that is a number; what it holds.
    Nobody(String),
    /// A process that is no server with this configuration, and its command.
    Stranger { pid: i32, command: String },
    /// The server.
    Server(Process),
}

/// Looks who is named by `path`, for the server whose configuration file is `config`.
pub(super) fn look(path: &Path, config: &Path) -> io::Result<Named> {
    let text = match read_file(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).trim().to_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Named::NoFile),
        Err(error) => return Err(error),
    };
    let Some(pid) = text.parse().ok().filter(|pid: &i32| *pid > 0) else {
        return Ok(Named::Nobody(text));
    };
    if let Some(process) = Process::find(pid, |pid| is_server(pid, config)) {
        return Ok(Named::Server(process));
    }
    match arguments(pid) {
        Some(arguments) => Ok(Named::Stranger { pid, command: command(&arguments) }),
        None => Ok(Named::Nobody(text)),
    }
}

/// Whether process `pid` is a server with this configuration file.
pub(super) fn is_server(pid: i32, config: &Path) -> bool {
    let Some(arguments) = arguments(pid) else { return false };
    let words: Vec<&[u8]> = arguments.split(|byte| *byte == 0).collect();
    let is_apaches = words.iter().any(|word| word.starts_with(APACHES_CLASSES));
    if !is_apaches && !words.iter().skip(1).any(|word| *word == b"server") {
        return false;
    }
    // Relative to where the process is.
    let home = fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
    let config = real(Path::new("."), config);
    let mut files = words.iter().skip(1).filter(|word| !word.is_empty());
    files.any(|word| real(&home, Path::new(OsStr::from_bytes(word))) == config)
}

/// Held while a server is started, so that of two starts at once the second finds the first one's
/// server.
#[derive(Debug)]
pub(super) struct Held {
    _file: File,
}

/// Waits until no other start is under way. Makes the file if it is not there.
pub(super) fn hold(path: &Path) -> io::Result<Held> {
    let file = OpenOptions::new().append(true).create(true).open(path)?;
    flock(&file, FlockOperation::LockExclusive)?;
    Ok(Held { _file: file })
}

fn real(home: &Path, path: &Path) -> PathBuf {
    let path = home.join(path);
    path.canonicalize().or_else(|_| std::path::absolute(&path)).unwrap_or(path)
}

/// A command to show: what comes from another process is cut and has no control characters.
fn command(arguments: &[u8]) -> String {
    let shown = arguments.split(|byte| *byte == 0).next().unwrap_or_default();
    let shown: String = String::from_utf8_lossy(shown).chars().take(SHOWN_MAX).collect();
    shown.escape_debug().to_string()
}

const APACHES_CLASSES: &[u8] = b"org.apache.zookeeper.server.";
const SHOWN_MAX: usize = 80;

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A process that waits, with the words of a server.
    struct Sham(Child);

    impl Sham {
        fn new(home: &Path, words: &[&str]) -> Self {
            let mut command = Command::new("sh");
            command.args(["-c", "read line"]).args(words).current_dir(home);
            Self(command.stdin(Stdio::piped()).spawn().expect("a shell"))
        }
    }

    impl Drop for Sham {
        fn drop(&mut self) {
            self.0.kill().expect("it runs");
            self.0.wait().expect("it ends");
        }
    }

    #[test]
    fn only_the_server_with_this_configuration_is_believed() {
        let dir = tempfile::tempdir().expect("a directory");
        let (config, other) = (dir.path().join("zoo.cfg"), dir.path().join("other.cfg"));
        let file = dir.path().join("pid");
        for path in [&config, &other] {
            fs::write(path, "").expect("a file");
        }
        assert!(matches!(look(&file, &config), Ok(Named::NoFile)));
        for text in ["", "no number\n", "2147483647", "-1", "0"] {
            fs::write(&file, text).expect("a file");
            assert!(matches!(look(&file, &config), Ok(Named::Nobody(_))), "{text}");
        }
        let class = "org.apache.zookeeper.server.quorum.QuorumPeerMain";
        for (words, is_server) in [
            (["ringkeeper", "server", "zoo.cfg"], true),
            (["java", class, "./zoo.cfg"], true),
            (["ringkeeper", "server", "other.cfg"], false),
            (["vi", "vi", "zoo.cfg"], false),
        ] {
            let sham = Sham::new(dir.path(), &words);
            fs::write(&file, sham.0.id().to_string()).expect("a file");
            let named = look(&file, &config).expect("it can be read");
            assert_eq!(matches!(named, Named::Server(_)), is_server, "{words:?}");
            assert_eq!(matches!(named, Named::Stranger { .. }), !is_server, "{words:?}");
        }
    }
}
