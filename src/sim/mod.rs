//! The simulated shell: a seeded world of disks, links, clocks and clients, with one server in the
//! middle, made of the same machines as in production.
//!
//! | file | holds |
//! |---|---|
//! | `rng` `trace` | chance; what happened, with its hash |
//! | `swarm` | which faults a seed has, and how often |
//! | `world` | virtual time, events, connections, faults, and one server in the middle |
//! | `servers` | the same for several whole servers |
//! | `ensemble` | elections and broadcast of several servers, with opaque transactions |
//! | `client` `op` `hostile` | who asks for what, and who should not |
//! | `pipe` | bytes of a connection on their way |
//! | `node` `lane` | the machines and the queues between them |
//! | `store` `snap` `purge` `recover` | the files of a server |
//! | `send_tree` `receive_tree` | trees between servers |
//! | `disk` | what survives a crash |
//! | `model` `quota` | what ZooKeeper's state means, independently of the production tree |
//! | `property` `compare` | what is promised, and whether states are the same |
//! | `judge` `check` `stream` | the judges: of transactions, and of each connection |
//! | `defect` | mistakes to be found |
//!
//! **Faults.** The process killed or the power cut between any two events, also during a start; of
//! what was not flushed, any subset of sectors, sizes and directory entries stays. Flushes that
//! fail, with their pages clean afterwards; slow flushes; a full disk. Damage to what was flushed,
//! and files that do not read: the server refuses to start, or nothing is lost. Connections cut at
//! any byte, both ends learning of it at different times; bytes split anywhere. Cores that stall,
//! lanes that are full. Wall clocks that jump, and one that begins anew with each start. Clients that
//! fall silent, and hostile ones.
//!
//! **Promises.** [`property::Property`] lists them. They are judged whenever bytes go into the log,
//! the tree moves on, the server puts bytes out, or starts; a zxid in a reply names the state that
//! it must agree with.
//!
//! It uses nothing of `runtime`, and no time, chance or order that does not come from the seed.

mod check;
mod client;
mod compare;
mod coverage;
mod damage;
mod defect;
mod disk;
mod ensemble;
mod hostile;
mod judge;
mod lane;
mod model;
mod node;
mod op;
mod pipe;
mod property;
mod purge;
mod quota;
mod receive_tree;
mod recover;
mod rng;
mod run;
mod send_tree;
mod servers;
mod snap;
mod store;
mod stream;
mod swarm;
#[cfg(test)]
mod tests;
mod trace;
mod world;

pub use defect::Defect;
pub use run::{SimArgs, run};
