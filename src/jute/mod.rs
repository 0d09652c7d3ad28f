//! Jute: bounds-checked, zero-copy [`Reader`] and an appending [`Writer`], and the `data` records
//! that every layer shares.
//!
//! Nothing here allocates by a length that the bytes do not back up (B3, B5).

pub mod data;
mod reader;
mod text;
mod writer;

pub use reader::{Malformed, Reader};
pub use text::{decode_utf8_like_java, text_of};
pub use writer::Writer;
