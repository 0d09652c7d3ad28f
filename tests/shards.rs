//! Several shards in one real server: sessions on all of them, connections that move to their
//! session's shard, watches and their order across shards, words over all, and an end that finishes
//! what is in flight on each.

mod support;

use std::collections::BTreeSet;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ringkeeper::codes::OpCode;
use ringkeeper::jute::{Reader, Writer};
use support::{RawClient, Server, create_record, four_letters};

const SHARDS: i64 = 3;

fn start(home: &tempfile::TempDir, placement: &str) -> Server {
    let lines = ["ringkeeper.shards=3", placement, "maxClientCnxns=0", "preAllocSize=4096"];
    Server::start(home.path(), &lines)
}

/// Runs a test with the quorum core on an executor of its own, and beside shard 0.
fn placed_both_ways(test: impl Fn(&mut Server)) {
    for placement in ["ringkeeper.placement=dedicated", "ringkeeper.placement=shared"] {
        let home = tempfile::tempdir().unwrap();
        let mut server = start(&home, placement);
        assert!(server.log().contains("3 shards"), "{}", server.log());
        test(&mut server);
        assert_eq!(server.terminate(), Some(0), "{placement}:\n{}", server.log());
    }
}

/// Sessions, at least one of each shard: the shard is told by the id.
fn sessions(server: &Server) -> Vec<RawClient> {
    let mut clients = Vec::new();
    let mut shards = BTreeSet::new();
    while shards.len() < SHARDS as usize || clients.len() < 9 {
        assert!(clients.len() < 1000, "no connection is ever accepted on some shard");
        clients.push(RawClient::connect(server.address, 40_000));
        shards.insert(clients[clients.len() - 1].session % SHARDS);
    }
    clients
}

#[test]
fn sessions_of_every_shard_write_and_read_the_one_tree() {
    placed_both_ways(|server| {
        let mut clients = sessions(server);
        let count = clients.len();
        for (nth, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.create(&format!("/n{nth}"), b"x", 1).err, 0);
        }
        for client in &mut clients {
            assert!(client.call(OpCode::SYNC, |writer| writer.string("/")).err == 0);
            for nth in 0..count {
                assert_eq!(
                    client.get(&format!("/n{nth}")),
                    Ok(b"x".to_vec()),
                    "an ephemeral of another shard"
                );
            }
        }
        let mut last = clients.pop().expect("there are several");
        for mut client in clients {
            assert_eq!(client.call(OpCode::CLOSE_SESSION, |_| {}).err, 0);
        }
        last.call(OpCode::SYNC, |writer| writer.string("/"));
        for nth in 0..count {
            let expected = if nth == count - 1 { Ok(b"x".to_vec()) } else { Err(-101) };
            assert_eq!(
                last.get(&format!("/n{nth}")),
                expected,
                "an ephemeral goes with its session"
            );
        }
    });
}

/// Connections are accepted on any shard, so of many renewals most come to the wrong one.
#[test]
fn a_session_is_renewed_through_whatever_shard_accepts() {
    placed_both_ways(|server| {
        let mut clients = sessions(server);
        for round in 0..20 {
            for client in &mut clients {
                let mut renewed =
                    RawClient::renew(server.address, 40_000, client.session, &client.password);
                assert_eq!(renewed.session, client.session, "round {round}");
                assert_eq!(client.reply(), None, "the old connection ends");
                let path = format!("/s{:x}-{round}", renewed.session);
                assert_eq!(renewed.create(&path, b"", 0).err, 0);
                assert_eq!(renewed.get(&path), Ok(vec![]));
                *client = renewed;
            }
        }
    });
}

/// Bytes that a client sends right after its connect request move with the connection, whole and in
/// order.
#[test]
fn requests_after_the_connect_request_move_along() {
    placed_both_ways(|server| {
        for client in sessions(server) {
            for round in 0..10 {
                let mut moving = RawClient::plain(server.address);
                let mut bytes = framed(|writer| {
                    writer.i32(0);
                    writer.i64(0);
                    writer.i32(40_000);
                    writer.i64(client.session);
                    writer.buffer(Some(&client.password));
                    writer.bool(false);
                });
                for nth in 0..50 {
                    bytes.extend(framed(|writer| {
                        writer.i32(nth);
                        writer.i32(OpCode::CREATE.0);
                        create_record(
                            writer,
                            &format!("/p{:x}-{round}-{nth}", client.session),
                            &[1; 500],
                            0,
                        );
                    }));
                }
                // In pieces, so that some come before the move, some while it goes on and some
                // after it.
                for piece in bytes.chunks(1 + round as usize * 1500) {
                    moving.send_bytes(piece);
                }
                moving.read_frame().expect("the session is renewed");
                for nth in 0..50 {
                    let reply = moving.reply().expect("every request is answered");
                    assert_eq!((reply.xid, reply.err), (nth, 0));
                }
            }
        }
    });
}

fn framed(record: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut frame = Vec::new();
    record(&mut Writer::new(&mut frame));
    [&(frame.len() as i32).to_be_bytes(), &frame[..]].concat()
}

#[test]
fn a_watch_fires_for_sessions_of_every_shard() {
    placed_both_ways(|server| {
        let mut clients = sessions(server);
        let mut writer = RawClient::connect(server.address, 40_000);
        assert_eq!(writer.create("/watched", b"0", 0).err, 0);
        for round in 1..20 {
            for client in &mut clients {
                client.call(OpCode::SYNC, |writer| writer.string("/"));
                assert_eq!(
                    client.call(OpCode::GET_DATA, |writer| watched(writer, "/watched")).err,
                    0
                );
            }
            let zxid = set(&mut writer, "/watched", round);
            for client in &mut clients {
                let event = client.reply().expect("the event comes");
                assert_eq!((event.xid, event.zxid), (-1, zxid));
            }
        }
    });
}

/// One session writes /a and then /b, /a and then /b; the others watch /a for ever and read /b all
/// the time. Whoever sees the n-th /b must have had the event of the n-th /a before it.
#[test]
fn an_event_comes_before_whatever_is_newer_on_every_shard() {
    placed_both_ways(|server| {
        let mut writer = RawClient::connect(server.address, 40_000);
        assert_eq!(writer.create("/a", &0i32.to_be_bytes(), 0).err, 0);
        assert_eq!(writer.create("/b", &0i32.to_be_bytes(), 0).err, 0);
        let over = AtomicBool::new(false);
        let watchers = sessions(server);
        let ready = Barrier::new(watchers.len() + 1);
        std::thread::scope(|scope| {
            let checks: Vec<_> = watchers
                .into_iter()
                .map(|watcher| scope.spawn(|| check_order(watcher, &ready, &over)))
                .collect();
            ready.wait();
            let start = std::time::Instant::now();
            let mut round = 0;
            while start.elapsed() < Duration::from_secs(2) {
                round += 1;
                set(&mut writer, "/a", round);
                set(&mut writer, "/b", round);
            }
            std::thread::sleep(Duration::from_millis(200));
            over.store(true, Ordering::Release);
            for check in checks {
                assert_eq!(check.join().unwrap(), round, "every event is there");
            }
        });
    });
}

/// Reads with several requests under way; how many events there were.
fn check_order(mut watcher: RawClient, ready: &Barrier, over: &AtomicBool) -> i32 {
    let added = watcher.call(OpCode::ADD_WATCH, |writer| {
        writer.string("/a");
        writer.i32(0);
    });
    assert_eq!(added.err, 0);
    let read = |watcher: &mut RawClient| {
        watcher.request(OpCode::GET_DATA, |writer| {
            writer.string("/b");
            writer.bool(false);
        })
    };
    ready.wait();
    let (mut events, mut last_zxid) = (0, added.zxid);
    for _ in 0..8 {
        read(&mut watcher);
    }
    let mut under_way = 8;
    while under_way > 0 {
        let reply = watcher.reply().expect("the server serves");
        assert!(reply.zxid >= last_zxid, "zxid {:#x} after {last_zxid:#x}", reply.zxid);
        last_zxid = reply.zxid;
        if reply.xid == -1 {
            events += 1;
            continue;
        }
        under_way -= 1;
        let data = Reader::new(&reply.body).buffer().unwrap().unwrap();
        let seen = i32::from_be_bytes(data.try_into().unwrap());
        assert!(seen <= events, "/b is {seen}, but of /a only {events} events came");
        if !over.load(Ordering::Acquire) {
            read(&mut watcher);
            under_way += 1;
        }
    }
    events
}

fn watched(writer: &mut Writer<'_>, path: &str) {
    writer.string(path);
    writer.bool(true);
}

/// The write's zxid.
fn set(client: &mut RawClient, path: &str, value: i32) -> i64 {
    let reply = client.call(OpCode::SET_DATA, |writer| {
        writer.string(path);
        writer.buffer(Some(&value.to_be_bytes()));
        writer.i32(-1);
    });
    assert_eq!(reply.err, 0);
    reply.zxid
}

#[test]
fn words_tell_of_all_shards() {
    placed_both_ways(|server| {
        let mut clients = sessions(server);
        for client in &mut clients {
            assert_eq!(client.call(OpCode::EXISTS, |writer| watched(writer, "/absent")).err, -101);
            client.create(&format!("/e{:x}", client.session), b"", 1);
        }
        let answer = |word: &str| four_letters(server.address, word).expect("it is answered");
        let (cons, dump, wchc, mntr) =
            (answer("cons"), answer("dump"), answer("wchc"), answer("mntr"));
        for client in &clients {
            let id = format!("0x{:x}", client.session);
            for (word, text) in [("cons", &cons), ("dump", &dump), ("wchc", &wchc)] {
                assert!(text.contains(&id), "{word} does not tell of session {id}:\n{text}");
            }
        }
        let watches = format!("zk_watch_count\t{}\n", clients.len());
        assert!(mntr.contains(&watches), "{mntr}");
        assert!(mntr.contains(&format!("zk_ephemerals_count\t{}\n", clients.len())), "{mntr}");
    });
}

#[test]
fn sigterm_answers_what_is_in_flight_on_every_shard() {
    for placement in ["ringkeeper.placement=dedicated", "ringkeeper.placement=shared"] {
        let home = tempfile::tempdir().unwrap();
        let mut server = start(&home, placement);
        let clients = sessions(&server);
        let over = AtomicBool::new(false);
        let acknowledged = std::thread::scope(|scope| {
            let writers: Vec<_> =
                clients.into_iter().map(|client| scope.spawn(|| write_on(client, &over))).collect();
            std::thread::sleep(Duration::from_millis(500));
            assert_eq!(server.terminate(), Some(0), "{placement}:\n{}", server.log());
            over.store(true, Ordering::Release);
            writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(!server.log().contains("too long"), "{placement}:\n{}", server.log());
        assert!(acknowledged.len() > 20, "only {} writes were under way", acknowledged.len());
        server.restart();
        let mut client = RawClient::connect(server.address, 40_000);
        for path in acknowledged {
            assert_eq!(client.get(&path), Ok(vec![]), "{path} was acknowledged");
        }
    }
}

/// Creates until the server ends; the paths that were acknowledged.
fn write_on(mut client: RawClient, over: &AtomicBool) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for nth in 1.. {
        let path = format!("/w{:x}-{nth}", client.session);
        let frame = framed(|writer| {
            writer.i32(nth);
            writer.i32(OpCode::CREATE.0);
            create_record(writer, &path, b"", 0);
        });
        client.send_bytes(&frame);
        match client.reply() {
            Some(reply) => {
                assert_eq!((reply.xid, reply.err), (nth, 0));
                acknowledged.push(path);
            }
            None => break,
        }
        assert!(!over.load(Ordering::Acquire), "the server is gone, and its connection is not");
    }
    acknowledged
}
