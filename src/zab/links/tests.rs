//! Known mistakes, as far as the connections for votes come to them: see their table.

use super::*;
use crate::packet::PeerState;
use crate::zab::QuorumSet;
use crate::zxid::Zxid;

fn links(me: i64) -> Links {
    let voters = [1, 2, 3].map(ServerId).into();
    let members = Members::new(voters, [].into(), QuorumSet::Majority, Zxid::ZERO, Bytes::new());
    Links::new(ServerId(me), vec!["h:3888".to_owned()], members.unwrap(), 1_000)
}

fn notification(leader: i64) -> Notification {
    Notification {
        state: PeerState::Looking,
        leader,
        zxid: Zxid::ZERO,
        round: 1,
        peer_epoch: 0,
        version: Notification::VERSION,
        config: Bytes::new(),
    }
}

/// Server 3 calls.
fn call(links: &mut Links, number: u64) -> VoteConn {
    let conn = VoteConn(number);
    links.on_accepted(conn, Caller { members: vec![ServerId(3)] }, 0);
    let mut greeting = Vec::new();
    Greeting { server_id: 3, addresses: vec!["h:3888".to_owned()] }.write(&mut greeting);
    links.on_bytes(conn, &greeting);
    assert_eq!(links.server_at(conn), Some(ServerId(3)));
    conn
}

fn effects(links: &mut Links) -> Vec<LinkEffect> {
    std::iter::from_fn(|| links.poll()).collect()
}

fn is_heard(links: &mut Links, conn: VoteConn) -> bool {
    let mut bytes = Vec::new();
    notification(3).write(&mut bytes);
    links.on_bytes(conn, &bytes);
    let received = |effect: &LinkEffect| {
        matches!(effect, LinkEffect::Received { from: ServerId(3), notification: got }
            if got.leader == 3)
    };
    effects(links).iter().any(received)
}

/// S50, ZOOKEEPER-3769: a vote is cut at any byte and its connection breaks, or its bytes are any
/// that fit its length. The server is heard as soon as it says something that can be read.
#[test]
fn s50_after_a_malformed_vote_its_server_is_heard() {
    let mut links = links(2);
    let mut whole = Vec::new();
    notification(1).write(&mut whole);
    for (number, len) in (1..).zip(0..whole.len()) {
        let conn = call(&mut links, number);
        links.on_bytes(conn, &whole[..len]);
        links.on_closed(conn, 0);
        let next = call(&mut links, 1_000 + number);
        assert!(is_heard(&mut links, next), "cut at {len}");
        links.on_closed(next, 0);
        effects(&mut links);
    }
    let conn = call(&mut links, 5_000);
    let content = LENGTH_BYTES..whole.len();
    for at in content.clone() {
        for wrong in [0x00, 0x7f, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] = wrong;
            links.on_bytes(conn, &bytes);
            assert_eq!(links.server_at(conn), Some(ServerId(3)));
        }
    }
    for len in 1..content.len() as i32 {
        links.on_bytes(conn, &[&len.to_be_bytes()[..], &vec![0xff; len as usize]].concat());
    }
    effects(&mut links);
    assert!(is_heard(&mut links, conn));
}

/// S51, ZOOKEEPER-2164, ZOOKEEPER-3756: a dial that hangs holds up no other, and is not repeated
/// while it does.
#[test]
fn s51_a_dial_that_hangs_holds_up_no_other() {
    let mut links = links(3);
    links.send(ServerId(1), &notification(3));
    links.send(ServerId(2), &notification(3));
    let dials = [1, 2].map(|id| LinkEffect::Dial { to: ServerId(id) });
    assert_eq!(effects(&mut links), dials);
    let conn = VoteConn(1);
    links.on_dialled(ServerId(2), conn, 5);
    let mut vote = Vec::new();
    notification(3).write(&mut vote);
    let is_vote = |effect: &LinkEffect| match effect {
        LinkEffect::Send { conn: to, bytes } => *to == conn && bytes[..] == vote,
        _ => false,
    };
    assert!(effects(&mut links).iter().any(is_vote));
    for now_ms in (10..60_000).step_by(1_000) {
        links.send(ServerId(1), &notification(3));
        links.send(ServerId(2), &notification(3));
        links.on_time(now_ms);
        let done = effects(&mut links);
        assert!(done.iter().any(is_vote));
        assert!(!done.contains(&dials[0]), "it is under way");
    }
    // It ends at last, and the next one begins when there is something to say.
    links.on_dial_failed(ServerId(1));
    links.send(ServerId(1), &notification(3));
    assert!(effects(&mut links).contains(&dials[0]));
}
