//! The files made ahead of need: how large they are, and what happens when none can be made.

use super::*;

/// A file that is ready: it reads as zeros, its space is reserved, its header in place and durable.
#[derive(Debug)]
pub(super) struct Spare {
    pub(super) file: FileId,
    pub(super) nonce: Nonce,
    pub(super) bytes: u64,
}

/// A file in the making.
#[derive(Debug)]
pub(super) struct Making {
    file: FileId,
    /// The size tried now; less than what is wanted where there was no space for that.
    bytes: u64,
}

impl Spare {
    /// Bytes that entries can take up in it.
    pub(super) fn capacity(&self) -> u64 {
        self.bytes - (FILE_HEADER_BYTES + TAIL_ROOM_BYTES) as u64
    }
}

impl LogWriter {
    /// Begins to make the first of the files that are to come.
    pub(super) fn make_next(&mut self) {
        if self.making.is_none()
            && let Some(wanted) = self.coming.front()
        {
            let bytes = *wanted;
            let file = FileId(self.next_file);
            self.next_file += 1;
            self.make(Making { file, bytes }, 0);
        }
    }

    /// The file in the making is there, or cannot be made.
    pub(super) fn on_made(&mut self, file: FileId, nonce: Result<Nonce, Failed>) {
        let making = self.making.take();
        let Making { bytes, .. } = making.filter(|it| it.file == file).expect("it was asked for");
        match nonce {
            Ok(nonce) => {
                self.spares.push_back(Spare { file, nonce, bytes });
                self.coming.pop_front();
                self.full = false;
                self.events.push_back(LogEvent::Room);
                self.ask_for_spares();
                self.make_next();
            }
            Err(Failed) => self.on_no_spare(file, bytes),
        }
    }

    /// Tries a smaller file at once, and after the smallest the whole again in a second.
    fn on_no_spare(&mut self, file: FileId, tried: u64) {
        let least = self.settings.segment_bytes_min();
        if tried > least {
            let bytes = self.settings.in_steps(tried / ATTEMPT_SHRINKS_BY).max(least);
            return self.make(Making { file, bytes }, 0);
        }
        if !self.full {
            self.full = true;
            self.events.push_back(LogEvent::NoSpare);
        }
        let bytes = self.coming.front().copied().unwrap_or(least);
        self.make(Making { file, bytes }, RETRY_MS);
    }

    fn make(&mut self, making: Making, after_ms: u32) {
        let Making { file, bytes } = making;
        self.making = Some(making);
        self.effects.push_back(LogEffect::Make { file, name: spare_name(file), bytes, after_ms });
    }

    /// Decides how much is to be ready after the file that is about to start. Where files are
    /// rolled before they are full, by their limit, the next one is as large as the last has been
    /// used: what is zeroed beyond that is cut again.
    pub(super) fn plan_ahead(&mut self) {
        self.ahead = match self.files.back() {
            Some(last) if self.roll_wanted => self.settings.segment_bytes_like(last.end),
            _ => self.settings.segment_bytes_whole(),
        };
    }

    /// Sees to it that after the current file there is as much room as a file is likely to take, in
    /// one file or, while they still grow, in several.
    pub(super) fn ask_for_spares(&mut self) {
        let Some(current) = self.files.back() else { return };
        let mut last = self.spares.back().map_or(current.bytes, |spare| spare.bytes);
        last = self.coming.back().copied().unwrap_or(last);
        let spares = self.spares.iter().map(|spare| spare.bytes);
        let ready: u64 = spares.chain(self.coming.iter().copied()).sum();
        if ready < self.ahead {
            self.coming.push_back(self.settings.segment_bytes_after(last).min(self.ahead));
            self.make_next();
        }
    }
}

impl WriterSettings {
    pub(super) fn entry_bytes_max(&self) -> u64 {
        self.record_bytes_max + ENTRY_OVERHEAD_BYTES as u64
    }

    /// The smallest file: a start should not wait for more, and two of the longest records fit.
    pub fn segment_bytes_min(&self) -> u64 {
        let beside = (FILE_HEADER_BYTES + TAIL_ROOM_BYTES) as u64;
        self.in_steps(self.first_segment_bytes.max(2 * self.entry_bytes_max() + beside))
    }

    pub(super) fn segment_bytes_whole(&self) -> u64 {
        self.in_steps(self.segment_bytes.max(self.segment_bytes_min()))
    }

    /// Files grow from the small first one to the configured size.
    pub(super) fn segment_bytes_after(&self, bytes: u64) -> u64 {
        bytes.saturating_mul(SEGMENT_GROWTH).min(self.segment_bytes_whole())
    }

    fn segment_bytes_like(&self, used: u64) -> u64 {
        let used = used + TAIL_ROOM_BYTES as u64;
        let least = self.segment_bytes_after(self.segment_bytes_min());
        self.in_steps(used).clamp(least, self.segment_bytes_whole())
    }

    fn in_steps(&self, bytes: u64) -> u64 {
        bytes.next_multiple_of(self.segment_bytes_step)
    }
}

/// The name of a file before its first entry decides the right one.
pub(super) fn spare_name(file: FileId) -> String {
    format!("{SPARE_PREFIX}{}", file.0)
}

/// The factor by which the next file is larger until the configured size is reached.
const SEGMENT_GROWTH: u64 = 4;
/// The factor by which the next attempt is smaller where there is no space for the one before.
const ATTEMPT_SHRINKS_BY: u64 = 4;
/// Between two attempts where not even the smallest file can be made.
const RETRY_MS: u32 = 1000;
