//! The frames of the load: requests as templates in which a few bytes are patched, replies of which
//! only the header is read. It holds only what a load generator needs of ZooKeeper's client
//! protocol.

/// Operations that a load may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(super) enum Op {
    Get,
    Exists,
    Children,
    Set,
    Create,
    Delete,
    /// Several creates at once; only preloading uses it.
    Multi,
    /// Anything else, which no mix may name.
    Other,
}

impl Op {
    /// Those that a mix may name.
    pub(super) const ALL: [Op; 6] =
        [Op::Get, Op::Exists, Op::Children, Op::Set, Op::Create, Op::Delete];

    /// The name in `--mix` and in reports.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Op::Get => "get",
            Op::Exists => "exists",
            Op::Children => "children",
            Op::Set => "set",
            Op::Create => "create",
            Op::Delete => "delete",
            Op::Multi => "multi",
            Op::Other => "other",
        }
    }

    /// The operation code on the wire.
    pub(super) const fn code(self) -> i32 {
        match self {
            Op::Create => 1,
            Op::Delete => 2,
            Op::Exists => 3,
            Op::Get => 4,
            Op::Set => 5,
            Op::Children => 8,
            Op::Multi => 14,
            Op::Other => 0,
        }
    }

    /// Bytes of a successful reply after its header, in an echo: a Stat, data and a Stat, a path,
    /// or nothing.
    pub(super) const fn reply_body_bytes(code: i32, payload: usize, path: usize) -> usize {
        match code {
            1 => 4 + path,
            3 | 5 => STAT_BYTES,
            4 => 4 + payload + STAT_BYTES,
            _ => 0,
        }
    }
}

/// The shape of the tree: `<root>/d000001/n000002`, all names of one length, so that frames are
/// too.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    pub(super) root: String,
    pub(super) fanout: u64,
}

impl Tree {
    /// The parent that holds `node`.
    pub(super) fn dir(&self, node: u64) -> u64 {
        node / self.fanout
    }

    /// The path of parent number `dir`.
    pub(super) fn dir_path(&self, dir: u64) -> String {
        format!("{}/d{dir:0width$}", self.root, width = DIGITS)
    }

    /// The path of znode number `node`.
    pub(super) fn node_path(&self, node: u64) -> String {
        format!("{}/n{:0width$}", self.dir_path(self.dir(node)), node % self.fanout, width = DIGITS)
    }

    /// The path of the `serial`-th znode that `session` creates on its own.
    pub(super) fn own_path(&self, session: u32, serial: u64) -> String {
        format!("{}-s{session:0width$}-{serial:012}", self.root, width = DIGITS)
    }
}

/// One operation's request, encoded once; [`Template::append`] copies it and patches xid and path
/// digits.
pub(super) struct Template {
    frame: Vec<u8>,
    /// Where the digits of the parent and of the leaf stand, 0 where there are none.
    dir_at: usize,
    leaf_at: usize,
    fanout: u64,
}

impl Template {
    /// A template of one of the operations that work on the given tree.
    pub(super) fn new(op: Op, tree: &Tree, payload: &[u8]) -> Self {
        let path = if op == Op::Children { tree.dir_path(0) } else { tree.node_path(0) };
        let mut frame = Vec::new();
        begin(&mut frame, op.code());
        let path_at = frame.len() + 4;
        put_bytes(&mut frame, path.as_bytes());
        match op {
            Op::Get | Op::Exists | Op::Children => frame.push(0),
            Op::Set => {
                put_bytes(&mut frame, payload);
                put_int(&mut frame, ANY_VERSION);
            }
            Op::Create => put_create_rest(&mut frame, payload),
            Op::Delete => put_int(&mut frame, ANY_VERSION),
            Op::Multi | Op::Other => {}
        }
        finish(&mut frame, 0);
        let dir_at = path_at + tree.root.len() + 2;
        let leaf_at = if op == Op::Children { 0 } else { dir_at + DIGITS + 2 };
        Template { frame, dir_at, leaf_at, fanout: tree.fanout }
    }

    /// Appends the request about `node`.
    pub(super) fn append(&self, out: &mut Vec<u8>, xid: i32, node: u64) {
        let start = out.len();
        out.extend_from_slice(&self.frame);
        let frame = &mut out[start..];
        frame[4..8].copy_from_slice(&xid.to_be_bytes());
        patch_digits(&mut frame[self.dir_at..self.dir_at + DIGITS], node / self.fanout);
        if self.leaf_at != 0 {
            patch_digits(&mut frame[self.leaf_at..self.leaf_at + DIGITS], node % self.fanout);
        }
    }
}

/// Appends a create.
pub(super) fn append_create(out: &mut Vec<u8>, xid: i32, path: &str, payload: &[u8]) {
    let start = begin(out, Op::Create.code());
    put_bytes(out, path.as_bytes());
    put_create_rest(out, payload);
    finish_at(out, start, xid);
}

/// Appends a multi of creates.
pub(super) fn append_multi(
    out: &mut Vec<u8>,
    xid: i32,
    paths: impl Iterator<Item = String>,
    payload: &[u8],
) {
    let start = begin(out, Op::Multi.code());
    for path in paths {
        put_int(out, Op::Create.code());
        out.push(0);
        put_int(out, -1);
        put_bytes(out, path.as_bytes());
        put_create_rest(out, payload);
    }
    put_int(out, -1);
    out.push(1);
    put_int(out, -1);
    finish_at(out, start, xid);
}

/// Appends a request that holds a path and nothing but what its operation needs after it.
pub(super) fn append_path(out: &mut Vec<u8>, xid: i32, op: Op, path: &str) {
    let start = begin(out, op.code());
    put_bytes(out, path.as_bytes());
    match op {
        Op::Delete => put_int(out, ANY_VERSION),
        _ => out.push(0),
    }
    finish_at(out, start, xid);
}

/// A whole request with the given operation code and body; [`set_xid`] gives it its xid.
pub(super) fn request(code: i32, body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut frame = Vec::new();
    begin(&mut frame, code);
    body(&mut frame);
    finish(&mut frame, 0);
    frame
}

/// Patches the xid of the one request that `frame` holds.
pub(super) fn set_xid(frame: &mut [u8], xid: i32) {
    frame[4..8].copy_from_slice(&xid.to_be_bytes());
}

/// Appends a ping.
pub(super) fn append_ping(out: &mut Vec<u8>) {
    let start = begin(out, 11);
    finish_at(out, start, XID_PING);
}

/// Appends the end of the session.
pub(super) fn append_close(out: &mut Vec<u8>, xid: i32) {
    let start = begin(out, -11);
    finish_at(out, start, xid);
}

/// The first frame on a connection: a new session.
pub(super) fn connect_request(timeout_ms: u32) -> Vec<u8> {
    let mut frame = vec![0; 4];
    put_int(&mut frame, 0);
    frame.extend_from_slice(&0i64.to_be_bytes());
    put_int(&mut frame, timeout_ms as i32);
    frame.extend_from_slice(&0i64.to_be_bytes());
    put_bytes(&mut frame, &[0; 16]);
    frame.push(0);
    let len = (frame.len() - 4) as u32;
    frame[..4].copy_from_slice(&len.to_be_bytes());
    frame
}

/// The part that is read of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReplyHeader {
    pub(super) xid: i32,
    pub(super) error: i32,
    /// The four bytes after the header, if there are any: in a multi's reply the type of its first
    /// result.
    pub(super) first: i32,
}

/// Cuts a connection's bytes into frames, keeping of each only its head.
#[derive(Default)]
pub(super) struct FrameCutter {
    head: [u8; HEAD_BYTES],
    have: usize,
    /// Bytes of the current frame still to come and of no interest.
    skip: usize,
}

impl FrameCutter {
    /// Calls `each` for every frame whose head is complete, with that head's bytes: length and what
    /// follows it, up to 24 bytes. `Err` for a length that no frame has.
    pub(super) fn cut(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(&[u8]),
    ) -> Result<(), BadLength> {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            if self.have == 0 {
                // The whole head stands in these bytes, as nearly always.
                if let Some(length) = bytes.first_chunk::<4>() {
                    let frame = frame_bytes(*length)?;
                    let head = frame.min(HEAD_BYTES);
                    if bytes.len() >= head {
                        each(&bytes[..head]);
                        self.skip = frame - head;
                        bytes = &bytes[head..];
                        continue;
                    }
                }
            }
            if bytes.is_empty() {
                return Ok(());
            }
            bytes = self.gather(bytes, &mut each)?;
        }
    }

    /// Adds bytes to a head that a boundary has cut; returns those after it.
    fn gather<'b>(
        &mut self,
        bytes: &'b [u8],
        each: &mut impl FnMut(&[u8]),
    ) -> Result<&'b [u8], BadLength> {
        let want = match self.head.first_chunk::<4>() {
            Some(length) if self.have >= 4 => frame_bytes(*length)?.min(HEAD_BYTES),
            _ => 4,
        };
        let taken = (want - self.have).min(bytes.len());
        self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
        self.have += taken;
        if self.have >= 4 {
            let frame = frame_bytes([self.head[0], self.head[1], self.head[2], self.head[3]])?;
            let head = frame.min(HEAD_BYTES);
            if self.have == head {
                each(&self.head[..head]);
                self.have = 0;
                self.skip = frame - head;
            }
        }
        Ok(&bytes[taken..])
    }
}

/// A frame announced a length that is negative or beyond what any server sends.
#[derive(Debug)]
pub(super) struct BadLength;

/// Reads the header of a reply from a frame's head, or `None` where it is too short for one.
pub(super) fn reply_header(head: &[u8]) -> Option<ReplyHeader> {
    let int = |at: usize| {
        head.get(at..at + 4).and_then(|bytes| bytes.first_chunk()).map(|b| i32::from_be_bytes(*b))
    };
    Some(ReplyHeader { xid: int(4)?, error: int(16)?, first: int(20).unwrap_or(0) })
}

/// The number of `bytes`, which begin with a frame, that the frame takes up.
pub(super) fn first_frame_bytes(bytes: &[u8]) -> usize {
    bytes
        .first_chunk()
        .map_or(bytes.len(), |length| 4 + u32::from_be_bytes(*length) as usize)
        .min(bytes.len())
}

fn frame_bytes(length: [u8; 4]) -> Result<usize, BadLength> {
    match u32::from_be_bytes(length) {
        length @ 0..=FRAME_BYTES_MAX => Ok(4 + length as usize),
        _ => Err(BadLength),
    }
}

/// Begins a request: room for the length and the xid, then the operation. Returns where it begins.
fn begin(out: &mut Vec<u8>, code: i32) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; 8]);
    put_int(out, code);
    start
}

fn finish(frame: &mut [u8], xid: i32) {
    let len = (frame.len() - 4) as u32;
    frame[..4].copy_from_slice(&len.to_be_bytes());
    frame[4..8].copy_from_slice(&xid.to_be_bytes());
}

fn finish_at(out: &mut [u8], start: usize, xid: i32) {
    finish(&mut out[start..], xid);
}

/// The rest of a create after its path: data, the open ACL, persistent.
pub(super) fn put_create_rest(out: &mut Vec<u8>, payload: &[u8]) {
    put_bytes(out, payload);
    put_int(out, 1);
    put_int(out, 31);
    put_bytes(out, b"world");
    put_bytes(out, b"anyone");
    put_int(out, 0);
}

/// Appends a number of four bytes.
pub(super) fn put_int(out: &mut Vec<u8>, value: i32) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Appends a length and this many bytes.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_int(out, bytes.len() as i32);
    out.extend_from_slice(bytes);
}

fn patch_digits(digits: &mut [u8], mut value: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// The xid of pings and of their replies.
pub(super) const XID_PING: i32 = -2;

/// The xid of watch events.
pub(super) const XID_EVENT: i32 = -1;

/// Bytes of a reply's length and header.
pub(super) const REPLY_HEADER_BYTES: usize = 20;

const HEAD_BYTES: usize = 24;

const STAT_BYTES: usize = 68;

const DIGITS: usize = 6;

const ANY_VERSION: i32 = -1;

const FRAME_BYTES_MAX: u32 = 256 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patched_template_equals_the_frame_encoded_at_once() {
        let tree = Tree { root: "/b".into(), fanout: 10 };
        for (op, path) in [(Op::Get, "/b/d000123/n000004"), (Op::Exists, "/b/d000123/n000004")] {
            let mut patched = Vec::new();
            Template::new(op, &tree, b"").append(&mut patched, 77, 1234);
            let mut whole = Vec::new();
            append_path(&mut whole, 77, op, path);
            assert_eq!(patched, whole);
        }
        let mut patched = Vec::new();
        Template::new(Op::Children, &tree, b"").append(&mut patched, 1, 1234);
        let mut whole = Vec::new();
        append_path(&mut whole, 1, Op::Children, "/b/d000123");
        assert_eq!(patched, whole);
        let mut patched = Vec::new();
        Template::new(Op::Create, &tree, b"xy").append(&mut patched, 5, 1234);
        let mut whole = Vec::new();
        append_create(&mut whole, 5, &tree.node_path(1234), b"xy");
        assert_eq!(patched, whole);
    }

    #[test]
    fn a_get_request_is_what_the_protocol_says() {
        let mut out = Vec::new();
        append_path(&mut out, 3, Op::Get, "/a");
        assert_eq!(out, [0, 0, 0, 15, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 2, b'/', b'a', 0]);
    }

    #[test]
    fn frames_are_cut_the_same_at_every_boundary() {
        let mut bytes = Vec::new();
        let bodies = [16usize, 20, 24, 100, 16, 3000];
        for (n, body) in bodies.iter().enumerate() {
            bytes.extend_from_slice(&(*body as u32).to_be_bytes());
            bytes.extend_from_slice(&(n as i32).to_be_bytes());
            bytes.resize(bytes.len() + 8, 0);
            bytes.extend_from_slice(&(-(n as i32)).to_be_bytes());
            bytes.resize(bytes.len() + body - 16, 9);
        }
        for size in 1..bytes.len() {
            let (mut cutter, mut seen) = (FrameCutter::default(), Vec::new());
            for piece in bytes.chunks(size) {
                cutter
                    .cut(piece, |head| seen.push(reply_header(head).expect("whole headers")))
                    .expect("sane lengths");
            }
            let found: Vec<_> = seen.iter().map(|header| (header.xid, header.error)).collect();
            assert_eq!(found, (0..6).map(|n| (n, -n)).collect::<Vec<_>>(), "pieces of {size}");
        }
    }

    #[test]
    fn impossible_lengths_are_refused() {
        assert!(FrameCutter::default().cut(&[0xff; 8], |_| ()).is_err());
        let mut cutter = FrameCutter::default();
        assert!(cutter.cut(&[0x7f], |_| ()).is_ok());
        assert!(cutter.cut(&[0xff, 0xff, 0xff], |_| ()).is_err());
    }
}
