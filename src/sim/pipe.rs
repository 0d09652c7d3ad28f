//! One direction of a connection between a client and a server: bytes arrive in order, in pieces of
//! any length, each some time after it was sent.

use super::rng::Rng;

/// What is under way in one direction.
#[derive(Debug)]
pub(super) struct Pipe {
    /// When the last piece arrives, in virtual microseconds.
    last_us: u64,
    /// How often what is left goes in one piece, in 1/1000.
    whole: u64,
}

impl Pipe {
    pub(super) const fn to_client(now_us: u64) -> Self {
        Self { last_us: now_us, whole: 800 }
    }

    pub(super) const fn to_server(now_us: u64) -> Self {
        Self { last_us: now_us, whole: 700 }
    }

    /// The pieces that the bytes arrive in, each with its time, after all that is under way. Each
    /// takes at least 1 us and at most `delay_us`.
    pub(super) fn send(
        &mut self,
        bytes: &[u8],
        now_us: u64,
        delay_us: u64,
        rng: &mut Rng,
    ) -> Vec<(u64, Vec<u8>)> {
        let mut pieces = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let len = if rng.chance(self.whole) { rest.len() } else { 1 + rng.index(rest.len()) };
            let (piece, left) = rest.split_at(len);
            self.last_us = self.after_all(now_us + 1 + rng.below(delay_us));
            pieces.push((self.last_us, piece.to_vec()));
            rest = left;
        }
        pieces
    }

    /// What is sent from now on arrives no earlier than at that time.
    pub(super) fn hold_until(&mut self, at_us: u64) {
        self.last_us = self.after_all(at_us);
    }

    /// This time, or the one when the last piece arrives if that is later.
    pub(super) fn after_all(&self, at_us: u64) -> u64 {
        at_us.max(self.last_us)
    }
}

/// The frames that arrive whole, of bytes that come in pieces.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// Bytes that make up no frame yet.
    partial: Vec<u8>,
}

impl Frames {
    /// How many frames these bytes complete.
    pub(super) fn complete(&mut self, bytes: &[u8]) -> usize {
        self.partial.extend_from_slice(bytes);
        let (mut at, mut frames) = (0, 0);
        while let Some(len) = self.partial[at..].first_chunk() {
            let end = at + 4 + u32::from_be_bytes(*len) as usize;
            if end > self.partial.len() {
                break;
            }
            (at, frames) = (end, frames + 1);
        }
        self.partial.drain(..at);
        frames
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_arrive_in_order_and_make_up_what_was_sent() {
        let mut rng = Rng::new(7);
        let mut pipe = Pipe::to_server(100);
        let mut frames = Frames::default();
        let frame = [&[0, 0, 0, 9][..], b"nine byte"].concat();
        let (mut came, mut last_us, mut whole) = (Vec::new(), 100, 0);
        for _ in 0..50 {
            for (at_us, piece) in pipe.send(&frame, 100, 30, &mut rng) {
                assert!(at_us >= last_us && at_us > 100 && at_us <= 130, "{at_us}");
                last_us = at_us;
                whole += frames.complete(&piece);
                came.extend(piece);
                assert_eq!(whole, came.len() / frame.len());
            }
        }
        assert_eq!(came, frame.repeat(50));
    }
}
