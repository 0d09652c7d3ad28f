//! A server among the others of its ensemble: what has a thread of its own beside the quorum core.
//!
//! | module | holds |
//! |---|---|
//! | [`elections`] | the thread of elections: votes, dialling, accepting learners |
//! | [`ports`] | the sockets that listen for the other servers |

pub mod elections;
pub mod ports;
