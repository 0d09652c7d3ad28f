//! The reasons why a server does not start, or has ended otherwise than by a signal: each with its
//! exit code and its remedy.

use std::fmt;
use std::io;

use crate::quorum::recovery::RecoveryError;
use crate::runtime::datadir::DataDirError;
use crate::runtime::ensemble::elections::ElectionsError;
use crate::runtime::ensemble::ports::PeerPortError;
use crate::runtime::executor::ExecutorError;
use crate::runtime::log::LogError;
use crate::runtime::ring::RingUnavailable;
use crate::runtime::snapshotter::SnapshotFailure;

use super::exit::Exit;
use super::listen::ListenError;
use super::resources::TooLittle;

/// See the module's head.
#[derive(Debug)]
pub(crate) enum StartError {
    /// A limit of the process is too low.
    Resources(TooLittle),
    /// No ring can be had.
    Ring(RingUnavailable),
    /// The client address is unknown or cannot be listened on.
    Listen(ListenError),
    /// A port between servers cannot be listened on.
    PeerPort(PeerPortError),
    /// The thread of elections cannot start.
    Elections(ElectionsError),
    /// The data directory cannot be used.
    DataDir(DataDirError),
    /// The data on the disk is not started from.
    Recovery { error: RecoveryError, is_member: bool },
    /// The transaction log cannot be opened.
    Log(LogError),
    /// A snapshot that is needed could not be written.
    Snapshot(SnapshotFailure),
    /// The system refused something that it grants every process: what, and its word.
    System {
        /// The value that was asked for.
        what: &'static str,
        /// The system's answer.
        error: io::Error,
    },
    /// An executor failed, or ended although nobody told it to.
    Executor(Option<ExecutorError>),
    /// This thread has panicked.
    ThreadPanicked(String),
}

impl StartError {
    /// For `map_err`: the system refused `what`.
    pub(crate) fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::System { what, error }
    }

    /// Apache's number for it.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Listen(ListenError::UnknownHost { .. })
            | Self::PeerPort(PeerPortError::UnknownHost { .. }) => Exit::InvalidInvocation,
            Self::DataDir(DataDirError::NotAnEpoch { .. } | DataDirError::Epochs { .. }) => {
                Exit::UnexpectedError
            }
            Self::DataDir(_) | Self::Log(_) => Exit::UnableToAccessDatadir,
            Self::Recovery {
                error:
                    RecoveryError::LogInSnapshotDir { .. } | RecoveryError::SnapshotInLogDir { .. },
                ..
            } => Exit::UnableToAccessDatadir,
            Self::Snapshot(_) | Self::Executor(Some(ExecutorError::Log(_))) => {
                Exit::TxnlogErrorTakingSnapshot
            }
            Self::Resources(_) | Self::Ring(_) | Self::Listen(_) | Self::Recovery { .. } => {
                Exit::UnexpectedError
            }
            Self::PeerPort(_) => Exit::UnableToBindQuorumPort,
            Self::Elections(_) => Exit::UnexpectedError,
            Self::System { .. } | Self::Executor(_) | Self::ThreadPanicked(_) => {
                Exit::UnexpectedError
            }
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resources(error) => error.fmt(f),
            Self::Ring(error) => error.fmt(f),
            Self::Listen(error) => error.fmt(f),
            Self::PeerPort(error) => error.fmt(f),
            Self::Elections(error) => error.fmt(f),
            Self::DataDir(error) => error.fmt(f),
            Self::Recovery { error, is_member } => match error.remedy(*is_member) {
                Some(remedy) => write!(f, "{error}. {remedy}"),
                None => error.fmt(f),
            },
            Self::Log(error) => error.fmt(f),
            Self::Snapshot(error) => error.fmt(f),
            Self::System { what, error } => write!(f, "{what}: {error}"),
            Self::Executor(Some(error)) => error.fmt(f),
            Self::Executor(None) => f.write_str(
                "an executor has ended by itself: a defect of Ringkeeper; please report it",
            ),
            Self::ThreadPanicked(name) => write!(
                f,
                "the thread {name} has panicked: a defect of Ringkeeper; please report what it \
                 said above. The server does not go on without it"
            ),
        }
    }
}

impl std::error::Error for StartError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::txnlog::Damage;
    use crate::zxid::Zxid;

    #[test]
    fn exit_codes_are_apaches() {
        let file = || "log.1".to_owned();
        let io = || io::Error::from(io::ErrorKind::StorageFull);
        let recovery = |error| StartError::Recovery { error, is_member: true };
        for (error, code) in [
            (StartError::Listen(ListenError::UnknownHost { host: "nowhere".into() }), 2),
            (recovery(RecoveryError::LogInSnapshotDir { file: file() }), 3),
            (recovery(RecoveryError::SnapshotInLogDir { file: file() }), 3),
            (recovery(RecoveryError::LogsOnly { file: file() }), 1),
            (StartError::Executor(Some(ExecutorError::Log(io()))), 10),
            (StartError::Executor(Some(ExecutorError::Io(io()))), 1),
            (StartError::ThreadPanicked("words".into()), 1),
        ] {
            assert_eq!(error.exit() as u8, code, "{error}");
        }
    }

    /// Whoever has a log on its own may give up its end. What a member has acknowledged is counted
    /// on by the others, and it gets everything from them.
    #[test]
    fn a_member_is_not_told_to_cut_its_log() {
        let said = |is_member| {
            let why = Damage::Checksum;
            let (file, last) = ("log.1".to_owned(), Zxid(7));
            let error = RecoveryError::Corrupt { file, offset: 99, last, why };
            StartError::Recovery { error, is_member }.to_string()
        };
        let (of_one, of_member) = (said(false), said(true));
        assert!(of_one.ends_with("ringkeeper tools cut log.1 99"), "{of_one}");
        assert!(of_member.contains("everything from the leader"), "{of_member}");
        assert!(!of_member.contains("tools") && !of_member.contains("backup"), "{of_member}");
    }
}
