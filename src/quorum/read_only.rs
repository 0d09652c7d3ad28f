//! A member of an ensemble without a leader, where read-only mode is on: it answers reads from a
//! tree that may be old, to clients that have asked for that, and nothing is written
//! (`ReadOnlyZooKeeperServer`). It takes local sessions alone: one of the ensemble may have ended
//! there, or end while its client believes that it is kept alive here.

use super::writes::Writes;
use super::{Effect, reply};
use crate::codes::{ErrorCode, OpCode};
use crate::handoff::{BatchItem, NotOpened, Origin, Request, ToQuorum, ToShard};
use crate::tree::Tree;
use crate::zxid::SessionId;

/// The time for which a server looks for a leader before it serves without one, in milliseconds;
/// one tick, where that is longer.
pub(super) const LOOKING_MS: i64 = 2000;

/// A message of a shard.
pub(super) fn on_message(writes: &mut Writes, message: ToQuorum, tree: &Tree) {
    match message {
        ToQuorum::Joined { .. } => {}
        ToQuorum::CreateSession { origin, session, timeout_ms } if writes.config.local_sessions => {
            writes.open_local_session(origin, session, timeout_ms);
        }
        // Whether a session of the ensemble lives, and may begin, is for a leader to say.
        ToQuorum::CreateSession { origin, .. } => writes.send_away(origin, NotOpened::NoLeader),
        ToQuorum::Renew { origin, session, timeout_ms } => {
            if writes.renew_local_session(origin, session, timeout_ms) {
                return;
            }
            if !writes.config.local_sessions || tree.session_timeout(session).is_some() {
                return writes.send_away(origin, NotOpened::NoLeader);
            }
            let renewed = ToShard::Renewed { origin, session, timeout_ms, valid: false };
            writes.effects.push_back(Effect::ToShard(origin.shard, renewed));
        }
        ToQuorum::Request(Request { origin, session, op, .. }) => {
            refuse(writes, origin, session, op);
        }
    }
}

/// Whatever a client wants written is refused. A local session may end.
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
