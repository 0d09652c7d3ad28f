//! Mistakes that can be switched on, one at a time, to measure what random seeds find. Each is one that this layer could
//! make by itself: it lives in the simulated shell, between the machines and their world, and production code knows
//! nothing of it.

use clap::ValueEnum;

/// One mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Defect {
    /// A flush is reported when it begins.
    AckBeforeFlush,
    /// A failed flush is taken for a good one.
    FlushFailureIgnored,
    /// A failed flush is tried again, and believed the second time.
    FlushRetried,
    /// The directory is not flushed when a log file gets its name.
    LostDirectoryEntry,
    /// When the log goes on in a new file, the end of the old one is not flushed.
    RollWithoutFlush,
    /// Replay takes a torn last entry for whole.
    TornTailAccepted,
    /// What is recovered is served before it is flushed: it may only have been in the page cache.
    RecoveredNotFlushed,
    /// After a failed flush, a start takes what the page cache holds for what the disk holds.
    CachedPagesTrusted,
    /// The mark that says what is durable is written along with it, so that a crash may leave the mark alone.
    MarkBeforeFlush,
    /// After a start the last zxid is given out again.
    ZxidReused,
    /// An append that does not fit on the disk is taken for written.
    FullDiskIgnored,
    /// A snapshot's nodes are read while the tree goes on, under the zxid of its end.
    SnapshotNotPointInTime,
    /// Logs are purged when the snapshot that replaces them is renamed, its directory entry not flushed.
    SnapshotPurgeBeforeDirSync,
    /// A snapshot gets its name before its bytes are flushed.
    SnapshotNotFlushed,
    /// Sessions are left out of snapshots: their ephemerals stay for ever.
    SnapshotWithoutSessions,
    /// A shard gets its part of a batch after the readers have been let in again.
    CommitAfterTree,
    /// Of an event and the reply behind it, the reply is handed over first.
    EventAfterReply,
    /// Now and then an event does not reach its shard.
    LostEvent,
    /// Now and then an event reaches its shard twice.
    EventTwice,
    /// Requests are not held back while the shard's queue has answers in it.
    ReadBeforeDrain,
    /// Two replies of one connection change places.
    ReplyReorder,
    /// The end of a session does not reach its shard.
    SessionOutlivesClose,
    /// Every session that a client comes back with is renewed.
    RenewUnknownSession,
    /// Touches are lost on the way to the quorum core.
    ExpiredEarly,
    /// The quorum core is not told that time passes.
    NeverExpired,
    /// Sessions go by the wall clock.
    WallClockExpiry,
    /// A request of a connection reaches the quorum core twice.
    RequestTwice,
}
