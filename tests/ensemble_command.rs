//! `ringkeeper ensemble` from outside: what it makes, says and refuses, and that it ends no process
//! but its own.

mod support;

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use ringkeeper::codes::OpCode;
use support::{RawClient, free_port};

fn ensemble(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringkeeper"));
    command.arg("ensemble").args(arguments).env_remove("JVMFLAGS").env_remove("SERVER_JVMFLAGS");
    command.env_remove("RUST_LOG").output().expect("the program runs")
}

fn said(output: &Output) -> String {
    let all = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&all).into_owned()
}

/// What was said by a command that ends with `code`.
fn ends(code: i32, arguments: &[&str]) -> String {
    let output = ensemble(arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", said(&output));
    said(&output)
}

/// Ends whatever of an ensemble runs, also where a test fails.
struct Ended<'a>(&'a str);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        drop(ensemble(&["stop", self.0]));
    }
}

fn pid(dir: &Path, server: i64) -> String {
    let text = fs::read_to_string(dir.join(server.to_string()).join("server.pid"));
    text.expect("a pid file").trim().to_owned()
}

/// One server on its own passes through everything that a member does.
#[test]
fn a_server_is_started_watched_killed_started_again_and_stopped() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("zk");
    let name = dir.to_str().unwrap();
    let port = free_port().to_string();
    let _ended = Ended(name);
    let options = ["--servers", "1", "--base-port", &port, "--set", "standaloneEnabled=true"];
    let text = ends(0, &[&["start"], &options[..], &[name]].concat());
    let address = format!("127.0.0.1:{port}");
    assert!(text.contains(&format!("connect string: {address}\n")), "{text}");
    let serves = |text: &str, pid: &str| {
        let line = format!("server 1: standalone, pid {pid}, zxid 0x0, 0 clients, {address}");
        assert!(text.contains(&line), "{text}");
    };
    let first = pid(&dir, 1);
    serves(&text, &first);
    serves(&ends(0, &["status", name]), &first);
    assert!(ends(2, &["kill", "2", name]).contains("there is no server 2; there are 1"));
    // What runs is left alone, also if the command is given as at first.
    serves(&ends(0, &["start", name]), &first);
    let again = ["start", "--servers", "1", "--base-port", &port, name];
    serves(&ends(0, &again), &first);
    assert!(ends(2, &["start", "--servers", "3", name]).contains("another ensemble, of 1 server:"));
    assert_eq!(pid(&dir, 1), first);
    assert!(ends(0, &["kill", "1", name]).contains(&format!("(pid {first}) is killed")));
    assert!(ends(1, &["status", name]).contains("server 1: not running"));
    assert!(ends(1, &["kill", "1", name]).contains("server 1 does not run"));
    serves(&ends(0, &["start", "1", name]), &pid(&dir, 1));
    assert_ne!(pid(&dir, 1), first);
    assert!(ends(0, &["stop", name]).contains("server 1 is stopped"));
    let log = fs::read_to_string(dir.join("1/server.log")).unwrap();
    assert!(log.contains("SIGTERM: finishing what is in flight"), "{log}");
    assert!(ends(0, &["stop", name]).contains("server 1 does not run"));
}

/// `ringkeeper ensemble start DIR | head -1`: what nobody reads is not printed, and all is done.
#[test]
fn what_nobody_reads_is_done_all_the_same() {
    let home = tempfile::tempdir().unwrap();
    let name = home.path().to_str().unwrap();
    let port = free_port().to_string();
    let _ended = Ended(name);
    let unread = |arguments: &[&str]| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringkeeper"));
        command.args(arguments).stdout(writer.try_clone().unwrap()).stderr(writer);
        command.status().expect("the program runs").code()
    };
    let options = ["--servers", "1", "--base-port", &port, "--set", "standaloneEnabled=true"];
    assert_eq!(unread(&[&["ensemble", "start"], &options[..], &[name]].concat()), Some(0));
    assert_eq!(unread(&["ensemble", "status", name]), Some(0));
    assert_eq!(unread(&["ensemble", "kill", "7", name]), Some(2));
    assert_eq!(unread(&["sim", "--seed", "1"]), Some(0));
    assert_eq!(unread(&["server", "--", "no.cfg"]), Some(2));
    let data = home.path().join("1/data/version-2");
    let mut files = fs::read_dir(&data).unwrap().map(|file| file.unwrap().path());
    let snapshot = files.find(|path| path.to_str().unwrap().contains("snapshot.")).unwrap();
    assert_eq!(unread(&["tools", "snapshot", snapshot.to_str().unwrap()]), Some(0));
    assert_eq!(unread(&["ensemble", "stop", name]), Some(0));
    assert!(ends(1, &["status", name]).contains("server 1: not running"));
}

/// The number of a process in a pid file means nothing by itself.
#[test]
fn a_process_of_others_is_left_alone() {
    let home = tempfile::tempdir().unwrap();
    let name = home.path().to_str().unwrap();
    let port = free_port().to_string();
    let _ended = Ended(name);
    let options = ["--servers", "1", "--base-port", &port, "--set", "standaloneEnabled=true"];
    ends(0, &[&["start"], &options[..], &[name]].concat());
    let own = pid(home.path(), 1);
    let mut other = Command::new("sleep").arg("600").spawn().expect("a process");
    let pid_file = home.path().join("1/server.pid");
    fs::write(&pid_file, other.id().to_string()).unwrap();
    assert!(ends(1, &["kill", "1", name]).contains("server 1 does not run"));
    assert!(ends(0, &["stop", name]).contains("server 1 does not run"));
    assert_eq!(other.try_wait().unwrap(), None, "the other process lives");
    other.kill().unwrap();
    other.wait().unwrap();
    fs::write(&pid_file, own).unwrap();
    assert!(ends(0, &["stop", name]).contains("server 1 is stopped"));
}

#[test]
fn what_cannot_be_done_is_refused_with_its_reason() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("zk");
    let name = dir.to_str().unwrap();
    for (code, arguments, reason) in [
        (1, &["status", name][..], "holds no ensemble; make one: ringkeeper ensemble start"),
        (1, &["stop", name], "holds no ensemble"),
        (1, &["kill", "1", name], "holds no ensemble"),
        (1, &["start", "1", name], "holds no ensemble"),
        (2, &["start", name, "1"], "is no server's number"),
        (2, &["start", "--set", "tickTime", name], "write a key of zoo.cfg and its value"),
        (2, &["start", "--base-port", "65000", name], "would end above 65535"),
        (2, &["start", "--servers", "0", name], "0 is not in 1..=15"),
        (2, &["start"], "Usage: ringkeeper ensemble start [OPTIONS] [N] DIR"),
    ] {
        let text = ends(code, arguments);
        assert!(text.contains(reason), "{arguments:?}: {text}");
        assert!(!dir.exists(), "{arguments:?} leaves nothing");
    }
    fs::write(home.path().join("mine"), "").unwrap();
    let port = free_port().to_string();
    let text = ends(1, &["start", "--base-port", &port, home.path().to_str().unwrap()]);
    assert!(text.contains("holds other things"), "{text}");
}

#[test]
fn taken_ports_are_named_before_anything_is_made() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("zk");
    // The quorum port of server 2.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let quorum_port = listener.local_addr().unwrap().port();
    let base = (quorum_port - 707 - 1).to_string();
    let text = ends(1, &["start", "--base-port", &base, dir.to_str().unwrap()]);
    let line = format!("127.0.0.1:{quorum_port} (quorum port of server 2): ");
    assert!(text.contains(&line) && text.contains("--base-port"), "{text}");
    assert!(!dir.exists());
}

/// A server that ends at once is not waited for, and what it said is shown.
#[test]
fn a_server_that_does_not_start_says_why() {
    let home = tempfile::tempdir().unwrap();
    let name = home.path().to_str().unwrap();
    let port = free_port().to_string();
    let _ended = Ended(name);
    let options = ["--servers", "1", "--base-port", &port, "--set", "standaloneEnabled=true"];
    ends(0, &[&["start"], &options[..], &[name]].concat());
    ends(0, &["stop", name]);
    let cfg = home.path().join("1/zoo.cfg");
    let lines = fs::read_to_string(&cfg).unwrap() + "dataLogDir=/proc/nowhere\n";
    fs::write(&cfg, lines).unwrap();
    let text = ends(1, &["start", name]);
    assert!(text.contains("server 1 has ended (exit status: 3)"), "{text}");
    assert!(text.contains("/proc/nowhere"), "{text}");
}

/// Makes an ensemble of three on ports that are free, and returns what was said.
fn start_three(name: &str) -> String {
    start_many("3", &[], name)
}

/// The same for any number, with further options.
fn start_many(servers: &str, options: &[&str], name: &str) -> String {
    for _ in 0..10 {
        let base = free_port().min(50_000).to_string();
        let all = ["start", "--servers", servers, "--base-port", &base];
        let output = ensemble(&[&all[..], options, &[name]].concat());
        if !said(&output).contains("these ports cannot be had") {
            assert_eq!(output.status.code(), Some(0), "{}", said(&output));
            return said(&output);
        }
    }
    panic!("no ports for {servers} servers");
}

/// The numbers of the servers that are in this state, by the lines of `status`.
fn servers_that(text: &str, state: &str) -> Vec<String> {
    let number = |line: &str| {
        let (head, rest) = line.strip_prefix("server ")?.split_once(": ")?;
        rest.starts_with(state).then(|| head.to_owned())
    };
    text.lines().filter_map(number).collect()
}

/// Waits until `status` says that a quorum serves.
fn await_leader(name: &str) -> String {
    let began = Instant::now();
    loop {
        let output = ensemble(&["status", name]);
        if output.status.code() == Some(0) {
            return said(&output);
        }
        assert!(began.elapsed() < Duration::from_secs(60), "no leader: {}", said(&output));
    }
}

fn client_of(text: &str, server: &str) -> RawClient {
    let head = format!("server {server}: ");
    let line = text.lines().find(|line| line.starts_with(&head) && line.contains("zxid"));
    let line = line.unwrap_or_else(|| panic!("server {server} serves: {text}"));
    let address = line.split([';', ' ', ',']).find(|word| word.starts_with("127.0.0.1:"));
    RawClient::connect(address.expect("an address").parse().expect("one"), 30_000)
}

#[test]
fn three_servers_elect_a_leader_and_go_on_without_it() {
    let home = tempfile::tempdir().unwrap();
    let name = home.path().to_str().unwrap();
    let _ended = Ended(name);
    let text = start_three(name);
    let (leaders, followers) = (servers_that(&text, "leader"), servers_that(&text, "follower"));
    assert_eq!((leaders.len(), followers.len()), (1, 2), "{text}");
    let connect = text.lines().find_map(|line| line.strip_prefix("connect string: ")).unwrap();
    assert_eq!(connect.split(',').count(), 3);
    let mut client = client_of(&text, &followers[0]);
    let membership = client.get("/zookeeper/config").map(String::from_utf8).unwrap().unwrap();
    assert_eq!(membership.matches(":participant\n").count(), 3, "{membership}");
    assert!(membership.ends_with("version=0"), "{membership}");
    assert_eq!(client.create("/a", b"x", 0).err, 0);
    ends(0, &["kill", &leaders[0], name]);
    let text = await_leader(name);
    assert_eq!(servers_that(&text, "not running"), leaders);
    let others = servers_that(&text, "leader");
    assert_ne!(others, leaders, "{text}");
    let mut client = client_of(&text, &others[0]);
    assert_eq!(client.get("/a"), Ok(b"x".to_vec()));
    assert_eq!(client.create("/b", b"y", 0).err, 0);
    let text = ends(0, &["start", &leaders[0], name]);
    assert_eq!(servers_that(&text, "follower").len(), 2, "{text}");
    let mut client = client_of(&text, &leaders[0]);
    assert_eq!(client.get("/b"), Ok(b"y".to_vec()), "what it missed is there");
    let text = ends(0, &["stop", name]);
    assert_eq!(text.matches("is stopped").count(), 3, "{text}");
    let text = ends(0, &["start", name]);
    let mut client = client_of(&text, "1");
    assert_eq!(client.get("/b"), Ok(b"y".to_vec()));
}

#[test]
fn servers_that_cannot_be_told_apart_are_not_started() {
    let home = tempfile::tempdir().unwrap();
    let name = home.path().to_str().unwrap();
    let _ended = Ended(name);
    start_three(name);
    ends(0, &["stop", name]);
    let myid = home.path().join("1/data/myid");
    for (text, reason) in [
        ("2", "its data/myid says 2; it must say 1, or two servers are one"),
        ("9", "myid says 9, and there is no server.9 line (there are 1, 2, 3)"),
        ("one", "is not a number; write this server's id there"),
    ] {
        fs::write(&myid, text).unwrap();
        assert!(ends(1, &["start", name]).contains(reason), "{text}");
    }
}

/// With `db.autocreate=false`: what only the server without its data and one that is down had
/// acknowledged is not forgotten by the others.
#[test]
fn a_server_without_its_data_does_not_help_to_elect() {
    let home = tempfile::tempdir().unwrap();
    let name = home.path().to_str().unwrap();
    let _ended = Ended(name);
    let text = start_three(name);
    ends(0, &["stop", "2", name]);
    let serving = await_leader(name);
    let mut client = client_of(&serving, "1");
    assert_eq!(client.create("/a", b"x", 0).err, 0, "{text}");
    ends(0, &["stop", name]);
    for server in 1..=3 {
        let cfg = home.path().join(format!("{server}/zoo.cfg"));
        fs::write(&cfg, fs::read_to_string(&cfg).unwrap() + "db.autocreate=false\n").unwrap();
    }
    fs::remove_dir_all(home.path().join("1/data/version-2")).unwrap();
    ends(0, &["start", "1", name]);
    let text = ends(1, &["start", "--wait", "3", "2", name]);
    assert!(text.contains("does not serve after 3 s"), "{text}");
    let log = fs::read_to_string(home.path().join("1/server.log")).unwrap();
    assert!(log.contains("its vote does not count"), "{log}");
    ends(0, &["start", "3", name]);
    let text = await_leader(name);
    let mut client = client_of(&text, "3");
    assert_eq!(client.get("/a"), Ok(b"x".to_vec()));
}

/// Of groups most must be there, each with most of its weight: two servers of five are enough, and
/// three are not.
#[test]
fn groups_and_weights_decide_what_a_quorum_is() {
    let home = tempfile::tempdir().unwrap();
    let name = home.path().to_str().unwrap();
    let _ended = Ended(name);
    let lines =
        ["group.1=1:2:3", "group.2=4", "group.3=5", "weight.1=1", "weight.2=1", "weight.3=1"];
    let options: Vec<&str> = lines.iter().flat_map(|line| ["--set", line]).collect();
    start_many("5", &options, name);
    ["1", "2", "3"].iter().for_each(|server| drop(ends(0, &["kill", server, name])));
    let text = await_leader(name);
    let mut client = client_of(&text, &servers_that(&text, "leader")[0]);
    assert_eq!(client.create("/a", b"x", 0).err, 0);
    ends(0, &["kill", "5", name]);
    ends(0, &["start", "1", name]);
    ends(0, &["start", "2", name]);
    let text = await_leader(name);
    let mut client = client_of(&text, &servers_that(&text, "leader")[0]);
    assert_eq!(client.get("/a"), Ok(b"x".to_vec()));
    // Groups 2 and 3 are gone: three servers of one group are one group.
    ends(0, &["kill", "4", name]);
    ends(0, &["start", "5", name]);
    await_leader(name);
    ends(0, &["kill", "5", name]);
    let text = ends(1, &["start", "--wait", "5", "3", name]);
    assert!(text.contains("does not serve after 5 s"), "{text}");
    ends(1, &["status", name]);
}

/// Adds lines to the configurations of servers that do not run.
fn configure(home: &Path, servers: &[i64], lines: &str) {
    for server in servers {
        let cfg = home.join(format!("{server}/zoo.cfg"));
        fs::write(&cfg, fs::read_to_string(&cfg).unwrap() + lines).unwrap();
    }
}

/// Who may create TTL nodes is not told by the data: a server without the setting takes those of its
/// leader, by SNAP and by proposal, and starts with them. `forceSnapshotSync` is what makes it a SNAP.
#[test]
fn ttl_nodes_of_a_leader_are_kept_without_the_setting() {
    let home = tempfile::tempdir().unwrap();
    let name = home.path().to_str().unwrap();
    let _ended = Ended(name);
    start_three(name);
    ends(0, &["stop", name]);
    configure(home.path(), &[1, 2], "extendedTypesEnabled=true\nforceSnapshotSync=true\n");
    ends(0, &["start", "1", name]);
    ends(0, &["start", "2", name]);
    let serving = await_leader(name);
    let mut client = client_of(&serving, "1");
    let mut create = |path: &str| {
        client.call(OpCode::CREATE_TTL, |writer| {
            support::create_record(writer, path, b"x", 5);
            writer.i64(1_000_000);
        })
    };
    assert_eq!(create("/a").err, 0);
    ends(0, &["start", "3", name]);
    assert_eq!(create("/b").err, 0);
    let text = await_leader(name);
    let mut other = client_of(&text, "3");
    assert_eq!(other.call(OpCode::SYNC, |writer| writer.string("/")).err, 0);
    assert_eq!((other.get("/a"), other.get("/b")), (Ok(b"x".to_vec()), Ok(b"x".to_vec())));
    let log = || fs::read_to_string(home.path().join("3/server.log")).unwrap();
    assert!(log().contains("(SNAP)"), "{}", log());
    assert!(!log().contains("there are TTL nodes"), "{}", log());
    ends(0, &["kill", "3", name]);
    let text = ends(0, &["start", "3", name]);
    assert!(log().contains("there are TTL nodes, and extendedTypesEnabled is off"), "{}", log());
    let mut other = client_of(&text, "3");
    assert_eq!((other.get("/a"), other.get("/b")), (Ok(b"x".to_vec()), Ok(b"x".to_vec())));
}

/// The log says which port, and the exit code is Apache's.
#[test]
fn a_member_without_its_ports_ends_with_14() {
    let home = tempfile::tempdir().unwrap();
    let name = home.path().to_str().unwrap();
    let _ended = Ended(name);
    let text = start_three(name);
    ends(0, &["stop", name]);
    for port in ["quorum port", "election port"] {
        let line = text.lines().find(|line| line.starts_with("server 1: ") && line.contains(port));
        let number = line.unwrap().split(port).nth(1).unwrap().trim_start();
        let number = number.split(',').next().unwrap();
        let _taken = TcpListener::bind(format!("127.0.0.1:{number}")).unwrap();
        let cfg = home.path().join("1/zoo.cfg");
        let server = Command::new(env!("CARGO_BIN_EXE_ringkeeper")).arg("server").arg(cfg).output();
        let output = server.unwrap();
        assert_eq!(output.status.code(), Some(14), "{port}: {}", said(&output));
        assert!(said(&output).contains(&format!("{port}: 127.0.0.1:{number} is in use")));
    }
}
