//! The events of a run, in order: every line goes into the run's hash, the last ones are kept to be
//! read.

use std::collections::VecDeque;
use std::fmt;

/// The record of one run.
#[derive(Debug)]
pub(crate) struct Trace {
    /// Virtual microseconds, put before each line.
    now_us: u64,
    /// The server whose turn it is, where there are several; put before each line too.
    server: Option<i64>,
    hash: u64,
    kept: VecDeque<String>,
    keep: usize,
    line: String,
}

impl Trace {
    /// A trace that keeps its last `keep` lines.
    pub(crate) fn new(keep: usize) -> Self {
        Self {
            now_us: 0,
            server: None,
            hash: FNV_OFFSET,
            kept: VecDeque::new(),
            keep,
            line: String::new(),
        }
    }

    /// Sets the time that the next lines carry.
    pub(crate) fn at(&mut self, now_us: u64) {
        self.now_us = now_us;
    }

    /// The next lines are of the turn of this server.
    pub(crate) fn of_server(&mut self, server: Option<i64>) {
        self.server = server;
    }

    /// Adds a line.
    pub(crate) fn say(&mut self, text: fmt::Arguments<'_>) {
        use fmt::Write as _;
        self.line.clear();
        let (ms, us) = (self.now_us / 1000, self.now_us % 1000);
        match self.server {
            Some(server) => write!(self.line, "{ms:>7}.{us:03} s{server}: {text}"),
            None => write!(self.line, "{ms:>7}.{us:03} {text}"),
        }
        .expect("a String takes all");
        for byte in self.line.bytes().chain([b'\n']) {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME);
        }
        if self.keep > 0 {
            if self.kept.len() == self.keep {
                self.kept.pop_front();
            }
            self.kept.push_back(self.line.clone());
        }
    }

    /// The hash of all lines so far: equal for equal runs.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// The lines that were kept, oldest first.
    pub(crate) fn tail(&self) -> impl Iterator<Item = &str> {
        self.kept.iter().map(String::as_str)
    }
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x100_0000_01b3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_sees_every_line_and_the_tail_the_last() {
        let mut trace = Trace::new(2);
        for n in 0..5 {
            trace.at(n * 1500);
            trace.say(format_args!("line {n}"));
        }
        assert_eq!(trace.tail().collect::<Vec<_>>(), ["      4.500 line 3", "      6.000 line 4"]);
        let mut other = Trace::new(2);
        other.say(format_args!("line 0"));
        assert_ne!(trace.hash(), other.hash());
    }
}
