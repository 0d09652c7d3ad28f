//! The reference model: what ZooKeeper's tree, sessions and watches mean, said as plainly as
//! possible and independently of the production tree. It decides requests, applies transactions and
//! answers reads; nothing here is fast.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::codes::{ErrorCode, EventType, OpCode, perms};
use crate::jute::data::{Acl, CONTAINER_OWNER, Id, Stat, StatPersisted, ttl_owner};
use crate::tree::node_digest;
use crate::txn::{CreateKind, CreateTxn, SetDataTxn, Txn, TxnHeader};

use super::op::{Create, Mode, Op};

/// The whole replicated state at one zxid.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub zxid: i64,
    pub nodes: BTreeMap<String, Node>,
    /// Session id to timeout in milliseconds.
    pub sessions: BTreeMap<i64, i32>,
    /// What is answered to creates of ephemerals, where the session that asks may have none.
    pub no_ephemerals: Option<ErrorCode>,
}

/// One znode.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub data: Option<Bytes>,
    pub acl: Vec<Acl>,
    pub stat: StatPersisted,
    pub children: BTreeSet<String>,
}

/// A change that watches may be waiting for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub zxid: i64,
    pub kind: EventType,
    pub path: String,
    /// The list that says who may hear of it.
    pub acl: Vec<Acl>,
}

/// The answer of a transaction to the session that asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Empty,
    Path(String),
    PathStat(String, Stat),
    Stat(Stat),
    Failed(ErrorCode),
    Multi(Vec<(OpCode, Answer)>),
}

impl Model {
    /// The state of a server without data whose last zxid is `zxid`; 0 for a fresh one.
    pub(crate) fn at(zxid: i64) -> Self {
        let mut nodes = BTreeMap::new();
        let mut add = |path: &str, aversion, acl: Vec<Acl>, children: &[&str]| {
            let stat = StatPersisted { aversion, ..StatPersisted::default() };
            let children = children.iter().map(|name| (*name).to_owned()).collect();
            let data = Some(Bytes::new());
            nodes.insert(path.to_owned(), Node { data, acl, stat, children });
        };
        add("/", 0, vec![Acl::open()], &["zookeeper"]);
        add("/zookeeper", 0, vec![Acl::open()], &["config", "quota"]);
        let read = Acl { perms: perms::READ, ..Acl::open() };
        add("/zookeeper/config", -1, vec![read], &[]);
        add("/zookeeper/quota", 0, vec![Acl::open()], &[]);
        Self { zxid, nodes, sessions: BTreeMap::new(), no_ephemerals: None }
    }

    /// The digest that a tree in this state has.
    pub(crate) fn digest(&self) -> i64 {
        let of = |(path, node): (&String, &Node)| {
            i64::from(node_digest(path, node.data.as_deref(), &node.stat))
        };
        self.nodes.iter().map(of).fold(0, i64::wrapping_add)
    }

    /// The plain ephemerals of a session, sorted.
    pub(crate) fn ephemerals_of(&self, session: i64) -> Vec<String> {
        let owned = self.nodes.iter().filter(|(_, node)| node.stat.ephemeral_owner == session);
        owned.map(|(path, _)| path.clone()).collect()
    }

    /// The statistics that clients see.
    pub(crate) fn stat(&self, path: &str) -> Stat {
        let node = &self.nodes[path];
        node.stat.to_stat(node.data.as_ref().map_or(0, Bytes::len), node.children.len() as u32)
    }

    /// The transaction that a write must become in this state. If quotas are enforced, the states
    /// in `shown` say what they leave: those that clients saw, one after the other, while the write
    /// was prepared. As in Apache each operation of a multi is judged in the one that is shown at
    /// its moment; `became` is what became of the write, and says which that may have been.
    pub(crate) fn decide(
        &self,
        op: &Op,
        session: i64,
        ids: &[Id],
        user: &Id,
        shown: &[&Model],
        became: &Txn,
    ) -> Txn {
        if !self.sessions.contains_key(&session) {
            return Txn::Error(ErrorCode::SESSION_EXPIRED);
        }
        match op {
            Op::Multi(ops) => {
                let became = if let Txn::Multi(txns) = became { &txns[..] } else { &[] };
                self.decide_multi(ops, session, ids, user, shown, became)
            }
            Op::Close => Txn::CloseSession { paths: Some(self.ephemerals_of(session)) },
            op => self.decide_one(op, ids, user, shown.last().copied()).unwrap_or_else(Txn::Error),
        }
    }

    fn decide_multi(
        &self,
        ops: &[Op],
        session: i64,
        ids: &[Id],
        user: &Id,
        mut shown: &[&Model],
        became: &[Txn],
    ) -> Txn {
        let mut ahead = self.clone();
        let header = TxnHeader {
            session: crate::zxid::SessionId(session),
            cxid: 0,
            zxid: crate::zxid::Zxid(self.zxid + 1),
            time_ms: 0,
        };
        let mut txns = Vec::new();
        for op in ops {
            let is = became.get(txns.len());
            match ahead.decide_next(op, ids, user, &mut shown, is) {
                Ok(txn) => {
                    ahead.apply_one(&header, &txn, &mut Vec::new());
                    txns.push(txn);
                }
                Err(err) => {
                    // What was right so far stays in the log, and is not applied.
                    txns.push(Txn::Error(err));
                    txns.resize(ops.len(), Txn::Error(ErrorCode::RUNTIME_INCONSISTENCY));
                    break;
                }
            }
        }
        Txn::Multi(txns)
    }

    /// What must become of the next operation of a multi that became `is`. The states in which
    /// something else would become of it were over by then: they leave `shown`, but for the last.
    fn decide_next(
        &self,
        op: &Op,
        ids: &[Id],
        user: &Id,
        shown: &mut &[&Model],
        is: Option<&Txn>,
    ) -> Result<Txn, ErrorCode> {
        loop {
            let due = self.decide_one(op, ids, user, shown.first().copied());
            let is_due = match (&due, is) {
                (Ok(due), Some(is)) => due == is,
                (Err(due), Some(Txn::Error(is))) => due == is,
                _ => false,
            };
            match **shown {
                [_, ref later @ ..] if !is_due && !later.is_empty() => *shown = later,
                _ => return due,
            }
        }
    }

    fn decide_one(
        &self,
        op: &Op,
        ids: &[Id],
        user: &Id,
        used: Option<&Model>,
    ) -> Result<Txn, ErrorCode> {
        match op {
            Op::Create(create) => self.decide_create(create, ids, user, used),
            Op::Delete { path, version } => {
                let parent = self.nodes.get(parent_of(path)).ok_or(ErrorCode::NO_NODE)?;
                permit(&parent.acl, perms::DELETE, ids)?;
                let node = self.nodes.get(path).ok_or(ErrorCode::NO_NODE)?;
                check_version(*version, node.stat.version)?;
                if !node.children.is_empty() {
                    return Err(ErrorCode::NOT_EMPTY);
                }
                Ok(Txn::Delete { path: path.clone() })
            }
            Op::SetData { path, data, version } => {
                let node = self.nodes.get(path).ok_or(ErrorCode::NO_NODE)?;
                permit(&node.acl, perms::WRITE, ids)?;
                let data = Some(data.bytes());
                let len = |data: &Option<Bytes>| data.as_ref().map_or(0, Bytes::len) as i64;
                used.map_or(Ok(()), |used| {
                    used.check_quota(path, 0, len(&data) - len(&node.data))
                })?;
                check_version(*version, node.stat.version)?;
                Ok(Txn::SetData(SetDataTxn {
                    path: path.as_str().into(),
                    data,
                    version: node.stat.version + 1,
                }))
            }
            Op::SetAcl { path, acl, version } => {
                let node = self.nodes.get(path).ok_or(ErrorCode::NO_NODE)?;
                permit(&node.acl, perms::ADMIN, ids)?;
                check_version(*version, node.stat.aversion)?;
                Ok(Txn::SetAcl {
                    path: path.clone(),
                    acl: acl.list(user).into(),
                    version: node.stat.aversion + 1,
                })
            }
            Op::Check { path, version } => {
                let node = self.nodes.get(path).ok_or(ErrorCode::NO_NODE)?;
                permit(&node.acl, perms::READ, ids)?;
                check_version(*version, node.stat.version)?;
                // Logged with the version that a write would lead to.
                Ok(Txn::Check { path: path.clone(), version: node.stat.version + 1 })
            }
            _ => Err(ErrorCode::UNIMPLEMENTED),
        }
    }

    fn decide_create(
        &self,
        create: &Create,
        ids: &[Id],
        user: &Id,
        used: Option<&Model>,
    ) -> Result<Txn, ErrorCode> {
        if let (Mode::Ephemeral, Some(err)) = (create.mode, self.no_ephemerals) {
            return Err(err);
        }
        let parent = self.nodes.get(parent_of(&create.path)).ok_or(ErrorCode::NO_NODE)?;
        permit(&parent.acl, perms::CREATE, ids)?;
        let number = parent.stat.cversion;
        let path = if create.sequential {
            format!("{}{number:010}", create.path)
        } else {
            create.path.clone()
        };
        if self.nodes.contains_key(&path) {
            return Err(ErrorCode::NODE_EXISTS);
        }
        if is_session(parent.stat.ephemeral_owner) {
            return Err(ErrorCode::NO_CHILDREN_FOR_EPHEMERALS);
        }
        let data = create.data.bytes();
        used.map_or(Ok(()), |used| used.check_quota(&path, 1, data.len() as i64))?;
        let kind = match create.mode {
            Mode::Persistent => CreateKind::Persistent,
            Mode::Ephemeral => CreateKind::Ephemeral,
            Mode::Container => CreateKind::Container,
            Mode::Ttl(ttl_ms) => CreateKind::Ttl { ttl_ms },
        };
        let with_stat =
            create.with_stat || !matches!(create.mode, Mode::Persistent | Mode::Ephemeral);
        let data = Some(data);
        let acl = create.acl.list(user).into();
        Ok(Txn::Create(CreateTxn { path, data, acl, kind, with_stat, parent_cversion: number + 1 }))
    }

    /// Whether the server may remove this node by itself at this wall-clock time.
    pub(crate) fn is_doomed(&self, path: &str, wall_ms: i64) -> bool {
        let Some(node) = self.nodes.get(path) else { return false };
        let ttl = crate::jute::data::owner_kind(node.stat.ephemeral_owner);
        node.children.is_empty()
            && match ttl {
                crate::jute::data::Owner::Container => node.stat.cversion > 0,
                crate::jute::data::Owner::Ttl(ttl_ms) => wall_ms - node.stat.mtime > ttl_ms,
                _ => false,
            }
    }

    /// Applies a transaction; its changes are added in the order in which watches fire.
    pub(crate) fn apply(
        &mut self,
        header: &TxnHeader,
        txn: &Txn,
        changes: &mut Vec<Change>,
    ) -> Answer {
        self.zxid = header.zxid.0;
        let answer = self.apply_whole(header, txn, changes);
        self.refresh_quotas();
        answer
    }

    fn apply_whole(&mut self, header: &TxnHeader, txn: &Txn, changes: &mut Vec<Change>) -> Answer {
        match txn {
            Txn::CreateSession { timeout_ms } => {
                self.sessions.insert(header.session.0, *timeout_ms);
                Answer::Empty
            }
            Txn::CloseSession { .. } => {
                for path in self.ephemerals_of(header.session.0) {
                    self.remove(header, &path, changes);
                }
                self.sessions.remove(&header.session.0);
                Answer::Empty
            }
            Txn::Multi(txns) if txns.iter().any(|txn| matches!(txn, Txn::Error(_))) => {
                Answer::Multi(txns.iter().map(|txn| (OpCode::ERROR, not_done(txn))).collect())
            }
            Txn::Multi(txns) => {
                let one = |txn: &Txn| (result_type(txn), self.apply_one(header, txn, changes));
                Answer::Multi(txns.iter().map(one).collect())
            }
            txn => self.apply_one(header, txn, changes),
        }
    }

    fn apply_one(&mut self, header: &TxnHeader, txn: &Txn, changes: &mut Vec<Change>) -> Answer {
        let zxid = header.zxid.0;
        match txn {
            Txn::Create(create) => self.create(header, create, changes),
            Txn::Delete { path } | Txn::DeleteContainer { path } => {
                self.remove(header, path, changes);
                Answer::Empty
            }
            Txn::SetData(set) => {
                let Some(node) = self.nodes.get_mut(set.path.as_str()) else {
                    return Answer::Failed(ErrorCode::NO_NODE);
                };
                node.data = set.data.clone();
                (node.stat.version, node.stat.mzxid, node.stat.mtime) =
                    (set.version, zxid, header.time_ms);
                let acl = node.acl.clone();
                changes.push(Change {
                    zxid,
                    kind: EventType::NodeDataChanged,
                    path: set.path.to_string(),
                    acl,
                });
                Answer::Stat(self.stat(&set.path))
            }
            Txn::SetAcl { path, acl, version } => {
                let Some(node) = self.nodes.get_mut(path) else {
                    return Answer::Failed(ErrorCode::NO_NODE);
                };
                node.acl = acl.to_vec();
                node.stat.aversion = *version;
                Answer::Stat(self.stat(path))
            }
            Txn::Check { .. } => Answer::Empty,
            txn => failed(txn),
        }
    }

    fn create(
        &mut self,
        header: &TxnHeader,
        create: &CreateTxn,
        changes: &mut Vec<Change>,
    ) -> Answer {
        let (zxid, time) = (header.zxid.0, header.time_ms);
        let parent_path = parent_of(&create.path).to_owned();
        let Some(parent) = self.nodes.get_mut(&parent_path) else {
            return Answer::Failed(ErrorCode::NO_NODE);
        };
        parent.children.insert(name_of(&create.path).to_owned());
        (parent.stat.cversion, parent.stat.pzxid) = (create.parent_cversion, zxid);
        let parent_acl = parent.acl.clone();
        let ephemeral_owner = match create.kind {
            CreateKind::Persistent => 0,
            CreateKind::Ephemeral => header.session.0,
            CreateKind::Container => CONTAINER_OWNER,
            CreateKind::Ttl { ttl_ms } => ttl_owner(ttl_ms),
        };
        let stat = StatPersisted {
            czxid: zxid,
            mzxid: zxid,
            pzxid: zxid,
            ctime: time,
            mtime: time,
            ephemeral_owner,
            ..StatPersisted::default()
        };
        let node = Node {
            data: create.data.clone(),
            acl: create.acl.to_vec(),
            stat,
            children: BTreeSet::new(),
        };
        self.nodes.insert(create.path.clone(), node);
        let (path, acl) = (create.path.clone(), create.acl.to_vec());
        changes.push(Change { zxid, kind: EventType::NodeCreated, path, acl });
        changes.push(Change {
            zxid,
            kind: EventType::NodeChildrenChanged,
            path: parent_path,
            acl: parent_acl,
        });
        match create.with_stat {
            true => Answer::PathStat(create.path.clone(), self.stat(&create.path)),
            false => Answer::Path(create.path.clone()),
        }
    }

    fn remove(&mut self, header: &TxnHeader, path: &str, changes: &mut Vec<Change>) {
        let zxid = header.zxid.0;
        let Some(node) = self.nodes.remove(path) else { return };
        let parent_path = parent_of(path).to_owned();
        let parent = self.nodes.get_mut(&parent_path).expect("a node has a parent");
        parent.children.remove(name_of(path));
        parent.stat.pzxid = zxid;
        let parent_acl = parent.acl.clone();
        changes.push(Change {
            zxid,
            kind: EventType::NodeDeleted,
            path: path.to_owned(),
            acl: node.acl,
        });
        changes.push(Change {
            zxid,
            kind: EventType::NodeChildrenChanged,
            path: parent_path,
            acl: parent_acl,
        });
    }
}

/// Whether `acl` gives `perm` to someone with these ids. The ids are exact: nobody here proves
/// `super` or uses masks.
pub(crate) fn permits(acl: &[Acl], perm: i32, ids: &[Id]) -> bool {
    acl.iter().any(|entry| {
        entry.perms & perm != 0 && (&*entry.id.scheme == "world" || ids.contains(&entry.id))
    })
}

/// The path of a node's parent; the root is its own.
pub(crate) fn parent_of(path: &str) -> &str {
    match path.rfind('/') {
        None | Some(0) => "/",
        Some(at) => &path[..at],
    }
}

fn name_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn permit(acl: &[Acl], perm: i32, ids: &[Id]) -> Result<(), ErrorCode> {
    if permits(acl, perm, ids) { Ok(()) } else { Err(ErrorCode::NO_AUTH) }
}

fn check_version(asked: i32, is: i32) -> Result<(), ErrorCode> {
    if asked == -1 || asked == is { Ok(()) } else { Err(ErrorCode::BAD_VERSION) }
}

fn is_session(owner: i64) -> bool {
    crate::jute::data::owner_kind(owner) == crate::jute::data::Owner::Session
}

/// The type under which a multi's reply tells of a part of it: all creates that answer a Stat do so
/// as create2.
fn result_type(txn: &Txn) -> OpCode {
    match txn {
        Txn::Create(create) if create.with_stat => OpCode::CREATE2,
        txn => txn.op(),
    }
}

/// A part of a multi that failed.
fn not_done(txn: &Txn) -> Answer {
    match txn {
        Txn::Error(err) => Answer::Failed(*err),
        _ => Answer::Failed(ErrorCode::OK),
    }
}

fn failed(txn: &Txn) -> Answer {
    match txn {
        Txn::Error(err) => Answer::Failed(*err),
        _ => Answer::Failed(ErrorCode::SYSTEM_ERROR),
    }
}
