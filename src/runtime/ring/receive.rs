//! Multishot receive into the ring's provided buffers: one request, a completion whenever bytes
//! have arrived.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::rc::Rc;

use io_uring::{opcode, types};
use rustix::io::Errno;

use super::buffers::{BUFFER_GROUP, BufferGroup};
use super::event::{Event, ReceiveStop};
use super::token::{OpKind, Token, UserData};
use super::{Cqe, Ring, RingError};

impl Ring {
    /// Receives whatever arrives on `socket` until it ends, fails, is cancelled or the buffers run
    /// out. At most one receive per connection may be armed, or its bytes would come in any order.
    pub fn receive(&mut self, conn: Token, socket: BorrowedFd<'_>) -> Result<(), RingError> {
        let entry = opcode::RecvMulti::new(types::Fd(socket.as_raw_fd()), BUFFER_GROUP)
            .build()
            .user_data(UserData::new(OpKind::Receive, conn).to_bits());
        // SAFETY: the entry names no memory but the buffer group, which the ring holds until it is
        // closed.
        unsafe { self.push(&entry) }
    }
}

pub(super) fn decode(conn: Token, cqe: Cqe, group: &Rc<BufferGroup>) -> Event {
    let stopped = |cause| Event::ReceiveStopped { conn, cause };
    match (cqe.result(), cqe.buffer()) {
        (Ok(len @ 1..), Some(id)) => match group.take(id, len) {
            Some(chunk) => Event::Received { conn, chunk, armed: cqe.more() },
            None => stopped(ReceiveStop::Failed(Errno::FAULT)),
        },
        (result, buffer) => {
            if let Some(id) = buffer {
                group.give_back(id);
            }
            stopped(match result {
                Ok(_) => ReceiveStop::Closed,
                Err(Errno::NOBUFS) => ReceiveStop::NoBuffers,
                Err(Errno::CANCELED) => ReceiveStop::Cancelled,
                Err(error) => ReceiveStop::Failed(error),
            })
        }
    }
}
