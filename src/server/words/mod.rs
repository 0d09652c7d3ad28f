//! The 18 four-letter words: pure text from plain reports, byte for byte as ZooKeeper 3.9.5 prints
//! it, since existing exporters, scripts and clients parse it. The golden texts of the tests were
//! recorded from a running 3.9.5.
//!
//! The frontend recognises a word by the first four bytes of a connection and `stmk` by eight more;
//! the server checks the whitelist, gathers what [`Word::needs`] asks for, changes state for
//! `srst`, `crst` and `stmk`, and sends [`answer`].

/// Appends formatted text; writing to a `String` cannot fail.
macro_rules! part {
    ($out:expr, $($arg:tt)*) => {
        write!($out, $($arg)*).expect("writing to a String cannot fail")
    };
}

/// Appends formatted text and a newline.
macro_rules! line {
    ($out:expr $(, $($arg:tt)*)?) => {
        writeln!($out $(, $($arg)*)?).expect("writing to a String cannot fail")
    };
}

pub mod measures;
mod monitor;
pub mod report;
mod server;
mod tables;
pub mod text;
pub mod version;

use crate::codes::FOUR_LETTER_WORDS;

pub use report::{Mode, Reports};

/// A four-letter word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Word {
    /// Settings in force.
    Conf,
    /// Connections in full.
    Cons,
    /// Resets every connection's counts.
    Crst,
    /// Bytes on disk.
    Dirs,
    /// Sessions, ephemerals, connections.
    Dump,
    /// The process and its machine.
    Envi,
    /// The trace mask.
    Gtmk,
    /// Digests of the tree.
    Hash,
    /// Whether it is read-only.
    Isro,
    /// Every measure.
    Mntr,
    /// Whether it runs.
    Ruok,
    /// Resets the server's counts.
    Srst,
    /// The server in brief.
    Srvr,
    /// The server with its connections.
    Stat,
    /// Sets the trace mask; eight more bytes carry it.
    Stmk,
    /// Data watches by session.
    Wchc,
    /// Data watches by path.
    Wchp,
    /// Data watches counted.
    Wchs,
}

/// The parts that the server has to gather before a word can be answered; whatever is false may
/// stay at its default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needs {
    /// [`Reports::serving`]: the quorum core is asked, in an ensemble.
    pub serving: bool,
    /// [`Reports::server`].
    pub server: bool,
    /// [`Reports::conf`].
    pub conf: bool,
    /// [`Reports::sizes`]: a look at two directories.
    pub sizes: bool,
    /// [`Reports::connections`]: every shard is asked.
    pub connections: bool,
    /// [`Reports::sessions`], [`Reports::ephemerals`] and [`Reports::connection_expiry`]: every
    /// shard is asked.
    pub sessions: bool,
    /// [`Reports::watches`]: every shard is asked; large.
    pub watches: bool,
    /// [`Reports::monitor`].
    pub monitor: bool,
    /// [`Reports::digests`].
    pub digests: bool,
    /// [`Reports::process`].
    pub process: bool,
}

impl Word {
    /// All of them.
    pub const ALL: [Self; FOUR_LETTER_WORDS.len()] = [
        Self::Conf,
        Self::Cons,
        Self::Crst,
        Self::Dirs,
        Self::Dump,
        Self::Envi,
        Self::Gtmk,
        Self::Hash,
        Self::Isro,
        Self::Mntr,
        Self::Ruok,
        Self::Srst,
        Self::Srvr,
        Self::Stat,
        Self::Stmk,
        Self::Wchc,
        Self::Wchp,
        Self::Wchs,
    ];

    /// The word these four bytes are; lower case only.
    pub fn from_bytes(bytes: [u8; 4]) -> Option<Self> {
        Self::ALL.into_iter().find(|word| word.name().as_bytes() == bytes)
    }

    /// The word as it is sent. The variants stand in the order of the table.
    pub fn name(self) -> &'static str {
        FOUR_LETTER_WORDS[self as usize]
    }

    /// The reports that its answer is made of.
    pub fn needs(self) -> Needs {
        let none = Needs { serving: !self.works_when_not_serving(), ..Needs::default() };
        match self {
            Self::Conf => Needs { conf: true, sizes: true, ..none },
            Self::Cons => Needs { connections: true, ..none },
            Self::Dirs => Needs { sizes: true, ..none },
            Self::Dump => Needs { sessions: true, ..none },
            Self::Envi => Needs { process: true, ..none },
            Self::Hash => Needs { digests: true, ..none },
            Self::Mntr => Needs { server: true, monitor: true, ..none },
            Self::Isro | Self::Srvr => Needs { server: true, ..none },
            Self::Stat => Needs { server: true, connections: true, ..none },
            Self::Wchc | Self::Wchp | Self::Wchs => Needs { watches: true, ..none },
            Self::Crst | Self::Gtmk | Self::Ruok | Self::Srst | Self::Stmk => none,
        }
    }

    /// Whether it is answered as usual by a server that is not serving.
    pub fn works_when_not_serving(self) -> bool {
        matches!(self, Self::Envi | Self::Gtmk | Self::Ruok | Self::Stmk)
    }
}

/// The whole answer; the connection is closed after it. `srst`, `crst` and `stmk` only say that it
/// was done: the caller does it, and `stmk` answers the mask it finds in [`Reports::trace_mask`].
pub fn answer(word: Word, reports: &Reports) -> Vec<u8> {
    if !reports.serving && !word.works_when_not_serving() {
        return not_serving(word).into_bytes();
    }
    let mut out = String::new();
    match word {
        Word::Conf => server::conf(reports, &mut out),
        Word::Cons => server::cons(reports, &mut out),
        Word::Crst => out.push_str("Connection stats reset.\n"),
        Word::Dirs => server::dirs(reports, &mut out),
        Word::Dump => tables::dump(reports, &mut out),
        Word::Envi => server::envi(reports, &mut out),
        Word::Gtmk | Word::Stmk => out.push_str(&reports.trace_mask.to_string()),
        Word::Hash => server::hash(reports, &mut out),
        Word::Isro => out.push_str(if reports.server.mode == Mode::ReadOnly { "ro" } else { "rw" }),
        Word::Mntr => monitor::mntr(reports, &mut out),
        Word::Ruok => out.push_str("imok"),
        Word::Srst => out.push_str("Server stats reset.\n"),
        Word::Srvr => server::srvr(reports, &mut out),
        Word::Stat => server::stat(reports, &mut out),
        Word::Wchc => tables::wchc(&reports.watches, &mut out),
        Word::Wchp => tables::wchp(&reports.watches, &mut out),
        Word::Wchs => tables::wchs(&reports.watches, &mut out),
    }
    out.into_bytes()
}

/// The answer to a word that is not in the whitelist.
pub fn refusal(word: Word) -> Vec<u8> {
    format!("{} is not executed because it is not in the whitelist.\n", word.name()).into_bytes()
}

/// Apache's trace mask until `stmk` changes it. Nothing is traced by it here; it is kept and told.
pub const TRACE_MASK_DEFAULT: i64 = 306;

fn not_serving(word: Word) -> String {
    const TEXT: &str = "This ZooKeeper instance is not currently serving requests";
    match word {
        Word::Isro => "null".to_owned(),
        Word::Hash => TEXT.to_owned(),
        _ => format!("{TEXT}\n"),
    }
}

#[cfg(test)]
mod tests;
