//! Whole configurations through [`load`]: settings, refusals and notices.

use super::super::{Level, Origin};
use super::*;

const BASE: &str = "dataDir=/d\nclientPort=2181\n";

/// Files by path; everything else is not there.
fn load_files(files: &[(&str, &str)], flags: &[&str]) -> Result<Loaded, ConfigError> {
    let read = |path: &Path| {
        let found = files.iter().find(|(name, _)| Path::new(name) == path);
        found
            .map(|(_, text)| text.as_bytes().to_vec())
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    };
    let flags: Vec<Flag> =
        flags.iter().filter_map(|flag| Flag::parse(flag, Origin::CommandLine)).collect();
    load(&["zoo.cfg".to_owned()], &flags, &read)
}

fn loaded(text: &str, flags: &[&str]) -> Loaded {
    load_files(&[("zoo.cfg", &format!("{BASE}{text}"))], flags).expect("a good configuration")
}

fn config(text: &str) -> Config {
    loaded(text, &[]).config
}

fn refusal(text: &str) -> ConfigError {
    load_files(&[("zoo.cfg", text)], &[]).expect_err("a refused configuration")
}

fn notices(text: &str, flags: &[&str]) -> Vec<String> {
    loaded(text, flags)
        .notices
        .iter()
        .map(|notice| format!("{:?} {notice}", notice.level))
        .collect()
}

/// The tick, and the shortest and the longest timeout of a session, in milliseconds.
fn ticks_of(config: &Config) -> (i64, i32, i32) {
    assert_eq!(config.quorum.tick_ms, config.frontend.tick_ms);
    let frontend = &config.frontend;
    (frontend.tick_ms, frontend.session_timeout_ms_min, frontend.session_timeout_ms_max)
}

fn arguments(arguments: &[&str]) -> Result<Loaded, ConfigError> {
    let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    load(&arguments, &[], &|_| Err(io::Error::from(io::ErrorKind::NotFound)))
}

#[test]
fn without_arguments_it_listens_on_loopback() {
    let config = arguments(&[]).expect("defaults").config;
    assert_eq!((config.client_host.as_deref(), config.client_port), (Some("127.0.0.1"), 2181));
    assert_eq!(config.data_dir, Path::new("ringkeeper-data"));
    assert_eq!(config.data_log_dir, config.data_dir);
    assert_eq!(ticks_of(&config), (2000, 4000, 40_000));
    assert_eq!(config.max_client_cnxns, 60);
    assert_eq!(config.file, None);
}

#[test]
fn port_and_directory_as_zookeeper_server_main_takes_them() {
    let config = arguments(&["16181", "/d"]).expect("two arguments").config;
    assert_eq!(
        (config.client_host, config.client_port, config.quorum.tick_ms),
        (None, 16181, 3000)
    );
    assert_eq!((config.data_dir.as_path(), config.max_client_cnxns), (Path::new("/d"), 0));
    let config = arguments(&["16181", "/d", "2000", "100"]).expect("four arguments").config;
    assert_eq!((ticks_of(&config), config.max_client_cnxns), ((2000, 4000, 40_000), 100));
    for bad in [
        &["x", "/d"][..],
        &["70000", "/d"],
        &["1", "/d", "0"],
        &["1", "/d", "y"],
        &["1", "/d", "1", "z"],
    ] {
        assert!(arguments(bad).is_err(), "{bad:?}");
    }
    assert!(matches!(
        arguments(&["1", "2", "3", "4", "5"]),
        Err(ConfigError::Usage { arguments: 5 })
    ));
}

#[test]
fn a_minimal_file_has_apaches_defaults() {
    let mut wanted = Config::with_defaults(PathBuf::from("/d"), 2181, 3000);
    wanted.file = Some(PathBuf::from("zoo.cfg"));
    let loaded = loaded("", &[]);
    assert_eq!(loaded.config, wanted);
    assert_eq!(loaded.notices, []);
    assert_eq!(ticks_of(&wanted), (3000, 6000, 60_000));
}

#[test]
fn apaches_sample_file_says_only_what_is_for_ensembles() {
    let sample = "# The number of milliseconds of each \
                  tick\ntickTime=2000\ninitLimit=10\nsyncLimit=5\n#maxClientCnxns=60\n\
                  #autopurge.snapRetainCount=3\n";
    assert_eq!(
        notices(sample, &[]),
        [
            "Info configuration line 5: initLimit: counts in an ensemble only",
            "Info configuration line 6: syncLimit: counts in an ensemble only",
        ]
    );
    assert_eq!(ticks_of(&config(sample)).0, 2000);
}

#[test]
fn values_reach_their_fields() {
    let config = config(
        "dataLogDir = /l\nclientPortAddress: 10.0.0.1\ntickTime \
         500\nminSessionTimeout=700\nmaxSessionTimeout=90000\nmaxClientCnxns=-1\nmaxCnxns=9\n\
         clientPortListenBacklog=7\n4lw.commands.whitelist=stat, \
         mntr \
         ,\nsnapCount=0x10\nsnapSizeLimitInKb=0\npreAllocSize=128\ntxnLogSizeLimitInKb=2\n\
         forceSync=no\nfsync.warningthresholdms=20\nautopurge.snapRetainCount=5\n\
         autopurge.purgeInterval=2\nsnapshot.compression.method=GZ\nsnapshot.trust.empty=true\n\
         digest.enabled=false\nextendedTypesEnabled=TRUE\nenforceQuota=true\nskipACL=yes\n\
         globalOutstandingLimit=12\nDigestAuthenticationProvider.superDigest=super:xyz\n\
         jute.maxbuffer.extrasize=2048\nlargeRequestThreshold=1000\nringkeeper.shards=3\n\
         ringkeeper.cores=0-2,5\nringkeeper.placement=dedicated\nclientTcpKeepAlive=true\n\
         closeSessionTxn.enabled=false\nserializeLastProcessedZxid.enabled=false\n\
         datadir.autocreate=false\n",
    );
    assert_eq!(config.data_log_dir, Path::new("/l"));
    assert_eq!(config.client_host.as_deref(), Some("10.0.0.1"));
    assert_eq!(ticks_of(&config), (500, 700, 90_000));
    assert_eq!((config.max_client_cnxns, config.max_cnxns, config.listen_backlog), (0, 9, Some(7)));
    let words: Vec<_> =
        ["stat", "mntr", "srvr", "isro", "ruok"].map(|word| config.words.allows(word)).into();
    assert_eq!(words, [true, true, true, false, false]);
    assert_eq!((config.quorum.snap_count, config.quorum.snap_size_bytes), (16, 0));
    assert_eq!((config.log.segment_bytes, config.quorum.log_file_bytes_max), (128 * 1024, 2048));
    assert_eq!((config.log.force_sync, config.fsync_warning_ms), (false, 20));
    assert_eq!(config.autopurge, Autopurge { retain: 5, interval_s: Some(7200) });
    assert_eq!(config.snapshots.codec, Codec::Gzip);
    assert!(
        config.snapshot_trust_empty
            && !config.quorum.digest
            && !config.snapshots.digest
            && config.quorum.extended_types
            && config.quorum.enforce_quota
    );
    assert_eq!((config.frontend.acl.skip, config.frontend.outstanding_max), (true, 12));
    assert_eq!(config.frontend.acl.super_digest, Some(Secret::new("super:xyz")));
    assert_eq!(config.quorum.acl, config.frontend.acl);
    assert_eq!(config.frontend.frame_bytes_max, 0xf_ffff);
    assert_eq!(config.quorum.record_bytes_max, 0xf_ffff + 2048);
    assert_eq!(config.log.record_bytes_max, 0xf_ffff + 2048);
    assert_eq!(config.frontend.large_request_bytes, Some(1000));
    let cores =
        CoreSettings { shards: 3, cores: vec![0, 1, 2, 5], placement: PlacementPolicy::Dedicated };
    assert_eq!(config.cores, cores);
    assert!(
        config.client_tcp_keep_alive
            && !config.quorum.close_session_txn
            && !config.snapshots.last_zxid
    );
    assert!(!config.data_dir_autocreate);
}

#[test]
fn the_file_overwrites_what_the_command_line_set() {
    let flags = [
        "zookeeper.snapCount=7",
        "zookeeper.maxCnxns=1",
        "jute.maxbuffer=4194304",
        "readonlymode.enabled=true",
    ];
    let loaded = loaded("snapCount=9\n", &flags);
    assert_eq!((loaded.config.quorum.snap_count, loaded.config.max_cnxns), (9, 1));
    assert_eq!(
        (loaded.config.frontend.frame_bytes_max, loaded.config.log.record_bytes_max),
        (4_194_304, 8_388_608)
    );
    assert!(loaded.config.words.allows("isro"));
    assert_eq!(loaded.notices, []);
}

#[test]
fn a_leading_zero_is_octal_in_properties_only() {
    let config = config("maxClientCnxns=010\nmaxCnxns=010\n");
    assert_eq!((config.max_client_cnxns, config.max_cnxns), (10, 8));
}

#[test]
fn the_last_of_two_flags_counts() {
    assert_eq!(
        loaded("", &["zookeeper.snapCount=7", "zookeeper.snapCount=8"]).config.quorum.snap_count,
        8
    );
}

#[test]
fn flags_of_the_environment_are_split_as_a_shell_does() {
    let flags =
        Flag::parse_environment(" -Xmx1g -Dzookeeper.snapCount=5\t-Dx -XX:+UseG1GC -D=1 -cp /a ");
    let names: Vec<_> =
        flags.iter().map(|flag| (flag.property.as_str(), flag.value.as_str())).collect();
    assert_eq!(names, [("zookeeper.snapCount", "5"), ("x", "")]);
}

#[test]
fn refusals_name_the_matter_and_the_remedy() {
    refused(&[
        ("clientPort=1\n", "dataDir is not set"),
        ("dataDir=/d\n", "clientPort is not set"),
        (
            "dataDir=/d\nsecureClientPort=2281\n",
            "only secureClientPort is set and TLS is not in this version",
        ),
        ("dataDir=/d\nclientPortAddress=h\n", "clientPortAddress is set but clientPort is not"),
        (
            "dataDir=/d\nclientPort=1\nsecureClientPortAddress=h\n",
            "secureClientPortAddress is set but",
        ),
        ("dataDir=/d\nclientPort=70000\n", "clientPort is 70000; it must be 0 to 65535"),
        ("dataDir=/d\nclientPort=x\n", "clientPort must be a whole number, not \"x\""),
        ("dataDir=/d\nclientPort=0x10\n", "clientPort must be a whole number"),
        ("dataDir=/d\nclientPort=1\ntickTime=0\n", "tickTime is 0; it must be above 0"),
        ("dataDir=/d\nclientPort=1\ntickTime=\n", "tickTime must be a whole number"),
        (
            "dataDir=/d\nclientPort=1\nminSessionTimeout=9\nmaxSessionTimeout=8\n",
            "minSessionTimeout (9 ms) must not",
        ),
        (
            "dataDir=/d\nclientPort=1\nsslQuorum=yes\n",
            "sslQuorum must be true or false, not \"yes\"",
        ),
        (
            "dataDir=/d\nclientPort=1\nlocalSessionsEnabled=1\n",
            "localSessionsEnabled must be true or false",
        ),
    ]);
    assert!(matches!(arguments(&["nowhere.cfg"]), Err(ConfigError::Unreadable { .. })));
}

#[test]
fn refusals_of_values_and_ensembles_name_the_matter_and_the_remedy() {
    refused(&[
        ("dataDir=/d\nclientPort=1\nelectionAlg=1\n", "electionAlg is 1; it must be 3"),
        (
            "dataDir=/d\nclientPort=1\npeerType=voter\n",
            "peerType is \"voter\"; it must be observer or participant",
        ),
        (
            "dataDir=/d\nclientPort=1\nquorum.auth.serverRequireSasl=true\n",
            "needs quorum.auth.enableSasl=true",
        ),
        ("dataDir=/d\nclientPort=1\nserver.1=h\n", "server.1=h does not parse"),
        ("dataDir=/d\nclientPort=1\nstandaloneEnabled=false\n", "needs at least one voter"),
        (
            "dataDir=/d\nclientPort=1\nserver.1=a:1:2\nserver.2=b:1:2:observer\n",
            "observers need an ensemble of at least two voters",
        ),
        (
            "dataDir=/d\nclientPort=1\nmetricsProvider.className=a.B\n",
            "metricsProvider.className=a.B: a class of Java",
        ),
        ("dataDir=/d\nclientPort=1\nauthProvider.1=a.B\n", "authProvider.1=a.B: a class of Java"),
        (
            "dataDir=/d\nclientPort=1\nDigestAuthenticationProvider.digestAlg=SHA-7\n",
            "digestAlg=SHA-7 is none of SHA1",
        ),
        (
            "dataDir=/d\nclientPort=1\nenforce.auth.enabled=true\n",
            "enforce.auth.schemes is \"\"; it must be",
        ),
        (
            "dataDir=/d\nclientPort=1\nautopurge.purgeInterval=x\n",
            "autopurge.purgeInterval must be a whole number",
        ),
        ("dataDir=/d\nclientPort=1\nringkeeper.shards=999\n", "ringkeeper.shards is 999"),
        ("dataDir=/d\nclientPort=1\nringkeeper.cores=3-1\n", "ringkeeper.cores is \"3-1\""),
        ("dataDir=/d\nclientPort=1\nringkeeper.placement=x\n", "ringkeeper.placement is \"x\""),
        ("dataDir=/d\nclientPort=1\nringkeeper.log=x\n", "ringkeeper.log is \"x\""),
        ("dataDir=\\u12\n", "zoo.cfg: line 1: \\u needs four hexadecimal digits"),
    ]);
}

fn refused(cases: &[(&str, &str)]) {
    for (text, wanted) in cases {
        let refusal = refusal(text).to_string();
        assert!(refusal.contains(wanted), "{text:?}\n  gave {refusal}\n  wanted {wanted}");
    }
}

#[test]
fn keys_that_do_nothing_are_named_with_what_to_write() {
    for (text, wanted) in [
        ("ticktime=1\n", "configuration line 3: ticktime: no such key; did you mean tickTime?"),
        ("quux=1\n", "quux: no such key; it does nothing"),
        (
            "zookeeper.snapCount=5\n",
            "does nothing with the prefix zookeeper. in this file; write snapCount=...",
        ),
        (
            "jute.maxbuffer=5\n",
            "does nothing in this file; write -Djute.maxbuffer=... on the command line",
        ),
        ("readonlymode.enabled=true\n", "write -Dreadonlymode.enabled=..."),
        ("znode.container.checkIntervalMs=5\n", "write -Dznode.container.checkIntervalMs=..."),
        (
            "request_throttle_max_requests=5\n",
            "requests are not throttled in this version; globalOutstandingLimit",
        ),
        (
            "throttled_op_wait_time=5\n",
            "throttled_op_wait_time: requests are not throttled in this version",
        ),
        (
            "connection_throttle_tokens=5\n",
            "new connections are not throttled in this version; maxCnxns",
        ),
        ("emulate353TTLNodes=true\n", "emulate353TTLNodes: TTL nodes as 3.5.3 wrote them"),
        ("maxBatchSize=5\n", "maxBatchSize: has no effect: a group is flushed as soon as"),
        ("commitLogCount=900\n", "commitLogCount: counts in an ensemble only"),
        ("db.autocreate=false\n", "db.autocreate: counts in an ensemble only"),
        ("snapCount=5\nsnapCount=6\n", "configuration line 4: snapCount: given twice"),
    ] {
        one_notice(text, &[], wanted);
    }
}

#[test]
fn keys_and_values_of_other_parts_are_named_with_what_to_write() {
    for (text, wanted) in [
        (
            "secureClientPort=2281\n",
            "secureClientPort: TLS is not in this version and its port stays closed",
        ),
        ("ssl.keyStore.password=p4ss\n", "ssl.keyStore.password: TLS is not in this version"),
        (
            "admin.enableServer=true\n",
            "admin.enableServer: the HTTP admin server is not in this version",
        ),
        ("sasl.serverconfig=Server\n", "sasl.serverconfig: SASL is not in this version"),
        ("sessionRequireClientSASLAuth=true\n", "so every client is turned away (-124)"),
        (
            "nio.numWorkerThreads=5\n",
            "nio.numWorkerThreads: has no effect: it sizes Java's NIO threads",
        ),
        ("clientCnxnSocket=x\n", "clientCnxnSocket: only a client reads it"),
        ("snapCount=many\n", "snapCount: is not a whole number; the default 100000 is used"),
        ("snapCount=1\n", "snapCount: must be 2 or more; 2 is used"),
        ("forceSync=false\n", "forceSync: only the word no turns it off"),
        ("skipACL=true\n", "skipACL: only the word yes turns it on"),
        (
            "enforceQuota=yes\n",
            "enforceQuota: must be true or false; anything but true counts as false",
        ),
        ("snapshot.compression.method=zstd\n", "must be gz, snappy or empty"),
        ("autopurge.snapRetainCount=1\n", "must be 3 or more; 3 is used"),
        ("server.1=h:1:2\n", "server.1: one server alone makes no ensemble"),
        (
            "authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider\n",
            "use digest",
        ),
    ] {
        one_notice(text, &[], wanted);
    }
}

#[test]
fn flags_that_do_nothing_are_named_with_what_to_write() {
    for (flag, wanted) in [
        (
            "snapCount=5",
            "command line: -DsnapCount: does nothing without the prefix; write \
             -Dzookeeper.snapCount=...",
        ),
        ("zookeeper.snapCuont=5", "-Dzookeeper.snapCuont: no such key; did you mean snapCount?"),
        ("zookeeper.tickTime=5", "read from the configuration file only; write tickTime=... there"),
        ("clientPort=5", "-DclientPort: read from the configuration file only"),
        ("zookeeper.jute.maxbuffer=5", "does nothing with the prefix; write -Djute.maxbuffer=..."),
        ("my.own=5", "-Dmy.own: no setting of the server"),
    ] {
        one_notice("", &[flag], wanted);
    }
}

fn one_notice(text: &str, flags: &[&str], wanted: &str) {
    let notices = notices(text, flags);
    assert!(
        notices.iter().any(|notice| notice.contains(wanted)),
        "{text:?} {flags:?}\n  gave {notices:#?}\n  wanted {wanted}"
    );
    assert!(notices.len() == 1, "{text:?} {flags:?}\n  gave {notices:#?}");
    assert!(!notices[0].contains("p4ss"), "a secret in a notice");
}

#[test]
fn off_values_and_jvm_flags_are_no_news() {
    let text = "admin.enableServer=false\nsslQuorum=false\n\
                serverCnxnFactory=org.apache.zookeeper.server.NIOServerCnxnFactory\n\
                metricsProvider.className=org.apache.zookeeper.metrics.impl.DefaultMetricsProvider\n";
    let flags = [
        "com.sun.management.jmxremote",
        "java.awt.headless=true",
        "zookeeper.log.dir=/x",
        "zookeeper.root.logger=INFO",
    ];
    assert_eq!(notices(text, &flags), Vec::<String>::new());
}

#[test]
fn a_key_not_built_yet_is_a_warning_and_a_harmless_one_is_not() {
    let level = |text: &str| loaded(text, &[]).notices.first().map(|notice| notice.level);
    assert_eq!(level("secureClientPort=2281\n"), Some(Level::Warn));
    assert_eq!(level("nio.numWorkerThreads=5\n"), Some(Level::Info));
}

#[test]
fn documented_names_are_taken_as_the_ones_that_are_read() {
    let named = |text: &str| notices(text, &[]).join("\n");
    for text in
        ["requestThrottleLimit=5\n", "requestThrottleLimit=5\nrequest_throttle_max_requests=7\n"]
    {
        let named = named(text);
        assert!(named.contains("requestThrottleLimit: Apache does not read this name"), "{named}");
        assert!(named.contains("requests are not throttled in this version"), "{named}");
    }
    assert!(
        named("requestThrottleLimit=5\n").contains("it is taken as request_throttle_max_requests")
    );
}

#[test]
fn fsync_warning_is_read_with_and_without_the_prefix() {
    let of = |flags: &[&str]| loaded("", flags).config.fsync_warning_ms;
    assert_eq!(of(&["fsync.warningthresholdms=5"]), 5);
    assert_eq!(of(&["zookeeper.fsync.warningthresholdms=6", "fsync.warningthresholdms=5"]), 6);
    assert_eq!(loaded("", &["fsync.warningthresholdms=5"]).notices, []);
}

/// The file that Apache's container image writes: no clientPort, one server line with the client
/// address, a myid.
#[test]
fn the_client_address_may_stand_in_the_own_server_line() {
    let cfg = "dataDir=/d\nstandaloneEnabled=true\nserver.1=localhost:2888:3888;2181\n";
    let with_id = |id: &str| load_files(&[("zoo.cfg", cfg), ("/d/myid", id)], &[]);
    let config = with_id("1\n").expect("one server").config;
    assert_eq!((config.client_host, config.client_port), (None, 2181));
    assert!(matches!(with_id("2\n"), Err(ConfigError::NoClientPort { .. })));
    assert!(matches!(with_id("one\n"), Err(ConfigError::MyId { .. })));
    let both = |port: &str| format!("{cfg}clientPort={port}\n");
    assert!(load_files(&[("zoo.cfg", &both("2181")), ("/d/myid", "1")], &[]).is_ok());
    for (line, address, agree) in [
        ("[::1]", "::1", true),
        ("[0::1]", "[::1]", true),
        ("Host", "host", true),
        ("a", "b", false),
    ] {
        let cfg = cfg.replace("3888;2181", &format!("3888;{line}:2181"));
        let cfg = format!("{cfg}clientPort=2181\nclientPortAddress={address}\n");
        let loaded = load_files(&[("zoo.cfg", &cfg), ("/d/myid", "1")], &[]);
        assert_eq!(loaded.is_ok(), agree, "{line} and {address}: {loaded:?}");
    }
    let differ = load_files(&[("zoo.cfg", &both("2182")), ("/d/myid", "1")], &[]);
    assert!(matches!(differ, Err(ConfigError::ClientAddresses { .. })));
}

#[test]
fn a_dynamic_file_holds_servers_and_nothing_else() {
    let cfg = format!("{BASE}dynamicConfigFile=/dyn\n");
    let with = |dynamic: &str| load_files(&[("zoo.cfg", &cfg), ("/dyn", dynamic)], &[]);
    assert!(with("server.1=h:1:2:participant;2181\n").is_ok());
    assert!(matches!(
        with("server.1=h:1:2\nserver.2=i:1:2\n"),
        Err(ConfigError::NoLimit { key: "initLimit" })
    ));
    assert!(matches!(with("server.1=h:1:2\nversion=5\n"), Err(ConfigError::NotDynamic { .. })));
    assert!(matches!(load_files(&[("zoo.cfg", &cfg)], &[]), Err(ConfigError::Unreadable { .. })));
    let beside = format!("{cfg}server.1=h:1:2\n");
    let refused = load_files(&[("zoo.cfg", &beside), ("/dyn", "")], &[]);
    assert!(matches!(refused, Err(ConfigError::BesideDynamicFile { .. })));
}

#[test]
fn directories_are_warned_about_with_what_they_became() {
    let here = std::env::current_dir().expect("a working directory");
    for (written, why, became) in [
        ("\"/var/zk\"", "quotes", "\"/var/zk\""),
        ("~/zk", "home directory", "~/zk"),
        ("${HOME}/zk", "variables", "${HOME}/zk"),
        ("/var/$USER", "variables", "/var/$USER"),
        ("zk/data", "relative", "zk/data"),
    ] {
        for (key, kept) in [("dataDir", "data"), ("dataLogDir", "log")] {
            let notices = notices(&format!("{key}={written}\n"), &[]);
            let about = |notice: &&String| {
                notice.contains(&format!("{key}: ")) && !notice.contains("given twice")
            };
            let notice = notices.iter().find(about).expect("a notice");
            let became = format!("the {kept} is kept in {}", here.join(became).display());
            assert!(
                notice.starts_with("Warn") && notice.contains(why) && notice.ends_with(&became),
                "{notice}"
            );
        }
    }
    assert_eq!(notices("dataDir=/var/zk\n", &[]).len(), 1, "only that dataDir is given twice");
    let loaded = arguments(&["2181", "zk"]).expect("a port and a directory");
    let said =
        loaded.notices.iter().map(ToString::to_string).find(|notice| notice.contains("relative"));
    assert!(said.expect("a notice").ends_with(&here.join("zk").display().to_string()));
}

#[test]
fn a_byte_order_mark_is_named() {
    let load = |bytes: &'static [u8]| {
        let read = move |path: &Path| match path == Path::new("zoo.cfg") {
            true => Ok(bytes.to_vec()),
            false => Err(io::Error::from(io::ErrorKind::NotFound)),
        };
        load(&["zoo.cfg".to_owned()], &[], &read)
    };
    for bytes in
        [&b"\xef\xbb\xbfdataDir=/d\nclientPort=1\n"[..], b"\xff\xfed\0a\0", b"\xfe\xff\0d\0a"]
    {
        let refused = load(bytes).expect_err("the first key is lost").to_string();
        assert!(refused.contains("byte order mark") && refused.contains("zoo.cfg"), "{refused}");
    }
    for bytes in [
        &b"\xef\xbb\xbf# The sample\ndataDir=/d\nclientPort=1\n"[..],
        b"\xef\xbb\xbf\ndataDir=/d\nclientPort=1\n",
    ] {
        let loaded = load(bytes).expect("Apache starts with it");
        assert_eq!(loaded.notices.len(), 1, "{:?}", loaded.notices);
        assert!(loaded.notices[0].to_string().contains("byte order mark"), "{}", loaded.notices[0]);
    }
}

#[test]
fn reconfig_is_off_unless_it_is_on() {
    assert!(!config("").quorum.reconfig && config("reconfigEnabled=true\n").quorum.reconfig);
}

#[test]
fn wildcards_are_kept_apart() {
    for (text, wanted) in [
        ("", None),
        ("clientPortAddress=0.0.0.0\n", Some("0.0.0.0")),
        ("clientPortAddress=::\n", Some("::")),
        ("clientPortAddress=[::1]\n", Some("[::1]")),
    ] {
        assert_eq!(config(text).client_host.as_deref(), wanted, "{text}");
    }
}

#[test]
fn purge_intervals_are_hours_unless_they_say_otherwise() {
    for (text, wanted) in [
        ("0", None),
        ("-1", None),
        ("1", Some(3600)),
        ("2h", Some(7200)),
        ("90s", Some(90)),
        ("1d", Some(86_400)),
        ("1500ms", Some(2)),
    ] {
        assert_eq!(
            config(&format!("autopurge.purgeInterval={text}\n")).autopurge.interval_s,
            wanted,
            "{text}"
        );
    }
}

#[test]
fn session_timeouts_that_are_unset_follow_the_tick() {
    let config = config("tickTime=100\nminSessionTimeout=-1\n");
    assert_eq!(ticks_of(&config), (100, 200, 2000));
    let huge = self::config("tickTime=2000000000\n");
    assert_eq!(ticks_of(&huge), (2_000_000_000, i32::MAX, i32::MAX));
}

#[test]
fn required_schemes() {
    let required = |text: &str| config(text).frontend.enforce_auth;
    let schemes = |names: &[&str]| Some(names.iter().map(|name| Box::from(*name)).collect());
    assert_eq!(required(""), None);
    let text = "enforce.auth.enabled=true\nenforce.auth.schemes=digest, ip\n";
    assert_eq!(required(text), schemes(&["digest", "ip"]));
    assert_eq!(required("sessionRequireClientSASLAuth=true\n"), schemes(&["sasl"]));
}

#[test]
fn debug_of_a_configuration_shows_no_secret() {
    let config = config("DigestAuthenticationProvider.superDigest=super:s3cret\n");
    assert!(!format!("{config:?}").contains("s3cret"));
}

/// The file that kazoo's test harness starts its servers with; it must start, with everything that
/// is missing named once.
#[test]
fn kazoos_harness_starts_and_its_unsupported_keys_are_named() {
    let text = "secureClientPort=2281\nmaxClientCnxns=0\nadmin.serverPort=8080\n\
                serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory\n\
                authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider\n\
                ssl.keyStore.location=/k\nssl.keyStore.password=apassword\n\
                4lw.commands.whitelist=*\nextendedTypesEnabled=true\n";
    let flags = [
        "file.encoding=UTF-8",
        "readonlymode.enabled=true",
        "zookeeper.log.dir=/l",
        "zookeeper.root.logger=INFO,CONSOLE",
        "log4j.configuration=file:/x",
        "java.awt.headless=true",
        "java.security.auth.login.config=/j",
        "zookeeper.admin.enableServer=false",
    ];
    let loaded = loaded(text, &flags);
    assert_eq!((loaded.config.words, loaded.config.quorum.extended_types), (WordList::All, true));
    let mut named: Vec<_> = loaded.notices.iter().map(|notice| notice.key.as_str()).collect();
    named.sort_unstable();
    let wanted = [
        "-Djava.security.auth.login.config",
        "admin.serverPort",
        "authProvider.1",
        "secureClientPort",
        "serverCnxnFactory",
        "ssl.keyStore.location",
        "ssl.keyStore.password",
    ];
    assert_eq!(named, wanted);
}

#[test]
fn notices_come_in_the_order_of_the_file() {
    let text = "zzz=1\ndataDir=/d\nyyy=8080\nclientPort=1\nquux=2\naaa=3\nbbb=5\nzzz=1\n";
    let origins: Vec<_> =
        loaded(text, &["foo=1"]).notices.iter().map(|notice| notice.origin).collect();
    let lines = [4, 5, 6, 7, 8, 9, 10, 10].map(Origin::File);
    assert_eq!((origins[0], &origins[1..]), (Origin::CommandLine, &lines[..]));
}

#[test]
fn files_of_javas_logging_are_named() {
    let read = |path: &Path| match path.to_str() {
        Some("/c/zoo.cfg") => Ok(b"dataDir=/d\nclientPort=1\n".to_vec()),
        Some("/c/logback.xml") => Ok(Vec::new()),
        _ => Err(io::ErrorKind::NotFound.into()),
    };
    let loaded = load(&["/c/zoo.cfg".to_owned()], &[], &read).expect("it loads");
    let said: Vec<_> = loaded.notices.iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("beside the configuration file: logback.xml: is not read"));
}

#[test]
fn the_log_of_the_server() {
    let text = "dataDir=/d\nclientPort=1\nringkeeper.log.format=json\nringkeeper.log.file=/l/x\n\
                ringkeeper.log.level=info,zab=debug\n";
    let wanted = LoggingSettings {
        format: LineFormat::Json,
        file: Some("/l/x".into()),
        level: "info,zab=debug".into(),
    };
    assert_eq!(loaded(text, &[]).config.logging, wanted);
    let file = [("zoo.cfg", BASE)];
    let refused = load_files(&file, &["ringkeeper.log.format=xml"]);
    assert!(refused.is_err_and(|error| error.to_string().contains("ringkeeper.log.format")));
}

/// Whatever bytes a file holds, loading ends in a value or an error.
#[test]
fn no_bytes_make_it_panic() {
    let mut seed = 1u64;
    for _ in 0..3000 {
        let mut bytes = b"dataDir=/d\nclientPort=1\n".to_vec();
        for _ in 0..40 {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let pick = (seed >> 33) as usize;
            bytes.extend_from_slice(FRAGMENTS[pick % FRAGMENTS.len()]);
        }
        let _ = load(&["z".to_owned()], &[], &|_| Ok(bytes.clone()));
    }
}

const FRAGMENTS: &[&[u8]] = &[
    b"\\",
    b"\n",
    b"\r",
    b"=",
    b":",
    b" ",
    b"\\u",
    b"12",
    b"\xff",
    b"\0",
    b"#",
    b"!",
    b"server.",
    b"tickTime",
    b"-",
    b"9999999999",
    b"ringkeeper.cores",
    b"autopurge.purgeInterval",
    b";",
    b"|",
    b"[",
    b"]:",
    b"weight.",
    b"\\uD83D",
    b"h:1:2",
    b"\t",
    b"ms",
];
