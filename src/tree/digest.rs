//! The tree's digest (ZOOKEEPER-3114): a wrapping sum of one CRC per node, and its history.

use std::collections::VecDeque;

use crate::jute::data::StatPersisted;
use crate::zxid::Zxid;

/// A node's part of the digest of its tree (version 2): the CRC-32 of path, data and stored stat.
/// "/" counts as "", and everything below /zookeeper as 0, since quota statistics differ from
/// server to server.
pub fn node_digest(path: &str, data: Option<&[u8]>, stat: &StatPersisted) -> u32 {
    if path.starts_with(UNCOUNTED_PREFIX) {
        return 0;
    }
    let parts = [
        if path == "/" { b"" } else { path.as_bytes() },
        data.unwrap_or_default(),
        &stat_bytes(stat),
    ];
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let mut whole = [0; WHOLE_BYTES_MAX];
    match whole.get_mut(..len) {
        // One go over all of it takes half the time of one over each.
        Some(mut to) => {
            for part in parts {
                let (place, rest) = to.split_at_mut(part.len());
                place.copy_from_slice(part);
                to = rest;
            }
            crc32fast::hash(&whole[..len])
        }
        None => {
            let mut crc = crc32fast::Hasher::new();
            parts.iter().for_each(|part| crc.update(part));
            crc.finalize()
        }
    }
}

/// The digests after every 128th zxid, as the four-letter word `hash` shows them.
#[derive(Debug, Default)]
pub(super) struct History {
    entries: VecDeque<(Zxid, i64)>,
}

impl History {
    /// Notes the digest after `zxid`, if it is one of those that are kept.
    pub(super) fn note(&mut self, zxid: Zxid, digest: i64) {
        if zxid.0 % INTERVAL != 0 {
            return;
        }
        if self.entries.len() == ENTRIES_MAX {
            self.entries.pop_front();
        }
        self.entries.push_back((zxid, digest));
    }

    /// Oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Zxid, i64)> + use<'_> {
        self.entries.iter().copied()
    }
}

fn stat_bytes(stat: &StatPersisted) -> [u8; StatPersisted::BYTES] {
    let mut bytes = [0; StatPersisted::BYTES];
    let longs = [stat.czxid, stat.mzxid, stat.pzxid, stat.ctime, stat.mtime];
    let ints = [stat.version, stat.cversion, stat.aversion];
    for (to, long) in bytes.chunks_exact_mut(8).zip(longs) {
        to.copy_from_slice(&long.to_be_bytes());
    }
    for (to, int) in bytes[40..52].chunks_exact_mut(4).zip(ints) {
        to.copy_from_slice(&int.to_be_bytes());
    }
    bytes[52..].copy_from_slice(&stat.ephemeral_owner.to_be_bytes());
    bytes
}

/// Up to so many bytes are put together.
const WHOLE_BYTES_MAX: usize = 512;
const UNCOUNTED_PREFIX: &str = "/zookeeper/";
/// A digest is kept for each zxid that this divides (0x80, so that it shows in hexadecimal).
const INTERVAL: i64 = 128;
const ENTRIES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// However long it is, the digest is one CRC over path, data and stat.
    #[test]
    fn short_and_long_nodes_are_summed_up_alike() {
        let stat = StatPersisted { czxid: 1, mzxid: 2, version: 3, ..StatPersisted::default() };
        for len in (0..1200).step_by(7) {
            let data: Vec<u8> = (0..len).map(|at| at as u8).collect();
            let whole = [b"/a/node", &data[..], &stat_bytes(&stat)].concat();
            assert_eq!(node_digest("/a/node", Some(&data), &stat), crc32fast::hash(&whole));
        }
    }

    #[test]
    fn history_keeps_the_last_1024() {
        let mut history = History::default();
        (1..=128 * 1030).for_each(|zxid| history.note(Zxid(zxid), zxid));
        let entries: Vec<_> = history.iter().collect();
        assert_eq!((entries.len(), entries[0]), (1024, (Zxid(128 * 7), 128 * 7)));
    }
}
