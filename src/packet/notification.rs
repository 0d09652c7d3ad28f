//! The votes of the election port (`FastLeaderElection.buildMsg`), in every layout that a version of
//! Apache's has sent.

use std::fmt;

use bytes::Bytes;

use crate::jute::{Reader, Writer};
use crate::zxid::Zxid;

/// What a server does (`QuorumPeer.ServerState`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerState {
    Looking = 0,
    Following = 1,
    Leading = 2,
    Observing = 3,
}

impl PeerState {
    fn of(number: i32) -> Option<Self> {
        [Self::Looking, Self::Following, Self::Leading, Self::Observing]
            .into_iter()
            .find(|state| *state as i32 == number)
    }
}

/// Upper case, as Apache's log and `mntr` have it.
impl fmt::Display for PeerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Looking => "LOOKING",
            Self::Following => "FOLLOWING",
            Self::Leading => "LEADING",
            Self::Observing => "OBSERVING",
        })
    }
}

/// One message of the election port: a server's state and its vote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    pub state: PeerState,
    /// The server that the sender votes for; [`Self::NOBODY`] of a server that does not vote.
    pub leader: i64,
    /// The last zxid that the leader has logged, as far as the sender knows.
    pub zxid: Zxid,
    /// The round of the election (logical clock).
    pub round: i64,
    /// The epoch of the leader's history; of a server that is not LOOKING that of the leader it
    /// follows.
    pub peer_epoch: i64,
    /// 2 since 3.5; 0 from servers before 3.5, whose epochs are not compared.
    pub version: i32,
    /// The membership that the sender has committed; empty from servers before 3.5.
    pub config: Bytes,
}

/// The reason why a message is no notification: it is passed over, its connection stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotificationError {
    /// Its length is that of no layout.
    Length(usize),
    /// Its state is unknown.
    State(i32),
}

impl fmt::Display for NotificationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(len) => write!(f, "{len} bytes are no notification of any version"),
            Self::State(state) => write!(f, "state {state} of a notification is unknown"),
        }
    }
}

impl std::error::Error for NotificationError {}

impl Notification {
    /// What stands for "none" in a vote: `Long.MIN_VALUE`.
    pub const NOBODY: i64 = i64::MIN;
    /// The present layout.
    pub const VERSION: i32 = 2;

    /// Reads a message without its length. Layouts of 28, 36 and 40 bytes and of 44 and more.
    pub fn read(message: &Bytes) -> Result<Self, NotificationError> {
        let wrong = |_| NotificationError::Length(message.len());
        let mut reader = Reader::new(message);
        let state = reader.i32().map_err(wrong)?;
        let leader = reader.i64().map_err(wrong)?;
        let zxid = Zxid(reader.i64().map_err(wrong)?);
        let round = reader.i64().map_err(wrong)?;
        // Before ZOOKEEPER-107 the epoch was that of the zxid.
        let peer_epoch = match reader.rest().len() {
            0 => i64::from(zxid.epoch()),
            _ => reader.i64().map_err(wrong)?,
        };
        let (mut version, mut config) = (0, Bytes::new());
        // A message of 40 bytes has a version that nobody has read since 3.5.
        if reader.rest().len() > size_of::<i32>() {
            version = reader.i32().map_err(wrong)?;
            let text = reader.buffer().map_err(wrong)?.unwrap_or_default();
            config = message.slice_ref(text);
        }
        let state = PeerState::of(state).ok_or(NotificationError::State(state))?;
        Ok(Self { state, leader, zxid, round, peer_epoch, version, config })
    }

    /// Whether the sender says that it is a Ringkeeper.
    pub fn is_of_ringkeeper(&self) -> bool {
        self.config.ends_with(RINGKEEPER_LINE)
    }

    /// The text of a membership, and that this is a Ringkeeper: to Apache's the line is a comment.
    pub fn config_of_ringkeeper(members: &[u8]) -> Bytes {
        [members, RINGKEEPER_LINE].concat().into()
    }

    /// Appends the message, its length before it, in the present layout.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        let start = writer.begin_frame();
        writer.i32(self.state as i32);
        writer.i64(self.leader);
        writer.i64(self.zxid.0);
        writer.i64(self.round);
        writer.i64(self.peer_epoch);
        writer.i32(Self::VERSION);
        writer.buffer(Some(&self.config));
        writer.end_frame(start);
    }
}

/// The last line of a membership in a notification of a Ringkeeper's.
const RINGKEEPER_LINE: &[u8] = b"\n#ringkeeper";
