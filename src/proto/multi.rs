//! multi and multiRead: a list of headed records, ended by a header that says done.

use crate::codes::OpCode;
use crate::jute::{Malformed, Reader};

use super::requests::{
    CheckVersionRequest, CreateRequest, DeleteRequest, PathWatchRequest, SetDataRequest,
};

/// The header before each sub-request and at the end of the list (`proto.MultiHeader`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MultiHeader {
    pub op: OpCode,
    pub done: bool,
    pub err: i32,
}

impl MultiHeader {
    /// Reads the record.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { op: OpCode(reader.i32()?), done: reader.bool()?, err: reader.i32()? })
    }
}

/// One sub-request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MultiOp<'a> {
    /// create, create2, createContainer or createTTL, told apart by the op.
    Create(OpCode, CreateRequest<'a>),
    Delete(DeleteRequest<'a>),
    SetData(SetDataRequest<'a>),
    Check(CheckVersionRequest<'a>),
    /// In multiRead only; its watch flag means nothing.
    GetData(PathWatchRequest<'a>),
    /// In multiRead only; its watch flag means nothing.
    GetChildren(PathWatchRequest<'a>),
}

impl MultiOp<'_> {
    /// Whether it belongs in a multiRead rather than in a multi.
    pub fn is_read(&self) -> bool {
        matches!(self, Self::GetData(_) | Self::GetChildren(_))
    }
}

/// The next sub-request of the list, or `None` at its end header. What follows the end header is
/// ignored.
///
/// Errors: the list is cut, a record does not decode, or `Malformed::Length` with a type that has
/// no place in a list.
pub fn read_multi<'a>(reader: &mut Reader<'a>) -> Result<Option<MultiOp<'a>>, Malformed> {
    let header = MultiHeader::read(reader)?;
    if header.done {
        return Ok(None);
    }
    Ok(Some(match header.op {
        OpCode::CREATE | OpCode::CREATE2 | OpCode::CREATE_CONTAINER | OpCode::CREATE_TTL => {
            MultiOp::Create(header.op, CreateRequest::read(reader, header.op)?)
        }
        OpCode::DELETE => MultiOp::Delete(DeleteRequest::read(reader)?),
        OpCode::SET_DATA => MultiOp::SetData(SetDataRequest::read(reader)?),
        OpCode::CHECK => MultiOp::Check(CheckVersionRequest::read(reader)?),
        OpCode::GET_DATA => MultiOp::GetData(PathWatchRequest::read(reader)?),
        OpCode::GET_CHILDREN => MultiOp::GetChildren(PathWatchRequest::read(reader)?),
        OpCode(unknown) => return Err(Malformed::Length(unknown)),
    }))
}
