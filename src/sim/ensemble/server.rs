//! One server: its machines, and what carries their effects out. All of it but the disk is lost when
//! the server is killed.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use bytes::Bytes;

use super::check::Violation;
use super::disk::{Disk, Job, Shown};
use super::net::{Arrival, Port};
use super::shared::Shared;
use super::votes::Votes;
use crate::codes::OpCode;
use crate::packet::{Packet, PacketStream, PeerState, RequestPacket};
use crate::txnlog::Durable;
use crate::zab::{
    Election, ElectionEffect, History, LeadEffect, Leading, LearnEffect, LearnerConn, Learning,
    LogReach, Logged, OwnHistory, ServerId, ZabSettings,
};
use crate::zxid::{SessionId, Zxid};

/// What the server is at.
pub(super) enum Role {
    /// A role has ended: what it asked of the disk ends first.
    Resting,
    Looking,
    /// It has a leader and no connection to it yet.
    Dialing {
        leader: ServerId,
        next_at: i64,
        until: i64,
    },
    Leading(Box<LeadingRole>),
    Learning(Box<LearningRole>),
}

pub(super) struct LeadingRole {
    pub(super) machine: Leading,
    streams: BTreeMap<LearnerConn, PacketStream>,
    committed: Zxid,
    /// Syncs that wait for a quorum's answer: the number of the question, and what was committed
    /// anywhere when it was asked.
    syncs: Vec<(u64, Zxid)>,
}

pub(super) struct LearningRole {
    pub(super) machine: Learning,
    conn: u64,
    stream: PacketStream,
    /// A tree is awaited on the stream.
    is_loading: bool,
}

/// See the module.
pub(super) struct Server {
    pub(super) id: ServerId,
    pub(super) disk: Disk,
    pub(super) is_up: bool,
    pub(super) stalled_until: i64,
    votes: Votes,
    pub(super) election: Election,
    pub(super) role: Role,
    pub(super) shown: Shown,
}

impl Server {
    pub(super) fn new(id: ServerId, shared: &Shared) -> Self {
        Self {
            id,
            disk: Disk::default(),
            is_up: false,
            stalled_until: 0,
            votes: Votes::new(id, shared),
            election: shared.election(id),
            role: Role::Resting,
            shown: Shown::default(),
        }
    }

    /// Comes up on what the disk holds.
    pub(super) fn start(&mut self, shared: &mut Shared) {
        self.disk.recover();
        self.shown = self.disk.end();
        self.votes = Votes::new(self.id, shared);
        self.election = shared.election(self.id);
        self.role = Role::Resting;
        self.is_up = true;
        shared.up.insert(self.id);
        let (end, epoch) = (self.shown.zxid, self.disk.current_epoch);
        shared.trace.say(format_args!("{} starts with {end}, epoch {epoch}", self.id));
    }

    /// The process is gone; with `power` also what the disk had not stored.
    pub(super) fn kill(&mut self, power: bool, shared: &mut Shared) {
        self.is_up = false;
        shared.up.remove(&self.id);
        self.role = Role::Resting;
        shared.hang_up(self.id, Port::Quorum);
        shared.hang_up(self.id, Port::Election);
        let how = if power { "loses power" } else { "is killed" };
        shared.trace.say(format_args!("{} {how}", self.id));
        if power {
            self.disk.crash(&mut shared.rng);
        } else {
            // What was handed to the kernel is stored all the same.
            while self.disk.next_done(i64::MAX).is_some() {}
            self.disk.durable = self.disk.entries.len();
        }
    }

    /// Everything that is due now.
    pub(super) fn step(&mut self, shared: &mut Shared) -> Result<(), Violation> {
        let now_ms = shared.now_ms();
        self.finish_jobs(shared);
        self.votes.take_in(&mut self.election, shared);
        if matches!(self.role, Role::Resting) && !self.disk.is_busy() {
            self.role = Role::Looking;
            let epoch = i64::from(self.disk.current_epoch);
            self.election.look(self.disk.durable_end().zxid, epoch, now_ms);
        }
        self.election.on_time(now_ms);
        self.carry_out_election(shared);
        self.votes.carry_out(&mut self.election, shared);
        match self.role {
            Role::Leading(_) => self.step_leading(shared),
            Role::Learning(_) => self.step_learning(shared),
            Role::Dialing { .. } => {
                self.dial(shared);
                Ok(())
            }
            Role::Resting | Role::Looking => Ok(()),
        }
    }

    /// Whether it serves clients.
    pub(super) fn is_serving(&self) -> bool {
        match &self.role {
            Role::Leading(role) => role.machine.is_serving(),
            Role::Learning(role) => role.machine.is_serving(),
            Role::Resting | Role::Looking | Role::Dialing { .. } => false,
        }
    }

    /// A client's transaction: proposed by the leader, forwarded by everybody else.
    pub(super) fn request(&mut self, record: Bytes, shared: &mut Shared) {
        if !self.is_up || !self.is_serving() {
            return;
        }
        match &mut self.role {
            Role::Leading(_) => self.propose(record, shared),
            Role::Learning(role) => role.machine.forward(RequestPacket {
                session: SessionId(self.id.0),
                cxid: 1,
                op: OpCode::SET_DATA,
                record,
                auth: None,
            }),
            Role::Resting | Role::Looking | Role::Dialing { .. } => {}
        }
    }

    fn propose(&mut self, record: Bytes, shared: &mut Shared) {
        let Role::Leading(role) = &mut self.role else { return };
        let Some(zxid) = role.machine.zxid_after(role.machine.proposed()) else { return };
        if !role.machine.is_serving() {
            return;
        }
        let logged = Logged { zxid, record };
        self.disk.append(logged.clone());
        role.machine.propose(zxid, [logged], shared.now_ms());
        self.disk.flush(shared.flush_done());
    }

    /// A client's sync, if this server leads.
    pub(super) fn sync(&mut self, committed: Zxid) {
        if let Role::Leading(role) = &mut self.role
            && role.machine.is_serving()
        {
            let number = role.machine.confirm();
            role.syncs.push((number, committed));
        }
    }

    fn own(&self) -> OwnHistory {
        OwnHistory {
            accepted_epoch: self.disk.accepted_epoch,
            current_epoch: self.disk.current_epoch,
            last: Durable::recovered(self.disk.durable_end().zxid),
        }
    }

    fn finish_jobs(&mut self, shared: &mut Shared) {
        let now_ms = shared.now_ms();
        while let Some((job, is_done)) = self.disk.next_done(shared.now) {
            match (&mut self.role, job) {
                (Role::Leading(role), Job::Flush(upto)) => {
                    role.machine.on_durable(Durable::recovered(upto));
                }
                (Role::Leading(role), Job::AcceptedEpoch(epoch)) => {
                    role.machine.on_accepted_epoch(epoch, now_ms);
                }
                (Role::Leading(role), Job::CurrentEpoch(epoch)) => {
                    role.machine.on_current_epoch(epoch, now_ms);
                }
                (Role::Learning(role), Job::Flush(upto)) => {
                    role.machine.on_durable(Durable::recovered(upto), now_ms);
                }
                (Role::Learning(role), Job::AcceptedEpoch(epoch)) => {
                    role.machine.on_accepted_epoch(epoch, now_ms);
                }
                (Role::Learning(role), Job::CurrentEpoch(epoch)) => {
                    role.machine.on_current_epoch(epoch, now_ms);
                }
                (Role::Learning(role), Job::Truncate(to)) => {
                    self.shown = self.disk.end();
                    role.machine.on_truncated(to, is_done, now_ms);
                }
                (Role::Learning(role), Job::Tree(shown)) => {
                    self.shown = shown;
                    role.machine.on_tree(Some(shown.zxid), now_ms);
                }
                // Of a role that has ended.
                (_, Job::Truncate(_) | Job::Tree(_)) => self.shown = self.disk.end(),
                (_, Job::Flush(_) | Job::AcceptedEpoch(_) | Job::CurrentEpoch(_)) => {}
            }
        }
        if self.disk.durable < self.disk.entries.len() {
            self.disk.flush(shared.flush_done());
        }
    }

    fn carry_out_election(&mut self, shared: &mut Shared) {
        while let Some(effect) = self.election.poll() {
            match effect {
                ElectionEffect::Send { to, notification } => {
                    self.votes.links.send(to, &notification);
                }
                ElectionEffect::Elected { state: PeerState::Leading, .. } => self.lead(shared),
                ElectionEffect::Elected { state, vote } => {
                    shared.trace.say(format_args!("{} is {state}, of {}", self.id, vote.leader));
                    let until = shared.now + shared.settings.tick_ms * 10_000;
                    let next_at = shared.now;
                    self.role = Role::Dialing { leader: vote.leader, next_at, until };
                }
            }
        }
    }

    /// All that is logged is applied; then a quorum is awaited.
    fn lead(&mut self, shared: &mut Shared) {
        shared.trace.say(format_args!("{} is LEADING", self.id));
        let mut history = History::new(self.disk.base.zxid, 500, 1 << 20);
        for entry in &self.disk.entries {
            history.push(entry.logged.clone(), self.disk.end().zxid);
        }
        self.shown = self.disk.end();
        let own = self.own();
        let machine = Leading::new(
            self.id,
            shared.members.clone(),
            shared.settings,
            own,
            history,
            shared.now_ms(),
        );
        let committed = own.last.get();
        let (streams, syncs) = (BTreeMap::new(), Vec::new());
        self.role = Role::Leading(Box::new(LeadingRole { machine, streams, committed, syncs }));
    }

    fn dial(&mut self, shared: &mut Shared) {
        let Role::Dialing { leader, next_at, until } = self.role else { return };
        if shared.now < next_at {
            return;
        }
        if shared.now >= until {
            self.role = Role::Resting;
        } else if shared.listens(leader, self.id) {
            let conn = shared.net.dial(self.id, leader, Port::Quorum);
            let machine = Learning::new(
                self.id,
                shared.members.is_voter(self.id),
                shared.settings,
                self.own(),
                self.shown.zxid,
                Zxid::ZERO,
                shared.now_ms(),
            );
            let stream = PacketStream::new(1 << 20);
            let role = LearningRole { machine, conn, stream, is_loading: false };
            self.role = Role::Learning(Box::new(role));
        } else {
            self.role = Role::Dialing { leader, next_at: shared.now + 20_000, until };
        }
    }

    fn step_leading(&mut self, shared: &mut Shared) -> Result<(), Violation> {
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
        self.carry_out_leading(shared)
    }

    fn carry_out_leading(&mut self, shared: &mut Shared) -> Result<(), Violation> {
        loop {
            let Role::Leading(role) = &mut self.role else { return Ok(()) };
            let Some(effect) = role.machine.poll() else { break };
            match effect {
                LeadEffect::Send { to, bytes } => shared.send(to.0, self.id, &bytes),
                LeadEffect::SendLog { to, after, upto } => {
                    let mut bytes = Vec::new();
                    for entry in self.disk.after(after).iter().filter(|e| e.shown.zxid <= upto) {
                        let Logged { zxid, record } = entry.logged.clone();
                        Packet::Proposal { zxid, record }.write(&mut bytes);
                        Packet::Commit { zxid }.write(&mut bytes);
                    }
                    shared.send(to.0, self.id, &bytes.into());
                }
                LeadEffect::SendTree { to } => {
                    let mut tree = self.shown.zxid.0.to_be_bytes().to_vec();
                    tree.extend(self.shown.hash.to_be_bytes());
                    shared.send(to.0, self.id, &tree.into());
                }
                LeadEffect::AskLog { of, peer } => {
                    let reach = reach(&self.disk, peer);
                    role.machine.on_log_reach(of, reach);
                }
                LeadEffect::Close { conn, why } => {
                    shared.trace.say(format_args!("{} closes {}: {why:?}", self.id, conn.0));
                    shared.net.close(conn.0, self.id, shared.now, &mut shared.rng);
                }
                LeadEffect::StoreAcceptedEpoch { epoch } => {
                    self.disk.ask(Job::AcceptedEpoch(epoch), shared.flush_done());
                }
                LeadEffect::StoreCurrentEpoch { epoch } => {
                    self.disk.ask(Job::CurrentEpoch(epoch), shared.flush_done());
                }
                LeadEffect::Begin { epoch } => {
                    self.election.serves(epoch);
                    shared.begun.push((self.id, epoch));
                }
                LeadEffect::Committed { upto } => {
                    for entry in self.disk.after(role.committed) {
                        if entry.shown.zxid <= upto {
                            shared.commits.push((self.id, entry.shown));
                        }
                    }
                    role.committed = upto;
                }
                LeadEffect::Confirmed { upto } => {
                    let known = role.machine.committed();
                    for (_, committed) in role.syncs.extract_if(.., |(number, _)| *number <= upto) {
                        if committed > known {
                            return Err(Violation::StaleSync { leader: self.id, committed, known });
                        }
                    }
                }
                LeadEffect::Request { request, .. } => self.propose(request.record, shared),
                LeadEffect::Revalidate { from, session, .. } => {
                    role.machine.send(from, &Packet::Revalidated { session, valid: true });
                }
                LeadEffect::Touched { .. } => {}
                LeadEffect::StepDown { why } => {
                    shared.trace.say(format_args!("{} steps down: {why}", self.id));
                    self.rest(shared);
                }
            }
        }
        self.apply_as_leader();
        Ok(())
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

    fn step_learning(&mut self, shared: &mut Shared) -> Result<(), Violation> {
        let Role::Learning(role) = &mut self.role else { return Ok(()) };
        let (now, now_ms, conn) = (shared.now, shared.now_ms(), role.conn);
        role.machine.on_time(now_ms);
        while let Some(arrival) = shared.net.next(conn, self.id, now) {
            match arrival {
                Arrival::Closed => role.machine.on_closed(),
                Arrival::Bytes(bytes) => role.stream.push(&bytes),
            }
        }
        loop {
            self.carry_out_learning(shared);
            let Role::Learning(role) = &mut self.role else { return Ok(()) };
            if role.is_loading {
                let rest = role.stream.take_rest();
                if rest.len() < TREE_BYTES {
                    role.stream.put_back(&rest);
                    return Ok(());
                }
                role.is_loading = false;
                let number =
                    |at: usize| i64::from_be_bytes(rest[at..at + 8].try_into().unwrap_or_default());
                let shown = Shown { zxid: Zxid(number(0)), hash: number(8) as u64 };
                role.stream.put_back(&rest[TREE_BYTES..]);
                self.disk.ask(Job::Tree(shown), shared.flush_done());
            }
            if !role.machine.wants_packets() {
                return Ok(());
            }
            match role.stream.next_packet() {
                Ok(Some(packet)) => role.machine.on_packet(packet, now_ms),
                Ok(None) => return Ok(()),
                Err(_) => role.machine.on_closed(),
            }
        }
    }

    fn carry_out_learning(&mut self, shared: &mut Shared) {
        loop {
            let Role::Learning(role) = &mut self.role else { return };
            let Some(effect) = role.machine.poll() else { return };
            match effect {
                LearnEffect::Send { bytes } => shared.send(role.conn, self.id, &bytes),
                LearnEffect::StoreAcceptedEpoch { epoch } => {
                    self.disk.ask(Job::AcceptedEpoch(epoch), shared.flush_done());
                }
                LearnEffect::StoreCurrentEpoch { epoch } => {
                    self.disk.ask(Job::CurrentEpoch(epoch), shared.flush_done());
                }
                LearnEffect::Truncate { to } => {
                    self.disk.ask(Job::Truncate(to), shared.flush_done());
                }
                LearnEffect::LoadTree { .. } => role.is_loading = true,
                LearnEffect::Append { logged } => {
                    self.disk.append(logged);
                    self.disk.flush(shared.flush_done());
                }
                LearnEffect::Apply { upto } => {
                    let entries = self.disk.after(self.shown.zxid);
                    for entry in entries.iter().filter(|entry| entry.shown.zxid <= upto) {
                        self.shown = self.shown.after(&entry.logged);
                    }
                }
                LearnEffect::Serve { epoch } => self.election.serves(epoch),
                LearnEffect::Ping { zxid } => {
                    let session = SessionId(self.id.0);
                    role.machine.pong(zxid, vec![(session, 1_000)]);
                    role.machine.revalidate(session, 1_000);
                }
                LearnEffect::Synced { .. } | LearnEffect::Revalidated { .. } => {}
                LearnEffect::Leave { why } => {
                    shared.trace.say(format_args!("{} leaves: {why}", self.id));
                    self.rest(shared);
                }
            }
        }
    }

    /// The role is dropped, and with it all that it has begun.
    fn rest(&mut self, shared: &mut Shared) {
        self.role = Role::Resting;
        shared.hang_up(self.id, Port::Quorum);
    }
}

/// What a log says about a zxid.
fn reach(disk: &Disk, peer: Zxid) -> LogReach {
    let at = disk.entries.partition_point(|entry| entry.shown.zxid <= peer);
    let before = at.checked_sub(1).map(|at| disk.entries[at].shown.zxid);
    let floor = before.or((disk.base.zxid <= peer).then_some(disk.base.zxid));
    let next = disk.entries.get(at).map(|entry| entry.shown.zxid);
    LogReach { floor, next, is_too_long: false }
}

/// The settings of all servers: short, so that much happens in a world.
pub(super) fn settings() -> ZabSettings {
    ZabSettings { tick_ms: 100, init_ticks: 10, sync_ticks: 5 }
}

/// Zxid and hash.
const TREE_BYTES: usize = 16;
