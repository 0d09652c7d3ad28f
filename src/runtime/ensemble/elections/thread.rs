//! The loop of the thread of elections.

mod accepting;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use log::{debug, info, warn};
use rustix::net::sockopt;

use crate::packet::{Notification, PeerState};
use crate::runtime::clock;
use crate::runtime::ring::{
    Event, ReceiveStop, Ring, RingConfig, RingError, RingUnavailable, Token, Wait, Waker,
};
use crate::runtime::warnings::Warnings;
use crate::zab::{
    CloseLink, Election, ElectionEffect, LinkEffect, Links, Peer, ServerId, VoteConn,
};

use super::super::ports::{PeerListeners, PeerPort};
use super::callers::Callers;
use super::connections::{After, Connections};
use super::dial::{Dialled, Dialler, Failure, FailureKind, LeaderDial, MasterPort, Outcome, Task};
use super::{ElectionsConfig, LEARNERS_WAITING_MAX, News, Order, Shared, Standing};
use accepting::accept_token;

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

/// A small ring: a few dozen connections that say little.
const RING: RingConfig = RingConfig {
    submissions: 128,
    receive_buffers: 32,
    receive_buffer_bytes: 4 << 10,
    spin: Duration::ZERO,
};
/// See [`Thread::patience_ms`].
const PATIENCE_MS_MIN: i64 = 3_000;
const PATIENCE_MS_MAX: i64 = 15_000;
