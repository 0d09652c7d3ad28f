//! The lines that name servers: how many voters there are, and where this server itself takes
//! clients.
//!
//! One voter runs alone, as Apache runs it; more are refused until there is an ensemble to run them
//! in.

use super::error::ConfigError;
use super::properties::{Entry, trim};

/// One `server.N` line, as far as a standalone server needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerLine {
    /// The N.
    pub id: i64,
    /// Whether it votes.
    pub voter: bool,
    /// The address after `;`, if there is one.
    pub client: Option<ClientAddress>,
}

/// Where a server line says that clients are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientAddress {
    /// Host or address, without brackets; `None` is every address.
    pub host: Option<String>,
    /// Its port.
    pub port: u16,
}

impl ServerLine {
    /// Reads `server.N=host:port:port[:role][|...][;[host:]port[;...]]`.
    pub fn parse(key: &str, value: &str) -> Result<Self, ConfigError> {
        let refused = || ConfigError::ServerLine { key: key.to_owned(), value: value.to_owned() };
        let id =
            key.strip_prefix("server.").and_then(super::values::parse_long).ok_or_else(refused)?;
        let mut parts = value.split(';').map(trim);
        let mut voter = true;
        for address in parts.next().unwrap_or_default().split('|') {
            voter &= is_voter(address).ok_or_else(refused)?;
        }
        let client =
            parts.next().map(|text| ClientAddress::parse(text).ok_or_else(refused)).transpose()?;
        Ok(Self { id, voter, client })
    }
}

impl ClientAddress {
    fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (Some(host.trim_start_matches('[').trim_end_matches(']')), port),
            None => (None, text),
        };
        let host = host.filter(|host| !host.is_empty()).map(str::to_owned);
        Some(Self { host, port: port.parse().ok()? })
    }
}

impl std::fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host.as_deref().unwrap_or("0.0.0.0"), self.port)
    }
}

/// Whether an address stands for all of the machine's.
pub fn is_any_address(host: &str) -> bool {
    matches!(host, "" | "0.0.0.0" | "::" | "[::]" | "0:0:0:0:0:0:0:0")
}

/// Every server line among `entries`; refuses what may not stand beside `dynamicConfigFile`.
pub fn server_lines(
    entries: &[Entry],
    beside_dynamic_file: bool,
) -> Result<Vec<ServerLine>, ConfigError> {
    let mut lines: Vec<(String, ServerLine)> = Vec::new();
    for entry in entries {
        let key = trim(&entry.key);
        let names_servers =
            key.starts_with("server.") || key.starts_with("group") || key.starts_with("weight");
        if names_servers && beside_dynamic_file {
            return Err(ConfigError::BesideDynamicFile { key: key.to_owned() });
        }
        if key.starts_with("server.") {
            let line = ServerLine::parse(key, trim(&entry.value))?;
            lines.retain(|(earlier, _)| earlier != key);
            lines.push((key.to_owned(), line));
        }
    }
    Ok(lines.into_iter().map(|(_, line)| line).collect())
}

/// Refuses what is no server line, group or weight: the dynamic file may hold nothing else.
pub fn check_dynamic_file(entries: &[Entry]) -> Result<(), ConfigError> {
    let belongs =
        |key: &str| ["server.", "group", "weight"].iter().any(|family| key.starts_with(family));
    match entries.iter().map(|entry| trim(&entry.key)).find(|key| !belongs(key)) {
        Some(key) => Err(ConfigError::NotDynamic { key: key.to_owned() }),
        None => Ok(()),
    }
}

/// Refuses anything but a server on its own.
pub fn check_alone(lines: &[ServerLine], standalone_enabled: bool) -> Result<(), ConfigError> {
    let voters = lines.iter().filter(|line| line.voter).count();
    let observers = lines.len() - voters;
    match voters {
        0 if !standalone_enabled => Err(ConfigError::NoVoters),
        0 | 1 if observers > 0 => Err(ConfigError::Observers),
        0 => Ok(()),
        1 if standalone_enabled => Ok(()),
        _ => Err(ConfigError::Ensemble { voters, standalone_enabled }),
    }
}

/// Whether `host:port:port[:role]` names a voter; `None` if it does not parse.
fn is_voter(address: &str) -> Option<bool> {
    let (host, ports) = match address.strip_prefix('[') {
        Some(rest) => rest.split_once("]:")?,
        None => address.split_once(':')?,
    };
    let mut fields = ports.split(':');
    let ports_fit = fields.by_ref().take(2).filter(|port| port.parse::<u16>().is_ok()).count() == 2;
    let role = fields.next().map(str::to_ascii_lowercase);
    if host.is_empty() || !ports_fit || fields.next().is_some() {
        return None;
    }
    match role.as_deref() {
        None | Some("participant") => Some(true),
        Some("observer") => Some(false),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(value: &str) -> Option<(bool, Option<String>)> {
        let line = ServerLine::parse("server.1", value).ok()?;
        Some((line.voter, line.client.map(|client| client.to_string())))
    }

    #[test]
    fn server_lines_parse() {
        let client = |text: &str| Some(text.to_owned());
        for (value, wanted) in [
            ("h:2888:3888", (true, None)),
            ("h:2888:3888:participant;2181", (true, client("0.0.0.0:2181"))),
            ("h:2888:3888:OBSERVER;0.0.0.0:2181", (false, client("0.0.0.0:2181"))),
            ("h:2888:3888 ; 10.0.0.1:2182", (true, client("10.0.0.1:2182"))),
            ("[::1]:2888:3888;[::1]:2181", (true, client("::1:2181"))),
            ("h:1:2|i:3:4;2181", (true, client("0.0.0.0:2181"))),
            ("h:1:2;2181;2281", (true, client("0.0.0.0:2181"))),
        ] {
            assert_eq!(line(value), Some(wanted), "{value}");
        }
        for value in [
            "",
            "h",
            "h:1",
            "h:x:2",
            "h:1:2:3",
            "h:1:2:observer:x",
            ":1:2",
            "h:1:2;",
            "h:1:2;x",
            "h:1:99999",
        ] {
            assert_eq!(line(value), None, "{value}");
        }
        assert!(ServerLine::parse("server.x", "h:1:2").is_err());
    }

    #[test]
    fn only_a_server_on_its_own_may_start() {
        let of = |voters: usize, observers: usize| -> Vec<ServerLine> {
            let make = |voter| move |id| ServerLine { id, voter, client: None };
            (0..voters as i64)
                .map(make(true))
                .chain((0..observers as i64).map(make(false)))
                .collect()
        };
        assert!(check_alone(&of(0, 0), true).is_ok());
        assert!(check_alone(&of(1, 0), true).is_ok());
        assert!(matches!(check_alone(&of(0, 0), false), Err(ConfigError::NoVoters)));
        assert!(matches!(check_alone(&of(0, 1), true), Err(ConfigError::Observers)));
        assert!(matches!(check_alone(&of(1, 1), true), Err(ConfigError::Observers)));
        assert!(matches!(
            check_alone(&of(1, 0), false),
            Err(ConfigError::Ensemble { voters: 1, .. })
        ));
        assert!(matches!(
            check_alone(&of(2, 0), true),
            Err(ConfigError::Ensemble { voters: 2, .. })
        ));
        assert!(matches!(
            check_alone(&of(3, 2), true),
            Err(ConfigError::Ensemble { voters: 3, .. })
        ));
    }
}
