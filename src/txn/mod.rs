//! Log records: what a request becomes once it is decided (`zookeeper.jute`'s `txn` module).
//!
//! The same bytes go into the log, into PROPOSAL packets and into every server's apply: header,
//! record and, since 3.6, the digest that the tree must have after it. The set of kinds is closed:
//! a type that is not here cannot be applied by any server, so it is an error at reading and cannot
//! be written (ZOOKEEPER-2623).

mod path;
mod record;

use std::sync::Arc;

use bytes::Bytes;

use crate::codes::{ErrorCode, OpCode};
use crate::jute::data::Acl;
use crate::zxid::{SessionId, Zxid};

pub use path::SharedPath;
pub use record::{LogRecord, TxnError, read_log_record, read_shared_record, write_log_record};

/// The session, time and zxid of a transaction (`txn.TxnHeader`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxnHeader {
    pub session: SessionId,
    /// The xid of the request; 0 for the server's own.
    pub cxid: i32,
    pub zxid: Zxid,
    /// Wall-clock milliseconds of the server that prepared it: becomes ctime and mtime.
    pub time_ms: i64,
}

/// One change of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Txn {
    CreateSession {
        /// Milliseconds.
        timeout_ms: i32,
    },
    CloseSession {
        /// The ephemerals to remove (3.6 and later); `None` lets each server remove its own list.
        paths: Option<Vec<String>>,
    },
    Create(CreateTxn),
    Delete {
        path: String,
    },
    /// As delete, by the server itself, of an empty container or an expired TTL node.
    DeleteContainer {
        path: String,
    },
    SetData(SetDataTxn),
    /// As setData on /zookeeper/config.
    Reconfig(SetDataTxn),
    SetAcl {
        path: String,
        acl: Arc<[Acl]>,
        /// The ACL version after it.
        version: i32,
    },
    /// Inside a multi only.
    Check {
        path: String,
        version: i32,
    },
    /// One atomic list; if any is [`Txn::Error`], nothing of it is applied.
    Multi(Vec<Txn>),
    /// A request that failed: it has used up its zxid and changes nothing.
    Error(ErrorCode),
}

/// A node to be made (`txn.CreateTxn`, `CreateContainerTxn`, `CreateTTLTxn`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateTxn {
    pub path: String,
    /// `None` for null data.
    pub data: Option<Bytes>,
    pub acl: Arc<[Acl]>,
    pub kind: CreateKind,
    /// Logged as create2 (15) rather than create (1): a multi's reply then carries the Stat.
    /// Containers and TTL nodes have record types of their own.
    pub with_stat: bool,
    /// The parent's stored cversion after it; -1 in records of 3.3 (`CreateTxnV0`) means one more
    /// than it was.
    pub parent_cversion: i32,
}

/// The kind of node that a [`CreateTxn`] makes, which also decides the record it is logged as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateKind {
    Persistent,
    /// Owned by the session of the header.
    Ephemeral,
    Container,
    Ttl {
        /// Milliseconds, 1 to [`crate::limits::TTL_MS_MAX`].
        ttl_ms: i64,
    },
}

/// New data of a node (`txn.SetDataTxn`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetDataTxn {
    pub path: SharedPath,
    /// `None` for null data.
    pub data: Option<Bytes>,
    /// The version after it.
    pub version: i32,
}

impl Txn {
    /// The type that the header names.
    pub fn op(&self) -> OpCode {
        match self {
            Self::CreateSession { .. } => OpCode::CREATE_SESSION,
            Self::CloseSession { .. } => OpCode::CLOSE_SESSION,
            Self::Create(create) => match create.kind {
                CreateKind::Persistent | CreateKind::Ephemeral if create.with_stat => {
                    OpCode::CREATE2
                }
                CreateKind::Persistent | CreateKind::Ephemeral => OpCode::CREATE,
                CreateKind::Container => OpCode::CREATE_CONTAINER,
                CreateKind::Ttl { .. } => OpCode::CREATE_TTL,
            },
            Self::Delete { .. } => OpCode::DELETE,
            Self::DeleteContainer { .. } => OpCode::DELETE_CONTAINER,
            Self::SetData(_) => OpCode::SET_DATA,
            Self::Reconfig(_) => OpCode::RECONFIG,
            Self::SetAcl { .. } => OpCode::SET_ACL,
            Self::Check { .. } => OpCode::CHECK,
            Self::Multi(_) => OpCode::MULTI,
            Self::Error(_) => OpCode::ERROR,
        }
    }
}

/// The digest of the tree after a transaction (`txn.TxnDigest`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxnDigest {
    /// 2 since 3.6.
    pub version: i32,
    /// The wrapping sum of all node digests.
    pub tree: i64,
}
