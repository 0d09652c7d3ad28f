//! Input that clients should not send, sent to a real server: the offender gets its answer or is
//! closed, nobody else notices, and memory stays bounded. The rows (B1, …) are those of the
//! frontend's own tests, here with real sockets.

mod support;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use ringkeeper::codes::OpCode;
use ringkeeper::jute::Writer;
use support::{RawClient, Server, create_record, four_letters};

/// A server, and a client that must notice nothing.
struct Scene {
    server: Server,
    witness: RawClient,
    _home: tempfile::TempDir,
}

impl Scene {
    fn new(lines: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let server = Server::start(home.path(), &[lines, &["preAllocSize=4096"]].concat());
        Self::with(server, home)
    }

    fn with(server: Server, home: tempfile::TempDir) -> Self {
        let mut witness = RawClient::connect(server.address, 40_000);
        assert_eq!(witness.create("/witness", b"w", 0).err, 0);
        Self { server, witness, _home: home }
    }

    fn plain(&self) -> RawClient {
        RawClient::plain(self.server.address)
    }

    fn client(&self) -> RawClient {
        RawClient::connect(self.server.address, 40_000)
    }

    /// The other client reads and writes as ever.
    fn nobody_noticed(&mut self) {
        let start = Instant::now();
        assert_eq!(self.witness.get("/witness"), Ok(b"w".to_vec()));
        assert_eq!(
            self.witness.call(OpCode::SET_DATA, |writer| set_record(writer, "/witness", b"w")).err,
            0
        );
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "a read and a write took {:?}",
            start.elapsed()
        );
    }
}

fn set_record(writer: &mut Writer<'_>, path: &str, data: &[u8]) {
    writer.string(path);
    writer.buffer(Some(data));
    writer.i32(-1);
}

fn eventually(what: &str, patience: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn b1_b25_bytes_that_are_no_frames_close_their_connection_and_no_other() {
    let mut scene = Scene::new(&["maxClientCnxns=0"]);
    let heads: [&[u8]; 8] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\xff\xf4\xff\xfd",
        &[0xff; 64],
        &(-1i32).to_be_bytes(),
        &0x10_0000i32.to_be_bytes(),
        &0i32.to_be_bytes(),
    ];
    for head in heads {
        let mut fresh = scene.plain();
        fresh.send_bytes(head);
        assert!(fresh.is_closed_silently(), "{head:?} as first bytes");
        let mut late = scene.client();
        late.send_bytes(head);
        assert!(late.is_closed_silently(), "{head:?} in a session");
        scene.nobody_noticed();
    }
    for len in 1..8 {
        let mut short = scene.client();
        short.send_frame(&vec![0; len]);
        assert!(short.is_closed_silently(), "a frame of {len} bytes has no header");
    }
    let mut random = 0x5EED_u64;
    for _ in 0..200 {
        let mut noise = scene.plain();
        let bytes: Vec<u8> = (0..300).map(|_| next(&mut random)).collect();
        // A first byte that makes the length negative or too long: anything else might wait for its
        // frame's end.
        noise.send_bytes(&[&[bytes[0] | 0x40], &bytes[1..]].concat());
        assert!(noise.is_closed_silently());
    }
    scene.nobody_noticed();
}

/// xorshift64
fn next(state: &mut u64) -> u8 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 32) as u8
}

#[test]
fn b1_b9_the_largest_frames_are_served() {
    let mut scene = Scene::new(&[]);
    let mut client = scene.client();
    let empty = 4 + 4 + (4 + "/full".len()) + 4 + 4 + (4 + 4 + 5 + 4 + 6) + 4;
    let data = vec![7; 0xf_ffff - empty];
    assert_eq!(client.create("/full", &data, 0).err, 0);
    assert_eq!(client.get("/full").map(|read| read.len()), Ok(data.len()));
    let long_name = format!("/{}", "n".repeat(1_000_000));
    assert_eq!(client.create(&long_name, b"", 0).err, 0);
    assert_eq!(client.get(&long_name), Ok(vec![]));
    let deep = "/a".repeat(500_000);
    assert_eq!(client.create(&deep, b"", 0).err, -101);
    assert_eq!(client.get(&deep), Err(-101));
    scene.nobody_noticed();
}

#[test]
fn b2_without_a_session_a_connection_has_its_time_however_it_drips() {
    let mut scene = Scene::new(&["nio.sessionlessCnxnTimeout=500"]);
    let before = scene.server.resident_kib();
    let mut announcing: Vec<_> = (0..40).map(|_| scene.plain()).collect();
    announcing.iter_mut().for_each(|client| client.send_bytes(&0xf_fff0i32.to_be_bytes()));
    let (silent, mut dripping, mut word) = (scene.plain(), scene.plain(), scene.plain());
    word.send_bytes(b"ru");
    let start = Instant::now();
    dripping.send_bytes(&100i32.to_be_bytes());
    while !closed_by_now(&dripping) {
        dripping.send_bytes(&[0]);
        assert!(start.elapsed() < Duration::from_secs(5), "a dripping connection lives on");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(
        start.elapsed() > Duration::from_millis(700),
        "closed after {:?} already",
        start.elapsed()
    );
    for mut client in announcing.drain(..).chain([silent, word]) {
        assert!(client.is_closed_silently());
    }
    let grown = scene.server.resident_kib().saturating_sub(before);
    assert!(grown < 8 << 10, "40 announced megabytes took {grown} KiB");
    scene.nobody_noticed();
}

fn closed_by_now(client: &RawClient) -> bool {
    client.stream.set_nonblocking(true).unwrap();
    let read = (&client.stream).read(&mut [0; 16]);
    client.stream.set_nonblocking(false).unwrap();
    read.map_or_else(|err| err.kind() == std::io::ErrorKind::ConnectionReset, |bytes| bytes == 0)
}

#[test]
fn b3_to_b7_records_that_do_not_decode_are_answered_and_the_connection_stays() {
    let mut scene = Scene::new(&[]);
    let mut client = scene.client();
    let lengths = [i32::MAX, i32::MIN, -2, 100_000];
    for length in lengths {
        assert_eq!(
            client.call(OpCode::GET_DATA, |writer| writer.i32(length)).err,
            -5,
            "a path of {length} bytes"
        );
        let bad_data = client.call(OpCode::SET_DATA, |writer| {
            writer.string("/witness");
            writer.i32(length);
        });
        assert_eq!(bad_data.err, -5, "data of {length} bytes");
    }
    for count in [i32::MAX, 1 << 20, 1] {
        let acl = client.call(OpCode::CREATE, |writer| {
            writer.string("/acl");
            writer.buffer(None);
            writer.i32(count);
        });
        assert_eq!(acl.err, -5, "a list of {count} that is not there");
    }
    assert_eq!(
        client.call(OpCode::GET_DATA, |writer| writer.string("/witness")).err,
        -5,
        "no watch byte"
    );
    let trailing = client.call(OpCode::GET_DATA, |writer| {
        writer.string("/witness");
        writer.bool(false);
        writer.i64(-1);
    });
    assert_eq!(trailing.err, 0);
    assert_eq!(client.get("/witness"), Ok(b"w".to_vec()), "the connection is as good as new");
    for length in lengths {
        let mut auth = scene.client();
        auth.request_as(-4, OpCode(100), |writer| {
            writer.i32(0);
            writer.i32(length);
        });
        assert!(auth.is_closed_silently(), "auth with a scheme of {length} bytes");
        let mut connect = scene.plain();
        connect.send_frame(&[&[0; 24][..], &length.to_be_bytes()].concat());
        assert!(connect.is_closed_silently(), "a password of {length} bytes");
    }
    scene.nobody_noticed();
}

#[test]
fn b10_multis_large_empty_nested_and_cut() {
    let mut scene = Scene::new(&[]);
    let mut client = scene.client();
    let checks = client.call(OpCode::MULTI, |writer| {
        for _ in 0..50_000 {
            multi_header(writer, OpCode::CHECK.0, false);
            writer.string("/");
            writer.i32(-1);
        }
        multi_header(writer, -1, true);
    });
    assert_eq!((checks.err, checks.body.len()), (0, 50_000 * 9 + 9));
    let creates = client.call(OpCode::MULTI, |writer| {
        for nth in 0..10_000 {
            multi_header(writer, OpCode::CREATE.0, false);
            create_record(writer, &format!("/m{nth}"), b"", 0);
        }
        multi_header(writer, -1, true);
    });
    assert_eq!(creates.err, 0);
    assert_eq!(client.get("/m9999"), Ok(vec![]));
    assert_eq!(client.call(OpCode::MULTI, |writer| multi_header(writer, -1, true)).err, 0);
    let nested = client.call(OpCode::MULTI, |writer| {
        (0..1000).for_each(|_| multi_header(writer, OpCode::MULTI.0, false));
    });
    assert_eq!((nested.err, nested.body.len()), (-5, 0));
    assert_eq!(
        client.call(OpCode::MULTI, |writer| multi_header(writer, OpCode::CREATE.0, false)).err,
        -5
    );
    assert_eq!(client.call(OpCode::MULTI, |_| {}).err, -5);
    assert_eq!(client.get("/witness"), Ok(b"w".to_vec()));
    scene.nobody_noticed();
}

fn multi_header(writer: &mut Writer<'_>, op: i32, done: bool) {
    writer.i32(op);
    writer.bool(done);
    writer.i32(-1);
}

#[test]
fn b12_b13_operations_that_no_client_may_send() {
    let mut scene = Scene::new(&["maxClientCnxns=0"]);
    for op in [0, 10, 13, 20, 23, 24, 99, 108, -1, -2, -10, i32::MAX, i32::MIN] {
        let mut client = scene.client();
        client.request_as(7, OpCode(op), |writer| writer.string("/"));
        let reply = client.reply().expect("it is answered");
        assert_eq!((reply.xid, reply.zxid, reply.err), (7, -1, -6), "op {op}");
        assert_eq!(client.reply(), None, "op {op} ends the connection");
    }
    let mut early = scene.plain();
    early.request_as(1, OpCode::GET_DATA, |writer| writer.string("/"));
    assert!(early.is_closed_silently());
    let mut twice = scene.client();
    twice.send_frame(&connect_frame(0, 10_000, 0, &[0; 16]));
    assert_eq!(twice.reply().map(|reply| (reply.xid, reply.err)), Some((0, -6)));
    assert_eq!(twice.reply(), None);
    scene.nobody_noticed();
}

fn connect_frame(last_zxid: i64, timeout_ms: i32, session: i64, password: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let mut writer = Writer::new(&mut frame);
    writer.i32(0);
    writer.i64(last_zxid);
    writer.i32(timeout_ms);
    writer.i64(session);
    writer.buffer(Some(password));
    writer.bool(false);
    frame
}

#[test]
fn b14_to_b16_connect_requests_of_every_kind() {
    let mut scene = Scene::new(&[]);
    for (asked, given) in [
        (i32::MIN, 4000),
        (-1, 4000),
        (0, 4000),
        (4001, 4001),
        (40_001, 40_000),
        (i32::MAX, 40_000),
    ] {
        assert_eq!(
            RawClient::connect(scene.server.address, asked).timeout_ms,
            given,
            "asked for {asked}"
        );
    }
    let mut owner = scene.client();
    let wrong = [0x55; 16];
    for password in [&wrong[..], &[], &[1; 100]] {
        let mut thief = RawClient::renew(scene.server.address, 10_000, owner.session, password);
        assert_eq!((thief.session, thief.timeout_ms), (0, 0));
        assert_eq!(thief.reply(), None, "the refusal ends the connection");
    }
    assert_eq!(
        owner.get("/witness"),
        Ok(b"w".to_vec()),
        "whoever guesses does not touch the session"
    );
    let mut ahead = scene.plain();
    ahead.send_frame(&connect_frame(1 << 40, 10_000, 0, &[0; 16]));
    assert!(ahead.is_closed_silently());
    scene.nobody_noticed();
}

#[test]
fn b17_b18_auth_garbage_and_thousands_of_ids() {
    let mut scene = Scene::new(&[]);
    for scheme in ["", "world", "auth", "super", "sasl", "DIGEST"] {
        let mut client = scene.client();
        add_auth(&mut client, scheme, b"a:b");
        assert_eq!(client.reply().map(|reply| reply.err), Some(-115), "scheme {scheme:?}");
        assert_eq!(client.reply(), None);
    }
    let before = scene.server.resident_kib();
    let mut faithful = scene.client();
    (0..5000).for_each(|_| add_auth(&mut faithful, "digest", b"user:password"));
    assert!((0..5000).all(|_| faithful.reply().expect("repeats are free").err == 0));
    let mut greedy = scene.client();
    (0..5000)
        .for_each(|nth| add_auth(&mut greedy, "digest", format!("user{nth}:password").as_bytes()));
    let mut proven = 0;
    let end = loop {
        match greedy.reply().expect("a refusal comes before the end").err {
            0 => proven += 1,
            err => break err,
        }
    };
    assert_eq!(end, -115);
    assert!((1000..=1024).contains(&proven), "{proven} ids");
    assert_eq!(greedy.reply(), None);
    let grown = scene.server.resident_kib().saturating_sub(before);
    assert!(grown < 16 << 10, "ids took {grown} KiB");
    assert_eq!(faithful.get("/witness"), Ok(b"w".to_vec()));
    scene.nobody_noticed();
}

fn add_auth(client: &mut RawClient, scheme: &str, auth: &[u8]) {
    let mut frame = Vec::new();
    let mut writer = Writer::new(&mut frame);
    writer.i32(-4);
    writer.i32(100);
    writer.i32(0);
    writer.string(scheme);
    writer.buffer(Some(auth));
    // After a refusal the server closes, and what is still being sent finds nobody.
    client.send_bytes(&[&(frame.len() as i32).to_be_bytes(), &frame[..]].concat());
}

/// 200 MB are asked for and not read: the server serves on only as far as the client reads.
#[test]
fn b21_a_reader_that_is_slow_is_served_as_fast_as_it_reads() {
    let mut scene = Scene::new(&[]);
    let mut client = scene.client();
    let data = vec![3; 500 << 10];
    assert_eq!(client.create("/big", &data, 0).err, 0);
    let before = scene.server.resident_kib();
    for _ in 0..400 {
        client.request(OpCode::GET_DATA, |writer| {
            writer.string("/big");
            writer.bool(false);
        });
    }
    std::thread::sleep(Duration::from_secs(1));
    let grown = scene.server.resident_kib().saturating_sub(before);
    assert!(grown < 48 << 10, "unread replies took {grown} KiB");
    scene.nobody_noticed();
    for _ in 0..400 {
        let reply = client.reply().expect("every request is answered in the end");
        assert!(reply.err == 0 && reply.body.len() > data.len());
    }
    scene.nobody_noticed();
}

/// They read nothing for a session's time: the server must be rid of them, their descriptors and
/// what was queued.
#[test]
fn b21_readers_that_never_read_are_gone_in_the_end() {
    let mut scene = Scene::new(&["tickTime=500", "maxSessionTimeout=40000"]);
    let mut client = scene.client();
    assert_eq!(client.create("/big", &vec![3; 500 << 10], 0).err, 0);
    let before = scene.server.open_files();
    let mut stuck: Vec<_> =
        (0..10).map(|_| RawClient::connect(scene.server.address, 1000)).collect();
    for client in &mut stuck {
        for _ in 0..40 {
            client.request(OpCode::GET_DATA, |writer| {
                writer.string("/big");
                writer.bool(false);
            });
        }
    }
    std::thread::sleep(Duration::from_millis(500));
    assert!(scene.server.open_files() >= before + 10);
    scene.nobody_noticed();
    let server = &scene.server;
    eventually("stuck connections are closed", Duration::from_secs(20), || {
        server.open_files() <= before + 1
    });
    scene.nobody_noticed();
}

#[test]
fn b23_the_61st_connection_of_an_address_is_refused() {
    let mut scene = Scene::new(&[]);
    // The witness is one of the 60; a connection that has ended may count for a moment yet.
    let mut held = Vec::new();
    while held.len() < 59 {
        let mut client = scene.plain();
        client.send_frame(&connect_frame(0, 10_000, 0, &[0; 16]));
        match client.read_frame() {
            Some(_) => held.push(client),
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    }
    for _ in 0..100 {
        assert!(scene.plain().is_closed_silently());
    }
    let word = four_letters(scene.server.address, "ruok");
    assert_ne!(word.as_deref(), Some("imok"), "words count too");
    scene.nobody_noticed();
    held.pop();
    let address = scene.server.address;
    let answers = || four_letters(address, "ruok").as_deref() == Some("imok");
    eventually("a connection that ends makes room", Duration::from_secs(5), answers);
    scene.nobody_noticed();
}

#[test]
fn b23_few_descriptors_are_enough() {
    let home = tempfile::tempdir().unwrap();
    let lines = ["maxClientCnxns=0", "preAllocSize=4096"];
    let mut scene = Scene::with(Server::start_behind("ulimit -n 200", home.path(), &lines), home);
    let mut flood: Vec<_> = (0..150).map(|_| scene.plain()).collect();
    assert!(flood[149].is_closed_silently(), "more than fit are accepted and closed");
    assert!(scene.server.open_files() < 140, "{} are open", scene.server.open_files());
    for _ in 0..20 {
        scene.nobody_noticed();
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(flood);
    let address = scene.server.address;
    let answers = || four_letters(address, "ruok").as_deref() == Some("imok");
    eventually("new connections are served again", Duration::from_secs(10), answers);
    scene.nobody_noticed();
    let log = scene.server.log();
    assert!(
        log.contains("200 may be open") && !log.contains("accepting connections fails"),
        "{log}"
    );
}

#[test]
fn half_closed_clients_end_and_their_session_does_not() {
    let mut scene = Scene::new(&[]);
    let mut client = scene.client();
    for nth in 0..3 {
        client.request(OpCode::CREATE, |writer| {
            create_record(writer, &format!("/half{nth}"), b"", 0)
        });
    }
    client.stream.shutdown(Shutdown::Write).unwrap();
    let mut expected = 1;
    while let Some(reply) = client.reply() {
        assert_eq!((reply.xid, reply.err), (expected, 0), "replies that come are in order");
        expected += 1;
    }
    let mut renewed =
        RawClient::renew(scene.server.address, 10_000, client.session, &client.password);
    assert_eq!(renewed.session, client.session);
    renewed.call(OpCode::SYNC, |writer| writer.string("/"));
    for nth in 1..expected {
        assert_eq!(
            renewed.get(&format!("/half{}", nth - 1)),
            Ok(vec![]),
            "what was acknowledged is done"
        );
    }
    scene.nobody_noticed();
}

#[test]
fn b27_words_in_pieces_in_floods_and_in_the_wrong_place() {
    let mut scene = Scene::new(&["maxClientCnxns=0"]);
    let mut pieces = scene.plain();
    for byte in b"ruok" {
        pieces.send_bytes(&[*byte]);
        std::thread::sleep(Duration::from_millis(30));
    }
    let mut text = String::new();
    pieces.stream.read_to_string(&mut text).unwrap();
    assert_eq!(text, "imok");
    for word in ["ruok\n", "ruokruok"] {
        assert_eq!(four_letters(scene.server.address, word).as_deref(), Some("imok"), "{word:?}");
    }
    let mut in_session = scene.client();
    in_session.send_bytes(b"ruok");
    assert!(in_session.is_closed_silently());
    let mut unknown = scene.plain();
    unknown.send_bytes(b"rock");
    assert!(unknown.is_closed_silently());
    let address = scene.server.address;
    let words = ["mntr", "cons", "dump", "wchp", "wchc", "stat", "srvr", "envi", "conf", "dirs"];
    let flood = words.map(|word| {
        std::thread::spawn(move || {
            for _ in 0..40 {
                assert!(!four_letters(address, word).expect("it is answered").is_empty());
            }
        })
    });
    scene.nobody_noticed();
    flood.into_iter().for_each(|thread| thread.join().unwrap());
    scene.nobody_noticed();
}

#[test]
fn b27_only_srvr_is_answered_unless_others_are_listed() {
    let home = tempfile::tempdir().unwrap();
    // The last line about a key counts.
    let mut server = Server::spawn(
        home.path(),
        support::free_port(),
        vec!["4lw.commands.whitelist=srvr".into()],
        &[],
    );
    eventually("it serves", Duration::from_secs(30), || {
        four_letters(server.address, "srvr").is_some_and(|text| text.contains("Mode: standalone"))
    });
    for word in ["ruok", "wchc", "cons"] {
        let refusal = format!("{word} is not executed because it is not in the whitelist.\n");
        assert_eq!(four_letters(server.address, word), Some(refusal));
    }
    let mut stream = std::net::TcpStream::connect(server.address).unwrap();
    stream.write_all(b"wchp").unwrap();
    assert_eq!(server.terminate(), Some(0), "{}", server.log());
}

/// Who is turned away or closed for what he sent stands in the log, once in a while and not each
/// time: a client is told nothing but the end of its connection.
#[test]
fn the_log_says_who_is_turned_away_and_why() {
    let mut scene = Scene::new(&["maxClientCnxns=2"]);
    let _second = scene.plain();
    for _ in 0..20 {
        // Refused: it ends, whatever it sends.
        scene.plain().send_bytes(b"ruok");
    }
    scene.server.wait_for_log("Too many connections from 127.0.0.1 - max is 2 (maxClientCnxns)");
    drop(_second);
    let deadline = Instant::now() + Duration::from_secs(30);
    while !scene.server.log().contains("is closed: a frame is not as long") {
        assert!(Instant::now() < deadline, "{}", scene.server.log());
        scene.plain().send_bytes(&[0x7f; 8]);
        std::thread::sleep(Duration::from_millis(20));
    }
    let log = scene.server.log();
    assert!(log.matches("Too many connections").count() < 5, "{log}");
    scene.nobody_noticed();
}
