//! The simulated shell: a seeded world of disks, links, clocks and clients.

mod check;
mod client;
mod disk;
mod model;
mod op;
mod rng;
mod stream;
mod trace;
