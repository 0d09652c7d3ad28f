//! Where settings come from and which one wins: `-D` properties first, zoo.cfg over them, as in a
//! JVM that parses zoo.cfg.
//!
//! A key that zoo.cfg's reader does not know itself becomes the system property `zookeeper.KEY`.
//! Sorting entries by that rule also finds the keys that do nothing where they stand; each gets a
//! notice here.

use std::collections::BTreeMap;

use super::keys::{self, Key, Shape, Source, Standing};
use super::notice::{Notice, Origin, nearest_key};
use super::properties::{Entry, trim};

/// A value and where it stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Given {
    /// The text; of zoo.cfg trimmed.
    pub value: String,
    /// The place where it stood.
    pub origin: Origin,
    /// The key as it was written, for messages.
    pub written: String,
}

/// A setting that was given where it works and does something, to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The key by its name in the table.
    pub key: String,
    /// The text; [`HIDDEN`] in place of a secret.
    pub value: String,
    /// The place where it stood.
    pub origin: Origin,
}

/// What is shown of a secret.
pub const HIDDEN: &str = "(hidden)";

/// All settings, sorted by where Apache would look for them.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// Keys that zoo.cfg's reader parses itself.
    file: BTreeMap<String, Given>,
    /// System properties by full name.
    system: BTreeMap<String, Given>,
}

impl Sources {
    /// Takes `-D` flags in order and then the entries of zoo.cfg; later ones win.
    pub(crate) fn new(flags: &[Flag], entries: &[Entry], notices: &mut Vec<Notice>) -> Self {
        let mut sources = Self::default();
        for flag in flags {
            sources.take_flag(flag, notices);
        }
        let mut lines: BTreeMap<String, u32> = BTreeMap::new();
        for entry in entries {
            let key = trim(&entry.key);
            if let Some(line) = lines.insert(key.to_owned(), entry.line) {
                let text = format!("given twice; this one counts, not the one on line {line}");
                notices.push(Notice::warn(Origin::File(entry.line), key, text));
            }
            sources.take_entry(key, trim(&entry.value), entry.line);
        }
        sources.note_file_keys(&lines, notices);
        sources.follow_aliases(notices);
        sources
    }

    /// The value of `name`, from wherever its row in the key table says it is read.
    pub(crate) fn given(&self, name: &str) -> Option<&Given> {
        match keys::find(name)?.source {
            Source::File => self.file.get(name),
            Source::Property | Source::Own => self.system.get(&format!("zookeeper.{name}")),
            Source::Jvm => self.system.get(name),
        }
    }

    /// The value of the system property with exactly this name.
    pub(crate) fn system_property(&self, property: &str) -> Option<&Given> {
        self.system.get(property)
    }

    /// Every directly parsed key that was given, with its row.
    pub(crate) fn file_keys(&self) -> impl Iterator<Item = (&str, &Given, &'static Key)> {
        self.file.iter().filter_map(|(name, given)| Some((name.as_str(), given, keys::find(name)?)))
    }

    /// Every known property that was given where it works, by its name without `zookeeper.`, with
    /// its row.
    pub(crate) fn property_keys(&self) -> impl Iterator<Item = (&str, &Given, &'static Key)> {
        self.system.iter().filter_map(|(property, given)| {
            let name = property.strip_prefix("zookeeper.").unwrap_or(property);
            let key = keys::find(name)?;
            let works = match key.source {
                Source::Property | Source::Own => property.len() != name.len(),
                Source::Jvm => property.len() == name.len(),
                Source::File => false,
            };
            works.then_some((name, given, key))
        })
    }

    /// What was given where it works and does something.
    pub(crate) fn settings(&self) -> Vec<Setting> {
        let given = self.file_keys().chain(self.property_keys());
        let in_force =
            given.filter(|(_, _, key)| matches!(key.standing, Standing::Used | Standing::Ensemble));
        let shown = in_force.map(|(name, given, key)| {
            let hidden = key.shape == Shape::Secret;
            let value = if hidden { HIDDEN.to_owned() } else { given.value.clone() };
            Setting { key: name.to_owned(), value, origin: given.origin }
        });
        shown.collect()
    }

    fn take_flag(&mut self, flag: &Flag, notices: &mut Vec<Notice>) {
        if let Some(text) = flag_trouble(flag) {
            notices.push(text);
        }
        let own = flag.property.starts_with("ringkeeper.");
        let property =
            if own { format!("zookeeper.{}", flag.property) } else { flag.property.clone() };
        let written = format!("-D{}", flag.property);
        self.system
            .insert(property, Given { value: flag.value.clone(), origin: flag.origin, written });
    }

    fn take_entry(&mut self, key: &str, value: &str, line: u32) {
        let given =
            Given { value: value.to_owned(), origin: Origin::File(line), written: key.to_owned() };
        let direct = keys::find(key).is_some_and(|row| row.source == Source::File);
        if direct {
            self.file.insert(key.to_owned(), given);
        } else {
            self.system.insert(format!("zookeeper.{key}"), given);
        }
    }

    fn note_file_keys(&self, lines: &BTreeMap<String, u32>, notices: &mut Vec<Notice>) {
        for (key, line) in lines {
            if let Some(text) = entry_trouble(key) {
                notices.push(Notice::warn(Origin::File(*line), key, text));
            }
        }
    }

    /// Copies each documented-but-unread name to the key it means, unless that one is given as
    /// well.
    fn follow_aliases(&mut self, notices: &mut Vec<Notice>) {
        for key in keys::KEYS {
            let Standing::Alias(real) = key.standing else { continue };
            let Some(given) = self.system.get(&format!("zookeeper.{}", key.name)).cloned() else {
                continue;
            };
            let both = self.system.contains_key(&format!("zookeeper.{real}"));
            let text = if both {
                format!(
                    "Apache does not read this name, and {real} is given too, which counts; take \
                     this one out"
                )
            } else {
                format!("Apache does not read this name; it is taken as {real}, write that instead")
            };
            notices.push(Notice::warn(given.origin, &given.written, text));
            self.system.entry(format!("zookeeper.{real}")).or_insert(given);
        }
    }
}

/// One `-Dproperty=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// The property's full name.
    pub property: String,
    /// Its value; empty without `=`.
    pub value: String,
    /// Command line or environment.
    pub origin: Origin,
}

impl Flag {
    /// Reads what follows `-D`. Nothing before the `=` is no flag.
    pub fn parse(text: &str, origin: Origin) -> Option<Self> {
        let (property, value) = text.split_once('=').unwrap_or((text, ""));
        (!property.is_empty()).then(|| Self {
            property: property.to_owned(),
            value: value.to_owned(),
            origin,
        })
    }

    /// The `-D` flags of `SERVER_JVMFLAGS` or `JVMFLAGS`, which a shell splits at white space;
    /// other flags are a JVM's.
    pub fn parse_environment(variable: &str) -> Vec<Self> {
        let words = variable.split_whitespace().filter_map(|word| word.strip_prefix("-D"));
        words.filter_map(|text| Self::parse(text, Origin::Environment)).collect()
    }
}

fn flag_trouble(flag: &Flag) -> Option<Notice> {
    let property = flag.property.as_str();
    if keys::is_jvm_business(property) && keys::find(property).is_none() {
        return None;
    }
    let written = format!("-D{property}");
    let warn = |text: String| Some(Notice::warn(flag.origin, &written, text));
    let Some(name) = property.strip_prefix("zookeeper.") else {
        return match keys::find(property).map(|key| key.source) {
            Some(Source::Jvm | Source::Own) => None,
            Some(Source::Property) if property == FSYNC_WARNING => None,
            Some(Source::Property) => {
                warn(format!("does nothing without the prefix; write -Dzookeeper.{property}=..."))
            }
            Some(Source::File) => {
                warn(format!("read from the configuration file only; write {property}=... there"))
            }
            None => Some(Notice::info(
                flag.origin,
                &written,
                "no setting of the server; a JVM would pass over it as well",
            )),
        };
    };
    match keys::find(name).map(|key| key.source) {
        Some(Source::Property | Source::Own) => None,
        // Also the file's keys, as far as the file does not name them.
        Some(Source::File) if name.starts_with("multiAddress.") => None,
        Some(Source::Jvm) => warn(format!("does nothing with the prefix; write -D{name}=...")),
        Some(Source::File) => {
            warn(format!("read from the configuration file only; write {name}=... there"))
        }
        None => warn(unknown(name)),
    }
}

fn entry_trouble(key: &str) -> Option<String> {
    if let Some(name) = key.strip_prefix("zookeeper.") {
        return Some(match keys::find(name) {
            Some(_) => {
                format!("does nothing with the prefix zookeeper. in this file; write {name}=...")
            }
            None => unknown(name),
        });
    }
    match keys::find(key) {
        None => Some(unknown(key)),
        Some(row) if row.source == Source::Jvm && row.standing == Standing::Used => Some(format!(
            "does nothing in this file; write -D{key}=... on the command line or in SERVER_JVMFLAGS"
        )),
        Some(row) if row.source == Source::Jvm => {
            Some("does nothing in this file; take it out".to_owned())
        }
        Some(_) => None,
    }
}

fn unknown(name: &str) -> String {
    match nearest_key(name) {
        Some(near) => format!("no such key; did you mean {near}?"),
        None => "no such key; it does nothing".to_owned(),
    }
}

/// The one property that Apache reads with and without its prefix.
pub(crate) const FSYNC_WARNING: &str = "fsync.warningthresholdms";
