//! The units of work of what comes from the quorum core, and of ids: they decide where a turn ends.

use super::super::fanout::TOLD_AT_ONCE_MAX;
use super::super::hold::{ANNOUNCEMENT, HOLD_WORK, LOOKUP, QUANTUM, REQUEST, Work};
use super::*;

/// Acts on a batch in one turn: the units of work of each item.
fn work_of(world: &mut World, items: Vec<BatchItem>) -> Vec<Work> {
    let mut batch = Some(ToShard::Commit(CommitBatch { zxid: world.tree.last_zxid(), items }));
    let (mut done, mut of_each) = (0, Vec::new());
    let in_time = |work| {
        of_each.push(work - std::mem::replace(&mut done, work));
        true
    };
    let hold = world.front.drain_in_time(&world.tree, world.now, || batch.take(), in_time);
    assert!(hold.is_some(), "it ends in one turn");
    of_each
}

/// Connections that watch a node for good.
fn watchers(world: &mut World, path: &str, number: usize) -> Vec<ConnId> {
    let conns: Vec<ConnId> = (0..number).map(|_| world.connect()).collect();
    for conn in &conns {
        world.ask(*conn, OpCode::ADD_WATCH, &path_int(path, 0));
    }
    conns
}

fn changed(path: &str) -> BatchItem {
    let (zxid, kind) = (Zxid(0), EventType::NodeDataChanged);
    BatchItem::Event(Event { zxid, kind, path: path.into(), acl: None }.into())
}

/// A request of the connection goes to the quorum core; this is its answer.
fn asked(world: &mut World, conn: ConnId, body: ReplyBody) -> BatchItem {
    world.send(conn, &request(1, OpCode::SYNC, &path("/")));
    BatchItem::Reply(reply(conn, OpCode::SYNC, body))
}

/// An event written: the watch, its way into the output, and the one id that is judged.
const TOLD: Work = LOOKUP + 2 * LOOKUP + 1;

#[test]
fn an_event_is_a_look_up_and_for_each_who_is_told_its_writing_and_what_is_announced_anew() {
    let mut world = World::new();
    watchers(&mut world, "/w", 3);
    let work = work_of(&mut world, vec![changed("/w"), changed("/w"), changed("/other")]);
    assert_eq!(work, [LOOKUP + 3 * (TOLD + ANNOUNCEMENT), LOOKUP + 3 * TOLD, LOOKUP]);
}

#[test]
fn an_event_for_many_is_a_unit_for_each_until_it_is_written() {
    let mut world = World::new();
    let many = TOLD_AT_ONCE_MAX + 1;
    let conns = watchers(&mut world, "/w", many);
    world.ask(conns[0], OpCode::ADD_WATCH, &path_int("/own", 0));
    let of_many = LOOKUP + many as Work;
    let work = work_of(&mut world, vec![changed("/w"), changed("/own"), changed("/own")]);
    let owed = TOLD + ANNOUNCEMENT;
    assert_eq!(work, [of_many, LOOKUP + owed + TOLD, LOOKUP + TOLD], "what is owed is written");
}

#[test]
fn a_reply_is_its_bytes_and_what_is_announced_anew() {
    let mut world = World::new();
    let conn = world.connect();
    world.commits_at_once = false;
    // A frame of 640 bytes with its length and its header: ten units.
    let body = || ReplyBody::Bytes(vec![7; 640 - 20]);
    let items = (0..2).map(|_| asked(&mut world, conn, body())).collect();
    assert_eq!(work_of(&mut world, items), [REQUEST + 10 + ANNOUNCEMENT, REQUEST + 10]);
    let connection = world.front.connections.get(conn).unwrap();
    assert_eq!((connection.out.len(), connection.unsent.bytes()), (1280, 1280));
    let traffic = world.front.report().counts.traffic;
    assert_eq!((traffic.updates.latency.count, traffic.reply_sizes.last), (2, 636));
}

#[test]
fn a_reply_comes_after_the_events_that_are_owed_and_counts_them() {
    let mut world = World::new();
    let many = TOLD_AT_ONCE_MAX + 1;
    let conns = watchers(&mut world, "/w", many);
    world.commits_at_once = false;
    let body = ReplyBody::Bytes(vec![7; 640 - 20]);
    let items = vec![changed("/w"), asked(&mut world, conns[5], body)];
    let owed = TOLD + ANNOUNCEMENT;
    assert_eq!(work_of(&mut world, items), [LOOKUP + many as Work, REQUEST + owed + 10]);
    world.pump();
    let xids: Vec<i32> = world.got(conns[5]).iter().map(|got| got.xid).collect();
    assert_eq!(xids, [-1, 1]);
}

/// Who has nothing to go on with is not looked at again.
#[test]
fn an_answer_has_only_those_go_on_who_wait_for_it() {
    let mut world = World::new();
    let (conn, idle) = (world.connect(), world.connect());
    world.commits_at_once = false;
    let next = |world: &mut World, conn| asked(world, conn, ReplyBody::Empty);
    let of_idle = next(&mut world, idle);
    let writes = [next(&mut world, conn), next(&mut world, conn)];
    world.send(conn, &request(2, OpCode::PING, &[]));
    work_of(&mut world, vec![of_idle]);
    assert!(!world.front.has_work(), "it waits for nothing");
    let [first, second] = writes;
    work_of(&mut world, vec![first]);
    assert!(!world.front.has_work(), "its ping waits for the second answer too");
    work_of(&mut world, vec![second]);
    assert!(world.front.has_work());
}

/// Each id that a connection proves has all of them copied: with a thousand of them a few are work
/// enough for a turn.
#[test]
fn a_thousand_ids_are_proven_a_few_in_each_turn() {
    let mut world = World::new();
    let conn = world.connect();
    let ids = 1000;
    let packet = |id: i32| auth_packet("digest", Some(format!("u{id:04}").as_bytes()));
    let bytes: Vec<u8> = (0..ids).flat_map(|id| request(-4, OpCode::AUTH, &packet(id))).collect();
    let mut hold = world.front.drain(&world.tree, world.now, || None).unwrap();
    world.front.on_bytes(conn, &bytes, &mut hold);
    let work = hold.work();
    let proven = |world: &mut World| world.front.connections.get(conn).unwrap().auth.len() as u32;
    let mut before = proven(&mut world);
    assert!(work < 2 * QUANTUM && before < 200, "{before} in the first turn");
    while world.front.has_work() {
        world.turn();
        let after = proven(&mut world);
        let copied = (after - before) * before;
        assert!(copied <= HOLD_WORK, "{before} to {after} in one hold");
        before = after;
    }
    assert!(before >= ids as u32);
}
