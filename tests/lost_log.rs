//! The log's file, its directory or the writability of its file system goes away under a running
//! server. Stores into a map and flushes can go on to succeed: the server notices it and ends as
//! Apache's does when its log cannot be written, before more is acknowledged that nobody will find.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use ringkeeper::codes::OpCode;
use support::{RawClient, Server, create_record};

/// A server with its data in `data`, with one acknowledged write in the file in use.
fn server_with_a_log(home: &Path, data: &Path, mode: &str) -> (Server, RawClient) {
    let lines = [&format!("dataDir={}", data.display())[..], &format!("ringkeeper.log={mode}")];
    let server = Server::start(home, &lines);
    let mut client = RawClient::connect(server.address, 40_000);
    assert_eq!(client.create("/before", b"", 0).err, 0);
    (server, client)
}

/// Writes until the server ends, which it must long before its file of 64 MiB is full.
fn write_until_it_ends(server: &mut Server, mut client: RawClient) {
    let deadline = Instant::now() + Duration::from_secs(60);
    for nth in 0.. {
        client.send_bytes(&create_frame(nth));
        if server.has_ended() {
            return;
        }
        assert!(Instant::now() < deadline, "{nth} writes and no end:\n{}", server.log());
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn create_frame(nth: i32) -> Vec<u8> {
    let mut frame = vec![0; 4];
    let mut writer = ringkeeper::jute::Writer::new(&mut frame);
    writer.i32(nth);
    writer.i32(OpCode::CREATE.0);
    create_record(&mut writer, &format!("/n{nth}"), b"", 0);
    let len = (frame.len() - 4) as i32;
    frame[..4].copy_from_slice(&len.to_be_bytes());
    frame
}

/// It has ended with Apache's code for its log, and this was said.
fn ended_in_10(server: &mut Server, said: &[&str]) {
    assert_eq!(server.wait(), Some(10), "{}", server.log());
    let log = server.log();
    for said in said {
        assert!(log.contains(said), "{said:?} is not said:\n{log}");
    }
    assert!(!log.contains("no space"), "{log}");
}

#[test]
fn a_directory_that_is_moved_away_ends_the_server() {
    for mode in ["mapped", "direct"] {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("data");
        let (mut server, client) = server_with_a_log(home.path(), &data, mode);
        fs::rename(&data, home.path().join("moved")).unwrap();
        write_until_it_ends(&mut server, client);
        ended_in_10(&mut server, &["log.1 is being written", "was moved"]);
    }
}

/// Nobody writes: that the file is gone is noticed all the same.
#[test]
fn a_file_that_is_removed_ends_the_server() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let (mut server, _client) = server_with_a_log(home.path(), &data, "mapped");
    fs::remove_file(data.join("version-2/log.1")).unwrap();
    ended_in_10(&mut server, &["log.1 is being written", "there is no such file"]);
}

/// A file system of its own, of ext4 in a file. It is unmounted when dropped.
struct Disk {
    directory: tempfile::TempDir,
}

impl Disk {
    /// None where it cannot be mounted: it needs root and a loop device.
    fn mount() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let (image, at) = (directory.path().join("image"), directory.path().join("disk"));
        fs::create_dir(&at).unwrap();
        fs::File::create(&image).and_then(|file| file.set_len(64 << 20)).unwrap();
        let done = succeeds(Command::new("mkfs.ext4").arg("-q").arg(&image))
            && succeeds(
                Command::new("mount").args(["-o", "loop,errors=remount-ro"]).arg(&image).arg(&at),
            );
        if !done {
            // The harness hides what a test that succeeds prints.
            let note = "\nlost_log: SKIPPED, no file system can be mounted here: it needs root\n";
            fs::write("/dev/stderr", note).unwrap_or_else(|_| eprint!("{note}"));
        }
        done.then_some(Self { directory })
    }

    fn at(&self) -> std::path::PathBuf {
        self.directory.path().join("disk")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.at()).output();
    }
}

fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// As the kernel does it after an error of the disk.
#[test]
fn a_file_system_that_becomes_read_only_ends_the_server() {
    for mode in ["mapped", "direct"] {
        let Some(disk) = Disk::mount() else { return };
        let home = tempfile::tempdir().unwrap();
        let data = disk.at().join("data");
        let (mut server, client) = server_with_a_log(home.path(), &data, mode);
        assert!(succeeds(Command::new("mount").args(["-o", "remount,abort"]).arg(disk.at())));
        write_until_it_ends(&mut server, client);
        ended_in_10(&mut server, &["the transaction log has failed", "read-only"]);
    }
}

#[test]
fn a_file_system_that_is_unmounted_ends_the_server() {
    let Some(disk) = Disk::mount() else { return };
    let home = tempfile::tempdir().unwrap();
    let (mut server, client) = server_with_a_log(home.path(), &disk.at().join("data"), "mapped");
    // It stays as long as files of it are open, and nobody finds it.
    assert!(succeeds(Command::new("umount").arg("-l").arg(disk.at())));
    write_until_it_ends(&mut server, client);
    ended_in_10(&mut server, &["log.1 is being written", "unmounted"]);
}
