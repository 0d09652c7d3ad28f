//! The client wire: the records of `zookeeper.jute`'s `proto` module, decoded without copying.
//!
//! A frame is an `int` length and a body; a request body is a [`RequestHeader`] and a record, a
//! reply body a reply header and, when its error is 0, a record. This module knows records only;
//! who may send what is the machines' business.

mod multi;
mod replies;
mod requests;

pub use multi::{MultiHeader, MultiOp, read_multi};
pub use replies::{ConnectResponse, begin_reply, write_event, write_multi_header};
pub use requests::{
    AddWatchRequest, AuthPacket, CheckVersionRequest, ConnectRequest, CreateRequest, DeleteRequest,
    PathRequest, PathWatchRequest, RequestAcl, RequestHeader, SetAclRequest, SetDataRequest,
    WatchTypeRequest,
};

/// The xids with a meaning of their own.
pub mod xid {
    /// A watch event, server to client.
    pub const EVENT: i32 = -1;
    /// A ping and its answer.
    pub const PING: i32 = -2;
    /// `addauth`.
    pub const AUTH: i32 = -4;
    /// setWatches after a reconnect.
    pub const SET_WATCHES: i32 = -8;
}
