//! What has happened in worlds of several servers: each kind of fault, and what crashes have
//! interrupted.

use std::collections::BTreeMap;

/// How often each thing has happened.
#[derive(Clone, Debug, Default)]
pub(super) struct Coverage(BTreeMap<String, u64>);

/// What should happen in many worlds together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// Every kind of fault, and what they must lead to.
    pub(super) faults: &'static [&'static str],
    /// Every step of the protocol, and all that a disk is asked for.
    pub(super) interrupted: &'static [&'static str],
}

impl Coverage {
    pub(super) fn note(&mut self, what: &str) {
        match self.0.get_mut(what) {
            Some(times) => *times += 1,
            None => drop(self.0.insert(what.to_owned(), 1)),
        }
    }

    /// Takes over another world's.
    pub(super) fn add(&mut self, other: &Self) {
        for (what, times) in &other.0 {
            *self.0.entry(what.clone()).or_default() += times;
        }
    }

    /// All that has happened.
    pub(super) fn lines(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(what, times)| (what.as_str(), *times))
    }

    /// What should have happened and has not.
    pub(super) fn missing(&self, wanted: Wanted) -> Vec<String> {
        let faults = wanted.faults.iter().map(|fault| (*fault).to_owned());
        let steps = wanted.interrupted.iter().map(|step| format!("{CRASH_IN}{step}"));
        faults.chain(steps).filter(|what| !self.0.contains_key(what)).collect()
    }

    /// A crash while the server was at `step`.
    pub(super) fn crash_in(&mut self, step: &str) {
        self.note(&format!("{CRASH_IN}{step}"));
    }
}

const CRASH_IN: &str = "crash in ";
