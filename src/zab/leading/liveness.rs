//! Pings and deadlines: which learners are there, whether a quorum is, and whether this server still
//! leads.

use super::learner::Stage;
use super::{CloseLearner, LeadEffect, Leading, LearnerConn, Phase, StepDown};
use crate::packet::Packet;

impl Leading {
    /// Time has passed. To be called at [`Self::wakes_at`], and after any stall: what has run out
    /// meanwhile counts.
    pub fn on_time(&mut self, now_ms: i64) {
        if self.has_ended {
            return;
        }
        let is_over = self.phase_ends_at <= now_ms && !mutant!(DiscoveryWithoutEnd);
        if self.phase == Phase::Epochs && is_over {
            return self.end_epochs(now_ms);
        }
        if self.phase < Phase::Broadcast && is_over {
            return self.step_down(StepDown::NoQuorum);
        }
        self.close_silent(now_ms);
        self.send_due_trees();
        self.look_for_quorum();
        self.look_for_voters(now_ms);
        if self.next_ping_at <= now_ms {
            self.next_ping_at = now_ms + (self.settings.tick_ms / 2).max(1);
            self.ping();
        }
        self.check();
    }

    /// Whether the disk under this server's log is full, from time to time. A leader that can log
    /// nothing gives way after a while if its followers are a quorum without it. One whose disk was
    /// full when it was elected goes on: nobody else was to be had.
    pub fn on_full_disk(&mut self, is_full: bool, now_ms: i64) {
        self.had_room |= !is_full;
        self.full_since = match is_full && self.had_room {
            true => Some(self.full_since.unwrap_or(now_ms)),
            false => None,
        };
        let is_long = self.full_since.is_some_and(|since| now_ms - since >= FULL_MS);
        let can_go_on =
            || self.members.is_quorum(|id| id != self.me && self.follower(id).is_some());
        if is_long && self.phase == Phase::Broadcast && can_go_on() {
            self.step_down(StepDown::FullDisk);
        }
    }

    /// When [`Self::on_time`] has something to do at the latest.
    pub fn wakes_at(&self) -> i64 {
        match self.phase {
            Phase::Broadcast => self.next_ping_at,
            _ => self.next_ping_at.min(self.phase_ends_at).min(self.voters_wake_at()),
        }
    }

    /// A learner has taken more of what it is synchronized with: a tree of gigabytes is on its way
    /// for longer than one may be silent.
    pub fn on_taken(&mut self, conn: LearnerConn, now_ms: i64) {
        let silent_at = now_ms + self.settings.init_ms() + self.settings.sync_ms();
        let learner = self.learners.get_mut(&conn);
        if let Some(learner) = learner.filter(|learner| learner.stage == Stage::NewLeaderSent) {
            learner.silent_at = silent_at;
        }
    }

    /// Asks all learners whether they still follow, and returns the number of the question:
    /// [`LeadEffect::Confirmed`] says when a quorum has answered it. What was committed before the
    /// question is all that can have been committed by any leader (S60).
    pub fn confirm(&mut self) -> u64 {
        self.ping();
        self.count_answers();
        if mutant!(SyncWithoutQuorum) {
            self.effects.push_back(LeadEffect::Confirmed { upto: self.asked });
        }
        self.asked
    }

    /// Closes the connections of learners that have been silent for too long.
    fn close_silent(&mut self, now_ms: i64) {
        let sync_ms = self.settings.sync_ms();
        let is_silent = |learner: &super::Learner| {
            let late = learner.awaited.is_some_and(|(_, since)| since + sync_ms <= now_ms);
            learner.silent_at <= now_ms || (late && learner.stage == Stage::UpToDate)
        };
        let silent = self.conns_of(is_silent);
        silent.into_iter().for_each(|conn| self.close(conn, CloseLearner::Silent));
    }

    /// Steps down at once without a quorum: nothing can be committed, and a server that lost this
    /// leader finds no other while it claims to lead.
    pub(super) fn look_for_quorum(&mut self) {
        let is_serving = self.phase == Phase::Broadcast;
        if is_serving && !self.has_quorum() && !mutant!(LostQuorumLeadsOn) {
            self.step_down(StepDown::LostQuorum);
        }
    }

    /// Whether a quorum has the history and is connected.
    fn has_quorum(&self) -> bool {
        self.members.is_quorum(|id| id == self.me || self.follower(id).is_some())
    }

    fn ping(&mut self) {
        self.asked += 1;
        let (zxid, asked) = (self.proposed, self.asked);
        for conn in self.conns_of(super::Learner::is_live) {
            self.send(conn, &Packet::Ping { zxid });
            // Before UPTODATE nobody answers.
            if let Some(learner) = self.learners.get_mut(&conn)
                && learner.stage == Stage::UpToDate
            {
                learner.asked.push_back(asked);
                if learner.asked.len() > ASKED_MAX {
                    self.close(conn, CloseLearner::Silent);
                }
            }
        }
    }

    /// Answers come in the order of the pings.
    pub(super) fn on_pong(&mut self, conn: LearnerConn) {
        let Some(learner) = self.learners.get_mut(&conn) else { return };
        if let Some(number) = learner.asked.pop_front() {
            learner.answered = if mutant!(PongAnswersLatest) { self.asked } else { number };
            self.count_answers();
        }
    }

    fn count_answers(&mut self) {
        if self.phase != Phase::Broadcast {
            return;
        }
        let answered = |id| match id == self.me {
            true => self.asked,
            false => self.follower(id).map_or(0, |learner| learner.answered),
        };
        let reached = self.members.reached_by_quorum(answered);
        if let Some(upto) = reached.filter(|upto| *upto > self.confirmed) {
            self.confirmed = upto;
            self.effects.push_back(LeadEffect::Confirmed { upto });
        }
    }
}

/// Pings that a learner may leave unanswered.
pub(super) const ASKED_MAX: usize = 4096;

/// A disk that is full for so long is not about to get space, from a purge or by hand.
pub(super) const FULL_MS: i64 = 3_000;
