//! The thread of elections: what a server of an ensemble says to the others about who leads, and
//! how it comes to the sockets over which leader and learners speak.
//!
//! It is the shell of [`Election`](crate::zab::Election) and [`Links`](crate::zab::Links), with a
//! ring of its own: the election port, its connections, their bytes, their timers. The quorum core
//! gives it [`Order`]s and takes [`News`] from it, neither of which waits.
//!
//! | file | holds |
//! |---|---|
//! | `thread` | the loop: events of the ring, orders, outcomes of dials, timers, effects of the machines |
//! | `thread/accepting` | the ports that are listened on, and who calls there |
//! | `connections` | the sockets of the election port |
//! | `dial` | threads that resolve names and connect: both block |
//! | `callers`, `network` | from which addresses a member may call |
//!
//! # Who may call
//!
//! A connection of either port is taken from an address that the line of another member names or its
//! name resolves to; a caller from this very machine may be any member whose line names an address
//! of this machine. Everybody else is hung up on and gets no byte. Names are resolved again when an
//! address is unknown, at most once in a while; the caller waits for that. What an address says is no
//! proof: it keeps strangers from the ports, and the id that a caller names must fit it. Where members
//! call from other addresses than they are dialled at, as through NAT or from containers, the networks
//! that they call from are configured: a caller from one of them may be any member.

mod callers;
mod connections;
mod dial;
mod network;
mod thread;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;

use crossbeam::queue::SegQueue;

use crate::packet::{PeerState, ServerAddress};
use crate::runtime::lane::WakeHandle;
use crate::runtime::ring::{RingUnavailable, Waker};
use crate::runtime::slice;
use crate::zab::{ElectionSettings, Members, ServerId, Vote, VoterNews};
use crate::zxid::Zxid;

use super::ports::{self, PeerListeners};

pub use network::{Network, NetworkError};

/// How a server takes part in elections.
#[derive(Clone, Debug)]
pub struct ElectionsConfig {
    /// `myid`.
    pub me: ServerId,
    pub members: Members,
    /// Where each server is, this one too. Hosts are as they are written: each dial resolves them.
    pub addresses: BTreeMap<ServerId, Vec<ServerAddress>>,
    pub election: ElectionSettings,
    /// `cnxTimeout`: how long a dial to an election port may take, in milliseconds.
    pub connect_ms: u64,
    /// `quorumCnxnTimeoutMs`: how long a caller may take to say who it is, in milliseconds.
    pub greeting_ms: i64,
    /// `connectToLearnerMasterLimit` ticks: how long a leader is dialled, in milliseconds. One that
    /// refuses is given up earlier.
    pub leader_ms: u64,
    /// `leaderConnectDelayDuringRetryMs`: the longest pause between two of those dials.
    pub retry_delay_ms: u64,
    /// `multiAddress.reachabilityCheckTimeoutMs`: how long each address of a server that has several
    /// may take before the next one is dialled.
    pub probe_ms: Option<u64>,
    /// `tcpKeepAlive`, for the socket that leads to the leader.
    pub keep_alive: bool,
    /// `multiAddress.enabled`: whether others are told all addresses of this server.
    pub names_all_addresses: bool,
    /// Networks from which any member may call: see "Who may call".
    pub networks: Vec<Network>,
    /// What finds the addresses of a host.
    pub names: Names,
}

/// What finds the addresses of a host. It may take long.
#[derive(Clone)]
pub struct Names(Arc<Resolve>);

type Resolve = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

impl Names {
    /// Names that `resolve` knows; it is called on threads of its own.
    pub fn by(resolve: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static) -> Self {
        Self(Arc::new(resolve))
    }
}

/// The system's names.
impl Default for Names {
    fn default() -> Self {
        Self::by(ports::resolve)
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Names")
    }
}

/// What the quorum core wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Begin a new election with this history, which is durable here. It ends a dial to a leader,
    /// and learners are taken no longer. One that does not stand for it is elected by nobody.
    Look { zxid: Zxid, epoch: i64, stands: bool },
    /// This server serves the epoch, as its leader or under it.
    Serves { epoch: u32 },
    /// Connect to the quorum port of a leader. It ends an earlier dial.
    Dial { leader: ServerId, attempt: u64 },
    /// The same for a follower that takes observers, at its observer master port.
    DialObserverMaster { follower: ServerId, port: u16, attempt: u64 },
    /// Whether learners are taken, as by a leader. Otherwise they are refused; and a server whose
    /// election has made it the leader tells nobody any more that it leads.
    TakeLearners { is_wanted: bool },
    /// Observers are taken, as by a follower, until the next election begins.
    TakeObservers,
}

/// What the quorum core is told.
#[derive(Debug)]
pub enum News {
    /// An election has ended.
    Elected { state: PeerState, vote: Vote, round: i64 },
    /// The voters that have made this server the leader: right after that.
    ElectedBy(BTreeSet<ServerId>),
    /// What a leader that does not serve yet hears of a voter. Passed over where much news waits.
    Voter { id: ServerId, news: VoterNews },
    /// A dial to the leader, or to a follower in its place, has got through. The socket blocks.
    LeaderConnected { attempt: u64, socket: OwnedFd, peer: SocketAddr },
    /// A dial to the leader has failed for as long as it may take, the leader refuses or does not
    /// run, or the dial was given up for a later order.
    LeaderUnreachable { attempt: u64, why: String },
    /// A server has dialled the quorum port, or an observer the observer master port. The socket
    /// blocks. At most [`LEARNERS_WAITING_MAX`] of
    /// them wait to be taken up; others are hung up on.
    Learner { socket: OwnedFd, peer: SocketAddr },
    /// Learners are wanted, and the port for them cannot listen.
    CannotTakeLearners { why: String },
    /// The thread has ended: this server takes part in no election any more.
    Failed { why: String },
}

/// What an election is at, for reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub state: PeerState,
    /// The logical clock.
    pub round: i64,
    /// The vote; while the server is not LOOKING, its leader and the epoch that this serves.
    pub vote: Vote,
    /// The leader, or the follower in its place, that was last dialled to learn from it.
    pub master: Option<ServerId>,
    /// The servers that could not be reached when they were last dialled.
    pub unreachable: BTreeSet<ServerId>,
}

/// The thread, as the quorum core sees it. Dropping it ends the thread and all its connections.
#[derive(Debug)]
pub struct Elections {
    shared: Arc<Shared>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

/// What both sides see.
struct Shared {
    orders: SegQueue<Order>,
    news: SegQueue<News>,
    standing: Arc<Mutex<Standing>>,
    /// The quorum core's ring.
    core: Arc<WakeHandle>,
    stops: AtomicBool,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("standing", &self.standing).finish_non_exhaustive()
    }
}

impl Shared {
    fn tell(&self, news: News) {
        self.news.push(news);
        self.core.wake();
    }
}

/// The reason why the thread cannot start.
#[derive(Debug)]
pub enum ElectionsError {
    Thread(io::Error),
    Ring(RingUnavailable),
}

impl fmt::Display for ElectionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Thread(err) => write!(f, "no thread for elections: {err}"),
            Self::Ring(err) => err.fmt(f),
        }
    }
}

impl std::error::Error for ElectionsError {}

impl Elections {
    /// Starts the thread on ports that are bound. It says nothing before the first
    /// [`Order::Look`]; `wake` is woken after each news.
    pub fn start(
        config: ElectionsConfig,
        listeners: PeerListeners,
        wake: Arc<WakeHandle>,
    ) -> Result<Self, ElectionsError> {
        let standing = Standing {
            state: PeerState::Looking,
            round: 0,
            vote: Vote { leader: config.me, zxid: Zxid::ZERO, epoch: 0 },
            master: None,
            unreachable: BTreeSet::new(),
        };
        let shared = Arc::new(Shared {
            orders: SegQueue::new(),
            news: SegQueue::new(),
            standing: Arc::new(Mutex::new(standing)),
            core: wake,
            stops: AtomicBool::new(false),
        });
        let (started, starts) = mpsc::sync_channel(1);
        let there = shared.clone();
        let body = move || {
            slice::shorten();
            let end = catch_unwind(AssertUnwindSafe(|| {
                thread::run(config, listeners, &there, |made| drop(started.send(made)))
            }));
            let why = match end {
                Ok(Ok(())) => return,
                Ok(Err(err)) => err.to_string(),
                Err(_) => "it has panicked: a defect of Ringkeeper; please report what it said \
                           above"
                    .to_owned(),
            };
            there.tell(News::Failed { why: format!("the thread of elections has ended: {why}") });
        };
        let thread = std::thread::Builder::new().name("elections".to_owned()).spawn(body);
        let thread = Some(thread.map_err(ElectionsError::Thread)?);
        match starts.recv() {
            Ok(Ok(waker)) => Ok(Self { shared, waker, thread }),
            Ok(Err(err)) => Err(ElectionsError::Ring(err)),
            Err(_) => Err(ElectionsError::Thread(io::Error::other("it ended as it began"))),
        }
    }

    /// Gives an order. It never waits.
    pub fn tell(&self, order: Order) {
        self.shared.orders.push(order);
        self.waker.wake();
    }

    /// The oldest news.
    pub fn poll(&self) -> Option<News> {
        self.shared.news.pop()
    }

    /// Whether [`Self::poll`] has something.
    pub fn has_news(&self) -> bool {
        !self.shared.news.is_empty()
    }

    /// Where the present standing can be looked up.
    pub fn standing(&self) -> Arc<Mutex<Standing>> {
        self.shared.standing.clone()
    }
}

impl Drop for Elections {
    fn drop(&mut self) {
        self.shared.stops.store(true, Ordering::Release);
        self.waker.wake();
        // It has told its own panic.
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// Learners' sockets that the quorum core has not taken up; one more is closed.
pub const LEARNERS_WAITING_MAX: usize = 256;
