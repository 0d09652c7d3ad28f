//! The quorum core: the only writer. It feeds the quorum machine, appends what that prepares to the
//! log, flushes one group at a time and applies what is committed to the tree.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam::channel::Sender;
use crossbeam::queue::SegQueue;
use hdrhistogram::Histogram;
use log::{debug, error, warn};

use crate::handoff::{ShardId, ToQuorum, ToShard, TouchReport};
use crate::quorum::{Budget, Effect, Quorum, Stillness};
use crate::txnlog::{Durable, NoRoom, PendingFlush, ROOM_RECORDS_LOW};
use crate::zxid::{Now, Zxid};

use super::SharedTree;
use super::core_work::CoreWork;
use super::ensemble::member::{Core, MemberShell};
use super::intake::{Intake, UNITS_PER_LOOK};
use super::lane::Lane;
use super::log::{Log, LogError, LogEvent};
use super::ring::{Event, Ring, RingError};
use super::sync::AtomicBool;

/// The queues between the core and one shard.
#[derive(Clone)]
pub struct ShardLink {
    pub to_quorum: Arc<Lane<ToQuorum>>,
    /// The sessions that the shard has heard of. Always taken, whatever requests wait for.
    pub touches: Arc<Lane<TouchReport>>,
    pub from_quorum: Arc<Lane<ToShard>>,
    /// Whether the shard holds any watch; written by the shard while it holds the tree for reading.
    pub watching: Arc<AtomicBool>,
    /// The milliseconds for which the shard wants the tree to stay as it is. Nothing else is known
    /// by it: a value that comes late does no harm.
    pub still_ms: Arc<AtomicU32>,
    /// The shard runs on the core's own executor and needs no waking.
    pub local: bool,
}

/// Run this on the quorum machine: how the words ask for reports.
pub type Inspection = Box<dyn FnOnce(&mut Quorum, &FlushReport, Now) + Send>;

/// The durations of flushes.
#[derive(Clone, Debug)]
pub struct FlushReport {
    /// Microseconds, up to a minute.
    pub micros: Histogram<u64>,
    sum_micros: u64,
}

impl Default for FlushReport {
    fn default() -> Self {
        let micros = Histogram::new_with_bounds(1, 60_000_000, 2).expect("the bounds are in order");
        Self { micros, sum_micros: 0 }
    }
}

impl FlushReport {
    /// Microseconds of all flushes together.
    pub fn sum_micros(&self) -> u64 {
        self.sum_micros
    }

    fn record(&mut self, micros: u64) {
        self.micros.saturating_record(micros);
        self.sum_micros += micros;
    }
}

/// See the module's head.
pub struct QuorumCore {
    quorum: Quorum,
    /// Absent while the disk thread of a member cuts it: nothing is appended meanwhile.
    log: Option<Box<Log>>,
    /// There where the server is one of an ensemble.
    member: Option<Box<MemberShell>>,
    tree: SharedTree,
    shards: Vec<ShardLink>,
    watching: Vec<bool>,
    /// Messages that found a shard's lane full, oldest first.
    backlog: VecDeque<(ShardId, ToShard)>,
    /// When the flush under way began.
    flushing: Option<Instant>,
    flushes: FlushReport,
    flush_warning: Duration,
    snapshots: Sender<()>,
    inspections: Arc<SegQueue<Inspection>>,
    intake: Intake,
    /// The bytes that the log has promised to take.
    room: u64,
    /// Requests wait for the next segment of the log.
    stalled: bool,
    stillness: Stillness,
    /// What could be committed waits for a long read.
    held_back: bool,
    /// The log has said something since it was asked for room.
    log_has_news: bool,
    /// The work done since the last step ended.
    work: CoreWork,
    failure: Option<io::Error>,
}

impl QuorumCore {
    /// A core over a recovered tree. `snapshots` asks the background for one.
    pub fn new(
        quorum: Quorum,
        log: Log,
        tree: SharedTree,
        shards: Vec<ShardLink>,
        snapshots: Sender<()>,
        inspections: Arc<SegQueue<Inspection>>,
        flush_warning: Duration,
    ) -> Self {
        let watching = vec![false; shards.len()];
        let intake = Intake::new(shards.len());
        Self {
            quorum,
            log: Some(Box::new(log)),
            member: None,
            tree,
            shards,
            watching,
            backlog: VecDeque::new(),
            flushing: None,
            flushes: FlushReport::default(),
            flush_warning,
            snapshots,
            inspections,
            intake,
            room: 0,
            stalled: false,
            stillness: Stillness::default(),
            held_back: false,
            log_has_news: true,
            work: CoreWork::default(),
            failure: None,
        }
    }

    /// The same for a server that is one of an ensemble. The quorum machine is a member's.
    pub fn with_member(self, member: MemberShell) -> Self {
        Self { member: Some(Box::new(member)), ..self }
    }

    /// When the core wants a step at the latest, in monotonic milliseconds.
    pub fn wakes_at(&self) -> i64 {
        match &self.member {
            Some(_) => self.quorum.wakes_at(),
            None => i64::MAX,
        }
    }

    /// Whether there is something to do at once: messages, or commits that one step did not get
    /// through.
    pub fn has_work(&self) -> bool {
        let has_commits = self.quorum.has_committable();
        has_commits
            || !self.backlog.is_empty()
            || self.touches_wait()
            || !self.inspections.is_empty()
            || self.member.as_ref().is_some_and(|member| member.has_work())
            || (!self.stalled && self.has_requests_or_work())
    }

    /// Whether there is nothing to do but what waits for a long read.
    pub fn waits_for_reader(&self) -> bool {
        self.held_back && self.backlog.is_empty() && (self.stalled || !self.has_requests_or_work())
    }

    /// Whether all that was accepted is durable and answered.
    pub fn idle(&self) -> bool {
        self.flushing.is_none() && !self.has_work()
    }

    /// Ends the log: everything is flushed, the padding cut.
    pub fn close(self) -> io::Result<()> {
        self.log.map_or(Ok(()), |log| log.close().map(drop))
    }

    /// The error that ended this core's role, once.
    pub fn take_failure(&mut self) -> Option<io::Error> {
        self.failure.take()
    }

    /// A completion of the ring, given back if it is neither the log's nor another server's.
    pub fn on_event(&mut self, event: Event) -> Option<Event> {
        match (event, &mut self.member) {
            (Event::Synced { result, .. }, _) => {
                self.on_synced(result.map_err(io::Error::from));
                None
            }
            (other, Some(member)) => member.on_event(other),
            (other, None) => Some(other),
        }
    }

    /// The flush of a file of the log has ended.
    fn on_synced(&mut self, result: io::Result<()>) {
        if let Some(log) = &mut self.log {
            log.on_synced(result);
        }
        self.poll_log();
    }

    /// The flush in flight has ended. After a failure nothing more is acknowledged, and nothing is
    /// tried again: the kernel marks the pages clean, so a second flush would lie.
    fn on_flushed(&mut self, result: Result<Durable<Zxid>, LogError>) {
        if let Some(began) = self.flushing.take() {
            let took = began.elapsed();
            self.flushes.record(took.as_micros() as u64);
            if took > self.flush_warning {
                let took_ms = took.as_millis();
                warn!(
                    "a flush of the transaction log took {took_ms} ms (fsync.warningthresholdms)"
                );
            }
        }
        match result {
            Ok(durable) => self.quorum.on_flushed(durable),
            Err(err) => self.fail(io::Error::other(err)),
        }
    }

    /// Expiry, containers and TTLs, a few times a second.
    pub fn on_tick(&mut self, now: Now) {
        self.work.ticked = true;
        self.take_touches();
        // While touches wait unread, nobody's time is over.
        if !self.stalled && !self.touches_wait() {
            self.quorum.on_tick(now);
        }
    }

    /// Begins the next flush if one has ended: the disk is at work again before anything else is.
    pub fn begin_flush(&mut self, ring: &mut Ring) -> Result<(), RingError> {
        self.poll_log();
        if self.flushing.is_none() {
            self.run_effects(ring)?;
        }
        Ok(())
    }

    /// Takes in requests, logs and flushes them, and applies what has been committed. Returns what
    /// it did, and the tick before it.
    pub fn step(&mut self, ring: &mut Ring, now: Now) -> Result<CoreWork, RingError> {
        // One report in a step: the words ask for long ones piece by piece.
        if let Some(look) = self.inspections.pop() {
            look(&mut self.quorum, &self.flushes, now);
            self.work.inspections += 1;
        }
        self.poll_log();
        self.take_touches();
        // A step with nothing to do does not look at the clock.
        let has_news = self.stalled || self.work.ticked || self.log_has_news;
        let is_busy = has_news || self.has_requests_or_work();
        let look = || is_busy.then(Instant::now);
        let since = |then: Option<Instant>| then.map_or(Duration::ZERO, |then| then.elapsed());
        let began = look();
        if is_busy || self.member.is_some() {
            self.ask_room();
            self.step_member(now);
            if !self.stalled && !self.quorum.is_applying() {
                self.prepare(now);
            }
        }
        self.work.preparing = since(began);
        let logging = look();
        self.run_effects(ring)?;
        self.work.logging = since(logging);
        self.held_back = self.is_held_back(now);
        if self.quorum.has_committable() && !self.held_back {
            let began = Instant::now();
            self.commit();
            self.work.committing = began.elapsed();
        }
        self.wake_shards();
        Ok(std::mem::take(&mut self.work))
    }

    /// Whether commits wait for a long read of a shard; not amid a multi, where nobody reads.
    fn is_held_back(&mut self, now: Now) -> bool {
        if !self.quorum.has_committable() || self.quorum.is_applying() {
            return false;
        }
        let wanted = self.shards.iter().map(|shard| shard.still_ms.load(Ordering::Relaxed));
        let held_back = self.stillness.holds_back(wanted.max().unwrap_or(0), now.mono_ms);
        if self.held_back && !held_back {
            debug!("commits have waited {} ms for a long read", self.stillness.last_ms());
        }
        held_back
    }

    /// Hears what the log has to say.
    fn poll_log(&mut self) {
        while let Some(event) = self.log.as_mut().and_then(|log| log.poll()) {
            self.log_has_news = true;
            match event {
                LogEvent::Durable(durable) => self.on_flushed(Ok(durable)),
                LogEvent::Failed(why) => self.on_flushed(Err(why)),
                LogEvent::Room => {}
                LogEvent::NoSpare(why) => warn!("{why}"),
            }
        }
    }

    /// Asks how much the log takes; not in a turn that has nothing to prepare, unless it waits for
    /// room or the log has said something.
    fn ask_room(&mut self) {
        self.log_has_news = false;
        let Some(log) = &mut self.log else {
            (self.room, self.stalled) = (0, true);
            return;
        };
        self.room = log.room(self.quorum.pending_bytes());
        // The next segment is on its way: requests wait for it, and its coming wakes this core.
        // Only a full disk refuses.
        let low = ROOM_RECORDS_LOW * log.record_bytes_max();
        self.stalled = self.room < low && !log.is_full();
        self.quorum.on_log_room(self.room);
    }

    /// Takes reports of touches from each shard in turn.
    fn take_touches(&mut self) {
        for _ in 0..TOUCH_REPORTS_PER_STEP {
            let before = self.work.touch_reports;
            for shard in &self.shards {
                if let Some(report) = shard.touches.pop() {
                    self.quorum.on_touches(&report);
                    self.work.touch_reports += 1;
                }
            }
            if self.work.touch_reports == before {
                break;
            }
        }
    }

    fn touches_wait(&self) -> bool {
        self.shards.iter().any(|shard| !shard.touches.is_empty())
    }

    /// Prepares what there is until the time for it is over: a long multi goes on, other requests
    /// follow it, and then what time has made due.
    fn prepare(&mut self, now: Now) {
        let began = Instant::now();
        let is_over = || began.elapsed() >= PREPARE_MAX;
        while self.quorum.is_preparing() && !is_over() {
            self.do_due_work(PREPARE_UNITS, now);
        }
        if !self.quorum.is_preparing() {
            self.take_requests(is_over, now);
        }
        if self.quorum.has_work() && !self.quorum.is_preparing() {
            self.do_due_work(DUE_UNITS_PER_STEP, now);
        }
    }

    fn has_requests(&self) -> bool {
        self.shards.iter().any(|shard| !shard.to_quorum.is_empty())
    }

    /// Whether there is something to prepare.
    fn has_requests_or_work(&self) -> bool {
        self.has_requests() || self.quorum.has_work()
    }

    /// Takes requests until `is_over`, and no more than what certainly fits the log: what is left
    /// waits for its next segment.
    fn take_requests(&mut self, is_over: impl Fn() -> bool, now: Now) {
        if !self.has_requests() {
            return;
        }
        let tree = self.tree.read();
        let is_full = self.log.as_ref().is_some_and(|log| log.is_full());
        let room = if is_full { u64::MAX } else { self.room / 2 };
        let (shards, quorum) = (&self.shards, &mut self.quorum);
        let lane = |at: usize| &*shards[at].to_quorum;
        let is_preparing = Cell::new(false);
        let is_over = || is_preparing.get() || is_over();
        self.work.requests += self.intake.run(lane, room, is_over, |message| {
            let units = quorum.on_message(message, &tree, now);
            is_preparing.set(quorum.is_preparing());
            // Nothing may be taken before it is prepared.
            if is_preparing.get() { UNITS_PER_LOOK } else { units }
        });
    }

    /// Preparation, expiry and the sweep, a little at a time.
    fn do_due_work(&mut self, units: u64, now: Now) {
        let mut budget = Budget::new(units);
        self.quorum.work(&self.tree.read(), now, &mut budget);
        self.work.due_units += units - budget.left();
    }

    /// Applies what is committed, a piece at a time, until the time for which readers may be kept
    /// out is over.
    fn commit(&mut self) {
        let Self { quorum, tree, shards, watching, backlog, .. } = self;
        let began = Instant::now();
        let in_time = || began.elapsed() < HOLD_MAX;
        self.work.commit_units += commit(quorum, tree, shards, watching, backlog, in_time);
    }

    fn run_effects(&mut self, ring: &mut Ring) -> Result<(), RingError> {
        self.push_backlog();
        while let Some(effect) = self.quorum.poll() {
            match effect {
                Effect::Append { last, bytes, .. } => self.append(bytes, last),
                Effect::Flush(flush) => {
                    // Proposals and acknowledgements leave first: whoever is woken to write may
                    // take this processor.
                    self.turn_member(ring)?;
                    self.flush(flush, ring)?;
                }
                Effect::RollLog => {
                    if let Some(log) = &mut self.log {
                        log.roll();
                    }
                }
                // The background takes one snapshot at a time: a request that finds one under way
                // is dropped.
                Effect::TakeSnapshot => drop(self.snapshots.try_send(())),
                Effect::ToShard(shard, message) => {
                    push(&self.shards, &mut self.backlog, shard, message)
                }
                Effect::Lead(effect) => self.with_core(|member, core| member.lead(effect, core)),
                Effect::Learn(effect) => self.with_core(|member, core| member.learn(effect, core)),
            }
        }
        self.turn_member(ring)?;
        // A flush may go on with the next file.
        self.submit(ring)
    }

    fn turn_member(&mut self, ring: &mut Ring) -> Result<(), RingError> {
        self.member.as_mut().map_or(Ok(()), |member| member.turn(ring))
    }

    fn append(&mut self, bytes: Bytes, last: Zxid) {
        let log = self.log.as_mut().expect("nothing is appended while the log is cut");
        match log.append(bytes, last) {
            Ok(buffer) => self.quorum.recycle(buffer),
            // The machine appends within the room that it was told: the log has failed.
            Err(NoRoom) => self.poll_log(),
        }
    }

    fn flush(&mut self, flush: PendingFlush, ring: &mut Ring) -> Result<(), RingError> {
        self.flushing = Some(Instant::now());
        if let Some(log) = &mut self.log {
            log.flush(flush);
        }
        self.poll_log();
        self.submit(ring)
    }

    fn submit(&mut self, ring: &mut Ring) -> Result<(), RingError> {
        self.log.as_mut().map_or(Ok(()), |log| log.submit(ring))
    }

    /// What has come from other servers. While the disk is full a learner takes nothing more in; a
    /// leader does, and refuses requests.
    fn step_member(&mut self, now: Now) {
        if self.quorum.is_applying() {
            return;
        }
        let failure = self.member.as_mut().and_then(|member| member.take_failure());
        if let Some(why) = failure {
            return self.fail(io::Error::other(why));
        }
        let is_full = self.log.as_ref().is_some_and(|log| log.is_full());
        let room = match self.stalled {
            true => 0,
            false if is_full && self.quorum.is_leading() => u64::MAX,
            false => self.room,
        };
        self.with_core(|member, core| member.step(core, room, now));
    }

    /// Lets the member work on the core, if the server is one.
    fn with_core(&mut self, work: impl FnOnce(&mut MemberShell, &mut Core<'_>)) {
        let Self { quorum, log, tree, member, .. } = self;
        if let Some(member) = member {
            work(member, &mut Core { quorum, tree, log });
        }
    }

    fn fail(&mut self, err: io::Error) {
        if self.failure.is_none() {
            error!("{err}; nothing more is acknowledged, stopping");
            self.quorum.on_flush_failed();
            self.failure = Some(err);
        }
    }

    fn push_backlog(&mut self) {
        while let Some((shard, message)) = self.backlog.pop_front() {
            if let Err(message) = self.shards[usize::from(shard.0)].from_quorum.push(message) {
                self.backlog.push_front((shard, message));
                break;
            }
        }
    }

    fn wake_shards(&self) {
        for shard in
            self.shards.iter().filter(|shard| !shard.local && !shard.from_quorum.is_empty())
        {
            shard.from_quorum.wake();
        }
    }
}

/// Applies what is committed, a piece at a time, with all readers kept out. Events and replies are
/// in every shard's lane before the tree shows the changes. Returns the units of work done.
pub(super) fn commit(
    quorum: &mut Quorum,
    tree: &SharedTree,
    shards: &[ShardLink],
    watching: &mut [bool],
    backlog: &mut VecDeque<(ShardId, ToShard)>,
    mut in_time: impl FnMut() -> bool,
) -> u64 {
    let mut tree = tree.write();
    for (watching, shard) in watching.iter_mut().zip(shards) {
        *watching = shard.watching.load(Ordering::Acquire);
    }
    let (mut done, mut late) = (0, Vec::new());
    while quorum.has_committable() && lanes_have_room(shards, backlog) && in_time() {
        let mut budget = Budget::new(COMMIT_UNITS);
        let mut hand_over = |shard, message| match misordered!(ShowThenHandOver) {
            true => late.push((shard, message)),
            false => push(shards, backlog, shard, message),
        };
        quorum.commit(&mut tree, &mut budget, watching, &mut hand_over);
        done += COMMIT_UNITS - budget.left();
    }
    drop(tree);
    late.into_iter().for_each(|(shard, message)| push(shards, backlog, shard, message));
    done
}

fn lanes_have_room(shards: &[ShardLink], backlog: &VecDeque<(ShardId, ToShard)>) -> bool {
    backlog.is_empty() && shards.iter().all(|shard| shard.from_quorum.room() > 0)
}

fn push(
    shards: &[ShardLink],
    backlog: &mut VecDeque<(ShardId, ToShard)>,
    to: ShardId,
    message: ToShard,
) {
    if !backlog.is_empty() {
        backlog.push_back((to, message));
    } else if let Err(message) = shards[usize::from(to.0)].from_quorum.push(message) {
        backlog.push_back((to, message));
    }
}

/// Units of a long multi's preparation between two looks at the clock.
const PREPARE_UNITS: u64 = 128;
/// The longest time for which requests are prepared in one step.
const PREPARE_MAX: Duration = Duration::from_millis(1);
/// The longest time for which readers are kept out in one step.
const HOLD_MAX: Duration = Duration::from_millis(1);
/// Units of work of a commit between two looks at the clock.
const COMMIT_UNITS: u64 = 256;
/// Units of expiry and sweep in one step.
const DUE_UNITS_PER_STEP: u64 = 512;
/// Reports of touches taken from one shard in one step.
const TOUCH_REPORTS_PER_STEP: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handoff::{BatchItem, ConnId, Origin};
    use crate::limits::{HANDOFF_QUEUE_MAX, TOUCH_REPORTS_MAX};
    use crate::quorum::QuorumConfig;
    use crate::runtime::clock;
    use crate::runtime::log::LogConfig;
    use crate::runtime::ring::{RingConfig, Wait};
    use crate::tree::Tree;
    use crate::txnlog::Appending;
    use crate::zxid::SessionId;

    /// A core with one shard, over a log in `dir`.
    fn core(dir: &tempfile::TempDir, now: Now) -> (QuorumCore, ShardLink) {
        core_over(dir, LogConfig::default(), now)
    }

    fn core_over(dir: &tempfile::TempDir, config: LogConfig, now: Now) -> (QuorumCore, ShardLink) {
        let log = Log::open(dir.path().to_owned(), config, Zxid::ZERO, Arc::new(|| {})).unwrap();
        let tree = Tree::new();
        let quorum = Quorum::new(QuorumConfig::default(), &tree, 0, now);
        let link = ShardLink {
            to_quorum: Arc::new(Lane::new(HANDOFF_QUEUE_MAX)),
            touches: Arc::new(Lane::new(TOUCH_REPORTS_MAX)),
            from_quorum: Arc::new(Lane::new(HANDOFF_QUEUE_MAX)),
            watching: Arc::default(),
            still_ms: Arc::default(),
            local: true,
        };
        let (snapshots, _requests) = crossbeam::channel::bounded(1);
        let (tree, second) = (SharedTree::new(tree), Duration::from_secs(1));
        let core = QuorumCore::new(
            quorum,
            log,
            tree,
            vec![link.clone()],
            snapshots,
            Arc::default(),
            second,
        );
        (core, link)
    }

    fn open(nth: i64) -> ToQuorum {
        let origin =
            Origin { shard: ShardId(0), conn: ConnId { slot: nth as u32, generation: 0 }, xid: 0 };
        ToQuorum::CreateSession { origin, session: SessionId(nth + 1), timeout_ms: 10_000 }
    }

    /// Steps until nothing is left to do.
    fn settle(core: &mut QuorumCore, now: Now) {
        let mut ring = Ring::new(RingConfig::default()).unwrap();
        core.step(&mut ring, now).unwrap();
        while core.has_work() || core.flushing.is_some() {
            ring.turn(Wait::For(Duration::from_millis(1))).unwrap();
            while let Some(event) = ring.next_event() {
                core.on_event(event);
            }
            core.step(&mut ring, now).unwrap();
        }
    }

    /// More than one step commits: the rest needs no event from outside.
    #[test]
    fn what_one_step_does_not_commit_the_next_one_does() {
        for mode in [Appending::Mapped, Appending::Direct] {
            three_thousand_sessions(mode);
        }
    }

    fn three_thousand_sessions(appending: Appending) {
        let (dir, now) = (tempfile::tempdir().unwrap(), clock::now());
        let (mut core, link) =
            core_over(&dir, LogConfig { appending, ..LogConfig::default() }, now);
        let asked = 3000;
        for nth in 0..asked {
            assert!(link.to_quorum.push(open(nth as i64)).is_ok());
        }
        settle(&mut core, now);
        let messages = std::iter::from_fn(|| link.from_quorum.pop());
        let opened = messages.map(|message| match message {
            ToShard::Commit(commit) => {
                commit.items.iter().filter(|i| matches!(i, BatchItem::SessionOpened { .. })).count()
            }
            _ => 0,
        });
        assert_eq!(opened.sum::<usize>(), asked);
        core.close().unwrap();
    }

    /// The lane of requests is full and nothing is taken from it, as when the log waits for its
    /// next segment: a session whose shard hears of it lives on, the other one ends.
    #[test]
    fn touches_are_taken_whatever_requests_wait_for() {
        let (dir, mut now) = (tempfile::tempdir().unwrap(), clock::now());
        let (mut core, link) = core(&dir, now);
        (0..2).for_each(|nth| assert!(link.to_quorum.push(open(nth)).is_ok()));
        settle(&mut core, now);
        while link.to_quorum.push(open(2)).is_ok() {}
        for _ in 0..200 {
            now.mono_ms += 100;
            core.stalled = true;
            assert!(link.touches.push(vec![(SessionId(1), now.mono_ms)]).is_ok());
            core.on_tick(now);
            assert!(link.touches.is_empty());
        }
        while link.to_quorum.pop().is_some() {}
        for _ in 0..200 {
            now.mono_ms += 100;
            core.stalled = false;
            assert!(link.touches.push(vec![(SessionId(1), now.mono_ms)]).is_ok());
            core.on_tick(now);
        }
        settle(&mut core, now);
        let tree = core.tree.read();
        let lives =
            [SessionId(1), SessionId(2)].map(|session| tree.session_timeout(session).is_some());
        assert_eq!(lives, [true, false]);
    }
}
