//! What one server has stored: its log, its snapshot, its epochs.

use crate::sim::rng::Rng;
use crate::zab::Logged;
use crate::zxid::Zxid;

/// The tree in short: the last zxid that it shows, and the hash of all transactions in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) zxid: Zxid,
    pub(super) hash: u64,
}

impl Shown {
    /// The tree after one more transaction.
    pub(super) fn after(self, logged: &Logged) -> Self {
        let mut hash = self.hash ^ logged.zxid.0 as u64;
        for byte in &logged.record {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Self { zxid: logged.zxid, hash: hash.rotate_left(29).wrapping_mul(0x9e37_79b9_7f4a_7c15) }
    }
}

/// An entry of the log, and the tree after it.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) logged: Logged,
    pub(super) shown: Shown,
}

/// Something that the disk has been asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Job {
    /// Entries up to this zxid become durable.
    Flush(Zxid),
    AcceptedEpoch(u32),
    CurrentEpoch(u32),
    Truncate(Zxid),
    /// A snapshot takes the place of everything.
    Tree(Shown),
}

/// See the module. All but `entries` beyond `durable` and `jobs` survives a crash.
#[derive(Debug, Default)]
pub(super) struct Disk {
    pub(super) accepted_epoch: u32,
    pub(super) current_epoch: u32,
    /// The snapshot: entries follow it.
    pub(super) base: Shown,
    pub(super) entries: Vec<Entry>,
    /// The number of entries that are durable.
    pub(super) durable: usize,
    /// With the time at which each is done.
    pub(super) jobs: Vec<(i64, Job)>,
}

impl Disk {
    /// The end of the log, durable or not.
    pub(super) fn end(&self) -> Shown {
        self.entries.last().map_or(self.base, |entry| entry.shown)
    }

    /// The end of what is durable.
    pub(super) fn durable_end(&self) -> Shown {
        self.durable.checked_sub(1).map_or(self.base, |last| self.entries[last].shown)
    }

    /// The durable state at a zxid, if that is the end of a durable entry or of the snapshot.
    pub(super) fn durable_at(&self, zxid: Zxid) -> Option<Shown> {
        let at = self.entries[..self.durable].partition_point(|entry| entry.shown.zxid < zxid);
        let entry = self.entries[..self.durable].get(at).map(|entry| entry.shown);
        entry.filter(|shown| shown.zxid == zxid).or((self.base.zxid >= zxid).then_some(self.base))
    }

    pub(super) fn append(&mut self, logged: Logged) {
        let shown = self.end().after(&logged);
        assert!(logged.zxid > self.end().zxid, "the log only rises");
        self.entries.push(Entry { logged, shown });
    }

    /// The entries after a zxid.
    pub(super) fn after(&self, zxid: Zxid) -> &[Entry] {
        let first = self.entries.partition_point(|entry| entry.shown.zxid <= zxid);
        &self.entries[first..]
    }

    pub(super) fn ask(&mut self, job: Job, done_at: i64) {
        self.jobs.push((done_at, job));
    }

    /// A flush of all entries if there is something to flush and none is under way.
    pub(super) fn flush(&mut self, done_at: i64) {
        let is_flushing = self.jobs.iter().any(|(_, job)| matches!(job, Job::Flush(_)));
        if !is_flushing && self.durable < self.entries.len() {
            self.ask(Job::Flush(self.end().zxid), done_at);
        }
    }

    /// The next job that is done by now; it has had its effect.
    pub(super) fn next_done(&mut self, now: i64) -> Option<(Job, bool)> {
        let at = self.jobs.iter().position(|(done_at, _)| *done_at <= now)?;
        let (_, job) = self.jobs.remove(at);
        let is_done = self.carry_out(job);
        Some((job, is_done))
    }

    /// Whether it could be done.
    fn carry_out(&mut self, job: Job) -> bool {
        match job {
            Job::Flush(upto) => {
                self.durable = self.entries.partition_point(|entry| entry.shown.zxid <= upto);
            }
            Job::AcceptedEpoch(epoch) => self.accepted_epoch = epoch,
            Job::CurrentEpoch(epoch) => self.current_epoch = epoch,
            Job::Truncate(to) => return self.truncate(to),
            Job::Tree(shown) => {
                self.base = shown;
                self.entries.clear();
                self.durable = 0;
            }
        }
        true
    }

    /// Cuts the log after `to`. Where that is no entry, nothing of it can be kept: the server
    /// starts over with an empty history, and takes the leader's whole tree.
    fn truncate(&mut self, to: Zxid) -> bool {
        let keep = self.entries.partition_point(|entry| entry.shown.zxid <= to);
        let ends_there = match keep.checked_sub(1) {
            Some(last) => self.entries[last].shown.zxid == to,
            None => self.base.zxid == to,
        };
        if ends_there {
            self.entries.truncate(keep);
        } else {
            (self.base, self.entries) = (Shown::default(), Vec::new());
        }
        self.durable = self.entries.len();
        ends_there
    }

    /// Whether anything is still to be done.
    pub(super) fn is_busy(&self) -> bool {
        !self.jobs.is_empty() || self.durable < self.entries.len()
    }

    /// The power goes: what was under way is done or not, and of what was not flushed a prefix
    /// stays.
    pub(super) fn crash(&mut self, rng: &mut Rng) {
        let jobs = std::mem::take(&mut self.jobs);
        for (_, job) in jobs {
            if rng.chance(500) {
                self.carry_out(job);
            }
        }
        let lost = rng.index(self.entries.len() - self.durable + 1);
        self.entries.truncate(self.entries.len() - lost);
        self.durable = self.entries.len();
    }

    /// What a start finds. An entry of an epoch came after all of the history before it: its server
    /// has the history of that epoch (S22).
    pub(super) fn recover(&mut self) {
        self.current_epoch = self.current_epoch.max(self.end().zxid.epoch());
        self.accepted_epoch = self.accepted_epoch.max(self.current_epoch);
    }
}
