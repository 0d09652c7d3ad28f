//! The quorum machine: prepare, propose, commit.
