//! What the turns of a server and the judges of connections tell the judge of transactions, and
//! ask it: the same of a server on its own and of each server of an ensemble.

use crate::codes::ErrorCode;
use crate::jute::data::Id;
use crate::tree::Tree;
use crate::zab::{LeadEffect, LearnEffect};
use crate::zxid::Zxid;

use super::model::Model;
use super::op::Op;
use super::property::{Checked, Done, hold};

/// What the clients of a server may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Serving {
    All,
    /// Reads alone, while there is no leader.
    Reads,
}

/// The judge as one server has it. See the module.
pub(crate) trait Judge {
    // The history, as this server has it.

    /// The id that the clients prove with `addauth`.
    fn user(&self) -> &Id;
    /// The state that its clients are shown.
    fn applied(&self) -> &Model;
    /// The transaction of a zxid.
    fn done(&self, zxid: i64) -> Option<&Done>;
    /// The first transaction after a zxid.
    fn done_after(&self, zxid: i64) -> Option<&Done>;
    /// The zxid that a write has become, if it is in the log.
    fn zxid_of(&self, session: i64, xid: i32) -> Option<Zxid>;
    /// The last zxid that was put into the log.
    fn logged(&self) -> i64;

    // Its sessions.

    /// The zxid that made a session.
    fn created(&self, session: i64) -> Option<i64>;
    /// Whether a client that comes back with this session may be told that it has ended.
    fn may_refuse(&self, session: i64) -> bool;
    /// Whether a client that has come back with it since then may be told that it lives.
    fn may_renew(&self, session: i64, since_us: u64) -> bool;
    /// Whether the session has ended, or is about to.
    fn may_end(&self, session: i64) -> bool;
    /// A new session is in no log: it must be one that this server alone knows.
    fn on_local(&mut self, session: i64, _read_only: bool) -> Checked {
        hold!(false, SessionState, "session {session:x} was never logged");
        Ok(())
    }
    /// Whether the session is in no log, and this server alone knows it.
    fn is_local(&self, _session: i64) -> bool {
        false
    }
    /// Whether a session that another server has known alone is becoming the ensemble's.
    fn is_beginning(&self, _session: i64) -> bool {
        false
    }
    /// What a local session is told that has asked for an ephemeral, though it may have none.
    fn no_ephemerals(&self, _session: i64, _op: &Op) -> Option<ErrorCode> {
        None
    }
    /// A session goes on with another connection.
    fn on_renewed(&mut self, session: i64, timeout_ms: i32);

    // What it does.

    /// Bytes have been put at the end of the log.
    fn on_append(&mut self, bytes: &[u8], mono_ms: i64, wall_ms: i64) -> Checked;
    /// A flush has truly come back: everything up to `zxid` is on the disk.
    fn on_durable(&mut self, zxid: Zxid);
    /// No request is in preparation: what was shown up to now does not count for the next.
    fn on_nothing_prepared(&mut self);
    /// The tree has moved on, in the middle of a preparation or not.
    fn on_commit(&mut self, tree: &Tree, preparing: bool, deep: bool) -> Checked;
    /// Someone is shown the effect of `zxid`.
    fn on_shown(&mut self, zxid: i64) -> Checked;

    // What only a server of an ensemble does.

    /// Another tree has taken the place of the one before, with its log.
    fn on_replaced(&mut self, _: &Tree) -> Checked {
        Ok(())
    }
    /// The role of a leader wants something done, over this tree.
    fn on_lead(&mut self, _: &LeadEffect, _: &Tree) -> Checked {
        Ok(())
    }
    /// The role of a learner wants something done.
    fn on_learn(&mut self, _: &LearnEffect) -> Checked {
        Ok(())
    }
    /// Its shards are told that it serves, or serves no longer.
    fn on_serving(&mut self, _: Option<Serving>, _: &Tree) -> Checked {
        Ok(())
    }

    // How long it takes.

    /// Whether the log has room for what a client may ask.
    fn on_room(&mut self, has_room: bool);
    /// Whether the log ever had none since the start.
    fn was_full(&self) -> bool;
    /// Something is slow at this moment.
    fn slow_now(&mut self);
    /// A request is answered that came to the server at `came_us`.
    fn judge_wait(&self, session: i64, xid: i32, came_us: u64) -> Checked;
}

/// No request waits longer than its bound; slow times do not count.
pub(crate) fn judge_waited(session: i64, xid: i32, waited_us: u64, patience_us: u64) -> Checked {
    hold!(
        waited_us <= patience_us,
        Late,
        "session {session:x}: {xid} waited {waited_us} us, not {patience_us}"
    );
    Ok(())
}
