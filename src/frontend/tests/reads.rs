//! Every read that a client may ask for, its zxid and its errors (docs/observed.md §1 to §9).

use super::*;

fn no_auth_node(world: &mut World, path: &str) {
    let owner = world.connect();
    let acl = [digest_acl("u:p", 31)];
    assert_eq!(world.err(owner, OpCode::CREATE, &create(path, b"secret", &acl, 0)), 0);
}

#[test]
fn get_data_and_exists_answer_with_the_trees_zxid() {
    let mut world = World::new();
    let conn = world.connect();
    world.create(conn, "/a");
    world.create(conn, "/b");
    let got = world.ask(conn, OpCode::GET_DATA, &path_watch("/a", false));
    assert_eq!((got.xid, got.zxid, got.err, got.data()), (40, 3, 0, Some(b"d".to_vec())));
    assert_eq!((got.stat().czxid, got.stat().data_length, got.body.len()), (2, 1, 4 + 1 + 68));
    let got = world.ask(conn, OpCode::EXISTS, &path_watch("/a", false));
    assert_eq!((got.zxid, got.err, got.body.len(), got.stat().czxid), (3, 0, 68, 2));
    let got = world.ask(conn, OpCode::GET_DATA, &path_watch("/none", false));
    assert_eq!((got.zxid, got.err, got.body), (3, -101, vec![]));
}

#[test]
fn null_data_is_null_and_empty_data_is_empty() {
    let mut world = World::new();
    let conn = world.connect();
    let null = record(|writer| {
        writer.string("/null");
        writer.i32(-1);
        crate::jute::data::write_acls(writer, &[Acl::open()]);
        writer.i32(0);
    });
    assert_eq!(world.err(conn, OpCode::CREATE, &null), 0);
    assert_eq!(world.err(conn, OpCode::CREATE, &create("/empty", b"", &[Acl::open()], 0)), 0);
    assert_eq!(world.ask(conn, OpCode::GET_DATA, &path_watch("/null", false)).data(), None);
    assert_eq!(
        world.ask(conn, OpCode::GET_DATA, &path_watch("/empty", false)).data(),
        Some(vec![])
    );
}

#[test]
fn b8_paths_of_reads_are_not_validated() {
    let mut world = World::new();
    let conn = world.connect();
    world.create(conn, "/px");
    for (path, exists, read) in [
        ("", 0, 0),
        ("/", 0, 0),
        ("abc", -101, -101),
        ("/px/", -101, -101),
        ("//", -101, -101),
        ("/px/.", -101, -101),
        ("/p\0x", -8, -101),
        ("/\u{1}", -101, -101),
        ("/\u{1f600}", -101, -101),
    ] {
        assert_eq!(world.err(conn, OpCode::EXISTS, &path_watch(path, false)), exists, "{path:?}");
        for op in [OpCode::GET_DATA, OpCode::GET_CHILDREN, OpCode::GET_CHILDREN2] {
            assert_eq!(world.err(conn, op, &path_watch(path, false)), read, "{path:?} {op:?}");
        }
        assert_eq!(world.err(conn, OpCode::GET_ACL, &super::path(path)), read, "{path:?}");
        assert_eq!(
            world.err(conn, OpCode::GET_ALL_CHILDREN_NUMBER, &super::path(path)),
            read,
            "{path:?}"
        );
    }
}

#[test]
fn children_and_their_number() {
    let mut world = World::new();
    let conn = world.connect();
    for path in ["/p", "/p/a", "/p/b", "/p/b/c"] {
        world.create(conn, path);
    }
    let got = world.ask(conn, OpCode::GET_CHILDREN, &path_watch("/p", false));
    assert_eq!((got.names(), got.body.len()), (vec!["a".to_owned(), "b".to_owned()], 4 + 5 + 5));
    let got = world.ask(conn, OpCode::GET_CHILDREN2, &path_watch("/p", false));
    assert_eq!((got.names(), got.stat().num_children), (vec!["a".to_owned(), "b".to_owned()], 2));
    let number = |got: Got| i32::from_be_bytes(got.body.try_into().unwrap());
    assert_eq!(number(world.ask(conn, OpCode::GET_ALL_CHILDREN_NUMBER, &path("/p"))), 3);
    // All but the root itself: four of ours and three of the system's.
    assert_eq!(number(world.ask(conn, OpCode::GET_ALL_CHILDREN_NUMBER, &path("/"))), 7);
}

#[test]
fn without_read_permission_reads_are_refused() {
    let mut world = World::new();
    no_auth_node(&mut world, "/s");
    let conn = world.connect();
    let reads = [OpCode::EXISTS, OpCode::GET_DATA, OpCode::GET_CHILDREN, OpCode::GET_CHILDREN2];
    for op in reads {
        assert_eq!(world.err(conn, op, &path_watch("/s", true)), -102, "{op:?}");
    }
    assert_eq!(
        world.front.report().watches,
        crate::watch::Counts::default(),
        "a refused read sets no watch"
    );
    assert_eq!(world.err(conn, OpCode::GET_ACL, &path("/s")), -102);
    assert_eq!(world.err(conn, OpCode::GET_ALL_CHILDREN_NUMBER, &path("/s")), -102);
    assert_eq!(world.err(conn, OpCode::AUTH, &auth_packet("digest", Some(b"u:p"))), 0);
    for op in reads {
        assert_eq!(world.err(conn, op, &path_watch("/s", false)), 0, "{op:?}");
    }
}

#[test]
fn get_acl_masks_digests_for_those_without_admin() {
    let mut world = World::new();
    let conn = world.connect();
    let list = [Acl { perms: 1, id: Id::new("world", "anyone") }, digest_acl("u:p", 31)];
    assert_eq!(world.err(conn, OpCode::CREATE, &create("/m", b"", &list, 0)), 0);
    let got = world.ask(conn, OpCode::GET_ACL, &path("/m"));
    assert_eq!(acls(&got), [list[0].clone(), Acl { perms: 31, id: Id::new("digest", "u:x") }]);
    world.ask(conn, OpCode::AUTH, &auth_packet("digest", Some(b"u:p")));
    let got = world.ask(conn, OpCode::GET_ACL, &path("/m"));
    assert_eq!((acls(&got), got.stat().czxid), (list.to_vec(), 2));
}

#[test]
fn get_ephemerals_shows_this_sessions_by_prefix() {
    let mut world = World::new();
    let (conn, other) = (world.connect(), world.connect());
    for path in ["/r1", "/r2", "/s"] {
        assert_eq!(world.err(conn, OpCode::CREATE, &create(path, b"", &[Acl::open()], 1)), 0);
    }
    for all in ["", " ", "/"] {
        assert_eq!(
            world.ask(conn, OpCode::GET_EPHEMERALS, &path(all)).names(),
            ["/r1", "/r2", "/s"],
            "{all:?}"
        );
    }
    let null = record(|writer| writer.i32(-1));
    assert_eq!(world.ask(conn, OpCode::GET_EPHEMERALS, &null).names().len(), 3);
    assert_eq!(world.ask(conn, OpCode::GET_EPHEMERALS, &path("/r")).names(), ["/r1", "/r2"]);
    assert!(world.ask(conn, OpCode::GET_EPHEMERALS, &path("r")).names().is_empty());
    assert!(world.ask(other, OpCode::GET_EPHEMERALS, &path("/")).names().is_empty());
}

#[test]
fn who_am_i_shows_users_and_no_hashes() {
    let mut world = World::new();
    let conn = world.connect();
    world.ask(conn, OpCode::AUTH, &auth_packet("digest", Some(b"user:secret")));
    let got = world.ask(conn, OpCode::WHO_AM_I, &[]);
    let mut reader = Reader::new(&got.body);
    assert_eq!(reader.i32(), Ok(2));
    let text = |reader: &mut Reader<'_>| reader.string().unwrap().unwrap().into_owned();
    let mut ids = [(); 2].map(|()| (text(&mut reader), text(&mut reader)));
    ids.sort();
    assert_eq!(ids, [("digest".into(), "user".into()), ("ip".into(), "10.0.0.1".into())]);
}

fn multi(ops: &[(OpCode, Vec<u8>)]) -> Vec<u8> {
    record(|writer| {
        for (op, record) in ops {
            crate::proto::write_multi_header(writer, *op, false, ErrorCode(-1));
            writer.raw(record);
        }
        crate::proto::write_multi_header(writer, OpCode(-1), true, ErrorCode(-1));
    })
}

#[test]
fn multi_read_goes_on_after_an_error() {
    let mut world = World::new();
    let conn = world.connect();
    world.create(conn, "/a");
    let ops = [
        (OpCode::GET_DATA, path_watch("/a", true)),
        (OpCode::GET_DATA, path_watch("/none", false)),
        (OpCode::GET_CHILDREN, path_watch("/", false)),
    ];
    let got = world.ask(conn, OpCode::MULTI_READ, &multi(&ops));
    assert_eq!((got.err, got.zxid), (0, 2));
    let mut reader = Reader::new(&got.body);
    let head = |reader: &mut Reader<'_>| {
        (reader.i32().unwrap(), reader.bool().unwrap(), reader.i32().unwrap())
    };
    assert_eq!(head(&mut reader), (4, false, 0));
    assert_eq!(reader.buffer(), Ok(Some(&b"d"[..])));
    assert_eq!(Stat::read(&mut reader).unwrap().czxid, 2);
    assert_eq!((head(&mut reader), reader.i32()), ((-1, false, -101), Ok(-101)));
    assert_eq!(head(&mut reader), (8, false, 0));
    assert_eq!(reader.strings().unwrap().unwrap().len(), 2);
    assert_eq!((head(&mut reader), reader.rest().len()), ((-1, true, -1), 0));
    assert_eq!(world.front.report().watches.data, 0, "the watch flag of a sub-read means nothing");
}

#[test]
fn multi_read_empty_mixed_or_of_writes() {
    let mut world = World::new();
    let conn = world.connect();
    let end = multi(&[]);
    let got = world.ask(conn, OpCode::MULTI_READ, &end);
    assert_eq!((got.err, got.zxid, &got.body), (0, 1, &end));
    let read = (OpCode::GET_DATA, path_watch("/", false));
    let write = (OpCode::DELETE, path_int("/a", -1));
    let got = world.ask(conn, OpCode::MULTI_READ, &multi(&[read.clone(), write.clone()]));
    assert_eq!((got.err, got.body.len()), (-5, 0));
    let got = world.ask(conn, OpCode::MULTI_READ, &multi(&[write]));
    assert_eq!((got.err, &got.body), (-5, &end));
    let got = world.ask(
        conn,
        OpCode::MULTI_READ,
        &multi(&[read.clone(), (OpCode::GET_DATA, vec![255, 255, 255, 255, 0])]),
    );
    assert_eq!(got.err, -5);
    let got = world.ask(conn, OpCode::MULTI_READ, &multi(&[read])[..12]);
    assert_eq!((got.err, got.body.len()), (-5, 0), "no end header");
}

/// B22: one request can ask for the same node again and again.
#[test]
fn a_multi_read_that_grows_too_long_is_refused() {
    let mut world = World::new();
    let conn = world.connect();
    let data = vec![7; 1_000_000];
    assert_eq!(world.err(conn, OpCode::CREATE, &create("/a", &data, &[Acl::open()], 0)), 0);
    let times = crate::limits::REPLY_BYTES_MAX / data.len();
    let ops = vec![(OpCode::GET_DATA, path_watch("/a", false)); times + 1];
    let got = world.ask(conn, OpCode::MULTI_READ, &multi(&ops));
    assert_eq!((got.err, got.body.len()), (-5, 0));
    let got = world.ask(conn, OpCode::MULTI_READ, &multi(&ops[..10]));
    assert_eq!((got.err, got.body.len() > 10 * data.len()), (0, true));
}

#[test]
fn null_strings_are_answered_op_by_op() {
    let mut world = World::new();
    let conn = world.connect();
    let null = |tail: &[u8]| [&(-1i32).to_be_bytes(), tail].concat();
    for op in [OpCode::EXISTS, OpCode::GET_DATA, OpCode::GET_CHILDREN, OpCode::GET_CHILDREN2] {
        assert_eq!(world.err(conn, op, &null(&[0])), -5, "{op:?}");
    }
    for op in [OpCode::GET_ACL, OpCode::GET_ALL_CHILDREN_NUMBER] {
        assert_eq!(world.err(conn, op, &null(&[])), -5, "{op:?}");
    }
    for op in [OpCode::CHECK_WATCHES, OpCode::REMOVE_WATCHES] {
        assert_eq!(world.err(conn, op, &null(&3i32.to_be_bytes())), -121, "{op:?}");
    }
    assert_eq!(world.err(conn, OpCode::ADD_WATCH, &null(&0i32.to_be_bytes())), -5);
    assert_eq!(world.err(conn, OpCode::PING, &[]), 0);
}

#[test]
fn ping_answers_with_its_own_xid_and_others_echo_theirs() {
    let mut world = World::new();
    let conn = world.connect();
    let got = world.ask(conn, OpCode::PING, b"junk");
    assert_eq!((got.xid, got.zxid, got.err, got.body.len()), (-2, 1, 0, 0));
    for xid in [i32::MIN, -7, 0, 5, 5, 3] {
        world.send(conn, &request(xid, OpCode::EXISTS, &path_watch("/", false)));
        assert_eq!(world.got(conn)[0].xid, xid);
    }
}

#[test]
fn sync_and_failed_writes_go_to_the_quorum_core() {
    let mut world = World::new();
    let conn = world.connect();
    let got = world.ask(conn, OpCode::SYNC, &path("anything"));
    assert_eq!((got.err, got.zxid, got.body), (0, 1, path("anything")));
    let got = world.ask(conn, OpCode::SET_DATA, &set_data("/none", b"x"));
    assert_eq!((got.err, got.zxid, got.body.len()), (-101, 2, 0));
    let got = world.ask(conn, OpCode::CREATE2, &create("/c", b"", &[Acl::open()], 0));
    assert_eq!((got.err, got.zxid, got.stat().czxid), (0, 3, 3));
}
