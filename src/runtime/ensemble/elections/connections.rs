//! The sockets of the election port: bytes out in order, and an end that waits for nobody for long.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt;

use crate::runtime::ring::{OpKind, Ring, RingError, Token, UserData};
use crate::zab::VoteConn;

/// One socket.
#[derive(Debug)]
struct Connection {
    conn: VoteConn,
    socket: OwnedFd,
    peer: SocketAddr,
    /// A multishot receive is with the kernel.
    is_receiving: bool,
    /// A send is with the kernel.
    is_sending: bool,
    /// What is sent next. Bounded by [`UNSENT_BYTES_MAX`].
    out: Vec<u8>,
    /// The machine has done with it: it goes when all is sent, or at this time.
    ends_ms: Option<i64>,
    /// Nothing is sent any more; it goes when the ring gives its buffer back.
    is_gone: bool,
}

/// All of them, in slots that are used again.
#[derive(Debug, Default)]
pub(super) struct Connections {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Those that the machine knows.
    live: BTreeMap<VoteConn, u32>,
    /// Those that it has done with, and that are not gone yet.
    ending: Vec<u32>,
    last: u64,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    connection: Option<Connection>,
}

/// What has become of a connection that the machine knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    Lives,
    /// It is lost, and has been forgotten.
    Lost(VoteConn),
}

impl Connections {
    /// Takes a socket in and reads it from now on. `patience_ms` is the time after which a peer that
    /// does not answer counts as gone.
    pub(super) fn insert(
        &mut self,
        socket: OwnedFd,
        peer: SocketAddr,
        patience_ms: u32,
        ring: &mut Ring,
    ) -> Result<VoteConn, RingError> {
        // On a socket that is broken already the first receive fails.
        let _ = notice_silence(socket.as_fd(), patience_ms);
        self.last += 1;
        let conn = VoteConn(self.last);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            (self.slots.len() - 1) as u32
        });
        let entry = &mut self.slots[slot as usize];
        let token = Token::new(slot, entry.generation);
        ring.receive(token, socket.as_fd())?;
        entry.connection = Some(Connection {
            conn,
            socket,
            peer,
            is_receiving: true,
            is_sending: false,
            out: Vec::new(),
            ends_ms: None,
            is_gone: false,
        });
        self.live.insert(conn, slot);
        Ok(conn)
    }

    /// The connection of an event, if the machine knows it.
    pub(super) fn of(&mut self, token: Token) -> Option<VoteConn> {
        let connection = self.get(token)?;
        (connection.ends_ms.is_none() && !connection.is_gone).then_some(connection.conn)
    }

    /// Where a connection that the machine knows leads to.
    pub(super) fn peer(&self, conn: VoteConn) -> Option<SocketAddr> {
        let slot = *self.live.get(&conn)?;
        Some(self.slots[slot as usize].connection.as_ref()?.peer)
    }

    /// Appends to what is sent. A peer that takes nothing for long loses its connection.
    pub(super) fn send(
        &mut self,
        conn: VoteConn,
        bytes: &[u8],
        ring: &mut Ring,
    ) -> Result<After, RingError> {
        let Some((token, connection)) = self.live(conn) else { return Ok(After::Lives) };
        if connection.out.len() + bytes.len() > UNSENT_BYTES_MAX {
            self.end(token, ring)?;
            return Ok(After::Lost(conn));
        }
        connection.out.extend_from_slice(bytes);
        self.flush(token, ring)?;
        Ok(After::Lives)
    }

    /// Ends a connection once what was to be sent is sent.
    pub(super) fn close(
        &mut self,
        conn: VoteConn,
        now_ms: i64,
        ring: &mut Ring,
    ) -> Result<(), RingError> {
        let Some((token, connection)) = self.live(conn) else { return Ok(()) };
        if !connection.is_sending {
            return self.end(token, ring);
        }
        connection.ends_ms = Some(now_ms + LAST_BYTES_MS);
        self.live.remove(&conn);
        self.ending.push(token.slot);
        Ok(())
    }

    /// A receive has used the last buffer, or was interrupted: it is armed again.
    pub(super) fn receive_again(&mut self, token: Token, ring: &mut Ring) -> Result<(), RingError> {
        match self.get(token) {
            Some(connection) if !connection.is_gone => {
                connection.is_receiving = true;
                ring.receive(token, connection.socket.as_fd())
            }
            _ => Ok(()),
        }
    }

    /// A receive has ended for good.
    pub(super) fn on_receive_ended(
        &mut self,
        token: Token,
        ring: &mut Ring,
    ) -> Result<After, RingError> {
        let Some(connection) = self.get(token) else { return Ok(After::Lives) };
        connection.is_receiving = false;
        self.lose(token, ring)
    }

    /// A send has ended.
    pub(super) fn on_sent(
        &mut self,
        token: Token,
        len: usize,
        sent: Result<usize, Errno>,
        ring: &mut Ring,
    ) -> Result<After, RingError> {
        let Some(connection) = self.get(token) else { return Ok(After::Lives) };
        connection.is_sending = false;
        if connection.is_gone || sent != Ok(len) {
            return self.lose(token, ring);
        }
        if connection.out.is_empty() && connection.ends_ms.is_some() {
            self.end(token, ring)?;
            return Ok(After::Lives);
        }
        self.flush(token, ring)?;
        Ok(After::Lives)
    }

    /// When [`Self::on_time`] has something to do.
    pub(super) fn wakes_at(&self) -> Option<i64> {
        let ends = |slot: &u32| self.slots[*slot as usize].connection.as_ref()?.ends_ms;
        self.ending.iter().filter_map(ends).min()
    }

    /// Time has passed: whoever does not take its last bytes goes.
    pub(super) fn on_time(&mut self, now_ms: i64, ring: &mut Ring) -> Result<(), RingError> {
        for slot in std::mem::take(&mut self.ending) {
            let entry = &self.slots[slot as usize];
            let ends_ms = entry.connection.as_ref().and_then(|connection| connection.ends_ms);
            match ends_ms {
                Some(at) if at <= now_ms => self.end(Token::new(slot, entry.generation), ring)?,
                Some(_) => self.ending.push(slot),
                None => {}
            }
        }
        Ok(())
    }

    fn get(&mut self, token: Token) -> Option<&mut Connection> {
        let slot = self.slots.get_mut(token.slot as usize)?;
        slot.connection.as_mut().filter(|_| slot.generation == token.generation())
    }

    fn live(&mut self, conn: VoteConn) -> Option<(Token, &mut Connection)> {
        let slot = *self.live.get(&conn)?;
        let entry = &mut self.slots[slot as usize];
        Some((Token::new(slot, entry.generation), entry.connection.as_mut()?))
    }

    fn flush(&mut self, token: Token, ring: &mut Ring) -> Result<(), RingError> {
        let Some(connection) = self.get(token) else { return Ok(()) };
        if connection.is_sending || connection.out.is_empty() {
            return Ok(());
        }
        let bytes = std::mem::take(&mut connection.out);
        connection.is_sending = true;
        ring.send(token, connection.socket.as_fd(), bytes)
    }

    /// The connection is broken; the machine hears of it if it knows it.
    fn lose(&mut self, token: Token, ring: &mut Ring) -> Result<After, RingError> {
        let known = self.of(token);
        self.end(token, ring)?;
        Ok(known.map_or(After::Lives, After::Lost))
    }

    /// Takes the socket away at once, or as soon as the ring gives its buffer back.
    fn end(&mut self, token: Token, ring: &mut Ring) -> Result<(), RingError> {
        let Some(connection) = self.get(token) else { return Ok(()) };
        let (conn, is_sending) = (connection.conn, connection.is_sending);
        if std::mem::take(&mut connection.is_receiving) {
            ring.cancel(UserData::new(OpKind::Receive, token))?;
        }
        connection.ends_ms = None;
        self.live.remove(&conn);
        self.ending.retain(|slot| *slot != token.slot);
        if is_sending {
            if let Some(connection) = self.get(token) {
                connection.is_gone = true;
            }
            return ring.cancel(UserData::new(OpKind::Send, token));
        }
        let entry = &mut self.slots[token.slot as usize];
        entry.generation = token.next_generation().generation();
        self.free.push(token.slot);
        match entry.connection.take() {
            Some(connection) => ring.close(token, connection.socket),
            None => Ok(()),
        }
    }
}

/// Makes the kernel notice that the other machine is gone: by probes while nothing is sent, and by
/// what is sent and not acknowledged.
fn notice_silence(socket: BorrowedFd<'_>, patience_ms: u32) -> Result<(), Errno> {
    sockopt::set_tcp_nodelay(socket, true)?;
    sockopt::set_socket_keepalive(socket, true)?;
    let probe = Duration::from_millis(u64::from(patience_ms) / 3).max(Duration::from_secs(1));
    sockopt::set_tcp_keepidle(socket, probe)?;
    sockopt::set_tcp_keepintvl(socket, probe)?;
    sockopt::set_tcp_keepcnt(socket, 3)?;
    sockopt::set_tcp_user_timeout(socket, patience_ms)
}

/// Bytes that wait for a peer that does not read: some thousand notifications.
const UNSENT_BYTES_MAX: usize = 1 << 20;
/// How long a connection that has ended may take to send its last bytes.
const LAST_BYTES_MS: i64 = 1_000;
