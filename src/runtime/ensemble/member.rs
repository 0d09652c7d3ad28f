//! The life of a member of an ensemble: it looks for a leader, has a role, and looks again.
//!
//! It carries out what the roles of the quorum machine ask for, and gives back what comes of it. It
//! decides nothing: whom to follow is the election's, what to promise is the role's.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::{Sender, bounded};
use log::{error, info, warn};

use crate::packet::{Packet, PacketError, PacketStream, PeerState};
use crate::quorum::{EnsembleServer, PeerEvent, Quorum};
use crate::runtime::SharedTree;
use crate::runtime::clock;
use crate::runtime::datadir::DataDir;
use crate::runtime::lane::WakeHandle;
use crate::runtime::log::Log;
use crate::runtime::ring::{Event, Ring, RingError};
use crate::tree::Tree;
use crate::zab::{CloseLearner, History, LeadEffect, LearnEffect, LearnerConn, Logged, ServerId};
use crate::zxid::{Now, Zxid};

use super::disk::{Disk, DiskEvent, Job};
use super::elections::{Elections, News, Order};
use super::peers::{FromPeer, PeerConn, Peers};
use super::receive_tree::{ReceiveConfig, TreeReceiver};
use super::send_log::send_log;
use super::send_tree::{TreeToSend, send_tree};

/// What a member knows of its ensemble and itself.
pub struct MemberSettings {
    /// The server with its epochs as they are on the disk.
    pub server: EnsembleServer,
    /// Where the log is read back from.
    pub data: DataDir,
    /// How a leader's tree is stored.
    pub receiving: ReceiveConfig,
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

/// The parts of the quorum core that a member works on.
pub struct Core<'a> {
    pub quorum: &'a mut Quorum,
    pub tree: &'a SharedTree,
    /// Absent while the disk thread has it.
    pub log: &'a mut Option<Box<Log>>,
}

/// See the module.
pub struct Member {
    server: EnsembleServer,
    settings: MemberSettings,
    elections: Elections,
    disk: Disk,
    peers: Peers,
    waker: Arc<WakeHandle>,
    life: Life,
    /// The number of the latest try to reach a leader.
    attempt: u64,
    /// The log could not be cut, or is lost: the next leader is asked for its whole tree.
    wants_tree: bool,
    /// See [`MemberSettings::is_lost`].
    is_lost: bool,
    /// A leader's tree that is being put in place of the history, and the thread that drops the old
    /// one.
    taken: Option<(TreeReceiver, Tree)>,
    /// Learners whose tree could not be begun when the SNAP was sent.
    trees_due: Vec<Sender<TreeToSend>>,
    /// It has taken part in an election.
    has_looked: bool,
    /// Packets may wait that were not taken yet.
    more: bool,
    /// They wait for room in the log.
    waits_for_room: bool,
    /// Why the server must end.
    failure: Option<String>,
}

/// What the server is at.
enum Life {
    /// A role has ended: what it asked of the disk ends first.
    Resting,
    Looking,
    /// It is elected: what it has logged is applied first.
    Adopting,
    /// It has a leader, and no connection to it yet.
    Dialing {
        leader: ServerId,
    },
    Leading {
        learners: BTreeMap<PeerConn, Inbound>,
    },
    Learning(Learning),
}

/// What has come on one connection.
struct Inbound {
    packets: PacketStream,
    /// The connection is gone, and why: the packets before its end still count.
    ended: Option<String>,
}

struct Learning {
    leader: ServerId,
    conn: PeerConn,
    inbound: Inbound,
    tree: Option<Receiving>,
}

/// A tree that is on its way.
struct Receiving {
    receiver: TreeReceiver,
    /// What the thread had no room for.
    piece: Option<Vec<u8>>,
    /// Bytes that the role has heard of.
    told: u64,
    is_whole: bool,
}

impl Inbound {
    fn new(settings: &MemberSettings) -> Self {
        Self { packets: PacketStream::new(settings.packet_bytes_max), ended: None }
    }

    /// What came is no packet, or the connection is gone.
    fn why_it_ends(&mut self, error: Option<PacketError>) -> String {
        let malformed = error.map(|error| error.to_string());
        malformed.or(self.ended.take()).unwrap_or_default()
    }
}

impl Member {
    /// A member that looks for a leader as soon as it takes its first step.
    pub fn new(
        settings: MemberSettings,
        elections: Elections,
        disk: Disk,
        waker: Arc<WakeHandle>,
    ) -> Self {
        settings.data.histories().end_serving();
        Self {
            server: settings.server.clone(),
            wants_tree: settings.is_lost,
            is_lost: settings.is_lost,
            settings,
            elections,
            disk,
            peers: Peers::new(waker.clone()),
            waker,
            life: Life::Resting,
            attempt: 0,
            taken: None,
            trees_due: Vec::new(),
            has_looked: false,
            more: false,
            waits_for_room: false,
            failure: None,
        }
    }

    /// Why the server must end, once.
    pub fn take_failure(&mut self) -> Option<String> {
        self.failure.take()
    }

    /// Whether [`Self::step`] has something to do that no time brings.
    pub fn has_work(&self) -> bool {
        self.more || self.peers.has_work() || self.elections.has_news() || self.disk.has_news()
    }

    /// A completion of the ring, given back if it is no other server's.
    pub fn on_event(&mut self, event: Event) -> Option<Event> {
        self.peers.on_event(event)
    }

    /// Asks the ring for what is to be sent and received.
    pub fn turn(&mut self, ring: &mut Ring) -> Result<(), RingError> {
        self.peers.turn(ring)
    }

    /// Everything that has come and is due. Packets make log entries of at most `room` bytes. To be
    /// called only while no multi is being applied.
    pub fn step(&mut self, core: &mut Core<'_>, room: u64, now: Now) {
        while let Some(event) = self.disk.poll() {
            self.more = true;
            self.on_disk(event, core, now);
        }
        self.trees_due.retain(|due| match TreeToSend::begin(core.tree) {
            Ok(tree) => due.send(tree).is_err(),
            Err(_) => true,
        });
        while let Some(news) = self.elections.poll() {
            self.on_news(news, core, now);
        }
        self.take_in();
        if core.quorum.wakes_at() <= now.mono_ms {
            core.quorum.on_peer(PeerEvent::Time, &core.tree.read(), now);
        }
        self.end_receiving(core, now);
        self.take_packets(core, room, now);
        self.go_on(core, now);
    }

    /// The next step between two roles.
    fn go_on(&mut self, core: &mut Core<'_>, now: Now) {
        let is_still = core.quorum.is_settled() && core.log.is_some() && self.disk.is_idle();
        match self.life {
            Life::Resting if is_still => {
                self.life = Life::Looking;
                let last = core.quorum.last_logged();
                let zxid = if self.is_lost { Zxid::UNKNOWN } else { last };
                let epoch = i64::from(self.server.current_epoch);
                if !std::mem::replace(&mut self.has_looked, true) {
                    info!("LOOKING: the server starts, with {last} of epoch {epoch}");
                }
                self.elections.tell(Order::Look { zxid, epoch });
                core.quorum.look(now);
            }
            Life::Adopting if is_still && !core.quorum.has_committable() => {
                self.life = Life::Leading { learners: BTreeMap::new() };
                let history = self.history(core.quorum.last_logged());
                core.quorum.lead(&self.server, history, &core.tree.read(), now);
                self.elections.tell(Order::TakeLearners { is_wanted: true });
            }
            _ => {}
        }
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

    fn on_news(&mut self, news: News, core: &mut Core<'_>, now: Now) {
        match (news, &mut self.life) {
            (News::Elected { state: PeerState::Leading, .. }, Life::Looking) => {
                info!("LEADING: this server is elected");
                core.quorum.adopt();
                self.life = Life::Adopting;
            }
            (News::Elected { vote, .. }, Life::Looking) => {
                self.attempt += 1;
                let (leader, attempt) = (vote.leader, self.attempt);
                info!("{}: server {leader} is elected", self.learning_name());
                self.elections.tell(Order::Dial { leader, attempt });
                self.life = Life::Dialing { leader };
            }
            (News::LeaderConnected { attempt, socket, peer }, Life::Dialing { leader })
                if attempt == self.attempt =>
            {
                let leader = *leader;
                self.learn_from(leader, socket, peer, core, now);
            }
            (News::LeaderUnreachable { attempt, why }, Life::Dialing { leader })
                if attempt == self.attempt =>
            {
                warn!("LOOKING: server {leader} leads and cannot be reached: {why}");
                self.life = Life::Resting;
            }
            (News::Learner { socket, peer }, Life::Leading { learners }) => {
                let conn = self.peers.insert(socket, peer);
                learners.insert(conn, Inbound::new(&self.settings));
                let event = PeerEvent::Connected(LearnerConn(conn.0));
                core.quorum.on_peer(event, &core.tree.read(), now);
            }
            (News::CannotTakeLearners { why }, Life::Leading { .. }) => {
                warn!("no learner can be taken: {why}");
            }
            (News::Failed { why }, _) => self.failure = Some(why),
            // Of a life that is over: a socket is closed by being dropped.
            _ => {}
        }
    }

    /// The leader is connected: the role of a learner begins.
    fn learn_from(
        &mut self,
        leader: ServerId,
        socket: OwnedFd,
        address: SocketAddr,
        core: &mut Core<'_>,
        now: Now,
    ) {
        let conn = self.peers.insert(socket, address);
        let inbound = Inbound::new(&self.settings);
        self.life = Life::Learning(Learning { leader, conn, inbound, tree: None });
        core.quorum.learn(&self.server, self.wants_tree, &core.tree.read(), now);
    }

    /// Before the shards take clients.
    fn show_membership(&self, core: &Core<'_>) {
        let members = &self.server.members;
        let time_ms = clock::now().wall_ms;
        core.tree.write().set_config(members.text(), members.version(), time_ms);
    }

    fn learning_name(&self) -> &'static str {
        if self.server.members.is_voter(self.server.me) { "FOLLOWING" } else { "OBSERVING" }
    }
}

/// What comes from other servers.
impl Member {
    /// Bytes go to their streams. What a server sends while nothing of it is taken waits in its
    /// connection.
    fn take_in(&mut self) {
        while let Some(came) = self.peers.poll() {
            let conn = match &came {
                FromPeer::Bytes(conn, _) | FromPeer::Gone(conn, _) => *conn,
            };
            let Some(inbound) = self.life.inbound(conn) else { continue };
            match came {
                FromPeer::Bytes(_, chunk) => inbound.packets.push(&chunk),
                FromPeer::Gone(_, why) => inbound.ended = Some(why),
            }
            let is_much = inbound.packets.buffered() > BUFFERED_BYTES_MAX;
            if is_much {
                self.peers.pause(conn, true);
            }
            self.more = true;
        }
    }

    /// Packets are taken until there are none, their time is over, or the log might have no room
    /// for what they bring.
    fn take_packets(&mut self, core: &mut Core<'_>, room: u64, now: Now) {
        let low = self.settings.packet_bytes_max as u64 + ENTRY_BYTES_BESIDE;
        let has_come = self.waits_for_room && room >= low;
        if !std::mem::take(&mut self.more) && !has_come && !self.life.holds_piece() {
            return;
        }
        let mut taking = Taking { began: Instant::now(), room, low, now };
        match &mut self.life {
            Life::Leading { learners } => {
                let conns: Vec<PeerConn> = learners.keys().copied().collect();
                conns.into_iter().for_each(|conn| self.take_of_learner(conn, core, &mut taking));
            }
            Life::Learning(_) => self.take_of_leader(core, &mut taking),
            _ => {}
        }
        self.waits_for_room = taking.is_without_room();
        self.more |= taking.is_over() && !self.waits_for_room;
    }

    fn take_of_learner(&mut self, conn: PeerConn, core: &mut Core<'_>, taking: &mut Taking) {
        let Life::Leading { learners } = &mut self.life else { return };
        let Some(inbound) = learners.get_mut(&conn) else { return };
        let (tree, learner) = (core.tree.read(), LearnerConn(conn.0));
        while !taking.is_over() {
            match inbound.packets.next_packet() {
                Ok(Some(packet)) => {
                    let packet = match packet {
                        Packet::Ack { zxid } => {
                            Packet::Ack { zxid: inbound.packets.last_ack(zxid) }
                        }
                        packet => packet,
                    };
                    taking.takes(&packet);
                    core.quorum.on_peer(PeerEvent::Learner(learner, packet), &tree, taking.now);
                }
                Ok(None) if inbound.ended.is_none() => {
                    return self.peers.pause(conn, false);
                }
                end => {
                    info!("a learner is gone: {}", inbound.why_it_ends(end.err()));
                    learners.remove(&conn);
                    self.peers.close(conn);
                    return core.quorum.on_peer(PeerEvent::LearnerGone(learner), &tree, taking.now);
                }
            }
        }
    }

    fn take_of_leader(&mut self, core: &mut Core<'_>, taking: &mut Taking) {
        let Life::Learning(learning) = &mut self.life else { return };
        let Learning { leader, conn, ref mut inbound, ref mut tree } = *learning;
        if let Some(receiving) = tree {
            let is_full = !receiving.offer(&mut inbound.packets);
            self.peers.pause(conn, is_full);
            receiving.tell(core, taking.now);
        }
        let shown = core.tree.read();
        while !taking.is_over() && (core.quorum.wants_packets() || inbound.ended.is_some()) {
            let next = match core.quorum.wants_packets() {
                true => inbound.packets.next_packet(),
                false => Ok(None),
            };
            match next {
                Ok(Some(packet)) => {
                    taking.takes(&packet);
                    core.quorum.on_peer(PeerEvent::Leader(packet), &shown, taking.now);
                }
                Ok(None) if inbound.ended.is_none() => return self.peers.pause(conn, false),
                end => {
                    let why = inbound.why_it_ends(end.err());
                    info!("the connection to server {leader} is gone: {why}");
                    return core.quorum.on_peer(PeerEvent::LeaderGone, &shown, taking.now);
                }
            }
        }
    }
}

impl Life {
    /// A piece of the leader's tree waits for room in the queue of its thread, which wakes the core
    /// when there is some. Nothing else may come meanwhile: the connection is paused.
    fn holds_piece(&self) -> bool {
        match self {
            Self::Learning(Learning { tree: Some(receiving), .. }) => receiving.piece.is_some(),
            _ => false,
        }
    }

    fn inbound(&mut self, of: PeerConn) -> Option<&mut Inbound> {
        match self {
            Self::Leading { learners } => learners.get_mut(&of),
            Self::Learning(learning) if learning.conn == of => Some(&mut learning.inbound),
            _ => None,
        }
    }
}

/// One turn of taking packets.
struct Taking {
    began: Instant,
    /// Bytes of log entries that still find room, and those of the longest entry.
    room: u64,
    low: u64,
    now: Now,
}

impl Taking {
    fn is_without_room(&self) -> bool {
        self.room < self.low
    }

    fn is_over(&self) -> bool {
        self.is_without_room() || self.began.elapsed() >= TAKE_MAX
    }

    fn takes(&mut self, packet: &Packet) {
        let bytes = match packet {
            Packet::Proposal { record, .. } | Packet::Inform { record, .. } => record.len(),
            Packet::Request(request) => request.record.len(),
            _ => return,
        };
        self.room = self.room.saturating_sub(bytes as u64 + ENTRY_BYTES_BESIDE);
    }
}

/// The longest time for which packets are taken in one step.
const TAKE_MAX: Duration = Duration::from_millis(1);
/// Bytes of packets of one server that wait to be taken; what comes beyond stays in the connection.
const BUFFERED_BYTES_MAX: usize = 4 << 20;
/// The bytes of an entry beside its record, counted generously.
const ENTRY_BYTES_BESIDE: u64 = 1024;

/// What the roles ask for.
impl Member {
    /// An effect of the role of a leader.
    pub fn lead(&mut self, effect: LeadEffect, core: &mut Core<'_>) {
        match effect {
            LeadEffect::Send { to, bytes } => self.peers.send(PeerConn(to.0), bytes),
            LeadEffect::SendLog { to, after, upto } => {
                self.send_log(PeerConn(to.0), after, upto);
            }
            LeadEffect::SendTree { to } => self.send_tree(PeerConn(to.0), core.tree),
            LeadEffect::AskLog { of, peer } => {
                let upto = core.quorum.durable();
                self.disk.ask(Job::LogReach { of, peer, upto });
            }
            LeadEffect::Close { conn, why } => self.close_learner(conn, &why),
            LeadEffect::StoreAcceptedEpoch { epoch } => {
                self.disk.ask(Job::StoreAcceptedEpoch(epoch));
            }
            LeadEffect::StoreCurrentEpoch { epoch } => {
                self.disk.ask(Job::StoreCurrentEpoch(epoch));
            }
            LeadEffect::Begin { epoch } => {
                info!("LEADING: a quorum has the history, epoch {epoch} begins");
                self.show_membership(core);
                self.settings.data.histories().begin_serving(core.tree.read().last_zxid());
                self.elections.tell(Order::Serves { epoch });
            }
            LeadEffect::StepDown { why } => self.rest(&why.to_string()),
            LeadEffect::Committed { .. }
            | LeadEffect::Confirmed { .. }
            | LeadEffect::Request { .. }
            | LeadEffect::Touched { .. }
            | LeadEffect::Revalidate { .. } => unreachable!("the quorum machine takes it"),
        }
    }

    fn send_log(&mut self, to: PeerConn, after: Zxid, upto: Zxid) {
        let data = self.settings.data.clone();
        let feed = move |out: &mut dyn Write| {
            let sent = send_log(&data, after, upto, out).map_err(io::Error::other)?;
            info!("a learner got {} transactions from the log (DIFF)", sent.transactions);
            Ok(())
        };
        self.peers.feed(to, Box::new(feed));
    }

    /// The tree as it is now, or, if nobody may begin with it now, as it is soon.
    fn send_tree(&mut self, to: PeerConn, tree: &SharedTree) {
        let (begun, beginning) = bounded(1);
        match TreeToSend::begin(tree) {
            Ok(tree) => drop(begun.send(tree)),
            Err(_) => self.trees_due.push(begun),
        }
        let feed = move |mut out: &mut dyn Write| {
            let tree = beginning.recv().map_err(io::Error::other)?;
            let sent = send_tree(tree, &mut out)?;
            info!(
                "a learner got the tree at {}: {} znodes in {} ms (SNAP)",
                sent.zxid,
                sent.nodes,
                sent.took.as_millis()
            );
            Ok(())
        };
        self.peers.feed(to, Box::new(feed));
    }

    fn close_learner(&mut self, conn: LearnerConn, why: &CloseLearner) {
        info!("the connection of a learner is closed: {why:?}");
        if let Life::Leading { learners } = &mut self.life {
            learners.remove(&PeerConn(conn.0));
        }
        self.peers.close(PeerConn(conn.0));
    }

    /// An effect of the role of a learner.
    pub fn learn(&mut self, effect: LearnEffect, core: &mut Core<'_>) {
        match effect {
            LearnEffect::Send { bytes } => {
                if let Life::Learning(learning) = &self.life {
                    self.peers.send(learning.conn, bytes);
                }
            }
            LearnEffect::StoreAcceptedEpoch { epoch } => {
                self.disk.ask(Job::StoreAcceptedEpoch(epoch));
            }
            LearnEffect::StoreCurrentEpoch { epoch } => {
                self.disk.ask(Job::StoreCurrentEpoch(epoch));
            }
            LearnEffect::Truncate { to } => {
                info!("synchronization: the log is cut after {to} (TRUNC)");
                match core.log.take() {
                    Some(log) => self.disk.ask(Job::Truncate { to, log }),
                    None => error!("the log is cut already"),
                }
            }
            LearnEffect::LoadTree { zxid } => self.begin_receiving(zxid),
            LearnEffect::Serve { epoch } => {
                info!("{}: in sync with epoch {epoch}", self.learning_name());
                self.show_membership(core);
                self.settings.data.histories().begin_serving(core.tree.read().last_zxid());
                self.elections.tell(Order::Serves { epoch });
            }
            LearnEffect::Leave { why } => self.rest(&why.to_string()),
            LearnEffect::Append { .. }
            | LearnEffect::Apply { .. }
            | LearnEffect::Ping { .. }
            | LearnEffect::Synced { .. }
            | LearnEffect::Revalidated { .. } => unreachable!("the quorum machine takes it"),
        }
    }

    /// The role has ended: connections go, and what it asked of the disk ends first.
    fn rest(&mut self, why: &str) {
        info!("LOOKING: {why}");
        self.settings.data.histories().end_serving();
        self.disk.end_reading();
        if matches!(self.life, Life::Leading { .. }) {
            self.elections.tell(Order::TakeLearners { is_wanted: false });
        }
        self.peers.close_all();
        self.trees_due.clear();
        self.life = Life::Resting;
        // The next turn begins the election, if the disk is still: it waits for no tick.
        self.more = true;
    }
}

/// What the disk has done, and a leader's tree.
impl Member {
    fn on_disk(&mut self, event: DiskEvent, core: &mut Core<'_>, now: Now) {
        let told = match event {
            DiskEvent::AcceptedEpoch(epoch) => {
                self.server.accepted_epoch = epoch;
                PeerEvent::AcceptedEpoch(epoch)
            }
            DiskEvent::CurrentEpoch(epoch) => {
                self.server.current_epoch = epoch;
                PeerEvent::CurrentEpoch(epoch)
            }
            DiskEvent::LogReach { of, reach } => PeerEvent::LogReach(of, reach),
            DiskEvent::Truncated { recovered, log } => {
                *core.log = Some(log);
                let to = recovered.last_zxid;
                drop_aside(core.tree.replace(recovered.tree));
                PeerEvent::Truncated(to, true)
            }
            DiskEvent::CannotTruncate { to, why, log } => {
                *core.log = Some(log);
                warn!("the log cannot be cut after {to}: {why}; the leader's tree is asked for");
                self.wants_tree = true;
                PeerEvent::Truncated(to, false)
            }
            DiskEvent::TreeTaken { zxid, log } => {
                *core.log = Some(log);
                (self.wants_tree, self.is_lost) = (false, false);
                if let Some((receiver, tree)) = self.taken.take() {
                    receiver.drop_tree(core.tree.replace(tree));
                }
                PeerEvent::Loaded(Some(zxid))
            }
            DiskEvent::TreeNotTaken { why, log } => {
                *core.log = Some(log);
                self.taken = None;
                warn!("the leader's tree cannot be put in place: {why}");
                PeerEvent::Loaded(None)
            }
            DiskEvent::Failed(why) => {
                self.failure = Some(why.to_string());
                return;
            }
        };
        core.quorum.on_peer(told, &core.tree.read(), now);
    }

    fn begin_receiving(&mut self, zxid: Zxid) {
        let Life::Learning(learning) = &mut self.life else { return };
        let waker = self.waker.clone();
        let receiving = self.settings.receiving.clone();
        info!("synchronization: the leader's tree at {zxid} is taken over (SNAP)");
        match TreeReceiver::start(receiving, zxid, move || waker.wake()) {
            Ok(receiver) => {
                let receiving = Receiving { receiver, piece: None, told: 0, is_whole: false };
                learning.tree = Some(receiving);
                self.more = true;
            }
            Err(error) => {
                self.failure = Some(format!("no thread for the leader's tree: {error}"));
            }
        }
    }

    /// The leader's tree has come whole, or has not.
    fn end_receiving(&mut self, core: &mut Core<'_>, now: Now) {
        let Life::Learning(learning) = &mut self.life else { return };
        let Some(receiving) = &mut learning.tree else { return };
        let Some(outcome) = receiving.receiver.outcome() else { return };
        receiving.tell(core, now);
        let Some(Receiving { receiver, piece, .. }) = learning.tree.take() else { return };
        self.more = true;
        match (outcome, core.log.take()) {
            (Ok(received), Some(log)) => {
                let packets = &mut learning.inbound.packets;
                let after = packets.take_rest();
                let piece = piece.unwrap_or_default();
                packets.put_back(&[&received.rest[..], &piece, &after].concat());
                info!(
                    "the leader's tree has come: {} znodes in {} ms",
                    received.nodes,
                    received.took.as_millis()
                );
                let (from, file) = (received.file, received.name);
                self.disk.ask(Job::TakeTree { from, file, log });
                self.taken = Some((receiver, received.tree));
            }
            (outcome, log) => {
                *core.log = log;
                let why = outcome.err().map(|why| why.to_string()).unwrap_or_default();
                warn!("the leader's tree did not come whole: {why}");
                core.quorum.on_peer(PeerEvent::Loaded(None), &core.tree.read(), now);
            }
        }
    }
}

impl Receiving {
    /// Passes on what has come; whether all of it found room.
    fn offer(&mut self, packets: &mut PacketStream) -> bool {
        if let Some(piece) = self.piece.take() {
            self.piece = self.receiver.offer(piece).err();
        }
        if self.piece.is_none() && packets.buffered() > 0 {
            self.piece = self.receiver.offer(packets.take_rest().into()).err();
        }
        self.piece.is_none()
    }

    /// The role hears that the leader is heard of, and once that all has come.
    fn tell(&mut self, core: &mut Core<'_>, now: Now) {
        let (taken, is_whole) = (self.receiver.taken(), self.receiver.is_whole());
        if taken > self.told || is_whole != self.is_whole {
            (self.told, self.is_whole) = (taken, is_whole);
            core.quorum.on_peer(PeerEvent::TreeBytes { is_whole }, &core.tree.read(), now);
        }
    }
}

/// Gigabytes are not given back on the thread that everybody waits for.
fn drop_aside(tree: Tree) {
    let dropped = std::thread::Builder::new().name("old tree".into()).spawn(|| drop(tree));
    // Without a thread it was dropped here.
    drop(dropped);
}
