//! One server: its machines, and what carries their effects out. All of it but the disk is lost when
//! the server is killed.

use super::check::Violation;
use super::coverage;
use super::disk::{Disk, Job, Shown};
use super::net::Port;
use super::role::{LearningRole, Role};
use super::shared::Shared;
use super::votes::Votes;
use crate::codes::OpCode;
use crate::packet::{PeerState, RequestPacket};
use crate::txnlog::Durable;
use crate::zab::{Election, ElectionEffect, Learning, Logged, OwnHistory, ServerId, ZabSettings};
use crate::zxid::{SessionId, Zxid};
use bytes::Bytes;

/// See the module.
pub(super) struct Server {
    pub(super) id: ServerId,
    pub(super) disk: Disk,
    pub(super) is_up: bool,
    /// It does not start before that time, in microseconds.
    pub(super) back_at: i64,
    pub(super) stalled_until: i64,
    /// The effects that it still carries out before it is killed.
    pub(super) fuse: Option<u32>,
    votes: Votes,
    pub(super) election: Election,
    pub(super) role: Role,
    pub(super) shown: Shown,
    /// Its log could not be cut: at the next leader it says that it has nothing to begin with, and
    /// gets the whole tree.
    wants_tree: bool,
    /// What the last synchronization brought: all after the first, up to the second.
    pub(super) brought: (Zxid, Zxid),
    /// What a role that has ended had still to write.
    late: Vec<Logged>,
    /// It has something to do, whatever arrives.
    pub(super) is_due: bool,
    /// Its machines have something to do then, in milliseconds.
    wakes_at: i64,
}

impl Server {
    pub(super) fn new(id: ServerId, shared: &Shared) -> Self {
        Self {
            id,
            disk: Disk::default(),
            is_up: false,
            back_at: 0,
            stalled_until: 0,
            fuse: None,
            votes: Votes::new(id, &shared.members),
            election: shared.election(id),
            role: Role::Resting,
            shown: Shown::default(),
            wants_tree: false,
            brought: (Zxid::ZERO, Zxid::ZERO),
            late: Vec::new(),
            is_due: true,
            wakes_at: 0,
        }
    }

    /// Comes up on what the disk holds, if it can.
    pub(super) fn start(&mut self, shared: &mut Shared) {
        if self.back_at > shared.now || !self.disk.recover() {
            return;
        }
        self.shown = self.disk.end();
        self.votes = Votes::new(self.id, &shared.members);
        self.election = shared.election(self.id);
        shared.up.insert(self.id);
        self.role = Role::Resting;
        (self.is_up, self.fuse, self.wants_tree, self.is_due) = (true, None, false, true);
        (self.brought, self.late) = ((Zxid::ZERO, Zxid::ZERO), Vec::new());
        let (end, epoch) = (self.shown.zxid, self.disk.current_epoch);
        let of = if self.disk.is_unknown { ", of lost data" } else { "" };
        shared.trace.say(format_args!("{} starts with {end}, epoch {epoch}{of}", self.id));
    }

    /// The process is gone; with `power` also what the disk had not stored.
    pub(super) fn kill(&mut self, power: bool, shared: &mut Shared) {
        let (id, step) = (self.id, self.at());
        let how = if power { "loses power" } else { "is killed" };
        shared.trace.say(format_args!("{id} {how} in {step}"));
        shared.coverage.note(if power { coverage::POWER_LOST } else { coverage::KILLED });
        shared.coverage.crash_in(&step);
        self.disk.jobs.iter().for_each(|(_, job)| shared.coverage.crash_in(job.name()));
        self.is_up = false;
        self.role = Role::Resting;
        shared.up.remove(&id);
        shared.crashes += 1;
        shared.hang_up(id, Port::Quorum);
        shared.hang_up(id, Port::Election);
        if power { self.disk.crash(&mut shared.rng) } else { self.disk.settle() }
    }

    /// The step of the protocol that it is at.
    pub(super) fn at(&self) -> String {
        match &self.role {
            Role::Resting => "the end of a role".to_owned(),
            Role::Looking => "LOOKING".to_owned(),
            Role::Dialing { .. } => "dialing".to_owned(),
            Role::Leading(role) => format!("leader {:?}", role.machine.phase()),
            Role::Learning(role) => format!("learner {:?}", role.machine.stage()),
        }
    }

    /// The same, to be compared.
    pub(super) fn at_step(&self) -> (u8, u8) {
        match &self.role {
            Role::Resting => (0, 0),
            Role::Looking => (1, 0),
            Role::Dialing { .. } => (2, 0),
            Role::Leading(role) => (3, role.machine.phase() as u8),
            Role::Learning(role) => (4, role.machine.stage() as u8),
        }
    }

    /// Whether anything is due now: the machines are asked when they want to be called, as a real
    /// server asks them.
    pub(super) fn has_due(&self, shared: &mut Shared) -> bool {
        self.is_due
            || self.fuse.is_some()
            || self.wakes_at <= shared.now_ms()
            || self.disk.has_due(shared.now)
            || shared.net.has_due(self.id, shared.now)
    }

    /// When its machines have something to do, in milliseconds.
    fn next_wake(&self) -> i64 {
        let of_role = match &self.role {
            Role::Resting | Role::Dialing { .. } => 0,
            Role::Looking => i64::MAX,
            Role::Leading(role) => role.machine.wakes_at(),
            Role::Learning(role) => role.machine.wakes_at(),
        };
        let of_election = self.election.wakes_at().unwrap_or(i64::MAX);
        let of_late = if self.late.is_empty() { i64::MAX } else { 0 };
        of_role.min(of_election).min(self.votes.wakes_at()).min(of_late)
    }

    /// Everything that is due now.
    pub(super) fn step(&mut self, shared: &mut Shared) -> Result<(), Violation> {
        self.is_due = false;
        let outcome = self.take_turn(shared);
        self.wakes_at = self.next_wake();
        outcome
    }

    fn take_turn(&mut self, shared: &mut Shared) -> Result<(), Violation> {
        let now_ms = shared.now_ms();
        self.finish_jobs(shared);
        self.votes.take_in(&mut self.election, &mut shared.around());
        if matches!(self.role, Role::Resting) && !self.disk.is_busy() {
            self.role = Role::Looking;
            let epoch = i64::from(self.disk.current_epoch);
            let zxid = self.disk.durable_end().zxid;
            let zxid = if self.counts() { zxid } else { Zxid::UNKNOWN };
            self.election.look(zxid, epoch, now_ms);
        }
        self.write_late(shared);
        self.election.on_time(now_ms);
        self.carry_out_election(shared);
        self.votes.carry_out(&mut self.election, &mut shared.around());
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

    /// One effect more is to be carried out: whether the server still lives to do it.
    pub(super) fn lives(&mut self) -> bool {
        match &mut self.fuse {
            Some(0) => return false,
            Some(left) => *left -= 1,
            None => {}
        }
        true
    }

    /// Whether it serves clients.
    pub(super) fn is_serving(&self) -> bool {
        self.is_up
            && match &self.role {
                Role::Leading(role) => role.machine.is_serving(),
                Role::Learning(role) => role.machine.is_serving(),
                Role::Resting | Role::Looking | Role::Dialing { .. } => false,
            }
    }

    /// A client's transaction: proposed by the leader, forwarded by everybody else.
    pub(super) fn request(&mut self, record: Bytes, shared: &mut Shared) {
        self.is_due = true;
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

    /// What it has on its disk, as it says to others.
    pub(super) fn own(&self) -> OwnHistory {
        let last = match () {
            _ if !self.counts() || self.wants_tree => Zxid::UNKNOWN,
            _ if mutant!(ToldFromMemory) => self.shown.zxid,
            _ if mutant!(PartialTreeKept) => self.shown.zxid,
            _ if mutant!(TruncatedMemoryAhead) => self.shown.zxid,
            _ if mutant!(WriteErrorKeepsMemory) => self.shown.zxid,
            _ => self.disk.durable_end().zxid,
        };
        OwnHistory {
            accepted_epoch: self.disk.accepted_epoch,
            current_epoch: self.disk.current_epoch,
            last: Durable::recovered(last),
        }
    }

    /// Whether what it has is all that it ever acknowledged.
    pub(super) fn counts(&self) -> bool {
        !self.disk.is_unknown || mutant!(WipedServerVotes)
    }

    fn finish_jobs(&mut self, shared: &mut Shared) {
        let now_ms = shared.now_ms();
        while let Some((job, is_done)) = self.disk.next_done(shared.now) {
            if !is_done && !self.outlives(job, shared) {
                return;
            }
            match (&mut self.role, job) {
                (Role::Leading(role), Job::Flush(upto)) if is_done => {
                    role.machine.on_durable(Durable::recovered(upto));
                }
                (Role::Leading(role), Job::AcceptedEpoch(epoch)) => {
                    role.machine.on_accepted_epoch(epoch, now_ms);
                }
                (Role::Leading(role), Job::CurrentEpoch(epoch)) => {
                    role.machine.on_current_epoch(epoch, now_ms);
                }
                (Role::Learning(role), job) => {
                    let is_done = is_done || mutant!(FailedTruncIgnored);
                    role.on_job(job, is_done, &mut self.disk, &mut self.shown, now_ms);
                }
                // Of a role that has ended.
                (_, Job::Truncate(_) | Job::Tree(_)) => self.shown = self.disk.end(),
                (_, Job::Flush(_) | Job::AcceptedEpoch(_) | Job::CurrentEpoch(_)) => {}
            }
        }
        if self.disk.durable < self.disk.entries.len() {
            self.disk.flush(shared.flush_done(self.id));
        }
    }

    /// A job failed. What the disk holds after a failed write is not known: the server ends, and
    /// what a start finds counts. A truncation and a tree are a matter of the role.
    fn outlives(&mut self, job: Job, shared: &mut Shared) -> bool {
        let what = match job {
            Job::Truncate(_) => coverage::TRUNCATION_FAILED,
            Job::Tree(_) => coverage::TREE_NOT_STORED,
            _ => coverage::WRITE_FAILED,
        };
        shared.coverage.note(what);
        shared.trace.say(format_args!("{}: {what}", self.id));
        match job {
            Job::Truncate(_) | Job::Tree(_) => {
                self.wants_tree = true;
                true
            }
            Job::Flush(_) if mutant!(WriteErrorKeepsMemory) => {
                self.disk.drop_unflushed();
                self.rest(shared);
                false
            }
            Job::Flush(_) if mutant!(WriteErrorLeadsOn) => {
                self.disk.is_broken = true;
                true
            }
            _ => {
                self.kill(true, shared);
                false
            }
        }
    }

    /// A mistake: what a role had still to write is written though it has ended (S09).
    fn write_late(&mut self, shared: &mut Shared) {
        if self.late.is_empty() || matches!(self.role, Role::Resting) || !shared.rng.chance(50) {
            return;
        }
        for logged in std::mem::take(&mut self.late) {
            if logged.zxid > self.disk.end().zxid {
                self.disk.append(logged);
            }
        }
    }

    fn carry_out_election(&mut self, shared: &mut Shared) {
        while self.lives()
            && let Some(effect) = self.election.poll()
        {
            match effect {
                ElectionEffect::Send { to, notification } => {
                    self.votes.links.send(to, &notification);
                }
                ElectionEffect::Elected { state: PeerState::Leading, .. } => self.lead(shared),
                ElectionEffect::Voter { id, news } => {
                    if let Role::Leading(role) = &mut self.role {
                        role.machine.on_voter(id, news, shared.now_ms());
                    }
                }
                ElectionEffect::Elected { state, vote } => {
                    shared.trace.say(format_args!("{} is {state}, of {}", self.id, vote.leader));
                    let until = shared.now + shared.settings.tick_ms * 10_000;
                    let next_at = shared.now;
                    self.role = Role::Dialing { leader: vote.leader, next_at, until };
                }
            }
        }
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
            let own = self.own();
            self.wants_tree = false;
            let machine = Learning::new(
                self.id,
                shared.members.is_voter(self.id),
                shared.settings,
                own,
                self.shown.zxid.min(own.last.get()),
                Zxid::ZERO,
                shared.now_ms(),
            );
            self.role = Role::Learning(Box::new(LearningRole::new(machine, conn)));
            self.is_due = true;
        } else {
            self.role = Role::Dialing { leader, next_at: shared.now + 20_000, until };
        }
    }

    /// The role is dropped, and with it all that it has begun.
    pub(super) fn rest(&mut self, shared: &mut Shared) {
        if let Role::Learning(role) = &self.role
            && let Some(partial) = role.partial_tree()
            && mutant!(PartialTreeKept)
        {
            self.shown = partial;
        }
        if mutant!(OldRoleWrites) {
            self.late = self.disk.drop_unflushed();
        }
        self.role = Role::Resting;
        shared.hang_up(self.id, Port::Quorum);
    }
}

/// The settings of all servers: short, so that much happens in a world.
pub(super) fn settings() -> ZabSettings {
    ZabSettings { tick_ms: 100, init_ticks: 10, sync_ticks: 5 }
}
