//! Trees against the model, transactions against those that were due, bytes against records.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::tree::{EPHEMERALS_MANY, Tree};
use crate::txn::{LogRecord, Txn, read_log_record};

use super::model::Model;
use super::property::{Checked, Property, Violation, hold};

/// Node by node, the tree is the model.
pub(crate) fn compare(model: &Model, tree: &Tree) -> Checked {
    let zxid = model.zxid;
    let sessions: BTreeMap<i64, i32> =
        tree.sessions().map(|(id, timeout)| (id.0, timeout)).collect();
    hold!(
        sessions == model.sessions,
        SessionState,
        "{zxid:x}: sessions {sessions:?}, not {:?}",
        model.sessions
    );
    for (path, node) in &model.nodes {
        let Some(found) = tree.get(path) else {
            return Err(Property::WrongOutcome.broken(format_args!("{zxid:x}: {path} is missing")));
        };
        // Each server of an ensemble writes the membership there by itself.
        if path == "/zookeeper/config" {
            continue;
        }
        let stat = found.persisted();
        hold!(
            stat == node.stat,
            WrongOutcome,
            "{zxid:x}: {path} has {stat:?}, not {:?}",
            node.stat
        );
        hold!(
            found.data() == node.data.as_deref(),
            WrongOutcome,
            "{zxid:x}: {path} has other data"
        );
        hold!(
            found.acl()[..] == node.acl[..],
            WrongOutcome,
            "{zxid:x}: {path} has {:?}",
            found.acl()
        );
        let children: BTreeSet<String> = found.children().map(str::to_owned).collect();
        hold!(
            children == node.children,
            WrongOutcome,
            "{zxid:x}: {path} has children {children:?}"
        );
    }
    let (count, due) = (tree.node_count(), model.nodes.len() + 1);
    hold!(count == due, WrongOutcome, "{zxid:x}: {count} nodes, not {due}");
    for owner in tree.ephemeral_owners() {
        let paths = tree.ephemerals_of(owner);
        let lives = sessions.contains_key(&owner.0);
        hold!(lives, EphemeralOwner, "{zxid:x}: {paths:?} of the ended session {owner}");
    }
    Ok(())
}

/// Equal, the order of a closeSession's paths aside. Very many paths are not listed.
pub(crate) fn same(due: &Txn, is: &Txn) -> bool {
    match (due, is) {
        (Txn::CloseSession { paths: Some(due) }, Txn::CloseSession { paths: None }) => {
            due.len() >= EPHEMERALS_MANY
        }
        (Txn::CloseSession { paths: Some(due) }, Txn::CloseSession { paths: Some(is) }) => {
            let (mut due, mut is) = (due.clone(), is.clone());
            due.sort();
            is.sort();
            due == is
        }
        _ => due == is,
    }
}

/// The records in bytes that go to the end of a log, each with its own bytes.
pub(crate) fn records(bytes: &[u8]) -> Result<Vec<(LogRecord, Bytes)>, Violation> {
    let (mut rest, mut records) = (bytes, Vec::new());
    while let Some(head) = rest.first_chunk::<ENTRY_HEADER_BYTES>() {
        let len = u32::from_be_bytes([head[8], head[9], head[10], head[11]]) as usize;
        let end = ENTRY_HEADER_BYTES + len;
        let cut = Property::Shell.broken(format_args!("an append holds a cut entry"));
        let payload = rest.get(ENTRY_HEADER_BYTES..end).filter(|_| rest.len() > end).ok_or(cut)?;
        let record = read_log_record(payload)
            .map_err(|error| Property::Shell.broken(format_args!("unreadable record: {error}")))?;
        records.push((record, Bytes::copy_from_slice(payload)));
        rest = &rest[end + 1..];
    }
    match rest.len() {
        0 => Ok(records),
        left => Err(Property::Shell.broken(format_args!("{left} bytes too many in an append"))),
    }
}

const ENTRY_HEADER_BYTES: usize = 12;
