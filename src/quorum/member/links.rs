//! The connections of a role: those of a leader's learners, and that to the leader.

use std::collections::{BTreeMap, VecDeque};

use super::effect::{MemberEffect, PeerConn};
use super::inbound::{Inbound, Next};
use super::news::MemberNews;
use super::receiving::Receiving;
use super::taking::Taking;
use crate::packet::Packet;
use crate::quorum::{PeerEvent, Quorum};
use crate::tree::Tree;
use crate::zab::{LearnerConn, ServerId};

/// The connections of a leader.
#[derive(Debug, Default)]
pub(super) struct Learners {
    pub(super) inbound: BTreeMap<PeerConn, Inbound>,
    /// Whose packets are taken first: each is first in turn.
    first: u64,
}

/// The connection of a learner.
#[derive(Debug)]
pub(super) struct LeaderLink {
    pub(super) leader: ServerId,
    pub(super) conn: PeerConn,
    pub(super) inbound: Inbound,
    pub(super) tree: Option<Receiving>,
    /// The observers of a follower, once it takes them.
    pub(super) observers: Option<Learners>,
}

impl Learners {
    /// Packets are taken, and the connection of whoever is gone is closed.
    pub(super) fn take(
        &mut self,
        quorum: &mut Quorum,
        tree: &Tree,
        taking: &mut Taking<impl Fn() -> bool>,
        effects: &mut VecDeque<MemberEffect>,
    ) {
        for _ in 0..self.inbound.len() {
            let from = self.inbound.range(PeerConn(self.first)..).next();
            let Some((conn, _)) = from.or_else(|| self.inbound.iter().next()) else { return };
            let conn = *conn;
            if taking.is_over() {
                return;
            }
            self.first = conn.0 + 1;
            self.take_of(conn, quorum, tree, taking, effects);
        }
    }

    fn take_of(
        &mut self,
        conn: PeerConn,
        quorum: &mut Quorum,
        tree: &Tree,
        taking: &mut Taking<impl Fn() -> bool>,
        effects: &mut VecDeque<MemberEffect>,
    ) {
        let Some(inbound) = self.inbound.get_mut(&conn) else { return };
        let learner = LearnerConn(conn.0);
        while !taking.is_over() {
            match inbound.next() {
                Next::Packet(packet) if !taking.takes(&packet) => return inbound.put_back(packet),
                Next::Packet(packet) => {
                    quorum.on_peer(PeerEvent::Learner(learner, packet), tree, taking.now);
                }
                // No learner commits: the role says what becomes of it.
                Next::Commits(zxid, _) => {
                    let packet = Packet::Commit { zxid };
                    quorum.on_peer(PeerEvent::Learner(learner, packet), tree, taking.now);
                }
                Next::Later => return inbound.pause(conn, false, effects),
                Next::End(why) => {
                    let peer = inbound.peer;
                    effects.push_back(MemberEffect::Tell(MemberNews::LearnerGone { peer, why }));
                    effects.push_back(MemberEffect::Close { conn });
                    self.inbound.remove(&conn);
                    return quorum.on_peer(PeerEvent::LearnerGone(learner), tree, taking.now);
                }
            }
        }
    }
}

impl LeaderLink {
    /// Packets are taken while the role wants them.
    pub(super) fn take(
        &mut self,
        quorum: &mut Quorum,
        tree: &Tree,
        taking: &mut Taking<impl Fn() -> bool>,
        effects: &mut VecDeque<MemberEffect>,
    ) {
        let Self { conn, ref mut inbound, .. } = *self;
        while !taking.is_over() {
            let next = match quorum.wants_packets() {
                true => inbound.next(),
                // What came before the end is of no use any more.
                false if inbound.ended.is_some() => inbound.end(None),
                false => return,
            };
            match next {
                Next::Packet(packet) if !taking.takes(&packet) => return inbound.put_back(packet),
                Next::Packet(packet) => {
                    quorum.on_peer(PeerEvent::Leader(packet), tree, taking.now);
                }
                Next::Commits(first, last) => {
                    quorum.on_peer(PeerEvent::Commits(first, last), tree, taking.now);
                }
                Next::Later => return inbound.pause(conn, false, effects),
                Next::End(why) => {
                    let peer = inbound.peer;
                    effects.push_back(MemberEffect::Tell(MemberNews::LeaderGone { peer, why }));
                    return quorum.on_peer(PeerEvent::LeaderGone, tree, taking.now);
                }
            }
        }
    }
}
