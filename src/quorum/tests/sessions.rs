//! Sessions that open, renew, close and expire; containers and TTL nodes that go.

use super::*;

fn closed(items: &[BatchItem]) -> Vec<i64> {
    items
        .iter()
        .filter_map(|item| {
            if let BatchItem::SessionClosed { session } = item { Some(session.0) } else { None }
        })
        .collect()
}

#[test]
fn open_and_close() {
    let mut world = World::new();
    world.open(0x200);
    world.settle();
    let items = world.items();
    let [BatchItem::SessionOpened { session, timeout_ms, .. }] = items[..] else {
        panic!("{items:?}")
    };
    assert_eq!((session, timeout_ms), (SessionId(0x200), 10_000));
    assert_eq!(world.tree.session_timeout(session), Some(10_000));
    assert_eq!(world.code(OpCode::CREATE, create(Some("/e"), b"", 1)).0, 0);
    assert_eq!(world.create("/p"), 0);
    assert_eq!(world.code(OpCode::CREATE, create(Some("/p/e"), b"", 1)).0, 0);
    world.submit(OpCode::CLOSE_SESSION, b"junk".to_vec());
    world.settle();
    let items = world.items();
    // Events, then the reply, then the end of the session.
    let events = items.iter().take_while(|item| matches!(item, BatchItem::Event(_))).count();
    assert_eq!(events, 4);
    let [BatchItem::Reply(reply), BatchItem::SessionClosed { session }] = &items[events..] else {
        panic!("{items:?}")
    };
    assert_eq!((reply.err, reply.close, *session), (ErrorCode::OK, true, SessionId(0x100)));
    assert_eq!(
        world.log.last().unwrap().txn,
        Txn::CloseSession { paths: Some(vec!["/e".into(), "/p/e".into()]) }
    );
    assert_eq!(world.tree.sessions().count(), 1);
    assert!(world.tree.get("/p/e").is_none());
}

/// Ephemerals prepared before the closeSession and not yet applied go with the session, too; what
/// comes after is dropped.
#[test]
fn a_close_sees_what_is_outstanding() {
    let mut world = World::new();
    assert_eq!(world.code(OpCode::CREATE, create(Some("/old"), b"", 1)).0, 0);
    assert_eq!(world.create("/p"), 0);
    world.submit(OpCode::CREATE, create(Some("/p/new"), b"", 1));
    world.submit(OpCode::DELETE, delete(Some("/old"), -1));
    world.submit(OpCode::CREATE, create(Some("/gone"), b"", 1));
    world.submit(OpCode::DELETE, delete(Some("/gone"), -1));
    world.submit(OpCode::CLOSE_SESSION, vec![]);
    let logged = world.quorum.writes.last_zxid;
    world.submit(OpCode::CREATE, create(Some("/late"), b"", 1));
    assert_eq!(world.quorum.writes.last_zxid, logged);
    world.settle();
    assert_eq!(
        world.log.last().unwrap().txn,
        Txn::CloseSession { paths: Some(vec!["/p/new".into()]) }
    );
    assert!(["/old", "/p/new", "/gone", "/late"].iter().all(|path| world.tree.get(path).is_none()));
    let last = world.replies().pop().unwrap();
    assert_eq!((last.err, last.close), (ErrorCode::SESSION_EXPIRED, true));
}

/// The tree shows the ephemeral, and what is outstanding deletes it and makes another node in its
/// place: that one is not the session's.
#[test]
fn a_close_leaves_a_node_that_is_no_longer_its_own() {
    let mut world = World::new();
    world.submit(OpCode::CREATE, create(Some("/e"), b"", 1));
    world.poll();
    world.submit(OpCode::DELETE, delete(Some("/e"), -1));
    world.submit(OpCode::CREATE, create(Some("/e"), b"", 0));
    world.flush();
    world.commit(100);
    assert!(world.tree.get("/e").is_some(), "the first of them is applied");
    world.submit(OpCode::CLOSE_SESSION, vec![]);
    world.settle();
    assert_eq!(world.log.last().unwrap().txn, Txn::CloseSession { paths: Some(vec![]) });
    assert!(world.tree.get("/e").is_some());
}

/// Closes the session while somebody else writes to one of its ephemerals, again and again: it waits
/// for the first write, and then does not depart.
fn close_beside_a_write(world: &mut World, path: &str) {
    let closing = std::mem::replace(&mut world.session, SessionId(0x200));
    world.open(0x200);
    world.settle();
    world.submit(OpCode::SET_DATA, set_data(Some(path), None, -1));
    world.session = closing;
    world.submit(OpCode::CLOSE_SESSION, vec![]);
    assert!(!world.quorum.has_work(), "it waits for the write");
    world.poll();
    world.session = SessionId(0x200);
    world.submit(OpCode::SET_DATA, set_data(Some(path), None, -1));
    world.flush();
    world.commit(u64::MAX);
    world.work(u64::MAX);
    world.settle();
}

/// A session with very many ephemerals, some of them just made, ends as others do: it waits until
/// they are there, and departs.
#[test]
fn a_close_waits_for_what_is_outstanding_of_very_many() {
    let mut world = World::new();
    let nodes = 2000;
    for node in 0..nodes {
        world.submit(OpCode::CREATE, create(Some(&format!("/e{node}")), b"", 1));
    }
    let closing = std::mem::replace(&mut world.session, SessionId(0x200));
    let origin = world.origin();
    let (op, record, auth) = (OpCode::CLOSE_SESSION, Bytes::new(), world.auth.clone());
    let close = Request { origin, session: closing, op, record, auth };
    let units = world.quorum.on_message(ToQuorum::Request(close), &world.tree, world.now);
    assert!(units < 10, "{units} units");
    assert!(!world.quorum.leader().sessions.is_live(closing), "nobody acts for it from here on");
    world.open(0x200);
    let other = world.submit(OpCode::CREATE, create(Some("/other"), b"", 0));
    world.settle();
    let replied = |world: &mut World| world.replies().iter().map(|r| r.xid).collect::<Vec<_>>();
    assert_eq!(replied(&mut world).last(), Some(&other), "others need not wait");
    let mut calls = 0;
    while world.quorum.has_work() || world.quorum.has_committable() {
        world.work(50);
        world.poll();
        world.flush();
        world.commit(50);
        calls += 1;
    }
    assert!(calls >= nodes / 50, "{calls} calls");
    assert_eq!(replied(&mut world), [origin.xid]);
    assert_eq!(world.log.last().unwrap().txn, Txn::CloseSession { paths: None });
    assert_eq!((world.tree.ephemeral_count(), world.quorum.report().outstanding_nodes), (0, 0));
}

/// B11: the list is cut to fit the log; the rest goes all the same.
#[test]
fn a_close_with_more_ephemerals_than_a_record_holds() {
    for close_session_txn in [true, false] {
        let config =
            QuorumConfig { record_bytes_max: 500, close_session_txn, ..QuorumConfig::default() };
        let mut world = World::with(config);
        for node in 0..30 {
            let path = format!("/ephemeral-{node:020}");
            assert_eq!(world.code(OpCode::CREATE, create(Some(&path), b"", 1)).0, 0);
        }
        close_beside_a_write(&mut world, "/ephemeral-00000000000000000000");
        let Txn::CloseSession { paths } = &world.log.last().unwrap().txn else { panic!() };
        match close_session_txn {
            true => assert!((10..30).contains(&paths.as_ref().unwrap().len())),
            false => assert_eq!(*paths, None),
        }
        assert_eq!((world.tree.ephemeral_count(), world.tree.node_count()), (0, 5));
        assert_eq!(world.quorum.report().outstanding_nodes, 0);
    }
}

/// With little room in the log the list is cut to that.
#[test]
fn a_close_with_little_room() {
    let mut world = World::new();
    for node in 0..2000 {
        let path = format!("/ephemeral-{node:050}");
        assert_eq!(world.code(OpCode::CREATE, create(Some(&path), b"", 1)).0, 0);
    }
    world.quorum.on_log_room(70_000);
    close_beside_a_write(&mut world, &format!("/ephemeral-{:050}", 0));
    let Txn::CloseSession { paths: Some(paths) } = &world.log.last().unwrap().txn else { panic!() };
    assert!((900..1100).contains(&paths.len()));
    assert_eq!((world.tree.ephemeral_count(), world.quorum.report().outstanding_nodes), (0, 0));
}

#[test]
fn expiry_is_never_early_and_closes() {
    let mut world = World::new();
    assert_eq!(world.code(OpCode::CREATE, create(Some("/e"), b"", 1)).0, 0);
    let started = world.now.mono_ms;
    let mut ended = None;
    while ended.is_none() && world.now.mono_ms < started + 60_000 {
        world.advance(100);
        ended = (!closed(&world.items()).is_empty()).then_some(world.now.mono_ms - started);
    }
    let ended = ended.expect("an idle session expires");
    // Timeout 10 s; at most a tick, a report interval and two calls later.
    assert!(ended > 10_000 && ended <= 10_000 + 2000 + 500 + 200, "{ended}");
    assert!(world.tree.get("/e").is_none());
    assert_eq!(world.tree.sessions().count(), 0);
    assert_eq!(world.log.last().unwrap().header.cxid, 0);
}

#[test]
fn touches_and_requests_keep_a_session() {
    let mut world = World::new();
    for step in 0..40 {
        for _ in 0..9 {
            world.advance(1000);
        }
        if step % 2 == 0 {
            // The report comes late, as it may by a quarter of a tick.
            let heard = world.now.mono_ms;
            world.advance(500);
            world.quorum.on_touches(&[(world.session, heard)]);
        } else {
            assert_eq!(world.code(OpCode::SYNC, record(|w| text(w, Some("/")))).0, 0);
        }
    }
    assert!(closed(&world.items()).is_empty());
}

/// A report that was sent in time and not yet taken in when the clock is looked at.
#[test]
fn a_report_in_the_queue_counts() {
    let mut world = World::new();
    (0..119).for_each(|_| world.advance(100));
    let heard = world.now.mono_ms;
    // The core is away for less than a tick and looks at the clock before it looks at its queue.
    world.advance(1900);
    world.quorum.on_touches(&[(world.session, heard - 5000)]);
    (0..20).for_each(|_| world.advance(100));
    assert!(closed(&world.items()).is_empty());
}

#[test]
fn after_a_stall_nobody_expires_at_once() {
    let mut world = World::new();
    world.advance(120_000);
    for _ in 0..10 {
        world.advance(1000);
    }
    assert!(closed(&world.items()).is_empty());
    for _ in 0..4 {
        world.advance(1000);
    }
    assert_eq!(closed(&world.items()), [0x100]);
}

#[test]
fn renewals() {
    let mut world = World::new();
    let mut renew = |session: i64, timeout_ms: i32| {
        let origin = world.origin();
        let session = SessionId(session);
        world.quorum.on_message(
            ToQuorum::Renew { origin, session, timeout_ms },
            &world.tree,
            world.now,
        );
        world.poll();
        match world.told.pop() {
            Some((ShardId(0), ToShard::Renewed { valid, timeout_ms: told, .. })) => {
                assert_eq!(told, timeout_ms);
                valid
            }
            other => panic!("{other:?}"),
        }
    };
    assert!(renew(0x100, 4000));
    assert!(!renew(0x101, 4000));
    world.submit(OpCode::CLOSE_SESSION, vec![]);
    let origin = world.origin();
    let message = ToQuorum::Renew { origin, session: world.session, timeout_ms: 4000 };
    world.quorum.on_message(message, &world.tree, world.now);
    world.settle();
    assert!(
        world.told.iter().any(|(_, told)| matches!(told, ToShard::Renewed { valid: false, .. }))
    );
}

#[test]
fn recovered_sessions_start_their_timers_afresh() {
    let mut world = World::new();
    world.advance(1900);
    world.now.mono_ms += 1_000_000;
    world.quorum = Quorum::new(world.quorum.writes.config.clone(), &world.tree, 1, world.now);
    for _ in 0..10 {
        world.advance(1000);
    }
    assert!(closed(&world.items()).is_empty());
    for _ in 0..5 {
        world.advance(1000);
    }
    assert_eq!(closed(&world.items()), [0x100]);
}

#[test]
fn containers_and_ttl_nodes_go_when_they_are_due() {
    let mut world = World::with(QuorumConfig {
        extended_types: true,
        container_max_per_minute: 60,
        ..QuorumConfig::default()
    });
    for path in ["/used", "/fresh", "/busy"] {
        assert_eq!(world.code(OpCode::CREATE_CONTAINER, create(Some(path), b"", 4)).0, 0);
    }
    for (path, ttl) in [("/short", 1000), ("/long", 10_000_000)] {
        assert_eq!(world.code(OpCode::CREATE_TTL, create_ttl(path, 5, ttl)).0, 0);
    }
    assert_eq!(world.create("/used/child"), 0);
    assert_eq!(world.create("/busy/child"), 0);
    assert_eq!(world.code(OpCode::DELETE, delete(Some("/used/child"), -1)).0, 0);
    let step = |world: &mut World| {
        world.quorum.on_touches(&[(world.session, world.now.mono_ms)]);
        world.advance(500);
    };
    (0..119).for_each(|_| step(&mut world));
    assert!(world.tree.get("/used").is_some() && world.tree.get("/short").is_some());
    // One a second: both are not gone at once.
    (0..2).for_each(|_| step(&mut world));
    assert_eq!(
        [world.tree.get("/used").is_some(), world.tree.get("/short").is_some()]
            .iter()
            .filter(|there| **there)
            .count(),
        1
    );
    (0..4).for_each(|_| step(&mut world));
    let there =
        ["/used", "/short", "/fresh", "/busy", "/long"].map(|path| world.tree.get(path).is_some());
    assert_eq!(there, [false, false, true, true, true]);
    let deletes =
        world.log.iter().filter(|record| matches!(record.txn, Txn::DeleteContainer { .. }));
    assert!(deletes.clone().all(|record| record.header.session == SessionId::NONE));
    assert_eq!(deletes.count(), 2);
}

/// A container that got a child after the sweep found it, or was replaced by a plain node, stays.
#[test]
fn the_sweep_looks_again_before_it_deletes() {
    let mut world = World::new();
    assert_eq!(world.code(OpCode::CREATE_CONTAINER, create(Some("/c"), b"", 4)).0, 0);
    assert_eq!(world.create("/plain"), 0);
    world.submit(OpCode::CREATE, create(Some("/c/child"), b"", 0));
    let header = world.quorum.leader().header(&world.quorum.writes, SessionId::NONE, 0);
    let quorum = &mut world.quorum;
    let Role::Leading(leader) = &mut quorum.role else { panic!("it leads") };
    let mut prepare = Prepare::new(
        &quorum.writes.config,
        &world.tree,
        &mut leader.outstanding,
        header,
        &leader.nobody,
        &leader.verdicts,
    );
    assert_eq!(prepare.delete_container("/c"), None);
    assert_eq!(prepare.delete_container("/plain"), None);
    assert_eq!(prepare.delete_container("/none"), None);
    world.settle();
}
