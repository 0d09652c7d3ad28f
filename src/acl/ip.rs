//! The `ip` scheme: addresses and CIDR ranges as text (`IPAuthenticationProvider`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::jute::data::Id;

/// The id that a connection from `address` has by itself, as Java writes the address: IPv6 in full,
/// without `::`.
pub(crate) fn ip_id(address: IpAddr) -> Id {
    Id::new("ip", &java_text(address))
}

/// Whether an address or range can stand in an ACL.
pub(super) fn is_valid(expression: &str) -> bool {
    range(expression).is_some()
}

/// Whether one of `addresses` lies in the range `expression`. IPv4 and IPv6 never match each other.
pub(super) fn any_in(addresses: &[IpAddr], expression: &str) -> bool {
    let Some((net, bits)) = range(expression) else { return false };
    addresses.iter().any(|own| is_in(*own, net, bits))
}

fn is_in(own: IpAddr, net: IpAddr, bits: u32) -> bool {
    match (net, own) {
        (IpAddr::V4(net), IpAddr::V4(own)) => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            (u32::from(net) ^ u32::from(own)) & mask == 0
        }
        (IpAddr::V6(net), IpAddr::V6(own)) => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            (u128::from(net) ^ u128::from(own)) & mask == 0
        }
        _ => false,
    }
}

fn java_text(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => v4.to_string(),
            None => v6.segments().map(|segment| format!("{segment:x}")).join(":"),
        },
    }
}

/// `addr` or `addr/bits`: the address and how many of its leading bits count.
fn range(expression: &str) -> Option<(IpAddr, u32)> {
    let (address, bits) = match expression.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (expression, None),
    };
    let address = parse(address)?;
    let all = if address.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        None => all,
        Some(bits) => u32::try_from(bits.parse::<i32>().ok()?).ok().filter(|bits| *bits <= all)?,
    };
    Some((address, bits))
}

/// The address that a text stands for.
pub(super) fn parse(text: &str) -> Option<IpAddr> {
    if text.contains(':') {
        v6(text).map(IpAddr::V6)
    } else if text.contains('.') {
        v4(text).map(IpAddr::V4)
    } else {
        None
    }
}

/// Four decimal numbers. Signs and leading zeros are taken, as `Integer.parseInt` takes them.
fn v4(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        *octet = u8::try_from(parts.next()?.parse::<i32>().ok()?).ok()?;
    }
    parts.next().is_none().then(|| octets.into())
}

/// Eight groups, or fewer around one `::`. A group is 1 to 4 characters that
/// `Integer.parseInt(_, 16)` takes.
fn v6(text: &str) -> Option<Ipv6Addr> {
    let groups = |part: &str| -> Option<Vec<u16>> {
        if part.is_empty() { Some(Vec::new()) } else { part.split(':').map(group).collect() }
    };
    let mut parts = text.split("::");
    let (head, tail, more) = (parts.next()?, parts.next(), parts.next());
    let (head, tail) = match (tail, more) {
        (None, _) => (groups(head).filter(|head| head.len() == 8)?, Vec::new()),
        (Some(tail), None) => (groups(head)?, groups(tail)?),
        (Some(_), Some(_)) => return None,
    };
    if text.contains("::") && head.len() + tail.len() >= 8 {
        return None;
    }
    let mut segments = [0; 8];
    segments.iter_mut().zip(&head).for_each(|(slot, group)| *slot = *group);
    segments.iter_mut().rev().zip(tail.iter().rev()).for_each(|(slot, group)| *slot = *group);
    Some(segments.into())
}

fn group(text: &str) -> Option<u16> {
    if text.is_empty() || text.chars().count() > 4 {
        return None;
    }
    i32::from_str_radix(text, 16).ok().map(|value| value as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_acl_may_say() {
        for good in [
            "1.2.3.4",
            "1.2.3.4/0",
            "1.2.3.4/32",
            "01.2.3.4",
            "+1.2.3.4/+8",
            "::",
            "::1",
            "1::",
            "1:2:3:4:5:6:7:8",
            "2001:db8::/64",
            "fe80::1/128",
            "1:2:3::5:6:7:8",
        ] {
            assert!(is_valid(good), "{good}");
        }
        for bad in [
            "",
            "abc",
            "1.2.3",
            "1.2.3.4.5",
            "256.1.1.1",
            "-1.1.1.1",
            "1.2.3.4/33",
            "1.2.3.4/-1",
            "1.2.3.4/",
            "1.2.3.4/8/8",
            "1.2.3.4/x",
            "1:2:3:4:5:6:7",
            "1:2:3:4:5:6:7:8:9",
            "1::2::3",
            "12345::",
            "g::",
            "::/129",
            ":",
            "1:2:3:4::5:6:7:8",
            "::1.2.3.4",
        ] {
            assert!(!is_valid(bad), "{bad}");
        }
    }

    #[test]
    fn ranges_match_leading_bits_of_their_own_family() {
        let cases = [
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.4", false),
            ("10.1.2.3", "10.1.0.0/16", true),
            ("10.2.2.3", "10.1.0.0/16", false),
            ("10.1.2.3", "0.0.0.0/0", true),
            ("0:0:0:0:0:0:0:1", "::1", true),
            ("0:0:0:0:0:0:0:1", "::/0", true),
            ("0:0:0:0:0:0:0:1", "0.0.0.0/0", false),
            ("10.1.2.3", "::/0", false),
            ("2001:db8:0:0:1:0:0:1", "2001:db8::/64", true),
            ("2001:db8:0:1:1:0:0:1", "2001:db8::/64", false),
            ("10.1.2.3", "nonsense", false),
        ];
        for (own, range, expected) in cases {
            assert_eq!(any_in(&[parse(own).unwrap()], range), expected, "{own} in {range}");
        }
    }

    #[test]
    fn addresses_are_written_as_java_writes_them() {
        let cases = [
            ("127.0.0.1", "127.0.0.1"),
            ("::1", "0:0:0:0:0:0:0:1"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
        ];
        for (address, text) in cases {
            assert_eq!(ip_id(address.parse().unwrap()), Id::new("ip", text));
        }
        assert_eq!(&*ip_id("fe80::A:0:1".parse().unwrap()).id, "fe80:0:0:0:0:a:0:1");
    }
}
