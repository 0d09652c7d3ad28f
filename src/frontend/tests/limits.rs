//! Bounds: what happens at each, and that it ends.

use super::*;

fn make(path: &str) -> Vec<u8> {
    create(path, b"", &[Acl::open()], 0)
}

#[test]
fn b18_auth_ids_are_bounded_and_repeats_are_free() {
    let mut world = World::new();
    let conn = world.connect();
    for _ in 0..3 {
        for i in 0..50 {
            let user = format!("user{i}:p");
            assert_eq!(
                world.err(conn, OpCode::AUTH, &auth_packet("digest", Some(user.as_bytes()))),
                0
            );
        }
    }
    let wide = [vec![b'u'; 65_536], b":p".to_vec()].concat();
    assert_eq!(world.err(conn, OpCode::AUTH, &auth_packet("digest", Some(&wide))), -115);
    assert!(world.is_closed(conn));

    let config = FrontendConfig { auth_ids_max: 3, ..FrontendConfig::default() };
    let mut world = World::with(config);
    let conn = world.connect();
    for (user, err) in [("a:", 0), ("b:", 0), ("a:", 0), ("c:", -115)] {
        assert_eq!(
            world.err(conn, OpCode::AUTH, &auth_packet("digest", Some(user.as_bytes()))),
            err,
            "{user}"
        );
    }
}

#[test]
fn b19_watch_budgets_refuse_one_more_watch_but_no_read_without() {
    let config = FrontendConfig { watches_per_connection_max: 2, ..FrontendConfig::default() };
    let mut world = World::with(config);
    let conn = world.connect();
    for (path, err) in [("/a", -101), ("/b", -101), ("/c", -127), ("/a", -101)] {
        assert_eq!(world.err(conn, OpCode::EXISTS, &path_watch(path, true)), err, "{path}");
    }
    assert_eq!(world.err(conn, OpCode::ADD_WATCH, &path_int("/d", 0)), -127);
    assert_eq!(world.err(conn, OpCode::EXISTS, &path_watch("/c", false)), -101);
    assert_eq!(world.front.report().watches.data, 2);
    // A client that comes back with more is not left with half of its watches.
    let lists = record(|writer| {
        writer.i64(i64::MAX);
        writer.len(0);
        writer.len(3);
        ["/x", "/y", "/z"].iter().for_each(|path| writer.string(path));
        writer.len(0);
    });
    world.send(conn, &request(-8, OpCode::SET_WATCHES, &lists));
    assert!(world.is_closed(conn) && world.got(conn).is_empty());
}

/// A shell that does not send: the client reads nothing.
fn flood(world: &mut World, conn: ConnId, requests: usize) {
    let mut bytes = Vec::new();
    for xid in 0..requests {
        bytes.extend(request(xid as i32, OpCode::GET_DATA, &path_watch("/big", false)));
    }
    world.receive(conn, &bytes);
}

fn big_world() -> (World, ConnId) {
    let mut world = World::new();
    let conn = world.connect();
    assert_eq!(
        world.err(conn, OpCode::CREATE, &create("/big", &[7; 300_000], &[Acl::open()], 0)),
        0
    );
    (world, conn)
}

#[test]
fn b21_a_client_that_does_not_read_is_not_served_on() {
    let (mut world, conn) = big_world();
    flood(&mut world, conn, 2000);
    let queued = world.front.output(conn).len();
    assert!((8 << 20..9 << 20).contains(&queued), "{queued} bytes queued");
    let mut answered = 0;
    while answered < 2000 {
        world.pump();
        world.drain(conn);
        world.serve_all();
        let got = world.got(conn);
        assert!(!got.is_empty(), "stuck after {answered} replies");
        assert!(got.iter().zip(answered..).all(|(got, xid)| got.xid == xid));
        answered += got.len() as i32;
    }
    world.pump();
    assert!(!world.is_closed(conn) && world.paused.is_empty());
}

#[test]
fn b21_reading_is_paused_and_taken_up_again() {
    let (mut world, conn) = big_world();
    flood(&mut world, conn, 10_000);
    let mut paused = false;
    while let Some(effect) = world.front.poll() {
        paused |= matches!(effect, Effect::PauseReading(_));
    }
    assert!(paused);
    world.paused.push(conn);
    for _ in 0..400 {
        world.drain(conn);
        world.serve_all();
        world.pump();
        world.sent.clear();
    }
    assert!(world.paused.is_empty());
    assert_eq!(world.err(conn, OpCode::PING, &[]), 0);
}

#[test]
fn b21_a_client_that_reads_nothing_for_a_session_timeout_is_closed() {
    let (mut world, conn) = big_world();
    flood(&mut world, conn, 100);
    while world.front.poll().is_some() {}
    for _ in 0..9 {
        world.tick(1000);
        assert!(!world.is_closed(conn));
    }
    // One byte read starts the patience anew.
    world.front.on_sent(conn, 1);
    for _ in 0..10 {
        world.tick(1000);
        assert!(!world.is_closed(conn));
    }
    world.tick(1000);
    assert!(world.is_closed(conn));
    assert_eq!(world.front.report().counts.closed.of(CloseReason::SlowReader), 1);
    assert_eq!(world.front.output(conn).capacity(), 0, "its output is gone");
}

#[test]
fn b20_events_that_are_not_read_close_the_connection_and_are_never_dropped_alone() {
    let config = FrontendConfig { out_bytes_max: 10_000, ..FrontendConfig::default() };
    let mut world = World::with(config);
    let (watcher, writer) = (world.connect(), world.connect());
    world.create(writer, "/w");
    world.ask(watcher, OpCode::ADD_WATCH, &path_int("/w", 0));
    let mut events = 0;
    while world.front.connections.get(watcher).unwrap().phase != super::super::Phase::Closed {
        world.receive(writer, &request(1, OpCode::SET_DATA, &set_data("/w", b"")));
        let Some(Effect::ToQuorum(message)) = std::iter::from_fn(|| world.front.poll())
            .find(|effect| matches!(effect, Effect::ToQuorum(_)))
        else {
            panic!("the write was not handed over")
        };
        world.queue.push_back(message);
        let mut items = Vec::new();
        let Some(ToQuorum::Request(request)) = world.queue.pop_front() else {
            panic!("it is a request")
        };
        world.commit_request(request, &mut items);
        let commit = CommitBatch { zxid: world.tree.last_zxid(), items };
        world.deliver(vec![ToShard::Commit(commit)]);
        world.drain(writer);
        events += 1;
    }
    assert_eq!(events, 10_000 / 34 + 1, "an event of /w takes 34 bytes");
    assert!(!world.front.is_watching());
}

#[test]
fn outstanding_requests_are_bounded_and_all_are_served_in_the_end() {
    let config = FrontendConfig { outstanding_max: 10, shards: 1, ..FrontendConfig::default() };
    let mut world = World::with(config);
    let conns = [(); 4].map(|()| world.connect());
    world.create(conns[0], "/n");
    world.commits_at_once = false;
    for conn in conns {
        let mut bytes = Vec::new();
        for xid in 0..8 {
            bytes.extend(request(xid, OpCode::SET_DATA, &set_data("/n", b"")));
        }
        world.send(conn, &bytes);
    }
    assert_eq!((world.queue.len(), world.front.report().outstanding), (10, 10));
    let reader = world.accept();
    world.send(reader, &connect_request(0, 5000, 0, &[], None));
    for _ in 0..20 {
        world.commit(3);
        assert!(world.front.report().outstanding <= 10);
    }
    for conn in conns {
        let xids: Vec<_> = world.got(conn).iter().map(|got| got.xid).collect();
        assert_eq!(xids, (0..8).collect::<Vec<_>>());
    }
    assert!(!world.front.has_work());
}

#[test]
fn requests_of_connections_that_have_gone_count_until_they_are_answered() {
    let config = FrontendConfig { outstanding_max: 10, ..FrontendConfig::default() };
    let mut world = World::with(config);
    let conn = world.connect();
    world.create(conn, "/n");
    world.commits_at_once = false;
    for _ in 0..50 {
        let conn = world.accept();
        world.send(conn, &connect_request(0, 5_000, 0, &[], None));
        world.front.on_closed(conn);
        world.pump();
        assert!(world.queue.len() <= 10, "{} in process at a limit of 10", world.queue.len());
    }
    let mut bytes = Vec::new();
    for xid in 0..20 {
        bytes.extend(request(xid, OpCode::SET_DATA, &set_data("/n", b"")));
    }
    world.send(conn, &bytes);
    assert_eq!((world.queue.len(), world.front.report().outstanding), (10, 10));
    world.commit(4);
    assert_eq!(
        (world.queue.len(), world.front.report().outstanding),
        (10, 10),
        "answers for nobody make room"
    );
    world.front.on_closed(conn);
    world.pump();
    assert_eq!(world.front.report().outstanding, 10);
    world.commit(99);
    assert_eq!(world.front.report().outstanding, 0);
    assert!(world.front.shard.forgotten.is_empty());
}

#[test]
fn b20_a_reader_that_keeps_up_is_not_closed_however_many_events_there_are() {
    let config = FrontendConfig { out_bytes_max: 10_000, ..FrontendConfig::default() };
    let mut world = World::with(config);
    let watcher = world.connect();
    world.ask(watcher, OpCode::ADD_WATCH, &path_int("/w", 0));
    let event =
        Event { zxid: Zxid(1), kind: EventType::NodeDataChanged, path: "/w".into(), acl: None };
    let item = BatchItem::Event(event.into());
    world.tree.set_last_zxid(Zxid(9));
    for _ in 0..2_000 {
        // Ten events come while the ten before leave: something is always unsent.
        world.deliver(vec![ToShard::Commit(CommitBatch {
            zxid: Zxid(9),
            items: vec![item.clone(); 10],
        })]);
        let unsent = world.front.connections.get(watcher).unwrap().unsent.bytes();
        world.front.on_sent(watcher, unsent.saturating_sub(100));
    }
    world.pump();
    assert!(!world.is_closed(watcher));
    assert_eq!(world.front.report().counts.events, 20_000);
}

#[test]
fn b21_a_client_that_reads_slowly_stays_and_its_session_lives() {
    let (mut world, conn) = big_world();
    flood(&mut world, conn, 10_000);
    while world.front.poll().is_some() {}
    let session = world.session(conn);
    for _ in 0..60 {
        world.touches.clear();
        // The shell has taken all there is; a little of it leaves in every session timeout.
        world.front.output(conn).clear();
        world.front.on_sent(conn, 128 << 10);
        world.tick(9_000);
        assert!(!world.is_closed(conn));
        assert!(
            world.touches.iter().any(|(touched, _)| *touched == session),
            "its pings wait behind its requests"
        );
    }
}

#[test]
fn large_requests_are_bounded_while_they_are_in_process() {
    let config = FrontendConfig {
        large_request_bytes: Some(1000),
        large_request_bytes_max: 5000,
        ..FrontendConfig::default()
    };
    let mut world = World::with(config);
    let (conn, other) = (world.connect(), world.connect());
    world.create(conn, "/n");
    world.commits_at_once = false;
    let large = request(1, OpCode::SET_DATA, &set_data("/n", &[0; 2000]));
    world.send(conn, &large);
    world.send(conn, &large);
    world.send(other, &large);
    assert!(world.is_closed(other) && !world.is_closed(conn));
    assert_eq!(world.front.report().counts.closed.of(CloseReason::LargeRequests), 1);
    world.commit(9);
    world.send(conn, &large);
    world.commit(9);
    assert_eq!(world.got(conn).len(), 3);
}

/// A world in which requests above 1000 bytes are large, and so many bytes of them may be in
/// process; a request is a frame of so many bytes.
fn with_large(max: usize) -> (World, ConnId, impl Fn(usize) -> Vec<u8>) {
    let config = FrontendConfig {
        large_request_bytes: Some(1000),
        large_request_bytes_max: max,
        ..FrontendConfig::default()
    };
    let mut world = World::with(config);
    let conn = world.connect();
    world.create(conn, "/n");
    world.commits_at_once = false;
    let beside = request(1, OpCode::SET_DATA, &set_data("/n", b"")).len() - 4;
    let of = move |bytes| request(1, OpCode::SET_DATA, &set_data("/n", &vec![0; bytes - beside]));
    (world, conn, of)
}

#[test]
fn a_request_as_long_as_the_threshold_is_not_large_and_a_longer_one_is() {
    let (mut world, conn, of) = with_large(1000);
    (0..5).for_each(|_| world.send(conn, &of(1000)));
    assert_eq!((world.queue.len(), world.front.shard.large_bytes), (5, 0));
    world.send(conn, &of(1001));
    assert_eq!(world.reasons, [CloseReason::LargeRequests]);
}

#[test]
fn large_requests_may_have_all_of_their_bytes_and_not_one_more() {
    let (mut world, conn, of) = with_large(3300);
    (0..3).for_each(|_| world.send(conn, &of(1100)));
    assert_eq!((world.queue.len(), world.front.shard.large_bytes), (3, 3300));
    // One that is not large does not wait for them.
    world.send(conn, &of(900));
    assert_eq!((world.queue.len(), world.is_closed(conn)), (4, false));
    let (mut world, conn, of) = with_large(3299);
    (0..3).for_each(|_| world.send(conn, &of(1100)));
    assert_eq!((world.queue.len(), world.is_closed(conn)), (2, true));
}

#[test]
fn requests_are_served_until_more_is_unsent_than_may_be() {
    for (out_bytes_max, served) in [(39, 2), (40, 3), (41, 3)] {
        let mut world = World::with(FrontendConfig { out_bytes_max, ..FrontendConfig::default() });
        let conn = world.connect();
        let pings: Vec<u8> = (0..10).flat_map(|_| request(-2, OpCode::PING, &[])).collect();
        world.receive(conn, &pings);
        // The answer to a ping has 20 bytes.
        assert_eq!(world.front.output(conn).len(), served * 20, "at most {out_bytes_max}");
    }
}

#[test]
fn each_shard_has_its_part_of_the_outstanding_requests_and_one_at_least() {
    for (outstanding_max, shards, part) in [(12, 1, 12), (12, 2, 6), (12, 5, 2), (1, 4, 1)] {
        let config = FrontendConfig { outstanding_max, shards, ..FrontendConfig::default() };
        let mut world = World::with(config);
        let conn = world.connect();
        world.commits_at_once = false;
        let syncs: Vec<u8> = (0..50).flat_map(|i| request(i, OpCode::SYNC, &path("/"))).collect();
        world.send(conn, &syncs);
        assert_eq!(world.queue.len(), part, "{outstanding_max} for {shards}");
    }
}

#[test]
fn one_of_two_that_wait_for_the_quorum_core_takes_half_of_the_room() {
    let config = FrontendConfig { outstanding_max: 10, ..FrontendConfig::default() };
    let mut world = World::with(config);
    let conns = [(); 2].map(|()| world.connect());
    world.commits_at_once = false;
    let syncs: Vec<u8> = (0..20).flat_map(|xid| request(xid, OpCode::SYNC, &path("/"))).collect();
    conns.iter().for_each(|conn| world.send(*conn, &syncs));
    world.commit(10);
    let from = |message: &ToQuorum| match message {
        ToQuorum::Request(request) => request.origin.conn,
        other => panic!("only requests are left: {other:?}"),
    };
    let order: Vec<ConnId> = world.queue.iter().map(from).collect();
    assert_eq!(order.len(), 10);
    assert_eq!((&order[..5], order[5]), (&[conns[0]; 5][..], conns[1]));
}

/// Records up to an eighth of 64 KiB share an allocation of that size until it is used up.
#[test]
fn small_records_share_an_allocation_and_large_ones_have_their_own() {
    let mut world = World::new();
    let mut keep = |bytes| {
        let kept = world.front.shard.keep_record(&vec![7; bytes]);
        assert_eq!(kept[..], vec![7; bytes]);
        kept
    };
    let follows = |first: &bytes::Bytes, second: &bytes::Bytes| {
        first.as_ptr_range().end == second.as_ptr_range().start
    };
    let first = keep(8192);
    let large = keep(8193);
    let mut all: Vec<_> = std::iter::once(first).chain((1..8).map(|_| keep(8192))).collect();
    assert!(all.is_sorted_by(follows), "eight in a row fill it");
    assert!(all.iter().all(|small| !follows(small, &large)));
    all.push(keep(100));
    all.push(keep(100));
    assert!(!follows(&all[7], &all[8]) && follows(&all[8], &all[9]), "the next one");
}

#[test]
fn a_demanded_scheme_must_be_proven_before_anything_else() {
    let config =
        FrontendConfig { enforce_auth: Some(vec!["digest".into()]), ..FrontendConfig::default() };
    let mut world = World::with(config.clone());
    let conn = world.connect();
    let got = world.ask(conn, OpCode::PING, &[]);
    assert_eq!((got.xid, got.zxid, got.err), (40, 0, -124));
    assert!(world.is_closed(conn));
    assert_eq!(world.front.report().counts.sent, 2, "the answers to its connect and to its ping");
    let mut world = World::with(config);
    let conn = world.connect();
    assert_eq!(world.err(conn, OpCode::AUTH, &auth_packet("digest", Some(b"u:p"))), 0);
    assert_eq!(world.err(conn, OpCode::GET_DATA, &path_watch("/", false)), 0);
    assert_eq!(world.err(conn, OpCode::CREATE, &make("/a")), 0);
    assert!(!world.is_closed(conn));
}

#[test]
fn b24_an_idle_connection_is_small() {
    let mut world = World::new();
    let conn = world.connect();
    world.send(conn, &request(1, OpCode::GET_DATA, &path_watch("/", false)));
    world.send(conn, &request(2, OpCode::GET_DATA, &path_watch("/", false))[..9]);
    world.send(conn, &request(2, OpCode::GET_DATA, &path_watch("/", false))[9..]);
    world.drain(conn);
    let connection = world.front.connections.get(conn).unwrap();
    let heap = connection.input.capacity()
        + connection.out.capacity()
        + connection.pending.capacity() * 16;
    assert!(size_of_val(connection) + heap <= 512, "{} + {heap} bytes", size_of_val(connection));
}

#[test]
fn b15_who_guesses_passwords_is_answered_ever_more_slowly_and_leaves_nothing_behind() {
    let mut world = World::new();
    let living = world.connect();
    let session = world.session(living);
    for i in 0..5000i64 {
        let conn = ConnId { slot: 1, generation: i as u32 };
        world.front.on_accept(conn, "10.0.0.9:1".parse().unwrap(), world.now);
        world.send(conn, &connect_request(session.0, 5000, 0, &i.to_be_bytes(), Some(false)));
        assert_eq!(world.closed.pop(), Some(conn));
        world.front.on_closed(conn);
    }
    let answered = world.sent.remove(&1).unwrap_or_default();
    assert_eq!(
        answered.len(),
        100 * 41,
        "a hundred wrong passwords are answered, the others only closed"
    );
    world.tick(20_000);
    assert_eq!(world.front.report().connections, 1);
    assert_eq!((world.front.shard.sessionless.len(), world.front.shard.sessions.len()), (0, 1));
    assert_eq!(world.err(living, OpCode::PING, &[]), 0);
}

/// The last operation as `cons` shows it: `lop=` and `lcxid=`.
#[test]
fn the_last_operation_is_told_as_apache_tells_it() {
    let mut world = World::new();
    let conn = world.connect();
    let mut last = |xid, op, record: &[u8]| {
        world.send(conn, &request(xid, op, record));
        let report = world.front.connections(0, 99).0.remove(0);
        (report.last_op, report.last_xid)
    };
    assert_eq!(last(1, OpCode::CREATE, &make("/a")), ("CREA", 1));
    assert_eq!(last(-2, OpCode::PING, &[]), ("PING", 1));
    assert_eq!(last(2, OpCode::WHO_AM_I, &[]), ("HOMI", 2));
    assert_eq!(last(-4, OpCode::AUTH, &auth_packet("digest", Some(b"u:p"))), ("HOMI", 2));
    assert_eq!(last(3, OpCode::GET_DATA, &path_watch("/absent", false)), ("GETD", 3));
    assert_eq!(
        last(4, OpCode::CREATE, &make("/a")),
        ("NA", 4),
        "a write that was refused has no name"
    );
}

#[test]
fn connections_are_counted_and_a_piece_that_ends_with_the_last_slot_is_the_last() {
    let mut world = World::new();
    assert_eq!(world.front.report().connections, 0);
    let conns = [(); 4].map(|()| world.connect());
    assert_eq!(world.front.report().connections, 4);
    let piece = |world: &World, from| {
        let (reports, next) = world.front.connections(from, 2);
        (reports.len(), next)
    };
    assert_eq!((piece(&world, 0), piece(&world, 2)), ((2, Some(2)), (2, None)));
    world.front.on_closed(conns[3]);
    assert_eq!((piece(&world, 2), world.front.report().connections), ((1, None), 3));
}

#[test]
fn reports_count_requests_and_latencies() {
    let mut world = World::new();
    let conn = world.connect();
    world.commits_at_once = false;
    world.send(conn, &request(5, OpCode::CREATE, &make("/a")));
    assert_eq!(world.front.connections(0, 99).0[0].queued, 1);
    world.now.mono_ms += 30;
    world.commit(1);
    let report = world.front.connections(0, 99).0.remove(0);
    assert_eq!((report.queued, report.received, report.sent), (0, 2, 2));
    assert_eq!((report.last_op, report.last_xid, report.last_zxid), ("CREA", 5, 2));
    assert_eq!((report.latency.min, report.latency.max, report.latency.last), (0, 30, 30));
    assert_eq!((report.timeout_ms, report.session.0), (10_000, FIRST_SESSION));
    let shard = world.front.report();
    let counts = shard.counts;
    assert_eq!((counts.received, counts.sent, counts.latency().max), (2, 2, 30));
    let (all, reads) = (counts.latency(), counts.traffic.reads.latency);
    assert_eq!((all.count, all.sum), (1 + reads.count, 30), "of reads and updates");
    assert_eq!(shard.connections, 1);
    world.front.reset_stats();
    world.front.reset_connection_stats();
    assert_eq!(
        (world.front.report().counts.received, world.front.connections(0, 99).0[0].received),
        (0, 0)
    );
}
