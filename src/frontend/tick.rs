//! What happens as time goes by: touches are reported, connections that are stuck are closed.

use crate::limits::{TOUCH_REPORTS_PER_TICK, TOUCHES_PER_REPORT};
use crate::tree::Tree;
use crate::zxid::{Now, SessionId};

use super::connection::{Connection, Phase};
use super::{Effect, Frontend, ShardState};

impl Frontend {
    /// To be called several times in a tick. Nothing here walks all connections.
    pub fn on_tick(&mut self, tree: &Tree, now: Now) {
        self.report_touches(now);
        self.close_sessionless(now);
        self.close_slow_readers(now);
        self.on_drained(tree, now);
    }

    /// Tells the quorum core which sessions have been heard of, four times in a tick at most.
    fn report_touches(&mut self, now: Now) {
        if now.mono_ms - self.shard.touches_reported_ms < self.shard.config.tick_ms / TOUCH_REPORTS_PER_TICK {
            return;
        }
        self.shard.touches_reported_ms = now.mono_ms;
        let mut touches: Vec<(SessionId, i64)> = std::mem::take(&mut self.shard.touched_closed);
        let mut touched = std::mem::take(&mut self.shard.touched);
        for conn in touched.drain(..) {
            if let Some(connection) = self.connections.get(conn)
                && connection.touch_listed
            {
                connection.touch_listed = false;
                touches.push((connection.session, connection.touched_ms));
            }
        }
        self.shard.touched = touched;
        let reports = touches.chunks(TOUCHES_PER_REPORT).map(|report| Effect::Touches(report.to_vec()));
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
                self.shard.close(connection);
            }
        }
    }

    /// Closes connections that have had too much to read for a session timeout, and have read nothing of it (B21).
    fn close_slow_readers(&mut self, now: Now) {
        let (connections, shard) = (&mut self.connections, &mut self.shard);
        let mut slow = std::mem::take(&mut shard.slow);
        slow.retain(|conn| {
            let Some(connection) = connections.get(*conn) else { return false };
            if connection.unsent <= shard.config.out_bytes_max || connection.phase == Phase::Closed {
                connection.slow_listed = false;
                return false;
            }
            if std::mem::take(&mut connection.drained) {
                connection.slow_since_ms = now.mono_ms;
            }
            let patience_ms = i64::from(connection.timeout_ms.max(shard.config.session_timeout_ms_min));
            let is_stuck = now.mono_ms - connection.slow_since_ms >= patience_ms;
            if is_stuck {
                shard.stats.slow_readers_closed += 1;
                shard.cut_off(connection);
            }
            !is_stuck
        });
        shard.slow = slow;
    }
}

impl ShardState {
    /// Starts to keep an eye on a connection whose client does not read.
    pub(super) fn watch_slow_reader(&mut self, conn: &mut Connection, now: Now) {
        if !conn.slow_listed {
            conn.slow_listed = true;
            conn.drained = false;
            conn.slow_since_ms = now.mono_ms;
            self.slow.push(conn.id);
        }
    }

    /// Ends a connection whose client would not read its output anyway.
    pub(super) fn cut_off(&mut self, conn: &mut Connection) {
        conn.out = Vec::new();
        self.close(conn);
    }
}
