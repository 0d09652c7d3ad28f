//! The kind of world that a seed makes: which faults it has at all, how often, how slow things are.
//! Few faults at a time find more than all of them at once.

use crate::limits::OUTSTANDING_REQUESTS_MAX;
use crate::snapshot::Codec;
use crate::zab::COUNTER_MAX;
use crate::zxid::Zxid;

use super::rng::Rng;

/// One world's choices. Chances are per mille, times are in microseconds unless they say otherwise.
#[derive(Clone, Debug)]
pub(crate) struct Swarm {
    pub(crate) shards: u16,
    pub(crate) clients: usize,
    pub(crate) tick_ms: i64,
    pub(crate) snap_count: u64,
    /// `txnLogSizeLimitInKb`, in bytes; 0 for none.
    pub(crate) log_file_bytes_max: u64,
    pub(crate) outstanding_max: usize,
    pub(crate) out_bytes_max: usize,
    /// The time for which clients and faults go on.
    pub(crate) run_us: u64,
    pub(crate) core_delay: u64,
    pub(crate) link_delay: u64,
    pub(crate) flush_delay: u64,
    pub(crate) think: u64,
    /// Of a core's turn coming very late.
    pub(crate) stall: u64,
    pub(crate) stall_us: u64,
    /// Whether the log is written directly, rather than stored and synced.
    pub(crate) direct_log: bool,
    /// Of a flush taking very long, and of failing.
    pub(crate) slow_flush: u64,
    pub(crate) flush_fails: u64,
    /// Of a client's wake-up being a cut of its connection, a silence, a close, an abrupt return.
    pub(crate) cut: u64,
    pub(crate) silence: u64,
    pub(crate) close: u64,
    /// Of its leaving with requests under way that come late, for another server of its ensemble.
    pub(crate) flee: u64,
    /// Clients ask for many syncs.
    pub(crate) syncs: bool,
    /// How much more of a timeout a client asks for when it comes back with its session, in
    /// milliseconds.
    pub(crate) longer_ms: i32,
    /// Of data being several sectors long.
    pub(crate) bulk: u64,
    /// Between two crashes; 0 for none.
    pub(crate) crash_every: u64,
    /// Of a crash being a power cut rather than a kill; of a start being interrupted.
    pub(crate) power: u64,
    pub(crate) crash_in_recovery: u64,
    /// Between two times of a full disk; 0 for none.
    pub(crate) full_every: u64,
    /// Between two jumps of the wall clock; 0 for none.
    pub(crate) jump_every: u64,
    /// Messages that a lane between two cores holds, and requests that the quorum core takes from
    /// one shard in a turn.
    pub(crate) lane_max: usize,
    pub(crate) requests_per_turn: usize,
    /// `jute.maxbuffer`; nothing that well-behaved clients send is longer.
    pub(crate) frame_bytes_max: usize,
    /// Longer requests count as large, and so many bytes of them may be in process; `None` is no
    /// limit.
    pub(crate) large_requests: Option<(usize, usize)>,
    /// Paths that a connection may watch; 0 for any number.
    pub(crate) watches_max: usize,
    /// The zxid before the first: some worlds come to the end of an epoch's counter.
    pub(crate) zxid_base: i64,
    /// Clients set quotas; hard limits refuse.
    pub(crate) quotas: bool,
    pub(crate) enforce_quota: bool,
    pub(crate) codec: Codec,
    /// Between two hostile connections; 0 for none.
    pub(crate) hostile_every: u64,
    /// Between two pauses of the whole server; 0 for none.
    pub(crate) pause_every: u64,
    /// Each start finds the clock where the first one did, as after a reboot.
    pub(crate) clock_begins_anew: bool,
    /// Of a start finding damage to what was flushed, and a file that does not read.
    pub(crate) damage: u64,
    pub(crate) read_fails: u64,
    pub(crate) members: OfMembers,
}

/// What only the members of an ensemble have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OfMembers {
    /// A new session is known to one server alone, and may become one of the ensemble.
    pub(crate) local_sessions: bool,
    pub(crate) upgrading: bool,
    /// Reads are answered without a leader.
    pub(crate) read_only: bool,
    pub(crate) leader_serves: bool,
    /// Observers go to followers.
    pub(crate) observer_masters: bool,
    /// The last counter of an epoch.
    pub(crate) counter_max: u32,
}

impl OfMembers {
    /// None of it.
    pub(crate) fn plain() -> Self {
        Self {
            local_sessions: false,
            upgrading: false,
            read_only: false,
            leader_serves: true,
            observer_masters: false,
            counter_max: COUNTER_MAX,
        }
    }

    /// The choices of a world with so many voters and observers.
    pub(crate) fn new(rng: &mut Rng, voters: usize, observers: usize) -> Self {
        // Drawn aside, so that the other worlds stay as they are.
        let aside = &mut rng.clone();
        let local_sessions = aside.chance(200);
        Self {
            local_sessions,
            upgrading: local_sessions && aside.chance(600),
            read_only: aside.chance(150),
            leader_serves: !rng.chance(150) || voters + observers == 1,
            observer_masters: rng.chance(500) && observers > 0 && voters > 1,
            counter_max: if rng.chance(150) { *rng.pick(&[20, 60, 200]) } else { COUNTER_MAX },
        }
    }
}

impl Swarm {
    /// The world of a seed.
    pub(crate) fn new(rng: &mut Rng) -> Self {
        let mut swarm = Self {
            shards: rng.between(1, 3) as u16,
            clients: 0,
            tick_ms: 100,
            snap_count: rng.between(12, 120),
            outstanding_max: if rng.chance(200) { 4 } else { OUTSTANDING_REQUESTS_MAX },
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
            flee: 0,
            syncs: false,
            bulk: if rng.chance(400) { 600 } else { 60 },
            crash_every: on(rng, 700, 100_000, 1_500_000),
            power: rng.between(100, 1000),
            crash_in_recovery: on(rng, 500, 200, 900),
            full_every: on(rng, 250, 300_000, 1_500_000),
            jump_every: on(rng, 300, 100_000, 1_000_000),
            direct_log: rng.chance(500),
            lane_max: if rng.chance(300) { rng.between(1, 8) as usize } else { 4096 },
            requests_per_turn: if rng.chance(300) { rng.between(1, 6) as usize } else { 1024 },
            frame_bytes_max: if rng.chance(300) {
                FRAME_BYTES_SMALL
            } else {
                crate::limits::FRAME_BYTES_MAX
            },
            zxid_base: if rng.chance(150) { near_rollover(rng) } else { 0 },
            // In unit tests the tree counts a quota's nodes in steps of eight, and meanwhile its
            // statistics stand still: the model knows nothing of that.
            quotas: rng.chance(300) && !cfg!(test),
            enforce_quota: rng.chance(500),
            codec: *rng.pick(&[Codec::Plain, Codec::Plain, Codec::Gzip, Codec::Snappy]),
            hostile_every: on(rng, 300, 20_000, 400_000),
            damage: on(rng, 150, 200, 700),
            read_fails: on(rng, 150, 50, 300),
            pause_every: on(rng, 250, 300_000, 1_500_000),
            clock_begins_anew: rng.chance(150),
            large_requests: rng
                .chance(200)
                .then(|| (rng.between(100, 800) as usize, rng.between(1_000, 8_000) as usize)),
            longer_ms: if rng.chance(250) { rng.between(2, 8) as i32 * 100 } else { 0 },
            watches_max: if rng.chance(250) { rng.between(1, 6) as usize } else { 0 },
            log_file_bytes_max: on(rng, 700, 2_000, 40_000),
            members: OfMembers::plain(),
        };
        swarm.clients = rng.between(1, 5) as usize;
        if swarm.stall > 0 || swarm.pause_every > 0 {
            // What comes while a shard stands still is more than a small limit holds.
            swarm.out_bytes_max = 1 << 20;
        }
        swarm.make_special(rng);
        swarm
    }

    /// Some worlds have many clients, some lose their power all the time.
    fn make_special(&mut self, rng: &mut Rng) {
        if rng.chance(15) {
            self.clients = rng.between(100, 300) as usize;
            self.think *= self.clients as u64 / 5;
            // So many make more events in one trip of a link than a small limit holds.
            self.out_bytes_max = 1 << 20;
        }
        // Drawn aside, so that the other worlds stay as they are.
        let rng = &mut rng.clone();
        if rng.chance(250) {
            // The power goes again and again, in recoveries too: what is left of the log counts.
            self.crash_every = rng.between(10_000, 80_000);
            self.power = 1000;
            self.crash_in_recovery = rng.between(100, 600);
            self.damage = on(rng, 400, 100, 500);
        }
    }

    /// The time that a request may wait at the server in microseconds, if nothing stalls, fails or
    /// is slow meanwhile: some rounds of the disk, and the turns that all that is under way takes.
    /// Where few may be outstanding, each round is for few.
    pub(crate) fn patience_us(&self) -> u64 {
        let under_way = (self.clients * REQUESTS_UNDER_WAY) as u64;
        let turn = self.core_delay + 1;
        let round = FLUSH_STEPS * (self.flush_delay + 1) + 4 * turn;
        let rounds = match self.outstanding_max / usize::from(self.shards) {
            0..16 => under_way,
            of_shard => 4 + under_way / of_shard as u64,
        };
        let of_client = REQUESTS_UNDER_WAY as u64 * 2 * self.link_delay;
        100_000 + round * rounds + 2 * turn * under_way + of_client
    }
}

/// A number for this many worlds of a thousand, 0 for the others.
fn on(rng: &mut Rng, chance: u64, low: u64, high: u64) -> u64 {
    if rng.chance(chance) { rng.between(low, high) } else { 0 }
}

/// A little before the end of an epoch's counter.
fn near_rollover(rng: &mut Rng) -> i64 {
    Zxid::new(rng.below(4) as u32, u32::MAX - rng.below(300) as u32).0
}

/// Above everything that well-behaved clients send.
const FRAME_BYTES_SMALL: usize = 16 << 10;
/// Requests that one client has under way at most.
const REQUESTS_UNDER_WAY: usize = 32;
/// Half steps of the longest flush: two files, a name and a directory, begun and ended.
const FLUSH_STEPS: u64 = 10;
