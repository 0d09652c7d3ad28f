//! The decoder: every read checks what is left, and names the field kind that was cut.

use std::borrow::Cow;
use std::fmt;

use super::text::text_of;

/// The reason why a record does not decode. The client sees MARSHALLINGERROR (-5), or its
/// connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The bytes end inside a field of this kind.
    Cut(&'static str),
    /// A length below -1, or one that is longer than what is left.
    Length(i32),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut(kind) => write!(f, "the record ends inside a field of type {kind}"),
            Self::Length(len) => write!(f, "length {len} does not fit the rest of the record"),
        }
    }
}

impl std::error::Error for Malformed {}

/// Reads jute fields from a byte slice, front to back.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader over all of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The bytes that have not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Takes exactly `len` bytes.
    pub fn take(&mut self, len: usize, kind: &'static str) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(Malformed::Cut(kind))?;
        self.rest = rest;
        Ok(head)
    }

    /// A jute `byte`.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        let (&byte, rest) = self.rest.split_first().ok_or(Malformed::Cut("byte"))?;
        self.rest = rest;
        Ok(byte)
    }

    /// A jute `boolean`: any byte but 0 is true.
    pub fn bool(&mut self) -> Result<bool, Malformed> {
        let (&byte, rest) = self.rest.split_first().ok_or(Malformed::Cut("boolean"))?;
        self.rest = rest;
        Ok(byte != 0)
    }

    /// A jute `int`.
    pub fn i32(&mut self) -> Result<i32, Malformed> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(Malformed::Cut("int"))?;
        self.rest = rest;
        Ok(i32::from_be_bytes(*head))
    }

    /// A jute `long`.
    pub fn i64(&mut self) -> Result<i64, Malformed> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(Malformed::Cut("long"))?;
        self.rest = rest;
        Ok(i64::from_be_bytes(*head))
    }

    /// A jute `buffer`; length -1 is null.
    pub fn buffer(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        let len = self.i32()?;
        if len == -1 {
            return Ok(None);
        }
        let bytes = usize::try_from(len).ok().and_then(|len| self.rest.split_at_checked(len));
        let (head, rest) = bytes.ok_or(Malformed::Length(len))?;
        self.rest = rest;
        Ok(Some(head))
    }

    /// A jute `ustring`; length -1 is null. Malformed UTF-8 becomes U+FFFD exactly as Java puts it
    /// (B7).
    pub fn string(&mut self) -> Result<Option<Cow<'a, str>>, Malformed> {
        Ok(self.buffer()?.map(text_of))
    }

    /// The count of a jute `vector`: -1 is null, other negatives are empty. Allocate by the
    /// elements read, never by it.
    pub fn count(&mut self) -> Result<Option<usize>, Malformed> {
        let count = self.i32()?;
        Ok(if count == -1 { None } else { Some(usize::try_from(count).unwrap_or(0)) })
    }

    /// A jute `vector<ustring>`; null strings inside are kept as null.
    pub fn strings(&mut self) -> Result<Option<Vec<Option<Cow<'a, str>>>>, Malformed> {
        let Some(count) = self.count()? else { return Ok(None) };
        let mut all = Vec::with_capacity(count.min(self.rest.len() / STRING_BYTES_MIN));
        for _ in 0..count {
            all.push(self.string()?);
        }
        Ok(Some(all))
    }
}

/// The bytes that even an empty string takes.
const STRING_BYTES_MIN: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_empty_and_negative_lengths() {
        assert_eq!(Reader::new(&(-1i32).to_be_bytes()).buffer(), Ok(None));
        assert_eq!(Reader::new(&0i32.to_be_bytes()).buffer(), Ok(Some(&[][..])));
        assert_eq!(Reader::new(&(-2i32).to_be_bytes()).buffer(), Err(Malformed::Length(-2)));
        assert_eq!(Reader::new(&i32::MAX.to_be_bytes()).buffer(), Err(Malformed::Length(i32::MAX)));
        assert_eq!(Reader::new(&[0, 0, 0]).i32(), Err(Malformed::Cut("int")));
    }

    #[test]
    fn a_huge_count_fails_without_allocating() {
        let mut bytes = i32::MAX.to_be_bytes().to_vec();
        bytes.extend([0, 0, 0, 0]);
        assert_eq!(Reader::new(&bytes).strings(), Err(Malformed::Cut("int")));
        assert_eq!(Reader::new(&(-7i32).to_be_bytes()).strings(), Ok(Some(vec![])));
        assert_eq!(Reader::new(&(-1i32).to_be_bytes()).strings(), Ok(None));
    }
}
