//! Which files a newer snapshot has made superfluous (`autopurge`).

use crate::snapshot::FileName;
use crate::txnlog::zxid_of_name;
use crate::zxid::Zxid;

use super::Dir;

/// A snapshot on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotFile {
    pub name: String,
    /// It is durable and was read back to its last seal. Apache counts what it has only named
    /// (ZOOKEEPER-3231).
    pub verified: bool,
}

/// The files that may be removed, in this order, so that the `keep` newest verified snapshots stay
/// usable: older snapshots, then logs of which no record lies after the oldest that is kept. With
/// fewer than `keep` verified ones, what is older than the oldest of them; without any, nothing.
/// `keep` is at least 1. The newest verified one that is not after `committed` stays in any case:
/// those after it may hold what no quorum has, and have to go when a leader wants that cut. Without
/// such a one nothing goes.
pub fn superseded(
    snapshots: &[SnapshotFile],
    logs: &[String],
    keep: usize,
    committed: Zxid,
) -> Vec<(Dir, String)> {
    let zxid_of = |file: &SnapshotFile| FileName::parse(&file.name).map(|name| name.zxid);
    let mut verified: Vec<Zxid> =
        snapshots.iter().filter(|file| file.verified).filter_map(zxid_of).collect();
    verified.sort_unstable_by(|a, b| b.cmp(a));
    verified.dedup();
    let Some(safe) = verified.iter().copied().find(|zxid| *zxid <= committed) else {
        return Vec::new();
    };
    verified.truncate(keep.max(1));
    let Some(oldest) = verified.last().map(|zxid| safe.min(*zxid)) else { return Vec::new() };

    let mut old: Vec<_> =
        snapshots.iter().filter_map(|file| Some((zxid_of(file)?, &file.name))).collect();
    old.retain(|(zxid, _)| *zxid < oldest);
    old.sort_unstable();
    let mut old_logs: Vec<_> =
        logs.iter().filter_map(|name| Some((zxid_of_name(name)?, name))).collect();
    old_logs.retain(|(zxid, _)| *zxid >= Zxid::ZERO);
    // The newest log that starts at or before the snapshot may go on after it.
    let needed = old_logs.iter().map(|(zxid, _)| *zxid).filter(|zxid| *zxid <= oldest).max();
    old_logs.retain(|(zxid, _)| needed.is_some_and(|needed| *zxid < needed));
    old_logs.sort_unstable();

    let snapshots = old.into_iter().map(|(_, name)| (Dir::Snapshots, name.clone()));
    snapshots.chain(old_logs.into_iter().map(|(_, name)| (Dir::Logs, name.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(snapshots: &[(&str, bool)]) -> Vec<SnapshotFile> {
        snapshots
            .iter()
            .map(|(name, verified)| SnapshotFile { name: (*name).into(), verified: *verified })
            .collect()
    }

    fn removed(snapshots: &[(&str, bool)], logs: &[&str], keep: usize) -> Vec<String> {
        let logs: Vec<String> = logs.iter().map(|log| (*log).into()).collect();
        removed_of(snapshots, &logs, keep, Zxid::MAX.0)
    }

    fn removed_of(
        snapshots: &[(&str, bool)],
        logs: &[String],
        keep: usize,
        committed: i64,
    ) -> Vec<String> {
        let old = superseded(&files(snapshots), logs, keep, Zxid(committed));
        old.into_iter().map(|(_, name)| name).collect()
    }

    #[test]
    fn only_verified_snapshots_count() {
        let snapshots = [
            ("snapshot.10", true),
            ("snapshot.20", true),
            ("snapshot.30", true),
            ("snapshot.40", false),
        ];
        let logs = ["log.1", "log.11", "log.21", "log.31", "log.41"];
        assert_eq!(removed(&snapshots, &logs, 3), [""; 0]);
        assert_eq!(removed(&snapshots, &logs, 2), ["snapshot.10", "log.1"]);
        assert_eq!(
            removed(&snapshots, &logs, 1),
            ["snapshot.10", "snapshot.20", "log.1", "log.11"]
        );
        assert_eq!(removed(&[("snapshot.10", false), ("snapshot.20", false)], &logs, 1), [""; 0]);
    }

    #[test]
    fn the_log_that_starts_before_the_snapshot_stays() {
        assert_eq!(removed(&[("snapshot.10", true)], &["log.1", "log.9", "log.30"], 3), ["log.1"]);
        assert_eq!(removed(&[("snapshot.10", true)], &["log.10", "log.9"], 3), ["log.9"]);
        assert_eq!(removed(&[("snapshot.10", true)], &["log.30"], 3), [""; 0]);
    }

    #[test]
    fn the_newest_committed_snapshot_stays_whatever_is_newer() {
        let snapshots = [
            ("snapshot.10", true),
            ("snapshot.20", true),
            ("snapshot.30", true),
            ("snapshot.40", true),
        ];
        let logs = ["log.1", "log.11", "log.21", "log.31"].map(String::from);
        let cases: [(i64, &[&str]); 4] = [
            (0x40, &["snapshot.10", "snapshot.20", "snapshot.30", "log.1", "log.11", "log.21"]),
            (0x3f, &["snapshot.10", "snapshot.20", "log.1", "log.11"]),
            (0x10, &[]),
            (0xf, &[]),
        ];
        for (committed, wanted) in cases {
            assert_eq!(removed_of(&snapshots, &logs, 1, committed), wanted, "{committed:x}");
        }
    }

    #[test]
    fn what_has_no_number_stays() {
        assert_eq!(
            removed(&[("snapshot.10.gz", true), ("snapshot.x", true)], &["log.x", "log.5"], 1),
            [""; 0]
        );
    }
}
