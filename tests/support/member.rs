//! A member of an ensemble of Apache's servers: the machines of `zab` over real sockets. Its disk is
//! memory, and of the transactions that it decides as leader it knows only what the test sends.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use ringkeeper::codes::{ErrorCode, OpCode};
use ringkeeper::jute::Reader;
use ringkeeper::jute::data::Acl;
use ringkeeper::packet::{Packet, PacketStream, PeerState, RequestPacket};
use ringkeeper::proto::CreateRequest;
use ringkeeper::txn::{CreateKind, CreateTxn, Txn, TxnHeader, write_log_record};
use ringkeeper::txnlog::Durable;
use ringkeeper::zab::{
    Caller, Election, ElectionEffect, ElectionSettings, History, LeadEffect, Leading, LearnEffect,
    LearnerConn, Learning, LinkEffect, Links, LogReach, Logged, Members, OwnHistory, QuorumSet,
    ServerId, VoteConn, ZabSettings,
};
use ringkeeper::zxid::Zxid;

/// What the test sees of the member.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub state: Option<PeerState>,
    pub is_serving: bool,
    /// The end of its log, and what is committed.
    pub last: Zxid,
    pub committed: Zxid,
    /// Why roles ended and learners' connections were closed, and what was synchronized how.
    pub told: Vec<String>,
}

/// The member, on a thread of its own.
pub(crate) struct Member {
    pub seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Member {
    /// Starts server `me` of `servers` voters, whose ports are `base` + 100 and 200 + id.
    pub(crate) fn start(me: i64, servers: i64, base: u16) -> Self {
        let (seen, stop) =
            (Arc::new(Mutex::new(Seen::default())), Arc::new(AtomicBool::new(false)));
        let (seen_there, stop_there) = (seen.clone(), stop.clone());
        let thread = thread::spawn(move || {
            let mut shell = Shell::new(ServerId(me), servers, base, seen_there);
            while !stop_there.load(Ordering::Relaxed) {
                if !shell.step() {
                    thread::sleep(Duration::from_millis(1));
                }
            }
        });
        Self { seen, stop, thread: Some(thread) }
    }

    /// Waits until `holds` does, for a minute at most.
    pub(crate) fn wait(&self, what: &str, holds: impl Fn(&Seen) -> bool) {
        let began = Instant::now();
        while !holds(&self.seen.lock().unwrap()) {
            let seen = self.seen.lock().unwrap();
            assert!(began.elapsed() < Duration::from_secs(60), "waited for {what}: {seen:?}");
            drop(seen);
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || !matches!(ended, Some(Err(_))), "the member has panicked");
    }
}

enum Role {
    Looking,
    Dialing { leader: ServerId, until: Instant },
    Leading(Box<Leading>),
    Learning(Box<Learning>, Socket),
}

/// A connection that is read and written without waiting.
struct Socket {
    stream: TcpStream,
    packets: PacketStream,
    out: Vec<u8>,
    is_closed: bool,
}

impl Socket {
    fn new(stream: TcpStream) -> Self {
        stream.set_nonblocking(true).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, packets: PacketStream::new(4 << 20), out: Vec::new(), is_closed: false }
    }

    /// Sends what waits, as far as the connection takes it.
    fn flush(&mut self) {
        while !self.out.is_empty() {
            match self.stream.write(&self.out) {
                Ok(sent) => drop(self.out.drain(..sent)),
                Err(err) if err.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.is_closed = true;
                    break;
                }
            }
        }
    }

    /// Sends what waits, and returns what has come.
    fn turn(&mut self) -> Vec<u8> {
        self.flush();
        let (mut all, mut some) = (Vec::new(), [0; 64 << 10]);
        loop {
            match self.stream.read(&mut some) {
                Ok(0) => self.is_closed = true,
                Ok(len) => {
                    all.extend(&some[..len]);
                    continue;
                }
                Err(err) if err.kind() == ErrorKind::WouldBlock => {}
                Err(_) => self.is_closed = true,
            }
            return all;
        }
    }
}

struct Shell {
    me: ServerId,
    base: u16,
    members: Members,
    began: Instant,
    election: Election,
    links: Links,
    role: Role,
    votes: TcpListener,
    learners: Option<TcpListener>,
    vote_conns: BTreeMap<VoteConn, Socket>,
    learner_conns: BTreeMap<LearnerConn, Socket>,
    last_conn: u64,
    accepted_epoch: u32,
    current_epoch: u32,
    /// The end of the history that came as a tree, and what followed.
    start: Zxid,
    log: Vec<Logged>,
    /// Nodes that this server has made as leader: for the cversion of the root.
    created: i32,
    is_loading: Option<Zxid>,
    tree: Vec<u8>,
    seen: Arc<Mutex<Seen>>,
}

impl Shell {
    fn new(me: ServerId, servers: i64, base: u16, seen: Arc<Mutex<Seen>>) -> Self {
        let lines = (1..=servers).map(|id| {
            let (quorum, election) = (base + 100 + id as u16, base + 200 + id as u16);
            format!("server.{id}=127.0.0.1:{quorum}:{election}:participant\n")
        });
        let text = lines.collect::<String>() + "version=0";
        let voters: BTreeSet<ServerId> = (1..=servers).map(ServerId).collect();
        let quorums = QuorumSet::Majority;
        let members =
            Members::new(voters, BTreeSet::new(), quorums, Zxid::ZERO, text.into()).unwrap();
        let port = base + 200 + me.0 as u16;
        let votes = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        votes.set_nonblocking(true).unwrap();
        let address = format!("127.0.0.1:{port}");
        let mut election = Election::new(me, members.clone(), ElectionSettings::default());
        election.look(Zxid::ZERO, 0, 0);
        Self {
            me,
            base,
            began: Instant::now(),
            election,
            links: Links::new(me, vec![address], members.clone(), 5_000),
            members,
            role: Role::Looking,
            votes,
            learners: None,
            vote_conns: BTreeMap::new(),
            learner_conns: BTreeMap::new(),
            last_conn: 0,
            accepted_epoch: 0,
            current_epoch: 0,
            start: Zxid::ZERO,
            log: Vec::new(),
            created: 0,
            is_loading: None,
            tree: Vec::new(),
            seen,
        }
    }

    fn now_ms(&self) -> i64 {
        self.began.elapsed().as_millis() as i64
    }

    fn last(&self) -> Zxid {
        self.log.last().map_or(self.start, |logged| logged.zxid)
    }

    fn tell(&self, what: String) {
        self.seen.lock().unwrap().told.push(what);
    }

    /// Everything that there is to do; whether there was anything.
    fn step(&mut self) -> bool {
        let mut busy = self.turn_votes();
        self.election.on_time(self.now_ms());
        self.links.on_time(self.now_ms());
        self.carry_out_election();
        self.carry_out_links();
        busy |= match self.role {
            Role::Looking => false,
            Role::Dialing { .. } => self.dial(),
            Role::Leading(_) => self.turn_leading(),
            Role::Learning(..) => self.turn_learning(),
        };
        let mut seen = self.seen.lock().unwrap();
        seen.state = Some(self.election.state());
        seen.last = self.last();
        seen.is_serving = match &self.role {
            Role::Leading(machine) => machine.is_serving(),
            Role::Learning(machine, _) => machine.is_serving(),
            Role::Looking | Role::Dialing { .. } => false,
        };
        busy
    }

    fn turn_votes(&mut self) -> bool {
        let mut busy = false;
        while let Ok((stream, _)) = self.votes.accept() {
            self.last_conn += 1;
            let conn = VoteConn(self.last_conn);
            self.vote_conns.insert(conn, Socket::new(stream));
            // All of them are on this machine.
            let caller = Caller { members: self.members.voters().collect() };
            self.links.on_accepted(conn, caller, self.now_ms());
            busy = true;
        }
        let conns: Vec<VoteConn> = self.vote_conns.keys().copied().collect();
        for conn in conns {
            let Some(socket) = self.vote_conns.get_mut(&conn) else { continue };
            let bytes = socket.turn();
            busy |= !bytes.is_empty();
            let is_closed = socket.is_closed;
            self.links.on_bytes(conn, &bytes);
            if is_closed {
                self.links.on_closed(conn, self.now_ms());
                self.vote_conns.remove(&conn);
            }
        }
        busy
    }

    fn carry_out_links(&mut self) {
        let now_ms = self.now_ms();
        while let Some(effect) = self.links.poll() {
            match effect {
                LinkEffect::Dial { to } => match self.connect(200, to) {
                    Some(stream) => {
                        self.last_conn += 1;
                        let conn = VoteConn(self.last_conn);
                        self.vote_conns.insert(conn, Socket::new(stream));
                        self.links.on_dialled(to, conn, now_ms);
                    }
                    None => self.links.on_dial_failed(to),
                },
                LinkEffect::Send { conn, bytes } => {
                    if let Some(socket) = self.vote_conns.get_mut(&conn) {
                        socket.out.extend(&bytes);
                        socket.flush();
                    }
                }
                LinkEffect::Close { conn, .. } => drop(self.vote_conns.remove(&conn)),
                LinkEffect::Received { from, notification } => {
                    self.election.on_notification(from, &notification, now_ms);
                }
                LinkEffect::Peer { id, peer } => self.election.on_peer(id, peer, now_ms),
            }
        }
    }

    fn connect(&self, offset: u16, to: ServerId) -> Option<TcpStream> {
        let port = self.base + offset + to.0 as u16;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        TcpStream::connect_timeout(&address, Duration::from_millis(500)).ok()
    }

    fn carry_out_election(&mut self) {
        while let Some(effect) = self.election.poll() {
            match effect {
                ElectionEffect::Send { to, notification } => self.links.send(to, &notification),
                ElectionEffect::Elected { state: PeerState::Leading, .. } => self.lead(),
                ElectionEffect::Voter { .. } => {}
                ElectionEffect::Elected { vote, .. } => {
                    let until = Instant::now() + Duration::from_secs(5);
                    self.role = Role::Dialing { leader: vote.leader, until };
                }
            }
        }
    }

    fn own(&self) -> OwnHistory {
        OwnHistory {
            accepted_epoch: self.accepted_epoch,
            current_epoch: self.current_epoch,
            last: Durable::recovered(self.last()),
        }
    }

    fn settings() -> ZabSettings {
        ZabSettings { tick_ms: 500, init_ticks: 20, sync_ticks: 10 }
    }

    fn rest(&mut self, why: String) {
        self.tell(why);
        self.role = Role::Looking;
        self.learners = None;
        self.learner_conns.clear();
        let (last, epoch) = (self.last(), i64::from(self.current_epoch));
        self.election.look(last, epoch, self.now_ms());
    }

    fn lead(&mut self) {
        let mut history = History::new(self.start, 500, 1 << 20);
        self.log.iter().for_each(|logged| history.push(logged.clone(), self.last()));
        let own = self.own();
        let (members, now_ms) = (self.members.clone(), self.now_ms());
        let machine = Leading::new(self.me, members, Self::settings(), own, history, now_ms);
        let port = self.base + 100 + self.me.0 as u16;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        self.learners = Some(listener);
        self.role = Role::Leading(Box::new(machine));
    }

    fn dial(&mut self) -> bool {
        let Role::Dialing { leader, until } = self.role else { return false };
        if let Some(stream) = self.connect(100, leader) {
            let (own, last, now_ms) = (self.own(), self.last(), self.now_ms());
            let settings = Self::settings();
            let machine = Learning::new(self.me, true, settings, own, last, Zxid::ZERO, now_ms);
            self.role = Role::Learning(Box::new(machine), Socket::new(stream));
        } else if Instant::now() > until {
            self.rest("the leader does not listen".to_owned());
        }
        true
    }

    fn turn_learning(&mut self) -> bool {
        let now_ms = self.now_ms();
        let Role::Learning(machine, socket) = &mut self.role else { return false };
        let bytes = socket.turn();
        socket.packets.push(&bytes);
        machine.on_time(now_ms);
        loop {
            self.load();
            let Role::Learning(machine, socket) = &mut self.role else { return true };
            if let Some(effect) = machine.poll() {
                self.carry_out_learning(effect);
                continue;
            }
            if !machine.wants_packets() {
                return !bytes.is_empty();
            }
            match socket.packets.next_packet().unwrap() {
                Some(packet) => {
                    if let Packet::Diff { .. } | Packet::Snap { .. } | Packet::Trunc { .. } = packet
                    {
                        let kind = format!("{packet:?}");
                        self.seen.lock().unwrap().told.push(kind);
                    }
                    machine.on_packet(packet, now_ms);
                }
                None if socket.is_closed => {
                    socket.is_closed = false;
                    machine.on_closed();
                }
                None => return !bytes.is_empty(),
            }
        }
    }

    /// Takes the tree out of the stream once it is whole: it ends with the path `/` and a signature.
    fn load(&mut self) {
        let now_ms = self.began.elapsed().as_millis() as i64;
        let (Some(zxid), Role::Learning(machine, socket)) = (self.is_loading, &mut self.role)
        else {
            return;
        };
        self.tree.extend(&socket.packets.take_rest());
        let ends = self.tree.windows(TREE_END.len()).position(|bytes| bytes == TREE_END);
        let Some(end) = ends.map(|at| at + TREE_END.len()) else { return };
        socket.packets.put_back(&self.tree.split_off(end));
        self.is_loading = None;
        (self.start, self.log) = (zxid, Vec::new());
        machine.on_tree(Some(zxid), now_ms);
    }

    fn carry_out_learning(&mut self, effect: LearnEffect) {
        let now_ms = self.now_ms();
        let Role::Learning(machine, socket) = &mut self.role else { return };
        match effect {
            LearnEffect::Send { bytes } => {
                socket.out.extend(&bytes);
                socket.flush();
            }
            LearnEffect::StoreAcceptedEpoch { epoch } => {
                self.accepted_epoch = epoch;
                machine.on_accepted_epoch(epoch, now_ms);
            }
            LearnEffect::StoreCurrentEpoch { epoch } => {
                self.current_epoch = epoch;
                machine.on_current_epoch(epoch, now_ms);
            }
            LearnEffect::Truncate { to } => {
                self.log.retain(|logged| logged.zxid <= to);
                let is_done = self.log.last().map_or(self.start, |logged| logged.zxid) == to;
                machine.on_truncated(to, is_done, now_ms);
            }
            LearnEffect::LoadTree { zxid } => {
                self.tree.clear();
                self.is_loading = Some(zxid);
            }
            LearnEffect::Append { logged } => {
                let zxid = logged.zxid;
                self.log.push(logged);
                machine.on_durable(Durable::recovered(zxid), now_ms);
            }
            LearnEffect::Apply { upto } => self.seen.lock().unwrap().committed = upto,
            LearnEffect::Serve { epoch } => self.election.serves(epoch),
            LearnEffect::Ping { zxid } => machine.pong(zxid, Vec::new()),
            LearnEffect::Synced { .. } | LearnEffect::Revalidated { .. } => {}
            LearnEffect::Leave { why } => self.rest(why.to_string()),
        }
    }

    fn turn_leading(&mut self) -> bool {
        let now_ms = self.now_ms();
        let Role::Leading(machine) = &mut self.role else { return false };
        let mut busy = false;
        while let Some(Ok((stream, _))) = self.learners.as_ref().map(TcpListener::accept) {
            self.last_conn += 1;
            let conn = LearnerConn(self.last_conn);
            self.learner_conns.insert(conn, Socket::new(stream));
            machine.on_connection(conn, now_ms);
        }
        machine.on_time(now_ms);
        let conns: Vec<LearnerConn> = self.learner_conns.keys().copied().collect();
        for conn in conns {
            let Some(socket) = self.learner_conns.get_mut(&conn) else { continue };
            let bytes = socket.turn();
            busy |= !bytes.is_empty();
            socket.packets.push(&bytes);
            while let Some(packet) = socket.packets.next_packet().unwrap() {
                machine.on_packet(conn, packet, now_ms);
            }
            if socket.is_closed {
                machine.on_closed(conn);
                self.learner_conns.remove(&conn);
            }
        }
        loop {
            let Role::Leading(machine) = &mut self.role else { return true };
            let Some(effect) = machine.poll() else { return busy };
            self.carry_out_leading(effect);
        }
    }

    fn carry_out_leading(&mut self, effect: LeadEffect) {
        let now_ms = self.now_ms();
        let Role::Leading(machine) = &mut self.role else { return };
        match effect {
            LeadEffect::Send { to, bytes } => {
                if let Some(socket) = self.learner_conns.get_mut(&to) {
                    socket.out.extend(&bytes);
                    socket.flush();
                }
            }
            LeadEffect::AskLog { of, .. } => {
                let reach = LogReach { floor: None, next: None, is_too_long: false };
                machine.on_log_reach(of, reach);
            }
            LeadEffect::SendLog { .. } | LeadEffect::SendTree { .. } => {
                panic!("this member has no tree to send");
            }
            LeadEffect::Close { conn, why } => {
                self.learner_conns.remove(&conn);
                self.tell(format!("{why:?}"));
            }
            LeadEffect::StoreAcceptedEpoch { epoch } => {
                self.accepted_epoch = epoch;
                machine.on_accepted_epoch(epoch, now_ms);
            }
            LeadEffect::StoreCurrentEpoch { epoch } => {
                self.current_epoch = epoch;
                machine.on_current_epoch(epoch, now_ms);
            }
            LeadEffect::Begin { epoch } => self.election.serves(epoch),
            LeadEffect::Committed { upto } => {
                machine.on_applied(upto);
                self.seen.lock().unwrap().committed = upto;
            }
            LeadEffect::Confirmed { .. } | LeadEffect::Touched { .. } => {}
            LeadEffect::Revalidate { from, session, .. } => {
                machine.send(from, &Packet::Revalidated { session, valid: true });
            }
            LeadEffect::Request { from, request } => self.decide(from, request),
            LeadEffect::StepDown { why } => self.rest(why.to_string()),
        }
    }

    /// What a client at a learner asks for: sessions, and nodes below the root.
    fn decide(&mut self, from: LearnerConn, request: RequestPacket) {
        let Role::Leading(machine) = &mut self.role else { return };
        let last = self.log.last().map_or(self.start, |logged| logged.zxid);
        let mut reader = Reader::new(&request.record);
        let txn = match request.op {
            OpCode::SYNC => return machine.send(from, &Packet::Sync),
            OpCode::CREATE_SESSION => Txn::CreateSession { timeout_ms: reader.i32().unwrap() },
            OpCode::CLOSE_SESSION => Txn::CloseSession { paths: Some(Vec::new()) },
            OpCode::CREATE | OpCode::CREATE2 => {
                let create = CreateRequest::read(&mut reader, request.op).unwrap();
                self.created += 1;
                Txn::Create(CreateTxn {
                    path: create.path.unwrap().into_owned(),
                    data: create.data.map(Bytes::copy_from_slice),
                    acl: [Acl::open()].into(),
                    kind: CreateKind::Persistent,
                    with_stat: request.op == OpCode::CREATE2,
                    parent_cversion: 100 + self.created,
                })
            }
            _ => Txn::Error(ErrorCode::UNIMPLEMENTED),
        };
        let zxid = machine.zxid_after(last).unwrap();
        let time_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
        let header = TxnHeader { session: request.session, cxid: request.cxid, zxid, time_ms };
        let mut record = Vec::new();
        write_log_record(&mut record, &header, &txn, None);
        let record = Bytes::from(record);
        let logged = Logged { zxid, record };
        self.log.push(logged.clone());
        let now_ms = self.began.elapsed().as_millis() as i64;
        machine.propose(zxid, [logged], now_ms);
        machine.on_durable(Durable::recovered(zxid));
    }
}

/// The end of a tree on the wire: the path `/` where another node could follow, and the signature
/// after it.
const TREE_END: &[u8] = b"\0\0\0\x01/\0\0\0\x0aBenWasHere";
