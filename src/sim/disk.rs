//! A disk that loses whatever was not flushed: file contents by the sector, directory entries one
//! by one.
//!
//! The bytes that programs see (the page cache) and those that survive a power cut are kept apart.
//! A cut keeps, of every sector written since its last flush, the old or the new content, of the
//! directory's changes any subset, of the sizes either: an adversary's choice, drawn from the seed.
//! A killed process loses nothing that it wrote. It knows names in one directory, bytes and
//! flushes; which files mean what is the store's business.

use std::collections::{BTreeMap, BTreeSet};

use super::rng::Rng;

/// The disk's reason to refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DiskError {
    /// No space for the bytes.
    Full,
    /// The device failed (EIO); the pages are clean afterwards, whatever became of them.
    Failed,
    /// The machine stopped before the operation; nothing may be done until the next start.
    Stopped,
}

/// A flush under way: what it covers was fixed when it began.
#[derive(Debug)]
pub(crate) struct Flush {
    file: usize,
    sectors: Vec<(usize, Vec<u8>)>,
    len: usize,
}

/// A directory flush under way.
#[derive(Debug)]
pub(crate) struct DirFlush {
    upto: u64,
}

/// Which part of the unflushed sectors survives a power cut.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Survivors {
    None,
    All,
    /// Those below a random sector, or those above it.
    Prefix,
    Suffix,
    Random,
}

impl Survivors {
    /// Any of them.
    pub(crate) fn any(rng: &mut Rng) -> Self {
        *rng.pick(&[Self::None, Self::All, Self::Prefix, Self::Suffix, Self::Random])
    }
}

/// The one disk of the one server.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    files: Vec<File>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// Directory changes that no flush has covered, in order, numbered.
    changes: Vec<(u64, Change)>,
    next_change: u64,
    capacity: usize,
    /// Operations left until the machine stops; none for never.
    fuse: Option<u64>,
}

#[derive(Debug, Default)]
struct File {
    content: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
}

#[derive(Clone, Debug)]
enum Change {
    Link(String, usize),
    Unlink(String),
    Rename(String, String, usize),
}

impl Disk {
    /// An empty disk of `capacity` bytes.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, ..Self::default() }
    }

    /// Stops the machine after `operations` more operations; `None` takes the fuse out.
    pub(crate) fn set_fuse(&mut self, operations: Option<u64>) {
        self.fuse = operations;
    }

    /// Changes the size of the disk: a smaller one is full.
    pub(crate) fn set_capacity(&mut self, capacity: usize) {
        self.capacity = capacity;
    }

    /// Bytes that can still be allocated.
    pub(crate) fn room(&self) -> usize {
        self.capacity.saturating_sub(self.used())
    }

    /// Bytes that all files take up.
    pub(crate) fn used(&self) -> usize {
        self.names.values().map(|file| self.files[*file].content.len()).sum()
    }

    /// The size of the disk.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// The names in the directory, sorted.
    pub(crate) fn list(&self) -> Vec<String> {
        self.names.keys().cloned().collect()
    }

    /// A file's bytes as a running program reads them.
    pub(crate) fn read(&self, name: &str) -> Option<&[u8]> {
        self.names.get(name).map(|file| self.files[*file].content.as_slice())
    }

    /// Makes an empty file, in place of one of the same name.
    pub(crate) fn create(&mut self, name: &str) -> Result<(), DiskError> {
        self.step()?;
        let file = self.files.len();
        self.files.push(File::default());
        self.names.insert(name.to_owned(), file);
        self.change(Change::Link(name.to_owned(), file));
        Ok(())
    }

    /// Writes `bytes` at `offset` of an existing file, growing it where needed.
    pub(crate) fn write(
        &mut self,
        name: &str,
        offset: usize,
        bytes: &[u8],
    ) -> Result<(), DiskError> {
        self.step()?;
        let room = self.room();
        let file = self.open(name)?;
        let end = offset + bytes.len();
        if end > file.content.len() + room {
            return Err(DiskError::Full);
        }
        if end > file.content.len() {
            file.content.resize(end, 0);
        }
        file.content[offset..end].copy_from_slice(bytes);
        file.dirty.extend(offset / SECTOR..end.div_ceil(SECTOR));
        Ok(())
    }

    /// Cuts a file, or grows it by zeros.
    pub(crate) fn truncate(&mut self, name: &str, len: usize) -> Result<(), DiskError> {
        self.step()?;
        let room = self.room();
        let file = self.open(name)?;
        if len > file.content.len() + room {
            return Err(DiskError::Full);
        }
        let old = file.content.len();
        file.content.resize(len, 0);
        file.dirty.extend(old.min(len) / SECTOR..old.max(len).div_ceil(SECTOR));
        Ok(())
    }

    /// Gives a file another name, in place of what had it.
    pub(crate) fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        self.step()?;
        let file = self.names.remove(from).ok_or(DiskError::Failed)?;
        self.names.insert(to.to_owned(), file);
        self.change(Change::Rename(from.to_owned(), to.to_owned(), file));
        Ok(())
    }

    /// Removes a name.
    pub(crate) fn unlink(&mut self, name: &str) -> Result<(), DiskError> {
        self.step()?;
        self.names.remove(name).ok_or(DiskError::Failed)?;
        self.change(Change::Unlink(name.to_owned()));
        Ok(())
    }

    /// Begins to flush a file: what is written from now on is not part of it.
    pub(crate) fn begin_flush(&mut self, name: &str) -> Result<Flush, DiskError> {
        self.step()?;
        let index = *self.names.get(name).ok_or(DiskError::Failed)?;
        let file = &mut self.files[index];
        let dirty = std::mem::take(&mut file.dirty);
        let sectors = dirty
            .into_iter()
            .map(|sector| (sector, sector_of(&file.content, sector).to_vec()))
            .collect();
        Ok(Flush { file: index, sectors, len: file.content.len() })
    }

    /// The flush has come back well: what it covers survives.
    pub(crate) fn end_flush(&mut self, flush: Flush) -> Result<(), DiskError> {
        self.step()?;
        let file = &mut self.files[flush.file];
        file.durable.resize(flush.len, 0);
        for (sector, bytes) in flush.sectors {
            put_sector(&mut file.durable, sector, &bytes);
        }
        Ok(())
    }

    /// The flush has failed: its pages count as clean, and each is on the disk or is not.
    pub(crate) fn fail_flush(&mut self, flush: Flush, rng: &mut Rng) {
        let file = &mut self.files[flush.file];
        for (sector, bytes) in flush.sectors {
            if rng.chance(500) && file.durable.len() > sector * SECTOR {
                put_sector(&mut file.durable, sector, &bytes);
            }
        }
    }

    /// Takes back a flush that did not come to an end: its pages are dirty again.
    pub(crate) fn abandon_flush(&mut self, flush: Flush) {
        self.files[flush.file].dirty.extend(flush.sectors.into_iter().map(|(sector, _)| sector));
    }

    /// Begins to flush the directory.
    pub(crate) fn begin_dir_flush(&mut self) -> Result<DirFlush, DiskError> {
        self.step()?;
        Ok(DirFlush { upto: self.next_change })
    }

    /// The directory's entries as they were at the flush's begin survive.
    pub(crate) fn end_dir_flush(&mut self, flush: &DirFlush) -> Result<(), DiskError> {
        self.step()?;
        let changes = std::mem::take(&mut self.changes);
        for (number, change) in changes {
            if number < flush.upto {
                apply(&mut self.durable_names, &change);
            } else {
                self.changes.push((number, change));
            }
        }
        Ok(())
    }

    /// Flushes a file at once.
    pub(crate) fn flush(&mut self, name: &str) -> Result<(), DiskError> {
        let flush = self.begin_flush(name)?;
        self.end_flush(flush)
    }

    /// Flushes the directory at once.
    pub(crate) fn flush_dir(&mut self) -> Result<(), DiskError> {
        let flush = self.begin_dir_flush()?;
        self.end_dir_flush(&flush)
    }

    /// One byte of a file changes by itself, on the device and in what is read.
    pub(crate) fn damage(&mut self, name: &str, offset: usize, bits: u8) {
        let Some(file) = self.names.get(name).map(|file| &mut self.files[*file]) else { return };
        for bytes in [&mut file.content, &mut file.durable] {
            if let Some(byte) = bytes.get_mut(offset) {
                *byte ^= bits;
            }
        }
    }

    /// The power goes: what is left is what was flushed, and of the rest what the adversary leaves.
    pub(crate) fn cut_power(&mut self, survivors: Survivors, rng: &mut Rng) {
        for (_, change) in std::mem::take(&mut self.changes) {
            if survives(survivors, rng) {
                apply(&mut self.durable_names, &change);
            }
        }
        self.names = self.durable_names.clone();
        for file in &mut self.files {
            file.cut_power(survivors, rng);
        }
    }

    fn open(&mut self, name: &str) -> Result<&mut File, DiskError> {
        let index = *self.names.get(name).ok_or(DiskError::Failed)?;
        Ok(&mut self.files[index])
    }

    fn change(&mut self, change: Change) {
        self.changes.push((self.next_change, change));
        self.next_change += 1;
    }

    fn step(&mut self) -> Result<(), DiskError> {
        if self.fuse == Some(0) {
            return Err(DiskError::Stopped);
        }
        self.fuse = self.fuse.map(|left| left - 1);
        Ok(())
    }
}

impl File {
    fn cut_power(&mut self, survivors: Survivors, rng: &mut Rng) {
        let dirty: Vec<usize> = std::mem::take(&mut self.dirty).into_iter().collect();
        if self.content.len() != self.durable.len() && survives(survivors, rng) {
            self.durable.resize(self.content.len(), 0);
        }
        let edge = rng.index(dirty.len() + 1);
        for (place, sector) in dirty.into_iter().enumerate() {
            let stays = match survivors {
                Survivors::None => false,
                Survivors::All => true,
                Survivors::Prefix => place < edge,
                Survivors::Suffix => place >= edge,
                Survivors::Random => rng.chance(500),
            };
            if stays {
                put_sector(&mut self.durable, sector, sector_of(&self.content, sector));
            }
        }
        self.content = self.durable.clone();
    }
}

fn survives(survivors: Survivors, rng: &mut Rng) -> bool {
    match survivors {
        Survivors::None => false,
        Survivors::All => true,
        Survivors::Prefix | Survivors::Suffix | Survivors::Random => rng.chance(500),
    }
}

fn apply(names: &mut BTreeMap<String, usize>, change: &Change) {
    match change {
        Change::Link(name, file) => {
            names.insert(name.clone(), *file);
        }
        Change::Unlink(name) => {
            names.remove(name);
        }
        Change::Rename(from, to, file) => {
            names.remove(from);
            names.insert(to.clone(), *file);
        }
    }
}

fn sector_of(content: &[u8], sector: usize) -> &[u8] {
    let start = (sector * SECTOR).min(content.len());
    &content[start..(start + SECTOR).min(content.len())]
}

/// Overwrites a sector, as far as the file reaches.
fn put_sector(durable: &mut [u8], sector: usize, bytes: &[u8]) {
    let start = (sector * SECTOR).min(durable.len());
    let end = (start + bytes.len()).min(durable.len());
    durable[start..end].copy_from_slice(&bytes[..end - start]);
}

/// The unit that the device writes whole or not at all.
const SECTOR: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> Disk {
        let mut disk = Disk::new(1 << 20);
        disk.create("a").unwrap();
        disk.write("a", 0, &[1; 2000]).unwrap();
        disk
    }

    #[test]
    fn what_was_not_flushed_may_go() {
        let mut disk = written();
        disk.cut_power(Survivors::None, &mut Rng::new(1));
        assert_eq!(disk.read("a"), None, "neither content nor entry was flushed");
        let mut disk = written();
        disk.flush("a").unwrap();
        disk.cut_power(Survivors::None, &mut Rng::new(1));
        assert_eq!(disk.read("a"), None, "the entry was not flushed");
        let mut disk = written();
        disk.flush_dir().unwrap();
        disk.cut_power(Survivors::None, &mut Rng::new(1));
        assert_eq!(disk.read("a"), Some(&[][..]));
        let mut disk = written();
        disk.flush("a").unwrap();
        disk.flush_dir().unwrap();
        disk.write("a", 0, &[2; 4]).unwrap();
        disk.cut_power(Survivors::None, &mut Rng::new(1));
        assert_eq!(disk.read("a"), Some(&[1; 2000][..]));
    }

    #[test]
    fn a_flush_covers_what_was_written_before_it() {
        let mut disk = written();
        disk.flush_dir().unwrap();
        let flush = disk.begin_flush("a").unwrap();
        disk.write("a", 0, &[2; 600]).unwrap();
        disk.end_flush(flush).unwrap();
        disk.cut_power(Survivors::None, &mut Rng::new(1));
        assert_eq!(disk.read("a"), Some(&[1; 2000][..]));
    }

    #[test]
    fn a_torn_write_is_torn_at_sectors() {
        let mut seen = BTreeSet::new();
        for seed in 0..50 {
            let mut disk = written();
            disk.flush("a").unwrap();
            disk.flush_dir().unwrap();
            disk.write("a", 0, &[2; 1024]).unwrap();
            disk.cut_power(Survivors::Random, &mut Rng::new(seed));
            let content = disk.read("a").unwrap();
            assert!(
                [0, 512]
                    .iter()
                    .all(|at| content[*at..at + 512].iter().all(|byte| *byte == content[*at]))
            );
            seen.insert((content[0], content[512]));
        }
        assert_eq!(seen.len(), 4);
    }

    #[test]
    fn after_a_failed_flush_the_next_one_lies() {
        let mut disk = written();
        disk.flush("a").unwrap();
        disk.flush_dir().unwrap();
        disk.write("a", 0, &[2; 2000]).unwrap();
        let flush = disk.begin_flush("a").unwrap();
        disk.fail_flush(flush, &mut Rng::new(3));
        disk.flush("a").unwrap();
        disk.cut_power(Survivors::All, &mut Rng::new(3));
        assert!(
            disk.read("a").unwrap().contains(&1),
            "pages that were clean were not written again"
        );
    }

    #[test]
    fn the_fuse_and_the_capacity_stop_writes() {
        let mut disk = Disk::new(1000);
        disk.create("a").unwrap();
        assert_eq!(disk.write("a", 0, &[0; 1001]), Err(DiskError::Full));
        disk.set_fuse(Some(1));
        assert_eq!(disk.write("a", 0, &[0; 1000]), Ok(()));
        assert_eq!(disk.write("a", 0, &[0; 1]), Err(DiskError::Stopped));
    }
}
