//! The committed transactions that a leader has in memory, and what a learner must get to have the
//! same history.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use bytes::Bytes;

use crate::packet::Packet;
use crate::zxid::Zxid;

/// One transaction: its zxid and the payload of its log entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    pub zxid: Zxid,
    pub record: Bytes,
}

/// The latest committed transactions, without a gap (`committedLog`).
///
/// Within an epoch each zxid is the one before plus 1, and the first of an epoch has counter 1: the
/// type does not take in what leaves one out (ZOOKEEPER-4925).
#[derive(Debug)]
pub struct History {
    /// The zxid before the first of `latest`, or the last one if there is none. Invariant: what is
    /// in memory follows it without a gap.
    before: Zxid,
    latest: VecDeque<Logged>,
    bytes: usize,
    /// `commitLogCount`, at least 500, and a bound of bytes.
    count_max: usize,
    bytes_max: usize,
    /// The epochs that began on this very history: that of the leader when it was elected, and its
    /// own.
    begun: [u32; 2],
    /// `forceSnapshotSync`: every learner gets the whole tree.
    always_snap: bool,
}

/// What a learner gets between ACKEPOCH and NEWLEADER.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncPlan {
    /// DIFF, and all transactions after `after`, which the learner has.
    Diff { after: Zxid },
    /// TRUNC to `to`, then all transactions after it.
    Trunc { to: Zxid },
    /// What it lacks is older than the memory: the log has to be looked at.
    AskLog,
    /// SNAP and the whole tree.
    Snap,
}

/// What the log on the disk says about a zxid that is older than the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogReach {
    /// The greatest logged zxid that is not after the learner's, `None` if the log does not reach
    /// back so far, or has a gap after it.
    pub floor: Option<Zxid>,
    /// The logged zxid after that one.
    pub next: Option<Zxid>,
    /// Reading it takes longer than sending the tree (`zookeeper.snapshotSizeFactor`).
    pub is_too_long: bool,
}

/// Whether `next` comes right after `last` in one history: within an epoch without a gap, and an
/// epoch begins with counter 1.
pub fn follows(last: Zxid, next: Zxid) -> bool {
    match next.epoch() == last.epoch() {
        true => next.0 == last.0 + 1,
        false => next.epoch() > last.epoch() && next.counter() == 1,
    }
}

impl History {
    /// Nothing in memory; the history ends with `last`.
    pub fn new(last: Zxid, count_max: usize, bytes_max: usize) -> Self {
        let count_max = count_max.max(COUNT_MIN);
        Self {
            before: last,
            latest: VecDeque::new(),
            bytes: 0,
            count_max,
            bytes_max,
            begun: [0; 2],
            always_snap: false,
        }
    }

    /// The same, from which every learner gets the whole tree if `always_snap` says so.
    pub fn snapping(self, always_snap: bool) -> Self {
        Self { always_snap, ..self }
    }

    /// The server leads `epoch`; its history was that of epoch `current` until then.
    pub(super) fn begin(&mut self, current: u32, epoch: u32) {
        self.begun = [current, epoch];
    }

    /// The last zxid.
    pub fn last(&self) -> Zxid {
        self.latest.back().map_or(self.before, |logged| logged.zxid)
    }

    /// Adds the next one; the oldest go as far as the bounds want it and they are not after `keep`.
    pub fn push(&mut self, logged: Logged, keep: Zxid) {
        let last = self.last();
        let is_right = follows(last, logged.zxid) || mutant!(HoleInCommittedLog);
        assert!(is_right, "{} does not follow {last}", logged.zxid);
        self.bytes += logged.record.len() + ENTRY_BYTES;
        self.latest.push_back(logged);
        while (self.latest.len() > self.count_max || self.bytes > self.bytes_max)
            && self.latest.front().is_some_and(|oldest| oldest.zxid <= keep)
        {
            if let Some(oldest) = self.latest.pop_front() {
                self.bytes -= oldest.record.len() + ENTRY_BYTES;
                self.before = oldest.zxid;
            }
        }
    }

    /// Goes on to `last` and keeps nothing in memory: nobody will ask for what came before.
    pub(super) fn pass(&mut self, last: Zxid) {
        assert!(last >= self.last(), "the history grows");
        self.latest.clear();
        (self.before, self.bytes) = (last, 0);
    }

    /// All in memory that come after `after`.
    pub fn after(&self, after: Zxid) -> impl Iterator<Item = &Logged> {
        let first = self.latest.partition_point(|logged| logged.zxid <= after);
        self.latest.range(first..)
    }

    /// The same as a learner gets it.
    pub(super) fn packets_after(&self, after: Zxid) -> Vec<u8> {
        let mut bytes = Vec::new();
        for Logged { zxid, record } in self.after(after).cloned() {
            Packet::write_committed(zxid, record, &mut bytes);
        }
        bytes
    }

    /// What a learner whose log ends with `peer` must get (`LearnerHandler.syncFollower`).
    pub fn plan(&self, peer: Zxid) -> SyncPlan {
        let last = self.last();
        if self.always_snap {
            return SyncPlan::Snap;
        }
        if peer == last {
            return SyncPlan::Diff { after: peer };
        }
        // The start of an epoch is in no log. A learner that names it has what its leader had then:
        // if that was this history, it lacks what comes after it, else nobody knows.
        let is_start = peer.counter() == 0;
        if is_start && !self.begun.contains(&peer.epoch()) {
            return SyncPlan::Snap;
        }
        if peer > last {
            return if is_start || mutant!(TruncLeftOut) {
                SyncPlan::Diff { after: last }
            } else {
                SyncPlan::Trunc { to: last }
            };
        }
        let Some(first) = self.latest.front() else { return SyncPlan::AskLog };
        if peer < self.before {
            if mutant!(HistoryMinWrong) {
                return SyncPlan::Diff { after: self.before };
            }
            return SyncPlan::AskLog;
        }
        let at = self.latest.partition_point(|logged| logged.zxid <= peer);
        let floor = at.checked_sub(1).and_then(|at| self.latest.get(at));
        let (floor, next) = match floor {
            Some(floor) => (floor.zxid, self.latest.get(at).map(|logged| logged.zxid)),
            None => (self.before, Some(first.zxid)),
        };
        join(peer, floor, next)
    }

    /// The same once the log on the disk has been looked at.
    pub fn plan_from_log(&self, peer: Zxid, reach: LogReach) -> SyncPlan {
        match (self.plan(peer), reach.floor) {
            (SyncPlan::AskLog, Some(floor)) if !reach.is_too_long => join(peer, floor, reach.next),
            (SyncPlan::AskLog, _) => SyncPlan::Snap,
            (plan, _) => plan,
        }
    }

    /// The zxid before all that is in memory.
    pub fn before(&self) -> Zxid {
        self.before
    }
}

/// How a learner gets from `peer` into a history in which `floor` is the last zxid that is not
/// after it, and `next` comes then.
fn join(peer: Zxid, floor: Zxid, next: Option<Zxid>) -> SyncPlan {
    match floor == peer {
        true => SyncPlan::Diff { after: peer },
        false if peer.counter() == 0 => SyncPlan::Diff { after: floor },
        false if next.is_none_or(|next| next.epoch() == peer.epoch()) => {
            SyncPlan::Trunc { to: floor }
        }
        // Apache's learner may have a snapshot that is newer than where it would be cut.
        false => SyncPlan::Snap,
    }
}

/// `commitLogCount` is at least this.
const COUNT_MIN: usize = 500;
/// What an entry takes in memory beside its record.
const ENTRY_BYTES: usize = 64;
