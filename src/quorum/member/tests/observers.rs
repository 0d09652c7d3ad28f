//! Observers whose master is a follower: both ends.

use super::*;
use crate::zab::{ObserverMasterSettings, SyncLimits};

/// Followers take observers at this port.
const PORT: u16 = 2191;

#[test]
fn an_observer_goes_from_one_follower_to_the_next() {
    let mut settings = settings();
    settings.server.me = ServerId(4);
    let mut world = World::with(settings);
    world.member.observing = Some(Observing::new(Some(PORT), [1, 2, 3].map(ServerId), 50, 7));
    world.take();
    let mut dialled = Vec::new();
    for attempt in 1..=4 {
        world.on(MemberEvent::Elected { state: PeerState::Observing, leader: ServerId(3) });
        let taken = world.take();
        let Some(MemberEffect::DialObserverMaster { follower, port: PORT, attempt: at }) =
            taken.last()
        else {
            panic!("{taken:?}")
        };
        assert_eq!(*at, attempt);
        dialled.push(*follower);
        if attempt % 2 == 0 {
            world.on(MemberEvent::LeaderUnreachable { attempt, why: "refused".into() });
        } else {
            world.on(MemberEvent::LeaderConnected { attempt, conn: LEADER, address: ADDRESS });
            world.member.on_gone(LEADER, "it has crashed".into());
            world.run();
        }
        // It rests for a moment first.
        world.pass(50);
        assert_eq!(world.take().last(), Some(&look(Zxid::ZERO, 0)));
    }
    assert_ne!(dialled[0], dialled[1]);
    assert_eq!(dialled[..2], dialled[2..], "in turn, and never the leader");
    assert!(!dialled.contains(&ServerId(3)));
}

/// From UPTODATE on it takes observers, which are gone with its role.
#[test]
fn a_follower_takes_observers_while_it_follows() {
    let mut world = World::looking();
    world.member.takes_observers = true;
    let settings = ObserverMasterSettings {
        history_bytes: 1 << 20,
        always_snap: false,
        limits: SyncLimits::default(),
    };
    world.quorum.writes.config.observer_master = Some(settings);
    world.learn();
    accept_epoch(&mut world, 1);
    let start = Zxid::new(1, 0);
    let new_leader = Packet::NewLeader { zxid: start, config: None };
    world.on_packets(LEADER, &[Packet::Diff { zxid: Zxid::ZERO }, new_leader]);
    world.on(MemberEvent::CurrentEpoch(1));
    let early = MemberEvent::LearnerConnected { conn: PeerConn(9), address: ADDRESS };
    world.take();
    world.on(early);
    assert_eq!(world.take(), [MemberEffect::Close { conn: PeerConn(9) }]);
    world.on_packets(LEADER, &[Packet::UpToDate]);
    assert!(world.take().contains(&MemberEffect::TakeObservers));
    world.on(MemberEvent::LearnerConnected { conn: LEARNER, address: ADDRESS });
    world.on_packets(LEARNER, &[Packet::ObserverInfo(info(4))]);
    let (packets, _) = world.sent(LEARNER);
    assert!(matches!(packets[..], [Packet::LeaderInfo { epoch: 1, .. }]), "{packets:?}");
    world.on_packets(LEARNER, &[Packet::AckEpoch { zxid: Zxid::ZERO, current_epoch: 0 }]);
    let (packets, _) = world.sent(LEARNER);
    assert!(matches!(packets[..], [Packet::Diff { .. }, Packet::NewLeader { .. }]), "{packets:?}");
    world.on_packets(LEARNER, &[Packet::Ack { zxid: start }]);
    assert_eq!(world.sent(LEARNER).0, [Packet::UpToDate]);
    let (session, timeout_ms) = (SessionId(1), 10_000);
    world.on_packets(LEARNER, &[Packet::Revalidate { session, timeout_ms }]);
    assert_eq!(world.sent(LEADER).0, [Packet::Revalidate { session, timeout_ms }]);
    let zxid = Zxid::new(1, 1);
    let proposal = Packet::Proposal { zxid, record: record(zxid) };
    let revalidated = Packet::Revalidated { session, valid: false };
    world.on_packets(LEADER, &[proposal, Packet::Commit { zxid }, revalidated.clone()]);
    let (packets, _) = world.sent(LEARNER);
    assert_eq!(packets, [Packet::Inform { zxid, record: record(zxid) }, revalidated]);
    world.member.on_gone(LEADER, "it has crashed".into());
    world.run();
    assert!(world.take().contains(&MemberEffect::EndRole));
    world.on_packets(LEARNER, &[Packet::Revalidate { session, timeout_ms }]);
    assert_eq!(world.take(), [], "it is nobody's any more");
}
