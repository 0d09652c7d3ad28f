//! Whether clients are served: only while the server has a role in which it can answer them. When
//! the role ends, so do all connections of clients, and four-letter words go on.

use crate::handoff::ToQuorum;

use super::close_reason::CloseReason;
use super::connection::{Connection, Phase};
use super::{Effect, Frontend};
use crate::zxid::SessionId;

/// See the module.
#[derive(Debug)]
pub(super) enum Service {
    /// Clients are served; with `read_only` those that have asked for that.
    On { read_only: bool },
    /// No client is taken. Connections from this slot on may be those of the role that ended.
    Ending { slot: u32, next: Option<Begun> },
    /// No client is taken, and none is left.
    Off,
}

/// A service that begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    generation: u64,
    read_only: bool,
}

impl Service {
    pub(super) fn is_on(&self) -> bool {
        matches!(self, Self::On { .. })
    }

    pub(super) fn is_read_only(&self) -> bool {
        matches!(self, Self::On { read_only: true })
    }
}

impl Frontend {
    /// The role has ended: nothing that was asked for is answered.
    pub(super) fn on_not_serving(&mut self) {
        self.shard.service = Service::Ending { slot: 0, next: None };
    }

    /// A role has begun. Clients are taken once those of the last one are closed.
    pub(super) fn on_serving(&mut self, generation: u64, read_only: bool) {
        let begun = Begun { generation, read_only };
        match &mut self.shard.service {
            Service::Ending { next, .. } => *next = Some(begun),
            Service::Off => self.join(begun),
            Service::On { .. } => {
                debug_assert!(false, "a role begins after the last one has ended")
            }
        }
    }

    /// Nothing of an earlier role is left: what comes from now on is of this one.
    fn join(&mut self, Begun { generation, read_only }: Begun) {
        let shard = &mut self.shard;
        assert_eq!(shard.outstanding, 0, "nothing of an earlier role is left");
        shard.service = Service::On { read_only };
        let joined = ToQuorum::Joined { shard: shard.id, generation };
        shard.effects.push_back(Effect::ToQuorum(joined));
    }

    /// Closes a part of the connections of a role that has ended.
    pub(super) fn go_on_ending_service(&mut self) {
        let Service::Ending { slot: from, next } = self.shard.service else { return };
        let slots = self.connections.slots();
        let (mut slot, mut closed) = (from, 0);
        while slot < slots && slot < from + SLOTS_PER_TURN && closed < CLOSES_PER_TURN {
            if let Some(connection) = self.connections.at(slot).filter(|conn| is_served(conn)) {
                self.shard.close(connection, CloseReason::NotServing);
                closed += 1;
            }
            slot += 1;
        }
        if slot < slots {
            self.shard.service = Service::Ending { slot, next };
            return;
        }
        self.shard.forget_outstanding();
        self.shard.service = Service::Off;
        next.into_iter().for_each(|begun| self.join(begun));
    }
}

/// Whether it is a client's that a role has to answer, or has answered. Those that have said
/// nothing yet, or a four-letter word, are not.
pub(super) fn is_served(conn: &Connection) -> bool {
    match conn.phase {
        Phase::Connecting | Phase::Serving => true,
        Phase::Ending => conn.session != SessionId::NONE,
        Phase::Fresh | Phase::Closed => false,
    }
}

/// Slots looked at in one turn, and connections closed.
const SLOTS_PER_TURN: u32 = 4096;
const CLOSES_PER_TURN: u32 = 256;
