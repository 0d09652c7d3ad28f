//! The loop of the thread of elections.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use log::{debug, info, warn};
use rustix::io::Errno;
use rustix::net::{getpeername, getsockname, sockopt};

use crate::packet::{Notification, PeerState};
use crate::runtime::clock;
use crate::runtime::ring::{
    Event, ReceiveStop, Ring, RingConfig, RingError, RingUnavailable, Token, Wait, Waker,
};
use crate::runtime::warnings::Warnings;
use crate::zab::{
    Caller, CloseLink, Election, ElectionEffect, LinkEffect, Links, Peer, ServerId, VoteConn,
};

use super::super::ports::{PeerListener, PeerListeners, PeerPort};
use super::callers::{Callers, has_name};
use super::connections::{After, Connections};
use super::dial::{Dialled, Dialler, Failure, FailureKind, LeaderDial, MasterPort, Outcome, Task};
use super::{ElectionsConfig, LEARNERS_WAITING_MAX, News, Order, Shared, Standing};

/// Runs the thread until it is to stop. `made` is told of the ring, or that there is none.
pub(super) fn run(
    config: ElectionsConfig,
    listeners: PeerListeners,
    shared: &Shared,
    made: impl FnOnce(Result<Waker, RingUnavailable>),
) -> Result<(), ThreadError> {
    let ring = match Ring::new(RING) {
        Ok(ring) => ring,
        Err(err) => {
            made(Err(err));
            return Ok(());
        }
    };
    made(Ok(ring.waker()));
    let mut thread = Thread::new(config, listeners, ring, shared);
    thread.begin().map_err(ThreadError)?;
    while !shared.stops.load(Ordering::Acquire) {
        thread.turn().map_err(ThreadError)?;
    }
    Ok(())
}

/// The ring has failed.
#[derive(Debug)]
pub(super) struct ThreadError(RingError);

impl fmt::Display for ThreadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "its ring has failed: {}", self.0)
    }
}

struct Thread<'a> {
    config: ElectionsConfig,
    ring: Ring,
    election: Election,
    links: Links,
    connections: Connections,
    dialler: Dialler,
    callers: Callers,
    listeners: PeerListeners,
    /// What the quorum port is at, and the observer master port.
    learners: Learners,
    observers: Learners,
    /// Connections whose caller is not known until names have been resolved again. Bounded by
    /// [`WAITING_MAX`].
    waiting: Vec<Waiting>,
    /// Before this time names are not resolved again.
    resolve_ms: i64,
    /// The role of a leader has ended, and the next election has not begun: nobody is told that this
    /// server leads.
    is_between: bool,
    /// Accepts that have failed, and when they are asked for again.
    accept_again: Vec<Token>,
    accept_ms: i64,
    /// Connections whose server has been logged.
    logged: BTreeSet<VoteConn>,
    /// Why each server could not be reached.
    errors: BTreeMap<ServerId, String>,
    /// The servers whose machines run, and which do not run themselves: their election ports
    /// have refused, and these are open for as long as a server runs.
    gone: BTreeSet<ServerId>,
    strangers: Warnings,
    refused: Warnings,
    accepts: Warnings,
    standing: Standing,
    shared: &'a Shared,
}

/// What a port for learners is at.
#[derive(Debug, Default)]
struct Learners {
    is_listening: bool,
    is_taking: bool,
    /// Of accepts: those of an earlier time are stale.
    generation: u32,
}

/// A connection that waits for names to be resolved.
struct Waiting {
    port: PeerPort,
    socket: OwnedFd,
    peer: SocketAddr,
    local: IpAddr,
    until_ms: i64,
}

impl<'a> Thread<'a> {
    fn new(
        config: ElectionsConfig,
        listeners: PeerListeners,
        ring: Ring,
        shared: &'a Shared,
    ) -> Self {
        let (me, members) = (config.me, config.members.clone());
        let own = config.addresses.get(&me).map_or(&[][..], |line| line);
        let mut addresses: Vec<String> =
            own.iter().map(|at| host_and_port(&at.host, at.election_port)).collect();
        if addresses.is_empty() {
            addresses.extend(listeners.election_addresses().map(|address| address.to_string()));
        }
        if !config.names_all_addresses {
            addresses.truncate(1);
        }
        let standing = shared.standing.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Self {
            election: Election::new(me, members.clone(), config.election),
            links: Links::new(me, addresses, members, config.greeting_ms),
            connections: Connections::default(),
            dialler: Dialler::new(&config, ring.waker()),
            callers: Callers::new(me, &config.addresses, config.networks.clone()),
            listeners,
            learners: Learners::default(),
            observers: Learners::default(),
            waiting: Vec::new(),
            resolve_ms: i64::MIN,
            is_between: false,
            accept_again: Vec::new(),
            accept_ms: i64::MAX,
            logged: BTreeSet::new(),
            errors: BTreeMap::new(),
            gone: BTreeSet::new(),
            strangers: Warnings::default(),
            refused: Warnings::default(),
            accepts: Warnings::default(),
            standing,
            shared,
            config,
            ring,
        }
    }

    fn begin(&mut self) -> Result<(), RingError> {
        for nth in 0..self.listeners.votes.len() {
            info!("votes are taken at {}", self.listeners.votes[nth].address);
            self.accept(accept_token(PeerPort::Election, nth, 0))?;
        }
        self.resolve(clock::now().mono_ms);
        Ok(())
    }

    /// Sleeps until there is something to do, and does it.
    fn turn(&mut self) -> Result<(), RingError> {
        let wait = self.wait(clock::now().mono_ms);
        self.ring.turn(wait)?;
        let now_ms = clock::now().mono_ms;
        while let Some(event) = self.ring.next_event() {
            self.on_event(event, now_ms)?;
        }
        while let Some(outcome) = self.dialler.poll() {
            self.on_outcome(outcome, now_ms)?;
        }
        while let Some(order) = self.shared.orders.pop() {
            self.on_order(order, now_ms)?;
        }
        self.on_time(now_ms)?;
        self.carry_out(now_ms)?;
        self.tell_standing();
        Ok(())
    }

    fn wait(&self, now_ms: i64) -> Wait {
        let waiting = self.waiting.iter().map(|waiting| waiting.until_ms).min();
        let accept = (!self.accept_again.is_empty()).then_some(self.accept_ms);
        let of_machines = [self.election.wakes_at(), self.links.wakes_at()];
        let own = [self.connections.wakes_at(), waiting, accept];
        match of_machines.into_iter().chain(own).flatten().min() {
            None => Wait::Forever,
            Some(at) if at <= now_ms => Wait::Poll,
            Some(at) => Wait::For(Duration::from_millis((at - now_ms).unsigned_abs())),
        }
    }

    fn on_time(&mut self, now_ms: i64) -> Result<(), RingError> {
        self.election.on_time(now_ms);
        self.links.on_time(now_ms);
        self.connections.on_time(now_ms, &mut self.ring)?;
        if self.waiting.iter().any(|waiting| waiting.until_ms <= now_ms) {
            self.take_waiting(now_ms)?;
        }
        if self.accept_ms <= now_ms {
            self.accept_ms = i64::MAX;
            std::mem::take(&mut self.accept_again)
                .into_iter()
                .try_for_each(|token| self.accept(token))?;
        }
        Ok(())
    }

    fn on_event(&mut self, event: Event, now_ms: i64) -> Result<(), RingError> {
        match event {
            Event::Accepted { listener, socket } => {
                self.on_accepted(listener, socket, now_ms)?;
                self.accept(listener)
            }
            Event::AcceptFailed { listener, error } => {
                self.on_accept_failed(listener, error, now_ms);
                Ok(())
            }
            Event::Received { conn: token, chunk, armed } => {
                if let Some(conn) = self.connections.of(token) {
                    self.links.on_bytes(conn, &chunk);
                    self.log_server(conn);
                }
                drop(chunk);
                if armed { Ok(()) } else { self.connections.receive_again(token, &mut self.ring) }
            }
            Event::ReceiveStopped { conn: token, cause } => match cause {
                ReceiveStop::NoBuffers => self.connections.receive_again(token, &mut self.ring),
                ReceiveStop::Closed | ReceiveStop::Failed(_) | ReceiveStop::Cancelled => {
                    let after = self.connections.on_receive_ended(token, &mut self.ring)?;
                    self.after(after, now_ms);
                    Ok(())
                }
            },
            Event::Sent { conn: token, buffer, sent } => {
                let after = self.connections.on_sent(token, buffer.len(), sent, &mut self.ring)?;
                self.after(after, now_ms);
                Ok(())
            }
            Event::CloseFailed { error, .. } => {
                debug!("closing a connection failed: {error}");
                Ok(())
            }
            Event::Synced { .. } | Event::Readable { .. } | Event::PollStopped { .. } => Ok(()),
        }
    }

    /// The machine hears of a connection that is lost.
    fn after(&mut self, after: After, now_ms: i64) {
        let After::Lost(conn) = after else { return };
        if let Some(id) = self.links.server_at(conn) {
            info!("the connection for votes with server {id} is lost");
        }
        self.logged.remove(&conn);
        self.links.on_closed(conn, now_ms);
    }

    /// Says once who is at the other end of a connection.
    fn log_server(&mut self, conn: VoteConn) {
        if let Some(id) = self.links.server_at(conn)
            && self.logged.insert(conn)
            && let Some(peer) = self.connections.peer(conn)
        {
            info!("server {id} has connected from {peer} for votes");
        }
    }

    fn on_order(&mut self, order: Order, now_ms: i64) -> Result<(), RingError> {
        debug!("{order:?}");
        match order {
            Order::Look { zxid, epoch, stands } => {
                self.dialler.give_up_leader();
                self.stop_listening(PeerPort::Quorum);
                self.stop_listening(PeerPort::ObserverMaster);
                self.is_between = false;
                self.election.stand(stands);
                self.election.look(zxid, epoch, now_ms);
                Ok(())
            }
            Order::Serves { epoch } => {
                // The order was given before it was known that this server looks again.
                if self.election.state() != PeerState::Looking {
                    self.election.serves(epoch);
                }
                Ok(())
            }
            Order::Dial { leader, attempt } => {
                self.dial_leader(leader, MasterPort::Quorum, attempt);
                Ok(())
            }
            Order::DialObserverMaster { follower, port, attempt } => {
                self.dial_leader(follower, MasterPort::Observers(port), attempt);
                Ok(())
            }
            Order::TakeLearners { is_wanted: true } => self.take_learners(PeerPort::Quorum),
            Order::TakeObservers => self.take_learners(PeerPort::ObserverMaster),
            Order::TakeLearners { is_wanted: false } => {
                self.stop_listening(PeerPort::Quorum);
                self.is_between = self.election.state() == PeerState::Leading;
                Ok(())
            }
        }
    }

    fn dial_leader(&mut self, id: ServerId, port: MasterPort, number: u64) {
        let is_once = self.gone.contains(&id);
        self.standing.master = Some(id);
        self.dialler.dial_leader(LeaderDial { id, port, number, is_once });
    }

    /// What a port for learners is at.
    fn taking(&self, port: PeerPort) -> &Learners {
        if port == PeerPort::ObserverMaster { &self.observers } else { &self.learners }
    }

    fn taking_mut(&mut self, port: PeerPort) -> &mut Learners {
        if port == PeerPort::ObserverMaster { &mut self.observers } else { &mut self.learners }
    }

    /// Listens on a port for learners, if it does not.
    fn listen(&mut self, port: PeerPort) -> Result<(), (SocketAddr, Errno)> {
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

    fn take_learners(&mut self, port: PeerPort) -> Result<(), RingError> {
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
    fn stop_listening(&mut self, port: PeerPort) {
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

    fn accept(&mut self, token: Token) -> Result<(), RingError> {
        let (port, nth) = accept_of(token);
        if self.listener(token).is_none() {
            return Ok(());
        }
        self.ring.accept(token, self.listeners.of(port)[nth].fd())
    }

    /// Most likely there are too many open files: trying again at once would fail again.
    fn on_accept_failed(&mut self, token: Token, error: Errno, now_ms: i64) {
        let Some((port, _)) = self.listener(token) else { return };
        self.accepts.warn(now_ms, || {
            format!(
                "accepting on the {port} fails: {error}; raise the limit of open files (ulimit -n)"
            )
        });
        self.accept_again.push(token);
        self.accept_ms = now_ms + ACCEPT_AGAIN_MS;
    }

    fn on_accepted(&mut self, token: Token, socket: OwnedFd, now_ms: i64) -> Result<(), RingError> {
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
    fn resolve(&mut self, now_ms: i64) {
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
    fn take_waiting(&mut self, now_ms: i64) -> Result<(), RingError> {
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

    fn on_outcome(&mut self, outcome: Outcome, now_ms: i64) -> Result<(), RingError> {
        match outcome {
            Outcome::Found { id, found, is_whole } => {
                self.callers.note(id, found, is_whole);
                self.take_waiting(now_ms)
            }
            Outcome::Ended { task: Task::Votes, id, result, .. } => match result {
                Ok(Dialled::Connected { socket, peer }) => {
                    self.on_dialled(id, socket, peer, now_ms)
                }
                Ok(Dialled::Resolved) => Ok(()),
                Err(failure) => {
                    self.on_dial_failed(id, failure);
                    Ok(())
                }
            },
            Outcome::Ended { task: Task::Leader, id, number, result } => {
                self.on_leader(id, number, result);
                Ok(())
            }
            Outcome::Ended { task: Task::Names, id, result, .. } => {
                if let Err(failure) = result {
                    debug!("server {id}: {}", failure.why);
                }
                self.take_waiting(now_ms)
            }
        }
    }

    fn on_dialled(
        &mut self,
        id: ServerId,
        socket: OwnedFd,
        peer: SocketAddr,
        now_ms: i64,
    ) -> Result<(), RingError> {
        debug!("server {id} was dialled at {peer} for votes");
        let patience_ms = self.patience_ms();
        let conn = self.connections.insert(socket, peer, patience_ms, &mut self.ring)?;
        self.links.on_dialled(id, conn, now_ms);
        if self.links.server_at(conn).is_some() {
            self.logged.insert(conn);
            info!("connected to server {id} at {peer} for votes");
        }
        Ok(())
    }

    fn on_dial_failed(&mut self, id: ServerId, failure: Failure) {
        self.errors.insert(id, failure.why);
        if failure.kind == FailureKind::Refused {
            self.gone.insert(id);
            self.dialler.leader_is_gone(id);
        }
        self.links.on_dial_failed(id);
    }

    fn on_leader(&mut self, id: ServerId, attempt: u64, result: Result<Dialled, Failure>) {
        match result {
            Ok(Dialled::Connected { socket, peer }) => {
                // On a socket that is broken already the first receive fails.
                let _ = sockopt::set_socket_keepalive(&socket, self.config.keep_alive);
                self.shared.tell(News::LeaderConnected { attempt, socket, peer });
            }
            Ok(Dialled::Resolved) => {}
            Err(Failure { why, .. }) => {
                let why = format!("server {id} cannot be reached to learn from it: {why}");
                self.shared.tell(News::LeaderUnreachable { attempt, why });
            }
        }
    }

    /// Carries out what the machines want until they want nothing.
    fn carry_out(&mut self, now_ms: i64) -> Result<(), RingError> {
        loop {
            if let Some(effect) = self.election.poll() {
                self.carry_out_election(effect);
            } else if let Some(effect) = self.links.poll() {
                self.carry_out_link(effect, now_ms)?;
            } else {
                return Ok(());
            }
        }
    }

    fn carry_out_election(&mut self, effect: ElectionEffect) {
        match effect {
            ElectionEffect::Send { to, notification } => {
                debug!(
                    "to server {to}: {} for server {}, zxid {}, epoch {}, round {}",
                    notification.state,
                    notification.leader,
                    notification.zxid,
                    notification.peer_epoch,
                    notification.round
                );
                self.links.send(to, &notification);
            }
            ElectionEffect::Elected { state, vote } => {
                // Its learners dial before the quorum core has heard of this. If it cannot be, the
                // core hears so when it wants learners.
                if state == PeerState::Leading && self.listen(PeerPort::Quorum).is_err() {
                    debug!("the quorum port cannot listen yet");
                }
                let round = self.election.round();
                self.shared.tell(News::Elected { state, vote, round });
                if state == PeerState::Leading {
                    self.shared.tell(News::ElectedBy(self.election.supporters()));
                }
            }
            ElectionEffect::Voter { id, news } => {
                // Anybody at a member's address may bring about as many as he likes of these.
                if self.shared.news.len() < LEARNERS_WAITING_MAX {
                    self.shared.tell(News::Voter { id, news });
                }
            }
        }
    }

    fn carry_out_link(&mut self, effect: LinkEffect, now_ms: i64) -> Result<(), RingError> {
        match effect {
            LinkEffect::Dial { to } => self.dialler.dial_votes(to),
            LinkEffect::Send { conn, bytes } => {
                let after = self.connections.send(conn, &bytes, &mut self.ring)?;
                self.after(after, now_ms);
            }
            LinkEffect::Close { conn, why } => {
                if let Some(peer) = self.connections.peer(conn) {
                    let is_refusal = !matches!(why, CloseLink::Smaller | CloseLink::Replaced);
                    let said = || format!("the connection with {peer} for votes was closed: {why}");
                    match is_refusal {
                        true => self.refused.warn(now_ms, said),
                        false => debug!("{}", said()),
                    }
                }
                if matches!(why, CloseLink::Stranger { .. }) {
                    // It may be a member that has moved; it calls again.
                    self.resolve(now_ms);
                }
                self.logged.remove(&conn);
                self.connections.close(conn, now_ms, &mut self.ring)?;
            }
            LinkEffect::Received { from, notification } => {
                debug!(
                    "from server {from}: {} for server {}, zxid {}, epoch {}, round {}",
                    notification.state,
                    notification.leader,
                    notification.zxid,
                    notification.peer_epoch,
                    notification.round
                );
                self.on_notification(from, &notification, now_ms);
            }
            LinkEffect::Peer { id, peer } => self.on_peer(id, peer, now_ms),
        }
        Ok(())
    }

    fn on_notification(&mut self, from: ServerId, said: &Notification, now_ms: i64) {
        // A leader that looks again in a later round leads no longer; one that another voter has
        // left may not. A new election finds it if it does.
        let is_later = said.state == PeerState::Looking && said.round > self.election.round();
        if is_later && self.config.members.is_voter(from) {
            self.dialler.leader_may_be_gone();
        }
        if !self.is_between {
            self.election.on_notification(from, said, now_ms);
        }
    }

    fn on_peer(&mut self, id: ServerId, peer: Peer, now_ms: i64) {
        let unreachable = &mut self.standing.unreachable;
        if peer.is_unreachable && unreachable.insert(id) {
            let why = self.errors.remove(&id).unwrap_or_default();
            warn!("server {id} cannot be reached for votes: {why}");
        } else if !peer.is_unreachable && unreachable.remove(&id) {
            info!("server {id} can be reached for votes again");
        }
        if !peer.is_unreachable {
            self.gone.remove(&id);
        }
        self.election.on_peer(id, peer, now_ms);
    }

    /// The time after which a server that does not answer counts as gone.
    fn patience_ms(&self) -> u32 {
        u32::try_from(self.config.greeting_ms.clamp(PATIENCE_MS_MIN, PATIENCE_MS_MAX))
            .unwrap_or(u32::MAX)
    }

    fn tell_standing(&mut self) {
        let (state, round, vote) =
            (self.election.state(), self.election.round(), self.election.vote());
        (self.standing.state, self.standing.round, self.standing.vote) = (state, round, vote);
        let mut told = self.shared.standing.lock().unwrap_or_else(PoisonError::into_inner);
        if *told != self.standing {
            told.clone_from(&self.standing);
        }
    }
}

/// A host as it is written, with a port.
fn host_and_port(host: &str, port: u16) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

/// The ring's names of accepts. The slots of connections are numbered from 0.
fn accept_token(port: PeerPort, nth: usize, generation: u32) -> Token {
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

/// A small ring: a few dozen connections that say little.
const RING: RingConfig = RingConfig {
    submissions: 128,
    receive_buffers: 32,
    receive_buffer_bytes: 4 << 10,
    spin: Duration::ZERO,
};
/// Addresses that one port listens on, at most: what tells the accepts of the ports apart.
const ACCEPTS_MAX: u32 = 1 << 16;
/// Connections that wait for names to be resolved; one more is closed.
const WAITING_MAX: usize = 64;
/// The shortest time between two looks at the names of all members for the sake of a caller.
const RESOLVE_MS: i64 = 2_000;
/// The pause after an accept that has failed.
const ACCEPT_AGAIN_MS: i64 = 100;
/// See [`Thread::patience_ms`].
const PATIENCE_MS_MIN: i64 = 3_000;
const PATIENCE_MS_MAX: i64 = 15_000;
