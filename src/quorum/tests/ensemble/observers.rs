//! An observer whose master is a follower: its clients are served as if it had the leader's ear.

use super::*;
use crate::zab::{ObserverMasterSettings, SyncLimits};

/// The number of the observer among the servers.
const OBSERVER: usize = 3;

fn servers() -> Ensemble {
    let settings = ObserverMasterSettings {
        history_bytes: 1 << 20,
        always_snap: false,
        limits: SyncLimits::default(),
    };
    let config = QuorumConfig { observer_master: Some(settings), ..QuorumConfig::default() };
    let mut ensemble = Ensemble::with(config.clone());
    let observer = Server::new(config, ensemble.now);
    ensemble.servers.push(Server { votes: false, ..observer });
    ensemble.elect(0, &[1, 2]);
    ensemble
}

/// Server 0 leads, and the observer is with server 1.
fn formed() -> Ensemble {
    let mut ensemble = servers();
    ensemble.follow(OBSERVER, 1);
    ensemble.settle();
    assert!(ensemble.servers[OBSERVER].quorum.is_serving());
    assert_eq!(ensemble.servers[1].quorum.report().learners.synced_observers, 1);
    assert_eq!(ensemble.servers[0].quorum.report().learners.learners, 2, "the leader has none");
    ensemble
}

fn sync() -> Vec<u8> {
    record(|writer| text(writer, Some("/")))
}

#[test]
fn its_clients_write_through_the_follower() {
    let mut ensemble = formed();
    ensemble.open(OBSERVER, 0x100);
    let wanted = create(Some("/a"), b"", 0);
    assert_eq!(ensemble.ask(OBSERVER, 0x100, OpCode::CREATE, wanted.clone()), (0, false));
    assert_eq!(ensemble.ask(OBSERVER, 0x100, OpCode::CREATE, wanted), (-110, false));
    assert_eq!(ensemble.ask(OBSERVER, 0x100, OpCode::SYNC, sync()), (0, false));
    ensemble.open(2, 0x101);
    let wanted = create(Some("/b"), b"", 0);
    assert_eq!(ensemble.ask(2, 0x101, OpCode::CREATE, wanted), (0, false));
    ensemble.check_equal();
    // A session may come to it and leave it, as among the others.
    assert!(ensemble.renew(OBSERVER, 0x101) && !ensemble.renew(OBSERVER, 0x999));
    let moved = ErrorCode::SESSION_MOVED.0;
    let wanted = create(Some("/c"), b"", 0);
    assert_eq!(ensemble.ask(2, 0x101, OpCode::CREATE, wanted.clone()), (moved, true));
    assert_eq!(ensemble.ask(OBSERVER, 0x101, OpCode::CREATE, wanted), (0, false));
    assert!(ensemble.renew(0, 0x101));
    let wanted = create(Some("/d"), b"", 0);
    assert_eq!(ensemble.ask(OBSERVER, 0x101, OpCode::CREATE, wanted), (moved, true));
    assert_eq!(ensemble.ask(OBSERVER, 0x100, OpCode::CLOSE_SESSION, Vec::new()), (0, true));
    ensemble.check_equal();
}

/// The follower counts the answers to its own clients' syncs and to the observer's in one order.
#[test]
fn each_sync_is_answered_where_it_was_asked() {
    let mut ensemble = formed();
    ensemble.open(1, 0x100);
    ensemble.open(OBSERVER, 0x101);
    let mut asked = [Vec::new(), Vec::new()];
    for nth in 0..20 {
        let (at, session) = [(1, 0x100), (OBSERVER, 0x101)][nth % 3 % 2];
        let place = &mut asked[nth % 3 % 2];
        let path = format!("/{nth}");
        place.push(ensemble.submit(at, session, OpCode::SYNC, sync()));
        place.push(ensemble.submit(at, session, OpCode::CREATE, create(Some(&path), b"", 0)));
        ensemble.step();
    }
    let wanted = |xids: &[i32]| xids.iter().map(|xid| (*xid, 0, false)).collect::<Vec<_>>();
    assert_eq!(ensemble.replies(1), wanted(&asked[0]));
    assert_eq!(ensemble.replies(OBSERVER), wanted(&asked[1]));
    ensemble.check_equal();
}

/// What it has heard of reaches the leader with what the follower has heard of.
#[test]
fn its_sessions_live_as_long_as_it_hears_of_them() {
    let mut ensemble = formed();
    ensemble.open(OBSERVER, 0x100);
    ensemble.open(OBSERVER, 0x101);
    for _ in 0..40 {
        ensemble.advance(500);
        let report = [(SessionId(0x100), ensemble.now.mono_ms)];
        ensemble.servers[OBSERVER].quorum.on_touches(&report);
    }
    for server in &ensemble.servers {
        assert_eq!(server.tree.session_timeout(SessionId(0x100)), Some(10_000));
        assert_eq!(server.tree.session_timeout(SessionId(0x101)), None);
        assert!(server.ended.is_empty(), "{:?}", server.ended);
    }
}

/// It comes behind: by what the follower has in memory, by its log, by its tree; amid writes.
#[test]
fn it_is_brought_into_sync_by_the_follower() {
    for (history_bytes, reads_log) in [(1 << 20, false), (0, true), (0, false)] {
        let mut ensemble = servers();
        let settings = ObserverMasterSettings {
            history_bytes,
            always_snap: false,
            limits: SyncLimits::default(),
        };
        ensemble.servers[1].quorum.writes.config.observer_master = Some(settings);
        ensemble.close_all();
        ensemble.elect(0, &[1, 2]);
        ensemble.reads_log = reads_log;
        ensemble.open(0, 0x100);
        ensemble.follow(OBSERVER, 1);
        ensemble.settle();
        let loaded = ensemble.loaded;
        let (conn, _) = ensemble.link_of(OBSERVER).unwrap();
        ensemble.close(conn);
        for nth in 0..30 {
            let path = format!("/{nth}");
            ensemble.submit(0, 0x100, OpCode::CREATE, create(Some(&path), b"", 0));
            if nth == 15 {
                ensemble.settle();
                ensemble.follow(OBSERVER, 1);
            }
            ensemble.step();
        }
        ensemble.settle();
        let by_tree = usize::from(history_bytes == 0 && !reads_log);
        assert_eq!(ensemble.loaded - loaded, by_tree, "{history_bytes} {reads_log}");
        let [first, .., last] = &ensemble.servers[..] else { panic!("four of them") };
        assert_eq!(first.tree.digest(), last.tree.digest());
        assert_eq!(first.tree.last_zxid(), last.tree.last_zxid());
    }
}

/// With `syncEnabled=false` it serves what it does not log; a start begins with what it had, and gets
/// the rest.
#[test]
fn it_may_log_nothing() {
    for votes in [false, true] {
        let mut ensemble = servers();
        let observer = &mut ensemble.servers[OBSERVER];
        observer.quorum.writes.config.observer_logs = false;
        observer.votes = votes;
        ensemble.close_all();
        ensemble.elect(0, &[1, 2]);
        ensemble.follow(OBSERVER, 0);
        ensemble.settle();
        ensemble.open(OBSERVER, 0x100);
        for nth in 0..3 {
            let path = format!("/{nth}");
            let wanted = create(Some(&path), b"", 0);
            assert_eq!(ensemble.ask(OBSERVER, 0x100, OpCode::CREATE, wanted), (0, false));
            assert_eq!(ensemble.ask(OBSERVER, 0x100, OpCode::SYNC, sync()), (0, false));
        }
        let logged = ensemble.servers[OBSERVER].log.len();
        // Who votes logs, whatever is set.
        assert_eq!(logged, if votes { ensemble.servers[0].log.len() } else { 0 });
        // It goes on where it is, and where its disk is after a crash.
        for crashes in [false, true] {
            let (conn, _) = ensemble.link_of(OBSERVER).unwrap();
            ensemble.close(conn);
            if crashes {
                let Server { quorum, log, accepted, current, .. } =
                    ensemble.servers.remove(OBSERVER);
                let mut server = Server::new(quorum.writes.config.clone(), ensemble.now);
                (server.votes, server.accepted, server.current) = (votes, accepted, current);
                server.log = log;
                server.replay(Zxid(i64::MAX));
                server.quorum =
                    Quorum::member(quorum.writes.config.clone(), &server.tree, 7, ensemble.now);
                ensemble.servers.push(server);
            }
            ensemble.open(0, 0x200 + i64::from(crashes));
            ensemble.follow(OBSERVER, 0);
            ensemble.settle();
            let [first, .., last] = &ensemble.servers[..] else { panic!("four of them") };
            assert_eq!(first.tree.digest(), last.tree.digest());
            assert_eq!(first.tree.last_zxid(), last.tree.last_zxid());
        }
    }
}

/// A follower that is left by its leader leaves its observers, which another one takes.
#[test]
fn it_goes_to_another_follower() {
    let mut ensemble = formed();
    ensemble.open(OBSERVER, 0x100);
    let (conn, _) = ensemble.link_of(1).unwrap();
    ensemble.close(conn);
    ensemble.settle();
    assert!(!ensemble.servers[OBSERVER].quorum.is_serving());
    ensemble.follow(OBSERVER, 2);
    ensemble.settle();
    assert!(ensemble.renew(OBSERVER, 0x100));
    let wanted = create(Some("/a"), b"", 0);
    assert_eq!(ensemble.ask(OBSERVER, 0x100, OpCode::CREATE, wanted), (0, false));
    ensemble.follow(1, 0);
    ensemble.check_equal();
}
