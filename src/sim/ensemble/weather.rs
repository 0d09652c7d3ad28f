//! Which faults a world has, and when they come.

use super::coverage;
use super::disk::Disk;
use super::net::Port;
use super::server::Server;
use super::shared::{MEMBERS_MAX, Shared};
use crate::sim::rng::Rng;
use crate::zab::ServerId;

/// Chances of faults in a hundred thousand, each millisecond of each server.
#[derive(Clone, Debug)]
pub(super) struct Weather {
    crash: u64,
    /// A crash after some effects more.
    fuse: u64,
    storm: u64,
    cut: u64,
    stall: u64,
    reset: u64,
    write_error: u64,
    damage: u64,
    snapshot: u64,
    start: u64,
    heal: u64,
    /// A server that has come to another step of the protocol is killed, in a thousand.
    pub(super) turn_crash: u64,
}

impl Weather {
    pub(super) fn new(rng: &mut Rng) -> Self {
        Self {
            crash: *rng.pick(&[0, 10, 40, 100]),
            fuse: *rng.pick(&[0, 0, 50, 200]),
            storm: *rng.pick(&[0, 0, 5, 20]),
            cut: *rng.pick(&[0, 10, 50]),
            stall: *rng.pick(&[0, 0, 20, 100]),
            reset: *rng.pick(&[0, 10, 50, 200]),
            write_error: *rng.pick(&[0, 0, 20, 100]),
            damage: *rng.pick(&[0, 0, 100, 500]),
            snapshot: *rng.pick(&[0, 20, 200]),
            start: *rng.pick(&[500, 1_500, 5_000]),
            heal: *rng.pick(&[50, 200, 1_000]),
            turn_crash: *rng.pick(&[0, 0, 10, 50]),
        }
    }

    /// What happens to a server in `ms` milliseconds. `may_lose` says that its data may be lost.
    /// Returns whether a storm begins.
    pub(super) fn strike(
        &self,
        server: &mut Server,
        ms: u64,
        may_lose: bool,
        shared: &mut Shared,
    ) -> bool {
        let mut dice = shared.rng.below(100_000);
        let mut happens = |chance: u64| {
            let is_it = dice < chance * ms;
            dice = dice.wrapping_sub(chance * ms);
            is_it
        };
        if !server.is_up {
            match () {
                _ if happens(self.start) => server.start(shared),
                _ if may_lose && happens(self.damage) => lose(server, shared),
                _ => {}
            }
            return false;
        }
        match () {
            _ if happens(self.crash) => server.kill(shared.rng.chance(600), shared),
            _ if happens(self.fuse) => server.fuse = Some(shared.rng.below(12) as u32),
            _ if happens(self.storm) => return true,
            _ if happens(self.cut) => cut(server.id, shared),
            _ if happens(self.stall) => stall(server, shared),
            _ if happens(self.reset) => reset(server.id, shared),
            _ if happens(self.write_error) => server.disk.fails_next = true,
            // A snapshot is taken of what a quorum has: else no truncation could go back before it.
            _ if happens(self.snapshot) && server.is_serving() => {
                shared.coverage.note(coverage::OWN_SNAPSHOT);
                let keep = shared.rng.index(20);
                server.disk.compact(server.shown.zxid, keep);
            }
            _ if happens(self.heal) => {
                shared.net.cut.retain(|(_, from, to)| *from != server.id && *to != server.id);
            }
            _ => {}
        }
        false
    }
}

/// A new disk, or a log of which only a prefix is whole. Whoever has forgotten which epochs it
/// accepted stays away until nobody counts on that any more: for as long as an election and all
/// phases of a leader may take.
fn lose(server: &mut Server, shared: &mut Shared) {
    let id = server.id;
    if shared.rng.chance(300) {
        shared.coverage.note(coverage::WIPED);
        shared.trace.say(format_args!("{id} gets a new disk"));
        server.disk = Disk::wiped();
        server.back_at =
            shared.now + 5 * shared.settings.tick_ms * shared.settings.init_ticks * 1_000;
    } else {
        shared.coverage.note(coverage::DAMAGED);
        shared.trace.say(format_args!("the log of {id} is damaged"));
        server.disk.damage(&mut shared.rng);
    }
}

/// A server stands still for a while. Some of its connections may be reset meanwhile: their other
/// ends learn of it long before it does.
fn stall(server: &mut Server, shared: &mut Shared) {
    shared.coverage.note(coverage::STALLED);
    shared.trace.say(format_args!("{} stalls", server.id));
    let longest = *shared.rng.pick(&[500_000, 2_000_000]);
    server.stalled_until = shared.now + shared.rng.below(longest) as i64;
    if shared.rng.chance(500) {
        let conns = shared.net.of(server.id);
        conns.into_iter().for_each(|conn| shared.net.reset(conn, shared.now, &mut shared.rng));
    }
}

fn cut(id: ServerId, shared: &mut Shared) {
    let other = ServerId(1 + shared.rng.below(MEMBERS_MAX as u64) as i64);
    let both_ways = shared.rng.chance(600);
    let (votes, quorum, what) = *shared.rng.pick(&[
        (true, true, coverage::CUT_BOTH),
        (true, true, coverage::CUT_BOTH),
        (true, false, coverage::CUT_VOTES),
        (false, true, coverage::CUT_QUORUM),
    ]);
    let arrow = if both_ways { "<->" } else { "->" };
    shared.trace.say(format_args!("{id} {arrow} {other}: {what}"));
    shared.coverage.note(what);
    let ways = if both_ways { coverage::CUT_TWO_WAYS } else { coverage::CUT_ONE_WAY };
    shared.coverage.note(ways);
    let mut ways = vec![(id, other)];
    if both_ways {
        ways.push((other, id));
    }
    for (from, to) in ways {
        if votes {
            shared.net.cut.insert((Port::Election, from, to));
        }
        if quorum {
            shared.net.cut.insert((Port::Quorum, from, to));
        }
    }
}

fn reset(id: ServerId, shared: &mut Shared) {
    let conns = shared.net.of(id);
    if !conns.is_empty() {
        shared.coverage.note(coverage::RESET);
        let conn = conns[shared.rng.index(conns.len())];
        shared.net.reset(conn, shared.now, &mut shared.rng);
    }
}
