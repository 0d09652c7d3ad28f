//! The ports of a local ensemble, and whether they are free.

use std::net::{TcpListener, ToSocketAddrs};
use std::thread;
use std::time::{Duration, Instant};

/// A port that a server is going to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Port {
    /// `host:port`.
    pub(super) address: String,
    /// What for, and whose.
    pub(super) purpose: String,
}

/// A port that cannot be listened on.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) port: Port,
    /// The system's word.
    pub(super) why: String,
}

/// Those of `ports` that cannot be listened on now. A server that was killed holds its ports a
/// moment longer than it lives, so they are tried for a while.
pub(super) fn taken(ports: &[Port]) -> Vec<Taken> {
    let deadline = Instant::now() + PREDECESSOR_TIME;
    loop {
        let taken: Vec<Taken> = ports.iter().filter_map(refused).collect();
        if taken.is_empty() || Instant::now() >= deadline {
            return taken;
        }
        thread::sleep(RETRY);
    }
}

/// Nobody listens there and this machine has the address.
fn refused(port: &Port) -> Option<Taken> {
    let addresses = port.address.to_socket_addrs();
    let bound = addresses.and_then(|addresses| TcpListener::bind(&*addresses.collect::<Vec<_>>()));
    let why = bound.err()?.to_string();
    Some(Taken { port: port.clone(), why })
}

const PREDECESSOR_TIME: Duration = Duration::from_secs(2);
const RETRY: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named_with_its_purpose() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let port = Port { address, purpose: "clients of server 1".into() };
        let found = taken(std::slice::from_ref(&port));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].port, port);
        drop(listener);
        assert!(taken(&[port]).is_empty());
    }
}
