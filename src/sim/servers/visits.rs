//! The connections of each session, and which of them its leader may have taken for its own.
//!
//! A leader takes the requests of a session from the server for which it has found the session alive
//! last (Apache's `checkSession`): it knows servers and not connections. Each server asks it once
//! for a connection that comes with a session, after the client has sent its request for it and
//! before the client is answered. No leader hears of what goes on under another one: neither what the
//! next one does before it knows of that, nor what the last one still does.

use std::collections::BTreeMap;

use crate::sim::property::{Checked, hold};
use crate::zxid::Zxid;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Visits {
    of: BTreeMap<i64, Vec<Visit>>,
    answers: u64,
    /// The epoch, or a later one, of the role that has taken a connection.
    roles: BTreeMap<usize, u32>,
}

/// A connection that has asked for a session.
#[derive(Debug)]
struct Visit {
    link: usize,
    server: usize,
    /// Which of all answers it got; none yet, or none that anybody saw.
    answered: Option<Answered>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Answered {
    nth: u64,
    /// The epoch of the leader that was asked.
    epoch: u32,
}

impl Visits {
    /// A client asks for its session.
    pub(super) fn on_connects(&mut self, session: i64, link: usize, server: usize) {
        let visit = Visit { link, server, answered: None };
        self.of.entry(session).or_default().push(visit);
    }

    /// It was told that it has it, or that it has a new one.
    pub(super) fn on_answered(&mut self, session: i64, link: usize, server: usize, epoch: u32) {
        self.answers += 1;
        let answered = Some(Answered { nth: self.answers, epoch });
        let of = self.of.entry(session).or_default();
        match of.iter_mut().find(|visit| visit.link == link) {
            Some(visit) => visit.answered = answered,
            None => of.push(Visit { link, server, answered }),
        }
    }

    /// A server with this epoch has answered a connection.
    pub(super) fn on_taken(&mut self, link: usize, epoch: u32) {
        self.roles.insert(link, epoch);
    }

    /// What was asked on a connection is done in the role that has taken it, or not at all: what
    /// came before it may be lost with that role.
    pub(super) fn judge_role(&self, link: usize, zxid: Zxid) -> Checked {
        let role = self.roles.get(&link).copied();
        hold!(
            role.is_none_or(|epoch| zxid.epoch() <= epoch),
            WriteUnasked,
            "{zxid} was asked for on c{link}, in a role of epoch {role:?}"
        );
        Ok(())
    }

    /// Whether the session was asked for on a later connection.
    pub(super) fn has_moved(&self, session: i64, link: usize) -> bool {
        self.of(session).iter().any(|visit| visit.link > link)
    }

    /// Whether it was asked for, or given out, at another server: an earlier connection, which the
    /// client has given up, may come to the leader late.
    pub(super) fn may_be_elsewhere(&self, session: i64, here: usize) -> bool {
        let home = (session >> 56) as usize - 1;
        home != here || self.of(session).iter().any(|visit| visit.server != here)
    }

    /// Whether the leader of an epoch cannot take a request from this connection: it has found the
    /// session alive for a later connection to another server since then, and for none to this
    /// server after that.
    pub(super) fn has_left(&self, session: i64, link: usize, server: usize, epoch: u32) -> bool {
        let of = self.of(session);
        let elsewhere = of.iter().filter(|visit| visit.link > link && visit.server != server);
        let answers = elsewhere.filter_map(|visit| visit.answered);
        let Some(left) = answers.filter(|answered| answered.epoch == epoch).max() else {
            return false;
        };
        let is_back = |visit: &Visit| {
            visit.server == server && visit.answered.is_none_or(|answered| answered > left)
        };
        !of.iter().any(is_back)
    }

    fn of(&self, session: i64) -> &[Visit] {
        self.of.get(&session).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: i64 = 1 << 56 | 7;
    const EPOCH: u32 = 3;

    fn answered(visits: &mut Visits, link: usize, server: usize) {
        visits.on_connects(SESSION, link, server);
        visits.on_answered(SESSION, link, server, EPOCH);
    }

    fn has_left(visits: &Visits, link: usize, server: usize) -> bool {
        visits.has_left(SESSION, link, server, EPOCH)
    }

    #[test]
    fn a_session_is_where_it_was_answered_last() {
        let mut visits = Visits::default();
        answered(&mut visits, 1, 0);
        assert!(!has_left(&visits, 1, 0));
        visits.on_connects(SESSION, 2, 1);
        assert!(!has_left(&visits, 1, 0), "the leader may not know of it yet");
        visits.on_answered(SESSION, 2, 1, EPOCH);
        assert!(has_left(&visits, 1, 0));
        assert!(!has_left(&visits, 2, 1));
    }

    /// What goes on under the next leader is unknown to the one before.
    #[test]
    fn a_deposed_leader_does_not_know_that_a_session_has_left() {
        let mut visits = Visits::default();
        answered(&mut visits, 1, 0);
        visits.on_connects(SESSION, 2, 1);
        visits.on_answered(SESSION, 2, 1, EPOCH + 1);
        assert!(!has_left(&visits, 1, 0));
        assert!(visits.has_left(SESSION, 1, 0, EPOCH + 1));
        assert!(!visits.has_left(SESSION, 1, 0, EPOCH + 2), "a server may not know of it yet");
    }

    /// What an earlier connection has left is taken as soon as the session may be back.
    #[test]
    fn a_session_that_is_at_a_server_again_has_not_left_it() {
        let mut visits = Visits::default();
        answered(&mut visits, 1, 0);
        answered(&mut visits, 2, 1);
        visits.on_connects(SESSION, 3, 0);
        assert!(!has_left(&visits, 1, 0), "it may be back already");
        visits.on_answered(SESSION, 3, 0, EPOCH);
        assert!(!has_left(&visits, 1, 0));
        assert!(has_left(&visits, 2, 1));
        answered(&mut visits, 4, 1);
        assert!(has_left(&visits, 1, 0) && has_left(&visits, 3, 0));
    }

    /// A connection that the client has given up may be found alive after a later one.
    #[test]
    fn a_connection_that_was_given_up_brings_the_session_back() {
        let mut visits = Visits::default();
        answered(&mut visits, 1, 0);
        visits.on_connects(SESSION, 2, 0);
        answered(&mut visits, 3, 1);
        assert!(!has_left(&visits, 1, 0));
    }

    #[test]
    fn no_later_role_does_what_an_earlier_one_was_asked_for() {
        let mut visits = Visits::default();
        visits.on_taken(1, EPOCH);
        assert!(visits.judge_role(1, Zxid::new(EPOCH, 9)).is_ok());
        assert!(visits.judge_role(1, Zxid::new(EPOCH + 1, 1)).is_err());
        assert!(visits.judge_role(2, Zxid::new(EPOCH + 1, 1)).is_ok(), "it was never answered");
    }
}
