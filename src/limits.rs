//! Every bound and default in one place, related to each other by const asserts. Values only.

/// `jute.maxbuffer`: the longest request frame in bytes; a frame of exactly this size is accepted.
pub(crate) const FRAME_BYTES_MAX: usize = 0xf_ffff;

/// `jute.maxbuffer` + `jute.maxbuffer.extrasize`: the longest string or buffer that Apache reads
/// back from a log.
pub(crate) const RECORD_BYTES_MAX: usize = 2 * FRAME_BYTES_MAX;

/// `tickTime` of the sample configuration, in milliseconds.
pub(crate) const TICK_MS: i64 = 2000;

/// The session timeout range, in ticks.
pub(crate) const SESSION_TIMEOUT_TICKS_MIN: i64 = 2;
/// See [`SESSION_TIMEOUT_TICKS_MIN`].
pub(crate) const SESSION_TIMEOUT_TICKS_MAX: i64 = 20;

/// Queued reply bytes of one connection above which its requests are no longer read (B21); one
/// reply may exceed it.
pub(crate) const CONNECTION_OUT_BYTES_MAX: usize = 8 << 20;

/// The longest reply to one read, in bytes (B22): a list of children or the entries of a multiRead
/// that would be longer answer MARSHALLINGERROR (-5).
pub(crate) const REPLY_BYTES_MAX: usize = 256 << 20;

/// The longest session, list or node that is read from a snapshot, in bytes: as long as the longest
/// reply, which no node that a client can read exceeds.
pub(crate) const SNAPSHOT_PART_BYTES_MAX: usize = REPLY_BYTES_MAX;

/// Distinct ids that one connection may prove with `addauth` (B18).
pub(crate) const AUTH_IDS_MAX: usize = 1024;
/// Bytes of those ids (B18).
pub(crate) const AUTH_BYTES_MAX: usize = 64 << 10;

/// `globalOutstandingLimit` where it is not set: requests in process above which a server stops
/// reading from its clients. Apache's is 1000, as nothing else bounds the memory of its requests;
/// here their bytes have bounds of their own, below. So it may be as many as fit the queue to the
/// quorum core: with fewer than clients have under way, all of them are in one group, and the disk
/// and the processor wait for each other.
pub(crate) const OUTSTANDING_REQUESTS_MAX: usize = 4000;

/// Bytes of requests in process above which a connection's next write waits; one request may exceed
/// it. A multi counts [`MULTI_WEIGHT`] times. So whoever writes beside waits for no more of another
/// client's work than this.
pub(crate) const CONNECTION_OUTSTANDING_BYTES_MAX: usize = 1 << 20;
/// The same for all connections of a shard together.
pub(crate) const SHARD_OUTSTANDING_BYTES_MAX: usize = 16 << 20;
/// Bytes that a request counts beside its record.
pub(crate) const REQUEST_BYTES_BESIDE: usize = 256;
/// A byte of a multi is as much work as this many of another request: it may be thousands of
/// operations.
pub(crate) const MULTI_WEIGHT: usize = 8;

/// Bytes that a leader's transaction takes in the memory of a learner beside its record.
pub(crate) const PROPOSAL_BYTES_BESIDE: usize = 512;
/// `globalOutstandingLimit` of Apache's server where it is not set: the requests that each server may
/// have in process, beside one of each connection.
pub(crate) const APACHE_OUTSTANDING_REQUESTS: usize = 1000;
/// Bytes of a leader's transactions that a learner holds until it may apply them (B32): what three
/// servers with Apache's limits may have in process, each request as long as a record can be.
pub(crate) const PROPOSAL_BYTES_MAX: u64 =
    3 * APACHE_OUTSTANDING_REQUESTS as u64 * RECORD_BYTES_MAX as u64;

/// The time that a connection may live without a session (B2); bytes do not extend it.
pub(crate) const SESSIONLESS_MS_MAX: i64 = 20_000;

/// `maxClientCnxns`: connections of one source address.
pub(crate) const CONNECTIONS_PER_ADDRESS_MAX: u32 = 60;

/// The largest TTL of a node in milliseconds (40 bits).
pub(crate) const TTL_MS_MAX: i64 = (1 << 40) - 1;

/// Messages in one hand-off queue between a shard and the quorum core.
pub(crate) const HANDOFF_QUEUE_MAX: usize = 4096;

/// The number of times in a tick at which a shard reports the sessions that it has heard of. The
/// quorum core gives every session this part of a tick more than its timeout, so both sides must
/// mean the same number.
pub(crate) const TOUCH_REPORTS_PER_TICK: i64 = 4;
/// Sessions in one such report.
pub(crate) const TOUCHES_PER_REPORT: usize = 512;
/// Reports in the queue between a shard and the quorum core.
pub(crate) const TOUCH_REPORTS_MAX: usize = 2048;

/// `snapCount`: transactions after which a snapshot is due (half of it, plus a random half).
pub(crate) const SNAP_COUNT: u64 = 100_000;

/// `preAllocSize`: bytes by which a log file grows ahead of its end.
pub(crate) const LOG_PREALLOC_BYTES: u64 = 64 << 20;

const _: () = assert!(
    OUTSTANDING_REQUESTS_MAX < HANDOFF_QUEUE_MAX,
    "what one shard may have in process fits its queue"
);
const _: () = assert!(
    FRAME_BYTES_MAX < CONNECTION_OUT_BYTES_MAX,
    "a full-size reply must fit the out budget"
);
const _: () = assert!(
    OUTSTANDING_REQUESTS_MAX * REQUEST_BYTES_BESIDE <= CONNECTION_OUTSTANDING_BYTES_MAX,
    "the bytes beside small requests do not take up what one connection may have"
);
const _: () = assert!(
    CONNECTION_OUTSTANDING_BYTES_MAX < SHARD_OUTSTANDING_BYTES_MAX,
    "one connection does not use up what its shard has"
);
const _: () = assert!(
    PROPOSAL_BYTES_MAX > OUTSTANDING_REQUESTS_MAX as u64 * PROPOSAL_BYTES_BESIDE as u64
        && PROPOSAL_BYTES_MAX > SHARD_OUTSTANDING_BYTES_MAX as u64 * 32,
    "a leader of Ringkeeper never has so much in process"
);
const _: () = assert!(
    RECORD_BYTES_MAX as u64 <= LOG_PREALLOC_BYTES / 8,
    "one record must fit a preallocated stretch"
);
const _: () = assert!(SESSION_TIMEOUT_TICKS_MIN < SESSION_TIMEOUT_TICKS_MAX);
const _: () =
    assert!(TOUCH_REPORTS_PER_TICK > 1, "a report must come well within what expiry rounds up");
