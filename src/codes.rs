//! Opcodes, error codes and event types: the numbers of the protocol, each a newtype so that unknown values survive.

use std::fmt;

/// A request type (`ZooDefs.OpCode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OpCode(pub i32);

impl OpCode {
    pub const NOTIFICATION: Self = Self(0);
    pub const CREATE: Self = Self(1);
    pub const DELETE: Self = Self(2);
    pub const EXISTS: Self = Self(3);
    pub const GET_DATA: Self = Self(4);
    pub const SET_DATA: Self = Self(5);
    pub const GET_ACL: Self = Self(6);
    pub const SET_ACL: Self = Self(7);
    pub const GET_CHILDREN: Self = Self(8);
    pub const SYNC: Self = Self(9);
    pub const PING: Self = Self(11);
    pub const GET_CHILDREN2: Self = Self(12);
    pub const CHECK: Self = Self(13);
    pub const MULTI: Self = Self(14);
    pub const CREATE2: Self = Self(15);
    pub const RECONFIG: Self = Self(16);
    pub const CHECK_WATCHES: Self = Self(17);
    pub const REMOVE_WATCHES: Self = Self(18);
    pub const CREATE_CONTAINER: Self = Self(19);
    pub const DELETE_CONTAINER: Self = Self(20);
    pub const CREATE_TTL: Self = Self(21);
    pub const MULTI_READ: Self = Self(22);
    pub const AUTH: Self = Self(100);
    pub const SET_WATCHES: Self = Self(101);
    pub const SASL: Self = Self(102);
    pub const GET_EPHEMERALS: Self = Self(103);
    pub const GET_ALL_CHILDREN_NUMBER: Self = Self(104);
    pub const SET_WATCHES2: Self = Self(105);
    pub const ADD_WATCH: Self = Self(106);
    pub const WHO_AM_I: Self = Self(107);
    pub const CREATE_SESSION: Self = Self(-10);
    pub const CLOSE_SESSION: Self = Self(-11);
    /// The type of a transaction that failed; never sent by a client.
    pub const ERROR: Self = Self(-1);

    /// The four-letter name that `cons` shows as `lop=` (`Request.op2String` cut to four).
    pub fn short_name(self) -> &'static str {
        match self {
            Self::CREATE => "CREA",
            Self::DELETE => "DELE",
            Self::EXISTS => "EXIS",
            Self::GET_DATA => "GETD",
            Self::SET_DATA => "SETD",
            Self::GET_ACL => "GETA",
            Self::SET_ACL => "SETA",
            Self::GET_CHILDREN => "GETC",
            Self::SYNC => "SYNC",
            Self::PING => "PING",
            Self::GET_CHILDREN2 => "GETC",
            Self::CHECK => "CHEC",
            Self::MULTI => "MULT",
            Self::CREATE2 => "CREA",
            Self::RECONFIG => "RECO",
            Self::CHECK_WATCHES => "CHEW",
            Self::REMOVE_WATCHES => "REMW",
            Self::CREATE_CONTAINER => "CREC",
            Self::CREATE_TTL => "CRET",
            Self::MULTI_READ => "MULR",
            Self::AUTH => "AUTH",
            Self::SET_WATCHES => "SETW",
            Self::SASL => "SASL",
            Self::GET_EPHEMERALS => "GETE",
            Self::GET_ALL_CHILDREN_NUMBER => "GETN",
            Self::SET_WATCHES2 => "SETW",
            Self::ADD_WATCH => "ADDW",
            Self::WHO_AM_I => "WHOA",
            Self::CREATE_SESSION => "SESS",
            Self::CLOSE_SESSION => "CLOS",
            _ => "UNKN",
        }
    }
}

/// The outcome of a request (`KeeperException.Code`); 0 is success.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ErrorCode(pub i32);

impl ErrorCode {
    pub const OK: Self = Self(0);
    pub const SYSTEM_ERROR: Self = Self(-1);
    pub const RUNTIME_INCONSISTENCY: Self = Self(-2);
    pub const MARSHALLING_ERROR: Self = Self(-5);
    pub const UNIMPLEMENTED: Self = Self(-6);
    pub const BAD_ARGUMENTS: Self = Self(-8);
    pub const NO_NODE: Self = Self(-101);
    pub const NO_AUTH: Self = Self(-102);
    pub const BAD_VERSION: Self = Self(-103);
    pub const NO_CHILDREN_FOR_EPHEMERALS: Self = Self(-108);
    pub const NODE_EXISTS: Self = Self(-110);
    pub const NOT_EMPTY: Self = Self(-111);
    pub const SESSION_EXPIRED: Self = Self(-112);
    pub const INVALID_ACL: Self = Self(-114);
    pub const AUTH_FAILED: Self = Self(-115);
    pub const SESSION_MOVED: Self = Self(-118);
    pub const NOT_READ_ONLY: Self = Self(-119);
    pub const EPHEMERAL_ON_LOCAL_SESSION: Self = Self(-120);
    pub const NO_WATCHER: Self = Self(-121);
    pub const RECONFIG_DISABLED: Self = Self(-123);
    pub const SESSION_CLOSED_REQUIRE_SASL_AUTH: Self = Self(-124);
    pub const QUOTA_EXCEEDED: Self = Self(-125);
    pub const THROTTLED_OP: Self = Self(-127);

    /// Whether the request succeeded.
    pub const fn is_ok(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What a watch event announces (`Watcher.Event.EventType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    NodeCreated = 1,
    NodeDeleted = 2,
    NodeDataChanged = 3,
    NodeChildrenChanged = 4,
}

/// Permission bits of an ACL entry (`ZooDefs.Perms`).
pub mod perms {
    pub const READ: i32 = 1;
    pub const WRITE: i32 = 2;
    pub const CREATE: i32 = 4;
    pub const DELETE: i32 = 8;
    pub const ADMIN: i32 = 16;
    pub const ALL: i32 = 31;
}
