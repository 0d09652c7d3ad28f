//! Writes a snapshot, piece by piece.

use std::sync::Arc;

use simd_adler32::Adler32;

use crate::jute;
use crate::jute::data::{Acl, StatPersisted, write_acls};
use crate::zxid::SessionId;

use super::{DBID, END, MAGIC, Trailers, VERSION};

/// A snapshot being written: [`Self::head`], then every node, then [`Self::finish`].
///
/// Each call appends to `out`, which the caller may drain between calls. The checksum is of the
/// bytes before compression.
#[derive(Default)]
pub struct Writer {
    adler: Adler32,
}

impl Writer {
    /// A writer at the first byte of a file.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes the header, the global sessions with their timeouts in milliseconds, and the lists
    /// that nodes name by index.
    pub fn head(
        &mut self,
        out: &mut Vec<u8>,
        sessions: &[(SessionId, i32)],
        acls: &[(i64, Arc<[Acl]>)],
    ) {
        self.header(out);
        self.append(out, |writer| {
            writer.len(sessions.len());
            sessions.iter().for_each(|session| put_session(writer, session));
            writer.len(acls.len());
            acls.iter().for_each(|acl| put_acl(writer, acl));
        });
    }

    /// Writes the header alone. What follows is copied.
    pub fn header(&mut self, out: &mut Vec<u8>) {
        self.append(out, |writer| {
            writer.i32(MAGIC);
            writer.i32(VERSION);
            writer.i64(DBID);
        });
    }

    /// Writes what stands between the header of a snapshot and the end of its nodes, or a part of
    /// it, as it is.
    pub fn copied(&mut self, out: &mut Vec<u8>, bytes: &[u8]) {
        self.append(out, |writer| writer.raw(bytes));
    }

    /// Writes a node. The root comes first, with the path ""; parents come before their children.
    pub fn node(
        &mut self,
        out: &mut Vec<u8>,
        path: &str,
        data: Option<&[u8]>,
        acl_index: i64,
        stat: &StatPersisted,
    ) {
        self.append(out, |writer| put_node(writer, path, data, acl_index, stat));
    }

    /// Ends the nodes, seals them and writes the trailers, each under a seal of its own. What is
    /// `None` is left out.
    pub fn finish(mut self, out: &mut Vec<u8>, trailers: &Trailers) {
        self.append(out, |writer| writer.raw(&END));
        self.seal(out);
        if let Some(digest) = trailers.digest {
            self.append(out, |writer| {
                writer.i64(digest.zxid.0);
                writer.i32(digest.version);
                writer.i64(digest.digest);
            });
            self.seal(out);
        }
        if let Some(zxid) = trailers.last_zxid {
            self.append(out, |writer| writer.i64(zxid.0));
            self.seal(out);
        }
    }

    fn seal(&mut self, out: &mut Vec<u8>) {
        let sum = i64::from(self.adler.finish());
        self.append(out, |writer| {
            writer.i64(sum);
            writer.raw(&END);
        });
    }

    fn append(&mut self, out: &mut Vec<u8>, write: impl FnOnce(&mut jute::Writer<'_>)) {
        let start = out.len();
        write(&mut jute::Writer::new(out));
        self.adler.write(out.split_at(start).1);
    }
}

pub(super) fn put_session(writer: &mut jute::Writer<'_>, (session, timeout_ms): &(SessionId, i32)) {
    writer.i64(session.0);
    writer.i32(*timeout_ms);
}

pub(super) fn put_acl(writer: &mut jute::Writer<'_>, (index, list): &(i64, Arc<[Acl]>)) {
    writer.i64(*index);
    write_acls(writer, list);
}

pub(super) fn put_node(
    writer: &mut jute::Writer<'_>,
    path: &str,
    data: Option<&[u8]>,
    acl_index: i64,
    stat: &StatPersisted,
) {
    writer.string(path);
    writer.buffer(data);
    writer.i64(acl_index);
    stat.write(writer);
}
