//! A real server process, killed: what it has acknowledged is there afterwards, and nothing that
//! nobody asked for.

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use ringkeeper::codes::OpCode;
use ringkeeper::jute::Writer;
use support::{RawClient, Server, create_record, four_letters, free_port};

/// Pipelined creates are cut off by SIGKILL at another moment each round.
#[test]
fn what_was_acknowledged_survives_sigkill() {
    for log in ["ringkeeper.log=mapped", "ringkeeper.log=direct"] {
        kill_under_load(log);
    }
}

fn kill_under_load(log: &str) {
    let home = tempfile::tempdir().unwrap();
    let mut server = Server::start(home.path(), &["snapCount=500", log]);
    let mut acknowledged = BTreeSet::new();
    let mut asked = BTreeSet::new();
    for round in 0..5 {
        let address = server.address;
        let mut client = RawClient::connect(address, 30_000);
        for nth in 0..2000 {
            let path = format!("/r{round}-{nth}");
            client
                .request(OpCode::CREATE, |writer| create_record(writer, &path, path.as_bytes(), 0));
            asked.insert(path);
        }
        let mut replies = 0;
        while replies < 300 + round * 350 {
            let reply = client.reply().expect("the server replies until it is killed");
            assert_eq!(reply.err, 0);
            acknowledged.insert(format!("/r{round}-{}", reply.xid - 1));
            replies += 1;
        }
        server.kill_and_restart();
    }
    let mut client = RawClient::connect(server.address, 30_000);
    for path in &asked {
        match client.get(path) {
            Ok(data) => assert_eq!(data, path.as_bytes()),
            Err(err) => {
                assert_eq!(err, -101);
                assert!(!acknowledged.contains(path), "{path} was acknowledged and is lost");
            }
        }
    }
}

#[test]
fn sessions_and_their_ephemerals_survive_a_kill_and_end_with_a_close() {
    let home = tempfile::tempdir().unwrap();
    let mut server = Server::start(home.path(), &[]);
    let mut owner = RawClient::connect(server.address, 30_000);
    assert_eq!(owner.create("/e", b"", 1).err, 0);
    server.kill_and_restart();
    let mut owner =
        RawClient::renew(server.address, 30_000, owner.session, &owner.password.clone());
    assert_ne!(owner.session, 0, "the session is renewed");
    let mut other = RawClient::connect(server.address, 30_000);
    assert_eq!(other.get("/e"), Ok(vec![]));
    assert_eq!(owner.call(OpCode::CLOSE_SESSION, |_| {}).err, 0);
    assert_eq!(owner.reply(), None, "the connection is closed after the reply");
    assert_eq!(other.get("/e"), Err(-101));
    server.kill_and_restart();
    let mut other = RawClient::connect(server.address, 30_000);
    assert_eq!(other.get("/e"), Err(-101));
}

#[test]
fn sigterm_finishes_what_is_in_flight_and_exits_0() {
    let home = tempfile::tempdir().unwrap();
    let mut server = Server::start(home.path(), &[]);
    let mut client = RawClient::connect(server.address, 30_000);
    assert_eq!(client.create("/a", b"x", 0).err, 0);
    assert_eq!(server.terminate(), Some(0), "{}", server.log());
    server.restart();
    assert_eq!(RawClient::connect(server.address, 30_000).get("/a"), Ok(b"x".to_vec()));
}

#[test]
fn a_second_server_on_the_same_directory_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path(), &[]);
    let second_home = tempfile::tempdir().unwrap();
    let lines = vec![format!("dataDir={}", server.home.join("data").display())];
    let mut second = Server::spawn(second_home.path(), free_port(), lines, &[]);
    assert_eq!(second.wait(), Some(3), "{}", second.log());
    assert!(
        second.log().contains(&server.pid().to_string()),
        "the holder is named:\n{}",
        second.log()
    );
}

/// A client that is silent longer than its timeout loses its session and its ephemerals; a pinging
/// one does not.
#[test]
fn silence_ends_a_session_and_pings_keep_it() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path(), &["tickTime=500"]);
    let mut silent = RawClient::connect(server.address, 1000);
    assert_eq!(silent.create("/silent", b"", 1).err, 0);
    let mut pinging = RawClient::connect(server.address, 1000);
    assert_eq!(pinging.create("/pinging", b"", 1).err, 0);
    for _ in 0..12 {
        std::thread::sleep(Duration::from_millis(300));
        pinging.request_as(-2, OpCode::PING, |_: &mut Writer<'_>| {});
        assert_eq!(pinging.reply().unwrap().xid, -2);
    }
    assert_eq!(pinging.get("/silent"), Err(-101));
    assert_eq!(pinging.get("/pinging"), Ok(vec![]));
    assert_eq!(silent.reply(), None, "an expired session's connection is closed");
    let renewed = RawClient::renew(server.address, 1000, silent.session, &silent.password);
    assert_eq!((renewed.session, renewed.timeout_ms), (0, 0));
    assert!(four_letters(server.address, "srvr").unwrap().contains("Mode: standalone"));
}
