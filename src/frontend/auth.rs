//! The identities of a connection: addauth, whoAmI, SASL's refusal, and schemes that the
//! configuration demands.

use std::sync::Arc;

use crate::acl;
use crate::codes::{ErrorCode, OpCode};
use crate::jute::data::Id;
use crate::jute::{Reader, Writer};
use crate::proto::{AuthPacket, begin_reply};

use super::close_reason::CloseReason;
use super::context::ConnContext;
use super::hold::acl_work;

impl ConnContext<'_> {
    /// Adds what a client proves to its ids. Replies to addauth carry zxid 0; a failed one ends the
    /// connection.
    pub(super) fn add_auth(&mut self, xid: i32, reader: &mut Reader<'_>) -> Result<(), ErrorCode> {
        let Ok(packet) = AuthPacket::read(reader) else {
            self.close(CloseReason::Malformed);
            return Ok(());
        };
        match self.prove(&packet) {
            Ok(()) => self.conn.reply_header(xid, 0, ErrorCode::OK),
            Err(err) => {
                self.conn.reply_header(xid, 0, err);
                self.close(CloseReason::AuthFailed);
            }
        }
        Ok(())
    }

    fn prove(&mut self, packet: &AuthPacket<'_>) -> Result<(), ErrorCode> {
        let proven = self.shard.config.acl.authenticate(packet.scheme.as_deref(), packet.auth)?;
        if proven.iter().all(|id| self.conn.auth.contains(id)) {
            return Ok(());
        }
        let mut ids: Vec<Id> = self.conn.auth.to_vec();
        for id in proven {
            acl::add_id(&mut ids, id);
        }
        self.spend(acl_work(0, ID_COPIED * ids.len()));
        let bytes: usize = ids.iter().map(|id| id.scheme.len() + id.id.len()).sum();
        if ids.len() > self.shard.config.auth_ids_max || bytes > self.shard.config.auth_bytes_max {
            return Err(ErrorCode::AUTH_FAILED);
        }
        self.conn.auth = Arc::from(ids);
        Ok(())
    }

    /// A server without SASL answers every token with none, and the connection stays.
    pub(super) fn sasl(&mut self, xid: i32, reader: &mut Reader<'_>) -> Result<(), ErrorCode> {
        match reader.buffer() {
            Ok(Some(_)) => {
                let mut writer = Writer::new(&mut self.conn.out);
                let frame = begin_reply(&mut writer, xid, 0, ErrorCode::OK);
                writer.buffer(None);
                writer.end_frame(frame);
            }
            Ok(None) | Err(_) => self.close(CloseReason::Malformed),
        }
        Ok(())
    }

    /// The connection's ids; of a digest only the user.
    pub(super) fn who_am_i(&mut self, xid: i32) -> Result<(), ErrorCode> {
        let ids = self.conn.auth.clone();
        self.reply(xid, |writer| {
            writer.len(ids.len());
            for id in ids.iter() {
                writer.string(&id.scheme);
                writer.string(match &*id.scheme {
                    "digest" => id.id.split(':').next().unwrap_or_default(),
                    "super" => "",
                    _ => &id.id,
                });
            }
        })
    }

    /// Whether the connection has proven a scheme that the configuration demands; auth and sasl
    /// need none.
    #[inline]
    pub(super) fn has_proven_enough(&self, op: OpCode) -> bool {
        match &self.shard.config.enforce_auth {
            None => true,
            Some(schemes) => {
                matches!(op, OpCode::AUTH | OpCode::SASL)
                    || self.conn.auth.iter().any(|id| schemes.contains(&id.scheme))
            }
        }
    }
}

/// The work of copying one id of a connection, as ids that are looked at.
const ID_COPIED: usize = 4;
