//! Sessions: made, renewed, moved, refused and ended (docs/observed.md §3).

use super::*;
use crate::session::password;

fn answer(world: &mut World, conn: ConnId) -> (usize, i32, i64, Vec<u8>) {
    let bytes = world.sent.remove(&conn.slot).unwrap_or_default();
    let mut reader = Reader::new(&bytes);
    let len = reader.i32().unwrap() as usize;
    assert_eq!((len, reader.i32()), (bytes.len() - 4, Ok(0)));
    (len, reader.i32().unwrap(), reader.i64().unwrap(), reader.buffer().unwrap().unwrap().to_vec())
}

#[test]
fn a_new_session_gets_its_id_password_and_negotiated_timeout() {
    for (asked, given) in [
        (i32::MIN, 4000),
        (0, 4000),
        (3999, 4000),
        (4001, 4001),
        (40_001, 40_000),
        (i32::MAX, 40_000),
    ] {
        let mut world = World::new();
        let conn = world.accept();
        world.send(conn, &connect_request(0, asked, 0, &[1; 5], Some(true)));
        let secret = password(SessionId(FIRST_SESSION)).to_vec();
        assert_eq!(answer(&mut world, conn), (37, given, FIRST_SESSION, secret));
        assert_eq!(world.tree.session_timeout(SessionId(FIRST_SESSION)), Some(given));
        assert_eq!(zxid(&world), 1);
    }
}

#[test]
fn a_client_without_the_read_only_byte_gets_none_back() {
    let mut world = World::new();
    let conn = world.accept();
    world.send(conn, &connect_request(0, 5000, 0, &[], None));
    assert_eq!(answer(&mut world, conn).0, 36);
    let other = world.accept();
    world.send(other, &connect_request(12_345, 5000, 0, &[0; 16], None));
    assert_eq!(answer(&mut world, other), (36, 0, 0, vec![0; 16]));
    assert!(world.is_closed(other));
}

#[test]
fn ids_step_by_the_number_of_shards_and_skip_the_living() {
    let config = FrontendConfig { shards: 4, ..FrontendConfig::default() };
    let mut world = World::of_shard(config, ShardId(3));
    let taken = FIRST_SESSION + 7;
    let mut items = Vec::new();
    world.apply(SessionId(taken), 0, &Txn::CreateSession { timeout_ms: 9 }, &mut items);
    let ids = [world.connect(), world.connect()].map(|conn| world.session(conn).0);
    assert_eq!(ids, [FIRST_SESSION + 3, FIRST_SESSION + 11]);
}

#[test]
fn a_renewal_takes_the_session_from_its_old_connection() {
    let mut world = World::new();
    let old = world.connect();
    let session = world.session(old);
    let new = world.accept();
    world.send(new, &connect_request(session.0, 30_000, 1, &password(session), Some(false)));
    assert_eq!(answer(&mut world, new), (37, 30_000, session.0, password(session).to_vec()));
    assert!(world.is_closed(old) && !world.is_closed(new));
    assert_eq!(world.session(new), session);
    assert_eq!(zxid(&world), 1, "renewing takes no zxid");
    assert_eq!(world.err(new, OpCode::EXISTS, &path_watch("/", false)), 0);
    // The old connection's end does not end the session's new one.
    world.front.on_closed(old);
    assert_eq!(world.err(new, OpCode::PING, &[]), 0);
}

#[test]
fn a_wrong_password_is_refused_and_the_living_connection_left_alone() {
    let mut world = World::new();
    let living = world.connect();
    let session = world.session(living);
    let mut nearly = password(session);
    nearly[15] ^= 1;
    let long = [password(session).to_vec(), vec![0]].concat();
    for wrong in [&nearly[..], &[], &nearly[..8], &long] {
        let conn = world.accept();
        world.send(conn, &connect_request(session.0, 5000, 0, wrong, Some(false)));
        assert_eq!(answer(&mut world, conn), (37, 0, 0, vec![0; 16]));
        assert!(world.is_closed(conn) && !world.is_closed(living));
    }
    assert!(world.queue.is_empty());
}

#[test]
fn a_session_for_which_there_is_no_room_is_refused_and_counts_no_more() {
    is_sent_away(NotOpened::NoRoom, CloseReason::NoRoom);
}

#[test]
fn a_session_that_needs_a_leader_is_refused_without_one() {
    is_sent_away(NotOpened::NoLeader, CloseReason::NeedsLeader);
}

/// The connection ends without a word, so that its client tries another server.
fn is_sent_away(why: NotOpened, reason: CloseReason) {
    let mut world = World::new();
    world.commits_at_once = false;
    let [conn, gone] = [(); 2].map(|()| {
        let conn = world.accept();
        world.send(conn, &connect_request(0, 5000, 0, &[0; 16], Some(false)));
        conn
    });
    world.front.on_closed(gone);
    assert_eq!(world.front.report().outstanding, 2);
    for asked in std::mem::take(&mut world.queue) {
        let ToQuorum::CreateSession { origin, .. } = asked else {
            panic!("a session is asked for")
        };
        world.deliver(vec![ToShard::NotOpened { origin, why }]);
    }
    world.pump();
    assert!(world.is_closed(conn) && world.got(conn).is_empty());
    assert_eq!((world.front.report().outstanding, &world.reasons[..]), (0, &[reason][..]));
}

#[test]
fn an_unknown_session_is_refused() {
    let mut world = World::new();
    let conn = world.accept();
    let gone = SessionId(FIRST_SESSION + 9);
    world.send(conn, &connect_request(gone.0, 5000, 0, &password(gone), Some(false)));
    assert_eq!(answer(&mut world, conn), (37, 0, 0, vec![0; 16]));
    assert!(world.is_closed(conn));
}

#[test]
fn b16_a_client_ahead_of_the_tree_is_closed_without_a_word() {
    let mut world = World::new();
    let living = world.connect();
    let session = world.session(living);
    for (id, seen) in [(0, 2), (session.0, i64::MAX)] {
        let conn = world.accept();
        world.send(conn, &connect_request(id, 5000, seen, &[0; 16], Some(false)));
        assert!(world.is_closed(conn) && world.got(conn).is_empty());
    }
    let conn = world.accept();
    world.send(conn, &connect_request(0, 5000, -1, &[], Some(false)));
    assert!(!world.is_closed(conn) && !world.is_closed(living));
}

#[test]
fn b13_requests_after_the_connect_request_are_served_after_its_answer() {
    let mut world = World::new();
    let conn = world.accept();
    let mut bytes = connect_request(0, 5000, 0, &[0; 16], Some(false));
    bytes.extend(request(1, OpCode::EXISTS, &path_watch("/", false)));
    bytes.extend(request(-4, OpCode::AUTH, &auth_packet("digest", Some(b"a:b"))));
    bytes.extend(request(2, OpCode::CREATE, &create("/x", b"", &[Acl::open()], 0)));
    bytes.extend(request(3, OpCode::GET_DATA, &path_watch("/x", false)));
    world.send(conn, &bytes);
    let sent = world.sent.get_mut(&conn.slot).unwrap();
    assert_eq!(sent.drain(..41).count(), 41);
    let got: Vec<_> = world.got(conn).iter().map(|got| (got.xid, got.zxid, got.err)).collect();
    assert_eq!(got, [(1, 1, 0), (-4, 0, 0), (2, 2, 0), (3, 2, 0)]);
    assert_eq!(world.auth_seen, [2]);
}

#[test]
fn a_session_of_another_shard_moves_with_all_its_bytes() {
    let config = FrontendConfig { shards: 2, ..FrontendConfig::default() };
    let mut world = World::of_shard(config, ShardId(0));
    let conn = world.accept();
    let other = SessionId(FIRST_SESSION + 1);
    let mut bytes = connect_request(other.0, 5000, 0, &password(other), Some(false));
    bytes.extend(request(1, OpCode::PING, &[]));
    let (head, tail) = bytes.split_at(20);
    world.send(conn, head);
    world.send(conn, tail);
    assert_eq!(world.moved, [(ShardId(1), bytes)]);
    assert!(!world.is_closed(conn) && world.front.connections(0, 99).0.is_empty());
    // Late bytes of the moved connection are nobody's.
    world.send(conn, &request(2, OpCode::PING, &[]));
    assert!(world.sent.is_empty());
}

#[test]
fn what_comes_before_the_shell_hears_of_a_move_goes_with_the_connection() {
    let config = FrontendConfig { shards: 2, ..FrontendConfig::default() };
    let mut world = World::of_shard(config, ShardId(0));
    let (conn, neighbour) = (world.accept(), world.accept());
    let other = SessionId(FIRST_SESSION + 1);
    let connect = connect_request(other.0, 5000, 0, &password(other), Some(false));
    let (first, second) = (request(1, OpCode::PING, &[]), request(2, OpCode::PING, &[]));
    // The completions of one turn: the effects are carried out after them.
    for (conn, bytes) in [(conn, &connect), (neighbour, &connect), (conn, &first), (conn, &second)]
    {
        world.receive(conn, bytes);
    }
    world.pump();
    let all = [connect.clone(), first, second].concat();
    assert_eq!(world.moved, [(ShardId(1), all), (ShardId(1), connect)]);
}

#[test]
fn close_session_is_answered_then_closed_and_what_follows_is_dropped() {
    let mut world = World::new();
    let conn = world.connect();
    assert_eq!(world.err(conn, OpCode::CREATE, &create("/e", b"", &[Acl::open()], 1)), 0);
    world.ask(conn, OpCode::EXISTS, &path_watch("/e", true));
    let mut bytes = request(7, OpCode::CLOSE_SESSION, b"junk");
    bytes.extend(request(8, OpCode::PING, &[]));
    world.send(conn, &bytes);
    let got = world.got(conn);
    assert_eq!(got[0].event(), (DELETED, 3, "/e".into()));
    assert_eq!((got[1].xid, got[1].zxid, got[1].err, got.len()), (7, 3, 0, 2));
    assert!(world.is_closed(conn) && world.tree.get("/e").is_none());
}

#[test]
fn an_expired_session_loses_its_connection() {
    let mut world = World::new();
    let conn = world.connect();
    let session = world.session(conn);
    let mut items = Vec::new();
    world.apply(session, 0, &Txn::CloseSession { paths: None }, &mut items);
    items.push(BatchItem::SessionClosed { session });
    let commit = CommitBatch { zxid: world.tree.last_zxid(), items };
    world.deliver(vec![ToShard::Commit(commit)]);
    world.pump();
    assert!(world.is_closed(conn) && world.got(conn).is_empty());
}

#[test]
fn a_connection_that_goes_before_its_session_comes_harms_nothing() {
    let mut world = World::new();
    world.commits_at_once = false;
    let conn = world.accept();
    world.send(conn, &connect_request(0, 5000, 0, &[], Some(false)));
    world.front.on_eof(conn);
    world.pump();
    world.front.on_closed(conn);
    world.commit(9);
    assert!(world.sent.get(&conn.slot).is_none_or(Vec::is_empty));
    assert!(world.front.shard.sessions.is_empty());
}

#[test]
fn touches_are_reported_with_the_last_time_and_once() {
    let mut world = World::new();
    let conn = world.connect();
    let session = world.session(conn);
    world.tick(500);
    world.touches.clear();
    world.now.mono_ms += 100;
    world.ask(conn, OpCode::PING, &[]);
    world.now.mono_ms += 100;
    world.ask(conn, OpCode::PING, &[]);
    let last = world.now.mono_ms;
    world.send(conn, &[0, 0]);
    world.tick(100);
    assert_eq!(world.touches, [], "not more often than four times in a tick");
    world.tick(300);
    assert_eq!(world.touches, [(session, last)]);
    world.tick(500);
    assert_eq!(world.touches.len(), 1, "a part of a frame touches nothing");
    world.send(conn, &request(1, OpCode::PING, &[])[2..]);
    world.front.on_closed(conn);
    let last = world.now.mono_ms;
    world.tick(500);
    assert_eq!(world.touches[1..], [(session, last)], "a closed connection reports a last time");
}
