//! Worlds of several whole servers with clients: each has its disk, its shards and its quorum core,
//! its life as a member and its elections, all of them the machines of production.
//!
//! | file | holds |
//! |---|---|
//! | `server` | one server, from its start to its crash |
//! | `peers` | what a member wants of other servers: bytes, dials, trees |
//! | `votes` | its election port |
//! | `jobs` | what it wants of its disk |
//! | `clients` | connections of clients, which move between servers |
//! | `weather` | which faults a world has, and when they come |
//! | `coverage` | what should happen in many of them together |
//! | `history` `visits` `spells` | the judge: of all transactions, of where sessions are, of times |
//! | `locals` | the judge of sessions that one server alone knows |
//! | `view` | the judge as one server has it |
//!
//! Everything that happens is an event at a time. An event runs to its end before the next one, so a
//! crash falls between any two of them; in a job of the disk it falls between any two operations.
//!
//! **Faults.** Servers killed or their power cut, one or many at once, in a start and in a job of the
//! disk too. Ways between servers cut, one or both, for the votes, the quorum port or both;
//! connections reset or half-open; a leader that all others leave without a word. Servers and cores
//! that stand still, disks and single flushes that are slow, flushes that fail, full disks, files
//! that do not read. A disk that is empty again, and a bit that changes in what was flushed: one
//! server at a time, as long as the others are a quorum. Wall clocks that jump. Clients that fall
//! silent, hang up, and move to another server with requests under way. `coverage` counts them.
//!
//! **Settings.** Some worlds have leaders that take no clients; followers that take observers; epochs
//! with few zxids; quotas that are enforced; sessions that one server alone knows; reads without a
//! leader.
//!
//! **Judged.** Each server's log, and what it applies and shows, against the one committed history;
//! each reply and event of each connection, at all times; that a session does not end early, where
//! neither its server nor its leader was disturbed; that nothing is late, in quiet times. When faults
//! have ended all must come together, and again after all were killed.

mod clients;
mod coverage;
mod history;
mod jobs;
mod locals;
mod peers;
mod server;
mod spells;
#[cfg(test)]
mod tests;
mod view;
mod visits;
mod votes;
mod weather;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::Rc;

use crate::acl;
use crate::jute::data::Id;
use crate::limits::FRAME_BYTES_MAX;
use crate::quorum::member::PeerConn;
use crate::sim::client::{Client, Phase};
use crate::sim::coverage::Coverage;
use crate::sim::ensemble::MEMBERS_MAX;
use crate::sim::ensemble::check::Voters;
use crate::sim::ensemble::members::members;
use crate::sim::ensemble::net::Net;
use crate::sim::node::{Out, Place, TurnContext};
use crate::sim::op::USER_PASSWORD;
use crate::sim::property::{Checked, Property, hold};
use crate::sim::rng::Rng;
use crate::sim::swarm::{OfMembers, Swarm};
use crate::sim::trace::Trace;
use crate::zab::{Members, ServerId};
use crate::zxid::Zxid;

pub(super) use coverage::WANTED;

use clients::Link;
use history::{History, OfServer};
use jobs::Job;
use peers::Dialling;
use server::Server;
use view::View;
use weather::{Fault, Weather};

/// A world of several servers. See the module.
pub(in crate::sim) struct Servers {
    rng: Rng,
    swarm: Swarm,
    weather: Weather,
    members: Members,
    now_us: u64,
    events: BTreeMap<(u64, u64), Event>,
    next_event: u64,
    pub(in crate::sim) trace: Trace,
    history: History,
    servers: Vec<Server>,
    up: BTreeSet<ServerId>,
    net: Net,
    clients: Vec<Client>,
    /// The connection that a client uses.
    in_use: Vec<Option<usize>>,
    links: Vec<Link>,
    places: Vec<Option<Place>>,
    /// The connections to ports for observers.
    of_observers: BTreeSet<u64>,
    /// The leader that was left alone last, and until when nothing gets to it for certain.
    left: Option<(ServerId, u64)>,
    /// A server that reaches no other one, until then.
    lonely: Option<(ServerId, u64)>,
    /// A server may have to look at its ports at another time.
    looks_due: bool,
    /// Logs that were opened, so that no two have files of the same name.
    stores: u64,
    /// No more faults, no more requests.
    calm: bool,
    /// Nor pings: what is under way comes to its end.
    still: bool,
    pub(in crate::sim) crashes: u32,
}

/// Something that happens at a time. The first number is that of a server, or of a connection.
#[derive(Debug)]
enum Event {
    Wake(usize),
    ToServer(usize, Vec<u8>),
    ToClient(usize, Vec<u8>),
    EndAtServer(usize),
    EndAtClient(usize),
    Start(usize),
    Crash(usize, u32),
    /// A core's turn: the shards from 0 on, then the quorum core.
    Core(usize, u32, usize),
    Tick(usize, u32, usize),
    FlushStep(usize, u32),
    SnapStep(usize, u32),
    Job(usize, u32),
    /// A server looks at its two ports.
    Look(usize, u32),
    Dial(usize, u32, Dialling),
    SendLog(usize, u32, PeerConn, Zxid, Zxid),
    TreePiece(usize, u32, PeerConn),
    /// A server's disk has room again.
    Room(usize),
    Fault(Fault),
}

impl Event {
    /// The server and the start of it that an event belongs to.
    fn of(&self) -> Option<(usize, u32)> {
        match *self {
            Self::Crash(at, generation)
            | Self::Core(at, generation, _)
            | Self::Tick(at, generation, _)
            | Self::FlushStep(at, generation)
            | Self::SnapStep(at, generation)
            | Self::Job(at, generation)
            | Self::Look(at, generation)
            | Self::Dial(at, generation, ..)
            | Self::SendLog(at, generation, ..)
            | Self::TreePiece(at, generation, _) => Some((at, generation)),
            _ => None,
        }
    }
}

/// A client of a world.
fn client(rng: &mut Rng, swarm: &Swarm) -> Client {
    let asked_ms = rng.between(6, 20) as i32 * 100;
    let has_user = rng.chance(300);
    let mut client = Client::new(rng.fork(), asked_ms, has_user, swarm);
    client.takes_read_only = swarm.members.read_only && rng.chance(700);
    client
}

/// The judge of a world, who knows how long things may take in it.
fn history(
    user: Id,
    voters: Voters,
    observers: usize,
    swarm: &Swarm,
    weather: &Weather,
) -> History {
    let is_grouped = voters.0.iter().any(|(_, group, weight)| (*group, *weight) != (0, 1));
    let mut history = History::new(user, voters, observers, swarm);
    if is_grouped {
        history.coverage.note(coverage::GROUPS);
    }
    history.spells.lag_ms = 2 * swarm.tick_ms + 4 * weather.net_delay as i64 / 1000 + 50;
    history.spells.patience_us = 10 * swarm.patience_us() + 20 * weather.net_delay + 500_000;
    if swarm.members.observer_masters {
        history.spells.lag_ms *= 2;
        history.spells.patience_us += 20 * weather.net_delay;
        history.spells.relayed_from = Some(history.voters.0.len());
    }
    history
}

impl Servers {
    /// The world of a seed.
    pub(in crate::sim) fn new(seed: u64, trace_lines: usize) -> Self {
        let mut rng = Rng::new(seed);
        let mut swarm = swarm(&mut rng);
        let (members, voters) = members(&mut rng, b"version=0");
        let ids: Vec<ServerId> = (1..=MEMBERS_MAX).map(ServerId).collect();
        let ids: Vec<ServerId> = ids.into_iter().filter(|id| members.is_member(*id)).collect();
        let weather = Weather::new(&mut rng, ids.len());
        let observers = ids.len() - voters.0.len();
        swarm.members = OfMembers::new(&mut rng, voters.0.len(), observers);
        let weather = match swarm.members.read_only {
            true => weather.with_lonely_servers(&mut rng),
            false => weather,
        };
        if swarm.members.read_only {
            swarm.run_us += LONELY_US;
        }
        // Who is still at a leader that was left can tell only by a sync.
        swarm.syncs |= weather.leave_every > 0;
        let clients: Vec<Client> = (0..swarm.clients).map(|_| client(&mut rng, &swarm)).collect();
        let servers = ids.iter().map(|id| Server::new(*id, &members, rng.below(1 << 20) as i64));
        let servers: Vec<Server> = servers.collect();
        let mut net = Net::new(weather.net_delay);
        net.half_open = weather.half_open;
        let user = acl::digest_id(USER_PASSWORD);
        let history = history(user, voters, observers, &swarm, &weather);
        let mut world = Self {
            rng,
            members,
            now_us: 0,
            events: BTreeMap::new(),
            next_event: 0,
            trace: Trace::new(trace_lines),
            history,
            servers,
            up: BTreeSet::new(),
            net,
            in_use: vec![None; clients.len()],
            clients,
            links: Vec::new(),
            places: Vec::new(),
            stores: 0,
            of_observers: BTreeSet::new(),
            left: None,
            lonely: None,
            looks_due: true,
            calm: false,
            still: false,
            crashes: 0,
            swarm,
            weather,
        };
        let voters = &world.history.voters;
        let (swarm, weather) = (&world.swarm, &world.weather);
        world.trace.say(format_args!("seed {seed} {voters:?} {swarm:?} {weather:?}"));
        world
    }

    /// Transactions committed.
    pub(in crate::sim) fn commits(&self) -> usize {
        self.history.commits()
    }

    /// What has happened.
    pub(in crate::sim) fn coverage(&self) -> &Coverage {
        &self.history.coverage
    }

    /// Runs to the end: the wild time, the calm, all killed, and calm again.
    pub(in crate::sim) fn run(&mut self) -> Checked {
        for at in 0..self.servers.len() {
            let delay = self.rng.below(30_000);
            self.after(delay, Event::Start(at));
        }
        for client in 0..self.clients.len() {
            self.after(1000 + client as u64, Event::Wake(client));
        }
        self.schedule_faults();
        self.run_until(self.swarm.run_us)?;
        self.heal();
        self.come_together()?;
        if self.weather.idle_us > 0 {
            self.history.coverage.note(coverage::IDLE);
            self.still = false;
            self.run_until(self.now_us + self.weather.idle_us)?;
            self.come_together()?;
        }
        for at in 0..self.servers.len() {
            self.crash(at, true);
        }
        self.come_together()
    }

    /// Without faults all servers come to one leader and one history, and all clients are answered.
    fn come_together(&mut self) -> Checked {
        self.still = false;
        let ends_us = self.now_us + TOGETHER_US;
        loop {
            self.run_until(self.now_us + 50_000)?;
            if self.are_together() {
                break;
            }
            if self.now_us >= ends_us {
                return Err(Property::NotTogether.broken(format_args!("{}", self.states())));
            }
        }
        self.still = true;
        self.run_until(self.now_us + STILL_US)?;
        // Sessions that nobody has come back for, and nodes that have lived their time, may end in
        // this moment: whoever watches hears of it some turns later.
        for _ in 0..AGAIN_MAX {
            let last = self.history.last_committed();
            self.run_until(self.now_us + 20_000)?;
            if self.are_together() && self.history.last_committed() == last {
                break;
            }
        }
        for link in &mut self.links {
            let server = link.server;
            if !link.cut && link.generation == self.servers[server].generation {
                link.stream.on_quiet(&View { history: &mut self.history, server })?;
            }
        }
        for at in 0..self.servers.len() {
            match &self.servers[at].node {
                Some(node) => self.history.judge_calm(at, &node.tree)?,
                None => return Err(Property::NotTogether.broken(format_args!("{at} is down"))),
            }
        }
        Ok(())
    }

    fn are_together(&self) -> bool {
        let last = self.history.last_committed();
        let is_served = |client: &Client| client.phase == Phase::Open;
        let history = &self.history;
        let has_role = |of: &OfServer| of.serves || history.leads_alone(of);
        let shows_all =
            |of: &OfServer| has_role(of) && of.last() == last && of.applied.zxid >= last;
        history.servers.iter().all(shows_all)
            && history.servers.iter().filter(|server| server.leads.is_some()).count() == 1
            && self.clients.iter().all(is_served)
            && self.links.iter().all(|link| !self.is_current(link) || link.stream.is_answered())
    }

    fn is_current(&self, link: &Link) -> bool {
        !link.cut && link.generation == self.servers[link.server].generation
    }

    fn states(&self) -> String {
        let all = self.servers.iter().zip(&self.history.servers).map(|(server, of)| {
            let role = server.node.as_ref().map(|node| node.quorum.report().role);
            format!(
                "{}: {role:?} leads {:?} serves {} has {:x} shows {:x} epochs {} {}",
                server.id,
                of.leads,
                of.serves,
                of.last(),
                of.applied.zxid,
                of.accepted_epoch,
                of.current_epoch
            )
        });
        let all: Vec<String> = all.collect();
        let phases: Vec<Phase> = self.clients.iter().map(|client| client.phase).collect();
        format!("{}; committed {:x}; {phases:?}", all.join("; "), self.history.last_committed())
    }

    fn run_until(&mut self, end_us: u64) -> Checked {
        while let Some(entry) = self.events.first_entry() {
            if entry.key().0 > end_us {
                break;
            }
            hold!(
                self.next_event < EVENTS_MAX,
                Work,
                "{} events in {} ms: this has no end",
                self.next_event,
                self.now_us / 1000
            );
            self.now_us = entry.key().0;
            let event = entry.remove();
            self.trace.at(self.now_us);
            self.history.spells.at(self.now_us);
            self.on_event(event)?;
            self.schedule_looks();
        }
        self.now_us = end_us;
        Ok(())
    }

    fn on_event(&mut self, event: Event) -> Checked {
        if let Some((at, generation)) = event.of() {
            let server = &self.servers[at];
            if generation != server.generation {
                return Ok(());
            }
            let stalls = !matches!(event, Event::Crash(..) | Event::Look(..));
            if stalls && server.stalled_until_us > self.now_us {
                self.after(server.stalled_until_us - self.now_us, event);
                return Ok(());
            }
        }
        match event {
            Event::Wake(client) => self.wake(client),
            Event::ToServer(link, bytes) => self.reach_server(link, bytes),
            Event::ToClient(link, bytes) => self.reach_client(link, &bytes),
            Event::EndAtServer(link) => self.end_at_server(link),
            Event::EndAtClient(link) => self.end_at_client(link),
            Event::Start(at) => return self.start(at),
            Event::Crash(at, _) if self.calm && !self.has_failed(at) => {}
            Event::Crash(at, _) => self.crash(at, false),
            Event::Core(at, _, core) => return self.core_turn(at, core, false),
            Event::Tick(at, generation, core) => {
                let every = self.swarm.tick_ms as u64 * 1000 / 8;
                self.after(every, Event::Tick(at, generation, core));
                return self.core_turn(at, core, true);
            }
            Event::FlushStep(at, _) => return self.flush_step(at),
            Event::SnapStep(at, _) => return self.snap_step(at),
            Event::Job(at, _) => return self.job(at),
            Event::Look(at, _) => self.look(at),
            Event::Dial(at, _, dialling) => self.dial(at, dialling),
            Event::SendLog(at, _, conn, after, upto) => self.send_log(at, conn, after, upto),
            Event::TreePiece(at, _, conn) => self.tree_piece(at, conn),
            Event::Room(at) => self.make_room(at),
            Event::Fault(fault) => self.strike(fault),
        }
        Ok(())
    }

    fn after(&mut self, delay_us: u64, event: Event) {
        self.next_event += 1;
        self.events.insert((self.now_us + delay_us, self.next_event), event);
    }

    fn say(&mut self, at: usize, text: fmt::Arguments<'_>) {
        self.trace.say(format_args!("s{}: {text}", self.servers[at].id));
    }

    fn has_failed(&self, at: usize) -> bool {
        self.servers[at].node.as_ref().is_some_and(|node| node.failed)
    }

    // Turns.

    fn core_turn(&mut self, at: usize, core: usize, ticks: bool) -> Checked {
        if !ticks {
            self.servers[at].turns_due.remove(&core);
            let has_backlog =
                self.servers[at].node.as_ref().is_some_and(|node| node.has_backlog(core));
            let times = if has_backlog { BACKLOG_STALLS } else { 1 };
            if !self.calm && self.rng.chance(self.swarm.stall * times) {
                self.say(at, format_args!("core {core} stalls"));
                self.history.coverage.note(coverage::CORE_STALLED);
                self.history.spells.rough_at(at, self.now_us + self.swarm.stall_us);
                self.wake_core_in(at, core, self.swarm.stall_us);
                return Ok(());
            }
        }
        let Some(mut node) = self.servers[at].node.take() else { return Ok(()) };
        let is_quorum = core == usize::from(self.swarm.shards);
        let (result, out) = self.with_turn(at, |turn| match is_quorum {
            true => node.quorum_turn(ticks, turn),
            false => node.shard_turn(core, ticks, turn),
        });
        self.servers[at].node = Some(node);
        result.map_err(|violation| self.of_server(at, violation))?;
        if is_quorum && ticks {
            self.judge_sessions(at)?;
        }
        self.carry_out(at, out)
    }

    fn of_server(
        &self,
        at: usize,
        violation: crate::sim::property::Violation,
    ) -> crate::sim::property::Violation {
        let what = format!("at server {}: {}", self.servers[at].id, violation.what);
        crate::sim::property::Violation { what, ..violation }
    }

    /// Sessions are judged at the ticks of a leader that serves.
    fn judge_sessions(&mut self, at: usize) -> Checked {
        let mono_ms = (self.now_us / 1000) as i64;
        let since = mono_ms - std::mem::replace(&mut self.servers[at].quorum_turn_ms, mono_ms);
        if since > self.swarm.tick_ms {
            self.history.spells.rough_at_now(at);
        }
        let of = &self.history.servers[at];
        let serves = of.serves || self.history.leads_alone(of);
        if of.leads.is_none() || !serves || self.has_failed(at) {
            return Ok(());
        }
        let patience_ms = self.history.spells.patience_us as i64 / 1000;
        let grace_ms = 6 * self.swarm.tick_ms + patience_ms;
        let state = Rc::clone(&self.history.servers[at].applied);
        self.history.spells.judge_sessions(&state, mono_ms, grace_ms)
    }

    fn with_turn<T>(
        &mut self,
        at: usize,
        run: impl FnOnce(&mut TurnContext<'_>) -> T,
    ) -> (T, Vec<Out>) {
        let now = self.now_of(at);
        self.trace.of_server(Some(self.servers[at].id.0));
        let mut turn = TurnContext {
            now,
            check: &mut View { history: &mut self.history, server: at },
            disk: &mut self.servers[at].disk,
            trace: &mut self.trace,
            rng: &mut self.rng,
            places: &mut self.places,
            out: Vec::new(),
        };
        let result = run(&mut turn);
        let out = turn.out;
        self.trace.of_server(None);
        (result, out)
    }

    fn carry_out(&mut self, at: usize, out: Vec<Out>) -> Checked {
        for out in out {
            match out {
                Out::Output(link, bytes) => self
                    .send_to_client(link, bytes)
                    .map_err(|violation| self.of_server(at, violation))?,
                Out::Close(link, why) => self.close_link(link, why)?,
                Out::WakeShard(shard) => self.wake_core(at, shard),
                Out::WakeQuorum => self.wake_core(at, usize::from(self.swarm.shards)),
                Out::FlushBegun => self.next_flush_step(at),
                Out::SnapshotBegun => {
                    self.history.coverage.note(coverage::OWN_SNAPSHOT);
                    self.next_snap_step(at);
                }
                Out::Member(effect) => self.carry_out_member(at, effect),
                Out::TreeBegun(conn) => {
                    self.history.coverage.note(coverage::SNAP);
                    self.begin_tree(at, conn);
                }
                Out::StoreTree => self.ask_disk(at, Job::StoreTree),
            }
        }
        Ok(())
    }

    fn wake_core(&mut self, at: usize, core: usize) {
        let delay = 1 + self.rng.below(self.swarm.core_delay);
        self.wake_core_in(at, core, delay);
    }

    fn wake_core_in(&mut self, at: usize, core: usize, delay: u64) {
        let due = self.now_us + delay;
        if let std::collections::btree_map::Entry::Vacant(turn) =
            self.servers[at].turns_due.entry(core)
        {
            turn.insert(due);
            self.after(delay, Event::Core(at, self.servers[at].generation, core));
        }
    }

    /// The longest time that a step of the disk takes.
    fn flush_delay(&self, at: usize) -> u64 {
        match self.weather.slow {
            Some((slow, times)) if slow == at => self.swarm.flush_delay * times,
            _ => self.swarm.flush_delay,
        }
    }

    fn next_flush_step(&mut self, at: usize) {
        let slow = !self.calm && self.rng.chance(self.swarm.slow_flush);
        let longest = if slow { SLOW_FLUSH_US } else { self.flush_delay(at) };
        let delay = self.rng.below(longest);
        let has_slow_disk = self.weather.slow.is_some_and(|(of, _)| of == at);
        let (coverage, until) = (&mut self.history.coverage, self.now_us + delay);
        if slow {
            coverage.note(coverage::SLOW_FLUSH);
        }
        if has_slow_disk {
            coverage.note(coverage::SLOW_DISK);
        }
        if slow || has_slow_disk {
            self.history.spells.rough_at(at, until);
        } else if self.weather.slow.is_some() {
            self.history.spells.rough_until(until);
        }
        self.after(1 + delay, Event::FlushStep(at, self.servers[at].generation));
    }

    fn next_snap_step(&mut self, at: usize) {
        let delay = 1 + self.rng.below(self.swarm.flush_delay * 2);
        self.after(delay, Event::SnapStep(at, self.servers[at].generation));
    }

    fn flush_step(&mut self, at: usize) -> Checked {
        let fails = !self.calm && self.rng.chance(self.swarm.flush_fails);
        let Some(mut node) = self.servers[at].node.take() else { return Ok(()) };
        let (more, out) = self.with_turn(at, |turn| node.flush_step(fails, turn));
        let failed = node.failed;
        self.servers[at].node = Some(node);
        match more {
            Ok(true) => self.next_flush_step(at),
            Ok(false) => {}
            Err(error) => {
                return Err(Property::Shell.broken(format_args!("a flush step answers {error:?}")));
            }
        }
        if failed {
            self.history.coverage.note(coverage::FLUSH_FAILED);
            // The process ends by itself, some turns later.
            let delay = self.rng.below(5000);
            self.after(delay, Event::Crash(at, self.servers[at].generation));
        }
        self.carry_out(at, out)
    }

    fn snap_step(&mut self, at: usize) -> Checked {
        let Some(mut node) = self.servers[at].node.take() else { return Ok(()) };
        let (more, out) = self.with_turn(at, |turn| node.snap_step(turn));
        self.servers[at].node = Some(node);
        if more == Ok(true) {
            self.next_snap_step(at);
        }
        self.carry_out(at, out)
    }
}

/// What goes on inside each server and with its clients. What would hide the faults of an ensemble,
/// or is judged in the world of one server, is left out.
fn swarm(rng: &mut Rng) -> Swarm {
    let drawn = Swarm::new(rng);
    let clients = rng.between(1, 6) as usize;
    let think = rng.between(3_000, 40_000);
    Swarm {
        shards: rng.between(1, 2) as u16,
        clients,
        think,
        out_bytes_max: 1 << 20,
        frame_bytes_max: FRAME_BYTES_MAX,
        run_us: rng.between(1_500, 5_000) * 1000,
        crash_every: if rng.chance(700) { rng.between(200_000, 2_000_000) } else { 0 },
        flee: if rng.chance(400) { rng.between(20, 150) } else { 0 },
        syncs: rng.chance(300),
        full_every: 0,
        jump_every: 0,
        large_requests: None,
        zxid_base: 0,
        hostile_every: 0,
        pause_every: 0,
        clock_begins_anew: false,
        damage: 0,
        read_fails: 0,
        ..drawn
    }
}

/// So long a server is without others at most: it answers reads after two seconds.
const LONELY_US: u64 = 4_000_000;
/// How much more often a shard stands still that has requests for which its lane had no room: a role
/// may end meanwhile, and another one begin.
const BACKLOG_STALLS: u64 = 30;
/// The longest that a slow flush takes.
const SLOW_FLUSH_US: u64 = 400_000;
/// Within this time all must have come together.
const TOGETHER_US: u64 = 60_000_000;
/// The time that an answer may take in calm times; shorter than any session's timeout.
const STILL_US: u64 = 120_000;
const AGAIN_MAX: usize = 10;
/// Events that a world may have: some ten times as many as the longest one.
const EVENTS_MAX: u64 = 20_000_000;
