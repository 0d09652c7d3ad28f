//! The links between servers: election messages, and connections to a leader's quorum port.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use crate::sim::rng::Rng;
use crate::zab::{LearnerConn, ServerId};

/// One way between two servers.
type Way = (ServerId, ServerId);

/// Bytes on their way in one direction of a connection, each with the time of its arrival.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    pieces: VecDeque<(i64, Bytes)>,
    /// When the receiver learns that the connection is closed, after all pieces.
    closes_at: Option<i64>,
}

/// A connection of a learner to a leader.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) learner: ServerId,
    pub(super) leader: ServerId,
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
    pub(super) conns: BTreeMap<LearnerConn, Conn>,
    votes: BTreeMap<Way, VecDeque<(i64, Bytes)>>,
    /// Ways on which nothing arrives. What is sent meanwhile arrives later, as over TCP.
    pub(super) cut: BTreeSet<Way>,
    /// The longest delay, in microseconds.
    delay: u64,
    last_conn: u64,
}

impl Net {
    /// Links without a server, whose longest delay is so many microseconds.
    pub(super) fn new(delay: u64) -> Self {
        Self { delay, ..Self::default() }
    }

    pub(super) fn dial(&mut self, learner: ServerId, leader: ServerId) -> LearnerConn {
        self.last_conn += 1;
        let conn = LearnerConn(self.last_conn);
        let (up, down) = (Pipe::default(), Pipe::default());
        self.conns.insert(conn, Conn { learner, leader, up, down });
        conn
    }

    /// From one end to the other, in pieces that arrive one after the other.
    pub(super) fn send(
        &mut self,
        conn: LearnerConn,
        from: ServerId,
        bytes: &Bytes,
        now: i64,
        rng: &mut Rng,
    ) {
        let delay = self.delay;
        let Some(conn) = self.conns.get_mut(&conn) else { return };
        let pipe = if from == conn.learner { &mut conn.up } else { &mut conn.down };
        if pipe.closes_at.is_some() {
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

    /// One end closes; the other one learns of it after what is on its way, or loses some of that.
    pub(super) fn close(&mut self, conn: LearnerConn, by: ServerId, now: i64, rng: &mut Rng) {
        let delay = self.delay;
        let Some(entry) = self.conns.get_mut(&conn) else { return };
        let (own, other) = match by == entry.learner {
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
        other.closes_at.get_or_insert(after.max(now + rng.below(delay) as i64));
        if entry.up.closes_at == Some(i64::MIN) && entry.down.closes_at == Some(i64::MIN) {
            self.conns.remove(&conn);
        }
    }

    /// The connection is reset: both ends learn of it, each in its time.
    pub(super) fn reset(&mut self, conn: LearnerConn, now: i64, rng: &mut Rng) {
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
    pub(super) fn next(&mut self, conn: LearnerConn, to: ServerId, now: i64) -> Option<Arrival> {
        let entry = self.conns.get_mut(&conn)?;
        let (way, pipe) = match to == entry.learner {
            true => ((entry.leader, entry.learner), &mut entry.down),
            false => ((entry.learner, entry.leader), &mut entry.up),
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

    /// A notification; some are lost, and a later one never overtakes.
    pub(super) fn vote(&mut self, way: Way, message: Bytes, now: i64, rng: &mut Rng) {
        let queue = self.votes.entry(way).or_default();
        let after = queue.back().map_or(0, |(at, _)| *at);
        queue.push_back((after.max(now + 50 + rng.below(self.delay) as i64), message));
    }

    /// The next notification of `way`. On a way that is cut they are lost.
    pub(super) fn next_vote(&mut self, way: Way, now: i64) -> Option<Bytes> {
        let is_cut = self.cut.contains(&way);
        let queue = self.votes.get_mut(&way)?;
        if is_cut {
            queue.clear();
        }
        let is_due = queue.front().is_some_and(|(at, _)| *at <= now);
        if is_due { queue.pop_front().map(|(_, message)| message) } else { None }
    }

    /// All connections of a server.
    pub(super) fn of(&self, server: ServerId) -> Vec<LearnerConn> {
        let its = |conn: &&Conn| conn.learner == server || conn.leader == server;
        self.conns.iter().filter(|(_, conn)| its(conn)).map(|(id, _)| *id).collect()
    }
}
