//! The bad-input matrix on the client port: each row gets the right answer or a closed connection,
//! and nobody else notices.

use super::*;

/// A second connection that must be served as if nothing had happened.
fn with_witness(test: impl FnOnce(&mut World, ConnId)) {
    let mut world = World::new();
    let (witness, conn) = (world.connect(), world.connect());
    test(&mut world, conn);
    assert_eq!(world.err(witness, OpCode::EXISTS, &path_watch("/", false)), 0);
    assert!(!world.is_closed(witness));
}

#[test]
fn b1_frame_lengths_that_no_frame_may_have() {
    for len in [0, -1, i32::MIN, 0x10_0000, i32::MAX] {
        with_witness(|world, conn| {
            world.send(conn, &len.to_be_bytes());
            assert!(
                world.is_closed(conn) && world.got(conn).is_empty(),
                "length {len} in a session"
            );
            let fresh = world.accept();
            world.send(fresh, &len.to_be_bytes());
            assert!(
                world.is_closed(fresh) && world.got(fresh).is_empty(),
                "length {len} before one"
            );
        });
    }
    with_witness(|world, conn| {
        for byte in i32::MAX.to_be_bytes() {
            assert!(!world.is_closed(conn));
            world.send(conn, &[byte]);
        }
        assert!(world.is_closed(conn));
    });
}

#[test]
fn b1_the_largest_frame_is_served() {
    with_witness(|world, conn| {
        let mut body = record(|writer| {
            writer.i32(5);
            writer.i32(OpCode::EXISTS.0);
            writer.string("/");
            writer.bool(false);
        });
        body.resize(0xf_ffff, 0);
        for piece in frame(&body).chunks(60_000) {
            world.send(conn, piece);
        }
        assert_eq!(world.got(conn)[0].err, 0);
        assert_eq!(
            world.front.connections.get(conn).unwrap().input.capacity(),
            0,
            "large input is given back"
        );
    });
}

#[test]
fn b1_a_frame_too_short_for_its_header_closes() {
    for len in 1..8 {
        with_witness(|world, conn| {
            world.send(conn, &frame(&vec![0; len]));
            assert!(world.is_closed(conn) && world.got(conn).is_empty());
        });
    }
}

#[test]
fn b2_memory_grows_with_bytes_and_not_with_announced_lengths() {
    with_witness(|world, conn| {
        world.send(conn, &0xf_ffff_i32.to_be_bytes());
        for _ in 0..100 {
            world.send(conn, &[0; 10]);
        }
        let held = world.front.connections.get(conn).unwrap().input.capacity();
        assert!((1004..=2048).contains(&held), "{held} bytes held for 1004 received");
        world.tick(60_000);
        assert!(!world.is_closed(conn), "in a session there is no deadline for a frame");
    });
}

#[test]
fn b2_a_connection_without_a_session_has_20_seconds_however_it_drips() {
    let mut world = World::new();
    let conn = world.accept();
    for byte in [0, 0, 0, 44, 0, 0, 0, 0, 0, 0] {
        world.tick(1999);
        assert!(!world.is_closed(conn));
        world.send(conn, &[byte]);
    }
    world.tick(9);
    assert!(!world.is_closed(conn));
    world.tick(1);
    assert!(world.is_closed(conn) && world.got(conn).is_empty());
    assert_eq!(world.front.report().counts.closed.of(CloseReason::NoSession), 1);
}

#[test]
fn b2_the_deadline_counts_while_the_session_is_asked_for() {
    let mut world = World::new();
    world.commits_at_once = false;
    let conn = world.accept();
    world.send(conn, &connect_request(0, 5000, 0, &[0; 16], Some(false)));
    world.tick(19_999);
    assert!(!world.is_closed(conn));
    world.tick(1);
    assert!(world.is_closed(conn) && world.got(conn).is_empty());
}

#[test]
fn b3_b4_b5_records_that_do_not_decode_are_answered_and_the_connection_stays() {
    with_witness(|world, conn| {
        let len = |len: i32, rest: &[u8]| [&len.to_be_bytes(), rest].concat();
        let reads = [
            OpCode::EXISTS,
            OpCode::GET_DATA,
            OpCode::GET_CHILDREN,
            OpCode::GET_CHILDREN2,
            OpCode::GET_ACL,
        ];
        for op in reads {
            for bad in [
                len(9, b"/a\0"),
                len(-2, b"/a"),
                len(i32::MAX, b"/a"),
                len(2_097_151, b""),
                vec![0, 0],
                vec![],
            ] {
                assert_eq!(world.err(conn, op, &bad), -5, "{op:?} {bad:?}");
            }
        }
        let mut huge_count = [0; 12].to_vec();
        huge_count[8..].copy_from_slice(&i32::MAX.to_be_bytes());
        assert_eq!(world.err(conn, OpCode::SET_WATCHES, &huge_count), -5);
        assert_eq!(world.err(conn, OpCode::MULTI_READ, &[1, 2, 3]), -5);
        assert_eq!(world.err(conn, OpCode::ADD_WATCH, &path("/a")), -5);
        assert_eq!(world.err(conn, OpCode::CHECK_WATCHES, &path("/a")), -5);
        assert_eq!(world.err(conn, OpCode::PING, &[]), 0);
        assert!(!world.is_closed(conn));
    });
}

#[test]
fn b3_auth_sasl_and_connect_requests_that_do_not_decode_close() {
    for (op, record) in [
        (OpCode::AUTH, vec![0, 0, 0, 0, 0, 0, 0, 9]),
        (OpCode::SASL, vec![0, 0]),
        (OpCode::SASL, (-1i32).to_be_bytes().to_vec()),
    ] {
        with_witness(|world, conn| {
            world.send(conn, &request(1, op, &record));
            assert!(world.is_closed(conn) && world.got(conn).is_empty(), "{op:?}");
        });
    }
    let whole = connect_request(0, 5000, 0, &[0; 16], None);
    for end in 4..whole.len() - 4 {
        with_witness(|world, _| {
            let fresh = world.accept();
            world.send(fresh, &frame(&whole[4..end]));
            assert!(world.is_closed(fresh) && world.got(fresh).is_empty(), "cut to {end}");
        });
    }
}

#[test]
fn b6_trailing_bytes_are_ignored_and_a_missing_last_field_is_not() {
    with_witness(|world, conn| {
        let trailing = [path_watch("/", false), vec![9; 40]].concat();
        assert_eq!(world.err(conn, OpCode::GET_DATA, &trailing), 0);
        assert_eq!(world.err(conn, OpCode::GET_DATA, &path("/")), -5);
        let odd_bool = [path("/"), vec![7]].concat();
        assert_eq!(world.err(conn, OpCode::GET_DATA, &odd_bool), 0);
        assert!(world.front.is_watching());
    });
}

#[test]
fn b7_invalid_utf_8_is_replaced_and_names_no_node() {
    with_witness(|world, conn| {
        let bad = [&3i32.to_be_bytes()[..], b"/\xff\xfe", &[1]].concat();
        assert_eq!(world.err(conn, OpCode::EXISTS, &bad), -101);
        assert_eq!(
            world.front.watch_report(Default::default(), 99).0[0].0,
            "/\u{fffd}\u{fffd}".into()
        );
    });
}

/// The bytes of a path are looked up as they came; what is no UTF-8 still means what Java makes of
/// it, for the data and for the watch.
#[test]
fn b7_get_data_finds_the_node_that_replaced_bytes_name() {
    with_witness(|world, conn| {
        world.create(conn, "/\u{fffd}\u{fffd}");
        world.create(conn, "/gr\u{fc}n");
        for (path, watched) in
            [(&b"/\xff\xfe"[..], "/\u{fffd}\u{fffd}"), (b"/gr\xc3\xbcn", "/gr\u{fc}n")]
        {
            let length = i32::try_from(path.len()).unwrap().to_be_bytes();
            let record = [&length[..], path, &[1]].concat();
            assert_eq!(world.err(conn, OpCode::GET_DATA, &record), 0, "{watched}");
            let report = world.front.watch_report(Default::default(), 99).0;
            assert!(report.iter().any(|(path, _)| **path == *watched), "{report:?}");
        }
        let none = [&3i32.to_be_bytes()[..], b"/\xff\x00", &[0]].concat();
        assert_eq!(world.err(conn, OpCode::GET_DATA, &none), -101);
    });
}

#[test]
fn b9_very_long_and_very_deep_paths() {
    with_witness(|world, conn| {
        for long in ["/a".repeat(500_000), format!("/{}", "x".repeat(1_000_000))] {
            assert_eq!(world.err(conn, OpCode::EXISTS, &path_watch(&long, true)), -101);
            assert_eq!(world.err(conn, OpCode::ADD_WATCH, &path_int(&long, 1)), 0);
        }
        world.create(conn, "/a");
    });
}

#[test]
fn b12_operations_that_no_client_may_send() {
    for op in [0, 10, 13, 20, 23, 24, 99, 108, -1, -2, -3, -10, -12, i32::MAX] {
        with_witness(|world, conn| {
            let mut bytes = request(3, OpCode(op), &path("/a"));
            bytes.extend(request(4, OpCode::PING, &[]));
            world.send(conn, &bytes);
            let got = world.got(conn);
            assert_eq!(got.len(), 1);
            assert_eq!(
                (got[0].xid, got[0].zxid, got[0].err, got[0].body.len()),
                (3, -1, -6, 0),
                "op {op}"
            );
            assert!(world.is_closed(conn));
        });
    }
}

#[test]
fn b13_requests_before_connect_and_a_second_connect_request() {
    with_witness(|world, conn| {
        let fresh = world.accept();
        world.send(fresh, &request(1, OpCode::GET_DATA, &path_watch("/a", false)));
        assert!(world.is_closed(fresh) && world.got(fresh).is_empty());
        world.send(conn, &connect_request(0, 5000, 0, &[0; 16], Some(false)));
        let got = world.got(conn);
        assert_eq!((got[0].xid, got[0].zxid, got[0].err), (0, -1, -6));
        assert!(world.is_closed(conn));
    });
}

#[test]
fn b17_auth_of_every_kind() {
    with_witness(|world, conn| {
        for data in [&b"a:b"[..], b"nocolon", b"", b":", b"a:b:c", b"a:b"] {
            let got = world.ask(conn, OpCode::AUTH, &auth_packet("digest", Some(data)));
            assert_eq!((got.err, got.zxid), (0, 0));
        }
        assert_eq!(world.err(conn, OpCode::AUTH, &auth_packet("ip", Some(b"1.2.3.4"))), 0);
        assert_eq!(
            world.front.connections.get(conn).unwrap().auth.len(),
            6,
            "five digests and the address"
        );
        let got = world.ask(conn, OpCode::SASL, &record(|writer| writer.buffer(Some(b"token"))));
        assert_eq!((got.err, got.zxid, got.body), (0, 0, (-1i32).to_be_bytes().to_vec()));
        assert!(!world.is_closed(conn));
    });
    for (scheme, data) in [
        ("", Some(&b"x"[..])),
        ("world", Some(b"anyone")),
        ("auth", Some(b"x")),
        ("super", Some(b"x")),
        ("x509", Some(b"x")),
        ("sasl", Some(b"x")),
        ("DIGEST", Some(b"a:b")),
        ("digest", None),
    ] {
        with_witness(|world, conn| {
            let mut bytes = request(-4, OpCode::AUTH, &auth_packet(scheme, data));
            bytes.extend(request(1, OpCode::PING, &[]));
            world.send(conn, &bytes);
            let got: Vec<_> =
                world.got(conn).iter().map(|got| (got.xid, got.zxid, got.err)).collect();
            assert_eq!(got, [(-4, 0, -115)], "{scheme}");
            assert!(world.is_closed(conn));
        });
    }
}

#[test]
fn b25_tls_http_and_telnet_are_closed_at_the_fourth_byte() {
    for bytes in
        [&b"GET / HTTP/1.1\r\n"[..], &[0x16, 3, 1, 0, 0xa5], &[0xff, 0xf4, 0xff, 0xfd], b"none"]
    {
        let mut world = World::new();
        let conn = world.accept();
        world.send(conn, &bytes[..3]);
        assert!(!world.is_closed(conn));
        world.send(conn, &bytes[3..4]);
        assert!(world.is_closed(conn) && world.got(conn).is_empty() && world.words.is_empty());
    }
}

#[test]
fn b27_words_are_the_first_four_bytes_in_any_pieces() {
    for pieces in [
        vec!["ruok"],
        vec!["ruok\n"],
        vec!["ruokruok"],
        vec!["r", "u", "ok"],
        vec!["ruo", "k", "ruok"],
    ] {
        let mut world = World::new();
        let conn = world.accept();
        for piece in pieces {
            world.send(conn, piece.as_bytes());
        }
        assert_eq!(world.words, [(*b"ruok", None)]);
        assert_eq!(world.sent[&conn.slot], b"imok");
        assert!(world.is_closed(conn));
    }
    let mut world = World::new();
    let conn = world.accept();
    world.send(conn, b"RUOK");
    assert!(world.is_closed(conn) && world.words.is_empty());
    let session = world.connect();
    world.send(session, b"ruok");
    assert!(world.is_closed(session) && world.words.is_empty(), "in a session it is a length");
    let fresh = world.accept();
    world.send(fresh, b"stmk\0\0\0\0\0\0\x01\x32");
    assert_eq!(world.words, [(*b"stmk", Some(306))]);
    let cut = world.accept();
    world.send(cut, b"stmk\0\0");
    assert_eq!(
        world.words[1..],
        [(*b"stmk", None)],
        "the whitelist is asked before the mask is missed"
    );
    assert!(world.is_closed(cut));
}

#[test]
fn frames_cut_at_every_byte_are_served_alike() {
    let mut bytes = request(1, OpCode::EXISTS, &path_watch("/", false));
    bytes.extend(request(2, OpCode::CREATE, &create("/cut", b"", &[Acl::open()], 0)));
    bytes.extend(request(3, OpCode::GET_DATA, &path_watch("/cut", false)));
    bytes.extend(request(-2, OpCode::PING, &[]));
    for first in 0..bytes.len() {
        let mut world = World::new();
        let conn = world.connect();
        let (head, tail) = bytes.split_at(first);
        for piece in [head, tail] {
            world.send(conn, piece);
        }
        let got: Vec<_> = world.got(conn).iter().map(|got| (got.xid, got.err)).collect();
        assert_eq!(got, [(1, 0), (2, 0), (3, 0), (-2, 0)], "cut at {first}");
    }
    let mut world = World::new();
    let conn = world.connect();
    bytes.iter().for_each(|byte| world.send(conn, &[*byte]));
    assert_eq!(world.got(conn).len(), 4);
}
