//! Connections that do not speak the protocol as they should: malformed, oversized and cut frames,
//! floods, clients that read nothing, words. The server may do with them what it likes, as long as
//! nobody else notices.

use crate::jute::Writer;

use super::rng::Rng;

/// One connection's way of being hostile.
#[derive(Debug)]
pub(crate) struct Hostile {
    kind: Kind,
    rng: Rng,
    /// The longest frame that the server may take.
    frame_bytes_max: usize,
    /// Its connect answer has come.
    pub connected: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A frame whose length no frame may have, instead of a connect request or behind it.
    Length { connected: bool },
    /// A connect request that does not decode.
    Garbage,
    /// Half a frame, and then nothing.
    Cut { connected: bool },
    /// A frame too short for a request header.
    Header,
    /// Requests with every opcode, whose records do not decode.
    Records,
    /// Thousands of pings at once.
    Flood,
    /// Thousands of reads at once, of which it reads nothing.
    Deaf,
    /// A four-letter word, or the first half of one.
    Word { bytes: usize },
    /// Nothing at all.
    Silent,
}

impl Hostile {
    /// A random one.
    pub(crate) fn new(mut rng: Rng, frame_bytes_max: usize) -> Self {
        let connected = rng.chance(500);
        let kind = match rng.below(20) {
            0..=3 => Kind::Length { connected },
            4..=5 => Kind::Garbage,
            6..=8 => Kind::Cut { connected },
            9..=10 => Kind::Header,
            11..=14 => Kind::Records,
            15 => Kind::Flood,
            16 => Kind::Deaf,
            17..=18 => Kind::Word { bytes: 1 + rng.index(4) },
            _ => Kind::Silent,
        };
        Self { kind, rng, frame_bytes_max, connected: false }
    }

    /// Its doings, for the trace.
    pub(crate) fn name(&self) -> String {
        format!("{:?}", self.kind)
    }

    /// Whether it asks for a session.
    pub(crate) fn wants_session(&self) -> bool {
        match self.kind {
            Kind::Length { connected } | Kind::Cut { connected } => connected,
            Kind::Header | Kind::Records | Kind::Flood | Kind::Deaf => true,
            Kind::Garbage | Kind::Word { .. } | Kind::Silent => false,
        }
    }

    /// Whether it takes what the server sends.
    pub(crate) fn reads(&self) -> bool {
        self.kind != Kind::Deaf
    }

    /// The bytes that it sends first.
    pub(crate) fn first(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        match self.kind {
            _ if self.wants_session() => connect(&mut out),
            Kind::Length { .. } => out.extend(self.length().to_be_bytes()),
            Kind::Garbage => {
                let len = 1 + self.rng.index(60);
                out.extend((len as i32).to_be_bytes());
                // A connect request ends in a password of a length that is not there.
                out.extend(std::iter::repeat_n(0xff, len));
            }
            Kind::Word { bytes } => out.extend(&b"ruok"[..bytes]),
            _ => self.cut(&mut out),
        }
        out
    }

    /// The bytes that it sends when it has a session.
    pub(crate) fn then(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        match self.kind {
            Kind::Length { .. } => out.extend(self.length().to_be_bytes()),
            Kind::Cut { .. } => self.cut(&mut out),
            Kind::Header => {
                let len = 1 + self.rng.index(7);
                out.extend((len as i32).to_be_bytes());
                out.extend(std::iter::repeat_n(0, len));
            }
            Kind::Records => self.records(&mut out),
            Kind::Flood => {
                (0..self.rng.between(1_000, 40_000)).for_each(|_| request(&mut out, -2, 11, |_| {}))
            }
            Kind::Deaf => {
                let count = self.rng.between(200, 3_000) as i32;
                (0..count).for_each(|xid| {
                    request(&mut out, xid, 12, |writer| {
                        writer.string("/");
                        writer.bool(false);
                    });
                });
            }
            Kind::Garbage | Kind::Word { .. } | Kind::Silent => {}
        }
        out
    }

    fn length(&mut self) -> i32 {
        let max = self.frame_bytes_max as i32;
        *self.rng.pick(&[0, -1, i32::MIN, i32::MAX, max + 1, 0x1603_0100])
    }

    fn cut(&mut self, out: &mut Vec<u8>) {
        if self.kind == Kind::Silent {
            return;
        }
        let len = 1 + self.rng.index(self.frame_bytes_max);
        out.extend((len as i32).to_be_bytes());
        out.extend(std::iter::repeat_n(0, self.rng.index(len.min(300))));
    }

    /// Strings and buffers whose lengths reach beyond the frame, for known and unknown opcodes.
    fn records(&mut self, out: &mut Vec<u8>) {
        for xid in 0..self.rng.between(1, 30) as i32 {
            let op = self.rng.between(0, 120) as i32 - 2;
            let len = *self.rng.pick(&[i32::MAX, 1 << 24, 5000, -2, i32::MIN]);
            // An auth packet that fails, a SASL packet and what no client sends end the connection;
            // the others answer.
            request(out, xid, if matches!(op, 11 | 107) { 4 } else { op }, |writer| {
                writer.i32(len)
            });
        }
    }
}

/// A connect request for a new session.
fn connect(out: &mut Vec<u8>) {
    let mut writer = Writer::new(out);
    let frame = writer.begin_frame();
    writer.i32(0);
    writer.i64(0);
    writer.i32(400);
    writer.i64(0);
    writer.buffer(Some(&[0; 16]));
    writer.bool(false);
    writer.end_frame(frame);
}

fn request(out: &mut Vec<u8>, xid: i32, op: i32, record: impl FnOnce(&mut Writer<'_>)) {
    let mut writer = Writer::new(out);
    let frame = writer.begin_frame();
    writer.i32(xid);
    writer.i32(op);
    record(&mut writer);
    writer.end_frame(frame);
}
