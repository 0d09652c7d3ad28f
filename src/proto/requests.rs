//! The requests of clients. Strings that may be null on the wire are `Option`: each op answers null
//! in its own way.

use std::borrow::Cow;

use crate::codes::OpCode;
use crate::jute::{Malformed, Reader};

/// A string as it came: null, borrowed from the frame, or repaired.
pub(crate) type Text<'a> = Option<Cow<'a, str>>;

/// The head of every request after the first (`proto.RequestHeader`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    pub xid: i32,
    pub op: OpCode,
}

impl RequestHeader {
    /// Reads the record; a frame too short for it closes the connection.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { xid: reader.i32()?, op: OpCode(reader.i32()?) })
    }
}

/// The first frame of a connection (`proto.ConnectRequest`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectRequest<'a> {
    pub protocol_version: i32,
    pub last_zxid_seen: i64,
    /// The session timeout that the client asks for, in milliseconds.
    pub timeout_ms: i32,
    /// 0 for a new session.
    pub session_id: i64,
    pub password: Option<&'a [u8]>,
    /// `None` when the client is too old to send the byte: the reply then leaves it out too
    /// (ZOOKEEPER-4814).
    pub read_only: Option<bool>,
}

impl<'a> ConnectRequest<'a> {
    /// Reads the record.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self {
            protocol_version: reader.i32()?,
            last_zxid_seen: reader.i64()?,
            timeout_ms: reader.i32()?,
            session_id: reader.i64()?,
            password: reader.buffer()?,
            read_only: reader.bool().ok(),
        })
    }
}

/// One ACL entry as asked for; validity is judged in prepare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestAcl<'a> {
    pub perms: i32,
    pub scheme: Text<'a>,
    pub id: Text<'a>,
}

/// create, create2, createContainer and createTTL (`proto.CreateRequest`,
/// `proto.CreateTTLRequest`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateRequest<'a> {
    pub path: Text<'a>,
    pub data: Option<&'a [u8]>,
    /// `None` for a null list.
    pub acl: Option<Vec<RequestAcl<'a>>>,
    pub flags: i32,
    /// Milliseconds; only createTTL carries it, 0 otherwise.
    pub ttl_ms: i64,
}

impl<'a> CreateRequest<'a> {
    /// Reads the record that `op` sends.
    pub fn read(reader: &mut Reader<'a>, op: OpCode) -> Result<Self, Malformed> {
        Ok(Self {
            path: reader.string()?,
            data: reader.buffer()?,
            acl: read_request_acls(reader)?,
            flags: reader.i32()?,
            ttl_ms: if op == OpCode::CREATE_TTL { reader.i64()? } else { 0 },
        })
    }
}

/// delete (`proto.DeleteRequest`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteRequest<'a> {
    pub path: Text<'a>,
    pub version: i32,
}

impl<'a> DeleteRequest<'a> {
    /// Reads the record.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self { path: reader.string()?, version: reader.i32()? })
    }
}

/// setData (`proto.SetDataRequest`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetDataRequest<'a> {
    pub path: Text<'a>,
    pub data: Option<&'a [u8]>,
    pub version: i32,
}

impl<'a> SetDataRequest<'a> {
    /// Reads the record.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self { path: reader.string()?, data: reader.buffer()?, version: reader.i32()? })
    }
}

/// setACL (`proto.SetACLRequest`); the version is that of the ACL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAclRequest<'a> {
    pub path: Text<'a>,
    pub acl: Option<Vec<RequestAcl<'a>>>,
    pub version: i32,
}

impl<'a> SetAclRequest<'a> {
    /// Reads the record.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self { path: reader.string()?, acl: read_request_acls(reader)?, version: reader.i32()? })
    }
}

/// check, inside a multi (`proto.CheckVersionRequest`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckVersionRequest<'a> {
    pub path: Text<'a>,
    pub version: i32,
}

impl<'a> CheckVersionRequest<'a> {
    /// Reads the record.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self { path: reader.string()?, version: reader.i32()? })
    }
}

/// exists, getData, getChildren and getChildren2: a path and whether to watch it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathWatchRequest<'a> {
    pub path: Text<'a>,
    pub watch: bool,
}

impl<'a> PathWatchRequest<'a> {
    /// Reads the record.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self { path: reader.string()?, watch: reader.bool()? })
    }
}

/// getACL, sync, getEphemerals and getAllChildrenNumber: a path alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathRequest<'a> {
    pub path: Text<'a>,
}

impl<'a> PathRequest<'a> {
    /// Reads the record.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self { path: reader.string()? })
    }
}

/// checkWatches and removeWatches (`proto.CheckWatchesRequest`); `kind` is a WatcherType.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchTypeRequest<'a> {
    pub path: Text<'a>,
    pub kind: i32,
}

impl<'a> WatchTypeRequest<'a> {
    /// Reads the record.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self { path: reader.string()?, kind: reader.i32()? })
    }
}

/// addWatch (`proto.AddWatchRequest`); mode 0 is persistent, 1 persistent recursive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddWatchRequest<'a> {
    pub path: Text<'a>,
    pub mode: i32,
}

impl<'a> AddWatchRequest<'a> {
    /// Reads the record.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self { path: reader.string()?, mode: reader.i32()? })
    }
}

/// addauth (`proto.AuthPacket`).
#[derive(Clone, PartialEq, Eq)]
pub struct AuthPacket<'a> {
    pub scheme: Text<'a>,
    /// Often `user:password`: never logged, which is why this record has no `Debug`.
    pub auth: Option<&'a [u8]>,
}

impl<'a> AuthPacket<'a> {
    /// Reads the record; its `type` field has no meaning.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        reader.i32()?;
        Ok(Self { scheme: reader.string()?, auth: reader.buffer()? })
    }
}

fn read_request_acls<'a>(
    reader: &mut Reader<'a>,
) -> Result<Option<Vec<RequestAcl<'a>>>, Malformed> {
    let Some(count) = reader.count()? else { return Ok(None) };
    let mut acls =
        Vec::with_capacity(count.min(reader.rest().len() / crate::jute::data::Acl::BYTES_MIN));
    for _ in 0..count {
        acls.push(RequestAcl {
            perms: reader.i32()?,
            scheme: reader.string()?,
            id: reader.string()?,
        });
    }
    Ok(Some(acls))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jute::Writer;

    #[test]
    fn connect_request_with_and_without_the_read_only_byte() {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out);
        writer.i32(0);
        writer.i64(5);
        writer.i32(30_000);
        writer.i64(0);
        writer.buffer(Some(&[0; 16]));
        let old = ConnectRequest::read(&mut Reader::new(&out)).unwrap();
        assert_eq!((old.last_zxid_seen, old.timeout_ms, old.read_only), (5, 30_000, None));
        out.push(2);
        assert_eq!(ConnectRequest::read(&mut Reader::new(&out)).unwrap().read_only, Some(true));
        assert!(ConnectRequest::read(&mut Reader::new(&out[..30])).is_err());
    }

    #[test]
    fn a_missing_watch_byte_does_not_decode() {
        let mut out = Vec::new();
        Writer::new(&mut out).string("/a");
        assert_eq!(PathWatchRequest::read(&mut Reader::new(&out)), Err(Malformed::Cut("boolean")));
    }
}
