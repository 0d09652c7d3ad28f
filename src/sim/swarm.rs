//! What kind of world a seed makes: which faults it has at all, how often, how slow things are. Few faults at a time find
//! more than all of them at once.

use super::rng::Rng;

/// One world's choices. Chances are per mille, times are in microseconds unless they say otherwise.
#[derive(Clone, Debug)]
pub struct Swarm {
    pub shards: u16,
    pub clients: usize,
    pub tick_ms: i64,
    pub snap_count: u64,
    pub outstanding_max: usize,
    pub out_bytes_max: usize,
    /// How long clients and faults go on.
    pub run_us: u64,
    pub core_delay: u64,
    pub link_delay: u64,
    pub flush_delay: u64,
    pub think: u64,
    /// Of a core's turn coming very late.
    pub stall: u64,
    pub stall_us: u64,
    /// Whether the log is written directly, rather than stored and synced.
    pub direct_log: bool,
    /// Of a flush taking very long, and of failing.
    pub slow_flush: u64,
    pub flush_fails: u64,
    /// Of a client's wake-up being a cut of its connection, a silence, a close, an abrupt return.
    pub cut: u64,
    pub silence: u64,
    pub close: u64,
    /// Of data being several sectors long.
    pub bulk: u64,
    /// Between two crashes; 0 for none.
    pub crash_every: u64,
    /// Of a crash being a power cut rather than a kill; of a start being interrupted.
    pub power: u64,
    pub crash_in_recovery: u64,
    /// Between two times of a full disk; 0 for none.
    pub full_every: u64,
    /// Between two jumps of the wall clock; 0 for none.
    pub jump_every: u64,
}

impl Swarm {
    /// The world of a seed.
    pub fn new(rng: &mut Rng) -> Self {
        let on = |rng: &mut Rng, chance: u64, low: u64, high: u64| {
            if rng.chance(chance) { rng.between(low, high) } else { 0 }
        };
        Self {
            shards: rng.between(1, 3) as u16,
            clients: rng.between(1, 5) as usize,
            tick_ms: 100,
            snap_count: rng.between(12, 120),
            outstanding_max: if rng.chance(200) { 4 } else { 1000 },
            out_bytes_max: if rng.chance(200) { 2000 } else { 1 << 20 },
            run_us: rng.between(1_500, 5_000) * 1000,
            core_delay: rng.between(5, 400),
            link_delay: rng.between(20, 3000),
            flush_delay: rng.between(50, 3000),
            think: rng.between(3_000, 40_000),
            stall: on(rng, 300, 1, 5),
            stall_us: rng.between(5_000, 600_000),
            slow_flush: on(rng, 300, 5, 50),
            flush_fails: on(rng, 250, 2, 20),
            cut: on(rng, 700, 2, 40),
            silence: on(rng, 600, 2, 30),
            close: on(rng, 600, 2, 30),
            bulk: if rng.chance(400) { 600 } else { 60 },
            crash_every: on(rng, 700, 100_000, 1_500_000),
            power: rng.between(100, 1000),
            crash_in_recovery: on(rng, 500, 200, 900),
            full_every: on(rng, 250, 300_000, 1_500_000),
            jump_every: on(rng, 300, 100_000, 1_000_000),
            direct_log: rng.chance(500),
        }
    }
}
