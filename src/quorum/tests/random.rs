//! Random requests through prepare, flush and commit, in pipelines of random depth, against a model
//! that knows no pipeline.
//!
//! The digest logged with every transaction must be the tree's after it (`settle` checks the count
//! of mismatches), and the pipelined server must end in the same state, with the same answers, as
//! one that commits each request before the next.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Ask {
    Create {
        path: String,
        flags: i32,
        data: Vec<u8>,
        op: i32,
        closed: bool,
    },
    Ttl {
        path: String,
        flags: i32,
        ttl: i64,
    },
    Delete {
        path: String,
        version: i32,
    },
    Set {
        path: String,
        data: Option<Vec<u8>>,
        version: i32,
    },
    SetAcl {
        path: String,
        version: i32,
        closed: bool,
    },
    Check {
        path: String,
        version: i32,
    },
    Multi(Vec<Ask>),
    Sync,
    Garbage(i32, Vec<u8>),
    /// Closes the session and opens the next.
    Reopen,
}

fn a_path() -> impl Strategy<Value = String> {
    let name = prop_oneof![Just("/a"), Just("/b"), Just("/c-")];
    let odd = prop_oneof![
        Just(""),
        Just("/"),
        Just("/a/"),
        Just("x"),
        Just("/zookeeper"),
        Just("/zookeeper/q"),
        Just("/\u{1}")
    ];
    prop_oneof![
        12 => proptest::collection::vec(name, 1..4).prop_map(|names| names.concat()),
        1 => odd.prop_map(String::from),
        2 => (0..6u32).prop_map(|number| format!("/a/c-{number:010}")),
    ]
}

fn a_version() -> impl Strategy<Value = i32> {
    prop_oneof![4 => Just(-1), 3 => 0..3i32, 1 => Just(-2)]
}

fn a_single() -> impl Strategy<Value = Ask> {
    let data = || proptest::collection::vec(any::<u8>(), 0..40);
    let op = prop_oneof![4 => Just(1), 2 => Just(15), 1 => Just(19)];
    let flags = prop_oneof![6 => Just(0), 8 => 0..5i32, 1 => -1..8i32];
    prop_oneof![
        8 => (a_path(), flags, data(), op, proptest::bool::weighted(0.1))
            .prop_map(|(path, flags, data, op, closed)| Ask::Create { path, flags, data, op, closed }),
        1 => (a_path(), 0..7i32, -1..9i64)
            .prop_map(|(path, flags, ttl)| Ask::Ttl { path, flags, ttl }),
        5 => (a_path(), a_version()).prop_map(|(path, version)| Ask::Delete { path, version }),
        6 => (a_path(), proptest::option::of(data()), a_version())
            .prop_map(|(path, data, version)| Ask::Set { path, data, version }),
        2 => (a_path(), a_version()).prop_map(|(path, version)| Ask::Check { path, version }),
    ]
}

fn an_ask() -> impl Strategy<Value = Ask> {
    let garbage = proptest::collection::vec(any::<u8>(), 0..30);
    prop_oneof![
        12 => a_single().prop_filter("a check alone is none", |ask| !matches!(ask, Ask::Check { .. })),
        2 => (a_path(), a_version(), any::<bool>())
            .prop_map(|(path, version, closed)| Ask::SetAcl { path, version, closed }),
        5 => proptest::collection::vec(a_single(), 0..6).prop_map(Ask::Multi),
        1 => Just(Ask::Sync),
        1 => (prop_oneof![Just(1), Just(2), Just(5), Just(7), Just(14), Just(21)], garbage)
            .prop_map(|(op, bytes)| Ask::Garbage(op, bytes)),
        2 => Just(Ask::Reopen),
    ]
}

impl Ask {
    fn encode(&self) -> (i32, Vec<u8>) {
        let list = |closed: &bool| if *closed { CLOSED } else { OPEN };
        match self {
            Self::Create { path, flags, data, op, closed } => {
                (*op, create_with(Some(path), Some(data), Some(list(closed)), *flags))
            }
            Self::Ttl { path, flags, ttl } => (21, create_ttl(path, *flags, *ttl)),
            Self::Delete { path, version } => (2, delete(Some(path), *version)),
            Self::Set { path, data, version } => {
                (5, set_data(Some(path), data.as_deref(), *version))
            }
            Self::SetAcl { path, version, closed } => {
                (7, set_acl(Some(path), Some(list(closed)), *version))
            }
            Self::Check { path, version } => (13, delete(Some(path), *version)),
            Self::Multi(asks) => (14, multi(&asks.iter().map(Self::encode).collect::<Vec<_>>())),
            Self::Sync => (9, record(|writer| text(writer, Some("/a")))),
            Self::Garbage(op, bytes) => (*op, bytes.clone()),
            Self::Reopen => (-11, vec![]),
        }
    }
}

fn submit(world: &mut World, ask: &Ask) {
    let (op, record) = ask.encode();
    world.submit(OpCode(op), record);
    if matches!(ask, Ask::Reopen) {
        // Others may come before a close that waits: here nobody does.
        while !world.quorum.leader().departures.is_empty() {
            world.poll();
            world.flush();
            world.commit(u64::MAX);
            world.work(u64::MAX);
        }
        world.session = SessionId(world.session.0 + 1);
        world.open(world.session.0);
    }
}

/// All that a client could tell two runs apart by. The events of a closeSession come in any order,
/// as Apache's do: whether its session departs depends on what is outstanding.
fn trace(world: &mut World) -> Vec<String> {
    let mut items = world.items();
    let zxid_of =
        |item: &BatchItem| if let BatchItem::Event(event) = item { Some(event.zxid) } else { None };
    let is_close = |zxid| {
        let record = world.log.iter().find(|record| record.header.zxid == zxid);
        record.is_some_and(|record| matches!(record.txn, Txn::CloseSession { .. }))
    };
    for run in items.chunk_by_mut(|a, b| zxid_of(a).is_some() && zxid_of(a) == zxid_of(b)) {
        if zxid_of(&run[0]).is_some_and(is_close) {
            run.sort_by_key(|item| format!("{item:?}"));
        }
    }
    items.iter().map(|item| format!("{item:?}")).collect()
}

/// A record without what depends on whether a session departs.
fn comparable(record: &LogRecord) -> (TxnHeader, Txn) {
    match &record.txn {
        Txn::CloseSession { .. } => (record.header, Txn::CloseSession { paths: None }),
        txn => (record.header, txn.clone()),
    }
}

fn dump(tree: &Tree) -> Vec<String> {
    let mut all = Vec::new();
    let mut paths = vec![String::new()];
    while let Some(path) = paths.pop() {
        let node = tree.get(&path).unwrap();
        paths.extend(node.children().map(|name| format!("{path}/{name}")));
        all.push(format!("{path} {:?} {:?} {:?}", node.data(), node.persisted(), node.acl()));
    }
    all.sort();
    all.push(format!("{:?}", tree.sessions().collect::<Vec<_>>()));
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_pipeline_of_any_depth_answers_as_one_without(
        asks in proptest::collection::vec((an_ask(), 0..4u8), 1..60),
    ) {
        let mut one_by_one = World::new();
        let mut pipelined = World::new();
        let (mut expected, mut got) = (Vec::new(), Vec::new());
        for (ask, step) in &asks {
            submit(&mut one_by_one, ask);
            one_by_one.settle();
            expected.extend(trace(&mut one_by_one));
            submit(&mut pipelined, ask);
            match step {
                0 => pipelined.settle(),
                1 => pipelined.poll(),
                2 => {
                    pipelined.poll();
                    pipelined.flush();
                    pipelined.commit(5);
                }
                _ => {}
            }
            got.extend(trace(&mut pipelined));
        }
        pipelined.settle();
        got.extend(trace(&mut pipelined));
        prop_assert_eq!(got, expected);
        prop_assert_eq!(dump(&pipelined.tree), dump(&one_by_one.tree));
        prop_assert_eq!(pipelined.quorum.report().outstanding_nodes, 0);
        prop_assert_eq!(pipelined.quorum.leader().outstanding.digest(), pipelined.tree.digest());
        let logged = |world: &World| world.log.iter().map(comparable).collect::<Vec<_>>();
        prop_assert_eq!(logged(&pipelined), logged(&one_by_one));
        replay(&pipelined);
    }
}

/// The log alone leads to the same tree, and every record's digest is the tree's after it.
fn replay(world: &World) {
    let mut tree = Tree::new();
    for record in &world.log {
        tree.apply(&record.header, &record.txn, None);
        // While departed nodes are being removed nothing is logged with a digest.
        assert!(record.digest.is_none_or(|digest| digest.tree == tree.digest()), "{record:?}");
    }
    assert_eq!(dump(&tree), dump(&world.tree));
}

const CLOSED: &[AclSpec<'_>] = &[(1 | 4, Some("world"), Some("anyone"))];
