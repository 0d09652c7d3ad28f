//! A leader answers each request of a learner by exactly one transaction, and each sync by one SYNC.

use super::*;
use crate::packet::RequestPacket;
use crate::txn::{CreateKind, CreateTxn, write_log_record};

impl Ensemble {
    /// A request of server 2, as an Apache's forwards it, whatever its tree says.
    fn forward(&mut self, session: i64, cxid: i32, op: OpCode, record: Vec<u8>) {
        self.forward_of(2, session, cxid, op, record);
    }

    /// The same of another learner.
    fn forward_of(&mut self, learner: usize, session: i64, cxid: i32, op: OpCode, record: Vec<u8>) {
        let (conn, _) = self.link_of(learner).unwrap();
        let auth = (op != OpCode::CREATE_SESSION).then(|| [Id::new("ip", "127.0.0.1")].into());
        let (session, record) = (SessionId(session), record.into());
        let request = RequestPacket { session, cxid, op, record, auth };
        self.peer(0, PeerEvent::Learner(LearnerConn(conn), Packet::Request(request)));
    }

    /// The transactions that a request of server 2 becomes.
    fn forwarded(&mut self, session: i64, cxid: i32, op: OpCode, record: Vec<u8>) -> Vec<Txn> {
        let before = self.servers[0].log.len();
        self.forward(session, cxid, op, record);
        self.settle();
        let txns = self.servers[2].log[before..].iter().map(|logged| {
            let LogRecord { header, txn, .. } = read_log_record(&logged.record).unwrap();
            assert_eq!((header.session, header.cxid), (SessionId(session), cxid));
            txn
        });
        txns.collect()
    }

    /// The packets on their way to server 2.
    fn packets_to_2(&mut self) -> Vec<Packet> {
        while self.carry_out_next(0) {}
        let (_, link) = self.link_of(2).unwrap();
        std::iter::from_fn(|| link.down.next_packet().unwrap()).collect()
    }
}

const TIMEOUT: [u8; 4] = 10_000_i32.to_be_bytes();

#[test]
fn each_request_of_a_learner_becomes_one_transaction() {
    let mut ensemble = Ensemble::formed();
    let error = |code: ErrorCode| vec![Txn::Error(code)];
    let opened = ensemble.forwarded(0x300, 0, OpCode::CREATE_SESSION, TIMEOUT.to_vec());
    assert_eq!(opened, [Txn::CreateSession { timeout_ms: 10_000 }]);
    let short = ensemble.forwarded(0x301, 0, OpCode::CREATE_SESSION, vec![1]);
    assert_eq!(short, error(ErrorCode::MARSHALLING_ERROR));
    // Refused by the tree, by the version, by the form, and because the operation is none.
    for (op, record, code) in [
        (OpCode::DELETE, delete(Some("/none"), -1), ErrorCode::NO_NODE),
        (OpCode::SET_DATA, set_data(Some("/"), None, 7), ErrorCode::BAD_VERSION),
        (OpCode::CREATE, vec![1, 2], ErrorCode::MARSHALLING_ERROR),
        (OpCode::RECONFIG, vec![0xff; 20], ErrorCode::RECONFIG_DISABLED),
    ] {
        assert_eq!(ensemble.forwarded(0x300, 7, op, record), error(code), "{op:?}");
    }
    let multi = ensemble.forwarded(0x300, 8, OpCode::MULTI, multi(&[(2, delete(Some("/no"), -1))]));
    assert!(matches!(&multi[..], [Txn::Multi(_)]), "{multi:?}");
    // A session that nobody knows, and one that ends twice.
    let expired = error(ErrorCode::SESSION_EXPIRED);
    assert_eq!(ensemble.forwarded(0x999, 9, OpCode::CLOSE_SESSION, Vec::new()), expired);
    assert_eq!(ensemble.forwarded(0x999, 9, OpCode::CREATE, create(Some("/x"), b"", 0)), expired);
    let closed = ensemble.forwarded(0x300, 10, OpCode::CLOSE_SESSION, Vec::new());
    assert!(matches!(closed[..], [Txn::CloseSession { .. }]), "{closed:?}");
    assert_eq!(ensemble.forwarded(0x300, 11, OpCode::CLOSE_SESSION, Vec::new()), expired);
    ensemble.check_equal();
}

/// It counts the answers, so it gets one for a session that has moved, or ended, or never was.
#[test]
fn each_sync_of_a_learner_is_answered_after_a_round_and_logs_nothing() {
    let mut ensemble = Ensemble::formed();
    ensemble.open(2, 0x300);
    let path = record(|writer| text(writer, Some("/")));
    let moved = |ensemble: &mut Ensemble| assert!(ensemble.renew(0, 0x300));
    let closed = |ensemble: &mut Ensemble| {
        ensemble.ask(0, 0x300, OpCode::CLOSE_SESSION, Vec::new());
    };
    for prepare in [(|_: &mut Ensemble| ()) as fn(&mut Ensemble), moved, closed] {
        prepare(&mut ensemble);
        let before = ensemble.servers[0].log.len();
        let other = ensemble.link_of(1).map(|(conn, _)| conn).unwrap();
        ensemble.links.get_mut(&other).unwrap().is_cut = true;
        ensemble.forward(0x300, 5, OpCode::SYNC, path.clone());
        let asked = ensemble.packets_to_2();
        assert!(matches!(asked[..], [Packet::Ping { .. }]), "no SYNC before a quorum: {asked:?}");
        let answer = Packet::Pong { zxid: Zxid::ZERO, touched: Vec::new() };
        let (conn, _) = ensemble.link_of(2).unwrap();
        ensemble.peer(0, PeerEvent::Learner(LearnerConn(conn), answer));
        let answered = ensemble.packets_to_2();
        assert!(matches!(answered[..], [Packet::Sync]), "{answered:?}");
        assert_eq!(ensemble.servers[0].quorum.report().pending_syncs, 0);
        ensemble.links.get_mut(&other).unwrap().is_cut = false;
        ensemble.settle();
        assert_eq!(ensemble.servers[0].log.len(), before);
    }
}

/// The end of a session with very many ephemerals, some of them just made, waits for them. Whatever
/// its learner has asked for after it waits as well: outcomes come in the order of its requests.
#[test]
fn what_a_learner_asks_for_is_decided_in_its_order() {
    let mut ensemble = Ensemble::formed();
    ensemble.open(1, 0x100);
    ensemble.open(1, 0x101);
    ensemble.open(2, 0x200);
    let ephemeral = |number: i32| create(Some(&format!("/e{number}")), b"", 1);
    for cxid in 1..=5 {
        ensemble.forward_of(1, 0x100, cxid, OpCode::CREATE, ephemeral(cxid));
    }
    ensemble.forward_of(1, 0x100, 6, OpCode::CLOSE_SESSION, Vec::new());
    ensemble.forward_of(1, 0x101, 7, OpCode::CREATE, create(Some("/a"), b"", 0));
    ensemble.forward_of(1, 0x101, 8, OpCode::CREATE, create(Some("/b"), b"", 0));
    ensemble.forward_of(2, 0x200, 9, OpCode::CREATE, create(Some("/c"), b"", 0));
    ensemble.settle();
    let log = ensemble.servers[0].log.iter().map(|logged| read_log_record(&logged.record).unwrap());
    let cxids: Vec<i32> = log.map(|record| record.header.cxid).collect();
    let of_one: Vec<i32> = cxids.iter().copied().filter(|cxid| (1..=8).contains(cxid)).collect();
    assert_eq!(of_one, [1, 2, 3, 4, 5, 6, 7, 8], "{cxids:?}");
    let place = |of| cxids.iter().position(|cxid| *cxid == of);
    assert!(place(9) < place(6), "another learner need not wait: {cxids:?}");
    ensemble.check_equal();
}

/// The same where the log is full; when the learner is gone nothing is held any more.
#[test]
fn what_comes_after_a_request_without_room_waits_for_it() {
    for is_gone in [false, true] {
        let mut ensemble = Ensemble::formed();
        ensemble.open(1, 0x100);
        ensemble.open(1, 0x101);
        ensemble.servers[0].quorum.on_log_room(1000);
        ensemble.forward_of(1, 0x100, 1, OpCode::CLOSE_SESSION, Vec::new());
        ensemble.forward_of(1, 0x101, 2, OpCode::DELETE, delete(Some("/none"), -1));
        ensemble.forward_of(1, 0x101, 3, OpCode::DELETE, delete(Some("/none"), -1));
        ensemble.settle();
        assert_eq!(ensemble.servers[0].log.len(), 2, "nothing is decided");
        if is_gone {
            let (conn, _) = ensemble.link_of(1).unwrap();
            ensemble.close(conn);
        }
        ensemble.servers[0].quorum.on_log_room(u64::MAX);
        ensemble.settle();
        let log = ensemble.servers[0].log[2..].iter();
        let cxids = log.map(|logged| read_log_record(&logged.record).unwrap().header.cxid);
        let cxids: Vec<i32> = cxids.collect();
        // For a learner that is gone nothing is carried out without room.
        let wanted = if is_gone { vec![1] } else { vec![1, 2, 3] };
        assert_eq!(cxids, wanted);
    }
}

/// A long multi is prepared in slices, whatever learners send meanwhile; they are served after it,
/// in their order.
#[test]
fn requests_of_learners_wait_for_a_long_multi() {
    let config = QuorumConfig { multi_units_at_once: 8, ..QuorumConfig::default() };
    let mut ensemble = Ensemble::with(config);
    ensemble.elect(0, &[1, 2]);
    ensemble.open(0, 0x100);
    ensemble.open(2, 0x300);
    let each = (1, create(Some("/m"), b"", 2));
    let before = ensemble.servers[0].log.len();
    for session in [0x300, 0x100] {
        // The one is a learner's, the other one local.
        let long = multi(&vec![each.clone(); 200]);
        if session == 0x100 {
            ensemble.submit(0, session, OpCode::MULTI, long);
        } else {
            ensemble.forward(session, 1, OpCode::MULTI, long);
        }
        assert!(ensemble.servers[0].quorum.is_preparing(), "it takes more than one call");
        ensemble.forward(0x300, 2, OpCode::CREATE, create(Some("/a"), b"", 0));
        ensemble.forward(0x300, 3, OpCode::DELETE, delete(Some("/a"), -1));
        assert!(ensemble.servers[0].quorum.is_preparing(), "and is not hurried");
        assert!(ensemble.servers[0].quorum.has_work());
        ensemble.settle();
    }
    let cxids = ensemble.servers[1].log[before..].iter().map(|logged| {
        let LogRecord { header, txn, .. } = read_log_record(&logged.record).unwrap();
        (header.session.0, header.cxid, matches!(txn, Txn::Multi(_)))
    });
    let xid = ensemble.xid;
    let wanted = [
        (0x300, 1, true),
        (0x300, 2, false),
        (0x300, 3, false),
        (0x100, xid, true),
        (0x300, 2, false),
        (0x300, 3, false),
    ];
    assert_eq!(cxids.collect::<Vec<_>>(), wanted);
    ensemble.check_equal();
}

/// Whatever time a session had left at the last leader, a new one gives it all of it.
#[test]
fn a_new_leader_gives_every_session_its_whole_timeout() {
    let mut ensemble = Ensemble::formed();
    ensemble.open(0, 0x100);
    ensemble.open(1, 0x101);
    (0..16).for_each(|_| ensemble.advance(500));
    ensemble.close_all();
    ensemble.elect(1, &[0, 2]);
    (0..18).for_each(|_| ensemble.advance(500));
    let lives = |ensemble: &Ensemble, session| {
        ensemble.servers[2].tree.session_timeout(SessionId(session)).is_some()
    };
    assert!(lives(&ensemble, 0x100) && lives(&ensemble, 0x101), "nine seconds of ten");
    (0..10).for_each(|_| ensemble.advance(500));
    assert!(!lives(&ensemble, 0x100) && !lives(&ensemble, 0x101), "their clients never came");
    ensemble.check_equal();
}

/// The sessions of a tree that came whole are those of the next leader.
#[test]
fn sessions_that_came_with_a_tree_are_known_to_the_next_leader() {
    let mut ensemble = Ensemble::formed();
    let (conn, _) = ensemble.link_of(2).unwrap();
    ensemble.close(conn);
    ensemble.open(0, 0x100);
    for path in ["/a", "/b"] {
        ensemble.ask(0, 0x100, OpCode::CREATE, create(Some(path), b"", 1));
    }
    ensemble.close_all();
    ensemble.remembers = 0;
    ensemble.elect(0, &[1, 2]);
    assert_eq!(ensemble.loaded, 1, "server 2 has got a tree");
    ensemble.check_equal();
    ensemble.close_all();
    ensemble.elect(2, &[0, 1]);
    assert!(ensemble.renew(1, 0x100));
    assert_eq!(ensemble.ask(1, 0x100, OpCode::CLOSE_SESSION, Vec::new()), (0, true));
    assert!(ensemble.servers[0].tree.get("/a").is_none(), "its ephemerals are known too");
    ensemble.check_equal();
}

/// Ephemerals of a session that nobody knows go by a transaction.
#[test]
fn a_leader_ends_sessions_that_are_in_no_table() {
    ends_unknown_sessions(1);
}

/// Nobody has asked for their ends: the bound of those who wait does not hold for them.
#[test]
fn a_leader_ends_any_number_of_them() {
    ends_unknown_sessions(10_002);
}

fn ends_unknown_sessions(count: u32) {
    let mut ensemble = Ensemble::new();
    let records = (1..=count).map(|nth| {
        let zxid = Zxid::new(1, nth);
        let header = TxnHeader { session: SessionId(nth.into()), cxid: 1, zxid, time_ms: 5 };
        let create = Txn::Create(CreateTxn {
            path: format!("/orphan-{nth}"),
            data: None,
            acl: [Acl::open()].into(),
            kind: CreateKind::Ephemeral,
            with_stat: false,
            parent_cversion: nth as i32,
        });
        let mut payload = Vec::new();
        write_log_record(&mut payload, &header, &create, None);
        Logged { zxid, record: payload.into() }
    });
    let (now, records) = (ensemble.now, records.collect::<Vec<_>>());
    for server in &mut ensemble.servers {
        server.log.extend(records.iter().cloned());
        server.replay(Zxid::new(1, count));
        (server.accepted, server.current) = (1, 1);
        server.quorum = Quorum::member(QuorumConfig::default(), &server.tree, 7, now);
        assert_eq!(server.tree.ephemeral_owners().len(), count as usize);
    }
    ensemble.elect(0, &[1, 2]);
    ensemble.check_equal();
    let server = &ensemble.servers[2];
    let last = read_log_record(&server.log.last().unwrap().record).unwrap();
    assert_eq!(last.header.zxid, Zxid::new(2, count));
    assert!(matches!(last.txn, Txn::CloseSession { .. }));
    assert_eq!(server.tree.ephemeral_owners().len(), 0);
}
