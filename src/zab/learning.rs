//! The role of a follower or an observer: it accepts the leader's epoch, takes over its history, and
//! logs what is proposed in the leader's order (`Learner`, `Follower`, `Observer`).
//!
//! All transactions go one way, whatever brought them: appended to the log, durable, committed,
//! applied. The tree never shows what this server's own log does not hold (D3, D4). A value of one
//! role: dropping it ends all that it has begun.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;

use bytes::Bytes;

use super::history::{Logged, follows};
use super::leading::{OwnHistory, ZabSettings};
use super::members::ServerId;
use crate::packet::{LearnerInfo, Packet, RequestPacket};
use crate::room::Room;
use crate::txnlog::Durable;
use crate::zxid::{SessionId, Zxid};

/// A request of the learner to its shell, to be carried out in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LearnEffect {
    /// Whole packets to the leader.
    Send { bytes: Bytes },
    /// Store the epoch; then [`Learning::on_accepted_epoch`].
    StoreAcceptedEpoch { epoch: u32 },
    /// Store the epoch; then [`Learning::on_current_epoch`].
    StoreCurrentEpoch { epoch: u32 },
    /// The history ends with `to`: the log and the tree go back to it, durably; then
    /// [`Learning::on_truncated`].
    Truncate { to: Zxid },
    /// A tree comes next on the stream. It takes the place of the old one when it is whole and
    /// durable; then [`Learning::on_tree`].
    LoadTree { zxid: Zxid },
    /// To the end of the log; [`Learning::on_durable`] says how far that is durable.
    Append { logged: Logged },
    /// All up to here is committed and durable: the tree may show it.
    Apply { upto: Zxid },
    /// The history is that of `epoch` and a quorum has it: clients may be served.
    Serve { epoch: u32 },
    /// The leader asks; [`Learning::pong`] answers.
    Ping { zxid: Zxid },
    /// The oldest sync of this server is answered once all up to `after` is applied.
    Synced { after: Zxid },
    /// The leader has decided whether a session lives.
    Revalidated { session: SessionId, valid: bool },
    /// The role has ended: the server looks for a leader.
    Leave { why: Leave },
}

/// Why a learner leaves its leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leave {
    /// The connection is gone.
    Closed,
    /// Nothing was heard for as long as the leader has.
    Silent,
    /// The leader's epoch is below one that this server has accepted.
    OldEpoch { epoch: u32, accepted: u32 },
    /// The leader's epoch is above the last one that there is.
    NoEpoch { epoch: u32 },
    /// The leader's epoch is so far above what this server has accepted that few are left after it.
    EpochTooFar { epoch: u32, accepted: u32 },
    /// What the leader has is of an epoch after its own.
    LaterEpoch { epoch: u32, zxid: Zxid },
    /// A packet that has no place there.
    Unexpected { kind: i32 },
    /// A transaction that does not follow the one before.
    Gap { last: Zxid, next: Zxid },
    /// A commit of what is not next.
    CommitOutOfOrder { next: Option<Zxid>, zxid: Zxid },
    /// A transaction that no server can apply.
    Undecodable { zxid: Zxid },
    /// So much has come that is not committed yet, or not served yet, that no more is held.
    TooMuchHeld { bytes_max: u64, is_serving: bool },
    /// This server has asked for the tree, and gets something else.
    NoTree,
    /// An answer to what was not asked.
    Unasked,
    /// The log could not be cut where the leader wants it: it takes the whole tree next time.
    CannotTruncate { to: Zxid },
    /// The tree that came was not whole, or could not be stored.
    BadTree,
    /// A reconfig is committed: the membership is read anew.
    Reconfigured { zxid: Zxid },
}

impl fmt::Display for Leave {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the connection to the leader is closed"),
            Self::Silent => f.write_str("nothing was heard of the leader for too long"),
            Self::OldEpoch { epoch, accepted } => {
                write!(f, "the leader's epoch {epoch} is below the accepted epoch {accepted}")
            }
            Self::NoEpoch { epoch } => write!(f, "there is no epoch {epoch}"),
            Self::EpochTooFar { epoch, accepted } => write!(
                f,
                "its epoch {epoch} is far above {accepted}, the last one accepted here, and few are \
                 left after it: if its file acceptedEpoch is damaged, start that server again with \
                 an empty dataDir; else this one"
            ),
            Self::LaterEpoch { epoch, zxid } => {
                write!(f, "the leader of epoch {epoch} has {zxid}, which is of a later one")
            }
            Self::Unexpected { kind } => write!(f, "a packet of type {kind} has no place here"),
            Self::Gap { last, next } => write!(f, "{next} was proposed after {last}"),
            Self::CommitOutOfOrder { next: Some(next), zxid } => {
                write!(f, "{zxid} was committed before {next}")
            }
            Self::CommitOutOfOrder { next: None, zxid } => {
                write!(f, "{zxid} was committed and never proposed")
            }
            Self::Undecodable { zxid } => write!(f, "the transaction of {zxid} cannot be read"),
            Self::TooMuchHeld { bytes_max, is_serving } => {
                let what = match is_serving {
                    true => "has proposed and not committed",
                    false => "has sent before this server may serve",
                };
                write!(
                    f,
                    "the leader {what} more than {bytes_max} bytes of transactions \
                     (ringkeeper.proposalBytesMax; if the leader is sound and this machine has the \
                     memory, give it more)"
                )
            }
            Self::NoTree => {
                f.write_str("the leader does not send its tree, which this server has asked for")
            }
            Self::Unasked => f.write_str("the leader answers what was not asked"),
            Self::CannotTruncate { to } => write!(f, "the log cannot be cut at {to}"),
            Self::BadTree => f.write_str("the leader's tree did not come whole"),
            Self::Reconfigured { zxid } => write!(f, "a reconfig is committed at {zxid}"),
        }
    }
}

/// The progress of the role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// LEADERINFO is awaited.
    Discovery,
    /// The accepted epoch is not stored yet.
    StoringAccepted,
    /// ACKEPOCH is sent: DIFF, TRUNC or SNAP comes next.
    Accepted,
    /// The log is being cut.
    Truncating,
    /// The tree is on its way.
    Loading,
    /// It is whole, and not durable yet.
    StoringTree,
    /// Transactions of the leader's history come.
    Syncing,
    /// NEWLEADER has come: what came before it is not durable yet.
    Persisting,
    /// The current epoch is not stored yet.
    StoringCurrent,
    /// NEWLEADER is acknowledged, UPTODATE awaited.
    HasHistory,
    /// UPTODATE has come.
    Serving,
}

/// The machine. See the module.
#[derive(Debug)]
pub struct Learning {
    settings: ZabSettings,
    own: OwnHistory,
    /// It votes: it acknowledges what it logs.
    votes: bool,
    stage: Stage,
    epoch: u32,
    /// The end of the log, appended or about to be. Invariant: `durable <= appended`, and
    /// `committed <= appended`.
    appended: Zxid,
    durable: Zxid,
    committed: Zxid,
    applied: Zxid,
    /// Appended and not committed, in order. Invariant: after `committed`.
    pending: VecDeque<Zxid>,
    /// Appended and not acknowledged. Invariant: in order.
    unacked: VecDeque<Zxid>,
    /// The role ends then if nothing is heard.
    silent_at: i64,
    has_ended: bool,
    effects: VecDeque<LearnEffect>,
    /// Packets to the leader, after all of `effects`.
    out: Vec<u8>,
    /// Its room at first.
    room: Room,
}

impl Learning {
    /// A learner that has just connected to its leader. `applied` is the last zxid that its tree
    /// shows: not above its log's end.
    pub fn new(
        me: ServerId,
        votes: bool,
        settings: ZabSettings,
        own: OwnHistory,
        applied: Zxid,
        config_version: Zxid,
        now_ms: i64,
    ) -> Self {
        let last = own.last.get();
        assert!(own.current_epoch <= own.accepted_epoch, "the current epoch was accepted");
        assert!(applied <= last, "the tree shows {applied}, the log ends with {last}");
        let mut learning = Self {
            settings,
            own,
            votes,
            stage: Stage::Discovery,
            epoch: own.accepted_epoch,
            appended: last,
            durable: last,
            committed: applied,
            applied,
            pending: VecDeque::new(),
            unacked: VecDeque::new(),
            silent_at: now_ms + settings.init_ms(),
            has_ended: false,
            effects: VecDeque::new(),
            out: Vec::new(),
            room: Room::new(OUT_BYTES_MAX),
        };
        let info = LearnerInfo {
            current_epoch: Some(own.current_epoch),
            config_version,
            ..LearnerInfo::new(me.0, own.accepted_epoch)
        };
        learning.send(&match votes {
            true => Packet::FollowerInfo(info),
            false => Packet::ObserverInfo(info),
        });
        learning
    }

    /// Whether the next packet can be taken. Where it cannot, it waits in the connection.
    pub fn wants_packets(&self) -> bool {
        !self.has_ended
            && !matches!(
                self.stage,
                Stage::StoringAccepted
                    | Stage::Truncating
                    | Stage::Loading
                    | Stage::StoringTree
                    | Stage::Persisting
                    | Stage::StoringCurrent
            )
    }

    /// The leader's next packet; to be called only if [`Self::wants_packets`].
    pub fn on_packet(&mut self, packet: Packet, now_ms: i64) {
        assert!(self.wants_packets(), "a packet waits while the disk is at work");
        self.hears(now_ms);
        match (self.stage, packet) {
            (Stage::Discovery, Packet::LeaderInfo { epoch, .. }) => self.on_leader_info(epoch),
            (Stage::Accepted, Packet::Diff { .. } | Packet::Trunc { .. })
                if self.own.last.get() == Zxid::UNKNOWN =>
            {
                self.leave(Leave::NoTree);
            }
            (Stage::Accepted, Packet::Diff { .. }) => {
                // The leader's history goes on where this one ends: all of it is the leader's.
                self.committed = self.appended;
                self.stage = Stage::Syncing;
            }
            (Stage::Accepted, Packet::Trunc { zxid } | Packet::Snap { zxid })
                if self.is_later(zxid) =>
            {
                self.leave(Leave::LaterEpoch { epoch: self.epoch, zxid });
            }
            (Stage::Accepted, Packet::Trunc { zxid }) => {
                self.stage = Stage::Truncating;
                self.push(LearnEffect::Truncate { to: zxid });
            }
            (Stage::Accepted, Packet::Snap { zxid }) => {
                self.stage = Stage::Loading;
                self.push(LearnEffect::LoadTree { zxid });
            }
            (Stage::Syncing | Stage::HasHistory | Stage::Serving, packet) => {
                self.on_history(packet);
            }
            (_, packet) => self.leave(Leave::Unexpected { kind: packet.kind() }),
        }
        self.check();
    }

    /// The COMMITs of `first` and of all that come after it up to `last`, in the same epoch: as
    /// [`Self::on_packet`] takes them one by one.
    pub fn on_commits(&mut self, first: Zxid, last: Zxid, now_ms: i64) {
        assert!(self.wants_packets(), "a packet waits while the disk is at work");
        assert!(first <= last && first.epoch() == last.epoch(), "{first} to {last}");
        self.hears(now_ms);
        match self.stage {
            Stage::Syncing | Stage::HasHistory | Stage::Serving => self.commit(first, last),
            _ => self.leave(Leave::Unexpected { kind: Packet::Commit { zxid: first }.kind() }),
        }
        self.check();
    }

    /// The connection to the leader is gone.
    pub fn on_closed(&mut self) {
        self.leave(Leave::Closed);
    }

    /// Time has passed.
    pub fn on_time(&mut self, now_ms: i64) {
        let is_late = self.silent_at <= now_ms && !mutant!(SilentLeaderFollowed);
        if self.listens() && is_late && !self.has_ended {
            self.leave(Leave::Silent);
        }
    }

    /// Whether the leader is listened to; not while the disk is at work.
    fn listens(&self) -> bool {
        self.wants_packets() || self.stage == Stage::Loading
    }

    /// When [`Self::on_time`] has something to do.
    pub fn wakes_at(&self) -> i64 {
        if self.listens() { self.silent_at } else { i64::MAX }
    }

    /// The accepted epoch is durable: now the leader may know.
    pub fn on_accepted_epoch(&mut self, epoch: u32, now_ms: i64) {
        assert_eq!((self.stage, epoch), (Stage::StoringAccepted, self.epoch), "what was asked for");
        self.ack_epoch(self.own.current_epoch as i32);
        self.hears(now_ms);
    }

    /// The log and the tree end with `to`, or could not be cut there.
    pub fn on_truncated(&mut self, to: Zxid, is_done: bool, now_ms: i64) {
        assert_eq!(self.stage, Stage::Truncating, "what was asked for");
        if !is_done {
            return self.leave(Leave::CannotTruncate { to });
        }
        self.restart_at(to);
        self.hears(now_ms);
    }

    /// More of the tree has come, or all of it.
    pub fn on_tree_bytes(&mut self, is_whole: bool, now_ms: i64) {
        assert_eq!(self.stage, Stage::Loading, "what was asked for");
        self.hears(now_ms);
        if is_whole {
            self.stage = Stage::StoringTree;
        }
    }

    /// The leader's tree is in place of the old one, and durable; or it did not come whole.
    pub fn on_tree(&mut self, zxid: Option<Zxid>, now_ms: i64) {
        assert!(matches!(self.stage, Stage::Loading | Stage::StoringTree), "what was asked for");
        match zxid {
            None => self.leave(Leave::BadTree),
            Some(zxid) => {
                self.restart_at(zxid);
                self.hears(now_ms);
            }
        }
    }

    /// The log is durable up to here.
    pub fn on_durable(&mut self, upto: Durable<Zxid>, now_ms: i64) {
        let upto = upto.get();
        assert!(upto >= self.durable && upto <= self.appended, "what was appended");
        self.durable = upto;
        self.persist();
        self.acknowledge();
        self.apply();
        if self.stage == Stage::StoringCurrent {
            self.hears(now_ms);
        }
        self.check();
    }

    /// The current epoch is durable, and so is the history: the leader may count on it.
    pub fn on_current_epoch(&mut self, epoch: u32, now_ms: i64) {
        assert_eq!((self.stage, epoch), (Stage::StoringCurrent, self.epoch), "what was asked for");
        if mutant!(EpochBeforeHistory) && self.durable < self.appended {
            self.stage = Stage::Persisting;
            return;
        }
        self.stage = Stage::HasHistory;
        if !mutant!(NewLeaderAckedBeforeEpoch) {
            self.send(&Packet::Ack { zxid: self.start() });
        }
        self.hears(now_ms);
        if mutant!(ServesBeforeUpToDate) {
            self.serve();
        }
    }

    /// Answers a ping with the sessions heard of since the last one.
    pub fn pong(&mut self, zxid: Zxid, touched: Vec<(SessionId, i32)>) {
        self.send(&Packet::Pong { zxid, touched });
    }

    /// Forwards a client's request.
    pub fn forward(&mut self, request: RequestPacket) {
        self.send(&Packet::Request(request));
    }

    /// Asks whether the session of a client that came back lives.
    pub fn revalidate(&mut self, session: SessionId, timeout_ms: i32) {
        self.send(&Packet::Revalidate { session, timeout_ms });
    }

    /// The next thing that the shell must do.
    pub fn poll(&mut self) -> Option<LearnEffect> {
        self.poll_before_sends().or_else(|| self.poll_sends())
    }

    /// The same, but for packets that nothing comes after: more may be added to them.
    pub fn poll_before_sends(&mut self) -> Option<LearnEffect> {
        self.effects.pop_front()
    }

    /// Those packets, once [`Self::poll_before_sends`] has nothing.
    pub fn poll_sends(&mut self) -> Option<LearnEffect> {
        if self.out.is_empty() {
            return None;
        }
        self.room.filled(self.out.len());
        let bytes = Bytes::from(std::mem::take(&mut self.out));
        Some(LearnEffect::Send { bytes })
    }

    /// Whether clients may be served.
    pub fn is_serving(&self) -> bool {
        self.stage == Stage::Serving && !self.has_ended
    }

    /// The last zxid that is known to be committed.
    pub fn committed(&self) -> Zxid {
        self.committed
    }

    /// Whether it is a follower that votes.
    pub fn votes(&self) -> bool {
        self.votes
    }

    /// How far the role has come.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// The epoch of the leader, once it is accepted.
    pub fn epoch(&self) -> Option<u32> {
        (self.stage >= Stage::Accepted).then_some(self.epoch)
    }

    fn on_leader_info(&mut self, epoch: u32) {
        let accepted = self.own.accepted_epoch;
        if epoch < accepted {
            return self.leave(Leave::OldEpoch { epoch, accepted });
        }
        if epoch > Zxid::EPOCH_MAX {
            return self.leave(Leave::NoEpoch { epoch });
        }
        // A server without a past may come to an ensemble of any age.
        let is_new = accepted == 0 || self.own.last.get() == Zxid::UNKNOWN;
        if epoch - accepted > (Zxid::EPOCH_MAX - accepted) / 2 && !is_new {
            return self.leave(Leave::EpochTooFar { epoch, accepted });
        }
        self.epoch = epoch;
        if epoch == accepted {
            // It was promised before, and does not count again.
            return self.ack_epoch(-1);
        }
        self.stage = Stage::StoringAccepted;
        if mutant!(EpochToldBeforeStored) {
            let (zxid, current_epoch) = (self.own.last.get(), self.own.current_epoch as i32);
            self.send(&Packet::AckEpoch { zxid, current_epoch });
        }
        self.push(LearnEffect::StoreAcceptedEpoch { epoch });
    }

    fn ack_epoch(&mut self, current_epoch: i32) {
        self.stage = Stage::Accepted;
        if mutant!(EpochToldBeforeStored) && current_epoch != -1 {
            return;
        }
        self.send(&Packet::AckEpoch { zxid: self.own.last.get(), current_epoch });
    }

    /// A packet of synchronization or broadcast.
    fn on_history(&mut self, packet: Packet) {
        let is_serving = self.stage == Stage::Serving;
        match packet {
            Packet::Proposal { zxid, record } => self.append(Logged { zxid, record }),
            Packet::Commit { zxid } => self.commit(zxid, zxid),
            Packet::Inform { zxid, record } => {
                self.append(Logged { zxid, record });
                self.commit(zxid, zxid);
            }
            Packet::CommitAndActivate { zxid, .. } => {
                self.commit(zxid, zxid);
                self.leave(Leave::Reconfigured { zxid });
            }
            Packet::InformAndActivate { zxid, record, .. } => {
                self.append(Logged { zxid, record });
                self.commit(zxid, zxid);
                self.leave(Leave::Reconfigured { zxid });
            }
            Packet::NewLeader { zxid, .. } if self.stage == Stage::Syncing => {
                if zxid != self.start() {
                    return self.leave(Leave::Unexpected { kind: packet.kind() });
                }
                self.stage = Stage::Persisting;
                self.persist();
            }
            Packet::UpToDate if self.stage == Stage::HasHistory => {
                self.serve();
                self.send(&Packet::Ack { zxid: self.start() });
                self.acknowledge();
            }
            Packet::UpToDate if mutant!(ServesBeforeUpToDate) => {}
            Packet::Ping { zxid } if is_serving => {
                self.push(LearnEffect::Ping { zxid });
            }
            Packet::Sync if is_serving => {
                self.push(LearnEffect::Synced { after: self.committed });
            }
            Packet::Revalidated { session, valid } if is_serving => {
                self.push(LearnEffect::Revalidated { session, valid });
            }
            // Before UPTODATE these have no meaning, and later ones say the same.
            Packet::Ping { .. } | Packet::Sync | Packet::Revalidated { .. } => {}
            Packet::Unknown { .. } => {}
            packet => self.leave(Leave::Unexpected { kind: packet.kind() }),
        }
    }

    fn serve(&mut self) {
        self.stage = Stage::Serving;
        self.apply();
        self.push(LearnEffect::Serve { epoch: self.epoch });
    }

    /// A transaction of the leader. What the tree of a SNAP, or the log, has already comes again
    /// where Apache's leader does not know better.
    fn append(&mut self, logged: Logged) {
        let zxid = logged.zxid;
        if zxid <= self.appended {
            return;
        }
        if self.is_later(zxid) {
            return self.leave(Leave::LaterEpoch { epoch: self.epoch, zxid });
        }
        if !follows(self.appended, zxid) {
            return self.leave(Leave::Gap { last: self.appended, next: zxid });
        }
        self.appended = zxid;
        self.pending.push_back(zxid);
        self.unacked.push_back(zxid);
        self.push(LearnEffect::Append { logged });
    }

    /// Nobody but a later leader can have made it, or nobody at all.
    fn is_later(&self, zxid: Zxid) -> bool {
        zxid < Zxid::ZERO || zxid.epoch() > self.epoch
    }

    /// All from `first` to `last` is committed, in one epoch. What is not next is not passed over.
    fn commit(&mut self, first: Zxid, last: Zxid) {
        if last <= self.committed {
            return;
        }
        let next = self.pending.front().copied();
        let first = if first <= self.committed { self.committed.next() } else { first };
        // Within an epoch nothing is left out.
        let count = usize::try_from(last.0 - first.0).unwrap_or(usize::MAX).saturating_add(1);
        if next != Some(first) || self.pending.get(count - 1) != Some(&last) {
            let why = match next == Some(first) {
                true => Leave::CommitOutOfOrder { next: None, zxid: last },
                false => Leave::CommitOutOfOrder { next, zxid: first },
            };
            return self.leave(why);
        }
        self.pending.drain(..count);
        self.committed = last;
        self.apply();
    }

    /// After NEWLEADER: the history first, then the epoch, then the acknowledgement (D2).
    fn persist(&mut self) {
        let is_durable = self.durable == self.appended
            || (mutant!(NewLeaderAckedBeforeFlush) && self.committed <= self.appended)
            || (mutant!(EpochBeforeHistory) && self.durable <= self.appended);
        if self.stage == Stage::Persisting && is_durable {
            // What is committed needs no acknowledgement; what is not is acknowledged later.
            let committed = self.committed;
            self.unacked.retain(|zxid| *zxid > committed);
            self.stage = Stage::StoringCurrent;
            if mutant!(NewLeaderAckedBeforeEpoch) {
                self.send(&Packet::Ack { zxid: self.start() });
            }
            self.push(LearnEffect::StoreCurrentEpoch { epoch: self.epoch });
        }
    }

    /// Acknowledges what is durable, each transaction by itself as Apache's leader wants it.
    fn acknowledge(&mut self) {
        let is_early = mutant!(ProposalAckedEarly) && self.stage >= Stage::Syncing;
        if (self.stage != Stage::Serving && !is_early) || self.has_ended {
            return;
        }
        while self.unacked.front().is_some_and(|zxid| *zxid <= self.durable) {
            if let Some(zxid) = self.unacked.pop_front()
                && self.votes
            {
                self.send(&Packet::Ack { zxid });
            }
        }
    }

    /// What comes in synchronization is shown with UPTODATE: until then no quorum may have it.
    fn apply(&mut self) {
        if self.stage != Stage::Serving {
            return;
        }
        let logged = if mutant!(WriteErrorKeepsMemory) { self.appended } else { self.durable };
        let upto = self.committed.min(logged);
        if upto > self.applied {
            self.applied = upto;
            self.push(LearnEffect::Apply { upto });
        }
    }

    /// Log and tree end with `zxid`.
    fn restart_at(&mut self, zxid: Zxid) {
        self.stage = Stage::Syncing;
        (self.appended, self.durable, self.committed, self.applied) = (zxid, zxid, zxid, zxid);
    }

    fn hears(&mut self, now_ms: i64) {
        let has_history = self.stage >= Stage::HasHistory;
        let patience = if has_history { self.settings.sync_ms() } else { self.settings.init_ms() };
        self.silent_at = now_ms + patience;
    }

    fn start(&self) -> Zxid {
        Zxid::new(self.epoch, 0)
    }

    /// Ends the role.
    pub fn leave(&mut self, why: Leave) {
        if !self.has_ended {
            self.has_ended = true;
            self.push(LearnEffect::Leave { why });
        }
    }

    /// Packets that are sent one after another go together.
    fn send(&mut self, packet: &Packet) {
        if !self.has_ended {
            if self.out.capacity() == 0 {
                self.out.reserve(self.room.bytes());
            }
            packet.write(&mut self.out);
        }
    }

    /// Adds an effect after what has been sent.
    fn push(&mut self, effect: LearnEffect) {
        let sends = self.poll_sends();
        self.effects.extend(sends);
        self.effects.push_back(effect);
    }

    /// The invariants of the fields.
    fn check(&self) {
        assert!(
            self.durable <= self.appended,
            "durable {}, appended {}",
            self.durable,
            self.appended
        );
        assert!(self.committed <= self.appended, "committed {}", self.committed);
        let is_logged = self.applied <= self.durable || mutant!(WriteErrorKeepsMemory);
        assert!(is_logged && self.applied <= self.committed, "applied {}", self.applied);
        assert!(self.pending.front().is_none_or(|first| *first > self.committed));
        assert!(self.own.accepted_epoch <= self.epoch, "an accepted epoch only rises");
    }
}

/// Bytes of packets for which there is room at first, at most.
const OUT_BYTES_MAX: usize = 64 << 10;
