//! Worlds of several servers: elections, discovery, synchronization and broadcast under faults. The
//! machines of `zab` run as they are; transactions are opaque, and the tree is the chain of their
//! hashes.
//!
//! | file | holds |
//! |---|---|
//! | `world` | virtual time, faults, clients |
//! | `server` | one server: its machines, and what carries their effects out |
//! | `role` | what it is at, and what it has in each role |
//! | `leader` `learner` | the same while it leads, and while it learns |
//! | `shared` | what all servers share: time, chance, links |
//! | `votes` | its election port |
//! | `members` | which servers there are, and what is a quorum of them |
//! | `net` | the connections between servers |
//! | `disk` | what a server has stored, and what of it survives a crash |
//! | `check` | the judge |
//! | `coverage` | what has happened, and what crashes have interrupted |
//! | `weather` | which faults a world has, and when they come |
//!
//! **Faults.** A server killed, or its power cut, between any two effects of its machines, or all at
//! once: of what was not flushed a prefix stays, and of an epoch that was being stored either the
//! old or the new one. Links cut one way or both, for the votes, the quorum port or both;
//! connections reset, or gone without a word, their ends learning of it at different times; bytes
//! split anywhere. Servers that stall. Slow flushes, and a server whose disk is slow. Writes,
//! truncations and trees that fail. A disk that is empty again, or a log of which only a prefix is
//! whole: one at a time. Snapshots that make the log short, and epochs that end with a low counter.
//! `coverage` counts them.
//!
//! After a while faults end: all servers must come to one leader and one history, and a new
//! transaction must reach all of them. Then all are killed at once, and must do so again.
//!
//! **Judged** after each step: one leader an epoch, and with all that was committed; a commit when a
//! quorum has it on its disks; what is shown is the committed history; each acknowledgement when it
//! is sent, against the disk of its sender; packets that have no place where they come; syncs.

pub(super) mod check;
mod coverage;
#[cfg(test)]
mod directed;
mod disk;
mod leader;
mod learner;
pub(super) mod members;
pub(super) mod net;
mod role;
mod server;
mod shared;
#[cfg(test)]
mod tests;
pub(super) mod votes;
mod weather;
mod world;

pub(super) use coverage::WANTED;
pub(super) use shared::MEMBERS_MAX;
pub(super) use world::Ensemble;
