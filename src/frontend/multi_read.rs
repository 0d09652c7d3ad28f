//! multiRead: several reads in one, which show one point in time.

use std::borrow::Cow;

use crate::codes::{ErrorCode, OpCode};
use crate::jute::{Reader, Writer};
use crate::limits;
use crate::proto::{MultiOp, read_multi, write_multi_header};
use crate::tree::Node;

use super::context::ConnContext;
use super::hold::{LOOKUP, bytes_work};
use super::long_read::{LongRead, Stamp};
use super::malformed;
use super::reads::write_children;

/// First everything is looked at, so that nothing is put together that is then thrown away; then it
/// is read; and if the tree has changed meanwhile, everything read is looked at once more.
const LOOK: u8 = 0;
const READ: u8 = 1;

impl<'t> ConnContext<'t> {
    /// Its sub-reads fail one by one; a write among them fails the whole.
    pub(super) fn multi_read(
        &mut self,
        xid: i32,
        reader: &mut Reader<'_>,
    ) -> Result<(), ErrorCode> {
        // The stamp stands for nothing: what has been read is compared at the end.
        let mut long = self.long_read((0, 0));
        let record = reader.rest();
        if long.part == LOOK {
            if !self.look(&mut long, record)? {
                self.go_on_later(long);
                return Ok(());
            }
            (long.part, long.cursor, long.count) = (READ, None, 0);
            long.seen.clear();
        }
        let zxid = self.tree.last_zxid().0;
        if long.is_new() {
            long.begin(xid);
            // The tree as it is when reading begins.
            long.seen.push((zxid, 0));
        }
        let Some(err) = self.read_slice(&mut long, record)? else {
            self.go_on_later(long);
            return Ok(());
        };
        if long.seen.first().is_some_and(|begun| begun.0 != zxid) && !self.is_as_seen(&long, record)
        {
            long.restart((0, 0));
            long.part = READ;
            self.go_on_later(long);
            return Ok(());
        }
        write_multi_header(&mut Writer::new(&mut long.frame), OpCode::ERROR, true, ErrorCode(-1));
        self.finish_long(*long, err);
        Ok(())
    }

    /// Looks at a slice of the request: whether it makes sense, and how long its answer is at
    /// least. True at the end.
    fn look(&mut self, long: &mut LongRead, record: &[u8]) -> Result<bool, ErrorCode> {
        let mut reader = Reader::new(record.get(long.cursor.unwrap_or(0)..).unwrap_or_default());
        for _ in 0..long.slice(self.work_left(), LOOKUP) {
            let Some(op) = read_multi(&mut reader).map_err(malformed)? else { return Ok(true) };
            // The first one says what the others must be.
            let kind = if op.is_read() { 1 } else { 2 };
            if long.seen.first().is_some_and(|first| first.0 != kind) {
                return Err(ErrorCode::MARSHALLING_ERROR);
            }
            if long.seen.is_empty() {
                long.seen.push((kind, 0));
            }
            long.count += self.bytes_at_least(&op);
            if long.count > limits::REPLY_BYTES_MAX {
                return Err(ErrorCode::MARSHALLING_ERROR);
            }
            self.spend(LOOKUP);
        }
        long.cursor = Some(record.len() - reader.rest().len());
        Ok(false)
    }

    fn bytes_at_least(&self, op: &MultiOp<'_>) -> usize {
        let (MultiOp::GetData(request) | MultiOp::GetChildren(request)) = op else { return 0 };
        let node = request.path.as_deref().and_then(|path| self.readable(path).ok());
        match (op, node) {
            (MultiOp::GetData(_), Some(node)) => node.data().map_or(0, <[u8]>::len),
            (_, Some(node)) => node.num_children() as usize * size_of::<i32>(),
            (_, None) => 0,
        }
    }

    /// Answers a slice of the request. The reply's error at the end, `None` before.
    fn read_slice(
        &mut self,
        long: &mut LongRead,
        record: &[u8],
    ) -> Result<Option<ErrorCode>, ErrorCode> {
        let mut reader = Reader::new(record.get(long.cursor.unwrap_or(0)..).unwrap_or_default());
        let slice = long.slice(self.work_left(), 1);
        let mut work = 0;
        while work < slice {
            let Some(op) = read_multi(&mut reader).map_err(malformed)? else {
                return Ok(Some(ErrorCode::OK));
            };
            let before = long.frame.len();
            let mut writer = Writer::new(&mut long.frame);
            let outcome = self.sub_read(&mut writer, op);
            if long.frame.len() > limits::REPLY_BYTES_MAX {
                return Err(ErrorCode::MARSHALLING_ERROR);
            }
            match outcome {
                Ok(stamp) => long.seen.push(stamp),
                Err(code) => return Ok(Some(code)),
            }
            let done = 2 * LOOKUP + bytes_work(long.frame.len() - before);
            self.spend(done);
            work += done as usize;
        }
        long.cursor = Some(record.len() - reader.rest().len());
        Ok(None)
    }

    /// One entry. An error means that the request as a whole made no sense.
    fn sub_read(&self, writer: &mut Writer<'_>, op: MultiOp<'_>) -> Result<Stamp, ErrorCode> {
        let (op, path) = match op {
            MultiOp::GetData(request) => (OpCode::GET_DATA, request.path),
            MultiOp::GetChildren(request) => (OpCode::GET_CHILDREN, request.path),
            _ => return Err(ErrorCode::MARSHALLING_ERROR),
        };
        let path: Cow<'_, str> = path.ok_or(ErrorCode::MARSHALLING_ERROR)?;
        let found = self.readable(&path);
        match found {
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
                    write_children(writer, node)?;
                }
            }
        }
        Ok(stamp_of(found))
    }

    /// Whether all that has been read is still what it was.
    fn is_as_seen(&mut self, long: &LongRead, record: &[u8]) -> bool {
        let mut reader = Reader::new(record);
        let seen = long.seen.get(1..).unwrap_or_default();
        self.spend(LOOKUP.saturating_mul(seen.len() as u32));
        seen.iter().all(|stamp| match read_multi(&mut reader) {
            Ok(Some(MultiOp::GetData(request) | MultiOp::GetChildren(request))) => {
                let path = request.path.unwrap_or_default();
                stamp_of(self.readable(&path)) == *stamp
            }
            _ => false,
        })
    }
}

/// A stamp that changes with a node's data or children, or with its being there and readable.
fn stamp_of(found: Result<Node<'_>, ErrorCode>) -> Stamp {
    match found {
        Err(code) => (i64::MIN, i64::from(code.0)),
        Ok(node) => (node.persisted().mzxid, node.persisted().pzxid),
    }
}
