//! What a member wants of other servers: elections, dials, bytes, trees.

use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;

use crate::packet::PeerState;
use crate::quorum::member::{MemberEffect, MemberEvent, PeerConn};
use crate::sim::ensemble::net::{Arrival, Port};
use crate::sim::node::PeerInput;
use crate::sim::send_tree::TreePiece;
use crate::zab::{ElectionEffect, ServerId};

use super::jobs::Job;
use super::server::{Door, Server};
use super::{Event, Servers, coverage};
use crate::sim::ensemble::votes::Surroundings;

/// A dial under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dialling {
    to: ServerId,
    door: Door,
    attempt: u64,
    until_us: u64,
}

impl Servers {
    pub(super) fn carry_out_member(&mut self, at: usize, effect: MemberEffect) {
        match effect {
            MemberEffect::Send { conn, bytes } => match self.servers[at].held.get_mut(&conn) {
                Some(held) => held.push(bytes),
                None => self.send_peer(at, conn, &bytes),
            },
            MemberEffect::Close { conn } => self.close_peer(at, conn),
            MemberEffect::EndRole => {
                self.history.spells.rough_at_now(at);
                self.servers[at].held.clear();
                self.servers[at].takes_observers = false;
                self.hang_up_peers(at, Port::Quorum);
            }
            MemberEffect::Look { zxid, epoch, stands } => {
                self.history.spells.rough_at_now(at);
                (self.servers[at].attempt, self.servers[at].takes_learners) = (None, false);
                self.history.servers[at].leads = None;
                let now_ms = (self.now_us / 1000) as i64;
                self.servers[at].votes.election.stand(stands);
                self.servers[at].votes.election.look(zxid, epoch, now_ms);
                self.step_votes(at, true);
            }
            MemberEffect::Dial { leader, attempt } => {
                self.begin_dial(at, leader, Door::Leader, attempt);
            }
            MemberEffect::DialObserverMaster { follower, attempt, .. } => {
                self.begin_dial(at, follower, Door::ObserverMaster, attempt);
            }
            MemberEffect::TakeObservers => self.servers[at].takes_observers = true,
            MemberEffect::TakeLearners { is_wanted } => {
                self.servers[at].takes_learners = is_wanted;
            }
            MemberEffect::Serve { epoch } => {
                self.history.servers[at].leads_from = self.links.len();
                self.servers[at].votes.election.serves(epoch);
                self.step_votes(at, true);
            }
            MemberEffect::SendLog { conn, after, upto, .. } => {
                self.servers[at].held.entry(conn).or_default();
                let delay = 1 + self.rng.below(self.weather.feed_us);
                let generation = self.servers[at].generation;
                self.after(delay, Event::SendLog(at, generation, conn, after, upto));
            }
            MemberEffect::AskLog { of, peer, upto } => {
                self.ask_disk(at, Job::AskLog { of, peer, upto });
            }
            MemberEffect::StoreAcceptedEpoch { epoch } => {
                self.ask_disk(at, Job::AcceptedEpoch(epoch));
            }
            MemberEffect::StoreCurrentEpoch { epoch } => {
                self.ask_disk(at, Job::CurrentEpoch(epoch));
            }
            MemberEffect::Truncate { to } => self.ask_disk(at, Job::Truncate(to)),
            MemberEffect::TakeTree => self.ask_disk(at, Job::TakeTree),
            // So little comes here that nothing need wait.
            MemberEffect::Pause { .. } => {}
            MemberEffect::SendTree { .. }
            | MemberEffect::ReceiveTree { .. }
            | MemberEffect::Tell(_) => unreachable!("the server takes it"),
        }
    }

    /// Both ends of a connection are on no list of anybody.
    pub(super) fn send_peer(&mut self, at: usize, conn: PeerConn, bytes: &Bytes) {
        let id = self.servers[at].id;
        self.net.send(conn.0, id, bytes, self.now_us as i64, &mut self.rng);
    }

    pub(super) fn close_peer(&mut self, at: usize, conn: PeerConn) {
        self.servers[at].held.remove(&conn);
        self.close_conn(at, conn.0);
    }

    fn close_conn(&mut self, at: usize, conn: u64) {
        let id = self.servers[at].id;
        if self.net.close(conn, id, self.now_us as i64, &mut self.rng) {
            self.history.coverage.note(coverage::HALF_OPEN);
        }
    }

    pub(super) fn hang_up_peers(&mut self, at: usize, port: Port) {
        for conn in self.net.at(self.servers[at].id, port) {
            self.close_conn(at, conn);
        }
    }

    /// What was kept while a tree or a part of the log was on its way.
    pub(super) fn release_held(&mut self, at: usize, conn: PeerConn) {
        for bytes in self.servers[at].held.remove(&conn).unwrap_or_default() {
            self.send_peer(at, conn, &bytes);
        }
    }

    fn begin_dial(&mut self, at: usize, to: ServerId, door: Door, attempt: u64) {
        self.servers[at].attempt = Some(attempt);
        let until_us = self.now_us + self.weather.zab.tick_ms as u64 * 5_000;
        self.dial(at, Dialling { to, door, attempt, until_us });
    }

    /// A dial of another server's port gets through, or is tried again for some time.
    pub(super) fn dial(&mut self, at: usize, dialling: Dialling) {
        let Dialling { to, door, attempt, until_us } = dialling;
        if self.servers[at].attempt != Some(attempt) || !self.servers[at].is_up() {
            return;
        }
        let id = self.servers[at].id;
        let is_it = |server: &&Server| server.id == to && server.is_up() && server.takes(door);
        let takes = self.servers.iter().find(is_it).is_some();
        if takes && !self.net.is_cut(Port::Quorum, id, to) {
            self.servers[at].attempt = None;
            let conn = self.net.dial(id, to, Port::Quorum);
            if door == Door::ObserverMaster {
                self.history.coverage.note(coverage::OBSERVER_MASTER);
                self.of_observers.insert(conn);
            }
            self.servers[at].known.insert(conn);
            let (conn, address) = (PeerConn(conn), address(to));
            let event = MemberEvent::LeaderConnected { attempt, conn, address };
            self.peer_input(at, PeerInput::Event(event));
        } else if self.now_us >= until_us {
            self.servers[at].attempt = None;
            let why = format!("server {to} cannot be reached");
            let event = MemberEvent::LeaderUnreachable { attempt, why };
            self.peer_input(at, PeerInput::Event(event));
        } else {
            let generation = self.servers[at].generation;
            self.after(DIAL_AGAIN_US, Event::Dial(at, generation, dialling));
        }
    }

    /// The election port of a server: what has come, and what is due.
    fn step_votes(&mut self, at: usize, was_told: bool) {
        let mut around = Surroundings {
            now_us: self.now_us as i64,
            net: &mut self.net,
            rng: &mut self.rng,
            up: &self.up,
        };
        let votes = &mut self.servers[at].votes;
        let elected = if was_told { votes.carry_out(&mut around) } else { votes.step(&mut around) };
        for effect in elected {
            if let ElectionEffect::Elected { state, vote } = effect {
                let leader = vote.leader;
                self.say(at, format_args!("elected: {state}, of {leader}"));
                debug_assert!(state != PeerState::Looking);
                self.peer_input(at, PeerInput::Event(MemberEvent::Elected { state, leader }));
                if state == PeerState::Leading {
                    let voters = self.servers[at].votes.election.supporters();
                    self.peer_input(at, PeerInput::Event(MemberEvent::ElectedBy(voters)));
                }
            } else if let ElectionEffect::Voter { id, news } = effect {
                self.peer_input(at, PeerInput::Event(MemberEvent::Voter { id, news }));
            }
        }
        let wakes_us = self.servers[at].votes.wakes_at().saturating_mul(1000) as u64;
        if wakes_us < u64::MAX / 2 {
            self.look_in(at, wakes_us.saturating_sub(self.now_us).max(1));
        }
    }

    /// A server looks at its two ports in so many microseconds, if not earlier.
    pub(super) fn look_in(&mut self, at: usize, delay_us: u64) {
        let due = self.now_us + delay_us;
        if self.servers[at].is_up() && self.servers[at].looks_at_us.is_none_or(|at| at > due) {
            self.servers[at].looks_at_us = Some(due);
            self.after(delay_us, Event::Look(at, self.servers[at].generation));
        }
    }

    pub(super) fn look(&mut self, at: usize) {
        if self.servers[at].looks_at_us != Some(self.now_us) {
            return;
        }
        self.servers[at].looks_at_us = None;
        self.looks_due = true;
        if self.servers[at].stalled_until_us > self.now_us {
            let delay = self.servers[at].stalled_until_us - self.now_us;
            return self.look_in(at, delay);
        }
        self.step_votes(at, false);
        let id = self.servers[at].id;
        for number in self.net.at(id, Port::Quorum) {
            self.look_at_conn(at, number);
        }
    }

    fn look_at_conn(&mut self, at: usize, number: u64) {
        let (id, conn) = (self.servers[at].id, PeerConn(number));
        let Some((dialler, acceptor)) =
            self.net.conns.get(&number).map(|entry| (entry.dialler, entry.acceptor))
        else {
            return;
        };
        if acceptor == id && self.servers[at].known.insert(number) {
            let door = match self.of_observers.contains(&number) {
                true => Door::ObserverMaster,
                false => Door::Leader,
            };
            if !self.servers[at].takes(door) {
                return self.close_peer(at, conn);
            }
            let event = MemberEvent::LearnerConnected { conn, address: address(dialler) };
            self.peer_input(at, PeerInput::Event(event));
        }
        while let Some(arrival) = self.net.next(number, id, self.now_us as i64) {
            match arrival {
                Arrival::Bytes(bytes) => self.peer_input(at, PeerInput::Bytes(conn, bytes)),
                Arrival::Closed => {
                    self.peer_input(at, PeerInput::Gone(conn));
                    self.servers[at].held.remove(&conn);
                    self.close_conn(at, number);
                }
            }
        }
    }

    /// Whoever has something coming looks when it comes.
    pub(super) fn schedule_looks(&mut self) {
        let has_changed = self.net.take_changed();
        if !std::mem::take(&mut self.looks_due) && !has_changed {
            return;
        }
        let mut due_at: Vec<Option<i64>> = vec![None; self.servers.len()];
        self.net.each_due(|id, at| {
            let due = &mut due_at[id.0 as usize - 1];
            *due = Some(due.map_or(at, |due| due.min(at)));
        });
        for (at, due) in due_at.into_iter().enumerate() {
            if let Some(due) = due {
                let due = (due.max(0) as u64).max(self.servers[at].stalled_until_us);
                let delay = due.saturating_sub(self.now_us).max(1);
                self.look_in(at, delay);
            }
        }
    }

    /// A tree is on its way to a learner.
    pub(super) fn begin_tree(&mut self, at: usize, conn: PeerConn) {
        self.servers[at].held.entry(conn).or_default();
        let generation = self.servers[at].generation;
        let delay = 1 + self.rng.below(self.weather.feed_us);
        self.after(delay, Event::TreePiece(at, generation, conn));
    }

    pub(super) fn tree_piece(&mut self, at: usize, conn: PeerConn) {
        let Some(node) = &mut self.servers[at].node else { return };
        match node.tree_piece(conn) {
            TreePiece::Later => self.begin_tree(at, conn),
            TreePiece::Piece(bytes) => {
                self.send_peer(at, conn, &bytes.into());
                self.begin_tree(at, conn);
            }
            TreePiece::Last(bytes) => {
                self.send_peer(at, conn, &bytes.into());
                self.release_held(at, conn);
            }
            TreePiece::Lost => self.close_peer(at, conn),
        }
    }
}

fn address(of: ServerId) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(10, 0, 0, of.0 as u8), 2888))
}

const DIAL_AGAIN_US: u64 = 20_000;
