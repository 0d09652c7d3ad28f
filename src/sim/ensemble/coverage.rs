//! What should happen in these worlds: each kind of fault, and what crashes must interrupt.

use crate::sim::coverage::Wanted;

pub(super) use crate::sim::coverage::Coverage;

pub(super) const KILLED: &str = "a server killed";
pub(super) const POWER_LOST: &str = "power lost";
pub(super) const KILLED_BETWEEN: &str = "a server killed between two effects";
pub(super) const STORM: &str = "all servers killed within moments";
pub(super) const CUT_VOTES: &str = "a way cut for votes alone";
pub(super) const CUT_QUORUM: &str = "a way cut for the quorum port alone";
pub(super) const CUT_BOTH: &str = "a way cut for both ports";
pub(super) const CUT_ONE_WAY: &str = "one way cut";
pub(super) const CUT_TWO_WAYS: &str = "both ways cut";
pub(super) const RESET: &str = "a connection reset";
pub(super) const HALF_OPEN: &str = "a connection half-open";
pub(super) const STALLED: &str = "a server stalled";
pub(super) const WIPED: &str = "a disk wiped";
pub(super) const DAMAGED: &str = "a log damaged";
pub(super) const WRITE_FAILED: &str = "a write failed";
pub(super) const TRUNCATION_FAILED: &str = "a truncation failed";
pub(super) const TREE_NOT_STORED: &str = "a tree not stored";
pub(super) const SLOW_FLUSH: &str = "a slow flush";
pub(super) const OWN_SNAPSHOT: &str = "a snapshot, and a shorter log";
pub(super) const COUNTER_USED_UP: &str = "the counter of an epoch used up";
pub(super) const SNAP: &str = "a learner synchronized by SNAP";
pub(super) const TRUNC: &str = "a learner synchronized by TRUNC";
pub(super) const LOG_DIFF: &str = "a DIFF read from the log";

/// All of it.
pub(in crate::sim) const WANTED: Wanted = Wanted { faults: &FAULTS, interrupted: &INTERRUPTED };

const FAULTS: [&str; 23] = [
    KILLED,
    POWER_LOST,
    KILLED_BETWEEN,
    STORM,
    CUT_VOTES,
    CUT_QUORUM,
    CUT_BOTH,
    CUT_ONE_WAY,
    CUT_TWO_WAYS,
    RESET,
    HALF_OPEN,
    STALLED,
    WIPED,
    DAMAGED,
    WRITE_FAILED,
    TRUNCATION_FAILED,
    TREE_NOT_STORED,
    SLOW_FLUSH,
    OWN_SNAPSHOT,
    COUNTER_USED_UP,
    SNAP,
    TRUNC,
    LOG_DIFF,
];

const INTERRUPTED: [&str; 25] = [
    "the end of a role",
    "LOOKING",
    "dialing",
    "leader Epochs",
    "leader StoringAccepted",
    "leader EpochAcks",
    "leader StoringCurrent",
    "leader NewLeader",
    "leader Broadcast",
    "learner Discovery",
    "learner StoringAccepted",
    "learner Accepted",
    "learner Truncating",
    "learner Loading",
    "learner StoringTree",
    "learner Syncing",
    "learner Persisting",
    "learner StoringCurrent",
    "learner HasHistory",
    "learner Serving",
    "a flush",
    "storing the accepted epoch",
    "storing the current epoch",
    "a truncation",
    "storing a tree",
];
