//! The role of a leader: discovery, synchronization, broadcast (Zab paper, section 4; `Leader`,
//! `LearnerHandler`).
//!
//! A value of one role: dropping it ends all that it has begun. Nothing is promised before it is
//! durable: LEADERINFO goes out when the accepted epoch is stored, NEWLEADER when the current one
//! is, and a transaction counts as logged here when its flush has ended.
//!
//! | file | holds |
//! |---|---|
//! | `discovery` | from accepted epochs to a new epoch that a quorum has accepted |
//! | `sync` | every learner gets the leader's history |
//! | `broadcast` | proposals, acknowledgements, commits |
//! | `liveness` | pings, deadlines, whether a quorum is still there |
//! | `voters` | before it serves: whether a quorum can still come |
//! | `learner` | what the leader knows of one learner |

mod broadcast;
mod discovery;
mod learner;
mod liveness;
mod sync;
#[cfg(test)]
mod tests;
mod voters;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use bytes::Bytes;

use super::history::{History, Logged};
use super::members::{Members, ServerId};
use crate::packet::{Packet, RequestPacket};
use crate::room::Room;
use crate::txnlog::Durable;
use crate::zxid::{SessionId, Zxid};

use discovery::Claim;
use learner::{Learner, Stage};
use voters::Voters;

/// A learner's connection to this leader. A number is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LearnerConn(pub u64);

/// The times and bounds of a role in the ensemble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZabSettings {
    /// `tickTime`, in milliseconds.
    pub tick_ms: i64,
    /// `initLimit`, in ticks: for connecting and synchronizing.
    pub init_ticks: i64,
    /// `syncLimit`, in ticks: for an answer.
    pub sync_ticks: i64,
}

/// How many learners may be synchronized at a time. A follower is never made to wait, as a quorum
/// may need it; an observer beyond the bound is sent away, and comes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncLimits {
    /// `leader.maxConcurrentSnapSyncs`: with the whole tree.
    pub snaps: usize,
    /// `leader.maxConcurrentDiffSyncs`: with transactions.
    pub diffs: usize,
}

impl Default for SyncLimits {
    /// Apache's.
    fn default() -> Self {
        Self { snaps: 10, diffs: 100 }
    }
}

impl ZabSettings {
    /// `initLimit`, in milliseconds.
    pub fn init_ms(&self) -> i64 {
        self.init_ticks * self.tick_ms
    }

    pub(super) fn sync_ms(&self) -> i64 {
        self.sync_ticks * self.tick_ms
    }
}

/// What a server has on its disk when it takes a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnHistory {
    /// The last epoch that it has promised to accept (`acceptedEpoch`).
    pub accepted_epoch: u32,
    /// The epoch of its history (`currentEpoch`). Invariant: not above `accepted_epoch`.
    pub current_epoch: u32,
    /// The end of its log, all of which is durable.
    pub last: Durable<Zxid>,
}

/// A request of the leader to its shell, to be carried out in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeadEffect {
    /// Whole packets, after what was sent there before.
    Send { to: LearnerConn, bytes: Bytes },
    /// The transactions of the log on the disk after `after` and up to `upto`, each as PROPOSAL and
    /// COMMIT.
    SendLog { to: LearnerConn, after: Zxid, upto: Zxid },
    /// The tree as it is now, of the zxid that the SNAP before named.
    SendTree { to: LearnerConn },
    /// What does the log on the disk say about `peer`? Then [`Leading::on_log_reach`].
    AskLog { of: LearnerConn, peer: Zxid },
    /// The connection is closed.
    Close { conn: LearnerConn, why: CloseLearner },
    /// Store the epoch; then [`Leading::on_accepted_epoch`].
    StoreAcceptedEpoch { epoch: u32 },
    /// Store the epoch; then [`Leading::on_current_epoch`].
    StoreCurrentEpoch { epoch: u32 },
    /// A quorum has the history: clients may be served, and `epoch` has its first proposal.
    Begin { epoch: u32 },
    /// All proposals up to this zxid are committed.
    Committed { upto: Zxid },
    /// A quorum has answered since [`Leading::confirm`] gave out this number.
    Confirmed { upto: u64 },
    /// A learner forwards a client's request.
    Request { from: LearnerConn, request: RequestPacket },
    /// A learner has heard of sessions; timeouts in milliseconds.
    Touched { sessions: Vec<(SessionId, i32)> },
    /// A client came back to a learner: does its session live? The answer goes there as
    /// [`Packet::Revalidated`].
    Revalidate { from: LearnerConn, session: SessionId, timeout_ms: i32 },
    /// The role has ended: the server looks for a leader.
    StepDown { why: StepDown },
}

/// Why a learner's connection is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseLearner {
    /// It sent a packet that has no place there.
    Unexpected { kind: i32 },
    /// Its id is not in the membership.
    NoMember { id: Option<i64> },
    /// It knows a membership that is newer than the leader's.
    NewerConfig { version: Zxid },
    /// It speaks the protocol from before 3.4.
    OldProtocol { protocol: i32 },
    /// After the epoch that it has accepted there is no other.
    NoEpochLeft { accepted: u32 },
    /// It says that it has accepted an epoch that is far above all that is known of.
    EpochTooFar { accepted: u32, known: u32 },
    /// The same server has come back.
    CameBack,
    /// It has not said who it is, and too many like it have come after it.
    TooMany,
    /// Its history is newer than the leader's.
    NewerHistory { epoch: i32, zxid: Zxid },
    /// Its history is of a later epoch than the one that is served in without it.
    OtherHistory { epoch: u32 },
    /// It acknowledged what was never proposed.
    AckedTooMuch { zxid: Zxid },
    /// Nothing was heard of it, or a proposal was not acknowledged, for as long as it has.
    Silent,
    /// What it forwards finds no room in the log.
    NoRoom,
    /// As many learners as there may be are being synchronized: see [`SyncLimits`].
    TooManySyncs,
}

/// Why a leader steps down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepDown {
    /// No quorum came within `initLimit`.
    NoQuorum,
    /// Of the voters that have made it the leader too many have left to be a quorum.
    VotersLeft,
    /// A voter that has made it the leader is LOOKING again, for longer than
    /// `leader.maxTimeToWaitForEpoch` after the election.
    VoterLooks { voter: ServerId },
    /// A quorum was there and is not any more.
    LostQuorum,
    /// A voter has accepted an epoch above this one: only a new one can take it in.
    HigherEpoch { accepted: u32 },
    /// The counter of the zxid is used up (ZOOKEEPER-1277).
    Rollover,
    /// After the epoch that this server has accepted there is no other.
    NoEpochLeft { accepted: u32 },
    /// The disk under its log is full, and the others are a quorum without it.
    FullDisk,
}

impl fmt::Display for StepDown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoQuorum => f.write_str("no quorum came within initLimit"),
            Self::VotersLeft => {
                f.write_str("voters that have elected this server have left: no quorum can come")
            }
            Self::VoterLooks { voter } => write!(
                f,
                "server {voter}, which has elected this server, looks for a leader again \
                 (leader.maxTimeToWaitForEpoch)"
            ),
            Self::LostQuorum => f.write_str("the quorum is lost"),
            Self::HigherEpoch { accepted } => {
                write!(f, "a voter has accepted epoch {accepted}: a higher one is needed")
            }
            Self::Rollover => f.write_str("the counter of the zxid is used up"),
            Self::FullDisk => f.write_str(
                "this server has no space for its log, and the others are a quorum without it",
            ),
            Self::NoEpochLeft { accepted } => {
                write!(
                    f,
                    "epoch {accepted} is accepted, and there is none after it: if a server's file \
                     acceptedEpoch is damaged, give that server an empty data directory"
                )
            }
        }
    }
}

/// The learners that are connected to a leader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LearnerCounts {
    /// All that have said who they are.
    pub learners: usize,
    /// Followers that vote and get every proposal.
    pub synced_followers: usize,
    /// Followers without a vote that do.
    pub synced_non_voting_followers: usize,
    /// Observers that are told of every commit.
    pub synced_observers: usize,
}

/// The progress of the role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// A quorum's accepted epochs are awaited.
    Epochs,
    /// The new epoch is chosen, and not stored yet.
    StoringAccepted,
    /// LEADERINFO is out: a quorum's ACKEPOCH is awaited.
    EpochAcks,
    /// The current epoch is not stored yet.
    StoringCurrent,
    /// Learners are synchronized: a quorum's acknowledgement of NEWLEADER is awaited.
    NewLeader,
    /// Clients are served.
    Broadcast,
}

/// The machine. See the module.
#[derive(Debug)]
pub struct Leading {
    me: ServerId,
    members: Members,
    settings: ZabSettings,
    limits: SyncLimits,
    own: OwnHistory,
    phase: Phase,
    /// The phase must end by then, before [`Phase::Broadcast`].
    phase_ends_at: i64,
    /// The epoch of this leader; until it is chosen, the highest that this server has accepted.
    epoch: u32,
    /// The highest that a member without a vote says it has accepted. It makes no later claim
    /// believable: such a member may come again and again.
    claimed: u32,
    learners: BTreeMap<LearnerConn, Learner>,
    voters: Voters,
    /// The accepted epochs of the other voters that have come.
    accepted: BTreeMap<ServerId, u32>,
    /// The voters that have acknowledged the epoch, and that have the history. Invariant: this
    /// server is in each as soon as it counts.
    epoch_acks: BTreeSet<ServerId>,
    new_leader_acks: BTreeSet<ServerId>,
    /// What is committed. Nothing of it is in memory where nobody else is in the ensemble.
    history: History,
    /// Proposed and not committed, in order, for the others in the ensemble. Invariant: it follows
    /// `history`, and ends with `proposed`.
    outstanding: VecDeque<Logged>,
    /// The last zxid that was proposed, or the end of the history.
    proposed: Zxid,
    /// The end of this server's log that is durable.
    durable: Zxid,
    /// The last zxid that the tree shows.
    applied: Zxid,
    /// The last counter of an epoch: after it a new epoch begins.
    counter_max: u32,
    /// The next ping: one comes each half tick.
    next_ping_at: i64,
    /// The number of the last round of pings.
    asked: u64,
    confirmed: u64,
    /// Learners that were synchronized without the tree.
    diffs: u64,
    /// See [`Self::standalone`].
    is_standalone: bool,
    /// See [`Self::on_full_disk`].
    had_room: bool,
    full_since: Option<i64>,
    has_ended: bool,
    effects: VecDeque<LeadEffect>,
    /// Room for the packets of the next group.
    room: Room,
}

impl Leading {
    /// The leader of a standalone server: the ensemble of one, which nobody votes for. All up to
    /// `last` is recovered, and it serves at once.
    ///
    /// It goes on in the epoch of `last` and begins no new one, and at the end of the counter it
    /// runs into the next epoch instead of stepping down. That is what Apache's standalone server
    /// does, which has no epochs of its own: whoever compares zxids before and after a start, or
    /// brings the data of one server to the other, finds the same ones. Nobody else can log another
    /// transaction with such a zxid.
    pub fn standalone(last: Durable<Zxid>) -> Self {
        let epoch = last.get().epoch();
        let own = OwnHistory { accepted_epoch: epoch, current_epoch: epoch, last };
        let settings = ZabSettings { tick_ms: 0, init_ticks: 0, sync_ticks: 0 };
        let me = ServerId(0);
        let history = History::new(last.get(), 0, 0);
        Self {
            phase: Phase::Broadcast,
            next_ping_at: i64::MAX,
            is_standalone: true,
            ..Self::with(me, Members::of_one(me), settings, own, history)
        }
    }

    /// A leader that a quorum has voted for. `history` is its own, all of it logged and applied.
    pub fn new(
        me: ServerId,
        members: Members,
        settings: ZabSettings,
        own: OwnHistory,
        history: History,
        now_ms: i64,
    ) -> Self {
        let mut leading = Self {
            phase_ends_at: now_ms + settings.init_ms(),
            next_ping_at: now_ms + settings.tick_ms / 2,
            ..Self::with(me, members, settings, own, history)
        };
        leading.choose_epoch(Claim::Usual, now_ms);
        leading
    }

    /// A leader before its first step.
    fn with(
        me: ServerId,
        members: Members,
        settings: ZabSettings,
        own: OwnHistory,
        history: History,
    ) -> Self {
        let last = own.last.get();
        assert!(own.current_epoch <= own.accepted_epoch, "the current epoch was accepted");
        assert_eq!(history.last(), last, "a leader has applied all that it has logged");
        Self {
            me,
            voters: Voters::all(&members),
            members,
            settings,
            limits: SyncLimits::default(),
            own,
            phase: Phase::Epochs,
            phase_ends_at: 0,
            epoch: own.accepted_epoch,
            claimed: 0,
            learners: BTreeMap::new(),
            accepted: BTreeMap::new(),
            epoch_acks: BTreeSet::new(),
            new_leader_acks: BTreeSet::new(),
            history,
            outstanding: VecDeque::new(),
            proposed: last,
            durable: last,
            applied: last,
            next_ping_at: 0,
            counter_max: COUNTER_MAX,
            asked: 0,
            confirmed: 0,
            diffs: 0,
            is_standalone: false,
            had_room: false,
            full_since: None,
            has_ended: false,
            effects: VecDeque::new(),
            room: Room::new(broadcast::GROUP_BYTES_MAX),
        }
    }

    /// The epoch ends with an earlier counter than the last one that there is, so that a simulated
    /// world comes to its end.
    pub fn end_epoch_at(&mut self, counter: u32) {
        assert!(0 < counter && counter <= COUNTER_MAX);
        self.counter_max = counter;
    }

    /// Not the usual bounds.
    pub fn limit_syncs(&mut self, limits: SyncLimits) {
        self.limits = limits;
    }

    /// Somebody has connected to the quorum port. Of too many who do not say who they are the one
    /// that came first goes.
    pub fn on_connection(&mut self, conn: LearnerConn, now_ms: i64) {
        let unknown = self.conns_of(|learner| learner.stage == Stage::Connected);
        if let Some(first) = first_of_too_many(unknown) {
            self.close(first, CloseLearner::TooMany);
        }
        let ends_at = now_ms + self.settings.init_ms() + self.settings.sync_ms();
        let earlier = self.learners.insert(conn, Learner::new(ends_at));
        assert!(earlier.is_none(), "the number of a connection is used once");
    }

    /// A connection is gone.
    pub fn on_closed(&mut self, conn: LearnerConn) {
        self.learners.remove(&conn);
        self.look_for_quorum();
    }

    /// A packet of a learner.
    pub fn on_packet(&mut self, conn: LearnerConn, packet: Packet, now_ms: i64) {
        let Some(learner) = self.learners.get_mut(&conn) else { return };
        if self.has_ended {
            return;
        }
        if learner.stage == Stage::UpToDate {
            learner.silent_at = now_ms + self.settings.sync_ms();
        }
        match (learner.stage, packet) {
            (Stage::Connected, Packet::FollowerInfo(info)) => {
                self.on_info(conn, info, true, now_ms);
            }
            (Stage::Connected, Packet::ObserverInfo(info)) => {
                self.on_info(conn, info, false, now_ms);
            }
            (Stage::Informed, Packet::AckEpoch { zxid, current_epoch }) => {
                self.on_ack_epoch(conn, zxid, current_epoch, now_ms);
            }
            (Stage::NewLeaderSent, Packet::Ack { zxid }) => {
                self.on_new_leader_ack(conn, zxid, now_ms)
            }
            (Stage::HasHistory | Stage::UpToDate, packet) => self.on_served(conn, packet, now_ms),
            (_, packet) => {
                self.close(conn, CloseLearner::Unexpected { kind: packet.kind() });
            }
        }
        self.send_due_trees();
        self.check();
    }

    /// The next thing that the shell must do.
    pub fn poll(&mut self) -> Option<LeadEffect> {
        self.effects.pop_front()
    }

    /// The epoch of this leader, once a quorum has accepted it.
    pub fn epoch(&self) -> Option<u32> {
        (self.phase > Phase::EpochAcks).then_some(self.epoch)
    }

    /// How far the role has come.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether clients may be served.
    pub fn is_serving(&self) -> bool {
        self.phase == Phase::Broadcast && !self.has_ended
    }

    /// The last committed zxid.
    pub fn committed(&self) -> Zxid {
        self.history.last()
    }

    /// The number of learners that have been synchronized without the tree.
    pub fn diffs(&self) -> u64 {
        self.diffs
    }

    /// Counts them anew.
    pub fn reset_diffs(&mut self) {
        self.diffs = 0;
    }

    /// The learners now.
    pub fn learners(&self) -> LearnerCounts {
        let mut counts = LearnerCounts::default();
        for learner in self.learners.values() {
            let Some(id) = learner.id else { continue };
            counts.learners += 1;
            let count = match learner.is_follower {
                true if self.members.is_voter(id) => &mut counts.synced_followers,
                true => &mut counts.synced_non_voting_followers,
                false => &mut counts.synced_observers,
            };
            *count += usize::from(learner.is_live());
        }
        counts
    }

    /// Sends a packet to a learner, if it is still there.
    pub fn send(&mut self, to: LearnerConn, packet: &Packet) {
        if self.learners.contains_key(&to) {
            let mut bytes = Vec::new();
            packet.write(&mut bytes);
            self.send_bytes(to, bytes.into());
        }
    }

    /// Closes the connection of a learner whose request cannot be logged now.
    pub fn hang_up(&mut self, conn: LearnerConn) {
        self.close(conn, CloseLearner::NoRoom);
    }

    fn send_bytes(&mut self, to: LearnerConn, bytes: Bytes) {
        self.effects.push_back(LeadEffect::Send { to, bytes });
    }

    fn close(&mut self, conn: LearnerConn, why: CloseLearner) {
        if self.learners.remove(&conn).is_some() {
            self.effects.push_back(LeadEffect::Close { conn, why });
        }
    }

    fn step_down(&mut self, why: StepDown) {
        if !self.has_ended {
            self.has_ended = true;
            self.effects.push_back(LeadEffect::StepDown { why });
        }
    }

    /// The start of this epoch: the zxid of NEWLEADER.
    fn start(&self) -> Zxid {
        Zxid::new(self.epoch, 0)
    }

    /// The last zxid that was proposed, or the end of the history.
    pub fn proposed(&self) -> Zxid {
        self.proposed
    }

    /// The connections of the learners that `is_one` names.
    fn conns_of(&self, is_one: impl Fn(&Learner) -> bool) -> Vec<LearnerConn> {
        let those = self.learners.iter().filter(|(_, learner)| is_one(learner));
        those.map(|(conn, _)| *conn).collect()
    }

    /// The follower that is this server, if it is connected and has the history.
    fn follower(&self, id: ServerId) -> Option<&Learner> {
        let is_it = |learner: &&Learner| {
            learner.id == Some(id) && learner.is_follower && learner.stage >= Stage::HasHistory
        };
        self.learners.values().find(is_it)
    }

    fn is_quorum(&self, of: &BTreeSet<ServerId>) -> bool {
        self.members.is_quorum(|id| of.contains(&id))
    }

    fn enter(&mut self, phase: Phase, now_ms: i64) {
        assert!(phase > self.phase, "phases follow each other");
        self.phase = phase;
        self.phase_ends_at = now_ms + self.settings.init_ms();
    }

    /// The invariants of the fields.
    fn check(&self) {
        let (committed, proposed) = (self.history.last(), self.proposed);
        assert!(committed <= proposed, "{committed} is committed, {proposed} proposed");
        assert!(self.applied <= committed, "{} is applied, {committed} committed", self.applied);
        assert!(self.durable <= proposed, "{} is durable, {proposed} proposed", self.durable);
        assert!(self.phase == Phase::Broadcast || self.outstanding.is_empty());
        let last = self.outstanding.back().map_or(committed, |logged| logged.zxid);
        assert!(last == proposed || !self.members.has_others(), "{last}, {proposed} proposed");
        let is_new = self.epoch > self.own.accepted_epoch || self.is_standalone;
        assert!(self.phase < Phase::EpochAcks || is_new, "the epoch was accepted before");
        assert!(self.confirmed <= self.asked);
    }
}

/// Apache's never proposes 0xffffffff (ZOOKEEPER-1277).
pub const COUNTER_MAX: u32 = u32::MAX - 1;
/// Of connections that have not said whose they are the one that came first, where one more would
/// be too many.
pub(super) fn first_of_too_many(unknown: Vec<LearnerConn>) -> Option<LearnerConn> {
    let is_full = unknown.len() >= UNKNOWN_MAX;
    unknown.into_iter().min().filter(|_| is_full)
}

/// Connections whose first packet is awaited.
pub(super) const UNKNOWN_MAX: usize = 64;
