//! Applies the log behind a snapshot, and proves on the way that nothing is missing.

use crate::tree::Tree;
use crate::txn::{CreateKind, LogRecord, Txn, read_log_record};
use crate::txnlog::{Entry, FILE_HEADER_BYTES, Nonce, ScanEnd, Scanner, tail_mark};
use crate::zxid::Zxid;

use super::snapshots::{Start, is_ttl};
use super::{Cut, Dir, LogFile, RecoveryError, RecoveryReport, RecoverySettings, Storage};

/// A replay under way.
pub(super) struct Replay<'a> {
    tree: Tree,
    /// The zxid of the snapshot.
    base: Zxid,
    /// The last record taken.
    last: Zxid,
    expected: Option<(Zxid, i64)>,
    has_ttl: bool,
    settings: &'a RecoverySettings,
    report: &'a mut RecoveryReport,
}

/// How the newest log file is made to end.
pub(super) struct Tail {
    file: String,
    offset: u64,
    /// To which length it is cut.
    len: u64,
    /// What is wrong at the offset; none if at most padding is cut.
    why: Option<String>,
    /// The tail mark that tells the next start that everything before it is durable.
    mark: Vec<u8>,
    /// Nothing in the file is whole, not even its header.
    empty: bool,
}

impl<'a> Replay<'a> {
    pub(super) fn new(start: Start, settings: &'a RecoverySettings, report: &'a mut RecoveryReport) -> Self {
        let Start { tree, zxid, expected, has_ttl } = start;
        let mut replay = Self { tree, base: zxid, last: zxid, expected, has_ttl, settings, report };
        replay.check_snapshot_digest();
        replay
    }

    /// Replays every file that may hold records behind the snapshot. Returns what to do to the newest file's tail.
    pub(super) fn run<S: Storage>(&mut self, storage: &mut S, logs: &[LogFile]) -> Result<Option<Tail>, RecoveryError> {
        let first = logs.partition_point(|log| log.zxid <= self.base).saturating_sub(1);
        // Other files of the same zxid (copies with a suffix) are read with the first of them.
        let start = logs.get(first).map_or(first, |log| logs.partition_point(|other| other.zxid < log.zxid));
        let mut tail = None;
        for log in &logs[start..] {
            let bytes = storage.read(Dir::Logs, &log.name).map_err(RecoveryError::storage)?;
            let is_last = logs.last() == Some(log);
            tail = self.run_file(log, bytes.as_ref(), is_last)?;
            self.report.log_files += 1;
        }
        Ok(tail)
    }

    /// The tree, if it has everything that the snapshots promise and nothing that the settings forbid.
    pub(super) fn finish(mut self) -> Result<Tree, RecoveryError> {
        for (name, why) in &self.report.rejected {
            let promised = crate::snapshot::FileName::parse(name).map_or(Zxid::ZERO, |file| file.zxid);
            if promised > self.last {
                let (snapshot, why) = (name.clone(), why.clone());
                return Err(RecoveryError::Behind { snapshot, why, last: self.last });
            }
        }
        if self.has_ttl
            && !self.settings.extended_types
            && let Some(path) = find_ttl(&self.tree)
        {
            return Err(RecoveryError::TtlNode { path });
        }
        self.tree.set_last_zxid(self.last);
        Ok(self.tree)
    }

    fn run_file(&mut self, log: &LogFile, bytes: &[u8], is_last: bool) -> Result<Option<Tail>, RecoveryError> {
        let mut scanner = Scanner::new(bytes);
        // Records that the snapshot or the files before hold already stand at the front of a file only.
        let mut is_new = false;
        let mut is_empty = true;
        for entry in scanner.by_ref() {
            is_empty = false;
            if !is_new && entry.zxid <= self.last {
                continue;
            }
            is_new = true;
            self.check_order(log, entry.offset, entry.zxid)?;
            self.apply(log, &entry)?;
        }
        // A file gets its name from a record that follows the one before: without records it still tells of a gap.
        if is_empty && log.zxid > self.last {
            self.check_order(log, 0, log.zxid)?;
        }
        let end = scanner.end();
        match end {
            ScanEnd::Corrupt { offset, why } => {
                Err(RecoveryError::Corrupt { file: log.name.clone(), offset: offset as u64, last: self.last, why })
            }
            // In any other file a torn tail is what an Apache leaves that dies and starts anew; that nothing is missing shows
            // when the next file's first record follows.
            _ if !is_last => Ok(None),
            ScanEnd::Clean { .. } | ScanEnd::TornTail { .. } => {
                Ok(Some(Tail::new(log, end, scanner.nonce(), bytes.len())))
            }
        }
    }

    /// Whether `zxid` may follow the last one.
    fn check_order(&self, log: &LogFile, offset: usize, zxid: Zxid) -> Result<(), RecoveryError> {
        let follows = zxid == self.last.next() || (zxid.epoch() > self.last.epoch() && zxid.counter() == 1);
        if follows || zxid == self.last {
            return Ok(());
        }
        let (file, offset, last, found) = (log.name.clone(), offset as u64, self.last, zxid);
        Err(if zxid < last {
            RecoveryError::OutOfOrder { file, offset, last, found }
        } else {
            RecoveryError::Gap { file, offset, last, found }
        })
    }

    fn apply(&mut self, log: &LogFile, entry: &Entry<'_>) -> Result<(), RecoveryError> {
        let record = read_log_record(entry.payload).map_err(|why| RecoveryError::Unreadable {
            file: log.name.clone(),
            offset: entry.offset as u64,
            zxid: entry.zxid,
            why,
        })?;
        self.has_ttl |= makes_ttl(&record.txn);
        self.tree.apply(&record.header, &record.txn, None);
        self.last = entry.zxid;
        self.report.records += 1;
        self.check_digest(&record);
        Ok(())
    }

    /// The digest behind a record counts only once the zxid is reached at which a fuzzy snapshot was complete.
    fn check_digest(&mut self, record: &LogRecord) {
        if self.expected.is_some() {
            self.check_snapshot_digest();
        } else if let Some(digest) = record.digest
            && self.settings.check_digests
            && digest.version == DIGEST_VERSION
            && digest.tree != self.tree.digest()
        {
            self.note_mismatch();
        }
    }

    fn check_snapshot_digest(&mut self) {
        let Some((zxid, digest)) = self.expected else { return };
        if zxid > self.last {
            return;
        }
        self.expected = None;
        if zxid == self.last && digest != self.tree.digest() {
            self.note_mismatch();
        }
    }

    fn note_mismatch(&mut self) {
        self.report.digest_mismatches += 1;
        self.report.first_mismatch.get_or_insert(self.last);
    }
}

impl Tail {
    fn new(log: &LogFile, end: ScanEnd, nonce: Option<Nonce>, file_bytes: usize) -> Self {
        let offset = end.offset() as u64;
        let (mut len, mut mark, mut why) = (offset, Vec::new(), None);
        match end {
            ScanEnd::TornTail { why: damage, .. } => why = Some(damage.to_string()),
            // The padding of others stays: a reader may come to it through a name that it keeps.
            _ if nonce.is_none() => len = file_bytes as u64,
            _ => {}
        }
        if let Some(nonce) = nonce {
            mark.extend(tail_mark(nonce, offset, offset).into_iter().flatten());
        }
        let empty = why.is_some() && offset < FILE_HEADER_BYTES as u64;
        Self { file: log.name.clone(), offset, len, why, mark, empty }
    }

    /// Cuts the file and makes what stays durable: an earlier run may have written it without a flush, and from now on it
    /// is shown to clients and built upon. Everything else has been read by now, so that a start that is refused
    /// changes nothing.
    pub(super) fn apply<S: Storage>(self, storage: &mut S) -> Result<Option<Cut>, RecoveryError> {
        if self.empty {
            storage.remove(Dir::Logs, &self.file).map_err(RecoveryError::storage)?;
        } else {
            storage.cut(Dir::Logs, &self.file, self.len, &self.mark).map_err(RecoveryError::storage)?;
        }
        storage.sync_dir(Dir::Logs).map_err(RecoveryError::storage)?;
        let Self { file, offset, why, empty, .. } = self;
        Ok(why.map(|why| Cut { file, offset, why, removed: empty }))
    }
}

fn makes_ttl(txn: &Txn) -> bool {
    match txn {
        Txn::Create(create) => matches!(create.kind, CreateKind::Ttl { .. }),
        Txn::Multi(txns) => txns.iter().any(makes_ttl),
        _ => false,
    }
}

/// Some node with a TTL.
fn find_ttl(tree: &Tree) -> Option<String> {
    let mut paths = vec![String::new()];
    while let Some(path) = paths.pop() {
        let Some(node) = tree.get(&path) else { continue };
        if is_ttl(&node.persisted()) {
            return Some(path);
        }
        paths.extend(node.children().map(|name| format!("{path}/{name}")));
    }
    None
}

/// The only version of digests that is compared.
const DIGEST_VERSION: i32 = 2;
