//! What a learner does with what its leader sends.

use super::*;
use crate::packet::LearnerInfo;
use crate::txn::{TxnDigest, write_log_record};

impl Ensemble {
    /// The leader sends this to server 2.
    fn deliver_to_2(&mut self, packet: Packet) {
        self.peer(2, PeerEvent::Leader(packet));
        while self.servers[2].flush() || self.carry_out_next(2) {}
    }

    fn next_zxid(&self) -> Zxid {
        self.servers[2].quorum.writes.last_zxid.next().max(Zxid::new(1, 1))
    }

    /// A transaction of the leader, with a digest that it should have, or has.
    fn propose_to_2(&mut self, session: i64, txn: &Txn, digest: i64) {
        let zxid = self.next_zxid();
        let header = TxnHeader { session: SessionId(session), cxid: 0, zxid, time_ms: 1 };
        let mut record = Vec::new();
        write_log_record(&mut record, &header, txn, Some(TxnDigest { version: 2, tree: digest }));
        self.deliver_to_2(Packet::Proposal { zxid, record: record.into() });
        self.deliver_to_2(Packet::Commit { zxid });
    }
}

/// A tree that is not the leader's is told of, and goes on: Apache's does so too.
#[test]
fn a_digest_that_does_not_match_is_counted_and_ends_nothing() {
    let mut ensemble = Ensemble::formed();
    let txn = Txn::CreateSession { timeout_ms: 10_000 };
    let right = ensemble.servers[2].tree.digest();
    for (session, digest, mismatches) in [(1, right, 0), (2, right + 1, 1), (3, right + 1, 2)] {
        ensemble.propose_to_2(session, &txn, digest);
        let server = &mut ensemble.servers[2];
        while server.commit(ensemble.now) {}
        assert_eq!(server.quorum.report().digest_mismatches, mismatches);
        assert!(server.tree.session_timeout(SessionId(session)).is_some(), "it is applied");
        assert!(server.quorum.is_serving());
    }
}

/// B32: a leader that proposes and never commits is left, and what it has proposed is held over roles.
#[test]
fn b32_what_is_proposed_and_never_committed_has_a_bound() {
    let config = QuorumConfig { proposal_bytes_max: 10_000, ..QuorumConfig::default() };
    let mut ensemble = Ensemble::with(config);
    ensemble.elect(0, &[1, 2]);
    let txn = Txn::CreateSession { timeout_ms: 10_000 };
    for session in 1..50 {
        ensemble.propose_to_2(session, &txn, 0);
    }
    assert!(ensemble.servers[2].ended.is_empty(), "what is committed does not count");
    let propose = |ensemble: &mut Ensemble, zxid: Zxid| {
        let header = TxnHeader { session: SessionId(99), cxid: 0, zxid, time_ms: 1 };
        let mut record = Vec::new();
        write_log_record(&mut record, &header, &txn, None);
        let len = record.len();
        ensemble.deliver_to_2(Packet::Proposal { zxid, record: record.into() });
        len + limits::PROPOSAL_BYTES_BESIDE
    };
    let (mut bytes, mut last) = (0, ensemble.next_zxid());
    while ensemble.servers[2].ended.is_empty() {
        last = ensemble.next_zxid();
        bytes += propose(&mut ensemble, last);
        assert!(bytes < 20_000, "{bytes} bytes are held");
    }
    assert!(bytes > 10_000, "{bytes} bytes are no reason");
    let held = ensemble.servers[2].quorum.writes.last_zxid;
    assert_eq!(held.next(), last, "what is too much is not logged");
    let why = &ensemble.servers[2].ended[0];
    assert!(
        why.contains("not committed more than 10000 bytes") && why.contains("BytesMax"),
        "{why}"
    );

    // The next role begins with as much.
    ensemble.follow(2, 0);
    ensemble.servers[2].accepted = 1;
    ensemble.deliver_to_2(Packet::LeaderInfo { epoch: 1, protocol: LearnerInfo::PROTOCOL });
    ensemble.deliver_to_2(Packet::Diff { zxid: held });
    propose(&mut ensemble, last);
    let why = &ensemble.servers[2].ended[1];
    assert!(why.contains("before this server may serve more than 10000 bytes"), "{why}");
}

/// What cannot be read cannot be logged: the server looks for a leader, and its log is as before.
#[test]
fn a_transaction_that_cannot_be_read_ends_the_role() {
    let mut wrong_zxid = Vec::new();
    let header = TxnHeader { session: SessionId(1), cxid: 0, zxid: Zxid::new(1, 9), time_ms: 1 };
    write_log_record(&mut wrong_zxid, &header, &Txn::CreateSession { timeout_ms: 1 }, None);
    for record in [vec![1, 2, 3], wrong_zxid] {
        let mut ensemble = Ensemble::formed();
        let (before, zxid) = (ensemble.servers[2].quorum.writes.last_zxid, ensemble.next_zxid());
        ensemble.deliver_to_2(Packet::Proposal { zxid, record: record.into() });
        let server = &ensemble.servers[2];
        assert!(server.ended[0].contains("cannot be read"), "{:?}", server.ended);
        assert!(!server.serves && !server.quorum.is_serving());
        assert_eq!((server.log.len(), server.quorum.writes.last_zxid), (0, before));
    }
}

/// A learner keeps its readers out no longer than a leader does: a session with many ephemerals
/// goes out of sight at once, and its nodes are removed a few at a time.
#[test]
fn the_end_of_a_session_with_many_ephemerals_is_applied_in_slices() {
    let mut ensemble = Ensemble::formed();
    ensemble.open(2, 0x300);
    ensemble.open(1, 0x301);
    let nodes = 400;
    for node in 0..nodes {
        let path = format!("/e{node}");
        ensemble.submit(2, 0x300, OpCode::CREATE, create(Some(&path), b"", 1));
    }
    ensemble.settle();
    let names: Vec<String> = (0..nodes).map(|node| format!("/e{node}")).collect();
    // As an Apache's leader ends it, which names the nodes.
    ensemble.propose_to_2(0x300, &Txn::CloseSession { paths: Some(names) }, 0);
    let (mut calls, now) = (0, ensemble.now);
    let server = &mut ensemble.servers[2];
    server.told.clear();
    while server.commit_some(32, now) {
        let is_told = server.told.iter().any(|message| {
            let is_it = |item: &BatchItem| matches!(item, BatchItem::SessionClosed { .. });
            matches!(message, ToShard::Commit(commit) if commit.items.iter().any(is_it))
        });
        let is_shown = server.tree.get("/e7").is_some();
        assert_eq!(is_told, !is_shown, "out of sight at once, when the shards are told");
        assert!(server.tree.is_reaping() || calls == 0 || is_shown || calls > nodes / 32);
        calls += 1;
    }
    assert!(calls > nodes / 32, "{calls} calls");
    assert_eq!(server.quorum.report().digest_mismatches, 0);
    while server.commit(now) {}
    assert!(server.tree.ephemerals_of(SessionId(0x300)).is_empty());
}

/// A server that still removes such nodes when it becomes the leader knows no digest until it has.
#[test]
fn a_leader_that_still_removes_nodes_logs_no_digest() {
    let mut ensemble = Ensemble::formed();
    ensemble.open(1, 0x300);
    for node in 0..50 {
        let path = format!("/e{node}");
        ensemble.submit(1, 0x300, OpCode::CREATE, create(Some(&path), b"", 1));
    }
    ensemble.open(1, 0x301);
    ensemble.submit(1, 0x300, OpCode::CLOSE_SESSION, Vec::new());
    // Server 1 has applied it, and removed nothing yet.
    while ensemble.servers[1].tree.session_timeout(SessionId(0x300)).is_some() {
        for at in [0, 2] {
            while ensemble.carry_out_next(at) {}
            ensemble.servers[at].flush();
            ensemble.servers[at].commit(ensemble.now);
        }
        while ensemble.carry_out_next(1) {}
        ensemble.servers[1].flush();
        ensemble.servers[1].commit_some(1, ensemble.now);
        ensemble.deliver();
    }
    assert!(ensemble.servers[1].tree.is_reaping());
    let conns: Vec<u64> = ensemble.links.keys().copied().collect();
    conns.into_iter().for_each(|conn| ensemble.close(conn));
    for at in 0..3 {
        while ensemble.carry_out_next(at) || ensemble.servers[at].flush() {}
    }
    let server = &mut ensemble.servers[1];
    assert!(server.tree.is_reaping(), "still");
    let outstanding = outstanding::Outstanding::new(&server.tree, true, 0);
    assert!(outstanding.is_blind());
    ensemble.elect(1, &[0, 2]);
    ensemble.open(1, 0x302);
    ensemble.check_equal();
}

/// The leader hears of sessions with the timeouts that their clients have negotiated, of which a
/// lagging tree knows nothing and another one something else.
#[test]
fn pings_are_answered_with_the_negotiated_timeouts() {
    let mut ensemble = Ensemble::formed();
    ensemble.open(0, 0x100);
    let (origin, session) = (ensemble.origin(), SessionId(0x100));
    ensemble.send(2, ToQuorum::Renew { origin, session, timeout_ms: 30_000 });
    ensemble.settle();
    let (origin, session) = (ensemble.origin(), SessionId(0x300));
    ensemble.send(2, ToQuorum::CreateSession { origin, session, timeout_ms: 20_000 });
    let touched = |ensemble: &mut Ensemble| {
        let now_ms = ensemble.now.mono_ms;
        let report = [0x100, 0x300, 0x999].map(|session| (SessionId(session), now_ms));
        ensemble.servers[2].quorum.on_touches(&report);
        while ensemble.carry_out_next(2) {}
        let (_, link) = ensemble.link_of(2).unwrap();
        while link.up.next_packet().unwrap().is_some() {}
        ensemble.peer(2, PeerEvent::Leader(Packet::Ping { zxid: Zxid::ZERO }));
        while ensemble.carry_out_next(2) {}
        let (_, link) = ensemble.link_of(2).unwrap();
        match link.up.next_packet().unwrap() {
            Some(Packet::Pong { touched, .. }) => touched,
            other => panic!("{other:?} is no answer"),
        }
    };
    let wanted = [(SessionId(0x100), 30_000), (SessionId(0x300), 20_000)];
    assert_eq!(touched(&mut ensemble), wanted);
    assert_eq!(touched(&mut ensemble), wanted, "as long as they live");
}

/// Sessions are told of a part with each ping.
#[test]
fn an_answer_to_a_ping_has_a_bound() {
    let mut ensemble = Ensemble::formed();
    let sessions = 70_000;
    let server = &mut ensemble.servers[2];
    for session in 1..=sessions {
        let header =
            TxnHeader { session: SessionId(session), cxid: 0, zxid: Zxid::new(1, 0), time_ms: 0 };
        server.tree.apply(&header, &Txn::CreateSession { timeout_ms: 5_000 }, None);
        server.quorum.on_touches(&[(SessionId(session), 0)]);
    }
    let (mut told, mut counts) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        ensemble.peer(2, PeerEvent::Leader(Packet::Ping { zxid: Zxid::ZERO }));
        let Some(Effect::Learn(LearnEffect::Send { bytes })) = ensemble.servers[2].quorum.poll()
        else {
            panic!("an answer")
        };
        assert!(bytes.len() < 1_000_000, "{} bytes", bytes.len());
        let mut stream = PacketStream::new(1 << 20);
        stream.push(&bytes);
        let Some(Packet::Pong { touched, .. }) = stream.next_packet().unwrap() else {
            panic!("a pong")
        };
        counts.push(touched.len());
        told.extend(touched.into_iter().map(|(session, _)| session.0));
    }
    let bound = crate::quorum::learner::TOUCHED_PER_PING_MAX;
    assert_eq!(counts, [bound, sessions as usize - bound], "the rest comes with the next one");
    assert_eq!(told, (1..=sessions).collect::<Vec<_>>());
}

/// A multi that takes long is applied in slices at a learner too: nobody sees a part of it, what its
/// leader sends meanwhile waits, and the requests after it are answered after it.
#[test]
fn a_long_multi_is_applied_in_slices_and_what_comes_after_it_waits() {
    let config = QuorumConfig { multi_units_at_once: 8, ..QuorumConfig::default() };
    let mut ensemble = Ensemble::with(config);
    ensemble.elect(0, &[1, 2]);
    ensemble.open(2, 0x300);
    let nodes = 200;
    let each = (1, create(Some("/m"), b"", 2));
    let long = ensemble.submit(2, 0x300, OpCode::MULTI, multi(&vec![each; nodes]));
    let after = ensemble.submit(2, 0x300, OpCode::CREATE, create(Some("/after"), b"", 0));
    let now = ensemble.now;
    let (mut slices, before) = (0, ensemble.servers[2].tree.last_zxid());
    while slices < nodes / 8 {
        for at in 0..3 {
            while ensemble.carry_out_next(at) {}
            ensemble.servers[at].flush();
            if at == 2 {
                ensemble.servers[2].commit_some(8, now);
            } else {
                ensemble.servers[at].commit(now);
            }
        }
        ensemble.deliver();
        let server = &ensemble.servers[2];
        if server.quorum.is_applying() {
            slices += 1;
            assert_eq!(server.tree.last_zxid(), before, "nobody sees a part");
            assert!(server.told.iter().all(is_nobodys), "nobody is answered");
        }
        assert!(slices > 0 || server.tree.last_zxid() == before);
        if slices > 0 && !server.quorum.is_applying() {
            break;
        }
    }
    assert!(slices >= nodes / 8 - 1, "{slices} slices");
    assert_eq!(ensemble.replies(2), [(long, 0, false), (after, 0, false)]);
    assert_eq!(ensemble.servers[2].tree.get("/").unwrap().stat().num_children, nodes as i32 + 2);
    ensemble.check_equal();
}
