//! The one apply function: broadcast, sync and recovery all go through it.
//!
//! It must not fail: a transaction was decided by the leader, so here it is only carried out. What
//! cannot be (a parent that is missing, a node that is there already) happens when a fuzzy snapshot
//! is replayed, and the rules below make the end of the replay equal on every server.

use bytes::Bytes;

use std::sync::Arc;

use crate::codes::{ErrorCode, EventType, OpCode};
use crate::jute::data::{Acl, CONTAINER_OWNER, Stat, StatPersisted, ttl_owner};
use crate::txn::{CreateKind, CreateTxn, SetDataTxn, Txn, TxnHeader};
use crate::zxid::{SessionId, Zxid};

use super::path::{counted_len, split};
use super::slab::{NONE, ROOT, Slot};
use super::{Change, Known, NodeId, Place, Tree};

/// The outcome of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// OK, the code of an error transaction, or why the tree could not follow: of a multi, the
    /// first one that is not OK.
    pub err: ErrorCode,
    pub result: TxnResult,
}

/// The reply to the request beyond the error code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxnResult {
    /// Nothing: delete, check, sessions, errors.
    None,
    /// create: the path that the transaction names.
    Created,
    /// create2, createContainer, createTTL: the same path, and the new node's Stat.
    CreatedStat(Stat),
    /// setData, setACL, reconfig.
    Stat(Stat),
    /// multi: each sub-transaction's type (-1 for all of a failed multi), code and result.
    Multi(Vec<(OpCode, ErrorCode, TxnResult)>),
}

impl Tree {
    /// Applies a transaction. Total: whatever the transaction says, the tree stays whole. What
    /// watches must hear is added to `events`, if given, in Apache's order.
    ///
    /// An `err` that is neither OK nor that of a [`Txn::Error`] means that the tree was not as the
    /// leader saw it: expected while a fuzzy snapshot is replayed, and worth a warning at any other
    /// time.
    pub fn apply(
        &mut self,
        header: &TxnHeader,
        txn: &Txn,
        events: Option<&mut Vec<Change>>,
    ) -> Applied {
        self.apply_known(header, txn, &[], events)
    }

    /// As [`Self::apply`] of a transaction of whose nodes something is known, or of a multi of whose
    /// sub-transactions it is, one by one. Nothing has removed the nodes since they were found.
    pub fn apply_known(
        &mut self,
        header: &TxnHeader,
        txn: &Txn,
        known: &[Known],
        events: Option<&mut Vec<Change>>,
    ) -> Applied {
        assert!(!self.is_amid, "one transaction after the other");
        let apply = &mut Apply { header, known: Known::default(), events };
        let applied = match txn {
            Txn::Multi(txns) => self.multi(apply, txns, known),
            txn => {
                apply.known = known.first().copied().unwrap_or_default();
                self.apply_one(apply, txn)
            }
        };
        self.end_transaction(header.zxid);
        applied
    }

    /// As [`Self::apply_known`] of a multi none of whose operations has failed, a part at a time:
    /// some more of them, until `is_enough` of the one just applied. `None` until all are; until
    /// then the tree [`Self::is_amid`].
    pub fn apply_part(
        &mut self,
        header: &TxnHeader,
        (txns, known): (&[Txn], &[Known]),
        parts: &mut MultiParts,
        events: Option<&mut Vec<Change>>,
        is_enough: impl FnMut(&Txn) -> bool,
    ) -> Option<Applied> {
        assert_eq!(self.is_amid, parts.done() > 0, "one transaction after the other");
        let apply = &mut Apply { header, known: Known::default(), events };
        self.some_of_multi(apply, txns, known, parts, is_enough);
        self.is_amid = parts.done() < txns.len();
        if self.is_amid {
            return None;
        }
        self.end_transaction(header.zxid);
        Some(std::mem::take(parts).applied())
    }

    /// Whether a part of a multi is applied, and the rest is not: nobody may look at the tree, and
    /// nothing else be applied to it.
    pub fn is_amid(&self) -> bool {
        self.is_amid
    }

    fn end_transaction(&mut self, zxid: Zxid) {
        self.last_zxid = self.last_zxid.max(zxid);
        if self.is_whole() && !self.is_reaping() {
            self.history.note(zxid, self.digest);
        }
    }

    fn apply_one(&mut self, apply: &mut Apply<'_>, txn: &Txn) -> Applied {
        let outcome = match txn {
            Txn::CreateSession { timeout_ms } => {
                self.begin_session(apply.header.session, *timeout_ms);
                Ok(TxnResult::None)
            }
            Txn::CloseSession { paths } => {
                self.close_session(apply, paths.as_deref());
                Ok(TxnResult::None)
            }
            Txn::Create(create) => self.create(apply, create),
            Txn::Delete { path } | Txn::DeleteContainer { path } => self.delete(apply, path),
            Txn::SetData(set) | Txn::Reconfig(set) => self.set_data(apply, set),
            Txn::SetAcl { path, acl, version } => self.set_acl(apply, path, acl, *version),
            Txn::Check { .. } => Ok(TxnResult::None),
            // A multi within a multi is not read from any log.
            Txn::Multi(_) => Err(ErrorCode::UNIMPLEMENTED),
            Txn::Error(err) => Err(*err),
        };
        match outcome {
            Ok(result) => Applied { err: ErrorCode::OK, result },
            Err(err) => Applied { err, result: TxnResult::None },
        }
    }

    fn multi(&mut self, apply: &mut Apply<'_>, txns: &[Txn], known: &[Known]) -> Applied {
        if txns.iter().any(|txn| matches!(txn, Txn::Error(_))) && !mutant!(FailedMultiApplied) {
            return failed_multi(txns);
        }
        let mut parts = MultiParts::default();
        self.some_of_multi(apply, txns, known, &mut parts, |_| false);
        parts.applied()
    }

    fn some_of_multi(
        &mut self,
        apply: &mut Apply<'_>,
        txns: &[Txn],
        known: &[Known],
        parts: &mut MultiParts,
        mut is_enough: impl FnMut(&Txn) -> bool,
    ) {
        parts.results.reserve_exact(txns.len() - parts.done());
        for (at, txn) in txns.iter().enumerate().skip(parts.done()) {
            apply.known = known.get(at).copied().unwrap_or_default();
            let Applied { err, result } = self.apply_one(apply, txn);
            if parts.first_err.is_ok() {
                parts.first_err = err;
            }
            parts.results.push((txn.op(), err, result));
            if is_enough(txn) {
                return;
            }
        }
    }

    fn create(&mut self, apply: &mut Apply<'_>, create: &CreateTxn) -> Outcome {
        let path = create.path.as_str();
        if path == "/" {
            return Err(ErrorCode::NODE_EXISTS);
        }
        let (parent_path, name) = split(path).ok_or(ErrorCode::BAD_ARGUMENTS)?;
        let parent = self.find_known(apply.known.parent, parent_path).ok_or(ErrorCode::NO_NODE)?;
        let place = Place { parent, path, name, hash: self.index.hash(path.as_bytes()) };
        if let Some(slot) = self.find_hashed(path, place.hash) {
            // Only in a replay: the snapshot already holds the node, perhaps as a later transaction
            // left it.
            self.replace_acl(slot, &create.acl);
            apply.known.parent_digest = None;
            self.raise_cversion(apply, parent, parent_path, create.parent_cversion);
            return Err(ErrorCode::NODE_EXISTS);
        }
        let stat = new_stat(apply.header, create.kind);
        let acl = self.acls.acquire_shared(&create.acl);
        let data = create.data.as_deref();
        let Some(slot) = self.add_node(&place, apply.known.digest, data, acl, &stat) else {
            self.acls.release(acl);
            return Err(ErrorCode::SYSTEM_ERROR);
        };
        self.raise_cversion(apply, parent, parent_path, create.parent_cversion);
        self.quota_after_create(slot, (parent_path, name), path, data.map_or(0, <[u8]>::len));
        apply.notify(self, EventType::NodeCreated, path, slot);
        apply.notify(self, EventType::NodeChildrenChanged, parent_path, parent);
        let with_stat = create.with_stat
            || matches!(create.kind, CreateKind::Container | CreateKind::Ttl { .. });
        Ok(if with_stat {
            TxnResult::CreatedStat(self.node(slot).stat())
        } else {
            TxnResult::Created
        })
    }

    /// A delete raises the parent's pzxid even when the node is gone already: it may have been when
    /// the snapshot was taken.
    pub(super) fn delete(&mut self, apply: &mut Apply<'_>, path: &str) -> Outcome {
        let (parent_path, _) = split(path).ok_or(ErrorCode::BAD_ARGUMENTS)?;
        let parent = self.find_known(apply.known.parent, parent_path).ok_or(ErrorCode::NO_NODE)?;
        if apply.header.zxid.0 > self.slab.pzxid(parent) {
            self.touch(parent);
            let cversion = self.slab.cversion(parent);
            self.slab.set_cversion_pzxid(parent, cversion, apply.header.zxid.0);
            self.renew_digest(parent, parent_path, apply.known.parent_digest);
        }
        let top = self.find_known(apply.known.node, path).ok_or(ErrorCode::NO_NODE)?;
        // A node that is deleted has no children, except in the replay of a fuzzy snapshot: then
        // they were made after this delete, by transactions that are still to be replayed.
        let mut slot = self.first_leaf(top);
        while slot != top {
            let above = self.slab.record(slot).parent;
            let below = self.path(slot);
            self.remove_node(apply, slot, &below);
            slot = self.first_leaf(above);
        }
        self.remove_node(apply, top, path);
        apply.notify(self, EventType::NodeChildrenChanged, parent_path, parent);
        Ok(TxnResult::None)
    }

    fn set_data(&mut self, apply: &mut Apply<'_>, set: &SetDataTxn) -> Outcome {
        let path = set.path.as_str();
        let slot = self.find_known(apply.known.node, path).ok_or(ErrorCode::NO_NODE)?;
        self.touch(slot);
        let len_before = self.slab.record(slot).data_len();
        self.replace_data(slot, set.data.as_deref());
        let record = self.slab.record_mut(slot);
        record.mtime = apply.header.time_ms;
        record.mzxid = apply.header.zxid.0;
        record.version = set.version;
        self.renew_digest(slot, path, apply.known.digest);
        let stat = self.node(slot).stat();
        let len = set.data.as_ref().map_or(0, Bytes::len);
        self.quota_changed(slot, path, len as i64 - len_before as i64, 0);
        apply.notify(self, EventType::NodeDataChanged, path, slot);
        Ok(TxnResult::Stat(stat))
    }

    fn set_acl(
        &mut self,
        apply: &Apply<'_>,
        path: &str,
        acl: &Arc<[Acl]>,
        version: i32,
    ) -> Outcome {
        let slot = self.find_known(apply.known.node, path).ok_or(ErrorCode::NO_NODE)?;
        self.replace_acl(slot, acl);
        self.slab.record_mut(slot).aversion = version;
        if !mutant!(AclOutsideDigest) {
            self.refresh_digest(slot, path);
        }
        Ok(TxnResult::Stat(self.node(slot).stat()))
    }

    /// The node at `path`, which is `node` where that is known.
    fn find_known(&self, node: Option<NodeId>, path: &str) -> Option<Slot> {
        let Some(NodeId(slot)) = node else { return self.find(path) };
        assert!(self.slab.record(slot).is_live(), "{path} was found and has not been removed");
        debug_assert_eq!(self.find(path), Some(slot), "{path} is where it was found");
        Some(slot)
    }

    /// Removes what the transaction lists, then what else this server holds of the session.
    fn close_session(&mut self, apply: &mut Apply<'_>, paths: Option<&[String]>) {
        let session = apply.header.session;
        self.end_session(session);
        for path in paths.unwrap_or_default() {
            let _gone_already = self.delete(apply, path);
        }
        for path in self.ephemerals_of(session) {
            let _gone_already = self.delete(apply, &path);
        }
    }

    /// A change of a node as it is to be announced, with the node's ACL as it is now.
    pub(super) fn change(&self, zxid: Zxid, kind: EventType, path: &str, slot: Slot) -> Change {
        let node = self.node(slot);
        Change {
            zxid,
            kind,
            path: if slot == ROOT { "/".into() } else { path.into() },
            acl: (!node.is_open()).then(|| node.acl().clone()),
        }
    }

    fn remove_node(&mut self, apply: &mut Apply<'_>, slot: Slot, path: &str) {
        if !mutant!(DeletedNodeNotInSnapshot) {
            self.touch(slot);
        }
        let deleted = apply.change(self, EventType::NodeDeleted, path, slot);
        let record = self.slab.record(slot);
        let (acl, hash, len, crc) = (record.acl, record.hash, record.data_len(), record.crc);
        self.digest = self.digest.wrapping_sub(i64::from(crc));
        self.data_size -= (counted_len(path) + len) as u64;
        self.acls.release(acl);
        if !mutant!(EphemeralNotDisowned) {
            self.disown(slot);
        }
        self.index.remove(slot, hash);
        self.slab.remove(slot);
        self.quota_after_delete(slot, path, len);
        apply.push(deleted);
    }

    /// A node without children at or below `top`.
    fn first_leaf(&self, top: Slot) -> Slot {
        let mut slot = top;
        loop {
            match self.slab.first_child(slot) {
                NONE => return slot,
                child => slot = child,
            }
        }
    }

    /// Sets cversion and pzxid of a node that got a child, unless it is ahead already; -1 is one
    /// more than there is.
    fn raise_cversion(&mut self, apply: &Apply<'_>, slot: Slot, path: &str, cversion: i32) {
        let stored = self.slab.cversion(slot);
        let cversion = if cversion == -1 { stored.wrapping_add(1) } else { cversion };
        if cversion > stored {
            self.touch(slot);
            self.slab.set_cversion_pzxid(slot, cversion, apply.header.zxid.0);
            self.renew_digest(slot, path, apply.known.parent_digest);
        }
    }

    fn replace_acl(&mut self, slot: Slot, acl: &Arc<[Acl]>) {
        self.touch(slot);
        let acl = self.acls.acquire_shared(acl);
        let before = std::mem::replace(&mut self.slab.record_mut(slot).acl, acl);
        self.acls.release(before);
    }

    /// Replaces data without touching the statistics or the digest.
    pub(super) fn replace_data(&mut self, slot: Slot, data: Option<&[u8]>) {
        let record = self.slab.record_mut(slot);
        let before = record.data_len() as u64;
        record.set_data(data);
        self.data_size = self.data_size - before + record.data_len() as u64;
    }
}

/// The progress of a multi that is applied a part at a time.
#[derive(Debug, Default)]
pub struct MultiParts {
    /// The outcomes of the operations that are applied, the first of all.
    results: Vec<(OpCode, ErrorCode, TxnResult)>,
    /// The first of them that is not OK.
    first_err: ErrorCode,
}

impl MultiParts {
    /// The number of operations that are applied.
    pub fn done(&self) -> usize {
        self.results.len()
    }

    fn applied(self) -> Applied {
        Applied { err: self.first_err, result: TxnResult::Multi(self.results) }
    }
}

pub(super) type Outcome = Result<TxnResult, ErrorCode>;

/// The context that the parts of one transaction share.
pub(super) struct Apply<'a> {
    pub(super) header: &'a TxnHeader,
    pub(super) known: Known,
    pub(super) events: Option<&'a mut Vec<Change>>,
}

impl Apply<'_> {
    fn notify(&mut self, tree: &Tree, kind: EventType, path: &str, slot: Slot) {
        let change = self.change(tree, kind, path, slot);
        self.push(change);
    }

    /// The change as it is to be announced, with the node's ACL as it is now. `None` if nobody
    /// wants to know.
    fn change(&self, tree: &Tree, kind: EventType, path: &str, slot: Slot) -> Option<Change> {
        self.events.as_ref()?;
        Some(tree.change(self.header.zxid, kind, path, slot))
    }

    fn push(&mut self, change: Option<Change>) {
        if let (Some(events), Some(change)) = (&mut self.events, change) {
            events.push(change);
        }
    }
}

/// Nothing of a failed multi is applied: those before the error answer 0, the error its code, and
/// those after it theirs.
fn failed_multi(txns: &[Txn]) -> Applied {
    let mut first_err = ErrorCode::OK;
    let mut results = Vec::with_capacity(txns.len());
    for txn in txns {
        let err = match txn {
            Txn::Error(err) => *err,
            _ if first_err.is_ok() => ErrorCode::OK,
            _ => ErrorCode::RUNTIME_INCONSISTENCY,
        };
        if first_err.is_ok() {
            first_err = err;
        }
        results.push((OpCode::ERROR, err, TxnResult::None));
    }
    Applied { err: first_err, result: TxnResult::Multi(results) }
}

fn new_stat(header: &TxnHeader, kind: CreateKind) -> StatPersisted {
    let SessionId(session) = header.session;
    StatPersisted {
        czxid: header.zxid.0,
        mzxid: header.zxid.0,
        pzxid: header.zxid.0,
        ctime: header.time_ms,
        mtime: header.time_ms,
        ephemeral_owner: match kind {
            CreateKind::Persistent => 0,
            CreateKind::Ephemeral => session,
            CreateKind::Container => CONTAINER_OWNER,
            CreateKind::Ttl { ttl_ms } => ttl_owner(ttl_ms),
        },
        ..StatPersisted::default()
    }
}
