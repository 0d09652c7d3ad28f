//! Known mistakes, as far as a member's life comes to them: see their table.

use super::ensemble::Ensemble;
use super::*;
use crate::codes::OpCode;
use crate::handoff::{BatchItem, ToShard};
use crate::zab::{StepDown, VoterNews};

/// A leader of three, elected by itself and server 2, that has come this far with it: elected,
/// connected, its epoch stored, acknowledged, and the history sent.
fn leader_of_two(steps: usize) -> World {
    let mut world = World::looking();
    let leads = MemberEvent::Elected { state: PeerState::Leading, leader: ServerId(1) };
    let World { member, quorum, tree, now, .. } = &mut world;
    member.on_event(leads, quorum, tree, *now);
    world.on(MemberEvent::ElectedBy([1, 2].map(ServerId).into()));
    if steps > 0 {
        world.on(MemberEvent::LearnerConnected { conn: LEARNER, address: ADDRESS });
        world.on_packets(LEARNER, &[Packet::FollowerInfo(info(2))]);
    }
    if steps > 1 {
        world.on(MemberEvent::AcceptedEpoch(1));
    }
    if steps > 2 {
        world.on_packets(LEARNER, &[Packet::AckEpoch { zxid: Zxid::ZERO, current_epoch: 0 }]);
        world.on(MemberEvent::CurrentEpoch(1));
    }
    world.take();
    world
}

impl World {
    /// What holds for a tick is seen.
    pub(super) fn pass_a_tick(&mut self) {
        self.pass(1);
        self.pass(ZAB.tick_ms);
    }
}

fn stepped_down(effects: &[MemberEffect]) -> Option<&MemberEffect> {
    effects.iter().find(|effect| matches!(effect, MemberEffect::Tell(MemberNews::StepsDown { .. })))
}

/// Whether the leader steps down and looks again.
fn looks_again(world: &mut World, why: StepDown) -> bool {
    let ends = [
        told(MemberNews::StepsDown { why }),
        MemberEffect::TakeLearners { is_wanted: false },
        MemberEffect::EndRole,
        look(Zxid::ZERO, 0),
    ];
    world.take() == ends
}

/// S53, ZOOKEEPER-3109: a voter that made this server the leader changes its mind. The leader looks
/// again after a tick, whatever it has come to.
#[test]
fn s53_a_leader_whose_voter_changes_its_mind_looks_again() {
    let cases = [
        (leader_of_two(2), StepDown::VotersLeft),
        (leader_of_two(3), StepDown::VotersLeft),
        (World::serving(), StepDown::LostQuorum),
    ];
    for (mut world, why) in cases {
        world.member.on_gone(LEARNER, "it has closed the connection".into());
        world.run();
        world.pass_a_tick();
        let effects = world.take();
        let said = told(MemberNews::StepsDown { why });
        assert!(effects.contains(&said), "{effects:?}");
    }
}

/// The same where it never comes: it says that it looks for another leader, or nobody is there. If
/// nothing is heard the leader looks again after `initLimit`.
#[test]
fn s53_a_leader_does_not_wait_for_voters_that_have_left() {
    let voter = |id, news| MemberEvent::Voter { id: ServerId(id), news };
    for news in [VoterNews::HasLeft, VoterNews::IsUnreachable] {
        let mut world = leader_of_two(0);
        world.on(voter(2, news));
        assert_eq!(world.take(), [], "others that have left may be about to elect");
        world.pass_a_tick();
        assert!(looks_again(&mut world, StepDown::VotersLeft));
        let figures = world.quorum.report().roles.disloyal_voters;
        assert_eq!(figures, 1, "quit_leading_due_to_disloyal_voter");
        // Where it is connected the connection counts.
        let mut world = leader_of_two(3);
        world.on(voter(2, news));
        world.pass_a_tick();
        assert_eq!(stepped_down(&world.take()), None);
    }
    // The third may come in its place.
    let mut world = leader_of_two(0);
    world.on(voter(3, VoterNews::Supports));
    world.on(voter(2, VoterNews::HasLeft));
    world.pass_a_tick();
    assert_eq!(world.take(), []);
    world.on(voter(3, VoterNews::HasLeft));
    world.pass_a_tick();
    assert!(looks_again(&mut world, StepDown::VotersLeft));

    let mut world = leader_of_two(0);
    world.pass(INIT_MS - 1);
    assert_eq!(world.take(), []);
    world.pass(1);
    assert!(looks_again(&mut world, StepDown::NoQuorum));
}

/// `leader.maxTimeToWaitForEpoch`, of ZOOKEEPER-3109: a leader that still waits for epochs gives up
/// when one of those that have elected it is LOOKING after that time, for it or for another.
#[test]
fn s53_a_leader_waits_for_epochs_as_long_as_it_is_told_to() {
    for (limit, is_over) in [(None, false), (Some(3_000), true), (Some(3_001), false)] {
        let mut settings = settings();
        settings.server.epoch_wait_ms_max = limit;
        let mut world = World::with(settings);
        let leads = MemberEvent::Elected { state: PeerState::Leading, leader: ServerId(1) };
        let World { member, quorum, tree, now, .. } = &mut world;
        member.on_event(leads, quorum, tree, *now);
        world.on(MemberEvent::ElectedBy([1, 2].map(ServerId).into()));
        let looks = |id| MemberEvent::Voter { id: ServerId(id), news: VoterNews::Supports };
        world.pass(3_000);
        world.on(looks(2));
        world.take();
        world.pass(1);
        assert_eq!(world.take(), [], "no time ends it");
        world.on(looks(3));
        assert_eq!(world.take(), [], "it has not elected this server");
        world.on(looks(2));
        let why = StepDown::VoterLooks { voter: ServerId(2) };
        let told = world.take().first() == Some(&told(MemberNews::StepsDown { why }));
        assert_eq!(told, is_over, "{limit:?}");
    }
}

/// S55, ZOOKEEPER-2247: the log of the leader fails. Nothing is heard of it from then on, no ping
/// either, so that its followers leave it.
#[test]
fn s55_a_leader_whose_log_has_failed_says_nothing_more() {
    let mut world = World::serving();
    world.pass(ZAB.tick_ms);
    let (packets, _) = world.sent(LEARNER);
    assert!(matches!(packets[..], [Packet::Ping { .. }, ..]), "{packets:?}");
    world.quorum.on_flush_failed();
    for _ in 0..20 {
        world.now.mono_ms += ZAB.tick_ms;
        world.member.on_bytes(LEARNER, &wire(&[Packet::Ack { zxid: Zxid::new(1, 0) }]));
        world.step();
    }
    assert_eq!(world.take(), []);
}

/// S56, ZOOKEEPER-3829: a fourth server is added by restarts alone, with configuration files that
/// name it, while reconfig is disabled. It joins, and when it is elected it can commit.
#[test]
fn s56_a_server_that_restarts_have_added_can_lead() {
    let mut all = Ensemble::new(56, 4);
    all.is_calm = true;
    for at in 0..3 {
        all.nodes[at].members = voting(3);
        all.kill(at);
    }
    all.paused.insert(3);
    all.until_serving();
    let first = all.leader();
    all.open(first, SessionId(1));
    // The leader last.
    for at in (0..3).filter(|at| *at != first).chain([first]) {
        all.nodes[at].members = voting(4);
        all.kill(at);
        if at != first {
            // The old leader takes it back.
            all.until_serving();
        }
    }
    all.paused.clear();
    all.until_serving();
    let second = all.leader();
    all.open(second, SessionId(2));
    all.until("they are equal", Ensemble::has_come_together);
    if second != 3 {
        all.kill(second);
        all.paused.insert(second);
        all.until_serving();
    }
    assert_eq!(all.leader(), 3, "it has the history and the largest id");
    let shown = all.committed.len();
    all.open(3, SessionId(3));
    all.until("its transaction is committed", |all| all.committed.len() > shown);
    all.paused.clear();
    all.until("they are equal", Ensemble::has_come_together);
}

/// S58, ZOOKEEPER-764: an observer is in no quorum, of discovery or of anything else.
#[test]
fn s58_an_observer_is_in_no_quorum() {
    let mut world = World::leading();
    world.on(MemberEvent::LearnerConnected { conn: LEARNER, address: ADDRESS });
    world.on_packets(LEARNER, &[Packet::ObserverInfo(info(4))]);
    assert_eq!(world.take(), []);
    world.pass(INIT_MS);
    let taken = world.take();
    assert_eq!(taken[0], told(MemberNews::StepsDown { why: StepDown::NoQuorum }));
    // What is told of the log is durable, and no more than that.
    assert_eq!(taken.last(), Some(&look(Zxid::ZERO, 0)));
}

/// S61, etcd 20418: the leader is stopped for longer than it leads. Others have led since, and what
/// its client asks first when it goes on is not answered: it would not show what they did.
#[test]
fn s61_a_leader_that_was_paused_answers_no_sync() {
    let mut all = Ensemble::new(61, 3);
    all.is_calm = true;
    all.until_serving();
    let paused = all.leader();
    all.open(paused, SessionId(1));
    all.until("they are equal", Ensemble::has_come_together);
    let synced = |all: &Ensemble, xid: i32| {
        let is_it = |item: &BatchItem| match item {
            BatchItem::Reply(reply) => (reply.xid, reply.op) == (xid, OpCode::SYNC),
            _ => false,
        };
        all.nodes[paused]
            .told
            .iter()
            .any(|told| matches!(told, ToShard::Commit(batch) if batch.items.iter().any(is_it)))
    };
    let before = all.sync(paused, SessionId(1));
    all.until("a leader answers", |all| synced(all, before));
    all.paused.insert(paused);
    all.until("the others look again", |all| {
        (0..3).any(|at| at != paused && !all.nodes[at].serves)
    });
    all.until_serving();
    let (leader, shown) = (all.leader(), all.committed.len());
    assert_ne!(leader, paused);
    all.open(leader, SessionId(2));
    all.until("the new leader commits", |all| all.committed.len() > shown);
    all.paused.clear();
    assert!(all.nodes[paused].quorum.is_leading(), "it does not know yet");
    let late = all.sync(paused, SessionId(1));
    all.until("it follows", |all| {
        all.nodes[paused].serves && !all.nodes[paused].quorum.is_leading()
    });
    assert!(!synced(&all, late));
    all.until("they are equal", Ensemble::has_come_together);
}
