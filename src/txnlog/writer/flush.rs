//! The steps of a flush: one at a time, from the oldest file that is not durable to the current
//! one.

use super::spares::spare_name;
use super::*;

/// The effect that a flush waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A file's bytes up to `end`; the last step of the flush if `is_last`.
    Sync {
        file: FileId,
        end: u64,
        is_last: bool,
    },
    Rename {
        file: FileId,
    },
    SyncDir,
}

impl LogWriter {
    /// Starts a flush, which ends in [`LogEvent::Durable`] or [`LogEvent::Failed`]. It covers what
    /// was appended. At most one is under way.
    pub fn flush(&mut self, flush: PendingFlush) {
        self.check();
        assert!(self.flushing.is_none(), "at most one flush is under way");
        if self.failed {
            return self.events.push_back(LogEvent::Failed);
        }
        self.flushing = Some(flush);
        self.next_step();
        self.check();
    }

    /// The step under way has ended.
    pub(super) fn on_step(&mut self, done: LogDone) {
        let step = self.step.take().expect("a completion belongs to the step under way");
        let result = match (step, done) {
            (Step::Sync { file, .. }, LogDone::Synced { file: of, result }) => {
                assert_eq!(file, of);
                result
            }
            (Step::Sync { file, .. }, LogDone::Written { file: of, blocks, result }) => {
                assert_eq!(file, of);
                if blocks.capacity() <= MEMORY_BYTES_MAX {
                    self.memory = blocks;
                    self.memory.clear();
                }
                result
            }
            (Step::Rename { file }, LogDone::Renamed { file: of, result }) => {
                assert_eq!(file, of);
                result
            }
            (Step::SyncDir, LogDone::DirSynced { result }) => result,
            (step, done) => panic!("{done:?} is no end of {step:?}"),
        };
        match result {
            Ok(()) => self.on_step_done(step),
            Err(Failed) => self.fail(),
        }
    }

    fn on_step_done(&mut self, step: Step) {
        let file = self.files.front_mut().expect("the step was of this file");
        match step {
            Step::Sync { end, is_last, .. } => {
                assert!(file.durable <= end && end <= file.end, "{end} of {file:?}");
                file.durable = end;
                if is_last {
                    return self.end_flush();
                }
            }
            Step::Rename { .. } => file.naming = Naming::Renamed,
            Step::SyncDir => file.naming = Naming::Durable,
        }
        self.next_step();
    }

    /// Begins the next step, or ends the flush where there is none.
    fn next_step(&mut self) {
        assert!(self.flushing.is_some() && self.step.is_none(), "one step at a time");
        loop {
            let is_current = self.files.len() == 1;
            let Some(front) = self.files.front_mut() else { return self.end_flush() };
            if front.naming == Naming::Renamed && !self.settings.force_sync {
                front.naming = Naming::Durable;
            }
            let file = front.file;
            match front.naming {
                Naming::Spare => {
                    let (from, to) = (spare_name(file), front.name.clone());
                    return self.begin(Step::Rename { file }, LogEffect::Rename { file, from, to });
                }
                Naming::Renamed => return self.begin(Step::SyncDir, LogEffect::SyncDir),
                Naming::Durable => {}
            }
            if self.settings.force_sync && front.durable < front.end {
                // Nothing that the flush covers is in a later file: it was appended before now.
                let step = Step::Sync { file, end: front.end, is_last: is_current };
                let effect = match self.settings.appending {
                    Appending::Mapped | Appending::Cached => LogEffect::Sync { file },
                    Appending::Direct => front.write(std::mem::take(&mut self.memory)),
                };
                return self.begin(step, effect);
            }
            if is_current {
                return self.end_flush();
            }
            // All of it is durable, and entries go to a later file: it is finished.
            if let Some(mut finished) = self.files.pop_front() {
                self.trim(&mut finished);
            }
        }
    }

    fn begin(&mut self, step: Step, effect: LogEffect) {
        self.step = Some(step);
        self.effects.push_back(effect);
    }

    fn end_flush(&mut self) {
        if let Some(flush) = self.flushing.take() {
            self.events.push_back(LogEvent::Durable(flush.end()));
        }
    }
}

impl OpenFile {
    /// Writes the blocks that are staged, with a mark after the entries and zeros to the end of the
    /// last one, which stays staged in `memory` for the entries that follow.
    fn write(&mut self, memory: Vec<u8>) -> LogEffect {
        let (offset, mark) = (self.staged_from(), self.mark());
        let mut blocks = std::mem::replace(&mut self.staged, memory);
        self.written = self.end;
        let kept = (self.staged_from() - offset) as usize;
        self.staged.extend_from_slice(&blocks[kept..]);
        mark.put(&mut blocks);
        blocks.resize(blocks.len().next_multiple_of(BLOCK_BYTES as usize), 0);
        debug_assert!(offset + blocks.len() as u64 <= self.bytes, "files are whole blocks");
        LogEffect::Write { file: self.file, offset, blocks }
    }
}

/// The most memory of a write that is kept for the next one; more is given back.
const MEMORY_BYTES_MAX: usize = 4 << 20;
