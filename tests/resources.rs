//! A server whose process gets little: few descriptors, one thread, short files. It serves within what it gets, or is refused with the sentence that mends it.

mod support;

use std::io::Read;
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use ringkeeper::codes::OpCode;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};
use support::{RawClient, Server, create_record, four_letters, free_port};

/// A connection from this loopback address that says nothing.
fn silent_from(host: u8, server: SocketAddr) -> TcpStream {
    let socket =
        socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    bind(&socket, &SocketAddrV4::new([127, 0, 0, host].into(), 0)).unwrap();
    connect(&socket, &server).unwrap();
    TcpStream::from(socket)
}

/// Whether the server has ended the connection.
fn is_refused(mut stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    match stream.read(&mut [0]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}

/// The value of one line of mntr.
fn measure(server: &Server, name: &str) -> u64 {
    let text = four_letters(server.address, "mntr").expect("it answers");
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("zk_{name}\t")));
    line.unwrap_or_else(|| panic!("{name} is not in\n{text}")).parse().unwrap()
}

fn raise_own_limit() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
}

#[test]
fn a_flood_of_connections_is_refused_at_the_door_and_hurts_nobody() {
    raise_own_limit();
    let home = tempfile::tempdir().unwrap();
    let lines = [
        "preAllocSize=1024",
        "snapCount=300",
        "nio.sessionlessCnxnTimeout=600000",
        "txnLogSizeLimitInKb=512",
    ];
    let mut server = Server::start_behind("ulimit -n 1024", home.path(), &lines);
    assert!(server.log().contains("maxCnxns is not set"), "{}", server.log());
    let mut client = RawClient::connect(server.address, 40_000);
    let flood: Vec<_> =
        (1..=1180).map(|nth| silent_from((nth % 20) as u8 + 1, server.address)).collect();
    let deadline = Instant::now() + Duration::from_secs(30);
    while !flood.iter().any(is_refused) {
        assert!(Instant::now() < deadline, "nobody is refused");
        std::thread::sleep(Duration::from_millis(20));
    }
    // Each needs a new log file every 25 writes, and snapshots meanwhile.
    for nth in 0..600 {
        assert_eq!(
            client.create(&format!("/f{nth}"), &[b'x'; 20 << 10], 0).err,
            0,
            "{}",
            server.log()
        );
    }
    let refused = flood.iter().filter(|stream| is_refused(stream)).count();
    let log = server.log();
    assert!(refused >= 1180 - 900, "{refused} were refused:\n{log}");
    assert!(refused < 1180 - 500, "{refused} were refused, far more than need be:\n{log}");
    for trouble in
        ["Too many open files", "no space", "No file descriptors", "accepting connections fails"]
    {
        assert!(!log.contains(trouble), "{trouble:?}:\n{log}");
    }
    drop(flood);
    let deadline = Instant::now() + Duration::from_secs(30);
    while measure(&server, "num_alive_connections") > 10 {
        assert!(Instant::now() < deadline, "the connections that have gone are still counted");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(
        RawClient::connect(server.address, 40_000).get("/f0").map(|data| data.len()),
        Ok(20 << 10)
    );
    assert_eq!(server.terminate(), Some(0), "{}", server.log());
}

#[test]
fn the_soft_limit_of_open_files_is_raised_to_the_hard_one() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start_behind(
        "ulimit -S -n 200 && ulimit -H -n 2000",
        home.path(),
        &["maxCnxns=100000"],
    );
    assert_eq!(measure(&server, "max_file_descriptor_count"), 2000);
    let log = server.log();
    assert!(log.contains("maxCnxns is 100000") && log.contains("ulimit -n"), "{log}");
}

/// The log of a server that was started by a shell with this limit and must not come up.
fn refused_behind(before: &str) -> String {
    let home = tempfile::tempdir().unwrap();
    let mut server = Server::spawn_limited(before, home.path(), free_port(), &[]);
    let code = server.wait();
    assert_eq!(code, Some(1), "{}", server.log());
    server.log()
}

#[test]
fn too_little_is_named_with_what_raises_it() {
    for (before, said) in [
        ("ulimit -n 64", "ulimit -n 65536"),
        ("ulimit -n 12", "ulimit -n 65536"),
        ("ulimit -u 1", "ulimit -u 4096"),
        ("ulimit -f 2048", "ulimit -f unlimited"),
        ("ulimit -f 64", "ulimit -f unlimited"),
    ] {
        let log = refused_behind(before);
        let refusal = log.lines().last().unwrap_or_default();
        // Where there is no thread for the log, it is said without it.
        let is_error = refusal.contains("ERROR") || refusal.starts_with("ringkeeper: ");
        assert!(is_error && refusal.contains(said), "{before}:\n{log}");
    }
}

/// The limit of threads is reached after the start: the kernel has none of its own for the flush,
/// which is no failure of the disk.
#[test]
fn a_flush_needs_no_thread_of_the_kernel() {
    for mode in ["mapped", "direct"] {
        let home = tempfile::tempdir().unwrap();
        let line = format!("ringkeeper.log={mode}");
        let mut server = Server::spawn_limited("true", home.path(), free_port(), &[&line]);
        server.wait_until_it_answers();
        server.allow_no_more_threads();
        let mut client = RawClient::connect(server.address, 40_000);
        for nth in 0..20 {
            assert_eq!(client.create(&format!("/t{nth}"), b"", 0).err, 0, "{}", server.log());
        }
        // A direct write needs none.
        if mode == "mapped" {
            server.wait_for_log("the kernel has no thread of its own to flush");
            assert!(server.log().contains("ulimit -u"), "{}", server.log());
        }
        server.kill_and_restart();
        assert_eq!(RawClient::connect(server.address, 40_000).get("/t19"), Ok(vec![]));
    }
}

/// Log files keep below the limit; a snapshot that cannot is given up with the reason.
#[test]
fn short_files_are_enough() {
    let home = tempfile::tempdir().unwrap();
    // Blocks of 1 KiB: 8 MiB.
    let mut server =
        Server::spawn_limited("ulimit -f 8192", home.path(), free_port(), &["snapCount=300"]);
    server.wait_until_it_answers();
    let mut client = RawClient::connect(server.address, 40_000);
    for nth in 0..1600 {
        client.request(OpCode::CREATE, |writer| {
            create_record(writer, &format!("/l{nth}"), &[b'x'; 20 << 10], 0)
        });
    }
    for _ in 0..1600 {
        assert_eq!(client.reply().expect("it serves").err, 0, "{}", server.log());
    }
    server.wait_for_log("no snapshot:");
    let log = server.log();
    assert!(log.contains("no file may be longer than 8388608 bytes"), "{log}");
    assert_eq!(client.create("/after", b"", 0).err, 0);
    assert_eq!(server.terminate(), Some(0), "{}", server.log());
}

/// A limit below the length of the log file in use ends the server where a write meets it, with the
/// limit and what raises it. In a map nothing meets it.
#[test]
fn a_limit_of_file_sizes_below_the_log_in_use_is_named() {
    // In the middle of a block, and at the end of one.
    for limit in [300_001, 307_200] {
        let home = tempfile::tempdir().unwrap();
        let mut server = Server::start(home.path(), &["ringkeeper.log=direct"]);
        let mut client = RawClient::connect(server.address, 40_000);
        assert_eq!(client.create("/before", b"", 0).err, 0);
        server.allow_no_longer_files(limit);
        for nth in 0..20 {
            client.request(OpCode::CREATE, |writer| {
                create_record(writer, &format!("/l{nth}"), &[b'x'; 20 << 10], 0)
            });
        }
        assert_eq!(server.wait(), Some(10), "{}", server.log());
        let log = server.log();
        for said in ["File too large", &format!("{limit} bytes"), "ulimit -f", "LimitFSIZE="] {
            assert!(log.contains(said), "{said:?} is not in\n{log}");
        }
        server.restart();
        assert_eq!(RawClient::connect(server.address, 40_000).get("/before"), Ok(vec![]));
    }
}
