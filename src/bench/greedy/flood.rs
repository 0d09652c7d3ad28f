//! A client on one connection that sends request after request and waits for none, and the
//! preparation that is made of requests to be sent once.

use std::sync::atomic::Ordering;

use super::super::BenchError;
use super::super::engine::{Asked, Engine, Phase, Reply, Work};
use super::super::wire::{self, Op};
use super::Shared;

/// Sends its frames round and round until it is told to stop.
pub(super) struct Flood<'a> {
    pub(super) frames: Vec<Vec<u8>>,
    pub(super) shared: &'a Shared,
    /// Index of the frame to send next.
    pub(super) next: usize,
    /// Whether it waits for its replies in the end. Where thousands are on their way it had better
    /// not.
    pub(super) patient: bool,
}

impl Work for Flood<'_> {
    fn request(&mut self, _session: u32, xid: i32, out: &mut Vec<u8>) -> Option<Asked> {
        append(out, &self.frames[self.next], xid);
        self.next = (self.next + 1) % self.frames.len();
        Some(ASKED)
    }

    fn reply(&mut self, reply: Reply) -> Result<(), BenchError> {
        self.shared.count(1);
        self.shared.errors.fetch_add(u64::from(reply.error != 0), Ordering::Relaxed);
        Ok(())
    }

    fn turn(&mut self, _now_ns: u64) -> Phase {
        match (self.shared.stopped(), self.patient) {
            (false, _) => Phase::Issue,
            (true, true) => Phase::Drain,
            (true, false) => Phase::Leave,
        }
    }
}

/// Sends every frame once and waits for all replies; those that say "exists already" are fine.
pub(super) fn send_all(
    engine: &mut Engine,
    window: u32,
    frames: impl Iterator<Item = Vec<u8>>,
) -> Result<(), BenchError> {
    engine.run(&mut Once { frames, over: false }, window, None)
}

struct Once<I> {
    frames: I,
    over: bool,
}

impl<I: Iterator<Item = Vec<u8>>> Work for Once<I> {
    fn request(&mut self, _session: u32, xid: i32, out: &mut Vec<u8>) -> Option<Asked> {
        let Some(frame) = self.frames.next() else {
            self.over = true;
            return None;
        };
        append(out, &frame, xid);
        Some(ASKED)
    }

    fn reply(&mut self, reply: Reply) -> Result<(), BenchError> {
        match reply.error {
            0 | super::frames::NODE_EXISTS => Ok(()),
            code => Err(BenchError::Refused { what: "a step of the preparation".to_owned(), code }),
        }
    }

    fn turn(&mut self, _now_ns: u64) -> Phase {
        if self.over { Phase::Drain } else { Phase::Issue }
    }
}

fn append(out: &mut Vec<u8>, frame: &[u8], xid: i32) {
    let start = out.len();
    out.extend_from_slice(frame);
    wire::set_xid(&mut out[start..], xid);
}

const ASKED: Asked = Asked { op: Op::Other, tag: 0 };
