//! The settings in force: the value of each key after defaults, bounds and fallbacks, and where it is
//! from.

use std::fmt;

use crate::server::config::ensemble::EnsembleConfig;
use crate::server::config::{Config, HIDDEN, Loaded, Origin, PlacementPolicy, WordList};
use crate::snapshot::Codec;

/// A setting in force.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// The key.
    pub key: String,
    /// What it comes to; empty where nothing is set.
    pub value: String,
    /// Where it is from.
    pub whence: Whence,
}

/// Where a value is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whence {
    /// It was given.
    Given(Origin),
    /// The file that `dynamicConfigFile` names.
    Dynamic,
    /// The file `myid`.
    MyId,
    /// Nobody gave it.
    Default,
}

impl fmt::Display for Whence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(Origin::File(line)) => write!(f, "line {line}"),
            Self::Given(origin) => origin.fmt(f),
            Self::Dynamic => f.write_str("dynamicConfigFile"),
            Self::MyId => f.write_str("myid"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// Every setting in force. A key without a row in the tables here is shown as it was given, and not
/// if it was not.
pub(super) fn rows(loaded: &Loaded) -> Vec<Row> {
    let config = &loaded.config;
    let whence = |key: &str| {
        let given = loaded.settings.iter().find(|setting| setting.key == key);
        given.map_or(Whence::Default, |setting| Whence::Given(setting.origin))
    };
    let row = |key: &str, value: String| Row { key: key.into(), value, whence: whence(key) };
    let mut rows: Vec<Row> = SERVER.iter().map(|(key, value)| row(key, value(config))).collect();
    if let Some(ensemble) = &config.ensemble {
        let my_id = ensemble.me.0.to_string();
        rows.push(Row { key: "myid".into(), value: my_id, whence: Whence::MyId });
        rows.extend(ENSEMBLE.iter().map(|(key, value)| row(key, value(ensemble))));
        rows.extend(ensemble.membership.servers.iter().map(|server| {
            let mut row = row(&format!("server.{}", server.id), server.to_string());
            if row.whence == Whence::Default {
                row.whence = Whence::Dynamic;
            }
            row
        }));
    }
    // Client addresses of the own line and such count with the tables' rows.
    for setting in &loaded.settings {
        if rows.iter().all(|row| row.key != setting.key) {
            let (key, value) = (setting.key.clone(), setting.value.clone());
            rows.push(Row { key, value, whence: Whence::Given(setting.origin) });
        }
    }
    rows
}

type Table<T> = [(&'static str, fn(&T) -> String)];

/// Settings of every server, in the order in which they are shown.
const SERVER: &Table<Config> = &[
    ("clientPort", |c| c.client_port.to_string()),
    ("clientPortAddress", |c| c.client_host.clone().unwrap_or_default()),
    ("clientPortListenBacklog", |c| or_off(c.listen_backlog)),
    ("dataDir", |c| c.data_dir.display().to_string()),
    ("dataLogDir", |c| c.data_log_dir.display().to_string()),
    ("datadir.autocreate", |c| c.data_dir_autocreate.to_string()),
    ("tickTime", |c| c.quorum.tick_ms.to_string()),
    ("minSessionTimeout", |c| c.frontend.session_timeout_ms_min.to_string()),
    ("maxSessionTimeout", |c| c.frontend.session_timeout_ms_max.to_string()),
    ("maxClientCnxns", |c| c.max_client_cnxns.to_string()),
    ("maxCnxns", |c| c.max_cnxns.to_string()),
    ("nio.sessionlessCnxnTimeout", |c| (c.frontend.sessionless_ms_max / 2).to_string()),
    ("clientTcpKeepAlive", |c| c.client_tcp_keep_alive.to_string()),
    ("4lw.commands.whitelist", |c| words(&c.words)),
    ("readonlymode.enabled", |c| c.read_only_mode.to_string()),
    ("globalOutstandingLimit", |c| c.frontend.outstanding_max.to_string()),
    ("jute.maxbuffer", |c| c.frontend.frame_bytes_max.to_string()),
    ("jute.maxbuffer.extrasize", |c| {
        c.quorum.record_bytes_max.saturating_sub(c.frontend.frame_bytes_max).to_string()
    }),
    ("largeRequestMaxBytes", |c| c.frontend.large_request_bytes_max.to_string()),
    ("largeRequestThreshold", |c| or_off(c.frontend.large_request_bytes)),
    ("snapCount", |c| c.quorum.snap_count.to_string()),
    ("snapSizeLimitInKb", |c| kib_or_off(c.quorum.snap_size_bytes)),
    ("preAllocSize", |c| (c.log.segment_bytes >> 10).to_string()),
    ("txnLogSizeLimitInKb", |c| kib_or_off(c.quorum.log_file_bytes_max)),
    ("forceSync", |c| yes_or_no(c.log.force_sync)),
    ("fsync.warningthresholdms", |c| c.fsync_warning_ms.to_string()),
    ("snapshot.compression.method", |c| codec(c.snapshots.codec).to_owned()),
    ("snapshot.trust.empty", |c| c.snapshot_trust_empty.to_string()),
    ("serializeLastProcessedZxid.enabled", |c| c.snapshots.last_zxid.to_string()),
    ("closeSessionTxn.enabled", |c| c.quorum.close_session_txn.to_string()),
    ("digest.enabled", |c| c.quorum.digest.to_string()),
    ("autopurge.snapRetainCount", |c| c.autopurge.retain.to_string()),
    ("autopurge.purgeInterval", |c| {
        c.autopurge.interval_s.map_or_else(|| "0".to_owned(), |seconds| format!("{seconds}s"))
    }),
    ("extendedTypesEnabled", |c| c.quorum.extended_types.to_string()),
    ("znode.container.checkIntervalMs", |c| c.quorum.container_check_interval_ms.to_string()),
    ("znode.container.maxPerMinute", |c| c.quorum.container_max_per_minute.to_string()),
    ("znode.container.maxNeverUsedIntervalMs", |c| {
        c.quorum.container_max_never_used_ms.to_string()
    }),
    ("enforceQuota", |c| c.quorum.enforce_quota.to_string()),
    ("skipACL", |c| yes_or_no(c.frontend.acl.skip)),
    ("DigestAuthenticationProvider.enabled", |c| c.frontend.acl.digest.to_string()),
    ("DigestAuthenticationProvider.superDigest", |c| {
        c.frontend.acl.super_digest.as_ref().map_or(String::new(), |_| HIDDEN.to_owned())
    }),
    ("enforce.auth.schemes", |c| {
        c.frontend.enforce_auth.as_ref().map_or(String::new(), |schemes| schemes.join(","))
    }),
    ("reconfigEnabled", |c| c.quorum.reconfig.to_string()),
    ("ringkeeper.shards", |c| c.cores.shards.to_string()),
    ("ringkeeper.cores", |c| {
        let cores: Vec<String> = c.cores.cores.iter().map(u32::to_string).collect();
        cores.join(",")
    }),
    ("ringkeeper.placement", |c| placement(c.cores.placement).to_owned()),
    ("ringkeeper.log", |c| c.log.appending.word().to_owned()),
];

/// Settings of a member of an ensemble.
const ENSEMBLE: &Table<EnsembleConfig> = &[
    ("initLimit", |e| e.zab.init_ticks.to_string()),
    ("syncLimit", |e| e.zab.sync_ticks.to_string()),
    ("connectToLearnerMasterLimit", |e| e.connect_ticks.to_string()),
    ("leaderServes", |e| yes_or_no(e.leader_serves)),
    ("quorumListenOnAllIPs", |e| e.ports.listen_on_all.to_string()),
    ("electionPortBindRetry", |e| e.ports.bind_tries.to_string()),
    ("cnxTimeout", |e| e.ports.connect_ms.to_string()),
    ("quorumCnxnTimeoutMs", |e| e.ports.greeting_ms.to_string()),
    ("tcpKeepAlive", |e| e.ports.keep_alive.to_string()),
    ("multiAddress.enabled", |e| e.ports.names_all_addresses.to_string()),
    ("multiAddress.reachabilityCheckEnabled", |e| e.ports.probe_ms.is_some().to_string()),
    ("observerMasterPort", |e| e.ports.observer_master.unwrap_or(0).to_string()),
    ("leaderConnectDelayDuringRetryMs", |e| e.ports.retry_delay_ms.to_string()),
    ("fastleader.minNotificationInterval", |e| e.election.interval_ms_min.to_string()),
    ("fastleader.maxNotificationInterval", |e| e.election.interval_ms_max.to_string()),
    ("leader.maxTimeToWaitForEpoch", |e| or_off(e.epoch_wait_ms_max)),
    ("leader.maxConcurrentSnapSyncs", |e| e.synchronization.limits.snaps.to_string()),
    ("leader.maxConcurrentDiffSyncs", |e| e.synchronization.limits.diffs.to_string()),
    ("commitLogCount", |e| e.synchronization.in_memory.to_string()),
    ("snapshotSizeFactor", |e| e.synchronization.log_part_max.unwrap_or(-1.0).to_string()),
    ("forceSnapshotSync", |e| e.synchronization.always_snap.to_string()),
    ("observerMaster.sizeLimit", |e| e.synchronization.observer_history_bytes.to_string()),
    ("syncEnabled", |e| e.observer_logs.to_string()),
    ("observer.reconnectDelayMs", |e| e.observer_waits_ms_max.0.to_string()),
    ("observer.election.DelayMs", |e| e.observer_waits_ms_max.1.to_string()),
    ("localSessionsEnabled", |e| e.local_sessions.to_string()),
    ("localSessionsUpgradingEnabled", |e| e.local_sessions_upgrading.to_string()),
    ("enableEagerACLCheck", |e| e.eager_acl_check.to_string()),
    ("db.autocreate", |e| e.empty_votes.to_string()),
];

fn or_off<T: ToString>(number: Option<T>) -> String {
    number.map_or_else(|| "-1".to_owned(), |number| number.to_string())
}

fn kib_or_off(bytes: u64) -> String {
    or_off((bytes > 0).then_some(bytes >> 10))
}

fn yes_or_no(is_on: bool) -> String {
    if is_on { "yes" } else { "no" }.to_owned()
}

fn words(list: &WordList) -> String {
    match list {
        WordList::All => "*".to_owned(),
        WordList::Some(words) => words.iter().cloned().collect::<Vec<_>>().join(","),
    }
}

fn codec(codec: Codec) -> &'static str {
    match codec {
        Codec::Plain => "",
        Codec::Gzip => "gz",
        Codec::Snappy => "snappy",
    }
}

fn placement(policy: PlacementPolicy) -> &'static str {
    match policy {
        PlacementPolicy::Auto => "auto",
        PlacementPolicy::Shared => "shared",
        PlacementPolicy::Dedicated => "dedicated",
        PlacementPolicy::Unpinned => "unpinned",
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::Path;

    use crate::server::config::keys::{Shape, find};
    use crate::server::config::{Flag, load};

    use super::*;

    fn shown(files: &[(&str, &str)], flags: &[Flag]) -> Vec<Row> {
        let read = |path: &Path| {
            let file = files.iter().find(|(name, _)| Path::new(name) == path);
            let missing = || io::Error::from(io::ErrorKind::NotFound);
            file.map(|(_, text)| text.as_bytes().to_vec()).ok_or_else(missing)
        };
        rows(&load(&["zoo.cfg".to_owned()], flags, &read).expect("it may start"))
    }

    fn find_row<'a>(rows: &'a [Row], key: &str) -> (&'a str, Whence) {
        let row = rows.iter().find(|row| row.key == key).expect("it is shown");
        (&row.value, row.whence)
    }

    #[test]
    fn a_value_is_what_is_in_force_and_says_where_it_is_from() {
        let text = "dataDir=/d\nclientPort=2181\nautopurge.snapRetainCount=1\nsnapCount=x\n";
        let flags: Vec<Flag> = [
            ("zookeeper.maxCnxns=7", Origin::CommandLine),
            ("jute.maxbuffer=0x100000", Origin::Environment),
        ]
        .iter()
        .filter_map(|(text, origin)| Flag::parse(text, *origin))
        .collect();
        let rows = shown(&[("zoo.cfg", text)], &flags);
        for (key, value, whence) in [
            ("clientPort", "2181", Whence::Given(Origin::File(2))),
            ("dataLogDir", "/d", Whence::Default),
            ("tickTime", "3000", Whence::Default),
            ("minSessionTimeout", "6000", Whence::Default),
            ("autopurge.snapRetainCount", "3", Whence::Given(Origin::File(3))),
            ("snapCount", "100000", Whence::Given(Origin::File(4))),
            ("maxCnxns", "7", Whence::Given(Origin::CommandLine)),
            ("jute.maxbuffer", "1048576", Whence::Given(Origin::Environment)),
            ("forceSync", "yes", Whence::Default),
        ] {
            assert_eq!(find_row(&rows, key), (value, whence), "{key}");
        }
        assert!(rows.iter().all(|row| row.key != "initLimit"), "it is no ensemble");
    }

    #[test]
    fn secrets_are_hidden_and_keys_without_a_row_are_shown_as_given() {
        let text = "dataDir=/d\nclientPort=1\nauthProvider.1=org.apache.zookeeper.server.auth.\
                    IPAuthenticationProvider\n\
                    DigestAuthenticationProvider.superDigest=super:D/InIHSb7yEEbrWz8b9l71RjZJU=\n\
                    DigestAuthenticationProvider.digestAlg=SHA1\n";
        let rows = shown(&[("zoo.cfg", text)], &[]);
        let whence = Whence::Given(Origin::File(4));
        assert_eq!(find_row(&rows, "DigestAuthenticationProvider.superDigest"), (HIDDEN, whence));
        assert!(rows.iter().all(|row| !row.value.contains("InIHSb")));
        let whence = Whence::Given(Origin::File(5));
        assert_eq!(find_row(&rows, "DigestAuthenticationProvider.digestAlg"), ("SHA1", whence));
    }

    #[test]
    fn a_member_shows_the_others_and_its_own_number() {
        let files = &[
            ("zoo.cfg", "dataDir=/d\ninitLimit=10\nsyncLimit=5\ndynamicConfigFile=dyn\n"),
            ("dyn", "server.1=a:1:2;3\nserver.2=b:1:2;3\nserver.3=c:1:2:observer;3\n"),
            ("/d/myid", "2\n"),
        ];
        let rows = shown(files, &[]);
        assert_eq!(find_row(&rows, "myid"), ("2", Whence::MyId));
        assert_eq!(find_row(&rows, "server.3"), ("c:1:2:observer;0.0.0.0:3", Whence::Dynamic));
        assert_eq!(find_row(&rows, "initLimit"), ("10", Whence::Given(Origin::File(2))));
    }

    #[test]
    fn every_row_is_of_a_key_and_shows_no_secret() {
        let names = SERVER.iter().map(|(key, _)| key).chain(ENSEMBLE.iter().map(|(key, _)| key));
        for name in names {
            let key = find(name).unwrap_or_else(|| panic!("{name} is no key"));
            let is_secret = key.shape == Shape::Secret;
            assert!(!is_secret || name.ends_with("superDigest"), "{name}");
        }
    }
}
