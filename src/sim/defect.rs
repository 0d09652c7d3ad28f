//! Mistakes that can be switched on, one at a time, to measure what random seeds find. The first
//! ones are those that this layer could make by itself: they live in the simulated shell, between
//! the machines and their world, and production code knows nothing of them. Those from
//! [`Defect::FIRST_MUTANT`] on live inside the machines, where `mutant!` asks for them; only a
//! build with the feature `mutants` has them.

use std::cell::Cell;

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
    /// Recovered entries are served before they are flushed: they may only have been in the page
    /// cache.
    RecoveredNotFlushed,
    /// After a failed flush, a start takes what the page cache holds for what the disk holds.
    CachedPagesTrusted,
    /// The mark that says what is durable is written along with it, so that a crash may leave the
    /// mark alone.
    MarkBeforeFlush,
    /// A start cuts a log, and its tail mark with it, before it puts a new one after the entries.
    CutBeforeMark,
    /// After a start the last zxid is given out again.
    ZxidReused,
    /// An append that does not fit on the disk is taken for written.
    FullDiskIgnored,
    /// A snapshot's nodes are read while the tree goes on, under the zxid of its end.
    SnapshotNotPointInTime,
    /// Logs are purged when the snapshot that replaces them is renamed, its directory entry not
    /// flushed.
    SnapshotPurgeBeforeDirSync,
    /// A snapshot gets its name before its bytes are flushed.
    SnapshotNotFlushed,
    /// Sessions are left out of snapshots: their ephemerals stay for ever.
    SnapshotWithoutSessions,
    /// A shard gets its part of a batch after the readers have been let in again.
    CommitAfterTree,
    /// Of an event and the reply after it, the reply is handed over first.
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
    // In `quorum`:
    /// A proposal is committed when it is appended.
    CommitBeforeFlush,
    /// Entries appended while a flush ran are not flushed after it.
    LateGroupNotFlushed,
    /// A refusal and a sync are answered before the writes ahead of them.
    RefusalOvertakes,
    /// The changes of a failed multi stay in the overlay.
    MultiNotRolledBack,
    /// The overlay forgets a node with the first of several transactions that change it.
    OverlayForgottenEarly,
    /// Two sequential nodes of one multi get the same number.
    SequenceNumberTwice,
    /// A session that ends leaves those of its ephemerals that were still to be made.
    UnbornEphemeralsMissed,
    /// A session expires whose closeSession is prepared and not yet committed.
    ClosingSessionExpires,
    /// After a stall of the quorum core sessions expire that could not be heard of.
    StallNotForgiven,
    /// Commits spend nothing of their budget.
    BudgetNotSpent,
    /// Hard limits of quotas refuse nothing.
    QuotaIgnored,
    /// A session that a client comes back with keeps its timer, and the timeout that it had.
    RenewalKeepsTimer,
    // In `session`:
    /// The end of a session is rounded down to a tick.
    ExpiryRoundedDown,
    /// After a start session ids follow the clock, though it has gone back.
    SessionIdsFollowClock,
    // In `tree`:
    /// The parts of a failed multi that stand before the failure are applied.
    FailedMultiApplied,
    /// A deleted ephemeral stays in its session's list.
    EphemeralNotDisowned,
    /// setACL does not refresh the digest.
    AclOutsideDigest,
    /// A node deleted while a snapshot is taken is not kept for it.
    DeletedNodeNotInSnapshot,
    /// A deletion does not count in the statistics of a quota.
    DeletionOutsideQuota,
    // In `watch`:
    /// The deletion of a node leaves the watch for its children.
    DeletionKeepsChildWatch,
    /// The next connection of the same slot inherits the watches.
    WatchesOutliveConnection,
    // In `frontend`:
    /// A read is answered while a write of its connection is under way.
    ReadOvertakesWrite,
    /// Requests that a closed connection had under way count as outstanding for ever.
    OutstandingNeverFreed,
    /// Of those that wait for the quorum core, some are forgotten.
    ThrottledForgotten,
    /// Touches of open connections are not reported.
    TouchesNotReported,
    /// A connection that is closed takes its last touch along.
    LastTouchLost,
    /// Watchers hear of nodes that they may not read.
    EventIgnoresAcl,
    /// A hold on the tree has no end.
    HoldNotSpent,
    /// setWatches tells of new data where it should tell of new children.
    MissedChildNotTold,
    /// Events count as unread for ever.
    EventsNeverRead,
    /// Frames are refused that are shorter than they may be.
    FrameLimitTooLow,
    /// Large requests count as in process for ever.
    LargeRequestsNeverFreed,
    /// A connection may watch one path more than its limit.
    OneWatchTooMany,
    // In `txnlog`:
    /// The scanner takes an entry whose checksum is wrong.
    ChecksumIgnored,
    /// The scanner does not heed what a tail mark says is durable.
    TailMarkIgnored,
    /// A sector that a crash has lost is taken for damage.
    LostSectorIsDamage,
    /// The scanner takes each sector that ends in a zero for one that a crash has lost.
    ZerosNotCounted,
    /// There is no tail mark where it would reach the end of a sector.
    MarkLeftOut,
}

thread_local! {
    /// The mistake of the world that runs on this thread.
    static SWITCHED_ON: Cell<Option<Defect>> = const { Cell::new(None) };
}

impl Defect {
    /// The first of those that live inside the machines.
    pub const FIRST_MUTANT: Self = Self::CommitBeforeFlush;

    /// Whether it lives inside a machine.
    pub fn is_mutant(self) -> bool {
        self as u8 >= Self::FIRST_MUTANT as u8
    }

    /// Whether the world that runs on this thread has this mistake: what `mutant!` asks.
    pub fn is_on(self) -> bool {
        SWITCHED_ON.get() == Some(self)
    }

    /// Switches one mistake on for all machines of this thread, or all off.
    pub fn switch_on(which: Option<Self>) {
        SWITCHED_ON.set(which);
    }
}
