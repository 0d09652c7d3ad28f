//! From a stream of bytes to packets. A packet has no length before it, so where it ends is found
//! field by field, and what has been looked at is not looked at again.

use bytes::{Buf, Bytes, BytesMut};

use super::ids::KnownIds;
use super::quorum::{Packet, PacketError};
use crate::zxid::Zxid;

/// The bytes received from one peer that have not become packets yet.
///
/// It holds at most one packet that is not whole and what came with it: a packet beyond the bounds
/// is refused as soon as its length is read.
#[derive(Debug)]
pub struct PacketStream {
    bytes: BytesMut,
    /// The most bytes of data, and of all ids with their lengths, of one packet.
    data_bytes_max: usize,
    /// Where the next packet must end, as far as it has been found.
    end: End,
    ids: KnownIds,
}

/// The progress in finding the end of a packet.
#[derive(Clone, Copy, Debug, Default)]
struct End {
    /// The first byte that has not been looked at. Invariant: 0 or after the packet's data.
    at: usize,
    /// Strings that are still to come: two for each id.
    strings: u64,
    /// Where the ids begin.
    ids_at: usize,
}

impl PacketStream {
    /// A stream whose packets have at most `data_bytes_max` bytes of data: `jute.maxbuffer` and
    /// `jute.maxbuffer.extrasize` together.
    pub fn new(data_bytes_max: usize) -> Self {
        Self {
            bytes: BytesMut::new(),
            data_bytes_max,
            end: End::default(),
            ids: KnownIds::default(),
        }
    }

    /// Takes in what was received.
    pub fn push(&mut self, received: &[u8]) {
        self.bytes.extend_from_slice(received);
    }

    /// Bytes that were received and have become no packet.
    pub fn buffered(&self) -> usize {
        self.bytes.len()
    }

    /// The next packet, `None` until it is whole. After an error the stream is of no use.
    pub fn next_packet(&mut self) -> Result<Option<Packet>, PacketError> {
        if !self.find_end()? {
            return Ok(None);
        }
        let packet = self.bytes.split_to(self.end.at).freeze();
        self.end = End::default();
        Packet::read(&packet, &mut self.ids).map(Some)
    }

    /// Passes over the acknowledgements that follow the one of `zxid` at once, and returns the zxid
    /// of the last: it stands for all before it. The start of an epoch is acknowledged for other
    /// reasons: it is not passed over, and stands for nothing.
    pub fn last_ack(&mut self, zxid: Zxid) -> Zxid {
        match zxid.counter() {
            0 => zxid,
            _ => self.pass_over(Packet::Ack { zxid }.kind(), zxid, |last, next| next > last),
        }
    }

    /// Passes over the COMMITs that follow the one of `zxid` at once, each of the transaction right
    /// after the one before it, and returns the zxid of the last.
    pub fn last_commit(&mut self, zxid: Zxid) -> Zxid {
        let kind = Packet::Commit { zxid }.kind();
        self.pass_over(kind, zxid, |last, next| next == last.next())
    }

    /// Passes over packets of this type that have neither data nor ids and come at once, for as
    /// long as their zxids follow each other in one epoch. Returns the last one.
    fn pass_over(&mut self, kind: i32, zxid: Zxid, follows: impl Fn(Zxid, Zxid) -> bool) -> Zxid {
        let (mut last, mut len) = (zxid, 0);
        while self.end.at == 0
            && let Some(next) = self.bytes.get(len..len + BARE_BYTES).and_then(|b| bare(kind, b))
            && next.epoch() == last.epoch()
            && follows(last, next)
        {
            (last, len) = (next, len + BARE_BYTES);
        }
        self.bytes.advance(len);
        last
    }

    /// Everything that was received and has become no packet: what follows a SNAP is a tree.
    pub fn take_rest(&mut self) -> Bytes {
        self.end = End::default();
        self.bytes.split().freeze()
    }

    /// Gives back what [`Self::take_rest`] gave too much.
    pub fn put_back(&mut self, rest: &[u8]) {
        assert!(self.bytes.is_empty() && self.end.at == 0, "nothing has come since it was taken");
        self.bytes.extend_from_slice(rest);
    }

    /// Looks for the end of the packet; whether it has been received.
    fn find_end(&mut self) -> Result<bool, PacketError> {
        if self.end.at == 0 {
            let Some(len) = self.length_at(DATA_AT) else { return Ok(false) };
            let after_data = DATA_AT + LENGTH_BYTES + self.bounded(len)?;
            let Some(ids) = self.length_at(after_data) else { return Ok(false) };
            let strings = 2 * u64::try_from(ids).unwrap_or(0);
            let ids_at = after_data + LENGTH_BYTES;
            self.end = End { at: ids_at, strings, ids_at };
        }
        while self.end.strings > 0 {
            let Some(len) = self.length_at(self.end.at) else { return Ok(false) };
            let next = self.end.at + LENGTH_BYTES + self.bounded(len)?;
            let ids_bytes = next - self.end.ids_at;
            if ids_bytes > self.data_bytes_max {
                return Err(self.too_long(ids_bytes as u64));
            }
            if next > self.bytes.len() {
                return Ok(false);
            }
            self.end = End { at: next, strings: self.end.strings - 1, ..self.end };
        }
        Ok(self.end.at <= self.bytes.len())
    }

    /// The length or count at a place, if it has been received.
    fn length_at(&self, at: usize) -> Option<i32> {
        let mut rest = self.bytes.get(at..at + LENGTH_BYTES)?;
        Some(rest.get_i32())
    }

    /// The bytes that a length stands for; -1 is null, and has none.
    fn bounded(&self, len: i32) -> Result<usize, PacketError> {
        match usize::try_from(len) {
            Ok(len) if len <= self.data_bytes_max => Ok(len),
            Ok(len) => Err(self.too_long(len as u64)),
            Err(_) if len == -1 => Ok(0),
            Err(_) => Err(PacketError::Malformed(crate::jute::Malformed::Length(len))),
        }
    }

    fn too_long(&self, len: u64) -> PacketError {
        let kind = self.length_at(0).unwrap_or_default();
        PacketError::TooLong { kind, len, max: self.data_bytes_max }
    }
}

/// The zxid of a packet of this type, if these bytes are one that has neither data nor ids.
fn bare(kind: i32, mut bytes: &[u8]) -> Option<Zxid> {
    let (found, zxid) = (bytes.get_i32(), Zxid(bytes.get_i64()));
    (found == kind && bytes.get_i64() == -1).then_some(zxid)
}

/// Type, zxid, and the lengths of no data and no ids.
const BARE_BYTES: usize = DATA_AT + 2 * LENGTH_BYTES;
/// Where the length of the data stands: after type and zxid.
const DATA_AT: usize = 12;
const LENGTH_BYTES: usize = 4;
