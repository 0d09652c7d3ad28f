//! The writing side of the log: which file entries go to, what makes them durable, how much is
//! certain to fit. It is one machine for both shells: `runtime` carries its effects out on files,
//! `sim` on its disk.
//!
//! The log is a row of files of Apache's format that are zeroed in full and flushed before the
//! first entry goes in. They never grow: when one is full or rolled, the next one takes over, which
//! was made ahead of need. It has a name that Apache ignores ([`SPARE_PREFIX`]) until its first
//! entry decides the right one.
//!
//! A flush does this, in this order and one step at a time:
//!
//! 1. the entries of the file before get onto the disk, its padding is cut;
//! 2. the next file gets its name, and the directory is synced;
//! 3. its own entries get onto the disk, and so on to the file that is written now.
//!
//! So of all files only the newest can end in a torn tail, nothing in a file is durable before its
//! name is, and no file is ever flushed by two at once: the kernel reports a write error once per
//! open file, so of two flushes one would hear "ok". A failed step ends the log for good. The
//! kernel counts pages as clean after an error, so a second attempt would prove nothing.
//!
//! Entries get into a file in one of three ways ([`Appending`]). Mapped and cached, they go into the
//! map or the page cache at once, and a flush syncs the file. Direct, they are staged here, and a flush writes
//! the blocks that they make up past the page cache, durably. The last block is filled up with
//! zeros and written again with the entries that follow. That puts nothing at risk: each of its
//! sectors that is durable is written with the same bytes, and the one that the entries end in has
//! more after them.
//!
//! A full disk: no file can be made, [`LogWriter::room`] shrinks to what is there, and the attempt
//! is repeated every second.
//!
//! | file | holds |
//! |---|---|
//! | `room` | what is promised to fit, and how entries are split over files |
//! | `flush` | the steps of a flush |
//! | `spares` | the files made ahead of need: when and how large |
//! | `zeros` | what a mark says of the sectors before it |

mod flush;
mod room;
mod spares;
#[cfg(test)]
mod tests;
mod zeros;

use std::collections::VecDeque;

use bytes::Bytes;

use crate::zxid::Zxid;

use super::{
    Claim, Durable, ENTRY_OVERHEAD_BYTES, FILE_HEADER_BYTES, Nonce, PendingFlush, TAIL_MARK_BYTES,
    TAIL_ROOM_BYTES, TailMark, closing_mark, file_header, file_name, first_entry, tail_mark,
};

use flush::Step;
use spares::{Making, Spare};
use zeros::Zeros;

/// The settings of a log. Sizes are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriterSettings {
    /// `preAllocSize`: how large a file is.
    pub segment_bytes: u64,
    /// The size of the first file, which a start waits for; the next ones grow to `segment_bytes`.
    pub first_segment_bytes: u64,
    /// Files are a multiple of this, and of what the disk writes at a time.
    pub segment_bytes_step: u64,
    /// The longest record that will be appended.
    pub record_bytes_max: u64,
    /// `forceSync`: without it no flush waits for the disk, and marks claim nothing. It does not go
    /// with [`Appending::Direct`].
    pub force_sync: bool,
    /// The way entries get into files.
    pub appending: Appending,
}

/// The way entries get into a file. A configuration asks for [`Appending::Mapped`] or
/// [`Appending::Direct`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appending {
    /// Stores into a map of the file, one fdatasync per group: each append is a
    /// [`LogEffect::Store`], each flush of a file a [`LogEffect::Sync`].
    Mapped,
    /// Writes into the page cache, one fdatasync per group; the effects are those of a mapped log.
    Cached,
    /// One durable write per group, past the page cache: each flush of a file is one
    /// [`LogEffect::Write`] of whole blocks.
    Direct,
}

impl Appending {
    /// The word for it in `ringkeeper.log`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Mapped => "mapped",
            Self::Cached => "cached",
            Self::Direct => "direct",
        }
    }
}

/// The state of the file that comes after the current one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextFile {
    /// It is made.
    Ready,
    /// It is not made, and the current one will do for a while.
    Wanted,
    /// It is not made, and the current one will not do for long, or a roll waits for it.
    Needed,
}

/// One file of this run, by the number under which it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileId(pub u64);

/// A request of the machine to its shell. Each but a [`LogEffect::Store`] is answered by the
/// [`LogDone`] of the same name.
#[derive(Debug, PartialEq, Eq)]
pub enum LogEffect {
    /// Make the file `name` of `bytes` bytes, all of them zeros on the disk and then a
    /// [`super::file_header`], flushed with its length; begin after so many milliseconds. At most
    /// one is under way.
    Make { file: FileId, name: String, bytes: u64, after_ms: u32 },
    /// Put the bytes at the offset, into the map or the page cache: done when this is.
    Store { file: FileId, offset: u64, bytes: Vec<u8> },
    /// Make all that was stored in the file so far durable.
    Sync { file: FileId },
    /// Write whole blocks at the offset, and make them durable.
    Write { file: FileId, offset: u64, blocks: Vec<u8> },
    /// Give the file its name, in place of what has it.
    Rename { file: FileId, from: String, to: String },
    /// Make the names in the directory durable.
    SyncDir,
    /// Nothing more goes to the file: cut it to `bytes`, all of which are durable, then append the
    /// mark, which says so. Neither is a promise to anybody, so neither is flushed.
    Trim { file: FileId, bytes: u64, mark: [u8; TAIL_MARK_BYTES] },
    /// Remove a file that was made and not used.
    Remove { file: FileId, name: String },
}

/// The outcome of an effect. An error means that the outcome is unknown.
#[derive(Debug, PartialEq, Eq)]
pub enum LogDone {
    /// The file is there with a header of this nonce; or it is not, and nothing is left of it.
    Made {
        file: FileId,
        nonce: Result<Nonce, Failed>,
    },
    Synced {
        file: FileId,
        result: Result<(), Failed>,
    },
    /// Gives the memory back.
    Written {
        file: FileId,
        blocks: Vec<u8>,
        result: Result<(), Failed>,
    },
    Renamed {
        file: FileId,
        result: Result<(), Failed>,
    },
    DirSynced {
        result: Result<(), Failed>,
    },
    Trimmed {
        file: FileId,
    },
    Removed {
        file: FileId,
    },
}

/// The operation failed; the shell knows why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed;

/// A message of the machine to whoever appends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogEvent {
    /// A flush has ended.
    Durable(Durable<Zxid>),
    /// A flush has failed: nothing more becomes durable.
    Failed,
    /// [`LogWriter::room`] has grown.
    Room,
    /// No file can be made: said once until one can be made again.
    NoSpare,
}

/// The entries were not appended, none of them: they are more than was promised, or the log has
/// failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

/// The machine. See the module.
#[derive(Debug)]
pub struct LogWriter {
    settings: WriterSettings,
    /// Files with entries, oldest first. The last is the one that entries go to; those before it
    /// wait for a flush. A file is started by an append, so none is empty.
    files: VecDeque<OpenFile>,
    /// Files made ahead of need. Each holds at least two of the longest entries.
    spares: VecDeque<Spare>,
    /// The sizes of those that are still to be made, the one being made first.
    coming: VecDeque<u64>,
    making: Option<Making>,
    next_file: u64,
    /// The bytes that are kept ready after the current file.
    ahead: u64,
    /// Bytes of entries that are still promised to fit. Invariant: `promised <= guaranteed()`.
    promised: u64,
    /// The next append starts a new file, once the spare ones hold what is promised.
    roll_wanted: bool,
    /// The last entry appended.
    appended: Zxid,
    /// A flush that was asked for and has not ended. Invariants: it covers no more than what was
    /// appended; `step` is none without it.
    flushing: Option<PendingFlush>,
    /// The effect that the flush waits for.
    step: Option<Step>,
    failed: bool,
    full: bool,
    /// Memory of the last write, for the next one.
    memory: Vec<u8>,
    effects: VecDeque<LogEffect>,
    events: VecDeque<LogEvent>,
}

/// A file with entries. Invariant: `header <= durable <= end`, a tail mark fits after `end`, and
/// where appends are direct `durable <= written <= end`.
#[derive(Debug)]
struct OpenFile {
    file: FileId,
    nonce: Nonce,
    bytes: u64,
    /// The name that it gets, or has.
    name: String,
    naming: Naming,
    /// The offset of the next entry.
    end: u64,
    /// Everything before it is on the disk.
    durable: u64,
    zeros: Zeros,
    /// Direct: everything before it has been given to a write.
    written: u64,
    /// Direct: what the file holds from the start of the block in which `written` lies up to `end`.
    staged: Vec<u8>,
}

/// The stage of a file's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Naming {
    Spare,
    Renamed,
    /// The directory was synced since.
    Durable,
}

impl LogWriter {
    /// A log that starts a file with its next entry and makes the first of them now. All up to
    /// `last` is in earlier files, which stay as they are; files get numbers from `first_file` on.
    pub fn new(settings: WriterSettings, last: Zxid, first_file: u64) -> Self {
        let smallest = settings.segment_bytes_min();
        assert!(settings.segment_bytes_step.is_multiple_of(BLOCK_BYTES), "files are whole blocks");
        assert!(
            settings.force_sync || settings.appending != Appending::Direct,
            "nothing is flushed"
        );
        let mut writer = Self {
            settings,
            files: VecDeque::new(),
            spares: VecDeque::new(),
            coming: [smallest, settings.segment_bytes_after(smallest)].into(),
            making: None,
            next_file: first_file,
            ahead: 0,
            promised: 0,
            roll_wanted: false,
            appended: last,
            flushing: None,
            step: None,
            failed: false,
            full: false,
            memory: Vec::new(),
            effects: VecDeque::new(),
            events: VecDeque::new(),
        };
        writer.make_next();
        writer.check();
        writer
    }

    /// Appends whole entries, in the order of their zxids, the last of which is `last`. Gives the
    /// buffer back, or an empty one where an effect has taken it or somebody else holds a part.
    pub fn append(&mut self, entries: Bytes, last: Zxid) -> Result<Vec<u8>, NoRoom> {
        self.check();
        assert!(!entries.is_empty() && last > self.appended, "{last} follows {}", self.appended);
        if self.failed {
            return Err(NoRoom);
        }
        let len = entries.len() as u64;
        let parts = self.split(&entries);
        assert!(
            parts.is_some() || len > self.promised,
            "{len} of {} promised bytes",
            self.promised
        );
        let buffer = self.write_parts(entries, &parts.ok_or(NoRoom)?);
        self.promised = self.promised.saturating_sub(len);
        self.appended = last;
        self.check();
        Ok(buffer)
    }

    /// The next append starts a new file, or the first one after it for which files are ready that
    /// hold what was promised.
    pub fn roll(&mut self) {
        self.roll_wanted = !self.files.is_empty();
    }

    /// An effect has been carried out.
    pub fn on_done(&mut self, done: LogDone) {
        self.check();
        match done {
            LogDone::Made { file, nonce } => self.on_made(file, nonce),
            LogDone::Trimmed { .. } | LogDone::Removed { .. } => {}
            _ if self.failed => {}
            _ => self.on_step(done),
        }
        self.check();
    }

    /// A [`LogEffect::Store`] could not be carried out, or the shell can carry out nothing more.
    pub fn on_failed(&mut self) {
        self.fail();
        self.check();
    }

    /// The next thing that the shell must do.
    pub fn poll(&mut self) -> Option<LogEffect> {
        self.effects.pop_front()
    }

    /// The next thing to know.
    pub fn poll_event(&mut self) -> Option<LogEvent> {
        self.events.pop_front()
    }

    /// Ends a log of which everything is durable: cuts the current file, removes the spare ones. A
    /// Make that is not answered by now never will be.
    pub fn close(&mut self) {
        self.check();
        assert!(self.flushing.is_none(), "the log ends after its last flush");
        self.making = None;
        self.coming.clear();
        for mut file in std::mem::take(&mut self.files) {
            self.trim(&mut file);
        }
        for spare in std::mem::take(&mut self.spares) {
            self.effects.push_back(LogEffect::Remove {
                file: spare.file,
                name: spares::spare_name(spare.file),
            });
        }
        self.promised = 0;
        self.failed = true;
        if self.settings.force_sync {
            self.effects.push_back(LogEffect::SyncDir);
        }
        self.check();
    }

    /// The file that entries go to.
    pub fn current(&self) -> Option<FileId> {
        self.files.back().map(|file| file.file)
    }

    /// The zxid of the last entry.
    pub fn appended(&self) -> Zxid {
        self.appended
    }

    /// The offset at which its entries end.
    pub fn file_bytes(&self) -> u64 {
        self.files.back().map_or(0, |file| file.end)
    }

    /// Whether no file can be made at present: the room is small for longer than it takes to make
    /// one.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// The state of the file that comes after the current one.
    pub fn next_file(&self) -> NextFile {
        let low = ROOM_RECORDS_LOW * self.settings.entry_bytes_max();
        let will_do = self.files.back().is_some_and(|current| {
            let (part, left) = (current.bytes / NEEDED_FRACTION, current.bytes - current.end);
            left > part.max(low + current.bytes / LOW_FRACTION) && !self.roll_wanted
        });
        match (self.spares.is_empty(), will_do) {
            (false, _) => NextFile::Ready,
            (true, true) => NextFile::Wanted,
            (true, false) => NextFile::Needed,
        }
    }

    /// Whether the log takes nothing more.
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// Whether a flush is under way.
    pub fn is_flushing(&self) -> bool {
        self.flushing.is_some()
    }

    fn write_parts(&mut self, mut entries: Bytes, parts: &[usize]) -> Vec<u8> {
        if self.settings.appending == Appending::Direct {
            let mut at = 0;
            for (index, len) in parts.iter().enumerate() {
                let part = &entries[at..at + len];
                self.start_file_at(index, part);
                self.stage(part);
                at += len;
            }
            assert_eq!(at, entries.len(), "the parts are the whole");
            return buffer_of(entries);
        }
        for (index, len) in parts.iter().enumerate() {
            let part = entries.split_to(*len);
            self.start_file_at(index, &part);
            if !part.is_empty() {
                self.store(part);
            }
        }
        assert!(entries.is_empty(), "the parts are the whole");
        Vec::new()
    }

    /// Every part but the first goes into a file of its own.
    fn start_file_at(&mut self, index: usize, part: &[u8]) {
        if index > 0 {
            self.start_file(part);
        }
    }

    /// Makes the next spare file the current one, under the name that the first of `entries` gives
    /// it.
    fn start_file(&mut self, entries: &[u8]) {
        let fresh = self.spares.pop_front().expect("the split counted on this file");
        let (_, first) = first_entry(entries).expect("the log gets whole entries");
        let header = FILE_HEADER_BYTES as u64;
        self.plan_ahead();
        let mut staged = Vec::new();
        if self.settings.appending == Appending::Direct {
            staged.extend_from_slice(&file_header(fresh.nonce));
        }
        self.files.push_back(OpenFile {
            file: fresh.file,
            nonce: fresh.nonce,
            bytes: fresh.bytes,
            name: file_name(first),
            naming: Naming::Spare,
            end: header,
            durable: header,
            zeros: Zeros::default(),
            written: header,
            staged,
        });
        self.roll_wanted = false;
        self.ask_for_spares();
    }

    fn store(&mut self, entries: Bytes) {
        let file = self.files.back_mut().expect("a file was started");
        let offset = file.end;
        file.append(&entries, self.settings.force_sync);
        // The buffer itself, if nobody else holds a part of it; else a copy.
        let mut bytes = Vec::from(entries);
        file.mark().put(&mut bytes);
        self.effects.push_back(LogEffect::Store { file: file.file, offset, bytes });
    }

    fn stage(&mut self, entries: &[u8]) {
        if let Some(file) = self.files.back_mut() {
            file.append(entries, self.settings.force_sync);
            file.staged.extend_from_slice(entries);
        }
    }

    fn trim(&mut self, file: &mut OpenFile) {
        assert!(file.durable == file.end || !self.settings.force_sync, "{} is flushed", file.name);
        let mark = file.closing_mark();
        self.effects.push_back(LogEffect::Trim { file: file.file, bytes: file.end, mark });
    }

    fn fail(&mut self) {
        if !self.failed {
            self.failed = true;
            self.flushing = None;
            self.step = None;
            self.promised = 0;
            self.events.push_back(LogEvent::Failed);
        }
    }

    /// The invariants.
    fn check(&self) {
        assert!(self.promised <= self.guaranteed(), "{} of {}", self.promised, self.guaranteed());
        let covered = self.flushing.as_ref().map(PendingFlush::upto);
        assert!(covered.is_none_or(|upto| upto <= self.appended), "a flush of what is to come");
        assert!(covered.is_some() || self.step.is_none(), "a step without a flush");
        for file in &self.files {
            let header = FILE_HEADER_BYTES as u64;
            assert!(header <= file.durable && file.durable <= file.end);
            assert!(file.end + TAIL_ROOM_BYTES as u64 <= file.bytes, "no room for a mark");
            let is_direct = self.settings.appending == Appending::Direct;
            let staged = if is_direct { file.end - file.staged_from() } else { 0 };
            debug_assert_eq!(file.staged.len() as u64, staged, "{}", file.name);
        }
        let files = self.files.iter().rev().skip(1);
        debug_assert!(files.clone().all(|file| file.end > FILE_HEADER_BYTES as u64), "empty file");
        debug_assert!(
            self.spares.iter().all(|spare| spare.bytes >= self.settings.segment_bytes_min())
        );
        debug_assert!(self.making.is_some() || self.coming.is_empty(), "a file is asked for");
    }
}

impl OpenFile {
    /// Counts entries in that are put at the end.
    fn append(&mut self, entries: &[u8], is_flushed: bool) {
        self.zeros.append(self.end, entries, is_flushed);
        self.end += entries.len() as u64;
    }

    /// The tail mark after the entries that are there.
    fn mark(&mut self) -> TailMark {
        tail_mark(self.nonce, self.end, self.durable, self.zeros.after(self.durable))
    }

    /// The mark of a file that gets no more entries.
    fn closing_mark(&mut self) -> [u8; TAIL_MARK_BYTES] {
        let claim = Claim { durable: self.durable, zeros: self.zeros.after(self.durable) };
        closing_mark(self.nonce, self.end, claim)
    }

    /// Direct: where the next write begins, the start of the block that is not full.
    fn staged_from(&self) -> u64 {
        self.written - self.written % BLOCK_BYTES
    }
}

/// The buffer of bytes that nobody else holds, emptied; else a new one.
fn buffer_of(bytes: Bytes) -> Vec<u8> {
    let Ok(mut buffer) = bytes.try_into_mut() else { return Vec::new() };
    buffer.clear();
    Vec::from(buffer)
}

/// Direct writes are a multiple of this, in place and length: a page, which is enough for every
/// disk.
pub const BLOCK_BYTES: u64 = 4096;
/// With less of the current file left than this part of it, the next one is needed.
const NEEDED_FRACTION: u64 = 2;
/// Whoever prepares entries waits while there is room for fewer than so many of the longest records,
/// unless the disk is full. The next file is needed before that, by a part of the current one: who
/// waits fills no file any further.
pub const ROOM_RECORDS_LOW: u64 = 2;
const LOW_FRACTION: u64 = 8;
/// Spare files are called so and a number; no reader of logs looks at them.
pub const SPARE_PREFIX: &str = "ringkeeper.spare.";
