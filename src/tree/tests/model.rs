//! Random transactions against a map from path to node: results, statistics, children, digests, and
//! snapshots, several at once, that are taken in small batches meanwhile.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::walk::{SnapshotHead, WALKS_MAX};
use super::*;

#[derive(Clone, Debug, PartialEq)]
struct ModelNode {
    data: Option<Vec<u8>>,
    acl: Vec<Acl>,
    stat: StatPersisted,
}

#[derive(Clone, Default)]
struct Model {
    nodes: BTreeMap<String, ModelNode>,
    sessions: BTreeMap<SessionId, i32>,
}

#[derive(Clone, Debug)]
enum Step {
    Txn(SessionId, Txn),
    /// The session ends, by departing if it has many ephemerals; the snapshots go on amid it.
    Depart(SessionId),
    BeginSnapshot,
    /// Of one of the snapshots.
    Batch(usize, usize),
    /// A batch is taken, but not advanced over before the next step.
    BatchOnly(usize, usize),
    GiveUp(usize),
}

impl Model {
    fn of(tree: &Tree) -> Self {
        let node = |path: &String| {
            let node = tree.get(path).unwrap();
            let data = node.data().map(Vec::from);
            ModelNode { data, acl: node.acl().to_vec(), stat: node.persisted() }
        };
        let nodes = paths(tree).into_iter().map(|path| (path.clone(), node(&path))).collect();
        Self { nodes, sessions: BTreeMap::new() }
    }

    fn apply(&mut self, header: &TxnHeader, txn: &Txn) -> ErrorCode {
        let zxid = header.zxid.0;
        match txn {
            Txn::CreateSession { timeout_ms } => {
                self.sessions.insert(header.session, *timeout_ms);
            }
            Txn::CloseSession { paths } => {
                self.sessions.remove(&header.session);
                let mut all = paths.clone().unwrap_or_default();
                let own = |node: &ModelNode| node.stat.ephemeral_owner == header.session.0;
                all.extend(
                    self.nodes.iter().filter(|(_, node)| own(node)).map(|(path, _)| path.clone()),
                );
                let gone_before: Vec<_> = paths.iter().flatten().cloned().collect();
                for (at, path) in all.iter().enumerate() {
                    if at < gone_before.len() || self.nodes.contains_key(path) {
                        self.delete(path, zxid);
                    }
                }
            }
            Txn::Create(create) => return self.create(header, create),
            Txn::Delete { path } | Txn::DeleteContainer { path } => return self.delete(path, zxid),
            Txn::SetData(set) | Txn::Reconfig(set) => {
                let Some(node) = self.nodes.get_mut(key(&set.path)) else {
                    return ErrorCode::NO_NODE;
                };
                node.data = set.data.as_ref().map(|data| data.to_vec());
                node.stat.mtime = header.time_ms;
                node.stat.mzxid = zxid;
                node.stat.version = set.version;
            }
            Txn::SetAcl { path, acl, version } => {
                let Some(node) = self.nodes.get_mut(key(path)) else { return ErrorCode::NO_NODE };
                node.acl = acl.to_vec();
                node.stat.aversion = *version;
            }
            Txn::Check { .. } => {}
            Txn::Multi(txns) => return self.multi(header, txns),
            Txn::Error(err) => return *err,
        }
        ErrorCode::OK
    }

    fn multi(&mut self, header: &TxnHeader, txns: &[Txn]) -> ErrorCode {
        let errors = txns.iter().filter_map(|txn| match txn {
            Txn::Error(err) => Some(*err),
            _ => None,
        });
        if let Some(first) = errors.clone().next() {
            return if first.is_ok() {
                errors.clone().find(|err| !err.is_ok()).unwrap_or(first)
            } else {
                first
            };
        }
        let errs: Vec<_> = txns.iter().map(|txn| self.apply(header, txn)).collect();
        errs.into_iter().find(|err| !err.is_ok()).unwrap_or(ErrorCode::OK)
    }

    fn create(&mut self, header: &TxnHeader, create: &CreateTxn) -> ErrorCode {
        let parent_path = create.path.rsplit_once('/').unwrap().0;
        let Some(parent) = self.nodes.get_mut(parent_path) else { return ErrorCode::NO_NODE };
        let cversion = match create.parent_cversion {
            -1 => parent.stat.cversion.wrapping_add(1),
            cversion => cversion,
        };
        if cversion > parent.stat.cversion {
            parent.stat.cversion = cversion;
            parent.stat.pzxid = header.zxid.0;
        }
        if let Some(node) = self.nodes.get_mut(&create.path) {
            node.acl = create.acl.to_vec();
            return ErrorCode::NODE_EXISTS;
        }
        let owner = match create.kind {
            CreateKind::Persistent => 0,
            CreateKind::Ephemeral => header.session.0,
            CreateKind::Container => CONTAINER_OWNER,
            CreateKind::Ttl { ttl_ms } => ttl_owner(ttl_ms),
        };
        let (zxid, time) = (header.zxid.0, header.time_ms);
        let stat = StatPersisted {
            czxid: zxid,
            mzxid: zxid,
            pzxid: zxid,
            ctime: time,
            mtime: time,
            ephemeral_owner: owner,
            ..StatPersisted::default()
        };
        let data = create.data.as_ref().map(|data| data.to_vec());
        self.nodes.insert(create.path.clone(), ModelNode { data, acl: create.acl.to_vec(), stat });
        ErrorCode::OK
    }

    fn delete(&mut self, path: &str, zxid: i64) -> ErrorCode {
        let parent_path = path.rsplit_once('/').unwrap().0;
        let Some(parent) = self.nodes.get_mut(parent_path) else { return ErrorCode::NO_NODE };
        parent.stat.pzxid = parent.stat.pzxid.max(zxid);
        let before = self.nodes.len();
        let below = format!("{path}/");
        self.nodes.retain(|other, _| other != path && !other.starts_with(&below));
        if self.nodes.len() == before { ErrorCode::NO_NODE } else { ErrorCode::OK }
    }

    fn check(&self, tree: &Tree) {
        let mut found = paths(tree);
        found.sort();
        assert_eq!(found, self.nodes.keys().cloned().collect::<Vec<_>>());
        let mut digest = 0i64;
        for (path, expected) in &self.nodes {
            let node = tree.get(path).unwrap();
            assert_eq!(node.data(), expected.data.as_deref(), "{path}");
            assert_eq!(node.persisted(), expected.stat, "{path}");
            assert_eq!(**node.acl(), *expected.acl, "{path}");
            let mut children: Vec<_> = node.children().collect();
            children.sort_unstable();
            let below = format!("{path}/");
            let names = self.nodes.keys().filter_map(|other| other.strip_prefix(&below));
            assert_eq!(
                children,
                names.filter(|name| !name.contains('/')).collect::<Vec<_>>(),
                "{path}"
            );
            assert_eq!(node.num_children() as usize, children.len());
            let below =
                self.nodes.keys().filter(|other| other.starts_with(&format!("{path}/"))).count();
            let roots = usize::from(path.is_empty());
            assert_eq!(tree.count_descendants(path), Some(below + roots), "{path}");
            digest = digest.wrapping_add(i64::from(node_digest(path, node.data(), &expected.stat)));
        }
        assert_eq!(tree.digest(), digest);
        assert_eq!(tree.node_count(), self.nodes.len() + 1);
        assert_eq!(
            tree.data_size(),
            self.nodes.keys().map(|path| size(tree, path)).sum::<u64>() + 1
        );
        assert!(
            tree.sessions()
                .eq(self.sessions.iter().map(|(session, timeout_ms)| (*session, *timeout_ms)))
        );
        for session in [SESSION, OTHER] {
            let own = self.nodes.iter().filter(|(_, node)| node.stat.ephemeral_owner == session.0);
            assert_eq!(
                tree.ephemerals_of(session),
                own.map(|(path, _)| path.clone()).collect::<Vec<_>>()
            );
        }
        let lists: std::collections::BTreeSet<_> = self
            .nodes
            .values()
            .filter(|node| node.acl != [Acl::open()])
            .map(|node| format!("{:?}", node.acl))
            .collect();
        assert_eq!(tree.acls.iter().count(), lists.len(), "only lists in use are held");
    }
}

/// A snapshot being taken, and what it must show.
struct Taken {
    walk: WalkId,
    head: SnapshotHead,
    is_head_whole: bool,
    then: Model,
    found: Vec<(String, Option<Vec<u8>>, i64, StatPersisted)>,
}

impl Taken {
    /// Begins, unless there are as many as may be.
    fn begin(tree: &mut Tree, then: &Model) -> Option<Self> {
        let (walk, head) = tree.begin_snapshot()?;
        let (then, found) = (then.clone(), Vec::new());
        Some(Self { walk, head, is_head_whole: false, then, found })
    }

    /// The next sessions and lists, or, once those are complete, nodes. True if it was the last
    /// batch.
    fn step(&mut self, tree: &mut Tree, max: usize) -> bool {
        if !self.is_head_whole {
            let before = self.head.sessions.len() + self.head.acls.len();
            self.is_head_whole = !tree.copy_head(self.walk, &mut self.head, max).unwrap();
            assert!(self.head.sessions.len() + self.head.acls.len() <= before + max);
            return false;
        }
        match self.batch(tree, max, true) {
            Some(cursor) => tree.advance_snapshot(self.walk, cursor),
            None => {
                tree.end_snapshot(self.walk);
                return true;
            }
        }
        false
    }

    fn batch(&mut self, tree: &Tree, max_nodes: usize, keep: bool) -> Option<u32> {
        let before = self.found.len();
        let next = tree.snapshot_batch(self.walk, max_nodes, &mut |path, data, acl_index, stat| {
            self.found.push((path.into(), data.map(Vec::from), acl_index, *stat));
        });
        if !keep {
            self.found.truncate(before);
        }
        next.unwrap()
    }

    fn check(self) {
        assert!(self.head.sessions.iter().copied().eq(self.then.sessions));
        let lists: BTreeMap<_, _> = self.head.acls.iter().cloned().collect();
        let mut seen = BTreeMap::new();
        let mut digest = 0i64;
        for (path, data, acl_index, stat) in self.found {
            let parent = path.rsplit_once('/').map(|(parent, _)| parent);
            assert!(
                parent.is_none_or(|parent| seen.contains_key(parent)),
                "{path} comes before its parent"
            );
            digest = digest.wrapping_add(i64::from(node_digest(&path, data.as_deref(), &stat)));
            let acl = if acl_index == -1 { vec![Acl::open()] } else { lists[&acl_index].to_vec() };
            assert_eq!(seen.insert(path, ModelNode { data, acl, stat }), None);
        }
        assert_eq!(seen, self.then.nodes);
        assert_eq!(digest, self.head.digest);
    }
}

/// The snapshots under way, and how many of them have come to their end.
#[derive(Default)]
struct Walks {
    taken: Vec<Taken>,
    ended: usize,
}

impl Walks {
    fn begin(&mut self, tree: &mut Tree, model: &Model) {
        let begun = Taken::begin(tree, model);
        assert_eq!(begun.is_none(), self.taken.len() == WALKS_MAX, "no more than there may be");
        self.taken.extend(begun);
    }

    fn one(&mut self, which: usize) -> Option<&mut Taken> {
        let at = which.checked_rem(self.taken.len())?;
        self.taken.get_mut(at)
    }

    fn step(&mut self, tree: &mut Tree, which: usize, max: usize) {
        if self.one(which).is_some_and(|taken| taken.step(tree, max)) {
            let at = which % self.taken.len();
            self.taken.swap_remove(at).check();
            self.ended += 1;
        }
    }
}

/// A session ends as [`Tree::depart`] has it, with steps of the snapshots between the nodes that go.
fn depart(tree: &mut Tree, header: &TxnHeader, walks: &mut Walks) -> ErrorCode {
    if !tree.has_many_ephemerals(header.session) {
        return tree.apply(header, &Txn::CloseSession { paths: None }, None).err;
    }
    tree.depart(header);
    for which in 0.. {
        walks.step(tree, which, 2);
        if tree.reap(1) == 0 {
            break;
        }
    }
    ErrorCode::OK
}

/// Returns the number of snapshots that were taken to their end.
fn run(seed: u64, steps: Vec<Step>) -> usize {
    let mut tree = Tree::with_seed(seed);
    let mut model = Model::of(&tree);
    let mut walks = Walks::default();
    for (at, step) in steps.into_iter().enumerate() {
        let zxid = Zxid(at as i64 + 1);
        let header = |session| TxnHeader { session, cxid: 0, zxid, time_ms: 77 * zxid.0 };
        match step {
            Step::Txn(session, txn) => {
                let header = header(session);
                let err = tree.apply(&header, &txn, None).err;
                assert_eq!(err, model.apply(&header, &txn), "{txn:?}");
            }
            Step::Depart(session) => {
                let header = header(session);
                depart(&mut tree, &header, &mut walks);
                model.apply(&header, &Txn::CloseSession { paths: None });
            }
            Step::BeginSnapshot => walks.begin(&mut tree, &model),
            Step::BatchOnly(which, max_nodes) => {
                let taken = walks.one(which).filter(|taken| taken.is_head_whole);
                taken.map(|taken| taken.batch(&tree, max_nodes, false));
            }
            Step::Batch(which, max) => walks.step(&mut tree, which, max),
            Step::GiveUp(which) => {
                if let Some(at) = which.checked_rem(walks.taken.len()) {
                    tree.end_snapshot(walks.taken.swap_remove(at).walk);
                }
            }
        }
    }
    model.check(&tree);
    for which in 0.. {
        if walks.taken.is_empty() {
            break;
        }
        walks.step(&mut tree, which, 2);
    }
    model.check(&tree);
    walks.ended
}

fn key(path: &str) -> &str {
    if path == "/" { "" } else { path }
}

fn any_path() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec!["a", "b", "cc", "é"]);
    prop::collection::vec(name, 1..4).prop_map(|names| format!("/{}", names.join("/")))
}

fn any_acl() -> impl Strategy<Value = Vec<Acl>> {
    prop_oneof![
        Just(vec![Acl::open()]),
        Just(private()),
        Just(vec![]),
        (0..3).prop_map(|perms| vec![Acl { perms, id: Id::new("world", "anyone") }]),
    ]
}

fn any_data() -> impl Strategy<Value = Option<bytes::Bytes>> {
    prop::option::of(prop::collection::vec(any::<u8>(), 0..9).prop_map(Into::into))
}

fn any_create() -> impl Strategy<Value = Txn> {
    let kind = prop_oneof![
        4 => Just(CreateKind::Persistent),
        2 => Just(CreateKind::Ephemeral),
        1 => Just(CreateKind::Container),
        1 => Just(CreateKind::Ttl { ttl_ms: 5 }),
    ];
    let parent_cversion = prop_oneof![Just(-1), 0..20];
    (any_path(), any_data(), any_acl(), kind, any::<bool>(), parent_cversion).prop_map(
        |(path, data, acl, kind, with_stat, parent_cversion)| {
            Txn::Create(CreateTxn { path, data, acl: acl.into(), kind, with_stat, parent_cversion })
        },
    )
}

fn any_single() -> impl Strategy<Value = Txn> {
    let path_or_root = prop_oneof![9 => any_path(), 1 => Just("/".to_string())];
    prop_oneof![
        6 => any_create(),
        2 => any_path().prop_map(|path| Txn::Delete { path }),
        2 => (path_or_root, any_data(), 0..9).prop_map(|(path, data, version)| {
            Txn::SetData(SetDataTxn { path: path.into(), data, version })
        }),
        1 => (any_path(), any_acl(), 0..9)
            .prop_map(|(path, acl, version)| Txn::SetAcl { path, acl: acl.into(), version }),
        1 => any_path().prop_map(|path| Txn::Check { path, version: 0 }),
    ]
}

fn any_txn() -> impl Strategy<Value = Txn> {
    let error = prop_oneof![Just(ErrorCode::NO_NODE), Just(ErrorCode::OK)].prop_map(Txn::Error);
    let in_multi = prop_oneof![9 => any_single(), 1 => error.clone()];
    prop_oneof![
        8 => any_single(),
        1 => error,
        2 => (1..99).prop_map(|timeout_ms| Txn::CreateSession { timeout_ms }),
        1 => prop::option::of(prop::collection::vec(any_path(), 0..3))
            .prop_map(|paths| Txn::CloseSession { paths }),
        1 => prop::collection::vec(in_multi, 0..5).prop_map(Txn::Multi),
    ]
}

fn any_session() -> impl Strategy<Value = SessionId> {
    prop_oneof![4 => prop::sample::select(vec![SESSION, OTHER]), 1 => (1..9i64).prop_map(SessionId)]
}

fn any_step() -> impl Strategy<Value = Step> {
    let which = || 0..WALKS_MAX;
    prop_oneof![
        24 => (any_session(), any_txn()).prop_map(|(session, txn)| Step::Txn(session, txn)),
        1 => any_session().prop_map(Step::Depart),
        3 => Just(Step::BeginSnapshot),
        9 => (which(), 1..4usize).prop_map(|(which, max)| Step::Batch(which, max)),
        2 => (which(), 1..4usize).prop_map(|(which, max)| Step::BatchOnly(which, max)),
        1 => which().prop_map(Step::GiveUp),
    ]
}

const OTHER: SessionId = SessionId(7);

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_tree_does_what_the_model_does(seed: u64, steps in prop::collection::vec(any_step(), 0..120)) {
        run(seed, steps);
    }
}
