//! How much room a buffer has at first that is filled again and again.

/// The room for the next of many buffers. Short ones come between long ones, whose buffers are not
/// to grow step by step: it rises at once, and falls by an eighth with each that needed less.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    bytes: usize,
    /// It is never more.
    max: usize,
}

impl Room {
    /// None at first.
    pub(crate) const fn new(max: usize) -> Self {
        Self { bytes: 0, max }
    }

    /// Bytes for the next buffer.
    pub(crate) fn bytes(self) -> usize {
        self.bytes
    }

    /// A buffer has become so long.
    pub(crate) fn filled(&mut self, len: usize) {
        let less = self.bytes - self.bytes / 8;
        self.bytes = len.max(less).min(self.max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_at_once_and_falls_little_by_little() {
        let mut room = Room::new(1000);
        let mut after = |len| {
            room.filled(len);
            room.bytes()
        };
        assert_eq!(
            [after(80), after(10), after(0), after(5000), after(0)],
            [80, 70, 62, 1000, 875]
        );
    }
}
