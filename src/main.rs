//! The command line: it only parses and dispatches.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use ringkeeper::bench::{self, BenchArgs};

#[derive(Parser)]
#[command(name = "ringkeeper", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Bench(BenchArgs),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Bench(args) => bench::run(args),
    }
}
