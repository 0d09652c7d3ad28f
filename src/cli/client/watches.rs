//! The watches that a session has set: what it sets again after a reconnect, and what
//! `removewatches` takes away.

use std::collections::BTreeSet;

use crate::jute::Writer;

/// The kind of a watch, by its place in `SetWatches2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Exists,
    Children,
    Persistent,
    Recursive,
}

/// Paths with a watch, by kind.
#[derive(Debug, Default)]
pub(super) struct Watches([BTreeSet<String>; 5]);

impl Watches {
    /// A watch is set.
    pub(super) fn add(&mut self, kind: Kind, path: String) {
        self.0[kind as usize].insert(path);
    }

    /// An event of this number has come: the watches that it ends are gone.
    pub(super) fn spend(&mut self, event: i32, path: &str) {
        let ended: &[Kind] = match event {
            1 | 3 => &[Kind::Data, Kind::Exists],
            2 => &[Kind::Data, Kind::Exists, Kind::Children],
            4 => &[Kind::Children],
            _ => &[],
        };
        for kind in ended {
            self.0[*kind as usize].remove(path);
        }
    }

    /// Takes those of a `WatcherType` away. The names of the events that say so.
    pub(super) fn remove(&mut self, watcher_type: i32, path: &str) -> Vec<&'static str> {
        use Kind::{Children, Data, Exists, Persistent, Recursive};
        let groups: [(&[Kind], &str, bool); 3] = [
            (&[Children], "ChildWatchRemoved", matches!(watcher_type, 1 | 3)),
            (&[Data, Exists], "DataWatchRemoved", matches!(watcher_type, 2 | 3)),
            (&[Persistent, Recursive], "PersistentWatchRemoved", matches!(watcher_type, 3..=5)),
        ];
        let mut events = Vec::new();
        for (kinds, event, wanted) in groups {
            let mut any = false;
            for kind in kinds.iter().filter(|kind| match watcher_type {
                4 => **kind == Persistent,
                5 => **kind == Recursive,
                _ => wanted,
            }) {
                any |= self.0[*kind as usize].remove(path);
            }
            if any {
                events.push(event);
            }
        }
        events
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(BTreeSet::is_empty)
    }

    /// Writes the lists of a `SetWatches2`; `outside` makes the server's path of one's own.
    pub(super) fn write(&self, writer: &mut Writer<'_>, outside: impl Fn(&str) -> String) {
        for paths in &self.0 {
            writer.len(paths.len());
            for path in paths {
                writer.string(&outside(path));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_ends_the_watches_of_its_kind_but_none_that_persist() {
        let mut watches = Watches::default();
        for kind in [Kind::Data, Kind::Exists, Kind::Children, Kind::Persistent] {
            watches.add(kind, "/a".into());
        }
        watches.spend(3, "/a");
        assert_eq!(watches.remove(2, "/a"), [""; 0]);
        assert_eq!(watches.remove(5, "/a"), [""; 0]);
        assert_eq!(watches.remove(3, "/a"), ["ChildWatchRemoved", "PersistentWatchRemoved"]);
        assert!(watches.is_empty());
    }
}
