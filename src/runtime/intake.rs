//! The requests that the quorum core takes from its shards in one step: bounded, and fair between
//! them.
//!
//! Each shard in turn may take its quantum of bytes, and so on round by round, until a budget is
//! spent. How long it takes is looked at after each [`UNITS_PER_LOOK`] of work. The next step goes
//! on with the shard after the last one served: one that sends the largest requests, or the most,
//! gets no more than its share.

use crate::handoff::ToQuorum;

use super::lane::Lane;

/// Whose turn it is, and what each shard has taken beyond its quantum.
#[derive(Debug)]
pub struct Intake {
    next: usize,
    /// Bytes that a shard may still take; what it took too much counts against its next turn.
    credits: Vec<i64>,
}

impl Intake {
    /// An intake from this many shards.
    pub fn new(shards: usize) -> Self {
        Self { next: 0, credits: vec![0; shards] }
    }

    /// Gives messages to `take`, which returns the units of work that each was, until `bytes` are
    /// taken, every lane is empty or `is_over` says so. That is asked after each shard's turn, and
    /// within a turn whenever enough work has been done. Returns how many messages there were.
    pub fn run<'a>(
        &mut self,
        lane: impl Fn(usize) -> &'a Lane<ToQuorum>,
        mut bytes: u64,
        mut is_over: impl FnMut() -> bool,
        mut take: impl FnMut(ToQuorum) -> u64,
    ) -> usize {
        let (shards, mut taken, mut empty) = (self.credits.len(), 0, 0);
        while bytes > 0 && empty < shards {
            let at = self.next;
            self.next = (at + 1) % shards;
            let credit = &mut self.credits[at];
            *credit = (*credit + QUANTUM_BYTES).min(QUANTUM_BYTES);
            let (mut is_empty, mut units) = (false, 0);
            while *credit > 0 && bytes > 0 {
                let Some(message) = lane(at).pop() else {
                    is_empty = true;
                    *credit = 0;
                    break;
                };
                let cost = cost(&message);
                *credit -= cost as i64;
                bytes = bytes.saturating_sub(cost);
                taken += 1;
                units += take(message);
                if units >= UNITS_PER_LOOK {
                    break;
                }
            }
            empty = if is_empty { empty + 1 } else { 0 };
            if is_over() {
                break;
            }
        }
        taken
    }
}

/// Bytes that a message becomes in the log, generously.
fn cost(message: &ToQuorum) -> u64 {
    let record = match message {
        ToQuorum::Request(request) => request.record.len(),
        ToQuorum::CreateSession { .. } | ToQuorum::Renew { .. } | ToQuorum::Joined { .. } => 0,
    };
    record as u64 + REQUEST_BYTES_BESIDE
}

/// Units of work, of about a microsecond, between two looks at the clock.
pub const UNITS_PER_LOOK: u64 = 64;
/// The bytes that a shard may take before it is the next one's turn.
const QUANTUM_BYTES: i64 = 32 << 10;
/// The bytes that a request takes in the log beside its record, generously.
const REQUEST_BYTES_BESIDE: u64 = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use bytes::Bytes;

    use crate::codes::OpCode;
    use crate::handoff::{ConnId, Origin, Request, ShardId};
    use crate::zxid::SessionId;

    fn request(shard: u16, record: &Bytes) -> ToQuorum {
        let conn = ConnId { slot: 0, generation: 0 };
        ToQuorum::Request(Request {
            origin: Origin { shard: ShardId(shard), conn, xid: 0 },
            session: SessionId(1),
            op: OpCode::SET_DATA,
            record: record.clone(),
            auth: Arc::from([]),
        })
    }

    fn shard_of(message: &ToQuorum) -> usize {
        let ToQuorum::Request(request) = message else { panic!("they are requests") };
        usize::from(request.origin.shard.0)
    }

    /// Bytes taken from each of the lanes by one step after the other, of `bytes` each.
    fn steps(lanes: &[Lane<ToQuorum>], bytes: u64, steps: usize) -> Vec<u64> {
        let mut intake = Intake::new(lanes.len());
        let mut taken = vec![0; lanes.len()];
        for _ in 0..steps {
            intake.run(
                |at| &lanes[at],
                bytes,
                || false,
                |message| {
                    taken[shard_of(&message)] += cost(&message);
                    1
                },
            );
        }
        taken
    }

    fn lanes(sizes: &[usize]) -> Vec<Lane<ToQuorum>> {
        let lane = |(shard, bytes): (usize, &usize)| {
            let (lane, record) = (Lane::new(8000), Bytes::from(vec![0; *bytes]));
            while lane.push(request(shard as u16, &record)).is_ok() {}
            lane
        };
        sizes.iter().enumerate().map(lane).collect()
    }

    /// A budget that one shard alone could spend is shared, whoever has the larger requests.
    #[test]
    fn every_shard_gets_its_share_of_the_budget() {
        let lanes = lanes(&[200_000, 100, 3000]);
        for taken in [steps(&lanes, 300_000, 40), steps(&lanes, 60_000, 40)] {
            let (least, most) = (taken.iter().min().unwrap(), taken.iter().max().unwrap());
            assert!(*most <= least * 3 / 2, "{taken:?}");
        }
    }

    #[test]
    fn a_shard_with_nothing_to_say_saves_nothing_up_and_costs_nothing() {
        let lanes = vec![Lane::new(1), Lane::new(2000)];
        while lanes[1].push(request(1, &Bytes::from_static(&[0; 100]))).is_ok() {}
        assert_eq!(steps(&lanes, u64::MAX, 1), [0, 2000 * 1124]);
        let mut intake = Intake::new(2);
        assert_eq!(
            intake.run(|at| &lanes[at], u64::MAX, || false, |_| panic!("nothing is left")),
            0
        );
        assert!(intake.credits.iter().all(|credit| *credit <= QUANTUM_BYTES));
    }

    /// Requests that are much work each, as the end of a session with many ephemerals is.
    #[test]
    fn the_clock_is_looked_at_after_heavy_requests() {
        let lanes = lanes(&[100]);
        let mut looks = 0;
        let is_over = || {
            looks += 1;
            looks == 3
        };
        let taken = Intake::new(1).run(|at| &lanes[at], u64::MAX, is_over, |_| 2000);
        assert_eq!(taken, 3);
    }

    #[test]
    fn time_ends_a_step_after_one_shards_turn() {
        let lanes = lanes(&[100, 100]);
        let mut from = Vec::new();
        let mut intake = Intake::new(2);
        for _ in 0..2 {
            let mut take = |message| {
                from.push(shard_of(&message));
                1
            };
            intake.run(|at| &lanes[at], u64::MAX, || true, &mut take);
        }
        from.dedup();
        assert_eq!(from, [0, 1]);
    }
}
