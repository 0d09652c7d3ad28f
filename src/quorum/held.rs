//! Requests of learners that are held back, so that the requests of each are decided in its order:
//! an Apache's learner takes outcomes in the order in which it has asked, whatever session they are
//! of (`CommitProcessor`), and would wait for ever for one that was passed over.

use std::collections::{BTreeMap, VecDeque};

use crate::packet::RequestPacket;
use crate::zab::LearnerConn;

/// By learner. Invariant: each of them has a request that waits.
#[derive(Debug, Default)]
pub(super) struct Held(BTreeMap<LearnerConn, Line>);

/// What one learner has asked for after a request that waits. The learners bound it: each is one
/// that a client of theirs waits for.
#[derive(Debug, Default)]
struct Line {
    /// Requests that have been taken up and are not yet decided.
    waiting: usize,
    requests: VecDeque<RequestPacket>,
}

impl Held {
    /// A request has been taken up and has to wait.
    pub(super) fn wait(&mut self, conn: LearnerConn) {
        self.0.entry(conn).or_default().waiting += 1;
    }

    /// Keeps a request whose learner has one that waits, or gives it back.
    pub(super) fn hold(
        &mut self,
        conn: LearnerConn,
        request: RequestPacket,
    ) -> Option<RequestPacket> {
        match self.0.get_mut(&conn) {
            Some(line) => {
                line.requests.push_back(request);
                None
            }
            None => Some(request),
        }
    }

    /// One that waited is decided: what was held goes on in its order, if it was the last.
    pub(super) fn decided(&mut self, conn: LearnerConn) -> VecDeque<RequestPacket> {
        match self.0.get_mut(&conn) {
            Some(line) if line.waiting > 1 => {
                line.waiting -= 1;
                VecDeque::new()
            }
            _ => self.take(conn),
        }
    }

    /// The learner is gone: nothing is held for it any more.
    pub(super) fn take(&mut self, conn: LearnerConn) -> VecDeque<RequestPacket> {
        self.0.remove(&conn).unwrap_or_default().requests
    }

    /// The invariants of the fields.
    pub(super) fn check(&self) {
        debug_assert!(self.0.values().all(|line| line.waiting > 0));
    }
}
