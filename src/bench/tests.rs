//! The engine against small servers: the echo, one that stalls, one that hangs up, one that answers
//! nonsense.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::args::{DurableServerArgs, EchoArgs, Space, Way};
use super::engine::{Asked, Engine, Phase, Reply, Target, Work};
use super::wire::{self, Op};
use super::{BenchError, durable_server, echo};

#[test]
fn a_closed_loop_keeps_its_window_and_gets_every_reply() {
    let server = free_address();
    thread::spawn(move || {
        echo::serve(&EchoArgs { listen: server, payload: 5000, core: None, spin: 0, duration: 5.0 })
    });
    let mut work = Counted::new(2000);
    engine(server, 3).run(&mut work, 7, None).expect("the echo serves");
    assert_eq!((work.asked, work.latencies_ns.len()), (2000, 2000));
    assert_eq!(work.outstanding_max, 21, "three sessions of seven");
}

#[test]
fn sessions_take_turns_at_the_servers() {
    let servers = [free_address(), free_address()];
    for listen in servers {
        thread::spawn(move || {
            echo::serve(&EchoArgs { listen, payload: 0, core: None, spin: 0, duration: 5.0 })
        });
        drop(engine(listen, 1));
    }
    let target = Target { servers: servers.to_vec(), ..target(servers[0], 5) };
    let mut engine = Engine::connect(&target).expect("both listen already");
    assert_eq!(engine.peers(), [0, 1, 0, 1, 0].map(|server: usize| servers[server]));
    engine.run(&mut Counted::new(100), 2, None).expect("both serve");
}

#[test]
fn an_open_loop_counts_latency_from_the_schedule() {
    let stall = Duration::from_millis(400);
    let server = serve_one(move |socket| {
        thread::sleep(stall);
        while answer(socket, 0) {}
    });
    let mut work = Counted::new(50);
    engine(server, 1).run(&mut work, 1, Some(100.0)).expect("the server serves in the end");
    // One request at a time: without the schedule only the first of them would have waited.
    let slow = work.latencies_ns.iter().filter(|&&ns| ns > stall.as_nanos() as u64 / 2).count();
    assert!(slow >= 15, "only {slow} of 50 were kept waiting");
    assert!(work.latencies_ns[0] >= work.latencies_ns[15], "those that start later wait less");
}

#[test]
fn one_by_one_sends_a_request_at_a_time() {
    // Fifty are due. Where the server is late all of them may be there; sent in one piece they
    // would be so each time.
    let is_apart = |(sent, frame)| sent % frame == 0 && sent < 50 * frame;
    assert!((0..100).any(|_| is_apart(first_read_of_fifty())));
}

/// The bytes that a server reads first of fifty requests that are due, and those of one request.
fn first_read_of_fifty() -> (usize, usize) {
    let (tell, told) = mpsc::channel();
    let server = serve_one(move |socket| {
        let mut bytes = vec![0; 1 << 16];
        let sent = socket.read(&mut bytes).expect("a first request");
        let frame = 4 + u32::from_be_bytes(*bytes.first_chunk().expect("a length")) as usize;
        tell.send((sent, frame)).expect("somebody is told");
    });
    let target = Target { one_by_one: true, ..target(server, 1) };
    let mut engine = Engine::connect(&target).expect("it listens already");
    let ended = engine.run(&mut Counted::new(100), 50, None);
    assert!(matches!(ended, Err(BenchError::Lost { .. })), "{ended:?}");
    told.recv().expect("the server has got something")
}

#[test]
fn the_durable_server_answers_whatever_the_way_and_goes_round_its_file() {
    let ways = [Way::Mapped, Way::Direct, Way::Overlapped];
    let both = |way| [(way, Space::Old), (way, Space::New)];
    for (way, space) in ways.into_iter().flat_map(both) {
        let dir = tempfile::tempdir().expect("a directory");
        let server = free_address();
        let (dir_path, payload, duration) = (dir.path().to_owned(), 128, 20.0);
        let args = DurableServerArgs {
            listen: server,
            way,
            space,
            dir: dir_path,
            file_mib: Some(1),
            payload,
            core: None,
            duration,
        };
        thread::spawn(move || durable_server::serve(&args));
        let mut work = Counted::new(20_000);
        engine(server, 3).run(&mut work, 50, None).expect("the durable server serves");
        assert_eq!(work.latencies_ns.len(), 20_000, "{way:?} {space:?}");
    }
}

#[test]
fn a_server_that_hangs_up_ends_the_run() {
    let server = serve_one(|socket| {
        answer(socket, 0);
    });
    let ended = engine(server, 1).run(&mut Counted::new(100), 1, None);
    assert!(matches!(ended, Err(BenchError::Lost { session: 0, .. })), "{ended:?}");
}

#[test]
fn a_reply_to_something_else_ends_the_run() {
    let server = serve_one(|socket| while answer(socket, 1) {});
    let ended = engine(server, 1).run(&mut Counted::new(100), 2, None);
    assert!(
        matches!(ended, Err(BenchError::Protocol { what: "replies out of order", .. })),
        "{ended:?}"
    );
}

/// Asks a number of times and remembers how long each took.
struct Counted {
    total: u64,
    asked: u64,
    outstanding_max: u64,
    latencies_ns: Vec<u64>,
}

impl Counted {
    fn new(total: u64) -> Self {
        Counted { total, asked: 0, outstanding_max: 0, latencies_ns: Vec::new() }
    }
}

impl Work for Counted {
    fn request(&mut self, _session: u32, xid: i32, out: &mut Vec<u8>) -> Option<Asked> {
        if self.asked == self.total {
            return None;
        }
        self.asked += 1;
        self.outstanding_max =
            self.outstanding_max.max(self.asked - self.latencies_ns.len() as u64);
        wire::append_path(out, xid, Op::Get, "/some/path");
        Some(Asked { op: Op::Get, tag: self.asked })
    }

    fn reply(&mut self, reply: Reply) -> Result<(), BenchError> {
        assert_eq!(reply.error, 0);
        self.latencies_ns.push(reply.latency_ns);
        Ok(())
    }

    fn turn(&mut self, _now_ns: u64) -> Phase {
        if self.latencies_ns.len() as u64 == self.total { Phase::Drain } else { Phase::Issue }
    }
}

/// Connects without a handshake, for as long as it takes the server's thread to listen.
fn engine(server: SocketAddr, sessions: u32) -> Engine {
    let target = target(server, sessions);
    for _ in 0..200 {
        match Engine::connect(&target) {
            Ok(engine) => return engine,
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
    panic!("nobody listens on {server}");
}

fn target(server: SocketAddr, sessions: u32) -> Target {
    Target {
        servers: vec![server],
        sessions,
        timeout_ms: 30_000,
        spin: Duration::ZERO,
        echo: true,
        one_by_one: false,
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port is free")
}

/// Serves one connection on a thread of its own.
fn serve_one(serve: impl FnOnce(&mut TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it has been bound");
    thread::spawn(move || serve(&mut listener.accept().expect("somebody connects").0));
    address
}

/// Answers one request, with its xid and a little more; false when there is none.
fn answer(socket: &mut TcpStream, xid_more: i32) -> bool {
    let mut length = [0; 4];
    if socket.read_exact(&mut length).is_err() {
        return false;
    }
    let mut request = vec![0; u32::from_be_bytes(length) as usize];
    socket.read_exact(&mut request).expect("a whole request");
    let xid = i32::from_be_bytes(*request.first_chunk().expect("a request has an xid"));
    let mut reply = 16u32.to_be_bytes().to_vec();
    reply.extend_from_slice(&(xid + xid_more).to_be_bytes());
    reply.resize(20, 0);
    socket.write_all(&reply).is_ok()
}
