//! A simulated client: it connects, asks for random things, many at a time, believes what it is
//! told, watches, falls silent, hangs up, comes back with its session and its watches, and
//! sometimes says goodbye.

use std::collections::{BTreeSet, VecDeque};

use crate::codes::{ErrorCode, EventType};
use crate::jute::{Malformed, Reader, Writer};
use crate::proto::xid;

use super::op::{AclKind, Create, Fill, Mode, Op, Rewatch};
use super::quota::{self, LIMITS, ROOTS, STATS};
use super::rng::Rng;
use super::swarm::Swarm;

/// One client and what it knows.
#[derive(Debug)]
pub(crate) struct Client {
    pub rng: Rng,
    pub session: i64,
    password: Vec<u8>,
    /// The timeout that it asks for with a new session, the longer one that it asks for when it
    /// comes back with one, and the one it got; in milliseconds.
    asked_ms: i32,
    asked_later_ms: i32,
    timeout_ms: i64,
    pub phase: Phase,
    next_xid: i32,
    inflight: VecDeque<(i32, Op)>,
    /// The largest zxid that it has been told.
    pub last_zxid: i64,
    /// The watches that it believes to have.
    data: BTreeSet<String>,
    exist: BTreeSet<String>,
    child: BTreeSet<String>,
    persistent: BTreeSet<String>,
    recursive: BTreeSet<String>,
    /// Whether it proves its user on each connection.
    pub has_user: bool,
    /// Per mille of its data that are several sectors long.
    bulk: u64,
    /// Whether it takes a server that answers reads alone, and whether it has one.
    pub takes_read_only: bool,
    is_read_only: bool,
    /// Whether it sets quotas.
    quotas: bool,
    /// Whether it asks for many syncs, and for nothing but syncs and reads.
    syncs: bool,
    looks_on: bool,
    /// Paths that it may watch, as it knows; 0 for any number.
    watches_max: usize,
    bytes: Vec<u8>,
    /// Sequential nodes that it has made.
    made: Vec<String>,
    sent_ms: i64,
    /// It sends nothing before this time.
    pub silent_until_ms: i64,
}

/// The stage of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Away,
    Connecting,
    Open,
    /// It has asked for the end of its session.
    Closing,
}

/// The meaning of bytes from the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Nothing,
    /// The session is open; requests may follow.
    Connected,
    /// The session is gone: the next connection asks for a new one.
    Refused,
    /// The session is closed as asked.
    Closed,
}

/// What an open client does next, beside its pings.
#[derive(Debug)]
pub(crate) enum Doing {
    HangUp,
    /// It falls silent until that time.
    Silence(i64),
    Ask(Vec<(i32, Op)>),
    /// It asks, and moves to another server before anything of that has come to this one.
    Flee(Vec<(i32, Op)>),
    Nothing,
}

impl Client {
    /// A client without a session that will ask for `asked_ms`.
    pub(crate) fn new(mut rng: Rng, asked_ms: i32, has_user: bool, swarm: &Swarm) -> Self {
        // Whoever writes as well waits for that where a leader is cut off, and asks nothing more.
        let looks_on = swarm.syncs && rng.chance(400);
        Self {
            rng,
            looks_on,
            session: 0,
            password: vec![0; 16],
            asked_ms,
            asked_later_ms: asked_ms + swarm.longer_ms,
            timeout_ms: i64::from(asked_ms),
            phase: Phase::Away,
            next_xid: 1,
            inflight: VecDeque::new(),
            last_zxid: 0,
            data: BTreeSet::new(),
            exist: BTreeSet::new(),
            child: BTreeSet::new(),
            persistent: BTreeSet::new(),
            recursive: BTreeSet::new(),
            has_user,
            bulk: swarm.bulk,
            takes_read_only: false,
            is_read_only: false,
            quotas: swarm.quotas,
            syncs: swarm.syncs,
            watches_max: swarm.watches_max,
            bytes: Vec::new(),
            made: Vec::new(),
            sent_ms: 0,
            silent_until_ms: 0,
        }
    }

    /// The connect request for its session, or for a new one.
    pub(crate) fn connect(&mut self, now_ms: i64) -> Vec<u8> {
        self.phase = Phase::Connecting;
        self.sent_ms = now_ms;
        self.bytes.clear();
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out);
        let frame = writer.begin_frame();
        writer.i32(0);
        writer.i64(self.last_zxid);
        writer.i32(self.asks_ms());
        writer.i64(self.session);
        writer.buffer(Some(&self.password));
        writer.bool(self.takes_read_only);
        writer.end_frame(frame);
        out
    }

    /// The timeout that it asks for now.
    pub(crate) fn asks_ms(&self) -> i32 {
        if self.session == 0 { self.asked_ms } else { self.asked_later_ms }
    }

    /// The connection is over.
    pub(crate) fn on_lost(&mut self) {
        self.phase = Phase::Away;
        self.inflight.clear();
        self.bytes.clear();
    }

    /// Forgets its session.
    pub(crate) fn forget(&mut self) {
        self.session = 0;
        self.password = vec![0; 16];
        self.last_zxid = 0;
        for set in [
            &mut self.data,
            &mut self.exist,
            &mut self.child,
            &mut self.persistent,
            &mut self.recursive,
        ] {
            set.clear();
        }
    }

    /// The first requests on a connection: its user, and the watches that it still has.
    pub(crate) fn greet(&mut self) -> Vec<(i32, Op)> {
        let mut ops = Vec::new();
        if self.has_user {
            ops.push(Op::Auth);
        }
        self.forget_surplus_watches();
        let list = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>();
        let lists = Rewatch {
            relative_zxid: self.last_zxid,
            data: list(&self.data),
            exist: list(&self.exist),
            child: list(&self.child),
            persistent: list(&self.persistent),
            recursive: list(&self.recursive),
        };
        if !lists.is_empty() {
            for set in [&mut self.data, &mut self.exist, &mut self.child] {
                set.clear();
            }
            self.data.extend(lists.data.iter().cloned());
            self.exist.extend(lists.exist.iter().cloned());
            self.child.extend(lists.child.iter().cloned());
            ops.push(Op::SetWatches(lists));
        }
        ops.into_iter().map(|op| self.send(op)).collect()
    }

    /// Watches as many paths as it may. It may believe in more: watches whose events were lost with
    /// the last connection, and those set in their place.
    fn forget_surplus_watches(&mut self) {
        let mut sets = [
            &mut self.data,
            &mut self.exist,
            &mut self.child,
            &mut self.persistent,
            &mut self.recursive,
        ];
        let paths: BTreeSet<String> = sets.iter().flat_map(|set| set.iter().cloned()).collect();
        if self.watches_max > 0 && paths.len() > self.watches_max {
            let kept: BTreeSet<String> = paths.into_iter().take(self.watches_max).collect();
            sets.iter_mut().for_each(|set| set.retain(|path| kept.contains(path)));
        }
    }

    /// What it does next while its connection is open, as its world's chance has it; in calm times
    /// nothing that a ping does not do.
    pub(crate) fn doing(
        &mut self,
        rng: &mut Rng,
        swarm: &Swarm,
        is_calm: bool,
        now_ms: i64,
    ) -> Doing {
        let (cut, silence, close, flee) = match is_calm {
            true => (0, 0, 0, 0),
            false => (swarm.cut, swarm.silence, swarm.close, swarm.flee),
        };
        match rng.below(1000) {
            draw if draw < cut => Doing::HangUp,
            draw if draw < cut + silence => {
                let until = now_ms + self.timeout_ms() * rng.between(1, 3) as i64;
                self.silent_until_ms = until;
                Doing::Silence(until)
            }
            draw if draw < cut + silence + close => Doing::Ask(vec![self.close()]),
            draw if draw < cut + silence + close + flee => Doing::Flee(self.requests(now_ms)),
            _ if is_calm => Doing::Nothing,
            _ => Doing::Ask(self.requests(now_ms)),
        }
    }

    /// Some random requests, one after the other; none if enough are under way.
    pub(crate) fn requests(&mut self, now_ms: i64) -> Vec<(i32, Op)> {
        if self.inflight.len() > INFLIGHT_MAX {
            return Vec::new();
        }
        self.sent_ms = now_ms;
        let count = 1 + self.rng.index(6);
        let ops: Vec<Op> = (0..count).map(|_| self.any_op()).collect();
        ops.into_iter().map(|op| self.send(op)).collect()
    }

    /// A ping, if it is time for one.
    pub(crate) fn ping(&mut self, now_ms: i64) -> Option<(i32, Op)> {
        if now_ms - self.sent_ms < self.timeout_ms / 3 {
            return None;
        }
        self.sent_ms = now_ms;
        Some(self.send(Op::Ping))
    }

    /// The end of the session.
    pub(crate) fn close(&mut self) -> (i32, Op) {
        self.phase = Phase::Closing;
        self.send(Op::Close)
    }

    /// The negotiated timeout in milliseconds.
    pub(crate) fn timeout_ms(&self) -> i64 {
        self.timeout_ms
    }

    fn send(&mut self, op: Op) -> (i32, Op) {
        let xid = op.own_xid().unwrap_or_else(|| {
            self.next_xid += 1;
            self.next_xid
        });
        self.inflight.push_back((xid, op.clone()));
        (xid, op)
    }

    /// Bytes have come.
    pub(crate) fn on_bytes(&mut self, bytes: &[u8]) -> Told {
        self.bytes.extend_from_slice(bytes);
        let all = std::mem::take(&mut self.bytes);
        let mut rest = &all[..];
        let mut told = Told::Nothing;
        while let Some(len) = rest.first_chunk().map(|len| u32::from_be_bytes(*len) as usize) {
            let Some(frame) = rest.get(4..4 + len) else { break };
            match self.on_frame(frame) {
                Ok(Told::Nothing) | Err(_) => {}
                Ok(news) => told = news,
            }
            rest = &rest[4 + len..];
        }
        self.bytes = rest.to_vec();
        told
    }

    fn on_frame(&mut self, frame: &[u8]) -> Result<Told, Malformed> {
        let mut reader = Reader::new(frame);
        if self.phase == Phase::Connecting {
            return self.on_connected(&mut reader);
        }
        let (xid, zxid, err) = (reader.i32()?, reader.i64()?, ErrorCode(reader.i32()?));
        // What a server without a leader shows may never be committed.
        if !self.is_read_only {
            self.last_zxid = self.last_zxid.max(zxid);
        }
        if xid == xid::EVENT {
            let kind = reader.i32()?;
            reader.i32()?;
            let path = reader.string()?.unwrap_or_default();
            self.on_event(kind, &path);
            return Ok(Told::Nothing);
        }
        let Some(at) = self.inflight.iter().position(|(sent, _)| *sent == xid) else {
            return Ok(Told::Nothing);
        };
        let Some((_, op)) = self.inflight.remove(at) else { return Ok(Told::Nothing) };
        if op == Op::Close {
            return Ok(Told::Closed);
        }
        self.note(&op, err, &mut reader)?;
        Ok(Told::Nothing)
    }

    fn on_connected(&mut self, reader: &mut Reader<'_>) -> Result<Told, Malformed> {
        reader.i32()?;
        let (timeout_ms, session) = (reader.i32()?, reader.i64()?);
        if timeout_ms == 0 {
            return Ok(Told::Refused);
        }
        self.timeout_ms = i64::from(timeout_ms);
        self.session = session;
        self.password = reader.buffer()?.unwrap_or_default().to_vec();
        self.is_read_only = reader.bool()?;
        self.phase = Phase::Open;
        Ok(Told::Connected)
    }

    fn on_event(&mut self, kind: i32, path: &str) {
        if kind == EventType::NodeChildrenChanged as i32 || kind == EventType::NodeDeleted as i32 {
            self.child.remove(path);
        }
        if kind != EventType::NodeChildrenChanged as i32 {
            self.data.remove(path);
            self.exist.remove(path);
        }
    }

    fn note(&mut self, op: &Op, err: ErrorCode, body: &mut Reader<'_>) -> Result<(), Malformed> {
        match op {
            Op::GetData { path, watch: true } if err.is_ok() => {
                self.data.insert(path.clone());
            }
            Op::Exists { path, watch: true } if err.is_ok() => drop(self.data.insert(path.clone())),
            Op::Exists { path, watch: true } if err == ErrorCode::NO_NODE => {
                self.exist.insert(path.clone());
            }
            Op::GetChildren { path, watch: true } if err.is_ok() => {
                self.child.insert(path.clone());
            }
            Op::AddWatch { path, recursive: false } if err.is_ok() => {
                self.persistent.insert(path.clone());
            }
            Op::AddWatch { path, recursive: true } if err.is_ok() => {
                self.recursive.insert(path.clone());
            }
            Op::RemoveWatches { path, kind } if err.is_ok() => self.forget_watch(path, *kind),
            Op::Create(create) if create.sequential && err.is_ok() => {
                self.made.push(body.string()?.unwrap_or_default().into());
            }
            _ => {}
        }
        Ok(())
    }

    fn forget_watch(&mut self, path: &str, kind: i32) {
        let gone = |of: i32| kind == of || kind == 3;
        if gone(1) {
            self.child.remove(path);
        }
        if gone(2) {
            self.data.remove(path);
            self.exist.remove(path);
        }
        if gone(4) {
            self.persistent.remove(path);
        }
        if gone(5) {
            self.recursive.remove(path);
        }
    }

    fn any_op(&mut self) -> Op {
        if self.syncs && self.rng.chance(if self.looks_on { 500 } else { 200 }) {
            return Op::Sync { path: self.any_path() };
        }
        if self.looks_on {
            return self.any_read();
        }
        match self.rng.below(100) {
            0..=54 => self.any_write(),
            55 if self.quotas => self.any_quota(),
            55..=62 => self.any_multi(),
            63..=64 => Op::Sync { path: self.any_path() },
            65..=67 => Op::AddWatch { path: self.any_path(), recursive: self.rng.chance(500) },
            68..=69 => {
                Op::RemoveWatches { path: self.any_path(), kind: 1 + self.rng.index(5) as i32 }
            }
            70..=71 => Op::GetAcl { path: self.any_path() },
            _ => self.any_read(),
        }
    }

    fn any_read(&mut self) -> Op {
        let (path, watch) = (self.any_path(), self.rng.chance(400));
        match self.rng.below(3) {
            0 => Op::GetData { path, watch },
            1 => Op::Exists { path, watch },
            _ => Op::GetChildren { path, watch },
        }
    }

    fn any_multi(&mut self) -> Op {
        let count = self.rng.index(5);
        Op::Multi((0..count).map(|_| self.any_part()).collect())
    }

    /// Sets a quota, changes or removes it, or reads its statistics.
    fn any_quota(&mut self) -> Op {
        let root = *self.rng.pick(&ROOTS);
        let [top, limits, stats] = ["", LIMITS, STATS].map(|name| quota::path(root, name));
        let data = Fill::limits(self.rng.index(8));
        let create = |path: &str| {
            let (path, acl, mode) = (path.to_owned(), AclKind::Open, Mode::Persistent);
            Op::Create(Create { path, data, acl, mode, sequential: false, with_stat: false })
        };
        match self.rng.below(4) {
            0 => Op::Multi([&top, &limits, &stats].map(|path| create(path)).into()),
            1 => {
                Op::Multi([stats, limits, top].map(|path| Op::Delete { path, version: -1 }).into())
            }
            2 => Op::SetData { path: limits, data, version: -1 },
            _ => Op::GetData { path: stats, watch: false },
        }
    }

    fn any_part(&mut self) -> Op {
        if self.rng.chance(200) {
            return Op::Check { path: self.any_path(), version: self.any_version() };
        }
        match self.any_write() {
            Op::SetAcl { path, version, .. } => {
                Op::SetData { path, data: Fill { byte: 7, len: 1 }, version }
            }
            op => op,
        }
    }

    fn any_write(&mut self) -> Op {
        let path = self.any_path();
        match self.rng.below(100) {
            0..=39 => Op::Create(self.any_create(path)),
            40..=59 => Op::Delete { path: self.any_old_path(path), version: self.any_version() },
            60..=95 => Op::SetData { path, data: self.any_data(), version: self.any_version() },
            _ => Op::SetAcl { path, acl: self.any_acl(), version: self.any_version() },
        }
    }

    fn any_create(&mut self, path: String) -> Create {
        let mode = match self.rng.below(20) {
            0..=9 => Mode::Persistent,
            10..=16 => Mode::Ephemeral,
            17..=18 => Mode::Container,
            _ => Mode::Ttl(1 + self.rng.below(500) as i64),
        };
        let sequential = mode != Mode::Container && self.rng.chance(200);
        let (data, acl, with_stat) = (self.any_data(), self.any_acl(), self.rng.chance(500));
        Create { path, data, acl, mode, sequential, with_stat }
    }

    fn any_acl(&mut self) -> AclKind {
        match self.rng.below(20) {
            0 => AclKind::Hidden,
            1 => AclKind::User,
            _ => AclKind::Open,
        }
    }

    fn any_path(&mut self) -> String {
        (*self.rng.pick(PATHS)).to_owned()
    }

    fn any_old_path(&mut self, other: String) -> String {
        match self.made.len() {
            0 => other,
            _ if self.rng.chance(500) => other,
            len => self.made.swap_remove(self.rng.index(len)),
        }
    }

    fn any_version(&mut self) -> i32 {
        if self.rng.chance(700) { -1 } else { self.rng.below(4) as i32 }
    }

    /// Short, or several sectors long; of zeros at times, as sectors are that were not written.
    fn any_data(&mut self) -> Fill {
        let len = if self.rng.chance(self.bulk) {
            400 + self.rng.index(1200)
        } else {
            self.rng.index(40)
        };
        let byte = if self.rng.chance(200) { 0 } else { self.rng.below(256) as u8 };
        Fill { byte, len }
    }
}

const INFLIGHT_MAX: usize = 24;
/// Few, so that clients meet.
const PATHS: &[&str] =
    &["/a", "/b", "/a/x", "/a/y", "/b/x", "/a/x/1", "/a/x/2", "/b/x/1", "/a/x/1/deep"];
