//! Prepare: a request becomes a transaction, or an error with or without one
//! (`PrepRequestProcessor`).
//!
//! The order of the checks decides which error a client sees, so it is Apache's, op by op. Nothing
//! here decides when the transaction is logged or answered.

mod create;
mod delete;
mod eager;
mod multi;
mod session;
mod set;

pub(super) use eager::check_access;
pub(super) use multi::MultiSlices;
pub(super) use session::Closing;

use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;

use crate::acl::{self, Verdicts};
use crate::codes::{ErrorCode, OpCode};
use crate::jute::data::{Acl, Id};
use crate::jute::{Malformed, Reader};
use crate::proto::{
    CreateRequest, DeleteRequest, RequestAcl, SetAclRequest, SetDataRequest, read_multi,
};
use crate::tree::{Known, Tree};
use crate::txn::{Txn, TxnHeader};

use super::QuorumConfig;
use super::outstanding::{Outstanding, View};

/// Prepares one request.
pub(super) struct Prepare<'a> {
    pub(super) config: &'a QuorumConfig,
    pub(super) tree: &'a Tree,
    pub(super) outstanding: &'a mut Outstanding,
    /// With the zxid that the transaction gets, if it becomes one.
    pub(super) header: TxnHeader,
    pub(super) auth: &'a Arc<[Id]>,
    /// Behind a cell, as views of the overlay are held while a list is judged.
    verdicts: &'a RefCell<Verdicts>,
    /// The bytes that the record may still take up in the log.
    bytes_left: usize,
    /// What was found out about the nodes of the transaction prepared last.
    pub(super) known: Known,
    /// Whether the session may own ephemerals.
    pub(super) ephemerals: Result<(), ErrorCode>,
}

/// The reason why a request does not become what it asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It was understood and failed: logged as an error transaction, whose zxid it uses up.
    Failed(ErrorCode),
    /// It is no request at all, or too large to log: answered, and nothing is logged.
    Unlogged(ErrorCode),
}

pub(super) type Prepared = Result<Txn, Refusal>;

impl From<ErrorCode> for Refusal {
    fn from(err: ErrorCode) -> Self {
        Self::Failed(err)
    }
}

impl From<Malformed> for Refusal {
    fn from(_: Malformed) -> Self {
        Self::Unlogged(ErrorCode::MARSHALLING_ERROR)
    }
}

impl<'a> Prepare<'a> {
    pub(super) fn new(
        config: &'a QuorumConfig,
        tree: &'a Tree,
        outstanding: &'a mut Outstanding,
        header: TxnHeader,
        auth: &'a Arc<[Id]>,
        verdicts: &'a RefCell<Verdicts>,
    ) -> Self {
        let bytes_left = config.record_bytes_max.saturating_sub(TXN_BYTES_BESIDE);
        Self {
            config,
            tree,
            outstanding,
            header,
            auth,
            verdicts,
            bytes_left,
            known: Known::default(),
            ephemerals: Ok(()),
        }
    }

    /// A client's write, but for a multi; that its session lives has been checked. On an error the
    /// overlay is as it was before.
    pub(super) fn request(&mut self, op: OpCode, record: &Bytes) -> Prepared {
        let reader = &mut Reader::new(record);
        match op {
            OpCode::CREATE | OpCode::CREATE2 | OpCode::CREATE_CONTAINER | OpCode::CREATE_TTL => {
                self.create(op, &CreateRequest::read(reader, op)?, record)
            }
            OpCode::DELETE => self.delete(&DeleteRequest::read(reader)?),
            OpCode::SET_DATA => self.set_data(&SetDataRequest::read(reader)?, record),
            OpCode::SET_ACL => self.set_acl(&SetAclRequest::read(reader)?),
            OpCode::RECONFIG => Err(self.reconfig(reader)?.into()),
            _ => Err(Refusal::Unlogged(ErrorCode::UNIMPLEMENTED)),
        }
    }

    /// The answer to reconfig where there is no ensemble to change.
    fn reconfig(&self, reader: &mut Reader<'_>) -> Result<ErrorCode, Malformed> {
        read_reconfig(reader)?;
        Ok(if self.config.reconfig {
            ErrorCode::UNIMPLEMENTED
        } else {
            ErrorCode::RECONFIG_DISABLED
        })
    }

    /// The list to be stored for the one that was sent. Each `auth` in it becomes all ids that the
    /// connection has proven: what no record can hold is refused before it takes up memory.
    fn list(&self, request: Option<&[RequestAcl<'_>]>) -> Result<Arc<[Acl]>, Refusal> {
        if expands_too_much(self.config, self.auth, request) {
            return Err(Refusal::Unlogged(ErrorCode::MARSHALLING_ERROR));
        }
        Ok(self.outstanding.shared(acl::fixup(request, self.auth, &self.config.acl)?))
    }

    fn allow(&self, view: &View<'_>, perm: i32) -> Result<(), ErrorCode> {
        match view.acl() {
            None => Ok(()),
            Some(list) => {
                let permits =
                    self.verdicts.borrow_mut().permits(&self.config.acl, list, perm, self.auth);
                if permits { Ok(()) } else { Err(ErrorCode::NO_AUTH) }
            }
        }
    }
}

/// Whether no record can hold the list, as each `auth` in it becomes all these ids.
fn expands_too_much(config: &QuorumConfig, ids: &[Id], request: Option<&[RequestAcl<'_>]>) -> bool {
    let proven: usize = ids.iter().map(|id| Acl::BYTES_MIN + id.scheme.len() + id.id.len()).sum();
    let request = request.unwrap_or_default().iter();
    let auths = request.filter(|acl| acl.scheme.as_deref() == Some("auth")).count();
    auths.saturating_mul(proven) > config.record_bytes_max
}

/// Whether a client's write can be read at all. What cannot is not forwarded to a leader: Apache's
/// gives it no zxid of its own.
pub(super) fn check_form(op: OpCode, record: &[u8]) -> Result<(), ErrorCode> {
    let reader = &mut Reader::new(record);
    let form = match op {
        OpCode::CREATE | OpCode::CREATE2 | OpCode::CREATE_CONTAINER | OpCode::CREATE_TTL => {
            CreateRequest::read(reader, op).map(|_| ())
        }
        OpCode::DELETE => DeleteRequest::read(reader).map(|_| ()),
        OpCode::SET_DATA => SetDataRequest::read(reader).map(|_| ()),
        OpCode::SET_ACL => SetAclRequest::read(reader).map(|_| ()),
        OpCode::RECONFIG => read_reconfig(reader),
        OpCode::MULTI => loop {
            match read_multi(reader) {
                Ok(Some(_)) => {}
                Ok(None) => break Ok(()),
                Err(malformed) => break Err(malformed),
            }
        },
        _ => return Err(ErrorCode::UNIMPLEMENTED),
    };
    form.map_err(|_| ErrorCode::MARSHALLING_ERROR)
}

/// Joining servers, leaving servers, new members, and the version that is expected.
fn read_reconfig(reader: &mut Reader<'_>) -> Result<(), Malformed> {
    for _ in ["joining servers", "leaving servers", "new members"] {
        reader.string()?;
    }
    reader.i64().map(|_| ())
}

/// The version after a change that asks for `asked`; -1 asks for any.
fn next_version(current: i32, asked: i32) -> Result<i32, ErrorCode> {
    if asked == -1 || asked == current {
        Ok(current.wrapping_add(1))
    } else {
        Err(ErrorCode::BAD_VERSION)
    }
}

/// The parent of a path that create or delete names, "" for the root; the rest of the path is not
/// looked at.
fn parent_of(path: &str) -> Result<&str, ErrorCode> {
    match path.rsplit_once('/') {
        Some((parent, _)) if !path.contains('\0') => Ok(parent),
        _ => Err(ErrorCode::BAD_ARGUMENTS),
    }
}

/// Takes what a record needs out of what is left: a record that no reader would take back must not
/// get into the log.
fn take_bytes(left: &mut usize, bytes: usize) -> Result<(), Refusal> {
    *left = left.checked_sub(bytes).ok_or(Refusal::Unlogged(ErrorCode::MARSHALLING_ERROR))?;
    Ok(())
}

/// Bytes of a list in a record.
fn acl_bytes(list: &[Acl]) -> usize {
    4 + list.iter().map(|acl| Acl::BYTES_MIN + acl.id.scheme.len() + acl.id.id.len()).sum::<usize>()
}

/// Header and digest of a log record, and the count of a multi.
const TXN_BYTES_BESIDE: usize = 32 + 12 + 4;
/// Type, lengths, flags, versions and TTL of any one record, counted generously.
const RECORD_BYTES_BESIDE: usize = 32;
