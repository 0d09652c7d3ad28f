//! multi: all or nothing, under one zxid.
//!
//! A long one is prepared in slices. Between two of them readers are served and earlier proposals
//! are committed, and nothing else is prepared: what the multi has seen stays as it is. Only a quota
//! is judged against the tree that is shown at the moment, one operation at a time: in Apache, too,
//! the tree moves on while a multi is prepared.

use bytes::Bytes;

use super::{Prepare, Prepared, Refusal};
use crate::codes::{ErrorCode, OpCode};
use crate::jute::Reader;
use crate::proto::{CreateRequest, MultiOp, read_multi};
use crate::quorum::Budget;
use crate::tree::Known;
use crate::txn::Txn;

/// The progress of a multi that is being prepared.
#[derive(Debug)]
pub(in super::super) struct MultiSlices {
    stage: Stage,
    /// The offset in the record at which to go on.
    at: usize,
    /// Operations decoded so far. Once all have been, it is their number.
    ops: usize,
    /// The creates among them.
    creates: usize,
    /// Whether they are those of a multiRead.
    reads: bool,
    /// Whether one of them names no path.
    lacks_path: bool,
    /// See [`Prepare`]; kept between two slices.
    bytes_left: usize,
    /// The transactions prepared so far. Invariant: at most `ops`, and none while decoding.
    txns: Vec<Txn>,
    /// What is known about the nodes of each. Invariant: as many as `txns`.
    known: Vec<Known>,
    /// What comes of it once it is undone.
    outcome: Option<Prepared>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// All of it must decode before any of it counts.
    Decode,
    Prepare,
    /// One has failed: the overlay is to be as it was before.
    Undo,
}

impl MultiSlices {
    /// Nothing is done yet.
    pub(in super::super) fn new() -> Self {
        Self {
            stage: Stage::Decode,
            at: 0,
            ops: 0,
            creates: 0,
            reads: false,
            lacks_path: false,
            bytes_left: 0,
            txns: Vec::new(),
            known: Vec::new(),
            outcome: None,
        }
    }

    /// Nothing will come of it, for this reason.
    pub(in super::super) fn give_up(&mut self, why: Refusal) {
        if self.stage != Stage::Undo {
            (self.stage, self.outcome) = (Stage::Undo, Some(Err(why)));
        }
    }

    /// What is known about the nodes of each of the transactions.
    pub(in super::super) fn take_known(&mut self) -> Vec<Known> {
        std::mem::take(&mut self.known)
    }
}

impl Prepare<'_> {
    /// Goes on until it is prepared or the budget is spent: then it returns `None`, and nothing
    /// else may be prepared before the next call.
    ///
    /// Later operations see what earlier ones change. When one fails the multi is logged all the
    /// same: what stands before the failure as it was prepared, the failure with its code, the rest
    /// with RUNTIME_INCONSISTENCY.
    pub(in super::super) fn multi(
        &mut self,
        slices: &mut MultiSlices,
        record: &Bytes,
        budget: &mut Budget,
    ) -> Option<Prepared> {
        if slices.stage == Stage::Decode {
            match decode(slices, record, budget) {
                Ok(true) => {}
                Ok(false) => return None,
                Err(refusal) => return Some(Err(refusal)),
            }
            assert!(slices.txns.is_empty(), "nothing is prepared before all of it decodes");
            (slices.stage, slices.at, slices.bytes_left) = (Stage::Prepare, 0, self.bytes_left);
            slices.txns.reserve_exact(slices.ops);
            slices.known.reserve_exact(slices.ops);
            self.outstanding.begin_multi(slices.creates, slices.ops - slices.creates);
        }
        if slices.stage == Stage::Prepare {
            self.bytes_left = slices.bytes_left;
            let prepared = self.slice(slices, record, budget)?;
            if matches!(&prepared, Ok(Txn::Multi(txns)) if !has_failed(txns)) {
                self.outstanding.keep_multi();
                return Some(prepared);
            }
            (slices.stage, slices.outcome) = (Stage::Undo, Some(prepared));
        }
        if self.outstanding.roll_back(self.tree, budget) { slices.outcome.take() } else { None }
    }

    /// Prepares some of the operations. The overlay keeps what they change, whatever comes of it.
    fn slice(
        &mut self,
        slices: &mut MultiSlices,
        record: &Bytes,
        budget: &mut Budget,
    ) -> Option<Prepared> {
        let bytes_before = self.bytes_left;
        let mut reader = Reader::new(record.get(slices.at..).unwrap_or_default());
        while slices.txns.len() < slices.ops {
            if budget.is_spent() {
                slices.at = record.len() - reader.rest().len();
                assert!(self.bytes_left <= bytes_before, "a multi only grows");
                slices.bytes_left = self.bytes_left;
                return None;
            }
            // It has decoded before.
            let undecodable = Refusal::Failed(ErrorCode::MARSHALLING_ERROR);
            let op = match next(&mut reader) {
                Ok(Some(op)) => op,
                Ok(None) => return Some(Err(undecodable)),
                Err(refusal) => return Some(Err(refusal)),
            };
            budget.spend(1 + op_bytes(&op) as u64 / UNIT_BYTES);
            self.known = Known::default();
            match self.one(&op, record) {
                Ok(txn) => {
                    slices.txns.push(txn);
                    slices.known.push(self.known);
                }
                Err(Refusal::Failed(err)) if err != ErrorCode::MARSHALLING_ERROR => {
                    let mut txns = std::mem::take(&mut slices.txns);
                    txns.push(Txn::Error(err));
                    txns.resize_with(slices.ops, || Txn::Error(ErrorCode::RUNTIME_INCONSISTENCY));
                    return Some(Ok(Txn::Multi(txns)));
                }
                Err(whole) => return Some(Err(whole)),
            }
        }
        Some(Ok(Txn::Multi(std::mem::take(&mut slices.txns))))
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

/// Reads on through the list, and keeps nothing of it; true at its end. Whatever is wrong with it
/// fails the request as a whole and uses up a zxid; a null ACL list, which Apache's reader stumbles
/// over, does not.
fn decode(slices: &mut MultiSlices, record: &Bytes, budget: &mut Budget) -> Result<bool, Refusal> {
    let undecodable = Refusal::Failed(ErrorCode::MARSHALLING_ERROR);
    let mut reader = Reader::new(record.get(slices.at..).unwrap_or_default());
    while !budget.is_spent() {
        for _ in 0..DECODED_PER_UNIT {
            let Some(op) = next(&mut reader)? else {
                return if slices.lacks_path { Err(undecodable) } else { Ok(true) };
            };
            if slices.ops == 0 {
                slices.reads = op.is_read();
            } else if slices.reads != op.is_read() {
                return Err(undecodable);
            }
            slices.lacks_path |= !has_path(&op);
            slices.ops += 1;
            slices.creates += usize::from(matches!(op, MultiOp::Create(..)));
        }
        budget.spend(1);
    }
    slices.at = record.len() - reader.rest().len();
    Ok(false)
}

/// The next operation, `None` at the end of the list.
fn next<'a>(reader: &mut Reader<'a>) -> Result<Option<MultiOp<'a>>, Refusal> {
    let undecodable = Refusal::Failed(ErrorCode::MARSHALLING_ERROR);
    Ok(match read_multi(reader).map_err(|_| undecodable)? {
        Some(MultiOp::Create(op, request)) => Some(create_op(op, request)?),
        other => other,
    })
}

/// Whether one of them has failed: then so have all after it.
fn has_failed(txns: &[Txn]) -> bool {
    matches!(txns.last(), Some(Txn::Error(_)))
}

fn has_path(op: &MultiOp<'_>) -> bool {
    match op {
        MultiOp::Create(_, request) => request.path.is_some(),
        MultiOp::Delete(request) => request.path.is_some(),
        MultiOp::SetData(request) => request.path.is_some(),
        MultiOp::Check(request) => request.path.is_some(),
        MultiOp::GetData(_) | MultiOp::GetChildren(_) => false,
    }
}

/// Bytes that it takes time to digest, and list entries that it takes time to judge, as bytes.
fn op_bytes(op: &MultiOp<'_>) -> usize {
    match op {
        MultiOp::Create(_, request) => {
            let entries = request.acl.as_ref().map_or(0, Vec::len);
            request.data.map_or(0, <[u8]>::len) + entries * ENTRY_BYTES
        }
        MultiOp::SetData(request) => request.data.map_or(0, <[u8]>::len),
        _ => 0,
    }
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

/// Operations that are decoded in the time of one unit of work.
const DECODED_PER_UNIT: usize = 8;
/// Bytes that are digested and copied in the time of one unit.
const UNIT_BYTES: u64 = 1 << 10;
/// An entry of an ACL is as much work as this many bytes.
const ENTRY_BYTES: usize = 64;
