//! Synchronization: every learner gets the leader's history, and a quorum says that it has it on its
//! disks (Zab paper, phase 2).

use super::learner::{Stage, Sync};
use super::{CloseLearner, LeadEffect, Leading, LearnerConn, Phase};
use crate::packet::Packet;
use crate::zab::history::{LogReach, SyncPlan};
use crate::zab::members::ServerId;
use crate::zxid::Zxid;

impl Leading {
    /// The current epoch is durable here: the history of this server is the epoch's.
    pub fn on_current_epoch(&mut self, epoch: u32, now_ms: i64) {
        assert_eq!((self.phase, epoch), (Phase::StoringCurrent, self.epoch), "what was asked for");
        self.enter(Phase::NewLeader, now_ms);
        self.history.begin(self.own.current_epoch, self.epoch);
        self.new_leader_acks.insert(self.me);
        let waiting = self.conns_of(|learner| learner.stage == Stage::EpochAcked);
        waiting.into_iter().for_each(|conn| self.synchronize(conn));
        self.count_new_leader_acks(now_ms);
    }

    /// Decides what a learner gets. From here on it gets every proposal, whatever is on its way to
    /// it before (S24).
    pub(super) fn synchronize(&mut self, conn: LearnerConn) {
        let Some(learner) = self.learners.get(&conn) else { return };
        let peer = learner.last;
        let plan = self.history.plan(peer);
        self.carry_out(conn, peer, plan);
    }

    /// What the log on the disk says.
    pub fn on_log_reach(&mut self, conn: LearnerConn, reach: LogReach) {
        let Some(learner) = self.learners.get(&conn) else { return };
        if learner.stage == Stage::EpochAcked && self.phase >= Phase::NewLeader {
            let peer = learner.last;
            let plan = self.history.plan_from_log(peer, reach);
            self.carry_out(conn, peer, plan);
        }
    }

    fn carry_out(&mut self, conn: LearnerConn, peer: Zxid, plan: SyncPlan) {
        if plan == SyncPlan::Snap && !self.may_send_tree(conn) {
            return;
        }
        let last = self.history.last();
        let sync = match plan {
            SyncPlan::AskLog => None,
            SyncPlan::Snap => Some(Sync::Snap),
            SyncPlan::Diff { .. } | SyncPlan::Trunc { .. } => Some(Sync::Diff),
        };
        if let Some(sync) = sync
            && !self.begin_sync(conn, sync)
        {
            return self.close(conn, CloseLearner::TooManySyncs);
        }
        self.diffs += u64::from(matches!(plan, SyncPlan::Diff { .. } | SyncPlan::Trunc { .. }));
        match plan {
            SyncPlan::AskLog => {
                return self.effects.push_back(LeadEffect::AskLog { of: conn, peer });
            }
            SyncPlan::Diff { after } => {
                let after_it = mutant!(NewLeaderBeforeHistory);
                // Apache's names the learner's own zxid where nothing is lacking.
                let zxid = if after == last { peer } else { last };
                self.send(conn, &Packet::Diff { zxid });
                if after_it {
                    self.send_new_leader(conn);
                }
                self.send_history(conn, after);
                if after_it {
                    return;
                }
            }
            SyncPlan::Trunc { to } => {
                self.send(conn, &Packet::Trunc { zxid: to });
                self.send_history(conn, to);
            }
            SyncPlan::Snap => {
                let applied = self.applied;
                self.send(conn, &Packet::Snap { zxid: applied });
                self.effects.push_back(LeadEffect::SendTree { to: conn });
                self.send_history(conn, applied);
            }
        }
        self.send_outstanding(conn);
        self.send_new_leader(conn);
    }

    /// Whether the tree shows all that was committed when the learner came. What it has acknowledged
    /// before may have made that so, and the tree takes the place of all on its disk: an older one
    /// would take away what a quorum is believed to have. Else it waits.
    fn may_send_tree(&mut self, conn: LearnerConn) -> bool {
        let (applied, committed) = (self.applied, self.history.last());
        let Some(learner) = self.learners.get_mut(&conn) else { return false };
        applied >= *learner.tree_shows.get_or_insert(committed)
    }

    /// Sends the trees that have waited for this server's own disk.
    pub(super) fn send_due_trees(&mut self) {
        let applied = self.applied;
        let is_due = |learner: &super::Learner| {
            learner.stage == Stage::EpochAcked
                && learner.tree_shows.is_some_and(|upto| upto <= applied)
        };
        if self.learners.values().any(is_due) {
            let due = self.conns_of(is_due);
            due.into_iter().for_each(|conn| self.carry_out(conn, Zxid::UNKNOWN, SyncPlan::Snap));
        }
    }

    /// Notes how a learner is synchronized. False if it has to wait (`LearnerSyncThrottler`).
    fn begin_sync(&mut self, conn: LearnerConn, sync: Sync) -> bool {
        let under_way = |learner: &&super::Learner| {
            learner.stage == Stage::NewLeaderSent && learner.sync == Some(sync)
        };
        let count = self.learners.values().filter(under_way).count();
        let max = if sync == Sync::Snap { self.limits.snaps } else { self.limits.diffs };
        let Some(learner) = self.learners.get_mut(&conn) else { return true };
        learner.sync = Some(sync);
        learner.is_follower || count < max
    }

    fn send_new_leader(&mut self, conn: LearnerConn) {
        let config = Some(self.members.text().clone());
        self.send(conn, &Packet::NewLeader { zxid: self.start(), config });
        if let Some(learner) = self.learners.get_mut(&conn) {
            learner.stage = Stage::NewLeaderSent;
        }
    }

    /// What is committed after `after`: from the disk, then from memory.
    fn send_history(&mut self, to: LearnerConn, after: Zxid) {
        let mut before = self.history.before();
        if after < before {
            if mutant!(GapBetweenLogAndMemory) {
                before = Zxid(before.0 - 1);
            }
            self.effects.push_back(LeadEffect::SendLog { to, after, upto: before });
        }
        let bytes = self.history.packets_after(after);
        if !bytes.is_empty() {
            self.send_bytes(to, bytes.into());
        }
    }

    /// What is proposed and not committed, to a follower.
    fn send_outstanding(&mut self, to: LearnerConn) {
        if !self.learners.get(&to).is_some_and(|learner| learner.is_follower) {
            return;
        }
        let mut bytes = Vec::new();
        for logged in &self.outstanding {
            let (zxid, record) = (logged.zxid, logged.record.clone());
            Packet::Proposal { zxid, record }.write(&mut bytes);
        }
        if !bytes.is_empty() {
            self.send_bytes(to, bytes.into());
        }
    }

    /// The learner has the history on its disk. Any other zxid is an acknowledgement that has no
    /// meaning yet.
    pub(super) fn on_new_leader_ack(&mut self, conn: LearnerConn, zxid: Zxid, now_ms: i64) {
        let start = self.start();
        let Some(learner) = self.learners.get_mut(&conn).filter(|_| zxid == start) else { return };
        learner.stage = Stage::HasHistory;
        learner.silent_at = now_ms + self.settings.init_ms() + self.settings.sync_ms();
        if mutant!(NewLeaderAckCountsProposals) {
            learner.acked = self.outstanding.back().map_or(start, |logged| logged.zxid);
        }
        let counts = |id: &ServerId| learner.is_follower && self.members.is_voter(*id);
        let id = learner.id.filter(|id| counts(id) || mutant!(ObserverCounted));
        self.new_leader_acks.extend(id);
        match self.phase {
            Phase::Broadcast => self.send_up_to_date(conn, now_ms),
            _ => self.count_new_leader_acks(now_ms),
        }
    }

    fn count_new_leader_acks(&mut self, now_ms: i64) {
        if self.phase != Phase::NewLeader || !self.is_quorum(&self.new_leader_acks) {
            return;
        }
        self.phase = Phase::Broadcast;
        self.effects.push_back(LeadEffect::Begin { epoch: self.epoch });
        let ready = self.conns_of(|learner| learner.stage == Stage::HasHistory);
        ready.into_iter().for_each(|conn| self.send_up_to_date(conn, now_ms));
        // Some that have acknowledged it may be gone.
        self.look_for_quorum();
    }

    /// It acknowledges what was proposed meanwhile once it has read this, and all of that stands
    /// before it: it gets `initLimit` for it beside the time that an acknowledgement may take
    /// (`SyncLimitCheck` begins here, too).
    fn send_up_to_date(&mut self, conn: LearnerConn, now_ms: i64) {
        self.send(conn, &Packet::UpToDate);
        let (proposed, from) = (self.proposed, now_ms + self.settings.init_ms());
        if let Some(learner) = self.learners.get_mut(&conn) {
            learner.stage = Stage::UpToDate;
            learner.awaited = learner.awaited.map(|_| (proposed, from));
        }
    }
}
