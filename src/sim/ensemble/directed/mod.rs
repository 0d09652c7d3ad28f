//! Known mistakes as scripts: the same servers, disks and links as in random worlds, but the test
//! says what happens when. Each script brings about the scenario of its number in
//! `docs/known-bugs.md`, is judged after each step as a random world is, and ends when all servers
//! have come together.
//!
//! A build with the feature `mutants` runs each script once more with each mistake that it is
//! written for switched on, and wants it to be noticed.
//!
//! | file | scripts of |
//! |---|---|
//! | `promises` | what a member says about its disk |
//! | `joining` | proposals and commits while a member joins |
//! | `history` | what a leader sends from its memory and its log |
//! | `cuts` | truncations, trees, and what is left of them after a crash |

mod cuts;
mod history;
mod joining;
mod promises;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{self, AssertUnwindSafe};

use bytes::Bytes;

use super::check::{Judge, Violation, Voters};
use super::coverage::Coverage;
use super::disk::Shown;
use super::net::{Net, Port};
use super::role::Role;
use super::server::{Server, settings};
use super::shared::Shared;
use super::weather::Weather;
use super::world::Ensemble;
use crate::packet::Packet;
use crate::sim::defect::Defect;
use crate::sim::rng::Rng;
use crate::sim::trace::Trace;
use crate::zab::{Members, QuorumSet, ServerId, Stage};
use crate::zxid::Zxid;

/// What a script comes to: whatever the judge says against it ends it.
type Outcome = Result<(), Violation>;

/// Runs a script over three voters and an observer, which has id 4; then again with each mistake
/// that it must notice, where the build has them.
fn directed(mistakes: &[Defect], script: impl Fn(&mut Script) -> Outcome) {
    let run = |mistake: Option<Defect>| {
        Defect::switch_on(mistake);
        let mut world = Script::new();
        let ended = panic::catch_unwind(AssertUnwindSafe(|| script(&mut world)));
        Defect::switch_on(None);
        (ended, world)
    };
    let (ended, world) = run(None);
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(violation)) => panic!("{}\n{violation}", world.story()),
        Err(why) => {
            eprintln!("{}", world.story());
            panic::resume_unwind(why);
        }
    }
    for mistake in mistakes.iter().filter(|_| cfg!(feature = "mutants")) {
        match run(Some(*mistake)).0 {
            Ok(Ok(())) => panic!("{mistake:?} is not noticed"),
            Ok(Err(violation)) => println!("{mistake:?}: {violation}"),
            Err(why) => {
                let text = why.downcast_ref::<String>().cloned();
                println!("{mistake:?}: {}", text.unwrap_or_default());
            }
        }
    }
}

/// A world in which nothing happens by chance. Servers are named by their ids.
struct Script {
    world: Ensemble,
}

impl Script {
    fn new() -> Self {
        let mut rng = Rng::new(1);
        let (voters, observers) = (1..=3, 4..=4);
        let ids: Vec<ServerId> = (1..=4).map(ServerId).collect();
        let members = Members::new(
            voters.clone().map(ServerId).collect(),
            observers.map(ServerId).collect(),
            QuorumSet::Majority,
            Zxid::ZERO,
            Bytes::new(),
        );
        let mut net = Net::new(0);
        net.is_even = true;
        let shared = Shared {
            now: 0,
            members: members.expect("three voters are an ensemble"),
            settings: settings(),
            net,
            listening: BTreeSet::new(),
            flush_max: 0,
            slow: None,
            held: BTreeSet::new(),
            up: BTreeSet::new(),
            crashes: 0,
            tree_delay: 0,
            counter_max: u32::MAX - 1,
            history_bytes: 1 << 20,
            begun: Vec::new(),
            commits: Vec::new(),
            trace: Trace::new(200),
            coverage: Coverage::default(),
            rng: rng.fork(),
            ids,
        };
        let servers = shared.ids.iter().map(|id| (*id, Server::new(*id, &shared)));
        let servers: BTreeMap<ServerId, Server> = servers.collect();
        let world = Ensemble {
            servers,
            judge: Judge::default(),
            voters: Voters(voters.map(|id| (ServerId(id), 0, 1)).collect()),
            weather: Weather::new(&mut rng),
            records: 0,
            step_ms: 1,
            write_chance: 0,
            writes_at_begin: 0,
            begins: Vec::new(),
            is_calm: true,
            writes: false,
            shared,
        };
        Self { world }
    }

    /// What has happened, to be read.
    fn story(&self) -> String {
        self.world.shared.trace.tail().collect::<Vec<_>>().join("\n")
    }

    fn server(&self, id: i64) -> &Server {
        &self.world.servers[&ServerId(id)]
    }

    fn server_mut(&mut self, id: i64) -> &mut Server {
        let server = self.world.servers.get_mut(&ServerId(id)).expect("it is a member");
        server.is_due = true;
        server
    }

    /// A millisecond of all servers, one after the other.
    fn step(&mut self) -> Outcome {
        let world = &mut self.world;
        world.shared.now += 1_000;
        world.shared.trace.at(world.shared.now as u64);
        for id in world.shared.ids.clone() {
            let now = world.shared.now;
            let server = world.servers.get_mut(&id).expect("it is a member");
            if server.is_up && server.stalled_until <= now && server.has_due(&mut world.shared) {
                server.step(&mut world.shared)?;
                world.judge_step()?;
                world.judge_shown(id)?;
            }
            world.notice(id);
        }
        Ok(())
    }

    fn run(&mut self, ms: u32) -> Outcome {
        (0..ms).try_for_each(|_| self.step())
    }

    /// Goes on until something is so.
    fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) -> Outcome {
        for _ in 0..WAIT_MS_MAX {
            if is_so(self) {
                return Ok(());
            }
            self.step()?;
        }
        panic!("never: {what}; {}", self.states());
    }

    /// What all are at.
    fn states(&self) -> String {
        let states = self.world.servers.values().filter(|server| server.is_up).map(|server| {
            let (id, at, shown, disk) = (server.id, server.at(), server.shown.zxid, &server.disk);
            let (end, jobs) = (disk.end().zxid, &disk.jobs);
            format!("{id} in {at} shows {shown} has {end}, waits for {jobs:?}")
        });
        states.collect::<Vec<_>>().join("; ")
    }

    /// Starts those that are down.
    fn start(&mut self, ids: &[i64]) {
        for id in ids {
            let server = self.world.servers.get_mut(&ServerId(*id)).expect("it is a member");
            if !server.is_up {
                server.start(&mut self.world.shared);
            }
        }
    }

    /// Starts those that are down, and waits until all serve clients. The largest id leads, if
    /// nobody led before.
    fn serve(&mut self, ids: &[i64]) -> Outcome {
        self.start(ids);
        self.until_serving(ids)
    }

    fn until_serving(&mut self, ids: &[i64]) -> Outcome {
        let ids = ids.to_vec();
        let what = format!("{ids:?} serve clients");
        self.until(&what, move |s| ids.iter().all(|id| s.server(*id).is_serving()))
    }

    /// The process is killed: what was handed to the kernel is stored.
    fn kill(&mut self, id: i64) {
        self.end(id, false);
    }

    /// The power goes, and with it all that is not flushed.
    fn cut_power(&mut self, id: i64) {
        self.server_mut(id).disk.lose_unflushed();
        self.end(id, true);
    }

    fn end(&mut self, id: i64, power: bool) {
        let server = self.world.servers.get_mut(&ServerId(id)).expect("it is a member");
        server.kill(power, &mut self.world.shared);
        self.world.notice(ServerId(id));
    }

    /// What a server asks of its disk from here on waits.
    fn hold(&mut self, id: i64) {
        self.world.shared.held.insert(ServerId(id));
    }

    /// The disk does all that waits, and no longer waits.
    fn release(&mut self, id: i64) {
        self.world.shared.held.remove(&ServerId(id));
        let now = self.world.shared.now;
        self.server_mut(id).disk.jobs.iter_mut().for_each(|(at, _)| *at = now);
    }

    /// A disk that waits does one thing: the first of this name, if it was asked for.
    fn finish(&mut self, id: i64, name: &str) -> bool {
        let now = self.world.shared.now;
        let jobs = &mut self.server_mut(id).disk.jobs;
        let job = jobs.iter_mut().find(|(_, job)| job.name() == name);
        job.map(|(at, _)| *at = now).is_some()
    }

    /// A disk that waits flushes all that is logged, and does nothing else.
    fn flush(&mut self, id: i64) -> Outcome {
        while self.stored(id) < self.logged(id) {
            assert!(self.finish(id, "a flush"), "a flush is asked for");
            self.run(1)?;
        }
        Ok(())
    }

    /// Whether the disk has been asked for something and has not done it.
    fn waits_for(&self, id: i64, name: &str) -> bool {
        self.server(id).disk.jobs.iter().any(|(_, job)| job.name() == name)
    }

    /// Nothing gets from one server to another over the quorum port.
    fn cut(&mut self, from: i64, to: i64) {
        self.world.shared.net.cut.insert((Port::Quorum, ServerId(from), ServerId(to)));
    }

    /// All that waits on a way arrives.
    fn open(&mut self, from: i64, to: i64) {
        let way = (Port::Quorum, ServerId(from), ServerId(to));
        self.world.shared.net.cut.remove(&way);
        self.world.shared.net.passes.remove(&way);
    }

    /// So many packets more get through a way that is cut, or pieces of a tree.
    fn pass(&mut self, from: i64, to: i64, packets: usize) {
        let way = (Port::Quorum, ServerId(from), ServerId(to));
        *self.world.shared.net.passes.entry(way).or_default() += packets;
    }

    /// Lets packets through a way that is cut, one each two milliseconds, until something is so.
    fn pass_until(
        &mut self,
        from: i64,
        to: i64,
        what: &str,
        is_so: impl Fn(&Self) -> bool,
    ) -> Outcome {
        let way = (Port::Quorum, ServerId(from), ServerId(to));
        for _ in 0..WAIT_MS_MAX / 2 {
            self.world.shared.net.passes.insert(way, 1);
            self.run(2)?;
            if is_so(self) {
                self.world.shared.net.passes.remove(&way);
                return Ok(());
            }
        }
        panic!("never: {what}");
    }

    /// Nothing gets from or to a server.
    fn isolate(&mut self, id: i64) {
        for other in (1..=4).filter(|other| *other != id) {
            for port in [Port::Election, Port::Quorum] {
                self.world.shared.net.cut.insert((port, ServerId(id), ServerId(other)));
                self.world.shared.net.cut.insert((port, ServerId(other), ServerId(id)));
            }
        }
    }

    /// All ways are open.
    fn heal(&mut self) {
        self.world.shared.net.cut.clear();
        self.world.shared.net.passes.clear();
    }

    /// The connection between a learner and its leader is lost, with all that is on it.
    fn break_off(&mut self, learner: i64, leader: i64) {
        let now = self.world.shared.now;
        self.world.shared.net.break_off(ServerId(learner), ServerId(leader), now);
    }

    /// A leader sends a packet that it should not.
    fn inject(&mut self, leader: i64, learner: i64, packet: &Packet) {
        let mut bytes = Vec::new();
        packet.write(&mut bytes);
        let now = self.world.shared.now;
        let (leader, learner) = (ServerId(leader), ServerId(learner));
        self.world.shared.net.inject(leader, learner, &bytes.into(), now);
    }

    /// A client writes at a server.
    fn write(&mut self, at: i64) {
        self.world.records += 1;
        let record = Bytes::copy_from_slice(&self.world.records.to_be_bytes());
        let server = self.world.servers.get_mut(&ServerId(at)).expect("it is a member");
        assert!(server.is_serving(), "{at} serves clients");
        server.request(record, &mut self.world.shared);
    }

    /// The same, until it is committed.
    fn commit(&mut self, at: i64) -> Outcome {
        let before = self.world.judge.commits;
        self.write(at);
        self.until("it is committed", |s| s.world.judge.commits > before)
    }

    fn commit_all(&mut self, at: i64, times: usize) -> Outcome {
        (0..times).try_for_each(|_| self.commit(at))
    }

    /// Who leads and serves clients.
    fn leader(&self) -> Option<i64> {
        let leads = |id: &i64| {
            let server = self.server(*id);
            server.is_serving() && matches!(server.role, Role::Leading(_))
        };
        (1..=3).find(leads)
    }

    /// The last committed state.
    fn last(&self) -> Shown {
        self.world.judge.last()
    }

    fn stage(&self, id: i64) -> Option<Stage> {
        match &self.server(id).role {
            Role::Learning(role) => Some(role.machine.stage()),
            _ => None,
        }
    }

    /// Goes on until a learner has come to a stage.
    fn until_stage(&mut self, id: i64, stage: Stage) -> Outcome {
        self.until(&format!("{id} is at {stage:?}"), |s| s.stage(id) == Some(stage))
    }

    /// Goes on until NEWLEADER has come to a learner that has not acknowledged it.
    fn until_new_leader(&mut self, id: i64) -> Outcome {
        self.until(&format!("NEWLEADER has come to {id}"), |s| {
            s.stage(id).is_some_and(|stage| stage >= Stage::Persisting)
        })
    }

    /// The end of a server's log, durable or not.
    fn logged(&self, id: i64) -> Zxid {
        self.server(id).disk.end().zxid
    }

    /// The end of what is on its disk.
    fn stored(&self, id: i64) -> Zxid {
        self.server(id).disk.durable_end().zxid
    }

    fn shown(&self, id: i64) -> Shown {
        self.server(id).shown
    }

    /// What one server has sent to another over quorum ports, in order.
    fn sent(&self, from: i64, to: i64) -> Vec<&Packet> {
        let (from, to) = (ServerId(from), ServerId(to));
        let sent = self.world.shared.net.sent.iter();
        sent.filter(|(f, t, _)| (*f, *t) == (from, to)).map(|(_, _, packet)| packet).collect()
    }

    /// Goes on until servers show the whole committed history and have it on their disks.
    fn until_equal(&mut self, ids: &[i64]) -> Outcome {
        let ids = ids.to_vec();
        let what = format!("{ids:?} show what is committed");
        self.until(&what, move |s| {
            let last = s.last();
            ids.iter().all(|id| {
                let server = s.server(*id);
                server.is_serving() && server.shown == last && server.disk.durable_end() == last
            })
        })
    }

    /// All are there, without faults, come to one history, and once more after all were killed.
    fn end_well(&mut self) -> Outcome {
        for id in 1..=4 {
            self.release(id);
            self.server_mut(id).disk.fails_next = false;
        }
        self.heal();
        (self.world.writes, self.world.write_chance) = (true, 500);
        self.world.come_together()?;
        for id in 1..=4 {
            self.cut_power(id);
        }
        self.world.come_together()
    }
}

/// Server 1, which was isolated, has `extra` transactions more than the others, which lead an epoch
/// of their own without having committed anything in it. 3 leads, 2 follows.
fn with_more_than_the_leader(s: &mut Script, extra: usize) -> Outcome {
    s.serve(&[1, 2, 3])?;
    s.commit(3)?;
    s.hold(3);
    s.cut(1, 3);
    s.cut(3, 2);
    (0..extra).for_each(|_| s.write(3));
    let wanted = s.last().zxid.0 + extra as i64;
    s.until("1 has logged what 3 proposed", |s| s.stored(1).0 == wanted)?;
    s.heal();
    s.isolate(1);
    s.cut_power(3);
    s.release(3);
    s.serve(&[2, 3])?;
    s.until("1 has left its leader", |s| s.stage(1).is_none())?;
    assert!(s.server(1).is_up && s.stored(1) > s.stored(3));
    Ok(())
}

/// Server 3 leads with server 1. Server 2 is down and lacks some committed transactions, which 3 has
/// only in a snapshot: 2 must get the whole tree.
fn with_one_far_behind(s: &mut Script) -> Outcome {
    s.world.shared.history_bytes = 1;
    s.serve(&[1, 2, 3])?;
    s.commit(3)?;
    s.kill(2);
    s.commit_all(3, 3)?;
    for id in [1, 3] {
        let shown = s.shown(id).zxid;
        s.server_mut(id).disk.compact(shown, 0);
    }
    Ok(())
}

/// Two transactions are on the disks of 1 and 3, and committed. 1 is down. 3 begins a new epoch, and
/// needs 2 for a quorum, which lacks them and whose disk waits.
fn with_a_quorum_to_come(s: &mut Script) -> Outcome {
    s.serve(&[1, 2, 3])?;
    s.commit(3)?;
    s.kill(2);
    s.commit_all(3, 2)?;
    s.until_equal(&[1, 3])?;
    s.kill(1);
    s.kill(3);
    s.start(&[2, 3]);
    s.until_stage(2, Stage::StoringAccepted)?;
    s.until_stage(2, Stage::Accepted)?;
    s.hold(2);
    Ok(())
}

/// No script waits longer than this.
const WAIT_MS_MAX: usize = 10_000;
