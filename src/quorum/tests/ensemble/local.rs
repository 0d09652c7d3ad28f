//! Sessions that one server alone knows, and how they become the ensemble's.

use super::*;

fn config(local_sessions_upgrading: bool) -> QuorumConfig {
    QuorumConfig { local_sessions: true, local_sessions_upgrading, ..QuorumConfig::default() }
}

/// Server 0 leads, 1 follows, 2 observes.
fn formed(upgrading: bool) -> Ensemble {
    let mut ensemble = Ensemble::with(config(upgrading));
    ensemble.servers[2].votes = false;
    ensemble.elect(0, &[1, 2]);
    ensemble
}

/// A session id as server `at` gives it out.
fn id(at: usize, number: i64) -> i64 {
    (at as i64 + 1) << 56 | number
}

fn is_closed(told: &[ToShard], session: i64) -> bool {
    let session = SessionId(session);
    let is_it = |item: &BatchItem| matches!(item, BatchItem::SessionClosed { session: of } if *of == session);
    told.iter().any(|all| matches!(all, ToShard::Commit(all) if all.items.iter().any(is_it)))
}

fn persistent(path: &str) -> Vec<u8> {
    create(Some(path), b"", 0)
}

fn ephemeral(path: &str) -> Vec<u8> {
    create(Some(path), b"", 1)
}

#[test]
fn a_local_session_costs_no_transaction_and_lives_at_its_server_alone() {
    let mut ensemble = formed(false);
    let path = record(|writer| text(writer, Some("/")));
    for at in 0..3 {
        let session = id(at, 7);
        let before = ensemble.servers[0].log.len();
        ensemble.open(at, session);
        assert_eq!(ensemble.servers[at].quorum.report().local_sessions, 1);
        assert_eq!(
            ensemble.ask(at, session, OpCode::CREATE, persistent(&format!("/{at}"))),
            (0, false)
        );
        assert_eq!(ensemble.ask(at, session, OpCode::SYNC, path.clone()), (0, false));
        assert_eq!(ensemble.servers[0].log.len(), before + 1, "the write and nothing else");
        for server in &ensemble.servers {
            assert_eq!(server.tree.session_timeout(SessionId(session)), None);
        }
        for other in 0..3 {
            assert_eq!(ensemble.renew(other, session), other == at, "{other} of {at}");
        }
        // The moves that failed have changed nothing, and its end leaves no trace either.
        assert_eq!(
            ensemble.ask(at, session, OpCode::DELETE, delete(Some("/none"), -1)),
            (-101, false)
        );
        assert_eq!(ensemble.ask(at, session, OpCode::CLOSE_SESSION, Vec::new()), (0, true));
        assert_eq!(ensemble.servers[0].log.len(), before + 2);
        assert_eq!(ensemble.servers[at].quorum.report().local_sessions, 0);
        assert!(!ensemble.renew(at, session));
        assert_eq!(ensemble.ask(at, session, OpCode::CREATE, persistent("/late")), (-112, true));
        assert_eq!(ensemble.servers[0].log.len(), before + 2, "nobody acts for it any more");
    }
    ensemble.check_equal();
}

/// Its end waits for what it has asked before.
#[test]
fn a_local_session_that_pipelines_is_answered_in_order() {
    for at in 0..3 {
        let mut ensemble = formed(false);
        let session = id(at, 7);
        ensemble.open(at, session);
        let first = ensemble.submit(at, session, OpCode::CREATE, persistent("/a"));
        ensemble.submit(at, session, OpCode::CREATE, ephemeral("/e"));
        ensemble.submit(at, session, OpCode::CREATE, persistent("/b"));
        ensemble.submit(at, session, OpCode::CLOSE_SESSION, Vec::new());
        let wanted = [(0, false), (-120, false), (0, false), (0, true)];
        let wanted: Vec<_> =
            (first..).zip(wanted).map(|(xid, (err, ends))| (xid, err, ends)).collect();
        assert_eq!(ensemble.replies(at), wanted);
        ensemble.check_equal();
    }
}

/// Of a learner's session the leader knows nothing but that it is none of its own: in a multi the
/// client sees that code, as in Apache's.
#[test]
fn without_upgrading_a_local_session_creates_no_ephemeral() {
    for (at, in_log, in_multi) in [(0, -120, -120), (1, -112, -112), (2, -112, -112)] {
        let mut ensemble = formed(false);
        let session = id(at, 7);
        ensemble.open(at, session);
        for op in [OpCode::CREATE, OpCode::CREATE2] {
            assert_eq!(ensemble.ask(at, session, op, ephemeral("/e")), (-120, false));
            assert_eq!(ensemble.last_txn(0).txn, Txn::Error(ErrorCode(in_log)));
        }
        let ops = [(1, persistent("/a")), (1, ephemeral("/e"))];
        assert_eq!(ensemble.ask(at, session, OpCode::MULTI, multi(&ops)), (0, false));
        let Txn::Multi(txns) = ensemble.last_txn(0).txn else { panic!("no multi") };
        assert_eq!(txns.last(), Some(&Txn::Error(ErrorCode(in_multi))));
        assert!(ensemble.servers[at].tree.get("/e").is_none());
        assert_eq!(ensemble.ask(at, session, OpCode::CREATE, persistent("/a")), (0, false));
        ensemble.check_equal();
    }
}

/// A transaction makes it the ensemble's, under the same id and with the same timeout, right before
/// the one that needs it; from then on it moves and ends as every other.
#[test]
fn the_first_ephemeral_makes_a_session_the_ensembles() {
    let ops = [(1, persistent("/a")), (1, ephemeral("/e"))];
    let requests = [
        (OpCode::CREATE, ephemeral("/e")),
        (OpCode::CREATE2, ephemeral("/e")),
        (OpCode::MULTI, multi(&ops)),
    ];
    for (at, (op, request)) in (0..3).flat_map(|at| requests.clone().map(|request| (at, request))) {
        let mut ensemble = formed(true);
        let session = id(at, 7);
        ensemble.open(at, session);
        let first = ensemble.submit(at, session, OpCode::CREATE, persistent("/b"));
        ensemble.submit(at, session, op, request.clone());
        ensemble.submit(at, session, OpCode::CREATE, ephemeral("/f"));
        let wanted: Vec<_> = (first..first + 3).map(|xid| (xid, 0, false)).collect();
        assert_eq!(ensemble.replies(at), wanted);
        let log: Vec<_> = ensemble.servers[0]
            .log
            .iter()
            .map(|logged| read_log_record(&logged.record).unwrap())
            .collect();
        let [_, begun, _, _] = &log[..] else { panic!("{log:?}") };
        assert_eq!((begun.header.session.0, begun.header.cxid), (session, 0));
        assert_eq!(begun.txn, Txn::CreateSession { timeout_ms: 10_000 });
        assert_eq!(ensemble.servers[at].quorum.report().local_sessions, 0);
        let other = (at + 1) % 3;
        assert!(ensemble.renew(other, session), "it can move");
        assert_eq!(ensemble.ask(at, session, OpCode::CREATE, persistent("/c")), (-118, true));
        assert_eq!(ensemble.ask(other, session, OpCode::CLOSE_SESSION, Vec::new()), (0, true));
        assert!(matches!(ensemble.last_txn(0).txn, Txn::CloseSession { .. }));
        for server in &ensemble.servers {
            assert!(server.tree.get("/e").is_none() && server.tree.get("/f").is_none());
        }
        ensemble.check_equal();
    }
}

#[test]
fn a_session_may_end_while_it_becomes_the_ensembles() {
    for at in 0..3 {
        let mut ensemble = formed(true);
        let session = id(at, 7);
        ensemble.open(at, session);
        let first = ensemble.submit(at, session, OpCode::CREATE, ephemeral("/e"));
        assert_eq!(ensemble.servers[at].quorum.report().local_sessions, 0);
        ensemble.submit(at, session, OpCode::CLOSE_SESSION, Vec::new());
        assert_eq!(ensemble.replies(at), [(first, 0, false), (first + 1, 0, true)]);
        let kinds: Vec<_> = ensemble.servers[2]
            .log
            .iter()
            .map(|logged| read_log_record(&logged.record).unwrap().txn)
            .collect();
        assert!(matches!(
            kinds[..],
            [Txn::CreateSession { .. }, Txn::Create(_), Txn::CloseSession { .. }]
        ));
        assert!(!ensemble.renew(at, session));
        ensemble.check_equal();
    }
}

/// Requests that are no creates of ephemerals leave a session what it is.
#[test]
fn nothing_else_makes_a_session_the_ensembles() {
    let mut ensemble = formed(true);
    for at in 0..3 {
        let session = id(at, 7);
        ensemble.open(at, session);
        let cut = multi(&[(1, ephemeral("/e"))])[..20].to_vec();
        let ttl = create_ttl("/t", 5, 1000);
        let others = [
            (OpCode::CREATE, create(Some("/f"), b"", 9)),
            (OpCode::MULTI, cut),
            (OpCode::CREATE_TTL, ttl),
        ];
        for (op, request) in others {
            assert_ne!(ensemble.ask(at, session, op, request), (0, false));
        }
        assert_eq!(ensemble.servers[at].quorum.report().local_sessions, 1);
    }
    ensemble.check_equal();
}

/// Its own server hears of its client and tells when its time is over.
#[test]
fn local_sessions_expire_at_their_server() {
    let mut ensemble = formed(true);
    for at in 0..3 {
        ensemble.open(at, id(at, 7));
        ensemble.open(at, id(at, 8));
    }
    for _ in 0..40 {
        ensemble.advance(500);
        for at in 0..3 {
            let heard_of = (SessionId(id(at, 7)), ensemble.now.mono_ms);
            ensemble.servers[at].quorum.on_touches(&[heard_of]);
        }
    }
    for at in 0..3 {
        let told = std::mem::take(&mut ensemble.servers[at].told);
        assert!(is_closed(&told, id(at, 8)) && !is_closed(&told, id(at, 7)));
        assert!(!ensemble.renew(at, id(at, 8)) && ensemble.renew(at, id(at, 7)));
    }
    assert!(ensemble.servers[0].log.is_empty(), "no transaction tells of any");
    assert!(ensemble.servers.iter().all(|server| server.ended.is_empty()));
}

/// The next role knows nothing of them.
#[test]
fn local_sessions_end_with_the_role() {
    let mut ensemble = formed(true);
    for at in 0..3 {
        ensemble.open(at, id(at, 7));
    }
    ensemble.close_all();
    ensemble.elect(0, &[1, 2]);
    for at in 0..3 {
        assert_eq!(ensemble.servers[at].quorum.report().local_sessions, 0);
        assert!(!ensemble.renew(at, id(at, 7)));
    }
}

/// As under an Apache's leader where they are not enabled.
#[test]
fn a_leader_without_local_sessions_knows_none_of_a_learners() {
    let mut ensemble = formed(true);
    ensemble.servers[0].quorum.writes.config.local_sessions = false;
    ensemble.open(1, id(1, 7));
    assert_eq!(ensemble.ask(1, id(1, 7), OpCode::CREATE, persistent("/a")), (-112, false));
    assert_eq!(ensemble.last_txn(2).txn, Txn::Error(ErrorCode::SESSION_EXPIRED));
    assert_eq!(ensemble.ask(1, id(1, 7), OpCode::CREATE, ephemeral("/e")), (0, false));
    assert_eq!(ensemble.ask(1, id(1, 7), OpCode::CREATE, persistent("/a")), (0, false));
    ensemble.check_equal();
}

/// One with an id of the leader's own is at no learner, whether it lives or has ended.
#[test]
fn a_leader_takes_nothing_from_a_learner_for_a_session_of_its_own() {
    let mut ensemble = formed(true);
    ensemble.open(0, id(0, 8));
    let (conn, _) = ensemble.link_of(1).unwrap();
    for (session, wanted) in [(id(0, 7), -112), (id(0, 8), -112), (id(2, 7), 0)] {
        let request = crate::packet::RequestPacket {
            session: SessionId(session),
            cxid: 5,
            op: OpCode::CREATE,
            record: Bytes::from(persistent("/a")),
            auth: Some([].into()),
        };
        let packet = Packet::Request(request);
        ensemble.peer(0, PeerEvent::Learner(LearnerConn(conn), packet));
        ensemble.settle();
        let err = match ensemble.last_txn(0).txn {
            Txn::Error(err) => err.0,
            _ => 0,
        };
        assert_eq!(err, wanted);
    }
}
