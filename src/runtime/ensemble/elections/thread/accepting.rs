//! The ports of a member: who is listened to, who calls, and who that may be.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use log::debug;
use rustix::io::Errno;
use rustix::net::{getpeername, getsockname};

use super::super::super::ports::{PeerListener, PeerPort};
use super::super::callers::has_name;
use super::super::{LEARNERS_WAITING_MAX, News};
use super::{Learners, Thread, Waiting};
use crate::runtime::ring::{RingError, Token};
use crate::zab::Caller;

impl Thread<'_> {
    /// What a port for learners is at.
    fn taking(&self, port: PeerPort) -> &Learners {
        if port == PeerPort::ObserverMaster { &self.observers } else { &self.learners }
    }

    fn taking_mut(&mut self, port: PeerPort) -> &mut Learners {
        if port == PeerPort::ObserverMaster { &mut self.observers } else { &mut self.learners }
    }

    /// Listens on a port for learners, if it does not.
    pub(super) fn listen(&mut self, port: PeerPort) -> Result<(), (SocketAddr, Errno)> {
        if self.taking(port).is_listening {
            return Ok(());
        }
        self.taking_mut(port).generation += 1;
        let listeners = self.listeners.of(port);
        for listener in listeners {
            if let Err(cause) = listener.open() {
                listeners.iter().for_each(PeerListener::shut);
                return Err((listener.address, cause));
            }
        }
        self.taking_mut(port).is_listening = true;
        Ok(())
    }

    pub(super) fn take_learners(&mut self, port: PeerPort) -> Result<(), RingError> {
        if let Err((address, cause)) = self.listen(port) {
            let why = format!(
                "{port}: cannot listen on {address}: {cause}; see who has it with `ss -ltnp 'sport \
                 = :{}'`",
                address.port()
            );
            self.shared.tell(News::CannotTakeLearners { why });
            return Ok(());
        }
        if std::mem::replace(&mut self.taking_mut(port).is_taking, true) {
            return Ok(());
        }
        let generation = self.taking(port).generation;
        (0..self.listeners.of(port).len())
            .try_for_each(|nth| self.accept(accept_token(port, nth, generation)))
    }

    /// Whoever dials the port is refused from now on. Accepts under way fail by it.
    pub(super) fn stop_listening(&mut self, port: PeerPort) {
        self.taking_mut(port).is_taking = false;
        self.waiting.retain(|waiting| waiting.port != port);
        if std::mem::take(&mut self.taking_mut(port).is_listening) {
            self.listeners.of(port).iter().for_each(PeerListener::shut);
        }
    }

    /// The listener of an accept, unless that is stale.
    fn listener(&self, token: Token) -> Option<(PeerPort, &PeerListener)> {
        let (port, nth) = accept_of(token);
        let is_fresh =
            token.generation() == accept_token(port, nth, self.generation(port)).generation();
        let is_wanted = port == PeerPort::Election || self.taking(port).is_taking;
        let listener = self.listeners.of(port).get(nth);
        Some((port, listener.filter(|_| is_fresh && is_wanted)?))
    }

    fn generation(&self, port: PeerPort) -> u32 {
        match port {
            PeerPort::Election => 0,
            PeerPort::Quorum | PeerPort::ObserverMaster => self.taking(port).generation,
        }
    }

    pub(super) fn accept(&mut self, token: Token) -> Result<(), RingError> {
        let (port, nth) = accept_of(token);
        if self.listener(token).is_none() {
            return Ok(());
        }
        self.ring.accept(token, self.listeners.of(port)[nth].fd())
    }

    /// Most likely there are too many open files: trying again at once would fail again.
    pub(super) fn on_accept_failed(&mut self, token: Token, error: Errno, now_ms: i64) {
        let Some((port, _)) = self.listener(token) else { return };
        self.accepts.warn(now_ms, || {
            format!(
                "accepting on the {port} fails: {error}; raise the limit of open files (ulimit -n)"
            )
        });
        self.accept_again.push(token);
        self.accept_ms = now_ms + ACCEPT_AGAIN_MS;
    }

    pub(super) fn on_accepted(
        &mut self,
        token: Token,
        socket: OwnedFd,
        now_ms: i64,
    ) -> Result<(), RingError> {
        let Some((port, _)) = self.listener(token) else { return Ok(()) };
        let peer =
            getpeername(&socket).ok().flatten().and_then(|peer| SocketAddr::try_from(peer).ok());
        let local = getsockname(&socket).ok().and_then(|local| SocketAddr::try_from(local).ok());
        // Without a peer it has gone already.
        let (Some(peer), Some(local)) = (peer, local) else { return Ok(()) };
        let local = local.ip();
        let caller = self.callers.at(peer.ip(), local);
        if !caller.members.is_empty() {
            return self.take(port, socket, peer, caller, now_ms);
        }
        self.resolve(now_ms);
        if self.dialler.is_resolving() && self.waiting.len() < WAITING_MAX {
            let until_ms = now_ms + self.config.greeting_ms;
            self.waiting.push(Waiting { port, socket, peer, local, until_ms });
        } else {
            self.refuse(port, peer, now_ms);
        }
        Ok(())
    }

    fn refuse(&mut self, port: PeerPort, peer: SocketAddr, now_ms: i64) {
        self.strangers.warn(now_ms, || {
            format!(
                "a connection from {peer} to the {port} was closed: no line server.N names the \
                 address of this caller, nor does its name resolve to it; if members call from \
                 other addresses than they are dialled at, name the networks that they call from \
                 in ringkeeper.peerNetworks"
            )
        });
    }

    /// Resolves the names of the other members again, where they have any and it was not done a
    /// moment ago.
    pub(super) fn resolve(&mut self, now_ms: i64) {
        if now_ms < self.resolve_ms || self.dialler.is_resolving() {
            return;
        }
        self.resolve_ms = now_ms + RESOLVE_MS;
        let me = self.config.me;
        let others = self.config.addresses.iter().filter(|(id, _)| **id != me);
        others.filter(|(_, line)| has_name(line)).for_each(|(id, _)| self.dialler.resolve(*id));
    }

    /// Looks again who they are that wait. They go when no name is left to be resolved, or when
    /// their time is over.
    pub(super) fn take_waiting(&mut self, now_ms: i64) -> Result<(), RingError> {
        let is_resolving = self.dialler.is_resolving();
        for waiting in std::mem::take(&mut self.waiting) {
            let caller = self.callers.at(waiting.peer.ip(), waiting.local);
            if !caller.members.is_empty() {
                self.take(waiting.port, waiting.socket, waiting.peer, caller, now_ms)?;
            } else if is_resolving && now_ms < waiting.until_ms {
                self.waiting.push(waiting);
            } else {
                self.refuse(waiting.port, waiting.peer, now_ms);
            }
        }
        Ok(())
    }

    /// A member may be at the other end.
    fn take(
        &mut self,
        port: PeerPort,
        socket: OwnedFd,
        peer: SocketAddr,
        caller: Caller,
        now_ms: i64,
    ) -> Result<(), RingError> {
        debug!("{peer} has dialled the {port}, and may be one of {:?}", caller.members);
        match port {
            PeerPort::Election => {
                let patience_ms = self.patience_ms();
                let conn = self.connections.insert(socket, peer, patience_ms, &mut self.ring)?;
                self.links.on_accepted(conn, caller, now_ms);
                // Of too many callers some are closed at once.
                self.carry_out(now_ms)
            }
            _ if self.shared.news.len() >= LEARNERS_WAITING_MAX => {
                self.refused.warn(now_ms, || {
                    format!("a connection from {peer} to the {port} was closed: too many wait")
                });
                Ok(())
            }
            PeerPort::Quorum | PeerPort::ObserverMaster => {
                self.shared.tell(News::Learner { socket, peer });
                Ok(())
            }
        }
    }
}

/// The ring's names of accepts. The slots of connections are numbered from 0.
pub(super) fn accept_token(port: PeerPort, nth: usize, generation: u32) -> Token {
    let of_port = match port {
        PeerPort::Election => 0,
        PeerPort::Quorum => ACCEPTS_MAX,
        PeerPort::ObserverMaster => 2 * ACCEPTS_MAX,
    };
    Token::new(u32::MAX - of_port - nth as u32, generation)
}

/// The reverse of [`accept_token`].
fn accept_of(token: Token) -> (PeerPort, usize) {
    let nth = u32::MAX - token.slot;
    let port = match nth / ACCEPTS_MAX {
        0 => PeerPort::Election,
        1 => PeerPort::Quorum,
        _ => PeerPort::ObserverMaster,
    };
    (port, (nth % ACCEPTS_MAX) as usize)
}

/// Addresses that one port listens on, at most: what tells the accepts of the ports apart.
const ACCEPTS_MAX: u32 = 1 << 16;
/// Connections that wait for names to be resolved; one more is closed.
const WAITING_MAX: usize = 64;
/// The shortest time between two looks at the names of all members for the sake of a caller.
const RESOLVE_MS: i64 = 2_000;
/// The pause after an accept that has failed.
const ACCEPT_AGAIN_MS: i64 = 100;
