//! Which shards the role serves. Each role has a generation; what a shard has asked an earlier one
//! for is never taken up by a later one, since what was asked before it may be lost.

use std::collections::VecDeque;

use super::Effect;
use crate::handoff::{ShardId, ToShard};

/// See the module.
#[derive(Debug)]
pub(super) struct Gate {
    /// That of the role which serves, or served last.
    generation: u64,
    is_open: bool,
    /// The shards that have joined this generation. Invariant: none if it is not open.
    joined: Vec<bool>,
}

impl Gate {
    /// A standalone server serves from the start, and its shards know it.
    pub(super) fn open_for_ever(shards: u16) -> Self {
        Self { generation: 0, is_open: true, joined: vec![true; usize::from(shards.max(1))] }
    }

    /// A member of an ensemble, which has no role yet.
    pub(super) fn closed(shards: u16, effects: &mut VecDeque<Effect>) -> Self {
        let mut gate = Self::open_for_ever(shards);
        gate.close(effects);
        gate
    }

    /// A role begins to serve, or this server serves without one, which is read-only.
    pub(super) fn open(&mut self, read_only: bool, effects: &mut VecDeque<Effect>) {
        assert!(!self.is_open, "one role at a time");
        self.is_open = true;
        self.generation += 1;
        let generation = self.generation;
        self.tell(effects, || ToShard::Serving { generation, read_only });
    }

    /// A role ends. Nothing that a shard asks for is taken until it has joined the next one.
    pub(super) fn close(&mut self, effects: &mut VecDeque<Effect>) {
        if self.is_open {
            self.is_open = false;
            self.joined.fill(false);
            if !mutant!(RoleEndNotTold) {
                self.tell(effects, || ToShard::NotServing);
            }
        }
    }

    fn tell(&self, effects: &mut VecDeque<Effect>, message: impl Fn() -> ToShard) {
        let shards = (0..).map(ShardId).take(self.joined.len());
        effects.extend(shards.map(|shard| Effect::ToShard(shard, message())));
    }

    /// A shard has closed what an earlier role served.
    pub(super) fn join(&mut self, shard: ShardId, generation: u64) {
        let is_present = self.is_open && generation == self.generation;
        if let Some(joined) = self.joined.get_mut(usize::from(shard.0)).filter(|_| is_present) {
            *joined = true;
        }
    }

    /// Whether what this shard asks for is taken.
    pub(super) fn lets_in(&self, shard: ShardId) -> bool {
        self.joined.get(usize::from(shard.0)).is_some_and(|joined| *joined)
            || (mutant!(OldRequestsTaken) && self.is_open)
    }

    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// The invariants of the fields.
    pub(super) fn check(&self) {
        debug_assert!(self.is_open || !self.joined.contains(&true), "nobody joins no role");
    }
}
