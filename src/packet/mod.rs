//! The server wire: what the servers of an ensemble send each other, on the quorum port and on the
//! election port.
//!
//! | file | holds |
//! |---|---|
//! | `quorum` | the packets of the quorum port (`QuorumPacket`), all 19 types |
//! | `ids` | the ids of clients, which come again and again |
//! | `stream` | from a stream of bytes to packets |
//! | `notification` | the votes of the election port |
//! | `greeting` | the first bytes of a connection to the election port |
//! | `membership` | who the servers are and where, as text |
//!
//! Records only: who may send what, and when, is the machines' business.

mod greeting;
mod ids;
mod membership;
mod notification;
mod quorum;
mod stream;
#[cfg(test)]
mod tests;

pub use greeting::{Greeting, GreetingError};
pub use membership::{ClientAddress, Membership, MembershipError, QuorumServer, ServerAddress};
pub use notification::{Notification, NotificationError, PeerState};
pub use quorum::{LearnerInfo, Packet, PacketError, RequestPacket};
pub use stream::PacketStream;
