//! A bare server on one ring: connections, frames and replies, and nothing of ZooKeeper. What it
//! does with a frame is its [`Service`]'s affair.

use std::io;
use std::mem;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::runtime::ring::{Event, ReceiveStop, Ring, Token, Wait};

use super::BenchError;
use super::wire::{FrameCutter, Op, REPLY_HEADER_BYTES};

/// The work of a bare server with its frames.
pub(super) trait Service {
    /// Takes a frame's head and either appends the reply to `out` now or answers later.
    fn frame(&mut self, conn: Token, head: &[u8], out: &mut Vec<u8>);

    /// Takes the bytes of the frames that [`Service::frame`] has just been told of, or parts of
    /// them.
    fn bytes(&mut self, _bytes: &[u8]) {}

    /// Takes a completion of its own, and may queue operations. Pushes what can be answered now to
    /// `answers`.
    fn event(&mut self, _event: Event, _answers: &mut Vec<(Token, Xid)>) -> Result<(), BenchError> {
        Ok(())
    }

    /// Called once per turn, before the ring's: queues its operations, and pushes what can be
    /// answered now to `answers`.
    fn turn(
        &mut self,
        _ring: &mut Ring,
        _answers: &mut Vec<(Token, Xid)>,
    ) -> Result<(), BenchError> {
        Ok(())
    }
}

/// An xid as it stands in a frame.
pub(super) type Xid = [u8; 4];

/// Listens on `address`, says so as `name`, and serves until `duration` is over or a signal ends
/// the process. `open` makes the service, before anybody is let in.
pub(super) fn serve<S: Service>(
    name: &str,
    address: SocketAddr,
    spin: Duration,
    duration: f64,
    open: impl FnOnce(&Ring) -> Result<S, BenchError>,
    replies: Replies,
) -> Result<(), BenchError> {
    let listener = listen(address).map_err(BenchError::io(format!("listening on {address}")))?;
    // The sockets that it accepts inherit this.
    rustix::net::sockopt::set_tcp_nodelay(&listener, true).map_err(|error| BenchError::Io {
        doing: "setting TCP_NODELAY".to_owned(),
        error: error.into(),
    })?;
    let mut ring = Ring::new(super::ring_config(spin))?;
    let service = open(&ring)?;
    ring.accept(LISTENER, listener.as_fd())?;
    say_error!("{name} on {address}");
    let conns = Conns { ring, conns: Vec::new(), free: Vec::new(), dirty: Vec::new() };
    let mut served = Served { conns, service, replies, answers: Vec::new() };
    let deadline = Instant::now() + Duration::from_secs_f64(duration.clamp(0.0, 1e6));
    while Instant::now() < deadline {
        served.turn()?;
        served.conns.flush()?;
        served.conns.ring.turn(Wait::For(TICK))?;
        while let Some(event) = served.conns.ring.next_event() {
            served.on_event(event, &listener)?;
        }
    }
    Ok(())
}

/// Listens, trying for a while: the kernel tears the ring of a killed process down in the
/// background, and until that is done its accept holds the port.
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

struct Served<S> {
    conns: Conns,
    service: S,
    replies: Replies,
    answers: Vec<(Token, Xid)>,
}

struct Conns {
    ring: Ring,
    conns: Vec<Conn>,
    free: Vec<u32>,
    dirty: Vec<u32>,
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

impl<S: Service> Served<S> {
    fn turn(&mut self) -> Result<(), BenchError> {
        self.service.turn(&mut self.conns.ring, &mut self.answers)?;
        self.answer();
        Ok(())
    }

    fn answer(&mut self) {
        for (conn, xid) in self.answers.drain(..) {
            self.conns.answer(conn, xid, &self.replies);
        }
    }

    fn on_event(&mut self, event: Event, listener: &TcpListener) -> Result<(), BenchError> {
        let conns = &mut self.conns;
        match event {
            Event::Accepted { socket, .. } => {
                conns.on_accepted(socket)?;
                conns.ring.accept(LISTENER, listener.as_fd())?;
            }
            Event::AcceptFailed { .. } => conns.ring.accept(LISTENER, listener.as_fd())?,
            Event::Received { conn, chunk, armed } => {
                let (at, service) = (&mut conns.conns[conn.slot as usize], &mut self.service);
                let cut = at.cutter.cut(&chunk, |head| service.frame(conn, head, &mut at.out));
                service.bytes(&chunk);
                match &at.socket {
                    Some(socket) if !armed && cut.is_ok() => {
                        conns.ring.receive(conn, socket.as_fd())?
                    }
                    Some(socket) if cut.is_err() => conns.ring.cancel_all(conn, socket.as_fd())?,
                    _ => {}
                }
                conns.mark_dirty(conn.slot);
            }
            Event::ReceiveStopped { conn, cause: ReceiveStop::NoBuffers } => {
                if let Some(socket) = &conns.conns[conn.slot as usize].socket {
                    conns.ring.receive(conn, socket.as_fd())?;
                }
            }
            Event::ReceiveStopped { conn, .. } => {
                conns.conns[conn.slot as usize].socket = None;
                conns.free_if_done(conn.slot);
            }
            Event::Sent { conn, buffer, .. } => conns.on_sent(conn, buffer),
            Event::Synced { .. } => {
                self.service.event(event, &mut self.answers)?;
                self.answer();
            }
            _ => {}
        }
        Ok(())
    }
}

impl Conns {
    fn on_accepted(&mut self, socket: OwnedFd) -> Result<(), BenchError> {
        let slot = self.free.pop().unwrap_or(self.conns.len() as u32);
        let before = self.conns.get(slot as usize);
        let token = before.map_or(Token::new(slot, 0), |conn| conn.token.next_generation());
        self.ring.receive(token, socket.as_fd())?;
        let (out, spare, cutter) = (Vec::new(), Vec::new(), FrameCutter::default());
        let conn =
            Conn { socket: Some(socket), token, cutter, out, spare, sending: false, dirty: false };
        match self.conns.get_mut(slot as usize) {
            Some(old) => *old = conn,
            None => self.conns.push(conn),
        }
        Ok(())
    }

    /// Appends a setData's reply, unless the connection has gone meanwhile.
    fn answer(&mut self, conn: Token, xid: Xid, replies: &Replies) {
        let at = &mut self.conns[conn.slot as usize];
        if at.token == conn {
            replies.append_to(SET_DATA, xid, &mut at.out);
            self.mark_dirty(conn.slot);
        }
    }

    fn on_sent(&mut self, conn: Token, mut buffer: Vec<u8>) {
        let at = &mut self.conns[conn.slot as usize];
        buffer.clear();
        at.spare = buffer;
        at.sending = false;
        if !at.out.is_empty() {
            self.mark_dirty(conn.slot);
        }
        self.free_if_done(conn.slot);
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
pub(super) struct Replies {
    by_code: Vec<Vec<u8>>,
}

impl Replies {
    /// Replies of a server whose znodes hold `payload` bytes.
    pub(super) fn new(payload: u32) -> Self {
        let reply = |code| {
            let body = Op::reply_body_bytes(code, payload as usize, PATH_BYTES);
            let mut frame = vec![0; REPLY_HEADER_BYTES + body];
            frame[..4].copy_from_slice(&((REPLY_HEADER_BYTES - 4 + body) as u32).to_be_bytes());
            frame
        };
        Replies { by_code: (0..CODES).map(reply).collect() }
    }

    /// Appends the reply to the request whose head this is.
    pub(super) fn append(&self, out: &mut Vec<u8>, head: &[u8]) {
        let code = head
            .get(8..12)
            .and_then(|bytes| bytes.first_chunk())
            .map_or(0, |bytes| i32::from_be_bytes(*bytes));
        self.append_to(code, xid_of(head), out);
    }

    fn append_to(&self, code: i32, xid: Xid, out: &mut Vec<u8>) {
        let reply = usize::try_from(code)
            .ok()
            .and_then(|code| self.by_code.get(code))
            .unwrap_or(&self.by_code[0]);
        let start = out.len();
        out.extend_from_slice(reply);
        out[start + 4..start + 8].copy_from_slice(&xid);
    }
}

/// The xid of the request whose head this is; zeros where it is too short for one.
pub(super) fn xid_of(head: &[u8]) -> Xid {
    head.get(4..8).and_then(|bytes| bytes.first_chunk()).copied().unwrap_or_default()
}

const LISTENER: Token = Token::new(u32::MAX, 0);

const BIND_TIME: Duration = Duration::from_secs(2);

const TICK: Duration = Duration::from_millis(100);

/// Operation codes with a reply of their own.
const CODES: i32 = 32;

const SET_DATA: i32 = 5;

/// Bytes of a path that the load generator would create.
const PATH_BYTES: usize = 48;
