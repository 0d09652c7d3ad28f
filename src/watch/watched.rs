//! What a shard watches, told to the writer in a few words: it makes no events for thousands of nodes
//! that nobody waits for.

use foldhash::fast::FixedState;
use std::hash::BuildHasher;

use super::{Modes, parent};

/// The parents whose children are watched, roughly: a bit for each hash of a path. What is watched
/// is always in it; a path that is not watched may be taken for one that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watched([u64; WORDS]);

impl Watched {
    /// Nothing is watched.
    pub const NOTHING: Self = Self([0; WORDS]);
    /// Everything may be.
    pub const ALL: Self = Self([u64::MAX; WORDS]);

    /// Whether nothing is watched at all.
    pub fn is_nothing(&self) -> bool {
        *self == Self::NOTHING
    }

    /// Whether any watch may wait for a child of `path` to come or go, or to change.
    pub fn may_concern_children_of(&self, path: &str) -> bool {
        let bit = bit_of(path);
        self.0[bit / WORD_BITS] & 1 << (bit % WORD_BITS) != 0
    }
}

impl Default for Watched {
    fn default() -> Self {
        Self::NOTHING
    }
}

/// The watches behind each bit.
#[derive(Debug)]
pub(super) struct Parents {
    counts: Box<[u32; BITS]>,
    watched: Watched,
}

impl Default for Parents {
    fn default() -> Self {
        Self { counts: Box::new([0; BITS]), watched: Watched::NOTHING }
    }
}

impl Parents {
    pub(super) fn watched(&self) -> Watched {
        self.watched
    }

    /// A connection's modes at `path` change.
    pub(super) fn change(&mut self, path: &str, old: Modes, new: Modes) {
        // The node itself is a child of its parent, and the root is nobody's.
        self.count(parent(path).unwrap_or(path), old != Modes::NONE, new != Modes::NONE);
        self.count(path, old.meets(Modes::CHILD_TABLE), new.meets(Modes::CHILD_TABLE));
    }

    fn count(&mut self, path: &str, before: bool, after: bool) {
        if before == after {
            return;
        }
        let bit = bit_of(path);
        let count = &mut self.counts[bit];
        let (word, mask) = (&mut self.watched.0[bit / WORD_BITS], 1 << (bit % WORD_BITS));
        if after {
            *count += 1;
            *word |= mask;
        } else {
            *count = count.checked_sub(1).expect("a watch that ends was counted");
            if *count == 0 {
                *word &= !mask;
            }
        }
    }
}

fn bit_of(path: &str) -> usize {
    PATHS.hash_one(path) as usize % BITS
}

/// The same hash on both sides. Who finds paths that collide gains nothing but events that are made
/// for nobody.
const PATHS: FixedState = FixedState::with_seed(0x7061_7265_6e74_7321);
const WORD_BITS: usize = u64::BITS as usize;
const WORDS: usize = 16;
const BITS: usize = WORDS * WORD_BITS;
