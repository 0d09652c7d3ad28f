//! End to end through the `zookeeper-client` crate: a client that nobody here wrote.

mod support;

use std::time::Duration;

use support::Server;
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
