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
use ringkeeper::quorum::recovery::{Recovered, RecoverySettings, recover};
use ringkeeper::runtime::SharedTree;
use ringkeeper::runtime::datadir::DataDir;
use ringkeeper::runtime::snapshotter::{SnapshotterConfig, take_snapshot};
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
        self.leader_of(3)
    }

    /// The leader, once so many serve.
    fn leader_of(&self, servers: usize) -> i64 {
        let began = Instant::now();
        loop {
            let said = self.run(&["status"]).stdout;
            let said = String::from_utf8_lossy(&said).into_owned();
            let is = |server: i64, role: &str| said.contains(&format!("server {server}: {role},"));
            let leader = (1..=3).find(|server| is(*server, "leader"));
            let follow = (1..=3).filter(|server| is(*server, "follower")).count();
            match leader {
                Some(leader) if follow + 1 == servers => return leader,
                _ => assert!(began.elapsed() < Duration::from_secs(120), "{said}"),
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn kill(&self, servers: &[i64]) {
        self.signal("-KILL", servers);
    }

    fn pid(&self, server: i64) -> String {
        let file = self.dir.join(server.to_string()).join("server.pid");
        fs::read_to_string(file).expect("a pid file").trim().to_owned()
    }

    fn signal(&self, name: &str, servers: &[i64]) {
        let pids: Vec<_> = servers.iter().map(|server| self.pid(*server)).collect();
        let sent = Command::new("kill").arg(name).args(&pids).status().expect("kill runs");
        assert!(sent.success());
    }

    fn data(&self, server: i64) -> PathBuf {
        self.dir.join(server.to_string()).join("data")
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
        self.log(server).matches(what).count()
    }

    fn log(&self, server: i64) -> String {
        let file = self.dir.join(server.to_string()).join("server.log");
        fs::read_to_string(file).expect("a log")
    }

    fn files(&self, server: i64) -> Vec<String> {
        let dir = self.data(server).join("version-2");
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

    /// The others stand still, and the leader logs what they do not get.
    fn log_alone(&self, leader: i64) {
        let others: Vec<i64> = (1..=3).filter(|server| *server != leader).collect();
        let mut client = self.client(leader);
        self.signal("-STOP", &others);
        // One of its threads has to run before all stand still.
        let began = Instant::now();
        while !others.iter().all(|server| stands_still(&self.pid(*server))) {
            assert!(began.elapsed() < Duration::from_secs(60), "they do not stop");
            std::thread::sleep(Duration::from_millis(1));
        }
        client.request(OpCode::CREATE, |writer| create_record(writer, "/alone", b"", 0));
        let began = Instant::now();
        let is_logged = |name: &String| {
            let file = fs::read(self.data(leader).join("version-2").join(name)).unwrap();
            file.windows(6).any(|bytes| bytes == b"/alone")
        };
        while !self.files(leader).iter().any(is_logged) {
            assert!(began.elapsed() < Duration::from_secs(60), "it is not logged");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// A server that is stopped has a snapshot of its last transaction, and nothing else.
    fn begin_with_the_last(&self, server: i64) {
        let mut data = open(&self.data(server));
        let recovered = recover(&mut data, &settings()).unwrap();
        let old = self.files(server);
        let (config, tree) = (SnapshotterConfig::default(), SharedTree::new(recovered.tree));
        take_snapshot(data.snapshots(), &config, &tree, true).unwrap();
        old.iter().for_each(|name| fs::remove_file(data.logs().join(name)).unwrap());
    }

    /// All have one history. They are stopped.
    fn check_equal(&self) {
        let of = |server: i64| history(&self.data(server));
        assert_eq!((of(1), of(2)), (of(2), of(3)));
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

/// Whether all threads of a process are stopped.
fn stands_still(pid: &str) -> bool {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    tasks.flatten().all(|task| {
        let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
    })
}

/// The data of a server that is stopped, or is about to end.
fn open(dir: &Path) -> DataDir {
    let began = Instant::now();
    loop {
        match DataDir::open(dir, dir, false) {
            Ok(data) => return data,
            Err(why) => assert!(began.elapsed() < Duration::from_secs(60), "{why}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn settings() -> RecoverySettings {
    RecoverySettings { removes_orphans: false, ..RecoverySettings::default() }
}

/// What it would start with.
fn recovered(dir: &Path) -> Recovered {
    recover(&mut open(dir), &settings()).unwrap()
}

/// The last zxid of a server that is stopped, and the digest of its tree.
fn history(dir: &Path) -> (i64, i64) {
    let recovered = recovered(dir);
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
    ensemble.check_equal();
}

/// The leader has a snapshot of what nobody else has logged, and nothing from before. The others go on
/// without it, and have its log cut where it does not reach. It comes back with the tree of their
/// leader, and what was acknowledged is there.
#[test]
fn who_cannot_be_cut_back_gets_the_tree() {
    for one_is_away in [false, true] {
        let home = tempfile::tempdir().unwrap();
        let ensemble = Ensemble::start(home.path().join("zk"));
        ensemble.write(1, 20);
        let ahead = ensemble.leader();
        let others: Vec<i64> = (1..=3).filter(|server| *server != ahead).collect();
        ensemble.log_alone(ahead);
        ensemble.kill(&[1, 2, 3]);
        ensemble.begin_with_the_last(ahead);

        others.iter().for_each(|server| drop(ensemble.run(&["start", &server.to_string()])));
        let leader = ensemble.leader_of(2);
        let follower = others[usize::from(others[0] == leader)];
        if one_is_away {
            ensemble.kill(&[follower]);
        }
        // Nobody writes: a transaction of the new epoch would bring the tree at once.
        ensemble.run(&["start", &ahead.to_string()]);
        ensemble.leader_of(if one_is_away { 2 } else { 3 });
        let said = ["the log cannot be cut after", "is taken over (SNAP)"]
            .map(|what| ensemble.said(ahead, what));
        let is_said = said.iter().all(|times| *times > 0);
        assert!(is_said, "{said:?}, one away: {one_is_away}\n{}", ensemble.log(ahead));
        ensemble.write(ahead, 20);
        ensemble.come_back(if one_is_away { &others } else { &[] });
        ensemble.write(ahead, 1);
        assert!(ensemble.run(&["stop"]).status.success());
        ensemble.check_equal();
        let tree = recovered(&ensemble.data(ahead)).tree;
        let of_clients = |name: &&str| *name != "zookeeper";
        let nodes = tree.get("/").map(|root| root.children().filter(of_clients).count());
        assert_eq!(nodes, Some(41), "all that was acknowledged, one away: {one_is_away}");
    }
}

/// The flag of a create that numbers the node.
const SEQUENCE: i32 = 2;
