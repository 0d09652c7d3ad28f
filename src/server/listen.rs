//! The client port.

use std::fmt;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

/// Why the client port can not be had.
#[derive(Debug)]
pub struct PortUnavailable {
    address: SocketAddr,
    cause: Errno,
}

impl fmt::Display for PortUnavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address;
        match self.cause {
            Errno::ADDRINUSE => write!(
                f,
                "client port: {address} is in use; see who has it with `ss -ltnp 'sport = :{}'`, or set clientPort",
                address.port()
            ),
            Errno::ADDRNOTAVAIL => {
                write!(f, "client port: {} is no address of this machine; set clientPortAddress", address.ip())
            }
            Errno::ACCESS => write!(f, "client port: no permission to listen on {address}; use a port above 1023"),
            cause => write!(f, "client port: can not listen on {address}: {cause}"),
        }
    }
}

impl std::error::Error for PortUnavailable {}

/// Binds `address` without taking connections yet.
///
/// A server that was killed holds its port a moment longer than it lives: the kernel takes its io_uring down behind the
/// process's end. So a port in use is asked for again for a while.
pub fn reserve(address: SocketAddr, keep_alive: bool) -> Result<OwnedFd, PortUnavailable> {
    let deadline = Instant::now() + PREDECESSOR_TIME;
    loop {
        match bound(address, keep_alive) {
            Err(Errno::ADDRINUSE) if Instant::now() < deadline => thread::sleep(RETRY),
            result => return result.map_err(|cause| PortUnavailable { address, cause }),
        }
    }
}

fn bound(address: SocketAddr, keep_alive: bool) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    // Accepted sockets take these over.
    sockopt::set_tcp_nodelay(&socket, true)?;
    sockopt::set_socket_keepalive(&socket, keep_alive)?;
    bind(&socket, &address)?;
    Ok(socket)
}

/// Takes connections from now on; `backlog` of them may wait to be accepted.
pub fn open(socket: &OwnedFd, address: SocketAddr, backlog: i32) -> Result<(), PortUnavailable> {
    listen(socket, backlog).map_err(|cause| PortUnavailable { address, cause })
}

/// How long a port may take to become free after the server that had it was killed.
const PREDECESSOR_TIME: Duration = Duration::from_secs(3);
const RETRY: Duration = Duration::from_millis(20);
