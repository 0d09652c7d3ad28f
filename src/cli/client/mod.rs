//! `ringkeeper cli`: Apache's zkCli, its commands, options, texts and exit codes, with a line
//! editor.
//!
//! | file | what |
//! |---|---|
//! | [`words`] | a line as words, and options as commons-cli reads them |
//! | [`address`] [`path`] | connect strings and paths |
//! | [`session`] [`watches`] [`event`] | the session with an ensemble, and what it tells |
//! | [`zk`] [`failure`] | requests, and how their refusals are worded |
//! | [`print`] [`command`] | answers as lines or JSON; what a command is |
//! | [`nodes`] [`access`] [`quota`] [`ensemble`] | Apache's commands |
//! | [`own`] | commands that Apache does not have |
//! | [`shell`] [`editor`] | lines, history and sessions; the prompt |

mod access;
mod address;
mod command;
mod editor;
mod ensemble;
mod event;
mod failure;
mod nodes;
mod own;
mod path;
mod print;
mod quota;
mod session;
mod shell;
mod watches;
mod words;
mod zk;

use std::process::ExitCode;

use clap::Args;

use shell::{Settings, Shell, at_terminal};

/// Ask a server, as Apache's zkCli does: one command, or a prompt.
#[derive(Args, Debug, Default)]
#[command(after_help = AFTER_HELP)]
pub struct CliArgs {
    /// [OPTION]... [COMMAND [ARGUMENT]...]
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    words: Vec<String>,
}

/// Runs the command that is named, or the prompt. The exit code is that of the last command.
pub fn cli(args: CliArgs) -> ExitCode {
    let options = match ProgramOptions::parse(args.words) {
        Ok(options) => options,
        Err(text) => {
            say_error!("{text}");
            return ExitCode::from(2);
        }
    };
    if let Some(file) = &options.configuration
        && let Err(text) = look_at(file)
    {
        say_error!("{text}");
        return ExitCode::from(2);
    }
    let mut shell = Shell::new(options.settings, options.json);
    if !options.json {
        say!("Connecting to {}", options.server);
    }
    if let Err(failure) = shell.connect(&options.server) {
        say_error!("{}", failure.text);
        return ExitCode::from(failure.exit);
    }
    if !options.command.is_empty() {
        // The session is left to its timeout, as Apache leaves it: an ephemeral that was just
        // created is there for the script's next step.
        shell.words(options.command);
        return ExitCode::from(shell.exit);
    }
    if !options.json {
        say!("Welcome to ZooKeeper!\nJLine support is enabled");
    }
    if !at_terminal() {
        editor::pipe(&mut shell);
    } else if let Err(error) = editor::terminal(&mut shell) {
        say_error!("ringkeeper: the terminal: {error}");
        return ExitCode::from(1);
    }
    ExitCode::from(shell.exit)
}

struct ProgramOptions {
    server: String,
    settings: Settings,
    json: bool,
    configuration: Option<String>,
    command: Vec<String>,
}

impl ProgramOptions {
    /// Reads the program's words. An option that is not known is passed over, as Apache does it.
    fn parse(words: Vec<String>) -> Result<Self, String> {
        let (mut server, mut timeout) = ("localhost:2181".to_owned(), "30000".to_owned());
        let mut settings = Settings { timeout_ms: 0, read_only: false, wait_for_connection: false };
        let (mut json, mut configuration, mut command) = (false, None, Vec::new());
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let mut value =
                || words.next().ok_or(format!("Error: no argument found for option {word}"));
            match word.as_str() {
                "-server" => server = value()?,
                "-timeout" => timeout = value()?,
                "-client-configuration" => configuration = Some(value()?),
                "-r" => settings.read_only = true,
                "-waitforconnection" => settings.wait_for_connection = true,
                "--json" => json = true,
                _ if word.starts_with('-') => {}
                _ => {
                    command = std::iter::once(word).chain(words).collect();
                    break;
                }
            }
        }
        settings.timeout_ms = timeout
            .parse()
            .map_err(|_| format!("-timeout {timeout}: milliseconds are wanted, a whole number"))?;
        Ok(Self { server, settings, json, configuration, command })
    }
}

/// Refuses a client's configuration that asks for what this client cannot do.
fn look_at(file: &str) -> Result<(), String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
    let lines = text.lines().filter_map(|line| line.split_once('='));
    for (key, value) in lines.map(|(key, value)| (key.trim(), value.trim())) {
        if key == "zookeeper.client.secure" && value == "true" {
            return Err(format!(
                "{file}: {key}=true: this client has no TLS; name the port without it in -server"
            ));
        }
    }
    Ok(())
}

const AFTER_HELP: &str = "\
Options: -server HOST:PORT[,HOST:PORT]...[/CHROOT] (localhost:2181), -timeout MS (30000), -r (a read-only server will
do), -waitforconnection, -client-configuration FILE, --json (one line of JSON per answer, also after a command).
Without a command: a prompt, where `help` lists the commands. The exit code is that of the last command: 0 done,
1 refused, 127 no such command; 2 when the options are wrong.";
