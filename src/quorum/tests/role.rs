//! The order of log, flush, commit and answers; what a full or failed disk does.

use super::*;
use crate::codes::EventType;

#[test]
fn nothing_is_answered_before_its_flush() {
    let mut world = World::new();
    world.submit(OpCode::CREATE, create(Some("/a"), b"", 0));
    world.poll();
    assert_eq!((world.log.len(), world.flushing()), (2, vec![2]));
    assert!(!world.quorum.has_committable());
    world.commit(10);
    world.poll();
    assert!(world.told.is_empty() && world.tree.get("/a").is_none());
    world.flush();
    assert_eq!(world.quorum.committable(), 1);
    world.settle();
    assert_eq!(world.replies().len(), 1);
}

/// One flush is in flight; what comes meanwhile is appended and shares the next one.
#[test]
fn group_commit() {
    let mut world = World::new();
    for node in 0..10 {
        world.submit(OpCode::CREATE, create(Some(&format!("/n{node}")), b"", 0));
        world.poll();
    }
    assert_eq!((world.flushing(), world.log.len()), (vec![2], 11));
    world.flush();
    assert_eq!(world.quorum.committable(), 1);
    world.poll();
    assert_eq!(world.flushing(), [11]);
    world.flush();
    assert_eq!(world.quorum.committable(), 10);
    // A create counts for itself, its node and two events.
    world.commit(16);
    assert_eq!(world.quorum.committable(), 6);
    world.settle();
    let zxids: Vec<i64> = world.replies().iter().map(|reply| reply.zxid.0).collect();
    assert_eq!(zxids, (2..12).collect::<Vec<_>>());
}

/// The role has a group before its flush is asked for, and the flush is its acknowledgement.
#[test]
fn a_group_is_proposed_before_it_is_flushed() {
    let mut world = World::new();
    world.submit(OpCode::CREATE, create(Some("/a"), b"", 0));
    world.submit(OpCode::CREATE, create(Some("/b"), b"", 0));
    let role = |world: &World| {
        (world.quorum.leader().machine.proposed().0, world.quorum.leader().machine.committed().0)
    };
    assert_eq!(role(&world), (1, 1));
    assert!(matches!(world.quorum.poll(), Some(Effect::Append { last: Zxid(3), .. })));
    assert_eq!(role(&world), (3, 1));
    let Some(Effect::Flush(flush)) = world.quorum.poll() else { panic!("a flush begins") };
    world.quorum.on_flushed(flush.end_in_test());
    assert_eq!((role(&world), world.quorum.committable()), ((3, 3), 2));
}

/// A flush can only vouch for what was handed over before it was asked for.
#[test]
fn a_flush_commits_no_more_than_what_was_appended_before_it() {
    let mut world = World::new();
    world.submit(OpCode::CREATE, create(Some("/a"), b"", 0));
    world.poll();
    world.submit(OpCode::CREATE, create(Some("/b"), b"", 0));
    world.poll();
    assert_eq!(world.log.len(), 3);
    world.flush();
    assert_eq!(
        world.quorum.committable(),
        1,
        "the second was appended after the flush was asked for"
    );
}

#[test]
fn answers_without_a_transaction_wait_for_their_turn() {
    let mut world = World::new();
    world.submit(OpCode::CREATE, create(Some("/a"), b"", 0));
    world.submit(OpCode::SYNC, record(|w| text(w, Some("/a"))));
    world.submit(OpCode::SYNC, record(|w| text(w, None)));
    world.submit(OpCode::SYNC, vec![]);
    world.submit(OpCode::DELETE, vec![]);
    world.submit(OpCode::DELETE, delete(Some("/a"), -1));
    assert!(!world.quorum.has_committable());
    world.settle();
    let replies: Vec<_> =
        world.replies().into_iter().map(|reply| (reply.xid, reply.zxid.0, reply.err.0)).collect();
    let xid = replies[0].0;
    let expected = [(0, 2, 0), (1, 2, 0), (2, 2, 0), (3, 2, -5), (4, 2, -5), (5, 3, 0)];
    assert_eq!(replies, expected.map(|(after, zxid, err)| (xid + after, zxid, err)));
    // With nothing outstanding a sync is answered at once.
    let reply = world.ask(OpCode::SYNC, record(|w| text(w, Some("anything"))));
    assert_eq!((reply.zxid, reply.body), (Zxid(3), ReplyBody::Path("anything".into())));
    let reply = world.ask(OpCode::SYNC, record(|w| text(w, None)));
    assert_eq!(reply.body, ReplyBody::Bytes(vec![0xff; 4]));
}

#[test]
fn a_failed_flush_ends_the_role() {
    let mut world = World::new();
    world.submit(OpCode::CREATE, create(Some("/a"), b"", 0));
    world.poll();
    world.submit(OpCode::CREATE, create(Some("/b"), b"", 0));
    world.quorum.on_flush_failed();
    // The disk recants: it is too late.
    world.flush();
    world.submit(OpCode::CREATE, create(Some("/c"), b"", 0));
    world.submit(OpCode::SYNC, record(|w| text(w, Some("/"))));
    world.quorum.on_tick(world.now);
    world.work(u64::MAX);
    world.settle();
    assert!(world.told.is_empty() && world.quorum.report().failed);
    assert_eq!((world.tree.last_zxid(), world.log.len()), (Zxid(1), 2));
}

#[test]
fn a_full_log_refuses_writes_and_makes_sessions_wait() {
    let mut world = World::new();
    assert_eq!(world.create("/a"), 0);
    world.quorum.on_log_room(1000);
    let zxid = world.quorum.writes.last_zxid;
    for (op, request) in [
        (OpCode::CREATE, create(Some("/b"), b"", 0)),
        (OpCode::SET_DATA, set_data(Some("/a"), None, -1)),
        (OpCode::DELETE, delete(Some("/a"), -1)),
        (OpCode::MULTI, multi(&[])),
    ] {
        assert_eq!(world.code(op, request), (-1, false));
    }
    assert_eq!(world.code(OpCode::SYNC, record(|w| text(w, Some("/")))), (0, false));
    world.open(0x200);
    world.submit(OpCode::CLOSE_SESSION, vec![]);
    (0..20).for_each(|_| world.advance(1000));
    assert_eq!((world.quorum.writes.last_zxid, world.items().len()), (zxid, 0));
    assert_eq!(world.quorum.report().waiting_for_room, 2);
    world.quorum.on_log_room(u64::MAX);
    world.advance(100);
    let items = world.items();
    assert!(matches!(items[0], BatchItem::SessionOpened { .. }));
    assert!(matches!(&items[1], BatchItem::Reply(reply) if reply.close));
    assert!(matches!(items[2], BatchItem::SessionClosed { .. }));
}

/// Every question about a session is answered, however many wait: who asks counts them.
#[test]
fn new_sessions_beyond_those_that_wait_for_room_are_refused() {
    let mut world = World::new();
    world.quorum.on_log_room(1000);
    let beyond = 7;
    (0..WAITING_MAX + beyond).for_each(|nth| world.open(0x1000 + nth as i64));
    world.poll();
    let refused = |(_, message): &&(ShardId, ToShard)| matches!(message, ToShard::NotOpened { .. });
    assert_eq!(world.told.iter().filter(refused).count(), beyond);
    assert_eq!(world.quorum.report().waiting_for_room, WAITING_MAX);
    world.quorum.on_log_room(u64::MAX);
    while world.quorum.report().waiting_for_room > 0 {
        world.work(u64::MAX);
        world.settle();
    }
    let is_opened = |item: &&BatchItem| matches!(item, BatchItem::SessionOpened { .. });
    assert_eq!(world.items().iter().filter(is_opened).count(), WAITING_MAX);
}

/// Room is used up by what is appended, the shell need not say so each time.
#[test]
fn room_shrinks_with_each_entry() {
    let mut world = World::with(QuorumConfig { record_bytes_max: 2000, ..QuorumConfig::default() });
    world.quorum.on_log_room(10_000);
    let mut created = 0;
    while world.create(&format!("/n{created}")) == 0 {
        created += 1;
    }
    assert!((50..100).contains(&created), "{created}");
    // A short one may still fit where a long one does not.
    let mut world = World::new();
    assert_eq!(world.create("/a"), 0);
    world.quorum.on_log_room(10_000);
    assert_eq!(
        world.code(OpCode::SET_DATA, set_data(Some("/a"), Some(&[0; 9000]), -1)),
        (-1, false)
    );
    assert_eq!(world.code(OpCode::SET_DATA, set_data(Some("/a"), Some(&[0; 900]), -1)), (0, true));
}

#[test]
fn logs_roll_and_snapshots_fall_due() {
    let mut world = World::with(QuorumConfig { snap_count: 100, ..QuorumConfig::default() });
    for node in 0..1000 {
        assert_eq!(world.create(&format!("/n{node}")), 0);
    }
    let snapshots = world.others.iter().filter(|what| **what == "snapshot").count();
    assert!((9..=20).contains(&snapshots), "{snapshots}");
    assert_eq!(world.others.len(), snapshots, "{:?}", world.others);

    let mut world =
        World::with(QuorumConfig { log_file_bytes_max: 5000, ..QuorumConfig::default() });
    for node in 0..100 {
        assert_eq!(world.create(&format!("/n{node}")), 0);
    }
    assert!(world.others.len() >= 2 && world.others.iter().all(|what| *what == "roll"));

    let mut world = World::with(QuorumConfig { snap_size_bytes: 5000, ..QuorumConfig::default() });
    for node in 0..100 {
        assert_eq!(world.create(&format!("/n{node}")), 0);
    }
    assert!(world.others.len() >= 2 && world.others.iter().all(|what| *what == "snapshot"));
}

/// Events stand before the reply of their write, go to the shards that watch, and name Apache's
/// order.
#[test]
fn events_and_replies_by_shard() {
    let mut world = World::with(QuorumConfig { shards: 3, ..QuorumConfig::default() });
    world.watching = vec![false, true, false];
    assert_eq!(world.create("/a"), 0);
    world.submit(OpCode::CREATE, create(Some("/a/b"), b"", 0));
    world.submit(OpCode::SET_DATA, set_data(Some("/a/b"), Some(b"1"), -1));
    world.submit(OpCode::DELETE, delete(Some("/a/b"), -1));
    world.settle();
    let told: Vec<_> = world.told.drain(..).collect();
    assert_eq!(told.len(), 2);
    let (ShardId(0), ToShard::Commit(own)) = &told[0] else { panic!("{told:?}") };
    let (ShardId(1), ToShard::Commit(watcher)) = &told[1] else { panic!("{told:?}") };
    assert!(
        own.items.iter().all(|item| matches!(item, BatchItem::Reply(_))) && own.items.len() == 3
    );
    let events: Vec<(EventType, &str, i64)> = watcher
        .items
        .iter()
        .map(|item| {
            if let BatchItem::Event(event) = item {
                (event.kind, &*event.path, event.zxid.0)
            } else {
                panic!()
            }
        })
        .collect();
    let expected = [
        (EventType::NodeCreated, "/a/b", 3),
        (EventType::NodeChildrenChanged, "/a", 3),
        (EventType::NodeDataChanged, "/a/b", 4),
        (EventType::NodeDeleted, "/a/b", 5),
        (EventType::NodeChildrenChanged, "/a", 5),
    ];
    assert_eq!(events, expected);
    assert_eq!((own.zxid, watcher.zxid), (Zxid(5), Zxid(5)));

    world.watching = vec![true, false, false];
    world.submit(OpCode::CREATE, create(Some("/a/c"), b"", 0));
    world.settle();
    let items = world.items();
    assert!(
        matches!(items[..], [BatchItem::Event(_), BatchItem::Event(_), BatchItem::Reply(_)]),
        "{items:?}"
    );
}

/// A session's end is told to the shard that owns its id.
#[test]
fn an_expired_session_is_told_to_its_own_shard() {
    let mut world = World::with(QuorumConfig { shards: 3, ..QuorumConfig::default() });
    (0..15).for_each(|_| world.advance(1000));
    let owner = ShardId::of(world.session, 3);
    assert_ne!(owner, ShardId(0));
    let says_so = |message: &ToShard| match message {
        ToShard::Commit(commit) => {
            matches!(commit.items.last(), Some(BatchItem::SessionClosed { .. }))
        }
        _ => false,
    };
    assert!(world.told.iter().any(|(shard, message)| *shard == owner && says_so(message)));
}

#[test]
fn zxids_run_into_the_next_epoch() {
    let mut world = World::new();
    world.tree.set_last_zxid(Zxid::new(0, u32::MAX - 1));
    world.quorum = Quorum::new(world.quorum.writes.config.clone(), &world.tree, 0, world.now);
    for zxid in [Zxid::new(0, u32::MAX), Zxid::new(1, 0), Zxid::new(1, 1)] {
        let path = format!("/n{zxid}");
        assert_eq!(world.ask(OpCode::CREATE, create(Some(&path), b"", 0)).zxid, zxid);
    }
}
