//! A client that does one thing at a time, on a blocking socket, and the handshake of every
//! session.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::wire;

/// One session that waits for each reply before it asks again.
pub(super) struct Plain {
    socket: TcpStream,
    xid: i32,
    reply: Vec<u8>,
}

impl Plain {
    /// Connects and opens a session.
    pub(super) fn open(server: SocketAddr, timeout_ms: u32) -> io::Result<Self> {
        let mut socket = TcpStream::connect_timeout(&server, CONNECT_TIME)?;
        socket.set_nodelay(true)?;
        ask_for_session(&mut socket, timeout_ms)?;
        await_session(&mut socket)?;
        Ok(Plain { socket, xid: 0, reply: Vec::new() })
    }

    /// Sends the one request that `frame` holds and returns the error code of its reply. Events are
    /// passed over.
    pub(super) fn ask(&mut self, frame: &mut [u8]) -> io::Result<i32> {
        self.xid = self.xid.checked_add(1).unwrap_or(1);
        wire::set_xid(frame, self.xid);
        self.socket.write_all(frame)?;
        loop {
            self.read_frame()?;
            let header =
                wire::reply_header(&self.reply).ok_or_else(|| io::Error::other("no reply"))?;
            if header.xid == self.xid {
                return Ok(header.error);
            }
        }
    }

    /// Ends the session and waits for the server to confirm it.
    pub(super) fn close(mut self) -> io::Result<()> {
        self.ask(&mut wire::request(CLOSE_SESSION, |_| {})).map(drop)
    }

    /// Reads one frame, its length included.
    fn read_frame(&mut self) -> io::Result<()> {
        self.reply.resize(4, 0);
        self.socket.read_exact(&mut self.reply)?;
        let length = self.reply.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
        self.reply.resize(4 + length.min(REPLY_BYTES_MAX) as usize, 0);
        self.socket.read_exact(&mut self.reply[4..])
    }
}

/// Asks for a new session.
pub(super) fn ask_for_session(socket: &mut TcpStream, timeout_ms: u32) -> io::Result<()> {
    socket.write_all(&wire::connect_request(timeout_ms))
}

/// Reads the answer to [`ask_for_session`].
pub(super) fn await_session(socket: &mut TcpStream) -> io::Result<()> {
    socket.set_read_timeout(Some(CONNECT_TIME))?;
    let mut length = [0; 4];
    socket.read_exact(&mut length)?;
    let mut answer = [0; CONNECT_RESPONSE_BYTES_MAX];
    let bytes = u32::from_be_bytes(length) as usize;
    let answer =
        answer.get_mut(..bytes).ok_or_else(|| io::Error::other("no ZooKeeper answers there"))?;
    socket.read_exact(answer)?;
    if answer.get(4..8) == Some(&[0; 4]) {
        return Err(io::Error::other("the server refused the session"));
    }
    socket.set_read_timeout(None)
}

/// The time that connecting, and each part of the handshake, may take.
pub(super) const CONNECT_TIME: Duration = Duration::from_secs(10);

const CONNECT_RESPONSE_BYTES_MAX: usize = 128;

/// The longest reply that is read; a plain client asks for nothing long.
const REPLY_BYTES_MAX: u32 = 4 << 20;

const CLOSE_SESSION: i32 = -11;
