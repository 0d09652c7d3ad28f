//! The server: configuration, placement, start, recovery, words, shutdown.
