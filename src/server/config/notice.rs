//! The notices of a start about the configuration: every key that does not do what it seems to, by
//! name, and what to write in its place. Values are never shown, since a misplaced key may hold a
//! password.

use std::fmt;

use super::keys::KEYS;

/// The place where a setting stood. In the order in which notices are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// `-D` in the environment's `SERVER_JVMFLAGS` or `JVMFLAGS`.
    Environment,
    /// `-D` on the command line.
    CommandLine,
    /// zoo.cfg, on this line.
    File(u32),
    /// A file in the directory of zoo.cfg.
    Beside,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(line) => write!(f, "configuration line {line}"),
            Self::CommandLine => f.write_str("command line"),
            Self::Environment => f.write_str("environment"),
            Self::Beside => f.write_str("beside the configuration file"),
        }
    }
}

/// The weight of a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing is lost; worth a line for whoever looks.
    Info,
    /// Something that was asked for does not happen, or happens otherwise.
    Warn,
}

/// One thing to say at start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Its weight.
    pub level: Level,
    /// The place where the key stood.
    pub origin: Origin,
    /// The key as it was written.
    pub key: String,
    /// The fault, and the text to write in its place.
    pub text: String,
}

impl Notice {
    /// Something asked for that does not happen.
    pub fn warn(origin: Origin, key: &str, text: impl Into<String>) -> Self {
        Self { level: Level::Warn, origin, key: key.to_owned(), text: text.into() }
    }

    /// Something that makes no difference here.
    pub fn info(origin: Origin, key: &str, text: impl Into<String>) -> Self {
        Self { level: Level::Info, origin, key: key.to_owned(), text: text.into() }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.origin, self.key, self.text)
    }
}

/// The known key that `name` is most likely meant to be, if any is near: case, dots, dashes and
/// underscores count for nothing, and up to one letter in four may be wrong, missing or swapped.
pub(crate) fn nearest_key(name: &str) -> Option<&'static str> {
    let wanted = letters(name);
    let allowed = (wanted.len() / 4).clamp(1, 3);
    let candidates = KEYS.iter().filter(|key| !key.is_family());
    let measured = candidates.map(|key| (distance(&wanted, &letters(key.name)), key.name));
    measured
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

fn letters(name: &str) -> Vec<char> {
    let spelt = name.chars().filter(|c| !matches!(c, '.' | '_' | '-' | ' '));
    spelt.map(|c| c.to_ascii_lowercase()).take(NAME_LETTERS_MAX).collect()
}

/// Optimal string alignment: insertions, deletions, substitutions and swaps of neighbours.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before = vec![0; b.len() + 1];
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1; b.len() + 1];
        for (j, y) in b.iter().enumerate() {
            let substituted = above[j] + usize::from(x != y);
            row[j + 1] = substituted.min(above[j + 1] + 1).min(row[j] + 1);
            let swapped = i > 0 && j > 0 && *x == b[j - 1] && *y == a[i - 1];
            if swapped {
                row[j + 1] = row[j + 1].min(before[j - 1] + 1);
            }
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

/// Longer names are compared by their beginning: no known key is nearly as long.
const NAME_LETTERS_MAX: usize = 96;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_misses_are_recognised() {
        for (written, meant) in [
            ("ticktime", "tickTime"),
            ("tikcTime", "tickTime"),
            ("clientport", "clientPort"),
            ("data_dir", "dataDir"),
            ("snapCuont", "snapCount"),
            ("snap.count", "snapCount"),
            ("maxClientCnxn", "maxClientCnxns"),
            ("autopurge.snapRetainCout", "autopurge.snapRetainCount"),
            ("4lw.command.whitelist", "4lw.commands.whitelist"),
            ("ringkeeper.shard", "ringkeeper.shards"),
        ] {
            assert_eq!(nearest_key(written), Some(meant), "{written}");
        }
        assert_eq!(nearest_key("quux"), None);
        assert_eq!(nearest_key("maxClientConnections"), None, "too far to guess");
        assert_eq!(nearest_key(""), None);
    }

    #[test]
    fn a_notice_says_where_what_and_why() {
        let notice = Notice::warn(Origin::File(7), "ticktime", "not a key; did you mean tickTime?");
        assert_eq!(
            notice.to_string(),
            "configuration line 7: ticktime: not a key; did you mean tickTime?"
        );
    }
}
