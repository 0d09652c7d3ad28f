//! The frontend machine: decode, serve, respond.
