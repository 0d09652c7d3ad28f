//! Bounded turns: one connection's work does not hold up another's, and every hold ends.

use super::super::hold::{HOLD_WORK, QUANTUM, REQUEST, STILL_READER_WORK};
use super::*;
use crate::watch::{ListCursor, Modes};

/// So many requests in one piece, with xids from 0.
fn many(requests: i32, op: OpCode, record: &[u8]) -> Vec<u8> {
    (0..requests).flat_map(|xid| request(xid, op, record)).collect()
}

/// Whether the connection has got this reply.
fn has(world: &mut World, conn: ConnId, xid: i32) -> bool {
    while let Some(effect) = world.front.poll() {
        world.execute(effect);
    }
    world.got(conn).iter().any(|got| got.xid == xid)
}

#[test]
fn a_client_that_pipelines_thousands_of_reads_is_served_a_quantum_at_a_time() {
    let mut world = World::new();
    let (greedy, good) = (world.connect(), world.connect());
    let flood = many(20_000, OpCode::EXISTS, &path_watch("/", false));
    let mut hold = world.front.drain(&world.tree, world.now, || None).unwrap();
    world.front.on_bytes(greedy, &flood, &mut hold);
    assert!((QUANTUM..QUANTUM + 200).contains(&hold.work()), "{} units of work", hold.work());
    world.front.on_bytes(good, &request(1, OpCode::EXISTS, &path_watch("/", false)), &mut hold);
    while world.front.serve_next(&mut hold) {}
    assert!(hold.work() >= HOLD_WORK, "the greedy one has what is left of the hold");
    assert!(has(&mut world, good, 1));
    let served = world.got(greedy).len() as u32;
    assert!(served <= HOLD_WORK / REQUEST + 1 && world.front.has_work(), "{served} served");
    world.serve_all();
    world.pump();
    assert!(has(&mut world, greedy, 19_999) && !world.front.has_work());
}

#[test]
fn more_bytes_of_the_same_client_do_not_give_it_more_of_a_hold() {
    let mut world = World::new();
    let (greedy, good) = (world.connect(), world.connect());
    let chunk = many(200, OpCode::EXISTS, &path_watch("/", false));
    let mut hold = world.front.drain(&world.tree, world.now, || None).unwrap();
    for _ in 0..100 {
        world.front.on_bytes(greedy, &chunk, &mut hold);
    }
    assert!(hold.work() < 2 * QUANTUM && !hold.is_half_used(), "{} units of work", hold.work());
    world.front.on_bytes(good, &request(1, OpCode::EXISTS, &path_watch("/", false)), &mut hold);
    assert!(has(&mut world, good, 1));
}

#[test]
fn connections_with_waiting_requests_take_turns() {
    let mut world = World::new();
    let greedy = [(); 8].map(|()| world.connect());
    let flood = many(10_000, OpCode::EXISTS, &path_watch("/", false));
    let mut hold = world.front.drain(&world.tree, world.now, || None).unwrap();
    for conn in greedy {
        world.front.on_bytes(conn, &flood, &mut hold);
    }
    world.pump();
    greedy.iter().for_each(|conn| drop(world.got(*conn)));
    // A hold has room for four quanta: two holds serve each of eight.
    world.turn();
    world.turn();
    world.pump();
    let served = greedy.map(|conn| world.got(conn).len());
    let (least, most) = (served.iter().min().unwrap(), served.iter().max().unwrap());
    assert!(*least > 500 && most - least <= 20, "{served:?}");
}

#[test]
fn who_waits_for_the_quorum_core_gets_its_part_of_the_room() {
    let config = FrontendConfig { outstanding_max: 100, ..FrontendConfig::default() };
    let mut world = World::with(config);
    let [greedy, good, late] = [(); 3].map(|()| world.connect());
    world.create(greedy, "/n");
    world.commits_at_once = false;
    world.send(greedy, &many(5_000, OpCode::SET_DATA, &set_data("/n", b"")));
    assert_eq!(world.queue.len(), 100);
    world.send(good, &request(7, OpCode::SET_DATA, &set_data("/n", b"good")));
    world.commit(10);
    let waits = world.queue.iter().position(|message| is_of(message, good));
    assert!(
        waits.is_some_and(|before| before <= 100),
        "{waits:?}: the greedy one has taken all the room again"
    );
    // New requests do not overtake those that wait.
    world.send(late, &request(8, OpCode::SET_DATA, &set_data("/n", b"late")));
    assert!(!world.queue.iter().any(|message| is_of(message, late)));
    world.commit(usize::MAX);
    world.commit(usize::MAX);
    world.commit(usize::MAX);
    assert!(world.got(good).iter().any(|got| got.xid == 7));
    assert!(world.got(late).iter().any(|got| got.xid == 8));
}

/// However small its requests are in number, a client has so many bytes with the quorum core and no
/// more; a multi counts for the operations that may be in it.
#[test]
fn one_client_has_no_more_than_its_share_of_bytes_with_the_quorum_core() {
    let share = crate::limits::CONNECTION_OUTSTANDING_BYTES_MAX;
    let large = |xid| request(xid, OpCode::SET_DATA, &set_data("/n", &vec![7; share / 4]));
    let multi = |xid| request(xid, OpCode::MULTI, &vec![7; share / 8]);
    for (each, may_have) in [(&large as &dyn Fn(i32) -> Vec<u8>, 4), (&multi, 1)] {
        let mut world = World::new();
        let [greedy, good] = [(); 2].map(|()| world.connect());
        world.create(greedy, "/n");
        world.commits_at_once = false;
        (0..10).for_each(|xid| world.send(greedy, &each(xid)));
        assert_eq!(world.queue.len(), may_have);
        assert!(!world.front.has_work(), "it waits for an answer");
        world.send(good, &request(99, OpCode::SET_DATA, &set_data("/n", b"good")));
        assert!(is_of(world.queue.back().unwrap(), good), "it need not wait");
        // One answer, and the next one goes.
        world.answer_oldest();
        assert_eq!(world.queue.len(), may_have + 1);
        while !world.queue.is_empty() {
            world.answer_oldest();
        }
        let xids: Vec<i32> = world.got(greedy).iter().map(|got| got.xid).collect();
        assert_eq!(xids, (0..10).collect::<Vec<_>>());
    }
}

/// `globalOutstandingLimit=0` counts no requests; their bytes have a bound all the same.
#[test]
fn without_a_limit_of_requests_there_is_one_of_bytes() {
    let config = FrontendConfig { outstanding_max: 0, ..FrontendConfig::default() };
    let mut world = World::with(config);
    let greedy: Vec<ConnId> = (0..100).map(|_| world.connect()).collect();
    world.create(greedy[0], "/n");
    world.commits_at_once = false;
    let record = set_data("/n", &[7; 200_000]);
    for xid in 0..10 {
        greedy.iter().for_each(|conn| world.send(*conn, &request(xid, OpCode::SET_DATA, &record)));
    }
    let taken = world.queue.len() * record.len();
    let bound = crate::limits::SHARD_OUTSTANDING_BYTES_MAX;
    assert!((bound - record.len()..bound + record.len()).contains(&taken), "{taken} bytes");
    assert!(!world.front.has_work());
    while !world.queue.is_empty() {
        world.answer_oldest();
    }
    assert!(greedy.iter().all(|conn| world.got(*conn).len() == 10));
}

fn is_of(message: &ToQuorum, conn: ConnId) -> bool {
    matches!(message, ToQuorum::Request(request) if request.origin.conn == conn)
}

#[test]
fn a_long_batch_is_acted_on_in_several_turns_and_no_read_is_served_between() {
    let mut world = World::new();
    let conn = world.connect();
    world.ask(conn, OpCode::ADD_WATCH, &path_int("/", 1));
    let event = |kind| {
        let event = Event { zxid: world.tree.last_zxid(), kind, path: "/x".into(), acl: None };
        BatchItem::Event(event.into())
    };
    let items = vec![event(EventType::NodeDataChanged); 50_000];
    let mut batch = Some(ToShard::Commit(CommitBatch { zxid: world.tree.last_zxid(), items }));
    let mut turns = 0;
    while world.front.drain(&world.tree, world.now, || batch.take()).is_none() {
        assert!(world.front.has_work(), "the shell must come again");
        turns += 1;
    }
    assert!(turns > 5, "{turns} turns");
    world.pump();
    assert_eq!(world.got(conn).len(), 50_000);
}

/// Work is counted by what is asked for; how long it takes the shell alone knows.
#[test]
fn a_batch_for_which_there_is_no_time_goes_on_in_the_next_turn() {
    let mut world = World::new();
    let conn = world.connect();
    world.ask(conn, OpCode::ADD_WATCH, &path_int("/", 1));
    let zxid = world.tree.last_zxid();
    let event = Event { zxid, kind: EventType::NodeDataChanged, path: "/x".into(), acl: None };
    let items = vec![BatchItem::Event(event.into()); 100];
    let mut batch = Some(ToShard::Commit(CommitBatch { zxid, items }));
    let mut turns = 0;
    let mut done = 0;
    while world
        .front
        .drain_in_time(
            &world.tree,
            world.now,
            || batch.take(),
            |work| {
                done = work;
                false
            },
        )
        .is_none()
    {
        assert!((1..200).contains(&done), "{done} units: one event");
        turns += 1;
    }
    assert_eq!(turns, 100);
    world.pump();
    assert_eq!(world.got(conn).len(), 100);
}

#[test]
fn a_long_answer_to_a_word_is_not_copied() {
    let mut world = World::new();
    let conn = world.connect();
    let bytes = vec![b'w'; 1 << 20];
    let at = bytes.as_ptr();
    world.front.on_word_answer(conn, bytes);
    assert_eq!(world.front.output(conn).as_ptr(), at);
    assert_eq!(world.front.output(conn).len(), 1 << 20);
}

#[test]
fn connections_are_closed_for_a_reason() {
    let mut world = World::new();
    let conns = [(); 4].map(|()| world.connect());
    world.send(conns[0], &(-1i32).to_be_bytes());
    world.send(conns[1], &frame(b"x"));
    world.send(conns[2], &request(1, OpCode(9_999), &[]));
    world.front.on_eof(conns[3]);
    world.pump();
    let fresh = world.accept();
    world.tick(30_000);
    assert!(world.is_closed(fresh));
    let expected = [
        CloseReason::FrameLength,
        CloseReason::Malformed,
        CloseReason::Unimplemented,
        CloseReason::ClientEnded,
        CloseReason::NoSession,
    ];
    assert_eq!(world.reasons, expected);
    let closed = world.front.report().counts.closed;
    assert!(
        CloseReason::ALL.iter().all(|why| closed.of(*why) == u64::from(expected.contains(why)))
    );
}

/// A world with a node of many children, made without requests.
fn wide_world(children: usize) -> World {
    let mut world = World::new();
    let mut items = Vec::new();
    for i in 0..=children {
        let path = if i == 0 { "/wide".to_owned() } else { format!("/wide/n{i:06}") };
        make(&mut world, path, &mut items);
    }
    world
}

fn make(world: &mut World, path: String, items: &mut Vec<BatchItem>) {
    let parent = &path[..path.rfind('/').unwrap()];
    let parent_cversion = world.tree.get(parent).unwrap().persisted().cversion + 1;
    let (acl, kind) = ([Acl::open()].into(), CreateKind::Persistent);
    let create = CreateTxn { acl, data: None, kind, with_stat: false, parent_cversion, path };
    world.apply(SessionId(1), 0, &Txn::Create(create), items);
}

/// Sends a request and gives turns until it is answered. `between` is called after each turn that
/// the tree need not stay as it is. No turn has more work than a hold and what is at hand when that
/// is done: a part of an answer, whatever happens, is no longer than a connection's quantum, or that
/// of the reader for which the tree stays as it is.
fn in_turns(
    world: &mut World,
    conn: ConnId,
    bytes: &[u8],
    mut between: impl FnMut(&mut World, usize),
) -> (Got, usize) {
    let work_max = HOLD_WORK + STILL_READER_WORK + 1_000;
    let (mut began_ms, mut next_ms) = (None, 0);
    let mut hold = world.front.drain(&world.tree, world.now, || None).unwrap();
    world.front.on_bytes(conn, bytes, &mut hold);
    assert!(hold.work() < work_max, "{} units in the first turn", hold.work());
    for turn in 1..1_000 {
        while let Some(effect) = world.front.poll() {
            world.execute(effect);
        }
        if let Some(got) = world.got(conn).into_iter().find(|got| got.xid != -1) {
            return (got, turn);
        }
        assert!(world.front.has_work(), "it goes on by itself");
        world.now.mono_ms += 4;
        // As the quorum core does it: for so long, and then not for three times as long.
        let wanted_ms = i64::from(world.front.wants_still_ms(world.now));
        let now_ms = world.now.mono_ms;
        began_ms = began_ms.or((wanted_ms > 0 && now_ms >= next_ms).then_some(now_ms));
        if began_ms.is_some_and(|began_ms| now_ms - began_ms >= wanted_ms) {
            next_ms = now_ms + 3 * (now_ms - began_ms.take().unwrap());
        }
        if began_ms.is_none() {
            between(world, turn);
        }
        let mut hold = world.front.drain(&world.tree, world.now, || None).unwrap();
        while world.front.serve_next(&mut hold) {}
        assert!(hold.work() < work_max, "{} units in one turn", hold.work());
    }
    panic!("it is never answered");
}

/// Whether another client's read is answered in the turn in which it comes.
fn is_served_at_once(world: &mut World, conn: ConnId) -> bool {
    let mut hold = world.front.drain(&world.tree, world.now, || None).unwrap();
    world.front.on_bytes(conn, &request(1, OpCode::EXISTS, &path_watch("/", false)), &mut hold);
    has(world, conn, 1)
}

#[test]
fn a_long_list_of_children_takes_several_turns_and_shows_one_point_in_time() {
    let mut world = wide_world(60_000);
    let (conn, good) = (world.connect(), world.connect());
    let ask = request(1, OpCode::GET_CHILDREN2, &path_watch("/wide", true));
    let mut more = 0;
    let (got, turns) = in_turns(&mut world, conn, &ask, |world, _| {
        assert!(is_served_at_once(world, good), "others are served between");
        // A child more in the middle of it, and another one if that is before its end.
        if more < 2 {
            more += 1;
            make(world, format!("/wide/more{more}"), &mut Vec::new());
        }
    });
    assert!(turns >= 3, "{turns} turns");
    assert!(more > 0);
    assert_eq!(got.names().len(), 60_000 + more as usize);
    assert_eq!((got.stat().num_children, got.zxid), (60_000 + more, zxid(&world)));
    assert_eq!(world.front.report().watches.child, 1);
}

/// However fast the data changes, each of the long reads ends, and no turn is long.
#[test]
fn what_never_stays_the_same_is_read_all_the_same() {
    let mut world = wide_world(60_000);
    let (conn, good) = (world.connect(), world.connect());
    for i in 0..20_000 {
        let record = create(&format!("/e{i:05}"), b"", &[Acl::open()], 1);
        assert_eq!(world.err(conn, OpCode::CREATE, &record), 0);
    }
    let paths: Vec<String> = (1..=20_000).map(|i| format!("/wide/n{i:06}")).collect();
    let requests = [
        (OpCode::GET_CHILDREN2, path_watch("/wide", false)),
        (OpCode::GET_EPHEMERALS, path("")),
        (OpCode::MULTI_READ, multi_read(&paths)),
    ];
    let mut version = 0;
    for (op, record) in requests {
        let (got, turns) = in_turns(&mut world, conn, &request(1, op, &record), |world, _| {
            assert!(is_served_at_once(world, good), "others are served between");
            version += 1;
            make(world, format!("/wide/more{version}"), &mut Vec::new());
            let set = SetDataTxn { version, path: "/wide/n000007".into(), data: None };
            world.apply(SessionId(1), 0, &Txn::SetData(set), &mut Vec::new());
            let path = format!("/e{version:05}");
            world.apply(SessionId(1), 0, &Txn::Delete { path }, &mut Vec::new());
        });
        assert_eq!(got.err, 0);
        match op {
            OpCode::GET_CHILDREN2 => assert_eq!(got.names().len(), 60_000 + version as usize),
            OpCode::GET_EPHEMERALS => assert_eq!(got.names().len(), 20_000 - version as usize),
            _ => assert_eq!(got.body.len(), 20_000 * (9 + 4 + 68) + 9),
        }
        assert!((4..100).contains(&turns), "{turns} turns");
        assert_eq!(world.front.wants_still_ms(world.now), 0, "nobody asks any more");
    }
}

/// Nobody has the tree stay as it is who does not go on reading.
#[test]
fn who_is_gone_does_not_keep_the_tree_as_it_is() {
    let mut world = wide_world(60_000);
    let conn = world.connect();
    let ask = request(1, OpCode::GET_CHILDREN2, &path_watch("/wide", false));
    let mut hold = world.front.drain(&world.tree, world.now, || None).unwrap();
    world.front.on_bytes(conn, &ask, &mut hold);
    assert_eq!(world.front.wants_still_ms(world.now), 0);
    make(&mut world, "/wide/more".to_owned(), &mut Vec::new());
    world.turn();
    assert_eq!(world.front.wants_still_ms(world.now), 10);
    world.now.mono_ms += 100_000;
    assert_eq!(world.front.wants_still_ms(world.now), 256);
    world.front.on_closed(conn);
    world.turn();
    assert_eq!(world.front.wants_still_ms(world.now), 0);
}

#[test]
fn many_ephemerals_are_listed_in_turns() {
    let mut world = World::new();
    let conn = world.connect();
    for i in 0..9_000 {
        let record = create(&format!("/e{i:05}"), b"", &[Acl::open()], 1);
        assert_eq!(world.err(conn, OpCode::CREATE, &record), 0);
    }
    let ask = request(1, OpCode::GET_EPHEMERALS, &path("/e0"));
    let (got, turns) = in_turns(&mut world, conn, &ask, |world, turn| {
        if turn == 1 {
            world.apply(SessionId(1), 0, &Txn::Delete { path: "/e00001".into() }, &mut Vec::new());
        }
    });
    assert!(turns > 1, "{turns} turns");
    assert_eq!(got.names().len(), 8_999);
}

#[test]
fn many_watches_are_set_in_turns() {
    let mut world = wide_world(0);
    let (conn, good) = (world.connect(), world.connect());
    let lists = record(|writer| {
        writer.i64(i64::MAX);
        for list in 0..3 {
            writer.len(10_000);
            (0..10_000).for_each(|i| writer.string(&format!("/{list}/{i}")));
        }
    });
    let (got, turns) =
        in_turns(&mut world, conn, &request(-8, OpCode::SET_WATCHES, &lists), |world, _| {
            assert!(is_served_at_once(world, good), "others are served between");
        });
    assert!(turns > 5, "{turns} turns");
    assert_eq!((got.xid, got.err), (-8, 0));
    assert_eq!(
        world.front.report().watches.data,
        10_000,
        "only the exist watches stay: nothing else is there"
    );
}

fn multi_read(paths: &[String]) -> Vec<u8> {
    record(|writer| {
        for path in paths {
            crate::proto::write_multi_header(writer, OpCode::GET_DATA, false, ErrorCode(-1));
            writer.string(path);
            writer.bool(false);
        }
        crate::proto::write_multi_header(writer, OpCode::ERROR, true, ErrorCode(-1));
    })
}

#[test]
fn a_long_multi_read_shows_one_point_in_time() {
    let mut world = wide_world(10_000);
    let conn = world.connect();
    let paths: Vec<String> = (1..=10_000).map(|i| format!("/wide/n{i:06}")).collect();
    let ask = request(1, OpCode::MULTI_READ, &multi_read(&paths));
    let mut version = 0;
    let (got, turns) = in_turns(&mut world, conn, &ask, |world, turn| {
        // The first and the last are always written together.
        if turn < 6 {
            version += 1;
            for path in ["/wide/n000001", "/wide/n010000"] {
                let data = Some(bytes::Bytes::copy_from_slice(&[version]));
                let set = SetDataTxn { version: i32::from(version), path: path.into(), data };
                world.apply(SessionId(1), 0, &Txn::SetData(set), &mut Vec::new());
            }
        }
    });
    assert!(turns > 6, "{turns} turns");
    assert_eq!(got.err, 0);
    // An entry: header, data, Stat; the data of the first and of the last have a byte.
    let entry = 9 + 4 + 68;
    let first = got.body[9 + 4];
    let last = got.body[got.body.len() - 9 - 68 - 1];
    assert_eq!(got.body.len(), 10_000 * entry + 2 + 9);
    assert_eq!((first, last), (version, version));
}

/// Whatever changes meanwhile, what has been read is looked at again in slices, and not read again
/// if it is as it was.
#[test]
fn a_long_multi_read_beside_other_changes_takes_no_long_turn() {
    let mut world = wide_world(20_000);
    make(&mut world, "/other".to_owned(), &mut Vec::new());
    let conn = world.connect();
    let mut paths: Vec<String> = (1..=20_000).map(|i| format!("/wide/n{i:06}")).collect();
    paths.push("/wide/none".to_owned());
    let ask = request(1, OpCode::MULTI_READ, &multi_read(&paths));
    let mut version = 0;
    let mut change = |world: &mut World, _: usize| {
        version += 1;
        let set = SetDataTxn { version, path: "/other".into(), data: None };
        world.apply(SessionId(1), 0, &Txn::SetData(set), &mut Vec::new());
    };
    let (got, turns) = in_turns(&mut world, conn, &ask, &mut change);
    let entry = 9 + 4 + 68;
    assert_eq!(got.body.len(), 20_000 * entry + (9 + 4) + 9);
    assert!(turns < 80, "{turns} turns: it is read once");
    let spent = world.front.connections.get(conn).unwrap().spent;
    assert!(spent < HOLD_WORK + QUANTUM, "{spent} units in the last turn");
    // A node goes, another one gets its place in the tree, and what was not there comes.
    let ask = request(2, OpCode::MULTI_READ, &multi_read(&paths));
    let (got, _) = in_turns(&mut world, conn, &ask, |world, turn| {
        change(world, turn);
        if turn == turns - 6 {
            let path = "/wide/n000001".into();
            world.apply(SessionId(1), 0, &Txn::Delete { path }, &mut Vec::new());
            make(world, "/wide/none".to_owned(), &mut Vec::new());
        }
    });
    assert_eq!(got.body.len(), 20_000 * entry + (9 + 4) + 9);
    assert_eq!(got.body[..4], (-1i32).to_be_bytes(), "the first is an error now");
}

#[test]
fn a_multi_read_over_its_limit_is_refused_before_it_is_put_together() {
    let mut world = wide_world(0);
    let conn = world.connect();
    let data = Some(bytes::Bytes::from(vec![7; 1_000_000]));
    let set = SetDataTxn { version: 1, path: "/wide".into(), data };
    world.apply(SessionId(1), 0, &Txn::SetData(set), &mut Vec::new());
    let ask = request(1, OpCode::MULTI_READ, &multi_read(&vec!["/wide".to_owned(); 400]));
    let mut hold = world.front.drain(&world.tree, world.now, || None).unwrap();
    world.front.on_bytes(conn, &ask, &mut hold);
    assert!(hold.work() < 8_000, "{} units: nothing is copied", hold.work());
    world.pump();
    assert_eq!(world.got(conn)[0].err, -5);
}

impl World {
    /// The commit of `writer`'s setData of `path`, which no shard has taken in yet.
    fn commits_set_data(&mut self, writer: ConnId, path: &str) -> ToShard {
        self.commits_at_once = false;
        self.send(writer, &request(1, OpCode::SET_DATA, &set_data(path, b"new")));
        let Some(ToQuorum::Request(asked)) = self.queue.pop_front() else {
            panic!("it is a request")
        };
        let mut items = Vec::new();
        self.commit_request(asked, &mut items);
        ToShard::Commit(CommitBatch { zxid: self.tree.last_zxid(), items })
    }
}

#[test]
fn b20_the_writer_does_not_wait_for_thousands_of_watchers_and_each_keeps_its_order() {
    let mut world = World::new();
    let writer = world.connect();
    world.create(writer, "/w");
    let watchers: Vec<ConnId> = (0..2_000).map(|_| world.connect()).collect();
    for conn in watchers.iter().chain([&writer]) {
        world.ask(*conn, OpCode::GET_DATA, &path_watch("/w", true));
    }
    let mut batch = Some(world.commits_set_data(writer, "/w"));
    let mut hold = world.front.drain(&world.tree, world.now, || batch.take()).unwrap();
    // In this very turn: the writer's event and reply, and a read of one that is not told yet.
    let last = *watchers.last().unwrap();
    world.front.on_bytes(last, &request(2, OpCode::GET_DATA, &path_watch("/w", false)), &mut hold);
    let gone = watchers[1_500];
    world.front.on_closed(gone);
    while let Some(effect) = world.front.poll() {
        world.execute(effect);
    }
    let xids = |got: Vec<Got>| got.iter().map(|got| got.xid).collect::<Vec<_>>();
    assert_eq!(xids(world.got(writer)), [-1, 1]);
    assert_eq!(xids(world.got(last)), [-1, 2]);
    let told = watchers
        .iter()
        .filter(|conn| world.sent.get(&conn.slot).is_some_and(|bytes| !bytes.is_empty()))
        .count();
    assert!(told < 200 && world.front.has_work(), "{told} told in the first turn");
    // Its slot is used again: the new one is owed nothing.
    let new = ConnId { slot: gone.slot, generation: 9 };
    world.front.on_accept(new, "10.0.0.1:4000".parse().unwrap(), world.now);
    world.serve_all();
    world.pump();
    for conn in watchers.iter().filter(|conn| **conn != last && **conn != gone) {
        assert_eq!(xids(world.got(*conn)), [-1]);
    }
    assert!(
        world.got(gone).is_empty() && world.got(last).is_empty() && world.got(writer).is_empty()
    );
    assert_eq!(world.front.report().counts.events, 2_000);
}

#[test]
fn reports_are_taken_in_pieces() {
    let mut world = World::new();
    let conns = [(); 7].map(|()| world.connect());
    for (i, conn) in (0..).zip(conns) {
        world.ask(conn, OpCode::EXISTS, &path_watch(&format!("/p{i}"), true));
    }
    world.front.on_closed(conns[3]);
    let (mut sessions, mut paths) = (Vec::new(), Vec::new());
    let mut from = Some(0);
    while let Some(at) = from {
        let (piece, next) = world.front.connections(at, 2);
        assert!(piece.len() <= 2);
        sessions.extend(piece.into_iter().map(|report| report.session));
        from = next;
    }
    let mut from = Some(ListCursor::default());
    while let Some(at) = from {
        let (piece, next) = world.front.watch_report(at, 3);
        assert!(piece.len() <= 2, "a path and its watch count");
        paths.extend(piece.into_iter().map(|(path, _)| path));
        from = next;
    }
    assert_eq!(sessions, [0, 1, 2, 4, 5, 6].map(|nth| SessionId(FIRST_SESSION + nth)));
    assert_eq!(paths, [0, 1, 2, 4, 5, 6].map(|nth| format!("/p{nth}").into()));
}

#[test]
fn long_lists_of_who_may_read_count_as_work() {
    let mut world = World::new();
    let conn = world.connect();
    let list: Vec<Acl> = (0..2_000).map(|i| digest_acl(&format!("user{i}:p"), 1)).collect();
    assert_eq!(world.err(conn, OpCode::CREATE, &create("/private", b"", &list, 0)), 0);
    let flood = many(1_000, OpCode::GET_DATA, &path_watch("/private", false));
    let mut hold = world.front.drain(&world.tree, world.now, || None).unwrap();
    world.front.on_bytes(conn, &flood, &mut hold);
    world.pump();
    let served = world.got(conn);
    assert!(served.iter().all(|got| got.err == ErrorCode::NO_AUTH.0));
    assert!(served.len() <= 10, "{} lists judged in one turn", served.len());
}

/// So many watches of one connection, set without requests.
fn watch_many(world: &mut World, conn: ConnId, watches: usize) {
    for nth in 0..watches {
        world.front.shard.watches.add(&format!("/w{nth}"), conn.slot, Modes::DATA);
    }
}

/// The watches of a connection that ends are removed a part at a time, and nobody hears of them
/// meanwhile: not even the next connection in its slot.
#[test]
fn a_connection_with_very_many_watches_ends_in_parts() {
    let mut world = World::new();
    let (greedy, good) = (world.connect(), world.connect());
    let watches = 50_000;
    watch_many(&mut world, greedy, watches);
    let removed = |world: &World| watches - world.front.report().watches.data;
    world.front.on_closed(greedy);
    assert!(removed(&world) <= 64, "{} at once", removed(&world));
    let next = ConnId { slot: greedy.slot, generation: 8 };
    world.front.on_accept(next, "10.0.0.1:4000".parse().unwrap(), world.now);
    world.front.shard.watches.add("/w7", next.slot, Modes::DATA);
    let event = |path: &str| {
        let (zxid, kind) = (world.tree.last_zxid(), EventType::NodeDataChanged);
        BatchItem::Event(Event { zxid, kind, path: path.into(), acl: None }.into())
    };
    let items = vec![event("/w7"), event("/w8")];
    let mut batch = Some(ToShard::Commit(CommitBatch { zxid: world.tree.last_zxid(), items }));
    let (mut turns, mut before) = (0, removed(&world));
    while world.front.has_work() || batch.is_some() {
        let mut hold = world.front.drain(&world.tree, world.now, || batch.take()).unwrap();
        while world.front.serve_next(&mut hold) {}
        assert!(is_served_at_once(&mut world, good));
        assert!(removed(&world) - before <= 3000, "{} in one turn", removed(&world) - before);
        before = removed(&world);
        turns += 1;
    }
    world.pump();
    let got: Vec<_> = world.got(next).iter().map(|got| got.event().2).collect();
    assert_eq!(got, ["/w7"], "it hears of its own watch alone");
    assert!(turns > 10, "{turns} turns");
    assert_eq!(world.front.report().watches, Default::default());
}

/// Whoever hears late of an event may set its watch again at once, and others may come and go.
#[test]
fn watchers_of_one_node_may_watch_again_and_go_before_all_have_heard() {
    let mut world = World::new();
    let writer = world.connect();
    world.create(writer, "/w");
    let watchers: Vec<ConnId> = (0..1_000).map(|_| world.connect()).collect();
    for conn in &watchers {
        world.ask(*conn, OpCode::GET_DATA, &path_watch("/w", true));
    }
    let mut batch = Some(world.commits_set_data(writer, "/w"));
    let (again, other, gone) = (watchers[990], watchers[991], watchers[992]);
    let mut hold = world.front.drain(&world.tree, world.now, || batch.take()).unwrap();
    world.front.on_bytes(again, &request(2, OpCode::GET_DATA, &path_watch("/w", true)), &mut hold);
    world.front.on_bytes(other, &request(2, OpCode::EXISTS, &path_watch("/x", true)), &mut hold);
    world.front.on_closed(gone);
    assert!(world.front.has_work(), "many have not heard of it");
    world.serve_all();
    world.pump();
    let xids = |got: Vec<Got>| got.iter().map(|got| got.xid).collect::<Vec<_>>();
    for conn in &watchers {
        let told = xids(world.got(*conn));
        let expected: &[i32] = match conn {
            conn if [again, other].contains(conn) => &[-1, 2],
            conn if *conn == gone => &[],
            _ => &[-1],
        };
        assert_eq!(told, expected);
    }
    assert_eq!(world.front.report().watches.data, 2);
    let watched: Vec<usize> = [again, other, watchers[0]]
        .map(|conn| world.front.shard.watches.watches_of(conn.slot))
        .into();
    assert_eq!(watched, [1, 1, 0]);
}

/// A node that very many watch is listed in pieces.
#[test]
fn the_watchers_of_one_node_are_listed_in_pieces() {
    let mut world = World::new();
    let conns: Vec<ConnId> = (0..500).map(|_| world.connect()).collect();
    conns.iter().for_each(|conn| world.front.shard.watches.add("/w", conn.slot, Modes::DATA));
    world.front.on_closed(conns[77]);
    let (mut sessions, mut from, mut pieces) = (Vec::new(), Some(ListCursor::default()), 0);
    while let Some(at) = from {
        let (piece, next) = world.front.watch_report(at, 50);
        assert!(piece.iter().map(|(_, sessions)| sessions.len()).sum::<usize>() <= 50);
        sessions.extend(piece.into_iter().flat_map(|(_, sessions)| sessions));
        from = next;
        pieces += 1;
    }
    assert!(pieces >= 10, "{pieces} pieces");
    sessions.sort_unstable();
    let expected = (0..500).filter(|nth| *nth != 77).map(|nth| SessionId(FIRST_SESSION + nth));
    assert_eq!(sessions, expected.collect::<Vec<_>>());
}

/// Ten thousand connections that are due at the same tick are looked after a part at a time.
#[test]
fn what_a_tick_finds_due_is_done_in_parts() {
    let mut world = World::new();
    let sessions: Vec<ConnId> = (0..5_000).map(|_| world.connect()).collect();
    let silent: Vec<ConnId> = (0..3_000).map(|_| world.accept()).collect();
    world.touches.clear();
    world.now.mono_ms += 30_000;
    for conn in &sessions {
        let mut hold = world.front.drain(&world.tree, world.now, || None).unwrap();
        world.front.on_bytes(*conn, &request(1, OpCode::PING, &[]), &mut hold);
    }
    world.pump();
    world.front.on_tick(world.now);
    let mut turns = 0;
    loop {
        let (closed, touches) = (world.closed.len(), world.touches.len());
        while let Some(effect) = world.front.poll() {
            world.execute(effect);
        }
        let (closed, touches) = (world.closed.len() - closed, world.touches.len() - touches);
        assert!(closed <= 256 && touches <= 4096, "{closed} closed, {touches} touches");
        if !world.front.has_work() {
            break;
        }
        world.turn();
        turns += 1;
    }
    assert!(turns >= 10, "{turns} turns");
    assert!(silent.iter().all(|conn| world.is_closed(*conn)));
    let touched: std::collections::BTreeSet<_> = world.touches.iter().map(|(id, _)| *id).collect();
    assert!(sessions.iter().all(|conn| touched.contains(&world.session(*conn))));
}

/// A part of a multi is applied: what came before it is told, and nothing is served until it ends.
#[test]
fn nobody_is_served_amid_a_multi() {
    let mut world = World::new();
    let conn = world.connect();
    let create = |path: &str| {
        let (path, parent_cversion) = (path.to_owned(), -1);
        let kind = CreateKind::Persistent;
        Txn::Create(CreateTxn {
            path,
            data: None,
            acl: [Acl::open()].into(),
            kind,
            with_stat: false,
            parent_cversion,
        })
    };
    let zxid = world.tree.last_zxid().next();
    let header = TxnHeader { session: SessionId(1), cxid: 0, zxid, time_ms: 0 };
    let (txns, mut parts) = ([create("/a"), create("/b")], Default::default());
    let mut part =
        |tree: &mut Tree| tree.apply_part(&header, (&txns, &[]), &mut parts, None, |_| true);
    assert!(part(&mut world.tree).is_none() && world.tree.is_amid());
    assert!(world.front.drain(&world.tree, world.now, || None).is_none());
    assert!(part(&mut world.tree).is_some() && !world.tree.is_amid());
    assert_eq!(world.err(conn, OpCode::EXISTS, &path_watch("/b", false)), 0);
}
