//! Containers and TTL nodes whose time has come (`ContainerManager`): found now and then, deleted a
//! few at a time.

use std::collections::VecDeque;

use super::{Budget, QuorumConfig};
use crate::tree::{DoomedCursor, Tree};
use crate::zxid::Now;

/// The nodes that are to be deleted, and the time to look again.
#[derive(Debug)]
pub(super) struct Sweep {
    /// Invariant: at most as many as may be deleted in a minute, and one piece of the look.
    due: VecDeque<String>,
    next_look_ms: i64,
    /// The look under way, a piece at a time.
    look: Option<Look>,
    /// The number that may still be deleted, in 60,000ths: the number that may go per minute, times the
    /// minutes passed.
    allowance: i64,
    last_ms: i64,
}

impl Sweep {
    /// The first look is one interval after the start.
    pub(super) fn new(config: &QuorumConfig, now: Now) -> Self {
        let next_look_ms = now.mono_ms + config.container_check_interval_ms;
        Self { due: VecDeque::new(), next_look_ms, look: None, allowance: 0, last_ms: now.mono_ms }
    }

    /// Begins to look, if it is time to.
    pub(super) fn on_tick(&mut self, config: &QuorumConfig, now: Now) {
        let per_minute = config.container_max_per_minute.max(1);
        let elapsed_ms = (now.mono_ms - self.last_ms).clamp(0, MINUTE_MS);
        self.last_ms = now.mono_ms;
        // Time in which nothing is due is not saved up.
        let saved = if self.due.is_empty() { 0 } else { self.allowance };
        self.allowance = saved + elapsed_ms * per_minute;
        if now.mono_ms >= self.next_look_ms && self.due.is_empty() && self.look.is_none() {
            self.next_look_ms = now.mono_ms + config.container_check_interval_ms;
            self.look = Some(Look { wall_ms: now.wall_ms, at: DoomedCursor::default() });
        }
    }

    /// Whether [`Self::look`] has something to do.
    pub(super) fn is_looking(&self) -> bool {
        self.look.is_some()
    }

    /// Looks at the next containers and TTL nodes.
    pub(super) fn look(&mut self, config: &QuorumConfig, tree: &Tree, budget: &mut Budget) {
        let Some(Look { wall_ms, at }) = self.look.take() else { return };
        debug_assert!((self.due.len() as i64) < config.container_max_per_minute.max(1));
        let piece = budget.left().clamp(1, LOOK_NODES_MAX);
        budget.spend(piece);
        let never_used_ms = config.container_max_never_used_ms;
        let next = tree.doomed(wall_ms, never_used_ms, at, piece as usize, &mut self.due);
        if (self.due.len() as i64) < config.container_max_per_minute {
            self.look = next.map(|at| Look { wall_ms, at });
        }
    }

    /// Whether [`Self::next`] has something.
    pub(super) fn has_due(&self) -> bool {
        !self.due.is_empty() && self.allowance >= MINUTE_MS
    }

    /// The next path to delete now.
    pub(super) fn next(&mut self) -> Option<String> {
        if !self.has_due() {
            return None;
        }
        self.allowance -= MINUTE_MS;
        assert!(self.allowance >= 0, "what was not granted is not used up");
        self.due.pop_front()
    }
}

#[derive(Debug)]
struct Look {
    /// Ages are counted as of then.
    wall_ms: i64,
    at: DoomedCursor,
}

const MINUTE_MS: i64 = 60_000;
/// Nodes that one piece of a look goes over.
const LOOK_NODES_MAX: u64 = 1024;
