//! The watch table against a naive model, and the bounds on its memory.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn fired(table: &mut WatchTable, kind: EventType, path: &str) -> Vec<u32> {
    let (told, unsettled) = fired_unsettled(table, kind, path);
    if let Some(path) = unsettled {
        told.iter().for_each(|connection| table.settle(*connection, path));
    }
    told
}

fn fired_unsettled(table: &mut WatchTable, kind: EventType, path: &str) -> (Vec<u32>, Option<u32>) {
    let mut told = Vec::new();
    let unsettled = table.trigger(kind, path, |connection| told.push(connection));
    told.sort_unstable();
    (told, unsettled)
}

#[test]
fn one_shot_watches_are_spent_and_persistent_ones_stay() {
    let mut table = WatchTable::new();
    table.add("/a", 1, Modes::DATA);
    table.add("/a", 2, Modes::PERSISTENT);
    table.add("/a", 2, Modes::DATA);
    assert_eq!(fired(&mut table, EventType::NodeDataChanged, "/a"), [1, 2]);
    assert_eq!(fired(&mut table, EventType::NodeDataChanged, "/a"), [2]);
    assert_eq!(fired(&mut table, EventType::NodeChildrenChanged, "/a"), [2]);
    assert_eq!(fired(&mut table, EventType::NodeDeleted, "/a"), [2]);
    assert_eq!(fired(&mut table, EventType::NodeCreated, "/a"), [2]);
    assert_eq!(table.counts(), Counts { data: 1, child: 1, recursive: 0 });
}

#[test]
fn a_child_watch_hears_of_children_and_of_the_end() {
    let mut table = WatchTable::new();
    table.add("/a", 1, Modes::CHILD);
    assert!(fired(&mut table, EventType::NodeDataChanged, "/a").is_empty());
    assert_eq!(fired(&mut table, EventType::NodeChildrenChanged, "/a"), [1]);
    assert!(fired(&mut table, EventType::NodeChildrenChanged, "/a").is_empty());
    table.add("/a", 1, Modes::CHILD);
    table.add("/a", 1, Modes::DATA);
    assert_eq!(fired(&mut table, EventType::NodeDeleted, "/a"), [1]);
    assert_eq!(table.counts(), Counts::default());
}

#[test]
fn a_recursive_watch_hears_of_its_subtree_once_and_never_of_children() {
    let mut table = WatchTable::new();
    table.add("/", 1, Modes::RECURSIVE);
    table.add("/a", 1, Modes::RECURSIVE);
    table.add("/a/b", 1, Modes::DATA);
    table.add("/a", 2, Modes::PERSISTENT);
    assert_eq!(fired(&mut table, EventType::NodeCreated, "/a/b"), [1]);
    assert_eq!(fired(&mut table, EventType::NodeChildrenChanged, "/a"), [2]);
    assert_eq!(fired(&mut table, EventType::NodeDeleted, "/a"), [1, 2]);
    assert_eq!(fired(&mut table, EventType::NodeDataChanged, "/"), [1]);
    assert!(table.remove("/", 1, Modes::ANY));
    assert!(fired(&mut table, EventType::NodeDataChanged, "/b").is_empty());
    assert_eq!(fired(&mut table, EventType::NodeDataChanged, "/a/b/c"), [1]);
}

#[test]
fn watcher_types_take_what_they_name() {
    // Rows and columns of the observed table: what is set, then whether types 1 to 5 find it.
    let rows = [
        (Modes::DATA, [false, true, true, false, false]),
        (Modes::CHILD, [true, false, true, false, false]),
        (Modes::PERSISTENT, [false, false, true, true, false]),
        (Modes::RECURSIVE, [false, false, true, false, true]),
    ];
    for (set, found) in rows {
        for (kind, found) in (1..).zip(found) {
            let modes = Modes::of_watcher_type(kind).unwrap();
            let mut table = WatchTable::new();
            table.add("/a", 3, set);
            assert_eq!(table.contains("/a", 3, modes), found, "{set:?} {kind}");
            assert!(!table.contains("/a", 4, modes) && !table.contains("/b", 3, modes));
            assert_eq!(table.remove("/a", 3, modes), found);
            assert_eq!(table.counts() == Counts::default(), found);
        }
    }
    assert_eq!([0, 6, -1].map(Modes::of_watcher_type), [None; 3]);
    assert_eq!([-1, 2].map(Modes::of_add_watch), [None; 2]);
}

#[test]
fn the_data_table_is_listed_by_path() {
    let mut table = WatchTable::new();
    table.add("/b", 1, Modes::DATA);
    table.add("/a", 2, Modes::PERSISTENT);
    table.add("/a", 1, Modes::RECURSIVE);
    table.add("/c", 3, Modes::CHILD);
    assert_eq!(
        table.by_path(ListCursor::default(), 9).0,
        [("/a".into(), vec![1, 2]), ("/b".into(), vec![1])]
    );
    assert_eq!(table.watches_of(1), 2);
    table.remove_connection(1);
    assert_eq!(table.by_path(ListCursor::default(), 9).0, [("/a".into(), vec![2])]);
    assert_eq!(table.counts(), Counts { data: 1, child: 2, recursive: 0 });
}

#[test]
fn memory_per_watch_is_bounded_and_given_back() {
    let mut table = WatchTable::new();
    for i in 0..100_000u32 {
        table.add(&format!("/app/watched/n{i:07}"), i % 16, Modes::DATA);
    }
    let distinct = table.heap_bytes() / 100_000;
    assert!(distinct <= 100, "{distinct} bytes for a watch on a path of its own");
    for i in 0..100_000u32 {
        assert_eq!(
            fired(&mut table, EventType::NodeDeleted, &format!("/app/watched/n{i:07}")),
            [i % 16]
        );
    }
    assert!(table.heap_bytes() < 20_000, "{} bytes left behind", table.heap_bytes());
    let before = table.heap_bytes();
    for connection in 0..100_000 {
        table.add("/one", connection, Modes::DATA);
    }
    // Each connection has a table of its own here; that of its connection is counted apart.
    let heads = 100_000 * (size_of::<Watching>() + 4 + 16 + 16);
    let shared = (table.heap_bytes() - before).saturating_sub(heads) / 100_000;
    assert!(shared <= 32, "{shared} bytes for one more watch on a path");
    assert_eq!(fired(&mut table, EventType::NodeDeleted, "/one").len(), 100_000);
    assert_eq!(table.counts(), Counts::default());
}

/// The table as Apache words it: two maps from path and connection, modes as sets.
#[derive(Default)]
struct Model {
    watches: BTreeMap<(String, u32), u8>,
}

impl Model {
    fn fire(&mut self, kind: EventType, path: &str) -> Vec<u32> {
        let mut told = BTreeSet::new();
        for ((watched, connection), modes) in &mut self.watches {
            let below = path.strip_prefix(watched.as_str()).is_some_and(|rest| {
                watched == "/" || (!watched.is_empty() && rest.starts_with('/'))
            });
            let (wanted, spent) = match kind {
                EventType::NodeChildrenChanged => (2 | 4, 2),
                EventType::NodeDeleted => (15, 1 | 2),
                _ => (1 | 4 | 8, 1),
            };
            if watched == path && *modes & wanted != 0 {
                told.insert(*connection);
                *modes &= !spent;
            } else if watched != path
                && below
                && kind != EventType::NodeChildrenChanged
                && *modes & 8 != 0
            {
                told.insert(*connection);
            }
        }
        self.watches.retain(|_, modes| *modes != 0);
        told.into_iter().collect()
    }

    fn remove(&mut self, path: &str, connection: u32, modes: u8) -> bool {
        let Some(old) = self.watches.get_mut(&(path.to_owned(), connection)) else { return false };
        let found = *old & modes != 0;
        *old &= !modes;
        self.watches.retain(|_, modes| *modes != 0);
        found
    }
}

#[derive(Clone, Debug)]
enum Step {
    Add(&'static str, u32, u8),
    Remove(&'static str, u32, i32),
    Close(u32),
    Settle(u32),
    RemoveGone(usize),
    Fire(u8, &'static str),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let path = prop::sample::select(vec!["/", "/a", "/a/b", "/a/b/c", "/ab", "/b", "", "/a/b/d"]);
    let step = prop_oneof![
        6 => (path.clone(), 0..6u32, 0..4u8)
            .prop_map(|(path, connection, bit)| Step::Add(path, connection, 1 << bit)),
        2 => (path.clone(), 0..6u32, 1..6i32)
            .prop_map(|(path, connection, kind)| Step::Remove(path, connection, kind)),
        1 => (0..6u32).prop_map(Step::Close),
        2 => (0..6u32).prop_map(Step::Settle),
        1 => (1..4usize).prop_map(Step::RemoveGone),
        5 => (1..5u8, path).prop_map(|(kind, path)| Step::Fire(kind, path)),
    ];
    prop::collection::vec(step, 1..80)
}

proptest! {
    #[test]
    fn it_does_what_the_model_does(steps in steps()) {
        let mut table = WatchTable::new();
        let mut model = Model::default();
        // Who has still to settle, and with which paths.
        let mut unsettled: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        let settle = |table: &mut WatchTable, all: &mut BTreeMap<u32, Vec<u32>>, connection| {
            let paths = all.remove(&connection).into_iter().flatten();
            paths.for_each(|path| table.settle(connection, path));
        };
        for step in steps {
            match step {
                Step::Settle(connection) => settle(&mut table, &mut unsettled, connection),
                Step::RemoveGone(max) => prop_assert!(table.remove_gone(max) <= max),
                Step::Add(path, connection, modes) => {
                    settle(&mut table, &mut unsettled, connection);
                    table.add(path, connection, Modes(modes));
                    *model.watches.entry((path.to_owned(), connection)).or_default() |= modes;
                }
                Step::Remove(path, connection, kind) => {
                    settle(&mut table, &mut unsettled, connection);
                    let modes = Modes::of_watcher_type(kind).unwrap();
                    let expected = model.remove(path, connection, modes.0);
                    prop_assert_eq!(table.remove(path, connection, modes), expected);
                }
                Step::Close(connection) => {
                    unsettled.remove(&connection);
                    table.let_go(connection);
                    model.watches.retain(|(_, other), _| *other != connection);
                }
                Step::Fire(kind, path) => {
                    let kind = [
                        EventType::NodeCreated,
                        EventType::NodeDeleted,
                        EventType::NodeDataChanged,
                        EventType::NodeChildrenChanged,
                    ][kind as usize - 1];
                    // An event of "" never comes; the model's prefixes would take it for the parent
                    // of all.
                    if !path.is_empty() {
                        let (told, late) = fired_unsettled(&mut table, kind, path);
                        for connection in late.iter().flat_map(|_| &told) {
                            unsettled.entry(*connection).or_default().extend(late);
                        }
                        prop_assert_eq!(told, model.fire(kind, path));
                    }
                }
            }
            let count = |modes: u8| model.watches.values().filter(|set| **set & modes != 0).count();
            if !table.has_gone() {
                let (data, child, recursive) = (count(13), count(6), count(8));
                prop_assert_eq!(table.counts(), Counts { data, child, recursive });
            }
            for connection in (0..6).filter(|connection| !unsettled.contains_key(connection)) {
                let paths = model.watches.keys().filter(|(_, other)| *other == connection).count();
                prop_assert_eq!(table.watches_of(connection), paths);
            }
        }
    }
}

/// A million entries that are hashed anew take a tenth of a second.
#[test]
fn however_many_watches_there_are_few_of_them_are_moved_at_once() {
    let mut table = WatchTable::new();
    (0..300_000).for_each(|path| table.add(&format!("/{path}"), 3, Modes::DATA));
    assert!(table.index.moved_at_most() <= cut_table::ONE_MAX);
    assert!(table.watchers.iter().all(|who| who.paths.moved_at_most() <= cut_table::ONE_MAX));
    table.remove_connection(3);
    while table.has_gone() {
        assert!(table.remove_gone(1000) <= 1000);
        assert!(table.gone.iter().all(|gone| gone.paths.len() <= cut_table::ONE_MAX));
    }
    assert_eq!((table.counts(), table.index.heap_bytes()), (Counts::default(), 0));
}
