//! Requests about watches: addWatch, checkWatches, removeWatches, and setWatches of a client that
//! comes back.

use std::borrow::Cow;

use crate::codes::{ErrorCode, EventType, OpCode};
use crate::jute::{Reader, Writer};
use crate::proto::{AddWatchRequest, RequestHeader, WatchTypeRequest, write_event};
use crate::watch::Modes;
use crate::zxid::Zxid;

use super::close_reason::CloseReason;
use super::context::ConnContext;
use super::hold::LOOKUP;
use super::long_read::LongRead;
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

    pub(super) fn check_watches(
        &mut self,
        xid: i32,
        reader: &mut Reader<'_>,
    ) -> Result<(), ErrorCode> {
        let (path, modes) = read_watch_type(reader)?;
        match self.shard.watches.contains(&path, self.conn.id.slot, modes) {
            true => self.reply(xid, |_| {}),
            false => Err(ErrorCode::NO_WATCHER),
        }
    }

    /// No event tells of the removal: the client knows what it has asked for.
    pub(super) fn remove_watches(
        &mut self,
        xid: i32,
        reader: &mut Reader<'_>,
    ) -> Result<(), ErrorCode> {
        let (path, modes) = read_watch_type(reader)?;
        match self.shard.watches.remove(&path, self.conn.id.slot, modes) {
            true => self.reply(xid, |_| {}),
            false => Err(ErrorCode::NO_WATCHER),
        }
    }

    /// Registers again what the client watches, and tells it at once what it has missed, before the
    /// reply. Of persistent watches it is not told what they have missed. Several turns of it show
    /// several points in time, which is as good: what changes between two turns fires the watches
    /// set in the first.
    pub(super) fn set_watches(
        &mut self,
        header: RequestHeader,
        reader: &mut Reader<'_>,
    ) -> Result<(), ErrorCode> {
        let seen = reader.i64().map_err(malformed)?;
        let mut lists = Lists { record: reader.rest(), count: lists_of(header.op) };
        let mut long = self.long_read((0, 0));
        if long.part < ACT {
            // All of it must decode before any of it counts.
            if !self.walk(&mut long, &mut lists, |_, _, _| Ok(()))? {
                self.go_on_later(long);
                return Ok(());
            }
            (long.part, long.cursor, long.count) = (ACT, None, 0);
        }
        let done =
            self.walk(&mut long, &mut lists, |turn, list, path| turn.catch_up(list, path, seen));
        if done == Ok(false) {
            self.go_on_later(long);
            return Ok(());
        }
        let budget = self.shard.config.watches_per_connection_max;
        if budget != 0 && self.shard.watches.watches_of(self.conn.id.slot) > budget {
            // The connection ends: half of its watches would be worse for a client than none.
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

    /// Calls `act` for a slice of the request's paths, each with the number of its list; a path or
    /// a list that is null ends an acting walk. True at the end.
    fn walk(
        &mut self,
        long: &mut LongRead,
        lists: &mut Lists<'_>,
        act: impl Fn(&mut Self, u8, &str) -> Result<(), ErrorCode>,
    ) -> Result<bool, ErrorCode> {
        let acts = long.part >= ACT;
        let mut reader =
            Reader::new(lists.record.get(long.cursor.unwrap_or(0)..).unwrap_or_default());
        // A node is looked up and a watch set, both likely to be out of the processor's cache.
        let (each, at_most) = if acts { (4 * LOOKUP, 4 * LOOKUP) } else { (1, LOOKUP) };
        for _ in 0..LongRead::slice(self.work_left(), at_most) {
            while long.count == 0 {
                if long.part % ACT == lists.count {
                    return Ok(true);
                }
                long.part += 1;
                match reader.count().map_err(malformed)? {
                    None if acts => return Err(ErrorCode::MARSHALLING_ERROR),
                    count => long.count = count.unwrap_or(0),
                }
            }
            let path = reader.string().map_err(malformed)?;
            long.count -= 1;
            match path {
                None if acts => return Err(ErrorCode::MARSHALLING_ERROR),
                None => {}
                Some(path) => act(self, long.part % ACT, &path)?,
            }
            self.spend(each);
        }
        long.cursor = Some(lists.record.len() - reader.rest().len());
        Ok(false)
    }

    /// The outcome of one path of setWatches, by its list: data, exist, child, persistent,
    /// recursive.
    fn catch_up(&mut self, list: u8, path: &str, seen: i64) -> Result<(), ErrorCode> {
        let node = self.tree.get(path);
        let newer = |zxid: i64, kind| (zxid > seen).then_some(kind);
        let (missed, modes) = match (list, node) {
            (1, None) => (Some(EventType::NodeDeleted), Modes::DATA),
            (1, Some(node)) => {
                (newer(node.persisted().mzxid, EventType::NodeDataChanged), Modes::DATA)
            }
            (2, node) => (node.map(|_| EventType::NodeCreated), Modes::DATA),
            (3, None) => (Some(EventType::NodeDeleted), Modes::CHILD),
            (3, Some(node)) if mutant!(MissedChildNotTold) => {
                (newer(node.persisted().mzxid, EventType::NodeChildrenChanged), Modes::CHILD)
            }
            (3, Some(node)) => {
                (newer(node.persisted().pzxid, EventType::NodeChildrenChanged), Modes::CHILD)
            }
            (4, _) => (None, Modes::PERSISTENT),
            _ => (None, Modes::RECURSIVE),
        };
        self.tell_or_watch(path, missed, modes);
        Ok(())
    }

    fn tell_or_watch(&mut self, path: &str, missed: Option<EventType>, modes: Modes) {
        match missed {
            None => self.shard.watches.add(path, self.conn.id.slot, modes),
            Some(kind) => write_event(&mut Writer::new(&mut self.conn.out), Zxid(-1), kind, path),
        }
    }

    /// THROTTLED_OP when one more path would be more than this connection, or this shard, may watch
    /// (B19).
    fn afford_watch(&self, path: &str) -> Result<(), ErrorCode> {
        let (config, watches, slot) = (&self.shard.config, &self.shard.watches, self.conn.id.slot);
        let full = |count: usize, max: usize| {
            max != 0 && count >= max + usize::from(mutant!(OneWatchTooMany))
        };
        let over = full(watches.watches_of(slot), config.watches_per_connection_max)
            || full(watches.counts().data + watches.counts().child, config.watches_max);
        if over && !watches.contains(path, slot, Modes::ANY) {
            Err(ErrorCode::THROTTLED_OP)
        } else {
            Ok(())
        }
    }
}

/// The type is judged before the path, as Apache does.
fn read_watch_type<'a>(reader: &mut Reader<'a>) -> Result<(Cow<'a, str>, Modes), ErrorCode> {
    let request = WatchTypeRequest::read(reader).map_err(malformed)?;
    let modes = Modes::of_watcher_type(request.kind).ok_or(ErrorCode::MARSHALLING_ERROR)?;
    Ok((request.path.ok_or(ErrorCode::NO_WATCHER)?, modes))
}

/// The lists of paths in a setWatches request.
struct Lists<'a> {
    record: &'a [u8],
    count: u8,
}

fn lists_of(op: OpCode) -> u8 {
    if op == OpCode::SET_WATCHES2 { 5 } else { 3 }
}

/// Added to the number of the list at hand from when on it is acted on.
const ACT: u8 = 8;
