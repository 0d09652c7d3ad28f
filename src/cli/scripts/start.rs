//! `zkServer.sh start`: a server in the background.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ExitCode, Stdio};
use std::time::Duration;

use crate::cli::process::await_end;

use super::pid_file::{Named, hold, look};
use super::service::{Server, say_begun};

/// Starts it, and waits a second to see whether it stays.
pub(super) fn start(server: &Server) -> ExitCode {
    say_begun("Starting zookeeper ... ");
    match try_start(server) {
        Ok(()) => {
            say!("STARTED");
            ExitCode::SUCCESS
        }
        Err(Failure { said, why }) => {
            say!("{said}");
            if !why.is_empty() {
                say_error!("{why}");
            }
            ExitCode::FAILURE
        }
    }
}

/// The end of the line that was begun, and a reason for standard error.
struct Failure {
    said: String,
    why: String,
}

impl Failure {
    fn to_start(why: impl Into<String>) -> Self {
        Self { said: "FAILED TO START".into(), why: why.into() }
    }
}

fn try_start(server: &Server) -> Result<(), Failure> {
    let pid_file = server.pid_file().map_err(Failure::to_start)?;
    let unwritten = |error: io::Error| Failure {
        said: "FAILED TO WRITE PID".into(),
        why: format!("{}: {error}", pid_file.display()),
    };
    make_parent(&pid_file).map_err(unwritten)?;
    let was_there = pid_file.exists();
    let _held = hold(&pid_file).map_err(unwritten)?;
    let named = look(&pid_file, Path::new(&server.config)).map_err(unwritten)?;
    match named {
        Named::Server(process) => {
            let said = format!("already running as process {}.", process.pid);
            return Err(Failure { said, why: String::new() });
        }
        Named::Stranger { pid, command } => say_error!(
            "{} names process {pid}, which is no server with this configuration ({command})",
            pid_file.display()
        ),
        Named::NoFile | Named::Nobody(_) => {}
    }
    let out = server.out_file();
    let mut child = spawn(server, &out).map_err(|error| {
        remove_unless(was_there, &pid_file);
        Failure::to_start(format!("{}: {error}", out.display()))
    })?;
    if let Err(error) = fs::write(&pid_file, child.id().to_string()) {
        drop(child.kill());
        drop(child.wait());
        return Err(unwritten(error));
    }
    let has_ended = || !matches!(child.try_wait(), Ok(None));
    if await_end(TRIAL, has_ended) {
        remove_unless(false, &pid_file);
        return Err(Failure::to_start(last_words(&out)));
    }
    Ok(())
}

/// In a process group of its own, so that an interrupt at the terminal does not reach it.
fn spawn(server: &Server, out: &Path) -> io::Result<Child> {
    make_parent(out)?;
    let out = open_out(out)?;
    let again = out.try_clone()?;
    let mut command = server.command()?;
    command.stdin(Stdio::null()).stdout(out).stderr(again).process_group(0).spawn()
}

/// An empty file; what a server before has said stays in one beside it.
fn open_out(path: &Path) -> io::Result<File> {
    let is_worth_keeping = |meta: fs::Metadata| meta.is_file() && meta.len() > 0;
    if fs::symlink_metadata(path).is_ok_and(is_worth_keeping) {
        let mut before = path.as_os_str().to_owned();
        before.push(".1");
        // Where the directory does not allow that, Apache's way is taken: the file is emptied.
        drop(fs::rename(path, before));
    }
    File::create(path)
}

fn make_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

/// A pid file that was made for nothing.
fn remove_unless(was_there: bool, pid_file: &Path) {
    if !was_there {
        drop(fs::remove_file(pid_file));
    }
}

/// The last lines of what a server has said.
fn last_words(out: &Path) -> String {
    let text = fs::read(out).unwrap_or_default();
    let text = String::from_utf8_lossy(&text[text.len().saturating_sub(TAIL_BYTES_MAX)..]);
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(TAIL_LINES)..];
    format!("{} ends with:\n{}", out.display(), last.join("\n"))
}

/// As long as Apache's script waits.
const TRIAL: Duration = Duration::from_secs(1);
const TAIL_BYTES_MAX: usize = 4096;
const TAIL_LINES: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_before_has_said_stays_for_one_start() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("zookeeper-a-server-b.out");
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap_or_default();
        for text in ["one", "two", ""] {
            drop(open_out(&path).expect("a file"));
            assert_eq!(read("zookeeper-a-server-b.out"), "");
            fs::write(&path, text).expect("a file");
        }
        assert_eq!(read("zookeeper-a-server-b.out.1"), "two");
        drop(open_out(&path).expect("a file"));
        assert_eq!(read("zookeeper-a-server-b.out.1"), "two", "nothing is kept for nothing");
        fs::write(&path, "a\nb\nc\n").expect("a file");
        assert!(last_words(&path).ends_with("ends with:\nb\nc"));
    }
}
