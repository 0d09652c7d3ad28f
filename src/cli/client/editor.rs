//! The prompt: on a terminal a line editor with history and completion, else line after line.

use std::borrow::Cow;
use std::io::{BufRead as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Editor, ExternalPrinter as _, Helper};

use super::path;
use super::shell::{Flow, OF_THE_SHELL, Shell, commands};
use super::zk::Zk;

/// Reads lines from standard input to its end, as Apache's shell does where no terminal is.
pub(super) fn pipe(shell: &mut Shell) {
    let mut lines = std::io::stdin().lock().lines();
    loop {
        if !shell.json {
            let mut out = std::io::stdout();
            drop(write!(out, "{}", shell.prompt()).and_then(|()| out.flush()));
        }
        let Some(Ok(line)) = lines.next() else { return };
        if shell.line(&line) == Flow::Quit {
            return;
        }
    }
}

/// Reads lines from the terminal until `quit` or Ctrl-D.
///
/// Errors: the terminal does not do.
pub(super) fn terminal(shell: &mut Shell) -> rustyline::Result<()> {
    let config = Config::builder().completion_type(CompletionType::List).auto_add_history(true);
    let mut editor = Editor::<Typing, DefaultHistory>::with_config(config.build())?;
    editor.set_helper(Some(Typing {
        zk: shell.zk.clone(),
        colours: std::env::var_os("NO_COLOR").is_none(),
    }));
    let mut printer = editor.create_external_printer()?;
    shell.voice().use_printer(Box::new(move |text| {
        if printer.print(text.clone()).is_err() {
            say!("{}", text.trim_end());
        }
    }));
    let file = history_file();
    if let Some(file) = &file {
        // There is none the first time.
        drop(editor.load_history(file));
    }
    loop {
        if let Some(helper) = editor.helper_mut() {
            helper.zk.clone_from(&shell.zk);
        }
        match editor.readline(&shell.prompt()) {
            Ok(line) => {
                if shell.line(&line) == Flow::Quit {
                    break;
                }
            }
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(error),
        }
    }
    if let Some(file) = &file
        && let Err(error) = editor.save_history(file)
    {
        say_error!("ringkeeper: history not kept in {}: {error}", file.display());
    }
    Ok(())
}

/// `$XDG_STATE_HOME` or `~/.local/state`, made where it is missing.
fn history_file() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state"));
    let folder = state.or_else(home)?.join("ringkeeper");
    std::fs::create_dir_all(&folder).ok()?;
    Some(folder.join("cli_history"))
}

struct Typing {
    zk: Option<Arc<Zk>>,
    colours: bool,
}

impl Completer for Typing {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let typed = &line[..position];
        let start = typed.rfind(char::is_whitespace).map_or(0, |at| at + 1);
        let word = &typed[start..];
        let found = if start == 0 {
            names().filter(|name| name.starts_with(word)).map(|name| pair(name, " ")).collect()
        } else if word.starts_with('/') {
            self.paths(word)
        } else {
            options(typed, word)
        };
        Ok((start, found))
    }
}

impl Typing {
    fn paths(&self, word: &str) -> Vec<Pair> {
        let (parent, prefix) = path::split(word);
        let zk = self.zk.as_ref().filter(|zk| zk.session.state().is_connected());
        let names = zk.and_then(|zk| zk.children(parent, false).ok()).unwrap_or_default().0;
        let names = names.iter().filter(|name| name.starts_with(prefix));
        names.map(|name| pair(&path::child(parent, name), "")).collect()
    }
}

fn names() -> impl Iterator<Item = &'static str> {
    let shells = OF_THE_SHELL.iter().map(|(name, _)| *name);
    commands().map(|command| command.name).chain(shells).chain(["help"])
}

fn options(typed: &str, word: &str) -> Vec<Pair> {
    let name = typed.split_whitespace().next().unwrap_or("");
    let Some(command) = commands().find(|command| command.name == name) else {
        return Vec::new();
    };
    let options = command.options.flags.iter().chain(command.options.valued);
    let words = options.map(|option| format!("-{option}")).chain(["--json".to_owned()]);
    words.filter(|option| option.starts_with(word)).map(|option| pair(&option, " ")).collect()
}

fn pair(text: &str, after: &str) -> Pair {
    Pair { display: text.to_owned(), replacement: format!("{text}{after}") }
}

impl Highlighter for Typing {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> Cow<'b, str> {
        let state = self.zk.as_ref().map(|zk| zk.session.state());
        let colour = if state.is_some_and(super::event::State::is_connected) { 32 } else { 31 };
        match self.colours {
            true => Cow::Owned(format!("\x1b[{colour}m{prompt}\x1b[0m")),
            false => Cow::Borrowed(prompt),
        }
    }
}

impl Hinter for Typing {
    type Hint = String;
}
impl Validator for Typing {}
impl Helper for Typing {}
