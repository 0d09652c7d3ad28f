//! Rounds of questions to a quorum: whoever answers a sync still leads (S60).

use std::collections::VecDeque;

use crate::zab::{Leading, LearnerConn};
use crate::zxid::Zxid;

/// At most one question is under way; who comes meanwhile shares the next one.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    /// Rounds that have begun, and the question of the last one if it is not answered.
    begun: u64,
    question: Option<u64>,
    /// Somebody waits for the round after it.
    wants_next: bool,
    /// The syncs of learners. Invariant: in the order of rounds and of zxids.
    waiting: VecDeque<LearnerSync>,
}

#[derive(Debug)]
struct LearnerSync {
    round: u64,
    after: Zxid,
    to: LearnerConn,
}

impl Rounds {
    /// The number of the round that begins after this call, or with it.
    pub(super) fn join(&mut self, machine: &mut Leading) -> u64 {
        if self.question.is_none() {
            self.begin(machine);
            return self.begun;
        }
        self.wants_next = true;
        self.begun + 1
    }

    fn begin(&mut self, machine: &mut Leading) {
        self.begun += 1;
        self.question = Some(machine.confirm());
        self.wants_next = false;
    }

    /// The learner gets its SYNC once all up to `after` is committed and a quorum has answered, or
    /// with what is committed next.
    pub(super) fn sync(&mut self, to: LearnerConn, after: Zxid, machine: &mut Leading) {
        machine.await_sync(to, after);
        let round = self.join(machine);
        self.waiting.push_back(LearnerSync { round, after, to });
    }

    /// A quorum has answered all questions up to `question`.
    pub(super) fn on_confirmed(&mut self, question: u64, machine: &mut Leading) {
        if self.question.is_some_and(|asked| asked <= question) {
            self.question = None;
            if self.wants_next {
                self.begin(machine);
            }
        }
    }

    /// The last round that is answered.
    pub(super) fn done(&self) -> u64 {
        self.begun - u64::from(self.question.is_some())
    }

    /// The syncs of learners that wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Sends what is due.
    pub(super) fn release(&mut self, machine: &mut Leading) {
        let (done, committed) = (self.done(), machine.committed());
        while let Some(next) = self.waiting.front()
            && next.round <= done
            && next.after <= committed
        {
            machine.sync(next.to, next.after);
            self.waiting.pop_front();
        }
    }
}
