//! Containers and TTL nodes whose time has come (`ContainerManager`): found now and then, deleted a few at a time.

use std::collections::VecDeque;

use super::QuorumConfig;
use crate::tree::Tree;
use crate::zxid::Now;

/// What is to be deleted, and when to look again.
#[derive(Debug)]
pub(super) struct Sweep {
    due: VecDeque<String>,
    next_look_ms: i64,
    /// How many more may be deleted, in 60,000ths: it grows with time by so many a minute.
    allowance: i64,
    last_ms: i64,
}

impl Sweep {
    /// The first look is one interval after the start.
    pub(super) fn new(config: &QuorumConfig, now: Now) -> Self {
        let next_look_ms = now.mono_ms + config.container_check_interval_ms;
        Self { due: VecDeque::new(), next_look_ms, allowance: 0, last_ms: now.mono_ms }
    }

    /// Looks, if it is time to.
    pub(super) fn on_tick(&mut self, config: &QuorumConfig, tree: &Tree, now: Now) {
        let per_minute = config.container_max_per_minute.max(1);
        let elapsed_ms = (now.mono_ms - self.last_ms).clamp(0, MINUTE_MS);
        self.last_ms = now.mono_ms;
        // Time in which nothing is due is not saved up.
        let saved = if self.due.is_empty() { 0 } else { self.allowance };
        self.allowance = saved + elapsed_ms * per_minute;
        if now.mono_ms >= self.next_look_ms && self.due.is_empty() {
            self.next_look_ms = now.mono_ms + config.container_check_interval_ms;
            let never_used_ms = config.container_max_never_used_ms;
            self.due = tree.doomed(now.wall_ms, never_used_ms, per_minute as usize).into();
        }
    }

    /// The next path to delete now.
    pub(super) fn next(&mut self) -> Option<String> {
        if self.due.is_empty() || self.allowance < MINUTE_MS {
            return None;
        }
        self.allowance -= MINUTE_MS;
        self.due.pop_front()
    }
}

const MINUTE_MS: i64 = 60_000;
