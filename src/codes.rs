//! Opcodes, error codes and event types: the numbers of the protocol, each a newtype so that
//! unknown values survive.

use std::fmt;

/// The directory of files below dataDir and dataLogDir: Apache's name for the format's version.
pub const VERSION_2: &str = "version-2";

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

    /// The short name that `cons` shows as `lop=` (what Apache's `FinalRequestProcessor` keeps as
    /// its last operation); `NA` for what it keeps no name of.
    pub const fn short_name(self) -> &'static str {
        match self {
            Self::CREATE | Self::CREATE2 | Self::CREATE_CONTAINER | Self::CREATE_TTL => "CREA",
            Self::DELETE | Self::DELETE_CONTAINER => "DELE",
            Self::EXISTS => "EXIS",
            Self::GET_DATA => "GETD",
            Self::SET_DATA => "SETD",
            Self::GET_ACL => "GETA",
            Self::SET_ACL => "SETA",
            Self::GET_CHILDREN | Self::GET_CHILDREN2 => "GETC",
            Self::SYNC => "SYNC",
            Self::PING => "PING",
            Self::CHECK => "CHEC",
            Self::MULTI => "MULT",
            Self::RECONFIG => "RECO",
            Self::CHECK_WATCHES => "CHKW",
            Self::REMOVE_WATCHES => "REMW",
            Self::MULTI_READ => "MLTR",
            Self::SET_WATCHES => "SETW",
            Self::SET_WATCHES2 => "STW2",
            Self::GET_EPHEMERALS => "GETE",
            Self::GET_ALL_CHILDREN_NUMBER => "GETACN",
            Self::ADD_WATCH => "ADDW",
            Self::WHO_AM_I => "HOMI",
            Self::CREATE_SESSION => "SESS",
            Self::CLOSE_SESSION => "CLOS",
            _ => "NA",
        }
    }
}

/// The four-letter words, in order. The frontend tells them from frame lengths; the server answers
/// them.
pub const FOUR_LETTER_WORDS: [&str; 18] = [
    "conf", "cons", "crst", "dirs", "dump", "envi", "gtmk", "hash", "isro", "mntr", "ruok", "srst",
    "srvr", "stat", "stmk", "wchc", "wchp", "wchs",
];

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

/// The kind of a watch event (`Watcher.Event.EventType`).
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The names that Apache 3.9.5 prints after `lop=`, by the request's number.
    #[test]
    fn short_names_are_those_that_cons_prints() {
        const NAMES: [(&str, &[i32]); 24] = [
            ("CREA", &[1, 15, 19, 21]),
            ("DELE", &[2, 20]),
            ("EXIS", &[3]),
            ("GETD", &[4]),
            ("SETD", &[5]),
            ("GETA", &[6]),
            ("SETA", &[7]),
            ("GETC", &[8, 12]),
            ("SYNC", &[9]),
            ("PING", &[11]),
            ("CHEC", &[13]),
            ("MULT", &[14]),
            ("RECO", &[16]),
            ("CHKW", &[17]),
            ("REMW", &[18]),
            ("MLTR", &[22]),
            ("SETW", &[101]),
            ("GETE", &[103]),
            ("GETACN", &[104]),
            ("STW2", &[105]),
            ("ADDW", &[106]),
            ("HOMI", &[107]),
            ("SESS", &[-10]),
            ("CLOS", &[-11]),
        ];
        for number in -200..=200 {
            let named = NAMES.iter().find(|(_, numbers)| numbers.contains(&number));
            let wanted = named.map_or("NA", |(name, _)| name);
            assert_eq!(OpCode(number).short_name(), wanted, "request type {number}");
        }
    }

    #[test]
    fn the_words_are_in_order() {
        assert!(FOUR_LETTER_WORDS.is_sorted());
        assert!(FOUR_LETTER_WORDS.iter().all(|word| word.len() == 4));
    }
}
