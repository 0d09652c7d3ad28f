//! From bytes to frames: served straight from where the shell received them, only what cannot be
//! served yet is copied.

use crate::codes::FOUR_LETTER_WORDS;
use crate::handoff::ShardId;

use super::Effect;
use super::close_reason::CloseReason;
use super::connection::{Phase, Wait};
use super::context::ConnContext;
use super::input::{LENGTH_BYTES, frame_bytes};
use super::serve::Served;

/// The outcome of a run over some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ran {
    /// Bytes that are done with.
    pub(super) used: usize,
    /// The session is owned by this shard: the rest of the bytes, and the connection, go there.
    pub(super) moves_to: Option<ShardId>,
}

impl ConnContext<'_> {
    /// Takes in what was received. If the connection moves to another shard: where to, and all
    /// bytes not used up.
    pub(super) fn take_in(&mut self, bytes: &[u8]) -> Option<(ShardId, Vec<u8>)> {
        let mut bytes = bytes;
        if !self.conn.input.is_empty() {
            if self.conn.wait.is_some() || self.conn.phase != Phase::Serving {
                self.conn.input.append(bytes);
                return self.serve_input();
            }
            bytes = self.complete_cut_frame(bytes);
            if !self.conn.input.is_empty() {
                self.conn.input.append(bytes);
                self.keep_waiting();
                return None;
            }
        }
        let ran = self.run(bytes);
        let rest = bytes.get(ran.used..).unwrap_or_default();
        if let Some(shard) = ran.moves_to {
            return Some((shard, rest.to_vec()));
        }
        if !rest.is_empty() {
            self.conn.input.append(rest);
            self.keep_waiting();
        }
        None
    }

    /// Serves what waits, as far as that can be done now.
    pub(super) fn serve_input(&mut self) -> Option<(ShardId, Vec<u8>)> {
        let mut input = std::mem::take(&mut self.conn.input);
        let ran = self.run(input.rest());
        input.consume(ran.used);
        if let Some(shard) = ran.moves_to {
            return Some((shard, input.rest().to_vec()));
        }
        self.conn.input = input;
        self.keep_waiting();
        None
    }

    /// Copies as much as the cut frame lacks and serves it; returns what is left.
    fn complete_cut_frame<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let mut bytes = bytes;
        // Once for the length, once for the body.
        for _ in 0..2 {
            let (head, rest) = bytes.split_at(self.conn.input.lacks().min(bytes.len()));
            self.conn.input.append(head);
            bytes = rest;
        }
        let mut input = std::mem::take(&mut self.conn.input);
        let ran = self.run(input.rest());
        input.consume(ran.used);
        self.conn.input = input;
        bytes
    }

    /// Serves frame by frame from the front of `bytes`, until they end or one has to wait.
    fn run(&mut self, bytes: &[u8]) -> Ran {
        let mut used = 0;
        loop {
            if self.conn.is_over() {
                return Ran { used: bytes.len(), moves_to: None };
            }
            let rest = bytes.get(used..).unwrap_or_default();
            if self.conn.phase == Phase::Fresh && self.take_word(rest) {
                continue;
            }
            let Some(len) = frame_bytes(rest) else { break };
            let frame_bytes_max =
                self.shard.config.frame_bytes_max >> if mutant!(FrameLimitTooLow) { 3 } else { 0 };
            if len <= LENGTH_BYTES || len - LENGTH_BYTES > frame_bytes_max {
                self.close(CloseReason::FrameLength);
                continue;
            }
            let Some(frame) = rest.get(LENGTH_BYTES..len) else { break };
            let step = match self.conn.phase {
                Phase::Serving if self.work_left() == 0 => Served::Wait(Wait::Turn),
                Phase::Serving => self.serve(frame),
                Phase::Fresh => self.connect(frame),
                Phase::Connecting | Phase::Ending | Phase::Closed => Served::Wait(Wait::Order),
            };
            match step {
                Served::Done => used += len,
                Served::Wait(wait) => {
                    self.conn.wait = Some(wait);
                    return Ran { used, moves_to: None };
                }
                Served::MoveTo(shard) => return Ran { used, moves_to: Some(shard) },
            }
        }
        self.conn.wait = None;
        Ran { used, moves_to: None }
    }

    /// Looks after a connection that has input left: its requests have been heard, and there may be
    /// too much of it.
    fn keep_waiting(&mut self) {
        let waiting = self.conn.wait.is_some();
        if waiting && self.conn.phase == Phase::Serving && self.conn.input.has_new_frame() {
            self.touch();
        }
        match self.conn.wait {
            Some(Wait::Core) => self.shard.wait_for_core(self.conn),
            Some(Wait::Reader) => self.shard.watch_slow_reader(self.conn, self.now),
            Some(Wait::Turn) => self.shard.make_ready(self.conn),
            Some(Wait::Order | Wait::Share) | None => {}
        }
        let held = self.conn.input.len();
        if waiting && held > INPUT_BYTES_HELD_MAX && !self.conn.paused {
            self.conn.paused = true;
            self.shard.effects.push_back(Effect::PauseReading(self.conn.id));
        } else if self.conn.paused
            && (!waiting || held <= INPUT_BYTES_HELD_MAX / 2)
            && !self.conn.is_over()
        {
            self.conn.paused = false;
            self.shard.effects.push_back(Effect::ResumeReading(self.conn.id));
        }
    }

    /// Recognises a four-letter word in the first four bytes; what follows it is ignored, but for
    /// the mask of `stmk`. One without it goes to the server all the same: the whitelist decides
    /// first.
    fn take_word(&mut self, bytes: &[u8]) -> bool {
        let Some((word, rest)) = bytes.split_first_chunk::<4>() else { return false };
        if !FOUR_LETTER_WORDS.iter().any(|known| known.as_bytes() == word) {
            return false;
        }
        self.conn.tally.received += 1;
        self.shard.counts.received += 1;
        let mask = rest.first_chunk().map(|mask| i64::from_be_bytes(*mask));
        self.conn.phase = Phase::Ending;
        let argument = mask.filter(|_| word == b"stmk");
        self.shard.effects.push_back(Effect::Word { conn: self.conn.id, word: *word, argument });
        true
    }
}

/// Input that a waiting connection may hold; above it nothing more is read.
const INPUT_BYTES_HELD_MAX: usize = 128 << 10;
