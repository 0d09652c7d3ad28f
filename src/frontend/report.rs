//! The figures of a shard for four-letter words and metrics: plain values, put into words
//! elsewhere.

use std::net::SocketAddr;

use crate::watch::{Counts, ListCursor};
use crate::zxid::SessionId;

use super::Frontend;
use super::close_reason::CloseCounts;
use super::connection::{Phase, Tally};
use super::latency::{Latency, LatencySpread};

/// The counts of a shard since its start, or since `srst`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardCounts {
    /// Requests and words received.
    pub received: u64,
    /// Replies sent; events are apart.
    pub sent: u64,
    /// Watch events sent.
    pub events: u64,
    /// Connections closed, by reason.
    pub closed: CloseCounts,
    pub traffic: Traffic,
}

impl ShardCounts {
    /// The latency of all requests.
    pub fn latency(&self) -> Latency {
        let mut all = self.traffic.reads.latency;
        all.merge(&self.traffic.updates.latency);
        all
    }

    /// Adds those of another shard.
    fn merge(&mut self, other: &Self) {
        self.received += other.received;
        self.sent += other.sent;
        self.events += other.events;
        self.closed.merge(&other.closed);
        self.traffic.merge(&other.traffic);
    }
}

/// The traffic between a shard and its clients since its start, or since `srst`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes that clients have sent.
    pub bytes_received: u64,
    /// Bytes of replies.
    pub reply_bytes: u64,
    /// Bytes of watch events.
    pub event_bytes: u64,
    /// Connect requests that could be read.
    pub connect_requests: u64,
    /// Bytes of the last reply, the smallest and the largest, without their length; -1 before the
    /// first.
    pub reply_sizes: ReplySizes,
    /// Latencies of what the shard answers itself.
    pub reads: LatencySpread,
    /// Latencies of what the quorum core answers.
    pub updates: LatencySpread,
}

impl Traffic {
    /// Counts a reply of this many bytes, its length included.
    #[inline]
    pub(super) fn count_reply(&mut self, bytes: usize) {
        self.reply_bytes += bytes as u64;
        self.reply_sizes.add(bytes.saturating_sub(LENGTH_BYTES) as i64);
    }

    /// Adds that of another shard.
    fn merge(&mut self, other: &Self) {
        self.bytes_received += other.bytes_received;
        self.reply_bytes += other.reply_bytes;
        self.event_bytes += other.event_bytes;
        self.connect_requests += other.connect_requests;
        self.reply_sizes.merge(&other.reply_sizes);
        self.reads.merge(&other.reads);
        self.updates.merge(&other.updates);
    }
}

/// Bytes of replies; -1 before the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplySizes {
    /// Of the last one.
    pub last: i64,
    /// Of the smallest.
    pub min: i64,
    /// Of the largest.
    pub max: i64,
}

impl Default for ReplySizes {
    fn default() -> Self {
        Self { last: -1, min: -1, max: -1 }
    }
}

impl ReplySizes {
    #[inline]
    fn add(&mut self, bytes: i64) {
        self.last = bytes;
        self.min = if self.min < 0 { bytes } else { self.min.min(bytes) };
        self.max = self.max.max(bytes);
    }

    fn merge(&mut self, other: &Self) {
        if other.last >= 0 {
            self.min = if self.min < 0 { other.min } else { self.min.min(other.min) };
            self.max = self.max.max(other.max);
            self.last = other.last;
        }
    }
}

/// The length before each frame.
const LENGTH_BYTES: usize = 4;

/// One shard in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardReport {
    /// Open connections, those without a session included.
    pub connections: usize,
    /// Requests that the quorum core has.
    pub outstanding: usize,
    pub counts: ShardCounts,
    pub watches: Counts,
}

impl ShardReport {
    /// Adds the figures of another shard.
    pub fn merge(&mut self, other: &Self) {
        self.connections += other.connections;
        self.outstanding += other.outstanding;
        self.counts.merge(&other.counts);
        self.watches.merge(&other.watches);
    }
}

/// One connection (`cons`, `stat`, `dump`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionReport {
    pub peer: SocketAddr,
    /// 0 without a session.
    pub session: SessionId,
    /// Requests not answered yet.
    pub queued: usize,
    pub received: u64,
    pub sent: u64,
    /// `NA` before the first reply.
    pub last_op: &'static str,
    /// Wall-clock milliseconds.
    pub established_ms: i64,
    /// Milliseconds, 0 without a session.
    pub timeout_ms: i32,
    pub last_xid: i32,
    pub last_zxid: i64,
    /// Monotonic milliseconds.
    pub last_reply_ms: i64,
    pub latency: Latency,
}

/// Watches of the data table for `wchc` and `wchp`: a path and the sessions that watch it, both in
/// order.
pub type WatchReport = Vec<(Box<str>, Vec<SessionId>)>;

impl Frontend {
    /// The shard in numbers.
    pub fn report(&self) -> ShardReport {
        ShardReport {
            connections: self.connections.len(),
            outstanding: self.shard.outstanding,
            counts: self.shard.counts,
            watches: self.shard.watches.counts(),
        }
    }

    /// A piece of the list of connections: those in up to `max` slots from `from` on; and where to
    /// go on, `None` at the end.
    pub fn connections(&self, from: u32, max: u32) -> (Vec<ConnectionReport>, Option<u32>) {
        let (connections, next) = self.connections.range(from, max);
        let open = connections.filter(|connection| connection.phase != Phase::Closed);
        let report = |connection: &super::Connection| {
            let tally = &connection.tally;
            ConnectionReport {
                peer: connection.peer,
                session: connection.session,
                queued: connection.pending.len(),
                received: tally.received,
                sent: tally.sent,
                last_op: tally.last_op.map_or("NA", |op| op.short_name()),
                established_ms: connection.established_ms,
                timeout_ms: connection.timeout_ms,
                last_xid: tally.last_xid,
                last_zxid: tally.last_zxid,
                last_reply_ms: tally.last_reply_ms,
                latency: tally.latency,
            }
        };
        (open.map(report).collect(), next)
    }

    /// A piece of the data table by path (`wchp`; turned around, `wchc`): up to `max` paths and
    /// watches together from `from` on; and where to go on, `None` at the end. A path that very
    /// many watch stands in several pieces.
    pub fn watch_report(
        &mut self,
        from: ListCursor,
        max: usize,
    ) -> (WatchReport, Option<ListCursor>) {
        let (by_path, next) = self.shard.watches.by_path(from, max);
        let mut session_of = |slot| {
            self.connections.at(slot).map_or(SessionId::NONE, |connection| connection.session)
        };
        let named = by_path.into_iter().map(|(path, slots)| {
            let mut sessions: Vec<_> = slots.into_iter().map(&mut session_of).collect();
            sessions.sort_unstable();
            (path, sessions)
        });
        (named.collect(), next)
    }

    /// `srst`.
    pub fn reset_stats(&mut self) {
        self.shard.counts = ShardCounts::default();
    }

    /// `crst`.
    pub fn reset_connection_stats(&mut self) {
        for connection in self.connections.iter_mut() {
            connection.tally = Tally::default();
        }
    }
}
