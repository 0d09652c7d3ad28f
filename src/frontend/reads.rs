//! The reads: answered from the tree, written straight into the connection's output.

use std::borrow::Cow;

use crate::acl;
use crate::codes::{ErrorCode, OpCode, perms};
use crate::jute::data::write_acls;
use crate::jute::{Reader, Writer, text_of};
use crate::limits;
use crate::proto::{PathRequest, PathWatchRequest, RequestHeader, begin_reply, xid};
use crate::tree::Node;
use crate::watch::Modes;

use super::close_reason::CloseReason;
use super::connection::Wait;
use super::context::ConnContext;
use super::hold::{EPHEMERAL, NAME, acl_work, bytes_work};
use super::long_read::{LongRead, REPLY_HEADER_BYTES};
use super::malformed;
use super::serve::Served;

impl<'t> ConnContext<'t> {
    /// Answers a request that is not the quorum core's. All earlier ones have been answered.
    #[inline]
    pub(super) fn answer(&mut self, header: RequestHeader, mut reader: Reader<'_>) -> Served {
        let out_before = self.conn.out.len();
        let outcome = match header.op {
            OpCode::GET_DATA => self.get_data(header.xid, &mut reader),
            _ => {
                let outcome = self.answer_other(header, reader);
                if self.unfinished {
                    assert!(self.conn.long.is_some() && outcome.is_ok(), "what goes on is kept");
                    self.unfinished = false;
                    return Served::Wait(Wait::Turn);
                }
                self.conn.long = None;
                outcome
            }
        };
        if let Err(err) = outcome {
            self.conn.out.truncate(out_before);
            self.conn.reply_header(header.xid, self.tree.last_zxid().0, err);
        }
        let written = self.conn.out.len().saturating_sub(out_before);
        self.spend(bytes_work(written));
        self.shard.counts.sent += 1;
        self.shard.counts.traffic.count_reply(written);
        self.shard.counts.traffic.reads.add(0);
        self.conn.count_reply(header.op, header.xid, self.tree.last_zxid().0, 0, self.now);
        Served::Done
    }

    fn answer_other(
        &mut self,
        header: RequestHeader,
        mut reader: Reader<'_>,
    ) -> Result<(), ErrorCode> {
        let (xid, reader) = (header.xid, &mut reader);
        match header.op {
            OpCode::PING => {
                self.conn.reply_header(xid::PING, self.tree.last_zxid().0, ErrorCode::OK);
                Ok(())
            }
            OpCode::EXISTS => self.exists(xid, reader),
            OpCode::GET_CHILDREN => self.get_children(xid, reader, false),
            OpCode::GET_CHILDREN2 => self.get_children(xid, reader, true),
            OpCode::GET_ACL => self.get_acl(xid, reader),
            OpCode::GET_EPHEMERALS => self.get_ephemerals(xid, reader),
            OpCode::GET_ALL_CHILDREN_NUMBER => self.get_all_children_number(xid, reader),
            OpCode::MULTI_READ => self.multi_read(xid, reader),
            OpCode::ADD_WATCH => self.add_watch(xid, reader),
            OpCode::CHECK_WATCHES => self.check_watches(xid, reader),
            OpCode::REMOVE_WATCHES => self.remove_watches(xid, reader),
            OpCode::SET_WATCHES | OpCode::SET_WATCHES2 => self.set_watches(header, reader),
            OpCode::WHO_AM_I => self.who_am_i(xid),
            OpCode::AUTH => self.add_auth(xid, reader),
            OpCode::SASL => self.sasl(xid, reader),
            _ => self.unimplemented(xid),
        }
    }

    #[inline]
    fn get_data(&mut self, xid: i32, reader: &mut Reader<'_>) -> Result<(), ErrorCode> {
        let path = reader.buffer().map_err(malformed)?;
        let watch = reader.bool().map_err(malformed)?;
        let path = path.ok_or(ErrorCode::MARSHALLING_ERROR)?;
        let node = match self.tree.get_bytes(path) {
            Some(node) => self.may_read(node)?,
            None => match text_of(path) {
                Cow::Borrowed(_) => return Err(ErrorCode::NO_NODE),
                // Bytes that are no UTF-8 stand for another path.
                Cow::Owned(path) => self.readable(&path)?,
            },
        };
        if watch {
            self.watch(&text_of(path), Modes::DATA)?;
        }
        let data = node.data();
        self.conn.out.reserve(GET_DATA_BYTES + data.map_or(0, <[u8]>::len));
        self.reply(xid, |writer| {
            writer.buffer(data);
            node.stat().write(writer);
        })
    }

    fn exists(&mut self, xid: i32, reader: &mut Reader<'_>) -> Result<(), ErrorCode> {
        let request = PathWatchRequest::read(reader).map_err(malformed)?;
        let path = request.path.ok_or(ErrorCode::MARSHALLING_ERROR)?;
        if path.contains('\0') {
            return Err(ErrorCode::BAD_ARGUMENTS);
        }
        let node = self.readable(&path);
        // A node that is not there can be waited for; one that may not be seen cannot.
        if request.watch && matches!(node, Ok(_) | Err(ErrorCode::NO_NODE)) {
            self.watch(&path, Modes::DATA)?;
        }
        let stat = node?.stat();
        self.reply(xid, |writer| stat.write(writer))
    }

    fn get_children(
        &mut self,
        xid: i32,
        reader: &mut Reader<'_>,
        with_stat: bool,
    ) -> Result<(), ErrorCode> {
        let request = PathWatchRequest::read(reader).map_err(malformed)?;
        let path = request.path.ok_or(ErrorCode::MARSHALLING_ERROR)?;
        let node = self.readable(&path)?;
        let is_short = node.num_children() <= self.work_left() / NAME;
        if is_short && self.conn.long.is_none() {
            return self.get_few_children(xid, &path, request.watch, with_stat, node);
        }
        // Nothing else changes with the children, and nothing of them without it.
        let stat = node.persisted();
        let mut long = self.long_read((stat.czxid, stat.pzxid));
        long.begin(xid);
        if long.count == 0 && long.cursor.is_none() {
            Writer::new(&mut long.frame).len(node.num_children() as usize);
        }
        if !self.list_children(&mut long, node)? {
            self.go_on_later(long);
            return Ok(());
        }
        if request.watch {
            self.watch(&path, Modes::CHILD)?;
        }
        if with_stat {
            node.stat().write(&mut Writer::new(&mut long.frame));
        }
        self.finish_long(*long, ErrorCode::OK);
        Ok(())
    }

    /// A list that fits the turn: the common case.
    fn get_few_children(
        &mut self,
        xid: i32,
        path: &str,
        watch: bool,
        with_stat: bool,
        node: Node<'_>,
    ) -> Result<(), ErrorCode> {
        if watch {
            self.watch(path, Modes::CHILD)?;
        }
        self.spend(node.num_children() * NAME);
        let mut fits = Ok(());
        self.reply(xid, |writer| {
            fits = write_children(writer, node);
            if with_stat {
                node.stat().write(writer);
            }
        })?;
        fits
    }

    /// Writes a slice of the children's names. True at the end.
    fn list_children(&mut self, long: &mut LongRead, node: Node<'_>) -> Result<bool, ErrorCode> {
        let mut left = LongRead::slice(self.work_left(), NAME);
        let from = long.cursor.and_then(|child| u32::try_from(child).ok());
        let mut writer = Writer::new(&mut long.frame);
        let mut names = 0;
        for (child, name) in node.children_from(from) {
            if left == 0 {
                long.cursor = Some(child as usize);
                long.count += names as usize;
                self.spend(names * NAME);
                return Ok(false);
            }
            (left, names) = (left - 1, names + 1);
            writer.string(name);
            if writer.position() > limits::REPLY_BYTES_MAX {
                return Err(ErrorCode::MARSHALLING_ERROR);
            }
        }
        self.spend(names * NAME);
        Ok(true)
    }

    fn get_acl(&mut self, xid: i32, reader: &mut Reader<'_>) -> Result<(), ErrorCode> {
        let path = PathRequest::read(reader)
            .map_err(malformed)?
            .path
            .ok_or(ErrorCode::MARSHALLING_ERROR)?;
        let node = self.tree.get(&path).ok_or(ErrorCode::NO_NODE)?;
        self.spend(acl_work(node.acl().len(), self.conn.auth.len()));
        let list = acl::shown(node.acl(), &self.conn.auth, &self.shard.config.acl)
            .ok_or(ErrorCode::NO_AUTH)?;
        self.reply(xid, |writer| {
            write_acls(writer, &list);
            node.stat().write(writer);
        })
    }

    /// The paths of the session's ephemerals, in no order that clients may rely on.
    fn get_ephemerals(&mut self, xid: i32, reader: &mut Reader<'_>) -> Result<(), ErrorCode> {
        let prefix = PathRequest::read(reader).map_err(malformed)?.path.unwrap_or_default();
        // Java's trim takes everything up to the blank.
        let trimmed = prefix.trim_matches(|c| c <= ' ');
        let prefix = if trimmed.is_empty() || trimmed == "/" { "" } else { &*prefix };
        let session = self.conn.session;
        let mut long = self.long_read((self.tree.ephemerals_changed(session), 0));
        if long.is_new() {
            long.begin(xid);
            Writer::new(&mut long.frame).len(0);
        }
        let mut left = LongRead::slice(self.work_left(), EPHEMERAL);
        let from = long.cursor.and_then(|node| u32::try_from(node).ok()).unwrap_or(0);
        for (node, path) in self.tree.ephemerals_from(session, from) {
            if left == 0 {
                long.cursor = Some(node as usize);
                self.go_on_later(long);
                return Ok(());
            }
            left -= 1;
            self.spend(EPHEMERAL);
            if path.starts_with(prefix) {
                long.count += 1;
                Writer::new(&mut long.frame).string(&path);
            }
            if long.frame.len() > limits::REPLY_BYTES_MAX {
                return Err(ErrorCode::MARSHALLING_ERROR);
            }
        }
        let mut count = Vec::new();
        Writer::new(&mut count).len(long.count);
        long.frame[REPLY_HEADER_BYTES..REPLY_HEADER_BYTES + count.len()].copy_from_slice(&count);
        self.finish_long(*long, ErrorCode::OK);
        Ok(())
    }

    fn get_all_children_number(
        &mut self,
        xid: i32,
        reader: &mut Reader<'_>,
    ) -> Result<(), ErrorCode> {
        let path = PathRequest::read(reader)
            .map_err(malformed)?
            .path
            .ok_or(ErrorCode::MARSHALLING_ERROR)?;
        self.readable(&path)?;
        let count = self.tree.count_descendants(&path).ok_or(ErrorCode::NO_NODE)?;
        self.reply(xid, |writer| writer.len(count))
    }

    /// Not an operation of clients: the connection ends with this answer.
    fn unimplemented(&mut self, xid: i32) -> Result<(), ErrorCode> {
        self.conn.reply_header(xid, -1, ErrorCode::UNIMPLEMENTED);
        self.close(CloseReason::Unimplemented);
        Ok(())
    }

    /// The node, if it is there and the connection may read it.
    #[inline]
    pub(super) fn readable(&self, path: &str) -> Result<Node<'t>, ErrorCode> {
        self.may_read(self.tree.get(path).ok_or(ErrorCode::NO_NODE)?)
    }

    /// The node, if the connection may read it.
    #[inline]
    pub(super) fn may_read(&self, node: Node<'t>) -> Result<Node<'t>, ErrorCode> {
        if node.is_open() {
            return Ok(node);
        }
        self.spend(acl_work(node.acl().len(), self.conn.auth.len()));
        if self.shard.config.acl.permits(node.acl(), perms::READ, &self.conn.auth) {
            Ok(node)
        } else {
            Err(ErrorCode::NO_AUTH)
        }
    }

    /// Writes a successful reply with the zxid that the tree has now.
    #[inline]
    pub(super) fn reply(
        &mut self,
        xid: i32,
        body: impl FnOnce(&mut Writer<'_>),
    ) -> Result<(), ErrorCode> {
        let mut writer = Writer::new(&mut self.conn.out);
        let frame = begin_reply(&mut writer, xid, self.tree.last_zxid().0, ErrorCode::OK);
        body(&mut writer);
        writer.end_frame(frame);
        Ok(())
    }
}

/// An error where the list grows too long: what has been written of it is to be thrown away.
pub(super) fn write_children(writer: &mut Writer<'_>, node: Node<'_>) -> Result<(), ErrorCode> {
    let start = writer.position();
    writer.len(node.num_children() as usize);
    for name in node.children() {
        writer.string(name);
        if writer.position() - start > limits::REPLY_BYTES_MAX {
            return Err(ErrorCode::MARSHALLING_ERROR);
        }
    }
    Ok(())
}

/// A getData reply without its data: header, length, Stat.
const GET_DATA_BYTES: usize = 20 + 4 + 68;
