//! A snapshot as text: sessions, nodes, trailers, and whether it is whole.

use std::fmt;
use std::io;

use crate::pieces::Source;
use crate::snapshot::{Codec, FileName, Part, Reader};

/// Writes what is in a snapshot file to `out`: its nodes and sessions, if `parts` is set, then the
/// sums. True if it is whole.
pub fn dump_snapshot(
    name: &str,
    file: impl Source,
    parts: bool,
    out: &mut dyn io::Write,
) -> io::Result<bool> {
    let codec = FileName::parse(name).map_or(Codec::Plain, |file| file.codec);
    let mut reader = Reader::new(codec, file);
    let (mut sessions, mut lists, mut nodes, mut data_bytes) = (0_u64, 0_u64, 0_u64, 0_u64);
    loop {
        match reader.next_part() {
            Ok(Some(Part::Session(id, timeout_ms))) => {
                sessions += 1;
                if parts {
                    writeln!(out, "session {id} timeout {timeout_ms}")?;
                }
            }
            Ok(Some(Part::Acl(..))) => lists += 1,
            Ok(Some(Part::Node { path, data, acl_index, stat })) => {
                nodes += 1;
                let len = data.map_or(0, <[u8]>::len);
                data_bytes += len as u64;
                if parts {
                    writeln!(
                        out,
                        "node {path:?} {len} bytes, acl {acl_index}, czxid {:#x}, mzxid {:#x}, \
                         version {}",
                        stat.czxid, stat.mzxid, stat.version
                    )?;
                }
            }
            Ok(None) => break,
            Err(error) => return corrupt(error, out),
        }
    }
    writeln!(
        out,
        "{nodes} nodes with {data_bytes} bytes of data, {sessions} sessions, {lists} ACLs"
    )?;
    let trailers = reader.trailers().unwrap_or_default();
    if let Some(digest) = trailers.digest {
        writeln!(
            out,
            "digest {:x} of version {} at zxid {}",
            digest.digest, digest.version, digest.zxid
        )?;
    }
    if let Some(zxid) = trailers.last_zxid {
        writeln!(out, "last zxid {zxid}")?;
    }
    writeln!(out, "whole: all seals are right")?;
    Ok(true)
}

fn corrupt(error: impl fmt::Display, out: &mut dyn io::Write) -> io::Result<bool> {
    writeln!(out, "CORRUPT: {error}")?;
    Ok(false)
}
