//! The encoder: appends jute fields to a byte vector that the caller owns and reuses.

/// Writes jute fields at the end of `out`.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    /// A writer that appends to `out`.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    /// Bytes in the vector so far, those before this writer included.
    pub fn position(&self) -> usize {
        self.out.len()
    }

    /// A jute `byte`.
    pub fn u8(&mut self, value: u8) {
        self.out.push(value);
    }

    /// A jute `boolean`.
    pub fn bool(&mut self, value: bool) {
        self.out.push(u8::from(value));
    }

    /// A jute `int`.
    pub fn i32(&mut self, value: i32) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    /// A jute `long`.
    pub fn i64(&mut self, value: i64) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    /// A length or count. Frames and records are bounded far below `i32::MAX`.
    pub fn len(&mut self, len: usize) {
        self.i32(i32::try_from(len).expect("a length in a record is bounded by its frame"));
    }

    /// A jute `buffer`; `None` is null.
    pub fn buffer(&mut self, value: Option<&[u8]>) {
        match value {
            None => self.i32(-1),
            Some(bytes) => {
                self.len(bytes.len());
                self.out.extend_from_slice(bytes);
            }
        }
    }

    /// A jute `ustring`.
    pub fn string(&mut self, value: &str) {
        self.buffer(Some(value.as_bytes()));
    }

    /// Bytes as they are, with no length before them.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Starts a frame: leaves room for its length and returns where the frame began.
    pub fn begin_frame(&mut self) -> usize {
        let start = self.out.len();
        self.i32(0);
        start
    }

    /// Ends the frame begun at `start`: repairs its length.
    pub fn end_frame(&mut self, start: usize) {
        let body = start + size_of::<i32>();
        let len = i32::try_from(self.out.len() - body).expect("a reply is bounded below 2 GiB");
        self.out[start..body].copy_from_slice(&len.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jute::Reader;

    #[test]
    fn what_is_written_reads_back() {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out);
        let frame = writer.begin_frame();
        writer.bool(true);
        writer.i32(-7);
        writer.i64(i64::MIN);
        writer.string("/é");
        writer.buffer(None);
        writer.buffer(Some(b""));
        writer.end_frame(frame);
        let mut reader = Reader::new(&out);
        assert_eq!(reader.i32().unwrap() as usize, out.len() - 4);
        assert!(reader.bool().unwrap());
        assert_eq!(reader.i32(), Ok(-7));
        assert_eq!(reader.i64(), Ok(i64::MIN));
        assert_eq!(reader.string().unwrap().unwrap(), "/é");
        assert_eq!(reader.buffer(), Ok(None));
        assert_eq!(reader.buffer(), Ok(Some(&b""[..])));
        assert!(reader.rest().is_empty());
    }
}
