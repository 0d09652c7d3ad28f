//! Packets that make sense by themselves, in any order: S80, TigerBeetle. The shell below the machines
//! is honest, the peer is not.

use super::*;
use crate::codes::OpCode;
use crate::packet::{LearnerInfo, Packet, RequestPacket};
use crate::txnlog::Durable;
use crate::zxid::SessionId;

const SETTINGS: ZabSettings = ZabSettings { tick_ms: 100, init_ticks: 10, sync_ticks: 5 };

/// Chance, and numbers that are often right and sometimes at their ends.
struct Any(u64);

impl Any {
    fn below(&mut self, end: u64) -> u64 {
        splitmix::next(&mut self.0) % end
    }

    fn epoch(&mut self) -> u32 {
        match self.below(16) {
            0 => u32::MAX,
            1 => i32::MAX as u32,
            2 => i32::MAX as u32 - 1,
            3 => 1 << 31,
            other => other as u32 % 4,
        }
    }

    fn zxid(&mut self) -> Zxid {
        match self.below(16) {
            0 => Zxid::UNKNOWN,
            1 => Zxid::MAX,
            2 => Zxid(i64::MIN),
            3 => Zxid::new(1, u32::MAX),
            other => Zxid::new(self.epoch(), other as u32 % 5),
        }
    }

    fn info(&mut self) -> LearnerInfo {
        LearnerInfo {
            accepted_epoch: self.epoch(),
            current_epoch: (self.below(2) > 0).then(|| self.epoch()),
            server_id: (self.below(20) > 0).then(|| self.below(6) as i64),
            protocol: if self.below(20) == 0 { 1 } else { LearnerInfo::PROTOCOL },
            config_version: if self.below(20) == 0 { self.zxid() } else { Zxid::ZERO },
        }
    }

    fn packet(&mut self) -> Packet {
        let (zxid, record) = (self.zxid(), Bytes::from_static(b"record"));
        let (session, designated) = (SessionId(self.below(3) as i64), self.below(6) as i64);
        match self.below(22) {
            0 => Packet::Request(RequestPacket {
                session,
                cxid: 1,
                op: OpCode(self.below(120) as i32 - 12),
                record,
                auth: None,
            }),
            1 => Packet::Proposal { zxid, record },
            2 | 3 => Packet::Ack { zxid },
            4 => Packet::Commit { zxid },
            5 => Packet::Ping { zxid },
            6 => Packet::Pong { zxid, touched: vec![(session, -1)] },
            7 => Packet::Revalidate { session, timeout_ms: i32::MIN },
            8 => Packet::Revalidated { session, valid: true },
            9 => Packet::Sync,
            10 => Packet::Inform { zxid, record },
            11 => Packet::CommitAndActivate { zxid, designated },
            12 => Packet::NewLeader { zxid, config: None },
            13 => Packet::FollowerInfo(self.info()),
            14 => Packet::UpToDate,
            15 => Packet::Diff { zxid },
            16 => Packet::Trunc { zxid },
            17 => Packet::Snap { zxid },
            18 => Packet::ObserverInfo(self.info()),
            19 => Packet::LeaderInfo { epoch: self.epoch(), protocol: LearnerInfo::PROTOCOL },
            20 => Packet::AckEpoch { zxid, current_epoch: self.epoch() as i32 },
            _ => Packet::InformAndActivate { zxid, designated, record },
        }
    }
}

fn own(any: &mut Any) -> OwnHistory {
    let current = any.below(3) as u32;
    let last = Zxid::new(current, any.below(4) as u32);
    let accepted = current + any.below(2) as u32;
    OwnHistory { accepted_epoch: accepted, current_epoch: current, last: Durable::recovered(last) }
}

/// A leader whose learners say anything. Returns how far it came.
fn lead(seed: u64) -> Phase {
    let mut any = Any(seed);
    let own = own(&mut any);
    let history = History::new(own.last.get(), 500, 1 << 20);
    let mut leading = Leading::new(ServerId(1), members(3, 1), SETTINGS, own, history, 0);
    let (mut now, mut conns, mut durable) = (0, 0, own.last.get());
    for _ in 0..300 {
        now += any.below(60) as i64;
        let conn = LearnerConn(any.below(conns + 1));
        match any.below(16) {
            0 => {
                leading.on_connection(LearnerConn(conns + 1), now);
                conns += 1;
                if any.below(8) > 0 {
                    let honest = any.below(3) as u32;
                    let accepted_epoch = if any.below(8) == 0 { any.epoch() } else { honest };
                    let server_id = Some(2 + any.below(2) as i64);
                    let info = LearnerInfo { accepted_epoch, server_id, ..any.info() };
                    leading.on_packet(LearnerConn(conns), Packet::FollowerInfo(info), now);
                }
            }
            1 if any.below(8) == 0 => leading.on_closed(conn),
            2 => leading.on_time(now),
            3 if leading.is_serving() => {
                leading.confirm();
            }
            4 if leading.is_serving() => propose(&mut leading, now),
            5..11 => {
                // What the next step of an honest learner would be.
                let start = Zxid::new(leading.epoch().unwrap_or(1), 0);
                let ack = Packet::AckEpoch { zxid: Zxid::ZERO, current_epoch: 0 };
                let right = if any.below(2) == 0 { ack } else { Packet::Ack { zxid: start } };
                leading.on_packet(conn, right, now);
            }
            11 if leading.proposed() > durable => {
                durable = leading.proposed();
                leading.on_durable(Durable::recovered(durable));
            }
            _ => leading.on_packet(conn, any.packet(), now),
        }
        while let Some(effect) = leading.poll() {
            match effect {
                LeadEffect::StoreAcceptedEpoch { epoch } => leading.on_accepted_epoch(epoch, now),
                LeadEffect::StoreCurrentEpoch { epoch } => leading.on_current_epoch(epoch, now),
                LeadEffect::AskLog { of, .. } => {
                    let (floor, next) = (Some(any.zxid()), Some(any.zxid()));
                    leading.on_log_reach(of, LogReach { floor, next, is_too_long: false });
                }
                LeadEffect::StepDown { .. } => return leading.phase(),
                _ => {}
            }
        }
    }
    leading.phase()
}

fn propose(leading: &mut Leading, now: i64) {
    if let Some(zxid) = leading.zxid_after(leading.proposed()) {
        let record = Bytes::from_static(b"record");
        leading.propose(zxid, [Logged { zxid, record }], now);
    }
}

/// A learner whose leader says anything. Returns how far it came.
fn learn(seed: u64) -> Stage {
    let mut any = Any(seed);
    let own = own(&mut any);
    let (me, votes, last) = (ServerId(2), any.below(2) == 0, own.last.get());
    let mut learning = Learning::new(me, votes, SETTINGS, own, last, Zxid::ZERO, 0);
    let (mut now, mut appended, mut furthest) = (0, last, Stage::Discovery);
    for _ in 0..200 {
        now += any.below(30) as i64;
        if learning.wants_packets() {
            let epoch = learning.epoch().unwrap_or(own.accepted_epoch + 1);
            let packet = match (learning.stage(), any.below(4)) {
                (_, 0) => any.packet(),
                (Stage::Discovery, _) => Packet::LeaderInfo { epoch, protocol: 0 },
                (Stage::Accepted, 1) => Packet::Diff { zxid: any.zxid() },
                (Stage::Accepted, 2) => Packet::Trunc { zxid: any.zxid() },
                (Stage::Accepted, _) => Packet::Snap { zxid: any.zxid() },
                (Stage::Syncing, 1) => {
                    Packet::NewLeader { zxid: Zxid::new(epoch, 0), config: None }
                }
                (Stage::HasHistory, 1) => Packet::UpToDate,
                (_, 2) => Packet::Commit { zxid: appended },
                _ => Packet::Proposal { zxid: appended.next(), record: Bytes::new() },
            };
            learning.on_packet(packet, now);
        }
        learning.on_time(now);
        while let Some(effect) = learning.poll() {
            match effect {
                LearnEffect::StoreAcceptedEpoch { epoch } => learning.on_accepted_epoch(epoch, now),
                LearnEffect::StoreCurrentEpoch { epoch } => learning.on_current_epoch(epoch, now),
                LearnEffect::Truncate { to } => {
                    let is_done = to <= appended && to >= Zxid::ZERO;
                    appended = if is_done { to } else { appended };
                    learning.on_truncated(to, is_done, now);
                }
                LearnEffect::LoadTree { zxid } => {
                    let zxid = Some(zxid).filter(|zxid| *zxid >= Zxid::ZERO);
                    appended = zxid.unwrap_or(appended);
                    learning.on_tree_bytes(true, now);
                    learning.on_tree(zxid, now);
                }
                LearnEffect::Append { logged } => {
                    appended = logged.zxid;
                    if any.below(2) == 0 {
                        learning.on_durable(Durable::recovered(appended), now);
                    }
                }
                LearnEffect::Ping { zxid } => learning.pong(zxid, Vec::new()),
                LearnEffect::Leave { .. } => return furthest,
                _ => {}
            }
        }
        if learning.stage() == Stage::Persisting {
            learning.on_durable(Durable::recovered(appended), now);
        }
        furthest = furthest.max(learning.stage());
    }
    furthest
}

#[test]
fn s80_no_order_of_packets_stops_a_leader_or_a_learner() {
    let led: Vec<Phase> = (0..3_000).map(lead).collect();
    let learned: Vec<Stage> = (0..6_000).map(learn).collect();
    let (serving, followed) = (
        led.iter().filter(|phase| **phase == Phase::Broadcast).count(),
        learned.iter().filter(|stage| **stage == Stage::Serving).count(),
    );
    assert!(serving > 50 && followed > 50, "{serving} served, {followed} followed");
}
