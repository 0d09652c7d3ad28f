//! The world: virtual time, the events in it, the clients and their connections, the faults; one
//! server in the middle.
//!
//! Everything that happens is an event at a time; ties go by the order in which they were made. An
//! event runs to its end before the next one, so a crash falls between any two of them and never
//! inside one; that is where machines and disks can be told apart from outside.

mod links;

use std::collections::BTreeMap;

use crate::acl;
use crate::quorum::recovery::{Recovered, RecoveryReport};
use crate::snapshot::FileName;
use crate::tree::Tree;
use crate::txnlog::Scanner;
use crate::zxid::{Now, Zxid};

use super::check::Check;
use super::client::Client;
use super::compare::compare;
use super::damage;
use super::defect::Defect;
use super::disk::{Disk, Survivors};
use super::node::{Node, Out, Place, TurnContext};
use super::op::USER_PASSWORD;
use super::property::{Checked, Property, hold};
use super::recover::{self, Start};
use super::rng::Rng;
use super::snap::write_whole;
use super::store::{SEGMENT_BYTES, Store};
use super::swarm::Swarm;
use super::trace::Trace;
use links::Link;

/// One run.
pub(crate) struct World {
    rng: Rng,
    swarm: Swarm,
    defect: Option<Defect>,
    now_us: u64,
    wall_offset_ms: i64,
    events: BTreeMap<(u64, u64), Event>,
    next_event: u64,
    pub(crate) trace: Trace,
    disk: Disk,
    node: Option<Node>,
    /// Which start of the server this is: what earlier ones have left undone is void.
    generation: u32,
    pub(crate) check: Check,
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
    /// Something that was flushed has been damaged: the server may refuse to start.
    damaged: bool,
    /// It has been since the last start that came to its end. One damage is seen, or does no harm;
    /// two together may be an entry and what says that it was flushed.
    damaged_since_up: bool,
    /// Until when the quorum core and the shards stand still.
    pause_us: u64,
    shards_pause_us: u64,
    /// It has, and that is the end.
    over: bool,
    pub(crate) crashes: u32,
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
    /// The whole server gets no processor for some time.
    Pause,
    /// A hostile connection comes.
    Attack,
}

impl World {
    /// The world of a seed, with an optional mistake in it.
    pub(crate) fn new(seed: u64, defect: Option<Defect>, trace_lines: usize) -> Self {
        let mut rng = Rng::new(seed);
        let swarm = Swarm::new(&mut rng);
        let clients = (0..swarm.clients).map(|_| {
            let asked_ms = rng.between(1, 12) as i32 * 50;
            let has_user = rng.chance(300);
            Client::new(rng.fork(), asked_ms.max(200), has_user, &swarm)
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
            check: Check::new(acl::digest_id(USER_PASSWORD), &swarm),
            links: Vec::new(),
            places: Vec::new(),
            turns_due: BTreeMap::new(),
            quorum_turn_ms: 0,
            calm: false,
            still: false,
            damaged: false,
            damaged_since_up: false,
            pause_us: 0,
            shards_pause_us: 0,
            over: false,
            crashes: 0,
            rng,
            swarm,
        };
        world.trace.say(format_args!("seed {seed} {:?}", world.swarm));
        world.prepare_disk();
        world
    }

    /// Runs to the end: the wild time, the calm, a last power cut and start.
    pub(crate) fn run(&mut self) -> Checked {
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
        if self.over {
            return Ok(());
        }
        self.judge_calm()?;
        self.still = false;
        self.crash(true)?;
        self.run_until(self.now_us + CALM_US)
    }

    fn schedule_faults(&mut self) {
        let (full, jump, attack) =
            (self.swarm.full_every, self.swarm.jump_every, self.swarm.hostile_every);
        for (every, event) in [
            (full, Event::Full(true)),
            (jump, Event::Jump),
            (attack, Event::Attack),
            (self.swarm.pause_every, Event::Pause),
        ] {
            if every > 0 {
                let at = self.rng.between(every / 2, every);
                self.after(at, event);
            }
        }
    }

    fn run_until(&mut self, end_us: u64) -> Checked {
        while let Some(entry) = self.events.first_entry() {
            if entry.key().0 > end_us || self.over {
                break;
            }
            self.now_us = entry.key().0;
            let event = entry.remove();
            self.trace.at(self.now_us);
            self.check.at(self.now_us);
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
            Event::Core(generation, core) | Event::Tick(generation, core)
                if generation == self.generation && self.now_us < self.paused_until_us(core) =>
            {
                self.after(self.paused_until_us(core) - self.now_us, event);
            }
            Event::Core(generation, core) if generation == self.generation => {
                return self.core_turn(core, false);
            }
            Event::Tick(generation, core) if generation == self.generation => {
                let every = self.swarm.tick_ms as u64 * 1000 / 8;
                self.after(every, Event::Tick(generation, core));
                return self.core_turn(core, true);
            }
            Event::FlushStep(generation) if generation == self.generation => {
                return self.flush_step();
            }
            Event::SnapStep(generation) if generation == self.generation => {
                return self.snap_step();
            }
            Event::Crash(generation) if generation == self.generation => return self.crash(false),
            Event::Start => return self.start(),
            Event::Full(full) => self.fill_disk(full),
            Event::Jump => self.jump(),
            Event::Pause => self.pause(),
            Event::Attack => self.attack(),
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
            Some(node) => compare(&self.check.applied, &node.tree),
            None => {
                Err(Property::Recovery.broken(format_args!("the server is not up in calm times")))
            }
        }
    }

    // The server.

    fn start(&mut self) -> Checked {
        if self.node.is_some() {
            return Ok(());
        }
        let interrupted =
            !self.calm && self.crashes > 0 && self.rng.chance(self.swarm.crash_in_recovery);
        if self.swarm.clock_begins_anew {
            self.wall_offset_ms = BOOT_WALL_MS - (self.now_us / 1000) as i64;
        }
        self.disk.set_fuse(interrupted.then(|| self.rng.below(7)));
        self.damage_maybe();
        let read_fails = !self.calm && self.crashes > 0 && self.rng.chance(self.swarm.read_fails);
        let read_fails = read_fails.then(|| self.rng.below(4));
        let started = recover::start(&mut self.disk, self.defect, read_fails);
        self.disk.set_fuse(None);
        let (mut tree, last_session, report) = match started {
            Start::Up(recovered) => {
                let Recovered { tree, last_session, report, .. } = *recovered;
                (tree, last_session, report)
            }
            Start::Stopped => {
                self.trace.say(format_args!("crash during the start"));
                let power = self.rng.chance(700);
                self.lose_power_maybe(power);
                self.after(1000, Event::Start);
                return Ok(());
            }
            Start::Refused(error) if read_fails.is_some() => {
                self.trace.say(format_args!("refused, as a file does not read: {error}"));
                self.after(1000, Event::Start);
                return Ok(());
            }
            Start::Refused(error) if self.damaged => {
                self.trace.say(format_args!("refused, as something is damaged: {error}"));
                self.over = true;
                return Ok(());
            }
            Start::Refused(error) => {
                return Err(
                    Property::Recovery.broken(format_args!("the server refuses to start: {error}"))
                );
            }
        };
        self.trace.say(format_args!("up at {}", tree.last_zxid()));
        self.damaged_since_up = false;
        let mismatches = report.digest_mismatches;
        hold!(
            mismatches == 0,
            Recovery,
            "{mismatches} digests are not the tree's at {:?}",
            report.first_mismatch
        );
        let orphans = report.orphans_removed;
        hold!(orphans == 0, Recovery, "{orphans} ephemerals of no session");
        let now = self.now();
        self.check.on_recovered(&tree, snapshot_zxid(&report), now.mono_ms)?;
        self.forget_ended_sessions();
        if self.defect == Some(Defect::ZxidReused) && tree.last_zxid().0 > 0 {
            tree.set_last_zxid(crate::zxid::Zxid(tree.last_zxid().0 - 1));
        }
        let direct = self.swarm.direct_log;
        let stamp = u64::from(self.generation) * 1_000_000;
        let store = Store::new(self.defect, direct, tree.last_zxid(), stamp);
        let seed = self.rng.next();
        let node = Node::new(&self.swarm, tree, store, self.defect, now, last_session, seed);
        self.serve(node, now)
    }

    /// Opens the log of a recovered server and schedules its ticks and its next crash.
    fn serve(&mut self, mut node: Node, now: Now) -> Checked {
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
        let survivors = Survivors::any(&mut self.rng);
        self.trace.say(format_args!("the power goes, {survivors:?} of what was not flushed stays"));
        self.disk.cut_power(survivors, &mut self.rng);
        // Names that come back take up space again; a file system has a block left for the tail of
        // a file that is there.
        let used = self.disk.used() + BLOCK_BYTES;
        self.disk.set_capacity(self.disk.capacity().max(used));
    }

    fn core_turn(&mut self, core: usize, ticks: bool) -> Checked {
        if !ticks {
            self.turns_due.remove(&core);
            if !self.calm && self.rng.chance(self.swarm.stall) {
                self.trace.say(format_args!("core {core} stalls"));
                self.check.slow_until(self.now_us + self.swarm.stall_us);
                self.wake_core_in(core, self.swarm.stall_us);
                return Ok(());
            }
        }
        let Some(mut node) = self.node.take() else { return Ok(()) };
        let is_quorum = core == usize::from(self.swarm.shards);
        let (result, out) = self.with_turn(|turn| match is_quorum {
            true => node.quorum_turn(ticks, turn),
            false => node.shard_turn(core, ticks, turn),
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
        let queue_ms = if self.swarm.outstanding_max < 1000 {
            5 * self.swarm.tick_ms
        } else {
            self.swarm.tick_ms
        };
        let queue_ms = queue_ms + self.swarm.patience_us() as i64 / 1000;
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
                Out::Close(link, why) => self.close_link(link, why)?,
                Out::WakeShard(shard) => self.wake_core(shard),
                Out::WakeQuorum => self.wake_core(usize::from(self.swarm.shards)),
                Out::FlushBegun => self.next_flush_step(),
                Out::SnapshotBegun => self.next_snap_step(),
                Out::Member(_) | Out::TreeBegun(_) | Out::StoreTree => {
                    unreachable!("a standalone server has no peers")
                }
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
        let delay = if slow {
            self.rng.below(SLOW_FLUSH_US)
        } else {
            self.rng.below(self.swarm.flush_delay)
        };
        if slow {
            self.check.slow_until(self.now_us + delay);
        }
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
            Err(error) => {
                return Err(Property::Shell.broken(format_args!("a flush step answers {error:?}")));
            }
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

    /// A world that begins near the end of an epoch finds a snapshot without data.
    fn prepare_disk(&mut self) {
        if self.swarm.zxid_base != 0 {
            let mut tree = Tree::new();
            tree.set_last_zxid(Zxid(self.swarm.zxid_base));
            write_whole(&mut self.disk, &mut tree).expect("an empty disk takes a snapshot");
        }
    }

    /// One byte of a file that was flushed may have changed while the server was down: all of the
    /// log, if everything in it has been flushed. Else something of a later group may be on the disk
    /// in place of the mark that says what was flushed: then only what has other marks after it.
    fn damage_maybe(&mut self) {
        let may_damage = !self.calm && self.crashes > 0 && !self.damaged_since_up;
        if !may_damage || !self.rng.chance(self.swarm.damage) {
            return;
        }
        let (is_all_durable, marked) = (self.check.is_all_durable(), Zxid(self.check.marked()));
        let end = |bytes: &[u8]| match is_all_durable {
            true => damage::entries_end(bytes),
            false => marked_end(bytes, marked),
        };
        let Some((name, offset)) = damage::damage(&mut self.disk, &mut self.rng, end) else {
            return;
        };
        self.trace.say(format_args!("{name} is damaged at {offset}"));
        (self.damaged, self.damaged_since_up) = (true, true);
    }

    fn fill_disk(&mut self, full: bool) {
        if self.calm {
            return;
        }
        let used = DISK_BYTES - self.disk.room().min(DISK_BYTES);
        let spare = BLOCK_BYTES + self.rng.index(SEGMENT_BYTES);
        self.disk.set_capacity(if full { used + spare } else { DISK_BYTES });
        self.trace
            .say(format_args!("the disk is {}", if full { "nearly full" } else { "empty enough" }));
        let every = if full { 100_000 + self.swarm.full_every / 3 } else { self.swarm.full_every };
        let at = self.rng.between(every / 2, every);
        self.after(at, Event::Full(!full));
    }

    /// Nothing of the server runs, while its clients go on. The shards may come back later than the
    /// quorum core, which does not know what they have been told meanwhile.
    fn pause(&mut self) {
        if self.calm {
            return;
        }
        self.pause_us = self.now_us + self.rng.between(150_000, 900_000);
        self.shards_pause_us = self.pause_us + self.rng.below(PAUSE_BEYOND_US);
        self.check.slow_until(self.shards_pause_us);
        self.trace.say(format_args!("everything stands still until {}", self.pause_us / 1000));
        let at = self.rng.between(self.swarm.pause_every / 2, self.swarm.pause_every);
        self.after(self.shards_pause_us - self.now_us + at, Event::Pause);
    }

    fn paused_until_us(&self, core: usize) -> u64 {
        let is_quorum = core == usize::from(self.swarm.shards);
        if is_quorum { self.pause_us } else { self.shards_pause_us }
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
}

/// The zxid of the snapshot that was started from; 0 without one.
fn snapshot_zxid(report: &RecoveryReport) -> Zxid {
    let name = report.snapshot.as_deref().and_then(FileName::parse);
    name.map_or(Zxid::ZERO, |name| name.zxid)
}

/// Where the last entry of a log begins that has a mark behind it for certain; 0 if there is none.
fn marked_end(bytes: &[u8], marked: Zxid) -> usize {
    let (mut scanner, mut end) = (Scanner::new(bytes), 0);
    while let Ok(Some(entry)) = scanner.next_entry()
        && entry.zxid <= marked
    {
        end = entry.offset as usize;
    }
    end
}

/// The space that a full disk still gives to files that are there.
const BLOCK_BYTES: usize = 4096;
/// Where a clock that begins anew begins.
const BOOT_WALL_MS: i64 = 1_700_000_000_000;
/// The time that the shards may stand still longer than the quorum core: less than any session
/// lives.
const PAUSE_BEYOND_US: u64 = 150_000;
/// The longest that a slow flush takes.
const SLOW_FLUSH_US: u64 = 400_000;
const DISK_BYTES: usize = 8 << 20;
/// The time that the world is given to come to rest.
const CALM_US: u64 = 3_000_000;
/// The time that an answer may take in calm times; shorter than any session's timeout.
const STILL_US: u64 = 120_000;
