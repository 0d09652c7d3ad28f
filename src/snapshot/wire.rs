//! The tree that a leader sends after a SNAP packet.
//!
//! ```text
//! sessions int n · n × { long id, int timeout in ms }
//! ACLs     int n · n × { long index, vector<ACL> }
//! nodes    { ustring path, buffer data, long ACL index, StatPersisted }*, parents first, the root as ""
//! end      ustring "/" · ustring "BenWasHere"
//! ```
//!
//! It has no length and no checksum. Packets follow at once.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::jute;
use crate::jute::data::{Acl, StatPersisted};
use crate::zxid::SessionId;

use super::END;
use super::parts::{Corrupt, Fault, Hear, Input, Kind, Part, Parts};
use super::writer::{put_acl, put_node, put_session};

/// Writes a tree for the wire: sessions, lists, nodes, end. Each call appends to `out`, which the
/// caller may drain between calls.
#[derive(Debug)]
pub struct WireWriter<'a>(jute::Writer<'a>);

impl<'a> WireWriter<'a> {
    /// A writer that appends to `out`.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        Self(jute::Writer::new(out))
    }

    /// So many sessions, or so many lists, follow.
    pub fn count(&mut self, count: usize) {
        self.0.len(count);
    }

    /// A global session with its timeout in milliseconds.
    pub fn session(&mut self, session: &(SessionId, i32)) {
        put_session(&mut self.0, session);
    }

    /// A list, and the index by which nodes name it.
    pub fn acl(&mut self, acl: &(i64, Arc<[Acl]>)) {
        put_acl(&mut self.0, acl);
    }

    /// A node. The root comes first, with the path ""; parents come before their children.
    pub fn node(&mut self, path: &str, data: Option<&[u8]>, acl_index: i64, stat: &StatPersisted) {
        put_node(&mut self.0, path, data, acl_index, stat);
    }

    /// The end of the nodes, and the signature.
    pub fn end(&mut self) {
        self.0.raw(&END);
        self.0.string(SIGNATURE);
    }
}

/// The bytes that come from a leader.
pub trait Pieces {
    /// Appends the next ones to `out`, and waits until there are some. False when none will come
    /// any more.
    fn next_onto(&mut self, out: &mut Vec<u8>) -> bool;

    /// Whether there are some already.
    fn is_ready(&self) -> bool;
}

/// Why what a leader sends is not a tree.
#[derive(Debug)]
pub enum WireError {
    /// No more bytes came after `offset` of them.
    BrokeOff { offset: u64 },
    /// `offset` counts the bytes from the SNAP packet on.
    Corrupt { offset: u64, why: Corrupt },
    /// Whoever keeps a copy of what was read could not.
    NotKept(io::Error),
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BrokeOff { offset } => {
                write!(f, "the leader's tree broke off after {offset} bytes")
            }
            Self::Corrupt { offset, why } => {
                write!(f, "the leader's tree is corrupt at offset {offset}: {why}")
            }
            Self::NotKept(error) => write!(f, "the leader's tree cannot be stored: {error}"),
        }
    }
}

impl std::error::Error for WireError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotKept(error) => Some(error),
            _ => None,
        }
    }
}

/// A tree from the wire, being read as it comes. In memory is what has come of the part that is not
/// whole yet; nothing is believed of a length before the bytes are there.
pub struct WireReader<P, F> {
    parts: Parts<Wire<P>, Copied<F>>,
    is_whole: bool,
}

struct Wire<P>(P);

impl<P: Pieces> Input for Wire<P> {
    fn read_onto(&mut self, out: &mut Vec<u8>, _full: usize) -> io::Result<usize> {
        let before = out.len();
        // A piece may be empty.
        while out.len() == before && self.0.next_onto(out) {}
        Ok(out.len() - before)
    }

    fn is_ready(&self) -> bool {
        self.0.is_ready()
    }
}

struct Copied<F>(F);

impl<F: FnMut(&[u8]) -> io::Result<()>> Hear for Copied<F> {
    fn hear(&mut self, bytes: &[u8]) -> io::Result<()> {
        (self.0)(bytes)
    }
}

impl<P: Pieces, F: FnMut(&[u8]) -> io::Result<()>> WireReader<P, F> {
    /// A reader at the first byte after a SNAP packet. `copy` is given everything that stands
    /// between the header of a snapshot file and the end of its nodes, in order.
    pub fn new(pieces: P, copy: F) -> Self {
        Self { parts: Parts::new(Wire(pieces), Copied(copy)), is_whole: false }
    }

    /// The next part, or `None` once the tree is whole.
    pub fn next_part(&mut self) -> Result<Option<Part<'_>>, WireError> {
        match self.find_next().map_err(error_of)? {
            Some(kind) => self.parts.part(kind).map(Some).map_err(error_of),
            None => Ok(None),
        }
    }

    /// Bytes of the tree read so far.
    pub fn offset(&self) -> u64 {
        self.parts.offset()
    }

    /// What came after the tree: the packets that follow it begin there.
    pub fn into_rest(self) -> Vec<u8> {
        self.parts.into_rest()
    }

    fn find_next(&mut self) -> Result<Option<Kind>, Fault> {
        if self.is_whole {
            return Ok(None);
        }
        let kind = self.parts.next_kind()?;
        if kind.is_none() {
            self.parts.tell()?;
            self.parts.take_end();
            self.parts.keep_quiet();
            let is_signed = self.parts.take(|reader| {
                Ok(reader.string()?.is_some_and(|signature| signature == SIGNATURE))
            })?;
            if !is_signed {
                return Err(self.parts.corrupt(Corrupt::Signature));
            }
            self.is_whole = true;
        }
        Ok(kind)
    }
}

fn error_of(fault: Fault) -> WireError {
    match fault {
        Fault::Corrupt { offset, why } => WireError::Corrupt { offset, why },
        Fault::Cut { offset, .. } => WireError::BrokeOff { offset },
        Fault::Input(error) | Fault::Heard(error) => WireError::NotKept(error),
    }
}

const SIGNATURE: &str = "BenWasHere";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::limits::SNAPSHOT_PART_BYTES_MAX;

    /// Bytes in pieces of a length.
    struct Chunks {
        bytes: Vec<u8>,
        at: usize,
        len: usize,
    }

    impl Pieces for Chunks {
        fn next_onto(&mut self, out: &mut Vec<u8>) -> bool {
            let end = self.bytes.len().min(self.at + self.len);
            out.extend_from_slice(&self.bytes[self.at..end]);
            let goes_on = end > self.at;
            self.at = end;
            goes_on
        }

        fn is_ready(&self) -> bool {
            self.len == 1 && self.at < self.bytes.len()
        }
    }

    fn stat(czxid: i64) -> StatPersisted {
        StatPersisted { czxid, cversion: -5, ephemeral_owner: i64::MIN, ..StatPersisted::default() }
    }

    fn tree() -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = WireWriter::new(&mut out);
        writer.count(1);
        writer.session(&(SessionId(5), 4000));
        writer.count(1);
        writer.acl(&(3, Arc::from([Acl::open()])));
        writer.node("", Some(b""), -1, &stat(0));
        writer.node("/a", None, 3, &stat(1));
        writer.node("/a/\u{e9}", Some(b"data"), 4, &stat(2));
        writer.end();
        out
    }

    /// The number of parts, what was copied, and the rest.
    fn read(bytes: &[u8], len: usize) -> Result<(usize, Vec<u8>, Vec<u8>), WireError> {
        let mut copy = Vec::new();
        let pieces = Chunks { bytes: bytes.to_vec(), at: 0, len };
        let mut reader = WireReader::new(pieces, |bytes: &[u8]| {
            copy.extend_from_slice(bytes);
            Ok(())
        });
        let mut parts = 0;
        while reader.next_part()?.is_some() {
            parts += 1;
        }
        assert!(reader.next_part()?.is_none(), "an end stays one");
        assert!(reader.offset() as usize <= bytes.len());
        let rest = reader.into_rest();
        Ok((parts, copy, rest))
    }

    #[test]
    fn a_tree_is_read_however_it_is_cut() {
        let tree = tree();
        let follows = b"packets";
        let bytes = [&tree[..], follows].concat();
        // The end mark and the signature are of the wire.
        let nodes = &tree[..tree.len() - 19];
        for len in 1..=bytes.len() {
            let (parts, copy, rest) = read(&bytes, len).unwrap();
            assert_eq!((parts, &copy[..]), (5, nodes), "pieces of {len}");
            assert!(follows.starts_with(&rest), "pieces of {len}: {rest:?}");
            assert!(len < bytes.len() || rest == follows);
        }
    }

    #[test]
    fn a_tree_that_breaks_off_anywhere_is_none() {
        let tree = tree();
        for len in 0..tree.len() {
            match read(&tree[..len], 10) {
                Err(WireError::BrokeOff { offset }) => assert!(offset <= len as u64),
                other => panic!("of {len} bytes: {other:?}"),
            }
        }
    }

    #[test]
    fn what_is_not_a_tree_is_refused_at_once() {
        let refused = |bytes: &[u8]| match read(bytes, 1000) {
            Err(WireError::Corrupt { offset, why }) => (offset, why),
            other => panic!("{other:?}"),
        };
        let mut unsigned = tree();
        *unsigned.last_mut().unwrap() = b'x';
        assert_eq!(refused(&unsigned).1, Corrupt::Signature);
        // Of one that is never to end, as much is kept as has come of its part.
        let mut huge = vec![0; 8];
        huge.extend(i32::MAX.to_be_bytes());
        assert_eq!(refused(&huge), (8, Corrupt::TooLong));
        let mut long = vec![0; 12];
        long.extend((SNAPSHOT_PART_BYTES_MAX as i32 + 1).to_be_bytes());
        assert_eq!(refused(&long), (8, Corrupt::TooLong));
        let no_root = [&[0; 8][..], &[0, 0, 0, 2], b"/a"].concat();
        assert_eq!(refused(&no_root), (8, Corrupt::NoRoot));
        // Two thousand million sessions, of which one has come.
        let sessions = [&i32::MAX.to_be_bytes()[..], &[0; 12]].concat();
        assert!(matches!(read(&sessions, 5), Err(WireError::BrokeOff { offset: 16 })));
    }

    #[test]
    fn a_copy_that_cannot_be_kept_ends_it() {
        let pieces = Chunks { bytes: tree(), at: 0, len: 3 };
        let full = |_: &[u8]| Err(io::ErrorKind::StorageFull.into());
        let mut reader = WireReader::new(pieces, full);
        let error = loop {
            if let Err(error) = reader.next_part() {
                break error;
            }
        };
        assert!(matches!(error, WireError::NotKept(_)), "{error}");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, len in 1..20usize) {
            let _any = read(&bytes, len);
            let _any = read(&[&[0; 8][..], &bytes].concat(), len);
        }

        #[test]
        fn no_damage_makes_it_panic(
            damage in prop::collection::vec((0..200usize, any::<u8>()), 1..4),
            len in 1..200usize,
        ) {
            let mut bytes = tree();
            for (at, byte) in damage {
                let at = at % bytes.len();
                bytes[at] = byte;
            }
            let _any = read(&bytes, len);
        }
    }
}
