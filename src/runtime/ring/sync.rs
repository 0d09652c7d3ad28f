//! Flush of a file's data. The kernel runs it on a worker thread of its own, about 10 us away.

use std::os::fd::{AsRawFd, BorrowedFd};

use io_uring::{opcode, types};

use super::token::{OpKind, Token, UserData};
use super::{Ring, RingError};

impl Ring {
    /// Flushes the data of `file`, and of its metadata what is needed to read the data back.
    pub fn sync(&mut self, token: Token, file: BorrowedFd<'_>) -> Result<(), RingError> {
        let entry = opcode::Fsync::new(types::Fd(file.as_raw_fd()))
            .flags(types::FsyncFlags::DATASYNC)
            .build()
            .user_data(UserData::new(OpKind::Sync, token).to_bits());
        // SAFETY: the entry names no memory.
        unsafe { self.push(&entry) }
    }
}
