//! Roles end, and others begin.

use super::*;

/// The leader is lost with requests under way: their connections end, what a quorum had stays, and
/// the next leader's history is everybody's.
#[test]
fn a_lost_leader_ends_the_requests_under_way() {
    let mut ensemble = Ensemble::formed();
    ensemble.open(1, 0x100);
    ensemble.open(0, 0x101);
    // It reaches server 1, and is never committed.
    ensemble.servers[0].is_slow = true;
    ensemble.servers[1].is_slow = true;
    ensemble.servers[2].is_slow = true;
    let (_, link) = ensemble.link_of(2).unwrap();
    link.is_cut = true;
    ensemble.submit(1, 0x100, OpCode::CREATE, create(Some("/a"), b"", 0));
    ensemble.submit(0, 0x101, OpCode::CREATE, create(Some("/b"), b"", 0));
    assert_eq!((ensemble.replies(0), ensemble.replies(1)), (vec![], vec![]));
    ensemble.close_all();
    ensemble.servers.iter_mut().for_each(|server| server.is_slow = false);
    for server in &ensemble.servers {
        assert!(!server.quorum.is_serving() && !server.serves, "its clients are disconnected");
        assert_eq!(server.ended.len(), 1, "{:?}", server.ended);
    }
    ensemble.submit(2, 0x100, OpCode::CREATE, create(Some("/x"), b"", 0));
    (0..3).for_each(|at| assert_eq!(ensemble.replies(at), [], "nobody is answered"));
    ensemble.elect(1, &[2, 0]);
    ensemble.check_equal();
    for server in &ensemble.servers {
        assert!(server.tree.get("/a").is_some(), "server 1 had it, and leads");
        assert_eq!(server.tree.last_zxid(), Zxid::new(2, 0));
    }
    assert!(ensemble.renew(2, 0x101), "sessions outlive leaders");
    let wanted = create(Some("/c"), b"", 1);
    assert_eq!(ensemble.ask(2, 0x101, OpCode::CREATE, wanted), (0, false));
    assert_eq!(ensemble.last_txn(0).header.zxid, Zxid::new(2, 1));
    ensemble.check_equal();
}

/// What only the old leader had logged is cut there.
#[test]
fn a_leader_that_comes_back_loses_what_nobody_had() {
    let mut ensemble = Ensemble::formed();
    ensemble.open(0, 0x100);
    ensemble.links.values_mut().for_each(|link| link.is_cut = true);
    ensemble.submit(0, 0x100, OpCode::CREATE, create(Some("/lost"), b"", 0));
    ensemble.settle();
    ensemble.close_all();
    ensemble.elect(1, &[2]);
    ensemble.follow(0, 1);
    ensemble.settle();
    ensemble.open(1, 0x200);
    ensemble.check_equal();
    assert!(ensemble.servers[0].tree.get("/lost").is_none());
}

/// What an old role's clients had in the lanes is not carried out after what came before it was
/// lost with the role.
#[test]
fn what_an_earlier_role_was_asked_is_dropped() {
    for at in [0, 1] {
        let mut ensemble = Ensemble::formed();
        ensemble.open(at, 0x100);
        ensemble.servers[at].is_deaf = true;
        ensemble.close_all();
        ensemble.elect(0, &[1, 2]);
        assert!(ensemble.servers[at].quorum.is_serving());
        let generation = ensemble.servers[at].joins.unwrap();
        let txns = ensemble.servers[0].log.len();
        let late = |ensemble: &mut Ensemble| {
            ensemble.submit(at, 0x100, OpCode::CREATE, create(Some("/late"), b"", 0));
            let (origin, session) = (ensemble.origin(), SessionId(0x100));
            ensemble.send(at, ToQuorum::Renew { origin, session, timeout_ms: 10_000 });
            let (origin, session) = (ensemble.origin(), SessionId(0x200));
            ensemble.send(at, ToQuorum::CreateSession { origin, session, timeout_ms: 10_000 });
            ensemble.settle();
            assert!(ensemble.servers[at].told.iter().all(is_nobodys), "nobody is answered");
            assert_eq!(ensemble.servers[0].log.len(), txns, "nothing is logged");
        };
        late(&mut ensemble);
        // The shard has heard of the role before, and late.
        let joined = ToQuorum::Joined { shard: ShardId(0), generation: generation - 1 };
        ensemble.send(at, joined);
        late(&mut ensemble);
        ensemble.servers[at].is_deaf = false;
        ensemble.settle();
        assert!(ensemble.renew(at, 0x100), "the client comes back");
        let wanted = create(Some("/a"), b"", 0);
        assert_eq!(ensemble.ask(at, 0x100, OpCode::CREATE, wanted), (0, false));
        ensemble.check_equal();
    }
}

/// Whoever asks in the middle of the end of a role whether his session lives is not told that it
/// has expired.
#[test]
fn a_renewal_under_way_when_a_role_ends_is_not_answered() {
    for at in [0, 1] {
        let mut ensemble = Ensemble::formed();
        ensemble.open(2, 0x100);
        ensemble.links.values_mut().for_each(|link| link.is_cut = true);
        let (origin, session) = (ensemble.origin(), SessionId(0x100));
        if at == 0 {
            ensemble.close_all();
        }
        ensemble.send(at, ToQuorum::Renew { origin, session, timeout_ms: 10_000 });
        ensemble.close_all();
        let told = std::mem::take(&mut ensemble.servers[at].told);
        assert!(told.iter().all(is_nobodys), "{told:?}");
        assert!(!ensemble.servers[at].serves);
        ensemble.elect(1, &[0, 2]);
        assert!(ensemble.renew(at, 0x100));
    }
}

/// The shards take clients when the tree shows what the role began with, and not before.
#[test]
fn nobody_is_served_before_the_tree_shows_the_history() {
    let mut ensemble = Ensemble::with_one_behind();
    ensemble.servers[2].is_slow = true;
    ensemble.follow(2, 0);
    ensemble.settle();
    assert!(!ensemble.servers[2].serves, "nothing is durable there");
    ensemble.servers[2].is_slow = false;
    ensemble.servers[2].must_show = ensemble.servers[0].tree.last_zxid();
    ensemble.settle();
    assert!(ensemble.servers[2].serves);
}

/// The words of a member tell its role, how far it is, and whom a leader leads.
#[test]
fn the_report_says_what_a_member_is_at() {
    let mut ensemble = Ensemble::new();
    let report = |ensemble: &Ensemble, at: usize| {
        let report = ensemble.servers[at].quorum.report();
        (report.role, report.zab_state, report.serving, report.epoch)
    };
    let looking = (RoleName::Looking, ZabState::Election, false, None);
    assert_eq!(report(&ensemble, 0), looking);
    ensemble.servers[2].votes = false;
    ensemble.elect(0, &[1, 2]);
    let of = |role| (role, ZabState::Broadcast, true, Some(1));
    assert_eq!(report(&ensemble, 0), of(RoleName::Leading));
    assert_eq!(report(&ensemble, 1), of(RoleName::Following));
    assert_eq!(report(&ensemble, 2), of(RoleName::Observing));
    ensemble.open(0, 0x100);
    let leader = ensemble.servers[0].quorum.report();
    let learners = leader.learners;
    assert_eq!(
        (learners.learners, learners.synced_followers, learners.synced_observers),
        (2, 1, 1)
    );
    assert_eq!((leader.pending_syncs, leader.sessions), (0, 1));
    let ProposalSizes { last, min, max } = leader.proposal_sizes;
    let bytes = ensemble.servers[1].log[0].record.len();
    assert_eq!((last, min, max), (bytes, bytes, bytes));
    ensemble.close_all();
    (0..3).for_each(|at| assert_eq!(report(&ensemble, at), looking));
}

/// What the words tell of roles: how often, how much, and how long it took.
#[test]
fn roles_are_counted_and_timed() {
    let mut ensemble = Ensemble::formed();
    ensemble.open(1, 0x100);
    ensemble.ask(1, 0x100, OpCode::CREATE, create(Some("/a"), b"", 0));
    let roles_of = |ensemble: &Ensemble, at: usize| ensemble.servers[at].quorum.report().roles;
    let (leader, follower) = (roles_of(&ensemble, 0), roles_of(&ensemble, 1));
    assert_eq!((leader.proposals, leader.commits, leader.learner_commits), (2, 2, 0));
    assert_eq!((leader.diffs, leader.snaps, leader.looking), (2, 0, 1));
    let of_learner = (follower.learner_proposals, follower.learner_commits, follower.commits);
    assert_eq!(of_learner, (2, 2, 0));
    let series = [follower.elections, follower.follower_syncs, follower.unavailable];
    assert!(series.iter().all(|series| series.count == 1));
    assert_eq!((follower.observer_syncs.count, follower.leader_unavailable.count), (0, 0));
    assert_eq!((leader.leader_unavailable.count, leader.follower_syncs.count), (1, 0));
    // The role ends: what it has counted stays, and the next one adds to it.
    ensemble.close_all();
    let leader = roles_of(&ensemble, 0);
    assert_eq!((leader.looking, leader.proposals, leader.diffs), (2, 2, 2));
    ensemble.elect(0, &[1, 2]);
    assert_eq!(roles_of(&ensemble, 0).diffs, 4);
    ensemble.servers[0].quorum.reset_counts();
    assert_eq!((roles_of(&ensemble, 0).looking, roles_of(&ensemble, 0).diffs), (0, 0));
}

#[test]
fn no_answer_names_a_zxid_before_the_epoch() {
    let mut ensemble = Ensemble::formed();
    ensemble.open(1, 0x100);
    ensemble.close_all();
    ensemble.elect(0, &[1, 2]);
    ensemble.submit(1, 0x100, OpCode::SYNC, record(|writer| text(writer, Some("/"))));
    ensemble.settle();
    let told = std::mem::take(&mut ensemble.servers[1].told);
    let Some(ToShard::Commit(commit)) = told.last() else { panic!("{told:?}") };
    let [BatchItem::Reply(reply)] = &commit.items[..] else { panic!("{commit:?}") };
    assert_eq!(reply.zxid, Zxid::new(2, 0));
}
