//! Broadcast: a transaction is proposed to all, and committed once a quorum has it on its disks
//! (Zab paper, phase 3).

use bytes::Bytes;

use super::learner::Stage;
use super::{CloseLearner, LeadEffect, Leading, LearnerConn, Phase, StepDown};
use crate::packet::Packet;
use crate::txnlog::Durable;
use crate::zab::history::Logged;
use crate::zab::members::ServerId;
use crate::zxid::Zxid;

impl Leading {
    /// The zxid of the transaction after `last`, the last one that has a zxid; `None` if the epoch
    /// has no more.
    pub fn zxid_after(&self, last: Zxid) -> Option<Zxid> {
        match last.epoch() == self.epoch {
            _ if self.is_standalone => Some(last.next()),
            true if last.counter() >= self.counter_max => None,
            true => Some(last.next()),
            false => Some(Zxid::new(self.epoch, 1)),
        }
    }

    /// Proposes the transactions of a group, which the shell appends to the log at the same time:
    /// they are on their way to the followers before its flush is asked for. `last` is the zxid of
    /// the last of them. Where nobody else is in the ensemble `group` is not looked at.
    pub fn propose(&mut self, last: Zxid, group: impl IntoIterator<Item = Logged>, now_ms: i64) {
        assert_eq!(self.phase, Phase::Broadcast, "nothing is proposed before a quorum is there");
        assert!(last > self.proposed, "{last} follows {}", self.proposed);
        if self.members.has_others() {
            self.propose_to_others(group, now_ms);
            assert_eq!(self.proposed, last, "the group ends with its last transaction");
        }
        self.proposed = last;
        self.check();
    }

    /// One buffer of packets goes to all followers.
    fn propose_to_others(&mut self, group: impl IntoIterator<Item = Logged>, now_ms: i64) {
        let mut bytes = Vec::with_capacity(self.room.bytes());
        for logged in group {
            let (zxid, last) = (logged.zxid, self.proposed);
            assert_eq!(self.zxid_after(last), Some(zxid), "{zxid} does not follow {last}");
            Packet::Proposal { zxid, record: logged.record.clone() }.write(&mut bytes);
            self.outstanding.push_back(logged);
            self.proposed = zxid;
        }
        self.room.filled(bytes.len());
        let bytes = Bytes::from(bytes);
        let joined = |l: &super::Learner| l.stage >= Stage::HasHistory;
        let is_live =
            |l: &super::Learner| l.is_live() && (joined(l) || !mutant!(JoinerNotProposedTo));
        let live = self.learners.iter_mut().filter(|(_, l)| is_live(l) && l.is_follower);
        for (conn, learner) in live {
            learner.awaited.get_or_insert((self.proposed, now_ms));
            self.effects.push_back(LeadEffect::Send { to: *conn, bytes: bytes.clone() });
        }
    }

    /// This server's own log is durable up to here: one acknowledgement among the others.
    pub fn on_durable(&mut self, upto: Durable<Zxid>) {
        assert!(upto.get() >= self.durable && upto.get() <= self.proposed, "what was proposed");
        self.durable = upto.get();
        self.advance();
        self.check();
    }

    /// The tree shows all up to here.
    pub fn on_applied(&mut self, upto: Zxid) {
        assert!(upto >= self.applied, "what is applied stays applied");
        self.applied = upto;
        self.check();
    }

    /// A packet of a learner that has the history.
    pub(super) fn on_served(&mut self, conn: LearnerConn, packet: Packet, now_ms: i64) {
        match packet {
            Packet::Ack { zxid } => self.on_ack(conn, zxid, now_ms),
            Packet::Pong { touched, .. } => {
                self.on_pong(conn);
                if !touched.is_empty() {
                    self.effects.push_back(LeadEffect::Touched { sessions: touched });
                }
            }
            Packet::Request(request) => {
                self.effects.push_back(LeadEffect::Request { from: conn, request });
            }
            Packet::Revalidate { session, timeout_ms } => {
                self.effects.push_back(LeadEffect::Revalidate { from: conn, session, timeout_ms });
            }
            Packet::Unknown { .. } => {}
            packet => self.close(conn, CloseLearner::Unexpected { kind: packet.kind() }),
        }
    }

    /// All up to `zxid` is durable at a learner. Logs have no gaps, so one acknowledgement stands
    /// for all before it, which Apache's sends one by one.
    fn on_ack(&mut self, conn: LearnerConn, zxid: Zxid, now_ms: i64) {
        let (start, proposed) = (self.start(), self.proposed);
        if zxid > proposed.max(start) {
            return self.close(conn, CloseLearner::AckedTooMuch { zxid });
        }
        let Some(learner) = self.learners.get_mut(&conn) else { return };
        // UPTODATE is acknowledged with the start of the epoch, which was never proposed; 3.8
        // acknowledges what it got in synchronization.
        if zxid != start {
            learner.acked = learner.acked.max(zxid);
        }
        if learner.awaited.is_some_and(|(awaited, _)| awaited <= zxid) {
            learner.awaited = (zxid < proposed).then_some((proposed, now_ms));
        }
        // What is committed already has a quorum without it.
        if zxid > self.history.last() {
            self.advance();
        }
    }

    /// A learner has asked for a sync, after all up to `after` was proposed. It is told before any
    /// later transaction is: an Apache server takes what it has asked for in that order, and never
    /// answers what comes out of it (`CommitProcessor`). That a quorum has acknowledged a later
    /// transaction says that this server led when it was asked.
    pub fn await_sync(&mut self, conn: LearnerConn, after: Zxid) {
        if let Some(learner) = self.learners.get_mut(&conn) {
            assert!(learner.syncs.back().is_none_or(|last| *last <= after), "in order");
            learner.syncs.push_back(after);
        }
    }

    /// Tells a learner that the sync it asked for after `after` is done, if it has not been told.
    pub fn sync(&mut self, conn: LearnerConn, after: Zxid) {
        let Some(learner) = self.learners.get_mut(&conn) else { return };
        if learner.syncs.pop_front_if(|next| *next == after).is_some() {
            self.send(conn, &Packet::Sync);
        }
    }

    /// Commits what a quorum has.
    fn advance(&mut self) {
        let committed = self.history.last();
        let acked = |id: ServerId| match id == self.me {
            true if mutant!(LeaderCountsUnflushed) => self.proposed(),
            true => self.durable,
            false => self.follower(id).map_or(Zxid::ZERO, |learner| learner.acked),
        };
        if let Some(upto) = self.members.reached_by_quorum(acked).filter(|upto| *upto > committed) {
            self.commit(upto);
        }
    }

    fn commit(&mut self, upto: Zxid) {
        let count = self.outstanding.partition_point(|logged| logged.zxid <= upto);
        let (mut commits, mut informs) = (Vec::with_capacity(count * COMMIT_BYTES), Vec::new());
        let (mut commit_starts, mut inform_starts) = (Vec::new(), Vec::new());
        let has_observers = self.learners.values().any(|l| l.is_live() && !l.is_follower);
        let has_syncs = self.learners.values().any(|l| !l.syncs.is_empty());
        for logged in self.outstanding.drain(..count) {
            let zxid = logged.zxid;
            if has_syncs {
                commit_starts.push((zxid, commits.len()));
                inform_starts.push((zxid, informs.len()));
            }
            Packet::Commit { zxid }.write(&mut commits);
            if has_observers {
                let record = logged.record.clone();
                Packet::Inform { zxid, record }.write(&mut informs);
            }
            self.history.push(logged, self.durable);
        }
        if !self.members.has_others() {
            self.history.pass(upto);
        }
        let (commits, informs) = (Bytes::from(commits), Bytes::from(informs));
        for (conn, learner) in self.learners.iter_mut().filter(|(_, learner)| learner.is_live()) {
            if mutant!(JoinerMissesCommits) && learner.stage < Stage::HasHistory {
                continue;
            }
            let bytes = match learner.is_follower {
                true => learner.with_syncs(&commits, &commit_starts),
                false => learner.with_syncs(&informs, &inform_starts),
            };
            self.effects.push_back(LeadEffect::Send { to: *conn, bytes });
        }
        self.effects.push_back(LeadEffect::Committed { upto });
        // Nothing is lost: what was proposed is committed, and the next leader has a new epoch.
        let is_over = upto.counter() >= self.counter_max && !self.is_standalone;
        if is_over && !mutant!(RolloverIgnored) {
            self.step_down(StepDown::Rollover);
        }
    }
}

/// The bytes of a COMMIT: type, zxid, and the lengths of no data and no ids.
const COMMIT_BYTES: usize = 20;
/// A longer group's buffer grows.
pub(super) const GROUP_BYTES_MAX: usize = 256 << 10;
