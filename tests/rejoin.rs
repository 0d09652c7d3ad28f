//! A member that has lost its data gets the leader's tree, however much of it waits on its way.

mod support;

use std::fs;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use support::free_port;

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

/// The tree is far longer than what waits for the thread that takes it in, so that its connection is
/// paused again and again.
#[test]
fn a_tree_longer_than_all_queues_comes_whole() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("zk");
    let name = dir.to_str().unwrap();
    let port = free_port().to_string();
    let _ended = Ended(name);
    succeeds(&["ensemble", "start", "--servers", "3", "--base-port", &port, name]);
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
    ringkeeper(&["ensemble", "start", "3", name]);
    let is_in_sync = |line: &str| line.starts_with("server 3: follower");
    await_status(name, |_, said| said.lines().any(is_in_sync));
    let log = fs::read_to_string(dir.join("3/server.log")).unwrap();
    assert!(log.contains("the leader's tree has come: "), "{log}");
}
