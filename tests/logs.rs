//! The log of a server: its file and logrotate, its forms, its levels, and a reader who does not
//! read it.

mod support;

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::{RawClient, Server, free_port};

fn wait_for(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(30), "waited for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn the_file_is_opened_again_after_logrotate() {
    let home = tempfile::tempdir().unwrap();
    let (file, moved) = (home.path().join("log"), home.path().join("log.1"));
    let line = format!("ringkeeper.log.file={}", file.display());
    let mut server = Server::start(home.path(), &[&line]);
    assert!(fs::read_to_string(&file).unwrap().contains(" [main:server::start@"));
    fs::rename(&file, &moved).unwrap();
    server.signal("HUP");
    wait_for("the new file", || {
        fs::read_to_string(&file).is_ok_and(|text| text.contains("SIGHUP"))
    });
    assert_eq!(server.terminate(), Some(0));
    assert!(fs::read_to_string(&file).unwrap().contains("] - stopped\n"));
    assert!(!fs::read_to_string(&moved).unwrap().contains("stopped"));
    assert_eq!(server.log(), "", "nothing of it goes to standard error");
}

#[test]
fn a_file_that_cannot_be_opened_refuses_the_start() {
    let home = tempfile::tempdir().unwrap();
    let flag = format!("-Dringkeeper.log.file={}/none/log", home.path().display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringkeeper"));
    let data = home.path().join("data");
    let output = command.arg("server").arg(flag).arg("0").arg(data).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("/none/log: No such file or directory (os error 2); its directory must"));
}

#[test]
fn each_line_is_an_object() {
    let home = tempfile::tempdir().unwrap();
    let lines = ["ringkeeper.log.format=json", "ringkeeper.log.level=warn,server::start=info"];
    let mut server = Server::start(home.path(), &lines);
    assert_eq!(server.terminate(), Some(0));
    let log = server.log();
    let objects = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let modules: Vec<String> =
        objects.map(|object| object["module"].as_str().unwrap().to_owned()).collect();
    assert!(modules.iter().any(|module| module == "server::start"), "{log}");
    assert!(!modules.iter().any(|module| module == "server::running"), "{log}");
}

/// Clients are served while nobody reads what the server says, and it ends.
#[test]
fn standard_error_that_nobody_reads_stops_nobody() {
    let home = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let port = free_port();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringkeeper"));
    let mut child = command
        .env("RUST_LOG", "trace")
        .args(["server", &port.to_string(), home.path().join("data").to_str().unwrap()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(writer)
        .spawn()
        .unwrap();
    drop(command);
    let address = ([127, 0, 0, 1], port).into();
    wait_for("the port", || std::net::TcpStream::connect(address).is_ok());
    // Each connection that ends is a line or two: more than a pipe and the queue take.
    for _ in 0..5000 {
        drop(std::net::TcpStream::connect(address).unwrap());
    }
    let mut client = RawClient::connect(address, 40_000);
    assert_eq!(client.create("/a", b"", 0).err, 0);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let began = Instant::now();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if began.elapsed() > Duration::from_secs(30) => {
                child.kill().unwrap();
                panic!("it waits for whoever reads its standard error");
            }
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    assert_eq!(status.code(), Some(0));
    drop(reader);
}
