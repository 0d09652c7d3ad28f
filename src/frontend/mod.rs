//! The frontend machine of one shard: decode, serve, respond. Bytes of clients and messages of the
//! quorum core come in by method calls, bytes and messages go out as effects; it opens no socket
//! and reads no clock.
//!
//! **Order.** A connection's requests are served one after the other. Reads are answered at once
//! from the tree. Writes go to the quorum core, as many in a row as there are; a read after a
//! write waits for its reply, and a write after a waiting read waits too, or the read could show
//! what comes after it. Waiting requests stay undecoded in the input.
//!
//! **Watches.** The shell takes the tree for reading and lets the frontend empty the queue from the
//! quorum core ([`Frontend::drain`]). Only that yields a [`Hold`], and requests are served with
//! nothing else. So all events up to the tree's zxid have fired before a read registers its watch
//! or shows their data.
//!
//! **Turns.** A hold has a bounded amount of work in it, and a connection's turn a part of that. A
//! connection that has had its turn waits at the tail of the ready list; the shell gives the tree
//! back when the hold's work is done, and comes again while [`Frontend::has_work`].
//!
//! | file | holds |
//! |---|---|
//! | `state` | what the connections of the shard share |
//! | `connection`, `conn_list` | one connection, the slab of all, and lists of them |
//! | `hold`, `context` | a hold on the tree and one connection's turn in it |
//! | `input`, `framing` | from bytes to frames |
//! | `unsent` | how much of the output has not left |
//! | `connect`, `auth` | sessions and identities |
//! | `service` | whether clients are served |
//! | `serve` | what is answered here, what goes to the quorum core, what waits |
//! | `reads`, `multi_read`, `watches` | the requests answered here |
//! | `long_read` | answers that take more than one turn |
//! | `still` | the long read for which the tree stays as it is |
//! | `replies`, `fanout`, `tell` | what comes back from the quorum core, and events for many |
//! | `tick` | what happens as time goes by |
//! | `report`, `close_reason` | what words and metrics show |
//! | `password_limiter` | wrong passwords by address |

mod auth;
mod close_reason;
mod conn_list;
mod connect;
mod connection;
mod context;
mod fanout;
mod framing;
mod hold;
mod input;
mod latency;
mod long_read;
mod multi_read;
mod password_limiter;
mod reads;
mod replies;
mod report;
mod serve;
mod service;
mod state;
mod still;
mod tell;
mod tick;
mod unsent;
mod watches;

use std::net::SocketAddr;

use crate::acl::AclConfig;
use crate::codes::{ErrorCode, OpCode};
use crate::handoff::{ConnId, ShardId, ToQuorum, ToShard, TouchReport};
use crate::limits;
use crate::tree::Tree;
use crate::zxid::Now;

pub use close_reason::{CloseCounts, CloseReason};
use connection::{Connection, Connections, Phase, Wait};
use context::ConnContext;
use fanout::FANOUTS_MAX;
pub use hold::Hold;
use hold::{DRAIN_WORK, FANOUT_WORK, STILL_READER_WORK};
pub use latency::{Latency, LatencySpread};
pub use report::{ConnectionReport, ReplySizes, ShardCounts, ShardReport, Traffic, WatchReport};
use service::{Service, is_served};
use state::ShardState;

/// The part of the configuration that one shard needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrontendConfig {
    /// The number of shards; sessions are theirs by id.
    pub shards: u16,
    /// `tickTime` in milliseconds: touches are reported four times in one.
    pub tick_ms: i64,
    /// `minSessionTimeout` in milliseconds. Default twice the tick.
    pub session_timeout_ms_min: i32,
    /// `maxSessionTimeout` in milliseconds, not below the minimum. Default twenty ticks.
    pub session_timeout_ms_max: i32,
    /// `jute.maxbuffer`: the longest frame that a client may send, in bytes.
    pub frame_bytes_max: usize,
    /// `globalOutstandingLimit`: requests in process above which connections are not read, for all
    /// shards together; 0 is no limit but that of bytes. Default 4000.
    pub outstanding_max: usize,
    /// `zookeeper.largeRequestThreshold`: larger requests count as large; `None` is none.
    pub large_request_bytes: Option<usize>,
    /// `zookeeper.largeRequestMaxBytes`: bytes of large requests in process above which one more is
    /// refused.
    pub large_request_bytes_max: usize,
    /// Queued reply bytes above which a connection's requests wait (B21).
    pub out_bytes_max: usize,
    /// Twice `nio.sessionlessCnxnTimeout`: how long a connection may live without a session, in
    /// milliseconds (B2).
    pub sessionless_ms_max: i64,
    /// Ids that one connection may prove (B18).
    pub auth_ids_max: usize,
    /// Bytes of those ids (B18).
    pub auth_bytes_max: usize,
    /// Paths that one connection may watch (B19); 0 is no limit.
    pub watches_per_connection_max: usize,
    /// Watches of one shard (B19); 0 is no limit.
    pub watches_max: usize,
    /// `enforce.auth.enabled` with its `enforce.auth.schemes`, or `sessionRequireClientSASLAuth`: a
    /// session must have proven one of these before anything else is answered; `None` asks for
    /// nothing. Without SASL, `sasl` in it shuts every client out.
    pub enforce_auth: Option<Vec<Box<str>>>,
    pub acl: AclConfig,
}

impl Default for FrontendConfig {
    fn default() -> Self {
        Self {
            shards: 1,
            tick_ms: limits::TICK_MS,
            session_timeout_ms_min: (limits::TICK_MS * limits::SESSION_TIMEOUT_TICKS_MIN) as i32,
            session_timeout_ms_max: (limits::TICK_MS * limits::SESSION_TIMEOUT_TICKS_MAX) as i32,
            frame_bytes_max: limits::FRAME_BYTES_MAX,
            outstanding_max: limits::OUTSTANDING_REQUESTS_MAX,
            large_request_bytes: None,
            large_request_bytes_max: 100 << 20,
            out_bytes_max: limits::CONNECTION_OUT_BYTES_MAX,
            sessionless_ms_max: limits::SESSIONLESS_MS_MAX,
            auth_ids_max: limits::AUTH_IDS_MAX,
            auth_bytes_max: limits::AUTH_BYTES_MAX,
            watches_per_connection_max: 0,
            watches_max: 0,
            enforce_auth: None,
            acl: AclConfig::default(),
        }
    }
}

/// A request of the machine to its shell, to be carried out in order.
#[derive(Debug)]
pub enum Effect {
    /// There is output. Said once; the next time only after [`Frontend::output`] has been called.
    Writable(ConnId),
    /// Send the output, close, then call [`Frontend::on_closed`]. How long a client may take to
    /// read the rest is the shell's to bound.
    Close { conn: ConnId, why: CloseReason },
    /// Stop reading from it.
    PauseReading(ConnId),
    /// Read from it again.
    ResumeReading(ConnId),
    /// Put this into the queue to the quorum core.
    ToQuorum(ToQuorum),
    /// Put this into the queue of touches to the quorum core.
    Touches(TouchReport),
    /// A four-letter word to be answered by [`Frontend::on_word_answer`]; the argument is the mask
    /// of `stmk`.
    Word { conn: ConnId, word: [u8; 4], argument: Option<i64> },
    /// The client's session is owned by another shard: the connection is forgotten here and goes
    /// there, where `bytes` are the first that it receives.
    MoveTo { conn: ConnId, shard: ShardId, bytes: Vec<u8> },
}

/// The machine. All its connections have their slots from one shell.
#[derive(Debug)]
pub struct Frontend {
    connections: Connections,
    shard: ShardState,
}

impl Frontend {
    /// A machine without connections. `first_session` is where the server's session ids begin; this
    /// shard gives out those from there on that are its own. Who can guess `seed` can find paths
    /// whose watches collide.
    pub fn new(config: FrontendConfig, shard: ShardId, first_session: i64, seed: u64) -> Self {
        let shard = ShardState::new(config, shard, first_session, seed);
        Self { connections: Connections::default(), shard }
    }

    /// A connection has been accepted, or has moved here from another shard. Its slot must be free,
    /// or its generation new.
    pub fn on_accept(&mut self, conn: ConnId, peer: SocketAddr, now: Now) {
        debug_assert!(self.connections.get(conn).is_none(), "a use of a slot begins once");
        let auth = self.shard.ids_of(peer);
        self.connections.insert(Connection::new(conn, peer, auth, now));
        let deadline_ms = now.mono_ms + self.shard.config.sessionless_ms_max;
        let last = self.shard.sessionless.back();
        debug_assert!(
            last.is_none_or(|(_, last_ms)| *last_ms <= deadline_ms),
            "deadlines in order"
        );
        self.shard.sessionless.push_back((conn, deadline_ms));
    }

    /// Takes in what the quorum core has sent: `next` yields its messages, oldest first, and `None`
    /// when the queue is empty. Call it with `tree` held for reading, so that nothing is added
    /// meanwhile. `None` if there is more than one turn's work, or a part of a multi is applied and
    /// the rest is not: the tree is to be given back, and this to be called again.
    pub fn drain<'t>(
        &mut self,
        tree: &'t Tree,
        now: Now,
        next: impl FnMut() -> Option<ToShard>,
    ) -> Option<Hold<'t>> {
        self.drain_in_time(tree, now, next, |_| true)
    }

    /// The same in a time that the shell measures: `in_time` is told the units of work done so far
    /// and says whether there is time for more. `None` if there is not.
    pub fn drain_in_time<'t>(
        &mut self,
        tree: &'t Tree,
        now: Now,
        mut next: impl FnMut() -> Option<ToShard>,
        mut in_time: impl FnMut(u32) -> bool,
    ) -> Option<Hold<'t>> {
        let mut left = DRAIN_WORK;
        loop {
            self.act_on_batch(now, &mut left, &mut in_time);
            if left == 0 {
                self.do_part_of_the_rest(now);
                return None;
            }
            let Some(message) = next() else { break };
            self.on_message(message, tree, now);
        }
        self.do_part_of_the_rest(now);
        if tree.is_amid() {
            return None;
        }
        assert!(
            self.shard.batch.is_none(),
            "a hold is given out when everything has been taken in"
        );
        assert!(self.shard.fanouts.len() <= FANOUTS_MAX, "events for many have a bound");
        self.shard.holds += 1;
        self.begin_still(tree);
        Some(Hold { tree, now, number: self.shard.holds, spent: 0 })
    }

    /// Work that may be done bit by bit has a part in each turn: events for many, what a tick has
    /// found due, watches of connections that are gone.
    fn do_part_of_the_rest(&mut self, now: Now) {
        self.shard.fan_out(&mut self.connections, &mut { FANOUT_WORK });
        self.go_on_ticking(now);
        self.shard.watches.remove_gone(GONE_WATCHES_PER_TURN);
        self.go_on_ending_service();
    }

    /// A client has sent something.
    pub fn on_bytes(&mut self, conn: ConnId, bytes: &[u8], hold: &mut Hold<'_>) {
        self.shard.counts.traffic.bytes_received += bytes.len() as u64;
        if self.connections.get(conn).is_some() {
            // Whoever waits for the quorum core comes first.
            let may_hand_over = if self.shard.throttled.is_empty() { usize::MAX } else { 0 };
            self.turn(conn, hold, may_hand_over, |turn| turn.take_in(bytes));
        } else {
            self.shard.send_along(conn, bytes);
        }
    }

    /// A hold begins: whoever asks for the tree to stay as it is may have gone, or wait for
    /// something else.
    fn begin_still(&mut self, tree: &Tree) {
        self.shard.still.begin_hold(tree.last_zxid());
        let Some(reader) = self.shard.still.reader() else { return };
        if !self.connections.get(reader).is_some_and(|reader| reader.wants_still()) {
            self.shard.still.end();
        }
    }

    /// For how many milliseconds the tree is to stay as it is, so that a long read can end; 0 if it
    /// need not. See `quorum::Stillness`.
    pub fn wants_still_ms(&self, now: Now) -> u32 {
        self.shard.still.wanted_ms(now.mono_ms)
    }

    /// Goes on with the long read for which the tree stays as it is, once under each hold. False if
    /// there is none.
    pub fn serve_still_reader(&mut self, hold: &mut Hold<'_>) -> bool {
        let Some(reader) = self.shard.still.take_due() else { return false };
        let Some(connection) = self.connections.get(reader) else { return false };
        connection.begin_turn(hold.number);
        let may_hand_over = if self.shard.throttled.is_empty() { usize::MAX } else { 0 };
        self.turn(reader, hold, may_hand_over, |turn| {
            turn.quantum = STILL_READER_WORK;
            turn.serve_input()
        });
        true
    }

    /// Gives the next connection with waiting requests its turn. False when there is none, or the
    /// hold's work is done.
    pub fn serve_next(&mut self, hold: &mut Hold<'_>) -> bool {
        if self.serve_still_reader(hold) {
            return true;
        }
        if hold.is_used_up() {
            return false;
        }
        let (conn, may_hand_over) = match self.shard.pop_throttled(&mut self.connections) {
            Some(throttled) => throttled,
            None => match self.shard.ready.pop(&mut self.connections) {
                Some(ready) => {
                    ready.begin_turn(hold.number);
                    (ready.id, if self.shard.throttled.is_empty() { usize::MAX } else { 0 })
                }
                None => return false,
            },
        };
        self.turn(conn, hold, may_hand_over, |turn| turn.serve_input());
        true
    }

    /// Whether there is something to do that needs no input: [`Self::drain`] and
    /// [`Self::serve_next`] are wanted.
    pub fn has_work(&self) -> bool {
        self.shard.batch.is_some()
            || !self.shard.ready.is_empty()
            || !self.shard.fanouts.is_empty()
            || self.shard.watches.has_gone()
            || self.shard.due.is_any()
            || matches!(self.shard.service, Service::Ending { .. })
            || (!self.shard.throttled.is_empty() && !self.shard.core_is_full())
    }

    /// The client will send no more. As with Apache, replies that are not sent yet may be lost; the
    /// answer to a four-letter word is not, since `echo srvr | nc` ends its side at once.
    pub fn on_eof(&mut self, conn: ConnId) {
        if let Some(connection) = self.connections.get(conn)
            && connection.phase != Phase::Ending
        {
            self.shard.close(connection, CloseReason::ClientEnded);
        }
    }

    /// The server is about to stop: nothing more is taken from this connection, and it ends when
    /// what it has with the quorum core is answered.
    pub fn on_drain(&mut self, conn: ConnId) {
        let Some(connection) = self.connections.get(conn) else { return };
        connection.input.clear();
        connection.wait = None;
        match connection.phase {
            Phase::Serving if !connection.pending.is_empty() => connection.phase = Phase::Ending,
            Phase::Ending => {}
            Phase::Fresh | Phase::Connecting | Phase::Serving | Phase::Closed => {
                self.shard.close(connection, CloseReason::Stopping);
            }
        }
    }

    /// The connection is gone.
    pub fn on_closed(&mut self, conn: ConnId) {
        if let Some(mut connection) = self.connections.remove(conn) {
            self.shard.let_go(&mut connection);
        }
    }

    /// The bytes to send. The shell takes them by swapping the vector with an empty one, when
    /// nothing of this connection is being sent, and reports what it sent with [`Self::on_sent`].
    pub fn output(&mut self, conn: ConnId) -> &mut Vec<u8> {
        match self.connections.get(conn) {
            Some(connection) => {
                connection.announced = false;
                &mut connection.out
            }
            None => {
                self.shard.discard.clear();
                &mut self.shard.discard
            }
        }
    }

    /// This many bytes have left.
    pub fn on_sent(&mut self, conn: ConnId, bytes: usize) {
        let Some(connection) = self.connections.get(conn) else { return };
        connection.unsent.on_sent(bytes);
        connection.drained |= bytes > 0;
        if connection.unsent.bytes() == 0 {
            // A burst's buffer does not stay with an idle connection; the shell does the same with
            // the one it sent.
            if connection.out.is_empty() && connection.out.capacity() > OUT_BYTES_KEPT {
                connection.out = Vec::new();
            }
        }
        if connection.wait == Some(Wait::Reader)
            && connection.unsent.bytes() <= self.shard.config.out_bytes_max / 2
        {
            self.shard.make_ready(connection);
        }
    }

    /// The answer to a four-letter word; the connection ends with it.
    pub fn on_word_answer(&mut self, conn: ConnId, bytes: Vec<u8>) {
        let Some(connection) = self.connections.get(conn) else { return };
        self.shard.counts.sent += 1;
        self.shard.append_whole(connection, bytes);
        self.shard.close(connection, CloseReason::WordAnswered);
    }

    /// The next thing that the shell must do.
    pub fn poll(&mut self) -> Option<Effect> {
        self.shard.effects.pop_front()
    }

    /// Whether [`Self::poll`] has something to give.
    pub fn has_effects(&self) -> bool {
        !self.shard.effects.is_empty()
    }

    /// Whether any connection of this shard watches anything: if not, the quorum core need not send
    /// it events.
    pub fn is_watching(&self) -> bool {
        self.shard.watches.counts() != crate::watch::Counts::default()
    }

    /// Gives a connection its turn, and settles what came of it. It may give up to `may_hand_over`
    /// requests to the quorum core.
    fn turn(
        &mut self,
        conn: ConnId,
        hold: &mut Hold<'_>,
        may_hand_over: usize,
        take: impl FnOnce(&mut ConnContext<'_>) -> Option<(ShardId, Vec<u8>)>,
    ) {
        assert_eq!(hold.number, self.shard.holds, "one hold at a time");
        let Some(connection) = self.connections.get(conn) else { return };
        if connection.is_over() {
            return;
        }
        if !self.shard.service.is_on() && is_served(connection) {
            return self.shard.close(connection, CloseReason::NotServing);
        }
        if connection.hold != hold.number {
            connection.begin_turn(hold.number);
        }
        let owed = self.shard.catch_up(connection);
        hold.spend(owed);
        if connection.is_over() {
            return;
        }
        let mut turn = ConnContext::new(connection, &mut self.shard, hold, may_hand_over);
        let moves = take(&mut turn);
        turn.settle();
        let work = turn.work.get();
        assert!(connection.unsent.bytes() >= connection.out.len(), "all output is counted");
        connection.spent = connection.spent.saturating_add(work);
        hold.spend(work);
        self.shard.still.note(conn, connection.wants_still(), hold.now.mono_ms);
        if let Some((shard, bytes)) = moves {
            self.connections.remove(conn);
            self.shard.effects.push_back(Effect::MoveTo { conn, shard, bytes });
        }
    }
}

/// The error code of what does not decode.
fn malformed(_: crate::jute::Malformed) -> ErrorCode {
    ErrorCode::MARSHALLING_ERROR
}

/// Whether a request is the quorum core's: all writes, and what is ordered among them.
fn is_for_quorum(op: OpCode) -> bool {
    matches!(
        op,
        OpCode::CREATE
            | OpCode::CREATE2
            | OpCode::CREATE_CONTAINER
            | OpCode::CREATE_TTL
            | OpCode::DELETE
            | OpCode::SET_DATA
            | OpCode::SET_ACL
            | OpCode::MULTI
            | OpCode::SYNC
            | OpCode::RECONFIG
            | OpCode::CLOSE_SESSION
    )
}

/// Watches of connections that are gone which are removed in one turn: about a quarter of a
/// millisecond.
const GONE_WATCHES_PER_TURN: usize = 1000;
/// Capacity that an empty output may keep.
const OUT_BYTES_KEPT: usize = 64 << 10;

#[cfg(test)]
mod tests;
