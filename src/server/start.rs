//! From settings and a recovered tree to running executors.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, unbounded};
use crossbeam::queue::SegQueue;
use log::info;

use crate::frontend::{Frontend, FrontendConfig};
use crate::handoff::{ShardId, ToQuorum, ToShard};
use crate::limits;
use crate::quorum::{Quorum, QuorumConfig};
use crate::runtime::admission::Admission;
use crate::runtime::executor::{self, ExecutorError, ExecutorSpec, Workload};
use crate::runtime::lane::{Lane, WakeHandle};
use crate::runtime::quorum_core::{QuorumCore, ShardLink};
use crate::runtime::ring::Waker;
use crate::runtime::shard::{ControlLane, Links, Shard, WordRequest};
use crate::runtime::turn_times::LongTurns;
use crate::runtime::{SharedTree, clock};
use crate::session;

use super::background::Background;
use super::config::Config;
use super::listen::{self, Listener};
use super::member;
use super::placement::Placement;
use super::preflight::{Startup, server_byte, unguessable};
use super::resources;
use super::responder::WordResponder;
use super::running::{Executors, Running};
use super::start_error::StartError;
use super::stats::StatsCollector;
use super::status::StatusReporter;

/// Starts every part of the server; the port is open when it returns. `panicked` names threads that
/// have panicked.
pub(crate) fn start(
    config: Config,
    startup: Startup,
    panicked: Receiver<String>,
) -> Result<Running, StartError> {
    let config = Arc::new(config);
    let Startup {
        tree,
        log,
        log_waker,
        data,
        listener,
        placement,
        recovery,
        last_session,
        started,
        member,
    } = startup;
    let connections = resources::connections_max(placement.executors(), config.max_cnxns);
    let connections = connections.map_err(StartError::Resources)?;
    let now = clock::now();
    let shards = placement.shards.len() as u16;
    let settings = QuorumConfig { shards, ..config.quorum.clone() };
    let begin = if member.is_some() { Quorum::member } else { Quorum::new };
    let quorum = begin(settings, &tree.read(), unguessable(), now);
    let wiring = Wiring::new(placement.shards.len(), placement.quorum.is_none(), log_waker);
    let waker = wiring.log_waker.clone();
    let member = member.map(|start| member::member(&config, start, &data, waker)).transpose()?;
    let (member, standing) = member.unzip();
    let background = Background::start(&config, data, tree.clone());
    let background = background.map_err(StartError::system("no thread for the background"))?;
    let (words, word_requests) = unbounded();
    let admission = Arc::new(Admission::new(config.max_client_cnxns, connections, shards));
    let stats = Arc::new(StatsCollector {
        config: config.clone(),
        port: listener.address.port(),
        tree: tree.clone(),
        shards: wiring.controls.clone(),
        links: wiring.lanes.clone(),
        inspections: wiring.inspections.clone(),
        core_waker: wiring.log_waker.clone(),
        admission: admission.clone(),
        snapshots: background.record(),
        long_turns: wiring.long_turns.clone(),
        recovery,
        started,
        standing,
    });
    let responder =
        WordResponder::new(stats.clone(), config.words.clone(), wiring.controls.clone());
    responder.open(word_requests).map_err(StartError::system("no thread for the words"))?;
    let core = QuorumCore::new(
        quorum,
        log,
        tree.clone(),
        wiring.shard_links(),
        background.snapshots(),
        wiring.inspections.clone(),
        Duration::from_millis(config.fsync_warning_ms),
    );
    let core = member.into_iter().fold(core, QuorumCore::with_member);
    listen::open(&listener, config.listen_backlog.map_or(BACKLOG, |backlog| backlog as i32))
        .map_err(StartError::Listen)?;
    log_serving(&placement, &listener, config.ensemble.is_some());
    let first_session = session::first_id(now.mono_ms, server_byte(&config), last_session);
    let for_shards = ForShards { listener: &listener.socket, admission, words, first_session };
    let executors = spawn_all(&config, placement, &wiring, core, &tree, for_shards)?;
    Ok(Running::new(executors, wiring.controls, background, panicked, StatusReporter::new(stats)))
}

/// The queues between the executors.
struct Wiring {
    lanes: Vec<ShardLink>,
    controls: Vec<Arc<ControlLane>>,
    inspections: Arc<SegQueue<crate::runtime::quorum_core::Inspection>>,
    /// Wakes the quorum core for what is in no lane: events of the log, inspections.
    log_waker: Arc<WakeHandle>,
    long_turns: Arc<LongTurns>,
}

impl Wiring {
    fn new(shards: usize, shared: bool, log_waker: Arc<WakeHandle>) -> Self {
        let link = |shard| ShardLink {
            to_quorum: Arc::new(Lane::<ToQuorum>::new(limits::HANDOFF_QUEUE_MAX)),
            touches: Arc::new(Lane::new(limits::TOUCH_REPORTS_MAX)),
            from_quorum: Arc::new(Lane::<ToShard>::new(limits::HANDOFF_QUEUE_MAX)),
            watching: Arc::default(),
            still_ms: Arc::default(),
            local: shared && shard == 0,
        };
        Self {
            lanes: (0..shards).map(link).collect(),
            controls: (0..shards).map(|_| Arc::default()).collect(),
            inspections: Arc::default(),
            log_waker,
            long_turns: Arc::default(),
        }
    }

    fn shard_links(&self) -> Vec<ShardLink> {
        self.lanes.clone()
    }

    /// The quorum core's ring is known: whoever has something for it wakes that ring.
    fn core_wakers(&self) -> impl FnOnce(&Waker) + Send + use<> {
        let lanes: Vec<_> = self.lanes.iter().map(|link| link.to_quorum.clone()).collect();
        let log_waker = self.log_waker.clone();
        move |waker| {
            lanes.iter().for_each(|lane| lane.wake_with(waker.clone()));
            log_waker.wake_with(waker.clone());
        }
    }

    /// The same of a shard's ring.
    fn shard_wakers(&self, shard: usize) -> impl FnOnce(&Waker) + Send + use<> {
        let (lane, control) = (self.lanes[shard].from_quorum.clone(), self.controls[shard].clone());
        move |waker| {
            lane.wake_with(waker.clone());
            control.wake_with(waker.clone());
        }
    }
}

/// The parts that all shards share: the listener, the admission, the way to the words, where session
/// ids begin.
struct ForShards<'a> {
    listener: &'a OwnedFd,
    admission: Arc<Admission>,
    words: Sender<WordRequest>,
    first_session: i64,
}

fn spawn_all(
    config: &Config,
    placement: Placement,
    wiring: &Wiring,
    core: QuorumCore,
    tree: &SharedTree,
    for_shards: ForShards<'_>,
) -> Result<Executors, StartError> {
    let (ended_sender, ended) = unbounded();
    let (stop_shards, stop_core) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let shard_count = placement.shards.len();
    let mut threads = Vec::new();
    let mut core = Some(core);
    if let Some(spec) = placement.quorum {
        let (core, wakers, tree, stopping) =
            (core.take(), wiring.core_wakers(), tree.clone(), stop_core.clone());
        let long_turns = wiring.long_turns.clone();
        let load = move |waker: Waker| {
            wakers(&waker);
            Workload { shard: None, watching: None, core, tree, long_turns, stopping }
        };
        threads.push(
            executor::spawn(spec, load, report_to(&ended_sender))
                .map_err(|error| StartError::Executor(Some(error)))?,
        );
    }
    for (nth, spec) in placement.shards.into_iter().enumerate() {
        let links = Links {
            to_quorum: wiring.lanes[nth].to_quorum.clone(),
            touches: wiring.lanes[nth].touches.clone(),
            quorum_is_local: wiring.lanes[nth].local,
            from_quorum: wiring.lanes[nth].from_quorum.clone(),
            still_ms: wiring.lanes[nth].still_ms.clone(),
            controls: wiring.controls.clone(),
            words: for_shards.words.clone(),
            admission: for_shards.admission.clone(),
        };
        let id = ShardId(nth as u16);
        let settings = FrontendConfig { shards: shard_count as u16, ..config.frontend.clone() };
        let frontend = Frontend::new(settings, id, for_shards.first_session, unguessable());
        let listener = for_shards
            .listener
            .try_clone()
            .map_err(StartError::system("no descriptor for a listener"))?;
        let shard = Shard::new(id, frontend, listener, links);
        let core = core.take();
        let (core_wakers, shard_wakers) =
            (core.as_ref().map(|_| wiring.core_wakers()), wiring.shard_wakers(nth));
        let (watching, tree, stopping) =
            (wiring.lanes[nth].watching.clone(), tree.clone(), stop_shards.clone());
        let long_turns = wiring.long_turns.clone();
        let load = move |waker: Waker| {
            shard_wakers(&waker);
            if let Some(core_wakers) = core_wakers {
                core_wakers(&waker);
            }
            let watching = Some(watching);
            Workload { shard: Some(shard), watching, core, tree, long_turns, stopping }
        };
        threads.push(
            executor::spawn(spec, load, report_to(&ended_sender))
                .map_err(|error| StartError::Executor(Some(error)))?,
        );
    }
    Ok(Executors { threads, ended, stop_shards, stop_core, shard_executors: shard_count })
}

fn report_to(
    ended: &Sender<Result<(), ExecutorError>>,
) -> impl FnOnce(Result<(), ExecutorError>) + Send + use<> {
    let ended = ended.clone();
    // Nobody listens at the very end.
    move |result| drop(ended.send(result))
}

fn log_serving(placement: &Placement, listener: &Listener, is_member: bool) {
    let cpu =
        |spec: &ExecutorSpec| spec.cpu.map_or("any core".to_owned(), |cpu| format!("core {cpu}"));
    let shards: Vec<_> = placement.shards.iter().map(cpu).collect();
    let quorum = placement.quorum.as_ref().map_or("on the executor of shard 0".to_owned(), cpu);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    info!("{cores} cores, {} shards ({}), quorum core {quorum}", shards.len(), shards.join(", "));
    let address = listener.address;
    let families =
        if address.is_ipv6() && address.ip().is_unspecified() { " (IPv6 and IPv4)" } else { "" };
    let others = if is_member { "but for the ports between servers" } else { "else" };
    info!("clients: {address}{families}; nothing {others} is listened on");
}

/// Connections that may wait to be accepted; the kernel caps it at net.core.somaxconn.
const BACKLOG: i32 = 4096;
