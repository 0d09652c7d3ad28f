//! Who may connect: connections counted over all shards, in all and by source address (`maxCnxns`, `maxClientCnxns`).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

/// The count of live connections. Touched when a connection comes and goes, never in between.
#[derive(Debug)]
pub struct Admission {
    per_address_max: u32,
    total_max: u32,
    live: Mutex<Live>,
}

#[derive(Debug, Default)]
struct Live {
    total: u32,
    by_address: HashMap<IpAddr, u32>,
}

impl Admission {
    /// Limits of 0 are no limits.
    pub fn new(per_address_max: u32, total_max: u32) -> Self {
        Self { per_address_max, total_max, live: Mutex::default() }
    }

    /// Counts a connection in, unless a limit is reached.
    pub fn enter(&self, address: IpAddr) -> bool {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        if self.total_max != 0 && live.total >= self.total_max {
            return false;
        }
        let count = live.by_address.entry(address).or_default();
        if self.per_address_max != 0 && *count >= self.per_address_max {
            return false;
        }
        *count += 1;
        live.total += 1;
        true
    }

    /// Counts a connection out.
    pub fn leave(&self, address: IpAddr) {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.total -= 1;
        if let Some(count) = live.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                live.by_address.remove(&address);
            }
        }
    }

    /// Live connections over all shards.
    pub fn total(&self) -> u32 {
        self.live.lock().unwrap_or_else(PoisonError::into_inner).total
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn limits_hold_and_are_given_back() {
        let one = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let other = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
        let admission = Admission::new(2, 3);
        assert!(admission.enter(one) && admission.enter(one));
        assert!(!admission.enter(one));
        assert!(admission.enter(other));
        assert!(!admission.enter(other), "the total is reached");
        admission.leave(one);
        assert!(admission.enter(other));
        assert_eq!(admission.total(), 3);
    }
}
