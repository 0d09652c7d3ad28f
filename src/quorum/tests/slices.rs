//! No call does more than its budget, however much is due: counted in units of work, not in time.

use super::*;

/// Sessions that end at the same moment end a few at a time, and a request of somebody else does
/// not wait for the last of them.
#[test]
fn sessions_that_expire_at_once_end_a_few_at_a_time() {
    let mut world = World::new();
    let others = 5000;
    (0..others).for_each(|nth| world.open(0x1000 + nth));
    world.settle();
    for _ in 0..150 {
        world.now.mono_ms += 100;
        world.quorum.on_touches(&[(world.session, world.now.mono_ms)]);
        world.quorum.on_tick(world.now);
    }
    let before = world.quorum.writes.last_zxid;
    world.work(100);
    assert_eq!(world.quorum.writes.last_zxid.0 - before.0, 100);
    let xid = world.submit(OpCode::CREATE, create(Some("/a"), b"", 0));
    while world.quorum.has_work() {
        world.work(100);
    }
    assert_eq!(
        world.quorum.report().outstanding,
        OWN_WORK_OUTSTANDING_MAX,
        "the disk sets the pace"
    );
    world.poll();
    world.flush();
    world.told.clear();
    world.commit(400);
    assert_eq!(world.replies().iter().map(|reply| reply.xid).collect::<Vec<_>>(), [xid]);
    assert!(world.quorum.committable() > 1500, "a commit has its budget, too");
    while world.quorum.report().sessions > 1 {
        world.work(100);
        world.settle();
    }
    assert_eq!(
        world.tree.sessions().map(|(session, _)| session).collect::<Vec<_>>(),
        [world.session]
    );
}

/// After a stall every session is looked at once more, one by one.
#[test]
fn sparing_everybody_is_done_a_few_at_a_time() {
    let mut world = World::new();
    (0..1000).for_each(|nth| world.open(0x1000 + nth));
    world.settle();
    world.now.mono_ms += 120_000;
    world.quorum.on_tick(world.now);
    world.work(u64::MAX);
    assert!(
        !world.quorum.has_work() && world.quorum.report().outstanding == 0,
        "nobody could be heard of"
    );
    world.now.mono_ms += 100;
    world.quorum.on_tick(world.now);
    world.now.mono_ms += 100;
    world.quorum.on_tick(world.now);
    let mut calls = 0;
    while world.quorum.has_work() {
        world.work(100);
        calls += 1;
    }
    assert!((10..=11).contains(&calls), "{calls}");
    assert_eq!(world.quorum.report().sessions, 1001);
}

/// The sweep looks at its nodes a piece at a time, and deletes a few at a time.
#[test]
fn the_sweep_looks_and_deletes_a_few_at_a_time() {
    let config = QuorumConfig {
        extended_types: true,
        container_max_per_minute: 1_000_000,
        ..QuorumConfig::default()
    };
    let mut world = World::with(config);
    let nodes = 3000;
    for node in 0..nodes {
        world.submit(OpCode::CREATE_TTL, create_ttl(&format!("/ttl-{node}"), 5, 1000));
    }
    world.settle();
    for _ in 0..61 {
        world.now.mono_ms += 1000;
        world.now.wall_ms += 1000;
        world.quorum.on_touches(&[(world.session, world.now.mono_ms)]);
        world.quorum.on_tick(world.now);
    }
    let mut calls = 0;
    let before = world.quorum.writes.last_zxid;
    while world.quorum.has_work() {
        let zxid = world.quorum.writes.last_zxid;
        world.work(100);
        assert!(world.quorum.writes.last_zxid.0 - zxid.0 <= 100);
        calls += 1;
    }
    let deleted = world.quorum.writes.last_zxid.0 - before.0;
    assert!(deleted >= OWN_WORK_OUTSTANDING_MAX as i64, "{deleted}");
    assert!(calls as i64 >= (nodes + deleted) / 100, "{calls}");
    while world.quorum.has_work() || world.quorum.report().outstanding > 0 {
        world.work(100);
        world.settle();
    }
    assert_eq!(world.tree.node_count(), 5);
}

/// A world in which the session has so many ephemerals below /p, and its closeSession is durable.
fn with_departing(nodes: i64, watching: bool) -> World {
    let mut world = World::new();
    world.watching = vec![watching];
    assert_eq!(world.create("/p"), 0);
    for node in 0..nodes {
        world.submit(OpCode::CREATE, create(Some(&format!("/p/{node}")), b"", 1));
    }
    world.settle();
    world.told.clear();
    world.submit(OpCode::CLOSE_SESSION, vec![]);
    world.session = SessionId(0x200);
    world.open(0x200);
    world
}

/// S38: however small the budget is, nobody sees a part of the session's end, each event is handed
/// over before the tree shows it, and no call does more than its budget.
#[test]
fn a_session_with_very_many_ephemerals_ends_at_once_for_all_who_read() {
    let nodes = 1000;
    for watching in [false, true] {
        let mut world = with_departing(nodes, watching);
        world.poll();
        world.flush();
        let (mut calls, mut shown_at) = (0, None);
        let mut events = 0;
        while world.quorum.has_committable() {
            world.commit(40);
            world.poll();
            world.flush();
            calls += 1;
            events +=
                world.items().iter().filter(|item| matches!(item, BatchItem::Event(_))).count();
            let parent = world.tree.get("/p").unwrap();
            let seen = parent.children().count() as i64;
            let found = (0..nodes)
                .filter(|node| world.tree.get(&format!("/p/{node}")).is_some())
                .count() as i64;
            assert_eq!((seen, found), (i64::from(parent.stat().num_children), seen));
            assert_eq!(world.tree.node_count() as i64, 6 + seen);
            assert_eq!(world.tree.count_descendants("/p"), Some(seen as usize));
            let lives = world.tree.session_timeout(SessionId(0x100)).is_some();
            assert_eq!(seen, if lives { nodes } else { 0 });
            assert_eq!(events as i64, if watching && !lives { 2 * nodes } else { 0 });
            let pzxid = parent.stat().pzxid;
            assert_eq!(
                pzxid,
                if lives { nodes + 2 } else { nodes + 3 },
                "the parent says when it has changed"
            );
            shown_at = shown_at.or((!lives).then_some(calls));
        }
        assert!(calls >= nodes / 40, "{calls}");
        assert!(!world.tree.is_reaping() && shown_at.unwrap() < calls);
        assert_eq!(world.quorum.leader().outstanding.digest(), world.tree.digest());
        assert_eq!(world.create("/after"), 0);
        assert_eq!(
            world.log.last().unwrap().digest.map(|digest| digest.tree),
            Some(world.tree.digest())
        );
        assert_eq!(world.quorum.report().digest_mismatches, 0);
    }
}

/// Others go on while the nodes are removed. Who needs a place that is not free yet waits for it.
#[test]
fn requests_go_on_beside_a_departure() {
    let mut world = with_departing(1000, false);
    let asked = [
        (OpCode::CREATE, create(Some("/other"), b"", 0)),
        (OpCode::CREATE, create(Some("/p/7"), b"new", 0)),
        (OpCode::DELETE, delete(Some("/p/8"), -1)),
        (OpCode::DELETE, delete(Some("/p/7"), -1)),
        (OpCode::DELETE, delete(Some("/p"), -1)),
        (OpCode::CREATE, create(Some("/p"), b"again", 0)),
    ];
    for (op, request) in asked {
        world.submit(op, request);
    }
    world.poll();
    world.flush();
    world.commit(40);
    world.poll();
    world.flush();
    for _ in 0..5 {
        world.commit(4);
    }
    assert!(world.tree.get("/other").is_some() && world.tree.is_reaping(), "it need not wait");
    world.settle();
    let codes: Vec<i32> = world.replies().iter().skip(1).map(|reply| reply.err.0).collect();
    assert_eq!(codes, [0, 0, -101, 0, 0, 0]);
    assert_eq!(world.tree.get("/p").unwrap().data(), Some(&b"again"[..]));
    assert_eq!((world.tree.node_count(), world.tree.is_reaping()), (7, false));
}

/// So many setData of one multi, each of another node below /wide, which are there already.
fn wide_multi(world: &mut World, nodes: usize) -> Vec<u8> {
    assert_eq!(world.create("/wide"), 0);
    for node in 0..nodes {
        world.submit(OpCode::CREATE, create(Some(&format!("/wide/{node}")), b"", 0));
    }
    world.settle();
    world.told.clear();
    let set = |node| (5, set_data(Some(&format!("/wide/{node}")), Some(b"new"), 0));
    multi(&(0..nodes).map(set).collect::<Vec<_>>())
}

/// A long multi is prepared a few operations at a time. Earlier proposals are committed meanwhile,
/// nothing of it is seen, and it is logged and applied as one.
#[test]
fn a_long_multi_is_prepared_in_slices() {
    let mut world = World::new();
    let nodes = 5000;
    let request = wide_multi(&mut world, nodes);
    let before = world.submit(OpCode::SET_DATA, set_data(Some("/wide/4990"), Some(b"before"), 0));
    world.poll();
    let failing = world.submit(OpCode::MULTI, request.clone());
    let mut calls = 0;
    while world.quorum.is_preparing() {
        world.work(100);
        calls += 1;
        if calls == 20 {
            world.flush();
            world.commit(100);
            assert_eq!(world.replies().len(), 1, "what came before it is committed");
            assert_eq!(world.tree.get("/wide/4990").unwrap().data(), Some(&b"before"[..]));
        }
    }
    assert!(calls >= nodes / 100, "{calls} calls");
    // An operation near the end fails by its version: what was prepared is undone.
    world.settle();
    let reply = world.replies().remove(0);
    assert_eq!((reply.xid, reply.err, before), (failing, ErrorCode::OK, failing - 1));
    assert_eq!(world.tree.get("/wide/7").unwrap().data(), Some(&b""[..]));
    assert_eq!(world.code(OpCode::SET_DATA, set_data(Some("/wide/4990"), Some(b""), 1)), (0, true));
    assert_eq!(world.quorum.report().outstanding_nodes, 0);
}

/// A long multi that fails is undone a part at a time as well.
#[test]
fn a_long_multi_that_fails_is_undone_in_slices() {
    let mut world = World::new();
    let nodes = 3000;
    wide_multi(&mut world, nodes);
    world.submit(OpCode::SET_DATA, set_data(Some("/wide/7"), Some(b"before"), 0));
    let set = |node| (5, set_data(Some(&format!("/wide/{node}")), Some(b"new"), -1));
    let made = (0..50).map(|node| (1, create(Some(&format!("/wide/new{node}")), b"", 0)));
    let failing = (2, delete(Some("/nobody"), -1));
    let ops: Vec<_> = made.chain((0..nodes).map(set)).chain([failing]).collect();
    let digest = world.quorum.leader().outstanding.digest();
    world.submit(OpCode::MULTI, multi(&ops));
    let left = |world: &World| world.quorum.report().outstanding_nodes;
    let (mut most, mut falls) = (0, 0);
    while world.quorum.is_preparing() {
        let before = left(&world);
        world.work(50);
        most = most.max(left(&world));
        falls += usize::from(left(&world) < before);
        assert!(before.saturating_sub(left(&world)) <= 50 * 4, "{before} to {}", left(&world));
    }
    assert!(most > nodes && falls > nodes / 200, "{most} records, {falls} falls");
    assert_eq!(left(&world), 1, "what was outstanding before is again");
    assert_eq!(world.quorum.leader().outstanding.digest(), digest);
    world.settle();
    world.told.clear();
    assert_eq!(world.tree.get("/wide/7").unwrap().data(), Some(&b"before"[..]));
    assert_eq!(world.code(OpCode::SET_DATA, set_data(Some("/wide/7"), Some(b""), 1)), (0, true));
}

/// A change that the multi has replaced in the overlay, and that was committed meanwhile, does not
/// come back when it fails in the end.
#[test]
fn a_long_multi_that_fails_late_leaves_nothing() {
    let mut world = World::new();
    let nodes = 3000;
    let mut ops: Vec<_> = (0..nodes).map(|_| (5, set_data(Some("/n"), Some(b"x"), -1))).collect();
    ops.push((2, delete(Some("/nobody"), -1)));
    assert_eq!(world.create("/n"), 0);
    world.submit(OpCode::SET_DATA, set_data(Some("/n"), Some(b"before"), 0));
    world.poll();
    world.submit(OpCode::MULTI, multi(&ops));
    for _ in 0..10 {
        world.work(100);
    }
    assert!(world.quorum.is_preparing());
    world.flush();
    world.commit(u64::MAX);
    world.settle();
    world.told.clear();
    assert_eq!(world.quorum.report().outstanding_nodes, 0, "nothing is left in the overlay");
    assert_eq!(world.quorum.leader().outstanding.digest(), world.tree.digest());
    assert_eq!(world.code(OpCode::SET_DATA, set_data(Some("/n"), Some(b"after"), 1)), (0, true));
}

/// The room that a long multi found at its beginning may be gone in the end: it is refused then.
#[test]
fn a_long_multi_finds_the_log_full_on_its_way() {
    let mut world = World::new();
    let request = wide_multi(&mut world, 3000);
    let (zxid, xid) = (world.quorum.writes.last_zxid, world.submit(OpCode::MULTI, request));
    world.work(500);
    assert!(world.quorum.is_preparing());
    world.quorum.on_log_room(1000);
    world.settle();
    let reply = world.replies().remove(0);
    assert_eq!((reply.xid, reply.err, reply.zxid), (xid, ErrorCode::SYSTEM_ERROR, zxid));
    assert_eq!(world.quorum.report().outstanding_nodes, 0);
    world.quorum.on_log_room(u64::MAX);
    assert_eq!(world.create("/after"), 0);
}

/// Requests say how much work they were, so that the shell can end its step between two of them.
#[test]
fn requests_say_how_much_work_they_were() {
    let mut world = World::new();
    let multi = wide_multi(&mut world, 1000);
    let large = set_data(Some("/wide"), Some(&vec![0; 500_000]), -1);
    let small = set_data(Some("/wide"), Some(b""), -1);
    let asked = [(OpCode::SET_DATA, small, 1), (OpCode::SET_DATA, large, 480)];
    for (op, record, at_least) in asked.into_iter().chain([(OpCode::MULTI, multi, 100)]) {
        let (origin, session, record) = (world.origin(), world.session, Bytes::from(record));
        let request = Request { origin, session, op, record, auth: world.auth.clone() };
        let message = ToQuorum::Request(request);
        let units = world.quorum.on_message(message, &world.tree, world.now);
        assert!((at_least..at_least + 50).contains(&units), "{units} units");
    }
}

/// The changes of a long multi leave the overlay a part at a time; whoever asks meanwhile finds
/// what the tree shows, or what came after it.
#[test]
fn a_long_multi_is_forgotten_in_slices() {
    let mut world = World::new();
    let nodes = 2000;
    let request = wide_multi(&mut world, nodes);
    world.submit(OpCode::MULTI, request);
    world.work(u64::MAX);
    world.poll();
    world.flush();
    world.commit(u64::MAX);
    world.told.clear();
    let left = |world: &World| world.quorum.report().outstanding_nodes;
    let at_once = MULTI_UNITS_AT_ONCE as usize;
    assert_eq!(left(&world), nodes - at_once, "few of them are forgotten in the commit");
    assert!(world.quorum.has_work());
    let again = world.submit(OpCode::SET_DATA, set_data(Some("/wide/5"), Some(b"again"), 1));
    let wrong = world.submit(OpCode::SET_DATA, set_data(Some("/wide/6"), Some(b""), 0));
    let gone = world.submit(OpCode::DELETE, delete(Some("/wide/7"), 1));
    let mut before = left(&world);
    while world.quorum.has_work() {
        world.work(50);
        assert!(before - left(&world) <= 50 * 4 + 4);
        before = left(&world);
    }
    assert_eq!(before, 3, "two nodes and a parent are outstanding");
    world.settle();
    let codes: Vec<_> = world.replies().iter().map(|reply| (reply.xid, reply.err.0)).collect();
    assert_eq!(codes, [(again, 0), (wrong, -103), (gone, 0)]);
    assert_eq!(left(&world), 0);
    assert_eq!(world.quorum.leader().outstanding.digest(), world.tree.digest());
}

/// The part of a long multi that is prepared before a deletion is committed is judged by a quota
/// that is used up, the part after it is not: as in Apache, the tree that clients see decides.
#[test]
fn a_quota_judges_each_operation_of_a_long_multi_at_its_moment() {
    for (is_first, code) in [(true, -125), (false, 0)] {
        let config = QuorumConfig { enforce_quota: true, ..QuorumConfig::default() };
        let mut world = World::with(config);
        for path in ["/q", "/q/a", "/zookeeper/quota/q"] {
            assert_eq!(world.create(path), 0);
        }
        let limits = b"count=-1,bytes=-1=;countHardLimit=2";
        for (name, data) in [("limits", &limits[..]), ("stats", b"count=0,bytes=0")] {
            let path = format!("/zookeeper/quota/q/zookeeper_{name}");
            assert_eq!(world.code(OpCode::CREATE, create(Some(&path), data, 0)).0, 0);
        }
        world.told.clear();
        world.submit(OpCode::DELETE, delete(Some("/q/a"), -1));
        world.poll();
        let mut ops = vec![(13, delete(Some("/q"), -1)); 1000];
        ops.insert(if is_first { 0 } else { 1000 }, (1, create(Some("/q/b"), b"", 0)));
        world.submit(OpCode::MULTI, multi(&ops));
        world.work(500);
        assert!(is_first || world.quorum.is_preparing());
        world.flush();
        world.commit(100);
        assert!(world.tree.get("/q/a").is_none());
        world.settle();
        let reply = world.replies().remove(1);
        assert_eq!(results(&reply.body)[if is_first { 0 } else { 1000 }].1, code);
        assert_eq!(world.tree.get("/q/b").is_some(), code == 0);
    }
}

/// A long multi is applied a part at a time, and nobody hears of it before all of it is. What comes
/// before it is shown first.
#[test]
fn a_long_multi_is_applied_in_slices() {
    for watching in [false, true] {
        let mut world = World::new();
        world.watching = vec![watching];
        let nodes = 5000;
        let request = wide_multi(&mut world, nodes);
        let before = world.submit(OpCode::SET_DATA, set_data(Some("/wide"), Some(b"b"), 0));
        let xid = world.submit(OpCode::MULTI, request);
        while world.quorum.is_preparing() {
            world.work(u64::MAX);
        }
        world.poll();
        world.flush();
        world.commit(100);
        assert_eq!(world.replies().iter().map(|reply| reply.xid).collect::<Vec<_>>(), [before]);
        let (shown, mut calls) = (world.tree.last_zxid(), 0);
        while world.quorum.has_committable() {
            assert_eq!(world.tree.last_zxid(), shown, "all of it at once");
            assert!(world.told.is_empty(), "nobody hears of a part of it");
            assert_eq!(world.tree.is_amid(), calls > 0);
            world.commit(100);
            calls += 1;
        }
        assert!(calls >= nodes / 100 && !world.tree.is_amid(), "{calls} calls");
        let items = world.items();
        let events = items.iter().filter(|item| matches!(item, BatchItem::Event(_))).count();
        assert_eq!(events, if watching { nodes } else { 0 });
        assert!(matches!(items.last(), Some(BatchItem::Reply(reply)) if reply.xid == xid));
        assert_eq!(world.tree.get("/wide/4999").unwrap().data(), Some(&b"new"[..]));
        world.settle();
        assert_eq!(world.quorum.leader().outstanding.digest(), world.tree.digest());
    }
}

/// Whether departed nodes are in the way of a long multi is found out a part at a time as well.
#[test]
fn obstacles_of_a_long_multi_are_looked_for_in_slices() {
    let nodes = 1000;
    let mut world = with_departing(nodes, false);
    let checks = (0..3000).map(|_| (13, delete(Some("/p"), -1)));
    let remade = (1, create(Some("/p/7"), b"again", 0));
    let xid = world.submit(OpCode::MULTI, multi(&checks.chain([remade]).collect::<Vec<_>>()));
    while world.quorum.is_preparing() {
        world.work(u64::MAX);
    }
    world.poll();
    world.flush();
    while world.quorum.has_committable() {
        let before = world.quorum.unobstructed;
        world.commit(40);
        let looked_at = world.quorum.unobstructed.saturating_sub(before);
        assert!(looked_at <= 40, "{looked_at} operations in one call");
        world.poll();
        world.flush();
    }
    let replies = world.replies();
    assert!(replies.iter().any(|reply| reply.xid == xid && reply.err.is_ok()));
    assert_eq!(world.tree.get("/p/7").unwrap().data(), Some(&b"again"[..]));
}

/// The events of a departure wait in one batch, which has room for all of them from its beginning.
#[test]
fn the_batch_of_a_departure_does_not_grow_step_by_step() {
    let nodes = 700;
    let mut world = with_departing(nodes, true);
    world.poll();
    world.flush();
    while world.told.is_empty() || world.quorum.announcing.is_some() {
        world.told.clear();
        world.commit(40);
        if let Some(batch) = world.quorum.batches.first()
            && !batch.items.is_empty()
        {
            let room = batch.items.capacity();
            assert!((2 * nodes..=2 * nodes + 2).contains(&(room as i64)), "room for {room}");
        }
    }
    let longest = world.told.iter().filter_map(|(_, message)| match message {
        ToShard::Commit(commit) => Some((commit.items.len(), commit.items.capacity())),
        _ => None,
    });
    let all = 2 * nodes as usize + 2;
    assert_eq!(longest.max(), Some((all, all)), "events, the reply, the end of the session");
}
