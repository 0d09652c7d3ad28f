//! Threads that resolve names and connect: both may block for long, so each task has a thread that
//! ends with it. At most one runs for each server and kind of task.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam::queue::SegQueue;

use crate::packet::ServerAddress;
use crate::runtime::ring::Waker;
use crate::zab::ServerId;

use super::callers::Found;
use super::{ElectionsConfig, Names};

/// What a thread is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Task {
    /// A connection to the election port.
    Votes,
    /// One to the quorum port, or to the observer master port, tried again and again.
    Leader,
    /// The addresses alone.
    Names,
}

/// The port at which a server takes learners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MasterPort {
    /// That of its line, where it leads.
    Quorum,
    /// `observerMasterPort`, where it follows.
    Observers(u16),
}

/// What a thread has to tell.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The names in a server's line have been resolved, all of them or some.
    Found { id: ServerId, found: Found, is_whole: bool },
    /// The task of this number has ended, and its thread with it.
    Ended { task: Task, id: ServerId, number: u64, result: Result<Dialled, Failure> },
}

/// A connection that was dialled, or the end of a task that was to connect to nobody.
#[derive(Debug)]
pub(super) enum Dialled {
    Connected { socket: OwnedFd, peer: SocketAddr },
    Resolved,
}

/// Why a task has failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) why: String,
    pub(super) kind: FailureKind,
}

/// What a failure says of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailureKind {
    /// Its machine runs, and nobody listens: each address has refused.
    Refused,
    /// Nobody has answered, neither yes nor no: packets may have been lost.
    Unanswered,
    /// Nothing: a name, the network or this machine is at fault.
    Other,
}

/// The threads, as the thread of elections sees them.
pub(super) struct Dialler {
    lines: BTreeMap<ServerId, Vec<ServerAddress>>,
    names: Names,
    times: Times,
    /// Whether the task of each is no longer wanted.
    running: BTreeMap<(Task, ServerId), Arc<AtomicBool>>,
    /// A dial that waits for the end of an earlier one to the same leader.
    next: Option<LeaderDial>,
    outcomes: Arc<SegQueue<Outcome>>,
    waker: Waker,
}

/// A dial to a leader.
#[derive(Clone, Copy, Debug)]
pub(super) struct LeaderDial {
    pub(super) id: ServerId,
    pub(super) port: MasterPort,
    pub(super) number: u64,
    /// It is tried once, and not again and again.
    pub(super) is_once: bool,
}

impl LeaderDial {
    /// Of a task that dials no leader.
    fn none(id: ServerId) -> Self {
        Self { id, port: MasterPort::Quorum, number: 0, is_once: false }
    }
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
struct Times {
    votes: Duration,
    leader: Duration,
    pause_max: Duration,
    /// One of several addresses of a server.
    probe: Option<Duration>,
}

impl Dialler {
    /// No task runs. `waker` wakes the loop that polls.
    pub(super) fn new(config: &ElectionsConfig, waker: Waker) -> Self {
        let times = Times {
            votes: Duration::from_millis(config.connect_ms.max(1)),
            leader: Duration::from_millis(config.leader_ms),
            pause_max: Duration::from_millis(config.retry_delay_ms.max(1)),
            probe: config.probe_ms.map(|ms| Duration::from_millis(ms.max(1))),
        };
        Self {
            lines: config.addresses.clone(),
            names: config.names.clone(),
            times,
            running: BTreeMap::new(),
            next: None,
            outcomes: Arc::default(),
            waker,
        }
    }

    /// Connects to a server's election port.
    pub(super) fn dial_votes(&mut self, id: ServerId) {
        self.start(Task::Votes, LeaderDial::none(id));
    }

    /// Connects to a leader, or to a follower that takes observers. An earlier dial is given up.
    pub(super) fn dial_leader(&mut self, dial: LeaderDial) {
        self.give_up_leader();
        if self.running.contains_key(&(Task::Leader, dial.id)) {
            self.next = Some(dial);
        } else {
            self.start(Task::Leader, dial);
        }
    }

    /// A leader has gone, or leads no longer: nobody will listen on its quorum port. The dial to it
    /// ends if it does not get through now.
    pub(super) fn leader_is_gone(&mut self, id: ServerId) {
        if let Some(given_up) = self.running.get(&(Task::Leader, id)) {
            given_up.store(true, Ordering::Relaxed);
        }
    }

    /// Others look for a leader again: the one that is dialled, or is to be dialled next, may have
    /// lost its quorum, or be lost itself. The dial ends likewise.
    pub(super) fn leader_may_be_gone(&mut self) {
        if let Some(next) = &mut self.next {
            next.is_once = true;
        }
        self.end_leader_dials();
    }

    /// No dial to a leader is wanted.
    pub(super) fn give_up_leader(&mut self) {
        self.next = None;
        self.end_leader_dials();
    }

    fn end_leader_dials(&self) {
        let of_leader = self.running.iter().filter(|((task, _), _)| *task == Task::Leader);
        of_leader.for_each(|(_, given_up)| given_up.store(true, Ordering::Relaxed));
    }

    /// Resolves the names of a server's line, if that is not being done.
    pub(super) fn resolve(&mut self, id: ServerId) {
        self.start(Task::Names, LeaderDial::none(id));
    }

    /// Whether names are being resolved for their own sake.
    pub(super) fn is_resolving(&self) -> bool {
        self.running.keys().any(|(task, _)| *task == Task::Names)
    }

    /// What has been found out.
    pub(super) fn poll(&mut self) -> Option<Outcome> {
        let outcome = self.outcomes.pop()?;
        if let Outcome::Ended { task, id, .. } = &outcome {
            self.running.remove(&(*task, *id));
            let follows = |next: &mut LeaderDial| *task == Task::Leader && next.id == *id;
            if let Some(next) = self.next.take_if(follows) {
                self.start(Task::Leader, next);
            }
        }
        Some(outcome)
    }

    fn start(&mut self, task: Task, of_leader: LeaderDial) {
        let LeaderDial { id, port, number, is_once } = of_leader;
        if self.running.contains_key(&(task, id)) {
            return;
        }
        let given_up = Arc::new(AtomicBool::new(false));
        self.running.insert((task, id), given_up.clone());
        let dial = Dial {
            task,
            is_once,
            port,
            id,
            line: self.lines.get(&id).cloned().unwrap_or_default(),
            names: self.names.clone(),
            times: self.times,
            given_up,
            began: Instant::now(),
            outcomes: self.outcomes.clone(),
            waker: self.waker.clone(),
        };
        let report = Report {
            task,
            id,
            number,
            result: None,
            outcomes: self.outcomes.clone(),
            waker: self.waker.clone(),
        };
        let body = move || {
            let mut report = report;
            report.result = Some(dial.run());
        };
        // If there is no thread, dropping what it was to run reports it.
        drop(thread::Builder::new().name(format!("dial-{id}")).spawn(body));
    }
}

impl Drop for Dialler {
    fn drop(&mut self) {
        self.running.values().for_each(|given_up| given_up.store(true, Ordering::Relaxed));
    }
}

/// Tells the end of a task when it is dropped, however that comes about.
struct Report {
    task: Task,
    id: ServerId,
    number: u64,
    result: Option<Result<Dialled, Failure>>,
    outcomes: Arc<SegQueue<Outcome>>,
    waker: Waker,
}

impl Drop for Report {
    fn drop(&mut self) {
        let result = self.result.take();
        let result = result.unwrap_or_else(|| Err(Failure::other("there is no thread for it")));
        let (task, id, number) = (self.task, self.id, self.number);
        self.outcomes.push(Outcome::Ended { task, id, number, result });
        self.waker.wake();
    }
}

/// One task, on its thread.
struct Dial {
    task: Task,
    is_once: bool,
    port: MasterPort,
    id: ServerId,
    line: Vec<ServerAddress>,
    names: Names,
    times: Times,
    given_up: Arc<AtomicBool>,
    began: Instant,
    outcomes: Arc<SegQueue<Outcome>>,
    waker: Waker,
}

impl Dial {
    fn run(self) -> Result<Dialled, Failure> {
        match self.task {
            Task::Names => self.resolve().map(|_| Dialled::Resolved),
            // Whoever refuses votes dials itself when it takes them.
            Task::Votes => self.connect(self.times.votes, |kind| kind == FailureKind::Unanswered),
            // A leader that was just elected may not listen yet.
            Task::Leader => self.connect(self.times.leader, |_| !self.is_once),
        }
    }

    /// Tries all addresses, and again where that `is_worth_it`: after pauses that are short at
    /// first.
    fn connect(
        &self,
        whole: Duration,
        is_worth_it: impl Fn(FailureKind) -> bool,
    ) -> Result<Dialled, Failure> {
        let (mut pause, mut refused_since) = (PAUSE_MIN, None);
        loop {
            let failure = match self.connect_once(whole) {
                Ok(dialled) => return Ok(dialled),
                Err(failure) => failure,
            };
            pause = pause.min(self.times.pause_max);
            refused_since = (failure.kind == FailureKind::Refused)
                .then(|| refused_since.unwrap_or_else(Instant::now));
            let is_refused = refused_since.is_some_and(|since| since.elapsed() >= REFUSED_MAX);
            let is_over = is_refused || self.left(whole) <= pause;
            if is_over || !is_worth_it(failure.kind) || !self.sleep(pause) {
                return Err(failure);
            }
            pause *= 2;
        }
    }

    /// Each address in turn.
    fn connect_once(&self, whole: Duration) -> Result<Dialled, Failure> {
        let addresses = self.resolve()?;
        let (mut errors, mut kinds) = (Vec::new(), Vec::new());
        for address in &addresses {
            if !self.is_wanted() {
                return Err(Failure::other("it was given up"));
            }
            let mut time = self.left(whole).min(TRY_MAX);
            if let Some(probe) = self.times.probe.filter(|_| addresses.len() > 1) {
                time = time.min(probe);
            }
            match connect(*address, time) {
                Ok(stream) => {
                    return Ok(Dialled::Connected { socket: stream.into(), peer: *address });
                }
                Err(err) => {
                    kinds.push(err.kind());
                    errors.push(format!("{address}: {err}"));
                }
            }
        }
        let kind = match () {
            _ if kinds.iter().all(|kind| *kind == ErrorKind::ConnectionRefused) => {
                FailureKind::Refused
            }
            _ if kinds.contains(&ErrorKind::TimedOut) => FailureKind::Unanswered,
            _ => FailureKind::Other,
        };
        Err(Failure { why: errors.join("; "), kind })
    }

    fn is_wanted(&self) -> bool {
        !self.given_up.load(Ordering::Relaxed)
    }

    /// The addresses of the port in question, and to the loop those of the server.
    fn resolve(&self) -> Result<Vec<SocketAddr>, Failure> {
        let (mut addresses, mut errors) = (Vec::new(), Vec::new());
        for place in &self.line {
            let port = match (self.task, self.port) {
                (Task::Leader, MasterPort::Quorum) => place.quorum_port,
                (Task::Leader, MasterPort::Observers(port)) => port,
                (Task::Votes | Task::Names, _) => place.election_port,
            };
            match (self.names.0)(&place.host) {
                Ok(found) => {
                    addresses.extend(found.into_iter().map(|ip| SocketAddr::new(ip, port)));
                }
                Err(err) => errors.push(format!("cannot resolve {}: {err}", place.host)),
            }
        }
        if addresses.is_empty() {
            return Err(Failure::other(match errors.is_empty() {
                true => "no line names its address".to_owned(),
                false => errors.join("; "),
            }));
        }
        let found = Found::of(addresses.iter().map(SocketAddr::ip));
        let (id, is_whole) = (self.id, errors.is_empty());
        self.outcomes.push(Outcome::Found { id, found, is_whole });
        self.waker.wake();
        Ok(addresses)
    }

    fn left(&self, whole: Duration) -> Duration {
        whole.saturating_sub(self.began.elapsed())
    }

    /// Sleeps; false if the task is given up meanwhile.
    fn sleep(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        while self.is_wanted() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            thread::sleep(left.min(GLANCE));
        }
        false
    }
}

impl Failure {
    fn other(why: impl Into<String>) -> Self {
        Self { why: why.into(), kind: FailureKind::Other }
    }
}

fn connect(address: SocketAddr, time: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, time.max(Duration::from_millis(1)))?;
    // Where nobody listens on a port that the kernel gives to callers, a caller may get itself.
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(ErrorKind::ConnectionRefused.into());
    }
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The first pause between two dials to a leader; each is twice as long as the one before.
const PAUSE_MIN: Duration = Duration::from_millis(2);
/// How long a leader may refuse: it listens within moments of its election, or does not lead. As
/// long as Apache's five tries and more.
const REFUSED_MAX: Duration = Duration::from_secs(1);
/// The longest try of one address: a new one notices sooner that its host is back.
const TRY_MAX: Duration = Duration::from_secs(1);
/// The interval in which a thread that sleeps looks whether it is still wanted.
const GLANCE: Duration = Duration::from_millis(10);
