//! The configuration of a server: Apache's zoo.cfg, `-D` properties and arguments, taken as Apache
//! takes them, turned into plain settings. Nothing here opens a socket, makes a directory or logs;
//! files come through a function that is passed in.
//!
//! | file | holds |
//! |---|---|
//! | [`properties`] | Java's properties syntax |
//! | [`values`] | Java's numbers and truth values |
//! | [`keys`] | every key there is, where it is read, what it does here |
//! | [`sources`] | which of zoo.cfg and `-D` wins; keys that do nothing where they stand |
//! | [`reader`] | typed access with Apache's fallbacks and refusals |
//! | [`ensemble`] | what a server of an ensemble knows before it runs |
//! | [`classes`] | keys that name a Java class |
//! | [`settings`] | the result: each part's own settings, and the rest |
//! | [`load`] | the way from the first to the last |
//!
//! A key is never passed over in silence: whatever does nothing, is misspelt or is not built yet
//! becomes a [`Notice`], and what would make a server behave unsafely otherwise becomes a
//! [`ConfigError`].

mod classes;
pub mod ensemble;
mod error;
pub mod keys;
mod load;
mod notice;
pub mod properties;
mod reader;
mod settings;
mod sources;
pub mod values;

pub use error::ConfigError;
pub use load::{Loaded, load};
pub use notice::{Level, Notice, Origin};
pub use settings::{Config, LineFormat, LoggingSettings, PlacementPolicy, WordList};
pub use sources::{Flag, HIDDEN, Setting};
