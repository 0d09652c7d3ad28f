//! What a leader knows of one learner.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::packet::Packet;
use crate::zab::members::ServerId;
use crate::zxid::Zxid;

/// The progress of a learner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Its first packet is awaited.
    Connected,
    /// It has said who it is. LEADERINFO is sent, or waits for the epoch; ACKEPOCH is awaited.
    Informed,
    /// It has accepted the epoch; its history waits for a quorum, or for a look at the log.
    EpochAcked,
    /// Its history and NEWLEADER are sent, and all that comes after them.
    NewLeaderSent,
    /// It has acknowledged NEWLEADER: all up to it is durable there.
    HasHistory,
    /// UPTODATE is sent.
    UpToDate,
}

/// How a learner is synchronized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sync {
    /// With the tree.
    Snap,
    /// With transactions.
    Diff,
}

/// A learner. See [`Stage`].
#[derive(Debug)]
pub(super) struct Learner {
    /// Its id, once it has said it.
    pub(super) id: Option<ServerId>,
    /// It came with FOLLOWERINFO: it gets proposals and commits, an observer informs.
    pub(super) is_follower: bool,
    pub(super) stage: Stage,
    /// How its history is sent, once that is decided.
    pub(super) sync: Option<Sync>,
    /// The epoch that it has accepted, of its first packet.
    pub(super) accepted: u32,
    /// The end of its log, of ACKEPOCH.
    pub(super) last: Zxid,
    /// It is to get a tree that shows at least this.
    pub(super) tree_shows: Option<Zxid>,
    /// The last proposal that it has acknowledged over this connection; none from before.
    pub(super) acked: Zxid,
    /// The proposal whose acknowledgement is awaited, and since when (`SyncLimitCheck`).
    pub(super) awaited: Option<(Zxid, i64)>,
    /// The time at which it counts as lost if nothing is heard of it.
    pub(super) silent_at: i64,
    /// The numbers of the pings since UPTODATE that it has not answered. Bounded by the time that
    /// it may be silent, and by [`super::liveness::ASKED_MAX`].
    pub(super) asked: VecDeque<u64>,
    /// The number of the last ping that it has answered.
    pub(super) answered: u64,
    /// The syncs that it waits for, in order, each with the last zxid proposed before it was asked.
    pub(super) syncs: VecDeque<Zxid>,
}

impl Learner {
    pub(super) fn new(silent_at: i64) -> Self {
        Self {
            id: None,
            is_follower: false,
            stage: Stage::Connected,
            sync: None,
            accepted: 0,
            last: Zxid::ZERO,
            tree_shows: None,
            acked: Zxid::ZERO,
            awaited: None,
            silent_at,
            asked: VecDeque::new(),
            answered: 0,
            syncs: VecDeque::new(),
        }
    }

    /// `told` says that transactions are committed, each from the place in `starts` on: with the
    /// syncs that come before one of them.
    pub(super) fn with_syncs(&mut self, told: &Bytes, starts: &[(Zxid, usize)]) -> Bytes {
        let is_due = |after: &Zxid| starts.last().is_some_and(|(last, _)| last > after);
        if !self.syncs.front().is_some_and(is_due) {
            return told.clone();
        }
        let (mut bytes, mut from) = (Vec::with_capacity(told.len() + 64), 0);
        while let Some(after) = self.syncs.pop_front_if(|after| is_due(after)) {
            let later = starts.partition_point(|(zxid, _)| *zxid <= after);
            let (_, start) = starts[later];
            bytes.extend_from_slice(&told[from..start]);
            Packet::Sync.write(&mut bytes);
            from = start;
        }
        bytes.extend_from_slice(&told[from..]);
        bytes.into()
    }

    /// It gets what is proposed and committed.
    pub(super) fn is_live(&self) -> bool {
        self.stage >= Stage::NewLeaderSent
    }
}
