//! Clients of any server are served, in the order of each.

use super::*;

/// Clients that saw an Apache's epoch begin must not be refused: it is shown from the start.
#[test]
fn the_start_of_the_epoch_is_shown() {
    let mut ensemble = Ensemble::formed();
    ensemble.open(0, 0x100);
    ensemble.close_all();
    ensemble.elect(1, &[0, 2]);
    for server in &ensemble.servers {
        assert!(server.quorum.is_serving());
        assert_eq!(server.tree.last_zxid(), Zxid::new(2, 0));
    }
}

/// Before the first transaction of all only a leader shows the start of an epoch, as an Apache's.
/// One that has shown it never shows less.
#[test]
fn followers_of_an_ensemble_that_has_logged_nothing_show_nothing() {
    let local = QuorumConfig { local_sessions: true, ..QuorumConfig::default() };
    let mut ensemble = Ensemble::with(local);
    ensemble.elect(0, &[1, 2]);
    ensemble.close_all();
    ensemble.elect(1, &[0, 2]);
    let shown = |ensemble: &Ensemble| -> Vec<Zxid> {
        ensemble.servers.iter().map(|server| server.tree.last_zxid()).collect()
    };
    let start = Zxid::new(2, 0);
    assert_eq!(shown(&ensemble), [start, start, Zxid::ZERO]);
    assert!(ensemble.servers.iter().all(|server| server.quorum.is_serving() && server.serves));
    ensemble.open(2, 0x100);
    ensemble.submit(2, 0x100, OpCode::SYNC, record(|writer| text(writer, Some("/"))));
    ensemble.settle();
    let told = std::mem::take(&mut ensemble.servers[2].told);
    let Some(ToShard::Commit(commit)) = told.last() else { panic!("{told:?}") };
    let [BatchItem::Reply(reply)] = &commit.items[..] else { panic!("{commit:?}") };
    assert_eq!((reply.zxid, reply.err), (Zxid::ZERO, ErrorCode::OK));
    assert_eq!(ensemble.ask(2, 0x100, OpCode::CREATE, create(Some("/a"), b"", 0)), (0, false));
    assert_eq!(shown(&ensemble), [Zxid::new(2, 1); 3]);
    ensemble.check_equal();
}

#[test]
fn writes_are_taken_anywhere_and_logged_once() {
    let mut ensemble = Ensemble::formed();
    for (at, path) in ["/a", "/b", "/c"].into_iter().enumerate() {
        let session = 0x100 + at as i64;
        ensemble.open(at, session);
        let wanted = create(Some(path), b"", 0);
        assert_eq!(ensemble.ask(at, session, OpCode::CREATE, wanted.clone()), (0, false));
        assert_eq!(ensemble.ask(at, session, OpCode::CREATE, wanted), (-110, false));
        let LogRecord { header, txn, .. } = ensemble.last_txn(at);
        assert_eq!((header.session, header.cxid), (SessionId(session), ensemble.xid));
        assert_eq!(txn, Txn::Error(ErrorCode::NODE_EXISTS));
    }
    assert_eq!(ensemble.servers[0].log.len(), 9, "one transaction for each request");
    ensemble.check_equal();
}

/// Replies come in the order of the requests, whoever decides them.
#[test]
fn s59_a_session_that_pipelines_at_a_follower_is_answered_in_order() {
    let mut ensemble = Ensemble::formed();
    ensemble.open(1, 0x100);
    let first = ensemble.submit(1, 0x100, OpCode::CREATE, create(Some("/a"), b"", 0));
    ensemble.submit(1, 0x100, OpCode::CREATE, vec![1, 2, 3]);
    ensemble.submit(1, 0x100, OpCode::SYNC, record(|writer| text(writer, Some("/"))));
    let ops = [(1, create(Some("/a/b"), b"", 0)), (2, delete(Some("/none"), -1))];
    ensemble.submit(1, 0x100, OpCode::MULTI, multi(&ops));
    ensemble.submit(1, 0x100, OpCode::MULTI, vec![0, 0, 0, 1]);
    ensemble.submit(1, 0x100, OpCode::SET_DATA, set_data(Some("/a"), Some(b"x"), 7));
    ensemble.submit(1, 0x100, OpCode::CLOSE_SESSION, Vec::new());
    let wanted = [0, -5, 0, 0, -5, -103, 0];
    let wanted: Vec<(i32, i32, bool)> =
        (first..).zip(wanted).map(|(xid, err)| (xid, err, xid == first + 6)).collect();
    assert_eq!(ensemble.replies(1), wanted);
    assert_eq!(ensemble.servers[0].log.len(), 5, "what cannot be read is not forwarded");
    ensemble.check_equal();
}

/// A body that cannot be read gets a zxid of its own from this leader, whoever forwards it.
#[test]
fn what_cannot_be_read_gets_a_fresh_zxid_from_the_leader() {
    let mut ensemble = Ensemble::formed();
    ensemble.open(1, 0x100);
    let (conn, _) = ensemble.link_of(1).unwrap();
    let ops = [OpCode::CREATE, OpCode::DELETE, OpCode::SET_DATA, OpCode::SET_ACL, OpCode::MULTI];
    for (cxid, op) in (50..).zip(ops) {
        let request = crate::packet::RequestPacket {
            session: SessionId(0x100),
            cxid,
            op,
            record: Bytes::from_static(&[1]),
            auth: Some([].into()),
        };
        let packet = crate::packet::Packet::Request(request);
        let before = ensemble.last_txn(0).header.zxid;
        ensemble.peer(0, PeerEvent::Learner(LearnerConn(conn), packet));
        ensemble.settle();
        let LogRecord { header, txn, .. } = ensemble.last_txn(2);
        assert_eq!((header.zxid, header.cxid), (before.next(), cxid));
        assert_eq!(txn, Txn::Error(ErrorCode::MARSHALLING_ERROR));
    }
    ensemble.check_equal();
}

/// The old connection of a session that moved fails at its next write, which is logged.
#[test]
fn a_moved_session_is_refused_where_it_was() {
    let mut ensemble = Ensemble::formed();
    ensemble.open(1, 0x100);
    let moved = ErrorCode::SESSION_MOVED;
    for (from, to) in [(1, 2), (2, 0), (0, 1)] {
        assert!(ensemble.renew(to, 0x100));
        let path = format!("/{from}");
        let wanted = create(Some(&path), b"", 0);
        assert_eq!(ensemble.ask(from, 0x100, OpCode::CREATE, wanted.clone()), (moved.0, true));
        assert_eq!(ensemble.last_txn(2).txn, Txn::Error(moved));
        assert_eq!(ensemble.ask(to, 0x100, OpCode::CREATE, wanted), (0, false));
    }
    let root = record(|writer| text(writer, Some("/")));
    let logged = ensemble.servers[0].log.len();
    assert_eq!(ensemble.ask(0, 0x100, OpCode::SYNC, root).0, moved.0);
    assert_eq!(ensemble.servers[0].log.len(), logged, "a sync is no transaction");
    assert_eq!(ensemble.ask(1, 0x100, OpCode::CLOSE_SESSION, Vec::new()), (0, true));
    assert!(!ensemble.renew(2, 0x100) && !ensemble.renew(0, 0x100), "it is closed");
    ensemble.check_equal();
}

/// A log that has room for the write, but not for what may have to be logged in its place, is no
/// excuse: nothing is logged then, and the write is refused all the same.
#[test]
fn a_moved_session_is_refused_where_it_was_when_there_is_little_room() {
    let mut ensemble = Ensemble::formed();
    ensemble.open(0, 0x100);
    assert!(ensemble.renew(1, 0x100));
    let logged = ensemble.servers[0].log.len();
    ensemble.servers[0].quorum.on_log_room(10_000);
    let wanted = create(Some("/a"), b"", 0);
    let moved = ErrorCode::SESSION_MOVED.0;
    assert_eq!(ensemble.ask(0, 0x100, OpCode::CREATE, wanted.clone()).0, moved);
    assert_eq!(ensemble.servers[0].log.len(), logged, "nothing is logged");
    assert_eq!(ensemble.ask(1, 0x100, OpCode::CREATE, wanted), (0, false));
    ensemble.check_equal();
}

/// Whoever had it may end it, wherever it is by now.
#[test]
fn a_moved_session_may_be_ended_from_where_it_was() {
    for (from, to) in [(1, 2), (2, 0), (0, 1)] {
        let mut ensemble = Ensemble::formed();
        ensemble.open(from, 0x100);
        assert!(ensemble.renew(to, 0x100));
        assert_eq!(ensemble.ask(from, 0x100, OpCode::CLOSE_SESSION, Vec::new()), (0, true));
        assert!(matches!(ensemble.last_txn(2).txn, Txn::CloseSession { .. }));
        assert!(!ensemble.renew(to, 0x100), "it is closed");
        ensemble.check_equal();
    }
}

/// A follower's clients live as long as it hears of them.
#[test]
fn sessions_of_followers_expire_at_the_leader() {
    let mut ensemble = Ensemble::formed();
    ensemble.open(1, 0x100);
    ensemble.open(2, 0x101);
    let wanted = create(Some("/e"), b"", 1);
    assert_eq!(ensemble.ask(2, 0x101, OpCode::CREATE, wanted), (0, false));
    for _ in 0..40 {
        ensemble.advance(500);
        ensemble.servers[1].quorum.on_touches(&[(SessionId(0x100), ensemble.now.mono_ms)]);
    }
    for server in &ensemble.servers {
        assert_eq!(server.tree.session_timeout(SessionId(0x100)), Some(10_000));
        assert_eq!(server.tree.session_timeout(SessionId(0x101)), None);
        assert!(server.tree.get("/e").is_none(), "its ephemeral is gone");
        assert!(server.ended.is_empty(), "{:?}", server.ended);
    }
    ensemble.check_equal();
}

/// With `leaderServes=no` a leader does nothing but lead, and takes clients when another one leads.
#[test]
fn a_leader_takes_no_clients_where_it_is_to_lead_only() {
    let config = QuorumConfig { leader_serves: false, ..QuorumConfig::default() };
    let mut ensemble = Ensemble::with(config);
    for leader in [0, 1] {
        let others = [0, 1, 2].map(|at| at != leader);
        ensemble.elect(leader, if leader == 0 { &[1, 2] } else { &[0, 2] });
        let serving = |server: &Server| (server.serves, server.quorum.report().serving);
        let serve: Vec<_> = ensemble.servers.iter().map(serving).collect();
        assert_eq!(serve, others.map(|serves| (serves, serves)));
        let session = 0x100 + leader as i64;
        ensemble.open(2, session);
        let path = format!("/{leader}");
        let wanted = create(Some(&path), b"", 0);
        assert_eq!(ensemble.ask(2, session, OpCode::CREATE, wanted), (0, false));
        ensemble.check_equal();
        ensemble.close_all();
    }
}

/// No sync is answered by a leader that no quorum follows (S60).
#[test]
fn s60_a_sync_waits_for_a_quorum() {
    let path = record(|writer| text(writer, Some("/")));
    for at in [0, 1] {
        let mut ensemble = Ensemble::formed();
        ensemble.open(at, 0x100);
        assert_eq!(ensemble.ask(at, 0x100, OpCode::SYNC, path.clone()), (0, false));
        let others: &[usize] = if at == 0 { &[1, 2] } else { &[2] };
        others.iter().for_each(|other| ensemble.link_of(*other).unwrap().1.is_cut = true);
        let xid = ensemble.submit(at, 0x100, OpCode::SYNC, path.clone());
        // A follower that asks is one of the quorum itself.
        let wanted = if at == 0 { vec![] } else { vec![(xid, 0, false)] };
        assert_eq!(ensemble.replies(at), wanted);
        ensemble.links.values_mut().for_each(|link| link.is_cut = false);
        let wanted = if at == 0 { vec![(xid, 0, false)] } else { vec![] };
        assert_eq!(ensemble.replies(at), wanted);
    }
}

/// A sync is answered before the write after it, and after the write before it, wherever the
/// session is.
#[test]
fn a_sync_is_answered_between_the_writes_around_it() {
    let path = record(|writer| text(writer, Some("/")));
    for at in [0, 1, 2] {
        let mut ensemble = Ensemble::formed();
        ensemble.open(at, 0x100);
        let mut asked = Vec::new();
        for nth in 0..10 {
            let name = format!("/n{nth}");
            let made = ensemble.submit(at, 0x100, OpCode::CREATE, create(Some(&name), b"", 0));
            let synced = ensemble.submit(at, 0x100, OpCode::SYNC, path.clone());
            asked.extend([(made, 0, false), (synced, 0, false)]);
            // Some are on their way together, some are not.
            for _ in 0..nth % 3 {
                ensemble.step();
            }
        }
        asked.push((ensemble.submit(at, 0x100, OpCode::DELETE, delete(Some("/n0"), -1)), 0, false));
        assert_eq!(ensemble.replies(at), asked);
        assert_eq!(ensemble.servers[0].quorum.report().pending_syncs, 0);
        ensemble.check_equal();
    }
}
