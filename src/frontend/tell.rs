//! Events on their way to connections: each is told in the order in which they were committed.

use std::collections::VecDeque;

use crate::codes::perms;
use crate::handoff::Event;

use super::connection::{Connection, Connections, Phase};
use super::fanout::Fanout;
use super::hold::{ANNOUNCEMENT, LOOKUP, Work, acl_work};
use super::state::ShardState;

impl ShardState {
    /// Sends events on their way to some more connections, oldest events first.
    pub(super) fn fan_out(&mut self, connections: &mut Connections, left: &mut Work) {
        while *left > 0 {
            let Some(mut fanout) = self.fanouts.pop_front() else { return };
            while *left > 0
                && let Some(slot) = fanout.next()
            {
                let connection = connections.at(slot);
                let work = connection.map_or(LOOKUP, |conn| self.pay(conn, &fanout));
                *left = left.saturating_sub(work);
            }
            if *left == 0 {
                self.fanouts.push_front(fanout);
            }
        }
    }

    /// Writes every event that the connection is owed. To be called before anything else is
    /// written.
    #[inline]
    pub(super) fn catch_up(&mut self, conn: &mut Connection) -> Work {
        if self.fanouts.is_empty() { 0 } else { self.catch_up_slowly(conn) }
    }

    fn catch_up_slowly(&mut self, conn: &mut Connection) -> Work {
        let mut work = 0;
        let mut fanouts: VecDeque<Fanout> = std::mem::take(&mut self.fanouts);
        for fanout in &mut fanouts {
            if fanout.take(conn.id.slot) {
                work += self.pay(conn, fanout);
            }
        }
        self.fanouts = fanouts;
        work
    }

    fn pay(&mut self, conn: &mut Connection, fanout: &Fanout) -> Work {
        if conn.phase == Phase::Closed {
            return LOOKUP;
        }
        if let Some(path) = fanout.path {
            self.watches.settle(conn.id.slot, path);
        }
        LOOKUP + self.tell(conn, &fanout.event, &fanout.frame)
    }

    /// A connection that has gone is owed nothing, nor is the next one in its slot.
    pub(super) fn owe_nothing(&mut self, slot: u32) {
        for fanout in &mut self.fanouts {
            fanout.take(slot);
        }
    }

    /// Writes an event to a connection that watches for it, if it may see it.
    pub(super) fn tell(&mut self, conn: &mut Connection, event: &Event, frame: &[u8]) -> Work {
        let acl = event.acl.as_deref().unwrap_or_default();
        if !self.config.acl.permits(acl, perms::READ, &conn.auth) && !mutant!(EventIgnoresAcl) {
            return LOOKUP + acl_work(acl.len(), conn.auth.len());
        }
        let work = 2 * LOOKUP
            + acl_work(acl.len(), conn.auth.len())
            + if conn.announced { 0 } else { ANNOUNCEMENT };
        self.append_event(conn, frame);
        self.counts.events += 1;
        self.counts.traffic.event_bytes += frame.len() as u64;
        // Events are never dropped one by one: a client that does not read them is disconnected.
        if conn.unsent.event_bytes() > self.config.out_bytes_max {
            self.cut_off(conn);
        }
        work
    }
}
