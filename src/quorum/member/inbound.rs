//! What has come on one connection and was not taken yet.

use std::collections::VecDeque;

use super::effect::{MemberEffect, PeerConn};
use super::news::Peer;
use crate::packet::{Packet, PacketError, PacketStream};
use crate::zab::ServerId;
use crate::zxid::Zxid;

/// See the module.
#[derive(Debug)]
pub(super) struct Inbound {
    pub(super) packets: PacketStream,
    pub(super) peer: Peer,
    /// The connection is gone, and why: the packets before its end still count.
    pub(super) ended: Option<String>,
    /// Nothing more is read from it for now.
    is_paused: bool,
    /// The next packet, which was read and not taken.
    put_back: Option<Packet>,
}

/// What comes next.
pub(super) enum Next {
    Packet(Packet),
    /// COMMITs that came together: of the first of these and of all after it up to the second.
    Commits(Zxid, Zxid),
    /// The rest has not come yet.
    Later,
    /// Nothing more will come, and why.
    End(String),
}

impl Inbound {
    pub(super) fn new(peer: Peer, packet_bytes_max: usize) -> Self {
        Self {
            packets: PacketStream::new(packet_bytes_max),
            peer,
            ended: None,
            is_paused: false,
            put_back: None,
        }
    }

    /// Whether so much waits that no more is read.
    pub(super) fn is_full(&self) -> bool {
        self.packets.buffered() > BUFFERED_BYTES_MAX
    }

    /// From now on nothing more is read from it, or all; said if that is new.
    pub(super) fn pause(
        &mut self,
        conn: PeerConn,
        is_paused: bool,
        effects: &mut VecDeque<MemberEffect>,
    ) {
        if std::mem::replace(&mut self.is_paused, is_paused) != is_paused {
            effects.push_back(MemberEffect::Pause { conn, is_paused });
        }
    }

    /// The next packet. Acknowledgements that come together are one, and so are COMMITs.
    pub(super) fn next(&mut self) -> Next {
        if let Some(packet) = self.put_back.take() {
            return Next::Packet(packet);
        }
        match self.packets.next_packet() {
            Ok(Some(Packet::Ack { zxid })) => {
                Next::Packet(Packet::Ack { zxid: self.packets.last_ack(zxid) })
            }
            Ok(Some(Packet::Commit { zxid })) => {
                Next::Commits(zxid, self.packets.last_commit(zxid))
            }
            Ok(Some(packet)) => {
                if let Packet::FollowerInfo(info) | Packet::ObserverInfo(info) = &packet {
                    self.peer.id = self.peer.id.or(info.server_id.map(ServerId));
                }
                Next::Packet(packet)
            }
            Ok(None) if self.ended.is_none() => Next::Later,
            Ok(None) => self.end(None),
            Err(error) => self.end(Some(error)),
        }
    }

    /// The packet is not taken yet: it comes next again.
    pub(super) fn put_back(&mut self, packet: Packet) {
        debug_assert!(self.put_back.is_none(), "one at a time");
        self.put_back = Some(packet);
    }

    /// What came is no packet, or the connection is gone.
    pub(super) fn end(&mut self, error: Option<PacketError>) -> Next {
        let malformed = error.map(|error| error.to_string());
        Next::End(malformed.or(self.ended.take()).unwrap_or_default())
    }
}

/// Bytes of packets of one server that wait to be taken; what comes beyond stays in the connection.
const BUFFERED_BYTES_MAX: usize = 4 << 20;
