//! The requests of a simulated client, and their bytes. Shared by the clients that send and the
//! checks that judge.

use std::fmt;

use bytes::Bytes;

use crate::codes::{OpCode, perms};
use crate::jute::Writer;
use crate::jute::data::{Acl, Id};
use crate::proto::xid;

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Create(Create),
    Delete {
        path: String,
        version: i32,
    },
    SetData {
        path: String,
        data: Fill,
        version: i32,
    },
    SetAcl {
        path: String,
        acl: AclKind,
        version: i32,
    },
    /// In a multi only.
    Check {
        path: String,
        version: i32,
    },
    Multi(Vec<Op>),
    Sync {
        path: String,
    },
    GetData {
        path: String,
        watch: bool,
    },
    Exists {
        path: String,
        watch: bool,
    },
    GetChildren {
        path: String,
        watch: bool,
    },
    GetAcl {
        path: String,
    },
    AddWatch {
        path: String,
        recursive: bool,
    },
    /// The kind is a WatcherType: 1 children, 2 data, 3 any, 4 persistent, 5 recursive.
    RemoveWatches {
        path: String,
        kind: i32,
    },
    SetWatches(Rewatch),
    Auth,
    Ping,
    Close,
}

/// A create of any mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Create {
    pub path: String,
    pub data: Fill,
    pub acl: AclKind,
    pub mode: Mode,
    pub sequential: bool,
    /// create2 instead of create; container and TTL have opcodes of their own.
    pub with_stat: bool,
}

/// Data: one byte, many times; of the byte 0 the limits of a quota.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fill {
    pub byte: u8,
    pub len: usize,
}

impl Fill {
    /// The data itself.
    pub(crate) fn bytes(self) -> Bytes {
        if self.byte == 0 {
            let (count, bytes) = LIMITS[self.len % LIMITS.len()];
            return format!("count=-1,bytes=-1=;byteHardLimit={bytes};countHardLimit={count}")
                .into_bytes()
                .into();
        }
        vec![self.byte; self.len].into()
    }

    /// The limits of a quota, one of several.
    pub(crate) fn limits(which: usize) -> Self {
        Self { byte: 0, len: which % LIMITS.len() }
    }

    /// The hard limits, of nodes and of bytes, that this data sets.
    pub(crate) fn limits_of(data: &[u8]) -> Option<(i64, i64)> {
        let at = (0..LIMITS.len()).find(|which| Self::limits(*which).bytes() == data)?;
        Some(LIMITS[at])
    }
}

impl fmt::Debug for Fill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.len, self.byte)
    }
}

/// The kinds of node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Persistent,
    Ephemeral,
    Container,
    Ttl(i64),
}

/// The three access lists that the simulated clients use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AclKind {
    /// Everything for everyone.
    Open,
    /// All but READ for everyone; the user may read too.
    Hidden,
    /// Everything for the user, nothing for others.
    User,
}

/// The lists of a setWatches2.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rewatch {
    pub relative_zxid: i64,
    pub data: Vec<String>,
    pub exist: Vec<String>,
    pub child: Vec<String>,
    pub persistent: Vec<String>,
    pub recursive: Vec<String>,
}

impl AclKind {
    /// The list as stored, given the user's digest id.
    pub(crate) fn list(self, user: &Id) -> Vec<Acl> {
        let user = Acl { perms: perms::ALL, id: user.clone() };
        match self {
            Self::Open => vec![Acl::open()],
            Self::Hidden => vec![Acl { perms: perms::ALL & !perms::READ, ..Acl::open() }, user],
            Self::User => vec![user],
        }
    }
}

impl Op {
    /// The opcode that goes over the wire.
    pub(crate) fn code(&self) -> OpCode {
        match self {
            Self::Create(create) => create.code(),
            Self::Delete { .. } => OpCode::DELETE,
            Self::SetData { .. } => OpCode::SET_DATA,
            Self::SetAcl { .. } => OpCode::SET_ACL,
            Self::Check { .. } => OpCode::CHECK,
            Self::Multi(_) => OpCode::MULTI,
            Self::Sync { .. } => OpCode::SYNC,
            Self::GetData { .. } => OpCode::GET_DATA,
            Self::Exists { .. } => OpCode::EXISTS,
            Self::GetChildren { .. } => OpCode::GET_CHILDREN2,
            Self::GetAcl { .. } => OpCode::GET_ACL,
            Self::AddWatch { .. } => OpCode::ADD_WATCH,
            Self::RemoveWatches { .. } => OpCode::REMOVE_WATCHES,
            Self::SetWatches(_) => OpCode::SET_WATCHES2,
            Self::Auth => OpCode::AUTH,
            Self::Ping => OpCode::PING,
            Self::Close => OpCode::CLOSE_SESSION,
        }
    }

    /// Whether it becomes a transaction, also when it fails.
    pub(crate) fn is_write(&self) -> bool {
        matches!(
            self,
            Self::Create(_)
                | Self::Delete { .. }
                | Self::SetData { .. }
                | Self::SetAcl { .. }
                | Self::Multi(_)
                | Self::Close
        )
    }

    /// Whether it creates an ephemeral.
    pub(crate) fn creates_ephemeral(&self) -> bool {
        match self {
            Self::Create(create) => create.mode == Mode::Ephemeral,
            Self::Multi(ops) => ops.iter().any(Self::creates_ephemeral),
            _ => false,
        }
    }

    /// The xid it must carry, if it is one of those with a meaning of their own.
    pub(crate) fn own_xid(&self) -> Option<i32> {
        match self {
            Self::Ping => Some(xid::PING),
            Self::Auth => Some(xid::AUTH),
            Self::SetWatches(_) => Some(xid::SET_WATCHES),
            _ => None,
        }
    }

    /// Appends the whole frame.
    pub(crate) fn write(&self, out: &mut Vec<u8>, xid: i32, user: &Id) {
        let mut writer = Writer::new(out);
        let frame = writer.begin_frame();
        writer.i32(xid);
        writer.i32(self.code().0);
        self.write_record(&mut writer, user);
        writer.end_frame(frame);
    }

    fn write_record(&self, writer: &mut Writer<'_>, user: &Id) {
        match self {
            Self::Create(create) => create.write_record(writer, user),
            Self::Delete { path, version } | Self::Check { path, version } => {
                writer.string(path);
                writer.i32(*version);
            }
            Self::SetData { path, data, version } => {
                writer.string(path);
                writer.buffer(Some(&data.bytes()));
                writer.i32(*version);
            }
            Self::SetAcl { path, acl, version } => {
                writer.string(path);
                crate::jute::data::write_acls(writer, &acl.list(user));
                writer.i32(*version);
            }
            Self::Multi(ops) => write_multi(writer, ops, user),
            Self::Sync { path } | Self::GetAcl { path } => writer.string(path),
            Self::GetData { path, watch }
            | Self::Exists { path, watch }
            | Self::GetChildren { path, watch } => {
                writer.string(path);
                writer.bool(*watch);
            }
            Self::AddWatch { path, recursive } => {
                writer.string(path);
                writer.i32(i32::from(*recursive));
            }
            Self::RemoveWatches { path, kind } => {
                writer.string(path);
                writer.i32(*kind);
            }
            Self::SetWatches(lists) => lists.write_record(writer),
            Self::Auth => {
                writer.i32(0);
                writer.string("digest");
                writer.buffer(Some(USER_PASSWORD));
            }
            Self::Ping | Self::Close => {}
        }
    }
}

impl Create {
    fn code(&self) -> OpCode {
        match self.mode {
            Mode::Container => OpCode::CREATE_CONTAINER,
            Mode::Ttl(_) => OpCode::CREATE_TTL,
            _ if self.with_stat => OpCode::CREATE2,
            _ => OpCode::CREATE,
        }
    }

    fn write_record(&self, writer: &mut Writer<'_>, user: &Id) {
        writer.string(&self.path);
        writer.buffer(Some(&self.data.bytes()));
        crate::jute::data::write_acls(writer, &self.acl.list(user));
        writer.i32(match (self.mode, self.sequential) {
            (Mode::Persistent, false) => 0,
            (Mode::Ephemeral, false) => 1,
            (Mode::Persistent, true) => 2,
            (Mode::Ephemeral, true) => 3,
            (Mode::Container, _) => 4,
            (Mode::Ttl(_), false) => 5,
            (Mode::Ttl(_), true) => 6,
        });
        if let Mode::Ttl(ttl_ms) = self.mode {
            writer.i64(ttl_ms);
        }
    }
}

impl Rewatch {
    /// Whether there is nothing to watch again.
    pub(crate) fn is_empty(&self) -> bool {
        let lists = [&self.data, &self.exist, &self.child, &self.persistent, &self.recursive];
        lists.iter().all(|list| list.is_empty())
    }

    fn write_record(&self, writer: &mut Writer<'_>) {
        writer.i64(self.relative_zxid);
        for list in [&self.data, &self.exist, &self.child, &self.persistent, &self.recursive] {
            writer.len(list.len());
            list.iter().for_each(|path| writer.string(path));
        }
    }
}

fn write_multi(writer: &mut Writer<'_>, ops: &[Op], user: &Id) {
    for op in ops {
        write_multi_header(writer, op.code().0, false);
        op.write_record(writer, user);
    }
    write_multi_header(writer, -1, true);
}

fn write_multi_header(writer: &mut Writer<'_>, op: i32, done: bool) {
    writer.i32(op);
    writer.bool(done);
    writer.i32(-1);
}

/// Hard limits of quotas: nodes, and bytes of data; -1 is none.
const LIMITS: [(i64, i64); 4] = [(3, -1), (6, 2000), (-1, 500), (-1, -1)];
/// The users that the simulated clients prove with `addauth digest`.
pub(crate) const USER_PASSWORD: &[u8] = b"user:secret";
