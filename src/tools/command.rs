//! `ringkeeper tools`: files in, text out.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::runtime::datadir::PieceFile;

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
    /// Give up what is after a bad record: cut a log file at the offset that the server has named.
    /// A copy is kept.
    Cut { file: PathBuf, offset: u64 },
}

/// Runs the tool. Exit code 0: the file is whole, or was cut; 1: it is not, or cannot be read.
pub fn run(args: ToolsArgs) -> ExitCode {
    let mut out = io::stdout().lock();
    let done = match &args.tool {
        Tool::Log { file, check } => {
            let name = file.display().to_string();
            open(file)
                .and_then(|source| dump_log(&name, source, !check, &mut out))
                .map_err(|err| named(file, err))
        }
        Tool::Snapshot { file, check } => {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            open(file)
                .and_then(|source| dump_snapshot(&name, source, !check, &mut out))
                .map_err(|err| named(file, err))
        }
        Tool::Cut { file, offset } => {
            cut_log(file, *offset).map_err(io::Error::other).and_then(|copy| {
                writeln!(
                    out,
                    "{} is cut at offset {offset}; as it was: {}",
                    file.display(),
                    copy.display()
                )
                .map(|()| true)
            })
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // Whoever reads no further has seen enough.
        Err(err) if err.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(err) => {
            say_error!("ringkeeper: {err}");
            ExitCode::FAILURE
        }
    }
}

fn open(file: &Path) -> io::Result<PieceFile> {
    PieceFile::open(file)
}

fn named(file: &Path, err: io::Error) -> io::Error {
    io::Error::new(err.kind(), format!("{}: {err}", file.display()))
}
