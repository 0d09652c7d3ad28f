//! The bytes of a transaction: header, record, digest.

use std::fmt;

use bytes::Bytes;

use crate::codes::{ErrorCode, OpCode};
use crate::jute::data::{read_acls, write_acls};
use crate::jute::{Malformed, Reader, Writer};
use crate::zxid::{SessionId, Zxid};

use super::{CreateKind, CreateTxn, SetDataTxn, SharedPath, Txn, TxnDigest, TxnHeader};

/// A whole log record: what was decided and the digest that it must lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    pub header: TxnHeader,
    pub txn: Txn,
    /// Absent in logs older than 3.6, or with `digest.enabled=false`.
    pub digest: Option<TxnDigest>,
}

/// The reason why the payload of a log record cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxnError {
    /// A field is cut or has an impossible length.
    Malformed(Malformed),
    /// A type that no server can apply.
    UnknownType(i32),
}

impl fmt::Display for TxnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(malformed) => malformed.fmt(f),
            Self::UnknownType(op) => write!(f, "transaction type {op} is unknown"),
        }
    }
}

impl std::error::Error for TxnError {}

impl From<Malformed> for TxnError {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

/// Appends header, record and digest to `out`.
pub fn write_log_record(
    out: &mut Vec<u8>,
    header: &TxnHeader,
    txn: &Txn,
    digest: Option<TxnDigest>,
) {
    let mut writer = Writer::new(out);
    writer.i64(header.session.0);
    writer.i32(header.cxid);
    writer.i64(header.zxid.0);
    writer.i64(header.time_ms);
    writer.i32(txn.op().0);
    write_txn(&mut writer, txn);
    if let Some(digest) = digest {
        writer.i32(digest.version);
        writer.i64(digest.tree);
    }
}

/// Reads the payload of a log record. Data is copied out of `payload` once.
pub fn read_log_record(payload: &[u8]) -> Result<LogRecord, TxnError> {
    read_record(Source { reader: Reader::new(payload), shared: None })
}

/// The same of a PROPOSAL or an INFORM: the data of nodes, and the paths of setData, share the
/// memory of the packet, which stays for as long as the transaction does.
pub fn read_shared_record(payload: &Bytes) -> Result<LogRecord, TxnError> {
    read_record(Source { reader: Reader::new(payload), shared: Some(payload) })
}

fn read_record(mut source: Source<'_>) -> Result<LogRecord, TxnError> {
    let reader = &mut source.reader;
    let session = SessionId(reader.i64()?);
    let cxid = reader.i32()?;
    let zxid = Zxid(reader.i64()?);
    let time_ms = reader.i64()?;
    let op = OpCode(reader.i32()?);
    let txn = read_txn(&mut source, op, Place::Log)?;
    let reader = &mut source.reader;
    let digest = match reader.rest().len() {
        DIGEST_BYTES.. => Some(TxnDigest { version: reader.i32()?, tree: reader.i64()? }),
        _ => None,
    };
    Ok(LogRecord { header: TxnHeader { session, cxid, zxid, time_ms }, txn, digest })
}

/// The bytes of a record that are still to be read.
struct Source<'a> {
    reader: Reader<'a>,
    /// The memory that all of them are in, if it may be shared.
    shared: Option<&'a Bytes>,
}

impl<'a> Source<'a> {
    fn data(&mut self) -> Result<Option<Bytes>, Malformed> {
        let data = self.reader.buffer()?;
        Ok(data.map(|data| match self.shared {
            Some(shared) => shared.slice_ref(data),
            None => Bytes::copy_from_slice(data),
        }))
    }

    fn shared_path(&mut self) -> Result<SharedPath, Malformed> {
        let path = self.reader.string()?.unwrap_or_default();
        Ok(match self.shared {
            Some(shared) => SharedPath::of(shared, &path),
            None => path.into_owned().into(),
        })
    }

    fn path(&mut self) -> Result<String, Malformed> {
        Ok(self.reader.string()?.unwrap_or_default().into())
    }

    /// What is within this one, in the same memory.
    fn within(&self, record: &'a [u8]) -> Self {
        Self { reader: Reader::new(record), shared: self.shared }
    }
}

/// The place of a record: the last field of some may be missing, and only a log record is followed
/// by a digest.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Log,
    Multi,
}

fn write_txn(writer: &mut Writer<'_>, txn: &Txn) {
    match txn {
        Txn::CreateSession { timeout_ms } => writer.i32(*timeout_ms),
        Txn::CloseSession { paths: None } => {}
        Txn::CloseSession { paths: Some(paths) } => {
            writer.len(paths.len());
            paths.iter().for_each(|path| writer.string(path));
        }
        Txn::Create(create) => write_create(writer, create),
        Txn::Delete { path } | Txn::DeleteContainer { path } => writer.string(path),
        Txn::SetData(set) | Txn::Reconfig(set) => {
            writer.buffer(Some(set.path.as_bytes()));
            writer.buffer(set.data.as_deref());
            writer.i32(set.version);
        }
        Txn::SetAcl { path, acl, version } => {
            writer.string(path);
            write_acls(writer, acl);
            writer.i32(*version);
        }
        Txn::Check { path, version } => {
            writer.string(path);
            writer.i32(*version);
        }
        Txn::Multi(txns) => {
            writer.len(txns.len());
            for txn in txns {
                writer.i32(txn.op().0);
                let frame = writer.begin_frame();
                write_txn(writer, txn);
                writer.end_frame(frame);
            }
        }
        Txn::Error(err) => writer.i32(err.0),
    }
}

fn write_create(writer: &mut Writer<'_>, create: &CreateTxn) {
    writer.string(&create.path);
    writer.buffer(create.data.as_deref());
    write_acls(writer, &create.acl);
    match create.kind {
        CreateKind::Persistent | CreateKind::Ephemeral => {
            writer.bool(create.kind == CreateKind::Ephemeral);
            writer.i32(create.parent_cversion);
        }
        CreateKind::Container => writer.i32(create.parent_cversion),
        CreateKind::Ttl { ttl_ms } => {
            writer.i32(create.parent_cversion);
            writer.i64(ttl_ms);
        }
    }
}

fn read_txn(source: &mut Source<'_>, op: OpCode, place: Place) -> Result<Txn, TxnError> {
    Ok(match op {
        OpCode::CREATE_SESSION => Txn::CreateSession { timeout_ms: source.reader.i32()? },
        OpCode::CLOSE_SESSION => Txn::CloseSession { paths: read_close_paths(&mut source.reader)? },
        OpCode::CREATE | OpCode::CREATE2 | OpCode::CREATE_CONTAINER | OpCode::CREATE_TTL => {
            Txn::Create(read_create(source, op)?)
        }
        OpCode::DELETE => Txn::Delete { path: source.path()? },
        OpCode::DELETE_CONTAINER => Txn::DeleteContainer { path: source.path()? },
        OpCode::SET_DATA => Txn::SetData(read_set_data(source)?),
        OpCode::RECONFIG => Txn::Reconfig(read_set_data(source)?),
        OpCode::SET_ACL => Txn::SetAcl {
            path: source.path()?,
            acl: read_acls(&mut source.reader)?.into(),
            version: source.reader.i32()?,
        },
        OpCode::CHECK if place == Place::Multi => {
            Txn::Check { path: source.path()?, version: source.reader.i32()? }
        }
        OpCode::MULTI if place == Place::Log => Txn::Multi(read_multi(source)?),
        OpCode::ERROR => Txn::Error(ErrorCode(source.reader.i32()?)),
        OpCode(unknown) => return Err(TxnError::UnknownType(unknown)),
    })
}

fn read_create(source: &mut Source<'_>, op: OpCode) -> Result<CreateTxn, TxnError> {
    let (path, data) = (source.path()?, source.data()?);
    let reader = &mut source.reader;
    let acl = read_acls(reader)?.into();
    let (kind, parent_cversion) = match op {
        OpCode::CREATE_CONTAINER => (CreateKind::Container, reader.i32()?),
        OpCode::CREATE_TTL => {
            let parent_cversion = reader.i32()?;
            (CreateKind::Ttl { ttl_ms: reader.i64()? }, parent_cversion)
        }
        _ => {
            let kind = if reader.bool()? { CreateKind::Ephemeral } else { CreateKind::Persistent };
            // CreateTxnV0 of 3.3 and earlier ends here.
            (kind, reader.i32().unwrap_or(-1))
        }
    };
    Ok(CreateTxn { path, data, acl, kind, with_stat: op != OpCode::CREATE, parent_cversion })
}

fn read_set_data(source: &mut Source<'_>) -> Result<SetDataTxn, TxnError> {
    let (path, data) = (source.shared_path()?, source.data()?);
    Ok(SetDataTxn { path, data, version: source.reader.i32()? })
}

/// A closeSession record is empty where `closeSessionTxn.enabled=false` (and before 3.6). A digest
/// of 12 bytes may follow it directly; its version, 2, would read as a count of two paths, so the
/// two are told apart by trying.
fn read_close_paths(reader: &mut Reader<'_>) -> Result<Option<Vec<String>>, TxnError> {
    match reader.rest().len() {
        0 => return Ok(None),
        DIGEST_BYTES => {
            let mut ahead = reader.clone();
            if ahead.i32() == Ok(DIGEST_VERSION) && paths(&mut reader.clone()).is_err() {
                return Ok(None);
            }
        }
        _ => {}
    }
    Ok(Some(paths(reader)?))
}

fn paths(reader: &mut Reader<'_>) -> Result<Vec<String>, Malformed> {
    let paths = reader.strings()?.unwrap_or_default();
    Ok(paths.into_iter().flatten().map(String::from).collect())
}

fn read_multi(source: &mut Source<'_>) -> Result<Vec<Txn>, TxnError> {
    let count = source.reader.count()?.unwrap_or(0);
    let mut txns = Vec::with_capacity(count.min(source.reader.rest().len() / SUB_TXN_BYTES_MIN));
    for _ in 0..count {
        let op = OpCode(source.reader.i32()?);
        let record = source.reader.buffer()?.unwrap_or_default();
        txns.push(read_txn(&mut source.within(record), op, Place::Multi)?);
    }
    Ok(txns)
}

/// Version and digest of a `TxnDigest`.
const DIGEST_BYTES: usize = 12;
/// The version that 3.6 and later write.
const DIGEST_VERSION: i32 = 2;
/// Type and length of a sub-transaction.
const SUB_TXN_BYTES_MIN: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jute::data::Acl;

    fn header() -> TxnHeader {
        TxnHeader {
            session: SessionId(0x1_0000),
            cxid: 3,
            zxid: Zxid(9),
            time_ms: 1_700_000_000_000,
        }
    }

    fn create(kind: CreateKind) -> Txn {
        Txn::Create(CreateTxn {
            path: "/é".into(),
            data: Some(Bytes::from_static(b"x")),
            acl: [Acl::open()].into(),
            kind,
            with_stat: kind != CreateKind::Persistent,
            parent_cversion: 4,
        })
    }

    fn set_data(data: Option<Bytes>) -> Txn {
        Txn::SetData(SetDataTxn { path: "/a".into(), data, version: 1 })
    }

    fn every_kind() -> Vec<Txn> {
        vec![
            Txn::CreateSession { timeout_ms: 4000 },
            Txn::CloseSession { paths: Some(vec!["/e".into()]) },
            Txn::CloseSession { paths: Some(vec![]) },
            create(CreateKind::Persistent),
            create(CreateKind::Ephemeral),
            create(CreateKind::Container),
            create(CreateKind::Ttl { ttl_ms: 5 }),
            Txn::Delete { path: "/a".into() },
            Txn::DeleteContainer { path: "/a".into() },
            set_data(None),
            set_data(Some(Bytes::new())),
            Txn::SetAcl { path: "/a".into(), acl: [].into(), version: 2 },
            Txn::Multi(vec![
                create(CreateKind::Persistent),
                Txn::Check { path: "/".into(), version: -1 },
            ]),
            Txn::Multi(vec![set_data(None), Txn::Error(ErrorCode::BAD_VERSION)]),
            Txn::Error(ErrorCode::NO_NODE),
        ]
    }

    #[test]
    fn every_kind_reads_back_with_and_without_digest() {
        for txn in every_kind() {
            for digest in [None, Some(TxnDigest { version: 2, tree: -5 })] {
                let mut out = Vec::new();
                write_log_record(&mut out, &header(), &txn, digest);
                let record = read_log_record(&out).unwrap();
                assert_eq!((record.header, &record.txn, record.digest), (header(), &txn, digest));
                assert_eq!(read_shared_record(&out.into()), Ok(record));
            }
        }
    }

    /// Data and path are parts of the packet, within a multi too, and nothing is copied.
    #[test]
    fn what_a_packet_brings_shares_its_memory() {
        let one = set_data(Some(Bytes::from_static(b"data")));
        for txn in [one.clone(), Txn::Multi(vec![one.clone(), one])] {
            let mut out = Vec::new();
            write_log_record(&mut out, &header(), &txn, None);
            let packet = Bytes::from(out);
            let all = packet.as_ptr_range();
            let parts = match read_shared_record(&packet).unwrap().txn {
                Txn::Multi(parts) => parts,
                one => vec![one],
            };
            for part in parts {
                let Txn::SetData(SetDataTxn { path, data: Some(data), .. }) = part else {
                    panic!("{part:?}")
                };
                assert!(all.contains(&path.as_bytes().as_ptr()) && all.contains(&data.as_ptr()));
            }
        }
    }

    #[test]
    fn an_empty_close_session_is_told_from_its_digest() {
        let txn = Txn::CloseSession { paths: None };
        for digest in [None, Some(TxnDigest { version: 2, tree: 0x7fff_0000_1234_5678 })] {
            let mut out = Vec::new();
            write_log_record(&mut out, &header(), &txn, digest);
            let record = read_log_record(&out).unwrap();
            assert_eq!((record.txn, record.digest), (txn.clone(), digest));
        }
    }

    #[test]
    fn no_prefix_panics_and_unknown_types_are_named() {
        for txn in every_kind() {
            let mut out = Vec::new();
            write_log_record(&mut out, &header(), &txn, None);
            for end in 0..out.len() {
                let _ = read_log_record(&out[..end]);
            }
        }
        let mut out = Vec::new();
        write_log_record(&mut out, &header(), &Txn::Check { path: "/a".into(), version: 0 }, None);
        assert_eq!(read_log_record(&out), Err(TxnError::UnknownType(13)));
    }
}
