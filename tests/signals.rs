//! Signals, and threads that die: what does not end a server, and what does, with its name.

mod support;

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use support::{RawClient, Server, connect_record, four_letters, free_port};

#[test]
fn signals_that_ask_for_nothing_end_nothing() {
    let home = tempfile::tempdir().unwrap();
    let mut server = Server::start(home.path(), &[]);
    let mut client = RawClient::connect(server.address, 40_000);
    for name in ["HUP", "USR1", "USR2", "PIPE", "XFSZ", "QUIT"] {
        for _ in 0..3 {
            server.signal(name);
        }
        assert_eq!(
            client.create(&format!("/{name}"), b"", 0).err,
            0,
            "after SIG{name}:\n{}",
            server.log()
        );
    }
    server.wait_for_log("report: end");
    assert!(server.log().contains("SIGHUP"), "{}", server.log());
    assert_eq!(server.terminate(), Some(0), "{}", server.log());
}

#[test]
fn sigquit_reports_threads_queues_and_counters() {
    let home = tempfile::tempdir().unwrap();
    let mut server =
        Server::start(home.path(), &["ringkeeper.shards=2", "ringkeeper.placement=dedicated"]);
    let mut client = RawClient::connect(server.address, 40_000);
    assert_eq!(client.create("/a", b"", 0).err, 0);
    server.signal("QUIT");
    server.wait_for_log("report: end");
    let log = server.log();
    for said in [
        "  shard-0 (thread ",
        "  shard-1 (thread ",
        "  quorum (thread ",
        "  words (thread ",
        "  snapshots (thread ",
        "  log-files (thread ",
        "messages for the quorum core",
        "2 of 2 shards answer",
        "quorum core: 0 requests in process",
        "zk_num_alive_connections",
    ] {
        assert!(log.contains(said), "{said:?} is not said:\n{log}");
    }
    assert!(!log.contains("zk_throttled_ops"), "what is 0 is left out:\n{log}");
    assert_eq!(client.get("/a"), Ok(vec![]));
}

/// A server that panics on the thread of this name when that thread does its work.
fn server_that_panics(home: &std::path::Path, thread: &str, lines: &[&str]) -> Server {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringkeeper"));
    command.env("RINGKEEPER_PANIC", thread);
    Server::spawn_by(
        command,
        home,
        free_port(),
        lines.iter().map(|line| line.to_string()).collect(),
        &[],
    )
}

#[test]
fn a_thread_that_dies_ends_the_server_with_its_name() {
    let lines = ["snapCount=10", "autopurge.purgeInterval=1", "preAllocSize=1024"];
    for thread in ["log-files", "snapshots", "purge"] {
        let home = tempfile::tempdir().unwrap();
        let mut server = server_that_panics(
            home.path(),
            thread,
            if thread == "purge" { &lines } else { &lines[..1] },
        );
        let deadline = Instant::now() + Duration::from_secs(60);
        // Each session is a transaction: soon enough a snapshot is due.
        while !server.has_ended() {
            assert!(
                Instant::now() < deadline,
                "a server without its thread {thread} hangs:\n{}",
                server.log()
            );
            if let Ok(mut stream) = TcpStream::connect(server.address) {
                let frame = connect_record(10_000, 0, &[0; 16]);
                let _ =
                    stream.write_all(&[&(frame.len() as i32).to_be_bytes()[..], &frame].concat());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(server.wait(), Some(1), "{thread}:\n{}", server.log());
        let log = server.log();
        assert!(log.contains(&format!("the thread {thread} has panicked")), "{thread}:\n{log}");
    }
}

/// Monitoring does not end a server: one answer is missing, the next one is there.
#[test]
fn a_word_that_panics_is_answered_with_nothing() {
    let home = tempfile::tempdir().unwrap();
    let mut server = server_that_panics(home.path(), "words", &[]);
    server.wait_until_it_answers();
    assert_eq!(four_letters(server.address, "dirs").as_deref(), Some(""));
    assert_eq!(four_letters(server.address, "ruok").as_deref(), Some("imok"));
    assert!(server.log().contains("thread words: panicked"), "{}", server.log());
    assert_eq!(server.terminate(), Some(0), "{}", server.log());
}

/// The directory of the log has gone: the first write finds it out, and the server ends as Apache's
/// does.
#[test]
fn a_log_that_cannot_be_written_ends_in_10() {
    let home = tempfile::tempdir().unwrap();
    let mut server = Server::start(home.path(), &[]);
    // Moved in one step: the server may be preparing a spare file in it.
    fs::rename(home.path().join("data/version-2"), home.path().join("gone")).unwrap();
    let mut client = RawClient::plain(server.address);
    client.send_frame(&connect_record(10_000, 0, &[0; 16]));
    assert_eq!(server.wait(), Some(10), "{}", server.log());
    let log = server.log();
    assert!(log.contains("transaction log") && !log.contains("no space"), "{log}");
}
