//! Worlds of several whole servers with clients: each has its disk, its shards and its quorum core,
//! its life as a member and its elections, all of them the machines of production.
//!
//! | file | holds |
//! |---|---|
//! | `world` | virtual time, the events in it, turns, the end |
//! | `server` | one server, from its start to its crash |
//! | `peers` | what a member wants of other servers: bytes, dials, trees |
//! | `votes` | its election port |
//! | `jobs` | what it wants of its disk |
//! | `clients` | connections of clients, which move between servers |
//! | `weather` | which faults a world has, and when they come |
//! | `history` `spells` `view` | the judge: of all transactions, of times, and as one server has it |

mod clients;
mod history;
mod jobs;
mod peers;
mod server;
mod spells;
mod view;
mod votes;
mod weather;
mod world;

pub(super) use world::Servers;
