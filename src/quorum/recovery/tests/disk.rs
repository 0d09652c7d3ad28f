//! Files in memory, in one directory.

use std::collections::BTreeMap;
use std::convert::Infallible;

use super::super::{Dir, Settling, Storage};

/// Names and contents.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Files {
    files: BTreeMap<String, Vec<u8>>,
    /// The other directory, if there are two; it then holds the snapshots.
    pub(super) snapshots: Option<BTreeMap<String, Vec<u8>>>,
    /// What was written anew.
    pub(super) settled: Vec<(String, Settling)>,
}

impl Files {
    pub(super) fn put(&mut self, name: &str, bytes: Vec<u8>) {
        self.files.insert(name.into(), bytes);
    }

    pub(super) fn take(&mut self, name: &str) -> Vec<u8> {
        self.files.remove(name).unwrap()
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
    type File = Vec<u8>;
    type Error = Infallible;

    fn is_one_dir(&self) -> bool {
        self.snapshots.is_none()
    }

    fn list(&mut self, dir: Dir) -> Result<Vec<String>, Infallible> {
        Ok(self.dir(dir).keys().cloned().collect())
    }

    fn open(&mut self, dir: Dir, name: &str) -> Result<Vec<u8>, Infallible> {
        Ok(self.dir(dir)[name].clone())
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

    fn remove(&mut self, dir: Dir, name: &str) -> Result<(), Infallible> {
        self.dir(dir).remove(name).unwrap();
        Ok(())
    }

    fn sync_dir(&mut self, _: Dir) -> Result<(), Infallible> {
        Ok(())
    }
}
