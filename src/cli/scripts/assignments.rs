//! `zookeeper-env.sh` and `java.env`, which Apache's scripts run as a part of themselves: their plain
//! assignments are read, and nothing is run.
//!
//! Plain is `NAME=value` with or without `export`, with a shell's quotes, `\`, `$NAME`, `${NAME}`,
//! `${NAME:-value}` and `${NAME-value}`. Whatever else stands there, and all between `if` and `fi`
//! and their like, is passed over and told by its line.

use std::collections::BTreeMap;

/// The variables of the environment.
pub(super) type Variables = BTreeMap<String, String>;

/// Makes the assignments of `text`. The lines, from 1, where something is that was not understood.
pub(super) fn apply(text: &str, variables: &mut Variables) -> Vec<u32> {
    let mut script = Script { rest: text.chars().collect(), at: 0, line: 1 };
    let mut passed_over = Vec::new();
    let mut depth = 0_u32;
    while let Some(statement) = script.statement(variables) {
        let first = statement.words.first().map_or("", |word| word.text.as_str());
        match first {
            "if" | "for" | "while" | "until" | "case" | "select" | "{" => depth += 1,
            _ if first.ends_with("()") || first == "function" => depth += 1,
            "fi" | "done" | "esac" | "}" => {
                depth = depth.saturating_sub(1);
                continue;
            }
            _ if depth > 0 => continue,
            _ if statement.assign(variables) => continue,
            _ => {}
        }
        if depth <= 1 {
            passed_over.push(statement.line);
        }
    }
    passed_over
}

/// What stands up to the end of a line or a `;`.
#[derive(Default)]
struct Statement {
    line: u32,
    words: Vec<Word>,
    /// Nothing in it needs a shell.
    is_plain: bool,
}

/// A word without its quotes.
#[derive(Default)]
struct Word {
    text: String,
    /// Where its `=` is, if a name stands before it.
    equals: Option<usize>,
}

impl Statement {
    /// Makes its assignments. False if it is anything else.
    fn assign(&self, variables: &mut Variables) -> bool {
        let first = self.words.first().map_or("", |word| word.text.as_str());
        let exports = first == "export";
        let words = &self.words[usize::from(exports)..];
        let is_name = |word: &Word| exports && is_name(&word.text);
        if !self.is_plain || !words.iter().all(|word| word.equals.is_some() || is_name(word)) {
            return false;
        }
        for word in words {
            let Some(equals) = word.equals else { continue };
            variables.insert(word.text[..equals].into(), word.text[equals + 1..].into());
        }
        true
    }
}

struct Script {
    rest: Vec<char>,
    at: usize,
    line: u32,
}

impl Script {
    fn peek(&self) -> Option<char> {
        self.rest.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        self.line += u32::from(c == '\n');
        Some(c)
    }

    /// The next one that has a word in it.
    fn statement(&mut self, variables: &Variables) -> Option<Statement> {
        let mut statement = Statement { is_plain: true, ..Statement::default() };
        loop {
            match self.peek() {
                None if statement.words.is_empty() => return None,
                None => return Some(statement),
                Some('\n' | ';') => {
                    self.next();
                    if !statement.words.is_empty() {
                        return Some(statement);
                    }
                }
                Some(' ' | '\t' | '\r') => drop(self.next()),
                Some('#') => {
                    while self.peek().is_some_and(|c| c != '\n') {
                        self.next();
                    }
                }
                Some(_) => {
                    if statement.words.is_empty() {
                        statement.line = self.line;
                    }
                    let word = self.word(variables, &mut statement.is_plain);
                    statement.words.push(word);
                }
            }
        }
    }

    fn word(&mut self, variables: &Variables, is_plain: &mut bool) -> Word {
        let mut word = Word::default();
        let mut is_quoted = false;
        while let Some(c) = self.peek() {
            match c {
                ' ' | '\t' | '\r' | '\n' | ';' if !is_quoted => break,
                '\'' if !is_quoted => {
                    self.next();
                    while let Some(c) = self.next().filter(|c| *c != '\'') {
                        word.text.push(c);
                    }
                    continue;
                }
                '"' => is_quoted = !is_quoted,
                '\\' => {
                    self.next();
                    self.escaped(is_quoted, &mut word.text);
                    continue;
                }
                '$' => {
                    self.next();
                    *is_plain &= self.variable(variables, &mut word.text);
                    continue;
                }
                '=' if word.equals.is_none() && !is_quoted && is_name(&word.text) => {
                    word.equals = Some(word.text.len());
                    word.text.push(c);
                }
                '`' => *is_plain = false,
                '&' | '|' | '<' | '>' | '(' | ')' if !is_quoted => {
                    *is_plain = false;
                    word.text.push(c);
                }
                _ => word.text.push(c),
            }
            self.next();
        }
        *is_plain &= !is_quoted;
        word
    }

    /// What follows a `\`.
    fn escaped(&mut self, is_quoted: bool, out: &mut String) {
        match self.next() {
            None | Some('\n') => {}
            Some(c) if is_quoted && !matches!(c, '"' | '\\' | '$' | '`') => out.extend(['\\', c]),
            Some(c) => out.push(c),
        }
    }

    /// What follows a `$`. False if it takes a shell to tell its value.
    fn variable(&mut self, variables: &Variables, out: &mut String) -> bool {
        let value = |name: &str| variables.get(name).map_or("", String::as_str);
        if self.peek() != Some('{') {
            let name = self.take_while(|c| c.is_ascii_alphanumeric() || c == '_');
            if is_name(&name) {
                out.push_str(value(&name));
                return true;
            }
            out.push('$');
            out.push_str(&name);
            // A `$` that stands for itself, as at the end of a word.
            return name.is_empty() && !matches!(self.peek(), Some('(' | '\'' | '"'));
        }
        let inside = self.take_while(|c| c != '}' && c != '\n');
        self.next();
        let inside = &inside[1..];
        let (name, default) = match (inside.split_once(":-"), inside.split_once('-')) {
            (Some((name, default)), _) => (name, Some((default, value(name).is_empty()))),
            (_, Some((name, default))) => (name, Some((default, !variables.contains_key(name)))),
            _ => (inside, None),
        };
        match default {
            Some((default, true)) => out.push_str(default),
            _ => out.push_str(value(name)),
        }
        is_name(name) && !default.is_some_and(|(text, _)| text.contains(['$', '`', '"', '\'']))
    }

    fn take_while(&mut self, belongs: impl Fn(char) -> bool) -> String {
        let mut text = String::new();
        while let Some(c) = self.peek().filter(|c| belongs(*c)) {
            text.push(c);
            self.next();
        }
        text
    }
}

fn is_name(text: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    text.starts_with(is_letter) && text.chars().all(|c| is_letter(c) || c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(text: &str) -> (Vec<(String, String)>, Vec<u32>) {
        let mut variables = Variables::from([("OLD".into(), "old".into())]);
        let passed_over = apply(text, &mut variables);
        variables.remove("OLD");
        (variables.into_iter().collect(), passed_over)
    }

    #[test]
    fn assignments_are_read_as_a_shell_reads_them() {
        for (text, wanted) in [
            ("A=1\n", &[("A", "1")][..]),
            ("export A=1 B=\"2 3\" C='$OLD'\n", &[("A", "1"), ("B", "2 3"), ("C", "$OLD")]),
            ("A=1; B=2 # C=3\n#D=4\nexport A", &[("A", "1"), ("B", "2")]),
            ("A=\"-Xmx1g $OLD\"\nB=${OLD}er", &[("A", "-Xmx1g old"), ("B", "older")]),
            ("A=${NEW:-n}\nB=${OLD:-n}\nC=${NEW-}", &[("A", "n"), ("B", "old"), ("C", "")]),
            (
                "A=\"one \\\n two\"\nB=x\\ y\nC=\"\\\"\\$OLD\\n\"",
                &[("A", "one  two"), ("B", "x y"), ("C", "\"$OLD\\n")],
            ),
            ("A=b=c\nB=\nC=x'y z'\"w\"", &[("A", "b=c"), ("B", ""), ("C", "xy zw")]),
            ("A='two\nlines'\r\nB=5$", &[("A", "two\nlines"), ("B", "5$")]),
        ] {
            let wanted = wanted.iter().map(|(name, value)| ((*name).into(), (*value).into()));
            assert_eq!(applied(text), (wanted.collect(), vec![]), "{text}");
        }
    }

    #[test]
    fn what_needs_a_shell_is_told_by_its_line_and_changes_nothing() {
        for (text, lines) in [
            ("A=$(hostname)", &[1][..]),
            ("\nA=`hostname`\n", &[2]),
            ("[ -z \"$A\" ] && A=1", &[1]),
            ("\n. /etc/default/zookeeper\nulimit -n 5", &[2, 3]),
            ("if [ -z \"$A\" ]; then\n  A=1\nfi\n", &[1]),
            ("if x; then\n for a in b; do\n A=1\n done\n A=2\nfi\n", &[1]),
            ("f() {\n A=1\n}\n", &[1]),
            ("A=1 java -version", &[1]),
            ("A=\"no end", &[1]),
            ("A=${OLD%x}", &[1]),
            ("A=x > y", &[1]),
        ] {
            assert_eq!(applied(text), (vec![], lines.to_vec()), "{text}");
        }
    }
}
