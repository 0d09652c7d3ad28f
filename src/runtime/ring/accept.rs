//! Accept: one request, one completion, one connection.
//!
//! It is not multishot on purpose. A multishot accept takes every connection of a burst out of the
//! backlog before the loop sees the first one, and so all the descriptors there are; what is
//! accepted one by one is counted, and refused if need be, before the next one takes a descriptor.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use io_uring::{opcode, squeue, types};

use super::event::Event;
use super::token::{OpKind, Token, UserData};
use super::{Cqe, Ring, RingError};

impl Ring {
    /// Accepts the next connection that comes in on `socket`, which must listen and stay open. The
    /// new socket takes over the listener's options (TCP_NODELAY among them), is closed on exec,
    /// and blocks. Several may be asked for at once.
    pub fn accept(&mut self, listener: Token, socket: BorrowedFd<'_>) -> Result<(), RingError> {
        let entry = entry(listener, socket);
        // SAFETY: the entry names no memory.
        unsafe { self.push(&entry) }
    }
}

pub(super) fn decode(listener: Token, cqe: Cqe) -> Event {
    match cqe.result() {
        Ok(fd) => {
            // SAFETY: a successful accept completion is the only owner of the descriptor it names.
            let socket = unsafe { OwnedFd::from_raw_fd(fd as i32) };
            Event::Accepted { listener, socket }
        }
        Err(error) => Event::AcceptFailed { listener, error },
    }
}

fn entry(listener: Token, socket: BorrowedFd<'_>) -> squeue::Entry {
    opcode::Accept::new(types::Fd(socket.as_raw_fd()), std::ptr::null_mut(), std::ptr::null_mut())
        .flags(libc::SOCK_CLOEXEC)
        .build()
        .user_data(UserData::new(OpKind::Accept, listener).to_bits())
}
