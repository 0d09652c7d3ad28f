//! The sockets of one shard: slots that are used again, each use a generation of its own.

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::handoff::ConnId;

use super::ring::Token;

/// One live socket.
#[derive(Debug)]
pub struct Socket {
    pub descriptor: OwnedFd,
    pub peer: SocketAddr,
    pub stage: Stage,
    /// A multishot receive is with the kernel.
    pub receiving: bool,
    /// The frontend wants no more bytes for now.
    pub paused: bool,
    /// A send is with the kernel.
    pub sending: bool,
    /// Bytes of the buffer in flight that have left: it is sent in parts.
    ///
    /// Invariant: 0 while nothing is being sent.
    pub sent: usize,
    /// The buffer of the last send, to be filled next.
    pub spare: Vec<u8>,
}

/// The stage of a connection's life.
#[derive(Debug)]
pub enum Stage {
    Open,
    /// Ends our side once what is queued has been sent. A peer that does not read has until then.
    Closing {
        until_ms: i64,
    },
    /// Our side is shut; what the peer still sends is thrown away until it shuts its own or the
    /// time is over. Closing with bytes unread would reset the connection and take the last replies
    /// with it.
    Lingering {
        until_ms: i64,
    },
    /// Another shard takes it over once the receive has been cancelled; the bytes are what nobody
    /// has decoded yet.
    Moving {
        to: crate::handoff::ShardId,
        bytes: Vec<u8>,
    },
    /// It goes as soon as the ring gives the buffer back that it is sending.
    Gone,
}

impl Socket {
    /// The descriptor, for one operation.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    /// Whether bytes of the peer are waited for, be it to throw them away.
    pub fn is_read(&self) -> bool {
        matches!(self.stage, Stage::Open | Stage::Closing { .. } | Stage::Lingering { .. })
    }

    /// Whether the frontend is still told of it.
    pub fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open)
    }
}

/// The table of sockets.
#[derive(Debug, Default)]
pub struct Sockets {
    slots: Vec<Slot>,
    free: Vec<u32>,
    live: usize,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    socket: Option<Socket>,
}

impl Sockets {
    /// Takes a socket in.
    pub fn insert(&mut self, descriptor: OwnedFd, peer: SocketAddr) -> ConnId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            (self.slots.len() - 1) as u32
        });
        let entry = &mut self.slots[slot as usize];
        entry.socket = Some(Socket {
            descriptor,
            peer,
            stage: Stage::Open,
            receiving: false,
            paused: false,
            sending: false,
            sent: 0,
            spare: Vec::new(),
        });
        self.live += 1;
        ConnId { slot, generation: entry.generation }
    }

    /// The socket that `conn` names, unless it has gone.
    pub fn get(&mut self, conn: ConnId) -> Option<&mut Socket> {
        let slot = self.slots.get_mut(conn.slot as usize)?;
        slot.socket.as_mut().filter(|_| slot.generation == conn.generation)
    }

    /// Takes a socket out. Its slot is used again at once, under the next generation; the ring must
    /// hold no send of it.
    pub fn remove(&mut self, conn: ConnId) -> Option<Socket> {
        let slot = self
            .slots
            .get_mut(conn.slot as usize)
            .filter(|slot| slot.generation == conn.generation)?;
        let socket = slot.socket.take()?;
        // The ring's tokens carry 24 bits of generation.
        slot.generation = Token::new(0, slot.generation).next_generation().generation();
        self.free.push(conn.slot);
        self.live -= 1;
        Some(socket)
    }

    /// Every live connection.
    pub fn ids(&self) -> Vec<ConnId> {
        let live = self.slots.iter().enumerate().filter(|(_, slot)| slot.socket.is_some());
        live.map(|(index, slot)| ConnId { slot: index as u32, generation: slot.generation })
            .collect()
    }

    /// The number of sockets.
    pub fn len(&self) -> usize {
        self.live
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }
}

/// The ring's name of a connection.
pub fn token(conn: ConnId) -> Token {
    Token::new(conn.slot, conn.generation)
}

/// The reverse of [`token`].
pub fn conn(token: Token) -> ConnId {
    ConnId { slot: token.slot, generation: token.generation() }
}
