//! Random worlds: clients at all servers, slow disks, lost connections, servers that crash, roles
//! that end at any moment. What is promised holds: one order, nothing acknowledged is lost, each
//! client is answered in order, and a sync shows all that anybody had been told before it.

use std::collections::{BTreeSet, VecDeque};

use super::*;
use crate::splitmix;

struct World {
    ensemble: Ensemble,
    config: QuorumConfig,
    state: u64,
    clients: Vec<Client>,
    /// What some server has shown to its clients, in order.
    committed: Vec<Logged>,
    /// How much of that each server's log is known to begin with.
    compared: Vec<usize>,
    /// How much of each log was looked through for the ends of sessions.
    scanned: Vec<usize>,
    /// The transactions that clients were told of: zxid, session and cxid.
    acknowledged: Vec<(Zxid, SessionId, i32)>,
    /// The largest zxid that anybody was told.
    told: Zxid,
    /// Sessions of the ensemble: their beginning is committed.
    created: BTreeSet<SessionId>,
    /// Sessions whose end was ever logged anywhere, or that a leader was about to end.
    ended: BTreeSet<SessionId>,
    last_session: i64,
    counts: Counts,
}

/// What has happened, so that a test that tests nothing is noticed.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    replies: usize,
    syncs: usize,
    renewals: usize,
    elections: usize,
    crashes: usize,
    trees: usize,
    departures: usize,
    /// Local sessions that became the ensemble's.
    upgrades: usize,
}

#[derive(Debug, Default)]
struct Client {
    session: Option<SessionId>,
    conn: Option<Conn>,
    connections: u32,
    /// The largest zxid that it was told.
    seen: Zxid,
    asked: VecDeque<Asked>,
}

#[derive(Debug)]
struct Conn {
    at: usize,
    /// The session is not answered yet.
    is_opening: bool,
}

#[derive(Debug)]
struct Asked {
    xid: i32,
    op: OpCode,
    /// What anybody had been told before.
    told: Zxid,
}

/// Multis of a few operations are long. In some worlds sessions are local at first.
fn config(state: &mut u64) -> QuorumConfig {
    let kind = splitmix::next(state) % 6;
    QuorumConfig {
        multi_units_at_once: 8,
        local_sessions: kind < 3,
        local_sessions_upgrading: kind < 2,
        ..QuorumConfig::default()
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut state = seed;
        let config = config(&mut state);
        let mut ensemble = Ensemble::with(config.clone());
        ensemble.reads_log = splitmix::next(&mut state).is_multiple_of(2);
        ensemble.remembers = [0, 3, 500][(splitmix::next(&mut state) % 3) as usize];
        for _ in 0..splitmix::next(&mut state) % 3 {
            let server = Server::new(config.clone(), ensemble.now);
            let votes = splitmix::next(&mut state).is_multiple_of(2);
            ensemble.servers.push(Server { votes, ..server });
        }
        let compared = vec![0; ensemble.servers.len()];
        Self {
            ensemble,
            config,
            state,
            clients: (0..5).map(|_| Client::default()).collect(),
            committed: Vec::new(),
            scanned: compared.clone(),
            compared,
            acknowledged: Vec::new(),
            told: Zxid::ZERO,
            created: BTreeSet::new(),
            ended: BTreeSet::new(),
            last_session: 0x100,
            counts: Counts::default(),
        }
    }

    fn below(&mut self, end: usize) -> usize {
        (splitmix::next(&mut self.state) % end as u64) as usize
    }

    fn server(&mut self, at: usize) -> &mut Server {
        &mut self.ensemble.servers[at]
    }

    /// Each server and each connection may do something.
    fn act(&mut self) {
        let now = self.ensemble.now;
        for at in 0..self.ensemble.servers.len() {
            let max = self.below(10);
            let _ = (0..max).all(|_| self.ensemble.carry_out_next(at));
            let units = 1 + self.below(40) as u64;
            let (flushes, commits) = (self.below(3) == 0, self.below(2) == 0);
            let server = self.server(at);
            let _ = flushes && server.flush();
            let _ = commits && server.commit_some(units, now);
            let _ = !server.quorum.is_applying() && self.below(4) == 0 && self.server(at).join(now);
            let _ = self.ensemble.load(at);
            self.check(at);
        }
        let conns: Vec<u64> = self.ensemble.links.keys().copied().collect();
        for conn in conns {
            let _ = self.below(2) == 0 && self.ensemble.deliver_up(conn);
            let _ = self.below(2) == 0 && self.ensemble.deliver_down(conn);
        }
        self.ask();
        match self.below(1000) {
            0..50 => self.pass(),
            50..52 => self.lose_a_connection(),
            52 => {
                let at = self.below(self.ensemble.servers.len());
                self.crash(at);
            }
            100..300 => {
                let at = self.below(self.ensemble.servers.len());
                self.look(at);
            }
            _ => {}
        }
    }

    /// Time passes, and what is connected is heard of.
    fn pass(&mut self) {
        self.ensemble.now.mono_ms += 150;
        self.ensemble.now.wall_ms += 150;
        let now = self.ensemble.now;
        for at in 0..self.ensemble.servers.len() {
            let is_here = |client: &&Client| {
                client.conn.as_ref().is_some_and(|conn| conn.at == at && !conn.is_opening)
            };
            let heard = self.clients.iter().filter(is_here);
            let report: Vec<_> =
                heard.filter_map(|client| Some((client.session?, now.mono_ms))).collect();
            let server = self.server(at);
            server.quorum.on_touches(&report);
            server.quorum.on_tick(now);
            if !server.quorum.is_applying() {
                self.ensemble.peer(at, PeerEvent::Time);
            }
        }
    }

    fn lose_a_connection(&mut self) {
        let links = self.ensemble.links.len();
        if links > 0 {
            let nth = self.below(links);
            let conn = *self.ensemble.links.keys().nth(nth).unwrap();
            self.ensemble.close(conn);
        }
    }

    /// What is not flushed is lost.
    fn crash(&mut self, at: usize) {
        if self.ensemble.servers.iter().any(|server| server.quorum.is_applying()) {
            return;
        }
        self.counts.crashes += 1;
        self.ensemble.close_where(|link| link.learner == at || link.leader == at);
        let now = self.ensemble.now;
        let config = self.config.clone();
        let server = self.server(at);
        let durable = server.durable;
        server.log.truncate(durable);
        server.flushes.clear();
        server.loading = None;
        let last = server.log.last().map_or(Zxid::ZERO, |logged| logged.zxid);
        server.replay(last);
        server.quorum = Quorum::member(config, &server.tree, 7, now);
        (server.serves, server.joins) = (true, None);
        server.told.clear();
        (self.compared[at], self.scanned[at]) = (0, 0);
        self.disconnect(at);
    }

    /// Everybody there has to find another server. What was asked there has an unknown outcome.
    fn disconnect(&mut self, at: usize) {
        for client in &mut self.clients {
            if client.conn.as_ref().is_some_and(|conn| conn.at == at) {
                client.conn = None;
                client.asked.clear();
            }
        }
    }

    fn is_looking(&self, at: usize) -> bool {
        self.ensemble.servers[at].quorum.report().role == RoleName::Looking
    }

    /// A server without a role follows who leads, or a majority of such servers elects.
    fn look(&mut self, at: usize) {
        if !self.is_looking(at) {
            return;
        }
        let servers = 0..self.ensemble.servers.len();
        let role = |at: usize| self.ensemble.servers[at].quorum.report().role;
        if let Some(leader) = servers.clone().find(|at| role(*at) == RoleName::Leading) {
            if self.below(2) == 0 {
                self.settle(at);
                self.ensemble.follow(at, leader);
            }
            return;
        }
        let looking: Vec<usize> = servers.clone().filter(|at| self.is_looking(*at)).collect();
        let voters = servers.filter(|at| self.ensemble.servers[*at].votes).count();
        let candidates: Vec<usize> =
            looking.iter().copied().filter(|at| self.ensemble.servers[*at].votes).collect();
        if candidates.len() <= voters / 2 {
            return;
        }
        looking.iter().for_each(|at| self.settle(*at));
        let newness = |at: &usize| {
            let server = &self.ensemble.servers[*at];
            (server.current, server.quorum.writes.last_zxid)
        };
        let leader = candidates.into_iter().max_by_key(newness).unwrap();
        let learners: Vec<usize> =
            looking.into_iter().filter(|at| *at != leader && self.below(5) > 0).collect();
        self.counts.elections += 1;
        self.ensemble.lead(leader);
        learners.into_iter().for_each(|learner| self.ensemble.follow(learner, leader));
    }

    /// What an ended role has begun comes to its end.
    fn settle(&mut self, at: usize) {
        let now = self.ensemble.now;
        loop {
            let goes_on = self.ensemble.carry_out_next(at) | self.ensemble.load(at);
            let server = self.server(at);
            if !(goes_on | server.flush() | server.commit(now)) {
                return;
            }
        }
    }

    fn ask(&mut self) {
        let (nth, at) = (self.below(self.clients.len()), self.below(self.ensemble.servers.len()));
        let Some(conn) = &self.clients[nth].conn else { return self.connect(nth, at) };
        let (at, is_opening) = (conn.at, conn.is_opening);
        let session = self.clients[nth].session;
        // After a closeSession a shard takes nothing more.
        let has_closed =
            self.clients[nth].asked.back().is_some_and(|last| last.op == OpCode::CLOSE_SESSION);
        if is_opening || has_closed || self.server(at).quorum.is_applying() {
            return;
        }
        let (op, record) = self.request(nth);
        let origin = self.origin(nth);
        let asked = Asked { xid: origin.xid, op, told: self.told };
        self.clients[nth].asked.push_back(asked);
        let auth = Arc::from([Id::new("ip", "127.0.0.1")]);
        let (session, record) = (session.unwrap(), Bytes::from(record));
        let request = Request { origin, session, op, record, auth };
        self.ensemble.send(at, ToQuorum::Request(request));
    }

    fn origin(&mut self, nth: usize) -> Origin {
        let generation = self.clients[nth].connections;
        let conn = ConnId { slot: nth as u32, generation };
        Origin { conn, ..self.ensemble.origin() }
    }

    fn connect(&mut self, nth: usize, at: usize) {
        let server = &self.ensemble.servers[at];
        let is_ahead = self.clients[nth].seen > server.tree.last_zxid();
        // A shard that has not joined sends nothing.
        if !server.serves || server.joins.is_some() || is_ahead || server.quorum.is_applying() {
            return;
        }
        self.clients[nth].connections += 1;
        self.clients[nth].conn = Some(Conn { at, is_opening: true });
        let origin = self.origin(nth);
        let timeout_ms = 4_000;
        let message = match self.clients[nth].session {
            Some(session) => ToQuorum::Renew { origin, session, timeout_ms },
            None => {
                self.last_session += 1;
                let session = SessionId((at as i64 + 1) << 56 | self.last_session);
                ToQuorum::CreateSession { origin, session, timeout_ms }
            }
        };
        self.ensemble.send(at, message);
    }

    fn request(&mut self, nth: usize) -> (OpCode, Vec<u8>) {
        let path = format!("/{}", self.below(8));
        let path = Some(&*path);
        match self.below(20) {
            0..5 => (OpCode::CREATE, create(path, b"x", 0)),
            // Many are an ephemeral's, so that a session departs.
            5..9 => {
                let path = format!("/e{nth}-{}", self.below(6));
                (OpCode::CREATE, create(Some(&path), b"", 1))
            }
            9..11 => (OpCode::DELETE, delete(path, -1)),
            11..14 => (OpCode::SET_DATA, set_data(path, Some(b"y"), -1)),
            14..16 => {
                let ops = self.below(24);
                let each = (1, create(Some("/m"), b"", 2));
                (OpCode::MULTI, multi(&vec![each; ops]))
            }
            16 => (OpCode::CREATE, vec![1, 2]),
            17 if self.below(4) == 0 => (OpCode::CLOSE_SESSION, Vec::new()),
            _ => (OpCode::SYNC, record(|writer| text(writer, path))),
        }
    }

    /// What the clients of a server are told, and what it shows them.
    fn check(&mut self, at: usize) {
        if !self.ensemble.servers[at].serves {
            self.disconnect(at);
        }
        (0..self.ensemble.servers.len()).for_each(|at| self.check_log(at));
        let shown = self.ensemble.servers[at].tree.last_zxid();
        for message in std::mem::take(&mut self.server(at).told) {
            match message {
                ToShard::Commit(commit) => {
                    assert!(commit.zxid <= shown);
                    commit.items.into_iter().for_each(|item| self.hear(at, item));
                }
                ToShard::Renewed { origin, session, valid, .. } => {
                    self.counts.renewals += 1;
                    self.opened(at, origin, valid.then_some(session));
                    // Nobody else knows a local one.
                    let is_local = self.config.local_sessions && !self.created.contains(&session);
                    let is_known = !is_local && !self.ended.contains(&session);
                    assert!(valid || !is_known, "{session:?} lives");
                }
                ToShard::NotOpened { origin, .. } => self.opened(at, origin, None),
                ToShard::Serving { .. } | ToShard::NotServing => unreachable!(),
            }
        }
        assert_eq!(self.ensemble.servers[at].quorum.report().digest_mismatches, 0);
    }

    /// What a server that serves may show is what every other one has shown.
    fn check_log(&mut self, at: usize) {
        let server = &self.ensemble.servers[at];
        if let Some(leader) = server.quorum.role.leader() {
            let sessions = self.clients.iter().filter_map(|client| client.session);
            self.ended.extend(sessions.filter(|session| leader.sessions.is_closing(*session)));
        }
        let from = self.scanned[at].min(server.log.len());
        self.scanned[at] = server.log.len();
        for logged in server.log.iter().skip(from) {
            let LogRecord { header, txn, .. } = read_log_record(&logged.record).unwrap();
            if matches!(txn, Txn::CloseSession { .. }) {
                self.ended.insert(header.session);
            }
        }
        if !server.quorum.is_serving() {
            (self.compared[at], self.scanned[at]) = (0, 0);
            return;
        }
        let upto = server.quorum.writes.pipeline.frontier();
        let end = server.log.partition_point(|logged| logged.zxid <= upto);
        let from = self.compared[at].min(end);
        for nth in from..end {
            match self.committed.get(nth) {
                Some(before) => assert!(*before == server.log[nth], "at {}", before.zxid),
                None => {
                    let logged = server.log[nth].clone();
                    let LogRecord { header, txn, .. } = read_log_record(&logged.record).unwrap();
                    if matches!(txn, Txn::CreateSession { .. }) {
                        self.created.insert(header.session);
                    }
                    self.committed.push(logged);
                }
            }
        }
        self.compared[at] = end;
    }

    fn hear(&mut self, at: usize, item: BatchItem) {
        match item {
            BatchItem::Event(_) => {}
            BatchItem::SessionOpened { origin, session, .. } => {
                self.opened(at, origin, Some(session));
            }
            BatchItem::SessionClosed { session } => {
                let is_it = |client: &&mut Client| client.session == Some(session);
                if let Some(client) = self.clients.iter_mut().find(is_it) {
                    let is_here = client.conn.as_ref().is_some_and(|conn| conn.at == at);
                    if is_here {
                        client.conn = None;
                        client.session = None;
                        client.asked.clear();
                    }
                }
            }
            BatchItem::Reply(reply) => self.replied(at, reply),
        }
    }

    /// The client of this connection, if it has not gone.
    fn client(&mut self, at: usize, conn: ConnId) -> Option<&mut Client> {
        let client = &mut self.clients[conn.slot as usize];
        let is_its = client.connections == conn.generation
            && client.conn.as_ref().is_some_and(|conn| conn.at == at);
        is_its.then_some(client)
    }

    fn opened(&mut self, at: usize, origin: Origin, session: Option<SessionId>) {
        let Some(client) = self.client(at, origin.conn) else { return };
        client.session = session;
        match &mut client.conn {
            Some(conn) if session.is_some() => conn.is_opening = false,
            _ => client.conn = None,
        }
    }

    fn replied(&mut self, at: usize, reply: Reply) {
        self.counts.replies += 1;
        let shown = self.ensemble.servers[at].tree.last_zxid();
        assert!(reply.zxid <= shown, "{} is shown, {} told", shown, reply.zxid);
        self.told = self.told.max(reply.zxid);
        let Some(client) = self.client(at, reply.conn) else { return };
        let asked = client.asked.pop_front().expect("a request");
        assert_eq!((reply.xid, reply.op), (asked.xid, asked.op), "in the order of the client");
        client.seen = client.seen.max(reply.zxid);
        let session = client.session.expect("a session");
        if reply.close {
            client.conn = None;
            client.asked.clear();
        }
        if reply.op == OpCode::CLOSE_SESSION {
            client.session = None;
        }
        if reply.op == OpCode::SYNC {
            if reply.err.is_ok() {
                self.counts.syncs += 1;
                assert!(shown >= asked.told, "{shown} is shown, {} was told", asked.told);
            }
        } else if reply.op == OpCode::CLOSE_SESSION && !self.created.contains(&session) {
            assert!(self.config.local_sessions, "a session of the ensemble ends by a transaction");
        } else if reply.err.is_ok() {
            self.acknowledged.push((reply.zxid, session, reply.xid));
        }
    }

    /// All come together, and everybody has the same.
    fn end(&mut self) {
        for server in &mut self.ensemble.servers {
            server.is_slow = false;
        }
        for _ in 0..1_000 {
            if self.ensemble.servers.iter().all(|server| server.serves) {
                break;
            }
            (0..self.ensemble.servers.len()).for_each(|at| self.look(at));
            while self.ensemble.step() {}
            (0..self.ensemble.servers.len()).for_each(|at| self.check(at));
            self.pass();
        }
        for server in &self.ensemble.servers {
            let (ended, report) = (&server.ended, server.quorum.report());
            let last = ended.get(ended.len().saturating_sub(3)..);
            assert!(server.serves, "{report:?} after {last:?}");
        }
        self.ensemble.check_equal();
        (0..self.ensemble.servers.len()).for_each(|at| self.check(at));
        let log = &self.ensemble.servers[0].log;
        assert!(log[..] == self.committed[..], "all of it is committed");
        for (zxid, session, cxid) in &self.acknowledged {
            let nth = log.binary_search_by_key(zxid, |logged| logged.zxid);
            let logged = &log[nth.expect("what was acknowledged is there")];
            let LogRecord { header, .. } = read_log_record(&logged.record).unwrap();
            assert_eq!((header.session, header.cxid), (*session, *cxid));
        }
        for server in &self.ensemble.servers {
            let leads = server.quorum.report().role == RoleName::Leading;
            let pending = server.quorum.report().outstanding;
            assert!(pending == 0 || leads, "{pending} requests are not answered");
        }
    }
}

fn run(seed: u64) -> Counts {
    let mut world = World::new(seed);
    for _ in 0..2_500 {
        world.act();
    }
    world.end();
    let is_departure = |logged: &&Logged| {
        let LogRecord { txn, .. } = read_log_record(&logged.record).unwrap();
        matches!(txn, Txn::CloseSession { paths: None })
    };
    world.counts.trees = world.ensemble.loaded;
    if world.config.local_sessions {
        world.counts.upgrades = world.created.len();
        let may_upgrade = world.config.local_sessions_upgrading;
        assert!(may_upgrade || world.created.is_empty(), "nothing else makes one the ensemble's");
    }
    world.counts.departures = world.committed.iter().filter(is_departure).count();
    world.counts
}

/// Adds what has happened in one world to what has happened in all.
fn all_of(one: Counts, all: &mut Counts) -> Counts {
    all.replies += one.replies;
    all.syncs += one.syncs;
    all.renewals += one.renewals;
    all.elections += one.elections;
    all.crashes += one.crashes;
    all.trees += one.trees;
    all.departures += one.departures;
    all.upgrades += one.upgrades;
    one
}

#[test]
fn random_worlds_keep_what_is_promised() {
    let seeds = std::env::var("SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(6);
    let mut all = Counts::default();
    let first = std::env::var("FIRST").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    for seed in first..first + seeds {
        println!("seed {seed}");
        let Counts { replies, elections, .. } = all_of(run(seed), &mut all);
        println!("{replies} replies, {elections} elections");
    }
    println!("{all:?}");
    assert!(all.replies > 100 * seeds as usize && all.syncs > 10 * seeds as usize, "{all:?}");
    assert!(all.elections > seeds as usize && all.crashes > 0, "{all:?}");
    assert!(all.renewals > 0 && all.departures > 0, "{all:?}");
    assert!(all.trees > 0 && all.upgrades > 0, "{all:?}");
}
