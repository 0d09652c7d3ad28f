//! Crash images: whatever subset of what was not flushed reaches the disk, nothing acknowledged is
//! lost and the start succeeds.
//!
//! The disk keeps flushed bytes and synced names apart from the rest. An image takes, of each
//! sector, the content of any moment since the last flush, of the names any subset of the changes
//! since the directory was synced. The log is written by the log machine, both with stores and with
//! direct writes; snapshots and the purge are done as `runtime/snapshotter` and the purge do them,
//! in their order.

use std::collections::BTreeMap;

use super::*;
use crate::txnlog::{
    Appending, BLOCK_BYTES, FileId, LogDone, LogEffect, LogEvent, LogWriter, PendingFlush,
    SECTOR_BYTES, WriterSettings,
};

/// The log in these scenarios: files of one block, which few entries fill.
const SETTINGS: WriterSettings = WriterSettings {
    segment_bytes: BLOCK_BYTES,
    first_segment_bytes: BLOCK_BYTES,
    segment_bytes_step: BLOCK_BYTES,
    record_bytes_max: 1000,
    force_sync: true,
    appending: Appending::Mapped,
};

#[derive(Clone, Default)]
struct File {
    durable: Vec<u8>,
    /// The operations since the last flush.
    pending: Vec<Write>,
}

#[derive(Clone)]
enum Write {
    Bytes(usize, Vec<u8>),
    Truncate(usize),
}

#[derive(Clone)]
pub(super) enum Naming {
    Put(String, usize),
    Rename(String, String),
    Remove(String),
}

impl File {
    fn apply(bytes: &mut Vec<u8>, write: &Write) {
        match write {
            Write::Truncate(len) => bytes.truncate(*len),
            Write::Bytes(at, data) => {
                bytes.resize(bytes.len().max(at + data.len()), 0);
                bytes[*at..at + data.len()].copy_from_slice(data);
            }
        }
    }

    /// One content that a crash may leave: each sector as of some moment, the length as of another.
    fn image(&self, random: &mut Random) -> Vec<u8> {
        let mut moments = vec![self.durable.clone()];
        for write in &self.pending {
            let mut next = moments[moments.len() - 1].clone();
            Self::apply(&mut next, write);
            moments.push(next);
        }
        let len = moments[random.below(moments.len())].len();
        let mut image = vec![0; len];
        for (index, sector) in image.chunks_mut(SECTOR_BYTES).enumerate() {
            let from = &moments[random.below(moments.len())];
            let from = from.get(index * SECTOR_BYTES..).unwrap_or_default();
            let len = from.len().min(sector.len());
            sector[..len].copy_from_slice(&from[..len]);
        }
        image
    }
}

#[derive(Clone, Default)]
pub(super) struct Disk {
    files: Vec<File>,
    durable_names: BTreeMap<String, usize>,
    pending_names: Vec<Naming>,
}

impl Disk {
    pub(super) fn create(&mut self, name: &str) -> usize {
        self.files.push(File::default());
        self.name(Naming::Put(name.into(), self.files.len() - 1));
        self.files.len() - 1
    }

    pub(super) fn write(&mut self, file: usize, at: usize, bytes: &[u8]) {
        self.files[file].pending.push(Write::Bytes(at, bytes.to_vec()));
    }

    pub(super) fn sync(&mut self, file: usize) {
        let File { durable, pending } = &mut self.files[file];
        pending.drain(..).for_each(|write| File::apply(durable, &write));
    }

    pub(super) fn name(&mut self, naming: Naming) {
        self.pending_names.push(naming);
    }

    pub(super) fn sync_dir(&mut self) {
        for naming in std::mem::take(&mut self.pending_names) {
            Self::rename(&mut self.durable_names, naming);
        }
    }

    fn rename(names: &mut BTreeMap<String, usize>, naming: Naming) {
        match naming {
            Naming::Put(name, file) => drop(names.insert(name, file)),
            Naming::Remove(name) => drop(names.remove(&name)),
            Naming::Rename(from, to) => {
                if let Some(file) = names.remove(&from) {
                    names.insert(to, file);
                }
            }
        }
    }

    /// The names as they are in memory.
    pub(super) fn names(&self) -> BTreeMap<String, usize> {
        let mut names = self.durable_names.clone();
        self.pending_names.iter().for_each(|naming| Self::rename(&mut names, naming.clone()));
        names
    }

    /// The content of a file as it is in memory.
    pub(super) fn content(&self, name: &str) -> Vec<u8> {
        let file = &self.files[self.names()[name]];
        let mut bytes = file.durable.clone();
        file.pending.iter().for_each(|write| File::apply(&mut bytes, write));
        bytes
    }

    pub(super) fn image(&self, random: &mut Random) -> Files {
        let reaching = random.below(1 << self.pending_names.len());
        self.image_with(reaching, random)
    }

    /// One image for each subset of the names that were not durable yet.
    pub(super) fn images(&self, random: &mut Random) -> Vec<Files> {
        let subsets = 0..1 << self.pending_names.len();
        subsets.map(|reaching| self.image_with(reaching, random)).collect()
    }

    /// Of the changes of names those reach the disk whose bit is set.
    fn image_with(&self, reaching: usize, random: &mut Random) -> Files {
        let mut names = self.durable_names.clone();
        for (nth, naming) in self.pending_names.iter().enumerate() {
            if reaching >> nth & 1 == 1 {
                Self::rename(&mut names, naming.clone());
            }
        }
        let mut files = Files::default();
        for (name, file) in names {
            files.put(&name, self.files[file].image(random));
        }
        files
    }
}

pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

/// A server that writes, and what it has promised.
struct Server {
    disk: Disk,
    writing: Writing,
    log: LogWriter,
    /// The files of the log, by their numbers on the disk.
    files: BTreeMap<FileId, usize>,
    acknowledged: Zxid,
    /// The digest of the tree after each transaction.
    digests: BTreeMap<Zxid, i64>,
    random: Random,
    images: usize,
}

impl Server {
    fn new(seed: u64, appending: Appending) -> Self {
        let writing = Writing::new();
        let digests = [(Zxid::ZERO, writing.tree.digest())].into();
        let mut server = Self {
            disk: Disk::default(),
            writing,
            log: LogWriter::new(WriterSettings { appending, ..SETTINGS }, Zxid::ZERO, 0),
            files: BTreeMap::new(),
            acknowledged: Zxid::ZERO,
            digests,
            random: Random(seed),
            images: 0,
        };
        server.snapshot();
        server.run_effects();
        server
    }

    /// Recovers from a few images of this moment.
    fn crash(&mut self) {
        for _ in 0..3 {
            self.images += 1;
            let mut image = self.disk.image(&mut self.random);
            let before = image.clone();
            let recovered = match recover(&mut image, &settings()) {
                Ok(recovered) => recovered,
                Err(error) => panic!("image {} of {before:?}: {error}", self.images),
            };
            let last = recovered.last_zxid;
            assert!(
                last >= self.acknowledged,
                "{last} is all that is left of {}",
                self.acknowledged
            );
            assert_eq!(
                Some(&recovered.tree.digest()),
                self.digests.get(&last),
                "the tree at {last}"
            );
            assert_eq!(recovered.report.digest_mismatches, 0);
            let again =
                recover(&mut image, &settings()).expect("what recovery leaves can be started from");
            assert_eq!((again.last_zxid, again.report.cut), (last, None));
        }
    }

    fn append(&mut self, entries: usize) {
        for _ in 0..entries {
            let entry = self.writing.next();
            let last = self.writing.tree.last_zxid();
            self.digests.insert(last, self.writing.tree.digest());
            assert!(self.log.room(0) >= entry.len() as u64, "a file is ready");
            self.log.append(entry.into(), last).expect("it was promised to fit");
            self.run_effects();
        }
    }

    fn flush(&mut self) {
        self.log.flush(PendingFlush::of(self.writing.tree.last_zxid()));
        self.run_effects();
        while let Some(event) = self.log.poll_event() {
            if let LogEvent::Durable(durable) = event {
                self.acknowledged = durable.get();
            }
        }
        assert_eq!(self.acknowledged, self.writing.tree.last_zxid());
        self.crash();
    }

    /// Does what the log asks for, and crashes in between.
    fn run_effects(&mut self) {
        while let Some(effect) = self.log.poll() {
            if self.acknowledged > Zxid::ZERO {
                self.crash();
            }
            let done = match effect {
                LogEffect::Store { file, offset, bytes } => {
                    self.disk.write(self.files[&file], offset as usize, &bytes);
                    continue;
                }
                LogEffect::Make { file, name, bytes, .. } => {
                    let number = self.disk.create(&name);
                    self.disk.write(number, 0, &vec![0; bytes as usize]);
                    self.disk.sync(number);
                    self.disk.write(number, 0, &file_header(NONCE));
                    self.disk.sync(number);
                    self.files.insert(file, number);
                    LogDone::Made { file, nonce: Ok(NONCE) }
                }
                LogEffect::Sync { file } => {
                    self.disk.sync(self.files[&file]);
                    LogDone::Synced { file, result: Ok(()) }
                }
                LogEffect::Write { file, offset, blocks } => {
                    self.disk.write(self.files[&file], offset as usize, &blocks);
                    self.crash();
                    self.disk.sync(self.files[&file]);
                    LogDone::Written { file, blocks, result: Ok(()) }
                }
                LogEffect::Rename { file, from, to } => {
                    self.disk.name(Naming::Rename(from, to));
                    LogDone::Renamed { file, result: Ok(()) }
                }
                LogEffect::SyncDir => {
                    self.disk.sync_dir();
                    LogDone::DirSynced { result: Ok(()) }
                }
                LogEffect::Trim { file, bytes, mark } => {
                    let number = self.files[&file];
                    self.disk.files[number].pending.push(Write::Truncate(bytes as usize));
                    self.disk.write(number, bytes as usize, &mark);
                    LogDone::Trimmed { file }
                }
                LogEffect::Remove { file, name } => {
                    self.disk.name(Naming::Remove(name));
                    LogDone::Removed { file }
                }
            };
            self.log.on_done(done);
        }
    }

    fn snapshot(&mut self) {
        // A snapshot shows what is committed, which is what was flushed.
        if self.acknowledged < self.writing.tree.last_zxid() {
            return;
        }
        let (name, bytes) = self.writing.snapshot();
        let file = self.disk.create("ringkeeper.snapshot.tmp");
        self.disk.write(file, 0, &bytes);
        if self.acknowledged > Zxid::ZERO {
            self.crash();
        }
        self.disk.sync(file);
        self.disk.name(Naming::Rename("ringkeeper.snapshot.tmp".into(), name));
        self.disk.sync_dir();
        self.crash();
    }

    /// Removes what two whole snapshots have made superfluous.
    fn purge(&mut self) {
        let names: Vec<_> = self.disk.durable_names.keys().cloned().collect();
        let (logs, others): (Vec<_>, Vec<_>) =
            names.into_iter().partition(|name| name.starts_with("log."));
        let snapshots: Vec<_> =
            others.into_iter().map(|name| SnapshotFile { name, verified: true }).collect();
        for (_, name) in superseded(&snapshots, &logs, 2, self.acknowledged) {
            self.disk.name(Naming::Remove(name));
            self.crash();
        }
        self.disk.sync_dir();
        self.crash();
    }
}

fn run(seed: u64, appending: Appending) -> usize {
    let mut server = Server::new(seed, appending);
    for _ in 0..30 {
        match server.random.below(9) {
            0..=2 => {
                let entries = 1 + server.random.below(9);
                server.append(entries);
            }
            3..=5 => server.flush(),
            6 => server.snapshot(),
            7 => server.log.roll(),
            _ => server.purge(),
        }
    }
    server.images
}

#[test]
fn nothing_acknowledged_is_lost_in_any_crash_of_a_stored_log() {
    let images: usize = (0..27).map(|seed| run(seed, Appending::Mapped)).sum();
    assert!(images > 5000, "only {images} images were looked at");
}

#[test]
fn nothing_acknowledged_is_lost_in_any_crash_of_a_direct_log() {
    let images: usize = (0..46).map(|seed| run(seed, Appending::Direct)).sum();
    assert!(images > 5000, "only {images} images were looked at");
}

/// The model would see an order that loses data: a log that is acknowledged before its name is
/// durable.
#[test]
fn a_lost_directory_entry_is_seen() {
    let lost = (0..50).any(|seed| {
        let mut server = Server::new(seed, Appending::Mapped);
        let spare = server.disk.create("ringkeeper.spare");
        server.disk.sync_dir();
        let entry = server.writing.next();
        server.disk.write(spare, 0, &log_of(&[entry]));
        server.disk.sync(spare);
        server.disk.name(Naming::Rename("ringkeeper.spare".into(), "log.1".into()));
        let mut image = server.disk.image(&mut server.random);
        recover(&mut image, &settings()).unwrap().last_zxid < Zxid(1)
    });
    assert!(lost);
}
