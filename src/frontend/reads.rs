//! The reads: answered from the tree, written straight into the connection's output.

use std::borrow::Cow;

use crate::acl;
use crate::codes::{ErrorCode, OpCode, perms};
use crate::jute::data::write_acls;
use crate::jute::{Reader, Writer};
use crate::limits;
use crate::proto::{
    MultiOp, PathRequest, PathWatchRequest, RequestHeader, begin_reply, read_multi, write_multi_header, xid,
};
use crate::tree::Node;
use crate::watch::Modes;

use super::close_reason::CloseReason;
use super::context::ConnContext;
use super::hold::bytes_work;
use super::malformed;

impl<'t> ConnContext<'t> {
    /// Answers a request that is not the quorum core's. All earlier ones have been answered.
    #[inline]
    pub(super) fn answer(&mut self, header: RequestHeader, mut reader: Reader<'_>) {
        let out_before = self.conn.out.len();
        let outcome = match header.op {
            OpCode::GET_DATA => self.get_data(header.xid, &mut reader),
            _ => self.answer_other(header, reader),
        };
        if let Err(err) = outcome {
            self.conn.out.truncate(out_before);
            self.conn.reply_header(header.xid, self.tree.last_zxid().0, err);
        }
        let written = self.conn.out.len().saturating_sub(out_before);
        self.spend(bytes_work(written));
        self.shard.stats.sent += 1;
        self.shard.stats.latency.add(0);
        self.shard.stats.traffic.count_reply(written);
        self.shard.stats.traffic.reads.add(0);
        self.conn.count_reply(header.op, header.xid, self.tree.last_zxid().0, 0, self.now);
    }

    fn answer_other(&mut self, header: RequestHeader, mut reader: Reader<'_>) -> Result<(), ErrorCode> {
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
        let request = PathWatchRequest::read(reader).map_err(malformed)?;
        let path = request.path.ok_or(ErrorCode::MARSHALLING_ERROR)?;
        let node = self.readable(&path)?;
        if request.watch {
            self.watch(&path, Modes::DATA)?;
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
        // A node that is not there can be waited for; one that may not be seen can not.
        if request.watch && matches!(node, Ok(_) | Err(ErrorCode::NO_NODE)) {
            self.watch(&path, Modes::DATA)?;
        }
        let stat = node?.stat();
        self.reply(xid, |writer| stat.write(writer))
    }

    fn get_children(&mut self, xid: i32, reader: &mut Reader<'_>, with_stat: bool) -> Result<(), ErrorCode> {
        let request = PathWatchRequest::read(reader).map_err(malformed)?;
        let path = request.path.ok_or(ErrorCode::MARSHALLING_ERROR)?;
        let node = self.readable(&path)?;
        if request.watch {
            self.watch(&path, Modes::CHILD)?;
        }
        let mut fits = Ok(());
        self.reply(xid, |writer| {
            fits = write_children(writer, node);
            if with_stat {
                node.stat().write(writer);
            }
        })?;
        fits
    }

    fn get_acl(&mut self, xid: i32, reader: &mut Reader<'_>) -> Result<(), ErrorCode> {
        let path = PathRequest::read(reader).map_err(malformed)?.path.ok_or(ErrorCode::MARSHALLING_ERROR)?;
        let node = self.tree.get(&path).ok_or(ErrorCode::NO_NODE)?;
        let list = acl::shown(node.acl(), &self.conn.auth, &self.shard.config.acl).ok_or(ErrorCode::NO_AUTH)?;
        self.reply(xid, |writer| {
            write_acls(writer, &list);
            node.stat().write(writer);
        })
    }

    fn get_ephemerals(&mut self, xid: i32, reader: &mut Reader<'_>) -> Result<(), ErrorCode> {
        let prefix = PathRequest::read(reader).map_err(malformed)?.path.unwrap_or_default();
        let mut paths = self.tree.ephemerals_of(self.conn.session);
        // Java's trim takes everything up to the blank.
        let trimmed = prefix.trim_matches(|c| c <= ' ');
        if !trimmed.is_empty() && trimmed != "/" {
            paths.retain(|path| path.starts_with(&*prefix));
        }
        if paths.iter().map(String::len).sum::<usize>() > limits::REPLY_BYTES_MAX {
            return Err(ErrorCode::MARSHALLING_ERROR);
        }
        self.reply(xid, |writer| {
            writer.len(paths.len());
            paths.iter().for_each(|path| writer.string(path));
        })
    }

    fn get_all_children_number(&mut self, xid: i32, reader: &mut Reader<'_>) -> Result<(), ErrorCode> {
        let path = PathRequest::read(reader).map_err(malformed)?.path.ok_or(ErrorCode::MARSHALLING_ERROR)?;
        self.readable(&path)?;
        let count = self.tree.count_descendants(&path).ok_or(ErrorCode::NO_NODE)?;
        self.reply(xid, |writer| writer.len(count))
    }

    /// Several reads in one. Its sub-reads fail one by one; a write among them fails the whole.
    fn multi_read(&mut self, xid: i32, reader: &mut Reader<'_>) -> Result<(), ErrorCode> {
        let mut ops = Vec::new();
        while let Some(op) = read_multi(reader).map_err(malformed)? {
            ops.push(op);
        }
        if ops.iter().any(MultiOp::is_read) && !ops.iter().all(MultiOp::is_read) {
            return Err(ErrorCode::MARSHALLING_ERROR);
        }
        let mut err = ErrorCode::OK;
        let mut body = Vec::new();
        let mut writer = Writer::new(&mut body);
        for op in ops {
            let outcome = self.sub_read(&mut writer, op);
            if writer.position() > limits::REPLY_BYTES_MAX {
                return Err(ErrorCode::MARSHALLING_ERROR);
            }
            if let Err(code) = outcome {
                err = code;
                break;
            }
        }
        write_multi_header(&mut writer, OpCode::ERROR, true, ErrorCode(-1));
        let zxid = self.tree.last_zxid().0;
        let mut writer = Writer::new(&mut self.conn.out);
        let frame = begin_reply(&mut writer, xid, zxid, err);
        writer.raw(&body);
        writer.end_frame(frame);
        Ok(())
    }

    /// One entry of a multiRead. An error means that the request as a whole made no sense.
    fn sub_read(&mut self, writer: &mut Writer<'_>, op: MultiOp<'_>) -> Result<(), ErrorCode> {
        let (op, path) = match op {
            MultiOp::GetData(request) => (OpCode::GET_DATA, request.path),
            MultiOp::GetChildren(request) => (OpCode::GET_CHILDREN, request.path),
            _ => return Err(ErrorCode::MARSHALLING_ERROR),
        };
        let path: Cow<'_, str> = path.ok_or(ErrorCode::MARSHALLING_ERROR)?;
        match self.readable(&path) {
            Err(code) => {
                write_multi_header(writer, OpCode::ERROR, false, code);
                writer.i32(code.0);
            }
            Ok(node) => {
                write_multi_header(writer, op, false, ErrorCode::OK);
                if op == OpCode::GET_DATA {
                    writer.buffer(node.data());
                    node.stat().write(writer);
                } else {
                    return write_children(writer, node);
                }
            }
        }
        Ok(())
    }

    /// Not an operation of clients: the connection ends with this answer.
    fn unimplemented(&mut self, xid: i32) -> Result<(), ErrorCode> {
        self.conn.reply_header(xid, -1, ErrorCode::UNIMPLEMENTED);
        self.close(CloseReason::Unimplemented);
        Ok(())
    }

    /// The node, if it is there and the connection may read it.
    #[inline]
    fn readable(&self, path: &str) -> Result<Node<'t>, ErrorCode> {
        let node = self.tree.get(path).ok_or(ErrorCode::NO_NODE)?;
        if node.is_open() || self.shard.config.acl.permits(node.acl(), perms::READ, &self.conn.auth) {
            Ok(node)
        } else {
            Err(ErrorCode::NO_AUTH)
        }
    }

    /// Writes a successful reply with the zxid that the tree has now.
    #[inline]
    pub(super) fn reply(&mut self, xid: i32, body: impl FnOnce(&mut Writer<'_>)) -> Result<(), ErrorCode> {
        let mut writer = Writer::new(&mut self.conn.out);
        let frame = begin_reply(&mut writer, xid, self.tree.last_zxid().0, ErrorCode::OK);
        body(&mut writer);
        writer.end_frame(frame);
        Ok(())
    }
}

/// An error where the list grows too long: what has been written of it is to be thrown away.
fn write_children(writer: &mut Writer<'_>, node: Node<'_>) -> Result<(), ErrorCode> {
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
