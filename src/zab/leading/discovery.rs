//! Discovery: a new epoch, above all that a quorum has accepted, and proof that nobody in the quorum
//! has a newer history (Zab paper, phase 1).

use super::learner::Stage;
use super::{CloseLearner, LeadEffect, Leading, LearnerConn, Phase, StepDown};
use crate::packet::{LearnerInfo, Packet};
use crate::zab::members::ServerId;
use crate::zxid::Zxid;

/// How much is believed of an accepted epoch that only one server knows of. Epochs are numbered once
/// and for all: what a damaged or lying member may take of them is little each time, and nothing of
/// what it does brings them to their end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// As many as failed elections explain.
    Usual,
    /// A small part of those that are left: there is no quorum otherwise.
    AtLast,
}

/// The highest accepted epoch that is believed where `known` has begun.
fn epoch_limit(known: u32, claim: Claim) -> u32 {
    let left = Zxid::EPOCH_MAX.saturating_sub(known);
    known.saturating_add(match claim {
        Claim::Usual => EPOCHS_AT_ONCE,
        Claim::AtLast => EPOCHS_AT_ONCE.max(left / EPOCHS_AT_LAST_PART),
    })
}

/// Elections in a row that only one member of a quorum has taken part in.
pub(super) const EPOCHS_AT_ONCE: u32 = 1_000;
/// Two million of all that there are.
const EPOCHS_AT_LAST_PART: u32 = 1_024;

impl Leading {
    /// FOLLOWERINFO or OBSERVERINFO.
    pub(super) fn on_info(
        &mut self,
        conn: LearnerConn,
        info: LearnerInfo,
        is_follower: bool,
        now_ms: i64,
    ) {
        if let Some(why) = self.refusal(&info) {
            return self.close(conn, why);
        }
        let Some(id) = info.server_id.map(ServerId) else { return };
        self.close_earlier(conn, id);
        let Some(learner) = self.learners.get_mut(&conn) else { return };
        (learner.id, learner.is_follower, learner.stage) = (Some(id), is_follower, Stage::Informed);
        learner.accepted = info.accepted_epoch;
        if self.members.is_voter(id) && is_follower {
            self.accepted.insert(id, info.accepted_epoch);
        }
        let is_far = info.accepted_epoch > epoch_limit(self.known_epoch(), Claim::Usual);
        let later = info.current_epoch.filter(|epoch| *epoch > self.epoch);
        self.voters.has_come(id);
        match self.phase {
            Phase::Epochs if self.accepted.contains_key(&id) => {
                self.choose_epoch(Claim::Usual, now_ms);
            }
            Phase::Epochs if is_far => {}
            Phase::Epochs => self.claimed = self.claimed.max(info.accepted_epoch),
            Phase::StoringAccepted if info.accepted_epoch < self.epoch => {}
            _ if info.accepted_epoch <= self.epoch && self.phase > Phase::StoringAccepted => {
                self.send_leader_info(conn);
            }
            _ if is_far => self.close_far(Claim::Usual),
            // To step down would let it be elected, and what this leader has acknowledged be lost:
            // most servers have lost their data, and this one comes with what it was before.
            Phase::Broadcast if later.is_some() => {
                let epoch = later.unwrap_or_default();
                self.close(conn, CloseLearner::OtherHistory { epoch });
            }
            // It would hang up, and come again for ever.
            _ if self.members.is_voter(id) && !mutant!(HigherEpochIgnored) => {
                self.step_down(StepDown::HigherEpoch { accepted: info.accepted_epoch });
            }
            _ => {}
        }
    }

    fn refusal(&self, info: &LearnerInfo) -> Option<CloseLearner> {
        let (protocol, version) = (info.protocol, info.config_version);
        match info.server_id {
            Some(id) if self.members.is_member(ServerId(id)) && id != self.me.0 => {}
            id => return Some(CloseLearner::NoMember { id }),
        }
        if protocol < LearnerInfo::PROTOCOL {
            return Some(CloseLearner::OldProtocol { protocol });
        }
        if info.accepted_epoch >= Zxid::EPOCH_MAX {
            return Some(CloseLearner::NoEpochLeft { accepted: info.accepted_epoch });
        }
        (version > self.members.version()).then_some(CloseLearner::NewerConfig { version })
    }

    /// A server has one connection: the later one.
    fn close_earlier(&mut self, conn: LearnerConn, id: ServerId) {
        let earlier = self.conns_of(|learner| learner.id == Some(id));
        for other in earlier.into_iter().filter(|other| *other != conn) {
            self.close(other, CloseLearner::CameBack);
        }
    }

    /// Chooses the epoch once a quorum's accepted ones are known and taken.
    pub(super) fn choose_epoch(&mut self, taken: Claim, now_ms: i64) {
        let known = self.known_epoch();
        let limit = epoch_limit(known, taken);
        let is_taken = |id| self.accepted.get(&id).is_some_and(|epoch| *epoch <= limit);
        let has_quorum = || self.members.is_quorum(|id| id == self.me || is_taken(id));
        if self.phase == Phase::Epochs && has_quorum() {
            let of_others = self.accepted.values().filter(|epoch| **epoch <= limit);
            let highest = of_others.fold(known, |highest, epoch| highest.max(*epoch));
            let highest = highest.max(self.claimed);
            if highest >= Zxid::EPOCH_MAX {
                return self.step_down(StepDown::NoEpochLeft { accepted: highest });
            }
            self.close_far(taken);
            self.epoch = highest + 1;
            self.enter(Phase::StoringAccepted, now_ms);
            if mutant!(EpochOfferedBeforeStored) {
                self.send_leader_info_to_all();
            }
            self.effects.push_back(LeadEffect::StoreAcceptedEpoch { epoch: self.epoch });
        }
    }

    /// The time for epochs is over: what one server alone says must do, within its bound.
    pub(super) fn end_epochs(&mut self, now_ms: i64) {
        self.choose_epoch(Claim::AtLast, now_ms);
        if self.phase == Phase::Epochs {
            self.close_far(Claim::AtLast);
            self.step_down(StepDown::NoQuorum);
        }
    }

    /// The highest epoch that has surely begun: this server has accepted it, or two others say that
    /// they have. One that is damaged or lies agrees with nobody.
    fn known_epoch(&self) -> u32 {
        let mut others: Vec<u32> = self.accepted.values().copied().collect();
        others.sort_unstable_by(|a, b| b.cmp(a));
        others.get(1).map_or(self.epoch, |second| self.epoch.max(*second))
    }

    /// Turns away whoever has accepted what cannot be believed: it follows no lower epoch.
    fn close_far(&mut self, taken: Claim) {
        let known = self.known_epoch();
        let limit = epoch_limit(known, taken);
        for conn in self.conns_of(|learner| learner.accepted > limit) {
            let accepted = self.learners.get(&conn).map_or(0, |learner| learner.accepted);
            self.close(conn, CloseLearner::EpochTooFar { accepted, known });
        }
    }

    /// The accepted epoch is durable here: only now others may be asked to accept it.
    pub fn on_accepted_epoch(&mut self, epoch: u32, now_ms: i64) {
        assert_eq!((self.phase, epoch), (Phase::StoringAccepted, self.epoch), "what was asked for");
        self.enter(Phase::EpochAcks, now_ms);
        self.epoch_acks.insert(self.me);
        if !mutant!(EpochOfferedBeforeStored) {
            self.send_leader_info_to_all();
        }
        self.count_epoch_acks(now_ms);
    }

    fn send_leader_info_to_all(&mut self) {
        let informed = self.conns_of(|learner| learner.stage == Stage::Informed);
        informed.into_iter().for_each(|conn| self.send_leader_info(conn));
    }

    fn send_leader_info(&mut self, conn: LearnerConn) {
        let (epoch, protocol) = (self.epoch, LearnerInfo::PROTOCOL);
        self.send(conn, &Packet::LeaderInfo { epoch, protocol });
    }

    /// ACKEPOCH: the learner has accepted the epoch, and says how new its history is.
    pub(super) fn on_ack_epoch(
        &mut self,
        conn: LearnerConn,
        zxid: Zxid,
        current_epoch: i32,
        now_ms: i64,
    ) {
        if mutant!(EpochOfferedBeforeStored) && self.phase == Phase::StoringAccepted {
            self.enter(Phase::EpochAcks, now_ms);
        }
        if self.phase < Phase::EpochAcks {
            let kind = Packet::AckEpoch { zxid, current_epoch }.kind();
            return self.close(conn, CloseLearner::Unexpected { kind });
        }
        // -1: it had accepted the epoch before, and does not count again. Nor does a server that
        // has lost its history: it cannot say what it once acknowledged (S77). One whose log cannot
        // be cut says its epoch alone: if that is older than this history's, it has acknowledged
        // nothing in a later one, and all before is known here.
        let is_new = current_epoch != -1 || mutant!(EpochAckCountsTwice);
        let own = (i64::from(self.own.current_epoch), self.own.last.get());
        let theirs = (i64::from(current_epoch), zxid);
        let is_known = zxid != Zxid::UNKNOWN || (0 < theirs.0 && theirs.0 < own.0);
        let is_newer = match self.phase {
            Phase::EpochAcks => theirs > own,
            // Who comes late may have followed this epoch, and no later one.
            _ => theirs.0 > i64::from(self.epoch),
        };
        if is_new && is_newer && !mutant!(NewerHistoryNotSeen) {
            return self.close(conn, CloseLearner::NewerHistory { epoch: current_epoch, zxid });
        }
        let Some(learner) = self.learners.get_mut(&conn) else { return };
        (learner.stage, learner.last) = (Stage::EpochAcked, zxid);
        let id = learner.id.filter(|id| learner.is_follower && self.members.is_voter(*id));
        if self.phase == Phase::EpochAcks {
            self.epoch_acks.extend(id.filter(|_| is_new && is_known));
            self.count_epoch_acks(now_ms);
        } else if self.phase >= Phase::NewLeader {
            self.synchronize(conn);
        }
    }

    fn count_epoch_acks(&mut self, now_ms: i64) {
        if self.phase == Phase::EpochAcks && self.is_quorum(&self.epoch_acks) {
            self.enter(Phase::StoringCurrent, now_ms);
            self.effects.push_back(LeadEffect::StoreCurrentEpoch { epoch: self.epoch });
        }
    }
}
