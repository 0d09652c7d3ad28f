//! One server, from its start to its crash.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use crate::quorum::EnsembleServer;
use crate::quorum::member::{Member, MemberSettings, Observing, PeerConn};
use crate::quorum::recovery::{Recovered, RecoverySettings};
use crate::sim::damage;
use crate::sim::disk::{Disk, Survivors};
use crate::sim::ensemble::net::Port;
use crate::sim::node::{Node, PeerInput};
use crate::sim::property::{Checked, Property, hold};
use crate::sim::recover::{self, Start};
use crate::sim::store::Store;
use crate::zab::{Members, ServerId, SyncLimits};
use crate::zxid::Now;

use super::coverage;
use super::jobs::{ACCEPTED, CURRENT, Job, read_epoch, write_epoch};
use super::votes::Votes;
use super::{Event, Servers};

/// A port that takes learners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    Leader,
    /// Of a follower, for observers.
    ObserverMaster,
}

/// See the module.
pub(super) struct Server {
    pub(super) id: ServerId,
    pub(super) disk: Disk,
    pub(super) node: Option<Node>,
    /// Which start of it this is: what earlier ones have left undone is void.
    pub(super) generation: u32,
    pub(super) votes: Votes,
    /// When each of its cores takes its next turn.
    pub(super) turns_due: BTreeMap<usize, u64>,
    /// When its election port, and what has come to its quorum port, are looked at next.
    pub(super) looks_at_us: Option<u64>,
    /// Until then it stands still.
    pub(super) stalled_until_us: u64,
    /// It does not start before that time.
    pub(super) back_at_us: u64,
    /// Others may dial its quorum port.
    pub(super) takes_learners: bool,
    /// The same of its port for observers.
    pub(super) takes_observers: bool,
    /// The connections of the quorum port that the member has been told of.
    pub(super) known: BTreeSet<u64>,
    /// What is kept for a learner while a tree or a part of the log is on its way there.
    pub(super) held: BTreeMap<PeerConn, Vec<Bytes>>,
    /// The dial under way.
    pub(super) attempt: Option<u64>,
    /// What its disk thread is asked for; the first is under way.
    pub(super) jobs: VecDeque<Job>,
    /// Its disk is a new one, in place of one that had data.
    pub(super) is_lost: bool,
    /// A file has been damaged since it was last up.
    pub(super) is_damaged: bool,
    pub(super) wall_offset_ms: i64,
    /// When its quorum core last took a turn, in milliseconds.
    pub(super) quorum_turn_ms: i64,
}

impl Server {
    /// A new server that is down.
    pub(super) fn new(id: ServerId, members: &Members, offset_ms: i64) -> Self {
        Self {
            id,
            disk: Disk::new(DISK_BYTES),
            node: None,
            generation: 0,
            votes: Votes::new(id, members),
            turns_due: BTreeMap::new(),
            looks_at_us: None,
            stalled_until_us: 0,
            back_at_us: 0,
            takes_learners: false,
            takes_observers: false,
            known: BTreeSet::new(),
            held: BTreeMap::new(),
            attempt: None,
            jobs: VecDeque::new(),
            is_lost: false,
            is_damaged: false,
            wall_offset_ms: 1_700_000_000_000 + offset_ms,
            quorum_turn_ms: 0,
        }
    }

    pub(super) fn takes(&self, door: Door) -> bool {
        match door {
            Door::Leader => self.takes_learners,
            Door::ObserverMaster => self.takes_observers,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.node.is_some()
    }
}

impl Servers {
    pub(super) fn now_of(&self, at: usize) -> Now {
        let mono_ms = (self.now_us / 1000) as i64;
        Now { mono_ms, wall_ms: mono_ms + self.servers[at].wall_offset_ms }
    }

    fn recovery_settings(&self, at: usize) -> RecoverySettings {
        RecoverySettings {
            extended_types: true,
            removes_orphans: false,
            server_id: self.servers[at].id.0 as u8,
            tail: (self.weather.history_count, HISTORY_BYTES),
            ..RecoverySettings::default()
        }
    }

    pub(super) fn truncation_settings(&self, at: usize) -> RecoverySettings {
        self.recovery_settings(at)
    }

    pub(super) fn start(&mut self, at: usize) -> Checked {
        let server = &self.servers[at];
        if server.is_up() {
            return Ok(());
        }
        if server.back_at_us > self.now_us && !self.calm {
            self.after(server.back_at_us - self.now_us, Event::Start(at));
            return Ok(());
        }
        let interrupted =
            !self.calm && server.generation > 0 && self.rng.chance(self.swarm.crash_in_recovery);
        let fuse = interrupted.then(|| self.rng.below(9));
        let may_fail = !self.calm && server.generation > 0;
        let read_fails = may_fail && self.rng.chance(self.weather.read_fails);
        let read_fails = read_fails.then(|| self.rng.below(4));
        let settings = self.recovery_settings(at);
        let server = &mut self.servers[at];
        server.disk.set_fuse(fuse);
        let is_lost = server.is_lost;
        let started = recover::start_member(&mut server.disk, &settings, is_lost, read_fails);
        let recovered = match started {
            Start::Up(recovered) => *recovered,
            Start::Stopped => {
                self.stop_in_start(at);
                return Ok(());
            }
            Start::Refused(error) => {
                server.disk.set_fuse(None);
                return self.on_refused(at, read_fails.is_some(), &error.to_string());
            }
        };
        let settled = self.settle_epochs(at, &recovered)?;
        let Some((accepted_epoch, current_epoch)) = settled else {
            self.stop_in_start(at);
            return Ok(());
        };
        let server = &mut self.servers[at];
        server.disk.set_fuse(None);
        server.is_damaged = false;
        self.come_up(at, recovered, accepted_epoch, current_epoch)
    }

    /// The machine stops in the middle of a start, or its disk is full.
    fn stop_in_start(&mut self, at: usize) {
        self.servers[at].disk.set_fuse(None);
        self.history.coverage.crash_in("a start");
        self.say(at, format_args!("crash during the start"));
        self.lose_power_maybe(at, false);
        self.start_again(at);
    }

    fn start_again(&mut self, at: usize) {
        let is_full = self.servers[at].disk.capacity() < DISK_BYTES;
        self.after(if is_full { 50_000 } else { 1000 }, Event::Start(at));
    }

    /// A server does not start from what its disk holds. Where that is damaged it gets an empty one.
    fn on_refused(&mut self, at: usize, does_not_read: bool, error: &str) -> Checked {
        self.say(at, format_args!("refuses to start: {error}"));
        let server = &self.servers[at];
        let is_full = server.disk.capacity() < DISK_BYTES;
        if does_not_read {
            self.history.coverage.note(coverage::NOT_READ);
        } else if server.is_damaged {
            self.history.coverage.note(coverage::DAMAGE_SEEN);
            self.wipe(at);
        } else {
            hold!(is_full, Recovery, "server {at} refuses to start: {error}");
        }
        self.start_again(at);
        Ok(())
    }

    /// A server gets an empty disk, and stays away until nobody counts on what it had promised.
    fn wipe(&mut self, at: usize) {
        self.say(at, format_args!("the server gets a new disk"));
        self.history.coverage.note(coverage::WIPED);
        self.history.on_wiped(at);
        let back_us = 5 * (self.weather.zab.tick_ms * self.weather.zab.init_ticks) as u64 * 1000;
        let back_at_us = if self.calm { 0 } else { self.now_us + back_us };
        let server = &mut self.servers[at];
        server.disk = Disk::new(DISK_BYTES);
        (server.is_lost, server.is_damaged, server.back_at_us) = (true, false, back_at_us);
    }

    /// A byte of a file changes by itself: of the log only if all of it has been flushed.
    fn damage(&mut self, at: usize) {
        let of = &self.history.servers[at];
        let is_all_durable = of.durable == of.log.len() && of.changes_to.is_none();
        let end = |bytes: &[u8]| if is_all_durable { damage::entries_end(bytes) } else { 0 };
        let damaged = damage::damage(&mut self.servers[at].disk, &mut self.rng, end);
        if let Some((name, offset)) = damaged {
            self.history.coverage.note(coverage::DAMAGED);
            self.say(at, format_args!("{name} is damaged at {offset}"));
            self.servers[at].is_damaged = true;
        }
    }

    /// What the server is at when it is killed.
    fn note_crash(&mut self, at: usize) {
        let Some(node) = &self.servers[at].node else { return };
        let coverage = &mut self.history.coverage;
        let report = node.quorum.report();
        coverage.crash_in(&format!("{:?} {:?}", report.role, report.zab_state));
        if node.store.has_work() {
            coverage.crash_in("a flush");
        }
        if node.snap.is_some() {
            coverage.crash_in("a snapshot");
        }
        self.servers[at].jobs.iter().for_each(|job| coverage.crash_in(job.name()));
    }

    /// The epochs as the files have them, and as the log proves them (P14).
    fn settle_epochs(
        &mut self,
        at: usize,
        recovered: &Recovered,
    ) -> Result<Option<(u32, u32)>, crate::sim::property::Violation> {
        let of = &self.history.servers[at];
        let (told_accepted, told_current) = (of.accepted_epoch, of.current_epoch);
        let server = &mut self.servers[at];
        let (accepted, current) =
            (read_epoch(&server.disk, ACCEPTED), read_epoch(&server.disk, CURRENT));
        let is_right = current <= accepted && accepted >= told_accepted && current >= told_current;
        hold!(
            is_right,
            Epochs,
            "server {at} has stored epochs {told_accepted} and {told_current}, and comes up with \
             {accepted} and {current}"
        );
        let current = current.max(recovered.last_zxid.epoch());
        let accepted = accepted.max(current);
        let stored = write_epoch(&mut server.disk, ACCEPTED, accepted)
            .and_then(|()| write_epoch(&mut server.disk, CURRENT, current));
        if stored.is_err() {
            return Ok(None);
        }
        let of = &mut self.history.servers[at];
        (of.accepted_epoch, of.current_epoch) = (accepted, current);
        Ok(Some((accepted, current)))
    }

    fn come_up(
        &mut self,
        at: usize,
        recovered: Recovered,
        accepted_epoch: u32,
        current_epoch: u32,
    ) -> Checked {
        let Recovered { tree, last_session, report, tail, .. } = recovered;
        let mismatches = report.digest_mismatches;
        hold!(mismatches == 0, Recovery, "server {at}: {mismatches} digests are not the tree's");
        let last = tree.last_zxid();
        self.say(at, format_args!("up at {last}, epochs {accepted_epoch} {current_epoch}"));
        self.history.on_recovered(at, &tree)?;
        let is_lost = self.servers[at].is_lost && last.0 == 0;
        let settings = MemberSettings {
            server: EnsembleServer {
                me: self.servers[at].id,
                members: self.members.clone(),
                zab: self.weather.zab,
                syncs: SyncLimits::default(),
                epoch_wait_ms_max: None,
                accepted_epoch,
                current_epoch,
            },
            history_count: self.weather.history_count,
            history_bytes: HISTORY_BYTES,
            tail,
            is_lost,
            packet_bytes_max: crate::sim::store::RECORD_BYTES_MAX,
        };
        let store = self.new_store(at, last);
        let (now, seed) = (self.now_of(at), self.rng.next());
        let member = self.member(settings, seed);
        let mut node = Node::member(&self.swarm, tree, store, member, now, last_session, seed);
        self.servers[at].votes = Votes::new(self.servers[at].id, &self.members);
        let (opened, out) = self.with_turn(at, |turn| node.open_log(turn));
        self.servers[at].node = Some(node);
        if let Err(error) = opened {
            return Err(Property::Shell.broken(format_args!("the log opens with {error:?}")));
        }
        self.up.insert(self.servers[at].id);
        self.carry_out(at, out)?;
        let generation = self.servers[at].generation;
        for core in 0..=usize::from(self.swarm.shards) {
            let offset = self.rng.below(1000);
            self.after(offset, Event::Tick(at, generation, core));
        }
        self.look_in(at, 1);
        if self.swarm.crash_every > 0 && !self.calm {
            let after = self.rng.below(2 * self.swarm.crash_every * self.servers.len() as u64 / 2);
            self.after(after, Event::Crash(at, generation));
        }
        Ok(())
    }

    /// The machine of a member. Where followers take observers, observers rest a little between
    /// two of them.
    fn member(&self, settings: MemberSettings, seed: u64) -> Member {
        let is_voter = self.members.is_voter(settings.server.me);
        let member = Member::new(settings);
        match (self.swarm.members.observer_masters, is_voter) {
            (false, _) => member,
            (true, true) => member.taking_observers(),
            (true, false) => {
                let voters = self.members.voters();
                member.observing(Observing::new(Some(OBSERVER_PORT), voters, 200, seed))
            }
        }
    }

    /// A log that goes on after `last`.
    pub(super) fn new_store(&mut self, at: usize, last: crate::zxid::Zxid) -> Store {
        self.stores += 1;
        let stamp = self.stores * 1_000_000;
        let direct = self.swarm.direct_log ^ (at % 2 == 1);
        Store::new(None, direct, last, stamp)
    }

    /// The server is killed, or its power goes.
    pub(super) fn crash(&mut self, at: usize, surely_power: bool) {
        self.note_crash(at);
        let server = &mut self.servers[at];
        let Some(node) = server.node.take() else { return };
        node.store.abandon(&mut server.disk);
        server.generation += 1;
        server.turns_due.clear();
        server.jobs.clear();
        server.held.clear();
        server.known.clear();
        (server.attempt, server.looks_at_us) = (None, None);
        (server.takes_learners, server.takes_observers) = (false, false);
        server.disk.set_fuse(None);
        let id = server.id;
        self.crashes += 1;
        self.history.spells.rough_at_now(at);
        self.history.on_crash(at);
        self.up.remove(&id);
        self.lose_power_maybe(at, surely_power);
        for port in [Port::Election, Port::Quorum] {
            self.hang_up_peers(at, port);
        }
        self.lose_clients(at);
        if self.may_lose(at) && self.rng.chance(self.weather.wipe) {
            self.wipe(at);
        } else if self.may_lose(at) && self.rng.chance(self.weather.damage) {
            self.damage(at);
        }
        let delay = self.rng.below(self.weather.down_us);
        self.after(delay, Event::Start(at));
    }

    fn lose_power_maybe(&mut self, at: usize, surely: bool) {
        if !surely && !self.rng.chance(self.swarm.power) {
            self.history.coverage.note(coverage::KILLED);
            return self.say(at, format_args!("the server is killed"));
        }
        self.history.coverage.note(coverage::POWER_LOST);
        let survivors = Survivors::any(&mut self.rng);
        self.say(at, format_args!("the power goes, {survivors:?} of what was not flushed stays"));
        let disk = &mut self.servers[at].disk;
        disk.cut_power(survivors, &mut self.rng);
        // Names that come back take up space again; a file system has a block left for the tail of
        // a file that is there.
        let used = disk.used() + BLOCK_BYTES;
        disk.set_capacity(disk.capacity().max(used));
    }

    /// Something for the quorum core of a server.
    pub(super) fn peer_input(&mut self, at: usize, input: PeerInput) {
        if let Some(node) = &mut self.servers[at].node {
            node.peer_input(input);
            self.wake_core(at, usize::from(self.swarm.shards));
        }
    }
}

/// The port at which followers take observers.
const OBSERVER_PORT: u16 = 2889;
pub(super) const DISK_BYTES: usize = 16 << 20;
/// The space that a full disk still gives to files that are there.
pub(super) const BLOCK_BYTES: usize = 4096;
/// Bytes of committed transactions that a leader keeps in memory.
const HISTORY_BYTES: usize = 1 << 20;
