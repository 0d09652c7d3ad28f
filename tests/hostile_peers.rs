//! Bytes that no honest member sends, at the election port and the quorum port of servers that run:
//! from strangers on a member's machine, from a learner that lies, from a leader that lies. No
//! server panics, ends, or grows without bound, nothing that a client was told is lost, and the
//! others keep their quorum.
//!
//! What is sent is chosen by a seed: `HOSTILE_SEED=7 cargo test --test hostile_peers`.

mod support;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ringkeeper::codes::OpCode;
use ringkeeper::packet::{
    Greeting, LearnerInfo, Notification, Packet, PacketStream, PeerState, RequestPacket,
};
use ringkeeper::txn::{SetDataTxn, Txn, TxnHeader, write_log_record};
use ringkeeper::zxid::{SessionId, Zxid};
use support::{RawClient, Server, four_letters, free_port};

/// Three places for servers, on a loopback address of their own.
struct Places {
    host: Ipv4Addr,
    home: tempfile::TempDir,
}

impl Places {
    fn new() -> Self {
        static LAST: AtomicU8 = AtomicU8::new(1);
        let [.., high, low] = process::id().to_be_bytes();
        let last = LAST.fetch_add(1, Ordering::Relaxed);
        let host = Ipv4Addr::new(127, 1 + high % 254, low, last);
        Self { host, home: tempfile::tempdir().unwrap() }
    }

    fn quorum_port(&self, id: i64) -> SocketAddr {
        (self.host, 22_500 + id as u16).into()
    }

    fn election_port(&self, id: i64) -> SocketAddr {
        (self.host, 22_550 + id as u16).into()
    }

    /// Starts server `id`; it need not serve.
    fn start(&self, id: i64) -> Server {
        self.start_with(id, &[])
    }

    /// The same with more lines in its configuration.
    fn start_with(&self, id: i64, more: &[&str]) -> Server {
        let home = self.home.path().join(id.to_string());
        std::fs::create_dir_all(home.join("data")).unwrap();
        std::fs::write(home.join("data/myid"), format!("{id}\n")).unwrap();
        let mut lines: Vec<String> =
            ["initLimit=4", "syncLimit=2", "preAllocSize=1024"].map(str::to_owned).into();
        for other in 1..=3 {
            let (quorum, election) = (self.quorum_port(other), self.election_port(other).port());
            lines.push(format!("server.{other}={quorum}:{election}"));
        }
        lines.extend(more.iter().map(|line| (*line).to_owned()));
        Server::spawn(&home, free_port(), lines, &[])
    }
}

/// What `srvr` says after `Mode: `.
fn mode(server: &Server) -> Option<String> {
    let text = four_letters(server.address, "srvr")?;
    text.lines().find_map(|line| line.strip_prefix("Mode: ")).map(str::to_owned)
}

fn await_that(what: &str, servers: &mut [Server], holds: impl Fn(&[Server]) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(90);
    while !holds(servers) {
        all_live(what, servers);
        let logs: Vec<String> = servers.iter().map(Server::log).collect();
        assert!(Instant::now() < deadline, "{what}:\n{}", logs.join("\n---\n"));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// No server has ended or panicked.
fn all_live(what: &str, servers: &mut [Server]) {
    for server in servers {
        let log = server.log();
        assert!(!server.has_ended(), "{what}: a server has ended:\n{log}");
        assert!(!log.contains("panicked"), "{what}:\n{log}");
    }
}

fn await_all_serve(what: &str, servers: &mut [Server]) {
    await_that(what, servers, |servers| {
        let modes: Vec<_> = servers.iter().filter_map(mode).collect();
        let leaders = modes.iter().filter(|mode| *mode == "leader").count();
        let followers = modes.iter().filter(|mode| *mode == "follower").count();
        leaders == 1 && leaders + followers == servers.len()
    });
}

/// A write on each server, which each of the others shows.
fn write_on_all(round: &str, servers: &[Server]) {
    for (nth, server) in servers.iter().enumerate() {
        let mut client = RawClient::connect(server.address, 10_000);
        assert_eq!(client.create(&format!("/{round}-{nth}"), b"data", 0).err, 0);
    }
    for server in servers {
        let mut client = RawClient::connect(server.address, 10_000);
        for nth in 0..servers.len() {
            let path = format!("/{round}-{nth}");
            client.call(OpCode::SYNC, |writer| writer.string(&path));
            assert_eq!(client.get(&path), Ok(b"data".to_vec()), "{path}");
        }
    }
}

/// Random numbers, the same ones for one seed.
struct Chance(u64);

impl Chance {
    fn new(of: u64) -> Self {
        let seed = std::env::var("HOSTILE_SEED").ok().and_then(|seed| seed.parse().ok());
        Self(seed.unwrap_or(1u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (of + 1) << 17)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one_of<T: Copy>(&mut self, these: &[T]) -> T {
        these[self.below(these.len() as u64) as usize]
    }

    fn bytes(&mut self, max: u64) -> Vec<u8> {
        (0..self.below(max)).map(|_| self.next() as u8).collect()
    }

    /// Numbers at which something turns over, and others.
    fn number(&mut self) -> i64 {
        let any = self.next() as i64;
        let small = any & 0xff;
        let edges = [0, 1, -1, -2, i64::MAX, i64::MIN, i64::MAX - 1, 1 << 32, (1 << 32) + 1];
        let more = [i64::from(u32::MAX), 0x7fff_ffff_0000_0000, -1 << 32, 0x7fff_fffe_0000_0001];
        match self.below(4) {
            0 => any,
            1 => small,
            2 => self.one_of(&edges),
            _ => self.one_of(&more),
        }
    }

    fn small_number(&mut self) -> i32 {
        let any = self.next() as i32;
        self.one_of(&[0, 1, -1, i32::MAX, i32::MIN, 0x1_0000, any, any & 0xff])
    }

    /// A packet of any type, whose fields are anything.
    fn packet(&mut self, out: &mut Vec<u8>) {
        let kind =
            self.one_of(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19]);
        let kind = if self.below(20) == 0 { self.small_number() } else { kind };
        out.extend(kind.to_be_bytes());
        out.extend(self.number().to_be_bytes());
        let long = self.below(30) == 0;
        let data = match self.below(6) {
            0 => Vec::new(),
            1 => self.number().to_be_bytes().into(),
            2 => self.small_number().to_be_bytes().into(),
            3 => [&self.number().to_be_bytes()[..], &self.small_number().to_be_bytes()].concat(),
            4 => {
                let mut data = self.number().to_be_bytes().to_vec();
                data.extend(self.small_number().to_be_bytes());
                data.extend(self.one_of(&[1i32, 2, 4, 5, 7, 9, 14, -10, -11, 16]).to_be_bytes());
                data.extend(self.bytes(80));
                data
            }
            _ => self.bytes(if long { 100_000 } else { 60 }),
        };
        match self.below(12) {
            0 => out.extend((-1i32).to_be_bytes()),
            1 if self.below(4) == 0 => return out.extend(self.small_number().to_be_bytes()),
            _ => {
                out.extend((data.len() as i32).to_be_bytes());
                out.extend(data);
            }
        }
        match self.below(12) {
            0 => out.extend(self.one_of(&[0i32, 1, 2, i32::MAX, i32::MIN]).to_be_bytes()),
            _ => out.extend((-1i32).to_be_bytes()),
        }
    }

    /// A vote of any form.
    fn notification(&mut self, out: &mut Vec<u8>) {
        if self.below(6) == 0 {
            let bytes = self.bytes(200);
            let len = if self.below(2) == 0 { bytes.len() as i32 } else { self.small_number() };
            out.extend(len.to_be_bytes());
            return out.extend(bytes);
        }
        let states =
            [PeerState::Looking, PeerState::Following, PeerState::Leading, PeerState::Observing];
        let notification = Notification {
            state: self.one_of(&states),
            leader: if self.below(2) == 0 { self.number() } else { 1 + self.below(3) as i64 },
            zxid: Zxid(self.number()),
            round: self.number(),
            peer_epoch: self.number(),
            version: self.small_number(),
            config: self.bytes(40).into(),
        };
        notification.write(out);
    }
}

/// Connects, and gives up on what cannot be reached.
fn dial(address: SocketAddr) -> Option<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).ok()?;
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    Some(stream)
}

/// Reads what comes for a moment.
fn listen_a_little(stream: &mut TcpStream) -> Vec<u8> {
    let mut some = [0; 4096];
    match stream.read(&mut some) {
        Ok(len) => some[..len].to_vec(),
        Err(_) => Vec::new(),
    }
}

fn written(packet: &Packet) -> Vec<u8> {
    let mut out = Vec::new();
    packet.write(&mut out);
    out
}

fn info(id: i64, accepted_epoch: u32, is_follower: bool) -> Vec<u8> {
    let info = LearnerInfo::new(id, accepted_epoch);
    written(&match is_follower {
        true => Packet::FollowerInfo(info),
        false => Packet::ObserverInfo(info),
    })
}

/// The quorum port that takes learners.
fn leader_port(places: &Places, servers: &[Server]) -> Option<SocketAddr> {
    let nth = servers.iter().position(|server| mode(server).as_deref() == Some("leader"))?;
    Some(places.quorum_port(nth as i64 + 1))
}

/// A learner up to a stage: how far it goes before it sends anything.
fn go_to_stage(stream: &mut TcpStream, id: i64, stage: u64) -> bool {
    let mut packets = PacketStream::new(4 << 20);
    let mut epoch = 0;
    let steps: [&dyn Fn(u32) -> Vec<u8>; 3] = [
        &|_| info(id, 0, true),
        &|_| written(&Packet::AckEpoch { zxid: Zxid::ZERO, current_epoch: 0 }),
        &|epoch| written(&Packet::Ack { zxid: Zxid::new(epoch, 0) }),
    ];
    for (nth, step) in steps.iter().enumerate() {
        if nth as u64 >= stage {
            return true;
        }
        if stream.write_all(&step(epoch)).is_err() {
            return false;
        }
        let deadline = Instant::now() + Duration::from_secs(3);
        loop {
            match packets.next_packet() {
                Ok(Some(Packet::LeaderInfo { epoch: new, .. })) => {
                    epoch = new;
                    break;
                }
                Ok(Some(Packet::NewLeader { .. } | Packet::UpToDate)) => break,
                Ok(Some(_)) => {}
                // A tree is on the stream, or nothing more yet.
                Ok(None) | Err(_) => {
                    let came = listen_a_little(stream);
                    if came.is_empty() || Instant::now() > deadline || nth == 1 {
                        break;
                    }
                    packets.push(&came);
                }
            }
        }
    }
    true
}

/// The leader is killed, and the two that elect another one hear votes that lie.
fn elect_amid_lies(chance: &mut Chance, places: &Places, servers: &mut [Server]) {
    let Some(leader) = servers.iter().position(|server| mode(server).as_deref() == Some("leader"))
    else {
        return;
    };
    servers[leader].kill();
    for _ in 0..20 {
        let (to, id) = (1 + chance.below(3) as i64, 1 + chance.below(3) as i64);
        let mut bytes = Vec::new();
        Greeting { server_id: id, addresses: vec!["h:1".to_owned()] }.write(&mut bytes);
        (0..4).for_each(|_| chance.notification(&mut bytes));
        if let Some(mut stream) = dial(places.election_port(to)) {
            let _ = stream.write_all(&bytes);
        }
    }
    servers[leader].restart();
    all_live("an election amid lies", servers);
}

/// Garbage from a member's own address, at both ports of all servers, while one of them is led by
/// another: what was written is there, and the three go on.
#[test]
fn garbage_takes_no_quorum_down() {
    let places = Places::new();
    let mut servers: Vec<Server> = (1..=3).map(|id| places.start(id)).collect();
    await_all_serve("the start", &mut servers);
    write_on_all("before", &servers);
    let resident = |servers: &[Server]| servers.iter().map(Server::resident_kib).max().unwrap();
    let before = resident(&servers);
    let mut chance = Chance::new(1);
    let mut trickles = Vec::new();
    for round in 0..150 {
        if round % 50 == 49 {
            elect_amid_lies(&mut chance, &places, &mut servers);
        }
        let to = 1 + chance.below(3) as i64;
        let mut bytes = Vec::new();
        let address = match chance.below(5) {
            0 => {
                bytes = chance.bytes(5000);
                places.election_port(to)
            }
            1 => {
                bytes = chance.bytes(5000);
                places.quorum_port(to)
            }
            2 => {
                let id = 1 + chance.below(4) as i64;
                Greeting { server_id: id, addresses: vec!["h:1".to_owned()] }.write(&mut bytes);
                (0..chance.below(8)).for_each(|_| chance.notification(&mut bytes));
                places.election_port(to)
            }
            _ => {
                let Some(leader) = leader_port(&places, &servers) else { continue };
                let Some(mut stream) = dial(leader) else { continue };
                let (id, stage) = (1 + chance.below(4) as i64, chance.below(4));
                if go_to_stage(&mut stream, id, stage) {
                    (0..1 + chance.below(6)).for_each(|_| chance.packet(&mut bytes));
                    let _ = stream.write_all(&bytes);
                    listen_a_little(&mut stream);
                }
                continue;
            }
        };
        let Some(mut stream) = dial(address) else { continue };
        if chance.below(8) == 0 {
            // A byte now, and the rest never.
            let _ = stream.write_all(&bytes[..bytes.len().min(1)]);
            trickles.push(stream);
        } else {
            let _ = stream.write_all(&bytes);
        }
        all_live(&format!("round {round}"), &mut servers);
    }
    await_all_serve("after the garbage", &mut servers);
    write_on_all("after", &servers);
    for server in &servers {
        let mut client = RawClient::connect(server.address, 10_000);
        (0..3).for_each(|nth| assert!(client.get(&format!("/before-{nth}")).is_ok()));
    }
    let grown = resident(&servers).saturating_sub(before);
    assert!(grown < 200 << 10, "{grown} KiB more than before");
}

/// Servers 2 and 3 as a liar has them: 3 says that it leads, 2 that it follows.
struct Liars<'a> {
    places: &'a Places,
    port: TcpListener,
    votes: Vec<(i64, TcpStream)>,
}

impl<'a> Liars<'a> {
    fn new(places: &'a Places) -> Self {
        let port = TcpListener::bind(places.quorum_port(3)).unwrap();
        port.set_nonblocking(true).unwrap();
        Self { places, port, votes: Vec::new() }
    }

    /// Both say so, on connections that are opened again where they are gone.
    fn claim(&mut self) {
        for id in [2, 3] {
            let claim = Notification {
                state: if id == 3 { PeerState::Leading } else { PeerState::Following },
                leader: 3,
                zxid: Zxid::new(1, 1),
                round: 1,
                peer_epoch: 1,
                version: Notification::VERSION,
                config: Bytes::new(),
            };
            let mut bytes = Vec::new();
            claim.write(&mut bytes);
            let known = self.votes.iter_mut().find(|(other, _)| *other == id);
            if known.is_some_and(|(_, stream)| stream.write_all(&bytes).is_ok()) {
                continue;
            }
            self.votes.retain(|(other, _)| *other != id);
            if let Some(mut stream) = dial(self.places.election_port(1)) {
                let mut greeting = Vec::new();
                let addresses = vec![self.places.election_port(id).to_string()];
                Greeting { server_id: id, addresses }.write(&mut greeting);
                greeting.extend(bytes);
                if stream.write_all(&greeting).is_ok() {
                    self.votes.push((id, stream));
                }
            }
        }
    }

    /// Server 1 comes as a learner.
    fn learner(&mut self, server: &mut [Server]) -> TcpStream {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            self.claim();
            if let Ok((stream, _)) = self.port.accept() {
                stream.set_nonblocking(false).unwrap();
                stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
                stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
                return stream;
            }
            all_live("while it looks for a leader", server);
            assert!(Instant::now() < deadline, "it does not come:\n{}", server[0].log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The next packet that one of them is, or none if it does not come.
fn expect(
    stream: &mut TcpStream,
    packets: &mut PacketStream,
    is_it: impl Fn(&Packet) -> bool,
) -> Option<Packet> {
    let deadline = Instant::now() + Duration::from_secs(30);
    while Instant::now() < deadline {
        match packets.next_packet() {
            Ok(Some(packet)) if is_it(&packet) => return Some(packet),
            Ok(Some(_)) => {}
            Ok(None) => {
                let mut some = [0; 4096];
                match stream.read(&mut some) {
                    Ok(0) => return None,
                    Ok(len) => packets.push(&some[..len]),
                    Err(_) => {}
                }
            }
            Err(error) => panic!("what a server sends is a packet: {error}"),
        }
    }
    None
}

/// Takes server 1 in as a leader does, up to a stage, and returns the epoch.
fn lead_to_stage(stream: &mut TcpStream, stage: u64) -> Option<u32> {
    let mut packets = PacketStream::new(4 << 20);
    let info = expect(stream, &mut packets, |packet| matches!(packet, Packet::FollowerInfo(_)))?;
    let Packet::FollowerInfo(info) = info else { return None };
    let epoch = (info.accepted_epoch + 1).min(Zxid::EPOCH_MAX);
    let config = Some(Bytes::from_static(b"server.1=h:1:2\nversion=0"));
    let steps = [
        Packet::LeaderInfo { epoch, protocol: LearnerInfo::PROTOCOL },
        Packet::Diff { zxid: Zxid::new(epoch, 0) },
        Packet::NewLeader { zxid: Zxid::new(epoch, 0), config },
        Packet::UpToDate,
    ];
    for packet in steps.iter().take(stage as usize) {
        stream.write_all(&written(packet)).ok()?;
        match packet {
            Packet::LeaderInfo { .. } => {
                expect(stream, &mut packets, |packet| matches!(packet, Packet::AckEpoch { .. }))?;
            }
            Packet::NewLeader { .. } | Packet::UpToDate => {
                expect(stream, &mut packets, |packet| matches!(packet, Packet::Ack { .. }))?;
            }
            _ => {}
        }
    }
    Some(epoch)
}

/// What a lying leader sends from there on.
fn lie(chance: &mut Chance, stage: u64, epoch: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let next = Zxid::new(epoch, 1);
    match chance.below(8) {
        // A tree: counts that nobody has bytes for, garbage, and an end too early.
        0 | 1 if stage == 1 => {
            written_into(&mut bytes, &Packet::Snap { zxid: Zxid(chance.number()) });
            let count = chance.one_of(&[0, 1, 2, 7, -1, i32::MAX, i32::MIN]);
            bytes.extend(count.to_be_bytes());
            bytes.extend(chance.bytes(20_000));
        }
        2 if stage == 1 => written_into(&mut bytes, &Packet::Trunc { zxid: Zxid(chance.number()) }),
        3 => written_into(&mut bytes, &Packet::Commit { zxid: Zxid(chance.number()) }),
        4 => {
            let zxid = if chance.below(2) == 0 { next } else { Zxid(chance.number()) };
            let record = Bytes::from(chance.bytes(100));
            written_into(&mut bytes, &Packet::Proposal { zxid, record: record.clone() });
            written_into(&mut bytes, &Packet::Commit { zxid });
            written_into(&mut bytes, &Packet::Inform { zxid, record });
        }
        5 => {
            for _ in 0..2000 {
                let session = SessionId(chance.number());
                written_into(&mut bytes, &Packet::Revalidated { session, valid: true });
                written_into(&mut bytes, &Packet::Sync);
            }
        }
        _ => (0..1 + chance.below(6)).for_each(|_| chance.packet(&mut bytes)),
    }
    bytes
}

fn written_into(out: &mut Vec<u8>, packet: &Packet) {
    packet.write(out);
}

/// A leader that lies at each stage to a server that follows it: the server takes no harm, and is a
/// member of an ensemble afterwards.
#[test]
fn a_leader_that_lies_is_left() {
    let places = Places::new();
    let mut servers = vec![places.start(1)];
    servers[0].wait_for_log("LOOKING");
    let mut chance = Chance::new(2);
    let mut reached = [0; 5];
    {
        let mut liars = Liars::new(&places);
        for round in 0..40 {
            let mut stream = liars.learner(&mut servers);
            let stage = round % 5;
            let mut led = lead_to_stage(&mut stream, stage);
            if led.is_none() {
                // A lie has made it ask for a tree, and it takes nothing else before it ends.
                drop(stream);
                servers[0].kill();
                servers[0] = places.start(1);
                stream = liars.learner(&mut servers);
                led = lead_to_stage(&mut stream, stage);
            }
            if let Some(epoch) = led {
                reached[stage as usize] += 1;
                let _ = stream.write_all(&lie(&mut chance, stage, epoch));
                listen_a_little(&mut stream);
            }
            drop(stream);
            all_live(&format!("round {round}"), &mut servers);
        }
        assert!(reached.iter().all(|times| *times >= 4), "{reached:?}:\n{}", servers[0].log());
        assert!(servers[0].resident_kib() < 500 << 10, "{} KiB", servers[0].resident_kib());
    }
    // What the liars said of epochs and histories stands on its disk, and stops nothing.
    assert_eq!(servers[0].terminate(), Some(0), "{}", servers[0].log());
    servers[0] = places.start(1);
    servers[0].wait_for_log("LOOKING");
    servers[0].kill();
    std::fs::remove_dir_all(places.home.path().join("1/data")).unwrap();
    servers[0] = places.start(1);
    servers.extend((2..=3).map(|id| places.start(id)));
    await_all_serve("after the liars", &mut servers);
    write_on_all("after", &servers);
}

/// A transaction of a leader, a MiB long.
fn long_record(zxid: Zxid) -> Bytes {
    let header = TxnHeader { session: SessionId(1), cxid: 1, zxid, time_ms: 1 };
    let data = Some(vec![7; 1 << 20].into());
    let txn = Txn::SetData(SetDataTxn { path: "/".into(), data, version: 1 });
    let mut record = Vec::new();
    write_log_record(&mut record, &header, &txn, None);
    record.into()
}

/// B32: a leader sends transactions without end and never lets its follower serve, then a tree that the
/// machine has no memory for. It is left each time, for a reason that names the key, and the server
/// lives on.
#[test]
fn b32_what_a_leader_makes_its_follower_hold_has_a_bound() {
    let places = Places::new();
    let bounds =
        ["ringkeeper.proposalBytesMax=20000000", "ringkeeper.memoryKeptFree=1000000000000000"];
    let mut servers = vec![places.start_with(1, &bounds)];
    servers[0].wait_for_log("LOOKING");
    let before = servers[0].resident_kib();
    let mut liars = Liars::new(&places);
    let mut stream = liars.learner(&mut servers);
    let epoch = lead_to_stage(&mut stream, 2).expect("it follows");
    let mut sent = 0;
    while sent < 100 {
        sent += 1;
        let zxid = Zxid::new(epoch, sent);
        let mut bytes = written(&Packet::Proposal { zxid, record: long_record(zxid) });
        // Committed or not: until it may serve nothing of this is applied.
        written_into(&mut bytes, &Packet::Commit { zxid });
        if stream.write_all(&bytes).is_err() {
            break;
        }
    }
    drop(stream);
    servers[0]
        .wait_for_log("more than 20000000 bytes of transactions (ringkeeper.proposalBytesMax");
    let grown = servers[0].resident_kib().saturating_sub(before);
    assert!(grown < 80 << 10, "{grown} KiB more after {sent} MiB:\n{}", servers[0].log());

    // The next one is asked for its tree.
    let mut stream = liars.learner(&mut servers);
    let mut packets = PacketStream::new(4 << 20);
    let is_it = |packet: &Packet| matches!(packet, Packet::FollowerInfo(_));
    let Some(Packet::FollowerInfo(_)) = expect(&mut stream, &mut packets, is_it) else {
        panic!("it does not follow:\n{}", servers[0].log())
    };
    let leads = Packet::LeaderInfo { epoch: epoch + 1, protocol: LearnerInfo::PROTOCOL };
    stream.write_all(&written(&leads)).unwrap();
    let is_it = |packet: &Packet| matches!(packet, Packet::AckEpoch { .. });
    let asked = expect(&mut stream, &mut packets, is_it);
    let Some(Packet::AckEpoch { zxid: Zxid::UNKNOWN, .. }) = asked else {
        panic!("{asked:?} does not ask for the tree:\n{}", servers[0].log())
    };
    stream.write_all(&written(&Packet::Snap { zxid: Zxid::new(epoch, sent) })).unwrap();
    servers[0].wait_for_log("are kept free (ringkeeper.memoryKeptFree)");
    all_live("after the bounds", &mut servers);
    drop(liars);
    assert_eq!(servers[0].terminate(), Some(0), "{}", servers[0].log());
}

/// More connections than anybody needs, from a member's own address, to both ports of the leader:
/// the quorum stays, clients are served, and descriptors come back.
#[test]
fn thousands_of_connections_are_borne() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
    let places = Places::new();
    let mut servers: Vec<Server> = (1..=3).map(|id| places.start(id)).collect();
    await_all_serve("the start", &mut servers);
    let leader = leader_port(&places, &servers).unwrap();
    let votes = SocketAddr::new(leader.ip(), leader.port() + 50);
    let nth = servers.iter().position(|server| mode(server).as_deref() == Some("leader")).unwrap();
    let before = servers[nth].open_files();
    let mut flood = Vec::new();
    for _ in 0..1500 {
        flood.extend(dial(leader));
        flood.extend(dial(votes));
    }
    assert!(flood.len() > 2000, "{}", flood.len());
    write_on_all("amid", &servers);
    let most = servers[nth].open_files();
    assert!(most < before + 500, "{most} descriptors are open, {before} before");
    let log = servers[nth].log();
    assert_eq!(log.matches("LOOKING: ").count(), 1, "it no longer leads:\n{log}");
    assert!(log.lines().count() < 500, "each of them is worth a line:\n{log}");
    drop(flood);
    await_all_serve("after the flood", &mut servers);
    write_on_all("after", &servers);
}

/// A learner with a member's id and nothing in its log acknowledges what was never proposed, asks in
/// the name of sessions that are not its own, and floods: the leader believes nothing of it.
#[test]
fn a_learner_that_lies_is_not_believed() {
    let places = Places::new();
    let mut servers: Vec<Server> = (1..=2).map(|id| places.start(id)).collect();
    await_all_serve("the start", &mut servers);
    write_on_all("before", &servers);
    let leader = leader_port(&places, &servers).unwrap();
    let served = |stream: &mut TcpStream| {
        let mut packets = PacketStream::new(4 << 20);
        stream.write_all(&info(3, 0, true)).unwrap();
        let is_it = |packet: &Packet| matches!(packet, Packet::LeaderInfo { .. });
        let Some(Packet::LeaderInfo { epoch, .. }) = expect(stream, &mut packets, is_it) else {
            panic!("no LEADERINFO")
        };
        let ack = Packet::AckEpoch { zxid: Zxid::ZERO, current_epoch: 0 };
        stream.write_all(&written(&ack)).unwrap();
        let is_it = |packet: &Packet| matches!(packet, Packet::NewLeader { .. });
        expect(stream, &mut packets, is_it).expect("the history comes by DIFF");
        stream.write_all(&written(&Packet::Ack { zxid: Zxid::new(epoch, 0) })).unwrap();
        epoch
    };
    let session = RawClient::connect(servers[0].address, 10_000).session;
    let floods: [&dyn Fn(u32) -> Vec<u8>; 4] = [
        &|epoch| written(&Packet::Ack { zxid: Zxid::new(epoch, 1 << 30) }),
        &|_| {
            let touched = (0..80_000).map(|nth| (SessionId(nth), i32::MIN)).collect();
            written(&Packet::Pong { zxid: Zxid::ZERO, touched })
        },
        &|_| {
            let mut bytes = Vec::new();
            for nth in 0..50_000 {
                let timeout_ms = [0, -1, i32::MIN, i32::MAX][nth as usize % 4];
                let session = SessionId(if nth % 2 == 0 { nth } else { session });
                written_into(&mut bytes, &Packet::Revalidate { session, timeout_ms });
            }
            bytes
        },
        &|_| {
            let mut bytes = Vec::new();
            for (nth, op) in
                [1, 2, 4, 5, 9, 14, 16, -10, -11, 107, 9999, i32::MIN].iter().enumerate()
            {
                let request = RequestPacket {
                    session: SessionId(0x7777 + nth as i64),
                    cxid: -1,
                    op: OpCode(*op),
                    record: Bytes::from_static(b"\0\0\0\x02/x\0\0\0\x01"),
                    auth: Some([].into()),
                };
                written_into(&mut bytes, &Packet::Request(request));
            }
            bytes
        },
    ];
    for (nth, flood) in floods.iter().enumerate() {
        let mut stream = dial(leader).unwrap();
        let epoch = served(&mut stream);
        let _ = stream.write_all(&flood(epoch));
        for _ in 0..20 {
            listen_a_little(&mut stream);
        }
        all_live(&format!("flood {nth}"), &mut servers);
        drop(stream);
    }
    write_on_all("after", &servers);
    let client = RawClient::connect(servers[0].address, 10_000);
    assert_ne!(client.session, 0);
    await_all_serve("after the lies", &mut servers);
}
