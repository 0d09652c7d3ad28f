//! A server among the others of its ensemble: what the quorum core has beside its machine.
//!
//! | module | holds |
//! |---|---|
//! | [`member`] | carries out what the life of a member asks for |
//! | `incoming_tree` | a leader's tree, from its first byte to its place |
//! | [`peers`] | the connections between a leader and its learners, on the core's own ring |
//! | [`elections`] | the thread of elections: votes, dialling, accepting learners |
//! | [`ports`] | the sockets that listen for the other servers |
//! | [`disk`] | the thread for what takes long and must be durable |
//! | [`feed`] | something long on its way to a learner |
//! | [`send_log`] | a part of the log, for a learner that lacks it |
//! | [`send_tree`] | a tree to a learner, straight to its socket |
//! | [`receive_tree`] | a tree from the leader: a new tree and a durable snapshot |
//! | `tree_file` | the file of that snapshot |

pub mod disk;
pub mod elections;
pub mod feed;
mod incoming_tree;
pub mod member;
pub mod peers;
pub mod ports;
pub mod receive_tree;
pub mod send_log;
pub mod send_tree;
mod tree_file;
