//! Close of a descriptor without leaving the loop.

use std::os::fd::{IntoRawFd, OwnedFd};

use io_uring::{opcode, squeue, types};

use super::token::{OpKind, Token, UserData};
use super::{Ring, RingError};

impl Ring {
    /// Closes `descriptor`. Operations that were submitted on it keep the file open until they end:
    /// cancel them first.
    pub fn close(&mut self, token: Token, descriptor: OwnedFd) -> Result<(), RingError> {
        let entry = opcode::Close::new(types::Fd(descriptor.into_raw_fd()))
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(UserData::new(OpKind::Close, token).to_bits());
        // SAFETY: the entry names no memory.
        unsafe { self.push(&entry) }
    }
}
