//! The world: virtual time, the events in it, the clients and their connections, the faults; one server in the middle.
//!
//! Everything that happens is an event at a time; ties go by the order in which they were made. An event runs to its end before
//! the next one, so a crash falls between any two of them and never inside one; that is where machines and disks can
//! be told apart from outside.

use std::collections::BTreeMap;

use crate::acl;
use crate::zxid::Now;

use super::check::{Check, Checked, Property};
use super::client::{Client, Phase, Told};
use super::defect::Defect;
use super::disk::{Disk, Survivors};
use super::node::{Input, Node, Out, Place, TurnContext};
use super::op::{Op, USER_PASSWORD};
use super::recover::{self, Start};
use super::rng::Rng;
use super::store::{SEGMENT_BYTES, Store};
use super::stream::Stream;
use super::swarm::Swarm;
use super::trace::Trace;

/// One run.
pub struct World {
    rng: Rng,
    swarm: Swarm,
    defect: Option<Defect>,
    now_us: u64,
    wall_offset_ms: i64,
    events: BTreeMap<(u64, u64), Event>,
    next_event: u64,
    pub trace: Trace,
    disk: Disk,
    node: Option<Node>,
    /// Which start of the server this is: what earlier ones have left undone is void.
    generation: u32,
    pub check: Check,
    clients: Vec<Client>,
    /// The connection that a client uses.
    in_use: Vec<Option<usize>>,
    links: Vec<Link>,
    places: Vec<Option<Place>>,
    turns_due: BTreeMap<usize, u64>,
    quorum_turn_ms: i64,
    /// No more faults, no more requests.
    calm: bool,
    /// Nor pings: what is under way comes to its end.
    still: bool,
    pub crashes: u32,
}

/// One connection, as the network has it.
#[derive(Debug)]
struct Link {
    client: usize,
    generation: u32,
    stream: Stream,
    /// Which shard it was given to.
    shard: u16,
    /// Bytes on their way are not delivered any more.
    cut: bool,
    server_gone: bool,
    /// When the last bytes of each direction arrive.
    to_server_us: u64,
    to_client_us: u64,
    /// Bytes that have reached the server and make up no frame yet.
    partial: Vec<u8>,
}

#[derive(Debug)]
enum Event {
    Wake(usize),
    ToServer(usize, Vec<u8>),
    ToClient(usize, Vec<u8>),
    /// The end of the connection reaches the server; the client.
    EndAtServer(usize),
    EndAtClient(usize),
    /// A core's turn: the shards from 0 on, then the quorum core.
    Core(u32, usize),
    Tick(u32, usize),
    FlushStep(u32),
    SnapStep(u32),
    Crash(u32),
    Start,
    Full(bool),
    Jump,
}

impl World {
    /// The world of a seed, with an optional mistake in it.
    pub fn new(seed: u64, defect: Option<Defect>, trace_lines: usize) -> Self {
        let mut rng = Rng::new(seed);
        let swarm = Swarm::new(&mut rng);
        let clients = (0..swarm.clients).map(|_| {
            let asked_ms = rng.between(1, 12) as i32 * 50;
            let has_user = rng.chance(300);
            Client::new(rng.fork(), asked_ms.max(200), has_user, swarm.bulk)
        });
        let clients: Vec<Client> = clients.collect();
        let mut world = Self {
            in_use: vec![None; clients.len()],
            clients,
            defect,
            now_us: 0,
            wall_offset_ms: 1_700_000_000_000 + rng.below(1 << 30) as i64,
            events: BTreeMap::new(),
            next_event: 0,
            trace: Trace::new(trace_lines),
            disk: Disk::new(DISK_BYTES),
            node: None,
            generation: 0,
            check: Check::new(acl::digest_id(USER_PASSWORD)),
            links: Vec::new(),
            places: Vec::new(),
            turns_due: BTreeMap::new(),
            quorum_turn_ms: 0,
            calm: false,
            still: false,
            crashes: 0,
            rng,
            swarm,
        };
        world.trace.say(format_args!("seed {seed} {:?}", world.swarm));
        world
    }

    /// Runs to the end: the wild time, the calm, a last power cut and start.
    pub fn run(&mut self) -> Checked {
        self.after(0, Event::Start);
        for client in 0..self.clients.len() {
            self.after(1000 + client as u64, Event::Wake(client));
        }
        self.schedule_faults();
        self.run_until(self.swarm.run_us)?;
        self.calm = true;
        self.disk.set_capacity(DISK_BYTES);
        self.trace.say(format_args!("calm"));
        self.run_until(self.swarm.run_us + CALM_US)?;
        self.still = true;
        self.run_until(self.now_us + STILL_US)?;
        self.judge_calm()?;
        self.still = false;
        self.crash(true)?;
        self.run_until(self.now_us + CALM_US)
    }

    fn schedule_faults(&mut self) {
        for (every, event) in [(self.swarm.full_every, Event::Full(true)), (self.swarm.jump_every, Event::Jump)] {
            if every > 0 {
                let at = self.rng.between(every / 2, every);
                self.after(at, event);
            }
        }
    }

    fn run_until(&mut self, end_us: u64) -> Checked {
        while let Some(entry) = self.events.first_entry() {
            if entry.key().0 > end_us {
                break;
            }
            self.now_us = entry.key().0;
            let event = entry.remove();
            self.trace.at(self.now_us);
            self.on_event(event)?;
        }
        self.now_us = end_us;
        Ok(())
    }

    fn on_event(&mut self, event: Event) -> Checked {
        match event {
            Event::Wake(client) => self.wake(client),
            Event::ToServer(link, bytes) => self.reach_server(link, bytes),
            Event::ToClient(link, bytes) => return self.reach_client(link, bytes),
            Event::EndAtServer(link) => self.end_at_server(link),
            Event::EndAtClient(link) => self.end_at_client(link),
            Event::Core(generation, core) if generation == self.generation => return self.core_turn(core, false),
            Event::Tick(generation, core) if generation == self.generation => {
                let every = self.swarm.tick_ms as u64 * 1000 / 8;
                self.after(every, Event::Tick(generation, core));
                return self.core_turn(core, true);
            }
            Event::FlushStep(generation) if generation == self.generation => return self.flush_step(),
            Event::SnapStep(generation) if generation == self.generation => return self.snap_step(),
            Event::Crash(generation) if generation == self.generation => return self.crash(false),
            Event::Start => return self.start(),
            Event::Full(full) => self.fill_disk(full),
            Event::Jump => self.jump(),
            // Of a run of the server that is over.
            _ => {}
        }
        Ok(())
    }

    fn after(&mut self, delay_us: u64, event: Event) {
        self.next_event += 1;
        self.events.insert((self.now_us + delay_us, self.next_event), event);
    }

    fn now(&self) -> Now {
        let mono_ms = (self.now_us / 1000) as i64;
        Now { mono_ms, wall_ms: mono_ms + self.wall_offset_ms }
    }

    fn judge_calm(&mut self) -> Checked {
        for link in &mut self.links {
            if !link.cut && link.generation == self.generation {
                link.stream.on_quiet(&self.check)?;
            }
        }
        match &self.node {
            Some(node) => self.check.compare(&node.tree),
            None => Err(Property::Recovery.broken(format_args!("the server is not up in calm times"))),
        }
    }

    // The server.

    fn start(&mut self) -> Checked {
        if self.node.is_some() {
            return Ok(());
        }
        let interrupted = !self.calm && self.crashes > 0 && self.rng.chance(self.swarm.crash_in_recovery);
        self.disk.set_fuse(interrupted.then(|| self.rng.below(7)));
        let started = recover::start(&mut self.disk, self.defect);
        self.disk.set_fuse(None);
        let mut tree = match started {
            Start::Up(tree) => *tree,
            Start::Stopped => {
                self.trace.say(format_args!("crash during the start"));
                let power = self.rng.chance(700);
                self.lose_power_maybe(power);
                self.after(1000, Event::Start);
                return Ok(());
            }
            Start::Refused(error) => {
                return Err(Property::Recovery.broken(format_args!("the server refuses to start: {error}")));
            }
        };
        self.trace.say(format_args!("up at {}", tree.last_zxid()));
        let now = self.now();
        self.check.on_recovered(&tree, now.mono_ms)?;
        if self.defect == Some(Defect::ZxidReused) && tree.last_zxid().0 > 0 {
            tree.set_last_zxid(crate::zxid::Zxid(tree.last_zxid().0 - 1));
        }
        let direct = self.swarm.direct_log;
        let store = Store::new(self.defect, direct, tree.last_zxid(), u64::from(self.generation) * 1_000_000);
        let seed = self.rng.next();
        let mut node = Node::new(&self.swarm, tree, store, self.defect, now, seed);
        let (opened, out) = self.with_turn(|turn| node.open_log(turn));
        self.node = Some(node);
        if let Err(error) = opened {
            return Err(Property::Shell.broken(format_args!("the log opens with {error:?}")));
        }
        self.carry_out(out)?;
        self.quorum_turn_ms = now.mono_ms;
        for core in 0..=usize::from(self.swarm.shards) {
            let offset = self.rng.below(1000);
            self.after(offset, Event::Tick(self.generation, core));
        }
        if self.swarm.crash_every > 0 && !self.calm {
            let at = self.rng.below(2 * self.swarm.crash_every);
            self.after(at, Event::Crash(self.generation));
        }
        Ok(())
    }

    fn crash(&mut self, power: bool) -> Checked {
        let Some(node) = self.node.take() else { return Ok(()) };
        if self.calm && !power && !node.failed {
            self.node = Some(node);
            return Ok(());
        }
        node.store.abandon(&mut self.disk);
        self.generation += 1;
        self.crashes += 1;
        self.turns_due.clear();
        self.lose_power_maybe(power);
        for link in 0..self.links.len() {
            self.places[link] = None;
            if !self.links[link].cut {
                self.links[link].cut = true;
                let delay = self.rng.below(10_000);
                self.after(delay, Event::EndAtClient(link));
            }
        }
        let delay = self.rng.below(50_000);
        self.after(delay, Event::Start);
        Ok(())
    }

    fn lose_power_maybe(&mut self, surely: bool) {
        if !surely && !self.rng.chance(self.swarm.power) {
            return self.trace.say(format_args!("the server is killed"));
        }
        let all = [Survivors::None, Survivors::All, Survivors::Prefix, Survivors::Suffix, Survivors::Random];
        let survivors = *self.rng.pick(&all);
        self.trace.say(format_args!("the power goes, {survivors:?} of what was not flushed stays"));
        self.disk.cut_power(survivors, &mut self.rng);
        // Names that come back take up space again; a file system has a block left for the tail of a file that is there.
        let used = self.disk.used() + BLOCK_BYTES;
        self.disk.set_capacity(self.disk.capacity().max(used));
    }

    fn core_turn(&mut self, core: usize, ticks: bool) -> Checked {
        if !ticks {
            self.turns_due.remove(&core);
            if !self.calm && self.rng.chance(self.swarm.stall) {
                self.trace.say(format_args!("core {core} stalls"));
                self.wake_core_in(core, self.swarm.stall_us);
                return Ok(());
            }
        }
        let Some(mut node) = self.node.take() else { return Ok(()) };
        let is_quorum = core == usize::from(self.swarm.shards);
        let (result, out) = self.with_turn(|turn| match is_quorum {
            true => node.quorum_turn(ticks, turn),
            false => {
                node.shard_turn(core, ticks, turn);
                Ok(())
            }
        });
        self.node = Some(node);
        result?;
        if is_quorum && ticks {
            self.judge_sessions()?;
        }
        self.carry_out(out)
    }

    /// Sessions are judged at the quorum core's ticks.
    fn judge_sessions(&mut self) -> Checked {
        let mono_ms = self.now().mono_ms;
        if mono_ms - self.quorum_turn_ms > self.swarm.tick_ms {
            self.check.on_stall(mono_ms);
        }
        self.quorum_turn_ms = mono_ms;
        let stall_ms = if self.swarm.stall > 0 { self.swarm.stall_us as i64 / 1000 } else { 0 };
        if self.node.as_ref().is_some_and(|node| node.failed) {
            return Ok(());
        }
        // A request that waits behind a write, or for others, is heard of again when it is served.
        let flush_ms = if self.swarm.slow_flush > 0 { 3 * SLOW_FLUSH_US as i64 / 1000 } else { 0 };
        let queue_ms = if self.swarm.outstanding_max < 1000 { 5 * self.swarm.tick_ms } else { self.swarm.tick_ms };
        self.check.on_quorum_turn(mono_ms, 3 * self.swarm.tick_ms + stall_ms + flush_ms + queue_ms)
    }

    fn with_turn<T>(&mut self, run: impl FnOnce(&mut TurnContext<'_>) -> T) -> (T, Vec<Out>) {
        let mut turn = TurnContext {
            now: self.now(),
            check: &mut self.check,
            disk: &mut self.disk,
            trace: &mut self.trace,
            rng: &mut self.rng,
            places: &mut self.places,
            out: Vec::new(),
        };
        let result = run(&mut turn);
        (result, turn.out)
    }

    fn carry_out(&mut self, out: Vec<Out>) -> Checked {
        for out in out {
            match out {
                Out::Output(link, bytes) => self.send_to_client(link, bytes)?,
                Out::Close(link) => self.close_link(link),
                Out::WakeShard(shard) => self.wake_core(shard),
                Out::WakeQuorum => self.wake_core(usize::from(self.swarm.shards)),
                Out::FlushBegun => self.next_flush_step(),
                Out::SnapshotBegun => self.next_snap_step(),
            }
        }
        Ok(())
    }

    fn wake_core(&mut self, core: usize) {
        let delay = 1 + self.rng.below(self.swarm.core_delay);
        self.wake_core_in(core, delay);
    }

    fn wake_core_in(&mut self, core: usize, delay: u64) {
        if !self.turns_due.contains_key(&core) {
            self.turns_due.insert(core, self.now_us + delay);
            self.after(delay, Event::Core(self.generation, core));
        }
    }

    fn next_flush_step(&mut self) {
        let slow = !self.calm && self.rng.chance(self.swarm.slow_flush);
        let delay = if slow { self.rng.below(SLOW_FLUSH_US) } else { self.rng.below(self.swarm.flush_delay) };
        self.after(1 + delay, Event::FlushStep(self.generation));
    }

    fn next_snap_step(&mut self) {
        let delay = 1 + self.rng.below(self.swarm.flush_delay * 2);
        self.after(delay, Event::SnapStep(self.generation));
    }

    fn flush_step(&mut self) -> Checked {
        let fails = !self.calm && self.rng.chance(self.swarm.flush_fails);
        let Some(mut node) = self.node.take() else { return Ok(()) };
        let (more, out) = self.with_turn(|turn| node.flush_step(fails, turn));
        let failed = node.failed;
        self.node = Some(node);
        match more {
            Ok(true) => self.next_flush_step(),
            Ok(false) => {}
            Err(error) => return Err(Property::Shell.broken(format_args!("a flush step answers {error:?}"))),
        }
        if failed {
            // The process ends by itself, some turns later.
            let delay = self.rng.below(5000);
            self.after(delay, Event::Crash(self.generation));
        }
        self.carry_out(out)
    }

    fn snap_step(&mut self) -> Checked {
        let Some(mut node) = self.node.take() else { return Ok(()) };
        let (more, out) = self.with_turn(|turn| node.snap_step(turn));
        self.node = Some(node);
        if more == Ok(true) {
            self.next_snap_step();
        }
        self.carry_out(out)
    }

    // Faults of the surroundings.

    fn fill_disk(&mut self, full: bool) {
        if self.calm {
            return;
        }
        let used = DISK_BYTES - self.disk.room().min(DISK_BYTES);
        let spare = BLOCK_BYTES + self.rng.index(SEGMENT_BYTES);
        self.disk.set_capacity(if full { used + spare } else { DISK_BYTES });
        self.trace.say(format_args!("the disk is {}", if full { "nearly full" } else { "empty enough" }));
        let every = if full { 100_000 + self.swarm.full_every / 3 } else { self.swarm.full_every };
        let at = self.rng.between(every / 2, every);
        self.after(at, Event::Full(!full));
    }

    fn jump(&mut self) {
        if !self.calm {
            let by = self.rng.below(2_000_000) as i64 - 1_000_000;
            self.wall_offset_ms += by;
            self.trace.say(format_args!("the wall clock jumps by {by} ms"));
            let at = self.rng.between(self.swarm.jump_every / 2, self.swarm.jump_every);
            self.after(at, Event::Jump);
        }
    }

    // Connections.

    fn send_to_client(&mut self, link: usize, bytes: Vec<u8>) -> Checked {
        self.trace.say(format_args!("c{link} gets {} bytes", bytes.len()));
        self.links[link].stream.on_output(&bytes, &mut self.check)?;
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let len = if self.rng.chance(800) { rest.len() } else { 1 + self.rng.index(rest.len()) };
            let (part, left) = rest.split_at(len);
            let delay = 1 + self.rng.below(self.swarm.link_delay);
            let at = (self.now_us + delay).max(self.links[link].to_client_us);
            self.links[link].to_client_us = at;
            self.after(at - self.now_us, Event::ToClient(link, part.to_vec()));
            rest = left;
        }
        Ok(())
    }

    fn send_to_server(&mut self, link: usize, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let len = if self.rng.chance(700) { rest.len() } else { 1 + self.rng.index(rest.len()) };
            let (part, left) = rest.split_at(len);
            let delay = 1 + self.rng.below(self.swarm.link_delay);
            let at = (self.now_us + delay).max(self.links[link].to_server_us);
            self.links[link].to_server_us = at;
            self.after(at - self.now_us, Event::ToServer(link, part.to_vec()));
            rest = left;
        }
    }

    fn reach_server(&mut self, link: usize, bytes: Vec<u8>) {
        if self.links[link].cut || self.links[link].server_gone {
            return;
        }
        let mono_ms = self.now().mono_ms;
        self.links[link].note_frames(&bytes, mono_ms, &mut self.check);
        self.input(link, Input::Bytes(bytes));
    }

    fn input(&mut self, link: usize, input: Input) {
        let shard = self.places[link].map_or(self.links[link].shard, |place| place.shard);
        if let Some(node) = &mut self.node
            && self.links[link].generation == self.generation
        {
            node.input(link, shard, input);
            self.wake_core(usize::from(shard));
        }
    }

    fn reach_client(&mut self, link: usize, bytes: Vec<u8>) -> Checked {
        if self.links[link].cut {
            return Ok(());
        }
        self.input(link, Input::Sent(bytes.len()));
        let client = self.links[link].client;
        if self.in_use[client] != Some(link) {
            return Ok(());
        }
        match self.clients[client].on_bytes(&bytes) {
            Told::Nothing => {}
            Told::Connected => {
                self.trace.say(format_args!("client {client} has session {:x}", self.clients[client].session));
                let greetings = self.clients[client].greet();
                self.ask(client, greetings);
            }
            Told::Refused | Told::Closed => {
                self.clients[client].forget();
                self.hang_up(client);
            }
        }
        Ok(())
    }

    /// The server has closed its end.
    fn close_link(&mut self, link: usize) {
        self.links[link].server_gone = true;
        self.links[link].stream.end();
        self.input(link, Input::Closed);
        let at = self.links[link].to_client_us.max(self.now_us) + 1;
        self.after(at - self.now_us, Event::EndAtClient(link));
    }

    fn end_at_server(&mut self, link: usize) {
        if !self.links[link].server_gone {
            self.links[link].server_gone = true;
            self.links[link].stream.end();
            self.input(link, Input::Closed);
        }
    }

    fn end_at_client(&mut self, link: usize) {
        let client = self.links[link].client;
        self.links[link].cut = true;
        if self.in_use[client] == Some(link) {
            self.in_use[client] = None;
            self.clients[client].on_lost();
        }
    }

    // Clients.

    fn wake(&mut self, client: usize) {
        let think = 1 + self.rng.below(2 * self.swarm.think);
        self.after(think, Event::Wake(client));
        let now_ms = self.now().mono_ms;
        if self.still || (now_ms < self.clients[client].silent_until_ms && !self.calm) {
            return;
        }
        match self.clients[client].phase {
            Phase::Away => self.connect(client),
            Phase::Connecting | Phase::Closing => {
                if self.rng.chance(20) {
                    self.hang_up(client);
                }
            }
            Phase::Open => self.act(client, now_ms),
        }
    }

    fn act(&mut self, client: usize, now_ms: i64) {
        let (cut, silence, close) = match self.calm {
            true => (0, 0, 0),
            false => (self.swarm.cut, self.swarm.silence, self.swarm.close),
        };
        let ping = self.clients[client].ping(now_ms);
        self.ask(client, ping.into_iter().collect());
        match self.rng.below(1000) {
            draw if draw < cut => self.hang_up(client),
            draw if draw < cut + silence => {
                let until = now_ms + self.clients[client].timeout_ms() * self.rng.between(1, 3) as i64;
                self.trace.say(format_args!("client {client} falls silent until {until}"));
                self.clients[client].silent_until_ms = until;
            }
            draw if draw < cut + silence + close => {
                let close = self.clients[client].close();
                self.ask(client, vec![close]);
            }
            _ if self.calm => {}
            _ => {
                let requests = self.clients[client].requests(now_ms);
                self.ask(client, requests);
            }
        }
    }

    fn connect(&mut self, client: usize) {
        if self.node.is_none() {
            return;
        }
        let link = self.links.len();
        let now_ms = self.now().mono_ms;
        let session = self.clients[client].session;
        let bytes = self.clients[client].connect(now_ms);
        let timeout_ms = self.clients[client].asked_ms.clamp(200, 2000);
        self.trace.say(format_args!("client {client} connects as c{link}, session {session:x}"));
        if session == 0 {
            self.check.on_session_wanted();
        }
        let shard = self.rng.below(u64::from(self.swarm.shards)) as u16;
        self.links.push(Link {
            client,
            generation: self.generation,
            stream: Stream::new(session, timeout_ms),
            shard,
            cut: false,
            server_gone: false,
            to_server_us: self.now_us,
            to_client_us: self.now_us,
            partial: Vec::new(),
        });
        self.places.push(None);
        self.in_use[client] = Some(link);
        self.input(link, Input::Accept);
        self.send_to_server(link, &bytes);
    }

    fn ask(&mut self, client: usize, requests: Vec<(i32, Op)>) {
        let Some(link) = self.in_use[client] else { return };
        let (session, has_user) = (self.clients[client].session, self.clients[client].has_user);
        let mut bytes = Vec::new();
        for (xid, op) in requests {
            self.trace.say(format_args!("client {client} asks {xid} {op:?}"));
            if op.is_write() {
                self.check.on_asked(session, xid, &op, has_user);
            }
            self.links[link].stream.on_sent(xid, &op);
            op.write(&mut bytes, xid, &self.check.user);
        }
        self.send_to_server(link, &bytes);
    }

    /// The client's end of its connection is gone; what is on its way may be lost.
    fn hang_up(&mut self, client: usize) {
        let Some(link) = self.in_use[client].take() else { return };
        self.trace.say(format_args!("client {client} hangs up c{link}"));
        self.clients[client].on_lost();
        if self.rng.chance(500) {
            self.links[link].cut = true;
        }
        let delay = self.rng.below(20_000);
        let at = (self.now_us + delay).max(self.links[link].to_server_us) + 1;
        self.after(at - self.now_us, Event::EndAtServer(link));
    }
}

impl Link {
    /// Counts whole frames in what reaches the server.
    fn note_frames(&mut self, bytes: &[u8], mono_ms: i64, check: &mut Check) {
        self.partial.extend_from_slice(bytes);
        let mut at = 0;
        while let Some(len) = self.partial[at..].first_chunk().map(|len| u32::from_be_bytes(*len) as usize) {
            if self.partial.len() - at < 4 + len {
                break;
            }
            at += 4 + len;
        }
        self.partial.drain(..at);
        if at > 0 && self.stream.is_open() {
            check.on_heard(self.stream.session, mono_ms);
        }
    }
}

/// What a full disk still gives to files that are there.
const BLOCK_BYTES: usize = 4096;
/// The longest that a slow flush takes.
const SLOW_FLUSH_US: u64 = 400_000;
const DISK_BYTES: usize = 8 << 20;
/// How long the world is given to come to rest.
const CALM_US: u64 = 3_000_000;
/// How long an answer may take in calm times; shorter than any session's timeout.
const STILL_US: u64 = 120_000;
