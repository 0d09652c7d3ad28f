//! Every word against the text that a running 3.9.5 sent for the same state; only the version line
//! is our own.

use crate::codes::OpCode;
use crate::frontend::{CloseReason, ConnectionReport, Latency, ReplySizes};
use crate::zxid::SessionId;

use super::measures::{Kind, MEASURES, Value};
use super::report::*;
use super::*;

mod members;

/// A connection without a session.
fn connection(port: u16, received: u64, sent: u64) -> ConnectionReport {
    ConnectionReport {
        peer: ([127, 0, 0, 1], port).into(),
        session: SessionId::NONE,
        queued: 0,
        received,
        sent,
        last_op: "NA",
        established_ms: 0,
        timeout_ms: 0,
        last_xid: -1,
        last_zxid: -1,
        last_reply_ms: 0,
        latency: Latency::default(),
    }
}

/// The state that the `fresh` texts were recorded in.
fn fresh() -> Reports {
    let connection = connection(52_616, 1, 0);
    let asking = (connection.peer, 0);
    Reports {
        serving: true,
        trace_mask: TRACE_MASK_DEFAULT,
        server: ServerReport {
            packets_received: 1,
            packets_sent: 1,
            connections: 1,
            node_count: 5,
            ..ServerReport::default()
        },
        conf: ConfReport {
            client_port: 16181,
            data_dir: "/DATA/version-2".into(),
            data_log_dir: "/DATA/version-2".into(),
            tick_ms: 2000,
            min_session_timeout_ms: 4000,
            max_session_timeout_ms: 40_000,
            ..ConfReport::default()
        },
        sizes: SizeReport { data_dir: 478, log_dir: 478 },
        connections: vec![connection],
        connection_expiry: vec![ConnExpiry { at_ms: 1_795_326_904_000, connections: vec![asking] }],
        ..Reports::default()
    }
}

/// The state that the `busy` texts were recorded in: two clients and the asking connection.
fn busy() -> Reports {
    let session = |connection, id, last_op: &'static str, times: (i64, i64), xid, zxid, max| {
        ConnectionReport {
            session: SessionId(id),
            last_op,
            established_ms: times.0,
            timeout_ms: 30_000,
            last_xid: xid,
            last_zxid: zxid,
            last_reply_ms: times.1,
            latency: Latency { count: 4, sum: 1, max, ..Latency::default() },
            ..connection
        }
    };
    let (getd, addw) = (OpCode::GET_DATA.short_name(), OpCode::ADD_WATCH.short_name());
    let getd =
        session(connection(50_026, 2, 2), B8, getd, (1_795_327_833_104, 5_198_807), 1, 0x4f8, 0);
    let addw =
        session(connection(50_022, 6, 6), B7, addw, (1_795_327_833_100, 5_198_806), 5, 0x4f7, 1);
    let server =
        ServerReport { connections: 3, last_zxid: 0x4f8, node_count: 112, ..fresh().server };
    Reports {
        server,
        connections: vec![getd, connection(50_054, 1, 0), addw],
        sizes: SizeReport { data_dir: 67_109_358, log_dir: 67_109_358 },
        sessions: SessionReport {
            buckets: vec![
                SessionExpiry { at_ms: 1_795_327_836_000, sessions: vec![] },
                SessionExpiry { at_ms: 1_795_327_864_000, sessions: vec![B8, B7] },
                SessionExpiry { at_ms: 1_797_474_922_000, sessions: vec![0x100_0049_4531_0001] },
            ],
            of_learner: None,
            local: None,
        },
        ephemerals: vec![(B7, vec!["/e1b".into(), "/e1".into()])],
        connection_expiry: vec![
            ConnExpiry { at_ms: 1_795_327_834_000, connections: vec![] },
            ConnExpiry {
                at_ms: 1_795_327_844_000,
                connections: vec![(([127, 0, 0, 1], 50_064).into(), 0)],
            },
            ConnExpiry {
                at_ms: 1_795_327_864_000,
                connections: vec![
                    (([127, 0, 0, 1], 50_026).into(), B8),
                    (([127, 0, 0, 1], 50_022).into(), B7),
                ],
            },
        ],
        watches: vec![
            ("/x".into(), vec![SessionId(B7)]),
            ("/".into(), vec![SessionId(B8), SessionId(B7)]),
        ],
        digests: vec![(0x80, 32_879_439_738), (0x100, 67_321_709_722), (0x180, -5)],
        ..fresh()
    }
}

fn text(word: Word, reports: &Reports) -> String {
    String::from_utf8(answer(word, reports)).expect("words are text")
}

#[test]
fn conf() {
    let wanted = "clientPort=16181\nsecureClientPort=-1\ndataDir=/DATA/version-2\ndataDirSize=478\n\
                  dataLogDir=/DATA/version-2\ndataLogSize=478\ntickTime=2000\nmaxClientCnxns=0\n\
                  minSessionTimeout=4000\nmaxSessionTimeout=40000\nclientPortListenBacklog=-1\n\
                  serverId=0\n";
    assert_eq!(text(Word::Conf, &fresh()), wanted);
}

#[test]
fn cons() {
    assert_eq!(text(Word::Cons, &fresh()), " /127.0.0.1:52616[0](queued=0,recved=1,sent=0)\n\n");
    let wanted = " /127.0.0.1:50026[1](queued=0,recved=2,sent=2,sid=0x1000049453101b8,lop=GETD,\
                  est=1795327833104,to=30000,lcxid=0x1,lzxid=0x4f8,lresp=5198807,llat=0,minlat=0,\
                  avglat=0,maxlat=0)\n \
                  /127.0.0.1:50054[0](queued=0,recved=1,sent=0)\n \
                  /127.0.0.1:50022[1](queued=0,recved=6,sent=6,sid=0x1000049453101b7,lop=ADDW,\
                  est=1795327833100,to=30000,lcxid=0x5,lzxid=0x4f7,lresp=5198806,llat=0,minlat=0,\
                  avglat=0,maxlat=1)\n\n";
    assert_eq!(text(Word::Cons, &busy()), wanted);
    assert_eq!(wanted.len(), 398);
}

#[test]
fn cons_of_a_connection_that_was_reset_has_no_cxid() {
    let mut reports = busy();
    let session = &mut reports.connections[0];
    (session.last_xid, session.last_zxid, session.last_op) = (-1, -1, "NA");
    let cons = text(Word::Cons, &reports);
    assert!(
        cons.contains(",lop=NA,est=1795327833104,to=30000,lzxid=0xffffffffffffffff,lresp="),
        "{cons}"
    );
}

#[test]
fn dump() {
    let mut fresh = fresh();
    fresh.connection_expiry[0].connections[0].0.set_port(52_642);
    let wanted = "SessionTracker dump:\nSession Sets (0)/(0):\nephemeral nodes dump:\nSessions \
                  with Ephemerals (0):\nConnections dump:\nConnections Sets (1)/(1):\n1 expire at \
                  Sun Nov 22 05:55:04 UTC 2026:\n\tip: /127.0.0.1:52642 sessionId: 0x0\n";
    assert_eq!(text(Word::Dump, &fresh), wanted);
    assert_eq!(wanted.len(), 218);
    let wanted = "SessionTracker dump:\nSession Sets (3)/(3):\n0 expire at Sun Nov 22 06:10:36 \
                  UTC 2026:\n2 expire at Sun Nov 22 06:11:04 UTC \
                  2026:\n\t0x1000049453101b8\n\t0x1000049453101b7\n1 expire at Thu Dec 17 \
                  02:35:22 UTC 2026:\n\t0x100004945310001\nephemeral nodes dump:\nSessions with \
                  Ephemerals (1):\n0x1000049453101b7:\n\t/e1b\n\t/e1\nConnections \
                  dump:\nConnections Sets (3)/(3):\n0 expire at Sun Nov 22 06:10:34 UTC 2026:\n1 \
                  expire at Sun Nov 22 06:10:44 UTC 2026:\n\tip: /127.0.0.1:50064 sessionId: \
                  0x0\n2 expire at Sun Nov 22 06:11:04 UTC 2026:\n\tip: /127.0.0.1:50026 \
                  sessionId: 0x1000049453101b8\n\tip: /127.0.0.1:50022 sessionId: \
                  0x1000049453101b7\n";
    assert_eq!(text(Word::Dump, &busy()), wanted);
    assert_eq!(wanted.len(), 617);
}

#[test]
fn srvr_and_stat() {
    let version = version::full();
    let counts = "Latency min/avg/max: 0/0.0/0\nReceived: 1\nSent: 1\nConnections: \
                  1\nOutstanding: 0\nZxid: 0x0\nMode: standalone\nNode count: 5\n";
    let fresh = fresh();
    assert_eq!(text(Word::Srvr, &fresh), format!("Zookeeper version: {version}\n{counts}"));
    let clients = "Clients:\n /127.0.0.1:52616[0](queued=0,recved=1,sent=0)\n\n";
    assert_eq!(
        text(Word::Stat, &fresh),
        format!("Zookeeper version: {version}\n{clients}{counts}")
    );
    assert!(
        text(Word::Srvr, &busy()).ends_with("Zxid: 0x4f8\nMode: standalone\nNode count: 112\n")
    );
    assert!(
        text(Word::Stat, &busy()).contains("\n /127.0.0.1:50026[1](queued=0,recved=2,sent=2)\n")
    );
}

#[test]
fn srvr_of_other_roles() {
    let mut reports = fresh();
    reports.server.mode = Mode::ReadOnly;
    assert!(
        text(Word::Srvr, &reports)
            .contains("\nREAD-ONLY mode; serving only read-only clients\nLatency")
    );
    assert!(text(Word::Srvr, &reports).contains("\nMode: read-only\n"));
    reports.server.mode = Mode::Leader;
    reports.server.proposal_sizes = Some(ProposalSizes { last: 32, min: -1, max: 36 });
    assert!(
        text(Word::Srvr, &reports)
            .ends_with("Node count: 5\nProposal sizes last/min/max: 32/-1/36\n")
    );
}

#[test]
fn watches() {
    assert_eq!(text(Word::Wchs, &fresh()), "0 connections watching 0 paths\nTotal watches:0\n");
    assert_eq!(text(Word::Wchc, &fresh()), "\n");
    assert_eq!(text(Word::Wchp, &fresh()), "\n");
    assert_eq!(text(Word::Wchs, &busy()), "2 connections watching 2 paths\nTotal watches:3\n");
    assert_eq!(
        text(Word::Wchc, &busy()),
        "0x1000049453101b7\n\t/x\n\t/\n0x1000049453101b8\n\t/\n\n"
    );
    let by_path = "/\n\t0x1000049453101b8\n\t0x1000049453101b7\n/x\n\t0x1000049453101b7\n\n";
    assert_eq!(text(Word::Wchp, &busy()), by_path);
    assert_eq!((text(Word::Wchc, &busy()).len(), by_path.len()), (47, 63));
}

#[test]
fn short_words() {
    let reports = fresh();
    for (word, wanted) in [
        (Word::Ruok, "imok"),
        (Word::Gtmk, "306"),
        (Word::Stmk, "306"),
        (Word::Isro, "rw"),
        (Word::Crst, "Connection stats reset.\n"),
        (Word::Srst, "Server stats reset.\n"),
        (Word::Dirs, "datadir_size: 478\nlogdir_size: 478\n"),
        (Word::Hash, ""),
    ] {
        assert_eq!(text(word, &reports), wanted, "{word:?}");
    }
    assert_eq!(text(Word::Hash, &busy()), "80: 32879439738\n100: 67321709722\n180: -5\n");
    assert_eq!(text(Word::Gtmk, &Reports { trace_mask: -1, ..Reports::default() }), "-1");
}

#[test]
fn envi_has_apaches_keys_in_apaches_order() {
    let mut reports = fresh();
    reports.process =
        ProcessReport { os_name: "Linux".into(), memory_max_mib: 7, ..ProcessReport::default() };
    let envi = text(Word::Envi, &reports);
    assert!(envi.starts_with(&format!(
        "Environment:\nzookeeper.version={}\nhost.name=<NA>\n",
        version::full()
    )));
    let keys: Vec<_> =
        envi.lines().skip(1).filter_map(|line| line.split_once('=')).map(|(key, _)| key).collect();
    assert_eq!(keys, ENVI_KEYS);
    assert!(
        envi.contains("\nos.name=Linux\n")
            && envi.ends_with("\nos.memory.max=7MB\nos.memory.total=0MB\n")
    );
}

#[test]
fn mntr_of_a_fresh_server_is_apaches_but_for_the_version() {
    let mut reports = fresh();
    (reports.server.packets_received, reports.server.packets_sent) = (6, 6);
    let monitor = &mut reports.monitor;
    (monitor.max_files, monitor.open_files, monitor.uptime_ms) = (20_000, 78, 18_459);
    monitor.approximate_data_size = 44;
    monitor.shards.traffic.bytes_received = 24;
    let ours = text(Word::Mntr, &reports);
    let apaches = include_str!("golden/mntr-3.9.5-fresh.txt");
    let of = |text: &str| -> Vec<String> {
        let theirs = text.lines().filter(|line| !line.starts_with("zk_ringkeeper_"));
        theirs.skip(1).map(str::to_owned).collect()
    };
    assert_eq!(of(&ours), of(apaches));
    assert_eq!((of(&ours).len(), ours.ends_with('\n')), (493, true));
    assert_eq!(ours.lines().next(), Some(format!("zk_version\t{}", version::full()).as_str()));
}

#[test]
fn mntr_shows_what_is_measured() {
    let mut reports = busy();
    let points = Summary { count: 3, sum: 10, min: 1, max: 7, p50: 2, p95: 7, p99: 7, p999: 7 };
    reports.server.latency_ms = points;
    let monitor = &mut reports.monitor;
    (monitor.ephemerals, monitor.watches, monitor.global_sessions) = (2, 3, 4);
    (0..5).for_each(|_| monitor.shards.closed.add(CloseReason::AuthFailed));
    monitor.shards.traffic.reply_sizes = ReplySizes { last: 20, min: 16, max: 90 };
    (
        monitor.shards.traffic.event_bytes,
        monitor.shards.traffic.reply_bytes,
        monitor.connections_refused,
    ) = (6, 7, 8);
    monitor.flushes = points;
    monitor.snapshots.times.add(12);
    monitor.recovered_records = 9;
    monitor.long_turns = TurnFigures { long: 11, worked: 10, longest_us: 7000, most_work_us: 6000 };
    let mntr = text(Word::Mntr, &reports);
    for line in [
        "zk_avg_latency\t3.3333",
        "zk_max_latency\t7",
        "zk_num_alive_connections\t3",
        "zk_znode_count\t112",
        "zk_ephemerals_count\t2",
        "zk_watch_count\t3",
        "zk_global_sessions\t4",
        "zk_auth_failed_count\t5",
        "zk_last_client_response_size\t20",
        "zk_min_client_response_size\t16",
        "zk_max_client_response_size\t90",
        "zk_watch_bytes\t6",
        "zk_response_bytes\t7",
        "zk_connection_rejected\t8",
        "zk_cnt_snapshottime\t1",
        "zk_max_snapshottime\t12",
        "zk_sum_startup_txns_loaded\t9",
        "zk_avg_fsynctime\t3.3333",
        "zk_cnt_fsynctime\t3",
        "zk_sum_updatelatency\t0",
        "zk_ringkeeper_closed_slow_reader\t0",
        "zk_ringkeeper_long_turns\t11",
        "zk_ringkeeper_long_turns_worked\t10",
        "zk_ringkeeper_longest_turn_us\t7000",
        "zk_ringkeeper_most_work_of_a_turn_us\t6000",
    ] {
        assert!(mntr.lines().any(|has| has == line), "{line}");
    }
}

#[test]
fn every_measure_has_one_row_of_its_kind() {
    let names: std::collections::BTreeSet<_> =
        MEASURES.iter().map(|measure| measure.name).collect();
    assert_eq!(names.len(), MEASURES.len());
    for measure in &MEASURES {
        let value = (measure.value)(&busy());
        let is_series = matches!(measure.kind, Kind::Summary | Kind::Quantiles);
        assert_eq!(matches!(value, Value::Series(_)), is_series, "{}", measure.name);
    }
}

#[test]
fn a_server_that_is_not_serving_says_so() {
    let reports = Reports { serving: false, ..busy() };
    const NOT: &str = "This ZooKeeper instance is not currently serving requests";
    for word in Word::ALL {
        let text = text(word, &reports);
        match word {
            Word::Ruok => assert_eq!(text, "imok"),
            Word::Gtmk | Word::Stmk => assert_eq!(text, "306"),
            Word::Envi => assert!(text.starts_with("Environment:\n")),
            Word::Isro => assert_eq!(text, "null"),
            Word::Hash => assert_eq!(text, NOT),
            _ => assert_eq!(text, format!("{NOT}\n"), "{word:?}"),
        }
    }
}

#[test]
fn words_are_recognised_in_lower_case_only() {
    for word in Word::ALL {
        let bytes: [u8; 4] = word.name().as_bytes().try_into().expect("four letters");
        assert_eq!(Word::from_bytes(bytes), Some(word));
        assert_eq!(format!("{word:?}").to_ascii_lowercase(), word.name());
        assert_eq!(Word::from_bytes(bytes.map(|b| b.to_ascii_uppercase())), None);
    }
    assert_eq!(Word::from_bytes(*b"ruo\n"), None);
    assert_eq!(Word::from_bytes([0xff, 0xf4, 0xff, 0xfd]), None);
}

#[test]
fn a_word_outside_the_whitelist_is_refused_by_name() {
    assert_eq!(refusal(Word::Mntr), b"mntr is not executed because it is not in the whitelist.\n");
}

/// An answer needs nothing beyond what `needs` says: with the rest left empty it is the same.
#[test]
fn needs_name_all_that_an_answer_reads() {
    let mut full = busy();
    full.process.host_name = "h".into();
    full.monitor.watches = 3;
    for word in Word::ALL {
        let needs = word.needs();
        let mut lean =
            Reports { serving: needs.serving, trace_mask: full.trace_mask, ..Reports::default() };
        let copy = full.clone();
        if needs.server {
            lean.server = copy.server;
        }
        if needs.conf {
            lean.conf = copy.conf;
        }
        if needs.sizes {
            lean.sizes = copy.sizes;
        }
        if needs.connections {
            lean.connections = copy.connections;
        }
        if needs.sessions {
            lean.sessions = copy.sessions;
            lean.ephemerals = copy.ephemerals;
            lean.connection_expiry = copy.connection_expiry;
        }
        if needs.watches {
            lean.watches = copy.watches;
        }
        if needs.monitor {
            lean.monitor = copy.monitor;
        }
        if needs.digests {
            lean.digests = copy.digests;
        }
        if needs.process {
            lean.process = copy.process;
        }
        assert_eq!(answer(word, &lean), answer(word, &full), "{word:?}");
    }
}

const B7: i64 = 0x100_0049_4531_01b7;
const B8: i64 = 0x100_0049_4531_01b8;
const ENVI_KEYS: [&str; 18] = [
    "zookeeper.version",
    "host.name",
    "java.version",
    "java.vendor",
    "java.home",
    "java.class.path",
    "java.library.path",
    "java.io.tmpdir",
    "java.compiler",
    "os.name",
    "os.arch",
    "os.version",
    "user.name",
    "user.home",
    "user.dir",
    "os.memory.free",
    "os.memory.max",
    "os.memory.total",
];
