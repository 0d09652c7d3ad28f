//! The machine driven by hand: a tree, a quorum core of a few lines, and clients that are byte
//! vectors.

mod bad_input;
mod connect;
mod known_bugs;
mod limits;
mod reads;
mod serve;
mod service;
mod turns;
mod watches;
mod work;

use std::collections::{BTreeMap, VecDeque};

use crate::codes::{ErrorCode, EventType, OpCode};
use crate::handoff::{
    BatchItem, CommitBatch, ConnId, Event, NotOpened, Reply, ReplyBody, Request, ShardId, ToQuorum,
    ToShard,
};
use crate::jute::data::{Acl, Id, Stat, read_acls};
use crate::jute::{Reader, Writer};
use crate::proto::{CreateRequest, DeleteRequest, PathRequest, SetDataRequest};
use crate::tree::{Tree, TxnResult};
use crate::txn::{CreateKind, CreateTxn, SetDataTxn, Txn, TxnHeader};
use crate::zxid::{Now, SessionId, Zxid};

use super::{CloseReason, Effect, Frontend, FrontendConfig};

/// One frame that a client got.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Got {
    xid: i32,
    zxid: i64,
    err: i32,
    body: Vec<u8>,
}

impl Got {
    fn event(&self) -> (i32, i32, String) {
        assert_eq!((self.xid, self.err), (-1, 0), "not an event: {self:?}");
        let mut reader = Reader::new(&self.body);
        (reader.i32().unwrap(), reader.i32().unwrap(), reader.string().unwrap().unwrap().into())
    }

    fn stat(&self) -> Stat {
        Stat::read(&mut Reader::new(&self.body[self.body.len() - 68..])).unwrap()
    }

    fn data(&self) -> Option<Vec<u8>> {
        Reader::new(&self.body).buffer().unwrap().map(<[u8]>::to_vec)
    }

    fn names(&self) -> Vec<String> {
        let names = Reader::new(&self.body).strings().unwrap().unwrap();
        let mut names: Vec<String> =
            names.into_iter().map(|name| name.unwrap().into_owned()).collect();
        names.sort();
        names
    }
}

/// A shard, its tree, and everything that is between them.
struct World {
    tree: Tree,
    front: Frontend,
    now: Now,
    /// The requests that the quorum core has not taken up.
    queue: VecDeque<ToQuorum>,
    /// Answer what is queued after every step.
    commits_at_once: bool,
    sent: BTreeMap<u32, Vec<u8>>,
    closed: Vec<ConnId>,
    reasons: Vec<CloseReason>,
    paused: Vec<ConnId>,
    words: Vec<([u8; 4], Option<i64>)>,
    moved: Vec<(ShardId, Vec<u8>)>,
    touches: Vec<(SessionId, i64)>,
    auth_seen: Vec<usize>,
    slots: u32,
}

impl World {
    fn new() -> Self {
        Self::with(FrontendConfig::default())
    }

    fn with(config: FrontendConfig) -> Self {
        Self::of_shard(config, ShardId(0))
    }

    fn of_shard(config: FrontendConfig, shard: ShardId) -> Self {
        Self {
            tree: Tree::new(),
            front: Frontend::new(config, shard, FIRST_SESSION, 0),
            now: Now { mono_ms: 1_000, wall_ms: 1_700_000_000_000 },
            queue: VecDeque::new(),
            commits_at_once: true,
            sent: BTreeMap::new(),
            closed: Vec::new(),
            reasons: Vec::new(),
            paused: Vec::new(),
            words: Vec::new(),
            moved: Vec::new(),
            touches: Vec::new(),
            auth_seen: Vec::new(),
            slots: 0,
        }
    }

    fn accept(&mut self) -> ConnId {
        let conn = ConnId { slot: self.slots, generation: 7 };
        self.slots += 1;
        self.front.on_accept(conn, "10.0.0.1:4000".parse().unwrap(), self.now);
        conn
    }

    fn send(&mut self, conn: ConnId, bytes: &[u8]) {
        self.receive(conn, bytes);
        self.pump();
    }

    /// Gives bytes to the machine, and goes on until nothing is ready.
    fn receive(&mut self, conn: ConnId, bytes: &[u8]) {
        let mut hold = self.front.drain(&self.tree, self.now, || None).unwrap();
        self.front.on_bytes(conn, bytes, &mut hold);
        self.serve_all();
    }

    /// Turns without input until nothing is left to do.
    fn serve_all(&mut self) {
        while self.front.has_work() {
            self.turn();
        }
    }

    /// One turn without input.
    fn turn(&mut self) {
        if let Some(mut hold) = self.front.drain(&self.tree, self.now, || None) {
            while self.front.serve_next(&mut hold) {}
        }
    }

    fn tick(&mut self, ms: i64) {
        self.now.mono_ms += ms;
        self.now.wall_ms += ms;
        self.front.on_tick(self.now);
        self.serve_all();
        self.pump();
    }

    /// Executes effects; the shell reads all output at once.
    fn pump(&mut self) {
        self.check();
        loop {
            while let Some(effect) = self.front.poll() {
                self.execute(effect);
            }
            if self.queue.is_empty() || !self.commits_at_once {
                return;
            }
            self.commit(usize::MAX);
        }
    }

    /// The invariants between two inputs.
    fn check(&self) {
        let (shard, open) = (&self.front.shard, self.front.connections.iter());
        let pending = open.flat_map(|conn| &conn.pending).chain(shard.forgotten.values().flatten());
        let (count, large) = pending
            .fold((0, 0), |(count, large), one| (count + 1, large + one.large_bytes as usize));
        assert_eq!((shard.outstanding, shard.large_bytes), (count, large));
        let bytes = |pending: &VecDeque<super::connection::Pending>| {
            pending.iter().map(|one| one.bytes as usize).sum::<usize>()
        };
        let open: usize = self.front.connections.iter().map(|conn| bytes(&conn.pending)).sum();
        let forgotten: usize = shard.forgotten.values().map(bytes).sum();
        assert_eq!(shard.outstanding_bytes, open + forgotten);
        let connections = self.front.connections.iter();
        connections.for_each(|conn| assert_eq!(conn.pending_bytes, bytes(&conn.pending)));
        assert!(shard.forgotten.values().all(|pending| !pending.is_empty()));
    }

    fn execute(&mut self, effect: Effect) {
        match effect {
            Effect::Writable(conn) => self.drain(conn),
            Effect::Close { conn, why } => {
                self.reasons.push(why);
                self.drain(conn);
                self.closed.push(conn);
            }
            Effect::PauseReading(conn) => self.paused.push(conn),
            Effect::ResumeReading(conn) => self.paused.retain(|other| *other != conn),
            Effect::Touches(touches) => self.touches.extend(touches),
            Effect::ToQuorum(message) => self.queue.push_back(message),
            Effect::Word { conn, word, argument } => {
                self.words.push((word, argument));
                self.front.on_word_answer(conn, b"imok".to_vec());
            }
            Effect::MoveTo { shard, bytes, .. } => self.moved.push((shard, bytes)),
        }
    }

    fn drain(&mut self, conn: ConnId) {
        let bytes = std::mem::take(self.front.output(conn));
        self.front.on_sent(conn, bytes.len());
        self.sent.entry(conn.slot).or_default().extend(bytes);
    }

    /// Refuses the oldest queued request.
    fn answer_oldest(&mut self) {
        let Some(ToQuorum::Request(asked)) = self.queue.pop_front() else { panic!("a request") };
        let Request { origin, op, .. } = asked;
        let (zxid, err) = (self.tree.last_zxid(), ErrorCode::NO_NODE);
        let (conn, xid, body, close) = (origin.conn, origin.xid, ReplyBody::Empty, false);
        let reply = Reply { conn, xid, op, zxid, err, body, close };
        let items = vec![BatchItem::Reply(reply)];
        self.deliver(vec![ToShard::Commit(CommitBatch { zxid, items })]);
        self.serve_all();
        self.pump();
    }

    /// Commits up to `max` queued messages as one batch.
    fn commit(&mut self, max: usize) {
        let mut commit = CommitBatch { zxid: self.tree.last_zxid(), items: Vec::new() };
        let mut renewals = Vec::new();
        for _ in 0..max.min(self.queue.len()) {
            match self.queue.pop_front().unwrap() {
                ToQuorum::CreateSession { origin, session, timeout_ms } => {
                    self.apply(session, 0, &Txn::CreateSession { timeout_ms }, &mut commit.items);
                    commit.items.push(BatchItem::SessionOpened { origin, session, timeout_ms });
                }
                ToQuorum::Renew { origin, session, timeout_ms } => {
                    let valid = self.tree.session_timeout(session).is_some();
                    renewals.push(ToShard::Renewed { origin, session, timeout_ms, valid });
                }
                ToQuorum::Request(request) => self.commit_request(request, &mut commit.items),
                ToQuorum::Joined { .. } => {}
            }
        }
        commit.zxid = self.tree.last_zxid();
        renewals.push(ToShard::Commit(commit));
        self.deliver(renewals);
        let commits_at_once = std::mem::replace(&mut self.commits_at_once, false);
        self.pump();
        self.commits_at_once = commits_at_once;
    }

    /// Messages of the quorum core.
    fn deliver(&mut self, messages: Vec<ToShard>) {
        let mut messages = messages.into_iter();
        while self.front.drain(&self.tree, self.now, || messages.next()).is_none() {}
        self.serve_all();
    }

    fn apply(
        &mut self,
        session: SessionId,
        cxid: i32,
        txn: &Txn,
        items: &mut Vec<BatchItem>,
    ) -> (ErrorCode, TxnResult) {
        let header = TxnHeader {
            session,
            cxid,
            zxid: self.tree.last_zxid().next(),
            time_ms: self.now.wall_ms,
        };
        let mut changes = Vec::new();
        let applied = self.tree.apply(&header, txn, Some(&mut changes));
        items.extend(changes.into_iter().map(|change| {
            let event =
                Event { zxid: change.zxid, kind: change.kind, path: change.path, acl: change.acl };
            BatchItem::Event(event.into())
        }));
        (applied.err, applied.result)
    }

    fn commit_request(&mut self, request: Request, items: &mut Vec<BatchItem>) {
        self.auth_seen.push(request.auth.len());
        let (session, xid) = (request.session, request.origin.xid);
        let (err, body) = match request.op {
            OpCode::SYNC => (ErrorCode::OK, ReplyBody::Path(read_path(&request))),
            op => {
                let txn = prepare(&self.tree, op, &request.record);
                let (err, result) = self.apply(session, xid, &txn, items);
                (err, reply_body(&txn, result))
            }
        };
        let close = request.op == OpCode::CLOSE_SESSION;
        let zxid = self.tree.last_zxid();
        items.push(BatchItem::Reply(Reply {
            conn: request.origin.conn,
            xid,
            op: request.op,
            zxid,
            err,
            body,
            close,
        }));
        if close {
            items.push(BatchItem::SessionClosed { session });
        }
    }

    /// The frames that the client has got since the last call.
    fn got(&mut self, conn: ConnId) -> Vec<Got> {
        let bytes = std::mem::take(self.sent.entry(conn.slot).or_default());
        let mut reader = Reader::new(&bytes);
        let mut all = Vec::new();
        while let Ok(Some(frame)) = reader.buffer() {
            let mut frame = Reader::new(frame);
            let (xid, zxid, err) =
                (frame.i32().unwrap(), frame.i64().unwrap(), frame.i32().unwrap());
            all.push(Got { xid, zxid, err, body: frame.rest().to_vec() });
        }
        assert!(reader.rest().is_empty(), "only whole frames are sent");
        all
    }

    /// The one reply to a request.
    fn ask(&mut self, conn: ConnId, op: OpCode, record: &[u8]) -> Got {
        let xid = 40;
        self.send(conn, &request(xid, op, record));
        let mut got = self.got(conn);
        let reply = got.pop().unwrap_or_else(|| panic!("no reply to {op:?}"));
        assert!(got.is_empty(), "more than a reply to {op:?}: {got:?}");
        reply
    }

    fn err(&mut self, conn: ConnId, op: OpCode, record: &[u8]) -> i32 {
        self.ask(conn, op, record).err
    }

    fn connect(&mut self) -> ConnId {
        let conn = self.accept();
        self.send(conn, &connect_request(0, 10_000, 0, &[0; 16], Some(false)));
        assert_eq!(self.sent.remove(&conn.slot).map(|bytes| bytes.len()), Some(41));
        conn
    }

    fn session(&mut self, conn: ConnId) -> SessionId {
        self.front.connections.get(conn).unwrap().session
    }

    fn create(&mut self, conn: ConnId, path: &str) {
        assert_eq!(
            self.err(conn, OpCode::CREATE, &create(path, b"d", &[Acl::open()], 0)),
            0,
            "{path}"
        );
    }

    fn is_closed(&self, conn: ConnId) -> bool {
        self.closed.contains(&conn)
    }
}

fn prepare(tree: &Tree, op: OpCode, record: &[u8]) -> Txn {
    let reader = &mut Reader::new(record);
    match op {
        OpCode::CREATE | OpCode::CREATE2 => {
            let request = CreateRequest::read(reader, op).unwrap();
            let path: String = request.path.unwrap().into();
            let kind =
                if request.flags == 1 { CreateKind::Ephemeral } else { CreateKind::Persistent };
            let acl = request.acl.unwrap().into_iter().map(|acl| Acl {
                perms: acl.perms,
                id: Id::new(&acl.scheme.unwrap(), &acl.id.unwrap()),
            });
            let parent = &path[..path.rfind('/').unwrap()];
            let Some(parent) = tree.get(parent) else { return Txn::Error(ErrorCode::NO_NODE) };
            if tree.get(&path).is_some() {
                return Txn::Error(ErrorCode::NODE_EXISTS);
            }
            Txn::Create(CreateTxn {
                acl: acl.collect(),
                data: request.data.map(bytes::Bytes::copy_from_slice),
                kind,
                with_stat: op == OpCode::CREATE2,
                parent_cversion: parent.persisted().cversion + 1,
                path,
            })
        }
        OpCode::DELETE => {
            Txn::Delete { path: DeleteRequest::read(reader).unwrap().path.unwrap().into() }
        }
        OpCode::SET_DATA => {
            let request = SetDataRequest::read(reader).unwrap();
            let path: String = request.path.unwrap().into();
            let Some(node) = tree.get(&path) else { return Txn::Error(ErrorCode::NO_NODE) };
            let data = request.data.map(bytes::Bytes::copy_from_slice);
            Txn::SetData(SetDataTxn { version: node.stat().version + 1, path: path.into(), data })
        }
        OpCode::CLOSE_SESSION => Txn::CloseSession { paths: None },
        other => panic!("the quorum core of the tests has no {other:?}"),
    }
}

/// The answer of the quorum core to a request with xid 1.
fn reply(conn: ConnId, op: OpCode, body: ReplyBody) -> Reply {
    Reply { conn, xid: 1, op, zxid: Zxid(0), err: ErrorCode::OK, body, close: false }
}

fn reply_body(txn: &Txn, result: TxnResult) -> ReplyBody {
    match (result, txn) {
        (TxnResult::Created, Txn::Create(create)) => ReplyBody::Path(create.path.as_str().into()),
        (TxnResult::CreatedStat(stat), Txn::Create(create)) => {
            ReplyBody::PathStat(create.path.as_str().into(), stat)
        }
        (TxnResult::Stat(stat), _) => ReplyBody::Stat(stat),
        _ => ReplyBody::Empty,
    }
}

fn read_path(request: &Request) -> Box<str> {
    PathRequest::read(&mut Reader::new(&request.record)).unwrap().path.unwrap().into()
}

fn frame(body: &[u8]) -> Vec<u8> {
    record(|writer| writer.buffer(Some(body)))
}

fn record(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut Writer::new(&mut out));
    out
}

fn request(xid: i32, op: OpCode, body: &[u8]) -> Vec<u8> {
    frame(&record(|writer| {
        writer.i32(xid);
        writer.i32(op.0);
        writer.raw(body);
    }))
}

fn connect_request(
    session: i64,
    timeout_ms: i32,
    seen: i64,
    password: &[u8],
    read_only: Option<bool>,
) -> Vec<u8> {
    frame(&record(|writer| {
        writer.i32(0);
        writer.i64(seen);
        writer.i32(timeout_ms);
        writer.i64(session);
        writer.buffer(Some(password));
        if let Some(read_only) = read_only {
            writer.bool(read_only);
        }
    }))
}

fn path(path: &str) -> Vec<u8> {
    record(|writer| writer.string(path))
}

fn path_watch(path: &str, watch: bool) -> Vec<u8> {
    record(|writer| {
        writer.string(path);
        writer.bool(watch);
    })
}

fn path_int(path: &str, value: i32) -> Vec<u8> {
    record(|writer| {
        writer.string(path);
        writer.i32(value);
    })
}

fn set_data(path: &str, data: &[u8]) -> Vec<u8> {
    record(|writer| {
        writer.string(path);
        writer.buffer(Some(data));
        writer.i32(-1);
    })
}

fn create(path: &str, data: &[u8], acl: &[Acl], flags: i32) -> Vec<u8> {
    record(|writer| {
        writer.string(path);
        writer.buffer(Some(data));
        crate::jute::data::write_acls(writer, acl);
        writer.i32(flags);
    })
}

fn auth_packet(scheme: &str, data: Option<&[u8]>) -> Vec<u8> {
    record(|writer| {
        writer.i32(0);
        writer.string(scheme);
        writer.buffer(data);
    })
}

fn acls(got: &Got) -> Vec<Acl> {
    read_acls(&mut Reader::new(&got.body)).unwrap()
}

/// An ACL entry of scheme digest for `user:password`.
fn digest_acl(user_password: &str, perms: i32) -> Acl {
    Acl { perms, id: crate::acl::digest_id(user_password.as_bytes()) }
}

const FIRST_SESSION: i64 = 0x100_0000_0000_0000;
const CREATED: i32 = EventType::NodeCreated as i32;
const DELETED: i32 = EventType::NodeDeleted as i32;
const CHANGED: i32 = EventType::NodeDataChanged as i32;
const CHILDREN: i32 = EventType::NodeChildrenChanged as i32;

fn zxid(world: &World) -> i64 {
    let Zxid(zxid) = world.tree.last_zxid();
    zxid
}
