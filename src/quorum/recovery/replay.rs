//! Applies the log after a snapshot, and proves on the way that nothing is missing.

use crate::jute::Reader;
use crate::session;
use crate::tree::Tree;
use crate::txn::{CreateKind, LogRecord, Txn, read_log_record};
use crate::txnlog::{Entry, ScanEnd, Scanner};
use crate::zab::Logged;
use crate::zxid::{SessionId, Zxid};

use super::settle::Believed;
use super::snapshots::{Start, is_ttl};
use super::tail::Tail;
use super::{Dir, LogFile, RecoveryError, RecoveryReport, RecoverySettings, Storage};

/// A replay under way.
pub(super) struct Replay<'a> {
    tree: Tree,
    /// The zxid of the snapshot.
    base: Zxid,
    /// The last record taken.
    last: Zxid,
    /// Records after this one are not taken.
    upto: Zxid,
    expected: Option<(Zxid, i64)>,
    has_ttl: bool,
    /// The highest session id of this server so far.
    last_session: Option<SessionId>,
    tail: Tail,
    settings: &'a RecoverySettings,
    report: &'a mut RecoveryReport,
}

impl<'a> Replay<'a> {
    /// A replay of what comes after the snapshot, up to `upto`.
    pub(super) fn new(
        start: Start,
        upto: Zxid,
        settings: &'a RecoverySettings,
        report: &'a mut RecoveryReport,
    ) -> Self {
        let Start { tree, zxid, expected, has_ttl, .. } = start;
        let own = tree.sessions().filter_map(|(session, _)| of_this_server(session, settings));
        let last_session = own.max();
        let mut replay = Self {
            tree,
            base: zxid,
            last: zxid,
            upto,
            expected,
            has_ttl,
            last_session,
            tail: Tail::new(settings.tail, zxid),
            settings,
            report,
        };
        replay.check_snapshot_digest();
        replay
    }

    /// Replays every file that may hold records after the snapshot. Returns them in their order.
    pub(super) fn run<S: Storage>(
        &mut self,
        storage: &mut S,
        logs: &[LogFile],
    ) -> Result<Vec<Believed>, RecoveryError> {
        let first = logs.partition_point(|log| log.zxid <= self.base).saturating_sub(1);
        // Other files of the same zxid (copies with a suffix) are read with the first of them.
        let start = logs
            .get(first)
            .map_or(first, |log| logs.partition_point(|other| other.zxid < log.zxid));
        let mut believed = Vec::new();
        let end = logs.partition_point(|log| log.zxid <= self.upto);
        for log in logs.get(start..end).unwrap_or_default() {
            let file = storage.open(Dir::Logs, &log.name).map_err(RecoveryError::storage)?;
            let is_last = logs.last() == Some(log);
            believed.push(self.run_file(storage, log, file, is_last)?);
            self.report.log_files += 1;
        }
        Ok(believed)
    }

    /// The tree, if it has everything that the snapshots promise and nothing that the settings
    /// forbid, with [`super::Recovered::last_session`] and [`super::Recovered::tail`].
    pub(super) fn finish(
        mut self,
    ) -> Result<(Tree, Option<SessionId>, Vec<Logged>), RecoveryError> {
        for (name, why) in &self.report.rejected {
            let promised =
                crate::snapshot::FileName::parse(name).map_or(Zxid::ZERO, |file| file.zxid);
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
        Ok((self.tree, self.last_session, self.tail.take(self.last)))
    }

    fn run_file<S: Storage>(
        &mut self,
        storage: &S,
        log: &LogFile,
        file: S::File,
        is_last: bool,
    ) -> Result<Believed, RecoveryError> {
        let unreadable = |error| RecoveryError::read(&log.name, error);
        let mut scanner = Scanner::new(file);
        // Records that the snapshot or the files before hold already stand at the front of a file
        // only.
        let mut is_new = false;
        let mut read = 0_u64;
        let mut beyond = None;
        while let Some(entry) = scanner.next_entry().map_err(unreadable)? {
            if entry.zxid > self.upto {
                beyond = Some(entry.offset);
                break;
            }
            read += 1;
            if read.is_multiple_of(ENTRIES_PER_LOOK) && storage.is_stopping() {
                return Err(RecoveryError::Stopped);
            }
            // Each record names the session that it is of, those of its start and its end too.
            let session = Reader::new(entry.payload).i64().map_or(SessionId::NONE, SessionId);
            self.last_session = self.last_session.max(of_this_server(session, self.settings));
            self.tail.note(&entry);
            if !is_new && entry.zxid <= self.last {
                continue;
            }
            is_new = true;
            self.check_order(log, entry.offset, entry.zxid)?;
            self.apply(log, &entry)?;
        }
        // A file gets its name from a record that follows the one before: without records it still
        // tells of a gap.
        if read == 0 && log.zxid > self.last {
            self.check_order(log, 0, log.zxid)?;
        }
        let end = match beyond {
            Some(offset) => ScanEnd::Clean { offset },
            None => scanner.end().map_err(unreadable)?,
        };
        if let ScanEnd::Corrupt { offset, why } = end {
            return Err(RecoveryError::Corrupt {
                file: log.name.clone(),
                offset,
                last: self.last,
                why,
            });
        }
        // An Apache server that dies and starts anew leaves a torn tail in an older file, too; that
        // nothing is missing shows when the next file's first record follows.
        let (file, durable, nonce) = (log.name.clone(), scanner.durable(), scanner.nonce());
        let (file_bytes, has_more) = (scanner.bytes(), beyond.is_some());
        Ok(Believed { file, end, durable, nonce, file_bytes, is_last, has_more })
    }

    /// Whether `zxid` may follow the last one.
    fn check_order(&self, log: &LogFile, offset: u64, zxid: Zxid) -> Result<(), RecoveryError> {
        let follows =
            zxid == self.last.next() || (zxid.epoch() > self.last.epoch() && zxid.counter() == 1);
        if follows || zxid == self.last {
            return Ok(());
        }
        let (file, last, found) = (log.name.clone(), self.last, zxid);
        Err(if zxid < last {
            RecoveryError::OutOfOrder { file, offset, last, found }
        } else {
            RecoveryError::Gap { file, offset, last, found }
        })
    }

    fn apply(&mut self, log: &LogFile, entry: &Entry<'_>) -> Result<(), RecoveryError> {
        let record = read_log_record(entry.payload).map_err(|why| RecoveryError::Unreadable {
            file: log.name.clone(),
            offset: entry.offset,
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

    /// The digest after a record counts only once the zxid is reached at which a fuzzy snapshot was
    /// complete.
    fn check_digest(&mut self, record: &LogRecord) {
        if self.expected.is_some() {
            self.check_snapshot_digest();
        } else if let Some(digest) = record.digest
            && self.settings.check_digests
            && self.tree.is_whole()
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

/// The session, if this server has given out its id.
fn of_this_server(session: SessionId, settings: &RecoverySettings) -> Option<SessionId> {
    (session::server_of(session) == settings.server_id).then_some(session)
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
/// Records between two looks at whether the start is to be given up.
const ENTRIES_PER_LOOK: u64 = 256;
