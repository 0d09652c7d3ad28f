//! Ringkeeper: Apache ZooKeeper's job, done by a thread-per-core server on io_uring.
//!
//! This is the map of the house. A module uses only what stands above it, and no sibling in its own
//! row; `tests/house.rs` checks it.
//!
//! | row | modules | what lives there |
//! |---|---|---|
//! | 0 | [`zxid`] [`codes`] [`limits`] [`room`] [`shown`] [`splitmix`] | values, numbers of the protocol, bounds |
//! | 1 | [`jute`] [`pieces`] | bounds-checked zero-copy reader and writer · files read piece by piece |
//! | 2 | [`proto`] [`packet`] [`txn`] | client wire · server wire · log records |
//! | 3 | [`tree`] [`watch`] [`session`] [`acl`] [`txnlog`] [`snapshot`] | state and file formats, over bytes |
//! | 4 | [`zab`] | who leads, and in which order everybody logs the same |
//! | 5 | [`handoff`] | everything that crosses cores |
//! | 6 | [`quorum`] [`frontend`] | writes and the life of a member: prepare-propose-commit · decode-serve-respond |
//! | 7 | [`runtime`] [`sim`] | the two shells: glommio and io_uring, and the simulated world |
//! | 8 | [`server`] | configuration, start, recovery, four-letter words, shutdown |
//! | 9 | [`cli`] [`bench`] [`tools`] | the commands a person types |
//!
//! Rows 0 to 6 are sans-io: no descriptor, thread, clock, randomness, atomic or async in them.

/// Whether a planted mistake is switched on, by its name in `sim::Defect`:
/// `if mutant!(CommitBeforeFlush) { ... }`. Only a build with the feature `mutants` has any; in
/// every other the question is the constant `false`.
#[cfg(not(feature = "mutants"))]
macro_rules! mutant {
    ($name:ident) => {
        false
    };
}
#[cfg(feature = "mutants")]
macro_rules! mutant {
    ($name:ident) => {
        $crate::sim::Defect::$name.is_on()
    };
}

/// Prints a line of a command to standard output. A reader that has gone (`... | head -1`) ends the
/// words and not the work: what the command does is done, and its exit code says so.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        match writeln!(std::io::stdout(), $($text)*) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                say_error!("ringkeeper: standard output: {error}");
            }
            _ => {}
        }
    }};
}
/// The same to standard error, where nothing can be said of what is not printed.
macro_rules! say_error {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        drop(writeln!(std::io::stderr(), $($text)*));
    }};
}

mod acl;
pub mod bench;
pub mod cli;
pub mod codes;
pub mod frontend;
pub mod handoff;
pub mod jute;
mod limits;
pub mod packet;
pub mod pieces;
pub mod proto;
pub mod quorum;
mod room;
pub mod runtime;
pub mod server;
mod session;
mod shown;
pub mod sim;
pub mod snapshot;
mod splitmix;
pub mod tools;
pub mod tree;
pub mod txn;
pub mod txnlog;
pub mod watch;
pub mod zab;
pub mod zxid;
