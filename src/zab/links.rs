//! The connections of the election port: who dials, which connection lives, what is sent again
//! (`QuorumCnxManager`).
//!
//! Anybody may dial. Between two servers only the connection that the one with the larger id has
//! dialled lives: a smaller one says who it is, hangs up, and is dialled back. A smaller one that has
//! lost its connection only looks at first whether anybody is there, as the larger one dials again by
//! itself: if each answered what the other has just given up they would never come to an end. Whose
//! connections do not last waits longer each time. Ids are not proven,
//! so nobody but a voter's or a member's own host changes a connection, and only configured
//! addresses are dialled (B29).

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use bytes::{Buf, Bytes, BytesMut};

use super::election::Peer;
use super::members::{Members, ServerId};
use crate::packet::{Greeting, GreetingError, Notification};

/// A connection of the election port. A number is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VoteConn(pub u64);

/// A request of the machine to its shell, to be carried out in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEffect {
    /// Connect to the election port of a server at its configured address; then
    /// [`Links::on_dialled`] or [`Links::on_dial_failed`].
    Dial {
        to: ServerId,
    },
    /// In one piece, after what was sent there before.
    Send {
        conn: VoteConn,
        bytes: Bytes,
    },
    Close {
        conn: VoteConn,
        why: CloseLink,
    },
    /// A server has sent a notification.
    Received {
        from: ServerId,
        notification: Notification,
    },
    /// What is known of a server has changed.
    Peer {
        id: ServerId,
        peer: Peer,
    },
}

/// Why a connection of the election port is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseLink {
    /// Its first bytes are no greeting.
    Greeting(GreetingError),
    /// No member has this id, or it does not call from that member's host.
    Stranger { id: i64 },
    /// It is the dialler's place to be dialled.
    Smaller,
    /// Another connection has taken its place.
    Replaced,
    /// A message is longer than any notification, or empty.
    Length { len: i32 },
    /// It did not say who it is in time.
    Silent,
}

impl fmt::Display for CloseLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Greeting(error) => error.fmt(f),
            Self::Stranger { id } => {
                write!(f, "no member with id {id} is configured at the caller's address")
            }
            Self::Smaller => f.write_str("the server with the larger id dials"),
            Self::Replaced => f.write_str("the server has dialled again"),
            Self::Length { len } => write!(f, "a message of {len} bytes is no notification"),
            Self::Silent => f.write_str("the caller did not say who it is"),
        }
    }
}

/// A connection and what it is at.
#[derive(Debug)]
struct Link {
    /// The server at its other end, once that is known.
    peer: Option<ServerId>,
    /// The host of the caller; this server dialled if there is none.
    from: Option<Caller>,
    received: BytesMut,
    since_ms: i64,
    /// It is closed then if its peer is not known.
    silent_at: i64,
}

/// What the shell knows of a caller: the members whose configured host it calls from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub members: Vec<ServerId>,
}

/// What is kept for each member.
#[derive(Debug, Default)]
struct Line {
    conn: Option<VoteConn>,
    is_dialling: bool,
    /// The dial under way, or the last one, is to find out whether the server runs.
    is_probe: bool,
    /// It is dialled then, if there is no connection.
    redial_at: Option<i64>,
    /// The wait before the next dial if the connection does not last.
    backoff_ms: i64,
    /// The last message that was to be sent, and whether it waits for a connection. A new
    /// connection gets it in any case: the other side may have lost it.
    last: Option<Bytes>,
    is_ringkeeper: bool,
    is_unreachable: bool,
}

/// The machine. See the module.
#[derive(Debug)]
pub struct Links {
    me: ServerId,
    /// This server's own election addresses, each as `host:port`: one, or all that it has
    /// (`multiAddress.enabled`). Invariant: not empty.
    addresses: Vec<String>,
    members: Members,
    /// `cnxTimeout` or `syncLimit` in ticks: how long a caller may take to say who it is, in
    /// milliseconds.
    greeting_ms: i64,
    lines: BTreeMap<ServerId, Line>,
    /// Bounded: one for each member, and [`CALLERS_MAX`] that have not said who they are.
    links: BTreeMap<VoteConn, Link>,
    effects: VecDeque<LinkEffect>,
}

impl Links {
    /// No connections yet.
    pub fn new(me: ServerId, addresses: Vec<String>, members: Members, greeting_ms: i64) -> Self {
        assert!(!addresses.is_empty(), "a greeting names an address");
        Self {
            me,
            addresses,
            members,
            greeting_ms,
            lines: BTreeMap::new(),
            links: BTreeMap::new(),
            effects: VecDeque::new(),
        }
    }

    /// Sends a notification to a member; one that has not been sent yet is replaced.
    pub fn send(&mut self, to: ServerId, notification: &Notification) {
        if !self.members.is_member(to) || to == self.me {
            return;
        }
        let mut bytes = Vec::new();
        notification.write(&mut bytes);
        let bytes = Bytes::from(bytes);
        let line = self.lines.entry(to).or_default();
        line.last = Some(bytes.clone());
        match line.conn {
            Some(conn) => self.effects.push_back(LinkEffect::Send { conn, bytes }),
            None if line.redial_at.is_some() => {}
            None => self.dial(to, false),
        }
    }

    /// A dial has got through.
    pub fn on_dialled(&mut self, to: ServerId, conn: VoteConn, now_ms: i64) {
        self.set_unreachable(to, false);
        let line = self.lines.entry(to).or_default();
        line.is_dialling = false;
        if to > self.me {
            if line.conn.is_none() {
                // An Apache's does not dial by itself, and logs who says nothing with a warning.
                if line.is_probe && line.is_ringkeeper {
                    line.redial_at = Some(now_ms + DIALLED_BACK_MS);
                } else {
                    self.send_greeting(conn);
                }
            }
            return self.effects.push_back(LinkEffect::Close { conn, why: CloseLink::Smaller });
        }
        self.send_greeting(conn);
        let (received, silent_at) = (BytesMut::new(), now_ms + self.greeting_ms);
        let link = Link { peer: Some(to), from: None, received, since_ms: now_ms, silent_at };
        self.links.insert(conn, link);
        self.take_over(to, conn);
    }

    fn send_greeting(&mut self, conn: VoteConn) {
        let mut greeting = Vec::new();
        let addresses = self.addresses.clone();
        Greeting { server_id: self.me.0, addresses }.write(&mut greeting);
        self.effects.push_back(LinkEffect::Send { conn, bytes: greeting.into() });
    }

    /// A dial was refused, or nobody answered.
    pub fn on_dial_failed(&mut self, to: ServerId) {
        if let Some(line) = self.lines.get_mut(&to) {
            line.is_dialling = false;
            line.redial_at = None;
        }
        self.set_unreachable(to, true);
    }

    /// Somebody has dialled. Of too many who have not said who they are the one goes that has had
    /// the longest time for it: a server says it at once, and is not kept out by others.
    pub fn on_accepted(&mut self, conn: VoteConn, from: Caller, now_ms: i64) {
        let unknown = || self.links.iter().filter(|(_, link)| link.peer.is_none());
        if unknown().count() >= CALLERS_MAX
            && let Some((oldest, _)) = unknown().min_by_key(|(conn, link)| (link.silent_at, **conn))
        {
            self.close(*oldest, CloseLink::Silent);
        }
        let (received, silent_at) = (BytesMut::new(), now_ms + self.greeting_ms);
        let link = Link { peer: None, from: Some(from), received, since_ms: now_ms, silent_at };
        self.links.insert(conn, link);
    }

    /// Bytes of a connection.
    pub fn on_bytes(&mut self, conn: VoteConn, bytes: &[u8]) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        link.received.extend_from_slice(bytes);
        if link.peer.is_none() {
            self.greet(conn);
        }
        self.read(conn);
    }

    /// A connection is gone. What was sent over it may be lost: the server dials again, and says
    /// the last of it once more. Else it would only do so when it next has something to say, which
    /// may be a minute later. If it had lasted, the dial is at once: who has lost its leader knows
    /// by it that nobody runs there.
    pub fn on_closed(&mut self, conn: VoteConn, now_ms: i64) {
        let lasted_ms = self.links.get(&conn).map_or(0, |link| now_ms - link.since_ms);
        let Some(peer) = self.forget(conn) else { return };
        let line = self.lines.entry(peer).or_default();
        if line.last.is_none() {
            return;
        }
        if lasted_ms >= LASTING_MS {
            line.backoff_ms = 0;
            return self.dial(peer, peer > self.me);
        }
        line.backoff_ms = (2 * line.backoff_ms).clamp(BACKOFF_MS_MIN, BACKOFF_MS_MAX);
        line.redial_at = Some(now_ms + line.backoff_ms);
    }

    /// The member whose only connection this was.
    fn forget(&mut self, conn: VoteConn) -> Option<ServerId> {
        let peer = self.links.remove(&conn)?.peer?;
        let line = self.lines.get_mut(&peer).filter(|line| line.conn == Some(conn))?;
        line.conn = None;
        Some(peer)
    }

    /// Time has passed: callers that do not say who they are go, and lost connections are dialled.
    pub fn on_time(&mut self, now_ms: i64) {
        let due =
            |line: &Line| line.conn.is_none() && line.redial_at.is_some_and(|at| at <= now_ms);
        let due: Vec<ServerId> =
            self.lines.iter().filter(|(_, line)| due(line)).map(|(id, _)| *id).collect();
        due.into_iter().for_each(|id| self.dial(id, false));
        let late = |link: &Link| link.peer.is_none() && link.silent_at <= now_ms;
        let late: Vec<VoteConn> =
            self.links.iter().filter(|(_, link)| late(link)).map(|(conn, _)| *conn).collect();
        late.into_iter().for_each(|conn| self.close(conn, CloseLink::Silent));
    }

    /// When [`Self::on_time`] has something to do.
    pub fn wakes_at(&self) -> Option<i64> {
        let unknown = self.links.values().filter(|link| link.peer.is_none());
        let redials = self.lines.values().filter_map(|line| line.redial_at);
        unknown.map(|link| link.silent_at).chain(redials).min()
    }

    /// The server at the other end of a connection, once that is known.
    pub fn server_at(&self, conn: VoteConn) -> Option<ServerId> {
        self.links.get(&conn)?.peer
    }

    /// The next thing that the shell must do.
    pub fn poll(&mut self) -> Option<LinkEffect> {
        self.effects.pop_front()
    }

    /// Reads who calls.
    fn greet(&mut self, conn: VoteConn) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        let (greeting, taken) = match Greeting::read(&link.received) {
            Ok(Some(read)) => read,
            Ok(None) => return,
            Err(error) => return self.close(conn, CloseLink::Greeting(error)),
        };
        link.received.advance(taken);
        let id = ServerId(greeting.server_id);
        let is_known = self.members.is_member(id)
            && id != self.me
            && link.from.as_ref().is_none_or(|caller| caller.members.contains(&id));
        if !is_known {
            return self.close(conn, CloseLink::Stranger { id: id.0 });
        }
        self.set_unreachable(id, false);
        if id < self.me {
            self.close(conn, CloseLink::Smaller);
            // The connection that there was is lost at its other end.
            if let Some(earlier) = self.lines.entry(id).or_default().conn.take() {
                self.close(earlier, CloseLink::Replaced);
            }
            return self.dial(id, false);
        }
        if let Some(link) = self.links.get_mut(&conn) {
            link.peer = Some(id);
        }
        self.take_over(id, conn);
    }

    /// The connection is the one with this server from here on; the last message goes over it.
    fn take_over(&mut self, id: ServerId, conn: VoteConn) {
        let line = self.lines.entry(id).or_default();
        line.redial_at = None;
        let earlier = line.conn.replace(conn).filter(|earlier| *earlier != conn);
        let last = line.last.clone();
        if let Some(earlier) = earlier {
            self.close(earlier, CloseLink::Replaced);
        }
        if let Some(bytes) = last {
            self.effects.push_back(LinkEffect::Send { conn, bytes });
        }
    }

    /// Reads notifications. One that cannot be read is passed over, its connection stays (S50).
    fn read(&mut self, conn: VoteConn) {
        loop {
            let Some(link) = self.links.get_mut(&conn) else { return };
            let Some(from) = link.peer else { return };
            let Some(mut head) = link.received.get(..LENGTH_BYTES) else { return };
            let len = head.get_i32();
            let fits =
                usize::try_from(len).ok().filter(|len| (1..=MESSAGE_BYTES_MAX).contains(len));
            let Some(whole) = fits.map(|len| LENGTH_BYTES + len) else {
                return self.close(conn, CloseLink::Length { len });
            };
            if link.received.len() < whole {
                return;
            }
            let message = link.received.split_to(whole).freeze().slice(LENGTH_BYTES..);
            if let Ok(notification) = Notification::read(&message) {
                self.set_ringkeeper(from, notification.is_of_ringkeeper());
                self.effects.push_back(LinkEffect::Received { from, notification });
            }
        }
    }

    fn dial(&mut self, to: ServerId, is_probe: bool) {
        let line = self.lines.entry(to).or_default();
        line.redial_at = None;
        // What is under way becomes what is wanted more.
        line.is_probe = is_probe && (line.is_probe || !line.is_dialling);
        if !line.is_dialling {
            line.is_dialling = true;
            self.effects.push_back(LinkEffect::Dial { to });
        }
    }

    fn close(&mut self, conn: VoteConn, why: CloseLink) {
        self.forget(conn);
        self.effects.push_back(LinkEffect::Close { conn, why });
    }

    fn set_unreachable(&mut self, id: ServerId, is_unreachable: bool) {
        let line = self.lines.entry(id).or_default();
        if line.is_unreachable != is_unreachable {
            line.is_unreachable = is_unreachable;
            self.tell(id);
        }
    }

    fn set_ringkeeper(&mut self, id: ServerId, is_ringkeeper: bool) {
        let line = self.lines.entry(id).or_default();
        if line.is_ringkeeper != is_ringkeeper {
            line.is_ringkeeper = is_ringkeeper;
            self.tell(id);
        }
    }

    fn tell(&mut self, id: ServerId) {
        let Some(line) = self.lines.get(&id) else { return };
        let (is_ringkeeper, is_unreachable) = (line.is_ringkeeper, line.is_unreachable);
        let peer = Peer { is_ringkeeper, is_unreachable };
        self.effects.push_back(LinkEffect::Peer { id, peer });
    }
}

/// Callers that have not said who they are; for one more the oldest is closed.
const CALLERS_MAX: usize = 64;
/// How long a Ringkeeper with a larger id, which runs, may take to dial again.
const DIALLED_BACK_MS: i64 = 50;
/// The time after which a connection has lasted.
const LASTING_MS: i64 = 100;
/// The wait before a connection that has not lasted is dialled again.
const BACKOFF_MS_MIN: i64 = 10;
const BACKOFF_MS_MAX: i64 = 1_000;
const LENGTH_BYTES: usize = 4;
/// The longest message that Apache's takes.
const MESSAGE_BYTES_MAX: usize = 512 << 10;
