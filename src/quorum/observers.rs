//! The observers of a follower: what they ask goes to the leader beside what its own clients ask, and
//! the answers come back in the same order.

use super::Effect;
use super::learner::{Learner, Renewer, Syncer};
use super::role::PeerEvent;
use super::writes::Writes;
use crate::codes::OpCode;
use crate::packet::Packet;
use crate::tree::Tree;
use crate::txnlog::Durable;
use crate::zab::{LeadEffect, LearnerConn, LearnerCounts};
use crate::zxid::{SessionId, Zxid};

impl Learner {
    /// Something of the observers.
    pub(super) fn on_observer(&mut self, event: PeerEvent, now_ms: i64) {
        let Some(observers) = &mut self.observers else { return };
        match event {
            PeerEvent::Time => observers.on_time(now_ms),
            PeerEvent::Connected(conn) => observers.on_connection(conn, now_ms),
            PeerEvent::Learner(conn, packet) => observers.on_packet(conn, packet, now_ms),
            PeerEvent::LearnerGone(conn) => observers.on_closed(conn),
            PeerEvent::Taken(conn) => observers.on_taken(conn, now_ms),
            PeerEvent::LogReach(conn, reach) => observers.on_log_reach(conn, reach),
            _ => {}
        }
    }

    /// Log and tree end with `zxid`, if anything was changed.
    pub(super) fn restart_observers(&mut self, zxid: Option<Zxid>) {
        if let Some((observers, zxid)) = self.observers.as_mut().zip(zxid) {
            observers.restart_at(zxid);
        }
    }

    /// When [`PeerEvent::Time`] is wanted.
    pub(super) fn wakes_at(&self) -> i64 {
        let of_observers = self.observers.as_ref().map_or(i64::MAX, |all| all.wakes_at());
        self.machine.wakes_at().min(of_observers)
    }

    /// A flush of this server covers all up to here.
    pub(super) fn on_durable(&mut self, upto: Durable<Zxid>, now_ms: i64) {
        if let Some(observers) = &mut self.observers {
            observers.on_durable(upto.get());
        }
        self.machine.on_durable(upto, now_ms);
    }

    /// The tree shows all up to here.
    pub(super) fn on_applied(&mut self, upto: Zxid) {
        if let Some(observers) = &mut self.observers {
            observers.on_applied(upto);
        }
    }

    /// The observers hear of what the leader has committed.
    pub(super) fn inform_observers(&mut self, upto: Zxid) {
        if let Some(observers) = &mut self.observers {
            observers.on_committed(upto);
        }
    }

    /// The sync of an observer is answered, after all up to `after`.
    pub(super) fn tell_synced(&mut self, conn: LearnerConn, after: Zxid) {
        if let Some(observers) = &mut self.observers {
            observers.on_committed(after);
            observers.send(conn, &Packet::Sync);
        }
    }

    /// The leader has decided whether a session of an observer's client lives.
    pub(super) fn tell_revalidated(&mut self, conn: LearnerConn, session: SessionId, valid: bool) {
        if let Some(observers) = &mut self.observers {
            observers.send(conn, &Packet::Revalidated { session, valid });
        }
    }

    /// Passes on what the observers ask; the rest is the shell's. Whether the leader is told
    /// anything.
    pub(super) fn take_of_observers(&mut self, writes: &mut Writes, tree: &Tree) -> bool {
        let mut is_told = false;
        while let Some(effect) = self.observers.as_mut().and_then(|all| all.poll()) {
            match effect {
                LeadEffect::Request { from, request } => {
                    if request.op == OpCode::SYNC && mutant!(ObserverSyncedByMaster) {
                        self.tell_synced(from, self.machine.committed());
                        continue;
                    }
                    if request.op == OpCode::SYNC {
                        self.syncs.push_back(Syncer::Observer(from));
                    }
                    self.machine.forward(request);
                    is_told = true;
                }
                LeadEffect::Revalidate { from, session, timeout_ms } => {
                    let renewal = (Renewer::Observer(from), timeout_ms);
                    self.renewals.entry(session).or_default().push_back(renewal);
                    self.machine.revalidate(session, timeout_ms);
                    is_told = true;
                }
                LeadEffect::Touched { sessions } => {
                    sessions.into_iter().for_each(|touched| self.on_touched(touched, tree));
                }
                effect => writes.effects.push_back(Effect::Lead(effect)),
            }
        }
        is_told
    }

    /// An observer has heard of a session. One that the tree does not show yet has a timer that has
    /// only begun; one that it does not show any more needs none.
    fn on_touched(&mut self, (session, timeout_ms): (SessionId, i32), tree: &Tree) {
        let Some(known) = tree.session_timeout(session) else { return };
        self.touched.insert(session);
        if known != timeout_ms {
            self.arrived.insert(session, timeout_ms);
        }
    }

    /// The observers now.
    pub(super) fn observer_counts(&self) -> LearnerCounts {
        let synced_observers = self.observers.as_ref().map_or(0, |all| all.synced());
        LearnerCounts { synced_observers, ..LearnerCounts::default() }
    }
}
