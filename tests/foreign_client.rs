//! End to end through the `zookeeper-client` crate: a client that nobody here wrote.

mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use support::{Server, free_port};
use zookeeper_client::{Acls, AddWatchMode, Client, CreateMode, Error, EventType};

#[tokio::test]
async fn nodes_versions_and_sequences() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path(), &[]);
    let client = Client::connect(&server.address.to_string()).await.unwrap();
    let persistent = CreateMode::Persistent.with_acls(Acls::anyone_all());
    let (stat, _) = client.create("/a", b"one", &persistent).await.unwrap();
    assert_eq!((stat.version, stat.data_length, stat.num_children), (0, 3, 0));
    assert_eq!(client.create("/a", b"", &persistent).await.unwrap_err(), Error::NodeExists);
    assert_eq!(client.create("/x/y", b"", &persistent).await.unwrap_err(), Error::NoNode);

    let stat = client.set_data("/a", b"two", Some(0)).await.unwrap();
    assert_eq!(stat.version, 1);
    assert_eq!(client.set_data("/a", b"three", Some(0)).await.unwrap_err(), Error::BadVersion);
    assert_eq!(client.get_data("/a").await.unwrap(), (b"two".to_vec(), stat));

    let sequential = CreateMode::PersistentSequential.with_acls(Acls::anyone_all());
    for expected in 0..3 {
        let (_, sequence) = client.create("/a/n-", b"", &sequential).await.unwrap();
        assert_eq!(sequence.into_i64(), expected);
    }
    let mut children = client.list_children("/a").await.unwrap();
    children.sort();
    assert_eq!(children, ["n-0000000000", "n-0000000001", "n-0000000002"]);
    assert_eq!(client.delete("/a", None).await.unwrap_err(), Error::NotEmpty);
    assert_eq!(client.count_descendants_number("/a").await.unwrap(), 3);
    client.sync("/").await.unwrap();
}

#[tokio::test]
async fn watches_ephemerals_and_multi() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path(), &[]);
    let cluster = server.address.to_string();
    let watcher = Client::connect(&cluster).await.unwrap();
    let owner = Client::connect(&cluster).await.unwrap();
    let (none, created) = watcher.check_and_watch_stat("/e").await.unwrap();
    assert_eq!(none, None);
    let mut below = watcher.watch("/", AddWatchMode::PersistentRecursive).await.unwrap();

    let ephemeral = CreateMode::Ephemeral.with_acls(Acls::anyone_all());
    owner.create("/e", b"", &ephemeral).await.unwrap();
    assert_eq!(created.changed().await.event_type, EventType::NodeCreated);
    let event = below.changed().await;
    assert_eq!((event.event_type, event.path.as_str()), (EventType::NodeCreated, "/e"));
    assert_eq!(owner.list_ephemerals("/").await.unwrap(), ["/e"]);
    drop(owner);
    let event = tokio::time::timeout(Duration::from_secs(20), below.changed()).await.unwrap();
    assert_eq!((event.event_type, event.path.as_str()), (EventType::NodeDeleted, "/e"));

    let persistent = CreateMode::Persistent.with_acls(Acls::anyone_all());
    let mut writer = watcher.new_multi_writer();
    writer.add_create("/m", b"1", &persistent).unwrap();
    writer.add_set_data("/m", b"2", Some(0)).unwrap();
    assert_eq!(writer.commit().await.unwrap().len(), 2);
    let mut failing = watcher.new_multi_writer();
    failing.add_create("/never", b"", &persistent).unwrap();
    failing.add_check_version("/m", 7).unwrap();
    assert!(failing.commit().await.is_err());
    assert_eq!(watcher.check_stat("/never").await.unwrap(), None);
    assert_eq!(watcher.get_data("/m").await.unwrap().0, b"2");
}

#[tokio::test]
async fn a_session_is_renewed_after_the_server_was_killed() {
    let home = tempfile::tempdir().unwrap();
    let mut server = Server::start(home.path(), &[]);
    let client = Client::connect(&server.address.to_string()).await.unwrap();
    let ephemeral = CreateMode::Ephemeral.with_acls(Acls::anyone_all());
    client.create("/e", b"mine", &ephemeral).await.unwrap();
    let session = client.session_id();
    server.kill_and_restart();
    let data = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            match client.get_data("/e").await {
                Ok((data, _)) => break data,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    });
    assert_eq!(data.await.unwrap(), b"mine");
    assert_eq!(client.session_id(), session);
}

/// What a command of `ringkeeper ensemble` says, and whether it has succeeded.
fn ensemble(arguments: &[&str]) -> (String, bool) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringkeeper"));
    let output = command.arg("ensemble").args(arguments).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (String::from_utf8_lossy(&said).into_owned(), output.status.success())
}

/// Three servers in a directory, which are stopped when this is dropped.
struct Three {
    home: tempfile::TempDir,
    connect: String,
}

impl Three {
    fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let name = home.path().to_str().unwrap();
        for _ in 0..10 {
            let base = free_port().min(50_000).to_string();
            let (said, is_done) =
                ensemble(&["start", "--servers", "3", "--base-port", &base, name]);
            if is_done {
                let connect = said.lines().find_map(|line| line.strip_prefix("connect string: "));
                let connect = connect.expect("it says where clients connect").to_owned();
                return Self { home, connect };
            }
            assert!(said.contains("these ports cannot be had"), "{said}");
        }
        panic!("no ports for three servers");
    }

    fn name(&self) -> &str {
        self.home.path().to_str().unwrap()
    }

    /// The number of the server that leads.
    fn leader(&self) -> String {
        let began = Instant::now();
        loop {
            let (said, _) = ensemble(&["status", self.name()]);
            let leader = said.lines().find(|line| line.contains(": leader"));
            let number = leader.and_then(|line| line.strip_prefix("server ")?.split(':').next());
            if let Some(number) = number {
                return number.to_owned();
            }
            assert!(began.elapsed() < Duration::from_secs(60), "no leader: {said}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// SIGKILL for the leader; its number.
    fn kill_leader(&self) -> String {
        let leader = self.leader();
        let (said, is_done) = ensemble(&["kill", &leader, self.name()]);
        assert!(is_done, "{said}");
        leader
    }
}

impl Drop for Three {
    fn drop(&mut self) {
        ensemble(&["stop", self.name()]);
    }
}

#[tokio::test]
async fn a_session_lives_on_whichever_leader_is_killed() {
    let three = Three::start();
    // Commands hold the client's own thread up.
    let patient = || Client::connector().with_session_timeout(Duration::from_secs(30));
    let client = patient().connect(&three.connect).await.unwrap();
    let ephemeral = CreateMode::Ephemeral.with_acls(Acls::anyone_all());
    client.create("/e", b"mine", &ephemeral).await.unwrap();
    let persistent = CreateMode::Persistent.with_acls(Acls::anyone_all());
    client.create("/a", b"0", &persistent).await.unwrap();
    let session = client.session_id();
    for round in 1..=3 {
        let killed = three.kill_leader();
        let written = tokio::time::timeout(Duration::from_secs(60), async {
            while client.set_data("/a", b"next", None).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        written.await.unwrap();
        let (said, is_done) = ensemble(&["start", &killed, three.name()]);
        assert!(is_done, "{said}");
        // One that was lost may have been done as well.
        let (_, stat) = client.get_data("/a").await.unwrap();
        assert!(stat.version >= round, "{stat:?}");
    }
    assert_eq!(client.session_id(), session);
    assert_eq!(client.get_data("/e").await.unwrap().0, b"mine");
    let other = patient().connect(&three.connect).await.unwrap();
    other.sync("/e").await.unwrap();
    assert_eq!(other.get_data("/e").await.unwrap().0, b"mine");
}
