//! A value that must not reach a log, a four-letter word or an error message.
//!
//! It has neither `Debug` nor `Display` of what it holds; whoever compares or hashes it asks for it
//! by name.

use std::fmt;

/// A digest from the configuration. Empty values are kept as they are: Apache keeps
/// them too.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value as it stood in the configuration.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, for the one place that compares it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_does_not_show_the_value() {
        let secret = Secret::new("super:D/InIHSb7yEEbrWz8b9l71RjZJU=");
        assert_eq!(format!("{secret:?}"), "Secret(hidden)");
        assert_eq!(secret.expose(), "super:D/InIHSb7yEEbrWz8b9l71RjZJU=");
    }
}
