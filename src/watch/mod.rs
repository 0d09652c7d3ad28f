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

mod paths;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

use crate::codes::EventType;
use paths::{HASHER, Paths};

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
    index: HashTable<u32>,
    /// The numbers of the paths that each connection watches, by its slot.
    connections: Vec<HashTable<u32>>,
    counts: Counts,
    /// Kept for its capacity: the connections that the event at hand concerns.
    told: Vec<u32>,
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

/// Watched paths, each with the connections that watch it.
pub type WatchersByPath = Vec<(Box<str>, Vec<u32>)>;

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
            index: HashTable::new(),
            connections: Vec::new(),
            counts: Counts::default(),
            told: Vec::new(),
        }
    }

    /// Sets a watch; one that is there already stays as it is.
    pub fn add(&mut self, path: &str, connection: u32, modes: Modes) {
        debug_assert!(connection < CONNECTIONS_MAX, "a connection's slot fits beside its modes");
        let id = self.find(path).unwrap_or_else(|| self.insert(path));
        let watchers = self.paths.watchers(id);
        let old = watchers.modes(connection);
        let new = old.with(modes);
        watchers.put(connection, new);
        self.count(old, new);
        if old == Modes::NONE {
            self.remember(connection, id);
        }
    }

    /// Whether the connection watches exactly this path in any of `modes`.
    pub fn contains(&self, path: &str, connection: u32, modes: Modes) -> bool {
        self.find(path).is_some_and(|id| self.paths.get(id).watchers.modes(connection).meets(modes))
    }

    /// Takes `modes` from what the connection watches at exactly this path; false if none of them
    /// was there.
    pub fn remove(&mut self, path: &str, connection: u32, modes: Modes) -> bool {
        let Some(id) = self.find(path) else { return false };
        let watchers = self.paths.watchers(id);
        let old = watchers.modes(connection);
        if !old.meets(modes) {
            return false;
        }
        let new = old.without(modes);
        watchers.put(connection, new);
        self.count(old, new);
        if new == Modes::NONE {
            forget(&mut self.connections, connection, id);
            self.drop_path_if_unwatched(id);
        }
        true
    }

    /// Takes everything that the connection watches.
    pub fn remove_connection(&mut self, connection: u32) {
        if mutant!(WatchesOutliveConnection) {
            return;
        }
        let Some(ids) = self.connections.get_mut(connection as usize) else { return };
        for id in std::mem::take(ids) {
            let watchers = self.paths.watchers(id);
            let old = watchers.modes(connection);
            watchers.put(connection, Modes::NONE);
            self.count(old, Modes::NONE);
            self.drop_path_if_unwatched(id);
        }
    }

    /// Calls `fire` once for each connection that waits for this event, and spends the one-shot
    /// watches that it meets.
    ///
    /// A deleted node ends the one-shot watches of both tables; a change of children concerns no
    /// recursive watch.
    pub fn trigger(&mut self, kind: EventType, path: &str, mut fire: impl FnMut(u32)) {
        if self.index.is_empty() {
            return;
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
        self.fire_at(path, wanted, spent, &mut |connection| told.push(connection));
        for ancestor in ancestors(path) {
            if let Some(id) = self.find(ancestor) {
                let recursive = self
                    .paths
                    .get(id)
                    .watchers
                    .iter()
                    .filter(|(_, modes)| modes.meets(Modes::RECURSIVE));
                told.extend(recursive.map(|(connection, _)| connection));
            }
        }
        told.sort_unstable();
        told.dedup();
        told.drain(..).for_each(fire);
        self.told = told;
    }

    /// Distinct paths that the connection watches.
    pub fn watches_of(&self, connection: u32) -> usize {
        self.connections.get(connection as usize).map_or(0, HashTable::len)
    }

    /// The number of watches, by table.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// A piece of the data table: the watched paths with up to `max` numbers from `from` on, each
    /// with its connections, in order; and where to go on, `None` at the end.
    pub fn by_path(&self, from: u32, max: u32) -> (WatchersByPath, Option<u32>) {
        let mut all = Vec::new();
        for entry in self.paths.range(from, max) {
            let watching =
                entry.watchers.iter().filter(|(_, modes)| modes.meets(Modes::DATA_TABLE));
            let mut connections: Vec<u32> = watching.map(|(connection, _)| connection).collect();
            if !connections.is_empty() {
                connections.sort_unstable();
                all.push((entry.path.clone(), connections));
            }
        }
        all.sort_unstable();
        let next = from.saturating_add(max);
        (all, Some(next).filter(|next| *next < self.paths.end()))
    }

    /// Bytes that the table takes up on the heap, spare room included; watchers of paths that have
    /// several are estimated.
    pub fn heap_bytes(&self) -> usize {
        let reverse: usize = self.connections.iter().map(HashTable::allocation_size).sum();
        let pairs: usize = self.connections.iter().map(HashTable::len).sum();
        self.paths.heap_bytes()
            + self.index.allocation_size()
            + reverse
            + self.connections.capacity() * size_of::<HashTable<u32>>()
            + (pairs - self.index.len()) * SHARED_WATCH_BYTES
    }

    fn find(&self, path: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(path);
        self.index.find(hash, |id| *self.paths.get(*id).path == *path).copied()
    }

    fn insert(&mut self, path: &str) -> u32 {
        let id = self.paths.insert(path);
        let (paths, hasher) = (&self.paths, &self.hasher);
        self.index
            .insert_unique(hasher.hash_one(path), id, |id| hasher.hash_one(&*paths.get(*id).path));
        id
    }

    fn remember(&mut self, connection: u32, id: u32) {
        let slot = connection as usize;
        if slot >= self.connections.len() {
            self.connections.resize_with(slot + 1, HashTable::new);
        }
        self.connections[slot].insert_unique(HASHER.hash_one(id), id, |id| HASHER.hash_one(id));
    }

    fn fire_at(&mut self, path: &str, wanted: Modes, spent: Modes, fire: &mut impl FnMut(u32)) {
        let Some(id) = self.find(path) else { return };
        let (counts, connections) = (&mut self.counts, &mut self.connections);
        self.paths.watchers(id).retain(|connection, old| {
            if !old.meets(wanted) {
                return old;
            }
            fire(connection);
            let new = old.without(spent);
            counts.change(old, new);
            if new == Modes::NONE {
                forget(connections, connection, id);
            }
            new
        });
        self.drop_path_if_unwatched(id);
    }

    fn drop_path_if_unwatched(&mut self, id: u32) {
        if !self.paths.get(id).watchers.is_empty() {
            return;
        }
        let hash = self.hasher.hash_one(&*self.paths.get(id).path);
        if let Ok(entry) = self.index.find_entry(hash, |other| *other == id) {
            entry.remove();
        }
        self.paths.remove(id);
        // After a flood the table gives its memory back, in steps so large that they cost nothing
        // per watch.
        if self.index.is_empty() {
            self.paths = Paths::default();
            self.index = HashTable::new();
        } else if self.index.capacity() > SPARE_MIN
            && self.index.len() < self.index.capacity() / SPARE_FACTOR
        {
            let (paths, hasher) = (&self.paths, &self.hasher);
            self.index.shrink_to(2 * self.index.len(), |id| hasher.hash_one(&*paths.get(*id).path));
        }
    }

    fn count(&mut self, old: Modes, new: Modes) {
        self.counts.change(old, new);
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

fn forget(connections: &mut [HashTable<u32>], connection: u32, id: u32) {
    let Some(ids) = connections.get_mut(connection as usize) else { return };
    if let Ok(entry) = ids.find_entry(HASHER.hash_one(id), |other| *other == id) {
        entry.remove();
    }
    if ids.capacity() > SPARE_MIN && ids.len() < ids.capacity() / SPARE_FACTOR {
        ids.shrink_to(2 * ids.len(), |id| HASHER.hash_one(id));
    }
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

/// Connections that fit beside four mode bits.
pub const CONNECTIONS_MAX: u32 = 1 << 28;
/// The memory of one more watcher of a path in a hash table that is two thirds full.
const SHARED_WATCH_BYTES: usize = 8;
/// Entries up to which spare room is not given back.
const SPARE_MIN: usize = 256;
/// Room is given back when the table has shrunk to this fraction of its capacity.
const SPARE_FACTOR: usize = 8;

#[cfg(test)]
mod tests;
