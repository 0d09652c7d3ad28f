//! A member that has lost its data gets the leader's tree, however much of it waits on its way.

mod support;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::{RawClient, free_port};

fn ringkeeper(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringkeeper"));
    command.args(arguments).env_remove("JVMFLAGS").env_remove("SERVER_JVMFLAGS");
    command.env_remove("RUST_LOG").output().expect("the program runs")
}

fn succeeds(arguments: &[&str]) -> String {
    let output = ringkeeper(arguments);
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    said
}

/// Ends whatever of an ensemble runs, also where a test fails.
struct Ended<'a>(&'a str);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        drop(ringkeeper(&["ensemble", "stop", self.0]));
    }
}

/// Asks for the status of an ensemble until it is what is wanted.
fn await_status(name: &str, is_it: impl Fn(&Output, &str) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let status = ringkeeper(&["ensemble", "status", name]);
        let said = String::from_utf8_lossy(&status.stdout).into_owned();
        if is_it(&status, &said) {
            return;
        }
        assert!(Instant::now() < deadline, "after a minute: {said}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Three servers with a tree that is far longer than all queues on its way, the third of which has
/// been killed and has lost its files. Its log, and the port of the first.
fn with_one_wiped(dir: &Path) -> (PathBuf, u16) {
    let name = dir.to_str().unwrap();
    let port = free_port();
    succeeds(&["ensemble", "start", "--servers", "3", "--base-port", &port.to_string(), name]);
    succeeds(&["ensemble", "kill", "3", name]);
    for entry in fs::read_dir(dir.join("3/data/version-2")).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let server = format!("127.0.0.1:{port}");
    let tree = ["--nodes", "80", "--payload", "900000", "--preload-batch", "1", "--sessions", "1"];
    let load = ["bench", "--quiet", "--duration", "0", "--server", &server];
    // The others may have to elect a leader first.
    await_status(name, |status, _| status.status.success());
    succeeds(&[&load[..], &tree].concat());
    (dir.join("3/server.log"), port)
}

fn await_line(log: &Path, line: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !fs::read_to_string(log).unwrap().contains(line) {
        assert!(Instant::now() < deadline, "no {line:?} after a minute");
        thread::sleep(Duration::from_millis(1));
    }
}

/// The connection of the one that takes the tree in is paused again and again. Meanwhile the leader
/// and the other follower answer reads.
#[test]
fn a_tree_longer_than_all_queues_comes_whole_and_the_others_answer_reads() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("zk");
    let name = dir.to_str().unwrap();
    let _ended = Ended(name);
    let (log, port) = with_one_wiped(&dir);
    let (reads, ends) = ([AtomicU64::new(0), AtomicU64::new(0)], AtomicBool::new(false));
    let count = || [0, 1].map(|at: usize| reads[at].load(Ordering::Relaxed));
    let (before, after) = thread::scope(|scope| {
        for (at, reads) in (0..).zip(&reads) {
            let address = SocketAddr::from(([127, 0, 0, 1], port + at));
            let mut client = RawClient::connect(address, 30_000);
            let ends = &ends;
            scope.spawn(move || {
                while !ends.load(Ordering::Relaxed) {
                    client.get("/").expect("a read is answered");
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // The command waits until the server serves.
        scope.spawn(|| ringkeeper(&["ensemble", "start", "3", name]));
        await_line(&log, "(SNAP)");
        let before = count();
        await_line(&log, "the leader's tree has come: ");
        let after = count();
        ends.store(true, Ordering::Relaxed);
        (before, after)
    });
    let is_in_sync = |line: &str| line.starts_with("server 3: follower");
    await_status(name, |_, said| said.lines().any(is_in_sync));
    // A server that stopped for the tree would answer what was under way, and then one more.
    println!("reads until the tree comes {before:?}, and when it is there {after:?}");
    for (before, after) in before.iter().zip(after) {
        assert!(
            after - before > 10,
            "{before} reads until the tree comes, {after} when it is there"
        );
    }
}
