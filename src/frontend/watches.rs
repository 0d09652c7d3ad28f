//! Requests about watches: addWatch, checkWatches, removeWatches, and setWatches of a client that comes back.

use std::borrow::Cow;

use crate::codes::{ErrorCode, EventType};
use crate::jute::{Reader, Writer};
use crate::proto::{AddWatchRequest, RequestHeader, SetWatches, WatchTypeRequest, write_event};
use crate::watch::Modes;
use crate::zxid::Zxid;

use super::close_reason::CloseReason;
use super::context::ConnContext;
use super::malformed;

impl ConnContext<'_> {
    /// Sets a watch of this connection.
    pub(super) fn watch(&mut self, path: &str, modes: Modes) -> Result<(), ErrorCode> {
        let config = &self.shard.config;
        if config.watches_per_connection_max != 0 || config.watches_max != 0 {
            self.afford_watch(path)?;
        }
        self.shard.watches.add(path, self.conn.id.slot, modes);
        Ok(())
    }

    /// Neither node nor permission is asked for: events are filtered when they come.
    pub(super) fn add_watch(&mut self, xid: i32, reader: &mut Reader<'_>) -> Result<(), ErrorCode> {
        let request = AddWatchRequest::read(reader).map_err(malformed)?;
        let modes = Modes::of_add_watch(request.mode).ok_or(ErrorCode::MARSHALLING_ERROR)?;
        let path = request.path.ok_or(ErrorCode::MARSHALLING_ERROR)?;
        self.watch(&path, modes)?;
        self.reply(xid, |writer| writer.i32(0))
    }

    pub(super) fn check_watches(&mut self, xid: i32, reader: &mut Reader<'_>) -> Result<(), ErrorCode> {
        let (path, modes) = read_watch_type(reader)?;
        match self.shard.watches.contains(&path, self.conn.id.slot, modes) {
            true => self.reply(xid, |_| {}),
            false => Err(ErrorCode::NO_WATCHER),
        }
    }

    /// No event tells of the removal: the client knows what it has asked for.
    pub(super) fn remove_watches(&mut self, xid: i32, reader: &mut Reader<'_>) -> Result<(), ErrorCode> {
        let (path, modes) = read_watch_type(reader)?;
        match self.shard.watches.remove(&path, self.conn.id.slot, modes) {
            true => self.reply(xid, |_| {}),
            false => Err(ErrorCode::NO_WATCHER),
        }
    }

    /// Registers again what the client watches, and tells it at once what it has missed, before the reply. Persistent
    /// watches miss what they miss.
    pub(super) fn set_watches(&mut self, header: RequestHeader, reader: &mut Reader<'_>) -> Result<(), ErrorCode> {
        let request = SetWatches::read(reader, header.op).map_err(malformed)?;
        let done = self.catch_up(request);
        let budget = self.shard.config.watches_per_connection_max;
        if budget != 0 && self.shard.watches.watches_of(self.conn.id.slot) > budget {
            // Half of its watches would be worse for a client than none: it goes elsewhere.
            self.close(CloseReason::WatchLimit);
            return Ok(());
        }
        if let Err(err) = done {
            // What came before the null stands: its events go out, and its watches are set.
            self.conn.reply_header(header.xid, self.tree.last_zxid().0, err);
            return Ok(());
        }
        self.reply(header.xid, |_| {})
    }

    /// List by list, path by path, up to the first that is null.
    fn catch_up(&mut self, request: SetWatches<'_>) -> Result<(), ErrorCode> {
        let seen = request.relative_zxid;
        for path in given(request.data)? {
            let path = given(path)?;
            let missed = match self.tree.get(&path) {
                None => Some(EventType::NodeDeleted),
                Some(node) => (node.persisted().mzxid > seen).then_some(EventType::NodeDataChanged),
            };
            self.tell_or_watch(&path, missed, Modes::DATA);
        }
        for path in given(request.exist)? {
            let path = given(path)?;
            let missed = self.tree.get(&path).map(|_| EventType::NodeCreated);
            self.tell_or_watch(&path, missed, Modes::DATA);
        }
        for path in given(request.child)? {
            let path = given(path)?;
            let missed = match self.tree.get(&path) {
                None => Some(EventType::NodeDeleted),
                Some(node) if mutant!(MissedChildNotTold) => {
                    (node.persisted().mzxid > seen).then_some(EventType::NodeChildrenChanged)
                }
                Some(node) => (node.persisted().pzxid > seen).then_some(EventType::NodeChildrenChanged),
            };
            self.tell_or_watch(&path, missed, Modes::CHILD);
        }
        for path in given(request.persistent)? {
            self.tell_or_watch(&given(path)?, None, Modes::PERSISTENT);
        }
        for path in given(request.recursive)? {
            self.tell_or_watch(&given(path)?, None, Modes::RECURSIVE);
        }
        Ok(())
    }

    fn tell_or_watch(&mut self, path: &str, missed: Option<EventType>, modes: Modes) {
        match missed {
            None => self.shard.watches.add(path, self.conn.id.slot, modes),
            Some(kind) => write_event(&mut Writer::new(&mut self.conn.out), Zxid(-1), kind, path),
        }
    }

    /// THROTTLED_OP when one more path would be more than this connection, or this shard, may watch (B19).
    fn afford_watch(&self, path: &str) -> Result<(), ErrorCode> {
        let (config, watches, slot) = (&self.shard.config, &self.shard.watches, self.conn.id.slot);
        let full = |count: usize, max: usize| max != 0 && count >= max;
        let over = full(watches.watches_of(slot), config.watches_per_connection_max)
            || full(watches.counts().data + watches.counts().child, config.watches_max);
        if over && !watches.contains(path, slot, Modes::ANY) { Err(ErrorCode::THROTTLED_OP) } else { Ok(()) }
    }
}

/// The type is judged before the path, as Apache does.
fn read_watch_type<'a>(reader: &mut Reader<'a>) -> Result<(Cow<'a, str>, Modes), ErrorCode> {
    let request = WatchTypeRequest::read(reader).map_err(malformed)?;
    let modes = Modes::of_watcher_type(request.kind).ok_or(ErrorCode::MARSHALLING_ERROR)?;
    Ok((request.path.ok_or(ErrorCode::NO_WATCHER)?, modes))
}

/// A null in a request makes it malformed.
fn given<T>(value: Option<T>) -> Result<T, ErrorCode> {
    value.ok_or(ErrorCode::MARSHALLING_ERROR)
}
