//! The turn of a shard: what it takes in, serves and has to say.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};

use crate::frontend::{self, Hold};
use crate::handoff::{ConnId, ShardId, ToQuorum, TouchReport};

use super::super::defect::Defect;
use super::super::property::{Checked, hold};
use super::{Input, Node, Out, Place, SimShard, TurnContext};

impl Node {
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
        // Without a hold, what has come in waits.
        if shard.front.has_work() || !shard.inbox.is_empty() || !shard.inputs.is_empty() {
            turn.out.push(Out::WakeShard(index));
        }
        self.shard_effects(index, turn);
        self.push_requests(index, turn);
        judge_work(turn)
    }

    /// Whether requests of a shard wait for room in its lane.
    pub(crate) fn has_backlog(&self, index: usize) -> bool {
        self.shards.get(index).is_some_and(|shard| !shard.backlog.is_empty())
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
pub(super) fn push_touches(
    queue: &mut VecDeque<TouchReport>,
    report: TouchReport,
) -> Result<(), TouchReport> {
    if queue.len() == TOUCH_REPORTS_MAX {
        return Err(report);
    }
    queue.push_back(report);
    Ok(())
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

const TOUCH_REPORTS_MAX: usize = 1;
/// Answers in one turn of a shard: as many of the cheapest as there are in the work of a hold, and
/// in that of emptying the queue before it.
const TURN_ANSWERS_MAX: usize = 15_000;
