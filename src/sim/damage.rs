//! Damage to what was flushed: a bit of a file that changes by itself.

use crate::txnlog::Scanner;

use super::disk::Disk;
use super::rng::Rng;

/// Damages one byte of a file of data, of a log one before `log_end`. Returns which, if there is
/// one.
pub(super) fn damage(
    disk: &mut Disk,
    rng: &mut Rng,
    log_end: impl Fn(&[u8]) -> usize,
) -> Option<(String, usize)> {
    let names: Vec<String> = disk.list().into_iter().filter(|name| is_data(name)).collect();
    if names.is_empty() {
        return None;
    }
    let name = rng.pick(&names).clone();
    let bytes = disk.read(&name).unwrap_or_default();
    let end = if name.starts_with("log.") { log_end(bytes) } else { bytes.len() };
    if end == 0 {
        return None;
    }
    // Anywhere, or near the end, where least is said of what was flushed.
    let from = if rng.chance(500) { end.saturating_sub(END_BYTES) } else { 0 };
    let (offset, bit) = (from + rng.index(end - from), 1 << rng.below(8));
    // The last byte of a sector but zeros: without it the sector looks like one that was lost.
    if bytes[offset] == bit {
        return None;
    }
    disk.damage(&name, offset, bit);
    Some((name, offset))
}

/// Where the entries of a log end.
pub(super) fn entries_end(bytes: &[u8]) -> usize {
    Scanner::new(bytes).end().map_or(0, |end| end.offset() as usize)
}

fn is_data(name: &str) -> bool {
    name.starts_with("log.") || name.starts_with("snapshot.")
}

/// The last writes of a log: some sectors.
const END_BYTES: usize = 1024;
