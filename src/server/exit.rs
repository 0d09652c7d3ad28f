//! The process's exit codes: Apache's own numbers, since scripts and supervisors tell failures
//! apart by them.

use std::process::ExitCode;

/// The reason why a server process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It was asked to.
    Finished = 0,
    /// Anything that has no number of its own: the client port is taken, the data cannot be read, a
    /// thread has panicked.
    UnexpectedError = 1,
    /// Usage or configuration, a client address that is unknown among it.
    InvalidInvocation = 2,
    /// The data directory cannot be made, entered or locked, or logs and snapshots are in each
    /// other's directory.
    UnableToAccessDatadir = 3,
    /// The admin server could not start.
    ErrorStartingAdminServer = 4,
    /// The transaction log or a snapshot that is needed could not be written.
    TxnlogErrorTakingSnapshot = 10,
    /// A commit that is not the oldest pending proposal (ensemble).
    UnmatchedTxnCommit = 12,
    /// A first synchronization packet of an unknown kind (ensemble).
    UnexpectedQuorumPacket = 13,
    /// The election port or the quorum port could not be bound (ensemble).
    UnableToBindQuorumPort = 14,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
