//! The input of one connection: bytes that wait, and where their frames begin and end.

/// Bytes of a connection that wait: a cut frame, or requests after one that is not answered yet. It
/// grows as bytes arrive, never by a length that a frame announces (B2).
#[derive(Debug, Default)]
pub(super) struct Input {
    bytes: Vec<u8>,
    /// The offset at which what has not been served begins.
    start: usize,
    /// The offset of the first frame that has not been seen whole.
    framed: usize,
}

impl Input {
    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Bytes that it keeps allocated.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// The bytes that have not been served.
    pub(super) fn rest(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// Adds what has come.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        if self.start > 0 && self.start >= self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.framed = self.framed.saturating_sub(self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The first `len` bytes have been served.
    pub(super) fn consume(&mut self, len: usize) {
        self.start = (self.start + len).min(self.bytes.len());
        if self.is_empty() {
            self.clear();
        }
    }

    /// Forgets everything, and gives back what an idle connection should not keep.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        if self.bytes.capacity() > INPUT_BYTES_KEPT {
            self.bytes = Vec::new();
        }
        (self.start, self.framed) = (0, 0);
    }

    /// Whether a frame has become complete since the last call. Lengths that no frame may have are
    /// left for the reader.
    pub(super) fn has_new_frame(&mut self) -> bool {
        self.framed = self.framed.max(self.start);
        let before = self.framed;
        while let Some(len) = frame_bytes(self.bytes.get(self.framed..).unwrap_or_default()) {
            let end = self.framed.saturating_add(len);
            if len <= LENGTH_BYTES || end > self.bytes.len() {
                break;
            }
            self.framed = end;
        }
        self.framed > before
    }

    /// Bytes that the first frame still lacks; 0 if it is whole.
    pub(super) fn lacks(&self) -> usize {
        let rest = self.rest();
        match frame_bytes(rest) {
            Some(len) => len.saturating_sub(rest.len()),
            None => LENGTH_BYTES.saturating_sub(rest.len()),
        }
    }
}

/// The bytes of the frame that starts here, its length field included; `None` if that is cut.
/// Negative lengths come out as 0, which no frame has.
pub(super) fn frame_bytes(bytes: &[u8]) -> Option<usize> {
    let len = i32::from_be_bytes(*bytes.first_chunk()?);
    Some(usize::try_from(len).map_or(0, |len| len + LENGTH_BYTES))
}

/// Bytes of a frame's length field.
pub(super) const LENGTH_BYTES: usize = size_of::<i32>();
/// Capacity that an empty input buffer may keep.
const INPUT_BYTES_KEPT: usize = 2 << 10;
