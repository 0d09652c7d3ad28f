//! The log of the server: which lines are written, in which form, and where.
//!
//! | file | holds |
//! |---|---|
//! | [`levels`] | the level of each module |
//! | [`line`] | the forms of a line |
//! | [`output`] | the thread that writes |
//!
//! Lines are made by the macros of the crate `log`, on any thread, the sans-io ones too. What they
//! cost when nobody wants their level is one load; when some other module wants it, a walk over the
//! few rows of [`levels`]. A line that is wanted is made on its thread and handed to another one.
//!
//! It is a `log::Log` of its own: tracing-subscriber would bring some thirty packages for what is a
//! table of atomics and a thread here.

pub(crate) mod levels;
pub(crate) mod line;
pub(crate) mod output;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use log::{LevelFilter, Log, Metadata, Record};

use super::config::{LineFormat, LoggingSettings};
use super::exit::Exit;
use levels::{LevelError, Levels, asked_for};
use line::{Form, LineMaker};
use output::Output;

/// The log cannot be opened.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// The file cannot.
    File { path: PathBuf, error: io::Error },
    /// There is no thread for it.
    Thread(io::Error),
}

impl OpenError {
    /// The exit code of a server that ends for it.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::File { .. } => Exit::InvalidInvocation,
            Self::Thread(_) => Exit::UnexpectedError,
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, error } => write!(
                f,
                "ringkeeper.log.file: {}: {error}; its directory must exist and let this user write",
                path.display()
            ),
            Self::Thread(error) => {
                write!(
                    f,
                    "no thread for the log: {error}; raise the limit of threads: ulimit -u 4096"
                )
            }
        }
    }
}

/// Logs from now on, as the settings and the words of `RUST_LOG`, which win, say. `server` is the
/// id in an ensemble.
pub(crate) fn open(
    settings: &LoggingSettings,
    server: Option<i64>,
    words: Option<&str>,
) -> Result<(), OpenError> {
    let form = match settings.format {
        LineFormat::Json => Form::Json,
        LineFormat::Text if settings.file.is_none() && stderr_is_the_journal() => Form::Journal,
        LineFormat::Text => Form::Text,
    };
    let maker = LineMaker { form, server };
    let of_remarks = maker.clone();
    let remark = move |text: &str| {
        let mut record = Record::builder();
        let record = record.level(log::Level::Warn).module_path(Some(module_path!()));
        of_remarks.of_record(&record.args(format_args!("{text}")).build())
    };
    let file = settings.file.as_deref();
    let output = Output::open("log", file, Box::new(remark)).map_err(|error| match file {
        Some(path) => OpenError::File { path: path.to_owned(), error },
        None => OpenError::Thread(error),
    })?;
    let logger = LOGGER.get_or_init(|| Logger { levels: Levels::default(), maker, output });
    // A process is one server: there is no other logger.
    let _ = log::set_logger(logger);
    let words = words.unwrap_or(&settings.level);
    let asked = asked_for(words).into_iter();
    let refused =
        asked.filter_map(|asked| asked.and_then(|(module, level)| set_level(module, level)).err());
    refused.for_each(|error| log::warn!("the level of the log: {error}"));
    Ok(())
}

/// Sets the level of a module (`frontend`, `runtime::shard`) and of those below it, from now on;
/// with an empty name that of every module without a level of its own.
pub(crate) fn set_level(module: &str, level: LevelFilter) -> Result<(), LevelError> {
    let Some(logger) = LOGGER.get() else { return Ok(()) };
    logger.levels.set(module, level)?;
    log::set_max_level(logger.levels.max());
    Ok(())
}

/// The modules with levels of their own; the empty name is that of all others.
pub(crate) fn levels() -> Vec<(String, LevelFilter)> {
    LOGGER.get().map(|logger| logger.levels.list()).unwrap_or_default()
}

/// Lines that were lost since the start.
pub(crate) fn lost_lines() -> u64 {
    LOGGER.get().map_or(0, |logger| logger.output.lost())
}

/// Opens the log's file again.
pub(crate) fn reopen() {
    if let Some(logger) = LOGGER.get() {
        logger.output.reopen();
    }
}

/// Waits until what was said is written, but not for somebody who does not read it.
pub(crate) fn flush() {
    if let Some(logger) = LOGGER.get() {
        logger.output.flush(FLUSH_PATIENCE);
    }
}

struct Logger {
    levels: Levels,
    maker: LineMaker,
    output: Output,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= self.levels.of(metadata.target())
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            self.output.write(self.maker.of_record(record));
        }
    }

    fn flush(&self) {
        self.output.flush(FLUSH_PATIENCE);
    }
}

/// Whether systemd has connected standard error with its journal: it names the socket's device and
/// inode in a variable, as others may have put something else in its place.
fn stderr_is_the_journal() -> bool {
    let stat = rustix::fs::fstat(io::stderr());
    let named = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    stat.is_ok_and(|stat| named == format!("{}:{}", stat.st_dev, stat.st_ino))
}

static LOGGER: OnceLock<Logger> = OnceLock::new();

/// The time that the end of a server waits for its last lines.
const FLUSH_PATIENCE: Duration = Duration::from_secs(1);
