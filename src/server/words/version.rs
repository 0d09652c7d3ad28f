//! The version that is told to clients and exporters: the ZooKeeper version Ringkeeper is
//! compatible with, then its own.
//!
//! The form is `X.Y.Z-<revision>, built on MM/dd/yyyy HH:mm UTC`, as ZooKeeper printed it up to
//! 3.8. Parsers want the revision to be letters, digits, dots and dashes, and several cannot read
//! the ISO date of 3.9.

/// The ZooKeeper version whose protocol and formats this server keeps to.
pub const COMPATIBLE_WITH: &str = "3.9.5";

/// Ringkeeper's own version.
pub const OWN: &str = env!("CARGO_PKG_VERSION");

/// The time when this program was built, `MM/dd/yyyy HH:mm UTC`.
pub const BUILT_ON: &str = env!("RINGKEEPER_BUILT_ON");

/// The whole of it: `3.9.5-ringkeeper-0.1.0, built on 11/22/2026 13:30 UTC`.
pub fn full() -> String {
    format!("{COMPATIBLE_WITH}-ringkeeper-{OWN}, built on {BUILT_ON}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The form that go-zookeeper's and Telegraf's expressions take: no other characters before the
    /// comma, a US date after it.
    #[test]
    fn the_form_is_what_exporters_parse() {
        let full = full();
        let (version, date) = full.split_once(", built on ").expect("two parts");
        assert!(version.starts_with("3.9.5-"));
        assert!(
            version.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-')),
            "{version}"
        );
        let shape: String =
            date.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(shape, "00/00/0000 00:00 UTC");
    }
}
