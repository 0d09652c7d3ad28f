//! The work that time brings: touches are reported, connections that are stuck are closed.

use crate::limits::{TOUCH_REPORTS_PER_TICK, TOUCHES_PER_REPORT};
use crate::zxid::{Now, SessionId};

use super::close_reason::CloseReason;
use super::connection::{Phase, Wait};
use super::{Effect, Frontend};

impl Frontend {
    /// To be called several times in a tick. Nothing here walks all connections.
    pub fn on_tick(&mut self, now: Now) {
        self.close_sessionless(now);
        self.close_slow_readers(now);
        self.report_touches(now);
    }

    /// Tells the quorum core which sessions have been heard of, four times in a tick at most.
    fn report_touches(&mut self, now: Now) {
        if now.mono_ms - self.shard.touches_reported_ms
            < self.shard.config.tick_ms / TOUCH_REPORTS_PER_TICK
        {
            return;
        }
        self.shard.touches_reported_ms = now.mono_ms;
        let mut touches: Vec<(SessionId, i64)> = std::mem::take(&mut self.shard.touched_closed);
        while let Some(connection) = self.shard.touched.pop(&mut self.connections) {
            // Those of closed connections stand in `touched_closed`.
            if connection.phase != Phase::Closed && !mutant!(TouchesNotReported) {
                touches.push((connection.session, connection.touched_ms));
            }
        }
        let reports =
            touches.chunks(TOUCHES_PER_REPORT).map(|report| Effect::Touches(report.to_vec()));
        self.shard.effects.extend(reports);
    }

    /// Closes what has been accepted long ago and has no session yet, whatever bytes it drips.
    fn close_sessionless(&mut self, now: Now) {
        while let Some((conn, deadline_ms)) = self.shard.sessionless.front().copied() {
            if deadline_ms > now.mono_ms {
                break;
            }
            self.shard.sessionless.pop_front();
            if let Some(connection) = self.connections.get(conn)
                && matches!(connection.phase, Phase::Fresh | Phase::Connecting)
            {
                self.shard.stats.sessionless_expired += 1;
                self.shard.close(connection, CloseReason::NoSession);
            }
        }
    }

    /// Closes connections that have had too much to read for a session timeout, and have read
    /// nothing of it (B21).
    fn close_slow_readers(&mut self, now: Now) {
        let (connections, shard) = (&mut self.connections, &mut self.shard);
        for _ in 0..shard.slow.len() {
            let Some(connection) = shard.slow.pop(connections) else { break };
            if connection.wait != Some(Wait::Reader) || connection.phase == Phase::Closed {
                continue;
            }
            if std::mem::take(&mut connection.drained) {
                connection.slow_since_ms = now.mono_ms;
                // It lives, though its pings may wait unread.
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
