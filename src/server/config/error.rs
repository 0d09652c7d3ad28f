//! The reasons to refuse a configuration. Each says what is wrong, where, and what to write
//! instead.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::packet::MembershipError;
use crate::runtime::ensemble::elections::NetworkError;
use crate::server::exit::Exit;
use crate::zab::MembersError;

use super::properties::MalformedEscape;

/// A configuration that a server must not start with.
#[derive(Debug)]
pub enum ConfigError {
    /// A file could not be read.
    Unreadable { path: PathBuf, error: std::io::Error },
    /// A file breaks the properties syntax.
    Malformed { path: PathBuf, error: MalformedEscape },
    /// The file begins with a byte order mark.
    ByteOrderMark { path: PathBuf, encoding: &'static str },
    /// A directly parsed key, or a command-line argument, that must be a number.
    NotANumber { key: String, value: String },
    /// A directly parsed key that must be `true` or `false`.
    NotABoolean { key: String, value: String },
    /// A word of `ringkeeper.peerNetworks` that is no network.
    NotANetwork { word: String },
    /// A number outside the range that makes sense.
    OutOfRange { key: &'static str, value: i64, range: &'static str },
    /// A value that is none of the words the key knows.
    UnknownWord { key: &'static str, value: String, known: &'static str },
    /// No `dataDir`.
    NoDataDir,
    /// No port for clients: neither `clientPort` nor one in this server's own line.
    NoClientPort { secure_only: bool },
    /// An address without the port that belongs to it.
    AddressWithoutPort { address: &'static str, port: &'static str },
    /// `minSessionTimeout` is above `maxSessionTimeout`.
    SessionTimeouts { min_ms: i32, max_ms: i32 },
    /// `clientPort` and this server's own line name different client addresses.
    ClientAddresses { file: String, line: String },
    /// Observers without an ensemble to observe.
    Observers,
    /// `standaloneEnabled=false` and no voter at all.
    NoVoters,
    /// Lines that are no membership.
    Membership(MembershipError),
    /// A membership that has no quorum.
    Members(MembersError),
    /// A server with several addresses, which is not allowed.
    MultiAddress { id: i64 },
    /// An ensemble without `initLimit` or `syncLimit`.
    NoLimit { key: &'static str },
    /// An ensemble, and no `myid`.
    NoMyId { path: PathBuf },
    /// `myid` is none of the ensemble's.
    NotAMember { id: i64, path: PathBuf, ids: Vec<i64> },
    /// A protection between servers that is not in this version.
    PeerSecurity { key: &'static str, what: &'static str },
    /// A newer membership was proposed, and its end is not known.
    PendingReconfig { path: PathBuf, version: i64 },
    /// `oraclePath` in an ensemble.
    Oracle,
    /// `server.`, `group.` or `weight.` in zoo.cfg beside `dynamicConfigFile`.
    BesideDynamicFile { key: String },
    /// A key that does not belong in the dynamic configuration file.
    NotDynamic { key: String },
    /// `myid` does not hold a number.
    MyId { path: PathBuf },
    /// A SASL requirement between servers without what it needs.
    QuorumSasl { key: &'static str, needs: &'static str },
    /// A Java class that is not one of Apache's own.
    ForeignClass { key: String, class: String, instead: &'static str },
    /// A digest algorithm that is not supported.
    DigestAlgorithm { name: String },
    /// Arguments that fit no form of the command.
    Usage { arguments: usize },
}

impl ConfigError {
    /// Apache's number for it.
    pub fn exit(&self) -> Exit {
        match self {
            // Apache finds out when it starts the election.
            Self::NotAMember { .. } => Exit::UnexpectedError,
            _ => Exit::InvalidInvocation,
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, error } => {
                write!(
                    f,
                    "cannot read {}: {error}; check the path and its permissions",
                    path.display()
                )
            }
            Self::Malformed { path, error } => write!(f, "{}: {error}", path.display()),
            Self::ByteOrderMark { path, encoding } => write!(
                f,
                "{} begins with a byte order mark of {encoding}, which would become a part of its \
                 first key; save it as UTF-8 without one",
                path.display()
            ),
            Self::NotANumber { key, value } => {
                write!(f, "{key} must be a whole number, not {value:?}")
            }
            Self::NotANetwork { word } => write!(
                f,
                "ringkeeper.peerNetworks: {word:?} is {NetworkError}, and a comma between two"
            ),
            Self::NotABoolean { key, value } => {
                write!(f, "{key} must be true or false, not {value:?}")
            }
            Self::OutOfRange { key, value, range } => {
                write!(f, "{key} is {value}; it must be {range}")
            }
            Self::UnknownWord { key, value, known } => {
                write!(f, "{key} is {value:?}; it must be {known}")
            }
            Self::NoDataDir => f.write_str(
                "dataDir is not set; write dataDir=<a directory for \
                snapshots and logs>",
            ),
            Self::NoClientPort { secure_only } => no_client_port(f, *secure_only),
            Self::AddressWithoutPort { address, port } => {
                write!(
                    f,
                    "{address} is set but {port} is not; write {port}=<number> or leave \
                           {address} out"
                )
            }
            Self::SessionTimeouts { min_ms, max_ms } => write!(
                f,
                "minSessionTimeout ({min_ms} ms) must not be larger than maxSessionTimeout \
                 ({max_ms} ms); unset, they are 2 and 20 times tickTime"
            ),
            Self::ClientAddresses { file, line } => write!(
                f,
                "clientPort says {file} and this server's own server line says {line}; give the \
                 client address once"
            ),
            Self::Observers => f.write_str(
                "observers need an ensemble of at least two voters to observe; name its voters \
                 (server.N=...), or take the observer lines out to run alone",
            ),
            Self::NoVoters => f.write_str(
                "standaloneEnabled=false needs at least one voter (server.N=...); to run alone, \
                 take the key out",
            ),
            Self::Membership(error) => error.fmt(f),
            Self::Members(error) => error.fmt(f),
            Self::MultiAddress { id } => write!(
                f,
                "server {id} has several addresses (|), which must be allowed on the command line: \
                 -Dzookeeper.multiAddress.enabled=true, also in SERVER_JVMFLAGS (the key in the \
                 file only chooses how servers greet each other)"
            ),
            Self::NoLimit { key } => write!(
                f,
                "{key} is not set, and an ensemble needs it; write {key}={} (ticks of tickTime)",
                if *key == "initLimit" { 10 } else { 5 }
            ),
            Self::NoMyId { path } => write!(
                f,
                "{path} is missing: a server of an ensemble must know which of the server.N lines \
                 is its own; write the N: echo N > {path}",
                path = path.display()
            ),
            Self::NotAMember { id, path, ids } => not_a_member(f, *id, path, ids),
            Self::PeerSecurity { key, what } => write!(
                f,
                "{key}=true, but {what} is not in this version, and without it the ports between \
                 servers are open to everybody who reaches them; take the key out only where the \
                 network keeps strangers away"
            ),
            Self::PendingReconfig { path, version } => write!(
                f,
                "{} holds a membership of version {version:x} that was proposed, and reconfiguration \
                 is not in this version: start this server with Apache until the file is gone, or \
                 take over what the others have (get /zookeeper/config) into the file that \
                 dynamicConfigFile names, and remove it",
                path.display()
            ),
            Self::Oracle => f.write_str(
                "oraclePath: an oracle between two voters is not in this version; take the key out \
                 and use three voters",
            ),
            Self::BesideDynamicFile { key } => {
                write!(
                    f,
                    "{key} must stand in the file that dynamicConfigFile names, or take \
                           dynamicConfigFile out"
                )
            }
            Self::NotDynamic { key } => write!(
                f,
                "{key} does not belong in the dynamic configuration file, \
                 which holds server., group. and weight. keys only; move it to the static file"
            ),
            Self::MyId { path } => {
                write!(
                    f,
                    "the first line of {} is not a number; write this server's id there",
                    path.display()
                )
            }
            Self::QuorumSasl { key, needs } => {
                write!(f, "{key}=true needs {needs}=true; set it or take {key} out")
            }
            Self::ForeignClass { key, class, instead } => {
                write!(f, "{key}={class}: a class of Java cannot be loaded here; {instead}")
            }
            Self::DigestAlgorithm { name } => write!(
                f,
                "DigestAuthenticationProvider.digestAlg={name} is none of SHA1, SHA-224, SHA-256, \
                 SHA-384, SHA-512, SHA-512/224, SHA-512/256, MD5, MD2, SHA3-224, SHA3-256, \
                 SHA3-384 and SHA3-512; ACLs made with {name} would match nobody, so the server \
                 does not start"
            ),
            Self::Usage { arguments } => write!(
                f,
                "{arguments} arguments fit no form of the command; usage: ringkeeper server \
                 [-Dkey=value]... [configfile | port datadir [ticktime] [maxcnxns]]"
            ),
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { error, .. } => Some(error),
            Self::Malformed { error, .. } => Some(error),
            _ => None,
        }
    }
}

fn no_client_port(f: &mut fmt::Formatter<'_>, secure_only: bool) -> fmt::Result {
    if secure_only {
        f.write_str(
            "only secureClientPort is set and TLS is not in this version; write \
                     clientPort=<number>",
        )
    } else {
        f.write_str("clientPort is not set, so no client could connect; write clientPort=2181")
    }
}

fn not_a_member(f: &mut fmt::Formatter<'_>, id: i64, path: &Path, ids: &[i64]) -> fmt::Result {
    let mut ids: Vec<_> = ids.to_vec();
    ids.sort_unstable();
    let shown: Vec<_> = ids.iter().take(IDS_SHOWN_MAX).map(i64::to_string).collect();
    let more = if ids.len() > IDS_SHOWN_MAX { " and more" } else { "" };
    write!(
        f,
        "{} says {id}, and there is no server.{id} line (there are {}{more}); correct the file, or \
         add the line on every server",
        path.display(),
        shown.join(", ")
    )
}

/// Ids that a message shows.
const IDS_SHOWN_MAX: usize = 9;
