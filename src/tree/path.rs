//! The rules for paths (`PathUtils.validatePath`).

/// Whether a node may be made at `path`: it starts with '/', has no empty, "." or ".." component,
/// no control character and none of the characters that Apache refuses. The view is UTF-16: what
/// needs surrogates there is refused.
pub fn validate_path(path: &str) -> bool {
    is_plain(path) || is_valid(path)
}

/// Whether one look at the bytes is enough to allow a path: they are printable ASCII, none after a
/// '/' is '/' or '.', and the last is not '/'. Nearly all paths are so.
fn is_plain(path: &str) -> bool {
    let bytes = path.as_bytes();
    let [b'/', .., last] = bytes else { return false };
    // Without a branch in the loops, so that they take many bytes at a time.
    let printable = bytes.iter().fold(true, |all, byte| all & matches!(byte, 0x20..=0x7e));
    let pairs = bytes.iter().zip(&bytes[1..]);
    let odd = pairs.fold(false, |any, (a, b)| any | ((*a == b'/') & ((*b == b'/') | (*b == b'.'))));
    printable && !odd && *last != b'/'
}

fn is_valid(path: &str) -> bool {
    if path == "/" {
        return true;
    }
    let Some(components) = path.strip_prefix('/') else { return false };
    components
        .split('/')
        .all(|name| !matches!(name, "" | "." | "..") && name.chars().all(is_allowed))
}

/// The size of a path in `approximate_data_size`: its UTF-16 units, as in Apache.
pub(super) fn counted_len(path: &str) -> usize {
    if path.is_ascii() { path.len() } else { path.encode_utf16().count() }
}

/// The parent's path ("" for the root) and the name, if `path` has the form of a node's path.
pub(super) fn split(path: &str) -> Option<(&str, &str)> {
    let (parent, name) = path.rsplit_once('/')?;
    let is_path = parent.is_empty() || (parent.starts_with('/') && !parent.ends_with('/'));
    (is_path && !name.is_empty()).then_some((parent, name))
}

fn is_allowed(c: char) -> bool {
    let c = u32::from(c);
    !matches!(c, 0..=0x1f | 0x7f..=0x9f | 0xd800..=0xf8ff | 0xfff0..)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn plain_paths_are_valid(path in "/?[a/.~\u{7f} \u{1f}\u{e9}]{0,9}", tail in "[/.a]{0,3}") {
            let path = path + &tail;
            prop_assert!(!is_plain(&path) || is_valid(&path), "{path:?}");
            let is_printable = path.chars().all(|c| matches!(c, ' '..='~'));
            if is_printable && path != "/" && !path.contains("/.") {
                prop_assert_eq!(is_plain(&path), is_valid(&path), "{:?}", path);
            }
        }
    }

    #[test]
    fn paths() {
        for good in [
            "/",
            "/a",
            "/a/b",
            "/...",
            "/.a",
            "/a.",
            "/..a",
            "/a..",
            "/ ",
            "/\u{a0}",
            "/\u{d7ff}",
            "/\u{f900}",
        ] {
            assert!(validate_path(good), "{good:?}");
        }
        assert!(validate_path("/\u{feff}\u{ffef}"));
        let bad = ["", "a", "a/b", "//", "/a/", "/a//b", "/.", "/..", "/a/./b", "/a/../b", "/a/."];
        let characters = [
            "/\0",
            "/\u{1}",
            "/\n",
            "/\u{7f}",
            "/\u{9f}",
            "/\u{e000}",
            "/\u{fff0}",
            "/\u{fffd}",
            "/\u{10000}",
        ];
        for bad in bad.iter().chain(&characters) {
            assert!(!validate_path(bad), "{bad:?}");
        }
    }

    #[test]
    fn counted_lengths() {
        for (path, len) in [("/a", 2), ("/é/日本", 5), ("/\u{10000}", 3)] {
            assert_eq!(counted_len(path), len, "{path:?}");
        }
    }

    #[test]
    fn splits() {
        assert_eq!(split("/a"), Some(("", "a")));
        assert_eq!(split("/a/b"), Some(("/a", "b")));
        for bad in ["", "/", "a", "a/b", "/a/", "//a", "/a//b"] {
            assert_eq!(split(bad), None, "{bad:?}");
        }
    }
}
