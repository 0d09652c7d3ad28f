//! What a local ensemble is on the disk: a directory for each server, named by its number, with
//! `zoo.cfg`, `data/myid`, `server.log` and `server.pid`. The files are written once; later
//! commands take what they say, so that they may be edited.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::packet::QuorumServer;
use crate::server::config::{self, Config};

use super::error::EnsembleError;
use super::ports::Port;

/// A server of an ensemble that is on the disk.
#[derive(Debug)]
pub(super) struct Member {
    /// Its number.
    pub(super) id: i64,
    /// Its directory, with a path that does not depend on where the command is given.
    pub(super) home: PathBuf,
    config: Config,
}

impl Member {
    pub(super) fn config_file(&self) -> PathBuf {
        self.home.join(CONFIG_FILE)
    }

    pub(super) fn log_file(&self) -> PathBuf {
        self.home.join("server.log")
    }

    pub(super) fn pid_file(&self) -> PathBuf {
        self.home.join("server.pid")
    }

    /// Where clients of this machine reach it.
    pub(super) fn client(&self) -> (String, u16) {
        let host = self.config.client_host.as_deref().unwrap_or(LOOPBACK);
        let host = match host {
            "0.0.0.0" => LOOPBACK,
            "::" | "[::]" => "::1",
            host => host.trim_start_matches('[').trim_end_matches(']'),
        };
        (host.to_owned(), self.config.client_port)
    }

    /// Whether it votes; one that runs alone decides alone.
    pub(super) fn votes(&self) -> bool {
        self.line().is_none_or(|line| line.votes)
    }

    /// Whether it takes no clients while it leads.
    pub(super) fn may_only_lead(&self) -> bool {
        self.config.ensemble.as_ref().is_some_and(|ensemble| !ensemble.leader_serves)
    }

    /// Whether it listens to other servers.
    pub(super) fn has_peers(&self) -> bool {
        self.line().is_some()
    }

    /// The ports between servers, as text.
    pub(super) fn peer_ports(&self) -> String {
        let Some(address) = self.line().and_then(|line| line.addresses.first()) else {
            return "no ports between servers".into();
        };
        format!("quorum port {}, election port {}", address.quorum_port, address.election_port)
    }

    /// Every port that it is going to listen on.
    pub(super) fn ports(&self) -> Vec<Port> {
        let (host, port) = self.client();
        let peers = self.line().into_iter().flat_map(|line| &line.addresses).flat_map(|address| {
            [("quorum port", address.quorum_port), ("election port", address.election_port)]
                .map(|(what, port)| (what, address.host.clone(), port))
        });
        let all = std::iter::once(("client port", host, port)).chain(peers);
        all.map(|(what, host, port)| named(&host, port, what, self.id)).collect()
    }

    fn line(&self) -> Option<&QuorumServer> {
        self.config.ensemble.as_ref()?.membership.server(self.id)
    }
}

/// The servers in `dir`, by their numbers; none where there is no such directory.
pub(super) fn read(dir: &Path) -> Result<Vec<Member>, EnsembleError> {
    let dir = match fs::canonicalize(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        found => found.map_err(EnsembleError::file(dir))?,
    };
    let mut members = Vec::new();
    for entry in fs::read_dir(&dir).map_err(EnsembleError::file(&dir))? {
        let entry = entry.map_err(EnsembleError::file(&dir))?;
        let number = entry.file_name().to_str().and_then(|name| name.parse::<i64>().ok());
        if let Some(id) = number.filter(|_| entry.path().join(CONFIG_FILE).is_file()) {
            members.push(read_member(id, entry.path())?);
        }
    }
    members.sort_by_key(|member| member.id);
    Ok(members)
}

fn read_member(id: i64, home: PathBuf) -> Result<Member, EnsembleError> {
    let path = home.join(CONFIG_FILE);
    let text = path.to_str().ok_or_else(|| EnsembleError::Path { path: path.clone() })?;
    let loaded = config::load(&[text.to_owned()], &[], &|path| fs::read(path));
    let config = loaded.map_err(|error| EnsembleError::Config { path, error })?.config;
    match config.ensemble.as_ref().map(|ensemble| ensemble.me.0) {
        Some(myid) if myid != id => return Err(EnsembleError::WrongId { home, id, myid }),
        _ => {}
    }
    Ok(Member { id, home, config })
}

/// Those that are not there are refused.
pub(super) fn chosen(
    members: &[Member],
    server: Option<i64>,
) -> Result<Vec<&Member>, EnsembleError> {
    let Some(id) = server else { return Ok(members.iter().collect()) };
    match members.iter().find(|member| member.id == id) {
        Some(member) => Ok(vec![member]),
        None => {
            let ids = members.iter().map(|member| member.id).collect();
            Err(EnsembleError::NoServer { id, ids })
        }
    }
}

/// An ensemble to be made.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    /// Servers that vote.
    pub(super) voters: u16,
    /// Servers that do not, numbered after them.
    pub(super) observers: u16,
    /// The client port of server 1.
    pub(super) base_port: u16,
    /// Further lines for each zoo.cfg.
    pub(super) settings: &'a [String],
}

impl Plan<'_> {
    /// Checks what the numbers of the ports allow.
    pub(super) fn check(&self) -> Result<(), EnsembleError> {
        let servers = self.voters + self.observers;
        match self.base_port.checked_add(ELECTION_PORTS_FROM + servers - 1) {
            Some(_) => Ok(()),
            None => Err(EnsembleError::BasePort { base: self.base_port, servers }),
        }
    }

    /// Every port that its servers are going to listen on.
    pub(super) fn ports(&self) -> Vec<Port> {
        let of_server = |nth| {
            let [client, quorum, election] = self.ports_of(nth);
            let id = i64::from(nth) + 1;
            [
                named(LOOPBACK, client, "client port", id),
                named(LOOPBACK, quorum, "quorum port", id),
                named(LOOPBACK, election, "election port", id),
            ]
        };
        (0..self.voters + self.observers).flat_map(of_server).collect()
    }

    /// Writes its files into `dir`, which is made.
    pub(super) fn write(&self, dir: &Path) -> Result<(), EnsembleError> {
        fs::create_dir_all(dir).map_err(EnsembleError::file(dir))?;
        let dir = fs::canonicalize(dir).map_err(EnsembleError::file(dir))?;
        let mut entries = fs::read_dir(&dir).map_err(EnsembleError::file(&dir))?;
        if entries.next().is_some() {
            return Err(EnsembleError::NotEmpty { dir });
        }
        for nth in 0..self.voters + self.observers {
            let id = nth + 1;
            let data = dir.join(id.to_string()).join("data");
            fs::create_dir_all(&data).map_err(EnsembleError::file(&data))?;
            let myid = data.join("myid");
            fs::write(&myid, format!("{id}\n")).map_err(EnsembleError::file(&myid))?;
            let path = dir.join(id.to_string()).join(CONFIG_FILE);
            let text = self.configuration(nth, &data)?;
            fs::write(&path, text).map_err(EnsembleError::file(&path))?;
        }
        Ok(())
    }

    fn configuration(&self, nth: u16, data: &Path) -> Result<String, EnsembleError> {
        let data = data.to_str().ok_or_else(|| EnsembleError::Path { path: data.to_owned() })?;
        let [client, ..] = self.ports_of(nth);
        let mut lines = vec![
            format!(
                "# Server {} of an ensemble for development on one machine, written once",
                nth + 1
            ),
            "# by `ringkeeper ensemble start`; edit it as you like.".to_owned(),
            "tickTime=2000".to_owned(),
            "initLimit=10".to_owned(),
            "syncLimit=5".to_owned(),
            format!("dataDir={}", escaped(data)),
            format!("clientPort={client}"),
            format!("clientPortAddress={LOOPBACK}"),
            "4lw.commands.whitelist=*".to_owned(),
            "# Every server of the ensemble shares the cores of this machine.".to_owned(),
            "ringkeeper.shards=1".to_owned(),
            "ringkeeper.placement=unpinned".to_owned(),
        ];
        if self.voters + self.observers == 1 {
            lines.push("# One server is an ensemble as well.".to_owned());
            lines.push("standaloneEnabled=false".to_owned());
        }
        if nth >= self.voters {
            lines.push("peerType=observer".to_owned());
        }
        for nth in 0..self.voters + self.observers {
            let [_, quorum, election] = self.ports_of(nth);
            let role = if nth < self.voters { "" } else { ":observer" };
            lines.push(format!("server.{}={LOOPBACK}:{quorum}:{election}{role}", nth + 1));
        }
        let key = |line: &str| line.split('=').next().unwrap_or_default().trim().to_owned();
        for setting in self.settings {
            lines.retain(|line| line.starts_with('#') || key(line) != key(setting));
            lines.push(setting.clone());
        }
        Ok(lines.join("\n") + "\n")
    }

    /// Client, quorum and election port.
    fn ports_of(&self, nth: u16) -> [u16; 3] {
        [0, QUORUM_PORTS_FROM, ELECTION_PORTS_FROM].map(|from| self.base_port + from + nth)
    }
}

fn named(host: &str, port: u16, what: &str, id: i64) -> Port {
    let address =
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    Port { address, purpose: format!("{what} of server {id}") }
}

/// A value as a file of Java's properties holds it.
fn escaped(value: &str) -> String {
    let mut out = String::new();
    for unit in value.encode_utf16() {
        match char::from_u32(u32::from(unit)) {
            Some('\\') => out.push_str("\\\\"),
            Some(c) if c == ' ' || c.is_ascii_graphic() => out.push(c),
            _ => out.push_str(&format!("\\u{unit:04x}")),
        }
    }
    out
}

const CONFIG_FILE: &str = "zoo.cfg";
const LOOPBACK: &str = "127.0.0.1";
/// From the client port of the same server, so that 2181 goes with 2888 and 3888.
const QUORUM_PORTS_FROM: u16 = 707;
const ELECTION_PORTS_FROM: u16 = 1707;

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(voters: u16, observers: u16, settings: &[String]) -> Plan<'_> {
        Plan { voters, observers, base_port: 2181, settings }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let home = tempfile::tempdir().expect("a directory");
        let dir = home.path().join("a b\\ü");
        let settings = ["tickTime=500".to_owned()];
        plan(3, 1, &settings).write(&dir).expect("it is written");
        let members = read(&dir).expect("it is read");
        assert_eq!(members.iter().map(|member| member.id).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!(members.iter().filter(|member| member.votes()).count(), 3);
        let fourth = &members[3];
        assert_eq!(fourth.client(), ("127.0.0.1".to_owned(), 2184));
        assert_eq!(fourth.peer_ports(), "quorum port 2891, election port 3891");
        assert_eq!(fourth.config.data_dir, fourth.home.join("data"));
        let ensemble = fourth.config.ensemble.as_ref().expect("it is one of an ensemble");
        assert_eq!((ensemble.me.0, ensemble.zab.tick_ms), (4, 500));
        let text = fs::read_to_string(fourth.config_file()).expect("it is a file");
        assert_eq!(text.matches("tickTime=").count(), 1, "a setting takes the place of a line");
        let of_plan = plan(3, 1, &settings).ports();
        let of_members: Vec<Port> = members.iter().flat_map(Member::ports).collect();
        assert_eq!(of_plan, of_members);
    }

    #[test]
    fn one_server_is_an_ensemble() {
        let home = tempfile::tempdir().expect("a directory");
        plan(1, 0, &[]).write(home.path()).expect("it is written");
        let members = read(home.path()).expect("it is read");
        assert!(members[0].config.ensemble.is_some());
    }

    #[test]
    fn nothing_is_written_over() {
        let home = tempfile::tempdir().expect("a directory");
        fs::write(home.path().join("mine"), "").expect("a file");
        let refused = plan(3, 0, &[]).write(home.path());
        assert!(matches!(refused, Err(EnsembleError::NotEmpty { .. })));
        assert!(read(&home.path().join("absent")).expect("no directory").is_empty());
        assert!(read(home.path()).expect("other things").is_empty());
    }

    #[test]
    fn ports_end_at_the_last_one() {
        let plan = |base_port| Plan { base_port, ..plan(3, 0, &[]) };
        assert!(plan(u16::MAX - 1709).check().is_ok());
        assert!(matches!(plan(u16::MAX - 1708).check(), Err(EnsembleError::BasePort { .. })));
    }
}
