//! Virtual time, faults and clients of a world of several servers.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::check::{Judge, Violation, quorum_has};
use super::net::Net;
use super::server::{Role, Server, settings};
use super::shared::{MEMBERS_MAX, Shared};
use crate::packet::PeerState;
use crate::sim::rng::Rng;
use crate::sim::trace::Trace;
use crate::zab::{Members, QuorumSet, ServerId};
use crate::zxid::Zxid;

/// A world of several servers. See the module.
pub(in crate::sim) struct Ensemble {
    shared: Shared,
    servers: BTreeMap<ServerId, Server>,
    judge: Judge,
    crashes: u32,
    records: u64,
    /// Chances in a hundred thousand, each step of each server.
    crash_chance: u64,
    cut_chance: u64,
    stall_chance: u64,
    reset_chance: u64,
    write_chance: u64,
    is_calm: bool,
    /// Clients write.
    writes: bool,
}

impl Ensemble {
    /// The world of a seed, whose trace keeps its last `tail` lines.
    pub(in crate::sim) fn new(seed: u64, tail: usize) -> Self {
        let mut rng = Rng::new(seed);
        let voters = *rng.pick(&[1, 3, 3, 3, 3, 5, 5, 7]);
        let observers = *rng.pick(&[0, 0, 0, 1, 2]);
        let ids = |from: i64, to: i64| (from..=to).map(ServerId).collect();
        let members = Members::new(
            ids(1, voters),
            ids(voters + 1, voters + observers),
            QuorumSet::Majority,
            Zxid::ZERO,
            Bytes::new(),
        );
        let members = members.expect("voters are an ensemble");
        let delay = *rng.pick(&[200, 2_000, 20_000]);
        let net = Net::new(delay);
        let shared = Shared {
            now: 0,
            members,
            settings: settings(),
            net,
            listening: BTreeSet::new(),
            flush_max: *rng.pick(&[500, 5_000, 30_000]),
            up: BTreeSet::new(),
            begun: Vec::new(),
            commits: Vec::new(),
            trace: Trace::new(tail),
            rng: rng.fork(),
        };
        let servers = shared.ids().into_iter().map(|id| (id, Server::new(id, &shared))).collect();
        Self {
            servers,
            judge: Judge::default(),
            crashes: 0,
            records: 0,
            crash_chance: *rng.pick(&[0, 10, 40, 100]),
            cut_chance: *rng.pick(&[0, 10, 50]),
            stall_chance: *rng.pick(&[0, 0, 20]),
            reset_chance: *rng.pick(&[0, 10, 50]),
            write_chance: *rng.pick(&[5, 50, 200]),
            is_calm: false,
            writes: true,
            shared,
        }
    }

    /// Transactions committed.
    pub(in crate::sim) fn commits(&self) -> usize {
        self.judge.commits
    }

    /// Servers killed.
    pub(in crate::sim) fn crashes(&self) -> u32 {
        self.crashes
    }

    /// What has happened.
    pub(in crate::sim) fn trace(&self) -> &Trace {
        &self.shared.trace
    }

    /// Faults, then calm; all killed, and calm again.
    pub(in crate::sim) fn run(&mut self) -> Result<(), Violation> {
        let until = self.shared.now + self.shared.rng.between(2, 12) as i64 * 1_000_000;
        while self.shared.now < until {
            self.step()?;
        }
        self.come_together()?;
        self.is_calm = false;
        for server in self.servers.values_mut() {
            let power = self.shared.rng.chance(700);
            server.kill(power, &mut self.shared);
            self.crashes += 1;
        }
        self.come_together()
    }

    /// Without faults all come to one leader, and a transaction more to all of them.
    fn come_together(&mut self) -> Result<(), Violation> {
        self.is_calm = true;
        self.shared.net.cut.clear();
        self.shared.flush_max = 1_000;
        for server in self.servers.values_mut() {
            server.stalled_until = 0;
            if !server.is_up {
                server.start(&mut self.shared);
            }
        }
        let ends_at = self.shared.now + CALM_US;
        let mut wanted = None;
        while self.shared.now < ends_at {
            self.step()?;
            if wanted.is_none() && self.servers.values().all(Server::is_serving) {
                wanted = Some(self.judge.commits + 1);
            }
            let last = self.judge.last();
            self.writes = wanted.is_none_or(|wanted| self.judge.commits < wanted);
            if !self.writes
                && self.servers.values().all(|server| server.is_serving() && server.shown == last)
            {
                self.writes = true;
                return Ok(());
            }
        }
        let states = self.servers.iter().map(|(id, server)| {
            let (state, leader) = (server.election.state(), server.election.vote().leader);
            let serves = if server.is_serving() { "serves" } else { "does not serve" };
            let disk = &server.disk;
            format!(
                "{id} {state} {leader} {serves} shows {} epochs {} {}",
                server.shown.zxid, disk.accepted_epoch, disk.current_epoch
            )
        });
        Err(Violation::NotTogether { what: states.collect::<Vec<_>>().join("; ") })
    }

    /// A millisecond of all servers, in any order.
    fn step(&mut self) -> Result<(), Violation> {
        self.shared.now += 1_000;
        self.shared.trace.at(self.shared.now as u64);
        let mut ids = self.shared.ids();
        while !ids.is_empty() {
            let id = ids.swap_remove(self.shared.rng.index(ids.len()));
            self.disturb(id);
            let Some(server) = self.servers.get_mut(&id) else { continue };
            if !server.is_up || server.stalled_until > self.shared.now {
                continue;
            }
            let outcome = server.step(&mut self.shared);
            let leads = server.is_up && matches!(server.role, Role::Leading(_));
            match leads {
                true => self.shared.listening.insert(id),
                false => self.shared.listening.remove(&id),
            };
            outcome?;
            self.judge_step()?;
            self.write(id);
            self.judge_shown(id)?;
        }
        Ok(())
    }

    fn judge_step(&mut self) -> Result<(), Violation> {
        let members = &self.shared.members;
        let disk = |id: ServerId| self.servers.get(&id).map(|server| &server.disk);
        let has = |state| quorum_has(members, disk, state);
        for (leader, epoch) in self.shared.begun.drain(..) {
            self.shared.trace.say(format_args!("{leader} begins epoch {epoch}"));
            let disk = &self.servers[&leader].disk;
            self.judge.on_begin(leader, epoch, disk, has)?;
        }
        for (leader, state) in self.shared.commits.drain(..) {
            self.shared.trace.say(format_args!("{leader} commits {}", state.zxid));
            self.judge.on_commit(leader, state, has)?;
        }
        Ok(())
    }

    fn judge_shown(&self, id: ServerId) -> Result<(), Violation> {
        let server = &self.servers[&id];
        let is_learner = server.election.state() != PeerState::Leading;
        match server.is_serving() || (server.is_up && is_learner && server.is_serving()) {
            true => self.judge.on_shown(id, server.shown),
            false => Ok(()),
        }
    }

    /// Clients write at any server, and sync at whoever leads.
    fn write(&mut self, id: ServerId) {
        let last = self.judge.last().zxid;
        let Some(server) = self.servers.get_mut(&id) else { return };
        if self.writes && self.shared.rng.chance(self.write_chance) {
            self.records += 1;
            let record = Bytes::copy_from_slice(&self.records.to_be_bytes());
            server.request(record, &mut self.shared);
        }
        if self.shared.rng.chance(50) {
            server.sync(last);
        }
    }

    /// Faults, while there are any.
    fn disturb(&mut self, id: ServerId) {
        if self.is_calm {
            return;
        }
        let rng = &mut self.shared.rng;
        let dice = rng.below(100_000);
        let other = ServerId(1 + rng.below(MEMBERS_MAX as u64) as i64);
        let Some(server) = self.servers.get_mut(&id) else { return };
        if !server.is_up {
            if dice < 1_500 {
                server.start(&mut self.shared);
            }
            return;
        }
        let mut ranges = dice;
        let mut happens = |chance: u64| {
            let is_it = ranges < chance;
            ranges = ranges.wrapping_sub(chance);
            is_it
        };
        if happens(self.crash_chance) {
            let power = self.shared.rng.chance(600);
            server.kill(power, &mut self.shared);
            self.crashes += 1;
        } else if happens(self.cut_chance) {
            self.shared.trace.say(format_args!("the way {id} to {other} is cut"));
            self.shared.net.cut.insert((id, other));
            if self.shared.rng.chance(600) {
                self.shared.net.cut.insert((other, id));
            }
        } else if happens(self.stall_chance) {
            server.stalled_until = self.shared.now + self.shared.rng.below(2_000_000) as i64;
        } else if happens(self.reset_chance) {
            let conns = self.shared.net.of(id);
            if !conns.is_empty() {
                let conn = conns[self.shared.rng.index(conns.len())];
                self.shared.net.reset(conn, self.shared.now, &mut self.shared.rng);
            }
        } else if happens(200) {
            self.shared.net.cut.retain(|(from, to)| *from != id && *to != id);
        }
    }
}

/// Within this time all must have come together, in microseconds.
const CALM_US: i64 = 60_000_000;
