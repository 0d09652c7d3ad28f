//! The tree against what was measured on Apache 3.9.5, rule by rule, (in `model`) against a simple
//! model, and (in `walks`) while several snapshots are taken of it.

mod model;
mod walks;

use proptest::prelude::*;

use super::*;
use crate::codes::{ErrorCode, OpCode};
use crate::jute::data::{CONTAINER_OWNER, Id, ttl_owner};
use crate::txn::{CreateKind, CreateTxn, SetDataTxn, Txn, TxnHeader};

const SESSION: SessionId = SessionId(0x1_0000_0000_0001);

/// A tree that is driven transaction by transaction, with zxids and times that count up.
struct Driven {
    tree: Tree,
    zxid: i64,
}

impl Driven {
    fn new() -> Self {
        Self { tree: Tree::new(), zxid: 0 }
    }

    fn header(&mut self) -> TxnHeader {
        self.zxid += 1;
        TxnHeader { session: SESSION, cxid: 1, zxid: Zxid(self.zxid), time_ms: 1000 + self.zxid }
    }

    fn apply(&mut self, txn: &Txn) -> Applied {
        let header = self.header();
        self.tree.apply(&header, txn, None)
    }

    fn events(&mut self, txn: &Txn) -> Vec<(EventType, String, bool)> {
        let header = self.header();
        let mut events = Vec::new();
        self.tree.apply(&header, txn, Some(&mut events));
        assert!(events.iter().all(|event| event.zxid == header.zxid));
        events
            .into_iter()
            .map(|event| (event.kind, event.path.into(), event.acl.is_some()))
            .collect()
    }

    /// Applies a create of an open persistent node, as the leader would have prepared it.
    fn create(&mut self, path: &str) -> Applied {
        self.apply(&create(path, CreateKind::Persistent))
    }

    fn stat(&self, path: &str) -> Stat {
        self.tree.get(path).unwrap().stat()
    }

    fn text(&self, path: &str) -> &str {
        std::str::from_utf8(self.tree.get(path).unwrap().data().unwrap()).unwrap()
    }
}

fn create(path: &str, kind: CreateKind) -> Txn {
    let with_stat = matches!(kind, CreateKind::Container | CreateKind::Ttl { .. });
    let data = Some("data".into());
    Txn::Create(CreateTxn {
        path: path.into(),
        data,
        acl: [Acl::open()].into(),
        kind,
        with_stat,
        parent_cversion: -1,
    })
}

fn delete(path: &str) -> Txn {
    Txn::Delete { path: path.into() }
}

fn set_data(path: &str, data: Option<&'static str>, version: i32) -> Txn {
    Txn::SetData(SetDataTxn { path: path.into(), data: data.map(Into::into), version })
}

fn private() -> Vec<Acl> {
    vec![Acl { perms: 1, id: Id::new("digest", "u:p") }]
}

#[test]
fn a_fresh_tree_is_as_observed() {
    let tree = Tree::new();
    assert_eq!((tree.node_count(), tree.data_size(), tree.last_zxid()), (5, 44, Zxid::ZERO));
    // The sum that Apache 3.9.5 logs for an error transaction on a fresh server.
    let of = |path| i64::from(node_digest(path, Some(b""), &StatPersisted::default()));
    assert_eq!(tree.digest(), of("/") + of("/zookeeper"));
    assert_eq!(tree.digest(), 1_371_985_504);
    let root = tree.get("/").unwrap();
    assert_eq!(
        (root.stat().cversion, root.stat().num_children, root.data()),
        (-1, 1, Some(&b""[..]))
    );
    let zookeeper = tree.get("/zookeeper").unwrap();
    assert_eq!(zookeeper.stat().cversion, -2);
    assert_eq!(zookeeper.children().collect::<Vec<_>>(), ["config", "quota"]);
    let config = tree.get(CONFIG_PATH).unwrap();
    assert_eq!(
        (config.stat().aversion, config.data(), config.is_open()),
        (-1, Some(&b""[..]), false)
    );
    assert_eq!(config.acl()[0].perms, 1);
    assert_eq!(tree.get("").unwrap().path(), "");
    for absent in ["zookeeper", "/zookeeper/", "//", "/x", "/zookeeper/config/x"] {
        assert!(tree.get(absent).is_none(), "{absent}");
    }
}

/// Seen at a 3.9.5: `get -s /zookeeper/config`.
#[test]
fn the_membership_is_shown_and_changes_no_digest() {
    let mut tree = Tree::new();
    let (digest, zxid) = (tree.digest(), tree.last_zxid());
    tree.set_config(b"server.1=a:1:2:participant\nversion=0", Zxid(7), 99);
    let config = tree.get(CONFIG_PATH).unwrap();
    assert_eq!(config.data(), Some(&b"server.1=a:1:2:participant\nversion=0"[..]));
    let stat = config.stat();
    assert_eq!((stat.version, stat.aversion, stat.mzxid, stat.mtime), (-1, -1, 7, 99));
    assert_eq!((stat.czxid, stat.ctime, stat.data_length), (0, 0, 36));
    assert_eq!((tree.digest(), tree.last_zxid(), tree.data_size()), (digest, zxid, 44 + 36));
}

#[test]
fn create_sets_parent_and_child_stats() {
    let mut driven = Driven::new();
    driven.create("/a");
    let stat = driven.stat("/a");
    let expected = Stat {
        czxid: 1,
        mzxid: 1,
        pzxid: 1,
        ctime: 1001,
        mtime: 1001,
        data_length: 4,
        ..Stat::default()
    };
    assert_eq!(stat, expected);
    driven.create("/a/b");
    driven.create("/a/c");
    driven.apply(&delete("/a/b"));
    let stat = driven.stat("/a");
    assert_eq!((stat.cversion, stat.num_children, stat.pzxid, stat.mzxid), (3, 1, 4, 1));
    let mut set_acl =
        |version| driven.apply(&Txn::SetAcl { path: "/a".into(), acl: private().into(), version });
    let TxnResult::Stat(stat) = set_acl(1).result else { panic!("setACL answers a Stat") };
    assert_eq!((stat.aversion, stat.mzxid, stat.pzxid), (1, 1, 4));
    let applied = driven.apply(&set_data("/a", None, 1));
    let TxnResult::Stat(stat) = applied.result else { panic!("setData answers a Stat") };
    assert_eq!(
        (stat.version, stat.mzxid, stat.mtime, stat.data_length, stat.pzxid),
        (1, 6, 1006, 0, 4)
    );
    assert_eq!(driven.tree.get("/a").unwrap().data(), None);
    assert_eq!(driven.tree.last_zxid(), Zxid(6));
}

#[test]
fn results_are_enough_for_a_reply() {
    let mut driven = Driven::new();
    assert_eq!(driven.create("/a").result, TxnResult::Created);
    let result = driven.apply(&create("/c", CreateKind::Container)).result;
    assert_eq!(result, TxnResult::CreatedStat(driven.stat("/c")));
    assert_eq!(driven.apply(&Txn::Error(ErrorCode::BAD_VERSION)).err, ErrorCode::BAD_VERSION);
    let multi = Txn::Multi(vec![
        create("/a/b", CreateKind::Persistent),
        Txn::Check { path: "/a/b".into(), version: 0 },
        set_data("/a/b", Some("x"), 1),
        delete("/a/b"),
    ]);
    let TxnResult::Multi(results) = driven.apply(&multi).result else {
        panic!("a multi answers a list")
    };
    assert_eq!(results[0], (OpCode::CREATE, ErrorCode::OK, TxnResult::Created));
    assert_eq!(results[1], (OpCode::CHECK, ErrorCode::OK, TxnResult::None));
    assert!(matches!(
        results[2],
        (OpCode::SET_DATA, ErrorCode::OK, TxnResult::Stat(Stat { version: 1, .. }))
    ));
    assert_eq!(results[3], (OpCode::DELETE, ErrorCode::OK, TxnResult::None));
}

#[test]
fn a_failed_multi_applies_nothing() {
    let mut driven = Driven::new();
    let digest = driven.tree.digest();
    let multi = Txn::Multi(vec![
        create("/a", CreateKind::Persistent),
        Txn::Error(ErrorCode::NO_NODE),
        Txn::Error(ErrorCode::RUNTIME_INCONSISTENCY),
        create("/b", CreateKind::Persistent),
    ]);
    let applied = driven.apply(&multi);
    let expected = [
        ErrorCode::OK,
        ErrorCode::NO_NODE,
        ErrorCode::RUNTIME_INCONSISTENCY,
        ErrorCode::RUNTIME_INCONSISTENCY,
    ];
    let expected = expected.map(|err| (OpCode::ERROR, err, TxnResult::None)).to_vec();
    assert_eq!(applied, Applied { err: ErrorCode::NO_NODE, result: TxnResult::Multi(expected) });
    assert_eq!((driven.tree.digest(), driven.tree.node_count()), (digest, 5));
    assert_eq!(driven.tree.last_zxid(), Zxid(1), "its zxid is used up");
}

/// ZOOKEEPER-1269, -3891: what a replay over a fuzzy snapshot finds done already still raises the
/// parent's numbers.
#[test]
fn replayed_creates_and_deletes_raise_the_parent() {
    let mut driven = Driven::new();
    driven.create("/p");
    driven.create("/p/a");
    let TxnHeader { zxid, .. } = driven.header();
    driven.zxid = zxid.0;
    let Txn::Create(again) = create("/p/a", CreateKind::Persistent) else { unreachable!() };
    let again = CreateTxn { acl: private().into(), parent_cversion: 7, ..again };
    assert_eq!(driven.apply(&Txn::Create(again.clone())).err, ErrorCode::NODE_EXISTS);
    let parent = driven.tree.get("/p").unwrap().persisted();
    assert_eq!((parent.cversion, parent.pzxid), (7, 4));
    assert_eq!(**driven.tree.get("/p/a").unwrap().acl(), *private());
    assert_eq!(driven.stat("/p/a").aversion, 0);
    // One with an earlier zxid changes nothing.
    driven.apply(&Txn::Create(CreateTxn { parent_cversion: 6, ..again }));
    assert_eq!(driven.tree.get("/p").unwrap().persisted(), parent);
    assert_eq!(driven.apply(&delete("/p/none")).err, ErrorCode::NO_NODE);
    assert_eq!(driven.stat("/p").pzxid, 6);
    driven.zxid = 2;
    driven.apply(&delete("/p/none"));
    assert_eq!(driven.stat("/p").pzxid, 6);
}

/// A fuzzy snapshot may show /a/b while the delete of the /a before it is still to be replayed.
#[test]
fn a_replayed_delete_takes_what_is_below_with_it() {
    let mut driven = Driven::new();
    for path in ["/a", "/a/b", "/a/b/c", "/a/d"] {
        driven.create(path);
    }
    let digest = Tree::new().digest();
    assert_eq!(driven.apply(&delete("/a")).err, ErrorCode::OK);
    assert_eq!(driven.tree.node_count(), 5);
    driven.create("/a");
    driven.apply(&delete("/a"));
    let root = driven.tree.get("").unwrap();
    let fresh_root = i64::from(node_digest("", Some(b""), &StatPersisted::default()));
    assert_eq!(driven.tree.digest() - i64::from(root.digest()), digest - fresh_root);
    assert_eq!(driven.tree.data_size(), 44);
}

#[test]
fn impossible_transactions_change_nothing() {
    let mut driven = Driven::new();
    let digest = driven.tree.digest();
    for path in ["", "/", "a", "/a/", "//", "//a", "/x/y"] {
        let err = driven.create(path).err;
        let expected = match path {
            "/" => ErrorCode::NODE_EXISTS,
            "/x/y" => ErrorCode::NO_NODE,
            _ => ErrorCode::BAD_ARGUMENTS,
        };
        assert_eq!(err, expected, "{path:?}");
        assert_ne!(driven.apply(&delete(path)).err, ErrorCode::OK, "{path:?}");
    }
    assert_eq!(driven.apply(&set_data("/x", None, 1)).err, ErrorCode::NO_NODE);
    assert_eq!(driven.tree.digest(), digest);
}

#[test]
fn events_come_in_apaches_order_with_the_acl_that_filters_them() {
    use EventType::*;
    let mut driven = Driven::new();
    let Txn::Create(made) = create("/a", CreateKind::Persistent) else { unreachable!() };
    let made = Txn::Create(CreateTxn { acl: private().into(), ..made });
    let events = driven.events(&made);
    assert_eq!(
        events,
        [(NodeCreated, "/a".into(), true), (NodeChildrenChanged, "/".into(), false)]
    );
    let events = driven.events(&create("/a/b", CreateKind::Persistent));
    assert_eq!(
        events,
        [(NodeCreated, "/a/b".into(), false), (NodeChildrenChanged, "/a".into(), true)]
    );
    assert_eq!(driven.events(&set_data("/a", None, 1)), [(NodeDataChanged, "/a".into(), true)]);
    assert_eq!(driven.events(&set_data("/", None, 1)), [(NodeDataChanged, "/".into(), false)]);
    assert_eq!(
        driven.events(&Txn::SetAcl { path: "/a".into(), acl: private().into(), version: 1 }),
        []
    );
    let events = driven.events(&Txn::Multi(vec![delete("/a/b"), delete("/a")]));
    let expected = [
        (NodeDeleted, "/a/b".into(), false),
        (NodeChildrenChanged, "/a".into(), true),
        (NodeDeleted, "/a".into(), true),
        (NodeChildrenChanged, "/".into(), false),
    ];
    assert_eq!(events, expected);
    assert_eq!(driven.events(&delete("/a")), []);
}

#[test]
fn sessions_and_their_ephemerals() {
    let mut driven = Driven::new();
    driven.apply(&Txn::CreateSession { timeout_ms: 4000 });
    for path in ["/b", "/a", "/c"] {
        driven.apply(&create(path, CreateKind::Ephemeral));
    }
    driven.create("/p");
    assert_eq!(driven.tree.session_timeout(SESSION), Some(4000));
    assert_eq!(driven.tree.ephemerals_of(SESSION), ["/a", "/b", "/c"]);
    assert_eq!((driven.tree.ephemeral_count(), driven.tree.ephemeral_owners()), (3, vec![SESSION]));
    assert_eq!(driven.stat("/a").ephemeral_owner, SESSION.0);
    driven.apply(&delete("/c"));
    // What the transaction does not list goes too, and what it lists may be gone.
    let close = Txn::CloseSession { paths: Some(vec!["/b".into(), "/gone".into()]) };
    assert_eq!(driven.apply(&close).err, ErrorCode::OK);
    assert_eq!(driven.tree.sessions().count(), 0);
    assert_eq!((driven.tree.ephemeral_count(), driven.tree.ephemeral_owners()), (0, vec![]));
    assert_eq!(driven.tree.node_count(), 6);
    driven.apply(&create("/a", CreateKind::Ephemeral));
    driven.apply(&Txn::CloseSession { paths: None });
    assert_eq!(driven.tree.node_count(), 6);
}

/// The nodes that are due, found by looks at one node each.
fn doomed(tree: &Tree, now_wall_ms: i64, never_used_ms: i64) -> VecDeque<String> {
    let (mut all, mut at) = (VecDeque::new(), Some(DoomedCursor::default()));
    while let Some(cursor) = at {
        at = tree.doomed(now_wall_ms, never_used_ms, cursor, 1, &mut all);
    }
    all
}

#[test]
fn containers_and_ttl_nodes_are_doomed_when_due() {
    let mut driven = Driven::new();
    driven.apply(&create("/c", CreateKind::Container));
    driven.apply(&create("/t", CreateKind::Ttl { ttl_ms: 100 }));
    assert_eq!(driven.tree.get("/c").unwrap().persisted().ephemeral_owner, CONTAINER_OWNER);
    assert_eq!(driven.tree.get("/t").unwrap().persisted().ephemeral_owner, ttl_owner(100));
    assert_eq!((driven.stat("/c").ephemeral_owner, driven.stat("/t").ephemeral_owner), (0, 0));
    assert_eq!(doomed(&driven.tree, 1102, 0), Vec::<String>::new());
    assert_eq!(doomed(&driven.tree, 1103, 0), ["/t"]);
    assert_eq!(doomed(&driven.tree, 1102, 100), ["/c"]);
    assert_eq!(doomed(&driven.tree, 9999, 100), ["/c", "/t"]);
    driven.create("/c/x");
    driven.create("/t/x");
    assert_eq!(doomed(&driven.tree, 9999, 100), Vec::<String>::new());
    driven.apply(&delete("/c/x"));
    driven.apply(&delete("/t/x"));
    assert_eq!(doomed(&driven.tree, 1000, 0), ["/c"]);
    driven.apply(&Txn::DeleteContainer { path: "/c".into() });
    driven.apply(&Txn::DeleteContainer { path: "/t".into() });
    assert_eq!(doomed(&driven.tree, i64::MAX, 1), Vec::<String>::new());
}

#[test]
fn quota_statistics_follow_what_is_below() {
    let mut driven = Driven::new();
    driven.create("/q");
    driven.create("/q/a");
    for path in [
        "/zookeeper/quota/q",
        "/zookeeper/quota/q/zookeeper_limits",
        "/zookeeper/quota/q/zookeeper_stats",
    ] {
        driven.create(path);
    }
    const STATS: &str = "/zookeeper/quota/q/zookeeper_stats";
    assert_eq!(driven.text(STATS), "count=2,bytes=8");
    driven.create("/q/a/b");
    driven.create("/qq");
    driven.apply(&set_data("/q", Some("seven77"), 1));
    driven.apply(&set_data("/q/a/b", None, 1));
    assert_eq!(driven.text(STATS), "count=3,bytes=11");
    let stat = driven.stat(STATS);
    assert_eq!((stat.version, stat.mzxid, stat.data_length), (0, 5, 16));
    driven.apply(&delete("/q/a/b"));
    assert_eq!(driven.text(STATS), "count=2,bytes=11");
    assert_eq!(driven.tree.quota_root("/q/x/y"), Some("/q"));
    assert_eq!(driven.tree.quota_root("/qq"), None);
    // What a client has written there is taken as it is, or counted afresh.
    driven.apply(&set_data(STATS, Some("count=9,bytes=9"), 1));
    driven.create("/q/c");
    assert_eq!(driven.text(STATS), "count=10,bytes=13");
    driven.apply(&set_data(STATS, Some("nonsense"), 2));
    driven.create("/q/d");
    assert_eq!(driven.text(STATS), "count=4,bytes=19");
    driven.apply(&delete("/zookeeper/quota/q/zookeeper_limits"));
    driven.create("/q/e");
    assert_eq!(driven.text(STATS), "count=4,bytes=19");
    let counted: u64 = paths(&driven.tree).iter().map(|path| size(&driven.tree, path)).sum();
    assert_eq!(driven.tree.data_size(), counted + 1);
}

/// A large subtree is counted a few nodes at a time, whatever changes meanwhile.
#[test]
fn quotas_are_counted_in_pieces() {
    const STATS: &str = "/zookeeper/quota/q/zookeeper_stats";
    for piece in [1, 3, 7, 50, 1000] {
        let mut driven = Driven::new();
        driven.create("/q");
        for node in 0..30 {
            driven.create(&format!("/q/{node}"));
        }
        for path in ["/zookeeper/quota/q", "/zookeeper/quota/q/zookeeper_limits", STATS] {
            driven.create(path);
        }
        let mut at = 0;
        while driven.tree.is_counting_quotas() {
            assert!(driven.tree.count_quotas(piece) <= piece);
            driven.apply(&delete(&format!("/q/{at}")));
            driven.apply(&set_data(&format!("/q/{}", 29 - at), Some("a longer text"), 1));
            driven.create(&format!("/q/x{at}"));
            driven.create(&format!("/other{at}"));
            at = (at + 1).min(14);
        }
        let below: Vec<_> =
            paths(&driven.tree).into_iter().filter(|path| path.starts_with("/q")).collect();
        let data = |path: &String| driven.tree.get(path).unwrap().data().map_or(0, <[u8]>::len);
        let bytes: usize = below.iter().map(data).sum();
        assert_eq!(
            driven.text(STATS),
            format!("count={},bytes={bytes}", below.len()),
            "by {piece}"
        );
        driven.create("/q/last");
        assert!(driven.text(STATS).starts_with(&format!("count={},", below.len() + 1)));
    }
}

#[test]
fn all_children_numbers() {
    let mut driven = Driven::new();
    for path in ["/a", "/a/b", "/a/b/c", "/ab"] {
        driven.create(path);
    }
    let count = |path| driven.tree.count_descendants(path);
    assert_eq!(
        (count("/a"), count("/a/b"), count("/ab"), count("/none")),
        (Some(2), Some(1), Some(0), None)
    );
    assert_eq!((count("/"), count("")), (Some(7), Some(8)));
}

/// Beginning copies nothing, a slice copies no more than it may, and what changes meanwhile, before
/// or after the point that the copying has reached, is copied as it was.
#[test]
fn many_sessions_and_lists_are_copied_in_slices_as_they_were() {
    const SESSIONS: i64 = 1000;
    const SLICE: usize = 64;
    let mut tree = Tree::new();
    let mut zxid = 0;
    let mut apply = |tree: &mut Tree, session: i64, txn: Txn| {
        zxid += 1;
        let header =
            TxnHeader { session: SessionId(session), cxid: 0, zxid: Zxid(zxid), time_ms: 0 };
        tree.apply(&header, &txn, None);
    };
    let acl = |at: i64| vec![Acl { perms: 31, id: Id::new("digest", &format!("user{at}:x")) }];
    for at in 1..=SESSIONS {
        apply(&mut tree, 2 * at, Txn::CreateSession { timeout_ms: at as i32 });
        let (path, kind) = (format!("/{at}"), CreateKind::Persistent);
        let acl = acl(at);
        let create = CreateTxn {
            path,
            data: None,
            acl: acl.into(),
            kind,
            with_stat: false,
            parent_cversion: -1,
        };
        apply(&mut tree, 0, Txn::Create(create));
    }
    let sessions: Vec<_> = tree.sessions().collect();
    let lists: Vec<_> =
        tree.acls.iter().map(|(index, list)| (i64::from(index), list.clone())).collect();
    let (walk, mut head) = tree.begin_snapshot().unwrap();
    assert_eq!((head.sessions.len(), head.acls.len()), (0, 0));
    let (mut slices, mut at) = (0, 0);
    loop {
        let before = head.sessions.len() + head.acls.len();
        let goes_on = tree.copy_head(walk, &mut head, SLICE).unwrap();
        assert!(head.sessions.len() + head.acls.len() <= before + SLICE);
        if !goes_on {
            break;
        }
        slices += 1;
        // From both ends: one that is copied already, and one that is not.
        at += 1;
        for changed in [at, SESSIONS - at] {
            apply(&mut tree, 2 * changed, Txn::CloseSession { paths: None });
            apply(&mut tree, 2 * changed + 1, Txn::CreateSession { timeout_ms: -1 });
            apply(&mut tree, 2 * changed + 200, Txn::CreateSession { timeout_ms: -2 });
            let path = format!("/{changed}");
            apply(&mut tree, 0, Txn::SetAcl { path, acl: acl(-changed).into(), version: 1 });
            apply(&mut tree, 0, Txn::Delete { path: format!("/{}", changed + 20) });
        }
    }
    assert!(slices >= 2 * SESSIONS as usize / SLICE, "{slices} slices");
    assert_eq!(head.sessions, sessions);
    assert_eq!(head.acls, lists);
}

#[test]
fn a_loader_repairs_what_a_fuzzy_snapshot_leaves_open() {
    let mut loader = Loader::new();
    loader.acl(1, &private());
    loader.acl(2, &private());
    loader.acl(3, &[Acl { perms: 4, id: Id::new("ip", "::1") }]);
    let stat = StatPersisted::default();
    for (path, acl_index) in [("", -1), ("/a", 1), ("/b", 2), ("/c", 99)] {
        loader.node(path, None, acl_index, &stat).unwrap();
    }
    assert_eq!(loader.node("/x/y", None, -1, &stat), Err(LoadError::NoParent("/x/y".into())));
    assert_eq!(loader.node("/a", None, -1, &stat), Err(LoadError::Twice("/a".into())));
    for bad in ["a", "/", "/a/", "//"] {
        assert_eq!(loader.node(bad, None, -1, &stat), Err(LoadError::BadPath(bad.into())));
    }
    let tree = loader.finish(Zxid(5));
    assert_eq!(tree.last_zxid(), Zxid(5));
    assert_eq!(**tree.get("/b").unwrap().acl(), *private());
    let unknown = tree.get("/c").unwrap();
    assert!(!unknown.is_open() && unknown.acl().iter().all(|acl| acl.perms == 0));
    assert_eq!(tree.acls.iter().count(), 2, "the list that nobody uses is dropped");
}

/// All paths but "/", parents first.
/// Whatever the guess: none, far too few, or more than memory is reserved for.
#[test]
fn a_loader_takes_as_many_nodes_as_come_whatever_it_expects() {
    let names: Vec<_> = (0..3000).map(|nth| format!("/n{nth}")).collect();
    for expected in [0, 5, 3000, 100_000] {
        let mut loader = Loader::new();
        for (nth, path) in std::iter::once("").chain(names.iter().map(String::as_str)).enumerate() {
            if nth == 10 {
                loader.expect(expected);
            }
            loader.node(path, Some(b"x"), -1, &StatPersisted::default()).unwrap();
        }
        let tree = loader.finish(Zxid(1));
        assert!(names.iter().all(|path| tree.get(path).is_some()), "{expected} expected");
        check_sums(&tree);
    }
}

fn paths(tree: &Tree) -> Vec<String> {
    tree.subtree(ROOT).map(|slot| tree.path(slot)).collect()
}

fn size(tree: &Tree, path: &str) -> u64 {
    (path.encode_utf16().count() + tree.get(path).unwrap().data().map_or(0, <[u8]>::len)) as u64
}

/// Paths of every sort, the system's and impossible ones among them.
fn odd_path() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "a",
        "zookeeper",
        "quota",
        "zookeeper_limits",
        "zookeeper_stats",
        "",
        ".",
        "é",
    ]);
    (any::<bool>(), prop::collection::vec(name, 0..6))
        .prop_map(|(rooted, names)| format!("{}{}", if rooted { "/" } else { "" }, names.join("/")))
}

fn odd_txn() -> impl Strategy<Value = Txn> {
    let data = prop::sample::select(vec![
        None,
        Some("count=1,bytes=x"),
        Some("count=9223372036854775807,bytes=1"),
    ]);
    prop_oneof![
        4 => odd_path().prop_map(|path| create(&path, CreateKind::Persistent)),
        1 => (odd_path(), any::<i64>())
            .prop_map(|(path, ttl_ms)| create(&path, CreateKind::Ttl { ttl_ms })),
        2 => odd_path().prop_map(|path| delete(&path)),
        2 => (odd_path(), data, any::<i32>())
            .prop_map(|(path, data, version)| set_data(&path, data, version)),
        1 => (odd_path(), any::<i32>())
            .prop_map(|(path, version)| Txn::SetAcl { path, acl: private().into(), version }),
        1 => prop::collection::vec(odd_path(), 0..3)
            .prop_map(|paths| Txn::CloseSession { paths: Some(paths) }),
    ]
}

fn check_sums(tree: &Tree) {
    let of = |path: &String| {
        let node = tree.get(path).unwrap();
        assert_eq!(node.digest(), node_digest(path, node.data(), &node.persisted()));
        i64::from(node.digest())
    };
    let paths = paths(tree);
    assert_eq!(tree.digest(), paths.iter().map(of).sum::<i64>());
    assert_eq!(tree.data_size(), paths.iter().map(|path| size(tree, path)).sum::<u64>() + 1);
    assert_eq!(tree.node_count(), paths.len() + 1);
}

proptest! {
    #[test]
    fn no_transaction_breaks_the_tree(txns in prop::collection::vec(odd_txn(), 0..60)) {
        let mut driven = Driven::new();
        for txn in &txns {
            driven.apply(txn);
        }
        check_sums(&driven.tree);
    }

    #[test]
    fn no_snapshot_breaks_the_loader(
        nodes in prop::collection::vec((odd_path(), -2..4i64, any::<i64>()), 0..60)
    ) {
        let mut loader = Loader::new();
        loader.acl(1, &private());
        loader.acl(1, &[Acl::open()]);
        for (path, acl_index, owner) in &nodes {
            let stat = StatPersisted { ephemeral_owner: *owner, cversion: -1, ..StatPersisted::default() };
            let _refused = loader.node(path, Some(b"data"), *acl_index, &stat);
        }
        let tree = loader.finish(Zxid(1));
        check_sums(&tree);
        let mut pieces: Vec<(SessionId, u32, String)> = Vec::new();
        loop {
            let last = pieces.last().map(|(session, node, _)| (*session, *node));
            let piece: Vec<_> = tree.ephemerals_after(last, 2).collect();
            if piece.is_empty() {
                break;
            }
            pieces.extend(piece);
        }
        for (session, _, path) in &pieces {
            assert!(tree.ephemerals_of(*session).contains(path));
        }
        assert_eq!(pieces.len(), tree.ephemeral_count());
        let owners = tree.ephemeral_owners();
        let owned: usize = owners.into_iter().map(|owner| tree.ephemerals_of(owner).len()).sum();
        assert_eq!(owned, tree.ephemeral_count());
    }
}
