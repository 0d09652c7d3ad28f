//! create, create2, createContainer and createTTL.

use std::sync::Arc;

use bytes::Bytes;

use super::super::local::is_ephemeral;
use super::super::outstanding::{ChangeRecord, Overlaid, View};
use super::{Prepare, Prepared, RECORD_BYTES_BESIDE, acl_bytes, parent_of, take_bytes};
use crate::codes::{ErrorCode, OpCode, perms};
use crate::jute::data::{Acl, CONTAINER_OWNER, Owner, StatPersisted, owner_kind, ttl_owner};
use crate::limits::TTL_MS_MAX;
use crate::proto::CreateRequest;
use crate::tree::{Known, validate_path};
use crate::txn::{CreateKind, CreateTxn, Txn};

/// The kind of node that the op and its flags ask for (`CreateMode`).
#[derive(Clone, Copy)]
struct Mode {
    kind: CreateKind,
    sequential: bool,
}

impl Prepare<'_> {
    /// Flags, TTL, whether ephemerals are allowed, form of the path, ACL, parent, CREATE on it, whole
    /// path with its number, existence, ephemeral parent, quota: in this order.
    pub(super) fn create(
        &mut self,
        op: OpCode,
        request: &CreateRequest<'_>,
        record: &Bytes,
    ) -> Prepared {
        let mode = self.mode(op, request)?;
        if is_ephemeral(request.flags) {
            self.ephemerals?;
        }
        let asked = request.path.as_deref().ok_or(ErrorCode::MARSHALLING_ERROR)?;
        let parent_path = parent_of(asked)?;
        let list = self.list(request.acl.as_deref())?;
        let parent = self.outstanding.view(self.tree, parent_path).ok_or(ErrorCode::NO_NODE)?;
        self.allow(&parent, perms::CREATE)?;

        let zxid = self.header.zxid;
        let number = parent.counter(zxid);
        let path = if mode.sequential { numbered(asked, number) } else { asked.to_owned() };
        if !validate_path(&path) {
            return Err(ErrorCode::BAD_ARGUMENTS.into());
        }
        if self.outstanding.view(self.tree, &path).is_some() {
            return Err(ErrorCode::NODE_EXISTS.into());
        }
        if owner_kind(parent.stat.ephemeral_owner) == Owner::Session {
            return Err(ErrorCode::NO_CHILDREN_FOR_EPHEMERALS.into());
        }
        self.check_quota(&path, request.data.map_or(0, <[u8]>::len) as i64, 1)?;
        let bytes = RECORD_BYTES_BESIDE
            + path.len()
            + request.data.map_or(0, <[u8]>::len)
            + acl_bytes(&list);
        take_bytes(&mut self.bytes_left, bytes)?;

        let next_parent = self.parent_after(parent_path, &parent, number.wrapping_add(1));
        let (parent_id, before) = (parent.id, parent.digest);
        let data = request.data.map(|data| record.slice_ref(data));
        let node = self.new_node(&path, mode.kind, data.clone(), &list);
        let is_exact = self.outstanding.is_exact();
        self.known = Known {
            node: None,
            parent: parent_id,
            digest: is_exact.then_some(node.digest),
            parent_digest: is_exact.then_some(next_parent.digest),
        };
        self.outstanding.put(parent_path, parent_id, next_parent, before);
        self.outstanding.put(&path, None, node, 0);
        let with_stat = op != OpCode::CREATE
            || !matches!(mode.kind, CreateKind::Persistent | CreateKind::Ephemeral);
        let kind = mode.kind;
        Ok(Txn::Create(CreateTxn {
            path,
            data,
            acl: list,
            kind,
            with_stat,
            parent_cversion: number.wrapping_add(1),
        }))
    }

    /// A parent that has got a child, and whose next sequential one gets the number `next`.
    fn parent_after(&self, path: &str, parent: &View<'_>, next: i32) -> ChangeRecord {
        let zxid = self.header.zxid;
        let mut after = parent.next(zxid);
        after.children += 1;
        after.counter = next;
        // The tree never lowers a cversion: past 2^31-1 it stands still.
        if next > parent.stat.cversion {
            after.stat = StatPersisted { cversion: next, pzxid: zxid.0, ..parent.stat };
        }
        self.outstanding.set_digest(path, &mut after, parent.data);
        after
    }

    fn new_node(
        &self,
        path: &str,
        kind: CreateKind,
        data: Option<Bytes>,
        list: &Arc<[Acl]>,
    ) -> ChangeRecord {
        let mut node = ChangeRecord {
            zxid: self.header.zxid,
            exists: true,
            stat: self.new_stat(kind),
            children: 0,
            digest: 0,
            counter: 0,
            acl: Overlaid::Changed(list.clone()),
            data: Overlaid::Unchanged,
        };
        self.outstanding.set_digest(path, &mut node, data.as_deref());
        ChangeRecord { data: Overlaid::Changed(data), ..node }
    }

    fn mode(&self, op: OpCode, request: &CreateRequest<'_>) -> Result<Mode, ErrorCode> {
        let ttl_op = op == OpCode::CREATE_TTL;
        let sequential = matches!(request.flags, 2 | 3 | 6);
        let kind = match request.flags {
            5 | 6 if !self.config.extended_types => return Err(ErrorCode::UNIMPLEMENTED),
            5 | 6 if ttl_op && (1..=TTL_MS_MAX).contains(&request.ttl_ms) => {
                CreateKind::Ttl { ttl_ms: request.ttl_ms }
            }
            0..=4 if op == OpCode::CREATE_CONTAINER => CreateKind::Container,
            // On op 1 and 15 the flag for a container makes a plain node that stays.
            0 | 2 | 4 if !ttl_op => CreateKind::Persistent,
            1 | 3 if !ttl_op => CreateKind::Ephemeral,
            _ => return Err(ErrorCode::BAD_ARGUMENTS),
        };
        Ok(Mode { kind, sequential })
    }

    fn new_stat(&self, kind: CreateKind) -> StatPersisted {
        let (zxid, time) = (self.header.zxid.0, self.header.time_ms);
        StatPersisted {
            czxid: zxid,
            mzxid: zxid,
            pzxid: zxid,
            ctime: time,
            mtime: time,
            ephemeral_owner: match kind {
                CreateKind::Persistent => 0,
                CreateKind::Ephemeral => self.header.session.0,
                CreateKind::Container => CONTAINER_OWNER,
                CreateKind::Ttl { ttl_ms } => ttl_owner(ttl_ms),
            },
            ..StatPersisted::default()
        }
    }
}

/// `%010d`: at least ten characters, the sign among them.
fn numbered(path: &str, number: i32) -> String {
    format!("{path}{number:010}")
}
