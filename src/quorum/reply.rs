//! From what a transaction did to what its client is told.

use crate::codes::{ErrorCode, OpCode};
use crate::handoff::{Origin, Reply, ReplyBody};
use crate::jute::Writer;
use crate::proto::write_multi_header;
use crate::tree::{Applied, TxnResult};
use crate::txn::Txn;
use crate::zxid::Zxid;

/// The answer to a request that became `txn`, whose outcome is `applied`. A closeSession closes its
/// connection.
pub(super) fn applied(
    origin: Origin,
    op: OpCode,
    zxid: Zxid,
    txn: &Txn,
    applied: Applied,
) -> Reply {
    // A failed multi is an answer of its own: the header says OK, the entries what went wrong.
    let err = if matches!(txn, Txn::Multi(_)) { ErrorCode::OK } else { applied.err };
    let body = if err.is_ok() { body(txn, applied.result) } else { ReplyBody::Empty };
    let close = op == OpCode::CLOSE_SESSION
        || matches!(err, ErrorCode::SESSION_MOVED | ErrorCode::SESSION_EXPIRED);
    Reply { close, ..reply(origin, op, zxid, err, body) }
}

/// The answer to a request that got no zxid: what was refused, and the end of a session for which
/// no transaction stands. The end of a session closes its connection.
pub(super) fn refused(origin: Origin, op: OpCode, zxid: Zxid, err: ErrorCode) -> Reply {
    let close = op == OpCode::CLOSE_SESSION && err.is_ok() || err == ErrorCode::SESSION_EXPIRED;
    Reply { close, ..reply(origin, op, zxid, err, ReplyBody::Empty) }
}

/// The answer to a sync: the path that it named, even if that was null.
pub(super) fn synced(origin: Origin, zxid: Zxid, path: Option<&str>) -> Reply {
    let body = match path {
        Some(path) => ReplyBody::Path(path.into()),
        None => {
            let mut bytes = Vec::new();
            Writer::new(&mut bytes).buffer(None);
            ReplyBody::Bytes(bytes)
        }
    };
    reply(origin, OpCode::SYNC, zxid, ErrorCode::OK, body)
}

/// An answer after which the connection goes on.
fn reply(origin: Origin, op: OpCode, zxid: Zxid, err: ErrorCode, body: ReplyBody) -> Reply {
    Reply { conn: origin.conn, xid: origin.xid, op, zxid, err, body, close: false }
}

fn body(txn: &Txn, result: TxnResult) -> ReplyBody {
    match (result, txn) {
        (TxnResult::Stat(stat), _) => ReplyBody::Stat(stat),
        (TxnResult::Created, Txn::Create(create)) => ReplyBody::Path(create.path.as_str().into()),
        (TxnResult::CreatedStat(stat), Txn::Create(create)) => {
            ReplyBody::PathStat(create.path.as_str().into(), stat)
        }
        (TxnResult::Multi(results), Txn::Multi(txns)) => {
            ReplyBody::Bytes(multi_response(txns, &results))
        }
        _ => ReplyBody::Empty,
    }
}

/// `MultiResponse`: every kind of create that tells the Stat does so as create2.
fn multi_response(txns: &[Txn], results: &[(OpCode, ErrorCode, TxnResult)]) -> Vec<u8> {
    debug_assert_eq!(txns.len(), results.len(), "a result for each");
    let each = match results.first() {
        Some((_, _, TxnResult::Stat(_) | TxnResult::CreatedStat(_))) => MULTI_STAT_BYTES,
        _ => MULTI_RESULT_BYTES,
    };
    let mut bytes = Vec::with_capacity((results.len() + 1) * each);
    let writer = &mut Writer::new(&mut bytes);
    for (txn, (op, err, result)) in txns.iter().zip(results) {
        if *op == OpCode::ERROR || !err.is_ok() {
            write_multi_header(writer, OpCode::ERROR, false, *err);
            writer.i32(err.0);
            continue;
        }
        let op = match *op {
            OpCode::CREATE_TTL | OpCode::CREATE_CONTAINER => OpCode::CREATE2,
            OpCode::DELETE_CONTAINER => OpCode::DELETE,
            op => op,
        };
        write_multi_header(writer, op, false, ErrorCode::OK);
        if let (TxnResult::Created | TxnResult::CreatedStat(_), Txn::Create(create)) = (result, txn)
        {
            writer.string(&create.path);
        }
        if let TxnResult::Stat(stat) | TxnResult::CreatedStat(stat) = result {
            stat.write(writer);
        }
    }
    write_multi_header(writer, OpCode::ERROR, true, ErrorCode(-1));
    bytes
}

/// A header and a short path.
const MULTI_RESULT_BYTES: usize = 32;
/// A header and a Stat.
const MULTI_STAT_BYTES: usize = 9 + 68;
