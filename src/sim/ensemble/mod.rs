//! Worlds of several servers: elections, discovery, synchronization and broadcast under faults. The
//! machines of `zab` run as they are; transactions are opaque, and the tree is the chain of their
//! hashes.
//!
//! | file | holds |
//! |---|---|
//! | `world` | virtual time, faults, clients |
//! | `server` | one server: its machines, and what carries their effects out |
//! | `shared` | what all servers share: time, chance, links |
//! | `votes` | its election port |
//! | `net` | the connections between servers |
//! | `disk` | what a server has stored, and what of it survives a crash |
//! | `check` | the judge |
//!
//! **Faults.** A server killed, or its power cut, between any two steps: of what was not flushed a
//! prefix stays, and of an epoch that was being stored either the old or the new one. Links cut one
//! way or both, for a while or for good; connections reset, their ends learning of it at different
//! times; bytes split anywhere. Servers that stall. Slow flushes. Servers whose disk is empty again.
//!
//! After a while faults end: all servers must come to one leader and one history, and a new
//! transaction must reach all of them. Then all are killed at once, and must do so again.

mod check;
mod disk;
mod net;
mod server;
mod shared;
#[cfg(test)]
mod tests;
mod votes;
mod world;

pub(super) use world::Ensemble;
