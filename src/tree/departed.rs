//! Sessions that have ended with very many ephemerals. Removing all of these at once would keep
//! readers out for long: they are out of sight together, and are removed a few at a time.
//!
//! Until then a departed node is still in the slab, in the index, in the digest and in every
//! figure. What readers see leaves it out: [`Tree::get`], lists and numbers of children, and a
//! parent's pzxid.

use std::collections::BTreeSet;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::codes::EventType;
use crate::txn::{Txn, TxnHeader};
use crate::zxid::{SessionId, Zxid};

use super::apply::Apply;
use super::slab::Slot;
use super::{Change, Known, Tree};

/// The ephemerals of one session.
#[derive(Debug, Default)]
pub(super) struct Owned {
    pub(super) slots: BTreeSet<Slot>,
    /// The tree's `ephemeral_changes` when they changed last.
    pub(super) changed: i64,
    /// The number of them that each parent has, without zeros; counted once there were
    /// [`EPHEMERALS_MANY`]. Invariant: it is there while there are so many, and sums up to them.
    by_parent: Option<HashMap<Slot, u32, FixedState>>,
}

/// A session that has ended, and what is still to be removed of it.
#[derive(Debug)]
pub(super) struct Departed {
    header: TxnHeader,
    owned: Owned,
}

impl Owned {
    pub(super) fn insert(&mut self, slot: Slot, parent_of: impl Fn(Slot) -> Slot) {
        self.slots.insert(slot);
        match &mut self.by_parent {
            Some(counts) => *counts.entry(parent_of(slot)).or_default() += 1,
            None if self.slots.len() >= EPHEMERALS_MANY => {
                let mut counts = HashMap::with_hasher(FixedState::with_seed(0));
                for slot in &self.slots {
                    *counts.entry(parent_of(*slot)).or_default() += 1;
                }
                self.by_parent = Some(counts);
            }
            None => {}
        }
    }

    pub(super) fn remove(&mut self, slot: Slot, parent: Slot) {
        if self.slots.remove(&slot)
            && let Some(counts) = &mut self.by_parent
            && let Some(count) = counts.get_mut(&parent)
        {
            *count -= 1;
            if *count == 0 {
                counts.remove(&parent);
            }
        }
    }

    fn below(&self, parent: Slot) -> u32 {
        self.by_parent.as_ref().and_then(|counts| counts.get(&parent)).copied().unwrap_or(0)
    }
}

impl Tree {
    /// Whether a session has so many ephemerals that [`Self::depart`] should end it.
    pub fn has_many_ephemerals(&self, session: SessionId) -> bool {
        self.ephemerals_owned(session) >= EPHEMERALS_MANY
    }

    /// The number of ephemerals of a session.
    pub fn ephemerals_owned(&self, session: SessionId) -> usize {
        self.ephemerals.get(&session).map_or(0, |owned| owned.slots.len())
    }

    /// The number of children of the node at `path` that are ephemerals of `session`, which has
    /// many.
    pub fn ephemerals_below(&self, session: SessionId, path: &str) -> u32 {
        let owned = self.ephemerals.get(&session);
        owned.map_or(0, |owned| self.find(path).map_or(0, |parent| owned.below(parent)))
    }

    /// The events that watches must hear of when `session` departs by a transaction `zxid`: of up
    /// to `max` nodes after `after`, in Apache's order. Returns the last of them, `None` if there
    /// were no more.
    pub fn departure_events(
        &self,
        session: SessionId,
        zxid: Zxid,
        after: Option<u32>,
        max: usize,
        events: &mut Vec<Change>,
    ) -> Option<u32> {
        let from = after.map_or(0, |after| after + 1);
        let mut last = None;
        for &slot in self.ephemerals.get(&session)?.slots.range(from..).take(max) {
            let parent = self.slab.record(slot).parent;
            events.push(self.change(zxid, EventType::NodeDeleted, &self.path(slot), slot));
            events.push(self.change(
                zxid,
                EventType::NodeChildrenChanged,
                &self.path(parent),
                parent,
            ));
            last = Some(slot);
        }
        last
    }

    /// Applies a closeSession of a session with many ephemerals: the same as [`Self::apply`] for
    /// all who read, but at once. [`Self::reap`] does the work.
    pub fn depart(&mut self, header: &TxnHeader) {
        assert!(
            self.has_many_ephemerals(header.session),
            "a session departs once, with many nodes"
        );
        self.end_session(header.session);
        if let Some(owned) = self.ephemerals.remove(&header.session) {
            self.ephemeral_count -= owned.slots.len();
            self.departed_count += owned.slots.len();
            self.departed.insert(header.session, Departed { header: *header, owned });
        }
        self.last_zxid = self.last_zxid.max(header.zxid);
    }

    /// Removes up to `max` departed nodes. Returns how many it has removed.
    pub fn reap(&mut self, max: usize) -> usize {
        let mut removed = 0;
        while removed < max
            && let Some((&session, departed)) = self.departed.first_key_value()
        {
            let header = departed.header;
            match departed.owned.slots.first().copied() {
                Some(slot) => {
                    let path = self.path(slot);
                    let apply =
                        &mut Apply { header: &header, known: Known::default(), events: None };
                    let gone = self.delete(apply, &path);
                    assert!(gone.is_ok(), "a departed node is where it was");
                    removed += 1;
                }
                None => {
                    self.departed.remove(&session);
                }
            }
        }
        removed
    }

    /// Whether [`Self::reap`] has something to do. Until then the digest is not that of what is
    /// seen.
    pub fn is_reaping(&self) -> bool {
        !self.departed.is_empty()
    }

    /// Whether `txn` cannot be applied before [`Self::reap`] has gone on: it makes a node where a
    /// departed one is, or removes one below which some are.
    pub fn must_reap_before(&self, txn: &Txn) -> bool {
        if !self.is_reaping() {
            return false;
        }
        match txn {
            Txn::Create(create) => {
                self.find(&create.path).is_some_and(|slot| self.has_departed(slot))
            }
            Txn::Delete { path } | Txn::DeleteContainer { path } => {
                self.find(path).is_some_and(|slot| self.departed_below(slot) > 0)
            }
            Txn::Multi(txns) => txns.iter().any(|txn| self.must_reap_before(txn)),
            _ => false,
        }
    }

    /// Whether the node is out of sight.
    pub(super) fn has_departed(&self, slot: Slot) -> bool {
        self.is_reaping() && self.slab.record(slot).is_owned() && {
            let departed = self.departed.get(&SessionId(self.owner(slot)));
            departed.is_some_and(|departed| departed.owned.slots.contains(&slot))
        }
    }

    /// The number of children of a node that are out of sight.
    pub(super) fn departed_below(&self, parent: Slot) -> u32 {
        self.departed.values().map(|departed| departed.owned.below(parent)).sum()
    }

    /// The number of nodes below `top` that are out of sight.
    pub(super) fn departed_in(&self, top: Slot) -> usize {
        let parents =
            self.departed.values().flat_map(|departed| departed.owned.by_parent.iter().flatten());
        let below = parents.filter(|(parent, _)| self.slab.is_at_or_below(**parent, top));
        below.map(|(_, count)| *count as usize).sum()
    }

    /// The zxid of the last departure from below a node, whose pzxid is not yet set to it.
    pub(super) fn departed_at(&self, parent: Slot) -> i64 {
        let below = self.departed.values().filter(|departed| departed.owned.below(parent) > 0);
        below.map(|departed| departed.header.zxid.0).max().unwrap_or(0)
    }

    /// A node of a session that has departed goes.
    pub(super) fn disown_departed(&mut self, session: SessionId, slot: Slot, parent: Slot) {
        if let Some(departed) = self.departed.get_mut(&session) {
            departed.owned.remove(slot, parent);
            self.departed_count -= 1;
        }
    }
}

/// With this many ephemerals a session ends by departing: removing fewer takes a millisecond or
/// two, their events among it. The tests, the simulator's worlds among them, depart with a few.
pub const EPHEMERALS_MANY: usize = if cfg!(test) { 3 } else { 1000 };
