//! The life of a member of an ensemble: it looks for a leader, has a role, and looks again.
//!
//! It decides what comes when: whom to dial is the election's to say, what to promise is the role's.
//! It takes [`MemberEvent`]s and the bytes of connections, split anywhere, drives the [`Quorum`] with
//! them, and takes what the role wants done; its shell carries out [`MemberEffect`]s. It is sans-io.
//!
//! | file | holds |
//! |---|---|
//! | `effect` | events and effects |
//! | `inbound` | what has come on a connection |
//! | `links` | the connections of a role |
//! | `taking` | how much of it is taken in one turn |
//! | `receiving` | a leader's tree that is on its way |
//! | `news` | what is said of it all |
//! | `observing` | whom an observer learns from |

mod effect;
mod inbound;
mod links;
mod news;
mod observing;
mod receiving;
mod taking;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;

use super::{EnsembleServer, PeerEvent, Quorum};
use crate::packet::PeerState;
use crate::tree::Tree;
use crate::zab::{
    CloseLearner, History, LeadEffect, LearnEffect, LearnerConn, Leave, Logged, ServerId, VoterNews,
};
use crate::zxid::{Now, Zxid};

use inbound::Inbound;
use links::{LeaderLink, Learners};
use receiving::Receiving;
use taking::{Taking, entry_bytes_max};

pub use effect::{MemberEffect, MemberEvent, PeerConn};
pub use news::{MemberNews, Peer};
pub use observing::Observing;

/// What a member knows of its ensemble and itself.
#[derive(Debug)]
pub struct MemberSettings {
    /// The server with its epochs as they are on the disk.
    pub server: EnsembleServer,
    /// Committed transactions that are kept in memory for learners: their number, and their bytes.
    pub history_count: usize,
    pub history_bytes: usize,
    /// The latest records of the log.
    pub tail: Vec<Logged>,
    /// It had data once, or may have had: until it has a leader's tree its vote counts for nothing.
    pub is_lost: bool,
    /// The most bytes of data of one packet: `jute.maxbuffer` and `jute.maxbuffer.extrasize`.
    pub packet_bytes_max: usize,
}

/// See the module.
#[derive(Debug)]
pub struct Member {
    settings: MemberSettings,
    life: Life,
    /// The voters that have made this server the leader, until its role begins.
    elected_by: Option<BTreeSet<ServerId>>,
    /// The number of the latest try to reach a leader.
    attempt: u64,
    /// The log could not be cut, or is lost: the next leader is asked for its whole tree.
    wants_tree: bool,
    /// It has taken part in an election.
    has_looked: bool,
    /// Packets may wait that were not taken yet.
    more: bool,
    /// They wait for room in the log.
    waits_for_room: bool,
    /// See [`Self::on_disk_space`].
    has_full_disk: bool,
    /// It leaves it to others to lead, since then.
    yields_since: Option<i64>,
    /// What the disk is at: jobs that were asked for and have not ended.
    jobs: usize,
    /// There where it is an observer.
    observing: Option<Observing>,
    /// It takes observers while it follows.
    takes_observers: bool,
    /// A role has ended, and it rests before it looks again, until then: an observer always, others
    /// after a tree that was lost.
    rests: Option<i64>,
    /// Trees of leaders that did not come whole or could not be stored, since it last served.
    trees_lost: u32,
    effects: VecDeque<MemberEffect>,
}

/// What the server is at. Invariant: but for the last two the quorum machine has no role.
#[derive(Debug)]
enum Life {
    /// A role has ended: what it asked of the disk ends first.
    Resting,
    Looking,
    /// It is elected: what it has logged is applied first.
    Adopting,
    /// It has a leader, or a follower in its place, and no connection to it yet.
    Dialing {
        leader: ServerId,
    },
    Leading(Learners),
    Learning(Box<LeaderLink>),
}

impl Member {
    /// A member that looks for a leader as soon as it takes its first [`Self::step`].
    pub fn new(settings: MemberSettings) -> Self {
        Self {
            wants_tree: settings.is_lost,
            settings,
            life: Life::Resting,
            elected_by: None,
            attempt: 0,
            has_looked: false,
            more: true,
            waits_for_room: false,
            has_full_disk: false,
            yields_since: None,
            jobs: 0,
            observing: None,
            takes_observers: false,
            rests: None,
            trees_lost: 0,
            effects: VecDeque::new(),
        }
    }

    /// The same as an observer that goes where `observing` says.
    pub fn observing(self, observing: Observing) -> Self {
        Self { observing: Some(observing), ..self }
    }

    /// The same as a server that takes observers while it follows.
    pub fn taking_observers(self) -> Self {
        Self { takes_observers: true, ..self }
    }

    /// The server, with what is durable of its epochs.
    pub fn server(&self) -> &EnsembleServer {
        &self.settings.server
    }

    /// The next thing that the shell must do.
    pub fn poll(&mut self) -> Option<MemberEffect> {
        self.effects.pop_front()
    }

    /// Whether packets may wait that one step did not get through, or a step is wanted for another
    /// reason that no time brings.
    pub fn has_work(&self) -> bool {
        self.more
    }

    /// Whether [`Self::step`] has something to do.
    pub fn is_due(&self, quorum: &Quorum, room: u64, now: Now) -> bool {
        quorum.wakes_at() <= now.mono_ms
            || self.takes_packets(room)
            || matches!(self.life, Life::Resting | Life::Adopting)
            || self.yields_no_longer(now)
    }

    /// Whether the disk has space for the log, before each [`Self::step`]. A leader that cannot log
    /// gives way to its followers, and does not stand for the next election unless nobody else is
    /// elected.
    pub fn on_disk_space(&mut self, is_full: bool) {
        self.has_full_disk = is_full;
    }

    /// Everything that is due: what time brings, packets, the next step between two roles. Packets
    /// are taken until `is_late`, and make log entries of at most `room` bytes. Not to be called
    /// while a multi [`Quorum::is_applying`], like all that takes the machine.
    pub fn step(
        &mut self,
        quorum: &mut Quorum,
        tree: &Tree,
        room: u64,
        is_late: impl Fn() -> bool,
        now: Now,
    ) {
        self.check(quorum);
        if quorum.wakes_at() <= now.mono_ms {
            quorum.on_peer(PeerEvent::FullDisk(self.has_full_disk), tree, now);
            quorum.on_peer(PeerEvent::Time, tree, now);
        }
        if self.takes_packets(room) {
            self.more = false;
            let packet_bytes_max = self.settings.packet_bytes_max;
            let taking = Taking::new(room, packet_bytes_max, is_late, now);
            self.take_packets(quorum, tree, taking);
        }
        self.go_on(quorum, tree, now);
        self.check(quorum);
    }

    /// The next step between two roles.
    fn go_on(&mut self, quorum: &mut Quorum, tree: &Tree, now: Now) {
        let is_still = quorum.is_settled() && self.jobs == 0;
        let has_rested = self.has_rested(now);
        match self.life {
            Life::Resting if is_still && has_rested => {
                self.life = Life::Looking;
                let last = quorum.last_logged();
                let zxid = if self.settings.is_lost { Zxid::UNKNOWN } else { last };
                let epoch = i64::from(self.settings.server.current_epoch);
                if !std::mem::replace(&mut self.has_looked, true) {
                    self.tell(MemberNews::Starts { last, epoch });
                }
                let stands = !self.has_full_disk || self.yields_since.is_some();
                self.yields_since = (!stands).then_some(now.mono_ms);
                self.effects.push_back(MemberEffect::Look { zxid, epoch, stands });
                quorum.look(now);
            }
            Life::Looking if is_still && self.yields_no_longer(now) => {
                self.life = Life::Resting;
                self.more = true;
            }
            Life::Adopting if is_still && !quorum.has_committable() => {
                self.life = Life::Leading(Learners::default());
                self.trees_lost = 0;
                let history = self.history(quorum.last_logged());
                quorum.lead(&self.settings.server, history, tree, now);
                // A disk that is full from now on had room when this server was elected.
                quorum.on_peer(PeerEvent::FullDisk(self.has_full_disk), tree, now);
                if let Some(voters) = self.elected_by.take() {
                    quorum.on_peer(PeerEvent::ElectedBy(voters), tree, now);
                }
                self.effects.push_back(MemberEffect::TakeLearners { is_wanted: true });
            }
            _ => {}
        }
    }

    /// Whether this server stands for election after all: it can log again, or nobody else leads.
    fn yields_no_longer(&self, now: Now) -> bool {
        let is_over = |since| !self.has_full_disk || now.mono_ms - since >= YIELD_MS;
        matches!(self.life, Life::Looking) && self.yields_since.is_some_and(is_over)
    }

    /// An observer rests before it looks again. So does a server that has lost a tree: it may lose
    /// the next one for the same reason, and each is all that the leader has.
    fn begin_to_rest(&mut self) {
        let rests = self.observing.is_some() || self.trees_lost > 0;
        self.rests = rests.then_some(REST_BEGINS);
    }

    /// Whether it has rested as long as it must between two roles.
    fn has_rested(&mut self, now: Now) -> bool {
        if self.rests == Some(REST_BEGINS) {
            let of_observer = self.observing.as_mut().map_or(0, Observing::pause_ms);
            self.rests = Some(now.mono_ms + of_observer.max(self.pause_after_lost_trees()));
        }
        let is_over = self.rests.is_none_or(|until| until <= now.mono_ms);
        if is_over {
            self.rests = None;
        }
        is_over
    }

    /// It doubles with each tree that is lost, up to a bound.
    fn pause_after_lost_trees(&self) -> i64 {
        match self.trees_lost {
            0 => 0,
            lost => LOST_TREE_MS << (lost - 1).min(LOST_TREE_DOUBLINGS),
        }
    }

    fn tree_lost(&mut self, why: String) {
        self.trees_lost = self.trees_lost.saturating_add(1);
        self.tell(MemberNews::TreeLost { why });
    }

    /// What is in memory of a history that ends with `last`: in the first role what the start has
    /// read. All else is read back from the log.
    fn history(&mut self, last: Zxid) -> History {
        let (count, bytes) = (self.settings.history_count, self.settings.history_bytes);
        let tail = std::mem::take(&mut self.settings.tail);
        match &tail[..] {
            [first, rest @ ..] if tail.last().is_some_and(|end| end.zxid == last) => {
                let mut history = History::new(first.zxid, count, bytes);
                rest.iter().for_each(|logged| history.push(logged.clone(), last));
                history
            }
            _ => History::new(last, count, bytes),
        }
    }

    fn tell(&mut self, news: MemberNews) {
        self.effects.push_back(MemberEffect::Tell(news));
    }

    /// Asks the disk for something whose end is an event.
    fn ask_disk(&mut self, job: MemberEffect) {
        self.jobs += 1;
        self.effects.push_back(job);
    }

    /// The state in which this server learns.
    fn learning_state(&self) -> PeerState {
        let server = &self.settings.server;
        match server.members.is_voter(server.me) {
            true => PeerState::Following,
            false => PeerState::Observing,
        }
    }

    /// The invariants of the fields.
    fn check(&self, quorum: &Quorum) {
        let may_have_role = matches!(self.life, Life::Leading(_) | Life::Learning(_));
        assert!(may_have_role || !quorum.has_role(), "a role of a life that is over");
        assert!(!quorum.is_leading() || matches!(self.life, Life::Leading(_)), "it leads");
        assert!(!self.settings.is_lost || self.wants_tree, "without data it wants a tree");
    }
}

/// What happens to it.
impl Member {
    /// Takes an event. Of a role that is over it counts as far as the disk is concerned.
    pub fn on_event(&mut self, event: MemberEvent, quorum: &mut Quorum, tree: &Tree, now: Now) {
        self.check(quorum);
        match event {
            MemberEvent::Elected { state, leader } => self.on_elected(state, leader, quorum),
            MemberEvent::ElectedBy(voters) => {
                self.elected_by = Some(voters).filter(|_| matches!(self.life, Life::Adopting));
            }
            MemberEvent::Voter { id, news } => self.on_voter(id, news, quorum, tree, now),
            MemberEvent::LeaderConnected { attempt, conn, address } => {
                self.on_leader_connected(attempt, conn, address, quorum, tree, now);
            }
            MemberEvent::LeaderUnreachable { attempt, why } => {
                if matches!(self.life, Life::Dialing { .. }) && attempt == self.attempt {
                    self.tell(MemberNews::Unreachable { why });
                    self.begin_to_rest();
                    self.life = Life::Resting;
                    self.more = true;
                }
            }
            MemberEvent::LearnerConnected { conn, address } => {
                self.on_learner_connected(conn, address, quorum, tree, now);
            }
            MemberEvent::Taken(conn) => {
                quorum.on_peer(PeerEvent::Taken(LearnerConn(conn.0)), tree, now);
            }
            MemberEvent::TreeReceived { rest } => self.on_tree_received(&rest),
            MemberEvent::TreeLost { why } => {
                if self.end_receiving().is_some() {
                    self.tree_lost(why);
                    quorum.on_peer(PeerEvent::Loaded(None), tree, now);
                }
            }
            of_disk => {
                self.jobs = self.jobs.checked_sub(1).expect("a job ends once");
                self.more = true;
                let told = self.end_of_job(of_disk);
                quorum.on_peer(told, tree, now);
            }
        }
        self.check(quorum);
    }

    fn on_elected(&mut self, state: PeerState, leader: ServerId, quorum: &mut Quorum) {
        if !matches!(self.life, Life::Looking) {
            return;
        }
        if state == PeerState::Leading {
            self.tell(MemberNews::IsElected);
            quorum.adopt();
            self.life = Life::Adopting;
            return;
        }
        self.attempt += 1;
        self.tell(MemberNews::HasLeader { state: self.learning_state(), leader });
        let attempt = self.attempt;
        let master = self.observing.as_mut().and_then(|observing| observing.next_master(leader));
        let (leader, effect) = match master {
            Some((follower, port)) => {
                (follower, MemberEffect::DialObserverMaster { follower, port, attempt })
            }
            None => (leader, MemberEffect::Dial { leader, attempt }),
        };
        self.effects.push_back(effect);
        self.life = Life::Dialing { leader };
    }

    fn on_voter(
        &mut self,
        id: ServerId,
        news: VoterNews,
        quorum: &mut Quorum,
        tree: &Tree,
        now: Now,
    ) {
        match (&self.life, &mut self.elected_by) {
            (Life::Leading(_), _) => quorum.on_peer(PeerEvent::Voter(id, news), tree, now),
            (Life::Adopting, Some(voters)) if news == VoterNews::Supports => {
                voters.insert(id);
            }
            (Life::Adopting, Some(voters)) => {
                voters.remove(&id);
            }
            _ => {}
        }
    }

    /// The leader is connected: the role of a learner begins.
    fn on_leader_connected(
        &mut self,
        attempt: u64,
        conn: PeerConn,
        address: SocketAddr,
        quorum: &mut Quorum,
        tree: &Tree,
        now: Now,
    ) {
        let leader = match self.life {
            Life::Dialing { leader } if attempt == self.attempt => leader,
            // Of a life that is over.
            _ => return self.effects.push_back(MemberEffect::Close { conn }),
        };
        let peer = Peer { id: Some(leader), address };
        let inbound = Inbound::new(peer, self.settings.packet_bytes_max);
        self.life = Life::Learning(Box::new(LeaderLink {
            leader,
            conn,
            inbound,
            tree: None,
            observers: None,
        }));
        quorum.learn(&self.settings.server, self.wants_tree, tree, now);
    }

    fn on_learner_connected(
        &mut self,
        conn: PeerConn,
        address: SocketAddr,
        quorum: &mut Quorum,
        tree: &Tree,
        now: Now,
    ) {
        let Some(learners) = self.life.learners() else {
            return self.effects.push_back(MemberEffect::Close { conn });
        };
        let peer = Peer { id: None, address };
        let inbound = Inbound::new(peer, self.settings.packet_bytes_max);
        learners.inbound.insert(conn, inbound);
        quorum.on_peer(PeerEvent::Connected(LearnerConn(conn.0)), tree, now);
    }

    /// What the role hears of the end of a job.
    fn end_of_job(&mut self, event: MemberEvent) -> PeerEvent {
        match event {
            MemberEvent::AcceptedEpoch(epoch) => {
                self.settings.server.accepted_epoch = epoch;
                PeerEvent::AcceptedEpoch(epoch)
            }
            MemberEvent::CurrentEpoch(epoch) => {
                self.settings.server.current_epoch = epoch;
                PeerEvent::CurrentEpoch(epoch)
            }
            MemberEvent::LogReach(of, reach) => PeerEvent::LogReach(of, reach),
            MemberEvent::Truncated(to) => PeerEvent::Truncated(to, true),
            MemberEvent::CannotTruncate { to, why } => {
                self.wants_tree = true;
                self.tell(MemberNews::CannotCut { to, why });
                PeerEvent::Truncated(to, false)
            }
            MemberEvent::TreeTaken(zxid) => {
                (self.wants_tree, self.settings.is_lost) = (false, false);
                PeerEvent::Loaded(Some(zxid))
            }
            MemberEvent::TreeNotTaken { why } => {
                self.tree_lost(why);
                PeerEvent::Loaded(None)
            }
            MemberEvent::Elected { .. }
            | MemberEvent::ElectedBy(_)
            | MemberEvent::Voter { .. }
            | MemberEvent::LeaderConnected { .. }
            | MemberEvent::LeaderUnreachable { .. }
            | MemberEvent::LearnerConnected { .. }
            | MemberEvent::Taken(_)
            | MemberEvent::TreeReceived { .. }
            | MemberEvent::TreeLost { .. } => unreachable!("no job of the disk"),
        }
    }
}

/// What comes from other servers.
impl Member {
    /// Bytes have come.
    pub fn on_bytes(&mut self, conn: PeerConn, bytes: &[u8]) {
        let Some(inbound) = self.life.inbound(conn) else { return };
        inbound.packets.push(bytes);
        if inbound.is_full() {
            inbound.pause(conn, true, &mut self.effects);
        }
        self.more = true;
    }

    /// A connection is gone, after all that has come on it.
    pub fn on_gone(&mut self, conn: PeerConn, why: String) {
        let Some(inbound) = self.life.inbound(conn) else { return };
        inbound.ended = Some(why);
        self.more = true;
    }

    fn takes_packets(&self, room: u64) -> bool {
        let has_come = || room >= entry_bytes_max(self.settings.packet_bytes_max);
        self.more || (self.waits_for_room && has_come())
    }

    /// Packets are taken until there are none, their time is over, or the next of each server waits
    /// for room in the log.
    fn take_packets(
        &mut self,
        quorum: &mut Quorum,
        tree: &Tree,
        mut taking: Taking<impl Fn() -> bool>,
    ) {
        let Self { life, effects, .. } = self;
        match life {
            Life::Leading(learners) => learners.take(quorum, tree, &mut taking, effects),
            Life::Learning(link) => {
                link.take(quorum, tree, &mut taking, effects);
                if let Some(observers) = &mut link.observers {
                    observers.take(quorum, tree, &mut taking, effects);
                }
            }
            Life::Resting | Life::Looking | Life::Adopting | Life::Dialing { .. } => {}
        }
        self.waits_for_room = taking.is_without_room();
        self.more |= taking.is_over();
    }

    /// Passes on what has come of a leader's tree. `offer` gives back what there is no room for.
    pub fn pass_on_tree(&mut self, offer: impl FnMut(Vec<u8>) -> Result<(), Vec<u8>>) {
        let Life::Learning(link) = &mut self.life else { return };
        let Some(tree) = &mut link.tree else { return };
        let is_paused = !tree.pass_on(&mut link.inbound.packets, offer);
        link.inbound.pause(link.conn, is_paused, &mut self.effects);
    }

    /// So many bytes of the leader's tree were taken, and perhaps all: the leader is heard of.
    pub fn on_tree_bytes(
        &mut self,
        taken: u64,
        is_whole: bool,
        quorum: &mut Quorum,
        tree: &Tree,
        now: Now,
    ) {
        let Life::Learning(link) = &mut self.life else { return };
        if link.tree.as_mut().is_some_and(|receiving| receiving.has_grown(taken, is_whole)) {
            quorum.on_peer(PeerEvent::TreeBytes { is_whole }, tree, now);
        }
    }

    fn on_tree_received(&mut self, rest: &[u8]) {
        let Some(receiving) = self.end_receiving() else { return };
        let Life::Learning(link) = &mut self.life else { return };
        receiving.end(rest, &mut link.inbound.packets);
        self.ask_disk(MemberEffect::TakeTree);
    }

    fn end_receiving(&mut self) -> Option<Receiving> {
        let Life::Learning(link) = &mut self.life else { return None };
        self.more = true;
        link.tree.take()
    }
}

impl Life {
    fn inbound(&mut self, of: PeerConn) -> Option<&mut Inbound> {
        match self {
            Self::Leading(learners) => learners.inbound.get_mut(&of),
            Self::Learning(link) => match link.conn == of {
                true => Some(&mut link.inbound),
                false => link.observers.as_mut()?.inbound.get_mut(&of),
            },
            _ => None,
        }
    }

    /// The learners of a leader, or the observers of a follower.
    fn learners(&mut self) -> Option<&mut Learners> {
        match self {
            Self::Leading(learners) => Some(learners),
            Self::Learning(link) => link.observers.as_mut(),
            _ => None,
        }
    }
}

/// What the roles want done.
impl Member {
    /// An effect of the role of a leader.
    pub fn on_lead(&mut self, effect: LeadEffect, quorum: &Quorum) {
        match effect {
            LeadEffect::Send { to, bytes } => {
                self.effects.push_back(MemberEffect::Send { conn: PeerConn(to.0), bytes });
            }
            LeadEffect::SendLog { to, after, upto } => {
                if let Some((conn, peer)) = self.learner(to) {
                    self.effects.push_back(MemberEffect::SendLog { conn, peer, after, upto });
                }
            }
            LeadEffect::SendTree { to } => {
                if let Some((conn, peer)) = self.learner(to) {
                    self.effects.push_back(MemberEffect::SendTree { conn, peer });
                }
            }
            LeadEffect::AskLog { of, peer } => {
                let upto = quorum.durable();
                self.ask_disk(MemberEffect::AskLog { of, peer, upto });
            }
            LeadEffect::Close { conn, why } => {
                if let Some((conn, peer)) = self.learner(conn) {
                    // Whoever dials may bring about as many as he likes of these.
                    if why != CloseLearner::TooMany {
                        self.tell(MemberNews::LearnerClosed { peer, why });
                    }
                    self.effects.push_back(MemberEffect::Close { conn });
                    self.drop_learner(conn);
                }
            }
            LeadEffect::StoreAcceptedEpoch { epoch } => {
                self.ask_disk(MemberEffect::StoreAcceptedEpoch { epoch });
            }
            LeadEffect::StoreCurrentEpoch { epoch } => {
                self.ask_disk(MemberEffect::StoreCurrentEpoch { epoch });
            }
            LeadEffect::Begin { epoch } => {
                let takes_clients = quorum.leads_with_clients();
                self.tell(MemberNews::Leads { epoch, takes_clients });
                self.effects.push_back(MemberEffect::Serve { epoch });
            }
            LeadEffect::StepDown { why } => {
                self.tell(MemberNews::StepsDown { why });
                self.effects.push_back(MemberEffect::TakeLearners { is_wanted: false });
                self.rest();
            }
            LeadEffect::Committed { .. }
            | LeadEffect::Confirmed { .. }
            | LeadEffect::Request { .. }
            | LeadEffect::Touched { .. }
            | LeadEffect::Revalidate { .. } => unreachable!("the quorum machine takes it"),
        }
    }

    /// A learner that is connected.
    fn learner(&mut self, conn: LearnerConn) -> Option<(PeerConn, Peer)> {
        let conn = PeerConn(conn.0);
        self.life.learners()?.inbound.get(&conn).map(|inbound| (conn, inbound.peer))
    }

    fn drop_learner(&mut self, conn: PeerConn) {
        if let Some(learners) = self.life.learners() {
            learners.inbound.remove(&conn);
        }
    }

    /// An effect of the role of a learner.
    pub fn on_learn(&mut self, effect: LearnEffect) {
        let Life::Learning(link) = &mut self.life else { return };
        match effect {
            LearnEffect::Send { bytes } => {
                self.effects.push_back(MemberEffect::Send { conn: link.conn, bytes });
            }
            LearnEffect::StoreAcceptedEpoch { epoch } => {
                self.ask_disk(MemberEffect::StoreAcceptedEpoch { epoch });
            }
            LearnEffect::StoreCurrentEpoch { epoch } => {
                self.ask_disk(MemberEffect::StoreCurrentEpoch { epoch });
            }
            LearnEffect::Truncate { to } => {
                self.tell(MemberNews::IsCut { to });
                self.ask_disk(MemberEffect::Truncate { to });
            }
            LearnEffect::LoadTree { zxid } => {
                link.tree = Some(Receiving::default());
                self.more = true;
                self.tell(MemberNews::TreeComes { zxid });
                self.effects.push_back(MemberEffect::ReceiveTree { zxid });
            }
            LearnEffect::Serve { epoch } => {
                self.trees_lost = 0;
                if self.takes_observers {
                    link.observers = Some(Learners::default());
                    self.effects.push_back(MemberEffect::TakeObservers);
                }
                self.tell(MemberNews::Learns { state: self.learning_state(), epoch });
                self.effects.push_back(MemberEffect::Serve { epoch });
            }
            LearnEffect::Leave { why } => {
                let leader = link.leader;
                // The tree takes the place of all that it holds.
                self.wants_tree |= matches!(why, Leave::TooMuchHeld { is_serving: false, .. });
                self.tell(MemberNews::Leaves { leader, why });
                self.rest();
            }
            LearnEffect::Append { .. }
            | LearnEffect::Apply { .. }
            | LearnEffect::Ping { .. }
            | LearnEffect::Synced { .. }
            | LearnEffect::Revalidated { .. } => unreachable!("the quorum machine takes it"),
        }
    }

    /// The role has ended: connections go, and what it asked of the disk ends first.
    fn rest(&mut self) {
        self.effects.push_back(MemberEffect::EndRole);
        self.life = Life::Resting;
        self.begin_to_rest();
        // The next turn begins the election, if the disk is still: it waits for no tick.
        self.more = true;
    }
}

/// A server whose disk is full leaves it to others to lead for so long, in milliseconds.
const YIELD_MS: i64 = 5_000;
/// How long a server rests after a tree that it has lost, in milliseconds, and how often that
/// doubles with the next ones: an election waits for it no longer than 8 s.
const LOST_TREE_MS: i64 = 1_000;
const LOST_TREE_DOUBLINGS: u32 = 3;
/// Of [`Member::rests`]: its end is chosen in the next turn.
const REST_BEGINS: i64 = i64::MAX;
