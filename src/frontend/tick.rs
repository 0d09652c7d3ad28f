//! The work that time brings: touches are reported, connections that are stuck are closed. A tick
//! says how much is due; it is done a part in each turn.

use crate::limits::{TOUCH_REPORTS_PER_TICK, TOUCHES_PER_REPORT};
use crate::zxid::{Now, SessionId};

use super::close_reason::CloseReason;
use super::connection::{Phase, Wait};
use super::{Effect, Frontend};

/// Entries at the heads of the shard's lists that the last tick has found due.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Due {
    /// Of the sessions that have been heard of.
    touched: usize,
    touched_closed: usize,
    /// Of the readers to be looked at.
    slow: usize,
    /// Whether a connection without a session may have used up its time.
    sessionless: bool,
}

impl Due {
    /// Whether there is any.
    pub(super) fn is_any(&self) -> bool {
        self.touched > 0 || self.touched_closed > 0 || self.slow > 0 || self.sessionless
    }
}

impl Frontend {
    /// To be called several times in a tick. Nothing here walks all connections, and what is due
    /// goes on in the next turns if it is much.
    pub fn on_tick(&mut self, now: Now) {
        self.shard.due.slow = self.shard.slow.len();
        self.shard.due.sessionless = true;
        self.close_stuck(now);
        let shard = &mut self.shard;
        // Touches are reported four times in a tick at most.
        let interval_ms = shard.config.tick_ms / TOUCH_REPORTS_PER_TICK;
        if now.mono_ms - shard.touches_reported_ms >= interval_ms {
            shard.touches_reported_ms = now.mono_ms;
            shard.due.touched = shard.touched.len();
            shard.due.touched_closed = shard.touched_closed.len();
        }
        self.report_touches();
    }

    /// Does a part of what is due.
    pub(super) fn go_on_ticking(&mut self, now: Now) {
        if self.shard.due.is_any() {
            self.close_stuck(now);
            self.report_touches();
        }
    }

    fn close_stuck(&mut self, now: Now) {
        self.close_sessionless(now);
        self.close_slow_readers(now);
    }

    /// Tells the quorum core which sessions have been heard of.
    fn report_touches(&mut self) {
        let Self { connections, shard } = self;
        let closed = shard.due.touched_closed.min(TOUCHES_PER_TURN);
        shard.due.touched_closed -= closed;
        let mut touches: Vec<(SessionId, i64)> = shard.touched_closed.drain(..closed).collect();
        let heard = shard.due.touched.min(TOUCHES_PER_TURN);
        shard.due.touched -= heard;
        for _ in 0..heard {
            let Some(connection) = shard.touched.pop(connections) else { break };
            // Those of closed connections stand in `touched_closed`.
            if connection.phase != Phase::Closed && !mutant!(TouchesNotReported) {
                touches.push((connection.session, connection.touched_ms));
            }
        }
        let reports =
            touches.chunks(TOUCHES_PER_REPORT).map(|report| Effect::Touches(report.to_vec()));
        shard.effects.extend(reports);
    }

    /// Closes connections that were accepted long ago and have no session yet, whatever they have
    /// sent.
    fn close_sessionless(&mut self, now: Now) {
        for _ in 0..CLOSES_PER_TURN {
            match self.shard.sessionless.front().copied() {
                Some((conn, deadline_ms)) if deadline_ms <= now.mono_ms => {
                    self.shard.sessionless.pop_front();
                    if let Some(connection) = self.connections.get(conn)
                        && matches!(connection.phase, Phase::Fresh | Phase::Connecting)
                    {
                        self.shard.close(connection, CloseReason::NoSession);
                    }
                }
                _ => {
                    self.shard.due.sessionless = false;
                    return;
                }
            }
        }
    }

    /// Closes connections that have had too much to read for a session timeout, and have read
    /// nothing of it (B21).
    fn close_slow_readers(&mut self, now: Now) {
        let (connections, shard) = (&mut self.connections, &mut self.shard);
        let looked_at = shard.due.slow.min(CLOSES_PER_TURN);
        shard.due.slow -= looked_at;
        for _ in 0..looked_at {
            let Some(connection) = shard.slow.pop(connections) else { break };
            if connection.wait != Some(Wait::Reader) || connection.phase == Phase::Closed {
                continue;
            }
            if std::mem::take(&mut connection.drained) {
                connection.slow_since_ms = now.mono_ms;
                // Its client is alive, though its pings may wait unread.
                connection.touched_ms = now.mono_ms;
                shard.touched.push(connection);
            }
            let patience_ms =
                i64::from(connection.timeout_ms.max(shard.config.session_timeout_ms_min));
            if now.mono_ms - connection.slow_since_ms >= patience_ms {
                shard.cut_off(connection);
            } else {
                shard.slow.push(connection);
            }
        }
    }
}

/// Touches reported in one turn.
const TOUCHES_PER_TURN: usize = 4 * TOUCHES_PER_REPORT;
/// Connections looked at in one turn, to be closed if they are stuck.
const CLOSES_PER_TURN: usize = 256;
