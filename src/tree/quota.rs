//! Quotas: the statistics that every server keeps for itself below /zookeeper/quota.
//!
//! A client sets a quota on /a by making /zookeeper/quota/a/zookeeper_limits and …/zookeeper_stats.
//! The server then keeps the data of the second right: it writes there outside any transaction,
//! changing neither version nor mzxid.

use std::collections::{BTreeMap, BTreeSet};

use super::slab::Slot;
use super::{QUOTA_PATH, Tree};

/// The text of a limits or statistics node (`StatsTrack`): `count=N,bytes=M`, then hard limits
/// after an odd `=` that hides them from parsers of 3.4:
/// `count=N,bytes=M=;byteHardLimit=X;countHardLimit=Y`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatsTrack {
    /// Nodes: used, or allowed; -1 is no limit.
    pub count: i64,
    /// Bytes of data: used, or allowed; -1 is no limit.
    pub bytes: i64,
    /// Every other pair, sorted by key.
    others: Vec<(String, i64)>,
}

impl StatsTrack {
    /// Reads the text. `None` if it is none of Apache's making.
    pub fn parse(data: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(data).ok()?;
        let mut track = Self { count: -1, bytes: -1, others: Vec::new() };
        for pair in text.split([',', ';']).filter(|pair| !pair.is_empty()) {
            let (key, rest) = pair.split_once('=')?;
            let value = rest.split('=').next().unwrap_or_default();
            let value = if value.is_empty() { -1 } else { value.parse().ok()? };
            match key {
                "count" => track.count = value,
                "bytes" => track.bytes = value,
                _ => track.others.push((key.into(), value)),
            }
        }
        track.others.sort();
        Some(track)
    }

    /// The nodes that may be there at most; -1 is no hard limit.
    pub fn count_hard_limit(&self) -> i64 {
        self.other("countHardLimit")
    }

    /// The bytes that may be there at most; -1 is no hard limit.
    pub fn byte_hard_limit(&self) -> i64 {
        self.other("byteHardLimit")
    }

    /// The text that [`Self::parse`] reads.
    pub fn text(&self) -> String {
        let mut text = format!("count={},bytes={}", self.count, self.bytes);
        if !self.others.is_empty() {
            text.push('=');
        }
        for (key, value) in &self.others {
            text.push_str(&format!(";{key}={value}"));
        }
        text
    }

    fn other(&self, wanted: &str) -> i64 {
        self.others.iter().find(|(key, _)| key == wanted).map_or(-1, |(_, value)| *value)
    }
}

/// The paths that have a limits node.
#[derive(Debug, Default)]
pub(super) struct QuotaRoots {
    paths: BTreeSet<Box<str>>,
    /// Counts under way: a large subtree is counted a few nodes at a time.
    counts: BTreeMap<Box<str>, Count>,
}

/// A count of what is below a root, in the order of slots.
#[derive(Debug)]
struct Count {
    /// The root, as long as it is the same node.
    top: Slot,
    /// Slots below it are counted, and what changes in them is counted at once; others are still to
    /// come.
    cursor: Slot,
    nodes: i64,
    bytes: i64,
}

impl QuotaRoots {
    /// The longest of them that is `path` or stands above it.
    pub(super) fn above<'p>(&self, path: &'p str) -> Option<&'p str> {
        if self.paths.is_empty() {
            return None;
        }
        let mut at = path;
        while !at.is_empty() {
            if self.paths.contains(at) {
                return Some(at);
            }
            at = at.rsplit_once('/')?.0;
        }
        None
    }
}

impl Tree {
    /// A node was made: it may be a limits or statistics node itself, and stand below a quota.
    pub(super) fn quota_after_create(
        &mut self,
        slot: Slot,
        name: (&str, &str),
        path: &str,
        bytes: usize,
    ) {
        let (parent, name) = name;
        if let Some(root) = quota_of(parent) {
            match name {
                LIMITS => {
                    self.quotas.paths.insert(root.into());
                }
                STATS => self.recount_quota(root),
                _ => {}
            }
        }
        self.quota_changed(slot, path, bytes as i64, 1);
    }

    /// A node with this many bytes of data was removed.
    pub(super) fn quota_after_delete(&mut self, slot: Slot, path: &str, bytes: usize) {
        if let Some((parent, LIMITS)) = path.rsplit_once('/')
            && let Some(root) = quota_of(parent)
        {
            self.quotas.paths.remove(root);
            self.quotas.counts.remove(root);
        }
        if !mutant!(DeletionOutsideQuota) {
            self.quota_changed(slot, path, -(bytes as i64), -1);
        }
    }

    /// Nodes or bytes at `path`, which is or was in `changed`, have changed by so much.
    pub(super) fn quota_changed(&mut self, changed: Slot, path: &str, bytes: i64, nodes: i64) {
        let Some(root) = self.quotas.above(path) else { return };
        if let Some(count) = self.quotas.counts.get_mut(root) {
            if changed < count.cursor {
                count.nodes = count.nodes.wrapping_add(nodes);
                count.bytes = count.bytes.wrapping_add(bytes);
            }
            return;
        }
        let Some(slot) = self.find(&stats_path(root)) else { return };
        match self.slab.record(slot).data().and_then(StatsTrack::parse) {
            Some(mut track) => {
                track.count = track.count.wrapping_add(nodes);
                track.bytes = track.bytes.wrapping_add(bytes);
                self.write_stats(slot, &track);
            }
            // A client has overwritten it with something else.
            None => self.recount_quota(root),
        }
    }

    /// After a load: finds every limits node that is a leaf, and counts afresh.
    pub(super) fn rebuild_quotas(&mut self) {
        let Some(top) = self.find(QUOTA_PATH) else { return };
        let is_limits = |slot: &Slot| {
            self.slab.child_count(*slot) == 0 && self.slab.record(*slot).name() == LIMITS
        };
        let limits: Vec<_> =
            self.subtree(top).filter(is_limits).map(|slot| self.path(slot)).collect();
        for path in limits {
            let root = path.rsplit_once('/').and_then(|(parent, _)| quota_of(parent));
            if let Some(root) = root {
                self.quotas.paths.insert(root.into());
                self.recount_quota(root);
            }
        }
        self.count_quotas(usize::MAX);
    }

    /// Writes the statistics of `root` from a walk over all of it: at once if there is little below
    /// it, as Apache does it for whatever there is, and by [`Self::count_quotas`] if there is much.
    fn recount_quota(&mut self, root: &str) {
        let Some(stats) = self.find(&stats_path(root)) else { return };
        self.quotas.counts.remove(root);
        let (mut nodes, mut bytes) = (0, 0);
        if let Some(top) = self.find(root) {
            for slot in self.subtree(top).take(COUNTED_AT_ONCE_MAX + 1) {
                nodes += 1;
                bytes += self.slab.record(slot).data_len() as i64;
            }
            if nodes > COUNTED_AT_ONCE_MAX as i64 {
                let count = Count { top, cursor: top, nodes: 0, bytes: 0 };
                self.quotas.counts.insert(root.into(), count);
                return;
            }
        }
        self.write_stats(stats, &StatsTrack { count: nodes, bytes, others: Vec::new() });
    }

    /// Whether [`Self::count_quotas`] has something to do.
    pub fn is_counting_quotas(&self) -> bool {
        !self.quotas.counts.is_empty()
    }

    /// Goes on with the counts of large subtrees by up to `max` nodes. Until a count is done the
    /// statistics of its root stand still. Returns how many nodes it has looked at.
    pub fn count_quotas(&mut self, max: usize) -> usize {
        let mut looked = 0;
        while looked < max
            && let Some((root, mut count)) = self.quotas.counts.pop_first()
        {
            if self.find(&root) != Some(count.top) {
                // Another node has its place, or none has: there is little below it.
                self.recount_quota(&root);
                looked += 1;
                continue;
            }
            let from = count.cursor;
            let end = self
                .slab
                .end()
                .min(from.saturating_add(u32::try_from(max - looked).unwrap_or(u32::MAX)));
            for slot in from..end {
                let record = self.slab.record(slot);
                if record.is_live() && self.slab.is_below(slot, count.top) {
                    count.nodes += 1;
                    count.bytes += record.data_len() as i64;
                }
            }
            looked += (end - from).max(1) as usize;
            count.cursor = end;
            if end < self.slab.end() {
                self.quotas.counts.insert(root, count);
            } else if let Some(stats) = self.find(&stats_path(&root)) {
                let Count { nodes, bytes, .. } = count;
                self.write_stats(stats, &StatsTrack { count: nodes, bytes, others: Vec::new() });
            }
        }
        looked
    }

    fn write_stats(&mut self, slot: Slot, track: &StatsTrack) {
        self.touch(slot);
        self.replace_data(slot, Some(track.text().as_bytes()));
    }
}

/// The path that a node below /zookeeper/quota is about. The root itself cannot have a quota.
fn quota_of(path: &str) -> Option<&str> {
    path.strip_prefix(QUOTA_PATH).filter(|root| root.starts_with('/'))
}

fn stats_path(root: &str) -> String {
    format!("{QUOTA_PATH}{root}/{STATS}")
}

const LIMITS: &str = "zookeeper_limits";
const STATS: &str = "zookeeper_stats";

/// A subtree of this many nodes is counted in a millisecond or less.
const COUNTED_AT_ONCE_MAX: usize = if cfg!(test) { 8 } else { 2000 };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stats_text() {
        for text in ["count=1,bytes=2", "count=-1,bytes=-1=;byteHardLimit=10;countHardLimit=5"] {
            assert_eq!(StatsTrack::parse(text.as_bytes()).unwrap().text(), text);
        }
        let track =
            StatsTrack::parse(b"count=3,bytes=4=;byteHardLimit=10;countHardLimit=5").unwrap();
        assert_eq!(
            (track.count, track.bytes, track.count_hard_limit(), track.byte_hard_limit()),
            (3, 4, 5, 10)
        );
        assert_eq!(StatsTrack::parse(b"").unwrap().text(), "count=-1,bytes=-1");
        assert_eq!(StatsTrack::parse(b"count=x"), None);
        assert_eq!(StatsTrack::parse(b"garbage"), None);
    }
}
