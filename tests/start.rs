//! The start and the end of a server: what it says, what it refuses with which reason and exit
//! code, what it recovers from and what not, and what it costs when nothing happens.

mod support;

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ringkeeper::codes::OpCode;
use support::{RawClient, Server, create_record, four_letters, free_port};

/// The exit code and what was said by a server that must not come up.
fn refused(home: &Path, lines: &[&str]) -> (Option<i32>, String) {
    let lines = lines.iter().map(|line| line.to_string()).collect();
    let mut server = Server::spawn(home, free_port(), lines, &[]);
    let code = server.wait();
    (code, server.log())
}

const THREE_VOTERS: &[&str] = &[
    "initLimit=10",
    "syncLimit=5",
    "server.1=a:2888:3888",
    "server.2=b:2888:3888",
    "server.3=c:2888:3888",
];

#[test]
fn the_start_says_what_where_and_how() {
    let home = tempfile::tempdir().unwrap();
    let mut server = Server::start(
        home.path(),
        &["ringkeeper.shards=2", "snapcount=77", "secureClientPort=2281"],
    );
    let log = server.log();
    let version =
        format!("Ringkeeper {}, compatible with ZooKeeper 3.9", env!("CARGO_PKG_VERSION"));
    let directory = home.path().join("data").display().to_string();
    for said in [
        &version,
        &server.address.to_string(),
        &directory,
        "2 shards",
        "recovered",
        "znodes",
        " ms",
        "core",
    ] {
        assert!(log.contains(said), "{said:?} is not said:\n{log}");
    }
    for (key, remedy) in [("snapcount", "snapCount"), ("secureClientPort", "TLS")] {
        let line = log.lines().find(|line| line.contains(&format!("{key}:"))).unwrap_or_default();
        assert!(
            line.contains("WARN") && line.contains(remedy),
            "{key} is not named with {remedy}:\n{log}"
        );
    }
    assert_eq!(server.terminate(), Some(0), "{}", server.log());
    server.restart();
    assert!(server.log().contains("recovered"), "{}", server.log());
}

#[test]
fn a_member_that_cannot_be_one_is_refused_with_the_reason() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    fs::create_dir(&data).unwrap();
    let (code, log) = refused(home.path(), THREE_VOTERS);
    assert_eq!(code, Some(2), "{log}");
    assert!(log.contains("myid is missing"), "{log}");
    for (id, exit, said) in [("7", 1, "there are 1, 2, 3"), ("2", 2, "cannot resolve b")] {
        fs::write(data.join("myid"), id).unwrap();
        let (code, log) = refused(home.path(), THREE_VOTERS);
        assert_eq!(code, Some(exit), "{log}");
        assert!(log.contains(said), "{log}");
    }
    assert!(!data.join("version-2").exists(), "nothing is made by a server that does not start");
}

#[test]
fn epoch_files_that_cannot_be_refuse_a_member_and_no_server_on_its_own() {
    let home = tempfile::tempdir().unwrap();
    let files = home.path().join("data/version-2");
    fs::create_dir_all(&files).unwrap();
    fs::write(home.path().join("data/myid"), "2").unwrap();
    for (accepted, current, said) in [
        ("4", "five", "currentEpoch should hold one number"),
        ("4", "5", "acceptedEpoch 4 is below currentEpoch 5"),
    ] {
        fs::write(files.join("acceptedEpoch"), accepted).unwrap();
        fs::write(files.join("currentEpoch"), current).unwrap();
        let (code, log) = refused(home.path(), THREE_VOTERS);
        assert_eq!(code, Some(1), "{log}");
        assert!(log.contains(said) && log.contains("move version-2 away"), "{log}");
        let server = Server::start(home.path(), &[]);
        let log = server.log();
        assert!(log.contains("a member of an ensemble could not start here"), "{log}");
        assert!(log.contains(said), "{log}");
    }
}

#[test]
fn a_server_on_its_own_in_the_directory_of_a_member_says_so() {
    let home = tempfile::tempdir().unwrap();
    let files = home.path().join("data/version-2");
    fs::create_dir_all(&files).unwrap();
    fs::write(files.join("acceptedEpoch"), "3").unwrap();
    let server = Server::start(home.path(), &[]);
    let log = server.log();
    assert!(log.contains("that of a member of an ensemble (currentEpoch 0, accep"), "{log}");
    assert_eq!(fs::read_to_string(files.join("currentEpoch")).unwrap(), "0");
    assert_eq!(fs::read_to_string(files.join("acceptedEpoch")).unwrap(), "3");
}

#[test]
fn values_that_make_no_sense_are_named() {
    for (line, named) in [
        ("tickTime=soon", "tickTime"),
        ("maxClientCnxns=-x", "maxClientCnxns"),
        ("clientPort=99999", "clientPort"),
    ] {
        let home = tempfile::tempdir().unwrap();
        let (code, log) = refused(home.path(), &[line]);
        assert_eq!(code, Some(2), "{line}:\n{log}");
        assert!(log.contains(named), "{line}:\n{log}");
    }
}

#[test]
fn a_port_in_use_is_named_with_what_shows_its_owner() {
    let home = tempfile::tempdir().unwrap();
    let holder = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = holder.local_addr().unwrap().port();
    let mut server = Server::spawn(home.path(), port, Vec::new(), &[]);
    assert_eq!(server.wait(), Some(1), "{}", server.log());
    let log = server.log();
    assert!(
        log.contains(&format!("127.0.0.1:{port} is in use")) && log.contains("ss -ltnp"),
        "{log}"
    );
}

/// Collectors parse Apache's lines by the time, the level and what follows it.
#[test]
fn every_log_line_has_the_form_of_apaches() {
    let home = tempfile::tempdir().unwrap();
    let mut server = Server::start(home.path(), &["snapcount=77"]);
    assert_eq!(server.terminate(), Some(0), "{}", server.log());
    for line in server.log().lines() {
        let shape: String =
            line.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert!(shape.starts_with("0000-00-00 00:00:00,000 [myid:] - "), "{line}");
        let (level, rest) = line["0000-00-00 00:00:00,000 [myid:] - ".len()..].split_at(6);
        assert!(["INFO  ", "WARN  "].contains(&level), "{line}");
        assert!(rest.starts_with('[') && rest.contains("] - "), "{line}");
    }
}

#[test]
fn an_unknown_client_address_ends_in_2_and_exchanged_directories_in_3() {
    let home = tempfile::tempdir().unwrap();
    let (code, log) = refused(home.path(), &["clientPortAddress=no.such.host.invalid"]);
    assert_eq!(code, Some(2), "{log}");
    assert!(log.contains("cannot resolve no.such.host.invalid"), "{log}");

    let home = tempfile::tempdir().unwrap();
    let log_dir = format!("dataLogDir={}", home.path().join("logs").display());
    Server::start(home.path(), &[&log_dir]).terminate();
    let exchanged = [
        format!("dataDir={}", home.path().join("logs").display()),
        format!("dataLogDir={}", home.path().join("data").display()),
    ];
    let (code, log) = refused(home.path(), &[&exchanged[0], &exchanged[1]]);
    assert_eq!(code, Some(3), "{log}");
    assert!(log.contains("set dataLogDir") || log.contains("set dataDir"), "{log}");
}

/// `stmk` that is not in the whitelist is refused like any other word, with or without its mask; in
/// it, and without a mask, it gets no answer.
#[test]
fn stmk_is_refused_like_the_others() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path(), &["4lw.commands.whitelist=ruok"]);
    let refusal = "stmk is not executed because it is not in the whitelist.\n";
    for asked in ["stmk", "stmk\0\0\0\0\0\0\0\x01", "stmk\0"] {
        assert_eq!(four_letters(server.address, asked).as_deref(), Some(refusal), "{asked:?}");
    }
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path(), &[]);
    assert_eq!(four_letters(server.address, "stmk").as_deref(), Some(""));
    assert_eq!(four_letters(server.address, "stmk\0\0\0\0\0\0\0\x05").as_deref(), Some("5"));
}

#[test]
fn reconfig_is_not_implemented_where_it_is_enabled() {
    for (lines, wanted) in [(&[][..], -123), (&["reconfigEnabled=true"][..], -6)] {
        let home = tempfile::tempdir().unwrap();
        let server = Server::start(home.path(), lines);
        let mut client = RawClient::connect(server.address, 40_000);
        let reply = client.call(OpCode::RECONFIG, |writer| {
            (0..3).for_each(|_| writer.string("server.2=a:1:2;3"));
            writer.i64(-1);
        });
        assert_eq!(reply.err, wanted, "{lines:?}");
        assert_eq!(client.create("/after", b"", 0).err, 0, "the session goes on");
    }
}

#[test]
fn directories_that_can_not_be_had_are_named() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("data"), "a file").unwrap();
    let (code, log) = refused(home.path(), &[]);
    assert_eq!(code, Some(3), "{log}");
    assert!(log.contains(&home.path().join("data").display().to_string()), "{log}");

    let home = tempfile::tempdir().unwrap();
    let (code, log) = refused(home.path(), &["datadir.autocreate=false"]);
    assert_eq!(code, Some(3), "{log}");
    assert!(log.contains("data"), "{log}");
}

/// Without root's rights a directory of somebody else's cannot be entered.
#[test]
fn missing_permission_is_named_with_the_remedy() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    fs::create_dir(&data).unwrap();
    if !rustix::process::geteuid().is_root() {
        fs::set_permissions(&data, Permissions::from_mode(0o500)).unwrap();
        let (code, log) = refused(home.path(), &[]);
        assert_eq!(code, Some(3), "{log}");
        assert!(log.contains("chown"), "{log}");
        return;
    }
    // Root may do everything: the server runs as nobody, who may read the configuration and enter
    // no more.
    fs::set_permissions(home.path(), Permissions::from_mode(0o755)).unwrap();
    let config = home.path().join("zoo.cfg");
    let text = format!(
        "clientPort={}\nclientPortAddress=127.0.0.1\ndataDir={}\n",
        free_port(),
        data.display()
    );
    fs::write(&config, text).unwrap();
    let binary = home.path().join("ringkeeper");
    fs::copy(env!("CARGO_BIN_EXE_ringkeeper"), &binary).unwrap();
    let mut command = Command::new(&binary);
    let output = command.uid(65534).arg("server").arg(&config).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("chown") && said.contains(&data.display().to_string()), "{said}");
}

#[test]
fn a_second_server_on_the_same_directory_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path(), &[]);
    let other = tempfile::tempdir().unwrap();
    let (code, log) =
        refused(other.path(), &[&format!("dataDir={}", home.path().join("data").display())]);
    assert_eq!(code, Some(3), "{log}");
    assert!(log.contains(&server.pid().to_string()), "the holder is named:\n{log}");
    assert_eq!(four_letters(server.address, "ruok").as_deref(), Some("imok"));
}

/// A server killed after `writes` creates; its only log file.
fn killed_after(home: &Path, writes: usize) -> (Server, PathBuf) {
    let mut server = Server::start(home, &["preAllocSize=1024", "snapCount=1000000"]);
    let mut client = RawClient::connect(server.address, 30_000);
    for nth in 0..writes {
        assert_eq!(client.create(&format!("/n{nth}"), b"data", 0).err, 0);
    }
    server.kill();
    let files =
        fs::read_dir(home.join("data/version-2")).unwrap().map(|entry| entry.unwrap().path());
    let mut logs: Vec<_> = files.filter(|path| is_log(path)).collect();
    assert_eq!(logs.len(), 1, "{logs:?}");
    (server, logs.remove(0))
}

fn is_log(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("log."))
}

fn offset_of(bytes: &[u8], what: &[u8]) -> usize {
    bytes.windows(what.len()).position(|window| window == what).expect("it was written")
}

#[test]
fn a_log_that_is_corrupt_in_the_middle_is_refused_and_left_alone() {
    let home = tempfile::tempdir().unwrap();
    let (mut server, log_file) = killed_after(home.path(), 200);
    let mut bytes = fs::read(&log_file).unwrap();
    let at = offset_of(&bytes, b"/n100");
    bytes[at + 1] ^= 1;
    fs::write(&log_file, &bytes).unwrap();
    let mut second = Server::spawn(home.path(), server.address.port(), Vec::new(), &[]);
    assert_eq!(second.wait(), Some(1), "{}", second.log());
    let said = second.log();
    let name = log_file.file_name().unwrap().to_string_lossy().into_owned();
    // The session has zxid 1, /n0 zxid 2: the last good one is /n99's.
    for wanted in
        [name.as_str(), "corrupt at offset ", "zxid 0x65", "backup", "ringkeeper tools cut"]
    {
        assert!(said.contains(wanted), "{wanted:?} is not said:\n{said}");
    }
    assert_eq!(fs::read(&log_file).unwrap(), bytes, "nothing is cut unasked");

    // The remedy that is named does what it says.
    let remedy =
        said.split("ringkeeper tools cut ").nth(1).expect("it is there").lines().next().unwrap();
    let (_, offset) = remedy.rsplit_once(' ').expect("file and offset");
    let cut = Command::new(env!("CARGO_BIN_EXE_ringkeeper"))
        .args(["tools", "cut"])
        .arg(&log_file)
        .arg(offset)
        .output()
        .unwrap();
    assert!(cut.status.success(), "{}", String::from_utf8_lossy(&cut.stderr));
    server.restart();
    let mut client = RawClient::connect(server.address, 30_000);
    assert_eq!(client.get("/n99"), Ok(b"data".to_vec()));
    assert_eq!(client.get("/n100"), Err(-101));
}

#[test]
fn a_torn_tail_is_cut_and_the_server_starts() {
    let home = tempfile::tempdir().unwrap();
    let (mut server, log_file) = killed_after(home.path(), 50);
    // The last record never became whole: its end, and what would follow it, is missing.
    let mut bytes = fs::read(&log_file).unwrap();
    let at = offset_of(&bytes, b"/n49");
    bytes[at + 2..].fill(0);
    fs::write(&log_file, &bytes).unwrap();
    server.restart();
    let said = server.log();
    assert!(said.contains("torn tail was cut at offset"), "{said}");
    let mut client = RawClient::connect(server.address, 30_000);
    assert_eq!(client.get("/n48"), Ok(b"data".to_vec()));
    assert_eq!(client.get("/n49"), Err(-101));
    assert_eq!(client.create("/n49", b"again", 0).err, 0);
    server.kill_and_restart();
    assert_eq!(RawClient::connect(server.address, 30_000).get("/n49"), Ok(b"again".to_vec()));
}

#[test]
fn sigterm_answers_the_writes_in_flight() {
    let home = tempfile::tempdir().unwrap();
    let mut server = Server::start(home.path(), &["preAllocSize=4096"]);
    let mut client = RawClient::connect(server.address, 30_000);
    let asked = 3000;
    for nth in 1..=asked {
        client.request(OpCode::CREATE, |writer| create_record(writer, &format!("/f{nth}"), b"", 0));
    }
    assert_eq!(client.reply().map(|reply| reply.xid), Some(1), "the server is at it");
    let reader = std::thread::spawn(move || {
        let mut answered = 1;
        while let Some(reply) = client.reply() {
            answered += 1;
            assert_eq!((reply.xid, reply.err), (answered, 0));
        }
        answered
    });
    assert_eq!(server.terminate(), Some(0), "{}", server.log());
    let answered = reader.join().unwrap();
    server.restart();
    let mut client = RawClient::connect(server.address, 30_000);
    for nth in 1..=asked {
        // What was taken up is answered, what was not is not done: nothing is done in secret.
        let expected = if nth <= answered { Ok(vec![]) } else { Err(-101) };
        assert_eq!(client.get(&format!("/f{nth}")), expected, "{answered} were answered");
    }
}

#[test]
fn without_arguments_it_serves_on_2181_with_its_data_beside_it() {
    if TcpListener::bind(("127.0.0.1", 2181)).is_err()
        || TcpListener::bind(("0.0.0.0", 2181)).is_err()
    {
        fs::write(
            "/dev/stderr",
            "\nstart: SKIPPED the start without arguments: port 2181 is in use\n",
        )
        .unwrap();
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let log = fs::File::create(home.path().join("log")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringkeeper"));
    command
        .current_dir(home.path())
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    let mut child = command.spawn().unwrap();
    let address = "127.0.0.1:2181".parse().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    let serves =
        || four_letters(address, "srvr").is_some_and(|text| text.contains("Mode: standalone"));
    let mut up = serves();
    while !up && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(50));
        up = serves();
    }
    Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    let status = child.wait().unwrap();
    let said = fs::read_to_string(home.path().join("log")).unwrap();
    assert!(up, "{said}");
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(home.path().join("ringkeeper-data/version-2").is_dir());
    assert!(said.contains("127.0.0.1:2181") && said.contains("ringkeeper-data"), "{said}");
}

/// The goal is below 1 % of a core; the bound leaves room for a machine that is busy and a build
/// without optimization.
#[test]
fn a_thousand_idle_sessions_cost_next_to_nothing() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path(), &["maxClientCnxns=0"]);
    let clients: Vec<_> = (0..1000).map(|_| RawClient::connect(server.address, 40_000)).collect();
    std::thread::sleep(Duration::from_secs(1));
    let (cpu, start) = (server.cpu_time(), Instant::now());
    std::thread::sleep(Duration::from_secs(5));
    let share = (server.cpu_time() - cpu).as_secs_f64() / start.elapsed().as_secs_f64();
    assert!(share < 0.03, "{:.1} % of a core for {} idle sessions", share * 100.0, clients.len());
}

/// The value of one line of mntr.
fn measure(server: &Server, name: &str) -> u64 {
    let text = four_letters(server.address, "mntr").expect("it answers");
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("zk_{name}\t")));
    line.unwrap_or_else(|| panic!("{name} is not in\n{text}")).parse().expect("a number")
}

/// A snapshot does not begin a log file, and a start that begins amid one has all that comes after
/// the snapshot.
#[test]
fn snapshots_fall_amid_a_log_file_and_a_start_reads_on_from_there() {
    let home = tempfile::tempdir().unwrap();
    let mut server = Server::start(home.path(), &["snapCount=20"]);
    let mut client = RawClient::connect(server.address, 30_000);
    let files = |prefix: &str| {
        let names = fs::read_dir(home.path().join("data/version-2")).unwrap();
        let names = names.map(|file| file.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(prefix)).collect::<Vec<_>>()
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut nodes = 0;
    // The first one is of the empty tree.
    while files("snapshot.").len() < 4 {
        assert!(Instant::now() < deadline, "{}", server.log());
        assert_eq!(client.create(&format!("/n{nodes}"), b"before", 0).err, 0);
        nodes += 1;
    }
    assert_eq!(client.create("/last", b"after", 0).err, 0);
    assert_eq!(files("log.").len(), 1, "{:?}", files("log."));
    server.kill_and_restart();
    let mut client = RawClient::connect(server.address, 30_000);
    for nth in 0..nodes {
        assert_eq!(client.get(&format!("/n{nth}")), Ok(b"before".to_vec()));
    }
    assert_eq!(client.get("/last"), Ok(b"after".to_vec()));
}

#[test]
fn mntr_shows_what_has_passed() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path(), &["snapCount=20", "maxClientCnxns=40"]);
    let mut client = RawClient::connect(server.address, 30_000);
    for nth in 0..50 {
        assert_eq!(client.create(&format!("/m{nth}"), &[b'x'; 1000], 0).err, 0);
        assert_eq!(client.get(&format!("/m{nth}")).map(|data| data.len()), Ok(1000));
    }
    let exists = client.call(OpCode::EXISTS, |writer| {
        writer.string("/m0");
        writer.bool(true);
    });
    assert_eq!(exists.err, 0);
    client.request(OpCode::SET_DATA, |writer| {
        writer.string("/m0");
        writer.buffer(Some(b"y"));
        writer.i32(-1);
    });
    let (event, reply) = (client.reply().unwrap(), client.reply().unwrap());
    assert_eq!((event.xid, reply.err), (-1, 0));
    // Ends a connection with a frame that is none.
    RawClient::plain(server.address).send_bytes(&[0xff; 8]);
    let deadline = Instant::now() + Duration::from_secs(20);
    while measure(&server, "ringkeeper_closed_frame_length") == 0
        || measure(&server, "cnt_snapshottime") == 0
    {
        assert!(Instant::now() < deadline, "{}", server.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    for (name, least) in [
        ("bytes_received_count", 50_000),
        ("response_bytes", 50_000),
        ("connection_request_count", 1),
        ("cnt_updatelatency", 51),
        ("cnt_readlatency", 51),
        ("cnt_fsynctime", 1),
        ("max_client_response_size", 1000),
        ("ringkeeper_closed_word_answered", 1),
    ] {
        assert!(measure(&server, name) >= least, "{name} is {}", measure(&server, name));
    }
    // One event: length, header, type, state, path.
    assert_eq!(measure(&server, "watch_bytes"), 4 + 16 + 4 + 4 + 4 + 3);
    let mut others: Vec<_> = (0..60).map(|_| RawClient::plain(server.address)).collect();
    assert!(others[59].is_closed_silently(), "more than 40 connections of one address are there");
    drop(others);
    let mut refused = 0;
    while refused < 20 {
        assert!(Instant::now() < deadline, "{}", server.log());
        let text = four_letters(server.address, "mntr").unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("zk_connection_rejected\t"));
        refused = line.map_or(0, |count| count.parse().unwrap());
    }
}

#[test]
fn ids_are_hashed_as_the_configuration_says() {
    let home = tempfile::tempdir().unwrap();
    // printf user:password | openssl dgst -sha256 -binary | base64
    let id = "super:wtZw1Um4mq1rRKbXqxHs8ueodBP35/JhtBP/nwJ62WY=";
    let lines = [
        "DigestAuthenticationProvider.digestAlg=SHA-256".to_owned(),
        format!("DigestAuthenticationProvider.superDigest={id}"),
    ];
    let server = Server::start(home.path(), &[&lines[0], &lines[1]]);
    let mut client = RawClient::connect(server.address, 30_000);
    let created = client.call(OpCode::CREATE, |writer| {
        writer.string("/closed");
        writer.buffer(Some(b"data"));
        writer.i32(1);
        writer.i32(31);
        writer.string("digest");
        writer.string("owner:KwQoEcEIICPN81CQJcvMbG0AOhxkBIMos2GV+jP0Npc=");
        writer.i32(0);
    });
    assert_eq!(created.err, 0);
    assert_eq!(client.get("/closed"), Err(-102));
    for (who, sees) in [
        ("owner:wrong", Err(-102)),
        ("owner:secret", Ok(b"data".to_vec())),
        ("super:admin", Ok(b"data".to_vec())),
    ] {
        let mut client = RawClient::connect(server.address, 30_000);
        client.request_as(-4, OpCode::AUTH, |writer| {
            writer.i32(0);
            writer.string("digest");
            writer.buffer(Some(who.as_bytes()));
        });
        assert_eq!(client.reply().map(|reply| reply.err), Some(0));
        assert_eq!(client.get("/closed"), sees, "{who}");
    }
}
