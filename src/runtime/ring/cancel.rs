//! Cancellation. The cancelled operation reports its own end; the cancellation itself is not
//! reported.

use std::os::fd::{AsRawFd, BorrowedFd};

use io_uring::types::CancelBuilder;
use io_uring::{opcode, squeue, types};

use super::token::{OpKind, Token, UserData};
use super::{Ring, RingError};

impl Ring {
    /// Cancels one operation by its name, if it is still there. Its own completion, if any, still
    /// comes.
    pub fn cancel(&mut self, target: UserData) -> Result<(), RingError> {
        self.push_cancel(target.token, CancelBuilder::user_data(target.to_bits()))
    }

    /// Cancels everything that was submitted on `socket`, sends included. `conn` only names the
    /// request.
    pub fn cancel_all(&mut self, conn: Token, socket: BorrowedFd<'_>) -> Result<(), RingError> {
        self.push_cancel(conn, CancelBuilder::fd(types::Fd(socket.as_raw_fd())).all())
    }

    fn push_cancel(&mut self, token: Token, what: CancelBuilder) -> Result<(), RingError> {
        let entry = opcode::AsyncCancel2::new(what)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(UserData::new(OpKind::Cancel, token).to_bits());
        // SAFETY: the entry names no memory.
        unsafe { self.push(&entry) }
    }
}
