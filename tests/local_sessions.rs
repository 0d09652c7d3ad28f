//! Three real servers with local sessions, whose leader takes clients or does not: who knows which
//! session, how one becomes the ensemble's, and who ends it.

mod support;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use ringkeeper::codes::{ErrorCode, OpCode};
use support::{RawClient, connect_record, four_letters, free_port};

/// Three servers, which are stopped in the end.
struct Ensemble {
    dir: PathBuf,
    port: u16,
}

impl Ensemble {
    fn start(dir: PathBuf, settings: &[&str]) -> Self {
        let usual = ["tickTime=500", "maxSessionTimeout=60000", "4lw.commands.whitelist=*"];
        let settings = usual.iter().chain(settings).flat_map(|setting| ["--set", *setting]);
        let settings: Vec<&str> = settings.collect();
        let mut ensemble = Self { dir, port: free_port() };
        // Somebody may have one of the ports after it.
        for _ in 0..20 {
            let port = ensemble.port.to_string();
            let words = ["start", "--servers", "3", "--base-port", &port];
            let output = ensemble.run(&[&words, &settings[..]].concat());
            if output.status.success() {
                return ensemble;
            }
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(said.contains("these ports cannot be had"), "{output:?}");
            ensemble.port = free_port();
        }
        panic!("no nine ports in a row are free");
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringkeeper"));
        command.arg("ensemble").args(words).arg(&self.dir);
        command.env_remove("RUST_LOG").output().expect("the program runs")
    }

    fn address(&self, server: usize) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port + server as u16))
    }

    /// The answer of a server to `srvr`, once it is what is wanted.
    fn await_word(&self, server: usize, word: &str, is_it: impl Fn(&str) -> bool) -> String {
        let began = Instant::now();
        loop {
            let said = four_letters(self.address(server), word).unwrap_or_default();
            if is_it(&said) {
                return said;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "{word} of {server}: {said}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until a server shows so many sessions of the ensemble and of its own.
    fn await_sessions(&self, server: usize, global: usize, local: usize) {
        let global = format!("zk_global_sessions\t{global}\n");
        let local = format!("zk_local_sessions\t{local}\n");
        self.await_word(server, "mntr", |said| said.contains(&global) && said.contains(&local));
    }

    fn await_role(&self, server: usize) -> String {
        self.await_word(server, "srvr", |said| said.contains("Mode: ")).to_owned()
    }

    fn come_back(&self, server: usize, client: &RawClient) -> RawClient {
        RawClient::renew(self.address(server), client.timeout_ms, client.session, &client.password)
    }
}

impl Drop for Ensemble {
    fn drop(&mut self) {
        drop(self.run(&["stop"]));
    }
}

const EPHEMERAL: i32 = 1;

#[test]
fn a_session_is_its_servers_until_it_creates_an_ephemeral() {
    let home = tempfile::tempdir().unwrap();
    let settings = ["localSessionsEnabled=true", "localSessionsUpgradingEnabled=true"];
    let ensemble = Ensemble::start(home.path().join("zk"), &settings);
    (0..3).for_each(|server| drop(ensemble.await_role(server)));
    for server in 0..3 {
        let other = (server + 1) % 3;
        let mut client = RawClient::connect(ensemble.address(server), 60_000);
        assert_eq!(client.create(&format!("/{server}"), b"x", 0).err, 0);
        ensemble.await_sessions(server, 0, 1);
        ensemble.await_sessions(other, 0, 0);
        let dump = ensemble.await_word(server, "dump", |said| !said.is_empty());
        let id = format!("\t0x{:x}\n", client.session);
        let is_local = dump.split("Global Session").next().is_some_and(|local| local.contains(&id));
        assert!(dump.contains("Local Session Sets (1)/(1):\n") && is_local, "{dump}");

        assert_eq!(ensemble.come_back(other, &client).session, 0, "nobody else knows it");
        let mut back = ensemble.come_back(server, &client);
        assert_eq!(back.session, client.session);
        assert_eq!(client.read_frame(), None, "it goes on with the new connection");

        assert_eq!(back.create(&format!("/{server}/e"), b"", EPHEMERAL).err, 0);
        assert_eq!(back.create(&format!("/{server}/f"), b"", EPHEMERAL).err, 0);
        (0..3).for_each(|server| ensemble.await_sessions(server, 1, 0));
        let mut moved = ensemble.come_back(other, &back);
        assert_eq!(moved.session, client.session, "now it can move");
        assert_eq!(moved.call(OpCode::SYNC, |writer| writer.string("/")).err, 0);
        assert_eq!(moved.get(&format!("/{server}/e")), Ok(Vec::new()));
        // Whoever had it may end it.
        assert_eq!(back.call(OpCode::CLOSE_SESSION, |_| {}).err, 0);
        (0..3).for_each(|server| ensemble.await_sessions(server, 0, 0));
        assert_eq!(moved.read_frame(), None, "it has ended");
    }
    let mut client = RawClient::connect(ensemble.address(0), 60_000);
    for server in 0..3 {
        let gone = Err(ErrorCode::NO_NODE.0);
        assert_eq!(client.get(&format!("/{server}/e")), gone, "it went with its session");
    }
}

#[test]
fn without_upgrading_it_creates_none_and_expires_where_it_is_known() {
    let home = tempfile::tempdir().unwrap();
    let ensemble = Ensemble::start(home.path().join("zk"), &["localSessionsEnabled=true"]);
    (0..3).for_each(|server| drop(ensemble.await_role(server)));
    for server in 0..3 {
        let mut client = RawClient::connect(ensemble.address(server), 60_000);
        let err = client.create("/e", b"", EPHEMERAL).err;
        assert_eq!(err, ErrorCode::EPHEMERAL_ON_LOCAL_SESSION.0);
        let path = format!("/{server}");
        assert_eq!(client.create(&path, b"", 0).err, 0, "the connection goes on");
        assert_eq!(client.call(OpCode::CLOSE_SESSION, |_| {}).err, 0);
        ensemble.await_sessions(server, 0, 0);
        assert_eq!(ensemble.come_back(server, &client).session, 0);

        // Nobody hears of this client.
        let mut client = RawClient::connect(ensemble.address(server), 1000);
        assert_eq!(client.read_frame(), None, "its connection ends with it");
        ensemble.await_sessions(server, 0, 0);
        assert_eq!(ensemble.come_back(server, &client).session, 0);
    }
}

#[test]
fn a_leader_that_is_to_lead_only_takes_no_clients() {
    let home = tempfile::tempdir().unwrap();
    let ensemble = Ensemble::start(home.path().join("zk"), &["leaderServes=no"]);
    let is_follower = |server: &usize| {
        let said = ensemble.await_word(*server, "srvr", |said| !said.is_empty());
        said.contains("Mode: follower")
    };
    let began = Instant::now();
    while (0..3).filter(is_follower).count() < 2 {
        assert!(began.elapsed() < Duration::from_secs(60), "two of them follow");
        thread::sleep(Duration::from_millis(50));
    }
    for server in 0..3 {
        if is_follower(&server) {
            let mut client = RawClient::connect(ensemble.address(server), 60_000);
            assert_eq!(client.create(&format!("/{server}"), b"", 0).err, 0);
            continue;
        }
        let said = ensemble.await_word(server, "srvr", |said| !said.is_empty());
        assert_eq!(said, "This ZooKeeper instance is not currently serving requests\n");
        let mut client = RawClient::plain(ensemble.address(server));
        client.send_frame(&connect_record(60_000, 0, &[0; 16]));
        assert!(client.is_closed_silently());
    }
}
