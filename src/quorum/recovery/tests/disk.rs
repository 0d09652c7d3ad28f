//! Files in memory, in one directory.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;

use super::super::{Dir, Settling, Storage};
use crate::pieces::Source;

/// Names and contents.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Files {
    files: BTreeMap<String, Vec<u8>>,
    /// The other directory, if there are two; it then holds the snapshots.
    pub(super) snapshots: Option<BTreeMap<String, Vec<u8>>>,
    /// Files that were written anew.
    pub(super) settled: Vec<(String, Settling)>,
    /// A file that cannot be read from this offset on.
    pub(super) bad: Option<(String, usize)>,
    /// The start is to be given up.
    pub(super) stopping: bool,
}

/// A file, as far as it can be read.
pub(in super::super) struct Readable {
    bytes: Vec<u8>,
    bad: usize,
}

impl Source for Readable {
    fn bytes(&self) -> u64 {
        self.bytes.bytes()
    }

    fn read_at(&self, offset: u64, piece: &mut [u8]) -> io::Result<()> {
        if offset as usize + piece.len() > self.bad {
            return Err(io::Error::from_raw_os_error(5));
        }
        self.bytes.read_at(offset, piece)
    }
}

impl Files {
    pub(super) fn put(&mut self, name: &str, bytes: Vec<u8>) {
        self.files.insert(name.into(), bytes);
    }

    pub(super) fn take(&mut self, name: &str) -> Vec<u8> {
        self.files.remove(name).unwrap()
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.files.keys().cloned().collect()
    }

    pub(super) fn get(&self, name: &str) -> &Vec<u8> {
        &self.files[name]
    }

    pub(super) fn change(&mut self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        change(self.files.get_mut(name).unwrap());
    }

    fn dir(&mut self, dir: Dir) -> &mut BTreeMap<String, Vec<u8>> {
        match (dir, &mut self.snapshots) {
            (Dir::Snapshots, Some(snapshots)) => snapshots,
            _ => &mut self.files,
        }
    }
}

impl Storage for Files {
    type File = Readable;
    type Error = Infallible;

    fn is_one_dir(&self) -> bool {
        self.snapshots.is_none()
    }

    fn list(&mut self, dir: Dir) -> Result<Vec<String>, Infallible> {
        Ok(self.dir(dir).keys().cloned().collect())
    }

    fn open(&mut self, dir: Dir, name: &str) -> Result<Readable, Infallible> {
        let bad = self
            .bad
            .as_ref()
            .filter(|(bad, _)| bad == name)
            .map_or(usize::MAX, |(_, offset)| *offset);
        Ok(Readable { bytes: self.dir(dir)[name].clone(), bad })
    }

    fn is_stopping(&self) -> bool {
        self.stopping
    }

    fn settle(&mut self, dir: Dir, name: &str, settling: &Settling) -> Result<(), Infallible> {
        let file = self.dir(dir).get_mut(name).unwrap();
        let end = settling.anew.end as usize;
        if settling.cut {
            file.truncate(end);
            file.extend(&settling.mark);
        }
        self.settled.push((name.to_owned(), settling.clone()));
        Ok(())
    }

    fn copy_front(
        &mut self,
        dir: Dir,
        name: &str,
        to: &str,
        bytes: u64,
        mark: &[u8],
    ) -> Result<(), Infallible> {
        let mut copy = self.dir(dir)[name][..bytes as usize].to_vec();
        copy.extend(mark);
        self.dir(dir).insert(to.to_owned(), copy);
        Ok(())
    }

    fn rename(&mut self, dir: Dir, from: &str, to: &str) -> Result<(), Infallible> {
        let file = self.dir(dir).remove(from).unwrap();
        self.dir(dir).insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&mut self, dir: Dir, name: &str) -> Result<(), Infallible> {
        self.dir(dir).remove(name).unwrap();
        Ok(())
    }

    fn sync_dir(&mut self, _: Dir) -> Result<(), Infallible> {
        Ok(())
    }
}
