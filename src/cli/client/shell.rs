//! The shell: which command a line means, what is remembered of the lines before it, and which
//! session they go to.

use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;

use super::address::Address;
use super::command::Command;
use super::event::{Notice, State};
use super::failure::Failure;
use super::print::Out;
use super::session::{Opening, Session};
use super::words;
use super::zk::Zk;
use super::{access, ensemble, nodes, own, quota};

/// How sessions are opened.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub timeout_ms: i32,
    pub read_only: bool,
    pub wait_for_connection: bool,
}

/// What prints a text above the line that is being typed.
type Printer = Box<dyn FnMut(String) + Send>;

/// Prints what sessions say unasked.
#[derive(Default)]
pub(super) struct Voice {
    muted: AtomicBool,
    json: AtomicBool,
    /// Set on a terminal: sentences about the connection are printed there, and nowhere else.
    printer: Mutex<Option<Printer>>,
}

/// The state of a shell.
pub(super) struct Shell {
    settings: Settings,
    host: String,
    voice: Arc<Voice>,
    pub zk: Option<Arc<Zk>>,
    history: Vec<String>,
    /// The exit code of the last command.
    pub exit: u8,
    pub json: bool,
}

/// Whether the shell goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Next,
    Quit,
}

impl Voice {
    /// From now on texts go through `printer`.
    pub(super) fn use_printer(&self, printer: Printer) {
        *self.printer.lock().unwrap_or_else(PoisonError::into_inner) = Some(printer);
    }

    fn tell(&self, notice: &Notice) {
        let mut printer = self.printer.lock().unwrap_or_else(PoisonError::into_inner);
        let text = match notice {
            Notice::Event(_) if self.muted.load(Ordering::Relaxed) => return,
            Notice::Event(event) if self.json.load(Ordering::Relaxed) => json!({"event": {
                "state": event.state, "type": event.kind, "path": event.path, "zxid": event.zxid,
            }})
            .to_string(),
            Notice::Event(event) => format!("\nWATCHER::\n\n{event}"),
            Notice::Link(_) if printer.is_none() => return,
            Notice::Link(text) => text.clone(),
        };
        match printer.as_mut() {
            Some(print) => print(text + "\n"),
            None => say!("{text}"),
        }
    }
}

impl Shell {
    /// A shell that is not connected yet.
    pub(super) fn new(settings: Settings, json: bool) -> Self {
        let voice = Arc::new(Voice::default());
        voice.json.store(json, Ordering::Relaxed);
        let (host, history) = (String::new(), Vec::new());
        Self { settings, host, voice, zk: None, history, exit: 0, json }
    }

    /// Who prints what sessions say.
    pub(super) fn voice(&self) -> Arc<Voice> {
        Arc::clone(&self.voice)
    }

    /// Opens a session with `host`, after closing the one there is.
    ///
    /// Errors: a malformed connect string; with `wait_for_connection`, no server in time.
    pub(super) fn connect(&mut self, host: &str) -> Result<(), Failure> {
        if let Some(zk) = self.zk.take() {
            zk.session.close();
        }
        host.clone_into(&mut self.host);
        let address = Address::parse(host).map_err(Failure::new)?;
        let Settings { timeout_ms, read_only, wait_for_connection } = self.settings;
        let opening = Opening { address, timeout_ms, read_only };
        let voice = self.voice();
        let session = Session::open(opening, Box::new(move |notice| voice.tell(&notice)))
            .map_err(|error| Failure::new(format!("no thread for the session: {error}")))?;
        let patience = Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0));
        if wait_for_connection && !session.wait_connected(patience) {
            session.close();
            return Err(Failure::new(
                "org.apache.zookeeper.KeeperException$ConnectionLossException: KeeperErrorCode = \
                 ConnectionLoss",
            ));
        }
        self.zk = Some(Arc::new(Zk { session }));
        Ok(())
    }

    /// The prompt, with the state of the session.
    pub(super) fn prompt(&self) -> String {
        format!("[zk: {}({}) {}] ", self.host, self.state(), self.history.len())
    }

    /// The state of the session.
    pub(super) fn state(&self) -> State {
        self.zk.as_ref().map_or(State::Closed, |zk| zk.session.state())
    }

    /// Runs a line as it was typed.
    pub(super) fn line(&mut self, line: &str) -> Flow {
        let words = words::split(line);
        if words.is_empty() {
            return Flow::Next;
        }
        self.history.push(line.to_owned());
        self.words(words)
    }

    /// Runs a command, and keeps its exit code.
    pub(super) fn words(&mut self, mut words: Vec<String>) -> Flow {
        let plain = words.iter().position(|word| word == "--").unwrap_or(words.len());
        let json = words[..plain].iter().position(|word| word == "--json");
        let json = json.map(|at| words.remove(at)).is_some() || self.json;
        let out = Out { json };
        if words.first().is_some_and(|name| name == "quit" || name == "exit") {
            if let Some(zk) = &self.zk {
                zk.session.close();
            }
            return Flow::Quit;
        }
        self.exit = match self.command(&words, out) {
            Ok(()) => 0,
            Err(failure) => {
                out.failure(&failure);
                failure.exit
            }
        };
        Flow::Next
    }

    fn command(&mut self, words: &[String], out: Out) -> Result<(), Failure> {
        let name = words.first().map_or("", String::as_str);
        let command = commands().find(|command| command.name == name);
        let own_state = OF_THE_SHELL.iter().any(|(shells, _)| *shells == name);
        if command.is_none() && !own_state {
            usage(out);
            if name == "help" {
                return Ok(());
            }
            let text = format!("Command not found: Command not found {name}");
            return Err(Failure { exit: 127, ..Failure::new(text) });
        }
        let argument = words.get(1).map(String::as_str);
        match (name, argument) {
            ("redo", Some(number)) => self.redo(number)?,
            ("history", _) => self.print_history(out),
            ("printwatches", None) => {
                let muted = self.voice.muted.load(Ordering::Relaxed);
                let state = if muted { "off" } else { "on" };
                out.both(&format!("printwatches is {state}"), &json!({"printwatches": state}));
            }
            ("printwatches", Some(state)) => {
                self.voice.muted.store(state != "on", Ordering::Relaxed);
            }
            ("connect", host) => {
                let host = host.map_or_else(|| self.host.clone(), str::to_owned);
                self.connect(&host)?;
            }
            _ => {}
        }
        let Some(zk) = self.zk.clone().filter(|zk| zk.session.state().is_alive()) else {
            out.both("Not connected", &json!({"error": "Not connected"}));
            return Ok(());
        };
        command.map_or(Ok(()), |command| command.run(&zk, out, words))
    }

    fn redo(&mut self, number: &str) -> Result<(), Failure> {
        let wrong = |_| Failure::new(format!("For input string: \"{number}\""));
        let index: i64 = number.parse().map_err(wrong)?;
        let current = self.history.len().saturating_sub(1);
        let index = usize::try_from(index).ok().filter(|index| *index < current);
        let Some(index) = index else {
            return Err(Failure::new("Command index out of range"));
        };
        let line = self.history[index].clone();
        let words = words::split(&line);
        if words.first().is_some_and(|name| name == "redo") {
            return Err(Failure::new("No redoing redos"));
        }
        self.history[current] = line;
        self.words(words);
        Ok(())
    }

    fn print_history(&self, out: Out) {
        let first = self.history.len().saturating_sub(11);
        for (number, line) in self.history.iter().enumerate().skip(first) {
            out.line(&format!("{number} - {line}"));
        }
        out.json(&json!({"history": self.history[first..]}));
    }
}

/// All commands that ask a server.
pub(super) fn commands() -> impl Iterator<Item = &'static Command> {
    apaches().chain(own::COMMANDS)
}

fn apaches() -> impl Iterator<Item = &'static Command> {
    [nodes::COMMANDS, access::COMMANDS, quota::COMMANDS, ensemble::COMMANDS].into_iter().flatten()
}

/// The commands that are about the shell itself.
pub(super) const OF_THE_SHELL: &[(&str, &str)] = &[
    ("connect", "host:port"),
    ("history", ""),
    ("printwatches", "on|off"),
    ("quit", ""),
    ("redo", "cmdno"),
];

/// Apache's list of its commands, then Ringkeeper's own.
fn usage(out: Out) {
    out.err("ZooKeeper -server host:port -client-configuration properties-file cmd args");
    let mut lines: Vec<_> = apaches().map(|command| (command.name, command.usage)).collect();
    lines.extend(OF_THE_SHELL);
    lines.sort_unstable();
    for (name, usage) in &lines {
        out.err(&format!("\t{name} {usage}"));
    }
    out.err("Ringkeeper's own, and --json for each of all:");
    for command in own::COMMANDS {
        out.err(&format!("\t{} {}", command.name, command.usage));
    }
    let own = own::COMMANDS.iter().map(|command| (command.name, command.usage));
    let all: Vec<_> = lines
        .iter()
        .copied()
        .chain(own)
        .map(|(name, usage)| json!({"name": name, "usage": usage}))
        .collect();
    out.json(&json!({"commands": all}));
}

/// Whether a person is typing.
pub(super) fn at_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}
