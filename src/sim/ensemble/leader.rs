//! A server that leads.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use bytes::Bytes;

use super::check::Violation;
use super::coverage;
use super::disk::{Disk, Job};
use super::net::{Arrival, Port};
use super::role::{LeadingRole, Role, Sync, TREE_BYTES};
use super::server::Server;
use super::shared::Shared;
use crate::codes::OpCode;
use crate::packet::{Packet, PacketStream, RequestPacket};
use crate::txnlog::Durable;
use crate::zab::{
    CloseLearner, History, LeadEffect, Leading, LearnerConn, LogReach, Logged, OwnHistory, StepDown,
};
use crate::zxid::Zxid;

impl Server {
    /// All that is logged is applied; then a quorum is awaited.
    pub(super) fn lead(&mut self, shared: &mut Shared) {
        shared.trace.say(format_args!("{} is LEADING", self.id));
        assert!(self.counts(), "a server that has lost its data does not lead");
        let mut history = History::new(self.disk.base.zxid, 500, shared.history_bytes);
        let (after, upto) = self.brought;
        for Logged { zxid, record } in self.disk.entries.iter().map(|entry| &entry.logged) {
            if mutant!(HoleInCommittedLog) && after < *zxid && *zxid <= upto {
                continue;
            }
            history.push(Logged { zxid: *zxid, record: record.clone() }, self.disk.end().zxid);
        }
        self.shown = self.disk.end();
        let last = history.last();
        let own = OwnHistory { last: Durable::recovered(last), ..self.own() };
        let (id, members) = (self.id, shared.members.clone());
        let mut machine = Leading::new(id, members, shared.settings, own, history, shared.now_ms());
        machine.end_epoch_at(shared.counter_max);
        machine.elected_by(self.election.supporters());
        self.role = Role::Leading(Box::new(LeadingRole {
            machine,
            streams: BTreeMap::new(),
            committed: last,
            syncs: Vec::new(),
            confirmed_ms: 0,
        }));
    }

    pub(super) fn propose(&mut self, record: Bytes, shared: &mut Shared) {
        let Role::Leading(role) = &mut self.role else { return };
        let Some(zxid) = role.machine.zxid_after(role.machine.proposed()) else { return };
        if !role.machine.is_serving() {
            return;
        }
        let logged = Logged { zxid, record };
        self.disk.append(logged.clone());
        role.machine.propose(zxid, [logged], shared.now_ms());
        self.disk.flush(shared.flush_done(self.id));
    }

    /// A client's sync.
    pub(super) fn sync(&mut self, committed: Zxid, shared: &Shared) -> Result<(), Violation> {
        self.is_due = true;
        match &mut self.role {
            Role::Leading(role) if mutant!(SyncByLease) => {
                let is_leased = shared.now_ms() - role.confirmed_ms < 500;
                role.machine.confirm();
                if is_leased { self.answer_sync(Sync::Own(committed)) } else { Ok(()) }
            }
            Role::Leading(role) => {
                role.syncs.push((role.machine.confirm(), Sync::Own(committed)));
                Ok(())
            }
            Role::Learning(role) => {
                role.sync(self.id, committed);
                Ok(())
            }
            Role::Resting | Role::Looking | Role::Dialing { .. } => Ok(()),
        }
    }

    fn answer_sync(&mut self, sync: Sync) -> Result<(), Violation> {
        let Role::Leading(role) = &mut self.role else { return Ok(()) };
        let known = role.machine.committed();
        match sync {
            Sync::Own(committed) if committed > known => {
                return Err(Violation::StaleSync { server: self.id, committed, known });
            }
            Sync::Own(_) => {}
            Sync::Of(conn) => role.machine.send(conn, &Packet::Sync),
        }
        Ok(())
    }

    pub(super) fn step_leading(&mut self, shared: &mut Shared) -> Result<(), Violation> {
        let Role::Leading(role) = &mut self.role else { return Ok(()) };
        let (now, now_ms) = (shared.now, shared.now_ms());
        role.machine.on_time(now_ms);
        for number in shared.net.at(self.id, Port::Quorum) {
            if shared.net.conns.get(&number).is_none_or(|entry| entry.acceptor != self.id) {
                continue;
            }
            let conn = LearnerConn(number);
            if let Entry::Vacant(fresh) = role.streams.entry(conn) {
                fresh.insert(PacketStream::new(1 << 20));
                role.machine.on_connection(conn, now_ms);
            }
            while let Some(arrival) = shared.net.next(number, self.id, now) {
                let Some(stream) = role.streams.get_mut(&conn) else { break };
                match arrival {
                    Arrival::Closed => {
                        role.machine.on_closed(conn);
                        shared.net.close(number, self.id, now, &mut shared.rng);
                    }
                    Arrival::Bytes(bytes) => {
                        stream.push(&bytes);
                        while let Ok(Some(packet)) = stream.next_packet() {
                            role.machine.on_packet(conn, packet, now_ms);
                        }
                    }
                }
            }
        }
        self.carry_out_leading(shared)?;
        self.apply_as_leader();
        Ok(())
    }

    fn carry_out_leading(&mut self, shared: &mut Shared) -> Result<(), Violation> {
        while self.lives() {
            let Role::Leading(role) = &mut self.role else { break };
            let Some(effect) = role.machine.poll() else { break };
            match effect {
                LeadEffect::Send { to, bytes } => {
                    keeps_promises(&self.disk, &bytes).map_err(|what| self.broke(what))?;
                    shared.send(to.0, self.id, &bytes);
                }
                LeadEffect::SendLog { to, after, upto } => self.send_log(to, after, upto, shared),
                LeadEffect::SendTree { to } => self.send_tree(to, shared),
                LeadEffect::AskLog { of, peer } => {
                    let reach = reach(&self.disk, peer);
                    role.machine.on_log_reach(of, reach);
                }
                LeadEffect::Close { conn, why } => {
                    shared.trace.say(format_args!("{} closes {}: {why:?}", self.id, conn.0));
                    shared.net.close(conn.0, self.id, shared.now, &mut shared.rng);
                    is_legal(&why).map_err(|what| self.broke(what))?;
                }
                LeadEffect::StoreAcceptedEpoch { epoch } => {
                    self.disk.ask(Job::AcceptedEpoch(epoch), shared.flush_done(self.id));
                }
                LeadEffect::StoreCurrentEpoch { epoch } => {
                    self.disk.ask(Job::CurrentEpoch(epoch), shared.flush_done(self.id));
                }
                LeadEffect::Begin { epoch } => {
                    self.election.serves(epoch);
                    shared.begun.push((self.id, epoch));
                }
                LeadEffect::Committed { upto } => {
                    let entries = self.disk.after(role.committed).iter();
                    let committed = entries.filter(|entry| entry.shown.zxid <= upto);
                    shared.commits.extend(committed.map(|entry| (self.id, entry.shown)));
                    role.committed = upto;
                }
                LeadEffect::Confirmed { upto } => {
                    role.confirmed_ms = shared.now_ms();
                    let answered = role.syncs.extract_if(.., |(number, _)| *number <= upto);
                    let answered: Vec<_> = answered.collect();
                    for (_, sync) in answered {
                        self.answer_sync(sync)?;
                    }
                }
                LeadEffect::Request { from, request } => self.on_request(from, request, shared),
                LeadEffect::Revalidate { from, session, .. } => {
                    role.machine.send(from, &Packet::Revalidated { session, valid: true });
                }
                LeadEffect::Touched { .. } => {}
                LeadEffect::StepDown { why } => {
                    shared.trace.say(format_args!("{} steps down: {why}", self.id));
                    if why == StepDown::Rollover {
                        shared.coverage.note(coverage::COUNTER_USED_UP);
                    }
                    self.rest(shared);
                }
            }
        }
        Ok(())
    }

    fn on_request(&mut self, from: LearnerConn, request: RequestPacket, shared: &mut Shared) {
        let Role::Leading(role) = &mut self.role else { return };
        match request.op {
            OpCode::SYNC => role.syncs.push((role.machine.confirm(), Sync::Of(from))),
            _ => self.propose(request.record, shared),
        }
    }

    fn send_log(&mut self, to: LearnerConn, after: Zxid, upto: Zxid, shared: &mut Shared) {
        shared.coverage.note(coverage::LOG_DIFF);
        let mut bytes = Vec::new();
        for entry in self.disk.read_after(after).iter().filter(|e| e.shown.zxid <= upto) {
            let Logged { zxid, record } = entry.logged.clone();
            Packet::write_committed(zxid, record, &mut bytes);
        }
        shared.send(to.0, self.id, &bytes.into());
    }

    fn send_tree(&mut self, to: LearnerConn, shared: &mut Shared) {
        shared.coverage.note(coverage::SNAP);
        let mut tree = self.shown.zxid.0.to_be_bytes().to_vec();
        tree.extend(self.shown.hash.to_be_bytes());
        tree.resize(TREE_BYTES, 0);
        shared.send_tree(to.0, self.id, &tree.into());
    }

    /// What is committed and durable here is shown.
    fn apply_as_leader(&mut self) {
        let Role::Leading(role) = &mut self.role else { return };
        let upto = role.committed.min(self.disk.durable_end().zxid);
        if upto > self.shown.zxid {
            for entry in self.disk.after(self.shown.zxid).iter().filter(|e| e.shown.zxid <= upto) {
                self.shown = self.shown.after(&entry.logged);
            }
            role.machine.on_applied(self.shown.zxid);
        }
    }

    pub(super) fn broke(&self, what: String) -> Violation {
        Violation::Promise { server: self.id, what }
    }
}

/// LEADERINFO and NEWLEADER go out when their epochs are stored (P14).
fn keeps_promises(disk: &Disk, bytes: &Bytes) -> Result<(), String> {
    let mut stream = PacketStream::new(1 << 20);
    if bytes.len() <= PROMISE_BYTES_MAX {
        stream.push(bytes);
    }
    while let Ok(Some(packet)) = stream.next_packet() {
        match packet {
            Packet::LeaderInfo { epoch, .. } if epoch > disk.accepted_epoch => {
                return Err(format!("offers epoch {epoch}, which it has not stored"));
            }
            Packet::NewLeader { zxid, .. } if zxid.epoch() > disk.current_epoch => {
                return Err(format!("sends NEWLEADER {zxid} before it has stored that epoch"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Among our own servers nobody sends what has no place.
fn is_legal(why: &CloseLearner) -> Result<(), String> {
    match why {
        CloseLearner::CameBack
        | CloseLearner::NewerHistory { .. }
        | CloseLearner::OtherHistory { .. }
        | CloseLearner::Silent => Ok(()),
        why => Err(format!("got what has no place there: {why:?}")),
    }
}

/// What a log says about a zxid.
fn reach(disk: &Disk, peer: Zxid) -> LogReach {
    let floor = disk.floor(peer);
    let next = disk.read_after(peer).first().map(|entry| entry.shown.zxid);
    LogReach { floor, next, is_too_long: false }
}

/// No packet that promises something is longer.
const PROMISE_BYTES_MAX: usize = 64;
