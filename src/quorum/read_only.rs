//! A member of an ensemble without a leader, where read-only mode is on: it answers reads from a
//! tree that may be old, to clients that have asked for that, and nothing is written
//! (`ReadOnlyZooKeeperServer`). A new session is a local one, whether or not those are enabled.

use super::writes::Writes;
use super::{Effect, reply};
use crate::codes::{ErrorCode, OpCode};
use crate::handoff::{BatchItem, Origin, Request, ToQuorum, ToShard};
use crate::tree::Tree;
use crate::zxid::SessionId;

/// The time for which a server looks for a leader before it serves without one, in milliseconds;
/// one tick, where that is longer.
pub(super) const LOOKING_MS: i64 = 2000;

/// A message of a shard.
pub(super) fn on_message(writes: &mut Writes, message: ToQuorum, tree: &Tree) {
    match message {
        ToQuorum::Joined { .. } => {}
        ToQuorum::CreateSession { origin, session, timeout_ms } => {
            writes.open_local_session(origin, session, timeout_ms);
        }
        ToQuorum::Renew { origin, session, timeout_ms } => {
            if writes.renew_local_session(origin, session, timeout_ms) {
                return;
            }
            let valid = tree.session_timeout(session).is_some();
            let renewed = ToShard::Renewed { origin, session, timeout_ms, valid };
            writes.effects.push_back(Effect::ToShard(origin.shard, renewed));
        }
        ToQuorum::Request(Request { origin, session, op, .. }) => {
            refuse(writes, origin, session, op);
        }
    }
}

/// Whatever a client wants written is refused. A session of the ensemble does not end here, but the
/// connection does.
fn refuse(writes: &mut Writes, origin: Origin, session: SessionId, op: OpCode) {
    let err = match op {
        OpCode::CLOSE_SESSION => {
            writes.local.remove(session);
            ErrorCode::OK
        }
        _ => ErrorCode::NOT_READ_ONLY,
    };
    let reply = reply::refused(origin, op, writes.shown, err);
    writes.tell(origin.shard, BatchItem::Reply(reply));
}
