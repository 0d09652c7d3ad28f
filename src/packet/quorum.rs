//! The packets of the quorum port: `QuorumPacket{int type, long zxid, buffer data, vector<Id>
//! authinfo}`, one enum with a variant for each type and its data decoded.
//!
//! On the wire a packet has no length before it: it is read field by field (`zookeeper.jute`,
//! `Leader.java`'s constants).

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::codes::OpCode;
use crate::jute::data::Id;
use crate::jute::{Malformed, Reader, Writer};
use crate::zxid::{SessionId, Zxid};

use super::ids::KnownIds;

/// One packet between a leader and a learner. Beside each type stands its number and who sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// 1, learner: a client's request that only the leader can decide.
    Request(RequestPacket),
    /// 2, leader: a transaction to log; `record` is the payload of its log entry: header, record
    /// and digest.
    Proposal { zxid: Zxid, record: Bytes },
    /// 3, learner: all up to `zxid` is durable here; also the answer to NEWLEADER and to UPTODATE.
    Ack { zxid: Zxid },
    /// 4, leader to participants: `zxid` is committed.
    Commit { zxid: Zxid },
    /// 5, leader: are you there? `zxid` is the last proposed one.
    Ping { zxid: Zxid },
    /// 5, learner: the sessions that it has heard of since the last one, with their timeouts in
    /// milliseconds.
    Pong { zxid: Zxid, touched: Vec<(SessionId, i32)> },
    /// 6, learner: a client came back; does its session live? The timeout is in milliseconds.
    Revalidate { session: SessionId, timeout_ms: i32 },
    /// 6, leader: the answer.
    Revalidated { session: SessionId, valid: bool },
    /// 7, leader: the learner's oldest sync is answered, after the commits before this packet.
    Sync,
    /// 8, leader to observers: `zxid` is committed, and this is its transaction.
    Inform { zxid: Zxid, record: Bytes },
    /// 9, leader: a reconfig is committed; the new leader should be `designated`.
    CommitAndActivate { zxid: Zxid, designated: i64 },
    /// 10, leader: the learner's history is complete up to the start of epoch `zxid.epoch()`;
    /// `config` is the membership, absent from peers before protocol version 0x10000.
    NewLeader { zxid: Zxid, config: Option<Bytes> },
    /// 11, the first packet of a follower.
    FollowerInfo(LearnerInfo),
    /// 12, leader: the learner may serve clients.
    UpToDate,
    /// 13, leader: what follows goes after the learner's history, up to `zxid`.
    Diff { zxid: Zxid },
    /// 14, leader: the learner's history ends with `zxid`; what it has after it goes.
    Trunc { zxid: Zxid },
    /// 15, leader: a whole tree follows on the stream, as of `zxid`; it is no packet.
    Snap { zxid: Zxid },
    /// 16, the first packet of an observer.
    ObserverInfo(LearnerInfo),
    /// 17, leader: the new epoch.
    LeaderInfo { epoch: u32, protocol: i32 },
    /// 18, learner: it has accepted the epoch. `current_epoch` is that of its history; -1 if it had
    /// accepted the epoch before.
    AckEpoch { zxid: Zxid, current_epoch: i32 },
    /// 19, leader to observers: as 9, with the transaction.
    InformAndActivate { zxid: Zxid, designated: i64, record: Bytes },
    /// A type that this version does not know: passed over.
    Unknown { kind: i32 },
}

/// The first packet of a learner (`LearnerInfo`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LearnerInfo {
    /// The epoch that it has accepted last.
    pub accepted_epoch: u32,
    /// The one of its history, if it says so: it stands, one higher, in the half of the packet's
    /// zxid that Apache's learners leave 0 and its leaders do not look at.
    pub current_epoch: Option<u32>,
    /// `None` if it sent no data at all.
    pub server_id: Option<i64>,
    /// [`LearnerInfo::PROTOCOL`] since 3.4.
    pub protocol: i32,
    /// The version of its membership.
    pub config_version: Zxid,
}

impl LearnerInfo {
    /// The protocol version of Zab 1.0: epochs are agreed on by LEADERINFO and ACKEPOCH.
    pub const PROTOCOL: i32 = 0x1_0000;

    /// That of a server with this id that has accepted this epoch, and says nothing of its history.
    pub fn new(server_id: i64, accepted_epoch: u32) -> Self {
        Self {
            accepted_epoch,
            current_epoch: None,
            server_id: Some(server_id),
            protocol: Self::PROTOCOL,
            config_version: Zxid::ZERO,
        }
    }
}

/// A client's request on its way to the leader (type 1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestPacket {
    pub session: SessionId,
    /// The client's xid; 0 of a createSession.
    pub cxid: i32,
    pub op: OpCode,
    /// The request's record as the client sent it; of a createSession its timeout.
    pub record: Bytes,
    /// The ids that the client has proven; `None` of a createSession.
    pub auth: Option<Arc<[Id]>>,
}

/// The reason why bytes are no packet: the connection is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PacketError {
    /// A field is cut or has an impossible length.
    Malformed(Malformed),
    /// The data is longer than `jute.maxbuffer` and `jute.maxbuffer.extrasize` allow, both in
    /// bytes.
    TooLong { kind: i32, len: u64, max: usize },
    /// The data does not have the form of its type.
    Data { kind: i32, len: usize },
}

impl fmt::Display for PacketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(malformed) => malformed.fmt(f),
            Self::TooLong { kind, len, max } => write!(
                f,
                "a packet of type {kind} has {len} bytes, more than the {max} that are allowed; \
                 jute.maxbuffer must be the same on all servers of an ensemble"
            ),
            Self::Data { kind, len } => {
                write!(f, "the data of a packet of type {kind}, {len} bytes, has another form")
            }
        }
    }
}

impl std::error::Error for PacketError {}

impl From<Malformed> for PacketError {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl Packet {
    /// The number of its type on the wire.
    pub fn kind(&self) -> i32 {
        match self {
            Self::Request(_) => 1,
            Self::Proposal { .. } => 2,
            Self::Ack { .. } => 3,
            Self::Commit { .. } => 4,
            Self::Ping { .. } | Self::Pong { .. } => 5,
            Self::Revalidate { .. } | Self::Revalidated { .. } => 6,
            Self::Sync => 7,
            Self::Inform { .. } => 8,
            Self::CommitAndActivate { .. } => 9,
            Self::NewLeader { .. } => 10,
            Self::FollowerInfo(_) => 11,
            Self::UpToDate => 12,
            Self::Diff { .. } => 13,
            Self::Trunc { .. } => 14,
            Self::Snap { .. } => 15,
            Self::ObserverInfo(_) => 16,
            Self::LeaderInfo { .. } => 17,
            Self::AckEpoch { .. } => 18,
            Self::InformAndActivate { .. } => 19,
            Self::Unknown { kind } => *kind,
        }
    }

    /// Appends what a learner gets of a transaction that is committed: PROPOSAL and COMMIT.
    pub fn write_committed(zxid: Zxid, record: Bytes, out: &mut Vec<u8>) {
        Self::Proposal { zxid, record }.write(out);
        Self::Commit { zxid }.write(out);
    }

    /// Appends the packet to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        writer.i32(self.kind());
        writer.i64(self.zxid().0);
        self.write_data(&mut writer);
        match self {
            Self::Request(RequestPacket { auth: Some(ids), .. }) => {
                writer.len(ids.len());
                for id in ids.iter() {
                    writer.string(&id.scheme);
                    writer.string(&id.id);
                }
            }
            _ => writer.i32(NULL),
        }
    }

    /// The field `zxid` of the packet.
    fn zxid(&self) -> Zxid {
        match self {
            Self::Proposal { zxid, .. }
            | Self::Ack { zxid }
            | Self::Commit { zxid }
            | Self::Ping { zxid }
            | Self::Pong { zxid, .. }
            | Self::Inform { zxid, .. }
            | Self::CommitAndActivate { zxid, .. }
            | Self::NewLeader { zxid, .. }
            | Self::Diff { zxid }
            | Self::Trunc { zxid }
            | Self::Snap { zxid }
            | Self::AckEpoch { zxid, .. }
            | Self::InformAndActivate { zxid, .. } => *zxid,
            Self::FollowerInfo(info) | Self::ObserverInfo(info) => {
                let current = info.current_epoch.map_or(0, |epoch| epoch.saturating_add(1));
                Zxid::new(info.accepted_epoch, current)
            }
            Self::LeaderInfo { epoch, .. } => Zxid::new(*epoch, 0),
            Self::Sync => Zxid::ZERO,
            Self::Request(_)
            | Self::Revalidate { .. }
            | Self::Revalidated { .. }
            | Self::UpToDate
            | Self::Unknown { .. } => NO_ZXID,
        }
    }

    fn write_data(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Request(request) => {
                writer.len(REQUEST_HEADER_BYTES + request.record.len());
                writer.i64(request.session.0);
                writer.i32(request.cxid);
                writer.i32(request.op.0);
                writer.raw(&request.record);
            }
            Self::Proposal { record, .. } | Self::Inform { record, .. } => {
                writer.buffer(Some(record));
            }
            Self::Pong { touched, .. } => {
                writer.len(touched.len() * TOUCH_BYTES);
                for (session, timeout_ms) in touched {
                    writer.i64(session.0);
                    writer.i32(*timeout_ms);
                }
            }
            Self::Revalidate { session, timeout_ms } => {
                writer.len(TOUCH_BYTES);
                writer.i64(session.0);
                writer.i32(*timeout_ms);
            }
            Self::Revalidated { session, valid } => {
                writer.len(REVALIDATED_BYTES);
                writer.i64(session.0);
                writer.bool(*valid);
            }
            Self::CommitAndActivate { designated, .. } => {
                writer.len(size_of::<i64>());
                writer.i64(*designated);
            }
            Self::NewLeader { config, .. } => writer.buffer(config.as_deref()),
            Self::FollowerInfo(info) | Self::ObserverInfo(info) => write_learner_info(writer, info),
            Self::LeaderInfo { protocol, .. } => {
                writer.len(size_of::<i32>());
                writer.i32(*protocol);
            }
            Self::AckEpoch { current_epoch, .. } => {
                writer.len(size_of::<i32>());
                writer.i32(*current_epoch);
            }
            Self::InformAndActivate { designated, record, .. } => {
                writer.len(size_of::<i64>() + record.len());
                writer.i64(*designated);
                writer.raw(record);
            }
            Self::Ack { .. }
            | Self::Commit { .. }
            | Self::Ping { .. }
            | Self::Sync
            | Self::UpToDate
            | Self::Diff { .. }
            | Self::Trunc { .. }
            | Self::Snap { .. }
            | Self::Unknown { .. } => writer.i32(NULL),
        }
    }

    /// Reads the packet that `bytes` hold, no more and no less. Records share its memory, lists of
    /// ids that of `known`.
    pub(super) fn read(bytes: &Bytes, known: &mut KnownIds) -> Result<Self, PacketError> {
        let mut reader = Reader::new(bytes);
        let (kind, zxid) = (reader.i32()?, Zxid(reader.i64()?));
        let data = reader.buffer()?.map(|data| bytes.slice_ref(data));
        let auth = known.read(&mut reader)?;
        let wrong = || PacketError::Data { kind, len: data.as_ref().map_or(0, |data| data.len()) };
        let fields = Fields { kind, zxid, data: data.as_ref(), auth };
        fields.decode().ok_or_else(wrong)
    }
}

/// A packet before its data is understood.
struct Fields<'a> {
    kind: i32,
    zxid: Zxid,
    data: Option<&'a Bytes>,
    auth: Option<Arc<[Id]>>,
}

impl Fields<'_> {
    /// `None` if the data does not have the form of the type.
    fn decode(self) -> Option<Packet> {
        let zxid = self.zxid;
        let mut data = Reader::new(self.data.map_or(&[], |data| data));
        Some(match self.kind {
            1 => Packet::Request(self.request()?),
            2 => Packet::Proposal { zxid, record: self.data?.clone() },
            3 => Packet::Ack { zxid },
            4 => Packet::Commit { zxid },
            5 => match self.data {
                None => Packet::Ping { zxid },
                Some(data) => Packet::Pong { zxid, touched: read_touches(data)? },
            },
            6 => {
                let session = SessionId(data.i64().ok()?);
                match data.rest().len() {
                    4 => Packet::Revalidate { session, timeout_ms: data.i32().ok()? },
                    1 => Packet::Revalidated { session, valid: data.bool().ok()? },
                    _ => return None,
                }
            }
            7 => Packet::Sync,
            8 => Packet::Inform { zxid, record: self.data?.clone() },
            9 => Packet::CommitAndActivate { zxid, designated: data.i64().ok()? },
            10 => Packet::NewLeader { zxid, config: self.data.cloned() },
            11 => Packet::FollowerInfo(self.learner_info()?),
            12 => Packet::UpToDate,
            13 => Packet::Diff { zxid },
            14 => Packet::Trunc { zxid },
            15 => Packet::Snap { zxid },
            16 => Packet::ObserverInfo(self.learner_info()?),
            17 => Packet::LeaderInfo { epoch: zxid.epoch(), protocol: data.i32().ok()? },
            18 => Packet::AckEpoch { zxid, current_epoch: data.i32().ok()? },
            19 => {
                let designated = data.i64().ok()?;
                let record = self.data?.slice_ref(data.rest());
                Packet::InformAndActivate { zxid, designated, record }
            }
            kind => Packet::Unknown { kind },
        })
    }

    fn request(self) -> Option<RequestPacket> {
        let data = self.data?;
        let mut reader = Reader::new(data);
        let session = SessionId(reader.i64().ok()?);
        let (cxid, op) = (reader.i32().ok()?, OpCode(reader.i32().ok()?));
        let record = data.slice_ref(reader.rest());
        Some(RequestPacket { session, cxid, op, record, auth: self.auth })
    }

    /// The short forms of earlier versions end after the server id or the protocol version.
    fn learner_info(&self) -> Option<LearnerInfo> {
        let mut info = LearnerInfo {
            accepted_epoch: self.zxid.epoch(),
            current_epoch: self.zxid.counter().checked_sub(1),
            server_id: None,
            protocol: 0,
            config_version: Zxid::ZERO,
        };
        let Some(data) = self.data.filter(|data| !data.is_empty()) else { return Some(info) };
        let mut reader = Reader::new(data);
        info.server_id = Some(reader.i64().ok()?);
        if !reader.rest().is_empty() {
            info.protocol = reader.i32().ok()?;
        }
        if !reader.rest().is_empty() {
            info.config_version = Zxid(reader.i64().ok()?);
        }
        Some(info)
    }
}

fn write_learner_info(writer: &mut Writer<'_>, info: &LearnerInfo) {
    let Some(server_id) = info.server_id else { return writer.i32(NULL) };
    writer.len(LEARNER_INFO_BYTES);
    writer.i64(server_id);
    writer.i32(info.protocol);
    writer.i64(info.config_version.0);
}

fn read_touches(data: &[u8]) -> Option<Vec<(SessionId, i32)>> {
    if !data.len().is_multiple_of(TOUCH_BYTES) {
        return None;
    }
    let mut reader = Reader::new(data);
    let touches = std::iter::from_fn(|| Some((SessionId(reader.i64().ok()?), reader.i32().ok()?)));
    Some(touches.collect())
}

/// The zxid of packets that concern none.
const NO_ZXID: Zxid = Zxid(-1);
/// The length of a null buffer, and the count of a null vector.
const NULL: i32 = -1;
/// Session, cxid and type before the record of a request.
const REQUEST_HEADER_BYTES: usize = 16;
/// A session and its timeout.
const TOUCH_BYTES: usize = 12;
/// A session, and whether it lives.
const REVALIDATED_BYTES: usize = 9;
/// Server id, protocol version, version of the membership.
const LEARNER_INFO_BYTES: usize = 20;
