//! Real servers of an ensemble that come back: what nobody else has is cut from their logs, what
//! they lack comes from the leader's log, and its tree takes the place of what is too old. In the
//! end all have one history.

mod support;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use ringkeeper::codes::OpCode;
use ringkeeper::quorum::recovery::{RecoverySettings, recover};
use ringkeeper::runtime::datadir::DataDir;
use support::{RawClient, create_record, free_port};

/// Three servers, which are stopped in the end.
struct Ensemble {
    dir: PathBuf,
    port: u16,
}

impl Ensemble {
    fn start(dir: PathBuf) -> Self {
        let ensemble = Self { dir, port: free_port() };
        let port = ensemble.port.to_string();
        // Whole files of the log are soon longer than this part of the tree.
        let settings = ["--set", "tickTime=500", "--set", "snapshotSizeFactor=0.01"];
        let options = [&["start", "--servers", "3", "--base-port", &port][..], &settings].concat();
        let output = ensemble.run(&options);
        assert!(output.status.success(), "{output:?}");
        ensemble
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringkeeper"));
        command.arg("ensemble").args(words).arg(&self.dir);
        command.env_remove("RUST_LOG").output().expect("the program runs")
    }

    /// Starts servers, and waits until all three serve.
    fn come_back(&self, servers: &[i64]) {
        for server in servers {
            self.run(&["start", &server.to_string()]);
        }
        self.leader();
    }

    /// The leader, once all three serve.
    fn leader(&self) -> i64 {
        let began = Instant::now();
        loop {
            let said = self.run(&["status"]).stdout;
            let said = String::from_utf8_lossy(&said).into_owned();
            let is = |server: i64, role: &str| said.contains(&format!("server {server}: {role},"));
            let leader = (1..=3).find(|server| is(*server, "leader"));
            let follow = (1..=3).filter(|server| is(*server, "follower")).count();
            match leader {
                Some(leader) if follow == 2 => return leader,
                _ => assert!(began.elapsed() < Duration::from_secs(120), "{said}"),
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn kill(&self, servers: &[i64]) {
        let pid = |server: &i64| {
            let file = self.dir.join(server.to_string()).join("server.pid");
            fs::read_to_string(file).expect("a pid file").trim().to_owned()
        };
        let pids: Vec<_> = servers.iter().map(pid).collect();
        let killed = Command::new("kill").arg("-9").args(&pids).status().expect("kill runs");
        assert!(killed.success());
    }

    fn client(&self, server: i64) -> RawClient {
        let port = self.port + server as u16 - 1;
        RawClient::connect(SocketAddr::from(([127, 0, 0, 1], port)), 30_000)
    }

    fn write(&self, server: i64, count: usize) {
        let mut client = self.client(server);
        ask(&mut client, count);
        for _ in 0..count {
            assert_eq!(client.reply().expect("it is answered").err, 0);
        }
    }

    /// How often a server has said it.
    fn said(&self, server: i64, what: &str) -> usize {
        let log = fs::read_to_string(self.dir.join(server.to_string()).join("server.log"));
        log.expect("a log").matches(what).count()
    }

    fn files(&self, server: i64) -> Vec<String> {
        let dir = self.dir.join(server.to_string()).join("data/version-2");
        let names = fs::read_dir(dir).expect("a data directory");
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("log.") || name.starts_with("snapshot.")).collect()
    }

    /// The leader dies with transactions that nobody else has, and comes back. Whether there were
    /// some.
    fn lose_some(&self) -> bool {
        let leader = self.leader();
        let others: Vec<i64> = (1..=3).filter(|server| *server != leader).collect();
        let before = self.said(leader, "(TRUNC)");
        let mut client = self.client(leader);
        ask(&mut client, 1000);
        (0..100).for_each(|_| drop(client.reply().expect("it is answered")));
        self.kill(&others);
        std::thread::sleep(Duration::from_millis(30));
        self.kill(&[leader]);
        for server in &others {
            self.run(&["start", &server.to_string()]);
        }
        self.come_back(&[leader]);
        self.said(leader, "(TRUNC)") > before
    }
}

impl Drop for Ensemble {
    fn drop(&mut self) {
        drop(self.run(&["stop"]));
    }
}

fn ask(client: &mut RawClient, count: usize) {
    for _ in 0..count {
        client.request(OpCode::CREATE, |writer| create_record(writer, "/n", &[7; 100], SEQUENCE));
    }
}

/// The last zxid of a server that is stopped, and the digest of its tree.
fn history(dir: &Path) -> (i64, i64) {
    let mut data = DataDir::open(dir, dir, false).unwrap();
    let settings = RecoverySettings { removes_orphans: false, ..RecoverySettings::default() };
    let recovered = recover(&mut data, &settings).unwrap();
    assert_eq!(recovered.report.digest_mismatches, 0, "{}", dir.display());
    (recovered.last_zxid.0, recovered.tree.digest())
}

#[test]
fn who_comes_back_has_the_history_of_the_others() {
    let home = tempfile::tempdir().unwrap();
    let ensemble = Ensemble::start(home.path().join("zk"));
    ensemble.write(1, 20);
    assert!((0..20).any(|_| ensemble.lose_some()), "nothing was ever cut");

    // More than a leader has in memory, in the file that it writes.
    let leader = ensemble.leader();
    let away = leader % 3 + 1;
    ensemble.write(leader, 20);
    ensemble.kill(&[away]);
    ensemble.write(leader, 900);
    let before = ensemble.said(leader, "from the log (DIFF)");
    ensemble.come_back(&[away]);
    assert_eq!(ensemble.said(leader, "from the log (DIFF)"), before + 1);

    // More of the log than that part of the tree: all that was there goes.
    ensemble.kill(&[away]);
    ensemble.write(leader, 900);
    let others: Vec<i64> = (1..=3).filter(|server| *server != away).collect();
    ensemble.kill(&others);
    others.iter().for_each(|server| drop(ensemble.run(&["start", &server.to_string()])));
    ensemble.write(others[1], 900);
    let old = ensemble.files(away);
    let before = ensemble.said(away, "(SNAP)");
    ensemble.come_back(&[away]);
    assert_eq!(ensemble.said(away, "(SNAP)"), before + 1);
    let new = ensemble.files(away);
    assert!(new.iter().all(|name| !old.contains(name)), "{new:?} of {old:?}");

    ensemble.write(away, 20);
    assert!(ensemble.run(&["stop"]).status.success());
    let of = |server: i64| history(&ensemble.dir.join(server.to_string()).join("data"));
    assert_eq!((of(1), of(2)), (of(2), of(3)));
}

/// The flag of a create that numbers the node.
const SEQUENCE: i32 = 2;
