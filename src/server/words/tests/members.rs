//! The words of a member of an ensemble, against what an ensemble of three 3.9.5 voters and an
//! observer sent.

use super::*;

/// The keys of an answer of mntr, but for what is Ringkeeper's own.
fn keys(text: &str) -> Vec<&str> {
    let lines = text.lines().filter(|line| !line.starts_with("zk_ringkeeper_"));
    lines.map(|line| line.split_once('\t').expect("a key and a value").0).collect()
}

fn member(mode: Mode, peer_state: &str) -> Reports {
    let mut reports = fresh();
    reports.server.mode = mode;
    let ensemble =
        EnsembleReport { peer_state: peer_state.into(), quorum_size: 3, ..Default::default() };
    reports.monitor.ensemble = Some(ensemble);
    reports
}

fn leader() -> Reports {
    let mut reports = member(Mode::Leader, "leading - broadcast");
    reports.server.proposal_sizes = Some(ProposalSizes { last: -1, min: -1, max: -1 });
    if let Some(ensemble) = &mut reports.monitor.ensemble {
        ensemble.leader = Some(LeaderReport {
            learners: 3,
            synced_followers: 2,
            synced_observers: 1,
            uptime_ms: 2690,
            ..LeaderReport::default()
        });
        ensemble.roles.diffs = 3;
        ensemble.roles.looking = 1;
    }
    reports
}

/// Lines of an answer that begin with one of these keys.
fn lines_of<'a>(text: &'a str, wanted: &[&str]) -> Vec<&'a str> {
    let of_those =
        |line: &&str| line.split_once('\t').is_some_and(|(key, _)| wanted.contains(&key));
    text.lines().filter(of_those).collect()
}

#[test]
fn mntr_of_each_role_has_apaches_keys_in_its_order() {
    let mut observer = member(Mode::Observer, "observing - broadcast");
    if let Some(ensemble) = &mut observer.monitor.ensemble {
        ensemble.observer_master = Some(3);
        ensemble.roles.looking = 1;
    }
    for (reports, apaches) in [
        (leader(), include_str!("../golden/mntr-3.9.5-leader.txt")),
        (
            member(Mode::Follower, "following - broadcast"),
            include_str!("../golden/mntr-3.9.5-follower.txt"),
        ),
        (observer, include_str!("../golden/mntr-3.9.5-observer.txt")),
    ] {
        let ours = text(Word::Mntr, &reports);
        assert_eq!(keys(&ours), keys(apaches), "{}", reports.server.mode.name());
        assert_eq!(lines_of(&ours, OF_ROLES), lines_of(apaches, OF_ROLES));
    }
}

/// Those whose values are the role's.
const OF_ROLES: &[&str] = &[
    "zk_server_state",
    "zk_peer_state",
    "zk_observer_master_id",
    "zk_quorum_size",
    "zk_learners",
    "zk_synced_followers",
    "zk_synced_non_voting_followers",
    "zk_synced_observers",
    "zk_pending_syncs",
    "zk_leader_uptime",
    "zk_last_proposal_size",
    "zk_min_proposal_size",
    "zk_max_proposal_size",
    "zk_diff_count",
    "zk_snap_count",
    "zk_proposal_count",
    "zk_commit_count",
    "zk_looking_count",
];

#[test]
fn mntr_shows_what_is_counted_of_roles() {
    let mut reports = leader();
    reports.server.proposal_sizes = Some(ProposalSizes { last: 107, min: 48, max: 127 });
    if let Some(ensemble) = &mut reports.monitor.ensemble {
        let roles = &mut ensemble.roles;
        (roles.proposals, roles.diffs, roles.snaps) = (26, 1, 2);
        (roles.commits, roles.learner_proposals, roles.learner_commits) = (25, 7, 6);
        (roles.elections.count, roles.elections.sum, roles.elections.max) = (2, 31, 20);
        (roles.follower_syncs.count, roles.observer_syncs.count) = (3, 4);
        (roles.unavailable.count, roles.leader_unavailable.count) = (5, 6);
    }
    let mntr = text(Word::Mntr, &reports);
    for line in [
        "zk_last_proposal_size\t107",
        "zk_min_proposal_size\t48",
        "zk_max_proposal_size\t127",
        "zk_proposal_count\t26",
        "zk_commit_count\t25",
        "zk_learner_proposal_received_count\t7",
        "zk_learner_commit_received_count\t6",
        "zk_diff_count\t1",
        "zk_snap_count\t2",
        "zk_avg_election_time\t15.5",
        "zk_max_election_time\t20",
        "zk_cnt_follower_sync_time\t3",
        "zk_cnt_observer_sync_time\t4",
        "zk_cnt_unavailable_time\t5",
        "zk_cnt_leader_unavailable_time\t6",
    ] {
        assert!(mntr.lines().any(|of| of == line), "{line}");
    }
}

#[test]
fn srvr_of_members() {
    let text_of = |reports: &Reports| text(Word::Srvr, reports);
    assert!(text_of(&leader()).ends_with(
        "Zxid: 0x0\nMode: leader\nNode count: 5\nProposal sizes last/min/max: -1/-1/-1\n"
    ));
    let follower = member(Mode::Follower, "following - broadcast");
    assert!(text_of(&follower).ends_with("Mode: follower\nNode count: 5\n"));
}

#[test]
fn conf_of_a_member() {
    let mut reports = fresh();
    reports.conf.server_id = 4;
    reports.conf.ensemble = Some(EnsembleConf {
        init_limit: 10,
        sync_limit: 5,
        election_ports: vec![22624],
        quorum_ports: vec![22614],
        is_observer: true,
        membership: "server.1=127.0.0.1:22611:22621:participant\n\
                     server.4=127.0.0.1:22614:22624:observer\nversion=0"
            .into(),
    });
    let wanted = "serverId=4\ninitLimit=10\nsyncLimit=5\nelectionAlg=3\nelectionPort=22624\n\
                  quorumPort=22614\npeerType=1\nmembership: \n\
                  server.1=127.0.0.1:22611:22621:participant\n\
                  server.4=127.0.0.1:22614:22624:observer\nversion=0";
    assert!(text(Word::Conf, &reports).ends_with(wanted));
    if let Some(ensemble) = &mut reports.conf.ensemble {
        (ensemble.is_observer, ensemble.election_ports) = (false, vec![1, 2]);
    }
    let conf = text(Word::Conf, &reports);
    assert!(conf.contains("electionPort=1|2\n") && conf.contains("peerType=0\n"), "{conf}");
}

/// A learner knows which sessions there are, and not when they end.
#[test]
fn dump_of_a_learner() {
    let mut reports = fresh();
    let sessions = [0x0100_02df_733d_0000, 0x0300_02df_7289_0000, -1];
    reports.sessions.of_learner = Some(sessions.map(|id| (id, 20_000)).to_vec());
    let wanted = "SessionTracker dump:\nGlobal Sessions(3):\n0x10002df733d0000\t20000ms\n\
                  0x30002df72890000\t20000ms\n0xffffffffffffffff\t20000ms\n\
                  ephemeral nodes dump:\n";
    assert!(text(Word::Dump, &reports).starts_with(wanted));
    let local = SessionExpiry { at_ms: 1_795_327_864_000, sessions: vec![0x17] };
    reports.sessions.local = Some(vec![local.clone()]);
    let wanted = "SessionTracker dump:\nLocal Session Sets (1)/(1):\n1 expire at ";
    let dump = text(Word::Dump, &reports);
    assert!(dump.starts_with(wanted) && dump.contains("\n\t0x17\nGlobal Sessions(3):\n"), "{dump}");
}

/// Where local sessions are enabled a leader tells the two kinds apart.
#[test]
fn dump_of_a_leader_with_local_sessions() {
    let mut reports = fresh();
    let global = SessionExpiry { at_ms: 1_795_327_864_000, sessions: vec![0x18] };
    (reports.sessions.buckets, reports.sessions.local) = (vec![global], Some(Vec::new()));
    let wanted =
        "SessionTracker dump:\nLocal Session Sets (0)/(0):\nGlobal Session Sets (1)/(1):\n";
    let dump = text(Word::Dump, &reports);
    assert!(dump.starts_with(wanted) && dump.contains("\n\t0x18\nephemeral nodes"), "{dump}");
}
