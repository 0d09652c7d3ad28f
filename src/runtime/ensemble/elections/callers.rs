//! From which addresses a member may call. See "Who may call" in the head of the module.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, UdpSocket};

use super::Network;
use crate::packet::ServerAddress;
use crate::zab::{Caller, ServerId};

/// The addresses of the other members, as they were last found.
#[derive(Debug, Default)]
pub(super) struct Callers {
    /// Invariant: this server is not in it.
    found: BTreeMap<ServerId, Found>,
    /// Any member may call from one of these.
    networks: Vec<Network>,
}

/// The addresses of one member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    addresses: BTreeSet<IpAddr>,
    /// One of them is this machine's.
    is_here: bool,
}

impl Found {
    /// Looks which of the addresses are this machine's: a socket can be bound to those alone.
    pub(super) fn of(addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        let real = |address: &IpAddr| !address.is_unspecified();
        let addresses: BTreeSet<IpAddr> =
            addresses.into_iter().map(|address| address.to_canonical()).filter(real).collect();
        let is_here = addresses.iter().any(|address| UdpSocket::bind((*address, 0)).is_ok());
        Self { addresses, is_here }
    }
}

impl Callers {
    /// Nothing has been resolved: what is known are the addresses that the lines themselves are.
    pub(super) fn new(
        me: ServerId,
        lines: &BTreeMap<ServerId, Vec<ServerAddress>>,
        networks: Vec<Network>,
    ) -> Self {
        let others = lines.iter().filter(|(id, _)| **id != me);
        let literal = |line: &Vec<ServerAddress>| {
            Found::of(line.iter().filter_map(|address| address.host.parse::<IpAddr>().ok()))
        };
        Self { found: others.map(|(id, line)| (*id, literal(line))).collect(), networks }
    }

    /// The line of a member has been resolved. If that `is_whole`, what was known before goes: who
    /// has it now may be anybody. Otherwise it is the best that there is.
    pub(super) fn note(&mut self, id: ServerId, found: Found, is_whole: bool) {
        let Some(known) = self.found.get_mut(&id) else { return };
        if is_whole {
            *known = Found::default();
        }
        if known.addresses.len() < ADDRESSES_MAX {
            known.addresses.extend(found.addresses);
        }
        known.is_here |= found.is_here;
    }

    /// The members that may call from `peer`, where `local` is the address that was called.
    pub(super) fn at(&self, peer: IpAddr, local: IpAddr) -> Caller {
        let peer = peer.to_canonical();
        let is_here = peer.is_loopback() || peer == local.to_canonical();
        let is_near = self.networks.iter().any(|network| network.holds(peer));
        let calls =
            |found: &Found| is_near || found.addresses.contains(&peer) || is_here && found.is_here;
        let members = self.found.iter().filter(|(_, found)| calls(found)).map(|(id, _)| *id);
        Caller { members: members.collect() }
    }
}

/// Whether a line holds a name, which may lead elsewhere tomorrow.
pub(super) fn has_name(line: &[ServerAddress]) -> bool {
    line.iter().any(|address| address.host.parse::<IpAddr>().is_err())
}

/// Addresses that are kept of a member whose names are resolved in parts.
const ADDRESSES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn line(hosts: &[&str]) -> Vec<ServerAddress> {
        let of = |host: &&str| ServerAddress {
            host: (*host).to_owned(),
            quorum_port: 2888,
            election_port: 3888,
        };
        hosts.iter().map(of).collect()
    }

    fn ids(caller: &Caller) -> Vec<i64> {
        caller.members.iter().map(|id| id.0).collect()
    }

    #[test]
    fn a_member_calls_from_any_address_of_its_line() {
        let lines = [
            (1, line(&["0.0.0.0"])),
            (2, line(&["203.0.113.2", "203.0.113.12"])),
            (3, line(&["zk3"])),
            (4, line(&["::ffff:203.0.113.12", "0.0.0.0"])),
        ];
        let lines = lines.map(|(id, line)| (ServerId(id), line)).into();
        let mut callers = Callers::new(ServerId(1), &lines, Vec::new());
        let at = |callers: &Callers, peer: &str| {
            ids(&callers.at(peer.parse().unwrap(), "203.0.113.1".parse().unwrap()))
        };
        assert_eq!(at(&callers, "203.0.113.2"), [2]);
        assert_eq!(at(&callers, "::ffff:203.0.113.12"), [2, 4]);
        assert_eq!(at(&callers, "203.0.113.3"), [0; 0]);
        callers.note(ServerId(3), Found::of(["203.0.113.3".parse().unwrap()]), true);
        assert_eq!(at(&callers, "203.0.113.3"), [3]);
        // It has moved.
        callers.note(ServerId(3), Found::of(["203.0.113.4".parse().unwrap()]), true);
        assert_eq!((at(&callers, "203.0.113.3"), at(&callers, "203.0.113.4")), (vec![], vec![3]));
        // None of them is on this machine, so nobody on it is one of them.
        assert_eq!(at(&callers, "127.0.0.1"), [0; 0]);
        assert_eq!(at(&callers, "203.0.113.1"), [0; 0]);
        assert!(has_name(&lines[&ServerId(3)]) && !has_name(&lines[&ServerId(4)]));
    }

    /// On one machine a call comes from whichever address the kernel takes.
    #[test]
    fn members_on_this_machine_call_from_any_of_its_addresses() {
        let lines = [(1, "127.0.0.1"), (2, "127.0.0.2"), (3, "203.0.113.3")];
        let lines = lines.map(|(id, host)| (ServerId(id), line(&[host]))).into();
        let callers = Callers::new(ServerId(1), &lines, Vec::new());
        let local = "127.0.0.1".parse().unwrap();
        assert_eq!(ids(&callers.at("127.0.0.9".parse().unwrap(), local)), [2]);
        let own = "192.0.2.1".parse().unwrap();
        assert_eq!(ids(&callers.at(own, own)), [2], "it has called itself");
    }

    /// Behind NAT and between containers a member calls from an address that no line names.
    #[test]
    fn any_member_calls_from_a_configured_network() {
        let lines = [(1, "zk1"), (2, "zk2"), (3, "203.0.113.3")];
        let lines = lines.map(|(id, host)| (ServerId(id), line(&[host]))).into();
        let networks = vec!["10.244.0.0/16".parse().unwrap(), "fd00:1::/32".parse().unwrap()];
        let callers = Callers::new(ServerId(1), &lines, networks);
        let at =
            |peer: &str| ids(&callers.at(peer.parse().unwrap(), "203.0.113.1".parse().unwrap()));
        assert_eq!(at("10.244.7.9"), [2, 3]);
        assert_eq!(at("::ffff:10.244.7.9"), [2, 3]);
        assert_eq!(at("fd00:1:2::9"), [2, 3]);
        assert_eq!((at("10.245.0.1"), at("fd00:2::1")), (vec![], vec![]));
        assert_eq!(at("203.0.113.3"), [3], "its own address says who it is");
    }
}
