//! A command: its name, its usage as Apache prints it, its options, and what it does.

use super::failure::Failure;
use super::print::Out;
use super::words::{self, Options, Parsed};
use super::zk::Zk;

/// A command of the shell.
pub(super) struct Command {
    pub name: &'static str,
    /// What follows the name in its usage.
    pub usage: &'static str,
    /// The lines about the options below the usage, where Apache prints them.
    pub about: &'static str,
    pub options: Options,
    /// The words that it needs, its name counted. With fewer it prints its usage.
    pub words_min: usize,
    /// Of those that took a watch as a third word once: how it is to be written today.
    pub watch_now: Option<&'static str>,
    pub run: fn(&Call<'_>) -> Result<(), Failure>,
}

/// A command that is run.
pub(super) struct Call<'a> {
    pub zk: &'a Zk,
    pub out: Out,
    pub words: Parsed,
    pub command: &'a Command,
}

impl Call<'_> {
    /// The option -v, -1 without it.
    pub(super) fn version(&self) -> Result<i32, Failure> {
        let text = self.words.value("v").unwrap_or("-1");
        text.parse().map_err(|_| Failure::new(format!("For input string: \"{text}\"")))
    }
}

impl Command {
    /// A command without options.
    pub(super) const fn new(
        name: &'static str,
        usage: &'static str,
        words_min: usize,
        run: fn(&Call<'_>) -> Result<(), Failure>,
    ) -> Self {
        let (about, watch_now) = ("", None);
        Self { name, usage, about, options: Options::NONE, words_min, watch_now, run }
    }

    /// With these options.
    pub(super) const fn with(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// The usage, and the lines about the options.
    pub(super) fn usage_text(&self) -> String {
        let (name, usage) = (self.name, self.usage);
        if self.about.is_empty() {
            return format!("{name} {usage}");
        }
        format!("{name} {usage}\n{}\n", self.about)
    }

    /// Parses `words` and runs.
    pub(super) fn run(&self, zk: &Zk, out: Out, words: &[String]) -> Result<(), Failure> {
        let parse = |words: &[String]| {
            words::parse(&self.options, words).map_err(|error| Failure::new(error.to_string()))
        };
        let mut parsed = parse(words)?;
        if parsed.args.len() < self.words_min {
            return Err(Failure::new(self.usage_text()));
        }
        if let Some(now) = self.watch_now
            && parsed.args.len() > 2
        {
            let name = self.name;
            out.err(&format!(
                "'{name} path [watch]' has been deprecated. Please use '{now}' instead."
            ));
            let mut rewritten = words.to_vec();
            rewritten[2] = "-w".into();
            parsed = parse(&rewritten)?;
        }
        (self.run)(&Call { zk, out, words: parsed, command: self })
    }
}
