//! The machines of `zab` in a live ensemble of Apache ZooKeeper's servers: as follower that counts,
//! then as leader of one of them. It needs Java and takes half a minute, so `tests/apache/ensemble`
//! runs it and `cargo test` does not.

#[path = "support/member.rs"]
mod member;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use member::Member;
use ringkeeper::packet::PeerState;
use zookeeper_client::{Acls, Client, CreateMode};

/// One of Apache's servers. It is killed when dropped.
struct Apache {
    child: Child,
    log: PathBuf,
}

impl Apache {
    fn start(home: &Path, id: i64, servers: i64, base: u16) -> Self {
        let lib = std::env::var("APACHE_LIB").expect("run this by tests/apache/ensemble");
        let data = home.join(format!("{id}"));
        fs::create_dir_all(&data).unwrap();
        fs::write(data.join("myid"), id.to_string()).unwrap();
        let lines = (1..=servers).map(|id| {
            let (quorum, election) = (base + 100 + id as u16, base + 200 + id as u16);
            format!("server.{id}=127.0.0.1:{quorum}:{election}:participant\n")
        });
        let config = format!(
            "tickTime=500\ninitLimit=20\nsyncLimit=10\ndataDir={}\nclientPort={}\n\
             clientPortAddress=127.0.0.1\nadmin.enableServer=false\n{}",
            data.display(),
            base + id as u16,
            lines.collect::<String>()
        );
        let file = home.join(format!("{id}.cfg"));
        fs::write(&file, config).unwrap();
        let log = home.join(format!("{id}.log"));
        let out = fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let child = Command::new("java")
            .args(["-Xmx256m", "-cp", &lib])
            .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
            .arg(file)
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, log }
    }

    /// What its log says that no server of a healthy ensemble says.
    fn complaints(&self) -> Vec<String> {
        let log = fs::read_to_string(&self.log).unwrap();
        let bad = ["mismatch", "UNMATCHED", "Got zxid", "FATAL"];
        // Whoever leads, Apache's warns of the first zxid of an epoch, and of a leader that does
        // not listen yet.
        let is_first = |line: &str| line.contains("expected 0x1") || line.contains("tries=");
        let complains = |line: &&str| bad.iter().any(|word| line.contains(word)) && !is_first(line);
        log.lines().filter(complains).map(str::to_owned).collect()
    }
}

impl Drop for Apache {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What a server has said last, for a failure.
fn tail(home: &Path, id: i64) -> String {
    let log = fs::read_to_string(home.join(format!("{id}.log"))).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

async fn connect(port: u16) -> Client {
    let began = Instant::now();
    loop {
        match Client::connect(&format!("127.0.0.1:{port}")).await {
            Ok(client) => return client,
            Err(err) => assert!(began.elapsed() < Duration::from_secs(60), "{err}"),
        }
        thread::sleep(Duration::from_millis(200));
    }
}

#[tokio::test]
#[ignore = "needs Java: tests/apache/ensemble"]
async fn a_member_follows_and_then_leads_apache() {
    let (home, base) = (tempfile::tempdir().unwrap(), 22_700);
    let start = |id| Apache::start(home.path(), id, 3, base);
    let persistent = CreateMode::Persistent.with_acls(Acls::anyone_all());

    // Servers 1 and 2 are an ensemble under 2 when the member comes.
    let (first, second) = (start(1), start(2));
    let client = connect(base + 2).await;
    client.create("/before", b"x", &persistent).await.unwrap();
    let member = Member::start(3, 3, base);
    member.wait("following", |seen| seen.state == Some(PeerState::Following) && seen.is_serving);
    for n in 0..50 {
        client.create(&format!("/with-{n}"), b"x", &persistent).await.unwrap();
    }

    // Without server 1 nothing is committed that the member does not acknowledge.
    let complaints = first.complaints();
    assert_eq!(complaints, [""; 0], "server 1");
    drop(first);
    for n in 0..50 {
        if let Err(err) = client.create(&format!("/counted-{n}"), b"x", &persistent).await {
            panic!("{n}: {err}: {:?}\n{}", member.seen.lock().unwrap(), tail(home.path(), 2));
        }
    }
    let (last, told) = {
        let seen = member.seen.lock().unwrap();
        (seen.last, seen.told.clone())
    };
    assert!(last.counter() >= 100, "{last}, {told:?}");
    assert_eq!(second.complaints(), [""; 0], "server 2");
    drop(client);
    drop(second);

    // Server 1 comes back behind the member, which now leads it.
    let first = start(1);
    member.wait("leading", |seen| seen.state == Some(PeerState::Leading) && seen.is_serving);
    let client = connect(base + 1).await;
    for n in [0, 49] {
        client.get_data(&format!("/counted-{n}")).await.unwrap();
    }
    for n in 0..50 {
        client.create(&format!("/led-{n}"), b"y", &persistent).await.unwrap();
    }
    client.sync("/").await.unwrap();
    assert_eq!(client.get_data("/led-49").await.unwrap().0, b"y");
    // Server 2 comes back behind both, gets what it lacks, and takes part in what follows.
    let second = start(2);
    let other = connect(base + 2).await;
    assert_eq!(other.get_data("/led-49").await.unwrap().0, b"y");
    other.create("/at-2", b"z", &persistent).await.unwrap();
    client.sync("/").await.unwrap();
    assert_eq!(client.get_data("/at-2").await.unwrap().0, b"z");
    for (server, id) in [(&first, 1), (&second, 2)] {
        assert_eq!(server.complaints(), [""; 0], "server {id} under the member");
    }
    let seen = member.seen.lock().unwrap();
    println!("the member was told: {:?}; its log ends with {}", seen.told, seen.last);
}
