//! The log's files on the simulated disk: what the log machine asks for, carried out step by step.
//!
//! There are two at work, as in production: the ring, which flushes files, and the background
//! thread, which does one thing after the other. Each operation has a beginning and an end, whose
//! turn comes when the world says so, so that a crash, a failure or an append falls between any two
//! of them. The defects are lies that this shell tells the machine.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::txnlog::{
    Appending, Failed, FileId, LogDone, LogEffect, LogEvent, LogWriter, NextFile, Nonce,
    PendingFlush, WriterSettings, file_header,
};
use crate::zxid::Zxid;

use super::defect::Defect;
use super::disk::{DirFlush, Disk, DiskError, Flush};
use super::rng::Rng;

/// The log that is being written.
#[derive(Debug)]
pub(crate) struct Store {
    writer: LogWriter,
    /// The name that each file has at present.
    names: BTreeMap<FileId, String>,
    ring: VecDeque<Op>,
    background: VecDeque<Op>,
    /// A file that is to be made later, and when.
    later: Option<(Option<i64>, Op)>,
    /// A flush was reported that is not true.
    lied: bool,
    defect: Option<Defect>,
}

/// An operation that is under way, or waits for its turn.
#[derive(Debug)]
struct Op {
    effect: LogEffect,
    stage: Stage,
    /// The machine was told of its end already.
    told: bool,
}

#[derive(Debug)]
enum Stage {
    Waits,
    /// Of a file in the making: its zeros are written.
    Zeroed,
    /// The flush of the zeros; then that of the header.
    Zeros(Flush),
    Header(Flush),
    Flush(Flush),
    DirFlush(DirFlush),
    /// Of a file to be trimmed: it is cut.
    Cut,
}

impl Store {
    /// A log that starts with its next entry, all up to `last` being in files that are there.
    pub(crate) fn new(defect: Option<Defect>, direct: bool, last: Zxid, first_file: u64) -> Self {
        let settings = WriterSettings {
            segment_bytes: SEGMENT_BYTES as u64,
            first_segment_bytes: FIRST_SEGMENT_BYTES,
            segment_bytes_step: SEGMENT_BYTES_STEP,
            record_bytes_max: RECORD_BYTES_MAX as u64,
            force_sync: true,
            appending: if direct { Appending::Direct } else { Appending::Mapped },
        };
        Self {
            writer: LogWriter::new(settings, last, first_file),
            names: BTreeMap::new(),
            ring: VecDeque::new(),
            background: VecDeque::new(),
            later: None,
            lied: false,
            defect,
        }
    }

    /// Waits for the first file, or for its being impossible to make.
    pub(crate) fn open(&mut self, disk: &mut Disk, rng: &mut Rng) -> Result<(), DiskError> {
        self.run_effects(disk)?;
        while self.writer.next_file() != NextFile::Ready && !self.writer.is_full() {
            self.step(disk, false, rng)?;
        }
        Ok(())
    }

    /// Bytes that are certain to fit, of which so many are encoded already.
    pub(crate) fn room(&mut self, pending: u64) -> u64 {
        self.writer.room(pending)
    }

    /// Whether the room is small because no file can be made.
    pub(crate) fn is_full(&self) -> bool {
        self.writer.is_full()
    }

    /// The next append starts a new file.
    pub(crate) fn roll(&mut self) {
        self.writer.roll();
    }

    /// Whether a flush was reported that is not true.
    pub(crate) fn has_lied(&self) -> bool {
        self.lied
    }

    /// The name of the file that is being written.
    pub(crate) fn current_name(&self) -> Option<&str> {
        self.names.get(&self.writer.current()?).map(String::as_str)
    }

    /// Puts whole entries at the end of the log.
    pub(crate) fn append(
        &mut self,
        disk: &mut Disk,
        entries: Bytes,
        last: Zxid,
    ) -> Result<(), DiskError> {
        self.writer.append(entries, last).map_err(|_| DiskError::Full)?;
        self.run_effects(disk)
    }

    /// Begins to flush everything that was appended.
    pub(crate) fn flush(&mut self, disk: &mut Disk, flush: PendingFlush) -> Result<(), DiskError> {
        self.writer.flush(flush);
        self.run_effects(disk)
    }

    /// Time passes.
    pub(crate) fn on_tick(&mut self, now_ms: i64) {
        match self.later.take() {
            Some((Some(at), op)) if now_ms >= at => self.background.push_back(op),
            Some((None, op)) => {
                let LogEffect::Make { after_ms, .. } = op.effect else { return };
                self.later = Some((Some(now_ms + i64::from(after_ms)), op));
            }
            other => self.later = other,
        }
    }

    /// Whether [`Self::step`] has something to do.
    pub(crate) fn has_work(&self) -> bool {
        !self.ring.is_empty() || !self.background.is_empty()
    }

    /// The next thing to know.
    pub(crate) fn poll(&mut self) -> Option<LogEvent> {
        self.writer.poll_event()
    }

    /// Begins or ends the operation whose turn it is. `fails` makes the device fail.
    pub(crate) fn step(
        &mut self,
        disk: &mut Disk,
        fails: bool,
        rng: &mut Rng,
    ) -> Result<(), DiskError> {
        let is_ring = match (self.ring.is_empty(), self.background.is_empty()) {
            (false, false) => rng.chance(500),
            (ring_is_empty, _) => !ring_is_empty,
        };
        let lane = if is_ring { &mut self.ring } else { &mut self.background };
        let Some(mut op) = lane.pop_front() else { return Ok(()) };
        match self.advance(&mut op, disk, fails, rng)? {
            Some(_) if op.told => Ok(()),
            Some(done) => {
                self.writer.on_done(done);
                self.run_effects(disk)
            }
            None => {
                let lane = if is_ring { &mut self.ring } else { &mut self.background };
                lane.push_front(op);
                Ok(())
            }
        }
    }

    /// Flushes everything at once.
    pub(crate) fn flush_all(&mut self, disk: &mut Disk, rng: &mut Rng) -> Result<(), DiskError> {
        self.finish(disk, rng)?;
        self.writer.flush(PendingFlush::of(self.writer.appended()));
        self.finish(disk, rng)?;
        while self.poll().is_some() {}
        Ok(())
    }

    /// Ends a log of which all is flushed: the zeros after the last entry are cut, spare files go.
    pub(crate) fn close(&mut self, disk: &mut Disk, rng: &mut Rng) -> Result<(), DiskError> {
        self.later = None;
        self.writer.close();
        self.finish(disk, rng)
    }

    fn finish(&mut self, disk: &mut Disk, rng: &mut Rng) -> Result<(), DiskError> {
        self.run_effects(disk)?;
        while self.has_work() {
            self.step(disk, false, rng)?;
        }
        Ok(())
    }

    /// The machine stops: a flush under way has covered nothing for certain.
    pub(crate) fn abandon(self, disk: &mut Disk) {
        for op in self.ring.into_iter().chain(self.background) {
            if let Stage::Zeros(flush) | Stage::Header(flush) | Stage::Flush(flush) = op.stage {
                disk.abandon_flush(flush);
            }
        }
    }

    /// Hands every effect to whoever carries it out.
    fn run_effects(&mut self, disk: &mut Disk) -> Result<(), DiskError> {
        while let Some(effect) = self.writer.poll() {
            let op = Op { effect, stage: Stage::Waits, told: false };
            match &op.effect {
                LogEffect::Store { file, offset, bytes } => {
                    self.put(disk, *file, *offset as usize, bytes)?;
                }
                LogEffect::Sync { file } => {
                    let done = LogDone::Synced { file: *file, result: Ok(()) };
                    self.give_to_ring(op, done);
                }
                LogEffect::Write { file, .. } => {
                    let (file, blocks) = (*file, Vec::new());
                    self.give_to_ring(op, LogDone::Written { file, blocks, result: Ok(()) });
                }
                LogEffect::Make { after_ms: 1.., .. } => self.later = Some((None, op)),
                _ => self.background.push_back(op),
            }
        }
        Ok(())
    }

    /// Gives the ring a flush, of which a defect says at once that it is `done`.
    fn give_to_ring(&mut self, mut op: Op, done: LogDone) {
        op.told = self.defect == Some(Defect::AckBeforeFlush);
        let is_told = op.told;
        self.ring.push_back(op);
        if is_told {
            self.lied = true;
            self.writer.on_done(done);
        }
    }

    /// Puts bytes into a file. A defect takes for written what a file has no place for that a full
    /// disk left short.
    fn put(&self, disk: &mut Disk, file: FileId, at: usize, bytes: &[u8]) -> Result<(), DiskError> {
        let name = &self.names[&file];
        let is_short = disk.read(name).is_none_or(|content| content.len() < at + bytes.len());
        if is_short && self.defect == Some(Defect::FullDiskIgnored) {
            return Ok(());
        }
        disk.write(name, at, bytes)
    }

    /// Begins an operation, or ends the one begun. Says what came of it, once it has ended.
    fn advance(
        &mut self,
        op: &mut Op,
        disk: &mut Disk,
        fails: bool,
        rng: &mut Rng,
    ) -> Result<Option<LogDone>, DiskError> {
        match &op.effect {
            LogEffect::Make { .. } => self.advance_make(op, disk, fails, rng),
            LogEffect::Sync { .. } | LogEffect::Write { .. } => {
                self.advance_sync(op, disk, fails, rng)
            }
            LogEffect::SyncDir => self.advance_sync_dir(op, disk, fails),
            LogEffect::Rename { file, .. } if fails => {
                Ok(Some(LogDone::Renamed { file: *file, result: Err(Failed) }))
            }
            LogEffect::Rename { file, from, to } => {
                disk.rename(from, to)?;
                self.names.insert(*file, to.clone());
                Ok(Some(LogDone::Renamed { file: *file, result: Ok(()) }))
            }
            LogEffect::Trim { file, bytes, mark } => {
                let name = &self.names[file];
                match op.stage {
                    Stage::Waits => {
                        match disk.truncate(name, *bytes as usize) {
                            Err(DiskError::Full)
                                if self.defect == Some(Defect::FullDiskIgnored) => {}
                            other => other?,
                        }
                        op.stage = Stage::Cut;
                        Ok(None)
                    }
                    _ => {
                        // On a full disk the file stays without a mark.
                        match disk.write(name, *bytes as usize, mark) {
                            Ok(()) | Err(DiskError::Full) => {}
                            Err(error) => return Err(error),
                        }
                        Ok(Some(LogDone::Trimmed { file: *file }))
                    }
                }
            }
            LogEffect::Remove { file, name } => {
                disk.unlink(name)?;
                Ok(Some(LogDone::Removed { file: *file }))
            }
            LogEffect::Store { .. } => Ok(None),
        }
    }

    fn advance_sync(
        &mut self,
        op: &mut Op,
        disk: &mut Disk,
        fails: bool,
        rng: &mut Rng,
    ) -> Result<Option<LogDone>, DiskError> {
        let (LogEffect::Sync { file } | LogEffect::Write { file, .. }) = op.effect else {
            return Ok(None);
        };
        let is_retired = self.writer.current() != Some(file);
        let mut result = Ok(());
        match std::mem::replace(&mut op.stage, Stage::Waits) {
            Stage::Flush(flush) if fails => {
                disk.fail_flush(flush, rng);
                match self.defect {
                    // The pages are clean now: a second flush has nothing to do.
                    Some(Defect::FlushRetried) => {
                        op.stage = Stage::Flush(disk.begin_flush(&self.names[&file])?);
                        return Ok(None);
                    }
                    Some(Defect::FlushFailureIgnored) => self.lied = true,
                    _ => result = Err(Failed),
                }
            }
            Stage::Flush(flush) => disk.end_flush(flush)?,
            _ if is_retired && self.defect == Some(Defect::RollWithoutFlush) => {}
            _ => {
                if let LogEffect::Write { offset, blocks, .. } = &op.effect {
                    self.put(disk, file, *offset as usize, blocks)?;
                }
                op.stage = Stage::Flush(disk.begin_flush(&self.names[&file])?);
                return Ok(None);
            }
        }
        Ok(Some(match std::mem::replace(&mut op.effect, LogEffect::SyncDir) {
            LogEffect::Write { blocks, .. } => LogDone::Written { file, blocks, result },
            _ => LogDone::Synced { file, result },
        }))
    }

    fn advance_sync_dir(
        &mut self,
        op: &mut Op,
        disk: &mut Disk,
        fails: bool,
    ) -> Result<Option<LogDone>, DiskError> {
        let mut result = Ok(());
        match std::mem::replace(&mut op.stage, Stage::Waits) {
            Stage::DirFlush(_) if fails => result = Err(Failed),
            Stage::DirFlush(flush) => disk.end_dir_flush(&flush)?,
            _ if self.defect == Some(Defect::LostDirectoryEntry) => {}
            _ => {
                op.stage = Stage::DirFlush(disk.begin_dir_flush()?);
                return Ok(None);
            }
        }
        Ok(Some(LogDone::DirSynced { result }))
    }

    fn advance_make(
        &mut self,
        op: &mut Op,
        disk: &mut Disk,
        fails: bool,
        rng: &mut Rng,
    ) -> Result<Option<LogDone>, DiskError> {
        let LogEffect::Make { file, name, bytes, .. } = &op.effect else { return Ok(None) };
        let (file, bytes) = (*file, *bytes as usize);
        let nonce = Nonce::new(NONCES.wrapping_mul(file.0 + 1));
        let mut made = Ok(nonce);
        match std::mem::replace(&mut op.stage, Stage::Waits) {
            Stage::Zeros(flush) | Stage::Header(flush) if fails => {
                disk.fail_flush(flush, rng);
                made = Err(Failed);
            }
            Stage::Zeros(flush) => {
                disk.end_flush(flush)?;
                disk.write(name, 0, &file_header(nonce))?;
                op.stage = Stage::Header(disk.begin_flush(name)?);
                return Ok(None);
            }
            Stage::Header(flush) => disk.end_flush(flush)?,
            Stage::Zeroed => {
                op.stage = Stage::Zeros(disk.begin_flush(name)?);
                return Ok(None);
            }
            _ => {
                disk.create(name)?;
                let zeros =
                    if disk.room() < bytes + RESERVE_BYTES { FILE_BYTES_SHORT } else { bytes };
                if zeros == bytes || self.defect == Some(Defect::FullDiskIgnored) {
                    self.names.insert(file, name.clone());
                    disk.write(name, 0, &vec![0; zeros])?;
                    op.stage = Stage::Zeroed;
                    return Ok(None);
                }
                made = Err(Failed);
            }
        }
        if made.is_err() {
            disk.unlink(name)?;
        }
        Ok(Some(LogDone::Made { file, nonce: made }))
    }
}

/// The longest record; what the simulated clients can have under way fits a file.
pub(crate) const RECORD_BYTES_MAX: usize = 24 << 10;
/// The size of a log file.
pub(crate) const SEGMENT_BYTES: usize = 192 << 10;
const FIRST_SEGMENT_BYTES: u64 = 64 << 10;
const SEGMENT_BYTES_STEP: u64 = 4 << 10;
/// The space that snapshots may take up of a full disk.
const RESERVE_BYTES: usize = 32 << 10;
/// The part that is left of a file where a full disk is not noticed.
const FILE_BYTES_SHORT: usize = 512;
/// Nobody in the simulated world guesses at nonces: an odd number times the file's makes them.
const NONCES: u64 = 0x9e37_79b9_7f4a_7c15;
