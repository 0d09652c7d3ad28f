//! The ports between servers: the election port, the quorum port, on which a leader takes its
//! learners, and the observer master port, on which a follower takes observers, if that is wanted.
//!
//! They are bound before a server starts, so that one that could not listen does not start. The
//! election port listens from then on. The quorum port is bound and does not listen until the server
//! leads, nor the observer master port until it follows: whoever dials it is refused, as by Apache's.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use log::warn;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, Shutdown, SocketFlags, SocketType, bind, getsockname, listen, shutdown,
    socket_with, sockopt,
};

use crate::packet::ServerAddress;
use crate::zab::ServerId;

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PeerPort {
    Election,
    Quorum,
    ObserverMaster,
}

impl fmt::Display for PeerPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Election => "election port",
            Self::Quorum => "quorum port",
            Self::ObserverMaster => "observer master port",
        })
    }
}

impl PeerPort {
    /// Where its number is configured.
    fn place(self, me: ServerId) -> String {
        match self {
            Self::Election | Self::Quorum => format!("the line server.{me}"),
            Self::ObserverMaster => "observerMasterPort".to_owned(),
        }
    }
}

/// The reason why a port between servers cannot be had.
#[derive(Debug)]
pub enum PeerPortError {
    /// The host of the server's own line is neither an address nor a name that resolves to one.
    UnknownHost { port: PeerPort, me: ServerId, host: String, cause: io::Error },
    /// The system refuses the address.
    Refused { port: PeerPort, me: ServerId, address: SocketAddr, cause: Errno },
}

impl fmt::Display for PeerPortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (port, me, address, cause) = match self {
            Self::UnknownHost { port, me, host, cause } => {
                return write!(
                    f,
                    "{port}: cannot resolve {host} ({cause}); write an address of this machine \
                     into the line server.{me}"
                );
            }
            Self::Refused { port, me, address, cause } => (port, me, address, *cause),
        };
        match cause {
            Errno::ADDRINUSE => write!(
                f,
                "{port}: {address} is in use; see who has it with `ss -ltnp 'sport = :{}'`, or \
                 write another port into {} on every server",
                address.port(),
                port.place(*me)
            ),
            Errno::ADDRNOTAVAIL => write!(
                f,
                "{port}: {} is no address of this machine; mend the line server.{me} or the file \
                 myid, or set quorumListenOnAllIPs=true",
                address.ip()
            ),
            Errno::AFNOSUPPORT => write!(
                f,
                "{port}: this kernel has no {} to listen on {address} with; write an address that \
                 it has into the line server.{me}",
                if address.is_ipv4() { "IPv4" } else { "IPv6" }
            ),
            Errno::ACCESS => write!(
                f,
                "{port}: no permission to listen on {address}; write a port above 1023 into {} on \
                 every server",
                port.place(*me)
            ),
            cause => write!(f, "{port}: cannot listen on {address}: {cause}"),
        }
    }
}

impl std::error::Error for PeerPortError {}

/// Where a server listens for the others.
#[derive(Clone, Debug)]
pub struct PeerAddresses {
    /// The server itself.
    pub me: ServerId,
    /// Those of its own line. Invariant: not empty.
    pub own: Vec<ServerAddress>,
    /// `quorumListenOnAllIPs`: every address of the machine, and not those of the line.
    pub listen_on_all: bool,
    /// `electionPortBindRetry`: the seconds for which a port that cannot be had is asked for; 0 is
    /// without end.
    pub bind_tries: u32,
    /// `tcpKeepAlive`, for learners.
    pub keep_alive: bool,
    /// `observerMasterPort`, if this server is to take observers when it follows.
    pub observer_master_port: Option<u16>,
}

/// The bound sockets of the ports.
#[derive(Debug)]
pub struct PeerListeners {
    /// They listen. Invariant: not empty.
    pub(super) votes: Vec<PeerListener>,
    /// They do not. Invariant: not empty.
    pub(super) learners: Vec<PeerListener>,
    /// Nor do they. Empty where observers are not wanted.
    pub(super) observers: Vec<PeerListener>,
}

impl PeerListeners {
    /// Binds the ports. A server that was killed holds its ports a moment longer than it lives, and
    /// an address may come up late: what cannot be had is asked for again for a while.
    pub fn bind(addresses: &PeerAddresses) -> Result<Self, PeerPortError> {
        let began = Instant::now();
        let mut has_warned = false;
        loop {
            let err = match Self::try_bind(addresses) {
                Ok(listeners) => return Ok(listeners),
                Err(err) => err,
            };
            let is_over = addresses.bind_tries > 0
                && began.elapsed() >= Duration::from_secs(u64::from(addresses.bind_tries));
            if is_over || matches!(err, PeerPortError::Refused { cause: Errno::ACCESS, .. }) {
                return Err(err);
            }
            if !has_warned && began.elapsed() >= WARN_AFTER {
                warn!("{err}; trying again (electionPortBindRetry={})", addresses.bind_tries);
                has_warned = true;
            }
            thread::sleep(RETRY);
        }
    }

    fn try_bind(addresses: &PeerAddresses) -> Result<Self, PeerPortError> {
        let votes = bind_all(addresses, PeerPort::Election)?;
        for listener in &votes {
            listener.open().map_err(|cause| PeerPortError::Refused {
                port: PeerPort::Election,
                me: addresses.me,
                address: listener.address,
                cause,
            })?;
        }
        let learners = bind_all(addresses, PeerPort::Quorum)?;
        let observers = match addresses.observer_master_port {
            Some(_) => bind_all(addresses, PeerPort::ObserverMaster)?,
            None => Vec::new(),
        };
        Ok(Self { votes, learners, observers })
    }

    /// Where votes are taken.
    pub fn election_addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.votes.iter().map(|listener| listener.address)
    }

    /// Where learners are taken once the server leads.
    pub fn quorum_addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.learners.iter().map(|listener| listener.address)
    }

    /// Where observers are taken while the server follows.
    pub fn observer_addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.observers.iter().map(|listener| listener.address)
    }

    pub(super) fn of(&self, port: PeerPort) -> &[PeerListener] {
        match port {
            PeerPort::Election => &self.votes,
            PeerPort::Quorum => &self.learners,
            PeerPort::ObserverMaster => &self.observers,
        }
    }
}

/// A bound socket.
#[derive(Debug)]
pub(super) struct PeerListener {
    socket: OwnedFd,
    pub(super) address: SocketAddr,
}

impl PeerListener {
    /// Listens.
    pub(super) fn open(&self) -> Result<(), Errno> {
        listen(&self.socket, BACKLOG)
    }

    /// Listens no longer; the port stays bound. Whoever waits to be accepted is hung up on.
    pub(super) fn shut(&self) {
        // Of a socket that does not listen there is nothing to shut.
        let _ = shutdown(&self.socket, Shutdown::Read);
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn bind_all(addresses: &PeerAddresses, port: PeerPort) -> Result<Vec<PeerListener>, PeerPortError> {
    let me = addresses.me;
    let mut bound: Vec<PeerListener> = Vec::new();
    for own in &addresses.own {
        let number = match port {
            PeerPort::Election => own.election_port,
            PeerPort::Quorum => own.quorum_port,
            PeerPort::ObserverMaster => addresses.observer_master_port.unwrap_or_default(),
        };
        let hosts = match addresses.listen_on_all {
            true => vec![IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::UNSPECIFIED)],
            false => resolve(&own.host).map_err(|cause| {
                let host = own.host.clone();
                PeerPortError::UnknownHost { port, me, host, cause }
            })?,
        };
        let mut refused = None;
        let mut is_bound = false;
        for host in hosts {
            let address = SocketAddr::new(host, number);
            let is_there = |listener: &PeerListener| listener.address == address;
            // One for all addresses takes IPv4 as well, where the kernel has IPv6 at all.
            if is_bound && addresses.listen_on_all || number != 0 && bound.iter().any(is_there) {
                continue;
            }
            match bind_one(address, port, addresses.keep_alive) {
                Ok(listener) => {
                    bound.push(listener);
                    is_bound = true;
                }
                Err(cause @ (Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT)) => {
                    refused.get_or_insert((address, cause));
                }
                Err(cause) => return Err(PeerPortError::Refused { port, me, address, cause }),
            }
        }
        if let Some((address, cause)) = refused.filter(|_| !is_bound) {
            return Err(PeerPortError::Refused { port, me, address, cause });
        }
    }
    Ok(bound)
}

fn bind_one(address: SocketAddr, port: PeerPort, keep_alive: bool) -> Result<PeerListener, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        // Else net.ipv6.bindv6only decides whether `::` takes servers of IPv4.
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    // Accepted sockets take these over.
    sockopt::set_tcp_nodelay(&socket, true)?;
    sockopt::set_socket_keepalive(&socket, keep_alive && port != PeerPort::Election)?;
    bind(&socket, &address)?;
    let bound = getsockname(&socket)?;
    Ok(PeerListener { socket, address: SocketAddr::try_from(bound).unwrap_or(address) })
}

/// The addresses of a host as it is written: IPv4 before IPv6, as a JVM takes them, each once.
pub(super) fn resolve(host: &str) -> io::Result<Vec<IpAddr>> {
    let found: Vec<IpAddr> = match host.parse() {
        Ok(address) => vec![address],
        Err(_) => (host, 0).to_socket_addrs()?.map(|address| address.ip().to_canonical()).collect(),
    };
    let mut addresses: Vec<IpAddr> = Vec::new();
    let (four, six): (Vec<IpAddr>, Vec<IpAddr>) = found.into_iter().partition(IpAddr::is_ipv4);
    for address in four.into_iter().chain(six) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    match addresses.is_empty() {
        true => Err(io::Error::other("the name has no address")),
        false => Ok(addresses),
    }
}

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 256;
const RETRY: Duration = Duration::from_millis(20);
/// A port that its last owner is about to leave is no news.
const WARN_AFTER: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    fn addresses(host: &str, quorum_port: u16, election_port: u16) -> PeerAddresses {
        let own = vec![ServerAddress { host: host.to_owned(), quorum_port, election_port }];
        PeerAddresses {
            me: ServerId(3),
            own,
            listen_on_all: false,
            bind_tries: 1,
            keep_alive: true,
            observer_master_port: None,
        }
    }

    /// A leader's port refuses while the server does not lead, and may listen again and again.
    #[test]
    fn the_quorum_port_is_held_and_listens_only_when_it_is_told() {
        // The kernel keeps a port that was asked for. No other test is at this address.
        let [.., high, low] = std::process::id().to_be_bytes();
        let host = format!("127.{}.{low}.255", 1 + high % 254);
        let listeners = PeerListeners::bind(&addresses(&host, 22_598, 22_599)).unwrap();
        let votes = listeners.election_addresses().next().unwrap();
        assert!(TcpStream::connect(votes).is_ok());
        let learners = listeners.learners[0].address;
        for _ in 0..3 {
            assert!(TcpStream::connect(learners).is_err());
            listeners.learners[0].open().unwrap();
            let dialled = TcpStream::connect(learners).unwrap();
            listeners.learners[0].shut();
            drop(dialled);
        }
        assert!(TcpStream::connect(learners).is_err());
    }

    #[test]
    fn what_cannot_be_had_names_the_line_and_the_remedy() {
        let taken = PeerListeners::bind(&addresses("127.0.0.1", 0, 0)).unwrap();
        let port = taken.election_addresses().next().unwrap().port();
        let said = |addresses| PeerListeners::bind(&addresses).unwrap_err().to_string();
        let in_use = said(addresses("127.0.0.1", 0, port));
        assert!(in_use.contains("election port: 127.0.0.1") && in_use.contains("ss -ltnp"));
        assert!(in_use.contains("server.3"), "{in_use}");
        let foreign = said(addresses("203.0.113.7", 0, 0));
        assert!(foreign.contains("no address of this machine"), "{foreign}");
        let unknown = said(addresses("no such host", 0, 0));
        assert!(unknown.contains("cannot resolve no such host"), "{unknown}");
        let every = PeerAddresses { listen_on_all: true, ..addresses("203.0.113.7", 0, 0) };
        let port = PeerListeners::bind(&every).unwrap().election_addresses().next().unwrap().port();
        assert_ne!(port, 0);
    }

    #[test]
    fn ipv4_is_dialled_before_ipv6_and_each_address_once() {
        assert_eq!(resolve("::1").unwrap(), [IpAddr::V6(Ipv6Addr::LOCALHOST)]);
        let local = resolve("localhost").unwrap();
        assert_eq!(local[0], IpAddr::V4(Ipv4Addr::LOCALHOST));
        assert!(local.len() <= 2, "{local:?}");
    }
}
