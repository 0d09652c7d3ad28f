//! Admission of connections, and the choice of their shard: connections counted over all shards, in
//! all, by source address (`maxCnxns`, `maxClientCnxns`) and by shard.
//!
//! The kernel gives new connections to one of the rings that accept, and always to the same one
//! while nobody is busy. So the shard that accepts is not the one that serves: that is the one with
//! the fewest connections.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::PoisonError;

use crate::handoff::ShardId;

use super::sync::{Mutex, MutexGuard};

/// The count of live connections. Touched when a connection comes and goes, never in between.
#[derive(Debug)]
pub struct Admission {
    per_address_max: u32,
    total_max: u32,
    live: Mutex<Live>,
}

#[derive(Debug)]
struct Live {
    total: u32,
    /// Connections that were turned away since the start.
    refused: u64,
    by_shard: Vec<u32>,
    by_address: HashMap<IpAddr, u32>,
}

/// The limit that a connection would be beyond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// `maxClientCnxns`: connections of its address.
    Address(u32),
    /// `maxCnxns`: all connections.
    Total(u32),
}

impl Admission {
    /// Limits of 0 are no limits.
    pub fn new(per_address_max: u32, total_max: u32, shards: u16) -> Self {
        let live = Live {
            total: 0,
            refused: 0,
            by_shard: vec![0; usize::from(shards)],
            by_address: HashMap::new(),
        };
        Self { per_address_max, total_max, live: Mutex::new(live) }
    }

    /// Counts a connection in that was accepted on shard `here`, unless a limit is reached; the
    /// shard that serves it.
    pub fn enter(&self, address: IpAddr, here: ShardId) -> Result<ShardId, Full> {
        let mut live = self.live();
        let count = live.by_address.get(&address).copied().unwrap_or(0);
        let is_full = |count: u32, max: u32| max != 0 && count >= max;
        let full = if is_full(count, self.per_address_max) {
            Some(Full::Address(self.per_address_max))
        } else {
            is_full(live.total, self.total_max).then_some(Full::Total(self.total_max))
        };
        if let Some(full) = full {
            live.refused += 1;
            return Err(full);
        }
        if misordered!(CountedApart) {
            drop(live);
            live = self.live();
        }
        let shards = (0..).map(ShardId).zip(&live.by_shard);
        let emptiest = shards.min_by_key(|(shard, count)| (**count, *shard != here));
        let shard = emptiest.map_or(here, |(shard, _)| shard);
        live.by_address.insert(address, count + 1);
        live.by_shard[usize::from(shard.0)] += 1;
        live.total += 1;
        Ok(shard)
    }

    /// Counts a connection from one shard to another.
    pub fn moved(&self, from: ShardId, to: ShardId) {
        let mut live = self.live();
        live.by_shard[usize::from(from.0)] -= 1;
        live.by_shard[usize::from(to.0)] += 1;
    }

    /// Counts a connection of `shard` out.
    pub fn leave(&self, address: IpAddr, shard: ShardId) {
        let mut live = self.live();
        live.total -= 1;
        live.by_shard[usize::from(shard.0)] -= 1;
        if let Some(count) = live.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                live.by_address.remove(&address);
            }
        }
    }

    /// Connections turned away since the start.
    pub fn refused(&self) -> u64 {
        self.live().refused
    }

    /// Live connections over all shards.
    pub fn total(&self) -> u32 {
        self.live().total
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::CONNECTIONS_PER_ADDRESS_MAX;
    use std::net::Ipv4Addr;

    #[test]
    fn limits_hold_and_are_given_back() {
        let one = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let other = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
        let admission = Admission::new(2, 3, 1);
        let enter = |address| admission.enter(address, ShardId(0)).is_ok();
        assert!(enter(one) && enter(one));
        assert_eq!(admission.enter(one, ShardId(0)), Err(Full::Address(2)));
        assert!(enter(other));
        assert_eq!(admission.enter(other, ShardId(0)), Err(Full::Total(3)));
        assert_eq!(admission.refused(), 2);
        admission.leave(one, ShardId(0));
        assert!(enter(other));
        assert_eq!(admission.total(), 3);
    }

    #[test]
    fn b23_connection_limits() {
        let address = |nth: u32| IpAddr::V4(Ipv4Addr::from(0x7f00_0001 + nth));
        let admission = Admission::new(CONNECTIONS_PER_ADDRESS_MAX, 100, 1);
        let enter = |nth| admission.enter(address(nth), ShardId(0)).is_ok();
        assert!((0..60).all(|_| enter(0)), "59 are there: one more is taken");
        assert!(!enter(0), "maxClientCnxns is 60 by default");
        assert!((1..=40).all(enter), "99 are there: one more is taken");
        assert!(!enter(41), "the total of 100 is reached");
        let unlimited = Admission::new(0, 0, 1);
        assert!((0..100_000).all(|_| unlimited.enter(address(0), ShardId(0)).is_ok()));
    }

    #[test]
    fn connections_go_where_there_are_fewest() {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let admission = Admission::new(0, 0, 3);
        let enter = |here| admission.enter(address, ShardId(here)).ok().map(|shard| shard.0);
        assert_eq!([enter(2), enter(2), enter(2), enter(2)], [Some(2), Some(0), Some(1), Some(2)]);
        admission.leave(address, ShardId(1));
        admission.moved(ShardId(0), ShardId(2));
        assert_eq!([enter(2), enter(2), enter(1)], [Some(0), Some(1), Some(1)]);
    }
}
