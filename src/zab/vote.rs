//! Votes, and which of two wins.

use super::members::ServerId;
use crate::packet::Notification;
use crate::zxid::Zxid;

/// What a server votes for: the leader, and how new its history is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vote {
    pub leader: ServerId,
    /// The last zxid that it has logged.
    pub zxid: Zxid,
    /// The epoch of its history (`currentEpoch`).
    pub epoch: i64,
}

impl Vote {
    /// The vote of a notification.
    pub(super) fn of(said: &Notification) -> Self {
        Self { leader: ServerId(said.leader), zxid: said.zxid, epoch: said.peer_epoch }
    }

    /// The vote of a server that does not vote: it wins over nobody.
    pub(super) fn none() -> Self {
        let nobody = Notification::NOBODY;
        Self { leader: ServerId(nobody), zxid: Zxid(nobody), epoch: nobody }
    }

    /// Epoch, then zxid, then id decide.
    pub(super) fn rank(&self) -> (i64, Zxid, ServerId) {
        if mutant!(IdBeforeZxid) {
            return (self.epoch, Zxid(self.leader.0), ServerId(self.zxid.0));
        }
        if mutant!(EpochIgnoredInVotes) {
            return (0, self.zxid, self.leader);
        }
        (self.epoch, self.zxid, self.leader)
    }
}
