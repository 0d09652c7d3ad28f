//! One shard on a real ring, its clients plain sockets of the same process.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use rustix::io::Errno;

use super::*;
use crate::frontend::FrontendConfig;
use crate::handoff::{BatchItem, CommitBatch};
use crate::runtime::clock;
use crate::runtime::ring::{RingConfig, Wait};
use crate::zxid::Zxid;

struct World {
    ring: Ring,
    shard: Shard,
    tree: Tree,
    now: Now,
    address: SocketAddr,
    words: crossbeam::channel::Receiver<WordRequest>,
}

impl World {
    fn new() -> Self {
        Self::one_of(2)
    }

    /// One of so many shards.
    fn one_of(shards: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (words, asked) = crossbeam::channel::unbounded();
        let links = Links {
            to_quorum: Arc::new(Lane::new(16)),
            touches: Arc::new(Lane::new(16)),
            quorum_is_local: true,
            still_ms: Arc::default(),
            from_quorum: Arc::new(Lane::new(16)),
            controls: vec![Arc::default(), Arc::default()],
            words,
            admission: Arc::new(Admission::new(0, 0, shards)),
        };
        let frontend = Frontend::new(FrontendConfig::default(), ShardId(0), 1, 0);
        let shard = Shard::new(ShardId(0), frontend, listener.into(), links);
        let ring = Ring::new(RingConfig::default()).unwrap();
        let mut world =
            Self { ring, shard, tree: Tree::new(), now: clock::now(), address, words: asked };
        world.shard.start(&mut world.ring).unwrap();
        world
    }

    /// Runs the shard until `done`.
    fn until(&mut self, what: &str, done: impl Fn(&mut Self) -> bool) {
        for _ in 0..500 {
            self.settle();
            if done(self) {
                return;
            }
            self.turn();
        }
        panic!("{what}: it does not come");
    }

    /// One look at the ring.
    fn turn(&mut self) {
        self.ring.turn(Wait::For(Duration::from_millis(10))).unwrap();
        while let Some(event) = self.ring.next_event() {
            self.feed(event);
        }
    }

    fn feed(&mut self, event: Event) {
        let mut hold = self.shard.drain(&self.tree, self.now, |_| true).unwrap();
        self.shard.on_event(event, &mut self.ring, &mut hold, self.now).unwrap();
        self.shard.serve_waiting(&mut hold, |_| true);
    }

    fn settle(&mut self) {
        let mut hold = self.shard.drain(&self.tree, self.now, |_| true).unwrap();
        self.shard.drain_controls(&mut self.ring, &mut hold, self.now).unwrap();
        self.shard.run_effects(&mut self.ring, self.now).unwrap();
        self.shard.flush(&mut self.ring, self.now).unwrap();
    }

    fn tick(&mut self, ms: i64) {
        self.now.mono_ms += ms;
        self.shard.on_tick(&mut self.ring, self.now).unwrap();
    }

    /// A client that has asked `srvr`, which is not answered yet.
    fn client(&mut self) -> (TcpStream, ConnId) {
        let mut client = TcpStream::connect(self.address).unwrap();
        client.write_all(b"srvr").unwrap();
        self.until("the word", |world| !world.words.is_empty());
        (client, self.words.recv().unwrap().conn)
    }

    fn answer(&mut self, conn: ConnId, bytes: usize) {
        self.shard.links.controls[0].send(Control::WordAnswer { conn, bytes: vec![b'x'; bytes] });
        self.settle();
    }

    /// Ends the connection's receive without the shard's knowing.
    fn end_receive(&mut self, conn: ConnId) {
        self.ring.cancel(UserData::new(OpKind::Receive, token(conn))).unwrap();
        let mut ended = false;
        while !ended {
            self.ring.turn(Wait::For(Duration::from_millis(10))).unwrap();
            while let Some(event) = self.ring.next_event() {
                ended |= matches!(event, Event::ReceiveStopped { .. });
            }
        }
    }

    fn is_empty(&mut self) -> bool {
        self.shard.sockets.is_empty() && self.shard.links.admission.total() == 0
    }
}

#[test]
fn a_peer_that_reads_gets_everything_before_the_end() {
    let mut world = World::new();
    let (mut client, conn) = world.client();
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        client.read_to_end(&mut all).map(|_| all.len())
    });
    world.answer(conn, 16 << 20);
    world.until("the end", World::is_empty);
    assert_eq!(reader.join().unwrap().unwrap(), 16 << 20);
}

#[test]
fn a_peer_that_does_not_read_is_cut_off_after_a_while() {
    let mut world = World::new();
    let (_client, conn) = world.client();
    world.answer(conn, 16 << 20);
    world.tick(CLOSING_MS - 1);
    world.settle();
    assert!(!world.is_empty(), "it may still read");
    world.tick(1);
    world.until("the end", World::is_empty);
}

#[test]
fn output_is_sent_in_parts_and_each_is_reported() {
    let mut world = World::new();
    let (client, conn) = world.client();
    world.answer(conn, 16 << 20);
    world.until("the first part", |world| {
        world.shard.sockets.get(conn).is_some_and(|socket| socket.sent > 0)
    });
    let mut client = client;
    let mut part = vec![0; 1 << 20];
    for _ in 0..3 {
        // It reads a little, and late, each time: it is not cut off.
        let sent = world.shard.sockets.get(conn).unwrap().sent;
        for _ in 0..8 {
            assert!(client.read(&mut part).unwrap() > 0);
            world.turn();
        }
        world.until("one more part", |world| {
            world.shard.sockets.get(conn).is_some_and(|socket| socket.sent > sent)
        });
        world.tick(CLOSING_MS - 1);
        world.settle();
        assert!(!world.is_empty(), "it reads");
    }
}

#[test]
fn a_connection_that_breaks_while_its_send_succeeds_is_let_go() {
    let mut world = World::new();
    let (_client, conn) = world.client();
    let socket = world.shard.sockets.get(conn).unwrap();
    socket.sending = true;
    world.ring.send(token(conn), socket.fd(), vec![b'x'; 4]).unwrap();
    // The break is seen first, the send ends well after it.
    world.feed(Event::ReceiveStopped {
        conn: token(conn),
        cause: ReceiveStop::Failed(Errno::CONNRESET),
    });
    world.until("the end", World::is_empty);
}

#[test]
fn a_move_does_not_depend_on_how_the_receive_ends() {
    for cause in [None, Some(ReceiveStop::NoBuffers), Some(ReceiveStop::Cancelled)] {
        let mut world = World::new();
        let (_client, conn) = world.client();
        if cause.is_some() {
            world.end_receive(conn);
        }
        world.shard.begin_move(conn, ShardId(1), b"first".to_vec(), &mut world.ring).unwrap();
        if let Some(cause) = cause {
            world.feed(Event::ReceiveStopped { conn: token(conn), cause });
        }
        world.until("the move", |world| world.shard.sockets.is_empty());
        let moved = world.shard.links.controls[1].queue.pop();
        assert!(
            matches!(moved, Some(Control::Adopt { bytes, .. }) if bytes == b"first"),
            "{cause:?}"
        );
        assert_eq!(world.shard.links.admission.total(), 1, "it stays counted on its way");
    }
}

#[test]
fn a_shard_that_drains_takes_nobody_in() {
    let mut world = World::new();
    let (_client, conn) = world.client();
    world.shard.begin_move(conn, ShardId(0), Vec::new(), &mut world.ring).unwrap();
    world.shard.links.controls[0].send(Control::Drain);
    world.until("the end", |world| world.shard.drained());
    world.settle();
    assert!(world.is_empty());
}

/// The kernel has work with each connection that is closed: a turn closes a few of them.
#[test]
fn many_connections_are_closed_a_few_in_each_turn() {
    let mut world = World::one_of(1);
    let count = CLOSES_PER_TURN * 2 + 1;
    let address = world.address;
    let _clients: Vec<_> = (0..count).map(|_| TcpStream::connect(address).unwrap()).collect();
    world.until("all of them", |world| world.shard.sockets.len() == count);
    let ids = world.shard.sockets.ids();
    world.shard.begin_drain(&mut world.ring).unwrap();
    for left in [1, 0] {
        assert!(world.shard.has_work() && world.shard.frontend.has_effects() != (left == 1));
        world.shard.go_on_draining();
        assert_eq!(world.shard.to_drain.len(), left, "a turn tells {DRAINED_PER_TURN} of it");
    }
    let mut open = count;
    for turns in 1.. {
        world.shard.run_effects(&mut world.ring, world.now).unwrap();
        let sockets = &mut world.shard.sockets;
        let mut is_open = |conn: ConnId| sockets.get(conn).is_some_and(|socket| socket.is_open());
        let left = ids.iter().filter(|conn| is_open(**conn)).count();
        assert!(open - left <= CLOSES_PER_TURN, "{} in one turn", open - left);
        assert_eq!(world.shard.has_work(), left > 0, "the rest goes on without an event");
        open = left;
        if open == 0 {
            assert_eq!(turns, 3);
            return;
        }
    }
}

/// To look for all that goes on on a descriptor, the kernel walks over the operations of every
/// connection: one that has nothing under way is only closed.
#[test]
fn a_connection_that_ends_leaves_nothing_to_look_for() {
    let mut world = World::one_of(1);
    let (_client, conn) = world.client();
    world.ring.submit().unwrap();
    let before = world.ring.queued();
    world.shard.remove(conn, &mut world.ring).unwrap();
    assert_eq!(world.ring.queued() - before, 2, "its receive is cancelled, and it is closed");
    let (_client, conn) = world.client();
    world.end_receive(conn);
    world.shard.sockets.get(conn).unwrap().receiving = false;
    let before = world.ring.queued();
    world.shard.remove(conn, &mut world.ring).unwrap();
    assert_eq!(world.ring.queued() - before, 1, "it is closed");
}

/// A lone reply is with the kernel when it is flushed: no turn of the ring is needed, and no
/// completion comes.
#[test]
fn a_lone_reply_costs_no_turn() {
    let mut world = World::new();
    let mut client = TcpStream::connect(world.address).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    // Version, last zxid, timeout, no session, and its password.
    let request = [0_i32.to_be_bytes().to_vec(), vec![0; 8], 10_000_i32.to_be_bytes().to_vec()];
    let request = [request.concat(), vec![0; 8], 16_i32.to_be_bytes().to_vec(), vec![0; 16]];
    let request = request.concat();
    client.write_all(&(request.len() as i32).to_be_bytes()).unwrap();
    client.write_all(&request).unwrap();
    let has_come = |world: &mut World| !world.shard.links.to_quorum.is_empty();
    world.until("the request", has_come);
    let Some(ToQuorum::CreateSession { origin, session, timeout_ms }) =
        world.shard.links.to_quorum.pop()
    else {
        panic!("no session is asked for")
    };
    let items = vec![BatchItem::SessionOpened { origin, session, timeout_ms }];
    let opened = ToShard::Commit(CommitBatch { zxid: Zxid::ZERO, items });
    assert!(world.shard.links.from_quorum.push(opened).is_ok());
    world.settle();
    let mut length = [0; 4];
    client.read_exact(&mut length).unwrap();
    assert_eq!(i32::from_be_bytes(length), 36, "version, timeout, session and password");
    assert!(!world.shard.sockets.get(origin.conn).unwrap().sending);
}
