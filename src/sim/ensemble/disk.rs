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

impl Job {
    /// What a crash interrupts.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Flush(_) => "a flush",
            Self::AcceptedEpoch(_) => "storing the accepted epoch",
            Self::CurrentEpoch(_) => "storing the current epoch",
            Self::Truncate(_) => "a truncation",
            Self::Tree(_) => "storing a tree",
        }
    }
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
    /// Data are lost: what this server once acknowledged is not known here. It counts for nothing
    /// until it has a leader's history.
    pub(super) is_unknown: bool,
    /// The next job fails, and changes nothing.
    pub(super) fails_next: bool,
    /// Nothing is flushed any more.
    pub(super) is_broken: bool,
    /// What a crash brings back while the tree in its place is not flushed.
    replaced: Option<(Shown, Vec<Entry>)>,
    /// Log files that a tree has taken the place of, where they were left.
    retired: Vec<Entry>,
}

impl Disk {
    /// A new disk in place of one that had data.
    pub(super) fn wiped() -> Self {
        Self { is_unknown: true, ..Self::default() }
    }

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
        let (base, entries) = match &self.replaced {
            Some((base, entries)) => (*base, entries.as_slice()),
            None => (self.base, &self.entries[..self.durable]),
        };
        let at = entries.partition_point(|entry| entry.shown.zxid < zxid);
        let entry = entries.get(at).map(|entry| entry.shown);
        entry.filter(|shown| shown.zxid == zxid).or((base.zxid >= zxid).then_some(base))
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

    /// The same, as whoever reads the files finds them.
    pub(super) fn read_after(&self, zxid: Zxid) -> Vec<Entry> {
        let retired = self.retired.iter().filter(|entry| entry.shown.zxid > zxid);
        retired.chain(self.after(zxid)).cloned().collect()
    }

    /// The last zxid of the files that is not after `zxid`.
    pub(super) fn floor(&self, zxid: Zxid) -> Option<Zxid> {
        let own = self.entries.iter().rev().find(|entry| entry.shown.zxid <= zxid);
        let retired = || self.retired.iter().rev().find(|entry| entry.shown.zxid <= zxid);
        let base = (self.base.zxid <= zxid).then_some(self.base.zxid);
        own.map(|entry| entry.shown.zxid)
            .or(base)
            .or_else(|| retired().map(|entry| entry.shown.zxid))
    }

    pub(super) fn ask(&mut self, job: Job, done_at: i64) {
        self.jobs.push((done_at, job));
    }

    /// A flush of all entries if there is something to flush and none is under way.
    pub(super) fn flush(&mut self, done_at: i64) {
        let is_flushing = self.jobs.iter().any(|(_, job)| matches!(job, Job::Flush(_)));
        if !is_flushing && self.durable < self.entries.len() && !self.is_broken {
            self.ask(Job::Flush(self.end().zxid), done_at);
        }
    }

    /// Whether a job is done by now.
    pub(super) fn has_due(&self, now: i64) -> bool {
        self.jobs.iter().any(|(done_at, _)| *done_at <= now)
    }

    /// The next job that is done by now, and whether it had its effect.
    pub(super) fn next_done(&mut self, now: i64) -> Option<(Job, bool)> {
        let at = self.jobs.iter().position(|(done_at, _)| *done_at <= now)?;
        let (_, job) = self.jobs.remove(at);
        let is_done = !std::mem::take(&mut self.fails_next) && self.carry_out(job);
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
            Job::Tree(shown) => self.replace(shown),
        }
        true
    }

    fn replace(&mut self, shown: Shown) {
        let entries = std::mem::take(&mut self.entries);
        if mutant!(LogKeptUnderTree) {
            self.retired.extend(entries.iter().cloned());
        }
        if mutant!(TreeNotFlushed) {
            self.replaced = Some((self.base, entries));
        }
        (self.base, self.durable) = (shown, 0);
    }

    /// Cuts the log after `to`. Where that is no entry, all stays until the leader's whole tree has
    /// come: a server that throws away what it has acknowledged must not be counted any more.
    fn truncate(&mut self, to: Zxid) -> bool {
        let keep = self.entries.partition_point(|entry| entry.shown.zxid <= to);
        let ends_there = match keep.checked_sub(1) {
            Some(last) => self.entries[last].shown.zxid == to,
            None => self.base.zxid == to,
        };
        if ends_there {
            self.entries.truncate(keep);
            self.durable = self.entries.len();
        }
        ends_there
    }

    /// Takes a snapshot of its own: `keep` entries stay in the log.
    pub(super) fn compact(&mut self, upto: Zxid, keep: usize) {
        let shown = self.entries[..self.durable].partition_point(|e| e.shown.zxid <= upto);
        let cut = shown.saturating_sub(keep);
        if let Some(last) = cut.checked_sub(1) {
            self.base = self.entries[last].shown;
            self.entries.drain(..cut);
            self.durable -= cut;
        }
    }

    /// The log is damaged: only a prefix of it can be proven.
    pub(super) fn damage(&mut self, rng: &mut Rng) {
        self.entries.truncate(rng.index(self.entries.len() + 1));
        self.durable = self.entries.len();
        self.is_unknown = true;
    }

    /// Whether anything is still to be done.
    pub(super) fn is_busy(&self) -> bool {
        !self.jobs.is_empty() || (self.durable < self.entries.len() && !self.is_broken)
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
        if let Some((base, entries)) = self.replaced.take() {
            (self.base, self.durable, self.entries) = (base, entries.len(), entries);
        }
        let lost = rng.index(self.entries.len() - self.durable + 1);
        self.entries.truncate(self.entries.len() - lost);
        self.durable = self.entries.len();
        (self.fails_next, self.is_broken) = (false, false);
    }

    /// The process is gone: what was handed to the kernel is stored all the same.
    pub(super) fn settle(&mut self) {
        self.fails_next = false;
        while self.next_done(i64::MAX).is_some() {}
        (self.durable, self.is_broken) = (self.entries.len(), false);
    }

    /// Whether a server can start. An entry of an epoch came after all of the history before it:
    /// its server has the history of that epoch (S22).
    pub(super) fn recover(&mut self) -> bool {
        let epoch = self.end().zxid.epoch();
        if mutant!(EpochFileBehind) && self.current_epoch < epoch {
            return false;
        }
        self.current_epoch = self.current_epoch.max(epoch);
        self.accepted_epoch = self.accepted_epoch.max(self.current_epoch);
        true
    }

    /// The worst that a crash can leave: nothing that is under way gets done.
    #[cfg(test)]
    pub(super) fn lose_unflushed(&mut self) {
        self.jobs.clear();
        self.drop_unflushed();
    }

    /// Drops what is not durable, and returns it.
    pub(super) fn drop_unflushed(&mut self) -> Vec<Logged> {
        self.entries.drain(self.durable..).map(|entry| entry.logged).collect()
    }
}
