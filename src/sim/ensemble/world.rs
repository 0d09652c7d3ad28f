//! Virtual time and clients of a world of several servers.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::check::{Judge, Violation, Voters};
use super::coverage::{self, Coverage};
use super::disk::Shown;
use super::members::members;
use super::net::Net;
use super::role::Role;
use super::server::{Server, settings};
use super::shared::{MEMBERS_MAX, Shared};
use super::weather::Weather;
use crate::sim::rng::Rng;
use crate::sim::trace::Trace;
use crate::zab::ServerId;

/// A world of several servers. See the module.
pub(in crate::sim) struct Ensemble {
    pub(super) shared: Shared,
    pub(super) servers: BTreeMap<ServerId, Server>,
    pub(super) judge: Judge,
    pub(super) voters: Voters,
    pub(super) weather: Weather,
    pub(super) records: u64,
    /// How long a step is, in milliseconds.
    pub(super) step_ms: u64,
    /// The chance of a write, in a hundred thousand, each millisecond of each server; and how many
    /// come at once when a leader begins.
    pub(super) write_chance: u64,
    pub(super) writes_at_begin: u64,
    pub(super) begins: Vec<ServerId>,
    pub(super) is_calm: bool,
    /// Clients write.
    pub(super) writes: bool,
}

impl Ensemble {
    /// The world of a seed, whose trace keeps its last `tail` lines.
    pub(in crate::sim) fn new(seed: u64, tail: usize) -> Self {
        let mut rng = Rng::new(seed);
        let (members, voters) = members(&mut rng, b"");
        let ids = (1..=MEMBERS_MAX).map(ServerId).filter(|id| members.is_member(*id));
        let ids: Vec<ServerId> = ids.collect();
        let mut net = Net::new(*rng.pick(&[200, 2_000, 20_000]));
        net.half_open = *rng.pick(&[0, 0, 100, 500]);
        let shared = Shared {
            now: 0,
            members,
            settings: settings(),
            net,
            listening: BTreeSet::new(),
            flush_max: *rng.pick(&[500, 5_000, 30_000]),
            slow: rng.chance(200).then(|| ids[rng.index(ids.len())]),
            held: BTreeSet::new(),
            up: BTreeSet::new(),
            crashes: 0,
            tree_delay: *rng.pick(&[1_000, 20_000, 200_000]),
            counter_max: *rng.pick(&[20, 200, u32::MAX - 1, u32::MAX - 1]),
            history_bytes: *rng.pick(&[400, 2_000, 1 << 20]),
            begun: Vec::new(),
            commits: Vec::new(),
            trace: Trace::new(tail),
            coverage: Coverage::default(),
            rng: rng.fork(),
            ids,
        };
        let servers = shared.ids.iter().map(|id| (*id, Server::new(*id, &shared))).collect();
        Self {
            servers,
            judge: Judge::default(),
            voters,
            weather: Weather::new(&mut rng),
            records: 0,
            step_ms: *rng.pick(&[1, 2, 4]),
            write_chance: *rng.pick(&[100, 1_000, 5_000]),
            begins: Vec::new(),
            writes_at_begin: *rng.pick(&[0, 1, 4]),
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
        self.shared.crashes
    }

    /// What has happened.
    pub(in crate::sim) fn trace(&self) -> &Trace {
        &self.shared.trace
    }

    /// Which faults there were.
    pub(in crate::sim) fn coverage(&self) -> &Coverage {
        &self.shared.coverage
    }

    /// Faults, then calm; all killed, and calm again.
    pub(in crate::sim) fn run(&mut self) -> Result<(), Violation> {
        let until = self.shared.now + self.shared.rng.between(1, 6) as i64 * 1_000_000;
        while self.shared.now < until {
            self.step()?;
        }
        self.come_together()?;
        self.storm(1000);
        self.come_together()?;
        self.is_calm = false;
        Ok(())
    }

    /// Without faults all come to one leader, and a transaction more to all of them; nothing that
    /// was proposed stays undecided.
    pub(super) fn come_together(&mut self) -> Result<(), Violation> {
        self.is_calm = true;
        self.shared.net.cut.clear();
        self.shared.net.half_open = 0;
        (self.shared.flush_max, self.shared.slow) = (1_000, None);
        self.shared.tree_delay = 1_000;
        self.write_chance = self.write_chance.min(500);
        for server in self.servers.values_mut() {
            (server.stalled_until, server.back_at, server.fuse) = (0, 0, None);
            server.disk.fails_next = false;
        }
        let ends_at = self.shared.now + CALM_US;
        let mut wanted = None;
        while self.shared.now < ends_at {
            for server in self.servers.values_mut().filter(|server| !server.is_up) {
                server.start(&mut self.shared);
            }
            self.step()?;
            if wanted.is_none() && self.servers.values().all(Server::is_serving) {
                wanted = Some(self.judge.commits + 1);
            }
            let last = self.judge.last();
            self.writes = wanted.is_none_or(|wanted| self.judge.commits < wanted);
            let has_all = |server: &Server| {
                server.is_serving() && server.shown == last && server.disk.end() == last
            };
            if !self.writes && self.servers.values().all(has_all) {
                self.writes = true;
                return Ok(());
            }
        }
        let states = self.servers.iter().map(|(id, server)| {
            let (state, leader) = (server.election.state(), server.election.vote().leader);
            let (at, shown, disk) = (server.at(), server.shown.zxid, &server.disk);
            let (end, accepted, current) =
                (disk.end().zxid, disk.accepted_epoch, disk.current_epoch);
            format!(
                "{id} {state} {leader} in {at} shows {shown} has {end} epochs {accepted} {current}"
            )
        });
        Err(Violation::NotTogether { what: states.collect::<Vec<_>>().join("; ") })
    }

    /// Some time of all servers, in any order.
    fn step(&mut self) -> Result<(), Violation> {
        self.shared.now += self.step_ms as i64 * 1_000;
        self.shared.trace.at(self.shared.now as u64);
        let mut ids = self.shared.ids.clone();
        while !ids.is_empty() {
            let id = ids.swap_remove(self.shared.rng.index(ids.len()));
            self.disturb(id);
            let now = self.shared.now;
            let is_at_work = |server: &Server| server.is_up && server.stalled_until <= now;
            if self.servers.get(&id).is_some_and(is_at_work) {
                self.step_server(id)?;
            }
            self.notice(id);
        }
        Ok(())
    }

    fn step_server(&mut self, id: ServerId) -> Result<(), Violation> {
        // What clients have asked meanwhile waits for a server that stood still.
        if self.wakes(id) && self.shared.rng.chance(500) {
            self.ask_sync(id)?;
        }
        // Some clients' requests come before what other servers have sent, some after it.
        if self.shared.rng.chance(300) {
            self.use_server(id)?;
        }
        let Some(server) = self.servers.get_mut(&id) else { return Ok(()) };
        if !server.has_due(&mut self.shared) {
            return self.use_server(id);
        }
        let was_at = server.at_step();
        let outcome = server.step(&mut self.shared);
        let has_turned = server.is_up && server.at_step() != was_at && !self.is_calm;
        let is_out = server.is_up && server.fuse == Some(0);
        outcome?;
        self.judge_step()?;
        let Some(server) = self.servers.get_mut(&id) else { return Ok(()) };
        if is_out {
            self.shared.coverage.note(coverage::KILLED_BETWEEN);
        }
        if is_out || has_turned && self.shared.rng.chance(self.weather.turn_crash) {
            server.kill(self.shared.rng.chance(600), &mut self.shared);
        }
        self.judge_shown(id)?;
        self.use_server(id)
    }

    /// A server that serves clients shows what is committed: where a leader died right after it had
    /// told others, nobody has said so before.
    pub(super) fn judge_shown(&mut self, id: ServerId) -> Result<(), Violation> {
        let server = &self.servers[&id];
        if !server.is_serving() {
            return Ok(());
        }
        let last = self.judge.last().zxid;
        let disk = |id: ServerId| self.servers.get(&id).map(|server| &server.disk);
        for entry in server.disk.after(last).iter().filter(|e| e.shown.zxid <= server.shown.zxid) {
            self.judge.on_commit(id, entry.shown, |state| self.voters.have(disk, state))?;
        }
        self.judge.on_shown(id, server.shown)
    }

    /// Others can dial the quorum port of a server that leads.
    pub(super) fn notice(&mut self, id: ServerId) {
        let Some(server) = self.servers.get(&id) else { return };
        match server.is_up && matches!(server.role, Role::Leading(_)) {
            true => self.shared.listening.insert(id),
            false => self.shared.listening.remove(&id),
        };
    }

    pub(super) fn judge_step(&mut self) -> Result<(), Violation> {
        let disk = |id: ServerId| self.servers.get(&id).map(|server| &server.disk);
        let has = |state| self.voters.have(disk, state);
        for (leader, epoch) in self.shared.begun.drain(..) {
            self.shared.trace.say(format_args!("{leader} begins epoch {epoch}"));
            let disk = &self.servers[&leader].disk;
            self.judge.on_begin(leader, epoch, disk, has)?;
            self.begins.push(leader);
        }
        for (leader, state) in self.shared.commits.drain(..) {
            self.shared.trace.say(format_args!("{leader} commits {}", state.zxid));
            self.judge.on_commit(leader, state, has)?;
        }
        // What was committed stays on the disks of a quorum.
        match self.judge.last() {
            last if last == Shown::default() || has(last) => Ok(()),
            last => Err(Violation::NotDurable { zxid: last.zxid }),
        }
    }

    /// Whether a server goes on that stood still.
    fn wakes(&mut self, id: ServerId) -> bool {
        let server = self.servers.get_mut(&id);
        server.is_some_and(|server| std::mem::take(&mut server.stalled_until) > 0)
    }

    /// A client asks a server that serves for a sync.
    fn ask_sync(&mut self, id: ServerId) -> Result<(), Violation> {
        let last = self.judge.last().zxid;
        match self.servers.get_mut(&id) {
            Some(server) if server.is_serving() && server.fuse != Some(0) => {
                server.sync(last, &self.shared)
            }
            _ => Ok(()),
        }
    }

    /// Clients write and sync at any server.
    fn use_server(&mut self, id: ServerId) -> Result<(), Violation> {
        let Some(server) = self.servers.get_mut(&id) else { return Ok(()) };
        if !server.is_serving() || server.fuse == Some(0) {
            return Ok(());
        }
        let rng = &mut self.shared.rng;
        let has_begun = std::mem::take(&mut self.begins).contains(&id);
        let at_begin = if has_begun { self.writes_at_begin } else { 0 };
        let writes = rng.below(100_000) < self.write_chance * self.step_ms;
        let burst = if rng.chance(50) { 1 + rng.below(8) } else { 1 };
        if self.writes {
            for _ in 0..at_begin + if writes { burst } else { 0 } {
                self.records += 1;
                let record = Bytes::copy_from_slice(&self.records.to_be_bytes());
                server.request(record, &mut self.shared);
            }
        }
        match self.shared.rng.chance(10 * self.step_ms) {
            true => self.ask_sync(id),
            false => Ok(()),
        }
    }

    /// Faults, while there are any.
    fn disturb(&mut self, id: ServerId) {
        if self.is_calm {
            return;
        }
        let is_down = self.servers.get(&id).is_some_and(|server| !server.is_up);
        let may_lose = is_down && self.may_lose(id);
        let Some(server) = self.servers.get_mut(&id) else { return };
        if self.weather.strike(server, self.step_ms, may_lose, &mut self.shared) {
            self.shared.coverage.note(coverage::STORM);
            self.storm(700);
        }
    }

    /// Whether the data of a server may be lost: the others are a quorum, and have theirs.
    fn may_lose(&self, id: ServerId) -> bool {
        let has_data = |other: ServerId| other != id && !self.servers[&other].disk.is_unknown;
        self.servers.keys().all(|other| *other == id || has_data(*other))
            && self.voters.is_quorum(has_data)
    }

    /// Servers are killed at once, each with a chance in a thousand.
    fn storm(&mut self, chance: u64) {
        for server in self.servers.values_mut().filter(|server| server.is_up) {
            if self.shared.rng.chance(chance) {
                server.kill(self.shared.rng.chance(700), &mut self.shared);
            }
        }
    }
}

/// Within this time all must have come together, in microseconds.
const CALM_US: i64 = 60_000_000;
