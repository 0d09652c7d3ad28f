//! The floor of the network path: a server that answers every frame with one of the size that a
//! ZooKeeper server would answer with, over the same ring and the same loop, and does nothing else.

use std::time::Duration;

use crate::runtime::ring::Token;

use super::BenchError;
use super::args::EchoArgs;
use super::load::pin;
use super::serving::{self, Replies, Service};

/// Serves until the time is over or a signal ends the process.
pub(super) fn serve(args: &EchoArgs) -> Result<(), BenchError> {
    pin(args.core);
    let echo = Echo { replies: Replies::new(args.payload) };
    let replies = Replies::new(args.payload);
    let spin = Duration::from_micros(args.spin);
    serving::serve("echo server", args.listen, spin, args.duration, |_| Ok(echo), replies)
}

struct Echo {
    replies: Replies,
}

impl Service for Echo {
    fn frame(&mut self, _conn: Token, head: &[u8], out: &mut Vec<u8>) {
        self.replies.append(out, head);
    }
}
