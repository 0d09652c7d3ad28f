//! Sessions, lists and nodes out of bytes that come piece by piece: what a snapshot file and the
//! tree that a leader sends have in common. In memory are one piece and one part, or as much as a
//! part that is not whole yet has brought.

use std::borrow::Cow;
use std::io;

use crate::jute;
use crate::jute::Malformed;
use crate::jute::data::{Acl, StatPersisted, read_acls};
use crate::limits;
use crate::pieces::PIECE_BYTES;
use crate::zxid::SessionId;

use super::END;

/// One piece of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// A global session and its timeout in milliseconds.
    Session(SessionId, i32),
    /// A list, under the index by which nodes name it.
    Acl(i64, Vec<Acl>),
    /// A node; the root has the path "". An ACL index of -1 is the open list; one that no list came
    /// with is possible.
    Node { path: Cow<'a, str>, data: Option<&'a [u8]>, acl_index: i64, stat: StatPersisted },
}

/// The fault of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corrupt {
    /// It does not start with "ZKSN".
    Magic(i32),
    /// A field is cut, or longer than what is left.
    Malformed(Malformed),
    /// A session, list or node longer than [`limits::SNAPSHOT_PART_BYTES_MAX`].
    TooLong,
    /// A node without a path, or a first node that is not the root.
    NoRoot,
    /// A seal holds another checksum than that of the bytes before it.
    Checksum { stored: i64, computed: u32 },
    /// Bytes after the last seal that are none of the trailers known.
    Trailing(usize),
    /// A tree from the wire is not followed by "BenWasHere".
    Signature,
}

/// Why there is no next part.
#[derive(Debug)]
pub(super) enum Fault {
    /// `offset` counts the bytes from the first that was given out.
    Corrupt { offset: u64, why: Corrupt },
    /// The bytes end inside of what begins at `offset`.
    Cut { offset: u64, malformed: Malformed },
    /// The bytes could not be had.
    Input(io::Error),
    /// Whoever hears of what was read could not keep it.
    Heard(io::Error),
}

/// Where the bytes come from.
pub(super) trait Input {
    /// Reads once, onto the end of `out`, to a length of about `full`; returns how many bytes came,
    /// 0 at the end. It may wait.
    fn read_onto(&mut self, out: &mut Vec<u8>, full: usize) -> io::Result<usize>;

    /// Whether more can be had without waiting.
    fn is_ready(&self) -> bool;
}

/// Hears of the bytes that the parts were read from, all of them in their order.
pub(super) trait Hear {
    /// The next bytes.
    fn hear(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// The parts of a snapshot, being read. It allocates for one part at a time, and never by a count or
/// a length that the bytes do not back up.
pub(super) struct Parts<I, H> {
    pub(super) input: I,
    pub(super) hearer: H,
    /// Bytes of which those from `at` on are still to be given out.
    piece: Vec<u8>,
    /// Invariant: `heard <= at <= piece.len()`.
    at: usize,
    /// Bytes of the piece that the hearer has heard.
    heard: usize,
    /// Bytes before the piece.
    before: u64,
    /// The input has no more bytes.
    is_end: bool,
    pub(super) stage: Stage,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Stage {
    Begin,
    /// This many are still to come.
    Sessions(usize),
    Acls(usize),
    Root,
    Nodes,
    /// The mark after the nodes comes next.
    End,
}

/// What comes next.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Session,
    Acl,
    Node,
}

/// The next item among the nodes.
enum Next {
    Node,
    End,
    NoRoot,
}

impl<I: Input, H: Hear> Parts<I, H> {
    pub(super) fn new(input: I, hearer: H) -> Self {
        let piece = Vec::new();
        let (at, heard, before, is_end, stage) = (0, 0, 0, false, Stage::Begin);
        Self { input, hearer, piece, at, heard, before, is_end, stage }
    }

    /// What [`Self::part`] will find; `None` once the mark after the nodes comes next.
    pub(super) fn next_kind(&mut self) -> Result<Option<Kind>, Fault> {
        loop {
            self.stage = match self.stage {
                Stage::Begin => Stage::Sessions(self.count()?),
                Stage::Sessions(0) => Stage::Acls(self.count()?),
                Stage::Sessions(_) => return Ok(Some(Kind::Session)),
                Stage::Acls(0) => Stage::Root,
                Stage::Acls(_) => return Ok(Some(Kind::Acl)),
                Stage::Root | Stage::Nodes => match self.next_node()? {
                    Next::Node => return Ok(Some(Kind::Node)),
                    Next::End => Stage::End,
                    Next::NoRoot => return Err(self.corrupt(Corrupt::NoRoot)),
                },
                Stage::End => return Ok(None),
            }
        }
    }

    /// The part of which [`Self::next_kind`] has told.
    pub(super) fn part(&mut self, kind: Kind) -> Result<Part<'_>, Fault> {
        match (kind, self.stage) {
            (Kind::Session, Stage::Sessions(left)) => {
                self.stage = Stage::Sessions(left.saturating_sub(1));
                let (id, timeout_ms) = self.take(|reader| Ok((reader.i64()?, reader.i32()?)))?;
                Ok(Part::Session(SessionId(id), timeout_ms))
            }
            (Kind::Acl, Stage::Acls(left)) => {
                self.stage = Stage::Acls(left.saturating_sub(1));
                let (index, list) = self.take(|reader| Ok((reader.i64()?, read_acls(reader)?)))?;
                Ok(Part::Acl(index, list))
            }
            _ => {
                self.stage = Stage::Nodes;
                self.node()
            }
        }
    }

    /// Takes the mark after the nodes, which [`Self::next_kind`] has found.
    pub(super) fn take_end(&mut self) {
        assert!(matches!(self.stage, Stage::End) && self.piece[self.at..].starts_with(&END));
        self.at += END.len();
    }

    /// Bytes given out so far.
    pub(super) fn offset(&self) -> u64 {
        self.before + self.at as u64
    }

    /// What has come and was not given out.
    pub(super) fn into_rest(mut self) -> Vec<u8> {
        self.piece.drain(..self.at);
        self.piece
    }

    #[cfg(test)]
    pub(super) fn piece_capacity(&self) -> usize {
        self.piece.capacity()
    }

    fn count(&mut self) -> Result<usize, Fault> {
        self.take(|reader| Ok(reader.count()?.unwrap_or(0)))
    }

    /// Tells by the path.
    fn next_node(&mut self) -> Result<Next, Fault> {
        let is_first = matches!(self.stage, Stage::Root);
        self.complete(|reader| reader.buffer().map(drop))?;
        let mut reader = jute::Reader::new(&self.piece[self.at..]);
        Ok(match reader.buffer() {
            Ok(Some(path)) if path.is_empty() == is_first && (path != b"/" || is_first) => {
                Next::Node
            }
            Ok(Some(b"/")) if !is_first => Next::End,
            _ => Next::NoRoot,
        })
    }

    fn node(&mut self) -> Result<Part<'_>, Fault> {
        let len = self.complete(|reader| {
            reader.buffer()?;
            reader.buffer()?;
            reader.take(ACL_AND_STAT_BYTES, "node").map(drop)
        })?;
        let offset = self.offset();
        let start = self.at;
        self.at += len;
        let mut reader = jute::Reader::new(&self.piece[start..self.at]);
        let mut read = || {
            let path = reader.string()?.unwrap_or_default();
            let (data, acl_index) = (reader.buffer()?, reader.i64()?);
            Ok(Part::Node { path, data, acl_index, stat: StatPersisted::read(&mut reader)? })
        };
        read().map_err(|malformed| Fault::Corrupt { offset, why: Corrupt::Malformed(malformed) })
    }

    /// Bytes that are left; of a longer rest some number above `max`.
    pub(super) fn left(&mut self, max: usize) -> Result<usize, Fault> {
        while self.piece.len() - self.at <= max && self.fill()? {}
        Ok(self.piece.len() - self.at)
    }

    /// Takes a field or a few.
    pub(super) fn take<T>(
        &mut self,
        read: impl Fn(&mut jute::Reader<'_>) -> Result<T, Malformed>,
    ) -> Result<T, Fault> {
        let len = self.complete(|reader| read(reader).map(drop))?;
        let mut reader = jute::Reader::new(&self.piece[self.at..self.at + len]);
        let taken =
            read(&mut reader).map_err(|malformed| self.corrupt(Corrupt::Malformed(malformed)))?;
        self.at += len;
        Ok(taken)
    }

    /// Brings in what `read` needs; returns how many bytes that is.
    fn complete(
        &mut self,
        read: impl Fn(&mut jute::Reader<'_>) -> Result<(), Malformed>,
    ) -> Result<usize, Fault> {
        loop {
            let mut reader = jute::Reader::new(&self.piece[self.at..]);
            let malformed = match read(&mut reader) {
                Ok(()) => return Ok(self.piece.len() - self.at - reader.rest().len()),
                Err(malformed) => malformed,
            };
            match malformed {
                Malformed::Length(len) if len < 0 => {
                    return Err(self.corrupt(Corrupt::Malformed(malformed)));
                }
                Malformed::Length(len) if len as usize > limits::SNAPSHOT_PART_BYTES_MAX => {
                    return Err(self.corrupt(Corrupt::TooLong));
                }
                _ if self.piece.len() - self.at > limits::SNAPSHOT_PART_BYTES_MAX => {
                    return Err(self.corrupt(Corrupt::TooLong));
                }
                _ if self.fill()? => {}
                _ => return Err(Fault::Cut { offset: self.offset(), malformed }),
            }
        }
    }

    /// Brings in as much again as is held, and a piece at least, or what can be had without waiting
    /// once something has come; false if there is no more.
    fn fill(&mut self) -> Result<bool, Fault> {
        if self.is_end {
            return Ok(false);
        }
        self.tell()?;
        self.piece.drain(..self.at);
        self.before += self.at as u64;
        (self.at, self.heard) = (0, 0);
        let held = self.piece.len();
        if held < PIECE_BYTES && self.piece.capacity() > 4 * PIECE_BYTES {
            self.piece.shrink_to(2 * PIECE_BYTES);
        }
        let full = held + held.max(PIECE_BYTES);
        while self.piece.len() < full
            && !self.is_end
            && (self.piece.len() == held || self.input.is_ready())
        {
            match self.input.read_onto(&mut self.piece, full) {
                Ok(0) => self.is_end = true,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Fault::Input(error)),
            }
        }
        Ok(self.piece.len() > held)
    }

    /// Lets the hearer hear of all that was given out.
    pub(super) fn tell(&mut self) -> Result<(), Fault> {
        debug_assert!(self.heard <= self.at && self.at <= self.piece.len());
        self.hearer.hear(&self.piece[self.heard..self.at]).map_err(Fault::Heard)?;
        self.heard = self.at;
        Ok(())
    }

    /// The hearer does not hear of what was given out since it was told.
    pub(super) fn keep_quiet(&mut self) {
        self.heard = self.at;
    }

    pub(super) fn corrupt(&self, why: Corrupt) -> Fault {
        Fault::Corrupt { offset: self.offset(), why }
    }
}

/// The bytes of a node after its path and data.
const ACL_AND_STAT_BYTES: usize = 8 + StatPersisted::BYTES;
