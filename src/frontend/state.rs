//! The state that the connections of a shard share, and everything that is done to it.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::acl;
use crate::handoff::{BatchItem, ConnId, ShardId};
use crate::jute::data::Id;
use crate::limits;
use crate::watch::WatchTable;
use crate::zxid::{Now, SessionId};

use super::close_reason::CloseReason;
use super::conn_list::ConnList;
use super::connection::{Connection, Connections, ListMark, Pending, Phase};
use super::fanout::Fanout;
use super::password_limiter::PasswordLimiter;
use super::report::ShardCounts;
use super::service::Service;
use super::still::Still;
use super::tick::Due;
use super::{Effect, FrontendConfig};

/// The state that the connections of a shard share.
#[derive(Debug)]
pub(super) struct ShardState {
    pub(super) config: FrontendConfig,
    pub(super) id: ShardId,
    /// The next session id to give out.
    pub(super) next_session: i64,
    /// Which connection serves a session.
    pub(super) sessions: HashMap<SessionId, ConnId, FixedState>,
    pub(super) service: Service,
    pub(super) watches: WatchTable,
    pub(super) effects: VecDeque<Effect>,
    /// The rest of the batch of the quorum core that is being acted on.
    pub(super) batch: Option<std::vec::IntoIter<BatchItem>>,
    /// Holds given out so far: the number of the last one.
    pub(super) holds: u64,
    /// Where the records of writes are copied to, many into one allocation.
    pub(super) arena: BytesMut,
    /// Connections whose waiting requests can be taken up.
    pub(super) ready: ConnList,
    /// Connections that wait for the quorum core, in the order in which they came.
    pub(super) throttled: ConnList,
    /// Connections with more output than they may have.
    pub(super) slow: ConnList,
    /// Connections without a session and when they must have one, in order.
    pub(super) sessionless: VecDeque<(ConnId, i64)>,
    /// Connections whose session is to be reported as heard of.
    pub(super) touched: ConnList,
    /// The same of connections that are gone.
    pub(super) touched_closed: Vec<(SessionId, i64)>,
    pub(super) touches_reported_ms: i64,
    /// The work that the last tick has found due and that is still to be done.
    pub(super) due: Due,
    /// Requests and sessions that the quorum core has been asked for and has not answered, the
    /// bytes that they count, and those of the large ones among them.
    ///
    /// Invariant: they are the `pending` of all connections, and `forgotten`.
    pub(super) outstanding: usize,
    pub(super) outstanding_bytes: usize,
    pub(super) large_bytes: usize,
    /// The requests that the quorum core has of connections that are gone, oldest first. None is
    /// empty.
    pub(super) forgotten: HashMap<ConnId, VecDeque<Pending>, FixedState>,
    pub(super) counts: ShardCounts,
    pub(super) password_limiter: PasswordLimiter,
    /// The address of the last accept and the ids that it proves, to share them.
    pub(super) last_address: Option<(IpAddr, Arc<[Id]>)>,
    pub(super) still: Still,
    /// Events on their way to many connections, oldest first.
    pub(super) fanouts: VecDeque<Fanout>,
    /// Kept for its capacity: the slots that the event at hand concerns.
    pub(super) told: Vec<u32>,
    /// Kept for its capacity: the frame of the event at hand.
    pub(super) event: Vec<u8>,
    /// The empty buffer that `Frontend::output` returns for an unknown connection.
    pub(super) discard: Vec<u8>,
}

impl ShardState {
    /// The state of a shard without connections. See `Frontend::new`.
    pub(super) fn new(
        config: FrontendConfig,
        shard: ShardId,
        first_session: i64,
        seed: u64,
    ) -> Self {
        let mut next_session = first_session;
        while ShardId::of(SessionId(next_session), config.shards) != shard {
            next_session = next_session.wrapping_add(1);
        }
        assert!(config.out_bytes_max > 0, "a connection may have output");
        Self {
            config,
            id: shard,
            next_session,
            sessions: HashMap::with_hasher(FixedState::with_seed(seed)),
            service: Service::On { read_only: false },
            watches: WatchTable::with_seed(seed),
            effects: VecDeque::new(),
            batch: None,
            holds: 0,
            arena: BytesMut::new(),
            ready: ConnList::new(ListMark::Ready),
            throttled: ConnList::new(ListMark::Throttled),
            slow: ConnList::new(ListMark::Slow),
            sessionless: VecDeque::new(),
            touched: ConnList::new(ListMark::Touched),
            touched_closed: Vec::new(),
            touches_reported_ms: 0,
            due: Due::default(),
            outstanding: 0,
            outstanding_bytes: 0,
            large_bytes: 0,
            forgotten: HashMap::with_hasher(FixedState::with_seed(seed)),
            counts: ShardCounts::default(),
            password_limiter: PasswordLimiter::new(seed),
            last_address: None,
            still: Still::default(),
            fanouts: VecDeque::new(),
            told: Vec::new(),
            event: Vec::new(),
            discard: Vec::new(),
        }
    }

    /// The ids that an address proves by itself.
    pub(super) fn ids_of(&mut self, peer: SocketAddr) -> Arc<[Id]> {
        match &self.last_address {
            Some((address, ids)) if *address == peer.ip() => ids.clone(),
            _ => {
                let ids: Arc<[_]> = [acl::ip_id(peer.ip())].into();
                self.last_address = Some((peer.ip(), ids.clone()));
                ids
            }
        }
    }

    /// Counts output and announces it, once until the shell fetches it.
    #[inline]
    pub(super) fn announce(&mut self, conn: &mut Connection, written: usize) {
        if written == 0 {
            return;
        }
        conn.unsent.add(written);
        self.announce_output(conn);
    }

    /// Tells the shell that there is output, once until it fetches it.
    #[inline]
    fn announce_output(&mut self, conn: &mut Connection) {
        if !conn.announced {
            conn.announced = true;
            self.effects.push_back(Effect::Writable(conn.id));
        }
    }

    /// Output outside of a turn.
    pub(super) fn append(&mut self, conn: &mut Connection, bytes: &[u8]) {
        if conn.phase != Phase::Closed {
            conn.out.extend_from_slice(bytes);
            self.announce(conn, bytes.len());
        }
    }

    /// Output that is the caller's to give away. It may be long, and is not copied if nothing comes
    /// before it.
    pub(super) fn append_whole(&mut self, conn: &mut Connection, bytes: Vec<u8>) {
        if conn.phase == Phase::Closed || !conn.out.is_empty() {
            return self.append(conn, &bytes);
        }
        let written = bytes.len();
        conn.out = bytes;
        self.announce(conn, written);
    }

    /// An event outside of a turn.
    pub(super) fn append_event(&mut self, conn: &mut Connection, frame: &[u8]) {
        if conn.phase != Phase::Closed {
            conn.out.extend_from_slice(frame);
            conn.unsent.add_event(frame.len());
            self.announce_output(conn);
        }
    }

    /// Bytes of a connection whose move the shell has not heard of yet go with it.
    pub(super) fn send_along(&mut self, moving: ConnId, more: &[u8]) {
        for effect in self.effects.iter_mut().rev() {
            match effect {
                Effect::MoveTo { conn, bytes, .. } if *conn == moving => {
                    return bytes.extend_from_slice(more);
                }
                _ => {}
            }
        }
    }

    pub(super) fn make_ready(&mut self, conn: &mut Connection) {
        self.ready.push(conn);
    }

    /// Ends a connection: its output still goes out, its input and its watches are gone.
    pub(super) fn close(&mut self, conn: &mut Connection, why: CloseReason) {
        if conn.phase == Phase::Closed {
            return;
        }
        self.let_go(conn);
        debug_assert!(conn.phase == Phase::Closed && conn.pending.is_empty(), "it is let go");
        self.counts.closed.add(why);
        self.effects.push_back(Effect::Close { conn: conn.id, why });
    }

    /// Takes a connection out of everything that knows it.
    pub(super) fn let_go(&mut self, conn: &mut Connection) {
        if conn.phase == Phase::Closed {
            return;
        }
        conn.phase = Phase::Closed;
        conn.wait = None;
        conn.input.clear();
        conn.long = None;
        self.owe_nothing(conn.id.slot);
        self.watches.remove_connection(conn.id.slot);
        let pending = std::mem::take(&mut conn.pending);
        conn.pending_bytes = 0;
        assert!(pending.len() <= self.outstanding, "what a connection has is counted");
        if !pending.is_empty() {
            let before = self.forgotten.insert(conn.id, pending);
            assert!(before.is_none(), "a connection goes once");
        }
        if self.sessions.get(&conn.session) == Some(&conn.id) {
            self.sessions.remove(&conn.session);
            if conn.marks.has(ListMark::Touched) && !mutant!(LastTouchLost) {
                self.touched_closed.push((conn.session, conn.touched_ms));
            }
        }
    }

    /// Counts a request that goes to the quorum core.
    pub(super) fn count_pending(&mut self, conn: &mut Connection, pending: Pending) {
        assert!(conn.phase != Phase::Closed, "a connection that has ended asks for nothing");
        self.outstanding += 1;
        self.outstanding_bytes += pending.bytes as usize;
        conn.pending_bytes += pending.bytes as usize;
        self.large_bytes += pending.large_bytes as usize;
        conn.pending.push_back(pending);
        self.check_counts(conn);
    }

    /// The quorum core has answered the oldest request of an open connection.
    pub(super) fn take_pending(&mut self, conn: &mut Connection) -> Option<Pending> {
        let pending = conn.pending.pop_front()?;
        let left = conn.pending_bytes.checked_sub(pending.bytes as usize);
        conn.pending_bytes = left.expect("every request answered was counted");
        self.uncount(pending);
        self.check_counts(conn);
        Some(pending)
    }

    /// The invariants of what is counted, of the shard and of the connection at hand.
    fn check_counts(&self, conn: &Connection) {
        assert!(
            conn.pending.len() <= self.outstanding,
            "the shard counts those of each connection"
        );
        assert!(conn.pending_bytes <= self.outstanding_bytes, "and their bytes");
        assert_eq!(self.outstanding == 0, self.outstanding_bytes == 0, "each request has bytes");
        debug_assert_eq!(
            conn.pending.iter().map(|pending| pending.bytes as usize).sum::<usize>(),
            conn.pending_bytes
        );
    }

    /// The quorum core has answered the oldest request of a connection that has gone.
    pub(super) fn take_forgotten(&mut self, conn: ConnId) {
        if mutant!(OutstandingNeverFreed) {
            return;
        }
        let Some(all) = self.forgotten.get_mut(&conn) else { return };
        assert!(!all.is_empty() && all.len() <= self.outstanding, "what is forgotten is counted");
        let pending = all.pop_front();
        if all.is_empty() {
            self.forgotten.remove(&conn);
        }
        if let Some(pending) = pending {
            self.uncount(pending);
        }
    }

    /// The role has ended that the quorum core had: it answers nothing of what is forgotten.
    pub(super) fn forget_outstanding(&mut self) {
        let all = std::mem::take(&mut self.forgotten);
        all.into_values().flatten().for_each(|pending| self.uncount(pending));
    }

    fn uncount(&mut self, pending: Pending) {
        let outstanding = self.outstanding.checked_sub(1);
        self.outstanding = outstanding.expect("every request answered was counted");
        let bytes = self.outstanding_bytes.checked_sub(pending.bytes as usize);
        self.outstanding_bytes = bytes.expect("every request answered was counted");
        if mutant!(LargeRequestsNeverFreed) {
            return;
        }
        let large_bytes = self.large_bytes.checked_sub(pending.large_bytes as usize);
        self.large_bytes = large_bytes.expect("every large request answered was counted");
    }

    /// Copies a record to where the quorum core can keep it: small ones share an allocation.
    pub(super) fn keep_record(&mut self, record: &[u8]) -> Bytes {
        if record.len() > ARENA_BYTES / 8 {
            return Bytes::copy_from_slice(record);
        }
        if self.arena.capacity() < record.len() {
            self.arena = BytesMut::with_capacity(ARENA_BYTES);
        }
        self.arena.extend_from_slice(record);
        self.arena.split().freeze()
    }

    /// Whether the quorum core has as many requests of this shard as it may have.
    #[inline]
    pub(super) fn core_is_full(&self) -> bool {
        self.core_room() == 0
    }

    /// Has a connection go on when the quorum core has room again.
    pub(super) fn wait_for_core(&mut self, conn: &mut Connection) {
        self.throttled.push(conn);
    }

    /// Requests that the quorum core may still be given. Whatever their number may be, their bytes
    /// have a bound.
    pub(super) fn core_room(&self) -> usize {
        if self.outstanding_bytes >= limits::SHARD_OUTSTANDING_BYTES_MAX {
            return 0;
        }
        match self.config.outstanding_max {
            0 => usize::MAX,
            max => (max / usize::from(self.config.shards.max(1)))
                .max(1)
                .saturating_sub(self.outstanding),
        }
    }

    /// The connection that has waited longest for the quorum core, and how many requests it may
    /// give to it: its part of the room there is.
    pub(super) fn pop_throttled(
        &mut self,
        connections: &mut Connections,
    ) -> Option<(ConnId, usize)> {
        let room = self.core_room();
        if room == 0 || self.throttled.is_empty() {
            return None;
        }
        let waiting = self.throttled.len();
        if mutant!(ThrottledForgotten) && waiting > 1 {
            self.throttled.pop(connections);
        }
        let conn = self.throttled.pop(connections)?;
        conn.begin_turn(self.holds);
        Some((conn.id, (room / waiting).max(1)))
    }

    /// Lists a connection whose client does not read, to be looked at later.
    pub(super) fn watch_slow_reader(&mut self, conn: &mut Connection, now: Now) {
        if !conn.marks.has(ListMark::Slow) {
            conn.drained = false;
            conn.slow_since_ms = now.mono_ms;
            self.slow.push(conn);
        }
    }

    /// Ends a connection whose client would not read its output anyway.
    pub(super) fn cut_off(&mut self, conn: &mut Connection) {
        conn.out = Vec::new();
        self.close(conn, CloseReason::SlowReader);
    }
}

/// Records of writes are copied into allocations of this size.
const ARENA_BYTES: usize = 64 << 10;
