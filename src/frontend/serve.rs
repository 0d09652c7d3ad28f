//! One request after the other: what is answered here, what goes to the quorum core, and what has
//! to wait.

use crate::codes::{ErrorCode, OpCode};
use crate::handoff::{Origin, Request, ShardId, ToQuorum};
use crate::jute::Reader;
use crate::proto::RequestHeader;

use super::close_reason::CloseReason;
use super::connection::{Pending, Phase, Wait};
use super::context::ConnContext;
use super::hold::{REQUEST, bytes_work};
use super::{Effect, is_for_quorum};

/// The outcome of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Served {
    Done,
    /// It cannot be taken up yet, and nothing has been done with it.
    Wait(Wait),
    /// The frame is a connect request whose session is owned by another shard.
    MoveTo(ShardId),
}

impl ConnContext<'_> {
    /// Serves one request, or finds that it must wait.
    #[inline]
    pub(super) fn serve(&mut self, frame: &[u8]) -> Served {
        let mut reader = Reader::new(frame);
        let Ok(header) = RequestHeader::read(&mut reader) else {
            self.close(CloseReason::Malformed);
            return Served::Done;
        };
        if let Some(wait) = self.must_wait(header.op) {
            return Served::Wait(wait);
        }
        if self.conn.long.is_some() {
            return self.answer(header, reader);
        }
        self.touch();
        self.spend(REQUEST + bytes_work(frame.len()));
        self.conn.tally.received += 1;
        self.shard.counts.received += 1;
        if header.op == OpCode::GET_DATA && self.shard.config.enforce_auth.is_none() {
            return self.answer(header, reader);
        }
        let large_bytes = self.large_bytes(frame.len());
        if self.is_refused(header, large_bytes) {
            return Served::Done;
        }
        if !is_for_quorum(header.op) {
            return self.answer(header, reader);
        }
        self.hand_over(header, large_bytes, &reader);
        Served::Done
    }

    #[inline]
    fn must_wait(&self, op: OpCode) -> Option<Wait> {
        let for_quorum = is_for_quorum(op) && self.has_proven_enough(op);
        if !for_quorum && !self.conn.pending.is_empty() && !mutant!(ReadOvertakesWrite) {
            Some(Wait::Order)
        } else if self.unsent() > self.shard.config.out_bytes_max {
            Some(Wait::Reader)
        } else if for_quorum && (self.may_hand_over == 0 || self.shard.core_is_full()) {
            Some(Wait::Core)
        } else if for_quorum && self.conn.has_its_share() {
            Some(Wait::Share)
        } else {
            None
        }
    }

    /// The bytes of a frame as far as they count towards the limit of large requests.
    fn large_bytes(&self, frame_bytes: usize) -> usize {
        let threshold = self.shard.config.large_request_bytes;
        if threshold.is_some_and(|threshold| frame_bytes > threshold) { frame_bytes } else { 0 }
    }

    /// Requests that end the connection before they are looked at: a required scheme has not been
    /// proven, or too many large ones are in process.
    fn is_refused(&mut self, header: RequestHeader, large_bytes: usize) -> bool {
        if !self.has_proven_enough(header.op) {
            self.shard.counts.sent += 1;
            self.conn.reply_header(header.xid, 0, ErrorCode::SESSION_CLOSED_REQUIRE_SASL_AUTH);
            self.close(CloseReason::AuthRequired);
            return true;
        }
        if large_bytes > 0
            && self.shard.large_bytes + large_bytes > self.shard.config.large_request_bytes_max
        {
            self.close(CloseReason::LargeRequests);
            return true;
        }
        false
    }

    /// Gives a request to the quorum core. After a closeSession nothing more is heard.
    fn hand_over(&mut self, header: RequestHeader, large_bytes: usize, reader: &Reader<'_>) {
        debug_assert!(self.may_hand_over > 0, "a request that may not be handed over waits");
        assert!(self.conn.long.is_none(), "a request waits while an answer is under way");
        self.may_hand_over -= 1;
        self.spend(REQUEST);
        let large_bytes = u32::try_from(large_bytes).unwrap_or(u32::MAX);
        let pending = Pending::new(header.op, reader.rest().len(), large_bytes, self.now);
        self.shard.count_pending(self.conn, pending);
        let request = Request {
            origin: Origin { shard: self.shard.id, conn: self.conn.id, xid: header.xid },
            session: self.conn.session,
            op: header.op,
            record: self.shard.keep_record(reader.rest()),
            auth: self.conn.auth.clone(),
        };
        self.shard.effects.push_back(Effect::ToQuorum(ToQuorum::Request(request)));
        if header.op == OpCode::CLOSE_SESSION {
            self.conn.phase = Phase::Ending;
        }
    }
}
