//! Connections and who is at their other end: bytes under way, clients that ask, hostile ones.

use crate::frontend::CloseReason;

use super::{Event, World};
use crate::sim::check::Check;
use crate::sim::client::{Doing, Phase, Told};
use crate::sim::hostile::Hostile;
use crate::sim::judge::Judge;
use crate::sim::node::Input;
use crate::sim::op::Op;
use crate::sim::pipe::{Frames, Pipe};
use crate::sim::property::{Checked, hold};
use crate::sim::stream::Stream;

/// One connection, as the network has it.
#[derive(Debug)]
pub(super) struct Link {
    peer: Peer,
    pub(super) generation: u32,
    pub(super) stream: Stream,
    /// Which shard it was given to.
    shard: u16,
    /// Bytes on their way are not delivered any more.
    pub(super) cut: bool,
    server_gone: bool,
    /// The other end has gone, which a shard with much to do may not have taken in yet: its output
    /// gets nowhere and is judged no more.
    hung_up: bool,
    to_server: Pipe,
    to_client: Pipe,
    /// What has reached the server.
    frames: Frames,
    /// When it was made, in virtual microseconds.
    since_us: u64,
}

/// Who is at the other end.
#[derive(Debug)]
enum Peer {
    Client(usize),
    Hostile(Box<Hostile>),
}

impl World {
    pub(super) fn send_to_client(&mut self, link: usize, bytes: Vec<u8>) -> Checked {
        if self.links[link].hung_up {
            return Ok(());
        }
        self.trace.say(format_args!("c{link} gets {} bytes", bytes.len()));
        match &mut self.links[link].peer {
            Peer::Client(_) => self.links[link].stream.on_output(&bytes, &mut self.check)?,
            Peer::Hostile(hostile) if hostile.wants_session() && !hostile.connected => {
                hostile.connected = true;
                let then = hostile.then();
                let session = bytes.get(SESSION_OFFSET..).and_then(|rest| rest.first_chunk());
                self.check.unjudged(session.map_or(0, |session| i64::from_be_bytes(*session)));
                self.send_to_server(link, &then);
            }
            Peer::Hostile(_) => {}
        }
        let (now_us, delay_us) = (self.now_us, self.swarm.link_delay);
        let pieces = self.links[link].to_client.send(&bytes, now_us, delay_us, &mut self.rng);
        for (at_us, piece) in pieces {
            self.after(at_us - now_us, Event::ToClient(link, piece));
        }
        Ok(())
    }

    fn send_to_server(&mut self, link: usize, bytes: &[u8]) {
        let (now_us, delay_us) = (self.now_us, self.swarm.link_delay);
        let pieces = self.links[link].to_server.send(bytes, now_us, delay_us, &mut self.rng);
        for (at_us, piece) in pieces {
            self.after(at_us - now_us, Event::ToServer(link, piece));
        }
    }

    pub(super) fn reach_server(&mut self, link: usize, bytes: Vec<u8>) {
        if self.links[link].cut || self.links[link].server_gone {
            return;
        }
        let now_us = self.now_us;
        self.links[link].note_frames(&bytes, now_us, &mut self.check);
        self.input(link, Input::Bytes(bytes));
    }

    fn input(&mut self, link: usize, input: Input) {
        let shard = self.places[link].map_or(self.links[link].shard, |place| place.shard);
        if let Some(node) = &mut self.node
            && self.links[link].generation == self.generation
        {
            node.input(link, shard, input);
            self.wake_core(usize::from(shard));
        }
    }

    pub(super) fn reach_client(&mut self, link: usize, bytes: Vec<u8>) -> Checked {
        if self.links[link].cut {
            return Ok(());
        }
        if let Peer::Hostile(hostile) = &self.links[link].peer
            && !hostile.reads()
        {
            return Ok(());
        }
        self.input(link, Input::Sent(bytes.len()));
        let Some(client) = self.client_of(link) else { return Ok(()) };
        match self.clients[client].on_bytes(&bytes) {
            Told::Nothing => {}
            Told::Connected => {
                self.trace.say(format_args!(
                    "client {client} has session {:x}",
                    self.clients[client].session
                ));
                let greetings = self.clients[client].greet();
                self.ask(client, greetings);
            }
            Told::Refused | Told::Closed => {
                self.clients[client].forget();
                self.hang_up(client);
            }
        }
        Ok(())
    }

    /// The client at the other end, if it still uses this connection.
    fn client_of(&self, link: usize) -> Option<usize> {
        match self.links[link].peer {
            Peer::Client(client) => {
                Some(client).filter(|client| self.in_use[*client] == Some(link))
            }
            Peer::Hostile(_) => None,
        }
    }

    /// Whether the server may end a connection for this reason. A client that still uses it has
    /// done everything right.
    fn judge_close(&self, link: usize, why: CloseReason) -> Checked {
        let Some(client) = self.client_of(link) else { return Ok(()) };
        let (session, age_us) =
            (self.clients[client].session, self.now_us - self.links[link].since_us);
        let may = match why {
            CloseReason::SessionEnded => self.check.may_end(session),
            // Only while something is so slow that no session can be made.
            CloseReason::NoSession => !self.check.was_swift_for(age_us),
            // An earlier connection, which the client has given up, asks for the session late: the
            // server cannot tell which of the two the client still uses.
            CloseReason::SessionMoved => {
                self.has_older_link(link, client) || self.has_namesake(client)
            }
            CloseReason::LargeRequests => self.has_many_large_requests(),
            _ => false,
        };
        hold!(may, Closed, "c{link} of session {session:x} is closed: {why}");
        Ok(())
    }

    /// Whether the large requests that the server may have in process are more than it takes: those
    /// of connections that are gone may be among them.
    fn has_many_large_requests(&self) -> bool {
        let Some((longer_than, max)) = self.swarm.large_requests else { return false };
        let of_this_run = self.links.iter().filter(|link| link.generation == self.generation);
        let bytes = of_this_run
            .map(|link| link.stream.large_bytes_under_way(longer_than, &self.check.user));
        bytes.sum::<usize>() > max
    }

    /// Whether the server still holds an earlier connection of the client.
    fn has_older_link(&self, link: usize, client: usize) -> bool {
        self.links[..link].iter().any(|older| {
            !older.server_gone && matches!(older.peer, Peer::Client(owner) if owner == client)
        })
    }

    /// Whether another client comes back with a session of the same id: where the clock begins
    /// anew, an id is given out again that no file names any more, and the password goes with it.
    fn has_namesake(&self, client: usize) -> bool {
        let session = self.clients[client].session;
        self.clients
            .iter()
            .enumerate()
            .any(|(other, its)| other != client && its.session == session)
    }

    /// The server has closed its end.
    pub(super) fn close_link(&mut self, link: usize, why: CloseReason) -> Checked {
        self.judge_close(link, why)?;
        self.links[link].server_gone = true;
        self.links[link].stream.end();
        self.input(link, Input::Closed);
        let at = self.links[link].to_client.after_all(self.now_us) + 1;
        self.after(at - self.now_us, Event::EndAtClient(link));
        Ok(())
    }

    pub(super) fn end_at_server(&mut self, link: usize) {
        if !self.links[link].server_gone {
            self.links[link].server_gone = true;
            self.links[link].hung_up = true;
            self.links[link].stream.end();
            self.input(link, Input::Closed);
        }
    }

    pub(super) fn end_at_client(&mut self, link: usize) {
        self.links[link].cut = true;
        if let Some(client) = self.client_of(link) {
            self.in_use[client] = None;
            self.clients[client].on_lost();
        }
    }

    pub(super) fn wake(&mut self, client: usize) {
        let think = 1 + self.rng.below(2 * self.swarm.think);
        self.after(think, Event::Wake(client));
        let now_ms = self.now().mono_ms;
        if self.still || (now_ms < self.clients[client].silent_until_ms && !self.calm) {
            return;
        }
        match self.clients[client].phase {
            Phase::Away => self.connect(client),
            Phase::Connecting | Phase::Closing => {
                if self.rng.chance(20) {
                    self.hang_up(client);
                }
            }
            Phase::Open => self.act(client, now_ms),
        }
    }

    fn act(&mut self, client: usize, now_ms: i64) {
        let ping = self.clients[client].ping(now_ms);
        self.ask(client, ping.into_iter().collect());
        match self.clients[client].doing(&mut self.rng, &self.swarm, self.calm, now_ms) {
            Doing::HangUp => self.hang_up(client),
            Doing::Silence(until) => {
                self.trace.say(format_args!("client {client} falls silent until {until}"));
            }
            Doing::Ask(requests) | Doing::Flee(requests) => self.ask(client, requests),
            Doing::Nothing => {}
        }
    }

    fn connect(&mut self, client: usize) {
        if self.node.is_none() {
            return;
        }
        let now_ms = self.now().mono_ms;
        let session = self.clients[client].session;
        let bytes = self.clients[client].connect(now_ms);
        let floor = self.clients[client].last_zxid;
        let timeout_ms = self.clients[client].asks_ms().clamp(200, 2000);
        let link = self.open(
            Peer::Client(client),
            Stream::new(session, timeout_ms, self.swarm.watches_max, self.now_us, floor),
        );
        self.trace.say(format_args!("client {client} connects as c{link}, session {session:x}"));
        if session == 0 {
            self.check.on_session_wanted();
        } else {
            self.check.on_renewal_wanted(session, timeout_ms);
        }
        self.in_use[client] = Some(link);
        self.send_to_server(link, &bytes);
    }

    /// Where the clock begins anew, ids come again that no file names any more: those of sessions
    /// that ended before the snapshot. A client that still held one would take over another's
    /// session, as with Apache.
    pub(super) fn forget_ended_sessions(&mut self) {
        if !self.swarm.clock_begins_anew {
            return;
        }
        for client in 0..self.clients.len() {
            let session = self.clients[client].session;
            if session != 0 && !self.check.lives_in_log(session) {
                self.hang_up(client);
                self.clients[client].on_lost();
                self.clients[client].forget();
            }
        }
    }

    /// A connection is accepted by some shard.
    fn open(&mut self, peer: Peer, stream: Stream) -> usize {
        let link = self.links.len();
        let shard = self.rng.below(u64::from(self.swarm.shards)) as u16;
        self.links.push(Link {
            peer,
            generation: self.generation,
            stream,
            shard,
            cut: false,
            server_gone: false,
            hung_up: false,
            to_server: Pipe::to_server(self.now_us),
            to_client: Pipe::to_client(self.now_us),
            frames: Frames::default(),
            since_us: self.now_us,
        });
        self.places.push(None);
        self.input(link, Input::Accept);
        link
    }

    /// Somebody connects who does not speak the protocol as he should, and is gone some time later.
    pub(super) fn attack(&mut self) {
        if self.calm {
            return;
        }
        let every = self.rng.between(self.swarm.hostile_every / 2, self.swarm.hostile_every);
        self.after(every, Event::Attack);
        if self.node.is_none() {
            return;
        }
        let mut hostile = Hostile::new(self.rng.fork(), self.swarm.frame_bytes_max);
        if hostile.wants_session() {
            self.check.on_session_wanted();
        }
        let (first, name) = (hostile.first(), hostile.name());
        let link =
            self.open(Peer::Hostile(Box::new(hostile)), Stream::new(0, 0, 0, self.now_us, 0));
        self.trace.say(format_args!("c{link} is hostile: {name}"));
        self.send_to_server(link, &first);
        let stays = self.rng.between(10_000, 1_500_000);
        self.after(stays, Event::EndAtServer(link));
    }

    fn ask(&mut self, client: usize, requests: Vec<(i32, Op)>) {
        let Some(link) = self.in_use[client] else { return };
        let (session, has_user) = (self.clients[client].session, self.clients[client].has_user);
        let mut bytes = Vec::new();
        for (xid, op) in requests {
            self.trace.say(format_args!("client {client} asks {xid} {op:?}"));
            if op.is_write() {
                self.check.on_asked(session, xid, &op, has_user);
            }
            self.links[link].stream.on_sent(xid, &op, self.check.shown());
            op.write(&mut bytes, xid, &self.check.user);
        }
        self.send_to_server(link, &bytes);
    }

    /// The client's end of its connection is gone; what is on its way may be lost.
    fn hang_up(&mut self, client: usize) {
        let Some(link) = self.in_use[client].take() else { return };
        self.trace.say(format_args!("client {client} hangs up c{link}"));
        self.clients[client].on_lost();
        if self.rng.chance(500) {
            self.links[link].cut = true;
        }
        let delay = self.rng.below(20_000);
        let at = self.links[link].to_server.after_all(self.now_us + delay) + 1;
        self.after(at - self.now_us, Event::EndAtServer(link));
    }
}

impl Link {
    /// Counts the frames that have reached the server whole.
    fn note_frames(&mut self, bytes: &[u8], now_us: u64, check: &mut Check) {
        let frames = self.frames.complete(bytes);
        if frames > 0 && self.stream.is_open() {
            (0..frames).for_each(|_| self.stream.on_came(now_us));
            check.on_heard(self.stream.session, (now_us / 1000) as i64);
        }
    }
}

/// Where the session's id stands in a connect answer: behind the length, the protocol version and
/// the timeout.
const SESSION_OFFSET: usize = 12;
