//! Paths of znodes: which are well formed, in the words of Apache's client, and how they look from
//! inside a chroot.

/// Whether a client may send `path`.
///
/// Errors: the reason, in the words of Apache's client. Positions count UTF-16 units, as Java does.
pub(super) fn validate(path: &str) -> Result<(), String> {
    if path.is_empty() {
        return Err("Path length must be > 0".into());
    }
    if !path.starts_with('/') {
        return Err("Path must start with / character".into());
    }
    if path == "/" {
        return Ok(());
    }
    if path.ends_with('/') {
        return Err("Path must not end with / character".into());
    }
    let units: Vec<u16> = path.encode_utf16().collect();
    let slash = |at: usize| units.get(at).is_none_or(|unit| *unit == u16::from(b'/'));
    for (at, &unit) in units.iter().enumerate().skip(1) {
        let dot = |at: usize| units[at] == u16::from(b'.');
        let reason = if unit == 0 {
            "null character not allowed"
        } else if slash(at) && slash(at - 1) {
            "empty node name specified"
        } else if dot(at)
            && slash(at + 1)
            && (slash(at - 1) || (dot(at - 1) && at > 1 && slash(at - 2)))
        {
            "relative paths not allowed"
        } else if matches!(unit, 0x1..=0x1f | 0x7f..=0x9f | 0xd800..=0xf8ff | 0xfff0..=0xffff) {
            "invalid character"
        } else {
            continue;
        };
        return Err(format!("Invalid path string \"{path}\" caused by {reason} @{at}"));
    }
    Ok(())
}

/// The path of a child.
pub(super) fn child(parent: &str, name: &str) -> String {
    if parent == "/" { format!("/{name}") } else { format!("{parent}/{name}") }
}

/// The parent's path and the node's own name; of the root, itself and nothing.
pub(super) fn split(path: &str) -> (&str, &str) {
    match path.rsplit_once('/') {
        Some(("", name)) => ("/", name),
        Some(parts) => parts,
        None => ("/", path),
    }
}

/// The root that a connect string ends in (`host:2181/app`), or nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Chroot(pub String);

impl Chroot {
    /// The path as the server has it.
    pub(super) fn outside(&self, path: &str) -> String {
        if path == "/" && !self.0.is_empty() {
            return self.0.clone();
        }
        format!("{}{path}", self.0)
    }

    /// The path as the user sees it. A path from elsewhere comes back as it is.
    pub(super) fn inside(&self, path: &str) -> String {
        match path.strip_prefix(&self.0) {
            Some("") => "/".into(),
            Some(rest) if rest.starts_with('/') => rest.into(),
            _ => path.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_paths_are_named_as_apache_names_them() {
        for (path, reason) in [
            ("/a//b", Some("empty node name specified @3")),
            ("/a/../b", Some("relative paths not allowed @4")),
            ("/./a", Some("relative paths not allowed @1")),
            ("/a/..", Some("relative paths not allowed @4")),
            ("/a\u{1}", Some("invalid character @2")),
            ("/a\0", Some("null character not allowed @2")),
            ("/\u{1f600}", Some("invalid character @1")),
            ("/a.b/..c/d..", None),
            ("/é", None),
            ("/", None),
        ] {
            let wanted =
                reason.map(|reason| format!("Invalid path string \"{path}\" caused by {reason}"));
            assert_eq!(validate(path).err(), wanted);
        }
        assert_eq!(validate("").unwrap_err(), "Path length must be > 0");
        assert_eq!(validate("a").unwrap_err(), "Path must start with / character");
        assert_eq!(validate("/a/").unwrap_err(), "Path must not end with / character");
    }

    #[test]
    fn a_chroot_comes_before_and_off_again() {
        let chroot = Chroot("/app".into());
        for (inside, outside) in [("/", "/app"), ("/a", "/app/a")] {
            assert_eq!(chroot.outside(inside), outside);
            assert_eq!(chroot.inside(outside), inside);
        }
        assert_eq!(chroot.inside("/apple"), "/apple");
        assert_eq!(Chroot::default().inside("/a"), "/a");
        assert_eq!(Chroot::default().outside("/"), "/");
    }
}
