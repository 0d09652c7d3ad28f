//! `ringkeeper tools`: files in, text out.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::{cut_log, dump_log, dump_snapshot};

/// Look into the files of a data directory, and cut a damaged log.
#[derive(Args, Debug)]
pub struct ToolsArgs {
    #[command(subcommand)]
    tool: Tool,
}

#[derive(Subcommand, Debug)]
enum Tool {
    /// Print the transactions of a log file, and whether it is whole.
    Log {
        file: PathBuf,
        /// Only say whether it is whole.
        #[arg(long)]
        check: bool,
    },
    /// Print the sessions and znodes of a snapshot, and whether it is whole.
    Snapshot {
        file: PathBuf,
        /// Only say whether it is whole.
        #[arg(long)]
        check: bool,
    },
    /// Give up what is behind a bad record: cut a log file at the offset that the server has named. A copy is kept.
    Cut { file: PathBuf, offset: u64 },
}

/// Runs the tool. Exit code 0: the file is whole, or was cut; 1: it is not, or can not be read.
pub fn run(args: ToolsArgs) -> ExitCode {
    let mut out = io::stdout().lock();
    let done = match &args.tool {
        Tool::Log { file, check } => read(file).and_then(|bytes| dump_log(&bytes, !check, &mut out)),
        Tool::Snapshot { file, check } => {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            read(file).and_then(|bytes| dump_snapshot(&name, &bytes, !check, &mut out))
        }
        Tool::Cut { file, offset } => cut_log(file, *offset).map_err(io::Error::other).and_then(|copy| {
            writeln!(out, "{} is cut at offset {offset}; as it was: {}", file.display(), copy.display()).map(|()| true)
        }),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(err) => {
            eprintln!("ringkeeper: {err}");
            ExitCode::FAILURE
        }
    }
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    std::fs::read(file).map_err(|err| io::Error::new(err.kind(), format!("{}: {err}", file.display())))
}
