//! Which faults a world has, and when they come.

use crate::sim::ensemble::net::Port;
use crate::sim::rng::Rng;
use crate::sim::store::SEGMENT_BYTES;
use crate::zab::{ServerId, ZabSettings};

use super::server::{BLOCK_BYTES, DISK_BYTES};
use super::{Event, LONELY_US, Servers, coverage};

/// One world's choices. Chances are per mille, times are in microseconds unless they say otherwise.
#[derive(Clone, Debug)]
pub(super) struct Weather {
    pub(super) zab: ZabSettings,
    /// Committed transactions that a leader keeps in memory.
    pub(super) history_count: usize,
    /// The longest delay between two servers.
    pub(super) net_delay: u64,
    /// The longest pause between two pieces of a tree or of the log.
    pub(super) feed_us: u64,
    /// The longest time for which a killed server is down.
    pub(super) down_us: u64,
    /// Of a connection between servers being half-open when it is closed.
    pub(super) half_open: u64,
    /// Between two faults of a kind; 0 for none.
    storm_every: u64,
    cut_every: u64,
    heal_every: u64,
    reset_every: u64,
    stall_every: u64,
    jump_every: u64,
    full_every: u64,
    pub(super) leave_every: u64,
    lonely_every: u64,
    /// Of a crash in the middle of a job of the disk, and of a crash losing the whole disk.
    pub(super) job_crash: u64,
    pub(super) wipe: u64,
    /// Of a file being damaged while its server is down; of one that does not read, at a start or
    /// for a learner.
    pub(super) damage: u64,
    pub(super) read_fails: u64,
    /// For so long sessions live by pings alone when all have come together.
    pub(super) idle_us: u64,
    /// The server whose disk is slow, and how many times.
    pub(super) slow: Option<(usize, u64)>,
}

/// A kind of fault that comes again and again.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    Storm,
    Cut,
    Heal,
    Reset,
    Stall,
    Jump,
    Full,
    /// All others lose a leader, which hears nothing of that.
    Leave,
    /// A server reaches no other one for seconds.
    Lonely,
}

impl Weather {
    /// The weather of so many servers.
    pub(super) fn new(rng: &mut Rng, servers: usize) -> Self {
        let every = |rng: &mut Rng, chance, low: u64, high: u64| match rng.chance(chance) {
            true => rng.between(low, high) * 1000,
            false => 0,
        };
        Self {
            zab: ZabSettings { tick_ms: 100, init_ticks: 10, sync_ticks: 5 },
            history_count: *rng.pick(&[0, 3, 20, 500]),
            net_delay: *rng.pick(&[200, 2_000, 10_000]),
            feed_us: *rng.pick(&[300, 5_000, 50_000]),
            down_us: *rng.pick(&[20_000, 100_000, 600_000]),
            half_open: *rng.pick(&[0, 0, 100, 400]),
            storm_every: every(rng, 200, 500, 3_000),
            cut_every: every(rng, 400, 150, 2_000),
            heal_every: every(rng, 1000, 100, 1_000),
            reset_every: every(rng, 400, 50, 1_000),
            stall_every: every(rng, 350, 200, 2_000),
            jump_every: every(rng, 300, 100, 1_000),
            job_crash: if rng.chance(400) { rng.between(20, 200) } else { 0 },
            wipe: if rng.chance(250) { rng.between(100, 400) } else { 0 },
            full_every: every(rng, 200, 300, 2_000),
            leave_every: every(rng, 300, 300, 2_000),
            lonely_every: 0,
            damage: if rng.chance(200) { rng.between(100, 400) } else { 0 },
            read_fails: if rng.chance(200) { rng.between(50, 300) } else { 0 },
            idle_us: if rng.chance(300) { 2_500_000 } else { 0 },
            slow: rng.chance(200).then(|| (rng.index(servers), rng.between(5, 40))),
        }
    }

    /// Some server reaches no other one, again and again.
    pub(super) fn with_lonely_servers(self, rng: &mut Rng) -> Self {
        Self { lonely_every: rng.between(1_000, 4_000) * 1000, ..self }
    }

    fn every(&self, fault: Fault) -> u64 {
        match fault {
            Fault::Storm => self.storm_every,
            Fault::Cut => self.cut_every,
            Fault::Heal => self.heal_every,
            Fault::Reset => self.reset_every,
            Fault::Stall => self.stall_every,
            Fault::Jump => self.jump_every,
            Fault::Full => self.full_every,
            Fault::Leave => self.leave_every,
            Fault::Lonely => self.lonely_every,
        }
    }
}

const FAULTS: [Fault; 9] = [
    Fault::Storm,
    Fault::Cut,
    Fault::Heal,
    Fault::Reset,
    Fault::Stall,
    Fault::Jump,
    Fault::Full,
    Fault::Leave,
    Fault::Lonely,
];

impl Servers {
    pub(super) fn schedule_faults(&mut self) {
        for fault in FAULTS {
            self.next_fault(fault);
        }
    }

    fn next_fault(&mut self, fault: Fault) {
        let every = self.weather.every(fault);
        if every > 0 {
            let delay = self.rng.between(every / 2, every * 3 / 2);
            self.after(delay, Event::Fault(fault));
        }
    }

    pub(super) fn strike(&mut self, fault: Fault) {
        if self.calm {
            return;
        }
        self.next_fault(fault);
        self.looks_due = true;
        self.history.spells.rough_now();
        let at = self.rng.index(self.servers.len());
        match fault {
            Fault::Storm => {
                self.history.coverage.note(coverage::STORM);
                self.trace.say(format_args!("a storm"));
                for at in 0..self.servers.len() {
                    if self.rng.chance(700) {
                        self.crash(at, false);
                    }
                }
            }
            Fault::Cut => self.cut(at),
            Fault::Heal => {
                let id = self.servers[at].id;
                let now_us = self.now_us;
                let lasts = move |of: Option<(ServerId, u64)>, id: ServerId| {
                    of.is_some_and(|(of, until_us)| of == id && until_us > now_us)
                };
                let (left, lonely) = (self.left, self.lonely);
                self.net.cut.retain(|(_, from, to)| {
                    let is_lonely = lasts(lonely, *from) || lasts(lonely, *to);
                    *from != id && *to != id || lasts(left, *to) || is_lonely
                });
                (0..self.servers.len()).for_each(|at| self.disturb(at));
            }
            Fault::Reset => {
                let conns = self.net.of(self.servers[at].id);
                if !conns.is_empty() {
                    let conn = *self.rng.pick(&conns);
                    self.say(at, format_args!("connection {conn} is reset"));
                    self.reset(conn);
                }
            }
            Fault::Stall => self.stall(at),
            Fault::Jump => {
                let by = self.rng.below(2_000_000) as i64 - 1_000_000;
                self.servers[at].wall_offset_ms += by;
                self.history.coverage.note(coverage::CLOCK_JUMPED);
                self.say(at, format_args!("the wall clock jumps by {by} ms"));
            }
            Fault::Full => self.fill_disk(at),
            Fault::Leave => self.leave_leader(),
            Fault::Lonely => self.isolate(at),
        }
    }

    /// The connections of a server are disturbed. If it has a role that it loses by that, it has
    /// lost it after two times of silence.
    fn disturb(&mut self, at: usize) {
        let zab = self.weather.zab;
        let silence_us = 2 * (zab.sync_ticks * zab.tick_ms) as u64 * 1000;
        let until = self.now_us + silence_us + 20 * self.weather.net_delay + 200_000;
        self.history.spells.rough_connections(at, until);
    }

    fn disturb_id(&mut self, id: ServerId) {
        self.disturb(id.0 as usize - 1);
    }

    fn reset(&mut self, conn: u64) {
        self.history.coverage.note(coverage::RESET);
        let ends = self.net.conns.get(&conn).map(|conn| [conn.dialler, conn.acceptor]);
        ends.into_iter().flatten().for_each(|id| self.disturb_id(id));
        self.net.reset(conn, self.now_us as i64, &mut self.rng);
    }

    /// A disk has room for little more, for some time.
    fn fill_disk(&mut self, at: usize) {
        let disk = &mut self.servers[at].disk;
        if disk.capacity() < DISK_BYTES {
            return;
        }
        self.history.coverage.note(coverage::FULL_DISK);
        disk.set_capacity(disk.used() + BLOCK_BYTES + self.rng.index(SEGMENT_BYTES));
        let longest = *self.rng.pick(&[300_000, 1_000_000, 5_000_000]);
        let delay = self.rng.below(longest);
        self.after(delay, Event::Room(at));
        self.say(at, format_args!("the disk is nearly full"));
    }

    /// A disk has room again.
    pub(super) fn make_room(&mut self, at: usize) {
        self.servers[at].disk.set_capacity(DISK_BYTES);
        self.history.spells.rough_at_now(at);
        self.say(at, format_args!("the disk has room"));
    }

    /// The connections of a leader that serves end at the others, who look for the next one at once,
    /// while it hears nothing more.
    fn leave_leader(&mut self) {
        let leads = |at: &usize| {
            let of = &self.history.servers[*at];
            let serves = of.serves || self.history.leads_alone(of);
            serves && of.leads.is_some() && self.servers[*at].is_up()
        };
        let Some(at) = (0..self.servers.len()).find(leads) else { return };
        self.history.coverage.note(coverage::LEADER_LEFT);
        self.say(at, format_args!("is left alone"));
        let id = self.servers[at].id;
        let zab = self.weather.zab;
        let silence_us = (zab.sync_ticks * zab.tick_ms) as u64 * 1000;
        self.left = Some((id, self.now_us + silence_us));
        for other in 0..self.servers.len() {
            let from = self.servers[other].id;
            if from != id {
                self.net.cut.insert((Port::Election, from, id));
                self.net.cut.insert((Port::Quorum, from, id));
            }
        }
        for conn in self.net.of(id) {
            self.reset(conn);
        }
    }

    /// Nothing gets to a server or from it, for so long that it may answer reads alone.
    fn isolate(&mut self, at: usize) {
        self.say(at, format_args!("reaches nobody"));
        let id = self.servers[at].id;
        self.lonely = Some((id, self.now_us + LONELY_US));
        for other in 0..self.servers.len() {
            let other = self.servers[other].id;
            for port in [Port::Election, Port::Quorum] {
                self.net.cut.insert((port, id, other));
                self.net.cut.insert((port, other, id));
            }
        }
        for conn in self.net.of(id) {
            self.reset(conn);
        }
    }

    fn cut(&mut self, at: usize) {
        let other = self.rng.index(self.servers.len());
        let (one, other) = (self.servers[at].id, self.servers[other].id);
        let both_ways = self.rng.chance(600);
        let ports: &[Port] = match self.rng.below(4) {
            0 => &[Port::Election],
            1 => &[Port::Quorum],
            _ => &[Port::Election, Port::Quorum],
        };
        let arrow = if both_ways { "<->" } else { "->" };
        self.trace.say(format_args!("cut: {one} {arrow} {other} {ports:?}"));
        let ways = if both_ways { coverage::CUT_TWO_WAYS } else { coverage::CUT_ONE_WAY };
        let what = match ports {
            [Port::Election] => coverage::CUT_VOTES,
            [Port::Quorum] => coverage::CUT_QUORUM,
            _ => coverage::CUT_BOTH,
        };
        self.history.coverage.note(ways);
        self.history.coverage.note(what);
        [one, other].into_iter().for_each(|id| self.disturb_id(id));
        for port in ports {
            self.net.cut.insert((*port, one, other));
            if both_ways {
                self.net.cut.insert((*port, other, one));
            }
        }
    }

    /// A server stands still. Some of its connections may be reset meanwhile, which the other ends
    /// learn long before it does.
    fn stall(&mut self, at: usize) {
        let longest = *self.rng.pick(&[100_000, 500_000, 1_500_000]);
        let until = self.now_us + self.rng.below(longest);
        self.servers[at].stalled_until_us = until;
        self.history.coverage.note(coverage::STALLED);
        self.history.spells.rough_at(at, until);
        self.say(at, format_args!("stands still until {}", until / 1000));
        if self.rng.chance(400) {
            for conn in self.net.of(self.servers[at].id) {
                self.reset(conn);
            }
        }
    }

    /// Whether the data of a server may be lost: it is down, the others are a quorum, and have
    /// theirs.
    pub(super) fn may_lose(&self, at: usize) -> bool {
        let id = self.servers[at].id;
        let has_data = |server: &super::server::Server| !server.is_lost && !server.is_damaged;
        !self.calm
            && self.servers.iter().all(has_data)
            && self.history.voters.is_quorum(|other| other != id)
    }

    /// Faults have ended.
    pub(super) fn heal(&mut self) {
        self.calm = true;
        self.net.cut.clear();
        self.net.half_open = 0;
        self.looks_due = true;
        self.weather.slow = None;
        self.weather.feed_us = 300;
        for server in &mut self.servers {
            server.stalled_until_us = 0;
            server.back_at_us = 0;
            server.disk.set_capacity(DISK_BYTES);
        }
        self.trace.say(format_args!("calm"));
        for at in 0..self.servers.len() {
            if !self.servers[at].is_up() {
                self.after(1, Event::Start(at));
            }
            self.look_in(at, 1);
        }
    }
}
