//! A network of addresses: `10.244.0.0/16`, `fd00::/8`, or one address.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// See the module. An IPv4 network holds no IPv6 address and the other way round; an IPv4 address
/// that is written as IPv6 is one of IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// The leading bits are those of the network; the others are zero.
    first: IpAddr,
    bits: u32,
}

/// Why a text is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkError;

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no network; write an address and the bits of the network, as 10.244.0.0/16")
    }
}

impl std::error::Error for NetworkError {}

impl Network {
    /// Whether the address is one of the network's.
    pub fn holds(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.first.is_ipv4() && start(address, self.bits) == self.first
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.trim().parse().map_err(|_| NetworkError)?;
        let all = length(address);
        let bits = match bits {
            Some(bits) => bits.trim().parse().map_err(|_| NetworkError)?,
            None => all,
        };
        match bits <= all {
            true => Ok(Self { first: start(address, bits), bits }),
            false => Err(NetworkError),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.bits)
    }
}

/// The bits of an address.
fn length(address: IpAddr) -> u32 {
    if address.is_ipv4() { u32::BITS } else { u128::BITS }
}

/// The first address of the network of so many bits that holds `address`.
fn start(address: IpAddr, bits: u32) -> IpAddr {
    let rest = length(address) - bits;
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(rest).unwrap_or(0);
            IpAddr::V4((address.to_bits() & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(rest).unwrap_or(0);
            IpAddr::V6((address.to_bits() & mask).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(network: &str, address: &str) -> bool {
        network.parse::<Network>().expect("a network").holds(address.parse().expect("an address"))
    }

    #[test]
    fn a_network_holds_its_addresses_alone() {
        assert!(holds("10.244.0.0/16", "10.244.255.255") && !holds("10.244.0.0/16", "10.245.0.0"));
        assert!(holds("10.244.3.4/16", "10.244.0.0"), "an address within stands for the network");
        assert!(holds("203.0.113.7", "203.0.113.7") && !holds("203.0.113.7", "203.0.113.6"));
        assert!(holds("10.0.0.0/8", "::ffff:10.1.2.3"));
        assert!(holds("0.0.0.0/0", "192.0.2.1") && !holds("0.0.0.0/0", "2001:db8::1"));
        assert!(holds("::/0", "2001:db8::1") && !holds("::/0", "192.0.2.1"));
        assert!(holds("fd00:1::/32", "fd00:1:ffff::1") && !holds("fd00:1::/32", "fd00:2::"));
        assert_eq!(
            "10.244.3.4/16".parse::<Network>().map(|it| it.to_string()).as_deref(),
            Ok("10.244.0.0/16")
        );
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["", "pods", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/", "::/129", "10.0.0/8"] {
            assert_eq!(text.parse::<Network>(), Err(NetworkError), "{text}");
        }
    }
}
