//! multi: results, atomicity, what is logged, which requests use up a zxid (docs/observed.md §6).

use super::*;

/// Type and record of a sub-request.
type Op = (i32, Vec<u8>);

fn ok(world: &mut World, ops: &[Op]) -> Vec<(i32, i32)> {
    let before = world.quorum.writes.last_zxid;
    let reply = world.ask(OpCode::MULTI, multi(ops));
    assert_eq!((reply.err, reply.zxid), (ErrorCode::OK, before.next()));
    results(&reply.body)
}

fn plain(path: &str) -> Op {
    (1, create(Some(path), b"", 0))
}

fn check(path: &str, version: i32) -> Op {
    (13, delete(Some(path), version))
}

fn remove(path: &str) -> Op {
    (2, delete(Some(path), -1))
}

fn set(path: &str, version: i32) -> Op {
    (5, set_data(Some(path), Some(b"x"), version))
}

#[test]
fn results_by_kind() {
    let mut world = World::new();
    assert_eq!(ok(&mut world, &[]), []);
    assert_eq!(
        ok(&mut world, &[plain("/a"), check("/a", 0), set("/a", 0), remove("/a")]),
        [(1, 0), (13, 0), (5, 0), (2, 0)]
    );
    let kinds = [
        (15, create(Some("/b"), b"", 0)),
        (1, create(Some("/c"), b"", 4)),
        (15, create(Some("/d"), b"", 4)),
        (19, create(Some("/e"), b"", 0)),
        (19, create(Some("/f-"), b"", 2)),
        (21, create_ttl("/g", 5, 9)),
        (21, create_ttl("/h-", 6, 9)),
        (21, create_ttl("/i", 0, 9)),
        (21, create_ttl("/j", 4, 9)),
    ];
    let expected = [15, 15, 15, 15, 15, 15, 15, 1, 15].map(|op| (op, 0));
    assert_eq!(ok(&mut world, &kinds), expected);
    let owner = |path: &str| world.tree.get(path).unwrap().persisted().ephemeral_owner;
    assert_eq!(["/c", "/d", "/e", "/j"].map(owner), [i64::MIN; 4]);
    assert_eq!((owner("/g"), owner("/i")), (crate::jute::data::ttl_owner(9), 0));
}

#[test]
fn failures() {
    let mut world = World::new();
    for path in ["/x", "/p", "/p/c"] {
        assert_eq!(world.create(path), 0);
    }
    let cases: &[(&[Op], &[i32])] = &[
        (&[plain("/a"), check("/a", 7), plain("/b")], &[0, -103, -2]),
        (&[plain("/a"), plain("/x"), remove("/a")], &[0, -110, -2]),
        (&[remove("/none"), plain("/a"), set("/a", 0)], &[-101, -2, -2]),
        (&[plain("/a"), set("/a", 0), remove("/p")], &[0, 0, -111]),
        (&[plain("/a//"), plain("/a")], &[-101, -2]),
        (&[plain("a"), plain("/a")], &[-8, -2]),
        (&[check("/none", -1), plain("/a")], &[-101, -2]),
        (&[check("/a/", -1), plain("/a")], &[-8, -2]),
        (&[(1, create(Some("/e"), b"", 1)), plain("/e/u")], &[0, -108]),
        (&[(21, create_ttl("/t", 5, 0)), plain("/a")], &[-8, -2]),
        (&[(21, create_ttl("/t", 6, -1)), plain("/a")], &[-8, -2]),
        (&[(21, create_ttl("/t", 5, 1 << 40)), plain("/a")], &[-8, -2]),
        (&[(21, create_ttl("/t", 9, 1)), plain("/a")], &[-8, -2]),
        (&[(1, create_with(Some("/a"), None, Some(&[]), 0))], &[-114]),
        (
            &[(21, {
                let mut r = create_with(Some("/a"), None, None, 5);
                r.extend([0, 0, 0, 0, 0, 0, 0, 9]);
                r
            })],
            &[-114],
        ),
    ];
    for (ops, codes) in cases {
        let (nodes, digest) = (world.tree.node_count(), world.tree.digest());
        let expected: Vec<(i32, i32)> = codes.iter().map(|code| (-1, *code)).collect();
        assert_eq!(ok(&mut world, ops), expected, "{ops:?}");
        assert_eq!((world.tree.node_count(), world.tree.digest()), (nodes, digest));
        assert_eq!(world.quorum.leader().outstanding.digest(), digest);
    }
}

/// §6: what stands before the failure is logged as it was prepared.
#[test]
fn what_is_logged_of_a_failed_multi() {
    let mut world = World::new();
    ok(&mut world, &[plain("/a"), check("/a", 7), plain("/b")]);
    let record = world.log.last().unwrap();
    let Txn::Multi(txns) = &record.txn else { panic!("{record:?}") };
    assert!(matches!(&txns[0], Txn::Create(create) if create.path == "/a"));
    assert_eq!(
        txns[1..],
        [Txn::Error(ErrorCode::BAD_VERSION), Txn::Error(ErrorCode::RUNTIME_INCONSISTENCY)]
    );
    assert_eq!(record.digest.unwrap().tree, world.tree.digest());
}

#[test]
fn requests_that_fail_as_a_whole() {
    let mut world = World::new();
    assert_eq!(world.create("/x"), 0);
    let read = || {
        (
            4,
            record(|w| {
                text(w, Some("/x"));
                w.bool(false)
            }),
        )
    };
    let null_acl = |op: i32, flags: i32| (op, create_with(Some("/a"), None, None, flags));
    let own: Vec<Vec<u8>> = vec![
        multi(&[(1, create(Some("/a"), b"", 5))]),
        multi(&[(15, create(Some("/a"), b"", 6))]),
        multi(&[(1, create(Some("/a"), b"", 9))]),
        multi(&[(1, create(Some("/a"), b"", -1))]),
        multi(&[(14, vec![])]),
        multi(&[(0, vec![])]),
        multi(&[(7, set_acl(Some("/x"), Some(OPEN), -1))]),
        multi(&[(20, delete(Some("/x"), -1))]),
        multi(&[read()]),
        multi(&[read(), plain("/a")]),
        multi(&[plain("/a"), read()]),
        multi(&[plain("/a"), (2, delete(None, -1))]),
        multi(&[
            plain("/a"),
            (1, create_with(Some("/b"), None, Some(&[(1, Some("digest"), None)]), 0)),
        ]),
        multi(&[null_acl(1, 9)]),
        multi(&[plain("/a")])[..20].to_vec(),
        multi(&[plain("/a")]).split_last_chunk::<9>().unwrap().0.to_vec(),
        vec![],
    ];
    for request in own {
        assert_eq!(world.code(OpCode::MULTI, request.clone()), (-5, true), "{request:?}");
        assert_eq!(world.log.last().unwrap().txn, Txn::Error(ErrorCode::MARSHALLING_ERROR));
        assert!(world.tree.get("/a").is_none());
    }
    for request in [
        multi(&[null_acl(1, 0)]),
        multi(&[plain("/a"), null_acl(19, 4)]),
        multi(&[null_acl(15, 5)]),
    ] {
        assert_eq!(world.code(OpCode::MULTI, request), (-5, false));
    }
    // After the end header anything may follow.
    let mut request = multi(&[plain("/a")]);
    request.extend([1, 2, 3]);
    assert_eq!(world.code(OpCode::MULTI, request), (0, true));
}

#[test]
fn later_operations_see_earlier_ones() {
    let mut world = World::new();
    assert_eq!(world.create("/s"), 0);
    let sequential = || (1, create(Some("/s/n-"), b"", 2));
    let ops = [
        sequential(),
        sequential(),
        (1, create(Some("/s/e"), b"", 1)),
        set("/s/e", 0),
        check("/s/e", 1),
    ];
    let deleting = [&ops[..], &[(2, delete(Some("/s/e"), 1))]].concat();
    let codes: Vec<i32> = ok(&mut world, &deleting).iter().map(|(_, err)| *err).collect();
    assert_eq!(codes, [0; 6]);
    let mut names: Vec<&str> = world.tree.get("/s").unwrap().children().collect();
    names.sort_unstable();
    assert_eq!(names, ["n-0000000000", "n-0000000001"]);
    assert!(world.tree.ephemerals_of(world.session).is_empty());
}

/// A failed multi in the middle of a pipeline leaves the numbers and versions of its neighbours
/// alone (ZOOKEEPER-1624).
#[test]
fn a_roll_back_restores_what_was_outstanding_before() {
    let mut world = World::new();
    world.submit(OpCode::CREATE, create(Some("/s"), b"", 0));
    world.submit(OpCode::CREATE, create(Some("/s/n-"), b"", 2));
    world.submit(OpCode::SET_DATA, set_data(Some("/s"), Some(b"1"), 0));
    let sequential = || (1, create(Some("/s/n-"), b"", 2));
    world.submit(
        OpCode::MULTI,
        multi(&[
            sequential(),
            set("/s", 1),
            sequential(),
            remove("/s/n-0000000000"),
            check("/none", 0),
        ]),
    );
    world.submit(OpCode::CREATE, create(Some("/s/n-"), b"", 2));
    world.submit(OpCode::SET_DATA, set_data(Some("/s"), Some(b"2"), 1));
    world.settle();
    let codes: Vec<i32> = world.replies().iter().map(|reply| reply.err.0).collect();
    assert_eq!(codes, [0; 6]);
    assert!(world.tree.get("/s/n-0000000001").is_some());
    assert_eq!(world.tree.get("/s").unwrap().stat().num_children, 2);
    assert_eq!(world.quorum.report().outstanding_nodes, 0);
}
