//! The watched paths and their watchers: a slab in chunks, so that growing moves nothing, and the
//! watchers of one path.

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

use super::Modes;

/// The watched paths, by number.
#[derive(Debug, Default)]
pub(super) struct Paths {
    chunks: Vec<Vec<WatchedPath>>,
    free: Vec<u32>,
    /// Heap bytes of the names.
    name_bytes: usize,
}

/// One path and who watches it. 32 bytes.
#[derive(Debug)]
pub(super) struct WatchedPath {
    pub(super) path: Box<str>,
    pub(super) watchers: Watchers,
}

impl Paths {
    /// The path with this number, which must be one that [`Self::insert`] gave out.
    pub(super) fn get(&self, id: u32) -> &WatchedPath {
        &self.chunks[id as usize / CHUNK][id as usize % CHUNK]
    }

    pub(super) fn watchers(&mut self, id: u32) -> &mut Watchers {
        &mut self.chunks[id as usize / CHUNK][id as usize % CHUNK].watchers
    }

    /// Adds a path without watchers.
    pub(super) fn insert(&mut self, path: &str) -> u32 {
        let entry = WatchedPath { path: path.into(), watchers: Watchers::None };
        self.name_bytes += malloc_bytes(path.len());
        if let Some(id) = self.free.pop() {
            self.chunks[id as usize / CHUNK][id as usize % CHUNK] = entry;
            return id;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            let capacity = if self.chunks.is_empty() { 0 } else { CHUNK };
            self.chunks.push(Vec::with_capacity(capacity));
        }
        let before = (self.chunks.len() - 1) * CHUNK;
        let chunk = self.chunks.last_mut().expect("a chunk with room has just been made sure of");
        chunk.push(entry);
        u32::try_from(before + chunk.len() - 1).expect("memory ends long before 2^32 watched paths")
    }

    /// Frees the number and the name.
    pub(super) fn remove(&mut self, id: u32) {
        let entry = &mut self.chunks[id as usize / CHUNK][id as usize % CHUNK];
        self.name_bytes -= malloc_bytes(entry.path.len());
        *entry = WatchedPath { path: Box::default(), watchers: Watchers::None };
        self.free.push(id);
    }

    /// All numbers are below this.
    pub(super) fn end(&self) -> u32 {
        self.chunks.last().map_or(0, |last| ((self.chunks.len() - 1) * CHUNK + last.len()) as u32)
    }

    /// All but the watchers of paths that have several.
    pub(super) fn heap_bytes(&self) -> usize {
        let chunks: usize =
            self.chunks.iter().map(|chunk| chunk.capacity() * size_of::<WatchedPath>()).sum();
        chunks + self.free.capacity() * size_of::<u32>() + self.name_bytes
    }
}

/// The connections that watch one path, each with its modes. Most paths have one.
#[derive(Debug)]
pub(super) enum Watchers {
    None,
    One(Watcher),
    Many(Box<HashTable<Watcher>>),
}

impl Watchers {
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::None => true,
            Self::One(_) => false,
            Self::Many(all) => all.is_empty(),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::One(_) => 1,
            Self::Many(all) => all.len(),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, Modes)> + '_ {
        let (one, many) = match self {
            Self::None => (None, None),
            Self::One(watcher) => (Some(watcher), None),
            Self::Many(all) => (None, Some(all.iter())),
        };
        one.into_iter()
            .chain(many.into_iter().flatten())
            .map(|watcher| (watcher.connection(), watcher.modes()))
    }

    pub(super) fn modes(&self, connection: u32) -> Modes {
        match self {
            Self::One(watcher) if watcher.connection() == connection => watcher.modes(),
            Self::None | Self::One(_) => Modes::NONE,
            Self::Many(all) => {
                let hash = HASHER.hash_one(connection);
                all.find(hash, |watcher| watcher.connection() == connection)
                    .map_or(Modes::NONE, |w| w.modes())
            }
        }
    }

    /// Makes `modes` what the connection waits for; none of them takes it out.
    pub(super) fn put(&mut self, connection: u32, modes: Modes) {
        match self {
            Self::None if modes == Modes::NONE => {}
            Self::None => *self = Self::One(Watcher::new(connection, modes)),
            Self::One(watcher) if watcher.connection() == connection => match modes {
                Modes::NONE => *self = Self::None,
                _ => *watcher = Watcher::new(connection, modes),
            },
            Self::One(_) if modes == Modes::NONE => {}
            Self::One(first) => {
                let mut all = HashTable::with_capacity(2);
                put_in(&mut all, *first);
                put_in(&mut all, Watcher::new(connection, modes));
                *self = Self::Many(Box::new(all));
            }
            Self::Many(all) => {
                let hash = HASHER.hash_one(connection);
                match all.find_entry(hash, |watcher| watcher.connection() == connection) {
                    Ok(entry) if modes == Modes::NONE => drop(entry.remove()),
                    Ok(mut entry) => *entry.get_mut() = Watcher::new(connection, modes),
                    Err(_) if modes == Modes::NONE => {}
                    Err(_) => put_in(all, Watcher::new(connection, modes)),
                }
            }
        }
    }

    /// Replaces each watcher's modes by what `change` makes of them.
    pub(super) fn retain(&mut self, mut change: impl FnMut(u32, Modes) -> Modes) {
        match self {
            Self::None => {}
            Self::One(watcher) => {
                let connection = watcher.connection();
                let modes = change(connection, watcher.modes());
                self.put(connection, modes);
            }
            Self::Many(all) => all.retain(|watcher| {
                let modes = change(watcher.connection(), watcher.modes());
                *watcher = Watcher::new(watcher.connection(), modes);
                modes != Modes::NONE
            }),
        }
    }
}

/// A connection and its modes in four bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watcher(u32);

impl Watcher {
    fn new(connection: u32, modes: Modes) -> Self {
        Self(connection << MODE_BITS | u32::from(modes.0))
    }

    fn connection(self) -> u32 {
        self.0 >> MODE_BITS
    }

    fn modes(self) -> Modes {
        Modes(self.0 as u8 & Modes::ANY.0)
    }
}

fn put_in(all: &mut HashTable<Watcher>, watcher: Watcher) {
    let rehash = |watcher: &Watcher| HASHER.hash_one(watcher.connection());
    all.insert_unique(rehash(&watcher), watcher, rehash);
}

/// The bytes that the allocator takes for so many.
fn malloc_bytes(bytes: usize) -> usize {
    if bytes == 0 { 0 } else { (bytes + 8).next_multiple_of(16).max(32) }
}

/// The same hash in every run: the order in which watchers are told is part of a trace.
pub(super) const HASHER: FixedState = FixedState::with_seed(0x7761_7463_6865_7273);
const MODE_BITS: u32 = 4;
/// Paths in one chunk of the slab.
const CHUNK: usize = 1024;

const _: () = assert!(size_of::<WatchedPath>() == 32);
