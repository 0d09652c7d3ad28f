//! The machines of `zab` in a live ensemble of Apache ZooKeeper's servers: as follower that counts,
//! then as leader of one of them. It needs Java and takes half a minute, so `tests/apache/ensemble`
//! runs it and `cargo test` does not.

#[path = "support/apache.rs"]
mod apache;
#[path = "support/member.rs"]
mod member;

use std::thread;
use std::time::{Duration, Instant};

use apache::{Apache, tail};
use member::Member;
use ringkeeper::packet::PeerState;
use zookeeper_client::{Acls, Client, CreateMode};

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
    let start = |id| Apache::start(home.path(), "127.0.0.1", id, 3, base);
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
