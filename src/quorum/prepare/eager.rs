//! `enableEagerACLCheck`: each server of an ensemble refuses what its own tree forbids to its own
//! clients, before it goes any further (`ZooKeeperServer.authWriteRequest`).

use super::delete::is_special;
use super::{QuorumConfig, expands_too_much, parent_of};
use crate::acl;
use crate::codes::{ErrorCode, OpCode, perms};
use crate::jute::data::Id;
use crate::jute::{Malformed, Reader};
use crate::proto::{CreateRequest, DeleteRequest, RequestAcl, SetAclRequest, SetDataRequest};
use crate::tree::Tree;

/// What is looked at: a node, the right on it, and a list that is to be stored.
struct Looked<'a> {
    path: &'a str,
    perm: i32,
    list: Option<&'a [RequestAcl<'a>]>,
}

/// Looks at a create, create2, delete, setData or setACL: whether the tree that is shown permits it,
/// and whether its list is one. All else is right, and so is what the leader has to judge, as a node
/// that is not there.
///
/// Errors: NO_AUTH, INVALID_ACL.
pub(in super::super) fn check_access(
    config: &QuorumConfig,
    tree: &Tree,
    ids: &[Id],
    op: OpCode,
    record: &[u8],
) -> Result<(), ErrorCode> {
    look(config, tree, ids, op, record).unwrap_or(Ok(()))
}

fn look(
    config: &QuorumConfig,
    tree: &Tree,
    ids: &[Id],
    op: OpCode,
    record: &[u8],
) -> Result<Result<(), ErrorCode>, Malformed> {
    let reader = &mut Reader::new(record);
    Ok(match op {
        OpCode::CREATE | OpCode::CREATE2 => {
            let request = CreateRequest::read(reader, op)?;
            let Some(path) = parent(request.path.as_deref()) else { return Ok(Ok(())) };
            let list = Some(request.acl.as_deref().unwrap_or_default());
            judge(config, tree, ids, &Looked { path, perm: perms::CREATE, list })
        }
        OpCode::DELETE => {
            let request = DeleteRequest::read(reader)?;
            let Some(path) = parent(request.path.as_deref()) else { return Ok(Ok(())) };
            judge(config, tree, ids, &Looked { path, perm: perms::DELETE, list: None })
        }
        OpCode::SET_DATA => {
            let request = SetDataRequest::read(reader)?;
            let Some(path) = request.path.as_deref() else { return Ok(Ok(())) };
            judge(config, tree, ids, &Looked { path, perm: perms::WRITE, list: None })
        }
        OpCode::SET_ACL => {
            let request = SetAclRequest::read(reader)?;
            let Some(path) = request.path.as_deref() else { return Ok(Ok(())) };
            let list = Some(request.acl.as_deref().unwrap_or_default());
            judge(config, tree, ids, &Looked { path, perm: perms::ADMIN, list })
        }
        _ => Ok(()),
    })
}

/// The parent of a path that is no bad one.
fn parent(path: Option<&str>) -> Option<&str> {
    path.filter(|path| !is_special(path)).and_then(|path| parent_of(path).ok())
}

fn judge(
    config: &QuorumConfig,
    tree: &Tree,
    ids: &[Id],
    looked: &Looked<'_>,
) -> Result<(), ErrorCode> {
    if let Some(list) = looked.list
        && !expands_too_much(config, ids, looked.list)
        && let Err(ErrorCode::INVALID_ACL) = acl::fixup(Some(list), ids, &config.acl)
    {
        return Err(ErrorCode::INVALID_ACL);
    }
    let Some(node) = tree.get(looked.path) else { return Ok(()) };
    if node.is_open() || config.acl.permits(node.acl(), looked.perm, ids) {
        Ok(())
    } else {
        Err(ErrorCode::NO_AUTH)
    }
}
