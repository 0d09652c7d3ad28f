//! Which lines are written: a level for everything, and others for single modules, which can be
//! changed while the server runs.
//!
//! Every `debug!` asks, on every thread. So the table is one of atomics with a fixed number of
//! rows: asking takes no lock and allocates nothing. Where no module wants the level, the macro does
//! not even ask.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use log::LevelFilter;

/// The table. The first row is that of everything.
#[derive(Debug)]
pub(crate) struct Levels {
    rows: [Row; MODULES_MAX],
    /// Rows in use; they are never given up.
    used: AtomicUsize,
    /// Whoever changes the table has it.
    changing: Mutex<()>,
}

#[derive(Debug, Default)]
struct Row {
    module: OnceLock<String>,
    level: AtomicUsize,
}

/// The reason why a level is not set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LevelError {
    /// No level has this name.
    Unknown(String),
    /// There are [`MODULES_MAX`] modules with levels of their own.
    TooMany,
}

impl std::fmt::Display for LevelError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown(word) => {
                let word = crate::shown::Shown::cut(word, 80);
                write!(f, "{word} is no level: write off, error, warn, info, debug or trace")
            }
            Self::TooMany => write!(f, "at most {MODULES_MAX} modules have levels of their own"),
        }
    }
}

impl Default for Levels {
    fn default() -> Self {
        let rows = [(); MODULES_MAX].map(|()| Row::default());
        let levels = Self { rows, used: AtomicUsize::new(0), changing: Mutex::default() };
        // The table is empty, so there is room.
        let _ = levels.set("", LevelFilter::Info);
        levels
    }
}

impl Levels {
    /// Sets the level of a module and of those below it, as `frontend` or `runtime::shard`; of
    /// everything that has no level of its own, if it is empty.
    pub(crate) fn set(&self, module: &str, level: LevelFilter) -> Result<(), LevelError> {
        let module = short(module);
        let changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let used = self.used.load(Ordering::Relaxed);
        let named = |row: &&Row| row.module.get().is_some_and(|name| name == module);
        match self.rows[..used].iter().find(named) {
            Some(row) => row.level.store(level as usize, Ordering::Relaxed),
            None => {
                let row = self.rows.get(used).ok_or(LevelError::TooMany)?;
                row.level.store(level as usize, Ordering::Relaxed);
                // Nobody else changes the table, so the row is free.
                let _ = row.module.set(module.to_owned());
                self.used.store(used + 1, Ordering::Release);
            }
        }
        drop(changing);
        Ok(())
    }

    /// The rows, for people: the empty module is that of everything.
    pub(crate) fn list(&self) -> Vec<(String, LevelFilter)> {
        self.in_use().map(|(module, level)| (module.to_owned(), level)).collect()
    }

    /// The level of a module: that of its own row, or the nearest above it.
    pub(crate) fn of(&self, module: &str) -> LevelFilter {
        let module = short(module);
        let covers = |row: &str| {
            let below = module.strip_prefix(row);
            row.is_empty() || below.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        let covering = self.in_use().filter(|(row, _)| covers(row));
        covering.max_by_key(|(row, _)| row.len()).map_or(LevelFilter::Off, |(_, level)| level)
    }

    /// The highest level that any module wants.
    pub(crate) fn max(&self) -> LevelFilter {
        self.in_use().map(|(_, level)| level).max().unwrap_or(LevelFilter::Off)
    }

    fn in_use(&self) -> impl Iterator<Item = (&str, LevelFilter)> {
        let used = self.used.load(Ordering::Acquire);
        self.rows[..used].iter().map(|row| {
            let level = ALL.get(row.level.load(Ordering::Relaxed)).copied();
            (row.module.get().map_or("", String::as_str), level.unwrap_or(LevelFilter::Off))
        })
    }
}

/// What `RUST_LOG` or `ringkeeper.log.level` asks for, as modules with their levels: `debug`, or
/// `info,frontend=debug,runtime::shard=trace`. A word that is no level is a module, of which
/// everything is wanted.
pub(super) fn asked_for(words: &str) -> Vec<Result<(&str, LevelFilter), LevelError>> {
    let parts = || words.split(',').map(str::trim).filter(|part| !part.is_empty());
    let read = |part| match str::split_once(part, '=') {
        Some((module, word)) => match level_of(word) {
            Some(level) => Ok((module.trim(), level)),
            None => Err(LevelError::Unknown(word.to_owned())),
        },
        None => Ok(level_of(part).map_or((part, LevelFilter::Trace), |level| ("", level))),
    };
    // It warns where it does without registered buffers: locked memory is short, no more.
    let quiet = (!parts().any(|part| level_of(part).is_some()))
        .then_some(Ok(("glommio_ng", LevelFilter::Error)));
    quiet.into_iter().chain(parts().map(read)).collect()
}

/// A module's name as lines show it: the server's own without the crate's.
pub(super) fn short(module: &str) -> &str {
    match module.strip_prefix("ringkeeper") {
        Some("") => "",
        Some(rest) => rest.strip_prefix("::").unwrap_or(module),
        None => module,
    }
}

/// The level that a word names, in any case.
pub(crate) fn level_of(word: &str) -> Option<LevelFilter> {
    word.trim().parse().ok()
}

/// Each level at its number.
const ALL: [LevelFilter; 6] = [
    LevelFilter::Off,
    LevelFilter::Error,
    LevelFilter::Warn,
    LevelFilter::Info,
    LevelFilter::Debug,
    LevelFilter::Trace,
];

/// Modules with a level of their own, with the row of everything.
pub(crate) const MODULES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_found_at_its_number() {
        assert!(ALL.iter().enumerate().all(|(number, level)| *level as usize == number));
    }

    fn levels(words: &str) -> Levels {
        let levels = Levels::default();
        for (module, level) in asked_for(words).into_iter().flatten() {
            levels.set(module, level).expect("there is room");
        }
        levels
    }

    #[test]
    fn the_nearest_module_above_decides() {
        let levels = levels("warn,runtime=debug,ringkeeper::runtime::ring=trace,zab=off");
        for (module, wanted) in [
            ("ringkeeper::server::start", LevelFilter::Warn),
            ("ringkeeper::runtime", LevelFilter::Debug),
            ("ringkeeper::runtime::shard", LevelFilter::Debug),
            ("ringkeeper::runtime::ring::send", LevelFilter::Trace),
            ("ringkeeper::runtimes", LevelFilter::Warn),
            ("ringkeeper::zab::leading", LevelFilter::Off),
            ("glommio_ng::executor", LevelFilter::Warn),
        ] {
            assert_eq!(levels.of(module), wanted, "{module}");
        }
        assert_eq!(levels.max(), LevelFilter::Trace);
    }

    #[test]
    fn what_is_not_said_stays_as_it_is() {
        let quiet = levels("");
        assert_eq!(quiet.of("ringkeeper::zab"), LevelFilter::Info);
        assert_eq!(quiet.of("glommio_ng::sys"), LevelFilter::Error);
        let one = levels("frontend");
        assert_eq!(one.of("ringkeeper::zab"), LevelFilter::Info);
        assert_eq!(one.of("ringkeeper::frontend::reads"), LevelFilter::Trace);
    }

    #[test]
    fn levels_change_while_others_ask() {
        let levels = Levels::default();
        levels.set("zab", LevelFilter::Debug).expect("there is room");
        assert_eq!(levels.of("ringkeeper::zab"), LevelFilter::Debug);
        levels.set("zab", LevelFilter::Error).expect("there is room");
        assert_eq!(
            (levels.of("ringkeeper::zab"), levels.max()),
            (LevelFilter::Error, LevelFilter::Info)
        );
        assert_eq!(levels.list().len(), 2);
    }

    #[test]
    fn the_table_is_bounded_and_words_are_checked() {
        let levels = Levels::default();
        let refused = asked_for("info,zab=loud").into_iter().filter_map(Result::err).next();
        assert_eq!(refused, Some(LevelError::Unknown("loud".into())));
        let set = |nth: usize| levels.set(&format!("m{nth}"), LevelFilter::Info);
        let refused = (0..MODULES_MAX).filter_map(|nth| set(nth).err()).next();
        assert_eq!(refused, Some(LevelError::TooMany));
    }
}
