//! `zkServer.sh`: the verbs, and what all of them know.

use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use crate::server::words::version;

use super::service::Server;
use super::site::Site;
use super::{start, status, stop};

/// Does what the words say. The exit codes are those of Apache's script.
pub(super) fn run(site: Site) -> ExitCode {
    let verb = site.words.first().cloned().unwrap_or_default();
    let Some(verb) = Verb::parse(&verb) else {
        say_error!(
            "Usage: {} [--config <conf-dir>] \
             {{start|start-foreground|stop|version|restart|status|print-cmd}}",
            site.name
        );
        return ExitCode::SUCCESS;
    };
    if matches!(verb, Verb::Version) {
        say!("Apache ZooKeeper, version {}", short_version());
        return ExitCode::SUCCESS;
    }
    for remark in &site.remarks {
        say_error!("{remark}");
    }
    let mut server = Server::new(site);
    say_error!("Using config: {}", server.config);
    if let Err(why) = server.check_directories() {
        say!("{why}");
        return ExitCode::FAILURE;
    }
    match verb {
        Verb::Start => start::start(&server),
        Verb::StartForeground => foreground(&server),
        Verb::Stop => stop::stop(&server),
        Verb::Restart => stop::restart(&server),
        Verb::Status => status::status(&server),
        Verb::PrintCommand => print_command(&server),
        Verb::PrintClasspath => {
            say!("CLASSPATH=");
            ExitCode::SUCCESS
        }
        Verb::Version => unreachable!("it is answered before the configuration is read"),
    }
}

#[derive(Debug, Clone, Copy)]
enum Verb {
    Start,
    StartForeground,
    Stop,
    Restart,
    Status,
    Version,
    PrintCommand,
    PrintClasspath,
}

impl Verb {
    fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "start" => Self::Start,
            "start-foreground" => Self::StartForeground,
            "stop" => Self::Stop,
            "restart" => Self::Restart,
            "status" => Self::Status,
            "version" => Self::Version,
            "print-cmd" => Self::PrintCommand,
            "print-classpath" => Self::PrintClasspath,
            _ => return None,
        })
    }
}

/// Takes this process's place, or with `ZOO_NOEXEC` becomes its parent.
fn foreground(server: &Server) -> ExitCode {
    let done = server.command().and_then(|mut command| {
        if server.site.set("ZOO_NOEXEC").is_none() {
            return Err(command.exec());
        }
        let code = command.status()?.code().and_then(|code| u8::try_from(code).ok());
        Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
    });
    done.unwrap_or_else(|error| {
        say_error!("ringkeeper: the server cannot be started: {error}");
        ExitCode::FAILURE
    })
}

/// With the flags of the environment, as Apache's: whoever keeps a secret there sees it.
fn print_command(server: &Server) -> ExitCode {
    let program = std::env::current_exe().unwrap_or_else(|_| "ringkeeper".into());
    let of_environment = ["SERVER_JVMFLAGS", "JVMFLAGS"].iter().filter_map(|name| {
        let flags = server.site.set(name)?;
        Some(flags.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    });
    let flags = server.server_flags().into_iter().chain(of_environment.flatten());
    let flags: Vec<String> = flags.map(|flag| quoted(&flag)).collect();
    say!(
        "{} server {} {} > {} 2>&1 < /dev/null",
        quoted(&program.to_string_lossy()),
        flags.join(" "),
        quoted(&server.config),
        quoted(&server.out_file().to_string_lossy())
    );
    ExitCode::SUCCESS
}

/// In a shell's quotes.
fn quoted(word: &str) -> String {
    let mut text = String::from('"');
    for c in word.chars() {
        if matches!(c, '"' | '\\' | '$' | '`') {
            text.push('\\');
        }
        text.push(c);
    }
    text + "\""
}

/// Version and time of the build in the form of Apache's script.
fn short_version() -> String {
    let own = format!("{}-ringkeeper-{}", version::COMPATIBLE_WITH, version::OWN);
    match version::BUILT_ON.split(['/', ' ']).collect::<Vec<_>>()[..] {
        [month, day, year, ref time @ ..] => {
            format!("{own} {year}-{month}-{day} {}", time.join(" "))
        }
        _ => own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_in_quotes_is_that_word_to_a_shell() {
        assert_eq!(quoted("-Da=b c"), "\"-Da=b c\"");
        assert_eq!(quoted("a\"$b`\\"), "\"a\\\"\\$b\\`\\\\\"");
    }

    #[test]
    fn the_version_has_the_form_of_apaches() {
        let shape: String =
            short_version().chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(shape, "0.0.0-ringkeeper-0.0.0 0000-00-00 00:00 UTC");
    }
}
