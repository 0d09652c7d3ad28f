//! The command line: it parses and dispatches, and does nothing else.

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
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
    Check(cli::CheckArgs),
    Config(cli::ConfigArgs),
    Health(cli::HealthArgs),
    Link(cli::LinkArgs),
    /// What Apache's zkServer.sh does: start, stop, restart, status, version, print-cmd.
    #[command(name = "zkServer")]
    ZkServer(cli::ScriptArgs),
    /// What Apache's zkServer-initialize.sh does: make an empty data directory.
    #[command(name = "zkServer-initialize")]
    ZkServerInitialize(cli::ScriptArgs),
    /// What Apache's zkCleanup.sh does: remove superfluous snapshots and logs.
    #[command(name = "zkCleanup")]
    ZkCleanup(cli::ScriptArgs),
    Bench(Box<bench::BenchArgs>),
    Sim(sim::SimArgs),
    Tools(tools::ToolsArgs),
}

fn main() -> ExitCode {
    let program = Ringkeeper::command();
    let arguments = cli::as_command(std::env::args_os(), &program);
    match Ringkeeper::parse_from(arguments).command {
        None => cli::server(cli::ServerArgs::default()),
        Some(Command::Server(args)) => cli::server(args),
        Some(Command::Ensemble(args)) => cli::ensemble(args),
        Some(Command::Cli(args)) => cli::cli(args),
        Some(Command::Check(args)) => cli::check(args),
        Some(Command::Config(args)) => cli::config(args),
        Some(Command::Health(args)) => cli::health(&args),
        Some(Command::Link(args)) => cli::link(&args, &program),
        Some(Command::ZkServer(args)) => cli::zk_server(args),
        Some(Command::ZkServerInitialize(args)) => cli::zk_server_initialize(args),
        Some(Command::ZkCleanup(args)) => cli::zk_cleanup(args),
        Some(Command::Bench(args)) => bench::run(*args),
        Some(Command::Sim(args)) => sim::run(args),
        Some(Command::Tools(args)) => tools::run(args),
    }
}
