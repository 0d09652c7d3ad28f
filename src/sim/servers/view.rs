//! The judge of all servers, as one of them has it.

use crate::codes::ErrorCode;
use crate::jute::data::Id;
use crate::tree::Tree;
use crate::zab::{LeadEffect, LearnEffect, StepDown};
use crate::zxid::Zxid;

use crate::sim::judge::{Judge, Serving};
use crate::sim::model::Model;
use crate::sim::op::Op;
use crate::sim::property::{Checked, Done, hold};

use super::coverage;
use super::history::History;

/// See the module.
pub(super) struct View<'a> {
    pub(super) history: &'a mut History,
    pub(super) server: usize,
}

impl Judge for View<'_> {
    fn user(&self) -> &Id {
        &self.history.user
    }

    fn applied(&self) -> &Model {
        &self.history.servers[self.server].applied
    }

    fn done(&self, zxid: i64) -> Option<&Done> {
        self.history.done(self.server, zxid)
    }

    fn done_after(&self, zxid: i64) -> Option<&Done> {
        self.history.done_after(self.server, zxid)
    }

    fn zxid_of(&self, session: i64, xid: i32) -> Option<Zxid> {
        self.history.zxid_of(session, xid)
    }

    fn logged(&self) -> i64 {
        self.history.servers[self.server].last()
    }

    fn created(&self, session: i64) -> Option<i64> {
        self.history.created(session)
    }

    fn may_refuse(&self, session: i64) -> bool {
        // A leader that is deposed and does not know it yet knows nothing of sessions that the next
        // one has made, and who has one of those may have seen nothing yet that is newer than it.
        let shown = Zxid(self.applied().zxid).epoch();
        let is_newer = self.created(session).is_some_and(|made| Zxid(made).epoch() > shown);
        is_newer || self.may_end(session)
    }

    fn may_renew(&self, session: i64, since_us: u64) -> bool {
        self.applied().sessions.contains_key(&session)
            || self.history.local_lived_since(self.server, session, since_us)
            || self.history.is_beginning(self.server, session, since_us)
            || self.history.lived_since(session, since_us)
    }

    fn may_end(&self, session: i64) -> bool {
        if self.history.is_local(self.server, session)
            && !self.history.may_end_local(self.server, session)
        {
            return self.was_full();
        }
        !self.history.head().sessions.contains_key(&session)
            || self.history.is_ending(session)
            || self.history.servers.iter().any(|server| server.was_full)
    }

    fn on_local(&mut self, session: i64, read_only: bool) -> Checked {
        self.history.on_local(self.server, session, read_only)
    }

    fn is_local(&self, session: i64) -> bool {
        self.history.is_local(self.server, session)
    }

    fn is_beginning(&self, session: i64) -> bool {
        self.history.is_beginning(self.server, session, self.history.spells.now_us())
    }

    fn no_ephemerals(&self, session: i64, op: &Op) -> Option<ErrorCode> {
        self.history.no_ephemerals(self.server, session, op)
    }

    fn on_renewed(&mut self, session: i64, timeout_ms: i32) {
        self.history.spells.on_wanted(session, timeout_ms);
    }

    fn on_append(&mut self, bytes: &[u8], mono_ms: i64, wall_ms: i64) -> Checked {
        self.history.on_append(self.server, bytes, mono_ms, wall_ms)
    }

    fn on_durable(&mut self, zxid: Zxid) {
        self.history.on_durable(self.server, zxid);
    }

    fn on_nothing_prepared(&mut self) {
        self.history.on_nothing_prepared(self.server);
    }

    fn on_commit(&mut self, tree: &Tree, preparing: bool, deep: bool) -> Checked {
        if preparing {
            self.history.on_shown_meanwhile(self.server);
        }
        self.history.on_tree(self.server, tree, deep)
    }

    fn on_shown(&mut self, zxid: i64) -> Checked {
        self.history.on_shown(self.server, zxid)
    }

    fn on_replaced(&mut self, tree: &Tree) -> Checked {
        self.history.spells.rough_at_now(self.server);
        self.history.on_replaced(self.server, tree)
    }

    fn on_lead(&mut self, effect: &LeadEffect, _: &Tree) -> Checked {
        match effect {
            LeadEffect::Begin { epoch } => self.history.on_begin(self.server, *epoch),
            LeadEffect::StoreCurrentEpoch { epoch } => {
                self.history.on_history(self.server, *epoch);
                Ok(())
            }
            LeadEffect::StepDown { why: StepDown::Rollover } => {
                self.history.coverage.note(coverage::ROLLOVER);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn on_learn(&mut self, effect: &LearnEffect) -> Checked {
        let of = &self.history.servers[self.server];
        match effect {
            LearnEffect::StoreAcceptedEpoch { epoch } => {
                let before = of.accepted_epoch;
                hold!(*epoch > before, Epochs, "accepts epoch {epoch} after {before}");
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn on_serving(&mut self, serving: Option<Serving>, tree: &Tree) -> Checked {
        self.history.spells.rough_at_now(self.server);
        self.history.on_serving(self.server, serving, tree)
    }

    fn on_room(&mut self, has_room: bool) {
        if !has_room {
            if !std::mem::replace(&mut self.history.servers[self.server].was_full, true) {
                self.history.coverage.note(coverage::NO_ROOM);
            }
            self.slow_now();
        }
    }

    fn was_full(&self) -> bool {
        self.history.servers[self.server].was_full
    }

    fn slow_now(&mut self) {
        self.history.spells.rough_at_now(self.server);
    }

    fn judge_wait(&self, session: i64, xid: i32, came_us: u64) -> Checked {
        self.history.spells.judge_wait(session, xid, came_us)
    }
}
