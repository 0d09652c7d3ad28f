//! The server: configuration, placement, start, recovery, words, shutdown.

pub mod config;
pub mod exit;
pub mod words;
