//! The answers to clients: reply heads, the connect answer and watch events, written straight into
//! the outgoing bytes.

use crate::codes::{ErrorCode, EventType, OpCode};
use crate::jute::Writer;
use crate::zxid::Zxid;

use super::xid;

/// Starts a reply frame with its header (`proto.ReplyHeader`); end it with [`Writer::end_frame`].
pub fn begin_reply(writer: &mut Writer<'_>, xid: i32, zxid: i64, err: ErrorCode) -> usize {
    let start = writer.position();
    let mut head = [0; 20];
    head[4..8].copy_from_slice(&xid.to_be_bytes());
    head[8..16].copy_from_slice(&zxid.to_be_bytes());
    head[16..20].copy_from_slice(&err.0.to_be_bytes());
    writer.raw(&head);
    start
}

/// The answer to a connect request (`proto.ConnectResponse`): no reply header, no xid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectResponse {
    /// The negotiated session timeout in milliseconds; 0 refuses the session.
    pub timeout_ms: i32,
    pub session_id: i64,
    pub password: [u8; 16],
    /// `None` leaves the byte out, for clients that did not send it.
    pub read_only: Option<bool>,
}

impl ConnectResponse {
    /// The answer to a session that no longer exists, or to a wrong password.
    pub fn refused(read_only: Option<bool>) -> Self {
        Self {
            timeout_ms: 0,
            session_id: 0,
            password: [0; 16],
            read_only: read_only.map(|_| false),
        }
    }

    /// Writes the whole frame.
    pub fn write(&self, writer: &mut Writer<'_>) {
        let frame = writer.begin_frame();
        writer.i32(0);
        writer.i32(self.timeout_ms);
        writer.i64(self.session_id);
        writer.buffer(Some(&self.password));
        if let Some(read_only) = self.read_only {
            writer.bool(read_only);
        }
        writer.end_frame(frame);
    }
}

/// Writes a watch event frame (`proto.WatcherEvent`). `zxid` is -1 for events made by setWatches
/// (ZOOKEEPER-4655).
pub fn write_event(writer: &mut Writer<'_>, zxid: Zxid, kind: EventType, path: &str) {
    let frame = begin_reply(writer, xid::EVENT, zxid.0, ErrorCode::OK);
    writer.i32(kind as i32);
    writer.i32(STATE_SYNC_CONNECTED);
    writer.string(path);
    writer.end_frame(frame);
}

/// Writes a header within a multi's reply (`proto.MultiHeader`).
pub fn write_multi_header(writer: &mut Writer<'_>, op: OpCode, done: bool, err: ErrorCode) {
    writer.i32(op.0);
    writer.bool(done);
    writer.i32(err.0);
}

/// `KeeperState.SyncConnected`: the only state that a server sends.
const STATE_SYNC_CONNECTED: i32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_connect_answer_is_37_or_36_bytes() {
        let mut out = Vec::new();
        ConnectResponse::refused(Some(true)).write(&mut Writer::new(&mut out));
        assert_eq!(out.len(), 4 + 37);
        assert_eq!(out[20..24], [0, 0, 0, 16]);
        out.clear();
        ConnectResponse::refused(None).write(&mut Writer::new(&mut out));
        assert_eq!(out.len(), 4 + 36);
    }

    #[test]
    fn an_event_carries_its_zxid() {
        let mut out = Vec::new();
        write_event(&mut Writer::new(&mut out), Zxid(7), EventType::NodeDeleted, "/a");
        assert_eq!(out[0..4], 30i32.to_be_bytes());
        assert_eq!(out[4..8], (-1i32).to_be_bytes());
        assert_eq!(out[8..16], 7i64.to_be_bytes());
        assert_eq!(out[20..24], 2i32.to_be_bytes());
    }
}
