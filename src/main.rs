//! The command line: it only parses and dispatches.
fn main() {}
