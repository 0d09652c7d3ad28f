//! The watch table of one shard: which connection waits for what, keyed by path. It knows
//! connections as opaque numbers and sends nothing: firing means calling back.
//!
//! Apache keeps two tables, one for data and one for children; here one entry per path and
//! connection carries a set of modes, which says the same in less memory (`WatchManager`,
//! `WatcherModeManager`):
//!
//! | mode | data table | child table | spent when it fires |
//! |---|---|---|---|
//! | data (exists, getData) | yes | | yes |
//! | child (getChildren) | | yes | yes |
//! | persistent | yes | yes | |
//! | recursive | yes, for the whole subtree | | |
//!
//! A distinct path with one watch costs about 80 bytes, name included; a further watch on the same
//! path about 15.
//!
//! Work that concerns very many watches is done in parts, so that no call takes long: the watches
//! of a connection that has gone are out of sight at once and removed later
//! ([`WatchTable::remove_gone`]), and a connection that was told of an event for which many waited
//! forgets its watch later ([`WatchTable::settle`]).

mod cut_table;
mod paths;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::collections::VecDeque;
use std::hash::BuildHasher;

use crate::codes::EventType;
use cut_table::CutTable;
use paths::{HASHER, Paths, Watchers};

/// A set of ways in which one connection watches one path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Modes(u8);

impl Modes {
    /// No watch.
    pub const NONE: Self = Self(0);
    /// One-shot, set by exists and getData.
    pub const DATA: Self = Self(1);
    /// One-shot, set by getChildren and getChildren2.
    pub const CHILD: Self = Self(2);
    /// addWatch mode 0.
    pub const PERSISTENT: Self = Self(4);
    /// addWatch mode 1.
    pub const RECURSIVE: Self = Self(8);
    /// Every mode: WatcherType `Any`.
    pub const ANY: Self = Self(15);

    const DATA_TABLE: Self = Self(1 | 4 | 8);
    const CHILD_TABLE: Self = Self(2 | 4);

    /// The modes that a WatcherType of checkWatches and removeWatches names; `None` for an unknown
    /// type.
    pub fn of_watcher_type(kind: i32) -> Option<Self> {
        Some(match kind {
            1 => Self::CHILD,
            2 => Self::DATA,
            3 => Self::ANY,
            4 => Self::PERSISTENT,
            5 => Self::RECURSIVE,
            _ => return None,
        })
    }

    /// The mode that an addWatch asks for; `None` for an unknown one.
    pub fn of_add_watch(mode: i32) -> Option<Self> {
        match mode {
            0 => Some(Self::PERSISTENT),
            1 => Some(Self::RECURSIVE),
            _ => None,
        }
    }

    /// Whether any of `other` is in this set.
    pub fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// All watches of one shard's connections. A connection is a slot number below 2^28.
#[derive(Debug)]
pub struct WatchTable {
    paths: Paths,
    /// For paths; what is numbered by this server has a hasher of its own.
    hasher: FixedState,
    /// Path numbers by the hash of the path.
    index: CutTable,
    /// Who watches anything, by number. Paths name watchers by these numbers and not by slots: a
    /// slot is used again while the watches of the connection that had it before are still being
    /// removed.
    watchers: Vec<Watching>,
    /// The number of the connection in each slot; [`NOBODY`] if it has never watched anything.
    numbers: Vec<u32>,
    /// Numbers without a connection and without watches.
    free: Vec<u32>,
    /// Connections that are gone and whose watches are still to be removed.
    gone: VecDeque<Gone>,
    counts: Counts,
    /// Kept for its capacity: the connections that the event at hand concerns.
    told: Vec<u32>,
}

/// One connection, as the table knows it.
#[derive(Debug)]
struct Watching {
    /// Its slot; [`NOBODY`] once it is gone.
    slot: u32,
    /// The numbers of the paths that it watches, and of those that have fired and that it has not
    /// settled yet.
    paths: CutTable,
}

/// A connection that is gone, and the paths that are still to be removed of it.
#[derive(Debug)]
struct Gone {
    number: u32,
    /// Paths one by one, and then those of these tables.
    paths: Vec<u32>,
    tables: Vec<HashTable<u32>>,
}

/// Numbers of watches, each a pair of path and connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Pairs in the data table.
    pub data: usize,
    /// Pairs in the child table.
    pub child: usize,
    /// Pairs with a recursive watch, also counted as data.
    pub recursive: usize,
}

impl Counts {
    /// Adds those of another table.
    pub fn merge(&mut self, other: &Self) {
        self.data += other.data;
        self.child += other.child;
        self.recursive += other.recursive;
    }
}

/// Watched paths, each with the slots of the connections that watch it.
pub type WatchersByPath = Vec<(Box<str>, Vec<u32>)>;

/// Where a list by path goes on: a path, and one of its watchers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListCursor {
    path: u32,
    watcher: u32,
}

impl Default for WatchTable {
    fn default() -> Self {
        Self::new()
    }
}

impl WatchTable {
    /// No watches.
    pub fn new() -> Self {
        Self::with_seed(0)
    }

    /// As [`Self::new`], with a seed for the hashes of paths: one that clients cannot guess keeps
    /// them from finding paths that collide. Nothing that shows depends on it.
    pub fn with_seed(seed: u64) -> Self {
        Self {
            hasher: FixedState::with_seed(seed),
            paths: Paths::default(),
            index: CutTable::default(),
            watchers: Vec::new(),
            numbers: Vec::new(),
            free: Vec::new(),
            gone: VecDeque::new(),
            counts: Counts::default(),
            told: Vec::new(),
        }
    }

    /// Sets a watch; one that is there already stays as it is.
    pub fn add(&mut self, path: &str, connection: u32, modes: Modes) {
        debug_assert!(connection < CONNECTIONS_MAX, "a connection's number fits beside its modes");
        let number = self.number(connection);
        let id = self.find(path).unwrap_or_else(|| self.insert(path));
        let watchers = self.paths.watchers(id);
        let old = watchers.modes(number);
        let new = old.with(modes);
        watchers.put(number, new);
        self.count(old, new);
        if old == Modes::NONE {
            let paths = &mut self.watchers[number as usize].paths;
            paths.insert(HASHER.hash_one(id), id, |id| HASHER.hash_one(id));
        }
    }

    /// Whether the connection watches exactly this path in any of `modes`.
    pub fn contains(&self, path: &str, connection: u32, modes: Modes) -> bool {
        let Some(number) = self.known(connection) else { return false };
        self.find(path).is_some_and(|id| self.paths.get(id).watchers.modes(number).meets(modes))
    }

    /// Takes `modes` from what the connection watches at exactly this path; false if none of them
    /// was there.
    pub fn remove(&mut self, path: &str, connection: u32, modes: Modes) -> bool {
        let Some(number) = self.known(connection) else { return false };
        let Some(id) = self.find(path) else { return false };
        let watchers = self.paths.watchers(id);
        let old = watchers.modes(number);
        if !old.meets(modes) {
            return false;
        }
        let new = old.without(modes);
        watchers.put(number, new);
        self.count(old, new);
        if new == Modes::NONE {
            forget(&mut self.watchers, number, id);
            self.drop_path_if_unwatched(id);
        }
        true
    }

    /// Takes everything that the connection watches: at once out of sight, and out of memory at
    /// once if it is not very much. Returns how many paths were removed.
    pub fn remove_connection(&mut self, connection: u32) -> usize {
        if mutant!(WatchesOutliveConnection) {
            return 0;
        }
        self.let_go(connection);
        if self.gone.len() == 1 { self.remove_gone(REMOVED_AT_ONCE_MAX) } else { 0 }
    }

    /// From here on nobody hears of the connection's watches.
    fn let_go(&mut self, connection: u32) {
        let Some(number) = self.known(connection) else { return };
        self.numbers[connection as usize] = NOBODY;
        let watching = &mut self.watchers[number as usize];
        watching.slot = NOBODY;
        let paths = std::mem::take(&mut watching.paths);
        self.gone.push_back(Gone { number, paths: Vec::new(), tables: paths.into_parts() });
    }

    /// Whether [`Self::remove_gone`] has something to do.
    pub fn has_gone(&self) -> bool {
        !self.gone.is_empty()
    }

    /// Removes up to `max` of the watches of connections that are gone. Returns how many it has
    /// removed.
    pub fn remove_gone(&mut self, max: usize) -> usize {
        let mut removed = 0;
        while let Some(mut gone) = self.gone.pop_front() {
            while removed < max
                && let Some(id) = gone.next()
            {
                removed += 1;
                self.remove_at(gone.number, id);
            }
            if removed < max {
                self.free.push(gone.number);
            } else {
                self.gone.push_front(gone);
                break;
            }
        }
        removed
    }

    /// Takes one who is gone from the watchers of a path. It may have fired, and even be another
    /// path by now: then it is not there.
    fn remove_at(&mut self, number: u32, id: u32) {
        if id >= self.paths.end() {
            return;
        }
        let watchers = self.paths.watchers(id);
        let old = watchers.modes(number);
        if old != Modes::NONE {
            watchers.put(number, Modes::NONE);
            self.count(old, Modes::NONE);
            self.drop_path_if_unwatched(id);
        }
    }

    /// Calls `fire` once for each connection that waits for this event, and spends the one-shot
    /// watches that it meets.
    ///
    /// A deleted node ends the one-shot watches of both tables; a change of children concerns no
    /// recursive watch.
    ///
    /// If it returns a path's number, each of the connections must settle with it before it sets or
    /// removes a watch: see [`Self::settle`].
    pub fn trigger(
        &mut self,
        kind: EventType,
        path: &str,
        mut fire: impl FnMut(u32),
    ) -> Option<u32> {
        if self.index.is_empty() {
            return None;
        }
        let (wanted, spent) = match kind {
            EventType::NodeCreated | EventType::NodeDataChanged => (Modes::DATA_TABLE, Modes::DATA),
            EventType::NodeDeleted if mutant!(DeletionKeepsChildWatch) => (Modes::ANY, Modes::DATA),
            EventType::NodeDeleted => (Modes::ANY, Modes::DATA.with(Modes::CHILD)),
            EventType::NodeChildrenChanged => (Modes::CHILD_TABLE, Modes::CHILD),
        };
        if self.counts.recursive == 0 || kind == EventType::NodeChildrenChanged {
            return self.fire_at(path, wanted, spent, &mut fire);
        }
        let mut told = std::mem::take(&mut self.told);
        let unsettled = self.fire_at(path, wanted, spent, &mut |slot| told.push(slot));
        for ancestor in ancestors(path) {
            if let Some(id) = self.find(ancestor) {
                let watchers = self.paths.get(id).watchers.iter();
                let recursive = watchers.filter(|(_, modes)| modes.meets(Modes::RECURSIVE));
                told.extend(recursive.filter_map(|(number, _)| slot_of(&self.watchers, number)));
            }
        }
        told.sort_unstable();
        told.dedup();
        told.drain(..).for_each(fire);
        self.told = told;
        unsettled
    }

    /// A connection has been told of an event for which many waited: it forgets the path with this
    /// number, unless it still watches it.
    pub fn settle(&mut self, connection: u32, path: u32) {
        let Some(number) = self.known(connection) else { return };
        let watches =
            path < self.paths.end() && self.paths.get(path).watchers.modes(number) != Modes::NONE;
        if !watches {
            forget(&mut self.watchers, number, path);
        }
    }

    /// Distinct paths that the connection watches, and has settled with.
    pub fn watches_of(&self, connection: u32) -> usize {
        self.known(connection).map_or(0, |number| self.watchers[number as usize].paths.len())
    }

    /// The number of watches, by table. Those of connections that are gone count until they are
    /// removed.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// A piece of the data table: up to `max` paths and watchers together from `from` on, each path
    /// with some of its connections, in order; and where to go on, `None` at the end. A path that
    /// very many watch stands in several pieces.
    pub fn by_path(&self, from: ListCursor, max: usize) -> (WatchersByPath, Option<ListCursor>) {
        let (mut all, mut left, mut at) = (Vec::new(), max.max(1), from);
        while left > 0 && at.path < self.paths.end() {
            let entry = self.paths.get(at.path);
            let (connections, next) = self.listed(&entry.watchers, at.watcher, left);
            left = left.saturating_sub(1 + connections.len());
            if !connections.is_empty() {
                all.push((entry.path.clone(), connections));
            }
            at = match next {
                Some(watcher) => ListCursor { watcher, ..at },
                None => ListCursor { path: at.path + 1, watcher: 0 },
            };
        }
        all.sort_unstable();
        (all, Some(at).filter(|at| at.path < self.paths.end()))
    }

    /// The slots of up to `max` watchers of the data table, those with the lowest numbers from
    /// `from` on; and the number at which to go on.
    fn listed(&self, watchers: &Watchers, from: u32, max: usize) -> (Vec<u32>, Option<u32>) {
        let listed = watchers.iter().filter(|(_, modes)| modes.meets(Modes::DATA_TABLE));
        let mut numbers: Vec<u32> =
            listed.map(|(number, _)| number).filter(|number| *number >= from).collect();
        let mut next = None;
        if numbers.len() > max {
            let (_, first_left, _) = numbers.select_nth_unstable(max);
            next = Some(*first_left);
            numbers.truncate(max);
        }
        let slots = numbers.into_iter().filter_map(|number| slot_of(&self.watchers, number));
        let mut slots: Vec<u32> = slots.collect();
        slots.sort_unstable();
        (slots, next)
    }

    /// Bytes that the table takes up on the heap, spare room included; watchers of paths that have
    /// several are estimated.
    pub fn heap_bytes(&self) -> usize {
        let tables = || self.watchers.iter().map(|watching| &watching.paths);
        let reverse: usize = tables().map(CutTable::heap_bytes).sum();
        let pairs: usize = tables().map(CutTable::len).sum();
        self.paths.heap_bytes()
            + self.index.heap_bytes()
            + reverse
            + self.watchers.capacity() * size_of::<Watching>()
            + (self.numbers.capacity() + self.free.capacity()) * size_of::<u32>()
            + pairs.saturating_sub(self.index.len()) * SHARED_WATCH_BYTES
    }

    fn find(&self, path: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(path);
        self.index.find(hash, |id| *self.paths.get(id).path == *path)
    }

    fn insert(&mut self, path: &str) -> u32 {
        let id = self.paths.insert(path);
        let (paths, hasher) = (&self.paths, &self.hasher);
        self.index.insert(hasher.hash_one(path), id, |id| hasher.hash_one(&*paths.get(id).path));
        id
    }

    /// The number of a connection that has one.
    fn known(&self, connection: u32) -> Option<u32> {
        self.numbers.get(connection as usize).copied().filter(|number| *number != NOBODY)
    }

    /// The number of a connection, a new one if it has none.
    fn number(&mut self, connection: u32) -> u32 {
        let slot = connection as usize;
        if slot >= self.numbers.len() {
            self.numbers.resize(slot + 1, NOBODY);
        }
        if self.numbers[slot] == NOBODY {
            let number = self.free.pop().unwrap_or_else(|| {
                self.watchers.push(Watching { slot: NOBODY, paths: CutTable::default() });
                (self.watchers.len() - 1) as u32
            });
            debug_assert!(self.watchers[number as usize].paths.is_empty(), "a free number is free");
            self.watchers[number as usize].slot = connection;
            self.numbers[slot] = number;
        }
        self.numbers[slot]
    }

    /// Returns the path's number if its watchers have to settle with it.
    fn fire_at(
        &mut self,
        path: &str,
        wanted: Modes,
        spent: Modes,
        fire: &mut impl FnMut(u32),
    ) -> Option<u32> {
        let id = self.find(path)?;
        let (counts, all) = (&mut self.counts, &mut self.watchers);
        let watchers = self.paths.watchers(id);
        let settles_later = watchers.len() > SETTLED_AT_ONCE_MAX;
        watchers.retain(|number, old| {
            if !old.meets(wanted) {
                return old;
            }
            if let Some(slot) = slot_of(all, number) {
                fire(slot);
            }
            let new = old.without(spent);
            counts.change(old, new);
            if new == Modes::NONE && !settles_later {
                forget(all, number, id);
            }
            new
        });
        self.drop_path_if_unwatched(id);
        settles_later.then_some(id)
    }

    fn drop_path_if_unwatched(&mut self, id: u32) {
        if !self.paths.get(id).watchers.is_empty() {
            return;
        }
        let (paths, hasher) = (&self.paths, &self.hasher);
        let hash_of = |id| hasher.hash_one(&*paths.get(id).path);
        self.index.remove(hash_of(id), id, hash_of);
        self.paths.remove(id);
        if self.index.is_empty() {
            self.paths = Paths::default();
        }
    }

    fn count(&mut self, old: Modes, new: Modes) {
        self.counts.change(old, new);
    }
}

impl Gone {
    /// The next path to be removed.
    fn next(&mut self) -> Option<u32> {
        while self.paths.is_empty() {
            self.paths = self.tables.pop()?.into_iter().collect();
        }
        self.paths.pop()
    }
}

impl Counts {
    fn change(&mut self, old: Modes, new: Modes) {
        for (count, modes) in [
            (&mut self.data, Modes::DATA_TABLE),
            (&mut self.child, Modes::CHILD_TABLE),
            (&mut self.recursive, Modes::RECURSIVE),
        ] {
            *count = *count + usize::from(new.meets(modes)) - usize::from(old.meets(modes));
        }
    }
}

fn forget(watchers: &mut [Watching], number: u32, id: u32) {
    let Some(Watching { paths, .. }) = watchers.get_mut(number as usize) else { return };
    paths.remove(HASHER.hash_one(id), id, |id| HASHER.hash_one(id));
}

/// The slot of a watcher, if its connection is still there.
fn slot_of(watchers: &[Watching], number: u32) -> Option<u32> {
    watchers.get(number as usize).map(|watching| watching.slot).filter(|slot| *slot != NOBODY)
}

/// The paths above `path`, nearest first, "/" last.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(parent(path), |path| parent(path))
}

fn parent(path: &str) -> Option<&str> {
    match path.rfind('/')? {
        0 if path.len() == 1 => None,
        0 => Some("/"),
        at => path.get(..at),
    }
}

/// No number, or no slot.
const NOBODY: u32 = u32::MAX;
/// Watches of a connection that has gone up to which they are removed with it.
const REMOVED_AT_ONCE_MAX: usize = 64;
/// Watchers of a path up to which they forget it when it fires. The tests settle with fewer.
const SETTLED_AT_ONCE_MAX: usize = if cfg!(test) { 2 } else { 64 };
/// Connections that fit beside four mode bits.
pub const CONNECTIONS_MAX: u32 = 1 << 28;
/// The memory of one more watcher of a path in a hash table that is two thirds full.
const SHARED_WATCH_BYTES: usize = 8;

#[cfg(test)]
mod tests;
