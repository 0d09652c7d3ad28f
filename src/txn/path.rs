//! The path of a transaction that shares its bytes with the request that asked for it.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

/// A path that costs no allocation of its own: a part of a request's record.
#[derive(Clone, PartialEq, Eq)]
pub struct SharedPath(Bytes);

impl SharedPath {
    /// The path that was read out of `record`. One that stands elsewhere, as it was not valid
    /// UTF-8 there, is copied.
    pub fn of(record: &Bytes, path: &str) -> Self {
        let (all, part) = (record.as_ptr_range(), path.as_bytes().as_ptr_range());
        if all.start <= part.start && part.end <= all.end {
            Self(record.slice_ref(path.as_bytes()))
        } else {
            Self(Bytes::copy_from_slice(path.as_bytes()))
        }
    }

    /// The path; the look at its bytes takes some nanoseconds.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("it was made from a str")
    }

    /// The bytes of the path, in UTF-8.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Deref for SharedPath {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl From<String> for SharedPath {
    fn from(path: String) -> Self {
        Self(path.into_bytes().into())
    }
}

impl From<&str> for SharedPath {
    fn from(path: &str) -> Self {
        Self(Bytes::copy_from_slice(path.as_bytes()))
    }
}

impl fmt::Debug for SharedPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A part of the record is shared, what had to be decoded is not.
    #[test]
    fn a_path_shares_the_bytes_of_its_record() {
        let record = Bytes::from_static(b"..../a/b....");
        let text = std::str::from_utf8(&record[4..8]).unwrap();
        let path = SharedPath::of(&record, text);
        assert_eq!((path.as_str(), path.as_bytes().as_ptr()), ("/a/b", text.as_ptr()));
        let decoded = SharedPath::of(&record, "/\u{fffd}");
        assert_eq!((&*decoded, &*SharedPath::from("/x")), ("/\u{fffd}", "/x"));
        assert_eq!(SharedPath::from("/a/b".to_owned()), path);
    }
}
