//! Servers of an ensemble over pipes in memory: machines and trees, without election.

mod eager;
mod ends;
mod known_bugs;
mod leader;
mod learner;
mod local;
mod observers;
mod random;
mod sent_tree;
mod serve;

use std::collections::BTreeMap;

use super::*;
use crate::packet::{Packet, PacketStream};
use crate::quorum::leader::logged;
use crate::zab::{LearnerConn, LogReach, Logged, QuorumSet};

/// A machine, its tree, and a disk on which everything is durable at once.
struct Server {
    quorum: Quorum,
    tree: Tree,
    /// What was appended, and how many of it are durable.
    log: Vec<Logged>,
    durable: usize,
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
    /// The tree of a SNAP is on its way.
    loading: Option<Zxid>,
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
    /// The tree that comes after SNAP, as the log that leads to it.
    tree: Option<Vec<Logged>>,
}

struct Ensemble {
    servers: Vec<Server>,
    links: BTreeMap<u64, Link>,
    last_conn: u64,
    now: Now,
    xid: i32,
    /// Transactions that a leader has in memory when it begins, and whether it finds the rest in
    /// its log. If not, learners get trees.
    remembers: usize,
    reads_log: bool,
    /// Trees that learners have taken over.
    loaded: usize,
}

/// A batch in which nobody is answered.
fn is_nobodys(message: &ToShard) -> bool {
    let is_event =
        |item: &BatchItem| matches!(item, BatchItem::Event(_) | BatchItem::SessionClosed { .. });
    matches!(message, ToShard::Commit(commit) if commit.items.iter().all(is_event))
}

const SETTINGS: ZabSettings = ZabSettings { tick_ms: 2_000, init_ticks: 10, sync_ticks: 5 };

impl Server {
    fn new(config: QuorumConfig, now: Now) -> Self {
        let tree = Tree::new();
        let quorum = Quorum::member(config, &tree, 7, now);
        Self {
            quorum,
            tree,
            log: Vec::new(),
            durable: 0,
            accepted: 0,
            current: 0,
            told: Vec::new(),
            serves: true,
            joins: None,
            must_show: Zxid::ZERO,
            is_deaf: false,
            loading: None,
            ended: Vec::new(),
            votes: true,
            is_slow: false,
            flushes: Vec::new(),
        }
    }

    /// Applies what is committed, and forgets what is applied.
    fn commit(&mut self, now: Now) -> bool {
        self.commit_some(u64::MAX, now)
    }

    fn commit_some(&mut self, units: u64, now: Now) -> bool {
        let has_work = self.quorum.has_work();
        if has_work {
            self.quorum.work(&self.tree, now, &mut Budget::new(units));
        }
        if !self.quorum.has_committable() {
            return has_work;
        }
        let mut told = Vec::new();
        let mut hand_over = |_, message| told.push(message);
        let budget = &mut Budget::new(units);
        self.quorum.commit(&mut self.tree, budget, &[true], &mut hand_over);
        told.into_iter().for_each(|message| self.hear(message));
        true
    }

    /// The shard's part: see `frontend::service`.
    fn hear(&mut self, message: ToShard) {
        match message {
            ToShard::Serving { generation, .. } => {
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
        let Some(flush) = self.flushes.pop() else { return false };
        let upto = flush.upto();
        self.durable = self.log.partition_point(|logged| logged.zxid <= upto);
        self.quorum.on_flushed(flush.end_in_test());
        true
    }

    /// The log is read anew, as after a cut.
    fn replay(&mut self, upto: Zxid) {
        self.log.retain(|logged| logged.zxid <= upto);
        self.durable = self.log.len();
        self.tree = Tree::new();
        for logged in &self.log {
            let LogRecord { header, txn, .. } = read_log_record(&logged.record).unwrap();
            self.tree.apply(&header, &txn, None);
        }
    }
}

impl Ensemble {
    fn new() -> Self {
        Self::with(QuorumConfig::default())
    }

    fn with(config: QuorumConfig) -> Self {
        let now = Now { mono_ms: 1_000_000, wall_ms: 1_700_000_000_000 };
        let servers = (0..3).map(|_| Server::new(config.clone(), now)).collect();
        let links = BTreeMap::new();
        Self {
            servers,
            links,
            last_conn: 0,
            now,
            xid: 0,
            remembers: 500,
            reads_log: false,
            loaded: 0,
        }
    }

    /// Server 0 leads, the others follow.
    fn formed() -> Self {
        let mut ensemble = Self::new();
        ensemble.elect(0, &[1, 2]);
        ensemble
    }

    /// Server 2 has left the leader, and lacks the last two transactions, of session 0x100.
    fn with_one_behind() -> Self {
        let mut ensemble = Self::formed();
        ensemble.open(0, 0x100);
        let (conn, _) = ensemble.link_of(2).unwrap();
        ensemble.close(conn);
        for path in ["/a", "/b"] {
            ensemble.submit(0, 0x100, OpCode::CREATE, create(Some(path), b"", 0));
        }
        ensemble.settle();
        ensemble
    }

    fn elect(&mut self, leader: usize, learners: &[usize]) {
        self.lead(leader);
        learners.iter().for_each(|learner| self.follow(*learner, leader));
        self.settle();
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
            syncs: SyncLimits::default(),
            epoch_wait_ms_max: None,
            accepted_epoch: self.servers[at].accepted,
            current_epoch: self.servers[at].current,
        }
    }

    fn lead(&mut self, leader: usize) {
        let member = self.as_member(leader);
        let now = self.now;
        let server = &mut self.servers[leader];
        server.quorum.adopt();
        while server.commit(now) {}
        let last = server.quorum.writes.last_zxid;
        let (before, latest) = server.log.split_at(server.log.len().saturating_sub(self.remembers));
        let before = before.last().map_or(Zxid::ZERO, |logged| logged.zxid);
        let mut history = History::new(before, 500, 1 << 20);
        latest.iter().for_each(|logged| history.push(logged.clone(), last));
        // The start of an epoch, after a tree of which it is the end.
        if history.last() != last {
            history = History::new(last, 500, 1 << 20);
        }
        server.quorum.lead(&member, history, &server.tree, now);
    }

    fn follow(&mut self, learner: usize, leader: usize) {
        self.last_conn += 1;
        let (up, down) = (PacketStream::new(1 << 20), PacketStream::new(1 << 20));
        let link = Link { learner, leader, up, down, is_cut: false, tree: None };
        self.links.insert(self.last_conn, link);
        let (member, now) = (self.as_member(learner), self.now);
        let server = &mut self.servers[learner];
        server.quorum.learn(&member, false, &server.tree, now);
        self.peer(leader, PeerEvent::Connected(LearnerConn(self.last_conn)));
    }

    /// What comes amid a multi waits until it is applied.
    fn peer(&mut self, at: usize, event: PeerEvent) {
        let server = &mut self.servers[at];
        while server.quorum.is_applying() {
            server.commit(self.now);
        }
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
            while self.carry_out_next(at) {
                goes_on = true;
            }
            let server = &mut self.servers[at];
            goes_on |= server.flush();
            goes_on |= server.commit(now);
            goes_on |= server.join(now);
            goes_on |= self.load(at);
        }
        goes_on |= self.deliver();
        goes_on
    }

    fn deliver(&mut self) -> bool {
        let conns: Vec<u64> = self.links.keys().copied().collect();
        conns.into_iter().fold(false, |has_some, conn| {
            let up = self.deliver_up(conn);
            self.deliver_down(conn) || up || has_some
        })
    }

    /// The leader gets the next packet.
    fn deliver_up(&mut self, conn: u64) -> bool {
        let Some(link) = self.links.get_mut(&conn).filter(|link| !link.is_cut) else {
            return false;
        };
        let at = link.leader;
        if self.servers[at].quorum.is_applying() {
            return false;
        }
        let Some(packet) = link.up.next_packet().unwrap() else { return false };
        self.peer(at, PeerEvent::Learner(LearnerConn(conn), packet));
        true
    }

    /// The learner gets the next packet.
    fn deliver_down(&mut self, conn: u64) -> bool {
        let Some(link) = self.links.get_mut(&conn).filter(|link| !link.is_cut) else {
            return false;
        };
        let at = link.learner;
        let quorum = &self.servers[at].quorum;
        if !quorum.wants_packets() || quorum.is_applying() {
            return false;
        }
        let Some(packet) = link.down.next_packet().unwrap() else { return false };
        self.peer(at, PeerEvent::Leader(packet));
        true
    }

    fn carry_out_next(&mut self, at: usize) -> bool {
        let effect = self.servers[at].quorum.poll();
        let has_one = effect.is_some();
        effect.into_iter().for_each(|effect| self.carry_out(at, effect));
        has_one
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
            LeadEffect::AskLog { of, peer } => {
                let after = server.log.partition_point(|logged| logged.zxid <= peer);
                let zxid = |at: usize| server.log.get(at).map(|logged| logged.zxid);
                let floor = after.checked_sub(1).and_then(zxid).filter(|_| self.reads_log);
                let reach = LogReach { floor, next: zxid(after), is_too_long: false };
                self.peer(at, PeerEvent::LogReach(of, reach));
            }
            LeadEffect::SendLog { to, after, upto } => {
                let mut bytes = Vec::new();
                for Logged { zxid, record } in server.log.iter().cloned() {
                    if after < zxid && zxid <= upto {
                        Packet::write_committed(zxid, record, &mut bytes);
                    }
                }
                if let Some(link) = self.links.get_mut(&to.0) {
                    link.down.push(&bytes);
                }
            }
            LeadEffect::SendTree { to } => {
                let shown = server.tree.last_zxid();
                let log = server.log.iter().filter(|logged| logged.zxid <= shown);
                if let Some(link) = self.links.get_mut(&to.0) {
                    link.tree = Some(log.cloned().collect());
                }
            }
            LeadEffect::Close { conn, why } => {
                if let Some(link) = self.links.get(&conn.0) {
                    self.servers[link.learner].ended.push(format!("{why:?}"));
                }
                self.close(conn.0)
            }
            LeadEffect::StoreAcceptedEpoch { epoch } => {
                server.accepted = epoch;
                self.peer(at, PeerEvent::AcceptedEpoch(epoch));
            }
            LeadEffect::StoreCurrentEpoch { epoch } => {
                server.current = epoch;
                self.peer(at, PeerEvent::CurrentEpoch(epoch));
            }
            LeadEffect::StepDown { why } => {
                server.ended.push(why.to_string());
                self.close_where(|link| link.leader == at);
            }
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
            LearnEffect::LoadTree { zxid } => {
                server.loading = Some(zxid);
            }
            LearnEffect::Leave { why } => {
                server.ended.push(why.to_string());
                self.close_where(|link| link.learner == at || link.leader == at);
            }
            LearnEffect::Serve { .. } => {}
            other => panic!("{other:?} is not for the shell"),
        }
    }

    /// Takes over the tree that has come, if it has.
    fn load(&mut self, at: usize) -> bool {
        let Some(zxid) = self.servers[at].loading else { return false };
        let log = match self.link_of(at) {
            Some((_, link)) if link.tree.is_none() => return false,
            Some((_, link)) => link.tree.take(),
            None => None,
        };
        let server = &mut self.servers[at];
        server.loading = None;
        let loaded = log.map(|log| {
            server.log = log;
            server.replay(zxid);
            server.tree.set_last_zxid(zxid);
            zxid
        });
        self.loaded += usize::from(loaded.is_some());
        self.peer(at, PeerEvent::Loaded(loaded));
        true
    }

    /// A connection ends at both ends.
    fn close(&mut self, conn: u64) {
        let Some(link) = self.links.remove(&conn) else { return };
        self.peer(link.leader, PeerEvent::LearnerGone(LearnerConn(conn)));
        self.peer(link.learner, PeerEvent::LeaderGone);
    }

    fn close_where(&mut self, is_one: impl Fn(&Link) -> bool) {
        let links = self.links.iter().filter(|(_, link)| is_one(link));
        let conns: Vec<u64> = links.map(|(conn, _)| *conn).collect();
        conns.into_iter().for_each(|conn| self.close(conn));
    }

    fn close_all(&mut self) {
        self.close_where(|_| true);
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
