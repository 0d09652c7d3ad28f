//! Crash images: whatever subset of what was not flushed reaches the disk, nothing acknowledged is lost and the start succeeds.
//!
//! The disk keeps flushed bytes and synced names apart from the rest. An image takes, of each sector, the content of any
//! moment since the last flush, of the names any subset of the changes since the directory was synced. The
//! scenarios do file by file what `runtime/log`, `runtime/snapshotter` and the purge do, in their order.

use std::collections::BTreeMap;

use super::*;
use crate::txnlog::SECTOR_BYTES;

/// Bytes of a file in these scenarios.
const SEGMENT_BYTES: usize = 4096;

#[derive(Clone, Default)]
struct File {
    durable: Vec<u8>,
    /// What was done since the last flush.
    pending: Vec<Write>,
}

#[derive(Clone)]
enum Write {
    Bytes(usize, Vec<u8>),
    Truncate(usize),
}

#[derive(Clone)]
enum Naming {
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
struct Disk {
    files: Vec<File>,
    durable_names: BTreeMap<String, usize>,
    pending_names: Vec<Naming>,
}

impl Disk {
    fn create(&mut self, name: &str) -> usize {
        self.files.push(File::default());
        self.name(Naming::Put(name.into(), self.files.len() - 1));
        self.files.len() - 1
    }

    fn write(&mut self, file: usize, at: usize, bytes: &[u8]) {
        self.files[file].pending.push(Write::Bytes(at, bytes.to_vec()));
    }

    fn sync(&mut self, file: usize) {
        let File { durable, pending } = &mut self.files[file];
        pending.drain(..).for_each(|write| File::apply(durable, &write));
    }

    fn name(&mut self, naming: Naming) {
        self.pending_names.push(naming);
    }

    fn sync_dir(&mut self) {
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

    fn image(&self, random: &mut Random) -> Files {
        let mut names = self.durable_names.clone();
        for naming in &self.pending_names {
            if random.below(2) == 0 {
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

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

/// A server that writes, and what it has promised.
struct Server {
    disk: Disk,
    writing: Writing,
    /// The file that is appended to: its number, where it ends, up to where it is flushed.
    log: Option<(usize, usize, usize)>,
    acknowledged: Zxid,
    /// The digest of the tree after each transaction.
    digests: BTreeMap<Zxid, i64>,
    random: Random,
    spares: usize,
    images: usize,
}

impl Server {
    fn new(seed: u64) -> Self {
        let writing = Writing::new();
        let digests = [(Zxid::ZERO, writing.tree.digest())].into();
        let mut server = Self {
            disk: Disk::default(),
            writing,
            log: None,
            acknowledged: Zxid::ZERO,
            digests,
            random: Random(seed),
            spares: 0,
            images: 0,
        };
        server.snapshot();
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
            assert!(last >= self.acknowledged, "{last} is all that is left of {}", self.acknowledged);
            assert_eq!(Some(&recovered.tree.digest()), self.digests.get(&last), "the tree at {last}");
            assert_eq!(recovered.report.digest_mismatches, 0);
            let again = recover(&mut image, &settings()).expect("what recovery leaves can be started from");
            assert_eq!((again.last_zxid, again.report.cut), (last, None));
        }
    }

    fn append(&mut self, entries: usize) {
        for _ in 0..entries {
            let entry = self.writing.next();
            self.digests.insert(self.writing.tree.last_zxid(), self.writing.tree.digest());
            if self.log.is_none_or(|(_, end, _)| end + entry.len() > SEGMENT_BYTES) {
                self.roll();
            }
            let (file, end, durable) = self.log.unwrap();
            self.disk.write(file, end, &entry);
            let end = end + entry.len();
            if let Some(mark) =
                tail_mark(NONCE, end as u64, durable as u64).filter(|mark| end + mark.len() <= SEGMENT_BYTES)
            {
                self.disk.write(file, end, &mark);
            }
            self.log = Some((file, end, durable));
            self.crash();
        }
    }

    fn flush(&mut self) {
        let Some((file, end, _)) = self.log else { return };
        self.disk.sync(file);
        self.disk.sync_dir();
        self.log = Some((file, end, end));
        self.acknowledged = self.writing.tree.last_zxid();
        self.crash();
    }

    /// The next entry, which the tree has already, goes into a new file.
    fn roll(&mut self) {
        let spare = format!("ringkeeper.spare.{}", self.spares);
        self.spares += 1;
        let fresh = self.disk.create(&spare);
        self.disk.write(fresh, 0, &[0; SEGMENT_BYTES]);
        self.disk.sync(fresh);
        self.disk.write(fresh, 0, &file_header(NONCE));
        self.disk.sync(fresh);
        let retired = self.log.replace((fresh, 16, 16));
        if let Some((file, ..)) = retired {
            self.crash();
            self.disk.sync(file);
        }
        self.disk.name(Naming::Rename(spare, file_name(self.writing.tree.last_zxid())));
        self.crash();
        self.disk.sync_dir();
        self.crash();
        if let Some((file, end, _)) = retired {
            self.disk.files[file].pending.push(Write::Truncate(end));
            let mark = tail_mark(NONCE, end as u64, end as u64);
            mark.into_iter().for_each(|mark| self.disk.write(file, end, &mark));
            self.crash();
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
        let (logs, others): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| name.starts_with("log."));
        let snapshots: Vec<_> = others.into_iter().map(|name| SnapshotFile { name, verified: true }).collect();
        for (_, name) in superseded(&snapshots, &logs, 2) {
            self.disk.name(Naming::Remove(name));
            self.crash();
        }
        self.disk.sync_dir();
        self.crash();
    }
}

fn run(seed: u64) -> usize {
    let mut server = Server::new(seed);
    for _ in 0..30 {
        match server.random.below(8) {
            0..=2 => {
                let entries = 1 + server.random.below(9);
                server.append(entries);
            }
            3..=5 => server.flush(),
            6 => server.snapshot(),
            _ => server.purge(),
        }
    }
    server.images
}

#[test]
fn nothing_acknowledged_is_lost_in_any_crash() {
    let images: usize = (0..40).map(run).sum();
    assert!(images > 5000, "only {images} images were looked at");
}

/// The model would see an order that loses data: a log that is acknowledged before its name is durable.
#[test]
fn a_lost_directory_entry_is_seen() {
    let lost = (0..50).any(|seed| {
        let mut server = Server::new(seed);
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
