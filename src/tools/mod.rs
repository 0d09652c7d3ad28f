//! Small tools for operators: what is in a log or snapshot, is it whole, and the knife for when it
//! is not.
//!
//! They read bytes and write text; which file is the command line's business.

mod command;
mod cut;
mod log;
mod snapshot;
#[cfg(test)]
mod tests;

pub use command::{ToolsArgs, run};
pub use cut::{CutError, cut_log};
pub use log::dump_log;
pub use snapshot::dump_snapshot;
