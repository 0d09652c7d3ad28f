//! Text from outside as it may stand in a line that people and programs read: paths, ids, names.
//!
//! Whoever chooses the text cannot begin a line of his own with it, move a terminal's cursor, or
//! turn the direction of what follows; and he does not decide how long the line is.

use std::fmt;

/// A text as it is shown: signs that do not print are escaped as `\u001b`, and what is longer than
/// `bytes_max` is cut, with its length said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown<'a> {
    text: &'a str,
    bytes_max: usize,
}

impl<'a> Shown<'a> {
    /// At most `bytes_max` bytes of the text.
    pub(crate) fn cut(text: &'a str, bytes_max: usize) -> Self {
        Self { text, bytes_max }
    }

    /// The whole text.
    pub(crate) fn whole(text: &'a str) -> Self {
        Self::cut(text, usize::MAX)
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = &self.text[..self.text.floor_char_boundary(self.bytes_max)];
        let mut plain = 0;
        for (at, sign) in kept.char_indices().filter(|(_, sign)| !is_plain(*sign)) {
            f.write_str(&kept[plain..at])?;
            write!(f, "\\u{:04x}", u32::from(sign))?;
            plain = at + sign.len_utf8();
        }
        f.write_str(&kept[plain..])?;
        if kept.len() < self.text.len() {
            write!(f, "... ({} bytes)", self.text.len())?;
        }
        Ok(())
    }
}

/// Whether a sign shows as itself, where it stands.
fn is_plain(sign: char) -> bool {
    let turns_or_breaks = matches!(sign,
        '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    !sign.is_control() && !turns_or_breaks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_print_is_escaped() {
        for (text, wanted) in [
            ("/a b", "/a b"),
            ("/ä€", "/ä€"),
            ("/a\n0x1", "/a\\u000a0x1"),
            ("\u{1b}[2J\r\t\0", "\\u001b[2J\\u000d\\u0009\\u0000"),
            ("\u{85}\u{9b}m", "\\u0085\\u009bm"),
            ("\u{202e}txt.\u{2028}", "\\u202etxt.\\u2028"),
            ("", ""),
        ] {
            assert_eq!(Shown::whole(text).to_string(), wanted);
        }
    }

    #[test]
    fn what_is_long_is_cut_between_two_signs() {
        assert_eq!(Shown::cut("abc", 3).to_string(), "abc");
        assert_eq!(Shown::cut("abcd", 3).to_string(), "abc... (4 bytes)");
        assert_eq!(Shown::cut("ab€", 3).to_string(), "ab... (5 bytes)");
    }
}
