//! One turn of taking packets: how much is taken, and what is left for the next one.

use crate::packet::Packet;
use crate::zxid::Now;

/// See the module.
pub(super) struct Taking<F> {
    /// Bytes of log entries that still find room, and those of the longest entry.
    room: u64,
    low: u64,
    /// Whether the time for it is over.
    is_late: F,
    pub(super) now: Now,
}

impl<F: Fn() -> bool> Taking<F> {
    pub(super) fn new(room: u64, packet_bytes_max: usize, is_late: F, now: Now) -> Self {
        Self { room, low: entry_bytes_max(packet_bytes_max), is_late, now }
    }

    /// The longest entry might find no room.
    pub(super) fn is_without_room(&self) -> bool {
        self.room < self.low
    }

    /// No packet is taken any more.
    pub(super) fn is_over(&self) -> bool {
        (self.is_late)()
    }

    /// Whether a packet is taken. One that brings something to the log waits for room, and all
    /// after it of its server with it. Others do not: a role lives on acknowledgements and pings.
    pub(super) fn takes(&mut self, packet: &Packet) -> bool {
        let bytes = match packet {
            Packet::Proposal { record, .. } | Packet::Inform { record, .. } => record.len(),
            Packet::Request(request) => request.record.len(),
            _ => return true,
        };
        let has_room = !self.is_without_room();
        if has_room {
            self.room = self.room.saturating_sub(bytes as u64 + ENTRY_BYTES_BESIDE);
        }
        has_room
    }
}

/// The bytes of the longest entry of the log.
pub(super) fn entry_bytes_max(packet_bytes_max: usize) -> u64 {
    packet_bytes_max as u64 + ENTRY_BYTES_BESIDE
}

/// The bytes of an entry beside its record, counted generously.
const ENTRY_BYTES_BESIDE: u64 = 1024;
