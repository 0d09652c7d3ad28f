//! The turn of the quorum core: touches, the tick, requests, appends and flushes, the commit.

use crate::handoff::ToShard;
use crate::quorum::{self, Budget};
use crate::zxid::{Now, Zxid};

use super::super::defect::Defect;
use super::super::judge::Serving;
use super::super::property::{Checked, hold};
use super::messages::push_to_shard;
use super::shard_turn::push_touches;
use super::{Node, Out, TurnContext};

impl Node {
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
        self.step_member(turn)?;
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
            done <= due || self.member.is_some(),
            Work,
            "{done} transactions of {requests} requests and {units} units of work"
        );
        if self.quorum.has_committable() && self.lanes_have_room() && !self.is_held_back(now) {
            self.commit(turn)?;
        }
        let has_requests = self.shards.iter().any(|shard| !shard.to_quorum.is_empty());
        let has_messages = !self.on_the_way.backlog.is_empty();
        let may_go_on = !self.stalled && (has_requests || self.quorum.has_work());
        let may_go_on = may_go_on || self.member_has_work();
        if has_messages || may_go_on || self.quorum.has_committable() {
            turn.out.push(Out::WakeQuorum);
        }
        Ok(())
    }

    /// Applies some of what is committed.
    fn commit(&mut self, turn: &mut TurnContext<'_>) -> Checked {
        let watching: Vec<bool> =
            self.shards.iter().map(|shard| shard.front.is_watching()).collect();
        let (units, before) = (1 + turn.rng.below(40), self.tree.last_zxid().0);
        let (defect, shards, on_the_way) = (self.defect, &mut self.shards, &mut self.on_the_way);
        let mut hand_over = |shard, message| {
            push_to_shard(defect, shards, on_the_way, shard, message, turn.rng, &mut turn.out)
        };
        self.quorum.commit(&mut self.tree, &mut Budget::new(units), &watching, &mut hand_over);
        let done = (self.tree.last_zxid().0 - before) as u64;
        let is_new_epoch = self.tree.last_zxid().epoch() != Zxid(before).epoch();
        hold!(
            done <= units || is_new_epoch,
            Work,
            "{done} transactions are committed for {units} units of work"
        );
        self.quorum_effects(turn)?;
        turn.trace.say(format_args!("tree at {}", self.tree.last_zxid()));
        let preparing = self.quorum.is_preparing();
        if !self.tree.is_amid() {
            turn.check.on_commit(&self.tree, preparing, turn.rng.chance(30))?;
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
                if self.quorum.is_preparing() || self.quorum.is_applying() {
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

    /// Whether commits wait for a long read.
    fn is_held_back(&mut self, now: Now) -> bool {
        let wanted = self.shards.iter().map(|shard| shard.front.wants_still_ms(now));
        let wanted_ms = wanted.max().unwrap_or(0);
        !self.quorum.is_applying() && self.stillness.holds_back(wanted_ms, now.mono_ms)
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
                quorum::Effect::Lead(effect) => self.on_lead(effect, turn)?,
                quorum::Effect::Learn(effect) => self.on_learn(effect, turn)?,
                quorum::Effect::ToShard(shard, message) => {
                    match &message {
                        ToShard::Serving { read_only, .. } => {
                            let serving = if *read_only { Serving::Reads } else { Serving::All };
                            turn.check.on_serving(Some(serving), &self.tree)?;
                        }
                        ToShard::NotServing => turn.check.on_serving(None, &self.tree)?,
                        _ => {}
                    }
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
}
