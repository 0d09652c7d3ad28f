//! A thread that writes lines, to standard error or to a file, so that whoever has something to
//! say never waits for a disk or a terminal.
//!
//! Lines wait in a queue of a fixed length. What finds it full, or cannot be written, is lost,
//! counted, and the count is said as soon as something can be said again.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};

/// The way to a thread that writes lines. It ends when nobody has the way any more.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    sender: Sender<Message>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Lines that found the queue full and of which nothing is said yet.
    unsaid: AtomicU64,
    /// Lines that were lost, of whichever reason, since the start.
    lost: AtomicU64,
    /// The file is to be opened again.
    reopen: AtomicBool,
}

#[derive(Debug)]
enum Message {
    Line(String),
    /// There is something to do beside lines.
    Look,
    /// Everything before it is written when this is dropped.
    Flush {
        _done: Sender<()>,
    },
}

/// Makes the line that says something about the lines themselves.
pub(crate) type Remark = Box<dyn Fn(&str) -> String + Send>;

impl Output {
    /// Starts the thread `name`, which writes to `file` or else to standard error. The file is
    /// appended to, and made if there is none.
    pub(crate) fn open(name: &str, file: Option<&Path>, remark: Remark) -> io::Result<Self> {
        let target = match file {
            // The working directory is that of the start for good.
            Some(path) => Target::open(std::path::absolute(path)?)?,
            None => Target::Stderr,
        };
        Self::start(name, target, remark)
    }

    fn start(name: &str, target: Target, remark: Remark) -> io::Result<Self> {
        let (sender, receiver) = bounded(LINES_MAX);
        let shared = Arc::<Shared>::default();
        let writer =
            Writer { target, remark, shared: shared.clone(), failed: None, is_torn: false };
        thread::Builder::new().name(name.into()).spawn(move || writer.run(&receiver))?;
        Ok(Self { sender, shared })
    }

    /// Hands a line over, with its end. It never waits.
    pub(crate) fn write(&self, line: String) {
        match self.sender.try_send(Message::Line(line)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                self.shared.unsaid.fetch_add(1, Ordering::Relaxed);
                self.shared.lost.fetch_add(1, Ordering::Relaxed);
            }
            // Its thread has panicked, and here is what it says of that.
            Err(TrySendError::Disconnected(Message::Line(line))) => say_on_stderr(&line),
            Err(TrySendError::Disconnected(_)) => {}
        }
    }

    /// Opens the file again, under its name: the old one has been moved away. Nothing happens to
    /// standard error.
    pub(crate) fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Release);
        // A full queue brings the thread here as well.
        let _ = self.sender.try_send(Message::Look);
    }

    /// Waits until all lines so far are written, for `patience` at most.
    pub(crate) fn flush(&self, patience: Duration) {
        let (done, written) = bounded(0);
        let until = Instant::now() + patience;
        if self.sender.send_timeout(Message::Flush { _done: done }, patience).is_ok() {
            // It ends as the other end is dropped.
            let _ = written.recv_deadline(until);
        }
    }

    /// Lines that were lost since the start.
    pub(crate) fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }
}

/// The place that lines go to.
#[derive(Debug)]
enum Target {
    Stderr,
    File {
        path: PathBuf,
        file: File,
    },
    /// For tests.
    #[cfg(test)]
    Pipe(io::PipeWriter),
}

impl Target {
    fn open(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(&path)?;
        Ok(Self::File { path, file })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stderr => io::stderr().write(bytes),
            Self::File { file, .. } => file.write(bytes),
            #[cfg(test)]
            Self::Pipe(pipe) => pipe.write(bytes),
        }
    }
}

struct Writer {
    target: Target,
    remark: Remark,
    shared: Arc<Shared>,
    /// Lines that could not be written, with the last reason.
    failed: Option<(u64, io::Error)>,
    /// Only the beginning of a line was written.
    is_torn: bool,
}

impl Writer {
    fn run(mut self, receiver: &Receiver<Message>) {
        let mut said = Instant::now();
        for message in receiver {
            if self.shared.reopen.swap(false, Ordering::AcqRel) {
                self.reopen();
            }
            if let Message::Line(line) = message {
                self.line(&line);
            }
            // While it is full most lines are lost, and a remark for each would fill it.
            if receiver.is_empty() || said.elapsed() >= REMARK_INTERVAL {
                said = Instant::now();
                self.say_what_is_lost();
            }
        }
    }

    fn line(&mut self, line: &str) {
        if let Err(error) = self.whole(line) {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
            let before = self.failed.take().map_or(0, |(lines, _)| lines);
            if before == 0 {
                self.complain(&error);
            }
            self.failed = Some((before + 1, error));
        }
    }

    /// Says on the other way out what cannot be said on this one.
    fn complain(&self, error: &io::Error) {
        if let Target::File { path, .. } = &self.target {
            let text = format!("{}: {error}; lines are lost", path.display());
            say_on_stderr(&(self.remark)(&text));
        }
    }

    fn say_what_is_lost(&mut self) {
        let unsaid = self.shared.unsaid.swap(0, Ordering::Relaxed);
        if unsaid > 0 {
            let text = format!(
                "{unsaid} lines before this one are lost: they came faster than they could be written"
            );
            self.line(&(self.remark)(&text));
        }
    }

    /// After lines that could not be written it begins with a remark of how many.
    fn whole(&mut self, line: &str) -> io::Result<()> {
        if self.is_torn {
            self.bytes(b"\n")?;
            self.is_torn = false;
        }
        if let Some((lines, error)) = &self.failed {
            let text = format!("{lines} lines before this one are lost: {error}");
            let remark = (self.remark)(&text);
            self.bytes(remark.as_bytes())?;
            self.failed = None;
        }
        self.bytes(line.as_bytes())
    }

    fn bytes(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.target.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    bytes = &bytes[written..];
                    self.is_torn = !bytes.is_empty();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Standard error may be shared with somebody who wants it so.
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(PAUSE),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn reopen(&mut self) {
        let Target::File { path, .. } = &self.target else { return };
        match Target::open(path.clone()) {
            Ok(target) => {
                self.target = target;
                self.is_torn = false;
            }
            Err(error) => {
                let text = format!(
                    "{}: cannot be opened again: {error}; lines go on to the old file",
                    path.display()
                );
                self.line(&(self.remark)(&text));
            }
        }
    }
}

/// Nothing can be said of what is not printed here.
fn say_on_stderr(line: &str) {
    drop(io::stderr().write_all(line.as_bytes()));
}

/// Lines that may wait.
const LINES_MAX: usize = 2048;
/// The time between two remarks about lost lines while lines go on to be lost.
const REMARK_INTERVAL: Duration = Duration::from_secs(1);
/// The time after which a full pipe that must not be waited for is tried again.
const PAUSE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn remark() -> Remark {
        Box::new(|text| format!("remark: {text}\n"))
    }

    #[test]
    fn a_file_that_was_moved_away_is_made_anew() {
        let home = tempfile::tempdir().expect("a directory");
        let (path, moved) = (home.path().join("log"), home.path().join("log.1"));
        let output = Output::open("test", Some(&path), remark()).expect("it opens");
        output.write("a\n".into());
        output.flush(PATIENCE);
        fs::rename(&path, &moved).expect("it moves");
        output.write("b\n".into());
        output.reopen();
        output.flush(PATIENCE);
        output.write("c\n".into());
        output.flush(PATIENCE);
        let both = fs::read_to_string(&moved).expect("the old file")
            + &fs::read_to_string(&path).expect("the new file");
        assert_eq!(both, "a\nb\nc\n");
        assert!(fs::read_to_string(&path).expect("the new file").ends_with("c\n"));
    }

    #[test]
    fn a_directory_that_has_gone_leaves_the_old_file() {
        let home = tempfile::tempdir().expect("a directory");
        let (below, away) = (home.path().join("below"), home.path().join("away"));
        fs::create_dir(&below).expect("a directory below");
        let output = Output::open("test", Some(&below.join("log")), remark()).expect("it opens");
        fs::rename(&below, &away).expect("it moves");
        output.reopen();
        output.flush(PATIENCE);
        output.write("a\n".into());
        output.flush(PATIENCE);
        let text = fs::read_to_string(away.join("log")).expect("the old file");
        assert!(text.contains("cannot be opened again: No such file"), "{text}");
        assert!(text.ends_with("a\n"), "{text}");
    }

    #[test]
    fn nobody_waits_for_a_reader_who_does_not_read() {
        let (mut reader, writer) = io::pipe().expect("a pipe");
        let output = Output::start("test", Target::Pipe(writer), remark()).expect("it starts");
        let line = "x".repeat(1023) + "\n";
        // A pipe takes 64 KiB, and one line more is in the writer's hands.
        let lines = LINES_MAX + 1000;
        (0..lines).for_each(|_| output.write(line.clone()));
        let lost = output.lost();
        assert!(lost >= 1000 - 100, "{lost}");
        output.flush(Duration::from_millis(10));
        let reading = thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).map(|_| text)
        });
        output.flush(PATIENCE);
        drop(output);
        let text = reading.join().expect("it reads").expect("text");
        let remarks: Vec<_> = text.lines().filter(|line| line.starts_with("remark")).collect();
        assert_eq!(remarks.len(), 1, "{remarks:?}");
        assert!(remarks[0].starts_with(&format!("remark: {lost} lines before this one")));
        assert_eq!(text.lines().count() as u64, lines as u64 - lost + 1);
    }

    #[test]
    fn what_a_full_disk_has_cost_is_said_when_there_is_room() {
        // Writing there always fails for want of room.
        let full = Target::open("/dev/full".into()).expect("Linux has it");
        let shared = Arc::<Shared>::default();
        let mut writer = Writer {
            target: full,
            remark: remark(),
            shared: shared.clone(),
            failed: None,
            is_torn: false,
        };
        (0..3).for_each(|_| writer.line("x\n"));
        let (mut reader, pipe) = io::pipe().expect("a pipe");
        (writer.target, writer.is_torn) = (Target::Pipe(pipe), true);
        writer.line("a\n");
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("text");
        let wanted = "\nremark: 3 lines before this one are lost: No space left on device \
                      (os error 28)\na\n";
        assert_eq!(text, wanted);
        assert_eq!(shared.lost.load(Ordering::Relaxed), 3);
    }
}
