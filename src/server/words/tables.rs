//! The words that list tables: dump (sessions, ephemerals, connections) and wchs, wchc, wchp (data
//! watches).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::frontend::WatchReport;
use crate::shown::Shown;
use crate::zxid::SessionId;

use super::report::{Reports, SessionExpiry};
use super::text::{address, date};

/// `dump`.
pub(crate) fn dump(reports: &Reports, out: &mut String) {
    line!(out, "SessionTracker dump:");
    let all = &reports.sessions;
    if let Some(local) = &all.local {
        sessions_by_expiry("Local Session Sets", local, out);
    }
    match &all.of_learner {
        Some(sessions) => sessions_of_learner(sessions, out),
        None if all.local.is_some() => sessions_by_expiry("Global Session Sets", &all.buckets, out),
        None => sessions_by_expiry("Session Sets", &all.buckets, out),
    }
    line!(out, "ephemeral nodes dump:");
    line!(out, "Sessions with Ephemerals ({}):", reports.ephemerals.len());
    for (owner, paths) in &reports.ephemerals {
        line!(out, "0x{owner:x}:");
        for path in paths {
            line!(out, "\t{}", Shown::whole(path));
        }
    }
    line!(out, "Connections dump:");
    let buckets = &reports.connection_expiry;
    let connections: usize = buckets.iter().map(|bucket| bucket.connections.len()).sum();
    line!(out, "Connections Sets ({})/({connections}):", buckets.len());
    for bucket in buckets {
        line!(out, "{} expire at {}:", bucket.connections.len(), date(bucket.at_ms));
        for (remote, session) in &bucket.connections {
            line!(out, "\tip: {} sessionId: 0x{session:x}", address(*remote));
        }
    }
}

fn sessions_by_expiry(title: &str, buckets: &[SessionExpiry], out: &mut String) {
    let sessions: usize = buckets.iter().map(|bucket| bucket.sessions.len()).sum();
    line!(out, "{title} ({})/({sessions}):", buckets.len());
    for bucket in buckets {
        line!(out, "{} expire at {}:", bucket.sessions.len(), date(bucket.at_ms));
        for id in &bucket.sessions {
            line!(out, "\t0x{id:x}");
        }
    }
}

fn sessions_of_learner(sessions: &[(i64, i32)], out: &mut String) {
    line!(out, "Global Sessions({}):", sessions.len());
    for (id, timeout_ms) in sessions {
        line!(out, "0x{id:x}\t{timeout_ms}ms");
    }
}

/// `wchs`: how many.
pub(crate) fn wchs(watches: &WatchReport, out: &mut String) {
    let sessions: BTreeSet<SessionId> =
        watches.iter().flat_map(|(_, sessions)| sessions).copied().collect();
    let paths: BTreeSet<&str> = watches.iter().map(|(path, _)| &**path).collect();
    let total: usize = watches.iter().map(|(_, sessions)| sessions.len()).sum();
    line!(out, "{} connections watching {} paths", sessions.len(), paths.len());
    line!(out, "Total watches:{total}");
}

/// `wchc`: paths by session, then an empty line.
pub(crate) fn wchc(watches: &WatchReport, out: &mut String) {
    let mut by_session: BTreeMap<SessionId, Vec<&str>> = BTreeMap::new();
    for (path, sessions) in watches {
        sessions.iter().for_each(|session| by_session.entry(*session).or_default().push(path));
    }
    for (session, paths) in by_session {
        line!(out, "0x{:x}", session.0);
        for path in paths {
            line!(out, "\t{}", Shown::whole(path));
        }
    }
    line!(out);
}

/// `wchp`: sessions by path, then an empty line. A path that several shards watch, or very many
/// sessions, stands there once.
pub(crate) fn wchp(watches: &WatchReport, out: &mut String) {
    let mut by_path: BTreeMap<&str, Vec<SessionId>> = BTreeMap::new();
    for (path, sessions) in watches {
        by_path.entry(path).or_default().extend(sessions);
    }
    for (path, sessions) in by_path {
        line!(out, "{}", Shown::whole(path));
        for session in sessions {
            line!(out, "\t0x{:x}", session.0);
        }
    }
    line!(out);
}
