//! Configurations of ensembles through [`load`].

use std::io;

use super::super::load::load;
use super::super::notice::Origin;
use super::super::settings::Config;
use super::super::sources::Flag;
use super::*;

const THREE: &str = "dataDir=/d\nclientPort=2181\ntickTime=2000\ninitLimit=10\nsyncLimit=5\n\
                     server.1=a:2888:3888\nserver.2=b:2888:3888\nserver.3=c:2888:3888\n";

/// Loads files by path; everything else is not there. The notices come as text.
fn load_files(
    files: &[(&str, &str)],
    flags: &[&str],
) -> Result<(Config, Vec<String>), ConfigError> {
    let read = |path: &Path| {
        let found = files.iter().find(|(name, _)| Path::new(name) == path);
        let bytes = found.map(|(_, text)| text.as_bytes().to_vec());
        bytes.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    };
    let flags: Vec<_> =
        flags.iter().filter_map(|flag| Flag::parse(flag, Origin::CommandLine)).collect();
    let loaded = load(&["zoo.cfg".to_owned()], &flags, &read)?;
    Ok((loaded.config, loaded.notices.iter().map(ToString::to_string).collect()))
}

/// A configuration, read by server 2.
fn by_two(text: &str, flags: &[&str]) -> Result<(EnsembleConfig, Vec<String>), ConfigError> {
    let (config, notices) = load_files(&[("zoo.cfg", text), ("/d/myid", "2\n")], flags)?;
    Ok((config.ensemble.expect("an ensemble"), notices))
}

fn refusal(text: &str) -> (String, u8) {
    let refusal = by_two(text, &[]).expect_err("a refused configuration");
    (refusal.to_string(), refusal.exit() as u8)
}

#[test]
fn an_ensemble_has_apaches_defaults() {
    let (ensemble, notices) = by_two(THREE, &[]).expect("a good configuration");
    assert_eq!(notices, Vec::<String>::new());
    let membership = ensemble.membership.clone();
    let wanted = EnsembleConfig {
        me: ServerId(2),
        members: Members::try_from(&membership).expect("members"),
        membership,
        election: ElectionSettings::default(),
        zab: ZabSettings { tick_ms: 2000, init_ticks: 10, sync_ticks: 5 },
        connect_ticks: 10,
        ports: PeerPorts {
            listen_on_all: false,
            bind_tries: 3,
            connect_ms: 5000,
            greeting_ms: 10_000,
            keep_alive: false,
            names_all_addresses: false,
            probe_ms: Some(1000),
            retry_delay_ms: 100,
            observer_master: None,
            networks: Vec::new(),
        },
        leader_serves: true,
        local_sessions: false,
        local_sessions_upgrading: false,
        epoch_wait_ms_max: None,
        synchronization: Synchronization {
            in_memory: 500,
            log_part_max: Some(0.33),
            always_snap: false,
            observer_history_bytes: 32 << 20,
            limits: SyncLimits { snaps: 10, diffs: 100 },
        },
        observer_logs: true,
        observer_waits_ms_max: (0, 0),
        empty_votes: true,
        eager_acl_check: false,
        of_leaders: LeaderBounds { proposal_bytes_max: None, memory_kept_free: None },
    };
    assert_eq!(ensemble, wanted);
    assert_eq!((ensemble.voters(), ensemble.election.interval_ms_min), (3, 200));
    assert_eq!(
        ensemble.members.text(),
        "server.1=a:2888:3888:participant\nserver.2=b:2888:3888:participant\n\
         server.3=c:2888:3888:participant\nversion=0"
    );
}

#[test]
fn values_reach_their_fields() {
    let text = format!(
        "{THREE}connectToLearnerMasterLimit=20\nelectionPortBindRetry=0\n\
         quorumListenOnAllIPs=true\nquorumCnxnTimeoutMs=700\ncnxTimeout=900\nleaderServes=no\n\
         localSessionsEnabled=true\nlocalSessionsUpgradingEnabled=TRUE\n\
         fastleader.minNotificationInterval=50\nfastleader.maxNotificationInterval=5000\n\
         leader.maxTimeToWaitForEpoch=3000\nsnapshotSizeFactor=-1\ncommitLogCount=900\n\
         multiAddress.enabled=true\nmultiAddress.reachabilityCheckEnabled=false\n\
         tcpKeepAlive=true\nsyncEnabled=true\n\
         observer.syncEnabled=false\nobserver.election.DelayMs=30\nforceSnapshotSync=true\n\
         leader.maxConcurrentSnapSyncs=2\nleader.maxConcurrentDiffSyncs=3\n\
         leaderConnectDelayDuringRetryMs=7\ndb.autocreate=false\nenableEagerACLCheck=true\n\
         observerMasterPort=2999\nobserverMaster.sizeLimit=99\n\
         ringkeeper.peerNetworks=10.1.2.3/8, ::/0,\n\
         ringkeeper.proposalBytesMax=20000000\nringkeeper.memoryKeptFree=0\n"
    );
    let (ensemble, notices) = by_two(&text, &[]).expect("a good configuration");
    let of_networks = |notice: &String| notice.contains("whoever calls from these");
    assert!(notices.iter().all(of_networks), "{notices:?}");
    let ports = PeerPorts {
        listen_on_all: true,
        bind_tries: 0,
        connect_ms: 900,
        greeting_ms: 700,
        keep_alive: true,
        names_all_addresses: true,
        probe_ms: None,
        retry_delay_ms: 7,
        observer_master: Some(2999),
        networks: vec!["10.0.0.0/8".parse().expect("one"), "::/0".parse().expect("one")],
    };
    assert_eq!((ensemble.ports, ensemble.connect_ticks), (ports, 20));
    let election = &ensemble.election;
    assert_eq!((election.interval_ms_min, election.interval_ms_max), (50, 5000));
    let synchronization = Synchronization {
        in_memory: 900,
        log_part_max: None,
        always_snap: true,
        observer_history_bytes: 99,
        limits: SyncLimits { snaps: 2, diffs: 3 },
    };
    assert_eq!(ensemble.synchronization, synchronization);
    assert_eq!(ensemble.epoch_wait_ms_max, Some(3000));
    assert!(!ensemble.leader_serves && !ensemble.observer_logs && !ensemble.empty_votes);
    assert!(ensemble.local_sessions && ensemble.local_sessions_upgrading);
    assert!(ensemble.eager_acl_check);
    assert_eq!(ensemble.observer_waits_ms_max, (0, 30));
    let files = [("zoo.cfg", text.as_str()), ("/d/myid", "2\n")];
    let (Config { quorum, .. }, _) = load_files(&files, &[]).expect("a good configuration");
    let set = (quorum.local_sessions, quorum.local_sessions_upgrading, quorum.leader_serves);
    assert_eq!(set, (true, true, false), "the machine hears of them");
    assert!(quorum.eager_acl_check);
    assert_eq!(
        (quorum.proposal_bytes_max, ensemble.of_leaders.kept_free(1 << 40)),
        (20_000_000, 0)
    );
}

/// B32: by default it is what the leader's servers may have in process, or half of the memory.
#[test]
fn what_a_leader_may_make_held_follows_the_machine() {
    let (ensemble, _) = by_two(THREE, &[]).expect("a good configuration");
    let bounds = ensemble.of_leaders;
    let record = limits::RECORD_BYTES_MAX;
    for (memory, held, kept) in [
        (512 << 20, 256 << 20, 32 << 20),
        (8 << 30, 4 << 30, 128 << 20),
        (1 << 40, 3000 * (record as u64 + 512), 512 << 20),
    ] {
        let bytes = (bounds.proposal_bytes(3, record, memory), bounds.kept_free(memory));
        assert_eq!(bytes, (held, kept), "of {memory}");
    }
}

#[test]
fn values_that_do_not_count_are_named() {
    for (line, wanted) in [
        ("commitLogCount=10", "commitLogCount: must be 500 or more; 500 is used"),
        ("snapshotSizeFactor=2", "snapshotSizeFactor: must be 1 or less; 0.33 is used"),
        ("snapshotSizeFactor=much", "is not a number; the default 0.33 is used"),
        ("electionPortBindRetry=-2", "must be 0 (without end) or more; 3 is used"),
        ("leaderServes=false", "leaderServes: only the word no turns it off"),
        (
            "fastleader.minNotificationIntervall=5",
            "did you mean fastleader.minNotificationInterval",
        ),
        ("leader.ackLoggingFrequency=5", "has no effect"),
        ("ringkeeper.peerNetworks=10.0.0.0/8", "whoever calls from these networks may take part"),
        ("server.4=d:2888:3888", "4 voters survive no more failures than 3 do"),
        ("server.4=B:3888:4888:observer", "B:3888 of server 4 is an address of server 2 as well"),
        ("server.256=d:2888:3888:observer", "the last 8 bits of a server's id"),
        ("peerType=observer", "the line of server 2 says participant, which counts"),
    ] {
        let (_, notices) = by_two(&format!("{THREE}{line}\n"), &[]).expect("it starts");
        assert!(notices.len() == 1 && notices[0].contains(wanted), "{line}: {notices:#?}");
    }
}

#[test]
fn an_observer_says_so_twice() {
    let text = THREE.replace("b:2888:3888", "b:2888:3888:observer")
        + "server.4=d:2888:3888\nserver.5=0.0.0.0:2888:3888:observer\n";
    let (ensemble, notices) = by_two(&text, &[]).expect("it starts");
    assert!(notices.len() == 1 && notices[0].contains("write peerType=observer"), "{notices:#?}");
    assert!(!ensemble.members.is_voter(ensemble.me) && ensemble.voters() == 3);
    let (_, notices) = by_two(&(text.clone() + "peerType=observer\n"), &[]).expect("it starts");
    assert_eq!(notices, Vec::<String>::new());
    let (_, notices) = by_two(&(text + "peerType=participant\n"), &[]).expect("it starts");
    assert!(notices.len() == 1 && notices[0].contains("says observer"), "{notices:#?}");
}

#[test]
fn two_voters_are_warned_and_one_as_well() {
    let one = "dataDir=/d\nclientPort=1\ninitLimit=10\nsyncLimit=5\nserver.2=a:2888:3888\n\
               standaloneEnabled=false\n";
    let two = format!("{one}server.1=b:2888:3888\n");
    for text in [one, &two] {
        let (_, notices) = by_two(text, &[]).expect("it starts");
        assert!(notices.len() == 1 && notices[0].contains("no voter may fail"), "{notices:#?}");
    }
}

#[test]
fn refusals_name_the_matter_and_the_remedy() {
    let without = |line: &str| THREE.replace(line, "");
    for (text, wanted) in [
        (without("initLimit=10\n"), "initLimit is not set, and an ensemble needs it; write initL"),
        (without("syncLimit=5\n"), "syncLimit is not set, and an ensemble needs it; write syncL"),
        (THREE.replace("initLimit=10", "initLimit=-1"), "initLimit is -1; it must be above 0"),
        (format!("{THREE}cnxTimeout=x\n"), "cnxTimeout must be a whole number"),
        (format!("{THREE}server.4=d:1:2|e:1:2\n"), "-Dzookeeper.multiAddress.enabled=true"),
        (format!("{THREE}sslQuorum=true\n"), "TLS between servers is not in this version"),
        (format!("{THREE}quorum.auth.enableSasl=true\n"), "SASL between servers is not in this"),
        (format!("{THREE}oraclePath=/o\n"), "take the key out and use three voters"),
        (format!("{THREE}observerMasterPort=70000\n"), "observerMasterPort is 70000; it must be"),
        (format!("{THREE}ringkeeper.peerNetworks=pods\n"), "\"pods\" is no network; write an"),
        (format!("{THREE}weight.1=1\n"), "server 1 is in no group"),
        (format!("{THREE}group.1=1:2\ngroup.2=2:3\n"), "in group.1 and in group.2"),
        (
            format!("{THREE}group.1=1:2:3\nweight.1=0\nweight.2=0\nweight.3=0\n"),
            "there can be no quorum; take the weight.N=0 lines out",
        ),
        (
            format!("{THREE}server.4=d:1:2:observer\ngroup.1=1:2:3:4\nweight.4=1\n"),
            "server 4 is in a group and is no participant; take it out",
        ),
    ] {
        let (said, exit) = refusal(&text);
        assert!(said.contains(wanted), "{text}\n  gave {said}\n  wanted {wanted}");
        assert_eq!(exit, 2, "{said}");
    }
}

#[test]
fn a_server_must_know_which_one_it_is() {
    let with = |id: Option<&str>| {
        let myid = id.map(|id| ("/d/myid", id));
        let files: Vec<_> = [("zoo.cfg", THREE)].into_iter().chain(myid).collect();
        let refusal = load_files(&files, &[]).expect_err("a refused configuration");
        (refusal.to_string(), refusal.exit() as u8)
    };
    let (said, exit) = with(None);
    assert!(said.contains("/d/myid is missing") && said.contains("echo N > /d/myid"), "{said}");
    assert_eq!(exit, 2);
    let (said, exit) = with(Some("9"));
    assert!(said.contains("/d/myid says 9") && said.contains("there are 1, 2, 3"), "{said}");
    assert_eq!(exit, 1, "as Apache, which finds out later");
    let (said, exit) = with(Some("one"));
    assert!(said.contains("not a number") && exit == 2, "{said}");
}

#[test]
fn several_addresses_need_the_property() {
    let text = format!("{THREE}server.4=d:1:2|e:1:2:observer\n");
    let flags = ["zookeeper.multiAddress.enabled=true"];
    let (ensemble, notices) = by_two(&text, &flags).expect("a good configuration");
    assert_eq!(notices, Vec::<String>::new());
    assert!(ensemble.ports.names_all_addresses, "the property is the default of the key");
}

#[test]
fn groups_and_weights_make_the_quorums() {
    let text = format!("{THREE}group.1=1:2:3\nweight.1=0\nweight.9=4\n");
    let (ensemble, notices) = by_two(&text, &[]).expect("a good configuration");
    assert!(notices.len() == 1 && notices[0].contains("server 9 does not vote"), "{notices:#?}");
    let members = &ensemble.members;
    assert!(!members.may_lead(ServerId(1)) && members.may_lead(ServerId(2)));
    assert!(members.is_quorum(|id| id != ServerId(1)) && !members.is_quorum(|id| id.0 < 3));
    assert!(members.text().ends_with(b"weight.2=1\nweight.3=1\nweight.9=4\nversion=0"));
}

#[test]
fn a_dynamic_file_brings_its_version() {
    let cfg = "dataDir=/d\ninitLimit=10\nsyncLimit=5\ndynamicConfigFile=/zoo.cfg.dynamic.1f\n";
    let dynamic = "server.1=a:1:2;2181\nserver.2=b:1:2;2182\nserver.3=c:1:2;2183\n";
    let files = [("zoo.cfg", cfg), ("/d/myid", "2"), ("/zoo.cfg.dynamic.1f", dynamic)];
    let (config, notices) = load_files(&files, &[]).expect("a good configuration");
    assert_eq!((notices, config.client_port), (vec![], 2182));
    let ensemble = config.ensemble.expect("an ensemble");
    assert_eq!(ensemble.members.version().0, 0x1f);
    assert!(ensemble.members.text().ends_with(b";0.0.0.0:2183\nversion=1f"));
    for (next, wanted) in [("version=1f", true), ("version=20", false), ("version=x", false)] {
        let next = format!("{dynamic}{next}\n");
        let files = [files[0], files[1], files[2], ("zoo.cfg.dynamic.next", &next)];
        let loaded = load_files(&files, &[]);
        assert_eq!(loaded.is_ok(), wanted, "{next}: {loaded:?}");
        let Err(refusal @ ConfigError::PendingReconfig { .. }) = loaded else { continue };
        let text = refusal.to_string();
        assert!(text.contains("zoo.cfg.dynamic.next holds a membership of version 20"), "{text}");
    }
}

#[test]
fn a_version_in_the_file_counts_as_in_apache() {
    let (ensemble, notices) = by_two(&format!("{THREE}version=1f\n"), &[]).expect("it starts");
    assert_eq!((ensemble.members.version().0, notices), (0x1f, vec![]));
}

#[test]
fn two_voters_make_an_ensemble_and_one_if_it_must() {
    let of = |voters: usize, observers: usize| -> Membership {
        let lines: Vec<_> = (0..voters + observers)
            .map(|id| (format!("server.{id}"), id < voters))
            .map(|(key, votes)| (key, if votes { "h:1:2" } else { "h:1:2:observer" }))
            .collect();
        let lines = lines.iter().map(|(key, value)| (key.as_str(), *value));
        Membership::of_lines(lines).expect("good lines")
    };
    for (voters, observers, standalone_enabled, wanted) in [
        (0, 0, true, false),
        (1, 0, true, false),
        (1, 0, false, true),
        (1, 1, false, true),
        (2, 0, true, true),
        (3, 2, true, true),
    ] {
        let is = is_ensemble(&of(voters, observers), standalone_enabled).expect("it may start");
        assert_eq!(is, wanted, "{voters} voters, {observers} observers");
    }
    assert!(matches!(is_ensemble(&of(0, 0), false), Err(ConfigError::NoVoters)));
    assert!(matches!(is_ensemble(&of(0, 1), true), Err(ConfigError::Observers)));
    assert!(matches!(is_ensemble(&of(1, 1), true), Err(ConfigError::Observers)));
}

#[test]
fn the_end_of_a_dynamic_files_name_is_its_version() {
    for (name, version) in [
        ("/c/zoo.cfg.dynamic", 0),
        ("/c/zoo.cfg.dynamic.100000004", 0x1_0000_0004),
        ("zoo.cfg.dynamic.next", 0),
        ("dynamic", 0),
        ("zoo.abc", 0xabc),
    ] {
        assert_eq!(version_of_name(Path::new(name)), version, "{name}");
    }
}

/// Nothing is said of settings that do what they are asked to.
#[test]
fn what_is_done_as_asked_is_not_named() {
    let usual = "leaderServes=yes\nlocalSessionsEnabled=false\nsyncEnabled=true\n\
                 leader.maxConcurrentSnapSyncs=10\nobserver.election.DelayMs=200\n\
                 leader.maxTimeToWaitForEpoch=50\n";
    let flags = ["readonlymode.enabled=true"];
    let (_, notices) = by_two(&format!("{THREE}{usual}"), &flags).expect("a good configuration");
    assert_eq!(notices, Vec::<String>::new());
}

/// Whatever stands in the file, loading ends in a value or an error.
#[test]
fn no_lines_make_it_panic() {
    const FRAGMENTS: &[&str] = &[
        "\nserver.",
        "\ngroup.",
        "\nweight.",
        "\nversion=",
        "\npeerType=",
        "\ncnxTimeout=",
        "1",
        "2",
        "3",
        "-1",
        "9223372036854775807",
        "99999",
        "=",
        ":",
        "|",
        ";",
        "[",
        "]:",
        "::1",
        "h:1:2",
        ":observer",
        ":participant",
        "0.0.0.0",
        "10.0.0.1:7:8",
        "x",
        " ",
        "\u{e9}",
    ];
    let mut state = 7;
    let mut random = || crate::splitmix::next(&mut state) as usize;
    let mut started = 0;
    for _ in 0..700 {
        let mut text = THREE.to_owned();
        for _ in 0..random() % 12 {
            text += FRAGMENTS[random() % FRAGMENTS.len()];
        }
        started += usize::from(by_two(&text, &[]).is_ok());
    }
    assert!(started > 30, "{started} of them start");
}
