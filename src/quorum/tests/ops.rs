//! One request at a time: codes, order of checks, zxids (docs/observed.md, by section).

use super::*;
use crate::codes::perms;

const CREATES: [OpCode; 2] = [OpCode::CREATE, OpCode::CREATE2];

#[test]
fn create_set_and_delete_end_to_end() {
    let mut world = World::new();
    let reply = world.ask(OpCode::CREATE, create(Some("/a"), b"one", 0));
    assert_eq!(
        (reply.err, reply.zxid, &reply.body),
        (ErrorCode::OK, Zxid(2), &ReplyBody::Path("/a".into()))
    );
    let reply = world.ask(OpCode::SET_DATA, set_data(Some("/a"), Some(b"three"), 0));
    let ReplyBody::Stat(stat) = reply.body else { panic!("{:?}", reply.body) };
    assert_eq!((stat.version, stat.mzxid, stat.czxid, stat.data_length), (1, 3, 2, 5));
    assert_eq!(stat.mtime, world.now.wall_ms);
    let reply = world.ask(OpCode::CREATE2, create(Some("/a/b"), b"", 0));
    let ReplyBody::PathStat(path, stat) = reply.body else { panic!("{:?}", reply.body) };
    assert_eq!((&*path, stat.czxid, stat.num_children), ("/a/b", 4, 0));
    assert_eq!(world.ask(OpCode::DELETE, delete(Some("/a/b"), 0)).body, ReplyBody::Empty);
    assert_eq!(world.ask(OpCode::DELETE, delete(Some("/a"), -1)).zxid, Zxid(6));
    assert!(world.tree.get("/a").is_none());
    let zxids: Vec<i64> = world.log.iter().map(|record| record.header.zxid.0).collect();
    assert_eq!(zxids, [1, 2, 3, 4, 5, 6]);
    assert_eq!(world.log.last().unwrap().digest.unwrap().tree, world.tree.digest());
}

/// Each `auth` of a list stands for every id that the connection has proven: what would not fit a
/// record is refused before it is made, hence before the parent is looked for.
#[test]
fn a_list_that_would_grow_beyond_a_record_is_refused_at_once() {
    let mut world = World::new();
    world.auth =
        (0..100).map(|nth| Id::new("digest", &format!("user{nth}:{}", "x".repeat(28)))).collect();
    let auths: Vec<_> = (0..10_000).map(|perms| (perms, Some("auth"), Some(""))).collect();
    let sent = |list| create_with(Some("/missing/a"), Some(b""), Some(list), 0);
    assert_eq!(world.code(OpCode::CREATE, sent(&auths[..100])), (-101, true));
    assert_eq!(world.code(OpCode::CREATE, sent(&auths)), (-5, false));
    assert_eq!(
        world.code(OpCode::SET_ACL, set_acl(Some("/missing/a"), Some(&auths), -1)),
        (-5, false)
    );
}

/// §4: flags by op, with extended types on.
#[test]
fn create_flags() {
    let mut world = World::new();
    let owner =
        |world: &World, path: &str| world.tree.get(path).unwrap().persisted().ephemeral_owner;
    for op in CREATES {
        for (flags, code) in
            [(0, 0), (1, 0), (2, 0), (3, 0), (4, 0), (5, -8), (6, -8), (7, -8), (-1, -8)]
        {
            let path = format!("/p{}-{flags}", op.0);
            assert_eq!(
                world.code(op, create(Some(&path), b"", flags)),
                (code, true),
                "{op:?} {flags}"
            );
        }
    }
    assert_eq!(owner(&world, "/p1-1"), 0x100);
    // A container's flag on a plain create makes a node that stays.
    assert_eq!(owner(&world, "/p1-4"), 0);
    for flags in 0..=4 {
        let path = format!("/c{flags}");
        let reply = world.ask(OpCode::CREATE_CONTAINER, create(Some(&path), b"", flags));
        let ReplyBody::PathStat(path, stat) = reply.body else { panic!("{:?}", reply.body) };
        assert_eq!((owner(&world, &path), stat.ephemeral_owner), (i64::MIN, 0));
        assert_eq!(path.len() > 3, matches!(flags, 2 | 3));
    }
    assert_eq!(world.code(OpCode::CREATE_CONTAINER, create(Some("/c"), b"", 5)), (-8, true));
    for flags in 0..8 {
        for (ttl, valid) in
            [(1, true), (limits::TTL_MS_MAX, true), (0, false), (-1, false), (1 << 40, false)]
        {
            let expected = if valid && matches!(flags, 5 | 6) { 0 } else { -8 };
            let path = format!("/t{flags}-{ttl}");
            assert_eq!(
                world.code(OpCode::CREATE_TTL, create_ttl(&path, flags, ttl)),
                (expected, true),
                "{path}"
            );
        }
    }
    assert_eq!(owner(&world, "/t5-1"), crate::jute::data::ttl_owner(1));
}

#[test]
fn ttl_types_switched_off() {
    let mut world = World::with(QuorumConfig::default());
    assert_eq!(world.code(OpCode::CREATE_TTL, create_ttl("/t", 5, 0)), (-6, true));
    assert_eq!(world.code(OpCode::CREATE, create(Some("/t"), b"", 6)), (-6, true));
    assert_eq!(world.code(OpCode::CREATE_TTL, create_ttl("/t", 0, 5)), (-8, true));
    let reply = world.ask(OpCode::MULTI, multi(&[(21, create_ttl("/t", 5, 9))]));
    assert_eq!(results(&reply.body), [(-1, -6)]);
}

/// §5: the table of paths. `px` exists; columns: create, sequential create, setData and setACL,
/// delete.
#[test]
fn paths() {
    let table: &[(&str, i32, i32, i32, i32)] = &[
        ("", -8, -8, -8, -8),
        ("abc", -8, -8, -8, -8),
        ("abc/def", -101, -101, -8, -101),
        ("/", -110, 0, 0, -8),
        ("/px/", -8, 0, -8, -101),
        ("//", -8, -8, -8, -101),
        ("/px//b", -101, -101, -8, -101),
        ("/px/./b", -101, -101, -8, -101),
        ("/px/../b", -101, -101, -8, -101),
        ("/.", -8, 0, -8, -101),
        ("/px/.", -8, 0, -8, -101),
        ("/...", 0, 0, 0, 0),
        ("/a.", 0, 0, 0, 0),
        ("/ ", 0, 0, 0, 0),
        ("/a\0", -8, -8, -8, -8),
        ("/a\n", -8, -8, -8, -101),
        ("/\u{7f}", -8, -8, -8, -101),
        ("/\u{e000}", -8, -8, -8, -101),
        ("/\u{fffd}", -8, -8, -8, -101),
        ("/\u{1f600}", -8, -8, -8, -101),
        ("/\u{a0}", 0, 0, 0, 0),
        ("/\u{ffef}", 0, 0, 0, 0),
        ("/zookeeper/x", 0, 0, 0, 0),
        ("/zookeeper/config", -110, 0, -102, -8),
        ("/zookeeper/quota", -110, 0, 0, -8),
        ("/zookeeper", -110, 0, 0, -8),
    ];
    for (path, plain, sequential, set, deleted) in table {
        let mut world = World::new();
        assert_eq!(world.create("/px"), 0);
        let path = Some(*path);
        assert_eq!(
            world.code(OpCode::CREATE, create(path, b"", 2)),
            (*sequential, true),
            "{path:?} sequential"
        );
        assert_eq!(
            world.code(OpCode::CREATE, create(path, b"", 0)),
            (*plain, true),
            "{path:?} create"
        );
        assert_eq!(
            world.code(OpCode::SET_DATA, set_data(path, None, -1)),
            (*set, true),
            "{path:?} setData"
        );
        assert_eq!(
            world.code(OpCode::SET_ACL, set_acl(path, Some(OPEN), -1)),
            (*set, true),
            "{path:?} setACL"
        );
        let code = world.code(OpCode::DELETE, delete(path, -1));
        assert_eq!(code, (*deleted, true), "{path:?} delete");
    }
}

/// §5: which of two mistakes a client is told.
#[test]
fn order_of_checks() {
    let mut world = World::new();
    let bad_acl: &[AclSpec<'_>] = &[(31, Some("nobody"), Some("x"))];
    let closed: &[AclSpec<'_>] = &[(perms::READ, Some("world"), Some("anyone"))];
    assert_eq!(world.create("/e"), 0);
    assert_eq!(world.create("/e/child"), 0);
    assert_eq!(world.code(OpCode::CREATE, create(Some("/eph"), b"", 1)).0, 0);
    let shut = create_with(Some("/shut"), None, Some(closed), 0);
    assert_eq!(world.code(OpCode::CREATE, shut).0, 0);
    let shut = create_with(Some("/sheph"), None, Some(closed), 1);
    assert_eq!(world.code(OpCode::CREATE, shut).0, 0);

    let creates: &[(&str, &[AclSpec<'_>], i32, i32)] = &[
        ("/none/\u{1}", OPEN, 0, -101),
        ("/none/x", bad_acl, 0, -114),
        ("/e", bad_acl, 0, -114),
        ("/e", OPEN, 9, -8),
        ("/x", bad_acl, 9, -8),
        ("x", bad_acl, 0, -8),
        ("/x\u{1}", bad_acl, 0, -114),
        ("/x/", bad_acl, 0, -114),
        ("/shut/\u{1}", OPEN, 0, -102),
        ("/shut/x", OPEN, 0, -102),
        ("/eph/\u{1}", OPEN, 0, -8),
        ("/eph/x", OPEN, 0, -108),
        ("/sheph/x", OPEN, 0, -102),
        ("/x", &[], 0, -114),
        ("/x", &[(31, None, Some("x"))], 0, -114),
        ("/x", &[(31, Some("world"), None)], 0, -5),
        ("/x", &[(31, Some("digest"), None)], 0, -5),
    ];
    for (path, list, flags, code) in creates {
        let request = create_with(Some(path), None, Some(list), *flags);
        assert_eq!(
            world.code(OpCode::CREATE, request),
            (*code, true),
            "create {path} {list:?} {flags}"
        );
    }
    let cases: &[(OpCode, Vec<u8>, i32)] = &[
        (OpCode::CREATE, create_with(Some("/x"), None, None, 0), -114),
        (OpCode::SET_ACL, set_acl(Some("/none"), Some(bad_acl), -1), -114),
        (OpCode::SET_ACL, set_acl(Some("/none"), Some(OPEN), -1), -101),
        (OpCode::SET_ACL, set_acl(Some("/shut"), Some(OPEN), 9), -102),
        (OpCode::SET_ACL, set_acl(Some("/e"), Some(OPEN), 9), -103),
        (OpCode::SET_ACL, set_acl(Some("/e"), None, -1), -114),
        (OpCode::DELETE, delete(Some("/e"), 9), -103),
        (OpCode::DELETE, delete(Some("/e"), 0), -111),
        (OpCode::DELETE, delete(Some("/none"), 0), -101),
        (OpCode::DELETE, delete(Some("/shut/none"), 0), -102),
        (OpCode::DELETE, delete(Some("/none/none"), 0), -101),
        (OpCode::SET_DATA, set_data(Some("/shut"), None, 9), -102),
        (OpCode::SET_DATA, set_data(Some("/e"), None, 9), -103),
        (OpCode::SET_DATA, set_data(Some("/e"), None, -2), -103),
        (OpCode::SET_DATA, set_data(Some("/none"), None, -1), -101),
        // Null strings.
        (OpCode::CREATE, create(None, b"", 0), -5),
        (OpCode::CREATE, create(None, b"", 9), -8),
        (OpCode::DELETE, delete(None, 0), -5),
        (OpCode::SET_DATA, set_data(None, None, 0), -8),
        (OpCode::SET_ACL, set_acl(None, Some(OPEN), 0), -8),
        // Not on a standalone server.
        (OpCode::RECONFIG, vec![0xff; 20], -123),
    ];
    for (op, request, code) in cases {
        assert_eq!(world.code(*op, request.clone()), (*code, true), "{op:?} {request:?}");
    }
    // The node itself needs no rights for its deletion.
    assert_eq!(world.code(OpCode::DELETE, delete(Some("/shut"), -1)), (0, true));
}

/// §1, §2: a record that does not decode is answered with the last zxid, and nothing is logged.
#[test]
fn undecodable_requests_use_up_no_zxid() {
    let mut world = World::new();
    let whole: [(OpCode, Vec<u8>); 6] = [
        (OpCode::CREATE, create(Some("/a"), b"x", 0)),
        (OpCode::CREATE_TTL, create_ttl("/a", 5, 5)),
        (OpCode::DELETE, delete(Some("/a"), 0)),
        (OpCode::SET_DATA, set_data(Some("/a"), None, 0)),
        (OpCode::SET_ACL, set_acl(Some("/a"), Some(OPEN), 0)),
        (OpCode::RECONFIG, vec![255; 20]),
    ];
    for (op, request) in whole {
        for len in 0..request.len() {
            assert_eq!(world.code(op, request[..len].to_vec()), (-5, false), "{op:?} cut at {len}");
        }
    }
    assert_eq!(world.code(OpCode::DELETE, vec![0xff, 0xff, 0xff, 0xfe, 0, 0, 0, 0]), (-5, false));
    // What follows a record is ignored.
    let mut request = create(Some("/a"), b"x", 0);
    request.extend(b"rest");
    assert_eq!(world.code(OpCode::CREATE, request), (0, true));
}

/// §8: the number is the count of creates under the parent.
#[test]
fn sequential_names() {
    let mut world = World::new();
    let name = |world: &mut World, path: &str| match world
        .ask(OpCode::CREATE, create(Some(path), b"", 2))
        .body
    {
        ReplyBody::Path(path) => path.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(world.create("/s"), 0);
    assert_eq!(name(&mut world, "/s/a-"), "/s/a-0000000000");
    assert_eq!(world.create("/s/plain"), 0);
    assert_eq!(name(&mut world, "/s/b-"), "/s/b-0000000002");
    assert_eq!(world.code(OpCode::DELETE, delete(Some("/s/plain"), -1)).0, 0);
    assert_eq!(world.create("/s/b-0000000003"), 0);
    // The number that is taken is not skipped: four creates so far, so the next number is 4.
    assert_eq!(world.create("/s/c-0000000005"), 0);
    assert_eq!(world.code(OpCode::CREATE, create(Some("/s/c-"), b"", 2)).0, -110);
    assert_eq!(world.code(OpCode::CREATE, create(Some("/s/c-"), b"", 2)).0, -110);
    assert_eq!(name(&mut world, "/s/"), "/s/0000000005");
}

/// §8: what happens at the end of the numbers.
#[test]
fn sequential_numbers_stand_still_at_the_end() {
    let mut world = World::new();
    assert_eq!(world.create("/s"), 0);
    let near = Txn::Create(crate::txn::CreateTxn {
        path: "/s/last".into(),
        data: None,
        acl: [Acl::open()].into(),
        kind: crate::txn::CreateKind::Persistent,
        with_stat: false,
        parent_cversion: i32::MAX - 1,
    });
    let header = world.quorum.leader().header(&world.quorum.writes, SessionId::NONE, 0);
    world.tree.apply(&header, &near, None);
    world.quorum = Quorum::new(world.quorum.writes.config.clone(), &world.tree, 0, world.now);
    let mut name = |path: &str| world.ask(OpCode::CREATE, create(Some(path), b"", 2));
    assert_eq!(name("/s/a").body, ReplyBody::Path("/s/a2147483646".into()));
    assert_eq!(name("/s/a").body, ReplyBody::Path("/s/a2147483647".into()));
    assert_eq!(name("/s/a").err, ErrorCode::NODE_EXISTS);
    assert_eq!(name("/s/b").body, ReplyBody::Path("/s/b2147483647".into()));
    assert_eq!(world.tree.get("/s").unwrap().persisted().cversion, i32::MAX);
    // Within one multi it wraps.
    let op = |path: &str| (1, create(Some(path), b"", 2));
    let reply = world.ask(OpCode::MULTI, multi(&[op("/s/c"), op("/s/c"), op("/s/c")]));
    assert_eq!(results(&reply.body), [(1, 0), (1, 0), (1, 0)]);
    for name in ["/s/c2147483647", "/s/c-2147483648", "/s/c-2147483647"] {
        assert!(world.tree.get(name).is_some(), "{name}");
    }
}

#[test]
fn pipelined_requests_see_each_other() {
    let mut world = World::new();
    world.submit(OpCode::CREATE, create(Some("/p"), b"", 0));
    for _ in 0..3 {
        world.submit(OpCode::CREATE, create(Some("/p/s-"), b"", 2));
    }
    world.submit(OpCode::SET_DATA, set_data(Some("/p"), Some(b"1"), 0));
    world.submit(OpCode::SET_DATA, set_data(Some("/p"), Some(b"22"), 1));
    world.submit(OpCode::SET_DATA, set_data(Some("/p"), Some(b"3"), 1));
    world.submit(OpCode::DELETE, delete(Some("/p"), -1));
    for number in 0..3 {
        world.submit(OpCode::DELETE, delete(Some(&format!("/p/s-000000000{number}")), -1));
    }
    world.submit(OpCode::DELETE, delete(Some("/p"), 2));
    world.submit(OpCode::SET_DATA, set_data(Some("/p"), None, -1));
    world.submit(OpCode::CREATE, create(Some("/p"), b"again", 0));
    world.submit(OpCode::SET_DATA, set_data(Some("/p"), Some(b"more"), 0));
    world.submit(
        OpCode::SET_ACL,
        set_acl(Some("/p"), Some(&[(1, Some("world"), Some("anyone"))]), 0),
    );
    world.submit(OpCode::SET_DATA, set_data(Some("/p"), Some(b"more"), -1));
    world.settle();
    let codes: Vec<i32> = world.replies().iter().map(|reply| reply.err.0).collect();
    assert_eq!(codes, [0, 0, 0, 0, 0, 0, -103, -111, 0, 0, 0, 0, -101, 0, 0, 0, -102]);
    assert_eq!(world.tree.get("/p").unwrap().stat().version, 1);
    assert_eq!(world.quorum.report().outstanding_nodes, 0);
}

#[test]
fn quotas_refuse_at_hard_limits_only() {
    let mut world = World::with(QuorumConfig { enforce_quota: true, ..QuorumConfig::default() });
    for path in ["/q", "/zookeeper/quota/q"] {
        assert_eq!(world.create(path), 0);
    }
    let limits = create(
        Some("/zookeeper/quota/q/zookeeper_limits"),
        b"count=1,bytes=1=;byteHardLimit=10;countHardLimit=3",
        0,
    );
    assert_eq!(world.code(OpCode::CREATE, limits).0, 0);
    let stats = create(Some("/zookeeper/quota/q/zookeeper_stats"), b"count=0,bytes=0", 0);
    assert_eq!(world.code(OpCode::CREATE, stats).0, 0);
    assert_eq!(world.create("/q/a"), 0);
    assert_eq!(world.create("/q/b"), 0);
    assert_eq!(world.code(OpCode::CREATE, create(Some("/q/c"), b"", 0)), (-125, true));
    assert_eq!(world.code(OpCode::SET_DATA, set_data(Some("/q/a"), Some(b"0123456789"), -1)).0, 0);
    assert_eq!(world.code(OpCode::SET_DATA, set_data(Some("/q/b"), Some(b"0"), 7)).0, -125);
    assert_eq!(world.code(OpCode::SET_DATA, set_data(Some("/q/a"), Some(b"0"), -1)).0, 0);
    assert_eq!(world.code(OpCode::SET_DATA, set_data(Some("/q/b"), Some(b"0"), 7)).0, -103);
    assert_eq!(world.code(OpCode::DELETE, delete(Some("/q/a"), -1)).0, 0);
    assert_eq!(world.create("/q/c"), 0);
}

/// B11: what would not fit a log record is refused before it gets a zxid.
#[test]
fn oversized_transactions_are_refused_without_a_zxid() {
    let mut world = World::with(QuorumConfig { record_bytes_max: 1000, ..QuorumConfig::default() });
    world.auth =
        (0..20).map(|user| Id::new("digest", &format!("user{user}:{}", "x".repeat(28)))).collect();
    let auth: &[AclSpec<'_>] = &[(31, Some("auth"), Some(""))];
    assert_eq!(world.code(OpCode::CREATE, create(Some("/big"), &[0; 1000], 0)), (-5, false));
    assert_eq!(
        world.code(OpCode::CREATE, create_with(Some("/big"), None, Some(auth), 0)),
        (-5, false)
    );
    assert_eq!(world.create("/a"), 0);
    assert_eq!(
        world.code(OpCode::SET_DATA, set_data(Some("/a"), Some(&[0; 1000]), -1)),
        (-5, false)
    );
    assert_eq!(world.code(OpCode::SET_ACL, set_acl(Some("/a"), Some(auth), -1)), (-5, false));
    let half = (1, create(Some("/half"), &[0; 500], 2));
    let digest = world.quorum.leader().outstanding.digest();
    assert_eq!(world.code(OpCode::MULTI, multi(&[half.clone(), half.clone()])), (-5, false));
    assert_eq!(world.quorum.leader().outstanding.digest(), digest);
    assert_eq!(world.code(OpCode::MULTI, multi(&[half])), (0, true));
    assert!(world.log.iter().all(|record| {
        let mut out = Vec::new();
        crate::txn::write_log_record(&mut out, &record.header, &record.txn, record.digest);
        out.len() <= 1000
    }));
}

#[test]
fn acl_lists_are_stored_fixed_up() {
    let mut world = World::new();
    world.auth = Arc::from([Id::new("ip", "127.0.0.1"), Id::new("digest", "u:h")]);
    let list: &[AclSpec<'_>] = &[
        (1, Some("world"), Some("anyone")),
        (31, Some("auth"), None),
        (1, Some("world"), Some("anyone")),
    ];
    assert_eq!(world.code(OpCode::CREATE, create_with(Some("/a"), None, Some(list), 0)).0, 0);
    let node = world.tree.get("/a").unwrap();
    assert_eq!(node.acl()[..], [owned(1, "world", "anyone"), owned(31, "digest", "u:h")]);
    assert_eq!((node.data(), node.stat().aversion), (None, 0));
    assert_eq!(world.code(OpCode::SET_ACL, set_acl(Some("/a"), Some(list), 0)).0, 0);
    assert_eq!(world.tree.get("/a").unwrap().stat().aversion, 1);
}
