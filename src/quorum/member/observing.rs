//! Whom an observer learns from, and how long it rests between two of them.

use crate::splitmix;
use crate::zab::ServerId;

/// See the module. Values of one server, which it keeps over all its roles.
#[derive(Clone, Debug)]
pub struct Observing {
    /// `observerMasterPort`: where followers take observers. Without it the leader does.
    port: Option<u16>,
    /// The voters, in an order of chance, so that not all observers go to the same one.
    order: Vec<ServerId>,
    /// The place in `order` of the next one.
    next: usize,
    /// `observer.reconnectDelayMs` and `observer.election.DelayMs` together.
    pause_ms_max: u32,
    seed: u64,
}

impl Observing {
    /// An observer of an ensemble with these voters.
    pub fn new(
        port: Option<u16>,
        voters: impl IntoIterator<Item = ServerId>,
        pause_ms_max: u32,
        mut seed: u64,
    ) -> Self {
        let mut order: Vec<ServerId> = voters.into_iter().collect();
        for last in (1..order.len()).rev() {
            let other = splitmix::next(&mut seed) % (last as u64 + 1);
            order.swap(last, other as usize);
        }
        Self { port, order, next: 0, pause_ms_max, seed }
    }

    /// The next follower to go to, and its port; none where observers go to the leader. A leader
    /// takes them at its quorum port alone.
    pub(super) fn next_master(&mut self, leader: ServerId) -> Option<(ServerId, u16)> {
        let port = self.port?;
        for _ in 0..self.order.len() {
            let master = self.order[self.next % self.order.len()];
            self.next = (self.next + 1) % self.order.len();
            if master != leader {
                return Some((master, port));
            }
        }
        None
    }

    /// How long it rests before it looks again, in milliseconds: so that not all observers do so at
    /// one time.
    pub(super) fn pause_ms(&mut self) -> i64 {
        let chance = splitmix::next(&mut self.seed);
        (chance % (u64::from(self.pause_ms_max) + 1)) as i64
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn observers_go_to_all_followers_in_turn() {
        let voters = || (1..=5).map(ServerId);
        let mut firsts = BTreeSet::new();
        for seed in 0..50 {
            let mut observing = Observing::new(Some(99), voters(), 20, seed);
            let mut next = || observing.next_master(ServerId(4)).expect("one of four");
            let round: Vec<(ServerId, u16)> = (0..4).map(|_| next()).collect();
            assert!(round.iter().all(|(_, port)| *port == 99));
            let ids: BTreeSet<ServerId> = round.iter().map(|(id, _)| *id).collect();
            assert_eq!(ids, [1, 2, 3, 5].map(ServerId).into());
            assert_eq!(next(), round[0], "and again from the beginning");
            firsts.insert(round[0].0);
            assert!((0..50).all(|_| (0..=20).contains(&observing.pause_ms())));
        }
        assert_eq!(firsts.len(), 4, "not all begin with the same one");
    }

    #[test]
    fn without_followers_or_a_port_it_is_the_leader() {
        let mut alone = Observing::new(Some(99), [ServerId(1)], 0, 7);
        assert_eq!((alone.next_master(ServerId(1)), alone.pause_ms()), (None, 0));
        let mut usual = Observing::new(None, [ServerId(1), ServerId(2)], 0, 7);
        assert_eq!(usual.next_master(ServerId(1)), None);
    }
}
