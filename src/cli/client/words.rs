//! Words: a line typed at the prompt as a list of them, and the options among them, taken apart as
//! commons-cli 1.5 does it for Apache's shell.

use std::fmt;

/// Breaks a line into words. A word may stand in single or double quotes, which are taken off; a
/// quote that is never closed is passed over, as in Apache's shell.
pub(super) fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let (word, after) = match first {
            '"' | '\'' => match rest[1..].split_once(first) {
                Some(quoted) => quoted,
                None => {
                    rest = rest[1..].trim_start();
                    continue;
                }
            },
            _ => rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len())),
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    words
}

/// The options of a command.
pub(super) struct Options {
    /// The options without a value.
    pub flags: &'static [&'static str],
    /// The options that want one.
    pub valued: &'static [&'static str],
    /// Options that exclude each other, each as commons-cli prints it; and whether one is needed.
    pub group: &'static [(&'static str, &'static str)],
    pub group_required: bool,
}

impl Options {
    /// No option at all.
    pub(super) const NONE: Self = Self::new(&[], &[]);

    /// Options that do not exclude each other.
    pub(super) const fn new(
        flags: &'static [&'static str],
        valued: &'static [&'static str],
    ) -> Self {
        Self { flags, valued, group: &[], group_required: false }
    }

    fn has(&self, name: &str) -> bool {
        self.flags.contains(&name) || self.wants_value(name)
    }

    fn wants_value(&self, name: &str) -> bool {
        self.valued.contains(&name)
    }

    fn in_group(&self, name: &str) -> bool {
        self.group.iter().any(|(member, _)| *member == name)
    }

    /// Whether `word` would be read as an option, and so not as the value of the one before it.
    fn takes(&self, word: &str) -> bool {
        let Some(name) = word.strip_prefix('-').filter(|name| !name.is_empty()) else {
            return false;
        };
        let name = name.split_once('=').map_or(name, |(name, _)| name);
        let first = &name[..name.chars().next().map_or(0, char::len_utf8)];
        self.has(name) || (!first.is_empty() && self.has(first))
    }
}

/// Why the words of a command do not parse: a class and a message of commons-cli.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ParseError {
    Unrecognized(String),
    MissingArgument(String),
    AlreadySelected { option: String, selected: String },
    MissingOption(String),
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("org.apache.commons.cli.")?;
        match self {
            Self::Unrecognized(word) => {
                write!(f, "UnrecognizedOptionException: Unrecognized option: {word}")
            }
            Self::MissingArgument(option) => {
                write!(f, "MissingArgumentException: Missing argument for option: {option}")
            }
            Self::AlreadySelected { option, selected } => write!(
                f,
                "AlreadySelectedException: The option '{option}' was specified but an option from \
                 this group has already been selected: '{selected}'"
            ),
            Self::MissingOption(group) => {
                write!(f, "MissingOptionException: Missing required option: {group}")
            }
        }
    }
}

/// A command's words, taken apart.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    /// What is no option, the command's name first.
    pub args: Vec<String>,
    given: Vec<(String, Option<String>)>,
}

impl Parsed {
    /// Whether the option is there.
    pub(super) fn has(&self, option: &str) -> bool {
        self.given.iter().any(|(name, _)| name == option)
    }

    /// The value of the option; the first one, if it is there twice.
    pub(super) fn value(&self, option: &str) -> Option<&str> {
        self.given.iter().filter(|(name, _)| name == option).find_map(|(_, value)| value.as_deref())
    }

    /// The argument after the command's name, counted from 1.
    pub(super) fn arg(&self, index: usize) -> &str {
        self.args.get(index).map_or("", String::as_str)
    }
}

/// Takes `words` apart, the command's name among them.
///
/// Errors: as commons-cli would throw them.
pub(super) fn parse(options: &Options, words: &[String]) -> Result<Parsed, ParseError> {
    let mut parser = Parser { options, parsed: Parsed::default(), open: false, selected: None };
    let mut only_args = false;
    for word in words {
        if only_args {
            parser.parsed.args.push(word.clone());
        } else if word == "--" {
            only_args = true;
        } else {
            parser.word(word)?;
        }
    }
    parser.no_value_missing()?;
    if options.group_required && parser.selected.is_none() {
        let group: Vec<String> =
            options.group.iter().map(|(name, about)| format!("-{name} {about}")).collect();
        return Err(ParseError::MissingOption(format!("[{}]", group.join(", "))));
    }
    Ok(parser.parsed)
}

struct Parser<'a> {
    options: &'a Options,
    parsed: Parsed,
    /// The option given last still wants its value.
    open: bool,
    selected: Option<String>,
}

impl Parser<'_> {
    fn word(&mut self, word: &str) -> Result<(), ParseError> {
        if self.open && (!self.options.takes(word) || word.parse::<f64>().is_ok()) {
            self.value(word);
            return Ok(());
        }
        let Some(name) = word.strip_prefix('-').filter(|name| !name.is_empty()) else {
            self.parsed.args.push(word.to_owned());
            return Ok(());
        };
        let unknown = || ParseError::Unrecognized(word.to_owned());
        // Long options (`--name`) are none of any command's.
        if name.starts_with('-') {
            return Err(unknown());
        }
        match name.split_once('=') {
            _ if self.options.has(name) => self.option(name),
            Some((option, value)) if self.options.wants_value(option) && option.len() == 1 => {
                self.option(option)?;
                self.value(value);
                Ok(())
            }
            Some(_) => Err(unknown()),
            None if name.chars().count() == 1 => Err(unknown()),
            None => self.joined(name, unknown),
        }
    }

    /// Several options in one word (`-sw`), the last perhaps with its value (`-v3`).
    fn joined(&mut self, name: &str, unknown: impl Fn() -> ParseError) -> Result<(), ParseError> {
        for (start, letter) in name.char_indices() {
            let end = start + letter.len_utf8();
            if !self.options.has(&name[start..end]) {
                return Err(unknown());
            }
            self.option(&name[start..end])?;
            if self.open && end < name.len() {
                self.value(&name[end..]);
                return Ok(());
            }
        }
        Ok(())
    }

    fn option(&mut self, name: &str) -> Result<(), ParseError> {
        self.no_value_missing()?;
        if self.options.in_group(name) {
            let selected = self.selected.get_or_insert_with(|| name.to_owned());
            if selected != name {
                let selected = selected.clone();
                return Err(ParseError::AlreadySelected { option: name.to_owned(), selected });
            }
        }
        self.parsed.given.push((name.to_owned(), None));
        self.open = self.options.wants_value(name);
        Ok(())
    }

    fn value(&mut self, value: &str) {
        let quoted = value.len() > 1 && value.starts_with('"') && value.ends_with('"');
        let inner = if quoted { &value[1..value.len() - 1] } else { value };
        let value = if inner.contains('"') { value } else { inner };
        if let Some((_, slot)) = self.parsed.given.last_mut() {
            *slot = Some(value.to_owned());
        }
        self.open = false;
    }

    fn no_value_missing(&self) -> Result<(), ParseError> {
        match self.parsed.given.last() {
            Some((name, None)) if self.open => Err(ParseError::MissingArgument(name.clone())),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: Options = Options::new(&["s", "b"], &["v"]);

    fn set(line: &str) -> Result<Parsed, String> {
        parse(&SET, &split(line)).map_err(|error| error.to_string())
    }

    #[test]
    fn quotes_hold_words_together_and_a_lone_one_is_passed_over() {
        assert_eq!(split("  create /a 'b c'  \"d\" "), ["create", "/a", "b c", "d"]);
        assert_eq!(split("set /a \"x y"), ["set", "/a", "x", "y"]);
        assert_eq!(split("set /a ab\"c d\""), ["set", "/a", "ab\"c", "d\""]);
        assert_eq!(split("set /a ''"), ["set", "/a", ""]);
        assert!(split(" \" ").is_empty());
    }

    #[test]
    fn options_stand_anywhere_alone_joined_or_with_their_value() {
        for line in
            ["set -sv3 /a x", "set /a -s x -v 3", "set /a x -v=3 -s", "set -s -v \"3\" /a x"]
        {
            let parsed = set(line).unwrap();
            assert_eq!(parsed.args, ["set", "/a", "x"], "{line}");
            assert!(parsed.has("s") && !parsed.has("b"));
            assert_eq!(parsed.value("v"), Some("3"), "{line}");
        }
        assert_eq!(set("set -v -1 /a x").unwrap().value("v"), Some("-1"));
        assert_eq!(set("set /a -- -5").unwrap().args, ["set", "/a", "-5"]);
    }

    #[test]
    fn what_is_wrong_is_said_as_commons_cli_says_it() {
        let at = "org.apache.commons.cli.";
        for (line, wanted) in [
            ("set /a -5", "UnrecognizedOptionException: Unrecognized option: -5"),
            ("set --v=3 /a x", "UnrecognizedOptionException: Unrecognized option: --v=3"),
            ("set -sq /a", "UnrecognizedOptionException: Unrecognized option: -sq"),
            ("set /a x -v", "MissingArgumentException: Missing argument for option: v"),
            ("set /a x -v -s", "MissingArgumentException: Missing argument for option: v"),
        ] {
            assert_eq!(set(line).unwrap_err(), format!("{at}{wanted}"));
        }
    }
}
