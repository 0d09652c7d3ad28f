//! A server among the others of its ensemble: what has a thread of its own beside the quorum core.
//!
//! | module | holds |
//! |---|---|
//! | [`disk`] | the thread for what takes long and must be durable |
//! | [`elections`] | the thread of elections: votes, dialling, accepting learners |
//! | [`ports`] | the sockets that listen for the other servers |
//! | [`receive_tree`] | a tree from the leader: a new tree and a durable snapshot |
//! | [`send_log`] | a part of the log, for a learner that lacks it |
//! | [`send_tree`] | a tree to a learner, straight to its socket |

pub mod disk;
pub mod elections;
pub mod ports;
pub mod receive_tree;
pub mod send_log;
pub mod send_tree;
