//! Why a command fails: in the words of Apache's shell, with its exit code.

use crate::codes::ErrorCode;
use crate::jute::Malformed;

use super::session::CONNECTION_LOSS;

/// Why a request fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ZkError {
    /// The client does not send such a path, and why.
    Path(String),
    /// The server refuses, for this path where one is named.
    Code(ErrorCode, Option<String>),
    /// The answer does not decode.
    Malformed(String),
}

impl ZkError {
    /// Whether the server says that the node is not there.
    pub(super) fn is_no_node(&self) -> bool {
        matches!(self, Self::Code(ErrorCode::NO_NODE, _))
    }

    /// `KeeperException.getMessage()`.
    pub(super) fn message(&self) -> String {
        match self {
            Self::Path(text) | Self::Malformed(text) => text.clone(),
            Self::Code(code, None) => format!("KeeperErrorCode = {}", name(*code)),
            Self::Code(code, Some(path)) => {
                format!("KeeperErrorCode = {} for {path}", name(*code))
            }
        }
    }
}

impl From<Malformed> for ZkError {
    fn from(error: Malformed) -> Self {
        Self::Malformed(format!("the server's answer does not decode: {error}"))
    }
}

/// Why a command fails.
#[derive(Debug)]
pub(super) struct Failure {
    /// What goes to standard error.
    pub text: String,
    pub exit: u8,
    /// The server's code, where it is the server's refusal.
    pub code: Option<i32>,
}

impl Failure {
    /// A failure with the usual exit code, 1.
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), exit: 1, code: None }
    }
}

impl From<ZkError> for Failure {
    fn from(error: ZkError) -> Self {
        let ZkError::Code(code, path) = &error else { return Self::new(error.message()) };
        let path = path.as_deref().unwrap_or("null");
        let text = match *code {
            ErrorCode::NO_NODE => format!("Node does not exist: {path}"),
            ErrorCode::NO_CHILDREN_FOR_EPHEMERALS => {
                format!("Ephemerals cannot have children: {path}")
            }
            ErrorCode::NODE_EXISTS => format!("Node already exists: {path}"),
            ErrorCode::NOT_EMPTY => format!("Node not empty: {path}"),
            ErrorCode::NOT_READ_ONLY => format!("Not a read-only call: {path}"),
            ErrorCode::INVALID_ACL => format!("Acl is not valid : {path}"),
            ErrorCode::NO_AUTH => format!("Insufficient permission : {path}"),
            ErrorCode::BAD_ARGUMENTS => format!("Arguments are not valid : {path}"),
            ErrorCode::BAD_VERSION => format!("version No is not valid : {path}"),
            ErrorCode::QUOTA_EXCEEDED => format!("Quota has exceeded : {path}"),
            RECONFIG_IN_PROGRESS => {
                "Another reconfiguration is in progress -- concurrent reconfigs not supported (yet)"
                    .to_owned()
            }
            NEW_CONFIG_NO_QUORUM => NO_QUORUM.to_owned(),
            _ => error.message(),
        };
        Self { text, exit: 1, code: Some(code.0) }
    }
}

/// `KeeperException.getCodeMessage`.
fn name(code: ErrorCode) -> String {
    let name = match code {
        ErrorCode::SYSTEM_ERROR => "SystemError",
        ErrorCode::RUNTIME_INCONSISTENCY => "RuntimeInconsistency",
        CONNECTION_LOSS => "ConnectionLoss",
        ErrorCode::MARSHALLING_ERROR => "MarshallingError",
        ErrorCode::UNIMPLEMENTED => "Unimplemented",
        ErrorCode(-7) => "OperationTimeout",
        ErrorCode::BAD_ARGUMENTS => "BadArguments",
        NEW_CONFIG_NO_QUORUM => "NewConfigNoQuorum",
        RECONFIG_IN_PROGRESS => "ReconfigInProgress",
        ErrorCode(-100) => "APIError",
        ErrorCode::NO_NODE => "NoNode",
        ErrorCode::NO_AUTH => "NoAuth",
        ErrorCode::BAD_VERSION => "BadVersion",
        ErrorCode::NO_CHILDREN_FOR_EPHEMERALS => "NoChildrenForEphemerals",
        ErrorCode::NODE_EXISTS => "NodeExists",
        ErrorCode::NOT_EMPTY => "Directory not empty",
        ErrorCode::SESSION_EXPIRED => "Session expired",
        ErrorCode::INVALID_ACL => "InvalidACL",
        ErrorCode::AUTH_FAILED => "AuthFailed",
        ErrorCode::SESSION_MOVED => "Session moved",
        ErrorCode::NOT_READ_ONLY => "Not a read-only call",
        ErrorCode::EPHEMERAL_ON_LOCAL_SESSION => "Ephemeral node on local session",
        ErrorCode::NO_WATCHER => "No such watcher",
        ErrorCode::RECONFIG_DISABLED => "Reconfig is disabled",
        ErrorCode::SESSION_CLOSED_REQUIRE_SASL_AUTH => {
            "Session closed because client failed to authenticate"
        }
        ErrorCode::QUOTA_EXCEEDED => "Quota has exceeded",
        ErrorCode::THROTTLED_OP => "Op throttled due to high load",
        other => return format!("Unknown error {other}"),
    };
    name.to_owned()
}

const NEW_CONFIG_NO_QUORUM: ErrorCode = ErrorCode(-13);
const RECONFIG_IN_PROGRESS: ErrorCode = ErrorCode(-14);
const NO_QUORUM: &str = "No quorum of new config is connected and up-to-date with the leader of \
                         last commmitted config - try invoking reconfiguration after new servers \
                         are connected and synced";
