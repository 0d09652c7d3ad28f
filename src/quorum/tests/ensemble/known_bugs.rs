//! Mistakes of `docs/known-bugs.md` that take whole machines and trees.

use super::*;
use crate::packet::RequestPacket;
use crate::splitmix;

impl Ensemble {
    /// Everything but that server 1 applies what is committed.
    fn step_without_applying_at_1(&mut self) {
        let now = self.now;
        for at in 0..3 {
            while self.carry_out_next(at) {}
            self.servers[at].flush();
            if at != 1 {
                self.servers[at].commit(now);
            }
        }
        self.deliver();
    }

    /// All connections are gone, and whoever had a role has none. Nothing else happens.
    fn lose_all_roles(&mut self) {
        self.close_where(|_| true);
        for at in 0..3 {
            while self.carry_out_next(at) || self.servers[at].flush() {}
        }
    }
}

/// S27, ZOOKEEPER-3598: a role ends when transactions are committed and not applied yet. They are
/// applied once, before anything of the next role is.
#[test]
fn s27_what_was_committed_when_a_role_ended_is_applied_once() {
    let mut ensemble = Ensemble::formed();
    ensemble.open(1, 0x100);
    for _ in 0..20 {
        ensemble.submit(1, 0x100, OpCode::CREATE, create(Some("/n"), b"", 2));
    }
    let shown = ensemble.servers[1].tree.last_zxid();
    while ensemble.servers[0].tree.last_zxid().0 < shown.0 + 20 {
        ensemble.step_without_applying_at_1();
    }
    (0..5).for_each(|_| ensemble.step_without_applying_at_1());
    assert!(ensemble.servers[1].quorum.has_committable());
    ensemble.lose_all_roles();
    assert_eq!(ensemble.servers[1].tree.last_zxid(), shown, "nothing of it is applied");
    ensemble.elect(2, &[0, 1]);
    ensemble.check_equal();
    assert_eq!(ensemble.servers[1].tree.get("/").unwrap().stat().num_children, 21);
    assert!(ensemble.renew(1, 0x100));
    let wanted = create(Some("/n"), b"", 2);
    assert_eq!(ensemble.ask(1, 0x100, OpCode::CREATE, wanted), (0, false));
    ensemble.check_equal();
}

/// S57, ZOOKEEPER-2172, ZOOKEEPER-2819: whoever asks for another membership, and where, is refused:
/// /zookeeper/config stays what it was, and the same at every server.
#[test]
fn s57_a_reconfig_changes_the_membership_of_no_server() {
    let mut ensemble = Ensemble::formed();
    ensemble.open(0, 0x100);
    ensemble.open(1, 0x200);
    let config = |ensemble: &Ensemble, at: usize| {
        let node = ensemble.servers[at].tree.get("/zookeeper/config").unwrap();
        (node.data().map(<[u8]>::to_vec), node.stat())
    };
    let before = config(&ensemble, 0);
    let reconfig = record(|writer| {
        text(writer, Some("server.4=127.0.0.4:1:2:participant;3"));
        text(writer, Some("2"));
        text(writer, None);
        writer.i64(-1);
    });
    for (at, session) in [(0, 0x100), (1, 0x200)] {
        let answer = ensemble.ask(at, session, OpCode::RECONFIG, reconfig.clone());
        assert_eq!(answer, (ErrorCode::RECONFIG_DISABLED.0, false));
    }
    ensemble.check_equal();
    (0..3).for_each(|at| assert_eq!(config(&ensemble, at), before, "server {at}"));
}

/// Bytes that are a request's record, or nearly so.
fn any_record(random: &mut u64) -> (OpCode, Vec<u8>) {
    let mut pick = |end: u64| splitmix::next(random) % end;
    let path = ["/a", "/b", "/a/c", "/", "", "a", "/a//b", "/zookeeper/quota", "/e"];
    let path = path[pick(9) as usize];
    let version = pick(4) as i32 - 1;
    let ops = [
        (OpCode::CREATE, create(Some(path), b"x", pick(8) as i32 - 1)),
        (OpCode::CREATE_TTL, create_ttl(path, 5 + pick(2) as i32, pick(3) as i64 - 1)),
        (OpCode::DELETE, delete(Some(path), version)),
        (OpCode::SET_DATA, set_data(Some(path), None, version)),
        (
            OpCode::MULTI,
            multi(&[(1, create(Some(path), b"", 0)), (2, delete(Some(path), version))]),
        ),
        (OpCode::CREATE_SESSION, 9_000_i32.to_be_bytes().to_vec()),
        (OpCode(pick(120) as i32 - 12), create(Some(path), b"", 0)),
    ];
    let (op, mut bytes) = ops[pick(ops.len() as u64) as usize].clone();
    match pick(4) {
        0 => bytes.truncate(pick(bytes.len() as u64 + 1) as usize),
        1 if !bytes.is_empty() => {
            let at = pick(bytes.len() as u64) as usize;
            bytes[at] = pick(256) as u8;
        }
        _ => {}
    }
    (op, bytes)
}

/// S74, ClickHouse Keeper 104663: whatever a client sends, a transaction that gets into the log is
/// applied by every server, now and by a server that starts on that log.
#[test]
fn s74_whatever_is_logged_can_be_applied_by_everybody() {
    let mut random = 74;
    for _ in 0..8 {
        let mut ensemble = Ensemble::formed();
        ensemble.open(2, 0x300);
        let (conn, _) = ensemble.link_of(2).unwrap();
        for cxid in 0..250 {
            let (op, record) = any_record(&mut random);
            // Server 2 has not asked for one, and would leave who answers it.
            if op == OpCode::SYNC {
                continue;
            }
            // The tree of the session's nodes is made by its own requests.
            let session = SessionId(0x300 + i64::from(cxid % 50 == 49));
            let auth = Some([Id::new("ip", "127.0.0.1")].into());
            let request = RequestPacket { session, cxid, op, record: record.into(), auth };
            ensemble.peer(0, PeerEvent::Learner(LearnerConn(conn), Packet::Request(request)));
            ensemble.settle();
        }
        ensemble.check_equal();
        for server in &ensemble.servers {
            assert!(server.ended.is_empty(), "{:?}", server.ended);
        }
        let server = &mut ensemble.servers[1];
        let (digest, last) = (server.tree.digest(), server.log.last().unwrap().zxid);
        assert!(server.log.len() > 100, "{} transactions", server.log.len());
        server.replay(last);
        assert_eq!(server.tree.digest(), digest);
    }
}

/// S75, ClickHouse Keeper 54572: a leader has prepared what is never committed, and gets the tree of
/// its successor. When it leads again nothing of the old preparations is left.
#[test]
fn s75_what_a_deposed_leader_had_prepared_is_gone_when_it_leads_again() {
    let mut ensemble = Ensemble::formed();
    ensemble.open(0, 0x100);
    assert_eq!(ensemble.ask(0, 0x100, OpCode::CREATE, create(Some("/p"), b"", 0)), (0, false));
    ensemble.links.values_mut().for_each(|link| link.is_cut = true);
    for path in ["/x", "/p/1", "/p/2"] {
        ensemble.submit(0, 0x100, OpCode::CREATE, create(Some(path), b"", 0));
    }
    ensemble.submit(0, 0x100, OpCode::CREATE, create(Some("/p/n"), b"", 2));
    ensemble.submit(0, 0x100, OpCode::SET_DATA, set_data(Some("/p"), None, 0));
    ensemble.settle();
    ensemble.close_all();
    ensemble.elect(1, &[2]);
    ensemble.open(1, 0x200);
    assert_eq!(ensemble.ask(1, 0x200, OpCode::CREATE, create(Some("/y"), b"", 0)), (0, false));
    ensemble.remembers = 0;
    ensemble.close_all();
    ensemble.elect(1, &[2]);
    ensemble.follow(0, 1);
    ensemble.settle();
    assert_eq!(ensemble.loaded, 1, "server 0 has got a tree");
    ensemble.check_equal();
    ensemble.close_all();
    ensemble.elect(0, &[1, 2]);
    assert!(ensemble.renew(0, 0x100));
    let ask = |ensemble: &mut Ensemble, op, record| ensemble.ask(0, 0x100, op, record).0;
    let no_node = ErrorCode::NO_NODE.0;
    assert_eq!(ask(&mut ensemble, OpCode::DELETE, delete(Some("/p/1"), -1)), no_node);
    assert_eq!(ask(&mut ensemble, OpCode::SET_DATA, set_data(Some("/p"), None, 0)), 0);
    assert_eq!(ask(&mut ensemble, OpCode::CREATE, create(Some("/x"), b"", 0)), 0);
    assert_eq!(ask(&mut ensemble, OpCode::CREATE, create(Some("/p/n"), b"", 2)), 0);
    assert!(ensemble.servers[2].tree.get("/p/n0000000000").is_some(), "the first number");
    assert_eq!(ask(&mut ensemble, OpCode::CREATE, create(Some("/y"), b"", 0)), -110);
    ensemble.check_equal();
}

/// S78, YugabyteDB 32875: requests that change nothing, or come again, are answered after the flush
/// of all that they may have seen.
#[test]
fn s78_a_request_that_changes_nothing_waits_for_what_it_has_seen() {
    for at in [0, 1] {
        let mut ensemble = Ensemble::formed();
        ensemble.open(at, 0x100);
        ensemble.servers.iter_mut().for_each(|server| server.is_slow = true);
        let path = record(|writer| text(writer, Some("/")));
        let asked = [
            (OpCode::CREATE, create(Some("/a"), b"", 0), 0),
            (OpCode::CREATE, create(Some("/a"), b"", 0), -110),
            (OpCode::MULTI, multi(&[]), 0),
            (OpCode::DELETE, delete(Some("/none"), -1), -101),
            (OpCode::SYNC, path, 0),
            (OpCode::SET_DATA, set_data(Some("/a"), Some(b""), 7), -103),
        ];
        let asked =
            asked.map(|(op, record, err)| (ensemble.submit(at, 0x100, op, record), err, false));
        assert_eq!(ensemble.replies(at), [], "nothing is flushed");
        ensemble.servers[0].is_slow = false;
        assert_eq!(ensemble.replies(at), [], "no quorum has it");
        ensemble.servers.iter_mut().for_each(|server| server.is_slow = false);
        assert_eq!(ensemble.replies(at), asked);
        ensemble.check_equal();
    }
}
