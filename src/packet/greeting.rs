//! The first bytes of a connection to the election port (`QuorumCnxManager.InitialMessage`): who
//! dials, and where it can be dialled.

use std::fmt;

use crate::jute::{Reader, Writer};

/// Who dials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    pub server_id: i64,
    /// The addresses of its election port as `host:port`, IPv6 in brackets; none from servers
    /// before 3.5, several from servers with `multiAddress.enabled`. They are not proven.
    pub addresses: Vec<String>,
}

/// The reason why a connection to the election port is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GreetingError {
    /// A protocol version that is unknown.
    Version(i64),
    /// The length of the addresses is not between 1 and 2,048 bytes.
    Length(i32),
    /// The addresses are not `host:port`, joined by `|`.
    Addresses,
}

impl fmt::Display for GreetingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "protocol version {version} is unknown"),
            Self::Length(len) => write!(f, "an address of {len} bytes"),
            Self::Addresses => f.write_str("the address is not host:port"),
        }
    }
}

impl std::error::Error for GreetingError {}

impl Greeting {
    /// Reads a greeting at the start of `bytes`: with how many of them it took, or `None` if it is
    /// not whole yet.
    pub fn read(bytes: &[u8]) -> Result<Option<(Self, usize)>, GreetingError> {
        let mut reader = Reader::new(bytes);
        let Ok(version) = reader.i64() else { return Ok(None) };
        // Before 3.5 the first number was the server id, and nothing followed.
        if version >= 0 {
            let taken = bytes.len() - reader.rest().len();
            return Ok(Some((Self { server_id: version, addresses: Vec::new() }, taken)));
        }
        if ![VERSION_ONE_ADDRESS, VERSION_ADDRESSES].contains(&version) {
            return Err(GreetingError::Version(version));
        }
        let (Ok(server_id), Ok(len)) = (reader.i64(), reader.i32()) else { return Ok(None) };
        let fits = usize::try_from(len).ok().filter(|len| (1..=ADDRESS_BYTES_MAX).contains(len));
        let len = fits.ok_or(GreetingError::Length(len))?;
        let Ok(text) = reader.take(len, "address") else { return Ok(None) };
        let text = std::str::from_utf8(text).map_err(|_| GreetingError::Addresses)?;
        let addresses: Vec<String> = text.split('|').map(str::to_owned).collect();
        if !addresses.iter().all(|address| is_host_and_port(address)) {
            return Err(GreetingError::Addresses);
        }
        Ok(Some((Self { server_id, addresses }, bytes.len() - reader.rest().len())))
    }

    /// Appends the greeting. Apache's reads it all at once: it must be sent in one piece.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        if self.addresses.is_empty() {
            return writer.i64(self.server_id);
        }
        let is_one = self.addresses.len() == 1;
        writer.i64(if is_one { VERSION_ONE_ADDRESS } else { VERSION_ADDRESSES });
        writer.i64(self.server_id);
        writer.string(&self.addresses.join("|"));
    }
}

fn is_host_and_port(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else { return false };
    let is_bracketed = host.starts_with('[') && host.ends_with(']');
    !host.is_empty() && (is_bracketed || !host.contains(':')) && port.parse::<u16>().is_ok()
}

/// `PROTOCOL_VERSION_V1`: one address, since 3.5.
const VERSION_ONE_ADDRESS: i64 = -65536;
/// `PROTOCOL_VERSION_V2`: several, since 3.6.
const VERSION_ADDRESSES: i64 = -65535;
/// The longest text of addresses, in bytes.
const ADDRESS_BYTES_MAX: usize = 2048;
