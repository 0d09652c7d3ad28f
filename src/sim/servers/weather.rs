//! Which faults a world has, and when they come.

use crate::sim::ensemble::net::Port;
use crate::sim::rng::Rng;
use crate::zab::ZabSettings;

use super::{Event, Servers};

/// One world's choices. Chances are per mille, times are in microseconds unless they say otherwise.
#[derive(Clone, Debug)]
pub(super) struct Weather {
    pub(super) voters: usize,
    pub(super) observers: usize,
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
    /// Of a crash in the middle of a job of the disk, and of a crash losing the whole disk.
    pub(super) job_crash: u64,
    pub(super) wipe: u64,
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
}

impl Weather {
    pub(super) fn new(rng: &mut Rng) -> Self {
        let voters = *rng.pick(&[1, 3, 3, 3, 3, 3, 5, 5, 7]);
        let observers = *rng.pick(&[0, 0, 0, 1, 2]);
        let every = |rng: &mut Rng, chance, low: u64, high: u64| match rng.chance(chance) {
            true => rng.between(low, high) * 1000,
            false => 0,
        };
        Self {
            voters,
            observers,
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
            slow: rng.chance(200).then(|| (rng.index(voters + observers), rng.between(5, 40))),
        }
    }

    fn every(&self, fault: Fault) -> u64 {
        match fault {
            Fault::Storm => self.storm_every,
            Fault::Cut => self.cut_every,
            Fault::Heal => self.heal_every,
            Fault::Reset => self.reset_every,
            Fault::Stall => self.stall_every,
            Fault::Jump => self.jump_every,
        }
    }
}

const FAULTS: [Fault; 6] =
    [Fault::Storm, Fault::Cut, Fault::Heal, Fault::Reset, Fault::Stall, Fault::Jump];

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
        self.history.spells.rough_now();
        let at = self.rng.index(self.servers.len());
        match fault {
            Fault::Storm => {
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
                self.net.cut.retain(|(_, from, to)| *from != id && *to != id);
            }
            Fault::Reset => {
                let conns = self.net.of(self.servers[at].id);
                if !conns.is_empty() {
                    let conn = *self.rng.pick(&conns);
                    self.say(at, format_args!("connection {conn} is reset"));
                    self.net.reset(conn, self.now_us as i64, &mut self.rng);
                }
            }
            Fault::Stall => self.stall(at),
            Fault::Jump => {
                let by = self.rng.below(2_000_000) as i64 - 1_000_000;
                self.servers[at].wall_offset_ms += by;
                self.say(at, format_args!("the wall clock jumps by {by} ms"));
            }
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
        self.history.spells.rough_until(until);
        self.say(at, format_args!("stands still until {}", until / 1000));
        if self.rng.chance(400) {
            for conn in self.net.of(self.servers[at].id) {
                self.net.reset(conn, self.now_us as i64, &mut self.rng);
            }
        }
    }

    /// Whether the disk of a server may be lost: it is down, and so are not the others' data.
    pub(super) fn may_wipe(&self, at: usize) -> bool {
        let voters = self.weather.voters;
        !self.calm
            && voters >= 3
            && self.servers.iter().enumerate().all(|(other, server)| other == at || !server.is_lost)
            && !self.servers[at].is_lost
    }

    /// Faults have ended.
    pub(super) fn heal(&mut self) {
        self.calm = true;
        self.net.cut.clear();
        self.net.half_open = 0;
        self.weather.slow = None;
        self.weather.feed_us = 300;
        for server in &mut self.servers {
            server.stalled_until_us = 0;
            server.back_at_us = 0;
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
