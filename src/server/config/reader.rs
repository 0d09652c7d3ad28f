//! Typed access to settings. A directly parsed key that does not parse refuses the start; a
//! property that does not parse falls back to its default, as Apache's do, but says so.

use std::fmt::Display;

use super::error::ConfigError;
use super::keys::{self, Shape, Source};
use super::notice::Notice;
use super::sources::{Given, Sources};
use super::values::{decode_long, parse_bool, parse_int, parse_long, strict_bool};

/// Reads from [`Sources`] and collects what there is to say.
pub(crate) struct Reader<'a> {
    sources: &'a Sources,
    notices: &'a mut Vec<Notice>,
}

impl<'a> Reader<'a> {
    /// Checks every directly parsed key that was given against its shape.
    pub(crate) fn new(
        sources: &'a Sources,
        notices: &'a mut Vec<Notice>,
    ) -> Result<Self, ConfigError> {
        for (name, given, key) in sources.file_keys() {
            check_shape(name, &given.value, key.shape)?;
        }
        Ok(Self { sources, notices })
    }

    /// The value as it stands.
    pub(crate) fn given(&self, name: &str) -> Option<&'a Given> {
        self.sources.given(name)
    }

    /// The value of a system property by its full name.
    pub(crate) fn system_property(&self, property: &str) -> Option<&'a Given> {
        self.sources.system_property(property)
    }

    /// The value as it stands, without where it stood.
    pub(crate) fn text(&self, name: &str) -> Option<&'a str> {
        self.given(name).map(|given| given.value.as_str())
    }

    /// Every property given whose name begins with `family`.
    pub(crate) fn names_in(&self, family: &str) -> Vec<String> {
        let given = self.sources.property_keys().map(|(name, ..)| name);
        given.filter(|name| name.starts_with(family)).map(str::to_owned).collect()
    }

    /// A 32-bit number; properties also as `0x10` or `010`, which Java decodes.
    pub(crate) fn int(&mut self, name: &str, default: i32) -> i32 {
        let Some(given) = self.given(name) else { return default };
        let number = number(name, given).and_then(|n| i32::try_from(n).ok());
        number.unwrap_or_else(|| self.fall_back(given, "a whole number", default))
    }

    /// A 64-bit number, likewise.
    pub(crate) fn long(&mut self, name: &str, default: i64) -> i64 {
        let Some(given) = self.given(name) else { return default };
        number(name, given).unwrap_or_else(|| self.fall_back(given, "a whole number", default))
    }

    /// A count or a limit where nothing below 0 makes a difference to 0.
    pub(crate) fn count(&mut self, name: &str, default: u32) -> u32 {
        let number = self.int(name, i32::try_from(default).unwrap_or(i32::MAX));
        u32::try_from(number).unwrap_or(0)
    }

    /// A number that is off below 0.
    pub(crate) fn count_or_off(&mut self, name: &str) -> Option<u32> {
        u32::try_from(self.int(name, -1)).ok()
    }

    /// A number with a lower bound, which takes the place of anything smaller.
    pub(crate) fn at_least(&mut self, name: &str, default: u32, min: u32) -> u32 {
        let number = self.count(name, default);
        if number >= min {
            return number;
        }
        if let Some(given) = self.given(name) {
            self.warn(given, format!("must be {min} or more; {min} is used"));
        }
        min
    }

    /// A size in bytes, if one is given; a negative one is none.
    pub(crate) fn size(&mut self, name: &str) -> Option<u64> {
        u64::try_from(self.long(name, -1)).ok()
    }

    /// A size given in KiB, in bytes; `None` at 0 and below.
    pub(crate) fn kib(&mut self, name: &str, default_kib: i64) -> Option<u64> {
        let kib = u64::try_from(self.long(name, default_kib)).ok()?;
        (kib > 0).then(|| kib.saturating_mul(1024))
    }

    /// A truth value: `true` in any case is true, everything else false.
    pub(crate) fn bool(&mut self, name: &str, default: bool) -> bool {
        let Some(given) = self.given(name) else { return default };
        if strict_bool(&given.value).is_none() {
            self.warn(given, "must be true or false; anything but true counts as false");
        }
        parse_bool(&given.value)
    }

    /// A number with a fraction.
    pub(crate) fn double(&mut self, name: &str, default: f64) -> f64 {
        let Some(given) = self.given(name) else { return default };
        let number = given.value.parse().ok().filter(|number: &f64| number.is_finite());
        number.unwrap_or_else(|| self.fall_back(given, "a number", default))
    }

    /// A key that one exact word switches; anything else it may hold is named.
    pub(crate) fn word(&mut self, name: &str, word: &str, otherwise: &str) -> &'a str {
        let Some(given) = self.given(name) else { return "" };
        let usual = ["yes", "no", ""].contains(&given.value.as_str());
        if given.value != word && !usual {
            self.warn(given, otherwise);
        }
        &given.value
    }

    /// The notices so far.
    pub(crate) fn notices(&mut self) -> &mut Vec<Notice> {
        self.notices
    }

    /// Says something about a setting that was given.
    pub(crate) fn warn(&mut self, given: &Given, text: impl Into<String>) {
        self.notices.push(Notice::warn(given.origin, &given.written, text));
    }

    fn fall_back<T: Display>(&mut self, given: &Given, wanted: &str, default: T) -> T {
        self.warn(given, format!("is not {wanted}; the default {default} is used"));
        default
    }
}

/// zoo.cfg's reader takes decimals only, a property is decoded: `010` is ten in one and eight in
/// the other.
fn number(name: &str, given: &Given) -> Option<i64> {
    let direct = keys::find(name).is_some_and(|key| key.source == Source::File);
    if direct { parse_long(&given.value) } else { decode_long(&given.value) }
}

fn check_shape(name: &str, value: &str, shape: Shape) -> Result<(), ConfigError> {
    let (fits, boolean) = match shape {
        Shape::Int => (parse_int(value).is_some(), false),
        Shape::Long => (parse_long(value).is_some(), false),
        Shape::Bool => (strict_bool(value).is_some(), true),
        Shape::Text | Shape::Double | Shape::Secret => (true, false),
    };
    let (key, value) = (name.to_owned(), value.to_owned());
    match (fits, boolean) {
        (true, _) => Ok(()),
        (false, true) => Err(ConfigError::NotABoolean { key, value }),
        (false, false) => Err(ConfigError::NotANumber { key, value }),
    }
}
