//! A leader's tree that is on its way.

use crate::packet::PacketStream;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Receiving {
    /// What whoever takes the tree in had no room for. Invariant: nothing is offered before it.
    piece: Option<Vec<u8>>,
    /// Bytes that the role has heard of, and whether that was all.
    told: u64,
    is_whole: bool,
}

impl Receiving {
    /// Passes on what has come; whether all of it found room.
    pub(super) fn pass_on(
        &mut self,
        packets: &mut PacketStream,
        mut offer: impl FnMut(Vec<u8>) -> Result<(), Vec<u8>>,
    ) -> bool {
        if let Some(piece) = self.piece.take() {
            self.piece = offer(piece).err();
        }
        if self.piece.is_none() && packets.buffered() > 0 {
            self.piece = offer(packets.take_rest().into()).err();
        }
        self.piece.is_none()
    }

    /// Whether it is news that so much was taken.
    pub(super) fn has_grown(&mut self, taken: u64, is_whole: bool) -> bool {
        let is_new = taken > self.told || is_whole != self.is_whole;
        (self.told, self.is_whole) = (taken, is_whole);
        is_new
    }

    /// What came after the tree are packets: `rest` was passed on with it.
    pub(super) fn end(self, rest: &[u8], packets: &mut PacketStream) {
        let after = packets.take_rest();
        let piece = self.piece.unwrap_or_default();
        packets.put_back(&[rest, &piece, &after].concat());
    }
}
