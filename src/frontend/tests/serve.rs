//! Replies in the order of requests, whatever the quorum core's pace.

use proptest::prelude::*;

use super::*;

#[test]
fn a_read_after_a_write_waits_for_it_and_sees_it() {
    let mut world = World::new();
    let conn = world.connect();
    world.commits_at_once = false;
    world.send(conn, &request(1, OpCode::CREATE, &make("/a")));
    world.send(conn, &request(2, OpCode::GET_DATA, &path_watch("/a", false)));
    world.send(conn, &request(3, OpCode::PING, &[]));
    assert_eq!((world.got(conn).len(), world.queue.len()), (0, 1));
    world.commit(1);
    let got: Vec<_> = world.got(conn).iter().map(|got| (got.xid, got.zxid, got.err)).collect();
    assert_eq!(got, [(1, 2, 0), (2, 2, 0), (-2, 2, 0)]);
}

fn make(path: &str) -> Vec<u8> {
    create(path, b"", &[Acl::open()], 0)
}

#[test]
fn a_write_after_a_waiting_read_waits_so_that_the_read_cannot_see_it() {
    let mut world = World::new();
    let conn = world.connect();
    world.create(conn, "/a");
    world.commits_at_once = false;
    let mut bytes = request(1, OpCode::SET_DATA, &set_data("/a", b"1"));
    bytes.extend(request(2, OpCode::GET_DATA, &path_watch("/a", false)));
    bytes.extend(request(3, OpCode::SET_DATA, &set_data("/a", b"2")));
    bytes.extend(request(4, OpCode::SET_DATA, &set_data("/a", b"3")));
    world.send(conn, &bytes);
    assert_eq!(world.queue.len(), 1);
    world.commit(9);
    assert_eq!(world.queue.len(), 2, "both writes follow at once");
    world.commit(9);
    let got = world.got(conn);
    assert_eq!(got.iter().map(|got| got.xid).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(got[1].data(), Some(b"1".to_vec()));
    assert!(got.is_sorted_by_key(|got| got.zxid));
}

#[test]
fn other_sessions_do_not_wait() {
    let mut world = World::new();
    let (writer, reader) = (world.connect(), world.connect());
    world.commits_at_once = false;
    world.send(writer, &request(1, OpCode::CREATE, &make("/a")));
    world.send(reader, &request(1, OpCode::EXISTS, &path_watch("/a", false)));
    assert_eq!(world.got(reader)[0].err, -101);
}

#[test]
fn a_read_that_waited_does_not_watch_into_the_past() {
    let mut world = World::new();
    let (conn, other) = (world.connect(), world.connect());
    world.create(conn, "/a");
    world.commits_at_once = false;
    world.send(conn, &request(1, OpCode::SYNC, &path("/")));
    world.send(conn, &request(2, OpCode::GET_DATA, &path_watch("/a", true)));
    world.send(other, &request(1, OpCode::SET_DATA, &set_data("/a", b"new")));
    // One batch: the reply that lets the read go on stands before the event of the later write.
    world.commit(9);
    let got = world.got(conn);
    assert_eq!(
        got.iter().map(|got| got.xid).collect::<Vec<_>>(),
        [1, 2],
        "no event for data already shown"
    );
    assert_eq!(got[1].data(), Some(b"new".to_vec()));
    assert_eq!(world.front.report().watches.data, 1);
}

#[test]
fn auth_and_unknown_operations_keep_their_place() {
    let mut world = World::new();
    let conn = world.connect();
    world.commits_at_once = false;
    let mut bytes = request(1, OpCode::CREATE, &make("/a"));
    bytes.extend(request(-4, OpCode::AUTH, &auth_packet("digest", Some(b"u:p"))));
    bytes.extend(request(2, OpCode::CREATE, &make("/b")));
    bytes.extend(request(3, OpCode(99), &[]));
    bytes.extend(request(4, OpCode::CREATE, &make("/never")));
    world.send(conn, &bytes);
    world.commit(9);
    world.commit(9);
    let got: Vec<_> = world.got(conn).iter().map(|got| (got.xid, got.zxid, got.err)).collect();
    assert_eq!(got, [(1, 2, 0), (-4, 0, 0), (2, 3, 0), (3, -1, -6)]);
    assert_eq!(world.auth_seen, [1, 2], "a write carries the ids proven before it");
    assert!(world.is_closed(conn) && world.queue.is_empty());
}

#[test]
fn replies_to_a_closed_connection_are_dropped() {
    let mut world = World::new();
    let conn = world.connect();
    world.commits_at_once = false;
    world.send(conn, &request(1, OpCode::CREATE, &make("/a")));
    world.front.on_closed(conn);
    assert_eq!(world.front.report().outstanding, 1, "the quorum core has it all the same");
    world.front.on_accept(
        ConnId { slot: conn.slot, generation: 8 },
        "10.0.0.2:1".parse().unwrap(),
        world.now,
    );
    world.commit(9);
    assert_eq!(world.got(conn), []);
    assert!(world.tree.get("/a").is_some());
    assert_eq!(world.front.report().outstanding, 0);
}

/// The answer to a closeSession ends the connection, and so does one that says so, as that to
/// whatever a session that has ended asks for.
#[test]
fn a_connection_ends_with_the_answer_that_ends_its_session() {
    let create = (OpCode::CREATE, make("/a"));
    for ((op, record), close, ends) in [
        (create.clone(), false, false),
        (create, true, true),
        ((OpCode::CLOSE_SESSION, vec![]), false, true),
    ] {
        let mut world = World::new();
        let conn = world.connect();
        world.commits_at_once = false;
        world.send(conn, &request(1, op, &record));
        let answer = Reply { close, ..reply(conn, op, ReplyBody::Empty) };
        let items = vec![BatchItem::Reply(answer)];
        world.deliver(vec![ToShard::Commit(CommitBatch { zxid: Zxid(0), items })]);
        world.pump();
        assert_eq!(world.is_closed(conn), ends, "{op:?}, close {close}");
        assert_eq!(world.got(conn).len(), 1);
    }
}

#[test]
fn an_address_proves_its_own_id_and_connections_from_one_share_it() {
    let mut world = World::new();
    let peers = ["10.0.0.1:4000", "10.0.0.2:4000", "10.0.0.2:5000", "10.0.0.1:4001"];
    let ids = [0, 1, 2, 3].map(|slot: u32| {
        let conn = ConnId { slot, generation: 1 };
        world.front.on_accept(conn, peers[slot as usize].parse().unwrap(), world.now);
        world.front.connections.get(conn).unwrap().auth.clone()
    });
    let expected = ["10.0.0.1", "10.0.0.2", "10.0.0.2", "10.0.0.1"];
    for (ids, expected) in ids.iter().zip(expected) {
        assert_eq!(ids[..], [Id::new("ip", expected)]);
    }
    assert!(std::sync::Arc::ptr_eq(&ids[1], &ids[2]), "one copy for many connections");
}

#[test]
fn a_session_that_has_been_reported_is_not_reported_again_when_its_connection_goes() {
    for (tick_first, reports) in [(true, 0), (false, 1)] {
        let mut world = World::new();
        let conn = world.connect();
        let session = world.session(conn);
        assert_eq!(world.err(conn, OpCode::PING, &[]), 0);
        if tick_first {
            world.tick(1_000);
            assert_eq!(world.touches.len(), 1);
            world.touches.clear();
        }
        world.front.on_closed(conn);
        world.tick(1_000);
        assert_eq!(world.touches.len(), reports);
        assert!(world.touches.iter().all(|(touched, _)| *touched == session));
    }
}

#[test]
fn the_answer_to_a_word_comes_after_what_was_written_and_not_to_who_is_closed() {
    let mut world = World::new();
    let conn = world.connect();
    world.receive(conn, &request(-2, OpCode::PING, &[]));
    world.front.on_word_answer(conn, b"imok".to_vec());
    let output = std::mem::take(world.front.output(conn));
    assert_eq!((output.len(), &output[20..]), (24, &b"imok"[..]));
    world.front.on_word_answer(conn, b"imok".to_vec());
    assert!(world.front.output(conn).is_empty(), "it is closed");
}

#[derive(Clone, Debug)]
enum Step {
    Read(usize),
    Watch(usize),
    Write(usize),
    Ping(usize),
    Commit(usize),
    /// The way the bytes of the next requests are cut.
    Cut(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..3usize).prop_map(Step::Read),
        1 => (0..3usize).prop_map(Step::Watch),
        3 => (0..3usize).prop_map(Step::Write),
        1 => (0..3usize).prop_map(Step::Ping),
        3 => (1..6usize).prop_map(Step::Commit),
        1 => (1..90usize).prop_map(Step::Cut),
    ];
    prop::collection::vec(step, 1..120)
}

proptest! {
    /// All sessions write one counter. Replies keep their order, zxids never fall, a read shows all
    /// writes of its own session before it and none after it, and data never comes before its
    /// event.
    #[test]
    fn order_holds_for_any_interleaving(steps in steps()) {
        let mut world = World::new();
        let conns = [(); 3].map(|()| world.connect());
        world.create(conns[0], "/n");
        world.commits_at_once = false;
        let mut asked: [Vec<Asked>; 3] = Default::default();
        let mut unsent: [Vec<u8>; 3] = Default::default();
        let mut cut = usize::MAX;
        for step in &steps {
            let (of, op, record) = match *step {
                Step::Read(of) => (of, OpCode::GET_DATA, path_watch("/n", false)),
                Step::Watch(of) => (of, OpCode::GET_DATA, path_watch("/n", true)),
                Step::Write(of) => (of, OpCode::SET_DATA, set_data("/n", &[])),
                Step::Ping(of) => (of, OpCode::PING, vec![]),
                Step::Commit(max) => {
                    world.commit(max);
                    continue;
                }
                Step::Cut(at) => {
                    cut = at;
                    continue;
                }
            };
            let xid = if op == OpCode::PING { -2 } else { asked[of].len() as i32 + 1 };
            asked[of].push((xid, op, matches!(step, Step::Watch(_))));
            unsent[of].extend(request(xid, op, &record));
            let now: Vec<u8> = { let n = cut.min(unsent[of].len()); unsent[of].drain(..n).collect() };
            world.send(conns[of], &now);
        }
        for of in 0..3 {
            let rest = std::mem::take(&mut unsent[of]);
            world.send(conns[of], &rest);
        }
        while !world.queue.is_empty() {
            world.commit(2);
        }
        for of in 0..3 {
            check(&world.got(conns[of]), &asked[of])?;
        }
        prop_assert_eq!(world.front.report().outstanding, 0);
    }
}

/// The request: xid, operation, and whether to watch.
type Asked = (i32, OpCode, bool);

fn check(got: &[Got], asked: &[Asked]) -> Result<(), TestCaseError> {
    let mut asked = asked.iter();
    let (mut zxid, mut version) = (0, 0);
    // The version that a watch waits to see changed.
    let mut watched = None;
    for one in got {
        prop_assert!(one.zxid >= zxid, "zxids fell: {:?}", got);
        zxid = one.zxid;
        if one.xid == -1 {
            prop_assert!(watched.take().is_some(), "an event without a watch");
            continue;
        }
        let (xid, op, watch) = *asked.next().expect("no reply is unasked");
        prop_assert_eq!((one.xid, one.err), (xid, 0));
        match op {
            OpCode::SET_DATA => {
                prop_assert!(one.stat().version > version, "a read saw a write after it");
                prop_assert_eq!(one.stat().mzxid, one.zxid);
                version = one.stat().version;
            }
            OpCode::GET_DATA => {
                prop_assert!(one.stat().version >= version && one.stat().mzxid <= one.zxid);
                version = one.stat().version;
            }
            _ => continue,
        }
        prop_assert!(watched.is_none_or(|seen| seen == version), "data came before its event");
        if watch {
            watched = Some(version);
        }
    }
    prop_assert!(asked.next().is_none(), "a request was not answered");
    Ok(())
}

/// A client whose session goes on elsewhere gets no answer here.
#[test]
fn a_session_that_has_moved_gets_no_reply() {
    let mut world = World::new();
    let conn = world.connect();
    world.commits_at_once = false;
    world.send(conn, &request(1, OpCode::CREATE, &make("/a")));
    world.queue.clear();
    let reply = reply(conn, OpCode::CREATE, ReplyBody::Empty);
    let moved = Reply { err: ErrorCode::SESSION_MOVED, close: true, ..reply };
    let items = vec![BatchItem::Reply(moved)];
    world.deliver(vec![ToShard::Commit(CommitBatch { zxid: Zxid(1), items })]);
    world.pump();
    assert!(world.is_closed(conn));
    assert_eq!(world.got(conn).len(), 0);
}
