//! The reasons why connections are closed.

use std::fmt;

/// The reason why the frontend ends a connection. Logged at debug level and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// A frame that does not decode as what it must be.
    Malformed,
    /// A frame whose length is not positive, or above `jute.maxbuffer`.
    FrameLength,
    /// An operation that clients do not have.
    Unimplemented,
    /// `addauth` failed, or proved more than one connection may.
    AuthFailed,
    /// A scheme that `enforce.auth.schemes` demands has not been proven.
    AuthRequired,
    /// Too many bytes of large requests in process.
    LargeRequests,
    /// More watches than one connection may have.
    WatchLimit,
    /// The client has seen a zxid that this server has not.
    ClientAhead,
    /// The password is not the session's.
    WrongPassword,
    /// Too many wrong passwords have come from its address.
    PasswordLimit,
    /// No session was made in time.
    NoSession,
    /// Too many new sessions wait for room in the log.
    NoRoom,
    /// Its session has ended: closed by its client, or expired.
    SessionEnded,
    /// Its session goes on with another connection.
    SessionMoved,
    /// Its client does not read what it has asked for, or watches for.
    SlowReader,
    /// Its client has ended it.
    ClientEnded,
    /// Its four-letter word is answered.
    WordAnswered,
    /// The server stops.
    Stopping,
    /// The server has no role in its ensemble, or has lost the one that it had.
    NotServing,
    /// The server has no leader and answers reads alone, which its client has not asked for.
    WantsToWrite,
    /// The server has no leader, without which a session of the ensemble neither begins nor goes on.
    NeedsLeader,
}

impl CloseReason {
    /// Every reason, in the order of the counters.
    pub const ALL: [Self; 21] = [
        Self::Malformed,
        Self::FrameLength,
        Self::Unimplemented,
        Self::AuthFailed,
        Self::AuthRequired,
        Self::LargeRequests,
        Self::WatchLimit,
        Self::ClientAhead,
        Self::WrongPassword,
        Self::PasswordLimit,
        Self::NoSession,
        Self::NoRoom,
        Self::SessionEnded,
        Self::SessionMoved,
        Self::SlowReader,
        Self::ClientEnded,
        Self::WordAnswered,
        Self::Stopping,
        Self::NotServing,
        Self::WantsToWrite,
        Self::NeedsLeader,
    ];
}

impl CloseReason {
    /// Whether an operator wants to know: its client, or what was asked for, is not as it must be.
    pub fn is_trouble(self) -> bool {
        match self {
            Self::Malformed
            | Self::FrameLength
            | Self::Unimplemented
            | Self::AuthFailed
            | Self::AuthRequired
            | Self::LargeRequests
            | Self::WatchLimit
            | Self::ClientAhead
            | Self::WrongPassword
            | Self::PasswordLimit
            | Self::NoRoom
            | Self::SlowReader => true,
            Self::NoSession
            | Self::SessionEnded
            | Self::SessionMoved
            | Self::ClientEnded
            | Self::WordAnswered
            | Self::Stopping
            | Self::NotServing
            | Self::WantsToWrite
            | Self::NeedsLeader => false,
        }
    }

    /// Its name in `mntr`, after `ringkeeper_closed_`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::FrameLength => "frame_length",
            Self::Unimplemented => "unimplemented",
            Self::AuthFailed => "auth_failed",
            Self::AuthRequired => "auth_required",
            Self::LargeRequests => "large_requests",
            Self::WatchLimit => "watch_limit",
            Self::ClientAhead => "client_ahead",
            Self::WrongPassword => "wrong_password",
            Self::PasswordLimit => "password_limit",
            Self::NoSession => "no_session",
            Self::NoRoom => "no_room",
            Self::SessionEnded => "session_ended",
            Self::SessionMoved => "session_moved",
            Self::SlowReader => "slow_reader",
            Self::ClientEnded => "client_ended",
            Self::WordAnswered => "word_answered",
            Self::Stopping => "stopping",
            Self::NotServing => "not_serving",
            Self::WantsToWrite => "wants_to_write",
            Self::NeedsLeader => "needs_leader",
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "a frame is malformed",
            Self::FrameLength => "a frame is not as long as frames may be (jute.maxbuffer)",
            Self::Unimplemented => "an operation is not one of clients",
            Self::AuthFailed => "its authentication failed",
            Self::AuthRequired => "a demanded scheme is not proven (enforce.auth.schemes)",
            Self::LargeRequests => "too many large requests in process (largeRequestMaxBytes)",
            Self::WatchLimit => "it would have more watches than a connection may",
            Self::ClientAhead => "its client has seen a zxid that this server has not",
            Self::WrongPassword => "the password is not the session's",
            Self::PasswordLimit => "too many wrong passwords from its address",
            Self::NoSession => "it made no session in time",
            Self::NoRoom => "too many new sessions wait for room in the log",
            Self::SessionEnded => "its session has ended",
            Self::SessionMoved => "its session goes on with another connection",
            Self::SlowReader => "its client does not read",
            Self::ClientEnded => "its client ended it",
            Self::WordAnswered => "its four-letter word is answered",
            Self::Stopping => "the server stops",
            Self::NotServing => "the server has no role in its ensemble",
            Self::WantsToWrite => {
                "the server has no leader, and its client does not ask for read-only mode"
            }
            Self::NeedsLeader => {
                "the server has no leader, which its session needs (localSessionsEnabled)"
            }
        })
    }
}

/// The number of connections that were closed, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CloseCounts([u64; CloseReason::ALL.len()]);

impl CloseCounts {
    /// The number that were closed for this reason.
    pub fn of(&self, why: CloseReason) -> u64 {
        self.0[why as usize]
    }

    /// Adds those of another shard.
    pub(super) fn merge(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(count, more)| *count += more);
    }

    /// Counts one more.
    pub fn add(&mut self, why: CloseReason) {
        self.0[why as usize] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_counter_and_a_sentence_of_its_own() {
        let mut counts = CloseCounts::default();
        for (index, why) in CloseReason::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, index);
            counts.add(why);
            assert_eq!(counts.of(why), 1);
        }
        let sentences: std::collections::BTreeSet<String> =
            CloseReason::ALL.iter().map(ToString::to_string).collect();
        assert_eq!(sentences.len(), CloseReason::ALL.len());
    }
}
