//! The machine with a shell that only remembers: what it appended, what shards were told.

mod ensemble;
mod multi;
mod ops;
mod pipeline;
mod random;
mod read_only;
mod role;
mod sessions;
mod slices;

use std::sync::Arc;

use bytes::Bytes;

use super::leader::{OWN_WORK_OUTSTANDING_MAX, WAITING_MAX};
use super::prepare::Prepare;
use super::*;
use crate::codes::{ErrorCode, OpCode};
use crate::handoff::{BatchItem, ConnId, Origin, Reply, ReplyBody, Request};
use crate::jute::data::{Acl, Id};
use crate::jute::{Reader, Writer};
use crate::txn::Txn;
use crate::txn::{LogRecord, TxnHeader, read_log_record};
use crate::txnlog::first_entry;

/// A server without a disk: what is flushed is durable at once, unless a test holds it back.
struct World {
    tree: Tree,
    quorum: Quorum,
    now: Now,
    /// Everything appended, decoded.
    log: Vec<LogRecord>,
    /// The messages to the shards, in order.
    told: Vec<(ShardId, ToShard)>,
    others: Vec<&'static str>,
    flushes: Vec<PendingFlush>,
    watching: Vec<bool>,
    auth: Arc<[Id]>,
    xid: i32,
    session: SessionId,
}

impl Quorum {
    fn leader(&self) -> &Leader {
        self.role.leader().unwrap()
    }
}

impl World {
    fn new() -> Self {
        Self::with(QuorumConfig { extended_types: true, ..QuorumConfig::default() })
    }

    /// One session is open already: it has used up zxid 1.
    fn with(config: QuorumConfig) -> Self {
        let tree = Tree::new();
        let now = Now { mono_ms: 1_000_000, wall_ms: 1_700_000_000_000 };
        let quorum = Quorum::new(config.clone(), &tree, 7, now);
        let mut world = Self {
            tree,
            quorum,
            now,
            log: Vec::new(),
            told: Vec::new(),
            others: Vec::new(),
            flushes: Vec::new(),
            watching: vec![true; usize::from(config.shards)],
            auth: Arc::from([Id::new("ip", "127.0.0.1")]),
            xid: 0,
            session: SessionId(0x100),
        };
        world.open(0x100);
        world.settle();
        world.told.clear();
        world
    }

    fn origin(&mut self) -> Origin {
        self.xid += 1;
        Origin { shard: ShardId(0), conn: ConnId { slot: 1, generation: 1 }, xid: self.xid }
    }

    fn open(&mut self, session: i64) {
        let origin = self.origin();
        let message =
            ToQuorum::CreateSession { origin, session: SessionId(session), timeout_ms: 10_000 };
        self.quorum.on_message(message, &self.tree, self.now);
    }

    fn submit(&mut self, op: OpCode, record: Vec<u8>) -> i32 {
        let origin = self.origin();
        let request = Request {
            origin,
            session: self.session,
            op,
            record: Bytes::from(record),
            auth: self.auth.clone(),
        };
        self.quorum.on_message(ToQuorum::Request(request), &self.tree, self.now);
        origin.xid
    }

    /// Carries out effects; flushes are left to [`Self::flush`].
    fn poll(&mut self) {
        while let Some(effect) = self.quorum.poll() {
            match effect {
                Effect::Append { first, last, bytes } => {
                    let from = self.log.len();
                    let mut rest = &bytes[..];
                    while let Some((len, _)) = first_entry(rest) {
                        self.log.push(read_log_record(&rest[12..len - 1]).unwrap());
                        rest = &rest[len..];
                    }
                    assert_eq!(self.log[from].header.zxid, first);
                    assert_eq!(self.log.last().unwrap().header.zxid, last);
                    self.quorum.recycle(bytes.into());
                }
                Effect::Flush(flush) => self.flushes.push(flush),
                Effect::RollLog => self.others.push("roll"),
                Effect::TakeSnapshot => self.others.push("snapshot"),
                Effect::ToShard(shard, message) => self.told.push((shard, message)),
                Effect::Lead(_) | Effect::Learn(_) => panic!("nobody else is there"),
            }
        }
    }

    /// Ends the flush that is in flight.
    fn flush(&mut self) {
        if let Some(flush) = self.flushes.pop() {
            self.quorum.on_flushed(flush.end_in_test());
        }
    }

    fn flushing(&self) -> Vec<i64> {
        self.flushes.iter().map(|flush| flush.upto().0).collect()
    }

    fn commit(&mut self, units: u64) {
        let told = &mut self.told;
        let mut hand_over = |shard, message| told.push((shard, message));
        self.quorum.commit(&mut self.tree, &mut Budget::new(units), &self.watching, &mut hand_over);
    }

    fn work(&mut self, units: u64) {
        self.quorum.work(&self.tree, self.now, &mut Budget::new(units));
    }

    /// Runs until nothing is left to do.
    fn settle(&mut self) {
        loop {
            if self.quorum.is_preparing() || self.quorum.must_clear_up() {
                self.work(u64::MAX);
            }
            self.poll();
            self.flush();
            if !self.quorum.has_committable() {
                break;
            }
            self.commit(u64::MAX);
            self.poll();
            if self.quorum.report().outstanding == 0
                && self.flushes.is_empty()
                && !self.quorum.has_committable()
            {
                break;
            }
        }
        self.quorum.clear_up(&self.tree, &mut Budget::new(u64::MAX));
        assert_eq!(self.quorum.report().digest_mismatches, 0);
    }

    fn items(&mut self) -> Vec<BatchItem> {
        let mut items = Vec::new();
        for (_, message) in self.told.drain(..) {
            if let ToShard::Commit(commit) = message {
                items.extend(commit.items);
            }
        }
        items
    }

    fn replies(&mut self) -> Vec<Reply> {
        let reply = |item| if let BatchItem::Reply(reply) = item { Some(reply) } else { None };
        self.items().into_iter().filter_map(reply).collect()
    }

    /// One request and its reply.
    fn ask(&mut self, op: OpCode, record: Vec<u8>) -> Reply {
        self.submit(op, record);
        self.settle();
        let mut replies = self.replies();
        assert_eq!(replies.len(), 1, "one request, one reply");
        replies.remove(0)
    }

    /// One request: its code, and whether it used up a zxid. That the reply carries the right one
    /// is checked.
    fn code(&mut self, op: OpCode, record: Vec<u8>) -> (i32, bool) {
        let before = self.quorum.writes.last_zxid;
        let logged = self.log.len();
        let reply = self.ask(op, record);
        let used = self.quorum.writes.last_zxid != before;
        assert_eq!(reply.zxid, self.quorum.writes.last_zxid);
        assert_eq!(self.log.len() - logged, usize::from(used));
        if !reply.err.is_ok() && used && op != OpCode::MULTI {
            assert_eq!(self.log.last().unwrap().txn, Txn::Error(reply.err));
        }
        (reply.err.0, used)
    }

    fn create(&mut self, path: &str) -> i32 {
        self.code(OpCode::CREATE, create(Some(path), b"", 0)).0
    }

    fn advance(&mut self, ms: i64) {
        self.now.mono_ms += ms;
        self.now.wall_ms += ms;
        self.quorum.on_tick(self.now);
        while self.quorum.has_work() {
            self.work(u64::MAX);
            self.settle();
        }
        self.settle();
    }
}

type AclSpec<'a> = (i32, Option<&'a str>, Option<&'a str>);
const OPEN: &[AclSpec<'_>] = &[(31, Some("world"), Some("anyone"))];

fn record(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut Writer::new(&mut out));
    out
}

fn text(writer: &mut Writer<'_>, text: Option<&str>) {
    writer.buffer(text.map(str::as_bytes));
}

fn acls(writer: &mut Writer<'_>, list: Option<&[AclSpec<'_>]>) {
    let Some(list) = list else { return writer.i32(-1) };
    writer.len(list.len());
    for (perms, scheme, id) in list {
        writer.i32(*perms);
        text(writer, *scheme);
        text(writer, *id);
    }
}

fn create_with(
    path: Option<&str>,
    data: Option<&[u8]>,
    list: Option<&[AclSpec<'_>]>,
    flags: i32,
) -> Vec<u8> {
    record(|writer| {
        text(writer, path);
        writer.buffer(data);
        acls(writer, list);
        writer.i32(flags);
    })
}

fn create(path: Option<&str>, data: &[u8], flags: i32) -> Vec<u8> {
    create_with(path, Some(data), Some(OPEN), flags)
}

fn create_ttl(path: &str, flags: i32, ttl: i64) -> Vec<u8> {
    let mut out = create(Some(path), b"", flags);
    Writer::new(&mut out).i64(ttl);
    out
}

fn delete(path: Option<&str>, version: i32) -> Vec<u8> {
    record(|writer| {
        text(writer, path);
        writer.i32(version);
    })
}

fn set_data(path: Option<&str>, data: Option<&[u8]>, version: i32) -> Vec<u8> {
    record(|writer| {
        text(writer, path);
        writer.buffer(data);
        writer.i32(version);
    })
}

fn set_acl(path: Option<&str>, list: Option<&[AclSpec<'_>]>, version: i32) -> Vec<u8> {
    record(|writer| {
        text(writer, path);
        acls(writer, list);
        writer.i32(version);
    })
}

fn multi(ops: &[(i32, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (op, body) in ops {
        let writer = &mut Writer::new(&mut out);
        writer.i32(*op);
        writer.bool(false);
        writer.i32(-1);
        writer.raw(body);
    }
    let writer = &mut Writer::new(&mut out);
    writer.i32(-1);
    writer.bool(true);
    writer.i32(-1);
    out
}

/// The entries of a multi's reply: type and code. What stands between them is skipped by type.
fn results(body: &ReplyBody) -> Vec<(i32, i32)> {
    let ReplyBody::Bytes(bytes) = body else { panic!("a multi answers with bytes, not {body:?}") };
    let reader = &mut Reader::new(bytes);
    let mut all = Vec::new();
    loop {
        let (op, done, err) =
            (reader.i32().unwrap(), reader.bool().unwrap(), reader.i32().unwrap());
        if done {
            assert_eq!((op, err, reader.rest().len()), (-1, -1, 0));
            return all;
        }
        match op {
            -1 => assert_eq!(reader.i32(), Ok(err)),
            1 => assert!(reader.string().unwrap().is_some()),
            15 => {
                reader.string().unwrap();
                reader.take(68, "stat").unwrap();
            }
            5 => {
                reader.take(68, "stat").unwrap();
            }
            2 | 13 => {}
            other => panic!("no result has type {other}"),
        }
        all.push((op, err));
    }
}

fn owned(perms: i32, scheme: &str, id: &str) -> Acl {
    Acl { perms, id: Id::new(scheme, id) }
}
