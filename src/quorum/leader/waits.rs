//! Requests of learners that wait, and what waits with them: see `held`.

use std::collections::VecDeque;

use super::{Asker, Leader};
use crate::packet::RequestPacket;
use crate::zab::LearnerConn;

impl Leader {
    /// A request waits for its turn, and so does what its learner asks for after it.
    pub(super) fn begin_wait(&mut self, asker: Option<Asker>) {
        if let Some(conn) = asker.and_then(Asker::learner) {
            self.held.wait(conn);
        }
    }

    /// A request that has waited is about to be decided: what its learner has asked for after it
    /// goes on.
    pub(super) fn end_wait(&mut self, asker: Option<Asker>) {
        if let Some(conn) = asker.and_then(Asker::learner) {
            let held = self.held.decided(conn);
            self.let_go(conn, held);
        }
    }

    /// A request of this learner is dropped. Nothing that it has asked for after it is carried out.
    pub(super) fn hang_up(&mut self, conn: LearnerConn) {
        self.held.take(conn);
        self.forwarded.retain(|(from, _)| *from != conn);
        self.machine.hang_up(conn);
    }

    /// A learner is gone.
    pub(in super::super) fn on_learner_gone(&mut self, conn: LearnerConn) {
        let held = self.held.take(conn);
        self.let_go(conn, held);
        self.machine.on_closed(conn);
    }

    /// These come before all that is forwarded of their learner.
    fn let_go(&mut self, conn: LearnerConn, held: VecDeque<RequestPacket>) {
        held.into_iter().rev().for_each(|request| self.forwarded.push_front((conn, request)));
    }
}
