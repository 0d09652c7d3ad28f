//! The command line: it parses and dispatches, and does nothing else.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use ringkeeper::{bench, cli, sim, tools};

/// Apache ZooKeeper's job, done by a thread-per-core server on io_uring.
#[derive(Parser)]
#[command(name = "ringkeeper", version)]
struct Ringkeeper {
    /// Without one: a server on 127.0.0.1:2181 with its data in ./ringkeeper-data.
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    Server(cli::ServerArgs),
    Ensemble(cli::EnsembleArgs),
    Cli(cli::CliArgs),
    Bench(Box<bench::BenchArgs>),
    Sim(sim::SimArgs),
    Tools(tools::ToolsArgs),
}

fn main() -> ExitCode {
    let arguments = cli::as_command(std::env::args_os());
    match Ringkeeper::parse_from(arguments).command {
        None => cli::server(cli::ServerArgs::default()),
        Some(Command::Server(args)) => cli::server(args),
        Some(Command::Ensemble(args)) => cli::ensemble(args),
        Some(Command::Cli(args)) => cli::cli(args),
        Some(Command::Bench(args)) => bench::run(*args),
        Some(Command::Sim(args)) => sim::run(args),
        Some(Command::Tools(args)) => tools::run(args),
    }
}
