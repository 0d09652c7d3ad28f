//! multiRead: several reads in one, which show one point in time.

use std::borrow::Cow;

use crate::codes::{ErrorCode, OpCode};
use crate::jute::{Reader, Writer};
use crate::limits;
use crate::proto::{MultiOp, read_multi, write_multi_header};
use crate::tree::Node;

use super::context::ConnContext;
use super::hold::{LOOKUP, Work, bytes_work};
use super::long_read::{LongRead, Seen, Stamp};
use super::malformed;
use super::reads::write_children;

/// First everything is looked at, so that nothing is put together that is then thrown away; then it
/// is read; and if the tree has changed meanwhile, everything read is compared with it.
const LOOK: u8 = 0;
const READ: u8 = 1;
const COMPARE: u8 = 2;

/// The outcome of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compared {
    /// The tree shows all that has been read as it was read.
    Same,
    Changed,
    GoesOn,
}

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
        }
        if long.is_new() {
            long.begin(xid);
            long.as_of = self.tree.last_zxid().0;
        }
        if long.part == READ {
            let Some(err) = self.read_slice(&mut long, record)? else {
                self.go_on_later(long);
                return Ok(());
            };
            (long.part, long.err) = (COMPARE, Some(err));
        }
        let compared = self.compare(&mut long, record);
        if compared != Compared::Same {
            if compared == Compared::Changed {
                long.restart((0, 0));
                long.part = READ;
            }
            self.go_on_later(long);
            return Ok(());
        }
        let err = long.err.unwrap_or(ErrorCode::OK);
        write_multi_header(&mut Writer::new(&mut long.frame), OpCode::ERROR, true, ErrorCode(-1));
        self.finish_long(*long, err);
        Ok(())
    }

    /// Looks at a slice of the request: whether it makes sense, and how long its answer is at
    /// least. True at the end.
    fn look(&mut self, long: &mut LongRead, record: &[u8]) -> Result<bool, ErrorCode> {
        let mut reader = Reader::new(record.get(long.cursor.unwrap_or(0)..).unwrap_or_default());
        for _ in 0..LongRead::slice(self.work_left(), LOOKUP) {
            let Some(op) = read_multi(&mut reader).map_err(malformed)? else { return Ok(true) };
            // The first one says what the others must be.
            if *long.reads.get_or_insert(op.is_read()) != op.is_read() {
                return Err(ErrorCode::MARSHALLING_ERROR);
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
        let slice = LongRead::slice(self.work_left(), 1);
        let mut work = 0;
        while work < slice {
            let offset = record.len() - reader.rest().len();
            let Some(op) = read_multi(&mut reader).map_err(malformed)? else {
                return Ok(Some(ErrorCode::OK));
            };
            let before = long.frame.len();
            let mut writer = Writer::new(&mut long.frame);
            let outcome = self.sub_read(&mut writer, op, offset as u32);
            if long.frame.len() > limits::REPLY_BYTES_MAX {
                return Err(ErrorCode::MARSHALLING_ERROR);
            }
            match outcome {
                Ok(seen) => long.seen.push(seen),
                Err(code) => return Ok(Some(code)),
            }
            let done = 2 * LOOKUP + bytes_work(long.frame.len() - before);
            self.spend(done);
            work += done as usize;
        }
        long.cursor = Some(record.len() - reader.rest().len());
        Ok(None)
    }

    /// One entry, which stands at this offset of the request. An error means that the request as a
    /// whole made no sense.
    fn sub_read(
        &self,
        writer: &mut Writer<'_>,
        op: MultiOp<'_>,
        offset: u32,
    ) -> Result<Seen, ErrorCode> {
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
        Ok(match found {
            Ok(node) => Seen::Node(node.id(), stamp_of(node)),
            Err(code) => Seen::Error(offset, code),
        })
    }

    /// Compares a slice of what has been read with the tree as it is, unless nothing has changed.
    fn compare(&mut self, long: &mut LongRead, record: &[u8]) -> Compared {
        let zxid = self.tree.last_zxid().0;
        if long.as_of == zxid {
            return Compared::Same;
        }
        if long.compared_with != zxid {
            (long.compared_with, long.cursor) = (zxid, Some(0));
            long.comparisons = long.comparisons.saturating_add(1);
        }
        let from = long.cursor.unwrap_or(0);
        let rest = long.seen.get(from..).unwrap_or_default();
        let slice = rest.len().min(LongRead::comparisons(self.work_left() / COMPARISON));
        if !rest.iter().take(slice).all(|seen| self.is_as_seen(seen, record)) {
            return Compared::Changed;
        }
        self.spend(Work::try_from(slice).unwrap_or(Work::MAX).saturating_mul(COMPARISON));
        if slice == rest.len() {
            long.as_of = zxid;
            return Compared::Same;
        }
        long.cursor = Some(from + slice);
        Compared::GoesOn
    }

    /// Whether what has been read is still what it was. A node that has another's number by now is
    /// younger than all that was read.
    fn is_as_seen(&self, seen: &Seen, record: &[u8]) -> bool {
        match *seen {
            Seen::Node(id, stamp) => self
                .tree
                .numbered(id)
                .is_some_and(|node| stamp_of(node) == stamp && self.may_read(node).is_ok()),
            Seen::Error(offset, code) => {
                self.spend(LOOKUP);
                let mut reader = Reader::new(record.get(offset as usize..).unwrap_or_default());
                let Ok(Some(MultiOp::GetData(request) | MultiOp::GetChildren(request))) =
                    read_multi(&mut reader)
                else {
                    return false;
                };
                let path = request.path.unwrap_or_default();
                self.readable(&path).err() == Some(code)
            }
        }
    }
}

/// A stamp that changes with a node's data or children.
fn stamp_of(node: Node<'_>) -> Stamp {
    let stat = node.persisted();
    (stat.mzxid, stat.pzxid)
}

/// The work of comparing one element.
const COMPARISON: Work = 2;
