//! A member of an ensemble without a leader, where read-only mode is on: it answers reads from a
//! tree that may be old, to clients that have asked for that, and nothing is written
//! (`ReadOnlyZooKeeperServer`).

use super::writes::Writes;
use super::{Effect, reply};
use crate::codes::{ErrorCode, OpCode};
use crate::handoff::{BatchItem, CommitBatch, Origin, Reply, Request, ShardId, ToQuorum, ToShard};
use crate::tree::Tree;

/// The time for which a server looks for a leader before it serves without one, in milliseconds;
/// one tick, where that is longer.
pub(super) const LOOKING_MS: i64 = 2000;

/// A message of a shard. A session that is made here lives as long as its connection; nobody else
/// knows it.
pub(super) fn on_message(writes: &mut Writes, message: ToQuorum, tree: &Tree) {
    match message {
        ToQuorum::Joined { .. } => {}
        ToQuorum::CreateSession { origin, session, timeout_ms } => {
            let opened = BatchItem::SessionOpened { origin, session, timeout_ms };
            answer(writes, origin.shard, opened);
        }
        ToQuorum::Renew { origin, session, timeout_ms } => {
            let valid = tree.session_timeout(session).is_some();
            let renewed = ToShard::Renewed { origin, session, timeout_ms, valid };
            writes.effects.push_back(Effect::ToShard(origin.shard, renewed));
        }
        ToQuorum::Request(Request { origin, op, .. }) => {
            let reply = refusal(writes, origin, op);
            answer(writes, origin.shard, BatchItem::Reply(reply));
        }
    }
}

/// Whatever a client wants written. Its session ends with its connection.
fn refusal(writes: &Writes, origin: Origin, op: OpCode) -> Reply {
    match op {
        OpCode::CLOSE_SESSION => {
            let reply = reply::refused(origin, op, writes.shown, ErrorCode::OK);
            Reply { close: true, ..reply }
        }
        op => reply::refused(origin, op, writes.shown, ErrorCode::NOT_READ_ONLY),
    }
}

fn answer(writes: &mut Writes, shard: ShardId, item: BatchItem) {
    let commit = CommitBatch { zxid: writes.shown, items: vec![item] };
    writes.effects.push_back(Effect::ToShard(shard, ToShard::Commit(commit)));
}
