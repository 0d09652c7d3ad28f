//! Events that many connections watch for: they go out in slices, a part of every turn.
//!
//! The watches are spent at once. Whatever else is written to a connection comes after the events
//! that it is owed, so that its order is the same as if all had gone out at once; others do not
//! wait.

use std::sync::Arc;

use crate::handoff::{ConnId, Event};

use super::connection::Connections;

/// An event on its way to many connections.
///
/// Invariants: `conns` is in the order of slots; those before `next` are done; each open connection
/// among the others that is not done is owed this event.
#[derive(Debug)]
pub(super) struct Fanout {
    pub(super) event: Arc<Event>,
    pub(super) frame: Vec<u8>,
    conns: Vec<ConnId>,
    done: Vec<bool>,
    next: usize,
}

impl Fanout {
    /// An event for the connections with these slots, which are owed it from now on.
    pub(super) fn new(
        event: &Arc<Event>,
        frame: &[u8],
        slots: &mut [u32],
        connections: &mut Connections,
    ) -> Self {
        slots.sort_unstable();
        let mut conns = Vec::with_capacity(slots.len());
        for slot in slots {
            if let Some(connection) = connections.at(*slot) {
                connection.owed += 1;
                conns.push(connection.id);
            }
        }
        let done = vec![false; conns.len()];
        Self { event: event.clone(), frame: frame.to_vec(), conns, done, next: 0 }
    }

    /// The next connection that is to be told; `None` at the end.
    pub(super) fn next(&mut self) -> Option<ConnId> {
        while self.next < self.conns.len() {
            let at = self.next;
            self.next += 1;
            if !self.done[at] {
                return Some(self.conns[at]);
            }
        }
        None
    }

    /// Marks the connection as told; false if it is not owed this event.
    pub(super) fn take(&mut self, conn: ConnId) -> bool {
        let Some(at) = self.position(conn).filter(|at| *at >= self.next) else { return false };
        self.done[at] = true;
        true
    }

    /// Where the connection stands, if it is still owed the event.
    fn position(&self, conn: ConnId) -> Option<usize> {
        let at = self.conns.binary_search_by_key(&conn.slot, |other| other.slot).ok()?;
        (self.conns[at] == conn && !self.done[at]).then_some(at)
    }
}

/// Watchers of one event up to which all of them are told at once.
pub(super) const TOLD_AT_ONCE_MAX: usize = 64;
/// Events on their way to many at a time; the next ones wait in the queue from the quorum core.
pub(super) const FANOUTS_MAX: usize = 16;
