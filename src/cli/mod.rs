//! `ringkeeper server`: takes what a JVM with ZooKeeper's main class takes, so that scripts written
//! for Apache start it unchanged. Words, environment and files in; a running server out, or a
//! refusal that says what to do.
//!
//! Exit codes are Apache's ([`crate::server::exit`]): 2 for usage and configuration.

mod ask;
mod client;
mod ensemble;
mod jvm;
mod process;
mod scripts;

use std::ffi::OsString;
use std::fmt::Display;
use std::fs;
use std::process::ExitCode;

use clap::Args;

pub use client::{CliArgs, cli};
pub use ensemble::{EnsembleArgs, ensemble};
pub use scripts::{
    CheckArgs, ConfigArgs, HealthArgs, LinkArgs, ScriptArgs, check, config, health, link,
    zk_cleanup, zk_server, zk_server_initialize,
};

use crate::server::config::{Flag, Level, Loaded, load};
use crate::server::exit::Exit;
use crate::server::logging;
use jvm::CommandLine;

/// Run a server, as ZooKeeper's own main class does.
#[derive(Args, Debug, Default)]
#[command(after_help = AFTER_HELP)]
pub struct ServerArgs {
    /// [-Dkey=value]... [CONFIGFILE | PORT DATADIR [TICKTIME] [MAXCNXNS]]
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    words: Vec<OsString>,
}

/// Loads the configuration, says what there is to say about it, and runs the server to its end.
pub fn server(args: ServerArgs) -> ExitCode {
    let words = args.words.into_iter().map(|word| word.to_string_lossy().into_owned());
    let line = match CommandLine::parse(words) {
        Ok(line) => line,
        Err(error) => return refuse(&error, Exit::InvalidInvocation),
    };
    let flags = environment_flags().into_iter().chain(line.flags).collect::<Vec<_>>();
    match load(&line.arguments, &flags, &|path| fs::read(path)) {
        Ok(loaded) => start(loaded),
        Err(error) => refuse(&error, error.exit()),
    }
}

/// The program's arguments with the command that a name of Apache's or a JVM's flags imply:
/// `zkServer.sh` is a subcommand of `program`, and `ringkeeper -Dkey=value` means the server.
pub fn as_command(
    arguments: impl IntoIterator<Item = OsString>,
    program: &clap::Command,
) -> Vec<OsString> {
    let mut arguments = scripts::expand(arguments.into_iter().collect(), program);
    let first = arguments.get(1).and_then(|word| word.to_str());
    if first.is_some_and(|word| ["-D", "-X", "-cp"].iter().any(|flag| word.starts_with(flag))) {
        arguments.insert(1, "server".into());
    }
    arguments
}

fn start(loaded: Loaded) -> ExitCode {
    let id = loaded.config.ensemble.as_ref().map(|ensemble| ensemble.me.0);
    let words = std::env::var("RUST_LOG").ok();
    if let Err(error) = logging::open(&loaded.config.logging, id, words.as_deref()) {
        return refuse(&error, error.exit());
    }
    for notice in &loaded.notices {
        match notice.level {
            Level::Warn => log::warn!("{notice}"),
            Level::Info => log::info!("{notice}"),
        }
    }
    let exit = crate::server::run(loaded.config);
    logging::flush();
    exit
}

fn refuse(error: &dyn Display, exit: Exit) -> ExitCode {
    say_error!("ringkeeper: {error}");
    exit.into()
}

/// In the order Apache's script joins them, so that the later one wins.
fn environment_flags() -> Vec<Flag> {
    let variables = ["SERVER_JVMFLAGS", "JVMFLAGS"].into_iter().filter_map(std::env::var_os);
    variables.flat_map(|text| Flag::parse_environment(&text.to_string_lossy())).collect()
}

const AFTER_HELP: &str = "\
CONFIGFILE is Apache's zoo.cfg. -Dkey=value may stand anywhere and is taken as a JVM takes it; so are the -D flags
in SERVER_JVMFLAGS and JVMFLAGS. A JVM's other flags (-Xmx1g, -cp ...) and ZooKeeper's main classes are passed over.
Without arguments the server listens on 127.0.0.1:2181 and keeps its data in ./ringkeeper-data.

Exit codes: 0 stopped, 1 unexpected error, 2 usage or configuration, 3 data directory, 10 log or snapshot not written.
RUST_LOG=warn or debug changes how much is said. Log lines go to standard error in the form of Apache's, times in UTC;
-Dringkeeper.log.file and -Dringkeeper.log.format=json change that (docs/logs.md).
SIGTERM and SIGINT end the server, SIGQUIT logs a report of its threads, queues and counters, SIGHUP opens the log's
file again.";

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(subcommand)]
        command: Command,
    }

    #[derive(clap::Subcommand)]
    enum Command {
        Server(ServerArgs),
    }

    fn words(line: &str) -> Option<Vec<OsString>> {
        let arguments =
            ["ringkeeper"].into_iter().chain(line.split_whitespace()).map(OsString::from);
        let arguments = as_command(arguments, &Program::command());
        let Command::Server(args) = Program::try_parse_from(arguments).ok()?.command;
        Some(args.words)
    }

    #[test]
    fn a_servers_words_come_through_untouched() {
        for (line, wanted) in [
            ("server", ""),
            ("server zoo.cfg", "zoo.cfg"),
            ("server -Da=b zoo.cfg -Dc=d", "-Da=b zoo.cfg -Dc=d"),
            (
                "server -Xmx1g -cp a:b -Dx=y main.Class zoo.cfg",
                "-Xmx1g -cp a:b -Dx=y main.Class zoo.cfg",
            ),
            ("server 2181 /d 2000 10", "2181 /d 2000 10"),
            ("-Dzookeeper.snapCount=5", "-Dzookeeper.snapCount=5"),
            ("-Xmx1g zoo.cfg", "-Xmx1g zoo.cfg"),
        ] {
            let wanted: Vec<OsString> = wanted.split_whitespace().map(OsString::from).collect();
            assert_eq!(words(line), Some(wanted), "{line:?}");
        }
        assert_eq!(words("sever zoo.cfg"), None);
        assert_eq!(words("server --help"), None);
    }
}
