//! The simulated server: the machines, the queues between them, and their shell.
//!
//! A core takes its turn as the production shell does: a shard takes the tree, empties its queue,
//! goes on with what waited, takes in bytes; the quorum core empties its queue, starts appends and
//! flushes, and commits: what a batch means to the shards is in their queues before the tree is
//! given back. When turns come is the world's choice.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};

use crate::frontend::{self, CloseReason, Frontend, FrontendConfig, Hold};
use crate::handoff::{BatchItem, ConnId, LateTouches, ShardId, ToQuorum, ToShard, TouchReport};
use crate::quorum::{self, Budget, Quorum, QuorumConfig};
use crate::session;
use crate::snapshot::Codec;
use crate::tree::Tree;
use crate::txnlog::LogEvent;
use crate::zxid::{Now, SessionId, Zxid};

use super::check::{Check, Checked, hold};
use super::defect::Defect;
use super::disk::{Disk, DiskError};
use super::lane::Lane;
use super::rng::Rng;
use super::snap::Snap;
use super::store::{RECORD_BYTES_MAX, Store};
use super::swarm::Swarm;
use super::trace::Trace;

/// The running server.
#[derive(Debug)]
pub(crate) struct Node {
    pub tree: Tree,
    quorum: Quorum,
    shards: Vec<SimShard>,
    touches: VecDeque<TouchReport>,
    on_the_way: OnTheWay,
    /// The shard whose requests are taken first.
    first_shard: usize,
    requests_per_turn: usize,
    codec: Codec,
    pub store: Store,
    pub snap: Option<Snap>,
    /// A flush has failed: the process is about to end.
    pub failed: bool,
    /// Requests wait for the next file of the log.
    stalled: bool,
    /// The disk is at work, and the world knows.
    stepping: bool,
    defect: Option<Defect>,
    /// The latest time that the wall clock has shown; the time of `Defect::WallClockExpiry` alone.
    wall_ms_max: i64,
    links: BTreeMap<(u16, u32, u32), usize>,
    snapshots_wanted: u64,
}

#[derive(Debug)]
struct SimShard {
    front: Frontend,
    late_touches: LateTouches,
    to_quorum: Lane<ToQuorum>,
    /// Messages that found that lane full.
    backlog: VecDeque<ToQuorum>,
    inbox: Lane<ToShard>,
    inputs: VecDeque<(usize, Input)>,
    free_slots: Vec<u32>,
    slots: u32,
}

/// Messages to the shards that are in no lane yet.
#[derive(Debug, Default)]
struct OnTheWay {
    /// Messages that found a lane full, oldest first.
    backlog: VecDeque<(ShardId, ToShard)>,
    /// The messages that a defect hands over too late.
    held_back: Vec<(ShardId, ToShard)>,
}

/// The input of a shard from its connections.
#[derive(Debug)]
pub(crate) enum Input {
    Accept,
    Bytes(Vec<u8>),
    Closed,
    Sent(usize),
}

/// The place of a connection on the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub shard: u16,
    pub conn: ConnId,
    pub paused: bool,
}

/// The requests of a turn to the world.
#[derive(Debug)]
pub(crate) enum Out {
    /// Bytes for a client.
    Output(usize, Vec<u8>),
    /// The server ends the connection after its output.
    Close(usize, CloseReason),
    /// A core has something to do.
    WakeShard(usize),
    WakeQuorum,
    /// A flush, or a snapshot, has begun.
    FlushBegun,
    SnapshotBegun,
}

/// The state that the turns share with the world.
pub(crate) struct TurnContext<'a> {
    pub now: Now,
    pub check: &'a mut Check,
    pub disk: &'a mut Disk,
    pub trace: &'a mut Trace,
    pub rng: &'a mut Rng,
    /// By link: where it is served.
    pub places: &'a mut Vec<Option<Place>>,
    pub out: Vec<Out>,
}

impl Node {
    /// A server over a recovered tree; `last_session` is the highest session id that was found.
    pub(crate) fn new(
        swarm: &Swarm,
        tree: Tree,
        store: Store,
        defect: Option<Defect>,
        now: Now,
        last_session: Option<SessionId>,
        seed: u64,
    ) -> Self {
        let quorum = Quorum::new(quorum_config(swarm), &tree, seed, now);
        let first = session::first_id(now.wall_ms, session::SERVER_ID, last_session);
        let shard = |id| SimShard {
            front: Frontend::new(frontend_config(swarm), ShardId(id), first, seed),
            late_touches: LateTouches::default(),
            to_quorum: Lane::new(swarm.lane_max),
            backlog: VecDeque::new(),
            inbox: Lane::new(swarm.lane_max),
            inputs: VecDeque::new(),
            free_slots: Vec::new(),
            slots: 0,
        };
        Self {
            quorum,
            tree,
            shards: (0..swarm.shards).map(shard).collect(),
            touches: VecDeque::new(),
            on_the_way: OnTheWay::default(),
            first_shard: 0,
            requests_per_turn: swarm.requests_per_turn,
            codec: swarm.codec,
            store,
            snap: None,
            failed: false,
            stalled: false,
            stepping: false,
            defect,
            wall_ms_max: i64::MIN,
            links: BTreeMap::new(),
            snapshots_wanted: 0,
        }
    }

    /// Gives an input of a connection to the shard that serves it.
    pub(crate) fn input(&mut self, link: usize, shard: u16, input: Input) {
        self.shards[usize::from(shard)].inputs.push_back((link, input));
    }

    /// One turn of a shard.
    pub(crate) fn shard_turn(
        &mut self,
        index: usize,
        ticks: bool,
        turn: &mut TurnContext<'_>,
    ) -> Checked {
        let (now, tree) = (turn.now, &self.tree);
        let shard = &mut self.shards[index];
        if self.defect == Some(Defect::ReadBeforeDrain) {
            let inputs = std::mem::take(&mut shard.inputs);
            if let Some(mut hold) = shard.front.drain(tree, now, || None) {
                for (link, input) in inputs {
                    shard.take_in(index, link, input, &mut hold, turn, &mut self.links);
                }
            }
        }
        if ticks {
            shard.front.on_tick(now);
        }
        let SimShard { front, inbox, .. } = shard;
        if let Some(mut hold) = front.drain(tree, now, || inbox.pop()) {
            let inputs = std::mem::take(&mut shard.inputs);
            for (link, input) in inputs {
                shard.take_in(index, link, input, &mut hold, turn, &mut self.links);
            }
            while shard.front.serve_next(&mut hold) {}
        }
        if shard.front.has_work() || !shard.inbox.is_empty() {
            turn.out.push(Out::WakeShard(index));
        }
        self.shard_effects(index, turn);
        self.push_requests(index, turn);
        judge_work(turn)
    }

    /// Moves the shard's backlog into its lane, as far as there is room.
    fn push_requests(&mut self, index: usize, turn: &mut TurnContext<'_>) {
        let shard = &mut self.shards[index];
        shard.to_quorum.take_backlog(&mut shard.backlog);
        if !shard.backlog.is_empty() {
            turn.out.push(Out::WakeShard(index));
        }
    }

    fn shard_effects(&mut self, index: usize, turn: &mut TurnContext<'_>) {
        while let Some(effect) = self.shards[index].front.poll() {
            match effect {
                frontend::Effect::Writable(conn) => self.fetch(index, conn, turn),
                frontend::Effect::Close { conn, why } => {
                    self.fetch(index, conn, turn);
                    if let Some(link) = self.link(index, conn) {
                        turn.trace.say(format_args!("server closes c{link}: {why}"));
                        turn.out.push(Out::Close(link, why));
                    }
                }
                frontend::Effect::PauseReading(conn) => self.pause(index, conn, true, turn),
                frontend::Effect::ResumeReading(conn) => self.pause(index, conn, false, turn),
                frontend::Effect::ToQuorum(message) => self.hand_over(index, message, turn),
                frontend::Effect::Touches(report) => self.report_touches(index, report, turn),
                frontend::Effect::Word { conn, .. } => {
                    self.shards[index].front.on_word_answer(conn, Vec::new());
                }
                frontend::Effect::MoveTo { conn, shard, bytes } => {
                    self.move_to(index, conn, shard, bytes, turn)
                }
            }
        }
    }

    fn hand_over(&mut self, index: usize, message: ToQuorum, turn: &mut TurnContext<'_>) {
        let backlog = &mut self.shards[index].backlog;
        if let ToQuorum::Request(request) = &message
            && self.defect == Some(Defect::RequestTwice)
            && turn.rng.chance(20)
        {
            backlog.push_back(ToQuorum::Request(request.clone()));
        }
        backlog.push_back(message);
        turn.out.push(Out::WakeQuorum);
    }

    fn report_touches(&mut self, index: usize, report: TouchReport, turn: &mut TurnContext<'_>) {
        if self.defect == Some(Defect::ExpiredEarly) && turn.rng.chance(700) {
            return;
        }
        let touches = &mut self.touches;
        self.shards[index].late_touches.send(report, |report| push_touches(touches, report));
        turn.out.push(Out::WakeQuorum);
    }

    /// Takes in all reports, those included that found the queue full.
    fn take_touches(&mut self, now: Now) {
        loop {
            let touches = &mut self.touches;
            for shard in &mut self.shards {
                shard.late_touches.resend(|report| push_touches(touches, report));
            }
            if self.touches.is_empty() {
                break;
            }
            for mut report in std::mem::take(&mut self.touches) {
                if self.defect == Some(Defect::WallClockExpiry) {
                    report.iter_mut().for_each(|(_, at_ms)| *at_ms = now.mono_ms);
                }
                self.quorum.on_touches(&report);
            }
        }
    }

    fn fetch(&mut self, index: usize, conn: ConnId, turn: &mut TurnContext<'_>) {
        let bytes = std::mem::take(self.shards[index].front.output(conn));
        if let Some(link) = self.link(index, conn)
            && !bytes.is_empty()
        {
            turn.out.push(Out::Output(link, bytes));
        }
    }

    fn link(&self, index: usize, conn: ConnId) -> Option<usize> {
        self.links.get(&(index as u16, conn.slot, conn.generation)).copied()
    }

    fn pause(&mut self, index: usize, conn: ConnId, paused: bool, turn: &mut TurnContext<'_>) {
        if let Some(link) = self.link(index, conn)
            && let Some(place) = &mut turn.places[link]
        {
            place.paused = paused;
            turn.out.push(Out::WakeShard(index));
        }
    }

    fn move_to(
        &mut self,
        index: usize,
        conn: ConnId,
        shard: ShardId,
        bytes: Vec<u8>,
        turn: &mut TurnContext<'_>,
    ) {
        let Some(link) = self.links.remove(&(index as u16, conn.slot, conn.generation)) else {
            return;
        };
        turn.trace.say(format_args!("c{link} moves to shard {}", shard.0));
        // What this shard has not taken in yet goes along, in order.
        let (stay, go): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.shards[index].inputs)
            .into_iter()
            .partition(|(other, _)| *other != link);
        self.shards[index].inputs = stay;
        let target = &mut self.shards[usize::from(shard.0)];
        turn.places[link] = Some(Place { shard: shard.0, conn, paused: false });
        target.inputs.push_back((link, Input::Accept));
        target.inputs.push_back((link, Input::Bytes(bytes)));
        target.inputs.extend(go);
        turn.out.push(Out::WakeShard(usize::from(shard.0)));
    }

    /// One turn of the quorum core.
    pub(crate) fn quorum_turn(&mut self, ticks: bool, turn: &mut TurnContext<'_>) -> Checked {
        let mut now = turn.now;
        if self.defect == Some(Defect::WallClockExpiry) {
            // A clock that is set back stands still meanwhile: the machine looks no further than
            // that its time does not go back.
            self.wall_ms_max = self.wall_ms_max.max(now.wall_ms);
            now.mono_ms = self.wall_ms_max;
        }
        self.push_messages(turn);
        self.take_touches(now);
        if ticks {
            self.store.on_tick(now.mono_ms);
        }
        self.set_room(turn);
        // Requests come between the tick and what it leads to, or before it.
        let ticks = ticks && !self.stalled && self.defect != Some(Defect::NeverExpired);
        let ticks_first = turn.rng.chance(500);
        if ticks && ticks_first {
            self.quorum.on_tick(now);
        }
        if !self.quorum.is_preparing() {
            turn.check.on_nothing_prepared();
        }
        let logged = turn.check.logged();
        let requests = if self.stalled { 0 } else { self.take_requests(now, turn) };
        if ticks && !ticks_first {
            self.quorum.on_tick(now);
        }
        let units = 1 + turn.rng.below(20);
        if !self.stalled {
            self.quorum.work(&self.tree, now, &mut Budget::new(units));
        }
        self.quorum_effects(turn)?;
        let (done, due) = ((turn.check.logged() - logged) as u64, requests + units);
        hold!(
            done <= due,
            Work,
            "{done} transactions of {requests} requests and {units} units of work"
        );
        if self.quorum.has_committable() && self.lanes_have_room() {
            let watching: Vec<bool> =
                self.shards.iter().map(|shard| shard.front.is_watching()).collect();
            let (units, before) = (1 + turn.rng.below(40), self.tree.last_zxid().0);
            let (defect, shards, on_the_way) =
                (self.defect, &mut self.shards, &mut self.on_the_way);
            let mut hand_over = |shard, message| {
                push_to_shard(defect, shards, on_the_way, shard, message, turn.rng, &mut turn.out)
            };
            self.quorum.commit(&mut self.tree, &mut Budget::new(units), &watching, &mut hand_over);
            let done = (self.tree.last_zxid().0 - before) as u64;
            hold!(
                done <= units,
                Work,
                "{done} transactions are committed for {units} units of work"
            );
            self.quorum_effects(turn)?;
            turn.trace.say(format_args!("tree at {}", self.tree.last_zxid()));
            let preparing = self.quorum.is_preparing();
            turn.check.on_commit(&self.tree, preparing, turn.rng.chance(30))?;
        }
        let has_requests = self.shards.iter().any(|shard| !shard.to_quorum.is_empty());
        let has_messages = !self.on_the_way.backlog.is_empty();
        let may_go_on = !self.stalled && (has_requests || self.quorum.has_work());
        if has_messages || may_go_on || self.quorum.has_committable() {
            turn.out.push(Out::WakeQuorum);
        }
        Ok(())
    }

    /// Takes some requests from each shard's lane, another shard first each time. How many.
    fn take_requests(&mut self, now: Now, turn: &mut TurnContext<'_>) -> u64 {
        let mut taken = 0;
        let count = self.shards.len();
        self.first_shard = (self.first_shard + 1) % count;
        for index in (0..count).map(|nth| (self.first_shard + nth) % count) {
            for _ in 0..self.requests_per_turn {
                if self.quorum.is_preparing() {
                    break;
                }
                let Some(message) = self.shards[index].to_quorum.pop() else { break };
                self.quorum.on_message(message, &self.tree, now);
                taken += 1;
            }
            if !self.shards[index].backlog.is_empty() {
                turn.out.push(Out::WakeShard(index));
            }
        }
        taken
    }

    /// Nothing is committed while a shard's lane has no room for what the commit means.
    fn lanes_have_room(&self) -> bool {
        self.on_the_way.backlog.is_empty() && self.shards.iter().all(|shard| !shard.inbox.is_full())
    }

    /// Moves what found a lane full, and what a defect held back, into the lanes.
    fn push_messages(&mut self, turn: &mut TurnContext<'_>) {
        let held_back = std::mem::take(&mut self.on_the_way.held_back);
        self.on_the_way.backlog.extend(held_back);
        while let Some((shard, message)) = self.on_the_way.backlog.pop_front() {
            turn.out.push(Out::WakeShard(usize::from(shard.0)));
            if let Err(message) = self.shards[usize::from(shard.0)].inbox.push(message) {
                self.on_the_way.backlog.push_front((shard, message));
                break;
            }
        }
    }

    fn quorum_effects(&mut self, turn: &mut TurnContext<'_>) -> Checked {
        while let Some(effect) = self.quorum.poll() {
            match effect {
                quorum::Effect::Append { first, last, bytes } => {
                    turn.trace.say(format_args!("append {first} to {last}, {} bytes", bytes.len()));
                    turn.check.on_append(&bytes, turn.now.mono_ms, turn.now.wall_ms)?;
                    self.append(bytes, last, turn)?;
                }
                quorum::Effect::Flush(flush) => {
                    turn.trace.say(format_args!("flush to {}", flush.upto()));
                    let begun = self.store.flush(turn.disk, flush);
                    hold!(begun.is_ok(), Shell, "a flush begins with {begun:?}");
                    self.log_events(turn);
                }
                quorum::Effect::RollLog => self.store.roll(),
                quorum::Effect::TakeSnapshot => self.begin_snapshot(turn),
                quorum::Effect::ToShard(shard, message) => {
                    let (shards, on_the_way) = (&mut self.shards, &mut self.on_the_way);
                    push_to_shard(
                        self.defect,
                        shards,
                        on_the_way,
                        shard,
                        message,
                        turn.rng,
                        &mut turn.out,
                    );
                }
            }
        }
        Ok(())
    }

    fn append(&mut self, bytes: Vec<u8>, last: Zxid, turn: &mut TurnContext<'_>) -> Checked {
        let len = bytes.len();
        let done = self.store.append(turn.disk, bytes, last);
        hold!(
            done.is_ok(),
            Shell,
            "an append of {len} bytes, which were promised to fit: {done:?}"
        );
        self.want_steps(turn);
        Ok(())
    }

    /// Opens the log, as the first thing that a server does.
    pub(crate) fn open_log(&mut self, turn: &mut TurnContext<'_>) -> Result<(), DiskError> {
        self.store.open(turn.disk, turn.rng)?;
        self.set_room(turn);
        Ok(())
    }

    /// Tells the quorum core how much the log can take, and the judge whether that is nothing.
    fn set_room(&mut self, turn: &mut TurnContext<'_>) {
        let room = self.store.room(self.quorum.pending_bytes());
        // The next file is on its way: requests wait for it. Only a full disk refuses.
        self.stalled = room < 2 * RECORD_BYTES_MAX as u64 && !self.store.is_full();
        turn.check.on_room(room >= ROOM_WANTED);
        if self.stalled {
            turn.check.slow_now();
        }
        self.quorum.on_log_room(room);
        self.want_steps(turn);
    }

    fn want_steps(&mut self, turn: &mut TurnContext<'_>) {
        if !self.stepping && self.store.has_work() {
            self.stepping = true;
            turn.out.push(Out::FlushBegun);
        }
    }

    /// Hears what the log has to say.
    fn log_events(&mut self, turn: &mut TurnContext<'_>) {
        while let Some(event) = self.store.poll() {
            turn.trace.say(format_args!("log: {event:?}"));
            match event {
                LogEvent::Durable(durable) => {
                    if !self.store.has_lied() {
                        turn.check.on_durable(durable.get());
                    }
                    self.quorum.on_flushed(durable);
                }
                LogEvent::Failed => {
                    self.quorum.on_flush_failed();
                    self.failed = true;
                }
                LogEvent::Room | LogEvent::NoSpare => {}
            }
            turn.out.push(Out::WakeQuorum);
        }
        self.want_steps(turn);
    }

    fn begin_snapshot(&mut self, turn: &mut TurnContext<'_>) {
        if self.snap.is_none() {
            self.snapshots_wanted += 1;
            turn.trace.say(format_args!("snapshot of {}", self.tree.last_zxid()));
            self.snap = Some(Snap::begin(&mut self.tree, self.codec, self.defect));
            turn.out.push(Out::SnapshotBegun);
        }
    }

    /// The next step of what the log's files are at. True when there are more.
    pub(crate) fn flush_step(
        &mut self,
        fails: bool,
        turn: &mut TurnContext<'_>,
    ) -> Result<bool, DiskError> {
        self.store.step(turn.disk, fails, turn.rng)?;
        self.stepping = self.store.has_work();
        let more = self.stepping;
        self.log_events(turn);
        Ok(more)
    }

    /// The next step of the snapshot under way. True when there are more.
    pub(crate) fn snap_step(&mut self, turn: &mut TurnContext<'_>) -> Result<bool, DiskError> {
        let Some(mut snap) = self.snap.take() else { return Ok(false) };
        let log = self.store.current_name().map(str::to_owned);
        match snap.step(&mut self.tree, turn.disk, log.as_deref()) {
            Ok(true) => self.snap = Some(snap),
            Ok(false) => turn.trace.say(format_args!("snapshot done")),
            Err(DiskError::Stopped) => return Err(DiskError::Stopped),
            Err(error) => {
                turn.trace.say(format_args!("snapshot given up: {error:?}"));
                snap.give_up(&mut self.tree, turn.disk)?;
            }
        }
        Ok(self.snap.is_some())
    }
}

impl SimShard {
    fn take_in(
        &mut self,
        index: usize,
        link: usize,
        input: Input,
        hold: &mut Hold<'_>,
        turn: &mut TurnContext<'_>,
        links: &mut BTreeMap<(u16, u32, u32), usize>,
    ) {
        let key = |conn: ConnId| (index as u16, conn.slot, conn.generation);
        if matches!(input, Input::Accept) {
            let conn = self.new_conn(link);
            links.insert(key(conn), link);
            turn.places[link] = Some(Place { shard: index as u16, conn, paused: false });
            let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1000 + (link % 60_000) as u16));
            return self.front.on_accept(conn, peer, turn.now);
        }
        let Some(place) = turn.places[link].filter(|place| usize::from(place.shard) == index)
        else {
            return;
        };
        match input {
            Input::Accept => {}
            Input::Bytes(bytes) if place.paused => {
                self.inputs.push_back((link, Input::Bytes(bytes)))
            }
            Input::Bytes(bytes) => self.front.on_bytes(place.conn, &bytes, hold),
            Input::Sent(bytes) => self.front.on_sent(place.conn, bytes),
            Input::Closed => {
                self.front.on_closed(place.conn);
                links.remove(&key(place.conn));
                turn.places[link] = None;
                self.free_slots.push(place.conn.slot);
            }
        }
    }

    /// A slot that is free, under a generation that was never used: the link's own number.
    fn new_conn(&mut self, link: usize) -> ConnId {
        let slot = self.free_slots.pop().unwrap_or_else(|| {
            self.slots += 1;
            self.slots - 1
        });
        ConnId { slot, generation: link as u32 }
    }
}

/// The queue of touches holds so few reports that some find it full.
fn push_touches(queue: &mut VecDeque<TouchReport>, report: TouchReport) -> Result<(), TouchReport> {
    if queue.len() == TOUCH_REPORTS_MAX {
        return Err(report);
    }
    queue.push_back(report);
    Ok(())
}

/// Puts a message into a shard's inbox, as the defect has it.
fn push_to_shard(
    defect: Option<Defect>,
    shards: &mut [SimShard],
    on_the_way: &mut OnTheWay,
    shard: ShardId,
    mut message: ToShard,
    rng: &mut Rng,
    out: &mut Vec<Out>,
) {
    bend(defect, &mut message, rng);
    if defect == Some(Defect::CommitAfterTree) && matches!(message, ToShard::Commit(_)) {
        on_the_way.held_back.push((shard, message));
        out.push(Out::WakeQuorum);
        return;
    }
    let refused = match on_the_way.backlog.is_empty() {
        true => shards[usize::from(shard.0)].inbox.push(message).err(),
        false => Some(message),
    };
    on_the_way.backlog.extend(refused.map(|message| (shard, message)));
    out.push(Out::WakeShard(usize::from(shard.0)));
}

/// However much is asked for, one turn of a shard answers no more than fits a hold.
fn judge_work(turn: &TurnContext<'_>) -> Checked {
    let count = |out: &Out| if let Out::Output(_, bytes) = out { frames(bytes) } else { 0 };
    let answers: usize = turn.out.iter().map(count).sum();
    hold!(answers <= TURN_ANSWERS_MAX, Work, "{answers} answers in one turn");
    Ok(())
}

/// The number of frames that begin in these bytes.
fn frames(bytes: &[u8]) -> usize {
    let (mut count, mut rest) = (0, bytes);
    while let Some(len) = rest.first_chunk().map(|len| u32::from_be_bytes(*len) as usize) {
        count += 1;
        rest = rest.get(4 + len..).unwrap_or_default();
    }
    count
}

/// A message to a shard, as the defects change it.
fn bend(defect: Option<Defect>, message: &mut ToShard, rng: &mut Rng) {
    let commit = match message {
        ToShard::Renewed { valid, .. } => {
            *valid |= defect == Some(Defect::RenewUnknownSession);
            return;
        }
        ToShard::NotOpened { .. } => return,
        ToShard::Commit(commit) => commit,
    };
    let items = &mut commit.items;
    match defect {
        Some(Defect::LostEvent) => {
            items.retain(|item| !matches!(item, BatchItem::Event(_)) || !rng.chance(50))
        }
        Some(Defect::SessionOutlivesClose) => {
            items.retain(|item| !matches!(item, BatchItem::SessionClosed { .. }))
        }
        Some(Defect::EventTwice) => {
            if let Some(at) = items.iter().position(|item| matches!(item, BatchItem::Event(_))) {
                items.insert(at, items[at].clone());
            }
        }
        Some(Defect::EventAfterReply) => {
            swap(items, |a, b| matches!((a, b), (BatchItem::Event(_), BatchItem::Reply(_))))
        }
        Some(Defect::ReplyReorder) => swap(items, |a, b| match (a, b) {
            (BatchItem::Reply(a), BatchItem::Reply(b)) => a.conn == b.conn,
            _ => false,
        }),
        _ => {}
    }
}

fn swap(items: &mut [BatchItem], wrong: impl Fn(&BatchItem, &BatchItem) -> bool) {
    if let Some(at) = items.windows(2).position(|pair| wrong(&pair[0], &pair[1])) {
        items.swap(at, at + 1);
    }
}

fn quorum_config(swarm: &Swarm) -> QuorumConfig {
    QuorumConfig {
        tick_ms: swarm.tick_ms,
        snap_count: swarm.snap_count,
        record_bytes_max: RECORD_BYTES_MAX,
        extended_types: true,
        container_check_interval_ms: 300,
        container_max_per_minute: 1_000_000,
        enforce_quota: swarm.enforce_quota,
        shards: swarm.shards,
        // The multis of these worlds are short: all of them are sliced.
        multi_units_at_once: 1,
        ..QuorumConfig::default()
    }
}

fn frontend_config(swarm: &Swarm) -> FrontendConfig {
    let large = swarm.large_requests;
    FrontendConfig {
        large_request_bytes: large.map(|(longer_than, _)| longer_than),
        large_request_bytes_max: large.map_or(usize::MAX, |(_, max)| max),
        watches_per_connection_max: swarm.watches_max,
        shards: swarm.shards,
        tick_ms: swarm.tick_ms,
        session_timeout_ms_min: (2 * swarm.tick_ms) as i32,
        session_timeout_ms_max: (20 * swarm.tick_ms) as i32,
        outstanding_max: swarm.outstanding_max,
        out_bytes_max: swarm.out_bytes_max,
        sessionless_ms_max: 10 * swarm.tick_ms,
        frame_bytes_max: swarm.frame_bytes_max,
        ..FrontendConfig::default()
    }
}

const TOUCH_REPORTS_MAX: usize = 1;
/// Answers in one turn of a shard: as many of the cheapest as there are in the work of a hold, and
/// in that of emptying the queue before it.
const TURN_ANSWERS_MAX: usize = 15_000;
/// Below this room the quorum core refuses writes.
const ROOM_WANTED: u64 = RECORD_BYTES_MAX as u64 + 1024;
