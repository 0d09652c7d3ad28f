//! Four-letter words, asked over the client port.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// What a server that runs says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Nothing: it does not listen yet, or is too busy.
    Nothing,
    /// That it does not serve: it looks for a leader, or takes the data from one.
    NotServing,
    /// That it serves.
    Serving {
        /// `leader`, `follower`, `observer`, `standalone` or `read-only`.
        mode: String,
        /// As it prints it.
        zxid: String,
        /// Connections but for the one that asks.
        clients: u64,
    },
}

impl Said {
    /// Whether a quorum has this server at its head.
    pub(super) fn leads(&self) -> bool {
        matches!(self, Self::Serving { mode, .. } if mode == "leader" || mode == "standalone")
    }

    /// Whether clients that write are served.
    pub(super) fn serves(&self) -> bool {
        matches!(self, Self::Serving { mode, .. } if mode != "read-only")
    }
}

/// Asks the server whose client port is `address`.
pub(super) fn ask(address: &(String, u16)) -> Said {
    answer(address, "srvr").map_or(Said::Nothing, |text| parse(&text))
}

/// The answer to a word; none where nobody answers within seconds.
pub(super) fn answer((host, port): &(String, u16), word: &str) -> Option<String> {
    let addresses = (host.as_str(), *port).to_socket_addrs().ok()?.take(ADDRESSES_MAX);
    let mut connected =
        addresses.filter_map(|address| TcpStream::connect_timeout(&address, PATIENCE).ok());
    let mut stream = connected.next()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(word.as_bytes()).ok()?;
    let mut text = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

fn parse(text: &str) -> Said {
    let field = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name));
        value.map(|value| value.trim().to_owned())
    };
    let (Some(mode), Some(zxid)) = (field("Mode:"), field("Zxid:")) else {
        let is_refusal = text.contains("not currently serving requests");
        return if is_refusal { Said::NotServing } else { Said::Nothing };
    };
    let connections: u64 = field("Connections:").and_then(|text| text.parse().ok()).unwrap_or(0);
    Said::Serving { mode, zxid, clients: connections.saturating_sub(1) }
}

const PATIENCE: Duration = Duration::from_secs(2);
/// A name may have several; each may take as long as [`PATIENCE`].
const ADDRESSES_MAX: usize = 4;
const ANSWER_BYTES_MAX: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_understood() {
        let text = "Zookeeper version: 3.9.5\nLatency min/avg/max: 0/0.0/0\nConnections: 3\n\
                    Zxid: 0x100000005\nMode: leader\nNode count: 5\n\
                    Proposal sizes last/min/max: -1/-1/-1\n";
        let wanted =
            Said::Serving { mode: "leader".into(), zxid: "0x100000005".into(), clients: 2 };
        assert_eq!(parse(text), wanted);
        assert!(wanted.leads() && wanted.serves());
        let refusal = "This ZooKeeper instance is not currently serving requests\n";
        assert_eq!(parse(refusal), Said::NotServing);
        assert_eq!(parse(""), Said::Nothing);
        assert_eq!(parse("HTTP/1.1 400 Bad Request"), Said::Nothing);
    }
}
