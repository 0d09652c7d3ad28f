//! Send of one buffer, or of a part of it. The ring owns the buffer until the completion hands it
//! back.

use std::ops::Range;

use std::os::fd::{AsRawFd, BorrowedFd};

use io_uring::{opcode, types};

use super::event::Event;
use super::token::{HIGH_SLOTS, OpKind, Token, UserData};
use super::{Cqe, Ring, RingError};

impl Ring {
    /// Sends all of `buffer` on `socket`. At most one send per slot may be in flight; a second one
    /// is refused with [`RingError::SendInFlight`], which gives its buffer back.
    pub fn send(
        &mut self,
        conn: Token,
        socket: BorrowedFd<'_>,
        buffer: Vec<u8>,
    ) -> Result<(), RingError> {
        let all = 0..buffer.len();
        self.send_part(conn, socket, buffer, all)
    }

    /// As [`Self::send`], but only the bytes of `part`, which must lie within the buffer.
    pub fn send_part(
        &mut self,
        conn: Token,
        socket: BorrowedFd<'_>,
        buffer: Vec<u8>,
        part: Range<usize>,
    ) -> Result<(), RingError> {
        let bytes = &buffer[part];
        let Ok(len) = u32::try_from(bytes.len()) else {
            return Err(RingError::SendTooLong { bytes: bytes.len() });
        };
        let entry = opcode::Send::new(types::Fd(socket.as_raw_fd()), bytes.as_ptr(), len)
            .flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
            .build()
            .user_data(UserData::new(OpKind::Send, conn).to_bits());
        if let Err(buffer) = self.sends.hold(conn.slot, buffer) {
            return Err(RingError::SendInFlight { conn, buffer });
        }
        // SAFETY: the buffer's heap memory is held in `sends`, untouched, until the completion of
        // this very send; the ring cancels what is left before it drops the table.
        let pushed = unsafe { self.push(&entry) };
        if pushed.is_err() {
            self.sends.release(conn.slot);
        }
        pushed
    }

    /// Whether the ring still holds a buffer of this slot.
    pub fn sending(&self, slot: u32) -> bool {
        self.sends.holds(slot)
    }
}

pub(super) fn decode(conn: Token, cqe: Cqe, sends: &mut SendTable) -> Event {
    let sent = cqe.result().map(|bytes| bytes as usize);
    Event::Sent { conn, buffer: sends.release(conn.slot), sent }
}

/// The buffers in flight, by slot: those of clients count from 0, those of other servers from
/// [`HIGH_SLOTS`].
#[derive(Default)]
pub(super) struct SendTable {
    low: Vec<Option<Vec<u8>>>,
    high: Vec<Option<Vec<u8>>>,
}

impl SendTable {
    fn part(&mut self, slot: u32) -> (&mut Vec<Option<Vec<u8>>>, usize) {
        match slot.checked_sub(HIGH_SLOTS) {
            Some(nth) => (&mut self.high, nth as usize),
            None => (&mut self.low, slot as usize),
        }
    }

    /// Takes `buffer` in, or gives it back where the slot has one in flight.
    fn hold(&mut self, slot: u32, buffer: Vec<u8>) -> Result<(), Vec<u8>> {
        let (part, nth) = self.part(slot);
        if nth >= part.len() {
            part.resize_with(nth + 1, || None);
        }
        match &mut part[nth] {
            Some(_) => Err(buffer),
            free => {
                *free = Some(buffer);
                Ok(())
            }
        }
    }

    /// The buffer of a send that the kernel has let go of.
    fn release(&mut self, slot: u32) -> Vec<u8> {
        let (part, nth) = self.part(slot);
        part.get_mut(nth).and_then(Option::take).unwrap_or_default()
    }

    /// Forgets every buffer without freeing it.
    pub(super) fn leak(self) {
        self.low.into_iter().chain(self.high).flatten().for_each(std::mem::forget);
    }

    fn holds(&self, slot: u32) -> bool {
        let (part, nth) = match slot.checked_sub(HIGH_SLOTS) {
            Some(nth) => (&self.high, nth as usize),
            None => (&self.low, slot as usize),
        };
        part.get(nth).is_some_and(Option::is_some)
    }
}
