//! Bounded turns: one connection's work does not hold up another's, and every hold ends.

use super::super::hold::{HOLD_WORK, QUANTUM, REQUEST};
use super::*;

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
    assert!(waits.is_some_and(|before| before <= 100), "{waits:?}: the greedy one has taken all the room again");
    // New requests do not overtake those that wait.
    world.send(late, &request(8, OpCode::SET_DATA, &set_data("/n", b"late")));
    assert!(!world.queue.iter().any(|message| is_of(message, late)));
    world.commit(usize::MAX);
    world.commit(usize::MAX);
    world.commit(usize::MAX);
    assert!(world.got(good).iter().any(|got| got.xid == 7));
    assert!(world.got(late).iter().any(|got| got.xid == 8));
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
    let closed = world.front.report().closed;
    assert!(CloseReason::ALL.iter().all(|why| closed.of(*why) == u64::from(expected.contains(why))));
}
