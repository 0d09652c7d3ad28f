//! Multishot accept: one request, a completion for every connection.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use io_uring::{opcode, squeue, types};

use super::event::Event;
use super::token::{OpKind, Token, UserData};
use super::{Cqe, Ring, RingError};

impl Ring {
    /// Accepts every connection that comes in on `socket`, which must listen and stay open. The new sockets take
    /// over the listener's options (TCP_NODELAY among them), are closed on exec, and block.
    pub fn accept(&mut self, listener: Token, socket: BorrowedFd<'_>) -> Result<(), RingError> {
        let entry = entry(listener, socket);
        // SAFETY: the entry names no memory.
        unsafe { self.push(&entry) }
    }
}

pub(super) fn decode(listener: Token, cqe: Cqe) -> Event {
    let armed = cqe.more();
    match cqe.result() {
        Ok(fd) => {
            // SAFETY: a successful accept completion is the only owner of the descriptor it names.
            let socket = unsafe { OwnedFd::from_raw_fd(fd as i32) };
            Event::Accepted { listener, socket, armed }
        }
        Err(error) => Event::AcceptFailed { listener, error, armed },
    }
}

fn entry(listener: Token, socket: BorrowedFd<'_>) -> squeue::Entry {
    opcode::AcceptMulti::new(types::Fd(socket.as_raw_fd()))
        .flags(libc::SOCK_CLOEXEC)
        .build()
        .user_data(UserData::new(OpKind::Accept, listener).to_bits())
}
