//! The connections between servers, to their election ports and to a leader's quorum port.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use crate::sim::rng::Rng;
use crate::zab::ServerId;

/// Bytes on their way in one direction of a connection, each with the time of its arrival.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    pieces: VecDeque<(i64, Bytes)>,
    /// When the receiver learns that the connection is closed, after all pieces.
    closes_at: Option<i64>,
}

/// Which port was dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Port {
    Election,
    Quorum,
}

/// A connection of one server to another.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) dialler: ServerId,
    pub(super) acceptor: ServerId,
    pub(super) port: Port,
    up: Pipe,
    down: Pipe,
}

/// What arrives at one end.
pub(super) enum Arrival {
    Bytes(Bytes),
    Closed,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Net {
    pub(super) conns: BTreeMap<u64, Conn>,
    /// Ways on which nothing arrives. What is sent meanwhile arrives later, as over TCP.
    pub(super) cut: BTreeSet<(Port, ServerId, ServerId)>,
    /// How often the other end is not told of the end of a connection, in a thousand.
    pub(super) half_open: u64,
    /// The longest delay, in microseconds.
    delay: u64,
    last_conn: u64,
}

impl Net {
    /// Links without a server, whose longest delay is so many microseconds.
    pub(super) fn new(delay: u64) -> Self {
        Self { delay, ..Self::default() }
    }

    pub(super) fn dial(&mut self, dialler: ServerId, acceptor: ServerId, port: Port) -> u64 {
        self.last_conn += 1;
        let (up, down) = (Pipe::default(), Pipe::default());
        self.conns.insert(self.last_conn, Conn { dialler, acceptor, port, up, down });
        self.last_conn
    }

    /// From one end to the other, in pieces that arrive one after the other.
    pub(super) fn send(
        &mut self,
        conn: u64,
        from: ServerId,
        bytes: &Bytes,
        now: i64,
        rng: &mut Rng,
    ) {
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
    pub(super) fn close(&mut self, conn: u64, by: ServerId, now: i64, rng: &mut Rng) -> bool {
        let delay = self.delay;
        let Some(entry) = self.conns.get_mut(&conn) else { return false };
        let (own, other) = match by == entry.dialler {
            true => (&mut entry.down, &mut entry.up),
            false => (&mut entry.up, &mut entry.down),
        };
        own.pieces.clear();
        own.closes_at = Some(i64::MIN);
        if rng.chance(300) {
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
            self.conns.remove(&conn);
        }
        is_half_open
    }

    /// The connection is reset: both ends learn of it, each in its time.
    pub(super) fn reset(&mut self, conn: u64, now: i64, rng: &mut Rng) {
        let delay = 100 * self.delay;
        let Some(entry) = self.conns.get_mut(&conn) else { return };
        for pipe in [&mut entry.up, &mut entry.down] {
            let left = rng.index(pipe.pieces.len() + 1);
            pipe.pieces.truncate(left);
            let after = pipe.pieces.back().map_or(0, |(at, _)| *at);
            pipe.closes_at.get_or_insert(after.max(now + rng.below(delay) as i64));
        }
    }

    /// What comes next for one end of a connection.
    pub(super) fn next(&mut self, conn: u64, to: ServerId, now: i64) -> Option<Arrival> {
        let entry = self.conns.get_mut(&conn)?;
        let (way, pipe) = match to == entry.dialler {
            true => ((entry.port, entry.acceptor, entry.dialler), &mut entry.down),
            false => ((entry.port, entry.dialler, entry.acceptor), &mut entry.up),
        };
        if self.cut.contains(&way) {
            return None;
        }
        if pipe.pieces.front().is_some_and(|(at, _)| *at <= now) {
            return pipe.pieces.pop_front().map(|(_, bytes)| Arrival::Bytes(bytes));
        }
        let is_closed = pipe.closes_at.is_some_and(|at| at <= now && at != i64::MIN);
        (is_closed && pipe.pieces.is_empty()).then(|| {
            pipe.closes_at = Some(i64::MIN);
            Arrival::Closed
        })
    }

    /// The connections of a server to or from one kind of port.
    pub(super) fn at(&self, server: ServerId, port: Port) -> Vec<u64> {
        self.of(server).into_iter().filter(|conn| self.conns[conn].port == port).collect()
    }

    /// All connections of a server.
    pub(super) fn of(&self, server: ServerId) -> Vec<u64> {
        let its = |conn: &&Conn| conn.dialler == server || conn.acceptor == server;
        self.conns.iter().filter(|(_, conn)| its(conn)).map(|(id, _)| *id).collect()
    }
}

/// Within this time a sender learns that nobody is at the other end, in microseconds.
const RESET_US_MAX: u64 = 3_000_000;
