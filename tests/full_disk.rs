//! A disk that is full: writes get an error, reads go on, writes resume once there is space, and
//! nothing that was acknowledged is lost. On a small file system in memory, which only root may
//! mount.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use ringkeeper::codes::OpCode;
use ringkeeper::jute::Writer;
use support::{RawClient, Server, create_record, four_letters, free_port};

/// A file system of its own. It is unmounted when dropped.
struct SmallDisk {
    directory: tempfile::TempDir,
}

impl SmallDisk {
    /// None where it cannot be mounted.
    fn mount(mebibytes: u32) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let size = format!("size={mebibytes}m");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "ringkeeper-test"]).arg(directory.path());
        let done = mount.output().is_ok_and(|output| output.status.success());
        // From inside the test harness only standard error of the process itself is seen without
        // --nocapture.
        if !done {
            let note = "\nfull_disk: SKIPPED, no file system can be mounted here: it needs root\n";
            fs::write("/dev/stderr", note).unwrap_or_else(|_| eprint!("{note}"));
        }
        done.then_some(Self { directory })
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The setting that puts the data on it; configuration and what the server says are elsewhere.
    fn data_dir(&self) -> String {
        format!("dataDir={}", self.path().join("data").display())
    }

    /// Takes all the space that is left.
    fn fill(&self) -> PathBuf {
        let ballast = self.path().join("ballast");
        let mut dd = Command::new("dd");
        dd.arg("if=/dev/zero").arg(format!("of={}", ballast.display())).args([
            "bs=4k",
            "oflag=append",
            "conv=notrunc",
        ]);
        dd.output().expect("dd is on every machine");
        ballast
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

/// Creates of 20 KiB until the first refusal; the paths that were acknowledged.
fn write_until_refused(client: &mut RawClient, prefix: &str) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for nth in 0..10_000 {
        let path = format!("/{prefix}{nth}");
        match client.create(&path, &[b'x'; 20 << 10], 0).err {
            0 => acknowledged.push(path),
            err => {
                assert_eq!(err, -1, "a full disk is a system error");
                return acknowledged;
            }
        }
    }
    panic!("the disk never became full");
}

fn write_until_accepted(client: &mut RawClient, path: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while client.create(path, b"again", 0).err != 0 {
        assert!(Instant::now() < deadline, "writes do not resume");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn all_there(client: &mut RawClient, paths: &[String]) {
    for path in paths {
        assert_eq!(
            client.get(path).map(|data| data.len()),
            Ok(20 << 10),
            "{path} was acknowledged"
        );
    }
}

#[test]
fn a_full_disk_refuses_writes_serves_reads_and_loses_nothing() {
    let Some(disk) = SmallDisk::mount(48) else { return };
    let home = tempfile::tempdir().unwrap();
    let mut server =
        Server::start(home.path(), &[&disk.data_dir(), "preAllocSize=4096", "snapCount=1000000"]);
    let mut client = RawClient::connect(server.address, 40_000);
    let ballast = disk.fill();
    let mut acknowledged = write_until_refused(&mut client, "a");
    assert!(!acknowledged.is_empty(), "what was reserved is used");

    // Full: reads of old and new connections go on, every kind of write is refused, and sessions
    // live.
    all_there(&mut client, &acknowledged);
    for _ in 0..50 {
        assert_eq!(client.create("/no", &[b'x'; 20 << 10], 0).err, -1);
        assert_eq!(client.get("/no"), Err(-101), "what was refused is not there");
    }
    let refused = client.call(OpCode::SET_DATA, |writer| set_record(writer, &acknowledged[0]));
    assert_eq!(refused.err, -1);
    assert_eq!(
        client.call(OpCode::EXISTS, |writer| exists_record(writer, &acknowledged[0])).err,
        0
    );
    assert_eq!(four_letters(server.address, "ruok").as_deref(), Some("imok"));

    fs::remove_file(&ballast).unwrap();
    write_until_accepted(&mut client, "/resumed");
    disk.fill();
    acknowledged.extend(write_until_refused(&mut client, "b"));

    // Killed while the disk is full, started while it still is: a session is renewed and reads. A
    // new one would write.
    server.kill_and_restart();
    let mut client = RawClient::renew(server.address, 40_000, client.session, &client.password);
    assert_ne!(client.session, 0, "{}", server.log());
    all_there(&mut client, &acknowledged);
    assert_eq!(client.get("/resumed"), Ok(b"again".to_vec()));
    assert_eq!(client.get("/no"), Err(-101));
    fs::remove_file(&ballast).unwrap();
    write_until_accepted(&mut client, "/after");
    assert_eq!(server.terminate(), Some(0), "{}", server.log());
}

/// Many writes are under way when the disk fills: each is acknowledged and stays, or refused and
/// never was.
#[test]
fn writes_under_way_are_each_done_or_refused() {
    let Some(disk) = SmallDisk::mount(32) else { return };
    let home = tempfile::tempdir().unwrap();
    let mut server =
        Server::start(home.path(), &[&disk.data_dir(), "preAllocSize=4096", "snapCount=1000000"]);
    let mut client = RawClient::connect(server.address, 40_000);
    disk.fill();
    let (mut done, mut refused) = (Vec::new(), Vec::new());
    for round in 0..40 {
        let paths: Vec<_> = (0..100).map(|nth| format!("/r{round}-{nth}")).collect();
        for path in &paths {
            client.request(OpCode::CREATE, |writer| {
                create_record(writer, path, &[b'x'; 20 << 10], 0)
            });
        }
        for path in paths {
            match client.reply().expect("every write is answered").err {
                0 => done.push(path),
                -1 => refused.push(path),
                err => panic!("{path} ended in {err}"),
            }
        }
        if refused.len() > 200 {
            break;
        }
    }
    assert!(
        !done.is_empty() && refused.len() > 200,
        "{} done, {} refused",
        done.len(),
        refused.len()
    );
    for _ in 0..2 {
        all_there(&mut client, &done);
        for path in &refused {
            assert_eq!(client.get(path), Err(-101), "{path} was refused");
        }
        server.kill();
        let _ = fs::remove_file(disk.path().join("ballast"));
        server.restart();
        client = RawClient::connect(server.address, 40_000);
    }
}

/// A snapshot that finds no space is given up, and the server goes on.
#[test]
fn a_snapshot_without_space_does_no_harm() {
    let Some(disk) = SmallDisk::mount(48) else { return };
    let home = tempfile::tempdir().unwrap();
    let mut server =
        Server::start(home.path(), &[&disk.data_dir(), "preAllocSize=8192", "snapCount=100"]);
    let mut client = RawClient::connect(server.address, 40_000);
    for nth in 0..50 {
        assert_eq!(client.create(&format!("/s{nth}"), &[b'x'; 20 << 10], 0).err, 0);
    }
    disk.fill();
    let small = (0..400).filter(|nth| client.create(&format!("/t{nth}"), b"", 0).err == 0).count();
    assert!(small > 100, "only {small} writes found reserved room");
    assert_eq!(client.get("/s49").map(|data| data.len()), Ok(20 << 10));
    fs::remove_file(disk.path().join("ballast")).unwrap();
    write_until_accepted(&mut client, "/resumed");
    server.kill_and_restart();
    let mut client = RawClient::connect(server.address, 40_000);
    for nth in 0..50 {
        assert_eq!(client.get(&format!("/s{nth}")).map(|data| data.len()), Ok(20 << 10));
    }
    assert_eq!(client.get("/resumed"), Ok(b"again".to_vec()));
}

/// Server `id` of three, of which nobody waits until it serves.
fn member(home: &Path, id: i64, ports: &[(u16, u16); 3], more: &[String]) -> Server {
    let home = home.join(id.to_string());
    fs::create_dir_all(&home).unwrap();
    let mut lines: Vec<String> = vec!["initLimit=5".into(), "syncLimit=2".into()];
    lines.extend(["preAllocSize=4096".to_owned(), "snapCount=100000".to_owned()]);
    lines.extend(ports.iter().enumerate().map(|(nth, (quorum, election))| {
        format!("server.{}=127.0.0.1:{quorum}:{election}", nth + 1)
    }));
    lines.extend(more.iter().cloned());
    Server::spawn(&home, free_port(), lines, &[])
}

/// The same with its `myid`, and with its data on a disk of its own if it has one.
fn member_beside(
    home: &Path,
    id: i64,
    ports: &[(u16, u16); 3],
    disk: Option<&SmallDisk>,
) -> Server {
    let own = || home.join(format!("{id}/data"));
    let data = disk.map_or_else(own, |disk| disk.path().join("data"));
    fs::create_dir_all(&data).unwrap();
    fs::write(data.join("myid"), format!("{id}\n")).unwrap();
    let more: Vec<String> = disk.map(SmallDisk::data_dir).into_iter().collect();
    member(home, id, ports, &more)
}

fn mode(server: &Server) -> Option<String> {
    let text = four_letters(server.address, "srvr")?;
    text.lines().find_map(|line| line.strip_prefix("Mode: ")).map(str::to_owned)
}

fn await_modes(servers: &[Server], holds: impl Fn(&[Option<String>]) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let modes: Vec<Option<String>> = servers.iter().map(mode).collect();
        if holds(&modes) {
            return;
        }
        let logs: Vec<String> = servers.iter().map(Server::log).collect();
        assert!(Instant::now() < deadline, "{modes:?}\n{}", logs.join("\n---\n"));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A leader that can log nothing stops nobody: one of the others leads, writes go on, and it comes
/// back as their follower when it has space.
#[test]
fn a_leader_with_a_full_disk_gives_way() {
    let Some(disk) = SmallDisk::mount(32) else { return };
    let home = tempfile::tempdir().unwrap();
    let ports = [(); 3].map(|()| (free_port(), free_port()));
    let start = |id| member_beside(home.path(), id, &ports, (id == 3).then_some(&disk));
    // Server 3 leads the two that know nothing either.
    let mut servers = vec![start(2), start(3)];
    await_modes(&servers, |modes| modes[1].as_deref() == Some("leader"));
    servers.push(start(1));
    await_modes(&servers, |modes| modes.iter().all(Option::is_some));
    // Of a follower that forwards what the leader can neither log nor refuse the connection ends.
    let mut client = RawClient::connect(servers[1].address, 30_000);
    assert_eq!(client.create("/before", &[b'x'; 20 << 10], 0).err, 0);
    let ballast = disk.fill();
    let refused = write_until_refused(&mut client, "amid");
    await_modes(&servers, |modes| {
        let leads = |nth: usize| modes[nth].as_deref() == Some("leader");
        leads(0) || leads(2)
    });
    let other = servers.iter().position(|server| mode(server).as_deref() == Some("leader"));
    let mut client = RawClient::connect(servers[other.unwrap()].address, 30_000);
    write_until_accepted(&mut client, "/again");
    for nth in 0..300 {
        assert_eq!(client.create(&format!("/after{nth}"), &[b'x'; 20 << 10], 0).err, 0);
    }
    all_there(&mut client, &refused);
    fs::remove_file(ballast).unwrap();
    await_modes(&servers, |modes| modes[1].as_deref() == Some("follower"));
    let mut back = RawClient::connect(servers[1].address, 30_000);
    back.call(OpCode::SYNC, |writer| writer.string("/"));
    all_there(&mut back, &refused);
    assert_eq!(back.get("/after299").map(|data| data.len()), Ok(20 << 10));
}

/// A follower whose disk is full stores no epoch of a new leader, and does not end for it: it waits,
/// and is one of the quorum as soon as it has space.
#[test]
fn a_new_epoch_waits_for_space() {
    let Some(disk) = SmallDisk::mount(32) else { return };
    let home = tempfile::tempdir().unwrap();
    let ports = [(); 3].map(|()| (free_port(), free_port()));
    let start = |id| member_beside(home.path(), id, &ports, (id == 1).then_some(&disk));
    let mut servers = vec![start(1), start(2)];
    await_modes(&servers, |modes| modes[1].as_deref() == Some("leader"));
    servers.push(start(3));
    await_modes(&servers, |modes| modes.iter().all(Option::is_some));
    let ballast = disk.fill();
    // The leader is lost: server 3 leads, and has no quorum without server 1.
    drop(servers.remove(1));
    let deadline = Instant::now() + Duration::from_secs(60);
    while !servers[0].log().contains("the epoch cannot be made durable") {
        assert!(Instant::now() < deadline, "{}", servers[0].log());
        std::thread::sleep(Duration::from_millis(20));
    }
    let log = servers[0].log();
    assert!(!servers[0].has_ended() && !log.contains("nothing more is acknowledged"), "{log}");
    fs::remove_file(ballast).unwrap();
    await_modes(&servers, |modes| modes.iter().all(Option::is_some));
    let mut client = RawClient::connect(servers[0].address, 30_000);
    write_until_accepted(&mut client, "/again");
}

fn set_record(writer: &mut Writer<'_>, path: &str) {
    writer.string(path);
    writer.buffer(Some(&[b'y'; 20 << 10]));
    writer.i32(-1);
}

fn exists_record(writer: &mut Writer<'_>, path: &str) {
    writer.string(path);
    writer.bool(false);
}
