//! From arguments, `-D` flags and zoo.cfg to a [`Config`]: reads through the function it is given,
//! so that tests need no files.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::acl::{AclConfig, DigestAlgorithm, Secret};
use crate::packet::{Membership, QuorumServer};
use crate::runtime::memory::total_memory;
use crate::snapshot::Codec;
use crate::txnlog::Appending;

use super::classes;
use super::ensemble::{EnsembleConfig, is_any_address, is_ensemble, version_of_name};
use super::error::ConfigError;
use super::keys::Standing;
use super::notice::{Notice, Origin};
use super::properties::{Entry, parse, trim};
use super::reader::Reader;
use super::settings::{
    Autopurge, Config, CoreSettings, LineFormat, LoggingSettings, PlacementPolicy, WordList,
};
use super::sources::{FSYNC_WARNING, Flag, Setting, Sources};
use super::values::{parse_int, parse_long};

/// A configuration that may start, and what is to be said about it.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// In the order of the file's lines; every one is worth a line at start.
    pub notices: Vec<Notice>,
    /// What was given where it works and does something, in no order that matters.
    pub settings: Vec<Setting>,
}

/// The way files are read: the whole of one, given its path.
pub(crate) type ReadFile<'a> = &'a dyn Fn(&Path) -> io::Result<Vec<u8>>;

/// Loads a server's settings. `arguments` as for `ZooKeeperServerMain`: a configuration file, or
/// port, data directory, tick and connection limit; without any, a server on 127.0.0.1:2181 with
/// its data in `./ringkeeper-data`.
pub fn load(
    arguments: &[String],
    flags: &[Flag],
    read: ReadFile<'_>,
) -> Result<Loaded, ConfigError> {
    let mut loaded = match arguments {
        [] => load_defaults(flags),
        [file] => load_file(Path::new(file), flags, read),
        [port, data_dir, rest @ ..] if rest.len() <= 2 => {
            load_positional(port, data_dir, rest, flags)
        }
        _ => Err(ConfigError::Usage { arguments: arguments.len() }),
    }?;
    loaded.notices.sort_by_key(|notice| notice.origin);
    Ok(loaded)
}

fn load_defaults(flags: &[Flag]) -> Result<Loaded, ConfigError> {
    let mut config =
        Config::with_defaults(PathBuf::from(DEFAULT_DATA_DIR), DEFAULT_PORT, DEFAULT_TICK_MS);
    config.client_host = Some(LOOPBACK.to_owned());
    with_properties(config, flags)
}

fn load_positional(
    port: &str,
    data_dir: &str,
    rest: &[String],
    flags: &[Flag],
) -> Result<Loaded, ConfigError> {
    let number = |key: &str, value: &str| {
        parse_int(value)
            .ok_or_else(|| ConfigError::NotANumber { key: key.to_owned(), value: value.to_owned() })
    };
    let client_port = port_number("clientPort", number("port", port)?)?;
    let tick_ms = rest.first().map_or(Ok(FILE_TICK_MS), |tick| number("ticktime", tick))?;
    let max_client_cnxns = rest.get(1).map_or(Ok(0), |limit| number("maxcnxns", limit))?;
    let mut config =
        Config::with_defaults(PathBuf::from(data_dir), client_port, check_tick(tick_ms)?);
    config.max_client_cnxns = u32::try_from(max_client_cnxns).unwrap_or(0);
    let mut loaded = with_properties(config, flags)?;
    let trouble = directory_trouble(data_dir, "data")
        .map(|text| Notice::warn(Origin::CommandLine, "datadir", text));
    loaded.notices.extend(trouble);
    let keys = ["clientPort", "dataDir", "tickTime", "maxClientCnxns"];
    let values = [port, data_dir].into_iter().chain(rest.iter().map(String::as_str));
    loaded.settings.extend(keys.into_iter().zip(values).map(|(key, value)| Setting {
        key: key.to_owned(),
        value: value.to_owned(),
        origin: Origin::CommandLine,
    }));
    Ok(loaded)
}

fn with_properties(mut config: Config, flags: &[Flag]) -> Result<Loaded, ConfigError> {
    let mut notices = Vec::new();
    let sources = Sources::new(flags, &[], &mut notices);
    note_standings(&sources, &mut notices, false);
    let mut reader = Reader::new(&sources, &mut notices)?;
    read_properties(&mut config, &mut reader)?;
    let settings = sources.settings();
    Ok(Loaded { config, notices, settings })
}

fn load_file(path: &Path, flags: &[Flag], read: ReadFile<'_>) -> Result<Loaded, ConfigError> {
    let mut notices = Vec::new();
    let entries = read_entries(path, read, &mut notices)?;
    let sources = Sources::new(flags, &entries, &mut notices);
    let mut reader = Reader::new(&sources, &mut notices)?;
    let membership = read_membership(&entries, &mut reader, read)?;
    let standalone_enabled = reader.bool("standaloneEnabled", true);
    let is_ensemble = is_ensemble(&membership, standalone_enabled)?;
    note_standings(&sources, reader.notices(), is_ensemble);
    let data_dir = PathBuf::from(reader.text("dataDir").ok_or(ConfigError::NoDataDir)?);
    note_directories(&mut reader);
    note_java_logging(path, reader.notices(), read);
    let myid = data_dir.join("myid");
    let my_id = read_my_id(&myid, read)?;
    let own_line = my_id.and_then(|id| membership.server(id));
    if !is_ensemble {
        note_single_server(&membership, &mut reader);
    }
    let (client_host, client_port) = client_address(&reader, own_line)?;
    let tick_ms = check_tick(reader.int("tickTime", FILE_TICK_MS))?;
    let mut config = Config::with_defaults(data_dir, client_port, tick_ms);
    config.file = Some(path.to_owned());
    config.client_host = client_host;
    read_file_keys(&mut config, &mut reader)?;
    read_properties(&mut config, &mut reader)?;
    if is_ensemble {
        if reader.text("dynamicConfigFile").is_some() {
            refuse_pending_reconfig(path, membership.version, reader.notices(), read)?;
        }
        let ensemble = EnsembleConfig::read(membership, my_id, myid, tick_ms, &mut reader)?;
        ensemble.set(&mut config.quorum, total_memory());
        config.ensemble = Some(ensemble);
    }
    let settings = sources.settings();
    Ok(Loaded { config, notices, settings })
}

fn read_entries(
    path: &Path,
    read: ReadFile<'_>,
    notices: &mut Vec<Notice>,
) -> Result<Vec<Entry>, ConfigError> {
    let bytes =
        read(path).map_err(|error| ConfigError::Unreadable { path: path.to_owned(), error })?;
    let entries =
        parse(&bytes).map_err(|error| ConfigError::Malformed { path: path.to_owned(), error })?;
    // Java takes the mark for letters of the first line: harmless where that is a comment, and else
    // a key that is lost.
    let first_line = entries.first().filter(|entry| entry.line == 1);
    match (byte_order_mark(&bytes), first_line) {
        (None, _) => {}
        (Some("UTF-8"), Some(entry))
            if entry.key == UTF8_MARK || entry.key.starts_with(&format!("{UTF8_MARK}#")) =>
        {
            let text = "the file begins with one; save it as UTF-8 without";
            notices.push(Notice::warn(Origin::File(1), "byte order mark", text));
            return Ok(entries.into_iter().skip(1).collect());
        }
        (Some(encoding), _) => {
            return Err(ConfigError::ByteOrderMark { path: path.to_owned(), encoding });
        }
    }
    Ok(entries)
}

/// The encoding whose mark an editor has put at the beginning.
fn byte_order_mark(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0xef, 0xbb, 0xbf, ..] => Some("UTF-8"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some("UTF-16"),
        _ => None,
    }
}

/// Files that say what Apache's server logs, and where.
fn note_java_logging(config_file: &Path, notices: &mut Vec<Notice>, read: ReadFile<'_>) {
    let there = |name: &&str| read(&config_file.with_file_name(name)).is_ok();
    for name in ["logback.xml", "log4j.properties"].into_iter().filter(there) {
        let text = "is not read; ringkeeper.log.file, ringkeeper.log.format and \
                    ringkeeper.log.level say where the log goes, how, and how much of it";
        notices.push(Notice::info(Origin::Beside, name, text));
    }
}

/// Directories that are written as if a shell would read them, and relative ones, are not where
/// they seem to be.
fn note_directories(reader: &mut Reader<'_>) {
    for (key, kept) in [("dataDir", "data"), ("dataLogDir", "log")] {
        let Some(given) = reader.given(key) else { continue };
        if let Some(text) = directory_trouble(&given.value, kept) {
            reader.warn(given, text);
        }
    }
}

/// The warning about the directory of what is `kept`; none about an absolute one without a shell's
/// signs.
fn directory_trouble(value: &str, kept: &str) -> Option<String> {
    let quoted = value.starts_with(['"', '\'']) || value.ends_with(['"', '\'']);
    let why = if quoted {
        "the quotes are taken as part of the name"
    } else if value.starts_with('~') {
        "~ stands for no home directory here"
    } else if value.contains('$') {
        "variables are not replaced"
    } else if Path::new(value).is_relative() {
        "it is relative to the directory that the server is started in"
    } else {
        return None;
    };
    // Without a working directory there is only the name itself.
    let path = std::path::absolute(value).unwrap_or_else(|_| PathBuf::from(value));
    Some(format!("{why}; the {kept} is kept in {}", path.display()))
}

/// One notice for every key that was given where it works but does not do what it does in Apache.
fn note_standings(sources: &Sources, notices: &mut Vec<Notice>, is_ensemble: bool) {
    for (_, given, key) in sources.file_keys().chain(sources.property_keys()) {
        let (origin, written) = (given.origin, given.written.as_str());
        match key.standing {
            Standing::Used | Standing::Alias(_) => {}
            Standing::Ensemble if is_ensemble => {}
            Standing::NotYet(_) if key.is_off(&given.value) => {}
            Standing::NotYet(advice) => notices.push(Notice::warn(origin, written, advice)),
            Standing::Inert(why) => {
                notices.push(Notice::info(origin, written, format!("has no effect: {why}")))
            }
            Standing::Ensemble => {
                notices.push(Notice::info(origin, written, "counts in an ensemble only"))
            }
            Standing::Client => {
                notices.push(Notice::info(origin, written, "only a client reads it"))
            }
        }
    }
}

fn read_membership(
    entries: &[Entry],
    reader: &mut Reader<'_>,
    read: ReadFile<'_>,
) -> Result<Membership, ConfigError> {
    check_words(reader)?;
    let Some(path) = reader.text("dynamicConfigFile") else { return membership_of(entries) };
    let names_servers = |key: &str| Membership::has_line(key) && key != "version";
    let mut keys = entries.iter().map(|entry| trim(&entry.key));
    if let Some(key) = keys.find(|key| names_servers(key)) {
        return Err(ConfigError::BesideDynamicFile { key: key.to_owned() });
    }
    let path = Path::new(path);
    let dynamic = read_entries(path, read, reader.notices())?;
    let mut keys = dynamic.iter().map(|entry| trim(&entry.key));
    if let Some(key) = keys.find(|key| !names_servers(key)) {
        return Err(ConfigError::NotDynamic { key: key.to_owned() });
    }
    Ok(Membership { version: version_of_name(path), ..membership_of(&dynamic)? })
}

/// Refuses to run with the membership of before a reconfiguration that may have been committed by
/// others: Apache keeps the proposed one beside zoo.cfg and elects by both.
fn refuse_pending_reconfig(
    config_file: &Path,
    version: i64,
    notices: &mut Vec<Notice>,
    read: ReadFile<'_>,
) -> Result<(), ConfigError> {
    let mut path = config_file.as_os_str().to_owned();
    path.push(".dynamic.next");
    let path = PathBuf::from(path);
    let entries = match read_entries(&path, read, notices) {
        Ok(entries) => entries,
        Err(ConfigError::Unreadable { error, .. }) if NO_FILE.contains(&error.kind()) => {
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    match membership_of(&entries)?.version {
        next if next > version => Err(ConfigError::PendingReconfig { path, version: next }),
        _ => Ok(()),
    }
}

fn membership_of(entries: &[Entry]) -> Result<Membership, ConfigError> {
    let lines = entries.iter().map(|entry| (trim(&entry.key), trim(&entry.value)));
    Membership::of_lines(lines).map_err(ConfigError::Membership)
}

/// Refuses values that are checked whether there is an ensemble or not.
fn check_words(reader: &Reader<'_>) -> Result<(), ConfigError> {
    for (key, needs) in SASL_NEEDS {
        let on =
            |name: &str| reader.text(name).is_some_and(|value| value.eq_ignore_ascii_case("true"));
        if on(key) && !on(needs) {
            return Err(ConfigError::QuorumSasl { key, needs });
        }
    }
    if reader.text("electionAlg").is_some_and(|text| parse_int(text) != Some(3)) {
        let value = reader.text("electionAlg").and_then(parse_long).unwrap_or_default();
        let (key, range) = ("electionAlg", "3, the only one there is");
        return Err(ConfigError::OutOfRange { key, value, range });
    }
    let known = ["observer", "participant"];
    match reader.text("peerType") {
        Some(text) if !known.iter().any(|known| known.eq_ignore_ascii_case(text)) => {
            let (key, known) = ("peerType", "observer or participant");
            Err(ConfigError::UnknownWord { key, value: text.to_owned(), known })
        }
        _ => Ok(()),
    }
}

/// The number in `myid`, if there is such a file.
fn read_my_id(path: &Path, read: ReadFile<'_>) -> Result<Option<i64>, ConfigError> {
    let bytes = match read(path) {
        Ok(bytes) => bytes,
        Err(error) if NO_FILE.contains(&error.kind()) => return Ok(None),
        Err(error) => return Err(ConfigError::Unreadable { path: path.to_owned(), error }),
    };
    let text = String::from_utf8_lossy(&bytes);
    let id = text.lines().next().and_then(parse_long);
    id.map(Some).ok_or_else(|| ConfigError::MyId { path: path.to_owned() })
}

fn note_single_server(membership: &Membership, reader: &mut Reader<'_>) {
    let [line] = &membership.servers[..] else { return };
    let key = format!("server.{}", line.id);
    if let Some(given) = reader.given(&key) {
        reader.warn(
            given,
            "one server alone makes no ensemble; the line is ignored but for its client address",
        );
    }
}

/// `clientPort` and its address, or those of this server's own line; both may stand only if they
/// agree.
fn client_address(
    reader: &Reader<'_>,
    own: Option<&QuorumServer>,
) -> Result<(Option<String>, u16), ConfigError> {
    let host = reader.text("clientPortAddress");
    let port = reader.text("clientPort").and_then(parse_int);
    for (address, needed) in
        [("clientPortAddress", "clientPort"), ("secureClientPortAddress", "secureClientPort")]
    {
        if reader.text(address).is_some() && reader.text(needed).is_none() {
            return Err(ConfigError::AddressWithoutPort { address, port: needed });
        }
    }
    let specific = |host: Option<&str>| host.filter(|host| !is_any_address(host)).map(host_key);
    let host = host.filter(|host| !host.is_empty());
    let port = port.map(|port| port_number("clientPort", port)).transpose()?;
    match (port, own.and_then(|line| line.client.as_ref())) {
        (Some(port), None) => Ok((host.map(str::to_owned), port)),
        (None, Some(client)) => Ok((client.host.clone(), client.port)),
        (Some(port), Some(client)) => {
            let line_host = specific(client.host.as_deref());
            let agree =
                client.port == port && (specific(host).is_none() || specific(host) == line_host);
            if agree {
                return Ok((client.host.clone(), port));
            }
            let file = format!("{}:{port}", host.unwrap_or("0.0.0.0"));
            Err(ConfigError::ClientAddresses { file, line: client.to_string() })
        }
        (None, None) => Err(ConfigError::NoClientPort {
            secure_only: reader.text("secureClientPort").is_some(),
        }),
    }
}

/// A host for comparisons: an address by its value, however it is written.
fn host_key(host: &str) -> String {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<IpAddr>().map_or_else(|_| bare.to_ascii_lowercase(), |address| address.to_string())
}

fn port_number(key: &'static str, port: i32) -> Result<u16, ConfigError> {
    let range = "0 to 65535";
    u16::try_from(port).map_err(|_| ConfigError::OutOfRange { key, value: i64::from(port), range })
}

fn check_tick(tick_ms: i32) -> Result<i32, ConfigError> {
    let range = "above 0 (milliseconds)";
    let value = i64::from(tick_ms);
    if tick_ms > 0 {
        Ok(tick_ms)
    } else {
        Err(ConfigError::OutOfRange { key: "tickTime", value, range })
    }
}

fn read_file_keys(config: &mut Config, reader: &mut Reader<'_>) -> Result<(), ConfigError> {
    if let Some(dir) = reader.text("dataLogDir") {
        config.data_log_dir = PathBuf::from(dir);
    }
    let min_ms = reader.int("minSessionTimeout", -1);
    let max_ms = reader.int("maxSessionTimeout", -1);
    let frontend = &mut config.frontend;
    let min_ms = if min_ms == -1 { frontend.session_timeout_ms_min } else { min_ms };
    let max_ms = if max_ms == -1 { frontend.session_timeout_ms_max } else { max_ms };
    (frontend.session_timeout_ms_min, frontend.session_timeout_ms_max) = (min_ms, max_ms);
    if min_ms > max_ms {
        return Err(ConfigError::SessionTimeouts { min_ms, max_ms });
    }
    config.max_client_cnxns = reader.count("maxClientCnxns", config.max_client_cnxns);
    config.listen_backlog = reader.count_or_off("clientPortListenBacklog");
    config.quorum.reconfig = reader.bool("reconfigEnabled", config.quorum.reconfig);
    config.autopurge.retain = reader.at_least("autopurge.snapRetainCount", 3, 3);
    config.autopurge =
        Autopurge { interval_s: purge_interval(reader)?, ..config.autopurge.clone() };
    classes::check_file_keys(reader)
}

/// Hours, or a number with one of 3.10's suffixes.
fn purge_interval(reader: &Reader<'_>) -> Result<Option<u64>, ConfigError> {
    let key = "autopurge.purgeInterval";
    let Some(text) = reader.text(key) else { return Ok(None) };
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit_ms = match text.get(digits.len()..).unwrap_or_default() {
        "ms" => Some(1),
        "s" => Some(1000),
        "m" => Some(60 * 1000),
        "" | "h" => Some(60 * 60 * 1000),
        "d" => Some(24 * 60 * 60 * 1000),
        _ => None,
    };
    let (Some(unit_ms), Some(number)) = (unit_ms, parse_int(digits)) else {
        return Err(ConfigError::NotANumber { key: key.to_owned(), value: text.to_owned() });
    };
    let interval_ms = u64::try_from(number).unwrap_or(0).saturating_mul(unit_ms);
    Ok((interval_ms > 0).then(|| interval_ms.div_ceil(1000)))
}

fn read_properties(config: &mut Config, reader: &mut Reader<'_>) -> Result<(), ConfigError> {
    read_limits(config, reader);
    read_storage(config, reader)?;
    read_znodes(config, reader);
    read_access(config, reader)?;
    config.cores = read_cores(reader)?;
    config.logging = read_logging(reader)?;
    classes::check_properties(reader)
}

fn read_limits(config: &mut Config, reader: &mut Reader<'_>) {
    config.max_cnxns = reader.count("maxCnxns", config.max_cnxns);
    config.client_tcp_keep_alive = reader.bool("clientTcpKeepAlive", config.client_tcp_keep_alive);
    config.read_only_mode = reader.bool("readonlymode.enabled", false);
    config.quorum.read_only_mode = config.read_only_mode;
    let list = reader.text("4lw.commands.whitelist").unwrap_or_default();
    config.words = WordList::parse(list, config.read_only_mode);
    let frontend = &mut config.frontend;
    let sessionless_ms = (frontend.sessionless_ms_max / 2) as u32;
    let sessionless_ms = reader.at_least("nio.sessionlessCnxnTimeout", sessionless_ms, 1);
    frontend.sessionless_ms_max = 2 * i64::from(sessionless_ms);
    frontend.outstanding_max =
        reader.count("globalOutstandingLimit", frontend.outstanding_max as u32) as usize;
    let large_max = frontend.large_request_bytes_max as u32;
    frontend.large_request_bytes_max =
        reader.at_least("largeRequestMaxBytes", large_max, 1) as usize;
    let large = reader.count_or_off("largeRequestThreshold").filter(|bytes| *bytes > 0);
    frontend.large_request_bytes = large.map(|bytes| bytes as usize);
    let frame_max = frontend.frame_bytes_max as u32;
    let frame_max = reader.at_least("jute.maxbuffer", frame_max, JUTE_BUFFER_MIN);
    frontend.frame_bytes_max = frame_max as usize;
    let extra = reader.at_least("jute.maxbuffer.extrasize", frame_max.max(1024), 1024);
    let record_max = u64::from(frame_max) + u64::from(extra);
    config.quorum.record_bytes_max = record_max as usize;
    config.log.record_bytes_max = record_max;
}

fn read_storage(config: &mut Config, reader: &mut Reader<'_>) -> Result<(), ConfigError> {
    config.data_dir_autocreate = reader.bool("datadir.autocreate", true);
    let quorum = &mut config.quorum;
    quorum.snap_count = u64::from(reader.at_least("snapCount", quorum.snap_count as u32, 2));
    quorum.snap_size_bytes =
        reader.kib("snapSizeLimitInKb", (quorum.snap_size_bytes >> 10) as i64).unwrap_or(0);
    quorum.close_session_txn = reader.bool("closeSessionTxn.enabled", quorum.close_session_txn);
    quorum.log_file_bytes_max = reader.kib("txnLogSizeLimitInKb", -1).unwrap_or(0);
    let log = &mut config.log;
    let segment = reader.kib("preAllocSize", (log.segment_bytes >> 10) as i64).unwrap_or(0);
    log.segment_bytes = segment.max(PRE_ALLOC_BYTES_MIN);
    let otherwise = "only the word no turns it off; the log is flushed";
    log.force_sync = reader.word("forceSync", "no", otherwise) != "no";
    log.appending = read_appending(reader, log.appending)?;
    config.fsync_warning_ms =
        u64::try_from(reader.long(FSYNC_WARNING, fsync_default(reader))).unwrap_or(0);
    config.snapshot_trust_empty = reader.bool("snapshot.trust.empty", false);
    let snapshots = &mut config.snapshots;
    snapshots.codec = read_compression(reader);
    snapshots.last_zxid = reader.bool("serializeLastProcessedZxid.enabled", snapshots.last_zxid);
    let digest = reader.bool("digest.enabled", snapshots.digest);
    (config.quorum.digest, config.snapshots.digest) = (digest, digest);
    Ok(())
}

fn read_appending(reader: &mut Reader<'_>, default: Appending) -> Result<Appending, ConfigError> {
    let key = "ringkeeper.log";
    let Some(word) = reader.text(key) else { return Ok(default) };
    let asked = [Appending::Mapped, Appending::Direct];
    asked.into_iter().find(|it| it.word() == word).ok_or_else(|| {
        let known = "mapped or direct";
        ConfigError::UnknownWord { key, value: word.to_owned(), known }
    })
}

/// `-Dfsync.warningthresholdms` without the prefix is Apache's older spelling, read when the other
/// is not given.
fn fsync_default(reader: &Reader<'_>) -> i64 {
    let older = reader
        .system_property(FSYNC_WARNING)
        .and_then(|given| super::values::decode_long(&given.value));
    older.unwrap_or(1000)
}

fn read_compression(reader: &mut Reader<'_>) -> Codec {
    let Some(given) = reader.given("snapshot.compression.method") else { return Codec::Plain };
    match given.value.to_ascii_lowercase().as_str() {
        "" => Codec::Plain,
        "gz" => Codec::Gzip,
        "snappy" => Codec::Snappy,
        _ => {
            reader.warn(given, "must be gz, snappy or empty; snapshots are written uncompressed");
            Codec::Plain
        }
    }
}

fn read_znodes(config: &mut Config, reader: &mut Reader<'_>) {
    let quorum = &mut config.quorum;
    let at_least_one = |reader: &mut Reader<'_>, key, default: i64| {
        i64::from(reader.at_least(key, default as u32, 1))
    };
    quorum.extended_types = reader.bool("extendedTypesEnabled", quorum.extended_types);
    quorum.container_check_interval_ms =
        at_least_one(reader, "znode.container.checkIntervalMs", quorum.container_check_interval_ms);
    quorum.container_max_per_minute =
        at_least_one(reader, "znode.container.maxPerMinute", quorum.container_max_per_minute);
    let never_used_ms =
        reader.long("znode.container.maxNeverUsedIntervalMs", quorum.container_max_never_used_ms);
    quorum.container_max_never_used_ms = never_used_ms.max(0);
    quorum.enforce_quota = reader.bool("enforceQuota", quorum.enforce_quota);
}

fn read_access(config: &mut Config, reader: &mut Reader<'_>) -> Result<(), ConfigError> {
    let otherwise = "only the word yes turns it on; ACLs are checked";
    let default = AclConfig::default();
    let acl = AclConfig {
        skip: reader.word("skipACL", "yes", otherwise) == "yes",
        digest: reader.bool("DigestAuthenticationProvider.enabled", default.digest),
        digest_algorithm: match reader.text("DigestAuthenticationProvider.digestAlg") {
            None => default.digest_algorithm,
            Some(name) => DigestAlgorithm::from_name(name)
                .ok_or_else(|| ConfigError::DigestAlgorithm { name: name.to_owned() })?,
        },
        super_digest: reader.text("DigestAuthenticationProvider.superDigest").map(Secret::new),
    };
    let schemes = required_schemes(reader, acl.digest)?;
    config.frontend.enforce_auth = (!schemes.is_empty())
        .then(|| schemes.iter().map(|scheme| scheme.as_str().into()).collect());
    config.quorum.acl = acl.clone();
    config.frontend.acl = acl;
    Ok(())
}

fn required_schemes(
    reader: &mut Reader<'_>,
    digest_enabled: bool,
) -> Result<BTreeSet<String>, ConfigError> {
    if reader.bool("sessionRequireClientSASLAuth", false) {
        if let Some(given) = reader.given("sessionRequireClientSASLAuth") {
            reader.warn(
                given,
                "SASL is not in this version, so every client is turned away \
                                (-124); take the key out",
            );
        }
        return Ok(BTreeSet::from(["sasl".to_owned()]));
    }
    if !reader.bool("enforce.auth.enabled", false) {
        return Ok(BTreeSet::new());
    }
    let key = "enforce.auth.schemes";
    let known = "one or more of ip and digest between commas, and enabled (SASL and TLS are not \
                 in this version)";
    let list = reader.text(key).unwrap_or_default();
    let schemes: BTreeSet<String> = list.split(',').map(|scheme| trim(scheme).to_owned()).collect();
    let available = |scheme: &String| scheme == "ip" || (scheme == "digest" && digest_enabled);
    match schemes.iter().find(|scheme| !available(scheme)) {
        Some(scheme) => Err(ConfigError::UnknownWord { key, value: scheme.clone(), known }),
        None => Ok(schemes),
    }
}

fn read_cores(reader: &mut Reader<'_>) -> Result<CoreSettings, ConfigError> {
    let placement = match reader.text("ringkeeper.placement").unwrap_or("auto") {
        "auto" => PlacementPolicy::Auto,
        "shared" => PlacementPolicy::Shared,
        "dedicated" => PlacementPolicy::Dedicated,
        "unpinned" => PlacementPolicy::Unpinned,
        other => {
            let known = "auto, shared, dedicated or unpinned";
            return Err(ConfigError::UnknownWord {
                key: "ringkeeper.placement",
                value: other.to_owned(),
                known,
            });
        }
    };
    let list = reader.text("ringkeeper.cores").unwrap_or_default();
    let cores = core_list(list).ok_or_else(|| ConfigError::UnknownWord {
        key: "ringkeeper.cores",
        value: list.to_owned(),
        known: "a list of cores like 0-3,6, none above 4095",
    })?;
    let shards = match reader.text("ringkeeper.shards").map(|text| (text, parse_int(text))) {
        None => 0,
        Some((_, Some(shards @ 0..=SHARDS_MAX))) => u32::try_from(shards).unwrap_or(0),
        Some((_, Some(value))) => {
            let range = "0 (chosen by the cores there are) to 255";
            return Err(ConfigError::OutOfRange {
                key: "ringkeeper.shards",
                value: i64::from(value),
                range,
            });
        }
        Some((text, None)) => {
            return Err(ConfigError::NotANumber {
                key: "ringkeeper.shards".to_owned(),
                value: text.to_owned(),
            });
        }
    };
    Ok(CoreSettings { shards, cores, placement })
}

fn read_logging(reader: &mut Reader<'_>) -> Result<LoggingSettings, ConfigError> {
    let format = match reader.text("ringkeeper.log.format").unwrap_or("text") {
        "text" => LineFormat::Text,
        "json" => LineFormat::Json,
        other => {
            let (key, known) = ("ringkeeper.log.format", "text or json");
            return Err(ConfigError::UnknownWord { key, value: other.to_owned(), known });
        }
    };
    let file = reader.text("ringkeeper.log.file").filter(|path| !path.is_empty());
    let level = reader.text("ringkeeper.log.level").unwrap_or_default();
    Ok(LoggingSettings { format, file: file.map(PathBuf::from), level: level.to_owned() })
}

/// `0-3,6` as numbers in the order given, each once.
fn core_list(text: &str) -> Option<Vec<u32>> {
    let mut cores = Vec::new();
    for part in text.split(',').map(trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (trim(first).parse().ok()?, trim(last).parse().ok()?);
        if first > last || last > CORE_MAX {
            return None;
        }
        cores.extend((first..=last).filter(|core| !cores.contains(core)).collect::<Vec<_>>());
    }
    Some(cores)
}

/// The bytes EF BB BF as Java reads them.
const UTF8_MARK: &str = "\u{ef}\u{bb}\u{bf}";
/// Without any argument.
const DEFAULT_DATA_DIR: &str = "ringkeeper-data";
const DEFAULT_PORT: u16 = 2181;
const LOOPBACK: &str = "127.0.0.1";
/// The value in Apache's sample file.
const DEFAULT_TICK_MS: i32 = 2000;
/// Apache's value when a file or the arguments do not say.
const FILE_TICK_MS: i32 = 3000;
/// Below this no connect request fits.
const JUTE_BUFFER_MIN: u32 = 64;
/// One page: a log must hold its header and grow.
const PRE_ALLOC_BYTES_MIN: u64 = 4096;
/// One byte holds a shard's number.
const SHARDS_MAX: i32 = 255;
const CORE_MAX: u32 = 4095;
/// What stands at the path is no file.
const NO_FILE: [io::ErrorKind; 3] =
    [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory, io::ErrorKind::IsADirectory];
const SASL_NEEDS: [(&str, &str); 3] = [
    ("quorum.auth.serverRequireSasl", "quorum.auth.enableSasl"),
    ("quorum.auth.learnerRequireSasl", "quorum.auth.enableSasl"),
    ("quorum.auth.serverRequireSasl", "quorum.auth.learnerRequireSasl"),
];

#[cfg(test)]
mod tests;
