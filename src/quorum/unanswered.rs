//! What a role leaves behind: requests whose outcome nobody here will learn.

use crate::codes::OpCode;
use crate::handoff::{Origin, Reply, ShardId};
use crate::zxid::SessionId;

/// Something that a shard has asked for and that no role answers any more.
#[derive(Debug)]
pub(super) enum Unanswered {
    Request(Origin, OpCode),
    Reply(ShardId, Reply),
    Session(Origin),
    Renewal { origin: Origin, session: SessionId, timeout_ms: i32 },
}
