//! Connections of clients: bytes under way, who asks, who moves to another server.

use crate::frontend::CloseReason;
use crate::sim::client::{Doing, Phase, Told};
use crate::sim::judge::Judge as _;
use crate::sim::node::Input;
use crate::sim::op::Op;
use crate::sim::pipe::{Frames, Pipe};
use crate::sim::property::{Checked, hold};
use crate::sim::stream::Stream;

use super::view::View;
use super::{Event, Servers, coverage};

/// One connection, as the network has it.
#[derive(Debug)]
pub(super) struct Link {
    client: usize,
    pub(super) server: usize,
    pub(super) generation: u32,
    pub(super) stream: Stream,
    /// Which shard it was given to.
    shard: u16,
    /// Bytes on their way are not delivered any more.
    pub(super) cut: bool,
    server_gone: bool,
    /// The other end has gone: its output gets nowhere and is judged no more.
    hung_up: bool,
    to_server: Pipe,
    to_client: Pipe,
    /// What has reached the server.
    frames: Frames,
    /// The largest zxid that the client had been told when it connected.
    floor: i64,
}

impl Servers {
    pub(super) fn send_to_client(&mut self, link: usize, bytes: Vec<u8>) -> Checked {
        if self.links[link].hung_up {
            return Ok(());
        }
        let server = self.links[link].server;
        self.say(server, format_args!("c{link} gets {} bytes", bytes.len()));
        let was_open = self.links[link].stream.is_open();
        let mut view = View { history: &mut self.history, server };
        self.links[link].stream.on_output(&bytes, &mut view)?;
        if !was_open && self.links[link].stream.is_open() {
            self.history.judge_taken(server, link)?;
            let client = &self.clients[self.links[link].client];
            hold!(
                client.takes_read_only || !self.links[link].stream.is_read_only(),
                SessionState,
                "c{link} is served without a leader, and has not asked for that"
            );
            let stream = &self.links[link].stream;
            let (session, timeout_ms) = (stream.session, stream.timeout_ms());
            if !stream.is_read_only() {
                self.history.on_answered(session, link, server);
            }
            self.history.spells.on_wanted(session, timeout_ms);
            self.history.spells.on_heard(session, server, (self.now_us / 1000) as i64);
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
        self.note_frames(link, &bytes);
        self.input(link, Input::Bytes(bytes));
    }

    /// Counts the frames that have reached the server whole.
    fn note_frames(&mut self, link: usize, bytes: &[u8]) {
        let (now_us, entry) = (self.now_us, &mut self.links[link]);
        let frames = entry.frames.complete(bytes);
        if frames > 0 && entry.stream.is_open() {
            (0..frames).for_each(|_| entry.stream.on_came(now_us));
            let (session, server) = (entry.stream.session, entry.server);
            self.history.spells.on_heard(session, server, (now_us / 1000) as i64);
        }
    }

    fn input(&mut self, link: usize, input: Input) {
        let shard = self.places[link].map_or(self.links[link].shard, |place| place.shard);
        let at = self.links[link].server;
        let is_current = self.links[link].generation == self.servers[at].generation;
        if let Some(node) = self.servers[at].node.as_mut().filter(|_| is_current) {
            node.input(link, shard, input);
            self.wake_core(at, usize::from(shard));
        }
    }

    pub(super) fn reach_client(&mut self, link: usize, bytes: &[u8]) {
        if self.links[link].cut {
            return;
        }
        self.input(link, Input::Sent(bytes.len()));
        let Some(client) = self.client_of(link) else { return };
        match self.clients[client].on_bytes(bytes) {
            Told::Nothing => {}
            Told::Connected => {
                let (server, session) = (self.links[link].server, self.clients[client].session);
                self.say(server, format_args!("client {client} has session {session:x}"));
                let greetings = self.clients[client].greet();
                self.ask(client, greetings);
            }
            Told::Refused | Told::Closed => {
                self.clients[client].forget();
                self.hang_up(client);
            }
        }
    }

    /// The client at the other end, if it still uses this connection.
    fn client_of(&self, link: usize) -> Option<usize> {
        Some(self.links[link].client).filter(|client| self.in_use[*client] == Some(link))
    }

    /// Whether the server may end a connection for this reason. A client that still uses it has
    /// done everything right.
    fn judge_close(&mut self, link: usize, why: CloseReason) -> Checked {
        let Some(client) = self.client_of(link) else { return Ok(()) };
        let Link { server, floor, .. } = self.links[link];
        let session = self.clients[client].session;
        let may_refuse = View { history: &mut self.history, server }.may_refuse(session);
        let of = &self.history.servers[server];
        let long_ago_ms = (self.now_us / 1000) as i64 - ROUGH_MS;
        let is_rough = !self.history.spells.is_smooth_since(long_ago_ms);
        let reads_alone = of.reads_alone;
        let takes_reads = self.clients[client].takes_read_only;
        let may = match why {
            CloseReason::SessionEnded => may_refuse,
            CloseReason::WantsToWrite => reads_alone && !takes_reads,
            CloseReason::NeedsLeader => reads_alone,
            CloseReason::ClientAhead => floor > of.applied.zxid,
            CloseReason::NotServing if self.history.leads_alone(of) => {
                self.history.coverage.note(coverage::LEADER_ALONE);
                true
            }
            CloseReason::NotServing | CloseReason::NoSession => is_rough,
            CloseReason::SessionMoved => {
                self.has_older_link(link, client)
                    || self.history.visits.has_moved(session, link)
                    || self.history.visits.may_be_elsewhere(session, server)
            }
            _ => false,
        };
        hold!(may, Closed, "c{link} of session {session:x} is closed by server {server}: {why}");
        Ok(())
    }

    /// Where nothing was ever written a learner shows no zxid, and a leader the start of its epoch.
    /// Who has seen that has a local session there, and nothing to lose: it begins anew.
    fn give_up_maybe(&mut self, link: usize, why: CloseReason) {
        let is_ahead_of_nothing =
            why == CloseReason::ClientAhead && self.history.last_committed() == 0;
        if let Some(client) = self.client_of(link).filter(|_| is_ahead_of_nothing) {
            self.clients[client].forget();
        }
    }

    /// Whether some server still holds an earlier connection of the client, whose requests may
    /// come late.
    fn has_older_link(&self, link: usize, client: usize) -> bool {
        let older = self.links[..link].iter();
        older.rev().any(|older| !older.server_gone && older.client == client)
    }

    /// The server has closed its end.
    pub(super) fn close_link(&mut self, link: usize, why: CloseReason) -> Checked {
        self.judge_close(link, why)?;
        self.give_up_maybe(link, why);
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

    /// A server is down: its connections end, as their clients learn some time later.
    pub(super) fn lose_clients(&mut self, at: usize) {
        for link in 0..self.links.len() {
            if self.links[link].server == at && !self.links[link].server_gone {
                self.places[link] = None;
                self.links[link].server_gone = true;
                if !self.links[link].cut {
                    self.links[link].cut = true;
                    let delay = self.rng.below(10_000);
                    self.after(delay, Event::EndAtClient(link));
                }
            }
        }
    }

    pub(super) fn wake(&mut self, client: usize) {
        let think = 1 + self.rng.below(2 * self.swarm.think);
        self.after(think, Event::Wake(client));
        let now_ms = (self.now_us / 1000) as i64;
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
            Doing::Flee(requests) => self.flee(client, requests),
            Doing::Silence(until) => {
                self.history.coverage.note(coverage::CLIENT_SILENT);
                self.trace.say(format_args!("client {client} falls silent until {until}"));
            }
            Doing::Ask(requests) => self.ask(client, requests),
            Doing::Nothing => {}
        }
    }

    /// The client goes to some server.
    fn connect(&mut self, client: usize) {
        let at = self.rng.index(self.servers.len());
        if self.servers[at].is_up() {
            self.connect_to(client, at);
        }
    }

    /// The client goes to a server, with its session if it has one.
    fn connect_to(&mut self, client: usize, at: usize) {
        let now_ms = (self.now_us / 1000) as i64;
        let session = self.clients[client].session;
        let floor = self.clients[client].last_zxid;
        let bytes = self.clients[client].connect(now_ms);
        let timeout_ms = self.clients[client].asks_ms().clamp(200, 2000);
        let link = self.links.len();
        let watches_max = self.swarm.watches_max;
        let stream = Stream::new(session, timeout_ms, watches_max, self.now_us, floor);
        let shard = self.rng.below(u64::from(self.swarm.shards)) as u16;
        self.links.push(Link {
            client,
            server: at,
            generation: self.servers[at].generation,
            stream,
            shard,
            cut: false,
            server_gone: false,
            hung_up: false,
            to_server: Pipe::to_server(self.now_us),
            to_client: Pipe::to_client(self.now_us),
            frames: Frames::default(),
            floor,
        });
        self.places.push(None);
        self.input(link, Input::Accept);
        self.say(at, format_args!("client {client} connects as c{link}, session {session:x}"));
        self.history.on_connects(session, link, at);
        if session != 0 {
            self.history.spells.on_wanted(session, timeout_ms);
        }
        self.in_use[client] = Some(link);
        self.send_to_server(link, &bytes);
    }

    fn ask(&mut self, client: usize, requests: Vec<(i32, Op)>) {
        let Some(link) = self.in_use[client] else { return };
        let (session, has_user) = (self.clients[client].session, self.clients[client].has_user);
        let mut bytes = Vec::new();
        for (xid, op) in requests {
            self.trace.say(format_args!("client {client} asks {xid} {op:?}"));
            if op.is_write() {
                let server = self.links[link].server;
                self.history.on_asked(session, xid, (&op, has_user), (link, server));
            }
            self.links[link].stream.on_sent(xid, &op, self.history.told());
            op.write(&mut bytes, xid, &self.history.user);
        }
        self.send_to_server(link, &bytes);
    }

    /// The client asks, gives its connection up and is on its way to another server, while what it
    /// has asked, and the end of the connection, come late.
    fn flee(&mut self, client: usize, requests: Vec<(i32, Op)>) {
        let Some(link) = self.in_use[client] else { return };
        let to = self.rng.index(self.servers.len());
        let late_us = self.rng.below(FLEE_US);
        self.links[link].to_server.hold_until(self.now_us + late_us);
        self.ask(client, requests);
        if to == self.links[link].server || !self.servers[to].is_up() {
            return;
        }
        self.in_use[client] = None;
        self.clients[client].on_lost();
        self.history.coverage.note(coverage::CLIENT_FLED);
        self.trace.say(format_args!("client {client} leaves c{link}"));
        let delay = 1 + self.rng.below(FLEE_US);
        let at = self.links[link].to_server.after_all(self.now_us) + delay;
        self.after(at - self.now_us, Event::EndAtServer(link));
        self.connect_to(client, to);
    }

    /// The client's end of its connection is gone; what is on its way may be lost.
    fn hang_up(&mut self, client: usize) {
        let Some(link) = self.in_use[client].take() else { return };
        self.history.coverage.note(coverage::CLIENT_LEFT);
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

/// For so long after a disturbance servers may turn clients away.
const ROUGH_MS: i64 = 5_000;
/// What a client has sent before it moved comes within this time, and its end within as much more.
const FLEE_US: u64 = 60_000;
