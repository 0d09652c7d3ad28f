//! What a server is at: it leads, it learns, or it serves nobody.

use std::collections::BTreeSet;

use super::leader::Leader;
use super::learner::Learner;
use super::writes::Writes;
use super::{Budget, read_only};
use crate::handoff::ToQuorum;
use crate::packet::Packet;
use crate::tree::Tree;
use crate::txnlog::Durable;
use crate::zab::{LearnerConn, LearnerCounts, LogReach, ServerId, Stage, VoterNews};
use crate::zxid::{SessionId, Zxid};

/// A value that is dropped as a whole when the server does something else.
#[derive(Debug)]
pub(super) enum Role {
    /// LOOKING: nothing is served.
    None,
    Leading(Box<Leader>),
    Learning(Box<Learner>),
}

/// What comes from the other servers of the ensemble, and from the shell that carries out a role's
/// effects.
#[derive(Debug)]
pub enum PeerEvent {
    /// The time at which the role wants to be woken: see [`super::Quorum::wakes_at`].
    Time,
    /// Whether the disk has no space for the log; to come before [`PeerEvent::Time`].
    FullDisk(bool),
    /// The voters that have made this server the leader.
    ElectedBy(BTreeSet<ServerId>),
    /// What the election has heard of a voter meanwhile.
    Voter(ServerId, VoterNews),
    /// Somebody has connected to the leader.
    Connected(LearnerConn),
    /// A learner's packet.
    Learner(LearnerConn, Packet),
    /// A learner has taken more of what it is synchronized with.
    Taken(LearnerConn),
    /// A learner's connection is gone.
    LearnerGone(LearnerConn),
    /// The leader's packet; to come only while [`super::Quorum::wants_packets`].
    Leader(Packet),
    /// The same: COMMITs of the first of these and of all after it up to the second, in one epoch.
    Commits(Zxid, Zxid),
    /// The connection to the leader is gone.
    LeaderGone,
    /// The accepted epoch is stored.
    AcceptedEpoch(u32),
    /// The current epoch is stored.
    CurrentEpoch(u32),
    /// What the log on the disk says.
    LogReach(LearnerConn, LogReach),
    /// Log and tree end with this zxid, or could not be cut there. To be told even if the role
    /// that has asked for it has ended.
    Truncated(Zxid, bool),
    /// More of the leader's tree has come, or the whole of it.
    TreeBytes { is_whole: bool },
    /// The leader's tree is in place and durable, or did not come whole. To be told likewise.
    Loaded(Option<Zxid>),
}

impl Role {
    pub(super) fn leader(&self) -> Option<&Leader> {
        match self {
            Self::Leading(leader) => Some(leader),
            Self::None | Self::Learning(_) => None,
        }
    }

    pub(super) fn leader_mut(&mut self) -> Option<&mut Leader> {
        match self {
            Self::Leading(leader) => Some(leader),
            Self::None | Self::Learning(_) => None,
        }
    }

    /// A message of a shard.
    pub(super) fn on_message(
        &mut self,
        writes: &mut Writes,
        message: ToQuorum,
        tree: &Tree,
        budget: &mut Budget,
    ) {
        match self {
            Self::Leading(leader) if leader.machine.is_serving() => {
                leader.on_message(writes, message, tree, budget);
            }
            Self::Learning(learner) if learner.machine.is_serving() => {
                if let ToQuorum::Request(request) = &message {
                    budget.spend(request.record.len() as u64 / FORM_BYTES_PER_UNIT);
                }
                learner.on_message(writes, message, tree);
            }
            Self::None => read_only::on_message(writes, message, tree),
            // The gate lets nothing in.
            Self::Leading(_) | Self::Learning(_) => {}
        }
    }

    /// Something from the ensemble. What is not of this role comes from an earlier one, and is
    /// passed over.
    pub(super) fn on_peer(&mut self, writes: &mut Writes, event: PeerEvent) {
        let now_ms = writes.now.mono_ms;
        match self {
            Self::None => {}
            Self::Leading(leader) => match event {
                PeerEvent::Time => leader.machine.on_time(now_ms),
                PeerEvent::FullDisk(is_full) => {
                    // What there is of the log may take some more.
                    let is_full = is_full && !leader.has_room(writes, usize::MAX);
                    leader.machine.on_full_disk(is_full, now_ms);
                }
                PeerEvent::ElectedBy(voters) => leader.machine.elected_by(voters),
                PeerEvent::Voter(id, news) => leader.machine.on_voter(id, news, now_ms),
                PeerEvent::Connected(conn) => leader.machine.on_connection(conn, now_ms),
                PeerEvent::Learner(conn, packet) => leader.machine.on_packet(conn, packet, now_ms),
                PeerEvent::Taken(conn) => leader.machine.on_taken(conn, now_ms),
                PeerEvent::LearnerGone(conn) => leader.on_learner_gone(conn),
                PeerEvent::AcceptedEpoch(epoch) => leader.machine.on_accepted_epoch(epoch, now_ms),
                PeerEvent::CurrentEpoch(epoch) => leader.machine.on_current_epoch(epoch, now_ms),
                PeerEvent::LogReach(conn, reach) => leader.machine.on_log_reach(conn, reach),
                _ => {}
            },
            Self::Learning(learner) => match event {
                PeerEvent::Time => {
                    learner.machine.on_time(now_ms);
                    learner.on_observer(PeerEvent::Time, now_ms);
                }
                PeerEvent::Connected(..)
                | PeerEvent::Learner(..)
                | PeerEvent::LearnerGone(..)
                | PeerEvent::Taken(..)
                | PeerEvent::LogReach(..) => learner.on_observer(event, now_ms),
                PeerEvent::Leader(packet) => learner.machine.on_packet(packet, now_ms),
                PeerEvent::Commits(first, last) => learner.machine.on_commits(first, last, now_ms),
                PeerEvent::LeaderGone => learner.machine.on_closed(),
                PeerEvent::AcceptedEpoch(epoch) => learner.machine.on_accepted_epoch(epoch, now_ms),
                PeerEvent::CurrentEpoch(epoch) => learner.machine.on_current_epoch(epoch, now_ms),
                PeerEvent::Truncated(to, is_done) => {
                    learner.restart_observers(Some(to).filter(|_| is_done));
                    learner.machine.on_truncated(to, is_done, now_ms);
                }
                PeerEvent::TreeBytes { is_whole } if learner.machine.stage() == Stage::Loading => {
                    learner.machine.on_tree_bytes(is_whole, now_ms);
                }
                PeerEvent::Loaded(zxid) => {
                    learner.restart_observers(zxid);
                    learner.machine.on_tree(zxid, now_ms);
                }
                PeerEvent::TreeBytes { .. }
                | PeerEvent::FullDisk(_)
                | PeerEvent::ElectedBy(_)
                | PeerEvent::Voter(..) => {}
            },
        }
    }

    /// True if the role has ended.
    pub(super) fn take_effects(
        &mut self,
        writes: &mut Writes,
        tree: &Tree,
        budget: &mut Budget,
    ) -> bool {
        match self {
            Self::None => false,
            Self::Leading(leader) => leader.take_effects(writes, tree, budget),
            Self::Learning(learner) => learner.take_effects(writes, tree),
        }
    }

    /// A flush of this server covers all up to here. True if the role has ended.
    pub(super) fn on_durable(&mut self, writes: &mut Writes, upto: Durable<Zxid>) -> bool {
        match self {
            Self::None => false,
            Self::Leading(leader) => leader.on_durable(writes, upto),
            Self::Learning(learner) => {
                learner.on_durable(upto, writes.now.mono_ms);
                learner.take_progress(writes)
            }
        }
    }

    /// The tree shows all up to here.
    pub(super) fn on_applied(&mut self, upto: Zxid) {
        match self {
            Self::None => {}
            Self::Leading(leader) => leader.machine.on_applied(upto),
            Self::Learning(learner) => learner.on_applied(upto),
        }
    }

    /// The closeSession of a session is applied.
    pub(super) fn session_closed(&mut self, session: SessionId) {
        match self {
            Self::None => {}
            Self::Leading(leader) => leader.session_closed(session),
            Self::Learning(learner) => learner.session_closed(session),
        }
    }

    /// The learners of a leader, and the observers of a follower.
    pub(super) fn learners(&self) -> LearnerCounts {
        match self {
            Self::None => LearnerCounts::default(),
            Self::Leading(leader) => leader.machine.learners(),
            Self::Learning(learner) => learner.observer_counts(),
        }
    }

    /// The invariants of the fields.
    pub(super) fn check(&self, writes: &Writes) {
        match self {
            Self::None => {}
            Self::Leading(leader) => leader.check(writes),
            Self::Learning(learner) => learner.check(),
        }
    }
}

/// Bytes of a request that are looked through, to see whether they can be read, in the time of one
/// unit.
const FORM_BYTES_PER_UNIT: u64 = 1 << 9;
