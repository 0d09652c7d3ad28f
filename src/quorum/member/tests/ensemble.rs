//! Members whose bytes come in pieces, whose disks are slow and fail, whose connections break, and
//! who are killed, as long as it is not calm. The test holds elections for them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::*;
use crate::handoff::{ConnId, Origin, Request, ShardId, ToQuorum, ToShard};
use crate::quorum::Budget;
use crate::quorum::leader::logged;
use crate::splitmix;
use crate::txn::{LogRecord, read_log_record};
use crate::txnlog::PendingFlush;

pub(super) struct Ensemble {
    pub(super) nodes: Vec<Node>,
    rng: u64,
    now: Now,
    last_conn: u64,
    /// What any tree has shown to clients, in order.
    pub(super) committed: Vec<Logged>,
    /// Nothing breaks any more.
    pub(super) is_calm: bool,
    /// Trees that were taken over, and truncations.
    pub(super) trees: usize,
    pub(super) cuts: usize,
    /// Those that do nothing for now: they are stopped, or do not run.
    pub(super) paused: BTreeSet<usize>,
    xid: i32,
}

pub(super) struct Node {
    pub(super) quorum: Quorum,
    tree: Tree,
    member: Member,
    /// The membership that it starts with.
    pub(super) members: Members,
    /// All of its history, and how much of it is durable.
    log: Vec<Logged>,
    durable: usize,
    /// Where the tree was when it came from a leader.
    base: Zxid,
    epochs: (u32, u32),
    flushes: VecDeque<PendingFlush>,
    jobs: VecDeque<Job>,
    looks: Option<(i64, Zxid)>,
    takes_learners: bool,
    dial: Option<(ServerId, u64)>,
    conns: BTreeMap<PeerConn, Conn>,
    incoming: Option<(Zxid, Vec<u8>)>,
    received: Option<(Zxid, Vec<Logged>)>,
    /// Its shard is served, and has this generation still to join.
    pub(super) serves: bool,
    joins: Option<u64>,
    /// What its shard was told.
    pub(super) told: Vec<ToShard>,
    /// Shown transactions that were compared with those of the others.
    compared: usize,
}

/// One end of a connection.
struct Conn {
    other: usize,
    came: VecDeque<u8>,
    is_paused: bool,
    has_ended: bool,
}

enum Job {
    Accepted(u32),
    Current(u32),
    Ask { of: LearnerConn, peer: Zxid, upto: Zxid },
    Truncate(Zxid),
    Take(Zxid, Vec<Logged>),
}

fn id(at: usize) -> ServerId {
    ServerId(at as i64 + 1)
}

impl Node {
    /// It starts with what is durable.
    fn start(
        at: usize,
        members: Members,
        mut log: Vec<Logged>,
        durable: usize,
        base: Zxid,
        epochs: (u32, u32),
    ) -> Self {
        log.truncate(durable);
        let (tree, now) = (replay(&log, base), Now { mono_ms: 0, wall_ms: 1_700_000_000_000 });
        let mut settings = settings();
        settings.server.me = id(at);
        settings.server.members = members.clone();
        (settings.server.accepted_epoch, settings.server.current_epoch) = epochs;
        settings.history_count = 0;
        Self {
            quorum: Quorum::member(QuorumConfig::default(), &tree, 7, now),
            tree,
            member: Member::new(settings),
            members,
            durable: log.len(),
            log,
            base,
            epochs,
            flushes: VecDeque::new(),
            jobs: VecDeque::new(),
            looks: None,
            takes_learners: false,
            dial: None,
            conns: BTreeMap::new(),
            incoming: None,
            received: None,
            serves: false,
            joins: None,
            told: Vec::new(),
            compared: 0,
        }
    }

    fn restart_at(&mut self, last: Zxid) {
        self.log.retain(|logged| logged.zxid <= last);
        self.durable = self.log.len();
        self.tree = replay(&self.log, self.base);
        self.compared = 0;
    }
}

fn replay(log: &[Logged], base: Zxid) -> Tree {
    let mut tree = Tree::new();
    for logged in log {
        let LogRecord { header, txn, .. } = read_log_record(&logged.record).unwrap();
        tree.apply(&header, &txn, None);
    }
    tree.set_last_zxid(tree.last_zxid().max(base));
    tree
}

/// A tree on its way: its length, and the transactions that lead to it.
fn write_tree(log: &[Logged], shown: Zxid) -> Vec<u8> {
    let mut bytes = Vec::new();
    for Logged { zxid, record } in log.iter().filter(|logged| logged.zxid <= shown) {
        bytes.extend_from_slice(&zxid.0.to_be_bytes());
        bytes.extend_from_slice(&(record.len() as u32).to_be_bytes());
        bytes.extend_from_slice(record);
    }
    [&(bytes.len() as u32).to_be_bytes()[..], &bytes].concat()
}

/// Where it ends, once it has come.
fn end_of_tree(bytes: &[u8]) -> Option<usize> {
    let len = u32::from_be_bytes(bytes.get(..4)?.try_into().unwrap()) as usize;
    (bytes.len() >= 4 + len).then_some(4 + len)
}

fn read_tree(mut bytes: &[u8]) -> Vec<Logged> {
    let mut log = Vec::new();
    while !bytes.is_empty() {
        let zxid = Zxid(i64::from_be_bytes(bytes[..8].try_into().unwrap()));
        let len = u32::from_be_bytes(bytes[8..12].try_into().unwrap()) as usize;
        log.push(Logged { zxid, record: Bytes::copy_from_slice(&bytes[12..12 + len]) });
        bytes = &bytes[12 + len..];
    }
    log
}

impl Ensemble {
    pub(super) fn new(seed: u64, voters: usize) -> Self {
        let start = |at| Node::start(at, voting(voters), Vec::new(), 0, Zxid::ZERO, (0, 0));
        Self {
            nodes: (0..voters).map(start).collect(),
            rng: seed,
            now: Now { mono_ms: 0, wall_ms: 1_700_000_000_000 },
            last_conn: 0,
            committed: Vec::new(),
            is_calm: false,
            trees: 0,
            cuts: 0,
            paused: BTreeSet::new(),
            xid: 0,
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        (splitmix::next(&mut self.rng) % bound as u64) as usize
    }

    /// Of a hundred.
    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// Something that breaks, of ten thousand.
    fn breaks(&mut self, of: usize) -> bool {
        !self.is_calm && self.below(10_000) < of
    }

    /// Goes on until something is so.
    pub(super) fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let mut left = 6_000;
        while !is_so(self) {
            assert!(left > 0, "never: {what}");
            left -= 1;
            self.round();
        }
    }

    /// Those that are not paused serve clients, and one of them leads.
    pub(super) fn until_serving(&mut self) {
        let serves = |all: &Self, at: usize| all.paused.contains(&at) || all.nodes[at].serves;
        self.until("they serve", |all| {
            (0..all.nodes.len()).all(|at| serves(all, at)) && all.who_leads().is_some()
        });
    }

    /// Who leads and serves.
    pub(super) fn leader(&self) -> usize {
        self.who_leads().expect("somebody leads")
    }

    fn who_leads(&self) -> Option<usize> {
        let leads = |at: &usize| {
            let node = &self.nodes[*at];
            node.serves && node.quorum.is_leading() && !self.paused.contains(at)
        };
        (0..self.nodes.len()).find(leads)
    }

    pub(super) fn round(&mut self) {
        self.now.mono_ms += self.below(40) as i64;
        if self.breaks(20) {
            self.now.mono_ms += 12_000;
        }
        self.elect();
        for at in (0..self.nodes.len()).filter(|at| !self.paused.contains(at)).collect::<Vec<_>>() {
            if self.breaks(15) {
                self.kill(at);
            }
            self.dial(at);
            self.deliver(at);
            self.receive_tree(at);
            self.end_job(at);
            self.end_flush(at);
            self.ask(at);
            self.step(at);
            self.carry_out(at);
            self.commit(at);
        }
        self.cut();
    }

    fn tell(&mut self, at: usize, event: MemberEvent) {
        let Node { member, quorum, tree, .. } = &mut self.nodes[at];
        member.on_event(event, quorum, tree, self.now);
    }

    fn step(&mut self, at: usize) {
        let (room, packets) = match self.is_calm {
            true => (u64::MAX, 1_000),
            false => ([0, 2 << 20, u64::MAX][self.below(3)], self.below(6)),
        };
        let now = self.now;
        let Node { member, quorum, tree, .. } = &mut self.nodes[at];
        quorum.on_tick(now);
        quorum.work(tree, now, &mut Budget::new(u64::MAX));
        if member.is_due(quorum, room, now) {
            let left = std::cell::Cell::new(packets);
            let is_late = || left.replace(left.get().saturating_sub(1)) == 0;
            member.step(quorum, tree, room, is_late, now);
        }
    }

    fn carry_out(&mut self, at: usize) {
        loop {
            while let Some(effect) = self.nodes[at].member.poll() {
                self.carry_out_one(at, effect);
            }
            let node = &mut self.nodes[at];
            match node.quorum.poll() {
                None => return,
                Some(Effect::Append { bytes, .. }) => node.log.extend(logged(&bytes)),
                Some(Effect::Flush(flush)) => node.flushes.push_back(flush),
                Some(Effect::Lead(effect)) => node.member.on_lead(effect, &node.quorum),
                Some(Effect::Learn(effect)) => node.member.on_learn(effect),
                Some(Effect::ToShard(_, message)) => node.hear(message),
                Some(Effect::RollLog | Effect::TakeSnapshot) => {}
            }
        }
    }

    fn carry_out_one(&mut self, at: usize, effect: MemberEffect) {
        let node = &mut self.nodes[at];
        match effect {
            MemberEffect::Look { zxid, epoch, .. } => node.looks = Some((epoch, zxid)),
            MemberEffect::Dial { leader, attempt } => node.dial = Some((leader, attempt)),
            MemberEffect::TakeLearners { is_wanted } => node.takes_learners = is_wanted,
            MemberEffect::DialObserverMaster { .. } | MemberEffect::TakeObservers => {
                unreachable!("observers are with the leader here")
            }
            MemberEffect::Serve { .. } | MemberEffect::Tell(_) => {}
            MemberEffect::EndRole => {
                (node.incoming, node.received) = (None, None);
                let conns: Vec<PeerConn> = node.conns.keys().copied().collect();
                conns.into_iter().for_each(|conn| self.close(at, conn));
            }
            MemberEffect::Send { conn, bytes } => self.send(at, conn, &bytes),
            MemberEffect::SendLog { conn, after, upto, .. } => {
                let mut bytes = Vec::new();
                for Logged { zxid, record } in node.log.iter().cloned() {
                    if after < zxid && zxid <= upto {
                        Packet::write_committed(zxid, record, &mut bytes);
                    }
                }
                self.send(at, conn, &bytes);
            }
            MemberEffect::SendTree { conn, .. } => {
                let bytes = write_tree(&node.log, node.tree.last_zxid());
                self.send(at, conn, &bytes);
            }
            MemberEffect::Pause { conn, is_paused } => {
                if let Some(conn) = node.conns.get_mut(&conn) {
                    conn.is_paused = is_paused;
                }
            }
            MemberEffect::Close { conn } => self.close(at, conn),
            MemberEffect::AskLog { of, peer, upto } => {
                node.jobs.push_back(Job::Ask { of, peer, upto });
            }
            MemberEffect::StoreAcceptedEpoch { epoch } => {
                node.jobs.push_back(Job::Accepted(epoch));
            }
            MemberEffect::StoreCurrentEpoch { epoch } => node.jobs.push_back(Job::Current(epoch)),
            MemberEffect::Truncate { to } => node.jobs.push_back(Job::Truncate(to)),
            MemberEffect::ReceiveTree { zxid } => node.incoming = Some((zxid, Vec::new())),
            MemberEffect::TakeTree => {
                let (zxid, log) = node.received.take().unwrap();
                node.jobs.push_back(Job::Take(zxid, log));
            }
        }
    }

    fn send(&mut self, at: usize, conn: PeerConn, bytes: &[u8]) {
        let Some(other) = self.nodes[at].conns.get(&conn).map(|conn| conn.other) else { return };
        if let Some(end) = self.nodes[other].conns.get_mut(&conn).filter(|end| !end.has_ended) {
            end.came.extend(bytes);
        }
    }

    fn close(&mut self, at: usize, conn: PeerConn) {
        let Some(Conn { other, .. }) = self.nodes[at].conns.remove(&conn) else { return };
        if let Some(end) = self.nodes[other].conns.get_mut(&conn) {
            end.has_ended = true;
        }
    }

    /// A connection breaks; what was under way is lost at any byte.
    fn cut(&mut self) {
        if !self.breaks(60) {
            return;
        }
        let at = self.below(self.nodes.len());
        let conns: Vec<PeerConn> = self.nodes[at].conns.keys().copied().collect();
        if conns.is_empty() {
            return;
        }
        let conn = conns[self.below(conns.len())];
        let other = self.nodes[at].conns[&conn].other;
        for at in [at, other] {
            let len = self.nodes[at].conns.get(&conn).map_or(0, |end| end.came.len());
            let kept = self.below(len + 1);
            if let Some(end) = self.nodes[at].conns.get_mut(&conn) {
                end.came.truncate(kept);
                end.has_ended = true;
            }
        }
    }

    pub(super) fn kill(&mut self, at: usize) {
        let conns: Vec<PeerConn> = self.nodes[at].conns.keys().copied().collect();
        conns.into_iter().for_each(|conn| self.close(at, conn));
        let node = &mut self.nodes[at];
        let log = std::mem::take(&mut node.log);
        let members = node.members.clone();
        *node = Node::start(at, members, log, node.durable, node.base, node.epochs);
    }

    fn deliver(&mut self, at: usize) {
        let conns: Vec<PeerConn> = self.nodes[at].conns.keys().copied().collect();
        for conn in conns {
            let most = if self.is_calm { 1 << 16 } else { [1, 30, 4_000][self.below(3)] };
            let len = 1 + self.below(most);
            let node = &mut self.nodes[at];
            let Some(end) = node.conns.get_mut(&conn).filter(|end| !end.is_paused) else {
                continue;
            };
            let len = len.min(end.came.len());
            let bytes: Vec<u8> = end.came.drain(..len).collect();
            let has_ended = end.has_ended && end.came.is_empty();
            if !bytes.is_empty() {
                node.member.on_bytes(conn, &bytes);
            }
            if has_ended {
                node.conns.remove(&conn);
                node.member.on_gone(conn, "it is gone".into());
            }
        }
    }

    /// A quorum that looks elects the best of it; whoever looks when there is a leader hears of it.
    fn elect(&mut self) {
        let awake: Vec<usize> =
            (0..self.nodes.len()).filter(|at| !self.paused.contains(at)).collect();
        let looks: Vec<usize> =
            awake.iter().copied().filter(|at| self.nodes[*at].looks.is_some()).collect();
        if looks.is_empty() || !self.chance(20) {
            return;
        }
        let leader = match awake.iter().find(|at| self.nodes[**at].takes_learners) {
            Some(leader) => *leader,
            None => {
                let vote = |at: &usize| (self.nodes[*at].looks, *at);
                let best = looks.iter().copied().max_by_key(vote).unwrap();
                let votes = |voter: ServerId| looks.iter().any(|at| id(*at) == voter);
                if !self.nodes[best].members.is_quorum(votes) {
                    return;
                }
                best
            }
        };
        for at in looks {
            self.nodes[at].looks = None;
            let state = if at == leader { PeerState::Leading } else { PeerState::Following };
            self.tell(at, MemberEvent::Elected { state, leader: id(leader) });
        }
    }

    fn dial(&mut self, at: usize) {
        let Some((leader, attempt)) = self.nodes[at].dial else { return };
        if !self.chance(30) {
            return;
        }
        let to = leader.0 as usize - 1;
        if self.nodes[to].takes_learners && !self.breaks(500) {
            self.last_conn += 1;
            let conn = PeerConn(self.last_conn);
            for (at, other) in [(at, to), (to, at)] {
                let end = Conn { other, came: VecDeque::new(), is_paused: false, has_ended: false };
                self.nodes[at].conns.insert(conn, end);
            }
            self.tell(at, MemberEvent::LeaderConnected { attempt, conn, address: ADDRESS });
            self.tell(to, MemberEvent::LearnerConnected { conn, address: ADDRESS });
        } else if self.chance(30) {
            self.tell(at, MemberEvent::LeaderUnreachable { attempt, why: "refused".into() });
        } else {
            return;
        }
        self.nodes[at].dial = None;
    }

    fn receive_tree(&mut self, at: usize) {
        let has_room = self.is_calm || self.chance(60);
        let (is_done, fails) = (self.chance(40), self.breaks(400));
        let now = self.now;
        let Node { member, quorum, tree, incoming, .. } = &mut self.nodes[at];
        let Some((zxid, came)) = incoming else { return };
        member.pass_on_tree(|piece| {
            if !has_room {
                return Err(piece);
            }
            came.extend(piece);
            Ok(())
        });
        let (end, zxid) = (end_of_tree(came), *zxid);
        member.on_tree_bytes(came.len() as u64, end.is_some(), quorum, tree, now);
        let Some(end) = end.filter(|_| is_done) else { return };
        let event = match fails {
            true => MemberEvent::TreeLost { why: "no space".into() },
            false => MemberEvent::TreeReceived { rest: came[end..].to_vec() },
        };
        let log = read_tree(&came[4..end]);
        *incoming = None;
        self.nodes[at].received = Some((zxid, log));
        self.tell(at, event);
    }

    fn end_job(&mut self, at: usize) {
        if self.nodes[at].jobs.is_empty() || !self.chance(50) {
            return;
        }
        let fails = self.breaks(1_000);
        let node = &mut self.nodes[at];
        let event = match node.jobs.pop_front().unwrap() {
            Job::Accepted(epoch) => {
                node.epochs.0 = epoch;
                MemberEvent::AcceptedEpoch(epoch)
            }
            Job::Current(epoch) => {
                node.epochs.1 = epoch;
                MemberEvent::CurrentEpoch(epoch)
            }
            Job::Ask { of, peer, upto } => {
                let log: Vec<Zxid> = node.log.iter().map(|logged| logged.zxid).collect();
                let log = &log[..log.partition_point(|zxid| *zxid <= upto)];
                let after = log.partition_point(|zxid| *zxid <= peer);
                let floor = after.checked_sub(1).map(|at| log[at]).filter(|_| !fails);
                let reach = LogReach { floor, next: log.get(after).copied(), is_too_long: false };
                MemberEvent::LogReach(of, reach)
            }
            Job::Truncate(to) if fails => MemberEvent::CannotTruncate { to, why: "a gap".into() },
            Job::Truncate(to) => {
                node.restart_at(to);
                self.cuts += 1;
                MemberEvent::Truncated(node.tree.last_zxid())
            }
            Job::Take(..) if fails => MemberEvent::TreeNotTaken { why: "no space".into() },
            Job::Take(zxid, log) => {
                (node.log, node.base) = (log, zxid);
                node.restart_at(zxid);
                self.trees += 1;
                MemberEvent::TreeTaken(zxid)
            }
        };
        self.tell(at, event);
    }

    fn end_flush(&mut self, at: usize) {
        if !self.chance(50) {
            return;
        }
        let node = &mut self.nodes[at];
        let Some(flush) = node.flushes.pop_front() else { return };
        let upto = flush.upto();
        node.durable = node.log.partition_point(|logged| logged.zxid <= upto);
        node.quorum.on_flushed(flush.end_in_test());
    }

    /// A client opens a session.
    fn ask(&mut self, at: usize) {
        if self.is_calm || !self.nodes[at].serves || !self.chance(10) {
            return;
        }
        let session = SessionId(1 + self.below(1 << 20) as i64);
        self.open(at, session);
    }

    pub(super) fn open(&mut self, at: usize, session: SessionId) {
        let origin = self.origin();
        self.say(at, ToQuorum::CreateSession { origin, session, timeout_ms: 60_000 });
    }

    /// A sync; its xid.
    pub(super) fn sync(&mut self, at: usize, session: SessionId) -> i32 {
        let origin = self.origin();
        let (op, auth) = (crate::codes::OpCode::SYNC, std::sync::Arc::from([]));
        // The path `/`.
        let record = Bytes::from_static(&[0, 0, 0, 1, b'/']);
        self.say(at, ToQuorum::Request(Request { origin, session, op, record, auth }));
        origin.xid
    }

    fn origin(&mut self) -> Origin {
        self.xid += 1;
        Origin { shard: ShardId(0), conn: ConnId { slot: 1, generation: 1 }, xid: self.xid }
    }

    fn say(&mut self, at: usize, message: ToQuorum) {
        let now = self.now;
        let node = &mut self.nodes[at];
        if let Some(generation) = node.joins.take() {
            let joined = ToQuorum::Joined { shard: ShardId(0), generation };
            node.quorum.on_message(joined, &node.tree, now);
        }
        node.quorum.on_message(message, &node.tree, now);
    }

    fn commit(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        while node.quorum.has_committable() {
            let mut told = Vec::new();
            let mut hand_over = |_, message| told.push(message);
            let budget = &mut Budget::new(u64::MAX);
            node.quorum.commit(&mut node.tree, budget, &[false], &mut hand_over);
            told.into_iter().for_each(|message| node.hear(message));
        }
        assert_eq!(node.quorum.report().digest_mismatches, 0);
        // A server that is elected applies what it has logged before a quorum has it; no client sees
        // it before that.
        if !node.serves {
            return;
        }
        let shown = node.tree.last_zxid();
        let upto = node.log.partition_point(|logged| logged.zxid <= shown);
        for nth in node.compared..upto {
            match self.committed.get(nth) {
                Some(logged) => assert_eq!(*logged, node.log[nth], "shown in another order"),
                None => self.committed.push(node.log[nth].clone()),
            }
        }
        node.compared = upto;
    }

    pub(super) fn has_come_together(&self) -> bool {
        let [first, rest @ ..] = &self.nodes[..] else { return false };
        let is_still = |node: &Node| node.flushes.is_empty() && node.jobs.is_empty();
        let is_same = |node: &Node| {
            node.log == first.log
                && node.tree.last_zxid() == first.tree.last_zxid()
                && node.tree.digest() == first.tree.digest()
        };
        self.nodes.iter().all(|node| node.serves && is_still(node)) && rest.iter().all(is_same)
    }
}

impl Node {
    fn hear(&mut self, message: ToShard) {
        match message {
            ToShard::Serving { generation, .. } => {
                (self.serves, self.joins) = (true, Some(generation));
            }
            ToShard::NotServing => (self.serves, self.joins) = (false, None),
            message => self.told.push(message),
        }
    }
}
