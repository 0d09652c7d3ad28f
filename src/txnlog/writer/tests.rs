//! The machine alone, over files in memory: random requests, completions in any order, failures.

mod spares;
mod states;

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::txnlog::{
    ENTRY_HEADER_BYTES, ScanEnd, Scanner, append_entry, file_header, zxid_of_name,
};

/// A file as programs see it, and what of it is on the disk.
#[derive(Debug, Default)]
struct ModelFile {
    stored: Vec<u8>,
    synced: Vec<u8>,
    /// The entries that a flush under way covers.
    syncing: Option<Vec<u8>>,
    name: String,
    durable_name: String,
}

/// The machine, its files, and what is under way.
struct World {
    writer: LogWriter,
    settings: WriterSettings,
    files: BTreeMap<FileId, ModelFile>,
    under_way: VecDeque<LogEffect>,
    /// Appended so far.
    last: i64,
    /// Encoded and not yet appended.
    pending: Vec<Vec<u8>>,
    room: u64,
    durable: i64,
    failed: bool,
}

const SETTINGS: WriterSettings = WriterSettings {
    segment_bytes: 16 << 10,
    first_segment_bytes: 4 << 10,
    segment_bytes_step: 4 << 10,
    record_bytes_max: 1000,
    force_sync: true,
    appending: Appending::Mapped,
};
const DIRECT: WriterSettings = WriterSettings { appending: Appending::Direct, ..SETTINGS };

/// An entry of `len` payload bytes, none of them 0 but those of the zxid.
fn entry(zxid: i64, len: usize) -> Vec<u8> {
    let mut payload = vec![0x5a; len.max(32)];
    payload[12..20].copy_from_slice(&zxid.to_be_bytes());
    let mut out = Vec::new();
    append_entry(&mut out, &payload);
    out
}

impl World {
    fn new(settings: WriterSettings) -> Self {
        let mut world = Self {
            writer: LogWriter::new(settings, Zxid::ZERO, 0),
            settings,
            files: BTreeMap::new(),
            under_way: VecDeque::new(),
            last: 0,
            pending: Vec::new(),
            room: 0,
            durable: 0,
            failed: false,
        };
        world.run_effects();
        world
    }

    /// A world with room.
    fn open(settings: WriterSettings) -> Self {
        let mut world = Self::new(settings);
        world.settle();
        world.ask_room();
        world
    }

    fn pending_bytes(&self) -> u64 {
        self.pending.iter().map(|entry| entry.len() as u64).sum()
    }

    fn ask_room(&mut self) {
        let room = self.writer.room(self.pending_bytes());
        assert!(self.failed || room >= self.pending_bytes(), "what is pending stays promised");
        self.room = room.saturating_sub(self.pending_bytes());
    }

    /// The effect that the flush waits for.
    fn steps(&self) -> Vec<&LogEffect> {
        let is_step = |effect: &&LogEffect| {
            !matches!(effect, LogEffect::Make { .. } | LogEffect::Trim { .. })
        };
        self.under_way.iter().filter(is_step).collect()
    }

    /// Encodes an entry if it is promised to fit.
    fn encode(&mut self, len: usize) {
        let entry = entry(self.last + self.pending.len() as i64 + 1, len);
        if entry.len() as u64 <= self.room {
            self.room -= entry.len() as u64;
            self.pending.push(entry);
        }
    }

    fn append(&mut self) {
        let entries = std::mem::take(&mut self.pending);
        if entries.is_empty() || self.failed {
            return;
        }
        self.last += entries.len() as i64;
        let appended = self.writer.append(entries.concat().into(), Zxid(self.last));
        assert!(appended.is_ok(), "what was promised fits");
        self.run_effects();
    }

    fn flush(&mut self) {
        if !self.writer.is_flushing() && !self.failed {
            self.writer.flush(PendingFlush::of(Zxid(self.last)));
            self.run_effects();
        }
    }

    fn run_effects(&mut self) {
        while let Some(effect) = self.writer.poll() {
            match effect {
                LogEffect::Store { file, offset, bytes } => self.store(file, offset, &bytes),
                LogEffect::Write { file, offset, blocks } => {
                    assert!(offset.is_multiple_of(BLOCK_BYTES), "{offset}");
                    assert!(blocks.len().is_multiple_of(BLOCK_BYTES as usize));
                    self.store(file, offset, &blocks);
                    self.begin_sync(file);
                    self.under_way.push_back(LogEffect::Write { file, offset, blocks });
                }
                effect => {
                    if let LogEffect::Sync { file } = effect {
                        self.begin_sync(file);
                    }
                    self.under_way.push_back(effect);
                }
            }
        }
        while let Some(event) = self.writer.poll_event() {
            match event {
                LogEvent::Durable(durable) => self.on_durable(durable.get().0),
                LogEvent::Failed => self.failed = true,
                LogEvent::Room | LogEvent::NoSpare => {}
            }
        }
    }

    fn begin_sync(&mut self, file: FileId) {
        let file = self.files.get_mut(&file).expect("it was made");
        assert!(file.syncing.is_none(), "nobody else flushes the file");
        file.syncing = Some(file.stored.clone());
    }

    fn end_sync(&mut self, file: FileId, is_well: bool) {
        let file = self.files.get_mut(&file).expect("it was made");
        let syncing = file.syncing.take().expect("the flush was begun");
        if is_well {
            file.synced = syncing;
        }
    }

    fn store(&mut self, file: FileId, offset: u64, bytes: &[u8]) {
        let file = self.files.get_mut(&file).expect("it was made");
        let (offset, end) = (offset as usize, offset as usize + bytes.len());
        file.stored[offset..end].copy_from_slice(bytes);
        let mut scanner = Scanner::new(&file.stored);
        let scanned = scanner.end().expect("memory can be read");
        assert!(matches!(scanned, ScanEnd::Clean { .. }), "{scanned:?}");
        let durable = scanner.durable();
        if durable > 0 {
            let is_synced = file.synced[..durable as usize] == file.stored[..durable as usize];
            assert!(is_synced, "a mark claims {durable} that was not flushed");
            let header = FILE_HEADER_BYTES as u64;
            assert!(self.settings.force_sync || durable == header, "{durable} without any flush");
        }
    }

    /// Everything up to `upto` is in files that survive, under names that survive.
    fn on_durable(&mut self, upto: i64) {
        assert!(!self.failed, "nothing is durable after a failure");
        assert!(self.durable <= upto && upto <= self.last);
        self.durable = upto;
        if self.settings.force_sync {
            let found = self.survivors();
            assert!(found.starts_with(&(1..=upto).collect::<Vec<_>>()), "{found:?} of {upto}");
        }
    }

    /// The zxids that a reader finds after a power cut that takes all that was not flushed.
    fn survivors(&self) -> Vec<i64> {
        let named = self
            .files
            .values()
            .filter_map(|file| Some((zxid_of_name(&file.durable_name)?, &file.synced)));
        let files: BTreeMap<Zxid, &Vec<u8>> = named.collect();
        let mut zxids = Vec::new();
        for (first, bytes) in files {
            let mut scanner = Scanner::new(bytes);
            let mut found = Vec::new();
            while let Some(entry) = scanner.next_entry().expect("memory can be read") {
                found.push(entry.zxid.0);
            }
            let end = scanner.end().expect("memory can be read");
            assert!(!matches!(end, ScanEnd::Corrupt { .. }), "{end:?}");
            assert!(found.first().is_none_or(|zxid| *zxid == first.0), "{first} starts {found:?}");
            zxids.extend(found);
        }
        zxids
    }

    /// One operation under way ends, well or not.
    fn complete(&mut self, which: usize, is_well: bool) {
        if self.under_way.is_empty() {
            return;
        }
        let which = which % self.under_way.len();
        let effect = self.under_way.remove(which).expect("it is among them");
        let result = if is_well { Ok(()) } else { Err(Failed) };
        let done = match effect {
            LogEffect::Make { file, name, bytes, .. } => {
                let nonce = Nonce::new(0xabc0 + file.0);
                if is_well {
                    let mut stored = file_header(nonce).to_vec();
                    stored.resize(bytes as usize, 0);
                    let synced = stored.clone();
                    let made = ModelFile { stored, synced, name, ..ModelFile::default() };
                    self.files.insert(file, made);
                }
                LogDone::Made { file, nonce: result.map(|()| nonce) }
            }
            LogEffect::Sync { file } => {
                self.end_sync(file, is_well);
                LogDone::Synced { file, result }
            }
            LogEffect::Write { file, blocks, .. } => {
                self.end_sync(file, is_well);
                LogDone::Written { file, blocks, result }
            }
            LogEffect::Rename { file, from, to } => {
                let it = self.files.get_mut(&file).expect("it was made");
                assert_eq!(it.name, from);
                if is_well {
                    it.name = to;
                }
                LogDone::Renamed { file, result }
            }
            LogEffect::SyncDir => {
                if is_well {
                    let files = self.files.values_mut();
                    files.for_each(|file| file.durable_name.clone_from(&file.name));
                }
                LogDone::DirSynced { result }
            }
            LogEffect::Trim { file, bytes, mark } => {
                let it = self.files.get_mut(&file).expect("it was made");
                it.stored.truncate(bytes as usize);
                it.stored.extend(mark);
                if self.settings.force_sync {
                    assert_eq!(it.stored[..bytes as usize], it.synced[..bytes as usize]);
                }
                it.synced.clone_from(&it.stored);
                LogDone::Trimmed { file }
            }
            LogEffect::Remove { file, .. } => {
                self.files.remove(&file);
                LogDone::Removed { file }
            }
            LogEffect::Store { .. } => unreachable!("it is done at once"),
        };
        self.writer.on_done(done);
        self.run_effects();
    }

    /// Everything under way ends well, but for files that can only be made later.
    fn settle(&mut self) {
        while let Some(at) = self
            .under_way
            .iter()
            .position(|effect| !matches!(effect, LogEffect::Make { after_ms: 1.., .. }))
        {
            self.complete(at, true);
        }
    }

    fn write(&mut self, len: usize) {
        self.ask_room();
        self.encode(len);
        self.append();
        self.flush();
    }

    fn names(&self) -> Vec<&str> {
        self.files
            .values()
            .map(|file| file.name.as_str())
            .filter(|it| it.starts_with("log."))
            .collect()
    }
}

#[derive(Clone, Debug)]
enum Op {
    Encode(usize),
    Append,
    Room,
    Roll,
    Flush,
    Complete { which: usize, is_well: bool },
}

/// Ops of which steps of a flush fail only if `fails`; files fail to be made in any case.
fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => (32..1000_usize).prop_map(Op::Encode),
        2 => Just(Op::Encode(1000)),
        4 => Just(Op::Append),
        3 => Just(Op::Room),
        1 => Just(Op::Roll),
        3 => Just(Op::Flush),
        8 => (any::<usize>(), prop::bool::weighted(0.8))
            .prop_map(|(which, is_well)| Op::Complete { which, is_well }),
    ];
    prop::collection::vec(op, 1..200)
}

/// Runs the operations, appends what is encoded and flushes it all.
fn run_to_the_end(world: &mut World, ops: Vec<Op>) {
    run(world, ops, false);
    world.append();
    world.settle();
    world.flush();
    world.settle();
}

fn run(world: &mut World, ops: Vec<Op>, may_fail: bool) {
    for op in ops {
        match op {
            Op::Encode(len) => world.encode(len),
            Op::Append => world.append(),
            Op::Room => world.ask_room(),
            Op::Roll => world.writer.roll(),
            Op::Flush => world.flush(),
            Op::Complete { which, is_well } => {
                let len = world.under_way.len().max(1);
                let is_make =
                    matches!(world.under_way.get(which % len), Some(LogEffect::Make { .. }));
                world.complete(which, is_well || !(may_fail || is_make));
            }
        }
    }
}

proptest! {
    /// Expiry, rolls, a full disk, room asked for again while entries are encoded: what was
    /// promised fits, what is called durable is, and marks claim nothing else.
    #[test]
    fn what_is_promised_fits_and_what_is_durable_survives(ops in ops(), is_direct: bool) {
        let mut world = World::new(if is_direct { DIRECT } else { SETTINGS });
        run_to_the_end(&mut world, ops);
        prop_assert_eq!(world.durable, world.last);
    }

    /// The same without forceSync: marks claim nothing at all.
    #[test]
    fn without_force_sync_nothing_is_claimed(ops in ops()) {
        let mut world = World::new(WriterSettings { force_sync: false, ..SETTINGS });
        run_to_the_end(&mut world, ops);
        prop_assert_eq!(world.durable, world.last);
    }

    /// A failed step, whichever it is: nothing is called durable after it.
    #[test]
    fn after_a_failure_nothing_is_durable(ops in ops(), is_direct: bool) {
        let mut world = World::new(if is_direct { DIRECT } else { SETTINGS });
        run(&mut world, ops, true);
        if world.failed {
            prop_assert_eq!(world.writer.room(0), 0);
            let next = entry(world.last + 1, 40);
            prop_assert_eq!(world.writer.append(next.into(), Zxid(world.last + 1)), Err(NoRoom));
            world.writer.flush(PendingFlush::of(Zxid(world.last)));
            prop_assert_eq!(world.writer.poll_event(), Some(LogEvent::Failed));
        }
    }
}

#[test]
fn a_roll_waits_for_the_flush_of_the_old_file() {
    let mut world = World::open(SETTINGS);
    world.write(100);
    world.settle();
    world.write(100);
    let sync = LogEffect::Sync { file: FileId(0) };
    assert_eq!(world.steps(), [&sync]);
    world.writer.roll();
    world.ask_room();
    world.encode(100);
    world.append();
    // The flush under way is of the old file: nobody else flushes it, and the next flush begins
    // there.
    assert_eq!(world.steps(), [&sync]);
    let at = world.under_way.iter().position(|effect| *effect == sync);
    world.complete(at.expect("it is under way"), true);
    assert_eq!(world.durable, 2);
    world.flush();
    let (file, from) = (FileId(1), format!("{SPARE_PREFIX}1"));
    // All of the old file is durable: the new one gets its name.
    assert_eq!(world.steps(), [&LogEffect::Rename { file, from, to: "log.3".into() }]);
}

/// A flush has begun that covers the end of one file and the first entry of the next.
fn flushing_two_files() -> World {
    let mut world = World::open(SETTINGS);
    world.write(100);
    world.settle();
    world.ask_room();
    world.encode(100);
    world.append();
    world.writer.roll();
    world.ask_room();
    world.encode(100);
    world.append();
    world.flush();
    world
}

#[test]
fn the_steps_of_a_flush_over_two_files() {
    let mut world = flushing_two_files();
    let mut steps = Vec::new();
    while !world.under_way.is_empty() && world.writer.is_flushing() {
        let at = world
            .under_way
            .iter()
            .position(|it| !matches!(it, LogEffect::Make { .. } | LogEffect::Trim { .. }));
        let at = at.expect("the flush waits for something");
        steps
            .push(format!("{:?}", world.under_way[at]).split([' ', '{']).next().map(str::to_owned));
        world.complete(at, true);
    }
    let steps: Vec<_> = steps.iter().flatten().collect();
    assert_eq!(steps, ["Sync", "Rename", "SyncDir", "Sync"]);
    assert_eq!((world.durable, world.names()), (3, vec!["log.1", "log.3"]));
}

#[test]
fn a_retired_files_error_fails_the_flush() {
    let mut world = flushing_two_files();
    let at = world.under_way.iter().position(|it| *it == LogEffect::Sync { file: FileId(0) });
    world.complete(at.expect("the old file is flushed first"), false);
    assert!(world.failed && world.durable == 1, "{}", world.durable);
}

#[test]
fn a_full_disk_is_said_once_and_a_smaller_file_is_tried() {
    let mut world = World::new(SETTINGS);
    world.complete(0, true);
    // 16 KiB, then 4, then none for a second.
    let mut tried = Vec::new();
    for _ in 0..4 {
        let Some(LogEffect::Make { bytes, after_ms, .. }) = world.under_way.front() else {
            panic!()
        };
        tried.push((*bytes, *after_ms));
        world.complete(0, false);
    }
    assert_eq!(tried, [(16384, 0), (4096, 0), (16384, 1000), (4096, 0)]);
    assert!(world.writer.is_full());
    world.ask_room();
    let beside = (FILE_HEADER_BYTES + TAIL_ROOM_BYTES) as u64;
    assert_eq!(world.room, 4096 - beside, "the first file is all there is");
    world.complete(0, true);
    assert!(!world.writer.is_full());
}

/// Room that is asked for again must not take away what was promised and encoded.
#[test]
fn room_that_is_asked_for_again_keeps_what_is_pending() {
    let mut world = World::new(SETTINGS);
    world.complete(0, true);
    world.ask_room();
    // The current file has nearly all its room, there is no other: then a small one is ready.
    world.encode(40);
    world.append();
    world.ask_room();
    while world.room > 1100 {
        world.encode(500);
    }
    let pending = world.pending_bytes();
    world.complete(0, false);
    world.complete(0, true);
    world.writer.roll();
    world.ask_room();
    assert!(world.writer.room(pending) >= pending);
    world.append();
    world.flush();
    world.settle();
    assert_eq!(world.durable, world.last);
}

#[test]
fn entries_of_one_append_are_split_over_files_at_entries() {
    let mut world = World::open(SETTINGS);
    world.ask_room();
    while world.room > 1013 {
        world.encode(1000);
    }
    world.append();
    world.flush();
    world.settle();
    assert!(world.names().len() > 1, "{:?}", world.names());
    assert_eq!(world.survivors(), (1..=world.last).collect::<Vec<_>>());
}

/// The durable part of the last block is written again as it was.
#[test]
fn direct_writes_are_whole_blocks_and_begin_with_the_last_one() {
    let mut world = World::open(DIRECT);
    let mut writes = Vec::new();
    for _ in 0..60 {
        world.write(200);
        while world.writer.is_flushing() {
            let is_step =
                |it: &LogEffect| !matches!(it, LogEffect::Make { .. } | LogEffect::Trim { .. });
            let at = world.under_way.iter().position(is_step).expect("the flush waits for it");
            if let LogEffect::Write { file, offset, blocks } = &world.under_way[at] {
                let model = &world.files[file];
                let end = Scanner::new(&model.synced).end().expect("memory is readable").offset();
                let durable = &model.synced[*offset as usize..end.max(*offset) as usize];
                assert!(blocks.starts_with(durable), "what is durable stays as it is");
                writes.push((*file, *offset, blocks.len()));
            }
            world.complete(at, true);
        }
    }
    assert_eq!(writes.first(), Some(&(FileId(0), 0, 4096)));
    assert!(writes.contains(&(FileId(1), 0, 8192)), "the write that goes beyond the first block");
    assert!(writes.iter().any(|(file, ..)| *file == FileId(1)) && world.durable == 60);
    world.settle();
    assert_eq!(world.survivors(), (1..=60).collect::<Vec<_>>());
}

#[test]
fn more_than_the_room_is_refused_whole() {
    let mut world = World::open(SETTINGS);
    let many: Vec<u8> = (1..100).flat_map(|zxid| entry(zxid, 1000)).collect();
    assert_eq!(world.writer.append(many.into(), Zxid(99)), Err(NoRoom));
    world.write(100);
    world.settle();
    assert_eq!((world.durable, world.survivors()), (1, vec![1]));
}

/// A log that has ended with one entry in it.
fn ended_log() -> World {
    let mut world = World::open(SETTINGS);
    world.write(100);
    world.settle();
    world.writer.close();
    world.run_effects();
    world.settle();
    world
}

#[test]
fn the_end_cuts_the_current_file_and_removes_the_spares() {
    let world = ended_log();
    let (names, files) = (world.names(), world.files.len());
    assert_eq!((names, files), (vec!["log.1"], 1));
    let bytes = FILE_HEADER_BYTES + ENTRY_HEADER_BYTES + 101 + TAIL_MARK_BYTES;
    assert_eq!(world.files[&FileId(0)].stored.len(), bytes);
}

/// The next file is made at leisure while the current one has room, and is needed when it has not,
/// or when a roll is wanted.
#[test]
fn the_next_file_is_needed_when_the_current_one_is_half_full() {
    let mut world = World::new(DIRECT);
    assert_eq!(world.writer.next_file(), NextFile::Needed, "there is none yet");
    world.complete(0, true);
    assert_eq!(world.writer.next_file(), NextFile::Ready);
    world.ask_room();
    world.write(500);
    assert_eq!(world.writer.next_file(), NextFile::Wanted, "the one that was ready is in use");
    world.writer.roll();
    assert_eq!(world.writer.next_file(), NextFile::Needed, "a roll is wanted");
}
