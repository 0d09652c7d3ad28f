//! The judge of one connection: every frame that the server puts out is decoded at once and held
//! against the model, the requests sent and the watches set.

use std::collections::{BTreeSet, VecDeque};

use crate::codes::{ErrorCode, EventType, OpCode, perms};
use crate::jute::data::{Acl, Id, Stat, read_acls};
use crate::jute::{Malformed, Reader};
use crate::proto::{MultiHeader, xid};
use crate::session;
use crate::txn::Txn;

use super::check::session_id;
use super::judge::Judge;
use super::model::{Answer, Change, Model, parent_of, permits};
use super::op::{Op, Rewatch};
use super::property::{Checked, Done, Property, Violation, hold};

/// The questions and answers on one connection.
#[derive(Debug)]
pub(crate) struct Stream {
    /// The session asked for; 0 for a new one.
    wanted: i64,
    timeout_ms: i32,
    /// When it was made, in virtual microseconds.
    since_us: u64,
    pub session: i64,
    phase: Phase,
    /// It was told that reads alone are answered.
    read_only: bool,
    sent: VecDeque<Sent>,
    /// When the first of them have come to the server, in virtual microseconds.
    came_us: VecDeque<u64>,
    authed: bool,
    watches: Watches,
    /// Paths that it may watch; 0 for any number.
    watches_max: usize,
    /// The largest zxid that its client has been told, on earlier connections too.
    floor: i64,
    /// Up to here the changes have been turned into events that are due.
    upto: i64,
    due: VecDeque<(i64, EventType, String)>,
    last_zxid: i64,
    bytes: Vec<u8>,
}

/// A request on its way.
#[derive(Debug)]
struct Sent {
    xid: i32,
    op: Op,
    /// The largest zxid that anybody had been told before.
    told: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Connecting,
    Open,
    /// Nothing more may come.
    Ended,
}

/// The watches of a connection.
#[derive(Clone, Debug, Default)]
struct Watches {
    data: BTreeSet<String>,
    child: BTreeSet<String>,
    persistent: BTreeSet<String>,
    recursive: BTreeSet<String>,
}

/// A reply's header and what is after it.
struct Frame<'a> {
    xid: i32,
    zxid: i64,
    err: ErrorCode,
    body: Reader<'a>,
}

impl Stream {
    /// A connection whose client asks for `wanted` (0: a new session) with an already clamped
    /// timeout, and has seen the effect of all up to `floor`.
    pub(crate) fn new(
        wanted: i64,
        timeout_ms: i32,
        watches_max: usize,
        since_us: u64,
        floor: i64,
    ) -> Self {
        Self {
            floor,
            wanted,
            timeout_ms,
            since_us,
            session: 0,
            phase: Phase::Connecting,
            read_only: false,
            sent: VecDeque::new(),
            came_us: VecDeque::new(),
            authed: false,
            watches: Watches::default(),
            watches_max,
            upto: 0,
            due: VecDeque::new(),
            last_zxid: 0,
            bytes: Vec::new(),
        }
    }

    /// The client has sent a request. `told` is the largest zxid that anybody has been told.
    pub(crate) fn on_sent(&mut self, xid: i32, op: &Op, told: i64) {
        self.authed |= *op == Op::Auth;
        self.sent.push_back(Sent { xid, op: op.clone(), told });
    }

    /// The next of its requests has come to the server.
    pub(crate) fn on_came(&mut self, now_us: u64) {
        if self.came_us.len() < self.sent.len() {
            self.came_us.push_back(now_us);
        }
    }

    /// Bytes of its unanswered requests that are longer than that, as they are on the wire.
    pub(crate) fn large_bytes_under_way(&self, longer_than: usize, user: &Id) -> usize {
        let bytes = |op: &Op| {
            let mut frame = Vec::new();
            op.write(&mut frame, 0, user);
            frame.len() - FRAME_LENGTH_BYTES
        };
        let all = self.sent.iter().map(|sent| bytes(&sent.op));
        all.filter(|bytes| *bytes > longer_than).sum()
    }

    /// Whether a session is being served.
    pub(crate) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Whether reads alone are answered on it.
    pub(crate) fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// The timeout that its session has in milliseconds.
    pub(crate) fn timeout_ms(&self) -> i32 {
        self.timeout_ms
    }

    /// The session goes on elsewhere, or the connection is over.
    pub(crate) fn end(&mut self) {
        self.phase = Phase::Ended;
    }

    /// The server has put these bytes out.
    pub(crate) fn on_output(&mut self, bytes: &[u8], check: &mut dyn Judge) -> Checked {
        let ended = self.phase == Phase::Ended;
        hold!(
            !ended,
            SessionState,
            "session {:x}: output on a connection that is over",
            self.session
        );
        self.bytes.extend_from_slice(bytes);
        let all = std::mem::take(&mut self.bytes);
        let mut rest = &all[..];
        while let Some(len) = rest.first_chunk().map(|len| u32::from_be_bytes(*len) as usize) {
            let Some(frame) = rest.get(4..4 + len) else { break };
            self.on_frame(frame, check)?;
            rest = &rest[4 + len..];
        }
        self.bytes = rest.to_vec();
        Ok(())
    }

    /// Whether nothing is under way.
    pub(crate) fn is_answered(&self) -> bool {
        self.phase != Phase::Open || self.sent.is_empty()
    }

    /// Everything that the tree shows by now must have been told.
    pub(crate) fn on_quiet(&mut self, check: &dyn Judge) -> Checked {
        if self.phase == Phase::Open {
            self.advance(check.applied().zxid, check);
            hold!(
                self.due.is_empty(),
                WatchOrder,
                "session {:x}: never told of {:?}",
                self.session,
                self.due
            );
            let left = &self.sent;
            hold!(left.is_empty(), Unanswered, "session {:x}: no answer to {left:?}", self.session);
        }
        Ok(())
    }

    fn on_frame(&mut self, frame: &[u8], check: &mut dyn Judge) -> Checked {
        if self.phase == Phase::Connecting {
            return self.on_connected(frame, check).map_err(unreadable)?;
        }
        let mut body = Reader::new(frame);
        let head =
            || -> Result<_, Malformed> { Ok((body.i32()?, body.i64()?, ErrorCode(body.i32()?))) }();
        let (xid, zxid, err) = head.map_err(unreadable)?;
        let frame = Frame { xid, zxid, err, body };
        match xid {
            xid::EVENT => self.on_event(frame, check),
            xid::AUTH => self.on_auth(&frame),
            _ => self.on_reply(frame, check),
        }
    }

    fn on_connected(&mut self, frame: &[u8], check: &mut dyn Judge) -> Result<Checked, Malformed> {
        let mut reader = Reader::new(frame);
        reader.i32()?;
        let (timeout_ms, session) = (reader.i32()?, reader.i64()?);
        let password = reader.buffer()?.unwrap_or_default();
        self.read_only = reader.bool()?;
        Ok(self.judge_connect(timeout_ms, session, password, check))
    }

    fn judge_connect(
        &mut self,
        timeout_ms: i32,
        session: i64,
        password: &[u8],
        check: &mut dyn Judge,
    ) -> Checked {
        let wanted = self.wanted;
        if timeout_ms == 0 {
            self.phase = Phase::Ended;
            hold!(wanted != 0, SessionState, "a new session was refused");
            hold!(
                check.may_refuse(wanted),
                SessionState,
                "session {wanted:x} lives, but was refused"
            );
            return Ok(());
        }
        if wanted == 0 {
            match check.created(session) {
                Some(zxid) => {
                    check.on_shown(zxid)?;
                    self.last_zxid = zxid;
                }
                None => check.on_local(session, self.read_only)?,
            }
            self.upto = check.applied().zxid;
        } else {
            hold!(session == wanted, SessionState, "asked for {wanted:x}, got {session:x}");
            // It was found alive, and may have ended since: then the end comes right after the
            // answer.
            let lived = check.may_renew(wanted, self.since_us);
            hold!(lived, SessionState, "session {wanted:x} has ended, but was renewed");
            check.on_renewed(session, timeout_ms);
            self.upto = check.applied().zxid;
        }
        let due = self.timeout_ms;
        hold!(
            timeout_ms == due,
            SessionState,
            "session {session:x}: timeout {timeout_ms}, not {due}"
        );
        let (floor, now) = (self.floor, check.applied().zxid);
        hold!(
            now >= floor,
            ReplyOrder,
            "session {session:x} has seen {floor:x} and is served at {now:x}"
        );
        self.last_zxid = self.last_zxid.max(floor);
        let right = session::password(session_id(session));
        hold!(password == right, SessionState, "session {session:x} has a wrong password");
        self.session = session;
        self.phase = Phase::Open;
        Ok(())
    }

    fn on_auth(&mut self, frame: &Frame<'_>) -> Checked {
        let at = self.sent.iter().position(|sent| sent.op == Op::Auth);
        let known = at.is_some_and(|at| self.sent.remove(at).is_some());
        at.map(|at| self.came_us.remove(at));
        hold!(
            known && frame.err.is_ok(),
            ReplyOrder,
            "session {:x}: auth answered {}",
            self.session,
            frame.err
        );
        Ok(())
    }

    /// The events of a session that departs come in any order: the one that has come was due first.
    fn put_first(&mut self, is: Option<&(i64, EventType, String)>, check: &dyn Judge) {
        let Some(zxid) = is.map(|(zxid, ..)| *zxid) else { return };
        let departs = |done: &Done| matches!(done.txn, Txn::CloseSession { paths: None });
        if check.done(zxid).is_some_and(departs) {
            let of_it = self.due.iter().take_while(|(due, ..)| *due == zxid);
            if let Some(at) = of_it.into_iter().position(|due| Some(due) == is) {
                self.due.swap(0, at);
            }
        }
    }

    fn on_event(&mut self, mut frame: Frame<'_>, check: &mut dyn Judge) -> Checked {
        let (kind, path) = read_event(&mut frame.body).map_err(unreadable)?;
        if frame.zxid >= 0 {
            check.on_shown(frame.zxid)?;
            self.advance(frame.zxid, check);
        } else {
            self.advance(check.applied().zxid, check);
            self.expect_missed(check);
        }
        let is = Some((frame.zxid, kind, path));
        self.put_first(is.as_ref(), check);
        let due = self.due.pop_front();
        hold!(due == is, WatchOrder, "session {:x}: event {is:?}, due was {due:?}", self.session);
        Ok(())
    }

    /// If the next reply is that of a setWatches, its events come now.
    fn expect_missed(&mut self, check: &dyn Judge) {
        if let Some(Sent { op: Op::SetWatches(lists), .. }) = self.sent.front_mut() {
            let lists = std::mem::take(lists);
            self.due.extend(self.watches.set(&lists, check.applied()));
        }
    }

    fn on_reply(&mut self, frame: Frame<'_>, check: &mut dyn Judge) -> Checked {
        let session = self.session;
        // A server without a leader may show what no quorum has.
        if frame.zxid > 0 && !self.read_only {
            check.on_shown(frame.zxid)?;
        }
        let (zxid, last) = (frame.zxid, self.last_zxid);
        hold!(zxid >= last, ReplyOrder, "session {session:x}: zxid {zxid:x} after {last:x}");
        self.last_zxid = zxid;
        self.advance(zxid, check);
        if frame.xid == xid::SET_WATCHES {
            self.expect_missed(check);
        }
        let due = &self.due;
        hold!(
            due.is_empty(),
            WatchOrder,
            "session {session:x}: reply {} at {zxid:x} before {due:?}",
            frame.xid
        );
        let Some(Sent { xid, op, told }) = self.sent.pop_front() else {
            return Err(Property::ReplyOrder
                .broken(format_args!("session {session:x}: a reply to nothing")));
        };
        hold!(
            frame.xid == xid,
            ReplyOrder,
            "session {session:x}: reply {} where {xid} was due",
            frame.xid
        );
        if let Some(came_us) = self.came_us.pop_front() {
            check.judge_wait(session, xid, came_us)?;
        }
        if self.read_only && (op.is_write() || matches!(op, Op::Sync { .. })) {
            return self.on_refusal_to_write(xid, &op, frame.err);
        }
        if op.is_write() {
            return self.on_write_reply(xid, &op, frame, check);
        }
        if matches!(op, Op::Sync { .. }) && frame.err == ErrorCode::SESSION_EXPIRED {
            hold!(
                check.may_end(session),
                SessionState,
                "session {session:x} lives, but {xid} is refused"
            );
            return Ok(());
        }
        if matches!(op, Op::Sync { .. }) {
            let now = check.applied().zxid;
            hold!(
                now >= told,
                StaleSync,
                "session {session:x}: sync {xid} answered at {now:x}, {told:x} was told before"
            );
        } else {
            let now = check.applied().zxid;
            hold!(
                zxid == now,
                WrongRead,
                "session {session:x}: read at {zxid:x}, the tree is at {now:x}"
            );
            let reads_on = lives_at(session, now, check);
            hold!(reads_on, SessionState, "session {session:x} has ended, but reads on");
        }
        let ids: &[Id] = if self.authed { std::slice::from_ref(check.user()) } else { &[] };
        self.judge_read(&op, frame, check.applied(), ids)
    }

    /// Where reads alone are answered a session ends as its client wants, and nothing else.
    fn on_refusal_to_write(&mut self, xid: i32, op: &Op, err: ErrorCode) -> Checked {
        let session = self.session;
        let due = if *op == Op::Close { ErrorCode::OK } else { ErrorCode::NOT_READ_ONLY };
        hold!(
            err == due,
            WrongOutcome,
            "session {session:x}: {xid} {op:?} answered {err} without a leader, not {due}"
        );
        if *op == Op::Close {
            self.phase = Phase::Ended;
        }
        Ok(())
    }

    fn on_write_reply(
        &mut self,
        xid: i32,
        op: &Op,
        mut frame: Frame<'_>,
        check: &dyn Judge,
    ) -> Checked {
        let session = self.session;
        let Some(zxid) = check.zxid_of(session, xid) else {
            return self.on_unlogged_reply(xid, op, &frame, check);
        };
        hold!(
            frame.zxid == zxid.0,
            ReplyOrder,
            "session {session:x}: {xid} has {zxid}, not {:x}",
            frame.zxid
        );
        let done = check
            .done(zxid.0)
            .ok_or_else(|| Property::WriteLost.broken(format_args!("{zxid} is gone")))?;
        let err = match &done.answer {
            Answer::Failed(ErrorCode::SESSION_EXPIRED) => {
                check.no_ephemerals(session, op).unwrap_or(ErrorCode::SESSION_EXPIRED)
            }
            Answer::Failed(err) => *err,
            _ => ErrorCode::OK,
        };
        hold!(
            frame.err == err,
            WrongOutcome,
            "session {session:x}: {xid} {op:?} answered {}, not {err}",
            frame.err
        );
        if !err.is_ok() {
            return Ok(());
        }
        let is = read_answer(&done.answer, &mut frame.body).map_err(unreadable)?;
        hold!(
            is == done.answer,
            WrongOutcome,
            "session {session:x}: {xid} answered {is:?}, not {:?}",
            done.answer
        );
        if *op == Op::Close {
            self.phase = Phase::Ended;
        }
        Ok(())
    }

    /// What no transaction stands for: the session has ended, is a local one, or the log was full.
    fn on_unlogged_reply(
        &mut self,
        xid: i32,
        op: &Op,
        frame: &Frame<'_>,
        check: &dyn Judge,
    ) -> Checked {
        let session = self.session;
        if frame.err == ErrorCode::SESSION_EXPIRED {
            hold!(
                check.may_end(session),
                SessionState,
                "session {session:x} lives, but {xid} is refused"
            );
            return Ok(());
        }
        if *op == Op::Close && check.is_local(session) {
            hold!(
                frame.err.is_ok(),
                WrongOutcome,
                "session {session:x}: close answered {}",
                frame.err
            );
            self.phase = Phase::Ended;
            return Ok(());
        }
        if frame.err == ErrorCode::SYSTEM_ERROR {
            // No room in the log: no zxid is used up.
            hold!(
                check.was_full(),
                WrongOutcome,
                "session {session:x}: {xid} answered {}",
                frame.err
            );
            return Ok(());
        }
        Err(Property::WriteLost
            .broken(format_args!("session {session:x}: {xid} {op:?} is in no log")))
    }

    fn judge_read(&mut self, op: &Op, mut frame: Frame<'_>, model: &Model, ids: &[Id]) -> Checked {
        let session = self.session;
        let mut due = due_of(op, model, ids, &self.watches);
        if self.watches.would_be_too_many(op, due, self.watches_max) {
            due = ErrorCode::THROTTLED_OP;
        }
        let is = frame.err;
        hold!(
            is == due,
            WrongRead,
            "session {session:x}: {op:?} at {:x} answered {is}, not {due}",
            model.zxid
        );
        self.watches.note(op, due);
        if !due.is_ok() {
            return Ok(());
        }
        let body = &mut frame.body;
        let right = is_right(op, body, model, ids).map_err(unreadable)?;
        hold!(
            right,
            WrongRead,
            "session {session:x}: {op:?} at {:x} shows another state",
            model.zxid
        );
        hold!(body.rest().is_empty(), WrongRead, "session {session:x}: {op:?} has bytes left over");
        Ok(())
    }

    /// Turns the changes up to `zxid` into the events that are due on this connection.
    fn advance(&mut self, zxid: i64, check: &dyn Judge) {
        while let Some(done) = check.done_after(self.upto).filter(|done| done.header.zxid.0 <= zxid)
        {
            self.upto = done.header.zxid.0;
            for change in &done.changes {
                let ids: &[Id] = if self.authed { std::slice::from_ref(check.user()) } else { &[] };
                if self.watches.fire(change) && permits(&change.acl, perms::READ, ids) {
                    self.due.push_back((change.zxid, change.kind, change.path.clone()));
                }
            }
        }
    }
}

impl Watches {
    /// Whether the change concerns a watch; one-shot ones are used up.
    fn fire(&mut self, change: &Change) -> bool {
        let path = &change.path;
        let one_shot = match change.kind {
            EventType::NodeChildrenChanged => self.child.remove(path),
            EventType::NodeDeleted => self.data.remove(path) | self.child.remove(path),
            EventType::NodeCreated | EventType::NodeDataChanged => self.data.remove(path),
        };
        let below = change.kind != EventType::NodeChildrenChanged && self.covers(path);
        one_shot || below || self.persistent.contains(path)
    }

    /// Whether a recursive watch stands on the path or above it.
    fn covers(&self, path: &str) -> bool {
        let mut at = path;
        loop {
            if self.recursive.contains(at) {
                return true;
            }
            if at == "/" {
                return false;
            }
            at = parent_of(at);
        }
    }

    /// Whether `op`, otherwise answered `err`, asks for a watch of one path more than there may be.
    fn would_be_too_many(&self, op: &Op, err: ErrorCode, max: usize) -> bool {
        let path = match op {
            Op::GetData { path, watch: true } | Op::GetChildren { path, watch: true }
                if err.is_ok() =>
            {
                path
            }
            Op::Exists { path, watch: true } if err != ErrorCode::NO_AUTH => path,
            Op::AddWatch { path, .. } => path,
            _ => return false,
        };
        let mut paths: BTreeSet<&String> = self.sets(3).into_iter().flatten().collect();
        max > 0 && paths.insert(path) && paths.len() > max
    }

    /// Watches as the reply to `op` says.
    fn note(&mut self, op: &Op, err: ErrorCode) {
        match op {
            _ if err == ErrorCode::THROTTLED_OP => {}
            Op::GetData { path, watch: true } if err.is_ok() => {
                self.data.insert(path.clone());
            }
            Op::Exists { path, watch: true } if err != ErrorCode::NO_AUTH => {
                self.data.insert(path.clone());
            }
            Op::GetChildren { path, watch: true } if err.is_ok() => {
                self.child.insert(path.clone());
            }
            Op::AddWatch { path, recursive: false } => drop(self.persistent.insert(path.clone())),
            Op::AddWatch { path, recursive: true } => drop(self.recursive.insert(path.clone())),
            Op::RemoveWatches { path, kind } if err.is_ok() => self.remove(path, *kind),
            _ => {}
        }
    }

    fn has(&self, path: &str, kind: i32) -> bool {
        self.sets(kind).iter().any(|set| set.contains(path))
    }

    fn remove(&mut self, path: &str, kind: i32) {
        let Self { data, child, persistent, recursive } = self;
        for (of, set) in [(1, child), (2, data), (4, persistent), (5, recursive)] {
            if kind == of || kind == 3 {
                set.remove(path);
            }
        }
    }

    fn sets(&self, kind: i32) -> Vec<&BTreeSet<String>> {
        match kind {
            1 => vec![&self.child],
            2 => vec![&self.data],
            4 => vec![&self.persistent],
            5 => vec![&self.recursive],
            _ => vec![&self.data, &self.child, &self.persistent, &self.recursive],
        }
    }

    /// Sets what a reconnecting client still watches; returns the events that it has missed.
    fn set(&mut self, lists: &Rewatch, model: &Model) -> Vec<(i64, EventType, String)> {
        let mut missed = Vec::new();
        for path in &lists.data {
            match model.nodes.get(path) {
                None => missed.push((-1, EventType::NodeDeleted, path.clone())),
                Some(node) if node.stat.mzxid > lists.relative_zxid => {
                    missed.push((-1, EventType::NodeDataChanged, path.clone()));
                }
                Some(_) => drop(self.data.insert(path.clone())),
            }
        }
        for path in &lists.exist {
            match model.nodes.get(path) {
                Some(_) => missed.push((-1, EventType::NodeCreated, path.clone())),
                None => drop(self.data.insert(path.clone())),
            }
        }
        for path in &lists.child {
            match model.nodes.get(path) {
                None => missed.push((-1, EventType::NodeDeleted, path.clone())),
                Some(node) if node.stat.pzxid > lists.relative_zxid => {
                    missed.push((-1, EventType::NodeChildrenChanged, path.clone()));
                }
                Some(_) => drop(self.child.insert(path.clone())),
            }
        }
        self.persistent.extend(lists.persistent.iter().cloned());
        self.recursive.extend(lists.recursive.iter().cloned());
        missed
    }
}

/// The code that a read must answer.
fn due_of(op: &Op, model: &Model, ids: &[Id], watches: &Watches) -> ErrorCode {
    let (path, perm) = match op {
        Op::GetData { path, .. } | Op::Exists { path, .. } | Op::GetChildren { path, .. } => {
            (path, perms::READ)
        }
        Op::GetAcl { path } => (path, perms::READ | perms::ADMIN),
        Op::RemoveWatches { path, kind } if !watches.has(path, *kind) => {
            return ErrorCode::NO_WATCHER;
        }
        _ => return ErrorCode::OK,
    };
    match model.nodes.get(path) {
        None => ErrorCode::NO_NODE,
        Some(node) if !permits(&node.acl, perm, ids) => ErrorCode::NO_AUTH,
        Some(_) => ErrorCode::OK,
    }
}

/// Whether the record after a successful read is what the model holds.
fn is_right(op: &Op, body: &mut Reader<'_>, model: &Model, ids: &[Id]) -> Result<bool, Malformed> {
    Ok(match op {
        Op::GetData { path, .. } => {
            let data = body.buffer()?;
            data == model.nodes[path].data.as_deref() && Stat::read(body)? == model.stat(path)
        }
        Op::Exists { path, .. } => Stat::read(body)? == model.stat(path),
        Op::GetChildren { path, .. } => {
            let names = body.strings()?.unwrap_or_default();
            let names: BTreeSet<String> = names.into_iter().flatten().map(String::from).collect();
            names == model.nodes[path].children && Stat::read(body)? == model.stat(path)
        }
        Op::GetAcl { path } => {
            let acl = &model.nodes[path].acl;
            let due: Vec<Acl> = if permits(acl, perms::ADMIN, ids) {
                acl.clone()
            } else {
                acl.iter().map(masked).collect()
            };
            read_acls(body)? == due && Stat::read(body)? == model.stat(path)
        }
        Op::Sync { path } => body.string()?.as_deref() == Some(path),
        Op::AddWatch { .. } => body.i32()? == 0,
        _ => true,
    })
}

/// A digest entry as it is shown to those without ADMIN.
fn masked(acl: &Acl) -> Acl {
    let mut shown = acl.clone();
    if &*acl.id.scheme == "digest" {
        let user = acl.id.id.split(':').next().unwrap_or_default();
        shown.id.id = format!("{user}:x").into();
    }
    shown
}

fn read_event(body: &mut Reader<'_>) -> Result<(EventType, String), Malformed> {
    let kind = match body.i32()? {
        1 => EventType::NodeCreated,
        2 => EventType::NodeDeleted,
        3 => EventType::NodeDataChanged,
        4 => EventType::NodeChildrenChanged,
        other => return Err(Malformed::Length(other)),
    };
    body.i32()?;
    Ok((kind, body.string()?.unwrap_or_default().into()))
}

/// Reads a reply's record in the shape of the answer that is due.
fn read_answer(due: &Answer, body: &mut Reader<'_>) -> Result<Answer, Malformed> {
    Ok(match due {
        Answer::Empty | Answer::Failed(_) => Answer::Empty,
        Answer::Path(_) => Answer::Path(body.string()?.unwrap_or_default().into()),
        Answer::PathStat(..) => {
            Answer::PathStat(body.string()?.unwrap_or_default().into(), Stat::read(body)?)
        }
        Answer::Stat(_) => Answer::Stat(Stat::read(body)?),
        Answer::Multi(_) => {
            let mut results = Vec::new();
            loop {
                let header = MultiHeader::read(body)?;
                if header.done {
                    break Answer::Multi(results);
                }
                results.push((header.op, read_result(header.op, body)?));
            }
        }
    })
}

fn read_result(op: OpCode, body: &mut Reader<'_>) -> Result<Answer, Malformed> {
    Ok(match op {
        OpCode::CREATE => Answer::Path(body.string()?.unwrap_or_default().into()),
        OpCode::CREATE2 => {
            Answer::PathStat(body.string()?.unwrap_or_default().into(), Stat::read(body)?)
        }
        OpCode::SET_DATA => Answer::Stat(Stat::read(body)?),
        OpCode::ERROR => Answer::Failed(ErrorCode(body.i32()?)),
        _ => Answer::Empty,
    })
}

/// Whether a session may read at a server whose tree is at `now`: one that is behind serves it before
/// it has the transaction that made it.
fn lives_at(session: i64, now: i64, check: &dyn Judge) -> bool {
    check.is_local(session)
        || check.is_beginning(session)
        || check.applied().sessions.contains_key(&session)
        || check.created(session).is_some_and(|made| made > now)
}

fn unreadable(error: Malformed) -> Violation {
    Property::WrongOutcome.broken(format_args!("a reply does not decode: {error}"))
}

/// The length before each frame.
const FRAME_LENGTH_BYTES: usize = 4;
