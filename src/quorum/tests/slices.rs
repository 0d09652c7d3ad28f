//! No call does more than its budget, however much is due: counted in units of work, not in time.

use super::*;

/// Sessions that end at the same moment end a few at a time, and a request of somebody else does not
/// wait for the last of them.
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
    let before = world.quorum.last_zxid;
    world.work(100);
    assert_eq!(world.quorum.last_zxid.0 - before.0, 100);
    let xid = world.submit(OpCode::CREATE, create(Some("/a"), b"", 0));
    while world.quorum.has_work() {
        world.work(100);
    }
    assert_eq!(world.quorum.report().outstanding, OWN_WORK_OUTSTANDING_MAX, "the disk sets the pace");
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
    assert_eq!(world.tree.sessions().map(|(session, _)| session).collect::<Vec<_>>(), [world.session]);
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
    assert!(!world.quorum.has_work() && world.quorum.report().outstanding == 0, "nobody could be heard of");
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
    let config = QuorumConfig { extended_types: true, container_max_per_minute: 1_000_000, ..QuorumConfig::default() };
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
    let before = world.quorum.last_zxid;
    while world.quorum.has_work() {
        let zxid = world.quorum.last_zxid;
        world.work(100);
        assert!(world.quorum.last_zxid.0 - zxid.0 <= 100);
        calls += 1;
    }
    let deleted = world.quorum.last_zxid.0 - before.0;
    assert!(deleted >= OWN_WORK_OUTSTANDING_MAX as i64, "{deleted}");
    assert!(calls as i64 >= (nodes + deleted) / 100, "{calls}");
    while world.quorum.has_work() || world.quorum.report().outstanding > 0 {
        world.work(100);
        world.settle();
    }
    assert_eq!(world.tree.node_count(), 5);
}
