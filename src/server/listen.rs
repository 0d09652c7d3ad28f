//! The client port.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, socket_with, sockopt,
};

/// The reason why the client port cannot be had.
#[derive(Debug)]
pub(crate) enum ListenError {
    /// `clientPortAddress` is neither an address nor a name that resolves to one.
    UnknownHost {
        /// As it was written.
        host: String,
    },
    /// The system refuses this address.
    Refused {
        /// The address with its port.
        address: SocketAddr,
        /// Its reason.
        cause: Errno,
    },
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (address, cause) = match self {
            Self::UnknownHost { host } => {
                return write!(
                    f,
                    "client port: cannot resolve {host}; write an address of this machine as \
                     clientPortAddress"
                );
            }
            Self::Refused { address, cause } => (address, *cause),
        };
        match cause {
            Errno::ADDRINUSE => write!(
                f,
                "client port: {address} is in use; see who has it with `ss -ltnp 'sport = :{}'`, \
                 or set clientPort",
                address.port()
            ),
            Errno::ADDRNOTAVAIL => {
                write!(
                    f,
                    "client port: {} is no address of this machine; set clientPortAddress",
                    address.ip()
                )
            }
            Errno::AFNOSUPPORT => write!(
                f,
                "client port: this kernel has no {} to listen on {address} with; set \
                 clientPortAddress to an address that it has, or leave it out",
                if address.is_ipv4() { "IPv4" } else { "IPv6" }
            ),
            Errno::ACCESS => write!(
                f,
                "client port: no permission to listen on {address}; use a port above 1023"
            ),
            cause => write!(f, "client port: cannot listen on {address}: {cause}"),
        }
    }
}

impl std::error::Error for ListenError {}

/// A bound socket that takes no connections yet.
#[derive(Debug)]
pub(crate) struct Listener {
    /// The socket.
    pub socket: OwnedFd,
    /// The address it is bound to, with the port that the kernel chose where 0 was asked for.
    pub address: SocketAddr,
}

/// Binds `port` on `host`. Without a host, clients of both families are taken, whatever the
/// machine's `net.ipv6.bindv6only` says, and those of IPv4 alone where the kernel has no IPv6.
/// `0.0.0.0` is IPv4 alone, `::` is both, as for a JVM.
///
/// A server that was killed holds its port a moment longer than it lives: the kernel takes its
/// io_uring down after the process's end. So a port in use is asked for again for a while.
pub(crate) fn reserve(
    host: Option<&str>,
    port: u16,
    keep_alive: bool,
) -> Result<Listener, ListenError> {
    let Some(host) = host else {
        let every = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        return match reserve_address(every, keep_alive) {
            Err(ListenError::Refused {
                cause: Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL, ..
            }) => reserve_address(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), keep_alive),
            result => result,
        };
    };
    reserve_address(resolve(host, port)?, keep_alive)
}

/// The first address of a host; an IPv6 address may stand in brackets.
fn resolve(host: &str, port: u16) -> Result<SocketAddr, ListenError> {
    let unknown = || ListenError::UnknownHost { host: host.to_owned() };
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Some(bare) = bare {
        let address = bare.parse::<Ipv6Addr>().map_err(|_| unknown())?;
        return Ok(SocketAddr::new(IpAddr::V6(address), port));
    }
    let found = (host, port).to_socket_addrs().ok().and_then(|mut all| all.next());
    found.ok_or_else(unknown)
}

fn reserve_address(address: SocketAddr, keep_alive: bool) -> Result<Listener, ListenError> {
    let deadline = Instant::now() + PREDECESSOR_TIME;
    loop {
        match bound(address, keep_alive) {
            Err(Errno::ADDRINUSE) if Instant::now() < deadline => thread::sleep(RETRY),
            result => return result.map_err(|cause| ListenError::Refused { address, cause }),
        }
    }
}

fn bound(address: SocketAddr, keep_alive: bool) -> Result<Listener, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        // Else net.ipv6.bindv6only decides whether `::` takes clients of IPv4.
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    // Accepted sockets take these over.
    sockopt::set_tcp_nodelay(&socket, true)?;
    sockopt::set_socket_keepalive(&socket, keep_alive)?;
    bind(&socket, &address)?;
    let bound = getsockname(&socket)?;
    Ok(Listener { socket, address: SocketAddr::try_from(bound).unwrap_or(address) })
}

/// Takes connections from now on; `backlog` of them may wait to be accepted.
pub(crate) fn open(listener: &Listener, backlog: i32) -> Result<(), ListenError> {
    listen(&listener.socket, backlog)
        .map_err(|cause| ListenError::Refused { address: listener.address, cause })
}

/// The time that a port may take to become free after the server that had it was killed.
const PREDECESSOR_TIME: Duration = Duration::from_secs(3);
const RETRY: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_taken_with_and_without_brackets() {
        for (host, wanted) in [
            ("0.0.0.0", "0.0.0.0:7"),
            ("127.0.0.1", "127.0.0.1:7"),
            ("::1", "[::1]:7"),
            ("[::1]", "[::1]:7"),
            ("[::]", "[::]:7"),
            ("::", "[::]:7"),
        ] {
            assert_eq!(resolve(host, 7).expect("an address").to_string(), wanted, "{host}");
        }
        for host in ["[::1", "[127.0.0.1]", "[localhost]", "no such host"] {
            assert!(matches!(resolve(host, 7), Err(ListenError::UnknownHost { .. })), "{host}");
        }
    }

    /// Whatever the machine's default: the kernel is told.
    #[test]
    fn every_address_means_both_families() {
        for host in [None, Some("[::]")] {
            let listener = reserve(host, 0, false).expect("a port");
            assert_ne!(listener.address.port(), 0, "the port that was chosen is known");
            if listener.address.is_ipv6() {
                assert_eq!(sockopt::ipv6_v6only(&listener.socket), Ok(false));
            }
            open(&listener, 8).expect("it listens");
            let client = std::net::TcpStream::connect(("127.0.0.1", listener.address.port()));
            assert!(client.is_ok(), "a client of IPv4 is taken");
        }
        let listener = reserve(Some("0.0.0.0"), 0, false).expect("a port");
        assert!(listener.address.is_ipv4(), "0.0.0.0 is IPv4 alone");
    }

    #[test]
    fn refusals_say_what_mends_them() {
        let said = |address: &str, cause| {
            ListenError::Refused { address: address.parse().expect("an address"), cause }
                .to_string()
        };
        assert!(said("[::1]:7", Errno::AFNOSUPPORT).contains("no IPv6"));
        assert!(said("10.0.0.1:7", Errno::ADDRNOTAVAIL).contains("set clientPortAddress"));
        assert!(said("0.0.0.0:7", Errno::ADDRINUSE).contains("ss -ltnp"));
        let unknown = ListenError::UnknownHost { host: "zk1.example".into() }.to_string();
        assert!(unknown.contains("cannot resolve zk1.example"));
    }
}
