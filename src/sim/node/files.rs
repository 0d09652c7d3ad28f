//! The log and the snapshots of the server: entries that are appended, steps of a flush, the room
//! that is left.

use bytes::Bytes;

use crate::txnlog::LogEvent;
use crate::zxid::Zxid;

use super::super::disk::DiskError;
use super::super::property::{Checked, hold};
use super::super::snap::Snap;
use super::super::store::RECORD_BYTES_MAX;
use super::{Node, Out, TurnContext};

impl Node {
    pub(super) fn append(
        &mut self,
        bytes: Bytes,
        last: Zxid,
        turn: &mut TurnContext<'_>,
    ) -> Checked {
        let len = bytes.len();
        let done = self.store.append(turn.disk, bytes, last);
        hold!(
            done.is_ok(),
            Shell,
            "an append of {len} bytes, which were promised to fit: {done:?}"
        );
        self.want_steps(turn);
        Ok(())
    }

    /// Opens the log, as the first thing that a server does.
    pub(crate) fn open_log(&mut self, turn: &mut TurnContext<'_>) -> Result<(), DiskError> {
        self.store.open(turn.disk, turn.rng)?;
        self.set_room(turn);
        Ok(())
    }

    /// Tells the quorum core how much the log can take, and the judge whether that is nothing.
    pub(super) fn set_room(&mut self, turn: &mut TurnContext<'_>) {
        let is_away = self.member.as_ref().is_some_and(|member| member.log_is_away());
        if is_away {
            // Nothing is appended while the log is being cut.
            self.stalled = true;
            turn.check.slow_now();
            return;
        }
        let room = self.store.room(self.quorum.pending_bytes());
        // The next file is on its way: requests wait for it. Only a full disk refuses.
        self.stalled = room < 2 * RECORD_BYTES_MAX as u64 && !self.store.is_full();
        turn.check.on_room(room >= ROOM_WANTED);
        if self.stalled {
            turn.check.slow_now();
        }
        self.quorum.on_log_room(room);
        self.want_steps(turn);
    }

    fn want_steps(&mut self, turn: &mut TurnContext<'_>) {
        if !self.stepping && self.store.has_work() {
            self.stepping = true;
            turn.out.push(Out::FlushBegun);
        }
    }

    /// Hears what the log has to say.
    pub(super) fn log_events(&mut self, turn: &mut TurnContext<'_>) {
        while let Some(event) = self.store.poll() {
            turn.trace.say(format_args!("log: {event:?}"));
            match event {
                LogEvent::Durable(durable) => {
                    if !self.store.has_lied() {
                        turn.check.on_durable(durable.get());
                    }
                    self.quorum.on_flushed(durable);
                }
                LogEvent::Failed => {
                    self.quorum.on_flush_failed();
                    self.failed = true;
                }
                LogEvent::Room | LogEvent::NoSpare => {}
            }
            turn.out.push(Out::WakeQuorum);
        }
        self.want_steps(turn);
    }

    pub(super) fn begin_snapshot(&mut self, turn: &mut TurnContext<'_>) {
        let is_away = self.member.as_ref().is_some_and(|member| member.log_is_away());
        if self.snap.is_none() && !is_away {
            self.snapshots_wanted += 1;
            turn.trace.say(format_args!("snapshot of {}", self.tree.last_zxid()));
            self.snap = Some(Snap::begin(&mut self.tree, self.codec, self.defect));
            turn.out.push(Out::SnapshotBegun);
        }
    }

    /// The next step of what the log's files are at. True when there are more.
    pub(crate) fn flush_step(
        &mut self,
        fails: bool,
        turn: &mut TurnContext<'_>,
    ) -> Result<bool, DiskError> {
        self.store.step(turn.disk, fails, turn.rng)?;
        self.stepping = self.store.has_work();
        let more = self.stepping;
        self.log_events(turn);
        Ok(more)
    }

    /// The next step of the snapshot under way. True when there are more.
    pub(crate) fn snap_step(&mut self, turn: &mut TurnContext<'_>) -> Result<bool, DiskError> {
        let Some(mut snap) = self.snap.take() else { return Ok(false) };
        let log = self.store.current_name().map(str::to_owned);
        let committed = self.member.as_ref().map_or(Zxid::MAX, |member| member.committed());
        match snap.step(&mut self.tree, turn.disk, log.as_deref(), committed) {
            Ok(true) => self.snap = Some(snap),
            Ok(false) => turn.trace.say(format_args!("snapshot done")),
            Err(DiskError::Stopped) => return Err(DiskError::Stopped),
            Err(error) => {
                turn.trace.say(format_args!("snapshot given up: {error:?}"));
                snap.give_up(&mut self.tree, turn.disk)?;
            }
        }
        Ok(self.snap.is_some())
    }
}

/// Below this room the quorum core refuses writes.
const ROOM_WANTED: u64 = RECORD_BYTES_MAX as u64 + 1024;
