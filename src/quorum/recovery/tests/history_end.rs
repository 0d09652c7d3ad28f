//! A history gets another end: a crash between any two steps, with any subset of the names that were
//! not durable yet, leaves a history that was there before or the one that is wanted.

use std::collections::BTreeMap;
use std::convert::Infallible;

use super::crash::{Disk, Naming, Random};
use super::*;
use crate::snapshot::{Codec, FileName};

/// The files of a server with a crash after each operation: what a start finds then is checked.
struct Crashing<'a> {
    disk: Disk,
    random: Random,
    check: &'a mut dyn FnMut(Files),
}

impl Crashing<'_> {
    fn crash(&mut self) {
        for image in self.disk.images(&mut self.random) {
            (self.check)(image);
        }
    }
}

impl Storage for Crashing<'_> {
    type File = Vec<u8>;
    type Error = Infallible;

    fn is_one_dir(&self) -> bool {
        true
    }

    fn list(&mut self, _: Dir) -> Result<Vec<String>, Infallible> {
        Ok(self.disk.names().into_keys().collect())
    }

    fn open(&mut self, _: Dir, name: &str) -> Result<Vec<u8>, Infallible> {
        Ok(self.disk.content(name))
    }

    fn settle(&mut self, _: Dir, name: &str, _: &Settling) -> Result<(), Infallible> {
        panic!("{name} is not written in its place");
    }

    fn copy_front(
        &mut self,
        _: Dir,
        name: &str,
        to: &str,
        bytes: u64,
        mark: &[u8],
    ) -> Result<(), Infallible> {
        let front = self.disk.content(name)[..bytes as usize].to_vec();
        let file = self.disk.create(to);
        self.disk.write(file, 0, &front);
        self.crash();
        self.disk.sync(file);
        self.disk.write(file, front.len(), mark);
        self.disk.sync(file);
        self.crash();
        Ok(())
    }

    fn rename(&mut self, _: Dir, from: &str, to: &str) -> Result<(), Infallible> {
        self.disk.name(Naming::Rename(from.to_owned(), to.to_owned()));
        self.crash();
        Ok(())
    }

    fn remove(&mut self, _: Dir, name: &str) -> Result<(), Infallible> {
        self.disk.name(Naming::Remove(name.to_owned()));
        self.crash();
        Ok(())
    }

    fn sync_dir(&mut self, _: Dir) -> Result<(), Infallible> {
        self.disk.sync_dir();
        self.crash();
        Ok(())
    }
}

/// A server that has logged transactions of two epochs, in some files, and has taken snapshots.
struct History {
    disk: Disk,
    writing: Writing,
    /// The digest of the tree after each transaction.
    digests: BTreeMap<Zxid, i64>,
    oldest_snapshot: Zxid,
    snapshots: Vec<Zxid>,
}

impl History {
    fn new(random: &mut Random) -> Self {
        let mut history = Self {
            disk: Disk::default(),
            writing: Writing::new(),
            digests: BTreeMap::new(),
            oldest_snapshot: Zxid::ZERO,
            snapshots: Vec::new(),
        };
        let mut entries: Vec<Vec<u8>> = Vec::new();
        let mut first = Zxid(1);
        history.digests.insert(Zxid::ZERO, history.writing.tree.digest());
        history.put_snapshot();
        let (count, new_epoch) = (4 + random.below(24), random.below(20));
        for nth in 0..count {
            let last = history.writing.tree.last_zxid();
            let zxid = if nth == new_epoch { Zxid::new(1, 1) } else { last.next() };
            if random.below(6) == 0 && !entries.is_empty() || nth == 0 {
                history.put_log(first, &mut entries, random);
                first = zxid;
            }
            let path = format!("/n{:x}", zxid.0);
            let entry = history.writing.create(zxid, &path, CreateKind::Persistent, SessionId(7));
            entries.push(entry);
            history.digests.insert(zxid, history.writing.tree.digest());
            if random.below(7) == 0 {
                history.put_snapshot();
            }
        }
        history.put_log(first, &mut entries, random);
        if random.below(2) == 0 {
            history.disk.name(Naming::Remove("snapshot.0".into()));
            history.oldest_snapshot = history.snapshots.get(1).copied().unwrap_or_default();
            if history.oldest_snapshot == Zxid::ZERO {
                history.put_snapshot();
                history.oldest_snapshot = history.end();
            }
        }
        history.disk.sync_dir();
        history
    }

    fn end(&self) -> Zxid {
        self.writing.tree.last_zxid()
    }

    fn put_snapshot(&mut self) {
        let (name, bytes) = self.writing.snapshot();
        self.put(&name, &bytes);
        self.snapshots.push(self.end());
    }

    fn put_log(&mut self, first: Zxid, entries: &mut Vec<Vec<u8>>, random: &mut Random) {
        if entries.is_empty() {
            return;
        }
        let mut bytes = log_of(entries);
        if random.below(3) == 0 {
            // An Apache server has written it.
            bytes[8..16].fill(0);
            bytes.truncate(16 + entries.concat().len());
        }
        self.put(&file_name(first), &bytes);
        entries.clear();
    }

    fn put(&mut self, name: &str, bytes: &[u8]) {
        let file = self.disk.create(name);
        self.disk.write(file, 0, bytes);
        self.disk.sync(file);
    }
}

/// What a start finds in these files, which it must take, twice.
fn started(mut files: Files) -> (Zxid, i64) {
    let before = files.clone();
    let recovered = match recover(&mut files, &settings()) {
        Ok(recovered) => recovered,
        Err(error) => panic!("{before:?}: {error}"),
    };
    assert_eq!(recovered.report.digest_mismatches, 0);
    let again = recover(&mut files, &settings()).expect("what a start leaves can be started from");
    assert_eq!(again.last_zxid, recovered.last_zxid);
    assert!(!files.names().iter().any(|name| name.starts_with("ringkeeper.cut.")));
    (recovered.last_zxid, recovered.tree.digest())
}

#[test]
fn a_crash_in_a_truncation_leaves_a_history_that_was_there() {
    let (mut images, mut kept_old, mut is_new) = (0, 0, 0);
    for seed in 0..200 {
        let mut random = Random(seed);
        let history = History::new(&mut random);
        let end = history.end();
        let ends: Vec<_> =
            history.digests.range(history.oldest_snapshot..).map(|(zxid, _)| *zxid).collect();
        let to = ends[random.below(ends.len())];
        let digests = &history.digests;
        let mut check = |image: Files| {
            let (last, digest) = started(image.clone());
            assert!(to <= last && last <= end, "{last} of {to} to {end}, seed {seed}");
            assert_eq!(digests[&last], digest, "the tree at {last}, seed {seed}");
            (images, kept_old, is_new) =
                (images + 1, kept_old + usize::from(last == end), is_new + usize::from(last == to));
            // The leader wants the same again.
            let mut image = image;
            let again = Truncation::prepare(&mut image, &settings(), to)
                .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            again.carry_out(&mut image).unwrap();
            assert_eq!(started(image), (to, digests[&to]));
        };
        let mut files = Crashing { disk: history.disk, random: Random(seed), check: &mut check };
        let cut = Truncation::prepare(&mut files, &settings(), to).unwrap();
        let recovered = cut.carry_out(&mut files).unwrap();
        assert_eq!((recovered.last_zxid, recovered.tree.digest()), (to, digests[&to]));
        // What the new leader proposes goes on from there.
        let mut image = files.disk.image(&mut Random(1));
        let mut next = Writing { tree: recovered.tree };
        let zxid = Zxid::new(2, 1);
        let entry = next.create(zxid, "/next", CreateKind::Persistent, SessionId(9));
        image.put(&file_name(zxid), log_of(&[entry]));
        assert_eq!(started(image), (zxid, next.tree.digest()), "seed {seed}");
    }
    assert!(images > 2000 && kept_old > 300 && is_new > 300, "{images} {kept_old} {is_new}");
}

/// The transactions in the log files, in their order.
fn logged(files: &Files) -> Vec<Zxid> {
    let names = files.names();
    let mut logs: Vec<_> = names.iter().filter(|name| name.starts_with("log.")).collect();
    logs.sort_by_key(|name| i64::from_str_radix(&name[4..], 16).unwrap());
    let mut found = Vec::new();
    for name in logs {
        let mut scanner = crate::txnlog::Scanner::new(files.get(name));
        while let Some(entry) = scanner.next_entry().unwrap() {
            found.push(entry.zxid);
        }
    }
    found
}

/// The log of transactions 1 to 5, a new file where `begins` has a bit, and a snapshot after each
/// transaction where `snapshots` has one.
fn five(begins: usize, snapshots: usize) -> History {
    let mut history = History {
        disk: Disk::default(),
        writing: Writing::new(),
        digests: BTreeMap::new(),
        oldest_snapshot: Zxid::ZERO,
        snapshots: Vec::new(),
    };
    history.digests.insert(Zxid::ZERO, history.writing.tree.digest());
    history.put_snapshot();
    let (mut entries, mut first) = (Vec::new(), 1);
    for nth in 1..=5 {
        entries.push(history.writing.next());
        history.digests.insert(Zxid(nth), history.writing.tree.digest());
        if begins >> nth & 1 == 1 || nth == 5 {
            history.put(&file_name(Zxid(first)), &log_of(&std::mem::take(&mut entries)));
            first = nth + 1;
        }
        if snapshots >> nth & 1 == 1 {
            history.put_snapshot();
        }
    }
    history.disk.sync_dir();
    history
}

/// All cuts of a short log in any files, with snapshots anywhere, and a crash after each operation
/// with any subset of the names that were not durable. The log is a beginning of the one that was
/// there, not before the new end; the tree is that of a moment between the new end and the old one;
/// and neither comes back once it has gone.
#[test]
fn every_crash_in_a_truncation_leaves_a_beginning_of_the_history() {
    let (mut images, mut between) = (0, 0);
    let all: Vec<Zxid> = (1..=5).map(Zxid).collect();
    // The bits of transactions 1 to 4.
    for (begins, snapshots) in (0..16).flat_map(|begins| (0..16).map(move |at| (begins, at))) {
        for to in 0..=5 {
            let history = five(begins << 1, snapshots << 1);
            let (digests, what) = (&history.digests, format!("{begins:b} {snapshots:b} {to}"));
            let mut check = |image: Files| {
                let log = logged(&image);
                assert!(all.starts_with(&log) && log.len() >= to, "{log:?} is left: {what}");
                let (last, digest) = started(image);
                assert!(Zxid(to as i64) <= last, "{last} is left: {what}");
                assert_eq!(digests[&last], digest, "the tree at {last}: {what}");
                images += 1;
                between += usize::from(to < log.len() && log.len() < 5);
            };
            let mut files =
                Crashing { disk: history.disk.clone(), random: Random(1), check: &mut check };
            let to = Zxid(to as i64);
            Truncation::prepare(&mut files, &settings(), to)
                .unwrap()
                .carry_out(&mut files)
                .unwrap();
            let image = files.disk.image(&mut Random(1));
            assert_eq!(logged(&image), all[..to.0 as usize]);
            assert_eq!(started(image), (to, history.digests[&to]));
        }
    }
    assert!(images > 5000 && between > 1000, "{images} {between}");
}

#[test]
fn a_crash_while_a_tree_is_taken_leaves_the_old_history_or_the_tree() {
    let (mut images, mut old, mut new) = (0, 0, 0);
    for seed in 0..150 {
        let mut random = Random(1000 + seed);
        let mut history = History::new(&mut random);
        let mut leader = Writing::new();
        leader.create(Zxid(1), "/leader", CreateKind::Persistent, SessionId(8));
        let zxid = match random.below(4) {
            0 => Zxid(random.below(20) as i64),
            1 => Zxid::new(1, random.below(12) as u32),
            2 => Zxid::new(2, 0),
            _ => history.end(),
        };
        leader.tree.set_last_zxid(zxid);
        let (name, bytes) = leader.snapshot();
        history.put("ringkeeper.tree.tmp", &bytes);
        history.disk.sync_dir();
        // What the old history has up to there may not go before it is replaced.
        let (floor, _) = history.digests.range(..=zxid).next_back().unwrap();
        let (digests, tree) = (&history.digests, leader.tree.digest());
        let mut check = |image: Files| {
            images += 1;
            let (last, digest) = started(image);
            if (last, digest) == (zxid, tree) {
                new += 1;
            } else {
                old += 1;
                assert!(last >= *floor, "{last} is left, {floor} was there, seed {seed}");
                assert_eq!(digests.get(&last), Some(&digest), "the tree at {last}, seed {seed}");
            }
        };
        let mut files = Crashing { disk: history.disk, random: Random(seed), check: &mut check };
        let file = FileName { zxid, codec: Codec::Plain };
        let taking = TakingOver::prepare(&mut files, "ringkeeper.tree.tmp", file).unwrap();
        taking.carry_out(&mut files).unwrap();
        let image = files.disk.image(&mut Random(1));
        assert_eq!(image.names(), [name]);
        assert_eq!(started(image), (zxid, tree));
    }
    assert!(images > 2000 && old > 300 && new > 300, "{images} {old} {new}");
}

/// Snapshot 0 and the log 1..=10 in two files.
fn ten() -> (Files, Writing) {
    let mut writing = Writing::new();
    let mut files = Files::default();
    let (name, bytes) = writing.snapshot();
    files.put(&name, bytes);
    for first in [1, 6] {
        let entries: Vec<_> = (0..5).map(|_| writing.next()).collect();
        files.put(&file_name(Zxid(first)), log_of(&entries));
    }
    (files, writing)
}

/// The files stay to the byte, and the reason is said.
fn cannot(mut files: Files, to: Zxid, why: &str) {
    let before = files.clone();
    let error = Truncation::prepare(&mut files, &settings(), to).unwrap_err().to_string();
    assert!(error.contains(why), "{error}");
    assert_eq!(files.names(), before.names());
    assert!(files.names().iter().all(|name| files.get(name) == before.get(name)));
}

#[test]
fn what_is_not_in_the_log_is_no_end_of_it() {
    let (files, mut writing) = ten();
    cannot(files.clone(), Zxid(11), "no transaction 0xb");
    cannot(files.clone(), Zxid::new(1, 0), "the last one that is not after it is 0xa");
    // No snapshot leads there.
    let mut later = files.clone();
    let (name, bytes) = writing.snapshot();
    later.put(&name, bytes.clone());
    later.take("snapshot.0");
    cannot(later, Zxid(7), "no snapshot");
    // A hole before it.
    let mut holed = files.clone();
    holed.take("log.1");
    cannot(holed, Zxid(7), "transactions are missing");
    let mut torn = files;
    torn.put("snapshot.3", b"ZKSN and no more".to_vec());
    assert!(Truncation::prepare(&mut torn, &settings(), Zxid(7)).is_ok());
}

#[test]
fn a_snapshot_that_was_written_while_the_tree_changed_leads_to_no_end_before_that() {
    let (files, _) = ten();
    // As Apache's server writes them: named after 5, with all up to 8.
    let mut writing = Writing::new();
    (0..5).for_each(|_| drop(writing.next()));
    let (name, _) = writing.snapshot();
    (0..3).for_each(|_| drop(writing.next()));
    let (_, bytes) = writing.snapshot();
    let mut fuzzy = files;
    fuzzy.put(&name, bytes);
    cannot(fuzzy.clone(), Zxid(7), "up to zxid 0x8");
    let cut = Truncation::prepare(&mut fuzzy, &settings(), Zxid(8)).unwrap();
    cut.carry_out(&mut fuzzy).unwrap();
    assert_eq!(recover(&mut fuzzy, &settings()).unwrap().last_zxid, Zxid(8));
}

#[test]
fn a_cut_file_ends_as_one_that_was_closed() {
    for is_ours in [true, false] {
        let (mut files, _) = ten();
        if !is_ours {
            files.change("log.6", |bytes| bytes[8..16].fill(0));
        }
        let whole = files.get("log.6").clone();
        let cut = Truncation::prepare(&mut files, &settings(), Zxid(7)).unwrap();
        cut.carry_out(&mut files).unwrap();
        let bytes = files.get("log.6");
        let mut scanner = crate::txnlog::Scanner::new(bytes);
        let end = scanner.end().unwrap().offset() as usize;
        assert_eq!(bytes[..end], whole[..end]);
        // Nothing is left to be written anew, and Apache's server reads no further.
        let mark = if is_ours { crate::txnlog::TAIL_MARK_BYTES } else { 0 };
        assert_eq!(bytes.len(), end + mark);
        assert_eq!(scanner.durable() as usize, if is_ours { end } else { 0 });
    }
}

/// A damaged log is the reason why a tree is asked for: it does not stand in the way of it.
#[test]
fn a_tree_takes_the_place_of_a_damaged_log() {
    let (mut files, _) = ten();
    files.change("log.6", |bytes| bytes[60] ^= 1);
    recover(&mut files.clone(), &settings()).unwrap_err();
    let mut leader = Writing::new();
    leader.tree.set_last_zxid(Zxid(9));
    files.put("ringkeeper.tree.tmp", leader.snapshot().1);
    let file = FileName { zxid: Zxid(9), codec: Codec::Plain };
    let taking = TakingOver::prepare(&mut files, "ringkeeper.tree.tmp", file).unwrap();
    taking.carry_out(&mut files).unwrap();
    assert_eq!(files.names(), ["snapshot.9"]);
    assert_eq!(recover(&mut files, &settings()).unwrap().last_zxid, Zxid(9));
}

/// S71, ClickHouse Keeper 111339: a tree that has been taken over is there after any power cut, and
/// so is its name; before that, the old files are.
#[test]
fn s71_a_tree_that_was_taken_over_keeps_its_name_in_a_power_cut() {
    let mut random = Random(71);
    for _ in 0..40 {
        let mut history = History::new(&mut random);
        let mut leader = Writing::new();
        leader.tree.set_last_zxid(Zxid::new(2, 5));
        let (name, bytes) = leader.snapshot();
        history.put("ringkeeper.tree.tmp", &bytes);
        history.disk.sync_dir();
        let mut steps = 0;
        let mut check = |image: Files| {
            steps += 1;
            let names = image.names();
            let has_tree = names.contains(&name);
            let old = names.iter().any(|name| name.starts_with("snapshot.") || name == "log.1");
            assert!(has_tree || old, "neither the tree nor what it replaces: {names:?}");
        };
        let mut files = Crashing { disk: history.disk, random: Random(7), check: &mut check };
        let file = FileName { zxid: Zxid::new(2, 5), codec: Codec::Plain };
        let taking = TakingOver::prepare(&mut files, "ringkeeper.tree.tmp", file).unwrap();
        taking.carry_out(&mut files).unwrap();
        for seed in 0..20 {
            let image = files.disk.image(&mut Random(seed));
            assert_eq!(image.names(), std::slice::from_ref(&name));
            assert_eq!(image.get(&name), &bytes, "and its content");
        }
        assert!(steps > 0);
    }
}

/// S72, ClickHouse Keeper 112101; S19, ZOOKEEPER-1489: a log of three files is cut in the first one.
/// When that is done the others are gone for good: what is appended then follows the cut without a
/// gap, after any power cut.
#[test]
fn s72_s19_the_files_after_a_cut_are_gone_before_anything_is_appended() {
    let mut writing = Writing::new();
    let mut disk = Disk::default();
    let put = |disk: &mut Disk, name: &str, bytes: &[u8]| {
        let file = disk.create(name);
        disk.write(file, 0, bytes);
        disk.sync(file);
    };
    let (name, bytes) = writing.snapshot();
    put(&mut disk, &name, &bytes);
    for first in [1, 6, 11] {
        let entries: Vec<_> = (0..5).map(|_| writing.next()).collect();
        put(&mut disk, &file_name(Zxid(first)), &log_of(&entries));
    }
    disk.sync_dir();
    let mut files = Crashing { disk, random: Random(1), check: &mut |_| () };
    let cut = Truncation::prepare(&mut files, &settings(), Zxid(3)).unwrap();
    let recovered = cut.carry_out(&mut files).unwrap();
    assert_eq!(recovered.last_zxid, Zxid(3));
    let mut next = Writing { tree: recovered.tree };
    let zxid = Zxid::new(1, 1);
    let entry = next.create(zxid, "/next", CreateKind::Persistent, SessionId(9));
    for seed in 0..50 {
        let mut image = files.disk.image(&mut Random(seed));
        assert_eq!(image.names(), ["log.1", "snapshot.0"], "nothing comes back");
        image.put(&file_name(zxid), log_of(std::slice::from_ref(&entry)));
        assert_eq!(started(image), (zxid, next.tree.digest()));
    }
}
