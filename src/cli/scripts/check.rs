//! `ringkeeper check` and `ringkeeper config`: a configuration as a start would read it, without the
//! start.

use std::ffi::OsString;
use std::fs;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::environment_flags;
use crate::cli::jvm::CommandLine;
use crate::server::config::{Level, Loaded, Notice, Origin, load};

use super::in_force::{Row, Whence, rows};

/// Say what a start with this configuration would say, and start nothing.
#[derive(Args, Debug)]
#[command(after_help = CHECK_HELP)]
pub struct CheckArgs {
    /// [--json] [-Dkey=value]... [CONFIGFILE | PORT DATADIR [TICKTIME] [MAXCNXNS]], as for `server`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    words: Vec<OsString>,
}

/// Print what is in force with this configuration, and where each value is from.
#[derive(Args, Debug)]
#[command(after_help = CONFIG_HELP)]
pub struct ConfigArgs {
    /// [--json] [-Dkey=value]... [CONFIGFILE | PORT DATADIR [TICKTIME] [MAXCNXNS]], as for `server`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    words: Vec<OsString>,
}

/// Exit code 0: nothing to say, or nothing that matters; 1: warnings; 2: no server starts with it.
pub fn check(args: CheckArgs) -> ExitCode {
    let asked = Asked::new(args.words);
    let loaded = match asked.load() {
        Ok(loaded) => loaded,
        Err(error) => return refuse(&asked, &error),
    };
    let notices = loaded.notices;
    let warnings = notices.iter().filter(|notice| notice.level == Level::Warn).count();
    if asked.json {
        let notices: Vec<Value> = notices.iter().map(notice_json).collect();
        say!("{}", json!({ "refused": null, "warnings": warnings, "notices": notices }));
    } else {
        for notice in &notices {
            say!("{} {notice}", level_word(notice.level));
        }
        let others = notices.len() - warnings;
        say!("{}: warnings: {warnings}, remarks: {others}; a server starts with it", asked.name());
    }
    if warnings == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Exit code 0; 2: no server starts with it.
pub fn config(args: ConfigArgs) -> ExitCode {
    let asked = Asked::new(args.words);
    let loaded = match asked.load() {
        Ok(loaded) => loaded,
        Err(error) => return refuse(&asked, &error),
    };
    let rows = rows(&loaded);
    if asked.json {
        let rows: Vec<Value> = rows.iter().map(row_json).collect();
        say!("{}", json!({ "refused": null, "settings": rows }));
        return ExitCode::SUCCESS;
    }
    let width = |text: fn(&Row) -> &str| rows.iter().map(|row| text(row).chars().count()).max();
    let keys = width(|row| &row.key).unwrap_or(0);
    let values = width(|row| &row.value).unwrap_or(0).min(VALUE_COLUMNS_MAX);
    for row in &rows {
        say!("{:keys$}  {:values$}  {}", row.key, row.value, row.whence);
    }
    ExitCode::SUCCESS
}

/// What was asked about.
struct Asked {
    words: Vec<String>,
    json: bool,
}

impl Asked {
    fn new(words: Vec<OsString>) -> Self {
        let mut words: Vec<String> =
            words.into_iter().map(|word| word.to_string_lossy().into_owned()).collect();
        let before = words.len();
        words.retain(|word| word != "--json");
        let json = words.len() < before;
        Self { words, json }
    }

    fn load(&self) -> Result<Loaded, String> {
        let line = CommandLine::parse(self.words.iter().cloned());
        let line = line.map_err(|error| error.to_string())?;
        let flags: Vec<_> = environment_flags().into_iter().chain(line.flags).collect();
        let loaded = load(&line.arguments, &flags, &|path| fs::read(path));
        loaded.map_err(|error| error.to_string())
    }

    /// What a summary calls it.
    fn name(&self) -> &str {
        let mut files = self.words.iter().filter(|word| !word.starts_with('-'));
        files.next().map_or("configuration", String::as_str)
    }
}

fn refuse(asked: &Asked, error: &str) -> ExitCode {
    if asked.json {
        say!("{}", json!({ "refused": error }));
    } else {
        say!("ERROR {error}");
        say!("{}: no server starts with it", asked.name());
    }
    ExitCode::from(REFUSED)
}

fn level_word(level: Level) -> &'static str {
    match level {
        Level::Info => "INFO ",
        Level::Warn => "WARN ",
    }
}

fn notice_json(notice: &Notice) -> Value {
    let line = match notice.origin {
        Origin::File(line) => Some(line),
        _ => None,
    };
    json!({
        "level": level_word(notice.level).trim(),
        "source": source(Some(notice.origin)),
        "line": line,
        "key": notice.key,
        "text": notice.text,
    })
}

fn row_json(row: &Row) -> Value {
    let origin = match row.whence {
        Whence::Given(origin) => Some(origin),
        Whence::Default => None,
        Whence::Dynamic => {
            return json!({ "key": row.key, "value": row.value, "source": "dynamicConfigFile" });
        }
        Whence::MyId => return json!({ "key": row.key, "value": row.value, "source": "myid" }),
    };
    let mut shown = json!({ "key": row.key, "value": row.value, "source": source(origin) });
    if let Some(Origin::File(line)) = origin {
        shown["line"] = json!(line);
    }
    shown
}

fn source(origin: Option<Origin>) -> &'static str {
    match origin {
        Some(Origin::File(_)) => "file",
        Some(Origin::CommandLine) => "command line",
        Some(Origin::Environment) => "environment",
        Some(Origin::Beside) => "beside the file",
        None => "default",
    }
}

/// As a start ends.
const REFUSED: u8 = 2;
/// A longer value does not push the others' sources aside.
const VALUE_COLUMNS_MAX: usize = 40;

const CHECK_HELP: &str = "\
Every notice that a start would log is a line here, in the order of the file; nothing is opened, made or bound.
The -D flags in SERVER_JVMFLAGS and JVMFLAGS count, as at a start. --json prints one object.

Exit codes: 0 nothing to warn of, 1 warnings, 2 a server would refuse to start.";
const CONFIG_HELP: &str = "\
One line for each setting: key, value in force, and where it is from: a line of the file, the command line, the
environment (SERVER_JVMFLAGS, JVMFLAGS) or the default. Secrets are hidden. --json prints one object.

Exit codes: 0 printed, 2 a server would refuse to start.";
