//! Messages that come back from the quorum core: replies in order, sessions, and events for the
//! watches.

use std::sync::Arc;

use crate::codes::{ErrorCode, OpCode};
use crate::handoff::{BatchItem, Event, Reply, ReplyBody, ToShard};
use crate::jute::Writer;
use crate::proto::{begin_reply, write_event};
use crate::tree::Tree;
use crate::zxid::Now;

use super::Frontend;
use super::close_reason::CloseReason;
use super::connection::{Phase, Wait};
use super::fanout::{FANOUTS_MAX, Fanout, TOLD_AT_ONCE_MAX};
use super::hold::{ANNOUNCEMENT, DRAIN_WORK, LOOKUP, REQUEST, Work, bytes_work};

impl Frontend {
    /// A message of the quorum core. A batch is acted on in [`Self::act_on_batch`].
    pub(super) fn on_message(&mut self, message: ToShard, tree: &Tree, now: Now) {
        // While nobody is served another tree may take the place of this one.
        debug_assert!(
            !self.shard.service.is_on() || tree.last_zxid() >= message_zxid(&message),
            "a batch is shown before or with its messages"
        );
        assert!(self.shard.batch.is_none(), "one batch after the other");
        match message {
            // After the end of a role the next one may apply what is in this server's log and may
            // never be committed: those whom the last role served hear nothing of it.
            ToShard::Commit(_) if !self.shard.service.is_on() => {}
            ToShard::Commit(commit) => self.shard.batch = Some(commit.items.into_iter()),
            ToShard::Renewed { origin, session, timeout_ms, valid } => {
                self.on_renewed(origin, session, timeout_ms, valid, now);
            }
            ToShard::NotOpened { origin, why } => self.on_not_opened(origin, why),
            ToShard::Serving { generation, read_only } => self.on_serving(generation, read_only),
            ToShard::NotServing => self.on_not_serving(),
        }
    }

    /// Acts on the batch at hand until it ends, or the work that is left of [`DRAIN_WORK`] is done,
    /// or `in_time` says that there is no time for it: then none is left.
    pub(super) fn act_on_batch(
        &mut self,
        now: Now,
        left: &mut Work,
        in_time: &mut impl FnMut(Work) -> bool,
    ) {
        let Some(mut batch) = self.shard.batch.take() else { return };
        while *left > 0 {
            if self.shard.fanouts.len() >= FANOUTS_MAX {
                self.shard.fan_out(&mut self.connections, left);
                continue;
            }
            let Some(item) = batch.next() else { return };
            let work = match item {
                BatchItem::Event(event) => self.on_event(&event),
                BatchItem::Reply(reply) => self.on_reply(reply, now),
                BatchItem::SessionOpened { origin, session, timeout_ms } => {
                    self.on_session_opened(origin, session, timeout_ms, now);
                    ANNOUNCEMENT
                }
                BatchItem::SessionClosed { session } => self.on_session_closed(session),
            };
            *left = left.saturating_sub(work);
            if *left > 0 && !in_time(DRAIN_WORK - *left) {
                *left = 0;
            }
        }
        self.shard.batch = Some(batch);
    }

    /// Sends an event to all that watch for it and may see it. A watch is spent even if its client
    /// may not.
    fn on_event(&mut self, event: &Arc<Event>) -> Work {
        let (connections, shard) = (&mut self.connections, &mut self.shard);
        let mut told = std::mem::take(&mut shard.told);
        debug_assert!(told.is_empty(), "one event after the other");
        let path = shard.watches.trigger(event.kind, &event.path, |slot| told.push(slot));
        let mut work = LOOKUP;
        if !told.is_empty() {
            let mut frame = std::mem::take(&mut shard.event);
            frame.clear();
            write_event(&mut Writer::new(&mut frame), event.zxid, event.kind, &event.path);
            if told.len() > TOLD_AT_ONCE_MAX {
                shard.fanouts.push_back(Fanout::new(event, &frame, path, &told));
                work += told.len() as Work;
            } else {
                for slot in &told {
                    let Some(connection) = connections.at(*slot) else { continue };
                    work += shard.catch_up(connection) + LOOKUP;
                    if let Some(path) = path {
                        shard.watches.settle(*slot, path);
                    }
                    work += shard.tell(connection, event, &frame);
                }
            }
            shard.event = frame;
            told.clear();
        }
        shard.told = told;
        work
    }

    /// Answers the oldest request that the connection has with the quorum core.
    fn on_reply(&mut self, reply: Reply, now: Now) -> Work {
        let shard = &mut self.shard;
        let open = self.connections.get(reply.conn).filter(|conn| conn.phase != Phase::Closed);
        let Some(connection) = open else {
            shard.take_forgotten(reply.conn);
            return REQUEST;
        };
        let owed = shard.catch_up(connection);
        if connection.phase == Phase::Closed {
            shard.take_forgotten(reply.conn);
            return owed;
        }
        let Some(pending) = shard.take_pending(connection) else { return REQUEST };
        debug_assert!(pending.since_ms <= now.mono_ms, "an answer comes after its request");
        // Its client asks elsewhere: it gets no answer here (`NIOServerCnxn`).
        if reply.err == ErrorCode::SESSION_MOVED {
            shard.close(connection, CloseReason::SessionMoved);
            return REQUEST + owed;
        }
        let before = connection.out.len();
        let was_announced = connection.announced;
        write_reply(&mut Writer::new(&mut connection.out), &reply);
        let written = connection.out.len() - before;
        shard.announce(connection, written);
        let latency_ms = u32::try_from((now.mono_ms - pending.since_ms).max(0)).unwrap_or(u32::MAX);
        let op = if reply.err.is_ok() { reply.op } else { OpCode::ERROR };
        connection.count_reply(op, reply.xid, reply.zxid.0, latency_ms, now);
        shard.counts.sent += 1;
        shard.counts.traffic.count_reply(written);
        shard.counts.traffic.updates.add(latency_ms);
        let is_drained = connection.phase == Phase::Ending && connection.pending.is_empty();
        if reply.close || reply.op == OpCode::CLOSE_SESSION {
            shard.close(connection, CloseReason::SessionEnded);
        } else if is_drained {
            shard.close(connection, CloseReason::Stopping);
        } else if connection.pending.is_empty() && connection.wait.is_some()
            || connection.wait == Some(Wait::Share) && !connection.has_its_share()
        {
            shard.make_ready(connection);
        }
        REQUEST + owed + bytes_work(written) + if was_announced { 0 } else { ANNOUNCEMENT }
    }
}

fn write_reply(writer: &mut Writer<'_>, reply: &Reply) {
    let frame = begin_reply(writer, reply.xid, reply.zxid.0, reply.err);
    match &reply.body {
        ReplyBody::Empty => {}
        ReplyBody::Path(path) => writer.string(path),
        ReplyBody::PathStat(path, stat) => {
            writer.string(path);
            stat.write(writer);
        }
        ReplyBody::Stat(stat) => stat.write(writer),
        ReplyBody::Bytes(bytes) => writer.raw(bytes),
    }
    writer.end_frame(frame);
}

fn message_zxid(message: &ToShard) -> crate::zxid::Zxid {
    match message {
        ToShard::Commit(commit) => commit.zxid,
        _ => crate::zxid::Zxid::ZERO,
    }
}
