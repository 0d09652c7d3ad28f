//! The connect string: `host:port,host:port/chroot`, as Apache's client reads it.

use super::path::{self, Chroot};

/// Where to connect, and what is seen there.
#[derive(Clone, Debug)]
pub(super) struct Address {
    /// Each host with its port, ready to be resolved.
    pub hosts: Vec<(String, u16)>,
    pub chroot: Chroot,
}

impl Address {
    /// Reads a connect string. A host without a port has 2181; one of IPv6 stands in brackets.
    ///
    /// Errors: no host, a port that is no number, a malformed chroot.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (hosts, chroot) = text.split_at(text.find('/').unwrap_or(text.len()));
        let chroot = if chroot.len() > 1 { chroot } else { "" };
        if !chroot.is_empty() {
            path::validate(chroot)?;
        }
        let hosts = hosts.split(',').map(str::trim).filter(|host| !host.is_empty());
        let hosts = hosts.map(host_and_port).collect::<Result<Vec<_>, _>>()?;
        if hosts.is_empty() {
            return Err("A HostProvider may not be empty!".into());
        }
        Ok(Self { hosts, chroot: Chroot(chroot.to_owned()) })
    }
}

fn host_and_port(text: &str) -> Result<(String, u16), String> {
    let (host, port) = match text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        Some((host, port)) => (host, port.trim_start_matches(':')),
        None => text.rsplit_once(':').unwrap_or((text, "")),
    };
    let port = if port.is_empty() { Ok(PORT) } else { port.parse() };
    let port = port.map_err(|_| format!("the port of {text:?} is no number up to 65535"))?;
    Ok((host.to_owned(), port))
}

const PORT: u16 = 2181;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_hosts_ports_ipv6_and_a_chroot() {
        let address = Address::parse("a:1, b,[::1]:3,[::2]/app/x").unwrap();
        let hosts = [("a", 1), ("b", 2181), ("::1", 3), ("::2", 2181)];
        assert_eq!(address.hosts, hosts.map(|(host, port)| (host.to_owned(), port)));
        assert_eq!(address.chroot.0, "/app/x");
        assert_eq!(Address::parse("a/").unwrap().chroot.0, "");
        assert!(Address::parse("/app").is_err());
        assert!(Address::parse("a:x").is_err());
        assert!(Address::parse("a/app/").is_err());
    }
}
