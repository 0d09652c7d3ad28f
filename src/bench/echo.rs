//! The floor of the network path: a server that answers every frame with one of the size that a ZooKeeper server
//! would answer with, over the same ring and the same loop, and does nothing else.

use std::io;
use std::mem;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::runtime::ring::{Event, ReceiveStop, Ring, Token, Wait};

use super::BenchError;
use super::args::EchoArgs;
use super::load::pin;
use super::wire::{FrameCutter, Op, REPLY_HEADER_BYTES};

/// Serves until the time is over or a signal ends the process.
pub(super) fn serve(args: &EchoArgs) -> Result<(), BenchError> {
    pin(args.core);
    let listener = listen(args.listen).map_err(BenchError::io(format!("listening on {}", args.listen)))?;
    // The sockets that it accepts inherit this.
    rustix::net::sockopt::set_tcp_nodelay(&listener, true)
        .map_err(|error| BenchError::Io { doing: "setting TCP_NODELAY".to_owned(), error: error.into() })?;
    let mut ring = Ring::new(super::ring_config(Duration::from_micros(args.spin)))?;
    ring.accept(LISTENER, listener.as_fd())?;
    eprintln!("echo server on {}", args.listen);
    let mut echo =
        Echo { ring, conns: Vec::new(), free: Vec::new(), dirty: Vec::new(), replies: Replies::new(args.payload) };
    let deadline = Instant::now() + Duration::from_secs_f64(args.duration.clamp(0.0, 1e6));
    while Instant::now() < deadline {
        echo.flush()?;
        echo.ring.turn(Wait::For(TICK))?;
        while let Some(event) = echo.ring.next_event() {
            echo.on_event(event, &listener)?;
        }
    }
    Ok(())
}

/// Listens, trying for a while: the kernel tears the ring of a killed process down in the background, and until that
/// is done its multishot accept holds the port.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let deadline = Instant::now() + BIND_TIME;
    loop {
        match TcpListener::bind(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(10));
            }
            other => return other,
        }
    }
}

struct Echo {
    ring: Ring,
    conns: Vec<Conn>,
    free: Vec<u32>,
    dirty: Vec<u32>,
    replies: Replies,
}

struct Conn {
    socket: Option<OwnedFd>,
    token: Token,
    cutter: FrameCutter,
    out: Vec<u8>,
    spare: Vec<u8>,
    sending: bool,
    dirty: bool,
}

impl Echo {
    fn on_event(&mut self, event: Event, listener: &TcpListener) -> Result<(), BenchError> {
        match event {
            Event::Accepted { socket, .. } => {
                self.on_accepted(socket)?;
                self.ring.accept(LISTENER, listener.as_fd())?;
            }
            Event::AcceptFailed { .. } => self.ring.accept(LISTENER, listener.as_fd())?,
            Event::Received { conn, chunk, armed } => {
                let (at, replies) = (&mut self.conns[conn.slot as usize], &self.replies);
                let cut = at.cutter.cut(&chunk, |head| replies.append(&mut at.out, head));
                match &at.socket {
                    Some(socket) if !armed && cut.is_ok() => self.ring.receive(conn, socket.as_fd())?,
                    Some(socket) if cut.is_err() => self.ring.cancel_all(conn, socket.as_fd())?,
                    _ => {}
                }
                self.mark_dirty(conn.slot);
            }
            Event::ReceiveStopped { conn, cause: ReceiveStop::NoBuffers } => {
                if let Some(socket) = &self.conns[conn.slot as usize].socket {
                    self.ring.receive(conn, socket.as_fd())?;
                }
            }
            Event::ReceiveStopped { conn, .. } => {
                self.conns[conn.slot as usize].socket = None;
                self.free_if_done(conn.slot);
            }
            Event::Sent { conn, mut buffer, .. } => {
                let at = &mut self.conns[conn.slot as usize];
                buffer.clear();
                at.spare = buffer;
                at.sending = false;
                if !at.out.is_empty() {
                    self.mark_dirty(conn.slot);
                }
                self.free_if_done(conn.slot);
            }
            _ => {}
        }
        Ok(())
    }

    fn on_accepted(&mut self, socket: OwnedFd) -> Result<(), BenchError> {
        let slot = self.free.pop().unwrap_or(self.conns.len() as u32);
        let token = Token::new(slot, 0);
        self.ring.receive(token, socket.as_fd())?;
        let (out, spare, cutter) = (Vec::new(), Vec::new(), FrameCutter::default());
        let conn = Conn { socket: Some(socket), token, cutter, out, spare, sending: false, dirty: false };
        match self.conns.get_mut(slot as usize) {
            Some(old) => *old = conn,
            None => self.conns.push(conn),
        }
        Ok(())
    }

    fn mark_dirty(&mut self, slot: u32) {
        if !mem::replace(&mut self.conns[slot as usize].dirty, true) {
            self.dirty.push(slot);
        }
    }

    fn free_if_done(&mut self, slot: u32) {
        let conn = &self.conns[slot as usize];
        if conn.socket.is_none() && !conn.sending && !self.free.contains(&slot) {
            self.free.push(slot);
        }
    }

    fn flush(&mut self) -> Result<(), BenchError> {
        for slot in self.dirty.drain(..) {
            let conn = &mut self.conns[slot as usize];
            conn.dirty = false;
            let Some(socket) = &conn.socket else { continue };
            if !conn.sending && !conn.out.is_empty() {
                conn.sending = true;
                let buffer = mem::replace(&mut conn.out, mem::take(&mut conn.spare));
                self.ring.send(conn.token, socket.as_fd(), buffer)?;
            }
        }
        Ok(())
    }
}

/// Replies, ready but for their xid, by operation code.
struct Replies {
    by_code: Vec<Vec<u8>>,
}

impl Replies {
    fn new(payload: u32) -> Self {
        let reply = |code| {
            let body = Op::reply_body_bytes(code, payload as usize, PATH_BYTES);
            let mut frame = vec![0; REPLY_HEADER_BYTES + body];
            frame[..4].copy_from_slice(&((REPLY_HEADER_BYTES - 4 + body) as u32).to_be_bytes());
            frame
        };
        Replies { by_code: (0..CODES).map(reply).collect() }
    }

    /// Appends the reply to the request whose head this is.
    fn append(&self, out: &mut Vec<u8>, head: &[u8]) {
        let code = head.get(8..12).and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| i32::from_be_bytes(*bytes));
        let reply = usize::try_from(code).ok().and_then(|code| self.by_code.get(code)).unwrap_or(&self.by_code[0]);
        let start = out.len();
        out.extend_from_slice(reply);
        if let Some(xid) = head.get(4..8) {
            out[start + 4..start + 8].copy_from_slice(xid);
        }
    }
}

const LISTENER: Token = Token::new(u32::MAX, 0);

const BIND_TIME: Duration = Duration::from_secs(2);

const TICK: Duration = Duration::from_millis(100);

/// Operation codes with a reply of their own.
const CODES: i32 = 32;

/// Bytes of a path that the load generator would create.
const PATH_BYTES: usize = 48;
