//! Three servers of an ensemble over pipes in memory: machines and trees, without election.

use std::collections::BTreeMap;

use super::*;
use crate::packet::PacketStream;
use crate::quorum::leader::logged;
use crate::txn::{CreateKind, CreateTxn, write_log_record};
use crate::zab::{LearnerConn, LogReach, Logged, QuorumSet};

/// A machine, its tree, and a disk on which everything is durable at once.
struct Server {
    quorum: Quorum,
    tree: Tree,
    log: Vec<Logged>,
    accepted: u32,
    current: u32,
    told: Vec<ToShard>,
    /// Whether its shard serves clients, and the generation that it has still to join.
    serves: bool,
    joins: Option<u64>,
    /// The tree shows at least this when clients are served.
    must_show: Zxid,
    /// The shard takes no notice of what it is told.
    is_deaf: bool,
    /// Why roles ended.
    ended: Vec<String>,
    /// It votes; else it observes.
    votes: bool,
    /// No flush ends.
    is_slow: bool,
    flushes: Vec<PendingFlush>,
}

/// A learner's connection to its leader.
struct Link {
    learner: usize,
    leader: usize,
    up: PacketStream,
    down: PacketStream,
    /// Nothing arrives.
    is_cut: bool,
}

struct Ensemble {
    servers: Vec<Server>,
    links: BTreeMap<u64, Link>,
    last_conn: u64,
    now: Now,
    xid: i32,
}

/// A batch in which nobody is answered.
fn is_nobodys(message: &ToShard) -> bool {
    let is_event =
        |item: &BatchItem| matches!(item, BatchItem::Event(_) | BatchItem::SessionClosed { .. });
    matches!(message, ToShard::Commit(commit) if commit.items.iter().all(is_event))
}

const SETTINGS: ZabSettings = ZabSettings { tick_ms: 2_000, init_ticks: 10, sync_ticks: 5 };

impl Server {
    fn new(now: Now) -> Self {
        let tree = Tree::new();
        let quorum = Quorum::member(QuorumConfig::default(), &tree, 7, now);
        Self {
            quorum,
            tree,
            log: Vec::new(),
            accepted: 0,
            current: 0,
            told: Vec::new(),
            serves: true,
            joins: None,
            must_show: Zxid::ZERO,
            is_deaf: false,
            ended: Vec::new(),
            votes: true,
            is_slow: false,
            flushes: Vec::new(),
        }
    }

    /// Applies what is committed, and forgets what is applied.
    fn commit(&mut self, now: Now) -> bool {
        let has_work = self.quorum.has_work();
        if has_work {
            self.quorum.work(&self.tree, now, &mut Budget::new(u64::MAX));
        }
        if !self.quorum.has_committable() {
            return has_work;
        }
        let mut told = Vec::new();
        let mut hand_over = |_, message| told.push(message);
        let budget = &mut Budget::new(u64::MAX);
        self.quorum.commit(&mut self.tree, budget, &[true], &mut hand_over);
        told.into_iter().for_each(|message| self.hear(message));
        true
    }

    /// The shard's part: see `frontend::service`.
    fn hear(&mut self, message: ToShard) {
        match message {
            ToShard::Serving { generation } => {
                assert!(!self.serves, "one role at a time");
                let shown = self.tree.last_zxid();
                let must_show = self.must_show.max(self.quorum.writes.epoch_start);
                assert!(shown >= must_show, "{shown} is shown, not {must_show}");
                (self.serves, self.joins) = (true, Some(generation));
            }
            ToShard::NotServing => (self.serves, self.joins) = (false, None),
            message => {
                assert!(self.serves || is_nobodys(&message), "{message:?} is of an ended role");
                self.told.push(message);
            }
        }
    }

    /// The shard joins the role that has begun.
    fn join(&mut self, now: Now) -> bool {
        if self.is_deaf {
            return false;
        }
        let Some(generation) = self.joins.take() else { return false };
        let joined = ToQuorum::Joined { shard: ShardId(0), generation };
        self.quorum.on_message(joined, &self.tree, now);
        true
    }

    fn flush(&mut self) -> bool {
        if self.is_slow {
            return false;
        }
        let flush = self.flushes.pop();
        let has_one = flush.is_some();
        flush.into_iter().for_each(|flush| self.quorum.on_flushed(flush.end_in_test()));
        has_one
    }

    /// The log is read anew, as after a cut.
    fn replay(&mut self, upto: Zxid) {
        self.log.retain(|logged| logged.zxid <= upto);
        self.tree = Tree::new();
        for logged in &self.log {
            let LogRecord { header, txn, .. } = read_log_record(&logged.record).unwrap();
            self.tree.apply(&header, &txn, None);
        }
    }
}

impl Ensemble {
    fn new() -> Self {
        let now = Now { mono_ms: 1_000_000, wall_ms: 1_700_000_000_000 };
        let servers = (0..3).map(|_| Server::new(now)).collect();
        Self { servers, links: BTreeMap::new(), last_conn: 0, now, xid: 0 }
    }

    /// Server 0 leads, the others follow.
    fn formed() -> Self {
        let mut ensemble = Self::new();
        ensemble.elect(0, &[1, 2]);
        ensemble
    }

    /// Server `at`, as it takes a role.
    fn as_member(&self, at: usize) -> EnsembleServer {
        let (voters, observers): (Vec<_>, Vec<_>) =
            (0..self.servers.len()).partition(|at| self.servers[*at].votes);
        let ids = |of: Vec<usize>| of.into_iter().map(|at| ServerId(at as i64 + 1)).collect();
        let majority = QuorumSet::Majority;
        let members = Members::new(ids(voters), ids(observers), majority, Zxid::ZERO, Bytes::new());
        EnsembleServer {
            me: ServerId(at as i64 + 1),
            members: members.unwrap(),
            zab: SETTINGS,
            accepted_epoch: self.servers[at].accepted,
            current_epoch: self.servers[at].current,
        }
    }

    fn elect(&mut self, leader: usize, learners: &[usize]) {
        let now = self.now;
        let member = self.as_member(leader);
        let server = &mut self.servers[leader];
        server.quorum.adopt();
        while server.commit(now) {}
        let last = server.quorum.writes.last_zxid;
        let mut history = History::new(Zxid::ZERO, 500, 1 << 20);
        server.log.iter().for_each(|logged| history.push(logged.clone(), last));
        server.quorum.lead(&member, history, &server.tree, now);
        learners.iter().for_each(|learner| self.follow(*learner, leader));
        self.settle();
    }

    fn follow(&mut self, learner: usize, leader: usize) {
        self.last_conn += 1;
        let (up, down) = (PacketStream::new(1 << 20), PacketStream::new(1 << 20));
        let link = Link { learner, leader, up, down, is_cut: false };
        self.links.insert(self.last_conn, link);
        let now = self.now;
        let member = self.as_member(learner);
        let server = &mut self.servers[learner];
        server.quorum.learn(&member, false, &server.tree, now);
        self.peer(leader, PeerEvent::Connected(LearnerConn(self.last_conn)));
    }

    fn peer(&mut self, at: usize, event: PeerEvent) {
        let server = &mut self.servers[at];
        server.quorum.on_peer(event, &server.tree, self.now);
    }

    fn link_of(&mut self, learner: usize) -> Option<(u64, &mut Link)> {
        let found = self.links.iter_mut().find(|(_, link)| link.learner == learner);
        found.map(|(conn, link)| (*conn, link))
    }

    /// Runs until nothing happens any more.
    fn settle(&mut self) {
        while self.step() {}
        for server in &self.servers {
            assert_eq!(server.quorum.report().digest_mismatches, 0);
        }
    }

    /// Every server does what it has to do, and at most one packet arrives over each link.
    fn step(&mut self) -> bool {
        let (mut goes_on, now) = (false, self.now);
        for at in 0..self.servers.len() {
            while let Some(effect) = self.servers[at].quorum.poll() {
                self.carry_out(at, effect);
                goes_on = true;
            }
            let server = &mut self.servers[at];
            goes_on |= server.flush();
            goes_on |= server.commit(now);
            goes_on |= server.join(now);
        }
        goes_on |= self.deliver();
        goes_on
    }

    fn deliver(&mut self) -> bool {
        let mut has_some = false;
        let conns: Vec<u64> = self.links.keys().copied().collect();
        for conn in conns {
            let Some(link) = self.links.get_mut(&conn).filter(|link| !link.is_cut) else {
                continue;
            };
            let (leader, learner) = (link.leader, link.learner);
            let up = link.up.next_packet().unwrap();
            let wants = self.servers[learner].quorum.wants_packets();
            let down = if wants { link.down.next_packet().unwrap() } else { None };
            has_some |= up.is_some() || down.is_some();
            if let Some(packet) = up {
                self.peer(leader, PeerEvent::Learner(LearnerConn(conn), packet));
            }
            if let Some(packet) = down {
                self.peer(learner, PeerEvent::Leader(packet));
            }
        }
        has_some
    }

    fn carry_out(&mut self, at: usize, effect: Effect) {
        let server = &mut self.servers[at];
        match effect {
            Effect::Append { bytes, .. } => server.log.extend(logged(&bytes)),
            Effect::Flush(flush) => server.flushes.push(flush),
            Effect::RollLog | Effect::TakeSnapshot => {}
            Effect::ToShard(_, message) => server.hear(message),
            Effect::Lead(effect) => self.carry_out_leading(at, effect),
            Effect::Learn(effect) => self.carry_out_learning(at, effect),
        }
    }

    fn carry_out_leading(&mut self, at: usize, effect: LeadEffect) {
        let server = &mut self.servers[at];
        match effect {
            LeadEffect::Send { to, bytes } => {
                if let Some(link) = self.links.get_mut(&to.0) {
                    link.down.push(&bytes);
                }
            }
            LeadEffect::AskLog { of, .. } => {
                let reach = LogReach { floor: None, next: None, is_too_long: false };
                self.peer(at, PeerEvent::LogReach(of, reach));
            }
            LeadEffect::Close { conn, .. } => self.close(conn.0),
            LeadEffect::StoreAcceptedEpoch { epoch } => {
                server.accepted = epoch;
                self.peer(at, PeerEvent::AcceptedEpoch(epoch));
            }
            LeadEffect::StoreCurrentEpoch { epoch } => {
                server.current = epoch;
                self.peer(at, PeerEvent::CurrentEpoch(epoch));
            }
            LeadEffect::StepDown { why } => server.ended.push(why.to_string()),
            LeadEffect::Begin { .. } => {}
            other => panic!("{other:?} is not for the shell"),
        }
    }

    fn carry_out_learning(&mut self, at: usize, effect: LearnEffect) {
        let server = &mut self.servers[at];
        match effect {
            LearnEffect::Send { bytes } => {
                if let Some((_, link)) = self.link_of(at) {
                    link.up.push(&bytes);
                }
            }
            LearnEffect::StoreAcceptedEpoch { epoch } => {
                server.accepted = epoch;
                self.peer(at, PeerEvent::AcceptedEpoch(epoch));
            }
            LearnEffect::StoreCurrentEpoch { epoch } => {
                server.current = epoch;
                self.peer(at, PeerEvent::CurrentEpoch(epoch));
            }
            LearnEffect::Truncate { to } => {
                server.replay(to);
                self.peer(at, PeerEvent::Truncated(to, true));
            }
            LearnEffect::Leave { why } => server.ended.push(why.to_string()),
            LearnEffect::Serve { .. } => {}
            other => panic!("{other:?} is not for the shell"),
        }
    }

    /// A connection ends at both ends.
    fn close(&mut self, conn: u64) {
        let Some(link) = self.links.remove(&conn) else { return };
        self.peer(link.leader, PeerEvent::LearnerGone(LearnerConn(conn)));
        self.peer(link.learner, PeerEvent::LeaderGone);
    }

    fn close_all(&mut self) {
        let conns: Vec<u64> = self.links.keys().copied().collect();
        conns.into_iter().for_each(|conn| self.close(conn));
        self.settle();
    }

    fn origin(&mut self) -> Origin {
        self.xid += 1;
        Origin { shard: ShardId(0), conn: ConnId { slot: 1, generation: 1 }, xid: self.xid }
    }

    fn send(&mut self, at: usize, message: ToQuorum) {
        let server = &mut self.servers[at];
        server.quorum.on_message(message, &server.tree, self.now);
    }

    fn submit(&mut self, at: usize, session: i64, op: OpCode, record: Vec<u8>) -> i32 {
        let origin = self.origin();
        let auth = Arc::from([Id::new("ip", "127.0.0.1")]);
        let (session, record) = (SessionId(session), Bytes::from(record));
        self.send(at, ToQuorum::Request(Request { origin, session, op, record, auth }));
        origin.xid
    }

    fn open(&mut self, at: usize, session: i64) {
        let (origin, session) = (self.origin(), SessionId(session));
        self.send(at, ToQuorum::CreateSession { origin, session, timeout_ms: 10_000 });
        self.settle();
        let told = std::mem::take(&mut self.servers[at].told);
        let is_opened = |item: &BatchItem| matches!(item, BatchItem::SessionOpened { .. });
        let has_opened =
            |all: &ToShard| matches!(all, ToShard::Commit(all) if all.items.iter().any(is_opened));
        assert!(told.iter().any(has_opened), "{told:?}");
    }

    /// A client comes back to another server: whether its session lives.
    fn renew(&mut self, at: usize, session: i64) -> bool {
        let (origin, session) = (self.origin(), SessionId(session));
        self.send(at, ToQuorum::Renew { origin, session, timeout_ms: 10_000 });
        self.settle();
        let told = std::mem::take(&mut self.servers[at].told);
        let answer = told.iter().find_map(|message| match message {
            ToShard::Renewed { valid, .. } => Some(*valid),
            _ => None,
        });
        answer.expect("an answer")
    }

    /// The replies at a server since the last look: xid, code, and whether the connection ends.
    fn replies(&mut self, at: usize) -> Vec<(i32, i32, bool)> {
        self.settle();
        let mut all = Vec::new();
        for message in self.servers[at].told.drain(..) {
            let ToShard::Commit(commit) = message else { continue };
            for item in commit.items {
                if let BatchItem::Reply(reply) = item {
                    all.push((reply.xid, reply.err.0, reply.close));
                }
            }
        }
        all
    }

    fn ask(&mut self, at: usize, session: i64, op: OpCode, record: Vec<u8>) -> (i32, bool) {
        let xid = self.submit(at, session, op, record);
        match self.replies(at)[..] {
            [(of, err, close)] if of == xid => (err, close),
            ref other => panic!("one reply to {xid}, not {other:?}"),
        }
    }

    fn advance(&mut self, ms: i64) {
        self.now.mono_ms += ms;
        self.now.wall_ms += ms;
        for at in 0..self.servers.len() {
            self.servers[at].quorum.on_tick(self.now);
            self.peer(at, PeerEvent::Time);
        }
        self.settle();
    }

    /// All logs are the same, and all trees show it.
    fn check_equal(&mut self) {
        self.settle();
        let first = &self.servers[0];
        for server in &self.servers[1..] {
            assert!(server.log == first.log, "the logs differ");
            assert_eq!(server.tree.digest(), first.tree.digest());
            assert_eq!(server.tree.last_zxid(), first.tree.last_zxid());
        }
    }

    fn last_txn(&self, at: usize) -> LogRecord {
        read_log_record(&self.servers[at].log.last().unwrap().record).unwrap()
    }
}

/// Clients that saw an Apache's epoch begin must not be refused: it is shown from the start.
#[test]
fn the_start_of_the_epoch_is_shown() {
    let ensemble = Ensemble::formed();
    for server in &ensemble.servers {
        assert!(server.quorum.is_serving());
        assert_eq!(server.tree.last_zxid(), Zxid::new(1, 0));
    }
}

/// What the words tell of roles: how often, how much, and how long it took.
#[test]
fn roles_are_counted_and_timed() {
    let mut ensemble = Ensemble::formed();
    ensemble.open(1, 0x100);
    ensemble.ask(1, 0x100, OpCode::CREATE, create(Some("/a"), b"", 0));
    let roles_of = |ensemble: &Ensemble, at: usize| ensemble.servers[at].quorum.report().roles;
    let (leader, follower) = (roles_of(&ensemble, 0), roles_of(&ensemble, 1));
    assert_eq!((leader.proposals, leader.commits, leader.learner_commits), (2, 2, 0));
    assert_eq!((leader.diffs, leader.snaps, leader.looking), (2, 0, 1));
    let of_learner = (follower.learner_proposals, follower.learner_commits, follower.commits);
    assert_eq!(of_learner, (2, 2, 0));
    let series = [follower.elections, follower.follower_syncs, follower.unavailable];
    assert!(series.iter().all(|series| series.count == 1));
    assert_eq!((follower.observer_syncs.count, follower.leader_unavailable.count), (0, 0));
    assert_eq!((leader.leader_unavailable.count, leader.follower_syncs.count), (1, 0));
    // The role ends: what it has counted stays, and the next one adds to it.
    ensemble.close_all();
    let leader = roles_of(&ensemble, 0);
    assert_eq!((leader.looking, leader.proposals, leader.diffs), (2, 2, 2));
    ensemble.elect(0, &[1, 2]);
    assert_eq!(roles_of(&ensemble, 0).diffs, 4);
    ensemble.servers[0].quorum.reset_counts();
    assert_eq!((roles_of(&ensemble, 0).looking, roles_of(&ensemble, 0).diffs), (0, 0));
}

#[test]
fn writes_are_taken_anywhere_and_logged_once() {
    let mut ensemble = Ensemble::formed();
    for (at, path) in ["/a", "/b", "/c"].into_iter().enumerate() {
        let session = 0x100 + at as i64;
        ensemble.open(at, session);
        let wanted = create(Some(path), b"", 0);
        assert_eq!(ensemble.ask(at, session, OpCode::CREATE, wanted.clone()), (0, false));
        assert_eq!(ensemble.ask(at, session, OpCode::CREATE, wanted), (-110, false));
        let LogRecord { header, txn, .. } = ensemble.last_txn(at);
        assert_eq!((header.session, header.cxid), (SessionId(session), ensemble.xid));
        assert_eq!(txn, Txn::Error(ErrorCode::NODE_EXISTS));
    }
    assert_eq!(ensemble.servers[0].log.len(), 9, "one transaction for each request");
    ensemble.check_equal();
}

/// Replies come in the order of the requests, whoever decides them.
#[test]
fn a_session_that_pipelines_at_a_follower_is_answered_in_order() {
    let mut ensemble = Ensemble::formed();
    ensemble.open(1, 0x100);
    let first = ensemble.submit(1, 0x100, OpCode::CREATE, create(Some("/a"), b"", 0));
    ensemble.submit(1, 0x100, OpCode::CREATE, vec![1, 2, 3]);
    ensemble.submit(1, 0x100, OpCode::SYNC, record(|writer| text(writer, Some("/"))));
    let ops = [(1, create(Some("/a/b"), b"", 0)), (2, delete(Some("/none"), -1))];
    ensemble.submit(1, 0x100, OpCode::MULTI, multi(&ops));
    ensemble.submit(1, 0x100, OpCode::MULTI, vec![0, 0, 0, 1]);
    ensemble.submit(1, 0x100, OpCode::SET_DATA, set_data(Some("/a"), Some(b"x"), 7));
    ensemble.submit(1, 0x100, OpCode::CLOSE_SESSION, Vec::new());
    let wanted = [0, -5, 0, 0, -5, -103, 0];
    let wanted: Vec<(i32, i32, bool)> =
        (first..).zip(wanted).map(|(xid, err)| (xid, err, xid == first + 6)).collect();
    assert_eq!(ensemble.replies(1), wanted);
    assert_eq!(ensemble.servers[0].log.len(), 5, "what cannot be read is not forwarded");
    ensemble.check_equal();
}

/// A body that cannot be read gets a zxid of its own from this leader, whoever forwards it.
#[test]
fn what_cannot_be_read_gets_a_fresh_zxid_from_the_leader() {
    let mut ensemble = Ensemble::formed();
    ensemble.open(1, 0x100);
    let (conn, _) = ensemble.link_of(1).unwrap();
    let ops = [OpCode::CREATE, OpCode::DELETE, OpCode::SET_DATA, OpCode::SET_ACL, OpCode::MULTI];
    for (cxid, op) in (50..).zip(ops) {
        let request = crate::packet::RequestPacket {
            session: SessionId(0x100),
            cxid,
            op,
            record: Bytes::from_static(&[1]),
            auth: Some(Vec::new()),
        };
        let packet = crate::packet::Packet::Request(request);
        let before = ensemble.last_txn(0).header.zxid;
        ensemble.peer(0, PeerEvent::Learner(LearnerConn(conn), packet));
        ensemble.settle();
        let LogRecord { header, txn, .. } = ensemble.last_txn(2);
        assert_eq!((header.zxid, header.cxid), (before.next(), cxid));
        assert_eq!(txn, Txn::Error(ErrorCode::MARSHALLING_ERROR));
    }
    ensemble.check_equal();
}

/// The old connection of a session that moved fails at its next write, which is logged.
#[test]
fn a_moved_session_is_refused_where_it_was() {
    let mut ensemble = Ensemble::formed();
    ensemble.open(1, 0x100);
    let moved = ErrorCode::SESSION_MOVED;
    for (from, to) in [(1, 2), (2, 0), (0, 1)] {
        assert!(ensemble.renew(to, 0x100));
        let path = format!("/{from}");
        let wanted = create(Some(&path), b"", 0);
        assert_eq!(ensemble.ask(from, 0x100, OpCode::CREATE, wanted.clone()), (moved.0, true));
        assert_eq!(ensemble.last_txn(2).txn, Txn::Error(moved));
        assert_eq!(ensemble.ask(to, 0x100, OpCode::CREATE, wanted), (0, false));
    }
    assert_eq!(ensemble.ask(1, 0x100, OpCode::CLOSE_SESSION, Vec::new()), (0, true));
    assert!(!ensemble.renew(2, 0x100) && !ensemble.renew(0, 0x100), "it is closed");
    ensemble.check_equal();
}

/// A follower's clients live as long as it hears of them.
#[test]
fn sessions_of_followers_expire_at_the_leader() {
    let mut ensemble = Ensemble::formed();
    ensemble.open(1, 0x100);
    ensemble.open(2, 0x101);
    let wanted = create(Some("/e"), b"", 1);
    assert_eq!(ensemble.ask(2, 0x101, OpCode::CREATE, wanted), (0, false));
    for _ in 0..40 {
        ensemble.advance(500);
        ensemble.servers[1].quorum.on_touches(&[(SessionId(0x100), ensemble.now.mono_ms)]);
    }
    for server in &ensemble.servers {
        assert_eq!(server.tree.session_timeout(SessionId(0x100)), Some(10_000));
        assert_eq!(server.tree.session_timeout(SessionId(0x101)), None);
        assert!(server.tree.get("/e").is_none(), "its ephemeral is gone");
        assert!(server.ended.is_empty(), "{:?}", server.ended);
    }
    ensemble.check_equal();
}

/// No sync is answered by a leader that no quorum follows (S60).
#[test]
fn a_leader_ends_sessions_that_are_in_no_table() {
    let (mut ensemble, session) = (Ensemble::new(), SessionId(0x77));
    let header = TxnHeader { session, cxid: 1, zxid: Zxid::new(1, 1), time_ms: 5 };
    let create = Txn::Create(CreateTxn {
        path: "/orphan".into(),
        data: None,
        acl: [Acl::open()].into(),
        kind: CreateKind::Ephemeral,
        with_stat: false,
        parent_cversion: 1,
    });
    let mut payload = Vec::new();
    write_log_record(&mut payload, &header, &create, None);
    let (now, record) = (ensemble.now, Bytes::from(payload));
    for server in &mut ensemble.servers {
        server.log.push(Logged { zxid: header.zxid, record: record.clone() });
        server.replay(header.zxid);
        (server.accepted, server.current) = (1, 1);
        server.quorum = Quorum::member(QuorumConfig::default(), &server.tree, 7, now);
        assert!(server.tree.get("/orphan").is_some());
    }
    ensemble.elect(0, &[1, 2]);
    ensemble.check_equal();
    let server = &ensemble.servers[2];
    let last = read_log_record(&server.log.last().unwrap().record).unwrap();
    assert_eq!((last.header.session, last.header.zxid), (session, Zxid::new(2, 1)));
    assert!(matches!(last.txn, Txn::CloseSession { .. }) && server.tree.get("/orphan").is_none());
}

#[test]
fn a_sync_waits_for_a_quorum() {
    let path = record(|writer| text(writer, Some("/")));
    for at in [0, 1] {
        let mut ensemble = Ensemble::formed();
        ensemble.open(at, 0x100);
        assert_eq!(ensemble.ask(at, 0x100, OpCode::SYNC, path.clone()), (0, false));
        let others: &[usize] = if at == 0 { &[1, 2] } else { &[2] };
        others.iter().for_each(|other| ensemble.link_of(*other).unwrap().1.is_cut = true);
        let xid = ensemble.submit(at, 0x100, OpCode::SYNC, path.clone());
        // A follower that asks is one of the quorum itself.
        let wanted = if at == 0 { vec![] } else { vec![(xid, 0, false)] };
        assert_eq!(ensemble.replies(at), wanted);
        ensemble.links.values_mut().for_each(|link| link.is_cut = false);
        let wanted = if at == 0 { vec![(xid, 0, false)] } else { vec![] };
        assert_eq!(ensemble.replies(at), wanted);
    }
}

#[test]
fn no_answer_names_a_zxid_before_the_epoch() {
    let mut ensemble = Ensemble::formed();
    ensemble.open(1, 0x100);
    ensemble.close_all();
    ensemble.elect(0, &[1, 2]);
    ensemble.submit(1, 0x100, OpCode::SYNC, record(|writer| text(writer, Some("/"))));
    ensemble.settle();
    let told = std::mem::take(&mut ensemble.servers[1].told);
    let Some(ToShard::Commit(commit)) = told.last() else { panic!("{told:?}") };
    let [BatchItem::Reply(reply)] = &commit.items[..] else { panic!("{commit:?}") };
    assert_eq!(reply.zxid, Zxid::new(2, 0));
}

/// The leader is lost with requests under way: their connections end, what a quorum had stays, and
/// the next leader's history is everybody's.
#[test]
fn a_lost_leader_ends_the_requests_under_way() {
    let mut ensemble = Ensemble::formed();
    ensemble.open(1, 0x100);
    ensemble.open(0, 0x101);
    // It reaches server 1, and is never committed.
    ensemble.servers[0].is_slow = true;
    ensemble.servers[1].is_slow = true;
    ensemble.servers[2].is_slow = true;
    let (_, link) = ensemble.link_of(2).unwrap();
    link.is_cut = true;
    ensemble.submit(1, 0x100, OpCode::CREATE, create(Some("/a"), b"", 0));
    ensemble.submit(0, 0x101, OpCode::CREATE, create(Some("/b"), b"", 0));
    assert_eq!((ensemble.replies(0), ensemble.replies(1)), (vec![], vec![]));
    ensemble.close_all();
    ensemble.servers.iter_mut().for_each(|server| server.is_slow = false);
    for server in &ensemble.servers {
        assert!(!server.quorum.is_serving() && !server.serves, "its clients are disconnected");
        assert_eq!(server.ended.len(), 1, "{:?}", server.ended);
    }
    ensemble.submit(2, 0x100, OpCode::CREATE, create(Some("/x"), b"", 0));
    (0..3).for_each(|at| assert_eq!(ensemble.replies(at), [], "nobody is answered"));
    ensemble.elect(1, &[2, 0]);
    ensemble.check_equal();
    for server in &ensemble.servers {
        assert!(server.tree.get("/a").is_some(), "server 1 had it, and leads");
        assert_eq!(server.tree.last_zxid(), Zxid::new(2, 0));
    }
    assert!(ensemble.renew(2, 0x101), "sessions outlive leaders");
    let wanted = create(Some("/c"), b"", 1);
    assert_eq!(ensemble.ask(2, 0x101, OpCode::CREATE, wanted), (0, false));
    assert_eq!(ensemble.last_txn(0).header.zxid, Zxid::new(2, 1));
    ensemble.check_equal();
}

/// What only the old leader had logged is cut there.
#[test]
fn a_leader_that_comes_back_loses_what_nobody_had() {
    let mut ensemble = Ensemble::formed();
    ensemble.open(0, 0x100);
    ensemble.links.values_mut().for_each(|link| link.is_cut = true);
    ensemble.submit(0, 0x100, OpCode::CREATE, create(Some("/lost"), b"", 0));
    ensemble.settle();
    ensemble.close_all();
    ensemble.elect(1, &[2]);
    ensemble.follow(0, 1);
    ensemble.settle();
    ensemble.open(1, 0x200);
    ensemble.check_equal();
    assert!(ensemble.servers[0].tree.get("/lost").is_none());
}

/// What an old role's clients had in the lanes is not carried out after what came before it was
/// lost with the role.
#[test]
fn what_an_earlier_role_was_asked_is_dropped() {
    for at in [0, 1] {
        let mut ensemble = Ensemble::formed();
        ensemble.open(at, 0x100);
        ensemble.servers[at].is_deaf = true;
        ensemble.close_all();
        ensemble.elect(0, &[1, 2]);
        assert!(ensemble.servers[at].quorum.is_serving());
        let generation = ensemble.servers[at].joins.unwrap();
        let txns = ensemble.servers[0].log.len();
        let late = |ensemble: &mut Ensemble| {
            ensemble.submit(at, 0x100, OpCode::CREATE, create(Some("/late"), b"", 0));
            let (origin, session) = (ensemble.origin(), SessionId(0x100));
            ensemble.send(at, ToQuorum::Renew { origin, session, timeout_ms: 10_000 });
            let (origin, session) = (ensemble.origin(), SessionId(0x200));
            ensemble.send(at, ToQuorum::CreateSession { origin, session, timeout_ms: 10_000 });
            ensemble.settle();
            assert!(ensemble.servers[at].told.iter().all(is_nobodys), "nobody is answered");
            assert_eq!(ensemble.servers[0].log.len(), txns, "nothing is logged");
        };
        late(&mut ensemble);
        // The shard has heard of the role before, and late.
        let joined = ToQuorum::Joined { shard: ShardId(0), generation: generation - 1 };
        ensemble.send(at, joined);
        late(&mut ensemble);
        ensemble.servers[at].is_deaf = false;
        ensemble.settle();
        assert!(ensemble.renew(at, 0x100), "the client comes back");
        let wanted = create(Some("/a"), b"", 0);
        assert_eq!(ensemble.ask(at, 0x100, OpCode::CREATE, wanted), (0, false));
        ensemble.check_equal();
    }
}

/// Whoever asks in the middle of the end of a role whether his session lives is not told that it
/// has expired.
#[test]
fn a_renewal_under_way_when_a_role_ends_is_not_answered() {
    for at in [0, 1] {
        let mut ensemble = Ensemble::formed();
        ensemble.open(2, 0x100);
        ensemble.links.values_mut().for_each(|link| link.is_cut = true);
        let (origin, session) = (ensemble.origin(), SessionId(0x100));
        if at == 0 {
            ensemble.close_all();
        }
        ensemble.send(at, ToQuorum::Renew { origin, session, timeout_ms: 10_000 });
        ensemble.close_all();
        let told = std::mem::take(&mut ensemble.servers[at].told);
        assert!(told.iter().all(is_nobodys), "{told:?}");
        assert!(!ensemble.servers[at].serves);
        ensemble.elect(1, &[0, 2]);
        assert!(ensemble.renew(at, 0x100));
    }
}

/// The shards take clients when the tree shows what the role began with, and not before.
#[test]
fn nobody_is_served_before_the_tree_shows_the_history() {
    let mut ensemble = Ensemble::formed();
    ensemble.open(0, 0x100);
    let (conn, _) = ensemble.link_of(2).unwrap();
    ensemble.close(conn);
    for path in ["/a", "/b"] {
        ensemble.submit(0, 0x100, OpCode::CREATE, create(Some(path), b"", 0));
    }
    ensemble.settle();
    ensemble.servers[2].is_slow = true;
    ensemble.follow(2, 0);
    ensemble.settle();
    assert!(!ensemble.servers[2].serves, "nothing is durable there");
    ensemble.servers[2].is_slow = false;
    ensemble.servers[2].must_show = ensemble.servers[0].tree.last_zxid();
    ensemble.settle();
    assert!(ensemble.servers[2].serves);
}

/// The words of a member tell its role, how far it is, and whom a leader leads.
#[test]
fn the_report_says_what_a_member_is_at() {
    let mut ensemble = Ensemble::new();
    let report = |ensemble: &Ensemble, at: usize| {
        let report = ensemble.servers[at].quorum.report();
        (report.role, report.zab_state, report.serving, report.epoch)
    };
    let looking = (RoleName::Looking, ZabState::Election, false, None);
    assert_eq!(report(&ensemble, 0), looking);
    ensemble.servers[2].votes = false;
    ensemble.elect(0, &[1, 2]);
    let of = |role| (role, ZabState::Broadcast, true, Some(1));
    assert_eq!(report(&ensemble, 0), of(RoleName::Leading));
    assert_eq!(report(&ensemble, 1), of(RoleName::Following));
    assert_eq!(report(&ensemble, 2), of(RoleName::Observing));
    ensemble.open(0, 0x100);
    let leader = ensemble.servers[0].quorum.report();
    let learners = leader.learners;
    assert_eq!(
        (learners.learners, learners.synced_followers, learners.synced_observers),
        (2, 1, 1)
    );
    assert_eq!((leader.pending_syncs, leader.sessions), (0, 1));
    let ProposalSizes { last, min, max } = leader.proposal_sizes;
    let bytes = ensemble.servers[1].log[0].record.len();
    assert_eq!((last, min, max), (bytes, bytes, bytes));
    ensemble.close_all();
    (0..3).for_each(|at| assert_eq!(report(&ensemble, at), looking));
}
