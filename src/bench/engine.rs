//! Sessions and their completion loop: keeps as many requests outstanding as asked for, or sends
//! them on a fixed schedule, and times each reply. What the requests are, and what becomes of the
//! replies, is the [`Work`]'s affair.

use std::collections::VecDeque;
use std::mem;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crate::runtime::ring::{Chunk, Event, ReceiveStop, Ring, Token, Wait};

use super::BenchError;
use super::plain::{self, CONNECT_TIME};
use super::wire::{self, FrameCutter, Op};

/// The load on the server.
pub(super) trait Work {
    /// Appends the next request of `session` to `out`, or has none for it now.
    fn request(&mut self, session: u32, xid: i32, out: &mut Vec<u8>) -> Option<Asked>;

    /// Takes a reply.
    fn reply(&mut self, reply: Reply) -> Result<(), BenchError>;

    /// Called once per turn of the loop; decides whether requests go on.
    fn turn(&mut self, now_ns: u64) -> Phase;

    /// Takes a watch event; most work sets no watch.
    fn event(&mut self, _session: u32) {}

    /// Takes the end of a connection. Most work expects none.
    fn closed(&mut self, session: u32, cause: String) -> Result<(), BenchError> {
        Err(BenchError::Lost { session, cause })
    }
}

/// A request, to be matched with its reply.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) op: Op,
    /// The work's own note.
    pub(super) tag: u64,
}

/// A reply to a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reply {
    pub(super) asked: Asked,
    pub(super) error: i32,
    /// The four bytes after the reply's header.
    pub(super) first: i32,
    /// From the request's intended start to now.
    pub(super) latency_ns: u64,
}

/// Whether the loop goes on asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Ask.
    Issue,
    /// Ask no more, wait for what is outstanding, and return.
    Drain,
    /// Return at once, whatever is outstanding.
    Leave,
}

/// The address and the way to connect.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// The servers, at least one: session after session they take turns.
    pub(super) servers: Vec<SocketAddr>,
    pub(super) sessions: u32,
    pub(super) timeout_ms: u32,
    /// The time to look out for replies before sleeping.
    pub(super) spin: Duration,
    /// A bare echo server takes no handshake.
    pub(super) echo: bool,
    /// Every request goes out in a send of its own, as most clients do it, instead of all of a
    /// turn's in one.
    pub(super) one_by_one: bool,
}

/// Open sessions on one ring.
pub(super) struct Engine {
    ring: Ring,
    sessions: Vec<Session>,
    /// Sessions with bytes to send.
    dirty: Vec<u32>,
    clock: Instant,
    outstanding: u64,
    heard_ns: u64,
    pinged_ns: u64,
    ping_every_ns: u64,
    echo: bool,
    one_by_one: bool,
}

struct Session {
    socket: TcpStream,
    token: Token,
    out: Vec<u8>,
    spare: Vec<u8>,
    sending: bool,
    dirty: bool,
    xid: i32,
    inflight: VecDeque<Pending>,
    cutter: FrameCutter,
}

struct Pending {
    started_ns: u64,
    asked: Asked,
    xid: i32,
}

/// A fixed schedule of arrivals.
struct Schedule {
    start_ns: u64,
    interval_ns: f64,
    arrived: u64,
    cursor: usize,
}

impl Engine {
    /// Connects every session, some at a time, and starts receiving.
    pub(super) fn connect(target: &Target) -> Result<Self, BenchError> {
        let mut ring = Ring::new(super::ring_config(target.spin))?;
        let mut sessions = Vec::with_capacity(target.sessions as usize);
        let slots: Vec<u32> = (0..target.sessions).collect();
        for some in slots.chunks(CONNECTING_MAX) {
            let doing = || format!("opening session {} with {:?}", some[0], target.servers);
            let opened: Result<Vec<_>, _> =
                some.iter().map(|&slot| Session::begin(target, slot)).collect();
            for mut session in opened.map_err(BenchError::io(doing()))? {
                session.finish(target).map_err(BenchError::io(doing()))?;
                ring.receive(session.token, session.socket.as_fd())?;
                sessions.push(session);
            }
        }
        Ok(Engine {
            ring,
            sessions,
            dirty: Vec::new(),
            clock: Instant::now(),
            outstanding: 0,
            heard_ns: 0,
            pinged_ns: 0,
            ping_every_ns: u64::from(target.timeout_ms) * 1_000_000 / 3,
            echo: target.echo,
            one_by_one: target.one_by_one,
        })
    }

    /// Runs `work` with up to `window` requests outstanding per session; with a `rate`, in requests
    /// per second, on its schedule. Returns when the work wants no more and every reply is there.
    pub(super) fn run(
        &mut self,
        work: &mut impl Work,
        window: u32,
        rate: Option<f64>,
    ) -> Result<(), BenchError> {
        let window = window as usize;
        let mut now = self.now_ns();
        self.heard_ns = now;
        let mut schedule = rate.map(|rate| Schedule::new(now, rate));
        if schedule.is_none() {
            (0..self.sessions.len()).for_each(|slot| self.fill(slot, work, window, now));
        }
        let mut phase = work.turn(now);
        while phase == Phase::Issue || (phase == Phase::Drain && self.outstanding > 0) {
            if let (Some(schedule), Phase::Issue) = (&mut schedule, phase) {
                self.arrivals(schedule, work, window, now);
            }
            self.flush()?;
            self.ring.turn(Self::wait(schedule.as_ref(), self.now_ns()))?;
            now = self.now_ns();
            let refill = (phase == Phase::Issue && schedule.is_none()).then_some(window);
            while let Some(event) = self.ring.next_event() {
                self.on_event(event, work, refill, now)?;
            }
            self.keep_alive(now)?;
            phase = work.turn(now);
        }
        Ok(())
    }

    /// Ends every session as a client does, waiting a short while for the server to see to it.
    pub(super) fn close(mut self) -> Result<(), BenchError> {
        if self.echo {
            return Ok(());
        }
        for slot in 0..self.sessions.len() {
            let session = &mut self.sessions[slot];
            let xid = session.next_xid();
            wire::append_close(&mut session.out, xid);
            self.mark_dirty(slot);
        }
        let deadline = Instant::now() + CLOSE_TIME;
        let mut open = self.sessions.len();
        while open > 0 && Instant::now() < deadline {
            self.flush()?;
            self.ring.turn(Wait::For(TICK))?;
            while let Some(event) = self.ring.next_event() {
                match event {
                    Event::Sent { conn, buffer, .. } => self.on_sent(conn, buffer),
                    Event::ReceiveStopped { conn, cause: ReceiveStop::NoBuffers } => {
                        self.ring
                            .receive(conn, self.sessions[conn.slot as usize].socket.as_fd())?;
                    }
                    Event::ReceiveStopped { .. } => open -= 1,
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn on_event(
        &mut self,
        event: Event,
        work: &mut impl Work,
        refill: Option<usize>,
        now: u64,
    ) -> Result<(), BenchError> {
        match event {
            Event::Received { conn, chunk, armed } => {
                self.on_received(conn, chunk, armed, work, now)?;
                if let Some(window) = refill {
                    self.fill(conn.slot as usize, work, window, now);
                }
                Ok(())
            }
            Event::Sent { conn, buffer, sent } => {
                if sent != Ok(buffer.len()) {
                    return Err(BenchError::Lost {
                        session: conn.slot,
                        cause: format!("send ended with {sent:?}"),
                    });
                }
                self.on_sent(conn, buffer);
                Ok(())
            }
            Event::ReceiveStopped { conn, cause: ReceiveStop::NoBuffers } => {
                Ok(self.ring.receive(conn, self.sessions[conn.slot as usize].socket.as_fd())?)
            }
            Event::ReceiveStopped { conn, cause } => {
                work.closed(conn.slot, format!("{cause:?}"))?;
                let unanswered = mem::take(&mut self.sessions[conn.slot as usize].inflight);
                self.outstanding -= unanswered.len() as u64;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn on_received(
        &mut self,
        conn: Token,
        chunk: Chunk,
        armed: bool,
        work: &mut impl Work,
        now: u64,
    ) -> Result<(), BenchError> {
        let session = &mut self.sessions[conn.slot as usize];
        let (inflight, mut first_error) = (&mut session.inflight, None);
        let mut replies = 0;
        let cut = session.cutter.cut(&chunk, |head| {
            match take_reply(head, inflight, now) {
                Ok(Heard::Reply(reply)) => {
                    replies += 1;
                    if let Err(error) = work.reply(reply) {
                        first_error.get_or_insert(error);
                    }
                }
                Ok(Heard::Event) => work.event(conn.slot),
                Ok(Heard::Ping) => {}
                Err(what) => {
                    first_error.get_or_insert(BenchError::Protocol { session: conn.slot, what });
                }
            };
        });
        self.outstanding -= replies;
        self.heard_ns = now;
        if !armed {
            self.ring.receive(conn, session.socket.as_fd())?;
        }
        match (cut, first_error) {
            (_, Some(error)) => Err(error),
            (Err(_), None) => Err(BenchError::Protocol {
                session: conn.slot,
                what: "a frame of impossible length",
            }),
            _ => Ok(()),
        }
    }

    fn on_sent(&mut self, conn: Token, mut buffer: Vec<u8>) {
        let session = &mut self.sessions[conn.slot as usize];
        buffer.clear();
        session.spare = buffer;
        session.sending = false;
        if !session.out.is_empty() {
            self.mark_dirty(conn.slot as usize);
        }
    }

    /// Fills the window of a session.
    fn fill(&mut self, slot: usize, work: &mut impl Work, window: usize, now: u64) {
        let mut asked = false;
        while self.sessions[slot].inflight.len() < window && self.ask(slot, work, now) {
            asked = true;
        }
        if asked {
            self.mark_dirty(slot);
        }
    }

    /// Asks everything that is due by now, of whichever session comes next and has room.
    fn arrivals(&mut self, schedule: &mut Schedule, work: &mut impl Work, window: usize, now: u64) {
        while schedule.due_ns() <= now {
            let sessions = self.sessions.len();
            let free = (0..sessions)
                .map(|step| (schedule.cursor + step) % sessions)
                .find(|&slot| self.sessions[slot].inflight.len() < window);
            let Some(slot) = free else { return };
            if !self.ask(slot, work, schedule.due_ns()) {
                return;
            }
            self.mark_dirty(slot);
            schedule.cursor = slot + 1;
            schedule.arrived += 1;
        }
    }

    fn ask(&mut self, slot: usize, work: &mut impl Work, started_ns: u64) -> bool {
        let session = &mut self.sessions[slot];
        let Some(asked) = work.request(slot as u32, session.xid, &mut session.out) else {
            return false;
        };
        let xid = session.next_xid();
        session.inflight.push_back(Pending { started_ns, asked, xid });
        self.outstanding += 1;
        true
    }

    fn mark_dirty(&mut self, slot: usize) {
        let session = &mut self.sessions[slot];
        if !mem::replace(&mut session.dirty, true) {
            self.dirty.push(slot as u32);
        }
    }

    /// Sends what every session has to say: all its frames in one, or its first frame alone. A
    /// session that is still sending keeps its bytes until that send has ended.
    fn flush(&mut self) -> Result<(), BenchError> {
        for slot in self.dirty.drain(..) {
            let session = &mut self.sessions[slot as usize];
            session.dirty = false;
            if !session.sending {
                session.sending = true;
                let mut buffer = mem::replace(&mut session.out, mem::take(&mut session.spare));
                if self.one_by_one {
                    session.out.extend_from_slice(&buffer[wire::first_frame_bytes(&buffer)..]);
                    buffer.truncate(buffer.len() - session.out.len());
                }
                self.ring.send(session.token, session.socket.as_fd(), buffer)?;
            }
        }
        Ok(())
    }

    /// Pings every session now and then, which busy ones do not need but idle ones do; notices a
    /// silent server.
    fn keep_alive(&mut self, now: u64) -> Result<(), BenchError> {
        if self.outstanding > 0 && now - self.heard_ns > SILENCE.as_nanos() as u64 {
            return Err(BenchError::Silent { seconds: SILENCE.as_secs() });
        }
        if !self.echo && now - self.pinged_ns > self.ping_every_ns {
            self.pinged_ns = now;
            for slot in 0..self.sessions.len() {
                wire::append_ping(&mut self.sessions[slot].out);
                self.mark_dirty(slot);
            }
        }
        Ok(())
    }

    fn wait(schedule: Option<&Schedule>, now: u64) -> Wait {
        match schedule.map(|schedule| schedule.due_ns().saturating_sub(now)) {
            Some(0) => Wait::Poll,
            Some(ns) => Wait::For(TICK.min(Duration::from_nanos(ns))),
            None => Wait::For(TICK),
        }
    }

    /// The server of each session.
    #[cfg(test)]
    pub(super) fn peers(&self) -> Vec<SocketAddr> {
        let peer = |session: &Session| session.socket.peer_addr().expect("it is connected");
        self.sessions.iter().map(peer).collect()
    }

    fn now_ns(&self) -> u64 {
        self.clock.elapsed().as_nanos() as u64
    }
}

/// The kind of a frame from the server.
enum Heard {
    Reply(Reply),
    Event,
    Ping,
}

/// Matches a reply with the request that has waited longest.
fn take_reply(
    head: &[u8],
    inflight: &mut VecDeque<Pending>,
    now: u64,
) -> Result<Heard, &'static str> {
    let header = wire::reply_header(head).ok_or("a frame too short for a reply")?;
    match header.xid {
        wire::XID_PING => return Ok(Heard::Ping),
        wire::XID_EVENT => return Ok(Heard::Event),
        _ => {}
    }
    let pending = inflight.pop_front().ok_or("a reply that nobody waits for")?;
    if pending.xid != header.xid {
        return Err("replies out of order");
    }
    let latency_ns = now.saturating_sub(pending.started_ns);
    Ok(Heard::Reply(Reply {
        asked: pending.asked,
        error: header.error,
        first: header.first,
        latency_ns,
    }))
}

impl Session {
    /// Connects and asks for a session.
    fn begin(target: &Target, slot: u32) -> std::io::Result<Self> {
        let server = target.servers[slot as usize % target.servers.len()];
        let mut socket = TcpStream::connect_timeout(&server, CONNECT_TIME)?;
        socket.set_nodelay(true)?;
        if !target.echo {
            plain::ask_for_session(&mut socket, target.timeout_ms)?;
        }
        Ok(Session {
            socket,
            token: Token::new(slot, 0),
            out: Vec::new(),
            spare: Vec::new(),
            sending: false,
            dirty: false,
            xid: 1,
            inflight: VecDeque::new(),
            cutter: FrameCutter::default(),
        })
    }

    /// Waits for the session.
    fn finish(&mut self, target: &Target) -> std::io::Result<()> {
        if target.echo { Ok(()) } else { plain::await_session(&mut self.socket) }
    }

    /// The xid to use now; the next one follows, always positive.
    fn next_xid(&mut self) -> i32 {
        let xid = self.xid;
        self.xid = xid.checked_add(1).unwrap_or(1);
        xid
    }
}

impl Schedule {
    fn new(start_ns: u64, rate: f64) -> Self {
        Schedule { start_ns, interval_ns: 1e9 / rate, arrived: 0, cursor: 0 }
    }

    /// The time at which the next request is to start.
    fn due_ns(&self) -> u64 {
        self.start_ns + (self.arrived as f64 * self.interval_ns) as u64
    }
}

/// Connections that are opened at a time; more would not fit into a listener's queue.
const CONNECTING_MAX: usize = 64;

const TICK: Duration = Duration::from_millis(100);

const CLOSE_TIME: Duration = Duration::from_secs(3);

const SILENCE: Duration = Duration::from_secs(30);
