//! Java's properties format, as `java.util.Properties.load(InputStream)` reads it. Bytes in,
//! entries out; it opens nothing.
//!
//! Bytes are ISO-8859-1. A logical line is a key, a separator (`=`, `:`, or white space) and a
//! value; a line that ends in an odd number of backslashes goes on in the next one; `#` and `!`
//! begin a comment line. Characters are kept as UTF-16 units until the end, since `\uXXXX` names
//! such units and two of them may form one character.

use std::fmt;

/// One `key = value`, in file order. Escapes are resolved; nothing is trimmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key; may be empty.
    pub key: String,
    /// The value; may be empty.
    pub value: String,
    /// Line of the file the entry begins on, from 1.
    pub line: u32,
}

/// `\u` without four hexadecimal digits after it: the only text that the format refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MalformedEscape {
    /// Line of the file the entry begins on, from 1.
    pub line: u32,
}

impl fmt::Display for MalformedEscape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "line {}: \\u needs four hexadecimal digits; write a plain backslash as \\\\",
            self.line
        )
    }
}

impl std::error::Error for MalformedEscape {}

/// Reads every entry. A key given twice appears twice; the last one is the one that counts.
pub fn parse(bytes: &[u8]) -> Result<Vec<Entry>, MalformedEscape> {
    let mut lines = LogicalLines { bytes, at: 0, line: 1 };
    let mut entries = Vec::new();
    while let Some((text, line)) = lines.next_line() {
        let (key, value) = split(&text);
        entries.push(Entry { key: unescape(key, line)?, value: unescape(value, line)?, line });
    }
    Ok(entries)
}

/// Java's `String.trim`: every leading and trailing character up to the space goes.
pub fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| c <= ' ')
}

struct LogicalLines<'a> {
    bytes: &'a [u8],
    at: usize,
    line: u32,
}

impl<'a> LogicalLines<'a> {
    /// The next line that is neither blank nor a comment, continuations joined, and the number it
    /// began on.
    fn next_line(&mut self) -> Option<(Vec<u8>, u32)> {
        let mut text = Vec::new();
        let mut begun = self.line;
        let mut joining = false;
        while self.at < self.bytes.len() {
            if text.is_empty() && !joining {
                begun = self.line;
            }
            let natural = strip_leading_white(self.next_natural());
            let comment = text.is_empty() && matches!(natural.first(), Some(b'#' | b'!'));
            if comment || (natural.is_empty() && text.is_empty()) {
                joining = false;
                continue;
            }
            text.extend_from_slice(natural);
            if trailing_backslashes(natural).is_multiple_of(2) {
                break;
            }
            text.pop();
            joining = true;
        }
        (!text.is_empty()).then_some((text, begun))
    }

    /// Bytes up to the next `\n`, `\r` or `\r\n`, which is stepped over.
    fn next_natural(&mut self) -> &'a [u8] {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let end = rest.iter().position(|b| matches!(b, b'\n' | b'\r')).unwrap_or(rest.len());
        let (line, after) = rest.split_at(end);
        let terminator = match after {
            [b'\r', b'\n', ..] => 2,
            [] => 0,
            _ => 1,
        };
        self.at += end + terminator;
        self.line += 1;
        line
    }
}

fn strip_leading_white(line: &[u8]) -> &[u8] {
    let start = line.iter().position(|b| !is_white(*b)).unwrap_or(line.len());
    line.get(start..).unwrap_or_default()
}

fn trailing_backslashes(line: &[u8]) -> usize {
    line.iter().rev().take_while(|b| **b == b'\\').count()
}

fn is_white(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0c)
}

/// Key and value, escapes unresolved: the first separator that no backslash precedes ends the key.
fn split(line: &[u8]) -> (&[u8], &[u8]) {
    let mut escaped = false;
    let is_end = |byte: &u8| {
        let end = !escaped && (is_white(*byte) || matches!(byte, b'=' | b':'));
        escaped = *byte == b'\\' && !escaped;
        end
    };
    let key_len = line.iter().position(is_end).unwrap_or(line.len());
    let (key, rest) = line.split_at(key_len);
    let rest = strip_leading_white(rest);
    match rest {
        [b'=' | b':', value @ ..] => (key, strip_leading_white(value)),
        value => (key, value),
    }
}

fn unescape(text: &[u8], line: u32) -> Result<String, MalformedEscape> {
    let mut units = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [byte, after @ ..] = rest {
        rest = after;
        if *byte != b'\\' {
            units.push(u16::from(*byte));
            continue;
        }
        let Some((escape, after)) = rest.split_first() else { break };
        rest = after;
        units.push(match escape {
            b't' => 0x09,
            b'n' => 0x0a,
            b'f' => 0x0c,
            b'r' => 0x0d,
            b'u' => {
                let (digits, after) = rest.split_at_checked(4).ok_or(MalformedEscape { line })?;
                rest = after;
                hex_unit(digits).ok_or(MalformedEscape { line })?
            }
            other => u16::from(*other),
        });
    }
    Ok(String::from_utf16_lossy(&units))
}

fn hex_unit(digits: &[u8]) -> Option<u16> {
    digits.iter().try_fold(0u16, |unit, digit| {
        let value = char::from(*digit).to_digit(16)?;
        Some(unit << 4 | u16::try_from(value).ok()?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        let bytes: Vec<u8> =
            text.chars().map(|c| u8::try_from(u32::from(c)).expect("ISO-8859-1 text")).collect();
        parse(&bytes).expect("well formed").into_iter().map(|e| (e.key, e.value)).collect()
    }

    /// Every row was run through `java.util.Properties.load` by its documentation's rules.
    #[test]
    fn separators_escapes_comments_and_continuations() {
        let table: &[(&str, &[(&str, &str)])] = &[
            ("", &[]),
            ("\n \t\x0c\n\r\n", &[]),
            ("# a=1\n! b=2\n  # c=3\n", &[]),
            ("a=1", &[("a", "1")]),
            ("a:1\nb 2\nc\t3\nd\x0c4", &[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")]),
            ("  a  =  1 ", &[("a", "1 ")]),
            ("a = = 1", &[("a", "= 1")]),
            ("a := 1", &[("a", "= 1")]),
            ("a  b=c", &[("a", "b=c")]),
            ("a", &[("a", "")]),
            ("a=", &[("a", "")]),
            ("=1", &[("", "1")]),
            ("a\\ b\\=c\\:d=1", &[("a b=c:d", "1")]),
            ("a=x\\ty\\nz\\rw\\fv", &[("a", "x\ty\nz\rw\x0cv")]),
            ("a=\\q\\\\", &[("a", "q\\")]),
            ("a=\\u0041\\u00e9\\uD83D\\uDE00", &[("a", "A\u{e9}\u{1f600}")]),
            ("a=\u{e9}", &[("a", "\u{e9}")]),
            ("a=1\\\n   2\\\n\t3", &[("a", "123")]),
            ("a=1\\\r\n  2", &[("a", "12")]),
            ("a=1\\\\\nb=2", &[("a", "1\\"), ("b", "2")]),
            ("a=1\\\n\nb=2", &[("a", "1"), ("b", "2")]),
            ("a=1\\\n#2", &[("a", "1#2")]),
            ("# c\\\na=1", &[("a", "1")]),
            ("a=1\\", &[("a", "1")]),
            ("a=1\rb=2", &[("a", "1"), ("b", "2")]),
            ("a=1 # no comment", &[("a", "1 # no comment")]),
            ("a=1\na=2", &[("a", "1"), ("a", "2")]),
        ];
        for (text, wanted) in table {
            let wanted: Vec<_> =
                wanted.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
            assert_eq!(read(text), wanted, "{text:?}");
        }
    }

    #[test]
    fn entries_know_their_line() {
        let entries = parse(b"# head\n\na=1\\\n 2\nb=3\r\nc=4").expect("well formed");
        let lines: Vec<_> = entries.iter().map(|e| (e.key.as_str(), e.line)).collect();
        assert_eq!(lines, [("a", 3), ("b", 5), ("c", 6)]);
    }

    #[test]
    fn a_unicode_escape_needs_four_digits() {
        for text in ["a=\\u12", "b\\u00g0=1", "a=\\u"] {
            let bytes = format!("x=1\n{text}\n");
            assert_eq!(parse(bytes.as_bytes()), Err(MalformedEscape { line: 2 }), "{text}");
        }
    }

    #[test]
    fn trim_takes_control_characters_but_no_wide_space() {
        assert_eq!(trim("\t\u{1} a b \r\n"), "a b");
        assert_eq!(trim("\u{a0}a"), "\u{a0}a");
    }
}
