//! Mistakes of `docs/known-bugs.md` that are a matter of connections.

use super::*;
use crate::session::password;

/// The answer to a connect request: the timeout and the session, both 0 for a client that is told
/// that its session has expired.
fn answer(world: &mut World, conn: ConnId) -> (i32, i64) {
    let bytes = world.sent.remove(&conn.slot).unwrap_or_default();
    let mut reader = Reader::new(&bytes);
    reader.i32().unwrap();
    reader.i32().unwrap();
    (reader.i32().unwrap(), reader.i64().unwrap())
}

/// S73, ClickHouse Keeper 116690: a client comes back with a session that nobody knows, or that has
/// ended. It is told that its session has expired, and no new one is made for it.
#[test]
fn s73_a_client_with_an_unknown_session_is_told_that_it_has_expired() {
    let mut world = World::new();
    let living = world.connect();
    let ended = world.session(living);
    world.send(living, &request(1, OpCode::CLOSE_SESSION, &[]));
    let never = SessionId(FIRST_SESSION + 9);
    let before = zxid(&world);
    for session in [ended, never] {
        for secret in [password(session).to_vec(), vec![0; 16]] {
            let conn = world.accept();
            world.send(conn, &connect_request(session.0, 5_000, 0, &secret, Some(false)));
            assert_eq!(answer(&mut world, conn), (0, 0));
            assert!(world.is_closed(conn));
        }
    }
    assert_eq!(zxid(&world), before, "nothing is logged");
    assert_eq!([ended, never].map(|session| world.tree.session_timeout(session)), [None, None]);
}

/// S76, ClickHouse Keeper 90016: a server that is behind what a client has seen does not serve it,
/// neither its old session nor a new one. Once it has caught up it does.
#[test]
fn s76_a_client_is_not_served_by_a_server_behind_what_it_has_seen() {
    let mut world = World::new();
    let first = world.connect();
    let session = world.session(first);
    let seen = zxid(&world) + 2;
    let come = |world: &mut World, id: SessionId, seen: i64| {
        let conn = world.accept();
        world.send(conn, &connect_request(id.0, 5_000, seen, &password(id), Some(false)));
        conn
    };
    for id in [session, SessionId(0)] {
        let conn = come(&mut world, id, seen);
        assert!(world.is_closed(conn) && world.got(conn).is_empty());
    }
    assert!(!world.is_closed(first), "nor does it lose the session");
    world.create(first, "/a");
    world.create(first, "/b");
    assert_eq!(zxid(&world), seen);
    let conn = come(&mut world, session, seen);
    assert_eq!(answer(&mut world, conn).1, session.0);
    assert!(!world.is_closed(conn));
}

/// S79, etcd 15271: a client that comes back is told what has changed since what it has seen, and
/// nothing that it has been told before.
#[test]
fn s79_a_watch_set_again_tells_nothing_old() {
    let mut world = World::new();
    let writer = world.connect();
    for path in ["/a", "/b"] {
        world.create(writer, path);
    }
    let first = world.connect();
    world.ask(first, OpCode::GET_DATA, &path_watch("/a", true));
    world.ask(first, OpCode::GET_DATA, &path_watch("/b", true));
    world.ask(writer, OpCode::SET_DATA, &set_data("/a", b"1"));
    let [told] = &world.got(first)[..] else { panic!("one event") };
    assert_eq!(told.event().2, "/a");
    let seen = told.zxid;
    world.front.on_closed(first);

    let again = world.connect();
    let lists = record(|writer| {
        writer.i64(seen);
        writer.len(2);
        ["/a", "/b"].iter().for_each(|path| writer.string(path));
        writer.len(0);
        writer.len(0);
    });
    world.send(again, &request(-8, OpCode::SET_WATCHES, &lists));
    let got = world.got(again);
    assert_eq!(got.len(), 1, "its reply, and no event: {got:?}");
    world.ask(writer, OpCode::SET_DATA, &set_data("/b", b"2"));
    world.ask(writer, OpCode::SET_DATA, &set_data("/b", b"3"));
    let got = world.got(again);
    let paths: Vec<String> = got.iter().map(|got| got.event().2).collect();
    assert_eq!(paths, ["/b"], "once, as it happens");
}

/// S79, etcd 17529: among more watchers and changes than a turn takes, each watcher of each change
/// is told all of them, in order.
#[test]
fn s79_under_load_no_event_is_dropped() {
    let mut world = World::new();
    let writer = world.connect();
    world.create(writer, "/w");
    let watchers = [(); 20].map(|()| world.connect());
    for watcher in watchers {
        world.ask(watcher, OpCode::ADD_WATCH, &path_int("/w", 0));
    }
    let before = zxid(&world);
    world.commits_at_once = false;
    let mut bytes = Vec::new();
    (1..=200).for_each(|xid| bytes.extend(request(xid, OpCode::SET_DATA, &set_data("/w", b"x"))));
    world.send(writer, &bytes);
    while zxid(&world) < before + 200 {
        world.commit(7);
    }
    for watcher in watchers {
        let zxids: Vec<i64> = world.got(watcher).iter().map(|got| got.zxid).collect();
        assert_eq!(zxids, (before + 1..=before + 200).collect::<Vec<_>>());
    }
}
