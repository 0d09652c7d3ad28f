//! One shard: the sockets of its clients, and the frontend machine that speaks to them.
//!
//! It moves bytes between ring and machine and carries out the machine's effects; what is said to
//! clients is the machine's business alone.

use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crossbeam::queue::SegQueue;
use log::{debug, warn};
use rustix::net::SendFlags;

use crate::frontend::{CloseReason, Effect, Frontend, Hold};
use crate::handoff::{ConnId, LateTouches, ShardId, ToQuorum, ToShard, TouchReport};
use crate::tree::Tree;
use crate::zxid::Now;

use super::admission::{Admission, Full};
use super::lane::{Lane, WakeHandle};
use super::ring::{Event, OpKind, ReceiveStop, Ring, RingError, Token, UserData};
use super::sockets::{Socket, Sockets, Stage, conn, token};
use super::warnings::Warnings;

/// A message to a shard other than committed batches.
pub enum Control {
    /// A connection that another shard has accepted, or whose session this shard owns, with the
    /// bytes that nobody has decoded yet.
    Adopt { descriptor: OwnedFd, peer: SocketAddr, bytes: Vec<u8> },
    /// The answer to a four-letter word.
    WordAnswer { conn: ConnId, bytes: Vec<u8> },
    /// Run this on the frontend: how the words ask for reports.
    Inspect(Inspection),
    /// Accept nothing more, finish what is in flight, close every connection.
    Drain,
}

/// A look of the words at a frontend.
pub type Inspection = Box<dyn FnOnce(&mut Frontend, Now) + Send>;

/// A four-letter word for the server to answer.
pub struct WordRequest {
    pub shard: ShardId,
    pub conn: ConnId,
    pub word: [u8; 4],
    /// The mask that follows `stmk`.
    pub argument: Option<i64>,
}

/// A shard's ways to the others.
pub struct Links {
    pub to_quorum: Arc<Lane<ToQuorum>>,
    /// The sessions that the shard has heard of; the waking goes by `to_quorum`.
    pub touches: Arc<Lane<TouchReport>>,
    /// The quorum core runs on this very executor and needs no waking.
    pub quorum_is_local: bool,
    pub from_quorum: Arc<Lane<ToShard>>,
    /// The milliseconds for which the tree is to stay as it is, for the quorum core to read.
    pub still_ms: Arc<AtomicU32>,
    /// One per shard, this one's included.
    pub controls: Vec<Arc<ControlLane>>,
    pub words: crossbeam::channel::Sender<WordRequest>,
    pub admission: Arc<Admission>,
}

/// The rarely used way into a shard; unbounded, as connections and words are counted elsewhere.
pub struct ControlLane {
    queue: SegQueue<Control>,
    waker: WakeHandle,
}

impl Default for ControlLane {
    fn default() -> Self {
        Self { queue: SegQueue::new(), waker: WakeHandle::default() }
    }
}

impl ControlLane {
    /// Puts a message in and wakes the shard.
    pub fn send(&self, control: Control) {
        self.queue.push(control);
        self.waker.wake();
    }

    /// Names the ring to be woken.
    pub fn wake_with(&self, waker: super::ring::Waker) {
        self.waker.wake_with(waker);
    }
}

/// See the module's head.
pub struct Shard {
    id: ShardId,
    frontend: Frontend,
    sockets: Sockets,
    listener: Option<OwnedFd>,
    links: Links,
    /// Connections with something to send.
    writable: Vec<ConnId>,
    /// Messages that found the quorum core's lane full. Bounded: the frontend stops reading at its
    /// outstanding limit.
    backlog: std::collections::VecDeque<ToQuorum>,
    late_touches: LateTouches,
    /// Connections that are closing or lingering, until their time is over.
    ending: Vec<ConnId>,
    /// Accepts that failed, to be asked for again at the next tick.
    accept_later: Vec<Token>,
    /// It has been said that accepting fails.
    accept_has_failed: bool,
    /// Connections that were turned away, and closed for each reason.
    refusals: Warnings,
    closed: [Warnings; CloseReason::ALL.len()],
    draining: bool,
    /// Connections that have not heard of that.
    to_drain: Vec<ConnId>,
}

impl Shard {
    /// A shard that accepts on `listener`.
    pub fn new(id: ShardId, frontend: Frontend, listener: OwnedFd, links: Links) -> Self {
        Self {
            id,
            frontend,
            sockets: Sockets::default(),
            listener: Some(listener),
            links,
            writable: Vec::new(),
            backlog: Default::default(),
            late_touches: LateTouches::default(),
            ending: Vec::new(),
            accept_later: Vec::new(),
            accept_has_failed: false,
            refusals: Warnings::default(),
            closed: Default::default(),
            draining: false,
            to_drain: Vec::new(),
        }
    }

    /// Starts accepting.
    pub fn start(&mut self, ring: &mut Ring) -> Result<(), RingError> {
        (0..ACCEPTS).try_for_each(|nth| self.accept(accept_token(nth), ring))
    }

    /// The machine itself, for tests that have no sockets.
    #[cfg(all(test, feature = "loom"))]
    pub(super) fn frontend(&mut self) -> &mut Frontend {
        &mut self.frontend
    }

    /// Whether the frontend waits for watch events at all.
    pub fn watching(&self) -> bool {
        self.frontend.is_watching()
    }

    /// Whether nothing is left to do after a [`Control::Drain`].
    pub fn drained(&self) -> bool {
        self.draining && self.sockets.is_empty()
    }

    /// Whether messages wait that this shard has not looked at.
    pub fn has_work(&self) -> bool {
        !self.links.from_quorum.is_empty()
            || !self.links.controls[usize::from(self.id.0)].queue.is_empty()
            || !self.backlog.is_empty()
            || !self.to_drain.is_empty()
            || !self.late_touches.is_empty()
            || self.frontend.has_work()
            || self.frontend.has_effects()
    }

    /// Handles one completion.
    pub fn on_event(
        &mut self,
        event: Event,
        ring: &mut Ring,
        hold: &mut Hold<'_>,
        now: Now,
    ) -> Result<(), RingError> {
        match event {
            Event::Received { conn: from, chunk, armed } => {
                let from = conn(from);
                let Some(socket) = self.sockets.get(from) else { return Ok(()) };
                socket.receiving = armed;
                match &mut socket.stage {
                    Stage::Open => self.frontend.on_bytes(from, &chunk, hold),
                    Stage::Moving { bytes, .. } => bytes.extend_from_slice(&chunk),
                    Stage::Closing { .. } | Stage::Lingering { .. } | Stage::Gone => {}
                }
                drop(chunk);
                if armed {
                    Ok(())
                } else {
                    self.on_receive_stopped(from, ReceiveStop::NoBuffers, ring)
                }
            }
            Event::ReceiveStopped { conn: from, cause } => {
                self.on_receive_stopped(conn(from), cause, ring)
            }
            Event::Sent { conn: to, buffer, sent } => {
                self.on_sent(conn(to), buffer, sent, ring, now)
            }
            Event::Accepted { listener, socket } => {
                self.accept_has_failed = false;
                self.on_accepted(socket, ring, now)?;
                self.accept(listener, ring)
            }
            Event::AcceptFailed { listener, error } => {
                self.on_accept_failed(listener, error);
                Ok(())
            }
            Event::CloseFailed { error, .. } => {
                debug!("closing a connection failed: {error}");
                Ok(())
            }
            Event::Synced { .. } | Event::Readable { .. } | Event::PollStopped { .. } => Ok(()),
        }
    }

    /// Takes in what the quorum core has sent, with the tree held for reading. `None` if there is
    /// more than one turn's work, or more than there is time for: see [`Frontend::drain_in_time`].
    pub fn drain<'t>(
        &mut self,
        tree: &'t Tree,
        now: Now,
        in_time: impl FnMut(u32) -> bool,
    ) -> Option<Hold<'t>> {
        let Self { frontend, links, .. } = self;
        frontend.drain_in_time(tree, now, || links.from_quorum.pop(), in_time)
    }

    /// Goes on with a long read for which the tree stays as it is, in any case, and then with
    /// waiting requests until there are none, the hold's work is done, or `in_time`
    /// says that its time is over; it is told the units of work done so far.
    pub fn serve_waiting(&mut self, hold: &mut Hold<'_>, mut in_time: impl FnMut(u32) -> bool) {
        self.frontend.serve_still_reader(hold);
        while in_time(hold.work()) && self.frontend.serve_next(hold) {}
    }

    /// Takes in the rare messages, some in each turn.
    pub fn drain_controls(
        &mut self,
        ring: &mut Ring,
        hold: &mut Hold<'_>,
        now: Now,
    ) -> Result<(), RingError> {
        for _ in 0..CONTROLS_PER_TURN {
            let Some(control) = self.links.controls[usize::from(self.id.0)].queue.pop() else {
                break;
            };
            match control {
                // The client goes to another server, as those do that are closed by the drain.
                Control::Adopt { peer, .. } if self.draining => {
                    self.links.admission.leave(peer.ip(), self.id)
                }
                Control::Adopt { descriptor, peer, bytes } => {
                    let adopted = self.open(descriptor, peer, ring, now)?;
                    if !bytes.is_empty() {
                        self.frontend.on_bytes(adopted, &bytes, hold);
                    }
                }
                Control::WordAnswer { conn, bytes } => self.frontend.on_word_answer(conn, bytes),
                Control::Inspect(look) => look(&mut self.frontend, now),
                Control::Drain => self.begin_drain(ring)?,
            }
        }
        self.go_on_draining();
        Ok(())
    }

    /// Deadlines, a few times a second.
    pub fn on_tick(&mut self, ring: &mut Ring, now: Now) -> Result<(), RingError> {
        self.frontend.on_tick(now);
        for listener in std::mem::take(&mut self.accept_later) {
            self.accept(listener, ring)?;
        }
        for ending in std::mem::take(&mut self.ending) {
            match self.sockets.get(ending).map(|socket| &socket.stage) {
                Some(Stage::Closing { until_ms } | Stage::Lingering { until_ms })
                    if *until_ms <= now.mono_ms =>
                {
                    self.frontend.on_closed(ending);
                    self.remove(ending, ring)?;
                }
                Some(Stage::Closing { .. } | Stage::Lingering { .. }) => self.ending.push(ending),
                _ => {}
            }
        }
        Ok(())
    }

    /// Carries out what the frontend wants.
    pub fn run_effects(&mut self, ring: &mut Ring, now: Now) -> Result<(), RingError> {
        let mut closes = 0;
        while closes < CLOSES_PER_TURN
            && let Some(effect) = self.frontend.poll()
        {
            closes += usize::from(matches!(effect, Effect::Close { .. }));
            match effect {
                Effect::Writable(conn) => self.writable.push(conn),
                Effect::ToQuorum(message) => self.hand_off(message),
                Effect::Touches(report) => {
                    self.late_touches.send(report, |report| self.links.touches.push(report))
                }
                Effect::Close { conn, why } => self.close(conn, why, ring, now)?,
                Effect::PauseReading(conn) => self.pause(conn, ring)?,
                Effect::ResumeReading(conn) => {
                    if let Some(socket) = self.sockets.get(conn) {
                        socket.paused = false;
                    }
                    self.receive_again(conn, ring)?;
                }
                Effect::Word { conn, word, argument } => {
                    // The other end lives as long as the server; at its end nobody waits for
                    // answers.
                    let _ =
                        self.links.words.send(WordRequest { shard: self.id, conn, word, argument });
                }
                Effect::MoveTo { conn, shard, bytes } => {
                    self.begin_move(conn, shard, bytes, ring)?
                }
            }
        }
        let still_ms = self.frontend.wants_still_ms(now);
        let ends = self.links.still_ms.swap(still_ms, Ordering::Relaxed) > 0 && still_ms == 0;
        if !self.backlog.is_empty() {
            self.push_backlog();
        }
        self.late_touches.resend(|report| self.links.touches.push(report));
        let sent = !self.links.to_quorum.is_empty() || !self.links.touches.is_empty();
        if (sent || ends) && !self.links.quorum_is_local {
            self.links.to_quorum.wake();
        }
        Ok(())
    }

    /// Queues one send for every connection that has something to say.
    pub fn flush(&mut self, ring: &mut Ring, now: Now) -> Result<(), RingError> {
        let mut writable = std::mem::take(&mut self.writable);
        if let [alone] = writable[..] {
            self.send_at_once(alone);
        }
        for conn in writable.drain(..) {
            self.send(conn, ring, now)?;
        }
        self.writable = writable;
        Ok(())
    }

    /// What one connection alone has to say goes by a system call of its own, which does not wait.
    /// A send of the ring's ends with a completion, which would cost one more turn for each reply.
    /// What is left, and every error, is the ring's.
    fn send_at_once(&mut self, to: ConnId) {
        let Some(socket) = self.sockets.get(to) else { return };
        let output = self.frontend.output(to);
        let is_short = (1..=SEND_BYTES_MAX).contains(&output.len());
        if socket.sending || !matches!(socket.stage, Stage::Open) || !is_short {
            return;
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let Ok(sent) = rustix::net::send(socket.fd(), output, flags) else { return };
        output.drain(..sent);
        self.frontend.on_sent(to, sent);
    }

    fn send(&mut self, to: ConnId, ring: &mut Ring, now: Now) -> Result<(), RingError> {
        let Some(socket) = self.sockets.get(to) else { return Ok(()) };
        if socket.sending || !matches!(socket.stage, Stage::Open | Stage::Closing { .. }) {
            return Ok(());
        }
        let output = self.frontend.output(to);
        if output.is_empty() {
            return match socket.stage {
                Stage::Closing { .. } => self.linger(to, ring, now),
                _ => Ok(()),
            };
        }
        let bytes = std::mem::replace(output, std::mem::take(&mut socket.spare));
        assert!(socket.sent == 0, "a buffer is sent from its beginning");
        socket.sending = true;
        let part = next_part(0, bytes.len());
        ring.send_part(token(to), socket.fd(), bytes, part)
    }

    fn on_sent(
        &mut self,
        to: ConnId,
        mut buffer: Vec<u8>,
        sent: Result<usize, rustix::io::Errno>,
        ring: &mut Ring,
        now: Now,
    ) -> Result<(), RingError> {
        let Some(socket) = self.sockets.get(to) else { return Ok(()) };
        socket.sending = false;
        let part = next_part(socket.sent, buffer.len());
        let left = sent.is_ok_and(|sent| sent == part.len());
        if !left || matches!(socket.stage, Stage::Gone) {
            self.frontend.on_closed(to);
            return self.remove(to, ring);
        }
        if let Stage::Closing { until_ms } = &mut socket.stage {
            // Its client reads: it may go on.
            *until_ms = now.mono_ms + CLOSING_MS;
        }
        self.frontend.on_sent(to, part.len());
        if part.end < buffer.len() {
            socket.sent = part.end;
            socket.sending = true;
            let part = next_part(part.end, buffer.len());
            return ring.send_part(token(to), socket.fd(), buffer, part);
        }
        socket.sent = 0;
        buffer.clear();
        if buffer.capacity() <= SPARE_BYTES_MAX {
            socket.spare = buffer;
        }
        self.send(to, ring, now)
    }

    fn on_accepted(
        &mut self,
        descriptor: OwnedFd,
        ring: &mut Ring,
        now: Now,
    ) -> Result<(), RingError> {
        let peer = rustix::net::getpeername(&descriptor)
            .ok()
            .flatten()
            .and_then(|peer| SocketAddr::try_from(peer).ok());
        // Without a peer it has gone already.
        let Some(peer) = peer else { return Ok(()) };
        if self.draining {
            return Ok(());
        }
        match self.links.admission.enter(peer.ip(), self.id) {
            Ok(shard) if shard == self.id => self.open(descriptor, peer, ring, now).map(drop),
            Ok(shard) => {
                let bytes = Vec::new();
                self.links.controls[usize::from(shard.0)].send(Control::Adopt {
                    descriptor,
                    peer,
                    bytes,
                });
                Ok(())
            }
            Err(full) => {
                self.refusals.warn(now.mono_ms, || match full {
                    Full::Address(max) => format!(
                        "Too many connections from {} - max is {max} (maxClientCnxns)",
                        peer.ip()
                    ),
                    Full::Total(max) => {
                        format!("Too many connections, {peer} is refused - max is {max} (maxCnxns)")
                    }
                });
                Ok(())
            }
        }
    }

    fn open(
        &mut self,
        fd: OwnedFd,
        peer: SocketAddr,
        ring: &mut Ring,
        now: Now,
    ) -> Result<ConnId, RingError> {
        let opened = self.sockets.insert(fd, peer);
        self.frontend.on_accept(opened, peer, now);
        self.receive_again(opened, ring)?;
        Ok(opened)
    }

    /// Most likely there are too many open files: trying again at once would fail again, so the
    /// next tick does.
    fn on_accept_failed(&mut self, listener: Token, error: rustix::io::Errno) {
        if self.draining {
            return;
        }
        if !self.accept_has_failed {
            warn!(
                "accepting connections fails: {error}; raise the limit of open files (ulimit -n) \
                 if there are too many"
            );
        }
        self.accept_has_failed = true;
        self.accept_later.push(listener);
    }

    fn accept(&mut self, listener: Token, ring: &mut Ring) -> Result<(), RingError> {
        match &self.listener {
            Some(socket) => ring.accept(listener, socket.as_fd()),
            None => Ok(()),
        }
    }

    fn receive_again(&mut self, from: ConnId, ring: &mut Ring) -> Result<(), RingError> {
        match self.sockets.get(from) {
            Some(socket) if !socket.receiving && !socket.paused && socket.is_read() => {
                socket.receiving = true;
                ring.receive(token(from), socket.fd())
            }
            _ => Ok(()),
        }
    }

    fn on_receive_stopped(
        &mut self,
        from: ConnId,
        cause: ReceiveStop,
        ring: &mut Ring,
    ) -> Result<(), RingError> {
        let Some(socket) = self.sockets.get(from) else { return Ok(()) };
        socket.receiving = false;
        match (&socket.stage, cause) {
            (Stage::Gone, _) => Ok(()),
            (
                Stage::Moving { .. } | Stage::Lingering { .. },
                ReceiveStop::Closed | ReceiveStop::Failed(_),
            ) => self.remove(from, ring),
            // However the receive has ended, the cancellation finds it no more.
            (Stage::Moving { .. }, ReceiveStop::NoBuffers | ReceiveStop::Cancelled) => {
                self.end_move(from)
            }
            (_, ReceiveStop::NoBuffers | ReceiveStop::Cancelled) => self.receive_again(from, ring),
            (Stage::Open, ReceiveStop::Closed) => {
                self.frontend.on_eof(from);
                Ok(())
            }
            (Stage::Open, ReceiveStop::Failed(_)) => {
                self.frontend.on_closed(from);
                self.remove(from, ring)
            }
            (Stage::Closing { .. }, ReceiveStop::Closed | ReceiveStop::Failed(_)) => Ok(()),
        }
    }

    fn pause(&mut self, from: ConnId, ring: &mut Ring) -> Result<(), RingError> {
        let Some(socket) = self.sockets.get(from) else { return Ok(()) };
        socket.paused = true;
        if socket.receiving {
            ring.cancel(UserData::new(OpKind::Receive, token(from)))
        } else {
            Ok(())
        }
    }

    fn close(
        &mut self,
        ending: ConnId,
        why: CloseReason,
        ring: &mut Ring,
        now: Now,
    ) -> Result<(), RingError> {
        let Some(socket) = self.sockets.get(ending) else { return Ok(()) };
        let (peer, said) = (socket.peer, &mut self.closed[why as usize]);
        if why.is_trouble() {
            said.warn(now.mono_ms, || format!("the connection from {peer} is closed: {why}"));
        } else {
            debug!("the connection from {peer} is closed: {why}");
        }
        if socket.is_open() {
            socket.stage = Stage::Closing { until_ms: now.mono_ms + CLOSING_MS };
            self.ending.push(ending);
        }
        self.send(ending, ring, now)
    }

    /// Everything has been sent: shuts our side, and waits a moment for the peer to shut its own.
    fn linger(&mut self, ending: ConnId, ring: &mut Ring, now: Now) -> Result<(), RingError> {
        let Some(socket) = self.sockets.get(ending) else { return Ok(()) };
        self.frontend.on_closed(ending);
        let peer_has_closed = !socket.receiving && !socket.paused;
        if peer_has_closed {
            return self.remove(ending, ring);
        }
        socket.stage = Stage::Lingering { until_ms: now.mono_ms + LINGER_MS };
        socket.paused = false;
        // An error means that the peer has gone already.
        let _ = rustix::net::shutdown(&socket.descriptor, rustix::net::Shutdown::Write);
        self.receive_again(ending, ring)
    }

    fn remove(&mut self, gone: ConnId, ring: &mut Ring) -> Result<(), RingError> {
        match self.sockets.get(gone) {
            // The ring holds a buffer of this slot: its completion comes here again.
            Some(socket) if socket.sending => {
                socket.stage = Stage::Gone;
                let is_receiving = socket.receiving;
                ring.cancel(UserData::new(OpKind::Send, token(gone)))?;
                Self::stop_receiving(gone, is_receiving, ring)
            }
            _ => {
                let Some(Socket { descriptor, peer, receiving, .. }) = self.sockets.remove(gone)
                else {
                    return Ok(());
                };
                self.links.admission.leave(peer.ip(), self.id);
                Self::stop_receiving(gone, receiving, ring)?;
                ring.close(token(gone), descriptor)
            }
        }
    }

    /// Cancels the receive, if there is one. The kernel finds it by its name: to look for all that
    /// goes on on a descriptor it walks over the operations of every connection.
    fn stop_receiving(gone: ConnId, is_there: bool, ring: &mut Ring) -> Result<(), RingError> {
        if is_there { ring.cancel(UserData::new(OpKind::Receive, token(gone))) } else { Ok(()) }
    }

    fn begin_move(
        &mut self,
        moving: ConnId,
        to: ShardId,
        bytes: Vec<u8>,
        ring: &mut Ring,
    ) -> Result<(), RingError> {
        let Some(socket) = self.sockets.get(moving) else { return Ok(()) };
        socket.stage = Stage::Moving { to, bytes };
        if socket.receiving {
            return ring.cancel(UserData::new(OpKind::Receive, token(moving)));
        }
        self.end_move(moving)
    }

    fn end_move(&mut self, moved: ConnId) -> Result<(), RingError> {
        // Nothing has been sent on it: only its session's shard answers the connect request.
        let Some(Socket { descriptor, peer, stage: Stage::Moving { to, bytes }, .. }) =
            self.sockets.remove(moved)
        else {
            return Ok(());
        };
        self.links.admission.moved(self.id, to);
        self.links.controls[usize::from(to.0)].send(Control::Adopt { descriptor, peer, bytes });
        Ok(())
    }

    fn hand_off(&mut self, message: ToQuorum) {
        if !self.backlog.is_empty() {
            self.backlog.push_back(message);
        } else if let Err(message) = self.links.to_quorum.push(message) {
            self.backlog.push_back(message);
        }
    }

    fn push_backlog(&mut self) {
        while let Some(message) = self.backlog.pop_front() {
            if let Err(message) = self.links.to_quorum.push(message) {
                self.backlog.push_front(message);
                break;
            }
        }
    }

    fn begin_drain(&mut self, ring: &mut Ring) -> Result<(), RingError> {
        self.draining = true;
        if self.listener.take().is_some() {
            for nth in 0..ACCEPTS {
                ring.cancel(UserData::new(OpKind::Accept, accept_token(nth)))?;
            }
        }
        self.to_drain = self.sockets.ids();
        Ok(())
    }

    /// Some connections more hear that the server is about to stop.
    fn go_on_draining(&mut self) {
        let left = self.to_drain.len().saturating_sub(DRAINED_PER_TURN);
        self.to_drain.drain(left..).for_each(|conn| self.frontend.on_drain(conn));
    }
}

/// Connections in a turn that hear that the server is about to stop: as many as two turns close.
const DRAINED_PER_TURN: usize = 2 * CLOSES_PER_TURN;
/// Accepts asked for at a time: the most connections that have a descriptor before they are
/// counted.
pub const ACCEPTS: u32 = 8;

/// The ring's names of the accepts.
fn accept_token(nth: u32) -> Token {
    Token::new(u32::MAX, nth)
}

/// The part of a buffer of `bytes` that is sent after the first `sent`.
fn next_part(sent: usize, bytes: usize) -> Range<usize> {
    debug_assert!(sent <= bytes, "no more leaves than there is");
    sent..bytes.min(sent + SEND_BYTES_MAX)
}

/// Connections closed in one turn: each is a few microseconds of the kernel's work.
const CLOSES_PER_TURN: usize = 64;

/// Rare messages taken in between two looks at the ring.
const CONTROLS_PER_TURN: usize = 32;

/// The time that the peer of a closed connection may take to read what it still gets.
const CLOSING_MS: i64 = 10_000;

/// The time that a closed connection may take to notice it.
const LINGER_MS: i64 = 1000;

/// Bytes of one send: what the kernel copies in one go, and the steps in which a client that reads
/// slowly is seen to read.
const SEND_BYTES_MAX: usize = 128 << 10;

/// A send buffer above this size is given back after use.
const SPARE_BYTES_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests;
