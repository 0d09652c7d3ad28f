//! A member of an ensemble on this machine: what its life asks for is carried out by the thread of
//! elections, the disk thread, the connections between leader and learners, and threads that send
//! and take in trees. What comes of it goes back. Here nothing is decided.

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::{Sender, bounded};
use log::{error, info, warn};

use crate::quorum::Quorum;
use crate::quorum::member::{Member, MemberEffect, MemberEvent, MemberNews, Peer, PeerConn};
use crate::runtime::SharedTree;
use crate::runtime::clock;
use crate::runtime::datadir::DataDir;
use crate::runtime::lane::WakeHandle;
use crate::runtime::log::Log;
use crate::runtime::ring::{Event, Ring, RingError};
use crate::tree::Tree;
use crate::zab::{LeadEffect, LearnEffect};
use crate::zxid::{Now, Zxid};

use super::disk::{Disk, DiskEvent, Job};
use super::elections::{Elections, News, Order};
use super::feed::FeedSocket;
use super::incoming_tree::IncomingTree;
use super::peers::{FromPeer, Peers};
use super::receive_tree::ReceiveConfig;
use super::send_log::send_log;
use super::send_tree::{Haste, TreeToSend, send_tree};

/// The parts of the quorum core that a member works on.
pub struct Core<'a> {
    pub quorum: &'a mut Quorum,
    pub tree: &'a SharedTree,
    /// Absent while the disk thread has it.
    pub log: &'a mut Option<Box<Log>>,
}

/// See the module.
pub struct MemberShell {
    member: Member,
    /// Where the log is read back from.
    data: DataDir,
    /// How a leader's tree is stored.
    receiving: ReceiveConfig,
    elections: Elections,
    disk: Disk,
    peers: Peers,
    waker: Arc<WakeHandle>,
    incoming: IncomingTree,
    /// Learners whose tree could not be begun when the SNAP was sent.
    trees_due: Vec<Sender<TreeToSend>>,
    /// Why the server must end.
    failure: Option<String>,
}

impl MemberShell {
    /// A member that looks for a leader as soon as it takes its first step.
    pub fn new(
        member: Member,
        data: DataDir,
        receiving: ReceiveConfig,
        elections: Elections,
        disk: Disk,
        waker: Arc<WakeHandle>,
    ) -> Self {
        data.histories().end_serving();
        let init_limit = init_limit(&member);
        Self {
            member,
            data,
            receiving,
            elections,
            disk,
            peers: Peers::new(waker.clone(), init_limit),
            waker,
            incoming: IncomingTree::None,
            trees_due: Vec::new(),
            failure: None,
        }
    }

    /// Why the server must end, once.
    pub fn take_failure(&mut self) -> Option<String> {
        self.failure.take()
    }

    /// Whether [`Self::step`] has something to do that no time brings.
    pub fn has_work(&self) -> bool {
        self.member.has_work()
            || self.peers.has_work()
            || self.elections.has_news()
            || self.disk.has_news()
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
            self.on_disk(event, core, now);
        }
        self.trees_due.retain(|due| match TreeToSend::begin(core.tree) {
            Ok(tree) => due.send(tree).is_err(),
            Err(_) => true,
        });
        while let Some(news) = self.elections.poll() {
            self.on_news(news, core, now);
        }
        while let Some(came) = self.peers.poll() {
            match came {
                FromPeer::Bytes(conn, bytes) => {
                    self.member.on_bytes(conn, &bytes);
                    self.peers.recycle(bytes);
                }
                FromPeer::Gone(conn, why) => self.member.on_gone(conn, why),
            }
        }
        self.incoming.go_on(&mut self.member, core.quorum, core.tree, now);
        if core.quorum.wakes_at() <= now.mono_ms {
            for conn in self.peers.taking() {
                self.tell(MemberEvent::Taken(conn), core, now);
            }
        }
        let is_full = core.log.as_ref().is_some_and(|log| log.is_full());
        self.member.on_disk_space(is_full);
        if self.member.is_due(core.quorum, room, now) {
            let (began, asked, late) = (Instant::now(), Cell::new(0_u32), Cell::new(false));
            // The clock costs as much as a small packet. Once it is late it stays so.
            let is_late = || {
                asked.set(asked.get() + 1);
                let looks = asked.get().is_multiple_of(PACKETS_PER_LOOK);
                late.set(late.get() || (looks && began.elapsed() >= TAKE_MAX));
                late.get()
            };
            self.member.step(core.quorum, &core.tree.read(), room, is_late, now);
        }
        self.carry_out(core);
    }

    /// An effect of the role of a leader.
    pub fn lead(&mut self, effect: LeadEffect, core: &mut Core<'_>) {
        self.member.on_lead(effect, core.quorum);
        self.carry_out(core);
    }

    /// An effect of the role of a learner.
    pub fn learn(&mut self, effect: LearnEffect, core: &mut Core<'_>) {
        self.member.on_learn(effect);
        self.carry_out(core);
    }

    fn tell(&mut self, event: MemberEvent, core: &mut Core<'_>, now: Now) {
        self.member.on_event(event, core.quorum, &core.tree.read(), now);
    }

    fn on_news(&mut self, news: News, core: &mut Core<'_>, now: Now) {
        let event = match news {
            News::Elected { state, vote, .. } => {
                MemberEvent::Elected { state, leader: vote.leader }
            }
            News::ElectedBy(voters) => MemberEvent::ElectedBy(voters),
            News::Voter { id, news } => MemberEvent::Voter { id, news },
            News::LeaderConnected { attempt, socket, peer: address } => {
                let conn = self.peers.insert(socket, address);
                MemberEvent::LeaderConnected { attempt, conn, address }
            }
            News::LeaderUnreachable { attempt, why } => {
                MemberEvent::LeaderUnreachable { attempt, why }
            }
            News::Learner { socket, peer: address } => {
                let conn = self.peers.insert(socket, address);
                MemberEvent::LearnerConnected { conn, address }
            }
            News::CannotTakeLearners { why } => return warn!("no learner can be taken: {why}"),
            News::Failed { why } => return self.failure = Some(why),
        };
        self.tell(event, core, now);
    }

    fn on_disk(&mut self, event: DiskEvent, core: &mut Core<'_>, now: Now) {
        let told = match event {
            DiskEvent::AcceptedEpoch(epoch) => MemberEvent::AcceptedEpoch(epoch),
            DiskEvent::CurrentEpoch(epoch) => MemberEvent::CurrentEpoch(epoch),
            DiskEvent::LogReach { of, reach } => MemberEvent::LogReach(of, reach),
            DiskEvent::Truncated { recovered, log } => {
                *core.log = Some(log);
                let to = recovered.last_zxid;
                drop_aside(core.tree.replace(recovered.tree));
                MemberEvent::Truncated(to)
            }
            DiskEvent::CannotTruncate { to, why, log } => {
                *core.log = Some(log);
                MemberEvent::CannotTruncate { to, why: why.to_string() }
            }
            DiskEvent::TreeTaken { zxid, log } => {
                *core.log = Some(log);
                self.incoming.put_in_place(core.tree);
                MemberEvent::TreeTaken(zxid)
            }
            DiskEvent::TreeNotTaken { why, log } => {
                *core.log = Some(log);
                self.incoming.give_up();
                MemberEvent::TreeNotTaken { why: why.to_string() }
            }
            DiskEvent::Failed(why) => return self.failure = Some(why.to_string()),
        };
        self.tell(told, core, now);
    }

    fn carry_out(&mut self, core: &mut Core<'_>) {
        while let Some(effect) = self.member.poll() {
            match effect {
                MemberEffect::Send { conn, bytes } => self.peers.send(conn, bytes),
                MemberEffect::Pause { conn, is_paused } => self.peers.pause(conn, is_paused),
                MemberEffect::Close { conn } => self.peers.close(conn),
                MemberEffect::SendLog { conn, peer, after, upto } => {
                    self.send_log(conn, peer, after, upto);
                }
                MemberEffect::SendTree { conn, peer } => self.send_tree(conn, peer, core.tree),
                MemberEffect::Look { zxid, epoch, stands } => {
                    self.elections.tell(Order::Look { zxid, epoch, stands });
                }
                MemberEffect::Dial { leader, attempt } => {
                    self.elections.tell(Order::Dial { leader, attempt });
                }
                MemberEffect::DialObserverMaster { follower, port, attempt } => {
                    self.elections.tell(Order::DialObserverMaster { follower, port, attempt });
                }
                MemberEffect::TakeObservers => self.elections.tell(Order::TakeObservers),
                MemberEffect::TakeLearners { is_wanted } => {
                    self.elections.tell(Order::TakeLearners { is_wanted });
                }
                MemberEffect::Serve { epoch } => self.begin_serving(epoch, core),
                MemberEffect::EndRole => self.end_role(),
                MemberEffect::AskLog { of, peer, upto } => {
                    let tree_bytes = core.tree.read().snapshot_bytes();
                    self.disk.ask(Job::LogReach { of, peer, upto, tree_bytes });
                }
                MemberEffect::StoreAcceptedEpoch { epoch } => {
                    self.disk.ask(Job::StoreAcceptedEpoch(epoch));
                }
                MemberEffect::StoreCurrentEpoch { epoch } => {
                    self.disk.ask(Job::StoreCurrentEpoch(epoch));
                }
                MemberEffect::Truncate { to } => match core.log.take() {
                    Some(log) => self.disk.ask(Job::Truncate { to, log }),
                    None => error!("the log is cut already"),
                },
                MemberEffect::ReceiveTree { zxid } => {
                    let (config, waker) = (self.receiving.clone(), self.waker.clone());
                    if let Err(error) = self.incoming.begin(config, zxid, waker) {
                        self.failure = Some(format!("no thread for the leader's tree: {error}"));
                    }
                }
                MemberEffect::TakeTree => self.take_tree(core),
                MemberEffect::Tell(news) => say(&news),
            }
        }
    }

    fn take_tree(&mut self, core: &mut Core<'_>) {
        let Some(log) = core.log.take() else { return error!("the log is cut already") };
        match self.incoming.take(log) {
            Ok(job) => self.disk.ask(job),
            Err(log) => {
                *core.log = Some(log);
                error!("there is no tree to take");
            }
        }
    }

    /// The membership is shown before the shards take clients.
    fn begin_serving(&self, epoch: u32, core: &Core<'_>) {
        let members = &self.member.server().members;
        let time_ms = clock::now().wall_ms;
        core.tree.write().set_config(members.text(), members.version(), time_ms);
        self.data.histories().begin_serving(core.tree.read().last_zxid());
        self.elections.tell(Order::Serves { epoch });
    }

    fn end_role(&mut self) {
        self.data.histories().end_serving();
        self.disk.end_reading();
        self.peers.close_all();
        self.trees_due.clear();
        self.incoming.end_role();
    }
}

fn say(news: &MemberNews) {
    match news.is_warning() {
        true => warn!("{news}"),
        false => info!("{news}"),
    }
}

/// What goes to learners at length.
impl MemberShell {
    fn send_log(&mut self, to: PeerConn, peer: Peer, after: Zxid, upto: Zxid) {
        let data = self.data.clone();
        let feed = move |out: &mut FeedSocket| {
            let sent = send_log(&data, after, upto, out).map_err(io::Error::other)?;
            info!("{peer} got {} transactions from the log (DIFF)", sent.transactions);
            Ok(())
        };
        self.peers.feed(to, Box::new(feed));
    }

    /// The tree as it is now, or, if nobody may begin with it now, as it is soon.
    fn send_tree(&mut self, to: PeerConn, peer: Peer, tree: &SharedTree) {
        let (begun, beginning) = bounded(1);
        match TreeToSend::begin(tree) {
            Ok(tree) => drop(begun.send(tree)),
            Err(_) => self.trees_due.push(begun),
        }
        let histories = self.data.histories();
        let within = init_limit(&self.member) / 2;
        let feed = move |out: &mut FeedSocket| {
            let tree = beginning.recv().map_err(io::Error::other)?;
            let progress = out.progress().clone();
            // Before that nobody is served whom it could keep waiting.
            let hurries = || !histories.is_serving() || progress.is_urgent();
            let sent = send_tree(tree, out, Haste { within, hurries })?;
            info!(
                "{peer} got the tree at {}: {} znodes in {} ms (SNAP)",
                sent.zxid,
                sent.nodes,
                sent.took.as_millis()
            );
            Ok(())
        };
        self.peers.feed(to, Box::new(feed));
    }
}

/// The time that a learner has to be in sync.
fn init_limit(member: &Member) -> Duration {
    Duration::from_millis(member.server().zab.init_ms().unsigned_abs())
}

/// Gigabytes are not given back on the thread that everybody waits for.
fn drop_aside(tree: Tree) {
    let dropped = std::thread::Builder::new().name("old tree".into()).spawn(|| drop(tree));
    // Without a thread it was dropped here.
    drop(dropped);
}

/// The longest time for which packets are taken in one step.
const TAKE_MAX: Duration = Duration::from_millis(1);
/// Packets that are taken between two looks at the clock.
const PACKETS_PER_LOOK: u32 = 8;
