//! An event of a ring: one completion, decoded.

use std::os::fd::OwnedFd;

use rustix::io::Errno;

use super::buffers::Chunk;
use super::token::Token;

/// One completion. `armed` says whether a multishot operation goes on by itself; where it is false
/// the loop arms it again if it still wants it.
#[derive(Debug)]
pub enum Event {
    /// A connection came in on `listener`. Its socket blocks: a ring needs it so. Ask again for the
    /// next one.
    Accepted { listener: Token, socket: OwnedFd },
    /// Accepting failed (out of descriptors, or the peer had gone already) or was cancelled. Out of
    /// descriptors it would fail again at once, as the connection stays in the backlog: ask again
    /// after a while, not in this turn.
    AcceptFailed { listener: Token, error: Errno },
    /// Bytes arrived, at least one.
    Received { conn: Token, chunk: Chunk, armed: bool },
    /// Receiving has ended and is no longer armed.
    ReceiveStopped { conn: Token, cause: ReceiveStop },
    /// A send has ended: its buffer comes back, with the number of bytes the socket took. Fewer
    /// than were to be sent means that the connection broke in the middle.
    Sent { conn: Token, buffer: Vec<u8>, sent: Result<usize, Errno> },
    /// A flush has ended. After an error the file's unflushed bytes are in doubt and must not be
    /// promised.
    Synced { token: Token, result: Result<(), Errno> },
    /// A polled descriptor has input.
    Readable { token: Token, armed: bool },
    /// A poll has failed or was cancelled.
    PollStopped { token: Token, error: Errno },
    /// A close has failed. Closes that succeed are not reported.
    CloseFailed { token: Token, error: Errno },
}

/// The reason why receiving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiveStop {
    /// The peer closed its side.
    Closed,
    /// Every provided buffer was taken. Nothing is lost: arm again once chunks have been dropped.
    NoBuffers,
    /// The loop cancelled it.
    Cancelled,
    /// The connection failed.
    Failed(Errno),
}
