//! The membership of an ensemble as lines of text: in configuration files, in notifications, in
//! NEWLEADER and in `/zookeeper/config`. Read and printed as Apache's `QuorumMaj` and
//! `QuorumHierarchical` do it.

use std::fmt;
use std::net::Ipv6Addr;

/// Lines of one membership: more are refused.
const LINES_MAX: usize = 4096;

/// The lines `server.N`, `group.N`, `weight.N` and `version`. Any number of servers, also none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// In the order in which they are printed. Invariant: no id stands twice.
    pub servers: Vec<QuorumServer>,
    /// None where no line names a group or a weight: then the majority decides.
    pub hierarchy: Option<Hierarchy>,
    /// The zxid of the reconfig that made it; 0 without one.
    pub version: i64,
}

/// One `server.N` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumServer {
    /// The N.
    pub id: i64,
    /// Whether it is a participant; an observer otherwise.
    pub votes: bool,
    /// Where the other servers reach it, in the order of the hosts. Invariant: not empty.
    pub addresses: Vec<ServerAddress>,
    /// Where it takes clients, if the line says so.
    pub client: Option<ClientAddress>,
    /// Where it takes clients over TLS, if the line says so (Apache 3.10; 3.9 cannot read it).
    pub secure_client: Option<ClientAddress>,
}

/// One of the addresses of a server for the other servers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerAddress {
    /// Name or address, without brackets.
    pub host: String,
    /// Where a leader takes its learners.
    pub quorum_port: u16,
    /// Where votes are taken.
    pub election_port: u16,
}

/// Where a server line says that clients are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAddress {
    /// Name or address, without brackets; `None` is every address.
    pub host: Option<String>,
    /// Its port.
    pub port: u16,
}

/// The lines `group.N` and `weight.N`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hierarchy {
    /// Server and group, in the order in which they are printed. Invariant: no server stands twice,
    /// each has a weight, and every participant is here.
    pub group_of: Vec<(i64, i64)>,
    /// Server and weight, in the order in which they are printed; also of servers that are no
    /// members. Invariant: no server stands twice, and the sum is at most `i64::MAX`.
    pub weights: Vec<(i64, u64)>,
}

/// The reason why lines are no membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MembershipError {
    /// More than [`LINES_MAX`] lines.
    TooMany,
    /// What follows the dot of a key is no number.
    Key { key: String },
    /// A `server.N` line of another form.
    Server { key: String, value: String },
    /// The quorum port is the election port.
    OnePort { key: String, port: u16 },
    /// Two lines are about one server.
    TwoLines { id: i64 },
    /// A `group.N` line of another form.
    Group { key: String, value: String },
    /// A `weight.N` line of another form.
    Weight { key: String, value: String },
    /// The weights together are no number of 63 bits.
    Weights,
    /// The version is no hexadecimal number.
    Version { value: String },
    /// A server in two groups.
    TwoGroups { id: i64, groups: [i64; 2] },
    /// A participant in no group, though there are groups or weights.
    NoGroup { id: i64 },
    /// A server of a group that is no participant and has no weight.
    Stranger { id: i64, group: i64 },
}

impl fmt::Display for MembershipError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany => {
                write!(f, "more than {LINES_MAX} lines name servers, groups and weights")
            }
            Self::Key { key } => write!(
                f,
                "{key}: a number must follow the dot; write server.N, group.N or weight.N"
            ),
            Self::Server { key, value } => write!(
                f,
                "{key}={value} does not parse; write \
                 {key}=host:quorumPort:electionPort[:participant|:observer][;[clientAddress:]clientPort]"
            ),
            Self::OnePort { key, port } => write!(
                f,
                "{key}: {port} is both the quorum port and the election port; give one of them \
                 another number"
            ),
            Self::TwoLines { id } => {
                write!(f, "two lines are about server {id}; take one of them out")
            }
            Self::Group { key, value } => write!(
                f,
                "{key}={value} does not parse; write the ids of its servers between colons, as in \
                 {key}=1:2:3"
            ),
            Self::Weight { key, value } => {
                write!(f, "{key}={value} does not parse; write a whole number, 0 or more")
            }
            Self::Weights => f.write_str(
                "the weights together are too large a number; write small ones, as weight.1=1",
            ),
            Self::Version { value } => write!(
                f,
                "version={value} does not parse; take the line out, the version is kept by the \
                 servers"
            ),
            Self::TwoGroups { id, groups: [one, other] } => write!(
                f,
                "server {id} is in group.{one} and in group.{other}; leave it in one of them"
            ),
            Self::NoGroup { id } => write!(
                f,
                "server {id} is in no group; write it into a group.N line, or take all group.N \
                 and weight.N lines out"
            ),
            Self::Stranger { id, group } => write!(
                f,
                "group.{group} names server {id}, which is no participant; take it out of the \
                 group"
            ),
        }
    }
}

impl std::error::Error for MembershipError {}

impl Membership {
    /// Takes the lines that are about a membership out of key-value pairs; of two with one key the
    /// later one counts.
    pub fn of_lines<'a>(
        lines: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, MembershipError> {
        let mut kept: Vec<(&str, &str)> = Vec::new();
        for (key, value) in lines.into_iter().filter(|(key, _)| Self::has_line(key)) {
            match kept.iter().position(|(earlier, _)| *earlier == key) {
                Some(earlier) => kept[earlier].1 = value,
                None if kept.len() == LINES_MAX => return Err(MembershipError::TooMany),
                None => kept.push((key, value)),
            }
        }
        let mut found = Self::default();
        let mut hierarchy = Hierarchy::default();
        for (key, value) in &kept {
            if *key == "version" {
                found.version = i64::from_str_radix(value, 16)
                    .map_err(|_| MembershipError::Version { value: (*value).to_owned() })?;
            } else if key.starts_with("server.") {
                let server = QuorumServer::of_line(key, value)?;
                if found.servers.iter().any(|other| other.id == server.id) {
                    return Err(MembershipError::TwoLines { id: server.id });
                }
                found.servers.push(server);
            } else if key.starts_with("group") {
                hierarchy.add_group(key, value)?;
            } else {
                hierarchy.add_weight(key, value)?;
            }
        }
        in_hash_order(&mut found.servers, |server| server.id);
        if kept.iter().any(|(key, _)| key.starts_with("group") || key.starts_with("weight")) {
            found.hierarchy = Some(hierarchy.completed(&found.servers)?);
        }
        Ok(found)
    }

    /// Whether a line with this key is about the membership, well formed or not.
    pub fn has_line(key: &str) -> bool {
        key == "version" || ["server.", "group", "weight"].iter().any(|of| key.starts_with(of))
    }

    /// The server with this id.
    pub fn server(&self, id: i64) -> Option<&QuorumServer> {
        self.servers.iter().find(|server| server.id == id)
    }
}

impl QuorumServer {
    /// Reads `server.N=host:port:port[:role][|...][;[host:]port[;[host:]port]]`.
    fn of_line(key: &str, value: &str) -> Result<Self, MembershipError> {
        let refused = || MembershipError::Server { key: key.to_owned(), value: value.to_owned() };
        let id = number_of(key)?;
        let parts = split(value, ';');
        let [servers, clients @ ..] = &parts[..] else { return Err(refused()) };
        let (mut addresses, mut role) = (Vec::new(), None);
        for text in split(servers, '|') {
            let (address, own) = server_address(text).ok_or_else(refused)?;
            if address.quorum_port == address.election_port {
                let (key, port) = (key.to_owned(), address.quorum_port);
                return Err(MembershipError::OnePort { key, port });
            }
            if own.is_some_and(|own| *role.get_or_insert(own) != own) {
                return Err(refused());
            }
            addresses.push(address);
        }
        addresses.sort();
        addresses.dedup();
        let client = |text: Option<&&str>| match text {
            None | Some(&"") => Ok(None),
            Some(text) => client_address(text).map(Some).ok_or_else(refused),
        };
        if addresses.is_empty() || clients.len() > 2 {
            return Err(refused());
        }
        let (client, secure_client) = (client(clients.first())?, client(clients.get(1))?);
        Ok(Self { id, votes: role.unwrap_or(true), addresses, client, secure_client })
    }
}

impl Hierarchy {
    fn add_group(&mut self, key: &str, value: &str) -> Result<(), MembershipError> {
        let group = number_of(key)?;
        for id in split(value, ':') {
            let id: i64 = id.parse().map_err(|_| MembershipError::Group {
                key: key.to_owned(),
                value: value.to_owned(),
            })?;
            if let Some((_, other)) = self.group_of.iter().find(|(other, _)| *other == id) {
                return Err(MembershipError::TwoGroups { id, groups: [*other, group] });
            }
            self.group_of.push((id, group));
        }
        Ok(())
    }

    fn add_weight(&mut self, key: &str, value: &str) -> Result<(), MembershipError> {
        let id = number_of(key)?;
        let weight = value.parse().map_err(|_| MembershipError::Weight {
            key: key.to_owned(),
            value: value.to_owned(),
        })?;
        if self.weights.iter().any(|(other, _)| *other == id) {
            return Err(MembershipError::TwoLines { id });
        }
        self.weights.push((id, weight));
        Ok(())
    }

    /// With the weight of participants that have none of their own, which is 1.
    fn completed(mut self, servers: &[QuorumServer]) -> Result<Self, MembershipError> {
        let has = |weights: &[(i64, u64)], id| weights.iter().any(|(other, _)| *other == id);
        for server in servers.iter().filter(|server| server.votes) {
            if !self.group_of.iter().any(|(id, _)| *id == server.id) {
                return Err(MembershipError::NoGroup { id: server.id });
            }
            if !has(&self.weights, server.id) {
                self.weights.push((server.id, 1));
            }
        }
        if let Some((id, group)) = self.group_of.iter().find(|(id, _)| !has(&self.weights, *id)) {
            return Err(MembershipError::Stranger { id: *id, group: *group });
        }
        let sum = self.weights.iter().try_fold(0u64, |sum, (_, weight)| sum.checked_add(*weight));
        if sum.is_none_or(|sum| sum > i64::MAX as u64) {
            return Err(MembershipError::Weights);
        }
        in_hash_order(&mut self.group_of, |(id, _)| *id);
        in_hash_order(&mut self.weights, |(id, _)| *id);
        Ok(self)
    }
}

/// As it goes over the wire: without a line's end after the last line.
impl fmt::Display for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for server in &self.servers {
            writeln!(f, "server.{}={server}", server.id)?;
        }
        if let Some(hierarchy) = &self.hierarchy {
            hierarchy.fmt(f)?;
        }
        write!(f, "version={:x}", self.version)
    }
}

impl fmt::Display for QuorumServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, address) in self.addresses.iter().enumerate() {
            let between = if nth == 0 { "" } else { "|" };
            let ServerAddress { host, quorum_port, election_port } = address;
            write!(f, "{between}{}:{quorum_port}:{election_port}", Bracketed(host))?;
        }
        f.write_str(if self.votes { ":participant" } else { ":observer" })?;
        match (&self.client, &self.secure_client) {
            (None, None) => Ok(()),
            (Some(client), None) => write!(f, ";{client}"),
            (None, Some(secure)) => write!(f, ";;{secure}"),
            (Some(client), Some(secure)) => write!(f, ";{client};{secure}"),
        }
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", Bracketed(self.host.as_deref().unwrap_or("0.0.0.0")), self.port)
    }
}

/// Lines, each with its end.
impl fmt::Display for Hierarchy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut groups: Vec<(i64, String)> = Vec::new();
        for (id, group) in &self.group_of {
            match groups.iter_mut().find(|(other, _)| other == group) {
                Some((_, ids)) => *ids += &format!(":{id}"),
                None => groups.push((*group, id.to_string())),
            }
        }
        in_hash_order(&mut groups, |(group, _)| *group);
        groups.iter().try_for_each(|(group, ids)| writeln!(f, "group.{group}={ids}"))?;
        self.weights.iter().try_for_each(|(id, weight)| writeln!(f, "weight.{id}={weight}"))
    }
}

/// A host before a port.
struct Bracketed<'a>(&'a str);

impl fmt::Display for Bracketed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.contains(':') {
            true => write!(f, "[{}]", self.0),
            false => f.write_str(self.0),
        }
    }
}

/// `host:port:port[:role]`: the address, and whether the role votes.
fn server_address(text: &str) -> Option<(ServerAddress, Option<bool>)> {
    let fields = host_and_ports(text)?;
    let (host, quorum_port, election_port, role) = match fields[..] {
        [host, quorum, election] => (host, quorum, election, None),
        [host, quorum, election, role] => (host, quorum, election, Some(role)),
        _ => return None,
    };
    let votes = match role.map(|role| role.trim().to_ascii_lowercase()).as_deref() {
        None => None,
        Some("participant") => Some(true),
        Some("observer") => Some(false),
        Some(_) => return None,
    };
    let (quorum_port, election_port) = (quorum_port.parse().ok()?, election_port.parse().ok()?);
    Some((ServerAddress { host: host_of(host)?, quorum_port, election_port }, votes))
}

/// `[host:]port`.
fn client_address(text: &str) -> Option<ClientAddress> {
    let (host, port) = match host_and_ports(text)?[..] {
        [port] => (None, port),
        [host, port] => (Some(host_of(host)?), port),
        _ => return None,
    };
    Some(ClientAddress { host, port: port.parse().ok()? })
}

/// A host, which may stand in brackets, and what follows it between colons.
fn host_and_ports(text: &str) -> Option<Vec<&str>> {
    let Some(rest) = text.strip_prefix('[') else { return Some(split(text, ':')) };
    let (host, ports) = rest.split_once("]:")?;
    Some([host].into_iter().chain(split(ports, ':')).collect())
}

/// A host as it is printed: an IPv6 address in full. None that would not survive being printed.
fn host_of(text: &str) -> Option<String> {
    if let Ok(address) = text.parse::<Ipv6Addr>() {
        return Some(match address.to_ipv4_mapped() {
            Some(address) => address.to_string(),
            None => address.segments().map(|segment| format!("{segment:x}")).join(":"),
        });
    }
    let is_plain = |ch: char| !ch.is_whitespace() && !ch.is_control() && ch != '\\';
    (!text.is_empty() && text.chars().all(is_plain)).then(|| text.to_owned())
}

/// The N of a key.
fn number_of(key: &str) -> Result<i64, MembershipError> {
    let number = key.split_once('.').and_then(|(_, number)| number.parse().ok());
    number.ok_or_else(|| MembershipError::Key { key: key.to_owned() })
}

/// Java's `String.split`: empty parts at the end do not count.
fn split(text: &str, at: char) -> Vec<&str> {
    let mut parts: Vec<_> = text.split(at).collect();
    while parts.len() > 1 && parts.last() == Some(&"") {
        parts.pop();
    }
    parts
}

/// Sorts by the order in which a `HashMap<Long, _>` of Java goes over these ids. Ids that share a
/// bucket keep their order: in a text of Apache's that is the printed one.
fn in_hash_order<T>(items: &mut [T], id: impl Fn(&T) -> i64) {
    // It doubles beyond three quarters.
    let mut buckets = 16;
    while items.len() * 4 > buckets * 3 {
        buckets *= 2;
    }
    items.sort_by_key(|item| {
        let id = id(item) as u64;
        let hash = (id ^ id >> 32) as u32;
        (hash ^ hash >> 16) as usize & (buckets - 1)
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::ids::KnownIds;
    use crate::packet::{Notification, Packet};
    use bytes::Bytes;

    fn golden(name: &str) -> String {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/ensemble/");
        std::fs::read_to_string(format!("{folder}{name}")).expect("a golden file")
    }

    fn parsed<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<Membership, MembershipError> {
        Membership::of_lines(lines.into_iter().map(|line| line.split_once('=').expect("a line")))
    }

    /// The lines of each case, and what Apache prints for them, if it takes them.
    fn cases(text: &str) -> Vec<(&str, Vec<&str>, Option<String>)> {
        let mut cases: Vec<(&str, Vec<&str>, Option<String>)> = Vec::new();
        for line in text.lines() {
            let Some((kind, rest)) = line.split_once(' ') else { continue };
            match (kind, cases.last_mut()) {
                ("=", _) => cases.push((rest, Vec::new(), None)),
                ("<", Some((_, lines, _))) => lines.push(rest),
                (">", Some((.., printed))) => {
                    let before = printed.take().map_or(String::new(), |before| before + "\n");
                    *printed = Some(before + rest);
                }
                _ => {}
            }
        }
        cases
    }

    #[test]
    fn it_is_printed_and_refused_as_apache_does_it() {
        let text = golden("memberships.txt");
        let cases = cases(&text);
        assert!(cases.len() > 60, "{} cases", cases.len());
        for (name, lines, printed) in cases {
            let ours = parsed(lines).map(|membership| membership.to_string());
            match name {
                // Only 3.10 takes them.
                "two client addresses" => assert!(ours.is_ok() && printed.is_none()),
                _ => assert_eq!(ours.clone().ok(), printed, "{name}: {ours:?}"),
            }
        }
    }

    #[test]
    fn texts_of_apaches_servers_come_back_byte_for_byte() {
        let mut texts = Vec::new();
        for line in golden("frames.txt").lines() {
            let [port, _, kind, hex] = line.split(' ').collect::<Vec<_>>()[..] else { continue };
            let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
            let bytes: Bytes = (0..hex.len()).step_by(2).map(byte).collect();
            match (port, kind) {
                ("election", "NOTIF") => {
                    let said = Notification::read(&bytes.slice(4..)).expect("a notification");
                    texts.push(said.config);
                }
                ("quorum", "NEWLEADER") => {
                    let packet = Packet::read(&bytes, &mut KnownIds::default()).expect("a packet");
                    let Packet::NewLeader { config, .. } = packet else { panic!("{packet:?}") };
                    texts.extend(config);
                }
                _ => {}
            }
        }
        texts.retain(|text| !text.is_empty());
        assert!(texts.len() > 20, "{} texts", texts.len());
        for text in texts {
            let text = str::from_utf8(&text).expect("text");
            let membership = parsed(text.lines()).expect("a membership of Apache's");
            assert_eq!(membership.to_string(), text);
        }
    }

    #[test]
    fn what_is_printed_reads_as_the_same() {
        let text = golden("memberships.txt");
        for (name, lines, _) in cases(&text) {
            let Ok(membership) = parsed(lines) else { continue };
            if membership.version < 0 {
                // Java prints it and does not read it.
                continue;
            }
            let text = membership.to_string();
            assert_eq!(parsed(text.lines()).expect("its own text").to_string(), text, "{name}");
        }
        let tls = parsed(["server.1=h:1:2;2181;[::1]:2281"]).expect("a line of 3.10");
        assert_eq!(
            tls.to_string(),
            "server.1=h:1:2:participant;0.0.0.0:2181;[0:0:0:0:0:0:0:1]:2281\nversion=0"
        );
        let tls = parsed(["server.1=h:1:2;;2281"]).expect("a line of 3.10");
        assert_eq!(tls.to_string(), "server.1=h:1:2:participant;;0.0.0.0:2281\nversion=0");
    }

    #[test]
    fn refusals_name_the_line_and_the_remedy() {
        for (lines, wanted) in [
            (&["server.1=h:1"][..], "server.1=h:1 does not parse; write server.1=host:"),
            (&["server.1=h:7:7"], "7 is both the quorum port and the election port; give"),
            (&["server.1=h:1:2", "server.01=i:1:2"], "two lines are about server 1; take one"),
            (&["server.1=h:1:2", "group.1=1", "group.2=1"], "in group.1 and in group.2; leave"),
            (&["server.1=h:1:2", "weight.1=1"], "server 1 is in no group; write it into"),
            (&["server.1=h:1:2", "group.1=1:2"], "group.1 names server 2, which is no"),
            (&["server.1=h:1:2", "group.1=1", "weight.1=-1"], "write a whole number, 0 or more"),
            (&["group.1=1;2"], "group.1=1;2 does not parse; write the ids"),
            (&["groups=1"], "groups: a number must follow the dot"),
            (&["version=x"], "version=x does not parse"),
            (
                &["server.1=h:1:2", "group.1=1", "weight.1=9223372036854775807", "weight.2=1"],
                "too large a number",
            ),
            (&["server.1=a\u{7}b:1:2"], "does not parse"),
        ] {
            let refusal = parsed(lines.iter().copied()).expect_err("refused").to_string();
            assert!(refusal.contains(wanted), "{lines:?}\n  gave {refusal}\n  wanted {wanted}");
        }
        let many: Vec<_> = (0..=LINES_MAX).map(|id| format!("server.{id}=h:1:2")).collect();
        let many = parsed(many.iter().map(String::as_str));
        assert_eq!(many, Err(MembershipError::TooMany));
    }

    /// What a peer sends: it is refused, or prints as something that reads as the same.
    #[test]
    fn random_lines_are_refused_or_printed() {
        // Between the slashes: whole lines, and what may stand in the middle of one.
        const PIECES: &str = "\nserver.2=i:3:4/\nserver.17=[::1]:1:2/\nserver./\ngroup.1=3:2/\n\
                              group.7=17/\nweight.2=0/\nweight./\nversion=1f/1/2/17/-/=/h:1:2/\
                              :observer/|/;/:/|j:5:6/;7/\u{e9}/\\/9223372036854775807";
        let pieces: Vec<&str> = PIECES.split('/').collect();
        let mut state = 3;
        let mut random = || crate::splitmix::next(&mut state) as usize;
        let mut read = 0;
        for _ in 0..40_000 {
            let picked = (0..random() % 8).map(|_| pieces[random() % pieces.len()]);
            let text: String = ["server.3=h:1:2"].into_iter().chain(picked).collect();
            let lines = text.lines().filter_map(|line| line.split_once('='));
            let Ok(membership) = Membership::of_lines(lines) else { continue };
            if membership.version >= 0 {
                let printed = membership.to_string();
                let again = parsed(printed.lines()).expect("its own text");
                assert_eq!(again.to_string(), printed, "{text}");
                read += usize::from(!membership.servers.is_empty());
            }
        }
        assert!(read > 1000, "{read} of them are memberships");
    }
}
