//! Sessions that one server alone knows: they begin without a transaction, end with the role in which
//! they began, and become sessions of the ensemble with their first ephemeral, where they may.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::codes::ErrorCode;
use crate::sim::model::Model;
use crate::sim::swarm::OfMembers;
use crate::zxid::Zxid;

/// See the module.
#[derive(Debug)]
pub(super) struct Locals {
    of: BTreeMap<i64, Local>,
    /// The zxids that were proposed last to make them sessions of the ensemble.
    begun: BTreeMap<i64, Zxid>,
    settings: OfMembers,
}

#[derive(Debug)]
struct Local {
    server: usize,
    /// When the role has ended in which it began.
    ended_us: Option<u64>,
    /// Its client wants its end.
    is_closing: bool,
}

impl Locals {
    pub(super) fn new(settings: OfMembers) -> Self {
        Self { of: BTreeMap::new(), begun: BTreeMap::new(), settings }
    }

    /// Whether new sessions are local ones.
    pub(super) fn is_on(&self) -> bool {
        self.settings.local_sessions
    }

    /// Whether they may become sessions of the ensemble.
    pub(super) fn upgrading(&self) -> bool {
        self.settings.upgrading
    }

    /// A client was told of it. False if it cannot be.
    pub(super) fn on_opened(&mut self, server: usize, session: i64) -> bool {
        self.is_on()
            && self
                .of
                .insert(session, Local { server, ended_us: None, is_closing: false })
                .is_none()
    }

    /// Whether a server has given it out.
    pub(super) fn is_of(&self, server: usize, session: i64) -> bool {
        self.of.get(&session).is_some_and(|local| local.server == server)
    }

    pub(super) fn may_upgrade(&self, session: i64) -> bool {
        self.upgrading() && self.of.contains_key(&session)
    }

    /// A leader has proposed to make it a session of the ensemble.
    pub(super) fn on_begun(&mut self, session: i64, zxid: Zxid) {
        self.begun.insert(session, zxid);
    }

    /// Whether the leader of an epoch has proposed that. The session lives from then on, though no
    /// server shows it yet (Apache's `PrepRequestProcessor` tracks it): its client may have gone from
    /// the server that knew it alone to any other one. What one leader has only proposed is unknown
    /// to the next.
    pub(super) fn is_begun(&self, session: i64, epoch: u32) -> bool {
        self.begun.get(&session).is_some_and(|made| made.epoch() == epoch)
    }

    pub(super) fn has_ended(&self, session: i64) -> bool {
        self.of.get(&session).is_some_and(|local| local.is_closing || local.ended_us.is_some())
    }

    /// Whether it has lived at a server since then.
    pub(super) fn lived_since(&self, server: usize, session: i64, since_us: u64) -> bool {
        let lived = |local: &Local| local.ended_us.is_none_or(|at_us| at_us >= since_us);
        self.of.get(&session).is_some_and(|local| local.server == server && lived(local))
    }

    /// Its client has asked for its end, which may not come to its server.
    pub(super) fn on_close_asked(&mut self, session: i64) {
        if let Some(local) = self.of.get_mut(&session) {
            local.is_closing = true;
        }
    }

    /// The role of a server has ended.
    pub(super) fn end_all_of(&mut self, server: usize, now_us: u64) {
        for local in self.of.values_mut().filter(|local| local.server == server) {
            local.ended_us.get_or_insert(now_us);
        }
    }

    /// The state in which a request of a session is decided. A leader does not know the sessions of
    /// its learners; what it does not know may have no ephemerals.
    pub(super) fn state_for<'a>(
        &self,
        state: &'a Model,
        session: i64,
        is_leaders: bool,
    ) -> Cow<'a, Model> {
        if !self.is_on() || state.sessions.contains_key(&session) {
            return Cow::Borrowed(state);
        }
        let mut state = state.clone();
        state.sessions.insert(session, 0);
        state.no_ephemerals = Some(match is_leaders {
            true => ErrorCode::EPHEMERAL_ON_LOCAL_SESSION,
            false => ErrorCode::SESSION_EXPIRED,
        });
        Cow::Owned(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_begun_for_the_leader_that_has_proposed_it() {
        let mut locals = Locals::new(OfMembers { local_sessions: true, ..OfMembers::plain() });
        assert!(!locals.is_begun(7, 0));
        locals.on_begun(7, Zxid::new(3, 5));
        assert!(locals.is_begun(7, 3));
        assert!(!locals.is_begun(7, 2) && !locals.is_begun(7, 4));
        assert!(!locals.is_begun(8, 3));
    }
}
