//! Watches and events on connections (docs/observed.md §7).

use super::*;

fn events(got: &[Got]) -> Vec<(i32, String)> {
    got.iter().filter(|got| got.xid == -1).map(|got| (got.event().0, got.event().2)).collect()
}

/// Sends a request and gives back the events and, after them, the reply.
fn step(world: &mut World, conn: ConnId, op: OpCode, record: &[u8]) -> Vec<(i32, String)> {
    world.send(conn, &request(9, op, record));
    let mut got = world.got(conn);
    let reply = got.pop().unwrap();
    assert_eq!((reply.xid, reply.err), (9, 0), "{op:?}: the reply comes after the events");
    assert_eq!(
        got.iter().filter(|got| got.zxid != zxid(world)).count(),
        0,
        "an event carries its zxid"
    );
    events(&got)
}

fn make(path: &str) -> Vec<u8> {
    create(path, b"", &[Acl::open()], 0)
}

#[test]
fn events_come_before_the_reply_of_the_write_that_fired_them() {
    let mut world = World::new();
    let conn = world.connect();
    assert_eq!(world.err(conn, OpCode::EXISTS, &path_watch("/a", true)), -101);
    assert_eq!(world.err(conn, OpCode::GET_DATA, &path_watch("/b", true)), -101);
    assert_eq!(step(&mut world, conn, OpCode::CREATE, &make("/a")), [(CREATED, "/a".into())]);
    assert_eq!(
        step(&mut world, conn, OpCode::CREATE, &make("/b")),
        [],
        "getData sets no watch on what is absent"
    );
    step(&mut world, conn, OpCode::GET_DATA, &path_watch("/a", true));
    step(&mut world, conn, OpCode::EXISTS, &path_watch("/a", true));
    step(&mut world, conn, OpCode::GET_CHILDREN, &path_watch("/a", true));
    step(&mut world, conn, OpCode::GET_CHILDREN2, &path_watch("/", true));
    let fired = step(&mut world, conn, OpCode::DELETE, &path_int("/a", -1));
    assert_eq!(fired, [(DELETED, "/a".into()), (CHILDREN, "/".into())]);
    assert_eq!(step(&mut world, conn, OpCode::DELETE, &path_int("/b", -1)), []);
}

#[test]
fn a_child_watch_stays_when_data_changes() {
    let mut world = World::new();
    let conn = world.connect();
    world.create(conn, "/p");
    step(&mut world, conn, OpCode::GET_CHILDREN, &path_watch("/p", true));
    assert_eq!(step(&mut world, conn, OpCode::SET_DATA, &set_data("/p", b"1")), []);
    assert_eq!(step(&mut world, conn, OpCode::CREATE, &make("/p/c")), [(CHILDREN, "/p".into())]);
    assert_eq!(step(&mut world, conn, OpCode::CREATE, &make("/p/d")), []);
}

#[test]
fn persistent_and_recursive_watches() {
    let mut world = World::new();
    let conn = world.connect();
    let got = world.ask(conn, OpCode::ADD_WATCH, &path_int("/", 1));
    assert_eq!((got.err, got.body, got.zxid), (0, 0i32.to_be_bytes().to_vec(), 1));
    assert_eq!(world.err(conn, OpCode::ADD_WATCH, &path_int("/w", 0)), 0);
    assert_eq!(step(&mut world, conn, OpCode::CREATE, &make("/w")), [(CREATED, "/w".into())]);
    let fired = step(&mut world, conn, OpCode::CREATE, &make("/w/y"));
    assert_eq!(fired, [(CREATED, "/w/y".into()), (CHILDREN, "/w".into())]);
    assert_eq!(
        step(&mut world, conn, OpCode::SET_DATA, &set_data("/w", b"")),
        [(CHANGED, "/w".into())]
    );
    assert_eq!(world.err(conn, OpCode::REMOVE_WATCHES, &path_int("/", 5)), 0);
    let fired = step(&mut world, conn, OpCode::DELETE, &path_int("/w/y", -1));
    assert_eq!(fired, [(CHILDREN, "/w".into())]);
    for mode in [-1, 2] {
        assert_eq!(world.err(conn, OpCode::ADD_WATCH, &path_int("/w", mode)), -5);
    }
    for odd in ["", "abc", "/w/", "/absent"] {
        assert_eq!(world.err(conn, OpCode::ADD_WATCH, &path_int(odd, 0)), 0, "{odd}");
    }
}

#[test]
fn check_and_remove_watches_by_type() {
    let mut world = World::new();
    let conn = world.connect();
    world.ask(conn, OpCode::EXISTS, &path_watch("/absent", true));
    for (kind, err) in [(1, -121), (2, 0), (3, 0), (4, -121), (5, -121), (0, -5), (6, -5), (-1, -5)]
    {
        assert_eq!(
            world.err(conn, OpCode::CHECK_WATCHES, &path_int("/absent", kind)),
            err,
            "type {kind}"
        );
    }
    let other = world.connect();
    assert_eq!(world.err(other, OpCode::CHECK_WATCHES, &path_int("/absent", 3)), -121);
    assert_eq!(world.err(conn, OpCode::REMOVE_WATCHES, &path_int("/absent", 2)), 0);
    assert_eq!(world.err(conn, OpCode::REMOVE_WATCHES, &path_int("/absent", 2)), -121);
    assert_eq!(world.err(conn, OpCode::REMOVE_WATCHES, &path_int("/absent", 9)), -5);
    assert_eq!(step(&mut world, conn, OpCode::CREATE, &make("/absent")), []);
}

#[test]
fn who_may_not_read_hears_nothing_and_the_watch_is_spent() {
    let mut world = World::new();
    let (conn, owner) = (world.connect(), world.connect());
    world.ask(owner, OpCode::AUTH, &auth_packet("digest", Some(b"u:p")));
    for watcher in [conn, owner] {
        assert_eq!(world.err(watcher, OpCode::EXISTS, &path_watch("/s", true)), -101);
    }
    let secret = create("/s", b"", &[digest_acl("u:p", 31)], 0);
    assert_eq!(step(&mut world, owner, OpCode::CREATE, &secret), [(CREATED, "/s".into())]);
    assert_eq!(world.got(conn), []);
    assert_eq!(world.front.report().watches.data, 0);
    assert_eq!(world.err(conn, OpCode::ADD_WATCH, &path_int("/s", 0)), 0);
    step(&mut world, owner, OpCode::DELETE, &path_int("/s", -1));
    assert_eq!(world.got(conn), [], "the ACL before the delete counts");
}

fn set_watches(seen: i64, lists: &[Option<&[&str]>]) -> Vec<u8> {
    record(|writer| {
        writer.i64(seen);
        for list in lists {
            match list {
                None => writer.i32(-1),
                Some(paths) => {
                    writer.len(paths.len());
                    paths.iter().for_each(|path| writer.string(path));
                }
            }
        }
    })
}

#[test]
fn set_watches_tells_what_was_missed_in_list_order() {
    let mut world = World::new();
    let conn = world.connect();
    for path in ["/old", "/p"] {
        world.create(conn, path);
    }
    let seen = zxid(&world);
    world.create(conn, "/new");
    world.create(conn, "/p/c");
    let lists = [
        Some(&["/old", "/new", "/gone", "x"][..]),
        Some(&["/new", "/later"]),
        Some(&["/p", "/old", "/gone"]),
    ];
    world.send(conn, &request(-8, OpCode::SET_WATCHES, &set_watches(seen, &lists)));
    let mut got = world.got(conn);
    let reply = got.pop().unwrap();
    assert_eq!((reply.xid, reply.zxid, reply.err, reply.body.len()), (-8, zxid(&world), 0, 0));
    assert!(got.iter().all(|got| got.zxid == -1));
    let want = [
        (CHANGED, "/new"),
        (DELETED, "/gone"),
        (DELETED, "x"),
        (CREATED, "/new"),
        (CHILDREN, "/p"),
        (DELETED, "/gone"),
    ];
    assert_eq!(events(&got), want.map(|(kind, path)| (kind, path.to_owned())));
    // What told nothing watches again: /old twice, /later once.
    assert_eq!(
        step(&mut world, conn, OpCode::SET_DATA, &set_data("/old", b"")),
        [(CHANGED, "/old".into())]
    );
    assert_eq!(
        step(&mut world, conn, OpCode::CREATE, &make("/old/c")),
        [(CHILDREN, "/old".into())]
    );
    assert_eq!(
        step(&mut world, conn, OpCode::CREATE, &make("/later")),
        [(CREATED, "/later".into())]
    );
    assert_eq!(world.front.report().watches, crate::watch::Counts::default());
}

#[test]
fn set_watches_2_registers_persistent_ones_and_null_lists_are_malformed() {
    let mut world = World::new();
    let conn = world.connect();
    let none: Option<&[&str]> = Some(&[]);
    let lists = [none, none, none, Some(&["/a"]), Some(&["/r"])];
    assert_eq!(step(&mut world, conn, OpCode::SET_WATCHES2, &set_watches(i64::MAX, &lists)), []);
    assert_eq!(step(&mut world, conn, OpCode::CREATE, &make("/a")), [(CREATED, "/a".into())]);
    assert_eq!(step(&mut world, conn, OpCode::CREATE, &make("/r")), [(CREATED, "/r".into())]);
    assert_eq!(step(&mut world, conn, OpCode::CREATE, &make("/r/x")), [(CREATED, "/r/x".into())]);
    for lists in [[None, none, none], [none, none, None]] {
        assert_eq!(world.err(conn, OpCode::SET_WATCHES, &set_watches(0, &lists)), -5);
    }
    let negative =
        [&0i64.to_be_bytes()[..], &(-7i32).to_be_bytes(), &0i32.to_be_bytes(), &0i32.to_be_bytes()]
            .concat();
    assert_eq!(world.err(conn, OpCode::SET_WATCHES, &negative), 0);
}

#[test]
fn set_watches_does_what_comes_before_a_null() {
    let mut world = World::new();
    let conn = world.connect();
    world.create(conn, "/old");
    let seen = zxid(&world);
    let lists = record(|writer| {
        writer.i64(seen);
        writer.len(3);
        writer.string("/old");
        writer.string("/gone");
        writer.i32(-1);
        writer.i32(1);
        writer.string("/later");
        writer.i32(0);
    });
    world.send(conn, &request(-8, OpCode::SET_WATCHES, &lists));
    let mut got = world.got(conn);
    let reply = got.pop().unwrap();
    assert_eq!((reply.xid, reply.zxid, reply.err), (-8, seen, -5));
    assert_eq!(events(&got), [(DELETED, "/gone".into())]);
    assert_eq!(
        step(&mut world, conn, OpCode::SET_DATA, &set_data("/old", b"")),
        [(CHANGED, "/old".into())]
    );
    assert_eq!(step(&mut world, conn, OpCode::CREATE, &make("/later")), []);
}

#[test]
fn watches_go_with_their_connection() {
    let mut world = World::new();
    let (conn, other) = (world.connect(), world.connect());
    for path in ["/a", "/b", "/c"] {
        world.ask(conn, OpCode::EXISTS, &path_watch(path, true));
    }
    assert!(world.front.is_watching());
    world.front.on_closed(conn);
    assert!(!world.front.is_watching());
    world.create(other, "/a");
    assert_eq!(world.got(conn), []);
}

#[test]
fn reports_name_sessions_by_path() {
    let mut world = World::new();
    let (one, two) = (world.connect(), world.connect());
    world.ask(two, OpCode::ADD_WATCH, &path_int("/x", 0));
    world.ask(one, OpCode::EXISTS, &path_watch("/x", true));
    world.ask(one, OpCode::GET_CHILDREN, &path_watch("/", true));
    let sessions = vec![world.session(one), world.session(two)];
    assert_eq!(world.front.watch_report(Default::default(), 99).0, [("/x".into(), sessions)]);
    let watches = world.front.report().watches;
    assert_eq!((watches.data, watches.child), (2, 2));
}
