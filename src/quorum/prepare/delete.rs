//! delete, and the server's own deleteContainer.

use super::super::outstanding::ChangeRecord;
use super::{Prepare, Prepared, RECORD_BYTES_BESIDE, next_version, parent_of, take_bytes};
use crate::codes::{ErrorCode, perms};
use crate::jute::data::{Owner, StatPersisted, owner_kind};
use crate::proto::DeleteRequest;
use crate::tree::Known;
use crate::txn::Txn;

impl Prepare<'_> {
    /// Form of the path, parent, DELETE on it, node, version, children: in this order. The whole
    /// path is not checked.
    pub(super) fn delete(&mut self, request: &DeleteRequest<'_>) -> Prepared {
        let path = request.path.as_deref().ok_or(ErrorCode::MARSHALLING_ERROR)?;
        let parent_path = parent_of(path)?;
        if is_special(path) {
            return Err(ErrorCode::BAD_ARGUMENTS.into());
        }
        let parent = self.outstanding.view(self.tree, parent_path).ok_or(ErrorCode::NO_NODE)?;
        self.allow(&parent, perms::DELETE)?;
        let node = self.outstanding.view(self.tree, path).ok_or(ErrorCode::NO_NODE)?;
        next_version(node.stat.version, request.version)?;
        if node.children > 0 {
            return Err(ErrorCode::NOT_EMPTY.into());
        }
        take_bytes(&mut self.bytes_left, RECORD_BYTES_BESIDE + path.len())?;
        self.remove(path);
        Ok(Txn::Delete { path: path.into() })
    }

    /// A container or TTL node that the sweep found due. `None` if it must stay after all.
    pub(in super::super) fn delete_container(&mut self, path: &str) -> Option<Txn> {
        let node = self.outstanding.view(self.tree, path)?;
        let is_due =
            matches!(owner_kind(node.stat.ephemeral_owner), Owner::Container | Owner::Ttl(_));
        if !is_due || node.children > 0 {
            return None;
        }
        self.remove(path);
        Some(Txn::DeleteContainer { path: path.into() })
    }

    /// Puts a deletion into the overlay: the parent loses a child, and its pzxid says when.
    pub(super) fn remove(&mut self, path: &str) {
        let zxid = self.header.zxid;
        self.known = Known::default();
        let parent_path = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        if let Some(parent) = self.outstanding.view(self.tree, parent_path) {
            let mut next = parent.next(zxid);
            debug_assert!(next.children > 0, "{parent_path} has the child {path}");
            next.children = next.children.saturating_sub(1);
            next.stat = StatPersisted { pzxid: parent.stat.pzxid.max(zxid.0), ..parent.stat };
            let (id, before) = (parent.id, parent.digest);
            self.outstanding.set_digest(parent_path, &mut next, parent.data);
            self.known.parent = id;
            self.known.parent_digest = self.outstanding.is_exact().then_some(next.digest);
            self.outstanding.put(parent_path, id, next, before);
        }
        if let Some(node) = self.outstanding.view(self.tree, path) {
            let (id, before) = (node.id, node.digest);
            self.known.node = id;
            let gone = ChangeRecord::deleted(zxid, node.stat);
            self.outstanding.put(path, id, gone, before);
        }
    }
}

/// The nodes that every server has.
pub(super) fn is_special(path: &str) -> bool {
    matches!(path, "/" | "/zookeeper" | "/zookeeper/quota" | "/zookeeper/config")
}
