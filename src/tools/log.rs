//! A transaction log as text: one line for each record, a last one for how the file ends.

use std::io;

use crate::pieces::Source;
use crate::txn::{CreateKind, LogRecord, Txn, read_log_record};
use crate::txnlog::{ScanEnd, Scanner};

/// Writes the records of a log file to `out`, if `records` is set, and then how it ends. True if it
/// is whole or ends in what a crash leaves; false if it is corrupt. `name` is the file as the user
/// called it, for the commands that are suggested.
pub fn dump_log(
    name: &str,
    file: impl Source,
    records: bool,
    out: &mut dyn io::Write,
) -> io::Result<bool> {
    let mut scanner = Scanner::new(file);
    let (mut count, mut readable, mut zxids) = (0_u64, true, None);
    while let Some(entry) = scanner.next_entry().map_err(io::Error::other)? {
        count += 1;
        zxids = Some((zxids.map_or(entry.zxid, |(first, _)| first), entry.zxid));
        match read_log_record(entry.payload) {
            Ok(record) if records => write_record(entry.offset, &record, out)?,
            Ok(_) => {}
            Err(error) => {
                readable = false;
                writeln!(out, "{:>10} zxid {} cannot be read: {error}", entry.offset, entry.zxid)?;
            }
        }
    }
    match zxids {
        Some((first, last)) => write!(out, "{count} records, zxid {first} to {last}; ")?,
        None => write!(out, "no records; ")?,
    }
    match scanner.end().map_err(io::Error::other)? {
        ScanEnd::Clean { offset } => {
            writeln!(out, "ends cleanly at offset {offset} of {}", scanner.bytes())?
        }
        ScanEnd::TornTail { offset, why } => {
            writeln!(out, "torn at offset {offset}, as by a crash: {why}. The next start cuts it")?;
        }
        ScanEnd::Corrupt { offset, why } => {
            writeln!(out, "CORRUPT at offset {offset}: {why}, and what follows was once whole")?;
            writeln!(
                out,
                "A server on its own: bring the file back from a backup; to give up what follows: \
                 ringkeeper tools cut {name} {offset}. A member of an ensemble: do not cut it, start \
                 it without its data while a quorum of the others serves"
            )?;
            readable = false;
        }
    }
    if !readable && zxids.is_some() {
        let durable = scanner.durable();
        if durable > 0 {
            writeln!(out, "The server had flushed the file up to offset {durable}")?;
        }
    }
    Ok(readable)
}

fn write_record(offset: u64, record: &LogRecord, out: &mut dyn io::Write) -> io::Result<()> {
    let header = &record.header;
    write!(
        out,
        "{offset:>10} zxid {} time {} session {} cxid {} ",
        header.zxid, header.time_ms, header.session, header.cxid
    )?;
    write_txn(&record.txn, out)?;
    match record.digest {
        Some(digest) => writeln!(out, " digest {:x}", digest.tree),
        None => writeln!(out),
    }
}

/// Paths are quoted with their control characters escaped; of data and ACLs only the sizes are
/// shown.
fn write_txn(txn: &Txn, out: &mut dyn io::Write) -> io::Result<()> {
    match txn {
        Txn::CreateSession { timeout_ms } => write!(out, "createSession timeout {timeout_ms}"),
        Txn::CloseSession { paths } => {
            write!(out, "closeSession removes {:?}", paths.as_deref().unwrap_or_default())
        }
        Txn::Create(create) => {
            let kind = match create.kind {
                CreateKind::Persistent => "persistent",
                CreateKind::Ephemeral => "ephemeral",
                CreateKind::Container => "container",
                CreateKind::Ttl { .. } => "ttl",
            };
            let bytes = create.data.as_ref().map_or(0, |data| data.len());
            write!(
                out,
                "create {kind} {:?} {bytes} bytes, {} ACL entries",
                create.path,
                create.acl.len()
            )
        }
        Txn::Delete { path } => write!(out, "delete {path:?}"),
        Txn::DeleteContainer { path } => write!(out, "deleteContainer {path:?}"),
        Txn::SetData(set) | Txn::Reconfig(set) => {
            let bytes = set.data.as_ref().map_or(0, |data| data.len());
            write!(out, "setData {:?} {bytes} bytes, version {}", set.path, set.version)
        }
        Txn::SetAcl { path, acl, version } => {
            write!(out, "setACL {path:?} {} entries, version {version}", acl.len())
        }
        Txn::Check { path, version } => write!(out, "check {path:?} version {version}"),
        Txn::Error(error) => write!(out, "error {error}"),
        Txn::Multi(txns) => {
            write!(out, "multi [")?;
            for (index, txn) in txns.iter().enumerate() {
                out.write_all(if index > 0 { b", " } else { b"" })?;
                write_txn(txn, out)?;
            }
            write!(out, "]")
        }
    }
}
