//! The connections between servers, to their election ports and to a leader's quorum port.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use crate::packet::{Packet, PacketStream};
use crate::sim::rng::Rng;
use crate::zab::ServerId;

/// Bytes on their way in one direction of a connection, each with the time of its arrival.
#[derive(Debug, Default)]
pub(in crate::sim) struct Pipe {
    pieces: VecDeque<(i64, Bytes)>,
    /// When the receiver learns that the connection is closed, after all pieces.
    closes_at: Option<i64>,
}

/// Which port was dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::sim) enum Port {
    Election,
    Quorum,
}

/// From one server to another, over connections to one kind of port.
pub(in crate::sim) type Way = (Port, ServerId, ServerId);

/// A connection of one server to another.
#[derive(Debug)]
pub(in crate::sim) struct Conn {
    pub(in crate::sim) dialler: ServerId,
    pub(in crate::sim) acceptor: ServerId,
    pub(in crate::sim) port: Port,
    up: Pipe,
    down: Pipe,
}

/// What arrives at one end.
pub(in crate::sim) enum Arrival {
    Bytes(Bytes),
    Closed,
}

/// See the module.
#[derive(Debug, Default)]
pub(in crate::sim) struct Net {
    pub(in crate::sim) conns: BTreeMap<u64, Conn>,
    /// Ways on which nothing arrives. What is sent meanwhile arrives later, as over TCP.
    pub(in crate::sim) cut: BTreeSet<Way>,
    /// The pieces that still get through a way that is cut.
    pub(super) passes: BTreeMap<Way, usize>,
    /// For scripts: each packet is a piece of its own, all take as long as each other, a closed
    /// connection loses nothing, and what was sent to quorum ports is kept.
    pub(super) is_even: bool,
    pub(super) sent: Vec<(ServerId, ServerId, Packet)>,
    /// How often the other end is not told of the end of a connection, in a thousand.
    pub(in crate::sim) half_open: u64,
    /// The longest delay, in microseconds.
    delay: u64,
    last_conn: u64,
    /// The connections of each server to or from each kind of port, in order.
    ends: BTreeMap<(ServerId, Port), Vec<u64>>,
    /// Servers that have been dialled and do not know it yet.
    dialled: BTreeSet<ServerId>,
    /// Something may arrive at another time since [`Self::take_changed`].
    is_changed: bool,
}

impl Net {
    /// Links without a server, whose longest delay is so many microseconds.
    pub(in crate::sim) fn new(delay: u64) -> Self {
        Self { delay, ..Self::default() }
    }

    /// Whether nothing gets from one server to another and back.
    pub(in crate::sim) fn is_cut(&self, port: Port, one: ServerId, other: ServerId) -> bool {
        self.cut.contains(&(port, one, other)) || self.cut.contains(&(port, other, one))
    }

    pub(in crate::sim) fn dial(
        &mut self,
        dialler: ServerId,
        acceptor: ServerId,
        port: Port,
    ) -> u64 {
        self.is_changed = true;
        self.last_conn += 1;
        let (up, down) = (Pipe::default(), Pipe::default());
        self.conns.insert(self.last_conn, Conn { dialler, acceptor, port, up, down });
        self.dialled.insert(acceptor);
        for end in [dialler, acceptor] {
            self.ends.entry((end, port)).or_default().push(self.last_conn);
        }
        self.last_conn
    }

    /// From one end to the other, in pieces that arrive one after the other.
    pub(in crate::sim) fn send(
        &mut self,
        conn: u64,
        from: ServerId,
        bytes: &Bytes,
        now: i64,
        rng: &mut Rng,
    ) {
        self.is_changed = true;
        let delay = self.delay;
        let Some(conn) = self.conns.get_mut(&conn) else { return };
        let (pipe, back) = match from == conn.dialler {
            true => (&mut conn.up, &mut conn.down),
            false => (&mut conn.down, &mut conn.up),
        };
        if pipe.closes_at.is_some() {
            // Whoever sends into a half-open connection learns of it after a while.
            if back.closes_at == Some(i64::MAX) {
                back.closes_at = Some(now + rng.below(RESET_US_MAX) as i64);
            }
            return;
        }
        if self.is_even {
            let (is_up, at) = (from == conn.dialler, now + EVEN_US);
            let pieces = if conn.port == Port::Quorum { packets(bytes) } else { Vec::new() };
            if pieces.is_empty() {
                return pipe.pieces.push_back((at, bytes.clone()));
            }
            let to = if is_up { conn.acceptor } else { conn.dialler };
            for (packet, piece) in pieces {
                self.sent.push((from, to, packet));
                pipe.pieces.push_back((at, piece));
            }
            return;
        }
        let mut rest = bytes.clone();
        while !rest.is_empty() {
            let whole = rng.chance(700);
            let len = if whole { rest.len() } else { 1 + rng.index(rest.len()) };
            let after = pipe.pieces.back().map_or(0, |(at, _)| *at);
            let at = after.max(now + 50 + rng.below(delay) as i64);
            pipe.pieces.push_back((at, rest.split_to(len)));
        }
    }

    /// One end closes; the other one learns of it after what is on its way, or loses some of that,
    /// or never learns of it: returns whether the connection is half-open.
    pub(in crate::sim) fn close(
        &mut self,
        conn: u64,
        by: ServerId,
        now: i64,
        rng: &mut Rng,
    ) -> bool {
        self.is_changed = true;
        let delay = self.delay;
        let Some(entry) = self.conns.get_mut(&conn) else { return false };
        let (own, other) = match by == entry.dialler {
            true => (&mut entry.down, &mut entry.up),
            false => (&mut entry.up, &mut entry.down),
        };
        own.pieces.clear();
        own.closes_at = Some(i64::MIN);
        if !self.is_even && rng.chance(300) {
            let left = rng.index(other.pieces.len() + 1);
            other.pieces.truncate(left);
        }
        let after = other.pieces.back().map_or(0, |(at, _)| *at);
        let is_half_open = other.closes_at.is_none() && rng.chance(self.half_open);
        if is_half_open {
            other.pieces.clear();
            other.closes_at = Some(i64::MAX);
        }
        other.closes_at.get_or_insert(after.max(now + rng.below(delay) as i64));
        if entry.up.closes_at == Some(i64::MIN) && entry.down.closes_at == Some(i64::MIN) {
            let ends = [entry.dialler, entry.acceptor].map(|end| (end, entry.port));
            for end in ends {
                self.ends.entry(end).or_default().retain(|one| *one != conn);
            }
            self.conns.remove(&conn);
        }
        is_half_open
    }

    /// The connection is reset: both ends learn of it, each in its time.
    pub(in crate::sim) fn reset(&mut self, conn: u64, now: i64, rng: &mut Rng) {
        self.is_changed = true;
        let delay = 100 * self.delay;
        let Some(entry) = self.conns.get_mut(&conn) else { return };
        for pipe in [&mut entry.up, &mut entry.down] {
            let left = rng.index(pipe.pieces.len() + 1);
            pipe.pieces.truncate(left);
            let after = pipe.pieces.back().map_or(0, |(at, _)| *at);
            pipe.closes_at.get_or_insert(after.max(now + rng.below(delay) as i64));
        }
    }

    /// The connection between a learner and its leader is lost, with all that is on it.
    #[cfg(test)]
    pub(super) fn break_off(&mut self, learner: ServerId, leader: ServerId, now: i64) {
        let its = |conn: &&mut Conn| {
            conn.port == Port::Quorum && (conn.dialler, conn.acceptor) == (learner, leader)
        };
        for conn in self.conns.values_mut().filter(its) {
            for pipe in [&mut conn.up, &mut conn.down] {
                pipe.pieces.clear();
                pipe.closes_at.get_or_insert(now);
            }
        }
    }

    /// Something more is on its way from a leader to its learner.
    #[cfg(test)]
    pub(super) fn inject(&mut self, leader: ServerId, learner: ServerId, bytes: &Bytes, now: i64) {
        let is_open = |conn: &&mut Conn| {
            conn.port == Port::Quorum
                && (conn.dialler, conn.acceptor) == (learner, leader)
                && conn.down.closes_at.is_none()
        };
        let conn = self.conns.values_mut().find(is_open).expect("they are connected");
        conn.down.pieces.push_back((now, bytes.clone()));
    }

    /// What comes next for one end of a connection.
    pub(in crate::sim) fn next(&mut self, conn: u64, to: ServerId, now: i64) -> Option<Arrival> {
        let entry = self.conns.get_mut(&conn)?;
        let (way, pipe) = entry.way_to(to);
        if !pipe.has_due(now) {
            return None;
        }
        if self.cut.contains(&way) {
            let left = self.passes.get_mut(&way).filter(|left| **left > 0)?;
            *left -= 1;
        }
        self.is_changed = true;
        if let Some((_, bytes)) = pipe.pieces.pop_front() {
            return Some(Arrival::Bytes(bytes));
        }
        pipe.closes_at = Some(i64::MIN);
        Some(Arrival::Closed)
    }

    /// Whether something has arrived at a server, or it has been dialled.
    pub(super) fn has_due(&mut self, to: ServerId, now: i64) -> bool {
        if self.dialled.remove(&to) {
            return true;
        }
        [Port::Election, Port::Quorum].iter().any(|port| {
            let conns = self.ends.get(&(to, *port)).map_or(&[][..], Vec::as_slice);
            conns.iter().any(|conn| {
                self.conns.get_mut(conn).is_some_and(|entry| {
                    let (way, pipe) = entry.way_to(to);
                    pipe.has_due(now)
                        && (!self.cut.contains(&way) || self.passes.contains_key(&way))
                })
            })
        })
    }

    /// Whether anything was sent, taken, dialled or ended since the last time that this was asked.
    pub(in crate::sim) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.is_changed)
    }

    /// Says when something arrives at whom, in microseconds: the next piece or end of each direction
    /// of each connection.
    pub(in crate::sim) fn each_due(&self, mut is_due: impl FnMut(ServerId, i64)) {
        for entry in self.conns.values() {
            for (from, to, pipe) in [
                (entry.dialler, entry.acceptor, &entry.up),
                (entry.acceptor, entry.dialler, &entry.down),
            ] {
                let piece = pipe.pieces.front().map(|(at, _)| *at);
                let end = pipe.closes_at.filter(|at| *at != i64::MIN && *at != i64::MAX);
                let Some(at) = piece.or(end) else { continue };
                if !self.cut.contains(&(entry.port, from, to)) {
                    is_due(to, at);
                }
            }
        }
    }

    /// The connections of a server to or from one kind of port.
    pub(in crate::sim) fn at(&self, server: ServerId, port: Port) -> Vec<u64> {
        self.ends.get(&(server, port)).cloned().unwrap_or_default()
    }

    /// All connections of a server.
    pub(in crate::sim) fn of(&self, server: ServerId) -> Vec<u64> {
        let mut all = self.at(server, Port::Election);
        all.extend(self.at(server, Port::Quorum));
        all.sort_unstable();
        all
    }
}

impl Conn {
    /// The way to one of its ends, and what is on it.
    fn way_to(&mut self, to: ServerId) -> (Way, &mut Pipe) {
        match to == self.dialler {
            true => ((self.port, self.acceptor, self.dialler), &mut self.down),
            false => ((self.port, self.dialler, self.acceptor), &mut self.up),
        }
    }
}

impl Pipe {
    /// Whether a piece has arrived, or the end of the connection after all of them.
    fn has_due(&self, now: i64) -> bool {
        match self.pieces.front() {
            Some((at, _)) => *at <= now,
            None => self.closes_at.is_some_and(|at| at <= now && at != i64::MIN),
        }
    }
}

/// The packets that bytes are, each with its own; none if that is not all they are.
fn packets(bytes: &Bytes) -> Vec<(Packet, Bytes)> {
    let (mut stream, mut rest, mut pieces) =
        (PacketStream::new(bytes.len()), bytes.clone(), Vec::new());
    stream.push(bytes);
    while let Ok(Some(packet)) = stream.next_packet() {
        let mut written = Vec::new();
        packet.write(&mut written);
        if !rest.starts_with(&written) {
            return Vec::new();
        }
        pieces.push((packet, rest.split_to(written.len())));
    }
    if rest.is_empty() { pieces } else { Vec::new() }
}

/// How long a piece takes where all take as long, in microseconds.
const EVEN_US: i64 = 50;
/// Within this time a sender learns that nobody is at the other end, in microseconds.
const RESET_US_MAX: u64 = 3_000_000;
