//! Mistakes that can be switched on, one at a time, to measure what random seeds find. The first
//! ones are those that this layer could make by itself: they live in the simulated shell, between
//! the machines and their world, and production code knows nothing of them. Those from
//! [`Defect::FIRST_MUTANT`] on live inside the machines, where `mutant!` asks for them; only a
//! build with the feature `mutants` has them. Those from [`Defect::FIRST_OF_ENSEMBLE`] on take
//! several servers.

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
    /// Logs are purged when the snapshot that replaces them is renamed, and the directory is flushed
    /// neither before nor after.
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
    // Of ensembles, in `zab` and in the simulated shell around it:
    /// S01: a learner tells the end of what its tree shows, not that of its log.
    ToldFromMemory,
    /// S02: transactions of a synchronization are logged after UPTODATE.
    DiffLoggedLate,
    /// S03: the current epoch is stored before the history that it stands for.
    EpochBeforeHistory,
    /// S04, S05: NEWLEADER is acknowledged before the history is durable.
    NewLeaderAckedBeforeFlush,
    /// NEWLEADER is acknowledged before the current epoch is stored.
    NewLeaderAckedBeforeEpoch,
    /// S07: a proposal is acknowledged before NEWLEADER.
    ProposalAckedEarly,
    /// S09: what a role had to write is written after its end.
    OldRoleWrites,
    /// S10: the committed log of a leader lacks what a synchronization has brought.
    HoleInCommittedLog,
    /// S11: NEWLEADER comes before the history.
    NewLeaderBeforeHistory,
    /// S12: a part of a tree is kept when the connection breaks.
    PartialTreeKept,
    /// S13: after a TRUNC, transactions are in memory and not yet in the log, and count.
    TruncatedMemoryAhead,
    /// S14: a transaction that could not be logged is shown, and counts.
    WriteErrorKeepsMemory,
    /// S15, S17: log files stay that a tree has taken the place of, and are read.
    LogKeptUnderTree,
    /// S16: what is read from the log ends before what is in memory begins.
    GapBetweenLogAndMemory,
    /// S18: a learner that lacks more than the memory has gets what the memory has.
    HistoryMinWrong,
    /// S19: a learner that has more than the leader is not told to cut its log.
    TruncLeftOut,
    /// S20: a truncation that failed is taken for done.
    FailedTruncIgnored,
    /// S21: a leader's tree counts before it is flushed.
    TreeNotFlushed,
    /// S22: a server whose log is of a later epoch than its epoch file does not start.
    EpochFileBehind,
    /// S23: a leader stays when the counter is used up.
    RolloverIgnored,
    /// S24: a proposal does not go to learners that have not acknowledged NEWLEADER.
    JoinerNotProposedTo,
    /// S26: a commit does not go to learners that have not acknowledged NEWLEADER.
    JoinerMissesCommits,
    /// S53: a leader waits for its quorum for ever.
    DiscoveryWithoutEnd,
    /// S55: a leader whose writes fail leads on.
    WriteErrorLeadsOn,
    /// S58: an observer counts in quorums.
    ObserverCounted,
    /// S60: a sync is answered at once.
    SyncWithoutQuorum,
    /// S61: a sync is answered by a lease.
    SyncByLease,
    /// S60: an answer to an old ping counts for the latest.
    PongAnswersLatest,
    /// S77: a server that has lost its data counts as one that had none.
    WipedServerVotes,
    /// A leader counts itself before its flush.
    LeaderCountsUnflushed,
    /// The acknowledgement of NEWLEADER counts for all that was proposed since.
    NewLeaderAckCountsProposals,
    /// A learner acknowledges an epoch before it is stored.
    EpochToldBeforeStored,
    /// A leader offers its epoch before it is stored.
    EpochOfferedBeforeStored,
    /// Half of the voters are a quorum.
    QuorumOfHalf,
    /// A leader does not heed that a voter has a newer history.
    NewerHistoryNotSeen,
    /// A learner that had accepted the epoch already counts again.
    EpochAckCountsTwice,
    /// A leader stays though a voter has accepted a higher epoch.
    HigherEpochIgnored,
    /// Of two votes of one epoch the higher id wins, whatever the zxids.
    IdBeforeZxid,
    /// Of two votes the higher zxid wins, whatever the epochs.
    EpochIgnoredInVotes,
    /// A learner serves clients when it has acknowledged NEWLEADER.
    ServesBeforeUpToDate,
    /// A leader that has lost its quorum leads on.
    LostQuorumLeadsOn,
    /// A learner waits for ever for a leader that is silent.
    SilentLeaderFollowed,
    // Of clients of an ensemble, in `quorum` and `frontend`:
    /// S60: a learner answers a sync without its leader.
    SyncAnsweredLocally,
    /// A leader answers a sync of its own client without a quorum.
    LeaderSyncsAlone,
    /// A leader says of every session that it lives.
    RevalidatesAll,
    /// A learner says of every session that it lives.
    RenewedLocally,
    /// Requests are taken from a server that a session's client has left.
    MovedSessionKept,
    /// A leader does not heed what its learners have heard of.
    LearnerTouchesIgnored,
    /// S76: a client is served by a server that is behind what it has seen.
    FloorIgnored,
    /// Shards do not learn of the end of a role.
    RoleEndNotTold,
    /// What a shard has asked an earlier role for is taken up by a later one.
    OldRequestsTaken,
    /// S59: requests that learners have forwarded overtake each other while a multi is prepared.
    ForwardedReversed,
    /// A leader that is to do nothing but lead takes clients.
    LeaderServesAll,
    /// A follower answers the syncs of its observers itself.
    ObserverSyncedByMaster,
}

thread_local! {
    /// The mistake of the world that runs on this thread.
    static SWITCHED_ON: Cell<Option<Defect>> = const { Cell::new(None) };
}

impl Defect {
    /// The first of those that live inside the machines.
    pub const FIRST_MUTANT: Self = Self::CommitBeforeFlush;

    /// The first of those that take several servers.
    pub const FIRST_OF_ENSEMBLE: Self = Self::ToldFromMemory;

    /// The first of those that take several whole servers and their clients.
    pub const FIRST_OF_SERVERS: Self = Self::SyncAnsweredLocally;

    /// Whether it takes several servers, of which elections and broadcast are enough.
    pub fn is_of_ensemble(self) -> bool {
        self as u8 >= Self::FIRST_OF_ENSEMBLE as u8 && !self.is_of_servers()
    }

    /// Whether it takes several whole servers and their clients.
    pub fn is_of_servers(self) -> bool {
        self as u8 >= Self::FIRST_OF_SERVERS as u8
    }

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
