//! setData, setACL, the check of a multi, and quotas.

use bytes::Bytes;

use super::super::outstanding::Overlaid;
use super::{Prepare, Prepared, RECORD_BYTES_BESIDE, acl_bytes, next_version, take_bytes};
use crate::codes::{ErrorCode, perms};
use crate::jute::data::StatPersisted;
use crate::proto::{CheckVersionRequest, SetAclRequest, SetDataRequest};
use crate::tree::{Known, StatsTrack, validate_path};
use crate::txn::{SetDataTxn, SharedPath, Txn};

impl Prepare<'_> {
    /// Path, node, WRITE, quota, version: in this order.
    pub(super) fn set_data(&mut self, request: &SetDataRequest<'_>, record: &Bytes) -> Prepared {
        let path = valid(request.path.as_deref())?;
        let node = self.outstanding.view(self.tree, path).ok_or(ErrorCode::NO_NODE)?;
        self.allow(&node, perms::WRITE)?;
        let len = request.data.map_or(0, <[u8]>::len);
        let len_before = node.data.map_or(0, <[u8]>::len);
        self.check_quota(path, len as i64 - len_before as i64, 0)?;
        let version = next_version(node.stat.version, request.version)?;
        take_bytes(&mut self.bytes_left, RECORD_BYTES_BESIDE + path.len() + len)?;

        let data = request.data.map(|data| record.slice_ref(data));
        let mut next = node.next(self.header.zxid);
        let (mzxid, mtime) = (self.header.zxid.0, self.header.time_ms);
        next.stat = StatPersisted { version, mtime, mzxid, ..node.stat };
        next.data = Overlaid::Changed(data.clone());
        let (id, before) = (node.id, node.digest);
        self.outstanding.set_digest(path, &mut next, request.data);
        let digest = self.outstanding.is_exact().then_some(next.digest);
        self.known = Known { node: id, digest, ..Known::default() };
        self.outstanding.put(path, id, next, before);
        Ok(Txn::SetData(SetDataTxn { path: SharedPath::of(record, path), data, version }))
    }

    /// Path, ACL, node, ADMIN, version of the ACL: in this order.
    pub(super) fn set_acl(&mut self, request: &SetAclRequest<'_>) -> Prepared {
        let path = valid(request.path.as_deref())?;
        let list = self.list(request.acl.as_deref())?;
        let node = self.outstanding.view(self.tree, path).ok_or(ErrorCode::NO_NODE)?;
        self.allow(&node, perms::ADMIN)?;
        let version = next_version(node.stat.aversion, request.version)?;
        take_bytes(&mut self.bytes_left, RECORD_BYTES_BESIDE + path.len() + acl_bytes(&list))?;

        let mut next = node.next(self.header.zxid);
        next.stat = StatPersisted { aversion: version, ..node.stat };
        next.acl = Overlaid::Changed(list.clone());
        let (id, before) = (node.id, node.digest);
        self.known = Known { node: id, ..Known::default() };
        self.outstanding.set_digest(path, &mut next, node.data);
        self.outstanding.put(path, id, next, before);
        Ok(Txn::SetAcl { path: path.into(), acl: list, version })
    }

    /// Path, node, READ, version: in this order.
    pub(super) fn check(&mut self, request: &CheckVersionRequest<'_>) -> Prepared {
        let path = valid(request.path.as_deref())?;
        let node = self.outstanding.view(self.tree, path).ok_or(ErrorCode::NO_NODE)?;
        self.allow(&node, perms::READ)?;
        let version = next_version(node.stat.version, request.version)?;
        take_bytes(&mut self.bytes_left, RECORD_BYTES_BESIDE + path.len())?;
        Ok(Txn::Check { path: path.into(), version })
    }

    /// Whether `path` may grow by these bytes and nodes (`enforceQuota`). Only hard limits refuse;
    /// what is used up is read from the tree alone, as Apache does it.
    pub(super) fn check_quota(&self, path: &str, bytes: i64, count: i64) -> Result<(), ErrorCode> {
        if !self.config.enforce_quota || mutant!(QuotaIgnored) {
            return Ok(());
        }
        let Some(root) = self.tree.quota_root(path) else { return Ok(()) };
        let (Some(limits), Some(used)) = (self.track(root, LIMITS), self.track(root, STATS)) else {
            return Ok(());
        };
        let exceeds = |limit: i64, used: i64, more: i64| {
            more != 0 && limit > -1 && used.saturating_add(more) > limit
        };
        if exceeds(limits.count_hard_limit(), used.count, count)
            || exceeds(limits.byte_hard_limit(), used.bytes, bytes)
        {
            return Err(ErrorCode::QUOTA_EXCEEDED);
        }
        Ok(())
    }

    fn track(&self, root: &str, name: &str) -> Option<StatsTrack> {
        let node = self.tree.get(&format!("{QUOTA}{root}/{name}"))?;
        StatsTrack::parse(node.data().unwrap_or_default())
    }
}

fn valid(path: Option<&str>) -> Result<&str, ErrorCode> {
    path.filter(|path| validate_path(path)).ok_or(ErrorCode::BAD_ARGUMENTS)
}

const QUOTA: &str = "/zookeeper/quota";
const LIMITS: &str = "zookeeper_limits";
const STATS: &str = "zookeeper_stats";
