//! Gathers what the server tells about itself, for the four-letter words and the report in the log:
//! it asks every core for its part and blocks none.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam::channel::{Sender, unbounded};
use crossbeam::queue::SegQueue;

use crate::codes::VERSION_2;
use crate::frontend::{ConnectionReport, Frontend, Latency, ShardReport, WatchReport};
use crate::limits::HANDOFF_QUEUE_MAX;
use crate::quorum::{Quorum, QuorumStats, RoleName};
use crate::runtime::admission::Admission;
use crate::runtime::ensemble::elections::Standing;
use crate::runtime::lane::WakeHandle;
use crate::runtime::quorum_core::{FlushReport, Inspection, ShardLink};
use crate::runtime::shard::{Control, ControlLane};
use crate::runtime::turn_times::{self, LongTurnFigures, LongTurns};
use crate::runtime::{SharedTree, clock};
use crate::zxid::{Now, SessionId};

use super::background::SnapshotRecord;
use super::config::Config;
use super::words::report::{
    ConnExpiry, MonitorReport, ServerReport, SessionExpiry, SessionReport, SizeReport, Summary,
    TurnFigures,
};
use super::words::{Needs, Reports};
use super::{process, role};

/// Everything that it asks.
pub(crate) struct StatsCollector {
    pub config: Arc<Config>,
    pub port: u16,
    pub tree: SharedTree,
    pub shards: Vec<Arc<ControlLane>>,
    /// The lanes between the shards and the quorum core.
    pub links: Vec<ShardLink>,
    pub inspections: Arc<SegQueue<Inspection>>,
    /// Wakes the quorum core after an inspection was queued.
    pub core_waker: Arc<WakeHandle>,
    pub admission: Arc<Admission>,
    pub snapshots: Arc<SnapshotRecord>,
    pub long_turns: Arc<LongTurns>,
    pub recovery: RecoveryFigures,
    pub started: Instant,
    /// What the elections of a member of an ensemble are at.
    pub standing: Option<Arc<Mutex<Standing>>>,
}

/// The figures of the recovery at the start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecoveryFigures {
    /// Log records that were applied.
    pub records: u64,
    /// Its duration.
    pub took: Duration,
}

/// Some sessions that follow one, of a list by expiry: see [`Quorum::sessions_by_expiry`].
type SessionPiece = fn(&Quorum, Option<(i64, SessionId)>, usize) -> Vec<(i64, SessionId)>;

impl StatsCollector {
    /// Sets the server's counts back (`srst`).
    pub(crate) fn reset_server(&self) {
        self.ask_shards(|frontend, _| frontend.reset_stats());
        self.ask_core(|quorum, _, _| quorum.reset_counts());
    }

    /// Sets every connection's counts back (`crst`).
    pub(crate) fn reset_connections(&self) {
        self.ask_shards(|frontend, _| frontend.reset_connection_stats());
    }

    /// The lengths of the queues between the cores, a line for each shard and one for the quorum
    /// core.
    pub(crate) fn queues(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (nth, link) in self.links.iter().enumerate() {
            let (up, down) = (
                HANDOFF_QUEUE_MAX - link.to_quorum.room(),
                HANDOFF_QUEUE_MAX - link.from_quorum.room(),
            );
            lines.push(format!(
                "  shard {nth}: {up} messages for the quorum core, {down} from it, of \
                 {HANDOFF_QUEUE_MAX}"
            ));
        }
        let shards = self.ask_shards(|frontend, _| frontend.report());
        lines.push(format!("  {} of {} shards answer", shards.len(), self.shards.len()));
        lines.push(match self.ask_core(|quorum, _, _| quorum.report()) {
            None => format!("  the quorum core does not answer within {} s", ANSWER_TIME.as_secs()),
            Some(core) => format!(
                "  quorum core: {} requests in process on {} nodes, {} wait for room in the log, \
                 proposed {}, durable {}, committed {}",
                core.outstanding,
                core.outstanding_nodes,
                core.waiting_for_room,
                core.proposed,
                core.durable,
                core.committed
            ),
        });
        lines
    }

    /// The long turns of the executors, and what the worst of them did.
    pub(crate) fn long_turns(&self) -> Vec<String> {
        let turns = self.long_turns.figures();
        let mut lines = vec![format!(
            "  {} turns of an executor above {} ms, of which {} worked that long; the others waited \
             for a processor or a lock",
            turns.count,
            turn_times::LONG.as_millis(),
            turns.worked
        )];
        if turns.count > 0 {
            lines.push(format!("  the longest: {}", turns.longest_did));
        }
        if turns.worked > 0 {
            let work_us = turns.most_work.as_micros();
            lines.push(format!("  the most work, {work_us} us at most: {}", turns.most_work_did));
        }
        lines
    }

    /// The parts of a word's answer that needs this.
    pub(crate) fn gather(&self, needs: Needs) -> Reports {
        let is_member = self.config.ensemble.is_some();
        let is_asked = needs.serving && (is_member || needs.monitor);
        let quorum = if is_asked { self.quorum() } else { QuorumStats::default() };
        let serving = needs.serving && (quorum.serving || !is_member);
        let mut reports = Reports { serving, ..Reports::default() };
        if needs.server {
            let (server, monitor) = self.server(&quorum, needs.monitor);
            reports.server = server;
            reports.monitor = monitor;
        }
        if needs.conf {
            reports.conf = process::conf_report(&self.config, self.port);
        }
        if needs.sizes {
            reports.sizes = SizeReport {
                data_dir: process::directory_bytes(&self.config.data_dir.join(VERSION_2)),
                log_dir: process::directory_bytes(&self.config.data_log_dir.join(VERSION_2)),
            };
        }
        if needs.connections {
            reports.connections = self.connections();
        }
        if needs.sessions {
            let is_learner = matches!(quorum.role, RoleName::Following | RoleName::Observing);
            reports.sessions =
                if is_learner { self.sessions_of_learner() } else { self.sessions() };
            if self.config.quorum.local_sessions {
                let of_server = Quorum::local_sessions_by_expiry;
                reports.sessions.local = Some(self.sessions_by_expiry(of_server));
            }
            reports.ephemerals = self.ephemerals();
            reports.connection_expiry = self.connection_expiry();
        }
        if needs.watches {
            reports.watches = self.watches();
        }
        if needs.digests {
            let tree = self.tree.read_whole();
            reports.digests =
                tree.digest_history().map(|(zxid, digest)| (zxid.0, digest)).collect();
        }
        if needs.process {
            reports.process = process::process_report();
        }
        reports
    }

    /// What a member of an ensemble is at, in lines.
    pub(crate) fn ensemble(&self) -> Vec<String> {
        let Some(standing) = self.standing() else { return Vec::new() };
        role::lines(&self.quorum(), &standing, clock::now().mono_ms)
    }

    fn standing(&self) -> Option<Standing> {
        let standing = self.standing.as_ref()?;
        Some(standing.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// The quorum core's figures; one that does not answer serves nobody.
    fn quorum(&self) -> QuorumStats {
        self.ask_core(|quorum, _, _| quorum.report()).unwrap_or_default()
    }

    fn server(&self, quorum: &QuorumStats, with_monitor: bool) -> (ServerReport, MonitorReport) {
        let mut all = ShardReport::default();
        self.ask_shards(|frontend, _| frontend.report()).iter().for_each(|shard| all.merge(shard));
        let tree = self.tree.read_whole();
        let server = ServerReport {
            latency_ms: latency(&all.counts.latency()),
            packets_received: all.counts.received,
            packets_sent: all.counts.sent,
            connections: all.connections as u64,
            outstanding: all.outstanding as u64,
            last_zxid: tree.last_zxid().0,
            node_count: tree.node_count() as u64,
            mode: role::mode(quorum),
            proposal_sizes: role::proposal_sizes(quorum),
        };
        drop(tree);
        let monitor =
            if with_monitor { self.monitor(&all, quorum) } else { MonitorReport::default() };
        (server, monitor)
    }

    fn monitor(&self, shards: &ShardReport, quorum: &QuorumStats) -> MonitorReport {
        let flushes = self.ask_core(|_, flushes, _| flushes.clone()).unwrap_or_default();
        let now_ms = clock::now().mono_ms;
        let tree = self.tree.read_whole();
        MonitorReport {
            ephemerals: tree.ephemeral_count() as u64,
            watches: (shards.watches.data + shards.watches.child) as u64,
            approximate_data_size: tree.data_size(),
            global_sessions: tree.session_count() as u64,
            local_sessions: quorum.local_sessions as u64,
            open_files: process::open_files(),
            max_files: process::max_files(),
            uptime_ms: self.started.elapsed().as_millis() as u64,
            connections_refused: self.admission.refused(),
            shards: shards.counts,
            digest_mismatches: quorum.digest_mismatches,
            flushes: flush_times(&flushes),
            long_turns: turn_figures(&self.long_turns.figures()),
            snapshots: self.snapshots.figures(),
            recovery_ms: self.recovery.took.as_millis() as u64,
            recovered_records: self.recovery.records,
            ensemble: self
                .config
                .ensemble
                .as_ref()
                .map(|all| role::report(quorum, all, self.standing().as_ref(), now_ms)),
        }
    }

    fn connections(&self) -> Vec<ConnectionReport> {
        self.in_pieces(|frontend, from| frontend.connections(from, CONNECTIONS_PER_ANSWER))
    }

    fn sessions(&self) -> SessionReport {
        let buckets = self.sessions_by_expiry(Quorum::sessions_by_expiry);
        SessionReport { buckets, ..SessionReport::default() }
    }

    /// All sessions of a list that the quorum machine gives piece by piece, by their expiry.
    fn sessions_by_expiry(&self, piece: SessionPiece) -> Vec<SessionExpiry> {
        let now = clock::now();
        let mut all: Vec<(i64, SessionId)> = Vec::new();
        loop {
            let last = all.last().copied();
            let piece = self.ask_core(move |quorum, _, _| piece(quorum, last, SESSIONS_PER_ANSWER));
            let piece = piece.unwrap_or_default();
            if piece.is_empty() {
                break;
            }
            all.extend(piece);
        }
        let buckets =
            all.chunk_by(|(at_ms, _), (next_ms, _)| at_ms == next_ms).map(|bucket| SessionExpiry {
                at_ms: now.wall_ms + bucket[0].0 - now.mono_ms,
                sessions: bucket.iter().map(|(_, session)| session.0).collect(),
            });
        buckets.collect()
    }

    /// The tree is held for some hundred sessions at a time.
    fn sessions_of_learner(&self) -> SessionReport {
        let mut all: Vec<(SessionId, i32)> = Vec::new();
        loop {
            let last = all.last().map(|(session, _)| *session);
            let piece: Vec<_> =
                self.tree.read_whole().sessions_after(last, NODES_PER_HOLD).collect();
            if piece.is_empty() {
                break;
            }
            all.extend(piece);
        }
        let all = all.into_iter().map(|(session, timeout_ms)| (session.0, timeout_ms));
        SessionReport { of_learner: Some(all.collect()), ..SessionReport::default() }
    }

    /// The tree is held for some hundred paths at a time: the writer waits for no more than that.
    fn ephemerals(&self) -> Vec<(i64, Vec<String>)> {
        let mut all: Vec<(SessionId, u32, String)> = Vec::new();
        loop {
            let last = all.last().map(|(session, node, _)| (*session, *node));
            let began = Instant::now();
            let piece: Vec<_> =
                self.tree.read_whole().ephemerals_after(last, NODES_PER_HOLD).collect();
            if piece.is_empty() {
                break;
            }
            all.extend(piece);
            // The writer waits for one piece at most: without a rest this thread would have the
            // tree again before the writer has woken.
            thread::sleep(began.elapsed());
        }
        let by_session =
            all.chunk_by(|(session, ..), (next, ..)| session == next).map(|ephemerals| {
                let mut paths: Vec<_> = ephemerals.iter().map(|(.., path)| path.clone()).collect();
                paths.sort_unstable();
                (ephemerals[0].0.0, paths)
            });
        by_session.collect()
    }

    fn connection_expiry(&self) -> Vec<ConnExpiry> {
        let now = clock::now();
        let each = self.connections().into_iter().map(|connection| ConnExpiry {
            at_ms: now.wall_ms + i64::from(connection.timeout_ms),
            connections: vec![(connection.peer, connection.session.0)],
        });
        each.collect()
    }

    fn watches(&self) -> WatchReport {
        self.in_pieces(|frontend, from| frontend.watch_report(from, WATCHES_PER_ANSWER))
    }

    /// Asks one shard after the other for a list, piece by piece: it does nothing else during one.
    fn in_pieces<T: Send + 'static, C: Default + Send + 'static>(
        &self,
        look: fn(&mut Frontend, C) -> Piece<T, C>,
    ) -> Vec<T> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let mut from = Some(C::default());
            while let Some(at) = from.take() {
                let (sender, answer) = unbounded();
                let ask = move |frontend: &mut Frontend, _| drop(sender.send(look(frontend, at)));
                shard.send(Control::Inspect(Box::new(ask)));
                if let Ok((piece, next)) = answer.recv_timeout(ANSWER_TIME) {
                    all.extend(piece);
                    from = next;
                }
            }
        }
        all
    }

    /// Runs `look` on every shard; shards that do not answer in time are left out.
    fn ask_shards<T: Send + 'static>(&self, look: fn(&mut Frontend, Now) -> T) -> Vec<T> {
        let (sender, answers) = unbounded();
        for shard in &self.shards {
            let sender: Sender<T> = sender.clone();
            // The stats may have stopped waiting.
            shard.send(Control::Inspect(Box::new(move |frontend, now| {
                drop(sender.send(look(frontend, now)))
            })));
        }
        drop(sender);
        let deadline = Instant::now() + ANSWER_TIME;
        std::iter::from_fn(|| answers.recv_deadline(deadline).ok()).collect()
    }

    fn ask_core<T: Send + 'static>(
        &self,
        look: impl FnOnce(&mut Quorum, &FlushReport, Now) -> T + Send + 'static,
    ) -> Option<T> {
        let (sender, answers) = unbounded();
        let ask = move |quorum: &mut Quorum, flushes: &FlushReport, now| {
            drop(sender.send(look(quorum, flushes, now)))
        };
        self.inspections.push(Box::new(ask));
        self.core_waker.wake();
        answers.recv_timeout(ANSWER_TIME).ok()
    }
}

/// Milliseconds, as Apache has them.
fn flush_times(flushes: &FlushReport) -> Summary {
    let quantile = |quantile| flushes.micros.value_at_quantile(quantile) / 1000;
    Summary {
        count: flushes.micros.len(),
        sum: flushes.sum_micros() / 1000,
        min: flushes.micros.min() / 1000,
        max: flushes.micros.max() / 1000,
        p50: quantile(0.5),
        p95: quantile(0.95),
        p99: quantile(0.99),
        p999: quantile(0.999),
    }
}

fn turn_figures(turns: &LongTurnFigures) -> TurnFigures {
    TurnFigures {
        long: turns.count,
        worked: turns.worked,
        longest_us: turns.longest.as_micros() as u64,
        most_work_us: turns.most_work.as_micros() as u64,
    }
}

fn latency(of: &Latency) -> Summary {
    let Latency { min, max, sum, count, .. } = *of;
    Summary { count, sum, min: u64::from(min), max: u64::from(max), ..Summary::NONE }
}

/// A piece of a list, and where to go on.
type Piece<T, C> = (Vec<T>, Option<C>);

/// Connections in one answer of a shard, which does nothing else meanwhile.
const CONNECTIONS_PER_ANSWER: u32 = 1000;
/// Watched paths, and watches of them, in one answer of a shard.
const WATCHES_PER_ANSWER: usize = 2000;
/// Sessions in one answer of the quorum core, which does nothing else meanwhile.
const SESSIONS_PER_ANSWER: usize = 2000;
/// Nodes or sessions that are read under one hold of the tree.
const NODES_PER_HOLD: usize = 256;
/// The time that a core may take to answer.
const ANSWER_TIME: Duration = Duration::from_secs(5);
