//! A server whose process may lock little memory. The kernel counts the rings of all processes of a
//! user together, so this test has a process of its own, beside which no server of the user runs.

mod support;

use std::path::Path;

use support::{RawClient, Server, free_port};

/// What this user may lock is enough for one server, and not for two.
fn server_of_little(home: &Path) -> Server {
    let before = "ulimit -S -l 64 && ulimit -H -l 512";
    Server::spawn_limited(before, home, free_port(), &["snapCount=100"])
}

/// The soft limit of locked memory is raised to the hard one, and only one that stays too low is a
/// reason to end. Memory that another server leaves to the kernel, which frees it at its own time,
/// is waited for.
#[test]
fn little_locked_memory_is_raised_and_waited_for() {
    let homes = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut first = server_of_little(homes[0].path());
    first.wait_until_it_answers();
    let mut client = RawClient::connect(first.address, 40_000);
    for nth in 0..300 {
        assert_eq!(client.create(&format!("/m{nth}"), b"data", 0).err, 0);
    }
    first.wait_for_log("MiB in");
    let mut next = server_of_little(homes[1].path());
    next.wait_for_log("waiting for up to 2000 ms");
    assert!(!next.has_ended(), "{}", next.log());
    first.kill();
    next.wait_until_it_answers();
    assert_eq!(next.terminate(), Some(0), "{}", next.log());
}
