//! The threads of the runtime beside each other, in every order that loom goes through: the lanes
//! and the waker of a ring, admission, and the hold on the tree. The code is that of production but
//! for the primitives in `sync`; each test has a mistake planted as well, which it must find.
//!
//! Run them with `cargo test --features loom --lib loom_tests`.

use std::collections::VecDeque;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use loom::model::Builder;
use loom::thread;

use crate::codes::OpCode;
use crate::frontend::{Effect, Frontend, FrontendConfig};
use crate::handoff::{ConnId, ShardId};
use crate::jute::{Reader, Writer};
use crate::quorum::{self, Quorum, QuorumConfig};
use crate::tree::Tree;
use crate::zxid::Now;

use super::SharedTree;
use super::admission::Admission;
use super::executor::{HoldTime, under_hold};
use super::lane::Lane;
use super::quorum_core::{ShardLink, commit};
use super::ring::Waker;
use super::shard::{Links, Shard};
use super::sync::Misorder;

/// Goes over the interleavings with at most this many preemptions in each.
fn explore(preemptions: usize, test: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(test);
}

/// A thread with a stack for the machines: loom's own are small.
fn roomy(run: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
    thread::Builder::new().stack_size(STACK_WORDS).spawn(run).unwrap()
}

const STACK_WORDS: usize = 128 << 10;

/// Producers push and wake; the loop takes everything and sleeps when there is nothing. It ends: no
/// wake-up is lost.
fn lanes_and_waker() {
    explore(4, || {
        let lane = Arc::new(Lane::new(4));
        let waker = Waker::in_test();
        lane.wake_with(waker.clone());
        let producers = [1, 2].map(|message| {
            let lane = lane.clone();
            thread::spawn(move || {
                lane.push(message).unwrap();
                lane.wake();
            })
        });
        let mut taken = Vec::new();
        while taken.len() < 2 {
            waker.sleep(lane.is_empty(), |sleeps| {
                if sleeps {
                    waker.sleep_in_kernel();
                }
            });
            taken.extend(std::iter::from_fn(|| lane.pop()));
        }
        producers.into_iter().for_each(|producer| producer.join().unwrap());
        taken.sort();
        assert_eq!(taken, [1, 2]);
    });
}

#[test]
fn no_wake_up_is_lost() {
    lanes_and_waker();
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_waker_that_looks_before_it_says_so_is_found() {
    Misorder::WakeLooksFirst.plant();
    lanes_and_waker();
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_loop_that_looks_before_it_parks_is_found() {
    Misorder::ParkLooksFirst.plant();
    lanes_and_waker();
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_loop_that_does_not_see_what_was_pushed_is_found() {
    Misorder::UnparkAcquiresNothing.plant();
    lanes_and_waker();
}

/// Three connections of one address and a limit of two for it.
fn admissions() {
    explore(3, || {
        let admission = Arc::new(Admission::new(2, 0, 2));
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        assert!(admission.enter(address, ShardId(0)).is_ok());
        let others = [0, 1].map(|here| {
            let admission = admission.clone();
            thread::spawn(move || admission.enter(address, ShardId(here)))
        });
        let entered: Vec<ShardId> =
            others.into_iter().filter_map(|other| other.join().unwrap().ok()).collect();
        assert_eq!(entered.len(), 1, "one more is taken");
        assert_eq!((admission.total(), admission.refused()), (2, 1));
        assert_eq!(entered, [ShardId(1)], "the shard with the fewest serves it");
    });
}

#[test]
fn limits_of_connections_hold() {
    admissions();
}

#[test]
#[should_panic(expected = "one more is taken")]
fn counting_apart_from_looking_is_found() {
    Misorder::CountedApart.plant();
    admissions();
}

/// The quorum core and one shard: two clients are connected, the second has sent a setData of "/",
/// which is durable and not yet committed.
struct World {
    quorum: Quorum,
    tree: SharedTree,
    links: [ShardLink; 1],
    watching: [bool; 1],
    backlog: VecDeque<(ShardId, crate::handoff::ToShard)>,
    shard: Shard,
}

/// A hold that no clock ends.
fn long() -> HoldTime {
    HoldTime::new(std::time::Instant::now(), std::time::Duration::MAX)
}

const NOW: Now = Now { mono_ms: 1_000, wall_ms: 1_700_000_000_000 };
const READER: ConnId = ConnId { slot: 0, generation: 1 };
const WRITER: ConnId = ConnId { slot: 1, generation: 1 };

impl World {
    fn new() -> Self {
        let link = ShardLink {
            to_quorum: Arc::new(Lane::new(8)),
            touches: Arc::new(Lane::new(8)),
            from_quorum: Arc::new(Lane::new(8)),
            watching: Arc::default(),
            still_ms: Arc::default(),
            local: true,
        };
        let links = Links {
            to_quorum: link.to_quorum.clone(),
            touches: link.touches.clone(),
            quorum_is_local: true,
            still_ms: Arc::default(),
            from_quorum: link.from_quorum.clone(),
            controls: vec![Arc::default()],
            words: crossbeam::channel::unbounded().0,
            admission: Arc::new(Admission::new(0, 0, 1)),
        };
        let frontend = Frontend::new(FrontendConfig::default(), ShardId(0), 1, 0);
        // Nobody connects to it: the clients are byte vectors.
        let listener = File::open("/dev/null").unwrap().into();
        let shard = Shard::new(ShardId(0), frontend, listener, links);
        let tree = Tree::new();
        let quorum = Quorum::new(QuorumConfig::default(), &tree, 0, NOW);
        let (tree, links) = (SharedTree::new(tree), [link]);
        let (watching, backlog) = ([false], VecDeque::new());
        let mut world = Self { quorum, tree, links, watching, backlog, shard };
        for conn in [READER, WRITER] {
            let peer = "10.0.0.1:4000".parse().unwrap();
            world.shard.frontend().on_accept(conn, peer, NOW);
            world.receive(conn, &connect());
            world.forward();
            world.commit();
            assert_eq!(world.output(conn).len(), 41, "the session is open");
        }
        world.receive(WRITER, &set_data());
        world.forward();
        world
    }

    /// The shard takes in bytes of a client, under a hold.
    fn receive(&mut self, conn: ConnId, bytes: &[u8]) {
        let watching = Some(&*self.links[0].watching);
        under_hold(&self.tree, &mut self.shard, watching, NOW, &mut long(), |shard, hold, _| {
            shard.frontend().on_bytes(conn, bytes, hold);
        })
        .unwrap();
    }

    /// A write of the shard goes to the quorum core, and becomes durable.
    fn forward(&mut self) {
        while let Some(effect) = self.shard.frontend().poll() {
            if let Effect::ToQuorum(message) = effect {
                self.quorum.on_message(message, &self.tree.read(), NOW);
            }
        }
        while let Some(effect) = self.quorum.poll() {
            if let quorum::Effect::Flush(flush) = effect {
                self.quorum.on_flushed(flush.end_in_test());
            }
        }
    }

    fn commit(&mut self) {
        let Self { quorum, tree, links, watching, backlog, .. } = self;
        commit(quorum, tree, links, watching, backlog, || true);
        assert!(!quorum.has_committable());
    }

    fn output(&mut self, conn: ConnId) -> Vec<u8> {
        let watching = Some(&*self.links[0].watching);
        under_hold(&self.tree, &mut self.shard, watching, NOW, &mut long(), |_, _, _| ()).unwrap();
        std::mem::take(self.shard.frontend().output(conn))
    }
}

fn frame(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut body = Vec::new();
    write(&mut Writer::new(&mut body));
    [&(body.len() as u32).to_be_bytes()[..], &body].concat()
}

fn connect() -> Vec<u8> {
    frame(|writer| {
        writer.i32(0);
        writer.i64(0);
        writer.i32(10_000);
        writer.i64(0);
        writer.buffer(Some(&[0; 16]));
        writer.bool(false);
    })
}

fn read(xid: i32, op: OpCode, watch: bool) -> Vec<u8> {
    frame(|writer| {
        writer.i32(xid);
        writer.i32(op.0);
        writer.buffer(Some(b"/"));
        writer.bool(watch);
    })
}

fn set_data() -> Vec<u8> {
    frame(|writer| {
        writer.i32(1);
        writer.i32(OpCode::SET_DATA.0);
        writer.buffer(Some(b"/"));
        writer.buffer(Some(b"new"));
        writer.i32(-1);
    })
}

/// The messages that a client has got.
#[derive(Debug, PartialEq, Eq)]
enum Got {
    Event,
    /// A reply, by the version of the node that it shows.
    Version(i32),
}

fn frames(bytes: &[u8]) -> Vec<Got> {
    let (mut reader, mut all) = (Reader::new(bytes), Vec::new());
    while let Ok(Some(frame)) = reader.buffer() {
        let xid = i32::from_be_bytes(frame[..4].try_into().unwrap());
        let version = frame.len().checked_sub(STAT_BYTES - VERSION_OFFSET);
        all.push(match (xid, version) {
            (-1, _) => Got::Event,
            (_, Some(at)) => {
                Got::Version(i32::from_be_bytes(frame[at..at + 4].try_into().unwrap()))
            }
            _ => panic!("{frame:?} is no reply to a read"),
        });
    }
    all
}

/// A reply ends in a Stat.
const STAT_BYTES: usize = 68;
const VERSION_OFFSET: usize = 32;

/// A client sets a watch and reads again, while the node is changed: it gets an event if it has not
/// seen the change before, and before it sees it.
fn holds() {
    explore(3, || roomy(hold_and_commit).join().unwrap());
}

fn hold_and_commit() {
    let World { mut quorum, tree, links, mut watching, mut backlog, mut shard } = World::new();
    let core = {
        let (tree, links) = (tree.clone(), links.clone());
        roomy(move || {
            commit(&mut quorum, &tree, &links, &mut watching, &mut backlog, || true);
            assert!(!quorum.has_committable() && backlog.is_empty());
        })
    };
    let said = Some(&*links[0].watching);
    for bytes in [read(1, OpCode::EXISTS, true), read(2, OpCode::GET_DATA, false)] {
        under_hold(&tree, &mut shard, said, NOW, &mut long(), |shard, hold, _| {
            shard.frontend().on_bytes(READER, &bytes, hold);
        })
        .unwrap();
    }
    core.join().unwrap();
    under_hold(&tree, &mut shard, said, NOW, &mut long(), |_, _, _| ()).unwrap();
    let got = frames(shard.frontend().output(READER));
    let right: [&[Got]; 3] = [
        &[Got::Version(1), Got::Version(1)],
        &[Got::Version(0), Got::Event, Got::Version(1)],
        &[Got::Version(0), Got::Version(0), Got::Event],
    ];
    assert!(right.contains(&&got[..]), "the client got {got:?}");
}

#[test]
fn an_event_comes_before_what_it_announces() {
    holds();
}

#[test]
#[should_panic(expected = "the client got")]
fn changes_that_are_shown_before_their_events_are_found() {
    Misorder::ShowThenHandOver.plant();
    holds();
}

#[test]
#[should_panic(expected = "the client got")]
fn a_watch_that_is_said_after_the_hold_is_found() {
    Misorder::WatchingSaidLate.plant();
    holds();
}
