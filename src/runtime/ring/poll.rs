//! Multishot poll of a descriptor for input: how a foreign event source (another ring, a pipe)
//! joins the loop.

use std::os::fd::{AsRawFd, BorrowedFd};

use io_uring::{opcode, types};

use super::event::Event;
use super::token::{OpKind, Token, UserData};
use super::{Cqe, Ring, RingError};

impl Ring {
    /// Reports every time that `descriptor` gets input. Edge-triggered: read it empty, or wait for
    /// the next input.
    pub fn poll(&mut self, token: Token, descriptor: BorrowedFd<'_>) -> Result<(), RingError> {
        let entry = opcode::PollAdd::new(types::Fd(descriptor.as_raw_fd()), libc::POLLIN as u32)
            .multi(true)
            .build()
            .user_data(UserData::new(OpKind::Poll, token).to_bits());
        // SAFETY: the entry names no memory.
        unsafe { self.push(&entry) }
    }
}

pub(super) fn decode(token: Token, cqe: Cqe) -> Event {
    match cqe.result() {
        Ok(_) => Event::Readable { token, armed: cqe.more() },
        Err(error) => Event::PollStopped { token, error },
    }
}
