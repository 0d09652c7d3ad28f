//! Fast leader election: servers tell each other their votes until a quorum has the same one
//! (`FastLeaderElection`).
//!
//! A vote that wins here is no promise. The leader that it names must still prove, in discovery,
//! that a quorum accepts its epoch and that nobody in it has a newer history: a vote that came too
//! late costs time, never a transaction. So servers that know of each other that they wait no
//! longer than they must need not wait for long.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::claims::Claims;
use super::members::{Members, ServerId};
use super::vote::Vote;
use bytes::Bytes;

use crate::packet::{Notification, PeerState};
use crate::zxid::Zxid;

/// The times of an election, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ElectionSettings {
    /// `zookeeper.fastleader.minNotificationInterval`: silence after which votes are sent again.
    /// It doubles each time.
    pub interval_ms_min: i64,
    /// `zookeeper.fastleader.maxNotificationInterval`: and doubles no further.
    pub interval_ms_max: i64,
    /// How long a server waits for a better vote once a quorum has one; Apache's is fixed.
    pub finalize_ms: i64,
    /// The same while all that take part are known to be Ringkeepers.
    pub finalize_own_ms: i64,
}

impl Default for ElectionSettings {
    fn default() -> Self {
        Self {
            interval_ms_min: 200,
            interval_ms_max: 60_000,
            finalize_ms: 200,
            finalize_own_ms: 20,
        }
    }
}

/// What is known about another server, beside its vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// It says that it is a Ringkeeper.
    pub is_ringkeeper: bool,
    /// Nothing can be sent to it: its port is closed, or nobody answers there.
    pub is_unreachable: bool,
}

/// A request of the machine to its shell, to be carried out in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ElectionEffect {
    /// To one other server. A later one may take its place while it has not been sent.
    Send { to: ServerId, notification: Notification },
    /// The server is no longer LOOKING: it leads, or learns from the leader of the vote. Of one
    /// that leads then [`Election::supporters`].
    Elected { state: PeerState, vote: Vote },
    /// What a leader that does not serve yet hears of a voter.
    Voter { id: ServerId, news: VoterNews },
}

/// What a leader hears of a voter by the way of elections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoterNews {
    /// It is still LOOKING, and votes for this leader.
    Supports,
    /// It is LOOKING, in another round or with another vote: it does not follow this leader.
    HasLeft,
    /// Nothing can be sent to it.
    IsUnreachable,
}

/// The machine. See the module.
#[derive(Debug)]
pub struct Election {
    me: ServerId,
    members: Members,
    /// Its text, as it is sent.
    config: Bytes,
    settings: ElectionSettings,
    state: PeerState,
    /// An epoch is served, and nobody has to be waited for.
    serves: bool,
    /// The logical clock: which election this is. It only rises.
    round: i64,
    /// Whether this server may be elected, beside what its weight says.
    stands: bool,
    /// What this server would vote for if it heard of nobody else.
    own: Vote,
    /// What it votes for; while it is not LOOKING, its leader and the epoch that this serves.
    vote: Vote,
    /// The votes of this round, its own among them. Invariant: of voters, for voters.
    votes: BTreeMap<ServerId, Vote>,
    claims: Claims,
    peers: BTreeMap<ServerId, Peer>,
    /// What each server that does not vote was last told, and when. Bounded by
    /// [`STRANGERS_MAX`].
    told: BTreeMap<ServerId, (Notification, i64)>,
    /// A quorum has the vote: the time at which that decides. Invariant: LOOKING.
    decides_at: Option<i64>,
    /// The time at which votes are sent again, and the interval after that.
    resend_at: i64,
    interval_ms: i64,
    /// The time at which voters that cannot be reached are tried again: nobody else does it where
    /// a network was cut, and the interval may have become a minute.
    retry_at: i64,
    effects: VecDeque<ElectionEffect>,
}

impl Election {
    /// A server that has not begun to look. `members` may leave out `me`: then it observes.
    pub fn new(me: ServerId, members: Members, settings: ElectionSettings) -> Self {
        assert!(
            0 < settings.interval_ms_min && settings.interval_ms_min <= settings.interval_ms_max
        );
        let config = Notification::config_of_ringkeeper(members.text());
        Self {
            me,
            members,
            config,
            settings,
            state: PeerState::Looking,
            serves: false,
            round: 0,
            stands: true,
            own: Vote::none(),
            vote: Vote::none(),
            votes: BTreeMap::new(),
            claims: Claims::default(),
            peers: BTreeMap::new(),
            told: BTreeMap::new(),
            decides_at: None,
            resend_at: i64::MAX,
            interval_ms: settings.interval_ms_min,
            retry_at: i64::MAX,
            effects: VecDeque::new(),
        }
    }

    /// Whether this server may be elected from the next round on: one that cannot log what it would
    /// propose votes for others alone.
    pub fn stand(&mut self, stands: bool) {
        self.stands = stands;
    }

    /// Begins a new round. `zxid` is the last one of the server's log that is durable, `epoch` that
    /// of its history: nothing else may be promised.
    pub fn look(&mut self, zxid: Zxid, epoch: i64, now_ms: i64) {
        (self.state, self.serves) = (PeerState::Looking, false);
        // Others choose the number too: one who lies makes it the last one.
        self.round = self.round.saturating_add(1);
        // A voter without weight cannot win: it takes any vote over.
        self.own = if self.stands && self.members.may_lead(self.me) {
            Vote { leader: self.me, zxid, epoch }
        } else {
            Vote::none()
        };
        self.vote = self.own;
        self.votes.clear();
        self.claims.clear();
        self.told.clear();
        self.decides_at = None;
        self.interval_ms = self.settings.interval_ms_min;
        self.resend_at = now_ms + self.interval_ms;
        self.retry_at = now_ms + RETRY_MS;
        self.send_to_all();
        self.count(now_ms);
    }

    /// The leader has begun to serve an epoch, or this server as leader has: who asks is told that
    /// one (ZOOKEEPER-1732).
    pub fn serves(&mut self, epoch: u32) {
        assert_ne!(self.state, PeerState::Looking, "a server that is LOOKING serves no epoch");
        self.vote.epoch = i64::from(epoch);
        self.serves = true;
    }

    /// The voters that have made this server the leader, itself among them.
    pub fn supporters(&self) -> BTreeSet<ServerId> {
        let vote = |id| self.votes.get(&id).is_some_and(|vote| vote.leader == self.me);
        let supports =
            |id: &ServerId| *id == self.me || vote(*id) || self.claims.follows(*id, self.me);
        self.members.voters().filter(supports).collect()
    }

    /// What has been found out about a server's connection.
    pub fn on_peer(&mut self, id: ServerId, peer: Peer, now_ms: i64) {
        if self.members.is_member(id) && self.peers.insert(id, peer) != Some(peer) {
            // What it said of itself may be of a process that is no more. If it is still there, it
            // says so again.
            if peer.is_unreachable {
                self.claims.forget(id);
                self.hear_of_voter(id, VoterNews::IsUnreachable);
            }
            self.count(now_ms);
        }
    }

    /// A notification of a server whose id is not proven.
    pub fn on_notification(&mut self, from: ServerId, said: &Notification, now_ms: i64) {
        // Before the first round there is nothing to say: it begins as soon as the log is read.
        if from == self.me || self.round == 0 {
            return;
        }
        if !self.members.is_voter(from) {
            return self.answer_stranger(from, now_ms);
        }
        if self.state != PeerState::Looking {
            if said.state == PeerState::Looking {
                self.send(from);
                // In one round a voter only goes over to better votes.
                let supports = said.round == self.round && Vote::of(said).leader == self.me;
                let news = if supports { VoterNews::Supports } else { VoterNews::HasLeft };
                self.hear_of_voter(from, news);
            }
            return;
        }
        match said.state {
            PeerState::Looking => self.on_vote(from, said, now_ms),
            PeerState::Following | PeerState::Leading => self.on_claim(from, said),
            PeerState::Observing => {}
        }
    }

    /// Time has passed.
    pub fn on_time(&mut self, now_ms: i64) {
        if self.state != PeerState::Looking {
            return;
        }
        if self.decides_at.is_some_and(|at| at <= now_ms) {
            return self.elect(self.vote, self.round);
        }
        if self.resend_at <= now_ms {
            self.interval_ms = (2 * self.interval_ms).min(self.interval_ms_max());
            self.resend_at = now_ms + self.interval_ms;
            self.send_to_all();
        } else if self.retry_at <= now_ms {
            self.retry_at = now_ms + RETRY_MS;
            self.unreachable().into_iter().for_each(|id| self.send(id));
        }
    }

    /// When [`Self::on_time`] has something to do.
    pub fn wakes_at(&self) -> Option<i64> {
        if self.state != PeerState::Looking {
            return None;
        }
        let retry_at = if self.unreachable().is_empty() { i64::MAX } else { self.retry_at };
        Some(self.decides_at.unwrap_or(i64::MAX).min(self.resend_at).min(retry_at))
    }

    /// The next thing that the shell must do.
    pub fn poll(&mut self) -> Option<ElectionEffect> {
        self.effects.pop_front()
    }

    pub fn state(&self) -> PeerState {
        self.state
    }

    pub fn round(&self) -> i64 {
        self.round
    }

    pub fn vote(&self) -> Vote {
        self.vote
    }

    /// A leader that has no quorum yet must know who still comes (ZOOKEEPER-3109).
    fn hear_of_voter(&mut self, id: ServerId, news: VoterNews) {
        if self.state == PeerState::Leading && !self.serves && self.members.is_voter(id) {
            self.effects.push_back(ElectionEffect::Voter { id, news });
        }
    }

    /// A LOOKING voter's vote.
    fn on_vote(&mut self, from: ServerId, said: &Notification, now_ms: i64) {
        self.claims.forget(from);
        let theirs = Vote::of(said);
        // Votes do not tell an observer who leads: they may be for a leader that is lost. A server
        // whose data are unknown does not vote yet.
        let is_deaf = !self.members.is_voter(self.me) || self.own.zxid == Zxid::UNKNOWN;
        if is_deaf || theirs.zxid == Zxid::UNKNOWN {
            return;
        }
        if said.round < self.round {
            return self.send(from);
        }
        let is_new_round = said.round > self.round;
        if is_new_round {
            self.round = said.round;
            self.votes.clear();
            self.vote = self.own;
        }
        if self.adopt_better(theirs) || is_new_round {
            self.send_to_all();
        } else if theirs.rank() < self.vote.rank() {
            // It may not have been LOOKING when this vote was sent: Apache's waits until it is sent
            // again.
            self.send(from);
        }
        if self.members.is_voter(theirs.leader) {
            self.votes.insert(from, theirs);
        }
        self.count(now_ms);
    }

    /// A voter that follows or leads names its leader.
    fn on_claim(&mut self, from: ServerId, said: &Notification) {
        let leader = ServerId(said.leader);
        // A server that has lost its data does not lead, whoever followed it before (S77).
        let is_lost = leader == self.me && self.own.zxid == Zxid::UNKNOWN;
        if !self.members.is_voter(leader) || is_lost {
            return;
        }
        self.claims.note(from, said);
        let leads = match leader == self.me {
            // If a quorum of this round follows this server, it leads.
            true => said.round == self.round,
            false => self.claims.says_that_it_leads(leader),
        };
        let in_this_round = said.round == self.round && leads && {
            let vote = Vote::of(said);
            let agrees = |id| {
                self.claims.follows(id, leader)
                    || (id != from && self.votes.get(&id) == Some(&vote))
            };
            self.members.is_quorum(agrees)
        };
        if in_this_round || self.claims.are_a_quorum(&self.members, said) {
            self.elect(Vote::of(said), said.round);
        }
    }

    /// Takes over a vote that wins over the present one.
    fn adopt_better(&mut self, theirs: Vote) -> bool {
        let may_lead =
            self.members.may_lead(theirs.leader) && (self.stands || theirs.leader != self.me);
        let wins = may_lead && theirs.rank() > self.vote.rank();
        if wins {
            self.vote = theirs;
        }
        wins
    }

    /// Looks whether a quorum has the present vote. Then it is decided at once if nobody is left
    /// who could have a better one, else after a while.
    fn count(&mut self, now_ms: i64) {
        if self.state != PeerState::Looking || self.round == 0 || !self.members.is_voter(self.me) {
            return;
        }
        self.votes.insert(self.me, self.vote);
        let agrees = |id| self.votes.get(&id) == Some(&self.vote);
        let is_for_nobody = self.vote == Vote::none();
        if is_for_nobody || !self.members.is_quorum(agrees) {
            self.decides_at = None;
            return;
        }
        let peer = |id: ServerId| self.peers.get(&id).copied().unwrap_or(Peer::UNKNOWN);
        let others = || self.members.voters().filter(|id| *id != self.me);
        let all_agree = others().all(|id| agrees(id) || peer(id).is_unreachable);
        let all_ours = others().all(|id| peer(id).is_ringkeeper || peer(id).is_unreachable);
        let wait_ms = match (all_ours, all_agree) {
            (true, true) => 0,
            (true, false) => self.settings.finalize_own_ms,
            (false, _) => self.settings.finalize_ms,
        };
        let at = now_ms + wait_ms;
        self.decides_at = Some(self.decides_at.map_or(at, |earlier| earlier.min(at)));
        if wait_ms == 0 {
            self.elect(self.vote, self.round);
        }
    }

    fn elect(&mut self, vote: Vote, round: i64) {
        (self.vote, self.round, self.decides_at) = (vote, round.max(1), None);
        self.state = match () {
            _ if vote.leader == self.me => PeerState::Leading,
            _ if self.members.is_voter(self.me) => PeerState::Following,
            _ => PeerState::Observing,
        };
        self.effects.push_back(ElectionEffect::Elected { state: self.state, vote });
        // Who does not vote is told nothing else when an election ends.
        for id in std::mem::take(&mut self.told).into_keys() {
            self.send(id);
        }
    }

    fn interval_ms_max(&self) -> i64 {
        // Nobody tells an observer that an election has ended: it asks often.
        let max = self.settings.interval_ms_max;
        if self.members.is_voter(self.me) { max } else { max.min(OBSERVER_INTERVAL_MS_MAX) }
    }

    /// A server that does not vote asks: it is answered at once, the same thing once in a while.
    fn answer_stranger(&mut self, from: ServerId, now_ms: i64) {
        let answer = self.notification();
        let is_new = self
            .told
            .get(&from)
            .is_none_or(|(told, at)| *told != answer || at + STRANGER_MS_MIN <= now_ms);
        if is_new && (self.told.len() < STRANGERS_MAX || self.told.contains_key(&from)) {
            self.told.insert(from, (answer, now_ms));
            self.send(from);
        }
    }

    /// The other voters to whom nothing can be sent.
    fn unreachable(&self) -> Vec<ServerId> {
        let gone = self.peers.iter().filter(|(_, peer)| peer.is_unreachable).map(|(id, _)| *id);
        gone.filter(|id| *id != self.me && self.members.is_voter(*id)).collect()
    }

    fn send_to_all(&mut self) {
        let others: Vec<ServerId> = self.members.voters().filter(|id| *id != self.me).collect();
        others.into_iter().for_each(|id| self.send(id));
    }

    fn send(&mut self, to: ServerId) {
        let notification = self.notification();
        self.effects.push_back(ElectionEffect::Send { to, notification });
    }

    fn notification(&self) -> Notification {
        Notification {
            state: self.state,
            leader: self.vote.leader.0,
            zxid: self.vote.zxid,
            round: self.round,
            peer_epoch: self.vote.epoch,
            version: Notification::VERSION,
            config: self.config.clone(),
        }
    }
}

impl Peer {
    /// Nothing is known yet.
    const UNKNOWN: Self = Self { is_ringkeeper: false, is_unreachable: false };
}

/// How often a voter that cannot be reached is tried again.
const RETRY_MS: i64 = 1_000;
/// How often an observer asks at least.
const OBSERVER_INTERVAL_MS_MAX: i64 = 1_000;
/// How often a server that does not vote is told the same.
const STRANGER_MS_MIN: i64 = 100;
/// Servers that do not vote and are answered; others get nothing.
const STRANGERS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zab::QuorumSet;

    /// A leader was heard, and is lost before a quorum of its followers is heard, who do not know it
    /// yet: nobody is sent to it.
    #[test]
    fn a_leader_that_cannot_be_reached_any_more_is_not_followed() {
        let voters = [1, 2, 3].map(ServerId).into();
        let quorums = QuorumSet::Majority;
        let members = Members::new(voters, [].into(), quorums, Zxid::ZERO, Bytes::new()).unwrap();
        let mut election = Election::new(ServerId(1), members, ElectionSettings::default());
        election.look(Zxid::ZERO, 0, 0);
        let says = |state| Notification {
            state,
            leader: 3,
            zxid: Zxid::new(1, 5),
            round: 9,
            peer_epoch: 1,
            version: Notification::VERSION,
            config: Bytes::new(),
        };
        let elected = |election: &mut Election| {
            let mut effects = std::iter::from_fn(|| election.poll());
            effects.any(|effect| matches!(effect, ElectionEffect::Elected { .. }))
        };
        election.on_notification(ServerId(3), &says(PeerState::Leading), 1);
        election.on_peer(ServerId(3), Peer { is_unreachable: true, ..Peer::UNKNOWN }, 2);
        election.on_notification(ServerId(2), &says(PeerState::Following), 3);
        assert!(!elected(&mut election));
        // It is there after all.
        election.on_peer(ServerId(3), Peer::UNKNOWN, 4);
        election.on_notification(ServerId(3), &says(PeerState::Leading), 5);
        assert!(elected(&mut election));
    }

    /// S53, ZOOKEEPER-3109: until it serves, a leader hears which voters have left it.
    #[test]
    fn s53_a_leader_hears_which_voters_have_left_it() {
        let voters = (1..=5).map(ServerId).collect();
        let quorums = QuorumSet::Majority;
        let members = Members::new(voters, [].into(), quorums, Zxid::ZERO, Bytes::new()).unwrap();
        let mut election = Election::new(ServerId(5), members, ElectionSettings::default());
        election.look(Zxid::ZERO, 0, 0);
        let round = election.round();
        let says = |leader, round, state| Notification {
            state,
            leader,
            zxid: Zxid::ZERO,
            round,
            peer_epoch: 0,
            version: Notification::VERSION,
            config: Bytes::new(),
        };
        let votes = |leader, round| says(leader, round, PeerState::Looking);
        let heard = |election: &mut Election| -> Vec<(i64, VoterNews)> {
            let effects = std::iter::from_fn(|| election.poll());
            let news = effects.filter_map(|effect| match effect {
                ElectionEffect::Voter { id, news } => Some((id.0, news)),
                _ => None,
            });
            news.collect()
        };
        election.on_notification(ServerId(4), &votes(5, round), 1);
        election.on_notification(ServerId(1), &votes(5, round), 1);
        election.on_notification(ServerId(2), &votes(2, round), 1);
        election.on_time(1_000);
        assert_eq!(election.state(), PeerState::Leading);
        assert_eq!(election.supporters(), [1, 4, 5].map(ServerId).into());
        assert_eq!(heard(&mut election), []);

        election.on_notification(ServerId(3), &votes(5, round), 1_001);
        election.on_notification(ServerId(4), &votes(4, round), 1_001);
        election.on_notification(ServerId(1), &votes(5, round + 1), 1_001);
        election.on_notification(ServerId(9), &votes(9, round), 1_001);
        election.on_notification(ServerId(2), &says(5, round, PeerState::Following), 1_001);
        let gone = Peer { is_unreachable: true, ..Peer::UNKNOWN };
        election.on_peer(ServerId(2), gone, 1_002);
        let wanted = [
            (3, VoterNews::Supports),
            (4, VoterNews::HasLeft),
            (1, VoterNews::HasLeft),
            (2, VoterNews::IsUnreachable),
        ];
        assert_eq!(heard(&mut election), wanted);
        election.serves(1);
        election.on_notification(ServerId(4), &votes(4, round + 1), 1_003);
        assert_eq!(heard(&mut election), []);
    }

    /// S58, ZOOKEEPER-764: what an observer says counts for nothing, and it votes for nobody.
    #[test]
    fn s58_an_observer_elects_nobody() {
        let voters = [1, 2, 3].map(ServerId).into();
        let observers = [ServerId(4), ServerId(5)].into();
        let quorums = QuorumSet::Majority;
        let members = Members::new(voters, observers, quorums, Zxid::ZERO, Bytes::new()).unwrap();
        let settings = ElectionSettings::default();
        let mut election = Election::new(ServerId(1), members.clone(), settings);
        election.look(Zxid::ZERO, 0, 0);
        for (from, state) in [
            (4, PeerState::Looking),
            (5, PeerState::Looking),
            (4, PeerState::Observing),
            (5, PeerState::Following),
            (4, PeerState::Leading),
        ] {
            let vote = Notification { state, ..election.notification() };
            election.on_notification(ServerId(from), &vote, 1);
        }
        election.on_time(10_000);
        assert_eq!(election.state(), PeerState::Looking);
        let mut observer = Election::new(ServerId(4), members, settings);
        observer.look(Zxid::new(9, 9), 9, 0);
        assert_eq!(observer.vote(), Vote::none());
    }
}
