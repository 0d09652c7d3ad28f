//! multi: all or nothing, under one zxid.

use bytes::Bytes;

use super::{Prepare, Prepared, Refusal};
use crate::codes::{ErrorCode, OpCode};
use crate::jute::Reader;
use crate::proto::{CreateRequest, MultiOp, read_multi};
use crate::txn::Txn;

impl Prepare<'_> {
    /// Later operations see what earlier ones change. When one fails the multi is logged all the
    /// same: what stands before the failure as it was prepared, the failure with its code, the rest
    /// with RUNTIME_INCONSISTENCY.
    pub(super) fn multi(&mut self, record: &Bytes) -> Prepared {
        let ops = decode(record)?;
        self.outstanding.begin_multi();
        let mut txns = Vec::with_capacity(ops.len());
        for (at, op) in ops.iter().enumerate() {
            match self.one(op, record) {
                Ok(txn) => txns.push(txn),
                Err(Refusal::Failed(err)) if err != ErrorCode::MARSHALLING_ERROR => {
                    self.outstanding.roll_back();
                    txns.push(Txn::Error(err));
                    txns.extend(
                        ops[at + 1..].iter().map(|_| Txn::Error(ErrorCode::RUNTIME_INCONSISTENCY)),
                    );
                    return Ok(Txn::Multi(txns));
                }
                Err(whole) => {
                    self.outstanding.roll_back();
                    return Err(whole);
                }
            }
        }
        self.outstanding.keep_multi();
        Ok(Txn::Multi(txns))
    }

    fn one(&mut self, op: &MultiOp<'_>, record: &Bytes) -> Prepared {
        match op {
            MultiOp::Create(op, request) => self.create(*op, request, record),
            MultiOp::Delete(request) => self.delete(request),
            MultiOp::SetData(request) => self.set_data(request, record),
            MultiOp::Check(request) => self.check(request),
            MultiOp::GetData(_) | MultiOp::GetChildren(_) => {
                Err(ErrorCode::MARSHALLING_ERROR.into())
            }
        }
    }
}

/// The whole list. Whatever is wrong with it fails the request as a whole and uses up a zxid; a
/// null ACL list, which Apache's reader stumbles over, does not.
fn decode(record: &Bytes) -> Result<Vec<MultiOp<'_>>, Refusal> {
    let undecodable = Refusal::Failed(ErrorCode::MARSHALLING_ERROR);
    let reader = &mut Reader::new(record);
    let mut ops = Vec::new();
    while let Some(op) = read_multi(reader).map_err(|_| undecodable)? {
        let op = match op {
            MultiOp::Create(op, request) => create_op(op, request)?,
            op => op,
        };
        if ops.first().is_some_and(|first: &MultiOp<'_>| first.is_read() != op.is_read()) {
            return Err(undecodable);
        }
        ops.push(op);
    }
    let has_path = |op: &MultiOp<'_>| match op {
        MultiOp::Create(_, request) => request.path.is_some(),
        MultiOp::Delete(request) => request.path.is_some(),
        MultiOp::SetData(request) => request.path.is_some(),
        MultiOp::Check(request) => request.path.is_some(),
        MultiOp::GetData(_) | MultiOp::GetChildren(_) => false,
    };
    if ops.iter().all(has_path) { Ok(ops) } else { Err(undecodable) }
}

/// Which create it is: inside a multi the flags can make another op of it (`Op.create`).
fn create_op(op: OpCode, request: CreateRequest<'_>) -> Result<MultiOp<'_>, Refusal> {
    let undecodable = Refusal::Failed(ErrorCode::MARSHALLING_ERROR);
    let op = match (op, request.flags) {
        (OpCode::CREATE_TTL, 5 | 6) => OpCode::CREATE_TTL,
        (OpCode::CREATE_TTL, 4) => OpCode::CREATE_CONTAINER,
        // The TTL means nothing here; an unknown flag fails this one operation.
        (OpCode::CREATE_TTL, _) => OpCode::CREATE,
        (_, i32::MIN..=-1 | 7..) => return Err(undecodable),
        _ if request.acl.is_none() => return Err(Refusal::Unlogged(ErrorCode::MARSHALLING_ERROR)),
        (_, 5 | 6) => return Err(undecodable),
        (_, 4) => OpCode::CREATE_CONTAINER,
        _ => op,
    };
    Ok(MultiOp::Create(op, request))
}
