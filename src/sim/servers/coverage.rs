//! What should happen in these worlds: each kind of fault, what it leads to, and what crashes must
//! interrupt.

use crate::sim::coverage::Wanted;

pub(super) const KILLED: &str = "a server killed";
pub(super) const POWER_LOST: &str = "power lost";
pub(super) const STORM: &str = "many servers killed at once";
pub(super) const CUT_VOTES: &str = "a way cut for votes alone";
pub(super) const CUT_QUORUM: &str = "a way cut for the quorum port alone";
pub(super) const CUT_BOTH: &str = "a way cut for both ports";
pub(super) const CUT_ONE_WAY: &str = "one way cut";
pub(super) const CUT_TWO_WAYS: &str = "both ways cut";
pub(super) const LEADER_LEFT: &str = "a leader left alone without a word";
pub(super) const RESET: &str = "a connection reset";
pub(super) const HALF_OPEN: &str = "a connection half-open";
pub(super) const STALLED: &str = "a server stalled";
pub(super) const CORE_STALLED: &str = "a core stalled";
pub(super) const CLOCK_JUMPED: &str = "a wall clock jumped";
pub(super) const SLOW_DISK: &str = "a slow disk";
pub(super) const SLOW_FLUSH: &str = "a slow flush";
pub(super) const FLUSH_FAILED: &str = "a flush failed";
pub(super) const FULL_DISK: &str = "a disk nearly full";
pub(super) const NO_ROOM: &str = "a log without room";
pub(super) const WIPED: &str = "a disk wiped";
pub(super) const DAMAGED: &str = "a file damaged";
pub(super) const DAMAGE_SEEN: &str = "a start refused, as a file is damaged";
pub(super) const NOT_READ: &str = "a start refused, as a file does not read";
pub(super) const LOG_NOT_READ: &str = "a part of the log for a learner not read";
pub(super) const CLIENT_LEFT: &str = "a client gone";
pub(super) const CLIENT_FLED: &str = "a client moved, with requests under way";
pub(super) const CLIENT_SILENT: &str = "a client silent";
pub(super) const EXPIRED: &str = "a session expired";
pub(super) const MOVED: &str = "a request refused, as its session has moved";
pub(super) const SNAP: &str = "a learner synchronized by SNAP";
pub(super) const TRUNC: &str = "a learner synchronized by TRUNC";
pub(super) const LOG_DIFF: &str = "a DIFF read from the log";
pub(super) const OWN_SNAPSHOT: &str = "a snapshot of its own";
pub(super) const GROUPS: &str = "voters in groups";
pub(super) const OBSERVER_MASTER: &str = "an observer at a follower";
pub(super) const LOCAL: &str = "a session that one server alone knows";
pub(super) const UPGRADED: &str = "a local session that became the ensemble's";
pub(super) const READ_ONLY: &str = "a client that reads without a leader";
pub(super) const ROLLOVER: &str = "an epoch without a zxid left";
pub(super) const QUOTA: &str = "a write refused, as its quota is used up";
pub(super) const LEADER_ALONE: &str = "a client turned away by a leader that only leads";
pub(super) const IDLE: &str = "sessions that live by pings alone";

/// All of it.
pub(in crate::sim) const WANTED: Wanted = Wanted { faults: &FAULTS, interrupted: &INTERRUPTED };

const FAULTS: [&str; 42] = [
    OBSERVER_MASTER,
    LOCAL,
    UPGRADED,
    READ_ONLY,
    ROLLOVER,
    QUOTA,
    LEADER_ALONE,
    KILLED,
    POWER_LOST,
    STORM,
    CUT_VOTES,
    CUT_QUORUM,
    CUT_BOTH,
    CUT_ONE_WAY,
    CUT_TWO_WAYS,
    LEADER_LEFT,
    RESET,
    HALF_OPEN,
    STALLED,
    CORE_STALLED,
    CLOCK_JUMPED,
    SLOW_DISK,
    SLOW_FLUSH,
    FLUSH_FAILED,
    FULL_DISK,
    NO_ROOM,
    WIPED,
    DAMAGED,
    DAMAGE_SEEN,
    NOT_READ,
    LOG_NOT_READ,
    CLIENT_LEFT,
    CLIENT_FLED,
    CLIENT_SILENT,
    EXPIRED,
    MOVED,
    SNAP,
    TRUNC,
    LOG_DIFF,
    OWN_SNAPSHOT,
    GROUPS,
    IDLE,
];

/// What a server is at, by its role and how far that has come; then what its disk is writing.
const INTERRUPTED: [&str; 18] = [
    "a start",
    "Looking Election",
    "Leading Discovery",
    "Leading Synchronization",
    "Leading Broadcast",
    "Following Discovery",
    "Following Synchronization",
    "Following Broadcast",
    "Observing Discovery",
    "Observing Synchronization",
    "Observing Broadcast",
    "a flush",
    "a snapshot",
    "storing the accepted epoch",
    "storing the current epoch",
    "a truncation",
    "storing a tree",
    "putting a tree in place",
];
