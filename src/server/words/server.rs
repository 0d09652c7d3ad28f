//! The words about the whole server and its connections: srvr, stat, cons, conf, envi, dirs, hash.

use std::fmt::Write as _;

use crate::frontend::ConnectionReport;
use crate::zxid::SessionId;

use super::report::{EnsembleConf, Reports};
use super::text::{address, average, double};
use super::version;

/// `srvr`.
pub(crate) fn srvr(reports: &Reports, out: &mut String) {
    head(reports, out);
    counts(reports, out);
}

/// `stat`: srvr with the connections in between.
pub(crate) fn stat(reports: &Reports, out: &mut String) {
    head(reports, out);
    line!(out, "Clients:");
    for connection in &reports.connections {
        brief(connection, out);
        line!(out, ")");
    }
    line!(out);
    counts(reports, out);
}

/// `cons`: one line for each connection, then an empty one.
pub(crate) fn cons(reports: &Reports, out: &mut String) {
    for connection in &reports.connections {
        brief(connection, out);
        if connection.session != SessionId::NONE {
            session_part(connection, out);
        }
        line!(out, ")");
    }
    line!(out);
}

/// `conf`.
pub(crate) fn conf(reports: &Reports, out: &mut String) {
    let conf = &reports.conf;
    line!(out, "clientPort={}", conf.client_port);
    line!(out, "secureClientPort=-1");
    line!(out, "dataDir={}", conf.data_dir.display());
    line!(out, "dataDirSize={}", reports.sizes.data_dir);
    line!(out, "dataLogDir={}", conf.data_log_dir.display());
    line!(out, "dataLogSize={}", reports.sizes.log_dir);
    line!(out, "tickTime={}", conf.tick_ms);
    line!(out, "maxClientCnxns={}", conf.max_client_cnxns);
    line!(out, "minSessionTimeout={}", conf.min_session_timeout_ms);
    line!(out, "maxSessionTimeout={}", conf.max_session_timeout_ms);
    line!(out, "clientPortListenBacklog={}", conf.listen_backlog.map_or(-1, i64::from));
    line!(out, "serverId={}", conf.server_id);
    if let Some(ensemble) = &conf.ensemble {
        conf_of_member(ensemble, out);
    }
}

/// Apache ends the text without a newline.
fn conf_of_member(ensemble: &EnsembleConf, out: &mut String) {
    let ports = |ports: &[u16]| ports.iter().map(u16::to_string).collect::<Vec<_>>().join("|");
    line!(out, "initLimit={}", ensemble.init_limit);
    line!(out, "syncLimit={}", ensemble.sync_limit);
    line!(out, "electionAlg=3");
    line!(out, "electionPort={}", ports(&ensemble.election_ports));
    line!(out, "quorumPort={}", ports(&ensemble.quorum_ports));
    line!(out, "peerType={}", u8::from(ensemble.is_observer));
    line!(out, "membership: ");
    part!(out, "{}", ensemble.membership);
}

/// `envi`: Apache's keys in Apache's order; what belongs to a JVM is `<NA>`, as Java prints what it
/// does not know.
pub(crate) fn envi(reports: &Reports, out: &mut String) {
    let process = &reports.process;
    line!(out, "Environment:");
    line!(out, "zookeeper.version={}", version::full());
    for (key, value) in [
        ("host.name", &*process.host_name),
        ("java.version", ""),
        ("java.vendor", ""),
        ("java.home", ""),
        ("java.class.path", ""),
        ("java.library.path", ""),
        ("java.io.tmpdir", &process.tmp_dir),
        ("java.compiler", ""),
        ("os.name", &process.os_name),
        ("os.arch", &process.os_arch),
        ("os.version", &process.os_version),
        ("user.name", &process.user_name),
        ("user.home", &process.user_home),
        ("user.dir", &process.user_dir),
    ] {
        line!(out, "{key}={}", if value.is_empty() { "<NA>" } else { value });
    }
    line!(out, "os.memory.free={}MB", process.memory_free_mib);
    line!(out, "os.memory.max={}MB", process.memory_max_mib);
    line!(out, "os.memory.total={}MB", process.memory_total_mib);
}

/// `dirs`.
pub(crate) fn dirs(reports: &Reports, out: &mut String) {
    line!(out, "datadir_size: {}", reports.sizes.data_dir);
    line!(out, "logdir_size: {}", reports.sizes.log_dir);
}

/// `hash`.
pub(crate) fn hash(reports: &Reports, out: &mut String) {
    for (zxid, digest) in &reports.digests {
        line!(out, "{zxid:x}: {digest}");
    }
}

fn head(reports: &Reports, out: &mut String) {
    line!(out, "Zookeeper version: {}", version::full());
    if reports.server.mode == super::Mode::ReadOnly {
        line!(out, "READ-ONLY mode; serving only read-only clients");
    }
}

fn counts(reports: &Reports, out: &mut String) {
    let server = &reports.server;
    let latency = &server.latency_ms;
    line!(out, "Latency min/avg/max: {}/{}/{}", latency.min, double(average(latency)), latency.max);
    line!(out, "Received: {}", server.packets_received);
    line!(out, "Sent: {}", server.packets_sent);
    line!(out, "Connections: {}", server.connections);
    line!(out, "Outstanding: {}", server.outstanding);
    line!(out, "Zxid: 0x{:x}", server.last_zxid);
    line!(out, "Mode: {}", server.mode.name());
    line!(out, "Node count: {}", server.node_count);
    if let Some(sizes) = server.proposal_sizes {
        line!(out, "Proposal sizes last/min/max: {}/{}/{}", sizes.last, sizes.min, sizes.max);
    }
}

/// A connection's line without its end. One without a session, like the one that asks, is not being
/// read.
fn brief(connection: &ConnectionReport, out: &mut String) {
    part!(
        out,
        " {}[{}]",
        address(connection.peer),
        u8::from(connection.session != SessionId::NONE)
    );
    part!(out, "(queued={},recved={}", connection.queued, connection.received);
    part!(out, ",sent={}", connection.sent);
}

/// The part that a session adds; the xid only once the client has sent a request of its own.
fn session_part(connection: &ConnectionReport, out: &mut String) {
    part!(out, ",sid=0x{:x},lop={}", connection.session.0, connection.last_op);
    part!(out, ",est={},to={}", connection.established_ms, connection.timeout_ms);
    if connection.last_xid >= 0 {
        part!(out, ",lcxid=0x{:x}", connection.last_xid);
    }
    part!(out, ",lzxid=0x{:x},lresp={}", connection.last_zxid, connection.last_reply_ms);
    let latency = &connection.latency;
    let mean = latency.sum.checked_div(latency.count).unwrap_or_default();
    part!(out, ",llat={},minlat={}", latency.last, latency.min);
    part!(out, ",avglat={mean},maxlat={}", latency.max);
}
