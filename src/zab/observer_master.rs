//! Observers of a follower: it brings them into sync, tells them what is committed, and stands
//! between them and the leader (`ObserverMaster`).
//!
//! Nothing is decided here. An observer gets the history as far as the leader has committed it, what
//! it asks goes on to the leader, and what the leader answers comes back to it. A value of one role
//! of a follower; it takes observers from [`ObserverMaster::begin`] on.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::history::{History, LogReach, Logged, SyncPlan};
use super::leading::{
    CloseLearner, LeadEffect, LearnerConn, SyncLimits, ZabSettings, first_of_too_many,
};
use super::members::{Members, ServerId};
use crate::packet::{LearnerInfo, Packet};
use crate::zxid::Zxid;

/// The progress of an observer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Its first packet is awaited.
    Connected,
    /// LEADERINFO is sent; ACKEPOCH is awaited.
    Informed,
    /// Its history waits for what it is ahead of this server, or for a look at the log.
    EpochAcked,
    /// Its history and NEWLEADER are sent, and all that comes after them.
    NewLeaderSent,
    /// UPTODATE is sent.
    UpToDate,
}

/// An observer.
#[derive(Debug)]
struct Observer {
    /// Its id, once it has said it.
    id: Option<ServerId>,
    stage: Stage,
    /// The end of its log, of ACKEPOCH.
    last: Zxid,
    /// It has seen more of this epoch than this server: its history waits for that.
    is_ahead: bool,
    /// It gets the whole tree.
    by_tree: bool,
    /// The time at which it counts as lost if nothing is heard of it.
    silent_at: i64,
}

impl Observer {
    fn is_live(&self) -> bool {
        self.stage >= Stage::NewLeaderSent
    }
}

/// How observers are brought into sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObserverMasterSettings {
    /// `observerMaster.sizeLimit`: bytes of committed transactions that are kept in memory for them.
    pub history_bytes: usize,
    /// `forceSnapshotSync`.
    pub always_snap: bool,
    /// How many may be synchronized at a time.
    pub limits: SyncLimits,
}

impl ObserverMasterSettings {
    fn history(&self, last: Zxid) -> History {
        History::new(last, usize::MAX, self.history_bytes).snapping(self.always_snap)
    }
}

/// The machine. See the module. Its effects are a leader's.
#[derive(Debug)]
pub struct ObserverMaster {
    me: ServerId,
    members: Members,
    zab: ZabSettings,
    settings: ObserverMasterSettings,
    /// The leader's epoch, from [`Self::begin`] on: before it nobody is taken.
    epoch: Option<u32>,
    /// What is committed. Invariant: nothing that is not durable here goes out of it.
    history: History,
    /// What is proposed and not committed, in order. Invariant: it follows `history`.
    proposed: VecDeque<Logged>,
    /// The end of this server's log that is durable, and what its tree shows.
    durable: Zxid,
    applied: Zxid,
    observers: BTreeMap<LearnerConn, Observer>,
    next_ping_at: i64,
    effects: VecDeque<LeadEffect>,
}

impl ObserverMaster {
    /// Of a follower that begins with this history, all of which is durable.
    pub fn new(
        me: ServerId,
        members: Members,
        zab: ZabSettings,
        settings: ObserverMasterSettings,
        last: Zxid,
        applied: Zxid,
    ) -> Self {
        Self {
            me,
            members,
            zab,
            settings,
            epoch: None,
            history: settings.history(last),
            proposed: VecDeque::new(),
            durable: last,
            applied,
            observers: BTreeMap::new(),
            next_ping_at: i64::MAX,
            effects: VecDeque::new(),
        }
    }

    /// Log and tree of this server end with `zxid`: a cut, or another tree.
    pub fn restart_at(&mut self, zxid: Zxid) {
        assert!(self.epoch.is_none(), "the history of a serving follower only grows");
        self.history = self.settings.history(zxid);
        self.proposed.clear();
        (self.durable, self.applied) = (zxid, zxid);
    }

    /// The leader has proposed it.
    pub fn on_proposed(&mut self, logged: Logged) {
        self.proposed.push_back(logged);
    }

    /// The leader has committed all up to here: observers are told.
    pub fn on_committed(&mut self, upto: Zxid) {
        let mut informs = Vec::new();
        let is_heard = self.observers.values().any(Observer::is_live);
        while let Some(logged) = self.proposed.pop_front_if(|next| next.zxid <= upto) {
            if is_heard {
                let (zxid, record) = (logged.zxid, logged.record.clone());
                Packet::Inform { zxid, record }.write(&mut informs);
            }
            self.history.push(logged, self.durable);
        }
        if !informs.is_empty() {
            let informs = Bytes::from(informs);
            for conn in self.conns_of(Observer::is_live) {
                self.effects.push_back(LeadEffect::Send { to: conn, bytes: informs.clone() });
            }
        }
        let last = self.history.last();
        let caught_up = self.conns_of(|observer| observer.is_ahead && observer.last <= last);
        caught_up.into_iter().for_each(|conn| self.synchronize(conn));
    }

    /// This server's log is durable up to here.
    pub fn on_durable(&mut self, upto: Zxid) {
        self.durable = self.durable.max(upto);
    }

    /// The tree shows all up to here.
    pub fn on_applied(&mut self, upto: Zxid) {
        self.applied = self.applied.max(upto);
    }

    /// This server is in sync with its leader, whose epoch this is: observers may come.
    pub fn begin(&mut self, epoch: u32, now_ms: i64) {
        self.epoch = Some(epoch);
        self.history.begin(epoch, epoch);
        self.next_ping_at = now_ms + self.zab.tick_ms / 2;
    }

    /// Somebody has connected to the observer master port. Of too many who do not say who they are
    /// the one that came first goes.
    pub fn on_connection(&mut self, conn: LearnerConn, now_ms: i64) {
        let unknown = self.conns_of(|observer| observer.stage == Stage::Connected);
        if let Some(first) = first_of_too_many(unknown) {
            self.close(first, CloseLearner::TooMany);
        }
        let silent_at = now_ms + self.zab.init_ms() + self.zab.sync_ms();
        let (id, stage, last) = (None, Stage::Connected, Zxid::ZERO);
        let (is_ahead, by_tree) = (false, false);
        let observer = Observer { id, stage, last, is_ahead, by_tree, silent_at };
        let earlier = self.observers.insert(conn, observer);
        assert!(earlier.is_none(), "the number of a connection is used once");
    }

    /// A connection is gone.
    pub fn on_closed(&mut self, conn: LearnerConn) {
        self.observers.remove(&conn);
    }

    /// An observer has taken more of what it is synchronized with.
    pub fn on_taken(&mut self, conn: LearnerConn, now_ms: i64) {
        let silent_at = now_ms + self.zab.init_ms() + self.zab.sync_ms();
        let observer = self.observers.get_mut(&conn);
        if let Some(observer) = observer.filter(|one| one.stage == Stage::NewLeaderSent) {
            observer.silent_at = silent_at;
        }
    }

    /// A packet of an observer.
    pub fn on_packet(&mut self, conn: LearnerConn, packet: Packet, now_ms: i64) {
        let sync_ms = self.zab.sync_ms();
        let Some(observer) = self.observers.get_mut(&conn) else { return };
        let Some(epoch) = self.epoch else { return };
        if observer.stage == Stage::UpToDate {
            observer.silent_at = now_ms + sync_ms;
        }
        match (observer.stage, packet) {
            (Stage::Connected, Packet::ObserverInfo(info)) => self.on_info(conn, &info, epoch),
            (Stage::Informed, Packet::AckEpoch { zxid, current_epoch }) => {
                self.on_ack_epoch(conn, zxid, current_epoch, epoch);
            }
            (Stage::NewLeaderSent, Packet::Ack { zxid }) if zxid == Zxid::new(epoch, 0) => {
                self.send(conn, &Packet::UpToDate);
                if let Some(observer) = self.observers.get_mut(&conn) {
                    observer.stage = Stage::UpToDate;
                    observer.silent_at = now_ms + self.zab.init_ms() + sync_ms;
                }
            }
            (Stage::UpToDate, packet) => self.on_served(conn, packet),
            (Stage::NewLeaderSent, Packet::Ack { .. }) => {}
            (_, packet) => self.close(conn, CloseLearner::Unexpected { kind: packet.kind() }),
        }
    }

    /// What the log on the disk says.
    pub fn on_log_reach(&mut self, conn: LearnerConn, reach: LogReach) {
        let Some(observer) = self.observers.get(&conn) else { return };
        if observer.stage == Stage::EpochAcked {
            let peer = observer.last;
            let plan = self.history.plan_from_log(peer, reach);
            self.carry_out(conn, peer, plan);
        }
    }

    /// Time has passed.
    pub fn on_time(&mut self, now_ms: i64) {
        let silent = self.conns_of(|observer| observer.silent_at <= now_ms);
        silent.into_iter().for_each(|conn| self.close(conn, CloseLearner::Silent));
        if self.next_ping_at <= now_ms {
            self.next_ping_at = now_ms + (self.zab.tick_ms / 2).max(1);
            let zxid = self.history.last();
            let live = self.conns_of(Observer::is_live);
            live.into_iter().for_each(|conn| self.send(conn, &Packet::Ping { zxid }));
        }
    }

    /// When [`Self::on_time`] has something to do at the latest.
    pub fn wakes_at(&self) -> i64 {
        if self.observers.is_empty() { i64::MAX } else { self.next_ping_at }
    }

    /// The next thing that the shell must do.
    pub fn poll(&mut self) -> Option<LeadEffect> {
        self.effects.pop_front()
    }

    /// Sends a packet to an observer, if it is still there.
    pub fn send(&mut self, to: LearnerConn, packet: &Packet) {
        if self.observers.contains_key(&to) {
            let mut bytes = Vec::new();
            packet.write(&mut bytes);
            self.effects.push_back(LeadEffect::Send { to, bytes: bytes.into() });
        }
    }

    /// The observers that are told of every commit.
    pub fn synced(&self) -> usize {
        self.observers.values().filter(|observer| observer.is_live()).count()
    }

    fn on_info(&mut self, conn: LearnerConn, info: &LearnerInfo, epoch: u32) {
        let (protocol, version) = (info.protocol, info.config_version);
        let id = match info.server_id.map(ServerId) {
            Some(id) if self.members.is_member(id) && id != self.me => id,
            _ => return self.close(conn, CloseLearner::NoMember { id: info.server_id }),
        };
        if protocol < LearnerInfo::PROTOCOL {
            return self.close(conn, CloseLearner::OldProtocol { protocol });
        }
        if version > self.members.version() {
            return self.close(conn, CloseLearner::NewerConfig { version });
        }
        let earlier = self.conns_of(|observer| observer.id == Some(id));
        earlier.into_iter().for_each(|conn| self.close(conn, CloseLearner::CameBack));
        if let Some(observer) = self.observers.get_mut(&conn) {
            (observer.id, observer.stage) = (Some(id), Stage::Informed);
        }
        self.send(conn, &Packet::LeaderInfo { epoch, protocol: LearnerInfo::PROTOCOL });
    }

    /// The observer has accepted the epoch, and says how new its history is.
    fn on_ack_epoch(&mut self, conn: LearnerConn, zxid: Zxid, current_epoch: i32, epoch: u32) {
        if i64::from(current_epoch) > i64::from(epoch) {
            return self.close(conn, CloseLearner::NewerHistory { epoch: current_epoch, zxid });
        }
        let Some(observer) = self.observers.get_mut(&conn) else { return };
        (observer.stage, observer.last) = (Stage::EpochAcked, zxid);
        // What it has of this epoch is committed: it comes here, too.
        let last = self.history.last();
        observer.is_ahead = zxid > last && zxid.epoch() == epoch && zxid.counter() > 0;
        if !observer.is_ahead {
            self.synchronize(conn);
        }
    }

    /// Decides what an observer gets. From here on it is told of every commit, whatever is on its
    /// way to it before.
    fn synchronize(&mut self, conn: LearnerConn) {
        let Some(observer) = self.observers.get_mut(&conn) else { return };
        observer.is_ahead = false;
        let peer = observer.last;
        let plan = self.history.plan(peer);
        self.carry_out(conn, peer, plan);
    }

    fn carry_out(&mut self, conn: LearnerConn, peer: Zxid, plan: SyncPlan) {
        let (last, applied) = (self.history.last(), self.applied);
        let by_tree = plan == SyncPlan::Snap;
        if plan != SyncPlan::AskLog && self.is_at_limit(by_tree) {
            return self.close(conn, CloseLearner::TooManySyncs);
        }
        let after = match plan {
            SyncPlan::AskLog => {
                return self.effects.push_back(LeadEffect::AskLog { of: conn, peer });
            }
            SyncPlan::Diff { after } => {
                let zxid = if after == last { peer } else { last };
                self.send(conn, &Packet::Diff { zxid });
                after
            }
            SyncPlan::Trunc { to } => {
                self.send(conn, &Packet::Trunc { zxid: to });
                to
            }
            SyncPlan::Snap => {
                self.send(conn, &Packet::Snap { zxid: applied });
                self.effects.push_back(LeadEffect::SendTree { to: conn });
                applied
            }
        };
        self.send_history(conn, after);
        let (start, config) = (Zxid::new(self.epoch.unwrap_or(0), 0), self.members.text().clone());
        self.send(conn, &Packet::NewLeader { zxid: start, config: Some(config) });
        if let Some(observer) = self.observers.get_mut(&conn) {
            (observer.stage, observer.by_tree) = (Stage::NewLeaderSent, by_tree);
        }
    }

    /// Whether as many as there may be are being synchronized in this way.
    fn is_at_limit(&self, by_tree: bool) -> bool {
        let SyncLimits { snaps, diffs } = self.settings.limits;
        let is_one = |observer: &&Observer| {
            observer.stage == Stage::NewLeaderSent && observer.by_tree == by_tree
        };
        let under_way = self.observers.values().filter(is_one).count();
        under_way >= if by_tree { snaps } else { diffs }
    }

    /// What is committed after `after`: from the disk, then from memory.
    fn send_history(&mut self, to: LearnerConn, after: Zxid) {
        let before = self.history.before();
        if after < before {
            self.effects.push_back(LeadEffect::SendLog { to, after, upto: before });
        }
        let bytes = self.history.packets_after(after);
        if !bytes.is_empty() {
            self.effects.push_back(LeadEffect::Send { to, bytes: bytes.into() });
        }
    }

    /// A packet of an observer that is in sync.
    fn on_served(&mut self, conn: LearnerConn, packet: Packet) {
        match packet {
            Packet::Pong { touched, .. } if !touched.is_empty() => {
                self.effects.push_back(LeadEffect::Touched { sessions: touched });
            }
            Packet::Request(request) => {
                self.effects.push_back(LeadEffect::Request { from: conn, request });
            }
            Packet::Revalidate { session, timeout_ms } => {
                self.effects.push_back(LeadEffect::Revalidate { from: conn, session, timeout_ms });
            }
            // UPTODATE is acknowledged with the start of the epoch.
            Packet::Ack { .. } | Packet::Pong { .. } | Packet::Unknown { .. } => {}
            packet => self.close(conn, CloseLearner::Unexpected { kind: packet.kind() }),
        }
    }

    fn close(&mut self, conn: LearnerConn, why: CloseLearner) {
        if self.observers.remove(&conn).is_some() {
            self.effects.push_back(LeadEffect::Close { conn, why });
        }
    }

    fn conns_of(&self, is_one: impl Fn(&Observer) -> bool) -> Vec<LearnerConn> {
        let those = self.observers.iter().filter(|(_, observer)| is_one(observer));
        those.map(|(conn, _)| *conn).collect()
    }
}
